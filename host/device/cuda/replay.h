/* replay.h -- captured graphs: what a function enqueues, kept as one CUDA graph and replayed. */
#ifndef DG_CUDA_REPLAY_H
#define DG_CUDA_REPLAY_H
#include "device/cuda/device.h"

/* What work(context, shape) enqueues, as a graph. Its kernels have run before: loading one during a capture may fail. */
cudaGraphExec_t cuda_capture(Device *d, WorkFn work, void *context, WorkShape shape);
/* Backend.replay. The first time that a shape comes, its work is enqueued as it is, so that kernels load; the second time it is
 * captured; from then on it is replayed.                                                                                  */
void cuda_replay(Device *d, void **kept, WorkShape shape, WorkFn work, void *context);
void cuda_replay_free(Device *d, void *kept);
#endif
