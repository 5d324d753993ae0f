/* png.c -- PNG files in memory: chunks, header, and pixels through zlib. */
#include "files/png.h"
#include "base/crc32.h"
#include <stdlib.h>
#include <string.h>
#ifdef DG_HAVE_ZLIB
#define ZLIB_CONST
#include <zlib.h>
#endif

/* ---- chunks: length, name, data and CRC ---------------------------------------------------------------------------------------- */
static const uint8_t signature[PNG_SIGNATURE] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
static const uint8_t last_chunk[PNG_CHUNK] = {0, 0, 0, 0, 'I', 'E', 'N', 'D', 0xae, 0x42, 0x60, 0x82};
enum { MOST_PIXELS = 1 << 30, DEFLATE_MAX_RATIO = 1032 /* 258 bytes from 2 bits */ };

static uint32_t big_endian(const uint8_t *p) { return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3]; }
bool png_recognise(const void *data, size_t bytes) { return bytes >= PNG_SIGNATURE && !memcmp(data, signature, PNG_SIGNATURE); }
bool png_ends(const uint8_t end[PNG_CHUNK]) { return !memcmp(end, last_chunk, PNG_CHUNK); }

static bool is_depth(int color, int depth) {
    if (depth == 8 || depth == 16) return color != PNG_PALETTE || depth == 8;
    return (depth == 1 || depth == 2 || depth == 4) && (color == PNG_GRAY || color == PNG_PALETTE);
}
const char *png_head_fault(const uint8_t *p, size_t bytes, PngHead *head) {
    static const int channels[] = {1, 0, 3, 3, 2, 0, 4}; /* by colour type */
    const uint8_t *h = p + PNG_SIGNATURE + 8;
    if (bytes < PNG_HEAD + PNG_CHUNK) return bytes ? "it is cut off" : "it is empty";
    if (!png_recognise(p, bytes)) return "it does not begin as a PNG file does";
    if (big_endian(p + PNG_SIGNATURE) != 13 || memcmp(p + PNG_SIGNATURE + 4, "IHDR", 4)) return "it has no header";
    if (crc32_of(0, p + PNG_SIGNATURE + 4, 17) != big_endian(p + PNG_HEAD - 4)) return "the CRC of its header is wrong";
    uint64_t width = big_endian(h), height = big_endian(h + 4);
    int color = h[9] < sizeof channels / sizeof *channels ? h[9] : 1;
    if (!width || !height || width > INT32_MAX || height > INT32_MAX || !channels[color] || !is_depth(color, h[8]) || h[10] || h[11] ||
        h[12] > 1)
        return "its header says what no PNG file has";
    uint64_t row = (width * (uint64_t)((color == PNG_PALETTE ? 1 : channels[color]) * h[8]) + 7) / 8;
    if (height > (uint64_t)bytes * DEFLATE_MAX_RATIO / row) return "its pixels are cut off"; /* before anyone makes room for them */
    *head = (PngHead){(int)height, (int)width, h[8], color, channels[color], h[12] != 0};
    return NULL;
}
typedef struct {
    const char *name; /* of four letters */
    const uint8_t *data;
    uint32_t bytes;
} Chunk;
/* The chunk at *at, of a file without a fault; *at moves behind it. */
static Chunk next_chunk(const uint8_t *p, size_t *at) {
    Chunk c = {(const char *)p + *at + 4, p + *at + 8, big_endian(p + *at)};
    *at += PNG_CHUNK + (size_t)c.bytes;
    return c;
}
static bool is_named(const Chunk *c, const char *name) { return !memcmp(c->name, name, 4); }
const char *png_fault(const uint8_t *p, size_t bytes, bool trailing) {
    PngHead head;
    const char *fault = png_head_fault(p, bytes, &head);
    bool pixels = false;
    for (size_t at = PNG_HEAD; !fault;) {
        if (bytes - at < PNG_CHUNK || big_endian(p + at) > bytes - at - PNG_CHUNK) return "it is cut off";
        Chunk c = next_chunk(p, &at);
        if (crc32_of(0, (const uint8_t *)c.name, (size_t)c.bytes + 4) != big_endian(c.data + c.bytes)) return "a CRC is wrong";
        pixels |= c.bytes > 0 && is_named(&c, "IDAT");
        if (is_named(&c, "IEND")) return at < bytes && !trailing ? "something follows its end" : pixels ? NULL : "it has no pixels";
    }
    return fault;
}

/* ---- pixels ---------------------------------------------------------------------------------------------------------------------- */
#ifdef DG_HAVE_ZLIB
typedef struct {
    const uint8_t *file;
    size_t at; /* of the chunk that comes next */
    z_stream z;
    const PngHead *head;
    const uint8_t *palette;
    int colors;
    uint8_t *row, *above; /* with the filter's byte, after as many zeros as a pixel has bytes */
} Reader;
enum { LEAD = 8 };

/* The next `bytes` unpacked ones. */
static const char *unpack(Reader *r, uint8_t *out, size_t bytes) {
    r->z.next_out = out, r->z.avail_out = (uInt)bytes;
    while (r->z.avail_out) {
        while (!r->z.avail_in) {
            Chunk c = next_chunk(r->file, &r->at);
            if (is_named(&c, "IEND")) return "its pixels are cut off";
            if (is_named(&c, "IDAT")) r->z.next_in = c.data, r->z.avail_in = c.bytes;
        }
        int status = inflate(&r->z, Z_NO_FLUSH);
        if (status == Z_STREAM_END && r->z.avail_out) return "its pixels are cut off";
        if (status != Z_OK && status != Z_STREAM_END) return "its pixels do not unpack";
    }
    return NULL;
}
static uint8_t paeth(int a, int b, int c) {
    int p = a + b - c, pa = abs(p - a), pb = abs(p - b), pc = abs(p - c);
    return (uint8_t)(pa <= pb && pa <= pc ? a : pb <= pc ? b : c);
}
/* Undoes the filter of a row of `bytes`, whose pixels are `step` bytes apart. */
static const char *unfilter(int filter, uint8_t *x, const uint8_t *above, size_t bytes, int step) {
    const uint8_t *left = x - step, *corner = above - step;
    switch (filter) {
    case 0: return NULL;
    case 1:
        for (size_t i = 0; i < bytes; i++) x[i] = (uint8_t)(x[i] + left[i]);
        return NULL;
    case 2:
        for (size_t i = 0; i < bytes; i++) x[i] = (uint8_t)(x[i] + above[i]);
        return NULL;
    case 3:
        for (size_t i = 0; i < bytes; i++) x[i] = (uint8_t)(x[i] + (left[i] + above[i]) / 2);
        return NULL;
    case 4:
        for (size_t i = 0; i < bytes; i++) x[i] = (uint8_t)(x[i] + paeth(left[i], above[i], corner[i]));
        return NULL;
    default: return "a row has a filter that is none";
    }
}
/* `count` pixels of a row to every `step`th of out. */
static const char *spread(const Reader *r, const uint8_t *row, int count, uint8_t *out, size_t step) {
    int depth = r->head->depth, most = (1 << depth) - 1, channels = r->head->channels;
    bool palette = r->head->color == PNG_PALETTE;
    if (depth == 8 && !palette) {
        for (int i = 0; i < count; i++, out += step)
            for (int c = 0; c < channels; c++) out[c] = *row++;
        return NULL;
    }
    for (int i = 0; i < count; i++, out += step) { /* one value a pixel, the first in the highest bits */
        size_t bit = (size_t)i * (size_t)depth;
        int v = row[bit / 8] >> (8 - depth - (int)(bit % 8)) & most;
        if (!palette) *out = (uint8_t)(v * 255 / most);
        else if (v < r->colors) memcpy(out, r->palette + 3 * v, 3);
        else return "a pixel's colour is not in its palette";
    }
    return NULL;
}
typedef struct {
    int x, y, right, down; /* first pixel, and steps */
} Pass;
static const char *read_pass(Reader *r, Pass p, uint8_t *pixels) {
    const PngHead *h = r->head;
    if (p.x >= h->width || p.y >= h->height) return NULL;
    size_t samples = h->color == PNG_PALETTE ? 1 : (size_t)h->channels, line = (size_t)h->width * (size_t)h->channels;
    int count = (h->width - p.x + p.right - 1) / p.right, step = (int)samples * h->depth < 8 ? 1 : (int)samples;
    size_t bytes = ((size_t)count * samples * (size_t)h->depth + 7) / 8;
    memset(r->row, 0, LEAD + bytes), memset(r->above, 0, LEAD + bytes);
    for (int y = p.y; y < h->height; y += p.down) {
        uint8_t filter;
        const char *fault = unpack(r, &filter, 1);
        if (!fault) fault = unpack(r, r->row + LEAD, bytes);
        if (!fault) fault = unfilter(filter, r->row + LEAD, r->above + LEAD, bytes, step);
        uint8_t *first = pixels + (size_t)y * line + (size_t)p.x * (size_t)h->channels;
        if (!fault) fault = spread(r, r->row + LEAD, count, first, (size_t)p.right * (size_t)h->channels);
        if (fault) return fault;
        uint8_t *swap = r->row;
        r->row = r->above, r->above = swap;
    }
    return NULL;
}
static const char *find_palette(Reader *r) {
    for (size_t at = PNG_HEAD;;) {
        Chunk c = next_chunk(r->file, &at);
        if (is_named(&c, "IDAT") || is_named(&c, "IEND")) break;
        if (is_named(&c, "PLTE")) r->palette = c.data, r->colors = (int)(c.bytes / 3);
    }
    return r->palette || r->head->color != PNG_PALETTE ? NULL : "it has no palette";
}
const char *png_decode(const uint8_t *data, const PngHead *head, uint8_t *pixels) {
    static const Pass all = {0, 0, 1, 1},
                      adam7[] = {{0, 0, 8, 8}, {4, 0, 8, 8}, {0, 4, 4, 8}, {2, 0, 4, 4}, {0, 2, 2, 4}, {1, 0, 2, 2}, {0, 1, 1, 2}};
    Reader r = {.file = data, .at = PNG_HEAD, .head = head};
    if (head->depth == 16) return "it has 16 bits a channel: images of 8 are read";
    if ((int64_t)head->height * head->width > MOST_PIXELS) return "it is larger than 2^30 pixels";
    const char *fault = find_palette(&r);
    if (fault) return fault;
    if (inflateInit(&r.z) != Z_OK) return "there is no memory to unpack it";
    size_t room = LEAD + (size_t)head->width * 4 + 1;
    r.row = malloc(room), r.above = malloc(room);
    if (!r.row || !r.above) fault = "there is no memory to unpack it";
    if (!head->interlaced && !fault) fault = read_pass(&r, all, pixels);
    for (int i = 0; head->interlaced && i < 7 && !fault; i++) fault = read_pass(&r, adam7[i], pixels);
    inflateEnd(&r.z);
    free(r.row), free(r.above);
    return fault;
}
#else
const char *png_decode(const uint8_t *data, const PngHead *head, uint8_t *pixels) {
    (void)data, (void)head, (void)pixels;
    return "this build has no zlib, which its pixels are packed with: install it (Debian: zlib1g-dev) and build again";
}
#endif
