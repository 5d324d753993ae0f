/* options.h -- what a user says about sampling: which sampler, its steps, and the guidance. Names are the official option names
 * (NVlabs/edm, NVlabs/edm2, alsdudrla10/DG and DG_imagenet, openai/guided-diffusion, facebookresearch/DiT).                  */
#ifndef DG_OPTIONS_H
#define DG_OPTIONS_H
#include "base/error.h"

enum { MAX_STEPS = 100000 };
typedef enum { SAMPLER_AUTO, SAMPLER_EDM, SAMPLER_ABLATION, SAMPLER_DDPM, SAMPLER_DDIM, SAMPLER_FLOW, SAMPLER_DPM } SamplerKind;
typedef enum { SOLVER_HEUN, SOLVER_EULER } Solver;
typedef enum { DISC_EDM, DISC_VP, DISC_VE, DISC_IDDPM } Discretization;
typedef enum { SCHEDULE_LINEAR, SCHEDULE_VP, SCHEDULE_VE } Schedule;
typedef enum { SCALING_NONE, SCALING_VP } Scaling;
typedef enum { GATE_SAMPLE, GATE_BATCH } Gate;
/* on: DG's rule. double: that of arXiv 2312.06038, which adds no noise. */
typedef enum { BOOSTING_OFF, BOOSTING_ON, BOOSTING_DOUBLE } Boosting;
typedef enum { OF_NETWORK_NOISE, LINEAR_NOISE, COSINE_NOISE } NoiseChoice;
typedef enum { OF_NETWORK_VARIANCE, LEARNED_VARIANCE, FIXED_LARGE_VARIANCE, FIXED_SMALL_VARIANCE } VarianceChoice;
typedef enum { CLIP_OF_NETWORK, CLIP_OFF, CLIP_ON } ClipChoice;
typedef enum { QUANTIZE_OF_NETWORK, QUANTIZE_EDM, QUANTIZE_ADM } Quantize; /* bytes: trunc(127.5 x + 128), or trunc(127.5 x + 127.5) */

/* NAN, NULL and 0 of an enum's first word: not given, so as the sampler or the network has it. */
typedef struct {
    SamplerKind sampler;
    int num_steps; /* 0: not given */
    /* edm, ablation, dpm++; the range also of flow, where the network has no other */
    double sigma_min, sigma_max, rho, S_churn, S_min, S_max, S_noise;
    Solver solver; /* ablation, flow */
    bool solver_given;
    Discretization discretization;
    Schedule schedule;
    Scaling scaling;
    bool table_given; /* discretization, schedule or scaling */
    /* ddpm, ddim */
    const char *timestep_respacing; /* "250", "ddim25", "10,15,20" */
    NoiseChoice noise_schedule;
    int diffusion_steps; /* 0: of the network */
    VarianceChoice variance;
    double eta; /* ddim */
    ClipChoice clip_denoised;
    /* discriminator guidance */
    double dg_weight_1st_order, dg_weight_2nd_order, time_min, time_max;
    const char *dg_interval; /* "LO,HI": time_min and time_max */
    Boosting boosting;
    Gate dg_gate; /* sample (default): an image depends on its seed alone; batch: the official rule */
    /* classifier-free guidance: on all steps, or the official pair on both sides of branch_time */
    double cfg_scale, LT_cfg, ST_cfg, branch_time;
    int cfg_channels; /* 0: of the network */
    const char *cfg_interval;
    /* autoguidance */
    double guidance;
    const char *guidance_interval;
    /* classifier guidance */
    double classifier_scale;
    const char *classifier_interval;
    Quantize quantize;
} SampleOptions;

SampleOptions sample_defaults(void);
/* The values by themselves and with each other, as far as they can be known before a network is. */
bool sample_check(const SampleOptions *o, Error *e);
/* Fills in what was not given: `usual` is the sampler that the network is for. sample_check comes first. */
void sample_resolve(SampleOptions *o, SamplerKind usual);
SamplerKind sample_kind(const SampleOptions *o, SamplerKind usual); /* which sampler that will be */
const char *sampler_name(SamplerKind k);                            /* "edm" */
bool sample_discriminates(const SampleOptions *o);                  /* either weight is not 0 */
#endif
