/* exec_check.h -- a run op by op with NaN in every output before it is written, and in every tensor after its last use. The graph's
 * guard_bytes, unused bytes beside every tensor, show what is written outside.                                            */
#ifndef DG_EXEC_CHECK_H
#define DG_EXEC_CHECK_H
#include "device/device.h"
#include <stdlib.h>
#include <string.h>

/* A quiet NaN with a payload that arithmetic does not produce: what is still there was never written. */
static inline void poison_pattern(DType t, void *p, size_t n) {
    static const uint64_t f64 = 0x7ff8dead0000beefu;
    static const uint32_t f32 = 0x7fc0dea1u;
    static const uint16_t f16 = 0x7ea1u, bf16 = 0x7fe3u;
    const void *one = t == DG_F64 ? (const void *)&f64 : t == DG_F32 ? (const void *)&f32 : t == DG_F16 ? (const void *)&f16 : &bf16;
    size_t size = dtype_bytes(t);
    for (size_t i = 0; i < n; i++) memcpy((char *)p + i * size, one, size);
}
static inline void poison_tensor(Exec *e, Tid t) {
    const Tensor *a = &e->g->t[t];
    void *host = dg_alloc(tensor_bytes(a));
    poison_pattern(a->dtype, host, shape_count(a->shape));
    e->dev->be->upload(e->dev, e->data[t], host, tensor_bytes(a));
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
static inline bool fully_written(Exec *e, Tid t, size_t *where) {
    const Tensor *a = &e->g->t[t];
    size_t size = dtype_bytes(a->dtype), n = shape_count(a->shape);
    char *host = dg_alloc(tensor_bytes(a)), one[8];
    poison_pattern(a->dtype, one, 1);
    e->dev->be->download(e->dev, host, e->data[t], tensor_bytes(a));
    bool ok = true;
    for (size_t i = 0; i < n && ok; i++)
        if (!memcmp(host + i * size, one, size)) ok = false, *where = i;
    free(host);
    return ok;
}
/* False: err names the op that wrote into a guard band, or left part of its output unwritten. */
static inline bool exec_run_checked(Exec *e, Error *err) {
    const Graph *g = e->g;
    unsigned char *host = dg_alloc(g->guard_bytes);
    bool ok = true;
    for (int i = 0; i < g->nop && ok; i++) {
        Tid out = g->op[i].out;
        poison_tensor(e, out);
        set_guards(e, out, host);
        e->dev->be->run_op(e, i);
        size_t where = 0;
        if (!guards_intact(e, out, host)) ok = dg_error(err, "op %d (%s) wrote outside its output", i, op_name(g->op[i].kind));
        else if (!fully_written(e, out, &where))
            ok = dg_error(err, "op %d (%s) left element %zu of its output unwritten", i, op_name(g->op[i].kind), where);
        for (Tid t = 1; t < g->nt && ok; t++) /* nobody may read it any more */
            if (g->t[t].kind == T_ACT && g->t[t].last == i && !g->t[t].keep) poison_tensor(e, t);
    }
    free(host);
    return ok;
}
#endif
