/* term.h -- one summand of a linear combination of samples: what the sampler hands to a backend, and a backend to its kernel. */
#ifndef DG_TERM_H
#define DG_TERM_H
#include "base/dtype.h"
#ifdef __cplusplus
extern "C" {
#endif

/* Element i of a sample lies in channel i % channels of pixel i / channels. Where stride is 0 the samples lie one after the other as
 * they are, and `channels` matters to `tail` alone. Else the term takes channels [first, first + channels) of the `stride` that
 * each pixel of its data has.                                                                                              */
typedef struct {
    const void *data; /* device pointer: [n] samples of `type` (f64, f32, f16, bf16, u8: 0 to 255) */
    DType type;
    const double *coef; /* device pointer, [n] */
    size_t row;         /* bytes from one sample to the next; 0: they follow each other */
    int channels, first, stride;
    int head;           /* with `tail`: coef is that of the first `head` channels alone */
    const double *tail; /* device pointer, [n]: the coefficients of the others; or NULL */
} Term;
enum { COMBINE_TERMS = 12 }; /* the most in one combination */

/* Bytes from one sample to the next. */
static inline size_t term_row(const Term *t, size_t per_sample) {
    if (t->row) return t->row;
    return (t->stride ? per_sample / (size_t)t->channels * (size_t)t->stride : per_sample) * dtype_bytes(t->type);
}
/* Stop where a term, or terms, do not describe a summand of samples of per_sample elements, or a combination; `sum`: what of. */
void term_check(const char *sum, const Term *t, size_t per_sample);
void terms_check(const Term *term, int terms, size_t per_sample, DType out_type);

#ifdef __cplusplus
}
#endif
#endif
