// neg_test.cu -- small wrong kernels, one per argument; the emulator should say what is wrong with each.
#include "kernels/gpu_prims_sm90.h"
#include <cstdio>
#include <cstdlib>
__global__ void k(int what, float *g, int n, float *h) {
    SHARED(float, s, [64]);
    DYN_SHARED(dyn);
    const int t = threadIdx.x;
    float v = 0;
    uint32_t r[4];
    switch (what) {
    case 1: g[n + 1024 + t] = 1; break; // far out of bounds in device memory
    case 2: g[n - 60 + t] = 1; break;   // 4 floats past the end, within the 256-byte granule
    case 3:
        v = h[t];
        g[t] = v;
        break; // use after cudaFree
    case 4:
        if (t < 32) __syncthreads();
        break; // barrier in divergent code
    case 5:
        if (t < 32) {
            __syncthreads();
        } else {
            __syncthreads();
        }
        break;
    case 6:
        if (t % 32 < 16) gpu::ldmatrix<4>(r, gpu::smem_u32(s));
        break; // half a warp
    case 7:
        if (t % 32 < 16) v = __shfl_xor_sync(~0u, 1.f, 1);
        g[t] = v;
        break;
    case 8:
        if (t < 32) gpu::ldmatrix<4>(r, gpu::smem_u32(dyn) + t * 20);
        break; // misaligned rows
    case 9:
        s[t] = (float)t;
        g[t] = s[(t + 1) % 64];
        break;                     // missing barrier
    case 10: g[t & 31] = 1; break; // two warps (and two blocks) store to the same place
    case 11: {
        volatile int *f = (volatile int *)s;
        if (t == 0) *f = 0;
        __syncthreads();
        if (t == 63) *f = 1;
        while (t == 0 && *f != 1) {}
        g[t] = 1;
        break;
    }                                                                                              // spin wait
    case 13: *reinterpret_cast<float4 *>(dyn + 8 + 16 * (t & 1)) = make_float4(1, 2, 3, 4); break; // misaligned vector store
    case 14:
        if (t == 0) {
            gpu::mbar_init(gpu::smem_u32(dyn), 2);
            gpu::mbar_arrive(gpu::smem_u32(dyn));
            gpu::mbar_wait(gpu::smem_u32(dyn), 0);
        }
        break;
    case 15:
        if (t < 32) gpu::cp_async16(gpu::smem_u32(dyn) + 16 * t, g + 4 * t);
        break;                          // never waited for
    case 16: g[0] += 1.f; break;        // should have been an atomicAdd
    case 21: gpu::wgmma_fence(); break; // on a device that has none
    }
}
__global__ void k_store(const __grid_constant__ gpu::TensorMap t) { // the thread goes before its store has read shared memory
    DYN_SHARED(dyn);
    reinterpret_cast<float *>(dyn)[threadIdx.x] = 1;
    gpu::fence_proxy_async();
    __syncthreads();
    if (threadIdx.x) return;
    gpu::tma_store(&t, gpu::smem_u32(dyn), 0, 0);
    gpu::bulk_commit();
}
// wrong in a cluster of two
__global__ void k_cluster(const __grid_constant__ gpu::TensorMap t, int what, float *g) {
    SHARED(uint64_t, bar, [2]);
    DYN_SHARED(dyn);
    const uint32_t b = gpu::smem_u32(bar), s = gpu::smem_u32(dyn), rank = gpu::cluster_ctarank(), other = 1 - rank;
    const bool first = threadIdx.x == 0;
    if (first) {
        gpu::mbar_init(b, 1), gpu::mbar_init(b + 8, 1);
        if (what != 30) gpu::fence_barrier_init();
    }
    if (what == 23) { // no barrier of the cluster
        if (first) gpu::mbar_arrive_remote(gpu::mapa(b, other));
        return;
    }
    if (what == 31) { // half a warp is missing
        if (threadIdx.x % 32 < 16) gpu::cluster_arrive();
        return;
    }
    if (what == 32) gpu::cluster_wait(); // without arriving
    gpu::cluster_arrive_relaxed();
    gpu::cluster_wait();
    switch (what) {
    case 24: // the second CTA goes on first, and has gone when the first arrives there
    case 25: // in another order it would have been the first
        if (first && rank == (what == 25)) gpu::mbar_arrive_remote(gpu::mapa(b, other));
        return;
    case 26:
        if (first) gpu::mbar_wait(gpu::mapa(b, other), 0);
        break; // waits in another CTA
    case 27:
        if (first) gpu::tma_load_multicast(s, &t, b, 0, 0, 7);
        break; // there is no third CTA
    case 29:
        if (first) gpu::mbar_arrive_expect_tx(b, 256), gpu::tma_load(s, &t, b, 0, 0);
        return; // not waited for
    case 30:
        if (first) gpu::mbar_arrive_remote(gpu::mapa(b, other)), gpu::mbar_wait(b, 0);
        break; // barriers that were not announced
    case 33:   // the first CTA loads again over what the second reads
        for (uint32_t i = 0; i < 2; i++) {
            if (first) gpu::mbar_arrive_expect_tx(b, 256);
            if (first && rank == 0) gpu::tma_load_multicast(s, &t, b, 0, 2 * (int)i, 3);
            gpu::mbar_wait(b, i);
            g[blockIdx.x * 64 + threadIdx.x] = reinterpret_cast<float *>(dyn)[threadIdx.x];
            __syncthreads();
        }
        break;
    case 34: // loads into a CTA that has not started to count there
        if (first && rank == 0) gpu::tma_load_multicast(s, &t, b + 16, 0, 0, 3);
        break;
    }
    gpu::cluster_arrive();
    gpu::cluster_wait();
}
__global__ void k_fills(float *g) {
    gpu::grid_wait();
    g[threadIdx.x] = 1;
}
__global__ void k_early(int what, const float *g, float *h) { // begins before k_fills has ended
    float v = 0;
    if (what == 41 || what == 42) v = g[threadIdx.x];
    if (what == 43) h[threadIdx.x] = 2;
    if (what == 44) gpu::grid_release();
    if (what != 40) gpu::grid_wait();
    if (what != 43) h[threadIdx.x] = v;
}
static void early(int what, float *g, float *h) {
    cudaStream_t s;
    float x = 0;
    setenv("EMU_PDL", what == 42 ? "late" : "early", 1);
    cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking);
    cudaMemset(g, 0xff, 256);
    gpu::launch(k_fills, dim3(1), dim3(64), (size_t)0, s, g);
    gpu::launch_dependent(k_early, dim3(1), dim3(64), (size_t)0, s, what, (const float *)g, h);
    const cudaError_t e = cudaStreamSynchronize(s);
    cudaMemcpy(&x, h, sizeof x, cudaMemcpyDeviceToHost);
    printf("%d: %s, %d defects; %g where 1 was written\n", what, cudaGetErrorString(e), emu::errors(), (double)x);
}
__global__ void k12(float *g) {
    float big[65536];
    for (int i = 0; i < 65536; ++i) big[i] = g[i % 64];
    g[threadIdx.x] = big[(int)g[0] & 32767];
} // stack
int main(int argc, char **argv) {
    int w = argc > 1 ? atoi(argv[1]) : 0;
    if (w != 21) setenv("EMU_CC", w == 19 ? "9.0" : "90", 1);
    if (w == 20) setenv("EMU_SMS", "many", 1);
    if (w == 19 || w == 20) {
        int v = 0;
        cudaDeviceGetAttribute(&v, w == 19 ? cudaDevAttrComputeCapabilityMajor : cudaDevAttrMultiProcessorCount, 0);
        printf("%d\n", v);
        return 0;
    }
    float *g, *h;
    cudaMalloc(&g, 64 * 8 * 4);
    cudaMalloc(&h, 64 * 4);
    cudaMemset(g, 0, 2048);
    if (w == 3) cudaFree(h);
    if (w == 17) {
        float x;
        printf("%s\n", cudaMemcpy(&x, g + 512, 4, cudaMemcpyDeviceToHost) == cudaSuccess ? "no error" : "cudaMemcpy: error returned");
        return 0;
    }
    if (w == 18) {
        printf("%s\n", cudaGetErrorString(emu_launch(dim3(1), dim3(64), 100000, nullptr, k, 0, g, 512, h)));
        return 0;
    }
    if (w >= 40) return early(w, g, h), 0;
    if (w >= 22) {
        const uint64_t dim[2] = {32, 4}, stride[1] = {128};
        const uint32_t box[2] = {32, 2};
        gpu::TensorMap t;
        if (gpu::tensor_map(&t, gpu::MAP_F32, 2, g, dim, stride, box, 0)) return 1;
        if (w == 22) gpu::launch(k_store, dim3(1), dim3(64), (size_t)256, nullptr, t);
        else
            printf("%s\n",
                   cudaGetErrorString(gpu::launch_cluster(k_cluster, dim3(w == 28 ? 3 : 2), dim3(64), 2, (size_t)256, nullptr, t, w, g)));
        return 0;
    }
    if (w == 12) {
        gpu::launch(k12, dim3(1), dim3(64), (size_t)0, nullptr, g);
        printf("12: %d defects\n", emu::errors());
        return 0;
    }
    cudaError_t e = gpu::launch(k, dim3(w == 10 || w == 16 ? 2 : 1), dim3(64), (size_t)1024, nullptr, w, g, 512, h);
    printf("%d: %s, %d defects\n", w, cudaGetErrorString(e), emu::errors());
}
