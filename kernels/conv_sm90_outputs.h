// conv_sm90_outputs.h -- what the consumers of conv_sm90.cu do with the sums of a tile: they become outputs, and statistics of them.
#ifndef DG_CONV_SM90_OUTPUTS_H
#define DG_CONV_SM90_OUTPUTS_H
#include "kernels/conv_sm90_tile.h"

// A pass of outputs in shared memory: 64 rows of 64 values, of which runs of 8 are exchanged as TMA does with those of 16 bits.
// Row r's low bits stand in two places of an offset, so that r ^ b begins where r begins, ^ in_rows<T>(b).
template <typename T> GPU_FN uint32_t in_rows(int row) {
    return (uint32_t)row * (uint32_t)(PASS * sizeof(T)) ^ (uint32_t)(row & 7) * (uint32_t)(8 * sizeof(T));
}
template <typename T> GPU_FN uint32_t pass_at(int row, int column) { return in_rows<T>(row) ^ (uint32_t)column * (uint32_t)sizeof(T); }

// Statistics of one segment and the pass of columns that begins at k: of the values of `rows`. A thread adds 16 rows of two
// neighbouring channels, about the segment's first row: squares about it are at most 65 times those about the mean, so that the difference
// keeps its bits. Four threads of a warp share the two channels and take their rows in orders that keep them off each other's banks.
template <typename T> GPU_FN void store_segment(const WgmmaParams &p, int segment, int k, const uint8_t *rows) {
    const int t = (int)threadIdx.x % GROUP_THREADS, part = t >> 3 & 3, column = (t >> 5) * 16 + (t & 7) * 2;
    const uint32_t start = pass_at<T>(part * 16 + 2 * part, column);
    float shift[2], v[4] = {0, 0, 0, 0}; // sums, sums of squares
    load_run(shift, (const T *)(rows + pass_at<T>(0, column)));
    GPU_FOR (int i = 0; i < GROUP_ROWS / 4; i++) {
        float q[2];
        load_run(q, (const T *)(rows + (start ^ in_rows<T>(i % 8)) + in_rows<T>(i / 8 * 8)));
        const float a = q[0] - shift[0], b = q[1] - shift[1];
        v[0] += a, v[1] += b, v[2] = fmaf(a, a, v[2]), v[3] = fmaf(b, b, v[3]);
    }
    GPU_FOR (int e = 0; e < 4; e++) {
        v[e] += __shfl_xor_sync(~0u, v[e], 8);
        v[e] += __shfl_xor_sync(~0u, v[e], 16);
    }
    if (part || k + column >= p.end.k) return;
    const float mean[2] = {v[0] / GROUP_ROWS, v[1] / GROUP_ROWS};
    *(float4 *)(p.stats + (size_t)segment * (size_t)p.end.k + (size_t)(k + column)) =
        make_float4(shift[0] + mean[0], v[2] - v[0] * mean[0], shift[1] + mean[1], v[3] - v[1] * mean[1]);
}

// How a tile's outputs are made. With neither gate nor positions, in the type of x: a residual, a vector for each image, plain sums, their
// GELU, or any activation and scale. In f32, without statistics and activation, with nothing added but an f32 tensor: KIND_DIRECT, with a
// gate KIND_GATED.
enum Kind { KIND_RESIDUAL, KIND_VECTOR, KIND_SUMS, KIND_GELU, KIND_ACTED, KIND_DIRECT, KIND_GATED, KIND_ANY };
GPU_FN Kind kind_of(const WgmmaParams &p) {
    const Epilogue &end = p.end;
    if (p.plain && end.add_kind != OPERAND_NONE) return end.add_kind == OPERAND_FULL ? KIND_RESIDUAL : KIND_VECTOR;
    if (p.plain && end.scale == 1 && end.act != ACT_RELU) return end.act == ACT_NONE ? KIND_SUMS : KIND_GELU;
    if (p.plain) return KIND_ACTED;
    if (end.y_type != DG_F32 || p.stats || end.act != ACT_NONE || (end.add_kind != OPERAND_NONE && !p.add_columns)) return KIND_ANY;
    return end.gate ? KIND_GATED : KIND_DIRECT;
}
// What a thread of a consumer knows of the tile whose outputs it makes. A thread has two neighbouring channels of every eight, in two rows
// that are 8 apart.
struct Outputs {
    TilePlace tile;
    Kind kind;
    int group, t;           // of the group's threads
    int segment;            // of the group's pixels; -1: no statistics
    uint32_t empty;         // a warp's first lanes: the barriers of empty stages, each in one block of the cluster
    int row[2];             // of its two pixels in y; -1: outside
    const float *vector[2]; // of their images: what is added, or the gate; NULL: none
    const float *bias;      // of the tile, in shared memory, from the thread's first channel on
    float own_bias[2];      // what this thread brings there: of channels 2 t and 2 t + 1
};
GPU_FN int warp_of(const Outputs &o) { return o.t >> 5; }
GPU_FN int pair_of(const Outputs &o) { return (o.t & 3) * 2; }
// Tells both producers that this warp has read a stage. Every warp speaks for itself: a wait for products says nothing of other warps'.
GPU_FN void release(const Outputs &o, int stage) {
    if (o.t % 32 < PAIR) gpu::mbar_arrive_remote(o.empty + 8 * stage);
}
// What memory gives for a tile's outputs comes while its sums are made: this is under the first products.
template <int COLUMNS, class P> GPU_FN void place_outputs(Outputs &o, const P &p, int tile) {
    o.tile = tile_place<COLUMNS>(p, tile);
    const int own = o.group * GROUP_ROWS + warp_of(o) * 16 + (o.t % 32 >> 2), column = 2 * o.t, k = o.tile.column + column;
    GPU_FOR (int h = 0; h < 2; h++) o.row[h] = row_of(p, o.tile, own + 8 * h);
    o.own_bias[0] = o.own_bias[1] = 0;
    if (p.end.bias && column < COLUMNS && k < p.end.k) load_run(o.own_bias, p.end.bias + k);
}
// Under the last. The group's bias goes to shared memory, zeros where there is none.
template <int COLUMNS, class P> GPU_FN void begin_outputs(uint8_t *shared, Outputs &o, const P &p) {
    o.segment = p.stats ? segment_of(p, o.tile, o.group * GROUP_ROWS) : -1;
    const float *vectors = p.end.gate ? p.end.gate : p.end.add_kind == OPERAND_VECTOR ? (const float *)p.end.add : NULL;
    GPU_FOR (int h = 0; h < 2; h++) {
        o.vector[h] = NULL;
        if (vectors)
            o.vector[h] = vectors + (size_t)image_of(p.end, o.row[h] < 0 ? 0 : o.row[h]) * (size_t)p.end.k + (o.tile.column + pair_of(o));
    }
    float *const bias = (float *)(shared + WgmmaTile<COLUMNS>::BIAS) + o.group * COLUMNS;
    gpu::bar_sync(1 + o.group, GROUP_THREADS); // nobody still reads the one before
    if (2 * o.t < COLUMNS) store_run(bias + 2 * o.t, o.own_bias);
    gpu::bar_sync(1 + o.group, GROUP_THREADS);
    o.bias = bias + pair_of(o);
}
// Of the tile's bias the values of a thread's channels in PART eights, from that one on; a thread's sums of these, with them.
GPU_FN void load_bias_part(float (&bias)[PART][2], const Outputs &o, int first) {
    GPU_FOR (int j = 0; j < PART; j++) load_run(bias[j], o.bias + 8 * (first + j));
}
template <int N> GPU_FN void with_bias(float (&v)[PART][2][2], const float (&sum)[N], const float (&bias)[PART][2], int first) {
    GPU_FOR (int i = 0; i < PART * 4; i++) v[i / 4][i / 2 % 2][i % 2] = sum[4 * first + i] + bias[i / 4][i % 2];
}
// Of the vector of the image of the thread's row h the values of such channels; `left`: channels there are from the thread's first on.
GPU_FN void load_part(float (&v)[PART][2], const Outputs &o, int h, int first, int left) {
    GPU_FOR (int j = 0; j < PART; j++) {
        v[j][0] = v[j][1] = 0;
        if (8 * (first + j) < left) load_run(v[j], o.vector[h] + 8 * (first + j));
    }
}

// Two neighbouring channels as they are stored.
template <typename T> GPU_FN uint32_t packed(const float (&v)[2]) {
    const T e[2] = {(T)v[0], (T)v[1]};
    uint32_t word;
    memcpy(&word, e, sizeof word);
    return word;
}
template <typename T> GPU_FN void add_packed(float (&v)[2], uint32_t word) {
    T e[2];
    memcpy(e, &word, sizeof word);
    v[0] += (float)e[0], v[1] += (float)e[1];
}
// Outputs in 16 bits. make(v, bias, first, residual): PART eights of the thread's sums, from that one on, become outputs; bias is theirs,
// loaded a part ahead; residual: where theirs are in shared memory, for ldmatrix. Pass by pass they go to the two buffers in turn, whence
// TMA takes them; what is added comes in stages of STAGE_PASSES passes, 0: not at all. Each warp stores its own rows: warps wait for each
// other for statistics alone.
template <typename T, int COLUMNS, int STAGE_PASSES, class P, class Make>
GPU_FN void store_passes(uint8_t *shared, uint32_t base, const gpu::TensorMap *y, const P &p, const Outputs &o,
                         Turn<WgmmaTile<COLUMNS>::STAGES> &turn, uint32_t &buffers, const Make &make) {
    typedef WgmmaTile<COLUMNS> Tile;
    enum { EIGHTS = PASS / 8, PARTS = COLUMNS / 8 / PART, APART = STAGE_PASSES ? STAGE_PASSES : COLUMNS };
    const int passes = passes_of<COLUMNS>(p, o.tile.column), lane = o.t & 31, warp_row = warp_of(o) * 16;
    const TilePlace own = pixel_place(p, o.tile, o.group * GROUP_ROWS + warp_row);
    const uint32_t thread = pass_at<T>(warp_row + (lane & 15), (lane >> 4) * 8); // of the matrices that ldmatrix and stmatrix move
    float bias[2][PART][2];
    load_bias_part(bias[0], o, 0);
    GPU_FOR (int pass = 0; pass < COLUMNS / PASS; pass++) { // unrolled: registers have no index that varies, and branches cost
        if (pass >= passes) break;
        const uint32_t buffer = (uint32_t)(Tile::OUTPUTS + o.group * Tile::OUTPUT_BYTES) + buffers;
        const uint32_t stage = (uint32_t)(turn.stage * Tile::STAGE_BYTES + pass % 2 * BOX_BYTES + o.group * HALF_PASS_BYTES);
        if (STAGE_PASSES && pass % APART == 0) gpu::mbar_wait(base + Tile::FULL + 8 * turn.stage, turn.phase);
        gpu::bulk_wait_read<1>(); // the first lane's, of what was stored from this buffer
        __syncwarp();
        GPU_FOR (int first = 0; first < EIGHTS; first += PART) {
            const uint32_t at = base + (thread ^ (uint32_t)(16 * first));
            const int part = (pass * EIGHTS + first) / PART;
            float v[PART][2][2];
            if (part + 1 < PARTS) load_bias_part(bias[(part + 1) % 2], o, (part + 1) * PART);
            make(v, bias[part % 2], part * PART, at + stage);
            GPU_FOR (int j = 0; j < PART; j += 2) {
                uint32_t words[4];
                GPU_FOR (int i = 0; i < 4; i++) words[i] = packed<T>(v[j + i / 2][i % 2]);
                gpu::stmatrix((at + buffer) ^ (uint32_t)(16 * j), words);
            }
        }
        gpu::fence_proxy_async(); // outputs go, and the next stage comes, by TMA
        __syncwarp();             // the warp has written its rows, and read its residuals
        if (lane == 0) {
            const uint32_t rows = base + buffer + (uint32_t)(warp_row * ROW_BYTES);
            const int column = o.tile.column + pass * PASS;
            if (!P::LOG_UP) gpu::tma_store(y, rows, column, own.w, own.h, own.image);
            else gpu::tma_store(y, rows, column + (own.phase & 1) * p.end.k, own.w, own.phase >> 1, own.h, own.image);
            gpu::bulk_commit();
        }
        if (STAGE_PASSES && (pass % APART == APART - 1 || pass == passes - 1)) {
            release(o, turn.stage);
            turn.next();
        }
        buffers ^= HALF_PASS_BYTES;
        if (o.segment < 0) continue;
        gpu::bar_sync(1 + o.group, GROUP_THREADS); // the outputs of all warps are there; statistics of the pass before have been made
        store_segment<T>(p, o.segment, o.tile.column + pass * PASS, shared + buffer);
    }
}
template <typename T> GPU_FN void add_residuals(float (&v)[PART][2][2], uint32_t residual) {
    GPU_FOR (int j = 0; j < PART; j += 2) {
        uint32_t words[4];
        gpu::ldmatrix(words, residual ^ (uint32_t)(16 * j));
        GPU_FOR (int i = 0; i < 4; i++) add_packed<T>(v[j + i / 2][i % 2], words[i]);
    }
}
// Adds to each row of a part the vector of its image.
GPU_FN void add_vectors(float (&v)[PART][2][2], const Outputs &o, int first, int left) {
    float vector[PART][2];
    load_part(vector, o, 0, first, left);
    GPU_FOR (int i = 0; i < PART * 2; i++) v[i / 2][0][i % 2] += vector[i / 2][i % 2];
    if (o.vector[1] != o.vector[0]) load_part(vector, o, 1, first, left);
    GPU_FOR (int i = 0; i < PART * 2; i++) v[i / 2][1][i % 2] += vector[i / 2][i % 2];
}
GPU_FN void scale_part(float (&v)[PART][2][2], float scale) {
    GPU_FOR (int i = 0; i < PART * 4; i++) v[i / 4][i / 2 % 2][i % 2] *= scale;
}
GPU_FN void gelu_part(float (&v)[PART][2][2]) {
    GPU_FOR (int i = 0; i < PART * 4; i++) v[i / 4][i / 2 % 2][i % 2] = gelu_tanh_fast(v[i / 4][i / 2 % 2][i % 2]);
}
// With neither gate nor positions, and with an activation only where nothing is added.
template <typename T, int COLUMNS, class P>
GPU_FN void store_plain(uint8_t *shared, uint32_t base, const gpu::TensorMap *y, const P &p, const Outputs &o,
                        const float (&sum)[COLUMNS / 2], Turn<WgmmaTile<COLUMNS>::STAGES> &turn, uint32_t &buffers) {
    typedef float Part[PART][2][2];
    typedef const float Channels[PART][2];
    if (o.kind == KIND_RESIDUAL)
        store_passes<T, COLUMNS, 2>(shared, base, y, p, o, turn, buffers, [&](Part &v, Channels &bias, int first, uint32_t residual) {
            with_bias(v, sum, bias, first);
            add_residuals<T>(v, residual);
            scale_part(v, p.end.scale);
        });
    else if (o.kind == KIND_VECTOR)
        store_passes<T, COLUMNS, 0>(shared, base, y, p, o, turn, buffers, [&](Part &v, Channels &bias, int first, uint32_t) {
            with_bias(v, sum, bias, first);
            add_vectors(v, o, first, p.end.k - o.tile.column - pair_of(o));
            scale_part(v, p.end.scale);
        });
    else if (o.kind == KIND_SUMS)
        store_passes<T, COLUMNS, 0>(shared, base, y, p, o, turn, buffers,
                                    [&](Part &v, Channels &bias, int first, uint32_t) { with_bias(v, sum, bias, first); });
    else if (o.kind == KIND_GELU)
        store_passes<T, COLUMNS, 0>(shared, base, y, p, o, turn, buffers, [&](Part &v, Channels &bias, int first, uint32_t) {
            with_bias(v, sum, bias, first);
            gelu_part(v);
        });
    else
        store_passes<T, COLUMNS, 0>(shared, base, y, p, o, turn, buffers, [&](Part &v, Channels &bias, int first, uint32_t) {
            with_bias(v, sum, bias, first);
            scale_part(v, p.end.scale);
            if (p.end.act == ACT_GELU_TANH) gelu_part(v);
            else
                GPU_FOR (int i = 0; i < PART * 2; i++) activate(v[i / 2][i % 2], p.end.act);
        });
}

// Of a pass of what is added, in f32, the values of a thread's channels in PART eights: two boxes of 32 columns, in rows that TMA has
// exchanged.
GPU_FN void load_added(float (&v)[PART][2][2], const Outputs &o, const uint8_t *stage, int eight) {
    const int lane = o.t & 31, row = o.group * GROUP_ROWS + warp_of(o) * 16 + (lane >> 2);
    const uint32_t thread = (uint32_t)(row * ROW_BYTES + (((lane >> 1 & 1) ^ (row & 7)) * 16 + (lane & 1) * 8));
    GPU_FOR (int i = 0; i < PART * 2; i++) {
        const int j = eight + i / 2;
        load_run(v[i / 2][i % 2], (const float *)(stage + (thread ^ (uint32_t)(j % 4 * 32)) + j / 4 * BOX_BYTES + i % 2 * 8 * ROW_BYTES));
    }
}
// Outputs in f32 that go from registers straight to memory, for a warp's eight rows of 32 bytes are whole sectors.
template <int COLUMNS, bool GATE>
GPU_FN void store_direct(const uint8_t *shared, uint32_t base, const WgmmaParams &p, const Outputs &o, const float (&sum)[COLUMNS / 2],
                         Turn<WgmmaTile<COLUMNS>::STAGES> &turn) {
    typedef WgmmaTile<COLUMNS> Tile;
    enum { EIGHTS = PASS / 8, PARTS = COLUMNS / 8 / PART };
    size_t at[2];
    int left[2]; // of a row's channels, from the thread's first on
    GPU_FOR (int h = 0; h < 2; h++) {
        at[h] = (size_t)(o.row[h] < 0 ? 0 : o.row[h]) * (size_t)p.end.k + (size_t)(o.tile.column + pair_of(o));
        left[h] = o.row[h] < 0 ? 0 : p.end.k - o.tile.column - pair_of(o);
    }
    float gate[2][PART][2]; // of the upper row's image, of this part and the next
    if (GATE) load_part(gate[0], o, 0, 0, p.end.k - o.tile.column - pair_of(o));
    const int passes = passes_of<COLUMNS>(p, o.tile.column);
    GPU_FOR (int part = 0; part < PARTS; part++) {
        const int first = part * PART;
        if (first / EIGHTS >= passes) break;
        float v[PART][2][2], added[PART][2][2] = {}, lower[PART][2], bias[PART][2];
        load_bias_part(bias, o, first);
        if (GATE && part + 1 < PARTS) load_part(gate[(part + 1) % 2], o, 0, first + PART, p.end.k - o.tile.column - pair_of(o));
        if (p.add_columns && first % EIGHTS == 0) gpu::mbar_wait(base + Tile::FULL + 8 * turn.stage, turn.phase);
        if (p.add_columns) load_added(added, o, shared + turn.stage * Tile::STAGE_BYTES, first % EIGHTS);
        with_bias(v, sum, bias, first);
        if (GATE) {
            GPU_FOR (int i = 0; i < PART * 2; i++) lower[i / 2][i % 2] = gate[part % 2][i / 2][i % 2];
            if (o.vector[1] != o.vector[0]) load_part(lower, o, 1, first, left[1]);
        }
        GPU_FOR (int i = 0; i < PART * 2; i++) {
            const int j = i / 2, h = i % 2;
            GPU_FOR (int e = 0; e < 2; e++) {
                const float a = added[j][h][e], g = GATE ? h ? lower[j][e] : gate[part % 2][j][e] : 1;
                v[j][h][e] = p.end.scale * (GATE ? fmaf(v[j][h][e], g, a) : v[j][h][e] + a);
            }
            if (8 * (first + j) < left[h]) store_run((float *)p.y + at[h] + 8 * (first + j), v[j][h]);
        }
        if (!p.add_columns || first % EIGHTS != EIGHTS - PART) continue;
        __syncwarp(); // the warp has read the pass
        release(o, turn.stage);
        turn.next();
    }
}

// Outputs of every other kind: the sums of a pass go through the group's buffers as f32, to be finished by runs of 8 channels of a pixel.
GPU_FN void spread_pass(const Outputs &o, const float *sum, uint8_t *buffer) {
    const int lane = o.t & 31, first = (o.t >> 5) * 16 + (lane >> 2);
    GPU_FOR (int j = 0; j < PASS / 8; j++)
        GPU_FOR (int h = 0; h < 2; h++) {
            const float *s = sum + 4 * j + 2 * h;
            *(float2 *)(buffer + pass_at<float>(first + 8 * h, 8 * j + (lane & 3) * 2)) = make_float2(s[0], s[1]);
        }
}
template <bool MORE, class P> GPU_FN void finish_runs(const P &p, const Outputs &o, uint8_t *buffer, int k0) {
    const int column = o.t % 8 * 8, k = k0 + column;
    if (k >= p.end.k) return;
    float bias[8];
    load_bias(bias, p.end, k);
    GPU_LOOP (int r = o.t / 8; r < GROUP_ROWS; r += GROUP_THREADS / 8) {
        const int row = row_of(p, o.tile, o.group * GROUP_ROWS + r);
        if (row < 0) continue;
        float v[8], *q = (float *)(buffer + pass_at<float>(r, column));
        load_run(v, q);
        GPU_FOR (int e = 0; e < 8; e++) v[e] += bias[e];
        const size_t out = (size_t)row * (size_t)p.end.k + (size_t)k;
        finish<MORE>(p.end, v, row, k, out);
        store_floats(p.y, p.end.y_type, out, v);
        if (o.segment < 0) continue;
        GPU_FOR (int e = 0; e < 8; e++) v[e] = as_stored(v[e], p.end.y_type);
        store_run(q, v);
    }
}
template <int COLUMNS, class P> GPU_FN void store_any(uint8_t *shared, const P &p, const Outputs &o, const float (&sum)[COLUMNS / 2]) {
    typedef WgmmaTile<COLUMNS> Tile;
    uint8_t *const buffer = shared + Tile::OUTPUTS + o.group * Tile::OUTPUT_BYTES;
    const int passes = passes_of<COLUMNS>(p, o.tile.column);
    GPU_LOOP (int pass = 0; pass < passes; pass++) {
        const int k = o.tile.column + pass * PASS;
        GPU_FOR (int q = 0; q < COLUMNS / PASS; q++)
            if (q == pass) spread_pass(o, sum + q * (PASS / 2), buffer);
        gpu::bar_sync(1 + o.group, GROUP_THREADS);
        if (more_than_plain(p.end)) finish_runs<true>(p, o, buffer, k);
        else finish_runs<false>(p, o, buffer, k);
        if (o.segment >= 0) {
            gpu::bar_sync(1 + o.group, GROUP_THREADS); // the outputs are complete
            store_segment<float>(p, o.segment, k, buffer);
        }
        gpu::bar_sync(1 + o.group, GROUP_THREADS); // nobody still reads what is overwritten next
    }
}
#endif
