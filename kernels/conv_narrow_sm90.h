// conv_narrow_sm90.h -- Hopper's convolution into few channels (conv_narrow_sm90.cu), for the dispatch in conv.cu.
#ifndef DG_CONV_NARROW_SM90_H
#define DG_CONV_NARROW_SM90_H
#include "kernels/kernels.h"

// Whether it runs this layer, on this device: in f16 and bf16, filters of several taps that keep an image's size, up to 64 products of a
// channel and a tap, images whose lines fit shared memory. Decided by the layer's shape: never by the number of images.
bool conv_narrow_takes(const ConvArgs *a);
int conv_narrow(const ConvArgs *a, void *stream);
#endif
