// attention_bwd_sm90.h -- what attention_bwd.cu needs to know of Hopper's own kernels.
#ifndef DG_ATTENTION_BWD_SM90_H
#define DG_ATTENTION_BWD_SM90_H
#include "kernels/kernels.h"

// Whether they take this gradient on its device. Their forward is attention.cu's, which has left what AttnParams says.
bool attn_bwd_sm90_takes(const AttnArgs *a);
int attn_bwd_sm90(const AttnArgs *a, void *stream);
#endif
