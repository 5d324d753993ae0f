/* precond.c -- the four preconditioners (EDM paper, Table 1; training/networks.py of NVlabs/edm), in the official fp32. */
#include "models/edm.h"
#include <math.h>

static float vp_sigma(const NetworkConfig *c, float t) {
    return sqrtf(expf(.5f * (float)c->beta_d * (t * t) + (float)c->beta_min * t) - 1);
}
static float vp_time(const NetworkConfig *c, float sigma) {
    float bd = (float)c->beta_d, bm = (float)c->beta_min;
    return (sqrtf(bm * bm + 2 * bd * logf(1 + sigma * sigma)) - bm) / bd;
}
static float iddpm_alpha_bar(const NetworkConfig *c, int j) {
    float s = sinf((float)(M_PI / 2) * (float)j / (float)c->M / (float)(c->C_2 + 1));
    return s * s;
}
/* u[0..M], u[M] = 0, by the official fp32 recurrence. */
static void iddpm_levels(const NetworkConfig *c, float *u) {
    u[c->M] = 0;
    for (int j = c->M; j > 0; j--) {
        float ratio = iddpm_alpha_bar(c, j - 1) / iddpm_alpha_bar(c, j), floor = (float)c->C_1;
        u[j - 1] = sqrtf((u[j] * u[j] + 1) / (ratio > floor ? ratio : floor) - 1);
    }
}
static int iddpm_nearest(const NetworkConfig *c, const float *u, float sigma) {
    int best = 0;
    for (int j = 1; j <= c->M; j++)
        if (fabsf(sigma - u[j]) < fabsf(sigma - u[best])) best = j; /* the first minimum */
    return best;
}
void precond_range(const NetworkConfig *c, double *lo, double *hi) {
    float u[PRECOND_MAX_STEPS + 1];
    switch (c->precond) {
    case PRECOND_EDM: *lo = 0, *hi = INFINITY; break;
    case PRECOND_VP: *lo = (double)vp_sigma(c, (float)c->epsilon_t), *hi = (double)vp_sigma(c, 1); break;
    case PRECOND_VE: *lo = .02, *hi = 100; break;
    case PRECOND_IDDPM:
        iddpm_levels(c, u);
        *lo = (double)u[c->M - 1], *hi = (double)u[0];
        break;
    }
}
double precond_round_sigma(const NetworkConfig *c, double sigma) {
    if (c->precond != PRECOND_IDDPM) return sigma;
    float u[PRECOND_MAX_STEPS + 1];
    iddpm_levels(c, u);
    return (double)u[iddpm_nearest(c, u, (float)sigma)];
}
PrecondCoef precond_coef(const NetworkConfig *c, double sigma64) {
    float s = (float)sigma64, d = (float)c->sigma_data, u[PRECOND_MAX_STEPS + 1];
    switch (c->precond) {
    case PRECOND_EDM: return (PrecondCoef){d * d / (s * s + d * d), s * d / sqrtf(s * s + d * d), 1 / sqrtf(d * d + s * s), logf(s) / 4};
    case PRECOND_VP: return (PrecondCoef){1, -s, 1 / sqrtf(s * s + 1), (float)(c->M - 1) * vp_time(c, s)};
    case PRECOND_VE: return (PrecondCoef){1, s, 1, logf(.5f * s)};
    case PRECOND_IDDPM: break;
    }
    iddpm_levels(c, u);
    return (PrecondCoef){1, -s, 1 / sqrtf(s * s + 1), (float)(c->M - 1 - iddpm_nearest(c, u, s))};
}
