/* sample_options.h -- the options about sampling and guidance, of every command that samples, and of golden cases, which name them as
 * the official programs do.                                                                                                */
#ifndef DG_SAMPLE_OPTIONS_H
#define DG_SAMPLE_OPTIONS_H
#include "program/cli.h"
#include "sample/options.h"

enum { MAX_CHANNELS_GUIDED = 4096 };
/* Rows for the option table of a command whose options, of type T, have a SampleOptions as member; m: the member and a dot, nothing
 * where T is the SampleOptions itself.                                                                                    */
/* clang-format off */
#define SAMPLE_ROW(T, m, group, name, aliases, kind, field, value, lo, hi, help)                                           \
    {group, name, aliases, kind, offsetof(T, m field), value, lo, hi, true, help}
#define SAMPLE_OPTIONS(T, m)                                                                                               \
    SAMPLE_ROW(T, m, "Sampler", "sampler", NULL, OPTION_CHOICE, sampler, "auto|edm|ablation|ddpm|ddim|flow|dpm++", 0, 0,    \
     "auto: what the network is for; edm: EDM's, stochastic or not; ablation: EDM's Table 1; ddpm: ancestral; flow: straight paths; dpm++: DPM-Solver++ 2M"), \
    SAMPLE_ROW(T, m, NULL, "steps", "num_steps", OPTION_INT, num_steps, "N", 1, MAX_STEPS,                                  \
     "sampling steps; default: 18, of ddpm 250, of ddim and flow 50"),                                                     \
    SAMPLE_ROW(T, m, NULL, "sigma_min", NULL, OPTION_DOUBLE, sigma_min, "X", 0, INFINITY,                                   \
     "lowest noise level; default: of the discretization and the network"),                                                \
    SAMPLE_ROW(T, m, NULL, "sigma_max", NULL, OPTION_DOUBLE, sigma_max, "X", 0, INFINITY, "highest noise level"),          \
    SAMPLE_ROW(T, m, NULL, "rho", NULL, OPTION_DOUBLE, rho, "X", 1e-3, 1e3, "exponent of the noise levels"),                \
    SAMPLE_ROW(T, m, NULL, "S_churn", NULL, OPTION_DOUBLE, S_churn, "X", 0, INFINITY, "stochasticity: strength"),           \
    SAMPLE_ROW(T, m, NULL, "S_min", NULL, OPTION_DOUBLE, S_min, "X", 0, INFINITY, "stochasticity: lowest noise level"),     \
    SAMPLE_ROW(T, m, NULL, "S_max", NULL, OPTION_DOUBLE, S_max, "X", 0, INFINITY, "stochasticity: highest noise level"),    \
    SAMPLE_ROW(T, m, NULL, "S_noise", NULL, OPTION_DOUBLE, S_noise, "X", 0, INFINITY, "stochasticity: inflation of the noise"), \
    SAMPLE_ROW(T, m, NULL, "quantize", NULL, OPTION_CHOICE, quantize, "auto|edm|adm", 0, 0,                                \
     "bytes of a picture: trunc(127.5 x + 128) as EDM and DiT, or trunc(127.5 x + 127.5) as ADM"),                          \
                                                                                                                           \
    SAMPLE_ROW(T, m, "Samplers ddpm and ddim", "timestep_respacing", "respacing num_sampling_steps", OPTION_TEXT, timestep_respacing, \
     "TEXT", 0, 0, "which timesteps: 250 of them, spread evenly; 10,15,20 of each third; ddim25 at a whole stride"),        \
    SAMPLE_ROW(T, m, NULL, "noise_schedule", NULL, OPTION_CHOICE, noise_schedule, "auto|linear|cosine", 0, 0,               \
     "of the diffusion process; auto: the network's, else linear"),                                                        \
    SAMPLE_ROW(T, m, NULL, "diffusion_steps", NULL, OPTION_INT, diffusion_steps, "N", 0, 4000,                              \
     "timesteps of the process; 0: the network's, else 1000"),                                                             \
    SAMPLE_ROW(T, m, NULL, "variance", NULL, OPTION_CHOICE, variance, "auto|learned|fixed_large|fixed_small", 0, 0,         \
     "of ddpm's noise; auto: learned where the network predicts it, else fixed_large"),                                    \
    SAMPLE_ROW(T, m, NULL, "eta", NULL, OPTION_DOUBLE, eta, "X", 0, 1, "ddim: share of ddpm's noise"),                      \
    SAMPLE_ROW(T, m, NULL, "clip_denoised", NULL, OPTION_SWITCH, clip_denoised, "auto|off|on", 0, 0,                       \
     "clamp predictions to the range of pixels; auto: on, but for latents"),                                               \
                                                                                                                           \
    SAMPLE_ROW(T, m, "Ablation sampler (EDM, Table 1); solver also of flow", "solver", NULL, OPTION_CHOICE, solver, "heun|euler", 0, 0, "ODE solver"), \
    SAMPLE_ROW(T, m, NULL, "disc", "discretization", OPTION_CHOICE, discretization, "edm|vp|ve|iddpm", 0, 0,               \
     "noise levels of the steps"),                                                                                         \
    SAMPLE_ROW(T, m, NULL, "schedule", NULL, OPTION_CHOICE, schedule, "linear|vp|ve", 0, 0, "noise level as a function of time"), \
    SAMPLE_ROW(T, m, NULL, "scaling", NULL, OPTION_CHOICE, scaling, "none|vp", 0, 0, "scaling of the signal")
#define GUIDANCE_OPTIONS(T, m)                                                                                             \
    SAMPLE_ROW(T, m, "Discriminator guidance", "dg_weight_1st_order", "dg_scale", OPTION_DOUBLE, dg_weight_1st_order, "W", -1e6, 1e6, \
     "weight at the first evaluation of a step; 0 turns guidance off"),                                                    \
    SAMPLE_ROW(T, m, NULL, "dg_weight_2nd_order", NULL, OPTION_DOUBLE, dg_weight_2nd_order, "W", -1e6, 1e6,                 \
     "weight at the second one (edm alone)"),                                                                              \
    SAMPLE_ROW(T, m, NULL, "time_min", NULL, OPTION_DOUBLE, time_min, "T", 0, INFINITY,                                    \
     "guide from this diffusion time on (edm, dpm++, flow: 0 to 1, default 0.01; ddpm, ddim: above this timestep, default 100)"), \
    SAMPLE_ROW(T, m, NULL, "time_max", NULL, OPTION_DOUBLE, time_max, "T", 0, INFINITY, "and up to this one"),             \
    SAMPLE_ROW(T, m, NULL, "dg_interval", NULL, OPTION_TEXT, dg_interval, "LO,HI", 0, 0, "both in one"),                    \
    SAMPLE_ROW(T, m, NULL, "boosting", NULL, OPTION_SWITCH, boosting, "off|on|double", 0, 0,                               \
     "more guidance, with on more noise too, for images that the discriminator finds unreal"),                             \
    SAMPLE_ROW(T, m, NULL, "dg-gate", NULL, OPTION_CHOICE, dg_gate, "sample|batch", 0, 0,                                  \
     "the time window holds per image, or, as officially, for the batch's least time: then boosted images depend on --batch"), \
                                                                                                                           \
    SAMPLE_ROW(T, m, "Other guidance (intervals: LO < sigma <= HI; ddpm, ddim: timesteps; flow: t from 0 to 1)", "cfg_scale", \
     NULL, OPTION_DOUBLE, cfg_scale, "W", -1e6, 1e6, "classifier-free guidance; 1: none"),                           \
    SAMPLE_ROW(T, m, NULL, "cfg_interval", NULL, OPTION_TEXT, cfg_interval, "LO,HI", 0, 0, "where it acts; default: everywhere"), \
    SAMPLE_ROW(T, m, NULL, "cfg_channels", NULL, OPTION_INT, cfg_channels, "N", 0, MAX_CHANNELS_GUIDED,                    \
     "the first so many channels are guided; 0: as officially (DiT: 3)"),                                                  \
    SAMPLE_ROW(T, m, NULL, "LT_cfg", NULL, OPTION_DOUBLE, LT_cfg, "W", -1e6, 1e6, "weight above --branch_time (DG's DiT)"), \
    SAMPLE_ROW(T, m, NULL, "ST_cfg", NULL, OPTION_DOUBLE, ST_cfg, "W", -1e6, 1e6, "weight up to it"),                       \
    SAMPLE_ROW(T, m, NULL, "branch_time", NULL, OPTION_DOUBLE, branch_time, "T", 0, 1e6, "timestep between them; default 200"), \
    SAMPLE_ROW(T, m, NULL, "guidance", NULL, OPTION_DOUBLE, guidance, "W", -1e6, 1e6, "autoguidance by --gnet; 1: none"),   \
    SAMPLE_ROW(T, m, NULL, "guidance_interval", NULL, OPTION_TEXT, guidance_interval, "LO,HI", 0, 0, "where it acts"),      \
    SAMPLE_ROW(T, m, NULL, "classifier_scale", NULL, OPTION_DOUBLE, classifier_scale, "W", -1e6, 1e6,                      \
     "guidance by the gradient of --classifier; 0: none"),                                                                 \
    SAMPLE_ROW(T, m, NULL, "classifier_interval", NULL, OPTION_TEXT, classifier_interval, "LO,HI", 0, 0, "where it acts")
/* clang-format on */
extern const Preset sample_presets[]; /* as Command.preset */
/* What the command line has said of the solver and of Table 1, which choose the ablation sampler. */
static inline void sample_options_given(SampleOptions *o, const Args *a) {
    o->solver_given = args_given(a, "solver");
    o->table_given = args_given(a, "disc") || args_given(a, "schedule") || args_given(a, "scaling");
}
#endif
