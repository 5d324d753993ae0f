/* cpu_ops.c -- ops of the CPU backend at the shapes of real networks, each beside what it is to be held against: a convolution beside
 * a direct 3x3 of stride 1 and equal work, a pass over memory beside a copy of as many bytes.
 *   build/bench/cpu_ops [ROUNDS [WORD]]     11 rounds; only rows whose name contains WORD
 * A row and its yardstick take turns (turns.h). Medians of the rounds; the ratio is the median of the rounds' ratios, with the least
 * and the greatest. To add a row: a builder, if there is none for its op, and a line in `rows`.                                   */
#include "bench/turns.h"
#include "graph/weights.h"
#include <math.h>

/* ---- rows ---------------------------------------------------------------------------------------------------------------------- */
typedef struct Row Row;
struct Row {
    const char *name;
    Shape x;
    Tid (*build)(Graph *g, Tid x, const Row *row);
    bool by_bytes; /* a convolution that is held against a copy */
    /* clang-format off */
    union {
        struct { int k, r, s; ConvOptions o; bool gate, residual; } conv;
        PoolOptions pool;
        struct { bool modulated; } pixel_norm;
        struct { bool residual; } gate;
        struct { int size; } resize; /* of a square, to a square */
    };
    /* clang-format on */
};
static Tid build_conv(Graph *g, Tid x, const Row *row) {
    Tid w = g_weight(g, "weight", (Shape){row->conv.k, row->conv.r, row->conv.s, row->x.c}, (WeightView){.kind = VIEW_CONV});
    Tid bias = g_weight(g, "bias", (Shape){1, 1, 1, row->conv.k}, (WeightView){.kind = VIEW_VECTOR});
    Tid y = g_conv_with(g, x, w, bias, row->conv.o);
    if (row->conv.gate)
        y = g_gate(g, y, g_input(g, "gate", (Shape){row->x.n, 1, 1, row->conv.k}),
                   row->conv.residual ? g_input(g, "residual", shape_of(g, y)) : 0);
    return y;
}
static Tid build_pool(Graph *g, Tid x, const Row *row) { return g_pool(g, x, row->pool); }
static Tid build_pixel_norm(Graph *g, Tid x, const Row *row) {
    Tid shift_scale = row->pixel_norm.modulated ? g_input(g, "shift_scale", (Shape){row->x.n, 1, 1, 2 * row->x.c}) : 0;
    return g_pixel_norm(g, x, 0, 0, shift_scale, 1e-6f, false);
}
static Tid build_gate(Graph *g, Tid x, const Row *row) {
    return g_gate(g, x, g_input(g, "gate", (Shape){row->x.n, 1, 1, row->x.c}), row->gate.residual ? g_input(g, "residual", row->x) : 0);
}
/* Triangles, wider where the image shrinks. */
static Tid table(Graph *g, const char *name, int in, int out) {
    double scale = (double)in / out, reach = scale > 1 ? scale : 1;
    int taps = (int)ceil(2 * reach);
    double *values = dg_alloc((size_t)out * (size_t)(1 + taps) * sizeof *values), *row = values;
    for (int i = 0; i < out; i++, row += 1 + taps) {
        double centre = (i + .5) * scale - .5, sum = 0;
        int first = centre > reach ? (int)(centre - reach) + 1 : 0;
        row[0] = first;
        for (int k = 0; k < taps; k++) {
            double apart = fabs(first + k - centre) / reach;
            row[1 + k] = first + k < in && apart < 1 ? 1 - apart : 0, sum += row[1 + k];
        }
        for (int k = 0; k < taps; k++) row[1 + k] /= sum;
    }
    Tid t = g_table(g, name, (Shape){1, 1, out, 1 + taps}, values);
    free(values);
    return t;
}
static Tid build_resize(Graph *g, Tid x, const Row *row) {
    int to = row->resize.size;
    ResizeOptions o = {false, -INFINITY, INFINITY, 1, 0};
    return g_resize(g, x, table(g, "columns", row->x.w, to), table(g, "rows", row->x.h, to), o);
}

/* clang-format off */
static const Row rows[] = {
    /* stride; pads at the top, on the left, at the bottom, on the right; scale; activation */
    {"Inception 5x5, 35x35x48 -> 64", {4, 35, 35, 48}, build_conv, .conv = {64, 5, 5, {1, 2, 2, 2, 2, 1, ACT_RELU}}},
    {"Inception 1x7, 17x17x192 -> 192", {4, 17, 17, 192}, build_conv, .conv = {192, 1, 7, {1, 0, 3, 0, 3, 1, ACT_RELU}}},
    {"Inception 7x1, 17x17x192 -> 192", {4, 17, 17, 192}, build_conv, .conv = {192, 7, 1, {1, 3, 0, 3, 0, 1, ACT_RELU}}},
    {"Inception 1x7, 17x17x128 -> 128", {4, 17, 17, 128}, build_conv, .conv = {128, 1, 7, {1, 0, 3, 0, 3, 1, ACT_RELU}}},
    {"Inception 3x3/2, 35x35x288 -> 384", {2, 35, 35, 288}, build_conv, .conv = {384, 3, 3, {2, 0, 0, 0, 0, 1, ACT_RELU}}},
    {"Inception 3x3/2, 17x17x192 -> 320", {4, 17, 17, 192}, build_conv, .conv = {320, 3, 3, {2, 0, 0, 0, 0, 1, ACT_RELU}}},
    {"Inception 3x3/2, 299x299x3 -> 32", {1, 299, 299, 3}, build_conv, .conv = {32, 3, 3, {2, 0, 0, 0, 0, 1, ACT_RELU}}},
    {"Inception 3x3, 147x147x32 -> 64", {1, 147, 147, 32}, build_conv, .conv = {64, 3, 3, {1, 1, 1, 1, 1, 1, ACT_RELU}}},
    {"Inception 1x3, 8x8x384 -> 384", {8, 8, 8, 384}, build_conv, .conv = {384, 1, 3, {1, 0, 1, 0, 1, 1, ACT_RELU}}},
    {"VAE 3x3/2, 64x64x128 -> 128", {1, 64, 64, 128}, build_conv, .conv = {128, 3, 3, {2, 0, 0, 1, 1, 1}}},
    {"VAE 3x3/2, 32x32x512 -> 512", {1, 32, 32, 512}, build_conv, .conv = {512, 3, 3, {2, 0, 0, 1, 1, 1}}},
    {"2x2/2, 64x64x128 -> 256", {1, 64, 64, 128}, build_conv, .conv = {256, 2, 2, {2, 0, 0, 0, 0, 1}}},
    {"DiT 2x2/2 patches, 32x32x4 -> 1152", {4, 32, 32, 4}, build_conv, .conv = {1152, 2, 2, {2, 0, 0, 0, 0, 1}}},
    {"DiT 2x2/2 patches, by bytes", {32, 32, 32, 4}, build_conv, .by_bytes = true, .conv = {1152, 2, 2, {2, 0, 0, 0, 0, 1}}},
    {"DiT 1x1, GELU, 16x16x1152 -> 4608", {1, 16, 16, 1152}, build_conv, .conv = {4608, 1, 1, {1, 0, 0, 0, 0, 1, ACT_GELU_TANH}}},
    {"DiT 1x1, gate, 16x16x4608 -> 1152", {1, 16, 16, 4608}, build_conv, .conv = {1152, 1, 1, {1, 0, 0, 0, 0, 1}, true, true}},
    /* max; height, width, stride, pad */
    {"pool, max 3x3/2, 147x147x64", {16, 147, 147, 64}, build_pool, .pool = {true, 3, 3, 2, 0}},
    {"pool, max 3x3/2, 35x35x288", {32, 35, 35, 288}, build_pool, .pool = {true, 3, 3, 2, 0}},
    {"pool, mean 3x3, 35x35x288", {32, 35, 35, 288}, build_pool, .pool = {false, 3, 3, 1, 1}},
    {"pool, global mean, 8x8x2048", {32, 8, 8, 2048}, build_pool, .pool = {false, 8, 8, 1, 0}},
    {"pixel norm, 16x16x1152", {8, 16, 16, 1152}, build_pixel_norm, .pixel_norm = {false}},
    {"pixel norm, shift and scale, 16x16x1152", {8, 16, 16, 1152}, build_pixel_norm, .pixel_norm = {true}},
    {"pixel norm, shift and scale, 16x16x1152", {32, 16, 16, 1152}, build_pixel_norm, .pixel_norm = {true}},
    {"gate, 16x16x1152", {8, 16, 16, 1152}, build_gate, .gate = {false}},
    {"gate, residual, 16x16x1152", {8, 16, 16, 1152}, build_gate, .gate = {true}},
    {"resize, 32x32x32 -> 64x64", {8, 32, 32, 32}, build_resize, .resize = {64}},
    {"resize, 32x32x32 -> 64x64", {128, 32, 32, 32}, build_resize, .resize = {64}},
    {"resize, 64x64x128 -> 128x128", {8, 64, 64, 128}, build_resize, .resize = {128}},
    {"resize, 128x128x32 -> 64x64", {64, 128, 128, 32}, build_resize, .resize = {64}},
};
/* clang-format on */
enum { ROWS = sizeof rows / sizeof *rows };

/* Of equal work: a 3x3 with pads, with as many outputs, and with the number of channels that comes next to as many products. From 32
 * channels on it is no multiple of 8, so that Winograd's way does not take it.                                                 */
static Row yardstick(const Row *row, Shape out) {
    int products = row->conv.r * row->conv.s * row->x.c, c = (products + 4) / 9;
    if (c >= 32) c = c / 8 * 8 + 4;
    return (Row){"", {out.n, out.h, out.w, c}, build_conv, .conv = {row->conv.k, 3, 3, {1, 1, 1, 1, 1, 1, ACT_NONE}}};
}

/* ---- a graph of one row -------------------------------------------------------------------------------------------------------- */
typedef struct {
    Graph *g;
    Weights *w;
    Exec *e;
} Network;
static void fill(Exec *e, Tid t) {
    size_t n = shape_count(shape_of(e->g, t));
    float *v = dg_alloc(n * sizeof *v);
    uint32_t state = (uint32_t)t;
    for (size_t i = 0; i < n; i++) state = state * 1664525u + 1013904223u, v[i] = (float)(state >> 8) * 0x1p-23f - 1;
    exec_set(e, t, DG_F32, v);
    free(v);
}
static Network network_of(const Row *row, Device *d) {
    Network n = {.g = graph_new(d->precision), .w = weights_synthetic(1, NULL)};
    Tid y = row->build(n.g, g_input(n.g, "x", row->x), row);
    graph_fuse(n.g);
    g_output(n.g, y);
    graph_plan(n.g);
    Error e;
    n.e = exec_new(n.g, d, weights_alone(n.w), &e);
    DG_CHECK(n.e, "%s: %s", row->name, e.text);
    for (Tid t = 1; t < n.g->nt; t++)
        if (n.g->t[t].kind == T_INPUT) fill(n.e, t);
    return n;
}
static void network_call(void *exec) {
    Exec *e = exec;
    exec_run(e, e->g->batch);
}
static Subject network_subject(Network *n, double work) { return (Subject){.call = network_call, .context = n->e, .work = work}; }
static void network_free(Network *n) {
    exec_free(n->e);
    graph_free(n->g);
    weights_free(n->w);
}

/* ---- measuring ------------------------------------------------------------------------------------------------------------------ */
static void measure(const Row *row, Device *d, int rounds) {
    Network n = network_of(row, d);
    DG_CHECK(n.g->nop == 1, "%s: %d ops", row->name, n.g->nop);
    bool conv = n.g->op[0].kind == OP_CONV && !row->by_bytes;
    double work = conv ? op_flops(n.g, 0) : op_bytes(n.g, 0);
    Subject a = network_subject(&n, work);
    Rates r;
    if (conv) {
        Row other = yardstick(row, shape_of(n.g, n.g->op[0].out));
        Network direct = network_of(&other, d);
        Subject b = network_subject(&direct, op_flops(direct.g, 0));
        r = take_turns(&a, &b, rounds);
        network_free(&direct);
    } else {
        Copy copy = copy_new(work);
        Subject b = copy_subject(&copy);
        r = take_turns(&a, &b, rounds);
        copy_free(&copy);
    }
    printf("| %s | %d | %.4g | %.3g | %.1f | %.1f | **%.2f** (%.2f to %.2f) |\n", row->name, row->x.n, work * 1e-6, work / op_bytes(n.g, 0),
           r.rate * 1e-9, r.other * 1e-9, r.ratio, r.least, r.greatest);
    fflush(stdout);
    network_free(&n);
}
int main(int argc, char **argv) {
    const Asked a = asked(argc, argv, "cpu_ops");
    int shown = 0;
    if (!a.rounds) return 2;
    printf("| op | images | MFLOP or MB | FLOP a byte | GFLOP/s or GB/s | of the 3x3 or a copy | ratio |\n|---|---|---|---|---|---|---|\n");
    for (int i = 0; i < ROWS; i++) {
        if (!strstr(rows[i].name, a.word)) continue;
        measure(&rows[i], a.d, a.rounds);
        shown++;
    }
    return asked_end(&a, shown, "cpu_ops");
}
