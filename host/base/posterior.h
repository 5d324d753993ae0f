/* posterior.h -- one step of a discrete diffusion process (DDPM, DDIM): what the sampler hands to a backend, and a backend to its
 * kernel; and the one function of it that is no sum of products, for host and device.                                        */
#ifndef DG_POSTERIOR_H
#define DG_POSTERIOR_H
#include "base/term.h"
#include <math.h>
#include <stdint.h>
#include <string.h>
#ifdef __CUDACC__
#define DG_POSTERIOR_FN __host__ __device__ static inline
#else
#define DG_POSTERIOR_FN static inline
#endif
#ifdef __cplusplus
extern "C" {
#endif

/* x' = P x0 + Q x + (G0 + G1 m) g + (S0 + S1 sqrt(m)) noise, where m is the variance that the network gives each element. The
 * coefficients, of one sample:                                                                                              */
typedef struct {
    double skip;                        /* of x in x0 */
    double from_x0, from_x;             /* P, Q */
    double gradient, gradient_variance; /* G0, G1 */
    double noise, noise_deviation;      /* S0, S1 */
    double log_low, log_half;           /* log m = log_low + log_half (v + 1): log_half is half of what v = 1 has above v = -1 */
} PosteriorCoef;
enum { POSTERIOR_TERMS = 6, POSTERIOR_GRADIENTS = 2 };
typedef struct {                        /* every pointer leads to device memory */
    Term x0[POSTERIOR_TERMS];           /* x0 = skip x + the sum of these, clamped to [-1, 1] where `clip`; NaN stays NaN */
    int terms;                          /* 1 at least */
    Term variance;                      /* v, not clamped, without a coefficient; data NULL: none, and m = 0 */
    Term gradient[POSTERIOR_GRADIENTS]; /* g = the sum of these */
    int gradients;                      /* 0: none */
    const double *noise;                /* [n][per_sample], or NULL: none */
    const PosteriorCoef *coef;          /* [n] */
    bool clip;
} Posterior;
/* Stops where p does not describe a step of samples of per_sample elements. */
void posterior_check(const Posterior *p, size_t per_sample);

/* e^x for any x, within one unit in the last place: powers of 2 times a Taylor series about the nearest of them, whose first left-out
 * term is below 2^-57. Fused products say each rounding, so that every device gives the same bits; no branch, so that loops of it
 * become vectors.                                                                                                            */
DG_POSTERIOR_FN double posterior_exp(double x) {
    const double whole = 0x1.8p52; /* adding it rounds to whole numbers: they are the sum's last bits */
    x = x < -746 ? -746 : x > 710 ? 710 : x;
    const double power = fma(x, 1.44269504088896340736, whole) - whole;
    const double r = fma(-power, 2.31904681384629955842e-17, fma(-power, 0.69314718055994528623, x));
    double sum = 1.0 / 6227020800;
    sum = fma(sum, r, 1.0 / 479001600), sum = fma(sum, r, 1.0 / 39916800), sum = fma(sum, r, 1.0 / 3628800);
    sum = fma(sum, r, 1.0 / 362880), sum = fma(sum, r, 1.0 / 40320), sum = fma(sum, r, 1.0 / 5040), sum = fma(sum, r, 1.0 / 720);
    sum = fma(sum, r, 1.0 / 120), sum = fma(sum, r, 1.0 / 24), sum = fma(sum, r, 1.0 / 6), sum = fma(sum, r, 0.5);
    sum = fma(fma(sum, r, 1), r, 1);
    /* 2^power in two factors: one alone may lie outside of the numbers */
    const double half = fma(power, 0.5, whole) - whole, bias = whole + 1023;
    double low = half + bias, high = power - half + bias;
    uint64_t bits[2];
    memcpy(&bits[0], &low, sizeof low), memcpy(&bits[1], &high, sizeof high);
    bits[0] <<= 52, bits[1] <<= 52;
    memcpy(&low, &bits[0], sizeof low), memcpy(&high, &bits[1], sizeof high);
    return sum * low * high;
}
/* sqrt(m) of v: m is its square. The same bits on every device. */
DG_POSTERIOR_FN double posterior_deviation(double log_low, double log_half, double v) {
    return posterior_exp(0.5 * fma(log_half, v + 1, log_low));
}

#ifdef __cplusplus
}
#endif
#endif
