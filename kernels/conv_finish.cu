// conv_finish.cu -- the rest of a convolution whose sums a library has made: y = act(scale * ((y + bias) * gate + add)) in place, and the
// statistics of what is stored for a norm that follows (ConvArgs.stats).
// Work:   without statistics: a thread makes FINISH_RUNS runs of 8 channels, anywhere in y. With them: a block makes one segment of 64
//         pixels by 64 channels; a thread 4 rows of a run of 8 channels, whose stored values a thread per channel then sums up
//         from shared memory. Single channels where they do not come in whole runs.
// Order:  pixels of a segment in order, twice: their mean, then the squares about it. Nothing depends on the batch.
// Limits: none on sizes; statistics only where an image is whole segments.
// Speed:  bandwidth bound: y read and written once, `add` read once.
#include "kernels/conv_epilogue.h"

// ---- device code ------------------------------------------------------------------------------------------------------

enum { FINISH_THREADS = 256, FINISH_RUNS = 4 };

// v, a run of y at element `at`, becomes what is stored there; row counts the pixels of all images.
template <int V> GPU_FN void finish_run(const Epilogue &q, float (&v)[V], int row, int k, size_t at) {
    float bias[V];
    load_bias(bias, q, k);
    GPU_FOR (int e = 0; e < V; e++) v[e] += bias[e];
    if (more_than_plain(q)) finish_more(q, v, row, k, at);
    else finish_plain(q, v, row, k, at);
}
template <int V> __global__ void __launch_bounds__(FINISH_THREADS) conv_finish_kernel(Epilogue q, void *y) {
    gpu::grid_enter();
    const size_t across = (size_t)(q.k / V), runs = (size_t)q.rows * across;
    for (int j = 0; j < FINISH_RUNS; j++) {
        const size_t i = ((size_t)blockIdx.x * FINISH_RUNS + (size_t)j) * FINISH_THREADS + threadIdx.x;
        if (i >= runs) return;
        float v[V];
        load_floats(v, y, q.y_type, i * V);
        finish_run(q, v, (int)(i / across), (int)(i % across) * V, i * V);
        store_floats(y, q.y_type, i * V, v);
    }
}

// V channels side by side in a thread, ACROSS threads, LANES rows of them; of a thread's rows AT_ONCE are in flight together.
template <int V> struct FinishTile {
    enum {
        COLUMNS = V == 1 ? 16 : 64,
        ACROSS = COLUMNS / V,
        LANES = 16,
        AT_ONCE = V == 1 ? 1 : 4,
        THREADS = (int)ACROSS * (int)LANES,
        PITCH = COLUMNS + 4 // floats: rows begin at whole words of 16 bytes, in other banks
    };
};
template <int V> __global__ void __launch_bounds__(FinishTile<V>::THREADS) conv_finish_stats_kernel(Epilogue q, void *y, float2 *stats) {
    gpu::grid_enter();
    typedef FinishTile<V> Tile;
    SHARED(float, stored, [NORM_SEGMENT * Tile::PITCH]);
    const int t = (int)threadIdx.x, column0 = (int)blockIdx.y * Tile::COLUMNS, row0 = (int)blockIdx.x * NORM_SEGMENT;
    const int lane = t / Tile::ACROSS, column = t % Tile::ACROSS * V, k = column0 + column;
    for (int first_row = lane; k < q.k && first_row < NORM_SEGMENT; first_row += Tile::LANES * Tile::AT_ONCE) {
        float v[Tile::AT_ONCE][V];
        const size_t first = (size_t)(row0 + first_row) * (size_t)q.k + (size_t)k, apart = (size_t)Tile::LANES * (size_t)q.k;
        with_type(y, q.y_type, [&](auto *p) {
            GPU_FOR (int r = 0; r < Tile::AT_ONCE; r++) load_run(v[r], p + first + (size_t)r * apart);
        });
        GPU_FOR (int r = 0; r < Tile::AT_ONCE; r++) {
            const int row = first_row + r * Tile::LANES;
            finish_run(q, v[r], row0 + row, k, first + (size_t)r * apart);
            store_floats(y, q.y_type, first + (size_t)r * apart, v[r]);
            GPU_FOR (int e = 0; e < V; e++) stored[row * Tile::PITCH + column + e] = as_stored(v[r][e], q.y_type);
        }
    }
    __syncthreads();
    if (t >= Tile::COLUMNS || column0 + t >= q.k) return;
    stats[(size_t)blockIdx.x * (size_t)q.k + (size_t)(column0 + t)] = segment_stats(stored + t, Tile::PITCH);
}

// ---- launchers ----------------------------------------------------------------------------------------------------------

template <int V> static int launch_stats(const Epilogue &q, const ConvArgs *a, cudaStream_t stream) {
    typedef FinishTile<V> Tile;
    const dim3 grid((unsigned)(q.rows / NORM_SEGMENT), (unsigned)ceil_div(q.k, Tile::COLUMNS));
    return gpu::launch_dependent(conv_finish_stats_kernel<V>, grid, dim3(Tile::THREADS), (size_t)0, stream, q, a->y, (float2 *)a->stats);
}
extern "C" int cuda_conv_finish(const ConvArgs *a, void *stream) {
    const Epilogue q = conv_epilogue(a);
    const int run = row_run(q.k);
    if (a->stats) return run == 8 ? launch_stats<8>(q, a, (cudaStream_t)stream) : launch_stats<1>(q, a, (cudaStream_t)stream);
    if (!q.bias && !q.gate && !q.add && q.act == ACT_NONE && q.scale == 1) return 0; // nothing is left to do
    const dim3 grid((unsigned)blocks_for((size_t)q.rows * (size_t)q.k, (size_t)(run * FINISH_RUNS * FINISH_THREADS)));
    return gpu::launch_dependent(run == 8 ? conv_finish_kernel<8> : conv_finish_kernel<1>, grid, dim3(FINISH_THREADS), (size_t)0,
                                 (cudaStream_t)stream, q, a->y);
}
