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
#define DG_POSTERIOR_FN static inline __attribute__((always_inline)) /* a loop with a call in it is no vectors */
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

/* Which summands of a sample's step there are; that of x0 and that of x have a coefficient each. m is 0, and v not read, where neither
 * g nor the noise has it.                                                                                                    */
DG_POSTERIOR_FN bool posterior_guided(const Posterior *p, const PosteriorCoef *c) {
    return p->gradients && (c->gradient != 0 || (p->variance.data && c->gradient_variance != 0));
}
DG_POSTERIOR_FN bool posterior_noisy(const Posterior *p, const PosteriorCoef *c) {
    return p->noise && (c->noise != 0 || (p->variance.data && c->noise_deviation != 0));
}
DG_POSTERIOR_FN bool posterior_learned(const Posterior *p, const PosteriorCoef *c) {
    return p->variance.data && ((p->gradients && c->gradient_variance != 0) || (p->noise && c->noise_deviation != 0));
}
/* x, or the bound with its sign where it is larger. NaN stays NaN. */
DG_POSTERIOR_FN double posterior_clamp(double x, double bound) { return fabs(x) > bound ? copysign(bound, x) : x; }
/* e^x within 1.1 units in the last place where it is a normal number, for x from -708 to 708; 0 below and infinite above. A power of 2
 * times a Taylor series about it, whose first left-out term is below 2^-57. Fused products say each rounding, so that every device gives
 * the same bits; no branch, so that loops of it become vectors; neighbouring powers are summed in pairs, and these in pairs, since each
 * sum waits for what it is of.                                                                                               */
DG_POSTERIOR_FN double posterior_exp(double x) {
    const double beyond = x > 0 ? HUGE_VAL : 0, whole = 0x1.8p52; /* adding `whole` rounds to whole numbers: they are the last bits */
    const double power = fma(x, 1.44269504088896340736, whole) - whole;
    const double r = fma(-power, 1.90821492927058770002e-10, fma(-power, 0.69314718036912381649, x)), r2 = r * r, r4 = r2 * r2;
    const double low = fma(fma(r, 1.0 / 120, 1.0 / 24), r2, fma(r, 1.0 / 6, 0.5));
    const double middle = fma(fma(r, 1.0 / 362880, 1.0 / 40320), r2, fma(r, 1.0 / 5040, 1.0 / 720));
    const double high = fma(fma(r, 1.0 / 6227020800, 1.0 / 479001600), r2, fma(r, 1.0 / 39916800, 1.0 / 3628800));
    double factor = power + (whole + 1023); /* the last bits are the exponent of 2^power */
    uint64_t bits;
    memcpy(&bits, &factor, sizeof bits);
    bits <<= 52;
    memcpy(&factor, &bits, sizeof factor);
    factor *= 1 + fma(fma(fma(high, r4, middle), r4, low), r2, r);
    return fabs(x) > 708 ? beyond : factor;
}
/* sqrt(m) of v: m is its square. The same bits on every device. */
DG_POSTERIOR_FN double posterior_deviation(double log_low, double log_half, double v) {
    return posterior_exp(fma(0.5 * log_half, v + 1, 0.5 * log_low));
}

#ifdef __cplusplus
}
#endif
#endif
