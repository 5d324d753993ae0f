/* jpeg.h -- JPEG files in memory: their pixels as Pillow's, through libjpeg-turbo where it is found. */
#ifndef DG_JPEG_H
#define DG_JPEG_H
#include "base/error.h"

bool jpeg_recognise(const void *data, size_t bytes);
/* NULL: it is libjpeg-turbo, or there is none. Else the decoder's name: its pixels may differ from Pillow's in their last bits. */
const char *jpeg_other_decoder(void);
bool jpeg_available(Error *e); /* false, with a sentence, in a build without libjpeg */
/* On failure e holds the end of a sentence: "it is cut off". Grey images and CMYK ones count as RGB. */
bool jpeg_head(const uint8_t *data, size_t bytes, int *height, int *width, Error *e);
bool jpeg_decode(const uint8_t *data, size_t bytes, int height, int width, uint8_t *rgb, Error *e); /* of the size that its head says */
/* What Pillow's save("x.jpg") without options would keep of these pixels. */
bool jpeg_round_trip(uint8_t *rgb, int height, int width, Error *e);
#endif
