/* guidance.c -- the discriminator's gradient: extractor and head forward, seed at the logit, backward to the input. */
#include "sample/guidance.h"
#include "base/dtype.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double BETA_0 = 0.1, BETA_1 = 20;       /* of the VP process the discriminator was trained on */
static const float LOGIT_CLIP = 11.512915464920228f; /* ln((1 - 1e-5) / 1e-5): outside it L is constant, its gradient 0 */
static const char HEAD_PREFIX[] = "head.";

bool guide_build(Guide *u, Precision precision, bool keep, bool fuse, Error *e) {
    Graph *g = u->graph = graph_new(precision);
    const EncoderConfig *c = &u->extractor;
    u->x = g_input(g, "x", (Shape){u->batch, c->image_size, c->image_size, c->in_channels});
    if (!encoder_build(g, c, "", u->x, false, &u->extractor_net, e)) return dg_error_context(e, "extractor");
    if (!encoder_build(g, &u->head, HEAD_PREFIX, u->extractor_net.features, true, &u->head_net, e))
        return dg_error_context(e, "discriminator");
    u->log_ratio = g_clamp(g, u->head_net.logit, -LOGIT_CLIP, LOGIT_CLIP);
    g->t[u->log_ratio].keep = true;
    if (keep) g->t[u->extractor_net.features].keep = g->t[u->head_net.logit].keep = true;
    if (fuse) graph_fuse(g);
    u->seed = g_input(g, "seed", shape_of(g, u->log_ratio));
    u->gradient = g_output(g, graph_backward(g, u->log_ratio, u->seed, u->x));
    size_t value_bytes = dtype_bytes(g->t[u->extractor_net.temb].dtype);
    u->table = g_input(g, "table",
                       (Shape){u->batch, 1, 1, (int)(sizeof(double) / value_bytes) + u->extractor.model_channels + u->head.model_channels});
    if (fuse) graph_fuse(g);
    graph_plan(g);
    return true;
}
static bool bind(Guide *u, Weights *extractor, Weights *head, bool keep, bool fuse, Error *e) {
    if (u->head.out_channels != 1)
        return dg_error(e, "%s: the discriminator has %d outputs, one logit is wanted", weights_name(head), u->head.out_channels);
    if (!guide_build(u, u->dev->precision, keep, fuse, e)) return false;
    weights_attach(extractor, HEAD_PREFIX, head);
    u->exec = exec_new(u->graph, u->dev, extractor, e);
    weights_attach(extractor, NULL, NULL);
    u->host_table = dg_alloc(guide_table_bytes(u));
    return u->exec && weights_check_unused(extractor, extractor_unused, extractor_unused_count, e) &&
           weights_check_unused(head, NULL, 0, e);
}
Guide *guide_new(Device *dev, Weights *extractor, Weights *head, int batch, GuideOptions o, Error *e) {
    EncoderConfig a, b;
    if (!encoder_config(&a, weights_config(extractor), e)) {
        dg_error_context(e, "%s", weights_name(extractor));
        return NULL;
    }
    if (!encoder_config(&b, weights_config(head), e)) {
        dg_error_context(e, "%s", weights_name(head));
        return NULL;
    }
    if (o.clock != CLOCK_OF_FILE) a.cosine_time = o.clock == CLOCK_COSINE;
    Guide *u = dg_alloc(sizeof *u);
    u->extractor = a, u->head = b, u->dev = dev, u->batch = batch;
    u->per_sample = (size_t)a.image_size * (size_t)a.image_size * (size_t)a.in_channels;
    u->embedding = dg_alloc((size_t)batch * (size_t)(a.model_channels > b.model_channels ? a.model_channels : b.model_channels) *
                            sizeof *u->embedding);
    u->seed_scale = dev->precision.act == DG_F16 ? GUIDE_SEED_SCALE_F16 : 1;
    if (bind(u, extractor, head, o.keep, o.fuse, e)) {
        double *seed = dg_alloc((size_t)batch * sizeof *seed);
        for (int i = 0; i < batch; i++) seed[i] = u->seed_scale;
        exec_set(u->exec, u->seed, DG_F64, seed);
        free(seed);
        return u;
    }
    guide_free(u);
    return NULL;
}
void guide_free(Guide *u) {
    if (!u) return;
    exec_free(u->exec);
    graph_free(u->graph);
    free(u->embedding);
    free(u->host_table);
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
/* A table: mean_vp of each image, then the times' embeddings of extractor and head as the graph wants them. */
typedef struct {
    const EncoderConfig *config;
    Tid input;
    size_t count, bytes;
} Times;
static Times times_of(const Guide *u, bool head) {
    Times t = {head ? &u->head : &u->extractor, head ? u->head_net.temb : u->extractor_net.temb, 0, 0};
    t.count = (size_t)u->batch * (size_t)t.config->model_channels;
    t.bytes = t.count * dtype_bytes(u->graph->t[t.input].dtype);
    return t;
}
size_t guide_table_bytes(const Guide *u) { return shape_count(shape_of(u->graph, u->table)) * dtype_bytes(u->graph->t[u->table].dtype); }
void guide_fill(Guide *u, void *table, const double *sigma, double *coef) {
    double *mean = table;
    for (int i = 0; i < u->batch; i++) {
        mean[i] = guide_time(u, sigma[i]).mean_vp;
        coef[i] = -sigma[i] * sigma[i] * mean[i] / u->seed_scale;
    }
    char *at = (char *)(mean + u->batch);
    for (int head = 0; head < 2; head++) {
        Times t = times_of(u, head);
        size_t channels = (size_t)t.config->model_channels;
        for (int i = 0; i < u->batch; i++) {
            float *row = u->embedding + (size_t)i * channels;
            if (i && sigma[i] == sigma[i - 1]) memcpy(row, row - channels, channels * sizeof *row);
            else encoder_time_embedding(t.config, guide_time(u, sigma[i]).time, row);
        }
        dtype_convert(u->graph->t[t.input].dtype, at, DG_F32, u->embedding, t.count);
        at += t.bytes;
    }
}
void guide_enqueue(Guide *u, const double *x, const void *table) {
    const Backend *be = u->dev->be;
    const double *mean = table;
    const char *at = (const char *)(mean + u->batch);
    for (int head = 0; head < 2; head++) {
        Times t = times_of(u, head);
        be->copy(u->dev, u->exec->data[t.input], at, t.bytes);
        at += t.bytes;
    }
    Term scaled = {x, DG_F64, mean};
    be->combine(u->dev, u->exec->data[u->x], u->graph->t[u->x].dtype, u->batch, u->per_sample, &scaled, 1);
    device_range_push(u->dev, "discriminator");
    exec_run(u->exec);
    device_range_pop(u->dev);
}
void guide_run(Guide *u, const double *x, const double *sigma, double *coef) {
    guide_fill(u, u->host_table, sigma, coef);
    exec_set(u->exec, u->table, u->graph->t[u->table].dtype, u->host_table);
    guide_enqueue(u, x, u->exec->data[u->table]);
}
Term guide_output(const Guide *u, const double *coef) { return (Term){u->exec->data[u->gradient], u->graph->t[u->gradient].dtype, coef}; }
bool guide_apply(Guide *u, double *x, const double *sigma, Error *e) {
    const Backend *be = u->dev->be;
    size_t bytes = (size_t)u->batch * sizeof(double);
    double *device = be->alloc(u->dev, bytes);
    if (!device) return dg_out_of_memory(e, "not enough memory on device %s for %d coefficients", be->name, u->batch);
    double *coef = dg_alloc(bytes);
    guide_run(u, x, sigma, coef);
    be->upload(u->dev, device, coef, bytes);
    Term term = guide_output(u, device);
    be->combine(u->dev, x, DG_F64, u->batch, u->per_sample, &term, 1);
    be->release(u->dev, device);
    free(coef);
    return true;
}
void guide_log_ratio(Guide *u, double *out) { exec_get(u->exec, u->log_ratio, DG_F64, out); }
