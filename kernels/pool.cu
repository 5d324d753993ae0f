// pool.cu -- the largest or the mean of each window's pixels inside the image; NHWC.
// Work:   small windows: a thread makes a run of channels of one output, blocks cover tiles of outputs TILE_HEIGHT high, so that
//         what neighbouring windows share comes from the L1 cache. Large windows (a global mean): a block makes an output of
//         some channels, its lanes every `lanes`-th pixel of the window.
// Order:  a small window's pixels row by row; of a large one each lane's, then the lanes in order, which depends on the number of
//         channels alone.
// Limits: none on sizes.
// Speed:  bandwidth bound: floors are the bytes of x and of y, each once; an operation a pixel of a window and channel.
#include "kernels/values.h"

enum { MOST_ACROSS = 8, TILE_HEIGHT = 4, LARGE_WINDOW = 32 };

// ---- device code ------------------------------------------------------------------------------------------------------

// The part of a window that lies in the image.
struct Window {
    int top, left, rows, columns;
};
GPU_FN Window window_at(const PoolArgs &p, int h, int w) {
    const int y = h * p.options.stride - p.options.pad, x = w * p.options.stride - p.options.pad, top = max(y, 0), left = max(x, 0);
    return {top, left, min(y + p.options.height, p.height) - top, min(x + p.options.width, p.width) - left};
}
template <int V> GPU_FN void clear(float (&v)[V], const PoolArgs &p) {
    GPU_FOR (int e = 0; e < V; e++) v[e] = p.options.max ? -INFINITY : 0;
}
GPU_FN float gathered(const PoolArgs &p, float so_far, float v) {
    if (!p.options.max) return so_far + v;
    return v > so_far || v != v ? v : so_far; // NaN wins
}
template <int V> GPU_FN void gather(float (&v)[V], const PoolArgs &p, int h, int w, int channel) {
    const size_t pixel = ((size_t)blockIdx.z * (size_t)p.height + (size_t)h) * (size_t)p.width + (size_t)w;
    float x[V];
    load_floats(x, p.x, p.x_type, pixel * (size_t)p.c + (size_t)channel);
    GPU_FOR (int e = 0; e < V; e++) v[e] = gathered(p, v[e], x[e]);
}
GPU_FN size_t output_at(const PoolArgs &p, int h, int w, int channel) {
    return (((size_t)blockIdx.z * (size_t)p.out_height + (size_t)h) * (size_t)p.out_width + (size_t)w) * (size_t)p.c + (size_t)channel;
}

template <int V> __global__ void __launch_bounds__(ROW_THREADS) pool_kernel(PoolArgs p, RowBlock b) {
    const RowPlace at = row_place(b, V);
    const int tile_width = b.lanes / TILE_HEIGHT, tiles = (p.out_width + tile_width - 1) / tile_width;
    const int h = (int)blockIdx.x / tiles * TILE_HEIGHT + at.lane / tile_width;
    const int w = (int)blockIdx.x % tiles * tile_width + at.lane % tile_width;
    if (!at.active || at.lane >= tile_width * TILE_HEIGHT || h >= p.out_height || w >= p.out_width) return;
    const Window window = window_at(p, h, w);
    float v[V];
    clear(v, p);
    for (int r = 0; r < window.rows; r++)
        for (int s = 0; s < window.columns; s++) gather(v, p, window.top + r, window.left + s, at.channel);
    const float count = (float)(window.rows * window.columns);
    if (!p.options.max)
        GPU_FOR (int e = 0; e < V; e++) v[e] /= count;
    store_floats(p.y, p.y_type, output_at(p, h, w, at.channel), v);
}

template <int V> __global__ void __launch_bounds__(ROW_THREADS) pool_large_kernel(PoolArgs p, RowBlock b) {
    SHARED(float, shared, [ROW_THREADS * V]);
    const RowPlace at = row_place(b, V);
    const int t = (int)threadIdx.x, h = (int)blockIdx.x / p.out_width, w = (int)blockIdx.x % p.out_width;
    const Window window = window_at(p, h, w);
    const int pixels = window.rows * window.columns;
    float v[V];
    clear(v, p);
    for (int i = at.lane; at.active && i < pixels; i += b.lanes)
        gather(v, p, window.top + i / window.columns, window.left + i % window.columns, at.channel);
    GPU_FOR (int e = 0; e < V; e++) shared[t * V + e] = v[e];
    __syncthreads();
    const int first = (int)blockIdx.y * b.across * V, lanes = min(b.lanes, pixels);
    for (int i = t; i < b.across * V && first + i < p.c; i += ROW_THREADS) {
        float all[1] = {shared[i]};
        for (int lane = 1; lane < lanes; lane++) all[0] = gathered(p, all[0], shared[lane * b.across * V + i]);
        if (!p.options.max) all[0] /= (float)pixels;
        store_floats(p.y, p.y_type, output_at(p, h, w, first + i), all);
    }
}

// ---- launchers ----------------------------------------------------------------------------------------------------------

extern "C" int cuda_pool(const PoolArgs *a, void *stream) {
    const int run = row_run(a->c);
    const RowBlock b = row_block(a->c, run, run == 1 ? MOST_ACROSS * RUN : MOST_ACROSS);
    const unsigned columns = row_columns(b, run), images = (unsigned)a->n;
    const cudaStream_t s = (cudaStream_t)stream;
    if ((size_t)a->options.height * (size_t)a->options.width >= LARGE_WINDOW) {
        const dim3 grid((unsigned)(a->out_height * a->out_width), columns, images);
        return gpu::launch(run == 1 ? pool_large_kernel<1> : pool_large_kernel<RUN>, grid, dim3(ROW_THREADS), 0, s, *a, b);
    }
    const size_t tiles = blocks_for((size_t)a->out_width, (size_t)(b.lanes / TILE_HEIGHT)) * blocks_for((size_t)a->out_height, TILE_HEIGHT);
    const dim3 grid((unsigned)tiles, columns, images);
    return gpu::launch(run == 1 ? pool_kernel<1> : pool_kernel<RUN>, grid, dim3(ROW_THREADS), 0, s, *a, b);
}
