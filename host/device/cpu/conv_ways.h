/* conv_ways.h -- a convolution as the CPU backend sees it, and the two ways in which it is computed. */
#ifndef DG_CPU_CONV_WAYS_H
#define DG_CPU_CONV_WAYS_H
#include "device/cpu/cpu.h"

typedef struct { /* one conv, its parameters gathered; w and y stay with the op */
    Shape in, w, out;
    const float *x;
    ConvOptions o;
    unsigned needs;
    const float *bias, *add, *gate;
    Operand operand; /* what add is */
} ConvShape;
static inline bool conv_within(const ConvShape *c, unsigned can) { return conv_fits(c->needs, can); }

typedef struct {
    int tile;       /* Winograd's outputs a tile and dimension; 0: direct */
    float *packed;  /* cpu_packed's */
    float *skip[2]; /* as packed: a skip's weight, for each of its inputs */
} ConvPrep;

/* conv_direct.c: takes every convolution. w: its weight, an output channel every k_row values. */
bool direct_prepare(Exec *e, const ConvShape *c, const float *w, int k_row, float **packed, Error *err);
void direct_run(const Exec *e, int i, const ConvShape *c, const float *packed);
/* winograd.c: the tile size for this shape, 0: not that way */
int winograd_tile(const ConvShape *c);
bool winograd_prepare(Exec *e, int i, const ConvShape *c, ConvPrep *p, Error *err);
void winograd_run(const Exec *e, int i, const ConvShape *c, const ConvPrep *p);
#endif
