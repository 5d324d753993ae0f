// conv_sm90_norm.h -- a pixel norm that is not run, between kernels of conv_sm90.cu: w ((x - mean) rstd (1 + scale) + shift) of a row x is
//   rstd * (w (x (1 + scale))) - mean * rstd * (w (1 + scale)) + w shift
// so the convolution that makes x, in f32, leaves x (1 + scale) in 16 bits as well, and of each row and pass of columns the mean and the
// sum of squares about it; one that reads the norm multiplies that copy, and what is left is done to its sums. Row sums of a row of x
// become its moments in norm_fold.cu; w (1 + scale) and w shift, of an image, are two rows of a convolution of their own.
// Range:  the copy is FOLD_SCALE times what is said above, so that in f16 rows of up to 4 million keep within its numbers.
// Needs:  1x1 convolutions, images of whole segments, so that a group's rows are all of one image, and there to the last or not at all.
#ifndef DG_CONV_SM90_NORM_H
#define DG_CONV_SM90_NORM_H
#include "kernels/conv_sm90_outputs.h"

struct FoldParams {
    void *copy;               // leaves: of y, times what the norm multiplies by
    float2 *partial;          // leaves: [pass of columns][row]: mean, sum of squares about it
    const float *shift_scale; // leaves: of the norm, {n,2k}
    const float2 *moments;    // reads: of a row, rstd / FOLD_SCALE and -mean * rstd
    const float *rows;        // reads: w (1 + scale) and w shift: {n,2,k}
};

static_assert((int)PASS == (int)FOLD_COLUMNS, "a partial moment is of a pass");
enum { OWN_ROWS = GROUP_ROWS / (GROUP_THREADS / 8) }; // of a thread, in runs of 8 columns of a pass
// What a thread adds up of 8 columns of each of its rows, about the row's first value in the pass: squares are then at most 65 times those
// about the mean, so that the difference keeps its bits.
struct RowSums {
    float shift[OWN_ROWS], x[2 * OWN_ROWS]; // x: sums and sums of squares, by turns
    GPU_FN void add(int i, const float (&v)[8]) {
        shift[i] = __shfl_sync(~0u, v[0], (int)threadIdx.x & 24);
        x[2 * i] = x[2 * i + 1] = 0;
        GPU_FOR (int e = 0; e < 8; e++) {
            const float apart = v[e] - shift[i];
            x[2 * i] += apart, x[2 * i + 1] = fmaf(apart, apart, x[2 * i + 1]);
        }
    }
    // -> [row]: mean and sum of squares of the 64 columns that 8 neighbouring lanes hold. The sums of all rows go through the lanes
    // together: each lane ends with one of the 8.
    GPU_FN void store(float2 *partial) {
        const int lane = (int)threadIdx.x % 8;
        GPU_FOR (int half = 2; half >= 0; half--)
            GPU_FOR (int j = 0; j < 1 << half; j++) {
                const int apart = 1 << half;
                const bool upper = lane & apart;
                const float own = upper ? x[j + apart] : x[j], other = upper ? x[j] : x[j + apart];
                x[j] = own + __shfl_xor_sync(~0u, other, apart);
            }
        const float squares = __shfl_xor_sync(~0u, x[0], 1), mean = x[0] / PASS;
        const float even = lane & 4 ? shift[2] : shift[0], odd = lane & 4 ? shift[3] : shift[1];
        if (lane % 2 == 0) partial[lane / 2 * (GROUP_ROWS / OWN_ROWS)] = make_float2((lane & 2 ? odd : even) + mean, squares - x[0] * mean);
    }
};
// y = (sum + bias) * gate + add, of f32, and what it leaves.
template <typename T, int COLUMNS>
GPU_FN void store_stream(uint8_t *shared, const WgmmaParams &p, const FoldParams &f, const Outputs &o, const float (&sum)[COLUMNS / 2]) {
    typedef WgmmaTile<COLUMNS> Tile;
    uint8_t *const buffer = shared + Tile::OUTPUTS + o.group * Tile::OUTPUT_BYTES;
    const int passes = passes_of<COLUMNS>(p, o.tile.column), first = row_of(p, o.tile, o.group * GROUP_ROWS);
    if (first < 0) return;                                                // none of the group's rows is there
    enum { DOWN = GROUP_ROWS / OWN_ROWS, AHEAD = COLUMNS < 256 ? 4 : 2 }; // rows from one of a thread's to its next; that are loaded before
    const int line = o.t / 8, column = o.t % 8 * 8, image = image_of(p.end, first);
    const size_t width = (size_t)p.end.k, start = (size_t)(first + line) * width;
    GPU_LOOP (int pass = 0; pass < passes; pass++) {
        const int k0 = o.tile.column + pass * PASS, k = k0 + column;
        const size_t at = start + (size_t)k;
        float v[OWN_ROWS][8], bias[8], gate[8], factor[8];
        auto load = [&](int i) { load_run(v[i], (const float *)p.end.add + (at + i * DOWN * width)); };
        GPU_FOR (int i = 0; i < AHEAD; i++) load(i);
        GPU_FOR (int q = 0; q < COLUMNS / PASS; q++)
            if (q == pass) spread_pass(o, sum + q * (PASS / 2), buffer);
        gpu::bar_sync(1 + o.group, GROUP_THREADS);
        load_bias(bias, p.end, k);
        load_run(gate, p.end.gate + ((size_t)image * width + (size_t)k));
        load_run(factor, f.shift_scale + ((size_t)(2 * image + 1) * width + (size_t)k));
        GPU_FOR (int e = 0; e < 8; e++) factor[e] = fmaf(factor[e], FOLD_SCALE, FOLD_SCALE);
        RowSums sums;
        GPU_FOR (int i = 0; i < OWN_ROWS; i++) {
            float s[8];
            if (i >= AHEAD) load(i);
            load_run(s, (const float *)(buffer + pass_at<float>(line + i * DOWN, column)));
            GPU_FOR (int e = 0; e < 8; e++) v[i][e] = fmaf(s[e] + bias[e], gate[e], v[i][e]);
            store_run((float *)p.y + (at + i * DOWN * width), v[i]);
            GPU_FOR (int e = 0; e < 8; e++) s[e] = v[i][e] * factor[e];
            store_run((T *)f.copy + (at + i * DOWN * width), s);
            sums.add(i, v[i]);
        }
        sums.store(f.partial + ((size_t)(k0 / PASS) * (size_t)p.end.rows + (size_t)(first + line)));
        gpu::bar_sync(1 + o.group, GROUP_THREADS); // nobody still reads what is overwritten next
    }
}

// Who makes outputs, for make_tiles: begin, before the products of a tile, and then a call with its sums.
template <typename T, int COLUMNS> struct StoreStream {
    uint8_t *shared;
    const WgmmaParams &p;
    const FoldParams &f;
    GPU_FN void begin(int, const Outputs &) {}
    GPU_FN void operator()(const Outputs &o, const float (&sum)[COLUMNS / 2], Turn<WgmmaTile<COLUMNS>::STAGES> &, uint32_t &) const {
        store_stream<T, COLUMNS>(shared, p, f, o, sum);
    }
};
// y = act(rstd * sum - mean * rstd * (w (1 + scale)) + (w shift + bias)), in 16 bits: as store_plain without anything added. What sums
// are mended by is loaded under the products: a warp's lanes hold two neighbouring columns of each pass, and exchange them.
template <typename T, int COLUMNS> struct StoreFolded {
    typedef WgmmaTile<COLUMNS> Tile;
    uint8_t *shared;
    uint32_t start; // of it
    const gpu::TensorMap *y;
    const WgmmaParams &p;
    const FoldParams &f;
    int first = -1; // row of the group; -1: none of its rows is there
    float2 moments[2] = {};
    float slope[COLUMNS / PASS][2] = {}, base[COLUMNS / PASS][2] = {};

    GPU_FN void begin(int tile, const Outputs &o) {
        const TilePlace at = tile_place<COLUMNS>(p, tile);
        first = row_of(p, at, o.group * GROUP_ROWS);
        if (first < 0) return;
        const int lane = o.t & 31, line = first + (o.t >> 5) * 16 + (lane >> 2), column = at.column + 2 * lane;
        const float *const scaled = f.rows + (size_t)(2 * image_of(p.end, first)) * (size_t)p.end.k + column;
        moments[0] = f.moments[line], moments[1] = f.moments[line + 8];
        GPU_FOR (int q = 0; q < COLUMNS / PASS; q++) {
            float bias[2] = {0, 0};
            slope[q][0] = slope[q][1] = base[q][0] = base[q][1] = 0;
            if (column + q * PASS >= p.end.k) continue;
            load_run(slope[q], scaled + q * PASS), load_run(base[q], scaled + p.end.k + q * PASS);
            if (p.end.bias) load_run(bias, p.end.bias + column + q * PASS);
            base[q][0] += bias[0], base[q][1] += bias[1];
        }
    }
    // The sums of PART eights from j0 on of pass q, mended.
    GPU_FN void mend(float (&v)[PART][2][2], const float (&sum)[COLUMNS / 2], int q, int j0, int pair) const {
        GPU_FOR (int j = 0; j < PART; j++)
            GPU_FOR (int e = 0; e < 2; e++) {
                const int lane = 4 * (j0 + j) + pair;
                const float u = __shfl_sync(~0u, slope[q][e], lane), b = __shfl_sync(~0u, base[q][e], lane);
                GPU_FOR (int h = 0; h < 2; h++)
                    v[j][h][e] = fmaf(moments[h].x, sum[q * (PASS / 2) + 4 * (j0 + j) + 2 * h + e], fmaf(moments[h].y, u, b));
            }
    }
    GPU_FN void operator()(const Outputs &o, const float (&sum)[COLUMNS / 2], Turn<Tile::STAGES> &, uint32_t &buffers) const {
        if (first < 0) return;
        const int passes = passes_of<COLUMNS>(p, o.tile.column), lane = o.t & 31, pair = lane & 3;
        const uint32_t thread = pass_at<T>((o.t >> 5) * 16 + (lane >> 2), 2 * pair);
        const TilePlace own = pixel_place(p, o.tile, o.group * GROUP_ROWS);
        GPU_LOOP (int pass = 0; pass < passes; pass++, buffers ^= HALF_PASS_BYTES) {
            const uint32_t buffer = (uint32_t)(Tile::OUTPUTS + o.group * Tile::OUTPUT_BYTES) + buffers;
            GPU_FOR (int j0 = 0; j0 < PASS / 8; j0 += PART) {
                float v[PART][2][2];
                GPU_FOR (int q = 0; q < COLUMNS / PASS; q++) // registers have no index that varies
                    if (q == pass) mend(v, sum, q, j0, pair);
                put<T>(shared, buffer + thread, j0, v, 1, p.end.act, [](float(&)[2], int, int) {});
            }
            gpu::fence_proxy_async();
            if (o.t == 0) gpu::bulk_wait_read<0>(); // the other buffer is free again, after the barrier for all
            gpu::bar_sync(1 + o.group, GROUP_THREADS);
            if (o.t == 0) {
                gpu::tma_store(y, start + buffer, o.tile.column + pass * PASS, own.w, own.h, own.image);
                gpu::bulk_commit();
            }
        }
    }
};
#endif
