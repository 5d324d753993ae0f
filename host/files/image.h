/* image.h -- images of bytes, NHWC: PNG files, and many images as one picture. */
#ifndef DG_IMAGE_H
#define DG_IMAGE_H
#include "base/file.h"

bool image_png_available(Error *e); /* false, with a sentence, in a build without stb_image_write */
bool image_write_png(const char *path, const uint8_t *pixels, int height, int width, int channels, Error *e); /* atomic */
/* The same but for out_finish: the caller finishes many together, or one. */
OutFile *image_begin_png(const char *path, const uint8_t *pixels, int height, int width, int channels, Error *e);
/* Reads a PNG of exactly this size. */
bool image_read_png(const char *path, uint8_t *pixels, int height, int width, int channels, Error *e);

/* n tiles of one size in rows, with a white gap, each pixel scale x scale large. The tiles are copied. */
typedef struct {
    int tile_height, tile_width, channels, columns, rows, scale;
    int height, width; /* of the picture */
    uint8_t *pixels;
} Grid;
enum { GRID_GAP = 2, GRID_MAX_TILES = 10000 };
Grid *grid_new(int tiles, int columns, int tile_height, int tile_width, int channels, int scale);
void grid_set(Grid *g, int i, const uint8_t *tile);
void grid_free(Grid *g);
#endif
