/* conv.c -- convolutions: which way each one is computed, and its weight, which the way's own form replaces.
 * The choice depends on the shape per image alone, so that a batch of one and a batch of 64 give the same bits.         */
#include "device/cpu/conv_ways.h"
#include "device/host_state.h"
#include <stdlib.h>

static ConvShape conv_shape(const Exec *e, int i) {
    const Op *op = &e->g->op[i];
    ConvShape c = {.in = cpu_shape_in(e, i, 0), .w = cpu_shape_in(e, i, 1), .out = cpu_shape_out(e, i), .o = op->conv};
    c.needs = conv_needs(e->g, op);
    c.bias = cpu_in(e, i, 2), c.add = cpu_in(e, i, 3), c.gate = cpu_in(e, i, 4);
    c.operand = operand_of(e->g, op->in[3], op->out);
    return c;
}
static int readers(const Graph *g, Tid t) {
    int n = 0;
    for (int i = 0; i < g->nop; i++)
        for (int j = 0; j < OP_INPUTS; j++) n += g->op[i].in[j] == t;
    return n;
}
/* The packed form replaces the original, which nobody else reads. */
static void drop_weight(Exec *e, Tid w) {
    if (readers(e->g, w) != 1) return;
    e->weight_bytes -= shape_count(shape_of(e->g, w)) * sizeof(float);
    host_release(e->dev, e->data[w]);
    e->data[w] = NULL;
}
bool cpu_conv_prepare(Exec *e, int i, Error *err) {
    ConvShape c = conv_shape(e, i);
    ConvPrep *p = e->prep[i] = dg_alloc(sizeof *p);
    p->tile = winograd_tile(&c);
    if (!(p->tile ? winograd_prepare : direct_prepare)(e, i, &c, p, err)) return false;
    drop_weight(e, e->g->op[i].in[1]);
    return true;
}
void cpu_conv_release(Exec *e, int i) {
    ConvPrep *p = e->prep[i];
    if (!p) return;
    host_release(e->dev, p->packed);
    free(p);
}
void cpu_conv(const Exec *e, int i) {
    ConvShape c = conv_shape(e, i);
    const ConvPrep *p = e->prep[i];
    (p->tile ? winograd_run : direct_run)(e, i, &c, p);
}
