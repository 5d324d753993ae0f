/* norm_fold.c -- pixel norms that need not be run. In a transformer's block
 *
 *   x = h w + ...   (f32, OP_CONV with gate and residual)   ->   y = pixel norm of x, shift and scale   ->   q = y v   (OP_CONV, 1x1)
 *
 * the norm's own pass reads x and writes y. Instead the first convolution, the maker, leaves x times the norm's scale where y would be,
 * and moments of its rows; the norm is no launch; the second, a reader, multiplies what lies there and mends its sums. For a
 * device that does so, graph_plan lets y begin at the maker, and what the norm is made of live as long as y. Here is what the graph says;
 * device/cuda/norm_folded.c has the device's part.
 *
 * Accuracy. A norm that is run rounds (x - mean) / deviation, one that is left out x / deviation, before the mean is taken away: with
 * r = |mean| / deviation of a row the copy's rounding is sqrt(1 + r^2) times that of the norm's output, and 1 + scale, rounded too, is
 * multiplied by r. Roundings being independent, the error of q is at most sqrt(1 + 2 r^2) times what rounding y makes it: 1.7 times at
 * r = 1, 14 at 10, 141 at 100, which in bf16 leaves one digit. Beyond 1/u (u of f16: 2^-11, of bf16: 2^-8) q holds nothing of x, but stays
 * finite; moments, in f32 about a value of the row, stay good. In f16 the copy's smallest step, 2^-24 / FOLD_SCALE, adds 2^-19 / deviation:
 * as much as u where that is 2^-8. What decides below knows no values. tests/test_norm_fold.c holds results to this.              */
#include "graph/graph.h"

/* The readers of t are convolutions of t alone, one or more. */
static bool only_multiplied(const Graph *g, Tid t) {
    int readers = 0;
    for (int i = 0; i < g->nop; i++)
        for (int j = 0; j < OP_INPUTS; j++) {
            if (g->op[i].in[j] != t) continue;
            if (g->op[i].kind != OP_CONV || j != 0) return false;
            readers++;
        }
    return readers > 0;
}
/* How many pixel norms read t. */
static int norms_of(const Graph *g, Tid t) {
    int n = 0;
    for (int i = 0; i < g->nop; i++) n += g->op[i].kind == OP_PIXEL_NORM && g->op[i].in[0] == t;
    return n;
}
bool graph_norm_fold(const Graph *g, int i, NormFold *f) {
    const Op *norm = &g->op[i];
    if (!g->precision.leaves_norms || norm->kind != OP_PIXEL_NORM || norm->pixel_norm.rms || norm->in[1] || norm->in[2] || !norm->in[3])
        return false;
    const Tensor *x = &g->t[norm->in[0]], *y = &g->t[norm->out], *modulation = &g->t[norm->in[3]];
    *f = (NormFold){x->producer, i};
    return f->maker >= 0 && g->op[f->maker].kind == OP_CONV && x->dtype == DG_F32 && y->dtype != DG_F32 && !y->keep &&
           modulation->producer < f->maker && norms_of(g, norm->in[0]) == 1 && only_multiplied(g, norm->out);
}
