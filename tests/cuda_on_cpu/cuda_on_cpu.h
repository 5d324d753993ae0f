// cuda_on_cpu.h -- what g++/clang++ need to compile and run CUDA kernels as plain C++ on a CPU.
// Included instead of <cuda_runtime.h> when the compiler is not nvcc (see gpu_prims.h).
// One fiber per CUDA thread, one OS thread per block at a time, blocks spread with OpenMP.
#pragma once
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <tuple>
#include <type_traits>
#include <functional>
#include <memory>
#include <utility>
#include "cuda_runtime_api.h"
#if defined(__F16C__)
#include <immintrin.h>
#endif

#define CUDA_ON_CPU 1
#define __global__
#define __device__
#define __host__
#define __constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __grid_constant__
#define __align__(n) __attribute__((aligned(n)))
#define __shared__   static thread_local // fallback; prefer SHARED()/DYN_SHARED(): checked and poisoned

// ---------------------------------------------------------------- vector types
struct uint3 {
    unsigned x, y, z;
};
struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned a = 1, unsigned b = 1, unsigned c = 1) : x(a), y(b), z(c) {}
};
#define EMU_VEC(T, N2, N4, A2, A4)                                                                                                         \
    struct __attribute__((aligned(A2))) N2 {                                                                                               \
        T x, y;                                                                                                                            \
    };                                                                                                                                     \
    struct __attribute__((aligned(A4))) N4 {                                                                                               \
        T x, y, z, w;                                                                                                                      \
    };                                                                                                                                     \
    inline N2 make_##N2(T x, T y) { return {x, y}; }                                                                                       \
    inline N4 make_##N4(T x, T y, T z, T w) { return {x, y, z, w}; }
EMU_VEC(float, float2, float4, 8, 16)
EMU_VEC(int, int2, int4, 8, 16)
EMU_VEC(unsigned, uint2, uint4, 8, 16)

// ---------------------------------------------------------------- the emulator's interface
namespace emu {
struct Loc { // source position of a call, for diagnostics
    const char *file;
    int line;
    static constexpr Loc here(const char *f = __builtin_FILE(), int l = __builtin_LINE()) { return {f, l}; }
};
struct BlockPub {
    uint3 bid;
    dim3 bdim, gdim;
    uint8_t *smem;
};
struct FiberPub {
    uint3 tid;
    unsigned linear, warp, lane;
    BlockPub *blk;
};
extern __thread FiberPub *cur; // the running CUDA thread; null on the host side

[[noreturn]] void fail(Loc, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
struct LaunchDesc {
    dim3 grid, block;
    unsigned cluster; // CTAs, along x
    size_t smem;
    const void *kernel;
    void (*invoke)(void *);
    void *ctx;
    bool dependent; // it may begin before the kernel before it has ended: programmatic stream serialization
};
// What a stream has to do. begin: of a dependent launch, runs some of its blocks up to their grid_wait.
struct Work {
    std::function<int()> run;
    std::function<void()> begin;
    bool kernel;
};
struct Begun;                                           // those blocks
Begun *begin(const LaunchDesc &);                       // NULL: none may
int launch(const LaunchDesc &, Begun *begun = nullptr); // 0, or a cudaError_t value; the blocks that have begun go on
bool record(cudaStream_t, Work);                        // true: noted, for later; false: the null stream
int errors();                                           // defects reported so far (races, out-of-bounds, ...)
struct Stats {
    uint64_t ldsm_phases, ldsm_cycles, switches, blocks, mma, collectives, begun, launches,
        early; // early: launches of which some began before the one before had ended
};
Stats stats(bool reset = false);

// shared memory
void *static_shared(const void *tag, size_t bytes, size_t align);
uint8_t *dyn_shared(size_t align);
uint32_t smem_u32(const void *p, Loc);
void *smem_ptr(uint32_t a, size_t bytes, bool write, Loc); // checked; records the access

// barriers and warp collectives
void sync_threads(Loc);
int sync_threads_reduce(int op, int pred, Loc); // 0 or, 1 and, 2 count
void bar_sync(int id, int nthreads, bool arrive_only, Loc);
void sync_warp(unsigned mask, Loc);
enum ShflMode { SHFL_IDX, SHFL_UP, SHFL_DOWN, SHFL_XOR };
uint64_t shfl(int mode, unsigned mask, uint64_t v, int param, int width, Loc);
enum VoteMode {
    VOTE_BALLOT,
    VOTE_ANY,
    VOTE_ALL,
    VOTE_MATCH_ANY,
    RED_ADD,
    RED_MIN,
    RED_MAX,
    RED_AND,
    RED_OR,
    RED_XOR,
    RED_IADD,
    RED_IMIN,
    RED_IMAX
};
uint32_t vote(int mode, unsigned mask, uint32_t v, Loc);
void yield();

// tensor core, async copy (sm_80)
void ldmatrix(uint32_t addr, uint32_t *r, int num, bool trans, Loc);
void mma_m16n8k16(float *d, const uint32_t *a, const uint32_t *b, int mt, int nt, bool bf16, Loc);
void mma_m16n8k8_tf32(float *d, const uint32_t *a, const uint32_t *b, int mt, int nt, Loc);
void cp_async(uint32_t dst, const void *src, int bytes, int src_bytes, Loc);
void cp_async_commit(Loc);
void cp_async_wait(int n, Loc);

// sm_90
void stmatrix(uint32_t addr, const uint32_t *r, Loc);
void mbar_init(uint32_t bar, uint32_t count, Loc);
void mbar_inval(uint32_t bar, Loc);
void mbar_arrive(uint32_t bar, uint32_t count, uint32_t tx, Loc);
bool mbar_test(uint32_t bar, uint32_t parity, Loc);
void mbar_wait(uint32_t bar, uint32_t parity, Loc);
void fence_proxy_async(Loc);
struct TensorMap;
int tensor_map_encode(TensorMap *, int esize, int rank, const void *base, const uint64_t *dims, const uint64_t *strides,
                      const uint32_t *box, const uint32_t *estride, int swizzle);
void tma_prefetch(const TensorMap *, Loc);
void tma_load(uint32_t dst, const TensorMap *, uint32_t bar, const int *coord, int rank, uint32_t mask, Loc); // mask 0: no multicast
void tma_store(const TensorMap *, uint32_t src, const int *coord, int rank, Loc);
void bulk_commit(Loc);
void bulk_wait(int n, bool read_only, Loc);
void wgmma(float *d, int n, const uint32_t *a, uint64_t descA, uint64_t descB, bool acc, bool bf16, bool transA, bool transB, Loc);
void wgmma_fence(Loc);
void wgmma_commit(Loc);
void wgmma_wait(int n, Loc);
void setmaxnreg(int n, bool inc, Loc);
void grid_wait(Loc);
void grid_release(Loc);
void fence_barrier_init(Loc);
uint32_t cluster_ctarank(Loc);
uint32_t cluster_nctarank(Loc);
void cluster_arrive(bool relaxed, Loc);
void cluster_wait(Loc);
uint32_t mapa(uint32_t addr, uint32_t rank, Loc);
void mbar_arrive_remote(uint32_t bar, Loc);

// atomics
uint32_t atomic_u32(void *p, int op, uint32_t v, uint32_t cmp); // 0 add 1 min 2 max 3 exch 4 cas 5 or 6 and
uint64_t atomic_u64(void *p, int op, uint64_t v, uint64_t cmp);
float atomic_add_f32(float *p, float v);
} // namespace emu
#define EMU_LOC ::emu::Loc loc_ = ::emu::Loc::here()

#define threadIdx (::emu::cur->tid)
#define blockIdx  (::emu::cur->blk->bid)
#define blockDim  (::emu::cur->blk->bdim)
#define gridDim   (::emu::cur->blk->gdim)
constexpr int warpSize = 32;

// ---------------------------------------------------------------- CUDA device functions
inline void __syncthreads(EMU_LOC) { emu::sync_threads(loc_); }
inline int __syncthreads_or(int p, EMU_LOC) { return emu::sync_threads_reduce(0, p, loc_); }
inline int __syncthreads_and(int p, EMU_LOC) { return emu::sync_threads_reduce(1, p, loc_); }
inline int __syncthreads_count(int p, EMU_LOC) { return emu::sync_threads_reduce(2, p, loc_); }
inline void __syncwarp(unsigned m = ~0u, EMU_LOC) { emu::sync_warp(m, loc_); }
template <class T> inline T emu_shfl(int mode, unsigned m, T v, int p, int w, emu::Loc l) {
    static_assert(sizeof(T) <= 8 && std::is_trivially_copyable<T>::value, "shuffle of up to 8 bytes");
    uint64_t b = 0;
    std::memcpy(&b, &v, sizeof(T));
    b = emu::shfl(mode, m, b, p, w, l);
    std::memcpy(&v, &b, sizeof(T));
    return v;
}
template <class T> inline T __shfl_sync(unsigned m, T v, int s, int w = 32, EMU_LOC) { return emu_shfl(emu::SHFL_IDX, m, v, s, w, loc_); }
template <class T> inline T __shfl_up_sync(unsigned m, T v, unsigned d, int w = 32, EMU_LOC) {
    return emu_shfl(emu::SHFL_UP, m, v, (int)d, w, loc_);
}
template <class T> inline T __shfl_down_sync(unsigned m, T v, unsigned d, int w = 32, EMU_LOC) {
    return emu_shfl(emu::SHFL_DOWN, m, v, (int)d, w, loc_);
}
template <class T> inline T __shfl_xor_sync(unsigned m, T v, int x, int w = 32, EMU_LOC) {
    return emu_shfl(emu::SHFL_XOR, m, v, x, w, loc_);
}
inline unsigned __ballot_sync(unsigned m, int p, EMU_LOC) { return emu::vote(emu::VOTE_BALLOT, m, p != 0, loc_); }
inline int __any_sync(unsigned m, int p, EMU_LOC) { return emu::vote(emu::VOTE_ANY, m, p != 0, loc_); }
inline int __all_sync(unsigned m, int p, EMU_LOC) { return emu::vote(emu::VOTE_ALL, m, p != 0, loc_); }
inline unsigned __match_any_sync(unsigned m, unsigned v, EMU_LOC) { return emu::vote(emu::VOTE_MATCH_ANY, m, v, loc_); }
inline unsigned __reduce_add_sync(unsigned m, unsigned v, EMU_LOC) { return emu::vote(emu::RED_ADD, m, v, loc_); }
inline unsigned __reduce_min_sync(unsigned m, unsigned v, EMU_LOC) { return emu::vote(emu::RED_MIN, m, v, loc_); }
inline unsigned __reduce_max_sync(unsigned m, unsigned v, EMU_LOC) { return emu::vote(emu::RED_MAX, m, v, loc_); }
inline int __reduce_add_sync(unsigned m, int v, EMU_LOC) { return (int)emu::vote(emu::RED_IADD, m, (uint32_t)v, loc_); }
inline int __reduce_min_sync(unsigned m, int v, EMU_LOC) { return (int)emu::vote(emu::RED_IMIN, m, (uint32_t)v, loc_); }
inline int __reduce_max_sync(unsigned m, int v, EMU_LOC) { return (int)emu::vote(emu::RED_IMAX, m, (uint32_t)v, loc_); }
inline unsigned __reduce_and_sync(unsigned m, unsigned v, EMU_LOC) { return emu::vote(emu::RED_AND, m, v, loc_); }
inline unsigned __reduce_or_sync(unsigned m, unsigned v, EMU_LOC) { return emu::vote(emu::RED_OR, m, v, loc_); }
inline unsigned __reduce_xor_sync(unsigned m, unsigned v, EMU_LOC) { return emu::vote(emu::RED_XOR, m, v, loc_); }
inline void __threadfence() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
inline void __threadfence_block() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
inline void __nanosleep(unsigned) { emu::yield(); }
inline int atomicAdd(int *p, int v) { return (int)emu::atomic_u32(p, 0, (uint32_t)v, 0); }
inline unsigned atomicAdd(unsigned *p, unsigned v) { return emu::atomic_u32(p, 0, v, 0); }
inline unsigned long long atomicAdd(unsigned long long *p, unsigned long long v) { return emu::atomic_u64(p, 0, v, 0); }
inline float atomicAdd(float *p, float v) { return emu::atomic_add_f32(p, v); }
inline unsigned atomicMin(unsigned *p, unsigned v) { return emu::atomic_u32(p, 1, v, 0); }
inline unsigned atomicMax(unsigned *p, unsigned v) { return emu::atomic_u32(p, 2, v, 0); }
inline unsigned atomicExch(unsigned *p, unsigned v) { return emu::atomic_u32(p, 3, v, 0); }
inline unsigned atomicCAS(unsigned *p, unsigned c, unsigned v) { return emu::atomic_u32(p, 4, v, c); }
inline unsigned atomicOr(unsigned *p, unsigned v) { return emu::atomic_u32(p, 5, v, 0); }
inline unsigned atomicAnd(unsigned *p, unsigned v) { return emu::atomic_u32(p, 6, v, 0); }
template <class T> inline T __ldg(const T *p) { return *p; }
template <class T> inline T __ldcs(const T *p) { return *p; }
template <class T> inline void __stcs(T *p, T v) { *p = v; }
inline float __expf(float x) { return expf(x); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __frcp_rn(float a) { return 1.0f / a; }
inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __clz(int x) { return x ? __builtin_clz((unsigned)x) : 32; }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline float __uint_as_float(unsigned u) {
    float f;
    std::memcpy(&f, &u, 4);
    return f;
}
inline unsigned __float_as_uint(float f) {
    unsigned u;
    std::memcpy(&u, &f, 4);
    return u;
}
template <class T> inline T min(T a, T b) { return b < a ? b : a; }
template <class T> inline T max(T a, T b) { return a < b ? b : a; }

// ---------------------------------------------------------------- half, bfloat16 (the part kernels use)
namespace emu {
inline float h2f(uint16_t h) {
#if defined(__F16C__)
    return _cvtsh_ss(h);
#else
    uint32_t s = (uint32_t)(h & 0x8000) << 16, e = (h >> 10) & 31, m = h & 1023, u;
    float f;
    if (e == 31) u = s | 0x7f800000 | m << 13;
    else if (e) u = s | (e + 112) << 23 | m << 13;
    else {
        f = (float)m * 5.9604644775390625e-08f;
        std::memcpy(&u, &f, 4);
        u |= s;
    }
    std::memcpy(&f, &u, 4);
    return f;
#endif
}
inline uint16_t f2h(float f) { // round to nearest even
#if defined(__F16C__)
    return _cvtss_sh(f, 0);
#else
    uint32_t u;
    std::memcpy(&u, &f, 4);
    uint16_t s = (uint16_t)(u >> 16 & 0x8000);
    u &= 0x7fffffff;
    if (u > 0x7f800000) return s | 0x7fff;
    if (u >= 0x477ff000) return s | 0x7c00;
    if (u < 0x38800000) {
        float a;
        std::memcpy(&a, &u, 4);
        a += 0.5f;
        uint32_t r;
        std::memcpy(&r, &a, 4);
        return s | (uint16_t)(r - 0x3f000000);
    }
    u += 0xc8000fff + ((u >> 13) & 1);
    return s | (uint16_t)(u >> 13);
#endif
}
inline float b2f(uint16_t b) {
    uint32_t u = (uint32_t)b << 16;
    float f;
    std::memcpy(&f, &u, 4);
    return f;
}
inline uint16_t f2b(float f) {
    uint32_t u;
    std::memcpy(&u, &f, 4);
    if ((u & 0x7fffffff) > 0x7f800000) return 0x7fff;
    return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}
} // namespace emu
#define EMU_HALF(H, H2, TO, FROM)                                                                                                          \
    struct H {                                                                                                                             \
        uint16_t x;                                                                                                                        \
        H() = default;                                                                                                                     \
        H(float f) : x(emu::FROM(f)) {}                                                                                                    \
        operator float() const { return emu::TO(x); }                                                                                      \
    };                                                                                                                                     \
    struct __attribute__((aligned(4))) H2 {                                                                                                \
        H x, y;                                                                                                                            \
    };
EMU_HALF(__half, __half2, h2f, f2h)
EMU_HALF(__nv_bfloat16, __nv_bfloat162, b2f, f2b)
using half = __half;
using half2 = __half2;
inline float __half2float(__half h) { return h; }
inline __half __float2half(float f) { return f; }
inline __half __float2half_rn(float f) { return f; }
inline __half2 __floats2half2_rn(float a, float b) { return {__half(a), __half(b)}; }
inline __half2 __halves2half2(__half a, __half b) { return {a, b}; }
inline float2 __half22float2(__half2 h) { return {h.x, h.y}; }
inline __half2 __hadd2(__half2 a, __half2 b) { return {__half(float(a.x) + float(b.x)), __half(float(a.y) + float(b.y))}; }
inline float __bfloat162float(__nv_bfloat16 h) { return h; }
inline __nv_bfloat16 __float2bfloat16(float f) { return f; }
inline __nv_bfloat162 __floats2bfloat162_rn(float a, float b) { return {__nv_bfloat16(a), __nv_bfloat16(b)}; }

// ---------------------------------------------------------------- runtime API beyond its C part
template <class T> inline cudaError_t cudaMalloc(T **p, size_t n) { return cudaMalloc((void **)p, n); }
struct cudaFuncAttributes {
    int maxDynamicSharedSizeBytes;
};
cudaError_t cudaFuncGetAttributes_(cudaFuncAttributes *, const void *);
template <class F> inline cudaError_t cudaFuncGetAttributes(cudaFuncAttributes *a, F *f) {
    return cudaFuncGetAttributes_(a, (const void *)f);
}
cudaError_t cudaFuncSetAttribute_(const void *, cudaFuncAttribute, int);
template <class F> inline cudaError_t cudaFuncSetAttribute(F *f, cudaFuncAttribute a, int v) {
    return cudaFuncSetAttribute_((const void *)f, a, v);
}
// <cuda_runtime.h>'s cudaLaunchConfig_t names its fields gridDim/blockDim, which are macros here:
// gpu_prims.h's gpu::launch() is the portable spelling and calls this.
template <class... P> struct EmuCall {
    void (*kernel)(P...);
    std::tuple<std::remove_cv_t<P>...> args;
    emu::LaunchDesc desc;
    emu::Begun *begun;
};
template <class... P, class... A>
inline cudaError_t emu_launch_as(bool dependent, unsigned cluster, dim3 grid, dim3 block, size_t smem, cudaStream_t stream, void (*k)(P...),
                                 A &&...a) {
    typedef EmuCall<P...> Call;
    std::shared_ptr<Call> call(new Call{k, {std::forward<A>(a)...}, {}, nullptr});
    auto invoke = [](void *p) { std::apply(((Call *)p)->kernel, ((Call *)p)->args); };
    call->desc = {grid, block, cluster, smem, (const void *)k, invoke, call.get(), dependent};
    emu::Work work = {[call] {
                          emu::Begun *begun = call->begun;
                          call->begun = nullptr;
                          return emu::launch(call->desc, begun);
                      },
                      {},
                      true};
    if (dependent) work.begin = [call] { call->begun = emu::begin(call->desc); };
    return emu::record(stream, work) ? cudaSuccess : (cudaError_t)work.run();
}
template <class... P, class... A>
inline cudaError_t emu_launch(dim3 grid, dim3 block, size_t smem, cudaStream_t stream, void (*k)(P...), A &&...a) {
    return emu_launch_as(false, 1, grid, block, smem, stream, k, std::forward<A>(a)...);
}
