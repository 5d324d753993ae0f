/* upsampled.c -- resamples that are not run. In a U-Net's block that goes up
 *
 *   h = up(silu(norm(x)))   ->   OP_CONV 3x3 of h   ->  ...  ->   OP_CONV 3x3, with up(x) for a skip or a residual
 *
 * an upsampling by nearest neighbour writes four times what it reads, and the first convolution multiplies each pixel by sums of taps that
 * might have been added before. Instead the convolutions read x itself, and make their outputs by phases: those of even and odd lines and
 * columns apart. graph_plan lets what is upsampled live as long as the resample's output in 16 bits. Here is what the graph says;
 * upsampled_ops.c has the device's part.                                                                                       */
#include "device/cuda/upsampled.h"

static int readers_of(const Graph *g, Tid t) {
    int n = 0;
    for (int i = 0; i < g->nop; i++)
        for (int j = 0; j < OP_INPUTS; j++) n += g->op[i].in[j] == t;
    return n;
}
/* As what a convolution reads t; 0: it cannot read it otherwise. Of x the weight changes, which must be this convolution's alone. */
static unsigned role_of(const Graph *g, const Op *conv, Tid t) {
    unsigned role = 0;
    for (int j = 0; j < OP_INPUTS; j++)
        if (conv->in[j] == t) role |= j == 0 ? UP_X : j == 5 && !conv->in[6] ? UP_SKIP : j == 3 ? UP_ADD : ~0u;
    if (role == UP_X && readers_of(g, conv->in[1]) != 1) return 0;
    return role == UP_X || role == UP_SKIP || role == UP_ADD ? role : 0;
}
bool cuda_up_candidate(const Graph *g, int i) {
    const Op *op = &g->op[i];
    if (!is_nearest_up(op)) return false;
    const Tensor *x = &g->t[op->in[0]], *y = &g->t[op->out];
    if (y->keep || x->dtype != y->dtype || (y->dtype != DG_F16 && y->dtype != DG_BF16) || x->last < y->last) return false;
    for (int j = 0; j < g->nop; j++) {
        bool reads = false;
        for (int k = 0; k < OP_INPUTS; k++) reads |= g->op[j].in[k] == op->out;
        if (reads && (g->op[j].kind != OP_CONV || !role_of(g, &g->op[j], op->out))) return false;
    }
    return readers_of(g, op->out) > 0;
}
unsigned cuda_up_of(const Graph *g, int i, int *resample) {
    static const int inputs[] = {0, 3, 5};
    const Op *conv = &g->op[i];
    unsigned up = 0;
    for (int j = 0; j < 3 && conv->kind == OP_CONV; j++) {
        int p = conv->in[inputs[j]] ? g->t[conv->in[inputs[j]]].producer : -1;
        if (p < 0 || !cuda_up_candidate(g, p)) continue;
        if (up) return 0;
        up = role_of(g, conv, g->op[p].out), *resample = p;
    }
    return up;
}

size_t cuda_up_bytes(Shape w, DType type) { return (size_t)(w.n * UP_PHASES * UP_TAPS * UP_TAPS) * (size_t)w.c * dtype_bytes(type); }
/* Tap r of the filter reads the upsampled line 2i + phase + r - 1 for output line 2i + phase: line i - 1 + (phase + r + 1) / 2 of the small
 * image. The phase's own filter begins at i - 1 + phase. */
static int tap_of(int phase, int r) { return (phase + r + 1) / 2 - phase; }
void cuda_up_pack(float *packed, const float *weight, Shape w) {
    size_t c = (size_t)w.c, filter = (size_t)(w.h * w.w) * c, taps = UP_TAPS * UP_TAPS * c;
    for (int k = 0; k < w.n; k++)
        for (int phase = 0; phase < UP_PHASES; phase++) {
            float *to = packed + (size_t)(k * UP_PHASES + phase) * taps;
            for (size_t i = 0; i < taps; i++) to[i] = 0;
            for (int r = 0; r < w.h; r++)
                for (int s = 0; s < w.w; s++) {
                    const float *from = weight + (size_t)k * filter + (size_t)(r * w.w + s) * c;
                    float *sum = to + (size_t)(tap_of(phase >> 1, r) * UP_TAPS + tap_of(phase & 1, s)) * c;
                    for (size_t i = 0; i < c; i++) sum[i] += from[i];
                }
        }
}
