/* guidance.c -- the discriminator's gradient: extractor and head forward, seed at the logit, backward to the input. */
#include "guidance.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double BETA_0 = 0.1, BETA_1 = 20; /* of the VP process the discriminator was trained on */
static const float LOGIT_CLIP = 11.512915464920228f; /* ln((1 - 1e-5) / 1e-5): outside it L is constant, its gradient 0 */
static const char HEAD_PREFIX[] = "head.";

bool guide_build(Guide *u, DType act, bool keep, bool fuse, Error *e) {
    Graph *g = u->graph = graph_new(act);
    const EncoderConfig *c = &u->extractor;
    u->x = g_input(g, "x", (Shape){u->batch, c->image_size, c->image_size, c->in_channels});
    if (!encoder_build(g, c, "", u->x, false, &u->extractor_net, e)) return dg_error_context(e, "extractor");
    if (!encoder_build(g, &u->head, HEAD_PREFIX, u->extractor_net.features, true, &u->head_net, e)) return dg_error_context(e, "discriminator");
    u->log_ratio = g_clamp(g, u->head_net.logit, -LOGIT_CLIP, LOGIT_CLIP);
    g->t[u->log_ratio].keep = true;
    if (keep) g->t[u->extractor_net.features].keep = g->t[u->head_net.logit].keep = true;
    if (fuse) graph_fuse(g);
    u->seed = g_input(g, "seed", shape_of(g, u->log_ratio));
    u->gradient = g_output(g, graph_backward(g, u->log_ratio, u->seed, u->x));
    if (fuse) graph_fuse(g);
    graph_plan(g);
    return true;
}
static bool bind(Guide *u, Weights *extractor, Weights *head, bool keep, bool fuse, Error *e) {
    if (u->head.out_channels != 1) return dg_error(e, "%s: the discriminator has %d outputs, one logit is wanted", weights_name(head), u->head.out_channels);
    if (!guide_build(u, u->dev->act, keep, fuse, e)) return false;
    weights_attach(extractor, HEAD_PREFIX, head);
    u->exec = exec_new(u->graph, u->dev, extractor, e);
    weights_attach(extractor, NULL, NULL);
    return u->exec && weights_check_unused(extractor, extractor_unused, extractor_unused_count, e) && weights_check_unused(head, NULL, 0, e);
}
Guide *guide_new(Device *dev, Weights *extractor, Weights *head, int batch, bool keep, bool fuse, Error *e) {
    EncoderConfig a, b;
    if (!encoder_config(&a, weights_config(extractor), e)) {
        dg_error_context(e, "%s", weights_name(extractor));
        return NULL;
    }
    if (!encoder_config(&b, weights_config(head), e)) {
        dg_error_context(e, "%s", weights_name(head));
        return NULL;
    }
    Guide *u = dg_alloc(sizeof *u);
    u->extractor = a, u->head = b, u->dev = dev, u->batch = batch;
    u->per_sample = (size_t)a.image_size * (size_t)a.image_size * (size_t)a.in_channels;
    u->coef = dg_alloc((size_t)batch * sizeof *u->coef);
    u->embedding = dg_alloc((size_t)batch * (size_t)(a.model_channels > b.model_channels ? a.model_channels : b.model_channels) * sizeof *u->embedding);
    u->seed_scale = dev->act == DG_F16 ? GUIDE_SEED_SCALE_F16 : 1;
    if (bind(u, extractor, head, keep, fuse, e)) {
        for (int i = 0; i < batch; i++) u->coef[i] = u->seed_scale;
        exec_set(u->exec, u->seed, DG_F64, u->coef);
        return u;
    }
    guide_free(u);
    return NULL;
}
void guide_free(Guide *u) {
    if (!u) return;
    exec_free(u->exec);
    graph_free(u->graph);
    free(u->coef);
    free(u->embedding);
    free(u);
}
GuideTime guide_time(const Guide *u, double sigma) {
    GuideTime t;
    double slope = BETA_1 - BETA_0;
    t.tau = (-BETA_0 + sqrt(BETA_0 * BETA_0 + 2 * slope * log(1 + sigma * sigma))) / slope;
    t.mean_vp = exp(-.25 * t.tau * t.tau * slope - .5 * t.tau * BETA_0);
    t.time = t.tau;
    if (u->extractor.cosine_time) { /* the classifier of guided-diffusion at 64x64 was trained on the cosine schedule */
        const double c = .008;
        double root = cos(c / (1 + c) * M_PI / 2); /* sqrt(f0) */
        t.time = (1 + c) * (2 / M_PI) * acos(root * t.mean_vp) - c;
    }
    return t;
}
void guide_set_labels(Guide *u, const int *label) {
    if (!u->head_net.label) return;
    size_t classes = (size_t)u->head.num_class;
    float *onehot = dg_alloc((size_t)u->batch * classes * sizeof *onehot);
    for (int i = 0; i < u->batch; i++)
        if (label[i] >= 0) onehot[(size_t)i * classes + (size_t)label[i]] = 1;
    exec_set(u->exec, u->head_net.label, DG_F32, onehot);
    free(onehot);
}
static void set_times(Guide *u, const EncoderConfig *c, Tid input, const double *sigma) {
    size_t channels = (size_t)c->model_channels;
    for (int i = 0; i < u->batch; i++) {
        float *row = u->embedding + (size_t)i * channels;
        if (i && sigma[i] == sigma[i - 1]) memcpy(row, row - channels, channels * sizeof *row);
        else encoder_time_embedding(c, guide_time(u, sigma[i]).time, row);
    }
    exec_set(u->exec, input, DG_F32, u->embedding);
}
void guide_run(Guide *u, const double *x, const double *sigma, double *coef) {
    for (int i = 0; i < u->batch; i++) {
        u->coef[i] = guide_time(u, sigma[i]).mean_vp;
        coef[i] = -sigma[i] * sigma[i] * u->coef[i] / u->seed_scale;
    }
    set_times(u, &u->extractor, u->extractor_net.temb, sigma);
    set_times(u, &u->head, u->head_net.temb, sigma);
    Term scaled = {x, DG_F64, u->coef};
    u->dev->be->combine(u->dev, u->exec->data[u->x], u->graph->t[u->x].dtype, u->batch, u->per_sample, &scaled, 1);
    device_range_push(u->dev, "discriminator");
    exec_run(u->exec);
    device_range_pop(u->dev);
}
Term guide_output(const Guide *u, const double *coef) {
    return (Term){u->exec->data[u->gradient], u->graph->t[u->gradient].dtype, coef};
}
void guide_log_ratio(Guide *u, double *out) { exec_get(u->exec, u->log_ratio, DG_F64, out); }
