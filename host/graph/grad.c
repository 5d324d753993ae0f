/* grad.c -- reverse mode over the op list, with respect to inputs and activations only.
 * A rule says what an op's inputs receive, in terms of other ops wherever it can. The driver adds. */
#include "graph/graph.h"
#include <stdlib.h>

/* Fill dx[i] for the inputs with need[i]; leave the others 0. `op` is a copy: appending moves g->op. */
typedef void (*GradRule)(Graph *g, Op op, Tid dy, const bool *need, Tid *dx);

static Tid scaled(Graph *g, Tid t, float a) { return a == 1 ? t : g_add(g, t, 0, a, 0); }

static void d_conv(Graph *g, Op op, Tid dy, const bool *need, Tid *dx) { /* the adjoint is a conv with the flipped weight */
    GRAPH_CHECK(!need[1] && !need[2] && !need[7] && !need[8], "backward: conv %s: weights have no gradient here", g->t[op.in[1]].name);
    GRAPH_CHECK(!op.in[4] && op.conv.act == ACT_NONE, "backward: conv %s has %s: there is no gradient through it", g->t[op.in[1]].name,
                op.in[4] ? "a gate" : "an activation of its own");
    if (need[0]) {
        Shape k = shape_of(g, op.in[1]);
        ConvOptions o = op.conv;
        GRAPH_CHECK(o.stride == 1, "backward: conv %s has stride %d: there is a gradient for stride 1 only", g->t[op.in[1]].name, o.stride);
        o.top = k.h - 1 - o.top, o.bottom = k.h - 1 - o.bottom, o.left = k.w - 1 - o.left, o.right = k.w - 1 - o.right;
        dx[0] = g_conv_with(g, dy, g_flip(g, op.in[1]), 0, o);
    }
    if (need[3]) {
        GRAPH_CHECK(shape_eq(shape_of(g, op.in[3]), shape_of(g, dy)), "backward: no gradient through a broadcast add");
        dx[3] = scaled(g, dy, op.conv.scale);
    }
    if (need[5] || need[6]) { /* of both inputs of a skip together */
        Tid d = g_conv_with(g, dy, g_flip(g, op.in[7]), 0, (ConvOptions){.stride = 1, .scale = op.conv.scale});
        int c = shape_of(g, op.in[5]).c;
        if (need[5]) dx[5] = op.in[6] ? g_slice(g, d, 0, c) : d;
        if (need[6]) dx[6] = g_slice(g, d, c, shape_of(g, op.in[6]).c);
    }
}
static void d_norm(Graph *g, Op op, Tid dy, const bool *need, Tid *dx) {
    GRAPH_CHECK(!need[3], "backward: no gradient through a norm's scale and shift"); /* only embeddings feed them */
    Op b = op;
    b.kind = OP_NORM_BWD, b.in[4] = dy;
    if (op.in[6]) b.in[0] = g_concat(g, op.in[0], op.in[6]), b.in[6] = 0;
    Tid d = g_emit(g, b, shape_of(g, b.in[0]));
    int c = shape_of(g, op.in[0]).c;
    if (need[0]) dx[0] = op.in[6] ? g_slice(g, d, 0, c) : d;
    if (need[6]) dx[6] = g_slice(g, d, c, shape_of(g, op.in[6]).c);
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
        GRAPH_CHECK(shape_eq(shape_of(g, op.in[1]), shape_of(g, dy)), "backward: no gradient through a broadcast add");
        dx[1] = scaled(g, dy, op.add.b);
    }
}
static void d_concat(Graph *g, Op op, Tid dy, const bool *need, Tid *dx) {
    for (int i = 0, first = 0; i < OP_INPUTS && op.in[i]; i++) {
        int c = shape_of(g, op.in[i]).c;
        if (need[i]) dx[i] = g_slice(g, dy, first, c);
        first += c;
    }
}
static void d_resample(Graph *g, Op op, Tid dy, const bool *need, Tid *dx) { /* up and down are each other's adjoint */
    (void)need;
    dx[0] = op.resample.up ? g_down(g, dy, op.resample.tap, op.resample.taps, op.resample.pad, op.resample.scale)
                           : g_up(g, dy, op.resample.tap, op.resample.taps, op.resample.pad, op.resample.scale);
}
static void d_pool_tokens(Graph *g, Op op, Tid dy, const bool *need, Tid *dx) {
    GRAPH_CHECK(!need[1], "backward: no gradient of a positional embedding");
    dx[0] = g_emit(g, (Op){.kind = OP_POOL_TOKENS_BWD, .in = {dy}}, shape_of(g, op.in[0]));
}
static void d_first_token(Graph *g, Op op, Tid dy, const bool *need, Tid *dx) {
    (void)need;
    dx[0] = g_emit(g, (Op){.kind = OP_FIRST_TOKEN_BWD, .in = {dy}}, shape_of(g, op.in[0]));
}
static GradRule rule_of(OpKind k) {
    switch (k) {
    case OP_CONV: return d_conv;
    case OP_NORM: return d_norm;
    case OP_ATTN: return d_attn;
    case OP_UNARY: return d_unary;
    case OP_ADD: return d_add;
    case OP_CONCAT: return d_concat;
    case OP_RESAMPLE: return d_resample;
    case OP_POOL_TOKENS: return d_pool_tokens;
    case OP_FIRST_TOKEN: return d_first_token;
    case OP_SLICE:
    case OP_NORM_BWD:
    case OP_ATTN_BWD:
    case OP_UNARY_BWD:
    case OP_POOL_TOKENS_BWD:
    case OP_FIRST_TOKEN_BWD:
    case OP_POOL:
    case OP_RESIZE:
    case OP_PIXEL_NORM:
    case OP_GATE:
    case OP_DEPTH_TO_SPACE:
    case OP_SOFTMAX: return NULL; /* forward only: differentiating one stops with its name */
    }
    return NULL;
}
bool grad_has_rule(OpKind k) { return rule_of(k) != NULL; }

Tid graph_backward(Graph *g, Tid y, Tid dy, Tid x) {
    int nop = g->nop;
    GRAPH_CHECK(shape_eq(shape_of(g, y), shape_of(g, dy)), "backward: dy has another shape than %s", g->t[y].name);
    bool *from_x = dg_alloc((size_t)g->nt * sizeof *from_x);
    Tid *grad = dg_alloc((size_t)g->nt * sizeof *grad);
    from_x[x] = true;
    for (int i = 0; i < nop; i++)
        for (int j = 0; j < OP_INPUTS; j++)
            if (g->op[i].in[j] && from_x[g->op[i].in[j]]) from_x[g->op[i].out] = true;
    GRAPH_CHECK(from_x[y], "backward: %s does not depend on %s", g->t[y].name, g->t[x].name);
    grad[y] = dy;
    for (int i = nop - 1; i >= 0; i--) {
        Op op = g->op[i];
        if (!grad[op.out] || !from_x[op.out]) continue;
        GradRule rule = rule_of(op.kind);
        GRAPH_CHECK(rule, "backward: op %d (%s) has no gradient rule", i, op_name(op.kind));
        bool need[OP_INPUTS];
        Tid dx[OP_INPUTS] = {0};
        for (int j = 0; j < OP_INPUTS; j++) need[j] = op.in[j] && from_x[op.in[j]];
        rule(g, op, grad[op.out], need, dx);
        for (int j = 0; j < OP_INPUTS; j++) {
            if (!need[j]) continue;
            GRAPH_CHECK(dx[j], "backward: the rule of %s gave nothing for input %d", op_name(op.kind), j);
            Shape want = shape_of(g, op.in[j]), got = shape_of(g, dx[j]);
            GRAPH_CHECK(shape_eq(want, got), "backward: the rule of %s gave %d %d %d %d for input %d, which is %d %d %d %d",
                        op_name(op.kind), got.n, got.h, got.w, got.c, j, want.n, want.h, want.w, want.c);
            Tid *sum = &grad[op.in[j]];
            *sum = *sum ? g_add(g, dx[j], *sum, 1, 1) : dx[j];
        }
    }
    Tid dx = grad[x];
    free(from_x);
    free(grad);
    return dx;
}
