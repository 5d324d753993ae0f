/* adm_encoder.c -- guided-diffusion's EncoderUNetModel (unet.py): the noisy-image classifier whose middle block gives the
 * features, and, on those, the discriminator's head (8x8, one level, attention pool, one logit).                        */
#include "models/adm_encoder.h"
#include "models/blocks.h"
#include <math.h>
#include <string.h>

typedef struct {
    const EncoderConfig *c;
    Graph *g;
    Tid emb; /* silu of the time (and class) embedding */
} Encoder;
static const Qkv NO_QKV = {QKV_NONE, 0};
static const float box[2] = {.5f, .5f};
enum { NORM_GROUPS = 32 };
static const float NORM_EPS = 1e-5f;

static Tid conv(const Encoder *n, Tid x, const char *name, int k, int r) { return block_conv(n->g, x, name, k, r, 0, NO_QKV); }

static Tid res_block(const Encoder *n, Tid x, int c, bool down) {
    Graph *g = n->g;
    Tid h = g_silu(g, block_norm(g, x, "in_layers.0", 0, NORM_GROUPS, NORM_EPS));
    if (down) h = g_down(g, h, box, 2, 0, 1), x = g_down(g, x, box, 2, 0, 1);
    h = conv(n, h, "in_layers.2", c, 3);
    /* The embedding scales and shifts what the norm gives, or is added to what it takes. */
    bool scaled = n->c->use_scale_shift_norm;
    Tid emb = conv(n, n->emb, "emb_layers.1", scaled ? 2 * c : c, 1);
    if (!scaled) h = g_add(g, h, emb, 1, 1);
    h = g_silu(g, block_norm(g, h, "out_layers.0", scaled ? emb : 0, NORM_GROUPS, NORM_EPS));
    h = conv(n, h, "out_layers.3", c, 3);
    if (shape_of(g, x).c != c) x = conv(n, x, "skip_connection", c, 1);
    return g_add(g, h, x, 1, 1);
}
static Tid attention_block(const Encoder *n, Tid x) {
    Graph *g = n->g;
    int c = shape_of(g, x).c, heads = block_heads(g, c, n->c->num_head_channels);
    Tid h = block_conv(g, block_norm(g, x, "norm", 0, NORM_GROUPS, NORM_EPS), "qkv", 3 * c, 1, 0, (Qkv){QKV_HEAD_3_D, heads});
    return g_add(g, conv(n, g_attn(g, h, heads), "proj_out", c, 1), x, 1, 1);
}
static Tid attention_pool(const Encoder *n, Tid x) {
    Graph *g = n->g;
    Shape s = shape_of(g, x);
    int heads = block_heads(g, s.c, n->c->num_head_channels), tokens = s.h * s.w + 1;
    block_enter(g, "out.");
    Tid h = g_silu(g, block_norm(g, x, "0", 0, NORM_GROUPS, NORM_EPS));
    block_enter(g, "out.2.");
    h = g_pool_tokens(g, h, g_weight(g, "positional_embedding", (Shape){1, 1, tokens, s.c}, (WeightView){.kind = VIEW_TOKENS}));
    h = block_conv(g, h, "qkv_proj", 3 * s.c, 1, 0, (Qkv){QKV_3_HEAD_D, heads});
    return conv(n, g_first_token(g, g_attn(g, h, heads)), "c_proj", n->c->out_channels, 1);
}
static bool attends(const EncoderConfig *c, int factor) {
    for (int i = 0; i < c->attn_count; i++)
        if (c->attention_resolutions[i] == factor) return true;
    return false;
}
static Tid torso(const Encoder *n, Tid x) {
    const EncoderConfig *c = n->c;
    Graph *g = n->g;
    int index = 0;
    block_enter(g, "input_blocks.0.");
    x = conv(n, x, "0", c->channel_mult[0] * c->model_channels, 3);
    for (int level = 0; level < c->levels; level++) {
        for (int i = 0; i < c->num_res_blocks; i++) {
            block_enter(g, "input_blocks.%d.0.", ++index);
            x = res_block(n, x, c->channel_mult[level] * c->model_channels, false);
            if (!attends(c, 1 << level)) continue;
            block_enter(g, "input_blocks.%d.1.", index);
            x = attention_block(n, x);
        }
        if (level == c->levels - 1) break;
        block_enter(g, "input_blocks.%d.0.", ++index);
        x = res_block(n, x, shape_of(g, x).c, true);
    }
    int channels = shape_of(g, x).c;
    block_enter(g, "middle_block.0.");
    x = res_block(n, x, channels, false);
    block_enter(g, "middle_block.1.");
    x = attention_block(n, x);
    block_enter(g, "middle_block.2.");
    return res_block(n, x, channels, false);
}
/* With the pool, out is out_channels values an image; without it, out is the features. */
static void encoder(Graph *g, const EncoderConfig *c, int batch, bool with_pool, Ports *p) {
    Encoder n = {.c = c, .g = g};
    int width = 4 * c->model_channels;
    if (!p->x) p->x = g_input(g, "x", (Shape){batch, c->image_size, c->image_size, c->in_channels});
    Shape s = shape_of(g, p->x);
    if (s.h != c->image_size || s.w != c->image_size || s.c != c->in_channels) {
        block_refuse(g, "the encoder takes %dx%d with %d channels and is given %dx%d with %d", c->image_size, c->image_size, c->in_channels,
                     s.h, s.w, s.c);
        return;
    }
    p->time = g_input(g, "temb", (Shape){batch, 1, 1, c->model_channels});
    block_enter(g, "time_embed.");
    Tid emb = block_linear(g, g_silu(g, block_linear(g, p->time, "0", width, true)), "2", width, true);
    if (c->condition) {
        block_enter(g, "%s", "");
        p->label = g_input(g, "label", (Shape){batch, 1, 1, c->num_class});
        Tid table = g_weight(g, "label_emb.weight", (Shape){width, 1, 1, c->num_class}, (WeightView){.kind = VIEW_EMBEDDING});
        emb = g_add(g, g_conv(g, p->label, table, 0, 0), emb, 1, 1);
    }
    n.emb = g_silu(g, emb);
    p->out = p->features = torso(&n, p->x);
    if (with_pool) p->out = attention_pool(&n, p->features);
}
static void build_extractor(Graph *g, const void *config, int batch, Ports *p) { encoder(g, config, batch, false, p); }
static void build_whole(Graph *g, const void *config, int batch, Ports *p) { encoder(g, config, batch, true, p); }

/* Of a time between 0 and 1: 999 times it, in f64, then in fp32. */
static void time_features(const void *config, const float *frequencies, double time, float *out) {
    const EncoderConfig *c = config;
    int half = c->model_channels / 2;
    float t = (float)(999 * time);
    (void)frequencies;
    for (int i = 0; i < half; i++) {
        float freq = expf((float)(-log(10000.0)) * (float)i / (float)half), arg = t * freq;
        out[i] = cosf(arg), out[half + i] = sinf(arg);
    }
}
static bool read_config(void *into, const Json *config, Error *e) {
    EncoderConfig *c = into;
    const char *pool, *time;
    if (!json_get_string(config, "pool", "attention", &pool, e) || !json_get_string(config, "time", "linear", &time, e)) return false;
    if (strcmp(pool, "attention")) return dg_error(e, "\"pool\" is \"%s\"; only \"attention\" is known", pool);
    if (strcmp(time, "linear") && strcmp(time, "cosine")) return dg_error(e, "\"time\" is \"%s\", neither linear nor cosine", time);
    c->cosine_time = !strcmp(time, "cosine");
    if (!argument_int(config, "image_size", 0, 1, MAX_RESOLUTION, &c->image_size, e) ||
        !argument_int(config, "in_channels", 3, 1, MAX_CHANNELS, &c->in_channels, e) ||
        !argument_int(config, "model_channels", 128, 32, MAX_CHANNELS, &c->model_channels, e) ||
        !argument_int(config, "out_channels", 1, 1, MAX_LABELS, &c->out_channels, e) ||
        !argument_int(config, "num_res_blocks", 2, 1, MAX_BLOCKS, &c->num_res_blocks, e) ||
        !argument_int(config, "num_head_channels", 64, 1, MAX_CHANNELS, &c->num_head_channels, e) ||
        !argument_int(config, "num_class", 1000, 1, MAX_LABELS, &c->num_class, e) ||
        !json_get_bool(config, "condition", false, &c->condition, e) ||
        !json_get_bool(config, "use_scale_shift_norm", true, &c->use_scale_shift_norm, e) ||
        !json_get_bool(config, "resblock_updown", true, &c->resblock_updown, e) ||
        !argument_levels(config, c->model_channels, c->channel_mult, &c->levels, e) ||
        !json_get_ints(config, "attention_resolutions", c->attention_resolutions, MAX_LEVELS, &c->attn_count, e))
        return false;
    if (!c->resblock_updown && c->levels > 1)
        return dg_error(e, "its levels are joined by strided convolutions (\"resblock_updown\" is false), which have no gradient here, as "
                           "guidance needs it: only classifiers trained with resblock_updown can guide");
    if (c->model_channels % 32) return dg_error(e, "\"model_channels\" is %d, not a multiple of 32", c->model_channels);
    return argument_halves("image_size", c->image_size, c->levels, e);
}
#define ENCODER .gradient = true, .config_bytes = sizeof(EncoderConfig), .config = read_config, .time_features = time_features
static const char *const own_pool[] = {"out.*", NULL}, *const none[] = {NULL};
const Model model_extractor = {.kind = "extractor", .noun = "an extractor", .build = build_extractor, .unused = own_pool, ENCODER};
const Model model_head = {.kind = "head", .noun = "a discriminator head", .build = build_whole, .unused = none, ENCODER};
const Model model_classifier = {.kind = "extractor", .noun = "a classifier", .build = build_whole, .unused = none, ENCODER};
