/* gemm.c -- the matrix product of the CPU backend: a register tile of MR rows by two vectors, b packed in panels.
 * Each element is one chain of multiply-adds over k, cut into blocks of K_BLOCK whose sums are added in order: less rounding
 * than one long chain, and the same bits whatever tile the element falls into.                                             */
#include "device/cpu/cpu.h"
#include "device/cpu/vector.h"

#if defined(__AVX512F__)
enum { MR = 12 };
#else
enum { MR = 6 }; /* 12 accumulators, 2 vectors of b, 1 of a: 15 of 16 registers */
#endif
enum { NR = 2 * LANES, K_BLOCK = 256 };

int gemm_panel(void) { return NR; }
size_t gemm_packed_floats(int k, int n) { return (size_t)k * (size_t)round_up(n, NR); }
size_t gemm_packed_at(int k_count, int k, int n) { return (size_t)(n / NR) * NR * (size_t)k_count + (size_t)k * NR + (size_t)(n % NR); }
void gemm_pack(int k, int n, const float *src, size_t row, size_t col, float *packed) {
    for (int panel = 0; panel < n; panel += NR)
        for (int p = 0; p < k; p++)
            for (int j = 0; j < NR; j++) *packed++ = panel + j < n ? src[(size_t)p * row + (size_t)(panel + j) * col] : 0;
}

/* `rows` is a constant where this is inlined, so that acc lives in registers. */
static inline __attribute__((always_inline)) void block(int rows, int k, const float *a, size_t a_row, size_t a_col, const float *b,
                                                        Vec acc[MR][2]) {
#pragma GCC unroll 12
    for (int r = 0; r < rows; r++) acc[r][0] = acc[r][1] = vec_all(0);
    for (int p = 0; p < k; p++, a += a_col, b += NR) {
        Vec b0 = vec_load(b), b1 = vec_load(b + LANES);
#pragma GCC unroll 12
        for (int r = 0; r < rows; r++) {
            Vec x = vec_all(a[(size_t)r * a_row]);
            acc[r][0] = vec_fma(x, b0, acc[r][0]);
            acc[r][1] = vec_fma(x, b1, acc[r][1]);
        }
    }
}
void activate(Act act, float *y, int count) {
    for (int j = 0; j < count; j += LANES) {
        int n = min_int(count - j, LANES);
        Vec v = vec_load_most(y + j, n);
        v = act == ACT_RELU ? vec_relu(v) : vec_gelu_tanh(v);
        if (n < LANES) vec_store_n(y + j, v, n);
        else vec_store(y + j, v);
    }
}
/* Apart from the tile, whose registers the polynomials would need: what is stored is still in the first-level cache. */
static __attribute__((noinline)) void activate_tile(int rows, const Gemm *g, int m, int n) {
    for (int r = 0; r < rows; r++) activate(g->act, g->c + (size_t)(m + r) * g->c_row + n, min_int(g->n - n, NR));
}
/* The last panel, when it is not full. */
static __attribute__((noinline)) void store_narrow(int rows, const Gemm *g, int m, int n, bool first, bool last, Vec acc[MR][2]) {
    for (int r = 0; r < rows; r++) {
        float sum[NR], *c = g->c + (size_t)(m + r) * g->c_row + n;
        vec_store(sum, acc[r][0]), vec_store(sum + LANES, acc[r][1]);
        for (int j = 0; j < g->n - n; j++) {
            if (!first) sum[j] += c[j];
            if (last && g->bias) sum[j] += g->bias[n + j];
            if (last && g->gate) sum[j] *= g->gate[(size_t)(m + r) * g->gate_row + (size_t)(n + j)];
            if (last && g->add && g->add != g->c) sum[j] += g->add[(size_t)(m + r) * g->add_row + (size_t)(n + j)];
            c[j] = last ? sum[j] * g->scale : sum[j];
        }
    }
}
/* One register tile and one block of k, [p, p + K_BLOCK): c holds the sum of the blocks before, or what all are added to. */
static inline __attribute__((always_inline)) void tile(int rows, const Gemm *g, int m, int n, int p) {
    Vec acc[MR][2];
    int k = min_int(g->k - p, K_BLOCK);
    bool onto = g->add == g->c, first = p == 0 && !onto, last = p + k == g->k;
    block(rows, k, g->a + (size_t)m * g->a_row + (size_t)p * g->a_col, g->a_row, g->a_col, g->b + (size_t)n * (size_t)g->k + (size_t)p * NR,
          acc);
    float *c = g->c + (size_t)m * g->c_row + n;
    if (g->n - n < NR) {
        Vec copy[MR][2]; /* acc itself must not have an address, or it would leave the registers */
        memcpy(copy, acc, sizeof copy);
        store_narrow(rows, g, m, n, first, last, copy);
        if (last && g->act != ACT_NONE) activate_tile(rows, g, m, n);
        return;
    }
    if (!first) {
#pragma GCC unroll 12
        for (int r = 0; r < rows; r++) {
            acc[r][0] += vec_load(c + (size_t)r * g->c_row);
            acc[r][1] += vec_load(c + (size_t)r * g->c_row + LANES);
        }
    }
    if (last && g->bias) {
        Vec bias0 = vec_load(g->bias + n), bias1 = vec_load(g->bias + n + LANES);
#pragma GCC unroll 12
        for (int r = 0; r < rows; r++) acc[r][0] += bias0, acc[r][1] += bias1;
    }
    if (last && g->gate) {
        const float *gate = g->gate + (size_t)m * g->gate_row + n;
#pragma GCC unroll 12
        for (int r = 0; r < rows; r++) {
            acc[r][0] *= vec_load(gate + (size_t)r * g->gate_row);
            acc[r][1] *= vec_load(gate + (size_t)r * g->gate_row + LANES);
        }
    }
    if (last && g->add && !onto) {
        const float *add = g->add + (size_t)m * g->add_row + n;
#pragma GCC unroll 12
        for (int r = 0; r < rows; r++) {
            acc[r][0] += vec_load(add + (size_t)r * g->add_row);
            acc[r][1] += vec_load(add + (size_t)r * g->add_row + LANES);
        }
    }
    Vec scale = vec_all(last ? g->scale : 1);
#pragma GCC unroll 12
    for (int r = 0; r < rows; r++) {
        vec_store(c + (size_t)r * g->c_row, acc[r][0] * scale);
        vec_store(c + (size_t)r * g->c_row + LANES, acc[r][1] * scale);
    }
    if (last && g->act != ACT_NONE) activate_tile(rows, g, m, n);
}
/* Rows [m, g->m) as far as MR go: each count with its own registers. */
static void rows_of(const Gemm *g, int m, int n, int p) {
    switch (g->m - m) {
    case 0: break;
    case 1: tile(1, g, m, n, p); break;
    case 2: tile(2, g, m, n, p); break;
    case 3: tile(3, g, m, n, p); break;
    case 4: tile(4, g, m, n, p); break;
    case 5: tile(5, g, m, n, p); break;
#if defined(__AVX512F__)
    case 6: tile(6, g, m, n, p); break;
    case 7: tile(7, g, m, n, p); break;
    case 8: tile(8, g, m, n, p); break;
    case 9: tile(9, g, m, n, p); break;
    case 10: tile(10, g, m, n, p); break;
    case 11: tile(11, g, m, n, p); break;
#endif
    default: tile(MR, g, m, n, p); break;
    }
}
void gemm(const Gemm *g) {
    const int cached_floats = 4096; /* half of the first-level cache */
    DG_CHECK(g->add != g->c || !g->gate, "gemm: a gate, of what is added to c");
    if (g->k <= K_BLOCK && g->k * g->n <= cached_floats) { /* all of b stays close: rows outside */
        for (int m = 0; m < g->m; m += MR)
            for (int n = 0; n < g->n; n += NR) rows_of(g, m, n, 0);
        return;
    }
    for (int n = 0; n < g->n; n += NR) /* a panel's block stays close, and g->m rows of a in the second-level cache */
        for (int p = 0; p < g->k; p += K_BLOCK)
            for (int m = 0; m < g->m; m += MR) rows_of(g, m, n, p);
}
