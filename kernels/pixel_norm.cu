// pixel_norm.cu -- layer norm or RMS norm over the channels of each pixel, with gamma and beta, shift and scale; NHWC.
//   u = (x - mean) / sqrt(var + eps), or x / (sqrt(mean of squares) + eps) with rms;  v = u * gamma + beta;  y = v + v * scale + shift
// Work:   `team` threads (a power of two, at most a block) make a pixel, each HELD runs of its channels, kept in registers: x is read
//         once. Of pixels with more channels than a block holds, the parts are read three times.
// Order:  a thread's values in order, the lanes of a warp in pairs, the warps in order: it depends on c alone. Squares are taken
//         about the mean, and what rounding took from the mean is put back.
// Limits: none on sizes; channels that do not come in whole runs of 8 are handled one by one.
// Speed:  bandwidth bound: floors are the bytes of x and of y, each once, and about 10 operations a value.
#include "kernels/values.h"

// ---- device code ------------------------------------------------------------------------------------------------------

enum { HELD = 5, TEAM_WARPS = ROW_THREADS / 32 };

// The team's threads of this pixel: sums over the team; `of_warp` is not used twice.
GPU_FN float team_sum(float v, int team, float *of_warp) {
    v = warp_sum(v, min(team, 32));
    if (team <= 32) return v;
    const int warp = (int)threadIdx.x / 32, warps = team / 32, first = warp / warps * warps;
    if (threadIdx.x % 32 == 0) of_warp[warp] = v;
    __syncthreads();
    v = 0;
    for (int i = 0; i < warps; i++) v += of_warp[first + i];
    return v;
}
// A thread's runs of one pixel, HELD at a time.
template <int V> struct Pixel {
    const void *x;
    DType type;
    size_t start; // of the pixel
    int team, member, c, held;
    float v[HELD][V];

    GPU_FN int parts() const { return (c - 1) / (HELD * team * V) + 1; }
    GPU_FN int channel(int part, int i) const { return ((part * HELD + i) * team + member) * V; }
    GPU_FN void hold(int part) { // runs past the last are those of channel 0, and not to be used
        if (part == held) return;
        held = part;
        size_t at[HELD];
        GPU_FOR (int i = 0; i < HELD; i++) at[i] = start + (size_t)(channel(part, i) < c ? channel(part, i) : 0);
        if (type == DG_F32) { // one branch for all, so that their loads are in flight together
            GPU_FOR (int i = 0; i < HELD; i++) load_run(v[i], (const float *)x + at[i]);
        } else if (type == DG_F16) {
            GPU_FOR (int i = 0; i < HELD; i++) load_run(v[i], (const __half *)x + at[i]);
        } else {
            GPU_FOR (int i = 0; i < HELD; i++) load_run(v[i], (const __nv_bfloat16 *)x + at[i]);
        }
    }
};

template <int V> __global__ void __launch_bounds__(ROW_THREADS) pixel_norm_kernel(PixelNormArgs p, int team) {
    SHARED(float, of_warp, [3 * TEAM_WARPS]);
    const int pixel = (int)blockIdx.x * (ROW_THREADS / team) + (int)threadIdx.x / team;
    const size_t image = blockIdx.z, c = (size_t)p.c;
    Pixel<V> x;
    x.x = p.x, x.type = p.x_type, x.team = team, x.member = (int)threadIdx.x % team, x.c = p.c, x.held = -1;
    x.start = (image * (size_t)p.pixels + (size_t)min(pixel, p.pixels - 1)) * c;
    const int parts = x.parts();
    float mean = 0, rest = 0, squares = 0; // rest: what rounding took from the mean
    for (int part = 0; part < parts && !p.rms; part++) {
        x.hold(part);
        GPU_FOR (int i = 0; i < HELD; i++)
            if (x.channel(part, i) < p.c)
                GPU_FOR (int e = 0; e < V; e++) mean += x.v[i][e];
    }
    mean = team_sum(mean, team, of_warp) / (float)p.c;
    for (int part = parts - 1; part >= 0; part--) { // the last is still held
        x.hold(part);
        GPU_FOR (int i = 0; i < HELD; i++)
            if (x.channel(part, i) < p.c)
                GPU_FOR (int e = 0; e < V; e++) {
                    const float apart = x.v[i][e] - mean;
                    rest += apart, squares = fmaf(apart, apart, squares);
                }
    }
    rest = p.rms ? 0 : team_sum(rest, team, of_warp + TEAM_WARPS) / (float)p.c;
    squares = team_sum(squares, team, of_warp + 2 * TEAM_WARPS) / (float)p.c - rest * rest;
    const float factor = 1 / (p.rms ? sqrtf(squares) + p.eps : sqrtf(squares + p.eps));
    if (pixel >= p.pixels) return;
    for (int part = 0; part < parts; part++) {
        x.hold(part);
        GPU_FOR (int i = 0; i < HELD; i++) {
            const int channel = x.channel(part, i);
            if (channel >= p.c) break;
            float y[V], k[V];
            GPU_FOR (int e = 0; e < V; e++) y[e] = (x.v[i][e] - mean - rest) * factor;
            if (p.gamma) {
                load_floats(k, p.gamma, DG_F32, (size_t)channel);
                GPU_FOR (int e = 0; e < V; e++) y[e] *= k[e];
            }
            if (p.beta) {
                load_floats(k, p.beta, DG_F32, (size_t)channel);
                GPU_FOR (int e = 0; e < V; e++) y[e] += k[e];
            }
            if (p.shift_scale) {
                load_floats(k, p.shift_scale, DG_F32, (2 * image + 1) * c + (size_t)channel);
                GPU_FOR (int e = 0; e < V; e++) y[e] = fmaf(y[e], k[e], y[e]);
                load_floats(k, p.shift_scale, DG_F32, 2 * image * c + (size_t)channel);
                GPU_FOR (int e = 0; e < V; e++) y[e] += k[e];
            }
            store_floats(p.y, p.y_type, x.start + (size_t)channel, y);
        }
    }
}

// ---- launchers ----------------------------------------------------------------------------------------------------------

extern "C" int cuda_pixel_norm(const PixelNormArgs *a, void *stream) {
    const int run = row_run(a->c), runs = a->c / run;
    int team = 1;
    while (team < ROW_THREADS && team * HELD < runs) team *= 2;
    const dim3 grid((unsigned)blocks_for((size_t)a->pixels, (size_t)(ROW_THREADS / team)), 1, (unsigned)a->n);
    return gpu::launch(run == 1 ? pixel_norm_kernel<1> : pixel_norm_kernel<RUN>, grid, dim3(ROW_THREADS), 0, (cudaStream_t)stream, *a,
                       team);
}
