// attention_bwd_sm90_tile.h -- what Hopper's two gradients of attention share (attention_bwd_sm90.cu, attention_bwd_heads_sm90.cu): tiles of 64
// rows of a head of 64 channels, a warpgroup's products with them, and a step of each of the two sums over the others' rows.
//
// Notation and formulas are attention_bwd.cu's. A warpgroup owns 64 rows; what it computes of the scores with 64 rows of the others
// (transposed where it owns keys) is in its registers as the next products' left operand.
#ifndef DG_ATTENTION_BWD_SM90_TILE_H
#define DG_ATTENTION_BWD_SM90_TILE_H
#include "kernels/attention_sm90_maps.h"
#include "kernels/attention_tile.h"

enum { HEAD = 64, TILE_ROWS = ROWS_OF_MAP, ROW_BYTES = HEAD * 2, TILE_BYTES = TILE_ROWS * ROW_BYTES }; // a tile: 128-byte-swizzled
enum { GROUPS = 2, GROUP_WARPS = 4, GROUP_THREADS = 32 * GROUP_WARPS, THREADS = (GROUPS + 1) * GROUP_THREADS };
enum { WARP_BYTES = TILE_BYTES / GROUP_WARPS, OUTPUT_BYTES = GROUPS * TILE_BYTES }; // a warp's outputs; a block's
enum { STEPS = HEAD / 16, SUMS = TILE_ROWS / 2, STATISTICS_BYTES = TILE_ROWS * (int)sizeof(float4) };

// Where a thread of a group stands. warp: of the group.
struct GroupThread {
    int group, warp, lane;
    GPU_FN GroupThread() {
        const int t = (int)threadIdx.x % GROUP_THREADS;
        group = (int)threadIdx.x / GROUP_THREADS, warp = t / 32, lane = t % 32;
    }
    GPU_FN int row(int h) const { return 16 * warp + 8 * h + (lane >> 2); } // of accumulators 4n + 2h + i, i = 0, 1
};
// The warp's 16 rows of a tile, at a shared address, as left operands.
GPU_FN void keep_rows(uint32_t (&a)[STEPS][4], uint32_t tile, const GroupThread &t) {
    const int row = 16 * t.warp + (t.lane & 15);
    const uint32_t at = tile + (uint32_t)(row * ROW_BYTES);
    GPU_FOR (int step = 0; step < STEPS; step++) gpu::ldmatrix<4>(a[step], at + (uint32_t)(((2 * step + (t.lane >> 4)) ^ (row & 7)) << 4));
}

// tile: the lower word of its descriptor, which counts 16 bytes
GPU_FN uint64_t descriptor(uint32_t tile, int bytes) { return gpu::wgmma_desc_at(gpu::wgmma_desc_sw128(0), tile, bytes); }
// sum = the left operand's rows . the tile's rows
template <typename T> GPU_FN void multiply_rows(float (&sum)[SUMS], const uint32_t (&a)[STEPS][4], uint32_t tile) {
    GPU_FOR (int step = 0; step < STEPS; step++) gpu::wgmma<T, TILE_ROWS>(sum, a[step], descriptor(tile, 32 * step), step > 0);
}
// sum[rows][channels] += the left operand[rows][the tile's rows] * tile[its rows][channels]
template <typename T> GPU_FN void multiply_columns(float (&sum)[SUMS], const uint32_t (&a)[STEPS][4], uint32_t tile) {
    GPU_FOR (int step = 0; step < STEPS; step++) gpu::wgmma<T, HEAD, 1>(sum, a[step], descriptor(tile, 16 * ROW_BYTES * step), true);
}
GPU_FN void clear(float (&sum)[SUMS]) {
    GPU_FOR (int i = 0; i < SUMS; i++) sum[i] = 0;
}
// Before products are issued, and after all groups of them but the latest PENDING are done: with what they add to.
template <class... S> GPU_FN void begin_products(S &...sums) {
    (gpu::fence_operand(sums), ...);
    gpu::wgmma_fence();
}
template <int PENDING, class... S> GPU_FN void wait_products(S &...sums) {
    gpu::wgmma_wait<PENDING>();
    (gpu::fence_operand(sums), ...);
}

// Where a warp's outputs go: by TMA, 16 rows of a head at a time, none of them past the last token, from a place of its own.
struct Outputs {
    const gpu::TensorMap *map;
    uint32_t from; // the place: 128-byte-swizzled
};
// sum * factor (of row h) to the warp's rows of a part of d qkv.
template <typename T>
GPU_FN void store_rows(const Outputs &to, const AttnParams &p, const float (&sum)[SUMS], const float (&factor)[2], AttnPlace at, Part part,
                       const GroupThread &t) {
    if (t.lane == 0) gpu::bulk_wait_read<0>(); // what was stored before
    __syncwarp();
    const int row = t.lane & 15; // that this lane names of a pair of blocks of 8 channels
    GPU_FOR (int n = 0; n < HEAD / 8; n += 2) {
        uint32_t v[4];
        GPU_FOR (int k = 0; k < 4; k++) { // rows 8 apart, then the next block
            const int i = 4 * (n + k / 2) + 2 * (k % 2);
            float low = factor[k % 2] * sum[i], high = factor[k % 2] * sum[i + 1];
            v[k] = pack<T>(low, high);
        }
        gpu::stmatrix(to.from + (uint32_t)(row * ROW_BYTES + (((n + (t.lane >> 4)) ^ (row & 7)) << 4)), v);
    }
    gpu::fence_proxy_async();
    __syncwarp();
    if (t.lane == 0) {
        gpu::tma_store(to.map, to.from, 0, part * p.heads + at.head, at.first + 16 * t.warp, at.image);
        gpu::bulk_commit();
    }
}

static inline int output_map(gpu::TensorMap *m, const AttnArgs *a) {
    return attn_rows_map(m, a, a->y, 3 * a->heads, a->n, HEAD, gpu::SWIZZLE_128B, TILE_ROWS / GROUP_WARPS);
}
// Begins two groups of products: scores, and dP.
template <typename T>
GPU_FN void multiply_both(float (&s)[SUMS], float (&dp)[SUMS], const uint32_t (&of_scores)[STEPS][4], const uint32_t (&of_dp)[STEPS][4],
                          uint32_t scores_tile, uint32_t dp_tile) {
    begin_products(s, dp);
    multiply_rows<T>(s, of_scores, scores_tile);
    gpu::wgmma_commit();
    multiply_rows<T>(dp, of_dp, dp_tile);
    gpu::wgmma_commit();
}

// ---- own queries ------------------------------------------------------------------------------------------------------------
// dot: D. A weight times a power of two is exp2(score * log2_scale - offset), but for what the offset's rounding takes: unscale gives it
// back.
struct OwnQueries {
    uint32_t query[STEPS][4], dy[STEPS][4];
    float dot[2], offset[2], unscale[2];
};
// score: what the forward left; bound: what |dP| cannot exceed.
template <typename T> GPU_FN void find_range(OwnQueries &q, const float2 (&score)[2], const float (&bound)[2], const AttnParams &p) {
    GPU_FOR (int h = 0; h < 2; h++) {
        const int exponent = IsHalf<T>::VALUE ? range_exponent(bound[h]) : 0;
        const float rest = score[h].y - (float)exponent;
        q.offset[h] = fmaf(score[h].x, p.log2_scale, rest);
        q.unscale[h] = p.scale / power_of_two(exponent) * exp2f(-(fmaf(score[h].x, p.log2_scale, -q.offset[h]) + rest));
    }
}
// What owned keys want to know of a query: what the forward left, and D.
template <typename T> GPU_FN float4 query_statistics(float2 score, float dot) {
    return make_float4(score.x, score.y - (float)Range<T>::P_EXPONENT, dot, 0);
}
// Keys past the `present` ones have no weight.
GPU_FN void mask_keys(float (&s)[SUMS], int present) {
    if (present < TILE_ROWS)
        GPU_FOR (int i = 0; i < SUMS; i++)
            if (i / 4 * 8 + ((int)threadIdx.x & 3) * 2 + i % 2 >= present) s[i] = -INFINITY;
}
// Begins to add to dq what 64 keys make, whose weights and dP are there.
template <typename T>
GPU_FN void add_slopes(float (&dq)[SUMS], const float (&weight)[SUMS], const float (&dp)[SUMS], const float (&dot)[2], uint32_t keys) {
    uint32_t slopes[STEPS][4];
    GPU_FOR (int n = 0; n < TILE_ROWS / 8; n++)
        GPU_FOR (int h = 0; h < 2; h++) {
            const int k = 4 * n + 2 * h;
            float slope[2] = {weight[k] * (dp[k] - dot[h]), weight[k + 1] * (dp[k + 1] - dot[h])};
            slopes[n / 2][n % 2 * 2 + h] = pack<T>(slope[0], slope[1]);
        }
    begin_products(dq);
    multiply_columns<T>(dq, slopes, keys);
    gpu::wgmma_commit();
}
// Adds to dq what 64 keys and their values, in tiles whose descriptors' lower words are given, make; there are `present` of them. s, dp: space.
// under_way() is called behind the first products; scores_there() when they are done, and with them the products of the call before.
template <typename T, class UnderWay, class ScoresThere>
GPU_FN void add_keys(float (&dq)[SUMS], float (&s)[SUMS], float (&dp)[SUMS], const OwnQueries &q, uint32_t keys, uint32_t values, bool last,
                     int present, float log2_scale, const UnderWay &under_way, const ScoresThere &scores_there) {
    multiply_both<T>(s, dp, q.query, q.dy, keys, values);
    under_way();
    wait_products<1>(s); // dp is under way
    scores_there();
    if (last) mask_keys(s, present);
    GPU_FOR (int i = 0; i < SUMS; i++) s[i] = gpu::exp2_approx(fmaf(s[i], log2_scale, -q.offset[i / 2 % 2]));
    wait_products<0>(dp);
    add_slopes<T>(dq, s, dp, q.dot, keys);
}

// ---- own keys ---------------------------------------------------------------------------------------------------------------
// factor: of dS, a power of two; slope_unit: of dS made from weights.
struct OwnKeys {
    uint32_t key[STEPS][4], value[STEPS][4];
    float factor, slope_unit;
};
// largest: of what |dP| cannot exceed, of all queries.
template <typename T> GPU_FN void find_range(OwnKeys &k, float largest) {
    k.factor = power_of_two(IsHalf<T>::VALUE ? range_exponent(largest) : 0);
    k.slope_unit = k.factor / (1 << Range<T>::P_EXPONENT);
}
// Adds to dk and dv what 64 queries and their dy make, whose statistics lie at `of_queries`. The rest as for add_keys. Queries past the last
// are all zeros, and so are their dy and D.
template <typename T, class UnderWay, class ScoresThere>
GPU_FN void add_queries(float (&dk)[SUMS], float (&dv)[SUMS], float (&s)[SUMS], float (&dp)[SUMS], const OwnKeys &own, uint32_t queries,
                        uint32_t dys, const uint8_t *of_queries, float log2_scale, const UnderWay &under_way,
                        const ScoresThere &scores_there) {
    const uint8_t *const statistics = of_queries + (threadIdx.x & 3) * 2 * sizeof(float4);
    multiply_both<T>(s, dp, own.key, own.value, queries, dys);
    under_way();
    wait_products<1>(s); // dp is under way
    scores_there();
    uint32_t slopes[STEPS][4], weights[STEPS][4];
    GPU_FOR (int n = 0; n < TILE_ROWS / 8; n++) {
        GPU_FOR (int i = 0; i < 2; i++) {
            const float2 q = *(const float2 *)(statistics + (8 * n + i) * sizeof(float4));
            GPU_FOR (int h = 0; h < 2; h++) {
                float &weight = s[4 * n + 2 * h + i];
                weight = gpu::exp2_approx(fmaf(weight - q.x, log2_scale, -q.y));
            }
        }
        GPU_FOR (int h = 0; h < 2; h++) {
            float weight[2] = {s[4 * n + 2 * h], s[4 * n + 2 * h + 1]};
            weights[n / 2][n % 2 * 2 + h] = pack<T>(weight[0], weight[1]);
        }
    }
    begin_products(dv);
    multiply_columns<T>(dv, weights, dys);
    gpu::wgmma_commit();
    wait_products<1>(dp);
    GPU_FOR (int n = 0; n < TILE_ROWS / 8; n++) {
        float dot[2]; // the queries' D
        GPU_FOR (int i = 0; i < 2; i++) dot[i] = own.slope_unit * *(const float *)(statistics + (8 * n + i) * sizeof(float4) + 8);
        GPU_FOR (int h = 0; h < 2; h++) {
            const int k = 4 * n + 2 * h;
            float slope[2] = {s[k] * fmaf(dp[k], own.slope_unit, -dot[0]), s[k + 1] * fmaf(dp[k + 1], own.slope_unit, -dot[1])};
            slopes[n / 2][n % 2 * 2 + h] = pack<T>(slope[0], slope[1]);
        }
    }
    begin_products(dk);
    multiply_columns<T>(dk, slopes, queries);
    gpu::wgmma_commit();
}
// dk and dv of the own keys to memory.
template <typename T>
GPU_FN void store_keys(const Outputs &to, const AttnParams &p, const float (&dk)[SUMS], const float (&dv)[SUMS], const OwnKeys &own,
                       AttnPlace at, const GroupThread &t) {
    const float p_unit = 1.0f / (1 << Range<T>::P_EXPONENT), unscale[2] = {p.scale / own.factor, p.scale / own.factor},
                unit[2] = {p_unit, p_unit};
    store_rows<T>(to, p, dk, unscale, at, KEY, t);
    store_rows<T>(to, p, dv, unit, at, VALUE, t);
}
#endif
