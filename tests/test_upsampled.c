/* test_upsampled.c -- resamples that are not run (upsampled.h): convolutions that read what would be upsampled, results against the
 * reference in double, image by image the same bits, and proof that the resample's pass is left out where it should be and nowhere else.
 *   test_upsampled [DEVICE [PRECISION [WORD]]]     default: each of emu and cuda that this build has, in fp16 and bf16; WORD: only the
 *                                                  cases whose names contain it
 * On a device that leaves none out (compute capability 9.0 does; EMU_CC=90) results alone are checked, and that none is left out.
 * Tolerance: relative L2 error <= 3 x that of device "rounded" in the same precision, + 4 eps of float.                     */
#include "device/cuda/ops.h"
#include "device/cuda/upsampled.h"
#include "base/dtype.h"
#include "graph/weights.h"
#include "check.h"
#include "exec_check.h"
#include "exec_compare.h"
#include "made_up.h"
#include <float.h>
#include <stdlib.h>

typedef enum { OF_X, OF_SKIP, OF_ADD } Role; /* as what the convolution reads the resample */
typedef struct {
    const char *name, *why;
    Role role;
    int h, w, c, k; /* of the small image; c: of the convolution's x; k: its outputs */
    bool left_out;  /* on compute capability 9.0 */
    int skip;       /* OF_SKIP: channels */
    enum {
        PLAIN,
        VECTOR,
        RESIDUAL,
        SCALED,
        RELU,
        F32_OUT,
        F32_RESIDUAL,
        WITH_NORM,
        TWO_READERS,
        KEPT,
        READ_BESIDE,
        SHARED_WEIGHT,
        TENT,
        QUARTER,
        STRIDE,
        PIXEL,
        BOTH,
        GATE,
        TWO_SKIPS
    } form;
} Case;
static const Case cases[] = {
    {"x", "an image of one segment a phase: two images in a tile, the last batch half empty", OF_X, 8, 8, 64, 64, true},
    {"x_vector", "a vector for each image; several steps a tap, 256 channels", OF_X, 8, 8, 128, 256, true, .form = VECTOR},
    {"x_192", "tiles of 192 channels, sums that end inside a step", OF_X, 8, 8, 72, 192, true},
    {"x_320", "tiles of channels for each phase", OF_X, 8, 8, 64, 320, true},
    {"x_large", "two tiles an image, which stand in bands of all phases", OF_X, 16, 16, 64, 128, true},
    {"x_line", "tiles of half a line; the last is not full", OF_X, 3, 64, 64, 64, true},
    {"x_residual", "a residual of the outputs' size, of one phase", OF_X, 8, 8, 64, 192, true, .form = RESIDUAL},
    {"x_scaled", "a scale", OF_X, 8, 8, 64, 64, true, .form = SCALED},
    {"x_relu", "an activation", OF_X, 8, 8, 64, 64, true, .form = RELU},
    {"x_f32", "output in f32, stored by threads", OF_X, 8, 8, 64, 64, true, .form = F32_OUT},
    {"x_f32_residual", "residual and output in f32", OF_X, 8, 8, 64, 128, true, .form = F32_RESIDUAL},
    {"x_norm", "a norm of the outputs, from their statistics", OF_X, 16, 16, 64, 64, true, .form = WITH_NORM},
    {"x_gate", "a gate", OF_X, 8, 8, 64, 64, true, .form = GATE},
    {"x_two", "two convolutions", OF_X, 8, 8, 64, 64, true, .form = TWO_READERS},
    {"skip", "1x1 of the small image beside 3x3 of a large one", OF_SKIP, 8, 8, 64, 64, true, 64},
    {"skip_wide", "sums of the skip end inside a step", OF_SKIP, 8, 8, 64, 256, true, 136},
    {"skip_norm", "a norm of the outputs", OF_SKIP, 8, 8, 128, 64, true, 64, WITH_NORM},
    {"add", "a residual of the small image", OF_ADD, 8, 8, 64, 192, true},
    {"add_norm", "a norm of the outputs", OF_ADD, 16, 16, 64, 64, true, .form = WITH_NORM},
    {"kept", "the upsampled image is asked for", OF_X, 8, 8, 64, 64, false, .form = KEPT},
    {"beside", "an addition reads it too", OF_X, 8, 8, 64, 64, false, .form = READ_BESIDE},
    {"shared", "another convolution has the same weight", OF_X, 8, 8, 64, 64, false, .form = SHARED_WEIGHT},
    {"tent", "a filter of four taps", OF_X, 8, 8, 64, 64, false, .form = TENT},
    {"quarter", "a scale of the resample: a gradient's", OF_X, 8, 8, 64, 64, false, .form = QUARTER},
    {"stride", "a convolution with a stride", OF_X, 8, 8, 64, 64, false, .form = STRIDE},
    {"pixel", "a convolution of one pixel", OF_X, 8, 8, 64, 64, false, .form = PIXEL},
    {"both", "x and the residual are both upsampled", OF_X, 8, 8, 64, 64, false, .form = BOTH},
    {"two_skips", "a skip of two", OF_SKIP, 8, 8, 64, 64, false, 64, TWO_SKIPS},
    {"small", "a phase is no whole segments", OF_X, 4, 4, 64, 64, false},
    {"ragged", "channels of neighbouring columns would share a pass", OF_X, 8, 8, 64, 72, false},
    {"add_ragged", "a step would be of two phases", OF_ADD, 8, 8, 72, 128, false},
};
enum { CASES = sizeof cases / sizeof *cases, BATCH = 3, MOST_INPUTS = 6 };

typedef struct {
    const Case *c;
    Graph *g;
    Tid input[MOST_INPUTS], y;
    int inputs, resample; /* the op */
    Exec *e;
} Net;
static Tid input(Net *n, const char *name, Shape s) { return n->input[n->inputs++] = g_input(n->g, name, s); }
static Tid up(const Net *n, Tid x) {
    static const float box[] = {.5f, .5f}, tent[] = {.125f, .375f, .375f, .125f};
    if (n->c->form == TENT) return g_up(n->g, x, tent, 4, 1, 4);
    return g_up(n->g, x, box, 2, 0, n->c->form == QUARTER ? 1 : 4);
}
static Tid conv(const Net *n, Tid x, const char *name, int r) {
    Graph *g = n->g;
    int pad = r / 2;
    Tid w = g_weight(g, name, (Shape){n->c->k, r, r, shape_of(g, x).c}, (WeightView){.kind = VIEW_CONV});
    ConvOptions o = {.stride = n->c->form == STRIDE ? 2 : 1, .top = pad, .left = pad, .bottom = pad, .right = pad, .scale = 1};
    return g_conv_with(g, x, w, vector_weight(g, "bias", n->c->k), o);
}
static Op *op_of(const Net *n, Tid t) { return &n->g->op[n->g->t[t].producer]; }
/* What the case's form adds to its convolution y. */
static void finish(Net *n, Tid y) {
    const Case *c = n->c;
    Graph *g = n->g;
    Shape s = shape_of(g, y);
    Tid vector = c->form == VECTOR || c->form == GATE ? input(n, "vector", (Shape){s.n, 1, 1, s.c}) : 0;
    Tid residual = c->form == RESIDUAL || c->form == F32_RESIDUAL ? input(n, "residual", s)
                   : c->form == BOTH                              ? up(n, input(n, "other", (Shape){s.n, c->h, c->w, s.c}))
                                                                  : 0;
    int last = g->nop - 1;
    if (c->form == BOTH) { /* the convolution comes last */
        Op conv = *op_of(n, y), resample = g->op[last];
        g->op[g->t[y].producer] = resample, g->t[resample.out].producer = g->t[y].producer;
        g->op[last] = conv, g->t[y].producer = last;
    }
    Op *op = op_of(n, y);
    if (c->form == GATE) op->in[4] = vector;
    else if (vector || residual) op->in[3] = vector ? vector : residual;
    if (c->form == SCALED || c->form == VECTOR) op->conv.scale = .5f;
    if (c->form == RELU) op->conv.act = ACT_RELU;
    if (c->form == F32_RESIDUAL && g->precision.act != DG_F64) g->t[residual].dtype = DG_F32;
    if (c->form == F32_OUT || c->form == F32_RESIDUAL) g_f32(g, y);
}
static Net net_build(const Case *c, Precision precision, int images) {
    Net n = {.c = c, .g = graph_new(precision)};
    Graph *g = n.g;
    g->guard_bytes = DG_ALIGN;
    Shape large = {images, 2 * c->h, 2 * c->w, c->c};
    int small_c = c->role == OF_X ? c->c : c->role == OF_SKIP ? c->skip : c->k;
    Tid x = g_unary(g, input(&n, "small", (Shape){images, c->h, c->w, small_c}), F_RELU, 0, 0), u = up(&n, x);
    n.resample = g->t[u].producer;
    if (c->form == KEPT) g->t[u].keep = true;
    if (c->role == OF_X) {
        n.y = conv(&n, u, "w", c->form == PIXEL ? 1 : 3);
        finish(&n, n.y);
        if (c->form == TWO_READERS) n.y = g_add(g, n.y, conv(&n, u, "again", 3), 1, 1);
        if (c->form == READ_BESIDE) n.y = g_add(g, n.y, u, 1, 1);
        if (c->form == SHARED_WEIGHT) n.y = g_add(g, n.y, conv(&n, input(&n, "large", large), "w", 3), 1, 1);
    } else {
        n.y = conv(&n, input(&n, "large", large), "w", 3);
        Op *op = op_of(&n, n.y);
        Tid more = c->form == TWO_SKIPS ? input(&n, "more", (Shape){images, 2 * c->h, 2 * c->w, c->skip}) : 0;
        if (c->role == OF_ADD) {
            op->in[3] = u, op->conv.scale = .5f;
        } else { /* as graph_fuse would make it */
            Tid w = g_weight(g, "skip", (Shape){c->k, 1, 1, more ? 2 * c->skip : c->skip}, (WeightView){.kind = VIEW_CONV});
            g->t[w].dtype = g->t[u].dtype;
            *op = conv_with_skip(g, *op, u, more, w, 0);
        }
    }
    if (c->form == WITH_NORM) n.y = g_norm(g, n.y, vector_weight(g, "gamma", c->k), vector_weight(g, "beta", c->k), 0, 8, 1e-5f);
    g->t[n.y].keep = true;
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
static void check_values(const Case *c, Device *d, Device *ref64, Device *rounded, const char *precision) {
    Net a = net_new(c, d, BATCH), b = net_new(c, ref64, BATCH), base = net_new(c, rounded, BATCH), one = net_new(c, d, 1);
    Error err;
    bool clean = exec_run_checked(a.e, a.e->g->batch, &err);
    CHECK(clean, "%s %s: %s", c->name, precision, clean ? "" : err.text);
    fill_all(&a, 0);
    exec_run(a.e, BATCH), exec_run(b.e, BATCH), exec_run(base.e, BATCH);
    double found = exec_rel_l2(a.e, a.y, b.e, b.y), off = exec_rel_l2(base.e, base.y, b.e, b.y);
    CHECK(found <= 3 * off + 4 * (double)FLT_EPSILON, "%s %s: relative error %.3g, rounded %.3g: %s", c->name, precision, found, off,
          c->why);
    size_t n, per;
    double *y = exec_values(a.e, a.y, &n);
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
    free(y), free(few);
    net_free(&a), net_free(&b), net_free(&base), net_free(&one);
}
static bool goes_up_here(const Device *d) { return ((const Cuda *)d->impl)->capability == 90; }
/* How many values of its output, NaN before, the resample's op writes. */
static size_t resample_writes(Net *n, Device *d, size_t *count) {
    Tid out = n->g->op[n->resample].out;
    bool keep = n->g->t[out].keep;
    size_t bytes = tensor_bytes(&n->g->t[out]), written = 0;
    void *ones = dg_alloc(bytes);
    memset(ones, 0xff, bytes);
    d->be->upload(d, n->e->data[out], ones, bytes);
    free(ones);
    d->be->run_op(n->e, n->resample);
    n->g->t[out].keep = true;
    double *v = exec_values(n->e, out, count);
    n->g->t[out].keep = keep;
    for (size_t i = 0; i < *count; i++) written += v[i] == v[i];
    free(v);
    return written;
}
/* None where it is left out. Libraries read no small images: where one may run the convolutions it is run. */
static void check_left_out(const Case *c, Device *d, const char *precision) {
    Net n = net_new(c, d, BATCH);
    for (int i = 0; i < n.resample; i++) d->be->run_op(n.e, i);
    size_t count, written = resample_writes(&n, d, &count);
    CHECK(written == (goes_up_here(d) && c->left_out ? 0 : count), "%s %s: the resample writes %zu of %zu values: %s", c->name, precision,
          written, count, c->why);
    d->provider = DEVICE_CUDNN;
    written = resample_writes(&n, d, &count);
    CHECK(written == count, "%s %s: for a library the resample writes %zu of %zu values", c->name, precision, written, count);
    d->provider = DEVICE_OWN;
    net_free(&n);
}
/* Without a device: what the graph says, and that in 32 bits nothing changes its plan. */
static void check_plan(const Case *c) {
    Net half = net_build(c, (Precision){DG_F16, false}, BATCH), whole = net_build(c, (Precision){DG_F32, false}, BATCH);
    CHECK(cuda_up_candidate(half.g, half.resample) || !c->left_out, "%s: the graph does not allow what the device does", c->name);
    CHECK(!cuda_up_candidate(whole.g, whole.resample), "%s: a resample of 32 bits", c->name);
    CHECK(whole.g->t[whole.g->op[whole.resample].in[0]].last == whole.resample, "%s: in 32 bits what is upsampled outlives the resample",
          c->name);
    graph_free(half.g), graph_free(whole.g);
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
/* Sums of a weight's taps beyond the numbers of f16. */
static void check_refusal(const char *spec) {
    Error err = {""};
    Device *d = device_open(spec, "fp16", &err);
    if (!d || !goes_up_here(d)) {
        device_close(d);
        return;
    }
    Net n = net_build(&cases[0], d->precision, 1);
    Weights *w = weights_synthetic(1, NULL);
    size_t count = 64 * 3 * 3 * 64;
    float *data = dg_alloc(count * sizeof *data);
    for (size_t i = 0; i < count; i++) data[i] = 40000;
    StTensor big = {.name = "w", .dtype = DG_F32, .count = count, .bytes = count * sizeof *data, .data = data};
    big.dims = view_official_shape((Shape){64, 3, 3, 64}, (WeightView){.kind = VIEW_CONV}, big.shape);
    weights_override(w, "w", &big);
    Exec *e = exec_new(n.g, d, weights_alone(w), &err);
    CHECK(!e && strstr(err.text, "sums of weight w go beyond 65504"), "taps of 40000: %s", e ? "taken" : err.text);
    exec_free(e);
    weights_free(w);
    free(data);
    graph_free(n.g);
    device_close(d);
}
int main(int argc, char **argv) {
    static const char *const specs[] = {"emu", "cuda"}, *const precisions[] = {"fp16", "bf16"};
    bool any = false;
    for (int i = 0; i < CASES; i++) check_plan(&cases[i]);
    for (int i = 0; i < 2; i++) {
        if (argc > 1 ? strcmp(argv[1], specs[i]) != 0 : !strstr(device_list(), specs[i])) continue;
        if (argc < 3) check_refusal(specs[i]);
        for (int p = 0; p < 2; p++) {
            if (argc > 2 && strcmp(argv[2], precisions[p])) continue;
            test_device(specs[i], precisions[p], argc > 3 ? argv[3] : NULL);
            any = true;
        }
    }
    if (!any) not_run("no CUDA device in this build");
    return check_done("test_upsampled");
}
