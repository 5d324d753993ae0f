// conv_sm90.cu -- the convolution of conv.cu on Hopper (compute capability 9.0 exactly), in f16 and bf16, by TMA and wgmma.
//   y = act(scale * ((conv(x, w) + bias) * gate + add)):  rows are output pixels, columns output channels; the sum runs over steps:
//   64 channels of one filter tap, taps in order, channels in order within a tap.
// Work:   one block per multiprocessor makes tile after tile of 128 pixels x 128, 192 or 256 channels. Pixels are a box of an image,
//         or of several. Of its 3 groups of 4 warps the first fills stages of shared memory by TMA, one thread of it alone, and runs
//         into the next tile while the others make outputs of their sums; the other two multiply 64 pixels each by wgmma. Blocks come
//         in pairs, for tiles of the same channels: each loads half of the weights into both.
// Edges:  TMA reads zeros outside of the image, past the last channel and past the last image, and stores nothing there.
// Order:  one accumulator per output, in the order above: independent of the tile, the batch and the place in it. Statistics of the
//         outputs for a norm that follows are those of a group's 64 pixels, which are a whole segment.
// Limits: conv_sm90_takes; every other layer is the portable kernel's: such with channels that are no multiples of 8, and images of whole
//         segments whose width is neither a power of two up to 128 nor a multiple of 128 (24x24, 48x48).
#include "kernels/conv_sm90.h"
#include "kernels/conv_epilogue.h"
#include "kernels/gpu_prims_sm90.h"

// ---- device code ------------------------------------------------------------------------------------------------------

enum { ROWS = 128, GROUP_ROWS = 64, DEPTH = 64, ROW_BYTES = 128 }; // of a tile; DEPTH: channels of a step
enum { GROUP_THREADS = 128, GROUPS = 2, GROUP_WARPS = 4, THREADS = (1 + GROUPS) * GROUP_THREADS };
enum { PART = 4 }; // eights of a pass's columns whose sums a thread finishes at once
enum { PASS = 64, HALF_PASS_BYTES = GROUP_ROWS * ROW_BYTES, BOX_BYTES = ROWS * ROW_BYTES }; // PASS: columns that become outputs together
enum { PAIR = 2 };  // blocks of a cluster: their tiles differ in pixels alone, and each loads half of the weights for both
enum { BAND = 16 }; // pixel tiles that share weight tiles in the L2 cache, before the next ones are begun

// Shared memory: stages of x (128 pixels) and w (COLUMNS channels), rows of 64 channels; two passes of outputs for each group; barriers.
template <int COLUMNS> struct WgmmaTile {
    enum {
        STAGE_BYTES = (ROWS + COLUMNS) * ROW_BYTES,
        STAGES = COLUMNS == 128 ? 6 : 4,
        OUTPUTS = STAGES * STAGE_BYTES,
        OUTPUT_BYTES = 2 * HALF_PASS_BYTES, // of a group
        FULL = OUTPUTS + GROUPS * OUTPUT_BYTES,
        EMPTY = FULL + 8 * STAGES,
        SHARED_BYTES = EMPTY + 8 * STAGES
    };
    static_assert((int)SHARED_BYTES <= 227 << 10, "a block's shared memory");
};
struct WgmmaParams {
    void *y;
    float2 *stats; // of y, by segments of all images; NULL: none
    Epilogue end;
    int out_width, out_height, images;                // what tiles are cut from; the rows of a matrix are one image of one line
    int log_width, log_height;                        // of a tile's box
    int across, down, pixel_tiles, tiles;             // across, down: of an image; tiles: of all pixels and columns
    int filter_width, top, left, chunks, taps, steps; // chunks: steps of a tap
    int phase_channels;                               // stride 2: of x; else 0
    bool plain;                                       // outputs go through TMA (store_plain); else they are stored by threads
};

// Where a tile begins.
struct TilePlace {
    int w, h, image, column;
};
template <int COLUMNS> GPU_FN TilePlace tile_place(const WgmmaParams &p, int tile) {
    const int column_tiles = p.tiles / p.pixel_tiles, band = tile / (BAND * column_tiles), in_band = tile - band * BAND * column_tiles;
    const int rows = p.pixel_tiles - band * BAND < BAND ? p.pixel_tiles - band * BAND : BAND;
    const int pixels = band * BAND + in_band % rows, line = pixels / p.across;
    TilePlace at;
    at.w = pixels % p.across << p.log_width, at.h = line % p.down << p.log_height;
    at.image = line / p.down * (ROWS >> (p.log_width + p.log_height)), at.column = in_band / rows * COLUMNS;
    return at;
}
// Where pixel `r` of a tile that begins here lies; it may lie outside.
GPU_FN TilePlace pixel_place(const WgmmaParams &p, TilePlace at, int r) {
    at.w += r & ((1 << p.log_width) - 1), at.h += r >> p.log_width & ((1 << p.log_height) - 1),
        at.image += r >> (p.log_width + p.log_height);
    return at;
}
// Its row in y, counted over all images; -1: there is none.
GPU_FN int row_of(const WgmmaParams &p, const TilePlace &tile, int r) {
    const TilePlace at = pixel_place(p, tile, r);
    const bool inside = at.w < p.out_width && at.h < p.out_height && at.image < p.images;
    return inside ? (at.image * p.out_height + at.h) * p.out_width + at.w : -1;
}
// Columns from `column` on that become outputs, in passes.
template <int COLUMNS> GPU_FN int passes_of(const WgmmaParams &p, int column) {
    const int left = p.end.k - column;
    return (left < COLUMNS ? left + PASS - 1 : (int)COLUMNS) / PASS;
}
// Which stage is next, and the phase of its barriers that ends with what is waited for.
template <int STAGES> struct Turn {
    int stage;
    uint32_t phase;
    GPU_FN void next() {
        if (++stage == STAGES) stage = 0, phase ^= 1;
    }
};

// ---- the producer: steps of a tile, then its residual, two passes at a time ---------------------------------------------
template <int COLUMNS>
GPU_FN void load_tiles(uint32_t base, const gpu::TensorMap *x, const gpu::TensorMap *w, const gpu::TensorMap *add, const WgmmaParams &p) {
    typedef WgmmaTile<COLUMNS> Tile;
    const int share = (int)gpu::cluster_ctarank() * (COLUMNS / PAIR); // of a tile's columns
    Turn<Tile::STAGES> turn = {0, 1};
    auto begin = [&](uint32_t bytes) { // a stage that all of both blocks have read
        gpu::mbar_wait(base + Tile::EMPTY + 8 * turn.stage, turn.phase);
        gpu::mbar_arrive_expect_tx(base + Tile::FULL + 8 * turn.stage, bytes);
        return base + (uint32_t)(turn.stage * Tile::STAGE_BYTES);
    };
    for (int tile = (int)blockIdx.x; tile < p.tiles; tile += (int)gridDim.x) {
        const TilePlace at = tile_place<COLUMNS>(p, tile);
        for (int tap = 0, r = 0, s = 0; tap < p.taps; tap++) {
            for (int c = 0; c < p.chunks; c++, turn.next()) {
                const uint32_t stage = begin(Tile::STAGE_BYTES), full = base + Tile::FULL + 8 * turn.stage;
                const int left = s - p.left, top = r - p.top;
                if (!p.phase_channels) gpu::tma_load(stage, x, full, c * DEPTH, at.w + left, at.h + top, at.image);
                else // pixels of even and of odd places, phase_map
                    gpu::tma_load(stage, x, full, c * DEPTH + (left & 1) * p.phase_channels, at.w + (left >> 1), top & 1, at.h + (top >> 1),
                                  at.image);
                gpu::tma_load_multicast(stage + BOX_BYTES + (uint32_t)(share * ROW_BYTES), w, full, c * DEPTH, tap, at.column + share,
                                        (1 << PAIR) - 1);
            }
            if (++s == p.filter_width) s = 0, r++;
        }
        const int passes = p.plain && p.end.add_kind == OPERAND_FULL ? passes_of<COLUMNS>(p, at.column) : 0;
        for (int pass = 0; pass < passes; pass += 2, turn.next()) {
            const int boxes = passes - pass < 2 ? 1 : 2;
            const uint32_t stage = begin(boxes * BOX_BYTES), full = base + Tile::FULL + 8 * turn.stage;
            for (int b = 0; b < boxes; b++)
                gpu::tma_load(stage + b * BOX_BYTES, add, full, at.column + (pass + b) * PASS, at.w, at.h, at.image);
        }
    }
}

// ---- the consumers ------------------------------------------------------------------------------------------------------
// A pass of outputs in shared memory: 64 rows of 64 values, of which runs of 8 are exchanged as TMA does with those of 16 bits.
// Row r's low bits stand in two places of an offset, so that r ^ b begins where r begins, ^ in_rows<T>(b).
template <typename T> GPU_FN uint32_t in_rows(int row) {
    return (uint32_t)row * (uint32_t)(PASS * sizeof(T)) ^ (uint32_t)(row & 7) * (uint32_t)(8 * sizeof(T));
}
template <typename T> GPU_FN uint32_t pass_at(int row, int column) { return in_rows<T>(row) ^ (uint32_t)column * (uint32_t)sizeof(T); }

// The matrix descriptor whose lower word, which counts 16 bytes, is that of another and `bytes` more.
GPU_FN uint64_t descriptor(uint32_t low, int bytes) { return gpu::wgmma_desc_sw128(0) >> 32 << 32 | (low + (uint32_t)(bytes >> 4)); }
template <typename T, int COLUMNS> GPU_FN void multiply(float (&sum)[COLUMNS / 2], uint32_t x, uint32_t w, bool onto) {
    gpu::fence_operand(sum);
    gpu::wgmma_fence();
    GPU_FOR (int k = 0; k < DEPTH / 16; k++) gpu::wgmma<T, COLUMNS>(sum, descriptor(x, 32 * k), descriptor(w, 32 * k), onto || k > 0);
    gpu::wgmma_commit();
    gpu::fence_operand(sum);
}

// Statistics of one segment and the pass of columns that begins at k: of the values of `rows`. A thread adds 16 rows of two
// neighbouring channels, about the segment's first row: squares about it are at most 65 times those about the mean, so that the difference
// keeps its bits. Four threads of a warp share the two channels and take their rows in orders that keep them off each other's banks.
template <typename T> GPU_FN void store_segment(const WgmmaParams &p, int segment, int k, const uint8_t *rows) {
    const int t = (int)threadIdx.x % GROUP_THREADS, part = t >> 3 & 3, column = (t >> 5) * 16 + (t & 7) * 2;
    const uint32_t start = pass_at<T>(part * 16 + 2 * part, column);
    float shift[2], v[4] = {0, 0, 0, 0}; // sums, sums of squares
    load_run(shift, (const T *)(rows + pass_at<T>(0, column)));
    GPU_FOR (int i = 0; i < GROUP_ROWS / 4; i++) {
        float q[2];
        load_run(q, (const T *)(rows + (start ^ in_rows<T>(i % 8)) + in_rows<T>(i / 8 * 8)));
        const float a = q[0] - shift[0], b = q[1] - shift[1];
        v[0] += a, v[1] += b, v[2] = fmaf(a, a, v[2]), v[3] = fmaf(b, b, v[3]);
    }
    GPU_FOR (int e = 0; e < 4; e++) {
        v[e] += __shfl_xor_sync(~0u, v[e], 8);
        v[e] += __shfl_xor_sync(~0u, v[e], 16);
    }
    if (part || k + column >= p.end.k) return;
    const float mean[2] = {v[0] / GROUP_ROWS, v[1] / GROUP_ROWS};
    *(float4 *)(p.stats + (size_t)segment * (size_t)p.end.k + (size_t)(k + column)) =
        make_float4(shift[0] + mean[0], v[2] - v[0] * mean[0], shift[1] + mean[1], v[3] - v[1] * mean[1]);
}

// What a thread of a consumer knows of the tile whose outputs it makes.
struct Outputs {
    TilePlace tile;
    int group, t;   // of the group's threads
    int segment;    // of the group's pixels; -1: no statistics
    uint32_t empty; // a warp's first lanes: the barriers of empty stages, each in one block of the cluster
};
// Tells both producers that this warp has read a stage. Every warp speaks for itself: a wait for products says nothing of other warps'.
GPU_FN void release(const Outputs &o, int stage) {
    if (o.t % 32 < PAIR) gpu::mbar_arrive_remote(o.empty + 8 * stage);
}

// Outputs in 16 bits with neither gate nor positions, and with an activation only where nothing is added. A thread has two neighbouring
// channels of every eight, in two rows that are 8 apart: v[j - first][h]. They are finished and go to the group's buffer, `start` being
// the place of the first eight's in the upper row.
template <typename T, class Add>
GPU_FN void put(uint8_t *shared, uint32_t start, int first, float (&v)[PART][2][2], float scale, Act act, const Add &add_of) {
    GPU_FOR (int j = first; j < first + PART; j++)
        GPU_FOR (int h = 0; h < 2; h++) {
            float add[2] = {0, 0};
            add_of(add, j, h);
            add_and_scale(v[j - first][h], add, scale);
            activate(v[j - first][h], act);
            store_run((T *)(shared + ((start ^ (uint32_t)(16 * j)) + (uint32_t)(8 * h * ROW_BYTES))), v[j - first][h]);
        }
}
// Pass by pass, from the two buffers in turn, from where TMA takes them; residuals come in stages of two passes.
template <typename T, int COLUMNS>
GPU_FN void store_plain(uint8_t *shared, uint32_t base, const gpu::TensorMap *y, const WgmmaParams &p, const Outputs &o,
                        const float (&sum)[COLUMNS / 2], Turn<WgmmaTile<COLUMNS>::STAGES> &turn, uint32_t &buffers) {
    typedef WgmmaTile<COLUMNS> Tile;
    const int passes = passes_of<COLUMNS>(p, o.tile.column), lane = o.t & 31, first = (o.t >> 5) * 16 + (lane >> 2), pair = (lane & 3) * 2;
    const bool full = p.end.add_kind == OPERAND_FULL;
    const TilePlace own = pixel_place(p, o.tile, o.group * GROUP_ROWS);
    const float *vector[2] = {NULL, NULL};
    if (p.end.add_kind == OPERAND_VECTOR)
        GPU_FOR (int h = 0; h < 2; h++) {
            const int row = row_of(p, o.tile, o.group * GROUP_ROWS + first + 8 * h);
            vector[h] = (const float *)p.end.add + (size_t)(row < 0 ? 0 : row / p.end.out_pixels) * (size_t)p.end.k;
        }
    GPU_LOOP (int pass = 0; pass < passes; pass++, buffers ^= HALF_PASS_BYTES) {
        const uint32_t buffer = (uint32_t)(Tile::OUTPUTS + o.group * Tile::OUTPUT_BYTES) + buffers, thread = pass_at<T>(first, pair);
        const int k0 = o.tile.column + pass * PASS, k = k0 + pair, left = p.end.k - k;
        const uint32_t stage = (uint32_t)(turn.stage * Tile::STAGE_BYTES + pass % 2 * BOX_BYTES + o.group * HALF_PASS_BYTES);
        if (full && pass % 2 == 0) gpu::mbar_wait(base + Tile::FULL + 8 * turn.stage, turn.phase);
        GPU_FOR (int j0 = 0; j0 < PASS / 8; j0 += PART) {
            float bias[PART][2], v[PART][2][2];
            GPU_FOR (int j = 0; j < PART; j++) {
                bias[j][0] = bias[j][1] = 0;
                if (p.end.bias && 8 * (j0 + j) < left) load_run(bias[j], p.end.bias + k + 8 * (j0 + j));
            }
            GPU_FOR (int q = 0; q < COLUMNS / PASS; q++) // registers have no index that varies
                if (q == pass)
                    GPU_FOR (int i = 0; i < PART * 4; i++)
                        v[i / 4][i / 2 % 2][i % 2] = sum[q * (PASS / 2) + 4 * j0 + i] + bias[i / 4][i % 2];
            if (full)
                put<T>(shared, buffer + thread, j0, v, p.end.scale, ACT_NONE, [&](float(&add)[2], int j, int h) {
                    load_run(add, (const T *)(shared + ((stage + thread) ^ (uint32_t)(16 * j)) + 8 * h * ROW_BYTES));
                });
            else if (vector[0])
                put<T>(shared, buffer + thread, j0, v, p.end.scale, ACT_NONE, [&](float(&add)[2], int j, int h) {
                    if (8 * j < left) load_run(add, vector[h] + k + 8 * j);
                });
            else put<T>(shared, buffer + thread, j0, v, p.end.scale, p.end.act, [](float(&)[2], int, int) {});
        }
        gpu::fence_proxy_async(); // outputs go, and the next stage comes, by TMA
        if (full && (pass % 2 == 1 || pass == passes - 1)) {
            __syncwarp(); // the warp has read its rows
            release(o, turn.stage);
            turn.next();
        }
        if (o.t == 0) gpu::bulk_wait_read<0>(); // the other buffer is free again, after the barrier for all
        gpu::bar_sync(1 + o.group, GROUP_THREADS);
        if (o.t == 0) {
            gpu::tma_store(y, base + buffer, k0, own.w, own.h, own.image);
            gpu::bulk_commit();
        }
        if (o.segment < 0) continue;
        store_segment<T>(p, o.segment, k0, shared + buffer);
    }
}

// Outputs of every other kind: the sums of a pass go through the group's buffers as f32, to be finished by runs of 8 channels of a pixel.
GPU_FN void spread_pass(const Outputs &o, const float *sum, uint8_t *buffer) {
    const int lane = o.t & 31, first = (o.t >> 5) * 16 + (lane >> 2);
    GPU_FOR (int j = 0; j < PASS / 8; j++)
        GPU_FOR (int h = 0; h < 2; h++) {
            const float *s = sum + 4 * j + 2 * h;
            *(float2 *)(buffer + pass_at<float>(first + 8 * h, 8 * j + (lane & 3) * 2)) = make_float2(s[0], s[1]);
        }
}
template <bool MORE> GPU_FN void finish_runs(const WgmmaParams &p, const Outputs &o, uint8_t *buffer, int k0) {
    const int column = o.t % 8 * 8, k = k0 + column;
    if (k >= p.end.k) return;
    float bias[8];
    load_bias(bias, p.end, k);
    GPU_LOOP (int r = o.t / 8; r < GROUP_ROWS; r += GROUP_THREADS / 8) {
        const int row = row_of(p, o.tile, o.group * GROUP_ROWS + r);
        if (row < 0) continue;
        float v[8], *q = (float *)(buffer + pass_at<float>(r, column));
        load_run(v, q);
        GPU_FOR (int e = 0; e < 8; e++) v[e] += bias[e];
        const size_t out = (size_t)row * (size_t)p.end.k + (size_t)k;
        finish<MORE>(p.end, v, row, k, out);
        store_floats(p.y, p.end.y_type, out, v);
        if (o.segment < 0) continue;
        GPU_FOR (int e = 0; e < 8; e++) v[e] = as_stored(v[e], p.end.y_type);
        store_run(q, v);
    }
}
template <int COLUMNS> GPU_FN void store_any(uint8_t *shared, const WgmmaParams &p, const Outputs &o, const float (&sum)[COLUMNS / 2]) {
    typedef WgmmaTile<COLUMNS> Tile;
    uint8_t *const buffer = shared + Tile::OUTPUTS + o.group * Tile::OUTPUT_BYTES;
    const int passes = passes_of<COLUMNS>(p, o.tile.column);
    GPU_LOOP (int pass = 0; pass < passes; pass++) {
        const int k = o.tile.column + pass * PASS;
        GPU_FOR (int q = 0; q < COLUMNS / PASS; q++)
            if (q == pass) spread_pass(o, sum + q * (PASS / 2), buffer);
        gpu::bar_sync(1 + o.group, GROUP_THREADS);
        if (more_than_plain(p.end)) finish_runs<true>(p, o, buffer, k);
        else finish_runs<false>(p, o, buffer, k);
        if (o.segment >= 0) {
            gpu::bar_sync(1 + o.group, GROUP_THREADS); // the outputs are complete
            store_segment<float>(p, o.segment, k, buffer);
        }
        gpu::bar_sync(1 + o.group, GROUP_THREADS); // nobody still reads what is overwritten next
    }
}

template <typename T, int COLUMNS> GPU_FN void make_tiles(uint8_t *shared, uint32_t base, const gpu::TensorMap *y, const WgmmaParams &p) {
    typedef WgmmaTile<COLUMNS> Tile;
    Outputs o;
    o.group = (int)threadIdx.x / GROUP_THREADS - 1, o.t = (int)threadIdx.x % GROUP_THREADS;
    o.empty = gpu::mapa(base + Tile::EMPTY, (uint32_t)(o.t % PAIR));
    uint32_t x0 = (uint32_t)gpu::wgmma_desc_sw128(base + (uint32_t)(o.group * HALF_PASS_BYTES));
    uint32_t w0 = (uint32_t)gpu::wgmma_desc_sw128(base + BOX_BYTES);
    gpu::hold(x0), gpu::hold(w0);
    Turn<Tile::STAGES> turn = {0, 0};
    uint32_t buffers = 0;
    float sum[COLUMNS / 2];
    auto step = [&](bool onto) {
        gpu::mbar_wait(base + Tile::FULL + 8 * turn.stage, turn.phase);
        const uint32_t at = (uint32_t)(turn.stage * (Tile::STAGE_BYTES >> 4));
        multiply<T, COLUMNS>(sum, x0 + at, w0 + at, onto);
    };
    for (int tile = (int)blockIdx.x; tile < p.tiles; tile += (int)gridDim.x) {
        int before = turn.stage;
        step(false);
        turn.next();
        for (int i = 1; i < p.steps; i++) {
            step(true);
            gpu::wgmma_wait<1>(); // the step before
            release(o, before);
            before = turn.stage;
            turn.next();
        }
        gpu::wgmma_wait<0>();
        gpu::fence_operand(sum);
        release(o, before);
        o.tile = tile_place<COLUMNS>(p, tile);
        const int row = p.stats ? row_of(p, o.tile, o.group * GROUP_ROWS) : -1;
        o.segment = row < 0 ? -1 : row / NORM_SEGMENT;
        if (p.plain) store_plain<T, COLUMNS>(shared, base, y, p, o, sum, turn, buffers);
        else store_any<COLUMNS>(shared, p, o, sum);
    }
    if (o.t == 0) gpu::bulk_wait_read<0>();
}

template <typename T, int COLUMNS>
__global__ void __launch_bounds__(THREADS, 1)
    conv_wgmma_kernel(const __grid_constant__ gpu::TensorMap x, const __grid_constant__ gpu::TensorMap w,
                      const __grid_constant__ gpu::TensorMap add, const __grid_constant__ gpu::TensorMap y,
                      const __grid_constant__ WgmmaParams p) {
    typedef WgmmaTile<COLUMNS> Tile;
    DYN_SHARED(shared);
    const uint32_t base = gpu::smem_u32(shared);
    if (threadIdx.x == 0) {
        for (int s = 0; s < Tile::STAGES; s++) {
            gpu::mbar_init(base + Tile::FULL + 8 * s, 1);
            gpu::mbar_init(base + Tile::EMPTY + 8 * s, PAIR * GROUPS * GROUP_WARPS);
        }
        gpu::fence_barrier_init();
    }
    gpu::cluster_arrive_relaxed();
    gpu::cluster_wait();
    if (threadIdx.x < GROUP_THREADS) {
        gpu::setmaxnreg_dec<40>();
        if (threadIdx.x == 0) load_tiles<COLUMNS>(base, &x, &w, &add, p);
        __syncwarp();
    } else {
        gpu::setmaxnreg_inc<232>();
        make_tiles<T, COLUMNS>(shared, base, &y, p);
    }
    gpu::cluster_arrive(); // the other block may still load into this one, or say here that it has read a stage
    gpu::cluster_wait();
}

// ---- launchers ----------------------------------------------------------------------------------------------------------

struct Box { // of a tile's pixels; all powers of two
    int width, height, images;
};
struct Layer { // how a layer is cut into tiles
    Box box;
    int columns;       // of a tile; 0: not at all
    int width, height; // of what boxes are cut from: an image, or a matrix of all pixels of all images
    bool matrix;
};
static int log2_of(int power) {
    int n = 0;
    while (power >> n > 1) n++;
    return n;
}
static int whole(int a, int b) { return ceil_div(a, b) * b; }
// The widest tiles that waste little: relative times of a step, by what the tensor cores or the shared memory's port take for it.
static int columns_of(int k) {
    static const int columns[] = {256, 192, 128}, time[] = {1024, 832, 640};
    int best = 0;
    for (int i = 1; i < 3; i++)
        if (ceil_div(k, columns[i]) * time[i] < ceil_div(k, columns[best]) * time[best]) best = i;
    return columns[best];
}
// The box that covers an image with least waste; of such, one of few images. Where an image is whole segments, so must halves of tiles be.
static Box box_of(int width, int height) {
    Box best = {0, 0, 0};
    for (int images = 1; images <= 8; images *= 2)
        for (int w = ROWS / images; w; w /= 2) {
            const Box b = {w, ROWS / images / w, images};
            const bool in_order = w == width || (w == ROWS && width % ROWS == 0);
            if (width * height % NORM_SEGMENT == 0 && !in_order) continue;
            if (!best.width || whole(width, w) * whole(height, b.height) < whole(width, best.width) * whole(height, best.height)) best = b;
        }
    return best;
}
static Layer layer_of(const ConvArgs *a) {
    const ConvOptions *o = &a->options;
    Layer l = {};
    l.matrix = a->r == 1 && a->s == 1 && o->stride == 1 && !o->top && !o->left && !o->bottom && !o->right;
    l.width = a->out_width, l.height = a->out_height;
    if (l.matrix) l.box = {ROWS, 1, 1};
    else l.box = box_of(l.width, l.height);
    const bool phases = o->stride == 2 && a->height % 2 == 0 && a->width % 2 == 0 && a->c % DEPTH == 0; // a step is of one phase
    if (!l.box.width || (o->stride != 1 && !phases) || a->c % 8 || a->k % 8 || (a->x_type != DG_F16 && a->x_type != DG_BF16)) return l;
    const int columns = columns_of(a->k);
    const double wanted = (double)(l.width * l.height) * a->c * a->k;
    const double pixels = l.matrix ? l.width * l.height : whole(l.width, l.box.width) * whole(l.height, l.box.height);
    if (wanted >= .4 * pixels * whole(a->c, DEPTH) * whole(a->k, columns)) l.columns = columns; // else the portable kernel wastes less
    return l;
}
bool conv_sm90_takes(const ConvArgs *a) {
    const unsigned can = CONV_TAPS | CONV_PADS | CONV_UNEVEN | CONV_STRIDE | CONV_SCALE | CONV_ACT | CONV_GATE | CONV_POSITIONS;
    return a->capability == 90 && conv_fits(a->needs, can) && layer_of(a).columns;
}

typedef gpu::TensorMap Map;
// A map of images {n,height,width,c}, read or written in boxes of 64 channels.
static int image_map(Map *m, const void *base, DType type, int c, int width, int height, int n, Box box) {
    const uint64_t row = (uint64_t)c * 2, dims[4] = {(uint64_t)c, (uint64_t)width, (uint64_t)height, (uint64_t)n};
    const uint64_t strides[3] = {row, row * dims[1], row * dims[1] * dims[2]};
    const uint32_t boxes[4] = {DEPTH, (uint32_t)box.width, (uint32_t)box.height, (uint32_t)box.images};
    return gpu::tensor_map(m, type == DG_BF16, 4, base, dims, strides, boxes, gpu::SWIZZLE_128B);
}
// The same of the input of a convolution of stride 2, whose lines and columns are two phases each: a tap reads neighbours of one phase.
static int phase_map(Map *m, const ConvArgs *a, Box box) {
    const uint64_t pixel = (uint64_t)a->c * 2, line = pixel * (uint64_t)a->width;
    const uint64_t dims[5] = {(uint64_t)a->c * 2, (uint64_t)(a->width / 2), 2, (uint64_t)(a->height / 2), (uint64_t)a->n};
    const uint64_t strides[4] = {pixel * 2, line, line * 2, line * (uint64_t)a->height};
    const uint32_t boxes[5] = {DEPTH, (uint32_t)box.width, 1, (uint32_t)box.height, (uint32_t)box.images};
    return gpu::tensor_map(m, a->x_type == DG_BF16, 5, a->x, dims, strides, boxes, gpu::SWIZZLE_128B);
}
static int weight_map(Map *m, const ConvArgs *a, int columns) {
    const uint64_t dims[3] = {(uint64_t)a->c, (uint64_t)(a->r * a->s), (uint64_t)a->k};
    const uint64_t strides[2] = {dims[0] * 2, dims[0] * 2 * dims[1]};
    const uint32_t boxes[3] = {DEPTH, 1, (uint32_t)(columns / PAIR)};
    return gpu::tensor_map(m, a->x_type == DG_BF16, 3, a->w, dims, strides, boxes, gpu::SWIZZLE_128B);
}
static Box half_of(Box b) {
    if (b.images > 1) b.images /= 2;
    else if (b.height > 1) b.height /= 2;
    else b.width /= 2;
    return b;
}
template <typename T, int COLUMNS>
static int launch_tiles(const Map &x, const Map &w, const Map &add, const Map &y, const WgmmaParams &p, int most, cudaStream_t stream) {
    const int pairs = (p.tiles < most ? p.tiles : most) / PAIR;
    const dim3 grid((unsigned)(PAIR * (pairs ? pairs : 1)));
    const size_t shared = WgmmaTile<COLUMNS>::SHARED_BYTES;
    return gpu::launch_cluster(conv_wgmma_kernel<T, COLUMNS>, grid, dim3(THREADS), PAIR, shared, stream, x, w, add, y, p);
}
template <typename T>
static int launch_type(int columns, const Map &x, const Map &w, const Map &add, const Map &y, const WgmmaParams &p, int most,
                       cudaStream_t stream) {
    if (columns == 256) return launch_tiles<T, 256>(x, w, add, y, p, most, stream);
    if (columns == 192) return launch_tiles<T, 192>(x, w, add, y, p, most, stream);
    return launch_tiles<T, 128>(x, w, add, y, p, most, stream);
}
int conv_sm90(const ConvArgs *a, void *stream) {
    const Layer l = layer_of(a);
    WgmmaParams p = {};
    p.y = a->y, p.stats = (float2 *)a->stats, p.end = conv_epilogue(a);
    p.out_width = l.matrix ? p.end.rows : l.width, p.out_height = l.matrix ? 1 : l.height, p.images = l.matrix ? 1 : a->n;
    p.log_width = log2_of(l.box.width), p.log_height = log2_of(l.box.height);
    p.across = ceil_div(p.out_width, l.box.width), p.down = ceil_div(p.out_height, l.box.height);
    p.pixel_tiles = whole(p.across * p.down * ceil_div(p.images, l.box.images), PAIR); // one more may lie past the last image
    p.tiles = p.pixel_tiles * ceil_div(a->k, l.columns);
    p.filter_width = a->s, p.top = a->options.top, p.left = a->options.left;
    p.chunks = ceil_div(a->c, DEPTH), p.taps = a->r * a->s, p.steps = p.taps * p.chunks;
    p.plain = a->y_type == a->x_type && !a->gate && a->add_kind != OPERAND_POSITIONS &&
              (a->add_kind != OPERAND_FULL || a->add_type == a->y_type) && (a->add_kind == OPERAND_NONE || a->options.act == ACT_NONE);
    Map x, w, add = {}, y = {};
    const int in_width = l.matrix ? p.end.rows : a->width, in_height = l.matrix ? 1 : a->height;
    if (a->options.stride == 2) p.phase_channels = a->c;
    int failed = weight_map(&w, a, l.columns);
    failed |= p.phase_channels ? phase_map(&x, a, l.box) : image_map(&x, a->x, a->x_type, a->c, in_width, in_height, p.images, l.box);
    if (p.plain) failed |= image_map(&y, a->y, a->y_type, a->k, p.out_width, p.out_height, p.images, half_of(l.box));
    if (p.plain && a->add_kind == OPERAND_FULL)
        failed |= image_map(&add, a->add, a->add_type, a->k, p.out_width, p.out_height, p.images, l.box);
    if (failed) return cudaErrorInvalidValue;
    if (a->x_type == DG_F16) return launch_type<__half>(l.columns, x, w, add, y, p, a->multiprocessors, (cudaStream_t)stream);
    return launch_type<__nv_bfloat16>(l.columns, x, w, add, y, p, a->multiprocessors, (cudaStream_t)stream);
}
