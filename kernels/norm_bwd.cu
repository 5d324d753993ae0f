// norm_bwd.cu -- the input gradient of group norm (norm.cu):
//   dx = (g - mean(g) - xhat * mean(g * xhat)) / sqrt(var + eps),  g = dy * act' * (1 + s) * gamma,  means over a group
// Work:   where a slice of whole groups fits the registers of a block (2048 values of x in 16 bits a warp), one kernel holds x and
//         dy as they are stored, makes both sums of every group and then dx. Larger images take two: sums by channel of a part of
//         the pixels, and a pass that adds them up in every block as norm_apply_kernel does with its statistics.
// Order:  rows of a thread in order; lanes and channels of a group, or parts and channels, as norm_slices.h says: by the shape alone.
// Limits: none on sizes; channels that do not come in whole runs of 8 are handled one by one.
// Speed:  bandwidth bound: x and dy read once and dx written once; twice and once where the two kernels are needed. act' is made
//         twice: its 9 operations cost less than registers for it would.
#include "kernels/norm_slices.h"

// ---- device code ------------------------------------------------------------------------------------------------------

enum { WHOLE_THREADS = 512, WHOLE_SHARED = 48 * 1024, WALKS = 4 };
template <class T> GPU_FN constexpr int rows_of_two() { return NormType<T>::ROWS / 2; } // x and dy together are 8 loads

// silu'(2 h) = (1 + t) (1 + h (1 - t)) / 2, t = tanh(h): twice that
GPU_FN float twice_slope(float h) {
    const float t = gpu::tanh_approx(h);
    return (1 + t) * fmaf(-h, t, h + 1);
}
// x becomes from_mean(x), and dy the gradient at y's place in the formula, without gain and what silu_part says.
template <class T, int P> GPU_FN void backward_values(const NormParams &p, const Channels<T, P> &k, float (&x)[P], float (&d)[P]) {
    GPU_FOR (int e = 0; e < P; e++) x[e] = k.from_mean(x[e], e);
    if (!p.silu) return;
    GPU_FOR (int e = 0; e < P; e++) {
        const float u = fmaf(x[e], k.factor[e], k.shift[e]);
        d[e] *= NormType<T>::FAST ? twice_slope(u) : silu_slope(u);
    }
}
// P of a thread's channels, from `first` on: the sums over its rows.
template <int P> struct Sums { float g[P], g_x[P]; };
template <class T, int V, int P, int R>
GPU_FN void add_rows(Sums<P> &sum, const NormParams &p, const Channels<T, P> &k, const HeldRun<T, V> (&x)[R], const HeldRun<T, V> (&d)[R],
                     int first, int lanes, int left) {
    GPU_FOR (int r = 0; r < R; r++) {
        if (r * lanes >= left) break;
        float xv[P], dv[P];
        x[r].get(xv, first), d[r].get(dv, first);
        backward_values<T>(p, k, xv, dv);
        GPU_FOR (int e = 0; e < P; e++) sum.g[e] += dv[e], sum.g_x[e] = fmaf(dv[e], xv[e], sum.g_x[e]);
    }
}
// As sums of g and of g * xhat, where others read them.
template <class T, int P>
GPU_FN void put_sums(float2 *entries, const float4 *constants, const NormParams &p, const Slices &s, int run, int first,
                     const Channels<T, P> &k, const Sums<P> &sum) {
    GPU_FOR (int e = 0; e < P; e++) {
        const float4 c = constants[(first + e) * s.across + run];
        const float g_x = NormType<T>::FAST ? fmaf(-c.x, sum.g[e], sum.g_x[e]) : sum.g_x[e];
        entries[(first + e) * s.pitch + (int)threadIdx.x] = make_float2(sum.g[e] * c.y * silu_part<T>(p), g_x * k.factor[e]);
    }
}
// slopes[entry]: dx = g * factor - from_mean(x) * .y - .x, of the sums that the members of a team have found for the channel's group.
template <class T, int V>
GPU_FN void put_slopes(float2 *slopes, const NormParams &p, const Slices &s, int group, int member, bool real, float2 sum) {
    const float2 of = group_moments(p, s, (int)blockIdx.z, group, member);
    sum = team_sum(sum, s);
    if (!real) return;
    float2 m = make_float2(sum.x * p.share * of.y, sum.y * p.share * of.y * of.y);
    if (NormType<T>::FAST) m.x = fmaf(-of.x, m.y, m.x);
    for_channels<V>(p, s, group, member, [&](int, int entry) { slopes[entry] = m; });
}
// The rows of x become dx.
template <class T, int V, int P, int R>
GPU_FN void make_rows(HeldRun<T, V> (&x)[R], const NormParams &p, const Slices &s, const Channels<T, P> &k, const float2 *slopes,
                      const HeldRun<T, V> (&d)[R], int run, int first, int left) {
    float2 slope[P];
    GPU_FOR (int e = 0; e < P; e++) slope[e] = slopes[(first + e) * s.across + run];
    GPU_FOR (int r = 0; r < R; r++) {
        if (r * s.lanes >= left) break;
        float xv[P], dv[P];
        x[r].get(xv, first), d[r].get(dv, first);
        backward_values<T>(p, k, xv, dv);
        GPU_FOR (int e = 0; e < P; e++) dv[e] = fmaf(-xv[e], slope[e].y, fmaf(dv[e], k.factor[e], -slope[e].x));
        x[r].set(dv, first);
    }
}
template <class T, int V, int R>
GPU_FN void write_rows(const NormParams &p, const HeldRun<T, V> (&x)[R], size_t first, size_t step, int lanes, int left) {
    GPU_FOR (int r = 0; r < R; r++, first += step)
        if (r * lanes < left) x[r].store(p.y, p.y_type, first);
}

template <class T, int V> __global__ void __launch_bounds__(WHOLE_THREADS, 1) norm_bwd_whole_kernel(NormParams p, Slices s) {
    DYN_SHARED(memory);
    enum { ROWS = NormType<T>::ROWS, PART = V < 4 ? V : 4 }; // PART: channels at once; more do not leave the registers for rows
    float4 *constants = (float4 *)memory;
    float2 *slopes = (float2 *)(constants + s.channels), *entries = slopes + s.channels;
    const NormPlace at = norm_place<V>(p, s);
    const size_t step = (size_t)s.lanes * (size_t)p.c, place = element(p, at.image, at.pixel, at.channel);
    const int left = at.active ? at.end - at.pixel : 0;
    HeldRun<T, V> x[ROWS], d[ROWS];
    hold_rows(x, p.x, p.x_type, place, step, s.lanes, left);
    hold_rows(d, p.dy, p.dy_type, place, step, s.lanes, left);
    slice_constants<V>(constants, p, s, at.image);
    __syncthreads();
    const int run = at.active ? at.run : 0;
    GPU_FOR (int first = 0; first < V; first += PART) {
        const Channels<T, PART> k(constants, p, s, run, first);
        Sums<PART> sum = {};
        add_rows(sum, p, k, x, d, first, s.lanes, left);
        put_sums(entries, constants, p, s, run, first, k, sum);
    }
    GPU_FOR (int r = 0; r < ROWS; r++) x[r].forget(), d[r].forget();
    __syncthreads();
    for_groups(p, s, [&](int group, int member, bool real) {
        const int first = group * p.per_group - (int)blockIdx.x * s.channels;
        float2 sum = make_float2(0, 0);
        for_entries(p, s, member, [&](int i, int lane, int step) {
            const float2 *entry = entries + (first + i) % V * s.pitch + (first + i) / V;
            for (; lane < s.lanes; lane += step) sum.x += entry[lane * s.across].x, sum.y += entry[lane * s.across].y;
        });
        put_slopes<T, V>(slopes, p, s, group, member, real, sum);
    });
    __syncthreads();
    GPU_FOR (int first = 0; first < V; first += PART)
        make_rows(x, p, s, Channels<T, PART>(constants, p, s, run, first), slopes, d, run, first, left);
    write_rows(p, x, place, step, s.lanes, left);
}

// The sums of g and of g * xhat of a part of the pixels, by channel.
template <class T, int V> __global__ void __launch_bounds__(NORM_THREADS, 2) norm_bwd_partial_kernel(NormParams p, Slices s) {
    DYN_SHARED(memory);
    enum { ROWS = rows_of_two<T>() };
    float4 *constants = (float4 *)memory;
    float2 *entries = (float2 *)(constants + s.channels);
    const NormPlace at = norm_place<V>(p, s);
    const size_t step = (size_t)s.lanes * (size_t)p.c;
    size_t place = element(p, at.image, at.pixel, at.channel);
    int left = at.active ? at.end - at.pixel : 0;
    HeldRun<T, V> x[ROWS], d[ROWS];
    hold_rows(x, p.x, p.x_type, place, step, s.lanes, left);
    hold_rows(d, p.dy, p.dy_type, place, step, s.lanes, left);
    slice_constants<V>(constants, p, s, at.image);
    __syncthreads();
    const int run = at.active ? at.run : 0;
    const Channels<T, V> k(constants, p, s, run, 0);
    Sums<V> sum = {};
    while (left > 0) {
        add_rows(sum, p, k, x, d, 0, s.lanes, left);
        left -= ROWS * s.lanes, place += ROWS * step;
        hold_rows(x, p.x, p.x_type, place, step, s.lanes, left);
        hold_rows(d, p.dy, p.dy_type, place, step, s.lanes, left);
    }
    put_sums(entries, constants, p, s, run, 0, k, sum);
    __syncthreads();
    const int first = (int)blockIdx.x * s.channels;
    for (int i = (int)threadIdx.x; i < s.channels && first + i < p.c; i += NORM_THREADS) {
        const float2 *entry = entries + i % V * s.pitch + i / V; // of lane 0
        float2 all = make_float2(0, 0);
        for (int lane = 0; lane < s.lanes; lane++) all.x += entry[lane * s.across].x, all.y += entry[lane * s.across].y;
        p.partial[((size_t)at.image * (size_t)p.parts + (size_t)blockIdx.y) * (size_t)p.c + (size_t)(first + i)] = all;
    }
}
template <class T, int V> __global__ void __launch_bounds__(NORM_THREADS, 2) norm_bwd_apply_kernel(NormParams p, Slices s) {
    DYN_SHARED(memory);
    enum { ROWS = rows_of_two<T>() };
    float4 *constants = (float4 *)memory;
    float2 *slopes = (float2 *)(constants + s.channels);
    const NormPlace at = norm_place<V>(p, s);
    const size_t step = (size_t)s.lanes * (size_t)p.c;
    size_t place = element(p, at.image, at.pixel, at.channel);
    int left = at.active ? at.end - at.pixel : 0;
    HeldRun<T, V> x[ROWS], d[ROWS];
    hold_rows(x, p.x, p.x_type, place, step, s.lanes, left);
    hold_rows(d, p.dy, p.dy_type, place, step, s.lanes, left);
    slice_constants<V>(constants, p, s, at.image);
    for_groups(p, s, [&](int group, int member, bool real) {
        float2 sum = make_float2(0, 0);
        for_entries(p, s, member, [&](int i, int part, int step) {
            const float2 *entry = p.partial + (size_t)at.image * (size_t)p.parts * (size_t)p.c + (size_t)(group * p.per_group + i);
            for (; part < p.parts; part += step) sum.x += entry[(size_t)part * p.c].x, sum.y += entry[(size_t)part * p.c].y;
        });
        put_slopes<T, V>(slopes, p, s, group, member, real, sum);
    });
    __syncthreads();
    const int run = at.active ? at.run : 0;
    const Channels<T, V> k(constants, p, s, run, 0);
    while (left > 0) {
        make_rows(x, p, s, k, slopes, d, run, 0, left);
        write_rows(p, x, place, step, s.lanes, left);
        left -= ROWS * s.lanes, place += ROWS * step;
        hold_rows(x, p.x, p.x_type, place, step, s.lanes, left);
        hold_rows(d, p.dy, p.dy_type, place, step, s.lanes, left);
    }
}

// ---- launchers ----------------------------------------------------------------------------------------------------------

static size_t whole_shared(int channels, int threads) {
    return (size_t)channels * (sizeof(float4) + sizeof(float2)) + (size_t)(RUN * (threads + PAD)) * sizeof(float2);
}
// The most channels of whole groups that so many threads hold of an image, its shared memory too; 0: there are none.
static int whole_channels(const NormParams &p, int threads) {
    const int unit = slice_unit(p), units = p.c / unit, run = norm_run(p), rows = norm_rows(p);
    int found = 0;
    for (int k = 1; k <= units && k * unit <= threads * run && whole_shared(k * unit, threads) <= WHOLE_SHARED; k++)
        if (units % k == 0 && p.pixels <= rows * (threads / (k * unit / run))) found = k * unit;
    return found;
}
struct BackwardPlan {
    bool whole;
    int threads; // of `whole`
    Slices s;    // of whole images, or of the sums by parts
};
static BackwardPlan backward_plan(const NormParams &p) {
    // Two blocks of 256 threads a multiprocessor are better than one of 512, unless they read less than 32 bytes at once.
    for (int threads = NORM_THREADS; threads <= WHOLE_THREADS; threads *= 2) {
        const int channels = whole_channels(p, threads);
        if (channels && (threads == WHOLE_THREADS || channels * norm_bytes(p) >= 32))
            return {true, threads, slices_of(p, channels, threads, p.pixels)};
    }
    const int rows = norm_rows(p) / 2;
    Slices s = slices_of(p, walk_channels(p, rows), NORM_THREADS, 0);
    s.part = WALKS * rows * s.lanes; // whatever the batch: sums are made by parts
    return {false, 0, s};
}
// [statistics, where nobody has left any][sums by parts, where x does not fit a block]
static size_t stats_pairs(const NormArgs *a) { return a->stats[0] ? 0 : (size_t)a->n * (size_t)norm_segments(a) * (size_t)a->c; }
size_t norm_bwd_workspace(const NormArgs *a) {
    const NormParams p = norm_params(a);
    const BackwardPlan plan = backward_plan(p);
    const size_t parts = plan.whole ? 0 : (size_t)ceil_div(p.pixels, plan.s.part);
    return (stats_pairs(a) + (size_t)p.n * parts * (size_t)p.c) * sizeof(float2);
}
extern "C" int cuda_norm_bwd(const NormArgs *a, void *stream) {
    static const NormKernel whole[5] = {norm_bwd_whole_kernel<__half, RUN>, norm_bwd_whole_kernel<__nv_bfloat16, RUN>,
                                        norm_bwd_whole_kernel<float, 4>, norm_bwd_whole_kernel<Mixed, RUN>,
                                        norm_bwd_whole_kernel<Mixed, 1>};
    static const NormKernel partial[5] = {norm_bwd_partial_kernel<__half, RUN>, norm_bwd_partial_kernel<__nv_bfloat16, RUN>,
                                          norm_bwd_partial_kernel<float, 4>, norm_bwd_partial_kernel<Mixed, RUN>,
                                          norm_bwd_partial_kernel<Mixed, 1>};
    static const NormKernel apply[5] = {norm_bwd_apply_kernel<__half, RUN>, norm_bwd_apply_kernel<__nv_bfloat16, RUN>,
                                        norm_bwd_apply_kernel<float, 4>, norm_bwd_apply_kernel<Mixed, RUN>,
                                        norm_bwd_apply_kernel<Mixed, 1>};
    NormParams p = norm_params(a);
    const BackwardPlan plan = backward_plan(p);
    const Slices &s = plan.s;
    const cudaStream_t to = (cudaStream_t)stream;
    int error = a->moments || a->stats[0] ? 0 : norm_partial(&p, (float2 *)a->workspace, to);
    if (error) return error;
    if (plan.whole)
        return gpu::launch(norm_kernel(p, whole), slice_grid(p, s), dim3((unsigned)plan.threads), whole_shared(s.channels, plan.threads),
                           to, p, s);
    p.partial = (float2 *)a->workspace + stats_pairs(a), p.parts = ceil_div(p.pixels, s.part);
    const size_t constants = (size_t)s.channels * sizeof(float4), entries = (size_t)(RUN * (NORM_THREADS + PAD)) * sizeof(float2);
    error = gpu::launch(norm_kernel(p, partial), slice_grid(p, s), dim3(NORM_THREADS), constants + entries, to, p, s);
    return error ? error
                 : gpu::launch(norm_kernel(p, apply), slice_grid(p, s), dim3(NORM_THREADS), constants + (size_t)s.channels * sizeof(float2),
                               to, p, s);
}
