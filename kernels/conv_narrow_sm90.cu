// conv_narrow_sm90.cu -- convolutions into few channels on Hopper, in f16 and bf16: a network's last layer, the first one's gradient.
// Work:   a block walks over an image, or over a part of its lines: 128 pixels of x at a time come by TMA, and wgmma multiplies each by the
//         weights of all taps at once; a column is an output channel and a tap. Of these products, kept in shared memory for as many pixels
//         as a filter reaches over, an output pixel adds up those of its taps. One warp loads, four multiply and add.
// Order:  channels in order within a tap, then taps in order: it depends on neither the batch nor how an image is cut.
// Speed:  x is read once: bandwidth bound. As a product of whole tiles (conv_mma.h) it is read and multiplied by zeros once a tap.
// Limits: conv_narrow_takes.
#include "kernels/conv_epilogue.h"
#include "kernels/conv_narrow_sm90.h"
#include "kernels/gpu_prims_sm90.h"

// ---- device code ------------------------------------------------------------------------------------------------------

enum { PIXELS = 128, HALF = 64, DEPTH = 64, ROW_BYTES = 128, STAGES = 4, STAGE_BYTES = PIXELS * ROW_BYTES }; // DEPTH: channels of a step
enum { CONSUMERS = 128, CONSUMER_WARPS = 4, THREADS = CONSUMERS + 32, PAD = 4 };
enum { MOST_CHANNELS = 8 }; // of an output pixel, fewer than that

struct NarrowParams {
    void *y;
    Epilogue end;
    int height, width, filter_height, filter_width, top, left, taps;
    int chunks;             // steps of a pixel's channels
    int lines, parts, jobs; // lines of an image that a block makes at once, such parts of an image, of all images
    int back, ahead;        // pixels from an output's to the first that it reads, and to the last
    int ring;               // pixels whose products are kept: whole steps
    Divider by_width, by_ring;
};
// Shared memory: weights of all steps, COLUMNS rows each; stages of x; products [column][pixel of the ring]; barriers. Of a column's
// products neighbours of a fragment lie in banks of their own, for rows of the ring are PAD longer than whole steps.
template <int COLUMNS> struct NarrowTile {
    enum { WEIGHT_BYTES = COLUMNS * ROW_BYTES };
    GPU_FN static int stages(const NarrowParams &p) { return p.chunks * WEIGHT_BYTES; }
    GPU_FN static int products(const NarrowParams &p) { return stages(p) + STAGES * STAGE_BYTES; }
    GPU_FN static int barriers(const NarrowParams &p) { return products(p) + COLUMNS * (p.ring + PAD) * (int)sizeof(float); }
    static size_t bytes(const NarrowParams &p) { return (size_t)barriers(p) + (2 * STAGES + 1) * sizeof(uint64_t); }
};
struct Job {                                // pixels of an image, and the row of its first one in y
    int image_row, begin, end, first, last; // begin, end: outputs; first, last: of x, that they read
};
GPU_FN Job job_of(const NarrowParams &p, int job) {
    const int image = job / p.parts, line = job % p.parts * p.lines, rest = p.height - line, end = line + (rest < p.lines ? rest : p.lines);
    const int from = line - p.top, to = end + p.filter_height - 1 - p.top;
    Job j;
    j.image_row = image * p.height * p.width;
    j.begin = line * p.width, j.end = end * p.width;
    j.first = from < 0 ? 0 : from * p.width, j.last = (to < p.height ? to : p.height) * p.width;
    return j;
}
struct Steps { // which stage is next, and the phase of its barriers that ends with what is waited for
    int stage;
    uint32_t phase;
    GPU_FN void next() {
        if (++stage == STAGES) stage = 0, phase ^= 1;
    }
};
GPU_FN void load_pixels(uint32_t stages, uint32_t full, uint32_t empty, const gpu::TensorMap *x, const NarrowParams &p) {
    Steps at = {0, 1};
    for (int job = (int)blockIdx.x; job < p.jobs; job += (int)gridDim.x) {
        const Job j = job_of(p, job);
        for (int pixel = j.first; pixel < j.last; pixel += PIXELS)
            for (int c = 0; c < p.chunks; c++, at.next()) {
                gpu::mbar_wait(empty + 8 * at.stage, at.phase);
                gpu::mbar_arrive_expect_tx(full + 8 * at.stage, STAGE_BYTES);
                gpu::tma_load(stages + at.stage * STAGE_BYTES, x, full + 8 * at.stage, c * DEPTH, j.image_row + pixel);
            }
    }
}
// The outputs from `from` to `to`, a pixel a thread.
template <int K> GPU_FN void add_taps(const NarrowParams &p, const Job &j, const float *products, int from, int to) {
    const int pitch = p.ring + PAD;
    GPU_LOOP (int pixel = from + (int)threadIdx.x; pixel < to; pixel += CONSUMERS) {
        const int h = divide(pixel, p.by_width), w = pixel - h * p.width;
        // of the first tap, which may lie before the image: a ring further, so that it is not negative
        const int start = pixel - j.first - p.back + p.ring, place = start - divide(start, p.by_ring) * p.ring;
        float v[K] = {};
        for (int r = 0, tap = 0; r < p.filter_height; r++)
            for (int s = 0; s < p.filter_width; s++, tap++) {
                const int y = h + r - p.top, x = w + s - p.left;
                if (y < 0 || y >= p.height || x < 0 || x >= p.width) continue;
                int slot = place + r * p.width + s;
                if (slot >= p.ring) slot -= p.ring;
                GPU_FOR (int k = 0; k < K; k++)
                    if (k < p.end.k) v[k] += products[(k * p.taps + tap) * pitch + slot];
            }
        const int row = j.image_row + pixel;
        GPU_FOR (int k = 0; k < K; k++) {
            if (k >= p.end.k) break;
            const size_t out = (size_t)row * (size_t)p.end.k + (size_t)k;
            float one[1] = {v[k] + (p.end.bias ? p.end.bias[k] : 0)};
            if (more_than_plain(p.end)) finish<true>(p.end, one, row, k, out);
            else finish<false>(p.end, one, row, k, out);
            store_floats(p.y, p.end.y_type, out, one);
        }
    }
}
template <typename T, int COLUMNS, int K>
GPU_FN void multiply_pixels(uint32_t base, float *products, uint32_t full, uint32_t empty, const NarrowParams &p) {
    typedef NarrowTile<COLUMNS> Tile;
    const int t = (int)threadIdx.x, lane = t & 31, row = (t >> 5) * 16 + (lane >> 2), pitch = p.ring + PAD;
    const uint64_t x = gpu::wgmma_desc_sw128(base + (uint32_t)Tile::stages(p)), w = gpu::wgmma_desc_sw128(base);
    Steps at = {0, 0};
    for (int job = (int)blockIdx.x; job < p.jobs; job += (int)gridDim.x) {
        const Job j = job_of(p, job);
        int made = j.begin, place = 0; // place: in the ring
        for (int pixel = j.first; pixel < j.last; pixel += PIXELS) {
            float sum[2][COLUMNS / 2];
            int before = -1;
            for (int c = 0; c < p.chunks; c++) {
                gpu::mbar_wait(full + 8 * at.stage, at.phase);
                GPU_FOR (int h = 0; h < 2; h++) gpu::fence_operand(sum[h]);
                gpu::wgmma_fence();
                GPU_FOR (int i = 0; i < 2 * (DEPTH / 16); i++) {
                    const int h = i % 2, k = i / 2;
                    gpu::wgmma<T, COLUMNS>(sum[h],
                                           gpu::wgmma_desc_at(x, (uint32_t)x, at.stage * STAGE_BYTES + h * HALF * ROW_BYTES + 32 * k),
                                           gpu::wgmma_desc_at(w, (uint32_t)w, c * Tile::WEIGHT_BYTES + 32 * k), c > 0 || k > 0);
                }
                gpu::wgmma_commit();
                GPU_FOR (int h = 0; h < 2; h++) gpu::fence_operand(sum[h]);
                gpu::wgmma_wait<1>(); // the step before
                if (before >= 0 && lane == 0) gpu::mbar_arrive(empty + 8 * before);
                before = at.stage;
                at.next();
            }
            gpu::wgmma_wait<0>();
            GPU_FOR (int h = 0; h < 2; h++) gpu::fence_operand(sum[h]);
            if (lane == 0) gpu::mbar_arrive(empty + 8 * before);
            GPU_FOR (int i = 0; i < COLUMNS; i++) { // of a half every eight columns give a thread two, in two rows that are 8 apart
                const int h = i / (COLUMNS / 2), e = i % (COLUMNS / 2), column = e / 4 * 8 + (lane & 3) * 2 + e % 2;
                products[column * pitch + place + h * HALF + row + e / 2 % 2 * 8] = sum[h][e];
            }
            place = place + PIXELS == p.ring ? 0 : place + PIXELS;
            gpu::bar_sync(1, CONSUMERS); // all warps' products are there
            const int there = pixel + PIXELS, ready = there >= j.last ? j.end : there - p.ahead;
            if (ready <= made) continue;
            add_taps<K>(p, j, products, made, ready);
            made = ready;
        }
        gpu::bar_sync(1, CONSUMERS); // nobody still reads what the next part begins with
    }
}
template <typename T, int COLUMNS, int K>
__global__ void __launch_bounds__(THREADS, 1)
    conv_narrow_kernel(const __grid_constant__ gpu::TensorMap x, const __grid_constant__ gpu::TensorMap w,
                       const __grid_constant__ NarrowParams p) {
    typedef NarrowTile<COLUMNS> Tile;
    DYN_SHARED(shared);
    const uint32_t base = gpu::smem_u32(shared), full = base + (uint32_t)Tile::barriers(p), empty = full + 8 * STAGES,
                   weights = empty + 8 * STAGES;
    const int t = (int)threadIdx.x, used = p.end.k * p.taps; // columns that are a channel's and a tap's; the rest are zeros
    if (t == 0) {
        for (int s = 0; s < STAGES; s++) {
            gpu::mbar_init(full + 8 * s, 1);
            gpu::mbar_init(empty + 8 * s, CONSUMER_WARPS);
        }
        gpu::mbar_init(weights, 1);
        gpu::fence_barrier_init();
    }
    const int zeros = (COLUMNS - used) * ROW_BYTES / 16; // of a step, in words of 16 bytes
    GPU_LOOP (int i = t; i < zeros * p.chunks; i += THREADS)
        *(uint4 *)(shared + i / zeros * Tile::WEIGHT_BYTES + used * ROW_BYTES + i % zeros * 16) = make_uint4(0, 0, 0, 0);
    gpu::fence_proxy_async();
    __syncthreads();
    gpu::grid_enter(); // all: the kernel before may have written what is loaded and may still read what is written
    if (t >= CONSUMERS) {
        if (t == CONSUMERS) {
            gpu::mbar_arrive_expect_tx(weights, (uint32_t)(p.chunks * used * ROW_BYTES));
            for (int c = 0; c < p.chunks; c++) gpu::tma_load(base + (uint32_t)(c * Tile::WEIGHT_BYTES), &w, weights, c * DEPTH, 0, 0);
            load_pixels(base + (uint32_t)Tile::stages(p), full, empty, &x, p);
        }
        __syncwarp();
        return;
    }
    gpu::mbar_wait(weights, 0);
    multiply_pixels<T, COLUMNS, K>(base, (float *)(shared + Tile::products(p)), full, empty, p);
}

// ---- launchers ----------------------------------------------------------------------------------------------------------

enum { MOST_SHARED = 227 << 10, LEAST_LINES = 8, BLOCKS = 2 }; // BLOCKS: of a multiprocessor, to have each at work
static bool is_few(const ConvArgs *a) { return a->k <= MOST_CHANNELS / 2; }
static int columns_of(const ConvArgs *a) { return is_few(a) && a->k * a->r * a->s <= 32 ? 32 : 64; }
static NarrowParams narrow_params(const ConvArgs *a) {
    const ConvOptions *o = &a->options;
    NarrowParams p = {};
    p.y = a->y, p.end = conv_epilogue(a);
    p.height = a->height, p.width = a->width, p.filter_height = a->r, p.filter_width = a->s, p.top = o->top, p.left = o->left;
    p.taps = a->r * a->s, p.chunks = ceil_div(a->c, DEPTH);
    p.back = o->top * a->width + o->left, p.ahead = o->bottom * a->width + o->right;
    p.ring = ceil_div(2 * PIXELS + p.back + p.ahead, PIXELS) * PIXELS;
    p.by_width = divider(a->width), p.by_ring = divider(p.ring);
    p.lines = a->height;
    while (p.lines > LEAST_LINES && a->n * ceil_div(a->height, p.lines) < BLOCKS * a->multiprocessors) p.lines = ceil_div(p.lines, 2);
    p.parts = ceil_div(a->height, p.lines), p.jobs = a->n * p.parts;
    return p;
}
static size_t shared_bytes(const ConvArgs *a, const NarrowParams &p) {
    return columns_of(a) == 32 ? NarrowTile<32>::bytes(p) : NarrowTile<64>::bytes(p);
}
bool conv_narrow_takes(const ConvArgs *a) {
    const unsigned can = CONV_TAPS | CONV_PADS | CONV_UNEVEN | CONV_SCALE | CONV_ACT | CONV_GATE | CONV_POSITIONS;
    const bool types = a->x_type == DG_F16 || a->x_type == DG_BF16, same = a->out_height == a->height && a->out_width == a->width;
    if (a->capability != 90 || !types || !same || !conv_fits(a->needs, can) || !(a->needs & CONV_TAPS) || a->stats) return false;
    if (a->c < DEPTH || a->c % 8 || a->k >= MOST_CHANNELS || a->k * a->r * a->s > 64) return false;
    return shared_bytes(a, narrow_params(a)) <= MOST_SHARED;
}
template <typename T, int COLUMNS, int K>
static int launch(const gpu::TensorMap &x, const gpu::TensorMap &w, const NarrowParams &p, int multiprocessors, cudaStream_t stream) {
    const int most = BLOCKS * multiprocessors;
    const dim3 grid((unsigned)(p.jobs < most ? p.jobs : most));
    return gpu::launch_dependent(conv_narrow_kernel<T, COLUMNS, K>, grid, dim3(THREADS), NarrowTile<COLUMNS>::bytes(p), stream, x, w, p);
}
template <typename T> static int launch(const ConvArgs *a, const gpu::TensorMap &x, const gpu::TensorMap &w, cudaStream_t stream) {
    const NarrowParams p = narrow_params(a);
    if (columns_of(a) == 32) return launch<T, 32, MOST_CHANNELS / 2>(x, w, p, a->multiprocessors, stream);
    if (is_few(a)) return launch<T, 64, MOST_CHANNELS / 2>(x, w, p, a->multiprocessors, stream);
    return launch<T, 64, MOST_CHANNELS>(x, w, p, a->multiprocessors, stream);
}
int conv_narrow(const ConvArgs *a, void *stream) {
    const int type = a->x_type == DG_F16 ? gpu::MAP_F16 : gpu::MAP_BF16;
    const uint64_t c = (uint64_t)a->c, bytes = c * 2, taps = (uint64_t)(a->r * a->s);
    const uint64_t pixels[2] = {c, (uint64_t)a->n * (uint64_t)(a->height * a->width)}, weights[3] = {c, taps, (uint64_t)a->k};
    const uint64_t strides[2] = {bytes, bytes * taps};
    const uint32_t box[2] = {DEPTH, PIXELS}, weight_box[3] = {DEPTH, (uint32_t)taps, (uint32_t)a->k};
    gpu::TensorMap x, w;
    if (gpu::tensor_map(&x, type, 2, a->x, pixels, strides, box, gpu::SWIZZLE_128B) ||
        gpu::tensor_map(&w, type, 3, a->w, weights, strides, weight_box, gpu::SWIZZLE_128B))
        return cudaErrorInvalidValue;
    return a->x_type == DG_F16 ? launch<__half>(a, x, w, (cudaStream_t)stream) : launch<__nv_bfloat16>(a, x, w, (cudaStream_t)stream);
}
