/* shapes32_fid.c -- how far images are from the shapes32 data: the Frechet distance in the extractor's feature space,
 * its standard deviation over bootstrap samples, and the share of images that the extractor takes for the class asked
 * for. shapes32_fid DEVICE EXTRACTOR.safetensors REFERENCE.npz IMAGES.npz... IMAGES: arr_0 (uint8 NHWC) and the classes
 * as arr_1 or label. Prints a row of a table for each. A feature is the extractor's output after the middle block for
 * the clean image, u8/127.5 - 1 at t = 0, averaged over its positions. models/shapes32/README.md has the values that
 * the official code gives.                                  */
#include "measure/metrics.h"
#include "measure/frechet.h"
#include "files/npz.h"
#include "models/adm_encoder.h"
#include "run/net.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 50, BOOTSTRAPS = 100 };
typedef struct {
    Net *net;
    const EncoderConfig *config;
    const Ports *ports; /* out: the classes' logits */
    double *image;      /* device, [BATCH][per_sample] */
} Extractor;
typedef struct {
    NpyArray images, labels;
    size_t count, dims;
    float *features; /* [count][dims] */
    size_t correct;
} Set;

static bool extractor_open(Extractor *x, Device *dev, Weights *w, Error *e) {
    *x = (Extractor){.net = net_new("extractor", dev->precision, BATCH, true)};
    if (!(x->ports = net_add(x->net, &model_classifier, weights_config(w), "", 0, e))) return dg_error_context(e, "%s", weights_name(w));
    x->config = x->net->part[0].config;
    g_output(x->net->graph, x->ports->features);
    net_plan(x->net, x->ports->out);
    if (!net_bind(x->net, dev, &w, e)) return false;
    x->image = dev->be->alloc(dev, BATCH * x->net->per_sample * sizeof *x->image);
    return x->image || dg_out_of_memory(e, "not enough memory on device %s for %d images", dev->be->name, BATCH);
}
static void extractor_close(Extractor *x, Device *dev) {
    if (x->image) dev->be->release(dev, x->image);
    net_free(x->net);
}

static bool read_images(const char *path, const EncoderConfig *c, Set *s, Error *e) {
    Npz *z = npz_open(path, e);
    if (!z) return false;
    bool ok = npz_read(z, "arr_0", &s->images, e) && npz_read(z, npz_has(z, "label") ? "label" : "arr_1", &s->labels, e);
    npz_close(z);
    if (!ok) return false;
    const int64_t *shape = s->images.shape;
    if (s->images.dtype != 'u' || s->images.bytes != 1 || s->images.dims != 4 || shape[1] != c->image_size || shape[2] != c->image_size ||
        shape[3] != c->in_channels)
        return dg_error(e, "%s: arr_0 does not hold 8-bit images of %d x %d with %d channels", path, c->image_size, c->image_size,
                        c->in_channels);
    if (s->labels.dims != 1 || s->labels.shape[0] != shape[0]) return dg_error(e, "%s: there is not a class for each image", path);
    s->count = (size_t)shape[0];
    return true;
}
/* Features, and how many of the classes the classifier finds. */
static void extract(Extractor *x, Set *s) {
    const uint8_t *pixel = s->images.data;
    Device *dev = x->net->dev;
    Shape f = shape_of(x->net->graph, x->ports->features);
    size_t per_image = s->images.count / s->count, positions = (size_t)f.h * (size_t)f.w, classes = (size_t)x->config->out_channels;
    double *in = dg_alloc(BATCH * per_image * sizeof *in), zero[BATCH] = {0};
    float *out = dg_alloc(shape_count(f) * sizeof *out);
    float *logit = dg_alloc(BATCH * classes * sizeof *logit);
    s->dims = (size_t)f.c;
    s->features = dg_alloc(s->count * s->dims * sizeof *s->features);
    for (size_t first = 0; first < s->count; first += BATCH) {
        size_t n = s->count - first < BATCH ? s->count - first : BATCH;
        for (size_t i = 0; i < n * per_image; i++) in[i] = (double)((float)pixel[first * per_image + i] / 127.5f - 1);
        dev->be->upload(dev, x->image, in, n * per_image * sizeof *in);
        net_run(x->net, (int)n, x->image, NULL, zero);
        exec_get_rows(x->net->exec, x->ports->features, (int)n, DG_F32, out);
        exec_get_rows(x->net->exec, x->ports->out, (int)n, DG_F32, logit);
        for (size_t i = 0; i < n; i++) {
            for (size_t c = 0; c < s->dims; c++) {
                double sum = 0;
                for (size_t p = 0; p < positions; p++) sum += (double)out[(i * positions + p) * s->dims + c];
                s->features[(first + i) * s->dims + c] = (float)(sum / (double)positions);
            }
            size_t best = 0;
            for (size_t c = 1; c < classes; c++)
                if (logit[i * classes + c] > logit[i * classes + best]) best = c;
            s->correct += (double)best == npy_value(&s->labels, first + i);
        }
    }
    free(in);
    free(out);
    free(logit);
}
/* SplitMix64 */
static uint64_t next_random(uint64_t *state) {
    uint64_t z = *state += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}
/* With state: of as many images drawn from the set, with replacement. */
static bool distance(const Set *s, const Gaussian *reference, uint64_t *state, Frechet *f, Error *e) {
    FeatureStats *stats = stats_new((int)s->dims);
    Gaussian g = {0};
    bool ok = true;
    for (size_t i = 0; i < s->count && ok; i++) {
        size_t k = state ? (size_t)(next_random(state) % s->count) : i;
        ok = stats_add(stats, DG_F32, s->features + k * s->dims, 1, e);
    }
    ok = ok && stats_gaussian(stats, &g, e) && frechet_distance(&g, reference, false, f, e);
    gaussian_free(&g);
    stats_free(stats);
    return ok;
}
static bool report(const char *path, const Set *s, const Gaussian *reference, Error *e) {
    Frechet f, b;
    if (!distance(s, reference, NULL, &f, e)) return dg_error_context(e, "%s", path);
    double sum = 0, squares = 0;
    uint64_t state = 0;
    for (int i = 0; i < BOOTSTRAPS; i++) {
        if (!distance(s, reference, &state, &b, e)) return dg_error_context(e, "%s", path);
        double d = b.distance - f.distance; /* around the set's own: no cancellation */
        sum += d, squares += d * d;
    }
    double sd = sqrt((squares - sum * sum / BOOTSTRAPS) / (BOOTSTRAPS - 1));
    printf("| %s | %zu | %.3f | %.2f | %.3f | %.3f |%s\n", path, s->count, f.distance, sd, f.mean_term,
           (double)s->correct / (double)s->count, f.rank_deficient ? " fewer images than dimensions: not comparable" : "");
    return true;
}
static bool evaluate(Extractor *x, const Gaussian *reference, const char *path, Error *e) {
    Set s = {0};
    bool ok = read_images(path, x->config, &s, e);
    if (ok) extract(x, &s);
    ok = ok && report(path, &s, reference, e);
    npy_free(&s.images);
    npy_free(&s.labels);
    free(s.features);
    return ok;
}
static bool run(int argc, char **argv, Error *e) {
    Gaussian reference;
    Extractor x = {0};
    if (!gaussian_read(argv[3], &reference, e)) return false;
    Device *dev = device_open(argv[1], NULL, e);
    Weights *w = dev ? weights_open(argv[2], e) : NULL;
    bool ok = w && extractor_open(&x, dev, w, e);
    if (ok) printf("| images | number | distance | sd | of the means | class |\n|---|--:|--:|--:|--:|--:|\n");
    for (int i = 4; i < argc && ok; i++) ok = evaluate(&x, &reference, argv[i], e);
    extractor_close(&x, dev);
    weights_free(w);
    device_close(dev);
    gaussian_free(&reference);
    return ok;
}
int main(int argc, char **argv) {
    Error e = {""};
    if (argc < 5) fprintf(stderr, "usage: shapes32_fid DEVICE EXTRACTOR.safetensors REFERENCE.npz IMAGES.npz...\n");
    else if (run(argc, argv, &e)) return 0;
    else fprintf(stderr, "shapes32_fid: %s\n", e.text);
    return argc < 5 ? 2 : 1;
}
