/* test_frechet.c -- the Frechet distance: closed forms, values computed elsewhere with 50 digits, what must not change it, and
 * input that has none. The values from features and the 2,048-dimensional ones are a fixed list that any program can be held to. */
#include "measure/frechet.h"
#include "hostile.h"
#include "measure/exact_sums.h"
#include "spec_values.h"
#include <float.h>
#include <math.h>
#include <stdlib.h>

static Gaussian gaussian_new(int d) {
    Gaussian g = {.dims = d};
    g.mean = dg_alloc((size_t)d * sizeof *g.mean);
    g.covariance = dg_alloc((size_t)d * (size_t)d * sizeof *g.covariance);
    return g;
}
static double *at(const Gaussian *g, int i, int j) { return &g->covariance[(size_t)i * (size_t)g->dims + (size_t)j]; }
/* ---- distances --------------------------------------------------------------------------------------------------- */
static Frechet distance_of(const Gaussian *a, const Gaussian *b, bool truncate) {
    Frechet f = {0};
    Error e = {""};
    CHECK(frechet_distance(a, b, truncate, &f, &e), "%s", e.text);
    return f;
}
static Frechet distance(const Gaussian *a, const Gaussian *b) { return distance_of(a, b, false); }
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
static double reflection(int d, double **v) {
    double norm = 0;
    *v = dg_alloc((size_t)d * sizeof **v);
    for (int i = 0; i < d; i++) (*v)[i] = 37 * i % 11 - 5, norm += (*v)[i] * (*v)[i];
    return norm;
}
static void reflect_covariance(Gaussian *g) {
    int d = g->dims;
    double *v, norm = reflection(d, &v);
    for (int side = 0; side < 2; side++) /* from the left and, the matrix being symmetric, from the right */
        for (int j = 0; j < d; j++) {
            double dot = 0;
            for (int i = 0; i < d; i++) dot += v[i] * *(side ? at(g, j, i) : at(g, i, j));
            for (int i = 0; i < d; i++) *(side ? at(g, j, i) : at(g, i, j)) -= 2 * v[i] * dot / norm;
        }
    free(v);
}
static void reflect(Gaussian *g) {
    double *v, norm = reflection(g->dims, &v), dot = 0;
    reflect_covariance(g);
    for (int i = 0; i < g->dims; i++) dot += v[i] * g->mean[i];
    for (int i = 0; i < g->dims; i++) g->mean[i] -= 2 * v[i] * dot / norm;
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
    a.count = 2; /* as of few images, where no factor is tried */
    check_distance("by eigenvectors", distance(&a, &b), want, tolerance);
    a.count = 0;
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
    check_distance("rank 1, truncated", distance_of(&a, &b, true), f.trace_a + f.trace_b - 2 * sqrt(root), 1e-10);
    check_distance("rank 1, exchanged", distance_of(&b, &a, true), f.trace_a + f.trace_b - 2 * sqrt(root), 1e-10);
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
/* ---- from features ----------------------------------------------------------------------------------------------- */
static Gaussian gaussian_with(const double *rows, size_t n, int d, Divisor divisor) {
    Gaussian g = {0};
    Error e = {""};
    ExactSums *s = exact_new(d, grid_f64, NULL, &e);
    CHECK(s && exact_add(s, DG_F64, rows, n, 0, &e) && exact_gaussian(s, divisor, &g, &e), "%s", e.text);
    exact_free(s);
    return g;
}
static Gaussian gaussian_of(const double *rows, size_t n, int d) { return gaussian_with(rows, n, d, (Divisor){.ddof = 1}); }
static void between(const char *what, Gaussian a, Gaussian b, bool truncate, double want, double tolerance) {
    check_distance(what, distance_of(&a, &b, truncate), want, tolerance);
    gaussian_free(&a);
    gaussian_free(&b);
}
/* Fewer images than dimensions: 5 and 6 in 8. */
static void few_images(void) {
    double x[9 * 8], y[6 * 8];
    for (int i = 0; i < 72; i++) x[i] = (double)(mix(11, (uint64_t)i) >> 61);
    for (int i = 0; i < 48; i++) y[i] = (double)(mix(12, (uint64_t)i) >> 61);
    Gaussian a = gaussian_of(x, 5, 8), b = gaussian_of(y, 6, 8);
    Frechet f = distance(&a, &b);
    check_distance("11 points in 8 dimensions", f, 64.133525628087578, 1e-6);
    check_distance("11 points, truncated", distance_of(&a, &b, true), 64.133525628087578, 1e-11);
    CHECK(f.rank_deficient && fabs(f.mean_term - 5306 / 225.0) <= 1e-12 && fabs(f.trace_a - 194 / 5.0) <= 1e-12 &&
              fabs(f.trace_b - 506 / 15.0) <= 1e-12 && fabs(f.trace_root - 15.991014963733989) <= 1e-6,
          "11 points: its parts");
    gaussian_free(&a);
    gaussian_free(&b);
    between("11 points, biased", gaussian_with(x, 5, 8, (Divisor){.ddof = 0}), gaussian_with(y, 6, 8, (Divisor){.ddof = 0}), false,
            56.620115, 1e-5);
    a = gaussian_of(x, 8, 8), b = gaussian_of(x, 9, 8); /* one image more than dimensions is enough */
    CHECK(distance(&a, &b).rank_deficient && !distance(&b, &b).rank_deficient, "8 or 9 points in 8 dimensions");
    gaussian_free(&a);
    gaussian_free(&b);
}
static void many_images(void) {
    double x[200 * 16], y[300 * 16];
    for (int i = 0; i < 3200; i++) x[i] = uniform(21, (uint64_t)i);
    for (int i = 0; i < 4800; i++) y[i] = uniform(22, (uint64_t)i) * uniform(22, (uint64_t)i);
    CHECK(fabs(x[0] - 0.02652037143707275) < 1e-16 && fabs(y[0] - 0.6106824131020403) < 1e-15, "the features are other ones");
    Gaussian a = gaussian_of(x, 200, 16), b = gaussian_of(y, 300, 16);
    Frechet f = distance(&a, &b);
    double sum_a = 0, sum_b = 0;
    for (int i = 0; i < 16; i++) sum_a += a.mean[i], sum_b += b.mean[i];
    check_distance("500 points in 16 dimensions", f, 0.50095068650602417, 1e-12);
    CHECK(!f.rank_deficient && f.negative == 0, "500 points: rank deficient, or negative eigenvalues");
    /* sums, means and traces of the features as fractions */
    CHECK(fabs(sum_a - 7.919747840762138) <= 1e-14 && fabs(sum_b - 5.319531669866918) <= 1e-14, "500 points: means %.17g, %.17g", sum_a,
          sum_b);
    CHECK(fabs(f.mean_term - 0.4335455009677507) <= 1e-15 && fabs(f.trace_a - 1.3235682360479133) <= 1e-14 &&
              fabs(f.trace_b - 1.4199032952807291) <= 1e-14 && fabs(f.trace_root - 1.3380331728951876) <= 1e-13,
          "500 points: its parts");
    gaussian_free(&a);
    gaussian_free(&b);
    const Divisor biased = {.ddof = 0}, short_count = {.ddof = 1, .images = 250};
    between("500 points, biased", gaussian_with(x, 200, 16, biased), gaussian_with(y, 300, 16, biased), false, 0.5007510438599994, 1e-12);
    between("200 points counted as 250", gaussian_with(x, 200, 16, short_count), gaussian_of(y, 300, 16), false, 0.43398345504897984,
            1e-12);
    for (int i = 0; i < 4800; i++) y[i] = (double)(float)y[i];
    between("rows in float", gaussian_of(x, 200, 16), gaussian_of(y, 300, 16), false, 0.50095068650602417, 1e-8);
}

/* ---- what has no distance ---------------------------------------------------------------------------------------- */
static void refused(void) {
    Gaussian a = gaussian_new(2), b = gaussian_new(3);
    Frechet f;
    Hostile h = hostile_begin("different features");
    hostile_end(&h, frechet_distance(&a, &b, false, &f, &h.e), "statistics", "2 and 3 dimensions");
    gaussian_free(&a);
    gaussian_free(&b);
    const double bad[] = {NAN, INFINITY};
    for (int i = 0; i < 8; i++) {
        Gaussian x = gaussian_new(2), y = gaussian_new(2), *wrong = i & 1 ? &x : &y;
        *(i & 2 ? &wrong->mean[1] : at(wrong, 1, 1)) = bad[i >> 2];
        h = hostile_begin("statistics that are not finite");
        hostile_end(&h, frechet_distance(&x, &y, false, &f, &h.e), "Frechet distance", "not a finite number");
        gaussian_free(&x);
        gaussian_free(&y);
    }
}
static void out_of_range(void) {
    Gaussian a = gaussian_new(2), b = gaussian_new(2);
    Frechet f;
    CHECK(distance(&a, &b).distance == 0, "two sets of one image each, repeated: %g", distance(&a, &b).distance);
    *at(&a, 0, 0) = *at(&a, 1, 1) = *at(&b, 0, 0) = *at(&b, 1, 1) = 1e200; /* their product overflows */
    for (int few = 0; few < 2; few++) {
        a.count = few ? 2 : 0;
        Hostile h = hostile_begin("a product beyond the numbers");
        hostile_end(&h, frechet_distance(&a, &b, false, &f, &h.e), "Frechet distance", "not a finite number");
    }
    gaussian_free(&a);
    gaussian_free(&b);
}

/* ---- Inception's size -------------------------------------------------------------------------------------------- */
static void full_size(void) {
    enum { FULL = 2048 };
    Gaussian a = gaussian_new(FULL), b = gaussian_new(FULL);
    for (int i = 0; i < FULL; i++) b.mean[i] = *at(&a, i, i) = *at(&b, i, i) = 1;
    check_distance("means 1 apart", distance(&a, &b), 2048, 1e-9);
    gaussian_free(&a);
    gaussian_free(&b);
    diagonal(FULL, &a, &b);
    Frechet f = distance(&a, &b);
    check_distance("diagonal, 2048", f, 964.796875, 1e-8);
    CHECK(f.mean_term == 69.359375 && f.trace_a == 2556.875 && f.trace_b == 1406.8125 && fabs(f.trace_root - 1534.125) <= 1e-8,
          "its parts");
    memcpy(b.mean, a.mean, FULL * sizeof *a.mean);
    for (int i = 0; i < FULL; i++)
        for (int j = 0; j < FULL; j++) *at(&b, i, j) = (i % 3 - 1) * (j % 3 - 1);
    check_distance("rank 1, 2048", distance(&a, &b), 3839.285654440176, 5e-4);
    check_distance("rank 1, 2048, truncated", distance_of(&a, &b, true), 3839.285654440176, 1e-9);
    gaussian_free(&a);
    gaussian_free(&b);
    diagonal(FULL, &a, &b);
    reflect_covariance(&a), reflect_covariance(&b);
    CHECK(fabs(*at(&a, 0, 0) - 0.06829156) <= 1e-8 && fabs(*at(&a, 0, 1) - 0.00106679) <= 1e-8 && fabs(*at(&a, 0, 2) + 0.00274273) <= 1e-8,
          "the covariance is another one");
    check_distance("dense, 2048", distance(&a, &b), 964.796875, 1e-7);
    gaussian_free(&a);
    gaussian_free(&b);
}

static void without_lapack(void) {
    Gaussian a, b;
    diagonal(3, &a, &b);
    Frechet f;
    Hostile h = hostile_begin("a build without LAPACK");
    hostile_end(&h, frechet_distance(&a, &b, false, &f, &h.e), "LAPACK", "install liblapacke-dev");
    gaussian_free(&a);
    gaussian_free(&b);
    not_run("Frechet distances: built without LAPACK");
}
static void with_lapack(void) {
    two_dimensions();
    dense(8, 4.1989420300312113);
    dense(64, 65.891407106656718);
    few_images();
    many_images();
    out_of_range();
    enum { UNEVEN = 131, PANELS = 300 }; /* no multiple of any tile; more than a panel */
    closed_forms(UNEVEN);
    closed_forms(PANELS);
    rank_one(UNEVEN);
    if (getenv("DG_TEST_FULL")) full_size();
    else not_run("distances in 2048 dimensions: set DG_TEST_FULL=1 (seconds with OpenBLAS, else minutes)");
}
int main(void) {
#ifdef DG_HAVE_LAPACK
    const bool lapack = true;
#else
    const bool lapack = false;
#endif
    refused();
    if (lapack) with_lapack();
    else without_lapack();
    return check_done("test_frechet");
}
