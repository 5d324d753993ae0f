/* pooled.h -- which resamples are not run, because the norm beside them does their work (NormArgs.down, NormArgs.up). */
#ifndef DG_CUDA_POOLED_H
#define DG_CUDA_POOLED_H
#include "kernels/kernels.h"
#include "device/device.h"

/* As far as the graph says: what op i, a norm, would do of resamples by a box filter. */
typedef struct {
    int down;          /* forward: the resample that alone reads its output; -1 */
    int of_dy, of_add; /* backward: the resamples that make dy, and what is added; -1 */
    float factor;      /* NormArgs.down or NormArgs.up */
} Pooled;
/* False: nothing. Decided by the graph alone, so that memory is known before it is taken. */
bool cuda_pooled_candidate(const Graph *g, int i, Pooled *p);
/* The norm that would do resample i's work, by the graph; -1. */
int cuda_pooled_by(const Graph *g, int i);

/* Whether op i is a resample that is not run on this device. */
bool cuda_pooled_left_out(const Exec *e, int i);
/* The arguments of norm i, which are its own at first, become those of what it does beside. */
void cuda_pooled_args(const Exec *e, int i, NormArgs *a);
#endif
