/* metrics.h -- Gaussian statistics of image features, and the Frechet distance between two of them; all in double. */
#ifndef DG_METRICS_H
#define DG_METRICS_H
#include "base/dtype.h"
#include "measure/gaussian.h"

/* Streaming: the result depends on the rows and their order alone, bit for bit, not on how they are cut into calls. */
typedef struct FeatureStats FeatureStats;
FeatureStats *stats_new(int dims);
/* n rows of DG_F32 or DG_F64 features. A value that is not finite is an error that names the image. */
bool stats_add(FeatureStats *s, DType type, const void *rows, size_t n, Error *e);
bool stats_gaussian(FeatureStats *s, Gaussian *g, Error *e); /* at least 2 rows; more may be added afterwards */
void stats_free(FeatureStats *s);

typedef struct {
    double distance; /* mean_term + trace_a + trace_b - 2 trace_root; of a set with itself: noise around 0, of either
                        sign */
    double mean_term, trace_a, trace_b, trace_root;
    int negative;        /* eigenvalues below 0, which only rounding makes; taken as 0 */
    double lowest;       /* the lowest of them relative to the highest; 0 when there is none */
    bool rank_deficient; /* a set of no more images than dimensions: the distance depends on their number */
} Frechet;
/* Needs LAPACK (liblapacke); without it, e says so. */
bool frechet_distance(const Gaussian *a, const Gaussian *b, Frechet *out, Error *e);
#endif
