/* elementwise.c -- unary ops, sums, gates, resampling and tokens: one pass over memory each. */
#include "device/cpu/cpu.h"
#include "device/cpu/vector.h"

/* ---- flat ops: pieces of CHUNK elements, a whole number of vectors but for the last ------------------------------------ */
enum { CHUNK = 8192 };
static size_t chunks(size_t n) { return (n + CHUNK - 1) / CHUNK; }

typedef Vec (*UnaryFn)(Vec x, Vec dy);
static inline Vec silu(Vec x, Vec dy) {
    (void)dy;
    return vec_silu(x);
}
static inline Vec silu_bwd(Vec x, Vec dy) { return dy * vec_silu_slope(x); }
static inline Vec relu(Vec x, Vec dy) {
    (void)dy;
    return vec_relu(x);
}
static inline Vec relu_bwd(Vec x, Vec dy) { return vec_select(x > vec_all(0), dy, vec_all(0)); }
static inline Vec gelu_tanh(Vec x, Vec dy) {
    (void)dy;
    return vec_gelu_tanh(x);
}
static inline Vec gelu_tanh_bwd(Vec x, Vec dy) { return dy * vec_gelu_tanh_slope(x); }
/* f is a constant where this is inlined. dy may be NULL. */
static inline __attribute__((always_inline)) void unary(UnaryFn f, const float *x, const float *dy, float *y, size_t n) {
#pragma omp parallel for
    for (size_t chunk = 0; chunk < chunks(n); chunk++) {
        size_t j = chunk * CHUNK, end = j + CHUNK < n ? j + CHUNK : n;
        for (; j + LANES <= end; j += LANES) vec_store(y + j, f(vec_load(x + j), dy ? vec_load(dy + j) : vec_all(0)));
        int left = (int)(end - j);
        if (left) vec_store_n(y + j, f(vec_load_n(x + j, left), dy ? vec_load_n(dy + j, left) : vec_all(0)), left);
    }
}
/* The function or, where there is a dy, its gradient. One without a vector form here is the reference's. */
void cpu_unary(const Exec *e, int i) {
    const float *x = cpu_in(e, i, 0), *dy = cpu_in(e, i, 1);
    float *y = cpu_out(e, i);
    size_t n = shape_count(cpu_shape_out(e, i));
    switch (e->g->op[i].unary.f) {
    case F_SILU: dy ? unary(silu_bwd, x, dy, y, n) : unary(silu, x, NULL, y, n); break;
    case F_RELU: dy ? unary(relu_bwd, x, dy, y, n) : unary(relu, x, NULL, y, n); break;
    case F_GELU_TANH: dy ? unary(gelu_tanh_bwd, x, dy, y, n) : unary(gelu_tanh, x, NULL, y, n); break;
    case F_CLAMP: backend_ref.run_op(e, i); break;
    }
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
    Operand kind = operand_of(e->g, op->in[1], op->out);
    size_t n = shape_count(s), C = (size_t)s.c, pixels = pixels_of(s), rows = (size_t)s.n * pixels;
    if (kind == OPERAND_VECTOR || (kind == OPERAND_POSITIONS && s.n > 1)) {
#pragma omp parallel for
        for (size_t row = 0; row < rows; row++)
            add_row(op->add.a, x + row * C, op->add.b, z + (kind == OPERAND_VECTOR ? row / pixels : row % pixels) * C, y + row * C, C);
        return;
    }
#pragma omp parallel for
    for (size_t chunk = 0; chunk < chunks(n); chunk++) {
        size_t j = chunk * CHUNK, left = n - j;
        add_row(op->add.a, x + j, op->add.b, z ? z + j : NULL, y + j, left < CHUNK ? left : CHUNK);
    }
}
/* y = x gate + residual over n channels; residual may be NULL. */
static void gate_row(const float *x, const float *gate, const float *residual, float *y, size_t n) {
    size_t j = 0;
    if (residual)
        for (; j + LANES <= n; j += LANES) vec_store(y + j, vec_fma(vec_load(x + j), vec_load(gate + j), vec_load(residual + j)));
    else
        for (; j + LANES <= n; j += LANES) vec_store(y + j, vec_load(x + j) * vec_load(gate + j));
    int left = (int)(n - j);
    if (!left) return;
    Vec gated = vec_load_n(x + j, left), factor = vec_load_n(gate + j, left);
    vec_store_n(y + j, residual ? vec_fma(gated, factor, vec_load_n(residual + j, left)) : gated * factor, left);
}
void cpu_gate(const Exec *e, int i) {
    Shape s = cpu_shape_out(e, i);
    const float *x = cpu_in(e, i, 0), *gate = cpu_in(e, i, 1), *residual = cpu_in(e, i, 2);
    float *y = cpu_out(e, i);
    size_t C = (size_t)s.c, pixels = pixels_of(s), rows = (size_t)s.n * pixels;
#pragma omp parallel for
    for (size_t row = 0; row < rows; row++)
        gate_row(x + row * C, gate + row / pixels * C, residual ? residual + row * C : NULL, y + row * C, C);
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
            sum = vec_fma(vec_all(wh[r] * ww[s]), vec_load_most(x, left), sum);
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
