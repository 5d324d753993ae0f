// norm_slices.h -- what the kernels of norm.cu and norm_bwd.cu share: how an image is dealt to blocks, runs of channels held as they
// are stored, and the sums over groups that every block makes for itself.
// Work:   a block makes a slice of an image's channels, whole groups where they fit, of a part of its pixels. Its threads stand
//         `across` side by side, a run of V channels each, `lanes` rows deep. A group's partial sums are added by a team of
//         neighbouring threads, a power of two and at most a warp; what follows for its channels goes through shared memory.
// Order:  a member's channels in order, the rows of each in order, then the team in pairs: by the shape of one image alone.
#ifndef DG_NORM_SLICES_H
#define DG_NORM_SLICES_H
#include "kernels/values.h"

enum { SEGMENT = NORM_SEGMENT, NORM_THREADS = 256, ACROSS_BITS = 20 };
enum { PAD = 2 }; // entries of shared memory, so that no two threads of a warp meet in a bank

struct NormParams {
    const void *x, *more, *dy, *add; // more: of x's channels those from x_c on, or NULL: x has them all; add: to the gradient, or NULL
    void *y;
    const float *gamma, *beta, *scale_shift;
    DType x_type, dy_type, add_type, y_type;
    int pixels, c, x_c, groups, per_group, segments, parts, n; // parts: as `segments`, of the gradient's sums
    int width;                                                 // of an image
    Divider by_width, by_half;                                 // by_half: by the width of an image that is half as large
    float eps, share, down, up;                                // share: 1 / values of a group; down, up: as in NormArgs
    bool silu;
    const float2 *stats[2]; // [image][segment][channel]: mean and sum of squares about it
    int stats_c[2];
    const float2 *moments; // [image][group]: mean and 1/deviation; NULL: to be made of `stats`
    float2 *own_moments;   // as `moments`; NULL: they need not be kept
    float2 *partial;       // [image][segment or part][channel]: those of `stats`, or sums of g and of g * xhat
};
struct Slices {
    int channels, groups;         // of a slice; groups: at most so many have channels in it
    int across, lanes, of_across; // of_across: 2^ACROSS_BITS / across, rounded up
    int part;                     // pixels of a block
    int team_bits, side_bits;     // of a team of 2^team_bits threads, 2^side_bits stand side by side, for channels of a group
    int teams;                    // of a block
    int sums, pitch;              // of a channel in shared memory: entries, one a lane or one a warp; from a channel's to the next one's
    bool whole;                   // slices are whole groups
};

// ---- runs of V channels as they are stored -----------------------------------------------------------------------------------------
struct Mixed {}; // tensors of several types, or channels in no whole runs: the types are known at run time
// FAST: values of 16 bits. SiLU may use tanh to 2^-11: with h half of its argument, h (1 + tanh h) is then off by |h| 2^-11 at most.
// That bound is absolute: of the result it is about 2^-12 at large positive arguments, but far more at negative ones, where the
// result itself is small. And the values' mean is not so far from 0, in units of their deviation, that f32 needed differences from it.
// ROWS: of a thread at once, so that 8 loads of 16 bytes are in flight.
template <class T> struct NormType {
    enum { FAST = sizeof(T) == 2, ROWS = 8 };
};
template <> struct NormType<Mixed> {
    enum { FAST = false, ROWS = 2 };
};
enum { RUN_BYTES = 16 }; // of a thread in one row, where all tensors have one type
template <class H2> GPU_FN uint32_t bits_of(H2 pair) {
    uint32_t word;
    memcpy(&word, &pair, sizeof word);
    return word;
}
GPU_FN uint32_t word_of(const __half *, const float *v) { return bits_of(__floats2half2_rn(v[0], v[1])); }
GPU_FN uint32_t word_of(const __nv_bfloat16 *, const float *v) { return bits_of(__floats2bfloat162_rn(v[0], v[1])); }
GPU_FN uint32_t word_of(const float *, const float *v) { return __float_as_uint(*v); }
template <class T, int V> struct HeldRun {
    static_assert(V * sizeof(T) == RUN_BYTES, "one access");
    uint4 w;

    GPU_FN void load(const void *x, DType, size_t i) { w = *(const uint4 *)((const T *)x + i); }
    GPU_FN void store(void *y, DType, size_t i) const { gpu::store16((T *)y + i, w); }
    GPU_FN void get(float (&v)[V]) const {
        T e[V];
        memcpy(e, &w, sizeof e);
        GPU_FOR (int k = 0; k < V; k++) v[k] = (float)e[k];
    }
    GPU_FN void set(const float (&v)[V]) {
        uint32_t word[RUN_BYTES / 4];
        GPU_FOR (int k = 0; k < V; k += (int)(4 / sizeof(T))) word[k * (int)sizeof(T) / 4] = word_of((T *)NULL, v + k);
        memcpy(&w, word, sizeof w);
    }
};
template <int V> struct HeldRun<Mixed, V> {
    float w[V];

    GPU_FN void load(const void *x, DType type, size_t i) { load_floats(w, x, type, i); }
    GPU_FN void store(void *y, DType type, size_t i) const { store_floats(y, type, i, w); }
    GPU_FN void get(float (&v)[V]) const {
        GPU_FOR (int k = 0; k < V; k++) v[k] = w[k];
    }
    GPU_FN void set(const float (&v)[V]) {
        GPU_FOR (int k = 0; k < V; k++) w[k] = v[k];
    }
};
// R rows, `lanes` pixels and `step` elements from each other, of which those below `left` pixels from the first exist.
template <class T, int V, int R>
GPU_FN void hold_rows(HeldRun<T, V> (&h)[R], const void *x, DType type, size_t first, size_t step, int lanes, int left) {
    GPU_FOR (int r = 0; r < R; r++, first += step)
        if (r * lanes < left) h[r].load(x, type, first);
}

// ---- a thread's place --------------------------------------------------------------------------------------------------------------
struct NormPlace {
    int image, run, lane, channel, pixel, end; // pixel: the thread's first of the block's part, which ends before `end`
    bool active;
};
template <int V> GPU_FN NormPlace norm_place(const NormParams &p, const Slices &s, int pixels) {
    const int t = (int)threadIdx.x, lane = t * s.of_across >> ACROSS_BITS, run = t - lane * s.across;
    const int channel = (int)blockIdx.x * s.channels + run * V, first = (int)blockIdx.y * s.part;
    return {(int)blockIdx.z, run, lane, channel, first + lane, min(first + s.part, pixels), lane < s.lanes && channel < p.c};
}
template <int V> GPU_FN NormPlace norm_place(const NormParams &p, const Slices &s) { return norm_place<V>(p, s, p.pixels); }
// Where a channel of the norm's input stands: it may have two tensors.
struct Input {
    const void *x;
    int c, channel; // of that tensor

    GPU_FN Input(const NormParams &p, int at) {
        const bool more = at >= p.x_c;
        x = more ? p.more : p.x, c = more ? p.c - p.x_c : p.x_c, channel = more ? at - p.x_c : at;
    }
    GPU_FN size_t element(const NormParams &p, int image, int pixel) const {
        return ((size_t)image * (size_t)p.pixels + (size_t)pixel) * (size_t)c + (size_t)channel;
    }
};
GPU_FN size_t element(const NormParams &p, int image, int pixel, int channel) {
    return ((size_t)image * (size_t)p.pixels + (size_t)pixel) * (size_t)p.c + (size_t)channel;
}
// The place of a pixel's value in an image that is half as large.
GPU_FN size_t half_element(const NormParams &p, const NormPlace &at, int pixel) {
    const int line = divide(pixel, p.by_width), half = (line >> 1) * (p.width >> 1) + ((pixel - line * p.width) >> 1);
    return ((size_t)at.image * (size_t)(p.pixels >> 2) + (size_t)half) * (size_t)p.c + (size_t)at.channel;
}

// ---- sums over groups --------------------------------------------------------------------------------------------------------------
// Calls f(group, member, real) for every group that the slice touches, by whole teams and whole warps; teams of the last warp beyond
// the last group get that one, not real.
template <class F> GPU_FN void for_groups(const NormParams &p, const Slices &s, const F &f) {
    const int first = s.whole ? (int)blockIdx.x * s.groups : (int)blockIdx.x * s.channels / p.per_group;
    const int groups = min(s.groups, p.groups - first), member = (int)threadIdx.x & ((1 << s.team_bits) - 1);
    const int team = (int)threadIdx.x >> s.team_bits;
    const int of_warp = __shfl_sync(~0u, team, 0); // its first; by a shuffle, so that the compiler knows all lanes to agree
    for (int g = 0; g + of_warp < groups; g += s.teams) f(first + min(g + team, groups - 1), member, g + team < groups);
}
// Calls f(i, first, step) for a member's share of a group's entries: rows first, first + step, ... of the group's channel i.
template <class F> GPU_FN void for_entries(const NormParams &p, const Slices &s, int member, const F &f) {
    for (int i = member & ((1 << s.side_bits) - 1); i < p.per_group; i += 1 << s.side_bits)
        f(i, member >> s.side_bits, 1 << (s.team_bits - s.side_bits));
}
// The sums over a team, in all of its members.
GPU_FN float2 team_sum(float2 v, const Slices &s) {
    for (int apart = 1 << s.team_bits >> 1; apart; apart >>= 1)
        v.x += __shfl_xor_sync(~0u, v.x, apart), v.y += __shfl_xor_sync(~0u, v.y, apart);
    return v;
}
// Of a channel in an image: `rows` pairs, `apart` from each other.
struct Column {
    const float2 *at;
    size_t apart;
};
GPU_FN Column stats_column(const NormParams &p, int image, int channel) { // of all channels, or of the first and of the rest
    const int i = channel >= p.stats_c[0], c = p.stats_c[i];
    return {p.stats[i] + (size_t)image * (size_t)p.segments * (size_t)c + (size_t)(channel - i * p.stats_c[0]), (size_t)c};
}
// Mean and 1/deviation of a group, in all of its team.
GPU_FN float2 group_moments(const NormParams &p, const Slices &s, int image, int group, int member) {
    if (p.moments) return p.moments[(size_t)image * (size_t)p.groups + (size_t)group];
    const int last = p.segments - 1;
    const float rows = (float)SEGMENT, of_last = (float)(p.pixels - last * SEGMENT);
    float2 sum = make_float2(0, 0), about = sum; // about.x: what rounding took from the mean
    for_entries(p, s, member, [&](int i, int first, int step) {
        const Column c = stats_column(p, image, group * p.per_group + i);
        for (int k = first; k <= last; k += step) sum.x = fmaf(c.at[(size_t)k * c.apart].x, k < last ? rows : of_last, sum.x);
    });
    const float mean = team_sum(sum, s).x * p.share;
    for_entries(p, s, member, [&](int i, int first, int step) {
        const Column c = stats_column(p, image, group * p.per_group + i);
        for (int k = first; k <= last; k += step) {
            const float2 m = c.at[(size_t)k * c.apart];
            const float apart = m.x - mean, weighed = apart * (k < last ? rows : of_last);
            about.x += weighed, about.y += fmaf(apart, weighed, m.y);
        }
    });
    about = team_sum(about, s), about.x *= p.share;
    return make_float2(mean + about.x, rsqrtf(fmaf(about.y, p.share, p.eps) - about.x * about.x));
}
// Where a channel of the slice, counted from its first, lies in an array of shared memory: threads side by side read neighbours.
template <int V> GPU_FN int slice_entry(const Slices &s, int channel) { return channel % V * s.across + channel / V; }
// Calls f(channel, entry) for a member's share of a group's channels in this slice.
template <int V, class F> GPU_FN void for_channels(const NormParams &p, const Slices &s, int group, int member, const F &f) {
    const int first = (int)blockIdx.x * s.channels, last = min(first + s.channels, p.c);
    for (int i = member; i < p.per_group; i += 1 << s.team_bits) {
        const int channel = group * p.per_group + i;
        if (channel >= first && channel < last) f(channel, slice_entry<V>(s, channel - first));
    }
}
// What every channel of the slice needs: (mean, gain, factor, shift) of y = act((x - mean) * factor + shift), factor = gain / deviation.
template <int V>
GPU_FN void put_constants(float4 *constants, const NormParams &p, const Slices &s, int image, int group, int member, float2 m) {
    for_channels<V>(p, s, group, member, [&](int channel, int entry) {
        float gamma = p.gamma[channel], beta = p.beta[channel];
        if (p.scale_shift) {
            const float *row = p.scale_shift + (size_t)image * 2 * (size_t)p.c + (size_t)channel, scale = 1 + row[0];
            gamma *= scale, beta = beta * scale + row[p.c];
        }
        constants[entry] = make_float4(m.x, gamma, m.y * gamma, beta);
    });
}
// The moments of the slice's groups: kept where somebody wants them, and made into its channels' constants.
template <int V> GPU_FN void slice_constants(float4 *constants, const NormParams &p, const Slices &s, int image) {
    for_groups(p, s, [&](int group, int member, bool real) {
        const float2 m = group_moments(p, s, image, group, member);
        if (!real) return;
        if (p.own_moments && member == 0 && blockIdx.y == 0 && group * p.per_group >= (int)blockIdx.x * s.channels)
            p.own_moments[(size_t)image * (size_t)p.groups + (size_t)group] = m;
        put_constants<V>(constants, p, s, image, group, member, m);
    });
}

// A thread's channels: u = from_mean(x) * factor + shift. With SiLU by tanh, factor and shift are halves: part.
template <class T> GPU_FN float silu_part(const NormParams &p) { return NormType<T>::FAST && p.silu ? .5f : 1; }
template <class T, int V> struct Channels {
    float mean[V], factor[V], shift[V];

    GPU_FN Channels(const float4 *constants, const NormParams &p, const Slices &s, int run) {
        GPU_FOR (int e = 0; e < V; e++) {
            const float4 k = constants[e * s.across + run];
            const float part = silu_part<T>(p);
            mean[e] = k.x, factor[e] = k.z * part, shift[e] = k.w * part;
            if (NormType<T>::FAST) shift[e] = fmaf(-k.x, factor[e], shift[e]);
        }
    }
    GPU_FN float from_mean(float x, int e) const { return NormType<T>::FAST ? x : x - mean[e]; }
};

// ---- launchers ---------------------------------------------------------------------------------------------------------------------
inline size_t norm_pairs(const NormArgs *a) { return (size_t)a->n * (size_t)a->groups; }
inline int norm_segments(const NormArgs *a) { return ceil_div(a->height * a->width, SEGMENT); }
inline NormParams norm_params(const NormArgs *a) {
    NormParams p = {};
    p.x = a->x, p.more = a->more, p.x_c = a->more ? a->x_c : a->c, p.dy = a->dy, p.y = a->y, p.gamma = a->gamma, p.beta = a->beta,
    p.add = a->add, p.scale_shift = a->scale_shift;
    p.x_type = a->x_type, p.dy_type = a->dy ? a->dy_type : a->y_type, p.add_type = a->add ? a->add_type : a->y_type, p.y_type = a->y_type;
    p.pixels = a->height * a->width, p.c = a->c, p.groups = a->groups, p.per_group = a->c / a->groups, p.segments = norm_segments(a);
    p.n = a->n, p.eps = a->eps, p.silu = a->silu, p.share = (float)(1 / ((double)p.pixels * p.per_group));
    p.moments = (const float2 *)a->moments, p.down = a->down, p.up = a->up;
    p.width = a->width, p.by_width = divider(a->width), p.by_half = divider(a->width > 1 ? a->width / 2 : 1);
    for (int i = 0; i < 2; i++) p.stats[i] = (const float2 *)a->stats[i], p.stats_c[i] = a->stats_c[i];
    return p;
}
inline int channel_run(const NormParams &p) { return p.x_c % RUN ? 1 : row_run(p.c); } // where no run meets the seam of two tensors
inline bool one_type(const NormParams &p) {
    return channel_run(p) == RUN && p.x_type == p.y_type && p.dy_type == p.y_type && p.add_type == p.y_type;
}
inline int norm_bytes(const NormParams &p) { return one_type(p) && p.y_type != DG_F32 ? 2 : 4; }              // of an element
inline int norm_run(const NormParams &p) { return one_type(p) ? RUN_BYTES / norm_bytes(p) : channel_run(p); } // V
inline int norm_rows(const NormParams &p) { return one_type(p) ? (int)NormType<float>::ROWS : (int)NormType<Mixed>::ROWS; }
// The least channels that are whole groups and whole runs.
inline int slice_unit(const NormParams &p) {
    int unit = p.per_group;
    while (unit % norm_run(p)) unit += p.per_group;
    return unit;
}
// Slices of `channels` channels for blocks of `threads`; teams as large as all groups of a slice at once allow.
inline Slices slices_of(const NormParams &p, int channels, int threads, int part) {
    Slices s = {};
    s.channels = channels, s.across = channels / norm_run(p), s.lanes = threads / s.across, s.part = part;
    s.of_across = ((1 << ACROSS_BITS) + s.across - 1) / s.across;
    s.whole = channels % p.per_group == 0, s.groups = s.whole ? channels / p.per_group : (channels - 1) / p.per_group + 2;
    while (s.team_bits < 5 && s.groups << (s.team_bits + 1) <= threads) s.team_bits++;
    s.teams = threads >> s.team_bits, s.sums = s.lanes, s.pitch = threads + PAD;
    while (s.side_bits < s.team_bits && 1 << s.side_bits < p.per_group) s.side_bits++;
    return s;
}
// Where the lanes of a run lie as far apart in all warps, each warp adds them up by itself: less shared memory.
inline Slices folded(Slices s, int threads) {
    if (s.across < 32 && (s.across & (s.across - 1)) == 0) s.sums = threads / 32, s.pitch = s.sums * s.across + PAD;
    return s;
}
// Slices for kernels that walk over an image: pieces of rows of whole 128-byte lines, and more where the image has fewer rows than a
// thread takes at once.
inline int walk_channels(const NormParams &p, int rows) {
    const int unit = slice_unit(p), units = p.c / unit, run = norm_run(p), most = NORM_THREADS * run;
    if (unit > most) return most;
    int channels = unit;
    for (int k = 1; k <= units && k * unit <= most; k++) {
        if (units % k) continue;
        channels = k * unit;
        if (channels * norm_bytes(p) >= 128 && p.pixels >= rows * (NORM_THREADS / (channels / run))) break;
    }
    return channels;
}
inline dim3 slice_grid(const NormParams &p, const Slices &s) {
    return dim3((unsigned)ceil_div(p.c, s.channels), (unsigned)ceil_div(p.pixels, s.part), (unsigned)p.n);
}
typedef void (*NormKernel)(NormParams, Slices);
// The kernel for these tensors, of five: all f16, all bf16, all f32, mixed in whole runs, mixed.
inline int norm_kernel_of(const NormParams &p) {
    if (!one_type(p)) return channel_run(p) == RUN ? 3 : 4;
    return p.y_type == DG_F16 ? 0 : p.y_type == DG_BF16 ? 1 : 2;
}
size_t norm_bwd_workspace(const NormArgs *a);
int norm_partial(NormParams *p, float2 *partial, cudaStream_t stream); // makes `stats`
#endif
