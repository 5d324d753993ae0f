/* test_rng.c -- Philox4x32-10 against its authors' vectors, and the normals and labels that are drawn from it. */
#include "base/rng.h"
#include "check.h"

static void test_vectors(void) { /* kat_vectors of Random123 (Salmon et al.), philox4x32, 10 rounds */
    static const struct {
        uint32_t counter[4], key[2], wanted[4];
    } known[] = {
        {{0, 0, 0, 0}, {0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}, {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        const uint32_t *c = known[i].counter, *k = known[i].key, *w = known[i].wanted;
        Philox p = philox((uint64_t)k[1] << 32 | k[0], (uint64_t)c[1] << 32 | c[0], c[2], c[3]);
        CHECK(!memcmp(p.v, w, sizeof p.v), "vector %zu: %08x %08x %08x %08x", i, p.v[0], p.v[1], p.v[2], p.v[3]);
    }
}
static void test_uniform(void) { /* never 0 or 1: the logarithm and the cosine take every value */
    double least = philox_uniform(0, 0), most = philox_uniform(0xffffffff, 0xffffffff);
    CHECK(least == 0x1p-54 && most > 1 - 0x1p-52 && most <= 1, "the range is %a to %a", least, most);
    CHECK(isfinite(sqrt(-2 * log(least))) && isfinite(sqrt(-2 * log(most))), "the ends of the range give no normals");
}
/* Moments of n normals; each bound is five standard errors of that moment. */
static void test_normals(void) {
    enum { SEEDS = 40, PAIRS = 2500 };
    double sum[5] = {0}, product = 0, n = SEEDS * PAIRS * 2.0;
    for (uint64_t seed = 0; seed < SEEDS; seed++)
        for (uint64_t i = 0; i < PAIRS; i++) {
            double z[2];
            philox_normal_pair(seed, i, (uint32_t)seed, z);
            for (int k = 0; k < 2; k++)
                for (int power = 1; power <= 4; power++) sum[power] += pow(z[k], power);
            product += z[0] * z[1];
        }
    static const double wanted[5] = {0, 0, 1, 0, 3}, variance[5] = {0, 1, 2, 15, 96}; /* of z, z^2, z^3, z^4 */
    for (int power = 1; power <= 4; power++)
        CHECK(fabs(sum[power] / n - wanted[power]) <= 5 * sqrt(variance[power] / n), "moment %d is %.5f", power, sum[power] / n);
    CHECK(fabs(product / (n / 2)) <= 5 / sqrt(n / 2), "the two normals of a pair correlate: %.5f", product / (n / 2));
}
/* Every part of the key and the counter counts: no two of these draws agree. */
static void test_independence(void) {
    double base[2], z[2];
    philox_normal_pair(7, 11, 3, base);
    static const struct {
        uint64_t seed, pair;
        uint32_t step;
    } other[] = {{8, 11, 3}, {7 + (1ull << 32), 11, 3}, {7, 12, 3}, {7, 11 + (1ull << 32), 3}, {7, 11, 4}, {7, 11, RNG_STEP_LATENT}};
    for (size_t i = 0; i < sizeof other / sizeof *other; i++) {
        philox_normal_pair(other[i].seed, other[i].pair, other[i].step, z);
        CHECK(z[0] != base[0] && z[1] != base[1], "draw %zu equals the first", i);
    }
    Philox noise = philox(7, 0, 0, RNG_STREAM_NOISE), label = philox(7, 0, 0, RNG_STREAM_LABEL);
    CHECK(memcmp(noise.v, label.v, sizeof noise.v), "labels and noise share their numbers");
}
static void test_labels(void) {
    enum { CLASSES = 10, SEEDS = 20000 };
    int count[CLASSES] = {0}, outside = 0;
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        int label = philox_label(seed, CLASSES);
        if (label < 0 || label >= CLASSES) outside++;
        else count[label]++;
    }
    double expected = (double)SEEDS / CLASSES, chi2 = 0;
    for (int k = 0; k < CLASSES; k++) chi2 += (count[k] - expected) * (count[k] - expected) / expected;
    CHECK(outside == 0, "%d labels are no class", outside);
    CHECK(chi2 <= 33.7, "labels are not uniform: chi-squared %.1f at 9 degrees of freedom", chi2); /* 1 in 10,000 */
    CHECK(philox_label(12345, 1) == 0, "one class: label %d", philox_label(12345, 1));
}
int main(void) {
    test_vectors();
    test_uniform();
    test_normals();
    test_independence();
    test_labels();
    return check_done("test_rng");
}
