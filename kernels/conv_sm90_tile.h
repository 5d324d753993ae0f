// conv_sm90_tile.h -- what the producer, the consumers and the launcher of conv_sm90.cu share: a tile's shared memory, where it lies,
// whose turn it is.
#ifndef DG_CONV_SM90_TILE_H
#define DG_CONV_SM90_TILE_H
#include "kernels/conv_epilogue.h"
#include "kernels/gpu_prims_sm90.h"

enum { ROWS = 128, GROUP_ROWS = 64, DEPTH = 64, ROW_BYTES = 128 }; // of a tile; DEPTH: channels of a step
enum { GROUP_THREADS = 128, GROUPS = 2, GROUP_WARPS = 4, THREADS = (1 + GROUPS) * GROUP_THREADS };
enum { PART = 4 }; // eights of a pass's columns whose sums a thread finishes at once
enum { PASS = 64, HALF_PASS_BYTES = GROUP_ROWS * ROW_BYTES, BOX_BYTES = ROWS * ROW_BYTES }; // PASS: columns that become outputs together
enum { PAIR = 2 };  // blocks of a cluster: their tiles differ in pixels alone, and each loads half of the weights for both
enum { BAND = 16 }; // pixel tiles that share weight tiles in the L2 cache, before the next ones are begun

// Shared memory: stages of x (128 pixels) and w (COLUMNS channels), rows of 64 channels; two passes of outputs for each group; barriers;
// bias.
template <int COLUMNS> struct WgmmaTile {
    enum {
        STAGE_BYTES = (ROWS + COLUMNS) * ROW_BYTES,
        STAGES = COLUMNS == 128 ? 6 : 4,
        OUTPUTS = STAGES * STAGE_BYTES,
        OUTPUT_BYTES = 2 * HALF_PASS_BYTES, // of a group
        FULL = OUTPUTS + GROUPS * OUTPUT_BYTES,
        EMPTY = FULL + 8 * STAGES,
        BIAS = EMPTY + 8 * STAGES, // of the channels of a tile, for each group
        SHARED_BYTES = BIAS + GROUPS * COLUMNS * (int)sizeof(float)
    };
    static_assert((int)SHARED_BYTES <= 227 << 10, "a block's shared memory");
};
struct WgmmaParams {
    enum { LOG_UP = 0 };
    void *y;
    float2 *stats; // of y, by segments of all images; NULL: none
    Epilogue end;
    int out_width, out_height, images;                // what tiles are cut from; the rows of a matrix are one image of one line
    int log_width, log_height;                        // of a tile's box
    int across, down, pixel_tiles, tiles;             // across, down: of an image; tiles: of all pixels and columns
    int filter_width, top, left, chunks, taps, steps; // chunks: steps of a tap
    int phase_channels;                               // of x where it is read by phases: even and odd lines and columns apart; else 0
    int phase_taps;                                   // taps of the weights of one phase; 0: all phases have the same weights
    int add_channels;                                 // of a residual that is read by phases; else 0
    int skip_chunks[2];                               // steps of each input of a skip, which are the last of `steps`
    int add_columns;                                  // of a box of what is added, two of which are a stage; 0: it does not come by TMA
    bool plain;                                       // outputs go through TMA (store_plain); else they are stored by threads
};

struct UpParams : WgmmaParams { // of tiles that are cut from the outputs of one phase (ConvArgs.up), even or odd lines and columns
    enum { LOG_UP = 1 };
};

// Where a tile begins.
struct TilePlace {
    int w, h, image, column;
    int phase; // of its pixels: odd columns, and 2 of odd lines
};
template <int COLUMNS, class P> GPU_FN TilePlace tile_place(const P &p, int tile) {
    const int column_tiles = p.tiles / p.pixel_tiles, band = tile / (BAND * column_tiles), in_band = tile - band * BAND * column_tiles;
    const int rows = p.pixel_tiles - band * BAND < BAND ? p.pixel_tiles - band * BAND : BAND;
    const int pixels = band * BAND + in_band % rows, line = pixels / p.across;
    TilePlace at;
    at.w = pixels % p.across << p.log_width, at.h = line % p.down << p.log_height;
    at.image = line / p.down * (ROWS >> (p.log_width + p.log_height)), at.column = (in_band / rows >> 2 * P::LOG_UP) * COLUMNS;
    at.phase = in_band / rows & ((1 << 2 * P::LOG_UP) - 1);
    return at;
}
// Where pixel `r` of a tile that begins here lies; it may lie outside.
GPU_FN TilePlace pixel_place(const WgmmaParams &p, TilePlace at, int r) {
    at.w += r & ((1 << p.log_width) - 1), at.h += r >> p.log_width & ((1 << p.log_height) - 1),
        at.image += r >> (p.log_width + p.log_height);
    return at;
}
GPU_FN bool is_inside(const WgmmaParams &p, const TilePlace &at) {
    return at.w < p.out_width && at.h < p.out_height && at.image < p.images;
}
// Its row in y, counted over all images; -1: there is none.
template <class P> GPU_FN int row_of(const P &p, const TilePlace &tile, int r) {
    const TilePlace at = pixel_place(p, tile, r);
    const int line = (at.image * p.out_height + at.h) << P::LOG_UP | at.phase >> 1;
    return is_inside(p, at) ? line * (p.out_width << P::LOG_UP) + (at.w << P::LOG_UP | (at.phase & 1)) : -1;
}
// The segment of y whose statistics are those of 64 pixels from that one on; -1: there is none. An image's are those of its phases, one
// behind the other: a norm joins them all.
template <class P> GPU_FN int segment_of(const P &p, const TilePlace &tile, int r) {
    const TilePlace at = pixel_place(p, tile, r);
    const int pixel = (at.image * p.out_height + at.h) * p.out_width + at.w, more = P::LOG_UP ? 3 * at.image + at.phase : 0;
    return is_inside(p, at) ? (pixel + more * p.out_height * p.out_width) / NORM_SEGMENT : -1;
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
#endif
