/* vae.c -- the KL autoencoder of Stable Diffusion (diffusers' AutoencoderKL): latents to pictures, and back to the mean and the
 * logarithm of the variance of latents. Both take any size that is given to them, and else that of their arguments.          */
#include "models/arguments.h"
#include "models/blocks.h"
#include "models/models.h"

typedef struct { /* field names are the official argument names */
    int block_out_channels[MAX_LEVELS], levels;
    int in_channels, out_channels, latent_channels, layers_per_block, norm_num_groups;
    int sample_size; /* of a picture, in pixels */
    float norm_eps;
} VaeConfig;
typedef struct {
    const VaeConfig *c;
    Graph *g;
    const char *half; /* "encoder" or "decoder" */
} Vae;
static const Qkv NO_QKV = {QKV_NONE, 0};

static Tid conv(const Vae *v, Tid x, const char *name, int k, int r) { return block_conv(v->g, x, name, k, r, 0, NO_QKV); }
static Tid norm(const Vae *v, Tid x, const char *name) { return block_norm(v->g, x, name, 0, v->c->norm_num_groups, v->c->norm_eps); }
static Tid res_block(const Vae *v, Tid x, int c) {
    Graph *g = v->g;
    Tid h = conv(v, g_silu(g, norm(v, x, "norm1")), "conv1", c, 3);
    h = conv(v, g_silu(g, norm(v, h, "norm2")), "conv2", c, 3);
    if (shape_of(g, x).c != c) x = conv(v, x, "conv_shortcut", c, 1);
    return g_add(g, h, x, 1, 1);
}
static Tid attention_block(const Vae *v, Tid x) {
    Graph *g = v->g;
    int c = shape_of(g, x).c;
    Tid h = norm(v, x, "group_norm");
    Tid q = conv(v, h, "to_q", c, 1), k = conv(v, h, "to_k", c, 1);
    Tid qkv = g_concat_all(g, (Tid[]){q, k, conv(v, h, "to_v", c, 1)}, 3);
    return g_add(g, conv(v, g_attn(g, qkv, 1), "to_out.0", c, 1), x, 1, 1);
}
static Tid middle(const Vae *v, Tid x) {
    int c = shape_of(v->g, x).c;
    block_enter(v->g, "%s.mid_block.resnets.0.", v->half);
    x = res_block(v, x, c);
    block_enter(v->g, "%s.mid_block.attentions.0.", v->half);
    x = attention_block(v, x);
    block_enter(v->g, "%s.mid_block.resnets.1.", v->half);
    return res_block(v, x, c);
}
static Tid last_layers(const Vae *v, Tid x, int c) {
    block_enter(v->g, "%s.", v->half);
    return conv(v, g_silu(v->g, norm(v, x, "conv_norm_out")), "conv_out", c, 3);
}
static Tid input(Graph *g, int batch, int size, int channels, Ports *p) {
    if (!p->x) p->x = g_input(g, "x", (Shape){batch, size, size, channels});
    int found = shape_of(g, p->x).c;
    if (found != channels) block_refuse(g, "the autoencoder takes %d channels here and is given %d", channels, found);
    return found == channels ? p->x : 0;
}
static void build_decoder(Graph *g, const void *config, int batch, Ports *p) {
    const VaeConfig *c = config;
    Vae v = {.c = c, .g = g, .half = "decoder"};
    static const float box[2] = {.5f, .5f};
    Tid x = input(g, batch, c->sample_size >> (c->levels - 1), c->latent_channels, p);
    if (!x) return;
    x = conv(&v, x, "post_quant_conv", c->latent_channels, 1);
    block_enter(g, "decoder.");
    x = middle(&v, conv(&v, x, "conv_in", c->block_out_channels[c->levels - 1], 3));
    for (int i = 0; i < c->levels; i++) {
        int channels = c->block_out_channels[c->levels - 1 - i];
        for (int k = 0; k <= c->layers_per_block; k++) {
            block_enter(g, "decoder.up_blocks.%d.resnets.%d.", i, k);
            x = res_block(&v, x, channels);
        }
        if (i == c->levels - 1) break;
        block_enter(g, "decoder.up_blocks.%d.upsamplers.0.", i);
        x = conv(&v, g_up(g, x, box, 2, 0, 4), "conv", channels, 3);
    }
    p->out = g_output(g, last_layers(&v, x, c->out_channels));
}
static void build_encoder(Graph *g, const void *config, int batch, Ports *p) {
    const VaeConfig *c = config;
    Vae v = {.c = c, .g = g, .half = "encoder"};
    ConvOptions half_size = {.stride = 2, .bottom = 1, .right = 1, .scale = 1}; /* no zeros above, none to the left */
    Tid x = input(g, batch, c->sample_size, c->in_channels, p);
    if (!x) return;
    block_enter(g, "encoder.");
    x = conv(&v, x, "conv_in", c->block_out_channels[0], 3);
    for (int i = 0; i < c->levels; i++) {
        for (int k = 0; k < c->layers_per_block; k++) {
            block_enter(g, "encoder.down_blocks.%d.resnets.%d.", i, k);
            x = res_block(&v, x, c->block_out_channels[i]);
        }
        if (i == c->levels - 1) break;
        block_enter(g, "encoder.down_blocks.%d.downsamplers.0.", i);
        x = block_conv_with(g, x, "conv", c->block_out_channels[i], 3, half_size);
    }
    x = last_layers(&v, middle(&v, x), 2 * c->latent_channels);
    block_enter(g, "%s", "");
    p->out = g_output(g, conv(&v, x, "quant_conv", 2 * c->latent_channels, 1));
}
static bool read_config(void *into, const Json *j, Error *e) {
    VaeConfig *c = into;
    double eps;
    if (!json_get_ints(j, "block_out_channels", c->block_out_channels, MAX_LEVELS, &c->levels, e) ||
        !argument_int(j, "in_channels", 3, 1, MAX_CHANNELS, &c->in_channels, e) ||
        !argument_int(j, "out_channels", 3, 1, MAX_CHANNELS, &c->out_channels, e) ||
        !argument_int(j, "latent_channels", 4, 1, MAX_CHANNELS, &c->latent_channels, e) ||
        !argument_int(j, "layers_per_block", 2, 1, MAX_BLOCKS, &c->layers_per_block, e) ||
        !argument_int(j, "norm_num_groups", 32, 1, MAX_CHANNELS, &c->norm_num_groups, e) ||
        !argument_int(j, "sample_size", 256, 1, MAX_RESOLUTION, &c->sample_size, e) || !json_get_double(j, "norm_eps", 1e-6, &eps, e))
        return false;
    if (!c->levels) return dg_error(e, "the configuration has no \"block_out_channels\"");
    for (int i = 0; i < c->levels; i++) {
        int channels = c->block_out_channels[i];
        if (channels < 1 || channels > MAX_CHANNELS || channels % c->norm_num_groups)
            return dg_error(e, "\"block_out_channels\" has %d: from 1 to %d are possible, in %d groups of equal size (\"norm_num_groups\")",
                            channels, MAX_CHANNELS, c->norm_num_groups);
    }
    if (!(eps > 0 && eps < 1)) return dg_error(e, "\"norm_eps\" is %g, not between 0 and 1", eps);
    c->norm_eps = (float)eps;
    return argument_halves("sample_size", c->sample_size, c->levels, e);
}
#define VAE .kind = "vae", .config_bytes = sizeof(VaeConfig), .config = read_config
static const char *const encoder[] = {"encoder.*", "quant_conv.*", NULL}, *const decoder[] = {"decoder.*", "post_quant_conv.*", NULL};
const Model model_vae = {.noun = "an autoencoder", .build = build_decoder, .unused = encoder, VAE};
const Model model_vae_encoder = {.noun = "an autoencoder", .build = build_encoder, .unused = decoder, VAE};
