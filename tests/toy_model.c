/* toy_model.c -- a model as a newcomer would add it, from CONTRIBUTING.md alone: convolutions, a block with the time and the class,
 * attention, half the resolution. test_toy_model.c binds and runs it.                                                       */
#include "models/arguments.h"
#include "models/blocks.h"
#include "models/models.h"
#include <math.h>

typedef struct {
    int size, channels, width, head_width, classes;
} ToyConfig;

static bool config(void *into, const Json *j, Error *e) {
    ToyConfig *c = into;
    return argument_int(j, "size", 0, 2, MAX_RESOLUTION, &c->size, e) && argument_int(j, "channels", 3, 1, 64, &c->channels, e) &&
           argument_int(j, "width", 32, 8, MAX_CHANNELS, &c->width, e) && argument_int(j, "head_width", 16, 1, 64, &c->head_width, e) &&
           argument_int(j, "classes", 0, 0, MAX_LABELS, &c->classes, e) && argument_halves("size", c->size, 2, e);
}
static Tid res_block(Graph *g, Tid x, Tid emb) {
    int c = shape_of(g, x).c;
    Tid h = block_conv(g, g_silu(g, block_norm(g, x, "norm1", 0, 8, 1e-5f)), "conv1", c, 3, 0, (Qkv){QKV_NONE, 0});
    h = g_silu(g, block_norm(g, h, "norm2", block_linear(g, emb, "emb", 2 * c, true), 8, 1e-5f));
    return g_add(g, block_conv(g, h, "conv2", c, 3, 0, (Qkv){QKV_NONE, 0}), x, 1, 1);
}
static void build(Graph *g, const void *config, int batch, Ports *p) {
    const ToyConfig *c = config;
    const float box[2] = {.5f, .5f};
    if (!p->x) p->x = g_input(g, "x", (Shape){batch, c->size, c->size, c->channels});
    p->time = g_input(g, "time", (Shape){batch, 1, 1, 2});
    Tid emb = block_linear(g, p->time, "time", c->width, true);
    if (c->classes) {
        p->label = g_input(g, "label", (Shape){batch, 1, 1, c->classes});
        emb = g_add(g, emb, block_linear(g, p->label, "label", c->width, false), 1, 1);
    }
    Tid x = block_conv(g, p->x, "first", c->width, 3, 0, (Qkv){QKV_NONE, 0});
    block_enter(g, "block.");
    x = g_down(g, res_block(g, x, g_silu(g, emb)), box, 2, 0, 1);
    block_enter(g, "attention.");
    int heads = block_heads(g, c->width, c->head_width);
    Tid qkv = block_conv(g, x, "qkv", 3 * c->width, 1, 0, (Qkv){QKV_3_HEAD_D, heads});
    x = g_add(g, block_linear(g, g_attn(g, qkv, heads), "proj", c->width, true), x, 1, 1);
    block_enter(g, "%s", "");
    p->out = g_output(g, block_conv(g, x, "last", c->channels, 1, 0, (Qkv){QKV_NONE, 0}));
}
static void time_features(const void *config, const float *frequencies, double time, float *out) {
    (void)config, (void)frequencies;
    out[0] = cosf((float)time), out[1] = sinf((float)time);
}
static const char *const unused[] = {"ema.*", NULL};
extern const Model model_toy;
const Model model_toy = {.kind = "toy",
                         .noun = "a toy",
                         .config_bytes = sizeof(ToyConfig),
                         .config = config,
                         .build = build,
                         .time_features = time_features,
                         .unused = unused};
