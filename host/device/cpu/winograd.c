/* winograd.c -- 3x3 convolutions by Winograd's minimal filtering, F(2x2,3x3) and F(4x4,3x3).
 *
 * A tile of M x M outputs needs A = M + 2 points a dimension: V = B'dB of the input, U = GgG' of the weight, for each of the
 * A*A points one matrix product over the channels, and Y = A'(.)A of the results: 4 or 2.25 products an output instead of 9.
 * The points are 0, 1, -1, infinity for M = 2 (exact for integers), and 0, +-3/4, +-3/2, infinity for M = 4: of the points
 * tried these gave the smallest error, half of that of the usual 0, +-1, +-2, and under twice that of a direct sum in float.
 * A batch is processed in chunks of tiles, each in three steps with a barrier between them: transform, multiply, transform
 * back and finish (bias, gate, residual, scale, activation).                                                                                  */
#include "device/cpu/conv_ways.h"
#include "device/cpu/vector.h"

#define ALWAYS_INLINE static inline __attribute__((always_inline))
enum { MAX_POINTS = 6, CHUNK_TILES = GEMM_ROWS };
static const float P = .75f, Q = 1.5f; /* the points of M = 4: P and Q themselves, their squares and cubes are exact */

typedef struct {
    const ConvShape *c;
    const float *x, *u;
    float *y, *v, *m, *zero; /* v [points][tiles][C], m [points][tiles][K], zero: C zeros, what lies outside the image */
    size_t v_point, m_point, u_point;
    int tiles_h, tiles_w;
} Winograd;

/* A power of two between the points would put them all into the same sets of the caches. */
static size_t point_stride(int channels) { return (size_t)CHUNK_TILES * (size_t)channels + 16; }

/* ---- one dimension of each transform; `step` is the distance between the points in the array ------------------------------- */
ALWAYS_INLINE void input_row(int M, const Vec *d, int step, Vec *v) {
    Vec d0 = d[0], d1 = d[step], d2 = d[2 * step], d3 = d[3 * step];
    if (M == 2) {
        v[0] = d2 - d0, v[step] = d1 + d2, v[2 * step] = d2 - d1, v[3 * step] = d3 - d1;
        return;
    }
    const Vec p2 = vec_all(-P * P), q2 = vec_all(-Q * Q), both = vec_all(-(P * P + Q * Q)), product = vec_all(P * P * Q * Q);
    Vec d4 = d[4 * step], d5 = d[5 * step];
    Vec even_p = vec_fma(q2, d2, d4), odd_p = P * vec_fma(q2, d1, d3), even_q = vec_fma(p2, d2, d4), odd_q = Q * vec_fma(p2, d1, d3);
    v[0] = vec_fma(product, d0, vec_fma(both, d2, d4));
    v[step] = even_p + odd_p, v[2 * step] = even_p - odd_p;
    v[3 * step] = even_q + odd_q, v[4 * step] = even_q - odd_q;
    v[5 * step] = vec_fma(product, d1, vec_fma(both, d3, d5));
}
ALWAYS_INLINE void output_row(int M, const Vec *m, int step, Vec *y, int y_step) {
    Vec sum = m[step] + m[2 * step], difference = m[step] - m[2 * step];
    if (M == 2) {
        y[0] = m[0] + sum, y[y_step] = difference + m[3 * step];
        return;
    }
    Vec sum_q = m[3 * step] + m[4 * step], difference_q = m[3 * step] - m[4 * step];
    y[0] = m[0] + sum + sum_q;
    y[y_step] = vec_fma(vec_all(Q), difference_q, P * difference);
    y[2 * y_step] = vec_fma(vec_all(Q * Q), sum_q, P * P * sum);
    y[3 * y_step] = vec_fma(vec_all(Q * Q * Q), difference_q, vec_fma(vec_all(P * P * P), difference, m[5 * step]));
}
static void weight_row(int M, const double *g, int step, double *u, int u_step) {
    if (M == 2) {
        u[0] = -g[0], u[u_step] = (g[0] + g[step] + g[2 * step]) / 2, u[2 * u_step] = (g[0] - g[step] + g[2 * step]) / 2;
        u[3 * u_step] = g[2 * step];
        return;
    }
    double p = (double)P, q = (double)Q, at_p = 2 * p * p * (p * p - q * q), at_q = 2 * q * q * (q * q - p * p);
    u[0] = g[0] / (p * p * q * q);
    u[u_step] = (g[0] + p * g[step] + p * p * g[2 * step]) / at_p, u[2 * u_step] = (g[0] - p * g[step] + p * p * g[2 * step]) / at_p;
    u[3 * u_step] = (g[0] + q * g[step] + q * q * g[2 * step]) / at_q, u[4 * u_step] = (g[0] - q * g[step] + q * q * g[2 * step]) / at_q;
    u[5 * u_step] = g[2 * step];
}

/* ---- preparing ---------------------------------------------------------------------------------------------------------------- */
/* Transformed weights are M = 2: 1.8, M = 4: 4 times the original: the larger tile where an image has 16 of them to use each. */
int winograd_tile(const ConvShape *c) {
    bool fits = conv_within(c, CONV_TAPS | CONV_PADS | CONV_UNEVEN | CONV_SCALE | CONV_ACT | CONV_GATE | CONV_POSITIONS) && c->w.h == 3 &&
                c->w.w == 3 && c->w.c % LANES == 0 && c->w.n % LANES == 0 && c->w.c >= 32 && c->w.n >= 32;
    if (!fits || c->out.h < 4 || c->out.w < 4) return 0;
    return c->out.h >= 16 && c->out.w >= 16 && c->w.c >= 64 && c->w.n >= 64 ? 4 : 2;
}
static int points_of(int tile) { return (tile + 2) * (tile + 2); }
bool winograd_prepare(Exec *e, int i, const ConvShape *c, ConvPrep *p, Error *err) {
    int M = p->tile, A = M + 2, C = c->w.c, K = c->w.n;
    size_t point = gemm_packed_floats(C, K);
    const float *w = cpu_in(e, i, 1);
    float *packed = p->packed = cpu_packed(e, (size_t)points_of(M) * point, err);
    if (!packed) return false;
#pragma omp parallel for
    for (int k = 0; k < K; k++)
        for (int ch = 0; ch < C; ch++) {
            double g[9], half[3 * MAX_POINTS], u[MAX_POINTS * MAX_POINTS];
            for (int rs = 0; rs < 9; rs++) g[rs] = (double)w[((size_t)k * 9 + (size_t)rs) * (size_t)C + (size_t)ch];
            for (int s = 0; s < 3; s++) weight_row(M, g + s, 3, half + s, 3);         /* [A][3] */
            for (int a = 0; a < A; a++) weight_row(M, half + 3 * a, 1, u + A * a, 1); /* [A][A] */
            for (int a = 0; a < A * A; a++) packed[(size_t)a * point + gemm_packed_at(C, ch, k)] = (float)u[a];
        }
    return cpu_reserve(e, (size_t)points_of(M) * (point_stride(C) + point_stride(K)) + (size_t)C, err);
}

/* ---- the three steps ------------------------------------------------------------------------------------------------------------ */
ALWAYS_INLINE void transform_input(int M, const Winograd *t, int tile, int slot) {
    const ConvShape *c = t->c;
    int A = M + 2, image = tile / (t->tiles_h * t->tiles_w), p = tile / t->tiles_w % t->tiles_h * M, q = tile % t->tiles_w * M;
    const float *x = t->x + (size_t)image * pixels_of(c->in) * (size_t)c->in.c, *source[MAX_POINTS * MAX_POINTS];
    for (int a = 0; a < A; a++)
        for (int b = 0; b < A; b++) {
            int h = p + a - c->o.top, w = q + b - c->o.left;
            bool inside = h >= 0 && h < c->in.h && w >= 0 && w < c->in.w;
            source[a * A + b] = inside ? x + ((size_t)h * (size_t)c->in.w + (size_t)w) * (size_t)c->in.c : t->zero;
        }
    float *v = t->v + (size_t)slot * (size_t)c->in.c;
    for (int ch = 0; ch < c->in.c; ch += LANES) {
        Vec d[MAX_POINTS * MAX_POINTS];
        for (int a = 0; a < A; a++) {
            for (int b = 0; b < A; b++) d[a * A + b] = vec_load(source[a * A + b] + ch);
            input_row(M, d + a * A, 1, d + a * A);
        }
        for (int b = 0; b < A; b++) {
            input_row(M, d + b, A, d + b);
            for (int a = 0; a < A; a++) vec_store(v + (size_t)(a * A + b) * t->v_point + ch, d[a * A + b]);
        }
    }
}
ALWAYS_INLINE void transform_output(int M, const Winograd *t, int tile, int slot) {
    const ConvShape *c = t->c;
    int A = M + 2, image = tile / (t->tiles_h * t->tiles_w), p = tile / t->tiles_w % t->tiles_h * M, q = tile % t->tiles_w * M;
    int rows = min_int(M, c->out.h - p), columns = min_int(M, c->out.w - q);
    size_t K = (size_t)c->out.c, in_image = ((size_t)p * (size_t)c->out.w + (size_t)q) * K,
           first = (size_t)image * pixels_of(c->out) * K + in_image;
    const float *m = t->m + (size_t)slot * K, *gate = c->gate ? c->gate + (size_t)image * K : NULL, *add = c->add;
    if (add) add += c->operand == OPERAND_VECTOR ? (size_t)image * K : c->operand == OPERAND_POSITIONS ? in_image : first;
    for (size_t k = 0; k < K; k += LANES) {
        Vec d[MAX_POINTS * MAX_POINTS], half[MAX_POINTS * MAX_POINTS], y[MAX_POINTS * MAX_POINTS];
        for (int a = 0; a < A; a++) {
            for (int b = 0; b < A; b++) d[a * A + b] = vec_load(m + (size_t)(a * A + b) * t->m_point + k);
            output_row(M, d + a * A, 1, half + a * M, 1);
        }
        for (int b = 0; b < M; b++) output_row(M, half + b, M, y + b, M);
        Vec bias = c->bias ? vec_load(c->bias + k) : vec_all(0), scale = vec_all(c->o.scale);
        for (int a = 0; a < rows; a++)
            for (int b = 0; b < columns; b++) {
                size_t at = ((size_t)a * (size_t)c->out.w + (size_t)b) * K + k;
                Vec sum = y[a * M + b] + bias;
                if (gate) sum *= vec_load(gate + k);
                if (add) sum += vec_load(add + (c->operand == OPERAND_VECTOR ? k : at));
                vec_store(t->y + first + at, sum * scale);
            }
    }
    if (c->o.act != ACT_NONE)
        for (int a = 0; a < rows; a++) activate(c->o.act, t->y + first + (size_t)a * (size_t)c->out.w * K, columns * c->out.c);
}
ALWAYS_INLINE void run(int M, const Winograd *t, int threads) {
    const ConvShape *c = t->c;
    int tiles = c->out.n * t->tiles_h * t->tiles_w, points = (M + 2) * (M + 2), C = c->in.c, K = c->out.c;
    int panels = round_up(K, gemm_panel()) / gemm_panel(), ranges = min_int(1 + threads / 8, panels);
    int columns = (panels + ranges - 1) / ranges * gemm_panel();
#pragma omp parallel num_threads(threads)
    for (int first = 0; first < tiles; first += CHUNK_TILES) {
        int rows = min_int(CHUNK_TILES, tiles - first);
#pragma omp for
        for (int r = 0; r < rows; r++) transform_input(M, t, first + r, r);
#pragma omp for schedule(dynamic)
        for (int task = 0; task < points * ranges; task++) {
            int point = task / ranges, n = task % ranges * columns;
            if (n >= K) continue;
            gemm(&(Gemm){.m = rows,
                         .n = min_int(columns, K - n),
                         .k = C,
                         .a = t->v + (size_t)point * t->v_point,
                         .a_row = (size_t)C,
                         .a_col = 1,
                         .b = t->u + (size_t)point * t->u_point + (size_t)n * (size_t)C,
                         .c = t->m + (size_t)point * t->m_point + n,
                         .c_row = (size_t)K,
                         .scale = 1});
        }
#pragma omp for
        for (int r = 0; r < rows; r++) transform_output(M, t, first + r, r);
    }
}
void winograd_run(const Exec *e, int i, const ConvShape *c, const ConvPrep *p) {
    int M = p->tile, threads = cpu_of(e)->threads;
    Winograd t = {.c = c, .x = cpu_in(e, i, 0), .u = p->packed, .y = cpu_out(e, i), .v = cpu_of(e)->work};
    t.v_point = point_stride(c->in.c), t.m_point = point_stride(c->out.c), t.u_point = gemm_packed_floats(c->in.c, c->out.c);
    t.m = t.v + (size_t)points_of(M) * t.v_point, t.zero = t.m + (size_t)points_of(M) * t.m_point;
    t.tiles_h = (c->out.h + M - 1) / M, t.tiles_w = (c->out.w + M - 1) / M;
    memset(t.zero, 0, (size_t)c->in.c * sizeof *t.zero);
    if (M == 2) run(2, &t, threads);
    else run(4, &t, threads);
}
