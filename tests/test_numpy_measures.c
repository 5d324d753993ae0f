/* test_numpy_measures.c -- every measure of made-up features beside what NumPy computes from the definitions (numpy_measures.py). */
#include "check.h"
#include "files/npz.h"
#include "measure/exact_sums.h"
#include "measure/frechet.h"
#include "measure/inception_score.h"
#include "measure/kernel_distance.h"
#include "measure/neighbours.h"
#include "spec_values.h"
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

enum { REFERENCE = 500, GENERATED = 700, DIMS = 48, CLASSES = 30, K = 3, SUBSETS = 4, SUBSET = 300 };

static void array(NpzWriter *w, const char *name, int bytes, int64_t rows, int64_t columns, const void *data) {
    Error e = {""};
    int64_t shape[2] = {rows, columns};
    int dims = columns ? 2 : rows ? 1 : 0;
    size_t n = (size_t)(rows ? rows : 1) * (size_t)(columns ? columns : 1);
    CHECK(npz_writer_array(w, name, 'f', bytes, dims, shape, &e) && npz_writer_data(w, data, n * (size_t)bytes, &e), "%s: %s", name,
          e.text);
}
/* Gaussian-like features whose directions have a common part, so that neighbours are worth the name. */
static float *features(uint64_t seed, size_t n, double shift, double spread) {
    float *x = dg_alloc(n * DIMS * sizeof *x);
    for (size_t i = 0; i < n; i++)
        for (uint64_t j = 0; j < DIMS; j++) {
            double sum = shift;
            for (uint64_t t = 0; t < 4; t++) sum += spread * (uniform(seed, i * 4 + t) - 0.5) * uniform(3, t * DIMS + j);
            x[i * DIMS + j] = (float)(sum + 0.3 * uniform(seed + 100, i * DIMS + j));
        }
    return x;
}
static Gaussian gaussian_of(const float *x, size_t n) {
    Gaussian g = {0};
    Error e = {""};
    ExactSums *s = exact_new(DIMS, grid_f32, NULL, &e);
    CHECK(s && exact_add(s, DG_F32, x, n, 0, &e) && exact_gaussian(s, (Divisor){.ddof = 1}, &g, &e), "%s", e.text);
    exact_free(s);
    return g;
}
static void write_measures(NpzWriter *w, const float *real, const float *fake, const float *logits) {
    Error e = {""};
    for (int half = 0; half < 2; half++) {
        Neighbours n = {0};
        NeighbourOptions o = {.k = K, .arithmetic = half ? DISTANCE_ADM_HALF : DISTANCE_FLOAT};
        CHECK(neighbours_measure(real, REFERENCE, fake, GENERATED, DIMS, o, &n, &e), "%s", e.text);
        CHECK(n.precision > 0.05 && n.precision < 0.95 && n.recall > 0.05 && n.recall < 0.95, "sets that show little: %g, %g", n.precision,
              n.recall);
        const double counts[4] = {(double)n.precise, (double)n.recalled, (double)n.dense, (double)n.covered};
        array(w, half ? "half" : "float", 8, 4, 0, counts);
    }
    Gaussian a = gaussian_of(real, REFERENCE), b = gaussian_of(fake, GENERATED);
    Frechet f = {0};
    CHECK(frechet_distance(&a, &b, false, &f, &e), "%s", e.text);
    array(w, "frechet", 8, 0, 0, &f.distance);
    gaussian_free(&a);
    gaussian_free(&b);
    KernelDistance k = {0};
    CHECK(kernel_distance(fake, GENERATED, real, REFERENCE, DIMS, (KernelSubsets){SUBSETS, SUBSET, 2020}, &k, &e), "%s", e.text);
    InceptionScore s;
    CHECK(inception_score(logits, GENERATED, CLASSES, (ScoreSplits){.splits = 10, .shuffled = true, .seed = 2020}, &s, &e), "%s", e.text);
    const double kid[2] = {k.mean, k.std}, score[2] = {s.mean, s.std}, size = SUBSET, subsets = SUBSETS, neighbours = K;
    array(w, "kid", 8, 2, 0, kid);
    array(w, "score", 8, 2, 0, score);
    array(w, "kid_size", 8, 0, 0, &size);
    array(w, "kid_subsets", 8, 0, 0, &subsets);
    array(w, "k", 8, 0, 0, &neighbours);
    inception_score_free(&s);
}
static void beside_numpy(const char *python) {
    char path[64];
    snprintf(path, sizeof path, "/tmp/dg_test_numpy_measures_%d.npz", (int)getpid());
    Error e = {""};
    float *real = features(1, REFERENCE, 0, 2), *fake = features(2, GENERATED, 0.2, 1.2);
    float *logits = dg_alloc(GENERATED * CLASSES * sizeof *logits);
    for (uint64_t i = 0; i < GENERATED * CLASSES; i++) logits[i] = (float)(8 * uniform(4, i));
    NpzWriter *w = npz_writer_open(path, &e);
    CHECK(w, "%s", e.text);
    array(w, "reference", 4, REFERENCE, DIMS, real);
    array(w, "generated", 4, GENERATED, DIMS, fake);
    array(w, "logits", 4, GENERATED, CLASSES, logits);
    write_measures(w, real, fake, logits);
    CHECK(npz_writer_finish(w, &e), "%s", e.text);
    char command[512];
    snprintf(command, sizeof command, "%s tests/numpy_measures.py %s", python, path);
    CHECK(system(command) == 0, "NumPy computes something else");
    unlink(path);
    free(real), free(fake), free(logits);
}
int main(void) {
#ifdef DG_HAVE_LAPACK
    const bool lapack = true;
#else
    const bool lapack = false;
#endif
    const char *python = getenv("DG_PYTHON") ? getenv("DG_PYTHON") : "python3";
    char command[512];
    snprintf(command, sizeof command, "%s -c 'import numpy' 2>/dev/null", python);
    if (!lapack) not_run("all measures beside NumPy's: built without LAPACK");
    else if (system(command) != 0) not_run("all measures beside NumPy's: %s has no numpy (DG_PYTHON names another)", python);
    else beside_numpy(python);
    return check_done("test_numpy_measures");
}
