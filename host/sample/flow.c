/* flow.c -- the probability flow of x = (1-t) x0 + t eps, dx/dt = (x - D)/t, from the highest t to 0 in equal steps, by Euler's method or
 * Heun's (rectified flow, Liu et al. 2023; SiT, Ma et al. 2024). Flow networks begin at t = 1, others at their highest noise. */
#include "sample/machine.h"
#include "sample/schedule.h"
#include <math.h>
#include <stdlib.h>

enum { PART_HEUN = 1 };
enum { H, HALF, COLUMNS };
enum { NEXT, SLOPE, STATES };

static void *plan(const SampleOptions *o, const Score *score, Steps *steps, Error *e) {
    double lo = 0, hi = o->sigma_max, *first = NULL;
    bool whole = score->facts.prediction == PREDICTS_FLOW && isnan(hi); /* from t = 1 on */
    if (!whole && !schedule_range(o, score, &lo, &hi, e)) return NULL;
    *steps = (Steps){.count = o->num_steps, .twice = o->solver == SOLVER_HEUN, .level = dg_alloc((size_t)o->num_steps * sizeof(Level))};
    first = dg_alloc(sizeof *first);
    *first = whole ? 1 : hi / (1 + hi);
    for (int i = 0; i < o->num_steps; i++) {
        double t = *first * (o->num_steps - i) / o->num_steps;
        steps->level[i] = (Level){1 - t, t};
    }
    return first;
}
static double latent(const Sampler *s) { return *(const double *)s->own; }
static void work(Sampler *s, int parts) {
    const Table *t = &s->table;
    double *next = parts & PART_HEUN ? s->state[NEXT] : s->x, *slope = s->state[SLOPE];
    Term term[COMBINE_TERMS];
    machine_evaluate(s, 0, part_open(0, parts), s->x);
    machine_combine(s, slope, term, machine_terms(s, 0, part_open(0, parts), s->x, term));
    machine_combine(s, next, (Term[]){machine_term(s, s->x, t->ones), machine_term(s, slope, t->column[H])}, 2);
    if (!(parts & PART_HEUN)) return;
    machine_evaluate(s, 1, part_open(1, parts), next);
    int n = machine_terms(s, 1, part_open(1, parts), next, term);
    term[n++] = machine_term(s, s->x, t->ones), term[n++] = machine_term(s, slope, t->column[HALF]);
    machine_combine(s, s->x, term, n);
}
/* Evaluation k where step i begins: factor times the slope. */
static int plan_slope(Sampler *s, int k, int i, double factor) {
    double c = -factor / s->steps.level[i].sigma;
    for (int j = 0; j < s->rows; j++) s->level[j] = s->steps.level[i];
    unsigned open = machine_plan(s, k, (double)NAN, k > 0);
    for (int j = 0; j < s->rows; j++) {
        s->table.evaluation[k].own[j] = c * (machine_prediction(s, k, j, c) - 1);
        machine_gradients(s, k, j, c);
    }
    return open_part(k, open);
}
static void step(Sampler *s, int i) {
    double next = i + 1 < s->steps.count ? s->steps.level[i + 1].sigma : 0, h = next - s->steps.level[i].sigma;
    int parts = plan_slope(s, 0, i, 1);
    for (int j = 0; j < s->rows; j++) s->table.column[H][j] = h, s->table.column[HALF][j] = h / 2;
    if (s->steps.twice && next > 0) parts |= PART_HEUN | plan_slope(s, 1, i + 1, h / 2);
    machine_submit(s, parts);
}
const Program program_flow = {
    .columns = COLUMNS, .states = STATES, .plan = plan, .release = free, .latent = latent, .step = step, .work = work};
