/* shapes32_fid.c -- how far images are from the shapes32 data: the Frechet distance in the extractor's feature space,
 * its standard deviation over bootstrap samples, and the share of images that the extractor takes for the class asked
 * for. shapes32_fid DEVICE EXTRACTOR.safetensors REFERENCE.npz IMAGES.npz... IMAGES: arr_0 (uint8 NHWC) and the classes
 * as arr_1 or label. Prints a row of a table for each. A feature is the extractor's output after the middle block for
 * the clean image, u8/127.5 - 1 at t = 0, averaged over its positions. models/shapes32/README.md has the values that
 * the official code gives.                                  */
#include "measure/metrics.h"
#include "device/device.h"
#include "files/npz.h"
#include "models/models.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 50, BOOTSTRAPS = 100 };
typedef struct {
    EncoderConfig config;
    Graph *graph;
    EncoderGraph net;
    Tid x;
    Exec *exec;
} Extractor;
typedef struct {
    NpyArray images, labels;
    size_t count, dims;
    float *features; /* [count][dims] */
    size_t correct;
} Set;

static void extractor_free(Extractor *x) {
    exec_free(x->exec);
    if (x->graph) graph_free(x->graph);
}
static bool extractor_open(Extractor *x, Device *dev, Weights *w, Error *e) {
    *x = (Extractor){0};
    if (!encoder_config(&x->config, weights_config(w), e)) return dg_error_context(e, "%s", weights_name(w));
    const EncoderConfig *c = &x->config;
    Graph *g = x->graph = graph_new(dev->precision);
    x->x = g_input(g, "x", (Shape){BATCH, c->image_size, c->image_size, c->in_channels});
    if (!encoder_build(g, c, "", x->x, true, &x->net, e)) return false;
    g_output(g, x->net.features);
    g_output(g, x->net.logit);
    graph_fuse(g);
    graph_plan(g);
    if (!(x->exec = exec_new(g, dev, w, e)) || !weights_check_unused(w, NULL, 0, e)) return false;
    size_t width = (size_t)c->model_channels;
    float *temb = dg_alloc(BATCH * width * sizeof *temb);
    for (size_t i = 0; i < BATCH; i++) encoder_time_embedding(c, 0, temb + i * width);
    exec_set(x->exec, x->net.temb, DG_F32, temb);
    free(temb);
    return true;
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
    Shape f = shape_of(x->graph, x->net.features);
    size_t per_image = s->images.count / s->count, positions = (size_t)f.h * (size_t)f.w, classes = (size_t)x->config.out_channels;
    float *in = dg_alloc(BATCH * per_image * sizeof *in), *out = dg_alloc(shape_count(f) * sizeof *out);
    float *logit = dg_alloc(BATCH * classes * sizeof *logit);
    s->dims = (size_t)f.c;
    s->features = dg_alloc(s->count * s->dims * sizeof *s->features);
    for (size_t first = 0; first < s->count; first += BATCH) {
        size_t n = s->count - first < BATCH ? s->count - first : BATCH;
        for (size_t i = 0; i < n * per_image; i++) in[i] = (float)pixel[first * per_image + i] / 127.5f - 1;
        exec_set(x->exec, x->x, DG_F32, in);
        exec_run(x->exec);
        exec_get(x->exec, x->net.features, DG_F32, out);
        exec_get(x->exec, x->net.logit, DG_F32, logit);
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
    ok = ok && stats_gaussian(stats, &g, e) && frechet_distance(&g, reference, f, e);
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
    bool ok = read_images(path, &x->config, &s, e);
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
    extractor_free(&x);
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
