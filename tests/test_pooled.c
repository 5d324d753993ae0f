/* test_pooled.c -- resamples that norms do (pooled.h): results against the reference in double, image by image the same bits, and proof
 * that the resamples' passes are left out where they should be and nowhere else.
 *   test_pooled [DEVICE [PRECISION [WORD]]]     default: each of emu and cuda that this build has, in fp16 and bf16; WORD: only the cases
 *                                               whose names contain it
 * A case is a block that goes down: act(norm(x)) and x itself, both pooled, and their sum; then the gradient of x.
 * Tolerance: relative L2 error <= 3 x that of device "rounded" in the same precision, + 4 eps of float.                     */
#include "device/cuda/pooled.h"
#include "base/dtype.h"
#include "graph/weights.h"
#include "check.h"
#include "exec_check.h"
#include "exec_compare.h"
#include "made_up.h"
#include <float.h>
#include <stdlib.h>

typedef enum { DOWN = 1, UP = 2 } LeftOut; /* by the norm: the resample after it; those before its gradient */
typedef struct {
    const char *name, *why;
    int h, w, c, groups;
    unsigned left_out;                  /* of LeftOut */
    bool silu, scale_shift, two, alone; /* two: x is of two tensors; alone: x is not pooled beside */
    enum { PLAIN, KEPT, READ_BESIDE, TENT, SUM, FACTORS, F32_INPUT } form;
} Case;
static const Case cases[] = {
    {"block", "the guide's block", 8, 8, 64, 16, DOWN | UP, true},
    {"plain", "without an activation", 8, 8, 64, 8, DOWN | UP},
    {"scale_shift", "a scale and a shift for each image", 8, 12, 64, 8, DOWN | UP, true, true},
    {"large", "several parts of an image, threads that take fours more than once", 48, 48, 64, 32, DOWN | UP, true},
    {"wide", "an image that no block keeps: two kernels of the gradient", 64, 64, 32, 1, DOWN | UP, true},
    {"flat", "two lines", 2, 34, 64, 8, DOWN | UP, true},
    {"channels", "channels that are no power of two", 10, 6, 72, 9, DOWN | UP, true},
    {"alone", "nothing is added to the gradient", 16, 16, 64, 16, DOWN | UP, true, .alone = true},
    {"two", "x of two tensors", 8, 8, 64, 16, DOWN, true, .two = true},
    {"sum", "sums of four, not means", 8, 8, 64, 16, DOWN | UP, true, .form = SUM},
    {"factors", "what is added is of a sum, dy of a mean", 8, 8, 64, 16, DOWN, true, .form = FACTORS},
    {"kept", "the norm's output is asked for", 8, 8, 64, 16, UP, true, .form = KEPT},
    {"beside", "the norm's output is read by another op too", 8, 8, 64, 16, 0, true, .form = READ_BESIDE},
    {"tent", "a filter of four taps", 8, 8, 64, 16, 0, true, .form = TENT},
    {"ragged", "channels in no whole runs", 8, 8, 60, 12, 0, true},
    {"f32", "x in f32", 8, 8, 64, 16, 0, true, .form = F32_INPUT},
};
enum { CASES = sizeof cases / sizeof *cases, BATCH = 3 };

typedef struct {
    const Case *c;
    Graph *g;
    Tid input[4], y, dx;
    int inputs;
    Exec *e;
} Net;
static Tid input(Net *n, const char *name, Shape s, bool f32) {
    Tid t = g_input(n->g, name, s);
    if (!f32) n->g->t[t].dtype = n->g->precision.act;
    return n->input[n->inputs++] = t;
}
static Tid down(const Net *n, Tid x, bool sum) {
    static const float box[] = {.5f, .5f}, tent[] = {.125f, .375f, .375f, .125f};
    if (n->c->form == TENT) return g_down(n->g, x, tent, 4, 1, 1);
    return g_down(n->g, x, box, 2, 0, sum ? 4 : 1);
}
static Net net_build(const Case *c, Precision precision, int images) {
    Net n = {.c = c, .g = graph_new(precision)};
    Graph *g = n.g;
    g->guard_bytes = DG_ALIGN;
    Shape s = {images, c->h, c->w, c->two ? c->c / 2 : c->c};
    Tid x = input(&n, "x", s, false), more = c->two ? input(&n, "more", s, false) : 0;
    if (c->form == F32_INPUT && precision.act != DG_F64) g->t[x].dtype = DG_F32;
    Tid scale_shift = c->scale_shift ? input(&n, "scale_shift", (Shape){images, 1, 1, 2 * c->c}, true) : 0;
    Tid gamma = vector_weight(g, "gamma", c->c), beta = vector_weight(g, "beta", c->c);
    Tid h = more ? g_norm_of_two(g, x, more, gamma, beta, scale_shift, c->groups, 1e-5f)
                 : g_norm(g, x, gamma, beta, scale_shift, c->groups, 1e-5f);
    if (c->silu) g->op[g->t[h].producer].norm.silu = true;
    g->t[h].keep = c->form == KEPT;
    n.y = down(&n, h, c->form == SUM);
    if (c->form == READ_BESIDE) n.y = g_add(g, n.y, down(&n, g_unary(g, h, F_RELU, 0, 0), false), 1, 1);
    if (!c->alone && !more) n.y = g_add(g, n.y, down(&n, x, c->form == SUM || c->form == FACTORS), 1, 1);
    g->t[n.y].keep = true;
    if (!more) {
        Tid dy = input(&n, "dy", shape_of(g, n.y), false);
        n.dx = graph_backward(g, n.y, dy, x);
        g->t[n.dx].keep = true;
    }
    graph_fuse(g);
    graph_plan(g);
    return n;
}
static void fill_all(Net *n, int first) { made_up_inputs(n->e, n->input, n->inputs, first); }
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
static void check_output(const Case *c, const char *what, Net *a, Net *b, Net *base, Net *one, Tid t, const char *precision) {
    double found = exec_rel_l2(a->e, t, b->e, t), off = exec_rel_l2(base->e, t, b->e, t);
    CHECK(found <= 3 * off + 4 * (double)FLT_EPSILON, "%s %s, %s: relative error %.3g, rounded %.3g: %s", c->name, precision, what, found,
          off, c->why);
    size_t n, per;
    double *y = exec_values(a->e, t, &n);
    for (int i = 0; i < BATCH; i++) {
        fill_all(one, i);
        exec_run(one->e, 1);
        double *yi = exec_values(one->e, t, &per);
        CHECK(!memcmp(yi, y + (size_t)i * per, per * sizeof *yi), "%s %s, %s: image %d depends on its batch", c->name, precision, what, i);
        free(yi);
    }
    free(y);
}
static void check_values(const Case *c, Device *d, Device *ref64, Device *rounded, const char *precision) {
    Net a = net_new(c, d, BATCH), b = net_new(c, ref64, BATCH), base = net_new(c, rounded, BATCH), one = net_new(c, d, 1);
    Error err;
    bool clean = exec_run_checked(a.e, a.e->g->batch, &err);
    CHECK(clean, "%s %s: %s", c->name, precision, clean ? "" : err.text);
    fill_all(&a, 0);
    exec_run(a.e, BATCH), exec_run(b.e, BATCH), exec_run(base.e, BATCH);
    check_output(c, "y", &a, &b, &base, &one, a.y, precision);
    if (a.dx) check_output(c, "dx", &a, &b, &base, &one, a.dx, precision);
    net_free(&a), net_free(&b), net_free(&base), net_free(&one);
}
/* Whether a device leaves op i out, a resample: it writes nothing then. */
static bool is_skipped(const Net *n, int i) {
    Tid out = n->g->op[i].out;
    Device *d = n->e->dev;
    size_t bytes = tensor_bytes(&n->g->t[out]);
    unsigned char *host = dg_alloc(bytes);
    for (int j = 0; j < i; j++) d->be->run_op(n->e, j);
    memset(host, 0xff, bytes); /* NaN */
    d->be->upload(d, n->e->data[out], host, bytes);
    d->be->run_op(n->e, i);
    d->be->download(d, host, n->e->data[out], bytes);
    bool skipped = true;
    for (size_t k = 0; k < bytes; k++) skipped &= host[k] == 0xff;
    free(host);
    return skipped;
}
/* What bench counts for a resample and the norm that does its work. */
static void check_bytes(const Net *n, int i, bool left_out) {
    const Graph *g = n->g;
    const Backend *be = n->e->dev->be;
    double moved = be->bytes(n->e, i), small = (double)tensor_bytes(&g->t[g->op[i].resample.up ? g->op[i].in[0] : g->op[i].out]);
    int norm = cuda_pooled_by(g, i);
    CHECK(moved == (left_out ? 0 : op_bytes(g, i)), "%s: resample %d moves %g bytes", n->c->name, i, moved);
    if (!left_out) return;
    double tensors = 3 * small * (g->op[i].resample.up ? 1 + !n->c->alone : 1), less = op_bytes(g, norm) - be->bytes(n->e, norm);
    CHECK(less == tensors, "%s: norm %d moves %g bytes less, not %g", n->c->name, norm, less, tensors);
}
/* Resamples by a box filter in one direction that are left out, or, without a device, that may be. */
static int count(const Net *n, bool up) {
    int found = 0;
    for (int i = 0; i < n->g->nop; i++) {
        if (!box_factor(&n->g->op[i]) || n->g->op[i].resample.up != up) continue;
        bool out = n->e ? is_skipped(n, i) : cuda_pooled_by(n->g, i) >= 0;
        if (n->e) check_bytes(n, i, out);
        found += out;
    }
    return found;
}
static void check_left_out(const Case *c, const Net *n, const char *where) {
    int wanted_down = c->left_out & DOWN ? 1 : 0, wanted_up = c->left_out & UP ? 1 + !c->alone : 0;
    int down = count(n, false), up = count(n, true);
    CHECK(down == wanted_down && up == wanted_up, "%s %s: %d resamples down and %d up are left out, not %d and %d: %s", c->name, where,
          down, up, wanted_down, wanted_up, c->why);
}
static void test_device(const char *spec, const char *precision, const char *only) {
    Error err;
    Device *d = device_open(spec, precision, &err), *ref64 = device_open("ref64", NULL, &err);
    Device *rounded = device_open("rounded", precision, &err);
    if (!d) not_run("%s: %s", spec, err.text);
    for (int i = 0; d && i < CASES; i++) {
        if (only && !strstr(cases[i].name, only)) continue;
        check_values(&cases[i], d, ref64, rounded, precision);
        Net n = net_new(&cases[i], d, BATCH);
        check_left_out(&cases[i], &n, precision);
        net_free(&n);
    }
    device_close(d), device_close(ref64), device_close(rounded);
}
/* Without a device: in 32 bits nothing is left out. */
static void check_plan(const Case *c) {
    Net whole = net_build(c, (Precision){DG_F32, false}, BATCH);
    CHECK(count(&whole, false) + count(&whole, true) == 0, "%s: a resample of 32 bits", c->name);
    graph_free(whole.g);
}
int main(int argc, char **argv) {
    static const char *const specs[] = {"emu", "cuda"}, *const precisions[] = {"fp16", "bf16"};
    bool any = false;
    for (int i = 0; i < CASES; i++) check_plan(&cases[i]);
    for (int i = 0; i < 2; i++) {
        if (argc > 1 ? strcmp(argv[1], specs[i]) != 0 : !strstr(device_list(), specs[i])) continue;
        for (int p = 0; p < 2; p++) {
            if (argc > 2 && strcmp(argv[2], precisions[p])) continue;
            test_device(specs[i], precisions[p], argc > 3 ? argv[3] : NULL);
            any = true;
        }
    }
    if (!any) not_run("no CUDA device in this build");
    return check_done("test_pooled");
}
