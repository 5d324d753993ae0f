/* host_state.c -- the sampler's state operations for the backends that compute in host memory: the contracts are device/device.h's.
 * Samples are made in pieces that stay in the first-level cache with all that they are made of: a summand is a pass over the piece. So
 * memory is read and written once. Floors of a posterior of eps and v of one f32 network, one f32 gradient and noise, a value: 36 bytes
 * (16 of x, 8 of the network, 4, and 8 of the noise), and about 50 operations in f64, 28 of them of the exponential. The bytes decide
 * where samples come from memory, the operations where they lie in a cache; without v there are 20, and the bytes decide. How near to
 * them it comes: bench/cpu_state.c.                                                                                            */
#include "base/rng.h"
#include "device/host_state.h"
#include <string.h>

enum { PIECE = 240, LANES = 4 }; /* whole pixels of 3 and of 4 channels */
typedef struct {                 /* elements [first, first + count) of a sample */
    size_t sample, per_sample, first, count;
} Piece;
static size_t pieces_of(size_t per_sample) { return (per_sample + PIECE - 1) / PIECE; }
static Piece piece_at(size_t per_sample, size_t number) { /* of all samples' pieces */
    size_t first = number % pieces_of(per_sample) * PIECE, left = per_sample - first;
    return (Piece){number / pieces_of(per_sample), per_sample, first, left < PIECE ? left : PIECE};
}
typedef struct { /* values of a piece; what is beyond is overwritten */
    double v[PIECE + LANES];
} Room;

/* ---- passes over a piece ------------------------------------------------------------------------------------------------------- */
static void widen(double *v, DType type, const void *from, size_t count) {
    const float *f = from;
    if (type != DG_F32) dtype_convert(DG_F64, v, type, from, count);
    else {
#pragma omp simd
        for (size_t i = 0; i < count; i++) v[i] = (double)f[i];
    }
}
/* `channels` of each of `pixels` pixels that begin `stride` apart. Whole vectors are taken as long as the data reach that far; what a
 * pixel's last has too many is overwritten by the next pixel.                                                                */
static void widen_pixels(double *v, const float *f, size_t pixels, size_t channels, size_t stride) {
    typedef float Narrow __attribute__((vector_size(LANES * sizeof(float))));
    typedef double Wide __attribute__((vector_size(LANES * sizeof(double))));
    const float *end = f + (pixels - 1) * stride + channels;
    size_t taken = (channels + LANES - 1) / LANES * LANES;
    for (; pixels && (size_t)(end - f) >= taken; pixels--, v += channels, f += stride) {
        size_t c = 0;
        do {
            Narrow four;
            memcpy(&four, f + c, sizeof four);
            Wide wide = {four[0], four[1], four[2], four[3]};
            memcpy(v + c, &wide, sizeof wide);
        } while ((c += LANES) < channels);
    }
    for (; pixels; pixels--, v += channels, f += stride)
        for (size_t c = 0; c < channels; c++) v[c] = (double)f[c];
}
/* The term's values: in `room`, or where they lie. */
static const double *term_values(const Term *t, const Piece *p, Room *room) {
    size_t size = dtype_bytes(t->type), channels = (size_t)t->channels, stride = (size_t)t->stride;
    const char *sample = (const char *)t->data + p->sample * term_row(t, p->per_sample);
    if (!stride) {
        const void *from = sample + p->first * size;
        if (t->type == DG_F64) return from;
        widen(room->v, t->type, from, p->count);
        return room->v;
    }
    size_t channel = p->first % channels;
    const char *pixel = sample + (p->first / channels * stride + (size_t)t->first) * size;
    for (size_t i = 0, run; i < p->count; i += run, channel = 0) {
        size_t left = p->count - i, pixels = channel ? 0 : left / channels;
        const void *from = pixel + channel * size;
        if (pixels && t->type == DG_F32) {
            widen_pixels(room->v + i, from, pixels, channels, stride);
            run = pixels * channels, pixel += pixels * stride * size;
        } else {
            run = channels - channel < left ? channels - channel : left, pixel += stride * size;
            widen(room->v + i, t->type, from, run);
        }
    }
    return room->v;
}
static void multiply(double *product, double coef, const double *v, size_t count) { /* as add() has it of zeros */
#pragma omp simd
    for (size_t i = 0; i < count; i++) product[i] = 0 + coef * v[i];
}
static void add(double *sum, double coef, const double *v, size_t count) {
#pragma omp simd
    for (size_t i = 0; i < count; i++) sum[i] += coef * v[i];
}
static void add_f32(double *sum, double coef, const float *v, size_t count) {
#pragma omp simd
    for (size_t i = 0; i < count; i++) sum[i] += coef * (double)v[i];
}
/* Adds a term's values, each times its channel's coefficient; where that is 0, whatever there is. */
static void add_term(double *sum, const Term *t, const Piece *p) {
    double head = t->coef[p->sample];
    Room room;
    if (head == 0 && !t->tail) return;
    if (!t->tail && !t->stride && t->type == DG_F32) {
        const char *sample = (const char *)t->data + p->sample * term_row(t, p->per_sample);
        add_f32(sum, head, (const float *)(const void *)sample + p->first, p->count);
        return;
    }
    const double *v = term_values(t, p, &room);
    if (!t->tail) {
        add(sum, head, v, p->count);
        return;
    }
    for (size_t i = 0; i < p->count; i++) {
        double own = (p->first + i) % (size_t)t->channels < (size_t)t->head ? head : t->tail[p->sample];
        if (own != 0) sum[i] += own * v[i];
    }
}
static void clamp(double *v, size_t count) {
#pragma omp simd
    for (size_t i = 0; i < count; i++) v[i] = posterior_clamp(v[i], 1);
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
typedef struct { /* what a piece of a step is made of; in place of what is dropped, zeros */
    const double *x0, *x, *deviation, *gradient, *noise;
} Step;
/* The flags, which are constants where this is inlined, say which summands there are: a loop for each choice of them. */
static inline __attribute__((always_inline)) void make_step(double *out, const PosteriorCoef *coef, const Step *s, size_t count,
                                                            bool learned, bool guided, bool noisy) {
    const PosteriorCoef c = *coef;
    const double *x0 = s->x0, *x = s->x, *deviation = s->deviation, *gradient = s->gradient, *noise = s->noise;
#pragma omp simd
    for (size_t i = 0; i < count; i++) {
        double sum = 0 + c.from_x0 * x0[i] + c.from_x * x[i], of_gradient = c.gradient, of_noise = c.noise;
        if (learned) {
            of_gradient += c.gradient_variance * (deviation[i] * deviation[i]);
            of_noise += c.noise_deviation * deviation[i];
        }
        if (guided) sum += of_gradient * gradient[i];
        if (noisy) sum += of_noise * noise[i];
        out[i] = sum;
    }
}
static void posterior_piece(double *x, const Posterior *p, const Piece *at) {
    static const double zeros[PIECE];
    const PosteriorCoef *c = &p->coef[at->sample];
    const size_t count = at->count;
    Room x0, deviation, gradient;
    Step s = {zeros, c->from_x != 0 ? x : zeros, deviation.v, gradient.v, zeros};
    if (p->noise) s.noise = p->noise + at->sample * at->per_sample + at->first;
    bool guided = posterior_guided(p, c), noisy = posterior_noisy(p, c), learned = posterior_learned(p, c);
    if (c->from_x0 != 0) {
        multiply(x0.v, c->skip, c->skip != 0 ? x : zeros, count);
        for (int k = 0; k < p->terms; k++) add_term(x0.v, &p->x0[k], at);
        if (p->clip) clamp(x0.v, count);
        s.x0 = x0.v;
    }
    if (learned) {
        const double *v = term_values(&p->variance, at, &deviation);
#pragma omp simd
        for (size_t i = 0; i < count; i++) deviation.v[i] = posterior_deviation(c->log_low, c->log_half, v[i]);
    }
    if (guided) {
        memset(gradient.v, 0, sizeof gradient.v);
        for (int k = 0; k < p->gradients; k++) add_term(gradient.v, &p->gradient[k], at);
    }
    if (learned && guided && noisy) make_step(x, c, &s, count, true, true, true);
    else if (learned && guided) make_step(x, c, &s, count, true, true, false);
    else if (learned) make_step(x, c, &s, count, true, false, true);
    else if (guided && noisy) make_step(x, c, &s, count, false, true, true);
    else if (guided) make_step(x, c, &s, count, false, true, false);
    else if (noisy) make_step(x, c, &s, count, false, false, true);
    else make_step(x, c, &s, count, false, false, false);
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
        Room room;
        int count = 0;
        for (size_t number = 0; number < pieces_of(per_sample); number++) {
            Piece p = piece_at(per_sample, (size_t)s * pieces_of(per_sample) + number);
            const double *v = term_values(&sample, &p, &room);
            uint8_t *to = out + (size_t)s * per_sample + p.first;
#pragma omp simd reduction(+ : count)
            for (size_t i = 0; i < p.count; i++) {
                double level = scale * v[i] + offset;
                count += !(v[i] - v[i] == 0); /* infinities and NaN */
                level = level >= 255 ? 255 : level > 0 ? level : 0;
                to[i] = (uint8_t)(int)level;
            }
        }
        bad[s] = count;
    }
}
