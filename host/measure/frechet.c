/* frechet.c -- the Frechet distance by symmetric eigenproblems.
 *
 * tr (A B)^1/2 is the sum of the roots of the eigenvalues of R^T B R, where A = R R^T: a symmetric matrix, so that nothing is
 * imaginary. R is A's Cholesky factor where A has one, and V L^1/2 of its eigenvectors V and eigenvalues L where it has none, as of
 * fewer images than features.                                                                                           */
#include "measure/frechet.h"
#include "measure/blas.h"
#include "measure/products.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#ifdef DG_HAVE_LAPACK
/* a becomes its Cholesky factor, which is in one triangle of it; false: it has none. */
static bool cholesky(double *a, int d) {
    const Lapack *l = blas_lapack();
    blas_threads();
    return l && l->dpotrf(LAPACK_COL_MAJOR, 'U', d, a, d) == 0;
}
/* One triangle of m, that of U, becomes U m U^T. After a factor was found. */
static bool between_factors(double *m, const double *u, int d, Error *e) {
    lapack_int info = blas_lapack()->dsygst(LAPACK_COL_MAJOR, 2, 'U', d, m, d, u, d);
    return info == 0 || dg_error(e, "LAPACK's dsygst fails on a %d x %d covariance (code %d)", d, d, (int)info);
}
/* Eigenvalues of the symmetric m, ascending; with vectors, row k of m becomes the k-th eigenvector. */
static bool eigen(double *m, int d, double *value, bool vectors, Error *e) {
    const Lapack *l = blas_lapack();
    if (!l) return dg_error(e, "the Frechet distance needs LAPACK, and liblapacke.so.3, with which dg_cuda was built, cannot be loaded");
    blas_threads();
    lapack_int info = l->dsyevd(LAPACK_COL_MAJOR, vectors ? 'V' : 'N', 'U', d, m, d, value);
    return info == 0 || dg_error(e, "LAPACK's dsyevd finds no eigenvalues of a %d x %d covariance (code %d)", d, d, (int)info);
}
bool frechet_possible(void) { return blas_lapack() != NULL; }
#else
bool frechet_possible(void) { return false; }
static bool cholesky(double *a, int d) { return (void)a, (void)d, false; }
static bool between_factors(double *m, const double *u, int d, Error *e) { return (void)m, (void)u, (void)d, (void)e, false; }
static bool eigen(double *m, int d, double *value, bool vectors, Error *e) {
    (void)m, (void)d, (void)value, (void)vectors;
    return dg_error(e, "the Frechet distance needs LAPACK, and this dg_cuda was built without it: install liblapacke-dev and rebuild");
}
#endif

static bool all_finite(const double *x, size_t n, Error *e) {
    for (size_t i = 0; i < n; i++)
        if (!isfinite(x[i])) return dg_error(e, "the Frechet distance is not a finite number: the statistics are out of range");
    return true;
}
static double trace(const double *m, int d) {
    double sum = 0;
    for (size_t i = 0; i < (size_t)d; i++) sum += m[i * (size_t)d + i];
    return sum;
}
/* Square roots in place; what is below 0 is rounding, counted and taken as 0. */
static void clamped_roots(double *value, int d, double least, Frechet *out) {
    double highest = value[d - 1];
    for (int i = 0; i < d; i++) {
        if (value[i] < 0) {
            out->negative++;
            if (highest > 0 && value[i] / highest < out->lowest) out->lowest = value[i] / highest;
        }
        value[i] = value[i] > 0 && value[i] >= least ? sqrt(value[i]) : 0;
    }
}
/* R^T B R, its upper triangle at least: columns of R, which has `rank`, in panels. work: [d][rank] */
static void middle(double *m, const double *root, const double *b, double *work, int d, int rank) {
    enum { PANEL = 256 };
    const Products *p = products_best();
    p->f64((ProductShape){COLUMNS, false, d, rank, d, d, rank, rank}, b, root, work); /* b is its own transpose */
    for (int first = 0; first < rank; first += PANEL) {
        int rows = first + PANEL < rank ? PANEL : rank - first;
        ProductShape s = {COLUMNS, false, rows, rank - first, d, rank, rank, rank};
        p->f64(s, root + first, work + first, m + (size_t)first * (size_t)rank + first);
    }
    for (size_t i = 1; i < (size_t)rank; i++) /* both halves, whichever LAPACK reads */
        for (size_t j = 0; j < i; j++) m[i * (size_t)rank + j] = m[j * (size_t)rank + i];
}
/* The sum of the roots of the eigenvalues of m, which it loses. */
static bool sum_roots(double *m, int rank, int dims, double *value, bool truncate, Frechet *out, Error *e) {
    if (!eigen(m, rank, value, false, e)) return false;
    clamped_roots(value, rank, truncate ? 1e-16 * dims * value[rank - 1] : 0, out);
    for (int i = 0; i < rank; i++) out->trace_root += value[i];
    return true;
}
/* By A's eigenvectors, of which those of eigenvalue 0 add nothing to R. a: A, which it loses. */
static bool by_eigenvectors(double *a, const double *b, int dims, double *root, double *work, double *value, bool truncate, Frechet *out,
                            Error *e) {
    size_t d = (size_t)dims, first = 0;
    if (!eigen(a, dims, value, true, e) || !all_finite(value, d, e)) return false;
    clamped_roots(value, dims, 0, out);
    while (first < d && value[first] == 0) first++;
    int rank = (int)(d - first);
    if (rank == 0) return true; /* all images of a set are one */
    for (size_t i = 0; i < d; i++)
        for (size_t k = first; k < d; k++) root[i * (size_t)rank + (k - first)] = a[k * d + i] * value[k];
    middle(a, root, b, work, dims, rank);
    return all_finite(a, (size_t)rank * (size_t)rank, e) && sum_roots(a, rank, dims, value, truncate, out, e);
}
static bool trace_of_root(const Gaussian *a, const Gaussian *b, bool truncate, Frechet *out, Error *e) {
    size_t d = (size_t)a->dims, bytes = d * d * sizeof(double);
    double *m = malloc(bytes), *root = malloc(bytes), *work = malloc(bytes), *value = dg_alloc(d * sizeof *value);
    bool ok = (m && root && work) || dg_out_of_memory(e, "not enough memory for the Frechet distance of %d features", a->dims);
    if (ok) {
        memcpy(root, a->covariance, bytes);
        bool few = a->count && a->count <= d; /* a factor would be of noise */
        if (!few && cholesky(root, a->dims)) {
            memcpy(m, b->covariance, bytes);
            ok = between_factors(m, root, a->dims, e) && all_finite(m, d * d, e) && sum_roots(m, a->dims, a->dims, value, truncate, out, e);
        } else {
            memcpy(m, a->covariance, bytes);
            ok = by_eigenvectors(m, b->covariance, a->dims, root, work, value, truncate, out, e);
        }
    }
    free(m);
    free(root);
    free(work);
    free(value);
    return ok;
}
bool frechet_distance(const Gaussian *a, const Gaussian *b, bool truncate, Frechet *out, Error *e) {
    *out = (Frechet){0};
    if (a->dims != b->dims)
        return dg_error(e, "the statistics have %d and %d dimensions: they are of different features", a->dims, b->dims);
    size_t d = (size_t)a->dims;
    if (!all_finite(a->mean, d, e) || !all_finite(b->mean, d, e) || !all_finite(a->covariance, d * d, e) ||
        !all_finite(b->covariance, d * d, e))
        return false;
    for (size_t i = 0; i < d; i++) out->mean_term += (a->mean[i] - b->mean[i]) * (a->mean[i] - b->mean[i]);
    out->trace_a = trace(a->covariance, a->dims);
    out->trace_b = trace(b->covariance, b->dims);
    if (!trace_of_root(a, b, truncate, out, e)) return false;
    out->distance = out->mean_term + out->trace_a + out->trace_b - 2 * out->trace_root;
    out->rank_deficient = (a->count && a->count <= d) || (b->count && b->count <= d);
    return all_finite(&out->distance, 1, e);
}
