/* test_toy_model.c -- toy_model.c, a model that is no part of the program, through the doors that every model has: its arguments
 * are read, it is built, bound and run, and its gradient is that of its values.
 *   test_toy_model [DEVICE[=PRECISION]]     default: cpu                                                                  */
#include "run/net.h"
#include "check.h"
#include "device_spec.h"
#include <math.h>
#include <stdlib.h>

extern const Model model_toy;
enum { BATCH = 2, SIZE = 8, CHANNELS = 3, PER_SAMPLE = SIZE * SIZE * CHANNELS };
static const char config_text[] = "{\"kind\": \"toy\", \"size\": 8, \"classes\": 4}";
static const double when[BATCH] = {.3, 1.2};
static const int label[BATCH] = {2, -1};

static Json *parsed(const char *text) {
    Error e;
    Json *j = json_parse(text, strlen(text), &e);
    DG_CHECK(j, "%s", e.text);
    return j;
}
static double made_up(size_t i, double gain) { return gain * sin((double)(i + 1) * 12.9898); }

/* The network's values at x, or with a seed the gradient of (values . seed), in double. */
static size_t run(Device *d, bool fuse, const double *x, const double *seed, double *out) {
    Error e = {""};
    Json *j = parsed(config_text);
    Weights *w = weights_synthetic(7, j);
    Net *n = net_new(SPAN_NETWORK, d->precision, BATCH, fuse);
    Graph *g = n->graph;
    const Ports *p = net_add(n, &model_toy, j, "", 0, &e);
    DG_CHECK(p, "%s", e.text);
    Tid dy = seed ? g_input(g, "seed", shape_of(g, p->out)) : 0;
    net_plan(n, seed ? graph_backward(g, p->out, dy, p->x) : p->out);
    size_t count = shape_count(shape_of(g, n->out));
    if (CHECK(net_bind(n, d, &w, &e), "%s", e.text)) {
        double *state = d->be->alloc(d, BATCH * PER_SAMPLE * sizeof *state);
        d->be->upload(d, state, x, BATCH * PER_SAMPLE * sizeof *state);
        net_set_labels(n, n->batch, label);
        if (seed) exec_set(n->exec, dy, DG_F64, seed);
        net_run(n, n->batch, state, NULL, when);
        exec_get(n->exec, n->out, DG_F64, out);
        d->be->release(d, state);
    }
    net_free(n);
    weights_free(w), json_free(j);
    return count;
}
static double dot(const double *a, const double *b, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}
static double difference(const double *a, const double *b, size_t n) {
    double num = 0;
    for (size_t i = 0; i < n; i++) num += pow(a[i] - b[i], 2);
    return sqrt(num / dot(b, b, n));
}
/* In double: the gradient along a direction is what the values change by. */
static void test_gradient(Device *ref64) {
    enum { COUNT = BATCH * PER_SAMPLE };
    double x[COUNT], direction[COUNT], seed[COUNT], dx[COUNT], up[COUNT], down[COUNT], h = 1e-5;
    for (size_t i = 0; i < COUNT; i++) x[i] = made_up(i, 1), direction[i] = made_up(i + COUNT, 1), seed[i] = made_up(i + 2 * COUNT, 1);
    run(ref64, true, x, seed, dx);
    for (size_t i = 0; i < COUNT; i++) x[i] += h * direction[i];
    size_t out = run(ref64, true, x, NULL, up);
    for (size_t i = 0; i < COUNT; i++) x[i] -= 2 * h * direction[i];
    run(ref64, true, x, NULL, down);
    double slope = (dot(seed, up, out) - dot(seed, down, out)) / (2 * h), found = dot(dx, direction, COUNT);
    CHECK(fabs(found - slope) <= 1e-6 * sqrt(dot(dx, dx, COUNT) * COUNT), "a slope of %.9g, by its values %.9g", found, slope);
}
/* A device is at most 20 times as far from the values in double as plain loops in its precision are. */
static void test_device(Device *d, const char *precision, Device *ref64) {
    enum { COUNT = BATCH * PER_SAMPLE };
    Error e = {""};
    bool fp32 = d->precision.act == DG_F32 && !d->precision.tf32;
    Device *naive = device_open(fp32 ? "ref" : "rounded", fp32 ? NULL : precision, &e);
    if (!CHECK(naive, "%s", e.text)) return;
    double x[COUNT], seed[COUNT], a[COUNT], b[COUNT], c[COUNT];
    for (size_t i = 0; i < COUNT; i++) x[i] = made_up(i, 1), seed[i] = made_up(i + 2 * COUNT, 1);
    for (int k = 0; k < 4; k++) { /* values and gradient, fused and not */
        const double *s = k & 1 ? seed : NULL;
        size_t n = run(d, k & 2, x, s, a);
        run(naive, false, x, s, b), run(ref64, false, x, s, c);
        double error = difference(a, c, n), base = difference(b, c, n);
        CHECK(error <= fmax(20 * base, 1e-6), "%s%s on %s: off by %g, plain loops by %g", s ? "gradient" : "values", k & 2 ? ", fused" : "",
              d->be->name, error, base);
    }
    device_close(naive);
}
static void test_refusals(void) {
    static const struct {
        const char *config, *sentence;
    } bad[] = {{"{\"size\": 7}", "\"size\" 7 cannot be halved"},
               {"{\"size\": 8, \"width\": 36}", "36 channels do not split into 8 groups"},
               {"{\"size\": 8, \"head_width\": 12}", "32 channels do not split into heads of 12"},
               {"{\"size\": \"big\"}", "size"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        Error e = {""};
        Json *j = parsed(bad[i].config);
        void *c = model_config(&model_toy, j, &e);
        CHECK(!c && strstr(e.text, bad[i].sentence), "%s: \"%s\"", bad[i].config, c ? "built" : e.text);
        free(c);
        json_free(j);
    }
}
int main(int argc, char **argv) {
    Error e = {""};
    DeviceSpec s = device_spec(argc > 1 ? argv[1] : "cpu");
    Device *d = device_open(s.device, s.precision, &e), *ref64 = device_open("ref64", NULL, &e);
    if (!d) not_run("%s: %s", s.device, e.text);
    else if (CHECK(ref64, "%s", e.text)) {
        test_refusals();
        test_gradient(ref64);
        test_device(d, s.precision, ref64);
    }
    device_close(d), device_close(ref64);
    return check_done("test_toy_model");
}
