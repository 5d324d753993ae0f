/* moments.h -- what the measures share: mean and spread of their parts, and the check of their features. */
#ifndef DG_MOMENTS_H
#define DG_MOMENTS_H
#include "base/error.h"
#include <math.h>

/* Of n > 0 values; std: population. */
static inline void mean_and_std(const double *x, size_t n, double *mean, double *std) {
    double sum = 0, squares = 0;
    for (size_t i = 0; i < n; i++) sum += x[i];
    *mean = sum / (double)n;
    for (size_t i = 0; i < n; i++) squares += (x[i] - *mean) * (x[i] - *mean);
    *std = sqrt(squares / (double)n);
}
static inline bool check_features(const float *x, size_t images, int dims, const char *set, Error *e) {
    size_t d = (size_t)dims;
    for (size_t i = 0; i < images * d; i++)
        if (!isfinite(x[i])) return dg_error(e, "feature %zu of image %zu of the %s set is not a finite number", i % d, i / d, set);
    return true;
}
#endif
