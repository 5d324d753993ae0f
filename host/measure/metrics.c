/* metrics.c -- mean and covariance of features in one pass.
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
