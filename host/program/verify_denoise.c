/* verify_denoise.c -- golden cases of kind denoise: one call of a score network, D(x; sigma). */
#include "program/verify_kind.h"
#include "sample/denoiser.h"
#include <stdlib.h>

static const char *const outputs[] = {"denoised", NULL};

static bool replay(const Case *c, Denoiser *d, Error *e) {
    int n = d->batch, *label = dg_alloc((size_t)n * sizeof *label);
    Shape s = {n, d->config->img_resolution, d->config->img_resolution, d->config->img_channels};
    double *x = case_images(c, "x", s, e), *sigma = x ? case_sigmas(c, n, e) : NULL, *device = NULL;
    bool ok = sigma && case_labels(c, n, d->config->label_dim, label, e) && (device = case_upload(c, x, shape_count(s), e));
    if (ok) {
        net_set_labels(d->net, d->batch, label);
        ok = denoiser_apply(d, device, sigma, e);
    }
    if (ok) {
        c->dev->be->download(c->dev, x, device, shape_count(s) * sizeof *x);
        ok = case_compare_images(c, "denoised", x, s, e);
    }
    if (device) c->dev->be->release(c->dev, device);
    free(x), free(sigma), free(label);
    return ok;
}
static bool run(Case *c, Error *e) {
    int n = case_batch(c, "x", e);
    Weights *w = n ? case_weights(c, "network", "synthetic_seed", e) : NULL;
    Denoiser *d = w ? denoiser_new(c->dev, w, n, c->fuse, e) : NULL;
    bool ok = d && replay(c, d, e);
    denoiser_free(d);
    weights_free(w);
    return ok;
}
static bool network_cost(const Case *c, int images, CaseCost *cost, Error *e) {
    const Json *config = case_config(c, "network", e);
    const Model *m = config ? model_find(config, "denoiser", e) : NULL;
    return m && case_model_cost(m, config, images, cost, e);
}
bool case_network_flops(const Case *c, double *flops, Error *e) {
    CaseCost of_one = {0};
    bool ok = network_cost(c, 1, &of_one, e);
    *flops = of_one.flops;
    return ok;
}
static bool cost(Case *c, CaseCost *cost, Error *e) {
    int images = case_batch(c, "x", e);
    return images && network_cost(c, images, cost, e);
}
const CaseKind case_denoise = {.kind = "denoise", .outputs = outputs, .run = run, .cost = cost};
