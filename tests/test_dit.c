/* test_dit.c -- a small DiT with made-up weights, whole: its output against the reference in double, how many of its pixel norms a device
 * leaves out (graph_norm_fold), and the memory that is planned for that.
 *   test_dit [DEVICE [PRECISION]]     default: each of emu and cuda that this build has, in fp16 and bf16
 * On compute capability 9.0 norms are left out (EMU_CC=90), elsewhere none is. Without a device: the memory that is planned for DiT-XL/2 with
 * and without.
 * Tolerance: relative L2 error <= 3 x that of device "rounded" in the same precision, + 4 eps of float.                     */
#include "run/net.h"
#include "check.h"
#include "exec_compare.h"
#include "tiny_model.h"
#include <float.h>
#include <string.h>

enum { BATCH = 2, NORMS = 5, LEFT_OUT = 3 };
static Net *build(const Json *j, Precision precision) {
    Error e = {""};
    Net *n = net_new(SPAN_NETWORK, precision, BATCH, true);
    const Ports *p = net_add(n, &model_dit, j, "", 0, &e);
    DG_CHECK(p, "%s", e.text);
    net_plan(n, p->out);
    return n;
}
static void fill(Exec *e) {
    for (Tid t = 1; t < e->g->nt; t++) {
        if (e->g->t[t].kind != T_INPUT) continue;
        size_t count = shape_count(shape_of(e->g, t));
        double *v = dg_alloc(count * sizeof *v);
        for (size_t i = 0; i < count; i++) v[i] = sin((double)(i + 1) * 12.9898 + t);
        exec_set(e, t, DG_F64, v);
        free(v);
    }
}
static Net *bound(const Json *j, Device *d) {
    Net *n = build(j, d->precision);
    n->exec = exec_synthetic(n->graph, d, "a DiT");
    fill(n->exec);
    return n;
}
/* Runs each op once. A norm that is none writes nothing. */
static int left_out(Net *n, int *norms) {
    Exec *e = n->exec;
    int left = 0;
    *norms = 0;
    for (int i = 0; i < e->g->nop; i++) {
        Tid y = e->g->op[i].out;
        bool norm = e->g->op[i].kind == OP_PIXEL_NORM;
        size_t bytes = tensor_bytes(&e->g->t[y]);
        char *before = dg_alloc(bytes), *after = dg_alloc(bytes);
        if (norm) e->dev->be->download(e->dev, before, e->data[y], bytes);
        e->dev->be->run_op(e, i);
        if (norm) e->dev->be->download(e->dev, after, e->data[y], bytes);
        if (norm) ++*norms, left += !memcmp(before, after, bytes);
        free(before), free(after);
    }
    return left;
}
static void test_device(const Json *j, const char *spec, const char *precision) {
    Error e = {""};
    Device *d = device_open(spec, precision, &e), *ref64 = device_open("ref64", NULL, &e), *rounded = device_open("rounded", precision, &e);
    if (!d) not_run("%s: %s", spec, e.text);
    if (d) {
        Net *n = bound(j, d), *ref = bound(j, ref64), *base = bound(j, rounded);
        int norms, left = left_out(n, &norms), wanted = d->leaves_norms ? LEFT_OUT : 0;
        CHECK(norms == NORMS && left == wanted, "%s %s: %d of %d norms are left out, not %d of %d", spec, precision, left, norms, wanted,
              NORMS);
        exec_run(n->exec, BATCH), exec_run(ref->exec, BATCH), exec_run(base->exec, BATCH);
        double found = exec_rel_l2(n->exec, n->out, ref->exec, ref->out), off = exec_rel_l2(base->exec, base->out, ref->exec, ref->out);
        CHECK(found <= 3 * off + 4 * (double)FLT_EPSILON, "%s %s: relative error %.3g, rounded %.3g", spec, precision, found, off);
        printf("%s %s: %d of %d norms left out, relative error %.2e, rounded %.2e\n", spec, precision, left, norms, found, off);
        net_free(n), net_free(ref), net_free(base);
    }
    device_close(d), device_close(ref64), device_close(rounded);
}
/* The least that any plan can take: what lives at the fullest moment. */
static size_t most_live(const Graph *g) {
    size_t most = 0;
    for (int i = 0; i < g->nop; i++) {
        size_t live = 0;
        for (Tid t = 1; t < g->nt; t++)
            if (in_arena(&g->t[t]) && g->t[t].first <= i && i <= g->t[t].last) live += align_up(tensor_bytes(&g->t[t]));
        if (live > most) most = live;
    }
    return most;
}
/* The memory of DiT-XL/2 for two images, in units of what 16 bits of each token's channels take. When it is fullest there are the MLP's
 * hidden layer, 4 units, and the stream before and behind it in f32, 2 units each; and, where a norm is left out, a copy of the stream. */
static void test_plan(void) {
    static const char xl[] = "{\"kind\": \"dit\"}";
    Error e = {""};
    Json *j = json_parse(xl, strlen(xl), &e);
    DG_CHECK(j, "%s", e.text);
    double unit = BATCH * 256 * 1152 * 2;
    for (int leaves = 0; leaves < 2; leaves++) {
        Net *n = build(j, (Precision){.act = DG_F16, .leaves_norms = leaves});
        double units = (double)n->graph->arena_bytes / unit, least = (double)most_live(n->graph) / unit, wanted = 8 + leaves;
        CHECK(units >= wanted && units < wanted + .25 && units < 1.01 * least,
              "DiT-XL/2 %s: %.2f units are planned, %.2f live, %.0f wanted", leaves ? "with copies" : "without copies", units, least,
              wanted);
        printf("DiT-XL/2, fp16, two images, %s: %zu bytes planned\n", leaves ? "norms left out" : "every norm run", n->graph->arena_bytes);
        net_free(n);
    }
    json_free(j);
}
int main(int argc, char **argv) {
    static const char *const specs[] = {"emu", "cuda"}, *const precisions[] = {"fp16", "bf16"};
    bool any = false;
    Error e = {""};
    Json *j = json_parse(small_dit_config, strlen(small_dit_config), &e);
    DG_CHECK(j, "%s", e.text);
    test_plan();
    for (int i = 0; i < 2; i++)
        for (int p = 0; p < 2; p++) {
            if (argc > 1 ? strcmp(argv[1], specs[i]) != 0 : !strstr(device_list(), specs[i])) continue;
            if (argc > 2 && strcmp(argv[2], precisions[p])) continue;
            test_device(j, specs[i], precisions[p]);
            any = true;
        }
    if (!any) not_run("no CUDA device in this build");
    json_free(j);
    return check_done("test_dit");
}
