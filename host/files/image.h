/* image.h -- images of bytes, NHWC: PNG files, and many images as one picture. */
#ifndef DG_IMAGE_H
#define DG_IMAGE_H
#include "base/file.h"

bool image_png_available(Error *e);                                 /* false, with a sentence, in a build without stb_image_write */
bool image_fits_png(int height, int width, int channels, Error *e); /* what a PNG can hold, and its writer can write */
/* Into a file that is open; path is for the sentence. image_begin_png opens it too: the caller calls out_finish, or finishes many
 * together.                                                                                                             */
bool image_put_png(OutFile *f, const char *path, const uint8_t *pixels, int height, int width, int channels, Error *e);
OutFile *image_begin_png(const char *path, const uint8_t *pixels, int height, int width, int channels, Error *e);
/* Whether a file is a whole PNG of this size: both ends are looked at, and every CRC of a small file, or of any with `all`. */
typedef enum {
    PNG_WHOLE,
    PNG_DAMAGED, /* empty, cut, changed, or gone: e says what */
    PNG_FOREIGN  /* whole but of another kind, or no file at all: e says what */
} PngState;
PngState image_check_png(const char *path, int height, int width, int channels, bool all, Error *e);
/* Reads a PNG of exactly this size, and checks every CRC. */
bool image_read_png(const char *path, uint8_t *pixels, int height, int width, int channels, Error *e);

/* n tiles of one size in rows, with a white gap, each pixel scale x scale large. The tiles are copied. */
typedef struct {
    int tile_height, tile_width, channels, columns, rows, scale;
    int height, width; /* of the picture */
    uint8_t *pixels;
} ImageGrid;
enum { GRID_GAP = 2, GRID_MAX_TILES = 10000 };
bool grid_layout(ImageGrid *g, int tiles, int columns, int tile_height, int tile_width, int channels, int scale, Error *e); /* the sizes */
bool grid_begin(ImageGrid *g, Error *e);                                                                                    /* the pixels */
void grid_set(ImageGrid *g, int i, const uint8_t *tile);
void grid_free(ImageGrid *g);
#endif
