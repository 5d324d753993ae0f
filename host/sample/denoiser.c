/* denoiser.c -- a score network under its preconditioner. */
#include "sample/denoiser.h"
#include <stdlib.h>

Denoiser *denoiser_new(Device *dev, Weights *w, int batch, bool fuse, Error *e) {
    const Model *m = model_find(weights_config(w), "denoiser", e);
    if (!m) dg_error_context(e, "%s", weights_name(w));
    Net *net = m ? net_open(dev, m, w, batch, fuse, e) : NULL;
    if (!net) return NULL;
    Denoiser *d = dg_alloc(sizeof *d);
    d->net = net, d->config = net->part[0].config, d->batch = batch, d->per_sample = net->per_sample;
    d->c_in = dg_alloc((size_t)batch * sizeof *d->c_in), d->c_noise = dg_alloc((size_t)batch * sizeof *d->c_noise);
    return d;
}
void denoiser_free(Denoiser *d) {
    if (!d) return;
    net_free(d->net);
    free(d->c_in), free(d->c_noise);
    free(d);
}
static void inputs(Denoiser *d, int rows, const double *scale, const double *sigma, PrecondCoef *coef) {
    for (int i = 0; i < rows; i++) {
        coef[i] = precond_coef(d->config, sigma[i]);
        d->c_in[i] = (double)coef[i].c_in * (scale ? scale[i] : 1);
        d->c_noise[i] = (double)coef[i].c_noise;
    }
}
void denoiser_fill(Denoiser *d, int rows, void *table, const double *scale, const double *sigma, PrecondCoef *coef) {
    inputs(d, rows, scale, sigma, coef);
    net_fill(d->net, rows, table, d->c_in, d->c_noise);
}
void denoiser_run(Denoiser *d, const double *x, const double *sigma, PrecondCoef *coef) {
    inputs(d, d->batch, NULL, sigma, coef);
    net_run(d->net, d->batch, x, d->c_in, d->c_noise);
}
bool denoiser_apply(Denoiser *d, double *x, const double *sigma, Error *e) {
    size_t n = (size_t)d->batch;
    double *skip = dg_alloc(n * sizeof *skip), *out = dg_alloc(n * sizeof *out);
    PrecondCoef *coef = dg_alloc(n * sizeof *coef);
    denoiser_run(d, x, sigma, coef);
    for (size_t i = 0; i < n; i++) skip[i] = (double)coef[i].c_skip, out[i] = (double)coef[i].c_out;
    bool ok = net_apply(d->net, d->batch, x, skip, out, e);
    free(skip), free(out), free(coef);
    return ok;
}
