// attention_tile.h -- what attention.cu, attention_bwd.cu and attention_wide.cu share: where a block's rows lie, tiles of rows in shared memory with
// their tensor-core products, and the tiles of the f32 kernels that take any head dimension and any mixture of types.
//
// Notation: a block owns some rows of one (image, head) and walks over the others. score = q.k, weight = exp2((score - maximum) *
// p.log2_scale), probability = weight / sum of weights. The difference is taken before it is scaled: it is exact for the scores
// that matter, however large they are. So a key that takes everything has exactly the probability 1, and no gradient.
#ifndef DG_ATTENTION_TILE_H
#define DG_ATTENTION_TILE_H
#include "kernels/kernels.h"
#include "kernels/values.h"
#include <math.h>

struct AttnParams {
    const void *qkv, *dy;
    void *y;
    // What the tensor-core forward leaves for the tensor-core backward, or NULLs. Of each query: y as two operands whose sum is y
    // ([high][low] of d channels each), and {maximum of the scores, log2 of the sum of weights}. Of each ROW_GROUP of tokens: the
    // largest squared length of a value row.
    void *y_parts;
    float2 *scores;
    float *lengths;
    float4 *query_stats; // backward: of each query (attention_bwd.cu)
    float *bounds;       // backward: of each ROW_GROUP of queries
    DType qkv_type, dy_type, y_type;
    int tokens, heads, d, blocks; // blocks: of one (image, head)
    float scale, log2_scale;      // 1/sqrt(d), and that times log2(e)
};
enum Part { QUERY, KEY, VALUE, DY, Y_HIGH, Y_LOW };
enum { ROW_GROUP = 16 };

// The (image, head) and the first row of a block.
struct AttnPlace {
    int image, head, first;
};
GPU_FN AttnPlace attn_place(const AttnParams &p, int rows_per_block) {
    const int problem = (int)blockIdx.x / p.blocks;
    return {problem / p.heads, problem % p.heads, (int)blockIdx.x % p.blocks * rows_per_block};
}
// A head's queries, keys, values or dy (laid out as y): element 0 of token 0, and elements from token to token.
struct HeadRows {
    size_t first, stride;
};
GPU_FN size_t row_number(const AttnParams &p, AttnPlace at) { return (size_t)(at.image * p.heads + at.head) * (size_t)p.tokens; }
GPU_FN size_t group_number(const AttnParams &p, AttnPlace at) {
    return (size_t)(at.image * p.heads + at.head) * (size_t)((p.tokens + ROW_GROUP - 1) / ROW_GROUP);
}
GPU_FN HeadRows head_rows(const AttnParams &p, AttnPlace at, Part part) {
    const size_t d = (size_t)p.d;
    if (part == Y_HIGH || part == Y_LOW) return {row_number(p, at) * 2 * d + (part == Y_LOW ? d : 0), 2 * d};
    const size_t stride = (size_t)((part == DY ? 1 : 3) * p.heads) * (size_t)p.d;
    const int head = part == DY ? at.head : part * p.heads + at.head;
    return {(size_t)at.image * (size_t)p.tokens * stride + (size_t)head * (size_t)p.d, stride};
}
GPU_FN const void *part_data(const AttnParams &p, Part part) { return part == DY ? p.dy : part < DY ? p.qkv : p.y_parts; }

// ---- tensor cores: tiles of T (f16, bf16, or f32 multiplied as tf32), D channels wide --------------------------------------
// A step of a product is 32 bytes of each row: 16 values of 16 bits or 8 of tf32. Rows lie an odd number of 16-byte pieces
// apart, so that any 8 of them lie in 8 different groups of banks.
template <typename T, int D> struct TileRow {
    enum {
        BYTES = D * (int)sizeof(T),
        PITCH = BYTES + 16,
        PIECES = BYTES / 16,
        STEPS = BYTES / 32,
        N = D / 8, // columns of accumulators, 8 channels each
        WIDTH = N % 8            ? (int)N
                : sizeof(T) == 2 ? 8
                                 : 4, // multiplied so many at a time, to bound the operands' registers
        PARTS = N / WIDTH
    };
};
template <typename T> struct IsHalf {
    enum { VALUE = 0 };
};
template <> struct IsHalf<__half> {
    enum { VALUE = 1 };
};

// Probabilities times 2^P_EXPONENT become operands: f16 then holds them with all bits down to 2^-28, not 2^-14.
template <typename T> struct Range {
    enum { P_EXPONENT = IsHalf<T>::VALUE ? 14 : 0 };
};

// Where a lane's part of a tile's operands begins, in bytes: added to a tile's address once, the rest are constants.
template <typename T, int D> struct Lane {
    uint32_t left, right, column; // for load_left, multiply_rows and multiply_columns
    GPU_FN Lane() {
        enum { PITCH = TileRow<T, D>::PITCH };
        const int lane = (int)threadIdx.x & 31;
        left = (uint32_t)((lane & 15) * PITCH + (lane >> 4) * 16);
        right = (uint32_t)((((lane >> 4) << 3) + (lane & 7)) * PITCH + (lane >> 3 & 1) * 16);
        column = sizeof(T) == 2 ? left : (uint32_t)(2 * (lane & 3) * PITCH + (lane >> 2) * 4);
    }
};

// Copies of ROWS rows at a time to shared memory, asynchronously, by a block of THREADS; zeros past the last token and past the
// head's d channels. A thread copies one piece of rows APART, or none: what it needs for that is found once.
template <typename T, int D, int ROWS, int THREADS> struct RowCopies {
    enum {
        PIECES = TileRow<T, D>::PIECES,
        E = 16 / (int)sizeof(T),
        APART = THREADS / PIECES,
        COPIES = (ROWS + APART - 1) / APART,
        WHOLE = THREADS % PIECES == 0 && ROWS % APART == 0 // all threads copy as often
    };
    static_assert(PIECES <= THREADS, "a row's pieces are copied at once");
    const uint8_t *from; // in the head's first row
    uint32_t to, stride; // bytes: after the tile's address, from row to row
    int row, tokens;
    bool inside;

    GPU_FN RowCopies(const AttnParams &p, AttnPlace at, Part part) {
        const HeadRows rows = head_rows(p, at, part);
        const int thread = (int)threadIdx.x, piece = thread % PIECES;
        row = thread / PIECES, tokens = p.tokens, inside = piece * E < p.d;
        from = (const uint8_t *)((const T *)part_data(p, part) + rows.first + (inside ? piece * E : 0));
        stride = (uint32_t)(rows.stride * sizeof(T)), to = (uint32_t)(row * TileRow<T, D>::PITCH + piece * 16);
    }
    // Rows [first, first + ROWS) to the tile.
    GPU_FN void copy(uint32_t tile, int first) const {
        GPU_FOR (int i = 0; i < COPIES; i++) {
            const int later = i * APART, token = first + row + later;
            if (!WHOLE && (row >= APART || row + later >= ROWS)) continue;
            gpu::cp_async16(tile + to + (uint32_t)(later * TileRow<T, D>::PITCH), from + (size_t)(uint32_t)min(token, tokens - 1) * stride,
                            token < tokens && inside);
        }
    }
};

template <int A, int B, int C> GPU_FN void clear(float (&v)[A][B][C][4]) {
    GPU_FOR (int i = 0; i < A * B * C * 4; i++) (&v[0][0][0][0])[i] = 0;
}
template <int B, int C> GPU_FN void clear(float (&v)[B][C][4]) {
    GPU_FOR (int i = 0; i < B * C * 4; i++) (&v[0][0][0])[i] = 0;
}

template <typename T> GPU_FN uint32_t operand(uint32_t bits) {
    if (std::is_same<T, float>::value) return gpu::to_tf32(bits);
    return bits;
}
// Rounds two values to 16 bits, into one register; they become what it holds.
template <typename T> GPU_FN uint32_t pack(float &low, float &high) {
    uint32_t bits;
    if (IsHalf<T>::VALUE) {
        const __half2 h = __floats2half2_rn(low, high);
        const float2 held = __half22float2(h);
        memcpy(&bits, &h, sizeof bits);
        low = held.x, high = held.y;
    } else {
        const __nv_bfloat162 h = __floats2bfloat162_rn(low, high);
        memcpy(&bits, &h, sizeof bits);
        low = __uint_as_float(bits << 16), high = __uint_as_float(bits & 0xffff0000u);
    }
    return bits;
}
template <typename T, int MT, int NT>
GPU_FN void multiply(float (&sum)[MT][NT][4], const uint32_t (&a)[MT][4], const uint32_t (&b)[NT][2]) {
    if constexpr (std::is_same<T, float>::value) gpu::mma_m16n8k8_tf32(sum, a, b);
    else gpu::mma_m16n8k16<T>(sum, a, b);
}
// One step of a tile's first 16 * MT rows as the left operand; left: the tile's address and Lane::left.
template <typename T, int D, int MT> GPU_FN void load_left(uint32_t (&a)[MT][4], uint32_t left, int step) {
    GPU_FOR (int m = 0; m < MT; m++) {
        gpu::ldmatrix<4>(a[m], left + (uint32_t)(16 * m * TileRow<T, D>::PITCH + 32 * step));
        GPU_FOR (int i = 0; i < 4; i++) a[m][i] = operand<T>(a[m][i]);
    }
}
// sum[rows of a][rows of the tile] += one step of the dot products of their channels; right: the tile's address and Lane::right.
template <typename T, int D, int MT, int NT>
GPU_FN void multiply_rows(float (&sum)[MT][NT][4], const uint32_t (&a)[MT][4], uint32_t right, int step) {
    uint32_t b[NT][2];
    GPU_FOR (int n = 0; n < NT; n += 2) {
        uint32_t q[4];
        gpu::ldmatrix<4>(q, right + (uint32_t)(8 * n * TileRow<T, D>::PITCH + 32 * step));
        b[n][0] = operand<T>(q[0]), b[n][1] = operand<T>(q[1]), b[n + 1][0] = operand<T>(q[2]), b[n + 1][1] = operand<T>(q[3]);
    }
    multiply<T>(sum, a, b);
}
// What takes the place of multiply_rows's accumulators, rounded: left operands of multiply_columns. For 16 bits two neighbouring
// accumulators make a register. For tf32 the slots t and t + 4 of an operand's k take rows 2t and 2t + 1, which this thread's
// accumulators hold: the order of a sum's terms is free, as long as both operands agree.
template <typename T, int MT, int NT> struct Factors {
    enum { STEPS = NT * (int)sizeof(T) / 4 };
    uint32_t operand[STEPS][MT][4];

    // For accumulators 2h and 2h + 1 of [m][n]. Returns the sum of the two as the product will see them: in a quotient by such sums
    // the rounding of the keys that matter cancels.
    GPU_FN float put(int m, int n, int h, float low, float high) {
        if constexpr (sizeof(T) == 2) operand[n / 2][m][n % 2 * 2 + h] = pack<T>(low, high);
        else {
            const uint32_t bits[2] = {gpu::to_tf32(__float_as_uint(low)), gpu::to_tf32(__float_as_uint(high))};
            operand[n][m][h] = bits[0], operand[n][m][h + 2] = bits[1];
            low = __uint_as_float(bits[0]), high = __uint_as_float(bits[1]);
        }
        return low + high;
    }
};
// sum[rows][channels] += weight[rows][rows of the tile] * tile[rows of the tile][channels]. The tile's first row with Lane::column lies
// `column` bytes into shared memory, whose address is base.
template <typename T, int D, int MT, int NT>
GPU_FN void multiply_columns(float (&sum)[TileRow<T, D>::PARTS][MT][TileRow<T, D>::WIDTH][4], const Factors<T, MT, NT> &weight,
                             const uint8_t *shared, uint32_t base, uint32_t column) {
    enum { PITCH = TileRow<T, D>::PITCH, WIDTH = TileRow<T, D>::WIDTH };
    GPU_FOR (int step = 0; step < Factors<T, MT, NT>::STEPS; step++) {
        GPU_FOR (int part = 0; part < TileRow<T, D>::PARTS; part++) {
            uint32_t b[WIDTH][2];
            GPU_FOR (int n = 0; n < WIDTH; n += 2) {
                const int first = part * WIDTH + n; // 8 channels: 16 bytes of f16, 32 of f32
                if (sizeof(T) == 2) {
                    uint32_t q[4];
                    gpu::ldmatrix<4, true>(q, base + column + (uint32_t)(16 * step * PITCH + first * 16));
                    b[n][0] = q[0], b[n][1] = q[1], b[n + 1][0] = q[2], b[n + 1][1] = q[3];
                } else {
                    const uint8_t *q = shared + column + 8 * step * PITCH + 32 * first;
                    GPU_FOR (int i = 0; i < 4; i++) b[n + i / 2][i % 2] = gpu::to_tf32(*(const uint32_t *)(q + i % 2 * PITCH + i / 2 * 32));
                }
            }
            multiply<T>(sum[part], weight.operand[step], b);
        }
    }
}
// Each of the first 16 * MT rows of one tile times the same row of another, added to dot[m][i] of row 16m + 8i + lane/4: made by the
// same products in the same order as multiply_rows makes them.
template <typename T, int D, int MT> GPU_FN void add_row_dots(float (&dot)[MT][2], uint32_t left, uint32_t right) {
    const int lane = (int)threadIdx.x & 31, owner = (lane & 28) | lane >> 3; // of the diagonal's value, among the row's four lanes
    const bool odd = lane >> 2 & 1;
    GPU_FOR (int m = 0; m < MT; m++) {
        float d[1][2][4];
        clear(d);
        GPU_FOR (int step = 0; step < TileRow<T, D>::STEPS; step++) {
            uint32_t a[1][4];
            load_left<T, D>(a, left + (uint32_t)(16 * m * TileRow<T, D>::PITCH), step);
            multiply_rows<T, D>(d, a, right + (uint32_t)(16 * m * TileRow<T, D>::PITCH), step);
        }
        GPU_FOR (int i = 0; i < 2; i++) {
            const float even = __shfl_sync(~0u, d[0][i][2 * i], owner), next = __shfl_sync(~0u, d[0][i][2 * i + 1], owner);
            dot[m][i] += odd ? next : even;
        }
    }
}

// v[m][i] belongs to row first + 16m + 8i + lane/4: the largest of each ROW_GROUP, for largest_of_head.
template <int MT> GPU_FN void leave_largest(float *group, int tokens, int first, const float (&v)[MT][2]) {
    GPU_FOR (int m = 0; m < MT; m++) {
        float most = fmaxf(v[m][0], v[m][1]);
        GPU_FOR (int apart = 16; apart >= 4; apart /= 2) most = fmaxf(most, __shfl_xor_sync(~0u, most, apart));
        if ((threadIdx.x & 31) == 0 && first + 16 * m < tokens) group[first / ROW_GROUP + m] = most;
    }
}
GPU_FN float largest_of_head(const float *group, int tokens) {
    float most = 0;
    for (int i = (int)threadIdx.x & 31; i * ROW_GROUP < tokens; i += 32) most = fmaxf(most, group[i]);
    GPU_FOR (int apart = 16; apart; apart /= 2) most = fmaxf(most, __shfl_xor_sync(~0u, most, apart));
    return most;
}

// The exponent of the power of two that makes `largest` at least 2^12 and less than 2^13, as far as there is one.
GPU_FN int range_exponent(float largest) {
    const int exponent = (int)(__float_as_uint(largest) >> 23 & 255) - 126; // largest < 2^exponent
    return min(13 - exponent, 127);
}
GPU_FN float power_of_two(int exponent) { return __uint_as_float((uint32_t)(exponent + 127) << 23); }

// The nearest value that a product's operand can be.
template <typename T> GPU_FN float as_operand(float v) {
    if constexpr (sizeof(T) == 2) return (float)(T)v;
    else return __uint_as_float(gpu::to_tf32(__float_as_uint(v)));
}
// sum * factor to rows [row, row + 16 * MT) of a part of the output, and where KEEP and they are wanted, to y_parts. Neighbouring lanes
// exchange halves first, so that each stores 4 channels in a row. factor[m][i] belongs to row 16m + 8i + lane/4.
template <typename T, int D, bool KEEP, int MT>
GPU_FN void store_rows(const AttnParams &p, const float (&sum)[TileRow<T, D>::PARTS][MT][TileRow<T, D>::WIDTH][4],
                       const float (&factor)[MT][2], AttnPlace at, Part part_of_y, int row) {
    enum { WIDTH = TileRow<T, D>::WIDTH };
    const HeadRows y = head_rows(p, at, part_of_y), kept = head_rows(p, at, Y_HIGH);
    const int lane = (int)threadIdx.x & 31, odd = lane & 1;
    GPU_FOR (int part = 0; part < TileRow<T, D>::PARTS; part++)
        GPU_FOR (int m = 0; m < MT; m++)
            GPU_FOR (int n = 0; n < WIDTH; n += 2)
                GPU_FOR (int i = 0; i < 2; i++) {
                    const float *left = &sum[part][m][n][2 * i], *right = &sum[part][m][n + 1][2 * i], f = factor[m][i];
                    const float got0 = __shfl_xor_sync(~0u, odd ? left[0] : right[0], 1),
                                got1 = __shfl_xor_sync(~0u, odd ? left[1] : right[1], 1);
                    const float v[4] = {f * (odd ? got0 : left[0]), f * (odd ? got1 : left[1]), f * (odd ? right[0] : got0),
                                        f * (odd ? right[1] : got1)};
                    const int token = row + 16 * m + 8 * i + (lane >> 2), c = 8 * (part * WIDTH + n + odd) + (lane & 2) * 2;
                    const bool valid = token < p.tokens && c < p.d;
                    if (valid) store_floats(p.y, p.y_type, y.first + (size_t)token * y.stride + (size_t)c, v);
                    if (KEEP && valid && p.y_parts) {
                        float high[4], low[4];
                        GPU_FOR (int e = 0; e < 4; e++) high[e] = as_operand<T>(v[e]), low[e] = v[e] - high[e];
                        T *const to = (T *)p.y_parts + kept.first + (size_t)token * kept.stride + (size_t)c;
                        store_run(to, high), store_run(to + p.d, low);
                    }
                }
}

// ---- f32: 64 own rows by 64 others, 256 threads, 4 x 4 of their dot products each -------------------------------------------
// Thread t has own rows 4 * (t / 16) + i and others 4 * (t % 16) + j. V: channels read at once, 4 where d allows, else 1.
enum {
    F32_ROWS = 64,
    F32_THREADS = 256,
    F32_DEPTH = 16,
    F32_PITCH = F32_ROWS + 4,
    F32_TILE = F32_DEPTH * F32_PITCH,
    F32_WEIGHTS = F32_ROWS * F32_PITCH
};

struct Matrix { // rows of one head: queries, keys, values or dy
    const void *data;
    DType type;
    HeadRows at;
};
GPU_FN Matrix matrix(const AttnParams &p, AttnPlace at, Part part) {
    return {part == DY ? p.dy : p.qkv, part == DY ? p.dy_type : p.qkv_type, head_rows(p, at, part)};
}

// Channels [c, c + 4) of a row; zeros past the last token and channel.
template <int V> GPU_FN float4 load_channels(const AttnParams &p, const Matrix &x, int row, int c) {
    float v[4] = {0, 0, 0, 0};
    if (row < p.tokens) {
        GPU_FOR (int i = 0; i < 4; i += V) {
            float part[V];
            if (c + i >= p.d) continue;
            load_floats(part, x.data, x.type, x.at.first + (size_t)row * x.at.stride + (size_t)(c + i));
            GPU_FOR (int e = 0; e < V; e++) v[i + e] = part[e];
        }
    }
    return make_float4(v[0], v[1], v[2], v[3]);
}
GPU_FN void store_channels(float *to, float4 v) { to[0] = v.x, to[F32_PITCH] = v.y, to[2 * F32_PITCH] = v.z, to[3 * F32_PITCH] = v.w; }
GPU_FN void add_products(float (&sum)[4][4], const float *a, const float *b) {
    const float4 x = *(const float4 *)a, y = *(const float4 *)b;
    const float u[4] = {x.x, x.y, x.z, x.w}, v[4] = {y.x, y.y, y.z, y.w};
    GPU_FOR (int i = 0; i < 4; i++)
        GPU_FOR (int j = 0; j < 4; j++) sum[i][j] += u[i] * v[j];
}
// dot[i][j] = own row . other row, over all channels, through 2 * F32_TILE floats of buffer. A barrier comes before anything is
// written, and whatever the threads wrote before the call has then been read by all; the same holds for f32_sum.
template <int V>
GPU_FN void f32_dots(const AttnParams &p, float (&dot)[4][4], float *buffer, const Matrix &own, int own_first, const Matrix &other,
                     int other_first) {
    const int t = (int)threadIdx.x, row = t / 4, channel = t % 4 * 4;
    float *const a = buffer, *const b = buffer + F32_TILE;
    GPU_FOR (int i = 0; i < 16; i++) dot[i / 4][i % 4] = 0;
    float4 next_own = load_channels<V>(p, own, own_first + row, channel),
           next_other = load_channels<V>(p, other, other_first + row, channel);
    for (int c = 0; c < p.d; c += F32_DEPTH) {
        __syncthreads();
        store_channels(a + channel * F32_PITCH + row, next_own);
        store_channels(b + channel * F32_PITCH + row, next_other);
        __syncthreads();
        if (c + F32_DEPTH < p.d) {
            next_own = load_channels<V>(p, own, own_first + row, c + F32_DEPTH + channel);
            next_other = load_channels<V>(p, other, other_first + row, c + F32_DEPTH + channel);
        }
        GPU_FOR (int k = 0; k < F32_DEPTH; k++) add_products(dot, a + k * F32_PITCH + t / 16 * 4, b + k * F32_PITCH + t % 16 * 4);
    }
}
// The weights of the block, [other][own], for f32_sum.
GPU_FN void f32_keep(float *weights, const float (&w)[4][4]) {
    const int t = (int)threadIdx.x;
    GPU_FOR (int j = 0; j < 4; j++)
        *(float4 *)(weights + (t % 16 * 4 + j) * F32_PITCH + t / 16 * 4) = make_float4(w[0][j], w[1][j], w[2][j], w[3][j]);
}
// sum[c][i][j] += weights[others][own row i] * x[others][column + 64 c + 4 (t % 16) + j]. Through F32_DEPTH * 64 * PARTS floats of buffer.
template <int V, int PARTS>
GPU_FN void f32_sum(const AttnParams &p, float (&sum)[PARTS][4][4], const float *weights, float *buffer, const Matrix &x, int first,
                    int column) {
    enum { COLUMNS = 64 * PARTS };
    const int t = (int)threadIdx.x;
    for (int o = 0; o < F32_ROWS && first + o < p.tokens; o += F32_DEPTH) {
        float4 next[PARTS];
        GPU_FOR (int i = 0; i < PARTS; i++) {
            const int n = (t + i * F32_THREADS) * 4;
            next[i] = load_channels<V>(p, x, first + o + n / COLUMNS, column + n % COLUMNS);
        }
        __syncthreads();
        GPU_FOR (int i = 0; i < PARTS; i++) ((float4 *)buffer)[t + i * F32_THREADS] = next[i];
        __syncthreads();
        GPU_FOR (int k = 0; k < F32_DEPTH; k++)
            GPU_FOR (int c = 0; c < PARTS; c++)
                add_products(sum[c], weights + (o + k) * F32_PITCH + t / 16 * 4, buffer + k * COLUMNS + 64 * c + t % 16 * 4);
    }
}
// sum * factor (of own row i) to the block's rows of a part of the output, channels from `column` on.
template <int V, int PARTS>
GPU_FN void f32_store(const AttnParams &p, const float (&sum)[PARTS][4][4], const float (&factor)[4], AttnPlace at, Part part_of_y,
                      int column) {
    const int t = (int)threadIdx.x;
    const HeadRows y = head_rows(p, at, part_of_y);
    GPU_FOR (int n = 0; n < PARTS; n++)
        GPU_FOR (int i = 0; i < 4; i++)
            GPU_FOR (int j = 0; j < 4; j += V) {
                const int token = at.first + t / 16 * 4 + i, c = column + 64 * n + t % 16 * 4 + j;
                float v[V];
                GPU_FOR (int e = 0; e < V; e++) v[e] = factor[i] * sum[n][i][j + e];
                if (token < p.tokens && c < p.d) store_floats(p.y, p.y_type, y.first + (size_t)token * y.stride + (size_t)c, v);
            }
}

// ---- host -------------------------------------------------------------------------------------------------------------------
// The tensor-core kernels copy whole 16-byte pieces of a head's channels.
static inline bool whole_pieces(const AttnArgs *a) { return (size_t)a->d * dtype_bytes(a->qkv_type) % 16 == 0; }
// The forward for heads of 257 to 512 channels in whole pieces of 16 bits.
extern "C" int cuda_attn_wide(const AttnArgs *a, void *stream);
static inline bool on_tensor_cores(const AttnArgs *a, int largest_d) {
    return whole_pieces(a) && a->d <= largest_d && (a->qkv_type != DG_F32 || a->tf32);
}
static inline size_t attn_rows(const AttnArgs *a) { return (size_t)a->n * (size_t)a->heads * (size_t)a->tokens; }
static inline size_t attn_groups(const AttnArgs *a) {
    return (size_t)a->n * (size_t)a->heads * (size_t)((a->tokens + ROW_GROUP - 1) / ROW_GROUP);
}
static inline size_t parts_bytes(const AttnArgs *a) { return attn_rows(a) * 2 * (size_t)a->d * dtype_bytes(a->qkv_type); }
static inline AttnParams attn_params(const AttnArgs *a) {
    AttnParams p = {};
    p.qkv = a->qkv, p.dy = a->dy, p.y = a->y;
    if (a->dy) p.query_stats = (float4 *)a->workspace, p.bounds = (float *)(p.query_stats + attn_rows(a));
    if (a->kept) {
        p.y_parts = a->kept, p.scores = (float2 *)((uint8_t *)a->kept + parts_bytes(a));
        p.lengths = (float *)(p.scores + attn_rows(a));
    }
    p.qkv_type = a->qkv_type, p.dy_type = a->dy_type, p.y_type = a->y_type;
    p.tokens = a->tokens, p.heads = a->heads, p.d = a->d;
    p.scale = 1 / sqrtf((float)a->d), p.log2_scale = 1.44269504088896341f / sqrtf((float)a->d);
    return p;
}
// One block for each `rows` rows of each (image, head), times z.
static inline dim3 attn_grid(AttnParams *p, int n, int rows, int z) {
    p->blocks = (p->tokens + rows - 1) / rows;
    return dim3((unsigned)(n * p->heads * p->blocks), 1, (unsigned)z);
}
#endif
