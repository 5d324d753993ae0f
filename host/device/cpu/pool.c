/* pool.c -- the largest or the mean of each window: whole vectors of channels, added up along a window's row, then over its rows. */
#include "device/cpu/cpu.h"
#include "device/cpu/vector.h"
#include <math.h>

typedef struct {    /* what one output pixel reads: the part of its window that is inside the image */
    const float *x; /* its first pixel */
    int rows, columns;
    size_t row, column; /* floats from row to row, from pixel to pixel */
} Window;
/* NaN wins: an instruction's maximum passes on a NaN of x, but forgets one of best. */
static inline Vec larger(Vec best, Vec x) { return vec_select(best == best, vec_above(x, best), best); }
/* `vectors` of them side by side from channel c on; max and vectors are constants where this is inlined. left: channels, where these
 * are less than one vector, else LANES. */
static inline __attribute__((always_inline)) void pool_vectors(bool max, int vectors, const Window *w, int c, int left, float *y) {
    Vec none = vec_all(max ? -INFINITY : 0), total[4] = {none, none, none, none};
    for (int r = 0; r < w->rows; r++) {
        const float *x = w->x + (size_t)r * w->row + c;
        Vec sum[4] = {none, none, none, none};
        for (int s = 0; s < w->columns; s++, x += w->column)
            for (int v = 0; v < vectors; v++) {
                Vec next = left < LANES ? vec_load_n(x, left) : vec_load(x + v * LANES);
                sum[v] = max ? larger(sum[v], next) : sum[v] + next;
            }
        for (int v = 0; v < vectors; v++) total[v] = max ? larger(total[v], sum[v]) : total[v] + sum[v];
    }
    float pixels = (float)(w->rows * w->columns);
    for (int v = 0; v < vectors; v++) {
        Vec out = max ? total[v] : total[v] / pixels;
        if (left < LANES) vec_store_n(y + c, out, left);
        else vec_store(y + c + v * LANES, out);
    }
}
static inline __attribute__((always_inline)) void pool_pixel(bool max, const Window *w, int C, float *y) {
    int c = 0;
    for (; c + 4 * LANES <= C; c += 4 * LANES) pool_vectors(max, 4, w, c, LANES, y);
    for (; c + LANES <= C; c += LANES) pool_vectors(max, 1, w, c, LANES, y);
    if (c < C) pool_vectors(max, 1, w, c, C - c, y);
}
/* [*first, *first + count) of `size` is what a window of `extent` at `start` has inside. */
static int inside(int start, int extent, int size, int *first) {
    *first = start < 0 ? 0 : start;
    return min_int(start + extent, size) - *first;
}
void cpu_pool(const Exec *e, int i) {
    const PoolOptions p = e->g->op[i].pool;
    Shape a = cpu_shape_in(e, i, 0), o = cpu_shape_out(e, i);
    size_t C = (size_t)o.c;
#pragma omp parallel for collapse(2)
    for (int n = 0; n < o.n; n++)
        for (int h = 0; h < o.h; h++)
            for (int v = 0; v < o.w; v++) {
                int top, left;
                Window w = {.row = (size_t)a.w * C, .column = C};
                w.rows = inside(h * p.stride - p.pad, p.height, a.h, &top);
                w.columns = inside(v * p.stride - p.pad, p.width, a.w, &left);
                w.x = cpu_in(e, i, 0) + (((size_t)n * (size_t)a.h + (size_t)top) * (size_t)a.w + (size_t)left) * C;
                float *y = cpu_out(e, i) + (((size_t)n * (size_t)o.h + (size_t)h) * (size_t)o.w + (size_t)v) * C;
                if (p.max) pool_pixel(true, &w, o.c, y);
                else pool_pixel(false, &w, o.c, y);
            }
}
