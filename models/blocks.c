/* blocks.c -- layers that compose the official weight names. */
#include "models/blocks.h"
#include <math.h>
#include <stdio.h>

static Tid weight(Graph *g, const char *name, const char *leaf, Shape s, WeightView v) {
    char full[64];
    int n = snprintf(full, sizeof full, "%s.%s", name, leaf);
    DG_CHECK(n < (int)sizeof full, "layer name %s is too long", name);
    return g_weight(g, full, s, v);
}
static Tid vector(Graph *g, const char *name, const char *leaf, int c, Qkv qkv) {
    return weight(g, name, leaf, (Shape){1, 1, 1, c}, (WeightView){.kind = VIEW_VECTOR, .qkv = qkv.order, .heads = qkv.heads});
}
static Tid conv(Graph *g, Tid x, const char *name, int k, int r, Qkv qkv, ConvOptions o) {
    WeightView v = {.kind = VIEW_CONV, .qkv = qkv.order, .heads = qkv.heads};
    Tid w = weight(g, name, "weight", (Shape){k, r, r, shape_of(g, x).c}, v);
    return g_conv_with(g, x, w, vector(g, name, "bias", k, qkv), o);
}
Tid block_conv(Graph *g, Tid x, const char *name, int k, int r, int extra_pad, Qkv qkv) {
    int pad = r / 2 + extra_pad;
    return conv(g, x, name, k, r, qkv, (ConvOptions){1, pad, pad, pad, pad, 1, ACT_NONE});
}
Tid block_conv_with(Graph *g, Tid x, const char *name, int k, int r, ConvOptions o) {
    return conv(g, x, name, k, r, (Qkv){QKV_NONE, 0}, o);
}
Tid block_linear(Graph *g, Tid x, const char *name, int k, bool bias) {
    if (bias) return block_conv(g, x, name, k, 1, 0, (Qkv){QKV_NONE, 0});
    Tid w = weight(g, name, "weight", (Shape){k, 1, 1, shape_of(g, x).c}, (WeightView){.kind = VIEW_CONV});
    return g_conv(g, x, w, 0, 0);
}
Tid block_embedding(Graph *g, Tid label, const char *name, int k) {
    Tid table = weight(g, name, "weight", (Shape){k, 1, 1, shape_of(g, label).c}, (WeightView){.kind = VIEW_EMBEDDING});
    return g_conv(g, label, table, 0, 0);
}
Tid block_norm(Graph *g, Tid x, const char *name, Tid scale_shift, int groups, float eps) {
    int c = shape_of(g, x).c;
    Qkv none = {QKV_NONE, 0};
    if (groups < 1 || c % groups) {
        block_refuse(g, "%d channels do not split into %d groups, at %s%s: other \"model_channels\" or \"channel_mult\"", c, groups,
                     g->prefix, name);
        groups = 1;
    }
    return g_norm(g, x, vector(g, name, "weight", c, none), vector(g, name, "bias", c, none), scale_shift, groups, eps);
}
int block_heads(Graph *g, int channels, int per_head) {
    if (per_head > 0 && channels % per_head == 0) return channels / per_head;
    block_refuse(g, "%d channels do not split into heads of %d, at %s", channels, per_head, g->prefix);
    return 1;
}
bool block_image(Graph *g, Tid *x, Shape s) {
    if (!*x) *x = g_input(g, "x", s);
    Shape found = shape_of(g, *x);
    if (shape_eq(found, s)) return true;
    block_refuse(g, "the network takes %dx%d with %d channels and is given %dx%d with %d", s.h, s.w, s.c, found.h, found.w, found.c);
    return false;
}
void block_refuse(Graph *g, const char *fmt, ...) {
    if (g->refused[0]) return;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(g->refused, sizeof g->refused, fmt, ap);
    va_end(ap);
}
void block_enter(Graph *g, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    int root = snprintf(g->prefix, sizeof g->prefix, "%s", g->root);
    int n = root + vsnprintf(g->prefix + root, sizeof g->prefix - (size_t)root, fmt, ap);
    va_end(ap);
    DG_CHECK(n < (int)sizeof g->prefix, "prefix %s is too long", g->prefix);
}
void block_sinusoids(int width, float time, float *out) {
    int half = width / 2;
    for (int i = 0; i < half; i++) {
        float frequency = expf((float)(-log(10000.0)) * (float)i / (float)half), arg = time * frequency;
        out[i] = cosf(arg), out[half + i] = sinf(arg);
    }
}
