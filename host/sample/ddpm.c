/* ddpm.c -- the samplers of a discrete diffusion process: ancestral (DDPM, Ho et al. 2020; learned variance of Nichol and Dhariwal
 * 2021) and DDIM (Song et al. 2021), as p_sample and ddim_sample of guided-diffusion's gaussian_diffusion.py, with the mean shifted by
 * gradients (condition_mean) or the score (condition_score). The state is sqrt(alpha_bar) x0 + sqrt(1 - alpha_bar) eps.      */
#include "sample/machine.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { PART_NOISE = 1 };
typedef struct {
    VarianceKind variance;
    bool ddim, clip;
} Ancestral;

static bool choose_variance(const SampleOptions *o, const ScoreFacts *f, VarianceKind *kind, Error *e) {
    *kind = f->learned_range ? VARIANCE_LEARNED : VARIANCE_FIXED_LARGE;
    if (o->variance == FIXED_LARGE_VARIANCE) *kind = VARIANCE_FIXED_LARGE;
    if (o->variance == FIXED_SMALL_VARIANCE) *kind = VARIANCE_FIXED_SMALL;
    if (o->variance == LEARNED_VARIANCE && !f->learned_range)
        return dg_error(e, "--variance learned: this network predicts no variance, fixed_large and fixed_small are possible");
    return true;
}
static void *plan(const SampleOptions *o, const Score *score, Steps *steps, Error *e) {
    const ScoreFacts *f = &score->facts;
    bool cosine = o->noise_schedule ? o->noise_schedule == COSINE_NOISE : f->cosine;
    int base = o->diffusion_steps ? o->diffusion_steps : f->diffusion_steps ? f->diffusion_steps : 1000;
    Ancestral a = {.ddim = o->sampler == SAMPLER_DDIM, .clip = o->clip_denoised ? o->clip_denoised == CLIP_ON : !f->latent};
    char spread[16];
    snprintf(spread, sizeof spread, "%d", o->num_steps);
    if (!o->timestep_respacing && o->num_steps < 2) {
        dg_error(e, "--steps %d: %s takes at least 2", o->num_steps, sampler_name(o->sampler));
        return NULL;
    }
    if (!choose_variance(o, f, &a.variance, e)) return NULL;
    Diffusion *d = diffusion_new(cosine ? NOISE_COSINE : NOISE_LINEAR, base, o->timestep_respacing ? o->timestep_respacing : spread, e);
    if (!d) return NULL;
    *steps = (Steps){.count = d->steps, .process = d};
    if (!score_covers(score, d->recip_m1[0], d->recip_m1[d->steps - 1], e)) return NULL;
    steps->level = dg_alloc((size_t)d->steps * sizeof *steps->level);
    steps->timestep = dg_alloc((size_t)d->steps * sizeof *steps->timestep);
    for (int k = 0, i = d->steps - 1; i >= 0; k++, i--) {
        steps->level[k] = (Level){sqrt(d->alpha_bar[i]), sqrt(1 - d->alpha_bar[i])};
        steps->timestep[k] = d->timestep[i];
    }
    Ancestral *own = dg_alloc(sizeof *own);
    *own = a;
    return own;
}
static double latent(const Sampler *s) {
    (void)s;
    return 1;
}
static void work(Sampler *s, int parts) {
    const Ancestral *a = s->own;
    unsigned open = part_open(0, parts);
    Posterior p = {.noise = parts & PART_NOISE ? s->noise : NULL, .coef = machine_device(s, s->table.posterior), .clip = a->clip};
    machine_evaluate(s, 0, open, s->x);
    p.terms = machine_outputs(s, 0, open, p.x0);
    p.gradients = machine_gradient_terms(s, 0, open, p.gradient);
    if (!a->ddim && a->variance == VARIANCE_LEARNED) p.variance = predictor_variance(s->n.network);
    device_range_push(s->dev, SPAN_STATE);
    s->dev->be->posterior(s->dev, s->x, s->rows, s->per_sample, &p);
    device_range_pop(s->dev, SPAN_STATE);
}
static PosteriorCoef step_coef(const Sampler *s, int i) {
    const Ancestral *a = s->own;
    const Diffusion *d = s->steps.process;
    if (a->ddim) {
        DdimStep t = diffusion_ddim(d, i, s->o.eta);
        return (PosteriorCoef){.from_x0 = t.x0_factor, .from_x = t.x_factor, .gradient = t.gradient, .noise = t.sigma};
    }
    VarianceStep v = diffusion_variance(d, a->variance, i);
    return (PosteriorCoef){.from_x0 = d->coef1[i],
                           .from_x = d->coef2[i],
                           .gradient = v.variance,
                           .gradient_variance = v.learned_variance,
                           .noise = v.deviation,
                           .noise_deviation = v.learned_deviation,
                           .log_low = v.log_low,
                           .log_half = (v.log_high - v.log_low) / 2};
}
static void step(Sampler *s, int k) {
    Evaluation *v = &s->table.evaluation[0];
    PosteriorCoef coef = step_coef(s, s->steps.count - 1 - k);
    for (int i = 0; i < s->rows; i++) s->level[i] = s->steps.level[k];
    unsigned open = machine_plan(s, 0, s->steps.timestep[k], false);
    for (int i = 0; i < s->rows; i++) {
        coef.skip = machine_prediction(s, 0, i, 1);
        s->table.posterior[i] = coef;
        for (int g = 0; g < GRADIENTS; g++) v->gradient[g][i] = s->weight[g][i] == 0 ? 0 : s->weight[g][i] * s->gradient[g][i];
    }
    bool noisy = coef.noise != 0 || coef.noise_deviation != 0;
    machine_submit(s, open_part(0, open) | (noisy ? PART_NOISE | machine_noise(s, k) : 0));
}
const Program program_diffusion = {.plan = plan, .release = free, .latent = latent, .step = step, .work = work};
