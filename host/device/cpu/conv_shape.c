/* conv_shape.c -- what every way of computing a convolution wants to know, and the room for its weight. */
#include "device/cpu/conv_shape.h"
#include "device/host_state.h"

float *conv_alloc(Exec *e, ConvPrep *p, size_t floats, Error *err) {
    p->packed = host_alloc(e->dev, floats * sizeof(float));
    if (p->packed) e->weight_bytes += floats * sizeof(float);
    else dg_out_of_memory(err, "not enough memory on device cpu for a packed weight of %zu bytes", floats * sizeof(float));
    return p->packed;
}
ConvShape conv_shape(const Exec *e, int i) {
    const Op *op = &e->g->op[i];
    ConvShape c = {
        .in = cpu_shape_in(e, i, 0), .w = cpu_shape_in(e, i, 1), .out = cpu_shape_out(e, i), .pad = op->conv.pad, .scale = op->conv.scale};
    c.bias = cpu_in(e, i, 2), c.add = cpu_in(e, i, 3);
    c.vector = c.add && !is_vector(c.out) && !shape_eq(cpu_shape_in(e, i, 3), c.out);
    return c;
}
