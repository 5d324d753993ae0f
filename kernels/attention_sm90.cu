// attention_sm90.cu -- attention.cu's softmax(q k^T / sqrt d) v for Hopper: TMA, mbarriers and wgmma, heads of 40 to 72 channels in 16 bits.
// Work:   a block walks over tiles, each of 64 queries for each of its warpgroups, and over all keys of their head, 64 at a time with their
//         values. A warpgroup keeps its scores and its sums of values in registers and goes its own way: while one makes weights, others
//         multiply. Many tokens: four warpgroups share keys and values; few: a block is one warpgroup, and several lie on a
//         multiprocessor. The first thread copies what comes next, up to the next tile's, to a ring of stages.
// Shapes: rows of 64 channels lie in tiles swizzled by 128 bytes. Channels 64 to 71 come in tiles of their own: of queries and keys 16
//         channels wide, of which TMA fills the last 8 with zeros; of values 8 wide.
// Sums:   that of the weights as rounded is one more column of the values, of ones.
// Order:  keys in order, 64 at a time: independent of the batch and the place in it.
// Left for a backward: as attention_tile.h's AttnParams says.
// Limits: attn_sm90_takes; every other layer is the portable kernels'.
#include "kernels/attention_sm90.h"
#include "kernels/attention_tile.h"
#include "kernels/gpu_prims_sm90.h"

enum { ROWS = 64, GROUP_THREADS = 128, GROUP_WARPS = 4 };                  // of a tile of queries, keys or values; of a warpgroup
enum { WIDE = 64, WIDE_ROW = 2 * WIDE, WIDE_BYTES = ROWS * WIDE_ROW };     // channels of a row that are swizzled together
enum { NARROW_ROW = 32, VALUE_ROW = 16, COLUMN_BYTES = ROWS * VALUE_ROW }; // what is beyond: of queries and keys, of values
enum { FEW_TOKENS = 128 };                                                 // as many are not worth sharing keys and values

// Shared memory: the queries of two tiles; stages of keys and values; barriers; what is loaded. D: 64, or 72.
template <int D, int GROUPS> struct WgmmaTile {
    enum {
        BEYOND = D > WIDE,                                     // there are channels past 64
        QUERY_BYTES = WIDE_BYTES + BEYOND * ROWS * NARROW_ROW, // of a group
        TILE_BYTES = GROUPS * QUERY_BYTES,
        // of a stage: keys, values, what of them is beyond, ones
        VALUES = WIDE_BYTES,
        KEYS_BEYOND = VALUES + WIDE_BYTES,
        COLUMNS = KEYS_BEYOND + BEYOND * ROWS * NARROW_ROW,
        ONES = COLUMNS + BEYOND * COLUMN_BYTES,
        COPIED = ONES,
        STAGE_BYTES = ONES + COLUMN_BYTES,
        STAGES = GROUPS == 1 ? 2
                 : D > WIDE  ? 4
                             : 8,
        AHEAD = STAGES - (GROUPS > 1), // of what the first warpgroup has read: how far it may be before the others
        FIRST_STAGE = 2 * TILE_BYTES,
        FULL = FIRST_STAGE + STAGES * STAGE_BYTES,
        EMPTY = FULL + 8 * STAGES,
        QUERIES_FULL = EMPTY + 8 * STAGES,
        QUERIES_EMPTY = QUERIES_FULL + 16,
        LOADS = QUERIES_EMPTY + 16,
        SHARED_BYTES = LOADS + 32,
        THREADS = GROUPS * GROUP_THREADS,
        BLOCKS = GROUPS > 1 ? 1
                 : D > WIDE ? 3
                            : 4, // of a multiprocessor
        EIGHTS = D / 8,          // of the columns of y
        MORE = 8 * (BEYOND + 1)  // columns beyond: of values, and one of sums, eightfold
    };
    static_assert((int)STAGE_BYTES % 1024 == 0 && (int)QUERY_BYTES % 1024 == 0, "swizzled tiles begin where the pattern does");
    static_assert((int)BLOCKS * ((int)SHARED_BYTES + 1024) <= 228 << 10, "a multiprocessor's shared memory");
};
// Stages and tiles of a block are counted; of each kind so many lie in shared memory in turn. The barrier of the n-th, and the parity of the
// phase that ends when it is full.
template <int MANY> GPU_FN uint32_t barrier_of(uint32_t n) { return n % MANY * 8; }
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
struct Loads { // the next stage: of all, and of its tile's; its tile, and how many came before
    uint32_t stage, tiles_before;
    int tile, block;
    AttnPlace at;
};
template <int D, int GROUPS> GPU_FN void load_queries(uint32_t base, const Maps &m, const AttnParams &p, uint32_t n, AttnPlace at) {
    typedef WgmmaTile<D, GROUPS> Tile;
    const int groups = min(GROUPS, (p.tokens - at.first + ROWS - 1) / ROWS);
    const uint32_t full = base + Tile::QUERIES_FULL + barrier_of<2>(n);
    gpu::mbar_wait(base + Tile::QUERIES_EMPTY + barrier_of<2>(n), parity_of<2>(n) ^ 1);
    gpu::mbar_arrive_expect_tx(full, (uint32_t)(groups * Tile::QUERY_BYTES));
    for (int g = 0; g < groups; g++) {
        const uint32_t to = base + n % 2 * Tile::TILE_BYTES + (uint32_t)(g * Tile::QUERY_BYTES);
        gpu::tma_load(to, m.wide, full, 0, at.head, at.first + g * ROWS, at.image);
        if (Tile::BEYOND) gpu::tma_load(to + WIDE_BYTES, m.beyond, full, WIDE, at.head, at.first + g * ROWS, at.image);
    }
}
template <int D, int GROUPS> GPU_FN void load_stage(uint32_t base, const Maps &m, const AttnParams &p, const Loads &l) {
    typedef WgmmaTile<D, GROUPS> Tile;
    const uint32_t to = base + Tile::FIRST_STAGE + l.stage % Tile::STAGES * Tile::STAGE_BYTES;
    const uint32_t full = base + Tile::FULL + barrier_of<Tile::STAGES>(l.stage);
    const int key = KEY * p.heads + l.at.head, value = VALUE * p.heads + l.at.head, token = l.block * ROWS, image = l.at.image;
    gpu::mbar_wait(base + Tile::EMPTY + barrier_of<Tile::STAGES>(l.stage), parity_of<Tile::STAGES>(l.stage) ^ 1);
    gpu::mbar_arrive_expect_tx(full, Tile::COPIED);
    gpu::tma_load(to, m.wide, full, 0, key, token, image);
    if (Tile::BEYOND) gpu::tma_load(to + Tile::KEYS_BEYOND, m.beyond, full, WIDE, key, token, image);
    gpu::tma_load(to + Tile::VALUES, m.wide, full, 0, value, token, image);
    if (Tile::BEYOND) gpu::tma_load(to + Tile::COLUMNS, m.column, full, WIDE, value, token, image);
}
// By one thread, whose warpgroup has read so many stages and is at a tile after so many: what has room, up to the next tile's last stage.
template <int D, int GROUPS>
GPU_FN void load_more(Loads &l, uint32_t base, const Maps &m, const AttnParams &p, int tiles, uint32_t stages_read, uint32_t tiles_before) {
    typedef WgmmaTile<D, GROUPS> Tile;
    GPU_LOOP (; l.stage < stages_read + Tile::AHEAD && l.tiles_before < tiles_before + 2 && l.tile < tiles; l.stage++) {
        if (l.block == 0) l.at = tile_place<GROUPS>(p, l.tile), load_queries<D, GROUPS>(base, m, p, l.tiles_before, l.at);
        load_stage<D, GROUPS>(base, m, p, l);
        if (++l.block * ROWS >= p.tokens) l.block = 0, l.tile += (int)gridDim.x, l.tiles_before++;
    }
}

// ---- the consumers ------------------------------------------------------------------------------------------------------
// The matrix descriptor at a shared address, of the form of another: their upper words are the same.
GPU_FN uint64_t descriptor(uint64_t form, uint32_t low, int bytes) { return form >> 32 << 32 | (low + (uint32_t)(bytes >> 4)); }
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
// Begins the products of a group's queries and a stage's keys.
template <typename T, int D> GPU_FN void multiply_keys(float (&s)[ROWS / 2], uint32_t queries, uint32_t stage) {
    const uint32_t q = (uint32_t)wide_form() + (queries >> 4), k = (uint32_t)wide_form() + (stage >> 4);
    gpu::fence_operand(s);
    gpu::wgmma_fence();
    GPU_FOR (int step = 0; step < WIDE / 16; step++)
        gpu::wgmma<T, ROWS>(s, descriptor(wide_form(), q, 32 * step), descriptor(wide_form(), k, 32 * step), step > 0);
    if constexpr (D > WIDE) {
        const uint32_t other = (uint32_t)narrow_form() - (uint32_t)wide_form();
        gpu::wgmma<T, ROWS>(s, descriptor(narrow_form(), q + other, WIDE_BYTES),
                            descriptor(narrow_form(), k + other, WgmmaTile<D, 1>::KEYS_BEYOND), true);
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
        gpu::wgmma<T, WIDE, 1>(sum.values, weight[step], descriptor(wide_form(), wide, Tile::VALUES + 16 * step * WIDE_ROW), true);
        gpu::wgmma<T, Tile::MORE, 1>(sum.more, weight[step], descriptor(column_form(), column, Tile::COLUMNS + 16 * step * VALUE_ROW),
                                     true);
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
// The largest squared length of the warp's own 16 value rows, which begin `row` rows into a stage's: two lanes a row.
template <typename T, int D> GPU_FN void leave_length(const AttnParams &p, AttnPlace at, int row, const uint8_t *stage) {
    const int lane = (int)threadIdx.x & 31, own = row + lane / 2;
    float length = 0;
    auto add = [&](int from) {
        float v[8];
        load_run(v, (const T *)(stage + from));
        GPU_FOR (int e = 0; e < 8; e++) length = fmaf(v[e], v[e], length);
    };
    GPU_FOR (int i = 0; i < 4; i++) add(WgmmaTile<D, 1>::VALUES + own * WIDE_ROW + ((lane % 2 * 4 + i) ^ (own & 7)) * 16);
    if (D > WIDE && lane % 2) add(WgmmaTile<D, 1>::COLUMNS + own * VALUE_ROW);
    length += __shfl_xor_sync(~0u, length, 1);
    GPU_FOR (int apart = 16; apart > 1; apart /= 2) length = fmaxf(length, __shfl_xor_sync(~0u, length, apart));
    if (lane == 0 && at.first + row < p.tokens) p.lengths[group_number(p, at) + (size_t)((at.first + row) / ROW_GROUP)] = length;
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
    const int warp = (int)threadIdx.x >> 5, lane = (int)threadIdx.x & 31, group = warp / GROUP_WARPS, row = warp % GROUP_WARPS * 16;
    const int blocks = (p.tokens + ROWS - 1) / ROWS;
    uint32_t stages_read = 0, tiles_before = 0;
    Loads &loads = *(Loads *)(shared + Tile::LOADS);
    auto stage_of = [&](uint32_t n) { return Tile::FIRST_STAGE + n % Tile::STAGES * Tile::STAGE_BYTES; };
    auto wait_for = [&](uint32_t n) { gpu::mbar_wait(base + Tile::FULL + barrier_of<Tile::STAGES>(n), parity_of<Tile::STAGES>(n)); };
    auto release = [&](uint32_t n) { // every warp speaks for itself: a wait for products says nothing of other warps'
        if (lane == 0) gpu::mbar_arrive(base + Tile::EMPTY + barrier_of<Tile::STAGES>(n));
    };
    auto load = [&] {
        if (threadIdx.x == 0) load_more<D, GROUPS>(loads, base, maps, p, tiles, stages_read, tiles_before);
        __syncwarp();
    };
    if (threadIdx.x == 0) loads = {0, 0, (int)blockIdx.x, 0, {0, 0, 0}};
    load();
    GPU_LOOP (int tile = (int)blockIdx.x; tile < tiles; tile += (int)gridDim.x) {
        AttnPlace at = tile_place<GROUPS>(p, tile);
        at.first += group * ROWS;
        gpu::mbar_wait(base + Tile::QUERIES_FULL + barrier_of<2>(tiles_before), parity_of<2>(tiles_before));
        Tally<D> sum;
        if (at.first < p.tokens) {
            const uint32_t queries = base + tiles_before % 2 * Tile::TILE_BYTES + (uint32_t)(group * Tile::QUERY_BYTES);
            float s[ROWS / 2];
            GPU_FOR (int i = 0; i < WIDE / 2; i++) sum.values[i] = 0;
            GPU_FOR (int i = 0; i < Tile::MORE / 2; i++) sum.more[i] = 0;
            sum.top[0] = sum.top[1] = -INFINITY;
            gpu::fence_operand(sum.values), gpu::fence_operand(sum.more); // zeros before the products begin
            wait_for(stages_read);
            multiply_keys<T, D>(s, queries, base + stage_of(stages_read));
            GPU_LOOP (int block = 0; block < blocks; block++) {
                gpu::wgmma_wait<0>();
                gpu::fence_operand(s), gpu::fence_operand(sum.values), gpu::fence_operand(sum.more);
                if (block > 0) {
                    release(stages_read - 1);
                    load();
                }
                if (IsHalf<T>::VALUE && p.y_parts && block * ROWS == at.first) {
                    leave_length<T, D>(p, at, row, shared + stage_of(stages_read));
                    gpu::fence_proxy_async(); // the stage is written by TMA next
                    __syncwarp();
                }
                if ((block + 1) * ROWS > p.tokens)
                    GPU_FOR (int i = 0; i < ROWS / 2; i++)
                        if (block * ROWS + i / 4 * 8 + (lane & 3) * 2 + i % 2 >= p.tokens) s[i] = -INFINITY;
                uint32_t weight[ROWS / 16][4];
                weigh<T, D>(weight, s, sum, p.log2_scale);
                multiply_values<T, D>(sum, weight, base + stage_of(stages_read));
                stages_read++;
                if (block + 1 < blocks) {
                    wait_for(stages_read);
                    multiply_keys<T, D>(s, queries, base + stage_of(stages_read));
                }
            }
            gpu::wgmma_wait<0>();
            gpu::fence_operand(sum.values), gpu::fence_operand(sum.more);
            release(stages_read - 1);
        } else // no query is this group's
            GPU_LOOP (int block = 0; block < blocks; block++) {
                wait_for(stages_read);
                __syncwarp(); // no lane may still look for this phase when the next one ends
                release(stages_read++);
            }
        if (lane == 0) gpu::mbar_arrive(base + Tile::QUERIES_EMPTY + barrier_of<2>(tiles_before));
        tiles_before++;
        if (GROUPS == 1) load(); // else the first group would wait for the others
        if (at.first < p.tokens) store_tally<T, D>(p, at, row, sum);
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
        for (uint32_t t = 0; t < 2; t++) {
            gpu::mbar_init(base + Tile::QUERIES_FULL + 8 * t, 1);
            gpu::mbar_init(base + Tile::QUERIES_EMPTY + 8 * t, GROUPS * GROUP_WARPS);
        }
        gpu::fence_barrier_init();
    }
    for (int i = (int)threadIdx.x; i < Tile::STAGES * COLUMN_BYTES / 16; i += Tile::THREADS)
        *(uint4 *)(shared + Tile::FIRST_STAGE + i / ROWS * Tile::STAGE_BYTES + Tile::ONES + i % ROWS * 16) = make_uint4(one, one, one, one);
    gpu::fence_proxy_async(); // wgmma reads the ones
    __syncthreads();
    make_tiles<T, D, GROUPS>(shared, base, {&wide, &beyond, &column}, p, tiles);
}

// ---- launchers ----------------------------------------------------------------------------------------------------------
// Of {image, token, part and head, channel}: 64 tokens of one head. Channels past the head's are zeros, and so are tokens past the last.
static int rows_map(gpu::TensorMap *m, const AttnArgs *a, int channels, int swizzle) {
    const uint64_t dims[4] = {(uint64_t)a->d, (uint64_t)(3 * a->heads), (uint64_t)a->tokens, (uint64_t)a->n}, head = dims[0] * 2;
    const uint64_t strides[3] = {head, head * dims[1], head * dims[1] * dims[2]};
    const uint32_t box[4] = {(uint32_t)channels, 1, ROWS, 1};
    return gpu::tensor_map(m, a->qkv_type == DG_BF16 ? gpu::MAP_BF16 : gpu::MAP_F16, 4, a->qkv, dims, strides, box, swizzle);
}
template <typename T, int D, int GROUPS> static int launch_groups(const AttnArgs *a, cudaStream_t stream) {
    typedef WgmmaTile<D, GROUPS> Tile;
    AttnParams p = attn_params(a);
    gpu::TensorMap wide, beyond = {}, column = {};
    int failed = rows_map(&wide, a, WIDE, gpu::SWIZZLE_128B);
    if (Tile::BEYOND) failed |= rows_map(&beyond, a, 16, gpu::SWIZZLE_32B) | rows_map(&column, a, 8, gpu::SWIZZLE_NONE);
    if (failed) return cudaErrorInvalidValue;
    const int tiles = (int)attn_grid(&p, a->n, GROUPS * ROWS, 1).x, most = Tile::BLOCKS * (a->multiprocessors > 0 ? a->multiprocessors : 1);
    const dim3 grid((unsigned)(tiles < most ? tiles : most));
    return gpu::launch(attn_wgmma_kernel<T, D, GROUPS>, grid, dim3(Tile::THREADS), (size_t)Tile::SHARED_BYTES, stream, wide, beyond, column,
                       p, tiles);
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
