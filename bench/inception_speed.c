/* inception_speed.c -- the features of FID's Inception with made-up weights, as one line of JSON in milliseconds a call:
 *   build/bench/inception_speed [BATCH [REPEATS [DEVICE]]]     32 images of 299x299, 3 calls behind one that is not timed, on cpu
 * OMP_NUM_THREADS is the number of threads. bench/cpu_vs_pytorch.py reads it.                                                */
#include "base/dtype.h"
#include "measure/features.h"
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { SIZE = 299 };
static double now(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return 1e3 * (double)t.tv_sec + 1e-6 * (double)t.tv_nsec;
}
static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}
static void measure(Features *f, int batch, int repeats) {
    size_t bytes = (size_t)batch * SIZE * SIZE * 3;
    uint8_t *pixels = dg_alloc(bytes);
    float *pool = dg_alloc((size_t)batch * (size_t)features_dims(f, FEATURE_POOL) * sizeof *pool), *out[FEATURE_KINDS] = {pool};
    double *wall = dg_alloc((size_t)repeats * sizeof *wall), processor = INFINITY;
    for (size_t i = 0; i < bytes; i++) pixels[i] = (uint8_t)(i * 2654435761u >> 13);
    for (int i = -1; i < repeats; i++) {
        double start = now(CLOCK_MONOTONIC), work = now(CLOCK_PROCESS_CPUTIME_ID);
        features_run(f, pixels, (size_t)batch, out);
        if (i < 0) continue;
        wall[i] = now(CLOCK_MONOTONIC) - start;
        processor = fmin(processor, now(CLOCK_PROCESS_CPUTIME_ID) - work);
    }
    qsort(wall, (size_t)repeats, sizeof *wall, by_size);
    printf("{\"batch\": %d, \"ms\": %.3f, \"least\": %.3f, \"processor\": %.3f, \"flops\": %.0f}\n", batch, wall[repeats / 2], wall[0],
           processor, features_flops(f));
    free(pixels), free(pool), free(wall);
}
int main(int argc, char **argv) {
    int batch = argc > 1 ? atoi(argv[1]) : 32, repeats = argc > 2 ? atoi(argv[2]) : 3;
    if (batch < 1 || repeats < 1) return fprintf(stderr, "usage: inception_speed [BATCH [REPEATS [DEVICE]]]\n"), 2;
    static const char text[] = "{\"kind\": \"inception\", \"num_classes\": 1008}";
    Error e = {0};
    Json *config = json_parse(text, sizeof text - 1, &e);
    Weights *w = weights_synthetic(1, config);
    Device *d = device_open(argc > 3 ? argv[3] : "cpu", NULL, &e);
    FeatureOptions o = {SIZE, SIZE, batch, RESIZE_HALF, SCALE_255, NULL, false, 1u << FEATURE_POOL};
    Features *f = d ? features_open(d, w, &o, &e) : NULL;
    if (f) measure(f, batch, repeats);
    else fprintf(stderr, "inception_speed: %s\n", e.text);
    features_close(f);
    device_close(d);
    weights_free(w);
    json_free(config);
    return f ? 0 : 1;
}
