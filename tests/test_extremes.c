/* test_extremes.c -- the largest inputs that sampling can give to the networks: |x| = 320 = 4 sigma at sigma 80, in reduced
 * precision. D and G must be finite, and within the derived bound of fp32 on the CPU.
 *   test_extremes [DEVICE=PRECISION CASE...]     CASE: a golden case's file, or shapes32. Default: small ones on "rounded", and
 *                                                on cuda where there is one
 * Bound: 3 x the error of device "rounded" in the same precision, the rule of the op tests, plus what the case allows fp32.
 * On "rounded" itself: the error of tf32, whose range is that of fp32, up to the luck of rounding (test_precision.c).     */
#include "models/edm.h"
#include "device/host_state.h"
#include "case_weights.h"
#include "device_spec.h"

enum { IMAGES = 3 };
static const double SIGMA = 80, MOST = 320, BASE_FACTOR = 3, LUCK = 2, BF16_STEP = 8;
static const char *const image_name[IMAGES] = {"signs at random", "one color", "noise"};

/* Every value at the bound with its sign at random; every value at the bound; noise of the level, cut at the bound. */
static double *extreme_images(size_t per_sample) {
    uint64_t seed = 80;
    double *x = dg_alloc(IMAGES * per_sample * sizeof *x), *noise = x + 2 * per_sample;
    host_randn(NULL, noise, 1, per_sample, &seed, &(uint32_t){0});
    for (size_t i = 0; i < per_sample; i++) {
        x[i] = copysign(MOST, noise[per_sample - 1 - i]), x[per_sample + i] = MOST;
        noise[i] = fmax(-MOST, fmin(MOST, SIGMA * noise[i]));
    }
    return x;
}
typedef bool (*CaseFn)(const CaseWeights *c, Device *d, int n, const double *x, const double *sigma, const int *label, double *out);
/* out[IMAGES][per_sample] of a case on a device that is opened for it. */
static bool run_on(const char *device, const char *precision, const CaseWeights *c, CaseFn fn, const double *x, double *out) {
    static const double sigma[IMAGES] = {SIGMA, SIGMA, SIGMA};
    static const int label[IMAGES] = {0, 1, 2};
    Error e = {""};
    Device *d = device_open(device, precision, &e);
    if (!CHECK(d, "%s on %s: %s", c->name, device, e.text)) return false;
    bool ran = fn(c, d, IMAGES, x, sigma, label, out);
    device_close(d);
    return ran;
}
static void compare(const char *device, const char *precision, const CaseWeights *c, bool guide, size_t per_sample) {
    bool itself = !strcmp(device, "rounded"), fp32 = !strcmp(precision, "fp32");
    CaseFn fn = guide ? case_guidance : case_denoise;
    double *x = extreme_images(per_sample), *buffer = dg_alloc(3 * IMAGES * per_sample * sizeof *buffer);
    double *right = buffer, *found = right + IMAGES * per_sample, *naive = found + IMAGES * per_sample;
    double step = !itself ? BASE_FACTOR : !strcmp(precision, "bf16") ? LUCK * BF16_STEP : LUCK;
    bool ran = run_on(device, precision, c, fn, x, found) && run_on("cpu", NULL, c, fn, x, right) &&
               (fp32 || run_on("rounded", itself ? "tf32" : precision, c, fn, x, naive));
    for (int i = 0; i < IMAGES && ran; i++) {
        size_t first = (size_t)i * per_sample;
        double error = case_error(found + first, right + first, per_sample),
               base = fp32 ? 0 : case_error(naive + first, right + first, per_sample);
        double bound = step * base + (itself ? 0 : guide ? c->guidance : c->denoised), most = 0;
        for (size_t k = first; k < first + per_sample; k++) most = fmax(most, fabs(right[k]));
        printf("%-34s %s %s %-8s %-15s largest %8.3g  error %9.3g  tolerance %9.3g\n", c->name, device, precision,
               guide ? "guidance" : "denoised", image_name[i], most, error, bound);
        CHECK(most > 0, "%s: nothing comes of %s", c->name, image_name[i]);
        CHECK(error <= bound, "%s on %s in %s: %s of %s is off by %g, %g is allowed", c->name, device, precision,
              guide ? "guidance" : "the result", image_name[i], error, bound);
    }
    free(x), free(buffer);
}
static void test_case(const char *device, const char *precision, const char *path) {
    CaseWeights c;
    Error e = {""};
    NetworkConfig network;
    if (!case_weights_open(&c, path)) return;
    if (c.network && CHECK(network_config(&network, weights_config(c.network), &e), "%s: %s", c.name, e.text))
        compare(device, precision, &c, false, (size_t)(network.img_resolution * network.img_resolution * network.img_channels));
    EncoderConfig *encoder = c.extractor ? model_config(&model_extractor, weights_config(c.extractor), &e) : NULL;
    if (c.extractor && CHECK(encoder, "%s: %s", c.name, e.text))
        compare(device, precision, &c, true, (size_t)(encoder->image_size * encoder->image_size * encoder->in_channels));
    free(encoder);
    case_weights_close(&c);
}
static void test_device(const char *device, const char *precision, const char *const *path, int count) {
    Error e = {""};
    Device *d = device_open(device, precision, &e);
    if (!d) not_run("%s in %s: %s", device, precision, e.text);
    for (int k = 0; k < count && d; k++) test_case(device, precision, path[k]);
    device_close(d);
}
int main(int argc, char **argv) {
    static const char *const small[] = {"tests/golden/nets/edm_tiny_ddpmpp.safetensors",    "tests/golden/nets/edm_tiny_adm.safetensors",
                                        "tests/golden/nets/edm_tiny_ncsnpp.safetensors",    "tests/golden/nets/vp_tiny_ddpmpp.safetensors",
                                        "tests/golden/nets/iddpm_tiny_adm.safetensors",     "tests/golden/guidance/disc_tiny.safetensors",
                                        "tests/golden/guidance/disc_tiny_cond.safetensors", "shapes32"};
    static const char *const everywhere[][2] = {
        {"rounded", "fp16"}, {"rounded", "bf16"}, {"cuda", "fp16"}, {"cuda", "bf16"}, {"cuda", "tf32"}};
    const char *const *path = argc > 2 ? (const char *const *)argv + 2 : small;
    int count = argc > 2 ? argc - 2 : (int)(sizeof small / sizeof *small);
    setvbuf(stdout, NULL, _IOLBF, 0); /* a long run shows how far it is */
    if (argc > 1) {
        DeviceSpec s = device_spec(argv[1]);
        test_device(s.device, s.precision ? s.precision : "fp32", path, count);
    }
    for (size_t i = 0; argc < 2 && i < sizeof everywhere / sizeof *everywhere; i++)
        if (strstr(device_list(), everywhere[i][0])) test_device(everywhere[i][0], everywhere[i][1], path, count);
    return check_done("test_extremes");
}
