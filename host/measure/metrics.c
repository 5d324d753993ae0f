/* metrics.c -- mean and covariance of features in one pass, and the Frechet distance by symmetric eigenproblems.
 *
 * The covariance is accumulated around a shift (the mean of the first block of rows), so that subtracting the mean's
 * square at the end loses nothing that matters. Rows are gathered into blocks of a fixed size whatever the calls bring:
 * so the sums are made in one order.                                                                                 */
#include "measure/metrics.h"
#include "base/dtype.h"
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#ifdef DG_HAVE_LAPACK
#include <lapacke.h>
#endif

/* ---- c += a^T b -------------------------------------------------------------------------------------------------- */
/* Rows summed at a time; the tile of c that registers hold; the size from which threads are worth their start. */
enum { BLOCK = 64, TILE_I = 4, TILE_J = 8, PARALLEL = 256 };

/* Columns of a block in panels of `width`, each contiguous: [panel][row][width], zero beyond the last column. */
static void pack(double *out, const double *in, int rows, int d, int width) {
    for (int j = 0; j < d; j += width)
        for (int k = 0; k < rows; k++)
            for (int i = 0; i < width; i++) *out++ = j + i < d ? in[(size_t)k * (size_t)d + (size_t)(j + i)] : 0;
}
static void add_tile(double *c, int d, int i, int j, const double *a, const double *b, int rows) {
    double sum[TILE_I][TILE_J] = {{0}};
    for (int k = 0; k < rows; k++, a += TILE_I, b += TILE_J)
        for (int x = 0; x < TILE_I; x++) {
#pragma omp simd
            for (int y = 0; y < TILE_J; y++) sum[x][y] += a[x] * b[y];
        }
    for (int x = 0; x < TILE_I && i + x < d; x++)
        for (int y = 0; y < TILE_J && j + y < d; y++) c[(size_t)(i + x) * (size_t)d + (size_t)(j + y)] += sum[x][y];
}
/* a, b: [rows][d], rows <= BLOCK. Each element of c is one thread's, and its terms are added in the order of the rows.
 * upper: of a symmetric result, at least the elements j >= i. */
static void add_product(double *c, const double *a, const double *b, int rows, int d, bool upper) {
    size_t panels_a = (size_t)(d + TILE_I - 1) / TILE_I, panels_b = (size_t)(d + TILE_J - 1) / TILE_J;
    double *pa = dg_alloc(panels_a * TILE_I * (size_t)rows * sizeof *pa);
    double *pb = dg_alloc(panels_b * TILE_J * (size_t)rows * sizeof *pb);
    pack(pa, a, rows, d, TILE_I);
    pack(pb, b, rows, d, TILE_J);
#pragma omp parallel for schedule(dynamic, 8) if (d >= PARALLEL)
    for (int i = 0; i < d; i += TILE_I)
        for (int j = upper ? i / TILE_J * TILE_J : 0; j < d; j += TILE_J)
            add_tile(c, d, i, j, pa + (size_t)i * (size_t)rows, pb + (size_t)j * (size_t)rows, rows);
    free(pa);
    free(pb);
}
static void copy_upper_to_lower(double *c, int d) {
    for (int i = 1; i < d; i++)
        for (int j = 0; j < i; j++) c[(size_t)i * (size_t)d + (size_t)j] = c[(size_t)j * (size_t)d + (size_t)i];
}

/* ---- statistics -------------------------------------------------------------------------------------------------- */
struct FeatureStats {
    int dims, waiting; /* rows in block that are not in the sums yet */
    uint64_t count;    /* of all rows given */
    bool shifted;
    double *shift, *sum, *product, *block; /* sums of (x - shift) and of its products */
};
FeatureStats *stats_new(int dims) {
    DG_CHECK(dims > 0, "features of %d dimensions", dims);
    FeatureStats *s = dg_alloc(sizeof *s);
    size_t d = (size_t)dims;
    s->dims = dims;
    s->shift = dg_alloc(d * sizeof *s->shift);
    s->sum = dg_alloc(d * sizeof *s->sum);
    s->product = dg_alloc(d * d * sizeof *s->product);
    s->block = dg_alloc(BLOCK * d * sizeof *s->block);
    return s;
}
void stats_free(FeatureStats *s) {
    if (!s) return;
    free(s->shift);
    free(s->sum);
    free(s->product);
    free(s->block);
    free(s);
}
/* The rows of block, shifted in place, into the sums. */
static void add_block(FeatureStats *s, const double *shift, double *sum, double *product, double *block) {
    size_t d = (size_t)s->dims;
    for (int k = 0; k < s->waiting; k++)
        for (size_t i = 0; i < d; i++) sum[i] += block[(size_t)k * d + i] -= shift[i];
    add_product(product, block, block, s->waiting, s->dims, true);
}
static void block_mean(const FeatureStats *s, double *mean) {
    size_t d = (size_t)s->dims;
    for (int k = 0; k < s->waiting; k++)
        for (size_t i = 0; i < d; i++) mean[i] += s->block[(size_t)k * d + i] / s->waiting;
}
bool stats_add(FeatureStats *s, DType type, const void *rows, size_t n, Error *e) {
    size_t d = (size_t)s->dims, row_bytes = d * dtype_bytes(type);
    DG_CHECK(type == DG_F32 || type == DG_F64, "features of type %s", dtype_name(type));
    for (size_t r = 0; r < n; r++) {
        double *x = s->block + (size_t)s->waiting * d;
        dtype_convert(DG_F64, x, type, (const uint8_t *)rows + r * row_bytes, d);
        for (size_t i = 0; i < d; i++)
            if (!isfinite(x[i])) return dg_error(e, "feature %zu of image %" PRIu64 " is not a finite number", i, s->count);
        s->count++;
        if (++s->waiting < BLOCK) continue;
        if (!s->shifted) block_mean(s, s->shift);
        s->shifted = true;
        add_block(s, s->shift, s->sum, s->product, s->block);
        s->waiting = 0;
    }
    return true;
}
bool stats_gaussian(FeatureStats *s, Gaussian *g, Error *e) {
    size_t d = (size_t)s->dims;
    if (s->count < 2) return dg_error(e, "a covariance needs at least 2 images, there are %" PRIu64, s->count);
    double *shift = dg_alloc(d * sizeof *shift), *sum = dg_alloc(d * sizeof *sum), n = (double)s->count;
    double *block = dg_alloc(BLOCK * d * sizeof *block);
    *g = (Gaussian){.dims = s->dims, .count = s->count};
    g->covariance = dg_alloc(d * d * sizeof *g->covariance);
    memcpy(shift, s->shift, d * sizeof *shift);
    memcpy(sum, s->sum, d * sizeof *sum);
    memcpy(g->covariance, s->product, d * d * sizeof *g->covariance);
    memcpy(block, s->block, BLOCK * d * sizeof *block);
    if (!s->shifted) block_mean(s, shift); /* fewer rows than a block */
    add_block(s, shift, sum, g->covariance, block);
    for (size_t i = 0; i < d; i++)
        for (size_t j = i; j < d; j++) {
            double *c = &g->covariance[i * d + j];
            *c = (*c - sum[i] * sum[j] / n) / (n - 1);
        }
    copy_upper_to_lower(g->covariance, s->dims);
    for (size_t i = 0; i < d; i++) shift[i] += sum[i] / n;
    g->mean = shift;
    free(sum);
    free(block);
    return true;
}

/* ---- the distance ------------------------------------------------------------------------------------------------ */
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

static void product(double *c, const double *a, const double *b, int d, bool upper) {
    for (int k = 0; k < d; k += BLOCK) {
        size_t at = (size_t)k * (size_t)d;
        add_product(c, a + at, b + at, d - k < BLOCK ? d - k : BLOCK, d, upper);
    }
}
static double trace(const double *m, int d) {
    double sum = 0;
    for (size_t i = 0; i < (size_t)d; i++) sum += m[i * (size_t)d + i];
    return sum;
}
/* Square roots in place; what is below 0 is rounding, counted and taken as 0. */
static void clamped_roots(double *value, int d, Frechet *out) {
    double highest = value[d - 1];
    for (int i = 0; i < d; i++) {
        if (value[i] < 0) {
            out->negative++;
            if (highest > 0 && value[i] / highest < out->lowest) out->lowest = value[i] / highest;
        }
        value[i] = value[i] > 0 ? sqrt(value[i]) : 0;
    }
}
/* tr (A B)^1/2 = sum of the roots of the eigenvalues of R^T B R, where A = R R^T, R = V L^1/2: symmetric, so real. */
static bool trace_of_root(const double *a, const double *b, int dims, Frechet *out, Error *e) {
    size_t d = (size_t)dims, bytes = d * d * sizeof(double);
    double *vectors = dg_alloc(bytes), *root = dg_alloc(bytes), *br = dg_alloc(bytes), *m = dg_alloc(bytes);
    double *value = dg_alloc(d * sizeof *value);
    memcpy(vectors, a, bytes);
    bool ok = eigen(vectors, dims, value, true, e);
    if (ok) {
        clamped_roots(value, dims, out);
        for (size_t i = 0; i < d; i++)
            for (size_t k = 0; k < d; k++) root[i * d + k] = vectors[k * d + i] * value[k];
        product(br, b, root, dims, false); /* b^T = b */
        product(m, root, br, dims, true);
        copy_upper_to_lower(m, dims);
        ok = eigen(m, dims, value, false, e);
    }
    if (ok) {
        clamped_roots(value, dims, out);
        for (size_t i = 0; i < d; i++) out->trace_root += value[i];
    }
    free(vectors);
    free(root);
    free(br);
    free(m);
    free(value);
    return ok;
}
bool frechet_distance(const Gaussian *a, const Gaussian *b, Frechet *out, Error *e) {
    *out = (Frechet){0};
    if (a->dims != b->dims)
        return dg_error(e, "the statistics have %d and %d dimensions: they are of different features", a->dims, b->dims);
    for (int i = 0; i < a->dims; i++) out->mean_term += (a->mean[i] - b->mean[i]) * (a->mean[i] - b->mean[i]);
    out->trace_a = trace(a->covariance, a->dims);
    out->trace_b = trace(b->covariance, b->dims);
    if (!trace_of_root(a->covariance, b->covariance, a->dims, out, e)) return false;
    out->distance = out->mean_term + out->trace_a + out->trace_b - 2 * out->trace_root;
    uint64_t dims = (uint64_t)a->dims;
    out->rank_deficient = (a->count && a->count <= dims) || (b->count && b->count <= dims);
    return isfinite(out->distance) || dg_error(e, "the Frechet distance is not a finite number: the statistics are out of range");
}
