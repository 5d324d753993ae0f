/* adm_encoder.c -- guided-diffusion's EncoderUNetModel (unet.py): the noisy-image classifier whose middle block gives the
 * features, and, on those, the discriminator's head (8x8, one level, attention pool, one logit).                        */
#include "models/blocks.h"
#include <math.h>
#include <stdio.h>

typedef struct {
    const EncoderConfig *c;
    Graph *g;
    Tid emb;            /* silu of the time (and class) embedding */
    const char *prefix; /* of every name of this network: "" or, where two networks share a graph, "head." */
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
    Tid scale_shift = conv(n, n->emb, "emb_layers.1", 2 * c, 1);
    h = g_silu(g, block_norm(g, h, "out_layers.0", scale_shift, NORM_GROUPS, NORM_EPS));
    h = conv(n, h, "out_layers.3", c, 3);
    if (shape_of(g, x).c != c) x = conv(n, x, "skip_connection", c, 1);
    return g_add(g, h, x, 1, 1);
}
static Tid attention_block(const Encoder *n, Tid x) {
    Graph *g = n->g;
    int c = shape_of(g, x).c, heads = c / n->c->num_head_channels;
    Tid h = block_conv(g, block_norm(g, x, "norm", 0, NORM_GROUPS, NORM_EPS), "qkv", 3 * c, 1, 0, (Qkv){QKV_HEAD_3_D, heads});
    return g_add(g, conv(n, g_attn(g, h, heads), "proj_out", c, 1), x, 1, 1);
}
static Tid attention_pool(const Encoder *n, Tid x) {
    Graph *g = n->g;
    Shape s = shape_of(g, x);
    int heads = s.c / n->c->num_head_channels, tokens = s.h * s.w + 1;
    block_enter(g, "%sout.", n->prefix);
    Tid h = g_silu(g, block_norm(g, x, "0", 0, NORM_GROUPS, NORM_EPS));
    block_enter(g, "%sout.2.", n->prefix);
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
    block_enter(g, "%sinput_blocks.0.", n->prefix);
    x = conv(n, x, "0", c->channel_mult[0] * c->model_channels, 3);
    for (int level = 0; level < c->levels; level++) {
        for (int i = 0; i < c->num_res_blocks; i++) {
            block_enter(g, "%sinput_blocks.%d.0.", n->prefix, ++index);
            x = res_block(n, x, c->channel_mult[level] * c->model_channels, false);
            if (!attends(c, 1 << level)) continue;
            block_enter(g, "%sinput_blocks.%d.1.", n->prefix, index);
            x = attention_block(n, x);
        }
        if (level == c->levels - 1) break;
        block_enter(g, "%sinput_blocks.%d.0.", n->prefix, ++index);
        x = res_block(n, x, shape_of(g, x).c, true);
    }
    int channels = shape_of(g, x).c;
    block_enter(g, "%smiddle_block.0.", n->prefix);
    x = res_block(n, x, channels, false);
    block_enter(g, "%smiddle_block.1.", n->prefix);
    x = attention_block(n, x);
    block_enter(g, "%smiddle_block.2.", n->prefix);
    return res_block(n, x, channels, false);
}
bool encoder_build(Graph *g, const EncoderConfig *c, const char *prefix, Tid x, bool with_pool, EncoderGraph *out, Error *e) {
    Shape s = shape_of(g, x);
    if (s.h != c->image_size || s.w != c->image_size || s.c != c->in_channels)
        return dg_error(e, "the encoder takes %dx%d with %d channels and is given %dx%d with %d", c->image_size, c->image_size,
                        c->in_channels, s.h, s.w, s.c);
    Encoder n = {.c = c, .g = g, .prefix = prefix};
    char name[2][sizeof g->t->name];
    snprintf(name[0], sizeof name[0], "%stemb", prefix);
    snprintf(name[1], sizeof name[1], "%slabel", prefix);
    *out = (EncoderGraph){.temb = g_input(g, name[0], (Shape){s.n, 1, 1, c->model_channels})};
    block_enter(g, "%stime_embed.", prefix);
    int width = 4 * c->model_channels;
    Tid emb = block_linear(g, g_silu(g, block_linear(g, out->temb, "0", width, true)), "2", width, true);
    if (c->condition) {
        block_enter(g, "%s", prefix);
        out->label = g_input(g, name[1], (Shape){s.n, 1, 1, c->num_class});
        Tid table = g_weight(g, "label_emb.weight", (Shape){width, 1, 1, c->num_class}, (WeightView){.kind = VIEW_EMBEDDING});
        emb = g_add(g, g_conv(g, out->label, table, 0, 0), emb, 1, 1);
    }
    n.emb = g_silu(g, emb);
    out->features = torso(&n, x);
    if (with_pool) out->logit = attention_pool(&n, out->features);
    g->prefix[0] = 0;
    return true;
}
void encoder_time_embedding(const EncoderConfig *c, double tau, float *out) {
    int half = c->model_channels / 2;
    float t = (float)(999 * tau);
    for (int i = 0; i < half; i++) {
        float freq = expf((float)(-log(10000.0)) * (float)i / (float)half), arg = t * freq;
        out[i] = cosf(arg), out[half + i] = sinf(arg);
    }
    if (c->model_channels % 2) out[c->model_channels - 1] = 0;
}
const char *const extractor_unused[] = {"out.*"}; /* the classifier's own pool */
const int extractor_unused_count = 1;
