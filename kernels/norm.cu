// norm.cu -- group norm (+ scale-shift, + silu), forward and input gradient; NHWC.
//   y = act((xhat * gamma + beta) * (1 + s) + t),  xhat = (x - mean) / sqrt(var + eps) over the pixels and channels of a group
//   dx = (g - mean(g) - xhat * mean(g * xhat)) / sqrt(var + eps),  g = dy * act' * (1 + s) * gamma
// Work:   partial statistics: one block per 64 pixels of an image ("segment"), mean and sum of squares about it for every
//         channel; moments: one warp per group merges them; apply: a thread makes 8 rows of a run of 8 channels with 16-byte
//         accesses. The partial pass is left out where the convolution that made x has left its statistics (ConvArgs.stats), the
//         moments as well in a backward pass whose forward pass has left them. The gradient's two means take the same three steps.
// Order:  rows within a thread in fours, lanes of a block in order, segments and channels of a group every 32nd, then the lanes
//         of the warp in pairs: it depends on the shape of one image alone. Sums of squares are always about a mean.
// Limits: none on sizes; channels that do not come in whole runs of 8 are handled one by one.
// Speed:  bandwidth bound: x read twice (once with given statistics), y written once; backward x and dy twice.
#include "kernels/values.h"

// ---- device code ------------------------------------------------------------------------------------------------------

enum { SEGMENT = NORM_SEGMENT, ROWS_AT_ONCE = 4, BACKWARD_ROWS_AT_ONCE = 2, APPLY_ROWS = 8, MOMENT_WARPS = 4 };
enum { LANE_PITCH = ROW_THREADS + 2 }; // of a value's entries in shared memory: no two threads of a warp meet in a bank

struct NormParams {
    const void *x, *dy;
    void *y;
    const float *gamma, *beta, *scale_shift;
    DType x_type, dy_type, y_type;
    int pixels, c, groups, per_group, segments, n;
    float eps;
    bool silu;
    const float2 *stats[2]; // [image][segment][channel]: mean and sum of squares about it
    int stats_c[2];
    const float2 *moments;                  // [image][group]: mean and 1/deviation
    float2 *own_moments, *partial, *slopes; // slopes: [image][group], means of g and of g * xhat
};
GPU_FN size_t element(const NormParams &p, int image, int pixel, int channel) {
    return ((size_t)image * (size_t)p.pixels + (size_t)pixel) * (size_t)p.c + (size_t)channel;
}
// R rows of a run of channels, `apart` pixels from each other; rows past the `valid` ones repeat the last of those.
template <int R, int V>
GPU_FN void load_rows(float (&v)[R][V], const NormParams &p, const void *x, DType type, size_t first, int apart, int valid) {
    size_t at[R];
    GPU_FOR (int r = 0; r < R; r++) at[r] = first + (size_t)(min(r, valid - 1) * apart) * (size_t)p.c;
    if (type == DG_F32) { // one branch for all rows, so that their loads are in flight together
        GPU_FOR (int r = 0; r < R; r++) load_run(v[r], (const float *)x + at[r]);
    } else if (type == DG_F16) {
        GPU_FOR (int r = 0; r < R; r++) load_run(v[r], (const __half *)x + at[r]);
    } else {
        GPU_FOR (int r = 0; r < R; r++) load_run(v[r], (const __nv_bfloat16 *)x + at[r]);
    }
}
// How many of rows first, first + apart, ... lie below `rows`, and at most `most`.
GPU_FN int rows_from(int first, int apart, int rows, int most) { return first < rows ? min((rows - first - 1) / apart + 1, most) : 0; }

// A thread's channels: y = act((x - mean) * factor + shift), xhat = (x - mean) * rstd.
template <int V> struct Channels { float mean[V], rstd[V], factor[V], shift[V]; };
template <int V> GPU_FN Channels<V> channels_at(const NormParams &p, int image, int channel) {
    Channels<V> k;
    float gamma[V], beta[V];
    load_floats(gamma, p.gamma, DG_F32, (size_t)channel);
    load_floats(beta, p.beta, DG_F32, (size_t)channel);
    if (p.scale_shift) {
        const size_t row = (size_t)image * 2 * (size_t)p.c + (size_t)channel;
        GPU_FOR (int e = 0; e < V; e++) {
            const float scale = 1 + p.scale_shift[row + (size_t)e];
            gamma[e] *= scale, beta[e] = beta[e] * scale + p.scale_shift[row + (size_t)(p.c + e)];
        }
    }
    int group = channel / p.per_group, place = channel % p.per_group;
    GPU_FOR (int e = 0; e < V; e++) {
        const float2 m = p.moments[(size_t)image * (size_t)p.groups + (size_t)group];
        k.mean[e] = m.x, k.rstd[e] = m.y, k.factor[e] = m.y * gamma[e], k.shift[e] = beta[e];
        if (++place == p.per_group) place = 0, group++;
    }
    return k;
}
// The end of a partial pass: each lane's threads put their values of a run of channels into `shared`, and one thread per channel
// gathers them.
template <int V> GPU_FN void put_lane(float2 *shared, int e, float a, float b) {
    shared[e * LANE_PITCH + (int)threadIdx.x] = make_float2(a, b);
}
template <int V> GPU_FN float2 get_lane(const float2 *shared, const RowBlock &b, int lane, int i) {
    return shared[i % V * LANE_PITCH + lane * b.across + i / V];
}

template <int V> __global__ void __launch_bounds__(ROW_THREADS) norm_partial_kernel(NormParams p, RowBlock b) {
    SHARED(float2, shared, [V * LANE_PITCH]);
    const RowPlace at = row_place(b, V);
    const int image = (int)blockIdx.z, segment = (int)blockIdx.x, rows = min((int)SEGMENT, p.pixels - segment * SEGMENT);
    float mean[V], squares[V];
    GPU_FOR (int e = 0; e < V; e++) mean[e] = squares[e] = 0;
    int count = 0;
    for (int row = at.lane; at.active && row < rows; row += ROWS_AT_ONCE * b.lanes) {
        const int valid = rows_from(row, b.lanes, rows, ROWS_AT_ONCE);
        float x[ROWS_AT_ONCE][V];
        load_rows(x, p, p.x, p.x_type, element(p, image, segment * SEGMENT + row, at.channel), b.lanes, valid);
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
    GPU_FOR (int e = 0; e < V; e++) put_lane<V>(shared, e, mean[e], squares[e]);
    __syncthreads();
    const int first = (int)blockIdx.y * b.across * V, lanes = min(b.lanes, rows);
    for (int i = (int)threadIdx.x; i < b.across * V && first + i < p.c; i += ROW_THREADS) {
        float mean = 0, rest = 0, squares = 0; // rest: what rounding took from the mean
        for (int lane = 0; lane < lanes; lane++) mean += get_lane<V>(shared, b, lane, i).x * (float)rows_from(lane, b.lanes, rows, rows);
        mean /= (float)rows;
        for (int lane = 0; lane < lanes; lane++) {
            const float2 m = get_lane<V>(shared, b, lane, i);
            const float apart = m.x - mean, weight = (float)rows_from(lane, b.lanes, rows, rows);
            rest += apart * weight, squares += m.y + apart * apart * weight;
        }
        rest /= (float)rows;
        p.partial[((size_t)image * (size_t)p.segments + (size_t)segment) * (size_t)p.c + (size_t)(first + i)] =
            make_float2(mean + rest, squares - rest * rest * (float)rows);
    }
}

// Entry i of a group's partial statistics: all channels of a segment, then the next segment.
GPU_FN float2 group_entry(const NormParams &p, int image, int group, int i, int *rows) {
    const int segment = i / p.per_group;
    int channel = group * p.per_group + i % p.per_group;
    *rows = min((int)SEGMENT, p.pixels - segment * SEGMENT);
    const size_t at = (size_t)image * (size_t)p.segments + (size_t)segment;
    if (channel < p.stats_c[0]) return p.stats[0][at * (size_t)p.stats_c[0] + (size_t)channel];
    return p.stats[1][at * (size_t)p.stats_c[1] + (size_t)(channel - p.stats_c[0])];
}
__global__ void __launch_bounds__(32 * MOMENT_WARPS) norm_moments_kernel(NormParams p) {
    const int lane = (int)threadIdx.x & 31, at = (int)blockIdx.x * MOMENT_WARPS + ((int)threadIdx.x >> 5);
    if (at >= p.n * p.groups) return;
    const int image = at / p.groups, group = at % p.groups, entries = p.segments * p.per_group;
    const float count = (float)p.pixels * (float)p.per_group;
    float sum = 0, rest = 0, about = 0; // rest: what rounding took from the mean
    int rows;
    for (int i = lane; i < entries; i += 32) {
        const float2 m = group_entry(p, image, group, i, &rows);
        sum += m.x * (float)rows;
    }
    const float mean = warp_sum(sum) / count;
    for (int i = lane; i < entries; i += 32) {
        const float2 m = group_entry(p, image, group, i, &rows);
        const float apart = m.x - mean;
        rest += apart * (float)rows, about += m.y + apart * apart * (float)rows;
    }
    rest = warp_sum(rest) / count, about = warp_sum(about) / count - rest * rest;
    if (lane == 0) p.own_moments[at] = make_float2(mean + rest, 1 / sqrtf(about + p.eps));
}

template <int V> __global__ void __launch_bounds__(ROW_THREADS) norm_apply_kernel(NormParams p, RowBlock b) {
    const RowPlace at = row_place(b, V);
    const int image = (int)blockIdx.z, first = (int)blockIdx.x * APPLY_ROWS * b.lanes + at.lane;
    if (!at.active || first >= p.pixels) return;
    const Channels<V> k = channels_at<V>(p, image, at.channel);
    for (int part = 0; part < APPLY_ROWS / ROWS_AT_ONCE; part++) {
        const int pixel = first + part * ROWS_AT_ONCE * b.lanes, valid = rows_from(pixel, b.lanes, p.pixels, ROWS_AT_ONCE);
        if (!valid) return;
        float x[ROWS_AT_ONCE][V];
        load_rows(x, p, p.x, p.x_type, element(p, image, pixel, at.channel), b.lanes, valid);
        GPU_FOR (int r = 0; r < ROWS_AT_ONCE; r++) {
            if (r >= valid) break;
            GPU_FOR (int e = 0; e < V; e++) {
                const float u = (x[r][e] - k.mean[e]) * k.factor[e] + k.shift[e];
                x[r][e] = p.silu ? u * sigmoid(u) : u;
            }
            store_floats(p.y, p.y_type, element(p, image, pixel + r * b.lanes, at.channel), x[r]);
        }
    }
}

// The gradient at xhat's place in the formula, from x (which becomes xhat) and dy (which becomes g).
template <int V> GPU_FN void backward_values(const NormParams &p, const Channels<V> &k, float (&x)[V], float (&d)[V]) {
    GPU_FOR (int e = 0; e < V; e++) {
        const float centred = x[e] - k.mean[e];
        if (p.silu) d[e] *= silu_slope(centred * k.factor[e] + k.shift[e]);
        x[e] = centred * k.rstd[e];
    }
}
// gamma * (1 + s), which backward_values leaves out of g: the same for all rows of a thread.
template <int V> GPU_FN float gain(const Channels<V> &k, int e) { return k.factor[e] / k.rstd[e]; }

template <int V> __global__ void __launch_bounds__(ROW_THREADS) norm_bwd_partial_kernel(NormParams p, RowBlock b) {
    SHARED(float2, shared, [V * LANE_PITCH]);
    const RowPlace at = row_place(b, V);
    const int image = (int)blockIdx.z, segment = (int)blockIdx.x, rows = min((int)SEGMENT, p.pixels - segment * SEGMENT);
    float sum[V], sum_x[V];
    GPU_FOR (int e = 0; e < V; e++) sum[e] = sum_x[e] = 0;
    if (at.active && at.lane < rows) {
        const Channels<V> k = channels_at<V>(p, image, at.channel);
        for (int row = at.lane; row < rows; row += BACKWARD_ROWS_AT_ONCE * b.lanes) {
            const int valid = rows_from(row, b.lanes, rows, BACKWARD_ROWS_AT_ONCE);
            const size_t start = element(p, image, segment * SEGMENT + row, at.channel);
            float x[BACKWARD_ROWS_AT_ONCE][V], d[BACKWARD_ROWS_AT_ONCE][V];
            load_rows(x, p, p.x, p.x_type, start, b.lanes, valid);
            load_rows(d, p, p.dy, p.dy_type, start, b.lanes, valid);
            GPU_FOR (int r = 0; r < BACKWARD_ROWS_AT_ONCE; r++) {
                if (r >= valid) break;
                backward_values(p, k, x[r], d[r]);
                GPU_FOR (int e = 0; e < V; e++) sum[e] += d[r][e], sum_x[e] += d[r][e] * x[r][e];
            }
        }
        GPU_FOR (int e = 0; e < V; e++) sum[e] *= gain(k, e), sum_x[e] *= gain(k, e);
    }
    GPU_FOR (int e = 0; e < V; e++) put_lane<V>(shared, e, sum[e], sum_x[e]);
    __syncthreads();
    const int first = (int)blockIdx.y * b.across * V;
    for (int i = (int)threadIdx.x; i < b.across * V && first + i < p.c; i += ROW_THREADS) {
        float2 all = make_float2(0, 0);
        for (int lane = 0; lane < min(b.lanes, rows); lane++) {
            const float2 m = get_lane<V>(shared, b, lane, i);
            all.x += m.x, all.y += m.y;
        }
        p.partial[((size_t)image * (size_t)p.segments + (size_t)segment) * (size_t)p.c + (size_t)(first + i)] = all;
    }
}
__global__ void __launch_bounds__(32 * MOMENT_WARPS) norm_bwd_slopes_kernel(NormParams p) {
    const int lane = (int)threadIdx.x & 31, at = (int)blockIdx.x * MOMENT_WARPS + ((int)threadIdx.x >> 5);
    if (at >= p.n * p.groups) return;
    const int image = at / p.groups, group = at % p.groups, entries = p.segments * p.per_group;
    const float count = (float)p.pixels * (float)p.per_group;
    float sum = 0, sum_x = 0;
    for (int i = lane; i < entries; i += 32) {
        const size_t row = (size_t)image * (size_t)p.segments + (size_t)(i / p.per_group);
        const float2 m = p.partial[row * (size_t)p.c + (size_t)(group * p.per_group + i % p.per_group)];
        sum += m.x, sum_x += m.y;
    }
    sum = warp_sum(sum), sum_x = warp_sum(sum_x);
    if (lane == 0) p.slopes[at] = make_float2(sum / count, sum_x / count);
}
template <int V> __global__ void __launch_bounds__(ROW_THREADS) norm_bwd_apply_kernel(NormParams p, RowBlock b) {
    const RowPlace at = row_place(b, V);
    const int image = (int)blockIdx.z, first = (int)blockIdx.x * APPLY_ROWS * b.lanes + at.lane;
    if (!at.active || first >= p.pixels) return;
    const Channels<V> k = channels_at<V>(p, image, at.channel);
    float mean[V], mean_x[V]; // times rstd
    int group = at.channel / p.per_group, place = at.channel % p.per_group;
    GPU_FOR (int e = 0; e < V; e++) {
        const float2 m = p.slopes[(size_t)image * (size_t)p.groups + (size_t)group];
        mean[e] = m.x * k.rstd[e], mean_x[e] = m.y * k.rstd[e];
        if (++place == p.per_group) place = 0, group++;
    }
    for (int part = 0; part < APPLY_ROWS / BACKWARD_ROWS_AT_ONCE; part++) {
        const int pixel = first + part * BACKWARD_ROWS_AT_ONCE * b.lanes;
        const int valid = rows_from(pixel, b.lanes, p.pixels, BACKWARD_ROWS_AT_ONCE);
        if (!valid) return;
        const size_t start = element(p, image, pixel, at.channel);
        float x[BACKWARD_ROWS_AT_ONCE][V], d[BACKWARD_ROWS_AT_ONCE][V];
        load_rows(x, p, p.x, p.x_type, start, b.lanes, valid);
        load_rows(d, p, p.dy, p.dy_type, start, b.lanes, valid);
        GPU_FOR (int r = 0; r < BACKWARD_ROWS_AT_ONCE; r++) {
            if (r >= valid) break;
            backward_values(p, k, x[r], d[r]);
            GPU_FOR (int e = 0; e < V; e++) d[r][e] = d[r][e] * k.factor[e] - mean[e] - x[r][e] * mean_x[e];
            store_floats(p.y, p.y_type, element(p, image, pixel + r * b.lanes, at.channel), d[r]);
        }
    }
}

// ---- launchers ----------------------------------------------------------------------------------------------------------

static int segments_of(const NormArgs *a) { return ceil_div(a->height * a->width, SEGMENT); }
static size_t pairs_of(const NormArgs *a) { return (size_t)a->n * (size_t)a->groups; }

// [moments][backward: slopes][partial sums, where this op makes any]
extern "C" size_t cuda_norm_workspace(const NormArgs *a) {
    const bool partial = a->dy || !a->stats[0];
    const size_t partials = partial ? (size_t)a->n * (size_t)segments_of(a) * (size_t)a->c : 0;
    return ((a->dy ? 2 : 1) * pairs_of(a) + partials) * sizeof(float2);
}
static NormParams norm_params(const NormArgs *a) {
    NormParams p = {};
    p.x = a->x, p.dy = a->dy, p.y = a->y, p.gamma = a->gamma, p.beta = a->beta, p.scale_shift = a->scale_shift;
    p.x_type = a->x_type, p.dy_type = a->dy_type, p.y_type = a->y_type;
    p.pixels = a->height * a->width, p.c = a->c, p.groups = a->groups, p.per_group = a->c / a->groups, p.segments = segments_of(a),
    p.n = a->n;
    p.eps = a->eps, p.silu = a->silu;
    p.own_moments = (float2 *)a->workspace, p.slopes = p.own_moments + pairs_of(a), p.partial = p.slopes + (a->dy ? pairs_of(a) : 0);
    p.moments = a->moments ? (const float2 *)a->moments : p.own_moments;
    p.stats[0] = p.partial, p.stats_c[0] = a->c;
    if (a->stats[0])
        for (int i = 0; i < 2; i++) p.stats[i] = (const float2 *)a->stats[i], p.stats_c[i] = a->stats_c[i];
    return p;
}
struct NormGrid { // of every kernel
    int run;
    RowBlock block;
    dim3 segments, rows, groups;
};
static NormGrid norm_grid(const NormParams &p) {
    NormGrid g;
    g.run = row_run(p.c), g.block = row_block(p.c, g.run, ROW_THREADS);
    const unsigned columns = row_columns(g.block, g.run);
    g.segments = dim3((unsigned)p.segments, columns, (unsigned)p.n);
    g.rows = dim3((unsigned)ceil_div(p.pixels, APPLY_ROWS * g.block.lanes), columns, (unsigned)p.n);
    g.groups = dim3((unsigned)ceil_div(p.n * p.groups, MOMENT_WARPS));
    return g;
}
typedef void (*RowKernel)(NormParams, RowBlock);
static int launch_rows(RowKernel ones, RowKernel eights, const NormGrid &g, dim3 grid, cudaStream_t stream, const NormParams &p) {
    return gpu::launch(g.run == 1 ? ones : eights, grid, dim3(ROW_THREADS), 0, stream, p, g.block);
}
static int launch_moments(const NormArgs *a, const NormGrid &g, cudaStream_t stream, const NormParams &p) {
    int error = 0;
    if (!a->stats[0]) error = launch_rows(norm_partial_kernel<1>, norm_partial_kernel<8>, g, g.segments, stream, p);
    return error ? error : gpu::launch(norm_moments_kernel, g.groups, dim3(32 * MOMENT_WARPS), 0, stream, p);
}
extern "C" int cuda_norm(const NormArgs *a, void *stream) {
    const NormParams p = norm_params(a);
    const NormGrid g = norm_grid(p);
    const cudaStream_t s = (cudaStream_t)stream;
    const int error = launch_moments(a, g, s, p);
    return error ? error : launch_rows(norm_apply_kernel<1>, norm_apply_kernel<8>, g, g.rows, s, p);
}
extern "C" int cuda_norm_bwd(const NormArgs *a, void *stream) {
    const NormParams p = norm_params(a);
    const NormGrid g = norm_grid(p);
    const cudaStream_t s = (cudaStream_t)stream;
    int error = a->moments ? 0 : launch_moments(a, g, s, p);
    if (!error) error = launch_rows(norm_bwd_partial_kernel<1>, norm_bwd_partial_kernel<8>, g, g.segments, s, p);
    if (!error) error = gpu::launch(norm_bwd_slopes_kernel, g.groups, dim3(32 * MOMENT_WARPS), 0, s, p);
    return error ? error : launch_rows(norm_bwd_apply_kernel<1>, norm_bwd_apply_kernel<8>, g, g.rows, s, p);
}
