// conv.cu -- convolution of any filter size, padding and stride, as an implicit GEMM; NHWC.
//   y = act(scale * ((conv(x, w) + bias) * gate + add)):  rows are output pixels, columns output channels, the sum runs over pieces:
//   16 bytes of channels of one filter tap, taps in order, channels in order within a tap.
// Work:   f16 and bf16 on Hopper: conv_sm90.cu, conv_narrow_sm90.cu; f16, bf16 and tf32 on all tensor cores: conv_mma.h. Strict f32 here: a
//         block makes 128 pixels x 64 channels, 8x4 products a thread from two buffers. Out-of-image pixels and channels past the last are
//         zeros, never reads.
// Order:  one accumulator per output, in the order above: independent of the tile, the batch and the place in it. Statistics of the
//         outputs for a norm that follows are made of the stored values, by whole segments of an image.
// Limits: none on sizes. Channels that do not fill whole pieces are gathered one by one; outputs are stored one by one where k % 8.
// The input gradient is the same operator with the flipped weight (graph.h, WeightView.flip).
#include "kernels/conv_mma.h"
#include "kernels/conv_narrow_sm90.h"
#include "kernels/conv_sm90.h"
#include <string.h>

enum { ROWS = 128, THREADS = 256, F32_BLOCKS = 2 }; // of the strict f32 kernel's tile; blocks of it on a multiprocessor

// ---- strict f32 ---------------------------------------------------------------------------------------------------------
// The tile's sums, rows of PITCH floats in shared memory, become outputs. Where their statistics are wanted, the stored values
// replace the sums.
template <int COLUMNS, int PITCH, int V, bool MORE> GPU_FN void store_tile_by(const ConvParams &p, float *sums, int row0, int column0) {
    enum { ACROSS = COLUMNS / V };
    const int t = (int)threadIdx.x, column = t % ACROSS * V, k = column0 + column;
    if (k >= p.end.k) return;
    float bias[V];
    load_bias(bias, p.end, k);
    for (int r = t / ACROSS; r < ROWS && row0 + r < p.end.rows; r += THREADS / ACROSS) {
        const size_t out = (size_t)(row0 + r) * (size_t)p.end.k + (size_t)k;
        float v[V];
        GPU_FOR (int e = 0; e < V; e++) v[e] = sums[r * PITCH + column + e] + bias[e];
        finish<MORE>(p.end, v, row0 + r, k, out);
        store_floats(p.y, p.end.y_type, out, v);
        if (!p.stats) continue;
        GPU_FOR (int e = 0; e < V; e++) sums[r * PITCH + column + e] = as_stored(v[e], p.end.y_type);
    }
}
// A thread makes the statistics of one channel in one segment; segments lie whole in a tile and in an image.
template <int COLUMNS, int PITCH> GPU_FN void store_stats(const ConvParams &p, const float *outputs, int row0, int column0) {
    for (int i = (int)threadIdx.x; i < COLUMNS * (ROWS / NORM_SEGMENT); i += THREADS) {
        const int column = i % COLUMNS, row = i / COLUMNS * NORM_SEGMENT;
        if (column0 + column >= p.end.k || row0 + row >= p.end.rows) continue;
        p.stats[(size_t)((row0 + row) / NORM_SEGMENT) * (size_t)p.end.k + (size_t)(column0 + column)] =
            segment_stats(outputs + row * PITCH + column, PITCH);
    }
}
template <int COLUMNS, int PITCH, int V> GPU_FN void store_tile_of(const ConvParams &p, float *sums, int row0, int column0) {
    if (more_than_plain(p.end)) store_tile_by<COLUMNS, PITCH, V, true>(p, sums, row0, column0);
    else store_tile_by<COLUMNS, PITCH, V, false>(p, sums, row0, column0);
}
template <int COLUMNS, int PITCH> GPU_FN void store_tile(const ConvParams &p, float *sums, int row0, int column0) {
    if (p.end.k % 8 == 0) store_tile_of<COLUMNS, PITCH, 8>(p, sums, row0, column0);
    else store_tile_of<COLUMNS, PITCH, 1>(p, sums, row0, column0);
    if (!p.stats) return;
    __syncthreads(); // the outputs are complete
    store_stats<COLUMNS, PITCH>(p, sums, row0, column0);
}

// A step holds 16 channels (4 pieces) of the tile's rows and columns, channel by channel, so that a thread reads 4
// neighbouring rows or columns at once.
struct F32Tile {
    enum {
        COLUMNS = 64,
        DEPTH = 16,
        A_PITCH = ROWS + 4,
        B_PITCH = COLUMNS + 4,
        BUFFER = DEPTH * (A_PITCH + B_PITCH), // floats
        SUM_PITCH = COLUMNS + 4,
        SHARED_BYTES = 4 * ((int)ROWS * (int)SUM_PITCH > 2 * (int)BUFFER ? (int)ROWS * (int)SUM_PITCH : 2 * (int)BUFFER)
    };
};
GPU_FN void store_column(float *q, int pitch, uint4 v) {
    q[0] = __uint_as_float(v.x), q[pitch] = __uint_as_float(v.y), q[2 * pitch] = __uint_as_float(v.z), q[3 * pitch] = __uint_as_float(v.w);
}
template <bool WHOLE_PIECES> __global__ void __launch_bounds__(THREADS, F32_BLOCKS) conv_f32_kernel(const __grid_constant__ ConvParams p) {
    gpu::grid_enter();
    typedef F32Tile Tile;
    enum { E = 4, PIECES = Tile::DEPTH / E, COPY_ROWS = THREADS / PIECES };
    DYN_SHARED(shared);
    float *const buffer = (float *)shared;
    const int t = (int)threadIdx.x, row0 = (int)blockIdx.x * ROWS, column0 = (int)blockIdx.y * Tile::COLUMNS;
    const int steps = (p.row_pieces + PIECES - 1) / PIECES;
    const int lc = t % PIECES, lr = t / PIECES, k = column0 + lr;
    const InputPlace input[2] = {input_place(p, row0 + lr), input_place(p, row0 + lr + COPY_ROWS)};
    FilterPlace place = filter_place(p, lc);
    uint4 next[3]; // two pieces of x, one of w
    auto fetch = [&]() {
        const uint4 zero = make_uint4(0, 0, 0, 0);
        GPU_FOR (int i = 0; i < 2; i++) {
            if (!WHOLE_PIECES) next[i] = gather_piece<float>(p, input[i], place);
            else next[i] = inside(p, input[i], place) ? *(const uint4 *)((const float *)p.x + input_element<E>(p, input[i], place)) : zero;
        }
        const bool valid = k < p.end.k && place.number < p.row_pieces;
        next[2] = valid ? ((const uint4 *)p.w)[(size_t)k * (size_t)p.row_pieces + (size_t)place.number] : zero;
        advance(place, p, PIECES);
    };
    auto keep = [&](float *q) {
        store_column(q + lc * E * Tile::A_PITCH + lr, Tile::A_PITCH, next[0]);
        store_column(q + lc * E * Tile::A_PITCH + lr + COPY_ROWS, Tile::A_PITCH, next[1]);
        store_column(q + Tile::DEPTH * Tile::A_PITCH + lc * E * Tile::B_PITCH + lr, Tile::B_PITCH, next[2]);
    };

    const int row = t / 16 * 4, column = t % 16 * 4; // this thread's rows: row..row+3 and 64 further down
    float sum[8][4];
    GPU_FOR (int i = 0; i < 8; i++)
        GPU_FOR (int j = 0; j < 4; j++) sum[i][j] = 0;
    fetch();
    keep(buffer);
    for (int step = 0; step < steps; step++) {
        __syncthreads(); // this step's buffer is complete, and nobody still reads the other one
        const float *a = buffer + step % 2 * Tile::BUFFER, *b = a + Tile::DEPTH * Tile::A_PITCH;
        if (step + 1 < steps) fetch();
        GPU_FOR (int d = 0; d < Tile::DEPTH; d++) {
            const float4 low = *(const float4 *)(a + d * Tile::A_PITCH + row), high = *(const float4 *)(a + d * Tile::A_PITCH + 64 + row);
            const float4 w = *(const float4 *)(b + d * Tile::B_PITCH + column);
            const float x[8] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
            GPU_FOR (int i = 0; i < 8; i++)
                sum[i][0] += x[i] * w.x, sum[i][1] += x[i] * w.y, sum[i][2] += x[i] * w.z, sum[i][3] += x[i] * w.w;
        }
        if (step + 1 < steps) keep(buffer + (step + 1) % 2 * Tile::BUFFER);
    }
    __syncthreads(); // the buffers become the tile of sums
    GPU_FOR (int i = 0; i < 8; i++)
        *(float4 *)(buffer + (row + i % 4 + i / 4 * 64) * Tile::SUM_PITCH + column) =
            make_float4(sum[i][0], sum[i][1], sum[i][2], sum[i][3]);
    __syncthreads();
    store_tile<Tile::COLUMNS, Tile::SUM_PITCH>(p, buffer, row0, column0);
}

// ---- launchers ----------------------------------------------------------------------------------------------------------

static int piece_values(DType t) { return PIECE_BYTES / (int)dtype_bytes(t); }

// Whether the kernel for whole pieces knows where they lie: by a bit for each tap and offsets of 32 bits.
static bool can_walk(const ConvArgs *a, int pieces) {
    const int64_t image = (int64_t)a->height * a->width * pieces, images = TILE_ROWS / (a->out_height * a->out_width) + 2;
    return a->c % piece_values(a->x_type) == 0 && a->r * a->s <= MASK_TAPS && images * image < INT32_MAX / 2 &&
           (int64_t)a->width * pieces * PIECE_BYTES < INT32_MAX / 2;
}
static FilterWalk filter_walk(const ConvArgs *a, int pieces) {
    const int row = a->s * pieces, row_end = (a->width - a->s) * pieces * PIECE_BYTES; // may be negative: a row of the image is shorter
    FilterWalk w = {};
    w.taps = STAGE_PIECES / pieces, w.pieces = STAGE_PIECES % pieces, w.row_pieces = STAGE_PIECES % row;
    w.bytes = ROW_BYTES + STAGE_PIECES / row * row_end, w.row_end_bytes = row_end;
    w.by_pieces = (uint32_t)ceil_div(1 << 16, pieces), w.by_row = (uint32_t)ceil_div(1 << 16, row);
    for (int r = 0; r < a->r; r++) w.first_taps |= 1u << r * a->s;
    return w;
}
template <typename T, int COLUMNS, bool WHOLE> static int launch_mma(ConvParams p, cudaStream_t stream) {
    typedef MmaTile<COLUMNS> Tile;
    p.across = ceil_div(p.end.k, COLUMNS), p.by_across = divider(p.across);
    const dim3 grid((unsigned)ceil_div(p.end.rows, TILE_ROWS) * (unsigned)p.across);
    return gpu::launch_dependent(conv_mma_kernel<T, COLUMNS, WHOLE>, grid, dim3(Tile::THREADS), (size_t)Tile::SHARED_BYTES, stream, p);
}
template <typename T> static int launch_mma(const ConvArgs *a, ConvParams p, cudaStream_t stream) {
    if (!can_walk(a, p.pieces)) return a->k > 64 ? launch_mma<T, 128, false>(p, stream) : launch_mma<T, 64, false>(p, stream);
    p.walk = filter_walk(a, p.pieces);
    return a->k > 64 ? launch_mma<T, 128, true>(p, stream) : launch_mma<T, 64, true>(p, stream);
}
static int launch_f32(const ConvParams &p, bool whole_pieces, cudaStream_t stream) {
    const dim3 grid((unsigned)ceil_div(p.end.rows, ROWS), (unsigned)ceil_div(p.end.k, F32Tile::COLUMNS));
    const size_t shared = F32Tile::SHARED_BYTES;
    if (whole_pieces) return gpu::launch_dependent(conv_f32_kernel<true>, grid, dim3(THREADS), shared, stream, p);
    return gpu::launch_dependent(conv_f32_kernel<false>, grid, dim3(THREADS), shared, stream, p);
}
// A skip for kernels that know none: a convolution of its own for each of its inputs, one upon the other in y, where the rest adds it.
// What stands in y between them is rounded to its type.
static int conv_in_turn(const ConvArgs *a, void *stream) {
    ConvArgs rest = *a;
    int error = 0;
    rest.add = a->y, rest.add_type = a->y_type, rest.add_kind = OPERAND_FULL;
    rest.skip[0] = rest.skip[1] = NULL, rest.needs &= ~(unsigned)CONV_SKIP;
    for (int i = 0; i < 2 && a->skip[i] && !error; i++) {
        ConvArgs skip = rest;
        skip.x = a->skip[i], skip.w = a->skip_w[i], skip.c = a->skip_c[i], skip.height = a->out_height, skip.width = a->out_width;
        skip.r = skip.s = 1, skip.options = {1, 0, 0, 0, 0, 1, ACT_NONE}, skip.needs = 0, skip.bias = NULL, skip.stats = NULL;
        if (i == 0) skip.add = NULL, skip.add_kind = OPERAND_NONE;
        error = cuda_conv(&skip, stream);
    }
    return error ? error : cuda_conv(&rest, stream);
}
extern "C" int cuda_conv(const ConvArgs *a, void *stream) {
    if (conv_sm90_takes(a)) return conv_sm90(a, stream);
    if (conv_narrow_takes(a)) return conv_narrow(a, stream);
    if (a->skip[0]) return conv_in_turn(a, stream);
    const int per_piece = piece_values(a->x_type);
    ConvParams p = {};
    p.x = a->x, p.w = a->w, p.y = a->y, p.stats = (float2 *)a->stats, p.end = conv_epilogue(a);
    p.height = a->height, p.width = a->width, p.c = a->c, p.out_width = a->out_width;
    p.filter_height = a->r, p.filter_width = a->s, p.by_width = divider(a->out_width), p.stride = a->options.stride, p.top = a->options.top,
    p.left = a->options.left;
    p.pieces = ceil_div(a->c, per_piece), p.row_pieces = a->r * a->s * p.pieces;
    if (a->x_type == DG_F16) return launch_mma<__half>(a, p, (cudaStream_t)stream);
    if (a->x_type == DG_BF16) return launch_mma<__nv_bfloat16>(a, p, (cudaStream_t)stream);
    if (a->tf32) return launch_mma<float>(a, p, (cudaStream_t)stream);
    return launch_f32(p, a->c % per_piece == 0, (cudaStream_t)stream);
}
extern "C" double cuda_conv_waves(const ConvArgs *a) {
    if (conv_sm90_takes(a)) return conv_sm90_waves(a);
    if (conv_narrow_takes(a)) return 0; // blocks walk over images: no waves
    if (a->skip[0]) return 0;           // several launches, each with waves of its own
    const bool mma = a->x_type != DG_F32 || a->tf32;
    const int columns = !mma ? (int)F32Tile::COLUMNS : a->k > 64 ? 128 : 64;
    const int resident = !mma ? F32_BLOCKS : columns == 128 ? (int)MmaTile<128>::BLOCKS : (int)MmaTile<64>::BLOCKS;
    const double blocks = (double)ceil_div(a->n * a->out_height * a->out_width, mma ? (int)TILE_ROWS : (int)ROWS) * ceil_div(a->k, columns);
    return blocks / (resident * a->multiprocessors);
}
// [k][tap][channels padded to whole pieces]
extern "C" size_t conv_packed_bytes(Shape w, DType type) {
    return (size_t)w.n * (size_t)(w.h * w.w) * (size_t)ceil_div(w.c, piece_values(type)) * PIECE_BYTES;
}
extern "C" void conv_pack(void *packed, const void *weight, Shape w, DType type) {
    const size_t from = (size_t)w.c * dtype_bytes(type), to = (size_t)ceil_div(w.c, piece_values(type)) * PIECE_BYTES;
    memset(packed, 0, conv_packed_bytes(w, type));
    for (size_t i = 0; i < (size_t)w.n * (size_t)(w.h * w.w); i++) memcpy((char *)packed + i * to, (const char *)weight + i * from, from);
}
