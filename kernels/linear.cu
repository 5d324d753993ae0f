// linear.cu -- linear layers on vectors, all in f32: y = act(scale * ((x w^T + bias) * gate + add)).
// Work:   up to 15 vectors: eight lanes make one feature for 8 vectors. From 16 on: a block makes 64 features for 64 vectors (16 for 32
//         where that gives too few blocks) from stages of 64 channels of both in shared memory (cp.async); each of its 8 warps makes
//         the whole tile from its own two pieces of 4 channels of a stage's rows: of the large tile a thread 8 x 16 products of 4
//         channels, 24 reads of 16 bytes for 512 multiply-adds. The warps' sums are added last.
// Bytes:  weights 4 k c for each 64 vectors (each 8 where there are fewer than 16), vectors 4 n c for each 64 features, from the L2 cache;
//         outputs 4 n k. At DiT-XL's 64 vectors, 1152 -> 6912: 32 MB of weights, 32 MB of vectors through L2, 1.02 GFLOP.
// Order:  the same for any number of vectors, so that no result depends on it: part l of 8 sums the channels of pieces of 4 l, l + 8, ...
//         in order by fused multiply-adds, then parts are added in pairs 4, 2, 1 apart.
#include "kernels/linear_params.h"

// A piece of four channels, c on, of a vector or of a feature's weights; those past the last are zeros.
enum { PARTS = 8 };
template <bool WHOLE_PIECES> GPU_FN float4 channels_at(const float *row, int c, int count) {
    if constexpr (WHOLE_PIECES) {
        return *(const float4 *)(row + c);
    } else {
        float v[PIECE];
        GPU_FOR (int e = 0; e < PIECE; e++) v[e] = c + e < count ? row[c + e] : 0;
        return make_float4(v[0], v[1], v[2], v[3]);
    }
}
GPU_FN void add_products(float &sum, float4 w, float4 x) {
    sum = fmaf(w.x, x.x, sum), sum = fmaf(w.y, x.y, sum), sum = fmaf(w.z, x.z, sum), sum = fmaf(w.w, x.w, sum);
}

// ---- few vectors ----------------------------------------------------------------------------------------------------------
enum { FEW_WARPS = 8, FEW_FEATURES = FEW_WARPS * 32 / PARTS, FEW_VECTORS = 8 };
template <bool WHOLE_PIECES> __global__ void __launch_bounds__(32 * FEW_WARPS) linear_few_kernel(LinearParams p) {
    gpu::grid_enter();
    const int part = (int)threadIdx.x % PARTS, k = (int)blockIdx.x * FEW_FEATURES + (int)threadIdx.x / PARTS;
    const int first = (int)blockIdx.y * FEW_VECTORS, count = min((int)FEW_VECTORS, p.n - first);
    float sum[FEW_VECTORS];
    GPU_FOR (int i = 0; i < FEW_VECTORS; i++) sum[i] = 0;
    for (int c = part * PIECE; c < p.c && k < p.k; c += PARTS * PIECE) {
        const float4 w = channels_at<WHOLE_PIECES>(p.w + (size_t)k * (size_t)p.c, c, p.c);
        GPU_FOR (int i = 0; i < FEW_VECTORS; i++)
            if (i < count) add_products(sum[i], w, channels_at<WHOLE_PIECES>(p.x + (size_t)(first + i) * (size_t)p.c, c, p.c));
    }
    __syncwarp(); // lanes may part at the last channels
    GPU_FOR (int i = 0; i < FEW_VECTORS; i++) {
        GPU_FOR (int apart = PARTS / 2; apart; apart /= 2) sum[i] += __shfl_xor_sync(~0u, sum[i], apart);
        if (i < count && k < p.k && part == i) store_feature(p, sum[i], first + i, k);
    }
}

// ---- many vectors ---------------------------------------------------------------------------------------------------------
enum {
    MANY = 16, // vectors, from which on
    TILE_THREADS = 32 * PARTS,
    STAGE_PIECES = 2 * PARTS,
    TILE_CHANNELS = STAGE_PIECES * PIECE, // of a stage
    ROW_BYTES = TILE_CHANNELS * (int)sizeof(float),
    COPY_ROWS = TILE_THREADS / STAGE_PIECES
};
template <int VECTORS, int FEATURES> struct LinearTile { // of so many vectors and features
    enum {
        STAGES = FEATURES > 16 ? 3 : 4,
        LANE_VECTORS = VECTORS / 8, // 8 apart
        LANE_FEATURES = FEATURES / 4,
        SUM_VECTORS = VECTORS / 2, // whose sums are added at a time
        STAGE_BYTES = (VECTORS + FEATURES) * ROW_BYTES,
        PART_BYTES = SUM_VECTORS * FEATURES * (int)sizeof(float), // of one part's sums
        SHARED = STAGES * STAGE_BYTES
    };
    static_assert((int)PARTS * (int)PART_BYTES <= (int)SHARED && SHARED <= 99 * 1024,
                  "sums take the place of stages; compute capability 8.6");
    static_assert(VECTORS % COPY_ROWS == 0 && FEATURES % COPY_ROWS == 0, "a copy's rows are all vectors or all features");
    static_assert(FEATURES % 16 == 0, "a lane's features come in fours, four lanes side by side");
};
// Byte offset of a piece in a stage. The eight vectors, and the four features, that a warp reads together lie in different groups of banks.
template <int VECTORS> GPU_FN uint32_t piece_of_stage(int row, int piece) {
    const int apart = row < VECTORS ? row : row >> 2;
    return (uint32_t)(row * ROW_BYTES + ((piece ^ (apart & 7)) << 4));
}
// Where the sums of features 4 `four` to 4 `four` + 3 of a vector lie among those of SUM_VECTORS vectors.
template <int VECTORS, int FEATURES> GPU_FN uint32_t sums_at(int part, int vector, int four) {
    const int fours = FEATURES / 4 < 8 ? FEATURES / 4 : 8;
    return (uint32_t)(part * LinearTile<VECTORS, FEATURES>::PART_BYTES + vector * FEATURES * 4 + ((four ^ (vector & (fours - 1))) << 4));
}
// A lane's products of its part's piece of a stage: vectors x_row + 8 i, features w_row + 16 j / 4 + j % 4, rows of the stage. ALL: the tile has
// all its vectors; else whole groups of eight past the last are left out, by all warps.
template <int VECTORS, bool ALL, int LANE_VECTORS, int LANE_FEATURES>
GPU_FN void multiply_piece(float (&sum)[LANE_VECTORS][LANE_FEATURES], const unsigned char *stage, int x_row, int w_row, int piece,
                           int vectors) {
    float4 w[LANE_FEATURES];
    GPU_FOR (int j = 0; j < LANE_FEATURES; j++)
        w[j] = *(const float4 *)(stage + piece_of_stage<VECTORS>(w_row + j / 4 * 16, piece) + j % 4 * ROW_BYTES);
    GPU_FOR (int i = 0; i < LANE_VECTORS; i++) {
        if (!ALL && i * 8 >= vectors) continue;
        const float4 x = *(const float4 *)(stage + piece_of_stage<VECTORS>(x_row, piece) + i * 8 * ROW_BYTES);
        GPU_FOR (int j = 0; j < LANE_FEATURES; j++) add_products(sum[i][j], w[j], x);
    }
}
// The parts' sums of four features, in pairs APART apart and less, into v[0].
template <int APART> GPU_FN void add_parts(float4 (&v)[PARTS]) {
    GPU_FOR (int i = 0; i < APART; i++) {
        const float4 b = v[i + APART];
        v[i].x += b.x, v[i].y += b.y, v[i].z += b.z, v[i].w += b.w;
    }
    if constexpr (APART > 1) add_parts<APART / 2>(v);
}
template <int VECTORS, int FEATURES, bool WHOLE_PIECES>
__global__ void __launch_bounds__(TILE_THREADS, 1) linear_many_kernel(LinearParams p) {
    gpu::grid_enter();
    typedef LinearTile<VECTORS, FEATURES> Tile;
    DYN_SHARED(shared);
    const int t = (int)threadIdx.x, lane = t & 31, part = t >> 5;
    const int vector0 = (int)blockIdx.y * VECTORS, k0 = (int)blockIdx.x * FEATURES;
    const int steps = (p.c + TILE_CHANNELS - 1) / TILE_CHANNELS, vectors = min((int)VECTORS, p.n - vector0);
    // This thread copies piece t % 16 of rows t / 16, t / 16 + 16, ... of vectors and of features. Channels, vectors and features past the
    // last are zeros, never reads.
    const int copied_row = t / STAGE_PIECES, copied = t % STAGE_PIECES, features = min((int)FEATURES, p.k - k0);
    const float *x = p.x + (size_t)(vector0 + copied_row) * (size_t)p.c + copied * PIECE; // of the next stage
    const float *w = p.w + (size_t)(k0 + copied_row) * (size_t)p.c + copied * PIECE;
    const size_t between = COPY_ROWS * (size_t)p.c;
    int left = p.c - copied * PIECE; // channels from the next stage's piece on
    uint32_t filled = 0;             // stage, in bytes
    auto load = [&]() {
        GPU_FOR (int row = 0; row < VECTORS + FEATURES; row += COPY_ROWS) {
            const bool vector = row < VECTORS;
            unsigned char *const to = shared + filled + piece_of_stage<VECTORS>(row + copied_row, copied);
            const float *const from = vector ? x + row / COPY_ROWS * between : w + (row - VECTORS) / COPY_ROWS * between;
            const bool valid = left > 0 && copied_row + row < (vector ? vectors : features + VECTORS);
            if (WHOLE_PIECES) gpu::cp_async16(gpu::smem_u32(to), valid ? from : p.x, valid);
            else *(float4 *)to = valid ? channels_at<false>(from, 0, left) : make_float4(0, 0, 0, 0);
        }
        x += TILE_CHANNELS, w += TILE_CHANNELS, left -= TILE_CHANNELS;
        filled = filled == Tile::SHARED - Tile::STAGE_BYTES ? 0 : filled + Tile::STAGE_BYTES;
    };
    // A lane's part of the tile: vectors lane % 8 + 8 i, features lane / 8 * 4 + j % 4 + j / 4 * 16.
    const int vector = lane & 7, feature = lane >> 3 << 2;
    float sum[Tile::LANE_VECTORS][Tile::LANE_FEATURES];
    GPU_FOR (int i = 0; i < Tile::LANE_VECTORS; i++)
        GPU_FOR (int j = 0; j < Tile::LANE_FEATURES; j++) sum[i][j] = 0;
    GPU_FOR (int s = 0; s < Tile::STAGES - 1; s++) {
        if (s < steps) load();
        gpu::cp_async_commit();
    }
    uint32_t used = 0; // stage, in bytes
    for (int step = 0; step < steps; step++) {
        gpu::cp_async_wait<Tile::STAGES - 2>();
        __syncthreads(); // the stage has landed for all, and nobody still reads the one that is overwritten next
        if (step + Tile::STAGES - 1 < steps) load();
        gpu::cp_async_commit();
        GPU_FOR (int piece = part; piece < STAGE_PIECES; piece += PARTS) {
            if (vectors == VECTORS) multiply_piece<VECTORS, true>(sum, shared + used, vector, VECTORS + feature, piece, 0);
            else multiply_piece<VECTORS, false>(sum, shared + used, vector, VECTORS + feature, piece, vectors);
        }
        used = used == Tile::SHARED - Tile::STAGE_BYTES ? 0 : used + Tile::STAGE_BYTES;
    }
    gpu::cp_async_wait<0>();
    GPU_FOR (int half = 0; half < 2; half++) {
        __syncthreads(); // stages, or the first half's sums, have been read
        GPU_FOR (int i = 0; i < Tile::LANE_VECTORS / 2; i++)
            GPU_FOR (int j = 0; j < Tile::LANE_FEATURES; j += 4) {
                const float *s = &sum[half * Tile::LANE_VECTORS / 2 + i][j];
                *(float4 *)(shared + sums_at<VECTORS, FEATURES>(part, vector + i * 8, feature / 4 + j)) =
                    make_float4(s[0], s[1], s[2], s[3]);
            }
        __syncthreads(); // they are complete
        for (int i = t; i < Tile::SUM_VECTORS * FEATURES / 4; i += TILE_THREADS) {
            const int own = i / (FEATURES / 4), four = i % (FEATURES / 4), of = half * Tile::SUM_VECTORS + own, k = k0 + four * 4;
            float4 v[PARTS];
            GPU_FOR (int l = 0; l < PARTS; l++) v[l] = *(const float4 *)(shared + sums_at<VECTORS, FEATURES>(l, own, four));
            add_parts<PARTS / 2>(v);
            if (of < vectors) store_features(p, v[0], vector0 + of, k);
        }
    }
}
template <int VECTORS, int FEATURES> static int launch_many(const LinearParams &p, cudaStream_t stream) {
    const dim3 grid((unsigned)ceil_div(p.k, FEATURES), (unsigned)ceil_div(p.n, VECTORS)), threads(TILE_THREADS);
    const size_t bytes = LinearTile<VECTORS, FEATURES>::SHARED;
    if (p.c % PIECE == 0) return gpu::launch_dependent(linear_many_kernel<VECTORS, FEATURES, true>, grid, threads, bytes, stream, p);
    return gpu::launch_dependent(linear_many_kernel<VECTORS, FEATURES, false>, grid, threads, bytes, stream, p);
}

// ---- launcher -------------------------------------------------------------------------------------------------------------
static LinearParams linear_params(const LinearArgs *a) {
    LinearParams p = {};
    p.x = a->x, p.w = a->w, p.bias = a->bias, p.gate = a->gate, p.add = a->add, p.y = a->y;
    p.n = a->n, p.c = a->c, p.k = a->k, p.add_stride = a->add_kind == OPERAND_POSITIONS ? 0 : a->k, p.scale = a->scale, p.act = a->act;
    return p;
}
// Whatever the number of vectors: an order of sums is a layer's.
static bool is_large(const LinearArgs *a) {
    enum { LARGE = 1 << 16 };
    return a->tensor_cores && a->c % PIECE == 0 && (size_t)a->c * (size_t)a->k >= LARGE;
}
static int launch_ffma(const LinearArgs *a, cudaStream_t stream) {
    const LinearParams p = linear_params(a);
    if (a->n < MANY) {
        const dim3 grid((unsigned)ceil_div(a->k, FEW_FEATURES), (unsigned)ceil_div(a->n, FEW_VECTORS)), threads(32 * FEW_WARPS);
        if (a->c % PIECE == 0) return gpu::launch_dependent(linear_few_kernel<true>, grid, threads, (size_t)0, stream, p);
        return gpu::launch_dependent(linear_few_kernel<false>, grid, threads, (size_t)0, stream, p);
    }
    // The order of sums is that of both: the smaller tile where the larger would leave a quarter of the multiprocessors without a block.
    if (ceil_div(a->k, 64) * ceil_div(a->n, 64) < a->multiprocessors * 3 / 4) return launch_many<32, 16>(p, stream);
    return launch_many<64, 64>(p, stream);
}
extern "C" int cuda_linear(const LinearArgs *a, int layers, void *stream) {
    LinearGroup large = {};
    int count = 0, error = cudaSuccess;
    for (int i = 0; i < layers && error == cudaSuccess; i++) {
        if (is_large(&a[i])) large.layer[count++] = linear_params(&a[i]);
        else error = launch_ffma(&a[i], (cudaStream_t)stream);
    }
    return count && error == cudaSuccess ? linear_mma(large, count, (cudaStream_t)stream) : error;
}
