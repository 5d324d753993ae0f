/* test_metrics.c -- feature statistics and the files of them. */
#include "measure/metrics.h"
#include "files/npz.h"
#include "hostile.h"
#include "spec_values.h"
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

static const char path[] = "/tmp/dg_test_metrics.npz";

static double *at(const Gaussian *g, int i, int j) { return &g->covariance[(size_t)i * (size_t)g->dims + (size_t)j]; }
static Gaussian gaussian_of(const double *rows, size_t n, int d) {
    Gaussian g = {0};
    Error e = {""};
    FeatureStats *s = stats_new(d);
    CHECK(stats_add(s, DG_F64, rows, n, &e) && stats_gaussian(s, &g, &e), "%s", e.text);
    stats_free(s);
    return g;
}

/* ---- statistics -------------------------------------------------------------------------------------------------- */
enum { ROWS = 300, DIMS = 13 };
static double *random_rows(double offset) {
    double *x = dg_alloc(ROWS * DIMS * sizeof *x);
    for (int i = 0; i < ROWS * DIMS; i++) x[i] = offset + uniform(5, (uint64_t)i) * (1 + i % DIMS);
    return x;
}
/* Two passes in long double. */
static void naive(const double *x, long double *mean, long double *covariance) {
    for (int i = 0; i < DIMS; i++) {
        mean[i] = 0;
        for (int k = 0; k < ROWS; k++) mean[i] += (long double)x[k * DIMS + i] / ROWS;
    }
    for (int i = 0; i < DIMS; i++)
        for (int j = 0; j < DIMS; j++) {
            long double sum = 0;
            for (int k = 0; k < ROWS; k++) sum += (x[k * DIMS + i] - mean[i]) * (x[k * DIMS + j] - mean[j]);
            covariance[i * DIMS + j] = sum / (ROWS - 1);
        }
}
/* An offset of 2^30 times the spread: E[xx] - E[x]E[x] would lose every digit. */
static void statistics(double offset) {
    double *x = random_rows(offset);
    long double mean[DIMS], covariance[DIMS * DIMS];
    naive(x, mean, covariance);
    Gaussian g = gaussian_of(x, ROWS, DIMS);
    CHECK(g.count == ROWS && g.dims == DIMS, "%d dimensions of %d rows", g.dims, (int)g.count);
    for (int i = 0; i < DIMS; i++) {
        /* each of the sums of ROWS terms may round once a term; the mean once more, at its own size */
        double spread = 1 + i, tolerance = ROWS * DBL_EPSILON * spread + 4 * DBL_EPSILON * fabs(offset);
        CHECK(fabs(g.mean[i] - (double)mean[i]) <= tolerance, "mean %d: %.17g, not %.17Lg", i, g.mean[i], mean[i]);
        for (int j = 0; j < DIMS; j++) {
            tolerance = 4 * ROWS * DBL_EPSILON * spread * (1 + j);
            double want = (double)covariance[i * DIMS + j];
            CHECK(fabs(*at(&g, i, j) - want) <= tolerance, "covariance %d %d: %.17g, not %.17g", i, j, *at(&g, i, j), want);
            CHECK(*at(&g, i, j) == *at(&g, j, i), "covariance %d %d: not symmetric", i, j);
        }
    }
    gaussian_free(&g);
    free(x);
}
static void same_bits(const Gaussian *a, const Gaussian *b, const char *what) {
    size_t d = DIMS;
    CHECK(a->mean && b->mean && !memcmp(a->mean, b->mean, d * sizeof *a->mean), "%s: another mean", what);
    CHECK(a->covariance && b->covariance && !memcmp(a->covariance, b->covariance, d * d * sizeof *a->covariance), "%s: another covariance",
          what);
}
static void splits(void) {
    double *x = random_rows(3);
    float *f = dg_alloc(ROWS * DIMS * sizeof *f);
    for (int i = 0; i < ROWS * DIMS; i++) x[i] = f[i] = (float)x[i];
    Gaussian whole = gaussian_of(x, ROWS, DIMS), g;
    Error e = {""};
    for (size_t batch = 1; batch <= ROWS; batch = batch * 2 + 1) {
        FeatureStats *s = stats_new(DIMS);
        for (size_t k = 0; k < ROWS; k += batch) {
            size_t n = k + batch < ROWS ? batch : ROWS - k;
            bool wide = k / batch % 2; /* floats and doubles of the same values mix */
            CHECK(stats_add(s, wide ? DG_F64 : DG_F32, wide ? (const void *)(x + k * DIMS) : f + k * DIMS, n, &e), "%s", e.text);
            if (k > 1 && stats_gaussian(s, &g, &e)) gaussian_free(&g); /* looking changes nothing */
        }
        char what[64];
        snprintf(what, sizeof what, "in batches of %zu", batch);
        CHECK(stats_gaussian(s, &g, &e), "%s", e.text);
        same_bits(&whole, &g, what);
        gaussian_free(&g);
        stats_free(s);
    }
    CHECK(gaussian_write(path, &whole, &e) && gaussian_read(path, &g, &e), "%s", e.text);
    CHECK(g.count == ROWS, "%d images", (int)g.count);
    same_bits(&whole, &g, "through a file");
    unlink(path);
    gaussian_free(&g);
    gaussian_free(&whole);
    free(x);
    free(f);
}

/* ---- what is refused --------------------------------------------------------------------------------------------- */
static void refused_rows(void) {
    Gaussian g;
    Hostile h = hostile_begin("no images");
    FeatureStats *s = stats_new(3);
    hostile_end(&h, stats_gaussian(s, &g, &h.e), "covariance", "at least 2 images, there are 0");
    float rows[6] = {1, 2, 3, 4, 5, 6};
    CHECK(stats_add(s, DG_F32, rows, 1, &h.e), "%s", h.e.text);
    h = hostile_begin("one image");
    hostile_end(&h, stats_gaussian(s, &g, &h.e), "covariance", "there are 1");
    const float bad[] = {NAN, INFINITY, -INFINITY};
    for (int i = 0; i < 3; i++) {
        rows[4] = bad[i];
        h = hostile_begin("a feature that is not finite");
        hostile_end(&h, stats_add(s, DG_F32, rows, 2, &h.e), "image", "feature 1 of image");
    }
    stats_free(s);
}
static void refused_file(const char *what, int dims_mu, const int64_t *mu, int dims_sigma, const int64_t *sigma, double value,
                         const char *fragment) {
    enum { VALUES = 64 };
    double data[VALUES];
    for (int i = 0; i < VALUES; i++) data[i] = value;
    size_t n = 1, m = 1;
    for (int i = 0; i < dims_mu; i++) n *= (size_t)mu[i];
    for (int i = 0; i < dims_sigma; i++) m *= (size_t)sigma[i];
    Error e = {""};
    NpzWriter *w = npz_writer_open(path, &e);
    CHECK(w && npz_writer_array(w, "mu", 'f', 8, dims_mu, mu, &e) && npz_writer_data(w, data, n * 8, &e), "%s", e.text);
    if (sigma) CHECK(npz_writer_array(w, "sigma", 'f', 8, dims_sigma, sigma, &e) && npz_writer_data(w, data, m * 8, &e), "%s", e.text);
    double images = 1;
    CHECK(npz_writer_array(w, "num_images", 'f', 8, 0, NULL, &e) && npz_writer_data(w, &images, 8, &e), "%s", e.text);
    CHECK(npz_writer_finish(w, &e), "%s", e.text);
    Gaussian g;
    Hostile h = hostile_begin(what);
    bool accepted = gaussian_read(path, &g, &h.e);
    hostile_end(&h, accepted, path, fragment);
    CHECK(accepted || (!g.mean && !g.covariance), "%s: something is left", what);
    if (accepted) gaussian_free(&g);
    unlink(path);
}
static void refused_files(void) {
#define SHAPE(...) (const int64_t[]){__VA_ARGS__}
    refused_file("no sigma", 1, SHAPE(3), 0, NULL, 1, "no array sigma");
    refused_file("a mean that is a matrix", 2, SHAPE(3, 1), 2, SHAPE(3, 3), 1, "mu is not a vector");
    refused_file("a mean of no values", 1, SHAPE(0), 2, SHAPE(0, 0), 1, "mu is not a vector");
    refused_file("a covariance that is a vector", 1, SHAPE(3), 1, SHAPE(9), 1, "sigma does not have the shape (3, 3)");
    refused_file("a covariance of another size", 1, SHAPE(3), 2, SHAPE(4, 4), 1, "sigma does not have the shape (3, 3)");
    refused_file("a covariance that is not square", 1, SHAPE(3), 2, SHAPE(3, 4), 1, "sigma does not have the shape (3, 3)");
    refused_file("negative variances", 1, SHAPE(3), 2, SHAPE(3, 3), -1, "the variance of feature 0 is -1");
    refused_file("NaN", 1, SHAPE(3), 2, SHAPE(3, 3), NAN, "mu: value 0 is not a finite number");
    refused_file("one image", 1, SHAPE(3), 2, SHAPE(3, 3), 1, "num_images");
}

int main(void) {
    statistics(0);
    statistics(1 << 30);
    splits();
    refused_rows();
    refused_files();
    return check_done("test_metrics");
}
