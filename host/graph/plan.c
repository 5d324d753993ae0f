/* plan.c -- lifetimes, then offsets: the biggest tensor first, at the lowest place that is free while it lives. */
#include "graph/graph.h"
#include <stdlib.h>

typedef struct {
    Tid t;
    size_t bytes; /* rounded up, guards included */
} Item;

static int by_size(const void *a, const void *b) {
    const Item *x = a, *y = b;
    return x->bytes != y->bytes ? (x->bytes < y->bytes) - (x->bytes > y->bytes) : x->t - y->t;
}

/* In 16 bits a device may leave out a pixel norm's own pass (device/cuda/norm_fold.c): the op that makes its input then begins its output,
 * and those that read that read its shift and scale too. */
static void around_norms(Graph *g) {
    if (g->precision.act != DG_F16 && g->precision.act != DG_BF16) return;
    for (int i = 0; i < g->nop; i++) {
        if (g->op[i].kind != OP_PIXEL_NORM) continue;
        Tensor *out = &g->t[g->op[i].out], *shift_scale = &g->t[g->op[i].in[3]];
        int maker = g->t[g->op[i].in[0]].producer;
        if (maker >= 0 && g->op[maker].kind == OP_CONV) out->first = maker;
        if (g->op[i].in[3] && shift_scale->last < out->last) shift_scale->last = out->last;
    }
}
/* And a resample's by a box filter (device/cuda/upsampled.c, pooled.c): what reads the output of one that goes up then reads its input; the
 * norm before one that goes down begins its output. */
static void around_resamples(Graph *g) {
    if (g->precision.act != DG_F16 && g->precision.act != DG_BF16) return;
    for (int i = 0; i < g->nop; i++) {
        if (!box_factor(&g->op[i])) continue;
        Tensor *in = &g->t[g->op[i].in[0]], *out = &g->t[g->op[i].out];
        if (g->op[i].resample.up && in->last < out->last) in->last = out->last;
        if (!g->op[i].resample.up && in->producer >= 0 && g->op[in->producer].kind == OP_NORM) out->first = in->producer;
    }
}
/* An output lives from its op, an input from the start to the end (it stays set between runs), both to the last reader. */
static void lifetimes(Graph *g) {
    for (Tid t = 1; t < g->nt; t++) g->t[t].first = g->nop, g->t[t].last = -1;
    for (int i = 0; i < g->nop; i++) {
        Tensor *out = &g->t[g->op[i].out];
        out->first = i;
        if (out->last < i) out->last = i;
        for (int j = 0; j < OP_INPUTS; j++)
            if (g->op[i].in[j]) g->t[g->op[i].in[j]].last = i;
    }
    for (Tid t = 1; t < g->nt; t++) {
        Tensor *a = &g->t[t];
        if (a->kind == T_INPUT) a->first = 0, a->last = g->nop;
        if (a->keep) a->last = g->nop;
    }
    around_norms(g);
    around_resamples(g);
}
size_t graph_plan(Graph *g) {
    lifetimes(g);
    size_t guard = align_up(g->guard_bytes), end = 0;
    Item *item = dg_alloc((size_t)g->nt * sizeof *item);
    int n = 0;
    for (Tid t = 1; t < g->nt; t++) {
        const Tensor *a = &g->t[t];
        if (in_arena(a) && a->first <= a->last) item[n++] = (Item){t, align_up(tensor_bytes(a)) + 2 * guard};
    }
    qsort(item, (size_t)n, sizeof *item, by_size);
    for (int i = 0; i < n; i++) {
        Tensor *a = &g->t[item[i].t];
        size_t begin = 0;
        for (bool moved = true; moved;) {
            moved = false;
            for (int j = 0; j < i; j++) {
                const Tensor *b = &g->t[item[j].t];
                size_t b_begin = b->offset - guard, b_end = b_begin + item[j].bytes;
                bool both_live = a->first <= b->last && b->first <= a->last;
                if (both_live && begin < b_end && b_begin < begin + item[i].bytes) begin = b_end, moved = true;
            }
        }
        a->offset = begin + guard;
        if (begin + item[i].bytes > end) end = begin + item[i].bytes;
    }
    free(item);
    return g->arena_bytes = end;
}
