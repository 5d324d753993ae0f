/* conv_ways.h -- a convolution as the CPU backend sees it, and the two ways in which it is computed. */
#ifndef DG_CPU_CONV_WAYS_H
#define DG_CPU_CONV_WAYS_H
#include "device/cpu/cpu.h"

typedef struct { /* one conv, its parameters gathered; x, w and y stay with the op */
    Shape in, w, out;
    ConvOptions o;
    unsigned needs;
    const float *bias, *add, *gate;
    Operand operand; /* what add is */
} ConvShape;
static inline bool conv_within(const ConvShape *c, unsigned can) { return conv_fits(c->needs, can); }

typedef struct {
    int tile;      /* Winograd's outputs a tile and dimension; 0: direct */
    float *packed; /* cpu_packed's */
} ConvPrep;

/* conv_direct.c: takes every convolution */
bool direct_prepare(Exec *e, int i, const ConvShape *c, ConvPrep *p, Error *err);
void direct_run(const Exec *e, int i, const ConvShape *c, const ConvPrep *p);
/* winograd.c: the tile size for this shape, 0: not that way */
int winograd_tile(const ConvShape *c);
bool winograd_prepare(Exec *e, int i, const ConvShape *c, ConvPrep *p, Error *err);
void winograd_run(const Exec *e, int i, const ConvShape *c, const ConvPrep *p);
#endif
