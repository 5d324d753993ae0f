// attention_bwd_sm90.h -- what attention_bwd.cu needs to know of Hopper's own kernels, and attention_bwd_sm90.cu of attention_bwd_heads_sm90.cu.
#ifndef DG_ATTENTION_BWD_SM90_H
#define DG_ATTENTION_BWD_SM90_H
#include "kernels/kernels.h"

// Whether they take this gradient on its device. Their forward is attention.cu's, which has left what AttnParams says.
bool attn_bwd_sm90_takes(const AttnArgs *a);
int attn_bwd_sm90(const AttnArgs *a, void *stream);
// Whether a head lies in shared memory whole: of what AttnParams says Hopper's forward then leaves the scores alone, and a gradient that is
// not taken, for the types of dy or the output, is made of nothing that is kept.
bool attn_bwd_heads_fits(const AttnArgs *a);
int attn_bwd_heads_sm90(const AttnArgs *a, void *stream);
#endif
