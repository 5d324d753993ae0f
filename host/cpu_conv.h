/* cpu_conv.h -- between the ways in which the CPU backend computes a convolution. */
#ifndef DG_CPU_CONV_H
#define DG_CPU_CONV_H
#include "cpu.h"

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

/* cpu_winograd.c: the tile size for this shape, 0: not that way */
int winograd_tile(const ConvShape *c);
bool winograd_prepare(Exec *e, int i, const ConvShape *c, ConvPrep *p, Error *err);
void winograd_run(const Exec *e, int i, const ConvShape *c, const ConvPrep *p);
#endif
