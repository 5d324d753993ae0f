/* denoiser.c -- a score network bound to a device. */
#include "sample/denoiser.h"
#include "base/dtype.h"
#include <stdlib.h>
#include <string.h>

static bool bind(Denoiser *d, Weights *w, bool fuse, Error *e) {
    d->graph = graph_new(d->dev->precision);
    if (!network_build(d->graph, &d->config, d->batch, &d->net, e)) return dg_error_context(e, "%s", weights_name(w));
    size_t value_bytes = dtype_bytes(d->graph->t[d->net.noise].dtype);
    d->table =
        g_input(d->graph, "table", (Shape){d->batch, 1, 1, (int)(sizeof(double) / value_bytes) + network_noise_channels(&d->config)});
    if (fuse) graph_fuse(d->graph);
    graph_plan(d->graph);
    if (!(d->exec = exec_new(d->graph, d->dev, w, e))) return false;
    if (d->config.embedding_type == EMBEDDING_FOURIER) {
        int half = network_noise_channels(&d->config) / 2;
        d->freqs = dg_alloc((size_t)half * sizeof *d->freqs);
        WeightView vector = {.kind = VIEW_VECTOR};
        if (!weights_read(w, "model.map_noise.freqs", (Shape){1, 1, 1, half}, vector, DG_F32, d->freqs, e)) return false;
    }
    d->host_table = dg_alloc(denoiser_table_bytes(d));
    return weights_check_unused(w, network_unused, network_unused_count, e);
}
Denoiser *denoiser_new(Device *dev, Weights *w, int batch, bool fuse, Error *e) {
    NetworkConfig config;
    if (!network_config(&config, weights_config(w), e)) {
        dg_error_context(e, "%s", weights_name(w));
        return NULL;
    }
    Denoiser *d = dg_alloc(sizeof *d);
    d->config = config, d->dev = dev, d->batch = batch;
    d->per_sample = (size_t)config.img_resolution * (size_t)config.img_resolution * (size_t)config.img_channels;
    d->embedding = dg_alloc((size_t)batch * (size_t)network_noise_channels(&config) * sizeof *d->embedding);
    if (bind(d, w, fuse, e)) return d;
    denoiser_free(d);
    return NULL;
}
void denoiser_free(Denoiser *d) {
    if (!d) return;
    exec_free(d->exec);
    graph_free(d->graph);
    free(d->freqs);
    free(d->embedding);
    free(d->host_table);
    free(d);
}
void denoiser_set_onehot(Denoiser *d, const float *onehot) {
    if (!d->net.label) return;
    size_t n = (size_t)d->batch * (size_t)d->config.label_dim;
    float *scaled = dg_alloc(n * sizeof *scaled), scale = network_label_scale(&d->config);
    for (size_t i = 0; i < n; i++) scaled[i] = onehot[i] * scale;
    exec_set(d->exec, d->net.label, DG_F32, scaled);
    free(scaled);
}
void denoiser_set_labels(Denoiser *d, const int *label) {
    if (!d->net.label) return;
    size_t classes = (size_t)d->config.label_dim;
    float *onehot = dg_alloc((size_t)d->batch * classes * sizeof *onehot);
    for (int i = 0; i < d->batch; i++)
        if (label[i] >= 0) onehot[(size_t)i * classes + (size_t)label[i]] = 1;
    denoiser_set_onehot(d, onehot);
    free(onehot);
}
/* A table: c_in * scale of each image, then the noise embeddings as the graph wants them. */
static size_t noise_count(const Denoiser *d) { return (size_t)d->batch * (size_t)network_noise_channels(&d->config); }
static DType noise_type(const Denoiser *d) { return d->graph->t[d->net.noise].dtype; }
size_t denoiser_table_bytes(const Denoiser *d) {
    return shape_count(shape_of(d->graph, d->table)) * dtype_bytes(d->graph->t[d->table].dtype);
}
void denoiser_fill(Denoiser *d, void *table, const double *scale, const double *sigma, PrecondCoef *coef) {
    size_t channels = (size_t)network_noise_channels(&d->config);
    double *c_in = table;
    for (int i = 0; i < d->batch; i++) {
        float *row = d->embedding + (size_t)i * channels;
        coef[i] = precond_coef(&d->config, sigma[i]);
        c_in[i] = (double)coef[i].c_in * (scale ? scale[i] : 1);
        if (i && coef[i].c_noise == coef[i - 1].c_noise) memcpy(row, row - channels, channels * sizeof *row);
        else network_noise_embedding(&d->config, d->freqs, coef[i].c_noise, row);
    }
    dtype_convert(noise_type(d), c_in + d->batch, DG_F32, d->embedding, noise_count(d));
}
void denoiser_enqueue(Denoiser *d, const double *x, const void *table) {
    const Backend *be = d->dev->be;
    const double *c_in = table;
    Term scaled = {x, DG_F64, c_in};
    be->copy(d->dev, d->exec->data[d->net.noise], c_in + d->batch, noise_count(d) * dtype_bytes(noise_type(d)));
    be->combine(d->dev, d->exec->data[d->net.x], d->graph->t[d->net.x].dtype, d->batch, d->per_sample, &scaled, 1);
    device_range_push(d->dev, "network");
    exec_run(d->exec);
    device_range_pop(d->dev);
}
void denoiser_run(Denoiser *d, const double *x, const double *sigma, PrecondCoef *coef) {
    denoiser_fill(d, d->host_table, NULL, sigma, coef);
    exec_set(d->exec, d->table, d->graph->t[d->table].dtype, d->host_table);
    denoiser_enqueue(d, x, d->exec->data[d->table]);
}
Term denoiser_output(const Denoiser *d, const double *coef) {
    return (Term){d->exec->data[d->net.out], d->graph->t[d->net.out].dtype, coef};
}
bool denoiser_apply(Denoiser *d, double *x, const double *sigma, Error *e) {
    const Backend *be = d->dev->be;
    size_t n = (size_t)d->batch, bytes = 2 * n * sizeof(double);
    double *device = be->alloc(d->dev, bytes); /* c_skip of each image, then c_out */
    if (!device) return dg_out_of_memory(e, "not enough memory on device %s for %zu coefficients", be->name, 2 * n);
    double *skip_out = dg_alloc(bytes);
    PrecondCoef *coef = dg_alloc(n * sizeof *coef);
    denoiser_run(d, x, sigma, coef);
    for (size_t i = 0; i < n; i++) skip_out[i] = (double)coef[i].c_skip, skip_out[n + i] = (double)coef[i].c_out;
    be->upload(d->dev, device, skip_out, bytes);
    Term term[] = {{x, DG_F64, device}, denoiser_output(d, device + n)};
    be->combine(d->dev, x, DG_F64, d->batch, d->per_sample, term, 2);
    be->release(d->dev, device);
    free(coef), free(skip_out);
    return true;
}
