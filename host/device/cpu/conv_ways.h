/* conv_ways.h -- the two ways in which the CPU backend computes a convolution. */
#ifndef DG_CPU_CONV_WAYS_H
#define DG_CPU_CONV_WAYS_H
#include "device/cpu/conv_shape.h"

/* cpu_conv_direct.c */
bool direct_prepare(Exec *e, int i, const ConvShape *c, ConvPrep *p, Error *err);
void direct_run(const Exec *e, int i, const ConvShape *c, const ConvPrep *p);
/* cpu_winograd.c: the tile size for this shape, 0: not that way */
int winograd_tile(const ConvShape *c);
bool winograd_prepare(Exec *e, int i, const ConvShape *c, ConvPrep *p, Error *err);
void winograd_run(const Exec *e, int i, const ConvShape *c, const ConvPrep *p);
#endif
