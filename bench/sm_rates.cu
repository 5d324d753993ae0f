// sm_rates.cu -- five figures of this GPU that the machine-code model (bench/sass_model.py) takes from measurement.
// Prints one line of JSON with the keys
//   hmma_interval_clocks    between two independent mma.m16n8k16 (f16 to f32) of one scheduler
//   ldmatrix_x4_clocks      of the shared-memory port for one ldmatrix.x4 of a warp, without bank conflicts
//   cp_async_port_clocks    of the shared-memory port for one cp.async of 16 bytes a lane, between ldmatrix
//   l2_bytes_per_clock_sm   that a multiprocessor gets from L2 by cp.async while all of them read
//   clock_under_load_mhz    after half a second of mma on all of them
// All clocks are a multiprocessor's own (clock64). Built by g++ over tests/cuda_on_cpu it makes the same accesses, few times, and
// its figures mean nothing.
#include "kernels/gpu_prims.h"
#include <stdio.h>
#include <stdlib.h>

#if defined(__CUDACC__)
enum { MMA_LOOPS = 2000, PORT_LOOPS = 2000, L2_BYTES = 16 << 20, LOAD_LOOPS = 200000, LOAD_LAUNCHES = 40 };
#else
enum { MMA_LOOPS = 2, PORT_LOOPS = 4, L2_BYTES = 256 << 10, LOAD_LOOPS = 2, LOAD_LAUNCHES = 1 };
static long long clock64() {
    static long long clocks; // the emulator has none
    return __atomic_add_fetch(&clocks, 1000, __ATOMIC_RELAXED);
}
#endif
enum { SCHEDULERS = 4, PIECE = 16, WARP_BYTES = 32 * PIECE };

// ---- kernels: block i leaves its clocks in clocks[i]; what was computed goes to sink, so that it must be computed ----------------
enum { MMA_WARPS = 8, MMA_M = 2, MMA_N = 4 };
__global__ void __launch_bounds__(32 * MMA_WARPS) mma_kernel(int loops, long long *clocks, float *sink) {
    uint32_t a[MMA_M][4], b[MMA_N][2];
    float d[MMA_M][MMA_N][4];
    const uint32_t t = threadIdx.x;
    // halves between 0.5 and 1 of either sign: products of zeros draw less power
    GPU_FOR (int i = 0; i < MMA_M * 4; i++) a[i / 4][i % 4] = 0x38003800u | ((t * 2654435761u + (uint32_t)i * 40503u) & 0x83ff83ffu);
    GPU_FOR (int i = 0; i < MMA_N * 2; i++) b[i / 2][i % 2] = 0x38003800u | ((t * 2246822519u + (uint32_t)i * 30011u) & 0x83ff83ffu);
    GPU_FOR (int i = 0; i < MMA_M * MMA_N * 4; i++) d[i / (MMA_N * 4)][i / 4 % MMA_N][i % 4] = 0;
    __syncthreads();
    const long long start = clock64();
    for (int i = 0; i < loops; i++) {
        gpu::mma_m16n8k16<__half>(d, a, b);
        gpu::mma_m16n8k16<__half>(d, a, b);
    }
    __syncthreads();
    if (t == 0) clocks[blockIdx.x] = clock64() - start;
    float sum = 0;
    GPU_FOR (int i = 0; i < MMA_M * MMA_N * 4; i++) sum += d[i / (MMA_N * 4)][i / 4 % MMA_N][i % 4];
    sink[blockIdx.x * blockDim.x + t] = sum;
}
// Sixteen warps keep the port busy; COPIES of each warp's accesses are cp.async, of 64 KiB that stay in L2.
enum { PORT_WARPS = 16, PORT_LOADS = 12, PORT_SOURCE = 64 << 10, PORT_READ = 16 << 10 };
template <int COPIES>
__global__ void __launch_bounds__(32 * PORT_WARPS) port_kernel(int loops, const char *from, long long *clocks, float *sink) {
    DYN_SHARED(shared);
    const uint32_t base = gpu::smem_u32(shared), lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    for (uint32_t i = threadIdx.x; i < PORT_READ / 4; i += 32 * PORT_WARPS) ((uint32_t *)shared)[i] = i;
    __syncthreads();
    uint32_t sum = 0;
    const long long start = clock64();
    for (int i = 0; i < loops; i++) {
        uint32_t r[PORT_LOADS][4];
        GPU_FOR (int k = 0; k < COPIES; k++) {
            const uint32_t place = (uint32_t)(i * COPIES + k) * PORT_WARPS + warp;
            gpu::cp_async16(base + PORT_READ + (warp * 4 + (uint32_t)(i * COPIES + k) % 4) * WARP_BYTES + lane * PIECE,
                            from + place * WARP_BYTES % PORT_SOURCE + lane * PIECE);
        }
        gpu::cp_async_commit();
        GPU_FOR (int k = 0; k < PORT_LOADS; k++) gpu::ldmatrix<4>(r[k], base + (uint32_t)k * WARP_BYTES + lane * PIECE);
        GPU_FOR (int k = 0; k < PORT_LOADS * 4; k++) sum ^= r[k / 4][k % 4];
        gpu::cp_async_wait<1>();
    }
    gpu::cp_async_wait<0>();
    __syncthreads();
    if (threadIdx.x == 0) clocks[blockIdx.x] = clock64() - start;
    sink[blockIdx.x * blockDim.x + threadIdx.x] = (float)sum;
}
// Every block reads all of it, from a place of its own on; two groups of copies are under way.
enum { L2_WARPS = 16, L2_COPIES = 4 };
__global__ void __launch_bounds__(32 * L2_WARPS) l2_kernel(const char *from, long long *clocks) {
    enum { STEP = L2_WARPS * L2_COPIES * WARP_BYTES, STEPS = L2_BYTES / STEP };
    DYN_SHARED(shared);
    const uint32_t base = gpu::smem_u32(shared), lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    __syncthreads();
    const long long start = clock64();
    for (int i = 0; i < STEPS; i++) {
        const char *source = from + (size_t)((i + (int)blockIdx.x * 37) % STEPS) * STEP + warp * L2_COPIES * WARP_BYTES + lane * PIECE;
        const uint32_t to = base + (uint32_t)(i % 2) * STEP + warp * L2_COPIES * WARP_BYTES + lane * PIECE;
        GPU_FOR (uint32_t k = 0; k < L2_COPIES; k++) gpu::cp_async16(to + k * WARP_BYTES, source + k * WARP_BYTES);
        gpu::cp_async_commit();
        gpu::cp_async_wait<1>();
    }
    gpu::cp_async_wait<0>();
    __syncthreads();
    if (threadIdx.x == 0) clocks[blockIdx.x] = clock64() - start;
}

// ---- host -----------------------------------------------------------------------------------------------------------------------
static void check_cuda(cudaError_t status, const char *what) {
    if (status == cudaSuccess) return;
    fprintf(stderr, "sm_rates: %s: %s\n", what, cudaGetErrorString(status));
    exit(1);
}
#define CUDA(call) check_cuda(call, #call)

typedef struct {
    char name[256];
    int major, minor, multiprocessors;
} Gpu;
static Gpu this_gpu() {
#if defined(__CUDACC__)
    struct cudaDeviceProp p;
    CUDA(cudaGetDeviceProperties(&p, 0));
    Gpu g = {"", p.major, p.minor, p.multiProcessorCount};
    snprintf(g.name, sizeof g.name, "%s", p.name);
#else
    Gpu g = {"emulated", 9, 0, 2};
#endif
    return g;
}
typedef struct {
    Gpu gpu;
    cudaStream_t stream;
    char *from;
    long long *clocks; // of each block
    float *sink;
} Bench;
static double mean_clocks(const Bench *b) { // of the launch before
    long long *c = (long long *)malloc((size_t)b->gpu.multiprocessors * sizeof *c);
    double sum = 0;
    CUDA(cudaStreamSynchronize(b->stream));
    CUDA(cudaMemcpy(c, b->clocks, (size_t)b->gpu.multiprocessors * sizeof *c, cudaMemcpyDeviceToHost));
    for (int i = 0; i < b->gpu.multiprocessors; i++) sum += (double)c[i];
    free(c);
    return sum / b->gpu.multiprocessors;
}
static dim3 grid(const Bench *b) { return dim3((unsigned)b->gpu.multiprocessors); }
static void launch_mma(const Bench *b, int loops) {
    CUDA(gpu::launch(mma_kernel, grid(b), dim3(32 * MMA_WARPS), (size_t)0, b->stream, loops, b->clocks, b->sink));
}
// Each rate is of a second launch: the first loads the kernel and fills L2.
static double hmma_interval(const Bench *b) {
    for (int i = 0; i < 2; i++) launch_mma(b, MMA_LOOPS);
    return mean_clocks(b) * SCHEDULERS / ((double)MMA_LOOPS * 2 * MMA_M * MMA_N * MMA_WARPS);
}
template <int COPIES> static double port_clocks(const Bench *b) { // of one warp's turn
    const size_t shared = PORT_READ + PORT_WARPS * 4 * WARP_BYTES;
    for (int i = 0; i < 2; i++)
        CUDA(gpu::launch(port_kernel<COPIES>, grid(b), dim3(32 * PORT_WARPS), shared, b->stream, (int)PORT_LOOPS, (const char *)b->from,
                         b->clocks, b->sink));
    return mean_clocks(b) / ((double)PORT_LOOPS * PORT_WARPS);
}
static double l2_bytes_per_clock(const Bench *b) {
    const size_t shared = 2 * L2_WARPS * L2_COPIES * WARP_BYTES;
    for (int i = 0; i < 2; i++)
        CUDA(gpu::launch(l2_kernel, grid(b), dim3(32 * L2_WARPS), shared, b->stream, (const char *)b->from, b->clocks));
    return L2_BYTES / mean_clocks(b);
}
static double clock_under_load(const Bench *b) { // MHz: the last launch's clocks over its time
    cudaEvent_t start, stop;
    float ms = 0;
    CUDA(cudaEventCreateWithFlags(&start, cudaEventDefault));
    CUDA(cudaEventCreateWithFlags(&stop, cudaEventDefault));
    for (int i = 0; i < LOAD_LAUNCHES; i++) {
        if (i == LOAD_LAUNCHES - 1) CUDA(cudaEventRecord(start, b->stream));
        launch_mma(b, LOAD_LOOPS);
    }
    CUDA(cudaEventRecord(stop, b->stream));
    CUDA(cudaEventSynchronize(stop));
    CUDA(cudaEventElapsedTime(&ms, start, stop));
    CUDA(cudaEventDestroy(start));
    CUDA(cudaEventDestroy(stop));
    return mean_clocks(b) / (ms * 1e3);
}
int main() {
    Bench b = {};
    b.gpu = this_gpu();
    const size_t blocks = (size_t)b.gpu.multiprocessors;
    CUDA(cudaStreamCreateWithFlags(&b.stream, cudaStreamNonBlocking));
    CUDA(cudaMalloc((void **)&b.from, L2_BYTES));
    CUDA(cudaMalloc((void **)&b.clocks, blocks * sizeof *b.clocks));
    CUDA(cudaMalloc((void **)&b.sink, blocks * 32 * PORT_WARPS * sizeof *b.sink));
    CUDA(cudaMemset(b.from, 0x3c, L2_BYTES));
    CUDA(cudaDeviceSynchronize());
    enum { COPIES = 2 };
    const double interval = hmma_interval(&b), loads = port_clocks<0>(&b), with_copies = port_clocks<COPIES>(&b);
    const double from_l2 = l2_bytes_per_clock(&b), mhz = clock_under_load(&b); // the hottest last
    printf(
        "{\"device\": \"%s\", \"compute_capability\": \"%d.%d\", \"multiprocessors\": %d, \"hmma_interval_clocks\": %.3f, "
        "\"ldmatrix_x4_clocks\": %.3f, \"cp_async_port_clocks\": %.3f, \"l2_bytes_per_clock_sm\": %.2f, \"clock_under_load_mhz\": %.0f}\n",
        b.gpu.name, b.gpu.major, b.gpu.minor, b.gpu.multiprocessors, interval, loads / PORT_LOADS, (with_copies - loads) / COPIES, from_l2,
        mhz);
    cudaFree(b.from), cudaFree(b.clocks), cudaFree(b.sink);
    CUDA(cudaStreamDestroy(b.stream));
#if defined(__CUDACC__)
    return 0;
#else
    return emu::errors() != 0;
#endif
}
