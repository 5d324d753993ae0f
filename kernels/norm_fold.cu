// norm_fold.cu -- around a pixel norm that is not run (conv_sm90_norm.h): the moments of its rows from partial ones, and the two rows of
// an image that its readers multiply beside the tensor itself.
// Order:  partial moments in order, joined as Chan, Golub and LeVeque do (1979): it depends on the channels alone.
// Speed:  bandwidth bound: 8 bytes for each 64 values of x, read once.
#include "kernels/values.h"

// ---- device code ------------------------------------------------------------------------------------------------------

enum { FOLD_THREADS = 256 };

struct MomentParams {
    const float2 *partial; // [part][row]
    float2 *moments;
    int parts, rows;
    float eps;
};
__global__ void __launch_bounds__(FOLD_THREADS) fold_moments_kernel(MomentParams p) {
    gpu::grid_enter();
    const int row = (int)(blockIdx.x * FOLD_THREADS + threadIdx.x);
    if (row >= p.rows) return;
    float mean = 0, squares = 0;
#pragma unroll 6
    for (int i = 0; i < p.parts; i++) {
        const float2 next = p.partial[(size_t)i * (size_t)p.rows + (size_t)row];
        const float share = __fdividef(1, (float)(i + 1)), apart = next.x - mean;
        mean = fmaf(apart, share, mean), squares += fmaf(apart * apart, (float)(i * FOLD_COLUMNS) * share, next.y);
    }
    const float rstd = rsqrtf(squares / (float)(p.parts * FOLD_COLUMNS) + p.eps);
    p.moments[row] = make_float2(rstd / FOLD_SCALE, -mean * rstd);
}

struct RowParams {
    const float *shift_scale; // {n,2c}
    void *rows;               // {n,2,c}: 1 + scale, shift
    DType type;
    int c;
};
__global__ void __launch_bounds__(FOLD_THREADS) fold_rows_kernel(RowParams p) {
    gpu::grid_enter();
    const int from = (int)(blockIdx.x * FOLD_THREADS + threadIdx.x) * RUN;
    if (from >= 2 * p.c) return;
    const bool shift = from >= p.c;
    const size_t image = (size_t)(2 * p.c) * blockIdx.z;
    float v[RUN];
    load_run(v, p.shift_scale + image + (size_t)(shift ? from - p.c : from + p.c)); // which come the other way round
    GPU_FOR (int e = 0; e < RUN; e++) v[e] = shift ? v[e] : 1 + v[e];
    store_floats(p.rows, p.type, image + (size_t)from, v);
}

// ---- launchers ----------------------------------------------------------------------------------------------------------

extern "C" int cuda_fold_moments(const FoldMomentsArgs *a, void *stream) {
    const MomentParams p = {(const float2 *)a->partial, (float2 *)a->moments, a->c / FOLD_COLUMNS, a->rows, a->eps};
    const dim3 grid((unsigned)blocks_for((size_t)a->rows, FOLD_THREADS));
    return gpu::launch_dependent(fold_moments_kernel, grid, dim3(FOLD_THREADS), 0, (cudaStream_t)stream, p);
}
extern "C" int cuda_fold_rows(const FoldRowsArgs *a, void *stream) {
    const RowParams p = {a->shift_scale, a->rows, a->type, a->c};
    const dim3 grid((unsigned)ceil_div(2 * a->c / RUN, FOLD_THREADS), 1, (unsigned)a->n);
    return gpu::launch_dependent(fold_rows_kernel, grid, dim3(FOLD_THREADS), 0, (cudaStream_t)stream, p);
}
