/* verify_guidance.c -- golden cases of kind guidance: one call of a discriminator, what it sees on the way and G(x; sigma). */
#include "program/verify_kind.h"
#include <stdlib.h>
#include <string.h>

static const char *const outputs[] = {"tau", "mean_vp", "time", "features", "logit", "log_ratio", "guidance", NULL};

/* The case says which time the extractor was trained on beside the extractor's own arguments. */
static bool case_clock(const Case *c, GuideClock *clock, Error *e) {
    const char *time;
    if (!json_get_string(c->json, "time", "linear", &time, e)) return false;
    *clock = !strcmp(time, "cosine") ? CLOCK_COSINE : CLOCK_LINEAR;
    return *clock == CLOCK_COSINE || !strcmp(time, "linear") || dg_error(e, "\"time\" is \"%s\", neither linear nor cosine", time);
}
static bool compare_times(const Case *c, const Guide *g, const double *sigma, Error *e) {
    int n = g->batch;
    double *tau = dg_alloc((size_t)n * sizeof *tau), *mean = dg_alloc((size_t)n * sizeof *mean), *time = dg_alloc((size_t)n * sizeof *time);
    for (int i = 0; i < n; i++) {
        GuideTime t = guide_time(g, sigma[i]);
        tau[i] = t.tau, mean[i] = t.mean_vp, time[i] = t.time;
    }
    bool ok = case_compare_values(c, "tau", tau, n, e) && case_compare_values(c, "mean_vp", mean, n, e) &&
              case_compare_values(c, "time", time, n, e);
    free(tau), free(mean), free(time);
    return ok;
}
static bool compare_forward(const Case *c, Guide *g, Error *e) {
    int n = g->batch;
    Shape f = shape_of(g->net->graph, g->features);
    double *features = dg_alloc(shape_count(f) * sizeof *features), *logit = dg_alloc((size_t)n * sizeof *logit);
    exec_get(g->net->exec, g->features, DG_F64, features);
    exec_get(g->net->exec, g->logit, DG_F64, logit);
    bool ok = case_compare_images(c, "features", features, f, e) && case_compare_values(c, "logit", logit, n, e);
    guide_log_ratio(g, g->batch, logit);
    ok = ok && case_compare_values(c, "log_ratio", logit, n, e);
    free(features), free(logit);
    return ok;
}
static bool replay(const Case *c, Guide *g, Error *e) {
    int n = g->batch, *label = dg_alloc((size_t)n * sizeof *label);
    Shape s = {n, g->extractor->image_size, g->extractor->image_size, g->extractor->in_channels};
    double *x = case_images(c, "x", s, e), *sigma = x ? case_sigmas(c, n, e) : NULL, *device = NULL;
    bool ok = sigma && case_labels(c, n, guide_classes(g), label, e) && (device = case_upload(c, x, shape_count(s), e));
    if (ok) {
        guide_set_labels(g, g->batch, label);
        ok = compare_times(c, g, sigma, e) && guide_apply(g, device, sigma, e) && compare_forward(c, g, e);
    }
    if (ok) {
        c->dev->be->download(c->dev, x, device, shape_count(s) * sizeof *x);
        ok = case_compare_images(c, "guidance", x, s, e);
    }
    if (device) c->dev->be->release(c->dev, device);
    free(x), free(sigma), free(label);
    return ok;
}
bool case_guide_open(CaseGuide *g, const Case *c, int batch, Error *e) {
    *g = (CaseGuide){0};
    GuideOptions o = {.keep = true, .fuse = c->fuse};
    if (!case_clock(c, &o.clock, e)) return false;
    g->extractor = case_weights(c, "extractor", "extractor_seed", e);
    g->head = g->extractor ? case_weights(c, "head", "head_seed", e) : NULL;
    g->guide = g->head ? guide_new(c->dev, g->extractor, g->head, batch, o, e) : NULL;
    return g->guide != NULL;
}
void case_guide_close(CaseGuide *g) {
    guide_free(g->guide);
    weights_free(g->extractor);
    weights_free(g->head);
}
static bool run(Case *c, Error *e) {
    int n = case_batch(c, "x", e);
    CaseGuide g = {0};
    bool ok = n && case_guide_open(&g, c, n, e) && replay(c, g.guide, e);
    case_guide_close(&g);
    return ok;
}
bool case_gradient_flops(const Json *extractor, const Json *head, double *flops, Error *e) {
    Guide *g = guide_plan(extractor, head, (Precision){DG_F32, false}, 1, (GuideOptions){.fuse = true}, e);
    if (g) *flops = graph_flops(g->net->graph);
    guide_free(g);
    return g != NULL;
}
bool case_guide_flops(const Case *c, double *flops, Error *e) {
    const Json *extractor = case_config(c, "extractor", e), *head = extractor ? case_config(c, "head", e) : NULL;
    return head && case_gradient_flops(extractor, head, flops, e);
}
static bool cost(Case *c, CaseCost *cost, Error *e) {
    double flops;
    int n = case_batch(c, "x", e);
    if (!n || !case_guide_flops(c, &flops, e)) return false;
    cost->flops = n * flops;
    cost->size = flops < QUICK_FLOPS ? CASE_QUICK : CASE_FULL;
    return true;
}
const CaseKind case_guidance = {.kind = "guidance", .outputs = outputs, .logits = true, .run = run, .cost = cost};
