/* neighbours.c -- precision, recall, density and coverage by tiles of products.
 *
 * Images are points. Blocks of BLOCK x BLOCK pairs of them, in which ADM's evaluator decides whether half precision holds its
 * distances, are walked in tiles as large as one product of matrices is worth. Within a set a tile above the diagonal serves both
 * its rows and its columns, whose distances differ by rounding in half precision alone.                                  */
#include "measure/neighbours.h"
#include "measure/half.h"
#include "measure/moments.h"
#include <float.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 10000, TILE = 1024, STRIPE = 64 };

/* ---- points ------------------------------------------------------------------------------------------------------ */
typedef struct {
    size_t n, dims;
    const float *x;
    float *norm;             /* squared */
    float *half, *half_norm; /* the same in half precision, NULL where it is not asked for */
} Points;

static void points_free(Points *p) {
    free(p->norm);
    free(p->half);
    free(p->half_norm);
}
/* Squares stored in half precision, their sum in float, stored in half precision. */
static void add_half(Points *p, size_t i) {
    const float *from = p->x + i * p->dims;
    float *to = p->half + i * p->dims, sum = 0;
    for (size_t k = 0; k < p->dims; k++) {
        to[k] = half_round(from[k]);
        sum += half_round(to[k] * to[k]);
    }
    p->half_norm[i] = half_round(sum);
}
static bool points_new(Points *p, const float *x, size_t n, int dims, const char *set, NeighbourOptions o, Error *e) {
    *p = (Points){.n = n, .dims = (size_t)dims, .x = x};
    DG_CHECK(dims > 0 && o.k >= 1 && o.k <= MAX_NEIGHBOURS, "%d neighbours among features of %d dimensions", o.k, dims);
    if (n <= (size_t)o.k)
        return dg_error(e, "precision and recall by %d neighbours need at least %d images in each set, the %s set has %zu", o.k, o.k + 1,
                        set, n);
    if (!check_features(x, n, dims, set, e)) return false;
    bool half = o.arithmetic == DISTANCE_ADM_HALF;
    p->norm = malloc(n * sizeof *p->norm);
    if (half) p->half = malloc(n * p->dims * sizeof *p->half), p->half_norm = malloc(n * sizeof *p->half_norm);
    if (!p->norm || (half && (!p->half || !p->half_norm)))
        return dg_out_of_memory(e, "not enough memory for the neighbours of %zu images", n);
#pragma omp parallel for if (n >= STRIPE)
    for (size_t i = 0; i < n; i++) {
        double sum = 0;
        for (size_t k = 0; k < p->dims; k++) sum += (double)x[i * p->dims + k] * (double)x[i * p->dims + k];
        p->norm[i] = (float)sum;
        if (half) add_half(p, i);
    }
    for (size_t i = 0; i < n; i++)
        if (!(p->norm[i] < FLT_MAX / 4))
            return dg_error(e, "the features of image %zu of the %s set are too large for distances in float", i, set);
    return true;
}

/* ---- tiles ------------------------------------------------------------------------------------------------------- */
typedef struct {
    size_t first, last;
} Range;
static Range part(size_t first, size_t size, size_t last) { return (Range){first, first + size < last ? first + size : last}; }
/* Products of rows of a with rows of b, and what makes distances of them. */
typedef struct {
    bool half, same; /* same: a and b are one set */
    const Points *a, *b;
    Range rows, columns;
    float *product; /* [rows][columns] */
} Tile;
static void multiply(Tile *t, const Products *products) {
    const float *a = t->half ? t->a->half : t->a->x, *b = t->half ? t->b->half : t->b->x;
    int d = (int)t->a->dims, columns = (int)(t->columns.last - t->columns.first);
    ProductShape s = {ROWS, false, (int)(t->rows.last - t->rows.first), columns, d, d, d, columns};
    products->f32(s, a + t->rows.first * t->a->dims, b + t->columns.first * t->b->dims, t->product);
}
/* Distances of one row of the tile, of columns from..to - 1, before they are cut off at 0. turned: those of the columns' points to the
 * row's, which round otherwise. */
static void raw_distances(const Tile *t, size_t row, size_t from, size_t to, bool turned, float *out) {
    const float *product = t->product + (row - t->rows.first) * (t->columns.last - t->columns.first) + (from - t->columns.first);
    const float *norm = (t->half ? t->b->half_norm : t->b->norm) + from, u = (t->half ? t->a->half_norm : t->a->norm)[row];
    size_t n = to - from;
    if (!t->half) {
#pragma omp simd
        for (size_t j = 0; j < n; j++) out[j] = turned ? (norm[j] - 2 * product[j]) + u : (u - 2 * product[j]) + norm[j];
    } else if (turned) {
#pragma omp simd
        for (size_t j = 0; j < n; j++) out[j] = half_round(half_round(norm[j] - half_round(2 * half_round(product[j]))) + u);
    } else {
#pragma omp simd
        for (size_t j = 0; j < n; j++) out[j] = half_round(half_round(u - half_round(2 * half_round(product[j]))) + norm[j]);
    }
}
/* Cut off at 0. None is a NaN: norms in float are bounded, and half_holds has looked at the others. */
static void distances(const Tile *t, size_t row, size_t from, size_t to, bool turned, float *out) {
    raw_distances(t, row, from, to, turned, out);
    for (size_t j = 0; j < to - from; j++) out[j] = out[j] > 0 ? out[j] : 0;
}
static float largest(const float *x, Range r) {
    float most = 0;
    for (size_t i = r.first; i < r.last; i++) most = x[i] <= most ? most : x[i]; /* a NaN is taken */
    return most;
}
/* Whether every distance of a block is finite in half precision. That is so without looking where norms are small: no step
 * exceeds four times the largest of them. */
static bool half_holds(const Points *a, const Points *b, Range rows, Range columns, const Products *products, float *room) {
    const float safe = 65504 / 4.f * 0.99f;
    if (largest(a->half_norm, rows) < safe && largest(b->half_norm, columns) < safe) return true;
    bool finite = true;
    float line[TILE];
    for (size_t i = rows.first; i < rows.last; i += TILE)
        for (size_t j = columns.first; j < columns.last; j += TILE) {
            Tile t = {true, false, a, b, part(i, TILE, rows.last), part(j, TILE, columns.last), room};
            multiply(&t, products);
            for (size_t r = t.rows.first; r < t.rows.last; r++) {
                raw_distances(&t, r, t.columns.first, t.columns.last, false, line);
                for (size_t c = 0; c < t.columns.last - t.columns.first; c++) finite = finite && isfinite(line[c]);
            }
        }
    return finite;
}
/* visit(tile, context) for all tiles of two sets. Of a set with itself only for those on and above the diagonal where both halves
 * have one arithmetic, which visit then serves both. */
typedef void (*Visit)(const Tile *t, void *context);
static bool walk(const Points *a, const Points *b, NeighbourOptions o, Visit visit, void *context, Error *e) {
    const Products *products = o.products ? o.products : products_best();
    size_t block = o.block ? (size_t)o.block : BLOCK;
    float *room = malloc((size_t)TILE * TILE * sizeof *room);
    if (!room) return dg_out_of_memory(e, "not enough memory for distances between images");
    bool wide = o.arithmetic == DISTANCE_ADM_HALF && !(largest(a->half_norm, (Range){0, a->n}) < 65504 / 4.f * 0.99f);
    bool same = a == b && !wide;
    for (size_t i = 0; i < a->n; i += block)
        for (size_t j = same ? i : 0; j < b->n; j += block) {
            Range rows = part(i, block, a->n), columns = part(j, block, b->n);
            bool half = o.arithmetic == DISTANCE_ADM_HALF && half_holds(a, b, rows, columns, products, room);
            for (size_t y = rows.first; y < rows.last; y += TILE)
                for (size_t x = same && i == j ? y : columns.first; x < columns.last; x += TILE) {
                    Tile t = {half, same, a, b, part(y, TILE, rows.last), part(x, TILE, columns.last), room};
                    multiply(&t, products);
                    visit(&t, context);
                }
        }
    free(room);
    return true;
}

/* ---- radii ------------------------------------------------------------------------------------------------------- */
/* The k + 1 smallest distances of each point to those of its set, itself among them, ascending. */
typedef struct {
    int keep;
    float *list; /* [points][keep] */
} Nearest;
static void insert(float *list, int keep, float d) {
    int at = keep - 1;
    for (; at > 0 && list[at - 1] > d; at--) list[at] = list[at - 1];
    list[at] = d;
}
static void nearest_rows(const Tile *t, const Nearest *n) {
#pragma omp parallel for schedule(static) if (t->rows.last - t->rows.first >= STRIPE)
    for (size_t i = t->rows.first; i < t->rows.last; i++) {
        float line[TILE], *list = n->list + i * (size_t)n->keep;
        size_t columns = t->columns.last - t->columns.first;
        distances(t, i, t->columns.first, t->columns.last, false, line);
        for (size_t j = 0; j < columns; j++)
            if (line[j] < list[n->keep - 1]) insert(list, n->keep, line[j]);
    }
}
static void nearest_columns(const Tile *t, const Nearest *n) {
#pragma omp parallel for schedule(static) if (t->columns.last - t->columns.first >= 2 * STRIPE)
    for (size_t from = t->columns.first; from < t->columns.last; from += STRIPE) {
        Range c = part(from, STRIPE, t->columns.last);
        float line[STRIPE];
        for (size_t i = t->rows.first; i < t->rows.last; i++) {
            distances(t, i, c.first, c.last, true, line);
            for (size_t j = c.first; j < c.last; j++) {
                float *list = n->list + j * (size_t)n->keep, d = line[j - c.first];
                if (d < list[n->keep - 1]) insert(list, n->keep, d);
            }
        }
    }
}
static void visit_radii(const Tile *t, void *context) {
    nearest_rows(t, context);
    if (t->same && t->rows.first != t->columns.first) nearest_columns(t, context);
}
static bool radii_of(const Points *p, NeighbourOptions o, float *radius, Error *e) {
    Nearest n = {o.k + 1, malloc(p->n * ((size_t)o.k + 1) * sizeof *n.list)};
    if (!n.list) return dg_out_of_memory(e, "not enough memory for the neighbours of %zu images", p->n);
    for (size_t i = 0; i < p->n * (size_t)n.keep; i++) n.list[i] = INFINITY;
    bool ok = walk(p, p, o, visit_radii, &n, e);
    for (size_t i = 0; ok && i < p->n; i++) radius[i] = n.list[i * (size_t)n.keep + (size_t)o.k];
    free(n.list);
    return ok;
}
bool neighbours_radii(const float *x, size_t n, int dims, NeighbourOptions o, float *radius, Error *e) {
    Points p = {0};
    bool ok = points_new(&p, x, n, dims, "reference", o, e) && radii_of(&p, o, radius, e);
    points_free(&p);
    return ok;
}

/* ---- membership -------------------------------------------------------------------------------------------------- */
typedef struct {
    bool strict;
    const float *radius_a, *radius_b; /* of the reference, whose points are rows, and of the generated set */
    bool *precise, *recalled, *covered;
    uint64_t *dense; /* of each point of the reference */
} Members;
static void reference_members(const Tile *t, const Members *m) {
#pragma omp parallel for schedule(static) if (t->rows.last - t->rows.first >= STRIPE)
    for (size_t i = t->rows.first; i < t->rows.last; i++) {
        float line[TILE], r = m->radius_a[i];
        const float *radius = m->radius_b + t->columns.first;
        size_t columns = t->columns.last - t->columns.first, dense = 0, recalled = 0;
        distances(t, i, t->columns.first, t->columns.last, false, line);
        for (size_t j = 0; j < columns; j++) {
            dense += line[j] < r;
            recalled += m->strict ? line[j] < radius[j] : line[j] <= radius[j];
        }
        m->dense[i] += dense;
        m->covered[i] |= dense > 0;
        m->recalled[i] |= recalled > 0;
    }
}
static void generated_members(const Tile *t, const Members *m) {
#pragma omp parallel for schedule(static) if (t->columns.last - t->columns.first >= 2 * STRIPE)
    for (size_t from = t->columns.first; from < t->columns.last; from += STRIPE) {
        Range c = part(from, STRIPE, t->columns.last);
        float line[STRIPE];
        for (size_t i = t->rows.first; i < t->rows.last; i++) {
            float r = m->radius_a[i];
            distances(t, i, c.first, c.last, false, line);
            for (size_t j = c.first; j < c.last; j++) {
                float d = line[j - c.first];
                m->precise[j] |= m->strict ? d < r : d <= r;
            }
        }
    }
}
static void visit_members(const Tile *t, void *context) {
    reference_members(t, context);
    generated_members(t, context);
}
static uint64_t count(const bool *x, size_t n) {
    uint64_t sum = 0;
    for (size_t i = 0; i < n; i++) sum += x[i];
    return sum;
}
static bool members_of(const Points *a, const Points *b, NeighbourOptions o, Members *m, float *radius_a, float *radius_b, Neighbours *out,
                       Error *e) {
    if (!radii_of(a, o, radius_a, e) || !radii_of(b, o, radius_b, e) || !walk(a, b, o, visit_members, m, e)) return false;
    out->precise = count(m->precise, b->n);
    out->recalled = count(m->recalled, a->n);
    out->covered = count(m->covered, a->n);
    for (size_t i = 0; i < a->n; i++) out->dense += m->dense[i];
    out->precision = (double)out->precise / (double)b->n;
    out->recall = (double)out->recalled / (double)a->n;
    out->coverage = (double)out->covered / (double)a->n;
    out->density = (double)out->dense / ((double)o.k * (double)b->n);
    return true;
}
bool neighbours_measure(const float *reference, size_t n_reference, const float *generated, size_t n_generated, int dims,
                        NeighbourOptions o, Neighbours *out, Error *e) {
    Points a = {0}, b = {0};
    *out = (Neighbours){0};
    bool ok =
        points_new(&a, reference, n_reference, dims, "reference", o, e) && points_new(&b, generated, n_generated, dims, "generated", o, e);
    float *radius_a = malloc(n_reference * sizeof *radius_a), *radius_b = malloc(n_generated * sizeof *radius_b);
    Members m = {.strict = o.strict, .radius_a = radius_a, .radius_b = radius_b};
    m.precise = calloc(n_generated, sizeof *m.precise), m.recalled = calloc(n_reference, sizeof *m.recalled);
    m.covered = calloc(n_reference, sizeof *m.covered), m.dense = calloc(n_reference, sizeof *m.dense);
    if (ok && !(radius_a && radius_b && m.precise && m.recalled && m.covered && m.dense))
        ok = dg_out_of_memory(e, "not enough memory for the neighbours of %zu images", n_reference + n_generated);
    ok = ok && members_of(&a, &b, o, &m, radius_a, radius_b, out, e);
    free(radius_a), free(radius_b), free(m.precise), free(m.recalled), free(m.covered), free(m.dense);
    points_free(&a);
    points_free(&b);
    return ok;
}

/* ---- distances --------------------------------------------------------------------------------------------------- */
static void visit_distances(const Tile *t, void *context) {
    for (size_t i = t->rows.first; i < t->rows.last; i++)
        distances(t, i, t->columns.first, t->columns.last, false, (float *)context + i * t->b->n + t->columns.first);
}
bool neighbours_distances(const float *a, size_t n_a, const float *b, size_t n_b, int dims, NeighbourOptions o, float *out, Error *e) {
    Points x = {0}, y = {0};
    bool ok = points_new(&x, a, n_a, dims, "reference", o, e) && points_new(&y, b, n_b, dims, "generated", o, e) &&
              walk(&x, &y, o, visit_distances, out, e);
    points_free(&x);
    points_free(&y);
    return ok;
}
