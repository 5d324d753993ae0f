/* adm_blocks.c -- what the networks of guided-diffusion (unet.py) share. */
#include "models/adm_blocks.h"

static const Qkv NO_QKV = {QKV_NONE, 0};
enum { NORM_GROUPS = 32 };
static const float NORM_EPS = 1e-5f;

int adm_channels(const AdmConfig *c, int level) { return (int)(c->channel_mult[level] * c->model_channels); }
bool adm_level_attends(const AdmConfig *c, int level) {
    for (int i = 0; i < c->attn_count; i++)
        if (c->attention_resolutions[i] == 1 << level) return true;
    return false;
}

/* ---- blocks -------------------------------------------------------------------------------------------------------------- */
Tid adm_conv(const Adm *n, Tid x, const char *name, int k, int r) { return block_conv(n->g, x, name, k, r, 0, NO_QKV); }
static Tid norm(const Adm *n, Tid x, const char *name, Tid scale_shift) {
    return block_norm(n->g, x, name, scale_shift, NORM_GROUPS, NORM_EPS);
}
Tid adm_norm_silu(const Adm *n, Tid x, const char *name) { return g_silu(n->g, norm(n, x, name, 0)); }
Tid adm_resample(const Adm *n, Tid x, AdmResample resample) {
    static const float box[2] = {.5f, .5f};
    if (resample == ADM_SAME) return x;
    return resample == ADM_DOWN ? g_down(n->g, x, box, 2, 0, 1) : g_up(n->g, x, box, 2, 0, 4);
}
Tid adm_res_block(const Adm *n, Tid x, int c, AdmResample resample) {
    Graph *g = n->g;
    Tid h = adm_resample(n, adm_norm_silu(n, x, "in_layers.0"), resample);
    x = adm_resample(n, x, resample);
    h = adm_conv(n, h, "in_layers.2", c, 3);
    /* The embedding scales and shifts what the norm gives, or is added to what it takes. */
    bool scaled = n->c->use_scale_shift_norm;
    Tid emb = adm_conv(n, n->emb, "emb_layers.1", scaled ? 2 * c : c, 1);
    if (!scaled) h = g_add(g, h, emb, 1, 1);
    h = g_silu(g, norm(n, h, "out_layers.0", scaled ? emb : 0));
    h = adm_conv(n, h, "out_layers.3", c, 3);
    if (shape_of(g, x).c != c) x = adm_conv(n, x, "skip_connection", c, 1);
    return g_add(g, h, x, 1, 1);
}
int adm_heads(const Adm *n, int channels) {
    int heads = n->c->num_heads;
    if (n->c->num_head_channels != -1) return block_heads(n->g, channels, n->c->num_head_channels);
    if (channels % heads == 0) return heads;
    block_refuse(n->g, "%d channels do not split into %d heads, at %s", channels, heads, n->g->prefix);
    return 1;
}
Tid adm_attention_block(const Adm *n, Tid x) {
    Graph *g = n->g;
    int c = shape_of(g, x).c, heads = adm_heads(n, c);
    Qkv order = {n->c->use_new_attention_order ? QKV_3_HEAD_D : QKV_HEAD_3_D, heads};
    Tid h = block_conv(g, norm(n, x, "norm", 0), "qkv", 3 * c, 1, 0, order);
    return g_add(g, adm_conv(n, g_attn(g, h, heads), "proj_out", c, 1), x, 1, 1);
}

/* ---- the first half -------------------------------------------------------------------------------------------------------- */
static Tid pushed(AdmSkips *skips, Tid x) {
    if (skips) skips->t[skips->n++] = x;
    return x;
}
/* Between two levels: a residual block, a convolution, or no parameters at all. */
static Tid half_size(const Adm *n, Tid x) {
    int c = shape_of(n->g, x).c;
    if (n->c->resblock_updown) return adm_res_block(n, x, c, ADM_DOWN);
    if (!n->c->conv_resample) return adm_resample(n, x, ADM_DOWN);
    return block_conv_with(n->g, x, "op", c, 3, (ConvOptions){.stride = 2, .top = 1, .left = 1, .bottom = 1, .right = 1, .scale = 1});
}
Tid adm_torso(const Adm *n, Tid x, AdmSkips *skips) {
    const AdmConfig *c = n->c;
    Graph *g = n->g;
    int index = 0;
    block_enter(g, "input_blocks.0.");
    x = pushed(skips, adm_conv(n, x, "0", adm_channels(c, 0), 3));
    for (int level = 0; level < c->levels; level++) {
        for (int i = 0; i < c->num_res_blocks; i++) {
            block_enter(g, "input_blocks.%d.0.", ++index);
            x = adm_res_block(n, x, adm_channels(c, level), ADM_SAME);
            if (adm_level_attends(c, level)) {
                block_enter(g, "input_blocks.%d.1.", index);
                x = adm_attention_block(n, x);
            }
            pushed(skips, x);
        }
        if (level == c->levels - 1) break;
        block_enter(g, "input_blocks.%d.0.", ++index);
        x = pushed(skips, half_size(n, x));
    }
    int channels = shape_of(g, x).c;
    block_enter(g, "middle_block.0.");
    x = adm_res_block(n, x, channels, ADM_SAME);
    block_enter(g, "middle_block.1.");
    x = adm_attention_block(n, x);
    block_enter(g, "middle_block.2.");
    return adm_res_block(n, x, channels, ADM_SAME);
}

/* ---- inputs, the embedding, arguments ---------------------------------------------------------------------------------------- */
bool adm_begin(Adm *n, Graph *g, const AdmConfig *c, int batch, Ports *p) {
    int width = 4 * c->model_channels;
    *n = (Adm){.c = c, .g = g};
    if (!block_image(g, &p->x, (Shape){batch, c->image_size, c->image_size, c->in_channels})) return false;
    p->time = g_input(g, "temb", (Shape){batch, 1, 1, c->model_channels});
    block_enter(g, "time_embed.");
    Tid emb = block_linear(g, g_silu(g, block_linear(g, p->time, "0", width, true)), "2", width, true);
    if (c->condition) {
        block_enter(g, "%s", "");
        p->label = g_input(g, "label", (Shape){batch, 1, 1, c->num_class});
        emb = g_add(g, block_embedding(g, p->label, "label_emb", width), emb, 1, 1);
    }
    n->emb = g_silu(g, emb);
    return true;
}
void adm_time_features(const AdmConfig *c, float timestep, float *out) { block_sinusoids(c->model_channels, timestep, out); }
bool adm_config(AdmConfig *c, const Json *config, int out_channels, Error *e) {
    if (!argument_int(config, "image_size", 0, 1, MAX_RESOLUTION, &c->image_size, e) ||
        !argument_int(config, "in_channels", 3, 1, MAX_CHANNELS, &c->in_channels, e) ||
        !argument_int(config, "model_channels", 128, 32, MAX_CHANNELS, &c->model_channels, e) ||
        !argument_int(config, "out_channels", out_channels, 1, MAX_LABELS, &c->out_channels, e) ||
        !argument_int(config, "num_res_blocks", 2, 1, MAX_BLOCKS, &c->num_res_blocks, e) ||
        !json_get_bool(config, "use_scale_shift_norm", true, &c->use_scale_shift_norm, e) ||
        !json_get_bool(config, "resblock_updown", true, &c->resblock_updown, e) ||
        !argument_multiples(config, c->model_channels, c->channel_mult, &c->levels, e) ||
        !json_get_ints(config, "attention_resolutions", c->attention_resolutions, MAX_LEVELS, &c->attn_count, e))
        return false;
    if (c->model_channels % NORM_GROUPS)
        return dg_error(e, "\"model_channels\" is %d, not a multiple of %d", c->model_channels, NORM_GROUPS);
    return argument_halves("image_size", c->image_size, c->levels, e);
}
