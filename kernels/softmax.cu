// softmax.cu -- softmax of vectors, or its logarithm: y = exp(x - max) / sum, or x - max - log(sum).
// Work:   a block makes a vector: its largest value, the sum of the powers, the results; the vector is read three times, from the
//         cache after the first.
// Order:  a thread's values in order, the lanes of a warp in pairs, the warps in order: it depends on c alone.
// Limits: none on sizes.
// Speed:  a launch: classifiers' vectors are a few kilobytes. 4 operations and 8 bytes a value.
#include "kernels/values.h"

enum { SOFTMAX_THREADS = 256, SOFTMAX_WARPS = SOFTMAX_THREADS / 32 };

// ---- device code ------------------------------------------------------------------------------------------------------

__global__ void __launch_bounds__(SOFTMAX_THREADS) softmax_kernel(SoftmaxArgs p) {
    gpu::grid_enter();
    SHARED(float, of_warp, [2 * SOFTMAX_WARPS]);
    const int t = (int)threadIdx.x;
    const size_t first = (size_t)blockIdx.x * (size_t)p.c;
    const float *x = p.x + first;
    float most = -INFINITY, sum = 0;
    for (int i = t; i < p.c; i += SOFTMAX_THREADS) most = fmaxf(most, x[i]); // NaN makes the sum NaN
    GPU_FOR (int apart = 16; apart; apart /= 2) most = fmaxf(most, __shfl_xor_sync(~0u, most, apart));
    if (t % 32 == 0) of_warp[t / 32] = most;
    __syncthreads();
    GPU_FOR (int warp = 0; warp < SOFTMAX_WARPS; warp++) most = fmaxf(most, of_warp[warp]);
    for (int i = t; i < p.c; i += SOFTMAX_THREADS) sum += expf(x[i] - most);
    sum = warp_sum(sum);
    if (t % 32 == 0) of_warp[SOFTMAX_WARPS + t / 32] = sum;
    __syncthreads();
    sum = 0;
    GPU_FOR (int warp = 0; warp < SOFTMAX_WARPS; warp++) sum += of_warp[SOFTMAX_WARPS + warp];
    const float log_sum = logf(sum);
    for (int i = t; i < p.c; i += SOFTMAX_THREADS) p.y[first + (size_t)i] = p.log ? x[i] - most - log_sum : expf(x[i] - most) / sum;
}

// ---- launchers ----------------------------------------------------------------------------------------------------------

extern "C" int cuda_softmax(const SoftmaxArgs *a, void *stream) {
    return gpu::launch_dependent(softmax_kernel, dim3((unsigned)a->n), dim3(SOFTMAX_THREADS), 0, (cudaStream_t)stream, *a);
}
