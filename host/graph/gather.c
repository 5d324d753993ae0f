/* gather.c -- linear layers of the same vector are moved to the place of the first of them, so that a device may make all in one
 * launch: a network's embedding is read by a layer of each of its blocks, and none of them fills a GPU by itself.            */
#include "graph/graph.h"
#include <string.h>

/* All outputs live from the first layer's place on: layers that are large enough by themselves stay where they are. */
enum { MOST_OUTPUTS = 4096 };

/* Reads x and weights, nothing else. */
static bool may_move(const Graph *g, const Op *op) {
    return op->kind == OP_CONV && is_vector(shape_of(g, op->in[0])) && !in_arena(&g->t[op->in[1]]) && !op->in[3] && !op->in[4] &&
           !op->in[5] && g->t[op->in[0]].dtype == g->t[op->out].dtype && shape_of(g, op->out).c <= MOST_OUTPUTS;
}
void graph_gather(Graph *g) {
    for (int i = 0; i < g->nop; i++) {
        if (!may_move(g, &g->op[i])) continue;
        int end = i + 1; /* of those that are together */
        for (int j = end; j < g->nop; j++) {
            Op op = g->op[j];
            if (!may_move(g, &op) || op.in[0] != g->op[i].in[0]) continue;
            memmove(&g->op[end + 1], &g->op[end], (size_t)(j - end) * sizeof op);
            g->op[end++] = op;
        }
        i = end - 1;
    }
    for (int i = 0; i < g->nop; i++) g->t[g->op[i].out].producer = i;
}
