/* test_norm_fold.c -- pixel norms that are not run (norm_fold.h): two layers of a transformer's stream around them, results against the
 * reference in double, image by image the same bits, and proof that the norm's pass is left out where it should be and nowhere else.
 *   test_norm_fold [DEVICE [PRECISION [WORD]]]     default: each of emu and cuda that this build has, in fp16 and bf16; WORD: only the
 *                                                  cases whose names contain it
 * On a device that folds nothing (compute capability 9.0 does; EMU_CC=90) results alone are checked, and that nothing is folded.
 * Tolerance: relative L2 error <= 3 x that of device "rounded" in the same precision, + 4 eps of float; where rows are far from zero or
 * faint, that grows as graph/norm_fold.c says.                                                                                */
#include "device/cuda/norm_fold.h"
#include "device/cuda/ops.h"
#include "graph/weights.h"
#include "check.h"
#include "exec_check.h"
#include "exec_compare.h"
#include "made_up.h"
#include <float.h>
#include <math.h>
#include <stdlib.h>

typedef struct {
    const char *name, *why;
    int h, w, c, k, width; /* h, w: tokens; c: of what the first convolution reads; k: of the stream; width: of what reads the norm */
    float offset;          /* added to the stream: far from zero, sums of squares must be about the mean */
    float gain;            /* of the stream */
    int folds;             /* norms that are, on compute capability 9.0: none, the second, or both */
    enum {
        PLAIN,
        SLANTED,
        TWO_READERS,
        GELU,
        LATE_SCALE,
        KEPT,
        NO_GATE,
        RESIDUAL_16,
        TWO_NORMS,
        AFFINE,
        RMS,
        READ_BESIDE,
        SKIP,
        BOUNDED
    } form;
} Case;
static const Case cases[] = {
    {"block", "an image of a segment: odd batches end inside a tile", 8, 8, 64, 128, 192, 0, 1, 2, PLAIN},
    {"large", "two tiles an image, four passes of columns, several tiles of them", 16, 16, 128, 256, 320, 0, 1, 2, GELU},
    {"three", "192 tokens, three passes of columns; channels of the reader end inside a pass", 8, 24, 64, 192, 232, 0, 1, 2, PLAIN},
    {"wide", "nine passes of the stream, as many partial moments", 8, 8, 192, 576, 192, 0, 1, 2, PLAIN},
    {"offset", "mean at thrice the deviation", 8, 8, 64, 128, 192, 2, 1, 2, PLAIN},
    {"slanted", "means of nine passes differ", 8, 8, 64, 576, 192, 3, 1, 2, SLANTED},
    {"strong", "a stream beyond the numbers of f16", 8, 8, 64, 128, 192, 0, 2e5f, 2, PLAIN},
    {"faint", "eps counts", 8, 8, 64, 128, 192, 0, 2e-3f, 2, PLAIN},
    {"readers", "two convolutions read the norm", 8, 8, 64, 128, 192, 0, 1, 2, TWO_READERS},
    {"small", "16 tokens: no segment", 4, 4, 64, 128, 192, 0, 1, 0, PLAIN},
    {"ragged", "a stream of 136 channels: no whole passes", 8, 8, 64, 136, 192, 0, 1, 0, PLAIN},
    {"late", "the norm's scale comes after the stream", 8, 8, 64, 128, 192, 0, 1, 1, LATE_SCALE},
    {"kept", "the norm's output is asked for", 8, 8, 64, 128, 192, 0, 1, 1, KEPT},
    {"no_gate", "a stream without a gate", 8, 8, 64, 128, 192, 0, 1, 0, NO_GATE},
    {"half", "a stream in 16 bits", 8, 8, 64, 128, 192, 0, 1, 0, RESIDUAL_16},
    {"norms", "two norms of a stream", 8, 8, 64, 128, 192, 0, 1, 1, TWO_NORMS},
    {"affine", "gamma and beta", 8, 8, 64, 128, 192, 0, 1, 0, AFFINE},
    {"rms", "no mean", 8, 8, 64, 128, 192, 0, 1, 0, RMS},
    {"beside", "an addition reads the norm too", 8, 8, 64, 128, 192, 0, 1, 1, READ_BESIDE},
    {"far_10", "mean at ten times the deviation", 8, 8, 64, 128, 192, 7, 1, 2, BOUNDED},
    {"far_100", "at a hundred times", 8, 8, 64, 128, 192, 70, 1, 2, BOUNDED},
    {"far_10000", "at ten thousand times: 16 bits hold nothing of the deviation, but numbers stay numbers", 8, 8, 64, 128, 192, 7000, 1, 2,
     BOUNDED},
    {"fainter", "deviations of which the copy in f16 holds few bits", 8, 8, 64, 128, 192, 0, 1e-4f, 2, BOUNDED},
    {"skip", "the norm's reader has a skip", 8, 8, 64, 128, 192, 0, 1, 1, SKIP},
};
enum { CASES = sizeof cases / sizeof *cases, BATCH = 3, MOST_INPUTS = 8, NORMS = 2 };

typedef struct {
    const Case *c;
    Graph *g;
    Tid input[MOST_INPUTS], stream, y;
    float gain[MOST_INPUTS], offset[MOST_INPUTS];
    int inputs, norm[NORMS]; /* norm: the ops */
    Exec *e;
} Net;
static Tid input(Net *n, const char *name, Shape s, float gain, float offset) {
    n->gain[n->inputs] = gain, n->offset[n->inputs] = offset;
    return n->input[n->inputs++] = g_input(n->g, name, s);
}
static Tid conv(Net *n, Tid x, const char *name, int k) {
    char bias[32];
    snprintf(bias, sizeof bias, "%s.bias", name);
    Tid w = g_weight(n->g, name, (Shape){k, 1, 1, shape_of(n->g, x).c}, (WeightView){.kind = VIEW_CONV});
    return g_conv(n->g, x, w, g_weight(n->g, bias, (Shape){1, 1, 1, k}, (WeightView){.kind = VIEW_VECTOR}), 0);
}
/* x + gate * (h w + b), in f32, as one op */
static Tid onto(Net *n, Tid h, const char *name, Tid x, Tid gate) {
    Graph *g = n->g;
    Tid y = conv(n, h, name, n->c->k);
    Op *op = &g->op[g->t[y].producer];
    op->in[3] = x, op->in[4] = gate;
    g->t[y].dtype = g->t[x].dtype;
    return y;
}
static Tid norm(Net *n, Tid x, Tid shift_scale) {
    Tid vector = n->c->form == AFFINE ? g_weight(n->g, "gamma", (Shape){1, 1, 1, n->c->k}, (WeightView){.kind = VIEW_VECTOR}) : 0;
    return g_pixel_norm(n->g, x, vector, vector, shift_scale, 1e-6f, n->c->form == RMS);
}
static Net net_build(const Case *c, Precision precision, int images) {
    Net n = {.c = c, .g = graph_new(precision)};
    Graph *g = n.g;
    g->guard_bytes = DG_ALIGN;
    Shape vector = {images, 1, 1, c->k}, twice = {images, 1, 1, 2 * c->k}, tokens = {images, c->h, c->w, c->k};
    Tid h = input(&n, "h", (Shape){images, c->h, c->w, c->c}, 1, 0), gate = input(&n, "gate", vector, c->gain, 0);
    Tid x = input(&n, "stream", tokens, c->gain, c->offset);
    if (precision.act != DG_F64 && c->form != RESIDUAL_16) g->t[x].dtype = DG_F32;
    Tid m = input(&n, "modulation", (Shape){images, 1, 1, 4 * c->k}, 1, 0);
    bool late = c->form == LATE_SCALE;
    Tid shift_scale = late ? 0 : g_slice(g, m, 0, 2 * c->k);
    DG_CHECK(late || shape_eq(shape_of(g, shift_scale), twice), "the modulation");
    x = onto(&n, h, "first", x, c->form == NO_GATE ? 0 : gate);
    if (late) shift_scale = g_slice(g, m, 0, 2 * c->k);
    Tid second = g_slice(g, m, 2 * c->k, 2 * c->k);
    Tid y = norm(&n, x, shift_scale);
    n.norm[0] = g->t[y].producer;
    if (c->form == KEPT) g->t[y].keep = true;
    Tid q = conv(&n, y, "reader", c->width);
    if (c->form == GELU) g->op[g->t[q].producer].conv.act = ACT_GELU_TANH;
    if (c->form == TWO_READERS) q = g_add(g, q, conv(&n, y, "another", c->width), 1, 1);
    if (c->form == SKIP) { /* as graph_fuse would make it */
        Op *op = &g->op[g->t[q].producer];
        Tid w = g_weight(g, "skip", (Shape){c->width, 1, 1, c->c}, (WeightView){.kind = VIEW_CONV});
        g->t[w].dtype = g->t[h].dtype;
        *op = conv_with_skip(g, *op, h, 0, w, 0);
    }
    if (c->form == READ_BESIDE) q = conv(&n, g_add(g, y, y, 1, 1), "beside", c->width);
    if (c->form == TWO_NORMS) q = g_add(g, q, conv(&n, norm(&n, x, second), "another", c->width), 1, 1);
    x = onto(&n, q, "second", x, c->form == NO_GATE ? 0 : gate); /* of what the first norm's reader left, into the next norm */
    n.stream = x;
    y = norm(&n, x, second);
    n.norm[1] = g->t[y].producer;
    n.y = conv(&n, y, "last", c->width);
    g->t[n.y].keep = g->t[n.stream].keep = true;
    graph_plan(g);
    return n;
}
static void fill_all(Net *n, int first) {
    for (int k = 0; k < n->inputs; k++) {
        size_t count = shape_count(shape_of(n->g, n->input[k])), skip = (size_t)first * (count / (size_t)shape_of(n->g, n->input[k]).n);
        float *v = dg_alloc(count * sizeof *v);
        size_t channels = (size_t)shape_of(n->g, n->input[k]).c;
        for (size_t i = 0; i < count; i++) {
            float slant = n->c->form == SLANTED ? 2 * (float)(i % channels) / (float)channels : 1;
            v[i] = made_up_value((uint64_t)k, skip + i) * n->gain[k] + n->offset[k] * slant;
        }
        exec_set(n->e, n->input[k], DG_F32, v);
        free(v);
    }
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
/* The largest |mean| / deviation of the stream's rows, and the smallest deviation. */
static double farthest(Net *n, double *deviation) {
    size_t count, c = (size_t)n->c->k;
    double *x = exec_values(n->e, n->stream, &count), most = 0;
    *deviation = INFINITY;
    for (size_t row = 0; row < count; row += c) {
        double mean = 0, squares = 0;
        for (size_t i = 0; i < c; i++) mean += x[row + i] / (double)c;
        for (size_t i = 0; i < c; i++) squares += (x[row + i] - mean) * (x[row + i] - mean) / (double)c;
        most = fmax(most, fabs(mean) / sqrt(squares)), *deviation = fmin(*deviation, sqrt(squares));
    }
    free(x);
    return most;
}
/* BOUNDED: by graph_norm_fold's bound, of a norm whose own rounding is that of device "rounded". */
static void compare(Net *a, Net *ref, Net *base, Tid of, const char *precision) {
    double found = exec_rel_l2(a->e, of, ref->e, of), off = exec_rel_l2(base->e, of, ref->e, of), deviation;
    double far = farthest(ref, &deviation), bound = 3 * off + 4 * (double)FLT_EPSILON;
    if (a->c->form == BOUNDED) bound = bound * sqrt(1 + 2 * far * far) + (strcmp(precision, "fp16") ? 0 : 0x1p-19 / deviation);
    CHECK(found <= bound, "%s %s, %s: relative error %.3g, rounded %.3g, bound %.3g: %s", a->c->name, precision,
          of == a->y ? "result" : "stream", found, off, bound, a->c->why);
}
static void check_values(const Case *c, Device *d, Device *ref64, Device *rounded, const char *precision) {
    Net a = net_new(c, d, BATCH), b = net_new(c, ref64, BATCH), base = net_new(c, rounded, BATCH), one = net_new(c, d, 1);
    Error err;
    bool clean = exec_run_checked(a.e, a.e->g->batch, &err);
    CHECK(clean, "%s %s: %s", c->name, precision, clean ? "" : err.text);
    fill_all(&a, 0);
    exec_run(a.e, BATCH), exec_run(b.e, BATCH), exec_run(base.e, BATCH);
    compare(&a, &b, &base, a.stream, precision), compare(&a, &b, &base, a.y, precision);
    size_t n, per;
    double *y = exec_values(a.e, a.y, &n);
    for (int run = 0; run < 2; run++) exec_run(a.e, BATCH); /* captured, replayed */
    double *again = exec_values(a.e, a.y, &n);
    CHECK(!memcmp(y, again, n * sizeof *y), "%s %s: a replayed run gives other bits", c->name, precision);
    for (int i = 0; i < BATCH; i++) {
        fill_all(&one, i);
        exec_run(one.e, 1);
        double *yi = exec_values(one.e, one.y, &per);
        CHECK(!memcmp(yi, y + (size_t)i * per, per * sizeof *yi), "%s %s: image %d depends on its batch", c->name, precision, i);
        free(yi);
    }
    fill_all(&a, 1); /* images 1 and 2 in a run of two of the graph for three */
    exec_run(a.e, BATCH - 1);
    double *few = exec_values(a.e, a.y, &n);
    CHECK(!memcmp(few, y + n / BATCH, n / BATCH * (BATCH - 1) * sizeof *y), "%s %s: images depend on the rows of a run", c->name,
          precision);
    free(y), free(again), free(few);
    net_free(&a), net_free(&b), net_free(&base), net_free(&one);
}
static bool folds_here(const Device *d) { return ((const Cuda *)d->impl)->capability == 90; }
static double of_copy(double x, double scale) { return x * (1 + scale) * (double)FOLD_SCALE; }
/* Of any tensor, now. */
static double *peek(Net *n, Tid t, size_t *count) {
    bool keep = n->g->t[t].keep;
    n->g->t[t].keep = true;
    double *v = exec_values(n->e, t, count);
    n->g->t[t].keep = keep;
    return v;
}
/* Bytes that ops are said to move: of a norm that is run its operands, of one that is not nothing, but the copy, a row's two moments, scale
 * and shift where they are written or read.                                                                                        */
static void check_bytes(const Net *n, int norm, bool folded) {
    const Graph *g = n->g;
    const Backend *be = n->e->dev->be;
    const Op *op = &g->op[norm];
    int maker = g->t[op->in[0]].producer;
    double image = (double)tensor_bytes(&g->t[op->out]), vector = (double)tensor_bytes(&g->t[op->in[3]]);
    double moments = (double)shape_count(shape_of(g, op->out)) / n->c->k * 8;
    double more = be->bytes(n->e, maker) - op_bytes(g, maker), wanted = folded ? image + moments + vector / 2 : 0;
    CHECK(be->bytes(n->e, norm) == (folded ? 0 : op_bytes(g, norm)), "%s: norm %d moves %g bytes", n->c->name, norm, be->bytes(n->e, norm));
    CHECK(more == wanted, "%s: what makes norm %d moves %g bytes more, not %g", n->c->name, norm, more, wanted);
    wanted = folded ? moments + vector : 0;
    for (int i = 0; i < g->nop; i++) {
        if (g->op[i].kind != OP_CONV || g->op[i].in[0] != op->out) continue;
        more = be->bytes(n->e, i) - op_bytes(g, i);
        CHECK(more == wanted, "%s: a reader of norm %d moves %g bytes more, not %g", n->c->name, norm, more, wanted);
    }
}
/* Where a norm is folded, its op is none: what lies in its output is the stream's products, from the op before it, and stays. Elsewhere it
 * writes its output.                                                                                                              */
static void check_left_out(const Case *c, Device *d, const char *precision) {
    Net n = net_new(c, d, BATCH);
    for (int k = 0; k < NORMS; k++) {
        const Op *op = &n.g->op[n.norm[k]];
        for (int i = 0; i < n.norm[k]; i++) d->be->run_op(n.e, i);
        size_t count, all;
        double *before = peek(&n, op->out, &count), *stream = peek(&n, op->in[0], &count), *m = peek(&n, op->in[3], &all);
        d->be->run_op(n.e, n.norm[k]);
        double *after = peek(&n, op->out, &count), *products = dg_alloc(count * sizeof *products);
        bool folded = !memcmp(before, after, count * sizeof *after), wanted = folds_here(d) && c->folds >= NORMS - k;
        CHECK(folded == wanted, "%s %s: norm %d writes %s: %s", c->name, precision, k, folded ? "nothing" : "its output", c->why);
        size_t image = count / BATCH, channels = (size_t)c->k;
        for (size_t i = 0; i < count; i++) products[i] = of_copy(stream[i], m[i / image * 2 * channels + channels + i % channels]);
        double apart = rel_l2(before, products, count), squares = 0;
        for (size_t i = 0; i < count; i++) squares += products[i] * products[i] / (double)count;
        if (op->in[3]) check_bytes(&n, n.norm[k], folded);
        if (folded)
            CHECK(apart < 0x1p-7 + 0x1p-25 / sqrt(squares), "%s %s: what is left for norm %d differs by %.3g", c->name, precision, k,
                  apart);
        NormFold f;
        if (folded) CHECK(graph_norm_fold(n.g, n.norm[k], &f) && n.g->op[f.maker].out == op->in[0], "%s: who makes it", c->name);
        free(before), free(stream), free(m), free(after), free(products);
    }
    net_free(&n);
}
/* Whether norm k may be left out of n's graph: then its output begins at its maker and what it is made of lives as long, else it begins at
 * its op.                                                                                                                       */
static bool planned(const Net *n, int k) {
    NormFold f;
    const Op *op = &n->g->op[n->norm[k]];
    const Tensor *y = &n->g->t[op->out];
    bool candidate = graph_norm_fold(n->g, n->norm[k], &f);
    CHECK(y->first == (candidate ? f.maker : n->norm[k]), "%s: the output of norm %d begins at op %d", n->c->name, k, y->first);
    CHECK(!candidate || n->g->t[op->in[3]].last >= y->last, "%s: the scale of norm %d ends at op %d, its last reader is %d", n->c->name, k,
          n->g->t[op->in[3]].last, y->last);
    return candidate;
}
/* Without a device: what the graph says of the norms, and the memory that it plans for a device that leaves them out, for one that does
 * not, and in 32 bits, where none does.                                                                                              */
static void check_plan(const Case *c) {
    Net with = net_build(c, (Precision){.act = DG_F16, .leaves_norms = true}, BATCH),
        without = net_build(c, (Precision){.act = DG_F16}, BATCH);
    Net whole = net_build(c, (Precision){.act = DG_F32, .leaves_norms = true}, BATCH);
    size_t copies = 0;
    for (int k = 0; k < NORMS; k++) {
        bool candidate = planned(&with, k);
        if (candidate) copies += align_up(tensor_bytes(&with.g->t[with.g->op[with.norm[k]].out])) + 2 * DG_ALIGN;
        CHECK(candidate || c->folds < NORMS - k, "%s: the graph does not allow what the device does with norm %d", c->name, k);
        CHECK(!planned(&without, k) && !planned(&whole, k), "%s: norm %d is left out by a device that does not, or in 32 bits", c->name, k);
    }
    size_t more = with.g->arena_bytes - without.g->arena_bytes;
    CHECK(with.g->arena_bytes >= without.g->arena_bytes && more <= copies, "%s: %zu bytes, without copies %zu, and these are %zu", c->name,
          with.g->arena_bytes, without.g->arena_bytes, copies);
    /* most is live at the second maker: two streams, what it reads, the inputs, and the copy that it leaves */
    if (c->form == PLAIN) CHECK(copies && more == copies / NORMS, "%s: %zu bytes for copies, one is %zu", c->name, more, copies / NORMS);
    graph_free(with.g), graph_free(without.g), graph_free(whole.g);
}
static void test_device(const char *spec, const char *precision, const char *only) {
    Error err;
    Device *d = device_open(spec, precision, &err), *ref64 = device_open("ref64", NULL, &err);
    Device *rounded = device_open("rounded", precision, &err);
    if (!d) not_run("%s: %s", spec, err.text);
    for (int i = 0; d && i < CASES; i++) {
        if (only && !strstr(cases[i].name, only)) continue;
        check_values(&cases[i], d, ref64, rounded, precision);
        check_left_out(&cases[i], d, precision);
    }
    device_close(d), device_close(ref64), device_close(rounded);
}
int main(int argc, char **argv) {
    static const char *const specs[] = {"emu", "cuda"}, *const precisions[] = {"fp16", "bf16"};
    bool any = false;
    for (int i = 0; i < CASES; i++) check_plan(&cases[i]);
    for (int i = 0; i < 2; i++)
        for (int p = 0; p < 2; p++) {
            if (argc > 1 ? strcmp(argv[1], specs[i]) != 0 : !strstr(device_list(), specs[i])) continue;
            if (argc > 2 && strcmp(argv[2], precisions[p])) continue;
            test_device(specs[i], precisions[p], argc > 3 ? argv[3] : NULL);
            any = true;
        }
    if (!any) not_run("no CUDA device in this build");
    return check_done("test_norm_fold");
}
