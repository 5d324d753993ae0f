/* resize.c -- separable resizing by tables: the columns of an input row, when an output row first wants it, then the rows.
 * A thread keeps as many of these rows as the tallest filter reads. Sums are in double, in the tables' order, a product and a
 * sum rounded apart as in the reference: whatever vector an element falls into, it has the reference's bits.              */
#include "device/cpu/cpu.h"
#include "device/cpu/vector.h"

enum { HALF = LANES / 2, BAND = 16 }; /* doubles of a vector; rows of the output that a thread makes one after the other */
typedef double Wide __attribute__((vector_size(HALF * sizeof(double))));
typedef int64_t WideInt __attribute__((vector_size(HALF * sizeof(int64_t))));
typedef float Narrow __attribute__((vector_size(HALF * sizeof(float))));

typedef struct {
    const double *row; /* of output j: table + j * (1 + taps) */
    int taps, size;    /* size: pixels of the input */
} Table;
typedef struct {
    Shape in, out;
    Table columns, rows;
    ResizeOptions o;
    size_t row; /* floats from a kept row to the next: whole vectors */
} Resize;
static Table table_of(const Exec *e, int i, int j, int size) {
    return (Table){e->data[e->g->op[i].in[j]], cpu_shape_in(e, i, j).c - 1, size};
}
static Resize resize_layout(const Exec *e, int i) {
    Resize r = {.in = cpu_shape_in(e, i, 0), .out = cpu_shape_out(e, i), .o = e->g->op[i].resize};
    r.columns = table_of(e, i, 1, r.in.w), r.rows = table_of(e, i, 2, r.in.h);
    r.row = ((size_t)r.out.w * (size_t)r.out.c + HALF - 1) / HALF * HALF;
    return r;
}
/* A thread's rows, one behind the other, then their numbers. */
static size_t thread_floats(const Resize *r) { return (size_t)r->rows.taps * (r->row + 1); }
bool cpu_resize_prepare(Exec *e, int i, Error *err) {
    Resize r = resize_layout(e, i);
    return cpu_reserve(e, (size_t)cpu_of(e)->threads * thread_floats(&r), err);
}

static inline Wide wide_select(WideInt mask, Wide a, Wide b) { return (Wide)((mask & (WideInt)a) | (~mask & (WideInt)b)); }
static inline Wide wide_all(double v) { return v - (Wide){0}; }
/* Spelled out, since GCC takes a conversion apart that changes the size of a vector. wide_clamp: to [lo,hi]; NaN stays NaN. */
#if defined(__AVX512F__)
static inline Wide widened(Narrow v) { return (Wide)_mm512_cvtps_pd((__m256)v); }
static inline Narrow narrowed(Wide v) { return (Narrow)_mm512_cvtpd_ps((__m512d)v); }
static inline Wide wide_clamp(Wide v, Wide lo, Wide hi) { return (Wide)_mm512_min_pd((__m512d)hi, _mm512_max_pd((__m512d)lo, (__m512d)v)); }
#elif defined(__FMA__)
static inline Wide widened(Narrow v) { return (Wide)_mm256_cvtps_pd((__m128)v); }
static inline Narrow narrowed(Wide v) { return (Narrow)_mm256_cvtpd_ps((__m256d)v); }
static inline Wide wide_clamp(Wide v, Wide lo, Wide hi) { return (Wide)_mm256_min_pd((__m256d)hi, _mm256_max_pd((__m256d)lo, (__m256d)v)); }
#else
static inline Wide widened(Narrow v) { return __builtin_convertvector(v, Wide); }
static inline Narrow narrowed(Wide v) { return __builtin_convertvector(v, Narrow); }
static inline Wide wide_clamp(Wide v, Wide lo, Wide hi) {
    v = wide_select(v < lo, lo, v);
    return wide_select(v > hi, hi, v);
}
#endif
static inline Wide wide_load(const float *p) {
    Narrow v;
    memcpy(&v, p, sizeof v);
    return widened(v);
}
static inline void narrow_store(float *p, Wide v) {
    Narrow rounded = narrowed(v);
    memcpy(p, &rounded, sizeof rounded);
}
static inline Wide wide_byte(Wide v) { /* floor(v + 1/2), to [0,255]: below 2^52 adding it rounds to an integer */
    v = wide_clamp(v + 0.5, wide_all(0), wide_all(255));
    Wide whole = (v + 0x1p52) - 0x1p52;
    return whole - wide_select(whole > v, wide_all(1), wide_all(0));
}
/* ---- sums of a table's products ----------------------------------------------------------------------------------------------- */
typedef struct { /* what one output of a table reads: inputs in a ring of `slots`, from `slot` on */
    const double *weight;
    int first, taps, slot, slots; /* taps: those of inputs that there are */
} Taps;
static Taps taps_of(const Table *t, int j, int slots) {
    const double *row = t->row + (size_t)j * (size_t)(1 + t->taps);
    int first = (int)row[0];
    return (Taps){row + 1, first, min_int(t->taps, t->size - first), first % slots, slots};
}
/* sum[v] of elements [v * HALF, (v + 1) * HALF) of the ring's inputs, `step` floats apart; `vectors`, as u8 below, is a constant where this is
 * inlined. */
static inline __attribute__((always_inline)) void weigh(int vectors, const Taps *t, const float *ring, size_t step, Wide *sum) {
#pragma GCC unroll 4
    for (int v = 0; v < vectors; v++) sum[v] = wide_all(0);
    for (int k = 0, slot = t->slot; k < t->taps; k++) {
        const float *x = ring + (size_t)slot * step;
#pragma GCC unroll 4
        for (int v = 0; v < vectors; v++) sum[v] += t->weight[k] * wide_load(x + v * HALF);
        if (++slot == t->slots) slot = 0;
    }
}

/* ---- columns ---------------------------------------------------------------------------------------------------------------- */
static inline __attribute__((always_inline)) void column_vectors(int vectors, bool u8, const Taps *t, const float *x, size_t C,
                                                                 float *half) {
    Wide sum[4];
    weigh(vectors, t, x, C, sum);
#pragma GCC unroll 4
    for (int v = 0; v < vectors; v++) narrow_store(half + v * HALF, u8 ? wide_byte(sum[v]) : sum[v]);
}
static inline __attribute__((always_inline)) void resize_columns(bool u8, const Resize *r, const float *x, float *half) {
    size_t C = (size_t)r->in.c;
    for (int w = 0; w < r->out.w; w++, half += C) {
        Taps t = taps_of(&r->columns, w, r->in.w);
        size_t c = 0;
        for (; c + 4 * HALF <= C; c += 4 * HALF) column_vectors(4, u8, &t, x + c, C, half + c);
        for (; c + HALF <= C; c += HALF) column_vectors(1, u8, &t, x + c, C, half + c);
        for (; c < C; c++) {
            double sum = 0;
            for (int k = 0; k < t.taps; k++) sum += t.weight[k] * (double)x[(size_t)(t.first + k) * C + c];
            half[c] = (float)(u8 ? wide_byte(wide_all(sum))[0] : sum);
        }
    }
}

/* ---- rows -------------------------------------------------------------------------------------------------------------------- */
/* Elements of an output row; left: how many there are, where these are less than one vector. */
static inline __attribute__((always_inline)) void row_vectors(int vectors, bool u8, const Resize *r, const Taps *t, const float *ring,
                                                              size_t left, float *y) {
    Wide sum[4];
    weigh(vectors, t, ring, r->row, sum);
#pragma GCC unroll 4
    for (int v = 0; v < vectors; v++) {
        Wide out = u8 ? wide_byte(sum[v]) : sum[v];
        out = wide_clamp(out, wide_all((double)r->o.lo), wide_all((double)r->o.hi));
        out = (double)r->o.a * out + (double)r->o.b;
        if (left >= HALF) {
            narrow_store(y + v * HALF, out);
            continue;
        }
        float full[HALF];
        narrow_store(full, out);
        memcpy(y, full, left * sizeof *y);
    }
}
static inline __attribute__((always_inline)) void resize_rows(bool u8, const Resize *r, const Taps *t, const float *ring, float *y) {
    size_t j = 0, n = (size_t)r->out.w * (size_t)r->out.c;
    for (; j + 4 * HALF <= n; j += 4 * HALF) row_vectors(4, u8, r, t, ring + j, 4 * HALF, y + j);
    for (; j + HALF <= n; j += HALF) row_vectors(1, u8, r, t, ring + j, HALF, y + j);
    if (j < n) row_vectors(1, u8, r, t, ring + j, n - j, y + j);
}
/* Rows [h, end) of the output of one image. */
static inline __attribute__((always_inline)) void resize_band(bool u8, const Resize *r, const float *x, float *y, int h, int end,
                                                              float *ring) {
    size_t row = (size_t)r->in.w * (size_t)r->in.c, out_row = (size_t)r->out.w * (size_t)r->out.c;
    int slots = r->rows.taps, *held = (int *)(ring + (size_t)slots * r->row); /* the number of the row in each slot */
    for (int k = 0; k < slots; k++) held[k] = -1;
    for (; h < end; h++) {
        Taps t = taps_of(&r->rows, h, slots);
        for (int k = t.first; k < t.first + t.taps; k++) {
            if (held[k % slots] == k) continue;
            resize_columns(u8, r, x + (size_t)k * row, ring + (size_t)(k % slots) * r->row);
            held[k % slots] = k;
        }
        resize_rows(u8, r, &t, ring, y + (size_t)h * out_row);
    }
}
void cpu_resize(const Exec *e, int i) {
    const Resize r = resize_layout(e, i);
    int bands = (r.out.h + BAND - 1) / BAND;
    size_t in = pixels_of(r.in) * (size_t)r.in.c, out = pixels_of(r.out) * (size_t)r.out.c;
#pragma omp parallel for num_threads(cpu_of(e)->threads)
    for (int t = 0; t < r.out.n * bands; t++) {
        size_t n = (size_t)(t / bands);
        int h = t % bands * BAND;
        const float *x = cpu_in(e, i, 0) + n * in;
        float *y = cpu_out(e, i) + n * out, *ring = cpu_of(e)->work + (size_t)thread_index() * thread_floats(&r);
        if (r.o.u8) resize_band(true, &r, x, y, h, min_int(h + BAND, r.out.h), ring);
        else resize_band(false, &r, x, y, h, min_int(h + BAND, r.out.h), ring);
    }
}
