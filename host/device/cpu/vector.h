/* vector.h -- one vector type for the CPU backend, as wide as the target's registers, and exp, sigmoid, GELU on it.
 * GCC's vector extension compiles for any CPU; only the fused multiply-add needs the instruction's name.             */
#ifndef DG_CPU_VECTOR_H
#define DG_CPU_VECTOR_H
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#if defined(__FMA__) || defined(__AVX512F__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
enum { LANES = 16 };
#elif defined(__AVX__)
enum { LANES = 8 };
#else
enum { LANES = 4 };
#endif
typedef float Vec __attribute__((vector_size(LANES * sizeof(float))));
typedef int32_t VecInt __attribute__((vector_size(LANES * sizeof(int32_t))));

static inline Vec vec_load(const float *p) {
    Vec v;
    memcpy(&v, p, sizeof v);
    return v;
}
static inline void vec_store(float *p, Vec v) { memcpy(p, &v, sizeof v); }
/* Past the caches, from p on, which is aligned; stores_done() before another thread reads. It spares memory the reading of what is
 * written, and is for tensors that no cache would hold until they are read: as large as is_streamed() says.                */
#if defined(__AVX512F__)
static inline void vec_stream(float *p, Vec v) { _mm512_stream_ps(p, (__m512)v); }
static inline void stores_done(void) { _mm_sfence(); }
#elif defined(__FMA__)
static inline void vec_stream(float *p, Vec v) { _mm256_stream_ps(p, (__m256)v); }
static inline void stores_done(void) { _mm_sfence(); }
#else
static inline void vec_stream(float *p, Vec v) { vec_store(p, v); }
static inline void stores_done(void) {}
#endif
static inline bool is_streamed(size_t floats) { return floats >= (size_t)1 << 23; }
static inline bool is_aligned(const float *p) { return (uintptr_t)p % (LANES * sizeof *p) == 0; }
static inline Vec vec_all(float x) { return x - (Vec){0}; }
static inline Vec vec_load_n(const float *p, int n) { /* the first n lanes, zeros behind */
    float full[LANES] = {0};
    memcpy(full, p, (size_t)n * sizeof *p);
    return vec_load(full);
}
static inline Vec vec_load_most(const float *p, int n) { return n < LANES ? vec_load_n(p, n) : vec_load(p); } /* n lanes, or all */
static inline void vec_store_n(float *p, Vec v, int n) { memcpy(p, &v, (size_t)n * sizeof *p); }
static inline Vec vec_select(VecInt mask, Vec a, Vec b) { return (Vec)((mask & (VecInt)a) | (~mask & (VecInt)b)); }
/* vec_fma: a * b + c, in one rounding where the CPU has it: spelled out, so that every copy of a loop gives the same bits.
 * vec_above, vec_below: x, but not under or over a bound; NaN stays NaN. vec_larger: of two, and NaN if one of them is.    */
#if defined(__AVX512F__)
static inline Vec vec_fma(Vec a, Vec b, Vec c) { return (Vec)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c); }
static inline Vec vec_above(Vec x, Vec bound) { return (Vec)_mm512_max_ps((__m512)bound, (__m512)x); }
static inline Vec vec_below(Vec x, Vec bound) { return (Vec)_mm512_min_ps((__m512)bound, (__m512)x); }
static inline Vec vec_larger(Vec a, Vec b) {
    __m512 x = (__m512)a;
    return (Vec)_mm512_mask_max_ps(x, _mm512_cmp_ps_mask(x, x, _CMP_ORD_Q), x, (__m512)b);
}
#elif defined(__FMA__)
static inline Vec vec_fma(Vec a, Vec b, Vec c) { return (Vec)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c); }
static inline Vec vec_above(Vec x, Vec bound) { return (Vec)_mm256_max_ps((__m256)bound, (__m256)x); }
static inline Vec vec_below(Vec x, Vec bound) { return (Vec)_mm256_min_ps((__m256)bound, (__m256)x); }
static inline Vec vec_larger(Vec a, Vec b) {
    __m256 x = (__m256)a;
    return (Vec)_mm256_blendv_ps(x, _mm256_max_ps(x, (__m256)b), _mm256_cmp_ps(x, x, _CMP_ORD_Q));
}
#else
static inline Vec vec_fma(Vec a, Vec b, Vec c) { return a * b + c; }
static inline Vec vec_above(Vec x, Vec bound) { return vec_select(x < bound, bound, x); }
static inline Vec vec_below(Vec x, Vec bound) { return vec_select(x > bound, bound, x); }
static inline Vec vec_larger(Vec a, Vec b) { return vec_select(a == a, vec_above(b, a), a); }
#endif
static inline float vec_sum(Vec v) { /* pairwise, in a fixed order */
    float lane[LANES];
    vec_store(lane, v);
    for (int half = LANES / 2; half; half /= 2)
        for (int i = 0; i < half; i++) lane[i] += lane[i + half];
    return lane[0];
}
static inline float vec_max(Vec v) {
    float lane[LANES], max;
    vec_store(lane, v);
    max = lane[0];
    for (int i = 1; i < LANES; i++) max = lane[i] > max ? lane[i] : max;
    return max;
}

/* e^x to about one unit in the last place: x = n ln 2 + r with |r| <= ln 2 / 2, a polynomial for e^r, 2^n through the
 * exponent bits. Below -87.3 the result is about 1e-38 instead of a subnormal, above 88.3 about 2e38; NaN stays NaN.   */
static inline Vec vec_exp(Vec x) {
    const float round_magic = 12582912.f; /* 1.5 * 2^23: adding it rounds to an integer, which is then in the low bits */
    const float ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f;
    x = vec_below(vec_above(x, vec_all(-87.3f)), vec_all(88.3f));
    Vec shifted = vec_fma(x, vec_all(1.44269504088896341f), vec_all(round_magic)), n = shifted - round_magic;
    Vec r = vec_fma(n, vec_all(-ln2_high), x);
    r = vec_fma(n, vec_all(-ln2_low), r);
    Vec p = vec_all(1.9875691500e-4f);
    p = vec_fma(p, r, vec_all(1.3981999507e-3f));
    p = vec_fma(p, r, vec_all(8.3334519073e-3f));
    p = vec_fma(p, r, vec_all(4.1665795894e-2f));
    p = vec_fma(p, r, vec_all(1.6666665459e-1f));
    p = vec_fma(p, r, vec_all(5.0000001201e-1f));
    p = vec_fma(p, r * r, r) + 1.f;
    VecInt exponent = ((VecInt)shifted - (VecInt)vec_all(round_magic)) << 23;
    return (Vec)((VecInt)p + exponent);
}
static inline Vec vec_sigmoid(Vec x) { return 1.f / (1.f + vec_exp(-x)); }
static inline Vec vec_silu(Vec x) { return x / (1.f + vec_exp(-x)); }
static inline Vec vec_silu_slope(Vec x) {
    Vec s = vec_sigmoid(x);
    return s * vec_fma(x, 1.f - s, vec_all(1));
}
static inline Vec vec_relu(Vec x) { return vec_above(x, vec_all(0)); }
/* x/2 (1 + tanh(u)) is x / (1 + e^-2u), where nothing cancels; u = sqrt(2/pi) (x + 0.044715 x^3). The exponent reaches 87, and its
 * roundings would be that much larger in the result: they are worked out, and e^(a+b) = e^a + b e^a. From -10 down, where the
 * function is below 1e-37, its value at -10.                                                                             */
static inline Vec vec_gelu_tanh(Vec x) {
    const float one = -1.59576917f, one_low = 4.534068e-8f;        /* -2 sqrt(2/pi) */
    const float cube = -0.0713548139f, cube_low = -2.39883240e-9f; /* that times 0.044715 */
    Vec bounded = vec_above(x, vec_all(-10)), z = vec_below(bounded, vec_all(10)), square = z * z, part = cube * square;
    Vec factor = one + part, back = factor - part, exponent = z * factor;
    Vec low = (one - back) + (part - (factor - back)) + one_low; /* of factor */
    low += vec_fma(vec_all(cube), square, -part) + vec_fma(vec_all(cube_low), square, cube * vec_fma(z, z, -square));
    low = vec_fma(z, low, vec_fma(z, factor, -exponent));
    Vec e = vec_exp(exponent);
    return bounded / (1.f + vec_fma(low, e, e));
}
/* s (1 + x 2u' (1 - s)), s = sigmoid(2u); beyond 10 it is 0 or 1. */
static inline Vec vec_gelu_tanh_slope(Vec x) {
    const float one = 1.59576912f, cube = 0.0713548163f; /* 2 sqrt(2/pi), and that times 0.044715 */
    Vec z = vec_below(vec_above(x, vec_all(-10)), vec_all(10)), square = z * z;
    Vec s = vec_sigmoid(z * vec_fma(vec_all(cube), square, vec_all(one)));
    return s * vec_fma(z * vec_fma(vec_all(3 * cube), square, vec_all(one)), 1.f - s, vec_all(1));
}
#endif
