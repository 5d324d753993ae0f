// conv.cu -- convolution of any filter size, padding and stride, as an implicit GEMM; NHWC.
//   y = act(scale * ((conv(x, w) + bias) * gate + add)):  rows are output pixels, columns output channels, the sum runs over pieces:
//   16 bytes of channels of one filter tap, taps in order, channels in order within a tap.
// Work:   a block makes 128 pixels x 64 or 128 channels. Tensor-core kernel (f16, bf16, tf32): four stages of cp.async, ldmatrix,
//         mma.sync; 8 warps. Strict f32 kernel: 8x4 products per thread from two buffers. Both leave f32 sums in shared
//         memory for one epilogue. Out-of-image pixels and channels past the last are zeros, never reads.
// Order:  one accumulator per output, in the order above: independent of the tile, the batch and the place in it. Statistics of the
//         outputs for a norm that follows are made from the finished tile, by whole segments of an image, in rows' order.
// Limits: none on sizes. Channels that do not fill whole pieces are gathered one by one; outputs are stored one by one where k % 8.
// The input gradient is the same operator with the flipped weight (graph.h, WeightView.flip).
#include "kernels/conv_epilogue.h"
#include <string.h>

// ---- device code ------------------------------------------------------------------------------------------------------

struct ConvParams {
    const void *x, *w;
    void *y;
    float2 *stats; // of y, by segments of all images; NULL: none
    Epilogue end;
    int height, width, c, out_width, filter_width, stride, top, left;
    int pieces, row_pieces; // per tap, of all taps
};
static_assert(sizeof(ConvParams) <= 128, "nvcc 13.0 copies larger parameters, and the widest kernel spills");

enum { ROWS = 128, THREADS = 256, PIECE_BYTES = 16 }; // of a block's tile

// Where in the filter a thread's next piece of the sum lies; `number` counts pieces from the first.
struct FilterPlace {
    int number, piece, r, s;
};
GPU_FN void advance(FilterPlace &f, const ConvParams &p, int by) {
    f.number += by, f.piece += by;
    while (f.piece >= p.pieces) {
        f.piece -= p.pieces;
        if (++f.s == p.filter_width) f.s = 0, f.r++;
    }
}
GPU_FN FilterPlace filter_place(const ConvParams &p, int first) {
    FilterPlace f = {0, 0, 0, 0};
    advance(f, p, first);
    return f;
}
// The input pixel that tap (0,0) of output pixel `row` reads; rows past the last are outside every image.
struct InputPlace {
    int h, w;
    ptrdiff_t element;
};
GPU_FN InputPlace input_place(const ConvParams &p, int row) {
    InputPlace i;
    const int image = row / p.end.out_pixels, pixel = row % p.end.out_pixels;
    i.h = row < p.end.rows ? pixel / p.out_width * p.stride - p.top : -(1 << 30), i.w = pixel % p.out_width * p.stride - p.left;
    i.element = (((ptrdiff_t)image * p.height + i.h) * p.width + i.w) * p.c;
    return i;
}
GPU_FN bool inside(const ConvParams &p, const InputPlace &i, const FilterPlace &f) {
    return f.number < p.row_pieces && (unsigned)(i.h + f.r) < (unsigned)p.height && (unsigned)(i.w + f.s) < (unsigned)p.width;
}
// Element index of a piece that is inside.
template <int E> GPU_FN size_t input_element(const ConvParams &p, const InputPlace &i, const FilterPlace &f) {
    return (size_t)(i.element + ((ptrdiff_t)f.r * p.width + f.s) * p.c + f.piece * E);
}
// A piece gathered channel by channel: zeros past the last channel.
template <typename T> GPU_FN uint4 gather_piece(const ConvParams &p, const InputPlace &i, const FilterPlace &f) {
    enum { E = PIECE_BYTES / sizeof(T) };
    T v[E];
    memset(v, 0, sizeof v);
    if (inside(p, i, f)) {
        const T *x = (const T *)p.x + input_element<E>(p, i, f);
        GPU_FOR (int e = 0; e < E; e++)
            if (f.piece * E + e < p.c) v[e] = x[e];
    }
    uint4 q;
    memcpy(&q, v, sizeof q);
    return q;
}

// Both kernels end here: the tile's sums, rows of PITCH floats in shared memory, become outputs. Where their statistics are wanted,
// the stored values replace the sums.
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
        const float *y = outputs + row * PITCH + column;
        float mean = 0, rest = 0, squares = 0; // rest: what rounding took from the mean
        for (int r = 0; r < NORM_SEGMENT; r++) mean += y[r * PITCH];
        mean /= NORM_SEGMENT;
        for (int r = 0; r < NORM_SEGMENT; r++) {
            const float apart = y[r * PITCH] - mean;
            rest += apart, squares += apart * apart;
        }
        p.stats[(size_t)((row0 + row) / NORM_SEGMENT) * (size_t)p.end.k + (size_t)(column0 + column)] =
            make_float2(mean + rest / NORM_SEGMENT, squares - rest * rest / NORM_SEGMENT);
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

// ---- tensor cores -----------------------------------------------------------------------------------------------------
// A stage holds 64 bytes (4 pieces) of the sum for each of the tile's rows and columns: 32 values of 16 bits, or 16 of tf32.
enum { STAGES = 4, STAGE_PIECES = 4, ROW_BYTES = STAGE_PIECES * PIECE_BYTES };
template <int COLUMNS> struct MmaTile {
    enum {
        PITCH = COLUMNS + 4, // of the f32 sums, in floats
        STAGE_BYTES = (ROWS + COLUMNS) * ROW_BYTES,
        SUM_BYTES = ROWS * PITCH * 4,
        SHARED_BYTES = (int)STAGES * (int)STAGE_BYTES > (int)SUM_BYTES ? (int)STAGES *(int)STAGE_BYTES : (int)SUM_BYTES,
        WARP_COLUMNS = 32,
        WARPS_ACROSS = COLUMNS / WARP_COLUMNS,
        WARP_ROWS = ROWS * WARPS_ACROSS / (THREADS / 32),
        MT = WARP_ROWS / 16,
        NT = WARP_COLUMNS / 8
    };
};
// Byte offset of a piece in a stage: any 8 consecutive rows of one piece lie in 8 different groups of banks.
GPU_FN uint32_t piece_at(int row, int piece) { return (uint32_t)(row * ROW_BYTES + ((piece ^ (row >> 1 & 3)) << 4)); }

template <typename T> struct MmaOperand { // f16, bf16: pairs as they lie in memory
    template <int MT, int NT> static GPU_FN void multiply(float (&d)[MT][NT][4], uint32_t (&a)[MT][4], uint32_t (&b)[NT][2]) {
        gpu::mma_m16n8k16<T>(d, a, b);
    }
};
template <> struct MmaOperand<float> { // tf32: rounded on the way in
    template <int MT, int NT> static GPU_FN void multiply(float (&d)[MT][NT][4], uint32_t (&a)[MT][4], uint32_t (&b)[NT][2]) {
        GPU_FOR (int m = 0; m < MT; m++)
            GPU_FOR (int i = 0; i < 4; i++) a[m][i] = gpu::to_tf32(a[m][i]);
        GPU_FOR (int n = 0; n < NT; n++)
            GPU_FOR (int i = 0; i < 2; i++) b[n][i] = gpu::to_tf32(b[n][i]);
        gpu::mma_m16n8k8_tf32(d, a, b);
    }
};

template <typename T, int COLUMNS, bool WHOLE_PIECES> __global__ void __launch_bounds__(THREADS, 2) conv_mma_kernel(ConvParams p) {
    typedef MmaTile<COLUMNS> Tile;
    enum { E = PIECE_BYTES / sizeof(T), COPY_ROWS = THREADS / STAGE_PIECES, A_COPIES = ROWS / COPY_ROWS, B_COPIES = COLUMNS / COPY_ROWS };
    DYN_SHARED(shared);
    const uint32_t base = gpu::smem_u32(shared);
    const int t = (int)threadIdx.x, lane = t & 31, warp = t >> 5;
    const int row0 = (int)blockIdx.x * ROWS, column0 = (int)blockIdx.y * COLUMNS;
    const int steps = (p.row_pieces + STAGE_PIECES - 1) / STAGE_PIECES;

    // This thread copies piece `lc` of rows lr, lr + 64 of x and of columns lr, lr + 64 of w.
    const int lc = t % STAGE_PIECES, lr = t / STAGE_PIECES;
    InputPlace input[A_COPIES];
    GPU_FOR (int i = 0; i < A_COPIES; i++) input[i] = input_place(p, row0 + lr + i * COPY_ROWS);
    FilterPlace place = filter_place(p, lc);
    auto load = [&](int stage) {
        const uint32_t a = (uint32_t)(stage * Tile::STAGE_BYTES), b = a + ROWS * ROW_BYTES;
        GPU_FOR (int i = 0; i < A_COPIES; i++) {
            const uint32_t at = a + piece_at(lr + i * COPY_ROWS, lc);
            if (WHOLE_PIECES) {
                const bool valid = inside(p, input[i], place);
                gpu::cp_async16(base + at, valid ? (const T *)p.x + input_element<E>(p, input[i], place) : p.x, valid);
            } else *(uint4 *)(shared + at) = gather_piece<T>(p, input[i], place);
        }
        GPU_FOR (int i = 0; i < B_COPIES; i++) {
            const int k = column0 + lr + i * COPY_ROWS;
            const bool valid = k < p.end.k && place.number < p.row_pieces;
            const size_t piece = (size_t)k * (size_t)p.row_pieces + (size_t)place.number;
            gpu::cp_async16(base + b + piece_at(lr + i * COPY_ROWS, lc), valid ? (const T *)p.w + piece * E : p.w, valid);
        }
        advance(place, p, STAGE_PIECES);
        __syncwarp(); // lanes may part in advance(); ldmatrix and mma want them together
    };

    float sum[Tile::MT][Tile::NT][4];
    GPU_FOR (int m = 0; m < Tile::MT; m++)
        GPU_FOR (int n = 0; n < Tile::NT; n++)
            GPU_FOR (int i = 0; i < 4; i++) sum[m][n][i] = 0;

    GPU_FOR (int s = 0; s < STAGES - 1; s++) {
        if (s < steps) load(s);
        gpu::cp_async_commit();
    }
    const int warp_row = warp / Tile::WARPS_ACROSS * Tile::WARP_ROWS, warp_column = warp % Tile::WARPS_ACROSS * Tile::WARP_COLUMNS;
    const int a_row = warp_row + (lane & 15), a_piece = lane >> 4;
    const int b_row = warp_column + ((lane >> 4) << 3) + (lane & 7), b_piece = lane >> 3 & 1;
    for (int step = 0; step < steps; step++) {
        gpu::cp_async_wait<STAGES - 2>();
        __syncthreads(); // the stage has landed for all, and nobody still reads the one that is overwritten next
        if (step + STAGES - 1 < steps) load((step + STAGES - 1) % STAGES);
        gpu::cp_async_commit();
        const uint32_t a = base + (uint32_t)(step % STAGES * Tile::STAGE_BYTES), b = a + ROWS * ROW_BYTES;
        GPU_FOR (int half = 0; half < STAGE_PIECES / 2; half++) {
            uint32_t fa[Tile::MT][4], fb[Tile::NT][2];
            GPU_FOR (int m = 0; m < Tile::MT; m++) gpu::ldmatrix<4>(fa[m], a + piece_at(a_row + 16 * m, half * 2 + a_piece));
            GPU_FOR (int n = 0; n < Tile::NT; n += 2) {
                uint32_t q[4];
                gpu::ldmatrix<4>(q, b + piece_at(b_row + 8 * n, half * 2 + b_piece));
                fb[n][0] = q[0], fb[n][1] = q[1], fb[n + 1][0] = q[2], fb[n + 1][1] = q[3];
            }
            MmaOperand<T>::multiply(sum, fa, fb);
        }
    }
    gpu::cp_async_wait<0>();
    __syncthreads(); // the stages become the tile of sums
    float *sums = (float *)shared;
    GPU_FOR (int m = 0; m < Tile::MT; m++)
        GPU_FOR (int n = 0; n < Tile::NT; n++) {
            float *q = sums + (warp_row + 16 * m + (lane >> 2)) * Tile::PITCH + warp_column + 8 * n + (lane & 3) * 2;
            *(float2 *)q = make_float2(sum[m][n][0], sum[m][n][1]);
            *(float2 *)(q + 8 * Tile::PITCH) = make_float2(sum[m][n][2], sum[m][n][3]);
        }
    __syncthreads();
    store_tile<COLUMNS, Tile::PITCH>(p, sums, row0, column0);
}

// ---- strict f32 ---------------------------------------------------------------------------------------------------------
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
template <bool WHOLE_PIECES> __global__ void __launch_bounds__(THREADS, 2) conv_f32_kernel(ConvParams p) {
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

template <typename T, int COLUMNS> static int launch_mma(const ConvParams &p, bool whole_pieces, cudaStream_t stream) {
    const dim3 grid((unsigned)ceil_div(p.end.rows, ROWS), (unsigned)ceil_div(p.end.k, COLUMNS));
    const size_t shared = MmaTile<COLUMNS>::SHARED_BYTES;
    if (whole_pieces) return gpu::launch(conv_mma_kernel<T, COLUMNS, true>, grid, dim3(THREADS), shared, stream, p);
    return gpu::launch(conv_mma_kernel<T, COLUMNS, false>, grid, dim3(THREADS), shared, stream, p);
}
template <typename T> static int launch_mma(const ConvParams &p, bool whole_pieces, cudaStream_t stream) {
    return p.end.k > 64 ? launch_mma<T, 128>(p, whole_pieces, stream) : launch_mma<T, 64>(p, whole_pieces, stream);
}
static int launch_f32(const ConvParams &p, bool whole_pieces, cudaStream_t stream) {
    const dim3 grid((unsigned)ceil_div(p.end.rows, ROWS), (unsigned)ceil_div(p.end.k, F32Tile::COLUMNS));
    const size_t shared = F32Tile::SHARED_BYTES;
    if (whole_pieces) return gpu::launch(conv_f32_kernel<true>, grid, dim3(THREADS), shared, stream, p);
    return gpu::launch(conv_f32_kernel<false>, grid, dim3(THREADS), shared, stream, p);
}
extern "C" int cuda_conv(const ConvArgs *a, void *stream) {
    const int per_piece = piece_values(a->x_type);
    ConvParams p = {};
    p.x = a->x, p.w = a->w, p.y = a->y, p.stats = (float2 *)a->stats, p.end = conv_epilogue(a);
    p.height = a->height, p.width = a->width, p.c = a->c, p.out_width = a->out_width;
    p.filter_width = a->s, p.stride = a->options.stride, p.top = a->options.top, p.left = a->options.left;
    p.pieces = ceil_div(a->c, per_piece), p.row_pieces = a->r * a->s * p.pieces;
    const bool whole_pieces = a->c % per_piece == 0;
    if (a->x_type == DG_F16) return launch_mma<__half>(p, whole_pieces, (cudaStream_t)stream);
    if (a->x_type == DG_BF16) return launch_mma<__nv_bfloat16>(p, whole_pieces, (cudaStream_t)stream);
    if (a->tf32) return launch_mma<float>(p, whole_pieces, (cudaStream_t)stream);
    return launch_f32(p, whole_pieces, (cudaStream_t)stream);
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
