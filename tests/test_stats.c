/* test_stats.c -- norms whose input comes from convolutions, which leave them its statistics (norm_stats.h): results and gradients
 * against the reference in double, image by image the same bits, and proof that the statistics left there are those used.
 *   test_stats [DEVICE [PRECISION]]     default: each of emu and cuda that this build has, in fp32, tf32, fp16 and bf16
 * Tolerance: relative L2 error <= 3 x that of device "rounded" in the same precision ("cpu" for fp32), + 4 eps of float. */
#include "device/cuda/norm_stats.h"
#include "graph/weights.h"
#include "kernels/kernels.h"
#include "check.h"
#include "exec_check.h"
#include "exec_compare.h"
#include "made_up.h"
#include <float.h>
#include <math.h>
#include <stdlib.h>

typedef struct {
    const char *name, *why;
    int h, w, c, k, joined, groups; /* joined: channels of a second convolution that are joined to the k of the first; 0: none */
    bool residual, silu;
    float offset; /* added to every channel: far from zero, sums of squares must be about the mean */
    bool fused;   /* the statistics come from the convolutions */
    bool more;    /* a gate and an activation, which no gradient goes through */
    bool two;     /* what is joined is read where it stands */
} Case;
static const Case cases[] = {
    {"conv", "two segments in a tile, an image of four", 16, 16, 24, 48, 0, 8, false, true, 0, true, false},
    {"one_segment", "8x8: a segment is an image", 8, 8, 16, 32, 0, 4, false, false, 0, true, false},
    {"residual", "residual and scale come before the statistics", 8, 16, 32, 32, 0, 8, true, true, 0, true, false},
    {"three", "192 pixels: images end inside a tile", 8, 24, 16, 136, 0, 8, false, true, 0, true, false},
    {"odd", "channels in no whole runs, 9 per group", 8, 8, 5, 27, 0, 3, false, true, 0, true, false},
    {"offset", "mean far above the deviation", 16, 8, 16, 32, 0, 8, false, false, 60, true, false},
    {"concat", "groups of 16 channels straddle the seam at 40", 8, 16, 16, 40, 24, 4, false, true, 0, true, false},
    {"concat_odd", "seam at an odd channel", 8, 8, 16, 21, 27, 16, true, true, 0, true, false},
    {"relu", "the statistics are those of what is stored: after gate and activation", 16, 8, 16, 32, 0, 8, false, false, 0, true, true},
    {"tile_images", "two images in a tile of Hopper's own kernel", 8, 8, 64, 64, 0, 8, false, true, 0, true, false},
    {"tile_halves", "an image ends in the middle of its last tile, residual", 6, 32, 64, 192, 0, 8, true, true, 0, true, false},
    {"tile_offset", "four passes of channels, mean far above the deviation", 8, 16, 64, 256, 0, 8, false, false, 60, true, false},
    {"tile_relu", "after gate and activation, two passes of channels", 8, 16, 64, 128, 0, 8, false, false, 0, true, true},
    {"tile_concat", "a seam between tiles' channels", 8, 8, 64, 64, 136, 8, false, true, 0, true, false},
    {"two", "the same, read where it stands", 8, 16, 16, 40, 24, 4, false, true, 0, true, false, true},
    {"tile_two", "a seam between tiles' channels, read where it stands", 8, 8, 64, 64, 136, 8, false, true, 0, true, false, true},
    {"not_whole", "36 pixels are no whole segment: the norm makes its own", 6, 6, 16, 32, 0, 8, false, true, 0, false, false},
};
enum { CASES = sizeof cases / sizeof *cases, BATCH = 3 };

typedef struct {
    const Case *c;
    Graph *g;
    Tid x, residual, gate, offset, normed[2], y, dy, dx; /* normed: the norm's inputs, one or two; dx: 0 without a gradient */
    int norm;                                            /* the norm's op */
    Exec *e;
} Net;
static Tid conv(Net *n, Tid x, const char *name, int k) {
    Graph *g = n->g;
    char bias[32];
    snprintf(bias, sizeof bias, "%s.bias", name);
    Tid w = g_weight(g, name, (Shape){k, 3, 3, n->c->c}, (WeightView){.kind = VIEW_CONV});
    Tid y = g_conv(g, x, w, g_weight(g, bias, (Shape){1, 1, 1, k}, (WeightView){.kind = VIEW_VECTOR}), 1);
    Op *op = &g->op[g->t[y].producer];
    if (n->c->residual) op->conv.scale = .70710678f;
    if (n->c->residual && k == n->c->k) op->in[3] = n->residual;
    if (n->offset) op->in[3] = n->offset;
    if (n->gate) op->in[4] = n->gate, op->conv.act = ACT_RELU;
    return y;
}
static void fill(Net *n, Tid t, uint64_t key, int first, float offset) {
    if (!t) return;
    size_t count = shape_count(shape_of(n->g, t)), skip = (size_t)first * (count / (size_t)shape_of(n->g, t).n);
    float *v = dg_alloc(count * sizeof *v);
    for (size_t i = 0; i < count; i++) v[i] = made_up_value(key, skip + i) + offset;
    exec_set(n->e, t, DG_F32, v);
    free(v);
}
static void fill_all(Net *n, int first) {
    fill(n, n->x, 1, first, 0), fill(n, n->residual, 2, first, 0), fill(n, n->dy, 3, first, 0);
    fill(n, n->offset, 4, first, n->c->offset), fill(n, n->gate, 5, first, 0);
}
static Net net_build(const Case *c, Precision precision, int images) {
    Net n = {.c = c, .g = graph_new(precision)};
    Graph *g = n.g;
    g->guard_bytes = DG_ALIGN;
    n.x = g_input(g, "x", (Shape){images, c->h, c->w, c->c});
    if (c->residual) n.residual = g_input(g, "residual", (Shape){images, c->h, c->w, c->k});
    if (c->offset != 0) n.offset = g_input(g, "offset", (Shape){images, 1, 1, c->k});
    if (c->more) n.gate = g_input(g, "gate", (Shape){images, 1, 1, c->k});
    n.normed[0] = conv(&n, n.x, "first", c->k);
    if (c->joined) n.normed[1] = conv(&n, n.x, "second", c->joined);
    if (c->joined && !c->two) n.normed[0] = g_concat(g, n.normed[0], n.normed[1]), n.normed[1] = 0;
    Shape s = {1, 1, 1, c->k + c->joined};
    Tid gamma = g_weight(g, "gamma", s, (WeightView){.kind = VIEW_VECTOR}),
        beta = g_weight(g, "beta", s, (WeightView){.kind = VIEW_VECTOR});
    n.y = g_norm_of_two(g, n.normed[0], n.normed[1], gamma, beta, 0, c->groups, 1e-5f);
    n.norm = g->t[n.y].producer;
    g->op[n.norm].norm.silu = c->silu;
    g->t[n.y].keep = true;
    if (!c->more) {
        n.dy = g_input(g, "dy", shape_of(g, n.y));
        g->t[n.dy].dtype = g->t[n.y].dtype;
        n.dx = graph_backward(g, n.y, n.dy, n.x);
        g->t[n.dx].keep = true;
    }
    graph_plan(g);
    return n;
}
static Net net_new(const Case *c, Device *d, int images) {
    Net n = net_build(c, d->precision, images);
    n.e = exec_synthetic(n.g, d, c->name);
    fill_all(&n, 0);
    return n;
}
static void net_free(Net *n) {
    exec_free(n->e);
    graph_free(n->g);
}
static void compare(Net *a, Net *ref, Net *base, bool gradient, const char *precision) {
    Tid of = gradient ? ref->dx : ref->y;
    double found = exec_rel_l2(a->e, gradient ? a->dx : a->y, ref->e, of);
    double off = exec_rel_l2(base->e, gradient ? base->dx : base->y, ref->e, of);
    CHECK(found <= 3 * off + 4 * (double)FLT_EPSILON, "%s %s %s: relative error %.3g, naive %.3g: %s", a->c->name, precision,
          gradient ? "gradient" : "forward", found, off, a->c->why);
}
static void check_values(const Case *c, Device *d, Device *ref64, Device *naive, const char *precision) {
    Net a = net_new(c, d, BATCH), b = net_new(c, ref64, BATCH), base = net_new(c, naive, BATCH), one = net_new(c, d, 1);
    Error err;
    bool clean = exec_run_checked(a.e, a.e->g->batch, &err);
    CHECK(clean, "%s %s: %s", c->name, precision, clean ? "" : err.text);
    exec_run(b.e, b.e->g->batch), exec_run(base.e, base.e->g->batch);
    for (int gradient = 0; gradient <= !c->more; gradient++) compare(&a, &b, &base, gradient, precision);
    size_t n, per;
    double *y = exec_values(a.e, a.y, &n), *dx = a.dx ? exec_values(a.e, a.dx, &n) : NULL;
    n = shape_count(shape_of(a.g, a.y));
    for (int run = 0; run < 3; run++) exec_run(a.e, a.e->g->batch); /* op by op, captured, replayed */
    double *again = exec_values(a.e, a.y, &n);
    CHECK(!memcmp(y, again, n * sizeof *y), "%s %s: a replayed run gives other bits", c->name, precision);
    for (int i = 0; i < BATCH; i++) {
        fill_all(&one, i);
        exec_run(one.e, one.e->g->batch);
        double *yi = exec_values(one.e, one.y, &per);
        CHECK(!memcmp(yi, y + (size_t)i * per, per * sizeof *yi), "%s %s: image %d depends on its batch", c->name, precision, i);
        free(yi);
        if (!dx) continue;
        double *dxi = exec_values(one.e, one.dx, &per);
        CHECK(!memcmp(dxi, dx + (size_t)i * per, per * sizeof *dxi), "%s %s: the gradient of image %d depends on its batch", c->name,
              precision, i);
        free(dxi);
    }
    free(y), free(dx), free(again);
    net_free(&a), net_free(&b), net_free(&base), net_free(&one);
}
static void double_values(Net *n, Tid t) {
    size_t all = shape_count(shape_of(n->g, t));
    bool keep = n->g->t[t].keep;
    n->g->t[t].keep = true; /* lets this test read and write it */
    float *v = dg_alloc(all * sizeof *v);
    exec_get(n->e, t, DG_F32, v);
    for (size_t i = 0; i < all; i++) v[i] *= 2;
    exec_set(n->e, t, DG_F32, v);
    n->g->t[t].keep = keep;
    free(v);
}
/* Doubles the norm's inputs just before it runs. A norm does not care, up to eps, when it makes its own statistics; one that
 * takes those of the old values does.                                                                                     */
static void check_use(const Case *c, Device *d, const char *precision) {
    Net n = net_new(c, d, BATCH);
    exec_run(n.e, n.e->g->batch);
    size_t count;
    double *before = exec_values(n.e, n.y, &count);
    for (int i = 0; i < n.norm; i++) d->be->run_op(n.e, i);
    for (int k = 0; k < 2 && n.normed[k]; k++) double_values(&n, n.normed[k]);
    d->be->run_op(n.e, n.norm);
    double *after = exec_values(n.e, n.y, &count), change = rel_l2(after, before, count);
    CHECK(c->fused ? change > .2 : change < .01, "%s %s: the norm of a doubled input differs by %.3g: its statistics come %s", c->name,
          precision, change, c->fused ? "not from the convolutions" : "from elsewhere");
    free(before), free(after);
    net_free(&n);
}
/* Without a device: who leaves how much. A pair of f32 for every channel and segment. */
static void check_plan(const Case *c) {
    Net n = net_build(c, (Precision){DG_F16, false}, BATCH);
    size_t pairs = (size_t)BATCH * (size_t)(c->h * c->w / NORM_SEGMENT) * (c->fused ? 2 * sizeof(float) : 0), bytes = 0;
    int op[2] = {-1, -1};
    bool found = cuda_stats_sources(n.g, n.norm, op);
    CHECK(found == c->fused, "%s: statistics are %s", c->name, found ? "left" : "not left");
    if (found) CHECK((op[1] >= 0) == (c->joined > 0), "%s: statistics are left by ops %d and %d", c->name, op[0], op[1]);
    for (int i = 0; i < n.g->nop; i++) bytes += cuda_stats_bytes(n.g, i);
    CHECK(bytes == pairs * (size_t)(c->k + c->joined), "%s: %zu bytes of statistics", c->name, bytes);
    graph_free(n.g);
}
static void test_device(const char *spec, const char *precision) {
    Error err;
    bool f32 = !strcmp(precision, "fp32");
    Device *d = device_open(spec, precision, &err), *ref64 = device_open("ref64", NULL, &err);
    Device *naive = device_open(f32 ? "cpu" : "rounded", precision, &err);
    if (!d) not_run("%s: %s", spec, err.text);
    for (int i = 0; d && i < CASES; i++) {
        check_values(&cases[i], d, ref64, naive, precision);
        check_use(&cases[i], d, precision);
    }
    device_close(d), device_close(ref64), device_close(naive);
}
int main(int argc, char **argv) {
    static const char *const specs[] = {"emu", "cuda"}, *const precisions[] = {"fp32", "tf32", "fp16", "bf16"};
    bool any = false;
    for (int i = 0; i < CASES; i++) check_plan(&cases[i]);
    for (int i = 0; i < 2; i++)
        for (int p = 0; p < 4; p++) {
            if (argc > 1 ? strcmp(argv[1], specs[i]) != 0 : !strstr(device_list(), specs[i])) continue;
            if (argc > 2 && strcmp(argv[2], precisions[p])) continue;
            test_device(specs[i], precisions[p]);
            any = true;
        }
    if (!any) not_run("no CUDA device in this build");
    return check_done("test_stats");
}
