/* upsampled.h -- which resamples are not run, because the convolutions that read them read what these would upsample (ConvArgs.up). */
#ifndef DG_CUDA_UPSAMPLED_H
#define DG_CUDA_UPSAMPLED_H
#include "kernels/kernels.h"
#include "device/device.h"

/* As far as the graph says: op i is a resample that could be one. */
bool cuda_up_candidate(const Graph *g, int i);
/* What of convolution i is the output of a candidate, as in ConvArgs.up; *resample: that op. 0: nothing, or more than one thing. */
unsigned cuda_up_of(const Graph *g, int i, int *resample);

/* Whether op i is such a resample on this device. Decided by the graph and the device alone, so that memory is known before it is taken. */
bool cuda_up_left_out(const Exec *e, int i);
/* The arguments of convolution i, which are its own at first, become those of what it reads instead. Returns a->up. */
unsigned cuda_up_args(const Exec *e, int i, ConvArgs *a);
/* Bytes of the weight with UP_X, {k,3,3,c} before; its values, in f32. */
size_t cuda_up_bytes(Shape w, DType type);
void cuda_up_pack(float *packed, const float *weight, Shape w);
#endif
