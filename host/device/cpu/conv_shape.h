/* conv_shape.h -- what every way of computing a convolution wants to know, and the room for its weight. */
#ifndef DG_CPU_CONV_SHAPE_H
#define DG_CPU_CONV_SHAPE_H
#include "device/cpu/cpu.h"

typedef struct { /* one conv, its parameters gathered; x, w and y stay with the op */
    Shape in, w, out;
    int pad;
    float scale;
    const float *bias, *add;
    bool vector; /* add is one row per image, for all its pixels */
} ConvShape;
ConvShape conv_shape(const Exec *e, int i);

typedef struct {
    int tile; /* Winograd's outputs a tile and dimension; 0: direct */
    float *packed;
} ConvPrep;
float *conv_alloc(Exec *e, ConvPrep *p, size_t floats, Error *err); /* p->packed; counted as weight_bytes */
#endif
