// conv_params.h -- what the convolution kernels of conv.cu are told, and where in x any piece of a sum lies.
// Rows are output pixels, columns output channels; the sum runs over pieces: 16 bytes of channels of one filter tap.
#ifndef DG_CONV_PARAMS_H
#define DG_CONV_PARAMS_H
#include "kernels/conv_epilogue.h"

enum { PIECE_BYTES = 16 };

// How a step of so many pieces goes on through the filter where channels fill whole pieces: without divisions and without branches.
struct FilterWalk {
    int taps, pieces;           // a step: whole taps, and pieces beyond them
    int row_pieces;             // the same in rows of the filter: pieces beyond whole rows
    int bytes, row_end_bytes;   // of x: what a step goes on by, and what an end of a filter row within it adds
    uint32_t by_pieces, by_row; // 2^16 / pieces of a tap and of a filter row, rounded up: quotients of small numbers
    uint32_t first_taps;        // bit number r * filter_width for each row r of the filter
};
struct ConvParams {
    const void *x, *w;
    void *y;
    float2 *stats; // of y, by segments of all images; NULL: none
    Epilogue end;
    int height, width, c, out_width, filter_height, filter_width, stride, top, left;
    int pieces, row_pieces; // per tap, of all taps
    Divider by_width;       // of y
    int across;             // blocks side by side for all channels
    Divider by_across;
    FilterWalk walk;
};

// Where in the filter a thread's next piece of the sum lies; `number` counts pieces from the first.
struct FilterPlace {
    int number, piece, r, s;
};
GPU_FN void advance(FilterPlace &f, const ConvParams &p, int by) {
    f.number += by, f.piece += by;
    while (f.piece >= p.pieces) {
        f.piece -= p.pieces;
        if (++f.s == p.filter_width) f.s = 0, f.r++;
    }
}
GPU_FN FilterPlace filter_place(const ConvParams &p, int first) {
    FilterPlace f = {0, 0, 0, 0};
    advance(f, p, first);
    return f;
}
// The input pixel that tap (0,0) of output pixel `row` reads; rows past the last are outside every image.
struct InputPlace {
    int h, w, image;
};
GPU_FN InputPlace input_place(const ConvParams &p, int row) {
    InputPlace i;
    i.image = image_of(p.end, row);
    const int pixel = row - i.image * p.end.out_pixels, line = divide(pixel, p.by_width);
    i.h = row < p.end.rows ? line * p.stride - p.top : -p.filter_height, i.w = (pixel - line * p.out_width) * p.stride - p.left;
    return i;
}
GPU_FN bool inside(const ConvParams &p, const InputPlace &i, const FilterPlace &f) {
    return f.number < p.row_pieces && (unsigned)(i.h + f.r) < (unsigned)p.height && (unsigned)(i.w + f.s) < (unsigned)p.width;
}
// Element index of a piece that is inside.
template <int E> GPU_FN size_t input_element(const ConvParams &p, const InputPlace &i, const FilterPlace &f) {
    return (((size_t)i.image * (size_t)p.height + (size_t)(i.h + f.r)) * (size_t)p.width + (size_t)(i.w + f.s)) * (size_t)p.c +
           (size_t)(f.piece * E);
}
// A piece gathered channel by channel: zeros past the last channel.
template <typename T> GPU_FN uint4 gather_piece(const ConvParams &p, const InputPlace &i, const FilterPlace &f) {
    enum { E = PIECE_BYTES / sizeof(T) };
    T v[E];
    memset(v, 0, sizeof v);
    if (inside(p, i, f)) {
        const T *x = (const T *)p.x + input_element<E>(p, i, f);
        GPU_FOR (int e = 0; e < E; e++)
            if (f.piece * E + e < p.c) v[e] = x[e];
    }
    uint4 q;
    memcpy(&q, v, sizeof q);
    return q;
}
#endif
