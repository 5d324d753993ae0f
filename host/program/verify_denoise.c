/* verify_denoise.c -- golden cases of kind denoise: one call of a score network, D(x; sigma). */
#include "program/verify_kind.h"
#include "sample/predictor.h"
#include <stdlib.h>

static const char *const outputs[] = {"denoised", NULL};

static bool replay(const Case *c, Predictor *p, Error *e) {
    int n = p->batch, *label = dg_alloc((size_t)n * sizeof *label);
    Shape s = p->state;
    s.n = n;
    double *x = case_images(c, "x", s, e), *sigma = x ? case_sigmas(c, n, e) : NULL, *device = NULL;
    bool ok = sigma && case_labels(c, n, p->score->facts.classes, label, e) && (device = case_upload(c, x, shape_count(s), e));
    if (ok) {
        predictor_set_labels(p, n, label);
        ok = predictor_apply(p, device, sigma, e);
    }
    if (ok) {
        c->dev->be->download(c->dev, x, device, shape_count(s) * sizeof *x);
        ok = case_compare_images(c, "denoised", x, s, e);
    }
    if (device) c->dev->be->release(c->dev, device);
    free(x), free(sigma), free(label);
    return ok;
}
static const Model *model_of(const Case *c, Error *e) {
    const Json *config = case_config(c, "network", e);
    return config ? model_find(config, "denoiser", e) : NULL;
}
static bool run(Case *c, Error *e) {
    int n = case_batch(c, "x", e);
    const Model *m = n ? model_of(c, e) : NULL;
    Weights *w = m ? case_weights(c, "network", "synthetic_seed", e) : NULL;
    Predictor *p = w ? predictor_open(c->dev, m, w, n, 1, c->fuse, e) : NULL;
    bool ok = p && replay(c, p, e);
    predictor_free(p);
    weights_free(w);
    return ok;
}
static bool cost(Case *c, CaseCost *cost, Error *e) {
    int n = case_batch(c, "x", e);
    const Model *m = n ? model_of(c, e) : NULL;
    return m && case_model_cost(m, case_config(c, "network", e), n, cost, e);
}
const CaseKind case_denoise = {.kind = "denoise", .outputs = outputs, .run = run, .cost = cost};
