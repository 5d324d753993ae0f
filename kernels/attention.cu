// attention.cu -- y = softmax(q k^T / sqrt d) v for each head, without the matrix of scores in memory.
// Work:   a block makes up to 128 queries of one head and walks over blocks of keys and values: online softmax, statistics in f32.
//         Tensor-core kernel (f16, bf16, tf32; d up to 256 in whole 16-byte pieces): queries in registers or shared memory, keys and
//         values in two stages of cp.async, mma.sync. f32 kernel: everything else, any d and any types; channels of y in blocks
//         of up to 256 (blockIdx.z), each with its own scores. Heads of up to 512 in 16 bits: attention_wide.cu; on Hopper, of 40
//         to 72 in 16 bits: attention_sm90.cu.
// Order:  keys in order, in blocks whose size depends on d, the tokens and the type alone: never on n or the place in it.
// Left for a backward, where one follows: AttnParams in attention_tile.h says what.
// Range:  scores in f32, at most 0 once the maximum is subtracted; for the weights see Range. The sum of the weights is that of the
//         rounded weights which multiply v.
#include "kernels/attention_sm90.h"
#include "kernels/attention_tile.h"

// ---- tensor cores -----------------------------------------------------------------------------------------------------------

template <typename T, int D, int MT> struct ForwardTile {
    typedef TileRow<T, D> R;
    enum {
        WARPS = R::BYTES > 512 ? 2 : 4,
        THREADS = 32 * WARPS,
        QUERIES = 16 * MT * WARPS,
        KEYS = R::BYTES <= (sizeof(T) == 2 ? 256 : 128) ? 64
               : R::BYTES <= 512                        ? 32
                                                        : 16,
        STAGE_BYTES = 2 * KEYS * R::PITCH, // keys, then values
        SHARED_BYTES = QUERIES * R::PITCH + 2 * STAGE_BYTES,
        IN_REGISTERS = R::BYTES <= 128 // the queries
    };
};
// The largest squared length of each ROW_GROUP of the warp's own value rows, which lie at `tile`: backward's range comes from it.
template <typename T, int D, int MT>
GPU_FN void leave_lengths(const AttnParams &p, AttnPlace at, int first, uint32_t tile, const Lane<T, D> &of_lane) {
    float length[MT][2];
    GPU_FOR (int m = 0; m < MT; m++) length[m][0] = length[m][1] = 0;
    add_row_dots<T, D>(length, tile + of_lane.left, tile + of_lane.right);
    leave_largest(p.lengths + group_number(p, at), p.tokens, first, length);
}
template <typename T, int D, int MT> __global__ void __launch_bounds__(ForwardTile<T, D, MT>::THREADS, 2) attn_mma_kernel(AttnParams p) {
    typedef TileRow<T, D> R;
    typedef ForwardTile<T, D, MT> Tile;
    enum { NT = Tile::KEYS / 8 };
    DYN_SHARED(shared);
    const uint32_t base = gpu::smem_u32(shared);
    const int lane = (int)threadIdx.x & 31, row = ((int)threadIdx.x >> 5) * 16 * MT; // of the warp, in the block's tile
    const AttnPlace at = attn_place(p, Tile::QUERIES);
    const Lane<T, D> of_lane;
    const int blocks = (p.tokens + Tile::KEYS - 1) / Tile::KEYS;
    const RowCopies<T, D, Tile::KEYS, Tile::THREADS> keys(p, at, KEY), values(p, at, VALUE);
    auto stage_of = [&](int block) { return (uint32_t)(Tile::QUERIES * R::PITCH + block % 2 * Tile::STAGE_BYTES); };
    auto load = [&](int block) {
        keys.copy(base + stage_of(block), block * Tile::KEYS);
        values.copy(base + stage_of(block) + Tile::KEYS * R::PITCH, block * Tile::KEYS);
        gpu::cp_async_commit();
    };
    RowCopies<T, D, Tile::QUERIES, Tile::THREADS>(p, at, QUERY).copy(base, at.first);
    load(0);
    const uint32_t queries = base + (uint32_t)(row * R::PITCH) + of_lane.left;

    float sum[R::PARTS][MT][R::WIDTH][4], top[MT][2], total[MT][2]; // top: the maximum so far; total: of this lane
    uint32_t query[Tile::IN_REGISTERS ? (int)R::STEPS : 1][MT][4];
    clear(sum);
    GPU_FOR (int m = 0; m < MT; m++) top[m][0] = top[m][1] = -INFINITY, total[m][0] = total[m][1] = 0;
    for (int block = 0; block < blocks; block++) {
        gpu::cp_async_wait<0>();
        __syncthreads(); // the block has landed for all, and nobody still reads the other stage
        if (block + 1 < blocks) load(block + 1);
        if (Tile::IN_REGISTERS && block == 0)
            GPU_FOR (int step = 0; step < (int)(sizeof query / sizeof *query); step++) load_left<T, D>(query[step], queries, step);
        if (IsHalf<T>::VALUE && p.y_parts && block == (at.first + row) / Tile::KEYS)
            leave_lengths<T, D, MT>(p, at, at.first + row,
                                    base + stage_of(block) + (uint32_t)((Tile::KEYS + (at.first + row) % Tile::KEYS) * R::PITCH), of_lane);

        float s[MT][NT][4];
        clear(s);
        GPU_FOR (int step = 0; step < R::STEPS; step++) {
            uint32_t(&a)[MT][4] = query[Tile::IN_REGISTERS ? step : 0];
            if (!Tile::IN_REGISTERS) load_left<T, D>(a, queries, step);
            multiply_rows<T, D>(s, a, base + stage_of(block) + of_lane.right, step);
        }
        if ((block + 1) * Tile::KEYS > p.tokens)
            GPU_FOR (int n = 0; n < NT; n++)
                GPU_FOR (int i = 0; i < 4; i++)
                    if (block * Tile::KEYS + 8 * n + (lane & 3) * 2 + i % 2 >= p.tokens)
                        GPU_FOR (int m = 0; m < MT; m++) s[m][n][i] = -INFINITY;

        Factors<T, MT, NT> weights;
        GPU_FOR (int m = 0; m < MT; m++)
            GPU_FOR (int h = 0; h < 2; h++) { // rows 16m + lane/4 and 8 further
                float most = s[m][0][2 * h];
                GPU_FOR (int n = 0; n < NT; n++) most = fmaxf(most, fmaxf(s[m][n][2 * h], s[m][n][2 * h + 1]));
                most = fmaxf(most, __shfl_xor_sync(~0u, most, 1));
                most = fmaxf(most, __shfl_xor_sync(~0u, most, 2));
                const float next = fmaxf(top[m][h], most), shrink = gpu::exp2_approx((top[m][h] - next) * p.log2_scale);
                top[m][h] = next, total[m][h] *= shrink;
                GPU_FOR (int part = 0; part < R::PARTS; part++)
                    GPU_FOR (int n = 0; n < R::WIDTH; n++) sum[part][m][n][2 * h] *= shrink, sum[part][m][n][2 * h + 1] *= shrink;
                GPU_FOR (int n = 0; n < NT; n++) {
                    float w[2];
                    GPU_FOR (int i = 0; i < 2; i++)
                        w[i] = gpu::exp2_approx(fmaf(s[m][n][2 * h + i] - next, p.log2_scale, Range<T>::P_EXPONENT));
                    total[m][h] += weights.put(m, n, h, w[0], w[1]);
                }
            }
        multiply_columns<T, D>(sum, weights, shared, base, stage_of(block) + Tile::KEYS * R::PITCH + of_lane.column);
    }
    GPU_FOR (int m = 0; m < MT; m++)
        GPU_FOR (int h = 0; h < 2; h++) {
            total[m][h] += __shfl_xor_sync(~0u, total[m][h], 1);
            total[m][h] += __shfl_xor_sync(~0u, total[m][h], 2);
            const int token = at.first + row + 16 * m + 8 * h + (lane >> 2);
            if (p.scores && (lane & 3) == 0 && token < p.tokens)
                p.scores[row_number(p, at) + (size_t)token] = make_float2(top[m][h], log2f(total[m][h]) - (float)Range<T>::P_EXPONENT);
            total[m][h] = 1 / total[m][h];
        }
    store_rows<T, D, true>(p, sum, total, at, DY, at.first + row);
}

// ---- f32 --------------------------------------------------------------------------------------------------------------------

template <int V, int PARTS> __global__ void __launch_bounds__(F32_THREADS) attn_f32_kernel(AttnParams p) {
    DYN_SHARED(shared);
    float *const weights = (float *)shared, *const buffer = weights + F32_WEIGHTS;
    const int t = (int)threadIdx.x, column = (int)blockIdx.z * 64 * PARTS;
    const AttnPlace at = attn_place(p, F32_ROWS);
    const Matrix q = matrix(p, at, QUERY), k = matrix(p, at, KEY), v = matrix(p, at, VALUE);
    float sum[PARTS][4][4], top[4], total[4];
    GPU_FOR (int i = 0; i < PARTS * 16; i++) (&sum[0][0][0])[i] = 0;
    GPU_FOR (int i = 0; i < 4; i++) top[i] = -INFINITY, total[i] = 0;
    for (int first = 0; first < p.tokens; first += F32_ROWS) {
        float s[4][4];
        f32_dots<V>(p, s, buffer, q, at.first, k, first);
        GPU_FOR (int i = 0; i < 4; i++) {
            float most = -INFINITY;
            GPU_FOR (int j = 0; j < 4; j++) {
                if (first + t % 16 * 4 + j >= p.tokens) s[i][j] = -INFINITY;
                most = fmaxf(most, s[i][j]);
            }
            GPU_FOR (int apart = 8; apart; apart /= 2) most = fmaxf(most, __shfl_xor_sync(~0u, most, apart));
            const float next = fmaxf(top[i], most), shrink = exp2f((top[i] - next) * p.log2_scale);
            top[i] = next, total[i] *= shrink;
            GPU_FOR (int j = 0; j < 4; j++) total[i] += s[i][j] = exp2f((s[i][j] - next) * p.log2_scale);
            GPU_FOR (int c = 0; c < PARTS; c++)
                GPU_FOR (int j = 0; j < 4; j++) sum[c][i][j] *= shrink;
        }
        f32_keep(weights, s); // f32_dots's barriers: everybody has read the block before
        f32_sum<V>(p, sum, weights, buffer, v, first, column);
    }
    GPU_FOR (int i = 0; i < 4; i++) {
        GPU_FOR (int apart = 8; apart; apart /= 2) total[i] += __shfl_xor_sync(~0u, total[i], apart);
        total[i] = 1 / total[i];
    }
    f32_store<V>(p, sum, total, at, DY, column);
}

// ---- launchers --------------------------------------------------------------------------------------------------------------

template <typename T, int D, int MT> static int launch_mma(AttnParams p, int n, cudaStream_t stream) {
    typedef ForwardTile<T, D, MT> Tile;
    const dim3 grid = attn_grid(&p, n, Tile::QUERIES, 1);
    return gpu::launch(attn_mma_kernel<T, D, MT>, grid, dim3(Tile::THREADS), (size_t)Tile::SHARED_BYTES, stream, p);
}
// 32 queries per warp where they fit the registers and there are so many: the keys and values are read half as often.
template <typename T, int D> static int launch_mma(const AttnParams &p, int n, cudaStream_t stream) {
    if constexpr (TileRow<T, D>::BYTES <= 128 && sizeof(T) == 2) {
        if (p.tokens > 64) return launch_mma<T, D, 2>(p, n, stream);
    }
    return launch_mma<T, D, 1>(p, n, stream);
}
template <typename T> static int launch_mma(const AttnParams &p, int n, cudaStream_t stream) {
    if (p.d <= 32) return launch_mma<T, 32>(p, n, stream);
    if (p.d <= 64) return launch_mma<T, 64>(p, n, stream);
    if (p.d <= 80) return launch_mma<T, 80>(p, n, stream);
    if (p.d <= 128) return launch_mma<T, 128>(p, n, stream);
    return launch_mma<T, 256>(p, n, stream);
}
template <int V, int PARTS> static int launch_f32(AttnParams p, int n, cudaStream_t stream) {
    enum { BUFFER = F32_DEPTH * 64 * PARTS > 2 * F32_TILE ? F32_DEPTH * 64 * PARTS : 2 * F32_TILE };
    const dim3 grid = attn_grid(&p, n, F32_ROWS, (p.d + 64 * PARTS - 1) / (64 * PARTS));
    return gpu::launch(attn_f32_kernel<V, PARTS>, grid, dim3(F32_THREADS), (F32_WEIGHTS + BUFFER) * sizeof(float), stream, p);
}
template <int V> static int launch_f32(const AttnParams &p, int n, cudaStream_t stream) {
    if (p.d <= 64) return launch_f32<V, 1>(p, n, stream);
    if (p.d <= 128) return launch_f32<V, 2>(p, n, stream);
    return launch_f32<V, 4>(p, n, stream);
}
extern "C" int cuda_attn(const AttnArgs *a, void *stream) {
    const AttnParams p = attn_params(a);
    if (attn_sm90_takes(a)) return attn_sm90(a, stream);
    if (a->d > 256 && on_tensor_cores(a, 512) && a->qkv_type != DG_F32) return cuda_attn_wide(a, stream);
    if (!on_tensor_cores(a, 256))
        return a->d % 4 == 0 ? launch_f32<4>(p, a->n, (cudaStream_t)stream) : launch_f32<1>(p, a->n, (cudaStream_t)stream);
    if (a->qkv_type == DG_F16) return launch_mma<__half>(p, a->n, (cudaStream_t)stream);
    if (a->qkv_type == DG_BF16) return launch_mma<__nv_bfloat16>(p, a->n, (cudaStream_t)stream);
    return launch_mma<float>(p, a->n, (cudaStream_t)stream);
}
