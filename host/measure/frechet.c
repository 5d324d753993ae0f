/* frechet.c -- the Frechet distance by two symmetric eigenproblems.
 *
 * tr (A B)^1/2 is the sum of the roots of the eigenvalues of R^T B R, where A = R R^T and R = V L^1/2 of A's eigenvectors V and
 * eigenvalues L: a symmetric matrix, so that nothing is imaginary.                                                      */
#include "measure/frechet.h"
#include "measure/products.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#ifdef DG_HAVE_LAPACK
#include <lapacke.h>
#endif

#ifdef DG_HAVE_LAPACK
/* Eigenvalues of the symmetric m, ascending; with vectors, row k of m becomes the k-th eigenvector. */
static bool eigen(double *m, int d, double *value, bool vectors, Error *e) {
    lapack_int info = LAPACKE_dsyevd(LAPACK_COL_MAJOR, vectors ? 'V' : 'N', 'U', d, m, d, value);
    return info == 0 || dg_error(e, "LAPACK's dsyevd finds no eigenvalues of a %d x %d covariance (code %d)", d, d, (int)info);
}
#else
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
/* vectors: a, where its eigenvectors come; of which those of eigenvalue 0 add nothing to R. */
static bool sum_of_roots(double *vectors, const double *b, int dims, double *root, double *work, double *value, bool truncate, Frechet *out,
                         Error *e) {
    size_t d = (size_t)dims, first = 0;
    if (!eigen(vectors, dims, value, true, e) || !all_finite(value, d, e)) return false;
    clamped_roots(value, dims, 0, out);
    while (first < d && value[first] == 0) first++;
    int rank = (int)(d - first);
    if (rank == 0) return true; /* all images of a set are one */
    for (size_t i = 0; i < d; i++)
        for (size_t k = first; k < d; k++) root[i * (size_t)rank + (k - first)] = vectors[k * d + i] * value[k];
    double *m = vectors;
    middle(m, root, b, work, dims, rank);
    if (!all_finite(m, (size_t)rank * (size_t)rank, e) || !eigen(m, rank, value, false, e)) return false;
    clamped_roots(value, rank, truncate ? 1e-16 * dims * value[rank - 1] : 0, out);
    for (int i = 0; i < rank; i++) out->trace_root += value[i];
    return true;
}
static bool trace_of_root(const Gaussian *a, const Gaussian *b, bool truncate, Frechet *out, Error *e) {
    size_t d = (size_t)a->dims, bytes = d * d * sizeof(double);
    double *vectors = malloc(bytes), *root = malloc(bytes), *work = malloc(bytes), *value = dg_alloc(d * sizeof *value);
    bool ok = (vectors && root && work) || dg_out_of_memory(e, "not enough memory for the Frechet distance of %d features", a->dims);
    if (ok) {
        memcpy(vectors, a->covariance, bytes);
        ok = sum_of_roots(vectors, b->covariance, a->dims, root, work, value, truncate, out, e);
    }
    free(vectors);
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
