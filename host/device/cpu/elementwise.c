/* elementwise.c -- unary ops, sums, channel copies, resampling and tokens: one pass over memory each. */
#include "device/cpu/cpu.h"
#include "device/cpu/vector.h"

/* ---- flat ops: pieces of CHUNK elements, a whole number of vectors but for the last ------------------------------------ */
enum { CHUNK = 8192 };
static size_t chunks(size_t n) { return (n + CHUNK - 1) / CHUNK; }

typedef Vec (*UnaryFn)(const Op *op, Vec x, Vec dy);
static inline Vec silu(const Op *op, Vec x, Vec dy) {
    (void)op, (void)dy;
    return vec_silu(x);
}
static inline Vec silu_bwd(const Op *op, Vec x, Vec dy) {
    (void)op;
    return dy * vec_silu_slope(x);
}
/* f is a constant where this is inlined. dy may be NULL. */
static inline __attribute__((always_inline)) void unary(const Op *op, UnaryFn f, const float *x, const float *dy, float *y, size_t n) {
#pragma omp parallel for
    for (size_t chunk = 0; chunk < chunks(n); chunk++) {
        size_t j = chunk * CHUNK, end = j + CHUNK < n ? j + CHUNK : n;
        for (; j + LANES <= end; j += LANES) vec_store(y + j, f(op, vec_load(x + j), dy ? vec_load(dy + j) : vec_all(0)));
        int left = (int)(end - j);
        if (left) vec_store_n(y + j, f(op, vec_load_n(x + j, left), dy ? vec_load_n(dy + j, left) : vec_all(0)), left);
    }
}
/* The function or, where there is a dy, its gradient. One without a vector form here is the reference's. */
void cpu_unary(const Exec *e, int i) {
    const Op *op = &e->g->op[i];
    const float *x = cpu_in(e, i, 0), *dy = cpu_in(e, i, 1);
    size_t n = shape_count(cpu_shape_out(e, i));
    if (op->unary.f != F_SILU) backend_ref.run_op(e, i);
    else if (dy) unary(op, silu_bwd, x, dy, cpu_out(e, i), n);
    else unary(op, silu, x, NULL, cpu_out(e, i), n);
}
/* y = a x + b z over n elements; z may be NULL. */
static void add_row(float a, const float *x, float b, const float *z, float *y, size_t n) {
    size_t j = 0;
    for (; j + LANES <= n; j += LANES) {
        Vec sum = a * vec_load(x + j);
        if (z) sum = vec_fma(vec_all(b), vec_load(z + j), sum);
        vec_store(y + j, sum);
    }
    int left = (int)(n - j);
    if (!left) return;
    Vec sum = a * vec_load_n(x + j, left);
    if (z) sum = vec_fma(vec_all(b), vec_load_n(z + j, left), sum);
    vec_store_n(y + j, sum, left);
}
void cpu_add(const Exec *e, int i) {
    const Op *op = &e->g->op[i];
    Shape s = cpu_shape_out(e, i);
    const float *x = cpu_in(e, i, 0), *z = cpu_in(e, i, 1);
    float *y = cpu_out(e, i);
    size_t n = shape_count(s), C = (size_t)s.c, pixels = pixels_of(s), rows = (size_t)s.n * pixels;
    if (z && !shape_eq(s, cpu_shape_in(e, i, 1))) {
#pragma omp parallel for
        for (size_t row = 0; row < rows; row++) add_row(op->add.a, x + row * C, op->add.b, z + row / pixels * C, y + row * C, C);
        return;
    }
#pragma omp parallel for
    for (size_t chunk = 0; chunk < chunks(n); chunk++) {
        size_t j = chunk * CHUNK, left = n - j;
        add_row(op->add.a, x + j, op->add.b, z ? z + j : NULL, y + j, left < CHUNK ? left : CHUNK);
    }
}

/* ---- channel copies ------------------------------------------------------------------------------------------------------ */
void cpu_concat(const Exec *e, int i) {
    const float *x = cpu_in(e, i, 0), *z = cpu_in(e, i, 1);
    float *y = cpu_out(e, i);
    size_t a = (size_t)cpu_shape_in(e, i, 0).c, b = (size_t)cpu_shape_in(e, i, 1).c;
    Shape o = cpu_shape_out(e, i);
    size_t rows = (size_t)o.n * pixels_of(o);
#pragma omp parallel for
    for (size_t row = 0; row < rows; row++) {
        memcpy(y + row * (a + b), x + row * a, a * sizeof *y);
        memcpy(y + row * (a + b) + a, z + row * b, b * sizeof *y);
    }
}
void cpu_slice(const Exec *e, int i) {
    Shape o = cpu_shape_out(e, i);
    size_t C = (size_t)o.c, a = (size_t)cpu_shape_in(e, i, 0).c, rows = (size_t)o.n * pixels_of(o);
    const float *x = cpu_in(e, i, 0) + e->g->op[i].slice.first;
    float *y = cpu_out(e, i);
#pragma omp parallel for
    for (size_t row = 0; row < rows; row++) memcpy(y + row * C, x + row * a, C * sizeof *y);
}

/* ---- resampling ----------------------------------------------------------------------------------------------------------- */
/* The taps that reach output position p along one dimension: source[t] and its weight; returns how many. */
static int taps_of(const Op *op, int p, int size, int *source, float *weight) {
    int n = 0;
    for (int t = 0; t < op->resample.taps; t++) {
        int v = op->resample.up ? p + op->resample.pad - t : 2 * p + t - op->resample.pad;
        if (op->resample.up && v % 2) continue;
        int h = op->resample.up ? v / 2 : v;
        if (v < 0 || h >= size) continue;
        source[n] = h, weight[n++] = op->resample.tap[t];
    }
    return n;
}
static Vec resample_lanes(const float *row, size_t C, int rows, const int *h, const float *wh, int columns, const int *w, const float *ww,
                          size_t width, int left) {
    Vec sum = vec_all(0);
    for (int r = 0; r < rows; r++)
        for (int s = 0; s < columns; s++) {
            const float *x = row + ((size_t)h[r] * width + (size_t)w[s]) * C;
            sum = vec_fma(vec_all(wh[r] * ww[s]), left < LANES ? vec_load_n(x, left) : vec_load(x), sum);
        }
    return sum;
}
void cpu_resample(const Exec *e, int i) {
    const Op *op = &e->g->op[i];
    Shape a = cpu_shape_in(e, i, 0), o = cpu_shape_out(e, i);
    size_t C = (size_t)o.c;
#pragma omp parallel for collapse(2)
    for (int n = 0; n < o.n; n++)
        for (int p = 0; p < o.h; p++) {
            const float *x = cpu_in(e, i, 0) + (size_t)n * pixels_of(a) * C;
            float *y = cpu_out(e, i) + ((size_t)n * (size_t)o.h + (size_t)p) * (size_t)o.w * C;
            int h[RESAMPLE_TAPS], w[RESAMPLE_TAPS];
            float wh[RESAMPLE_TAPS], ww[RESAMPLE_TAPS];
            int rows = taps_of(op, p, a.h, h, wh);
            for (int q = 0; q < o.w; q++, y += C) {
                int columns = taps_of(op, q, a.w, w, ww), c = 0;
                for (; c + LANES <= o.c; c += LANES)
                    vec_store(y + c, op->resample.scale * resample_lanes(x + c, C, rows, h, wh, columns, w, ww, (size_t)a.w, LANES));
                if (c < o.c)
                    vec_store_n(y + c, op->resample.scale * resample_lanes(x + c, C, rows, h, wh, columns, w, ww, (size_t)a.w, o.c - c),
                                o.c - c);
            }
        }
}

/* ---- tokens ------------------------------------------------------------------------------------------------------------------ */
void cpu_pool_tokens(const Exec *e, int i) {
    Shape a = cpu_shape_in(e, i, 0);
    size_t C = (size_t)a.c, pixels = pixels_of(a);
    const float *embedding = cpu_in(e, i, 1);
#pragma omp parallel for
    for (int n = 0; n < a.n; n++) {
        const float *x = cpu_in(e, i, 0) + (size_t)n * pixels * C;
        float *y = cpu_out(e, i) + (size_t)n * (pixels + 1) * C;
        memset(y, 0, C * sizeof *y);
        for (size_t p = 0; p < pixels; p++) {
            add_row(1, y, 1, x + p * C, y, C);
            add_row(1, x + p * C, 1, embedding + (p + 1) * C, y + (p + 1) * C, C);
        }
        add_row(1 / (float)pixels, y, 1, embedding, y, C);
    }
}
void cpu_pool_tokens_bwd(const Exec *e, int i) {
    Shape o = cpu_shape_out(e, i);
    size_t C = (size_t)o.c, pixels = pixels_of(o);
#pragma omp parallel for collapse(2)
    for (int n = 0; n < o.n; n++)
        for (size_t p = 0; p < pixels; p++) {
            const float *dy = cpu_in(e, i, 0) + (size_t)n * (pixels + 1) * C;
            add_row(1, dy + (p + 1) * C, 1 / (float)pixels, dy, cpu_out(e, i) + ((size_t)n * pixels + p) * C, C);
        }
}
