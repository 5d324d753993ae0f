/* grad.c -- reverse mode over the op list, with respect to inputs and activations only.
 * A rule says what an op's inputs receive, in terms of other ops wherever it can. The driver adds. */
#include "graph/graph.h"
#include <stdlib.h>

/* Fill dx[i] for the inputs with need[i]; leave the others 0. `op` is a copy: appending moves g->op. */
typedef void (*GradRule)(Graph *g, Op op, Tid dy, const bool *need, Tid *dx);

static Tid scaled(Graph *g, Tid t, float a) { return a == 1 ? t : g_add(g, t, 0, a, 0); }

static void d_conv(Graph *g, Op op, Tid dy, const bool *need, Tid *dx) { /* the adjoint is a conv with the flipped weight */
    DG_CHECK(!need[1] && !need[2], "backward: conv %s: weights have no gradient here", g->t[op.in[1]].name);
    if (need[0]) {
        dx[0] = g_conv(g, dy, g_flip(g, op.in[1]), 0, shape_of(g, op.in[1]).h - 1 - op.conv.pad);
        g->op[g->nop - 1].conv.scale = op.conv.scale;
    }
    if (need[3]) {
        DG_CHECK(shape_eq(shape_of(g, op.in[3]), shape_of(g, dy)), "backward: no gradient through a broadcast add");
        dx[3] = scaled(g, dy, op.conv.scale);
    }
}
static void d_norm(Graph *g, Op op, Tid dy, const bool *need, Tid *dx) {
    DG_CHECK(!need[3], "backward: no gradient through a norm's scale and shift"); /* only embeddings feed them */
    Op b = op;
    b.kind = OP_NORM_BWD, b.in[4] = dy;
    dx[0] = g_emit(g, b, shape_of(g, op.in[0]));
}
static void d_attn(Graph *g, Op op, Tid dy, const bool *need, Tid *dx) {
    (void)need;
    dx[0] = g_emit(g, (Op){.kind = OP_ATTN_BWD, .in = {op.in[0], dy}, .attn = op.attn}, shape_of(g, op.in[0]));
}
static void d_unary(Graph *g, Op op, Tid dy, const bool *need, Tid *dx) {
    (void)need;
    dx[0] = g_emit(g, (Op){.kind = OP_UNARY_BWD, .in = {op.in[0], dy}, .unary = op.unary}, shape_of(g, op.in[0]));
}
static void d_add(Graph *g, Op op, Tid dy, const bool *need, Tid *dx) {
    if (need[0]) dx[0] = scaled(g, dy, op.add.a);
    if (need[1]) {
        DG_CHECK(shape_eq(shape_of(g, op.in[1]), shape_of(g, dy)), "backward: no gradient through a broadcast add");
        dx[1] = scaled(g, dy, op.add.b);
    }
}
static void d_concat(Graph *g, Op op, Tid dy, const bool *need, Tid *dx) {
    int a = shape_of(g, op.in[0]).c, b = shape_of(g, op.in[1]).c;
    if (need[0]) dx[0] = g_slice(g, dy, 0, a);
    if (need[1]) dx[1] = g_slice(g, dy, a, b);
}
static void d_resample(Graph *g, Op op, Tid dy, const bool *need, Tid *dx) { /* up and down are each other's adjoint */
    (void)need;
    dx[0] = op.resample.up ? g_down(g, dy, op.resample.tap, op.resample.taps, op.resample.pad, op.resample.scale)
                           : g_up(g, dy, op.resample.tap, op.resample.taps, op.resample.pad, op.resample.scale);
}
static void d_pool_tokens(Graph *g, Op op, Tid dy, const bool *need, Tid *dx) {
    DG_CHECK(!need[1], "backward: no gradient of a positional embedding");
    dx[0] = g_emit(g, (Op){.kind = OP_POOL_TOKENS_BWD, .in = {dy}}, shape_of(g, op.in[0]));
}
static void d_first_token(Graph *g, Op op, Tid dy, const bool *need, Tid *dx) {
    (void)need;
    dx[0] = g_emit(g, (Op){.kind = OP_FIRST_TOKEN_BWD, .in = {dy}}, shape_of(g, op.in[0]));
}
static const GradRule rule[OP_COUNT] = {
    /* An op without a rule cannot be differentiated: found when the graph is built. */
    [OP_CONV] = d_conv,
    [OP_NORM] = d_norm,
    [OP_ATTN] = d_attn,
    [OP_UNARY] = d_unary,
    [OP_ADD] = d_add,
    [OP_CONCAT] = d_concat,
    [OP_RESAMPLE] = d_resample,
    [OP_POOL_TOKENS] = d_pool_tokens,
    [OP_FIRST_TOKEN] = d_first_token,
};
_Static_assert(OP_COUNT == 15, "a new op: give it a gradient rule here, or decide that it has none");

Tid graph_backward(Graph *g, Tid y, Tid dy, Tid x) {
    int nop = g->nop;
    DG_CHECK(shape_eq(shape_of(g, y), shape_of(g, dy)), "backward: dy has another shape than %s", g->t[y].name);
    bool *from_x = dg_alloc((size_t)g->nt * sizeof *from_x);
    Tid *grad = dg_alloc((size_t)g->nt * sizeof *grad);
    from_x[x] = true;
    for (int i = 0; i < nop; i++)
        for (int j = 0; j < OP_INPUTS; j++)
            if (g->op[i].in[j] && from_x[g->op[i].in[j]]) from_x[g->op[i].out] = true;
    DG_CHECK(from_x[y], "backward: %s does not depend on %s", g->t[y].name, g->t[x].name);
    grad[y] = dy;
    for (int i = nop - 1; i >= 0; i--) {
        Op op = g->op[i];
        if (!grad[op.out] || !from_x[op.out]) continue;
        DG_CHECK(rule[op.kind], "backward: op %d (%s) has no gradient rule", i, op_name(op.kind));
        bool need[OP_INPUTS];
        Tid dx[OP_INPUTS] = {0};
        for (int j = 0; j < OP_INPUTS; j++) need[j] = op.in[j] && from_x[op.in[j]];
        rule[op.kind](g, op, grad[op.out], need, dx);
        for (int j = 0; j < OP_INPUTS; j++) {
            if (!need[j]) continue;
            DG_CHECK(dx[j], "backward: the rule of %s gave nothing for input %d", op_name(op.kind), j);
            Tid *sum = &grad[op.in[j]];
            *sum = *sum ? g_add(g, dx[j], *sum, 1, 1) : dx[j];
        }
    }
    Tid dx = grad[x];
    free(from_x);
    free(grad);
    return dx;
}
