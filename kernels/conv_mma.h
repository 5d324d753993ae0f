// conv_mma.h -- the convolution on tensor cores by mma.sync (f16, bf16, tf32): for 8.x, and elsewhere where no newer kernel applies.
// Work:   a block makes 128 pixels x 64 or 128 channels; each of its 2 or 4 warps 64 x 64, 128 sums a thread. Three stages of cp.async;
//         the fragments of the next product are read while this one is made. Smaller warp tiles would read so much that the port of
//         shared memory, not the tensor cores, decides; larger ones do not fit the registers, larger blocks run in step.
// Copies: where channels fill whole pieces, a thread keeps an offset and a bit for each tap that is inside the image (at most 31) of
//         each of its rows; all rows share the pointer that goes through the filter. Else pieces are gathered channel by channel.
// Order:  one accumulator per output; taps in order, channels in order within a tap. Sums do not depend on the tile.
// Ends:   each warp by itself, 16 rows at a time through its own patch of shared memory, without bank conflicts. Its 64 rows are one
//         segment of a norm: statistics are made of a lane's rows (4 apart) in order, then of 4 lanes.
#ifndef DG_CONV_MMA_H
#define DG_CONV_MMA_H
#include "kernels/conv_params.h"

// A stage holds 64 bytes (4 pieces) of the sum for each of the tile's rows and columns: 32 values of 16 bits, or 16 of tf32.
enum { STAGES = 3, STAGE_PIECES = 4, ROW_BYTES = STAGE_PIECES * PIECE_BYTES, HALVES = STAGE_PIECES / 2 };
enum { WARP_TILE = 64, MT = WARP_TILE / 16, NT = WARP_TILE / 8, RUNS = WARP_TILE / 8 };
enum { TILE_ROWS = 128, MASK_TAPS = 31 };

// A warp's sums on their way out, 16 rows at a time. The even ones of a row's groups of 4 columns come first, then the odd ones:
// 8 lanes then read 16 bytes each of 32 neighbouring words, and stores of pairs meet each bank once.
enum { PATCH_ROWS = 16, PATCH_ODD = 36, PATCH_PITCH = 72, LANE_ROWS = PATCH_ROWS * RUNS / 32 };
static_assert(PATCH_ROWS * MT == WARP_TILE && MT == 4, "a part of the sums fills a patch");
static_assert((int)WARP_TILE == (int)NORM_SEGMENT, "a warp makes the statistics of whole segments");

template <int COLUMNS> struct MmaTile {
    enum {
        WARPS_ACROSS = COLUMNS / WARP_TILE,
        WARPS = TILE_ROWS / WARP_TILE * WARPS_ACROSS,
        THREADS = 32 * WARPS,
        BLOCKS = 8 / WARPS, // of a multiprocessor, by registers
        STAGE_BYTES = (TILE_ROWS + COLUMNS) * ROW_BYTES,
        SHARED_BYTES = STAGES * STAGE_BYTES,
        COPY_ROWS = THREADS / STAGE_PIECES,
        A_COPIES = TILE_ROWS / COPY_ROWS,
        B_COPIES = COLUMNS / COPY_ROWS
    };
    static_assert(WARPS * PATCH_ROWS * PATCH_PITCH * 4 <= SHARED_BYTES, "patches lie in the stages");
    static_assert(COPY_ROWS % 8 == 0, "a thread's copies lie alike in the swizzle");
};
// Byte offset of a piece in a stage: any 8 consecutive rows of one piece lie in 8 different groups of banks.
GPU_FN uint32_t piece_at(int row, int piece) { return (uint32_t)(row * ROW_BYTES + ((piece ^ (row >> 1 & 3)) << 4)); }

template <typename T> struct MmaOperand { // f16, bf16: pairs as they lie in memory
    static GPU_FN void multiply(float (&d)[MT][NT][4], uint32_t (&a)[MT][4], uint32_t (&b)[NT][2]) { gpu::mma_m16n8k16<T>(d, a, b); }
};
template <> struct MmaOperand<float> { // tf32: rounded on the way in
    static GPU_FN void multiply(float (&d)[MT][NT][4], uint32_t (&a)[MT][4], uint32_t (&b)[NT][2]) {
        GPU_FOR (int m = 0; m < MT; m++)
            GPU_FOR (int i = 0; i < 4; i++) a[m][i] = gpu::to_tf32(a[m][i]);
        GPU_FOR (int n = 0; n < NT; n++)
            GPU_FOR (int i = 0; i < 2; i++) b[n][i] = gpu::to_tf32(b[n][i]);
        gpu::mma_m16n8k8_tf32(d, a, b);
    }
};

// ---- copies -----------------------------------------------------------------------------------------------------------
// A thread copies piece number `of_step` of every step, of rows first, first + COPY_ROWS, ... of x.
GPU_FN uint32_t bits_below(int n) { return (1u << n) - 1; }
GPU_FN int within(int v, int most) {
    const int low = v < most ? v : most;
    return low > 0 ? low : 0;
}
template <class Tile> struct WholePieces {
    uintptr_t from;             // the piece for a row at offset 0: that of tap (0,0) in the image of the tile's first row, and the walk
    int offset[Tile::A_COPIES]; // of each row's first tap from there, in pieces
    uint32_t taps[Tile::A_COPIES], tap; // inside the image; the present one
    int piece, row_piece;               // of the tap, of the filter row

    GPU_FN void start(const ConvParams &p, int row0, int first, int of_step) {
        const int image = image_of(p.end, row0);
        const int to_tap = (int)((uint32_t)of_step * p.walk.by_pieces >> 16), to_row = (int)((uint32_t)of_step * p.walk.by_row >> 16);
        tap = 1u << to_tap, piece = of_step - to_tap * p.pieces, row_piece = of_step - to_row * p.filter_width * p.pieces;
        from = (uintptr_t)p.x + (size_t)image * (size_t)p.height * (size_t)p.width * (size_t)p.pieces * PIECE_BYTES +
               (size_t)(ptrdiff_t)(of_step * PIECE_BYTES + to_row * p.walk.row_end_bytes);
        GPU_FOR (int i = 0; i < Tile::A_COPIES; i++) {
            const InputPlace at = input_place(p, row0 + first + i * Tile::COPY_ROWS);
            offset[i] = (((at.image - image) * p.height + at.h) * p.width + at.w) * p.pieces;
            const uint32_t across = bits_below(within(p.width - at.w, p.filter_width)) & ~bits_below(within(-at.w, p.filter_width));
            const int above = within(-at.h, p.filter_height), below = within(p.height - at.h, p.filter_height);
            taps[i] = across * p.walk.first_taps & bits_below(below * p.filter_width) & ~bits_below(above * p.filter_width);
            gpu::hold(taps[i]);
        }
    }
    GPU_FN void load(const ConvParams &, uint8_t *, uint32_t to) const {
        GPU_FOR (int i = 0; i < Tile::A_COPIES; i++)
            gpu::cp_async16(to + (uint32_t)(i * Tile::COPY_ROWS * ROW_BYTES),
                            (const void *)(from + (size_t)((ptrdiff_t)offset[i] * PIECE_BYTES)), taps[i] & tap);
    }
    GPU_FN void next(const ConvParams &p) { // past the last tap no bit is left
        piece += p.walk.pieces, row_piece += p.walk.row_pieces;
        const bool tap_ends = piece >= p.pieces, row_ends = row_piece >= p.filter_width * p.pieces;
        piece -= tap_ends ? p.pieces : 0, row_piece -= row_ends ? p.filter_width * p.pieces : 0;
        tap <<= p.walk.taps + tap_ends;
        from += (size_t)(ptrdiff_t)(p.walk.bytes + (row_ends ? p.walk.row_end_bytes : 0));
    }
};
template <class Tile, typename T> struct AnyPieces {
    InputPlace input[Tile::A_COPIES];
    FilterPlace place;

    GPU_FN void start(const ConvParams &p, int row0, int first, int of_step) {
        GPU_FOR (int i = 0; i < Tile::A_COPIES; i++) input[i] = input_place(p, row0 + first + i * Tile::COPY_ROWS);
        place = filter_place(p, of_step);
    }
    GPU_FN void load(const ConvParams &p, uint8_t *shared, uint32_t to) const {
        uint8_t *const at = shared + (to - gpu::smem_u32(shared));
        GPU_FOR (int i = 0; i < Tile::A_COPIES; i++) *(uint4 *)(at + i * Tile::COPY_ROWS * ROW_BYTES) = gather_piece<T>(p, input[i], place);
    }
    GPU_FN void next(const ConvParams &p) {
        advance(place, p, STAGE_PIECES);
        __syncwarp(); // lanes may part in advance(); ldmatrix and mma want them together
    }
};
// The same of the columns of w: [k][row_pieces].
template <class Tile> struct WeightPieces {
    uintptr_t from;
    int number, end[Tile::B_COPIES]; // of the piece; 0 for columns past the last

    GPU_FN void start(const ConvParams &p, int column, int of_step) {
        from = (uintptr_t)p.w + ((size_t)column * (size_t)p.row_pieces + (size_t)of_step) * PIECE_BYTES, number = of_step;
        GPU_FOR (int i = 0; i < Tile::B_COPIES; i++) end[i] = column + i * Tile::COPY_ROWS < p.end.k ? p.row_pieces : 0;
    }
    GPU_FN void load(const ConvParams &p, uint32_t to) const {
        GPU_FOR (int i = 0; i < Tile::B_COPIES; i++)
            gpu::cp_async16(to + (uint32_t)(i * Tile::COPY_ROWS * ROW_BYTES),
                            (const void *)(from + (size_t)p.row_pieces * (size_t)(i * Tile::COPY_ROWS * PIECE_BYTES)), number < end[i]);
    }
    GPU_FN void next() { number += STAGE_PIECES, from += STAGE_PIECES * PIECE_BYTES; }
};

// ---- ends -------------------------------------------------------------------------------------------------------------
// Statistics of 8 channels of a segment, by a lane's rows: about the segment's first value, so that a mean far from zero costs nothing.
struct LaneStats {
    float first[8], sum[8], squares[8];
};
// Lanes 8 and 16 apart have the other rows.
GPU_FN void store_lane_stats(LaneStats &s, const ConvParams &p, int row0, int k, int lane) {
    float2 *const to = p.stats + (size_t)(row0 / NORM_SEGMENT) * (size_t)p.end.k + (size_t)k;
    GPU_FOR (int e = 0; e < 8; e++) {
        GPU_FOR (int apart = 8; apart < 32; apart *= 2)
            s.sum[e] += __shfl_xor_sync(~0u, s.sum[e], apart), s.squares[e] += __shfl_xor_sync(~0u, s.squares[e], apart);
        const float rest = s.sum[e] * (1.f / NORM_SEGMENT);
        if (lane < 8 && row0 < p.end.rows && k + e < p.end.k) // segments lie whole in an image
            to[e] = make_float2(s.first[e] + rest, fmaf(-rest, s.sum[e], s.squares[e]));
    }
}
GPU_FN float *patch_at(float *patch, int row, int column) {
    return patch + row * PATCH_PITCH + (column >> 2 & 1) * PATCH_ODD + (column >> 3) * 4 + (column & 3);
}
// 16 rows of sums as the products leave them: lane 4 g + t has columns 2 t, 2 t + 1 of rows g, g + 8 of every 8 columns.
GPU_FN void to_patch(float *patch, const float (&sum)[NT][4], int lane) {
    float *const q = patch_at(patch, lane >> 2, (lane & 3) * 2);
    GPU_FOR (int n = 0; n < NT; n++) {
        *(float2 *)(q + 4 * n) = make_float2(sum[n][0], sum[n][1]);
        *(float2 *)(q + 8 * PATCH_PITCH + 4 * n) = make_float2(sum[n][2], sum[n][3]);
    }
}
// Calls f(number, e) for each of a lane's values: rows 4 apart, 8 channels.
template <class F> GPU_FN void for_values(const F &f) {
    GPU_FOR (int i = 0; i < LANE_ROWS; i++)
        GPU_FOR (int e = 0; e < 8; e++) f(i, e);
}
// Calls f with `p` as a pointer to f32 or to T: tensors beside x have its type or f32.
template <typename T, class F> GPU_FN void with_either(const void *p, DType type, const F &f) {
    if (type == DG_F32) f((const float *)p);
    else f((const T *)p);
}
// A lane's runs of 8 channels in a tensor like y: raw words, so that a predicate each guards them and all are in flight together.
struct LaneRuns {
    const uint8_t *first; // of the present patch
    size_t step;          // bytes from row to row of the lane's, 0 where one serves all
};
GPU_FN LaneRuns lane_runs(const void *p, DType type, int k_all, int row, int k, int rows_apart) {
    const size_t bytes = type == DG_F32 ? 4 : 2;
    return {(const uint8_t *)p + ((size_t)row * (size_t)k_all + (size_t)k) * bytes, (size_t)rows_apart * (size_t)k_all * bytes};
}
struct RawRuns {
    uint4 word[LANE_ROWS];
};
template <typename T> GPU_FN float value_of(uint4 word, int e) {
    T v[sizeof word / sizeof(T)];
    memcpy(v, &word, sizeof v);
    return (float)v[e];
}
GPU_FN void load_words(RawRuns &raw, const LaneRuns &from, int at, int rows) { // where there is no row: of no use
    GPU_FOR (int i = 0; i < LANE_ROWS; i++)
        if (4 * i < rows) raw.word[i] = ((const uint4 *)(from.first + (size_t)i * from.step))[at];
}
template <typename Y> GPU_FN void store_runs(const LaneRuns &to, float (&v)[LANE_ROWS][8], int rows, bool want_stored) {
    GPU_FOR (int i = 0; i < LANE_ROWS; i++) {
        enum { WORDS = 8 * sizeof(Y) / sizeof(uint4) };
        Y y[8];
        GPU_FOR (int e = 0; e < 8; e++) y[e] = (Y)v[i][e];
        uint4 word[WORDS];
        memcpy(word, y, sizeof y);
        GPU_FOR (int w = 0; w < WORDS; w++)
            if (4 * i < rows) ((uint4 *)(to.first + (size_t)i * to.step))[w] = word[w];
        if (want_stored)
            GPU_FOR (int e = 0; e < 8; e++) v[i][e] = (float)y[e];
    }
}
// v, sums with their bias, become outputs; all rows have the same gate. raw: of `add`, where that has 16 bits.
template <typename T>
GPU_FN void finish_runs(const Epilogue &q, float (&v)[LANE_ROWS][8], RawRuns &raw, const LaneRuns &add, int rows, int image, int k) {
    float gate[8];
    GPU_FOR (int e = 0; e < 8; e++) gate[e] = 1;
    if (q.gate && rows > 0) load_run(gate, q.gate + (size_t)image * (size_t)q.k + (size_t)k);
    auto include = [&](int i, int e, float a) { v[i][e] = fmaf(v[i][e], gate[e], a); }; // with a gate of 1, exactly the sum
    if (!q.add) {
        if (q.gate) for_values([&](int i, int e) { v[i][e] *= gate[e]; });
    } else if (q.add_type == DG_F32) {
        RawRuns high;
        load_words(raw, add, 0, rows), load_words(high, add, 1, rows);
        for_values([&](int i, int e) { include(i, e, value_of<float>(e < 4 ? raw.word[i] : high.word[i], e % 4)); });
    } else for_values([&](int i, int e) { include(i, e, value_of<T>(raw.word[i], e % (16 / (int)sizeof(T)))); });
    if (q.scale != 1) for_values([&](int i, int e) { v[i][e] *= q.scale; });
    uint32_t act = (uint32_t)q.act;
    if (act == ACT_RELU)
        GPU_FOR (int i = 0; i < LANE_ROWS; i++) activate(v[i], ACT_RELU);
    gpu::hold(act); // two branches and no table
    if (act == ACT_GELU_TANH)
        GPU_FOR (int i = 0; i < LANE_ROWS; i++) activate(v[i], ACT_GELU_TANH);
}
// One by one, whatever there is to do; the patch then holds the values as they are stored.
template <typename T> GPU_FN void finish_ones(const ConvParams &p, float *patch, int row0, int column0, int lane) {
    for (int i = lane; i < PATCH_ROWS * WARP_TILE; i += 32) {
        const int row = row0 + i / WARP_TILE, k = column0 + i % WARP_TILE;
        if (row >= p.end.rows || k >= p.end.k) continue;
        float *const q = patch_at(patch, i / WARP_TILE, i % WARP_TILE), bias[1], v[1];
        const size_t out = (size_t)row * (size_t)p.end.k + (size_t)k;
        load_bias(bias, p.end, k);
        v[0] = *q + bias[0];
        if (more_than_plain(p.end)) finish_more(p.end, v, row, k, out);
        else finish_plain(p.end, v, row, k, out);
        with_either<T>(p.y, p.end.y_type, [&](auto *y) {
            typedef typename std::remove_cv<typename std::remove_pointer<decltype(y)>::type>::type Y;
            const Y stored = (Y)v[0];
            ((Y *)p.y)[out] = stored, *q = (float)stored;
        });
    }
    __syncwarp();
}
GPU_FN void from_patch(float (&v)[LANE_ROWS][8], float *patch, int lane) {
    GPU_FOR (int i = 0; i < LANE_ROWS; i++) {
        const float *const q = patch_at(patch, (lane >> 3) + 4 * i, (lane & 7) * 8);
        const float4 low = *(const float4 *)q, high = *(const float4 *)(q + PATCH_ODD);
        v[i][0] = low.x, v[i][1] = low.y, v[i][2] = low.z, v[i][3] = low.w;
        v[i][4] = high.x, v[i][5] = high.y, v[i][6] = high.z, v[i][7] = high.w;
    }
}
GPU_FN void count_rows(LaneStats &s, const float (&v)[LANE_ROWS][8], bool first_part, int lane) {
    GPU_FOR (int e = 0; e < 8; e++)
        if (first_part) s.first[e] = __shfl_sync(~0u, v[0][e], lane & 7), s.sum[e] = s.squares[e] = 0;
    for_values([&](int i, int e) {
        const float apart = v[i][e] - s.first[e];
        s.sum[e] += apart, s.squares[e] = fmaf(apart, apart, s.squares[e]);
    });
}
// A warp's sums of rows row0, ... and columns column0, ... become outputs: whole runs of channels, whose rows' gates and operands lie alike.
template <typename T>
GPU_FN void finish_by_runs(const ConvParams &p, float *patch, const float (&sum)[MT][NT][4], int row0, int column0, int lane) {
    const Epilogue &q = p.end;
    const int row = row0 + (lane >> 3), k = column0 + (lane & 7) * 8, image = image_of(q, row0);
    const int add_row = q.add_kind == OPERAND_FULL ? row : q.add_kind == OPERAND_VECTOR ? image : row - image * q.out_pixels;
    LaneRuns y = lane_runs(p.y, q.y_type, q.k, row, k, 4),
             add = lane_runs(q.add, q.add_type, q.k, add_row, k, q.add_kind == OPERAND_VECTOR ? 0 : 4);
    int rows = k < q.k ? q.rows - row : 0; // left for this lane, from its first one
    float bias[8];
    LaneStats stats;
    GPU_FOR (int e = 0; e < 8; e++) bias[e] = 0;
    if (rows > 0) load_bias(bias, q, k);
    GPU_FOR (int m = 0; m < MT; m++) {
        RawRuns raw;
        if (q.add && q.add_type != DG_F32) load_words(raw, add, 0, rows);
        __syncwarp(); // the patch has been read
        to_patch(patch, sum[m], lane);
        __syncwarp();
        float v[LANE_ROWS][8];
        from_patch(v, patch, lane);
        for_values([&](int i, int e) { v[i][e] += bias[e]; });
        finish_runs<T>(q, v, raw, add, rows, image, k);
        with_either<T>(p.y, q.y_type, [&](auto *to) {
            store_runs<typename std::remove_cv<typename std::remove_pointer<decltype(to)>::type>::type>(y, v, rows, p.stats);
        });
        if (p.stats) count_rows(stats, v, m == 0, lane);
        rows -= PATCH_ROWS, y.first += LANE_ROWS * y.step, add.first += LANE_ROWS * add.step;
    }
    if (p.stats) store_lane_stats(stats, p, row0, k, lane);
}
template <typename T>
GPU_FN void finish_by_ones(const ConvParams &p, float *patch, const float (&sum)[MT][NT][4], int row0, int column0, int lane) {
    LaneStats stats;
    GPU_FOR (int m = 0; m < MT; m++) {
        __syncwarp(); // the patch has been read
        to_patch(patch, sum[m], lane);
        __syncwarp();
        finish_ones<T>(p, patch, row0 + m * PATCH_ROWS, column0, lane);
        if (!p.stats) continue;
        float v[LANE_ROWS][8];
        from_patch(v, patch, lane);
        count_rows(stats, v, m == 0, lane);
    }
    if (p.stats) store_lane_stats(stats, p, row0, column0 + (lane & 7) * 8, lane);
}

// ---- kernel -----------------------------------------------------------------------------------------------------------
template <typename T, int COLUMNS, bool WHOLE>
__global__ void __launch_bounds__(MmaTile<COLUMNS>::THREADS, MmaTile<COLUMNS>::BLOCKS)
    conv_mma_kernel(const __grid_constant__ ConvParams p) {
    gpu::grid_enter();
    typedef MmaTile<COLUMNS> Tile;
    DYN_SHARED(shared);
    const uint32_t base = gpu::smem_u32(shared);
    const int t = (int)threadIdx.x, lane = t & 31, warp = t >> 5;
    const int tile = divide((int)blockIdx.x, p.by_across), row0 = tile * TILE_ROWS; // neighbours in the grid read the same rows of x
    const int column0 = ((int)blockIdx.x - tile * p.across) * COLUMNS;
    const int steps = (p.row_pieces + STAGE_PIECES - 1) / STAGE_PIECES;

    const int piece = t & (STAGE_PIECES - 1), first = (int)((unsigned)t / STAGE_PIECES);
    typename std::conditional<WHOLE, WholePieces<Tile>, AnyPieces<Tile, T>>::type x;
    WeightPieces<Tile> w;
    x.start(p, row0, first, piece), w.start(p, column0 + first, piece);
    const uint32_t copy_at = base + piece_at(first, piece);
    uint32_t stage_filled = 0, stage_read = 0; // offsets
    auto load = [&]() {
        x.load(p, shared, copy_at + stage_filled), w.load(p, copy_at + stage_filled + TILE_ROWS * ROW_BYTES);
        x.next(p), w.next();
    };
    auto after = [](uint32_t stage) {
        return stage == (uint32_t)(Tile::SHARED_BYTES - Tile::STAGE_BYTES) ? 0 : stage + (uint32_t)Tile::STAGE_BYTES;
    };

    float sum[MT][NT][4];
    GPU_FOR (int m = 0; m < MT; m++)
        GPU_FOR (int n = 0; n < NT; n++)
            GPU_FOR (int i = 0; i < 4; i++) sum[m][n][i] = 0;

    const int warp_row = warp / Tile::WARPS_ACROSS * WARP_TILE, warp_column = warp % Tile::WARPS_ACROSS * WARP_TILE;
    const uint32_t a_at = base + piece_at(warp_row + (lane & 15), lane >> 4);
    const uint32_t b_at = base + TILE_ROWS * ROW_BYTES + piece_at(warp_column + ((lane >> 4) << 3) + (lane & 7), lane >> 3 & 1);
    uint32_t a[2][MT][4], b[2][NT][2];
    auto read = [&](int half) { // 2 pieces of a stage: the upper bit of a piece's number lies above the swizzle's lower one
        const uint32_t from_a = (a_at + stage_read) ^ (uint32_t)(half << 5), from_b = (b_at + stage_read) ^ (uint32_t)(half << 5);
        GPU_FOR (int m = 0; m < MT; m++) gpu::ldmatrix<4>(a[half % 2][m], from_a + (uint32_t)(m * 16 * ROW_BYTES));
        GPU_FOR (int n = 0; n < NT; n += 2) {
            uint32_t q[4];
            gpu::ldmatrix<4>(q, from_b + (uint32_t)(n * 8 * ROW_BYTES));
            b[half % 2][n][0] = q[0], b[half % 2][n][1] = q[1], b[half % 2][n + 1][0] = q[2], b[half % 2][n + 1][1] = q[3];
        }
    };
    GPU_FOR (int s = 0; s < STAGES - 1; s++) {
        if (s < steps) load();
        stage_filled = after(stage_filled);
        gpu::cp_async_commit();
    }
    gpu::cp_async_wait<STAGES - 2>();
    __syncthreads(); // the first stage has landed for all
    read(0);
    for (int step = 0; step < steps; step++) {
        GPU_FOR (int half = 0; half < HALVES; half++) {
            if (half + 1 < HALVES) read(half + 1);
            else {
                gpu::cp_async_wait<STAGES - 2>();
                __syncthreads(); // the next stage has landed for all, and nobody still reads this one, which is filled next
                if (step + 1 < steps) stage_read = after(stage_read);
                read(0); // in vain after the last step
            }
            if (half == 0) {
                if (step + STAGES - 1 < steps) load();
                stage_filled = after(stage_filled);
                gpu::cp_async_commit();
            }
            MmaOperand<T>::multiply(sum, a[half % 2], b[half % 2]);
        }
    }
    gpu::cp_async_wait<0>();
    __syncthreads(); // the stages become the warps' patches
    float *const patch = (float *)shared + warp * PATCH_ROWS * PATCH_PITCH;
    const bool one_image = p.end.out_pixels % WARP_TILE == 0, alike = !p.end.gate && (!p.end.add || p.end.add_kind == OPERAND_FULL);
    if (p.end.k % 8 == 0 && (one_image || alike)) finish_by_runs<T>(p, patch, sum, row0 + warp_row, column0 + warp_column, lane);
    else finish_by_ones<T>(p, patch, sum, row0 + warp_row, column0 + warp_column, lane);
}
#endif
