// linear.cu -- linear layers on vectors, all in f32: y = act(scale * ((x w^T + bias) * gate + add)).
// Work:   up to 15 vectors: a warp makes one feature for 8 vectors. From 16 on: a block makes 16 features for 64 vectors, a warp 8 for 8,
//         from stages of 64 channels of both in shared memory (cp.async): 16 reads of it for 64 products.
// Bytes:  weights 4 k c for each 64 vectors (each 8 where there are fewer than 16), vectors 4 n c for each 16 features, from the L2 cache;
//         outputs 4 n k. At DiT-XL's 64 vectors, 1152 -> 6912: 32 MB of weights, 127 MB of vectors through L2, 1.02 GFLOP.
// Order:  the same for any number of vectors, so that no result depends on it: lane l sums channels l, l + 32, ... in order by fused
//         multiply-adds, then the lanes are added in pairs 16, 8, 4, 2, 1 apart.
#include "kernels/conv_epilogue.h"

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

// ---- few vectors ----------------------------------------------------------------------------------------------------------
enum { FEW_WARPS = 8, FEW_VECTORS = 8 };
__global__ void __launch_bounds__(32 * FEW_WARPS) linear_few_kernel(LinearParams p) {
    gpu::grid_enter();
    const int lane = (int)threadIdx.x & 31, k = (int)blockIdx.x * FEW_WARPS + ((int)threadIdx.x >> 5);
    const int first = (int)blockIdx.y * FEW_VECTORS, count = min((int)FEW_VECTORS, p.n - first);
    if (k >= p.k) return;
    float sum[FEW_VECTORS];
    GPU_FOR (int i = 0; i < FEW_VECTORS; i++) sum[i] = 0;
    for (int c = lane; c < p.c; c += 32) {
        const float w = p.w[(size_t)k * (size_t)p.c + (size_t)c];
        GPU_FOR (int i = 0; i < FEW_VECTORS; i++)
            if (i < count) sum[i] = fmaf(w, p.x[(size_t)(first + i) * (size_t)p.c + (size_t)c], sum[i]);
    }
    GPU_FOR (int i = 0; i < FEW_VECTORS; i++) {
        GPU_FOR (int apart = 16; apart; apart /= 2) sum[i] += __shfl_xor_sync(~0u, sum[i], apart);
        if (i < count && lane == i) store_feature(p, sum[i], first + i, k);
    }
}

// ---- many vectors ---------------------------------------------------------------------------------------------------------
enum {
    MANY = 16, // vectors, from which on
    TILE_VECTORS = 64,
    TILE_FEATURES = 16,
    TILE_ROWS = TILE_VECTORS + TILE_FEATURES,
    WARP_VECTORS = 8,
    WARP_FEATURES = 8,
    TILE_WARPS = TILE_VECTORS / WARP_VECTORS * (TILE_FEATURES / WARP_FEATURES),
    TILE_THREADS = 32 * TILE_WARPS,
    TILE_CHANNELS = 64, // of a stage
    TILE_STAGES = 4,
    PIECE = 4, // channels copied at once
    STAGE_PIECES = TILE_ROWS * TILE_CHANNELS / PIECE,
    TILE_SHARED = TILE_STAGES * TILE_ROWS * TILE_CHANNELS * (int)sizeof(float)
};
// A warp's 64 sums, 8 features of 8 vectors, added over its lanes: every step keeps half of them in one lane of each pair and half in the
// other. Lane l is left with 2l and 2l + 1 in s[0] and s[1].
template <int APART> GPU_FN void add_lanes(float (&s)[WARP_VECTORS * WARP_FEATURES], int lane) {
    const bool upper = (lane & APART) != 0;
    GPU_FOR (int i = 0; i < 2 * APART; i++) {
        const float kept = upper ? s[i + 2 * APART] : s[i], given = upper ? s[i] : s[i + 2 * APART];
        s[i] = kept + __shfl_xor_sync(~0u, given, APART);
    }
    if constexpr (APART > 1) add_lanes<APART / 2>(s, lane);
}
template <bool WHOLE_PIECES> __global__ void __launch_bounds__(TILE_THREADS, 1) linear_many_kernel(LinearParams p) {
    gpu::grid_enter();
    DYN_SHARED(shared);
    const int lane = (int)threadIdx.x & 31, warp = (int)threadIdx.x >> 5;
    const int vector0 = (int)blockIdx.y * TILE_VECTORS, k0 = (int)blockIdx.x * TILE_FEATURES;
    const int steps = (p.c + TILE_CHANNELS - 1) / TILE_CHANNELS;
    // A stage: TILE_CHANNELS channels of each vector, then of each feature. Those past the last are zeros, never reads.
    auto load = [&](int step) {
        float *const stage = (float *)shared + step % TILE_STAGES * (TILE_ROWS * TILE_CHANNELS);
        for (int i = (int)threadIdx.x; i < STAGE_PIECES; i += TILE_THREADS) {
            const int row = i / (TILE_CHANNELS / PIECE), c = step * TILE_CHANNELS + i % (TILE_CHANNELS / PIECE) * PIECE;
            const int of = row < TILE_VECTORS ? vector0 + row : k0 + row - TILE_VECTORS;
            const float *from = (row < TILE_VECTORS ? p.x : p.w) + (size_t)of * (size_t)p.c + (size_t)c;
            const bool valid = of < (row < TILE_VECTORS ? p.n : p.k) && c < p.c;
            if (WHOLE_PIECES) gpu::cp_async16(gpu::smem_u32(stage + i * PIECE), valid ? from : p.x, valid);
            else
                GPU_FOR (int e = 0; e < PIECE; e++) stage[i * PIECE + e] = valid && c + e < p.c ? from[e] : 0;
        }
    };
    const int vector = warp % (TILE_VECTORS / WARP_VECTORS) * WARP_VECTORS, k = warp / (TILE_VECTORS / WARP_VECTORS) * WARP_FEATURES;
    const bool busy = vector0 + vector < p.n && k0 + k < p.k;
    float sum[WARP_VECTORS * WARP_FEATURES];
    GPU_FOR (int i = 0; i < WARP_VECTORS * WARP_FEATURES; i++) sum[i] = 0;
    GPU_FOR (int s = 0; s < TILE_STAGES - 1; s++) {
        if (s < steps) load(s);
        gpu::cp_async_commit();
    }
    for (int step = 0; step < steps; step++) {
        gpu::cp_async_wait<TILE_STAGES - 2>();
        __syncthreads(); // the stage has landed for all, and nobody still reads the one that is overwritten next
        if (step + TILE_STAGES - 1 < steps) load(step + TILE_STAGES - 1);
        gpu::cp_async_commit();
        const float *x = (const float *)shared + (step % TILE_STAGES * TILE_ROWS + vector) * TILE_CHANNELS;
        const float *w = x + (TILE_VECTORS - vector + k) * TILE_CHANNELS;
        GPU_FOR (int c = lane; c < TILE_CHANNELS; c += 32) {
            if (!busy || step * TILE_CHANNELS + c >= p.c) continue;
            float values[WARP_VECTORS], weights[WARP_FEATURES];
            GPU_FOR (int v = 0; v < WARP_VECTORS; v++) values[v] = x[v * TILE_CHANNELS + c];
            GPU_FOR (int f = 0; f < WARP_FEATURES; f++) weights[f] = w[f * TILE_CHANNELS + c];
            GPU_FOR (int v = 0; v < WARP_VECTORS; v++)
                GPU_FOR (int f = 0; f < WARP_FEATURES; f++)
                    sum[v * WARP_FEATURES + f] = fmaf(weights[f], values[v], sum[v * WARP_FEATURES + f]);
        }
        __syncwarp(); // lanes may part at the last channels
    }
    gpu::cp_async_wait<0>();
    if (!busy) return;
    add_lanes<16>(sum, lane);
    GPU_FOR (int e = 0; e < 2; e++) {
        const int own = vector0 + vector + lane / (WARP_FEATURES / 2), feature = k0 + k + lane % (WARP_FEATURES / 2) * 2 + e;
        if (own < p.n && feature < p.k) store_feature(p, sum[e], own, feature);
    }
}

// ---- launcher -------------------------------------------------------------------------------------------------------------
extern "C" int cuda_linear(const LinearArgs *a, void *stream) {
    LinearParams p = {};
    p.x = a->x, p.w = a->w, p.bias = a->bias, p.gate = a->gate, p.add = a->add, p.y = a->y;
    p.n = a->n, p.c = a->c, p.k = a->k, p.add_stride = a->add_kind == OPERAND_POSITIONS ? 0 : a->k, p.scale = a->scale, p.act = a->act;
    if (a->n < MANY) {
        const dim3 grid((unsigned)ceil_div(a->k, FEW_WARPS), (unsigned)ceil_div(a->n, FEW_VECTORS));
        return gpu::launch_dependent(linear_few_kernel, grid, dim3(32 * FEW_WARPS), (size_t)0, (cudaStream_t)stream, p);
    }
    const dim3 grid((unsigned)ceil_div(a->k, TILE_FEATURES), (unsigned)ceil_div(a->n, TILE_VECTORS)), threads(TILE_THREADS);
    if (a->c % PIECE == 0)
        return gpu::launch_dependent(linear_many_kernel<true>, grid, threads, (size_t)TILE_SHARED, (cudaStream_t)stream, p);
    return gpu::launch_dependent(linear_many_kernel<false>, grid, threads, (size_t)TILE_SHARED, (cudaStream_t)stream, p);
}
