/* conv.c -- convolutions: which way each one is computed, and its weight, which the way's own form replaces.
 * The choice depends on the shape per image alone, so that a batch of one and a batch of 64 give the same bits.
 * A skip is made first, in the output: a product of matrices for each of its inputs; the rest takes it as a residual.      */
#include "device/cpu/conv_ways.h"
#include "device/host_state.h"
#include <stdlib.h>

static ConvShape conv_shape(const Exec *e, int i) {
    const Op *op = &e->g->op[i];
    ConvShape c = {.in = cpu_shape_in(e, i, 0), .w = cpu_shape_in(e, i, 1), .out = cpu_shape_out(e, i), .o = op->conv};
    c.needs = conv_needs(e->g, op);
    c.bias = cpu_in(e, i, 2), c.add = cpu_in(e, i, 3), c.gate = cpu_in(e, i, 4);
    c.operand = operand_of(e->g, op->in[3], op->out), c.x = cpu_in(e, i, 0);
    if (c.needs & CONV_SKIP) c.needs &= ~(unsigned)CONV_SKIP, c.add = cpu_out(e, i), c.operand = OPERAND_FULL;
    return c;
}
static int skip_inputs(const Op *op) { return !op->in[5] ? 0 : op->in[6] ? 2 : 1; }
/* The product with input j of a skip. */
static ConvShape skip_shape(const Exec *e, int i, int j) {
    ConvShape c = {.in = cpu_shape_in(e, i, 5 + j), .w = cpu_shape_in(e, i, 7), .out = cpu_shape_out(e, i), .o = {.stride = 1, .scale = 1}};
    c.w.c = c.in.c, c.x = cpu_in(e, i, 5 + j);
    if (j) c.add = cpu_out(e, i), c.operand = OPERAND_FULL;
    else c.bias = cpu_in(e, i, 8);
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
    const Op *op = &e->g->op[i];
    if (!(p->tile ? winograd_prepare(e, i, &c, p, err) : direct_prepare(e, &c, cpu_in(e, i, 1), c.w.h * c.w.w * c.w.c, &p->packed, err)))
        return false;
    drop_weight(e, op->in[1]);
    for (int j = 0, first = 0; j < skip_inputs(op); j++) {
        ConvShape s = skip_shape(e, i, j);
        if (!direct_prepare(e, &s, cpu_in(e, i, 7) + first, cpu_shape_in(e, i, 7).c, &p->skip[j], err)) return false;
        first += s.in.c;
    }
    if (op->in[7]) drop_weight(e, op->in[7]);
    return true;
}
void cpu_conv_release(Exec *e, int i) {
    ConvPrep *p = e->prep[i];
    if (!p) return;
    float *all[] = {p->packed, p->skip[0], p->skip[1]};
    for (int j = 0; j < 3; j++) host_release(e->dev, all[j]);
    free(p);
}
void cpu_conv(const Exec *e, int i) {
    ConvShape c = conv_shape(e, i);
    const ConvPrep *p = e->prep[i];
    for (int j = 0; j < skip_inputs(&e->g->op[i]); j++) {
        ConvShape s = skip_shape(e, i, j);
        direct_run(e, i, &s, p->skip[j]);
    }
    if (p->tile) winograd_run(e, i, &c, p);
    else direct_run(e, i, &c, p->packed);
}
