// pixel_norm.cu -- layer norm or RMS norm over the channels of each pixel, with gamma and beta, shift and scale; NHWC.
//   u = (x - mean) / sqrt(var + eps), or x / (sqrt(mean of squares) + eps) with rms;  v = u * gamma + beta;  y = v + v * scale + shift
// Work:   `team` threads (a power of two, at most a block) make PIXELS pixels, each thread HELD runs of their channels, which it keeps in
//         registers: x is read once, and what all pixels share is read once for PIXELS of them. Of pixels with more channels than a
//         block holds, the parts are read three times.
// Order:  a thread's values in order, the lanes of a warp in pairs, the warps in order: it depends on c alone. Squares are taken
//         about the mean, and what rounding took from the mean is put back.
// Limits: none on sizes; channels that do not come in whole runs of 8 are handled one by one.
// Speed:  bandwidth bound: floors are the bytes of x and of y, each once, and 8 operations a value; 20 loads of 16 bytes a thread are
//         in flight where x is f32.
#include "kernels/values.h"

// ---- device code ------------------------------------------------------------------------------------------------------

enum { NORM_THREADS = 128, HELD = 5, PIXELS = 2, TEAM_WARPS = NORM_THREADS / 32 };

// Sums of a team's threads, one for each of its pixels; `of_warp` is not used twice.
GPU_FN void team_sum(float (&v)[PIXELS], int team, float (*of_warp)[PIXELS]) {
    GPU_FOR (int q = 0; q < PIXELS; q++) v[q] = warp_sum(v[q], min(team, 32));
    if (team <= 32) return;
    const int warp = (int)threadIdx.x / 32, warps = team / 32, first = warp / warps * warps;
    GPU_FOR (int q = 0; q < PIXELS; q++)
        if (threadIdx.x % 32 == 0) of_warp[warp][q] = v[q];
    __syncthreads();
    GPU_FOR (int q = 0; q < PIXELS; q++) v[q] = 0;
    for (int i = 0; i < warps; i++)
        GPU_FOR (int q = 0; q < PIXELS; q++) v[q] += of_warp[first + i][q];
}
// A thread's runs of its pixels, HELD at a time.
template <class X, int V> struct Runs {
    int team, member, c, held; // held: the part that is
    float v[PIXELS][HELD][V];

    GPU_FN int parts() const { return (c - 1) / (HELD * team * V) + 1; }
    GPU_FN int channel(int part, int i) const { return ((part * HELD + i) * team + member) * V; }
    // Whether they had to be read. Runs past the last are others, and not to be used.
    GPU_FN bool hold(const PixelNormArgs &p, const size_t (&pixel)[PIXELS], int part) {
        if (part == held) return false;
        held = part;
        GPU_FOR (int q = 0; q < PIXELS; q++)
            GPU_FOR (int i = 0; i < HELD; i++) load_run(v[q][i], (const X *)p.x + pixel[q] + min(channel(part, i), c - V));
        return true;
    }
    GPU_FN void centre(const float (&mean)[PIXELS]) {
        GPU_FOR (int q = 0; q < PIXELS; q++)
            GPU_FOR (int i = 0; i < HELD; i++)
                GPU_FOR (int e = 0; e < V; e++) v[q][i][e] -= mean[q];
    }
};
// What all pixels of an image share, of a run of channels: y = xhat * factor + offset.
template <int V> GPU_FN void load_affine(float (&factor)[V], float (&offset)[V], const PixelNormArgs &p, size_t image, int channel) {
    GPU_FOR (int e = 0; e < V; e++) factor[e] = 1, offset[e] = 0;
    if (p.gamma) load_run(factor, p.gamma + channel);
    if (p.beta) load_run(offset, p.beta + channel);
    if (!p.shift_scale) return;
    const float *shift_scale = p.shift_scale + 2 * image * (size_t)p.c + (size_t)channel;
    float shift[V], scale[V];
    load_run(shift, shift_scale), load_run(scale, shift_scale + p.c);
    GPU_FOR (int e = 0; e < V; e++)
        factor[e] = fmaf(factor[e], scale[e], factor[e]), offset[e] = fmaf(offset[e], scale[e], offset[e]) + shift[e];
}

template <class X, int V> __global__ void __launch_bounds__(NORM_THREADS) pixel_norm_kernel(PixelNormArgs p, int team) {
    gpu::grid_enter();
    SHARED(float, of_warp, [3][TEAM_WARPS][PIXELS]);
    const int first = ((int)blockIdx.x * (NORM_THREADS / team) + (int)threadIdx.x / team) * PIXELS;
    const size_t image = blockIdx.z;
    size_t start[PIXELS];
    GPU_FOR (int q = 0; q < PIXELS; q++) start[q] = (image * (size_t)p.pixels + (size_t)min(first + q, p.pixels - 1)) * (size_t)p.c;
    Runs<X, V> x;
    x.team = team, x.member = (int)threadIdx.x % team, x.c = p.c, x.held = -1;
    const int parts = x.parts();
    const float share = 1 / (float)p.c;
    float mean[PIXELS] = {}, rest[PIXELS] = {}, squares[PIXELS] = {}; // rest: what rounding took from the mean
    for (int part = 0; part < parts && !p.rms; part++) {
        x.hold(p, start, part);
        GPU_FOR (int i = 0; i < HELD; i++)
            if (x.channel(part, i) < p.c)
                GPU_FOR (int q = 0; q < PIXELS; q++)
                    GPU_FOR (int e = 0; e < V; e++) mean[q] += x.v[q][i][e];
    }
    if (!p.rms) team_sum(mean, team, of_warp[0]);
    GPU_FOR (int q = 0; q < PIXELS; q++) mean[q] *= share;
    for (int part = parts - 1; part >= 0; part--) { // the last is still held
        x.hold(p, start, part);
        x.centre(mean);
        GPU_FOR (int i = 0; i < HELD; i++)
            if (x.channel(part, i) < p.c)
                GPU_FOR (int q = 0; q < PIXELS; q++)
                    GPU_FOR (int e = 0; e < V; e++) rest[q] += x.v[q][i][e], squares[q] = fmaf(x.v[q][i][e], x.v[q][i][e], squares[q]);
    }
    if (!p.rms) team_sum(rest, team, of_warp[1]);
    team_sum(squares, team, of_warp[2]);
    float factor[PIXELS];
    GPU_FOR (int q = 0; q < PIXELS; q++) {
        rest[q] = p.rms ? 0 : rest[q] * share, squares[q] = fmaf(squares[q], share, -rest[q] * rest[q]);
        factor[q] = p.rms ? 1 / (sqrtf(squares[q]) + p.eps) : rsqrtf(squares[q] + p.eps);
        rest[q] *= -factor[q];
    }
    for (int part = 0; part < parts; part++) {
        if (x.hold(p, start, part)) x.centre(mean);
        GPU_FOR (int i = 0; i < HELD; i++) {
            const int channel = x.channel(part, i);
            if (channel >= p.c) break;
            float gain[V], offset[V], y[V];
            load_affine(gain, offset, p, image, channel);
            GPU_FOR (int q = 0; q < PIXELS; q++) {
                if (first + q >= p.pixels) break;
                GPU_FOR (int e = 0; e < V; e++) y[e] = fmaf(fmaf(x.v[q][i][e], factor[q], rest[q]), gain[e], offset[e]);
                store_floats(p.y, p.y_type, start[q] + (size_t)channel, y);
            }
        }
    }
}

// ---- launchers ----------------------------------------------------------------------------------------------------------

extern "C" int cuda_pixel_norm(const PixelNormArgs *a, void *stream) {
    const int run = row_run(a->c), runs = a->c / run;
    int team = 1;
    while (team < NORM_THREADS && team * HELD < runs) team *= 2;
    const dim3 grid((unsigned)blocks_for((size_t)a->pixels, (size_t)(NORM_THREADS / team * PIXELS)), 1, (unsigned)a->n);
    typedef void (*Kernel)(PixelNormArgs, int);
    static const Kernel kernels[3][2] = {{pixel_norm_kernel<float, 1>, pixel_norm_kernel<float, RUN>},
                                         {pixel_norm_kernel<__half, 1>, pixel_norm_kernel<__half, RUN>},
                                         {pixel_norm_kernel<__nv_bfloat16, 1>, pixel_norm_kernel<__nv_bfloat16, RUN>}};
    const Kernel *of_type = kernels[a->x_type == DG_F32 ? 0 : a->x_type == DG_F16 ? 1 : 2];
    return gpu::launch_dependent(of_type[run == RUN], grid, dim3(NORM_THREADS), 0, (cudaStream_t)stream, *a, team);
}
