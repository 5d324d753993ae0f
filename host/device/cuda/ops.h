/* ops.h -- an op of a graph as launches of kernels/kernels.h, and what is kept for it between runs. */
#ifndef DG_CUDA_OPS_H
#define DG_CUDA_OPS_H
#include "kernels/kernels.h"
#include "device/cuda/choice.h"

typedef struct { /* Exec.prep[i] */
    void *
        workspace; /* of a convolution: statistics for norms; of a norm and attention: what a gradient reads; of others: what they work in */
    bool own;      /* the workspace is this op's alone; else it is the Exec's scratch */
    ConvChoice *choice; /* OP_CONV: the library that runs it; NULL: our own kernels */
    float *bias;        /* OP_CONV with a skip: the sum of both biases, where there are two; else NULL */
    void *kept;         /* a convolution before a norm that is not run (norm_fold.h): the moments of its rows */
    void *scratch;      /* what a convolution before or after such a norm works in, the Exec's; else NULL */
    void *forward;      /* OP_NORM_BWD, OP_ATTN_BWD: what the forward op left in its workspace, or NULL */
} OpPrep;
static inline const Op *op_at(const Exec *e, int i) { return &e->g->op[i]; }
static inline void *op_workspace(const Exec *e, int i) { return e->prep[i] ? ((const OpPrep *)e->prep[i])->workspace : NULL; }
static inline float *op_bias(const Exec *e, int i) { return e->prep[i] ? ((const OpPrep *)e->prep[i])->bias : NULL; }
static inline ConvChoice *op_choice(const Exec *e, int i) { return e->prep[i] ? ((const OpPrep *)e->prep[i])->choice : NULL; }
static inline void *op_forward(const Exec *e, int i) { return e->prep[i] ? ((const OpPrep *)e->prep[i])->forward : NULL; }
static inline void *op_kept(const Exec *e, int i) { return e->prep[i] ? ((const OpPrep *)e->prep[i])->kept : NULL; }
static inline void *op_scratch(const Exec *e, int i) { return e->prep[i] ? ((const OpPrep *)e->prep[i])->scratch : NULL; }
/* Op i is a gradient: the op before it whose workspace it reads, a norm of the same moments or the attention of the same qkv. Else -1. */
int cuda_forward_of(const Exec *e, int i);

/* How many ops, from i on, may be enqueued together: 1, but for linear layers of the same vector. */
int cuda_group(const Exec *e, int i);
/* Enqueues so many ops, for e->rows images; 0, or the cudaError_t of the launch. */
int cuda_launch(const Exec *e, int i, int ops, void *stream);
/* Of op i, at the planned batch, before anything is allocated. A convolution's are the statistics that it leaves. */
size_t cuda_workspace_bytes(const Exec *e, int i);
/* A convolution whose weight the kernels want packed; others work on vectors, in f32. */
bool cuda_is_image_conv(const Exec *e, const Op *op);
ConvArgs cuda_conv_args(const Exec *e, int i); /* of such a convolution */
double cuda_op_bytes(const Exec *e, int i);    /* Backend.bytes */
NormArgs cuda_norm_args(const Exec *e, int i); /* of a norm or its gradient */
/* The packed weight of a skip: of input j alone, j = 0 or 1. It is kept as that of the first input, then that of the second. */
size_t cuda_skip_bytes(const Exec *e, const Op *op, int j);
#endif
