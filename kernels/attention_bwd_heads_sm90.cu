// attention_bwd_heads_sm90.cu -- the gradient of attention_bwd_sm90.cu for at most 256 tokens, in one kernel: a head's queries, keys, values
// and dy lie in shared memory whole and are read once.
// Work:   a block per multiprocessor makes head after head. Of its three groups of 4 warps the first two own 64 rows at a time. First these
//         are queries (D, then dq, and the statistics that keys want to know), then, behind a barrier, keys (dk and dv). In the third
//         group a thread fills shared memory by TMA, warps bring what the forward left, and all run into the next heads. Tensors lie
//         there in a ring of pairs: keys with values, queries with dy. Keys and values are free as soon as the last of them are in
//         registers. With up to 64 tokens a group has heads of its own, and its own ring.
// Edges:  TMA reads zeros past the last token, where dP and so D are zeros too.
// Order:  the others 64 at a time, for dq the last of them first, whose weights are there when D is known: independent of the batch and the
//         place in it.
// Limits: attn_bwd_heads_fits, and attn_bwd_sm90_takes. Of what AttnParams says of the forward it wants the scores alone.
#include "kernels/attention_bwd_sm90.h"
#include "kernels/attention_bwd_sm90_tile.h"

// Shared memory: rings of pairs of tensors of a head, TILES tiles each; outputs; of each ring the statistics of some heads' queries,
// and what |dP| cannot exceed; barriers.
template <int TILES> struct HeadMemory {
    enum {
        RINGS = TILES == 1 ? GROUPS : 1,
        SCORE_WARPS = GROUPS / RINGS,
        RING_WARPS = GROUPS * GROUP_WARPS / RINGS, // that use one
        BUFFERS = TILES == 1 ? 6 : 3,
        HEADS = (BUFFERS + 1) / 2, // whose statistics lie there
        PAIR_BYTES = 2 * TILES * TILE_BYTES,
        OUTPUTS = RINGS * BUFFERS * PAIR_BYTES,
        STATISTICS = OUTPUTS + OUTPUT_BYTES,
        BOUNDS = STATISTICS + HEADS * RINGS * TILES * STATISTICS_BYTES,
        FULL = BOUNDS + HEADS * RINGS * TILES * GROUP_WARPS * (int)sizeof(float),
        EMPTY = FULL + 8 * RINGS * BUFFERS,
        SCORED = EMPTY + 8 * RINGS * BUFFERS,
        SHARED_BYTES = SCORED + 8 * RINGS * HEADS
    };
    static_assert((int)SHARED_BYTES <= 227 << 10, "a block's shared memory");
};
enum { MOST_TILES = 4 };
struct HeadParams {
    AttnParams attn;
    int problems, tiles; // problems: (image, head)s; tiles: of a head
};

// One ring of a block: pair 2n holds the keys and values of its n-th head, pair 2n + 1 the queries and dy.
template <int TILES> struct Ring {
    typedef HeadMemory<TILES> Memory;
    uint32_t base;
    int number;

    GPU_FN uint32_t buffer(uint32_t pair) const { return (uint32_t)(number * Memory::BUFFERS) + pair % Memory::BUFFERS; }
    GPU_FN static uint32_t phase(uint32_t pair) { return pair / Memory::BUFFERS & 1; }
    // Of the first or the second tensor of a pair; after the block's shared memory begins.
    GPU_FN uint32_t tile_at(uint32_t pair, int second, int tile) const {
        return buffer(pair) * Memory::PAIR_BYTES + (uint32_t)((second * TILES + tile) * TILE_BYTES);
    }
    // The lower word of a tile's descriptor.
    GPU_FN uint32_t tile_of(uint32_t pair, int second, int tile) const {
        return (uint32_t)gpu::wgmma_desc_sw128(0) + ((base + tile_at(pair, second, tile)) >> 4);
    }
    GPU_FN uint32_t full(uint32_t pair) const { return base + Memory::FULL + 8 * buffer(pair); }
    GPU_FN uint32_t empty(uint32_t pair) const { return base + Memory::EMPTY + 8 * buffer(pair); }
    GPU_FN void wait(uint32_t pair) const { gpu::mbar_wait(full(pair), phase(pair)); }
    // The warp has read it, and waited for its products. What comes next comes by TMA, behind what was read by loads.
    GPU_FN void release(uint32_t pair) const {
        gpu::fence_proxy_async();
        __syncwarp();
        if (threadIdx.x % 32 == 0) gpu::mbar_arrive(empty(pair));
    }
    // Of the n-th head. Several lie there in turn: the place is free when the buffer for its queries is, for then all warps have done with the
    // head before the one before (or with the third before, in a ring of 6 buffers).
    GPU_FN int head(uint32_t n) const { return number * Memory::HEADS + (int)(n % Memory::HEADS); }
    GPU_FN float4 *statistics(uint8_t *shared, uint32_t n) const {
        return (float4 *)(shared + Memory::STATISTICS) + head(n) * TILES * TILE_ROWS;
    }
    GPU_FN float *bounds(uint8_t *shared, uint32_t n) const { return (float *)(shared + Memory::BOUNDS) + head(n) * TILES * GROUP_WARPS; }
    GPU_FN uint32_t scored(uint32_t n) const { return base + Memory::SCORED + 8 * (uint32_t)head(n); }
    // Calls f(n, its place) for every head of this ring.
    template <class F> GPU_FN void walk(const HeadParams &p, const F &f) const {
        uint32_t n = 0;
        for (int problem = (int)blockIdx.x * Memory::RINGS + number; problem < p.problems; problem += (int)gridDim.x * Memory::RINGS)
            f(n++, AttnPlace{problem / p.attn.heads, problem % p.attn.heads, 0});
    }
};

// The producer: one thread of each ring.
template <int TILES>
GPU_FN void load_heads(const Ring<TILES> &ring, const gpu::TensorMap *qkv, const gpu::TensorMap *dy, const HeadParams &p) {
    const int heads = p.attn.heads;
    auto load = [&](uint32_t pair, const gpu::TensorMap *second_map, int first_part, int second_part, int image) {
        gpu::mbar_wait(ring.empty(pair), ring.phase(pair) ^ 1);
        gpu::mbar_arrive_expect_tx(ring.full(pair), (uint32_t)(2 * p.tiles * TILE_BYTES));
        for (int tile = 0; tile < p.tiles; tile++) {
            gpu::tma_load(ring.base + ring.tile_at(pair, 0, tile), qkv, ring.full(pair), 0, first_part, tile * TILE_ROWS, image);
            gpu::tma_load(ring.base + ring.tile_at(pair, 1, tile), second_map, ring.full(pair), 0, second_part, tile * TILE_ROWS, image);
        }
    };
    ring.walk(p, [&](uint32_t n, AttnPlace at) {
        load(2 * n, qkv, KEY * heads + at.head, VALUE * heads + at.head, at.image);
        load(2 * n + 1, dy, QUERY * heads + at.head, at.head, at.image);
    });
}

// Beside it: warps of each ring that bring what the forward left of the queries, each of a part of them; their D is added when it is known.
template <typename T, int TILES> GPU_FN void load_scores(const Ring<TILES> &ring, int part, uint8_t *shared, const HeadParams &g) {
    const AttnParams &p = g.attn;
    ring.walk(g, [&](uint32_t n, AttnPlace at) {
        enum { QUERIES = TILES * TILE_ROWS / HeadMemory<TILES>::SCORE_WARPS / 32 }; // of a lane
        const int first = part * QUERIES * 32 + (int)threadIdx.x % 32;
        float2 score[QUERIES];
        GPU_FOR (int i = 0; i < QUERIES; i++) {
            const int query = first + 32 * i;
            score[i] = query < p.tokens ? p.scores[row_number(p, at) + (size_t)query] : make_float2(0, 0);
        }
        gpu::mbar_wait(ring.empty(2 * n + 1), ring.phase(2 * n + 1) ^ 1);
        GPU_FOR (int i = 0; i < QUERIES; i++) {
            float4 statistics = query_statistics<T>(score[i], 0);
            statistics.w = score[i].y;
            ring.statistics(shared, n)[first + 32 * i] = statistics;
        }
        __syncwarp();
        if (threadIdx.x % 32 == 0) gpu::mbar_arrive(ring.scored(n));
    });
}

// What 64 keys add to D, the sum of probability times dP, and the largest |dP|. The difference of scores is taken before it is scaled: a key
// that takes all has the probability 1 exactly, and a D that is its dP.
template <typename T>
GPU_FN void add_dots(float (&dot)[2], float (&most)[2], float (&s)[SUMS], float (&dp)[SUMS], const OwnQueries &q, uint32_t keys,
                     uint32_t values, bool last, int present, const float2 (&score)[2], float log2_scale) {
    multiply_both<T>(s, dp, q.query, q.dy, keys, values);
    wait_products<1>(s); // dp is under way
    if (last) mask_keys(s, present);
    GPU_FOR (int i = 0; i < SUMS; i++) s[i] = gpu::exp2_approx(fmaf(s[i] - score[i / 2 % 2].x, log2_scale, -score[i / 2 % 2].y));
    wait_products<0>(dp);
    GPU_FOR (int i = 0; i < SUMS; i++) {
        dot[i / 2 % 2] = fmaf(s[i], dp[i], dot[i / 2 % 2]);
        most[i / 2 % 2] = fmaxf(most[i / 2 % 2], fabsf(dp[i]));
    }
}

// dq of a tile of the n-th head, whose first row `at` says.
template <typename T, int TILES>
GPU_FN void own_queries(const Ring<TILES> &ring, const Outputs &to, uint8_t *shared, uint32_t n, AttnPlace at, const HeadParams &g,
                        const GroupThread &t) {
    const AttnParams &p = g.attn;
    const int tile = at.first / TILE_ROWS;
    OwnQueries own;
    float most[1][2] = {{0, 0}}, dq[SUMS], s[SUMS], dp[SUMS];
    own.dot[0] = own.dot[1] = 0;
    float4 *const statistics = ring.statistics(shared, n) + at.first;
    float2 score[2];
    gpu::mbar_wait(ring.scored(n), n / HeadMemory<TILES>::HEADS & 1);
    GPU_FOR (int h = 0; h < 2; h++) score[h] = make_float2(statistics[t.row(h)].x, statistics[t.row(h)].w);
    ring.wait(2 * n + 1);
    keep_rows(own.query, ring.base + ring.tile_at(2 * n + 1, 0, tile), t);
    keep_rows(own.dy, ring.base + ring.tile_at(2 * n + 1, 1, tile), t);
    ring.wait(2 * n);
    for (int step = 0; step < g.tiles; step++)
        add_dots<T>(own.dot, most[0], s, dp, own, ring.tile_of(2 * n, 0, step), ring.tile_of(2 * n, 1, step), step == g.tiles - 1,
                    p.tokens - step * TILE_ROWS, score, p.log2_scale);
    GPU_FOR (int h = 0; h < 2; h++)
        GPU_FOR (int apart = 1; apart <= 2; apart *= 2) {
            own.dot[h] += __shfl_xor_sync(~0u, own.dot[h], apart);
            most[0][h] = fmaxf(most[0][h], __shfl_xor_sync(~0u, most[0][h], apart));
        }
    find_range<T>(own, score, most[0], p);
    if ((t.lane & 3) == 0)
        GPU_FOR (int h = 0; h < 2; h++) statistics[t.row(h)].z = own.dot[h];
    if (IsHalf<T>::VALUE) leave_largest(ring.bounds(shared, n), p.tokens, at.first + 16 * t.warp, most);

    clear(dq);
    GPU_FOR (int i = 0; i < SUMS; i++) s[i] *= p.scale / own.unscale[i / 2 % 2]; // the last keys' probabilities and dP are there
    add_slopes<T>(dq, s, dp, own.dot, ring.tile_of(2 * n, 0, g.tiles - 1));
    auto nothing = [] {};
    for (int step = 0; step < g.tiles - 1; step++)
        add_keys<T>(dq, s, dp, own, ring.tile_of(2 * n, 0, step), ring.tile_of(2 * n, 1, step), false, TILE_ROWS, p.log2_scale, nothing,
                    nothing);
    wait_products<0>(dq, s, dp);
    store_rows<T>(to, p, dq, own.unscale, at, QUERY, t);
}
// dk and dv of a tile; all warps of the ring have left their queries' statistics. last: no further keys of the head are the warp's. (Every
// group has some: a head that two share has more than 64.)
template <typename T, int TILES>
GPU_FN void own_keys(const Ring<TILES> &ring, const Outputs &to, uint8_t *shared, uint32_t n, AttnPlace at, bool last, const HeadParams &g,
                     const GroupThread &t) {
    const AttnParams &p = g.attn;
    const int tile = at.first / TILE_ROWS;
    OwnKeys own;
    find_range<T>(own, IsHalf<T>::VALUE ? largest_of_head(ring.bounds(shared, n), p.tokens) : 0);
    keep_rows(own.key, ring.base + ring.tile_at(2 * n, 0, tile), t);
    keep_rows(own.value, ring.base + ring.tile_at(2 * n, 1, tile), t);
    if (last) ring.release(2 * n);
    float dk[SUMS], dv[SUMS], s[SUMS], dp[SUMS];
    auto nothing = [] {};
    clear(dk);
    clear(dv);
    for (int step = 0; step < g.tiles; step++)
        add_queries<T>(dk, dv, s, dp, own, ring.tile_of(2 * n + 1, 0, step), ring.tile_of(2 * n + 1, 1, step),
                       (const uint8_t *)(ring.statistics(shared, n) + step * TILE_ROWS), p.log2_scale, nothing, nothing);
    wait_products<0>(dk, dv, s, dp);
    store_keys<T>(to, p, dk, dv, own, at, t);
}
template <typename T, int TILES>
GPU_FN void grad_heads(uint8_t *shared, uint32_t base, const gpu::TensorMap *outputs, const HeadParams &g) {
    typedef HeadMemory<TILES> Memory;
    const GroupThread t;
    const bool alone = Memory::RINGS > 1; // with its head
    const Ring<TILES> ring = {base, alone ? t.group : 0};
    const Outputs to = {outputs, base + Memory::OUTPUTS + threadIdx.x / 32 * WARP_BYTES};
    const int first = alone ? 0 : t.group, apart = alone ? 1 : GROUPS;
    ring.walk(g, [&](uint32_t n, AttnPlace at) {
        for (int tile = first; tile < g.tiles; tile += apart)
            own_queries<T>(ring, to, shared, n, {at.image, at.head, tile * TILE_ROWS}, g, t);
        gpu::bar_sync(1 + ring.number, 32 * Memory::RING_WARPS);
        for (int tile = first; tile < g.tiles; tile += apart)
            own_keys<T>(ring, to, shared, n, {at.image, at.head, tile * TILE_ROWS}, tile + apart >= g.tiles, g, t);
        ring.release(2 * n + 1);
    });
    if (t.lane == 0) gpu::bulk_wait_read<0>();
}

template <typename T, int TILES>
__global__ void __launch_bounds__(THREADS, 1)
    attn_grad_heads_kernel(const __grid_constant__ gpu::TensorMap qkv, const __grid_constant__ gpu::TensorMap dy,
                           const __grid_constant__ gpu::TensorMap outputs, const __grid_constant__ HeadParams p) {
    typedef HeadMemory<TILES> Memory;
    DYN_SHARED(shared);
    const uint32_t base = gpu::smem_u32(shared);
    if (threadIdx.x == 0) {
        for (int buffer = 0; buffer < Memory::RINGS * Memory::BUFFERS; buffer++) {
            gpu::mbar_init(base + Memory::FULL + 8 * buffer, 1);
            gpu::mbar_init(base + Memory::EMPTY + 8 * buffer, Memory::RING_WARPS);
        }
        for (int head = 0; head < Memory::RINGS * Memory::HEADS; head++)
            gpu::mbar_init(base + Memory::SCORED + 8 * head, Memory::SCORE_WARPS);
        gpu::fence_barrier_init();
    }
    __syncthreads();
    gpu::grid_enter(); // all: the kernel before may have written what is loaded and may still read what is written
    if (threadIdx.x >= GROUPS * GROUP_THREADS) {
        gpu::setmaxnreg_dec<32>();
        const int warp = (int)threadIdx.x / 32 - GROUPS * GROUP_WARPS;
        if (warp < Memory::RINGS && threadIdx.x % 32 == 0) load_heads<TILES>({base, warp}, &qkv, &dy, p);
        if (warp >= GROUPS) load_scores<T, TILES>({base, warp % Memory::RINGS}, (warp - GROUPS) / Memory::RINGS, shared, p);
        __syncwarp();
    } else {
        gpu::setmaxnreg_inc<240>();
        grad_heads<T, TILES>(shared, base, &outputs, p);
    }
}

// ---- launchers --------------------------------------------------------------------------------------------------------------

template <typename T, int TILES> static int launch_tiles(const AttnArgs *a, cudaStream_t stream) {
    typedef HeadMemory<TILES> Memory;
    HeadParams p = {attn_params(a), a->n * a->heads, ceil_div(a->tokens, TILE_ROWS)};
    gpu::TensorMap qkv, dy, outputs;
    int failed = attn_rows_map(&qkv, a, a->qkv, 3 * a->heads, a->n, HEAD, gpu::SWIZZLE_128B);
    failed |= attn_rows_map(&dy, a, a->dy, a->heads, a->n, HEAD, gpu::SWIZZLE_128B);
    failed |= output_map(&outputs, a);
    if (failed) return cudaErrorInvalidValue;
    const int blocks = ceil_div(p.problems, Memory::RINGS), most = a->multiprocessors > 0 ? a->multiprocessors : 1;
    const dim3 grid((unsigned)(blocks < most ? blocks : most));
    return gpu::launch_dependent(attn_grad_heads_kernel<T, TILES>, grid, dim3(THREADS), (size_t)Memory::SHARED_BYTES, stream, qkv, dy,
                                 outputs, p);
}
template <typename T> static int launch_type(const AttnArgs *a, cudaStream_t stream) {
    return a->tokens <= TILE_ROWS ? launch_tiles<T, 1>(a, stream) : launch_tiles<T, MOST_TILES>(a, stream);
}
bool attn_bwd_heads_fits(const AttnArgs *a) {
    return a->capability == 90 && a->d == HEAD && a->qkv_type != DG_F32 && a->tokens <= MOST_TILES * TILE_ROWS;
}
int attn_bwd_heads_sm90(const AttnArgs *a, void *stream) {
    if (a->qkv_type == DG_F16) return launch_type<__half>(a, (cudaStream_t)stream);
    return launch_type<__nv_bfloat16>(a, (cudaStream_t)stream);
}
