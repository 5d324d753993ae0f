// attention_bwd_sm90.cu -- the gradient of attention_bwd.cu on Hopper (compute capability 9.0 exactly), by TMA and wgmma: heads of 64, f16 and
// bf16. The formulas, the ranges and what the forward leaves are as there.
// Work:   two kernels. The first owns queries and walks over the keys: dq, and the queries' statistics. The second owns keys and walks over
//         the queries: dk and dv. Three and four products of 64 x 64 x 64; one kernel of five would have to add partial sums of dq in
//         memory, which is more bytes than the op's own. One block per multiprocessor makes item after item. Of its three groups of 4
//         warps the first two own 64 rows each, of one head, or with up to 64 tokens of a head each. In the third a thread fills shared
//         memory by TMA and runs into the next item, and a warp finds what the range comes from. A group's own rows are operands in
//         registers. What it computes of the scores with the others' rows (transposed where it owns keys) is in its registers as the
//         next products' left operand. While one group does this, the tensor cores multiply for the other.
// Edges:  TMA reads zeros past the last token and past the last head.
// Order:  the others in order, 64 at a time: independent of the batch and the place in it.
// Limits: attn_bwd_sm90_takes; everything else is attention_bwd.cu's.
#include "kernels/attention_bwd_sm90.h"
#include "kernels/attention_tile.h"
#include "kernels/gpu_prims_sm90.h"

enum { HEAD = 64, TILE_ROWS = 64, ROW_BYTES = HEAD * 2, TILE_BYTES = TILE_ROWS * ROW_BYTES }; // a tile: rows of one head, 128-byte-swizzled
enum { GROUPS = 2, GROUP_WARPS = 4, GROUP_THREADS = 32 * GROUP_WARPS, THREADS = (GROUPS + 1) * GROUP_THREADS };
enum { STAGES = 8, STEPS = HEAD / 16, SUMS = TILE_ROWS / 2, STATISTICS_BYTES = TILE_ROWS * (int)sizeof(float4) };

// Shared memory: each group's own tiles (keys, values; or queries, dy, y's parts), stages of the others' two (and the queries'
// statistics), barriers.
template <bool OWN_KEYS> struct GradMemory {
    enum {
        OWN_TILES = OWN_KEYS ? 2 : 4,
        OWN_BYTES = OWN_TILES * TILE_BYTES,
        STAGE_BYTES = 2 * TILE_BYTES + (OWN_KEYS ? (int)STATISTICS_BYTES : 0),
        FIRST_STAGE = GROUPS * OWN_BYTES,
        OWN_FULL = FIRST_STAGE + STAGES * STAGE_BYTES,
        OWN_EMPTY = OWN_FULL + 8 * GROUPS,
        FULL = OWN_EMPTY + 8 * GROUPS,
        EMPTY = FULL + 8 * STAGES,
        LARGEST = EMPTY + 8 * STAGES, // of each group's head: a float
        SHARED_BYTES = LARGEST + 4 * GROUPS
    };
    static_assert((int)SHARED_BYTES <= 227 << 10, "a block's shared memory");
    static_assert((int)FIRST_STAGE % 1024 == 0 && (int)STAGE_BYTES % 1024 == 0, "tiles lie where their swizzle begins");
};
struct GradParams {
    AttnParams attn;            // blocks: of 128 rows
    int problems, items, steps; // problems: (image, head)s; steps: stages that an item takes
    bool apart;                 // the groups of a block have heads of their own, and a step each
};

// ---- device code ------------------------------------------------------------------------------------------------------------

// The own rows of a group, or of the first group what the others' rows are of.
GPU_FN AttnPlace item_place(const GradParams &p, int item, int group) {
    const uint32_t blocks = (uint32_t)p.attn.blocks, heads = (uint32_t)p.attn.heads;
    uint32_t problem = (uint32_t)(GROUPS * item + group), first = 0;
    if (!p.apart) problem = (uint32_t)item / blocks, first = ((uint32_t)item - problem * blocks) * GROUPS + (uint32_t)group;
    const uint32_t image = problem / heads;
    return {(int)image, (int)(problem - image * heads), (int)first * TILE_ROWS};
}
GPU_FN bool is_there(const GradParams &p, AttnPlace at) { return at.image * p.attn.heads + at.head < p.problems; }

// The producer: one thread. left: y's parts for queries, the statistics for keys.
template <bool OWN_KEYS>
GPU_FN void load_items(uint32_t base, const gpu::TensorMap *qkv, const gpu::TensorMap *dy, const gpu::TensorMap *left,
                       const GradParams &p) {
    typedef GradMemory<OWN_KEYS> Memory;
    const int heads = p.attn.heads;
    uint32_t made = 0, count = 0; // items; stages
    auto load = [&](uint32_t to, uint32_t full, Part part, AttnPlace at) {
        if (part == DY) gpu::tma_load(to, dy, full, 0, at.head, at.first, at.image);
        else gpu::tma_load(to, qkv, full, 0, part * heads + at.head, at.first, at.image);
    };
    for (int item = (int)blockIdx.x; item < p.items; item += (int)gridDim.x, made++) {
        for (int group = 0; group < GROUPS; group++) {
            const AttnPlace at = item_place(p, item, group);
            const uint32_t to = base + (uint32_t)(group * Memory::OWN_BYTES), full = base + Memory::OWN_FULL + 8 * group;
            gpu::mbar_wait(base + Memory::OWN_EMPTY + 8 * group, (made & 1) ^ 1);
            gpu::mbar_arrive_expect_tx(full, Memory::OWN_BYTES);
            load(to, full, OWN_KEYS ? KEY : QUERY, at);
            load(to + TILE_BYTES, full, OWN_KEYS ? VALUE : DY, at);
            if (!OWN_KEYS)
                for (int low = 0; low < 2; low++)
                    gpu::tma_load(to + (uint32_t)(2 + low) * TILE_BYTES, left, full, 0, low, at.first, at.image * heads + at.head);
        }
        for (int step = 0; step < p.steps; step++, count++) {
            AttnPlace at = item_place(p, item, p.apart ? step : 0);
            at.first = p.apart ? 0 : step * TILE_ROWS;
            const uint32_t stage = count % STAGES, to = base + Memory::FIRST_STAGE + stage * Memory::STAGE_BYTES,
                           full = base + Memory::FULL + 8 * stage;
            gpu::mbar_wait(base + Memory::EMPTY + 8 * stage, (count / STAGES & 1) ^ 1);
            gpu::mbar_arrive_expect_tx(full, Memory::STAGE_BYTES);
            load(to, full, OWN_KEYS ? QUERY : KEY, at);
            load(to + TILE_BYTES, full, OWN_KEYS ? DY : VALUE, at);
            if (OWN_KEYS) gpu::tma_load(to + 2 * TILE_BYTES, left, full, 0, at.first, at.image * heads + at.head);
        }
    }
}

// Beside it: a warp that finds the largest of a group's head, of what makes the range (AttnParams::lengths, or bounds for keys).
template <bool OWN_KEYS> GPU_FN void find_largest(uint8_t *shared, uint32_t base, const GradParams &p) {
    typedef GradMemory<OWN_KEYS> Memory;
    uint32_t made = 0;
    for (int item = (int)blockIdx.x; item < p.items; item += (int)gridDim.x, made++)
        for (int group = 0; group < GROUPS; group++) {
            const AttnPlace at = item_place(p, item, group);
            const float *const of_rows = OWN_KEYS ? p.attn.bounds : p.attn.lengths;
            const float largest = is_there(p, at) ? largest_of_head(of_rows + group_number(p.attn, at), p.attn.tokens) : 0;
            gpu::mbar_wait(base + Memory::OWN_EMPTY + 8 * group, (made & 1) ^ 1);
            if (threadIdx.x % 32 == 0) {
                ((float *)(shared + Memory::LARGEST))[group] = largest;
                gpu::mbar_arrive(base + Memory::OWN_FULL + 8 * group);
            }
            __syncwarp(); // no lane may still look for this phase when the next one ends
        }
}

// What a thread of a group knows of itself. warp: of the group.
template <bool OWN_KEYS> struct Owner {
    typedef GradMemory<OWN_KEYS> Memory;
    uint32_t base, first_stage; // first_stage: the lower word of a matrix descriptor
    int group, warp, lane;

    GPU_FN Owner(uint32_t shared) : base(shared) {
        const int t = (int)threadIdx.x % GROUP_THREADS;
        group = (int)threadIdx.x / GROUP_THREADS, warp = t / 32, lane = t % 32;
        first_stage = (uint32_t)gpu::wgmma_desc_sw128(base + Memory::FIRST_STAGE);
        gpu::hold(base), gpu::hold(first_stage);
    }
    // The lower word of the matrix descriptor of a stage's tile.
    GPU_FN uint32_t stage_tile(uint32_t count, int tile) const {
        return first_stage + (count % STAGES * Memory::STAGE_BYTES + (uint32_t)(tile * TILE_BYTES)) / 16;
    }
    GPU_FN float largest(const uint8_t *shared) const { return ((const float *)(shared + Memory::LARGEST))[group]; }
    GPU_FN uint32_t own_at(int tile) const { return base + (uint32_t)(group * Memory::OWN_BYTES + tile * TILE_BYTES); }
    static GPU_FN uint32_t stage_at(uint32_t count) { return Memory::FIRST_STAGE + count % STAGES * Memory::STAGE_BYTES; }
    GPU_FN uint32_t own_tile(int tile) const { return (uint32_t)gpu::wgmma_desc_sw128(own_at(tile)); }
    GPU_FN void wait_own(uint32_t made) const { gpu::mbar_wait(base + Memory::OWN_FULL + 8 * group, made & 1); }
    GPU_FN void wait_stage(uint32_t count) const { gpu::mbar_wait(base + Memory::FULL + 8 * (count % STAGES), count / STAGES & 1); }
    // The warp has read them, and waited for its products. What comes next comes by TMA, behind what was read by loads.
    GPU_FN void release_own() const {
        gpu::fence_proxy_async();
        __syncwarp();
        if (lane == 0) gpu::mbar_arrive(base + Memory::OWN_EMPTY + 8 * group);
    }
    GPU_FN void release_stage(uint32_t count) const {
        if (OWN_KEYS) gpu::fence_proxy_async(); // the queries' statistics
        __syncwarp();
        if (lane == 0) gpu::mbar_arrive(base + Memory::EMPTY + 8 * (count % STAGES));
    }
    // The warp's 16 rows of an own tile as left operands.
    GPU_FN void keep_own(uint32_t (&a)[STEPS][4], int tile) const {
        const int row = 16 * warp + (lane & 15);
        const uint32_t at = own_at(tile) + (uint32_t)(row * ROW_BYTES);
        GPU_FOR (int step = 0; step < STEPS; step++)
            gpu::ldmatrix<4>(a[step], at + (uint32_t)(((2 * step + (lane >> 4)) ^ (row & 7)) << 4));
    }
    GPU_FN int row(int h) const { return 16 * warp + 8 * h + (lane >> 2); } // of accumulators 4n + 2h + i, i = 0, 1
};

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

// dot[h] += the diagonal's value in the row h of a thread's accumulators.
GPU_FN void add_diagonal(float (&dot)[2], const float (&sum)[SUMS], int warp, int lane) {
    GPU_FOR (int h = 0; h < 2; h++) {
        const bool odd = lane >> 2 & 1;
        float own = 0;
        GPU_FOR (int w = 0; w < GROUP_WARPS; w++) {
            const float *const block = &sum[4 * (2 * w + h) + 2 * h]; // 8 columns, those of rows 16 w + 8 h and on
            if (warp == w) own = odd ? block[1] : block[0];
        }
        dot[h] += __shfl_sync(~0u, own, (lane & 28) | lane >> 3);
    }
}
// sum * factor (of row h) to the group's rows of a part of d qkv. The four lanes of a row exchange pairs of channels, so that each
// stores 8 in a row.
template <typename T>
GPU_FN void store_rows(const AttnParams &p, const float (&sum)[SUMS], const float (&factor)[2], AttnPlace at, Part part, int warp,
                       int lane) {
    const HeadRows y = head_rows(p, at, part);
    uint32_t v[2][HEAD / 8]; // of a block of 8 channels the lane's two; then of every fourth block all
    GPU_FOR (int h = 0; h < 2; h++)
        GPU_FOR (int n = 0; n < HEAD / 8; n++) {
            float low = factor[h] * sum[4 * n + 2 * h], high = factor[h] * sum[4 * n + 2 * h + 1];
            v[h][n] = pack<T>(low, high);
        }
    GPU_FOR (int apart = 1; apart <= 2; apart *= 2)
        GPU_FOR (int h = 0; h < 2; h++)
            GPU_FOR (int n = 0; n < HEAD / 8; n++) {
                if (n & apart) continue;
                const bool upper = lane & apart;
                const uint32_t got = __shfl_xor_sync(~0u, upper ? v[h][n] : v[h][n + apart], apart);
                if (upper) v[h][n] = got;
                else v[h][n + apart] = got;
            }
    GPU_FOR (int h = 0; h < 2; h++) {
        const int token = at.first + 16 * warp + 8 * h + (lane >> 2);
        T *const row = (T *)p.y + y.first + (size_t)token * y.stride + (size_t)(8 * (lane & 3));
        if (token < p.tokens)
            GPU_FOR (int n = 0; n < HEAD / 8; n += 4) gpu::store16(row + 8 * n, make_uint4(v[h][n], v[h][n + 1], v[h][n + 2], v[h][n + 3]));
    }
}

// D, and what |dP| cannot exceed, of the own queries, made by the products that make dP.
template <typename T> GPU_FN void query_dots(const Owner<false> &o, const uint32_t (&dy)[STEPS][4], float (&dot)[2], float (&bound)[2]) {
    float high[SUMS], low[SUMS], square[SUMS];
    begin_products(high, low, square);
    multiply_rows<T>(high, dy, o.own_tile(2));
    multiply_rows<T>(low, dy, o.own_tile(3));
    multiply_rows<T>(square, dy, o.own_tile(1));
    gpu::wgmma_commit();
    wait_products<0>(high, low, square);
    dot[0] = dot[1] = bound[0] = bound[1] = 0;
    add_diagonal(dot, high, o.warp, o.lane);
    add_diagonal(dot, low, o.warp, o.lane);
    add_diagonal(bound, square, o.warp, o.lane);
}

template <typename T> GPU_FN void grad_queries(const uint8_t *shared, uint32_t base, const GradParams &g) {
    typedef Owner<false> O;
    const AttnParams &p = g.attn;
    const O o(base);
    uint32_t made = 0, count = g.apart ? (uint32_t)o.group : 0;
    for (int item = (int)blockIdx.x; item < g.items; item += (int)gridDim.x, made++) {
        const AttnPlace at = item_place(g, item, o.group);
        const bool there = is_there(g, at);
        float2 score[2];
        GPU_FOR (int h = 0; h < 2; h++) {
            const int query = at.first + o.row(h);
            score[h] = there && query < p.tokens ? p.scores[row_number(p, at) + (size_t)query] : make_float2(0, 0);
        }
        uint32_t own[STEPS][4], dy[STEPS][4];
        float dot[2], bound[1][2];
        o.wait_own(made);
        const float longest = IsHalf<T>::VALUE ? o.largest(shared) : 0;
        o.keep_own(own, 0);
        o.keep_own(dy, 1);
        query_dots<T>(o, dy, dot, bound[0]);
        o.release_own();

        // A weight times a power of two is exp2(score * log2_scale - offset), but for what the offset's rounding takes: unscale gives it back.
        float offset[2], unscale[2];
        GPU_FOR (int h = 0; h < 2; h++) {
            const int query = at.first + o.row(h);
            bound[0][h] = sqrtf(bound[0][h]) * sqrtf(longest);
            const int exponent = IsHalf<T>::VALUE ? range_exponent(bound[0][h]) : 0;
            const float rest = score[h].y - (float)exponent;
            offset[h] = fmaf(score[h].x, p.log2_scale, rest);
            unscale[h] = p.scale / power_of_two(exponent) * exp2f(-(fmaf(score[h].x, p.log2_scale, -offset[h]) + rest));
            if ((o.lane & 3) == 0 && there && query < p.tokens)
                p.query_stats[row_number(p, at) + (size_t)query] =
                    make_float4(score[h].x, score[h].y - (float)Range<T>::P_EXPONENT, dot[h], 0);
        }
        if (IsHalf<T>::VALUE && there) leave_largest(p.bounds + group_number(p, at), p.tokens, at.first + 16 * o.warp, bound);

        float dq[SUMS], s[SUMS], dp[SUMS];
        const int steps = g.apart ? 1 : g.steps;
        auto add = [&](int step, bool last) {
            begin_products(s, dp);
            multiply_rows<T>(s, own, o.stage_tile(count, 0));
            gpu::wgmma_commit();
            multiply_rows<T>(dp, dy, o.stage_tile(count, 1));
            gpu::wgmma_commit();
            if (step + 1 < steps) o.wait_stage(count + 1); // for the next step
            wait_products<1>(s);                           // dp is under way
            if (step > 0) o.release_stage(count - 1);
            if (last && (step + 1) * TILE_ROWS > p.tokens)
                GPU_FOR (int i = 0; i < SUMS; i++)
                    if (step * TILE_ROWS + i / 4 * 8 + (o.lane & 3) * 2 + i % 2 >= p.tokens) s[i] = -INFINITY;
            GPU_FOR (int i = 0; i < SUMS; i++) s[i] = gpu::exp2_approx(fmaf(s[i], p.log2_scale, -offset[i / 2 % 2]));
            wait_products<0>(dp);
            uint32_t slopes[STEPS][4];
            GPU_FOR (int n = 0; n < TILE_ROWS / 8; n++)
                GPU_FOR (int h = 0; h < 2; h++) {
                    const int k = 4 * n + 2 * h;
                    float slope[2] = {s[k] * (dp[k] - dot[h]), s[k + 1] * (dp[k + 1] - dot[h])};
                    slopes[n / 2][n % 2 * 2 + h] = pack<T>(slope[0], slope[1]);
                }
            begin_products(dq);
            multiply_columns<T>(dq, slopes, o.stage_tile(count++, 0));
            gpu::wgmma_commit();
        };
        clear(dq);
        o.wait_stage(count);
        for (int step = 0; step < steps - 1; step++) add(step, false);
        add(steps - 1, true);
        wait_products<0>(dq, s, dp);
        o.release_stage(count - 1);
        count += g.apart ? GROUPS - 1 : 0;
        if (there) store_rows<T>(p, dq, unscale, at, QUERY, o.warp, o.lane);
    }
}

template <typename T> GPU_FN void grad_keys(const uint8_t *shared, uint32_t base, const GradParams &g) {
    typedef Owner<true> O;
    const AttnParams &p = g.attn;
    const O o(base);
    const float p_unit = 1.0f / (1 << Range<T>::P_EXPONENT);
    uint32_t made = 0, count = g.apart ? (uint32_t)o.group : 0;
    for (int item = (int)blockIdx.x; item < g.items; item += (int)gridDim.x, made++) {
        const AttnPlace at = item_place(g, item, o.group);
        const bool there = is_there(g, at);
        uint32_t key[STEPS][4], value[STEPS][4];
        o.wait_own(made);
        const int exponent = IsHalf<T>::VALUE ? range_exponent(o.largest(shared)) : 0;
        const float factor = power_of_two(exponent), slope_unit = factor * p_unit; // of dS; of dS made from weights
        o.keep_own(key, 0);
        o.keep_own(value, 1);
        o.release_own();

        float dk[SUMS], dv[SUMS], s[SUMS], dp[SUMS];
        const int steps = g.apart ? 1 : g.steps;
        auto add = [&](int step) {
            begin_products(s, dp);
            multiply_rows<T>(s, key, o.stage_tile(count, 0));
            gpu::wgmma_commit();
            multiply_rows<T>(dp, value, o.stage_tile(count, 1));
            gpu::wgmma_commit();
            const uint8_t *const statistics = shared + O::stage_at(count) + 2 * TILE_BYTES + (o.lane & 3) * 2 * sizeof(float4);
            if (step + 1 < steps) o.wait_stage(count + 1); // for the next step
            wait_products<1>(s);                           // dp is under way
            if (step > 0) o.release_stage(count - 1);
            uint32_t slopes[STEPS][4], weights[STEPS][4];
            GPU_FOR (int n = 0; n < TILE_ROWS / 8; n++) { // queries past the last are all zeros, and so are their statistics and dy
                GPU_FOR (int i = 0; i < 2; i++) {
                    const float2 q = *(const float2 *)(statistics + (8 * n + i) * sizeof(float4));
                    GPU_FOR (int h = 0; h < 2; h++) {
                        float &weight = s[4 * n + 2 * h + i];
                        weight = gpu::exp2_approx(fmaf(weight - q.x, p.log2_scale, -q.y));
                    }
                }
                GPU_FOR (int h = 0; h < 2; h++) {
                    float weight[2] = {s[4 * n + 2 * h], s[4 * n + 2 * h + 1]};
                    weights[n / 2][n % 2 * 2 + h] = pack<T>(weight[0], weight[1]);
                }
            }
            begin_products(dv);
            multiply_columns<T>(dv, weights, o.stage_tile(count, 1));
            gpu::wgmma_commit();
            wait_products<1>(dp);
            GPU_FOR (int n = 0; n < TILE_ROWS / 8; n++) {
                float dot[2]; // the queries' D
                GPU_FOR (int i = 0; i < 2; i++) dot[i] = slope_unit * *(const float *)(statistics + (8 * n + i) * sizeof(float4) + 8);
                GPU_FOR (int h = 0; h < 2; h++) {
                    const int k = 4 * n + 2 * h;
                    float slope[2] = {s[k] * fmaf(dp[k], slope_unit, -dot[0]), s[k + 1] * fmaf(dp[k + 1], slope_unit, -dot[1])};
                    slopes[n / 2][n % 2 * 2 + h] = pack<T>(slope[0], slope[1]);
                }
            }
            begin_products(dk);
            multiply_columns<T>(dk, slopes, o.stage_tile(count++, 0));
            gpu::wgmma_commit();
        };
        clear(dk);
        clear(dv);
        o.wait_stage(count);
        for (int step = 0; step < steps; step++) add(step);
        wait_products<0>(dk, dv, s, dp);
        o.release_stage(count - 1);
        count += g.apart ? GROUPS - 1 : 0;
        if (!there) continue;
        const float unscale[2] = {p.scale / factor, p.scale / factor}, unit[2] = {p_unit, p_unit};
        store_rows<T>(p, dk, unscale, at, KEY, o.warp, o.lane);
        store_rows<T>(p, dv, unit, at, VALUE, o.warp, o.lane);
    }
}

template <typename T, bool OWN_KEYS>
__global__ void __launch_bounds__(THREADS, 1)
    attn_grad_wgmma_kernel(const __grid_constant__ gpu::TensorMap qkv, const __grid_constant__ gpu::TensorMap dy,
                           const __grid_constant__ gpu::TensorMap left, const __grid_constant__ GradParams p) {
    typedef GradMemory<OWN_KEYS> Memory;
    DYN_SHARED(shared);
    const uint32_t base = gpu::smem_u32(shared);
    if (threadIdx.x == 0) {
        for (int group = 0; group < GROUPS; group++) {
            gpu::mbar_init(base + Memory::OWN_FULL + 8 * group, IsHalf<T>::VALUE ? 2 : 1);
            gpu::mbar_init(base + Memory::OWN_EMPTY + 8 * group, GROUP_WARPS);
        }
        for (int stage = 0; stage < STAGES; stage++) {
            gpu::mbar_init(base + Memory::FULL + 8 * stage, 1);
            gpu::mbar_init(base + Memory::EMPTY + 8 * stage, p.apart ? GROUP_WARPS : GROUPS * GROUP_WARPS);
        }
        gpu::fence_barrier_init();
    }
    __syncthreads();
    if (threadIdx.x >= GROUPS * GROUP_THREADS) {
        gpu::setmaxnreg_dec<24>();
        const int warp = (int)threadIdx.x / 32 - GROUPS * GROUP_WARPS;
        if (threadIdx.x == GROUPS * GROUP_THREADS) load_items<OWN_KEYS>(base, &qkv, &dy, &left, p);
        if (IsHalf<T>::VALUE && warp == 1) find_largest<OWN_KEYS>(shared, base, p);
        __syncwarp();
    } else {
        gpu::setmaxnreg_inc<240>();
        if constexpr (OWN_KEYS) grad_keys<T>(shared, base, p);
        else grad_queries<T>(shared, base, p);
    }
}

// ---- launchers --------------------------------------------------------------------------------------------------------------

bool attn_bwd_sm90_takes(const AttnArgs *a) {
    return a->capability == 90 && a->d == HEAD && a->kept && (a->qkv_type == DG_F16 || a->qkv_type == DG_BF16) &&
           a->dy_type == a->qkv_type && a->y_type == a->qkv_type;
}
typedef gpu::TensorMap Map;
// A map of rows of `parts` parts of HEAD channels each, a tile's rows of one part of one image at a time.
static int rows_map(Map *m, const AttnArgs *a, const void *base, int parts, int images) {
    const uint64_t row = (uint64_t)parts * ROW_BYTES, dims[4] = {HEAD, (uint64_t)parts, (uint64_t)a->tokens, (uint64_t)images};
    const uint64_t strides[3] = {ROW_BYTES, row, row * dims[2]};
    const uint32_t box[4] = {HEAD, 1, TILE_ROWS, 1};
    return gpu::tensor_map(m, a->qkv_type == DG_BF16 ? gpu::MAP_BF16 : gpu::MAP_F16, 4, base, dims, strides, box, gpu::SWIZZLE_128B);
}
static int statistics_map(Map *m, const AttnArgs *a, const void *base, int problems) {
    const uint64_t dims[3] = {4, (uint64_t)a->tokens, (uint64_t)problems}, strides[2] = {sizeof(float4), sizeof(float4) * dims[1]};
    const uint32_t box[3] = {4, TILE_ROWS, 1};
    return gpu::tensor_map(m, gpu::MAP_F32, 3, base, dims, strides, box, gpu::SWIZZLE_NONE);
}
template <typename T> static int launch_type(const AttnArgs *a, cudaStream_t stream) {
    GradParams p = {};
    p.attn = attn_params(a);
    p.problems = a->n * a->heads, p.apart = a->tokens <= TILE_ROWS;
    p.attn.blocks = (a->tokens + GROUPS * TILE_ROWS - 1) / (GROUPS * TILE_ROWS);
    p.items = p.apart ? (p.problems + GROUPS - 1) / GROUPS : p.problems * p.attn.blocks;
    p.steps = p.apart ? (int)GROUPS : (a->tokens + TILE_ROWS - 1) / TILE_ROWS;
    Map qkv, dy, parts, statistics;
    int failed = rows_map(&qkv, a, a->qkv, 3 * a->heads, a->n);
    failed |= rows_map(&dy, a, a->dy, a->heads, a->n);
    failed |= rows_map(&parts, a, p.attn.y_parts, 2, p.problems);
    failed |= statistics_map(&statistics, a, p.attn.query_stats, p.problems);
    if (failed) return cudaErrorInvalidValue;
    const int most = a->multiprocessors > 0 ? a->multiprocessors : 1;
    const dim3 grid((unsigned)(p.items < most ? p.items : most));
    const int error = gpu::launch(attn_grad_wgmma_kernel<T, false>, grid, dim3(THREADS), (size_t)GradMemory<false>::SHARED_BYTES, stream,
                                  qkv, dy, parts, p);
    return error ? error
                 : gpu::launch(attn_grad_wgmma_kernel<T, true>, grid, dim3(THREADS), (size_t)GradMemory<true>::SHARED_BYTES, stream, qkv,
                               dy, statistics, p);
}
int attn_bwd_sm90(const AttnArgs *a, void *stream) {
    if (a->qkv_type == DG_F16) return launch_type<__half>(a, (cudaStream_t)stream);
    return launch_type<__nv_bfloat16>(a, (cudaStream_t)stream);
}
