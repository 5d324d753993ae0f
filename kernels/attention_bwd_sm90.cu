// attention_bwd_sm90.cu -- the gradient of attention_bwd.cu on Hopper (compute capability 9.0 exactly), by TMA and wgmma: heads of 64, f16 and
// bf16, more tokens than attention_bwd_heads_sm90.cu holds of a head. The formulas, the ranges and what the forward leaves are as there.
// Work:   two kernels. The first owns queries and walks over the keys: dq, and the queries' statistics. The second owns keys and walks over
//         the queries: dk and dv. Three and four products of 64 x 64 x 64; one kernel of five would have to add partial sums of dq in
//         memory, which is more bytes than the op's own. One block per multiprocessor makes item after item. Of its three groups of 4
//         warps the first two own 64 rows each, of one head. In the third a thread fills shared memory by TMA and runs into the next
//         item, and a warp finds what the range comes from. A group's own rows are operands in registers. While one group makes
//         weights, the tensor cores multiply for the other.
// Edges:  TMA reads zeros past the last token.
// Order:  the others in order, 64 at a time: independent of the batch and the place in it.
// Limits: attn_bwd_sm90_takes; everything else is attention_bwd.cu's.
#include "kernels/attention_bwd_sm90.h"
#include "kernels/attention_bwd_sm90_tile.h"

enum { STAGES = 8 };

// Shared memory: each group's own tiles (keys, values; or queries, dy, y's parts), stages of the others' two (and the queries'
// statistics), barriers.
template <bool OWN_KEYS> struct GradMemory {
    enum {
        OWN_TILES = OWN_KEYS ? 2 : 4,
        OWN_BYTES = OWN_TILES * TILE_BYTES,
        STAGE_BYTES = 2 * TILE_BYTES + (OWN_KEYS ? (int)STATISTICS_BYTES : 0),
        FIRST_STAGE = GROUPS * OWN_BYTES,
        OUTPUTS = FIRST_STAGE + STAGES * STAGE_BYTES,
        OWN_FULL = OUTPUTS + OUTPUT_BYTES,
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
    AttnParams attn;  // blocks: of 128 rows
    int items, steps; // steps: stages that an item takes
};

// ---- device code ------------------------------------------------------------------------------------------------------------

// The own rows of a group.
GPU_FN AttnPlace item_place(const GradParams &p, int item, int group) {
    const uint32_t blocks = (uint32_t)p.attn.blocks, heads = (uint32_t)p.attn.heads;
    const uint32_t problem = (uint32_t)item / blocks, first = ((uint32_t)item - problem * blocks) * GROUPS + (uint32_t)group;
    const uint32_t image = problem / heads;
    return {(int)image, (int)(problem - image * heads), (int)first * TILE_ROWS};
}

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
            AttnPlace at = item_place(p, item, 0);
            at.first = step * TILE_ROWS;
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
            const float largest = largest_of_head(of_rows + group_number(p.attn, at), p.attn.tokens);
            gpu::mbar_wait(base + Memory::OWN_EMPTY + 8 * group, (made & 1) ^ 1);
            if (threadIdx.x % 32 == 0) {
                ((float *)(shared + Memory::LARGEST))[group] = largest;
                gpu::mbar_arrive(base + Memory::OWN_FULL + 8 * group);
            }
            __syncwarp(); // no lane may still look for this phase when the next one ends
        }
}

// What a thread of a group knows of itself.
template <bool OWN_KEYS> struct Owner : GroupThread {
    typedef GradMemory<OWN_KEYS> Memory;
    uint32_t base, first_stage; // first_stage: the lower word of a matrix descriptor

    GPU_FN Owner(uint32_t shared) : base(shared) {
        first_stage = (uint32_t)gpu::wgmma_desc_sw128(base + Memory::FIRST_STAGE);
        gpu::hold(base), gpu::hold(first_stage);
    }
    GPU_FN Outputs outputs(const gpu::TensorMap *map) const { return {map, base + Memory::OUTPUTS + threadIdx.x / 32 * WARP_BYTES}; }
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
};

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
// D, and the squared length of dy, of the own queries, made by the products that make dP.
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

template <typename T> GPU_FN void grad_queries(const uint8_t *shared, uint32_t base, const gpu::TensorMap *outputs, const GradParams &g) {
    typedef Owner<false> O;
    const AttnParams &p = g.attn;
    const O o(base);
    uint32_t made = 0, count = 0;
    for (int item = (int)blockIdx.x; item < g.items; item += (int)gridDim.x, made++) {
        const AttnPlace at = item_place(g, item, o.group);
        float2 score[2];
        GPU_FOR (int h = 0; h < 2; h++) {
            const int query = at.first + o.row(h);
            score[h] = query < p.tokens ? p.scores[row_number(p, at) + (size_t)query] : make_float2(0, 0);
        }
        OwnQueries own;
        float bound[1][2];
        o.wait_own(made);
        const float longest = IsHalf<T>::VALUE ? o.largest(shared) : 0;
        keep_rows(own.query, o.own_at(0), o);
        keep_rows(own.dy, o.own_at(1), o);
        query_dots<T>(o, own.dy, own.dot, bound[0]);
        o.release_own();
        GPU_FOR (int h = 0; h < 2; h++) bound[0][h] = sqrtf(bound[0][h]) * sqrtf(longest);
        find_range<T>(own, score, bound[0], p);
        GPU_FOR (int h = 0; h < 2; h++) {
            const int query = at.first + o.row(h);
            if ((o.lane & 3) == 0 && query < p.tokens)
                p.query_stats[row_number(p, at) + (size_t)query] = query_statistics<T>(score[h], own.dot[h]);
        }
        if (IsHalf<T>::VALUE) leave_largest(p.bounds + group_number(p, at), p.tokens, at.first + 16 * o.warp, bound);

        float dq[SUMS], s[SUMS], dp[SUMS];
        auto add = [&](int step, bool last) {
            auto under_way = [&] {
                if (step + 1 < g.steps) o.wait_stage(count + 1); // for the next step
            };
            auto scores_there = [&] {
                if (step > 0) o.release_stage(count - 1);
            };
            add_keys<T>(dq, s, dp, own, o.stage_tile(count, 0), o.stage_tile(count, 1), last, p.tokens - step * TILE_ROWS, p.log2_scale,
                        under_way, scores_there);
            count++;
        };
        clear(dq);
        o.wait_stage(count);
        for (int step = 0; step < g.steps - 1; step++) add(step, false);
        add(g.steps - 1, true);
        wait_products<0>(dq, s, dp);
        o.release_stage(count - 1);
        store_rows<T>(o.outputs(outputs), p, dq, own.unscale, at, QUERY, o);
    }
    if (o.lane == 0) gpu::bulk_wait_read<0>();
}

template <typename T> GPU_FN void grad_keys(const uint8_t *shared, uint32_t base, const gpu::TensorMap *outputs, const GradParams &g) {
    typedef Owner<true> O;
    const AttnParams &p = g.attn;
    const O o(base);
    uint32_t made = 0, count = 0;
    for (int item = (int)blockIdx.x; item < g.items; item += (int)gridDim.x, made++) {
        const AttnPlace at = item_place(g, item, o.group);
        OwnKeys own;
        o.wait_own(made);
        find_range<T>(own, o.largest(shared));
        keep_rows(own.key, o.own_at(0), o);
        keep_rows(own.value, o.own_at(1), o);
        o.release_own();

        float dk[SUMS], dv[SUMS], s[SUMS], dp[SUMS];
        clear(dk);
        clear(dv);
        o.wait_stage(count);
        for (int step = 0; step < g.steps; step++, count++) {
            auto under_way = [&] {
                if (step + 1 < g.steps) o.wait_stage(count + 1); // for the next step
            };
            auto scores_there = [&] {
                if (step > 0) o.release_stage(count - 1);
            };
            add_queries<T>(dk, dv, s, dp, own, o.stage_tile(count, 0), o.stage_tile(count, 1), shared + O::stage_at(count) + 2 * TILE_BYTES,
                           p.log2_scale, under_way, scores_there);
        }
        wait_products<0>(dk, dv, s, dp);
        o.release_stage(count - 1);
        store_keys<T>(o.outputs(outputs), p, dk, dv, own, at, o);
    }
    if (o.lane == 0) gpu::bulk_wait_read<0>();
}

template <typename T, bool OWN_KEYS>
__global__ void __launch_bounds__(THREADS, 1)
    attn_grad_wgmma_kernel(const __grid_constant__ gpu::TensorMap qkv, const __grid_constant__ gpu::TensorMap dy,
                           const __grid_constant__ gpu::TensorMap left, const __grid_constant__ gpu::TensorMap outputs,
                           const __grid_constant__ GradParams p) {
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
            gpu::mbar_init(base + Memory::EMPTY + 8 * stage, GROUPS * GROUP_WARPS);
        }
        gpu::fence_barrier_init();
    }
    __syncthreads();
    gpu::grid_enter(); // all: the kernel before may have written what is loaded and may still read what is written
    if (threadIdx.x >= GROUPS * GROUP_THREADS) {
        gpu::setmaxnreg_dec<24>();
        const int warp = (int)threadIdx.x / 32 - GROUPS * GROUP_WARPS;
        if (threadIdx.x == GROUPS * GROUP_THREADS) load_items<OWN_KEYS>(base, &qkv, &dy, &left, p);
        if (IsHalf<T>::VALUE && warp == 1) find_largest<OWN_KEYS>(shared, base, p);
        __syncwarp();
    } else {
        gpu::setmaxnreg_inc<240>();
        if constexpr (OWN_KEYS) grad_keys<T>(shared, base, &outputs, p);
        else grad_queries<T>(shared, base, &outputs, p);
    }
}

// ---- launchers --------------------------------------------------------------------------------------------------------------

bool attn_bwd_sm90_takes(const AttnArgs *a) {
    return a->capability == 90 && a->d == HEAD && a->kept && (a->qkv_type == DG_F16 || a->qkv_type == DG_BF16) &&
           a->dy_type == a->qkv_type && a->y_type == a->qkv_type;
}
typedef gpu::TensorMap Map;
static int statistics_map(Map *m, const AttnArgs *a, const void *base, int problems) {
    const uint64_t dims[3] = {4, (uint64_t)a->tokens, (uint64_t)problems}, strides[2] = {sizeof(float4), sizeof(float4) * dims[1]};
    const uint32_t box[3] = {4, TILE_ROWS, 1};
    return gpu::tensor_map(m, gpu::MAP_F32, 3, base, dims, strides, box, gpu::SWIZZLE_NONE);
}
template <typename T> static int launch_type(const AttnArgs *a, cudaStream_t stream) {
    GradParams p = {};
    p.attn = attn_params(a);
    const int problems = a->n * a->heads;
    p.attn.blocks = ceil_div(a->tokens, GROUPS * TILE_ROWS);
    p.items = problems * p.attn.blocks;
    p.steps = ceil_div(a->tokens, TILE_ROWS);
    Map qkv, dy, parts, statistics, outputs;
    int failed = attn_rows_map(&qkv, a, a->qkv, 3 * a->heads, a->n, HEAD, gpu::SWIZZLE_128B);
    failed |= attn_rows_map(&dy, a, a->dy, a->heads, a->n, HEAD, gpu::SWIZZLE_128B);
    failed |= attn_rows_map(&parts, a, p.attn.y_parts, 2, problems, HEAD, gpu::SWIZZLE_128B);
    failed |= statistics_map(&statistics, a, p.attn.query_stats, problems);
    failed |= output_map(&outputs, a);
    if (failed) return cudaErrorInvalidValue;
    const int most = a->multiprocessors > 0 ? a->multiprocessors : 1;
    const dim3 grid((unsigned)(p.items < most ? p.items : most));
    const int error = gpu::launch_dependent(attn_grad_wgmma_kernel<T, false>, grid, dim3(THREADS), (size_t)GradMemory<false>::SHARED_BYTES,
                                            stream, qkv, dy, parts, outputs, p);
    return error ? error
                 : gpu::launch_dependent(attn_grad_wgmma_kernel<T, true>, grid, dim3(THREADS), (size_t)GradMemory<true>::SHARED_BYTES,
                                         stream, qkv, dy, statistics, outputs, p);
}
int attn_bwd_sm90(const AttnArgs *a, void *stream) {
    if (attn_bwd_heads_fits(a)) return attn_bwd_heads_sm90(a, stream);
    if (a->qkv_type == DG_F16) return launch_type<__half>(a, (cudaStream_t)stream);
    return launch_type<__nv_bfloat16>(a, (cudaStream_t)stream);
}
