// linear_mma.cu -- large linear layers on vectors by tensor cores (mma.sync): products of f32 to f32's own accuracy.
// Work:   a block makes 64 features for 64 vectors, each of its 4 warps 32 x 32, from stages of 32 channels of both in shared memory.
//         A value is split into two of tf32, high (rounded to nearest) and low (what is left, to 2^-22 of the value), and three products
//         are made of the four: low x low is below 2^-24. Values from 2^128 (1 - 2^-12) on and infinities become NaN so, and products
//         that overflow may: such sums are made once more from the values themselves.
// Bytes:  weights 4 k c for each 64 vectors, vectors 4 n c for each 64 features, from the L2 cache; outputs 4 n k.
//         Neighbours in the grid read the same weights, which come from memory once.
// Order:  the same for any number of vectors: within a stage the tensor cores' own, eight channels at a time; stages are added in f32, in
//         order, because tensor cores cut off what they cannot hold of a sum: over a long one that would add up.
#include "kernels/linear_params.h"

enum {
    SIDE = 64, // vectors, and features, of a tile
    THREADS = 128,
    BLOCKS = 4, // of a multiprocessor, by registers and by shared memory
    STAGES = 3,
    STAGE_PIECES = 8,
    STAGE_CHANNELS = STAGE_PIECES * PIECE,
    ROW_BYTES = STAGE_CHANNELS * (int)sizeof(float),
    SIDE_BYTES = SIDE * ROW_BYTES,
    STAGE_BYTES = 2 * SIDE_BYTES, // vectors, then features
    SHARED = STAGES * STAGE_BYTES,
    COPY_ROWS = THREADS / STAGE_PIECES,
    WARP_SIDE = 32,
    MT = WARP_SIDE / 16,
    NT = WARP_SIDE / 8,
    PITCH = SIDE + 8 // of the sums on their way out, in floats
};
static_assert((int)SIDE * (int)PITCH * 4 <= (int)SHARED, "sums take the place of stages");
static_assert(THREADS / 32 * WARP_SIDE * WARP_SIDE == SIDE * SIDE, "the warps make the tile");
static_assert(COPY_ROWS % 8 == 0, "a thread's copies lie alike in the swizzle");

// Byte offset of a piece in a stage: eight rows of one piece lie in different groups of banks.
GPU_FN uint32_t linear_piece(int row, int piece) { return (uint32_t)(row * ROW_BYTES + ((piece ^ (row & 7)) << 4)); }

// f32 bits become the high half, rounded, and the low one is returned: of both, tensor cores leave out the last 13 bits. In integers:
// to_tf32 takes twice as many instructions, for the sake of NaN and infinity, of which the low half takes care here.
GPU_FN uint32_t split_value(uint32_t &v) {
    const float whole = __uint_as_float(v);
    v += 0x1000u;
    return __float_as_uint(whole - __uint_as_float(v & ~0x1fffu));
}
template <int N, int R> GPU_FN void split_values(uint32_t (&high)[N][R], uint32_t (&low)[N][R]) {
    GPU_FOR (int i = 0; i < N; i++)
        GPU_FOR (int r = 0; r < R; r++) low[i][r] = split_value(high[i][r]);
}

// What a thread copies of one side: piece t % 8 of rows t / 8, t / 8 + 16, ...; rows and channels past the last are zeros, never reads.
struct LinearSide {
    const float *from;
    int rows, left; // that there are, from its first one; channels from the next stage's piece on

    GPU_FN void start(const float *p, int first, int count, int c, int t) {
        const int row = first + t / STAGE_PIECES, channel = t % STAGE_PIECES * PIECE;
        from = p + (size_t)row * (size_t)c + (size_t)channel, rows = count - row, left = c - channel;
    }
    GPU_FN void load(uint32_t to, int c) {
        GPU_FOR (int i = 0; i < SIDE; i += COPY_ROWS)
            gpu::cp_async16(to + (uint32_t)(i * ROW_BYTES), from + (size_t)i * (size_t)c, i < rows && left > 0);
        from += STAGE_CHANNELS, left -= STAGE_CHANNELS;
    }
};

// Eight channels of a stage, added to `sum`.
GPU_FN void multiply_split(float (&sum)[MT][NT][4], uint32_t a_at, uint32_t b_at) {
    uint32_t a[MT][4], b[NT][2], a_low[MT][4], b_low[NT][2];
    GPU_FOR (int m = 0; m < MT; m++) gpu::ldmatrix<4>(a[m], a_at + (uint32_t)(m * 16 * ROW_BYTES));
    GPU_FOR (int n = 0; n < NT; n += 2) {
        uint32_t q[4];
        gpu::ldmatrix<4>(q, b_at + (uint32_t)(n * 8 * ROW_BYTES));
        b[n][0] = q[0], b[n][1] = q[1], b[n + 1][0] = q[2], b[n + 1][1] = q[3];
    }
    split_values(a, a_low), split_values(b, b_low);
    gpu::mma_m16n8k8_tf32(sum, a_low, b);
    gpu::mma_m16n8k8_tf32(sum, a, b_low);
    gpu::mma_m16n8k8_tf32(sum, a, b);
}

// Four sums, of which those that have become NaN are made without halves: numbers, infinities or NaN, as linear.cu has them.
GPU_FN float4 sum_plainly(const LinearParams &p, float4 sum, int vector, int k) {
    float v[PIECE] = {sum.x, sum.y, sum.z, sum.w};
    const float *const x = p.x + (size_t)vector * (size_t)p.c;
    GPU_FOR (int e = 0; e < PIECE; e++) {
        if (!isnan(v[e]) || k + e >= p.k) continue;
        const float *const w = p.w + (size_t)(k + e) * (size_t)p.c;
        v[e] = 0;
        GPU_LOOP (int c = 0; c < p.c; c++) v[e] = fmaf(x[c], w[c], v[e]);
    }
    return make_float4(v[0], v[1], v[2], v[3]);
}

__global__ void __launch_bounds__(THREADS, BLOCKS) linear_mma_kernel(const __grid_constant__ LinearGroup g) {
    gpu::grid_enter();
    const LinearParams &p = g.layer[blockIdx.z];
    if ((int)blockIdx.y * SIDE >= p.k) return; // others of the launch have more features
    DYN_SHARED(shared);
    const uint32_t base = gpu::smem_u32(shared);
    const int t = (int)threadIdx.x, lane = t & 31, warp = t >> 5;
    const int vector0 = (int)blockIdx.x * SIDE, k0 = (int)blockIdx.y * SIDE, steps = (p.c + STAGE_CHANNELS - 1) / STAGE_CHANNELS;
    LinearSide x, w;
    x.start(p.x, vector0, p.n, p.c, t), w.start(p.w, k0, p.k, p.c, t);
    const uint32_t copy_at = base + linear_piece(t / STAGE_PIECES, t % STAGE_PIECES);
    uint32_t filled = 0, used = 0; // stages, in bytes
    auto after = [](uint32_t stage) { return stage == (uint32_t)(SHARED - STAGE_BYTES) ? 0 : stage + (uint32_t)STAGE_BYTES; };
    auto load = [&]() {
        x.load(copy_at + filled, p.c), w.load(copy_at + filled + SIDE_BYTES, p.c);
        filled = after(filled);
    };
    const int warp_vector = warp / 2 * WARP_SIDE, warp_feature = warp % 2 * WARP_SIDE;
    const uint32_t a_at = base + linear_piece(warp_vector + (lane & 15), lane >> 4);
    const uint32_t b_at = base + SIDE_BYTES + linear_piece(warp_feature + ((lane >> 4) << 3) + (lane & 7), lane >> 3 & 1);
    float sum[MT][NT][4];
    GPU_FOR (int m = 0; m < MT; m++)
        GPU_FOR (int n = 0; n < NT; n++)
            GPU_FOR (int i = 0; i < 4; i++) sum[m][n][i] = 0;
    GPU_FOR (int s = 0; s < STAGES - 1; s++) {
        if (s < steps) load();
        gpu::cp_async_commit();
    }
    for (int step = 0; step < steps; step++) {
        gpu::cp_async_wait<STAGES - 2>();
        __syncthreads(); // the stage has landed for all, and nobody still reads the one that is filled next
        if (step + STAGES - 1 < steps) load();
        gpu::cp_async_commit();
        float part[MT][NT][4]; // of this stage
        GPU_FOR (int m = 0; m < MT; m++)
            GPU_FOR (int n = 0; n < NT; n++)
                GPU_FOR (int i = 0; i < 4; i++) part[m][n][i] = 0;
        // Eight channels are two pieces: a lane's own bits of the swizzle stay
        GPU_FOR (int pair = 0; pair < STAGE_PIECES / 2; pair++)
            multiply_split(part, (a_at + used) ^ (uint32_t)(pair << 5), (b_at + used) ^ (uint32_t)(pair << 5));
        GPU_FOR (int m = 0; m < MT; m++)
            GPU_FOR (int n = 0; n < NT; n++)
                GPU_FOR (int i = 0; i < 4; i++) sum[m][n][i] += part[m][n][i];
        used = after(used);
    }
    gpu::cp_async_wait<0>();
    __syncthreads(); // the stages have been read
    // Lane 4 g + t has features 2 t, 2 t + 1 of vectors g, g + 8 of every 8 features and 16 vectors.
    float *const patch = (float *)shared, *const own = patch + (warp_vector + (lane >> 2)) * PITCH + warp_feature + (lane & 3) * 2;
    GPU_FOR (int m = 0; m < MT; m++)
        GPU_FOR (int n = 0; n < NT; n++)
            GPU_FOR (int i = 0; i < 4; i += 2)
                *(float2 *)(own + (m * 16 + i * 4) * PITCH + n * 8) = make_float2(sum[m][n][i], sum[m][n][i + 1]);
    __syncthreads(); // the sums are complete
    GPU_LOOP (int i = t; i < SIDE * SIDE / PIECE; i += THREADS) {
        const int own_vector = i / (SIDE / PIECE), own_k = i % (SIDE / PIECE) * PIECE;
        float4 four = *(const float4 *)(patch + own_vector * PITCH + own_k);
        if (vector0 + own_vector >= p.n) continue;
        if (isnan((four.x + four.y) + (four.z + four.w))) four = sum_plainly(p, four, vector0 + own_vector, k0 + own_k);
        store_features(p, four, vector0 + own_vector, k0 + own_k);
    }
}
int linear_mma(const LinearGroup &g, int layers, cudaStream_t stream) {
    int most = 0; // features of a layer
    for (int i = 0; i < layers; i++) most = g.layer[i].k > most ? g.layer[i].k : most;
    const dim3 grid((unsigned)ceil_div(g.layer[0].n, SIDE), (unsigned)ceil_div(most, SIDE), (unsigned)layers);
    return gpu::launch_dependent(linear_mma_kernel, grid, dim3(THREADS), (size_t)SHARED, stream, g);
}
