/* cpu_conv.c -- convolutions: which way each one is computed, its packed weight, and the direct way (im2col in blocks).
 * The choice depends on the shape per image alone, so that a batch of one and a batch of 64 give the same bits.         */
#include "cpu_conv.h"
#include "cpu_vector.h"
#include "host_memory.h"
#include <stdlib.h>

static int readers(const Graph *g, Tid t) {
    int n = 0;
    for (int i = 0; i < g->nop; i++)
        for (int j = 0; j < OP_INPUTS; j++) n += g->op[i].in[j] == t;
    return n;
}
/* The packed form replaces the original, which nobody else reads. */
static void drop_weight(Exec *e, Tid w) {
    if (readers(e->g, w) != 1) return;
    e->weight_bytes -= shape_count(shape_of(e->g, w)) * sizeof(float);
    host_release(e->dev, e->data[w]);
    e->data[w] = NULL;
}
float *conv_alloc(Exec *e, ConvPrep *p, size_t floats, Error *err) {
    p->packed = host_alloc(e->dev, floats * sizeof(float));
    if (p->packed) e->weight_bytes += floats * sizeof(float);
    else dg_out_of_memory(err, "not enough memory on device cpu for a packed weight of %zu bytes", floats * sizeof(float));
    return p->packed;
}
ConvShape conv_shape(const Exec *e, int i) {
    const Op *op = &e->g->op[i];
    ConvShape c = {.in = cpu_shape_in(e, i, 0), .w = cpu_shape_in(e, i, 1), .out = cpu_shape_out(e, i), .pad = op->conv.pad, .scale = op->conv.scale};
    c.bias = cpu_in(e, i, 2), c.add = cpu_in(e, i, 3);
    c.vector = c.add && !is_vector(c.out) && !shape_eq(cpu_shape_in(e, i, 3), c.out);
    return c;
}

/* ---- direct ---------------------------------------------------------------------------------------------------------------- */
static int k_of(const ConvShape *c) { return c->w.h * c->w.w * c->w.c; }
static bool is_pointwise(const ConvShape *c) { return c->w.h == 1 && c->w.w == 1 && c->pad == 0; }
/* Rows of one block: its piece of the input, gathered or not, should stay in the second-level cache. */
static int block_rows(const ConvShape *c) {
    const int cached_floats = 49152;
    int rows = cached_floats / k_of(c);
    return rows < 12 ? 12 : rows > GEMM_ROWS ? GEMM_ROWS : rows / 12 * 12;
}
static bool direct_prepare(Exec *e, int i, const ConvShape *c, ConvPrep *p, Error *err) {
    int k = k_of(c);
    if (!conv_alloc(e, p, gemm_packed_floats(k, c->w.n), err)) return false;
    gemm_pack(k, c->w.n, cpu_in(e, i, 1), 1, (size_t)k, p->packed);
    return is_pointwise(c) || cpu_reserve(e, (size_t)cpu_of(e)->threads * (size_t)block_rows(c) * (size_t)k, err);
}
/* The input of output pixels [first, first + rows) of one image as rows of R*S*C, zero outside. */
static void gather(const ConvShape *c, const float *x, int first, int rows, float *col) {
    size_t C = (size_t)c->in.c;
    for (int m = first; m < first + rows; m++) {
        int p = m / c->out.w, q = m % c->out.w;
        for (int r = 0; r < c->w.h; r++)
            for (int s = 0; s < c->w.w; s++, col += C) {
                int h = p + r - c->pad, v = q + s - c->pad;
                if (h < 0 || h >= c->in.h || v < 0 || v >= c->in.w) memset(col, 0, C * sizeof *col);
                else memcpy(col, x + ((size_t)h * (size_t)c->in.w + (size_t)v) * C, C * sizeof *col);
            }
    }
}
/* A task is one block of rows times one range of panels; blocks do not cross images unless rows are independent. */
typedef struct {
    int units, rows, block, blocks; /* a unit is an image, or the whole batch */
    int columns, ranges;            /* output channels of one task */
} Tasks;
static Tasks divide(const ConvShape *c, int threads) {
    size_t pixels = pixels_of(c->out);
    Tasks t = {.units = c->out.n, .rows = (int)pixels, .block = block_rows(c)};
    if (is_pointwise(c) && !c->vector) t.units = 1, t.rows = (int)(pixels * (size_t)c->out.n);
    t.blocks = (t.rows + t.block - 1) / t.block;
    int panels = (c->w.n + gemm_panel() - 1) / gemm_panel(), tasks = t.units * t.blocks, wanted = 4 * threads;
    t.ranges = tasks >= wanted || !is_pointwise(c) ? 1 : min_int(panels, (wanted + tasks - 1) / tasks);
    t.columns = (panels + t.ranges - 1) / t.ranges * gemm_panel();
    t.ranges = (c->w.n + t.columns - 1) / t.columns;
    return t;
}
static void direct_task(const Exec *e, int i, const ConvShape *c, const ConvPrep *p, const Tasks *t, int task) {
    int range = task % t->ranges, block = task / t->ranges % t->blocks, unit = task / t->ranges / t->blocks, k = k_of(c);
    int first = block * t->block, rows = min_int(t->block, t->rows - first), n = range * t->columns;
    size_t row = (size_t)unit * (size_t)t->rows + (size_t)first, K = (size_t)c->w.n;
    Gemm g = {.m = rows, .n = min_int(t->columns, c->w.n - n), .k = k, .a_row = (size_t)k, .a_col = 1, .scale = c->scale};
    g.b = p->packed + (size_t)n * (size_t)k, g.c = cpu_out(e, i) + row * K + n, g.c_row = K;
    if (c->bias) g.bias = c->bias + n;
    if (c->vector) g.add = c->add + (size_t)unit * K + n;
    else if (c->add) g.add = c->add + row * K + n, g.add_row = K;
    if (is_pointwise(c)) {
        g.a = cpu_in(e, i, 0) + row * (size_t)k;
    } else {
        float *col = cpu_of(e)->work + (size_t)thread_index() * (size_t)t->block * (size_t)k;
        gather(c, cpu_in(e, i, 0) + (size_t)unit * pixels_of(c->in) * (size_t)c->in.c, first, rows, col);
        g.a = col;
    }
    gemm(&g);
}
static void direct_run(const Exec *e, int i, const ConvShape *c, const ConvPrep *p) {
    int threads = cpu_of(e)->threads;
    Tasks t = divide(c, threads);
    int tasks = t.units * t.blocks * t.ranges;
#pragma omp parallel for num_threads(threads) schedule(dynamic)
    for (int task = 0; task < tasks; task++) direct_task(e, i, c, p, &t, task);
}

/* ---- the op ------------------------------------------------------------------------------------------------------------------ */
bool cpu_conv_prepare(Exec *e, int i, Error *err) {
    ConvShape c = conv_shape(e, i);
    ConvPrep *p = e->prep[i] = dg_alloc(sizeof *p);
    p->tile = winograd_tile(&c);
    if (!(p->tile ? winograd_prepare : direct_prepare)(e, i, &c, p, err)) return false;
    drop_weight(e, e->g->op[i].in[1]);
    return true;
}
void cpu_conv_unprepare(Exec *e, int i) {
    ConvPrep *p = e->prep[i];
    if (!p) return;
    host_release(e->dev, p->packed);
    free(p);
}
void cpu_conv(const Exec *e, int i) {
    ConvShape c = conv_shape(e, i);
    const ConvPrep *p = e->prep[i];
    (p->tile ? winograd_run : direct_run)(e, i, &c, p);
}
