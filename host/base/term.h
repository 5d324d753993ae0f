/* term.h -- one summand of a linear combination of samples: what the sampler hands to a backend, and a backend to its kernel. */
#ifndef DG_TERM_H
#define DG_TERM_H
#include "base/dtype.h"

typedef struct {
    const void *data; /* device pointer, [n][per_sample] of `type` (f64, f32, f16, bf16) */
    DType type;
    const double *coef; /* device pointer, [n] */
} Term;
enum { COMBINE_TERMS = 8 }; /* the most in one combination */
#endif
