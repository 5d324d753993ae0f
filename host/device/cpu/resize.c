/* resize.c -- separable resizing by tables: the columns of an input row, when an output row first wants it, then the rows.
 * A thread keeps as many of these rows as the tallest filter reads, of a stripe of the output that is narrow enough for all of
 * them to stay in the first-level cache. Rows are rounded to float, as the reference's are, but kept as double: an input is
 * converted once, and nothing where the rows are summed. Sums are in double, in the tables' order: for bytes a product and a sum
 * rounded apart as in the reference, whose bits these are; else fused. The order is the same in whatever vector an element is. */
#include "device/cpu/cpu.h"
#include "device/cpu/vector.h"
#include <limits.h>
#include <math.h>

enum { HALF = LANES / 2 }; /* doubles of a vector */
/* Rows of the output that a thread makes one after the other; doubles of the kept rows; input rows that memory is ahead. */
enum { BAND = 64, NEAR = 1536, AHEAD = 4 };
typedef double Wide __attribute__((vector_size(HALF * sizeof(double))));
typedef int64_t WideInt __attribute__((vector_size(HALF * sizeof(int64_t))));
typedef float Narrow __attribute__((vector_size(HALF * sizeof(float))));

typedef struct {
    const double *row; /* of output j: table + j * (1 + taps) */
    int taps, size;    /* size: pixels of the input */
} Table;
typedef struct { /* what one output of a table reads: inputs first, first + 1... */
    const double *weight;
    int first, taps; /* taps: those of inputs that there are, at least 1 */
} Taps;
typedef struct {
    int first, count; /* pixels */
} Span;
typedef struct {
    Shape in, out;
    Table columns, rows;
    ResizeOptions o;
    int stripe;         /* output pixels of a row that a thread makes at a time */
    size_t row, inputs; /* doubles of a kept row, and of the inputs that a stripe reads; a vector more, for stores and loads past the end */
} Resize;
static Table table_of(const Exec *e, int i, int j, int size) {
    return (Table){e->data[e->g->op[i].in[j]], cpu_shape_in(e, i, j).c - 1, size};
}
static Taps taps_of(const Table *t, int j) {
    const double *row = t->row + (size_t)j * (size_t)(1 + t->taps);
    int first = (int)row[0];
    return (Taps){row + 1, first, min_int(t->taps, t->size - first)};
}
/* The inputs of outputs [j, end), which may be in any order. */
static Span span_of(const Table *t, int j, int end) {
    int from = t->size, to = 0;
    for (; j < end; j++) {
        Taps taps = taps_of(t, j);
        from = min_int(from, taps.first), to = max_int(to, taps.first + taps.taps);
    }
    return (Span){from, to - from};
}
static Resize resize_layout(const Exec *e, int i) {
    Resize r = {.in = cpu_shape_in(e, i, 0), .out = cpu_shape_out(e, i), .o = e->g->op[i].resize};
    r.columns = table_of(e, i, 1, r.in.w), r.rows = table_of(e, i, 2, r.in.h);
    int pixels = max_int(1, NEAR / r.rows.taps / r.out.c), stripes = (r.out.w + pixels - 1) / pixels, most = 0;
    r.stripe = (r.out.w + stripes - 1) / stripes;
    for (int w = 0; w < r.out.w; w += r.stripe) most = max_int(most, span_of(&r.columns, w, min_int(w + r.stripe, r.out.w)).count);
    r.row = ((size_t)r.stripe * (size_t)r.out.c + HALF + 7) / 8 * 8; /* rows begin where a line of the cache does */
    r.inputs = ((size_t)most * (size_t)r.in.c + HALF + 7) / 8 * 8;
    return r;
}
/* A thread's kept rows, one behind the other, a stripe of an input row, the numbers of the kept rows. */
static size_t thread_doubles(const Resize *r) {
    size_t slots = (size_t)r->rows.taps;
    return slots * r->row + r->inputs + (slots + 15) / 16 * 8;
}
bool cpu_resize_prepare(Exec *e, int i, Error *err) {
    Resize r = resize_layout(e, i);
    return cpu_reserve(e, (size_t)cpu_of(e)->threads * thread_doubles(&r) * 2, err);
}

static inline Wide wide_select(WideInt mask, Wide a, Wide b) { return (Wide)((mask & (WideInt)a) | (~mask & (WideInt)b)); }
static inline Wide wide_all(double v) { return v - (Wide){0}; }
/* Spelled out, since GCC takes a conversion apart that changes the size of a vector. wide_clamp: to [lo,hi]; NaN stays NaN. */
#if defined(__AVX512F__)
static inline Wide widened(Narrow v) { return (Wide)_mm512_cvtps_pd((__m256)v); }
static inline Vec joined(Narrow a, Narrow b) {
    return (Vec)_mm512_castpd_ps(_mm512_insertf64x4(_mm512_castpd256_pd512((__m256d)a), (__m256d)b, 1));
}
static inline Narrow narrowed(Wide v) { return (Narrow)_mm512_cvtpd_ps((__m512d)v); }
static inline Wide wide_fma(Wide a, Wide b, Wide c) { return (Wide)_mm512_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)c); }
static inline Wide wide_clamp(Wide v, Wide lo, Wide hi) { return (Wide)_mm512_min_pd((__m512d)hi, _mm512_max_pd((__m512d)lo, (__m512d)v)); }
#elif defined(__FMA__)
static inline Wide widened(Narrow v) { return (Wide)_mm256_cvtps_pd((__m128)v); }
static inline Vec joined(Narrow a, Narrow b) { return (Vec)_mm256_insertf128_ps(_mm256_castps128_ps256((__m128)a), (__m128)b, 1); }
static inline Narrow narrowed(Wide v) { return (Narrow)_mm256_cvtpd_ps((__m256d)v); }
static inline Wide wide_fma(Wide a, Wide b, Wide c) { return (Wide)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c); }
static inline Wide wide_clamp(Wide v, Wide lo, Wide hi) { return (Wide)_mm256_min_pd((__m256d)hi, _mm256_max_pd((__m256d)lo, (__m256d)v)); }
#else
static inline Wide widened(Narrow v) { return __builtin_convertvector(v, Wide); }
static inline Vec joined(Narrow a, Narrow b) {
    Vec v;
    memcpy(&v, &a, sizeof a);
    memcpy((char *)&v + sizeof a, &b, sizeof b);
    return v;
}
static inline Narrow narrowed(Wide v) { return __builtin_convertvector(v, Narrow); }
static inline Wide wide_fma(Wide a, Wide b, Wide c) { return a * b + c; }
static inline Wide wide_clamp(Wide v, Wide lo, Wide hi) {
    v = wide_select(v < lo, lo, v);
    return wide_select(v > hi, hi, v);
}
#endif
static inline Wide wide_load(const double *p) {
    Wide v;
    memcpy(&v, p, sizeof v);
    return v;
}
static inline void wide_store(double *p, Wide v) { memcpy(p, &v, sizeof v); }
/* next: what to fetch meanwhile, of as many floats. A line of the cache is 16. */
static void wide_row(const float *x, size_t n, const float *next, double *wide) {
    size_t j = 0;
    for (; j + HALF <= n; j += HALF) {
        Narrow v;
        memcpy(&v, x + j, sizeof v);
        if (j % 16 == 0) __builtin_prefetch(next + j, 0, 2);
        wide_store(wide + j, widened(v));
    }
    for (; j < n; j++) wide[j] = (double)x[j];
}
static inline Wide wide_byte(Wide v) { /* floor(v + 1/2), to [0,255]: below 2^52 adding it rounds to an integer */
    v = wide_clamp(v + 0.5, wide_all(0), wide_all(255));
    Wide whole = (v + 0x1p52) - 0x1p52;
    return whole - wide_select(whole > v, wide_all(1), wide_all(0));
}

/* ---- sums of a table's products ----------------------------------------------------------------------------------------------- */
typedef struct { /* what is summed: input t->first is in slot `slot` of `slots`, which are `step` doubles apart */
    const double *ring;
    size_t step;
    int slot, slots;
} Ring;
static inline const double *next_slot(const Ring *r, int *slot) {
    const double *x = r->ring + (size_t)*slot * r->step;
    if (++*slot == r->slots) *slot = 0;
    return x;
}
enum { FEW = 4 };
typedef struct { /* where few taps read, and their weights, for loops to keep in registers */
    const double *x[FEW];
    Wide weight[FEW];
} Held;
/* Here and below u8, taps and vectors are constants where this is inlined; taps: 0 if they are many, or rounded apart. */
static inline __attribute__((always_inline)) void hold(int taps, const Taps *t, const Ring *r, Held *held) {
    int slot = r->slot;
#pragma GCC unroll 4
    for (int k = 0; k < taps; k++) held->x[k] = next_slot(r, &slot), held->weight[k] = wide_all(t->weight[k]);
}
/* Of elements [j, j + vectors * HALF). */
static inline __attribute__((always_inline)) void weigh_few(int taps, int vectors, const Held *held, size_t j, Wide *sum) {
#pragma GCC unroll 4
    for (int v = 0; v < vectors; v++) sum[v] = held->weight[0] * wide_load(held->x[0] + j + v * HALF);
#pragma GCC unroll 4
    for (int k = 1; k < taps; k++)
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) sum[v] = wide_fma(held->weight[k], wide_load(held->x[k] + j + v * HALF), sum[v]);
}
static inline __attribute__((always_inline)) void weigh_many(bool u8, int vectors, const Taps *t, const Ring *r, size_t j, Wide *sum) {
    int slot = r->slot;
    const double *x = next_slot(r, &slot) + j;
    Wide weight = wide_all(t->weight[0]);
#pragma GCC unroll 4
    for (int v = 0; v < vectors; v++) sum[v] = weight * wide_load(x + v * HALF);
    for (int k = 1; k < t->taps; k++) {
        x = next_slot(r, &slot) + j, weight = wide_all(t->weight[k]);
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) {
            Wide next = wide_load(x + v * HALF);
            sum[v] = u8 ? sum[v] + weight * next : wide_fma(weight, next, sum[v]);
        }
    }
}
static inline __attribute__((always_inline)) void weigh(bool u8, int taps, int vectors, const Taps *t, const Ring *r, const Held *held,
                                                        size_t j, Wide *sum) {
    if (taps) weigh_few(taps, vectors, held, j, sum);
    else weigh_many(u8, vectors, t, r, j, sum);
}

/* ---- columns ------------------------------------------------------------------------------------------------------------------- */
static inline __attribute__((always_inline)) void column_vectors(bool u8, int taps, int vectors, const Taps *t, const Ring *r,
                                                                 const Held *held, size_t j, double *row) {
    Wide sum[4];
    weigh(u8, taps, vectors, t, r, held, j, sum);
#pragma GCC unroll 4
    for (int v = 0; v < vectors; v++) wide_store(row + j + v * HALF, u8 ? wide_byte(sum[v]) : widened(narrowed(sum[v])));
}
/* A pixel; up to a vector more is written. */
static inline __attribute__((always_inline)) void column(bool u8, int taps, const Taps *t, const double *x, size_t C, double *row) {
    const Ring r = {x, C, 0, INT_MAX};
    Held held;
    hold(taps, t, &r, &held);
    size_t j = 0;
    for (; j + 4 * HALF <= C; j += 4 * HALF) column_vectors(u8, taps, 4, t, &r, &held, j, row);
    for (; j < C; j += HALF) column_vectors(u8, taps, 1, t, &r, &held, j, row);
}
/* Outputs [w, end) of a row of inputs from pixel `first` on. In order: what is written past a pixel is the next one's. */
static __attribute__((noinline)) void resize_columns(const Resize *r, const double *inputs, int first, int w, int end, double *row) {
    const size_t C = (size_t)r->in.c;
    for (; w < end; w++, row += C) {
        const Taps t = taps_of(&r->columns, w);
        const double *x = inputs + (size_t)(t.first - first) * C;
        if (r->o.u8) column(true, 0, &t, x, C, row);
        else if (t.taps == 2) column(false, 2, &t, x, C, row);
        else if (t.taps == FEW) column(false, FEW, &t, x, C, row);
        else column(false, 0, &t, x, C, row);
    }
}

/* ---- rows ---------------------------------------------------------------------------------------------------------------------- */
typedef struct {
    Wide lo, hi, a, b;
    bool stream; /* past the caches */
} Finish;
/* left: how many elements there are, where these are less than one vector. */
static inline __attribute__((always_inline)) void row_vectors(bool u8, bool plain, int taps, int vectors, const Finish *f, const Taps *t,
                                                              const Ring *r, const Held *held, size_t j, size_t left, float *y) {
    Wide sum[4];
    Narrow rounded[4];
    weigh(u8, taps, vectors, t, r, held, j, sum);
#pragma GCC unroll 4
    for (int v = 0; v < vectors; v++) {
        Wide out = u8 ? wide_byte(sum[v]) : sum[v];
        if (!plain) out = f->a * wide_clamp(out, f->lo, f->hi) + f->b;
        rounded[v] = narrowed(out);
    }
    y += j;
    if (vectors == 4) {
        Vec low = joined(rounded[0], rounded[1]), high = joined(rounded[2], rounded[3]);
        if (f->stream) vec_stream(y, low), vec_stream(y + LANES, high);
        else vec_store(y, low), vec_store(y + LANES, high);
    } else memcpy(y, rounded, left * sizeof *y);
}
static inline __attribute__((always_inline)) void row_sums(bool u8, bool plain, int taps, const Finish *f, const Taps *t, const Ring *r,
                                                           size_t n, float *y) {
    Held held;
    hold(taps, t, r, &held);
    size_t j = 0;
    for (; j + 4 * HALF <= n; j += 4 * HALF) row_vectors(u8, plain, taps, 4, f, t, r, &held, j, 4 * HALF, y);
    for (; j + HALF <= n; j += HALF) row_vectors(u8, plain, taps, 1, f, t, r, &held, j, HALF, y);
    if (j < n) row_vectors(u8, plain, taps, 1, f, t, r, &held, j, n - j, y);
}
/* n elements of an output row. */
static __attribute__((noinline)) void resize_row(const ResizeOptions *o, bool stream, const Taps *t, const Ring *r, size_t n, float *y) {
    const Finish f = {wide_all((double)o->lo), wide_all((double)o->hi), wide_all((double)o->a), wide_all((double)o->b),
                      stream && is_aligned(y)};
    bool plain = o->lo == -INFINITY && o->hi == INFINITY && o->a == 1 && o->b == 0;
    if (o->u8) row_sums(true, false, 0, &f, t, r, n, y);
    else if (t->taps == 2 && plain) row_sums(false, true, 2, &f, t, r, n, y);
    else if (t->taps == FEW && plain) row_sums(false, true, FEW, &f, t, r, n, y);
    else if (t->taps == 2) row_sums(false, false, 2, &f, t, r, n, y);
    else if (t->taps == FEW) row_sums(false, false, FEW, &f, t, r, n, y);
    else row_sums(false, false, 0, &f, t, r, n, y);
}

/* ---- a stripe of a band -------------------------------------------------------------------------------------------------------- */
typedef struct {
    int h, h_end, w, w_end; /* of an image's output */
} Part;
static void resize_part(const Resize *r, const float *x, float *y, Part part, double *work) {
    size_t C = (size_t)r->in.c, in_row = (size_t)r->in.w * C, out_row = (size_t)r->out.w * C, n = (size_t)(part.w_end - part.w) * C;
    Ring ring = {work, r->row, 0, r->rows.taps};
    double *inputs = work + (size_t)ring.slots * r->row;
    int *kept = (int *)(void *)(inputs + r->inputs); /* the number of the row in each slot */
    Span span = span_of(&r->columns, part.w, part.w_end);
    bool stream = is_streamed((size_t)r->out.n * (size_t)r->out.h * out_row);
    for (int k = 0; k < ring.slots; k++) kept[k] = -1;
    for (int h = part.h; h < part.h_end; h++) {
        Taps t = taps_of(&r->rows, h);
        for (int k = t.first; k < t.first + t.taps; k++) {
            int slot = k % ring.slots;
            if (kept[slot] == k) continue;
            const float *from = x + (size_t)span.first * C;
            wide_row(from + (size_t)k * in_row, (size_t)span.count * C, from + (size_t)min_int(k + AHEAD, r->in.h - 1) * in_row, inputs);
            resize_columns(r, inputs, span.first, part.w, part.w_end, work + (size_t)slot * r->row);
            kept[slot] = k;
        }
        ring.slot = t.first % ring.slots;
        resize_row(&r->o, stream, &t, &ring, n, y + (size_t)h * out_row + (size_t)part.w * C);
    }
    if (stream) stores_done();
}
void cpu_resize(const Exec *e, int i) {
    const Resize r = resize_layout(e, i);
    int bands = (r.out.h + BAND - 1) / BAND, stripes = (r.out.w + r.stripe - 1) / r.stripe;
    size_t in = pixels_of(r.in) * (size_t)r.in.c, out = pixels_of(r.out) * (size_t)r.out.c;
#pragma omp parallel for collapse(3) num_threads(cpu_of(e)->threads)
    for (int n = 0; n < r.out.n; n++)
        for (int band = 0; band < bands; band++)
            for (int stripe = 0; stripe < stripes; stripe++) {
                const float *x = cpu_in(e, i, 0) + (size_t)n * in;
                float *y = cpu_out(e, i) + (size_t)n * out;
                double *work = (double *)(void *)cpu_of(e)->work + (size_t)thread_index() * thread_doubles(&r);
                Part part = {band * BAND, min_int((band + 1) * BAND, r.out.h), stripe * r.stripe,
                             min_int((stripe + 1) * r.stripe, r.out.w)};
                resize_part(&r, x, y, part, work);
            }
}
