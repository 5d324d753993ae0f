/* norm_stats.h -- which convolutions leave the statistics of their output for a norm, and where a norm finds its input's. */
#ifndef DG_CUDA_NORM_STATS_H
#define DG_CUDA_NORM_STATS_H
#include "device/device.h"

/* Bytes of the statistics that op i leaves, a convolution whose output a norm reads, at once or joined to another's; else 0. */
size_t cuda_stats_bytes(const Graph *g, int i);
/* The convolutions that leave the statistics of the input of op i, a norm or its gradient: op[0] of all channels (op[1] is -1
 * then), or of the first and of the rest. False: nobody leaves them.                                                          */
bool cuda_stats_sources(const Graph *g, int i, int op[2]);
#endif
