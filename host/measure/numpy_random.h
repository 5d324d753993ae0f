/* numpy_random.h -- NumPy's RandomState: the permutations and choices that tools draw their subsets with. */
#ifndef DG_NUMPY_RANDOM_H
#define DG_NUMPY_RANDOM_H
#include "base/error.h"

typedef struct {
    uint32_t state[624];
    int next;
} NumpyRandom;
void numpy_seed(NumpyRandom *r, uint32_t seed);
uint32_t numpy_next(NumpyRandom *r);
/* From 0..n - 1, n below 2^32: all of them in a random order; m of them, the first m of such an order. */
void numpy_permutation(NumpyRandom *r, size_t n, size_t *out);
void numpy_choice(NumpyRandom *r, size_t n, size_t m, size_t *out);
/* EDM's subset: `count` of n images, ascending. The seed is taken modulo 2^31. */
void numpy_subset(uint64_t seed, size_t n, size_t count, size_t *out);
#endif
