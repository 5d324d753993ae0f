/* diffusion.c -- timesteps and coefficients (gaussian_diffusion.py and respace.py of openai/guided-diffusion). */
#include "sample/diffusion.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const FORMS = "as in \"250\", \"10,15,20\" or \"ddim25\"";

/* -1: not digits alone. A count that no process has is MAX_DIFFUSION_STEPS + 1. */
static int read_count(const char *digits, size_t length) {
    int count = 0;
    for (size_t k = 0; k < length; k++) {
        if (digits[k] < '0' || digits[k] > '9') return -1;
        count = 10 * count + digits[k] - '0';
        if (count > MAX_DIFFUSION_STEPS) count = MAX_DIFFUSION_STEPS + 1;
    }
    return length ? count : -1;
}

/* The three rules fill map, which has room for all steps, ascending, and return how many; 0: e says why not. */
static int space_all(int diffusion_steps, int *map) {
    for (int j = 0; j < diffusion_steps; j++) map[j] = j;
    return diffusion_steps;
}
/* The smallest stride from 0 that meets the wanted number of steps. */
static int space_ddim(const char *respacing, int diffusion_steps, int *map, Error *e) {
    const char *digits = respacing + strlen("ddim");
    int wanted = read_count(digits, strlen(digits)), fewer = 0, more = 0;
    if (wanted < 0) return dg_error(e, "respacing \"%s\": a number of steps must follow ddim, %s", respacing, FORMS);
    for (int stride = 1; stride < diffusion_steps; stride++) {
        int count = (diffusion_steps + stride - 1) / stride;
        if (count == wanted) {
            for (int i = 0; i < count; i++) map[i] = i * stride;
            return count;
        }
        if (count > wanted) more = count;
        if (count < wanted && !fewer) fewer = count;
    }
    char nearest[64];
    if (fewer && more) snprintf(nearest, sizeof nearest, "the nearest are ddim%d and ddim%d", fewer, more);
    else snprintf(nearest, sizeof nearest, "the nearest is ddim%d", fewer ? fewer : more);
    return dg_error(e, "respacing \"%s\": no stride takes so many of %d steps; %s", respacing, diffusion_steps, nearest);
}
/* As many consecutive sections as counts, the first ones larger by one where they do not come out even; each from its first step to
 * its last. Positions are added up and rounded half to even, as the official code does: another order of the same arithmetic takes
 * other steps.                                                                                                                      */
static int space_sections(const char *respacing, int diffusion_steps, int *map, Error *e) {
    size_t sections = 1;
    for (const char *c = respacing; *c; c++) sections += *c == ',';
    if (sections > (size_t)diffusion_steps)
        return dg_error(e, "respacing \"%s\" has counts for %zu sections, more than there are steps: wanted at most %d, %s", respacing,
                        sections, diffusion_steps, FORMS);
    int taken = 0, first = 0;
    const char *text = respacing;
    for (int s = 0; s < (int)sections; s++) {
        size_t length = strcspn(text, ",");
        int shown = length < 40 ? (int)length : 40, count = read_count(text, length);
        int size = diffusion_steps / (int)sections + (s < diffusion_steps % (int)sections);
        if (!length) return dg_error(e, "respacing \"%s\": the count of section %d is missing; 0 takes nothing from it", respacing, s + 1);
        if (count < 0)
            return dg_error(e, "respacing \"%s\": \"%.*s\" is not a count of steps; wanted digits alone, %s", respacing, shown, text,
                            FORMS);
        if (count > size && sections == 1) return dg_error(e, "respacing \"%s\": so many steps cannot be taken out of %d", respacing, size);
        if (count > size)
            return dg_error(e, "respacing \"%s\": %.*s steps cannot be taken from section %d of %zu, which has %d of the %d", respacing,
                            shown, text, s + 1, sections, size, diffusion_steps);
        double stride = count <= 1 ? 1 : (double)(size - 1) / (count - 1), position = 0;
        for (int k = 0; k < count; k++, position += stride) map[taken++] = first + (int)rint(position);
        first += size, text += length + 1;
    }
    if (taken < 2) return dg_error(e, "respacing \"%s\" takes %d step%s in all: wanted at least 2", respacing, taken, taken ? "" : "s");
    return taken;
}
static int space(NoiseSchedule schedule, int diffusion_steps, const char *respacing, int *map, Error *e) {
    if (diffusion_steps < 2 || diffusion_steps > MAX_DIFFUSION_STEPS)
        return dg_error(e, "a process of %d diffusion steps: wanted 2 to %d", diffusion_steps, MAX_DIFFUSION_STEPS);
    /* its last beta is 20 / N: where nothing of the image is left, no step leads back */
    if (schedule == NOISE_LINEAR && diffusion_steps <= 20)
        return dg_error(e, "a linear noise schedule of %d diffusion steps: wanted at least 21, or the cosine schedule", diffusion_steps);
    if (!*respacing) return space_all(diffusion_steps, map);
    if (!strncmp(respacing, "ddim", strlen("ddim"))) return space_ddim(respacing, diffusion_steps, map, e);
    return space_sections(respacing, diffusion_steps, map, e);
}
int diffusion_count(NoiseSchedule schedule, int diffusion_steps, const char *respacing, Error *e) {
    int map[MAX_DIFFUSION_STEPS];
    return space(schedule, diffusion_steps, respacing, map, e);
}

static double cosine_alpha_bar(double u) {
    double root = cos((u + .008) / 1.008 * M_PI / 2);
    return root * root;
}
static double base_beta(NoiseSchedule schedule, int diffusion_steps, int j) {
    double n = diffusion_steps;
    if (schedule == NOISE_COSINE) return fmin(1 - cosine_alpha_bar((j + 1) / n) / cosine_alpha_bar(j / n), .999);
    double first = 1e-4 * 1000 / n, last = .02 * 1000 / n;
    return first + j * ((last - first) / (n - 1));
}
static void fill(Diffusion *d) {
    double product = 1;
    for (int j = 0; j < d->diffusion_steps; j++) d->base_alpha_bar[j] = product *= 1 - base_beta(d->schedule, d->diffusion_steps, j);
    product = 1;
    for (int i = 0; i < d->steps; i++) {
        double before = i ? d->base_alpha_bar[d->timestep[i - 1]] : 1;
        double beta = d->beta[i] = 1 - d->base_alpha_bar[d->timestep[i]] / before;
        double prev = d->alpha_bar_prev[i] = product;
        double bar = d->alpha_bar[i] = product *= 1 - beta;
        d->recip[i] = sqrt(1 / bar), d->recip_m1[i] = sqrt(1 / bar - 1);
        d->posterior_variance[i] = beta * (1 - prev) / (1 - bar);
        d->log_low[i] = log(d->posterior_variance[i]), d->log_high[i] = log(beta);
        d->coef1[i] = beta * sqrt(prev) / (1 - bar), d->coef2[i] = (1 - prev) * sqrt(1 - beta) / (1 - bar);
    }
    d->log_low[0] = d->log_low[1];
}
Diffusion *diffusion_new(NoiseSchedule schedule, int diffusion_steps, const char *respacing, Error *e) {
    int map[MAX_DIFFUSION_STEPS], steps = space(schedule, diffusion_steps, respacing, map, e);
    if (!steps) return NULL;
    Diffusion *d = dg_alloc(sizeof *d);
    d->schedule = schedule, d->diffusion_steps = diffusion_steps, d->steps = steps;
    d->timestep = dg_alloc((size_t)steps * sizeof *d->timestep);
    memcpy(d->timestep, map, (size_t)steps * sizeof *map);
    double **row[] = {&d->alpha_bar,          &d->alpha_bar_prev, &d->beta,     &d->recip, &d->recip_m1,
                      &d->posterior_variance, &d->log_low,        &d->log_high, &d->coef1, &d->coef2};
    size_t rows = sizeof row / sizeof *row;
    /* one block, which begins with the base process */
    d->base_alpha_bar = dg_alloc(((size_t)diffusion_steps + rows * (size_t)steps) * sizeof(double));
    for (size_t r = 0; r < rows; r++) *row[r] = d->base_alpha_bar + diffusion_steps + r * (size_t)steps;
    fill(d);
    return d;
}
void diffusion_free(Diffusion *d) {
    if (!d) return;
    free(d->base_alpha_bar);
    free(d->timestep);
    free(d);
}

VarianceStep diffusion_variance(const Diffusion *d, VarianceKind kind, int i) {
    DG_CHECK(i >= 0 && i < d->steps, "step %d of %d", i, d->steps);
    if (kind == VARIANCE_LEARNED)
        return (VarianceStep){.log_low = d->log_low[i], .log_high = d->log_high[i], .learned_variance = 1, .learned_deviation = i != 0};
    VarianceStep v = {0};
    if (kind == VARIANCE_FIXED_LARGE) v.variance = i ? d->beta[i] : d->posterior_variance[1];
    else v.variance = d->posterior_variance[i];
    v.log_low = v.log_high = kind == VARIANCE_FIXED_LARGE ? log(v.variance) : d->log_low[i];
    v.deviation = i ? sqrt(v.variance) : 0;
    return v;
}
DdimStep diffusion_ddim(const Diffusion *d, int i, double eta) {
    DG_CHECK(i >= 0 && i < d->steps, "step %d of %d", i, d->steps);
    DG_CHECK(eta >= 0 && eta <= 1, "eta %g", eta);
    double bar = d->alpha_bar[i], prev = d->alpha_bar_prev[i];
    DdimStep s = {.sigma = eta * sqrt((1 - prev) / (1 - bar)) * sqrt(1 - bar / prev)};
    /* the noise that stays, in units of eps; with eta 1 and a last level of almost nothing but noise the difference is rounding */
    double kept = sqrt(fmax(0, 1 - prev - s.sigma * s.sigma)) / d->recip_m1[i];
    s.x0_factor = sqrt(prev) - kept; /* eps = (recip x - x0) / recip_m1 */
    s.x_factor = kept * d->recip[i];
    s.gradient = s.x0_factor * d->recip_m1[i] * sqrt(1 - bar); /* guidance takes sqrt(1 - bar) g off eps */
    return s;
}
