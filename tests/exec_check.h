/* exec_check.h -- a run op by op with NaN in every output before it is written, in every tensor after its last use, and in the
 * images that the run leaves out. The graph's guard_bytes, unused bytes beside every tensor, show what is written outside.   */
#ifndef DG_EXEC_CHECK_H
#define DG_EXEC_CHECK_H
#include "device/device.h"
#include <stdlib.h>
#include <string.h>

/* Quiet NaNs with payloads that arithmetic does not produce, but may hand on: so what nobody may read has another one than what
 * is not written yet.                                                                                                       */
typedef enum { UNWRITTEN, UNREADABLE, POISONS } Poison;
static inline void poison_pattern(Poison kind, DType t, void *p, size_t n) {
    static const uint64_t f64[POISONS] = {0x7ff8dead0000beefu, 0x7ff8cafe0000f00du};
    static const uint32_t f32[POISONS] = {0x7fc0dea1u, 0x7fc0cafeu};
    static const uint16_t f16[POISONS] = {0x7ea1u, 0x7e5eu}, bf16[POISONS] = {0x7fe3u, 0x7fd7u};
    const void *one = t == DG_F64   ? (const void *)&f64[kind]
                      : t == DG_F32 ? (const void *)&f32[kind]
                      : t == DG_F16 ? (const void *)&f16[kind]
                                    : &bf16[kind];
    size_t size = dtype_bytes(t);
    for (size_t i = 0; i < n; i++) memcpy((char *)p + i * size, one, size);
}
/* Its images from `row` on. */
static inline void poison_tensor(Exec *e, Poison kind, Tid t, int row) {
    const Tensor *a = &e->g->t[t];
    size_t bytes = tensor_bytes(a) / (size_t)a->shape.n, left = (size_t)(a->shape.n - row) * bytes;
    if (!left) return;
    void *host = dg_alloc(left);
    poison_pattern(kind, a->dtype, host, left / dtype_bytes(a->dtype));
    e->dev->be->upload(e->dev, (char *)e->data[t] + (size_t)row * bytes, host, left);
    free(host);
}
enum { GUARD_BYTE = 0xA5 };
static inline void set_guards(Exec *e, Tid t, unsigned char *host) {
    size_t guard = e->g->guard_bytes;
    char *p = e->data[t];
    memset(host, GUARD_BYTE, guard);
    e->dev->be->upload(e->dev, p - guard, host, guard);
    e->dev->be->upload(e->dev, p + tensor_bytes(&e->g->t[t]), host, guard);
}
static inline bool guards_intact(Exec *e, Tid t, unsigned char *host) {
    size_t guard = e->g->guard_bytes;
    char *side[2] = {(char *)e->data[t] - guard, (char *)e->data[t] + tensor_bytes(&e->g->t[t])};
    for (int s = 0; s < 2; s++) {
        e->dev->be->download(e->dev, host, side[s], guard);
        for (size_t i = 0; i < guard; i++)
            if (host[i] != GUARD_BYTE) return false;
    }
    return true;
}
/* The first `rows` images of t hold nothing of this poison, the others nothing else. */
static inline bool written(Exec *e, Poison kind, Tid t, int rows, size_t *where) {
    const Tensor *a = &e->g->t[t];
    size_t size = dtype_bytes(a->dtype), n = shape_count(a->shape), used = n / (size_t)a->shape.n * (size_t)rows;
    char *host = dg_alloc(tensor_bytes(a)), one[8];
    poison_pattern(kind, a->dtype, one, 1);
    e->dev->be->download(e->dev, host, e->data[t], tensor_bytes(a));
    bool ok = true;
    for (size_t i = 0; i < n && ok; i++)
        if (!memcmp(host + i * size, one, size) == (i < used)) ok = false, *where = i;
    free(host);
    return ok;
}
/* Whether a device has left op i out, as it may a resample by a box filter (device/cuda/upsampled.h, pooled.h), or written another output
 * than its own, as it may a norm before one: nothing is written. */
static inline bool is_left_out(Exec *e, int i, size_t *where) {
    const Graph *g = e->g;
    bool may = box_factor(&g->op[i]) != 0;
    for (int j = i + 1; j < g->nop && !may; j++) may = g->op[i].kind == OP_NORM && box_factor(&g->op[j]) && g->op[j].in[0] == g->op[i].out;
    return may && written(e, UNWRITTEN, g->op[i].out, 0, where);
}
/* False: err names the op that wrote into a guard band or into an image that is not among the `rows`, or left part of its output
 * unwritten. The inputs of those other images are lost.                                                                     */
static inline bool exec_run_checked(Exec *e, int rows, Error *err) {
    const Graph *g = e->g;
    unsigned char *host = dg_alloc(g->guard_bytes);
    bool ok = true;
    size_t where = 0;
    for (Tid t = 1; t < g->nt; t++)
        if (g->t[t].kind == T_INPUT) poison_tensor(e, UNREADABLE, t, rows);
    e->rows = rows;
    for (int i = 0; i < g->nop && ok; i++) {
        Tid out = g->op[i].out;
        for (Tid t = 1; t < g->nt; t++) { /* its output, or one that it may begin */
            if (g->t[t].kind != T_ACT || g->t[t].first != i) continue;
            poison_tensor(e, UNWRITTEN, t, 0);
            set_guards(e, t, host);
        }
        e->dev->be->run_op(e, i);
        if (!guards_intact(e, out, host)) ok = dg_error(err, "op %d (%s) wrote outside its output", i, op_name(g->op[i].kind));
        else if (!is_left_out(e, i, &where) && !written(e, UNWRITTEN, out, rows, &where))
            ok = dg_error(err, "op %d (%s), %d of %d images: element %zu of its output is %s", i, op_name(g->op[i].kind), rows, g->batch,
                          where, where < shape_count(exec_shape(e, out)) ? "unwritten" : "written");
        if (ok) poison_tensor(e, UNREADABLE, out, rows);
        for (Tid t = 1; t < g->nt && ok; t++) /* nobody may read it any more */
            if (g->t[t].kind == T_ACT && g->t[t].last == i && !g->t[t].keep) poison_tensor(e, UNREADABLE, t, 0);
    }
    for (Tid t = 1; t < g->nt && ok; t++) /* what outlives the run */
        if ((g->t[t].kind == T_INPUT || g->t[t].keep) && !written(e, UNREADABLE, t, rows, &where))
            ok = dg_error(err, "%d of %d images: element %zu of %s was written after its op", rows, g->batch, where, g->t[t].name);
    e->rows = g->batch;
    free(host);
    return ok;
}
#endif
