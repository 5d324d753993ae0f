/* test_neighbours.c -- precision, recall, density and coverage: known sets with ties and without, in float and in ADM's half
 * precision, against all pairs computed one by one, and what has none. */
#include "measure/neighbours.h"
#include "base/dtype.h"
#include "hostile.h"
#include "measure/half.h"
#include "spec_values.h"
#include <math.h>
#include <stdlib.h>

static Neighbours measure(const float *r, size_t n_r, const float *s, size_t n_s, int dims, NeighbourOptions o) {
    Neighbours out = {0};
    Error e = {""};
    CHECK(neighbours_measure(r, n_r, s, n_s, dims, o, &out, &e), "%s", e.text);
    return out;
}
/* precise, recalled, dense, covered */
static void check_counts(const char *what, NeighbourOptions o, Neighbours got, const int want[4], size_t n_r, size_t n_s) {
    CHECK(got.precise == (uint64_t)want[0] && got.recalled == (uint64_t)want[1] && got.dense == (uint64_t)want[2] &&
              got.covered == (uint64_t)want[3],
          "%s, k = %d%s: %d %d %d %d, not %d %d %d %d", what, o.k, o.strict ? ", strict" : "", (int)got.precise, (int)got.recalled,
          (int)got.dense, (int)got.covered, want[0], want[1], want[2], want[3]);
    CHECK(got.precision == (double)got.precise / (double)n_s && got.recall == (double)got.recalled / (double)n_r &&
              got.coverage == (double)got.covered / (double)n_r && got.density == (double)got.dense / (o.k * (double)n_s),
          "%s: shares", what);
}
static void check_radii(const char *what, const float *x, size_t n, int dims, NeighbourOptions o, const double *want, int wants,
                        double unit, double tolerance) {
    float *radius = dg_alloc(n * sizeof *radius);
    Error e = {""};
    CHECK(neighbours_radii(x, n, dims, o, radius, &e), "%s", e.text);
    for (int i = 0; i < wants; i++)
        CHECK(fabs((double)radius[i] * unit - want[i]) <= tolerance, "%s: radius %d: %.9g, not %.9g", what, i, (double)radius[i] * unit,
              want[i]);
    free(radius);
}

/* ---- known sets -------------------------------------------------------------------------------------------------- */
/* Integers with ties: exact in any arithmetic. */
static void integers(void) {
    enum { R = 20, S = 24, D = 3 };
    float r[R * D], s[S * D], d[R * S];
    for (int i = 0; i < R * D; i++) r[i] = (float)(mix(41, (uint64_t)i) >> 60);
    for (int i = 0; i < S * D; i++) s[i] = (float)(mix(42, (uint64_t)i) >> 60) + (i % D == 0 ? 6 : 0);
    const double radii_r[R] = {20, 14, 89, 40, 35, 33, 26, 18, 44, 38, 16, 22, 14, 13, 20, 14, 14, 57, 35, 122};
    const double radii_s[S] = {65, 41, 29, 40, 36, 29, 40, 19, 29, 50, 25, 36, 33, 50, 19, 41, 34, 34, 21, 68, 26, 17, 106, 36};
    const float first[6] = {314, 325, 89, 268, 251, 164};
    const struct {
        int k, loose[4], precise, recalled; /* the last two: strict */
    } rows[] = {{1, {15, 11, 18, 8}, 13, 9}, {2, {16, 14, 31, 10}, 16, 14}, {3, {18, 17, 58, 16}, 17, 16}, {5, {20, 19, 86, 20}, 20, 19}};
    Error e = {""};
    for (int half = 0; half < 2; half++) {
        NeighbourOptions o = {.k = 3, .arithmetic = half ? DISTANCE_ADM_HALF : DISTANCE_FLOAT};
        check_radii("integers, reference", r, R, D, o, radii_r, R, 1, 0);
        check_radii("integers, generated", s, S, D, o, radii_s, S, 1, 0);
        CHECK(neighbours_distances(r, R, s, S, D, o, d, &e) && !memcmp(d, first, sizeof first), "integers: distances");
        for (int i = 0; i < 4; i++) {
            o.k = rows[i].k;
            check_counts("integers", o, measure(r, R, s, S, D, o), rows[i].loose, R, S);
            o.strict = true;
            const int strict[4] = {rows[i].precise, rows[i].recalled, rows[i].loose[2], rows[i].loose[3]};
            check_counts("integers", o, measure(r, R, s, S, D, o), strict, R, S);
            o.strict = false;
        }
    }
}
static void no_ties(void) {
    enum { R = 100, S = 150, D = 6 };
    float r[R * D], s[S * D];
    for (int i = 0; i < R * D; i++) r[i] = (float)uniform(43, (uint64_t)i);
    for (int i = 0; i < S * D; i++) s[i] = (float)uniform(44, (uint64_t)i) + (i % D < 3 ? 0.375f : 0);
    const double radii_r[] = {0.292248954, 0.16874505, 0.269356218, 0.382151299, 0.241810244};
    const double radii_s[] = {0.144073979, 0.122244563, 0.343044582, 0.317585805, 0.201255469};
    const struct {
        int k, want[4];
    } rows[] = {{1, {40, 22, 63, 31}}, {2, {59, 46, 112, 44}}, {3, {69, 58, 141, 54}}, {5, {97, 72, 299, 69}}};
    NeighbourOptions o = {.k = 3};
    check_radii("no ties, reference", r, R, D, o, radii_r, 5, 1, 3e-6);
    check_radii("no ties, generated", s, S, D, o, radii_s, 5, 1, 3e-6);
    for (int i = 0; i < 4; i++) {
        o.k = rows[i].k;
        check_counts("no ties", o, measure(r, R, s, S, D, o), rows[i].want, R, S);
    }
}
/* Features whose distances half precision rounds to many ties. */
static void ties_of_half(void) {
    enum { R = 100, S = 150, D = 64, RANK = 4 };
    float r[R * D], s[S * D], radius[S], d[R * S];
    Error e = {""};
    for (int set = 0; set < 2; set++)
        for (uint64_t i = 0; i < (set ? S : R); i++)
            for (uint64_t j = 0; j < D; j++) {
                uint64_t sum = 0;
                for (uint64_t k = 0; k < RANK; k++)
                    sum += ((mix(set ? 52 : 51, i * RANK + k) >> 60) + (set && k == 0 ? 4 : 0)) * (mix(53, k * D + j) >> 62);
                (set ? s : r)[i * D + j] = (float)sum / 64 + 2;
            }
    CHECK(r[0] * 64 - 128 == 189 - 128 && s[5] * 64 == 162, "the features are other ones: %g %g", (double)r[0] * 64, (double)s[5] * 64);
    NeighbourOptions o = {.k = 3};
    const double exact_r[] = {2599, 4388, 2864, 2303, 2928}, exact_s[] = {2048, 4932, 1615, 5312, 1964};
    const double half_r[] = {0.5, 0.5, 0.5, 0.5, 0.75}, half_s[] = {0.75, 1.5, 0.25, 1.25, 1};
    const float first[] = {25409 / 4096.f, 40476 / 4096.f, 21929 / 4096.f, 15413 / 4096.f}, first_half[] = {6, 9.75f, 5.25f, 3.75f};
    check_radii("exact, reference", r, R, D, o, exact_r, 5, 4096, 0);
    check_radii("exact, generated", s, S, D, o, exact_s, 5, 4096, 0);
    CHECK(neighbours_distances(r, R, s, S, D, o, d, &e) && !memcmp(d, first, sizeof first), "exact: distances");
    Neighbours got = measure(r, R, s, S, D, o);
    CHECK(got.precise == 139 && got.recalled == 91, "exact: %d and %d", (int)got.precise, (int)got.recalled);
    o.arithmetic = DISTANCE_ADM_HALF;
    check_radii("half, reference", r, R, D, o, half_r, 5, 1, 0);
    check_radii("half, generated", s, S, D, o, half_s, 5, 1, 0);
    CHECK(neighbours_distances(r, R, s, S, D, o, d, &e) && !memcmp(d, first_half, sizeof first_half), "half: distances");
    double sum = 0, most = 0;
    for (int set = 0; set < 2; set++, sum = 0) {
        CHECK(neighbours_radii(set ? s : r, set ? S : R, D, o, radius, &e), "%s", e.text);
        for (int i = 0; i < (set ? S : R); i++) sum += (double)radius[i];
        CHECK(sum == (set ? 102.25 : 79.25), "half: the radii sum to %g", sum);
    }
    float *own = dg_alloc(R * R * sizeof *own);
    CHECK(neighbours_distances(r, R, r, R, D, o, own, &e), "%s", e.text);
    for (int i = 0; i < R; i++) most = fmax(most, (double)own[i * R + i]);
    CHECK(most == 1, "half: the largest distance to oneself is %g", most);
    free(own);
    got = measure(r, R, s, S, D, o);
    CHECK(got.precise == 140 && got.recalled == 95, "half: %d and %d", (int)got.precise, (int)got.recalled);
    o.strict = true;
    got = measure(r, R, s, S, D, o);
    CHECK(got.precise == 122 && got.recalled == 89, "half, strict: %d and %d", (int)got.precise, (int)got.recalled);
}

/* ---- one by one -------------------------------------------------------------------------------------------------- */
static float half(float x) { return f16_to_f32(f32_to_f16(x)); }
/* The rows as they are multiplied, and behind them their squared norms. */
static float *naive_rows(const float *x, size_t n, int dims, bool in_half) {
    size_t d = (size_t)dims;
    float *out = dg_alloc(n * (d + 1) * sizeof *out);
    for (size_t i = 0; i < n; i++) {
        float norm = 0;
        for (size_t k = 0; k < d; k++) {
            float a = out[i * d + k] = in_half ? half(x[i * d + k]) : x[i * d + k];
            norm += in_half ? half(a * a) : a * a;
        }
        out[n * d + i] = in_half ? half(norm) : norm;
    }
    return out;
}
static float naive_distance(const float *u, float nu, const float *v, float nv, int dims, bool in_half) {
    float dot = 0;
    for (int k = 0; k < dims; k++) dot += u[k] * v[k];
    return in_half ? half(half(nu - half(2 * half(dot))) + nv) : (nu - 2 * dot) + nv;
}
/* All distances, by ADM's rule of blocks. */
static float *naive_distances(const float *a, size_t n_a, const float *b, size_t n_b, int dims, bool in_half, size_t block, int *in_float) {
    float *d = dg_alloc(n_a * n_b * sizeof *d);
    float *u[2] = {naive_rows(a, n_a, dims, false), naive_rows(a, n_a, dims, true)};
    float *v[2] = {naive_rows(b, n_b, dims, false), naive_rows(b, n_b, dims, true)};
    size_t w = (size_t)dims;
    for (size_t i = 0; i < n_a; i += block)
        for (size_t j = 0; j < n_b; j += block) {
            bool finite = false;
            for (int attempt = 0; attempt < 2 && !finite; attempt++) {
                finite = true;
                for (size_t y = i; y < i + block && y < n_a; y++)
                    for (size_t x = j; x < j + block && x < n_b; x++) {
                        bool h = in_half && !attempt;
                        float x2 = naive_distance(u[h] + y * w, u[h][n_a * w + y], v[h] + x * w, v[h][n_b * w + x], dims, h);
                        if (!isfinite(x2)) finite = false;
                        d[y * n_b + x] = x2 > 0 ? x2 : 0;
                    }
                *in_float += in_half && attempt;
            }
        }
    for (int h = 0; h < 2; h++) free(u[h]), free(v[h]);
    return d;
}
static int by_size(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}
static float *naive_radii(const float *d, size_t n, int k) {
    float *radius = dg_alloc(n * sizeof *radius), *row = dg_alloc(n * sizeof *row);
    for (size_t i = 0; i < n; i++) {
        memcpy(row, d + i * n, n * sizeof *row);
        qsort(row, n, sizeof *row, by_size);
        radius[i] = row[k];
    }
    free(row);
    return radius;
}
static void naive_counts(const float *d, const float *radius_r, size_t n_r, const float *radius_s, size_t n_s, bool strict, int out[4]) {
    memset(out, 0, 4 * sizeof *out);
    for (size_t j = 0; j < n_s; j++) {
        bool in = false;
        for (size_t i = 0; i < n_r; i++) {
            float x = d[i * n_s + j];
            in = in || (strict ? x < radius_r[i] : x <= radius_r[i]);
            out[2] += x < radius_r[i];
        }
        out[0] += in;
    }
    for (size_t i = 0; i < n_r; i++) {
        bool in = false, covered = false;
        for (size_t j = 0; j < n_s; j++) {
            float x = d[i * n_s + j];
            in = in || (strict ? x < radius_s[j] : x <= radius_s[j]);
            covered = covered || x < radius_r[i];
        }
        out[1] += in, out[3] += covered;
    }
}
typedef struct {
    size_t n_r, n_s;
    int dims, block;
    bool in_half;
    float scale; /* of a feature's integer */
    bool large;  /* some images have features whose distances overflow half precision */
} Case;
/* Features that are small multiples of a power of two: sums are exact in float in any order, ties are many. */
static void one_by_one(Case c, const Products *products) {
    float *r = dg_alloc(c.n_r * (size_t)c.dims * sizeof *r), *s = dg_alloc(c.n_s * (size_t)c.dims * sizeof *s);
    for (size_t i = 0; i < c.n_r * (size_t)c.dims; i++) r[i] = (float)(mix(81, i) % 23) * c.scale;
    for (size_t i = 0; i < c.n_s * (size_t)c.dims; i++) s[i] = (float)(mix(82, i) % 25) * c.scale;
    if (c.large) {
        for (int k = 0; k < c.dims; k++) s[(size_t)c.dims * (c.n_s - 3) + (size_t)k] = 128, r[(size_t)k] = 96;
    }
    NeighbourOptions o = {.k = 4, .arithmetic = c.in_half ? DISTANCE_ADM_HALF : DISTANCE_FLOAT, .products = products, .block = c.block};
    int in_float = 0, want[4];
    char what[128];
    snprintf(what, sizeof what, "%zu and %zu of %d, blocks of %d, %s, %s", c.n_r, c.n_s, c.dims, c.block, c.in_half ? "half" : "float",
             products->name);
    float *rr = naive_distances(r, c.n_r, r, c.n_r, c.dims, c.in_half, (size_t)c.block, &in_float);
    float *ss = naive_distances(s, c.n_s, s, c.n_s, c.dims, c.in_half, (size_t)c.block, &in_float);
    float *rs = naive_distances(r, c.n_r, s, c.n_s, c.dims, c.in_half, (size_t)c.block, &in_float), *radius_r = naive_radii(rr, c.n_r, o.k);
    float *radius_s = naive_radii(ss, c.n_s, o.k), *got = dg_alloc(c.n_r * c.n_s * sizeof *got);
    CHECK(!c.large == !in_float, "%s: %d blocks in float", what, in_float);
    Error e = {""};
    CHECK(neighbours_distances(r, c.n_r, s, c.n_s, c.dims, o, got, &e) && !memcmp(got, rs, c.n_r * c.n_s * sizeof *got), "%s: distances %s",
          what, e.text);
    CHECK(neighbours_radii(r, c.n_r, c.dims, o, got, &e) && !memcmp(got, radius_r, c.n_r * sizeof *got), "%s: radii of the reference",
          what);
    CHECK(neighbours_radii(s, c.n_s, c.dims, o, got, &e) && !memcmp(got, radius_s, c.n_s * sizeof *got), "%s: radii of the generated",
          what);
    for (int strict = 0; strict < 2; strict++) {
        o.strict = strict;
        naive_counts(rs, radius_r, c.n_r, radius_s, c.n_s, strict, want);
        check_counts(what, o, measure(r, c.n_r, s, c.n_s, c.dims, o), want, c.n_r, c.n_s);
    }
    free(r), free(s), free(rr), free(ss), free(rs), free(radius_r), free(radius_s), free(got);
}
/* Random features, no ties: float and a naive version round differently, which no count here is near enough to feel. */
static void random_features(void) {
    enum { R = 300, S = 500, D = 37 };
    float *r = dg_alloc(R * D * sizeof *r), *s = dg_alloc(S * D * sizeof *s);
    for (uint64_t i = 0; i < R * D; i++) r[i] = (float)uniform(91, i);
    for (uint64_t i = 0; i < S * D; i++) s[i] = (float)uniform(92, i) * 1.05f;
    int in_float = 0, want[4];
    float *rr = naive_distances(r, R, r, R, D, false, R, &in_float), *ss = naive_distances(s, S, s, S, D, false, S, &in_float);
    float *rs = naive_distances(r, R, s, S, D, false, S, &in_float), *radius_r = naive_radii(rr, R, 3), *radius_s = naive_radii(ss, S, 3);
    naive_counts(rs, radius_r, R, radius_s, S, false, want);
    NeighbourOptions o = {.k = 3};
    check_counts("random", o, measure(r, R, s, S, D, o), want, R, S);
    free(r), free(s), free(rr), free(ss), free(rs), free(radius_r), free(radius_s);
}

/* ---- half precision ---------------------------------------------------------------------------------------------- */
static void rounding(void) {
    int wrong = 0, tried = 0;
    for (uint64_t i = 0; i < (uint64_t)1 << 32; tried++) { /* a prime step, and what lies about every half */
        uint32_t bits = (uint32_t)i;
        float x;
        memcpy(&x, &bits, sizeof x);
        float a = half_round(x), b = half(x);
        wrong += isnan(x) ? !isnan(a) : memcmp(&a, &b, sizeof a) != 0;
        i += i % 0x1000 < 3 || i % 0x1000 > 0xffc ? 1 : 251;
    }
    CHECK(tried > 1 << 24, "%d numbers were tried", tried);
    CHECK(wrong == 0, "%d numbers round otherwise than a conversion to half precision", wrong);
}

/* ---- what is refused --------------------------------------------------------------------------------------------- */
static void refused(void) {
    enum { N = 6, D = 200 };
    float *r = dg_alloc(N * D * sizeof *r), *s = dg_alloc(N * D * sizeof *s);
    Neighbours out;
    NeighbourOptions o = {.k = 3};
    Hostile h = hostile_begin("as many images as neighbours");
    hostile_end(&h, neighbours_measure(r, 3, s, N, D, o, &out, &h.e), "precision and recall",
                "at least 4 images in each set, the reference set has 3");
    h = hostile_begin("no generated images");
    hostile_end(&h, neighbours_measure(r, N, s, 0, D, o, &out, &h.e), "precision and recall", "the generated set has 0");
    const float bad[] = {NAN, INFINITY, -INFINITY};
    for (int i = 0; i < 6; i++) {
        float *x = i % 2 ? r : s;
        o.arithmetic = i % 2 ? DISTANCE_FLOAT : DISTANCE_ADM_HALF;
        x[2 * D + 5] = bad[i / 2];
        h = hostile_begin("a feature that is not finite");
        hostile_end(&h, neighbours_measure(r, N, s, N, D, o, &out, &h.e), i % 2 ? "the reference set" : "the generated set",
                    "feature 5 of image 2");
        x[2 * D + 5] = 0;
    }
    s[4 * D] = 1e19f;
    h = hostile_begin("a norm beyond float");
    hostile_end(&h, neighbours_measure(r, N, s, N, D, o, &out, &h.e), "the generated set", "image 4 of the generated set are too large");
    /* Constant features whose norms overflow half precision: in float the sets lie apart. A NaN that passes the cut-off would put
     * all in all. */
    enum { WIDE = 2048 };
    float *a = dg_alloc(N * WIDE * sizeof *a), *b = dg_alloc(N * WIDE * sizeof *b);
    for (int i = 0; i < N * WIDE; i++) a[i] = 6, b[i] = 6.5f;
    o.arithmetic = DISTANCE_ADM_HALF;
    out = measure(a, N, b, N, WIDE, o);
    CHECK(out.precise == 0 && out.recalled == 0, "constant features apart: %d and %d", (int)out.precise, (int)out.recalled);
    out = measure(a, N, a, N, WIDE, o);
    CHECK(out.precise == N && out.recalled == N, "the same constant features: %d and %d", (int)out.precise, (int)out.recalled);
    free(a), free(b), free(r), free(s);
}
/* Twice a product that half precision cannot hold, though the difference with the norm could be: the block is of float, where the sets
 * lie apart. */
static void twice_a_product(void) {
    const float r[] = {190, 190.5f}, s[] = {192, 250};
    NeighbourOptions o = {.k = 1, .arithmetic = DISTANCE_ADM_HALF};
    Neighbours out = measure(r, 2, s, 2, 1, o);
    CHECK(out.precise == 0 && out.recalled == 2, "%d are precise, %d recalled", (int)out.precise, (int)out.recalled);
}

int main(void) {
    const Products *ways[] = {&products_own, products_cblas()};
    rounding();
    integers();
    no_ties();
    ties_of_half();
    for (int i = 0; i < 2; i++) {
        if (!ways[i]) continue;
        for (int in_half = 0; in_half < 2; in_half++) {
            one_by_one((Case){1100, 1300, 3, 10000, in_half, 1, false}, ways[i]); /* more than a tile */
            one_by_one((Case){90, 170, 33, 50, in_half, 0.5f, false}, ways[i]);   /* several blocks */
        }
        one_by_one((Case){90, 170, 33, 50, true, 0.5f, true}, ways[i]); /* some of which overflow */
        one_by_one((Case){40, 60, 7, 16, true, 1 / 64.f, false}, ways[i]);
        one_by_one((Case){1500, 1700, 33, 10000, true, 0.5f, false}, ways[i]); /* more than a tile, rounded otherwise both ways */
    }
    if (!ways[1]) not_run("products through CBLAS: built without it");
    random_features();
    refused();
    twice_a_product();
    return check_done("test_neighbours");
}
