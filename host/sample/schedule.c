/* schedule.c -- noise levels and time (EDM paper, Table 1; generate.py of NVlabs/edm). */
#include "sample/schedule.h"
#include <math.h>
#include <stdlib.h>

static const double VP_EPSILON = 1e-3; /* of the VP discretization: its last time */

static double vp_sigma(double beta_d, double beta_min, double t) { return sqrt(exp(.5 * beta_d * t * t + beta_min * t) - 1); }

double time_sigma(const TimeMap *m, double t) {
    return m->schedule == SCHEDULE_VP ? vp_sigma(m->beta_d, m->beta_min, t) : m->schedule == SCHEDULE_VE ? sqrt(t) : t;
}
double time_sigma_slope(const TimeMap *m, double t) {
    if (m->schedule == SCHEDULE_LINEAR) return 1;
    double sigma = time_sigma(m, t);
    return m->schedule == SCHEDULE_VE ? .5 / sigma : .5 * (m->beta_min + m->beta_d * t) * (sigma + 1 / sigma);
}
double time_of_sigma(const TimeMap *m, double sigma) {
    if (m->schedule == SCHEDULE_LINEAR) return sigma;
    if (m->schedule == SCHEDULE_VE) return sigma * sigma;
    return (sqrt(m->beta_min * m->beta_min + 2 * m->beta_d * log(sigma * sigma + 1)) - m->beta_min) / m->beta_d;
}
double time_scale(const TimeMap *m, double t) {
    double sigma = time_sigma(m, t);
    return m->scaling == SCALING_VP ? 1 / sqrt(1 + sigma * sigma) : 1;
}
double time_scale_slope(const TimeMap *m, double t) {
    if (m->scaling == SCALING_NONE) return 0;
    double s = time_scale(m, t);
    return -time_sigma(m, t) * time_sigma_slope(m, t) * s * s * s;
}

/* iDDPM's levels in f64 within [lo, hi], decreasing; u has room for 1001. */
static int iddpm_levels(double lo, double hi, double *u) {
    enum { M = 1000 };
    const double C_1 = .001, C_2 = .008;
    double level[M + 1];
    level[M] = 0;
    for (int j = M; j > 0; j--) {
        double now = sin(.5 * M_PI * j / M / (C_2 + 1)), before = sin(.5 * M_PI * (j - 1) / M / (C_2 + 1));
        double ratio = before * before / (now * now);
        level[j - 1] = sqrt((level[j] * level[j] + 1) / (ratio > C_1 ? ratio : C_1) - 1);
    }
    int n = 0;
    for (int j = 0; j <= M; j++)
        if (level[j] >= lo && level[j] <= hi) u[n++] = level[j];
    return n;
}
static void default_range(Discretization d, double *lo, double *hi) {
    switch (d) {
    case DISC_EDM: *lo = .002, *hi = 80; break;
    case DISC_VP: *lo = vp_sigma(19.9, .1, VP_EPSILON), *hi = vp_sigma(19.9, .1, 1); break;
    case DISC_VE: *lo = .02, *hi = 100; break;
    case DISC_IDDPM: *lo = .002, *hi = 81; break;
    }
}
bool schedule_range(const SampleOptions *o, const Score *score, double *lo, double *hi, Error *e) {
    default_range(o->sampler == SAMPLER_ABLATION ? o->discretization : DISC_EDM, lo, hi);
    if (!isnan(o->sigma_min)) *lo = o->sigma_min;
    if (!isnan(o->sigma_max)) *hi = o->sigma_max;
    *lo = fmax(*lo, score->lo), *hi = fmin(*hi, score->hi); /* what the network was trained for */
    if (*lo > 0 && *lo < *hi && isfinite(*hi)) return true;
    return dg_error(e, "the noise levels would run from %g down to %g: check sigma_max and sigma_min", *hi, *lo);
}
bool schedule_steps(const SampleOptions *o, const Score *score, TimeMap *m, double *t, Error *e) {
    double lo = 0, hi = 0, u[1001];
    int n = o->num_steps;
    bool ablation = o->sampler == SAMPLER_ABLATION;
    Discretization disc = ablation ? o->discretization : DISC_EDM;
    if (!schedule_range(o, score, &lo, &hi, e)) return false;
    *m = (TimeMap){.schedule = ablation ? o->schedule : SCHEDULE_LINEAR, .scaling = ablation ? o->scaling : SCALING_NONE};
    m->beta_d = 2 * (log(lo * lo + 1) / VP_EPSILON - log(hi * hi + 1)) / (VP_EPSILON - 1);
    m->beta_min = log(hi * hi + 1) - .5 * m->beta_d;
    int levels = disc == DISC_IDDPM ? iddpm_levels(lo, hi, u) : 0;
    if (disc == DISC_IDDPM && levels < 1) return dg_error(e, "no noise level of iDDPM lies between %g and %g", lo, hi);
    for (int i = 0; i < n; i++) {
        double where = n > 1 ? (double)i / (n - 1) : 0, sigma = 0;
        switch (disc) {
        case DISC_EDM: sigma = pow(pow(hi, 1 / o->rho) + where * (pow(lo, 1 / o->rho) - pow(hi, 1 / o->rho)), o->rho); break;
        case DISC_VP: sigma = vp_sigma(m->beta_d, m->beta_min, 1 + where * (VP_EPSILON - 1)); break;
        case DISC_VE: sigma = sqrt(hi * hi * pow(lo * lo / (hi * hi), where)); break;
        case DISC_IDDPM: sigma = u[(int)rint(n > 1 ? (double)(levels - 1) / (n - 1) * i : 0)]; break; /* ties to even */
        }
        t[i] = time_of_sigma(m, score_round(score, sigma));
    }
    t[n] = 0;
    for (int i = 0; i < n; i++)
        if (!(t[i] >= t[i + 1])) return dg_error(e, "the noise levels of %d steps do not decrease", n);
    return true;
}
