/* decoder.c -- an autoencoder's decoder on a device. */
#include "sample/decoder.h"
#include "base/dtype.h"
#include <math.h>
#include <stdlib.h>

static const double SCALING_FACTOR = 0.18215; /* Stable Diffusion's: latents are the encoder's times this */

Precision decoder_precision(Precision device) { return device.act == DG_F16 ? (Precision){DG_BF16, false} : device; }
Decoder *decoder_plan(const Json *config, Shape state, Precision precision, int rows, bool fuse, Error *e) {
    Decoder *d = dg_alloc(sizeof *d);
    d->rows = rows, d->net = net_new(SPAN_AUTOENCODER, precision, rows, fuse);
    if (!model_find(config, model_vae.kind, e)) return decoder_free(d), NULL;
    Tid x = g_input(d->net->graph, "x", (Shape){rows, state.h, state.w, state.c});
    const Ports *p = net_add(d->net, &model_vae, config, "", x, e);
    if (!p) return decoder_free(d), NULL;
    net_plan(d->net, p->out);
    d->picture = shape_of(d->net->graph, d->net->out), d->picture.n = 1;
    return d;
}
bool latent_scale(const Json *config, double *factor, Error *e) {
    if (!json_get_double(config, "scaling_factor", SCALING_FACTOR, factor, e)) return false;
    return (*factor > 0 && isfinite(*factor)) || dg_error(e, "\"scaling_factor\" is %g, not a positive number", *factor);
}
/* Latents are divided by the factor once for all: it is the same for every image and call. */
static bool bind(Decoder *d, Device *dev, Weights *w, Error *e) {
    double factor;
    if (!latent_scale(weights_config(w), &factor, e) || !net_bind(d->net, dev, &w, e)) return false;
    Net *n = d->net;
    double *scale = dg_alloc((size_t)d->rows * sizeof *scale);
    for (int i = 0; i < d->rows; i++) scale[i] = 1 / factor;
    net_fill(n, d->rows, n->host_table, scale, NULL);
    exec_set(n->exec, n->table, n->graph->t[n->table].dtype, n->host_table);
    free(scale);
    return true;
}
Decoder *decoder_new(Device *dev, Weights *w, Shape state, int rows, bool fuse, Error *e) {
    Decoder *d = decoder_plan(weights_config(w), state, decoder_precision(dev->precision), rows, fuse, e);
    if (d && bind(d, dev, w, e)) return d;
    dg_error_context(e, "%s", weights_name(w));
    decoder_free(d);
    return NULL;
}
void decoder_free(Decoder *d) {
    if (!d) return;
    net_free(d->net);
    free(d);
}
void decoder_enqueue(Decoder *d, int rows, const double *x, const Picture *p, uint8_t *bytes, int *bad) {
    Net *n = d->net;
    const Backend *be = n->dev->be;
    size_t size = picture_bytes(p);
    device_range_push(n->dev, SPAN_DECODE);
    for (int at = 0; at < rows; at += d->rows) {
        int some = rows - at < d->rows ? rows - at : d->rows;
        net_enqueue(n, some, 1, x + (size_t)at * n->per_sample, n->exec->data[n->table]);
        Term y = net_output(n, NULL);
        device_range_push(n->dev, SPAN_STATE);
        be->to_u8(n->dev, bytes + (size_t)at * size, y.data, y.type, some, size, p->scale, p->offset, bad + at);
        device_range_pop(n->dev, SPAN_STATE);
    }
    device_range_pop(n->dev, SPAN_DECODE);
}
