/* pool.c -- the largest or the mean of each window. A row of the output takes a block of channels at a time: each column of its
 * windows' rows is reduced once, to values that stay in the first-level cache; then each window takes its columns.          */
#include "device/cpu/cpu.h"
#include "device/cpu/vector.h"
#include <math.h>

enum { BLOCK = 4 }; /* vectors of channels */
typedef struct {
    Shape in, out;
    PoolOptions o;
    const float *x;
    float *y;
} Pool;
bool cpu_pool_prepare(Exec *e, int i, Error *err) {
    return cpu_reserve(e, (size_t)cpu_of(e)->threads * (size_t)cpu_shape_in(e, i, 0).w * BLOCK * LANES, err);
}
/* [*first, *first + count) of `size` is what a window of `extent` at `start` has inside. */
static int inside(int start, int extent, int size, int *first) {
    *first = start < 0 ? 0 : start;
    return min_int(start + extent, size) - *first;
}
/* Row h of image n, `vectors` from channel c on; max and vectors are constants where this is inlined. left: how many channels, where
 * these are less than one vector, else LANES.                                                                           */
static inline __attribute__((always_inline)) void pool_block(bool max, int vectors, const Pool *p, int n, int h, int c, int left,
                                                             float *columns) {
    size_t C = (size_t)p->in.c, row = (size_t)p->in.w * C, step = (size_t)vectors * LANES;
    int top, first, rows = inside(h * p->o.stride - p->o.pad, p->o.height, p->in.h, &top);
    const float *x = p->x + ((size_t)n * (size_t)p->in.h + (size_t)top) * row + (size_t)c;
    float *y = p->y + ((size_t)n * (size_t)p->out.h + (size_t)h) * (size_t)p->out.w * C + (size_t)c;
    const Vec none = vec_all(max ? -INFINITY : 0);
    for (int w = 0; w < p->in.w; w++, x += C) {
        Vec all[BLOCK] = {none, none, none, none};
        for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++) {
                const float *from = x + (size_t)r * row + v * LANES;
                Vec next = left < LANES ? vec_load_n(from, left) : vec_load(from);
                all[v] = max ? vec_larger(all[v], next) : all[v] + next;
            }
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) vec_store(columns + (size_t)w * step + v * LANES, all[v]);
    }
    for (int w = 0; w < p->out.w; w++, y += C) {
        Vec all[BLOCK] = {none, none, none, none};
        int count = inside(w * p->o.stride - p->o.pad, p->o.width, p->in.w, &first);
        const float *column = columns + (size_t)first * step;
        for (int s = 0; s < count; s++, column += step)
#pragma GCC unroll 4
            for (int v = 0; v < vectors; v++) {
                Vec next = vec_load(column + v * LANES);
                all[v] = max ? vec_larger(all[v], next) : all[v] + next;
            }
        float share = max ? 1 : 1 / (float)(rows * count);
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) {
            if (left < LANES) vec_store_n(y, all[v] * share, left);
            else vec_store(y + v * LANES, all[v] * share);
        }
    }
}
static inline __attribute__((always_inline)) void pool_row(bool max, const Pool *p, int n, int h, float *columns) {
    int c = 0, C = p->in.c;
    for (; c + BLOCK * LANES <= C; c += BLOCK * LANES) pool_block(max, BLOCK, p, n, h, c, LANES, columns);
    for (; c + LANES <= C; c += LANES) pool_block(max, 1, p, n, h, c, LANES, columns);
    if (c < C) pool_block(max, 1, p, n, h, c, C - c, columns);
}
void cpu_pool(const Exec *e, int i) {
    const Pool p = {cpu_shape_in(e, i, 0), cpu_shape_out(e, i), e->g->op[i].pool, cpu_in(e, i, 0), cpu_out(e, i)};
#pragma omp parallel for collapse(2) num_threads(cpu_of(e)->threads)
    for (int n = 0; n < p.out.n; n++)
        for (int h = 0; h < p.out.h; h++) {
            float *columns = cpu_of(e)->work + (size_t)thread_index() * (size_t)p.in.w * BLOCK * LANES;
            if (p.o.max) pool_row(true, &p, n, h, columns);
            else pool_row(false, &p, n, h, columns);
        }
}
