// conv_sm90.cu -- the convolution of conv.cu on Hopper (compute capability 9.0 exactly), in f16 and bf16, by TMA and wgmma.
//   y = act(scale * ((conv(x, w) + bias) * gate + add)):  rows are output pixels, columns output channels; the sum runs over steps:
//   64 channels of one filter tap, taps in order, channels in order within a tap; then 64 channels of each input of a skip.
// Work:   one block per multiprocessor makes tile after tile of 128 pixels x 128, 192 or 256 channels. Pixels are a box of an image,
//         or of several. Of its 3 groups of 4 warps the first fills stages of shared memory by TMA, one thread of it alone, and runs
//         into the next tile while the others make outputs of their sums; the other two multiply 64 pixels each by wgmma. Blocks come
//         in pairs, for tiles of the same channels: each loads half of the weights into both.
// Edges:  TMA reads zeros outside of the image, past the last channel and past the last image, and stores nothing there.
// Order:  one accumulator per output, in the order above: independent of the tile, the batch and the place in it. Statistics of the
//         outputs for a norm that follows are those of a group's 64 pixels, which are a whole segment.
// Phases: of an image that is twice as large as an input (ConvArgs.up) a tile has the pixels of even or of odd lines and columns: those of
//         the input beside each other. Of x itself a filter of 3x3 is one of 2x2 for each phase, of sums of its taps.
// Limits: conv_sm90_takes; every other layer is the portable kernel's: such with channels that are no multiples of 8, and images of whole
//         segments whose width is neither a power of two up to 128 nor a multiple of 128 (24x24, 48x48).
#include "kernels/conv_sm90.h"
#include "kernels/conv_sm90_norm.h"

// ---- device code ------------------------------------------------------------------------------------------------------

struct SkipMaps { // the inputs of a skip, and their weights
    gpu::TensorMap x[2], w[2];
};
// ---- the producer: steps of a tile, then what is added, two boxes at a time ---------------------------------------------
template <int COLUMNS, class P>
GPU_FN void load_tiles(uint32_t base, const gpu::TensorMap *x, const gpu::TensorMap *w, const gpu::TensorMap *add, const SkipMaps *skip,
                       const P &p) {
    typedef WgmmaTile<COLUMNS> Tile;
    const int share = (int)gpu::cluster_ctarank() * (COLUMNS / PAIR); // of a tile's columns
    Turn<Tile::STAGES> turn = {0, 1};
    auto begin = [&](uint32_t bytes) { // a stage that all of both blocks have read
        gpu::mbar_wait(base + Tile::EMPTY + 8 * turn.stage, turn.phase);
        gpu::mbar_arrive_expect_tx(base + Tile::FULL + 8 * turn.stage, bytes);
        return base + (uint32_t)(turn.stage * Tile::STAGE_BYTES);
    };
    auto load_weights = [&](uint32_t stage, uint32_t full, const gpu::TensorMap *w, int c, int tap, int column) { // this block's share
        gpu::tma_load_multicast(stage + BOX_BYTES + (uint32_t)(share * ROW_BYTES), w, full, c * DEPTH, tap, column + share,
                                (1 << PAIR) - 1);
    };
    for (int tile = (int)blockIdx.x; tile < p.tiles; tile += (int)gridDim.x) {
        const TilePlace at = tile_place<COLUMNS>(p, tile);
        const int right = at.phase & 1, lower = at.phase >> 1;
        for (int tap = 0, r = 0, s = 0; tap < p.taps; tap++) {
            for (int c = 0; c < p.chunks; c++, turn.next()) {
                const uint32_t stage = begin(Tile::STAGE_BYTES), full = base + Tile::FULL + 8 * turn.stage;
                const int left = s - p.left + right, top = r - p.top + lower;
                if (!p.phase_channels) gpu::tma_load(stage, x, full, c * DEPTH, at.w + left, at.h + top, at.image);
                else // pixels of even and of odd places, phase_map
                    gpu::tma_load(stage, x, full, c * DEPTH + (left & 1) * p.phase_channels, at.w + (left >> 1), top & 1, at.h + (top >> 1),
                                  at.image);
                load_weights(stage, full, w, c, at.phase * p.phase_taps + tap, at.column);
            }
            if (++s == p.filter_width) s = 0, r++;
        }
        for (int i = 0; skip && i < 2; i++)
            for (int c = 0; c < p.skip_chunks[i]; c++, turn.next()) {
                const uint32_t stage = begin(Tile::STAGE_BYTES), full = base + Tile::FULL + 8 * turn.stage;
                gpu::tma_load(stage, &skip->x[i], full, c * DEPTH, at.w, at.h, at.image);
                load_weights(stage, full, &skip->w[i], c, 0, at.column);
            }
        const int columns = p.add_columns ? passes_of<COLUMNS>(p, at.column) * PASS : 0;
        for (int c = 0; c < columns; c += 2 * p.add_columns, turn.next()) {
            const int boxes = columns - c > p.add_columns ? 2 : 1;
            const uint32_t stage = begin(boxes * BOX_BYTES), full = base + Tile::FULL + 8 * turn.stage;
            for (int b = 0; b < boxes; b++) {
                const uint32_t to = stage + b * BOX_BYTES;
                const int column = at.column + c + b * p.add_columns;
                if (!P::LOG_UP || !p.add_channels) gpu::tma_load(to, add, full, column, at.w, at.h, at.image);
                else gpu::tma_load(to, add, full, column + right * p.add_channels, at.w, lower, at.h, at.image);
            }
        }
    }
}

// ---- the consumers ------------------------------------------------------------------------------------------------------
// The matrix descriptor whose lower word, which counts 16 bytes, is that of another and `bytes` more.
GPU_FN uint64_t descriptor(uint32_t low, int bytes) { return gpu::wgmma_desc_at(gpu::wgmma_desc_sw128(0), low, bytes); }
template <typename T, int COLUMNS> GPU_FN void multiply(float (&sum)[COLUMNS / 2], uint32_t x, uint32_t w, bool onto) {
    gpu::fence_operand(sum);
    gpu::wgmma_fence();
    GPU_FOR (int k = 0; k < DEPTH / 16; k++) gpu::wgmma<T, COLUMNS>(sum, descriptor(x, 32 * k), descriptor(w, 32 * k), onto || k > 0);
    gpu::wgmma_commit();
    gpu::fence_operand(sum);
}

// The outputs of a tile: store(o, sum, turn, buffers), after store.fetch(o) under its first products and store.begin(o) under its last.
template <typename T, int COLUMNS, class P, class Store> GPU_FN void make_tiles(uint32_t base, const P &p, Store &store) {
    typedef WgmmaTile<COLUMNS> Tile;
    Outputs o;
    o.kind = kind_of(p);
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
        place_outputs<COLUMNS>(o, p, tile);
        store.fetch(o);
        for (int i = 1; i < p.steps; i++) {
            step(true);
            gpu::wgmma_wait<1>(); // the step before
            release(o, before);
            before = turn.stage;
            turn.next();
        }
        store.begin(o);
        begin_outputs<COLUMNS>(store.shared, o, p);
        gpu::wgmma_wait<0>();
        gpu::fence_operand(sum);
        release(o, before);
        store(o, sum, turn, buffers);
    }
    if (o.t % 32 == 0) gpu::bulk_wait_read<0>();
}

template <typename T, int COLUMNS, class P, class Store>
GPU_FN void conv_block(uint32_t base, const gpu::TensorMap *x, const gpu::TensorMap *w, const gpu::TensorMap *add, const SkipMaps *skip,
                       const P &p, Store &store) {
    typedef WgmmaTile<COLUMNS> Tile;
    if (threadIdx.x == 0) {
        for (int s = 0; s < Tile::STAGES; s++) {
            gpu::mbar_init(base + Tile::FULL + 8 * s, 1);
            gpu::mbar_init(base + Tile::EMPTY + 8 * s, PAIR * GROUPS * GROUP_WARPS);
        }
        gpu::fence_barrier_init();
    }
    gpu::cluster_arrive_relaxed();
    gpu::cluster_wait();
    gpu::grid_enter(); // all: the kernel before may have written what is loaded and may still read what is written
    if (threadIdx.x < GROUP_THREADS) {
        gpu::setmaxnreg_dec<40>();
        if (threadIdx.x == 0) load_tiles<COLUMNS>(base, x, w, add, skip, p);
        __syncwarp();
    } else {
        gpu::setmaxnreg_inc<232>();
        make_tiles<T, COLUMNS>(base, p, store);
    }
    gpu::cluster_arrive(); // the other block may still load into this one, or say here that it has read a stage
    gpu::cluster_wait();
}
template <typename T, int COLUMNS, class P> struct StoreOutputs {
    uint8_t *shared;
    uint32_t start; // of it
    const gpu::TensorMap *y;
    const P &p;
    GPU_FN void fetch(const Outputs &) {}
    GPU_FN void begin(const Outputs &) {}
    GPU_FN void operator()(const Outputs &o, const float (&sum)[COLUMNS / 2], Turn<WgmmaTile<COLUMNS>::STAGES> &turn, uint32_t &buffers) {
        if (o.kind <= KIND_ACTED) store_plain<T, COLUMNS>(shared, start, y, p, o, sum, turn, buffers);
        else if (o.kind == KIND_GATED) store_direct<COLUMNS, true>(shared, start, p, o, sum, turn);
        else if (o.kind == KIND_DIRECT) store_direct<COLUMNS, false>(shared, start, p, o, sum, turn);
        else store_any<COLUMNS>(shared, p, o, sum);
    }
};
template <typename T, int COLUMNS, class P>
__global__ void __launch_bounds__(THREADS, 1)
    conv_wgmma_kernel(const __grid_constant__ gpu::TensorMap x, const __grid_constant__ gpu::TensorMap w,
                      const __grid_constant__ gpu::TensorMap add, const __grid_constant__ gpu::TensorMap y,
                      const __grid_constant__ SkipMaps skip, const __grid_constant__ P p) {
    DYN_SHARED(shared);
    const uint32_t base = gpu::smem_u32(shared);
    StoreOutputs<T, COLUMNS, P> store = {shared, base, &y, p};
    conv_block<T, COLUMNS>(base, &x, &w, &add, &skip, p, store);
}
// Before a pixel norm that is not run, and after it.
template <typename T, int COLUMNS, bool AFTER>
__global__ void __launch_bounds__(THREADS, 1)
    conv_wgmma_norm_kernel(const __grid_constant__ gpu::TensorMap x, const __grid_constant__ gpu::TensorMap w,
                           const __grid_constant__ gpu::TensorMap add, const __grid_constant__ gpu::TensorMap y,
                           const __grid_constant__ WgmmaParams p, const __grid_constant__ FoldParams f) {
    DYN_SHARED(shared);
    const uint32_t base = gpu::smem_u32(shared);
    if (AFTER) {
        StoreFolded<T, COLUMNS> store = {shared, base, &y, p, f};
        conv_block<T, COLUMNS>(base, &x, &w, &add, NULL, p, store); // there is no skip
    } else {
        StoreStream<T, COLUMNS> store = {shared, base, &y, p, f};
        conv_block<T, COLUMNS>(base, &x, &w, &add, NULL, p, store);
    }
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
// Whether outputs go through TMA: the residual in their type, neither gate nor positions, no activation of a sum with something else.
static bool is_plain(const ConvArgs *a) {
    return a->y_type == a->x_type && !a->gate && a->add_kind != OPERAND_POSITIONS &&
           (a->add_kind != OPERAND_FULL || a->add_type == a->y_type) && (a->add_kind == OPERAND_NONE || a->options.act == ACT_NONE);
}
// Whether inputs of half the size can be read as they are. What is not of half the size is read by phases, in whole boxes of channels.
static bool can_go_up(const ConvArgs *a) {
    const ConvOptions *o = &a->options;
    const bool filter = a->r == 3 && a->s == 3 && o->top == 1 && o->left == 1 && o->bottom == 1 && o->right == 1 && o->stride == 1;
    if (a->out_height % 2 || a->out_width % 2 || a->out_height * a->out_width / 4 % NORM_SEGMENT || a->k % PASS || !filter) return false;
    if (a->needs & CONV_SKIP && a->up != UP_SKIP) return false;
    if (a->up == UP_ADD && (!is_plain(a) || a->needs & CONV_GATE || a->add_kind != OPERAND_FULL)) return false;
    return a->up == UP_X || a->c % DEPTH == 0;
}
static Layer layer_of(const ConvArgs *a) {
    const ConvOptions *o = &a->options;
    Layer l = {};
    if (a->up && !can_go_up(a)) return l;
    l.matrix = a->r == 1 && a->s == 1 && o->stride == 1 && !o->top && !o->left && !o->bottom && !o->right;
    l.width = a->up ? a->out_width / 2 : a->out_width, l.height = a->up ? a->out_height / 2 : a->out_height;
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
    const unsigned can = CONV_TAPS | CONV_PADS | CONV_UNEVEN | CONV_STRIDE | CONV_SCALE | CONV_ACT | CONV_GATE | CONV_POSITIONS | CONV_SKIP;
    const bool skips = a->skip_c[0] % 8 == 0 && a->skip_c[1] % 8 == 0;
    return a->capability == 90 && conv_fits(a->needs, can) && skips && layer_of(a).columns;
}
extern "C" bool cuda_conv_goes_up(const ConvArgs *a) { return conv_sm90_takes(a); }
// What pixel norms that are not run may stand between: rows of matrices, images of whole segments, no skips.
static bool joins_norm(const ConvArgs *a) {
    return conv_sm90_takes(a) && layer_of(a).matrix && !(a->needs & CONV_SKIP) && a->out_height * a->out_width % NORM_SEGMENT == 0 &&
           a->options.scale == 1;
}
extern "C" bool cuda_conv_leaves(const ConvArgs *a) {
    const bool stream = a->y_type == DG_F32 && a->add_type == DG_F32 && a->add_kind == OPERAND_FULL && a->needs & CONV_GATE;
    return joins_norm(a) && stream && a->options.act == ACT_NONE && a->k % FOLD_COLUMNS == 0;
}
extern "C" bool cuda_conv_folds(const ConvArgs *a) {
    return joins_norm(a) && a->y_type == a->x_type && a->add_kind == OPERAND_NONE && !(a->needs & CONV_GATE) && a->options.act != ACT_RELU;
}

typedef gpu::TensorMap Map;
struct Maps {
    Map x, w, add, y;
    SkipMaps skip;
};
// A map in boxes of 128 bytes of channels.
static int map_of(Map *m, const void *base, DType type, int rank, const uint64_t *dims, const uint64_t *strides, uint32_t *boxes) {
    boxes[0] = ROW_BYTES / (uint32_t)dtype_bytes(type);
    const int map = type == DG_F32 ? gpu::MAP_F32 : type == DG_BF16 ? gpu::MAP_BF16 : gpu::MAP_F16;
    return gpu::tensor_map(m, map, rank, base, dims, strides, boxes, gpu::SWIZZLE_128B);
}
// Of images {n,height,width,c}.
static int image_map(Map *m, const void *base, DType type, int c, int width, int height, int n, Box box) {
    const uint64_t row = (uint64_t)c * dtype_bytes(type), dims[4] = {(uint64_t)c, (uint64_t)width, (uint64_t)height, (uint64_t)n};
    const uint64_t strides[3] = {row, row * dims[1], row * dims[1] * dims[2]};
    uint32_t boxes[4] = {0, (uint32_t)box.width, (uint32_t)box.height, (uint32_t)box.images};
    return map_of(m, base, type, 4, dims, strides, boxes);
}
// The same, lines and columns in two phases each: a box is of neighbours of one phase, as a tap reads them at stride 2.
static int phase_map(Map *m, const void *base, DType type, int c, int width, int height, int n, Box box) {
    const uint64_t pixel = (uint64_t)c * dtype_bytes(type), line = pixel * (uint64_t)width;
    const uint64_t dims[5] = {(uint64_t)c * 2, (uint64_t)(width / 2), 2, (uint64_t)(height / 2), (uint64_t)n};
    const uint64_t strides[4] = {pixel * 2, line, line * 2, line * (uint64_t)height};
    uint32_t boxes[5] = {0, (uint32_t)box.width, 1, (uint32_t)box.height, (uint32_t)box.images};
    return map_of(m, base, type, 5, dims, strides, boxes);
}
static int tiles_map(Map *m, bool phases, const void *base, DType type, int c, int width, int height, int n, Box box) {
    return phases ? phase_map(m, base, type, c, width, height, n, box) : image_map(m, base, type, c, width, height, n, box);
}
static int weight_map(Map *m, const void *base, DType type, int c, int taps, int k, int columns) {
    const uint64_t dims[3] = {(uint64_t)c, (uint64_t)taps, (uint64_t)k}, strides[2] = {dims[0] * 2, dims[0] * 2 * dims[1]};
    const uint32_t boxes[3] = {DEPTH, 1, (uint32_t)(columns / PAIR)};
    return gpu::tensor_map(m, type == DG_BF16, 3, base, dims, strides, boxes, gpu::SWIZZLE_128B);
}
// Of a tile's pixels those whose outputs a warp makes, 16 in order.
static Box box_of_warp(Box b) {
    for (int parts = ROWS / 16; parts > 1; parts /= 2)
        if (b.images > 1) b.images /= 2;
        else if (b.height > 1) b.height /= 2;
        else b.width /= 2;
    return b;
}
// Blocks for tiles, a pair at least, on so many multiprocessors.
static dim3 grid_of(const WgmmaParams &p, int most) {
    const int pairs = (p.tiles < most ? p.tiles : most) / PAIR;
    return dim3((unsigned)(PAIR * (pairs ? pairs : 1)));
}
template <typename T, int COLUMNS, class P> static int launch_tiles(const Maps &m, const P &p, int most, cudaStream_t stream) {
    const dim3 grid = grid_of(p, most);
    const size_t shared = WgmmaTile<COLUMNS>::SHARED_BYTES;
    return gpu::launch_as(true, PAIR, conv_wgmma_kernel<T, COLUMNS, P>, grid, dim3(THREADS), shared, stream, m.x, m.w, m.add, m.y, m.skip,
                          p);
}
template <typename T, int COLUMNS, bool AFTER>
static int launch_norm(const Maps &m, const WgmmaParams &p, const FoldParams &f, int most, cudaStream_t stream) {
    const dim3 grid = grid_of(p, most);
    const size_t shared = WgmmaTile<COLUMNS>::SHARED_BYTES;
    return gpu::launch_as(true, PAIR, conv_wgmma_norm_kernel<T, COLUMNS, AFTER>, grid, dim3(THREADS), shared, stream, m.x, m.w, m.add, m.y,
                          p, f);
}
template <typename T, bool AFTER>
static int launch_norm_type(int columns, const Maps &m, const WgmmaParams &p, const FoldParams &f, int most, cudaStream_t stream) {
    if (columns == 256) return launch_norm<T, 256, AFTER>(m, p, f, most, stream);
    if (columns == 192) return launch_norm<T, 192, AFTER>(m, p, f, most, stream);
    return launch_norm<T, 128, AFTER>(m, p, f, most, stream);
}
static int launch_fold(const ConvArgs *a, int columns, const Maps &m, const WgmmaParams &p, cudaStream_t stream) {
    const ConvFold *fold = &a->fold;
    const FoldParams f = {fold->shift_scale, (float2 *)fold->partial, (const float2 *)fold->moments, fold->rows};
    const int most = a->multiprocessors;
    if (a->x_type == DG_F16)
        return fold->copy ? launch_norm_type<__half, false>(columns, m, p, f, most, stream)
                          : launch_norm_type<__half, true>(columns, m, p, f, most, stream);
    return fold->copy ? launch_norm_type<__nv_bfloat16, false>(columns, m, p, f, most, stream)
                      : launch_norm_type<__nv_bfloat16, true>(columns, m, p, f, most, stream);
}
template <typename T, class P> static int launch_type(int columns, const Maps &m, const P &p, int most, cudaStream_t stream) {
    if (columns == 256) return launch_tiles<T, 256>(m, p, most, stream);
    if (columns == 192) return launch_tiles<T, 192>(m, p, most, stream);
    return launch_tiles<T, 128>(m, p, most, stream);
}
// The outputs, cut into tiles.
static WgmmaParams cut(const ConvArgs *a, const Layer &l) {
    WgmmaParams p = {};
    p.end = conv_epilogue(a);
    p.out_width = l.matrix ? p.end.rows : l.width, p.out_height = l.matrix ? 1 : l.height, p.images = l.matrix ? 1 : a->n;
    p.log_width = log2_of(l.box.width), p.log_height = log2_of(l.box.height);
    p.across = ceil_div(p.out_width, l.box.width), p.down = ceil_div(p.out_height, l.box.height);
    p.pixel_tiles = whole(p.across * p.down * ceil_div(p.images, l.box.images), PAIR); // one more may lie past the last image
    p.tiles = p.pixel_tiles * ceil_div(a->k, l.columns) * (a->up ? UP_PHASES : 1);
    return p;
}
double conv_sm90_waves(const ConvArgs *a) {
    const int most = a->multiprocessors / PAIR * PAIR;
    return (double)cut(a, layer_of(a)).tiles / (most ? most : PAIR);
}
int conv_sm90(const ConvArgs *a, void *stream) {
    const Layer l = layer_of(a);
    WgmmaParams p = cut(a, l);
    p.y = a->y, p.stats = (float2 *)a->stats;
    p.filter_width = a->up == UP_X ? UP_TAPS : a->s, p.top = a->options.top, p.left = a->options.left;
    p.chunks = ceil_div(a->c, DEPTH), p.taps = a->up == UP_X ? UP_TAPS * UP_TAPS : a->r * a->s, p.steps = p.taps * p.chunks;
    p.phase_taps = a->up == UP_X ? p.taps : 0;
    p.plain = is_plain(a);
    const bool direct = a->y_type == DG_F32 && a->add_type == DG_F32 && !a->stats && a->options.act == ACT_NONE;
    if (a->add_kind == OPERAND_FULL && (p.plain || direct)) p.add_columns = p.plain ? DEPTH : DEPTH / 2;
    for (int i = 0; i < 2; i++) p.skip_chunks[i] = a->skip[i] ? ceil_div(a->skip_c[i], DEPTH) : 0, p.steps += p.skip_chunks[i];
    Maps m = {};
    const int in_width = l.matrix ? p.end.rows : a->width, in_height = l.matrix ? 1 : a->height;
    const int up = a->up ? 1 : 0, large_add = a->up == UP_ADD ? 0 : up; // 1: the residual has the outputs' size, where tiles are of half
    if (a->options.stride == 2 || a->up & (UP_SKIP | UP_ADD)) p.phase_channels = a->c;
    int failed = weight_map(&m.w, a->w, a->x_type, a->c, a->up == UP_X ? UP_PHASES * p.taps : p.taps, a->k, l.columns);
    failed |= tiles_map(&m.x, p.phase_channels, a->x, a->x_type, a->c, in_width, in_height, p.images, l.box);
    for (int i = 0; i < 2 && a->skip[i]; i++) {
        failed |= image_map(&m.skip.x[i], a->skip[i], a->x_type, a->skip_c[i], p.out_width, p.out_height, p.images, l.box);
        failed |= weight_map(&m.skip.w[i], a->skip_w[i], a->x_type, a->skip_c[i], 1, a->k, l.columns);
    }
    if (p.plain) failed |= tiles_map(&m.y, up, a->y, a->y_type, a->k, p.out_width << up, p.out_height << up, p.images, box_of_warp(l.box));
    if (p.add_columns) {
        p.add_channels = large_add ? a->k : 0;
        failed |=
            tiles_map(&m.add, large_add, a->add, a->add_type, a->k, p.out_width << large_add, p.out_height << large_add, p.images, l.box);
    }
    if (a->fold.copy) failed |= image_map(&m.y, a->fold.copy, a->x_type, a->k, p.out_width, p.out_height, p.images, box_of_warp(l.box));
    if (failed) return cudaErrorInvalidValue;
    if (a->fold.copy || a->fold.moments) return launch_fold(a, l.columns, m, p, (cudaStream_t)stream);
    if (up) {
        UpParams q = {};
        (WgmmaParams &)q = p;
        if (a->x_type == DG_F16) return launch_type<__half>(l.columns, m, q, a->multiprocessors, (cudaStream_t)stream);
        return launch_type<__nv_bfloat16>(l.columns, m, q, a->multiprocessors, (cudaStream_t)stream);
    }
    if (a->x_type == DG_F16) return launch_type<__half>(l.columns, m, p, a->multiprocessors, (cudaStream_t)stream);
    return launch_type<__nv_bfloat16>(l.columns, m, p, a->multiprocessors, (cudaStream_t)stream);
}
