/* pooled.c -- resamples that norms do. In a U-Net's block that goes down
 *
 *   h = down(silu(norm(x)))   ->   OP_CONV of h          beside it   down(x)
 *
 * the norm writes four times what is read of it. Instead it writes the means of fours where the resample's output would be, which
 * graph_plan lets begin at the norm. The gradient: the norm's takes dy, and the gradient of down(x) that is added, as they are before they
 * would be upsampled, which live until then. Here is what the graph says; pooled_ops.c has the device's part.                  */
#include "device/cuda/pooled.h"

static int readers_of(const Graph *g, Tid t, int *last) {
    int n = 0;
    for (int i = 0; i < g->nop; i++)
        for (int j = 0; j < OP_INPUTS; j++)
            if (g->op[i].in[j] == t) n++, *last = i;
    return n;
}
static bool in_16_bits(DType type) { return type == DG_F16 || type == DG_BF16; }
/* A resample of that direction, in 16 bits, whose input and output have nobody else between them and its neighbours. */
static bool is_between(const Graph *g, int i, bool up) {
    if (i < 0 || !box_factor(&g->op[i]) || g->op[i].resample.up != up) return false;
    const Tensor *x = &g->t[g->op[i].in[0]], *y = &g->t[g->op[i].out];
    int last;
    return x->dtype == y->dtype && in_16_bits(x->dtype) &&
           (up ? !y->keep && readers_of(g, g->op[i].out, &last) == 1 && x->last >= y->last
               : !x->keep && readers_of(g, g->op[i].in[0], &last) == 1 && y->first <= x->producer);
}
bool cuda_pooled_candidate(const Graph *g, int i, Pooled *p) {
    const Op *op = &g->op[i];
    *p = (Pooled){.down = -1, .of_dy = -1, .of_add = -1};
    if (op->kind == OP_NORM) {
        int reader = -1;
        if (readers_of(g, op->out, &reader) != 1 || !is_between(g, reader, false)) return false;
        p->down = reader, p->factor = box_factor(&g->op[reader]);
        return true;
    }
    if (op->kind != OP_NORM_BWD) return false;
    p->of_dy = g->t[op->in[4]].producer, p->of_add = op->in[5] ? g->t[op->in[5]].producer : -1;
    if (!is_between(g, p->of_dy, true) || (op->in[5] && !is_between(g, p->of_add, true))) return false;
    p->factor = box_factor(&g->op[p->of_dy]);
    return !op->in[5] || box_factor(&g->op[p->of_add]) == p->factor;
}
int cuda_pooled_by(const Graph *g, int i) {
    int reader = -1, norm = g->t[g->op[i].in[0]].producer;
    Pooled p;
    if (!box_factor(&g->op[i])) return -1;
    if (!g->op[i].resample.up) return norm >= 0 && cuda_pooled_candidate(g, norm, &p) && p.down == i ? norm : -1;
    readers_of(g, g->op[i].out, &reader);
    return reader >= 0 && cuda_pooled_candidate(g, reader, &p) && (p.of_dy == i || p.of_add == i) ? reader : -1;
}
