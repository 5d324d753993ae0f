/* sampler.c -- EDM's samplers and Discriminator Guidance (generate.py of NVlabs/edm and of alsdudrla10/DG).
 * The host works out per-sample coefficients; every step is a few combinations of buffers that stay on the device. */
#include "sampler.h"
#include "rng.h"
#include "schedule.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { STEP_SLOT = SAMPLER_SLOTS }; /* of the device: the images' slots, then two for the steps */
_Static_assert(STEP_SLOT + 2 <= DEVICE_SLOTS, "slots for images and steps");
static const double GATE_CLOSED_LOG_RATIO = 1e7; /* officially; it keeps boosting from following */
static const double BOOST_CHURN = 4, BOOST_NOISE = 1, BOOST_GAIN = 2;
enum { BOOST_CHURN_EVERY = 5, BOOST_GAIN_EVERY = 2 };

SampleOptions sample_defaults(void) {
    return (SampleOptions){.num_steps = 18, .sigma_min = NAN, .sigma_max = NAN, .rho = 7, .S_churn = 0, .S_min = 0, .S_max = INFINITY,
                           .S_noise = 1, .solver = SOLVER_HEUN, .discretization = DISC_EDM, .schedule = SCHEDULE_LINEAR,
                           .scaling = SCALING_NONE, .dg_weight_1st_order = 2, .dg_weight_2nd_order = 0, .time_min = .01,
                           .time_max = 1, .boosting = false, .dg_gate = GATE_SAMPLE};
}

struct Sampler {
    SampleOptions o;
    Denoiser *d;
    Guide *g; /* NULL: unguided */
    Device *dev;
    int batch;
    size_t per_sample;
    TimeMap map;
    double *t;                          /* [num_steps + 1] */
    double *x, *x_hat, *slope, *noise;  /* device, [batch][per_sample] */
    struct {
        uint8_t *bytes, *host_bytes;    /* device, and host */
        int *bad, *host_bad;            /* [batch] */
    } image[SAMPLER_SLOTS];
    PrecondCoef *precond;               /* the rest: host, [batch] */
    double *t_hat, *sigma, *gain, *guide_coef, *log_ratio, *coef[COMBINE_TERMS];
    bool *open;
    int calls, guided;
};

bool sample_check(const SampleOptions *o, Error *e) {
    if (o->num_steps < 1 || o->num_steps > 100000) return dg_error(e, "steps: %d, from 1 to 100000 are possible", o->num_steps);
    if (!(o->rho > 0 && isfinite(o->rho))) return dg_error(e, "rho: %g is not positive", o->rho);
    if (!(o->S_churn >= 0) || !(o->S_noise >= 0) || !(o->S_min >= 0) || !(o->S_max >= o->S_min))
        return dg_error(e, "S_churn %g, S_min %g, S_max %g, S_noise %g: none may be negative, nor S_max below S_min", o->S_churn, o->S_min, o->S_max, o->S_noise);
    if (o->sigma_min <= 0 || o->sigma_max <= 0 || o->sigma_min >= o->sigma_max) /* false for NAN, the default */
        return dg_error(e, "sigma_min %g and sigma_max %g: both must be positive, sigma_min the lower one", o->sigma_min, o->sigma_max);
    if (!isfinite(o->dg_weight_1st_order) || !isfinite(o->dg_weight_2nd_order)) return dg_error(e, "a guidance weight is not a finite number");
    if (!(o->time_min >= 0 && o->time_max >= o->time_min)) return dg_error(e, "time_min %g and time_max %g do not make a window", o->time_min, o->time_max);
    return true;
}
static bool check_fit(const SampleOptions *o, const Denoiser *d, const Guide *g, Error *e) {
    if (!g) return true;
    if (o->ablation) return dg_error(e, "discriminator guidance works with EDM's sampler, not with solver, disc, schedule or scaling");
    if (g->per_sample != d->per_sample || g->extractor.in_channels != d->config.img_channels)
        return dg_error(e, "the extractor takes %dx%dx%d images, the network makes %dx%dx%d", g->extractor.image_size, g->extractor.image_size,
                        g->extractor.in_channels, d->config.img_resolution, d->config.img_resolution, d->config.img_channels);
    if (g->head.condition && d->config.label_dim > g->head.num_class)
        return dg_error(e, "the network has %d classes, the discriminator %d", d->config.label_dim, g->head.num_class);
    DG_CHECK(g->batch == d->batch, "denoiser and guide of two batch sizes");
    return true;
}
static void *host_buffer(Sampler *s, size_t bytes) {
    return s->dev->be->alloc_host ? s->dev->be->alloc_host(s->dev, bytes) : dg_alloc(bytes);
}
static void host_buffer_free(Sampler *s, void *p) {
    if (p && s->dev->be->release_host) s->dev->be->release_host(s->dev, p);
    else free(p);
}
static bool image_buffers(Sampler *s, int slot) {
    size_t n = (size_t)s->batch;
    s->image[slot].bytes = s->dev->be->alloc(s->dev, n * s->per_sample);
    s->image[slot].bad = s->dev->be->alloc(s->dev, n * sizeof(int));
    s->image[slot].host_bytes = host_buffer(s, n * s->per_sample);
    s->image[slot].host_bad = host_buffer(s, n * sizeof(int));
    return s->image[slot].bytes && s->image[slot].bad && s->image[slot].host_bytes && s->image[slot].host_bad;
}
static double *device_buffer(Sampler *s, size_t bytes) { return s->dev->be->alloc(s->dev, bytes); }
Sampler *sampler_new(const SampleOptions *o, Denoiser *d, Guide *g, Error *e) {
    if (!sample_check(o, e) || !check_fit(o, d, g, e)) return NULL;
    Sampler *s = dg_alloc(sizeof *s);
    s->o = *o, s->d = d, s->g = g, s->dev = d->dev, s->batch = d->batch, s->per_sample = d->per_sample;
    size_t n = (size_t)s->batch, state = n * s->per_sample * sizeof(double);
    s->t = dg_alloc((size_t)(o->num_steps + 1) * sizeof *s->t);
    s->precond = dg_alloc(n * sizeof *s->precond);
    double **host[] = {&s->t_hat, &s->sigma, &s->gain, &s->guide_coef, &s->log_ratio};
    for (size_t i = 0; i < sizeof host / sizeof *host; i++) *host[i] = dg_alloc(n * sizeof(double));
    for (int k = 0; k < COMBINE_TERMS; k++) s->coef[k] = dg_alloc(n * sizeof(double));
    s->open = dg_alloc(n * sizeof *s->open);
    if (!schedule_steps(o, &d->config, &s->map, s->t, e)) {
        sampler_free(s);
        return NULL;
    }
    double **buffer[] = {&s->x, &s->x_hat, &s->slope, &s->noise};
    for (int i = 0; i < 4; i++) *buffer[i] = device_buffer(s, state);
    bool all = s->x && s->x_hat && s->slope && s->noise;
    for (int i = 0; i < SAMPLER_SLOTS && all; i++) all = image_buffers(s, i);
    if (all) return s;
    dg_out_of_memory(e, "not enough memory on device %s for the sampler's state (%zu bytes)", s->dev->be->name, 4 * state);
    sampler_free(s);
    return NULL;
}
void sampler_free(Sampler *s) {
    if (!s) return;
    s->dev->be->sync(s->dev); /* a download may be under way */
    void *device[] = {s->x, s->x_hat, s->slope, s->noise, s->image[0].bytes, s->image[1].bytes, s->image[0].bad, s->image[1].bad};
    for (size_t i = 0; i < sizeof device / sizeof *device; i++)
        if (device[i]) s->dev->be->release(s->dev, device[i]);
    for (int i = 0; i < SAMPLER_SLOTS; i++) host_buffer_free(s, s->image[i].host_bytes), host_buffer_free(s, s->image[i].host_bad);
    void *host[] = {s->t, s->precond, s->t_hat, s->sigma, s->gain, s->guide_coef, s->log_ratio, s->open};
    for (size_t i = 0; i < sizeof host / sizeof *host; i++) free(host[i]);
    for (int k = 0; k < COMBINE_TERMS; k++) free(s->coef[k]);
    free(s);
}

static void combine(Sampler *s, double *out, const Term *term, int terms) {
    s->dev->be->combine(s->dev, out, DG_F64, s->batch, s->per_sample, term, terms);
}
static double *fill(Sampler *s, int k, double value) {
    for (int i = 0; i < s->batch; i++) s->coef[k][i] = value;
    return s->coef[k];
}
static void draw(Sampler *s, const SampleNoise *n, double *out, int step) {
    if (n->seed) {
        s->dev->be->randn(s->dev, out, s->batch, s->per_sample, n->seed, step < 0 ? RNG_STEP_LATENT : (uint32_t)step);
        return;
    }
    const double *recorded = step < 0 ? n->latents : n->noise[step];
    s->dev->be->upload(s->dev, out, recorded, (size_t)s->batch * s->per_sample * sizeof *out);
}
/* Which samples are guided at these noise levels: those whose tau lies in the time window. Returns whether any is. */
static bool gate(Sampler *s, const double *sigma) {
    double least = INFINITY;
    bool any = false;
    for (int i = 0; i < s->batch; i++) least = fmin(least, guide_time(s->g, sigma[i]).tau);
    for (int i = 0; i < s->batch; i++) {
        double tau = s->o.dg_gate == GATE_BATCH ? least : guide_time(s->g, sigma[i]).tau;
        s->open[i] = tau >= s->o.time_min && tau <= s->o.time_max;
        any |= s->open[i];
    }
    return any;
}
/* The probability flow's slope at (x, t), t > 0, with guidance of weight w:
 *   f = (sigma'/sigma + s'/s) x - sigma' s/sigma D(x/s; sigma) + w gain G(x)/t,   D = c_skip x/s + c_out F
 * as the combination out = base_coef * base + factor * f (base may be NULL). Uses coefficient tables 0 to 4.         */
typedef struct {
    const double *data[2]; /* further terms, added with these coefficients; or NULL */
    const double *coef[2];
} Extra;
static void slope(Sampler *s, double *out, const double *x, const double *t, const double *factor, double w, bool first, int step,
                  const Extra *extra) {
    Term term[COMBINE_TERMS];
    int terms = 0;
    double *inverse_scale = s->coef[0], *own = s->coef[1], *network = s->coef[2], *guide = s->coef[3];
    for (int i = 0; i < s->batch; i++) s->sigma[i] = time_sigma(&s->map, t[i]), inverse_scale[i] = 1 / time_scale(&s->map, t[i]);
    denoiser_run(s->d, x, inverse_scale, s->sigma, s->precond);
    s->calls++;
    for (int i = 0; i < s->batch; i++) {
        double sigma = s->sigma[i], d_sigma = time_sigma_slope(&s->map, t[i]), scale = time_scale(&s->map, t[i]);
        double b = d_sigma * scale / sigma, a = d_sigma / sigma + time_scale_slope(&s->map, t[i]) / scale;
        own[i] = factor[i] * (a - b * (double)s->precond[i].c_skip / scale);
        network[i] = -factor[i] * b * (double)s->precond[i].c_out;
    }
    term[terms++] = (Term){x, DG_F64, own};
    term[terms++] = denoiser_output(s->d, network);
    bool wanted = s->g && w != 0, guided = wanted && gate(s, s->sigma);
    if (guided) {
        guide_run(s->g, x, s->sigma, s->guide_coef);
        s->guided++;
        if (first && s->o.boosting) guide_log_ratio(s->g, s->log_ratio);
    }
    for (int i = 0; i < s->batch && wanted && first; i++) {
        if (!guided || !s->open[i]) s->log_ratio[i] = GATE_CLOSED_LOG_RATIO;
        s->gain[i] = s->o.boosting && step % BOOST_GAIN_EVERY == 0 && s->log_ratio[i] < 0 ? BOOST_GAIN : 1;
    }
    if (guided) {
        for (int i = 0; i < s->batch; i++) guide[i] = s->open[i] ? factor[i] * w * (first ? s->gain[i] : 1) * s->guide_coef[i] / t[i] : 0;
        term[terms++] = guide_output(s->g, guide);
    }
    for (int k = 0; extra && k < 2; k++) term[terms++] = (Term){extra->data[k], DG_F64, extra->coef[k]};
    combine(s, out, term, terms);
}
/* Adds churn: from x at t[step] to x_hat at t_hat, which may differ per sample when boosting. */
static void add_noise(Sampler *s, const SampleNoise *n, int step) {
    double t = s->t[step], sigma = time_sigma(&s->map, t), *keep = s->coef[0], *noise = s->coef[1];
    bool any = false;
    for (int i = 0; i < s->batch; i++) {
        bool boosted = s->o.boosting && s->g && step % BOOST_CHURN_EVERY == 0 && s->log_ratio[i] < 0;
        double churn = boosted ? BOOST_CHURN : s->o.S_churn, S_noise = boosted ? BOOST_NOISE : s->o.S_noise;
        double gamma = sigma >= s->o.S_min && sigma <= s->o.S_max ? fmin(churn / s->o.num_steps, sqrt(2) - 1) : 0;
        s->t_hat[i] = gamma > 0 ? time_of_sigma(&s->map, precond_round_sigma(&s->d->config, sigma * (1 + gamma))) : t;
        double reached = time_sigma(&s->map, s->t_hat[i]), scale = time_scale(&s->map, s->t_hat[i]);
        keep[i] = scale / time_scale(&s->map, t);
        noise[i] = sqrt(fmax(0, reached * reached - sigma * sigma)) * scale * S_noise;
        any |= noise[i] > 0;
    }
    if (any) draw(s, n, s->noise, step);
    Term term[] = {{s->x, DG_F64, keep}, {s->noise, DG_F64, noise}};
    combine(s, s->x_hat, term, any ? 2 : 1);
}
static void run_step(Sampler *s, const SampleNoise *n, int step) {
    double next = s->t[step + 1], *ones = s->coef[5], *h = s->coef[6], *half = s->coef[7], *t_next = s->coef[4];
    bool heun = s->o.solver == SOLVER_HEUN && step < s->o.num_steps - 1;
    add_noise(s, n, step);
    fill(s, 5, 1);
    slope(s, s->slope, s->x_hat, s->t_hat, ones, s->o.dg_weight_1st_order, true, step, NULL);
    for (int i = 0; i < s->batch; i++) h[i] = next - s->t_hat[i], half[i] = h[i] / 2, t_next[i] = next;
    Term euler[] = {{s->x_hat, DG_F64, ones}, {s->slope, DG_F64, h}};
    combine(s, s->x, euler, 2);
    if (!heun) return;
    Extra rest = {{s->x_hat, s->slope}, {ones, half}}; /* x = x_hat + h/2 (slope + slope at the end) */
    slope(s, s->x, s->x, t_next, half, s->o.dg_weight_2nd_order, false, step, &rest);
}
bool sampler_run(Sampler *s, const SampleNoise *n, const int *label, StepFn callback, void *ctx) {
    denoiser_set_labels(s->d, label);
    if (s->g) guide_set_labels(s->g, label);
    s->calls = s->guided = 0;
    for (int i = 0; i < s->batch; i++) s->log_ratio[i] = INFINITY;
    draw(s, n, s->x, -1);
    Term start = {s->x, DG_F64, fill(s, 0, time_sigma(&s->map, s->t[0]) * time_scale(&s->map, s->t[0]))};
    combine(s, s->x, &start, 1);
    for (int step = 0; step < s->o.num_steps; step++) {
        device_range_push(s->dev, "step");
        run_step(s, n, step);
        device_range_pop(s->dev);
        if (!callback) continue;
        if (s->dev->be->mark) { /* one step ahead of the device: far enough to keep it busy */
            s->dev->be->mark(s->dev, STEP_SLOT + step % 2);
            if (step) s->dev->be->wait(s->dev, STEP_SLOT + (step - 1) % 2);
        }
        if (!callback(ctx, step, s->o.num_steps)) return false;
    }
    return true;
}
void sampler_state(Sampler *s, double *x) { s->dev->be->download(s->dev, x, s->x, (size_t)s->batch * s->per_sample * sizeof *x); }
void sampler_images_begin(Sampler *s, int slot) {
    const Backend *be = s->dev->be;
    size_t bytes = (size_t)s->batch * s->per_sample, bad_bytes = (size_t)s->batch * sizeof(int);
    be->to_u8(s->dev, s->image[slot].bytes, s->x, s->batch, s->per_sample, s->image[slot].bad);
    if (be->download_async) {
        be->download_async(s->dev, slot, s->image[slot].host_bytes, s->image[slot].bytes, bytes);
        be->download_async(s->dev, slot, s->image[slot].host_bad, s->image[slot].bad, bad_bytes);
        return;
    }
    be->download(s->dev, s->image[slot].host_bytes, s->image[slot].bytes, bytes);
    be->download(s->dev, s->image[slot].host_bad, s->image[slot].bad, bad_bytes);
}
void sampler_images_end(Sampler *s, int slot, uint8_t **images, const int **bad) {
    if (s->dev->be->wait) s->dev->be->wait(s->dev, slot);
    *images = s->image[slot].host_bytes, *bad = s->image[slot].host_bad;
}
void sampler_images(Sampler *s, uint8_t *out, int *bad) {
    uint8_t *images;
    const int *not_finite;
    sampler_images_begin(s, 0);
    sampler_images_end(s, 0, &images, &not_finite);
    memcpy(out, images, (size_t)s->batch * s->per_sample);
    memcpy(bad, not_finite, (size_t)s->batch * sizeof *bad);
}
int sampler_calls(const Sampler *s, int *guided) {
    if (guided) *guided = s->guided;
    return s->calls;
}
int sample_guided_steps(const SampleOptions *o, const NetworkConfig *c, const Guide *g, Error *e) {
    TimeMap map;
    int count = 0;
    double *t = dg_alloc((size_t)(o->num_steps + 1) * sizeof *t);
    if (!schedule_steps(o, c, &map, t, e)) count = -1;
    for (int i = 0; i < o->num_steps && count >= 0; i++) {
        double tau = guide_time(g, t[i]).tau;
        count += tau >= o->time_min && tau <= o->time_max;
    }
    free(t);
    return count;
}
