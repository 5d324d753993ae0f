/* numpy_random.c -- NumPy's RandomState: MT19937 seeded by one number, bounded numbers by masks and rejection, Fisher-Yates. */
#include "measure/numpy_random.h"
#include <stdlib.h>
#include <string.h>

enum { WORDS = 624, MIDDLE = 397 };

void numpy_seed(NumpyRandom *r, uint32_t seed) {
    r->state[0] = seed;
    for (uint32_t i = 1; i < WORDS; i++) r->state[i] = 1812433253u * (r->state[i - 1] ^ r->state[i - 1] >> 30) + i;
    r->next = WORDS;
}
static void refill(NumpyRandom *r) {
    for (int i = 0; i < WORDS; i++) {
        uint32_t y = (r->state[i] & 0x80000000u) | (r->state[(i + 1) % WORDS] & 0x7fffffffu);
        r->state[i] = r->state[(i + MIDDLE) % WORDS] ^ y >> 1 ^ (y & 1 ? 0x9908b0dfu : 0);
    }
    r->next = 0;
}
uint32_t numpy_next(NumpyRandom *r) {
    if (r->next == WORDS) refill(r);
    uint32_t y = r->state[r->next++];
    y ^= y >> 11;
    y ^= y << 7 & 0x9d2c5680u;
    y ^= y << 15 & 0xefc60000u;
    return y ^ y >> 18;
}
/* 0 to max > 0, itself included. */
static uint32_t bounded(NumpyRandom *r, uint32_t max) {
    uint32_t mask = max, value;
    for (int shift = 1; shift < 32; shift *= 2) mask |= mask >> shift;
    do value = numpy_next(r) & mask;
    while (value > max);
    return value;
}
void numpy_permutation(NumpyRandom *r, size_t n, size_t *out) {
    DG_CHECK(n <= UINT32_MAX, "a permutation of %zu", n);
    for (size_t i = 0; i < n; i++) out[i] = i;
    for (size_t i = n; i-- > 1;) {
        size_t j = bounded(r, (uint32_t)i), moved = out[i];
        out[i] = out[j], out[j] = moved;
    }
}
void numpy_choice(NumpyRandom *r, size_t n, size_t m, size_t *out) {
    DG_CHECK(m <= n, "%zu of %zu", m, n);
    size_t *all = dg_alloc((n ? n : 1) * sizeof *all);
    numpy_permutation(r, n, all);
    memcpy(out, all, m * sizeof *out);
    free(all);
}
static int ascending(const void *a, const void *b) {
    size_t x = *(const size_t *)a, y = *(const size_t *)b;
    return (x > y) - (x < y);
}
void numpy_subset(uint64_t seed, size_t n, size_t count, size_t *out) {
    NumpyRandom r;
    numpy_seed(&r, (uint32_t)(seed & 0x7fffffff));
    numpy_choice(&r, n, count, out);
    qsort(out, count, sizeof *out, ascending);
}
