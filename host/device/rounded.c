/* rounded.c -- device "rounded": the CPU backend with every weight, input and op output rounded to fp16, bf16 or tf32. It is
 * the naive implementation in that precision: its error on a case is what tells how far off a GPU may be (verify.c).
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
typedef struct { /* Exec.captured of an Exec on this device */
    Graph g;     /* the same ops; tensors of its own, f32 */
    Exec *e;
} Twin;

static bool rounded_open(Device *d, const char *precision, Error *e) {
    if (d->index) return dg_error(e, "device %s:%d: there is only one", d->be->name, d->index);
    if (!precision || !strcmp(precision, "fp16")) d->act = DG_F16;
    else if (!strcmp(precision, "bf16")) d->act = DG_BF16;
    else if (!strcmp(precision, "tf32")) d->act = DG_F32, d->tf32 = true;
    else return dg_error(e, "device %s rounds to fp16, bf16 or tf32, not to %s", d->be->name, precision);
    Rounded *r = dg_alloc(sizeof *r);
    r->inner.be = &backend_cpu;
    if (!r->inner.be->open(&r->inner, NULL, e)) {
        free(r);
        return false;
    }
    d->impl = r;
    return true;
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
/* What the tensor cores read is rounded: tensors stored in 16 bits; with tf32, images and the weights that meet them. */
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
    round_values(a->dtype, e->dev->tf32 && !is_vector(a->shape), twin->data[t], shape_count(a->shape));
}

/* ---- the twin ------------------------------------------------------------------------------------------------------------- */
enum { TWICE = 2 }; /* an f32 value takes at most twice the bytes */
static Twin *twin_new(const Exec *e, Error *err) {
    Twin *w = dg_alloc(sizeof *w);
    Device *inner = inner_device(e->dev);
    w->g = *e->g;
    w->g.act = DG_F32, w->g.arena_bytes = TWICE * e->g->arena_bytes;
    w->g.t = dg_alloc((size_t)e->g->nt * sizeof *w->g.t);
    memcpy(w->g.t, e->g->t, (size_t)e->g->nt * sizeof *w->g.t);
    w->e = dg_alloc(sizeof *w->e);
    w->e->g = &w->g, w->e->dev = inner;
    w->e->data = dg_alloc((size_t)e->g->nt * sizeof *w->e->data);
    w->e->prep = dg_alloc(((size_t)e->g->nop + 1) * sizeof *w->e->prep);
    w->e->arena = inner->be->alloc(inner, w->g.arena_bytes);
    if (!w->e->arena)
        dg_out_of_memory(err, "not enough memory on device %s for %.1f MiB of activations", e->dev->be->name,
                         (double)w->g.arena_bytes / 1048576);
    for (Tid t = 1; t < w->g.nt; t++) {
        Tensor *a = &w->g.t[t];
        a->dtype = DG_F32, a->offset *= TWICE;
        if (a->kind != T_WEIGHT && w->e->arena) w->e->data[t] = (char *)w->e->arena + a->offset;
    }
    return w;
}
static bool twin_weight(const Exec *e, Exec *twin, int i, Tid t, Error *err) {
    const Tensor *a = &e->g->t[t];
    size_t n = shape_count(a->shape);
    if (!(twin->data[t] = twin->dev->be->alloc(twin->dev, n * sizeof(float))))
        return dg_out_of_memory(err, "not enough memory on device %s for weight %s", e->dev->be->name, a->name);
    dtype_convert(DG_F32, twin->data[t], a->dtype, e->data[t], n);
    bool meets_image = e->g->op[i].kind == OP_CONV && e->g->op[i].in[1] == t && !is_vector(shape_of(e->g, e->g->op[i].in[0]));
    round_values(DG_F32, e->dev->tf32 && meets_image, twin->data[t], n);
    return true;
}
static bool rounded_prepare(Exec *e, int i, Error *err) {
    Twin *w = e->captured;
    if (!w) w = e->captured = twin_new(e, err);
    if (!w->e->arena) return false;
    for (int j = 0; j < OP_INPUTS; j++) {
        Tid t = e->g->op[i].in[j];
        if (t && e->g->t[t].kind == T_WEIGHT && !w->e->data[t] && !twin_weight(e, w->e, i, t, err)) return false;
    }
    return !w->e->dev->be->prepare || w->e->dev->be->prepare(w->e, i, err);
}
/* exec_free calls this for every op; everything goes with the first. */
static void rounded_unprepare(Exec *e, int i) {
    Twin *w = e->captured;
    (void)i;
    if (!w) return;
    exec_free(w->e);
    free(w->g.t);
    free(w);
    e->captured = NULL;
}
static void widen(const Exec *e, const Exec *twin, Tid t) {
    dtype_convert(DG_F32, twin->data[t], e->g->t[t].dtype, e->data[t], shape_count(shape_of(e->g, t)));
    round_tensor(e, twin, t);
}
/* Op i with inputs that are in the twin already. */
static void run_op(const Exec *e, int i) {
    const Exec *twin = ((const Twin *)e->captured)->e;
    const Op *op = &e->g->op[i];
    const Tensor *out = &e->g->t[op->out];
    twin->dev->be->op[op->kind](twin, i);
    round_tensor(e, twin, op->out);
    if (out->keep) dtype_convert(out->dtype, e->data[op->out], DG_F32, twin->data[op->out], shape_count(out->shape));
}
static void rounded_run(Exec *e) {
    const Twin *w = e->captured;
    for (Tid t = 1; w && t < e->g->nt; t++)
        if (e->g->t[t].kind == T_INPUT && e->g->t[t].first <= e->g->t[t].last) widen(e, w->e, t);
    for (int i = 0; i < e->g->nop; i++) run_op(e, i);
}
/* One op by itself: its inputs come from, and its output goes to, this Exec's own tensors. */
static void rounded_op(const Exec *e, int i) {
    const Exec *twin = ((const Twin *)e->captured)->e;
    const Op *op = &e->g->op[i];
    const Tensor *out = &e->g->t[op->out];
    for (int j = 0; j < OP_INPUTS; j++)
        if (op->in[j] && e->g->t[op->in[j]].kind != T_WEIGHT) widen(e, twin, op->in[j]);
    run_op(e, i);
    dtype_convert(out->dtype, e->data[op->out], DG_F32, twin->data[op->out], shape_count(out->shape));
}

/* ---- sampler state: f64 and f32 as on every host device; 16-bit inputs and outputs pass through f64 ------------------------- */
static void rounded_combine(Device *d, void *out, DType out_type, int n, size_t per_sample, const Term *term, int terms) {
    DG_CHECK(terms > 0 && terms <= COMBINE_TERMS, "combine: %d terms", terms);
    size_t count = (size_t)n * per_sample;
    Term wide[COMBINE_TERMS];
    double *value[COMBINE_TERMS] = {NULL}, *result = out_type == DG_F64 ? NULL : dg_alloc(count * sizeof *result);
    for (int k = 0; k < terms; k++) {
        wide[k] = term[k];
        if (term[k].type == DG_F64 || term[k].type == DG_F32) continue;
        value[k] = dg_alloc(count * sizeof *value[k]);
        dtype_convert(DG_F64, value[k], term[k].type, term[k].data, count);
        wide[k].type = DG_F64, wide[k].data = value[k];
    }
    host_combine(d, result ? result : out, DG_F64, n, per_sample, wide, terms);
    if (result) dtype_convert(out_type, out, DG_F64, result, count);
    for (int k = 0; k < terms; k++) free(value[k]);
    free(result);
}

static const OpFn rounded_ops[OP_COUNT] = {
    rounded_op, rounded_op, rounded_op, rounded_op, rounded_op, rounded_op, rounded_op, rounded_op,
    rounded_op, rounded_op, rounded_op, rounded_op, rounded_op, rounded_op, rounded_op,
};
_Static_assert(OP_COUNT == 15, "a new op: add it to the table");
const Backend backend_rounded = {
    .name = "rounded",
    .open = rounded_open,
    .close = rounded_close,
    .alloc = host_alloc,
    .release = host_release,
    .upload = host_copy,
    .download = host_copy,
    .copy = host_copy,
    .sync = host_sync,
    .prepare = rounded_prepare,
    .unprepare = rounded_unprepare,
    .run = rounded_run,
    .op = rounded_ops,
    .combine = rounded_combine,
    .randn = host_randn,
    .to_u8 = host_to_u8,
};
