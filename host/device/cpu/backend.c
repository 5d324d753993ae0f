/* backend.c -- the CPU backend: its table of ops, and what is prepared before the first run. */
#include "device/cpu/cpu.h"
#include "device/host_state.h"
#include <stdlib.h>

static bool cpu_open(Device *d, Error *e) {
    if (!host_open(d, e)) return false;
    Cpu *c = d->impl = dg_alloc(sizeof *c);
#ifdef _OPENMP
    c->threads = omp_get_max_threads();
#else
    c->threads = 1;
#endif
    return true;
}
static void cpu_close(Device *d) {
    Cpu *c = d->impl;
    host_release(d, c->work);
    free(c);
}
static bool cpu_prepare(Exec *e, int i, Error *err) {
    switch (e->g->op[i].kind) {
    case OP_CONV: return cpu_conv_prepare(e, i, err);
    case OP_NORM:
    case OP_NORM_BWD: return cpu_norm_prepare(e, i, err);
    case OP_ATTN:
    case OP_ATTN_BWD: return cpu_attention_prepare(e, i, err);
    case OP_POOL: return cpu_pool_prepare(e, i, err);
    case OP_RESIZE: return cpu_resize_prepare(e, i, err);
    default: return true;
    }
}
static void cpu_unbind(Exec *e) {
    for (int i = 0; i < e->g->nop; i++)
        if (e->g->op[i].kind == OP_CONV) cpu_conv_release(e, i);
}

/* An op without a fast way here is computed by the reference, which reads the same memory. */
static void cpu_run_op(const Exec *e, int i) {
    switch (e->g->op[i].kind) {
    case OP_CONV: cpu_conv(e, i); break;
    case OP_NORM:
    case OP_NORM_BWD: cpu_norm(e, i); break;
    case OP_ATTN: cpu_attention(e, i); break;
    case OP_ATTN_BWD: cpu_attention_bwd(e, i); break;
    case OP_UNARY:
    case OP_UNARY_BWD: cpu_unary(e, i); break;
    case OP_ADD: cpu_add(e, i); break;
    case OP_GATE: cpu_gate(e, i); break;
    case OP_CONCAT: cpu_concat(e, i); break;
    case OP_SLICE: cpu_slice(e, i); break;
    case OP_DEPTH_TO_SPACE: cpu_depth_to_space(e, i); break;
    case OP_POOL: cpu_pool(e, i); break;
    case OP_PIXEL_NORM: cpu_pixel_norm(e, i); break;
    case OP_RESIZE: cpu_resize(e, i); break;
    case OP_RESAMPLE: cpu_resample(e, i); break;
    case OP_POOL_TOKENS: cpu_pool_tokens(e, i); break;
    case OP_POOL_TOKENS_BWD: cpu_pool_tokens_bwd(e, i); break;
    default: backend_ref.run_op(e, i);
    }
}

const Backend backend_cpu = {
    .name = "cpu",
    .takes = {{DG_F32, false}},
    .precisions = 1,
    .open = cpu_open,
    .close = cpu_close,
    HOST_BACKEND,
    .bind = host_bind,
    .prepare = cpu_prepare,
    .unbind = cpu_unbind,
    .run = host_run,
    .run_op = cpu_run_op,
    .combine = host_combine,
};
