/* image_array.h -- a set of images as one array of bytes, written a few images at a time. */
#ifndef DG_IMAGE_ARRAY_H
#define DG_IMAGE_ARRAY_H
#include "base/interrupt.h"
#include "files/image_source.h"
#include "files/npz.h"

/* The first n images as arr_0, [n][height][width][3]. done, if any, is called with the images written so far. OUTCOME_INTERRUPTED and
 * OUTCOME_FAILED: the caller abandons the file.                                                                           */
Outcome image_array_write(NpzWriter *w, ImageSource *s, size_t n, const Interrupt *stop, void (*done)(void *context, size_t images),
                          void *context, Error *e);
#endif
