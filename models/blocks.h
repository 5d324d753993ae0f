/* blocks.h -- layers that compose the official weight names: name.weight, name.bias under the graph's prefix. */
#ifndef DG_BLOCKS_H
#define DG_BLOCKS_H
#include "graph/graph.h"

typedef struct {
    QkvOrder order; /* QKV_NONE: not a qkv projection */
    int heads;
} Qkv;
/* Where *x is 0, makes it, the input "x" of this shape. False: it is there, with another shape, which is refused. */
bool block_image(Graph *g, Tid *x, Shape s);
/* A conv (or, on {n,1,1,c}, a linear layer) of k outputs and r x r taps, "same" padding plus extra_pad. */
Tid block_conv(Graph *g, Tid x, const char *name, int k, int r, int extra_pad, Qkv qkv);
Tid block_conv_with(Graph *g, Tid x, const char *name, int k, int r, ConvOptions o);
Tid block_linear(Graph *g, Tid x, const char *name, int k, bool bias);
/* A row of k values for each class: of a label, one-hot. */
Tid block_embedding(Graph *g, Tid label, const char *name, int k);
Tid block_norm(Graph *g, Tid x, const char *name, Tid scale_shift, int groups, float eps);
/* The number of heads of per_head channels each; refuses a width that does not split so. */
int block_heads(Graph *g, int channels, int per_head);
/* What a configuration asks for cannot be built: the first such sentence becomes model_build's error. Building goes on. */
void block_refuse(Graph *g, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Sets the prefix of all names that follow, after the graph's root. */
void block_enter(Graph *g, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The features of a time as guided-diffusion and DiT compute them, in fp32: width/2 cosines, of frequencies from 1 down to
 * nearly 1/10000, then as many sines.                                                                                    */
void block_sinusoids(int width, float time, float *out);
#endif
