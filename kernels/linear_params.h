// linear_params.h -- what the kernels of linear layers on vectors share: y = act(scale * ((x w^T + bias) * gate + add)), all in f32.
#ifndef DG_LINEAR_PARAMS_H
#define DG_LINEAR_PARAMS_H
#include "kernels/conv_epilogue.h"
#include "kernels/kernels.h"

enum { PIECE = 4 }; // channels, of 16 bytes
struct LinearParams {
    const float *x, *w, *bias, *gate, *add;
    float *y;
    int n, c, k, add_stride; // add_stride: from one vector's to the next's; 0 for positions
    float scale;
    Act act;
};
GPU_FN void store_feature(const LinearParams &p, float sum, int vector, int k) {
    const size_t out = (size_t)vector * (size_t)p.k + (size_t)k;
    const float gate = p.gate ? p.gate[out] : 1, add = p.add ? p.add[(size_t)vector * (size_t)p.add_stride + (size_t)k] : 0;
    float y[1] = {p.scale * fmaf(sum + (p.bias ? p.bias[k] : 0), gate, add)};
    activate(y, p.act);
    p.y[out] = y[0];
}
// Four, from k on; those past the last are left out.
GPU_FN void store_features(const LinearParams &p, float4 sum, int vector, int k) {
    const float v[PIECE] = {sum.x, sum.y, sum.z, sum.w};
    GPU_FOR (int e = 0; e < PIECE; e++)
        if (k + e < p.k) store_feature(p, v[e], vector, k + e);
}
struct LinearGroup { // of the same vectors
    LinearParams layer[LINEAR_LAYERS];
};
// By tensor cores; channels fill whole pieces.
int linear_mma(const LinearGroup &g, int layers, cudaStream_t stream);
#endif
