/* test_linear_range.c -- large linear layers, whose products of f32 are made of parts on tensor cores, on values at the end of f32's range:
 * numbers, infinities and NaN come out where plain multiply-adds have them.
 *   test_linear_range [DEVICE [PRECISION]]     default: each of emu and cuda that this build has, in fp32, tf32, fp16 and bf16
 * Tolerance of numbers: 2^-20 relative. One or two channels are not zero, so that the order of sums has no part.            */
#include "check.h"
#include "exec_compare.h"
#include <float.h>
#include <string.h>

enum { CHANNELS = 260, FEATURES = 259, VECTORS = 3 };
static const struct {
    const char *why;
    float x[2]; /* of two channels; the others are 0 */
    enum { NUMBERS, INFINITE, NEITHER } wanted;
} cases[] = {
    {"the largest number: rounded to a part it is infinite", {FLT_MAX, 0}, NUMBERS},
    {"its negative, beside another", {-FLT_MAX, 0x1p100f}, NUMBERS},
    {"the largest that is still cut in parts", {0x1.ffdp127f, 0}, NUMBERS},
    {"infinity", {INFINITY, 1}, INFINITE},
    {"infinity less infinity, or two of them", {INFINITY, -INFINITY}, NEITHER},
    {"no number", {NAN, 1}, NEITHER},
};
static Graph *layer(Precision precision, Tid *x, Tid *y) {
    Graph *g = graph_new(precision);
    *x = g_input(g, "x", (Shape){VECTORS, 1, 1, CHANNELS});
    *y = g_conv(g, *x, g_weight(g, "w", (Shape){FEATURES, 1, 1, CHANNELS}, (WeightView){.kind = VIEW_CONV}), 0, 0);
    g->t[*y].keep = true;
    graph_plan(g);
    return g;
}
static bool same(double found, double wanted) {
    if (isnan(wanted) || isinf(wanted)) return isnan(wanted) ? isnan(found) : found == wanted;
    return fabs(found - wanted) <= 0x1p-20 * fabs(wanted);
}
static void test_device(const char *spec, const char *precision) {
    Error err;
    Device *d = device_open(spec, precision, &err), *ref = device_open("ref", NULL, &err);
    if (!d) not_run("%s: %s", spec, err.text);
    for (size_t k = 0; d && k < sizeof cases / sizeof *cases; k++) {
        float v[VECTORS * CHANNELS] = {0};
        for (int i = 0; i < VECTORS; i++) v[i * CHANNELS + 5 + i] = cases[k].x[0], v[i * CHANNELS + 130 + i] = cases[k].x[1];
        double *y[2];
        size_t n;
        for (int of = 0; of < 2; of++) {
            Tid x, out;
            Device *on = of ? ref : d;
            Graph *g = layer(on->precision, &x, &out);
            Exec *e = exec_synthetic(g, on, "a linear layer");
            exec_set(e, x, DG_F32, v);
            exec_run(e, VECTORS);
            y[of] = exec_values(e, out, &n);
            exec_free(e), graph_free(g);
        }
        size_t other = 0, numbers = 0, infinite = 0;
        for (size_t i = 0; i < n; i++) other += !same(y[0][i], y[1][i]), numbers += isfinite(y[1][i]), infinite += isinf(y[1][i]) != 0;
        CHECK(n == VECTORS * FEATURES && other == 0, "%s %s: %zu of %zu values are others: %s", spec, precision, other, n, cases[k].why);
        CHECK(cases[k].wanted == NUMBERS ? numbers == n : !numbers && (cases[k].wanted == NEITHER || infinite == n),
              "the reference has %zu numbers and %zu infinities: %s", numbers, infinite, cases[k].why);
        free(y[0]), free(y[1]);
    }
    device_close(d), device_close(ref);
}
int main(int argc, char **argv) {
    static const char *const specs[] = {"emu", "cuda"}, *const precisions[] = {"fp32", "tf32", "fp16", "bf16"};
    bool any = false;
    for (size_t i = 0; i < sizeof specs / sizeof *specs; i++)
        for (size_t p = 0; p < sizeof precisions / sizeof *precisions; p++) {
            if (argc > 1 ? strcmp(argv[1], specs[i]) != 0 : !strstr(device_list(), specs[i])) continue;
            if (argc > 2 && strcmp(argv[2], precisions[p])) continue;
            test_device(specs[i], precisions[p]);
            any = true;
        }
    if (!any) not_run("no CUDA device in this build");
    return check_done("test_linear_range");
}
