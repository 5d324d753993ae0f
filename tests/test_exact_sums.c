/* test_exact_sums.c -- statistics without rounding: against integers added one by one, at the edges of the grid, and the same
 * bits for any split, merge order, number of threads and way to multiply. */
#include "measure/exact_sums.h"
#include "base/sha256.h"
#include "hostile.h"
#include "spec_values.h"
#include <math.h>
#ifdef _OPENMP
#include <omp.h>
#endif

static void *rows_of(const ExactSums *s, const double *x, size_t n, DType *type) {
    size_t values = n * (size_t)s->dims;
    *type = s->grid.pieces == 2 ? DG_F32 : DG_F64;
    void *out = dg_alloc(values * dtype_bytes(*type));
    dtype_convert(*type, out, DG_F64, x, values);
    return out;
}
static ExactSums *sums_new(int dims, Grid g, const Products *products) {
    Error e = {""};
    ExactSums *s = exact_new(dims, g, products, &e);
    CHECK(s, "%s", e.text);
    return s;
}
static void add(ExactSums *s, const double *x, size_t n) {
    Error e = {""};
    DType type;
    void *rows = rows_of(s, x, n, &type);
    CHECK(exact_add(s, type, rows, n, 0, &e), "%s", e.text);
    free(rows);
}

/* ---- against integers -------------------------------------------------------------------------------------------- */
static Int128 grid_value(Grid g, double x) { return (Int128)rint(ldexp(x, -g.exponent)); }
static void against_integers(const char *what, int dims, size_t n, Grid g, const Products *products, const double *x) {
    ExactSums *s = sums_new(dims, g, products);
    size_t d = (size_t)dims, at = 0;
    add(s, x, n);
    exact_settle(s);
    CHECK(s->count == n && s->rows == 0, "%s: %d rows", what, (int)s->count);
    for (size_t i = 0; i < d; i++) {
        Int128 sum = 0;
        for (size_t k = 0; k < n; k++) sum += grid_value(g, x[k * d + i]);
        bool right = s->sum[i] == sum, all = true;
        for (size_t j = i; j < d; j++, at++) {
            UInt128 product = 0;
            for (size_t k = 0; k < n; k++) product += (UInt128)(grid_value(g, x[k * d + i]) * grid_value(g, x[k * d + j]));
            all = all && s->product[at] == product;
        }
        CHECK(right && all, "%s, %s: the sums of feature %zu", what, s->products->name, i);
    }
    CHECK(at == exact_products(dims), "%s: %zu products", what, at);
    exact_free(s);
}
/* Features of both signs, of all sizes down to below the grid; and all at its edge, where pieces and their sums are largest. */
static void integers(const Products *products) {
    enum { DIMS = 19, N = 1100, WIDE = 300, FEW = 70 };
    double *x = dg_alloc(N * DIMS * sizeof *x), *y = dg_alloc(FEW * WIDE * sizeof *y);
    for (int wide = 0; wide < 2; wide++) {
        Grid g = wide ? grid_f64 : grid_f32;
        double limit = grid_limit(g), largest = wide ? nextafter(limit, 0) : (double)nextafterf((float)limit, 0);
        for (uint64_t i = 0; i < N * DIMS; i++)
            x[i] = ldexp(uniform(1, i) * 2 - 1, (int)(mix(2, i) % 44) - 43) * limit * (wide ? 1 - uniform(4, i) / 3 : 1);
        against_integers("of all sizes", DIMS, N, g, products, x);
        for (uint64_t i = 0; i < N * DIMS; i++) x[i] = i % DIMS % 3 == 1 ? -largest : largest;
        against_integers("the largest", DIMS, N, g, products, x);
        for (uint64_t i = 0; i < N * DIMS; i++)
            x[i] = (double)(float)(limit * (1 - (uniform(6, i) + 0.001) / 64)) * (i % DIMS % 3 == 1 ? -1 : 1);
        against_integers("near the largest", DIMS, N, g, products, x);
        /* between two values of the next piece the lowest is as large as it gets: all pieces at once, and with the others small */
        double half = ldexp(1, g.exponent + PIECE_BITS - 1);
        for (uint64_t i = 0; i < N * DIMS; i++) x[i] = (limit - half) * (i % DIMS % 2 ? 1 : -1);
        against_integers("large pieces", DIMS, N, g, products, x);
        for (uint64_t i = 0; i < N * DIMS; i++) x[i] = half * (i % 2 ? 1 : 3) * (i % DIMS % 2 ? 1 : -1);
        against_integers("large low pieces", DIMS, N, g, products, x);
        for (uint64_t i = 0; i < FEW * WIDE; i++) y[i] = (double)(float)(uniform(3, i) * 8 - 2);
        against_integers("more columns than a panel", WIDE, FEW, g, products, y);
    }
    free(x);
    free(y);
}

/* ---- one hash ---------------------------------------------------------------------------------------------------- */
static void hash_of(ExactSums *s, char hex[SHA256_HEX]) {
    Gaussian g = {0};
    Error e = {""};
    uint8_t digest[SHA256_BYTES];
    Sha256 h;
    CHECK(exact_gaussian(s, (Divisor){.ddof = 1}, &g, &e), "%s", e.text);
    size_t d = (size_t)s->dims;
    sha256_init(&h);
    sha256_update(&h, &s->count, sizeof s->count);
    sha256_update(&h, s->sum, d * sizeof *s->sum);
    sha256_update(&h, s->product, exact_products(s->dims) * sizeof *s->product);
    sha256_update(&h, g.mean, d * sizeof *g.mean);
    sha256_update(&h, g.covariance, d * d * sizeof *g.covariance);
    sha256_final(&h, digest);
    sha256_hex(digest, hex);
    gaussian_free(&g);
}
typedef struct {
    uint64_t seed, n;
} Draw;
static size_t below(Draw *r, size_t bound) { return (size_t)(mix(r->seed, r->n++) % bound); }
static void shuffle_rows(Draw *r, double *x, size_t n, size_t d) {
    double row[64];
    for (size_t i = n - 1; i > 0; i--) {
        size_t j = below(r, i + 1);
        memcpy(row, x + i * d, d * sizeof *row);
        memmove(x + i * d, x + j * d, d * sizeof *row);
        memcpy(x + j * d, row, d * sizeof *row);
    }
}
static void threads(int n) { /* of the loops and of a BLAS that has its own */
#ifdef _OPENMP
    omp_set_num_threads(n);
#else
    (void)n;
#endif
}
/* The rows in any order, cut into parts of any sizes, each summed in batches of any sizes, merged in any order. */
static void any_split(Draw *r, int dims, size_t n, Grid g, const Products *const *ways, int way_count, double *x, char hex[SHA256_HEX]) {
    enum { MOST = 9 };
    ExactSums *part[MOST];
    size_t parts = 1 + below(r, MOST), left = n, at = 0;
    threads(1 << below(r, 3));
    shuffle_rows(r, x, n, (size_t)dims);
    for (size_t p = 0; p < parts; p++) {
        size_t rows = p == parts - 1 ? left : below(r, left + 1);
        part[p] = sums_new(dims, g, ways[below(r, (size_t)way_count)]);
        left -= rows;
        while (rows) {
            size_t batch = 1 + below(r, rows);
            add(part[p], x + at * (size_t)dims, batch);
            if (below(r, 4) == 0) exact_settle(part[p]);
            at += batch, rows -= batch;
        }
        exact_settle(part[p]);
    }
    for (; parts > 1; parts--) {
        size_t into = below(r, parts), from = (into + 1 + below(r, parts - 1)) % parts;
        exact_merge(part[into], part[from]);
        exact_free(part[from]);
        part[from] = part[parts - 1];
    }
    hash_of(part[0], hex);
    exact_free(part[0]);
}
/* known: the hash on every machine. */
static void one_hash(int dims, size_t n, Grid g, int splits, const char *known) {
    const Products *ways[2] = {&products_own, products_cblas()};
    int way_count = ways[1] ? 2 : 1, different = 0;
    double *x = dg_alloc(n * (size_t)dims * sizeof *x);
    for (size_t i = 0; i < n * (size_t)dims; i++) x[i] = (double)(float)(uniform(7, i) * uniform(7, i) * uniform(7, i) * 12 - 1);
    ExactSums *whole = sums_new(dims, g, ways[0]);
    char want[SHA256_HEX], got[SHA256_HEX];
    add(whole, x, n);
    hash_of(whole, want);
    exact_free(whole);
    Draw r = {8, 0};
    for (int i = 0; i < splits; i++) {
        any_split(&r, dims, n, g, ways, way_count, x, got);
        different += strcmp(want, got) != 0;
    }
    threads(1);
    CHECK(!strcmp(want, known), "%zu x %d: %s, elsewhere %s", n, dims, want, known);
    CHECK(different == 0, "%d of %d splits of %zu x %d give another hash", different, splits, n, dims);
    printf("%d splits of %zu x %d, %d pieces, %s: %s\n", splits, n, dims, g.pieces, way_count == 2 ? "CBLAS and loops" : "loops", want);
    free(x);
}

/* ---- mean and covariance ----------------------------------------------------------------------------------------- */
/* Two passes in long double. */
static void naive(const double *x, int n, int dims, long double *mean, long double *covariance) {
    for (int i = 0; i < dims; i++) {
        mean[i] = 0;
        for (int k = 0; k < n; k++) mean[i] += (long double)x[k * dims + i] / n;
    }
    for (int i = 0; i < dims; i++)
        for (int j = 0; j < dims; j++) {
            long double sum = 0;
            for (int k = 0; k < n; k++) sum += (x[k * dims + i] - mean[i]) * (x[k * dims + j] - mean[j]);
            covariance[i * dims + j] = sum / (n - 1);
        }
}
/* A spread of 1/2^14 of the offset: E[xx] - E[x]E[x] in double would lose 28 of 53 bits. */
static void moments(double offset, double spread) {
    enum { N = 300, DIMS = 13 };
    double x[N * DIMS];
    long double mean[DIMS], covariance[DIMS * DIMS];
    for (int i = 0; i < N * DIMS; i++) x[i] = (double)(float)(offset + uniform(5, (uint64_t)i) * spread);
    naive(x, N, DIMS, mean, covariance);
    ExactSums *s = sums_new(DIMS, grid_f32, NULL);
    Gaussian g, biased, again;
    Error e = {""};
    add(s, x, N);
    CHECK(exact_gaussian(s, (Divisor){.ddof = 1}, &g, &e) && exact_gaussian(s, (Divisor){.ddof = 0}, &biased, &e), "%s", e.text);
    CHECK(exact_gaussian(s, (Divisor){.ddof = 1}, &again, &e) && !memcmp(g.covariance, again.covariance, sizeof(double) * DIMS * DIMS),
          "looking twice gives another covariance");
    CHECK(g.count == N && g.dims == DIMS, "%d dimensions of %d rows", g.dims, (int)g.count);
    for (int i = 0; i < DIMS; i++) {
        CHECK(fabs(g.mean[i] - (double)mean[i]) <= 4e-16 * fabs((double)mean[i]), "mean %d: %.17g, not %.17Lg", i, g.mean[i], mean[i]);
        for (int j = 0; j < DIMS; j++) {
            double want = (double)covariance[i * DIMS + j], scale = sqrt((double)(covariance[i * DIMS + i] * covariance[j * DIMS + j]));
            double got = g.covariance[i * DIMS + j], less = biased.covariance[i * DIMS + j];
            CHECK(fabs(got - want) <= 1e-15 * scale, "covariance %d %d: %.17g, not %.17g", i, j, got, want);
            CHECK(fabs(less - want * (N - 1) / N) <= 1e-15 * scale, "biased covariance %d %d: %.17g", i, j, less);
            CHECK(got == g.covariance[j * DIMS + i], "covariance %d %d: not symmetric", i, j);
        }
    }
    Gaussian more = {0};
    CHECK(exact_gaussian(s, (Divisor){.ddof = 1, .images = 2 * N}, &more, &e) && more.count == N && more.mean[0] == g.mean[0] / 2,
          "divided by another number, it is of %d images", (int)more.count);
    gaussian_free(&more);
    gaussian_free(&g);
    gaussian_free(&biased);
    gaussian_free(&again);
    exact_free(s);
}
static void steps(void) {
    float x[6] = {0.1f, -3, 0.1f, -3, 0.1f, -3};
    ExactSums *s = sums_new(2, grid_f32, NULL);
    Gaussian g = {0};
    Error e = {""};
    CHECK(exact_add(s, DG_F32, x, 3, 0, &e) && exact_gaussian(s, (Divisor){.ddof = 1}, &g, &e), "%s", e.text);
    for (int i = 0; g.covariance && i < 4; i++) CHECK(g.covariance[i] == 0, "the covariance of constants is %g", g.covariance[i]);
    CHECK(g.mean && g.mean[0] == (double)0.1f && g.mean[1] == -3, "the mean of constants");
    gaussian_free(&g);
    exact_free(s);
    /* one step of the grid: a mean of a third of it, and a variance of a third of its square */
    const float step[3] = {0, 0x1p-36f, 0};
    s = sums_new(1, grid_f32, NULL);
    CHECK(exact_add(s, DG_F32, step, 3, 0, &e) && exact_gaussian(s, (Divisor){.ddof = 1}, &g, &e), "%s", e.text);
    CHECK(g.mean && g.mean[0] == 0x1p-36 / 3 && fabs(g.covariance[0] - 0x1p-72 / 3) <= 1e-15 * 0x1p-72, "one step: mean %g, variance %g",
          g.mean[0], g.covariance[0]);
    gaussian_free(&g);
    exact_free(s);
}

/* ---- what is refused --------------------------------------------------------------------------------------------- */
static void refused(void) {
    Gaussian g;
    ExactSums *s = sums_new(3, grid_f32, NULL);
    Hostile h = hostile_begin("no images");
    hostile_end(&h, exact_gaussian(s, (Divisor){.ddof = 1}, &g, &h.e), "covariance", "at least 2 images, there are 0");
    float rows[6] = {1, 2, 3, 4, 5, 6};
    CHECK(exact_add(s, DG_F32, rows, 1, 0, &h.e), "%s", h.e.text);
    h = hostile_begin("one image");
    hostile_end(&h, exact_gaussian(s, (Divisor){.ddof = 1}, &g, &h.e), "covariance", "there are 1");
    const float bad[] = {NAN, INFINITY, -INFINITY, 256, -256, 1e30f};
    for (int i = 0; i < 6; i++) {
        rows[4] = bad[i];
        h = hostile_begin("a feature that does not fit");
        hostile_end(&h, exact_add(s, DG_F32, rows, 2, 70, &h.e), "image 71", i < 3 ? "feature 1 of image 71 is not a finite" : "below 256");
        CHECK(s->count == 1 && s->rows == 1, "rows of a batch that was refused were added");
    }
    ExactSums *other = sums_new(2, grid_f32, NULL), *wide = sums_new(3, grid_f64, NULL), *full = sums_new(3, grid_f64, NULL);
    h = hostile_begin("other features");
    hostile_end(&h, exact_fits(s, other, &h.e), "statistics", "3 and 2 dimensions");
    h = hostile_begin("another grid");
    hostile_end(&h, exact_fits(s, wide, &h.e), "statistics", "2^-36 in 2 pieces and 2^-48 in 3");
    wide->count = full->count = grid_images(grid_f64) / 2 + 1;
    h = hostile_begin("more images than the sums hold");
    hostile_end(&h, exact_fits(wide, full, &h.e), "statistics", "at most 1048576 images");
    wide->count = grid_images(grid_f64) - 1;
    h = hostile_begin("more rows than the sums hold");
    hostile_end(&h, exact_add(wide, DG_F32, rows, 2, 0, &h.e), "statistics", "at most 1048576 images");
    exact_free(s), exact_free(other), exact_free(wide), exact_free(full);
}

int main(void) {
    threads(1);
    integers(&products_own);
    if (products_cblas()) integers(products_cblas());
    else not_run("products through CBLAS: built without it");
    moments(0, 1);
    moments(200, 1 / 64.0);
    moments(-17, 40);
    steps();
    one_hash(11, 700, grid_f32, 1000, "2b192ee5d39bf1f88468027bb5ea74a211142b5aba8ccfa3d809c2768f76e0c0");
    one_hash(11, 700, grid_f64, 100, "3ead5094b9b18a36dfa10639429c562eee2c193ec4b689d9155276908de72938");
    one_hash(64, 900, grid_f32, 30, "9387a3f002bd578fda1c0edf10daa5aff2ab50e20792997007f00c3c18d27f94");
    refused();
    return check_done("test_exact_sums");
}
