/* backend.c -- the CPU backend: its table of ops, its workspace, and what is prepared before the first run. */
#include "device/cpu/cpu.h"
#include "device/host_state.h"
#include <stdlib.h>

static bool cpu_open(Device *d, const char *precision, Error *e) {
    if (!host_open(d, DG_F32, "fp32", precision, e)) return false;
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
    default: return true;
    }
}
static void cpu_unprepare(Exec *e, int i) {
    if (e->g->op[i].kind == OP_CONV) cpu_conv_unprepare(e, i);
}

static const OpFn cpu_op[OP_COUNT] = {
    [OP_CONV] = cpu_conv,
    [OP_NORM] = cpu_norm,
    [OP_NORM_BWD] = cpu_norm_bwd,
    [OP_ATTN] = cpu_attention,
    [OP_ATTN_BWD] = cpu_attention_bwd,
    [OP_UNARY] = cpu_unary,
    [OP_UNARY_BWD] = cpu_unary_bwd,
    [OP_ADD] = cpu_add,
    [OP_CONCAT] = cpu_concat,
    [OP_SLICE] = cpu_slice,
    [OP_RESAMPLE] = cpu_resample,
    [OP_POOL_TOKENS] = cpu_pool_tokens,
    [OP_POOL_TOKENS_BWD] = cpu_pool_tokens_bwd,
    [OP_FIRST_TOKEN] = cpu_first_token,
    [OP_FIRST_TOKEN_BWD] = cpu_first_token_bwd,
};
_Static_assert(OP_COUNT == 15, "a new op: write it for the CPU");

const Backend backend_cpu = {
    .name = "cpu",
    .open = cpu_open,
    .close = cpu_close,
    .alloc = host_alloc,
    .release = host_release,
    .upload = host_copy,
    .download = host_copy,
    .copy = host_copy,
    .sync = host_sync,
    .prepare = cpu_prepare,
    .unprepare = cpu_unprepare,
    .op = cpu_op,
    .combine = host_combine,
    .randn = host_randn,
    .to_u8 = host_to_u8,
};
