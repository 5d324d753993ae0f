/* made_up.h -- values that tests make up: of a key, a number and an index, the same everywhere. */
#ifndef DG_MADE_UP_H
#define DG_MADE_UP_H
#include "device/device.h"
#include <stdint.h>
#include <stdlib.h>

static inline uint64_t made_up_bits(uint64_t key, size_t i) {
    uint64_t z = (key + 1) * 0xD1342543DE82EF95u + (i + 1) * 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}
static inline float made_up_value(uint64_t key, size_t i) { return (float)(made_up_bits(key, i) >> 40) * 0x1p-23f - 1; } /* -1 to 1 */
static inline Tid vector_weight(Graph *g, const char *name, int c) {
    return g_weight(g, name, (Shape){1, 1, 1, c}, (WeightView){.kind = VIEW_VECTOR});
}
/* Inputs of a run; each value is of its input's number and its place in it, counted from image `first` of all that there might be. */
static inline void made_up_inputs(Exec *e, const Tid *input, int inputs, int first) {
    for (int k = 0; k < inputs; k++) {
        Shape s = shape_of(e->g, input[k]);
        size_t count = shape_count(s), skip = (size_t)first * (count / (size_t)s.n);
        float *v = dg_alloc(count * sizeof *v);
        for (size_t i = 0; i < count; i++) v[i] = made_up_value((uint64_t)k, skip + i);
        exec_set(e, input[k], DG_F32, v);
        free(v);
    }
}
#endif
