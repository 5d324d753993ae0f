// gpu_prims.h -- what kernels use that is not plain CUDA C++. Each primitive is a function with two bodies: PTX under nvcc, a call
// into tests/cuda_on_cpu otherwise. Kernels contain no asm and no <<<>>>; every function here has a case in
// tests/cuda_on_cpu/prims_test.cu. gpu_prims_sm90.h adds what only Hopper has.
// Asynchronous copies to shared memory: commit, wait, then __syncthreads.
#ifndef DG_GPU_PRIMS_H
#define DG_GPU_PRIMS_H
#if defined(__CUDACC__)
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <cstdint>
#include <type_traits>
#include <utility>
#define GPU_FN __device__ __forceinline__
#define GPU_LOC
#define GPU_LOC1
#define SHARED(T, name, dims) __shared__ T name dims
#define DYN_SHARED(name)      extern __shared__ __align__(1024) uint8_t name[]
#define GPU_FOR               _Pragma("unroll") for // a loop to be unrolled
#define GPU_LOOP              _Pragma("unroll 1") for // one not to be
#else
#include "cuda_on_cpu.h"
#define GPU_FN   inline
#define GPU_LOC  , ::emu::Loc loc_ = ::emu::Loc::here()
#define GPU_LOC1 ::emu::Loc loc_ = ::emu::Loc::here()
#define SHARED(T, name, dims)                                                                                                              \
    typedef T name##_type dims;                                                                                                            \
    static const char name##_tag = 0;                                                                                                      \
    name##_type &name = *(name##_type *)::emu::static_shared(&name##_tag, sizeof(name##_type), 16)
#define DYN_SHARED(name) uint8_t *name = ::emu::dyn_shared(1024)
#define GPU_FOR  for
#define GPU_LOOP for
#endif

namespace gpu {
#if defined(__CUDACC__)
// ================================================================ nvcc
GPU_FN uint32_t smem_u32(const void *p) { return (uint32_t)__cvta_generic_to_shared(p); }
template <int NUM, bool TRANS = false> GPU_FN void ldmatrix(uint32_t (&r)[NUM], uint32_t a) {
    static_assert(NUM == 1 || NUM == 2 || NUM == 4, "ldmatrix x1, x2 or x4");
    if constexpr (NUM == 4 && !TRANS)
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                     : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                     : "r"(a)
                     : "memory");
    if constexpr (NUM == 4 && TRANS)
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                     : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                     : "r"(a)
                     : "memory");
    if constexpr (NUM == 2 && !TRANS)
        asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0,%1}, [%2];" : "=r"(r[0]), "=r"(r[1]) : "r"(a) : "memory");
    if constexpr (NUM == 2 && TRANS)
        asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1}, [%2];" : "=r"(r[0]), "=r"(r[1]) : "r"(a) : "memory");
    if constexpr (NUM == 1 && !TRANS) asm volatile("ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%0}, [%1];" : "=r"(r[0]) : "r"(a) : "memory");
    if constexpr (NUM == 1 && TRANS)
        asm volatile("ldmatrix.sync.aligned.m8n8.x1.trans.shared.b16 {%0}, [%1];" : "=r"(r[0]) : "r"(a) : "memory");
}
// Fragments: which values of the three matrices lane = 4 g + t holds. Registers of a and b hold two values of neighbouring k,
// the first in the low half.
//
//   a, 16 rows x 16 k    k 2t, 2t+1    k 2t+8, 2t+9          b, 16 k x 8 columns    column g
//            row g       a[0]          a[2]                          k 2t, 2t+1     b[0]
//            row g+8     a[1]          a[3]                          k 2t+8, 2t+9   b[1]
//
//   d, 16 rows x 8 columns    column 2t    column 2t+1
//            row g            d[0]         d[1]
//            row g+8          d[2]         d[3]
//
// ldmatrix gives register i of lane 4 g + t values 2t and 2t+1 of row g of the i-th 8x8 matrix, the address of whose row r lane
// 8 i + r passes. So ldmatrix<4> is an a, when lane l points at row l % 16, and at k 8 where l >= 16.
// m16n8k8 in tf32 has a value in a register: a[0], a[1] at k t, a[2], a[3] at k t+4; b[0] at k t, b[1] at k t+4; d is the same.

// d[mt][nt] += a[mt] * b[nt], one m16n8k16 each
template <class T, int MT, int NT> GPU_FN void mma_m16n8k16(float (&d)[MT][NT][4], const uint32_t (&a)[MT][4], const uint32_t (&b)[NT][2]) {
#pragma unroll
    for (int m = 0; m < MT; ++m)
#pragma unroll
        for (int n = 0; n < NT; ++n) {
            if constexpr (std::is_same<T, __half>::value)
                asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
                             "{%0,%1,%2,%3};"
                             : "+f"(d[m][n][0]), "+f"(d[m][n][1]), "+f"(d[m][n][2]), "+f"(d[m][n][3])
                             : "r"(a[m][0]), "r"(a[m][1]), "r"(a[m][2]), "r"(a[m][3]), "r"(b[n][0]), "r"(b[n][1]));
            else
                asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
                             "{%8,%9}, {%0,%1,%2,%3};"
                             : "+f"(d[m][n][0]), "+f"(d[m][n][1]), "+f"(d[m][n][2]), "+f"(d[m][n][3])
                             : "r"(a[m][0]), "r"(a[m][1]), "r"(a[m][2]), "r"(a[m][3]), "r"(b[n][0]), "r"(b[n][1]));
        }
}
// the same in m16n8k8 with tf32 operands (f32 bits, rounded by to_tf32)
template <int MT, int NT> GPU_FN void mma_m16n8k8_tf32(float (&d)[MT][NT][4], const uint32_t (&a)[MT][4], const uint32_t (&b)[NT][2]) {
#pragma unroll
    for (int m = 0; m < MT; ++m)
#pragma unroll
        for (int n = 0; n < NT; ++n)
            asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
                         "{%0,%1,%2,%3};"
                         : "+f"(d[m][n][0]), "+f"(d[m][n][1]), "+f"(d[m][n][2]), "+f"(d[m][n][3])
                         : "r"(a[m][0]), "r"(a[m][1]), "r"(a[m][2]), "r"(a[m][3]), "r"(b[n][0]), "r"(b[n][1]));
}
// f32 bits rounded to the nearest tf32, ties away from zero
GPU_FN uint32_t to_tf32(uint32_t f) {
    uint32_t r;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(r) : "f"(__uint_as_float(f)));
    return r;
}
// makes the compiler hold a value in a register, in place of computing it anew where it is used
GPU_FN void hold(uint32_t &v) { asm volatile("" : "+r"(v)); }
// a product rounded to f64 on its own, never contracted with a sum
GPU_FN double mul_rn(double a, double b) { return __dmul_rn(a, b); }
// 2^x to 2^-22 relative; 0 below the normal numbers
GPU_FN float exp2_approx(float x) {
    float r;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(r) : "f"(x));
    return r;
}
// tanh x to 2^-11 relative
GPU_FN float tanh_approx(float x) {
    float r;
    asm("tanh.approx.f32 %0, %1;" : "=f"(r) : "f"(x));
    return r;
}
// 16 bytes to global memory at once; the compiler may make four accesses of an assignment.
GPU_FN void store16(void *to, const uint4 &w) {
    asm volatile("st.global.v4.u32 [%0], {%1,%2,%3,%4};" ::"l"(to), "r"(w.x), "r"(w.y), "r"(w.z), "r"(w.w) : "memory");
}
// 16 bytes global -> shared, zero-filled when !valid: src is not read then, and may be any address
GPU_FN void cp_async16(uint32_t dst, const void *src, bool valid = true) {
    asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(dst), "l"(src), "r"(valid ? 16 : 0) : "memory");
}
GPU_FN void cp_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int N> GPU_FN void cp_async_wait() { asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory"); }
// Launches in the order of a stream, where launch_dependent's kernel may begin before the kernel before it has ended (programmatic stream
// serialization, on devices from 9.0 on). Its threads call grid_wait before they read what another kernel may have written, or write at all:
// the kernel before has then ended, and all before that, which have waited themselves. After grid_release, in all blocks of a kernel, the
// blocks of the next one may take what room there is: nothing is seen by them before their own wait.
GPU_FN void grid_wait() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}
GPU_FN void grid_release() {
#if __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}
// Both, for a kernel of one phase: its first line.
GPU_FN void grid_enter() { grid_wait(), grid_release(); }
// Whether the machine code that a device of this capability runs has grid_wait in it: it is the newest of those that
// were compiled, which are not the same for all files
static inline bool grid_waits(int major) {
    int newest = 0;
    for (int arch : {__CUDA_ARCH_LIST__}) newest = arch > newest ? arch : newest;
    return newest >= 900 && major >= 9;
}
template <class... P, class... A>
inline cudaError_t start(bool dependent, unsigned cluster, void (*k)(P...), dim3 grid, dim3 block, size_t smem, cudaStream_t s, A &&...a) {
    cudaLaunchAttribute attribute[2] = {};
    unsigned n = 0;
    if (dependent) {
        attribute[n].id = cudaLaunchAttributeProgrammaticStreamSerialization;
        attribute[n++].val.programmaticStreamSerializationAllowed = 1;
    }
    if (cluster > 1) {
        attribute[n].id = cudaLaunchAttributeClusterDimension;
        attribute[n].val.clusterDim.x = cluster, attribute[n].val.clusterDim.y = attribute[n].val.clusterDim.z = 1;
        n++;
    }
    cudaLaunchConfig_t c = {};
    c.gridDim = grid;
    c.blockDim = block;
    c.dynamicSmemBytes = smem;
    c.stream = s;
    c.attrs = attribute;
    c.numAttrs = n;
    return cudaLaunchKernelEx(&c, k, std::forward<A>(a)...);
}
#else
// ================================================================ the emulator
inline uint32_t smem_u32(const void *p GPU_LOC) { return emu::smem_u32(p, loc_); }
template <int NUM, bool TRANS = false> inline void ldmatrix(uint32_t (&r)[NUM], uint32_t a GPU_LOC) {
    emu::ldmatrix(a, r, NUM, TRANS, loc_);
}
template <class T, int MT, int NT>
inline void mma_m16n8k16(float (&d)[MT][NT][4], const uint32_t (&a)[MT][4], const uint32_t (&b)[NT][2] GPU_LOC) {
    emu::mma_m16n8k16(&d[0][0][0], &a[0][0], &b[0][0], MT, NT, !std::is_same<T, __half>::value, loc_);
}
template <int MT, int NT>
inline void mma_m16n8k8_tf32(float (&d)[MT][NT][4], const uint32_t (&a)[MT][4], const uint32_t (&b)[NT][2] GPU_LOC) {
    emu::mma_m16n8k8_tf32(&d[0][0][0], &a[0][0], &b[0][0], MT, NT, loc_);
}
inline uint32_t to_tf32(uint32_t f) { return (f & 0x7f800000u) == 0x7f800000u ? f : (f + 0x1000u) & ~0x1fffu; }
inline void hold(uint32_t &) {}
inline double mul_rn(double a, double b) {
    volatile double product = a * b; // g++ contracts across functions
    return product;
}
inline float exp2_approx(float x) { return x < -126 ? 0 : exp2f(x); }
inline float tanh_approx(float x) { // off by as much as is allowed: rounded to 11 bits
    int exponent;
    const float fraction = frexpf(tanhf(x), &exponent);
    return ldexpf(rintf(fraction * 2048), exponent - 11);
}
inline void store16(void *to, const uint4 &w) { *(uint4 *)to = w; }
inline void cp_async16(uint32_t dst, const void *src, bool valid = true GPU_LOC) { emu::cp_async(dst, src, 16, valid ? 16 : 0, loc_); }
inline void cp_async_commit(GPU_LOC1) { emu::cp_async_commit(loc_); }
template <int N> inline void cp_async_wait(GPU_LOC1) { emu::cp_async_wait(N, loc_); }
inline void grid_wait(GPU_LOC1) { emu::grid_wait(loc_); }
inline void grid_release(GPU_LOC1) { emu::grid_release(loc_); }
inline void grid_enter(GPU_LOC1) { emu::grid_wait(loc_), emu::grid_release(loc_); }
inline bool grid_waits(int major) { return major >= 9; }
template <class... P, class... A>
inline cudaError_t start(bool dependent, unsigned cluster, void (*k)(P...), dim3 grid, dim3 block, size_t smem, cudaStream_t s, A &&...a) {
    return emu_launch_as(dependent, cluster, grid, block, smem, s, k, std::forward<A>(a)...);
}
#endif

template <class... P, class... A>
inline cudaError_t launch_as(bool dependent, unsigned cluster, void (*k)(P...), dim3 grid, dim3 block, size_t smem, cudaStream_t s,
                             A &&...a) {
    if (smem > 48 * 1024) { // raised, never lowered: a launch of more may be captured already, or wait in a stream
        cudaFuncAttributes now;
        cudaError_t e = cudaFuncGetAttributes(&now, k);
        if (e == cudaSuccess && now.maxDynamicSharedSizeBytes < (int)smem)
            e = cudaFuncSetAttribute(k, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)smem);
        if (e != cudaSuccess) return e;
    }
    int device = 0, major = 0;
    if (dependent) {
        cudaError_t e = cudaGetDevice(&device);
        if (e == cudaSuccess) e = cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device);
        if (e != cudaSuccess) return e;
    }
    return start(dependent && grid_waits(major), cluster, k, grid, block, smem, s, std::forward<A>(a)...);
}
template <class... P, class... A> inline cudaError_t launch(void (*k)(P...), dim3 grid, dim3 block, size_t smem, cudaStream_t s, A &&...a) {
    return launch_as(false, 1, k, grid, block, smem, s, std::forward<A>(a)...);
}
template <class... P, class... A>
inline cudaError_t launch_dependent(void (*k)(P...), dim3 grid, dim3 block, size_t smem, cudaStream_t s, A &&...a) {
    return launch_as(true, 1, k, grid, block, smem, s, std::forward<A>(a)...);
}
} // namespace gpu
#endif
