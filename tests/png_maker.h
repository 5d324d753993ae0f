/* png_maker.h -- makes PNG files in memory, of every kind that the format has, so that tests can lie in any field of them. Needs zlib. */
#ifndef DG_PNG_MAKER_H
#define DG_PNG_MAKER_H
#include "base/crc32.h"
#include "files/png.h"
#include "zip_maker.h"

typedef struct {
    int height, width, depth, color;
    bool interlaced;
    int filter;            /* of every row; -1: another each row */
    int pieces;            /* IDAT chunks */
    int extra;             /* bytes behind the packed pixels in them */
    const uint8_t *colors; /* of a palette, 3 bytes each */
    int palette;           /* how many */
} PngMaker;

static inline void png_chunk(Made *m, const char *name, const void *data, size_t bytes) {
    for (int i = 24; i >= 0; i -= 8) made_put(m, bytes >> i, 1);
    size_t at = m->bytes;
    made_bytes(m, name, 4), made_bytes(m, data, bytes);
    uint32_t crc = crc32_of(0, m->data + at, bytes + 4);
    for (int i = 24; i >= 0; i -= 8) made_put(m, crc >> i, 1);
}
static inline int png_samples(int color) { return color == PNG_RGB ? 3 : color == PNG_GRAY_ALPHA ? 2 : color == PNG_RGBA ? 4 : 1; }
static inline uint8_t png_predict(int filter, int a, int b, int c) {
    int p = a + b - c, pa = abs(p - a), pb = abs(p - b), pc = abs(p - c);
    return (uint8_t)(filter == 1   ? a
                     : filter == 2 ? b
                     : filter == 3 ? (a + b) / 2
                     : filter == 4 ? (pa <= pb && pa <= pc ? a
                                      : pb <= pc           ? b
                                                           : c)
                                   : 0);
}
/* samples: [height][width][samples of a pixel], each below 2^depth (of 16 bits: the high byte). */
static inline void png_pass(Made *raw, const PngMaker *p, const uint8_t *samples, int x0, int y0, int right, int down) {
    int per = png_samples(p->color), columns = (p->width - x0 + right - 1) / right;
    if (x0 >= p->width || y0 >= p->height) return;
    size_t bytes = ((size_t)(columns * per * p->depth) + 7) / 8;
    int step = per * p->depth < 8 ? 1 : per * p->depth / 8, lines = 0;
    uint8_t *row = dg_alloc(bytes), *above = dg_alloc(bytes);
    for (int y = y0; y < p->height; y += down, lines++) {
        memset(row, 0, bytes);
        for (int i = 0; i < columns * per; i++) {
            int v = samples[((size_t)y * (size_t)p->width + (size_t)(x0 + i / per * right)) * (size_t)per + (size_t)(i % per)];
            if (p->depth == 16) row[2 * i] = (uint8_t)v;
            else row[i * p->depth / 8] |= (uint8_t)(v << ((8 - p->depth - i * p->depth % 8) & 7)); /* of no depth: anything */
        }
        int filter = p->filter < 0 ? lines % 5 : p->filter;
        made_put(raw, (uint64_t)filter, 1);
        for (size_t i = 0; i < bytes; i++) {
            int a = i >= (size_t)step ? row[i - (size_t)step] : 0, c = i >= (size_t)step ? above[i - (size_t)step] : 0;
            made_put(raw, (uint8_t)(row[i] - png_predict(filter, a, above[i], c)), 1);
        }
        memcpy(above, row, bytes);
    }
    free(row), free(above);
}
static inline Made png_make(const PngMaker *p, const uint8_t *samples) {
    static const int adam7[][4] = {{0, 0, 8, 8}, {4, 0, 8, 8}, {0, 4, 4, 8}, {2, 0, 4, 4}, {0, 2, 2, 4}, {1, 0, 2, 2}, {0, 1, 1, 2}};
    Made m = {0}, raw = {0}, head = {0}, packed = {0};
    for (int i = 24; i >= 0; i -= 8) made_put(&head, (uint64_t)(uint32_t)p->width >> i, 1);
    for (int i = 24; i >= 0; i -= 8) made_put(&head, (uint64_t)(uint32_t)p->height >> i, 1);
    made_put(&head, (uint64_t)p->depth, 1), made_put(&head, (uint64_t)p->color, 1), made_put(&head, 0, 2),
        made_put(&head, p->interlaced, 1);
    if (!p->interlaced) png_pass(&raw, p, samples, 0, 0, 1, 1);
    for (int i = 0; p->interlaced && i < 7; i++) png_pass(&raw, p, samples, adam7[i][0], adam7[i][1], adam7[i][2], adam7[i][3]);
#ifdef DG_HAVE_ZLIB
    uLongf room = compressBound((uLong)raw.bytes);
    packed.data = dg_alloc(room);
    DG_CHECK(compress(packed.data, &room, raw.data, (uLong)raw.bytes) == Z_OK, "zlib does not compress");
    packed.bytes = packed.capacity = room;
#endif
    for (int i = 0; i < p->extra; i++) made_put(&packed, 7, 1);
    made_bytes(&m, "\x89PNG\r\n\x1a\n", 8);
    png_chunk(&m, "IHDR", head.data, head.bytes);
    if (p->colors) png_chunk(&m, "PLTE", p->colors, (size_t)p->palette * 3);
    int pieces = p->pieces > 0 ? p->pieces : 1;
    for (int i = 0; i < pieces; i++) {
        size_t from = packed.bytes * (size_t)i / (size_t)pieces, to = packed.bytes * (size_t)(i + 1) / (size_t)pieces;
        png_chunk(&m, "IDAT", packed.data + from, to - from);
    }
    png_chunk(&m, "IEND", NULL, 0);
    made_free(&raw), made_free(&head), made_free(&packed);
    return m;
}
#endif
