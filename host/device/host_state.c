/* host_state.c -- memory, copies and the sampler's state operations for the backends that compute in host memory. */
#include "device/host_state.h"
#include "base/dtype.h"
#include "base/progress.h"
#include "base/rng.h"
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

bool host_open(Device *d, Error *e) { return d->index == 0 || dg_error(e, "device %s:%d: there is only one", d->be->name, d->index); }
void host_close(Device *d) { (void)d; }

/* Whole pages straight from the system for what is large, so that an impossible size is refused at once, freed memory
 * goes back, and huge pages can be used. The size is kept in front of the block.                                      */
enum { HEADER = DG_ALIGN };
void *host_alloc(Device *d, size_t bytes) {
    (void)d;
    size_t total = bytes + HEADER;
    if (total < bytes) return NULL;
    char *p = mmap(NULL, total, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) return NULL;
    madvise(p, total, MADV_HUGEPAGE);
    memcpy(p, &total, sizeof total);
    return p + HEADER;
}
void host_release(Device *d, void *p) {
    (void)d;
    if (!p) return;
    char *start = (char *)p - HEADER;
    size_t total;
    memcpy(&total, start, sizeof total);
    munmap(start, total);
}
void host_copy(Device *d, void *dst, const void *src, size_t bytes) {
    (void)d;
    memcpy(dst, src, bytes);
}
void host_sync(Device *d) { (void)d; }

/* ---- what is done at once, or not at all ----------------------------------------------------------------------------------- */
void host_download_async(Device *d, int slot, void *dst, const void *src, size_t bytes) {
    (void)slot;
    host_copy(d, dst, src, bytes);
}
void host_mark(Device *d, int slot) { (void)d, (void)slot; }
void host_replay(Device *d, void **kept, WorkShape shape, WorkFn work, void *context) {
    (void)d, (void)kept;
    work(context, shape);
}
void host_replay_free(Device *d, void *kept) { (void)d, (void)kept; }
void host_range_push(const char *name) { (void)name; }
void host_range_pop(void) {}
bool host_bind(Exec *e, Error *err) {
    (void)e, (void)err;
    return true;
}
bool host_prepare(Exec *e, int i, Error *err) {
    (void)e, (void)i, (void)err;
    return true;
}
void host_unbind(Exec *e) { (void)e; }
const char *host_implementation(const Exec *e, int i) {
    (void)e, (void)i;
    return "own";
}
bool host_choices(const Device *d, struct Text *chosen, struct Text *measured) {
    (void)d, (void)chosen, (void)measured;
    return false;
}

/* ---- runs ------------------------------------------------------------------------------------------------------------------ */
void host_run(Exec *e) {
    for (int i = 0; i < e->g->nop; i++) e->dev->be->run_op(e, i);
}
void host_profile(Exec *e, int repeats, double *seconds) {
    for (int i = 0; i < e->g->nop; i++) seconds[i] = 0;
    for (int r = 0; r < repeats; r++)
        for (int i = 0; i < e->g->nop; i++) { /* in order, so that caches are as in a run */
            double start = seconds_now();
            e->dev->be->run_op(e, i);
            seconds[i] += (seconds_now() - start) / repeats;
        }
}

/* ---- the sampler's state --------------------------------------------------------------------------------------------------- */

enum { PIECE = 1024 }; /* elements of a sample that are summed together, term by term: they stay in the first-level cache */
/* Elements [first, first + count) of one sample of a term. */
static void term_values(const Term *t, const char *sample, size_t first, size_t count, double *v) {
    size_t size = dtype_bytes(t->type), channels = t->stride ? (size_t)t->channels : first + count;
    for (size_t i = 0, run; i < count; i += run) {
        size_t pixel = (first + i) / channels, channel = (first + i) % channels;
        run = channels - channel < count - i ? channels - channel : count - i;
        const void *from = sample + (t->stride ? pixel * (size_t)t->stride + (size_t)t->first + channel : first) * size;
        if (t->type != DG_F32) dtype_convert(DG_F64, v + i, t->type, from, run);
        else
            for (size_t k = 0; k < run; k++) v[i + k] = (double)((const float *)from)[k];
    }
}
/* Adds them, each times its channel's coefficient; where that is 0, whatever there is. */
static void term_add(const Term *t, int sample, size_t first, size_t count, const double *v, double *sum) {
    double coef = t->coef[sample];
    if (!t->tail) {
        for (size_t i = 0; i < count; i++) sum[i] += coef * v[i];
        return;
    }
    for (size_t i = 0; i < count; i++) {
        double own = (first + i) % (size_t)t->channels < (size_t)t->head ? coef : t->tail[sample];
        if (own != 0) sum[i] += own * v[i];
    }
}
void host_combine(Device *d, void *out, DType out_type, int n, size_t per_sample, const Term *term, int terms) {
    (void)d;
    terms_check(term, terms, per_sample, out_type);
    size_t pieces = (per_sample + PIECE - 1) / PIECE, size = dtype_bytes(out_type);
#pragma omp parallel for
    for (size_t piece = 0; piece < (size_t)n * pieces; piece++) {
        size_t sample = piece / pieces, first = piece % pieces * PIECE, count = per_sample - first < PIECE ? per_sample - first : PIECE;
        double sum[PIECE] = {0}, v[PIECE];
        for (int k = 0; k < terms; k++) {
            if (term[k].coef[sample] == 0 && !term[k].tail) continue;
            term_values(&term[k], (const char *)term[k].data + sample * term_row(&term[k], per_sample), first, count, v);
            term_add(&term[k], (int)sample, first, count, v, sum);
        }
        void *to = (char *)out + (sample * per_sample + first) * size;
        if (out_type != DG_F32) dtype_convert(out_type, to, DG_F64, sum, count);
        else
            for (size_t i = 0; i < count; i++) ((float *)to)[i] = (float)sum[i];
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
void host_to_u8(Device *d, uint8_t *out, const double *x, int n, size_t per_sample, int *bad) {
    (void)d;
#pragma omp parallel for
    for (int s = 0; s < n; s++) {
        bad[s] = 0;
        for (size_t i = (size_t)s * per_sample; i < (size_t)(s + 1) * per_sample; i++) {
            double v = 127.5 * x[i] + 128;
            if (!(x[i] - x[i] == 0)) bad[s]++; /* infinities and NaN */
            out[i] = v >= 255 ? 255 : v > 0 ? (uint8_t)v : 0;
        }
    }
}
