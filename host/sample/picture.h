/* picture.h -- what comes out at the end of the chain: images of bytes, and the rule that makes bytes of numbers. */
#ifndef DG_PICTURE_H
#define DG_PICTURE_H
#include "sample/options.h"
#include "sample/score.h"

typedef struct {
    int height, width, channels;
    double scale, offset; /* bytes are trunc(clamp(scale x + offset, 0, 255)) */
} Picture;
Picture picture_of_state(Shape state, Quantize q, const ScoreFacts *f); /* where the state is the picture */
size_t picture_bytes(const Picture *p);
#endif
