/* dpm.c -- DPM-Solver++ 2M (Lu et al. 2022, arXiv 2211.01095, Algorithm 2) on x0 + sigma eps and EDM's noise levels: exponential steps in
 * lambda = -ln sigma on the prediction, extrapolated from the last two. The first step and the last, to 0, have the last one alone. */
#include "sample/machine.h"
#include "sample/schedule.h"
#include <math.h>
#include <stdlib.h>

enum { PART_ODD = 1, PART_BEFORE = 2 }; /* where the predictions are; the one before has a part in the step */
enum { KEEP, NOW, BEFORE, COLUMNS };

static void *plan(const SampleOptions *o, const Score *score, Steps *steps, Error *e) {
    TimeMap map;
    double *t = dg_alloc((size_t)(o->num_steps + 1) * sizeof *t);
    if (!schedule_steps(o, score, &map, t, e)) {
        free(t);
        return NULL;
    }
    *steps = (Steps){.count = o->num_steps, .level = dg_alloc((size_t)o->num_steps * sizeof(Level))};
    for (int i = 0; i < o->num_steps; i++) steps->level[i] = (Level){1, t[i]};
    return t;
}
static double latent(const Sampler *s) { return *(const double *)s->own; }
static void work(Sampler *s, int parts) {
    double *now = s->state[parts & PART_ODD ? 1 : 0], *before = s->state[parts & PART_ODD ? 0 : 1];
    const Table *t = &s->table;
    Term term[COMBINE_TERMS];
    machine_evaluate(s, 0, part_open(0, parts), s->x);
    machine_combine(s, now, term, machine_terms(s, 0, part_open(0, parts), s->x, term));
    Term x[] = {machine_term(s, s->x, t->column[KEEP]), machine_term(s, now, t->column[NOW]), machine_term(s, before, t->column[BEFORE])};
    machine_combine(s, s->x, x, parts & PART_BEFORE ? 3 : 2);
}
static void step(Sampler *s, int i) {
    const double *sigma = s->own; /* [steps + 1] */
    double keep = sigma[i + 1] / sigma[i], away = 1 - keep, before = 0;
    if (i && keep > 0 && keep < 1 && sigma[i] < sigma[i - 1]) before = .5 * log(keep) / log(sigma[i] / sigma[i - 1]); /* 1/(2r) */
    for (int k = 0; k < s->rows; k++) s->level[k] = s->steps.level[i];
    unsigned open = machine_plan(s, 0, (double)NAN, false);
    for (int k = 0; k < s->rows; k++) {
        s->table.evaluation[0].own[k] = machine_prediction(s, 0, k, 1);
        machine_gradients(s, 0, k, 1);
        s->table.column[KEEP][k] = keep, s->table.column[NOW][k] = away * (1 + before), s->table.column[BEFORE][k] = -away * before;
    }
    machine_submit(s, open_part(0, open) | (i % 2 ? PART_ODD : 0) | (before > 0 ? PART_BEFORE : 0));
}
const Program program_dpm = {.columns = COLUMNS, .states = 2, .plan = plan, .release = free, .latent = latent, .step = step, .work = work};
