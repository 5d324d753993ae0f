/* guidance.c -- the discriminator's gradient: extractor and head forward, seed at the logit, backward to the input. */
#include "sample/guidance.h"
#include <math.h>
#include <stdlib.h>

static const double BETA_0 = 0.1, BETA_1 = 20;       /* of the VP process the discriminator was trained on */
static const float LOGIT_CLIP = 11.512915464920228f; /* ln((1 - 1e-5) / 1e-5): outside it L is constant, its gradient 0 */

typedef struct {
    const Json *config;
    const char *name; /* in errors */
} Source;
/* GUIDE_SEED_SCALE_F16: with a seed of 1 more than half of the fp16 gradients of the full-size discriminators are subnormal. Some
 * tensors are then 4 to 12 times less exact than with a wider exponent (200 times at large sigma of a trained discriminator).
 * With 256 no tensor is more than 1.2 times less exact. The largest gradient seen is 2,000 (the example model at sigma 0.045),
 * 32 times below fp16's largest value. 16 is too little (14 times less exact), 4096 leaves a factor of 2.
 * tests/test_precision.c prints these figures and holds the limits. A power of two, so that dividing by it is exact.       */
static bool plan(Guide *u, Source extractor, Source head, GuideOptions o, Error *e) {
    Net *n = u->net;
    Graph *g = n->graph;
    const Ports *x = net_add(n, &model_extractor, extractor.config, "", 0, e);
    if (!x) return dg_error_context(e, "%s", extractor.name);
    const Ports *y = net_add(n, &model_head, head.config, "head.", x->features, e);
    if (!y) return dg_error_context(e, "%s", head.name);
    u->extractor = n->part[0].config, u->head = n->part[1].config;
    u->cosine = o.clock == CLOCK_OF_FILE ? u->extractor->cosine_time : o.clock == CLOCK_COSINE;
    u->per_sample = n->per_sample;
    u->features = x->features, u->logit = y->out;
    if (u->head->out_channels != 1)
        return dg_error(e, "%s: the discriminator has %d outputs, one logit is wanted", head.name, u->head->out_channels);
    u->log_ratio = g_clamp(g, u->logit, -LOGIT_CLIP, LOGIT_CLIP);
    g->t[u->log_ratio].keep = true;
    if (o.keep) g->t[u->features].keep = g->t[u->logit].keep = true;
    if (o.fuse) graph_fuse(g);
    u->seed = g_input(g, "seed", shape_of(g, u->log_ratio));
    net_plan(n, graph_backward(g, u->log_ratio, u->seed, n->x));
    return true;
}
static Guide *planned(Source extractor, Source head, Precision precision, int batch, GuideOptions o, Error *e) {
    Guide *u = dg_alloc(sizeof *u);
    u->batch = batch, u->net = net_new("discriminator", precision, batch, o.fuse);
    u->seed_scale = precision.act == DG_F16 ? GUIDE_SEED_SCALE_F16 : 1;
    u->mean = dg_alloc((size_t)batch * sizeof *u->mean), u->time = dg_alloc((size_t)batch * sizeof *u->time);
    if (plan(u, extractor, head, o, e)) return u;
    guide_free(u);
    return NULL;
}
Guide *guide_plan(const Json *extractor, const Json *head, Precision precision, int batch, GuideOptions o, Error *e) {
    return planned((Source){extractor, "extractor"}, (Source){head, "discriminator"}, precision, batch, o, e);
}
Guide *guide_new(Device *dev, Weights *extractor, Weights *head, int batch, GuideOptions o, Error *e) {
    Source a = {weights_config(extractor), weights_name(extractor)}, b = {weights_config(head), weights_name(head)};
    Guide *u = planned(a, b, dev->precision, batch, o, e);
    if (!u) return NULL;
    if (!net_bind(u->net, dev, (Weights *const[]){extractor, head}, e)) {
        guide_free(u);
        return NULL;
    }
    double *seed = dg_alloc((size_t)batch * sizeof *seed);
    for (int i = 0; i < batch; i++) seed[i] = u->seed_scale;
    exec_set(u->net->exec, u->seed, DG_F64, seed);
    free(seed);
    return u;
}
void guide_free(Guide *u) {
    if (!u) return;
    net_free(u->net);
    free(u->mean), free(u->time);
    free(u);
}
int guide_classes(const Guide *u) {
    const EncoderConfig *config[] = {u->extractor, u->head};
    int least = 0;
    for (int i = 0; i < 2; i++)
        if (config[i]->condition && (!least || config[i]->num_class < least)) least = config[i]->num_class;
    return least;
}
double guide_tau(double sigma) {
    double slope = BETA_1 - BETA_0;
    return (-BETA_0 + sqrt(BETA_0 * BETA_0 + 2 * slope * log(1 + sigma * sigma))) / slope;
}
GuideTime guide_time(const Guide *u, double sigma) {
    double slope = BETA_1 - BETA_0;
    GuideTime t = {.tau = guide_tau(sigma)};
    t.mean_vp = exp(-.25 * t.tau * t.tau * slope - .5 * t.tau * BETA_0);
    t.time = t.tau;
    if (u->cosine) { /* the classifier of guided-diffusion at 64x64 was trained on the cosine schedule */
        const double c = .008;
        double root = cos(c / (1 + c) * M_PI / 2); /* sqrt(f0) */
        t.time = (1 + c) * (2 / M_PI) * acos(root * t.mean_vp) - c;
    }
    return t;
}
static void inputs(Guide *u, int rows, const double *sigma, double *coef) {
    for (int i = 0; i < rows; i++) {
        GuideTime t = guide_time(u, sigma[i]);
        u->mean[i] = t.mean_vp, u->time[i] = t.time;
        coef[i] = -sigma[i] * sigma[i] * t.mean_vp / u->seed_scale;
    }
}
void guide_fill(Guide *u, int rows, void *table, const double *sigma, double *coef) {
    inputs(u, rows, sigma, coef);
    net_fill(u->net, rows, table, u->mean, u->time);
}
void guide_run(Guide *u, const double *x, const double *sigma, double *coef) {
    inputs(u, u->batch, sigma, coef);
    net_run(u->net, u->batch, x, u->mean, u->time);
}
bool guide_apply(Guide *u, double *x, const double *sigma, Error *e) {
    double *coef = dg_alloc((size_t)u->batch * sizeof *coef);
    guide_run(u, x, sigma, coef);
    bool ok = net_apply(u->net, u->batch, x, NULL, coef, e);
    free(coef);
    return ok;
}
void guide_log_ratio(Guide *u, int rows, double *out) { exec_get_rows(u->net->exec, u->log_ratio, rows, DG_F64, out); }
