/* pool.c -- the largest or the mean of each window. For a row of the output, the rows of its windows are reduced to one, which stays in
 * the second-level cache, then each window takes its columns of that: all of it runs through memory in its order.        */
#include "device/cpu/cpu.h"
#include "device/cpu/vector.h"
#include <math.h>

bool cpu_pool_prepare(Exec *e, int i, Error *err) {
    Shape a = cpu_shape_in(e, i, 0);
    return cpu_reserve(e, (size_t)cpu_of(e)->threads * (size_t)a.w * (size_t)a.c, err);
}
typedef struct {
    const float *x;
    size_t step; /* floats from one to the next */
    int count;
    float factor; /* of the result */
} Terms;
/* Elements of the largest, or of the sum, of the terms; max and vectors are constants where this is inlined. left: how many elements,
 * where these are less than one vector.                                                                                 */
static inline __attribute__((always_inline)) void reduce_vectors(bool max, int vectors, const Terms *t, size_t j, size_t left, float *y) {
    const float *x = t->x + j;
    Vec none = vec_all(max ? -INFINITY : 0), all[4] = {none, none, none, none};
    for (int k = 0; k < t->count; k++, x += t->step)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) {
            Vec next = left < LANES ? vec_load_n(x, (int)left) : vec_load(x + v * LANES);
            all[v] = max ? vec_larger(all[v], next) : all[v] + next;
        }
#pragma GCC unroll 4
    for (int v = 0; v < vectors; v++) {
        if (left < LANES) vec_store_n(y + j, all[v] * t->factor, (int)left);
        else vec_store(y + j + v * LANES, all[v] * t->factor);
    }
}
static inline __attribute__((always_inline)) void reduce(bool max, const Terms *t, float *y, size_t n) {
    size_t j = 0;
    for (; j + 4 * LANES <= n; j += 4 * LANES) reduce_vectors(max, 4, t, j, LANES, y);
    for (; j + LANES <= n; j += LANES) reduce_vectors(max, 1, t, j, LANES, y);
    if (j < n) reduce_vectors(max, 1, t, j, n - j, y);
}
/* [*first, *first + count) of `size` is what a window of `extent` at `start` has inside. */
static int inside(int start, int extent, int size, int *first) {
    *first = start < 0 ? 0 : start;
    return min_int(start + extent, size) - *first;
}
/* Row h of an image's output. */
static inline __attribute__((always_inline)) void pool_row(bool max, const PoolOptions *o, Shape in, Shape out, const float *x, int h,
                                                           float *y, float *columns) {
    size_t C = (size_t)in.c, row = (size_t)in.w * C;
    int top, first, rows = inside(h * o->stride - o->pad, o->height, in.h, &top);
    reduce(max, &(Terms){x + (size_t)top * row, row, rows, 1}, columns, row);
    for (int w = 0; w < out.w; w++, y += C) {
        int count = inside(w * o->stride - o->pad, o->width, in.w, &first);
        reduce(max, &(Terms){columns + (size_t)first * C, C, count, max ? 1 : 1 / (float)(rows * count)}, y, C);
    }
}
void cpu_pool(const Exec *e, int i) {
    const PoolOptions o = e->g->op[i].pool;
    Shape in = cpu_shape_in(e, i, 0), out = cpu_shape_out(e, i);
    size_t C = (size_t)in.c;
#pragma omp parallel for collapse(2) num_threads(cpu_of(e)->threads)
    for (int n = 0; n < out.n; n++)
        for (int h = 0; h < out.h; h++) {
            const float *x = cpu_in(e, i, 0) + (size_t)n * pixels_of(in) * C;
            float *y = cpu_out(e, i) + ((size_t)n * (size_t)out.h + (size_t)h) * (size_t)out.w * C;
            float *columns = cpu_of(e)->work + (size_t)thread_index() * (size_t)in.w * C;
            if (o.max) pool_row(true, &o, in, out, x, h, y, columns);
            else pool_row(false, &o, in, out, x, h, y, columns);
        }
}
