/* test_state.c -- the sampler's state operations (combine, randn, to_u8) of a device against those in host memory, and copies.
 *   test_state [DEVICE...]     default: every device of this build; a device that cannot be opened is NOT RUN
 * combine and to_u8 agree in every bit, randn within the rounding that its three functions are documented to have.    */
#include "base/rng.h"
#include "state_check.h"

static bool has_half_types(const Device *d) { return d->precision.act == DG_F16 || d->precision.act == DG_BF16; }

/* ---- combine ------------------------------------------------------------------------------------------------------------ */
/* Sums that f16 or bf16 get wrong when they are rounded to f32 on the way, and what has no plain value. */
static const double rounding_trap[] = {1 + 0x1p-11 + 0x1p-30,
                                       1 + 0x3p-11 - 0x1p-30,
                                       -1 - 0x1p-11 - 0x1p-40,
                                       1 + 0x1p-8 + 0x1p-33,
                                       1 + 0x3p-8 - 0x1p-33,
                                       65519.999999999,
                                       65520,
                                       0x1p-24 + 0x1p-25 + 0x1p-60,
                                       0x1p-25 + 0x1p-70,
                                       3.4e38,
                                       1e300,
                                       -1e300,
                                       0x1p-140,
                                       -0.0,
                                       (double)NAN,
                                       (double)INFINITY,
                                       -(double)INFINITY};
enum { TRAPS = sizeof rounding_trap / sizeof *rounding_trap };

static uint16_t towards(uint16_t bits, bool up) { /* the next value of a 16-bit float; infinity comes after the largest */
    if ((bits & 0x7fff) == 0) return up ? 1 : 0x8001;
    return (uint16_t)(((bits & 0x8000) == 0) == up ? bits + 1 : bits - 1);
}
/* Whether `bits` is the nearest 16-bit value of exact, the even one of two. Infinity counts as the power of two it stands for. */
static double half_value(DType type, uint16_t bits) {
    double infinite = type == DG_F16 ? 0x1p16 : 0x1p128, v = (double)(type == DG_F16 ? f16_to_f32(bits) : bf16_to_f32(bits));
    return isinf(v) ? copysign(infinite, v) : v;
}
static bool nearest(DType type, uint16_t bits, double exact) {
    double v = (double)(type == DG_F16 ? f16_to_f32(bits) : bf16_to_f32(bits));
    if (isnan(exact) || isnan(v)) return isnan(exact) && isnan(v);
    if (isinf(v) && fabs(exact) >= half_value(type, bits) && signbit(v) == signbit(exact)) return true;
    double off = fabs(half_value(type, bits) - exact);
    for (int up = 0; up < 2; up++) {
        uint16_t other = towards(bits, up);
        if (isnan(type == DG_F16 ? f16_to_f32(other) : bf16_to_f32(other))) continue;
        double other_off = fabs(half_value(type, other) - exact);
        if (other_off < off || (other_off == off && bits & 1)) return false;
    }
    return true;
}

typedef struct {
    int n, terms;
    size_t per_sample;
    bool half_terms; /* two of the terms are f16 and bf16 */
    double *coef[COMBINE_TERMS], *device_coef[COMBINE_TERMS];
    void *host[COMBINE_TERMS], *device[COMBINE_TERMS];
    Term host_term[COMBINE_TERMS], term[COMBINE_TERMS];
} Sum;
static Sum sum_new(Device *d, int n, int terms, size_t per_sample, bool half_terms) {
    static const DType types[COMBINE_TERMS] = {DG_F64, DG_F32, DG_F64,  DG_F16, DG_BF16, DG_F32,
                                               DG_F64, DG_F32, DG_BF16, DG_F64, DG_F32,  DG_F64};
    Sum s = {.n = n, .terms = terms, .per_sample = per_sample, .half_terms = half_terms};
    size_t count = (size_t)n * per_sample;
    double *v = dg_alloc(count * sizeof *v);
    for (int k = 0; k < terms; k++) {
        DType type = types[k];
        if (!half_terms && (type == DG_F16 || type == DG_BF16)) type = DG_F32;
        DType host_type = type == DG_F16 || type == DG_BF16 ? DG_F32 : type; /* the same values */
        for (size_t i = 0; i < count; i++) v[i] = k == 0 && i % 3 == 0 ? rounding_trap[i / 3 % TRAPS] : value((uint64_t)k, i);
        void *stored = dg_alloc(count * sizeof(double));
        dtype_convert(type, stored, DG_F64, v, count);
        s.device[k] = to_device(d, stored, count * dtype_bytes(type));
        s.host[k] = dg_alloc(count * sizeof(double));
        dtype_convert(host_type, s.host[k], type, stored, count);
        free(stored);
        s.coef[k] = dg_alloc((size_t)n * sizeof(double));
        for (int i = 0; i < n; i++) s.coef[k][i] = (i + k) % 4 == 0 ? (k == 0) : value(77 + (uint64_t)k, (size_t)i); /* some are 0 */
        s.device_coef[k] = to_device(d, s.coef[k], (size_t)n * sizeof(double));
        s.term[k] = (Term){.data = s.device[k], .type = type, .coef = s.device_coef[k]};
        s.host_term[k] = (Term){.data = s.host[k], .type = host_type, .coef = s.coef[k]};
    }
    free(v);
    return s;
}
static void sum_free(Device *d, Sum *s) {
    for (int k = 0; k < s->terms; k++) {
        d->be->release(d, s->device[k]), d->be->release(d, s->device_coef[k]);
        free(s->host[k]);
        free(s->coef[k]);
    }
}
/* One combination into out_type; in_place: into the memory of term 0. */
static void check_combine(Device *d, int n, int terms, size_t per_sample, DType out_type, bool in_place) {
    bool half = out_type == DG_F16 || out_type == DG_BF16;
    Sum s = sum_new(d, n, terms, per_sample, has_half_types(d));
    size_t count = (size_t)n * per_sample, bytes = count * dtype_bytes(out_type), wrong = 0;
    double *want = dg_alloc(count * sizeof *want);
    float *want_f32 = dg_alloc(count * sizeof *want_f32);
    host_combine(NULL, want, DG_F64, n, per_sample, s.host_term, terms);
    host_combine(NULL, want_f32, DG_F32, n, per_sample, s.host_term, terms);
    void *out = in_place ? s.device[0] : d->be->alloc(d, bytes);
    d->be->combine(d, out, out_type, n, per_sample, s.term, terms);
    void *found = dg_alloc(bytes);
    d->be->download(d, found, out, bytes);
    for (size_t i = 0; i < count; i++) {
        if (half) wrong += !nearest(out_type, ((uint16_t *)found)[i], want[i]);
        else if (out_type == DG_F32) wrong += !same_value((double)((float *)found)[i], (double)want_f32[i]);
        else wrong += !same_value(((double *)found)[i], want[i]);
    }
    CHECK(wrong == 0, "combine on %s: %zu of %zu values into %s wrong (%d images, %d terms)", d->be->name, wrong, count,
          dtype_name(out_type), n, terms);
    if (!in_place) d->be->release(d, out);
    free(found), free(want), free(want_f32);
    sum_free(d, &s);
}
/* ---- combine, terms that are not plain ------------------------------------------------------------------------------------ */
typedef struct {
    const char *name;
    int channels, pixels;
    Layout term[COMBINE_TERMS];
    int terms;
} Mix;
static const Mix mixes[] = {
    {"eps of [eps, v]", 3, 25, {{DG_F32, 0, 0, 6}}, 1},
    {"v of [eps, v]", 3, 25, {{DG_F64, 0, 3, 6}}, 1},
    {"the last of 13 channels", 1, 30, {{DG_F32, 0, 12, 13}, {DG_F64}}, 2},
    {"all channels, as a range", 5, 7, {{DG_F64, 0, 0, 5}, {DG_F64, 1, 2, 9}}, 2},
    {"bytes", 3, 31, {{DG_U8}, {DG_F64}}, 2},
    {"bytes, a range at an odd address", 3, 31, {{DG_U8, 3, 1, 5, 7}, {DG_F32, 1}}, 2},
    {"rows 0 and 1 of pairs", 4, 16, {{DG_F32, 0, 0, 0, 64}, {DG_F32, 64, 0, 0, 64}}, 2},
    {"three of seven channels with another coefficient", 7, 9, {{DG_F64, 0, 0, 0, 0, 3}, {DG_F32, 5, 1, 8, 0, 6}}, 2},
    {"a head of every channel, and of one", 3, 9, {{DG_F64, 0, 0, 0, 0, 3}, {DG_F64, 0, 0, 0, 0, 1}}, 2},
    {"guided eps of three channels, 8 networks' channels", 4, 300, {{DG_F32, 0, 0, 8, 0, 3}, {DG_F32, 9600, 0, 8, 0, 3}, {DG_F64}}, 3},
    {"one pixel", 13, 1, {{DG_F32, 0, 4, 17}, {DG_U8, 0, 0, 13, 3}}, 2},
    {"16 bits", 3, 25, {{DG_F16, 1, 3, 7}, {DG_BF16, 0, 1, 4, 11, 2}, {DG_F64}}, 3},
    {"as many as there can be",
     3,
     401,
     {{DG_F64},
      {DG_F32, 0, 0, 6},
      {DG_F64, 2},
      {DG_U8},
      {DG_F32, 0, 3, 6},
      {DG_F64, 0, 0, 0, 9},
      {DG_F32, 1},
      {DG_U8, 1, 2, 8},
      {DG_F64, 0, 0, 0, 0, 2},
      {DG_F32},
      {DG_F64, 7, 1, 4},
      {DG_F64, 0, 0, 0, 0, 1}},
     COMBINE_TERMS},
};
enum { MIX_IMAGES = 3 };
static bool is_half(DType t) { return t == DG_F16 || t == DG_BF16; }
static void check_mix(Device *d, const Mix *m, DType out_type) {
    const Samples samples = {MIX_IMAGES, m->pixels, m->channels};
    Placed placed[COMBINE_TERMS];
    Term term[COMBINE_TERMS];
    double coef[COMBINE_TERMS][2][MIX_IMAGES];
    size_t per_sample = (size_t)m->channels * (size_t)m->pixels, count = MIX_IMAGES * per_sample, wrong = 0;
    for (int k = 0; k < m->terms; k++) {
        for (int s = 0; s < MIX_IMAGES; s++)
            for (int second = 0; second < 2; second++)
                coef[k][second][s] = (s + k + second) % 5 == 0 ? 0 : value((second ? 500 : 400) + (uint64_t)k, (size_t)s);
        placed[k] = placed_new(d, &m->term[k], &samples, (uint64_t)k + 31, coef[k][0], coef[k][1]);
        term[k] = placed[k].term;
    }
    void *out = d->be->alloc(d, count * sizeof(double));
    d->be->combine(d, out, out_type, MIX_IMAGES, per_sample, term, m->terms);
    char *found = from_device(d, out, count * sizeof(double));
    for (size_t i = 0; i < count; i++) {
        int s = (int)(i / per_sample), pixel = (int)(i % per_sample) / m->channels, channel = (int)(i % per_sample) % m->channels;
        double is, sum = placed_sum(0, placed, m->terms, &samples, s, pixel, channel);
        dtype_convert(DG_F64, &is, out_type, found + i * dtype_bytes(out_type), 1);
        if (is_half(out_type)) wrong += !nearest(out_type, ((uint16_t *)(void *)found)[i], sum);
        else wrong += !(is == (out_type == DG_F32 ? (double)(float)sum : sum));
    }
    CHECK(wrong == 0, "combine on %s, %s: %zu of %zu values into %s wrong", d->be->name, m->name, wrong, count, dtype_name(out_type));
    for (int k = 0; k < m->terms; k++) placed_free(d, &placed[k]);
    free(found);
}
static void test_mixes(Device *d) {
    static const DType types[] = {DG_F64, DG_F32, DG_F16, DG_BF16};
    for (size_t i = 0; i < sizeof mixes / sizeof *mixes; i++)
        for (int t = 0; t < 4; t++) check_mix(d, &mixes[i], types[t]);
}
static void test_combine(Device *d) {
    static const int terms[] = {1, 2, 3, COMBINE_TERMS};
    for (int k = 0; k < 4; k++) {
        check_combine(d, 3, terms[k], 301, DG_F64, false);
        check_combine(d, 3, terms[k], 301, DG_F32, false);
        check_combine(d, 3, terms[k], 301, DG_F64, true);
        if (!has_half_types(d)) continue;
        check_combine(d, 3, terms[k], 301, DG_F16, false);
        check_combine(d, 3, terms[k], 301, DG_BF16, false);
    }
    check_combine(d, 1, 2, 1, DG_F64, false);
    check_combine(d, 130, COMBINE_TERMS, 5, DG_F64, false);
    /* a zero coefficient drops its term, whatever the term holds */
    double nan = (double)NAN, one = 1, coef[2] = {0, 3}, *a = to_device(d, &nan, sizeof nan), *b = to_device(d, &one, sizeof one);
    double *out = d->be->alloc(d, sizeof *out), *device_coef = to_device(d, coef, sizeof coef);
    Term term[2] = {{.data = a, .type = DG_F64, .coef = device_coef}, {.data = b, .type = DG_F64, .coef = device_coef + 1}};
    d->be->combine(d, out, DG_F64, 1, 1, term, 2);
    double *found = from_device(d, out, sizeof *out);
    CHECK(*found == 3, "combine on %s: 0 * NaN + 3 * 1 = %g", d->be->name, *found);
    free(found);
    d->be->release(d, a), d->be->release(d, b), d->be->release(d, device_coef);
}

/* ---- to_u8 ---------------------------------------------------------------------------------------------------------------- */
/* Element i: both sides of every step of the staircase, then what is no number or far outside, then random ones. */
enum { FIRST_ODD = 3 * 260 };
static double pixel(size_t i) {
    static const double odd[] = {(double)NAN, (double)INFINITY, -(double)INFINITY, 1e308, -1e308, -0.0, 5e-324, -1, 1, 0.99607843137254903};
    enum { ODD = sizeof odd / sizeof *odd };
    if (i < FIRST_ODD) {
        double edge = ((double)(i / 3) - 130) / 127.5;
        return i % 3 == 0 ? nextafter(edge, -9) : i % 3 == 1 ? edge : nextafter(edge, 9);
    }
    if (i < (size_t)FIRST_ODD + ODD) return odd[i - FIRST_ODD];
    return value(5, i);
}
typedef struct {
    const char *name;
    double scale, offset;
} ByteRule;
static const ByteRule byte_rules[] = {{"EDM, DiT", 127.5, 128}, {"ADM", 127.5, 127.5}, {"another", -40.25, 3}};
static uint8_t byte_of(const ByteRule *r, double x) {
    volatile double level = r->scale * x;
    level += r->offset;
    return isnan(level) ? 0 : (uint8_t)floor(fmin(fmax(level, 0), 255));
}
static void check_to_u8(Device *d, const ByteRule *rule, DType type, int n, size_t per_sample, size_t first, bool all_bad) {
    size_t count = (size_t)n * per_sample, wrong = 0;
    double *x = dg_alloc(count * sizeof *x);
    for (size_t i = 0; i < count; i++) x[i] = all_bad ? pixel(FIRST_ODD + i % 3) : pixel(first + i);
    void *stored = dg_alloc(count * dtype_bytes(type));
    dtype_convert(type, stored, DG_F64, x, count), dtype_convert(DG_F64, x, type, stored, count);
    void *dx = to_device(d, stored, count * dtype_bytes(type));
    uint8_t *dout = d->be->alloc(d, count);
    int *dbad = d->be->alloc(d, (size_t)n * sizeof *dbad);
    d->be->to_u8(d, dout, dx, type, n, per_sample, rule->scale, rule->offset, dbad);
    uint8_t *found = from_device(d, dout, count);
    int *bad = from_device(d, dbad, (size_t)n * sizeof *bad);
    for (size_t i = 0; i < count; i++) wrong += found[i] != byte_of(rule, x[i]);
    CHECK(wrong == 0, "to_u8 of %s on %s, %s: %zu of %zu bytes differ (%d images)", dtype_name(type), d->be->name, rule->name, wrong, count,
          n);
    for (int s = 0; s < n; s++) {
        int want = 0;
        for (size_t i = 0; i < per_sample; i++) want += !isfinite(x[(size_t)s * per_sample + i]);
        CHECK(bad[s] == want, "to_u8 of %s on %s: image %d: %d bad, not %d", dtype_name(type), d->be->name, s, bad[s], want);
    }
    d->be->release(d, dx);
    free(x), free(stored), free(found), free(bad);
}
/* Of -1, 0 and 1 both rules have the published bytes. */
static void check_published_bytes(Device *d) {
    static const double x[3] = {-1, 0, 1};
    static const uint8_t want[2][3] = {{0, 128, 255}, {0, 127, 255}};
    for (int r = 0; r < 2; r++) {
        double *dx = to_device(d, x, sizeof x);
        uint8_t *dout = d->be->alloc(d, sizeof want[r]);
        int *dbad = d->be->alloc(d, sizeof *dbad);
        d->be->to_u8(d, dout, dx, DG_F64, 1, 3, byte_rules[r].scale, byte_rules[r].offset, dbad);
        uint8_t *found = from_device(d, dout, sizeof want[r]);
        CHECK(!memcmp(found, want[r], sizeof want[r]), "to_u8 on %s, %s: %d %d %d of -1, 0, 1", d->be->name, byte_rules[r].name, found[0],
              found[1], found[2]);
        d->be->release(d, dx), d->be->release(d, dbad);
        free(found);
    }
}
static void test_to_u8(Device *d) {
    static const DType types[] = {DG_F64, DG_F32, DG_F16, DG_BF16};
    for (size_t r = 0; r < sizeof byte_rules / sizeof *byte_rules; r++)
        for (int t = 0; t < 4; t++) {
            check_to_u8(d, &byte_rules[r], types[t], 1, 2000, 0, false);
            check_to_u8(d, &byte_rules[r], types[t], 5, 403, 0, false);
        }
    check_to_u8(d, byte_rules, DG_F64, 1, 1, FIRST_ODD, false); /* one NaN */
    check_to_u8(d, byte_rules, DG_F64, 3, 2, FIRST_ODD, false);
    check_to_u8(d, byte_rules, DG_F64, 2, 3 * 32 * 32, 0, false);
    check_to_u8(d, byte_rules, DG_F64, 2, 3 * 17 * 17, 0, true);
    check_published_bytes(d);
}

/* ---- randn ---------------------------------------------------------------------------------------------------------------- */
static double *randn(Device *d, int n, size_t per_sample, const uint64_t *seed, uint32_t step) {
    double *out = d->be->alloc(d, (size_t)n * per_sample * sizeof *out);
    uint64_t *device_seed = to_device(d, seed, (size_t)n * sizeof *seed);
    uint32_t *device_step = to_device(d, &step, sizeof step);
    d->be->randn(d, out, n, per_sample, device_seed, device_step);
    d->be->release(d, device_seed), d->be->release(d, device_step);
    return from_device(d, out, (size_t)n * per_sample * sizeof *out);
}
/* Relative error of radius * trig in units of 2^-53: log to one place (2, halved by the root), the root 1, the product 1, and
 * the host's sin and cos to one place (2), a device's to one and a half (3): at most 5 + 6 between the two.                   */
static const double RANDN_BOUND = 11 * 0x1p-53;

static void check_randn(Device *d, int n, size_t per_sample, uint32_t step) {
    uint64_t *seed = dg_alloc((size_t)n * sizeof *seed);
    for (int i = 0; i < n; i++) seed[i] = i % 3 ? mix((uint64_t)i) : (uint64_t)i;
    size_t count = (size_t)n * per_sample;
    double *want = dg_alloc(count * sizeof *want), *found = randn(d, n, per_sample, seed, step), worst = 0;
    host_randn(NULL, want, n, per_sample, seed, &step);
    for (size_t i = 0; i < count; i++) {
        double off = fabs(found[i] - want[i]) / fabs(want[i]);
        if (!(off <= worst)) worst = off;
        if (isnan(worst)) break;
    }
    CHECK(worst <= RANDN_BOUND, "randn on %s: relative difference from the host %.3g, at most %.3g", d->be->name, worst, RANDN_BOUND);
    double *last = randn(d, 1, per_sample, seed + n - 1, step);
    CHECK(!memcmp(last, found + count - per_sample, per_sample * sizeof *last), "randn on %s: image %d depends on its batch", d->be->name,
          n - 1);
    free(seed), free(want), free(found), free(last);
}
/* Moments of many normals, each within five of its own standard deviations. */
static void check_distribution(Device *d) {
    enum { COUNT = 200000 };
    uint64_t seed = 20231;
    double *x = randn(d, 1, COUNT, &seed, RNG_STEP_LATENT), *y = randn(d, 1, COUNT, &seed, 0), m[5] = {0}, pair = 0, step = 0;
    for (int i = 0; i < COUNT; i++) {
        for (int k = 1; k <= 4; k++) m[k] += pow(x[i], k) / COUNT;
        if (i % 2) pair += x[i] * x[i - 1] / (COUNT / 2.0);
        step += x[i] * y[i] / COUNT;
    }
    double unit = 5 / sqrt(COUNT);
    CHECK(fabs(m[1]) <= unit, "randn on %s: mean %g", d->be->name, m[1]);
    CHECK(fabs(m[2] - 1) <= unit * sqrt(2), "randn on %s: variance %g", d->be->name, m[2]);
    CHECK(fabs(m[3]) <= unit * sqrt(15), "randn on %s: third moment %g", d->be->name, m[3]);
    CHECK(fabs(m[4] - 3) <= unit * sqrt(96), "randn on %s: fourth moment %g", d->be->name, m[4]);
    CHECK(fabs(pair) <= unit * sqrt(2), "randn on %s: the two of a pair correlate: %g", d->be->name, pair);
    CHECK(fabs(step) <= unit, "randn on %s: two steps correlate: %g", d->be->name, step);
    double *shorter = randn(d, 1, 999, &seed, RNG_STEP_LATENT);
    CHECK(!memcmp(shorter, x, 999 * sizeof *x), "randn on %s: an element depends on how many there are", d->be->name);
    free(x), free(y), free(shorter);
}
static void test_randn(Device *d) {
    check_randn(d, 1, 1, 0);
    check_randn(d, 3, 20001, RNG_STEP_LATENT);
    check_randn(d, 4, 3 * 32 * 32, 17);
    check_randn(d, 900, 3, 1);
    check_distribution(d);
}

/* ---- copies: of what the host gives away at return, however many are under way, and within the device ------------------------ */
static void test_copies(Device *d) {
    enum { COPIES = 7, BYTES = 3 << 20 }; /* staging memory is used again and again; more than it holds */
    unsigned char *host = dg_alloc(BYTES), *at[COPIES], *again = d->be->alloc(d, BYTES);
    for (int i = 0; i < COPIES; i++) {
        at[i] = d->be->alloc(d, BYTES);
        DG_CHECK(at[i] && again, "no memory");
        memset(host, i + 1, BYTES);
        d->be->upload(d, at[i], host, BYTES);
    }
    memset(host, 0, BYTES);
    d->be->copy(d, again, at[COPIES - 1], BYTES);
    for (int i = 0; i <= COPIES; i++) {
        const unsigned char wanted = (unsigned char)(i < COPIES ? i + 1 : COPIES);
        size_t wrong = 0;
        d->be->download(d, host, i < COPIES ? at[i] : again, BYTES);
        for (size_t k = 0; k < BYTES; k++) wrong += host[k] != wanted;
        CHECK(wrong == 0, "copy %d on %s: %zu bytes are not those that were given", i, d->be->name, wrong);
        d->be->release(d, i < COPIES ? at[i] : again);
    }
    free(host);
}
/* Philox4x32-10 as published with its paper (Random123, kat_vectors). */
static void test_philox(void) {
    static const struct {
        uint64_t key, counter;
        uint32_t step, stream, out[4];
    } known[] = {
        {0, 0, 0, 0, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {~0ull, ~0ull, ~0u, ~0u, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {0x299f31d0a4093822, 0x85a308d3243f6a88, 0x13198a2e, 0x03707344, {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (int i = 0; i < 3; i++) {
        Philox p = philox(known[i].key, known[i].counter, known[i].step, known[i].stream);
        CHECK(!memcmp(p.v, known[i].out, sizeof p.v), "philox: known answer %d: %08x %08x %08x %08x", i, p.v[0], p.v[1], p.v[2], p.v[3]);
    }
}

static void test_device(Device *d) {
    test_combine(d);
    test_mixes(d);
    test_to_u8(d);
    test_randn(d);
    test_copies(d);
}
int main(int argc, char **argv) {
    test_philox();
    test_devices(argc, argv, test_device);
    return check_done("test_state");
}
