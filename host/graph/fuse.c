/* fuse.c -- peephole pass. In each pattern op i reads the output of op p, and nobody else does. */
#include "graph/graph.h"
#include <stdlib.h>

static const OpKind OP_REMOVED = (OpKind)OP_COUNT; /* marks an op for the final sweep */

/* norm, silu -> norm with silu */
static bool fuse_silu(Graph *g, Op *op, const int *uses) {
    if (op->kind != OP_UNARY || op->unary.f != F_SILU) return false;
    Tid s = op->in[0];
    int p = g->t[s].producer;
    if (p < 0 || g->op[p].kind != OP_NORM || g->op[p].norm.silu || uses[s] != 1) return false;
    Op norm = g->op[p];
    norm.norm.silu = true, norm.out = op->out;
    *op = norm;
    g->op[p].kind = OP_REMOVED;
    return true;
}
/* The op that writes t, where that is of `kind` and nobody reads t but the op that is looked at; else -1. */
static int only_for_this(const Graph *g, Tid t, OpKind kind, const int *uses) {
    int p = g->t[t].producer;
    return p >= 0 && g->op[p].kind == kind && uses[t] == 1 ? p : -1;
}
/* A conv that nothing has been merged into after its bias and gate. */
static int plain_conv(const Graph *g, Tid t, const int *uses) {
    int p = only_for_this(g, t, OP_CONV, uses);
    return p >= 0 && !g->op[p].in[3] && !g->op[p].in[5] && g->op[p].conv.scale == 1 && g->op[p].conv.act == ACT_NONE ? p : -1;
}
/* The conv moves down to the place of op, where all of op's inputs exist. */
static bool replace_by_conv(Graph *g, Op *op, int p, Op conv) {
    conv.out = op->out;
    *op = conv;
    g->op[p].kind = OP_REMOVED;
    return true;
}
static bool is_scaled_sum(const Op *op) { return op->kind == OP_ADD && op->in[1] && op->add.a == op->add.b; }
/* A conv of one pixel, which may be a skip. Nobody else reads its weight, so that a device may keep it in a form of its own. */
static bool is_skip(const Graph *g, const Op *conv, const int *uses) {
    Shape w = shape_of(g, conv->in[1]);
    const ConvOptions *o = &conv->conv;
    bool pointwise = w.h == 1 && w.w == 1 && o->stride == 1 && !o->top && !o->left && !o->bottom && !o->right;
    return pointwise && !conv->in[4] && uses[conv->in[1]] == 1;
}
/* conv of images, conv 1x1, add -> conv with a skip and a scale */
static bool fuse_skip(Graph *g, Op *op, const int *uses) {
    if (!is_scaled_sum(op)) return false;
    Shape y = shape_of(g, op->out);
    for (int j = 0; j < 2 && !is_vector(y); j++) {
        int p = plain_conv(g, op->in[j], uses), q = plain_conv(g, op->in[1 - j], uses);
        if (p < 0 || q < 0 || g->op[p].in[4] || !is_skip(g, &g->op[q], uses)) continue;
        Op conv = g->op[p], skip = g->op[q];
        if (!shape_eq(shape_of(g, conv.out), shape_of(g, skip.out)) || g->t[conv.in[0]].dtype != g->t[skip.in[0]].dtype) continue;
        conv = conv_with_skip(g, conv, skip.in[0], 0, skip.in[1], skip.in[2]);
        conv.conv.scale = op->add.a;
        g->op[q].kind = OP_REMOVED;
        return replace_by_conv(g, op, p, conv);
    }
    return false;
}
/* conv, add -> conv with a residual (or a per-image vector, or positions) and a scale */
static bool fuse_residual(Graph *g, Op *op, const int *uses) {
    if (!is_scaled_sum(op)) return false;
    for (int j = 0; j < 2; j++) {
        int p = plain_conv(g, op->in[j], uses);
        if (p < 0 || !shape_eq(shape_of(g, op->in[j]), shape_of(g, op->out))) continue; /* it is itself the broadcast vector */
        Op conv = g->op[p];
        conv.in[3] = op->in[1 - j], conv.conv.scale = op->add.a;
        return replace_by_conv(g, op, p, conv);
    }
    return false;
}
/* the input gradient of a norm, add -> the same with the other gradient of a tensor that has two readers. graph_backward makes these
 * adds: what lies beside a norm, a skip or the input of a block, leads around it. Beside a conv the conv takes it (fuse_residual). */
static bool fuse_gradient(Graph *g, Op *op, const int *uses) {
    if (op->kind != OP_ADD || !op->in[1] || op->add.a != 1 || op->add.b != 1) return false;
    for (int j = 0; j < 2; j++) {
        int p = only_for_this(g, op->in[j], OP_NORM_BWD, uses);
        if (p < 0 || g->op[p].in[5] || operand_of(g, op->in[1 - j], op->out) != OPERAND_FULL) continue;
        Op norm = g->op[p];
        norm.in[5] = op->in[1 - j], norm.out = op->out;
        *op = norm;
        g->op[p].kind = OP_REMOVED;
        return true;
    }
    return false;
}
/* conv, gate -> conv with a gate and a residual */
static bool fuse_gate(Graph *g, Op *op, const int *uses) {
    if (op->kind != OP_GATE) return false;
    int p = plain_conv(g, op->in[0], uses);
    if (p < 0 || g->op[p].in[4]) return false;
    Op conv = g->op[p];
    conv.in[4] = op->in[1], conv.in[3] = op->in[2];
    return replace_by_conv(g, op, p, conv);
}
static Act act_of(const Op *op) {
    if (op->kind != OP_UNARY) return ACT_NONE;
    switch (op->unary.f) {
    case F_RELU: return ACT_RELU;
    case F_GELU_TANH: return ACT_GELU_TANH;
    case F_SILU:
    case F_CLAMP: return ACT_NONE;
    }
    return ACT_NONE;
}
/* conv, relu or gelu -> conv with an activation */
static bool fuse_act(Graph *g, Op *op, const int *uses) {
    Act act = act_of(op);
    int p = act == ACT_NONE ? -1 : only_for_this(g, op->in[0], OP_CONV, uses);
    if (p < 0 || g->op[p].conv.act != ACT_NONE) return false;
    Op conv = g->op[p];
    conv.conv.act = act;
    return replace_by_conv(g, op, p, conv);
}
/* v = pixel norm; v + v * scale + shift, as gate and add, of two neighbouring slices of one tensor -> pixel norm with that tensor */
static bool fuse_modulation(Graph *g, Op *op, const int *uses) {
    if (op->kind != OP_ADD || !op->in[1] || op->add.a != 1 || op->add.b != 1) return false;
    int q = only_for_this(g, op->in[0], OP_GATE, uses), p = q < 0 ? -1 : g->t[g->op[q].in[0]].producer;
    if (p < 0 || g->op[p].kind != OP_PIXEL_NORM || g->op[p].in[3] || g->op[q].in[2] != g->op[q].in[0] || uses[g->op[p].out] != 2)
        return false;
    int shift = only_for_this(g, op->in[1], OP_SLICE, uses), scale = only_for_this(g, g->op[q].in[1], OP_SLICE, uses),
        c = shape_of(g, op->out).c;
    if (shift < 0 || scale < 0 || g->op[shift].in[0] != g->op[scale].in[0]) return false;
    if (g->op[shift].slice.first + c != g->op[scale].slice.first || shape_of(g, g->op[shift].in[0]).c != 2 * c) return false;
    Op norm = g->op[p];
    norm.in[3] = g->op[shift].in[0], norm.out = op->out;
    *op = norm;
    g->op[p].kind = g->op[q].kind = g->op[shift].kind = g->op[scale].kind = OP_REMOVED;
    return true;
}

/* Whether op i reads the concat's output t in such a way that it may read the two that it is of. */
static bool takes_two(const Op *op, Tid t) {
    int at = op->kind == OP_NORM ? 0 : op->kind == OP_CONV ? 5 : -1, reads = 0;
    for (int j = 0; j < OP_INPUTS; j++) reads += op->in[j] == t;
    return reads == 0 || (at >= 0 && reads == 1 && op->in[at] == t && !op->in[6]);
}
/* concat of two, where it is read by norms and skips alone -> these read the two. Channels in eights, so that nobody meets the seam
 * within what it takes at once. */
static void fuse_concat(Graph *g, Op *concat) {
    Tid t = concat->out, a = concat->in[0], b = concat->in[1];
    DType type = g->t[t].dtype;
    if (concat->kind != OP_CONCAT || concat->in[2] || g->t[t].keep || g->t[a].dtype != type || g->t[b].dtype != type) return;
    if (shape_of(g, a).c % 8 || shape_of(g, b).c % 8) return;
    for (int i = 0; i < g->nop; i++)
        if (g->op[i].kind != OP_REMOVED && !takes_two(&g->op[i], t)) return;
    for (int i = 0; i < g->nop; i++) {
        Op *op = &g->op[i];
        if (op->kind == OP_NORM && op->in[0] == t) op->in[0] = a, op->in[6] = b;
        if (op->kind == OP_CONV && op->in[5] == t) op->in[5] = a, op->in[6] = b;
    }
    concat->kind = OP_REMOVED;
}

int graph_fuse(Graph *g) {
    int *uses = dg_alloc((size_t)g->nt * sizeof *uses), removed = 0, n = 0;
    for (int i = 0; i < g->nop; i++)
        for (int j = 0; j < OP_INPUTS; j++) uses[g->op[i].in[j]]++;
    for (Tid t = 0; t < g->nt; t++) uses[t] += g->t[t].keep;
    for (int i = 0; i < g->nop; i++) {
        Op *op = &g->op[i];
        bool fused = fuse_silu(g, op, uses) || fuse_skip(g, op, uses) || fuse_residual(g, op, uses) || fuse_gradient(g, op, uses) ||
                     fuse_gate(g, op, uses) || fuse_act(g, op, uses) || fuse_modulation(g, op, uses);
        if (fused) g->t[op->out].producer = i;
    }
    for (int i = 0; i < g->nop; i++) fuse_concat(g, &g->op[i]);
    for (int i = 0; i < g->nop; i++) {
        if (g->op[i].kind == OP_REMOVED) {
            g->t[g->op[i].out].producer = -1; /* its tensor is gone: no op reads it */
            removed++;
            continue;
        }
        g->op[n] = g->op[i];
        g->t[g->op[n].out].producer = n;
        n++;
    }
    g->nop = n;
    free(uses);
    return removed;
}
