/* norm_stats.c -- the statistics of a norm's input, made by the convolutions that write it (ConvArgs.stats, NormArgs.stats):
 * the norm then reads its input once. Decided by the graph alone, so that memory is known before it is taken.          */
#include "device/cuda/norm_stats.h"
#include "kernels/kernels.h"

static bool can_leave(const Graph *g, int i) {
    if (i < 0 || g->op[i].kind != OP_CONV) return false;
    Shape y = shape_of(g, g->op[i].out);
    return y.h * y.w % NORM_SEGMENT == 0; /* whole segments only */
}
bool cuda_stats_sources(const Graph *g, int i, int op[2]) {
    if (g->op[i].kind != OP_NORM && g->op[i].kind != OP_NORM_BWD) return false;
    Tid x = g->op[i].in[0];
    op[0] = g->t[x].producer, op[1] = -1;
    if (g->op[i].in[6]) {
        op[1] = g->t[g->op[i].in[6]].producer;
        return can_leave(g, op[0]) && can_leave(g, op[1]);
    }
    if (op[0] >= 0 && g->op[op[0]].kind == OP_CONCAT) {
        Tid a = g->op[op[0]].in[0], b = g->op[op[0]].in[1];
        if (g->op[op[0]].in[2]) return false; /* a norm takes the statistics of two */
        if (g->t[a].dtype != g->t[x].dtype || g->t[b].dtype != g->t[x].dtype)
            return false; /* the concat converts types, so the statistics would be of other values */
        op[0] = g->t[a].producer, op[1] = g->t[b].producer;
        return can_leave(g, op[0]) && can_leave(g, op[1]);
    }
    return can_leave(g, op[0]);
}
size_t cuda_stats_bytes(const Graph *g, int i) {
    if (!can_leave(g, i)) return 0;
    Shape y = shape_of(g, g->op[i].out);
    for (int j = i + 1, op[2]; j < g->nop; j++)
        if (cuda_stats_sources(g, j, op) && (op[0] == i || op[1] == i)) return shape_count(y) / NORM_SEGMENT * 2 * sizeof(float);
    return 0;
}
