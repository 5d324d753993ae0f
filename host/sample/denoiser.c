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
void denoiser_set_labels(Denoiser *d, const int *label) { net_set_labels(d->net, label); }

static void inputs(Denoiser *d, const double *scale, const double *sigma, PrecondCoef *coef) {
    for (int i = 0; i < d->batch; i++) {
        coef[i] = precond_coef(d->config, sigma[i]);
        d->c_in[i] = (double)coef[i].c_in * (scale ? scale[i] : 1);
        d->c_noise[i] = (double)coef[i].c_noise;
    }
}
void denoiser_fill(Denoiser *d, void *table, const double *scale, const double *sigma, PrecondCoef *coef) {
    inputs(d, scale, sigma, coef);
    net_fill(d->net, table, d->c_in, d->c_noise);
}
void denoiser_run(Denoiser *d, const double *x, const double *sigma, PrecondCoef *coef) {
    inputs(d, NULL, sigma, coef);
    net_run(d->net, x, d->c_in, d->c_noise);
}
bool denoiser_apply(Denoiser *d, double *x, const double *sigma, Error *e) {
    Device *dev = d->net->dev;
    const Backend *be = dev->be;
    size_t n = (size_t)d->batch, bytes = 2 * n * sizeof(double);
    double *device = be->alloc(dev, bytes); /* c_skip of each image, then c_out */
    if (!device) return dg_out_of_memory(e, "not enough memory on device %s for %zu coefficients", be->name, 2 * n);
    double *skip_out = dg_alloc(bytes);
    PrecondCoef *coef = dg_alloc(n * sizeof *coef);
    denoiser_run(d, x, sigma, coef);
    for (size_t i = 0; i < n; i++) skip_out[i] = (double)coef[i].c_skip, skip_out[n + i] = (double)coef[i].c_out;
    be->upload(dev, device, skip_out, bytes);
    Term term[] = {{x, DG_F64, device}, net_output(d->net, device + n)};
    be->combine(dev, x, DG_F64, d->batch, d->per_sample, term, 2);
    be->release(dev, device);
    free(coef), free(skip_out);
    return true;
}
