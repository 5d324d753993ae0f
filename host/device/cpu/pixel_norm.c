/* pixel_norm.c -- layer norm and RMS norm over the channels of a pixel (+ gamma, + beta, + shift and scale of the image).
 * A pixel stays in the first-level cache over its passes: the sum; the sums of what is left about the mean, as a float, and of its
 * squares, so that neither a difference of large numbers nor the mean's own rounding is lost; the result.                     */
#include "device/cpu/cpu.h"
#include "device/cpu/vector.h"
#include <math.h>

typedef struct {
    int C;
    bool rms;
    double eps;
    const float *gamma, *beta; /* [C] or NULL */
} PixelNorm;
enum { WAYS = 4 }; /* sums side by side, each of every fourth vector: shorter chains, and less rounding */

static double sum_of(const Vec sum[WAYS]) { return (double)vec_sum((sum[0] + sum[1]) + (sum[2] + sum[3])); }
static float mean_of(const PixelNorm *m, const float *x) {
    Vec sum[WAYS] = {vec_all(0), vec_all(0), vec_all(0), vec_all(0)};
    int c = 0;
    for (; c + WAYS * LANES <= m->C; c += WAYS * LANES)
#pragma GCC unroll 4
        for (int k = 0; k < WAYS; k++) sum[k] += vec_load(x + c + k * LANES);
    for (; c < m->C; c += LANES) sum[0] += vec_load_most(x + c, min_int(m->C - c, LANES));
    return (float)(sum_of(sum) / m->C);
}
/* The channels' sum about `mean`, and that of their squares. */
static void moments(const PixelNorm *m, const float *x, float mean, double *first, double *second) {
    Vec sum[WAYS] = {vec_all(0), vec_all(0), vec_all(0), vec_all(0)}, squares[WAYS] = {vec_all(0), vec_all(0), vec_all(0), vec_all(0)};
    int c = 0;
    for (; c + WAYS * LANES <= m->C; c += WAYS * LANES)
#pragma GCC unroll 4
        for (int k = 0; k < WAYS; k++) {
            Vec centred = vec_load(x + c + k * LANES) - mean;
            sum[k] += centred;
            squares[k] = vec_fma(centred, centred, squares[k]);
        }
    for (; c + LANES <= m->C; c += LANES) {
        Vec centred = vec_load(x + c) - mean;
        sum[0] += centred;
        squares[0] = vec_fma(centred, centred, squares[0]);
    }
    *first = sum_of(sum), *second = sum_of(squares);
    for (; c < m->C; c++) {
        double centred = (double)(x[c] - mean);
        *first += centred, *second += centred * centred;
    }
}
/* u = (x - mean) * mul + add, then as graph.h says, a rounding for each step. shift: [C], then the scale [C]; or NULL. affine is a
 * constant where this is inlined. */
static inline __attribute__((always_inline)) Vec finish(const PixelNorm *m, bool affine, Vec u, const float *shift, int c, int left) {
    if (affine && m->gamma) u *= vec_load_most(m->gamma + c, left);
    if (affine && m->beta) u += vec_load_most(m->beta + c, left);
    if (shift) u = vec_fma(u, vec_load_most(shift + m->C + c, left), u) + vec_load_most(shift + c, left);
    return u;
}
static inline __attribute__((always_inline)) void norm_pixel(const PixelNorm *m, bool affine, const float *x, const float *shift,
                                                             float *y) {
    float mean = m->rms ? 0 : mean_of(m, x);
    double first, second;
    moments(m, x, mean, &first, &second);
    first /= m->C, second /= m->C;
    double deviation = m->rms ? sqrt(second) + m->eps : sqrt(second - first * first + m->eps);
    Vec mul = vec_all((float)(1 / deviation)), add = vec_all(m->rms ? 0 : (float)(-first / deviation));
    int c = 0;
    for (; c + LANES <= m->C; c += LANES) vec_store(y + c, finish(m, affine, vec_fma(vec_load(x + c) - mean, mul, add), shift, c, LANES));
    int left = m->C - c;
    if (left) vec_store_n(y + c, finish(m, affine, vec_fma(vec_load_n(x + c, left) - mean, mul, add), shift, c, left), left);
}
void cpu_pixel_norm(const Exec *e, int i) {
    const Op *op = &e->g->op[i];
    Shape s = cpu_shape_out(e, i);
    const PixelNorm m = {s.c, op->pixel_norm.rms, (double)op->pixel_norm.eps, cpu_in(e, i, 1), cpu_in(e, i, 2)};
    const float *x = cpu_in(e, i, 0), *shift_scale = cpu_in(e, i, 3);
    size_t C = (size_t)s.c, pixels = pixels_of(s), rows = (size_t)s.n * pixels;
#pragma omp parallel for
    for (size_t row = 0; row < rows; row++) {
        const float *from = x + row * C, *shift = shift_scale ? shift_scale + row / pixels * 2 * C : NULL;
        float *to = cpu_out(e, i) + row * C;
        if (m.gamma || m.beta) norm_pixel(&m, true, from, shift, to);
        else if (shift) norm_pixel(&m, false, from, shift, to);
        else norm_pixel(&m, false, from, NULL, to);
    }
}
