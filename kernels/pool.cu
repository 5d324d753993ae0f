// pool.cu -- the largest or the mean of each window's pixels inside the image; NHWC.
// Work:   small windows: a thread makes a run of channels of one output. Outputs are counted down the columns of a band of BAND
//         rows, so that a block's lie close in both directions and share what their windows have in common in the L1 cache.
//         Large windows (a global mean): a block makes some channels of an output, each lane every `lanes`-th pixel of the window.
// Order:  a small window's pixels row by row; of a large one each lane's, then the lanes in order, which depends on the number of
//         channels alone.
// Limits: none on sizes.
// Speed:  bandwidth bound: floors are the bytes of x and of y, each once; an operation a pixel of a window and channel.
#include "kernels/values.h"

enum { MOST_CHANNELS = 64, BAND = 4, LARGE_WINDOW = 32 };

// ---- device code ------------------------------------------------------------------------------------------------------

// The part of a window that lies in the image.
struct Window {
    int top, left, rows, columns;
};
GPU_FN Window window_at(const PoolArgs &p, int h, int w) {
    const int y = h * p.options.stride - p.options.pad, x = w * p.options.stride - p.options.pad, top = max(y, 0), left = max(x, 0);
    return {top, left, min(y + p.options.height, p.height) - top, min(x + p.options.width, p.width) - left};
}
template <bool MAX> struct Gather { // what a window's pixels become
    static GPU_FN float start() { return MAX ? -INFINITY : 0; }
    static GPU_FN float with(float so_far, float v) { return !MAX ? so_far + v : v > so_far || v != v ? v : so_far; } // NaN wins
    static GPU_FN float end(float v, int pixels) { return MAX ? v : v / (float)pixels; }
    template <typename T, int V> static GPU_FN void pixel(float (&v)[V], const T *x) {
        float next[V];
        load_run(next, x);
        GPU_FOR (int e = 0; e < V; e++) v[e] = with(v[e], next[e]);
    }
};
// Element of pixel (h, w) of this block's image, which is `width` pixels wide and one of `height * width`.
GPU_FN size_t element(const PoolArgs &p, int height, int width, int h, int w, int channel) {
    return (((size_t)blockIdx.z * (size_t)height + (size_t)h) * (size_t)width + (size_t)w) * (size_t)p.c + (size_t)channel;
}

template <int V, bool MAX> __global__ void __launch_bounds__(ROW_THREADS, 4) pool_kernel(PoolArgs p, RowBlock b) {
    const RowPlace at = row_place(b, V);
    const int output = (int)blockIdx.x * b.lanes + at.lane, band_size = BAND * p.out_width;
    if (!at.active || output >= p.out_height * p.out_width) return;
    const int band = output / band_size, place = output % band_size, rows = min((int)BAND, p.out_height - band * BAND);
    const int h = band * BAND + place % rows, w = place / rows;
    const Window window = window_at(p, h, w);
    const size_t start = element(p, p.height, p.width, window.top, window.left, at.channel), to_row = (size_t)p.width * (size_t)p.c;
    float v[V];
    GPU_FOR (int e = 0; e < V; e++) v[e] = Gather<MAX>::start();
    with_type(p.x, p.x_type, [&](const auto *x) {
        x += start;
        for (int r = 0; r < window.rows; r++, x += to_row)
#pragma unroll 3 // the loads of a row in flight together
            for (int s = 0; s < window.columns; s++) Gather<MAX>::pixel(v, x + (size_t)s * (size_t)p.c);
    });
    GPU_FOR (int e = 0; e < V; e++) v[e] = Gather<MAX>::end(v[e], window.rows * window.columns);
    store_floats(p.y, p.y_type, element(p, p.out_height, p.out_width, h, w, at.channel), v);
}

template <int V, bool MAX> __global__ void __launch_bounds__(ROW_THREADS) pool_large_kernel(PoolArgs p, RowBlock b) {
    SHARED(float, shared, [ROW_THREADS * V]);
    const RowPlace at = row_place(b, V);
    const int t = (int)threadIdx.x, h = (int)blockIdx.x / p.out_width, w = (int)blockIdx.x % p.out_width;
    const Window window = window_at(p, h, w);
    const int pixels = window.rows * window.columns;
    const size_t start = element(p, p.height, p.width, window.top, window.left, at.channel);
    float v[V];
    GPU_FOR (int e = 0; e < V; e++) v[e] = Gather<MAX>::start();
    with_type(p.x, p.x_type, [&](const auto *x) {
        x += start;
        for (int i = at.lane; at.active && i < pixels; i += b.lanes) {
            const int row = i / window.columns, column = i % window.columns;
            Gather<MAX>::pixel(v, x + ((size_t)row * (size_t)p.width + (size_t)column) * (size_t)p.c);
        }
    });
    GPU_FOR (int e = 0; e < V; e++) shared[t * V + e] = v[e];
    __syncthreads();
    const int first = (int)blockIdx.y * b.across * V, lanes = min(b.lanes, pixels);
    for (int i = t; i < b.across * V && first + i < p.c; i += ROW_THREADS) {
        float all[1] = {shared[i]};
        for (int lane = 1; lane < lanes; lane++) all[0] = Gather<MAX>::with(all[0], shared[lane * b.across * V + i]);
        all[0] = Gather<MAX>::end(all[0], pixels);
        store_floats(p.y, p.y_type, element(p, p.out_height, p.out_width, h, w, first + i), all);
    }
}

// ---- launchers ----------------------------------------------------------------------------------------------------------

template <int V, bool MAX> static int launch_pool(const PoolArgs *a, cudaStream_t stream) {
    const RowBlock b = row_block(a->c, V, MOST_CHANNELS / V);
    const unsigned columns = row_columns(b, V), images = (unsigned)a->n;
    if ((size_t)a->options.height * (size_t)a->options.width >= LARGE_WINDOW) {
        const dim3 grid((unsigned)(a->out_height * a->out_width), columns, images);
        return gpu::launch(pool_large_kernel<V, MAX>, grid, dim3(ROW_THREADS), 0, stream, *a, b);
    }
    const size_t blocks = blocks_for((size_t)a->out_height * (size_t)a->out_width, (size_t)b.lanes);
    return gpu::launch(pool_kernel<V, MAX>, dim3((unsigned)blocks, columns, images), dim3(ROW_THREADS), 0, stream, *a, b);
}
extern "C" int cuda_pool(const PoolArgs *a, void *stream) {
    const cudaStream_t s = (cudaStream_t)stream;
    if (row_run(a->c) == 1) return a->options.max ? launch_pool<1, true>(a, s) : launch_pool<1, false>(a, s);
    return a->options.max ? launch_pool<RUN, true>(a, s) : launch_pool<RUN, false>(a, s);
}
