/* score.c -- noise levels to linear coefficients, for every kind of prediction. */
#include "sample/score.h"
#include "models/edm.h"
#include "sample/diffusion.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The levels of the network's timesteps. */
static bool learn_levels(Score *s, Error *e) {
    const ScoreFacts *f = &s->facts;
    Diffusion *d = diffusion_new(f->cosine ? NOISE_COSINE : NOISE_LINEAR, f->diffusion_steps, "", e);
    if (!d) return false;
    size_t n = (size_t)f->diffusion_steps;
    free(s->levels);
    s->levels = dg_alloc(n * sizeof *s->levels);
    for (size_t i = 0; i < n; i++) s->levels[i] = sqrt((1 - d->base_alpha_bar[i]) / d->base_alpha_bar[i]);
    s->lo = s->levels[0], s->hi = s->levels[n - 1];
    diffusion_free(d);
    return true;
}
Score *score_new(const Model *m, const void *config, Error *e) {
    if (!m->score) {
        dg_error(e, "this is %s, not a score network", m->noun);
        return NULL;
    }
    Score *s = dg_alloc(sizeof *s);
    bool ok = m->score(config, &s->facts, e);
    const ScoreFacts *f = &s->facts;
    s->model = m;
    s->lo = 0, s->hi = (double)INFINITY;
    if (f->edm) s->lo = f->edm->sigma_min, s->hi = f->edm->sigma_max;
    if (ok && (!f->diffusion_steps || learn_levels(s, e))) return s;
    score_free(s);
    return NULL;
}
bool score_apply(Score *s, const SampleOptions *o, Error *e) {
    ScoreFacts before = s->facts;
    if (!before.diffusion_steps) return true;
    if (o->noise_schedule) s->facts.cosine = o->noise_schedule == COSINE_NOISE;
    if (o->diffusion_steps) s->facts.diffusion_steps = o->diffusion_steps;
    bool same = before.cosine == s->facts.cosine && before.diffusion_steps == s->facts.diffusion_steps;
    return same || learn_levels(s, e);
}
void score_free(Score *s) {
    if (!s) return;
    free(s->levels);
    free(s);
}
SamplerKind score_sampler(const Score *s) {
    switch (s->facts.prediction) {
    case PREDICTS_PRECONDITIONED: return SAMPLER_EDM;
    case PREDICTS_EPS:
    case PREDICTS_V: return SAMPLER_DDPM;
    case PREDICTS_FLOW: return SAMPLER_FLOW;
    }
    return SAMPLER_EDM;
}
static int nearest_timestep(const Score *s, double sigma) {
    int lo = 0, hi = s->facts.diffusion_steps - 1;
    while (hi - lo > 1) {
        int middle = (lo + hi) / 2;
        if (s->levels[middle] <= sigma) lo = middle;
        else hi = middle;
    }
    return sigma - s->levels[lo] <= s->levels[hi] - sigma ? lo : hi;
}
double score_round(const Score *s, double sigma) {
    if (s->levels) return s->levels[nearest_timestep(s, sigma)];
    return s->facts.edm ? precond_round_sigma(s->facts.edm, sigma) : sigma;
}
Affine score_affine(const Score *s, Level l) {
    double sigma = l.sigma / l.alpha, keep = 1 / sqrt(1 + sigma * sigma); /* keep: alpha where alpha^2 + sigma^2 is 1 */
    switch (s->facts.prediction) {
    case PREDICTS_PRECONDITIONED: {
        PrecondCoef c = precond_coef(s->facts.edm, sigma);
        return (Affine){(double)c.c_skip / l.alpha, (double)c.c_out, (double)c.c_in / l.alpha, (double)c.c_noise};
    }
    case PREDICTS_EPS: return (Affine){1 / l.alpha, -sigma, keep / l.alpha, nearest_timestep(s, sigma)};
    case PREDICTS_V: return (Affine){keep * (keep / l.alpha), -sigma * keep, keep / l.alpha, nearest_timestep(s, sigma)};
    case PREDICTS_FLOW: break;
    }
    double size = l.alpha + l.sigma; /* not 0 where alpha is */
    return (Affine){1 / size, -l.sigma / size, 1 / size, l.sigma / size};
}
bool score_covers(const Score *s, double lo, double hi, Error *e) {
    const double slack = 1 + 1e-6; /* a process's own first and last levels, computed in another way */
    if (lo * slack >= s->lo && hi <= s->hi * slack) return true;
    return dg_error(e,
                    "the sampler's noise levels run from %g down to %g, the network's from %g down to %g: another sampler, --sigma_max, "
                    "--sigma_min or --noise_schedule has others",
                    hi, lo, s->hi, s->lo);
}
