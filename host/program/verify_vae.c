/* verify_vae.c -- golden cases of kind vae: latents to pictures, and pictures to the moments of latents. */
#include "program/verify_kind.h"
#include "run/net.h"
#include <stdlib.h>

static const char *const outputs[] = {"decoded", "moments", NULL};
typedef struct {
    const Model *model;
    const char *input, *output;
} Half;
static const Half halves[] = {{&model_vae, "z", "decoded"}, {&model_vae_encoder, "image", "moments"}};
enum { HALVES = sizeof halves / sizeof *halves };

static bool expects(const Case *c, const Half *h) { return json_get(json_get(c->json, "expect"), h->output) != NULL; }
static bool replay(const Case *c, const Half *h, Net *n, Error *e) {
    Shape in = shape_of(n->graph, n->x), out = shape_of(n->graph, n->out);
    double *x = case_images(c, h->input, in, e), *device = x ? case_upload(c, x, shape_count(in), e) : NULL;
    bool ok = device != NULL;
    if (ok) {
        double *found = dg_alloc(shape_count(out) * sizeof *found);
        net_run(n, n->batch, device, NULL, NULL);
        exec_get(n->exec, n->out, DG_F64, found);
        ok = case_compare_images(c, h->output, found, out, e);
        free(found);
    }
    if (device) c->dev->be->release(c->dev, device);
    free(x);
    return ok;
}
static bool run_half(const Case *c, const Half *h, Error *e) {
    int images = case_batch(c, h->input, e);
    const Json *config = images ? case_config(c, "config", e) : NULL;
    Weights *w = config ? case_weights_of(c, config, "network", "synthetic_seed", e) : NULL;
    Net *n = w ? net_open(c->dev, h->model, w, images, c->fuse, e) : NULL;
    bool ok = n && replay(c, h, n, e);
    net_free(n);
    weights_free(w);
    return ok;
}
static bool run(Case *c, Error *e) {
    bool ok = true;
    for (int i = 0; i < HALVES && ok; i++) ok = !expects(c, &halves[i]) || run_half(c, &halves[i], e);
    return ok;
}
static bool cost(Case *c, CaseCost *cost, Error *e) {
    const Json *config = case_config(c, "config", e);
    double flops = 0;
    CaseSize size = CASE_QUICK;
    for (int i = 0; config && i < HALVES; i++) {
        if (!expects(c, &halves[i])) continue;
        int images = case_batch(c, halves[i].input, e);
        if (!images || !case_model_cost(halves[i].model, config, images, cost, e)) return false;
        flops += cost->flops, size = cost->size > size ? cost->size : size;
    }
    cost->flops = flops, cost->size = size;
    return config != NULL;
}
const CaseKind case_vae = {.kind = "vae", .outputs = outputs, .run = run, .cost = cost};
