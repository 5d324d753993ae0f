/* sampler.c -- EDM's samplers and Discriminator Guidance (generate.py of NVlabs/edm and of alsdudrla10/DG).
 * The host computes per-sample coefficients into a table. A step is one piece of work on buffers that stay on the device. It
 * reads everything that varies from the device's copy of the table, so it can be replayed.                               */
#include "sample/sampler.h"
#include "base/rng.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { STEP_SLOT = SAMPLER_SLOTS }; /* of the device: the images' slots, then two for the steps */
_Static_assert(STEP_SLOT + 2 <= DEVICE_SLOTS, "slots for images and steps");
static const double GATE_CLOSED_LOG_RATIO = 1e7; /* the official value; it turns boosting off */
static const double BOOST_CHURN = 4, BOOST_NOISE = 1, BOOST_GAIN = 2;
enum { BOOST_CHURN_EVERY = 5, BOOST_GAIN_EVERY = 2 };

SampleOptions sample_defaults(void) {
    return (SampleOptions){.num_steps = 18,
                           .sigma_min = NAN,
                           .sigma_max = NAN,
                           .rho = 7,
                           .S_churn = 0,
                           .S_min = 0,
                           .S_max = INFINITY,
                           .S_noise = 1,
                           .solver = SOLVER_HEUN,
                           .discretization = DISC_EDM,
                           .schedule = SCHEDULE_LINEAR,
                           .scaling = SCALING_NONE,
                           .dg_weight_1st_order = 2,
                           .dg_weight_2nd_order = 0,
                           .time_min = .01,
                           .time_max = 1,
                           .boosting = false,
                           .dg_gate = GATE_SAMPLE};
}

/* The parts of one piece of work. Same parts, options and rows: same replay. DRAW comes first: LATENTS and CHURN use its noise. */
enum {
    PART_DRAW = 1,          /* noise from the generator (recorded noise is uploaded instead) */
    PART_LATENTS = 2,       /* x from noise */
    PART_BEGIN = 4,         /* a step up to its first evaluation */
    PART_CHURN = 8,         /*   with noise added */
    PART_END = 16,          /* the rest of it: Euler's step */
    PART_GUIDED = 32,       /* the first evaluation (BEGIN) and slope (END) are guided */
    PART_HEUN = 64,         /* END goes on with a second evaluation, Heun's correction */
    PART_GUIDED_AGAIN = 128 /*   which is guided */
};
typedef struct {                                  /* what an evaluation of the slope takes from the host */
    void *network, *guide;                        /* denoiser_fill's and guide_fill's */
    double *own_coef, *network_coef, *guide_coef; /* of x, F and the guide's gradient in the slope */
} Evaluation;
typedef struct {         /* all but `device` point into `host`; [batch], of which a run fills `rows`, unless they say otherwise */
    char *host, *device; /* `device`: the copy made by the last submit */
    size_t bytes;
    uint64_t *seed;
    uint32_t *draw;       /* [1]: the generator's step */
    double *latent;       /* of the noise in the first x: sigma s of the first time */
    double *keep, *churn; /* x_hat = keep x + churn noise */
    double *ones;
    double *h, *half; /* the step in time, next - t_hat, and half of it */
    Evaluation evaluation[2];
} Table;
struct Sampler {
    SampleOptions o;
    Denoiser *d;
    Guide *g; /* NULL: unguided */
    Device *dev;
    int batch, rows; /* images at most, and those of the last run */
    size_t per_sample;
    TimeMap map;
    double *t;                         /* [num_steps + 1] */
    double *x, *x_hat, *slope, *noise; /* device, [batch][per_sample] */
    struct {
        uint8_t *bytes, *host_bytes; /* device, and host */
        int *bad, *host_bad;         /* [batch] */
    } image[SAMPLER_SLOTS];
    Table table;
    void *replays;        /* of `work`, by shape */
    PrecondCoef *precond; /* the rest: host, [batch] */
    double *t_hat, *t_next, *sigma, *inverse_scale, *gain, *gradient_coef, *log_ratio;
    bool *gate_open;
    int calls, guided;
};

bool sample_check(const SampleOptions *o, Error *e) {
    if (o->num_steps < 1 || o->num_steps > MAX_STEPS) return dg_error(e, "steps: %d, from 1 to %d are possible", o->num_steps, MAX_STEPS);
    if (!(o->rho > 0 && isfinite(o->rho))) return dg_error(e, "rho: %g is not positive", o->rho);
    if (!(o->S_churn >= 0) || !(o->S_noise >= 0) || !(o->S_min >= 0) || !(o->S_max >= o->S_min))
        return dg_error(e, "S_churn %g, S_min %g, S_max %g, S_noise %g: none may be negative, nor S_max below S_min", o->S_churn, o->S_min,
                        o->S_max, o->S_noise);
    if (o->sigma_min <= 0) return dg_error(e, "sigma_min: %g is not positive", o->sigma_min); /* NAN, the default, passes here */
    if (o->sigma_max <= 0) return dg_error(e, "sigma_max: %g is not positive", o->sigma_max);
    if (o->sigma_min >= o->sigma_max) return dg_error(e, "sigma_min %g is not below sigma_max %g", o->sigma_min, o->sigma_max);
    if (!isfinite(o->dg_weight_1st_order) || !isfinite(o->dg_weight_2nd_order))
        return dg_error(e, "a guidance weight is not a finite number");
    if (!(o->time_min >= 0 && o->time_max >= o->time_min))
        return dg_error(e, "time_min %g and time_max %g do not make a window", o->time_min, o->time_max);
    return true;
}
static bool check_fit(const SampleOptions *o, const Denoiser *d, const Guide *g, Error *e) {
    if (!g) return true;
    if (o->ablation) return dg_error(e, "discriminator guidance works with EDM's sampler, not with solver, disc, schedule or scaling");
    if (g->per_sample != d->per_sample || g->extractor->in_channels != d->config->img_channels)
        return dg_error(e, "the extractor takes %dx%dx%d images, the network makes %dx%dx%d", g->extractor->image_size,
                        g->extractor->image_size, g->extractor->in_channels, d->config->img_resolution, d->config->img_resolution,
                        d->config->img_channels);
    if (guide_classes(g) && d->config->label_dim > guide_classes(g))
        return dg_error(e, "the network has %d classes, the discriminator %d", d->config->label_dim, guide_classes(g));
    DG_CHECK(g->batch == d->batch, "denoiser and guide of two batch sizes");
    return true;
}
static void host_buffer_free(Sampler *s, void *p) {
    if (p) s->dev->be->release_host(s->dev, p);
}
static bool image_buffers(Sampler *s, int slot) {
    size_t n = (size_t)s->batch;
    s->image[slot].bytes = s->dev->be->alloc(s->dev, n * s->per_sample);
    s->image[slot].bad = s->dev->be->alloc(s->dev, n * sizeof(int));
    s->image[slot].host_bytes = s->dev->be->alloc_host(s->dev, n * s->per_sample);
    s->image[slot].host_bad = s->dev->be->alloc_host(s->dev, n * sizeof(int));
    return s->image[slot].bytes && s->image[slot].bad && s->image[slot].host_bytes && s->image[slot].host_bad;
}
/* The table's next `bytes`; NULL while there is no table, and only its size is asked for. */
static void *place(Table *t, size_t bytes) {
    size_t at = t->bytes;
    t->bytes += (bytes + sizeof(double) - 1) / sizeof(double) * sizeof(double);
    return t->host ? t->host + at : NULL;
}
static void lay_out(Sampler *s) {
    Table *t = &s->table;
    size_t n = (size_t)s->batch;
    t->bytes = 0;
    t->seed = place(t, n * sizeof *t->seed), t->draw = place(t, sizeof *t->draw);
    double **column[] = {&t->latent, &t->keep, &t->churn, &t->ones, &t->h, &t->half};
    for (size_t i = 0; i < sizeof column / sizeof *column; i++) *column[i] = place(t, n * sizeof(double));
    for (int k = 0; k < 2; k++) {
        Evaluation *v = &t->evaluation[k];
        double **coef[] = {&v->own_coef, &v->network_coef, &v->guide_coef};
        for (size_t i = 0; i < sizeof coef / sizeof *coef; i++) *coef[i] = place(t, n * sizeof(double));
        v->network = place(t, net_table_bytes(s->d->net));
        v->guide = s->g ? place(t, net_table_bytes(s->g->net)) : NULL;
    }
}
static bool table_new(Sampler *s) {
    lay_out(s);
    s->table.host = dg_alloc(s->table.bytes);
    lay_out(s);
    s->table.device = s->dev->be->alloc(s->dev, s->table.bytes);
    return s->table.device != NULL;
}
static double *device_buffer(Sampler *s, size_t bytes) { return s->dev->be->alloc(s->dev, bytes); }
Sampler *sampler_new(const SampleOptions *o, Denoiser *d, Guide *g, Error *e) {
    if (!sample_check(o, e) || !check_fit(o, d, g, e)) return NULL;
    Sampler *s = dg_alloc(sizeof *s);
    s->o = *o, s->d = d, s->g = g, s->dev = d->net->dev, s->batch = s->rows = d->batch, s->per_sample = d->per_sample;
    size_t n = (size_t)s->batch, state = n * s->per_sample * sizeof(double);
    s->t = dg_alloc((size_t)(o->num_steps + 1) * sizeof *s->t);
    s->precond = dg_alloc(n * sizeof *s->precond);
    double **host[] = {&s->t_hat, &s->t_next, &s->sigma, &s->inverse_scale, &s->gain, &s->gradient_coef, &s->log_ratio};
    for (size_t i = 0; i < sizeof host / sizeof *host; i++) *host[i] = dg_alloc(n * sizeof(double));
    s->gate_open = dg_alloc(n * sizeof *s->gate_open);
    if (!schedule_steps(o, d->config, &s->map, s->t, e)) {
        sampler_free(s);
        return NULL;
    }
    double **buffer[] = {&s->x, &s->x_hat, &s->slope, &s->noise};
    for (int i = 0; i < 4; i++) *buffer[i] = device_buffer(s, state);
    bool all = table_new(s) && s->x && s->x_hat && s->slope && s->noise;
    for (int i = 0; i < SAMPLER_SLOTS && all; i++) all = image_buffers(s, i);
    if (all) return s;
    size_t images = SAMPLER_SLOTS * n * (s->per_sample + sizeof(int));
    dg_out_of_memory(e, "not enough memory on device %s for the sampler's state (%zu bytes)", s->dev->be->name,
                     4 * state + s->table.bytes + images);
    sampler_free(s);
    return NULL;
}
void sampler_free(Sampler *s) {
    if (!s) return;
    s->dev->be->sync(s->dev); /* a download may be under way */
    if (s->replays) s->dev->be->replay_free(s->dev, s->replays);
    void *device[] = {s->x,           s->x_hat, s->slope, s->noise, s->table.device, s->image[0].bytes, s->image[1].bytes, s->image[0].bad,
                      s->image[1].bad};
    for (size_t i = 0; i < sizeof device / sizeof *device; i++)
        if (device[i]) s->dev->be->release(s->dev, device[i]);
    for (int i = 0; i < SAMPLER_SLOTS; i++) host_buffer_free(s, s->image[i].host_bytes), host_buffer_free(s, s->image[i].host_bad);
    void *host[] = {s->t,    s->table.host,    s->precond,   s->t_hat,    s->t_next, s->sigma, s->inverse_scale,
                    s->gain, s->gradient_coef, s->log_ratio, s->gate_open};
    for (size_t i = 0; i < sizeof host / sizeof *host; i++) free(host[i]);
    free(s);
}

/* ---- on the device: work depends on the parts and on what never changes; everything else is read from the table ------------ */
static const void *on_device(const Sampler *s, const void *entry) { return s->table.device + ((const char *)entry - s->table.host); }
static Term term(const Sampler *s, const double *data, const double *coef) {
    return (Term){.data = data, .type = DG_F64, .coef = on_device(s, coef)};
}
static void combine(Sampler *s, double *out, const Term *terms, int count) {
    s->dev->be->combine(s->dev, out, DG_F64, s->rows, s->per_sample, terms, count);
}
static void evaluate(Sampler *s, const Evaluation *v, const double *x, bool guided) {
    net_enqueue(s->d->net, s->rows, x, on_device(s, v->network));
    if (guided) net_enqueue(s->g->net, s->rows, x, on_device(s, v->guide));
}
/* The terms of the slope that was evaluated at x; returns how many. */
static int slope_terms(const Sampler *s, const Evaluation *v, const double *x, bool guided, Term *terms) {
    terms[0] = term(s, x, v->own_coef);
    terms[1] = net_output(s->d->net, on_device(s, v->network_coef));
    if (guided) terms[2] = net_output(s->g->net, on_device(s, v->guide_coef));
    return guided ? 3 : 2;
}
static void work(void *sampler, WorkShape shape) { /* its rows are the sampler's */
    Sampler *s = sampler;
    int parts = shape.parts;
    const Table *t = &s->table;
    const Evaluation *first = &t->evaluation[0], *second = &t->evaluation[1];
    bool guided = parts & PART_GUIDED, guided_again = parts & PART_GUIDED_AGAIN;
    if (parts & PART_DRAW) s->dev->be->randn(s->dev, s->noise, s->rows, s->per_sample, on_device(s, t->seed), on_device(s, t->draw));
    if (parts & PART_LATENTS) combine(s, s->x, (Term[]){term(s, s->noise, t->latent)}, 1);
    if (parts & PART_BEGIN) {
        combine(s, s->x_hat, (Term[]){term(s, s->x, t->keep), term(s, s->noise, t->churn)}, parts & PART_CHURN ? 2 : 1);
        evaluate(s, first, s->x_hat, guided);
    }
    if (parts & PART_END) {
        Term terms[COMBINE_TERMS];
        combine(s, s->slope, terms, slope_terms(s, first, s->x_hat, guided, terms));
        combine(s, s->x, (Term[]){term(s, s->x_hat, t->ones), term(s, s->slope, t->h)}, 2);
    }
    if (parts & PART_HEUN) { /* x = x_hat + h/2 (slope + slope at the end) */
        Term terms[COMBINE_TERMS];
        evaluate(s, second, s->x, guided_again);
        int count = slope_terms(s, second, s->x, guided_again, terms);
        terms[count++] = term(s, s->x_hat, t->ones), terms[count++] = term(s, s->slope, t->half);
        combine(s, s->x, terms, count);
    }
}
/* Enqueues the parts, with the table as it is now. */
static void submit(Sampler *s, int parts) {
    const Backend *be = s->dev->be;
    be->upload(s->dev, s->table.device, s->table.host, s->table.bytes);
    be->replay(s->dev, &s->replays, (WorkShape){s->rows, parts}, work, s);
}

/* ---- on the host: the table of a step. Each function returns the parts it needs ---------------------------------------------- */
static int plan_noise(Sampler *s, const SampleNoise *n, int step) { /* -1: the latents */
    *s->table.draw = step < 0 ? RNG_STEP_LATENT : (uint32_t)step;
    if (n->seed) return PART_DRAW;
    DG_CHECK(step < 0 || n->noise, "step %d adds noise, and none was recorded", step);
    s->dev->be->upload(s->dev, s->noise, step < 0 ? n->latents : n->noise[step], (size_t)s->rows * s->per_sample * sizeof *s->noise);
    return 0;
}
/* A sample is guided where its tau lies in the time window. Returns whether any is. */
static bool gate(Sampler *s, const double *sigma) {
    double least = INFINITY;
    bool any = false;
    for (int i = 0; i < s->rows; i++) least = fmin(least, guide_tau(sigma[i]));
    for (int i = 0; i < s->rows; i++) {
        double tau = s->o.dg_gate == GATE_BATCH ? least : guide_tau(sigma[i]);
        s->gate_open[i] = tau >= s->o.time_min && tau <= s->o.time_max;
        any |= s->gate_open[i];
    }
    return any;
}
/* The networks' inputs of evaluation k at times t, with guidance of weight w. Returns whether a sample is guided. */
static bool plan_evaluation(Sampler *s, int k, const double *t, double w) {
    const Evaluation *v = &s->table.evaluation[k];
    for (int i = 0; i < s->rows; i++) s->sigma[i] = time_sigma(&s->map, t[i]), s->inverse_scale[i] = 1 / time_scale(&s->map, t[i]);
    denoiser_fill(s->d, s->rows, v->network, s->inverse_scale, s->sigma, s->precond);
    s->calls++;
    bool guided = s->g && w != 0 && gate(s, s->sigma);
    if (guided) {
        guide_fill(s->g, s->rows, v->guide, s->sigma, s->gradient_coef);
        s->guided++;
    }
    return guided;
}
/* After plan_evaluation, the coefficients of factor times the probability flow's slope at (x, t), t > 0:
 *   f = (sigma'/sigma + s'/s) x - sigma' s/sigma D(x/s; sigma) + w gain G(x)/t,   D = c_skip x/s + c_out F             */
static void plan_slope(Sampler *s, int k, const double *t, const double *factor, double w, const double *gain, bool guided) {
    const Evaluation *v = &s->table.evaluation[k];
    for (int i = 0; i < s->rows; i++) {
        double sigma = s->sigma[i], d_sigma = time_sigma_slope(&s->map, t[i]), scale = time_scale(&s->map, t[i]);
        double b = d_sigma * scale / sigma, a = d_sigma / sigma + time_scale_slope(&s->map, t[i]) / scale;
        v->own_coef[i] = factor[i] * (a - b * (double)s->precond[i].c_skip / scale);
        v->network_coef[i] = -factor[i] * b * (double)s->precond[i].c_out;
        v->guide_coef[i] = guided && s->gate_open[i] ? factor[i] * w * gain[i] * s->gradient_coef[i] / t[i] : 0;
    }
}
/* Churn: from x at t[step] to x_hat at t_hat, which may differ per sample when boosting. */
static int plan_churn(Sampler *s, const SampleNoise *n, int step) {
    double t = s->t[step], sigma = time_sigma(&s->map, t), *keep = s->table.keep, *noise = s->table.churn;
    bool any = false;
    for (int i = 0; i < s->rows; i++) {
        bool boosted = s->o.boosting && s->g && step % BOOST_CHURN_EVERY == 0 && s->log_ratio[i] < 0;
        double churn = boosted ? BOOST_CHURN : s->o.S_churn, S_noise = boosted ? BOOST_NOISE : s->o.S_noise;
        double gamma = sigma >= s->o.S_min && sigma <= s->o.S_max ? fmin(churn / s->o.num_steps, sqrt(2) - 1) : 0;
        s->t_hat[i] = gamma > 0 ? time_of_sigma(&s->map, precond_round_sigma(s->d->config, sigma * (1 + gamma))) : t;
        double reached = time_sigma(&s->map, s->t_hat[i]), scale = time_scale(&s->map, s->t_hat[i]);
        keep[i] = scale / time_scale(&s->map, t);
        noise[i] = sqrt(fmax(0, reached * reached - sigma * sigma)) * scale * S_noise;
        any |= noise[i] > 0;
    }
    return any ? PART_CHURN | plan_noise(s, n, step) : 0;
}
/* Boosting: needs the log ratio of this step's first evaluation, so the host waits, and the step is submitted in two pieces. The
 * gain is this step's; churn follows in a later one.                                                                        */
static void plan_boost(Sampler *s, int step, bool guided) {
    if (s->o.boosting && guided) guide_log_ratio(s->g, s->rows, s->log_ratio);
    for (int i = 0; i < s->rows; i++) {
        if (!guided || !s->gate_open[i]) s->log_ratio[i] = GATE_CLOSED_LOG_RATIO;
        s->gain[i] = s->o.boosting && step % BOOST_GAIN_EVERY == 0 && s->log_ratio[i] < 0 ? BOOST_GAIN : 1;
    }
}
static void run_step(Sampler *s, const SampleNoise *n, int step) {
    double next = s->t[step + 1], w = s->o.dg_weight_1st_order, w_again = s->o.dg_weight_2nd_order;
    Table *t = &s->table;
    int begin = PART_BEGIN | plan_churn(s, n, step), end = PART_END;
    bool guided = plan_evaluation(s, 0, s->t_hat, w);
    if (guided) begin |= PART_GUIDED, end |= PART_GUIDED;
    if (s->o.boosting && guided) submit(s, begin), begin = 0;
    plan_boost(s, step, guided);
    plan_slope(s, 0, s->t_hat, t->ones, w, s->gain, guided);
    for (int i = 0; i < s->rows; i++) t->h[i] = next - s->t_hat[i], t->half[i] = t->h[i] / 2, s->t_next[i] = next;
    if (s->o.solver == SOLVER_HEUN && step < s->o.num_steps - 1) {
        bool guided_again = plan_evaluation(s, 1, s->t_next, w_again);
        plan_slope(s, 1, s->t_next, t->half, w_again, t->ones, guided_again);
        end |= PART_HEUN | (guided_again ? PART_GUIDED_AGAIN : 0);
    }
    submit(s, begin | end);
}
bool sampler_run(Sampler *s, int rows, const SampleNoise *n, const int *label, StepFn callback, void *ctx) {
    DG_CHECK(rows >= 1 && rows <= s->batch, "sampler_run: %d images, of a sampler for %d", rows, s->batch);
    s->rows = rows;
    net_set_labels(s->d->net, rows, label);
    if (s->g) net_set_labels(s->g->net, rows, label);
    s->calls = s->guided = 0;
    for (int i = 0; i < s->rows; i++) {
        s->log_ratio[i] = INFINITY;
        s->table.seed[i] = n->seed ? n->seed[i] : 0;
        s->table.ones[i] = 1, s->table.latent[i] = time_sigma(&s->map, s->t[0]) * time_scale(&s->map, s->t[0]);
    }
    submit(s, PART_LATENTS | plan_noise(s, n, -1));
    for (int step = 0; step < s->o.num_steps; step++) {
        device_range_push(s->dev, "step");
        run_step(s, n, step);
        device_range_pop(s->dev);
        if (!callback) continue;
        s->dev->be->mark(s->dev, STEP_SLOT + step % 2); /* one step ahead of the device: far enough to keep it busy */
        if (step) s->dev->be->wait(s->dev, STEP_SLOT + (step - 1) % 2);
        if (!callback(ctx, step, s->o.num_steps)) return false;
    }
    return true;
}
void sampler_state(Sampler *s, double *x) { s->dev->be->download(s->dev, x, s->x, (size_t)s->rows * s->per_sample * sizeof *x); }
void sampler_images_begin(Sampler *s, int slot) {
    const Backend *be = s->dev->be;
    size_t bytes = (size_t)s->rows * s->per_sample, bad_bytes = (size_t)s->rows * sizeof(int);
    be->to_u8(s->dev, s->image[slot].bytes, s->x, DG_F64, s->rows, s->per_sample, 127.5, 128, s->image[slot].bad);
    be->download_async(s->dev, slot, s->image[slot].host_bytes, s->image[slot].bytes, bytes);
    be->download_async(s->dev, slot, s->image[slot].host_bad, s->image[slot].bad, bad_bytes);
}
void sampler_images_end(Sampler *s, int slot, uint8_t **images, const int **bad) {
    s->dev->be->wait(s->dev, slot);
    *images = s->image[slot].host_bytes, *bad = s->image[slot].host_bad;
}
void sampler_images(Sampler *s, uint8_t *out, int *bad) {
    uint8_t *images;
    const int *not_finite;
    sampler_images_begin(s, 0);
    sampler_images_end(s, 0, &images, &not_finite);
    memcpy(out, images, (size_t)s->rows * s->per_sample);
    memcpy(bad, not_finite, (size_t)s->rows * sizeof *bad);
}
int sampler_calls(const Sampler *s, int *guided) {
    if (guided) *guided = s->guided;
    return s->calls;
}
int sample_guided_steps(const SampleOptions *o, const NetworkConfig *c, Error *e) {
    TimeMap map;
    int count = 0;
    double *t = dg_alloc((size_t)(o->num_steps + 1) * sizeof *t);
    if (!schedule_steps(o, c, &map, t, e)) count = -1;
    for (int i = 0; i < o->num_steps && count >= 0; i++) {
        double tau = guide_tau(t[i]);
        count += tau >= o->time_min && tau <= o->time_max;
    }
    free(t);
    return count;
}
