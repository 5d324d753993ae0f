/* edm.c -- the samplers of EDM: Algorithm 2 with Discriminator Guidance's boosting, and the ablation sampler of Table 1 (generate.py of
 * NVlabs/edm and of alsdudrla10/DG). The state is s(t) (x0 + sigma(t) eps).                                                  */
#include "sample/machine.h"
#include "sample/schedule.h"
#include <math.h>
#include <stdlib.h>

static const double GATE_CLOSED_LOG_RATIO = 1e7; /* the official value; it turns boosting off */
static const double BOOST_CHURN = 4, BOOST_NOISE = 1, BOOST_GAIN = 2;
enum { BOOST_CHURN_EVERY = 5, BOOST_GAIN_EVERY = 2 };

enum {
    PART_BEGIN = 1, /* a step up to its first evaluation */
    PART_CHURN = 2, /*   with noise added */
    PART_END = 4,   /* the rest of it: Euler's step */
    PART_HEUN = 8   /* END goes on with a second evaluation, Heun's correction */
};
enum { KEEP, CHURN, H, HALF, COLUMNS }; /* x_hat = keep x + churn noise; the step in time, next - t_hat, and half of it */
enum { X_HAT, SLOPE, STATES };
enum { T_HAT, T_NEXT, GAIN, LOG_RATIO, ARRAYS };
typedef struct {
    TimeMap map;
    double t[]; /* [num_steps + 1] */
} Edm;

static void *plan(const SampleOptions *o, const Score *score, Steps *steps, Error *e) {
    Edm *m = dg_alloc(sizeof *m + (size_t)(o->num_steps + 1) * sizeof *m->t);
    if (!schedule_steps(o, score, &m->map, m->t, e)) {
        free(m);
        return NULL;
    }
    *steps = (Steps){.count = o->num_steps, .twice = o->solver == SOLVER_HEUN, .level = dg_alloc((size_t)o->num_steps * sizeof(Level))};
    for (int i = 0; i < o->num_steps; i++) steps->level[i] = (Level){1, time_sigma(&m->map, m->t[i])};
    return m;
}
static double latent(const Sampler *s) {
    const Edm *m = s->own;
    return time_sigma(&m->map, m->t[0]) * time_scale(&m->map, m->t[0]);
}
static void begin(Sampler *s) {
    for (int i = 0; i < s->rows; i++) s->array[LOG_RATIO][i] = (double)INFINITY;
}

static void work(Sampler *s, int parts) {
    const Table *t = &s->table;
    double *x_hat = s->state[X_HAT], *slope = s->state[SLOPE];
    Term term[COMBINE_TERMS];
    if (parts & PART_BEGIN) {
        machine_combine(s, x_hat, (Term[]){machine_term(s, s->x, t->column[KEEP]), machine_term(s, s->noise, t->column[CHURN])},
                        parts & PART_CHURN ? 2 : 1);
        machine_evaluate(s, 0, part_open(0, parts), x_hat);
    }
    if (parts & PART_END) {
        machine_combine(s, slope, term, machine_terms(s, 0, part_open(0, parts), x_hat, term));
        machine_combine(s, s->x, (Term[]){machine_term(s, x_hat, t->ones), machine_term(s, slope, t->column[H])}, 2);
    }
    if (parts & PART_HEUN) { /* x = x_hat + h/2 (slope + slope at the end) */
        unsigned open = part_open(1, parts);
        machine_evaluate(s, 1, open, s->x);
        int count = machine_terms(s, 1, open, s->x, term);
        term[count++] = machine_term(s, x_hat, t->ones), term[count++] = machine_term(s, slope, t->column[HALF]);
        machine_combine(s, s->x, term, count);
    }
}

/* The networks' inputs of evaluation k at times t. Returns the open terms. */
static unsigned plan_evaluation(Sampler *s, int k, const double *t) {
    const TimeMap *map = &((const Edm *)s->own)->map;
    for (int i = 0; i < s->rows; i++) s->level[i] = (Level){1, time_sigma(map, t[i])}, s->scale[i] = 1 / time_scale(map, t[i]);
    return machine_plan(s, k, (double)NAN, k > 0);
}
/* After plan_evaluation, the coefficients of factor times the probability flow's slope at (x, t), t > 0:
 *   f = (sigma'/sigma + s'/s) x - sigma' s/sigma D(x/s; sigma),   D = skip x/s + out F, and guided. In EDM's own sampler, where sigma is
 * t and s is 1, a gradient's part is w gain G(x)/t, G = -sigma^2 dL/dx, in the official order of operations.               */
static void plan_slope(Sampler *s, int k, const double *t, const double *factor, const double *gain) {
    const TimeMap *map = &((const Edm *)s->own)->map;
    Evaluation *v = &s->table.evaluation[k];
    for (int i = 0; i < s->rows; i++) {
        double sigma = s->level[i].sigma, d_sigma = time_sigma_slope(map, t[i]), scale = time_scale(map, t[i]);
        double b = d_sigma * scale / sigma, a = d_sigma / sigma + time_scale_slope(map, t[i]) / scale;
        v->own[i] = factor[i] * (a - b * machine_prediction(s, k, i, -factor[i] * b) / scale);
        if (s->o.sampler == SAMPLER_ABLATION) machine_gradients(s, k, i, -factor[i] * b);
        for (int g = 0; g < GRADIENTS && s->o.sampler == SAMPLER_EDM; g++) {
            double G = -sigma * sigma * s->gradient[g][i], w = s->weight[g][i], boost = g ? 1 : gain[i];
            v->gradient[g][i] = w == 0 ? 0 : factor[i] * w * boost * G / t[i];
        }
    }
}
/* Churn: from x at t[step] to x_hat at t_hat, which may differ per sample when boosting. */
static int plan_churn(Sampler *s, int step) {
    const Edm *m = s->own;
    double *t_hat = s->array[T_HAT], t = m->t[step], sigma = time_sigma(&m->map, t), *keep = s->table.column[KEEP],
           *noise = s->table.column[CHURN];
    bool any = false, boosts = s->o.boosting == BOOSTING_ON && s->n.discriminator && step % BOOST_CHURN_EVERY == 0;
    for (int i = 0; i < s->rows; i++) {
        bool boosted = boosts && s->array[LOG_RATIO][i] < 0;
        double churn = boosted ? BOOST_CHURN : s->o.S_churn, S_noise = boosted ? BOOST_NOISE : s->o.S_noise;
        double gamma = sigma >= s->o.S_min && sigma <= s->o.S_max ? fmin(churn / s->o.num_steps, sqrt(2) - 1) : 0;
        t_hat[i] = gamma > 0 ? time_of_sigma(&m->map, score_round(s->n.network->score, sigma * (1 + gamma))) : t;
        double reached = time_sigma(&m->map, t_hat[i]), scale = time_scale(&m->map, t_hat[i]);
        keep[i] = scale / time_scale(&m->map, t);
        noise[i] = sqrt(fmax(0, reached * reached - sigma * sigma)) * scale * S_noise;
        any |= noise[i] > 0;
    }
    return any ? PART_CHURN | machine_noise(s, step) : 0;
}
/* Boosting: needs the log ratio of this step's first evaluation, so the host waits, and the step is submitted in two pieces. The
 * gain is this step's; churn follows in a later one.                                                                        */
static void plan_boost(Sampler *s, int step, bool guided) {
    double *log_ratio = s->array[LOG_RATIO];
    if (s->o.boosting && guided) guide_log_ratio(s->n.discriminator, s->rows, log_ratio);
    for (int i = 0; i < s->rows; i++) {
        if (!guided || s->weight[0][i] == 0) log_ratio[i] = GATE_CLOSED_LOG_RATIO;
        s->array[GAIN][i] = s->o.boosting && step % BOOST_GAIN_EVERY == 0 && log_ratio[i] < 0 ? BOOST_GAIN : 1;
    }
}
static void step(Sampler *s, int i) {
    const Edm *m = s->own;
    Table *t = &s->table;
    double next = m->t[i + 1], *t_hat = s->array[T_HAT], *t_next = s->array[T_NEXT], *h = t->column[H], *half = t->column[HALF];
    int begin = PART_BEGIN | plan_churn(s, i);
    unsigned open = plan_evaluation(s, 0, t_hat);
    bool guided = is_open(open, TERM_DISCRIMINATOR);
    begin |= open_part(0, open);
    int end = PART_END | open_part(0, open);
    if (s->o.boosting && guided) machine_submit(s, begin), begin = 0;
    plan_boost(s, i, guided);
    plan_slope(s, 0, t_hat, t->ones, s->array[GAIN]);
    for (int k = 0; k < s->rows; k++) h[k] = next - t_hat[k], half[k] = h[k] / 2, t_next[k] = next;
    if (s->steps.twice && i < s->steps.count - 1) {
        end |= PART_HEUN | open_part(1, plan_evaluation(s, 1, t_next));
        plan_slope(s, 1, t_next, half, t->ones);
    }
    machine_submit(s, begin | end);
}
const Program program_edm = {COLUMNS, STATES, ARRAYS, plan, free, latent, begin, step, work};
