/* pillow.h -- resizing as Pillow does it: its weights, and RGB bytes with its fixed-point arithmetic. The columns come first, as up to
 * Pillow 12; 13.0 begins with the rows of some tall images, whose bytes are then others.                                   */
#ifndef DG_PILLOW_H
#define DG_PILLOW_H
#include "base/error.h"

typedef enum { PILLOW_BOX, PILLOW_BICUBIC } PillowFilter;
/* Pixels that an output reads at most, of a line of `in` pixels that becomes one of `out`. */
int pillow_most_taps(PillowFilter f, int in, int out);
/* The weights of output j, in double, which sum to 1; returns how many there are, and the pixel of the first. */
int pillow_weights(PillowFilter f, int j, int in, int out, int *first, double *weight);

typedef struct {
    const uint8_t *rgb; /* [height][width][3] */
    int height, width;
} RgbImage;
typedef struct {
    int top, left, height, width;
} Window;
/* Of the image resized to height x width this part, [part.height][part.width][3]; what lies outside is not computed. False: there is no
 * memory for it.                                                                                                           */
bool pillow_resize(const RgbImage *image, PillowFilter f, int height, int width, Window part, uint8_t *out, Error *e);
/* A square of this size as guided-diffusion makes it (center_crop_arr), and DiT and DG after it: halved by BOX while the shorter side
 * is at least twice the size, resized by BICUBIC until it is the size, cut out of the middle.                              */
bool center_crop(const RgbImage *image, int size, uint8_t *out, Error *e);
#endif
