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

enum { NORM_THREADS = 128, HELD = 5, TEAM_WARPS = NORM_THREADS / 32 };

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
template <int V> struct Runs {
    int team, member, c, held; // held: the part that is
    float v[HELD][V];

    GPU_FN int parts() const { return (c - 1) / (HELD * team * V) + 1; }
    GPU_FN int channel(int part, int i) const { return ((part * HELD + i) * team + member) * V; }
    GPU_FN void hold(const PixelNormArgs &p, size_t pixel, int part) { // runs past the last are others, and not to be used
        if (part == held) return;
        held = part;
        with_type(p.x, p.x_type, [&](const auto *x) {
            x += pixel;
            GPU_FOR (int i = 0; i < HELD; i++) load_run(v[i], x + min(channel(part, i), c - V));
        });
    }
};

template <int V> __global__ void __launch_bounds__(NORM_THREADS) pixel_norm_kernel(PixelNormArgs p, int team) {
    SHARED(float, of_warp, [3 * TEAM_WARPS]);
    const int pixel = (int)blockIdx.x * (NORM_THREADS / team) + (int)threadIdx.x / team;
    const size_t image = blockIdx.z, c = (size_t)p.c;
    const size_t start = (image * (size_t)p.pixels + (size_t)min(pixel, p.pixels - 1)) * c;
    Runs<V> x;
    x.team = team, x.member = (int)threadIdx.x % team, x.c = p.c, x.held = -1;
    const int parts = x.parts();
    float mean = 0, rest = 0, squares = 0; // rest: what rounding took from the mean
    for (int part = 0; part < parts && !p.rms; part++) {
        x.hold(p, start, part);
        GPU_FOR (int i = 0; i < HELD; i++)
            if (x.channel(part, i) < p.c)
                GPU_FOR (int e = 0; e < V; e++) mean += x.v[i][e];
    }
    mean = team_sum(mean, team, of_warp) / (float)p.c;
    for (int part = parts - 1; part >= 0; part--) { // the last is still held
        x.hold(p, start, part);
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
    rest *= -factor;
    if (pixel >= p.pixels) return;
    const float *scale = p.shift_scale ? p.shift_scale + (2 * image + 1) * c : NULL;
    for (int part = 0; part < parts; part++) {
        x.hold(p, start, part);
        GPU_FOR (int i = 0; i < HELD; i++) {
            const int channel = x.channel(part, i);
            if (channel >= p.c) break;
            float y[V], k[V];
            GPU_FOR (int e = 0; e < V; e++) y[e] = fmaf(x.v[i][e] - mean, factor, rest);
            if (p.gamma) {
                load_run(k, p.gamma + channel);
                GPU_FOR (int e = 0; e < V; e++) y[e] *= k[e];
            }
            if (p.beta) {
                load_run(k, p.beta + channel);
                GPU_FOR (int e = 0; e < V; e++) y[e] += k[e];
            }
            if (scale) {
                load_run(k, scale + channel);
                GPU_FOR (int e = 0; e < V; e++) y[e] = fmaf(y[e], k[e], y[e]);
                load_run(k, scale - c + channel);
                GPU_FOR (int e = 0; e < V; e++) y[e] += k[e];
            }
            store_floats(p.y, p.y_type, start + (size_t)channel, y);
        }
    }
}

// ---- launchers ----------------------------------------------------------------------------------------------------------

extern "C" int cuda_pixel_norm(const PixelNormArgs *a, void *stream) {
    const int run = row_run(a->c), runs = a->c / run;
    int team = 1;
    while (team < NORM_THREADS && team * HELD < runs) team *= 2;
    const dim3 grid((unsigned)blocks_for((size_t)a->pixels, (size_t)(NORM_THREADS / team)), 1, (unsigned)a->n);
    return gpu::launch(run == 1 ? pixel_norm_kernel<1> : pixel_norm_kernel<RUN>, grid, dim3(NORM_THREADS), 0, (cudaStream_t)stream, *a,
                       team);
}
