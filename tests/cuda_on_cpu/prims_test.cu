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
// ---- TMA load: dump the box as it lies in shared memory; TMA store of a modified box
template <int RANK>
__global__ void k_tma(const __grid_constant__ gpu::TensorMap t, int bytes, int c0, int c1, int c2, int c3, int c4, uint8_t *out) {
    DYN_SHARED(sm);
    SHARED(uint64_t, bar, [1]);
    const uint32_t b = gpu::smem_u32(bar), s = gpu::smem_u32(sm);
    if (threadIdx.x == 0) {
        gpu::mbar_init(b, 1);
        gpu::fence_barrier_init();
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        gpu::tma_prefetch(&t);
        if constexpr (RANK == 2) gpu::tma_load(s, &t, b, c0, c1);
        if constexpr (RANK == 3) gpu::tma_load(s, &t, b, c0, c1, c2);
        if constexpr (RANK == 4) gpu::tma_load(s, &t, b, c0, c1, c2, c3);
        if constexpr (RANK == 5) gpu::tma_load(s, &t, b, c0, c1, c2, c3, c4);
        gpu::mbar_arrive_expect_tx(b, (uint32_t)bytes); // after the copy: the count may go below zero meanwhile
    }
    gpu::mbar_wait(b, 0);
    for (int i = threadIdx.x; i < bytes; i += blockDim.x) out[i] = sm[i];
}
template <int RANK, class T = uint16_t>
void t_tma(const char *name, int swizzle, std::vector<uint64_t> dim, std::vector<uint32_t> box, std::vector<int> c) {
    size_t n = 1;
    uint64_t st[5];
    for (int i = 0; i < RANK; ++i) {
        n *= dim[i];
        st[i] = n * sizeof(T);
    }
    std::vector<T> g(n);
    for (size_t i = 0; i < n; ++i) g[i] = (T)(i * 7 + 1);
    Dev<T> d(g);
    size_t bn = 1;
    for (int i = 0; i < RANK; ++i) bn *= box[i];
    gpu::TensorMap t;
    c.resize(5);
    Dev<uint8_t> out(bn * sizeof(T));
    if (gpu::tensor_map(&t, sizeof(T) == 4 ? gpu::MAP_F32 : gpu::MAP_F16, RANK, d.p, dim.data(), st, box.data(), swizzle)) {
        check(name, false);
        return;
    }
    gpu::launch(k_tma<RANK>, dim3(1), dim3(64), bn * sizeof(T), nullptr, t, (int)(bn * sizeof(T)), c[0], c[1], c[2], c[3], c[4], out.p);
    std::vector<uint8_t> ref(bn * sizeof(T));
    for (size_t e = 0; e < bn; ++e) {
        size_t r = e, off = 0, mul = 1;
        bool in = true;
        for (int i = 0; i < RANK; ++i) {
            long x = c[i] + (long)(r % box[i]);
            r /= box[i];
            in &= x >= 0 && x < (long)dim[i];
            off += (size_t)x * mul;
            mul *= dim[i];
        }
        T v = in ? g[off] : 0;
        size_t a = e * sizeof(T), row = a / (16u << swizzle), ch = a / 16 % (1u << swizzle);
        if (swizzle) {
            size_t ph = swizzle == 3 ? row % 8 : swizzle == 2 ? row / 2 % 4 : row / 4 % 2;
            a = row * (16u << swizzle) + (ch ^ ph) * 16 + a % 16;
        }
        memcpy(&ref[a], &v, sizeof(T));
    }
    check(name, out.get() == ref);
}
// a box of T from shared memory, in two halves of its rows, each a group of its own: the first half's source is used again
template <class T> __global__ void k_tma_st(const __grid_constant__ gpu::TensorMap t, int c0, int c1, T *seen, const T *y) {
    DYN_SHARED(sm);
    T *box = reinterpret_cast<T *>(sm);
    const int n = 1024 / (int)sizeof(T), row = 128 / (int)sizeof(T);
    for (int half = 0; half < 2; half++) {
        for (int i = threadIdx.x; i < n; i += blockDim.x) box[i] = (T)(half * n + i + 1);
        gpu::fence_proxy_async();
        __syncthreads();
        if (threadIdx.x == 0) {
            gpu::tma_store(&t, gpu::smem_u32(sm), c0, c1 + 8 * half);
            gpu::bulk_commit();
            gpu::bulk_wait_read<0>();
        }
        __syncthreads();
    }
    if (threadIdx.x == 0) { // its own stores: once they have been waited for, they can be read
        gpu::bulk_wait<1>();
        for (int i = 0; i < row; i++) seen[i] = y[i];
        gpu::bulk_wait<0>();
        for (int i = 0; i < row; i++) seen[row + i] = y[8 * (row + 8) + i]; // a row of y is 8 longer
    }
}
template <class T> static void t_tma_store(const char *name, int x, int y) {
    const int row = 128 / (int)sizeof(T), W = row + 8, H = 20;
    const uint64_t dim[2] = {(uint64_t)W, H}, st[1] = {W * sizeof(T)};
    const uint32_t box[2] = {(uint32_t)row, 8};
    std::vector<T> ref(W * H, 0), seen;
    Dev<T> d(ref), s(2 * row);
    gpu::TensorMap t;
    if (gpu::tensor_map(&t, sizeof(T) == 4 ? gpu::MAP_F32 : gpu::MAP_F16, 2, d.p, dim, st, box, 0)) {
        check(name, false);
        return;
    }
    gpu::launch(k_tma_st<T>, dim3(1), dim3(64), 1024, nullptr, t, x, y, s.p, (const T *)d.p);
    for (int r = 0; r < 16; ++r)
        for (int c = 0; c < row; ++c)
            if (r + y >= 0 && r + y < H && c + x < W) ref[(r + y) * W + c + x] = (T)(r * row + c + 1);
    seen.insert(seen.end(), ref.begin(), ref.begin() + row);
    seen.insert(seen.end(), ref.begin() + 8 * W, ref.begin() + 8 * W + row);
    check(name, d.get() == ref && s.get() == seen);
}
// ---- wgmma: shared-memory images come from the host, laid out from the documented canonical layouts
struct WgCase {
    uint64_t da, db;
    int dk_a, dk_b, steps;
}; // descriptor templates (address 0), advance per k16 step, steps
template <class T, int N, int TA, int TB, bool RS>
__global__ void k_wgmma(const uint8_t *img, int bytes, int boff, WgCase w, const T *A, float *D) {
    DYN_SHARED(sm);
    for (int i = threadIdx.x; i < bytes; i += blockDim.x) sm[i] = img[i];
    gpu::fence_proxy_async();
    __syncthreads();
    const uint32_t s = gpu::smem_u32(sm);
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5;
    float d[N / 2];
    GPU_FOR (int i = 0; i < N / 2; ++i) d[i] = 2.f;
    gpu::fence_operand(d);
    gpu::wgmma_fence();
    for (int k = 0; k < w.steps; ++k) {
        const uint64_t db = w.db + ((s + boff + k * w.dk_b) >> 4);
        if constexpr (RS) {
            uint32_t a[4];
            GPU_FOR (int i = 0; i < 4; ++i)
                a[i] = *reinterpret_cast<const uint32_t *>(A + (warp * 16 + (lane >> 2) + (i & 1) * 8) * 16 * w.steps + k * 16 +
                                                           (lane & 3) * 2 + (i >> 1) * 8);
            gpu::wgmma_fence();
            gpu::wgmma<T, N, TB>(d, a, db, k > 0);
        } else gpu::wgmma<T, N, TA, TB>(d, w.da + ((s + k * w.dk_a) >> 4), db, k > 0);
    }
    gpu::wgmma_commit();
    gpu::fence_operand(d);
    gpu::wgmma_wait<0>();
    gpu::fence_operand(d);
    GPU_FOR (int j = 0; j < N / 8; ++j)
        GPU_FOR (int i = 0; i < 4; ++i) D[(warp * 16 + (lane >> 2) + (i >> 1) * 8) * N + j * 8 + (lane & 3) * 2 + (i & 1)] = d[j * 4 + i];
}
// byte offset of (mn, k) in a tile of 16-bit elements; sw 0..3 = none, 32, 64, 128 bytes. K-major rows hold 8<<sw
// elements of k.
static size_t k_major(int sw, int mn, int k, int) {
    if (!sw) return (size_t)(mn / 8) * 256 + (k / 8) * 128 + mn % 8 * 16 + k % 8 * 2;
    size_t row = mn, ch = k / 8, ph = sw == 3 ? row % 8 : sw == 2 ? row / 2 % 4 : row / 4 % 2;
    return row * (16u << sw) + (ch ^ ph) * 16 + k % 8 * 2;
}
static size_t mn_major(int sw, int mn, int k, int kk) { // blocks of 8<<sw elements of mn; within one, a row per k
    if (!sw) return (size_t)(mn / 8) * 128 + (size_t)(k / 8) * 128 * 64 + k % 8 * 16 + mn % 8 * 2;
    int w = 8 << sw;
    size_t row = k, ch = mn % w / 8, ph = sw == 3 ? row % 8 : sw == 2 ? row / 2 % 4 : row / 4 % 2;
    return (size_t)(mn / w) * kk * (16u << sw) + row * (16u << sw) + (ch ^ ph) * 16 + mn % 8 * 2;
}
template <class T, int N, int TA, int TB, bool RS> void t_wgmma(const char *name, int sw, int sw_mn = 3) {
    const int steps = (TA || TB || RS) ? 2 : sw == 3 ? 4 : sw == 2 ? 2 : 1, K = steps * 16;
    const int swa = TA ? sw_mn : sw, swb = TB ? sw_mn : (TA || RS) ? 3 : sw;
    auto A = rnd_vec<T>(64 * K), B = rnd_vec<T>((size_t)N * K);
    std::vector<float> ref(64 * N);
    const int boff = 64 * 1024, bytes = 128 * 1024;
    std::vector<uint8_t> img(bytes, 0xff);
    for (int m = 0; m < 64; ++m)
        for (int k = 0; k < K; ++k) memcpy(&img[TA ? mn_major(swa, m, k, K) : k_major(RS ? 3 : swa, m, k, K)], &A[m * K + k], 2);
    for (int n = 0; n < N; ++n)
        for (int k = 0; k < K; ++k) memcpy(&img[boff + (TB ? mn_major(swb, n, k, K) : k_major(swb, n, k, K))], &B[(size_t)n * K + k], 2);
    static const int mode[4] = {0, 3, 2, 1};
    auto desc = [&](int s, bool t) -> uint64_t {
        uint32_t lbo, sbo;
        if (!t) {
            lbo = s ? 16 : 128;
            sbo = s ? 8 * (16u << s) : 256;
        } else if (s) {
            lbo = (uint32_t)K * (16u << s);
            sbo = 8 * (16u << s);
        } else {
            lbo = 128 * 64;
            sbo = 128;
        }
        return (uint64_t)(lbo >> 4) << 16 | (uint64_t)(sbo >> 4) << 32 | (uint64_t)mode[s] << 62;
    };
    auto adv = [&](int s, bool t) { return t ? (s ? 16 * (16 << s) : 2 * 128 * 64) : 32; };
    WgCase w{desc(swa, TA), desc(swb, TB), adv(swa, TA), adv(swb, TB), steps};
    Dev<uint8_t> di(img);
    Dev<T> dA(A);
    Dev<float> dD(64 * N);
    cudaError_t e = gpu::launch(k_wgmma<T, N, TA, TB, RS>, dim3(1), dim3(128), (size_t)bytes, nullptr, di.p, bytes, boff, w, dA.p, dD.p);
    if (e != cudaSuccess) printf("%s: %s\n", name, cudaGetErrorString(e));
    for (int m = 0; m < 64; ++m)
        for (int n = 0; n < N; ++n)
            for (int k = 0; k < K; ++k) ref[m * N + n] += float(A[m * K + k]) * float(B[(size_t)n * K + k]);
    check(name, same(dD.get(), ref));
}
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
    for (int i = 0; i < 32; ++i) x.push_back(i < 29 ? std::ldexp((float)(i % 2 ? i : -i), i % 7 - 6) : i == 29 ? -INFINITY : i == 30 ? NAN : 90.f);
    Dev<float> dX(x), dY(32);
    gpu::launch(k_tanh, dim3(1), dim3(32), 0, nullptr, dX.p, dY.p);
    auto y = dY.get();
    bool ok = true;
    for (int i = 0; i < 29; ++i) ok = ok && std::fabs(y[i] - std::tanh((double)x[i])) <= std::fabs(std::tanh((double)x[i])) * 0x1.02p-11;
    check("tanh_approx", ok && y[29] == -1 && std::isnan(y[30]) && y[31] == 1);
}
int main() {
#if !defined(__CUDACC__)
    setenv("EMU_CC", "90", 1); // the cases are Hopper's
#endif
    t_device();
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
    t_tma<2>("TMA 2D", 0, {40, 12}, {16, 6}, {8, 4});
    t_tma<2>("TMA 2D out of bounds", 0, {40, 12}, {16, 6}, {-8, -2});
    t_tma<2>("TMA 2D far edge, 128B", 3, {72, 12}, {64, 8}, {16, 7});
    t_tma<2>("TMA 2D 64B", 2, {72, 20}, {32, 16}, {3, 1});
    t_tma<2>("TMA 2D 32B", 1, {72, 20}, {16, 16}, {9, -3});
    t_tma<3>("TMA 3D 128B", 3, {64, 5, 9}, {64, 2, 4}, {0, 4, -1});
    t_tma<4>("TMA 4D halo 128B", 3, {64, 9, 7, 2}, {64, 4, 3, 1}, {0, -1, 5, 1});
    t_tma<5>("TMA 5D", 0, {8, 3, 4, 5, 2}, {8, 2, 2, 2, 2}, {0, 2, -1, 4, 1});
    t_tma<2, float>("TMA 2D f32, 128B", 3, {40, 20}, {32, 16}, {12, -2});
    t_tma<4, float>("TMA 4D f32", 0, {12, 5, 4, 3}, {8, 3, 2, 2}, {-4, 3, 1, 0});
    t_tma_store<uint16_t>("TMA store 2D", 0, 0);
    t_tma_store<uint16_t>("TMA store 2D, clipped", 16, 7);
    t_tma_store<float>("TMA store 2D f32", 0, 0);
    t_tma_store<float>("TMA store 2D f32, clipped", 12, -1);
    t_wgmma<half, 64, 0, 0, false>("wgmma n64 K-major 128B", 3);
    t_wgmma<half, 128, 0, 0, false>("wgmma n128 K-major 128B", 3);
    t_wgmma<__nv_bfloat16, 256, 0, 0, false>("wgmma bf16 n256 K-major 128B", 3);
    t_wgmma<half, 32, 0, 0, false>("wgmma n32 K-major 128B", 3);
    t_wgmma<__nv_bfloat16, 96, 0, 0, false>("wgmma bf16 n96 K-major 128B", 3);
    t_wgmma<half, 192, 0, 0, false>("wgmma n192 K-major 128B", 3);
    t_wgmma<half, 64, 0, 0, false>("wgmma K-major 64B", 2);
    t_wgmma<half, 64, 0, 0, false>("wgmma K-major 32B", 1);
    t_wgmma<half, 64, 0, 0, false>("wgmma K-major, no swizzle", 0);
    t_wgmma<half, 128, 0, 1, false>("wgmma B N-major 128B", 3);
    t_wgmma<half, 64, 1, 0, false>("wgmma A M-major 128B", 3);
    t_wgmma<half, 64, 0, 1, false>("wgmma B N-major 64B", 3, 2);
    t_wgmma<half, 64, 0, 1, false>("wgmma B N-major, no swizzle", 3, 0);
    t_wgmma<half, 128, 0, 0, true>("wgmma A in registers", 3);
    t_wgmma<half, 32, 0, 0, true>("wgmma n32, A in registers", 3);
    t_wgmma<half, 96, 0, 0, true>("wgmma n96, A in registers", 3);
    t_wgmma<__nv_bfloat16, 192, 0, 1, true>("wgmma n192, A in registers, B N-major", 3);
    t_wgmma<half, 256, 0, 0, true>("wgmma n256, A in registers", 3);
    t_wgmma<__nv_bfloat16, 64, 0, 1, true>("wgmma A in registers, B N-major", 3);
#endif
    int passed = g_run - g_bad;
#if !defined(__CUDACC__)
    g_bad += emu::errors();
#endif
    printf("prims_test: %d passed, %d failed, 0 not run\n", passed, g_bad);
    return g_bad != 0;
}
