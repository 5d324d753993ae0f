/* options.c -- the sampling options: defaults, what goes together, and what was not said. */
#include "sample/options.h"
#include "sample/terms.h"
#include <math.h>

const char *sampler_name(SamplerKind k) {
    static const char *const name[] = {"auto", "edm", "ablation", "ddpm", "ddim", "flow", "dpm++"};
    return name[k];
}
SampleOptions sample_defaults(void) {
    const double not_given = (double)NAN;
    return (SampleOptions){.sigma_min = not_given,
                           .sigma_max = not_given,
                           .rho = 7,
                           .S_max = (double)INFINITY,
                           .S_noise = 1,
                           .dg_weight_1st_order = 2,
                           .time_min = not_given,
                           .time_max = not_given,
                           .cfg_scale = not_given,
                           .LT_cfg = not_given,
                           .ST_cfg = not_given,
                           .branch_time = not_given,
                           .guidance = not_given,
                           .classifier_scale = not_given};
}
bool sample_discriminates(const SampleOptions *o) { return o->dg_weight_1st_order != 0 || o->dg_weight_2nd_order != 0; }
SamplerKind sample_kind(const SampleOptions *o, SamplerKind usual) {
    if (o->sampler != SAMPLER_AUTO) return o->sampler;
    if (o->table_given || (o->solver_given && usual != SAMPLER_FLOW)) return SAMPLER_ABLATION;
    return usual;
}
static bool diffuses(SamplerKind k) { return k == SAMPLER_DDPM || k == SAMPLER_DDIM; }

/* ---- checks ------------------------------------------------------------------------------------------------------------------ */
static bool check_values(const SampleOptions *o, Error *e) {
    if (o->num_steps && (o->num_steps < 1 || o->num_steps > MAX_STEPS))
        return dg_error(e, "steps: %d, from 1 to %d are possible", o->num_steps, MAX_STEPS);
    if (!(o->rho > 0 && isfinite(o->rho))) return dg_error(e, "rho: %g is not positive", o->rho);
    if (!(o->S_churn >= 0) || !(o->S_noise >= 0) || !(o->S_min >= 0) || !(o->S_max >= o->S_min))
        return dg_error(e, "S_churn %g, S_min %g, S_max %g, S_noise %g: none may be negative, nor S_max below S_min", o->S_churn, o->S_min,
                        o->S_max, o->S_noise);
    if (o->sigma_min <= 0) return dg_error(e, "sigma_min: %g is not positive", o->sigma_min); /* NAN, the default, passes here */
    if (o->sigma_max <= 0) return dg_error(e, "sigma_max: %g is not positive", o->sigma_max);
    if (o->sigma_min >= o->sigma_max) return dg_error(e, "sigma_min %g is not below sigma_max %g", o->sigma_min, o->sigma_max);
    if (!(o->eta >= 0 && o->eta <= 1)) return dg_error(e, "eta: %g is not between 0 and 1", o->eta);
    if (!isfinite(o->dg_weight_1st_order) || !isfinite(o->dg_weight_2nd_order))
        return dg_error(e, "a guidance weight is not a finite number");
    const double weight[] = {o->cfg_scale, o->LT_cfg, o->ST_cfg, o->guidance, o->classifier_scale};
    for (int i = 0; i < 5; i++)
        if (isinf(weight[i])) return dg_error(e, "a guidance weight is not a finite number");
    double lo = isnan(o->time_min) ? 0 : o->time_min, hi = isnan(o->time_max) ? (double)INFINITY : o->time_max;
    if (!(lo >= 0 && hi >= lo)) return dg_error(e, "time_min %g and time_max %g do not make a window", lo, hi);
    return true;
}
/* Options that are each other's, or of another sampler. */
static bool check_sampler(const SampleOptions *o, Error *e) {
    SamplerKind k = sample_kind(o, SAMPLER_AUTO); /* auto: not known yet */
    const char *name = sampler_name(k);
    if (k == SAMPLER_AUTO) return true;
    if (k != SAMPLER_ABLATION && (o->table_given || (o->solver_given && k != SAMPLER_FLOW)))
        return dg_error(e, "--%s is the ablation sampler's, --sampler %s has none: leave one of them out",
                        o->table_given ? "disc, --schedule or --scaling" : "solver", name);
    if (k != SAMPLER_DDIM && o->eta != 0) return dg_error(e, "--eta is DDIM's: it needs --sampler ddim");
    if (k != SAMPLER_DDPM && o->variance) return dg_error(e, "--variance is the ancestral sampler's: it needs --sampler ddpm");
    if (!diffuses(k) && (o->timestep_respacing || o->noise_schedule || o->diffusion_steps || o->clip_denoised))
        return dg_error(e, "--%s belongs to the samplers ddpm and ddim, this one is %s",
                        o->timestep_respacing ? "timestep_respacing"
                        : o->noise_schedule   ? "noise_schedule"
                        : o->diffusion_steps  ? "diffusion_steps"
                                              : "clip_denoised",
                        name);
    if (k != SAMPLER_EDM && k != SAMPLER_ABLATION && o->S_churn > 0) return dg_error(e, "--S_churn: the sampler %s has no churn", name);
    if (diffuses(k) && !(isnan(o->sigma_min) && isnan(o->sigma_max) && o->rho == 7))
        return dg_error(e, "--sigma_min, --sigma_max and --rho: the noise levels of %s are those of --noise_schedule", name);
    return true;
}
static bool check_guidance(const SampleOptions *o, Error *e) {
    SamplerKind k = sample_kind(o, SAMPLER_AUTO);
    bool branch = !isnan(o->LT_cfg) || !isnan(o->ST_cfg) || !isnan(o->branch_time);
    if (branch && !isnan(o->cfg_scale))
        return dg_error(e, "--cfg_scale is one weight for all steps, --LT_cfg and --ST_cfg are two: give one or the other");
    if (branch && (isnan(o->LT_cfg) || isnan(o->ST_cfg))) return dg_error(e, "--LT_cfg and --ST_cfg go together");
    if (branch && o->cfg_interval) return dg_error(e, "--branch_time divides the steps already: leave --cfg_interval out");
    if (branch && k != SAMPLER_AUTO && !diffuses(k))
        return dg_error(e, "--branch_time is a timestep: it needs --sampler ddpm or ddim, this one is %s", sampler_name(k));
    if (o->cfg_interval && isnan(o->cfg_scale)) return dg_error(e, "--cfg_interval needs --cfg_scale");
    if (o->cfg_channels && isnan(o->cfg_scale) && !branch) return dg_error(e, "--cfg_channels needs --cfg_scale");
    if (o->classifier_interval && isnan(o->classifier_scale)) return dg_error(e, "--classifier_interval needs --classifier_scale");
    if (o->guidance_interval && isnan(o->guidance)) return dg_error(e, "--guidance_interval needs --guidance");
    if (o->dg_interval && (!isnan(o->time_min) || !isnan(o->time_max)))
        return dg_error(e, "--dg_interval is --time_min and --time_max in one: leave one or the other out");
    if (k == SAMPLER_AUTO) return true;
    if (o->boosting && k != SAMPLER_EDM) return dg_error(e, "--boosting works with EDM's sampler alone, this one is %s", sampler_name(k));
    if (o->dg_weight_2nd_order != 0 && k != SAMPLER_EDM)
        return dg_error(e, "--dg_weight_2nd_order: only EDM's sampler has a second order, this one is %s: leave it out", sampler_name(k));
    return true;
}
bool sample_check(const SampleOptions *o, Error *e) {
    if (o->timestep_respacing && o->num_steps) return dg_error(e, "--timestep_respacing says how many steps there are: leave --steps out");
    double lo, hi;
    if (o->dg_interval && !interval_parse("dg_interval", o->dg_interval, &lo, &hi, e)) return false;
    if (!check_values(o, e) || !check_sampler(o, e) || !check_guidance(o, e)) return false;
    if (sample_kind(o, SAMPLER_AUTO) == SAMPLER_AUTO) return true;
    SampleOptions resolved = *o;
    Guidance unused;
    sample_resolve(&resolved, SAMPLER_AUTO);
    return guidance_list(&unused, &resolved, NULL, e);
}

/* ---- what was not given ------------------------------------------------------------------------------------------------------- */
void sample_resolve(SampleOptions *o, SamplerKind usual) {
    static const int steps[] = {18, 18, 18, 250, 50, 50, 18};
    SamplerKind k = o->sampler = sample_kind(o, usual);
    Unit unit = sampler_unit(k, TERM_DISCRIMINATOR);
    double lo, hi;
    if (!o->num_steps && !o->timestep_respacing) o->num_steps = steps[k];
    if (o->dg_interval && interval_parse("dg_interval", o->dg_interval, &lo, &hi, NULL)) o->time_min = lo, o->time_max = hi;
    o->dg_interval = NULL;
    if (isnan(o->time_min)) o->time_min = unit == UNIT_TIMESTEP ? 100 : .01; /* the official defaults */
    if (isnan(o->time_max)) o->time_max = unit == UNIT_TIMESTEP ? 1000 : 1;
    if (!isnan(o->LT_cfg) && isnan(o->branch_time)) o->branch_time = 200;
}
