/* image_file.h -- the file of one image, PNG or JPEG, as RGB bytes, the way Pillow's convert("RGB") has them: grey is three times the same,
 * a palette is looked up, alpha is left out. No gamma, profile or orientation is applied.                                          */
#ifndef DG_IMAGE_FILE_H
#define DG_IMAGE_FILE_H
#include "base/error.h"

enum { IMAGE_FILE_SIDE = 16384, IMAGE_FILE_PIXELS = 1 << 26 }; /* the most that is read */
typedef struct {
    int height, width;
    bool alpha, jpeg;
} ImageFile;
bool image_file_named(const char *name); /* whether it ends as the file of a PNG or JPEG does, in letters of any case */
/* ".webp" where it ends as the file of an image that is not read; else NULL. */
const char *image_file_of_others(const char *name);
/* What its header says, and its pixels, [height][width][3]. On failure e holds a sentence about `name`. */
bool image_file_head(const uint8_t *data, size_t bytes, const char *name, ImageFile *p, Error *e);
bool image_file_read(const uint8_t *data, size_t bytes, const char *name, const ImageFile *p, uint8_t *rgb, Error *e);
#endif
