// conv_sm90.h -- Hopper's own convolution (conv_sm90.cu), for the dispatch in conv.cu.
#ifndef DG_CONV_SM90_H
#define DG_CONV_SM90_H
#include "kernels/kernels.h"

// Whether it runs this layer, on this device. Decided by the layer's shape: never by the number of images.
bool conv_sm90_takes(const ConvArgs *a);
int conv_sm90(const ConvArgs *a, void *stream);
double conv_sm90_waves(const ConvArgs *a); // cuda_conv_waves, of a layer that it takes
#endif
