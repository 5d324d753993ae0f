// norm.cu -- group norm (+ scale-shift, + silu), NHWC; its gradient is norm_bwd.cu.
//   y = act((xhat * gamma + beta) * (1 + s) + t),  xhat = (x - mean) / sqrt(var + eps) over the pixels and channels of a group
//   The channels of x may be those of two tensors; groups may straddle the seam, runs of channels do not.
// Work:   partial statistics: one block per 64 pixels of an image ("segment"), mean and sum of squares about it for every channel;
//         left out where the convolution that made x has left them (ConvArgs.stats). Apply: a block merges the statistics of its
//         slice's groups while its first rows come, then walks over its part of the pixels, 8 loads of 16 bytes a thread at once.
// Order:  rows within a thread in fours, lanes of a block in order; then norm_slices.h. Sums of squares are always about a mean.
// Limits: none on sizes; channels that do not come in whole runs of 8 are handled one by one.
//         With `down` a thread takes fours of pixels, and their mean leaves instead of them.
// Speed:  bandwidth bound: x read twice (once with given statistics), y written once; 16-bit results take SiLU by tanh.
#include "kernels/norm_slices.h"

// ---- device code ------------------------------------------------------------------------------------------------------

enum { ROWS_AT_ONCE = 4, WALKS = 4, BLOCKS_EACH = 4 }; // BLOCKS_EACH: of a multiprocessor, before a block takes more of an image
enum { LANE_PITCH = ROW_THREADS + 2 };                 // of a value's entries in shared memory: no two threads of a warp meet in a bank

// How many of rows first, first + apart, ... lie below `rows`, and at most `most`.
GPU_FN int rows_from(int first, int apart, int rows, int most) { return first < rows ? min((rows - first - 1) / apart + 1, most) : 0; }
// R rows of a run of channels, `apart` pixels from each other; rows past the `valid` ones repeat the last of those.
template <int R, int V> GPU_FN void load_rows(float (&v)[R][V], const Input &from, DType type, size_t first, int apart, int valid) {
    with_type(from.x, type, [&](const auto *x) {
        GPU_FOR (int r = 0; r < R; r++) load_run(v[r], x + first + (size_t)(min(r, valid - 1) * apart) * (size_t)from.c);
    });
}
template <int V> __global__ void __launch_bounds__(ROW_THREADS) norm_partial_kernel(NormParams p, RowBlock b) {
    gpu::grid_enter();
    SHARED(float2, shared, [V * LANE_PITCH]);
    const RowPlace at = row_place(b, V);
    const int image = (int)blockIdx.z, segment = (int)blockIdx.x, rows = min((int)SEGMENT, p.pixels - segment * SEGMENT);
    float mean[V], squares[V];
    GPU_FOR (int e = 0; e < V; e++) mean[e] = squares[e] = 0;
    int count = 0;
    const Input from(p, at.channel);
    for (int row = at.lane; at.active && row < rows; row += ROWS_AT_ONCE * b.lanes) {
        const int valid = rows_from(row, b.lanes, rows, ROWS_AT_ONCE);
        float x[ROWS_AT_ONCE][V];
        load_rows(x, from, p.x_type, from.element(p, image, segment * SEGMENT + row), b.lanes, valid);
        const float share = (float)valid / (float)(count + valid);
        GPU_FOR (int e = 0; e < V; e++) { // these rows' mean and squares about it, merged with those before
            float sum = 0, about = 0;
            GPU_FOR (int r = 0; r < ROWS_AT_ONCE; r++) sum += r < valid ? x[r][e] : 0;
            sum /= (float)valid;
            GPU_FOR (int r = 0; r < ROWS_AT_ONCE; r++) about += r < valid ? (x[r][e] - sum) * (x[r][e] - sum) : 0;
            const float apart = sum - mean[e];
            mean[e] += apart * share, squares[e] += about + apart * apart * ((float)count * share);
        }
        count += valid;
    }
    GPU_FOR (int e = 0; e < V; e++) shared[e * LANE_PITCH + (int)threadIdx.x] = make_float2(mean[e], squares[e]);
    __syncthreads();
    // one thread per channel gathers what the lanes have
    const int first = (int)blockIdx.y * b.across * V, lanes = min(b.lanes, rows);
    for (int i = (int)threadIdx.x; i < b.across * V && first + i < p.c; i += ROW_THREADS) {
        const float2 *entry = shared + i % V * LANE_PITCH + i / V; // of lane 0
        float mean = 0, rest = 0, squares = 0;                     // rest: what rounding took from the mean
        for (int lane = 0; lane < lanes; lane++) mean += entry[lane * b.across].x * (float)rows_from(lane, b.lanes, rows, rows);
        mean /= (float)rows;
        for (int lane = 0; lane < lanes; lane++) {
            const float2 m = entry[lane * b.across];
            const float apart = m.x - mean, weight = (float)rows_from(lane, b.lanes, rows, rows);
            rest += apart * weight, squares += m.y + apart * apart * weight;
        }
        rest /= (float)rows;
        p.partial[((size_t)image * (size_t)p.segments + (size_t)segment) * (size_t)p.c + (size_t)(first + i)] =
            make_float2(mean + rest, squares - rest * rest * (float)rows);
    }
}

// The moments of images of many segments, once: every block of norm_apply would read all statistics of its groups.
enum { MANY_SEGMENTS = 64 };
__global__ void __launch_bounds__(NORM_THREADS, 4) norm_moments_kernel(NormParams p, Slices s) {
    gpu::grid_enter();
    const int image = (int)blockIdx.z;
    for_groups(p, s, [&](int group, int member, bool real) {
        const float2 m = group_moments(p, s, image, group, member);
        if (real && member == 0) p.own_moments[(size_t)image * (size_t)p.groups + (size_t)group] = m;
    });
}
// x becomes y.
template <class T, int V> GPU_FN void norm_values(const NormParams &p, const Channels<T, V> &k, float (&v)[V]) {
    enum { FAST = NormType<T>::FAST };
    GPU_FOR (int e = 0; e < V; e++) v[e] = fmaf(k.from_mean(v[e], e), k.factor[e], k.shift[e]);
    if (p.silu) // h + h tanh(h), h = u/2; or u sigmoid(u)
        GPU_FOR (int e = 0; e < V; e++) v[e] = FAST ? fmaf(v[e], gpu::tanh_approx(v[e]), v[e]) : v[e] * sigmoid(v[e]);
}
template <class T, int V> __global__ void __launch_bounds__(NORM_THREADS, 3) norm_apply_kernel(NormParams p, Slices s) {
    gpu::grid_enter();
    DYN_SHARED(memory);
    enum { ROWS = NormType<T>::ROWS };
    float4 *constants = (float4 *)memory;
    NormPlace at = norm_place<V>(p, s);
    const size_t step = (size_t)s.lanes * (size_t)p.c;
    size_t place = element(p, at.image, at.pixel, at.channel);
    HeldRun<T, V> x[ROWS];
    auto fetch = [&](int left) { // the rows from `left` pixels before the end on; where they stand is worked out anew: registers are few
        const Input from(p, at.channel);
        hold_rows(x, from.x, p.x_type, from.element(p, at.image, at.end - left), (size_t)s.lanes * (size_t)from.c, s.lanes, left);
    };
    if (at.active) fetch(at.end - at.pixel);
    slice_constants<V>(constants, p, s, at.image);
    __syncthreads();
    if (!at.active) return;
    const Channels<T, V> k(constants, p, s, at.run);
    for (int left = at.end - at.pixel; left > 0;) {
        GPU_FOR (int r = 0; r < ROWS; r++, place += step) {
            if (r * s.lanes >= left) break;
            float v[V];
            x[r].get(v);
            norm_values<T>(p, k, v);
            x[r].set(v);
            x[r].store(p.y, p.y_type, place);
        }
        left -= ROWS * s.lanes;
        fetch(left);
    }
}
// The same, of which each four pixels become one.
enum { QUADS = (int)NormType<__half>::ROWS / 4 }; // of a thread at once
template <class T, int V> __global__ void __launch_bounds__(NORM_THREADS, 3) norm_pool_kernel(NormParams p, Slices s) {
    gpu::grid_enter();
    DYN_SHARED(memory);
    float4 *constants = (float4 *)memory;
    const NormPlace at = norm_place<V>(p, s, p.pixels / 4);
    HeldRun<T, V> x[QUADS][4];
    auto fetch = [&](int left) { // the fours from `left` outputs before the end on
        const Input from(p, at.channel);
        GPU_FOR (int q = 0; q < QUADS; q++) {
            if (q * s.lanes >= left) break;
            const int pixel = at.end - left + q * s.lanes, line = divide(pixel, p.by_half);
            const size_t first = from.element(p, at.image, 2 * (pixel + line * (p.width / 2)));
            GPU_FOR (int i = 0; i < 4; i++) x[q][i].load(from.x, p.x_type, first + (size_t)(i / 2 * p.width + i % 2) * (size_t)from.c);
        }
    };
    if (at.active) fetch(at.end - at.pixel);
    slice_constants<V>(constants, p, s, at.image);
    __syncthreads();
    if (!at.active) return;
    const Channels<T, V> k(constants, p, s, at.run);
    const size_t step = (size_t)s.lanes * (size_t)p.c;
    size_t place = ((size_t)at.image * (size_t)(p.pixels / 4) + (size_t)at.pixel) * (size_t)p.c + (size_t)at.channel;
    for (int left = at.end - at.pixel; left > 0;) {
        GPU_FOR (int q = 0; q < QUADS; q++, place += step) {
            if (q * s.lanes >= left) break;
            float sum[V];
            GPU_FOR (int i = 0; i < 4; i++) {
                float v[V];
                x[q][i].get(v);
                norm_values<T>(p, k, v);
                GPU_FOR (int e = 0; e < V; e++) sum[e] = i ? sum[e] + v[e] : v[e];
            }
            GPU_FOR (int e = 0; e < V; e++) sum[e] *= p.down;
            x[q][0].set(sum);
            x[q][0].store(p.y, p.y_type, place);
        }
        left -= QUADS * s.lanes;
        fetch(left);
    }
}

// ---- launchers ----------------------------------------------------------------------------------------------------------

// [moments][partial sums, where this op makes any]
extern "C" size_t cuda_norm_workspace(const NormArgs *a) {
    if (a->dy) return norm_bwd_workspace(a);
    const size_t partials = a->stats[0] ? 0 : (size_t)a->n * (size_t)norm_segments(a) * (size_t)a->c;
    return (norm_pairs(a) + partials) * sizeof(float2);
}
int norm_partial(NormParams *p, float2 *partial, cudaStream_t stream) {
    p->stats[0] = p->partial = partial, p->stats_c[0] = p->c;
    const int run = channel_run(*p);
    const RowBlock b = row_block(p->c, run, ROW_THREADS);
    const dim3 grid((unsigned)p->segments, row_columns(b, run), (unsigned)p->n);
    return gpu::launch_dependent(run == 1 ? norm_partial_kernel<1> : norm_partial_kernel<RUN>, grid, dim3(ROW_THREADS), 0, stream, *p, b);
}
extern "C" int cuda_norm(const NormArgs *a, void *stream) {
    static const NormKernel apply[5] = {norm_apply_kernel<__half, RUN>, norm_apply_kernel<__nv_bfloat16, RUN>, norm_apply_kernel<float, 4>,
                                        norm_apply_kernel<Mixed, RUN>, norm_apply_kernel<Mixed, 1>};
    NormParams p = norm_params(a);
    p.own_moments = (float2 *)a->workspace;
    int error = a->stats[0] ? 0 : norm_partial(&p, p.own_moments + norm_pairs(a), (cudaStream_t)stream);
    if (!error && p.segments > MANY_SEGMENTS) {
        const Slices all = slices_of(p, slice_unit(p), NORM_THREADS, p.pixels);
        error = gpu::launch_dependent(norm_moments_kernel, slice_grid(p, all), dim3(NORM_THREADS), 0, (cudaStream_t)stream, p, all);
        p.moments = p.own_moments, p.own_moments = NULL;
    }
    if (error) return error;
    Slices s = slices_of(p, walk_channels(p, norm_rows(p)), NORM_THREADS, 0);
    const int rows = (a->down ? (int)QUADS : norm_rows(p)) * s.lanes, outputs = a->down ? p.pixels / 4 : p.pixels;
    // Long parts read the statistics less often, where that leaves enough blocks; the result is the same.
    s.part = WALKS * rows;
    const size_t enough = (size_t)(BLOCKS_EACH * a->multiprocessors);
    while (s.part > rows && (size_t)p.n * (size_t)(ceil_div(p.c, s.channels) * ceil_div(outputs, s.part)) < enough) s.part /= 2;
    const dim3 grid((unsigned)ceil_div(p.c, s.channels), (unsigned)ceil_div(outputs, s.part), (unsigned)p.n);
    const NormKernel pool = p.y_type == DG_F16 ? norm_pool_kernel<__half, RUN> : norm_pool_kernel<__nv_bfloat16, RUN>;
    return gpu::launch_dependent(a->down ? pool : apply[norm_kernel_of(p)], grid, dim3(NORM_THREADS), (size_t)s.channels * sizeof(float4),
                                 (cudaStream_t)stream, p, s);
}
extern "C" bool cuda_norm_resamples(const NormArgs *a) {
    const NormParams p = norm_params(a);
    return one_type(p) && p.y_type != DG_F32 && a->height % 2 == 0 && a->width % 2 == 0;
}
