/* cpu_gemm.c -- the matrix product of the CPU backend: a register tile of MR rows by two vectors, b packed in panels.
 * Each element is one chain of multiply-adds over k, cut into blocks of K_BLOCK whose sums are added in order: less rounding
 * than one long chain, and the same bits whatever tile the element falls into.                                             */
#include "cpu.h"
#include "cpu_vector.h"

#if defined(__AVX512F__)
enum { MR = 12 };
#else
enum { MR = 6 }; /* 12 accumulators, 2 vectors of b, 1 of a: 15 of 16 registers */
#endif
enum { NR = 2 * LANES, K_BLOCK = 256 };

int gemm_panel(void) { return NR; }
size_t gemm_packed_floats(int k, int n) { return (size_t)k * (size_t)round_up(n, NR); }
size_t gemm_packed_at(int k_count, int k, int n) {
    return (size_t)(n / NR) * NR * (size_t)k_count + (size_t)k * NR + (size_t)(n % NR);
}
void gemm_pack(int k, int n, const float *src, size_t row, size_t col, float *packed) {
    for (int panel = 0; panel < n; panel += NR)
        for (int p = 0; p < k; p++)
            for (int j = 0; j < NR; j++)
                *packed++ = panel + j < n ? src[(size_t)p * row + (size_t)(panel + j) * col] : 0;
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
static inline __attribute__((always_inline)) Vec finish(Vec acc, Vec bias, const float *add, Vec scale) {
    acc += bias;
    if (add) acc += vec_load(add);
    return acc * scale;
}
static inline __attribute__((always_inline)) void tile(int rows, const Gemm *g, int m, int n, const float *b) {
    Vec acc[MR][2];
    const float *a = g->a + (size_t)m * g->a_row;
    int first = min_int(g->k, K_BLOCK), columns = min_int(g->n - n, NR);
    block(rows, first, a, g->a_row, g->a_col, b, acc);
    for (int p = first; p < g->k; p += K_BLOCK) {
        Vec sum[MR][2];
        memcpy(sum, acc, sizeof sum);
        block(rows, min_int(g->k - p, K_BLOCK), a + (size_t)p * g->a_col, g->a_row, g->a_col, b + (size_t)p * NR, acc);
#pragma GCC unroll 12
        for (int r = 0; r < rows; r++) acc[r][0] += sum[r][0], acc[r][1] += sum[r][1];
    }
    float bias[NR] = {0}, edge[NR] = {0};
    if (g->bias) memcpy(bias, g->bias + n, (size_t)columns * sizeof *bias);
    Vec bias0 = vec_load(bias), bias1 = vec_load(bias + LANES), scale = vec_all(g->scale);
    float *c = g->c + (size_t)m * g->c_row + n;
    const float *add = g->add ? g->add + (size_t)m * g->add_row + n : NULL;
    for (int r = 0; r < rows; r++, c += g->c_row) {
        const float *add_row = add;
        if (add && columns < NR) add_row = memcpy(edge, add, (size_t)columns * sizeof *edge);
        Vec v0 = finish(acc[r][0], bias0, add_row, scale), v1 = finish(acc[r][1], bias1, add_row ? add_row + LANES : NULL, scale);
        if (columns == NR) {
            vec_store(c, v0), vec_store(c + LANES, v1);
        } else {
            float full[NR];
            vec_store(full, v0), vec_store(full + LANES, v1);
            memcpy(c, full, (size_t)columns * sizeof *c);
        }
        if (add) add += g->add_row;
    }
}
void gemm(const Gemm *g) {
    for (int n = 0; n < g->n; n += NR) {
        const float *b = g->b + (size_t)n * (size_t)g->k;
        int m = 0;
        for (; m + MR <= g->m; m += MR) tile(MR, g, m, n, b);
        switch (g->m - m) { /* what is left, each count with its own registers */
#if defined(__AVX512F__)
        case 11: tile(11, g, m, n, b); break;
        case 10: tile(10, g, m, n, b); break;
        case 9: tile(9, g, m, n, b); break;
        case 8: tile(8, g, m, n, b); break;
        case 7: tile(7, g, m, n, b); break;
        case 6: tile(6, g, m, n, b); break;
#endif
        case 5: tile(5, g, m, n, b); break;
        case 4: tile(4, g, m, n, b); break;
        case 3: tile(3, g, m, n, b); break;
        case 2: tile(2, g, m, n, b); break;
        case 1: tile(1, g, m, n, b); break;
        default: break;
        }
    }
}
