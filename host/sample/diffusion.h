/* diffusion.h -- the discrete diffusion processes of guided-diffusion and DiT, in f64: the noise schedule of N timesteps, which of
 * them are taken, and the numbers of each step, ancestral (DDPM) or DDIM. Nothing runs on a device here.
 * The state of step i is x = sqrt(alpha_bar[i]) x0 + sqrt(1 - alpha_bar[i]) eps; sampling goes from the last step down to 0, each to
 * the level of the step before it, where alpha_bar_prev[0] = 1.                                                                    */
#ifndef DG_DIFFUSION_H
#define DG_DIFFUSION_H
#include "base/error.h"

enum { MAX_DIFFUSION_STEPS = 4000 };
typedef enum { NOISE_LINEAR, NOISE_COSINE } NoiseSchedule;                                  /* official --noise_schedule */
typedef enum { VARIANCE_LEARNED, VARIANCE_FIXED_LARGE, VARIANCE_FIXED_SMALL } VarianceKind; /* --learn_sigma, --sigma_small */

typedef struct {
    NoiseSchedule schedule;
    int diffusion_steps;    /* N of the base process */
    double *base_alpha_bar; /* [N] */
    int steps;              /* S, at least 2: the steps that are taken */
    int *timestep;          /* [S], ascending: the original timestep of 0..N-1, which the networks are told */
    /* [S] each */
    double *alpha_bar, *alpha_bar_prev, *beta;
    double *recip, *recip_m1;   /* x0 = recip x - recip_m1 eps; recip_m1 is also the sigma of x / sqrt(alpha_bar) */
    double *posterior_variance; /* of x' when x and x0 are known: 0 at step 0 */
    double *log_low, *log_high; /* what a learned variance lies between: log posterior_variance, with [1] in the place of [0]; log beta */
    double *coef1, *coef2;      /* the mean of x' is coef1 x0 + coef2 x */
} Diffusion;

/* respacing is the official timestep_respacing (ADM) or num_sampling_steps (DiT): "" takes all N steps; "250" so many, spread evenly;
 * "10,15,20" that many of each third; "ddim25" those that a whole stride from 0 meets.
 * NULL, or 0 steps: e says what is wrong with the text or N.                                                                       */
Diffusion *diffusion_new(NoiseSchedule schedule, int diffusion_steps, const char *respacing, Error *e);
void diffusion_free(Diffusion *d);
/* The number of steps that diffusion_new would take. */
int diffusion_count(NoiseSchedule schedule, int diffusion_steps, const char *respacing, Error *e);

/* One ancestral step: with m = exp(log_low + (log_high - log_low) (v + 1) / 2) of the network's v, which is not clamped,
 *   x' = coef1 x0 + coef2 x + (variance + learned_variance m) g + (deviation + learned_deviation sqrt(m)) noise
 * A fixed variance takes no m, a learned one nothing else. No noise is added in step 0.                                      */
typedef struct {
    double log_low, log_high; /* equal where the variance is fixed */
    double variance, deviation;
    double learned_variance, learned_deviation; /* 1 or 0 */
} VarianceStep;
VarianceStep diffusion_variance(const Diffusion *d, VarianceKind kind, int i);

/* One step of DDIM, of x0 as the network predicts it, clamped or not, and before guidance, which shifts x0 after the clamp:
 *   x' = x0_factor x0 + x_factor x + gradient g + sigma noise
 * eta in [0, 1]: 0 is deterministic, 1 has the moments of an ancestral step with the small fixed variance.                  */
typedef struct {
    double x0_factor, x_factor, gradient, sigma;
} DdimStep;
DdimStep diffusion_ddim(const Diffusion *d, int i, double eta);
#endif
