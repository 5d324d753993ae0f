/* conv_direct.c -- convolutions as matrix products: im2col in blocks, or the input as it is where the filter is one pixel. */
#include "device/cpu/conv_ways.h"
#include <string.h>

static int k_of(const ConvShape *c) { return c->w.h * c->w.w * c->w.c; }
static bool is_pointwise(const ConvShape *c) { /* the input is the matrix */
    return conv_within(c, CONV_SCALE | CONV_ACT | CONV_GATE | CONV_POSITIONS);
}
/* The matrix of the whole batch, of which any rows make a block: no operand has a row for many pixels or many images. */
static bool is_one_matrix(const ConvShape *c) {
    return is_pointwise(c) && (is_vector(c->out) || (c->operand != OPERAND_VECTOR && c->operand != OPERAND_POSITIONS && !c->gate));
}
/* Rows of one block: its piece of the input, gathered or not, should stay in the second-level cache. */
static int block_rows(const ConvShape *c) {
    const int cached_floats = 49152;
    int rows = cached_floats / k_of(c);
    return rows < 12 ? 12 : rows > GEMM_ROWS ? GEMM_ROWS : rows / 12 * 12;
}
bool direct_prepare(Exec *e, const ConvShape *c, const float *w, int k_row, float **packed, Error *err) {
    int k = k_of(c);
    if (!(*packed = cpu_packed(e, gemm_packed_floats(k, c->w.n), err))) return false;
    gemm_pack(k, c->w.n, w, 1, (size_t)k_row, *packed);
    return is_pointwise(c) || cpu_reserve(e, (size_t)cpu_of(e)->threads * (size_t)block_rows(c) * (size_t)k, err);
}
/* The input of output pixels [first, first + rows) of one image as rows of R*S*C, zero outside. */
static void gather(const ConvShape *c, const float *x, int first, int rows, float *col) {
    size_t C = (size_t)c->in.c, taps = (size_t)c->w.w * C;
    for (int m = first; m < first + rows; m++) {
        int top = m / c->out.w * c->o.stride - c->o.top, left = m % c->out.w * c->o.stride - c->o.left;
        int begin = max_int(-left, 0), end = max_int(min_int(c->in.w - left, c->w.w), begin); /* taps inside */
        size_t before = (size_t)begin * C, inside = (size_t)(end - begin) * C;
        for (int h = top; h < top + c->w.h; h++, col += taps) {
            if (h < 0 || h >= c->in.h || !inside) {
                memset(col, 0, taps * sizeof *col);
                continue;
            }
            if (before) memset(col, 0, before * sizeof *col);
            memcpy(col + before, x + ((size_t)h * (size_t)c->in.w + (size_t)(left + begin)) * C, inside * sizeof *col);
            if (before + inside < taps) memset(col + before + inside, 0, (taps - before - inside) * sizeof *col);
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
    if (is_one_matrix(c)) t.units = 1, t.rows = (int)(pixels * (size_t)c->out.n);
    t.blocks = (t.rows + t.block - 1) / t.block;
    int panels = (c->w.n + gemm_panel() - 1) / gemm_panel(), tasks = t.units * t.blocks, wanted = 4 * threads;
    t.ranges = tasks >= wanted || !is_pointwise(c) ? 1 : min_int(panels, (wanted + tasks - 1) / tasks);
    t.columns = (panels + t.ranges - 1) / t.ranges * gemm_panel();
    t.ranges = (c->w.n + t.columns - 1) / t.columns;
    return t;
}
static void direct_task(const Exec *e, int i, const ConvShape *c, const float *packed, const Tasks *t, int task) {
    int range = task % t->ranges, block = task / t->ranges % t->blocks, unit = task / t->ranges / t->blocks, k = k_of(c);
    int first = block * t->block, rows = min_int(t->block, t->rows - first), n = range * t->columns;
    size_t row = (size_t)unit * (size_t)t->rows + (size_t)first, K = (size_t)c->w.n;
    Gemm g = {
        .m = rows, .n = min_int(t->columns, c->w.n - n), .k = k, .a_row = (size_t)k, .a_col = 1, .scale = c->o.scale, .act = c->o.act};
    g.b = packed + (size_t)n * (size_t)k, g.c = cpu_out(e, i) + row * K + n, g.c_row = K;
    if (c->bias) g.bias = c->bias + n;
    bool vectors = is_vector(c->out); /* each row is an image, and no operand has another row for another pixel */
    size_t image = vectors ? row : (size_t)unit, image_row = vectors ? K : 0, pixel = vectors ? 0 : (size_t)first,
           pixel_row = K - image_row;
    if (c->gate) g.gate = c->gate + image * K + n, g.gate_row = image_row;
    switch (c->operand) {
    case OPERAND_NONE: break;
    case OPERAND_FULL: g.add = c->add + row * K + n, g.add_row = K; break;
    case OPERAND_VECTOR: g.add = c->add + image * K + n, g.add_row = image_row; break;
    case OPERAND_POSITIONS: g.add = c->add + pixel * K + n, g.add_row = pixel_row; break;
    }
    if (is_pointwise(c)) {
        g.a = c->x + row * (size_t)k;
    } else {
        float *col = cpu_of(e)->work + (size_t)thread_index() * (size_t)t->block * (size_t)k;
        gather(c, c->x + (size_t)unit * pixels_of(c->in) * (size_t)c->in.c, first, rows, col);
        g.a = col;
    }
    gemm(&g);
}
void direct_run(const Exec *e, int i, const ConvShape *c, const float *packed) {
    int threads = cpu_of(e)->threads;
    Tasks t = divide(c, threads);
    int tasks = t.units * t.blocks * t.ranges;
#pragma omp parallel for num_threads(threads) schedule(dynamic)
    for (int task = 0; task < tasks; task++) direct_task(e, i, c, packed, &t, task);
}
