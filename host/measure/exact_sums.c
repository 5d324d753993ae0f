/* exact_sums.c -- sums of features and of their products without rounding.
 *
 * A feature x is the integer q = x / 2^exponent, rounded, and q = piece[0] + 2^22 piece[1] + ..., where each piece but the
 * last is within 2^21 of 0 and the last within 2^22. A product of two pieces is below 2^44, and the sums of EXACT_ROWS = 2^9 of
 * them stay within 2^53: exact in double, whatever the order, and whether or not additions are fused.                  */
#include "measure/exact_sums.h"
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Rows multiplied at a time; columns of a panel of products; the size from which threads are worth their start. */
enum { EXACT_ROWS = 512, PANEL = 256, THREADED = 64 };

/* ---- the grid ---------------------------------------------------------------------------------------------------- */
const Grid grid_f32 = {-36, 2}, grid_f64 = {-48, 3};
/* Bits of q: two pieces hold 44. Three would hold 66, of which products of 53 fit into 128 bits often enough. */
static int grid_bits(Grid g) { return g.pieces == 1 ? PIECE_BITS : g.pieces == 2 ? 2 * PIECE_BITS : 53; }
bool grid_valid(Grid g) { return g.pieces >= 1 && g.pieces <= MAX_PIECES && g.exponent >= -200 && g.exponent <= 200; }
double grid_limit(Grid g) { return ldexp(1, g.exponent + grid_bits(g)); }
uint64_t grid_images(Grid g) {
    int bits = 126 - 2 * grid_bits(g); /* of the count, with a sign and one bit to spare for exact_gaussian */
    return (uint64_t)1 << (bits < 53 ? bits : 53);
}
bool grid_same(Grid a, Grid b) { return a.exponent == b.exponent && a.pieces == b.pieces; }

/* ---- memory ------------------------------------------------------------------------------------------------------ */
size_t exact_products(int dims) { return (size_t)dims * ((size_t)dims + 1) / 2; }
ExactSums *exact_new(int dims, Grid g, const Products *products, Error *e) {
    DG_CHECK(dims > 0 && grid_valid(g), "sums of %d dimensions with %d pieces", dims, g.pieces);
    size_t d = (size_t)dims;
    ExactSums *s = dg_alloc(sizeof *s);
    *s = (ExactSums){.dims = dims, .grid = g, .products = products ? products : products_best()};
    s->sum = calloc(d, sizeof *s->sum);
    s->product = calloc(exact_products(dims), sizeof *s->product);
    s->waiting = malloc((size_t)g.pieces * EXACT_ROWS * d * sizeof *s->waiting);
    s->panel = malloc((dims < PANEL ? d : PANEL) * d * sizeof *s->panel);
    if (s->sum && s->product && s->waiting && s->panel) return s;
    exact_free(s);
    dg_out_of_memory(e, "not enough memory for the statistics of %d features", dims);
    return NULL;
}
void exact_free(ExactSums *s) {
    if (!s) return;
    free(s->sum);
    free(s->product);
    free(s->waiting);
    free(s->panel);
    free(s);
}

bool exact_possible(const ExactSums *s) {
    if (s->count > grid_images(s->grid)) return false;
    Int128 most = (Int128)s->count << grid_bits(s->grid);
    for (int i = 0; i < s->dims; i++)
        if (s->sum[i] > most || s->sum[i] < -most) return false;
    return true;
}

/* ---- adding ------------------------------------------------------------------------------------------------------ */
static double *piece_rows(const ExactSums *s, int piece) { return s->waiting + (size_t)piece * EXACT_ROWS * (size_t)s->dims; }
/* The pieces of one row. Every step is exact but the last, which rounds to the grid. */
static void cut(ExactSums *s, const double *x) {
    size_t d = (size_t)s->dims, at = (size_t)s->rows * d;
    const double scale = ldexp(1, -s->grid.exponent);
    for (size_t i = 0; i < d; i++) {
        double rest = x[i] * scale;
        for (int p = s->grid.pieces - 1; p > 0; p--) {
            double unit = (double)((int64_t)1 << PIECE_BITS * p), piece = rint(rest / unit);
            piece_rows(s, p)[at + i] = piece;
            rest -= piece * unit;
        }
        piece_rows(s, 0)[at + i] = rint(rest);
    }
    s->rows++;
}
static void add_rows(ExactSums *s) {
    size_t d = (size_t)s->dims;
    for (int p = 0; p < s->grid.pieces; p++) {
        const double *piece = piece_rows(s, p);
        double *sum = s->panel; /* of integers below 2^31 */
        memset(sum, 0, d * sizeof *sum);
        for (size_t k = 0; k < (size_t)s->rows; k++)
            for (size_t i = 0; i < d; i++) sum[i] += piece[k * d + i];
        for (size_t i = 0; i < d; i++) s->sum[i] += (Int128)sum[i] * ((Int128)1 << PIECE_BITS * p);
    }
}
/* Rows first..last - 1 of a panel that begins at column `first` of the products: its upper part, times 2^shift, to the sums. */
static void add_panel(ExactSums *s, int first, int last, int shift) {
    int d = s->dims, width = d - first;
#pragma omp parallel for schedule(dynamic, 8) if (d >= THREADED)
    for (int i = first; i < last; i++) {
        const double *from = s->panel + (size_t)(i - first) * (size_t)width;
        UInt128 *to = s->product + exact_products(d) - exact_products(d - i);
        for (int j = i; j < d; j++) to[j - i] += (UInt128)(Int128)(int64_t)from[j - first] << shift;
    }
}
void exact_settle(ExactSums *s) {
    int d = s->dims, n = s->grid.pieces;
    if (s->rows == 0) return;
    add_rows(s);
    for (int first = 0; first < d; first += PANEL) {
        int last = first + PANEL < d ? first + PANEL : d;
        for (int weight = 0; weight <= 2 * (n - 1); weight++) { /* products of pieces whose sum has this many times 22 bits */
            ProductShape shape = {COLUMNS, false, last - first, d - first, s->rows, d, d, d - first};
            for (int a = weight < n ? 0 : weight - n + 1; a < n && a <= weight; a++) {
                s->products->f64(shape, piece_rows(s, a) + first, piece_rows(s, weight - a) + first, s->panel);
                shape.add = true;
            }
            add_panel(s, first, last, PIECE_BITS * weight);
        }
    }
    s->rows = 0;
}
static bool too_many(Grid g, Error *e) {
    return dg_error(e, "statistics of features of this grid hold at most %" PRIu64 " images", grid_images(g));
}
static bool check_rows(const ExactSums *s, DType type, const void *rows, size_t n, uint64_t first, double *row, Error *e) {
    size_t d = (size_t)s->dims, bytes = d * dtype_bytes(type);
    double limit = grid_limit(s->grid);
    if (n > grid_images(s->grid) - s->count) return too_many(s->grid, e);
    for (size_t r = 0; r < n; r++) {
        dtype_convert(DG_F64, row, type, (const uint8_t *)rows + r * bytes, d);
        for (size_t i = 0; i < d; i++) {
            if (!isfinite(row[i])) return dg_error(e, "feature %zu of image %" PRIu64 " is not a finite number", i, first + r);
            if (!(fabs(row[i]) < limit))
                return dg_error(e, "feature %zu of image %" PRIu64 " is %g: statistics take features below %g in size", i, first + r,
                                row[i], limit);
        }
    }
    return true;
}
bool exact_add(ExactSums *s, DType type, const void *rows, size_t n, uint64_t first, Error *e) {
    DG_CHECK(type == DG_F32 || type == DG_F64, "features of type %s", dtype_name(type));
    size_t d = (size_t)s->dims, bytes = d * dtype_bytes(type);
    double *row = dg_alloc(d * sizeof *row);
    bool ok = check_rows(s, type, rows, n, first, row, e);
    for (size_t r = 0; ok && r < n; r++) {
        dtype_convert(DG_F64, row, type, (const uint8_t *)rows + r * bytes, d);
        cut(s, row);
        s->count++;
        if (s->rows == EXACT_ROWS) exact_settle(s);
    }
    free(row);
    return ok;
}
bool exact_fits(const ExactSums *a, const ExactSums *b, Error *e) {
    if (a->dims != b->dims)
        return dg_error(e, "the statistics have %d and %d dimensions: they are of different features", a->dims, b->dims);
    if (!grid_same(a->grid, b->grid))
        return dg_error(e, "the statistics were summed on different grids, 2^%d in %d pieces and 2^%d in %d", a->grid.exponent,
                        a->grid.pieces, b->grid.exponent, b->grid.pieces);
    return b->count <= grid_images(a->grid) - a->count || too_many(a->grid, e);
}
void exact_merge(ExactSums *into, const ExactSums *from) {
    DG_CHECK(into->rows == 0 && from->rows == 0 && exact_fits(into, from, NULL), "sums merged that are not settled or do not fit");
    for (int i = 0; i < into->dims; i++) into->sum[i] += from->sum[i];
    for (size_t i = 0; i < exact_products(into->dims); i++) into->product[i] += from->product[i];
    into->count += from->count;
}

/* ---- mean and covariance ----------------------------------------------------------------------------------------- */
/* With S = n m + r (m the whole part of the mean), sum q q' - S S'/n = (sum q q' - m S' - m' S + n m m') - r r'/n, where the
 * bracket is an integer, computed without rounding, and r r'/n is small. */
bool exact_gaussian(ExactSums *s, Divisor divisor, Gaussian *g, Error *e) {
    uint64_t images = divisor.images ? divisor.images : s->count;
    if (s->count < 2 || images < 2) return dg_error(e, "a covariance needs at least 2 images, there are %" PRIu64, s->count);
    if (images > grid_images(s->grid)) return too_many(s->grid, e);
    DG_CHECK(images >= s->count, "sums divided by %" PRIu64 " images", images);
    exact_settle(s);
    size_t d = (size_t)s->dims;
    Int128 n = images, *whole = dg_alloc(d * sizeof *whole);
    double *rest = dg_alloc(d * sizeof *rest), unit = ldexp(1, s->grid.exponent);
    *g = (Gaussian){.dims = s->dims, .count = s->count};
    g->mean = dg_alloc(d * sizeof *g->mean);
    g->covariance = dg_alloc(d * d * sizeof *g->covariance);
    for (size_t i = 0; i < d; i++) {
        whole[i] = s->sum[i] / n;
        rest[i] = (double)(s->sum[i] % n);
        g->mean[i] = ((double)whole[i] + rest[i] / (double)n) * unit;
    }
    const UInt128 *product = s->product;
    for (size_t i = 0; i < d; i++)
        for (size_t j = i; j < d; j++) {
            Int128 around = (Int128)(*product++ - (UInt128)(whole[i] * s->sum[j]) - (UInt128)(whole[j] * s->sum[i]) +
                                     (UInt128)(n * whole[i] * whole[j]));
            double c = ((double)around - rest[i] * rest[j] / (double)n) / (double)(n - divisor.ddof) * unit * unit;
            g->covariance[i * d + j] = g->covariance[j * d + i] = c;
        }
    free(whole);
    free(rest);
    return true;
}
