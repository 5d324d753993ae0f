/* test_precision.c -- reduced precision: what the yardstick "rounded" is worth, and that fp16 has the range that guidance
 * and the noisiest images need.
 *   test_precision [CASE...]     default: small ones; the public models' full size takes a minute a case
 * fp16 and tf32 keep the same 10 bits of fraction; tf32 has the exponents of fp32. So where fp16's error is tf32's, up to
 * the luck of rounding, no value was lost to its range. bf16 keeps 7 bits: its error is 8 times larger.                  */
#include "../host/guidance.h"
#include "../host/denoiser.h"
#include "../host/safetensors.h"
#include "../host/verify.h"
#include "check.h"
#include <math.h>
#include <stdlib.h>

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
    CHECK(bf16 <= LUCK * BF16_STEP * fp16 && bf16 >= BF16_STEP / LUCK * fp16, "%s: error %g in bf16, %g in fp16: not about 8 times", path, bf16, fp16);
}

/* ---- range: a network of a case on noise of the given levels, every stored value inspected ------------------------------- */
typedef struct {
    double most;            /* largest finite |value| */
    size_t count, zero, below, lost, bad; /* nonzero but: subnormal in fp16, rounded to 0 in fp16; not finite */
} Range;
static const double F16_MAX = 65504, F16_NORMAL = 0x1p-14, F16_HALF_STEP = 0x1p-25;

static void inspect(Exec *x, Tid t, double factor, Range *r) {
    const Tensor *a = &x->g->t[t];
    size_t n = shape_count(a->shape);
    float *v = dg_alloc(n * sizeof *v);
    DG_CHECK(a->dtype == DG_F32, "the range is measured in f32");
    x->dev->be->download(x->dev, v, x->data[t], n * sizeof *v);
    for (size_t i = 0; i < n; i++) {
        double m = fabs((double)v[i]) * factor;
        if (!isfinite(m)) r->bad++;
        else if (m > r->most) r->most = m;
        r->zero += m == 0, r->below += m > 0 && m < F16_NORMAL, r->lost += m > 0 && m <= F16_HALF_STEP;
    }
    r->count += n;
    free(v);
}
/* Ops up to `split` into r[0], the rest into r[1]; `factor` multiplies what the rest makes. Vectors are not stored in fp16. */
static void inspect_run(Exec *x, int split, double factor, Range r[2]) {
    for (int i = 0; i < x->g->nop; i++) {
        Tid out = x->g->op[i].out;
        x->dev->be->op[x->g->op[i].kind](x, i);
        if (!is_vector(shape_of(x->g, out))) inspect(x, out, i < split ? 1 : factor, &r[i >= split]);
    }
}
static void check_range(const char *path, const char *part, const Range *r, double most_lost) {
    printf("%s, %s: largest %.4g, %.3f%% subnormal in fp16, %.4f%% lost to 0\n", path, part, r->most, 100.0 * (double)r->below / (double)r->count,
           100.0 * (double)r->lost / (double)r->count);
    CHECK(r->count > 0 && r->bad == 0, "%s, %s: %zu of %zu values are not finite", path, part, r->bad, r->count);
    CHECK(r->most <= F16_MAX / 8, "%s, %s: |value| %g comes near fp16's largest, %g", path, part, r->most, F16_MAX);
    CHECK((double)r->lost <= most_lost * (double)r->count, "%s, %s: %zu of %zu values vanish in fp16", path, part, r->lost, r->count);
}
static const double level[] = {80, 10, 1, .1, .002}; /* sigma_max and sigma_min of EDM, and between: |x| up to 4 sigma + 1 */
enum { LEVELS = sizeof level / sizeof *level };

static Weights *weights_of(const SafeTensors *file, const Json *json, const char *network, const char *seed_key, Error *e) {
    int seed = 0;
    DG_CHECK(json_get_int(json_get(json, "weights"), seed_key, 0, &seed, e), "%s: %s", file->path, e->text);
    return weights_synthetic((uint64_t)seed, json_get(json, network));
}
static double *noise(Device *d, size_t per_sample) {
    uint64_t seed[LEVELS] = {1, 2, 3, 4, 5};
    double *x = d->be->alloc(d, LEVELS * per_sample * sizeof *x);
    DG_CHECK(x, "no memory for the input");
    d->be->randn(d, x, LEVELS, per_sample, seed, 0);
    Term term = {x, DG_F64, level};
    d->be->combine(d, x, DG_F64, LEVELS, per_sample, &term, 1);
    return x;
}
static void test_network_range(Device *d, const SafeTensors *file, const Json *json) {
    Error e = {""};
    Weights *w = weights_of(file, json, "network", "synthetic_seed", &e);
    Denoiser *n = denoiser_new(d, w, LEVELS, true, &e);
    if (CHECK(n, "%s: %s", file->path, e.text)) {
        double *x = noise(d, n->per_sample);
        PrecondCoef coef[LEVELS];
        denoiser_run(n, x, NULL, level, coef); /* sets the inputs */
        Range r[2] = {{0}};
        inspect_run(n->exec, n->graph->nop, 1, r);
        check_range(file->path, "activations", &r[0], 1e-3);
        d->be->release(d, x);
    }
    denoiser_free(n);
    weights_free(w);
}
static void test_guide_range(Device *d, const SafeTensors *file, const Json *json) {
    Error e = {""};
    Weights *w = weights_of(file, json, "extractor", "extractor_seed", &e), *head = weights_of(file, json, "head", "head_seed", &e);
    Guide *g = guide_new(d, w, head, LEVELS, false, true, &e);
    if (CHECK(g, "%s: %s", file->path, e.text)) {
        double *x = noise(d, g->per_sample), coef[LEVELS];
        int label[LEVELS] = {0}, split = g->graph->t[g->log_ratio].producer + 1;
        guide_set_labels(g, label);
        guide_run(g, x, level, coef);
        Range r[2] = {{0}};
        inspect_run(g->exec, split, GUIDE_SEED_SCALE_F16 / g->seed_scale, r);
        check_range(file->path, "activations", &r[0], 1e-3);
        check_range(file->path, "gradients as fp16 keeps them", &r[1], 1e-3);
        printf("%s: without the seed's factor %g the largest gradient is %.3g\n", file->path, GUIDE_SEED_SCALE_F16, r[1].most / GUIDE_SEED_SCALE_F16);
        d->be->release(d, x);
    }
    guide_free(g);
    weights_free(w);
    weights_free(head);
}
static void test_range(const char *path) {
    Error e = {""};
    Device *d = device_open("cpu", NULL, &e);
    if (!d) d = device_open("ref", NULL, &e);
    SafeTensors *file = st_open(path, &e);
    const char *text = file ? st_metadata(file, "case") : NULL;
    Json *json = text ? json_parse(text, strlen(text), &e) : NULL;
    if (CHECK(d && json, "%s: %s", path, e.text)) {
        if (json_get(json, "network")) test_network_range(d, file, json);
        else test_guide_range(d, file, json);
    }
    json_free(json);
    st_close(file);
    device_close(d);
}

int main(int argc, char **argv) {
    static const char *const small[] = {"tests/golden/nets/edm_tiny_ddpmpp.safetensors", "tests/golden/nets/edm_tiny_adm.safetensors",
                                        "tests/golden/guidance/disc_tiny.safetensors", "tests/golden/guidance/disc_tiny_cond.safetensors"};
    setvbuf(stdout, NULL, _IOLBF, 0); /* a long run shows how far it is */
    for (int i = 0; i < (argc > 1 ? argc - 1 : 4); i++) {
        test_range(argc > 1 ? argv[i + 1] : small[i]);
        test_steps(argc > 1 ? argv[i + 1] : small[i]);
    }
    return check_done("test_precision");
}
