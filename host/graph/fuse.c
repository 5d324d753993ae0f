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
/* conv, add -> conv with a residual (or a per-image vector) and a scale. The conv moves down to the add's place, where
 * both of the add's inputs exist.                                                                                     */
static bool fuse_residual(Graph *g, Op *op, const int *uses) {
    if (op->kind != OP_ADD || !op->in[1] || op->add.a != op->add.b) return false;
    for (int j = 0; j < 2; j++) {
        Tid s = op->in[j], r = op->in[1 - j];
        int p = g->t[s].producer;
        if (p < 0 || g->op[p].kind != OP_CONV || g->op[p].in[3] || g->op[p].conv.scale != 1 || uses[s] != 1) continue;
        if (!shape_eq(shape_of(g, s), shape_of(g, op->out))) continue; /* s is itself the broadcast vector */
        Op conv = g->op[p];
        conv.in[3] = r, conv.conv.scale = op->add.a, conv.out = op->out;
        *op = conv;
        g->op[p].kind = OP_REMOVED;
        return true;
    }
    return false;
}

int graph_fuse(Graph *g) {
    int *uses = dg_alloc((size_t)g->nt * sizeof *uses), removed = 0, n = 0;
    for (int i = 0; i < g->nop; i++)
        for (int j = 0; j < OP_INPUTS; j++) uses[g->op[i].in[j]]++;
    for (Tid t = 0; t < g->nt; t++) uses[t] += g->t[t].keep;
    for (int i = 0; i < g->nop; i++) {
        bool fused = fuse_silu(g, &g->op[i], uses) || fuse_residual(g, &g->op[i], uses);
        if (fused) {
            g->t[g->op[i].out].producer = i;
            removed++;
        }
    }
    for (int i = 0; i < g->nop; i++) {
        if (g->op[i].kind == OP_REMOVED) {
            g->t[g->op[i].out].producer = -1; /* its tensor is gone: no op reads it */
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
