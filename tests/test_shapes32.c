/* test_shapes32.c -- the example model, trained weights from end to end: images of the official samplers (PyTorch) from
 * recorded latents and labels, unguided and with weights 1 and 2.  Usage: test_shapes32 [DEVICE [IMAGES]]             */
#include "program/networks.h"
#include "files/npz.h"
#include "check.h"
#include <math.h>
#include <stdlib.h>

enum { IMAGES = 2, MOST = 32 }; /* by default, in the file */
/* The official code in fp32 differs from itself in fp64 by at most 1.1e-5 in these images; tests/golden/README.md. */
static const double TOLERANCE = 1e-4;

/* [N,C,H,W] to NHWC, the first n images. */
static double *nhwc(const NpyArray *a, int n) {
    size_t C = (size_t)a->shape[1], pixels = (size_t)(a->shape[2] * a->shape[3]);
    double *out = malloc((size_t)n * C * pixels * sizeof *out);
    for (size_t i = 0; i < (size_t)n; i++)
        for (size_t c = 0; c < C; c++)
            for (size_t p = 0; p < pixels; p++) out[(i * pixels + p) * C + c] = npy_value(a, (i * C + c) * pixels + p);
    return out;
}
static bool read_array(Npz *z, const char *name, NpyArray *a) {
    Error e = {0};
    return CHECK(npz_read(z, name, a, &e), "%s", e.text);
}
static void compare(Npz *z, Device *d, int weight, int n, const double *latents, const int *label) {
    Error e = {0};
    NpyArray wanted;
    char name[32];
    snprintf(name, sizeof name, "images_w%d", weight);
    if (!read_array(z, name, &wanted)) return;
    SampleOptions o = sample_defaults();
    o.dg_weight_1st_order = weight;
    Networks networks;
    Engine engine = {0};
    const char *const embedded[ROLES] = {NULL};
    bool opened = networks_open(&networks, embedded, NULL, weight != 0, &e);
    if (CHECK(opened && engine_new(&engine, d, &networks, &o, n, true, &e), "%s", e.text)) {
        const Shape image = sampler_shape(engine.sampler);
        size_t per = shape_count(image);
        double *found = malloc((size_t)n * per * sizeof *found), *right = nhwc(&wanted, n);
        sampler_begin(engine.sampler, n, &(SampleNoise){.latents = latents}, label);
        while (sampler_step(engine.sampler)) {}
        sampler_state(engine.sampler, found);
        SampleCounts counts = sampler_counts(engine.sampler);
        int guided = counts.term[TERM_DISCRIMINATOR], calls = counts.network;
        CHECK(calls == 35 && guided == (weight ? 15 : 0), "%d network calls, %d guided", calls, guided);
        for (int i = 0; i < n; i++) {
            double worst = 0;
            for (size_t k = (size_t)i * per; k < (size_t)(i + 1) * per; k++) {
                double error = fabs(found[k] - right[k]);
                if (!(error <= worst)) worst = error;
                if (isnan(worst)) break;
            }
            CHECK(worst <= TOLERANCE, "weight %d, image %d: off by %g, %g is allowed", weight, i, worst, TOLERANCE);
            printf("weight %d, image %2d: worst value off by %.2g\n", weight, i, worst);
        }
        free(found), free(right);
    }
    engine_free(&engine);
    if (opened) networks_close(&networks);
    npy_free(&wanted);
}
int main(int argc, char **argv) {
    Error e = {0};
    int n = argc > 2 ? atoi(argv[2]) : IMAGES, label[MOST];
    Device *d = device_open(argc > 1 ? argv[1] : "cpu", NULL, &e);
    Npz *z = npz_open("tests/golden/shapes32-official.npz", &e);
    NpyArray latents = {0}, classes = {0};
    if (!d) not_run("%s", e.text);
    else if (CHECK(z && n > 0 && n <= MOST, "%s", e.text) && read_array(z, "latents", &latents) && read_array(z, "class_index", &classes)) {
        double *start = nhwc(&latents, n);
        for (int i = 0; i < n; i++) label[i] = (int)npy_value(&classes, (size_t)i);
        for (int weight = 0; weight <= 2; weight++) compare(z, d, weight, n, start, label);
        free(start);
    }
    npy_free(&latents), npy_free(&classes);
    if (z) npz_close(z);
    if (d) device_close(d);
    return check_done("test_shapes32");
}
