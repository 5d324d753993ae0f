/* kernel_distance.h -- the kernel distance (KID): the squared maximum mean discrepancy of two sets of features under a cubic kernel,
 * unbiased, as the mean over random subsets. */
#ifndef DG_KERNEL_DISTANCE_H
#define DG_KERNEL_DISTANCE_H
#include "base/error.h"

typedef struct {
    int subsets;   /* 0: 100 */
    size_t size;   /* of each; 0: 1000, or all of the smaller set */
    uint32_t seed; /* of NumPy's RandomState: a subset of the images, then one of the reference, and so on */
} KernelSubsets;
typedef struct {
    double mean, std; /* of the subsets; std: population. The mean may be slightly negative */
    int subsets;
    size_t size;
} KernelDistance;
/* Rows of dims features: images, reference. */
bool kernel_distance(const float *images, size_t n_images, const float *reference, size_t n_reference, int dims, KernelSubsets how,
                     KernelDistance *out, Error *e);
#endif
