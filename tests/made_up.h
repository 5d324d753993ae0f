/* made_up.h -- values that tests make up: of a key, a number and an index, the same everywhere. */
#ifndef DG_MADE_UP_H
#define DG_MADE_UP_H
#include "graph/graph.h"
#include <stdint.h>

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
#endif
