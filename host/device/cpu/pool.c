/* pool.c -- the largest or the mean of each window. For a row of the output, a column of the rows of its windows is reduced to one pixel
 * when the first window wants it, and each window takes its columns of those, which the first-level cache still has: all of it runs
 * through memory in its order.                                                                                           */
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
    float factor;      /* of the result */
    bool stream;       /* the result goes past the caches */
    const float *next; /* as many floats to fetch meanwhile, or NULL */
} Terms;
/* Elements of the largest, or of the sum, of the terms; max, vectors and a count of 3 are constants where this is inlined. left: how
 * many elements, where these are less than one vector.                                                                  */
static inline __attribute__((always_inline)) void reduce_vectors(bool max, int vectors, int count, const Terms *t, size_t j, size_t left,
                                                                 float *y) {
    const float *x = t->x + j;
    Vec none = vec_all(max ? -INFINITY : 0), all[4] = {none, none, none, none};
#pragma GCC unroll 3
    for (int k = 0; k < count; k++, x += t->step)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) {
            Vec next = vec_load_most(x + v * LANES, (int)left);
            all[v] = max ? vec_larger(all[v], next) : all[v] + next;
        }
#pragma GCC unroll 4
    for (int v = 0; v < vectors; v++) {
        if (t->next) __builtin_prefetch(t->next + j + v * LANES, 0, 2);
        if (left < LANES) vec_store_n(y + j, all[v] * t->factor, (int)left);
        else if (t->stream) vec_stream(y + j + v * LANES, all[v] * t->factor);
        else vec_store(y + j + v * LANES, all[v] * t->factor);
    }
}
static inline __attribute__((always_inline)) void reduce_count(bool max, int count, const Terms *t, float *y, size_t n) {
    size_t j = 0;
    for (; j + 4 * LANES <= n; j += 4 * LANES) reduce_vectors(max, 4, count, t, j, LANES, y);
    for (; j + LANES <= n; j += LANES) reduce_vectors(max, 1, count, t, j, LANES, y);
    if (j < n) reduce_vectors(max, 1, count, t, j, n - j, y);
}
static inline __attribute__((always_inline)) void reduce(bool max, const Terms *t, float *y, size_t n) {
    if (t->count == 3) reduce_count(max, 3, t, y, n);
    else reduce_count(max, t->count, t, y, n);
}
/* [*first, *first + count) of `size` is what a window of `extent` at `start` has inside. */
static int inside(int start, int extent, int size, int *first) {
    *first = start < 0 ? 0 : start;
    return min_int(start + extent, size) - *first;
}
/* Row h of an image's output. */
static inline __attribute__((always_inline)) void pool_row(bool max, const PoolOptions *o, Shape in, Shape out, const float *x, int h,
                                                           bool stream, float *y, float *columns) {
    size_t C = (size_t)in.c, row = (size_t)in.w * C;
    int top, first, reduced = 0 /* columns */, rows = inside(h * o->stride - o->pad, o->height, in.h, &top);
    const float *next = x + (size_t)min_int(top + rows, in.h - 1) * row;
    x += (size_t)top * row;
    for (int w = 0; w < out.w; w++, y += C) {
        int count = inside(w * o->stride - o->pad, o->width, in.w, &first), end = first + count;
        size_t from = (size_t)max_int(reduced, first) * C;
        if (end > reduced) reduce(max, &(Terms){x + from, row, rows, 1, .next = next + from}, columns + from, (size_t)end * C - from);
        reduced = max_int(reduced, end);
        reduce(max, &(Terms){columns + (size_t)first * C, C, count, max ? 1 : 1 / (float)(rows * count), stream && is_aligned(y)}, y, C);
    }
}
void cpu_pool(const Exec *e, int i) {
    const PoolOptions o = e->g->op[i].pool;
    Shape in = cpu_shape_in(e, i, 0), out = cpu_shape_out(e, i);
    size_t C = (size_t)in.c;
    bool stream = is_streamed((size_t)out.n * pixels_of(out) * C);
#pragma omp parallel for collapse(2) num_threads(cpu_of(e)->threads)
    for (int n = 0; n < out.n; n++)
        for (int h = 0; h < out.h; h++) {
            const float *x = cpu_in(e, i, 0) + (size_t)n * pixels_of(in) * C;
            float *y = cpu_out(e, i) + ((size_t)n * (size_t)out.h + (size_t)h) * (size_t)out.w * C;
            float *columns = cpu_of(e)->work + (size_t)thread_index() * (size_t)in.w * C;
            if (o.max) pool_row(true, &o, in, out, x, h, stream, y, columns);
            else pool_row(false, &o, in, out, x, h, stream, y, columns);
            if (stream) stores_done();
        }
}
