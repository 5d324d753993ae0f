// attention_sm90.cu -- attention.cu's softmax(q k^T / sqrt d) v for Hopper: TMA, mbarriers and wgmma, heads of 40 to 72 channels in 16 bits.
// Work:   a block walks over tiles, each of 64 queries for each of its warpgroups, and over all keys of their head, 64 at a time with their
//         values. A warpgroup keeps its scores and its sums of values in registers and goes its own way: while one makes weights, others
//         multiply. Many tokens: four warpgroups share keys and values; few: a block is one warpgroup, and several lie on a
//         multiprocessor. The warpgroups' first threads in turn copy what comes next, up to the next tile's, to a ring
//         of stages.
// Shapes: rows of 64 channels lie in tiles swizzled by 128 bytes. Channels 64 to 71 come in tiles of their own: of queries and keys 16
//         channels wide, of which TMA fills the last 8 with zeros; of values 8 wide.
// Sums:   that of the weights as rounded is one more column of the values, of ones.
// Order:  keys in order, 64 at a time: independent of the batch and the place in it.
// Left for a backward: as attention_tile.h's AttnParams says; the scores alone where attn_bwd_heads_fits.
// Limits: attn_sm90_takes; every other layer is the portable kernels'.
#include "kernels/attention_bwd_sm90.h"
#include "kernels/attention_sm90.h"
#include "kernels/attention_sm90_maps.h"
#include "kernels/attention_tile.h"

enum { ROWS = ROWS_OF_MAP, GROUP_THREADS = 128, GROUP_WARPS = 4 };         // of a tile of queries, keys or values; of a warpgroup
enum { WIDE = 64, WIDE_ROW = 2 * WIDE, WIDE_BYTES = ROWS * WIDE_ROW };     // channels of a row that are swizzled together
enum { NARROW_ROW = 32, VALUE_ROW = 16, COLUMN_BYTES = ROWS * VALUE_ROW }; // what is beyond: of queries and keys, of values
enum { FEW_TOKENS = 128 };                                                 // as many are not worth sharing keys and values

// Shared memory: the queries of two tiles; stages of keys and values; barriers; what each group loads next. D: 64, or 72.
template <int D, int GROUPS> struct WgmmaTile {
    enum {
        BEYOND = D > WIDE,                                     // there are channels past 64
        QUERY_BYTES = WIDE_BYTES + BEYOND * ROWS * NARROW_ROW, // of a group

        // of a stage: keys, values, what of them is beyond, ones
        VALUES = WIDE_BYTES,
        KEYS_BEYOND = VALUES + WIDE_BYTES,
        COLUMNS = KEYS_BEYOND + BEYOND * ROWS * NARROW_ROW,
        ONES = COLUMNS + BEYOND * COLUMN_BYTES,
        COPIED = ONES,
        STAGE_BYTES = ONES + COLUMN_BYTES,
        STAGES = GROUPS == 1 ? 2 : 4,
        AHEAD = STAGES - (GROUPS > 1), // how far a warpgroup may be before the slowest
        FIRST_STAGE = 2 * GROUPS * QUERY_BYTES,
        FULL = FIRST_STAGE + STAGES * STAGE_BYTES,
        EMPTY = FULL + 8 * STAGES,
        QUERIES_FULL = EMPTY + 8 * STAGES,
        QUERIES_EMPTY = QUERIES_FULL + 16 * GROUPS,
        LOADS = QUERIES_EMPTY + 16 * GROUPS,
        SHARED_BYTES = LOADS + 16 * GROUPS,
        THREADS = GROUPS * GROUP_THREADS,
        BLOCKS = GROUPS > 1 ? 1
                 : D > WIDE ? 3
                            : 4, // of a multiprocessor
        EIGHTS = D / 8,          // of the columns of y
        MORE = 8 * (BEYOND + 1)  // columns beyond: of values, and one of sums, eightfold
    };
    template <typename N> GPU_FN static N queries_at(N group, N n) { return (n % 2 * GROUPS + group) * QUERY_BYTES; } // of the n-th tile
    template <typename N> GPU_FN static N queries_barrier(N group, N n) { return (n % 2 * GROUPS + group) * 8; }
    static_assert((int)STAGE_BYTES % 1024 == 0 && (int)QUERY_BYTES % 1024 == 0, "swizzled tiles begin where the pattern does");
    static_assert((int)BLOCKS * ((int)SHARED_BYTES + 1024) <= 228 << 10, "a multiprocessor's shared memory");
};
// Stages and tiles of a block are counted; of each kind MANY lie in shared memory in turn. The parity of the phase that ends when the n-th is
// full.
template <int MANY> GPU_FN uint32_t parity_of(uint32_t n) { return n / MANY & 1; }
// A tile of one head: its first query.
template <int GROUPS> GPU_FN AttnPlace tile_place(const AttnParams &p, int tile) {
    const int problem = tile / p.blocks;
    return {problem / p.heads, problem % p.heads, tile % p.blocks * GROUPS * ROWS};
}

// ---- loads --------------------------------------------------------------------------------------------------------------
struct Maps {
    const gpu::TensorMap *wide, *beyond, *column; // the last two of channels from 64 on: of queries and keys, of values
};
struct Loads { // of a group: where its next stage belongs
    int tile, block, head, image;
};
// From a block that may lie past its tile's last to the same one of the next tile.
template <int GROUPS> GPU_FN void seek(Loads &l, const AttnParams &p) {
    const int blocks = (p.tokens + ROWS - 1) / ROWS;
    if (l.block < blocks) return;
    while (l.block >= blocks) l.block -= blocks, l.tile += (int)gridDim.x;
    const AttnPlace at = tile_place<GROUPS>(p, l.tile);
    l.head = at.head, l.image = at.image;
}
// A group's queries of a block's n-th tile, which is `tile`; zeros where there are none.
template <int D, int GROUPS>
GPU_FN void load_queries(uint32_t base, const Maps &m, const AttnParams &p, uint32_t group, uint32_t n, int tile, int tiles) {
    typedef WgmmaTile<D, GROUPS> Tile;
    if (tile >= tiles) return;
    const AttnPlace at = tile_place<GROUPS>(p, tile);
    const int first = at.first + (int)group * ROWS;
    const uint32_t to = base + Tile::template queries_at<uint32_t>(group, n), barrier = Tile::template queries_barrier<uint32_t>(group, n);
    gpu::mbar_wait(base + Tile::QUERIES_EMPTY + barrier, parity_of<2>(n) ^ 1);
    gpu::mbar_arrive_expect_tx(base + Tile::QUERIES_FULL + barrier, Tile::QUERY_BYTES);
    gpu::tma_load(to, m.wide, base + Tile::QUERIES_FULL + barrier, 0, at.head, first, at.image);
    if (Tile::BEYOND) gpu::tma_load(to + WIDE_BYTES, m.beyond, base + Tile::QUERIES_FULL + barrier, WIDE, at.head, first, at.image);
}
// The n-th stage, which is where l says; it says then where the group's next one belongs.
template <int D, int GROUPS> GPU_FN void load_stage(Loads &l, uint32_t base, const Maps &m, const AttnParams &p, uint32_t n, int tiles) {
    typedef WgmmaTile<D, GROUPS> Tile;
    const uint32_t to = base + Tile::FIRST_STAGE + n % Tile::STAGES * Tile::STAGE_BYTES, full = base + Tile::FULL + n % Tile::STAGES * 8;
    Loads now = l;
    if (now.tile >= tiles) return;
    const int key = KEY * p.heads + now.head, value = VALUE * p.heads + now.head, token = now.block * ROWS;
    gpu::mbar_wait(base + Tile::EMPTY + n % Tile::STAGES * 8, parity_of<Tile::STAGES>(n) ^ 1);
    gpu::mbar_arrive_expect_tx(full, Tile::COPIED);
    gpu::tma_load(to, m.wide, full, 0, key, token, now.image);
    if (Tile::BEYOND) gpu::tma_load(to + Tile::KEYS_BEYOND, m.beyond, full, WIDE, key, token, now.image);
    gpu::tma_load(to + Tile::VALUES, m.wide, full, 0, value, token, now.image);
    if (Tile::BEYOND) gpu::tma_load(to + Tile::COLUMNS, m.column, full, WIDE, value, token, now.image);
    now.block += GROUPS;
    seek<GROUPS>(now, p);
    l = now;
}

// ---- the consumers ------------------------------------------------------------------------------------------------------
// The forms: rows in tiles of 64 channels; of 16; and columns of 8 channels, with what lies 8 columns further.
GPU_FN uint64_t wide_form() { return gpu::wgmma_desc_sw128(0); }
GPU_FN uint64_t narrow_form() { return gpu::wgmma_desc(0, 16, 8 * NARROW_ROW, 3); }
GPU_FN uint64_t column_form() { return gpu::wgmma_desc(0, 8 * VALUE_ROW, COLUMN_BYTES, 0); }

// What a thread of a warpgroup holds of its tile: of rows lane/4 and 8 further of its warp's 16.
template <int D> struct Tally {
    float values[WIDE / 2];             // sums of weight times value, as wgmma has them
    float more[4 * (D > WIDE ? 2 : 1)]; // of the channels beyond; then the sum of the weights
    float top[2];                       // the largest score so far
};
// The warp's 16 queries as left operands, from the group's at a shared address; those of 72 channels are left where they are.
template <int D> struct Queries {
    uint32_t address, q[D > WIDE ? 1 : WIDE / 16][4];
    GPU_FN void load(uint32_t tile) {
        const int lane = (int)threadIdx.x & 31, row = ((int)threadIdx.x >> 5) % GROUP_WARPS * 16 + (lane & 15), piece = lane >> 4;
        address = tile;
        if (D <= WIDE)
            GPU_FOR (int step = 0; step < (int)(sizeof q / sizeof *q); step++)
                gpu::ldmatrix<4>(q[step], tile + (uint32_t)(row * WIDE_ROW + ((2 * step + piece) ^ (row & 7)) * 16));
    }
};
// Begins the products of queries and a stage's keys.
template <typename T, int D> GPU_FN void multiply_keys(float (&s)[ROWS / 2], const Queries<D> &queries, uint32_t stage) {
    const uint32_t k = (uint32_t)wide_form() + (stage >> 4);
    gpu::fence_operand(s);
    gpu::wgmma_fence();
    if constexpr (D <= WIDE)
        GPU_FOR (int step = 0; step < WIDE / 16; step++)
            gpu::wgmma<T, ROWS>(s, queries.q[step], gpu::wgmma_desc_at(wide_form(), k, 32 * step), step > 0);
    else {
        const uint32_t q = (uint32_t)wide_form() + (queries.address >> 4), other = (uint32_t)narrow_form() - (uint32_t)wide_form();
        GPU_FOR (int step = 0; step < WIDE / 16; step++)
            gpu::wgmma<T, ROWS>(s, gpu::wgmma_desc_at(wide_form(), q, 32 * step), gpu::wgmma_desc_at(wide_form(), k, 32 * step), step > 0);
        gpu::wgmma<T, ROWS>(s, gpu::wgmma_desc_at(narrow_form(), q + other, WIDE_BYTES),
                            gpu::wgmma_desc_at(narrow_form(), k + other, WgmmaTile<D, 1>::KEYS_BEYOND), true);
    }
    gpu::wgmma_commit();
    gpu::fence_operand(s);
}
// Begins those of weights and a stage's values.
template <typename T, int D> GPU_FN void multiply_values(Tally<D> &sum, const uint32_t (&weight)[ROWS / 16][4], uint32_t stage) {
    typedef WgmmaTile<D, 1> Tile;
    const uint32_t wide = (uint32_t)wide_form() + (stage >> 4), column = (uint32_t)column_form() + (stage >> 4);
    gpu::fence_operand(sum.values), gpu::fence_operand(sum.more);
    gpu::wgmma_fence();
    GPU_FOR (int step = 0; step < ROWS / 16; step++) {
        gpu::wgmma<T, WIDE, 1>(sum.values, weight[step], gpu::wgmma_desc_at(wide_form(), wide, Tile::VALUES + 16 * step * WIDE_ROW), true);
        gpu::wgmma<T, Tile::MORE, 1>(sum.more, weight[step],
                                     gpu::wgmma_desc_at(column_form(), column, Tile::COLUMNS + 16 * step * VALUE_ROW), true);
    }
    gpu::wgmma_commit();
    gpu::fence_operand(sum.values), gpu::fence_operand(sum.more);
}
// Scores become weights, the right ones for the largest score so far; the sums follow it.
template <typename T, int D>
GPU_FN void weigh(uint32_t (&weight)[ROWS / 16][4], const float (&s)[ROWS / 2], Tally<D> &sum, float log2_scale) {
    GPU_FOR (int h = 0; h < 2; h++) {
        float most = s[2 * h];
        GPU_FOR (int j = 0; j < ROWS / 8; j++) most = fmaxf(most, fmaxf(s[4 * j + 2 * h], s[4 * j + 2 * h + 1]));
        most = fmaxf(most, __shfl_xor_sync(~0u, most, 1));
        most = fmaxf(most, __shfl_xor_sync(~0u, most, 2));
        const float next = fmaxf(sum.top[h], most), shrink = gpu::exp2_approx((sum.top[h] - next) * log2_scale);
        sum.top[h] = next;
        GPU_FOR (int j = 0; j < ROWS / 8; j++) {
            float w[2];
            GPU_FOR (int i = 0; i < 2; i++) w[i] = gpu::exp2_approx(fmaf(s[4 * j + 2 * h + i] - next, log2_scale, Range<T>::P_EXPONENT));
            weight[j / 2][j % 2 * 2 + h] = pack<T>(w[0], w[1]);
        }
        GPU_FOR (int j = 0; j < WIDE / 8; j++) sum.values[4 * j + 2 * h] *= shrink, sum.values[4 * j + 2 * h + 1] *= shrink;
        GPU_FOR (int j = 0; j < (D > WIDE ? 2 : 1); j++) sum.more[4 * j + 2 * h] *= shrink, sum.more[4 * j + 2 * h + 1] *= shrink;
    }
}
// The largest squared length of the warp's own 16 value rows: two lanes a row, each every other run of 8 channels.
template <typename T> GPU_FN void leave_length(const AttnParams &p, AttnPlace at, int row) {
    const HeadRows values = head_rows(p, at, VALUE);
    const int lane = (int)threadIdx.x & 31, token = min(at.first + row + lane / 2, p.tokens - 1);
    const T *from = (const T *)p.qkv + values.first + (size_t)token * values.stride;
    float length[1][2] = {{0, 0}};
    for (int c = lane % 2 * 8; c < p.d; c += 16) {
        float v[8];
        load_run(v, from + c);
        GPU_FOR (int e = 0; e < 8; e++) length[0][0] = fmaf(v[e], v[e], length[0][0]);
    }
    length[0][0] += __shfl_xor_sync(~0u, length[0][0], 1);
    length[0][0] = length[0][1] = fmaxf(length[0][0], __shfl_xor_sync(~0u, length[0][0], 2));
    leave_largest(p.lengths + group_number(p, at), p.tokens, at.first + row, length);
}
template <typename T, int D> GPU_FN void store_tally(const AttnParams &p, AttnPlace at, int row, const Tally<D> &sum) {
    enum { EIGHTS = WgmmaTile<D, 1>::EIGHTS, SUM = 4 * (D > WIDE) };
    const int lane = (int)threadIdx.x & 31;
    float y[1][1][EIGHTS + EIGHTS % 2][4], factor[1][2];
    GPU_FOR (int i = 0; i < WIDE / 2; i++) (&y[0][0][0][0])[i] = sum.values[i];
    if constexpr (D > WIDE)
        GPU_FOR (int i = 0; i < 8; i++) (&y[0][0][0][0])[WIDE / 2 + i] = sum.more[i];
    GPU_FOR (int h = 0; h < 2; h++) {
        const float total = sum.more[SUM + 2 * h];
        const int token = at.first + row + 8 * h + (lane >> 2);
        if (p.scores && (lane & 3) == 0 && token < p.tokens)
            p.scores[row_number(p, at) + (size_t)token] = make_float2(sum.top[h], log2f(total) - (float)Range<T>::P_EXPONENT);
        factor[0][h] = 1 / total;
    }
    store_rows<T, 8 * (EIGHTS + EIGHTS % 2), true>(p, y, factor, at, DY, at.first + row);
}

template <typename T, int D, int GROUPS>
GPU_FN void make_tiles(uint8_t *shared, uint32_t base, const Maps &maps, const AttnParams &p, int tiles) {
    typedef WgmmaTile<D, GROUPS> Tile;
    const int lane = (int)threadIdx.x & 31;
    auto group = [] { return threadIdx.x / GROUP_THREADS; }; // what is easily made anew takes no registers
    auto row = [] { return (int)(threadIdx.x / 32 % GROUP_WARPS * 16); };
    uint32_t stages_read = 0, tiles_before = 0;
    auto tile_of = [&](uint32_t n) { return (int)(blockIdx.x + n * gridDim.x); };
    auto stage_of = [&](uint32_t n) { return base + Tile::FIRST_STAGE + n % Tile::STAGES * Tile::STAGE_BYTES; };
    auto wait_for = [&](uint32_t n) { gpu::mbar_wait(base + Tile::FULL + n % Tile::STAGES * 8, parity_of<Tile::STAGES>(n)); };
    auto load = [&](uint32_t n) { // every group in its turn
        if (threadIdx.x == n % GROUPS * GROUP_THREADS)
            load_stage<D, GROUPS>(((Loads *)(shared + Tile::LOADS))[group()], base, maps, p, n, tiles);
        __syncwarp();
    };
    auto release = [&](uint32_t n) { // every warp speaks for itself: a wait for products says nothing of other warps'
        if (lane == 0) gpu::mbar_arrive(base + Tile::EMPTY + n % Tile::STAGES * 8);
        load(n + Tile::AHEAD);
    };
    auto load_own = [&](uint32_t n) {
        if (threadIdx.x % GROUP_THREADS == 0) load_queries<D, GROUPS>(base, maps, p, group(), n, tile_of(n), tiles);
        __syncwarp();
    };
    if (threadIdx.x % GROUP_THREADS == 0) {
        const AttnPlace at = tile_place<GROUPS>(p, (int)blockIdx.x);
        Loads own = {(int)blockIdx.x, (int)group(), at.head, at.image};
        seek<GROUPS>(own, p);
        ((Loads *)(shared + Tile::LOADS))[group()] = own;
    }
    load_own(0);
    for (uint32_t n = 0; n < Tile::AHEAD; n++) load(n);
    load_own(1);
    GPU_LOOP (; tile_of(tiles_before) < tiles; tiles_before++) {
        const int first = tile_place<GROUPS>(p, tile_of(tiles_before)).first + __shfl_sync(~0u, (int)group(), 0) * ROWS;
        auto release_queries = [&] {
            gpu::fence_proxy_async(); // the next ones come by TMA
            __syncwarp();
            if (lane == 0) gpu::mbar_arrive(base + Tile::QUERIES_EMPTY + Tile::template queries_barrier<uint32_t>(group(), tiles_before));
            load_own(tiles_before + 2);
        };
        auto place = [&] { // of the group's queries; made anew, for the sake of registers
            uint32_t n = tiles_before;
            gpu::hold(n);
            AttnPlace at = tile_place<GROUPS>(p, tile_of(n));
            at.first += (int)group() * ROWS;
            return at;
        };
        gpu::mbar_wait(base + Tile::QUERIES_FULL + Tile::template queries_barrier<uint32_t>(group(), tiles_before),
                       parity_of<2>(tiles_before));
        if (first >= p.tokens) { // no query is this group's
            GPU_LOOP (int token = 0; token < p.tokens; token += ROWS) {
                wait_for(stages_read);
                __syncwarp(); // no lane may still look for this phase when the next one ends
                release(stages_read++);
            }
            release_queries();
        } else {
            Queries<D> queries;
            queries.load(base + Tile::template queries_at<uint32_t>(group(), tiles_before));
            float s[ROWS / 2];
            Tally<D> sum;
            GPU_FOR (int i = 0; i < WIDE / 2; i++) sum.values[i] = 0;
            GPU_FOR (int i = 0; i < Tile::MORE / 2; i++) sum.more[i] = 0;
            sum.top[0] = sum.top[1] = -INFINITY;
            gpu::fence_operand(sum.values), gpu::fence_operand(sum.more); // zeros before the products begin
            wait_for(stages_read);
            multiply_keys<T, D>(s, queries, stage_of(stages_read));
            GPU_LOOP (int token = 0; token < p.tokens; token += ROWS) {
                gpu::wgmma_wait<0>();
                gpu::fence_operand(s), gpu::fence_operand(sum.values), gpu::fence_operand(sum.more);
                if (token > 0) release(stages_read - 1);
                if (token + ROWS > p.tokens)
                    GPU_FOR (int i = 0; i < ROWS / 2; i++)
                        if (token + i / 4 * 8 + (lane & 3) * 2 + i % 2 >= p.tokens) s[i] = -INFINITY;
                uint32_t weight[ROWS / 16][4];
                weigh<T, D>(weight, s, sum, p.log2_scale);
                multiply_values<T, D>(sum, weight, stage_of(stages_read));
                stages_read++;
                if (token + ROWS < p.tokens) {
                    wait_for(stages_read);
                    multiply_keys<T, D>(s, queries, stage_of(stages_read));
                }
            }
            gpu::wgmma_wait<0>();
            gpu::fence_operand(sum.values), gpu::fence_operand(sum.more);
            release(stages_read - 1);
            release_queries();
            const AttnPlace at = place();
            if (IsHalf<T>::VALUE && p.y_parts) leave_length<T>(p, at, row());
            store_tally<T, D>(p, at, row(), sum);
        }
    }
}

template <typename T, int D, int GROUPS>
__global__ void __launch_bounds__(WgmmaTile<D, GROUPS>::THREADS, WgmmaTile<D, GROUPS>::BLOCKS)
    attn_wgmma_kernel(const __grid_constant__ gpu::TensorMap wide, const __grid_constant__ gpu::TensorMap beyond,
                      const __grid_constant__ gpu::TensorMap column, const __grid_constant__ AttnParams p, int tiles) {
    typedef WgmmaTile<D, GROUPS> Tile;
    DYN_SHARED(shared);
    const uint32_t base = gpu::smem_u32(shared), one = IsHalf<T>::VALUE ? 0x3c003c00 : 0x3f803f80;
    if (threadIdx.x == 0) {
        for (uint32_t s = 0; s < Tile::STAGES; s++) {
            gpu::mbar_init(base + Tile::FULL + 8 * s, 1);
            gpu::mbar_init(base + Tile::EMPTY + 8 * s, GROUPS * GROUP_WARPS);
        }
        for (uint32_t t = 0; t < 2 * GROUPS; t++) {
            gpu::mbar_init(base + Tile::QUERIES_FULL + 8 * t, 1);
            gpu::mbar_init(base + Tile::QUERIES_EMPTY + 8 * t, GROUP_WARPS);
        }
        gpu::fence_barrier_init();
    }
    for (int i = (int)threadIdx.x; i < Tile::STAGES * COLUMN_BYTES / 16; i += Tile::THREADS)
        *(uint4 *)(shared + Tile::FIRST_STAGE + i / ROWS * Tile::STAGE_BYTES + Tile::ONES + i % ROWS * 16) = make_uint4(one, one, one, one);
    gpu::fence_proxy_async(); // wgmma reads the ones
    __syncthreads();
    gpu::grid_enter(); // all: the kernel before may have written what is loaded and may still read what is written
    make_tiles<T, D, GROUPS>(shared, base, {&wide, &beyond, &column}, p, tiles);
}

// ---- launchers ----------------------------------------------------------------------------------------------------------
template <typename T, int D, int GROUPS> static int launch_groups(const AttnArgs *a, cudaStream_t stream) {
    typedef WgmmaTile<D, GROUPS> Tile;
    AttnParams p = attn_params(a);
    if (attn_bwd_heads_fits(a)) p.y_parts = nullptr; // nobody reads them
    gpu::TensorMap wide, beyond = {}, column = {};
    auto map = [a](gpu::TensorMap *m, int channels, int swizzle) {
        return attn_rows_map(m, a, a->qkv, 3 * a->heads, a->n, channels, swizzle);
    };
    int failed = map(&wide, WIDE, gpu::SWIZZLE_128B);
    if (Tile::BEYOND) failed |= map(&beyond, 16, gpu::SWIZZLE_32B) | map(&column, 8, gpu::SWIZZLE_NONE);
    if (failed) return cudaErrorInvalidValue;
    const int tiles = (int)attn_grid(&p, a->n, GROUPS * ROWS, 1).x, most = Tile::BLOCKS * (a->multiprocessors > 0 ? a->multiprocessors : 1);
    const dim3 grid((unsigned)(tiles < most ? tiles : most));
    return gpu::launch_dependent(attn_wgmma_kernel<T, D, GROUPS>, grid, dim3(Tile::THREADS), (size_t)Tile::SHARED_BYTES, stream, wide,
                                 beyond, column, p, tiles);
}
template <typename T> static int launch_type(const AttnArgs *a, cudaStream_t stream) {
    const bool few = a->tokens <= FEW_TOKENS;
    if (a->d <= WIDE) return few ? launch_groups<T, 64, 1>(a, stream) : launch_groups<T, 64, 4>(a, stream);
    return few ? launch_groups<T, 72, 1>(a, stream) : launch_groups<T, 72, 4>(a, stream);
}
bool attn_sm90_takes(const AttnArgs *a) {
    return a->capability == 90 && a->qkv_type != DG_F32 && a->d % 8 == 0 && a->d > 32 && a->d <= 72 && (uintptr_t)a->qkv % 16 == 0;
}
int attn_sm90(const AttnArgs *a, void *stream) {
    if (a->qkv_type == DG_F16) return launch_type<__half>(a, (cudaStream_t)stream);
    return launch_type<__nv_bfloat16>(a, (cudaStream_t)stream);
}
