/* norm.c -- group norm (+ scale-shift, + SiLU), forward and input gradient.
 * Every image is cut into chunks of whole pixels that fit the first-level cache. Statistics: per chunk the sum, then the
 * squares about the chunk's own mean (no difference of large numbers), joined in double in the chunks' order. Then one
 * pass applies. The gradient's two sums per group are taken the same way, in a pass that leaves d in the output.
 * Two inputs are joined in the output first, chunk by chunk, and go on from there.                                       */
#include "device/cpu/cpu.h"
#include "device/cpu/vector.h"
#include <math.h>

enum { CHUNK_FLOATS = 8192 };
/* Per image, one row of `stride` floats each. */
enum { MEAN, MUL, SHIFT, SLOPE, RSTD, MEAN_D, MEAN_DX, ROWS };
typedef struct {
    Shape s;
    int groups, per_group;
    size_t stride;     /* of a row of per-channel values: whole vectors */
    int chunk, chunks; /* pixels of a chunk, chunks of an image */
    bool silu;
    float eps;
    const float *x, *dy, *add, *gamma, *beta, *scale_shift; /* add: to the gradient, or NULL */
    const float *part[2];                                   /* of two inputs, which are joined in y: x is y then */
    int part_c[2];
    float *y;
    double *partial; /* [n][chunks][groups][2] */
    float *row;      /* [n][ROWS][stride] */
    float *scratch;  /* [threads][2][stride] */
} Norm;

static Norm norm_layout(const Exec *e, int i) {
    const Op *op = &e->g->op[i];
    Norm m = {.s = cpu_shape_out(e, i), .groups = op->norm.groups, .silu = op->norm.silu, .eps = op->norm.eps};
    m.per_group = m.s.c / m.groups;
    m.stride = (size_t)round_up(m.s.c, LANES);
    m.chunk = CHUNK_FLOATS / m.s.c > 1 ? CHUNK_FLOATS / m.s.c : 1;
    m.chunks = ((int)pixels_of(m.s) + m.chunk - 1) / m.chunk;
    return m;
}
static size_t partial_floats(const Norm *m) {
    return (size_t)m->s.n * (size_t)m->chunks * (size_t)m->groups * 2 * (sizeof(double) / sizeof(float));
}
bool cpu_norm_prepare(Exec *e, int i, Error *err) {
    Norm m = norm_layout(e, i);
    return cpu_reserve(e, partial_floats(&m) + ((size_t)m.s.n * ROWS + (size_t)cpu_of(e)->threads * 2) * m.stride, err);
}
static float *row_of(const Norm *m, int n, int which) { return m->row + ((size_t)n * ROWS + (size_t)which) * m->stride; }
static float *scratch_of(const Norm *m) { return m->scratch + (size_t)thread_index() * 2 * m->stride; }
static double *partial_of(const Norm *m, int n, int chunk, int group) {
    return m->partial + (((size_t)n * (size_t)m->chunks + (size_t)chunk) * (size_t)m->groups + (size_t)group) * 2;
}
static int pixels_in(const Norm *m, int chunk) { return min_int(m->chunk, (int)pixels_of(m->s) - chunk * m->chunk); }
static size_t start_of(const Norm *m, int n, int chunk) {
    return ((size_t)n * pixels_of(m->s) + (size_t)chunk * (size_t)m->chunk) * (size_t)m->s.c;
}
static double group_sum(const Norm *m, const float *channel, int group) {
    double sum = 0;
    for (int c = group * m->per_group; c < (group + 1) * m->per_group; c++) sum += (double)channel[c];
    return sum;
}

/* ---- statistics ------------------------------------------------------------------------------------------------------------ */
static void join_parts(const Norm *m, int n, int chunk) {
    size_t first = start_of(m, n, chunk) / (size_t)m->s.c, a = (size_t)m->part_c[0], b = (size_t)m->part_c[1];
    float *y = m->y + start_of(m, n, chunk);
    for (size_t p = first; p < first + (size_t)pixels_in(m, chunk); p++, y += a + b) {
        memcpy(y, m->part[0] + p * a, a * sizeof *y);
        memcpy(y + a, m->part[1] + p * b, b * sizeof *y);
    }
}
static void chunk_statistics(const Norm *m, int n, int chunk) {
    if (m->part[1]) join_parts(m, n, chunk);
    const float *x = m->x + start_of(m, n, chunk);
    float *sum = scratch_of(m), *mean = sum + m->stride;
    int C = m->s.c, whole = C / LANES * LANES, pixels = pixels_in(m, chunk);
    memset(sum, 0, m->stride * sizeof *sum);
    for (int p = 0; p < pixels; p++, x += C) {
        for (int c = 0; c < whole; c += LANES) vec_store(sum + c, vec_load(sum + c) + vec_load(x + c));
        if (whole < C) vec_store(sum + whole, vec_load(sum + whole) + vec_load_n(x + whole, C - whole));
    }
    double count = (double)m->per_group * pixels;
    for (int group = 0; group < m->groups; group++) {
        double total = group_sum(m, sum, group);
        partial_of(m, n, chunk, group)[0] = total;
        for (int c = group * m->per_group; c < (group + 1) * m->per_group; c++) mean[c] = (float)(total / count);
    }
    memset(sum, 0, m->stride * sizeof *sum);
    x = m->x + start_of(m, n, chunk);
    for (int p = 0; p < pixels; p++, x += C) {
        for (int c = 0; c < whole; c += LANES) {
            Vec centred = vec_load(x + c) - vec_load(mean + c);
            vec_store(sum + c, vec_fma(centred, centred, vec_load(sum + c)));
        }
        if (whole < C) { /* the lanes behind the last channel are never read */
            Vec centred = vec_load_n(x + whole, C - whole) - vec_load_n(mean + whole, C - whole);
            vec_store(sum + whole, vec_fma(centred, centred, vec_load(sum + whole)));
        }
    }
    for (int group = 0; group < m->groups; group++) partial_of(m, n, chunk, group)[1] = group_sum(m, sum, group);
}
/* Joins the chunks of image n and fills its rows MEAN to RSTD: u = (x - MEAN) * MUL + SHIFT; du/dxhat = SLOPE. */
static void join_statistics(const Norm *m, int n) {
    float *mean = row_of(m, n, MEAN), *mul = row_of(m, n, MUL), *shift = row_of(m, n, SHIFT), *slope = row_of(m, n, SLOPE),
          *rstd = row_of(m, n, RSTD);
    const float *ss = m->scale_shift ? m->scale_shift + (size_t)n * 2 * (size_t)m->s.c : NULL;
    for (int group = 0; group < m->groups; group++) {
        double total = 0, squares = 0, count = (double)m->per_group * (double)pixels_of(m->s);
        for (int k = 0; k < m->chunks; k++) total += partial_of(m, n, k, group)[0];
        total /= count;
        for (int k = 0; k < m->chunks; k++) {
            double in_chunk = (double)m->per_group * pixels_in(m, k);
            /* the squares were taken about the mean as a float */
            double offset = (double)(float)(partial_of(m, n, k, group)[0] / in_chunk) - total;
            double residue = partial_of(m, n, k, group)[0] - in_chunk * (offset + total);
            squares += partial_of(m, n, k, group)[1] + 2 * offset * residue + in_chunk * offset * offset;
        }
        double r = 1 / sqrt(squares / count + (double)m->eps);
        for (int c = group * m->per_group; c < (group + 1) * m->per_group; c++) {
            double scale = ss ? 1 + (double)ss[c] : 1;
            mean[c] = (float)total, rstd[c] = (float)r;
            slope[c] = (float)((double)m->gamma[c] * scale), mul[c] = (float)(r * (double)m->gamma[c] * scale);
            shift[c] = (float)((double)m->beta[c] * scale + (ss ? (double)ss[m->s.c + c] : 0));
        }
    }
}

/* ---- applying -------------------------------------------------------------------------------------------------------------- */
static inline __attribute__((always_inline)) void apply(const Norm *m, int n, int chunk, bool silu) {
    const float *x = m->x + start_of(m, n, chunk), *mean = row_of(m, n, MEAN), *mul = row_of(m, n, MUL), *shift = row_of(m, n, SHIFT);
    float *y = m->y + start_of(m, n, chunk);
    int C = m->s.c;
    for (int p = pixels_in(m, chunk); p > 0; p--, x += C, y += C) {
        int c = 0;
        for (; c + LANES <= C; c += LANES) {
            Vec u = vec_fma(vec_load(x + c) - vec_load(mean + c), vec_load(mul + c), vec_load(shift + c));
            vec_store(y + c, silu ? vec_silu(u) : u);
        }
        if (c < C) {
            Vec u = vec_fma(vec_load_n(x + c, C - c) - vec_load(mean + c), vec_load(mul + c), vec_load(shift + c));
            vec_store_n(y + c, silu ? vec_silu(u) : u, C - c);
        }
    }
}
/* d = dy * silu'(u) * SLOPE into y; its sums per channel, alone and times (x - MEAN). */
static inline __attribute__((always_inline)) void chunk_gradient(const Norm *m, int n, int chunk, bool silu) {
    const float *x = m->x + start_of(m, n, chunk), *dy = m->dy + start_of(m, n, chunk);
    const float *mean = row_of(m, n, MEAN), *mul = row_of(m, n, MUL), *shift = row_of(m, n, SHIFT), *slope = row_of(m, n, SLOPE);
    float *y = m->y + start_of(m, n, chunk), *sum_d = scratch_of(m), *sum_dx = sum_d + m->stride;
    int C = m->s.c;
    memset(sum_d, 0, 2 * m->stride * sizeof *sum_d);
    for (int p = pixels_in(m, chunk); p > 0; p--, x += C, dy += C, y += C)
        for (int c = 0; c < C; c += LANES) {
            int left = min_int(C - c, LANES);
            Vec centred = vec_load_most(x + c, left) - vec_load(mean + c);
            Vec d = vec_load_most(dy + c, left) * vec_load(slope + c);
            if (silu) d *= vec_silu_slope(vec_fma(centred, vec_load(mul + c), vec_load(shift + c)));
            vec_store(sum_d + c, vec_load(sum_d + c) + d);
            vec_store(sum_dx + c, vec_fma(d, centred, vec_load(sum_dx + c)));
            if (left < LANES) vec_store_n(y + c, d, left);
            else vec_store(y + c, d);
        }
    for (int group = 0; group < m->groups; group++) {
        double *partial = partial_of(m, n, chunk, group);
        partial[0] = group_sum(m, sum_d, group), partial[1] = group_sum(m, sum_dx, group);
    }
}
static void join_gradient(const Norm *m, int n) {
    float *mean_d = row_of(m, n, MEAN_D), *mean_dx = row_of(m, n, MEAN_DX);
    const float *rstd = row_of(m, n, RSTD);
    double count = (double)m->per_group * (double)pixels_of(m->s);
    for (int group = 0; group < m->groups; group++) {
        double d = 0, dx = 0;
        for (int k = 0; k < m->chunks; k++) d += partial_of(m, n, k, group)[0], dx += partial_of(m, n, k, group)[1];
        for (int c = group * m->per_group; c < (group + 1) * m->per_group; c++) {
            mean_d[c] = (float)(d / count);
            mean_dx[c] = (float)(dx / count * (double)rstd[c] * (double)rstd[c]);
        }
    }
}
static void apply_gradient(const Norm *m, int n, int chunk) { /* y = RSTD * (y - MEAN_D - (x - MEAN) * MEAN_DX) + add */
    const float *x = m->x + start_of(m, n, chunk), *add = m->add ? m->add + start_of(m, n, chunk) : NULL, *mean = row_of(m, n, MEAN),
                *rstd = row_of(m, n, RSTD);
    const float *mean_d = row_of(m, n, MEAN_D), *mean_dx = row_of(m, n, MEAN_DX);
    float *y = m->y + start_of(m, n, chunk);
    int C = m->s.c;
    for (int p = pixels_in(m, chunk); p > 0; p--, x += C, y += C, add = add ? add + C : NULL)
        for (int c = 0; c < C; c += LANES) {
            int left = min_int(C - c, LANES);
            Vec centred = vec_load_most(x + c, left) - vec_load(mean + c);
            Vec d = vec_load_most(y + c, left) - vec_load(mean_d + c);
            d = vec_load(rstd + c) * vec_fma(-centred, vec_load(mean_dx + c), d);
            if (add) d += vec_load_most(add + c, left);
            if (left < LANES) vec_store_n(y + c, d, left);
            else vec_store(y + c, d);
        }
}

/* ---- the ops --------------------------------------------------------------------------------------------------------------- */
static Norm norm_bind(const Exec *e, int i) {
    Norm m = norm_layout(e, i);
    m.x = cpu_in(e, i, 0), m.gamma = cpu_in(e, i, 1), m.beta = cpu_in(e, i, 2), m.scale_shift = cpu_in(e, i, 3), m.dy = cpu_in(e, i, 4);
    bool backward = e->g->op[i].kind == OP_NORM_BWD;
    m.add = backward ? cpu_in(e, i, 5) : NULL, m.y = cpu_out(e, i);
    if (!backward && e->g->op[i].in[6]) {
        for (int j = 0; j < 2; j++) m.part[j] = cpu_in(e, i, 6 * j), m.part_c[j] = cpu_shape_in(e, i, 6 * j).c;
        m.x = m.y;
    }
    m.partial = (double *)cpu_of(e)->work;
    m.row = cpu_of(e)->work + partial_floats(&m);
    m.scratch = m.row + (size_t)m.s.n * ROWS * m.stride;
    return m;
}
/* Means and deviations of all groups, shared out over the threads that call it together. */
static void statistics(const Norm *m) {
#pragma omp for
    for (int t = 0; t < m->s.n * m->chunks; t++) chunk_statistics(m, t / m->chunks, t % m->chunks);
#pragma omp for
    for (int n = 0; n < m->s.n; n++) join_statistics(m, n);
}
static void finish_gradient(const Norm *m) {
#pragma omp for
    for (int n = 0; n < m->s.n; n++) join_gradient(m, n);
#pragma omp for
    for (int t = 0; t < m->s.n * m->chunks; t++) apply_gradient(m, t / m->chunks, t % m->chunks);
}
static void first_pass(const Norm *m, int n, int chunk) { /* the constants make two loops of each */
    if (!m->dy && m->silu) apply(m, n, chunk, true);
    else if (!m->dy) apply(m, n, chunk, false);
    else if (m->silu) chunk_gradient(m, n, chunk, true);
    else chunk_gradient(m, n, chunk, false);
}
void cpu_norm(const Exec *e, int i) {
    const Norm m = norm_bind(e, i);
    int tasks = m.s.n * m.chunks;
#pragma omp parallel num_threads(cpu_of(e)->threads)
    {
        statistics(&m);
#pragma omp for
        for (int t = 0; t < tasks; t++) first_pass(&m, t / m.chunks, t % m.chunks);
        if (m.dy) finish_gradient(&m);
    }
}
