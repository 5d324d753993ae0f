/* exec.c -- bind a planned graph to a device: one arena, one buffer per weight, then run the op list. */
#include "device/device.h"
#include "base/dtype.h"
#include "graph/weights.h"
#include <stdlib.h>

/* Memory for a weight or a constant, filled from host values of its own type. */
static bool upload(Exec *e, Tid t, const void *values, Error *err) {
    const Tensor *a = &e->g->t[t];
    const Backend *be = e->dev->be;
    e->data[t] = be->alloc(e->dev, tensor_bytes(a));
    if (!e->data[t])
        return dg_out_of_memory(err, "not enough memory on device %s for %s %s (%zu bytes)", be->name,
                                a->kind == T_CONST ? "constant" : "weight", a->name, tensor_bytes(a));
    be->upload(e->dev, e->data[t], values, tensor_bytes(a));
    e->weight_bytes += tensor_bytes(a);
    return true;
}
/* Finite in the file, but not in half precision. */
static bool fits_f16(const Tensor *a, const uint16_t *values, Error *err) {
    const uint16_t exponent = 0x7c00;
    for (size_t i = 0, n = shape_count(a->shape); i < n; i++)
        if ((values[i] & exponent) == exponent)
            return dg_error(err, "weight %s has values beyond 65504, the largest of fp16: --dtype bf16 or fp32", a->name);
    return true;
}
static bool upload_weight(Exec *e, Tid t, const WeightSet *w, Error *err) {
    const Tensor *a = &e->g->t[t];
    DType read = a->dtype == DG_F64 ? DG_F64 : DG_F32;
    size_t n = shape_count(a->shape);
    void *host = dg_alloc(n * dtype_bytes(read));
    bool ok = weight_set_read(w, a->name, a->shape, a->view, read, host, err);
    if (ok && a->dtype != read) dtype_convert(a->dtype, host, read, host, n); /* in place: never wider than it was */
    ok = ok && (a->dtype != DG_F16 || fits_f16(a, host, err)) && upload(e, t, host, err);
    free(host);
    return ok;
}
/* What op i reads and is not there yet. */
static bool upload_inputs(Exec *e, int i, const WeightSet *w, Error *err) {
    for (int j = 0; j < OP_INPUTS; j++) {
        Tid t = e->g->op[i].in[j];
        if (!t || e->data[t]) continue;
        const Tensor *a = &e->g->t[t];
        if (a->kind == T_CONST ? !upload(e, t, a->values, err) : !upload_weight(e, t, w, err)) return false;
    }
    return true;
}
static bool bind(Exec *e, const WeightSet *w, Error *err) {
    const Graph *g = e->g;
    const Backend *be = e->dev->be;
    if (!be->bind(e, err)) return false;
    e->arena = be->alloc(e->dev, g->arena_bytes);
    if (!e->arena)
        return dg_out_of_memory(err, "not enough memory on device %s for %.1f MiB of activations", be->name,
                                (double)g->arena_bytes / 1048576);
    for (Tid t = 1; t < g->nt; t++)
        if (in_arena(&g->t[t])) e->data[t] = (char *)e->arena + g->t[t].offset;
    for (int i = 0; i < g->nop; i++) /* weights are uploaded next to the op that wants them: prepare may repack at once */
        if (!upload_inputs(e, i, w, err) || !be->prepare(e, i, err)) return false;
    return true;
}
static bool is_taken(const Backend *be, Precision p) {
    for (int i = 0; i < be->precisions; i++)
        if (be->takes[i].act == p.act && be->takes[i].tf32 == p.tf32) return true;
    return false;
}
Exec *exec_new(const Graph *g, Device *d, WeightSet w, Error *err) {
    DG_CHECK(g->arena_bytes || g->nop == 0, "exec: the graph is not planned");
    DG_CHECK(is_taken(d->be, g->precision), "exec: a graph in %s on device %s", precision_name(g->precision), d->be->name);
    Exec *e = dg_alloc(sizeof *e);
    e->g = g, e->dev = d, e->rows = g->batch;
    e->data = dg_alloc((size_t)g->nt * sizeof *e->data);
    e->prep = dg_alloc(((size_t)g->nop + 1) * sizeof *e->prep);
    if (bind(e, &w, err)) return e;
    exec_free(e);
    return NULL;
}
void exec_free(Exec *e) {
    if (!e) return;
    const Backend *be = e->dev->be;
    be->unbind(e);
    for (Tid t = 1; t < e->g->nt; t++)
        if (!in_arena(&e->g->t[t]) && e->data[t]) be->release(e->dev, e->data[t]);
    if (e->arena) be->release(e->dev, e->arena);
    free(e->data);
    free(e->prep);
    free(e);
}

/* Bytes of the first `rows` images of t. */
static size_t bytes_of_rows(const Tensor *a, int rows) {
    DG_CHECK(rows >= 1 && rows <= a->shape.n, "%s: %d images of %d", a->name, rows, a->shape.n);
    return tensor_bytes(a) / (size_t)a->shape.n * (size_t)rows;
}
void exec_set_rows(Exec *e, Tid t, int rows, DType type, const void *src) {
    const Tensor *a = &e->g->t[t];
    DG_CHECK(in_arena(a) && e->data[t], "exec_set: %s is not an input", a->name);
    size_t bytes = bytes_of_rows(a, rows);
    if (type == a->dtype) {
        e->dev->be->upload(e->dev, e->data[t], src, bytes);
        return;
    }
    void *host = dg_alloc(bytes);
    dtype_convert(a->dtype, host, type, src, bytes / dtype_bytes(a->dtype));
    e->dev->be->upload(e->dev, e->data[t], host, bytes);
    free(host);
}
void exec_get_rows(Exec *e, Tid t, int rows, DType type, void *dst) {
    const Tensor *a = &e->g->t[t];
    DG_CHECK(e->data[t] && (a->kind != T_ACT || a->keep), "exec_get: %s does not outlive the run", a->name);
    size_t bytes = bytes_of_rows(a, rows);
    if (type == a->dtype) {
        e->dev->be->download(e->dev, dst, e->data[t], bytes);
        return;
    }
    void *host = dg_alloc(bytes);
    e->dev->be->download(e->dev, host, e->data[t], bytes);
    dtype_convert(type, dst, a->dtype, host, bytes / dtype_bytes(a->dtype));
    free(host);
}
void exec_set(Exec *e, Tid t, DType type, const void *src) { exec_set_rows(e, t, shape_of(e->g, t).n, type, src); }
void exec_get(Exec *e, Tid t, DType type, void *dst) { exec_get_rows(e, t, shape_of(e->g, t).n, type, dst); }

void exec_run(Exec *e, int rows) {
    DG_CHECK(rows >= 1 && rows <= e->g->batch, "exec_run: %d images, of a graph that is planned for %d", rows, e->g->batch);
    e->rows = rows;
    e->dev->be->run(e);
    e->rows = e->g->batch;
}
void exec_profile(Exec *e, int repeats, double *seconds) { e->dev->be->profile(e, repeats, seconds); }
