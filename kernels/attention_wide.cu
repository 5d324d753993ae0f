// attention_wide.cu -- attention.cu's y for heads of 257 to 512 channels in f16 and bf16 (a VAE's one head), on tensor cores.
// Work:   a block makes 64 queries of one head, 16 a warp, and 256 channels of y (blockIdx.z): the accumulators of all 512 fit no
//         register file, so the scores are made in both halves. Queries stay in shared memory; the next keys are copied while the
//         values are multiplied, and the values while the keys are.
// Order:  keys in order, in blocks of 16, whatever n is.
// Range:  as in attention.cu.
#include "kernels/attention_tile.h"

enum {
    WIDE_WARPS = 4,
    WIDE_THREADS = 32 * WIDE_WARPS,
    WIDE_QUERIES = 16 * WIDE_WARPS,
    WIDE_KEYS = 16,
    WIDE_D = 512,
    WIDE_HALF = WIDE_D / 2,
    WIDE_PITCH = WIDE_D * 2 + 16, // bytes; rows an odd number of 16-byte pieces apart lie in different groups of banks
    WIDE_V_PITCH = WIDE_HALF * 2 + 16,
    WIDE_K_AT = WIDE_QUERIES * WIDE_PITCH,
    WIDE_V_AT = WIDE_K_AT + WIDE_KEYS * WIDE_PITCH,
    WIDE_SHARED = WIDE_V_AT + WIDE_KEYS * WIDE_V_PITCH
};

// ROWS rows of up to D channels, of which there are `channels`, to shared memory; zeros past the last token and channel.
template <typename T, int ROWS, int D>
GPU_FN void copy_wide(uint32_t to, const T *from, size_t stride, int first, int tokens, int channels) {
    enum { PIECES = D / 8, APART = WIDE_THREADS / PIECES, PITCH = D * 2 + 16 };
    const int row = (int)threadIdx.x / PIECES, piece = (int)threadIdx.x % PIECES;
    GPU_FOR (int i = 0; i < ROWS / APART; i++) {
        const int r = row + i * APART, token = first + r;
        const bool valid = token < tokens && piece * 8 < channels;
        gpu::cp_async16(to + (uint32_t)(r * PITCH + piece * 16), valid ? from + (size_t)token * stride + (size_t)(piece * 8) : from, valid);
    }
}
// The scores of the warp's 16 queries with the block's keys. Two sums, of every other step, keep twice as many products in flight.
template <typename T> GPU_FN void wide_scores(float (&s)[1][2][4], uint32_t queries, uint32_t keys) {
    float other[1][2][4];
    clear(s), clear(other);
    GPU_FOR (int step = 0; step < WIDE_D / 16; step++) {
        uint32_t a[1][4], b[4];
        gpu::ldmatrix<4>(a[0], queries + (uint32_t)(32 * step));
        gpu::ldmatrix<4>(b, keys + (uint32_t)(32 * step));
        const uint32_t right[2][2] = {{b[0], b[1]}, {b[2], b[3]}};
        multiply<T>(step % 2 ? other : s, a, right);
    }
    GPU_FOR (int n = 0; n < 2; n++)
        GPU_FOR (int i = 0; i < 4; i++) s[0][n][i] += other[0][n][i];
}
// Rows `token` and 8 further of y, channels from `column` on, times factor. Neighbouring lanes exchange halves first, so that each
// stores 4 channels in a row.
GPU_FN void store_wide(const AttnParams &p, AttnPlace at, const float (&sum)[4][1][8][4], const float (&factor)[2], int token, int column) {
    const HeadRows y = head_rows(p, at, DY);
    const int lane = (int)threadIdx.x & 31, odd = lane & 1;
    GPU_FOR (int n = 0; n < 32; n += 2)
        GPU_FOR (int h = 0; h < 2; h++) {
            const float *left = &sum[n / 8][0][n % 8][2 * h], *right = &sum[n / 8][0][n % 8 + 1][2 * h];
            const float got0 = __shfl_xor_sync(~0u, odd ? left[0] : right[0], 1), got1 = __shfl_xor_sync(~0u, odd ? left[1] : right[1], 1);
            float v[4] = {odd ? got0 : left[0], odd ? got1 : left[1], odd ? right[0] : got0, odd ? right[1] : got1};
            GPU_FOR (int e = 0; e < 4; e++) v[e] *= factor[h];
            const int row = token + 8 * h, c = column + 8 * (n + odd) + (lane & 2) * 2;
            if (row < p.tokens && c < p.d) store_floats(p.y, p.y_type, y.first + (size_t)row * y.stride + (size_t)c, v);
        }
}
template <typename T> __global__ void __launch_bounds__(WIDE_THREADS, 2) attn_wide_kernel(AttnParams p) {
    gpu::grid_enter();
    DYN_SHARED(shared);
    const int lane = (int)threadIdx.x & 31, row = ((int)threadIdx.x >> 5) * 16, column = (int)blockIdx.z * WIDE_HALF;
    const AttnPlace at = attn_place(p, WIDE_QUERIES);
    const HeadRows q = head_rows(p, at, QUERY), k = head_rows(p, at, KEY), v = head_rows(p, at, VALUE);
    const T *const qkv = (const T *)p.qkv;
    const uint32_t base = gpu::smem_u32(shared), of_left = (uint32_t)((lane & 15) * WIDE_PITCH + (lane >> 4) * 16),
                   queries = base + (uint32_t)(row * WIDE_PITCH) + of_left,
                   keys = base + WIDE_K_AT + (uint32_t)(((lane >> 4) * 8 + (lane & 7)) * WIDE_PITCH + (lane >> 3 & 1) * 16),
                   values = base + WIDE_V_AT + (uint32_t)((lane & 15) * WIDE_V_PITCH + (lane >> 4) * 16);
    copy_wide<T, WIDE_QUERIES, WIDE_D>(base, qkv + q.first, q.stride, at.first, p.tokens, p.d);
    copy_wide<T, WIDE_KEYS, WIDE_D>(base + WIDE_K_AT, qkv + k.first, k.stride, 0, p.tokens, p.d);
    gpu::cp_async_commit();

    float sum[4][1][8][4], top[2] = {-INFINITY, -INFINITY}, total[2] = {0, 0}; // top: the maximum so far; total: of this lane
    clear(sum);
    for (int first = 0; first < p.tokens; first += WIDE_KEYS) {
        gpu::cp_async_wait<0>();
        __syncthreads(); // the keys have landed for all, and nobody still reads the values before
        copy_wide<T, WIDE_KEYS, WIDE_HALF>(base + WIDE_V_AT, qkv + v.first + column, v.stride, first, p.tokens, p.d - column);
        gpu::cp_async_commit();
        float s[1][2][4];
        wide_scores<T>(s, queries, keys);
        gpu::cp_async_wait<0>();
        __syncthreads(); // the values have landed for all, and nobody still reads the keys
        if (first + WIDE_KEYS < p.tokens)
            copy_wide<T, WIDE_KEYS, WIDE_D>(base + WIDE_K_AT, qkv + k.first, k.stride, first + WIDE_KEYS, p.tokens, p.d);
        gpu::cp_async_commit();

        if (first + WIDE_KEYS > p.tokens)
            GPU_FOR (int n = 0; n < 2; n++)
                GPU_FOR (int i = 0; i < 4; i++)
                    if (first + 8 * n + (lane & 3) * 2 + i % 2 >= p.tokens) s[0][n][i] = -INFINITY;
        Factors<T, 1, 2> weights;
        GPU_FOR (int h = 0; h < 2; h++) { // rows lane/4 and 8 further
            float most = fmaxf(fmaxf(s[0][0][2 * h], s[0][0][2 * h + 1]), fmaxf(s[0][1][2 * h], s[0][1][2 * h + 1]));
            most = fmaxf(most, __shfl_xor_sync(~0u, most, 1));
            most = fmaxf(most, __shfl_xor_sync(~0u, most, 2));
            const float next = fmaxf(top[h], most), shrink = gpu::exp2_approx((top[h] - next) * p.log2_scale);
            top[h] = next, total[h] *= shrink;
            GPU_FOR (int n = 0; n < 32; n++)
                GPU_FOR (int i = 0; i < 2; i++) sum[n / 8][0][n % 8][2 * h + i] *= shrink;
            GPU_FOR (int n = 0; n < 2; n++) {
                float w[2];
                GPU_FOR (int i = 0; i < 2; i++)
                    w[i] = gpu::exp2_approx(fmaf(s[0][n][2 * h + i] - next, p.log2_scale, Range<T>::P_EXPONENT));
                total[h] += weights.put(0, n, h, w[0], w[1]);
            }
        }
        GPU_FOR (int part = 0; part < 4; part++) {
            uint32_t b[8][2];
            GPU_FOR (int n = 0; n < 8; n += 2) {
                uint32_t r[4];
                gpu::ldmatrix<4, true>(r, values + (uint32_t)((8 * part + n) * 16));
                b[n][0] = r[0], b[n][1] = r[1], b[n + 1][0] = r[2], b[n + 1][1] = r[3];
            }
            multiply<T>(sum[part], weights.operand[0], b);
        }
    }
    gpu::cp_async_wait<0>();
    GPU_FOR (int h = 0; h < 2; h++) {
        total[h] += __shfl_xor_sync(~0u, total[h], 1);
        total[h] = 1 / (total[h] + __shfl_xor_sync(~0u, total[h], 2));
    }
    store_wide(p, at, sum, total, at.first + row + (lane >> 2), column);
}

extern "C" int cuda_attn_wide(const AttnArgs *a, void *stream) {
    AttnParams p = attn_params(a);
    const dim3 grid = attn_grid(&p, a->n, WIDE_QUERIES, 2);
    void (*const kernel)(AttnParams) = a->qkv_type == DG_F16 ? attn_wide_kernel<__half> : attn_wide_kernel<__nv_bfloat16>;
    return gpu::launch_dependent(kernel, grid, dim3(WIDE_THREADS), (size_t)WIDE_SHARED, (cudaStream_t)stream, p);
}
