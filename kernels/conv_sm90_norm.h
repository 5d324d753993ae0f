// conv_sm90_norm.h -- a pixel norm that is not run, between kernels of conv_sm90.cu: w ((x - mean) rstd (1 + scale) + shift) of a row x is
//   rstd * (w (x (1 + scale))) - mean * rstd * (w (1 + scale)) + w shift
// so the convolution that makes x, in f32, leaves x (1 + scale) in 16 bits as well, and of each row and pass of columns the mean and the
// sum of squares about it; one that reads the norm multiplies that copy, and what is left is done to its sums. Partial moments of a row
// become its moments in norm_fold.cu; w (1 + scale) and w shift, of an image, are two rows of a convolution of their own.
// Range:  the copy is FOLD_SCALE times what is said above, so that in f16 rows of up to 4 million keep within its numbers.
// Needs:  1x1 convolutions, images of whole segments, so that a group's rows are all of one image, and there to the last or not at all.
#ifndef DG_CONV_SM90_NORM_H
#define DG_CONV_SM90_NORM_H
#include "kernels/conv_sm90_outputs.h"

struct FoldParams {
    const float *shift_scale; // before: of the norm, {n,2k}
    float2 *partial;          // before: [pass of columns][row]: mean, sum of squares about it
    const float2 *moments;    // after: of a row, rstd / FOLD_SCALE and -mean * rstd
    const float *rows;        // after: w (1 + scale) and w shift: {n,2,k}
};
static_assert((int)PASS == (int)FOLD_COLUMNS, "a partial moment is of a pass");

// What a thread adds up of the columns of a pass that it has, 16 in each of two rows, about the row's first value in the pass: squares are
// then at most 65 times those about the mean, so that the difference keeps its bits.
struct RowSums {
    float shift[2], x[4]; // x: sums and sums of squares, by turns
    GPU_FN void begin(const float (&v)[PART][2][2]) {
        GPU_FOR (int h = 0; h < 2; h++) shift[h] = __shfl_sync(~0u, v[0][h][0], (int)threadIdx.x & 28);
        x[0] = x[1] = x[2] = x[3] = 0;
    }
    GPU_FN void add(const float (&v)[PART][2][2]) {
        GPU_FOR (int i = 0; i < PART * 4; i++) {
            const int h = i / 2 % 2;
            const float apart = v[i / 4][h][i % 2] - shift[h];
            x[2 * h] += apart, x[2 * h + 1] = fmaf(apart, apart, x[2 * h + 1]);
        }
    }
    // -> [row]: mean and sum of squares of the 64 columns that 4 neighbouring lanes hold. The sums of both rows go through the lanes together:
    // each lane ends with one of the 4.
    GPU_FN void store(float2 *partial, bool there) {
        const int lane = (int)threadIdx.x % 4;
        GPU_FOR (int half = 1; half >= 0; half--)
            GPU_FOR (int j = 0; j < 1 << half; j++) {
                const int apart = 1 << half;
                const bool upper = lane & apart;
                const float own = upper ? x[j + apart] : x[j], other = upper ? x[j] : x[j + apart];
                x[j] = own + __shfl_xor_sync(~0u, other, apart);
            }
        const float squares = __shfl_xor_sync(~0u, x[0], 1), mean = x[0] / PASS;
        if (there && lane % 2 == 0) partial[lane * 4] = make_float2((lane ? shift[1] : shift[0]) + mean, squares - x[0] * mean);
    }
};
// A vector of a tile's columns: a warp's lanes hold two neighbouring ones of each pass, and exchange them.
template <int COLUMNS> struct WarpVector {
    float own[COLUMNS / PASS][2] = {};
    GPU_FN void load(const float *vector, int left) { // left: columns there are, from the tile's first on
        const int lane = (int)threadIdx.x % 32;
        GPU_FOR (int q = 0; q < COLUMNS / PASS; q++)
            if (2 * lane + q * PASS < left) load_run(own[q], vector + 2 * lane + q * PASS);
    }
    GPU_FN void part(float (&v)[PART][2], int first) const { // of PART eights the thread's two channels each
        if (first >= COLUMNS / 8) return;
        GPU_FOR (int i = 0; i < PART * 2; i++) {
            const int eight = first + i / 2;
            v[i / 2][i % 2] = __shfl_sync(~0u, own[eight / (PASS / 8)][i % 2], 4 * (eight % (PASS / 8)) + ((int)threadIdx.x & 3));
        }
    }
};
// Who makes outputs, for make_tiles: fetch, under the first products of a tile, begin, under the last, and then a call with its sums.
// y = (sum + bias) * gate + add, of f32, as store_direct makes it, and what it leaves: the copy goes as outputs in 16 bits do.
template <typename T, int COLUMNS> struct StoreStream {
    typedef WgmmaTile<COLUMNS> Tile;
    enum { EIGHTS = PASS / 8, AHEAD = COLUMNS < 256 }; // AHEAD: there are registers for what the next part wants
    uint8_t *shared;
    uint32_t start; // of it
    const gpu::TensorMap *copy;
    const WgmmaParams &p;
    const FoldParams &f;
    WarpVector<COLUMNS> gate = {}, scale = {}; // scale: of the norm

    GPU_FN void fetch(const Outputs &o) {
        if (o.row[0] < 0) return; // none of the group's rows is there
        const size_t image = (size_t)image_of(p.end, o.row[0]), k = (size_t)p.end.k, column = (size_t)o.tile.column;
        gate.load(p.end.gate + image * k + column, p.end.k - o.tile.column);
        scale.load(f.shift_scale + (2 * image + 1) * k + column, p.end.k - o.tile.column);
    }
    GPU_FN void begin(const Outputs &) {}
    GPU_FN void operator()(const Outputs &o, const float (&sum)[COLUMNS / 2], Turn<Tile::STAGES> &turn, uint32_t &buffers) const {
        const size_t k = (size_t)p.end.k, at = (size_t)o.row[0] * k + (size_t)(o.tile.column + pair_of(o));
        const bool there = o.row[0] >= 0; // all of the group's rows or none
        RowSums sums;
        float gates[2][PART][2], scales[2][PART][2]; // of a part, by turns
        auto exchange = [&](int part) { gate.part(gates[part % 2], part * PART), scale.part(scales[part % 2], part * PART); };
        if (AHEAD) exchange(0);
        store_passes<T, COLUMNS, 1>(
            shared, start, copy, p, o, turn, buffers, [&](float(&v)[PART][2][2], const float(&bias)[PART][2], int first, uint32_t) {
                const int part = first / PART, own = part % 2;
                float added[PART][2][2];
                load_added(added, o, shared + turn.stage * Tile::STAGE_BYTES, first % EIGHTS);
                if (AHEAD) exchange(part + 1);
                else gate.part(gates[own], first);
                with_bias(v, sum, bias, first);
                GPU_FOR (int i = 0; i < PART * 4; i++) {
                    const int j = i / 4, h = i / 2 % 2, e = i % 2;
                    v[j][h][e] = fmaf(v[j][h][e], gates[own][j][e], added[j][h][e]);
                }
                GPU_FOR (int i = 0; i < PART * 2; i++)
                    if (there) store_run((float *)p.y + at + (i % 2 * 8 * k + (size_t)(8 * (first + i / 2))), v[i / 2][i % 2]);
                if (first % EIGHTS == 0) sums.begin(v);
                sums.add(v);
                if (first % EIGHTS == EIGHTS - PART)
                    sums.store(f.partial + ((size_t)((o.tile.column + 8 * first) / PASS) * (size_t)p.end.rows + (size_t)o.row[0]), there);
                if (!AHEAD) scale.part(scales[own], first);
                GPU_FOR (int i = 0; i < PART * 4; i++)
                    v[i / 4][i / 2 % 2][i % 2] *= fmaf(scales[own][i / 4][i % 2], FOLD_SCALE, FOLD_SCALE);
            });
    }
};
// y = act(rstd * sum - mean * rstd * (w (1 + scale)) + (w shift + bias)), in 16 bits. w shift + bias stand where the bias does for other
// outputs.
template <typename T, int COLUMNS> struct StoreFolded {
    typedef WgmmaTile<COLUMNS> Tile;
    enum { EIGHTS = PASS / 8 };
    uint8_t *shared;
    uint32_t start; // of it
    const gpu::TensorMap *y;
    const WgmmaParams &p;
    const FoldParams &f;
    float2 moments[2] = {};
    WarpVector<COLUMNS> slope = {};
    float shift[2] = {0, 0}; // of the thread's columns of o.own_bias

    GPU_FN void fetch(const Outputs &o) {
        if (o.row[0] < 0) return;
        const float *const scaled = f.rows + ((size_t)(2 * image_of(p.end, o.row[0])) * (size_t)p.end.k + (size_t)o.tile.column);
        const int left = p.end.k - o.tile.column, column = 2 * o.t;
        GPU_FOR (int h = 0; h < 2; h++) moments[h] = f.moments[o.row[h]];
        slope.load(scaled, left);
        if (column < COLUMNS && column < left) load_run(shift, scaled + p.end.k + column);
    }
    GPU_FN void begin(Outputs &o) const {
        GPU_FOR (int e = 0; e < 2; e++) o.own_bias[e] += shift[e];
    }
    GPU_FN void mend(float (&v)[PART][2][2], const float (&sum)[COLUMNS / 2], const float (&bias)[PART][2], const float (&u)[PART][2],
                     int first) const {
        GPU_FOR (int i = 0; i < PART * 4; i++) {
            const int j = i / 4, h = i / 2 % 2, e = i % 2;
            v[j][h][e] = fmaf(moments[h].x, sum[4 * first + i], fmaf(moments[h].y, u[j][e], bias[j][e]));
        }
    }
    GPU_FN void operator()(const Outputs &o, const float (&sum)[COLUMNS / 2], Turn<Tile::STAGES> &turn, uint32_t &buffers) const {
        if (o.row[0] < 0) return; // none of the group's rows is there
        float u[2][PART][2];      // of this part and the next, which come while this one is made
        slope.part(u[0], 0);
        auto mended = [&](float(&v)[PART][2][2], const float(&bias)[PART][2], int first) {
            slope.part(u[(first / PART + 1) % 2], first + PART);
            mend(v, sum, bias, u[first / PART % 2], first);
        };
        if (p.end.act == ACT_GELU_TANH)
            store_passes<T, COLUMNS, 0>(shared, start, y, p, o, turn, buffers,
                                        [&](float(&v)[PART][2][2], const float(&bias)[PART][2], int first, uint32_t) {
                                            mended(v, bias, first);
                                            gelu_part(v);
                                        });
        else
            store_passes<T, COLUMNS, 0>(
                shared, start, y, p, o, turn, buffers,
                [&](float(&v)[PART][2][2], const float(&bias)[PART][2], int first, uint32_t) { mended(v, bias, first); });
    }
};
#endif
