// pool.cu -- the largest or the mean of each window's pixels inside the image; NHWC.
// Work:   small windows: a thread makes a run of channels of BAND outputs below each other, whose windows share rows: what a row
//         of pixels comes to is made once. Large windows (a global mean): a block makes some channels of an output, each lane
//         every `lanes`-th pixel of the window.
// Order:  of a small window the pixels of a row, then the rows; of a large one each lane's, then the lanes in order, which depends
//         on the number of channels alone.
// Limits: none on sizes.
// Speed:  bandwidth bound: floors are the bytes of x and of y, each once; an operation a pixel of a window and channel.
#include "kernels/values.h"

// most channels of a block; outputs of a thread; pixels of a row whose loads are in flight together; pixels of a large window
enum { SMALL_CHANNELS = 64, LARGE_CHANNELS = 128, BAND = 4, AT_ONCE = 3, LARGE_WINDOW = 32 };

// ---- device code ------------------------------------------------------------------------------------------------------

// What a window covers along one dimension of the image: pixels [first, first + count).
struct Span {
    int first, count;
};
GPU_FN Span window_span(int output, int stride, int pad, int window, int size) {
    const int start = output * stride - pad, first = max(start, 0);
    return {first, min(start + window, size) - first};
}
template <bool MAX> struct Gather { // what a window's pixels become
    static GPU_FN float start() { return MAX ? -INFINITY : 0; }
    static GPU_FN float with(float so_far, float v) { return !MAX ? so_far + v : v > so_far || v != v ? v : so_far; } // NaN wins
    static GPU_FN float share(int pixels) { return MAX ? 1 : 1 / (float)pixels; }
    template <int V> static GPU_FN void all(float (&so_far)[V], const float (&v)[V]) {
        GPU_FOR (int e = 0; e < V; e++) so_far[e] = with(so_far[e], v[e]);
    }
};
// Element of pixel (h, w) of this block's image, which is `width` pixels wide and one of `height * width`.
GPU_FN size_t element(const PoolArgs &p, int height, int width, int h, int w, int channel) {
    return (((size_t)blockIdx.z * (size_t)height + (size_t)h) * (size_t)width + (size_t)w) * (size_t)p.c + (size_t)channel;
}

template <typename T, int V, bool MAX>
__global__ void __launch_bounds__(ROW_THREADS, sizeof(T) == 4 ? 2 : 3) pool_kernel(PoolArgs p, RowBlock b) {
    gpu::grid_enter();
    const RowPlace at = row_place(b, V);
    const PoolOptions &o = p.options;
    const int place = (int)blockIdx.x * b.lanes + at.lane, h = place / p.out_width * BAND, w = place % p.out_width;
    if (!at.active || h >= p.out_height) return;
    const int outputs = min((int)BAND, p.out_height - h);
    const Span columns = window_span(w, o.stride, o.pad, o.width, p.width), top = window_span(h, o.stride, o.pad, o.height, p.height),
               bottom = window_span(h + outputs - 1, o.stride, o.pad, o.height, p.height);
    const T *x = (const T *)p.x + element(p, p.height, p.width, top.first, columns.first, at.channel);
    float v[BAND][V];
    GPU_FOR (int k = 0; k < BAND; k++)
        GPU_FOR (int e = 0; e < V; e++) v[k][e] = Gather<MAX>::start();
    for (int r = top.first; r < bottom.first + bottom.count; r++, x += (size_t)p.width * (size_t)p.c) {
        float row[V];
        GPU_FOR (int e = 0; e < V; e++) row[e] = Gather<MAX>::start();
        for (int s = 0; s < columns.count; s += AT_ONCE) {
            float next[AT_ONCE][V];
            GPU_FOR (int i = 0; i < AT_ONCE; i++) load_run(next[i], x + min(s + i, columns.count - 1) * p.c);
            GPU_FOR (int i = 0; i < AT_ONCE; i++)
                if (s + i < columns.count) Gather<MAX>::all(row, next[i]);
        }
        GPU_FOR (int k = 0; k < BAND; k++) // the windows that hold this row
            if ((unsigned)(r + o.pad - (h + k) * o.stride) < (unsigned)o.height) Gather<MAX>::all(v[k], row);
    }
    size_t y = element(p, p.out_height, p.out_width, h, w, at.channel);
    GPU_FOR (int k = 0; k < BAND; k++, y += (size_t)p.out_width * (size_t)p.c) {
        if (k >= outputs) return;
        const float share = Gather<MAX>::share(window_span(h + k, o.stride, o.pad, o.height, p.height).count * columns.count);
        if (!MAX)
            GPU_FOR (int e = 0; e < V; e++) v[k][e] *= share;
        store_floats(p.y, p.y_type, y, v[k]);
    }
}

template <int V, bool MAX> __global__ void __launch_bounds__(ROW_THREADS) pool_large_kernel(PoolArgs p, RowBlock b) {
    gpu::grid_enter();
    SHARED(float, shared, [ROW_THREADS * V]);
    const RowPlace at = row_place(b, V);
    const int t = (int)threadIdx.x, h = (int)blockIdx.x / p.out_width, w = (int)blockIdx.x % p.out_width;
    const PoolOptions &o = p.options;
    const Span rows = window_span(h, o.stride, o.pad, o.height, p.height), columns = window_span(w, o.stride, o.pad, o.width, p.width);
    const int pixels = rows.count * columns.count, rest = p.width - columns.count; // of a row of the image
    float v[V];
    GPU_FOR (int e = 0; e < V; e++) v[e] = Gather<MAX>::start();
    with_type(p.x, p.x_type, [&](const auto *x) {
        x += element(p, p.height, p.width, rows.first, columns.first, at.channel);
        for (int i = at.lane; at.active && i < pixels; i += b.lanes) {
            float next[V];
            load_run(next, x + (size_t)(rest ? i + i / columns.count * rest : i) * (size_t)p.c);
            Gather<MAX>::all(v, next);
        }
    });
    GPU_FOR (int e = 0; e < V; e++) shared[t * V + e] = v[e];
    __syncthreads();
    const int first = (int)blockIdx.y * b.across * V, lanes = min(b.lanes, pixels);
    for (int i = t; i < b.across * V && first + i < p.c; i += ROW_THREADS) {
        float all[1] = {shared[i]};
        for (int lane = 1; lane < lanes; lane++) all[0] = Gather<MAX>::with(all[0], shared[lane * b.across * V + i]);
        all[0] *= Gather<MAX>::share(pixels);
        store_floats(p.y, p.y_type, element(p, p.out_height, p.out_width, h, w, first + i), all);
    }
}

// ---- launchers ----------------------------------------------------------------------------------------------------------

typedef void (*PoolKernel)(PoolArgs, RowBlock);
template <int V, bool MAX> static PoolKernel pool_kernel_of(DType type) {
    return type == DG_F32 ? pool_kernel<float, V, MAX> : type == DG_F16 ? pool_kernel<__half, V, MAX> : pool_kernel<__nv_bfloat16, V, MAX>;
}
template <int V, bool MAX> static int launch_pool(const PoolArgs *a, cudaStream_t stream) {
    const bool large = (size_t)a->options.height * (size_t)a->options.width >= LARGE_WINDOW;
    const RowBlock b = row_block(a->c, V, (large ? LARGE_CHANNELS : SMALL_CHANNELS) / V);
    const size_t places = (size_t)a->out_width * blocks_for((size_t)a->out_height, BAND);
    const size_t blocks = large ? (size_t)a->out_height * (size_t)a->out_width : blocks_for(places, (size_t)b.lanes);
    const PoolKernel kernel = large ? pool_large_kernel<V, MAX> : pool_kernel_of<V, MAX>(a->x_type);
    return gpu::launch_dependent(kernel, dim3((unsigned)blocks, row_columns(b, V), (unsigned)a->n), dim3(ROW_THREADS), 0, stream, *a, b);
}
extern "C" int cuda_pool(const PoolArgs *a, void *stream) {
    const cudaStream_t s = (cudaStream_t)stream;
    if (row_run(a->c) == 1) return a->options.max ? launch_pool<1, true>(a, s) : launch_pool<1, false>(a, s);
    return a->options.max ? launch_pool<RUN, true>(a, s) : launch_pool<RUN, false>(a, s);
}
