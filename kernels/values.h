// values.h -- runs of tensor elements of any storage type, in registers as f32: for kernels; include it instead of gpu_prims.h.
// Element `i` of a run of V is a multiple of V, and V a power of two up to 8: a run is then one or two aligned words. Values
// become f16 or bf16 by rounding to nearest even.
#ifndef DG_VALUES_H
#define DG_VALUES_H
#include "kernels/gpu_prims.h"
#include "kernels/kernels.h"
#include <string.h>

template <int BYTES> struct Word; // the largest single access that a run of this size allows
template <> struct Word<2> { typedef uint16_t type; };
template <> struct Word<4> { typedef uint32_t type; };
template <> struct Word<8> { typedef uint2 type; };
template <> struct Word<16> { typedef uint4 type; };
template <> struct Word<32> { typedef uint4 type; };

template <int V, typename T> GPU_FN void load_run(float (&v)[V], const T *p) {
    typedef typename Word<V *(int)sizeof(T)>::type W;
    enum { WORDS = V * (int)sizeof(T) / (int)sizeof(W), PER_WORD = V / WORDS };
    GPU_FOR (int w = 0; w < WORDS; w++) {
        const W word = ((const W *)p)[w];
        T e[PER_WORD];
        memcpy(e, &word, sizeof word);
        GPU_FOR (int i = 0; i < PER_WORD; i++) v[w * PER_WORD + i] = (float)e[i];
    }
}
template <int V, typename T> GPU_FN void store_run(T *p, const float (&v)[V]) {
    typedef typename Word<V *(int)sizeof(T)>::type W;
    enum { WORDS = V * (int)sizeof(T) / (int)sizeof(W), PER_WORD = V / WORDS };
    GPU_FOR (int w = 0; w < WORDS; w++) {
        T e[PER_WORD];
        GPU_FOR (int i = 0; i < PER_WORD; i++) e[i] = (T)v[w * PER_WORD + i];
        W word;
        memcpy(&word, e, sizeof word);
        ((W *)p)[w] = word;
    }
}
// The same where the type is known at run time only: one branch, the same for all threads.
template <int V> GPU_FN void load_floats(float (&v)[V], const void *p, DType type, size_t i) {
    if (type == DG_F32) load_run(v, (const float *)p + i);
    else if (type == DG_F16) load_run(v, (const __half *)p + i);
    else load_run(v, (const __nv_bfloat16 *)p + i);
}
template <int V> GPU_FN void store_floats(void *p, DType type, size_t i, const float (&v)[V]) {
    if (type == DG_F32) store_run((float *)p + i, v);
    else if (type == DG_F16) store_run((__half *)p + i, v);
    else store_run((__nv_bfloat16 *)p + i, v);
}
// Calls f with `p` as a pointer to elements of its type: one branch around many accesses, so that these are in flight together.
template <class F> GPU_FN void with_type(const void *p, DType type, const F &f) {
    if (type == DG_F32) f((const float *)p);
    else if (type == DG_F16) f((const __half *)p);
    else f((const __nv_bfloat16 *)p);
}
GPU_FN float as_stored(float v, DType type) { return type == DG_F32 ? v : type == DG_F16 ? (float)(__half)v : (float)(__nv_bfloat16)v; }

// n / d for 0 <= n < 2^31, by a product: a division takes some twenty instructions (Granlund and Montgomery, PLDI 1994).
struct Divider {
    uint32_t factor;
    int shift;
};
inline Divider divider(int d) {
    Divider q = {0, 0};
    while ((int64_t)1 << q.shift < d) q.shift++;
    q.factor = (uint32_t)((((uint64_t)1 << (31 + q.shift)) + (uint64_t)d - 1) / (uint64_t)d);
    return q;
}
GPU_FN int divide(int n, Divider d) { return (int)((uint32_t)((uint64_t)(2 * (uint32_t)n) * d.factor >> 32) >> d.shift); }

// ---- blocks over rows (pixels) of c channels ----------------------------------------------------------------------------
// A block's threads stand `across` side by side, a run of V channels each, `lanes` rows deep; threads left over rest.
// blockIdx.y counts the blocks side by side where one does not span all channels.
enum { ROW_THREADS = 256 };
struct RowBlock {
    int c, across, lanes;
};
struct RowPlace {
    int lane, channel; // channel: the first of the run
    bool active;
};
GPU_FN RowPlace row_place(const RowBlock &b, int run) {
    const int t = (int)threadIdx.x;
    const RowPlace at = {t / b.across, ((int)blockIdx.y * b.across + t % b.across) * run, false};
    return {at.lane, at.channel, at.lane < b.lanes && at.channel < b.c};
}
inline int row_run(int c) { return c % 8 ? 1 : 8; } // V: 16-byte accesses need whole runs
inline RowBlock row_block(int c, int run, int most_across) {
    const int runs = c / run, across = runs < most_across ? runs : most_across;
    return {c, across, ROW_THREADS / across};
}
inline unsigned row_columns(const RowBlock &b, int run) { return (unsigned)((b.c / run + b.across - 1) / b.across); }
inline int ceil_div(int a, int b) { return (a + b - 1) / b; }
inline size_t blocks_for(size_t work, size_t per_block) { return (work + per_block - 1) / per_block; }
// `rows` rows of `images` images, each thread making `per_thread` of them; `eights` is the kernel for whole runs. Both call grid_enter.
enum { RUN = 8 };
template <class A>
inline int launch_rows(void (*ones)(A, RowBlock), void (*eights)(A, RowBlock), bool whole_runs, int c, size_t rows, int per_thread,
                       int images, void *stream, const A &a) {
    const int run = whole_runs ? RUN : 1;
    const RowBlock b = row_block(c, run, ROW_THREADS);
    const dim3 grid((unsigned)blocks_for(rows, (size_t)(b.lanes * per_thread)), row_columns(b, run), (unsigned)images);
    return gpu::launch_dependent(whole_runs ? eights : ones, grid, dim3(ROW_THREADS), 0, (cudaStream_t)stream, a, b);
}

// The sum of each `lanes` neighbouring lanes of a warp, a power of two, in all of them; every lane takes part.
GPU_FN float warp_sum(float v, int lanes = 32) {
    for (int apart = lanes / 2; apart; apart /= 2) v += __shfl_xor_sync(~0u, v, apart);
    return v;
}

GPU_FN float sigmoid(float x) { return __fdividef(1, 1 + expf(-x)); } // to 2 units in the last place; 0 where expf is infinite
GPU_FN float silu_slope(float x) {
    const float s = sigmoid(x);
    return s * fmaf(x, 1 - s, 1); // stated, so that every caller rounds alike
}
// x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) = x sigmoid(2 sqrt(2/pi) (x + 0.044715 x^3)), which keeps the bits of small values
GPU_FN float gelu_tanh(float x) { return x * sigmoid(1.5957691216f * fmaf(0.044715f * x * x, x, x)); }
// The same by the hardware's tanh, for outputs of 16 bits: off by |x| 2^-12 at most, which at x < -1 is more than these round.
GPU_FN float gelu_tanh_fast(float x) {
    const float half = .5f * x, inner = x * fmaf(0.0356774081f, x * x, 0.7978845608f);
    return fmaf(half, gpu::tanh_approx(inner), half);
}
GPU_FN float gelu_tanh_slope(float x) {
    const float square = x * x, inner = fmaxf(1.5957691216f * fmaf(0.044715f * square, x, x), -80.f); // exp(80) is finite
    const float e = expf(-inner), s = __fdividef(1, 1 + e);
    return fmaf(x * s * (e * s), 1.5957691216f * fmaf(0.134145f, square, 1), s); // e s = 1 - s
}
#endif
