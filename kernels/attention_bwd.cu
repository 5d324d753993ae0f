// attention_bwd.cu -- d qkv of attention.cu from qkv and dy, without matrices of tokens x tokens in memory and without atomics.
//   P = softmax(scale q k^T), dP = dy v^T, dS = P * (dP - D), D = P.dP of each query
//   dq = scale dS k, dk = scale dS^T q, dv = P^T dy
// Work:   three kernels. rows: each query's maximum, sum, D and largest |dP|, left in the workspace. grad, twice: a block owns 64
//         queries and walks over the keys (dq), or owns 64 keys and walks over the queries (dk, dv): P and dP are made again from
//         the statistics. Each has a tensor-core form (f16, bf16: d up to 128; tf32: d up to 64; in whole 16-byte pieces; dy of
//         qkv's type) and an f32 form for everything else.
// Order:  the others in order, in blocks whose size depends on d and the type alone: never on n or the place in it.
// Range:  dS is multiplied by a power of two that puts 2^13 above the largest |dP|, of the query (dq) or of the head (dk), before
//         it is rounded to f16, and the sums divided by it: small gradients keep their bits, large ones do not overflow.
//         P is normalised in f32, then rounded; its differences of scores are those that the sum was made of: with one key that takes
//         everything P = 1 and dS = 0 exactly.
#include "kernels/attention_tile.h"

// ---- statistics of queries ----------------------------------------------------------------------------------------------------
// In the workspace: x maximum of the scores, y log2 of the sum of weights less P_EXPONENT, z D, w the largest |dP|.

// Some keys' share of a query's statistics.
struct Statistics {
    float top, total, dot, largest;
};
template <bool FAST> GPU_FN float power_of_two(float x) { return FAST ? gpu::exp2_approx(x) : exp2f(x); }
// top - base, where base is top unless no key has been seen: then both are -inf and nothing has been summed.
GPU_FN float finite_base(float top) { return top == -INFINITY ? 0 : top; }
// Adds keys; score is q.k, or -inf for keys past the last.
template <bool FAST, int COUNT>
GPU_FN void add_keys(Statistics &s, const float (&score)[COUNT], const float (&dp)[COUNT], float log2_scale) {
    float most = score[0];
    GPU_FOR (int i = 0; i < COUNT; i++) most = fmaxf(most, score[i]), s.largest = fmaxf(s.largest, fabsf(dp[i]));
    const float top = fmaxf(s.top, most), base = finite_base(top), shrink = power_of_two<FAST>((s.top - base) * log2_scale);
    s.top = top, s.total *= shrink, s.dot *= shrink;
    GPU_FOR (int i = 0; i < COUNT; i++) {
        const float weight = power_of_two<FAST>((score[i] - base) * log2_scale);
        s.total += weight, s.dot += weight * dp[i];
    }
}
// Adds the keys of the lane `apart` away.
GPU_FN void add_lane(Statistics &s, int apart, float log2_scale) {
    const Statistics o = {__shfl_xor_sync(~0u, s.top, apart), __shfl_xor_sync(~0u, s.total, apart), __shfl_xor_sync(~0u, s.dot, apart),
                          __shfl_xor_sync(~0u, s.largest, apart)};
    const float top = fmaxf(s.top, o.top), base = finite_base(top);
    const float mine = exp2f((s.top - base) * log2_scale), its = exp2f((o.top - base) * log2_scale);
    s = {top, s.total * mine + o.total * its, s.dot * mine + o.dot * its, fmaxf(s.largest, o.largest)};
}
GPU_FN float4 finished(const Statistics &s, int exponent) {
    return make_float4(s.top, log2f(s.total) - (float)exponent, s.dot / s.total, s.largest);
}

// ---- tensor cores -----------------------------------------------------------------------------------------------------------

template <typename T, int D> struct GradTile {
    typedef TileRow<T, D> R;
    enum {
        WARPS = 4,
        THREADS = 32 * WARPS,
        OWN = 16 * WARPS,
        OTHERS = (R::BYTES <= 128 ? 128 : 64) / (int)sizeof(T),
        NT = OTHERS / 8,
        STAGE_BYTES = OTHERS * (2 * R::PITCH + 16), // two tiles, and the statistics where the others are queries
        SHARED_BYTES = 2 * OWN * R::PITCH + 2 * STAGE_BYTES,
        IN_REGISTERS = R::BYTES <= 128, // the own rows
        STEPS_KEPT = IN_REGISTERS ? (int)R::STEPS : 1
    };
};
// The block's own rows of two matrices, and two stages of the others' rows of two more.
template <typename T, int D> struct GradWalk {
    typedef TileRow<T, D> R;
    typedef GradTile<T, D> Tile;
    uint32_t base;
    int row; // of the warp, in the block's tile
    uint32_t own[2][Tile::STEPS_KEPT][1][4];

    static GPU_FN uint32_t stage_of(int block) { return (uint32_t)(2 * Tile::OWN * R::PITCH + block % 2 * Tile::STAGE_BYTES); }
    static GPU_FN uint32_t second_of(int block) { return stage_of(block) + Tile::OTHERS * R::PITCH; }
    static GPU_FN uint32_t statistics_of(int block) { return stage_of(block) + 2 * Tile::OTHERS * R::PITCH; }
    GPU_FN void copy_own(const AttnParams &p, AttnPlace at, Part first, Part second) const {
        copy_rows<T, D, Tile::OWN, Tile::THREADS>(base, p, at, first, at.first);
        copy_rows<T, D, Tile::OWN, Tile::THREADS>(base + Tile::OWN * R::PITCH, p, at, second, at.first);
    }
    GPU_FN void copy_others(const AttnParams &p, AttnPlace at, Part first, Part second, bool statistics, int block) const {
        copy_rows<T, D, Tile::OTHERS, Tile::THREADS>(base + stage_of(block), p, at, first, block * Tile::OTHERS);
        copy_rows<T, D, Tile::OTHERS, Tile::THREADS>(base + second_of(block), p, at, second, block * Tile::OTHERS);
        const int query = block * Tile::OTHERS + (int)threadIdx.x;
        if (statistics && (int)threadIdx.x < Tile::OTHERS) {
            const bool valid = query < p.tokens;
            gpu::cp_async16(base + statistics_of(block) + threadIdx.x * 16,
                            valid ? p.query_stats + row_number(p, at) + query : p.query_stats, valid);
        }
        gpu::cp_async_commit();
    }
    GPU_FN void keep_own() {
        if (Tile::IN_REGISTERS)
            GPU_FOR (int step = 0; step < Tile::STEPS_KEPT; step++) {
                load_left<T, D>(own[0][step], base, row, step);
                load_left<T, D>(own[1][step], base + Tile::OWN * R::PITCH, row, step);
            }
    }
    // s and dp of the own rows with a block of others.
    GPU_FN void products(float (&s)[1][Tile::NT][4], float (&dp)[1][Tile::NT][4], int block) {
        clear(s);
        clear(dp);
        GPU_FOR (int step = 0; step < R::STEPS; step++) {
            const int kept = Tile::IN_REGISTERS ? step : 0;
            if (!Tile::IN_REGISTERS) {
                load_left<T, D>(own[0][0], base, row, step);
                load_left<T, D>(own[1][0], base + Tile::OWN * R::PITCH, row, step);
            }
            multiply_rows<T, D>(s, own[0][kept], base + stage_of(block), step);
            multiply_rows<T, D>(dp, own[1][kept], base + second_of(block), step);
        }
    }
};

template <typename T, int D> __global__ void __launch_bounds__(GradTile<T, D>::THREADS, 2) attn_rows_mma_kernel(AttnParams p) {
    typedef GradTile<T, D> Tile;
    DYN_SHARED(shared);
    const int lane = (int)threadIdx.x & 31, blocks = (p.tokens + Tile::OTHERS - 1) / Tile::OTHERS;
    const AttnPlace at = attn_place(p, Tile::OWN);
    GradWalk<T, D> walk;
    walk.base = gpu::smem_u32(shared), walk.row = ((int)threadIdx.x >> 5) * 16;
    walk.copy_own(p, at, QUERY, DY);
    walk.copy_others(p, at, KEY, VALUE, false, 0);
    Statistics found[2] = {{-INFINITY, 0, 0, 0}, {-INFINITY, 0, 0, 0}}; // of this lane's keys, for rows lane/4 and 8 further
    for (int block = 0; block < blocks; block++) {
        gpu::cp_async_wait<0>();
        __syncthreads(); // the block has landed for all, and nobody still reads the other stage
        if (block + 1 < blocks) walk.copy_others(p, at, KEY, VALUE, false, block + 1);
        if (block == 0) walk.keep_own();
        float s[1][Tile::NT][4], dp[1][Tile::NT][4];
        walk.products(s, dp, block);
        GPU_FOR (int h = 0; h < 2; h++) {
            float score[2 * Tile::NT], slope[2 * Tile::NT];
            GPU_FOR (int i = 0; i < 2 * Tile::NT; i++) {
                const int key = block * Tile::OTHERS + i / 2 * 8 + (lane & 3) * 2 + i % 2;
                score[i] = key < p.tokens ? s[0][i / 2][2 * h + i % 2] : -INFINITY, slope[i] = dp[0][i / 2][2 * h + i % 2];
            }
            add_keys<true>(found[h], score, slope, p.log2_scale);
        }
    }
    GPU_FOR (int h = 0; h < 2; h++) {
        add_lane(found[h], 1, p.log2_scale);
        add_lane(found[h], 2, p.log2_scale);
        const int query = at.first + walk.row + 8 * h + (lane >> 2);
        if ((lane & 3) == 0 && query < p.tokens)
            p.query_stats[row_number(p, at) + (size_t)query] = finished(found[h], Range<T>::P_EXPONENT);
    }
}

// The power of two that makes `largest` at least 2^12 and less than 2^13, as far as there is one.
GPU_FN float range_factor(float largest) {
    const int exponent = (int)(__float_as_uint(largest) >> 23 & 255) - 126; // largest < 2^exponent
    return __uint_as_float((uint32_t)min(13 - exponent + 127, 254) << 23);
}
// The largest |dP| of a head. All threads of the block call it.
template <int THREADS> GPU_FN float largest_of_head(const AttnParams &p, AttnPlace at) {
    SHARED(float, of_warp, [THREADS / 32]);
    float most = 0;
    for (int i = (int)threadIdx.x; i < p.tokens; i += THREADS) most = fmaxf(most, p.query_stats[row_number(p, at) + (size_t)i].w);
    GPU_FOR (int apart = 16; apart; apart /= 2) most = fmaxf(most, __shfl_xor_sync(~0u, most, apart));
    if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = most;
    __syncthreads();
    GPU_FOR (int i = 0; i < THREADS / 32; i++) most = fmaxf(most, of_warp[i]);
    return most;
}

template <typename T, int D, bool OWN_KEYS>
__global__ void __launch_bounds__(GradTile<T, D>::THREADS, 2) attn_grad_mma_kernel(AttnParams p) {
    typedef TileRow<T, D> R;
    typedef GradTile<T, D> Tile;
    const Part own0 = OWN_KEYS ? KEY : QUERY, own1 = OWN_KEYS ? VALUE : DY, other0 = OWN_KEYS ? QUERY : KEY, other1 = OWN_KEYS ? DY : VALUE;
    const float p_unit = 1.0f / (1 << Range<T>::P_EXPONENT);
    DYN_SHARED(shared);
    const int lane = (int)threadIdx.x & 31, blocks = (p.tokens + Tile::OTHERS - 1) / Tile::OTHERS;
    const AttnPlace at = attn_place(p, Tile::OWN);
    GradWalk<T, D> walk;
    walk.base = gpu::smem_u32(shared), walk.row = ((int)threadIdx.x >> 5) * 16;
    walk.copy_own(p, at, own0, own1);
    walk.copy_others(p, at, other0, other1, OWN_KEYS, 0);

    float4 row[2];   // own queries: their statistics
    float factor[2]; // of dS
    GPU_FOR (int h = 0; h < 2; h++) {
        const int query = at.first + walk.row + 8 * h + (lane >> 2);
        row[h] = !OWN_KEYS && query < p.tokens ? p.query_stats[row_number(p, at) + (size_t)query] : make_float4(0, 0, 0, 0);
        factor[h] = IsHalf<T>::VALUE && !OWN_KEYS ? range_factor(row[h].w) : 1;
    }
    if (IsHalf<T>::VALUE && OWN_KEYS) factor[0] = factor[1] = range_factor(largest_of_head<Tile::THREADS>(p, at));

    float first[R::PARTS][1][R::WIDTH][4], second[R::PARTS][1][R::WIDTH][4]; // dq; dk and dv
    clear(first);
    clear(second);
    for (int block = 0; block < blocks; block++) {
        gpu::cp_async_wait<0>();
        __syncthreads(); // the block has landed for all, and nobody still reads the other stage
        if (block + 1 < blocks) walk.copy_others(p, at, other0, other1, OWN_KEYS, block + 1);
        if (block == 0) walk.keep_own();
        float s[1][Tile::NT][4], dp[1][Tile::NT][4];
        walk.products(s, dp, block);
        Factors<T, 1, Tile::NT> slopes, probabilities;
        GPU_FOR (int n = 0; n < Tile::NT; n++)
            GPU_FOR (int h = 0; h < 2; h++) {
                float weight[2], slope[2];
                GPU_FOR (int i = 0; i < 2; i++) {
                    const int other = 8 * n + (lane & 3) * 2 + i;
                    const float4 q = OWN_KEYS ? *(const float4 *)(shared + walk.statistics_of(block) + other * 16) : row[h];
                    weight[i] = gpu::exp2_approx(fmaf(s[0][n][2 * h + i] - q.x, p.log2_scale, -q.y));
                    if (!OWN_KEYS && block * Tile::OTHERS + other >= p.tokens) weight[i] = 0; // queries past the last are all zeros
                    slope[i] = weight[i] * ((dp[0][n][2 * h + i] - q.z) * (factor[h] * p_unit));
                }
                slopes.put(0, n, h, slope[0], slope[1]);
                if (OWN_KEYS) probabilities.put(0, n, h, weight[0], weight[1]);
            }
        multiply_columns<T, D>(first, slopes, shared, walk.base, walk.stage_of(block));
        if (OWN_KEYS) multiply_columns<T, D>(second, probabilities, shared, walk.base, walk.second_of(block));
    }
    const float unscale[1][2] = {{p.scale / factor[0], p.scale / factor[1]}}, unit[1][2] = {{p_unit, p_unit}};
    store_rows<T, D>(p, first, unscale, at, own0, at.first + walk.row);
    if (OWN_KEYS) store_rows<T, D>(p, second, unit, at, VALUE, at.first + walk.row);
}

// ---- f32 --------------------------------------------------------------------------------------------------------------------

template <int V> __global__ void __launch_bounds__(F32_THREADS) attn_rows_f32_kernel(AttnParams p) {
    DYN_SHARED(shared);
    const int t = (int)threadIdx.x;
    const AttnPlace at = attn_place(p, F32_ROWS);
    const Matrix q = matrix(p, at, QUERY), k = matrix(p, at, KEY), v = matrix(p, at, VALUE), dy = matrix(p, at, DY);
    Statistics found[4];
    GPU_FOR (int i = 0; i < 4; i++) found[i] = {-INFINITY, 0, 0, 0};
    for (int first = 0; first < p.tokens; first += F32_ROWS) {
        float s[4][4], dp[4][4];
        f32_dots<V>(p, s, (float *)shared, q, at.first, k, first);
        f32_dots<V>(p, dp, (float *)shared, dy, at.first, v, first);
        GPU_FOR (int i = 0; i < 4; i++) {
            GPU_FOR (int j = 0; j < 4; j++)
                if (first + t % 16 * 4 + j >= p.tokens) s[i][j] = -INFINITY;
            add_keys<false>(found[i], s[i], dp[i], p.log2_scale);
        }
    }
    GPU_FOR (int i = 0; i < 4; i++) {
        GPU_FOR (int apart = 8; apart; apart /= 2) add_lane(found[i], apart, p.log2_scale);
        const int query = at.first + t / 16 * 4 + i;
        if (t % 16 == 0 && query < p.tokens) p.query_stats[row_number(p, at) + (size_t)query] = finished(found[i], 0);
    }
}
template <int V, int PARTS, bool OWN_KEYS> __global__ void __launch_bounds__(F32_THREADS) attn_grad_f32_kernel(AttnParams p) {
    const Part own0 = OWN_KEYS ? KEY : QUERY, own1 = OWN_KEYS ? VALUE : DY, other0 = OWN_KEYS ? QUERY : KEY, other1 = OWN_KEYS ? DY : VALUE;
    DYN_SHARED(shared);
    float *const ds = (float *)shared, *const weights = ds + (OWN_KEYS ? F32_WEIGHTS : 0), *const buffer = weights + F32_WEIGHTS;
    const int t = (int)threadIdx.x, column = (int)blockIdx.z * 64 * PARTS;
    const AttnPlace at = attn_place(p, F32_ROWS);
    const Matrix a0 = matrix(p, at, own0), a1 = matrix(p, at, own1), b0 = matrix(p, at, other0), b1 = matrix(p, at, other1);
    float sum0[PARTS][4][4], sum1[PARTS][4][4]; // dq; dk and dv
    GPU_FOR (int i = 0; i < PARTS * 16; i++) (&sum0[0][0][0])[i] = (&sum1[0][0][0])[i] = 0;
    for (int first = 0; first < p.tokens; first += F32_ROWS) {
        float s[4][4], dp[4][4];
        f32_dots<V>(p, s, buffer, a0, at.first, b0, first);
        f32_dots<V>(p, dp, buffer, a1, at.first, b1, first);
        GPU_FOR (int i = 0; i < 4; i++)
            GPU_FOR (int j = 0; j < 4; j++) {
                const int own = at.first + t / 16 * 4 + i, other = first + t % 16 * 4 + j, query = OWN_KEYS ? other : own;
                const bool valid = own < p.tokens && other < p.tokens;
                const float4 q = valid ? p.query_stats[row_number(p, at) + (size_t)query] : make_float4(0, 0, 0, 0);
                s[i][j] = valid ? exp2f(fmaf(s[i][j] - q.x, p.log2_scale, -q.y)) : 0;
                dp[i][j] = s[i][j] * (dp[i][j] - q.z);
            }
        f32_keep(ds, dp);
        if (OWN_KEYS) f32_keep(weights, s);
        f32_sum<V>(p, sum0, ds, buffer, b0, first, column);
        if (OWN_KEYS) f32_sum<V>(p, sum1, weights, buffer, b1, first, column);
    }
    const float scale[4] = {p.scale, p.scale, p.scale, p.scale}, one[4] = {1, 1, 1, 1};
    f32_store<V>(p, sum0, scale, at, own0, column);
    if (OWN_KEYS) f32_store<V>(p, sum1, one, at, VALUE, column);
}

// ---- launchers --------------------------------------------------------------------------------------------------------------

template <typename T, int D> static int launch_mma(AttnParams p, int n, cudaStream_t stream) {
    typedef GradTile<T, D> Tile;
    const dim3 grid = attn_grid(&p, n, Tile::OWN, 1), block(Tile::THREADS);
    const size_t shared = Tile::SHARED_BYTES;
    int error = gpu::launch(attn_rows_mma_kernel<T, D>, grid, block, shared, stream, p);
    if (!error) error = gpu::launch(attn_grad_mma_kernel<T, D, false>, grid, block, shared, stream, p);
    return error ? error : gpu::launch(attn_grad_mma_kernel<T, D, true>, grid, block, shared, stream, p);
}
template <typename T> static int launch_mma(const AttnParams &p, int n, cudaStream_t stream) {
    if (p.d <= 32) return launch_mma<T, 32>(p, n, stream);
    if constexpr (sizeof(T) == 2) {
        if (p.d > 64) return launch_mma<T, 128>(p, n, stream);
    }
    return launch_mma<T, 64>(p, n, stream);
}
template <int V, int PARTS> static int launch_f32(AttnParams p, int n, cudaStream_t stream) {
    enum { BUFFER = F32_DEPTH * 64 * PARTS > 2 * F32_TILE ? F32_DEPTH * 64 * PARTS : 2 * F32_TILE };
    const dim3 grid = attn_grid(&p, n, F32_ROWS, (p.d + 64 * PARTS - 1) / (64 * PARTS)), block(F32_THREADS), rows_grid(grid.x);
    const size_t dots = 2 * F32_TILE * sizeof(float), shared = (F32_WEIGHTS + BUFFER) * sizeof(float);
    int error = gpu::launch(attn_rows_f32_kernel<V>, rows_grid, block, dots, stream, p);
    if (!error) error = gpu::launch(attn_grad_f32_kernel<V, PARTS, false>, grid, block, shared, stream, p);
    return error ? error : gpu::launch(attn_grad_f32_kernel<V, PARTS, true>, grid, block, shared + F32_WEIGHTS * sizeof(float), stream, p);
}
template <int V> static int launch_f32(const AttnParams &p, int n, cudaStream_t stream) {
    return p.d <= 64 ? launch_f32<V, 1>(p, n, stream) : launch_f32<V, 2>(p, n, stream);
}
extern "C" int cuda_attn_bwd(const AttnArgs *a, void *stream) {
    const AttnParams p = attn_params(a);
    if (!on_tensor_cores(a, a->qkv_type == DG_F32 ? 64 : 128) || a->dy_type != a->qkv_type)
        return a->d % 4 == 0 ? launch_f32<4>(p, a->n, (cudaStream_t)stream) : launch_f32<1>(p, a->n, (cudaStream_t)stream);
    if (a->qkv_type == DG_F16) return launch_mma<__half>(p, a->n, (cudaStream_t)stream);
    if (a->qkv_type == DG_BF16) return launch_mma<__nv_bfloat16>(p, a->n, (cudaStream_t)stream);
    return launch_mma<float>(p, a->n, (cudaStream_t)stream);
}
extern "C" size_t cuda_attn_workspace(const AttnArgs *a) {
    return a->dy ? (size_t)a->n * (size_t)a->heads * (size_t)a->tokens * sizeof(float4) : 0;
}
