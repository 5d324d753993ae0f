// gpu_prims_sm90.h -- primitives of Hopper's kernels: named barriers, mbarriers, TMA, wgmma. Written as gpu_prims.h is: PTX under nvcc,
// a call into tests/cuda_on_cpu otherwise, and a case in prims_test.cu for each.
#ifndef DG_GPU_PRIMS_SM90_H
#define DG_GPU_PRIMS_SM90_H
#include "kernels/gpu_prims.h"
#if defined(__CUDACC__)
#include <cuda.h>
#endif

#define GPU_C2 int c0, int c1 // a box's coordinates
#define GPU_C3 GPU_C2, int c2
#define GPU_C4 GPU_C3, int c3
#define GPU_C5 GPU_C4, int c4

namespace gpu {
enum { MAP_F16, MAP_BF16, MAP_F32 }; // types of a tensor map
#if defined(__CUDACC__)
// ================================================================ nvcc
GPU_FN void bar_sync(int id, int n) { asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(n) : "memory"); }
GPU_FN void bar_arrive(int id, int n) { asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(n) : "memory"); }
GPU_FN bool elect_one() {
    uint32_t p;
    asm volatile("{.reg .pred p; elect.sync _|p, 0xffffffff; selp.u32 %0, 1, 0, p;}" : "=r"(p));
    return p != 0;
}

// The reverse of ldmatrix<4>: register i of all lanes is the i-th 8x8 matrix, whose row r goes where lane 8 i + r says.
GPU_FN void stmatrix(uint32_t a, const uint32_t (&r)[4]) {
    asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1,%2,%3,%4};" ::"r"(a), "r"(r[0]), "r"(r[1]), "r"(r[2]), "r"(r[3])
                 : "memory");
}
GPU_FN void mbar_init(uint32_t bar, uint32_t count) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(bar), "r"(count) : "memory");
}
GPU_FN void mbar_arrive(uint32_t bar) { asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(bar) : "memory"); }
GPU_FN void mbar_arrive_expect_tx(uint32_t bar, uint32_t bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(bar), "r"(bytes) : "memory");
}
GPU_FN void mbar_wait(uint32_t bar, uint32_t parity) {
    uint32_t ok;
    do
        asm volatile("{.reg .pred p; mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2; selp.u32 %0, 1, 0, p;}"
                     : "=r"(ok)
                     : "r"(bar), "r"(parity)
                     : "memory");
    while (!ok);
}
GPU_FN void fence_barrier_init() { asm volatile("fence.mbarrier_init.release.cluster; fence.proxy.async.shared::cta;" ::: "memory"); }
// Clusters. Their CTAs start together but not at once, and take their shared memory with them: before one reaches into another, and before
// it exits while another may still reach into it, all threads arrive at the cluster's barrier and wait there, whole warps at a time.
// Relaxed, an arrival makes known what fence_barrier_init has announced and nothing more; else it is a membar.gl as well.
GPU_FN uint32_t cluster_ctarank() {
    uint32_t r;
    asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(r));
    return r;
}
GPU_FN uint32_t cluster_nctarank() {
    uint32_t r;
    asm volatile("mov.u32 %0, %%cluster_nctarank;" : "=r"(r));
    return r;
}
GPU_FN void cluster_arrive() { asm volatile("barrier.cluster.arrive;" ::: "memory"); }
GPU_FN void cluster_arrive_relaxed() { asm volatile("barrier.cluster.arrive.relaxed;" ::: "memory"); }
GPU_FN void cluster_wait() { asm volatile("barrier.cluster.wait;" ::: "memory"); }
// the shared address of what lies at smem here in the CTA of that rank
GPU_FN uint32_t mapa(uint32_t smem, uint32_t rank) {
    uint32_t r;
    asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(r) : "r"(smem), "r"(rank));
    return r;
}
// Arrives at the barrier that mapa gave. It says that this thread has done its reads; what it wrote is made known to its own CTA alone
// (a release at the cluster's scope costs a membar.gl).
GPU_FN void mbar_arrive_remote(uint32_t bar) { asm volatile("mbarrier.arrive.shared::cluster.b64 _, [%0];" ::"r"(bar) : "memory"); }
GPU_FN void fence_proxy_async() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
using TensorMap = CUtensorMap;
GPU_FN void tma_prefetch(const TensorMap *t) { asm volatile("prefetch.tensormap [%0];" ::"l"(t) : "memory"); }
// A box of a tensor map at coordinates c0, c1, ... (in elements, from the innermost dimension) -> shared memory; its bytes count on bar. With
// a mask, into every CTA of the cluster whose rank's bit is set: to the same place there, counted on the barrier at bar's place there.
#define GPU_TMA_LOAD(RANK, PARAMS, LIST, MASK, ...)                                                                                        \
    GPU_FN void tma_load(uint32_t dst, const TensorMap *t, uint32_t bar, PARAMS) {                                                         \
        asm volatile("cp.async.bulk.tensor." RANK ".shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {" LIST            \
                     "}], [%2];" ::"r"(dst),                                                                                               \
                     "l"(t), "r"(bar), __VA_ARGS__                                                                                         \
                     : "memory");                                                                                                          \
    }                                                                                                                                      \
    GPU_FN void tma_load_multicast(uint32_t dst, const TensorMap *t, uint32_t bar, PARAMS, uint32_t mask) {                                \
        asm volatile("cp.async.bulk.tensor." RANK ".shared::cluster.global.tile.mbarrier::complete_tx::bytes.multicast::cluster [%0], "    \
                     "[%1, {" LIST "}], [%2], " MASK ";" ::"r"(dst),                                                                       \
                     "l"(t), "r"(bar), __VA_ARGS__, "h"((uint16_t)mask)                                                                    \
                     : "memory");                                                                                                          \
    }
GPU_TMA_LOAD("2d", GPU_C2, "%3,%4", "%5", "r"(c0), "r"(c1))
GPU_TMA_LOAD("3d", GPU_C3, "%3,%4,%5", "%6", "r"(c0), "r"(c1), "r"(c2))
GPU_TMA_LOAD("4d", GPU_C4, "%3,%4,%5,%6", "%7", "r"(c0), "r"(c1), "r"(c2), "r"(c3))
GPU_TMA_LOAD("5d", GPU_C5, "%3,%4,%5,%6,%7", "%8", "r"(c0), "r"(c1), "r"(c2), "r"(c3), "r"(c4))
GPU_FN void tma_store(const TensorMap *t, uint32_t src, int c0, int c1) {
    asm volatile("cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%0, {%2,%3}], [%1];" ::"l"(t), "r"(src), "r"(c0), "r"(c1)
                 : "memory");
}
GPU_FN void tma_store(const TensorMap *t, uint32_t src, int c0, int c1, int c2, int c3) {
    asm volatile("cp.async.bulk.tensor.4d.global.shared::cta.bulk_group [%0, {%2,%3,%4,%5}], [%1];" ::"l"(t), "r"(src), "r"(c0), "r"(c1),
                 "r"(c2), "r"(c3)
                 : "memory");
}
GPU_FN void tma_store(const TensorMap *t, uint32_t src, int c0, int c1, int c2, int c3, int c4) {
    asm volatile("cp.async.bulk.tensor.5d.global.shared::cta.bulk_group [%0, {%2,%3,%4,%5,%6}], [%1];" ::"l"(t), "r"(src), "r"(c0), "r"(c1),
                 "r"(c2), "r"(c3), "r"(c4)
                 : "memory");
}
GPU_FN void bulk_commit() { asm volatile("cp.async.bulk.commit_group;" ::: "memory"); }
// Of this thread's groups of stores all but the latest N have been read from shared memory; have been written, too
template <int N> GPU_FN void bulk_wait_read() { asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(N) : "memory"); }
template <int N> GPU_FN void bulk_wait() { asm volatile("cp.async.bulk.wait_group %0;" ::"n"(N) : "memory"); }

GPU_FN void wgmma_fence() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
GPU_FN void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int N> GPU_FN void wgmma_wait() { asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(N) : "memory"); }
template <int R> GPU_FN void setmaxnreg_inc() { asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(R)); }
template <int R> GPU_FN void setmaxnreg_dec() { asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(R)); }
#define GPU_L4  "%0,%1,%2,%3"
#define GPU_L8  GPU_L4 ",%4,%5,%6,%7"
#define GPU_L16 GPU_L8 ",%8,%9,%10,%11,%12,%13,%14,%15"
#define GPU_L32 GPU_L16 ",%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31"
#define GPU_L48 GPU_L32 ",%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47"
#define GPU_L64 GPU_L48 ",%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"
#define GPU_L96                                                                                                                            \
    GPU_L64 ",%64,%65,%66,%67,%68,%69,%70,%71,%72,%73,%74,%75,%76,%77,%78,%79"                                                             \
            ",%80,%81,%82,%83,%84,%85,%86,%87,%88,%89,%90,%91,%92,%93,%94,%95"
#define GPU_L128                                                                                                                           \
    GPU_L96 ",%96,%97,%98,%99,%100,%101,%102,%103,%104,%105,%106,%107,%108,%109,%110,%111"                                                 \
            ",%112,%113,%114,%115,%116,%117,%118,%119,%120,%121,%122,%123,%124,%125,%126,%127"
#define GPU_R4(o)  "+f"(d[o]), "+f"(d[o + 1]), "+f"(d[o + 2]), "+f"(d[o + 3])
#define GPU_R8(o)  GPU_R4(o), GPU_R4(o + 4)
#define GPU_R16(o) GPU_R8(o), GPU_R8(o + 8)
#define GPU_R32(o) GPU_R16(o), GPU_R16(o + 16)
#define GPU_R48    GPU_R32(0), GPU_R16(32)
#define GPU_R64    GPU_R32(0), GPU_R32(32)
#define GPU_R96    GPU_R64, GPU_R32(64)
#define GPU_R128   GPU_R96, GPU_R32(96)
#define GPU_WG_SS(n, ty, L, R, a, b, p, ta, tb)                                                                                            \
    asm volatile("{.reg .pred p; setp.ne.b32 p, %" p ", 0; wgmma.mma_async.sync.aligned.m64n" n "k16.f32." ty "." ty " {" L "}, %" a       \
                 ", %" b ", p, 1, 1, %" ta ", %" tb ";}"                                                                                   \
                 : R                                                                                                                       \
                 : "l"(da), "l"(db), "r"((int)acc), "n"(TA), "n"(TB))
#define GPU_WG_RS(n, ty, L, R, a0, a1, a2, a3, b, p, tb)                                                                                   \
    asm volatile("{.reg .pred p; setp.ne.b32 p, %" p ", 0; wgmma.mma_async.sync.aligned.m64n" n "k16.f32." ty "." ty " {" L "}, {%" a0     \
                 ",%" a1 ",%" a2 ",%" a3 "}, %" b ", p, 1, 1, %" tb ";}"                                                                   \
                 : R                                                                                                                       \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(db), "r"((int)acc), "n"(TB))
#define GPU_WG_SS_ANY(ty)                                                                                                                  \
    if constexpr (N == 8) GPU_WG_SS("8", ty, GPU_L4, GPU_R4(0), "4", "5", "6", "7", "8");                                                  \
    if constexpr (N == 16) GPU_WG_SS("16", ty, GPU_L8, GPU_R8(0), "8", "9", "10", "11", "12");                                             \
    if constexpr (N == 32) GPU_WG_SS("32", ty, GPU_L16, GPU_R16(0), "16", "17", "18", "19", "20");                                         \
    if constexpr (N == 64) GPU_WG_SS("64", ty, GPU_L32, GPU_R32(0), "32", "33", "34", "35", "36");                                         \
    if constexpr (N == 96) GPU_WG_SS("96", ty, GPU_L48, GPU_R48, "48", "49", "50", "51", "52");                                            \
    if constexpr (N == 128) GPU_WG_SS("128", ty, GPU_L64, GPU_R64, "64", "65", "66", "67", "68");                                          \
    if constexpr (N == 192) GPU_WG_SS("192", ty, GPU_L96, GPU_R96, "96", "97", "98", "99", "100");                                         \
    if constexpr (N == 256) GPU_WG_SS("256", ty, GPU_L128, GPU_R128, "128", "129", "130", "131", "132");
#define GPU_WG_RS_ANY(ty)                                                                                                                  \
    if constexpr (N == 8) GPU_WG_RS("8", ty, GPU_L4, GPU_R4(0), "4", "5", "6", "7", "8", "9", "10");                                       \
    if constexpr (N == 16) GPU_WG_RS("16", ty, GPU_L8, GPU_R8(0), "8", "9", "10", "11", "12", "13", "14");                                 \
    if constexpr (N == 32) GPU_WG_RS("32", ty, GPU_L16, GPU_R16(0), "16", "17", "18", "19", "20", "21", "22");                             \
    if constexpr (N == 64) GPU_WG_RS("64", ty, GPU_L32, GPU_R32(0), "32", "33", "34", "35", "36", "37", "38");                             \
    if constexpr (N == 96) GPU_WG_RS("96", ty, GPU_L48, GPU_R48, "48", "49", "50", "51", "52", "53", "54");                                \
    if constexpr (N == 128) GPU_WG_RS("128", ty, GPU_L64, GPU_R64, "64", "65", "66", "67", "68", "69", "70");                              \
    if constexpr (N == 192) GPU_WG_RS("192", ty, GPU_L96, GPU_R96, "96", "97", "98", "99", "100", "101", "102");                           \
    if constexpr (N == 256) GPU_WG_RS("256", ty, GPU_L128, GPU_R128, "128", "129", "130", "131", "132", "133", "134");
// d (64 x N, this thread's N/2 accumulators) = A * B + (acc ? d : 0); TA/TB: 1 for M-/N-major operands
template <int N> constexpr bool wgmma_has = N == 8 || N == 16 || N == 32 || N == 64 || N == 96 || N == 128 || N == 192 || N == 256;
template <class T, int N, int TA = 0, int TB = 0> GPU_FN void wgmma(float (&d)[N / 2], uint64_t da, uint64_t db, bool acc) {
    static_assert(wgmma_has<N>, "add the shape");
    if constexpr (std::is_same<T, __half>::value) {
        GPU_WG_SS_ANY("f16")
    } else {
        GPU_WG_SS_ANY("bf16")
    }
}
template <class T, int N, int TB = 0> GPU_FN void wgmma(float (&d)[N / 2], const uint32_t (&a)[4], uint64_t db, bool acc) {
    static_assert(wgmma_has<N>, "add the shape");
    if constexpr (std::is_same<T, __half>::value) {
        GPU_WG_RS_ANY("f16")
    } else {
        GPU_WG_RS_ANY("bf16")
    }
}
// Accumulators pass this before wgmma_fence and after wgmma_commit, or the compiler may move what reads or writes them into the pipeline
// and then serialises it (ptxas C7515).
template <int N> GPU_FN void fence_operand(float (&d)[N]) {
#pragma unroll
    for (int i = 0; i < N; ++i) asm volatile("" : "+f"(d[i])::"memory");
}
// host: 0, or what went wrong
inline int tensor_map(TensorMap *t, int type, int rank, const void *base, const uint64_t *dims, const uint64_t *strides,
                      const uint32_t *box, int swizzle) {
    typedef CUresult (*Encode)(CUtensorMap *, CUtensorMapDataType, cuuint32_t, void *, const cuuint64_t *, const cuuint64_t *,
                               const cuuint32_t *, const cuuint32_t *, CUtensorMapInterleave, CUtensorMapSwizzle, CUtensorMapL2promotion,
                               CUtensorMapFloatOOBfill);
    static const CUtensorMapDataType types[] = {CU_TENSOR_MAP_DATA_TYPE_FLOAT16, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
                                                CU_TENSOR_MAP_DATA_TYPE_FLOAT32};
    const cuuint32_t one[5] = {1, 1, 1, 1, 1};
    void *p = nullptr;
    cudaDriverEntryPointQueryResult found;
    if (cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &p, 12000, cudaEnableDefault, &found) != cudaSuccess ||
        found != cudaDriverEntryPointSuccess)
        return 1;
    return ((Encode)p)(t, types[type], (cuuint32_t)rank, (void *)base, (const cuuint64_t *)dims, (const cuuint64_t *)strides, box, one,
                       CU_TENSOR_MAP_INTERLEAVE_NONE, (CUtensorMapSwizzle)swizzle, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                       CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
}
#else
// ================================================================ the emulator
inline void bar_sync(int id, int n GPU_LOC) { emu::bar_sync(id, n, false, loc_); }
inline void bar_arrive(int id, int n GPU_LOC) { emu::bar_sync(id, n, true, loc_); }
inline bool elect_one(GPU_LOC1) {
    emu::vote(emu::VOTE_BALLOT, ~0u, 1, loc_);
    return emu::cur->lane == 0;
}
inline void stmatrix(uint32_t a, const uint32_t (&r)[4] GPU_LOC) { emu::stmatrix(a, r, loc_); }
inline void mbar_init(uint32_t bar, uint32_t count GPU_LOC) { emu::mbar_init(bar, count, loc_); }
inline void mbar_arrive(uint32_t bar GPU_LOC) { emu::mbar_arrive(bar, 1, 0, loc_); }
inline void mbar_arrive_expect_tx(uint32_t bar, uint32_t bytes GPU_LOC) { emu::mbar_arrive(bar, 1, bytes, loc_); }
inline void mbar_wait(uint32_t bar, uint32_t parity GPU_LOC) { emu::mbar_wait(bar, parity, loc_); }
inline void fence_barrier_init(GPU_LOC1) { emu::fence_barrier_init(loc_); }
inline uint32_t cluster_ctarank(GPU_LOC1) { return emu::cluster_ctarank(loc_); }
inline uint32_t cluster_nctarank(GPU_LOC1) { return emu::cluster_nctarank(loc_); }
inline void cluster_arrive(GPU_LOC1) { emu::cluster_arrive(false, loc_); }
inline void cluster_arrive_relaxed(GPU_LOC1) { emu::cluster_arrive(true, loc_); }
inline void cluster_wait(GPU_LOC1) { emu::cluster_wait(loc_); }
inline uint32_t mapa(uint32_t smem, uint32_t rank GPU_LOC) { return emu::mapa(smem, rank, loc_); }
inline void mbar_arrive_remote(uint32_t bar GPU_LOC) { emu::mbar_arrive_remote(bar, loc_); }
inline void fence_proxy_async(GPU_LOC1) { emu::fence_proxy_async(loc_); }
struct alignas(64) TensorMap {
    unsigned char opaque[128];
};
inline const emu::TensorMap *tm_(const TensorMap *t) { return (const emu::TensorMap *)t; }
inline void tma_prefetch(const TensorMap *t GPU_LOC) { emu::tma_prefetch(tm_(t), loc_); }
#define GPU_TMA_LOAD(PARAMS, RANK, ...)                                                                                                    \
    inline void tma_load(uint32_t dst, const TensorMap *t, uint32_t bar, PARAMS GPU_LOC) {                                                 \
        const int c[] = {__VA_ARGS__};                                                                                                     \
        emu::tma_load(dst, tm_(t), bar, c, RANK, 0, loc_);                                                                                 \
    }                                                                                                                                      \
    inline void tma_load_multicast(uint32_t dst, const TensorMap *t, uint32_t bar, PARAMS, uint32_t mask GPU_LOC) {                        \
        const int c[] = {__VA_ARGS__};                                                                                                     \
        emu::tma_load(dst, tm_(t), bar, c, RANK, mask ? mask : 1u << 31, loc_);                                                            \
    }
GPU_TMA_LOAD(GPU_C2, 2, c0, c1)
GPU_TMA_LOAD(GPU_C3, 3, c0, c1, c2)
GPU_TMA_LOAD(GPU_C4, 4, c0, c1, c2, c3)
GPU_TMA_LOAD(GPU_C5, 5, c0, c1, c2, c3, c4)
inline void tma_store(const TensorMap *t, uint32_t src, int c0, int c1 GPU_LOC) {
    int c[] = {c0, c1};
    emu::tma_store(tm_(t), src, c, 2, loc_);
}
inline void tma_store(const TensorMap *t, uint32_t src, int c0, int c1, int c2, int c3 GPU_LOC) {
    int c[] = {c0, c1, c2, c3};
    emu::tma_store(tm_(t), src, c, 4, loc_);
}
inline void tma_store(const TensorMap *t, uint32_t src, int c0, int c1, int c2, int c3, int c4 GPU_LOC) {
    int c[] = {c0, c1, c2, c3, c4};
    emu::tma_store(tm_(t), src, c, 5, loc_);
}
inline void bulk_commit(GPU_LOC1) { emu::bulk_commit(loc_); }
template <int N> inline void bulk_wait_read(GPU_LOC1) { emu::bulk_wait(N, true, loc_); }
template <int N> inline void bulk_wait(GPU_LOC1) { emu::bulk_wait(N, false, loc_); }
inline void wgmma_fence(GPU_LOC1) { emu::wgmma_fence(loc_); }
inline void wgmma_commit(GPU_LOC1) { emu::wgmma_commit(loc_); }
template <int N> inline void wgmma_wait(GPU_LOC1) { emu::wgmma_wait(N, loc_); }
template <int R> inline void setmaxnreg_inc(GPU_LOC1) { emu::setmaxnreg(R, true, loc_); }
template <int R> inline void setmaxnreg_dec(GPU_LOC1) { emu::setmaxnreg(R, false, loc_); }
template <class T, int N, int TA = 0, int TB = 0> inline void wgmma(float (&d)[N / 2], uint64_t da, uint64_t db, bool acc GPU_LOC) {
    emu::wgmma(d, N, nullptr, da, db, acc, !std::is_same<T, __half>::value, TA, TB, loc_);
}
template <class T, int N, int TB = 0> inline void wgmma(float (&d)[N / 2], const uint32_t (&a)[4], uint64_t db, bool acc GPU_LOC) {
    emu::wgmma(d, N, a, 0, db, acc, !std::is_same<T, __half>::value, false, TB, loc_);
}
template <int N> inline void fence_operand(float (&)[N]) {}
inline int tensor_map(TensorMap *t, int type, int rank, const void *base, const uint64_t *dims, const uint64_t *strides,
                      const uint32_t *box, int swizzle) {
    return emu::tensor_map_encode((emu::TensorMap *)t, type == MAP_F32 ? 4 : 2, rank, base, dims, strides, box, nullptr, swizzle);
}
#endif
// ================================================================ common
// launch, in clusters of CTAs that follow one another along x, which the grid must be a multiple of: at most 8
template <class... P, class... A>
inline cudaError_t launch_cluster(void (*k)(P...), dim3 grid, dim3 block, unsigned cluster, size_t smem, cudaStream_t s, A &&...a) {
    return launch_as(false, cluster, k, grid, block, smem, s, std::forward<A>(a)...);
}
enum { SWIZZLE_NONE = 0, SWIZZLE_32B = 1, SWIZZLE_64B = 2, SWIZZLE_128B = 3 };
// matrix descriptor of a 128-byte-swizzled K-major tile: rows of 128 bytes, 8-row groups 1024 bytes apart
GPU_FN uint64_t wgmma_desc_sw128(uint32_t smem) {
    return (uint64_t)(smem >> 4 & 0x3fff) | (uint64_t)1 << 16 | (uint64_t)(1024 >> 4) << 32 | (uint64_t)1 << 62;
}
// the descriptor of that form whose lower word, which counts 16 bytes, is `low` and `bytes` more
GPU_FN uint64_t wgmma_desc_at(uint64_t form, uint32_t low, int bytes) { return form >> 32 << 32 | (low + (uint32_t)(bytes >> 4)); }
GPU_FN uint64_t wgmma_desc(uint32_t smem, uint32_t lbo, uint32_t sbo, int mode) {
    return (uint64_t)(smem >> 4 & 0x3fff) | (uint64_t)(lbo >> 4) << 16 | (uint64_t)(sbo >> 4) << 32 | (uint64_t)mode << 62;
}
} // namespace gpu
#endif
