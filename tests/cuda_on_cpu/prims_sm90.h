// prims_sm90.h -- prims_test.cu's cases of what Hopper alone has: TMA, wgmma, clusters. Included there, after what they share.
#pragma once
// ---- stmatrix: as ldmatrix gives matrices, so they are stored; rows are in reverse order
__global__ void k_stsm(uint16_t *out) {
    SHARED(uint16_t, s, [32 * 8]);
    uint32_t r[4];
    for (uint32_t i = 0; i < 4; ++i) r[i] = (i * 64 + 2 * threadIdx.x) | (i * 64 + 2 * threadIdx.x + 1) << 16;
    gpu::stmatrix(gpu::smem_u32(s + (31 - threadIdx.x) * 8), r);
    __syncwarp();
    for (int i = threadIdx.x; i < 256; i += 32) out[i] = s[i];
}
static void t_stsm() {
    Dev<uint16_t> out(256);
    gpu::launch(k_stsm, dim3(1), dim3(32), 0, nullptr, out.p);
    auto y = out.get();
    bool ok = true;
    for (int e = 0; e < 256; ++e) ok &= y[(size_t)((31 - e / 8) * 8 + e % 8)] == e;
    check("stmatrix.x4", ok);
}
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
// a box of neighbours of one phase, whose columns lie two pixels apart, at column c1 and in the second of both lines' phases
enum { PHASE_BOX = 8 * 2 * 2 * 2 };
__global__ void k_tma_st_phase(const __grid_constant__ gpu::TensorMap t, int c1) {
    DYN_SHARED(sm);
    uint16_t *box = reinterpret_cast<uint16_t *>(sm);
    for (int i = threadIdx.x; i < PHASE_BOX; i += blockDim.x) box[i] = (uint16_t)(i + 1);
    gpu::fence_proxy_async();
    __syncthreads();
    if (threadIdx.x > 0) return;
    gpu::tma_store(&t, gpu::smem_u32(sm), 8, c1, 1, 1, 0);
    gpu::bulk_commit();
    gpu::bulk_wait<0>();
}
static void t_tma_store_phase(const char *name, int c1) {
    const int C = 16, W = 3, H = 3, N = 2; // channels of two neighbouring columns; pairs of columns and of lines
    const uint64_t dim[5] = {C, W, 2, H, N}, st[4] = {C * 2, C * W * 2, C * W * 2 * 2, C * W * 2 * H * 2};
    const uint32_t box[5] = {8, 2, 1, 2, 2};
    std::vector<uint16_t> ref(C * W * 2 * H * N, 0);
    Dev<uint16_t> d(ref);
    gpu::TensorMap t;
    if (gpu::tensor_map(&t, gpu::MAP_F16, 5, d.p, dim, st, box, 0)) {
        check(name, false);
        return;
    }
    gpu::launch(k_tma_st_phase, dim3(1), dim3(64), 1024, nullptr, t, c1);
    for (int i = 0; i < PHASE_BOX; ++i) {
        const int c = i % 8, w = i / 8 % 2, h = i / 16 % 2, n = i / 32;
        if (w + c1 < W) ref[(((n * H + h + 1) * 2 + 1) * W + w + c1) * C + 8 + c] = (uint16_t)(i + 1);
    }
    check(name, d.get() == ref);
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
// ---- clusters: every warp arrives at the barrier of every CTA, twice; who waits at its own has seen all of them
__global__ void k_cluster(int *out) {
    SHARED(uint64_t, bar, [1]);
    const uint32_t b = gpu::smem_u32(bar), rank = gpu::cluster_ctarank(), size = gpu::cluster_nctarank();
    if (threadIdx.x == 0) {
        gpu::mbar_init(b, size * (blockDim.x / 32));
        gpu::fence_barrier_init();
    }
    gpu::cluster_arrive_relaxed();
    gpu::cluster_wait();
    for (uint32_t phase = 0; phase < 2; phase++) {
        if (threadIdx.x % 32 == 0)
            for (uint32_t r = 0; r < size; r++) gpu::mbar_arrive_remote(gpu::mapa(b, (rank + r) % size));
        gpu::mbar_wait(b, phase);
        __syncwarp(); // no lane may still look for this phase when the next one ends
    }
    if (threadIdx.x == 0) out[blockIdx.x] = (int)(rank * 100 + size);
    gpu::cluster_arrive();
    gpu::cluster_wait();
}
static void t_cluster(unsigned size) {
    Dev<int> d(16);
    bool ok = gpu::launch_cluster(k_cluster, dim3(16), dim3(96), size, (size_t)0, nullptr, d.p) == cudaSuccess;
    auto v = d.get();
    for (unsigned i = 0; i < 16; ++i) ok = ok && v[i] == (int)(i % size * 100 + size);
    check("cluster: ranks, barrier, arrivals in other CTAs", ok);
}
// every CTA of a cluster of four loads one box into CTAs 0 and 2, or into all; what has come is dumped. box: 1024 bytes
template <int RANK> __global__ void k_multicast(const __grid_constant__ gpu::TensorMap t, uint8_t *out) {
    DYN_SHARED(sm);
    SHARED(uint64_t, bar, [1]);
    const uint32_t b = gpu::smem_u32(bar), s = gpu::smem_u32(sm), rank = gpu::cluster_ctarank();
    const uint32_t boxes = rank & 1 ? 2 : 4; // from ranks 1 and 3 to all, from 0 and 2 to the even ones
    if (threadIdx.x == 0) {
        gpu::mbar_init(b, 1);
        gpu::fence_barrier_init();
        gpu::mbar_arrive_expect_tx(b, boxes * 1024); // none of the boxes comes before the cluster's barrier
    }
    for (int i = threadIdx.x; i < 4096; i += blockDim.x) sm[i] = 0x55;
    gpu::fence_proxy_async();
    gpu::cluster_arrive();
    gpu::cluster_wait();
    if (threadIdx.x == 0) {
        const uint32_t mask = rank & 1 ? 15 : 5, at = s + rank * 1024;
        const int c = (int)rank;
        if constexpr (RANK == 2) gpu::tma_load_multicast(at, &t, b, 0, 8 * c, mask);
        if constexpr (RANK == 3) gpu::tma_load_multicast(at, &t, b, 0, c - 1, 0, mask);
        if constexpr (RANK == 4) gpu::tma_load_multicast(at, &t, b, 0, c, c - 1, 0, mask);
        if constexpr (RANK == 5) gpu::tma_load_multicast(at, &t, b, 0, c, 0, -c, 1, mask);
    }
    gpu::mbar_wait(b, 0);
    for (int i = threadIdx.x; i < 4096; i += blockDim.x) out[blockIdx.x * 4096 + i] = sm[i];
    gpu::cluster_arrive();
    gpu::cluster_wait();
}
template <int RANK> static void t_multicast(const char *name) {
    static const uint64_t dims[4][5] = {{64, 32}, {64, 4, 4}, {64, 4, 4, 2}, {64, 4, 4, 2, 2}};
    static const uint32_t boxes[4][5] = {{64, 8}, {64, 2, 4}, {64, 2, 2, 2}, {64, 2, 2, 2, 1}};
    const uint64_t *dim = dims[RANK - 2];
    const uint32_t *box = boxes[RANK - 2];
    uint64_t st[5];
    size_t n = 1;
    for (int i = 0; i < RANK; ++i) st[i] = (n *= dim[i]) * 2;
    std::vector<uint16_t> g(n);
    for (size_t i = 0; i < n; ++i) g[i] = (uint16_t)(i * 7 + 1);
    Dev<uint16_t> d(g);
    Dev<uint8_t> out(8 * 4096);
    gpu::TensorMap t;
    if (gpu::tensor_map(&t, gpu::MAP_F16, RANK, d.p, dim, st, box, gpu::SWIZZLE_128B) ||
        gpu::launch_cluster(k_multicast<RANK>, dim3(8), dim3(64), 4, (size_t)4096, nullptr, t, out.p) != cudaSuccess) {
        check(name, false);
        return;
    }
    std::vector<uint8_t> ref(8 * 4096, 0x55);
    for (int to = 0; to < 8; ++to)
        for (int from = 0; from < 4; ++from) {
            if (!(from & 1) && (to & 1)) continue;
            const int c[4][5] = {{0, 8 * from}, {0, from - 1, 0}, {0, from, from - 1, 0}, {0, from, 0, -from, 1}};
            for (int e = 0; e < 512; ++e) {
                int rest = e;
                size_t off = 0, mul = 1;
                bool in = true;
                for (int i = 0; i < RANK; ++i) {
                    const int x = c[RANK - 2][i] + rest % (int)box[i];
                    rest /= (int)box[i];
                    in = in && x >= 0 && x < (int)dim[i];
                    off += (size_t)x * mul;
                    mul *= dim[i];
                }
                const uint16_t v = in ? g[off] : 0;
                const int row = e / 64, chunk = e % 64 / 8 ^ row;
                memcpy(&ref[(size_t)(to * 4096 + from * 1024 + row * 128 + chunk * 16 + e % 8 * 2)], &v, 2);
            }
        }
    check(name, out.get() == ref);
}
// D = A B': a pipeline as a convolution's is. Persistent clusters of two CTAs, each with its own 64 rows of A; each loads half of
// the 128 rows of B into both. A warp that has read a stage says so in both CTAs. D leaves by TMA in boxes of 32 columns.
enum { G_STAGES = 3, G_A = 64 * 128, G_B = 128 * 128, G_STAGE = G_A + G_B, G_D = G_STAGES * G_STAGE, G_BARS = G_D + 4 * 64 * 128 };
__global__ void __launch_bounds__(256, 1) k_gemm(const __grid_constant__ gpu::TensorMap a, const __grid_constant__ gpu::TensorMap b,
                                                 const __grid_constant__ gpu::TensorMap d, int tiles, int steps) {
    DYN_SHARED(sm);
    const uint32_t base = gpu::smem_u32(sm), full = base + G_BARS, empty = full + 8 * G_STAGES, rank = gpu::cluster_ctarank();
    if (threadIdx.x == 0) {
        for (int s = 0; s < G_STAGES; s++) gpu::mbar_init(full + 8 * s, 1), gpu::mbar_init(empty + 8 * s, 8);
        gpu::fence_barrier_init();
    }
    gpu::cluster_arrive_relaxed();
    gpu::cluster_wait();
    uint32_t stage = 0, phase = 0;
    if (threadIdx.x < 128) {
        gpu::setmaxnreg_dec<40>();
        if (threadIdx.x == 0)
            for (int tile = (int)blockIdx.x; tile < tiles; tile += (int)gridDim.x)
                for (int step = 0; step < steps; step++) {
                    const uint32_t bar = full + 8 * stage, at = base + stage * G_STAGE;
                    gpu::mbar_wait(empty + 8 * stage, phase ^ 1);
                    gpu::mbar_arrive_expect_tx(bar, G_STAGE);
                    gpu::tma_load(at, &a, bar, step * 64, tile * 64);
                    gpu::tma_load_multicast(at + G_A + rank * (G_B / 2), &b, bar, step * 64, (int)rank * 64, 3);
                    if (++stage == G_STAGES) stage = 0, phase ^= 1;
                }
    } else {
        gpu::setmaxnreg_inc<232>();
        const int t = (int)threadIdx.x & 127, lane = t & 31, warp = t >> 5;
        for (int tile = (int)blockIdx.x; tile < tiles; tile += (int)gridDim.x) {
            float acc[64];
            GPU_FOR (int i = 0; i < 64; i++) acc[i] = 0;
            for (int step = 0; step < steps; step++) {
                gpu::mbar_wait(full + 8 * stage, phase);
                const uint64_t da = gpu::wgmma_desc_sw128(base + stage * G_STAGE), db = gpu::wgmma_desc_sw128(base + stage * G_STAGE + G_A);
                gpu::fence_operand(acc);
                gpu::wgmma_fence();
                GPU_FOR (int k = 0; k < 4; k++) gpu::wgmma<half, 128>(acc, da + 2 * k, db + 2 * k, true);
                gpu::wgmma_commit();
                gpu::fence_operand(acc);
                gpu::wgmma_wait<0>();
                if (lane == 0)
                    for (uint32_t r = 0; r < 2; r++) gpu::mbar_arrive_remote(gpu::mapa(empty + 8 * stage, r));
                if (++stage == G_STAGES) stage = 0, phase ^= 1;
            }
            gpu::fence_operand(acc);
            if (t == 0) gpu::bulk_wait_read<0>(); // of the tile before
            gpu::bar_sync(1, 128);
            GPU_FOR (int j = 0; j < 16; j++)
                GPU_FOR (int h = 0; h < 2; h++) {
                    const int row = warp * 16 + (lane >> 2) + 8 * h, column = 8 * j + (lane & 3) * 2;
                    const int at = (column >> 5) * 8192 + row * 128 + (((column >> 2 & 7) ^ (row & 7)) << 4) + (column & 3) * 4;
                    *reinterpret_cast<float2 *>(sm + G_D + at) = make_float2(acc[4 * j + 2 * h], acc[4 * j + 2 * h + 1]);
                }
            gpu::fence_proxy_async();
            gpu::bar_sync(1, 128);
            if (t == 0) {
                for (int q = 0; q < 4; q++) gpu::tma_store(&d, base + G_D + (uint32_t)q * 8192, q * 32, tile * 64);
                gpu::bulk_commit();
            }
        }
        if (t == 0) gpu::bulk_wait_read<0>();
    }
    gpu::cluster_arrive(); // the other CTA may still have to say here that it has read a stage
    gpu::cluster_wait();
}
static void t_gemm() {
    const int tiles = 6, steps = 5, M = tiles * 64, N = 128, K = steps * 64;
    auto A = rnd_vec<half>(M * K), B = rnd_vec<half>(N * K);
    Dev<half> dA(A), dB(B);
    Dev<float> dD(M * N);
    const uint64_t dim_a[2] = {(uint64_t)K, (uint64_t)M}, dim_b[2] = {(uint64_t)K, N}, dim_d[2] = {N, (uint64_t)M};
    const uint64_t st[1] = {K * 2}, st_d[1] = {N * 4};
    const uint32_t box[2] = {64, 64}, box_d[2] = {32, 64};
    gpu::TensorMap a, b, d;
    bool ok =
        !gpu::tensor_map(&a, gpu::MAP_F16, 2, dA.p, dim_a, st, box, gpu::SWIZZLE_128B) &&
        !gpu::tensor_map(&b, gpu::MAP_F16, 2, dB.p, dim_b, st, box, gpu::SWIZZLE_128B) &&
        !gpu::tensor_map(&d, gpu::MAP_F32, 2, dD.p, dim_d, st_d, box_d, gpu::SWIZZLE_128B) &&
        gpu::launch_cluster(k_gemm, dim3(4), dim3(256), 2, (size_t)(G_BARS + 16 * G_STAGES), nullptr, a, b, d, tiles, steps) == cudaSuccess;
    std::vector<float> ref(M * N);
    for (int m = 0; m < M; ++m)
        for (int n = 0; n < N; ++n)
            for (int k = 0; k < K; ++k) ref[m * N + n] += float(A[m * K + k]) * float(B[n * K + k]);
    check("cluster GEMM, weights by multicast", ok && same(dD.get(), ref));
}
static void t_sm90() {
    t_stsm();
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
    t_tma_store_phase("TMA store 5D, clipped", 2);
    t_wgmma<half, 64, 0, 0, false>("wgmma n64 K-major 128B", 3);
    t_wgmma<half, 128, 0, 0, false>("wgmma n128 K-major 128B", 3);
    t_wgmma<__nv_bfloat16, 256, 0, 0, false>("wgmma bf16 n256 K-major 128B", 3);
    t_wgmma<half, 32, 0, 0, false>("wgmma n32 K-major 128B", 3);
    t_wgmma<__nv_bfloat16, 96, 0, 0, false>("wgmma bf16 n96 K-major 128B", 3);
    t_wgmma<half, 192, 0, 0, false>("wgmma n192 K-major 128B", 3);
    t_wgmma<half, 8, 0, 0, false>("wgmma n8 K-major 128B", 3);
    t_wgmma<__nv_bfloat16, 16, 0, 0, false>("wgmma bf16 n16 K-major 128B", 3);
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
    t_wgmma<half, 8, 0, 1, true>("wgmma n8, A in registers, B N-major, no swizzle", 3, 0);
    t_wgmma<__nv_bfloat16, 16, 0, 1, true>("wgmma n16, A in registers, B N-major, no swizzle", 3, 0);
    t_wgmma<__nv_bfloat16, 64, 0, 1, true>("wgmma A in registers, B N-major", 3);
    for (unsigned size : {1u, 2u, 4u, 8u}) t_cluster(size);
    t_multicast<2>("multicast 2D");
    t_multicast<3>("multicast 3D");
    t_multicast<4>("multicast 4D");
    t_multicast<5>("multicast 5D");
    t_gemm();
}
