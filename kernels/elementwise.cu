// elementwise.cu -- what moves tensors and computes little: unary, add, gates, copies of channels and pixels, resampling, tokens;
// NHWC.
// Work:   a thread handles runs of 8 elements or channels with 16-byte accesses. Where channels do not come in whole runs it
//         handles single ones; flat ops (unary, add) do so at their end only.
// Order:  resampling sums taps in order; the mean of the pixels sums every `lanes`-th pixel, then the lanes in order, which
//         depends on the number of channels alone.
// Limits: none on sizes. Speed: bandwidth bound.
#include "kernels/values.h"

enum { ROWS_PER_THREAD = 4 };

// ---- device code ------------------------------------------------------------------------------------------------------

template <UnaryKind F> GPU_FN float unary(const UnaryArgs &p, float x) {
    switch (F) {
    case F_SILU: return x * sigmoid(x);
    case F_CLAMP: return x < p.lo ? p.lo : x > p.hi ? p.hi : x; // NaN stays NaN
    case F_RELU: return x < 0 ? 0 : x;
    case F_GELU_TANH: return gelu_tanh(x);
    }
    return NAN;
}
template <UnaryKind F> GPU_FN float unary_bwd(const UnaryArgs &p, float x, float d) {
    switch (F) {
    case F_SILU: return d * silu_slope(x);
    case F_CLAMP: return x < p.lo || x > p.hi ? 0 : d;
    case F_RELU: return x > 0 ? d : 0;
    case F_GELU_TANH: return d * gelu_tanh_slope(x);
    }
    return NAN;
}
template <UnaryKind F, int V> GPU_FN void unary_run(const UnaryArgs &p, size_t i) {
    float x[V];
    load_floats(x, p.x, p.x_type, i);
    GPU_FOR (int e = 0; e < V; e++) x[e] = unary<F>(p, x[e]);
    store_floats(p.y, p.y_type, i, x);
}
template <UnaryKind F, int V> GPU_FN void unary_bwd_run(const UnaryArgs &p, size_t i) {
    float x[V], d[V];
    load_floats(x, p.x, p.x_type, i);
    load_floats(d, p.dy, p.dy_type, i);
    GPU_FOR (int e = 0; e < V; e++) d[e] = unary_bwd<F>(p, x[e], d[e]);
    store_floats(p.y, p.y_type, i, d);
}
GPU_FN size_t flat_start() { return ((size_t)blockIdx.x * ROW_THREADS + threadIdx.x) * RUN; }
template <UnaryKind F> __global__ void __launch_bounds__(ROW_THREADS) unary_kernel(UnaryArgs p) {
    gpu::grid_enter();
    const size_t start = flat_start();
    if (start + RUN <= p.count) unary_run<F, RUN>(p, start);
    else
        for (size_t i = start; i < p.count; i++) unary_run<F, 1>(p, i);
}
template <UnaryKind F> __global__ void __launch_bounds__(ROW_THREADS) unary_bwd_kernel(UnaryArgs p) {
    gpu::grid_enter();
    const size_t start = flat_start();
    if (start + RUN <= p.count) unary_bwd_run<F, RUN>(p, start);
    else
        for (size_t i = start; i < p.count; i++) unary_bwd_run<F, 1>(p, i);
}

template <int V> GPU_FN void add_run(const AddArgs &p, size_t i) {
    float x[V], z[V];
    load_floats(x, p.x, p.x_type, i);
    if (p.z) load_floats(z, p.z, p.z_type, i);
    GPU_FOR (int e = 0; e < V; e++) x[e] = p.z ? fmaf(p.b, z[e], p.a * x[e]) : p.a * x[e]; // stated: runs and their rests must agree
    store_floats(p.y, p.y_type, i, x);
}
__global__ void __launch_bounds__(ROW_THREADS) add_kernel(AddArgs p, size_t count) {
    gpu::grid_enter();
    const size_t start = flat_start();
    if (start + RUN <= count) add_run<RUN>(p, start);
    else
        for (size_t i = start; i < count; i++) add_run<1>(p, i);
}
template <int V> __global__ void __launch_bounds__(ROW_THREADS) add_vector_kernel(AddArgs p, RowBlock b) {
    gpu::grid_enter();
    const RowPlace at = row_place(b, V);
    if (!at.active) return;
    const size_t image = blockIdx.z, c = (size_t)p.c;
    float z[V];
    load_floats(z, p.z, p.z_type, image * c + (size_t)at.channel);
    GPU_FOR (int r = 0; r < ROWS_PER_THREAD; r++) {
        const int pixel = ((int)blockIdx.x * ROWS_PER_THREAD + r) * b.lanes + at.lane;
        if (pixel >= p.pixels) return;
        const size_t i = (image * (size_t)p.pixels + (size_t)pixel) * c + (size_t)at.channel;
        float x[V];
        load_floats(x, p.x, p.x_type, i);
        GPU_FOR (int e = 0; e < V; e++) x[e] = fmaf(p.b, z[e], p.a * x[e]);
        store_floats(p.y, p.y_type, i, x);
    }
}
// z is one image for all: a thread adds its run to ROWS_PER_THREAD images.
template <int V> __global__ void __launch_bounds__(ROW_THREADS) add_positions_kernel(AddArgs p, size_t per_image) {
    gpu::grid_enter();
    const size_t i = ((size_t)blockIdx.x * ROW_THREADS + threadIdx.x) * V;
    if (i >= per_image) return;
    float z[V];
    load_floats(z, p.z, p.z_type, i);
    GPU_FOR (int r = 0; r < ROWS_PER_THREAD; r++) {
        const int image = (int)blockIdx.y * ROWS_PER_THREAD + r;
        if (image >= p.n) return;
        const size_t at = (size_t)image * per_image + i;
        float x[V];
        load_floats(x, p.x, p.x_type, at);
        GPU_FOR (int e = 0; e < V; e++) x[e] = fmaf(p.b, z[e], p.a * x[e]);
        store_floats(p.y, p.y_type, at, x);
    }
}

template <int V> __global__ void __launch_bounds__(ROW_THREADS) gate_kernel(GateArgs p, RowBlock b) {
    gpu::grid_enter();
    const RowPlace at = row_place(b, V);
    if (!at.active) return;
    const size_t image = blockIdx.z, c = (size_t)p.c;
    float gate[V];
    load_floats(gate, p.gate, DG_F32, image * c + (size_t)at.channel);
    GPU_FOR (int r = 0; r < ROWS_PER_THREAD; r++) {
        const int pixel = ((int)blockIdx.x * ROWS_PER_THREAD + r) * b.lanes + at.lane;
        if (pixel >= p.pixels) return;
        const size_t i = (image * (size_t)p.pixels + (size_t)pixel) * c + (size_t)at.channel;
        float x[V], residual[V];
        load_floats(x, p.x, p.x_type, i);
        if (p.residual) load_floats(residual, p.residual, p.residual_type, i);
        GPU_FOR (int e = 0; e < V; e++) x[e] = p.residual ? fmaf(x[e], gate[e], residual[e]) : x[e] * gate[e];
        store_floats(p.y, p.y_type, i, x);
    }
}

template <int V> __global__ void __launch_bounds__(ROW_THREADS) copy_channels_kernel(CopyChannelsArgs p, RowBlock b) {
    gpu::grid_enter();
    const RowPlace at = row_place(b, V);
    if (!at.active) return;
    GPU_FOR (int r = 0; r < ROWS_PER_THREAD; r++) {
        const size_t pixel = ((size_t)blockIdx.x * ROWS_PER_THREAD + (size_t)r) * (size_t)b.lanes + (size_t)at.lane;
        if (pixel >= p.pixels) return;
        float v[V];
        load_floats(v, p.x, p.x_type, pixel * (size_t)p.x_c + (size_t)(p.x_first + at.channel));
        store_floats(p.y, p.y_type, pixel * (size_t)p.y_c + (size_t)(p.y_first + at.channel), v);
    }
}
// A row of the output is p rows' worth of pieces, one from each pixel of the input: p pixels, whose p*c channels lie together in both.
// The block's rows are these pieces.
template <int V> __global__ void __launch_bounds__(ROW_THREADS) depth_to_space_kernel(DepthToSpaceArgs p, RowBlock b) {
    gpu::grid_enter();
    const RowPlace at = row_place(b, V);
    if (!at.active) return;
    const int pieces = p.height * p.p * p.width;
    const size_t first = (size_t)blockIdx.z * (size_t)pieces;
    GPU_FOR (int r = 0; r < ROWS_PER_THREAD; r++) {
        const int piece = ((int)blockIdx.x * ROWS_PER_THREAD + r) * b.lanes + at.lane;
        if (piece >= pieces) return;
        const int row = piece / p.width, w = piece % p.width;
        const int source = ((row / p.p) * p.width + w) * p.p + row % p.p;
        float v[V];
        load_floats(v, p.x, p.x_type, (first + (size_t)source) * (size_t)b.c + (size_t)at.channel);
        store_floats(p.y, p.y_type, (first + (size_t)piece) * (size_t)b.c + (size_t)at.channel, v);
    }
}

// The input row or column that tap t of output position o reads; false: none, or outside the image.
GPU_FN bool resample_source(const ResampleArgs &p, int o, int t, int size, int *source) {
    const int v = p.up ? o + p.pad - t : 2 * o + t - p.pad;
    *source = p.up ? v / 2 : v;
    return v >= 0 && !(p.up && v % 2) && *source < size;
}
template <int V> __global__ void __launch_bounds__(ROW_THREADS) resample_kernel(const __grid_constant__ ResampleArgs p, RowBlock b) {
    gpu::grid_enter();
    const RowPlace at = row_place(b, V);
    const int pixel = (int)blockIdx.x * b.lanes + at.lane;
    if (!at.active || pixel >= p.out_height * p.out_width) return;
    const int oh = pixel / p.out_width, ow = pixel % p.out_width;
    const size_t image = blockIdx.z, c = (size_t)p.c;
    float sum[V];
    GPU_FOR (int e = 0; e < V; e++) sum[e] = 0;
    for (int r = 0; r < p.taps; r++) {
        int h, w;
        if (!resample_source(p, oh, r, p.height, &h)) continue;
        for (int s = 0; s < p.taps; s++) {
            if (!resample_source(p, ow, s, p.width, &w)) continue;
            const float tap = p.tap[r] * p.tap[s];
            float x[V];
            load_floats(x, p.x, p.x_type, ((image * (size_t)p.height + (size_t)h) * (size_t)p.width + (size_t)w) * c + (size_t)at.channel);
            GPU_FOR (int e = 0; e < V; e++) sum[e] += tap * x[e];
        }
    }
    GPU_FOR (int e = 0; e < V; e++) sum[e] *= p.scale;
    store_floats(p.y, p.y_type, (image * (size_t)(p.out_height * p.out_width) + (size_t)pixel) * c + (size_t)at.channel, sum);
}

// Adds the embedding to run `channel` of token `token` and stores it.
template <int V> GPU_FN void store_token(const PoolTokensArgs &p, int token, int channel, float (&v)[V]) {
    float embedding[V];
    load_floats(embedding, p.embedding, DG_F32, (size_t)token * (size_t)p.c + (size_t)channel);
    GPU_FOR (int e = 0; e < V; e++) v[e] += embedding[e];
    store_floats(p.y, p.y_type, ((size_t)blockIdx.x * (size_t)(p.pixels + 1) + (size_t)token) * (size_t)p.c + (size_t)channel, v);
}
template <int V> __global__ void __launch_bounds__(ROW_THREADS) pool_tokens_kernel(PoolTokensArgs p, RowBlock b) {
    gpu::grid_enter();
    SHARED(float, sums, [ROW_THREADS * V]);
    const RowPlace at = row_place(b, V);
    const int t = (int)threadIdx.x;
    float sum[V];
    GPU_FOR (int e = 0; e < V; e++) sum[e] = 0;
    for (int pixel = at.lane; at.active && pixel < p.pixels; pixel += b.lanes) {
        float x[V];
        load_floats(x, p.x, p.x_type, ((size_t)blockIdx.x * (size_t)p.pixels + (size_t)pixel) * (size_t)p.c + (size_t)at.channel);
        GPU_FOR (int e = 0; e < V; e++) sum[e] += x[e];
        store_token(p, pixel + 1, at.channel, x);
    }
    GPU_FOR (int e = 0; e < V; e++) sums[t * V + e] = sum[e];
    __syncthreads();
    if (!at.active || at.lane) return;
    for (int lane = 1; lane < b.lanes; lane++)
        GPU_FOR (int e = 0; e < V; e++) sum[e] += sums[(lane * b.across + t) * V + e];
    GPU_FOR (int e = 0; e < V; e++) sum[e] /= (float)p.pixels;
    store_token(p, 0, at.channel, sum);
}
template <int V> __global__ void __launch_bounds__(ROW_THREADS) pool_tokens_bwd_kernel(PoolTokensArgs p, RowBlock b) {
    gpu::grid_enter();
    const RowPlace at = row_place(b, V);
    const int pixel = (int)blockIdx.x * b.lanes + at.lane;
    if (!at.active || pixel >= p.pixels) return;
    const size_t image = blockIdx.z, c = (size_t)p.c, tokens = image * (size_t)(p.pixels + 1);
    float mean[V], token[V];
    load_floats(mean, p.x, p.x_type, tokens * c + (size_t)at.channel);
    load_floats(token, p.x, p.x_type, (tokens + (size_t)(pixel + 1)) * c + (size_t)at.channel);
    GPU_FOR (int e = 0; e < V; e++) token[e] += mean[e] / (float)p.pixels;
    store_floats(p.y, p.y_type, (image * (size_t)p.pixels + (size_t)pixel) * c + (size_t)at.channel, token);
}
template <int V> __global__ void __launch_bounds__(ROW_THREADS) first_token_bwd_kernel(FirstTokenArgs p, RowBlock b) {
    gpu::grid_enter();
    const RowPlace at = row_place(b, V);
    const int token = (int)blockIdx.x * b.lanes + at.lane;
    if (!at.active || token >= p.tokens) return;
    const size_t image = blockIdx.z, c = (size_t)p.c;
    float v[V];
    GPU_FOR (int e = 0; e < V; e++) v[e] = 0;
    if (token == 0) load_floats(v, p.x, p.x_type, image * c + (size_t)at.channel);
    store_floats(p.y, p.y_type, (image * (size_t)p.tokens + (size_t)token) * c + (size_t)at.channel, v);
}

// ---- launchers ----------------------------------------------------------------------------------------------------------

template <class... P, class... A> static int launch_flat(void (*kernel)(P...), size_t count, void *stream, const A &...a) {
    const dim3 grid((unsigned)blocks_for(count, (size_t)ROW_THREADS * RUN));
    return gpu::launch_dependent(kernel, grid, dim3(ROW_THREADS), 0, (cudaStream_t)stream, a...);
}
#define CASE(F, name)                                                                                                                      \
    case F_##F: return launch_flat(unary_kernel<F_##F>, a->count, stream, *a);
extern "C" int cuda_unary(const UnaryArgs *a, void *stream) {
    switch (a->f) { DG_UNARY(CASE) }
    return cudaErrorInvalidValue;
}
#undef CASE
#define CASE(F, name)                                                                                                                      \
    case F_##F: return launch_flat(unary_bwd_kernel<F_##F>, a->count, stream, *a);
extern "C" int cuda_unary_bwd(const UnaryArgs *a, void *stream) {
    switch (a->f) { DG_UNARY(CASE) }
    return cudaErrorInvalidValue;
}
#undef CASE
extern "C" int cuda_add(const AddArgs *a, void *stream) {
    const size_t count = (size_t)a->n * (size_t)a->pixels * (size_t)a->c;
    if (a->z_kind == OPERAND_POSITIONS && a->n > 1) {
        const size_t per_image = (size_t)a->pixels * (size_t)a->c;
        const bool whole_runs = per_image % RUN == 0;
        const dim3 grid((unsigned)blocks_for(per_image, (size_t)ROW_THREADS * (whole_runs ? RUN : 1)),
                        (unsigned)blocks_for((size_t)a->n, ROWS_PER_THREAD));
        return gpu::launch_dependent(whole_runs ? add_positions_kernel<RUN> : add_positions_kernel<1>, grid, dim3(ROW_THREADS), 0,
                                     (cudaStream_t)stream, *a, per_image);
    }
    if (a->z_kind != OPERAND_VECTOR) return launch_flat(add_kernel, count, stream, *a, count);
    return launch_rows(add_vector_kernel<1>, add_vector_kernel<RUN>, a->c % RUN == 0, a->c, (size_t)a->pixels, ROWS_PER_THREAD, a->n,
                       stream, *a);
}
extern "C" int cuda_gate(const GateArgs *a, void *stream) {
    return launch_rows(gate_kernel<1>, gate_kernel<RUN>, a->c % RUN == 0, a->c, (size_t)a->pixels, ROWS_PER_THREAD, a->n, stream, *a);
}
extern "C" int cuda_copy_channels(const CopyChannelsArgs *a, void *stream) {
    const bool whole_runs = (a->c | a->x_c | a->x_first | a->y_c | a->y_first) % RUN == 0;
    return launch_rows(copy_channels_kernel<1>, copy_channels_kernel<RUN>, whole_runs, a->c, a->pixels, ROWS_PER_THREAD, 1, stream, *a);
}
extern "C" int cuda_depth_to_space(const DepthToSpaceArgs *a, void *stream) {
    const size_t pieces = (size_t)a->height * (size_t)a->p * (size_t)a->width;
    const int c = a->p * a->c;
    return launch_rows(depth_to_space_kernel<1>, depth_to_space_kernel<RUN>, c % RUN == 0, c, pieces, ROWS_PER_THREAD, a->n, stream, *a);
}
extern "C" int cuda_resample(const ResampleArgs *a, void *stream) {
    const size_t rows = (size_t)a->out_height * (size_t)a->out_width;
    return launch_rows(resample_kernel<1>, resample_kernel<RUN>, a->c % RUN == 0, a->c, rows, 1, a->n, stream, *a);
}
extern "C" int cuda_pool_tokens(const PoolTokensArgs *a, void *stream) {
    const int run = row_run(a->c);
    const RowBlock b = row_block(a->c, run, 32);
    const dim3 grid((unsigned)a->n, row_columns(b, run));
    return gpu::launch_dependent(run == 1 ? pool_tokens_kernel<1> : pool_tokens_kernel<RUN>, grid, dim3(ROW_THREADS), 0,
                                 (cudaStream_t)stream, *a, b);
}
extern "C" int cuda_pool_tokens_bwd(const PoolTokensArgs *a, void *stream) {
    return launch_rows(pool_tokens_bwd_kernel<1>, pool_tokens_bwd_kernel<RUN>, a->c % RUN == 0, a->c, (size_t)a->pixels, 1, a->n, stream,
                       *a);
}
extern "C" int cuda_first_token(const FirstTokenArgs *a, void *stream) {
    CopyChannelsArgs copy = {};
    copy.x = a->x, copy.y = a->y, copy.x_type = a->x_type, copy.y_type = a->y_type;
    copy.pixels = (size_t)a->n, copy.x_c = a->tokens * a->c, copy.y_c = a->c,
    copy.c = a->c; // a row holds all tokens of an image
    return cuda_copy_channels(&copy, stream);
}
extern "C" int cuda_first_token_bwd(const FirstTokenArgs *a, void *stream) {
    return launch_rows(first_token_bwd_kernel<1>, first_token_bwd_kernel<RUN>, a->c % RUN == 0, a->c, (size_t)a->tokens, 1, a->n, stream,
                       *a);
}
