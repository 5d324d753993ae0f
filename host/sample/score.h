/* score.h -- what a score network's output means: from a noise level to the linear coefficients of its prediction, on the host.
 *
 *   x0 = skip x + out F(in x; time)
 *
 *   EDM's preconditioners   skip, out, in of EDM's Table 1; the time is c_noise (training/networks.py of NVlabs/edm)
 *   eps                     of a discrete diffusion process; the time is the timestep (guided-diffusion, DiT)
 *   v                       alpha eps - sigma x0, the same
 *   flow                    eps - x0, at x = (1-t) x0 + t eps; the time is t (SiT)                                       */
#ifndef DG_SCORE_H
#define DG_SCORE_H
#include "models/models.h"
#include "sample/options.h"

/* x = alpha x0 + sigma eps. EDM's state has alpha 1, that of a diffusion process alpha^2 + sigma^2 = 1, a flow's 1 = alpha + sigma. */
typedef struct {
    double alpha, sigma;
} Level;
typedef struct { /* of the formula above */
    double skip, out, in, time;
} Affine;
typedef struct {
    const Model *model;
    ScoreFacts facts;
    double lo, hi;  /* of sigma/alpha: what the network was trained for. hi may be infinite */
    double *levels; /* [facts.diffusion_steps] sigma/alpha of the timesteps, increasing; NULL: it knows every level */
} Score;

/* config: of the model's own type; it has to outlive the score. NULL: the model is no score network, e says so. */
Score *score_new(const Model *m, const void *config, Error *e);
void score_free(Score *s);
/* What the options say about the process that the network's timesteps are of, which no official file does. False: there is none such. */
bool score_apply(Score *s, const SampleOptions *o, Error *e);
/* The level, at alpha 1, that the network knows best: iDDPM's, a timestep's; else sigma. */
double score_round(const Score *s, double sigma);
Affine score_affine(const Score *s, Level l);
/* Whether levels from lo to hi (sigma/alpha) are within what the network was trained for. */
bool score_covers(const Score *s, double lo, double hi, Error *e);
/* The sampler that the network is for: edm, ddpm or flow. */
SamplerKind score_sampler(const Score *s);
#endif
