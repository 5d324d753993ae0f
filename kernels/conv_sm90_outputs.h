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

// What a thread of a consumer knows of the tile whose outputs it makes.
struct Outputs {
    TilePlace tile;
    int group, t;   // of the group's threads
    int segment;    // of the group's pixels; -1: no statistics
    uint32_t empty; // a warp's first lanes: the barriers of empty stages, each in one block of the cluster
};
// Tells both producers that this warp has read a stage. Every warp speaks for itself: a wait for products says nothing of other warps'.
GPU_FN void release(const Outputs &o, int stage) {
    if (o.t % 32 < PAIR) gpu::mbar_arrive_remote(o.empty + 8 * stage);
}

// Outputs in 16 bits with neither gate nor positions, and with an activation only where nothing is added. A thread has two neighbouring
// channels of every eight, in two rows that are 8 apart: v[j - first][h]. They are finished and go to the group's buffer, `start` being
// the place of the first eight's in the upper row.
template <typename T, class Add>
GPU_FN void put(uint8_t *shared, uint32_t start, int first, float (&v)[PART][2][2], float scale, Act act, const Add &add_of) {
    GPU_FOR (int j = first; j < first + PART; j++)
        GPU_FOR (int h = 0; h < 2; h++) {
            float add[2] = {0, 0};
            add_of(add, j, h);
            add_and_scale(v[j - first][h], add, scale);
            activate(v[j - first][h], act);
            store_run((T *)(shared + ((start ^ (uint32_t)(16 * j)) + (uint32_t)(8 * h * ROW_BYTES))), v[j - first][h]);
        }
}
// Pass by pass, from the two buffers in turn, from where TMA takes them; residuals come in stages of two passes.
template <typename T, int COLUMNS>
GPU_FN void store_plain(uint8_t *shared, uint32_t base, const gpu::TensorMap *y, const WgmmaParams &p, const Outputs &o,
                        const float (&sum)[COLUMNS / 2], Turn<WgmmaTile<COLUMNS>::STAGES> &turn, uint32_t &buffers) {
    typedef WgmmaTile<COLUMNS> Tile;
    const int passes = passes_of<COLUMNS>(p, o.tile.column), lane = o.t & 31, first = (o.t >> 5) * 16 + (lane >> 2), pair = (lane & 3) * 2;
    const bool full = p.end.add_kind == OPERAND_FULL;
    const TilePlace own = pixel_place(p, o.tile, o.group * GROUP_ROWS);
    const float *vector[2] = {NULL, NULL};
    if (p.end.add_kind == OPERAND_VECTOR)
        GPU_FOR (int h = 0; h < 2; h++) {
            const int row = row_of(p, o.tile, o.group * GROUP_ROWS + first + 8 * h);
            vector[h] = (const float *)p.end.add + (size_t)(row < 0 ? 0 : row / p.end.out_pixels) * (size_t)p.end.k;
        }
    GPU_LOOP (int pass = 0; pass < passes; pass++, buffers ^= HALF_PASS_BYTES) {
        const uint32_t buffer = (uint32_t)(Tile::OUTPUTS + o.group * Tile::OUTPUT_BYTES) + buffers, thread = pass_at<T>(first, pair);
        const int k0 = o.tile.column + pass * PASS, k = k0 + pair, left = p.end.k - k;
        const uint32_t stage = (uint32_t)(turn.stage * Tile::STAGE_BYTES + pass % 2 * BOX_BYTES + o.group * HALF_PASS_BYTES);
        if (full && pass % 2 == 0) gpu::mbar_wait(base + Tile::FULL + 8 * turn.stage, turn.phase);
        GPU_FOR (int j0 = 0; j0 < PASS / 8; j0 += PART) {
            float bias[PART][2], v[PART][2][2];
            GPU_FOR (int j = 0; j < PART; j++) {
                bias[j][0] = bias[j][1] = 0;
                if (p.end.bias && 8 * (j0 + j) < left) load_run(bias[j], p.end.bias + k + 8 * (j0 + j));
            }
            GPU_FOR (int q = 0; q < COLUMNS / PASS; q++) // registers have no index that varies
                if (q == pass)
                    GPU_FOR (int i = 0; i < PART * 4; i++)
                        v[i / 4][i / 2 % 2][i % 2] = sum[q * (PASS / 2) + 4 * j0 + i] + bias[i / 4][i % 2];
            if (full)
                put<T>(shared, buffer + thread, j0, v, p.end.scale, ACT_NONE, [&](float(&add)[2], int j, int h) {
                    load_run(add, (const T *)(shared + ((stage + thread) ^ (uint32_t)(16 * j)) + 8 * h * ROW_BYTES));
                });
            else if (vector[0])
                put<T>(shared, buffer + thread, j0, v, p.end.scale, ACT_NONE, [&](float(&add)[2], int j, int h) {
                    if (8 * j < left) load_run(add, vector[h] + k + 8 * j);
                });
            else put<T>(shared, buffer + thread, j0, v, p.end.scale, p.end.act, [](float(&)[2], int, int) {});
        }
        gpu::fence_proxy_async(); // outputs go, and the next stage comes, by TMA
        if (full && (pass % 2 == 1 || pass == passes - 1)) {
            __syncwarp(); // the warp has read its rows
            release(o, turn.stage);
            turn.next();
        }
        if (o.t == 0) gpu::bulk_wait_read<0>(); // the other buffer is free again, after the barrier for all
        gpu::bar_sync(1 + o.group, GROUP_THREADS);
        if (o.t == 0) {
            gpu::tma_store(y, base + buffer, k0, own.w, own.h, own.image);
            gpu::bulk_commit();
        }
        if (o.segment < 0) continue;
        store_segment<T>(p, o.segment, k0, shared + buffer);
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
template <bool MORE> GPU_FN void finish_runs(const WgmmaParams &p, const Outputs &o, uint8_t *buffer, int k0) {
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
template <int COLUMNS> GPU_FN void store_any(uint8_t *shared, const WgmmaParams &p, const Outputs &o, const float (&sum)[COLUMNS / 2]) {
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
