/* test_precision.c -- reduced precision: what the yardstick "rounded" is worth, and that fp16 has the range that guidance
 * and the noisiest images need.
 *   test_precision [range] [CASE...]     CASE: a golden case's file, or shapes32. Default: small ones and the example model; the
 *                                        public models' full size takes a minute a case. range: only that of their values
 * fp16 and tf32 keep the same 10 bits of fraction; tf32 has the exponents of fp32. So where fp16's error is tf32's, up to
 * the luck of rounding, no value was lost to its range. bf16 keeps 7 bits: its error is 8 times larger.                  */
#include "base/dtype.h"
#include "device/host_state.h"
#include "program/verify_case.h"
#include "case_weights.h"

static const double LUCK = 2, BF16_STEP = 8;

static double error_of(const char *path, const char *precision) {
    Error e = {""};
    Device *d = device_open("rounded", precision, &e);
    VerifyResult r = {0};
    bool ran = d && verify_case(path, d, true, 1, NULL, &r, &e);
    CHECK(ran && r.compared > 0 && r.failed == 0, "%s in %s: %s", path, precision, ran ? "a tensor is out of tolerance" : e.text);
    device_close(d);
    return ran ? r.error : NAN;
}
static void test_steps(const char *path) {
    double fp16 = error_of(path, "fp16"), tf32 = error_of(path, "tf32"), bf16 = error_of(path, "bf16");
    CHECK(fp16 > 0 && tf32 > 0, "%s: an error of 0 (fp16 %g, tf32 %g): nothing was rounded", path, fp16, tf32);
    CHECK(fp16 <= LUCK * tf32, "%s: error %g in fp16, %g in tf32: values leave the range of fp16", path, fp16, tf32);
    CHECK(bf16 <= LUCK * BF16_STEP * fp16 && bf16 >= BF16_STEP / LUCK * fp16, "%s: error %g in bf16, %g in fp16: not about 8 times", path,
          bf16, fp16);
}

/* ---- range: a network on noisy pictures of several levels, in f32, every stored value inspected ---------------------------- */
enum { LEVELS = 5, SCALES = 4 };
/* sigma_max and sigma_min of EDM, and between; for guides, tau = time_min = 0.01 is at sigma 0.045. */
static const double network_level[LEVELS] = {80, 10, 1, .1, .002}, guide_level[LEVELS] = {80, 10, 1.5, .3, .045};
/* What the gradients could be started with, beside what they are. */
static const double seed_scale[SCALES] = {1, 16, GUIDE_SEED_SCALE_F16, 4096};
enum { UNSCALED = 0, CHOSEN = 2 };
typedef struct {
    double most;       /* largest finite |value| */
    size_t count, bad; /* bad: not finite */
    struct {
        size_t below, lost; /* not zero, but in fp16 subnormal, or rounded to 0 */
        double worst;       /* of one tensor of an image: its error in fp16 over that with the same bits and no end of exponents */
    } at[SCALES];
} Range;
static const double F16_MAX = 65504, ROOM = 16, F16_NORMAL = 0x1p-14, F16_HALF_STEP = 0x1p-25;
static const double MOST_LOST = 1e-4;

/* 11 significant bits, as fp16 has, to the nearest (Dekker's splitting). */
static float eleven_bits(float v) {
    float c = v * 8193;
    return c - (c - v);
}
static void inspect_image(const float *v, size_t n, int scales, Range *r) {
    double ideal = 0;
    for (size_t i = 0; i < n; i++) {
        double m = fabs((double)v[i]);
        if (!isfinite(m)) r->bad++;
        else if (m > r->most) r->most = m;
        ideal += pow((double)eleven_bits(v[i]) - (double)v[i], 2);
    }
    for (int k = 0; k < scales; k++) {
        double f = seed_scale[k], error = 0;
        for (size_t i = 0; i < n; i++) {
            double m = fabs((double)v[i]) * f;
            r->at[k].below += m > 0 && m<F16_NORMAL, r->at[k].lost += m> 0 && m <= F16_HALF_STEP;
            error += pow((double)f16_to_f32(f32_to_f16((float)m)) - m, 2);
        }
        if (ideal > 0) r->at[k].worst = fmax(r->at[k].worst, sqrt(error / ideal) / f);
    }
    r->count += n;
}
/* Ops up to `split` into r[0], the rest, which is proportional to the seed, into r[1]. Vectors are not stored in fp16. */
static void inspect_run(Exec *x, int split, Range r[2]) {
    for (int i = 0; i < x->g->nop; i++) {
        const Tensor *out = &x->g->t[x->g->op[i].out];
        x->dev->be->run_op(x, i);
        if (is_vector(out->shape)) continue;
        DG_CHECK(out->dtype == DG_F32, "the range is measured in f32");
        size_t n = shape_count(out->shape) / (size_t)out->shape.n;
        float *v = dg_alloc((size_t)out->shape.n * n * sizeof *v);
        x->dev->be->download(x->dev, v, x->data[x->g->op[i].out], (size_t)out->shape.n * n * sizeof *v);
        for (int k = 0; k < out->shape.n; k++) inspect_image(v + (size_t)k * n, n, i < split ? 1 : SCALES, &r[i >= split]);
        free(v);
    }
}
static double percent(size_t part, size_t all) { return 100 * (double)part / (double)all; }
/* scale: which of seed_scale is in use. */
static void check_range(const char *name, const char *part, const Range *r, int scale) {
    for (int k = 0; k < (scale == CHOSEN ? SCALES : 1); k++)
        printf("%s, %s times %g: largest %.4g, in fp16 %.3f%% subnormal, %.4f%% lost to 0, worst tensor's error x %.3f\n", name, part,
               seed_scale[k], r->most * seed_scale[k], percent(r->at[k].below, r->count), percent(r->at[k].lost, r->count), r->at[k].worst);
    double most = r->most * seed_scale[scale];
    CHECK(r->count > 0 && r->bad == 0, "%s, %s: %zu of %zu values are not finite", name, part, r->bad, r->count);
    CHECK(most > 0 && most <= F16_MAX / ROOM, "%s, %s: |value| %g comes near fp16's largest, %g", name, part, most, F16_MAX);
    CHECK((double)r->at[scale].lost <= MOST_LOST * (double)r->count, "%s, %s: %zu of %zu values vanish in fp16", name, part,
          r->at[scale].lost, r->count);
    CHECK(r->at[scale].worst >= 1 / LUCK && r->at[scale].worst <= LUCK, "%s, %s: a tensor's error is %g times that of its 11 bits", name,
          part, r->at[scale].worst);
}
/* A picture under noise of the level. */
static double *noisy(Device *d, int res, int channels, const double *level) {
    size_t per_sample = (size_t)(res * res * channels);
    uint64_t seed[LEVELS] = {1, 2, 3, 4, 5};
    double *x = d->be->alloc(d, LEVELS * per_sample * sizeof *x), *host = dg_alloc(LEVELS * per_sample * sizeof *host);
    DG_CHECK(x, "no memory for the input");
    host_randn(NULL, host, LEVELS, per_sample, seed, &(uint32_t){0});
    for (size_t i = 0; i < LEVELS * per_sample; i++) {
        int k = (int)(i % per_sample), row = k / channels / res, column = k / channels % res;
        double picture = .6 * sin(.9 * (row / 8) + 1.7 * (column / 8) + k % channels); /* smooth blocks of 8x8 */
        host[i] = level[i / per_sample] * host[i] + picture;
    }
    d->be->upload(d, x, host, LEVELS * per_sample * sizeof *host);
    free(host);
    return x;
}
static void test_network_range(Device *d, const CaseWeights *c) {
    Error e = {""};
    Predictor *n = predictor_new(d, c->network, LEVELS, 1, true, &e);
    if (CHECK(n, "%s: %s", c->name, e.text)) {
        double *x = noisy(d, n->state.h, n->state.c, network_level);
        CHECK(predictor_apply(n, x, network_level, &e), "%s", e.text); /* sets the inputs */
        Range r[2] = {{0}};
        inspect_run(n->net->exec, n->net->graph->nop, r);
        check_range(c->name, "the network's activations", &r[0], UNSCALED);
        d->be->release(d, x);
    }
    predictor_free(n);
}
static void test_guide_range(Device *d, const CaseWeights *c) {
    Error e = {""};
    Guide *g = guide_new(d, c->extractor, c->head, LEVELS, (GuideOptions){.fuse = true}, &e);
    if (CHECK(g, "%s: %s", c->name, e.text)) {
        DG_CHECK(g->seed_scale == 1, "f32 gradients are not scaled");
        double *x = noisy(d, g->extractor->image_size, g->extractor->in_channels, guide_level), coef[LEVELS];
        int label[LEVELS] = {0};
        net_set_labels(g->net, g->batch, label);
        guide_run(g, x, guide_level, coef);
        Range r[2] = {{0}};
        inspect_run(g->net->exec, g->net->graph->t[g->log_ratio].producer + 1, r);
        check_range(c->name, "the guide's activations", &r[0], UNSCALED);
        check_range(c->name, "gradients", &r[1], CHOSEN);
        CHECK(r[1].at[UNSCALED].worst > LUCK, "%s: unscaled gradients are as good as scaled ones, which this test should tell apart",
              c->name);
        d->be->release(d, x);
    }
    guide_free(g);
}
static void test_range(const char *path) {
    Error e = {""};
    CaseWeights c;
    Device *d = device_open("cpu", NULL, &e);
    if (!d) d = device_open("ref", NULL, &e);
    if (CHECK(d, "%s", e.text) && case_weights_open(&c, path)) {
        if (c.network) test_network_range(d, &c);
        if (c.extractor) test_guide_range(d, &c);
        case_weights_close(&c);
    }
    device_close(d);
}

int main(int argc, char **argv) {
    static const char *const small[] = {"tests/golden/nets/edm_tiny_ddpmpp.safetensors", "tests/golden/nets/edm_tiny_adm.safetensors",
                                        "tests/golden/guidance/disc_tiny.safetensors", "tests/golden/guidance/disc_tiny_cond.safetensors",
                                        "shapes32"};
    setvbuf(stdout, NULL, _IOLBF, 0); /* a long run shows how far it is */
    bool range = argc > 1 && !strcmp(argv[1], "range");
    const char *const *path = argc > 1 + range ? (const char *const *)argv + 1 + range : small;
    int count = argc > 1 + range ? argc - 1 - range : (int)(sizeof small / sizeof *small);
    for (int i = 0; i < count; i++) {
        test_range(path[i]);
        if (!range && strcmp(path[i], "shapes32") != 0) test_steps(path[i]);
    }
    return check_done("test_precision");
}
