/* rounded.c -- device "rounded": the CPU backend with every weight, input and op output rounded to fp16, bf16 or tf32. It is
 * the naive implementation in that precision: its error on a case says how far off a GPU may be (program/verify).
 *
 * The graph is built for 16-bit storage, as it is for a GPU. What crosses the Backend interface (weights, inputs, outputs)
 * lies in memory in that type; the ops run on a twin of the Exec whose tensors are f32, at twice the arena's offsets.     */
#include "base/dtype.h"
#include "device/host_state.h"
#include <stdlib.h>
#include <string.h>

typedef struct {
    Device inner;
} Rounded;
typedef struct { /* Exec.state of an Exec on this device */
    Graph g;     /* the same ops; tensors of its own, f32 */
    Exec *e;
} Twin;

static bool rounded_open(Device *d, Error *e) {
    if (!host_open(d, e)) return false;
    Rounded *r = d->impl = dg_alloc(sizeof *r);
    r->inner.be = &backend_cpu, r->inner.precision = (Precision){DG_F32, false};
    if (r->inner.be->open(&r->inner, e)) return true;
    free(r);
    return false;
}
static Device *inner_device(const Device *d) { return &((Rounded *)d->impl)->inner; }
static void rounded_close(Device *d) {
    inner_device(d)->be->close(inner_device(d));
    free(d->impl);
}

/* ---- rounding ------------------------------------------------------------------------------------------------------------ */
static float to_tf32(float v) { /* 10 bits of fraction, to nearest even */
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    if ((bits & 0x7f800000u) == 0x7f800000u) return v;
    bits = (bits + 0xfffu + (bits >> 13 & 1)) & ~0x1fffu;
    memcpy(&v, &bits, sizeof v);
    return v;
}
/* What tensor cores read is rounded: tensors stored in 16 bits; in tf32, images and the weights that multiply them. */
static void round_values(DType stored, bool tf32, float *v, size_t n) {
#pragma omp parallel for
    for (size_t i = 0; i < n; i++) {
        if (stored == DG_F16) v[i] = f16_to_f32(f32_to_f16(v[i]));
        else if (stored == DG_BF16) v[i] = bf16_to_f32(f32_to_bf16(v[i]));
        else if (tf32) v[i] = to_tf32(v[i]);
    }
}
static void round_tensor(const Exec *e, const Exec *twin, Tid t) {
    const Tensor *a = &e->g->t[t];
    round_values(a->dtype, e->g->precision.tf32 && !is_vector(a->shape), twin->data[t], shape_count(exec_shape(e, t)));
}

/* ---- the twin ------------------------------------------------------------------------------------------------------------- */
enum { TWICE = 2 }; /* an f32 value takes at most twice the bytes */
static bool rounded_bind(Exec *e, Error *err) {
    Twin *w = e->state = dg_alloc(sizeof *w);
    Device *inner = inner_device(e->dev);
    w->g = *e->g;
    w->g.precision = inner->precision, w->g.arena_bytes = TWICE * e->g->arena_bytes;
    w->g.t = dg_alloc((size_t)e->g->nt * sizeof *w->g.t);
    memcpy(w->g.t, e->g->t, (size_t)e->g->nt * sizeof *w->g.t);
    w->e = dg_alloc(sizeof *w->e);
    w->e->g = &w->g, w->e->dev = inner, w->e->rows = e->rows;
    w->e->data = dg_alloc((size_t)e->g->nt * sizeof *w->e->data);
    w->e->prep = dg_alloc(((size_t)e->g->nop + 1) * sizeof *w->e->prep);
    w->e->arena = inner->be->alloc(inner, w->g.arena_bytes);
    if (!w->e->arena)
        return dg_out_of_memory(err, "not enough memory on device %s for %.1f MiB of activations", e->dev->be->name,
                                (double)w->g.arena_bytes / 1048576);
    for (Tid t = 1; t < w->g.nt; t++) {
        Tensor *a = &w->g.t[t];
        a->offset *= TWICE;
        if (a->dtype != DG_F64) a->dtype = DG_F32; /* tables stay what they are */
        if (in_arena(a)) w->e->data[t] = (char *)w->e->arena + a->offset;
    }
    return inner->be->bind(w->e, err);
}
static void rounded_unbind(Exec *e) {
    Twin *w = e->state;
    if (!w) return;
    exec_free(w->e);
    free(w->g.t);
    free(w);
}
/* A weight or a constant, in the twin's memory. */
static bool twin_stored(const Exec *e, Exec *twin, int i, Tid t, Error *err) {
    const Tensor *a = &e->g->t[t];
    size_t n = shape_count(a->shape);
    if (!(twin->data[t] = twin->dev->be->alloc(twin->dev, tensor_bytes(&twin->g->t[t]))))
        return dg_out_of_memory(err, "not enough memory on device %s for weight %s", e->dev->be->name, a->name);
    if (a->dtype == DG_F64) {
        memcpy(twin->data[t], e->data[t], tensor_bytes(a));
        return true;
    }
    dtype_convert(DG_F32, twin->data[t], a->dtype, e->data[t], n);
    const Op *op = &e->g->op[i];
    bool meets_image = op->kind == OP_CONV && (op->in[1] == t || op->in[7] == t) && !is_vector(shape_of(e->g, op->in[0]));
    round_values(DG_F32, e->g->precision.tf32 && meets_image, twin->data[t], n);
    return true;
}
static bool rounded_prepare(Exec *e, int i, Error *err) {
    Exec *twin = ((const Twin *)e->state)->e;
    for (int j = 0; j < OP_INPUTS; j++) {
        Tid t = e->g->op[i].in[j];
        if (t && !twin->data[t] && !twin_stored(e, twin, i, t, err)) return false;
    }
    return twin->dev->be->prepare(twin, i, err);
}
static void widen(const Exec *e, const Exec *twin, Tid t) {
    dtype_convert(DG_F32, twin->data[t], e->g->t[t].dtype, e->data[t], shape_count(exec_shape(e, t)));
    round_tensor(e, twin, t);
}
static void narrow(const Exec *e, const Exec *twin, Tid t) {
    dtype_convert(e->g->t[t].dtype, e->data[t], DG_F32, twin->data[t], shape_count(exec_shape(e, t)));
}
/* Op i with inputs that are in the twin already. */
static void run_op(const Exec *e, int i) {
    Exec *twin = ((const Twin *)e->state)->e;
    const Op *op = &e->g->op[i];
    const Tensor *out = &e->g->t[op->out];
    twin->rows = e->rows;
    twin->dev->be->run_op(twin, i);
    round_tensor(e, twin, op->out);
    if (out->keep) narrow(e, twin, op->out);
}
static void rounded_run(Exec *e) {
    const Twin *w = e->state;
    for (Tid t = 1; t < e->g->nt; t++)
        if (e->g->t[t].kind == T_INPUT && e->g->t[t].first <= e->g->t[t].last) widen(e, w->e, t);
    for (int i = 0; i < e->g->nop; i++) run_op(e, i);
}
/* One op by itself: its inputs come from, and its output goes to, this Exec's own tensors. */
static void rounded_run_op(const Exec *e, int i) {
    const Exec *twin = ((const Twin *)e->state)->e;
    const Op *op = &e->g->op[i];
    for (int j = 0; j < OP_INPUTS; j++)
        if (op->in[j] && in_arena(&e->g->t[op->in[j]])) widen(e, twin, op->in[j]);
    run_op(e, i);
    narrow(e, twin, op->out);
}

const Backend backend_rounded = {
    .name = "rounded",
    .takes = {{DG_F16, false}, {DG_BF16, false}, {DG_F32, true}},
    .precisions = 3,
    .open = rounded_open,
    .close = rounded_close,
    HOST_BACKEND,
    .bind = rounded_bind,
    .prepare = rounded_prepare,
    .unbind = rounded_unbind,
    .run = rounded_run,
    .run_op = rounded_run_op,
};
