/* png.h -- PNG files in memory: whether one is whole, what its header says, and its pixels. Format: the W3C's Portable Network Graphics
 * Specification. Nothing is believed: every length and CRC is looked at, and no more is unpacked than there are pixels for.       */
#ifndef DG_PNG_H
#define DG_PNG_H
#include "base/error.h"

enum {
    PNG_SIGNATURE = 8,
    PNG_CHUNK = 12,                            /* without its data */
    PNG_HEAD = PNG_SIGNATURE + PNG_CHUNK + 13, /* with the first chunk, IHDR */
    PNG_GRAY = 0,
    PNG_RGB = 2,
    PNG_PALETTE = 3,
    PNG_GRAY_ALPHA = 4,
    PNG_RGBA = 6 /* colour types */
};
typedef struct {
    int height, width, depth, color, channels; /* channels: of its pixels, a palette's being 3 */
    bool interlaced;
} PngHead;
bool png_recognise(const void *data, size_t bytes);
/* What is wrong, as the end of a sentence; NULL: nothing. The head's function looks at the first PNG_HEAD bytes, of a file of so many;
 * png_fault at every chunk up to the end, behind which there may be something where `trailing`.                                 */
const char *png_head_fault(const uint8_t *data, size_t bytes, PngHead *head);
const char *png_fault(const uint8_t *data, size_t bytes, bool trailing);
bool png_ends(const uint8_t end[PNG_CHUNK]); /* the last chunk */
/* The pixels of a file without a fault: [height][width][channels], those of fewer bits a channel scaled to 8. 16 bits are refused.
 * NULL, or what is wrong.                                                                                                     */
const char *png_decode(const uint8_t *data, const PngHead *head, uint8_t *pixels);
#endif
