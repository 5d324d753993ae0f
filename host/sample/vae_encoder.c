/* vae_encoder.c -- an autoencoder's encoder on a device, and samples of what it says. */
#include "sample/vae_encoder.h"
#include "base/rng.h"
#include "sample/decoder.h"
#include <math.h>
#include <stdlib.h>

static const double LEAST_LOG = -30, MOST_LOG = 20; /* of a variance, where it is sampled (diffusers' DiagonalGaussianDistribution) */

static bool find_size(const Json *config, int *size, Error *e) {
    enum { MOST_LEVELS = 16 };
    int channels[MOST_LEVELS], levels;
    void *checked = model_config(&model_vae_encoder, config, e);
    if (!checked) return false;
    free(checked);
    if (!*size && !json_get_int(config, "sample_size", 256, size, e)) return false;
    if (!json_get_ints(config, "block_out_channels", channels, MOST_LEVELS, &levels, e)) return false;
    int step = levels > 0 ? 1 << (levels - 1) : 1;
    return *size % step == 0 || dg_error(e, "pictures of %dx%d: their sides have to be multiples of %d", *size, *size, step);
}
static bool bind(VaeEncoder *v, Device *dev, Weights *w, Error *e) {
    Net *n = v->net;
    if (!latent_scale(weights_config(w), &v->scale, e) || !net_bind(n, dev, &w, e)) return false;
    net_fill(n, v->rows, n->host_table, NULL, NULL);
    exec_set(n->exec, n->table, n->graph->t[n->table].dtype, n->host_table);
    return true;
}
static bool build(VaeEncoder *v, Device *dev, Weights *w, bool fuse, Error *e) {
    enum { RGB = 3 };
    const Json *config = weights_config(w);
    if (!model_find(config, model_vae_encoder.kind, e) || !find_size(config, &v->size, e)) return false;
    v->net = net_new(SPAN_ENCODE, decoder_precision(dev->precision), v->rows, fuse);
    Tid x = g_input(v->net->graph, "x", (Shape){v->rows, v->size, v->size, RGB});
    const Ports *p = net_add(v->net, &model_vae_encoder, config, "", x, e);
    if (!p) return false;
    net_plan(v->net, p->out);
    v->latents = shape_of(v->net->graph, v->net->out);
    v->latents.n = 1, v->latents.c /= 2;
    return bind(v, dev, w, e);
}
VaeEncoder *vae_encoder_new(Device *dev, Weights *w, int size, int rows, bool fuse, Error *e) {
    VaeEncoder *v = dg_alloc(sizeof *v);
    *v = (VaeEncoder){.rows = rows, .size = size};
    if (build(v, dev, w, fuse, e)) return v;
    dg_error_context(e, "%s", weights_name(w));
    vae_encoder_free(v);
    return NULL;
}
void vae_encoder_free(VaeEncoder *v) {
    if (!v) return;
    net_free(v->net);
    free(v);
}
void vae_encoder_enqueue(VaeEncoder *v, int rows, const double *x) { net_enqueue(v->net, rows, 1, x, v->net->exec->data[v->net->table]); }
void vae_encoder_moments(VaeEncoder *v, int rows, double *moments) { exec_get_rows(v->net->exec, v->net->out, rows, DG_F64, moments); }
bool vae_encoder_latents(const VaeEncoder *v, const double *moments, const uint64_t *seed, float *out) {
    size_t channels = (size_t)v->latents.c, pixels = (size_t)v->latents.h * (size_t)v->latents.w;
    bool finite = true;
    for (size_t j = 0; j < pixels * channels; j++) { /* in the order of a sampler's state, which numbers the noise */
        size_t pixel = j / channels, c = j % channels;
        double mean = moments[pixel * 2 * channels + c], log_variance = moments[pixel * 2 * channels + channels + c], noise[2] = {0};
        if (seed) philox_normal_pair(*seed, j / 2, RNG_STEP_POSTERIOR, noise);
        double deviation = exp(.5 * fmin(fmax(log_variance, LEAST_LOG), MOST_LOG));
        float value = (float)(v->scale * (mean + (seed ? deviation * noise[j % 2] : 0)));
        finite &= isfinite(log_variance) && isfinite(value); /* the limits would hide a NaN */
        out[c * pixels + pixel] = value;
    }
    return finite;
}
