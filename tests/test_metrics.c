/* test_metrics.c -- feature statistics and the Frechet distance: closed forms, values computed elsewhere with 50
 * digits, and what must not change a distance. */
#include "measure/metrics.h"
#include "files/npz.h"
#include "hostile.h"
#include "spec_values.h"
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

static const char path[] = "/tmp/dg_test_metrics.npz";

static Gaussian gaussian_new(int d) {
    Gaussian g = {.dims = d};
    g.mean = dg_alloc((size_t)d * sizeof *g.mean);
    g.covariance = dg_alloc((size_t)d * (size_t)d * sizeof *g.covariance);
    return g;
}
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
    Gaussian a = gaussian_new(2), b = gaussian_new(3);
    Frechet f;
    h = hostile_begin("different features");
    hostile_end(&h, frechet_distance(&a, &b, &f, &h.e), "statistics", "2 and 3 dimensions");
    gaussian_free(&a);
    gaussian_free(&b);
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
    refused_file("NaN", 1, SHAPE(3), 2, SHAPE(3, 3), NAN, "mu: value 0 is not a finite number");
    refused_file("one image", 1, SHAPE(3), 2, SHAPE(3, 3), 1, "num_images");
}

/* ---- distances --------------------------------------------------------------------------------------------------- */
static Frechet distance(const Gaussian *a, const Gaussian *b) {
    Frechet f = {0};
    Error e = {""};
    CHECK(frechet_distance(a, b, &f, &e), "%s", e.text);
    return f;
}
static void check_distance(const char *what, Frechet f, double want, double tolerance) {
    CHECK(fabs(f.distance - want) <= tolerance, "%s: %.17g, not %.17g +- %g", what, f.distance, want, tolerance);
}
/* Diagonal covariances and means with a period; the distance is sum (sqrt a - sqrt b)^2 + sum (mu_a - mu_b)^2. */
static double diagonal(int d, Gaussian *a, Gaussian *b) {
    double want = 0;
    *a = gaussian_new(d), *b = gaussian_new(d);
    for (int i = 0; i < d; i++) {
        double x = (i % 7 + 1) / 4.0, y = (i % 5 + 1) / 4.0;
        *at(a, i, i) = x * x, *at(b, i, i) = y * y;
        a->mean[i] = i % 3 / 8.0, b->mean[i] = i % 4 / 8.0;
        want += (x - y) * (x - y) + (a->mean[i] - b->mean[i]) * (a->mean[i] - b->mean[i]);
    }
    return want;
}
/* P m P with the reflection P = 1 - 2 v v^T / v^T v, and P mean: another basis of the features. */
static void reflect(Gaussian *g) {
    int d = g->dims;
    double *v = dg_alloc((size_t)d * sizeof *v), norm = 0;
    for (int i = 0; i < d; i++) v[i] = 37 * i % 11 - 5, norm += v[i] * v[i];
    for (int side = 0; side < 2; side++) /* from the left and, the matrix being symmetric, from the right */
        for (int j = 0; j < d; j++) {
            double dot = 0;
            for (int i = 0; i < d; i++) dot += v[i] * *(side ? at(g, j, i) : at(g, i, j));
            for (int i = 0; i < d; i++) *(side ? at(g, j, i) : at(g, i, j)) -= 2 * v[i] * dot / norm;
        }
    double dot = 0;
    for (int i = 0; i < d; i++) dot += v[i] * g->mean[i];
    for (int i = 0; i < d; i++) g->mean[i] -= 2 * v[i] * dot / norm;
    free(v);
}
/* The eigenvalues of M = R^T B R are right to about d eps times the largest; the root of one moves by that over twice
 * the root of the smallest. In `diagonal` they are from 1/256 to 49/16 * 25/16. */
static double root_tolerance(int d) { return d * (d * DBL_EPSILON * 4.8) / (2 * 0.0625); }
static void closed_forms(int d) {
    Gaussian a, b;
    double want = diagonal(d, &a, &b), tolerance = 2 * root_tolerance(d);
    check_distance("diagonal", distance(&a, &b), want, tolerance);
    check_distance("exchanged", distance(&b, &a), want, tolerance);
    check_distance("with itself", distance(&a, &a), 0, tolerance);
    reflect(&a), reflect(&b);
    check_distance("in another basis", distance(&a, &b), want, tolerance);
    for (int i = 0; i < d; i++) a.mean[i] = b.mean[i] + 1;
    double before = distance(&a, &b).distance; /* the means differ by 1 everywhere, which adds d */
    memcpy(a.mean, b.mean, (size_t)d * sizeof *a.mean);
    check_distance("shifted by 1", distance(&a, &b), before - d, 4 * d * DBL_EPSILON * d);
    gaussian_free(&a);
    gaussian_free(&b);
}
/* a diagonal, b = u u^T of rank 1: tr (ab)^1/2 = sqrt(u^T a u). All other eigenvalues are 0 but for rounding, which the
 * root magnifies: each is at most sqrt(d eps lambda). */
static void rank_one(int d) {
    Gaussian a, b;
    double root = 0;
    diagonal(d, &a, &b);
    for (int i = 0; i < d; i++) {
        root += *at(&a, i, i) * (i % 3 - 1) * (i % 3 - 1);
        b.mean[i] = a.mean[i];
        for (int j = 0; j < d; j++) *at(&b, i, j) = (i % 3 - 1) * (j % 3 - 1);
    }
    Frechet f = distance(&a, &b);
    check_distance("rank 1", f, f.trace_a + f.trace_b - 2 * sqrt(root), 2 * d * sqrt(d * DBL_EPSILON * root));
    CHECK(f.negative > 0 && f.lowest < 0 && f.lowest > -d * DBL_EPSILON, "rank 1: %d negative eigenvalues, down to %g", f.negative,
          f.lowest);
    gaussian_free(&a);
    gaussian_free(&b);
}
/* S1 = 2^-|i-j|, S2 = (min(i,j)+1)/d: values with 50 digits by an independent program. */
static void dense(int d, double want) {
    Gaussian a = gaussian_new(d), b = gaussian_new(d);
    for (int i = 0; i < d; i++) {
        a.mean[i] = (double)i / d, b.mean[i] = (d - 1 - i) / (2.0 * d);
        for (int j = 0; j < d; j++) *at(&a, i, j) = exp2(-abs(i - j)), *at(&b, i, j) = (double)((i < j ? i : j) + 1) / d;
    }
    check_distance("dense", distance(&a, &b), want, 1e-11);
    gaussian_free(&a);
    gaussian_free(&b);
}
static void two_dimensions(void) { /* tr sqrt(AB) = sqrt(tr AB + 2 sqrt(det A det B)) */
    Gaussian a = gaussian_new(2), b = gaussian_new(2);
    const double s[4] = {2, 1, 1, 3}, t[4] = {5, -2, -2, 1};
    memcpy(a.covariance, s, sizeof s);
    memcpy(b.covariance, t, sizeof t);
    a.mean[0] = 1, a.mean[1] = .5, b.mean[0] = -1, b.mean[1] = 2;
    check_distance("two dimensions", distance(&a, &b), 4 + 2.25 + 5 + 6 - 2 * sqrt(9 + 2 * sqrt(5)), 1e-12);
    gaussian_free(&a);
    gaussian_free(&b);
}
/* From features: 5 and 6 points in 8 dimensions, and 200 and 300 in 16; reference values of an independent program. */
static void from_features(void) {
    double few[11 * 8], many[500 * 16];
    for (int i = 0; i < 40; i++) few[i] = (double)(mix(11, (uint64_t)i) >> 61);
    for (int i = 0; i < 48; i++) few[40 + i] = (double)(mix(12, (uint64_t)i) >> 61);
    Gaussian a = gaussian_of(few, 5, 8), b = gaussian_of(few + 40, 6, 8);
    Frechet f = distance(&a, &b);
    check_distance("11 points in 8 dimensions", f, 64.133525628087578, 1e-6);
    CHECK(f.rank_deficient && fabs(f.mean_term - 5306 / 225.0) <= 1e-12 && fabs(f.trace_a - 194 / 5.0) <= 1e-12, "11 points: its parts");
    gaussian_free(&a);
    gaussian_free(&b);
    a = gaussian_of(few, 8, 8), b = gaussian_of(few, 9, 8); /* one image more than dimensions is enough */
    CHECK(distance(&a, &b).rank_deficient && !distance(&b, &b).rank_deficient, "8 or 9 points in 8 dimensions");
    gaussian_free(&a);
    gaussian_free(&b);
    for (int i = 0; i < 3200; i++) many[i] = uniform(21, (uint64_t)i);
    for (int i = 0; i < 4800; i++) many[3200 + i] = uniform(22, (uint64_t)i) * uniform(22, (uint64_t)i);
    a = gaussian_of(many, 200, 16), b = gaussian_of(many + 3200, 300, 16);
    f = distance(&a, &b);
    check_distance("500 points in 16 dimensions", f, 0.50095068650602417, 1e-12);
    CHECK(!f.rank_deficient && f.negative == 0, "500 points: rank deficient, or negative eigenvalues");
    gaussian_free(&a);
    gaussian_free(&b);
}

int main(void) {
    statistics(0);
    statistics(1 << 30);
    splits();
    refused_rows();
    refused_files();
#ifdef DG_HAVE_LAPACK
    two_dimensions();
    dense(8, 4.1989420300312113);
    dense(64, 65.891407106656718);
    from_features();
    enum { UNEVEN = 131, FULL = 2048 }; /* no multiple of any tile; Inception's features */
    closed_forms(UNEVEN);
    rank_one(UNEVEN);
    if (getenv("DG_TEST_FULL")) closed_forms(FULL), rank_one(FULL);
    else not_run("distances in 2048 dimensions: set DG_TEST_FULL=1 (some minutes)");
#else
    Gaussian a, b;
    diagonal(3, &a, &b);
    Frechet f;
    Hostile h = hostile_begin("a build without LAPACK");
    hostile_end(&h, frechet_distance(&a, &b, &f, &h.e), "LAPACK", "install liblapacke-dev");
    gaussian_free(&a);
    gaussian_free(&b);
    not_run("Frechet distances: built without LAPACK");
#endif
    return check_done("test_metrics");
}
