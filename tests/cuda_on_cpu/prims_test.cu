// prims_test.cu -- conformance test of the primitives: one source, compiled by nvcc (to run on a GPU) and by g++ (to run under
// the emulator). Expected values are computed on the host from plain matrix definitions; the kernels place fragments by the
// documented layouts. Under the emulator alone that is a consistency check; on a GPU the hardware is the judge.
#include "kernels/gpu_prims_sm90.h"
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>
static uint32_t g_seed = 12345;
static float rnd() {
    g_seed = g_seed * 1664525u + 1013904223u;
    return (float)((int)(g_seed >> 24) - 128) / 64.f;
} // exact in fp16 and bf16
template <class T> struct Dev {
    T *p = nullptr;
    size_t n;
    explicit Dev(size_t n_) : n(n_) { cudaMalloc(&p, n * sizeof(T)); }
    explicit Dev(const std::vector<T> &v) : Dev(v.size()) { cudaMemcpy(p, v.data(), n * sizeof(T), cudaMemcpyHostToDevice); }
    std::vector<T> get() {
        std::vector<T> v(n);
        cudaError_t e = cudaDeviceSynchronize();
        if (e != cudaSuccess) {
            printf("CUDA: %s\n", cudaGetErrorString(e));
            exit(2);
        }
        cudaMemcpy(v.data(), p, n * sizeof(T), cudaMemcpyDeviceToHost);
        return v;
    }
    ~Dev() { cudaFree(p); }
};
static int g_bad = 0, g_run = 0;
static void check(const char *name, bool ok) {
    ++g_run;
    if (!ok) {
        ++g_bad;
        printf("FAIL %s\n", name);
    }
}
static bool same(const std::vector<float> &a, const std::vector<float> &b) {
    double m = 0, s = 0;
    for (size_t i = 0; i < a.size(); ++i) {
        double d = fabs((double)a[i] - b[i]);
        if (!(d <= m)) m = d;
        s = fmax(s, fabs((double)b[i]));
    }
    return m <= 1e-4 * (1 + s);
}
template <class T> std::vector<T> rnd_vec(size_t n) {
    std::vector<T> v(n);
    for (T &x : v) x = T(rnd());
    return v;
}

// ---- mma through ldmatrix: A [16*MT][16] row-major, B either [N][16] (plain) or [16][N] (trans)
template <class T, int MT, int NT, bool BT> __global__ void k_mma(const T *A, const T *B, float *D) {
    SHARED(T, sa, [MT * 16 * 16]);
    SHARED(T, sb, [NT * 8 * 16]);
    const int lane = threadIdx.x;
    for (int i = lane; i < MT * 256; i += 32) sa[i] = A[i];
    for (int i = lane; i < NT * 128; i += 32) sb[i] = B[i];
    __syncthreads();
    uint32_t a[MT][4], b[NT][2];
    float d[MT][NT][4];
    for (int m = 0; m < MT; ++m)
        for (int n = 0; n < NT; ++n)
            for (int i = 0; i < 4; ++i) d[m][n][i] = 1.f;
    for (int m = 0; m < MT; ++m) gpu::ldmatrix<4>(a[m], gpu::smem_u32(sa + (m * 16 + (lane & 15)) * 16 + (lane >> 4) * 8));
    for (int n = 0; n < NT; ++n) {
        if (BT) gpu::ldmatrix<2, true>(b[n], gpu::smem_u32(sb + (lane & 15) * NT * 8 + n * 8));
        else gpu::ldmatrix<2>(b[n], gpu::smem_u32(sb + (n * 8 + (lane & 7)) * 16 + ((lane >> 3) & 1) * 8));
    }
    gpu::mma_m16n8k16<T>(d, a, b);
    for (int m = 0; m < MT; ++m)
        for (int n = 0; n < NT; ++n)
            for (int i = 0; i < 4; ++i) D[(m * 16 + (lane >> 2) + (i >> 1) * 8) * NT * 8 + n * 8 + (lane & 3) * 2 + (i & 1)] = d[m][n][i];
}
template <class T, int MT, int NT, bool BT> void t_mma(const char *name) {
    const int M = MT * 16, N = NT * 8;
    auto A = rnd_vec<T>(M * 16), B = rnd_vec<T>(N * 16);
    Dev<T> dA(A), dB(B);
    Dev<float> dD(M * N);
    std::vector<float> ref(M * N, 1.f);
    gpu::launch(k_mma<T, MT, NT, BT>, dim3(1), dim3(32), 0, nullptr, dA.p, dB.p, dD.p);
    for (int m = 0; m < M; ++m)
        for (int n = 0; n < N; ++n)
            for (int k = 0; k < 16; ++k) ref[m * N + n] += float(A[m * 16 + k]) * float(B[BT ? k * N + n : n * 16 + k]);
    check(name, same(dD.get(), ref));
}
// ---- tf32 mma through cp.async and ldmatrix: A [16*MT][8], B [8*NT][8], rows of two 16-byte pieces; some pieces are zero-filled
__global__ void k_tf32(const float *A, const float *B, float *D) {
    SHARED(float, sa, [32 * 8]);
    SHARED(float, sb, [16 * 8]);
    const int lane = threadIdx.x;
    for (int i = lane; i < 64; i += 32) gpu::cp_async16(gpu::smem_u32(sa + i * 4), A + i * 4, i != 3);
    gpu::cp_async_commit();
    gpu::cp_async16(gpu::smem_u32(sb + lane * 4), B + lane * 4);
    gpu::cp_async_commit();
    gpu::cp_async_wait<0>();
    __syncthreads();
    uint32_t a[2][4], b[2][2], q[4];
    for (int m = 0; m < 2; ++m) {
        gpu::ldmatrix<4>(a[m], gpu::smem_u32(sa + (m * 16 + (lane & 15)) * 8 + (lane >> 4) * 4));
        for (int i = 0; i < 4; ++i) a[m][i] = gpu::to_tf32(a[m][i]);
    }
    gpu::ldmatrix<4>(q, gpu::smem_u32(sb + ((lane >> 4) * 8 + (lane & 7)) * 8 + (lane >> 3 & 1) * 4));
    for (int i = 0; i < 4; ++i) b[i >> 1][i & 1] = gpu::to_tf32(q[i]);
    float d[2][2][4];
    for (int i = 0; i < 16; ++i) d[i >> 3][i >> 2 & 1][i & 3] = 1.f;
    gpu::mma_m16n8k8_tf32(d, a, b);
    for (int m = 0; m < 2; ++m)
        for (int n = 0; n < 2; ++n)
            for (int i = 0; i < 4; ++i) D[(m * 16 + (lane >> 2) + (i >> 1) * 8) * 16 + n * 8 + (lane & 3) * 2 + (i & 1)] = d[m][n][i];
}
static void t_tf32() {
    auto A = rnd_vec<float>(32 * 8), B = rnd_vec<float>(16 * 8);
    A[0] = 1.f + 0x1p-11f, A[1] = 1.f + 0x1.ffp-12f, A[2] = -1.f - 0x1p-11f; // ties go away from zero, less than half down
    Dev<float> dA(A), dB(B), dD(32 * 16);
    gpu::launch(k_tf32, dim3(1), dim3(32), 0, nullptr, dA.p, dB.p, dD.p);
    A[0] = 1.f + 0x1p-10f, A[1] = 1.f, A[2] = -1.f - 0x1p-10f;
    for (int i = 12; i < 16; ++i) A[i] = 0; // the piece that was not valid
    std::vector<float> ref(32 * 16, 1.f);
    for (int m = 0; m < 32; ++m)
        for (int n = 0; n < 16; ++n)
            for (int k = 0; k < 8; ++k) ref[m * 16 + n] += A[m * 8 + k] * B[n * 8 + k];
    check("mma tf32, cp.async with zero fill", dD.get() == ref);
}
// ---- a product that a contraction would keep exact: (1 + 2^-30)^2 - (1 + 2^-29) is 2^-60 then, and 0 with its own rounding
__global__ void k_mul(const double *x, double *y) { y[0] = gpu::mul_rn(x[0], x[0]) - x[1]; }
static void t_mul() {
    Dev<double> x(std::vector<double>{1 + 0x1p-30, 1 + 0x1p-29}), y(1);
    gpu::launch(k_mul, dim3(1), dim3(1), 0, nullptr, x.p, y.p);
    check("product rounded on its own", y.get()[0] == 0);
}
// ---- ldmatrix x1 / x4.trans as a pure transpose / copy
__global__ void k_ldsm(const uint16_t *in, uint32_t *o1, uint32_t *o4t) {
    SHARED(uint16_t, s, [32 * 8]);
    for (int i = threadIdx.x; i < 256; i += 32) s[i] = in[i];
    __syncwarp();
    uint32_t r1[1], r4[4];
    gpu::ldmatrix<1>(r1, gpu::smem_u32(s + (threadIdx.x & 7) * 8));
    gpu::ldmatrix<4, true>(r4, gpu::smem_u32(s + threadIdx.x * 8));
    o1[threadIdx.x] = r1[0];
    for (int i = 0; i < 4; ++i) o4t[i * 32 + threadIdx.x] = r4[i];
}
static void t_ldsm() {
    std::vector<uint16_t> in(256);
    for (int i = 0; i < 256; ++i) in[i] = (uint16_t)i;
    Dev<uint16_t> d(in);
    Dev<uint32_t> a(32), b(128);
    gpu::launch(k_ldsm, dim3(1), dim3(32), 0, nullptr, d.p, a.p, b.p);
    auto x = a.get(), y = b.get();
    bool ok1 = true, ok4 = true;
    for (int e = 0; e < 64; ++e) ok1 &= ((const uint16_t *)x.data())[e] == e; // row-major, two per lane
    for (int m = 0; m < 4; ++m)
        for (int r = 0; r < 8; ++r)
            for (int c = 0; c < 8; ++c) ok4 &= ((const uint16_t *)(y.data() + m * 32))[c * 8 + r] == m * 64 + r * 8 + c;
    check("ldmatrix.x1", ok1);
    check("ldmatrix.x4.trans", ok4);
}
#if !defined(NO_SM90) // needs sm_90a under nvcc
#include "prims_sm90.h"
#endif
// ---- plain CUDA: shuffles, votes, block reductions, atomics, named barriers
__global__ void k_warp(int *o) {
    const int t = threadIdx.x, l = t & 31;
    int *q = o + t;
    const int S = 128;
    q[0 * S] = __shfl_sync(~0u, t, 5);
    q[1 * S] = __shfl_up_sync(~0u, t, 3);
    q[2 * S] = __shfl_down_sync(~0u, t, 3);
    q[3 * S] = __shfl_xor_sync(~0u, t, 9);
    q[4 * S] = __shfl_sync(~0u, t, 9, 8);
    q[5 * S] = __shfl_down_sync(~0u, t, 2, 8);
    q[6 * S] = (int)__ballot_sync(~0u, l % 3 == 0);
    q[7 * S] = __any_sync(~0u, t == 77);
    q[8 * S] = __all_sync(~0u, t < 64);
    q[9 * S] = (int)__match_any_sync(~0u, (unsigned)l / 4);
    q[10 * S] = __syncthreads_or(t == 3);
    q[11 * S] = __syncthreads_and(t < 200);
    q[12 * S] = __syncthreads_count(t % 5 == 0);
    SHARED(int, acc, [1]);
    if (t == 0) acc[0] = 0;
    __syncthreads();
    atomicAdd(acc, t);
    __syncthreads();
    q[13 * S] = acc[0];
    if (l < 16) q[14 * S] = __shfl_xor_sync(0xffffu, t, 1);
    else q[14 * S] = __shfl_xor_sync(0xffff0000u, t, 2); // two halves of a warp apart
    SHARED(int, box, [64]);
    if (t < 64) {
        box[t] = t * 3;
        gpu::bar_arrive(1, 128);
        q[15 * S] = 0;
    } else {
        gpu::bar_sync(1, 128);
        q[15 * S] = box[t - 64];
    }
}
static void t_warp() {
    Dev<int> d(16 * 128);
    gpu::launch(k_warp, dim3(1), dim3(128), 0, nullptr, d.p);
    auto v = d.get();
    bool ok = true;
    for (int t = 0; t < 128; ++t) {
        int l = t & 31, b = t & ~31, g8 = t & ~7;
        unsigned bal = 0;
        for (int i = 0; i < 32; ++i) bal |= (unsigned)(i % 3 == 0) << i;
        int want[16] = {b + 5,
                        l < 3 ? t : t - 3,
                        l > 28 ? t : t + 3,
                        b + (l ^ 9),
                        g8 + 1,
                        (t & 7) + 2 > 7 ? t : t + 2,
                        (int)bal,
                        b == 64,
                        b < 64,
                        (int)(0xfu << (l / 4 * 4)),
                        1,
                        1,
                        26,
                        8128,
                        l < 16 ? t ^ 1 : t ^ 2,
                        t < 64 ? 0 : (t - 64) * 3};
        for (int i = 0; i < 16; ++i)
            if (v[i * 128 + t] != want[i]) {
                ok = false;
                printf("  warp test %d, thread %d: %d, expected %d\n", i, t, v[i * 128 + t], want[i]);
                t = 128;
                break;
            }
    }
    check("shuffles, votes, barriers, atomics", ok);
}
__global__ void k_exp2(const float *x, float *y) { y[threadIdx.x] = gpu::exp2_approx(x[threadIdx.x]); }
static void t_exp2() {
    std::vector<float> x;
    for (int i = 0; i < 32; ++i) x.push_back(i < 29 ? -28.f + (float)i * 1.7f : i == 29 ? -INFINITY : i == 30 ? -200.f : INFINITY);
    Dev<float> dX(x), dY(32);
    gpu::launch(k_exp2, dim3(1), dim3(32), 0, nullptr, dX.p, dY.p);
    auto y = dY.get();
    bool ok = true;
    for (int i = 0; i < 29; ++i) ok = ok && std::fabs(y[i] - std::exp2((double)x[i])) <= std::exp2((double)x[i]) * 0x1p-22;
    check("exp2_approx", ok && y[29] == 0 && y[30] == 0 && std::isinf(y[31]));
}
// ---- the device as the host sees it
static int attribute(cudaDeviceAttr a) {
    int v = -1;
    return cudaDeviceGetAttribute(&v, a, 0) == cudaSuccess ? v : -1;
}
static void t_device() {
    const int cc = attribute(cudaDevAttrComputeCapabilityMajor) * 10 + attribute(cudaDevAttrComputeCapabilityMinor);
    const int block = attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin);
    check("attributes", cc >= 80 && attribute(cudaDevAttrMultiProcessorCount) > 0 && attribute(cudaDevAttrL2CacheSize) > 0 &&
                            block >= 99 << 10 && block < attribute(cudaDevAttrMaxSharedMemoryPerMultiprocessor) &&
                            attribute(cudaDevAttrClusterLaunch) == (cc >= 90) && (cc != 90 || block == 227 << 10));
#if !defined(__CUDACC__)
    setenv("EMU_CC", "86", 1), setenv("EMU_SMS", "132", 1);
    check("attributes by EMU_CC and EMU_SMS",
          attribute(cudaDevAttrComputeCapabilityMajor) == 8 && attribute(cudaDevAttrComputeCapabilityMinor) == 6 &&
              attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin) == 99 << 10 && attribute(cudaDevAttrMultiProcessorCount) == 132);
    check("shared memory by EMU_CC",
          cudaFuncSetAttribute(k_exp2, cudaFuncAttributeMaxDynamicSharedMemorySize, (99 << 10) + 1) != cudaSuccess &&
              cudaGetLastError() == cudaErrorInvalidValue);
    setenv("EMU_CC", "90", 1), unsetenv("EMU_SMS");
#endif
}
__global__ void k_tanh(const float *x, float *y) { y[threadIdx.x] = gpu::tanh_approx(x[threadIdx.x]); }
static void t_tanh() {
    std::vector<float> x;
    for (int i = 0; i < 32; ++i)
        x.push_back(i < 29 ? std::ldexp((float)(i % 2 ? i : -i), i % 7 - 6) : i == 29 ? -INFINITY : i == 30 ? NAN : 90.f);
    Dev<float> dX(x), dY(32);
    gpu::launch(k_tanh, dim3(1), dim3(32), 0, nullptr, dX.p, dY.p);
    auto y = dY.get();
    bool ok = true;
    for (int i = 0; i < 29; ++i) ok = ok && std::fabs(y[i] - std::tanh((double)x[i])) <= std::fabs(std::tanh((double)x[i])) * 0x1.02p-11;
    check("tanh_approx", ok && y[29] == -1 && std::isnan(y[30]) && y[31] == 1);
}

// ---- launches that may begin before the kernel before them has ended
enum { CHAIN = 6, CHAIN_THREADS = 64, CHAIN_BLOCKS = 7, CHAIN_VALUES = CHAIN_THREADS * CHAIN_BLOCKS };
// What another block of the kernel before wrote; the factor is no kernel's.
__global__ void k_chain(const float *x, float *y, const float *factor) {
    const int i = (int)blockIdx.x * CHAIN_THREADS + (int)threadIdx.x;
    const float f = factor[i % CHAIN_THREADS];
    gpu::grid_wait();
    const float v = x[CHAIN_VALUES - 1 - i];
    gpu::grid_release();
    y[i] = fmaf(v, f, 1);
}
static void enqueue_chain(const Dev<float> *a, const Dev<float> &factor, cudaStream_t s) {
    const dim3 grid(CHAIN_BLOCKS), block(CHAIN_THREADS);
    for (int k = 0; k < CHAIN; k++) {
        const float *x = a[k % 2].p, *f = factor.p;
        cudaError_t e = cudaSuccess;
        if (k == 3) e = cudaMemcpyAsync(a[2].p, x, CHAIN_VALUES * sizeof(float), cudaMemcpyDeviceToDevice, s), x = a[2].p; // not a kernel
        if (e == cudaSuccess)
            e = k ? gpu::launch_dependent(k_chain, grid, block, 0, s, x, a[(k + 1) % 2].p, f)
                  : gpu::launch(k_chain, grid, block, 0, s, x, a[1].p, f);
        if (e != cudaSuccess) printf("CUDA: %s\n", cudaGetErrorString(e)), exit(2);
    }
}
static void t_chain() {
    std::vector<float> want(CHAIN_VALUES), factors(CHAIN_THREADS), last(CHAIN_VALUES);
    for (float &v : want) v = rnd();
    for (float &v : factors) v = rnd() / 2;
    const Dev<float> factor(factors);
    const Dev<float> a[3] = {Dev<float>(want), Dev<float>(CHAIN_VALUES), Dev<float>(CHAIN_VALUES)};
    cudaStream_t s;
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking);
    enqueue_chain(a, factor, s);
    cudaStreamBeginCapture(s, cudaStreamCaptureModeThreadLocal);
    enqueue_chain(a, factor, s);
    const bool captured = cudaStreamEndCapture(s, &graph) == cudaSuccess && cudaGraphInstantiateWithFlags(&exec, graph, 0) == cudaSuccess;
    for (int i = 0; i < 2 && captured; i++) cudaGraphLaunch(exec, s);
    const bool done = cudaStreamSynchronize(s) == cudaSuccess;
    for (int k = 0; k < 3 * CHAIN; k++) {
        for (int i = 0; i < CHAIN_VALUES; i++)
            last[(size_t)i] = fmaf(want[(size_t)(CHAIN_VALUES - 1 - i)], factors[(size_t)(i % CHAIN_THREADS)], 1);
        want.swap(last);
    }
    cudaMemcpy(last.data(), a[0].p, CHAIN_VALUES * sizeof(float), cudaMemcpyDeviceToHost);
    check("dependent launches, on a stream and in a graph", captured && done && last == want);
#if !defined(__CUDACC__)
    const char *when = getenv("EMU_PDL");
    check("dependent launches begin before", (emu::stats().begun == 3 * 2 * (CHAIN - 2)) == !(when && *when == 'l'));
#endif
    cudaGraphExecDestroy(exec), cudaGraphDestroy(graph), cudaStreamDestroy(s);
}
int main() {
#if !defined(__CUDACC__)
    setenv("EMU_CC", "90", 1); // the cases are Hopper's
#endif
    t_device();
    t_chain();
    t_exp2();
    t_tanh();
    t_warp();
    t_ldsm();
    t_tf32();
    t_mul();
    t_mma<half, 1, 1, false>("mma f16");
    t_mma<half, 4, 4, true>("mma f16 4x4, B transposed");
    t_mma<__nv_bfloat16, 2, 3, false>("mma bf16 2x3");
    t_mma<__nv_bfloat16, 1, 2, true>("mma bf16, B transposed");
#if !defined(NO_SM90)
    t_sm90();
#endif
    int passed = g_run - g_bad;
#if !defined(__CUDACC__)
    g_bad += emu::errors();
#endif
    printf("prims_test: %d passed, %d failed, 0 not run\n", passed, g_bad);
    return g_bad != 0;
}
