/* verify_network.c -- golden cases of a network that takes timesteps, adm_unet and dit: one call of it. */
#include "program/verify_kind.h"
#include "run/net.h"
#include <stdlib.h>

static const char *const outputs[] = {"out", NULL};

/* Cases of large images hold every k-th pixel of the output, in each direction; s becomes the shape of what is left. */
static bool thin_out(const Case *c, double *image, Shape *s, Error *e) {
    const StTensor *t = st_find(c->file, "out");
    int height = t && t->dims == 4 ? (int)t->shape[2] : 0, k = height > 0 && height <= s->h ? s->h / height : 1;
    if (s->h % k || s->w % k) return dg_error(e, "tensor out: %d rows are no part of an output of %d", height, s->h);
    Shape part = {s->n, s->h / k, s->w / k, s->c};
    size_t at = 0, row = (size_t)s->w * (size_t)s->c;
    for (int i = 0; i < part.n * part.h; i++)
        for (int x = 0; x < part.w; x++)
            for (int j = 0; j < part.c; j++)
                image[at++] = image[(size_t)i * (size_t)k * row + (size_t)x * (size_t)k * (size_t)s->c + (size_t)j];
    *s = part;
    return true;
}
/* Each network that takes a class was given one: none, a row of zeros, is EDM's. */
static bool read_labels(const Case *c, const Net *n, int *label, Error *e) {
    Tid input = n->part[0].ports.label;
    if (!case_labels(c, n->batch, input ? shape_of(n->graph, input).c : 0, label, e)) return false;
    return !input || case_every_label(n->batch, label, e);
}
static bool replay(const Case *c, Net *n, Error *e) {
    Shape in = shape_of(n->graph, n->x), out = shape_of(n->graph, n->out);
    int *label = dg_alloc((size_t)n->batch * sizeof *label);
    double *x = case_images(c, "x", in, e), *time = x ? case_timesteps(c, n->batch, e) : NULL, *device = NULL;
    bool ok = time && read_labels(c, n, label, e) && (device = case_upload(c, x, shape_count(in), e));
    if (ok) {
        double *found = dg_alloc(shape_count(out) * sizeof *found);
        net_set_labels(n, n->batch, label);
        net_run(n, n->batch, device, NULL, time);
        exec_get(n->exec, n->out, DG_F64, found);
        ok = thin_out(c, found, &out, e) && case_compare_images(c, "out", found, out, e);
        free(found);
    }
    if (device) c->dev->be->release(c->dev, device);
    free(x), free(time), free(label);
    return ok;
}
static const Model *model_of(const Case *c, const Json *config, Error *e) { return config ? model_find(config, c->kind->kind, e) : NULL; }
static bool run(Case *c, Error *e) {
    int images = case_batch(c, "x", e);
    const Model *m = images ? model_of(c, case_config(c, "network", e), e) : NULL;
    Weights *w = m ? case_weights(c, "network", "synthetic_seed", e) : NULL;
    Net *n = w ? net_open(c->dev, m, w, images, c->fuse, e) : NULL;
    bool ok = n && replay(c, n, e);
    net_free(n);
    weights_free(w);
    return ok;
}
/* Plain graphs: nothing is merged that the official count has. */
bool case_model_cost(const Model *m, const Json *config, int images, CaseCost *cost, Error *e) {
    Net *n = net_new(SPAN_NETWORK, (Precision){DG_F32, false}, 1, false);
    bool ok = net_add(n, m, config, "", 0, e) != NULL;
    double flops = graph_flops(n->graph), bytes = 0;
    for (Tid t = 1; t < n->graph->nt; t++)
        if (n->graph->t[t].kind == T_WEIGHT) bytes += (double)tensor_bytes(&n->graph->t[t]);
    cost->flops = images * flops;
    cost->size = flops < QUICK_FLOPS ? CASE_QUICK : bytes < LARGE_BYTES ? CASE_FULL : CASE_LARGE;
    net_free(n);
    return ok;
}
static bool cost(Case *c, CaseCost *cost, Error *e) {
    int images = case_batch(c, "x", e);
    const Json *config = images ? case_config(c, "network", e) : NULL;
    const Model *m = model_of(c, config, e);
    return m && case_model_cost(m, config, images, cost, e);
}
const CaseKind case_adm_unet = {.kind = "adm_unet", .outputs = outputs, .run = run, .cost = cost};
const CaseKind case_dit = {.kind = "dit", .outputs = outputs, .run = run, .cost = cost};
