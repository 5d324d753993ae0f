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
    if (w == 22) {
        const uint64_t dim[2] = {32, 4}, stride[1] = {128};
        const uint32_t box[2] = {32, 2};
        gpu::TensorMap t;
        if (gpu::tensor_map(&t, gpu::MAP_F32, 2, g, dim, stride, box, 0)) return 1;
        gpu::launch(k_store, dim3(1), dim3(64), (size_t)256, nullptr, t);
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
