/* plan.c -- lifetimes, then offsets: the biggest tensor first, at the lowest place that is free while it lives; in two orders. */
#include "graph/graph.h"
#include <stdlib.h>

typedef struct {
    Tid t;
    size_t bytes; /* rounded up, guards included */
    bool first;   /* placed before those that are not */
} Item;

static int by_size(const void *a, const void *b) {
    const Item *x = a, *y = b;
    if (x->first != y->first) return x->first ? -1 : 1;
    return x->bytes != y->bytes ? (x->bytes < y->bytes) - (x->bytes > y->bytes) : x->t - y->t;
}

/* Where a pixel norm may be left out (norm_fold.c), the op that makes its input begins its output, and those that read that read its shift
 * and scale too. */
static void around_norms(Graph *g) {
    NormFold f;
    for (int i = 0; i < g->nop; i++) {
        if (!graph_norm_fold(g, i, &f)) continue;
        Tensor *out = &g->t[g->op[i].out], *shift_scale = &g->t[g->op[i].in[3]];
        out->first = f.maker;
        if (shift_scale->last < out->last) shift_scale->last = out->last;
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
/* Gives the items their places; returns where the last one ends. */
static size_t place(Graph *g, Item *item, int n) {
    size_t guard = align_up(g->guard_bytes), end = 0;
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
    return end;
}
static bool lives_at(const Graph *g, Tid t, int op) { return g->t[t].first <= op && g->t[t].last >= op; }
/* The op at which the items that live are the most bytes. */
static int fullest(const Graph *g, const Item *item, int n) {
    size_t most = 0;
    int at = 0;
    for (int op = 0; op < g->nop; op++) {
        size_t live = 0;
        for (int i = 0; i < n; i++) live += lives_at(g, item[i].t, op) ? item[i].bytes : 0;
        if (live > most) most = live, at = op;
    }
    return at;
}
/* By size alone a stream that hands on from block to block can lie where nothing fits beside it when memory is fullest: that moment's
 * tensors first is another try, and the smaller arena is taken.                                                                 */
size_t graph_plan(Graph *g) {
    lifetimes(g);
    size_t guard = align_up(g->guard_bytes);
    Item *item = dg_alloc((size_t)g->nt * sizeof *item);
    int n = 0;
    for (Tid t = 1; t < g->nt; t++) {
        const Tensor *a = &g->t[t];
        if (in_arena(a) && a->first <= a->last) item[n++] = (Item){t, align_up(tensor_bytes(a)) + 2 * guard, false};
    }
    size_t by_size_alone = place(g, item, n);
    int at = fullest(g, item, n);
    for (int i = 0; i < n; i++) item[i].first = lives_at(g, item[i].t, at);
    g->arena_bytes = place(g, item, n);
    if (g->arena_bytes >= by_size_alone) {
        for (int i = 0; i < n; i++) item[i].first = false;
        g->arena_bytes = place(g, item, n);
    }
    free(item);
    return g->arena_bytes;
}
