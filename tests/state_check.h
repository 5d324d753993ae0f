/* state_check.h -- what the tests of the sampler's state operations share: made-up values, memory of a device, and terms that are not
 * plain, with every value that a combination takes said once more, by nothing that the devices use.                           */
#ifndef DG_STATE_CHECK_H
#define DG_STATE_CHECK_H
#include "device/host_state.h"
#include "check.h"
#include <math.h>
#include <stdlib.h>

static inline uint64_t mix(uint64_t z) {
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}
static inline double value(uint64_t key, size_t i) { /* [-2, 2) */
    return (double)(int64_t)mix(key * 0x9E3779B97F4A7C15u + i) * 0x1p-62;
}
static inline bool same_value(double a, double b) { return a == b ? signbit(a) == signbit(b) : isnan(a) && isnan(b); }

static inline void *to_device(Device *d, const void *src, size_t bytes) {
    void *p = d->be->alloc(d, bytes);
    DG_CHECK(p, "no memory");
    d->be->upload(d, p, src, bytes);
    return p;
}
/* Takes the contents of p, and frees it. */
static inline void *from_device(Device *d, void *p, size_t bytes) {
    void *host = dg_alloc(bytes);
    d->be->download(d, host, p, bytes);
    d->be->release(d, p);
    return host;
}

/* The tests of every device that is named, or of every one of this build; one that cannot be opened is NOT RUN. */
static inline void test_devices(int argc, char **argv, void (*tests)(Device *d)) {
    static const char *const all[] = {"cpu", "ref", "ref64", "rounded", "cuda", "emu"};
    int count = argc > 1 ? argc - 1 : (int)(sizeof all / sizeof *all);
    for (int i = 0; i < count; i++) {
        const char *spec = argc > 1 ? argv[i + 1] : all[i];
        if (argc < 2 && !strstr(device_list(), spec)) continue;
        Error e;
        Device *d = device_open(spec, NULL, &e);
        if (!d) not_run("%s: %s", spec, e.text);
        else tests(d), device_close(d);
    }
}

/* ---- terms ---------------------------------------------------------------------------------------------------------------------- */
typedef struct {
    int images, pixels, channels;
} Samples;
/* One term: where its samples lie in its data, and what it takes from them. */
typedef struct {
    DType type;
    int offset;        /* elements before the first sample that belong to somebody else */
    int first, stride; /* as Term's; stride 0: as it is */
    int apart;         /* elements from one sample to the next beyond those that it takes; rows given where > 0 */
    int head;          /* > 0: with a coefficient of its own for the channels from there on */
} Layout;
typedef struct {
    Layout layout;
    Term term, host;                                        /* of the device's memory, and the same of the host's */
    double *values;                                         /* all of the data */
    const double *coef, *tail;                              /* host, the caller's; [images] */
    void *device_data, *stored, *device_coef, *device_tail; /* what the terms refer to */
} Placed;
static inline size_t placed_element(const Layout *l, const Samples *n, int s, int pixel, int channel) {
    int width = l->stride ? l->stride : n->channels, row = n->pixels * width + l->apart;
    return (size_t)(l->offset + s * row + pixel * width + l->first + channel);
}
static inline double placed_coef(const Placed *p, int s, int channel) {
    return p->layout.head && channel >= p->layout.head ? p->tail[s] : p->coef[s];
}
static inline double placed_value(const Placed *p, const Samples *n, int s, int pixel, int channel) {
    return p->values[placed_element(&p->layout, n, s, pixel, channel)];
}
/* Made-up values, and NaN where the coefficient is 0. */
static inline Placed placed_new(Device *d, const Layout *l, const Samples *n, uint64_t key, const double *coef, const double *tail) {
    size_t count = placed_element(l, n, n->images - 1, n->pixels - 1, n->channels - 1) + 1, size = dtype_bytes(l->type);
    Placed p = {.layout = *l, .coef = coef, .tail = tail, .values = dg_alloc(count * sizeof(double)), .stored = dg_alloc(count * size)};
    for (size_t i = 0; i < count; i++) p.values[i] = l->type == DG_U8 ? (double)(mix(i) % 256) : value(key, i);
    if (l->type == DG_U8)
        for (size_t i = 0; i < count; i++) ((uint8_t *)p.stored)[i] = (uint8_t)p.values[i];
    else {
        for (int s = 0; s < n->images; s++)
            for (int e = 0; e < n->pixels * n->channels; e++)
                if (placed_coef(&p, s, e % n->channels) == 0)
                    p.values[placed_element(l, n, s, e / n->channels, e % n->channels)] = (double)NAN;
        dtype_convert(l->type, p.stored, DG_F64, p.values, count), dtype_convert(DG_F64, p.values, l->type, p.stored, count);
    }
    p.device_data = to_device(d, p.stored, count * size);
    p.device_coef = to_device(d, coef, (size_t)n->images * sizeof *coef);
    p.device_tail = l->head ? to_device(d, tail, (size_t)n->images * sizeof *tail) : NULL;
    Term t = {.type = l->type, .stride = l->stride, .head = l->head};
    if (l->stride) t.first = l->first;
    if (l->stride || l->head) t.channels = n->channels;
    if (l->apart) t.row = (size_t)(n->pixels * (l->stride ? l->stride : n->channels) + l->apart) * size;
    p.term = p.host = t;
    p.term.data = (char *)p.device_data + (size_t)l->offset * size, p.term.coef = p.device_coef, p.term.tail = p.device_tail;
    p.host.data = (char *)p.stored + (size_t)l->offset * size, p.host.coef = coef, p.host.tail = l->head ? tail : NULL;
    return p;
}
static inline void placed_free(Device *d, Placed *p) {
    d->be->release(d, p->device_data), d->be->release(d, p->device_coef), d->be->release(d, p->device_tail);
    free(p->values), free(p->stored);
}
/* sum + the terms of one element, product by product; 0 drops what it stands at. */
static inline double placed_sum(double sum, const Placed *p, int terms, const Samples *n, int s, int pixel, int channel) {
    for (int k = 0; k < terms; k++) {
        volatile double c = placed_coef(&p[k], s, channel), product = c * placed_value(&p[k], n, s, pixel, channel); /* rounded alone */
        if (c != 0) sum += product;
    }
    return sum;
}
#endif
