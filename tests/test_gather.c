/* test_gather.c -- linear layers of one vector come together (graph_gather), and layers that a device makes in one launch give the
 * same bits as each by itself: fewer and more features, small ones, one that nobody reads, and ones that have to stay.
 *   test_gather [DEVICE [PRECISION]]     default: cpu                                                                     */
#include "graph/weights.h"
#include "check.h"
#include "exec_check.h"
#include "exec_values.h"
#include <stdlib.h>

enum { BATCH = 70, C = 128, KEPT = 7 };
typedef struct {
    Graph *g;
    Weights *w;
    Tid kept[KEPT];
    Exec *e;
} Made;

static Tid linear(Graph *g, Tid x, const char *name, int k) {
    char bias[32];
    snprintf(bias, sizeof bias, "%s.bias", name);
    return g_conv(g, x, g_weight(g, name, (Shape){k, 1, 1, shape_of(g, x).c}, (WeightView){.kind = VIEW_CONV}),
                  g_weight(g, bias, (Shape){1, 1, 1, k}, (WeightView){.kind = VIEW_VECTOR}), 0);
}
static Made make(Device *d, bool gather) {
    Made m = {.g = graph_new(d->precision), .w = weights_synthetic(3, NULL)};
    Graph *g = m.g;
    Error err = {""};
    Tid x = g_input(g, "x", (Shape){BATCH, 1, 1, C}), z = g_input(g, "z", (Shape){BATCH, 1, 1, C}), made[KEPT];
    made[0] = linear(g, x, "first", 512);
    Tid between = g_silu(g, z);
    made[1] = linear(g, x, "wider", 520);
    made[2] = linear(g, linear(g, between, "other", 512), "chained", 512);
    linear(g, x, "unread", 512);
    made[3] = linear(g, x, "small", 24);
    made[4] = g_add(g, linear(g, x, "with_operand", 512), made[0], 1, 1);
    made[5] = linear(g, x, "too_large", 4100);
    made[6] = g_unary(g, linear(g, x, "relu", 512), F_RELU, 0, 0);
    for (int i = 0; i < KEPT; i++) { /* so that every layer's output is used up, and its memory given to others */
        m.kept[i] = g_silu(g, made[i]);
        g->t[m.kept[i]].keep = true;
    }
    graph_fuse(g);
    if (gather) graph_gather(g);
    g->guard_bytes = DG_ALIGN;
    graph_plan(g);
    m.e = exec_new(g, d, weights_alone(m.w), &err);
    DG_CHECK(m.e, "%s", err.text);
    return m;
}
static void made_free(Made *m) {
    exec_free(m->e);
    graph_free(m->g);
    weights_free(m->w);
}
static void fill(Exec *e) {
    for (Tid t = 1; t < e->g->nt; t++) {
        if (e->g->t[t].kind != T_INPUT) continue;
        float v[BATCH * C];
        uint64_t state = (uint64_t)t;
        for (int i = 0; i < BATCH * C; i++) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            v[i] = (float)(state >> 40) * 0x1p-23f - 1;
        }
        exec_set(e, t, DG_F32, v);
    }
}
static void order_of(const Graph *g, char *out, size_t size) {
    size_t used = 0;
    for (int i = 0; i < g->nop; i++) {
        const Op *op = &g->op[i];
        used +=
            (size_t)snprintf(out + used, size - used, "%s%s", i ? " " : "", op->kind == OP_CONV ? g->t[op->in[1]].name : op_name(op->kind));
        CHECK(g->t[op->out].producer == i, "op %d, %s: its output says op %d", i, op_name(op->kind), g->t[op->out].producer);
    }
}
/* The results of both, bit for bit; `what` says what they are. */
static void compare(Made *a, Made *b, const char *what) {
    for (int i = 0; i < KEPT; i++) {
        size_t n;
        double *va = exec_values(a->e, a->kept[i], &n), *vb = exec_values(b->e, b->kept[i], &n), sum = 0;
        for (size_t k = 0; k < n; k++) sum += va[k] * va[k];
        CHECK(sum > 0 && !memcmp(va, vb, n * sizeof *va), "%s on %s: layer %d gives other bits", what, a->e->dev->be->name, i);
        free(va), free(vb);
    }
}
static void test_device(Device *d) {
    Made apart = make(d, false), together = make(d, true);
    Error err = {""};
    char order[512];
    order_of(together.g, order, sizeof order);
    CHECK(!strcmp(order,
                  "first wider unread small relu unary other chained with_operand too_large unary unary unary unary unary unary unary"),
          "the order is \"%s\"", order);
    fill(apart.e), fill(together.e);
    exec_run(apart.e, BATCH), exec_run(together.e, BATCH);
    compare(&apart, &together, "together");
    CHECK(exec_run_checked(apart.e, BATCH, &err), "%s", err.text);
    compare(&apart, &together, "op by op");
    made_free(&apart), made_free(&together);
}
int main(int argc, char **argv) {
    Error err = {""};
    Device *d = device_open(argc > 1 ? argv[1] : "cpu", argc > 2 ? argv[2] : NULL, &err);
    if (d) test_device(d), device_close(d);
    else not_run("test_gather: %s", err.text);
    return check_done("test_gather");
}
