/* choice_test.c -- who runs a convolution, chosen by measurement (host/device/cuda/choice.c): with a made-up library on the emulated device.
 * A library that is faster and right is taken, one that is not right never; images do not depend on the batch even where its
 * results do; a choice is remembered, stands in the manifest, and is never a question of memory.                            */
#include "device/cuda/choice.h"
#include <cuda_runtime_api.h>
#include "graph/weights.h"
#include "../program.h"
#include "../tiny_model.h"
#ifdef _OPENMP
#include <omp.h>
#endif

enum { SIDE = 4, CHANNELS = 32, IMAGE = SIDE * SIDE * CHANNELS, RUNS = 3, CONVS = 3 }; /* runs: op by op, captured, replayed */
static float value(size_t i) { return (float)((uint32_t)(i + 1) * 2654435761u >> 8) * 0x1p-23f - 1; }

typedef struct {
    Graph *g;
    Tid x, gate, y;
    Exec *e;
} Net;
static Tid positions(Graph *g) {
    double v[IMAGE];
    for (int i = 0; i < IMAGE; i++) v[i] = (double)(i % 13 - 6) / 8;
    return g_constant(g, "positions", (Shape){1, SIDE, SIDE, CHANNELS}, DG_F64, v);
}
/* A convolution with a bias, one with a bias, a residual, a factor and an activation, and one with all that is new for each image. */
static bool net_new(Net *n, Device *d, int images, Error *err) {
    Graph *g = n->g = graph_new(d->precision);
    WeightView conv = {.kind = VIEW_CONV}, vector = {.kind = VIEW_VECTOR};
    n->x = g_input(g, "x", (Shape){images, SIDE, SIDE, CHANNELS});
    Tid a = g_conv(g, n->x, g_weight(g, "a.weight", (Shape){CHANNELS, 3, 3, CHANNELS}, conv),
                   g_weight(g, "a.bias", (Shape){1, 1, 1, CHANNELS}, vector), 1);
    n->gate = g_input(g, "gate", (Shape){images, 1, 1, CHANNELS});
    Tid b = g_conv(g, a, g_weight(g, "b.weight", (Shape){CHANNELS, 3, 3, CHANNELS}, conv),
                   g_weight(g, "b.bias", (Shape){1, 1, 1, CHANNELS}, vector), 1);
    Op *op = &g->op[g->nop - 1];
    op->in[3] = n->x, op->conv.scale = .75f, op->conv.act = ACT_RELU;
    n->y = g_conv(g, b, g_weight(g, "c.weight", (Shape){CHANNELS, 1, 1, CHANNELS}, conv),
                  g_weight(g, "c.bias", (Shape){1, 1, 1, CHANNELS}, vector), 0);
    op = &g->op[g->nop - 1];
    op->in[3] = positions(g), op->in[4] = n->gate, op->conv.act = ACT_GELU_TANH;
    g->t[n->y].keep = true;
    graph_plan(g);
    Weights *w = weights_synthetic(1, NULL);
    n->e = exec_new(g, d, weights_alone(w), err);
    weights_free(w);
    return n->e != NULL;
}
static void net_free(Net *n) {
    exec_free(n->e);
    graph_free(n->g);
}
/* Results for images first, first + 1, ... of a graph that is planned for `batch` of them; by: who ran the convolutions.
 * kernels: of the first run.                                                                                         */
static double *results(Device *d, int batch, int images, int first, const char *by[CONVS], size_t *kernels) {
    Net n;
    Error err = {""};
    size_t count = (size_t)images * IMAGE;
    double *y = dg_alloc(count * sizeof *y);
    if (CHECK(net_new(&n, d, batch, &err), "%s", err.text)) {
        float *x = dg_alloc(count * sizeof *x);
        for (size_t i = 0; i < count; i++) x[i] = value((size_t)first * IMAGE + i);
        float *gate = dg_alloc((size_t)images * CHANNELS * sizeof *gate);
        for (int i = 0; i < images * CHANNELS; i++) gate[i] = 2 * value((size_t)(first * CHANNELS + i));
        double *before = dg_alloc(count * sizeof *before);
        for (int run = 0; run < RUNS; run++) {
            exec_set_rows(n.e, n.x, images, DG_F32, x), exec_set_rows(n.e, n.gate, images, DG_F32, gate);
            emuCalls calls[2];
            emuGetCalls(&calls[0]);
            exec_run(n.e, images);
            emuGetCalls(&calls[1]);
            if (!run && kernels) *kernels = calls[1].kernels - calls[0].kernels;
            exec_get_rows(n.e, n.y, images, DG_F64, y);
            if (run) CHECK(!memcmp(before, y, count * sizeof *y), "run %d gives other bits", run);
            memcpy(before, y, count * sizeof *y);
        }
        for (int i = 0; i < CONVS; i++) by[i] = d->be->implementation(n.e, i);
        free(x), free(gate), free(before);
    }
    net_free(&n);
    return y;
}
static void set_cache(const Setup *s, const char *name) { setenv("XDG_CACHE_HOME", at(s, name), 1); }
static Device *open_device(const char *precision, DeviceProvider provider) {
    Error err = {""};
    Device *d = device_open("emu", precision, &err);
    DG_CHECK(d && device_provide(d, provider, &err), "%s", err.text);
    return d;
}

static void test_results(const Setup *s, const char *precision, double rounding, size_t modes) {
    static const struct {
        const char *mode, *wanted;
    } row[] = {{"exact", "cudnn"}, {"batch", "cudnn"}, {"place", "own"}, {"wrong", "own"},
               {"refuses", "own"}, {"absent", "own"},  {"once", "cudnn"}};
    /* fewer than the choice is made at, as many, and more; then fewer images than there are places */
    static const struct {
        int batch, images, plans; /* plans: of the batch, its half, ... that take so many images without padding */
    } runs[] = {{3, 3, 1}, {32, 32, 1}, {33, 33, 1}, {3, 2, 2}, {32, 1, 1}, {33, 20, 2}, {50, 31, 2}};
    const char *by[CONVS] = {"", "", ""};
    Device *plain = open_device(precision, DEVICE_OWN);
    double *own = results(plain, 33, 33, 0, by, NULL);
    for (int i = 0; i < CONVS; i++) CHECK(!strcmp(by[i], "own"), "nobody was asked for, and %s runs", by[i]);
    for (size_t m = 0; m < sizeof row / sizeof *row && m < modes; m++) {
        char cache[32];
        snprintf(cache, sizeof cache, "cache-%s-%s", precision, row[m].mode), set_cache(s, cache);
        setenv("FAKE_PROVIDER", row[m].mode, 1);
        Device *d = open_device(precision, DEVICE_AUTO);
        double *one = results(d, 1, 1, 32, by, NULL); /* chosen at a batch of one */
        for (int i = 0; i < CONVS; i++)
            CHECK(!strcmp(by[i], row[m].wanted), "%s %s: %s runs convolution %d, not %s", precision, row[m].mode, by[i], i, row[m].wanted);
        for (size_t b = 0; b < sizeof runs / sizeof *runs; b++) {
            int n = runs[b].images, first = 33 - n;
            size_t kernels;
            double *y = results(d, runs[b].batch, n, first, by, &kernels), num = 0, den = 0;
            if (!strcmp(row[m].mode, "exact"))
                CHECK(kernels == CONVS * (size_t)(runs[b].plans + 1), /* and one that ends it */
                      "%s: %d images of a batch of %d take %zu kernels", precision, n, runs[b].batch, kernels);
            CHECK(!strcmp(by[0], row[m].wanted), "%s %s: %s runs a batch of %d", precision, row[m].mode, by[0], runs[b].batch);
            CHECK(!memcmp(y + (size_t)(n - 1) * IMAGE, one, IMAGE * sizeof *y),
                  "%s %s: an image among %d of a batch of %d differs from itself alone", precision, row[m].mode, n, runs[b].batch);
            for (int i = 0; i < n * IMAGE; i++) num += pow(y[i] - own[first * IMAGE + i], 2), den += pow(own[first * IMAGE + i], 2);
            if (!strcmp(row[m].wanted, "own"))
                CHECK(num == 0, "%s %s: the kernels' own results are others when libraries are asked for", precision, row[m].mode);
            else
                CHECK(sqrt(num / den) <= 4 * rounding, "%s %s, batch %d: %g from the kernels' own", precision, row[m].mode, n,
                      sqrt(num / den));
            free(y);
        }
        free(one);
        device_close(d);
    }
    free(own);
    device_close(plain);
}
/* No library has a skip: the layer is the kernels' own, whoever is asked for. */
static void test_skip(const Setup *s) {
    set_cache(s, "skip");
    setenv("FAKE_PROVIDER", "exact", 1);
    Device *d = open_device("fp16", DEVICE_CUDNN);
    Weights *w = weights_synthetic(1, NULL);
    Error e = {""};
    Graph *g = graph_new(d->precision);
    WeightView view = {.kind = VIEW_CONV};
    Tid x = g_input(g, "x", (Shape){2, SIDE, SIDE, CHANNELS});
    Tid y = g_conv(g, x, g_weight(g, "a", (Shape){CHANNELS, 3, 3, CHANNELS}, view), 0, 1);
    y = g_add(g, g_conv(g, y, g_weight(g, "b", (Shape){CHANNELS, 3, 3, CHANNELS}, view), 0, 1),
              g_conv(g, x, g_weight(g, "c", (Shape){CHANNELS, 1, 1, CHANNELS}, view), 0, 0), 1, 1);
    g->t[y].keep = true;
    graph_fuse(g);
    graph_plan(g);
    Exec *bound = exec_new(g, d, weights_alone(w), &e);
    CHECK(bound && g->nop == 2, "%d ops: %s", g->nop, e.text);
    for (int i = 0; bound && i < g->nop; i++) {
        const char *by = d->be->implementation(bound, i), *wanted = g->op[i].in[7] ? "own" : "cudnn";
        CHECK(!strcmp(by, wanted), "layer %d is run by %s, not %s", i, by, wanted);
    }
    exec_free(bound);
    graph_free(g);
    weights_free(w);
    device_close(d);
}
/* Layers that differ in their precision or in one option are measured each for itself. */
static void test_keys(const Setup *s) {
#define HALF                                                                                                                               \
    { DG_F16, false }
#define PLAIN                                                                                                                              \
    { 1, 1, 1, 1, 1, 1, ACT_NONE }
    static const struct {
        Precision precision;
        ConvOptions o;
        const char *layer;
        Operand add;
        bool f32, gate; /* f32: what is added is, beside 16 bits */
    } row[] = {{HALF, PLAIN, "conv fp16 3x3 pad 1, 4x4x32 to 32", OPERAND_NONE, false, false},
               {{DG_F32, false}, PLAIN, "conv fp32 3x3 pad 1, 4x4x32 to 32", OPERAND_NONE, false, false},
               {{DG_F32, true}, PLAIN, "conv fp32 tf32 3x3 pad 1, 4x4x32 to 32", OPERAND_NONE, false, false},
               {HALF, {2, 1, 1, 1, 1, 1, ACT_NONE}, "conv fp16 3x3 pad 1 stride 2, 4x4x32 to 32", OPERAND_NONE, false, false},
               {HALF, {1, 0, 1, 2, 1, 1, ACT_NONE}, "conv fp16 3x3 pad 0,1,2,1, 4x4x32 to 32", OPERAND_NONE, false, false},
               {HALF, {1, 1, 1, 1, 1, 1, ACT_RELU}, "conv fp16 3x3 pad 1, 4x4x32 to 32 relu", OPERAND_NONE, false, false},
               {HALF, {1, 1, 1, 1, 1, 1, ACT_GELU_TANH}, "conv fp16 3x3 pad 1, 4x4x32 to 32 gelu-tanh", OPERAND_NONE, false, false},
               {HALF, PLAIN, "conv fp16 3x3 pad 1, 4x4x32 to 32 gate", OPERAND_NONE, false, true},
               {HALF, PLAIN, "conv fp16 3x3 pad 1, 4x4x32 to 32 positions", OPERAND_POSITIONS, false, false},
               {HALF, PLAIN, "conv fp16 3x3 pad 1, 4x4x32 to 32 residual", OPERAND_FULL, false, false},
               {HALF, PLAIN, "conv fp16 3x3 pad 1, 4x4x32 to 32 residual fp32", OPERAND_FULL, true, false},
               {HALF, PLAIN, "conv fp16 3x3 pad 1, 4x4x32 to 32 vector", OPERAND_VECTOR, false, false}};
#undef HALF
#undef PLAIN
    enum { ROWS = sizeof row / sizeof *row };
    set_cache(s, "keys");
    setenv("FAKE_PROVIDER", "exact", 1);
    Device *d = open_device("fp16", DEVICE_AUTO);
    Weights *w = weights_synthetic(1, NULL);
    for (int i = 0; i < ROWS; i++) {
        Error e = {""};
        Graph *g = graph_new(row[i].precision);
        Tid x = g_input(g, "x", (Shape){2, SIDE, SIDE, CHANNELS});
        Tid y = g_conv_with(g, x, g_weight(g, "a", (Shape){CHANNELS, 3, 3, CHANNELS}, (WeightView){.kind = VIEW_CONV}), 0, row[i].o);
        Op *op = &g->op[g->t[y].producer];
        Tid add = row[i].add == OPERAND_VECTOR ? g_input(g, "vector", (Shape){2, 1, 1, CHANNELS})
                  : row[i].add == OPERAND_FULL ? g_input(g, "residual", shape_of(g, y))
                                               : 0;
        if (row[i].f32) g->t[add].dtype = DG_F32;
        op->in[3] = row[i].add == OPERAND_POSITIONS ? positions(g) : add;
        if (row[i].gate) op->in[4] = g_input(g, "gate", (Shape){2, 1, 1, CHANNELS});
        g->t[y].keep = true;
        graph_plan(g);
        Exec *bound = exec_new(g, d, weights_alone(w), &e);
        CHECK(bound && !strcmp(d->be->implementation(bound, 0), "cudnn"), "%s: not measured: %s", row[i].layer, e.text);
        exec_free(bound);
        graph_free(g);
    }
    Text chosen = {0}, measured = {0};
    d->be->choices(d, &chosen, &measured);
    Json *j = json_parse(chosen.text, strlen(chosen.text), NULL);
    CHECK(j && j->count == ROWS, "%d layers of %d: %s", j ? (int)j->count : 0, (int)ROWS, chosen.text);
    for (int i = 0; i < ROWS; i++) CHECK(json_get(j, row[i].layer), "%s is none of %s", row[i].layer, chosen.text);
    json_free(j);
    text_free(&chosen), text_free(&measured);
    weights_free(w);
    device_close(d);
}
static void check_layer(const char *text, bool remembered, const char *why) {
    Error err = {""};
    Json *j = json_parse(text, strlen(text), &err);
    const Json *layer = json_get(json_get(j, "layers"), "conv fp16 3x3 pad 1, 4x4x32 to 32 bias"), *times = json_get(layer, "microseconds");
    CHECK(layer && !strcmp(json_get(layer, "runs")->string, "cudnn fake") && json_get(layer, "remembered")->boolean == remembered,
          "%s: %s%s", why, text, err.text);
    CHECK(times && times->count == 2 && json_get(times, "own")->number > json_get(times, "cudnn fake")->number, "%s: %s", why, text);
    json_free(j);
}
/* The second device does not measure, nor does it matter then who would be faster. */
static void test_cache(const Setup *s) {
    const char *by[CONVS];
    set_cache(s, "cache");
    setenv("FAKE_PROVIDER", "exact", 1);
    for (int again = 0; again < 2; again++) {
        Device *d = open_device("fp16", DEVICE_AUTO);
        Text chosen = {0}, measured = {0};
        d->be->choices(d, &chosen, &measured);
        CHECK(!strcmp(chosen.text, "{}") && strstr(measured.text, "\"layers\": {}"), "before any layer: %s %s", chosen.text, measured.text);
        text_free(&chosen), text_free(&measured);
        free(results(d, 2, 2, 0, by, NULL));
        d->be->choices(d, &chosen, &measured);
        CHECK(!strcmp(chosen.text, "{\"conv fp16 3x3 pad 1, 4x4x32 to 32 bias\": \"cudnn fake\", "
                                   "\"conv fp16 3x3 pad 1, 4x4x32 to 32 bias residual relu\": \"cudnn fake\", "
                                   "\"conv fp16 1x1 pad 0, 4x4x32 to 32 bias gate positions gelu-tanh\": \"cudnn fake\"}"),
              "%s", chosen.text);
        check_layer(measured.text, again, again ? "the second time" : "the first time");
        text_free(&chosen), text_free(&measured);
        device_close(d);
    }
    CHECK(exists(s, "cache/dg_cuda/autotune.txt"), "no file remembers");
    write_file(s, "cache/dg_cuda/autotune.txt", "somebody's notes\n");
    Device *d = open_device("fp16", DEVICE_AUTO);
    Text chosen = {0}, measured = {0};
    free(results(d, 2, 2, 0, by, NULL));
    d->be->choices(d, &chosen, &measured);
    CHECK(strstr(measured.text, "\"not remembered\": ") && strstr(measured.text, "autotune.txt"), "a file of somebody else's: %s",
          measured.text);
    check_layer(measured.text, false, "another's file");
    text_free(&chosen), text_free(&measured);
    device_close(d);
    char kept[OUTPUT];
    read_text(at(s, "cache/dg_cuda/autotune.txt"), kept);
    CHECK(!strcmp(kept, "somebody's notes\n"), "somebody else's file was overwritten: %s", kept);
}
/* Of many proposals: those whose notes speak against them are never tried, nor one twice, nor one that wants too much memory or cannot be
 * built; of the rest the fastest runs. Operands of tf32 are for layers in tf32 or in 16 bits.                                */
static void test_proposals(const Setup *s) {
    static const struct {
        const char *precision;
        int measured;
        bool tensor_cores;
    } row[] = {{"fp16", 4, true}, {"tf32", 4, true}, {"fp32", 3, false}};
    setenv("FAKE_PROVIDER", "crowd", 1);
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        const char *by[CONVS] = {"", "", ""};
        char cache[32];
        snprintf(cache, sizeof cache, "crowd-%s", row[i].precision), set_cache(s, cache);
        Device *d = open_device(row[i].precision, DEVICE_AUTO);
        free(results(d, 3, 3, 0, by, NULL));
        Text chosen = {0}, measured = {0};
        d->be->choices(d, &chosen, &measured);
        Json *j = json_parse(measured.text, strlen(measured.text), NULL);
        const Json *layers = json_get(j, "layers");
        CHECK(layers && layers->count == CONVS, "%s: %s", row[i].precision, measured.text);
        for (const Json *k = layers ? layers->child : NULL; k; k = k->next) {
            const Json *times = json_get(k, "microseconds");
            CHECK(times && times->count == row[i].measured && json_get(times, "own") && json_get(times, "cudnn slow") &&
                      (json_get(times, "cudnn tensor cores") != NULL) == row[i].tensor_cores &&
                      !strcmp(json_get(k, "runs")->string, "cudnn fake"),
                  "%s %s: %s", row[i].precision, k->key, measured.text);
        }
        json_free(j);
        text_free(&chosen), text_free(&measured);
        device_close(d);
    }
}
/* A library that is named runs what it can, even where our own kernels are faster, and nothing that it computes wrongly. */
static void test_named(const Setup *s) {
    static const struct {
        const char *mode, *wanted;
    } row[] = {{"slow", "cudnn"}, {"exact", "cudnn"}, {"wrong", "own"}, {"refuses", "own"}};
    for (size_t m = 0; m < sizeof row / sizeof *row; m++) {
        const char *by[CONVS] = {"", "", ""};
        set_cache(s, "cache-fp16-wrong"); /* where our own were chosen by a run that took whoever is faster */
        setenv("FAKE_PROVIDER", row[m].mode, 1);
        if (m) set_cache(s, row[m].mode);
        Device *d = open_device("fp16", DEVICE_CUDNN);
        free(results(d, 3, 3, 0, by, NULL));
        for (int i = 0; i < CONVS; i++) CHECK(!strcmp(by[i], row[m].wanted), "named, %s: %s runs convolution %d", row[m].mode, by[i], i);
        Text chosen = {0}, measured = {0};
        d->be->choices(d, &chosen, &measured);
        CHECK(strstr(measured.text, ", only cudnn\"") && !strstr(measured.text, "\"own\": "), "named, %s: %s", row[m].mode, measured.text);
        text_free(&chosen), text_free(&measured);
        Error err = {""};
        CHECK(device_provide(d, DEVICE_CUDNN, &err) && !device_provide(d, DEVICE_AUTO, &err) && d->provider == DEVICE_CUDNN &&
                  strstr(err.text, "a provider already"),
              "named, %s: another provider than that whose plans are in use: \"%s\"", row[m].mode, err.text);
        device_close(d);
    }
}
/* A norm behind convolutions of a library finds its statistics there: it makes no pass of its own. */
static void test_statistics(const Setup *s) {
    enum { WIDE = 8, IMAGES = 3, VALUES = IMAGES * WIDE * WIDE * CHANNELS };
    static const struct {
        const char *mode;
        DeviceProvider provider;
    } row[] = {{"exact", DEVICE_OWN}, {"exact", DEVICE_AUTO}, {"absent", DEVICE_AUTO}};
    double *y[3];
    size_t kernels[3] = {0};
    for (int i = 0; i < 3; i++) {
        Error err = {""};
        set_cache(s, row[i].mode), setenv("FAKE_PROVIDER", row[i].mode, 1);
        Device *d = open_device("fp32", row[i].provider);
        Graph *g = graph_new(d->precision);
        Tid x = g_input(g, "x", (Shape){IMAGES, WIDE, WIDE, CHANNELS});
        WeightView conv = {.kind = VIEW_CONV}, vector = {.kind = VIEW_VECTOR};
        Tid a = g_conv(g, x, g_weight(g, "a.weight", (Shape){CHANNELS, 3, 3, CHANNELS}, conv),
                       g_weight(g, "a.bias", (Shape){1, 1, 1, CHANNELS}, vector), 1);
        Tid n = g_norm(g, a, g_weight(g, "n.weight", (Shape){1, 1, 1, CHANNELS}, vector),
                       g_weight(g, "n.bias", (Shape){1, 1, 1, CHANNELS}, vector), 0, 8, 1e-5f);
        g->t[n].keep = true;
        graph_plan(g);
        Weights *w = weights_synthetic(1, NULL);
        Exec *e = exec_new(g, d, weights_alone(w), &err);
        weights_free(w);
        y[i] = dg_alloc(VALUES * sizeof *y[i]);
        if (CHECK(e, "%s", err.text)) {
            float *v = dg_alloc(VALUES * sizeof *v);
            for (size_t k = 0; k < VALUES; k++) v[k] = value(k);
            emuCalls calls[2];
            exec_set(e, x, DG_F32, v);
            emuGetCalls(&calls[0]);
            exec_run(e, IMAGES);
            emuGetCalls(&calls[1]);
            kernels[i] = calls[1].kernels - calls[0].kernels;
            exec_get(e, n, DG_F64, y[i]);
            free(v);
        }
        Text chosen = {0}, measured = {0};
        d->be->choices(d, &chosen, &measured);
        if (i == 1) CHECK(strstr(chosen.text, "conv fp32 3x3 pad 1, 8x8x32 to 32 bias statistics\": \"cudnn fake"), "%s", chosen.text);
        text_free(&chosen), text_free(&measured);
        exec_free(e), graph_free(g), device_close(d);
    }
    /* in f32 nothing is rounded between a convolution and what ends it */
    double apart = 0, size = 0;
    for (int k = 0; k < VALUES; k++) apart += pow(y[1][k] - y[0][k], 2), size += pow(y[0][k], 2);
    CHECK(kernels[1] == kernels[0] + 2 - 1 && size > 0 && sqrt(apart / size) <= 1e-6, "%zu kernels, our own %zu; %g apart", kernels[1],
          kernels[0], sqrt(apart / size));
    CHECK(kernels[2] == kernels[0] && !memcmp(y[2], y[0], VALUES * sizeof *y[0]), "without a library there are %zu kernels, not %zu",
          kernels[2], kernels[0]);
    for (int i = 0; i < 3; i++) free(y[i]);
}
/* Whichever allocation fails: an error that says memory, never the other implementation; and nothing is left. */
static void test_memory(const Setup *s) {
    enum { ENOUGH = 1 << 24 };
    static const char *const modes[] = {"exact", "batch"};
    setenv("EMU_MEMORY", "16777216", 1);
    for (int m = 0; m < 2; m++) {
        char cache[32], count[16];
        Error err = {""};
        Net n;
        int k = 0;
        snprintf(cache, sizeof cache, "cache-fp16-%s", modes[m]), set_cache(s, cache);
        setenv("FAKE_PROVIDER", modes[m], 1);
        Device *d = open_device("fp16", DEVICE_AUTO);
        for (bool made = false; !made && k < 1000; k++) {
            snprintf(count, sizeof count, "%d", k), setenv("EMU_MALLOC_FAIL", count, 1);
            err = (Error){""};
            made = net_new(&n, d, 3, &err);
            if (made)
                unsetenv("EMU_MALLOC_FAIL"),
                    CHECK(!strcmp(d->be->implementation(n.e, 0), "cudnn"), "%s runs", d->be->implementation(n.e, 0));
            else
                CHECK(err.out_of_memory && strstr(err.text, "not enough memory on device emu"), "%s: allocation %d fails: \"%s\"", modes[m],
                      k, err.text);
            net_free(&n);
            void *all = d->be->alloc(d, ENOUGH);
            CHECK(all, "%s: allocation %d fails: memory is lost", modes[m], k);
            if (all) d->be->release(d, all);
        }
        CHECK(k > 12, "%d allocations", k);
        device_close(d);
    }
    unsetenv("EMU_MEMORY");
}
/* The line that says who runs what, and its shares, which are all. */
static double shares(const char *out, bool *cudnn) {
    const char *at = strstr(out, "convolutions, of their FLOPs:");
    double sum = 0, share;
    char by[16];
    *cudnn = false;
    for (at = at ? at + strlen("convolutions, of their FLOPs:") : ""; sscanf(at, " %lf%% by %15[a-z]", &share, by) == 2;) {
        sum += share, *cudnn |= !strcmp(by, "cudnn") && share > 50;
        at += strcspn(at, ",\n");
        if (*at++ != ',') break;
    }
    return sum;
}
static void test_program(const Setup *s) {
    static const char network[] = "--device emu --network tiny.safetensors --steps 1 --batch 2 --dtype fp16";
    static const struct {
        const char *args, *mode;
        int code;
        const char *pattern;
    } wrong[] = {
        {"--provider cudnn", "absent", 1, "--provider cudnn: cudnn: not found: looked for fakes everywhere"},
        {"--provider cublaslt", "exact", 1, "--provider cublaslt: cublaslt: this program was built without a fake of it"},
        {"--provider auto --autotune on", "exact", 2, "--provider and --autotune say the same in two words: leave one of them out"},
        {"--autotune off --provider own", "exact", 2, "--provider and --autotune say the same"},
        {"--provider cuda", "exact", 2, "--provider: .cuda. is not one of own.auto.cudnn.cublaslt"},
        {"--provider cudnn --device cpu --dtype fp32", "exact", 1, "--provider cudnn: NVIDIA's libraries run on device cuda, not on cpu"},
    };
    char args[512];
    bool cudnn;
    set_cache(s, "cache-shares");
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        setenv("FAKE_PROVIDER", wrong[i].mode, 1);
        snprintf(args, sizeof args, "generate %s --outdir wrong --seeds 0 %s", network, wrong[i].args);
        fails(run(s, args), args, wrong[i].code, wrong[i].pattern);
    }
    CHECK(!exists(s, "wrong"), "what was wrong left a folder");
    setenv("FAKE_PROVIDER", "exact", 1);
    snprintf(args, sizeof args, "generate %s --seeds 0 --outdir shares --format npz --provider cudnn", network);
    Result *r = run(s, args);
    if (succeeds(r, args)) CHECK(fabs(shares(r->out, &cudnn) - 100) < .3 && cudnn, "shares of %s", r->out);
    snprintf(args, sizeof args, "bench %s --repeats 1 --warmup 0 --dg_weight_1st_order 0 --json bench.json --autotune on", network);
    r = run(s, args);
    if (succeeds(r, args)) CHECK(fabs(shares(r->out, &cudnn) - 100) < .3 && cudnn, "shares of %s", r->out);
    char text[OUTPUT];
    read_text(at(s, "bench.json"), text);
    Json *j = json_parse(text, strlen(text), NULL);
    const Json *of = json_get(j, "convolutions"), *own = json_get(of, "own"), *other = json_get(of, "cudnn");
    CHECK(of && other && fabs((own ? own->number : 0) + other->number - 1) < 1e-4, "shares of %.300s", text);
    json_free(j);
    snprintf(args, sizeof args, "generate %s --seeds 0 --outdir plain --format npz", network);
    r = run(s, args);
    if (succeeds(r, args)) CHECK(!strstr(r->out, "convolutions"), "nobody asked who runs convolutions: %s", r->out);
}
/* A folder of before --provider, whose manifest says autotune, is continued in either word, and not by somebody else. */
static void test_older_word(const Setup *s) {
    static const char args[] = "generate --device emu --network tiny.safetensors --steps 1 --format npz --batch 2 --outdir older --seeds ";
    char more[512], text[OUTPUT];
    set_cache(s, "cache-program");
    setenv("FAKE_PROVIDER", "exact", 1);
    snprintf(more, sizeof more, "%s0 --autotune on", args);
    if (!succeeds(run(s, more), more)) return;
    read_text(at(s, "older/manifest.json"), text);
    char *said = strstr(text, "\"provider\": \"auto\"");
    if (!CHECK(said && said < strstr(text, "\"runs\""), "no provider in %.400s", text)) return;
    memcpy(said, "\"autotune\": \"on\"  ", 18);
    write_file(s, "older/manifest.json", text);
    snprintf(more, sizeof more, "%s0-1 --provider own", args);
    fails(run(s, more), more, 1, "provider was \"auto\", is now \"own\"");
    snprintf(more, sizeof more, "%s0-1 --provider auto", args);
    Result *r = run(s, more);
    if (succeeds(r, more)) CHECK(strstr(r->out, "1 of 2 images are there already"), "%s", r->out);
    snprintf(more, sizeof more, "%s0-2 --autotune on", args);
    succeeds(run(s, more), more);
}
/* Images that others would have made are not mixed with those in a folder. */
static void test_manifest(const Setup *s) {
    static const char args[] =
        "generate --device emu --network tiny.safetensors --steps 1 --format npz --batch 2 --provider auto --outdir out --seeds ";
    char more[512];
    set_cache(s, "cache-program");
    setenv("FAKE_PROVIDER", "exact", 1);
    snprintf(more, sizeof more, "%s0-1", args);
    if (!succeeds(run(s, more), more)) return;
    snprintf(more, sizeof more, "%s0-3", args);
    succeeds(run(s, more), more);
    Json *j = manifest(s, "out");
    const Json *who = json_get(json_get(j, "images"), "implementations"), *runs = json_get(j, "runs");
    int fakes = 0;
    for (const Json *k = who ? who->child : NULL; k; k = k->next) fakes += !strcmp(k->string, "cudnn fake");
    CHECK(who && fakes > 0 && runs->count == 2, "%d layers of %d by the fake library", fakes, who ? who->count : 0);
    const Json *layers[2] = {json_get(json_get(runs->child, "autotune"), "layers"),
                             json_get(json_get(runs->child->next, "autotune"), "layers")};
    for (int i = 0; i < 2; i++) {
        CHECK(layers[i] && who && layers[i]->count == who->count, "run %d has measured %d layers", i, layers[i] ? layers[i]->count : 0);
        for (const Json *k = layers[i] ? layers[i]->child : NULL; k; k = k->next)
            CHECK(json_get(k, "remembered")->boolean == i && json_get(json_get(k, "microseconds"), "own")->number > 0, "run %d, %s", i,
                  k->key);
    }
    json_free(j);
    snprintf(more, sizeof more, "%s0-5", args);
    setenv("FAKE_PROVIDER", "absent", 1);
    fails(run(s, more), "a machine without the library", 1, "implementations: conv fp16 .* was \"cudnn fake\", is now not set");
    setenv("FAKE_PROVIDER", "wrong", 1);
    set_cache(s, "cache-elsewhere");
    fails(run(s, more), "a machine that chooses otherwise", 1, "implementations: conv fp16 .* was \"cudnn fake\", is now \"own\"");
    setenv("FAKE_PROVIDER", "exact", 1);
    set_cache(s, "cache-program");
    succeeds(run(s, more), "the first choices again");
}
int main(int argc, char **argv) {
    Setup s = {.device = "emu", .dir = "/tmp/dg_choice_test_XXXXXX"};
    /* threads that wait for each other on a busy machine would hide who is faster */
#ifdef _OPENMP
    omp_set_num_threads(1);
#endif
    setenv("OMP_NUM_THREADS", "1", 1);
    char *real = argc > 1 ? realpath(argv[1], NULL) : program_of_build(argv[0], false, "emu/fake/dg_cuda");
    s.program = real;
    Error e = {""};
    if (CHECK(real, "no program") && CHECK(mkdtemp(s.dir), "no temporary folder") &&
        CHECK(tiny_write(at(&s, "tiny.safetensors"), tiny_network_config, 1, &e), "%s", e.text)) {
        test_results(&s, "fp16", 0x1p-11, 7);
        test_results(&s, "tf32", 0x1p-11, 2);
        test_proposals(&s);
        test_named(&s);
        test_statistics(&s);
        test_skip(&s);
        test_keys(&s);
        test_cache(&s);
        test_memory(&s);
        test_manifest(&s);
        test_program(&s);
        test_older_word(&s);
        remove_folder(s.dir);
    }
    free(real);
    return check_done("choice_test");
}
