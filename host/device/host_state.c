/* host_state.c -- the sampler's state operations for the backends that compute in host memory: the contracts are device/device.h's.
 * Samples are made in pieces that stay in the first-level cache with all that they are made of: a summand is a pass over the piece. So
 * memory is read and written once. Of a posterior with eps and v from one f32 network, one f32 gradient and noise that is, a value, 16
 * bytes of x, 8 of the network, 4 of the gradient and 8 of the noise: 36, half of what a copy of as many reads and writes. The
 * operations are 30 products and sums, 14 of them of the exponential: in vectors of 4, less than a copy from the second-level cache. */
#include "base/rng.h"
#include "device/host_state.h"
#include <string.h>

enum { PIECE = 512 };
typedef struct { /* elements [first, first + count) of a sample */
    size_t sample, per_sample, first, count;
} Piece;
static size_t pieces_of(size_t per_sample) { return (per_sample + PIECE - 1) / PIECE; }
static Piece piece_at(size_t per_sample, size_t number) { /* of all samples' pieces */
    size_t first = number % pieces_of(per_sample) * PIECE, left = per_sample - first;
    return (Piece){number / pieces_of(per_sample), per_sample, first, left < PIECE ? left : PIECE};
}

/* ---- passes over a piece ------------------------------------------------------------------------------------------------------- */
static void widen(double *v, DType type, const void *from, size_t count) {
    const float *f = from;
    if (type != DG_F32) dtype_convert(DG_F64, v, type, from, count);
    else {
#pragma omp simd
        for (size_t i = 0; i < count; i++) v[i] = (double)f[i];
    }
}
/* The term's values: `room`, or where they lie. */
static const double *term_values(const Term *t, const Piece *p, double *room) {
    size_t size = dtype_bytes(t->type), channels = (size_t)t->channels, stride = (size_t)t->stride;
    const char *sample = (const char *)t->data + p->sample * term_row(t, p->per_sample);
    if (!stride) {
        const void *from = sample + p->first * size;
        if (t->type == DG_F64) return from;
        widen(room, t->type, from, p->count);
        return room;
    }
    size_t channel = p->first % channels;
    const char *pixel = sample + (p->first / channels * stride + (size_t)t->first) * size;
    for (size_t i = 0, run; i < p->count; i += run, channel = 0, pixel += stride * size) {
        run = channels - channel < p->count - i ? channels - channel : p->count - i;
        const char *from = pixel + channel * size;
        if (t->type != DG_F32) dtype_convert(DG_F64, room + i, t->type, from, run);
        else
            for (size_t c = 0; c < run; c++) room[i + c] = (double)((const float *)(const void *)from)[c];
    }
    return room;
}
static void add(double *sum, double coef, const double *v, size_t count) {
#pragma omp simd
    for (size_t i = 0; i < count; i++) sum[i] += coef * v[i];
}
/* The coefficient of each element is low + high w. */
static void add_varied(double *sum, double low, double high, const double *w, const double *v, size_t count) {
#pragma omp simd
    for (size_t i = 0; i < count; i++) sum[i] += (low + high * w[i]) * v[i];
}
/* Adds a term's values, each times its channel's coefficient; where that is 0, whatever there is. */
static void add_term(double *sum, const Term *t, const Piece *p) {
    double room[PIECE], head = t->coef[p->sample];
    if (head == 0 && !t->tail) return;
    const double *v = term_values(t, p, room);
    if (!t->tail) {
        add(sum, head, v, p->count);
        return;
    }
    for (size_t i = 0; i < p->count; i++) {
        double own = (p->first + i) % (size_t)t->channels < (size_t)t->head ? head : t->tail[p->sample];
        if (own != 0) sum[i] += own * v[i];
    }
}
static void clamp(double *v, size_t count) { /* to [-1, 1]; no comparison holds of NaN */
#pragma omp simd
    for (size_t i = 0; i < count; i++) v[i] = v[i] < -1 ? -1 : v[i] > 1 ? 1 : v[i];
}

/* ---- the operations ------------------------------------------------------------------------------------------------------------ */
void host_combine(Device *d, void *out, DType out_type, int n, size_t per_sample, const Term *term, int terms) {
    (void)d;
    terms_check(term, terms, per_sample, out_type);
    size_t pieces = (size_t)n * pieces_of(per_sample), size = dtype_bytes(out_type);
#pragma omp parallel for
    for (size_t number = 0; number < pieces; number++) {
        Piece p = piece_at(per_sample, number);
        double sum[PIECE] = {0};
        for (int k = 0; k < terms; k++) add_term(sum, &term[k], &p);
        void *to = (char *)out + (p.sample * per_sample + p.first) * size;
        float *f = to;
        if (out_type != DG_F32) dtype_convert(out_type, to, DG_F64, sum, p.count);
        else {
#pragma omp simd
            for (size_t i = 0; i < p.count; i++) f[i] = (float)sum[i];
        }
    }
}
static void posterior_piece(double *x, const Posterior *p, const Piece *at) {
    const PosteriorCoef *c = &p->coef[at->sample];
    double sum[PIECE] = {0}, part[PIECE], deviation[PIECE];
    double gradient_variance = p->gradients && p->variance.data ? c->gradient_variance : 0;
    double noise_deviation = p->noise && p->variance.data ? c->noise_deviation : 0;
    if (c->from_x0 != 0) {
        memset(part, 0, at->count * sizeof *part);
        if (c->skip != 0) add(part, c->skip, x, at->count);
        for (int k = 0; k < p->terms; k++) add_term(part, &p->x0[k], at);
        if (p->clip) clamp(part, at->count);
        add(sum, c->from_x0, part, at->count);
    }
    if (c->from_x != 0) add(sum, c->from_x, x, at->count);
    if (gradient_variance != 0 || noise_deviation != 0) {
        const double *v = term_values(&p->variance, at, part);
#pragma omp simd
        for (size_t i = 0; i < at->count; i++) deviation[i] = posterior_deviation(c->log_low, c->log_half, v[i]);
    }
    if (p->gradients && (c->gradient != 0 || gradient_variance != 0)) {
        memset(part, 0, at->count * sizeof *part);
        for (int k = 0; k < p->gradients; k++) add_term(part, &p->gradient[k], at);
        if (gradient_variance == 0) add(sum, c->gradient, part, at->count);
        else {
            double variance[PIECE];
#pragma omp simd
            for (size_t i = 0; i < at->count; i++) variance[i] = deviation[i] * deviation[i];
            add_varied(sum, c->gradient, gradient_variance, variance, part, at->count);
        }
    }
    if (p->noise && (c->noise != 0 || noise_deviation != 0)) {
        const double *noise = p->noise + at->sample * at->per_sample + at->first;
        if (noise_deviation == 0) add(sum, c->noise, noise, at->count);
        else add_varied(sum, c->noise, noise_deviation, deviation, noise, at->count);
    }
    memcpy(x, sum, at->count * sizeof *x);
}
void host_posterior(Device *d, double *x, int n, size_t per_sample, const Posterior *p) {
    (void)d;
    posterior_check(p, per_sample);
    size_t pieces = (size_t)n * pieces_of(per_sample);
#pragma omp parallel for
    for (size_t number = 0; number < pieces; number++) {
        Piece at = piece_at(per_sample, number);
        posterior_piece(x + at.sample * per_sample + at.first, p, &at);
    }
}
void host_randn(Device *d, double *out, int n, size_t per_sample, const uint64_t *seed, const uint32_t *step) {
    (void)d;
#pragma omp parallel for
    for (int s = 0; s < n; s++) {
        double *row = out + (size_t)s * per_sample, pair[2];
        for (size_t i = 0; i < per_sample; i += 2) {
            philox_normal_pair(seed[s], i / 2, *step, pair);
            row[i] = pair[0];
            if (i + 1 < per_sample) row[i + 1] = pair[1];
        }
    }
}
void host_to_u8(Device *d, uint8_t *out, const void *x, DType type, int n, size_t per_sample, double scale, double offset, int *bad) {
    (void)d;
#pragma omp parallel for
    for (int s = 0; s < n; s++) {
        const Term sample = {.data = x, .type = type};
        double room[PIECE];
        bad[s] = 0;
        for (size_t number = 0; number < pieces_of(per_sample); number++) {
            Piece p = piece_at(per_sample, (size_t)s * pieces_of(per_sample) + number);
            const double *v = term_values(&sample, &p, room);
            uint8_t *to = out + (size_t)s * per_sample + p.first;
            for (size_t i = 0; i < p.count; i++) {
                double level = scale * v[i] + offset;
                if (!(v[i] - v[i] == 0)) bad[s]++; /* infinities and NaN */
                to[i] = level >= 255 ? 255 : level > 0 ? (uint8_t)level : 0;
            }
        }
    }
}
