/* eval_measure.c -- the measures of `eval`, of one set of images beside a reference. */
#include "measure/moments.h"
#include "measure/products.h"
#include "models/arguments.h"
#include "program/eval.h"
#include <stdlib.h>
#include <string.h>

static void put(EvalResult *r, const char *name, double value) {
    DG_CHECK(r->values < MAX_VALUES, "more than %d values", MAX_VALUES);
    r->value[r->values].name = name;
    r->value[r->values++].value = value;
}

/* ---- distances of statistics ------------------------------------------------------------------------------------------------------- */
static uint64_t next_random(uint64_t *state) { /* SplitMix64 */
    uint64_t z = *state += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}
/* Of as many images drawn from the set, with replacement. */
static bool drawn_distance(const EvalJob *j, const EvalSet *s, const EvalSet *reference, uint64_t *state, double *out, Error *e) {
    size_t d = (size_t)s->dims;
    ExactSums *sums = exact_new(s->dims, grid_f32, NULL, e);
    float *block = dg_alloc(256 * d * sizeof *block);
    Gaussian g = {0};
    Frechet f = {0};
    bool ok = sums != NULL;
    for (size_t first = 0, rows; ok && first < s->rows; first += rows) {
        rows = s->rows - first < 256 ? s->rows - first : 256;
        for (size_t i = 0; i < rows; i++) memcpy(block + i * d, s->features + next_random(state) % s->rows * d, d * sizeof *block);
        ok = exact_add(sums, DG_F32, block, rows, first, e);
    }
    ok =
        ok && exact_gaussian(sums, eval_divisor(j, false, s->rows), &g, e) && frechet_distance(&g, &reference->pool, j->o->fd_trunc, &f, e);
    *out = f.distance;
    gaussian_free(&g);
    exact_free(sums);
    free(block);
    return ok;
}
/* The standard error by bootstrap: the spread of the distances of sets drawn from the set. */
static bool bootstrap(EvalResult *r, const EvalJob *j, const EvalSet *s, const EvalSet *reference, const char *name, Error *e) {
    size_t n = (size_t)j->o->bootstrap;
    double *value = dg_alloc(n * sizeof *value), mean, std;
    uint64_t state = 0;
    bool ok = true;
    for (size_t i = 0; ok && i < n; i++) ok = !interrupted(j->interrupt) && drawn_distance(j, s, reference, &state, &value[i], e);
    if (ok) {
        mean_and_std(value, n, &mean, &std);
        put(r, name, std * sqrt((double)n / (double)(n - 1)));
    }
    free(value);
    return ok;
}
static bool measure_distances(EvalResult *r, EvalJob *j, const EvalSet *images, const EvalSet *reference, Error *e) {
    bool fid = j->metrics >> METRIC_FID & 1, sfid = j->metrics >> METRIC_SFID & 1, trunc = j->o->fd_trunc;
    if (fid && !frechet_distance(&images->pool, &reference->pool, trunc, &r->fid, e)) return false;
    if (fid) put(r, j->p.extractor ? "fd" : "fid", r->fid.distance);
    if (fid && r->fid.rank_deficient) eval_notice(j, "a set of no more images than features: the distance depends on their number");
    if (fid && j->o->bootstrap && !bootstrap(r, j, images, reference, j->p.extractor ? "fd_se" : "fid_se", e)) return false;
    if (sfid && !frechet_distance(&images->spatial, &reference->spatial, trunc, &r->sfid, e)) return false;
    if (sfid) put(r, "sfid", r->sfid.distance);
    return true;
}

/* ---- measures of single images ------------------------------------------------------------------------------------------------------ */
float *eval_last_layer(const EvalJob *j, int dims, int *classes, Error *e) {
    if (!argument_int(weights_config(j->weights), "num_classes", 1008, 0, MAX_LABELS, classes, e))
        return dg_error_context(e, "%s", weights_name(j->weights)), NULL;
    if (!*classes) return dg_error(e, "%s has no last layer, which the Inception Score needs", weights_name(j->weights)), NULL;
    float *layer = dg_alloc((size_t)*classes * (size_t)dims * sizeof *layer);
    Shape shape = {*classes, 1, 1, dims};
    if (weights_read(j->weights, "fc.weight", shape, (WeightView){.kind = VIEW_CONV}, DG_F32, layer, e)) return layer;
    free(layer);
    return NULL;
}
/* Logits without their bias are the pool times the last layer, so that features which a file keeps have a score too. */
static bool measure_score(EvalResult *r, EvalJob *j, const EvalSet *s, Error *e) {
    enum { BLOCK = 4096 };
    int classes = 0;
    if (!eval_weights(j, e)) return false;
    if (s->stored && !(eval_hash_network(j, NULL, e) && eval_check_network(j, "--inception", e))) return false;
    size_t n = s->rows, d = (size_t)s->dims;
    float *layer = eval_last_layer(j, s->dims, &classes, e), *logits = layer ? malloc(n * (size_t)classes * sizeof *logits + 1) : NULL;
    bool ok = layer && (logits || dg_error(e, "there is no memory for the %d logits of %zu images", classes, n));
    for (size_t first = 0, rows; ok && first < n; first += rows) {
        rows = n - first < BLOCK ? n - first : BLOCK;
        ProductShape shape = {.of = ROWS, .m = (int)rows, .n = classes, .k = s->dims, .lda = s->dims, .ldb = s->dims, .ldc = classes};
        products_best()->f32(shape, s->features + first * d, layer, logits + first * (size_t)classes);
    }
    InceptionScore score = {0};
    ok = ok && inception_score(logits, n, classes, j->p.score, &score, e);
    if (ok) put(r, "is", score.mean), put(r, "is_std", score.std);
    if (ok && s->sorted && !j->p.score.shuffled)
        eval_notice(j, "the images are sorted by class: parts of them in their order have few classes each, and a score that is too low");
    inception_score_free(&score);
    free(layer), free(logits);
    return ok;
}
static bool measure_neighbours(EvalResult *r, const EvalJob *j, const EvalSet *images, const EvalSet *reference, Error *e) {
    Neighbours n;
    if (!neighbours_measure(reference->features, reference->rows, images->features, images->rows, images->dims, j->p.neighbours, &n, e))
        return false;
    if (j->metrics >> METRIC_PR & 1) put(r, "precision", n.precision), put(r, "recall", n.recall);
    if (j->metrics >> METRIC_DC & 1) put(r, "density", n.density), put(r, "coverage", n.coverage);
    return true;
}
static bool measure_kernel(EvalResult *r, const EvalJob *j, const EvalSet *images, const EvalSet *reference, Error *e) {
    KernelDistance k;
    if (!kernel_distance(images->features, images->rows, reference->features, reference->rows, images->dims, j->p.kernel, &k, e))
        return false;
    put(r, "kid", k.mean), put(r, "kid_std", k.std);
    r->kid_size = k.size;
    return true;
}
bool eval_measure(EvalResult *r, EvalJob *j, const EvalSet *images, const EvalSet *reference, Error *e) {
    const unsigned m = j->metrics, rows = 1u << METRIC_PR | 1u << METRIC_DC | 1u << METRIC_KID;
    *r = (EvalResult){.values = 0};
    bool ok = true;
    if (m & rows && images->dims != reference->dims)
        ok = dg_error(e, "features of %d and of %d dimensions: they are of different networks", images->dims, reference->dims);
    ok = ok && measure_distances(r, j, images, reference, e);
    if (ok && m >> METRIC_IS & 1) ok = measure_score(r, j, images, e);
    if (ok && m & (1u << METRIC_PR | 1u << METRIC_DC)) ok = measure_neighbours(r, j, images, reference, e);
    if (ok && m >> METRIC_KID & 1) ok = measure_kernel(r, j, images, reference, e);
    if (ok && m >> METRIC_CLASS & 1)
        ok = images->classes
                 ? (put(r, "class", (double)images->classified / (double)images->classes), true)
                 : dg_error(e, "the images have no classes, which the measure class needs: an .npz with arr_1, or a dataset.json");
    char *name = eval_set_name(images);
    if (!ok) dg_error_context(e, "%s", name);
    free(name);
    return ok;
}
