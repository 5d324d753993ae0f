/* edm_config.c -- the arguments of EDM's networks (training/networks.py of NVlabs/edm), from JSON. */
#include "models/edm_unet.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool get_filter(NetworkConfig *c, const Json *config, Error *e) {
    int tap[RESAMPLE_TAPS];
    if (!json_get_ints(config, "resample_filter", tap, RESAMPLE_TAPS, &c->resample_taps, e)) return false;
    if (c->resample_taps == 0) tap[0] = tap[1] = 1, c->resample_taps = 2;
    if (c->resample_taps % 2) return dg_error(e, "\"resample_filter\" has an odd number of taps");
    for (int i = 0; i < c->resample_taps; i++) {
        if (tap[i] < 1 || tap[i] > 1000 || tap[i] != tap[c->resample_taps - 1 - i])
            return dg_error(e, "\"resample_filter\" is not positive and symmetric");
        c->resample_filter[i] = (float)tap[i];
    }
    return true;
}
static bool get_precond(NetworkConfig *c, const Json *config, Error *e) {
    const float linf = INFINITY;
    bool ok = json_get_double(config, "sigma_data", .5, &c->sigma_data, e) && json_get_double(config, "beta_d", 19.9, &c->beta_d, e) &&
              json_get_double(config, "beta_min", .1, &c->beta_min, e) && json_get_double(config, "epsilon_t", 1e-5, &c->epsilon_t, e) &&
              json_get_double(config, "C_1", .001, &c->C_1, e) && json_get_double(config, "C_2", .008, &c->C_2, e) &&
              argument_int(config, "M", 1000, 2, PRECOND_MAX_STEPS, &c->M, e);
    if (!ok) return false;
    if (!(c->sigma_data > 0 && c->beta_d > 0 && c->beta_min > 0 && c->epsilon_t > 0 && c->C_1 >= 0 && c->C_2 >= 0))
        return dg_error(e, "a constant of the preconditioning is not positive");
    double lo = 0, hi = linf;
    precond_range(c, &lo, &hi);
    if (!json_get_double(config, "sigma_min", lo, &c->sigma_min, e) || !json_get_double(config, "sigma_max", hi, &c->sigma_max, e))
        return false;
    if (c->sigma_max >= 1e30) c->sigma_max = linf;
    return (c->sigma_min >= 0 && c->sigma_min < c->sigma_max) || dg_error(e, "\"sigma_min\" is not below \"sigma_max\"");
}
bool edm_config(NetworkConfig *c, const Json *j, int model_channels, int num_blocks, Error *e) {
    static const char *const preconds[] = {"EDMPrecond", "VPPrecond", "VEPrecond", "iDDPMPrecond", NULL}; /* as the enum */
    int precond;
    if (!argument_choice(j, "precond", "EDMPrecond", preconds, &precond, e) ||
        !argument_int(j, "img_resolution", 0, 2, MAX_RESOLUTION, &c->img_resolution, e) ||
        !argument_int(j, "img_channels", 0, 1, 64, &c->img_channels, e) ||
        !argument_int(j, "label_dim", 0, 0, MAX_LABELS, &c->label_dim, e) ||
        !argument_int(j, "model_channels", model_channels, 8, MAX_CHANNELS, &c->model_channels, e) ||
        !argument_int(j, "num_blocks", num_blocks, 1, MAX_BLOCKS, &c->num_blocks, e) ||
        !argument_int(j, "channel_mult_emb", 4, 1, 16, &c->channel_mult_emb, e) ||
        !argument_levels(j, c->model_channels, c->channel_mult, &c->levels, e) ||
        !json_get_ints(j, "attn_resolutions", c->attn_resolutions, MAX_LEVELS, &c->attn_count, e) || !get_filter(c, j, e) ||
        !argument_halves("img_resolution", c->img_resolution, c->levels, e))
        return false;
    c->precond = (Precond)precond;
    if (c->model_channels % 8) return dg_error(e, "\"model_channels\" is %d, not a multiple of 8", c->model_channels);
    return get_precond(c, j, e);
}
const Model *network_config(NetworkConfig *c, const Json *config, Error *e) {
    const Model *m = model_find(config, "denoiser", e);
    NetworkConfig *read = m ? model_config(m, config, e) : NULL;
    if (!read) return NULL;
    *c = *read;
    free(read);
    return m;
}
