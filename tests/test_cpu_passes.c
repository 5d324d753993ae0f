/* test_cpu_passes.c -- what the op cases are too small or too tame to show of the CPU's pools, resizes and pixel norms: NaN in every
 * place of a window, tensors that go past the caches, resizes to bytes and by powers of 2 bit for bit as the reference's and others but
 * for the last place of a few, pixels whose mean is far larger than their spread; and the same bits on one, two and three threads. */
#include "check.h"
#include "device/device.h"
#include "graph/weights.h"
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#ifdef _OPENMP
#include <omp.h>
#endif

typedef struct Case Case;
struct Case {
    const char *name;
    Shape x;
    Tid (*build)(Graph *g, Tid x, const Case *c);
    PoolOptions pool;
    int size;    /* of a resize: to a square */
    int taps;    /* of its rows; its columns have two fewer */
    bool halves; /* weights are powers of 2: no product or sum is rounded */
    ResizeOptions resize;
    float middle, spread; /* x is uniform in middle +- spread; a spread of 0: whole bytes */
    size_t bad;           /* each bad-th value is not a number; 0: none */
};
static Tid pool(Graph *g, Tid x, const Case *c) { return g_pool(g, x, c->pool); }
static Tid norm(Graph *g, Tid x, const Case *c) {
    (void)c;
    return g_pixel_norm(g, x, 0, 0, 0, 1e-6f, false);
}
/* Filters with a weight below 0, at first pixels in no order: the rows that are kept must be those that are asked for. */
static Tid table(Graph *g, const char *name, int in, int out, int taps, bool halves) {
    double *values = dg_alloc((size_t)out * (size_t)(1 + taps) * sizeof *values), *row = values;
    for (int i = 0; i < out; i++, row += 1 + taps) {
        row[0] = i % 7 == 6 ? 0 : (double)(i * (in - 1) / out);
        for (int k = 0; k < taps; k++) {
            double weight = halves ? ldexp(k % 2 ? -1 : 1, -k - i % 3) : k == 1 ? 1.1 : -.1 / (k + 1 + i % 3);
            row[1 + k] = row[0] + k < in ? weight : 0;
        }
    }
    Tid t = g_table(g, name, (Shape){1, 1, out, 1 + taps}, values);
    free(values);
    return t;
}
static Tid resize(Graph *g, Tid x, const Case *c) {
    return g_resize(g, x, table(g, "columns", c->x.w, c->size, c->taps - 2, c->halves),
                    table(g, "rows", c->x.h, c->size, c->taps, c->halves), c->resize);
}

static float *run(const Case *c, const char *device, int threads, size_t *n) {
#ifdef _OPENMP
    omp_set_num_threads(threads);
#else
    (void)threads;
#endif
    Error err;
    Device *d = device_open(device, NULL, &err);
    DG_CHECK(d, "%s: %s", device, err.text);
    Graph *g = graph_new(d->precision);
    Tid x = g_input(g, "x", c->x), y = c->build(g, x, c);
    g->t[y].keep = true;
    graph_plan(g);
    Weights *w = weights_synthetic(1, NULL);
    Exec *e = exec_new(g, d, weights_alone(w), &err);
    DG_CHECK(e, "%s: %s", c->name, err.text);
    size_t inputs = shape_count(c->x);
    float *v = dg_alloc(inputs * sizeof *v);
    uint32_t state = 1;
    for (size_t i = 0; i < inputs; i++) {
        state = state * 1664525u + 1013904223u;
        v[i] = c->spread > 0 ? c->middle + c->spread * ((float)(state >> 8) * 0x1p-23f - 1) : (float)(state >> 24);
        if (c->bad && i % c->bad == 0) v[i] = NAN;
    }
    exec_set(e, x, DG_F32, v);
    free(v);
    exec_run(e, e->g->batch);
    *n = shape_count(shape_of(g, y));
    float *out = dg_alloc(*n * sizeof *out);
    exec_get(e, y, DG_F32, out);
    exec_free(e);
    graph_free(g);
    weights_free(w);
    device_close(d);
    return out;
}
/* Where values differ by more than `tolerance`, or only one is not a number; other: where they differ at all. */
static size_t differing(const float *a, const float *b, size_t n, double tolerance, size_t *nans, size_t *other) {
    size_t wrong = 0;
    for (size_t i = 0; i < n; i++) {
        bool nan = isnan(b[i]);
        *nans += nan;
        *other += !nan && !(a[i] == b[i]);
        wrong += nan ? !isnan(a[i]) : !(fabs((double)a[i] - (double)b[i]) <= tolerance);
    }
    return wrong;
}
static void test_case(const Case *c) {
    size_t n, m, nans = 0, other = 0;
    bool resizes = c->build == resize, exact = resizes ? c->resize.u8 || c->halves : c->pool.max;
    /* ref, not ref64: it rounds to float between the passes as cpu does. Fused, a sum may round to the next float in either pass. */
    float *a = run(c, "cpu", 1, &n), *b = run(c, resizes ? "ref" : "ref64", 1, &m);
    double tolerance = exact ? 0 : resizes ? 2 * FLT_EPSILON * (double)c->resize.a : 8 * FLT_EPSILON;
    size_t wrong = differing(a, b, n, tolerance, &nans, &other);
    CHECK(n == m && wrong == 0, "%s: %zu of %zu values are not the reference's", c->name, wrong, n);
    if (resizes) CHECK(other <= n / 100, "%s: %zu of %zu values have other bits than the reference's", c->name, other, n);
    CHECK(c->bad ? nans > 0 && nans < n : nans == 0, "%s: %zu of %zu values are not a number: this check could not fail", c->name, nans, n);
    for (int threads = 2; threads <= 3; threads++) {
        float *again = run(c, "cpu", threads, &m);
        CHECK(!memcmp(again, a, n * sizeof *a), "%s: %d threads give other bits than one", c->name, threads);
        free(again);
    }
    free(a), free(b);
}

#define PLAIN                                                                                                                              \
    { false, -INFINITY, INFINITY, 1, 0 }
#define BYTES                                                                                                                              \
    { true, -INFINITY, INFINITY, 2 / 255.f, -1 }
static const Case cases[] = {
    {"max, NaN", {2, 11, 13, 93}, pool, {true, 3, 3, 2, 1}, .spread = 1, .bad = 101},
    {"max, NaN, few channels", {1, 9, 9, 3}, pool, {true, 3, 2, 1, 0}, .spread = 1, .bad = 31},
    {"mean, NaN", {2, 9, 12, 67}, pool, {false, 3, 3, 1, 1}, .spread = 1, .bad = 203},
    {"mean, past the caches", {1, 366, 363, 72}, pool, {false, 3, 3, 1, 1}, .spread = 1},
    {"max, past the caches", {1, 261, 262, 128}, pool, {true, 3, 2, 1, 0}, .spread = 1},
    {"resize, one channel", {1, 23, 31, 1}, resize, .size = 53, .taps = 5, .resize = PLAIN, .spread = 1},
    {"resize, colours", {3, 40, 37, 3}, resize, .size = 21, .taps = 5, .resize = PLAIN, .spread = 1},
    {"resize, many channels", {2, 9, 8, 77}, resize, .size = 35, .taps = 5, .resize = {false, -.7f, .6f, 3, .5f}, .spread = 1},
    {"resize, few taps", {2, 19, 18, 45}, resize, .size = 37, .taps = 4, .resize = PLAIN, .spread = 1},
    {"resize, few taps, scaled", {1, 19, 18, 45}, resize, .size = 11, .taps = 4, .resize = {false, -.7f, .6f, 3, .5f}, .spread = 1},
    {"resize, fewest taps", {2, 17, 9, 61}, resize, .size = 23, .taps = 3, .resize = PLAIN, .spread = 1},
    {"resize, halves", {1, 21, 18, 77}, resize, .size = 35, .taps = 4, .halves = true, .resize = PLAIN, .spread = 1},
    {"resize, halves, more taps", {1, 21, 18, 77}, resize, .size = 35, .taps = 6, .halves = true, .resize = PLAIN, .spread = 1},
    {"resize, past the caches", {2, 75, 73, 72}, resize, .size = 257, .taps = 4, .resize = PLAIN, .spread = 1},
    {"bytes, colours", {2, 40, 29, 3}, resize, .size = 39, .taps = 5, .resize = BYTES},
    {"bytes, many channels", {1, 18, 17, 45}, resize, .size = 20, .taps = 5, .resize = BYTES},
    {"resize, NaN", {1, 9, 8, 45}, resize, .size = 20, .taps = 5, .resize = {true, 10, 200, 1, 0}, .bad = 307},
    {"pixel norm", {2, 5, 7, 77}, norm, .spread = 1},
    {"pixel norm, far from 0", {1, 8, 8, 1152}, norm, .middle = 1000, .spread = 1},
};
int main(void) {
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) test_case(&cases[i]);
    return check_done("test_cpu_passes");
}
