/* guidance.c -- gradients of a discriminator's log ratio and of a classifier's log probability, as graphs. */
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
static void plan_discriminator(Guide *u, GuideOptions o) {
    Graph *g = u->net->graph;
    u->log_ratio = g_clamp(g, u->logit, -LOGIT_CLIP, LOGIT_CLIP);
    g->t[u->log_ratio].keep = true;
    if (o.fuse) graph_fuse(g);
    u->seed = g_input(g, "seed", shape_of(g, u->log_ratio));
    net_plan(u->net, graph_backward(g, u->log_ratio, u->seed, u->net->x));
}
/* d ln softmax(logits)[y] / d logits = onehot(y) - softmax(logits) */
static void plan_classifier(Guide *u, GuideOptions o) {
    Graph *g = u->net->graph;
    g->t[u->logit].keep = true;
    Tid p = g_softmax(g, u->logit, false);
    if (o.fuse) graph_fuse(g);
    u->onehot = g_input(g, "class", shape_of(g, u->logit));
    Tid seed = g_add(g, u->onehot, p, 1, -(float)u->seed_scale);
    net_plan(u->net, graph_backward(g, u->logit, seed, u->net->x));
}
static bool plan(Guide *u, Source extractor, Source head, GuideOptions o, Error *e) {
    Net *n = u->net;
    const Ports *x = net_add(n, head.config ? &model_extractor : &model_classifier, extractor.config, "", 0, e);
    if (!x) return dg_error_context(e, "%s", extractor.name);
    const Ports *y = head.config ? net_add(n, &model_head, head.config, "head.", x->features, e) : x;
    if (!y) return dg_error_context(e, "%s", head.name);
    u->extractor = n->part[0].config, u->head = head.config ? n->part[1].config : NULL;
    u->cosine = o.clock == CLOCK_OF_FILE ? u->extractor->cosine_time : o.clock == CLOCK_COSINE;
    u->per_sample = n->per_sample;
    u->features = x->features, u->logit = y->out;
    if (o.keep) n->graph->t[u->features].keep = n->graph->t[u->logit].keep = true;
    if (u->head && u->head->out_channels != 1)
        return dg_error(e, "%s: the discriminator has %d outputs, one logit is wanted", head.name, u->head->out_channels);
    if (!u->head && u->extractor->out_channels < 2)
        return dg_error(e, "%s: a classifier of %d class", extractor.name, u->extractor->out_channels);
    if (u->head) plan_discriminator(u, o);
    else plan_classifier(u, o);
    return true;
}
static Guide *planned(Source extractor, Source head, Precision precision, int batch, GuideOptions o, Error *e) {
    Guide *u = dg_alloc(sizeof *u);
    u->batch = batch, u->net = net_new(head.config ? SPAN_DISCRIMINATOR : SPAN_CLASSIFIER, precision, batch, o.fuse);
    u->seed_scale = precision.act == DG_F16 ? GUIDE_SEED_SCALE_F16 : 1;
    u->mean = dg_alloc((size_t)batch * sizeof *u->mean), u->time = dg_alloc((size_t)batch * sizeof *u->time);
    if (plan(u, extractor, head, o, e)) return u;
    guide_free(u);
    return NULL;
}
Guide *guide_plan(const Json *extractor, const Json *head, Precision precision, int batch, GuideOptions o, Error *e) {
    return planned((Source){extractor, head ? "extractor" : "classifier"}, (Source){head, "discriminator"}, precision, batch, o, e);
}
Guide *guide_new(Device *dev, Weights *extractor, Weights *head, int batch, GuideOptions o, Error *e) {
    Source a = {weights_config(extractor), weights_name(extractor)}, b = {NULL, NULL};
    if (head) b = (Source){weights_config(head), weights_name(head)};
    Guide *u = planned(a, b, dev->precision, batch, o, e);
    if (!u) return NULL;
    if (!net_bind(u->net, dev, (Weights *const[]){extractor, head}, e)) {
        guide_free(u);
        return NULL;
    }
    if (!u->seed) return u;
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
    if (!u->head) return u->extractor->out_channels;
    const EncoderConfig *config[] = {u->extractor, u->head};
    int least = 0;
    for (int i = 0; i < 2; i++)
        if (config[i]->condition && (!least || config[i]->num_class < least)) least = config[i]->num_class;
    return least;
}
void guide_set_labels(Guide *u, int rows, const int *label) {
    net_set_labels(u->net, rows, label);
    for (int i = 0; i < rows && u->onehot; i++) DG_CHECK(label[i] >= 0, "image %d has no class, which a classifier takes", i);
    if (u->onehot) net_set_onehot(u->net, u->onehot, rows, (float)u->seed_scale, label);
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
void guide_fill(Guide *u, int rows, void *table, const Level *level, const double *scale, const double *time, double *gradient) {
    for (int i = 0; i < rows; i++) {
        GuideTime t = guide_time(u, level[i].sigma / level[i].alpha);
        double mean = t.mean_vp / level[i].alpha;
        u->mean[i] = mean * (scale ? scale[i] : 1), u->time[i] = time ? time[i] : t.time;
        gradient[i] = mean / u->seed_scale;
    }
    net_fill(u->net, rows, table, u->mean, u->time);
}
void guide_run(Guide *u, const double *x, const double *sigma, double *coef) {
    Level *level = dg_alloc((size_t)u->batch * sizeof *level);
    for (int i = 0; i < u->batch; i++) level[i] = (Level){1, sigma[i]};
    guide_fill(u, u->batch, u->net->host_table, level, NULL, NULL, coef);
    for (int i = 0; i < u->batch; i++) coef[i] *= -sigma[i] * sigma[i];
    net_run_filled(u->net, u->batch, x);
    free(level);
}
bool guide_apply(Guide *u, double *x, const double *sigma, Error *e) {
    double *coef = dg_alloc((size_t)u->batch * sizeof *coef);
    guide_run(u, x, sigma, coef);
    bool ok = net_apply(u->net, u->batch, x, NULL, coef, e);
    free(coef);
    return ok;
}
void guide_log_ratio(Guide *u, int rows, double *out) {
    device_range_push(u->net->dev, SPAN_WAIT);
    exec_get_rows(u->net->exec, u->log_ratio, rows, DG_F64, out);
    device_range_pop(u->net->dev, SPAN_WAIT);
}
