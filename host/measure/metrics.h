/* metrics.h -- Gaussian statistics of image features, in double. */
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
#endif
