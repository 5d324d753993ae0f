/* dit.c -- DiT (models.py of facebookresearch/DiT): a transformer on patches of latents, whose norms the time and the class shift,
 * scale and gate. The output is eps, and then, with learn_sigma, the code of the variance.                                     */
#include "models/arguments.h"
#include "models/blocks.h"
#include "models/models.h"

enum { FREQUENCIES = 256, MAX_DEPTH = 256, MAX_PATCH = 64, MAX_RATIO = 64 };
static const float NORM_EPS = 1e-6f;
typedef struct { /* field names are the official argument names */
    int input_size, patch_size, in_channels, hidden_size, depth, num_heads, num_classes;
    int mlp_width; /* int(mlp_ratio * hidden_size) */
    bool learn_sigma;
} DitConfig;
typedef struct {
    const DitConfig *c;
    Graph *g;
    Tid condition; /* silu of the embedding of time and class */
} Dit;

/* Part `index` of the vectors that the condition is made into. */
static Tid part(const Dit *d, Tid modulation, int index, int count) {
    return g_slice(d->g, modulation, index * d->c->hidden_size, count * d->c->hidden_size);
}
static Tid modulated_norm(const Dit *d, Tid x, Tid shift_scale) { return g_pixel_norm(d->g, x, 0, 0, shift_scale, NORM_EPS, false); }
static Tid attention(const Dit *d, Tid x) {
    int heads = d->c->num_heads;
    Tid qkv = block_conv(d->g, x, "attn.qkv", 3 * d->c->hidden_size, 1, 0, (Qkv){QKV_3_HEAD_D, heads});
    return block_linear(d->g, g_attn(d->g, qkv, heads), "attn.proj", d->c->hidden_size, true);
}
static Tid mlp(const Dit *d, Tid x) {
    Tid h = g_unary(d->g, block_linear(d->g, x, "mlp.fc1", d->c->mlp_width, true), F_GELU_TANH, 0, 0);
    return block_linear(d->g, h, "mlp.fc2", d->c->hidden_size, true);
}
/* What the condition makes for a block: shift and scale of a norm and the gate behind it, for attention and for the MLP. */
enum { SHIFT_SCALE_A = 0, GATE_A = 2, SHIFT_SCALE_M = 3, GATE_M = 5, PARTS = 6 };
static Tid modulation(const Dit *d, int block) {
    block_enter(d->g, "blocks.%d.", block);
    return block_linear(d->g, d->condition, "adaLN_modulation.1", PARTS * d->c->hidden_size, true);
}
static Tid final_modulation(const Dit *d) {
    block_enter(d->g, "final_layer.");
    return block_linear(d->g, d->condition, "adaLN_modulation.1", 2 * d->c->hidden_size, true);
}
/* The stream x is f32 in every precision: what 56 blocks add to it is small beside it. What a norm multiplies by is there before the
 * convolution that makes the norm's input: that one may then leave the products (device/cuda/norm_fold.c).
 * *shift_scale, in: of this block's first norm; out: of the next block's first, or of the last layer's.                       */
static Tid block(const Dit *d, int i, Tid x, Tid *modulated, Tid *shift_scale) {
    Tid m = *modulated, own = part(d, m, SHIFT_SCALE_M, 2);
    block_enter(d->g, "blocks.%d.", i);
    Tid h = attention(d, modulated_norm(d, x, *shift_scale));
    x = g_gate(d->g, h, part(d, m, GATE_A, 1), x);
    bool last = i == d->c->depth - 1;
    *modulated = last ? final_modulation(d) : modulation(d, i + 1);
    *shift_scale = last ? *modulated : part(d, *modulated, SHIFT_SCALE_A, 2);
    block_enter(d->g, "blocks.%d.", i);
    h = mlp(d, modulated_norm(d, x, own));
    return g_gate(d->g, h, part(d, m, GATE_M, 1), x);
}
static Tid condition(const Dit *d, int batch, Ports *p) {
    Graph *g = d->g;
    int width = d->c->hidden_size;
    p->time = g_input(g, "time", (Shape){batch, 1, 1, FREQUENCIES});
    p->label = g_input(g, "label", (Shape){batch, 1, 1, d->c->num_classes + 1}); /* the last class is none: the null class */
    block_enter(g, "t_embedder.mlp.");
    Tid time = block_linear(g, g_silu(g, block_linear(g, p->time, "0", width, true)), "2", width, true);
    block_enter(g, "y_embedder.");
    return g_silu(g, g_add(g, block_embedding(g, p->label, "embedding_table", width), time, 1, 1));
}
static void build(Graph *g, const void *config, int batch, Ports *p) {
    const DitConfig *c = config;
    Dit d = {.c = c, .g = g};
    int side = c->input_size / c->patch_size, out = c->in_channels * (c->learn_sigma ? 2 : 1);
    if (!block_image(g, &p->x, (Shape){batch, c->input_size, c->input_size, c->in_channels})) return;
    d.condition = condition(&d, batch, p);
    block_enter(g, "%s", "");
    ConvOptions patches = {.stride = c->patch_size, .scale = 1};
    Tid x = g_f32(g, block_conv_with(g, p->x, "x_embedder.proj", c->hidden_size, c->patch_size, patches));
    Tid positions = g_weight(g, "pos_embed", (Shape){1, side, side, c->hidden_size}, (WeightView){.kind = VIEW_POSITIONS});
    x = g_add(g, x, positions, 1, 1);
    Tid modulated = modulation(&d, 0), shift_scale = part(&d, modulated, SHIFT_SCALE_A, 2);
    for (int i = 0; i < c->depth; i++) x = block(&d, i, x, &modulated, &shift_scale);
    block_enter(g, "final_layer.");
    x = block_linear(g, modulated_norm(&d, x, shift_scale), "linear", c->patch_size * c->patch_size * out, true);
    p->out = g_output(g, g_depth_to_space(g, x, c->patch_size));
}
/* Of the original timestep, 0 to 999. */
static void time_features(const void *config, const float *frequencies, double timestep, float *out) {
    (void)config, (void)frequencies;
    block_sinusoids(FREQUENCIES, (float)timestep, out);
}
static bool read_config(void *into, const Json *j, Error *e) {
    DitConfig *c = into;
    double ratio;
    if (!argument_int(j, "input_size", 32, 1, MAX_RESOLUTION, &c->input_size, e) ||
        !argument_int(j, "patch_size", 2, 1, MAX_PATCH, &c->patch_size, e) ||
        !argument_int(j, "in_channels", 4, 1, MAX_CHANNELS, &c->in_channels, e) ||
        !argument_int(j, "hidden_size", 1152, 4, MAX_CHANNELS, &c->hidden_size, e) ||
        !argument_int(j, "depth", 28, 1, MAX_DEPTH, &c->depth, e) || !argument_int(j, "num_heads", 16, 1, MAX_CHANNELS, &c->num_heads, e) ||
        !json_get_double(j, "mlp_ratio", 4, &ratio, e) || !argument_int(j, "num_classes", 1000, 1, MAX_LABELS, &c->num_classes, e) ||
        !json_get_bool(j, "learn_sigma", true, &c->learn_sigma, e))
        return false;
    double width = ratio * c->hidden_size;
    if (!(width >= 1 && width <= (double)MAX_RATIO * MAX_CHANNELS))
        return dg_error(e, "\"mlp_ratio\" is %g, for %d channels: from 1 to %d channels are possible", ratio, c->hidden_size,
                        MAX_RATIO * MAX_CHANNELS);
    c->mlp_width = (int)(width + 1e-6); /* the ratio may be a rounded quotient */
    if (c->input_size % c->patch_size)
        return dg_error(e, "\"input_size\" %d is not a multiple of \"patch_size\" %d", c->input_size, c->patch_size);
    if (c->hidden_size % 4) return dg_error(e, "\"hidden_size\" is %d, not a multiple of 4, as its positions are made", c->hidden_size);
    return c->hidden_size % c->num_heads == 0 ||
           dg_error(e, "\"hidden_size\" %d does not split into \"num_heads\" %d", c->hidden_size, c->num_heads);
}
static bool score(const void *config, ScoreFacts *f, Error *e) {
    const DitConfig *c = config;
    (void)e;
    *f = (ScoreFacts){.prediction = PREDICTS_EPS,
                      .diffusion_steps = 1000,
                      .learned_range = c->learn_sigma,
                      .latent = true,
                      .classes = c->num_classes,
                      .null_class = c->num_classes,
                      .guided_channels = 3};
    return true;
}
static const char *const unused[] = {NULL};
const Model model_dit = {.kind = "dit",
                         .noun = "a DiT",
                         .config_bytes = sizeof(DitConfig),
                         .config = read_config,
                         .build = build,
                         .time_features = time_features,
                         .score = score,
                         .unused = unused};
