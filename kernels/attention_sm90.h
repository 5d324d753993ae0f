// attention_sm90.h -- Hopper's own attention (attention_sm90.cu), for the dispatch in attention.cu.
#ifndef DG_ATTENTION_SM90_H
#define DG_ATTENTION_SM90_H
#include "kernels/kernels.h"

// Whether it runs this layer, on this device. Decided by the layer's shape: never by the number of images.
bool attn_sm90_takes(const AttnArgs *a);
int attn_sm90(const AttnArgs *a, void *stream);
#endif
