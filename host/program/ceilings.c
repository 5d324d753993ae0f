/* ceilings.c -- the large product and the large copy. */
#include "program/ceilings.h"
#include "base/dtype.h"
#include "graph/weights.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROUNDS = 3, REPEATS = 3, SIDE = 16, LEAST_CHANNELS = 128, MOST_CHANNELS = 4096, ROWS_PER_CHANNEL = 4 };
static const double LONG_ENOUGH = 20e-3;   /* seconds, of a product: larger ones run no faster */
static const double OUT_OF_CACHES = 50e-3; /* of a copy */
static const size_t LEAST_COPY = (size_t)1 << 19, MOST_COPY = (size_t)1 << 28;

/* All of input x, in pieces of made-up values: zeros take less power, and are faster on some machines. */
static void fill(Exec *e, Tid x) {
    enum { PATTERN = 4096 };
    DType type = e->g->t[x].dtype;
    size_t count = shape_count(shape_of(e->g, x)), size = dtype_bytes(type);
    char *host = dg_alloc(count * size), pattern[PATTERN * sizeof(double)];
    dtype_made_up(type, pattern, PATTERN);
    for (size_t i = 0; i < count; i += PATTERN) memcpy(host + i * size, pattern, (count - i < PATTERN ? count - i : PATTERN) * size);
    exec_set(e, x, type, host);
    free(host);
}
/* Seconds of the graph's one op, whose input is x; 0 where there is no memory for it. */
static double time_op(Graph *g, Tid x, Device *d, const char **implementation) {
    Error e = {""};
    Weights *w = weights_synthetic(1, NULL);
    g->t[g->op[0].out].keep = true;
    graph_plan(g);
    Exec *exec = exec_new(g, d, weights_alone(w), &e);
    DG_CHECK(exec || e.out_of_memory, "%s", e.text);
    double least = exec ? INFINITY : 0, seconds;
    if (exec) fill(exec, x);
    for (int i = 0; i < ROUNDS && exec; i++) {
        exec_profile(exec, REPEATS, &seconds);
        least = fmin(least, seconds);
    }
    if (exec && implementation) *implementation = d->be->implementation(exec, 0);
    exec_free(exec);
    weights_free(w);
    graph_free(g);
    return least;
}
static void measure_product(Device *d, Ceilings *c) {
    for (int channels = LEAST_CHANNELS; channels <= MOST_CHANNELS; channels *= 2) {
        Graph *g = graph_new(d->precision);
        int rows = ROWS_PER_CHANNEL * channels;
        const char *implementation = NULL;
        Tid x = g_input(g, "x", (Shape){rows / (SIDE * SIDE), SIDE, SIDE, channels});
        g_conv(g, x, g_weight(g, "product.weight", (Shape){channels, 1, 1, channels}, (WeightView){.kind = VIEW_CONV}), 0, 0);
        double flops = graph_flops(g), seconds = time_op(g, x, d, &implementation);
        if (!(seconds > 0)) return;
        if (flops / seconds > c->flops)
            c->flops = flops / seconds, c->rows = rows, c->channels = channels, c->implementation = implementation;
        if (seconds >= LONG_ENOUGH) return;
    }
}
/* The largest copy counts, not the fastest: smaller ones stay in caches. */
static void measure_copy(Device *d, Ceilings *c) {
    for (size_t bytes = LEAST_COPY; bytes <= MOST_COPY; bytes *= 2) {
        Graph *g = graph_new(d->precision);
        enum { PIXELS = 1024, CHANNELS = 64 };
        Tid x = g_input(g, "x", (Shape){(int)(bytes / dtype_bytes(d->precision.act) / (PIXELS * CHANNELS)), 1, PIXELS, CHANNELS});
        g_add(g, x, 0, 1, 0);
        double seconds = time_op(g, x, d, NULL);
        if (!(seconds > 0)) return;
        c->bytes = 2 * (double)bytes / seconds, c->copied = bytes;
        if (seconds >= OUT_OF_CACHES) return;
    }
}
Ceilings ceilings_measure(Device *d) {
    Ceilings c = {0};
    measure_product(d, &c);
    measure_copy(d, &c);
    return c;
}
void ceilings_print(const Ceilings *c, const Device *d, Text *json) {
    const char *type = precision_name(d->precision);
    if (!(c->flops > 0 && c->bytes > 0)) {
        printf("ceilings       not measured: there is too little memory left\n");
        return;
    }
    printf("%-14s %10.2f GFLOP/s, a product of %d x %d by %d x %d in %s (%s); %.2f GB/s, a copy of %.1f MiB\n", "ceilings", c->flops * 1e-9,
           c->rows, c->channels, c->channels, c->channels, type, c->implementation, c->bytes * 1e-9, (double)c->copied / 1048576);
    text_printf(
        json,
        ", \"ceilings\": {\"flops\": %.6g, \"bytes\": %.6g, \"rows\": %d, \"channels\": %d, \"copied\": %zu, \"implementation\": \"%s\"}",
        c->flops, c->bytes, c->rows, c->channels, c->copied, c->implementation);
}
double ceilings_floor(const Ceilings *c, double flops, double bytes) {
    return c->flops > 0 && c->bytes > 0 ? fmax(flops / c->flops, bytes / c->bytes) : 0;
}
