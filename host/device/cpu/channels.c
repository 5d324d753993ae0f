/* channels.c -- ops that move channels and compute nothing: pieces of pixels, copied whole. */
#include "device/cpu/cpu.h"
#include <string.h>

void cpu_concat(const Exec *e, int i) {
    const Op *op = &e->g->op[i];
    const float *x[OP_INPUTS];
    size_t c[OP_INPUTS], C = (size_t)cpu_shape_out(e, i).c, rows = (size_t)cpu_shape_out(e, i).n * pixels_of(cpu_shape_out(e, i));
    int inputs = 0;
    for (; inputs < OP_INPUTS && op->in[inputs]; inputs++)
        x[inputs] = cpu_in(e, i, inputs), c[inputs] = (size_t)cpu_shape_in(e, i, inputs).c;
#pragma omp parallel for
    for (size_t row = 0; row < rows; row++) {
        float *y = cpu_out(e, i) + row * C;
        for (int j = 0; j < inputs; y += c[j++]) memcpy(y, x[j] + row * c[j], c[j] * sizeof *y);
    }
}
void cpu_slice(const Exec *e, int i) {
    Shape o = cpu_shape_out(e, i);
    size_t C = (size_t)o.c, a = (size_t)cpu_shape_in(e, i, 0).c, rows = (size_t)o.n * pixels_of(o);
    const float *x = cpu_in(e, i, 0) + e->g->op[i].slice.first;
    float *y = cpu_out(e, i);
#pragma omp parallel for
    for (size_t row = 0; row < rows; row++) memcpy(y + row * C, x + row * a, C * sizeof *y);
}
/* A pixel of the input is p pieces, of p pixels each in a row of the output. */
void cpu_depth_to_space(const Exec *e, int i) {
    Shape a = cpu_shape_in(e, i, 0);
    size_t p = (size_t)e->g->op[i].depth_to_space.p, W = (size_t)a.w, C = (size_t)a.c, piece = C / p, rows = (size_t)a.n * (size_t)a.h * p;
    const float *x = cpu_in(e, i, 0);
    float *y = cpu_out(e, i);
#pragma omp parallel for
    for (size_t row = 0; row < rows; row++) /* of the output */
        for (size_t w = 0; w < W; w++) memcpy(y + (row * W + w) * piece, x + (row / p * W + w) * C + row % p * piece, piece * sizeof *y);
}
