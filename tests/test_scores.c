/* test_scores.c -- NumPy's random subsets, the Inception Score and the kernel distance: known values, and what has none. */
#include "hostile.h"
#include "measure/inception_score.h"
#include "measure/kernel_distance.h"
#include "measure/numpy_random.h"
#include "spec_values.h"
#include <math.h>
#include <stdlib.h>

/* ---- NumPy's generator ------------------------------------------------------------------------------------------- */
static void raw_numbers(void) {
    const struct {
        uint32_t seed, want[4];
    } rows[] = {{0, {2357136044, 2546248239, 3071714933, 3626093760}},
                {1, {1791095845, 4282876139, 3093770124, 4005303368}},
                {2020, {4236026720, 639299976, 3751189827, 2669525622}}};
    for (int i = 0; i < 3; i++) {
        NumpyRandom r;
        numpy_seed(&r, rows[i].seed);
        for (int k = 0; k < 4; k++) {
            uint32_t got = numpy_next(&r);
            CHECK(got == rows[i].want[k], "seed %u, number %d: %u, not %u", rows[i].seed, k, got, rows[i].want[k]);
        }
    }
}
static void permutation(uint32_t seed, size_t n, const size_t first[10]) {
    size_t *out = dg_alloc(n * sizeof *out), sum = 0;
    NumpyRandom r;
    numpy_seed(&r, seed);
    numpy_permutation(&r, n, out);
    for (int i = 0; i < 10; i++) CHECK(out[i] == first[i], "permutation of %zu, seed %u: %zu at %d, not %zu", n, seed, out[i], i, first[i]);
    for (size_t i = 0; i < n; i++) sum += out[i];
    CHECK(sum == n * (n - 1) / 2, "permutation of %zu, seed %u: the sum is %zu", n, seed, sum);
    free(out);
}
static void permutations(void) {
    permutation(0, 10, (const size_t[]){2, 8, 4, 9, 1, 6, 7, 3, 0, 5});
    permutation(2020, 10, (const size_t[]){2, 4, 9, 1, 5, 7, 6, 3, 8, 0});
    permutation(0, 1000, (const size_t[]){993, 859, 298, 553, 672, 971, 27, 231, 306, 706});
    permutation(2020, 1000, (const size_t[]){725, 986, 815, 656, 469, 76, 668, 286, 904, 284});
    permutation(0, 50100, (const size_t[]){31994, 35794, 34012, 37733, 23709, 2293, 36111, 12530, 14407, 48874});
    const size_t want[2][6] = {{22, 15, 30, 2, 33, 4}, {32, 39, 6, 4, 24, 12}};
    NumpyRandom r;
    numpy_seed(&r, 2020);
    for (int i = 0; i < 2; i++) {
        size_t out[20];
        numpy_choice(&r, i ? 50 : 40, 20, out);
        for (int k = 0; k < 6; k++) CHECK(out[k] == want[i][k], "choice %d: %zu at %d, not %zu", i, out[k], k, want[i][k]);
    }
    size_t one = 7;
    numpy_choice(&r, 1, 1, &one);
    CHECK(one == 0, "one of one: %zu", one);
}
/* Of EDM's subset: the first that are left out, and the sum of all that are. */
static void subset(uint64_t seed, size_t n, size_t count, const size_t first[10], size_t sum) {
    size_t *kept = dg_alloc(count * sizeof *kept), at = 0, found = 0, total = 0;
    numpy_subset(seed, n, count, kept);
    for (size_t i = 0; i < n; i++) {
        if (at < count && kept[at] == i) at++;
        else {
            if (found < 10) CHECK(i == first[found], "%zu of %zu, seed %d: %zu is left out, not %zu", count, n, (int)seed, i, first[found]);
            found++, total += i;
        }
    }
    CHECK(at == count && found == n - count && total == sum, "%zu of %zu: %zu left out, whose sum is %zu", count, n, found, total);
    free(kept);
}
static void subsets(void) {
    size_t seven[7];
    const size_t want[7] = {1, 2, 4, 6, 7, 8, 9};
    numpy_subset(0, 10, 7, seven);
    CHECK(!memcmp(seven, want, sizeof want), "7 of 10");
    numpy_subset((uint64_t)1 << 31, 10, 7, seven);
    CHECK(!memcmp(seven, want, sizeof want), "7 of 10 by a seed of 2^31");
    subset(0, 50100, 50000, (const size_t[]){797, 1871, 2163, 2496, 2732, 3219, 3560, 3918, 4420, 5072}, 2529990);
    subset(0, 60000, 50000, (const size_t[]){10, 11, 13, 19, 21, 26, 30, 41, 43, 52}, 299633611);
    subset(1, 50100, 50000, (const size_t[]){15, 243, 431, 1046, 1306, 1844, 2561, 3606, 4039, 5192}, 2582992);
}

/* ---- the Inception Score ----------------------------------------------------------------------------------------- */
enum { IMAGES = 23, CLASSES = 16 };
static void make_logits(float *x) {
    for (int i = 0; i < IMAGES * CLASSES; i++) x[i] = 8 * (float)uniform(71, (uint64_t)i);
}
static void score(const char *what, ScoreSplits how, int splits, const double *want, double mean, double std) {
    float logits[IMAGES * CLASSES];
    InceptionScore s;
    Error e = {""};
    make_logits(logits);
    CHECK(inception_score(logits, IMAGES, CLASSES, how, &s, &e), "%s", e.text);
    CHECK(s.splits == splits, "%s: %d splits", what, s.splits);
    for (int i = 0; i < s.splits && i < splits; i++)
        CHECK(fabs(s.split[i] - want[i]) <= 4e-15, "%s: split %d: %.17g, not %.17g", what, i, s.split[i], want[i]);
    CHECK(fabs(s.mean - mean) <= 4e-15, "%s: %.17g, not %.17g", what, s.mean, mean);
    CHECK(std < 0 || fabs(s.std - std) <= 1e-14, "%s: std %.17g, not %.17g", what, s.std, std);
    inception_score_free(&s);
}
static void scores(void) {
    score("splits of 5", (ScoreSplits){.split_size = 5}, 5,
          (const double[]){2.2227917520687424, 1.7898489567134934, 2.132893879260175, 2.23423608275592, 1.7413933751034922},
          2.0242328091803645, -1);
    score("5 splits", (ScoreSplits){.splits = 5}, 5,
          (const double[]){2.069815785977326, 1.859311672728889, 1.983915052300326, 1.9927490820116824, 1.801985408425714},
          1.9415554002887876, 0.09706665035475527);
    score("5 splits, shuffled", (ScoreSplits){.splits = 5, .shuffled = true, .seed = 2020}, 5,
          (const double[]){1.7453420522147935, 2.1518524031783643, 2.699741322994074, 2.266456736280774, 1.9765899391512292},
          2.167996490763847, 0.31874154437105406);
    score("one split", (ScoreSplits){.splits = 1}, 1, (const double[]){2.5077317227562235}, 2.5077317227562235, 0);
    /* probabilities that underflow add nothing: each image is of one class, half of them each */
    float far[4 * 2] = {3000, -3000, -3000, 3000, 3000, -3000, -3000, 3000};
    InceptionScore s;
    Error e = {""};
    CHECK(inception_score(far, 4, 2, (ScoreSplits){.splits = 1}, &s, &e), "%s", e.text);
    CHECK(fabs(s.mean - 2) <= 1e-15, "two sure classes: %.17g", s.mean);
    inception_score_free(&s);
}
static void refused_scores(void) {
    float logits[IMAGES * CLASSES];
    InceptionScore s;
    make_logits(logits);
    Hostile h = hostile_begin("fewer images than splits");
    hostile_end(&h, inception_score(logits, 9, CLASSES, (ScoreSplits){.splits = 10}, &s, &h.e), "Inception Score",
                "in 10 splits needs at least as many images, there are 9");
    h = hostile_begin("no images");
    hostile_end(&h, inception_score(logits, 0, CLASSES, (ScoreSplits){.split_size = 5}, &s, &h.e), "Inception Score", "there are none");
    const float bad[] = {NAN, INFINITY, -INFINITY};
    for (int i = 0; i < 3; i++) {
        logits[3 * CLASSES + 2] = bad[i];
        h = hostile_begin("a logit that is not finite");
        hostile_end(&h, inception_score(logits, IMAGES, CLASSES, (ScoreSplits){.splits = 1}, &s, &h.e), "image 3", "logit 2 of image 3");
    }
}

/* ---- the kernel distance ----------------------------------------------------------------------------------------- */
enum { X = 40, Y = 50, DIMS = 8 };
static void make_features(float *x, float *y) {
    for (int i = 0; i < X * DIMS; i++) x[i] = (float)uniform(61, (uint64_t)i);
    for (int i = 0; i < Y * DIMS; i++) y[i] = 1.25f * (float)uniform(62, (uint64_t)i);
}
static KernelDistance distance(const float *x, size_t n_x, const float *y, size_t n_y, int dims, KernelSubsets how) {
    KernelDistance d = {0};
    Error e = {""};
    CHECK(kernel_distance(x, n_x, y, n_y, dims, how, &d, &e), "%s", e.text);
    return d;
}
/* 1.25 u in float is rounded: an error of 2^-24 of a feature moves a value by 1e-7. In double, of the same features: `naive`. */
static double naive_distance(const float *x, const size_t *ix, const float *y, const size_t *iy, size_t m, int dims) {
    long double sum[3] = {0};
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < m; j++)
            for (int kind = 0; kind < 3; kind++) {
                const float *a = (kind == 1 ? y + iy[i] * (size_t)dims : x + ix[i] * (size_t)dims);
                const float *b = (kind == 0 ? x + ix[j] * (size_t)dims : y + iy[j] * (size_t)dims);
                long double dot = 0;
                for (int k = 0; k < dims; k++) dot += (long double)a[k] * b[k];
                if (kind == 2 || i != j) sum[kind] += (dot / dims + 1) * (dot / dims + 1) * (dot / dims + 1);
            }
    return (double)((sum[0] + sum[1]) / (long double)(m * (m - 1)) - 2 * sum[2] / (long double)(m * m));
}
static void kernel_distances(void) {
    float x[X * DIMS], y[Y * DIMS];
    size_t all[X];
    make_features(x, y);
    for (size_t i = 0; i < X; i++) all[i] = i;
    KernelDistance d = distance(x, X, y, X, DIMS, (KernelSubsets){.subsets = 1, .seed = 2020}); /* of all, in another order */
    CHECK(d.size == X && d.subsets == 1 && d.std == 0, "%d subsets of %zu", d.subsets, d.size);
    CHECK(fabs(d.mean - 0.14276423905805924) <= 1e-7, "all: %.17g", d.mean);
    CHECK(fabs(d.mean - naive_distance(x, all, y, all, X, DIMS)) <= 1e-14, "all: %.17g", d.mean);
    const double want[5] = {0.3009112709166635, 0.17581555370847557, 0.20142800140529626, 0.1651476707336812, 0.16364433686941826};
    double sum = 0, exact = 0;
    NumpyRandom r;
    numpy_seed(&r, 2020);
    for (int n = 1; n <= 5; n++) {
        size_t ix[20], iy[20];
        d = distance(x, X, y, Y, DIMS, (KernelSubsets){.subsets = n, .size = 20, .seed = 2020});
        numpy_choice(&r, X, 20, ix);
        numpy_choice(&r, Y, 20, iy);
        sum += want[n - 1], exact += naive_distance(x, ix, y, iy, 20, DIMS);
        CHECK(fabs(d.mean - sum / n) <= 1e-7, "%d subsets of 20: %.17g, not %.17g", n, d.mean, sum / n);
        CHECK(fabs(d.mean - exact / n) <= 1e-14, "%d subsets of 20: %.17g, not %.17g", n, d.mean, exact / n);
    }
    CHECK(fabs(d.mean - 0.20138936672670696) <= 1e-7, "5 subsets: %.17g", d.mean);
    CHECK(fabs(d.std - 0.05156894147818675) <= 1e-7, "5 subsets: std %.17g", d.std);
    d = distance(x, X, y, Y, DIMS, (KernelSubsets){.seed = 1});
    CHECK(d.subsets == 100 && d.size == X, "by default %d subsets of %zu", d.subsets, d.size);
    /* more rows than a panel of products, and the default size */
    enum { MANY = 1100, FEW = 3 };
    float *big = dg_alloc(2 * MANY * FEW * sizeof *big), *other = big + MANY * FEW;
    for (uint64_t i = 0; i < 2 * MANY * FEW; i++) big[i] = (float)uniform(63, i);
    size_t *ix = dg_alloc(2 * MANY * sizeof *ix), *iy = ix + MANY;
    numpy_seed(&r, 5);
    numpy_choice(&r, MANY, 1000, ix);
    numpy_choice(&r, MANY, 1000, iy);
    d = distance(big, MANY, other, MANY, FEW, (KernelSubsets){.subsets = 1, .seed = 5});
    CHECK(d.size == 1000 && fabs(d.mean - naive_distance(big, ix, other, iy, 1000, FEW)) <= 1e-13, "1000 of 1100: %.17g", d.mean);
    free(big);
    free(ix);
}
static void refused_distances(void) {
    float x[X * DIMS], y[Y * DIMS];
    KernelDistance d;
    make_features(x, y);
    Hostile h = hostile_begin("subsets of one");
    hostile_end(&h, kernel_distance(x, X, y, Y, DIMS, (KernelSubsets){.size = 1}, &d, &h.e), "kernel distance",
                "at least 2 images, these have 1");
    h = hostile_begin("one image");
    hostile_end(&h, kernel_distance(x, 1, y, Y, DIMS, (KernelSubsets){0}, &d, &h.e), "kernel distance", "at least 2 images, these have 1");
    h = hostile_begin("subsets larger than a set");
    hostile_end(&h, kernel_distance(x, X, y, Y, DIMS, (KernelSubsets){.size = 41}, &d, &h.e), "kernel distance",
                "as many in both sets, one has 40");
    y[3 * DIMS + 1] = NAN;
    h = hostile_begin("a feature that is not finite");
    hostile_end(&h, kernel_distance(x, X, y, Y, DIMS, (KernelSubsets){0}, &d, &h.e), "reference set",
                "feature 1 of image 3 of the reference set");
    for (int i = 0; i < Y * DIMS; i++) y[i] = 3e38f;
    for (int i = 0; i < X * DIMS; i++) x[i] = 3e38f;
    d = distance(x, X, y, Y, DIMS, (KernelSubsets){0});
    CHECK(isfinite(d.mean) && isfinite(d.std), "the largest features: %g", d.mean);
}

int main(void) {
    raw_numbers();
    permutations();
    subsets();
    scores();
    refused_scores();
    kernel_distances();
    refused_distances();
    return check_done("test_scores");
}
