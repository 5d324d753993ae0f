// norm_bwd.cu -- the input gradient of group norm (norm.cu):
//   dx = (g - mean(g) - xhat * mean(g * xhat)) / sqrt(var + eps) + add,  g = dy * act' * (1 + s) * gamma,  means over a group
// Work:   where a slice of whole groups of x and dy fits a block's shared memory (32x32 pixels of 16 channels in 16 bits), one kernel
//         copies both there, makes both sums of every group while the rows come, and then dx. Larger images take two: sums by channel of a part of the
//         pixels, and a pass that adds them up in every block as norm_apply_kernel does with its statistics.
// Order:  rows of a thread in order; lanes and channels of a group, or parts and channels, as norm_slices.h says: by the shape alone.
// Limits: none on sizes; channels that do not come in whole runs of 8 are handled one by one.
// Speed:  bandwidth bound: x and dy read once and dx written once; twice and once where the two kernels are needed. act' is made
//         twice: kept in 16 bits it would be rounded once more.
#include "kernels/norm_slices.h"

// ---- device code ------------------------------------------------------------------------------------------------------

enum { WHOLE_THREADS = 256, WALKS = 4, ADDED_ROWS = 4, COPIES = 4 }; // COPIES: parts of a thread's rows that it waits for one by one
// What all GPUs have for a block, and what lets three share a multiprocessor of 228 KB: while one waits for its loads, others compute.
enum { WHOLE_SHARED = 99 * 1024, THIRD_SHARED = 75 * 1024 };
template <class T> GPU_FN constexpr int rows_of_two() { return NormType<T>::ROWS / 2; } // x and dy together are 8 loads

// silu'(2 h) = (1 + t) (1 + h (1 - t)) / 2, t = tanh(h): twice that
GPU_FN float twice_slope(float h) {
    const float t = gpu::tanh_approx(h);
    return (1 + t) * fmaf(-h, t, h + 1);
}
// x becomes from_mean(x), and dy the gradient at y's place in the formula, without gain and what silu_part says.
template <class T, int V> GPU_FN void backward_values(const NormParams &p, const Channels<T, V> &k, float (&x)[V], float (&d)[V]) {
    GPU_FOR (int e = 0; e < V; e++) x[e] = k.from_mean(x[e], e);
    if (!p.silu) return;
    GPU_FOR (int e = 0; e < V; e++) {
        const float u = fmaf(x[e], k.factor[e], k.shift[e]);
        d[e] *= NormType<T>::FAST ? twice_slope(u) : silu_slope(u);
    }
}
// dy, or what is added, where it is stored at half the size.
template <bool HALF, int V> GPU_FN void scale_half(float (&v)[V], float up) {
    if (HALF)
        GPU_FOR (int e = 0; e < V; e++) v[e] *= up;
}
// Rows of such a tensor as hold_rows takes them: from `pixel` on, `lanes` pixels from each other.
template <bool HALF, class T, int V, int R>
GPU_FN void hold_gradient(HeldRun<T, V> (&h)[R], const void *from, DType type, const NormParams &p, const NormPlace &at, int pixel,
                          size_t first, size_t step, int lanes, int left, int apart) {
    if (!HALF) hold_rows(h, from, type, first, step, lanes, left);
    else
        GPU_FOR (int r = 0; r < R; r++)
            if (r * lanes < left) h[r].load(from, type, half_element(p, at, pixel + r * apart));
}
// Of a thread's channels, over its rows.
template <int V> struct Sums { float g[V], g_x[V]; };
template <bool HALF, class T, int V>
GPU_FN void add_row(Sums<V> &sum, const NormParams &p, const Channels<T, V> &k, const HeldRun<T, V> &x, const HeldRun<T, V> &d) {
    float xv[V], dv[V];
    x.get(xv), d.get(dv);
    scale_half<HALF>(dv, p.up);
    backward_values<T>(p, k, xv, dv);
    GPU_FOR (int e = 0; e < V; e++) sum.g[e] += dv[e], sum.g_x[e] = fmaf(dv[e], xv[e], sum.g_x[e]);
}
// As sums of g and of g * xhat, where others read them. By all threads of a block whose lanes are folded.
template <class T, int V>
GPU_FN void put_sums(float2 *entries, const float4 *constants, const NormParams &p, const Slices &s, int run, const Channels<T, V> &k,
                     Sums<V> &sum) {
    int entry = (int)threadIdx.x;
    bool mine = true;
    if (s.sums != s.lanes) { // the lanes of this warp, by the first of them
        for (int apart = s.across; apart < 32; apart <<= 1)
            GPU_FOR (int e = 0; e < V; e++) {
                sum.g[e] += __shfl_xor_sync(~0u, sum.g[e], apart);
                sum.g_x[e] += __shfl_xor_sync(~0u, sum.g_x[e], apart);
            }
        mine = (entry & 31) < s.across, entry = (entry >> 5) * s.across + run;
    }
    if (!mine) return;
    GPU_FOR (int e = 0; e < V; e++) {
        const float4 c = constants[e * s.across + run];
        const float g_x = NormType<T>::FAST ? fmaf(-c.x, sum.g[e], sum.g_x[e]) : sum.g_x[e];
        entries[e * s.pitch + entry] = make_float2(sum.g[e] * c.y * silu_part<T>(p), g_x * k.factor[e]);
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
template <int V> struct Slopes {
    float2 of[V];

    GPU_FN Slopes(const float2 *slopes, const Slices &s, int run) {
        GPU_FOR (int e = 0; e < V; e++) of[e] = slopes[e * s.across + run];
    }
};
// x becomes dx: plus `add`, where there is any.
template <bool HALF, class T, int V>
GPU_FN void make_row(HeldRun<T, V> &x, const NormParams &p, const Channels<T, V> &k, const Slopes<V> &slope, const HeldRun<T, V> &d,
                     const HeldRun<T, V> &add) {
    float xv[V], dv[V];
    x.get(xv), d.get(dv);
    scale_half<HALF>(dv, p.up);
    backward_values<T>(p, k, xv, dv);
    GPU_FOR (int e = 0; e < V; e++) dv[e] = fmaf(-xv[e], slope.of[e].y, fmaf(dv[e], k.factor[e], -slope.of[e].x));
    if (p.add) {
        add.get(xv);
        scale_half<HALF>(xv, p.up);
        GPU_FOR (int e = 0; e < V; e++) dv[e] += xv[e];
    }
    x.set(dv);
}

// A thread's run of a row in shared memory, x or dy: as it is stored, or as floats where types are mixed.
template <class T, int V> struct Kept {
    enum { BYTES = RUN_BYTES };
    static GPU_FN void copy(uint8_t *to, const void *from, DType, size_t i) { gpu::cp_async16(gpu::smem_u32(to), (const T *)from + i); }
    static GPU_FN HeldRun<T, V> get(const uint8_t *at) {
        HeldRun<T, V> h;
        h.w = *(const uint4 *)at;
        return h;
    }
};
template <int V> struct Kept<Mixed, V> {
    enum { BYTES = V * (int)sizeof(float) };
    static GPU_FN void copy(uint8_t *to, const void *from, DType type, size_t i) {
        HeldRun<Mixed, V> h;
        h.load(from, type, i);
        memcpy(to, h.w, sizeof h.w);
    }
    static GPU_FN HeldRun<Mixed, V> get(const uint8_t *at) {
        HeldRun<Mixed, V> h;
        memcpy(h.w, at, sizeof h.w);
        return h;
    }
};
GPU_FN void wait_for_all_but(int copies) {
    if (copies == 3) gpu::cp_async_wait<3>();
    else if (copies == 2) gpu::cp_async_wait<2>();
    else if (copies == 1) gpu::cp_async_wait<1>();
    else gpu::cp_async_wait<0>();
}
template <class T, int V, bool HALF>
__global__ void __launch_bounds__(WHOLE_THREADS, NormType<T>::ROWS == 8 ? 3 : 1) norm_bwd_whole_kernel(NormParams p, Slices s) {
    gpu::grid_enter();
    DYN_SHARED(memory);
    typedef Kept<T, V> Run;
    enum { ROW = WHOLE_THREADS * Run::BYTES, ADDED = HALF ? ADDED_ROWS / 2 : ADDED_ROWS }; // HALF: registers go into addresses
    float4 *constants = (float4 *)memory;
    float2 *slopes = (float2 *)(constants + s.channels), *entries = slopes + s.channels;
    uint8_t *kept = (uint8_t *)(entries + V * s.pitch) + threadIdx.x * Run::BYTES; // x and dy of a thread's first row, then of the next
    const NormPlace at = norm_place<V>(p, s);
    const size_t step = (size_t)s.lanes * (size_t)p.c;
    size_t place = element(p, at.image, at.pixel, at.channel);
    const int rows = at.active && at.pixel < p.pixels ? (p.pixels - at.pixel - 1) / s.lanes + 1 : 0;
    slice_constants<V>(constants, p, s, at.image); // first: behind the copies it would wait for them all
    const int part = (rows + COPIES - 1) / COPIES;
    for (int first = 0, r = 0; first < COPIES * part; first += part, gpu::cp_async_commit())
        for (; r < min(first + part, rows); r++, place += step) {
            Run::copy(kept + 2 * r * ROW, p.x, p.x_type, place);
            Run::copy(kept + (2 * r + 1) * ROW, p.dy, p.dy_type, HALF ? half_element(p, at, at.pixel + r * s.lanes) : place);
        }
    __syncthreads();
    const int run = at.active ? at.run : 0;
    const Channels<T, V> k(constants, p, s, run);
    Sums<V> sum = {};
#pragma unroll 1
    for (int r = 0, later = COPIES; r < rows;) { // while the rest comes; each thread reads what it has copied itself
        wait_for_all_but(--later);
        for (const int end = min(r + part, rows); r < end; r++)
            add_row<HALF>(sum, p, k, Run::get(kept + 2 * r * ROW), Run::get(kept + (2 * r + 1) * ROW));
    }
    put_sums(entries, constants, p, s, run, k, sum);
    __syncthreads();
    for_groups(p, s, [&](int group, int member, bool real) {
        const int first = group * p.per_group - (int)blockIdx.x * s.channels;
        float2 sum = make_float2(0, 0);
        for_entries(p, s, member, [&](int i, int lane, int step) {
            const float2 *entry = entries + (first + i) % V * s.pitch + (first + i) / V;
#pragma unroll 4
            for (; lane < s.sums; lane += step) sum.x += entry[lane * s.across].x, sum.y += entry[lane * s.across].y;
        });
        put_slopes<T, V>(slopes, p, s, group, member, real, sum);
    });
    __syncthreads();
    const Slopes<V> slope(slopes, s, run);
    place -= (size_t)rows * step;
#pragma unroll 1
    for (int r = 0; r < rows; r += ADDED) {
        HeldRun<T, V> add[ADDED];
        if (p.add) hold_gradient<HALF>(add, p.add, p.add_type, p, at, at.pixel + r * s.lanes, place, step, 1, rows - r, s.lanes);
        GPU_FOR (int i = 0; i < ADDED; i++, place += step) {
            if (r + i >= rows) break;
            HeldRun<T, V> x = Run::get(kept + 2 * (r + i) * ROW);
            make_row<HALF>(x, p, k, slope, Run::get(kept + (2 * (r + i) + 1) * ROW), add[i]);
            x.store(p.y, p.y_type, place);
        }
    }
}

// The sums of g and of g * xhat of a part of the pixels, by channel.
template <class T, int V, bool HALF> __global__ void __launch_bounds__(NORM_THREADS, 2) norm_bwd_partial_kernel(NormParams p, Slices s) {
    gpu::grid_enter();
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
    hold_gradient<HALF>(d, p.dy, p.dy_type, p, at, at.end - left, place, step, s.lanes, left, s.lanes);
    slice_constants<V>(constants, p, s, at.image);
    __syncthreads();
    const int run = at.active ? at.run : 0;
    const Channels<T, V> k(constants, p, s, run);
    Sums<V> sum = {};
    while (left > 0) {
        GPU_FOR (int r = 0; r < ROWS; r++)
            if (r * s.lanes < left) add_row<HALF>(sum, p, k, x[r], d[r]);
        left -= ROWS * s.lanes, place += ROWS * step;
        hold_rows(x, p.x, p.x_type, place, step, s.lanes, left);
        hold_gradient<HALF>(d, p.dy, p.dy_type, p, at, at.end - left, place, step, s.lanes, left, s.lanes);
    }
    put_sums(entries, constants, p, s, run, k, sum);
    __syncthreads();
    const int first = (int)blockIdx.x * s.channels;
    for (int i = (int)threadIdx.x; i < s.channels && first + i < p.c; i += NORM_THREADS) {
        const float2 *entry = entries + i % V * s.pitch + i / V; // of lane 0
        float2 all = make_float2(0, 0);
        for (int lane = 0; lane < s.lanes; lane++) all.x += entry[lane * s.across].x, all.y += entry[lane * s.across].y;
        p.partial[((size_t)at.image * (size_t)p.parts + (size_t)blockIdx.y) * (size_t)p.c + (size_t)(first + i)] = all;
    }
}
template <class T, int V, bool HALF> __global__ void __launch_bounds__(NORM_THREADS, 2) norm_bwd_apply_kernel(NormParams p, Slices s) {
    gpu::grid_enter();
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
    hold_gradient<HALF>(d, p.dy, p.dy_type, p, at, at.end - left, place, step, s.lanes, left, s.lanes);
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
    const Channels<T, V> k(constants, p, s, run);
    const Slopes<V> slope(slopes, s, run);
    while (left > 0) {
        HeldRun<T, V> add[ROWS];
        if (p.add) hold_gradient<HALF>(add, p.add, p.add_type, p, at, at.end - left, place, step, s.lanes, left, s.lanes);
        GPU_FOR (int r = 0; r < ROWS; r++, place += step) {
            if (r * s.lanes >= left) break;
            make_row<HALF>(x[r], p, k, slope, d[r], add[r]);
            x[r].store(p.y, p.y_type, place);
        }
        left -= ROWS * s.lanes;
        hold_rows(x, p.x, p.x_type, place, step, s.lanes, left);
        hold_gradient<HALF>(d, p.dy, p.dy_type, p, at, at.end - left, place, step, s.lanes, left, s.lanes);
    }
}

// ---- launchers ----------------------------------------------------------------------------------------------------------

static Slices whole_slices(const NormParams &p, int channels) {
    return folded(slices_of(p, channels, WHOLE_THREADS, p.pixels), WHOLE_THREADS);
}
static size_t whole_shared(const NormParams &p, const Slices &s) {
    const size_t run = (size_t)(one_type(p) ? (int)RUN_BYTES : norm_run(p) * (int)sizeof(float));
    return (size_t)s.channels * (sizeof(float4) + sizeof(float2)) + (size_t)(norm_run(p) * s.pitch) * sizeof(float2) +
           2 * (size_t)ceil_div(p.pixels, s.lanes) * (size_t)WHOLE_THREADS * run;
}
// The most channels of whole groups that a block keeps of a whole image in a third of a multiprocessor, or the least in more; 0: there
// are none.
static int whole_channels(const NormParams &p) {
    const int unit = slice_unit(p), units = p.c / unit;
    int found = 0;
    for (int k = 1; k <= units && k * unit <= WHOLE_THREADS * norm_run(p); k++)
        if (units % k == 0 && whole_shared(p, whole_slices(p, k * unit)) <= (size_t)(found ? THIRD_SHARED : WHOLE_SHARED)) found = k * unit;
    return found;
}
struct BackwardPlan {
    bool whole;
    Slices s; // of whole images, or of the sums by parts
};
static BackwardPlan backward_plan(const NormParams &p) {
    const int channels = whole_channels(p), rows = norm_rows(p) / 2;
    if (channels) return {true, whole_slices(p, channels)};
    Slices s = slices_of(p, walk_channels(p, rows), NORM_THREADS, 0);
    s.part = WALKS * rows * s.lanes; // whatever the batch: sums are made by parts
    return {false, s};
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
    // of NormKernel's five, and two that read gradients at half the size
    static const NormKernel whole[7] = {norm_bwd_whole_kernel<__half, RUN, false>,      norm_bwd_whole_kernel<__nv_bfloat16, RUN, false>,
                                        norm_bwd_whole_kernel<float, 4, false>,         norm_bwd_whole_kernel<Mixed, RUN, false>,
                                        norm_bwd_whole_kernel<Mixed, 1, false>,         norm_bwd_whole_kernel<__half, RUN, true>,
                                        norm_bwd_whole_kernel<__nv_bfloat16, RUN, true>};
    static const NormKernel partial[7] = {
        norm_bwd_partial_kernel<__half, RUN, false>,      norm_bwd_partial_kernel<__nv_bfloat16, RUN, false>,
        norm_bwd_partial_kernel<float, 4, false>,         norm_bwd_partial_kernel<Mixed, RUN, false>,
        norm_bwd_partial_kernel<Mixed, 1, false>,         norm_bwd_partial_kernel<__half, RUN, true>,
        norm_bwd_partial_kernel<__nv_bfloat16, RUN, true>};
    static const NormKernel apply[7] = {norm_bwd_apply_kernel<__half, RUN, false>,      norm_bwd_apply_kernel<__nv_bfloat16, RUN, false>,
                                        norm_bwd_apply_kernel<float, 4, false>,         norm_bwd_apply_kernel<Mixed, RUN, false>,
                                        norm_bwd_apply_kernel<Mixed, 1, false>,         norm_bwd_apply_kernel<__half, RUN, true>,
                                        norm_bwd_apply_kernel<__nv_bfloat16, RUN, true>};
    NormParams p = norm_params(a);
    const BackwardPlan plan = backward_plan(p);
    const Slices &s = plan.s;
    const int which = a->up ? 5 + (p.y_type == DG_BF16) : norm_kernel_of(p);
    const cudaStream_t to = (cudaStream_t)stream;
    int error = a->moments || a->stats[0] ? 0 : norm_partial(&p, (float2 *)a->workspace, to);
    if (error) return error;
    if (plan.whole) return gpu::launch_dependent(whole[which], slice_grid(p, s), dim3(WHOLE_THREADS), whole_shared(p, s), to, p, s);
    p.partial = (float2 *)a->workspace + stats_pairs(a), p.parts = ceil_div(p.pixels, s.part);
    const size_t constants = (size_t)s.channels * sizeof(float4), entries = (size_t)(RUN * (NORM_THREADS + PAD)) * sizeof(float2);
    error = gpu::launch_dependent(partial[which], slice_grid(p, s), dim3(NORM_THREADS), constants + entries, to, p, s);
    return error ? error
                 : gpu::launch_dependent(apply[which], slice_grid(p, s), dim3(NORM_THREADS),
                                         constants + (size_t)s.channels * sizeof(float2), to, p, s);
}
