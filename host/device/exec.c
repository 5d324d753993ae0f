/* exec.c -- bind a planned graph to a device: one arena, one buffer per weight, then run the op list. */
#include "device/device.h"
#include "base/dtype.h"
#include "graph/weights.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static size_t tensor_bytes(const Tensor *t) { return shape_count(t->shape) * dtype_bytes(t->dtype); }

static bool upload_weight(Exec *e, Tid t, const WeightSet *w, Error *err) {
    const Tensor *a = &e->g->t[t];
    DType read = a->dtype == DG_F64 ? DG_F64 : DG_F32;
    size_t n = shape_count(a->shape);
    void *host = dg_alloc(n * dtype_bytes(read));
    bool ok = weight_set_read(w, a->name, a->shape, a->view, read, host, err);
    if (ok) {
        if (a->dtype != read) dtype_convert(a->dtype, host, read, host, n); /* in place: never wider than it was */
        e->data[t] = e->dev->be->alloc(e->dev, tensor_bytes(a));
        ok = e->data[t] ||
             dg_out_of_memory(err, "not enough memory on device %s for weight %s (%zu bytes)", e->dev->be->name, a->name, tensor_bytes(a));
    }
    if (ok) {
        e->dev->be->upload(e->dev, e->data[t], host, tensor_bytes(a));
        e->weight_bytes += tensor_bytes(a);
    }
    free(host);
    return ok;
}
Exec *exec_new(const Graph *g, Device *d, WeightSet w, Error *err) {
    DG_CHECK(g->arena_bytes || g->nop == 0, "exec: the graph is not planned");
    for (int i = 0; i < g->nop; i++)
        DG_CHECK(d->be->op[g->op[i].kind], "exec: backend %s has no op %s", d->be->name, op_name(g->op[i].kind));
    Exec *e = dg_alloc(sizeof *e);
    e->g = g, e->dev = d;
    e->data = dg_alloc((size_t)g->nt * sizeof *e->data);
    e->prep = dg_alloc(((size_t)g->nop + 1) * sizeof *e->prep);
    if (d->be->admit && !d->be->admit(e, err)) {
        exec_free(e);
        return NULL;
    }
    e->arena = d->be->alloc(d, g->arena_bytes);
    if (!e->arena) {
        dg_out_of_memory(err, "not enough memory on device %s for %.1f MiB of activations", d->be->name, (double)g->arena_bytes / 1048576);
        exec_free(e);
        return NULL;
    }
    for (Tid t = 1; t < g->nt; t++)
        if (g->t[t].kind != T_WEIGHT) e->data[t] = (char *)e->arena + g->t[t].offset;
    for (int i = 0; i < g->nop; i++) { /* weights are uploaded next to the op that wants them: prepare may repack at once */
        for (int j = 0; j < OP_INPUTS; j++) {
            Tid t = g->op[i].in[j];
            if (!t || g->t[t].kind != T_WEIGHT || e->data[t] || upload_weight(e, t, &w, err)) continue;
            exec_free(e);
            return NULL;
        }
        if (d->be->prepare && !d->be->prepare(e, i, err)) {
            exec_free(e);
            return NULL;
        }
    }
    return e;
}
void exec_free(Exec *e) {
    if (!e) return;
    const Backend *be = e->dev->be;
    if (be->unprepare)
        for (int i = 0; i < e->g->nop; i++) be->unprepare(e, i);
    for (Tid t = 1; t < e->g->nt; t++)
        if (e->g->t[t].kind == T_WEIGHT && e->data[t]) be->release(e->dev, e->data[t]);
    if (e->arena) be->release(e->dev, e->arena);
    free(e->data);
    free(e->prep);
    free(e);
}

void exec_set(Exec *e, Tid t, DType type, const void *src) {
    const Tensor *a = &e->g->t[t];
    DG_CHECK(a->kind != T_WEIGHT && e->data[t], "exec_set: %s is not an input", a->name);
    if (type == a->dtype) {
        e->dev->be->upload(e->dev, e->data[t], src, tensor_bytes(a));
        return;
    }
    void *host = dg_alloc(tensor_bytes(a));
    dtype_convert(a->dtype, host, type, src, shape_count(a->shape));
    e->dev->be->upload(e->dev, e->data[t], host, tensor_bytes(a));
    free(host);
}
void exec_get(Exec *e, Tid t, DType type, void *dst) {
    const Tensor *a = &e->g->t[t];
    DG_CHECK(e->data[t] && (a->kind != T_ACT || a->keep), "exec_get: %s does not outlive the run", a->name);
    if (type == a->dtype) {
        e->dev->be->download(e->dev, dst, e->data[t], tensor_bytes(a));
        return;
    }
    void *host = dg_alloc(tensor_bytes(a));
    e->dev->be->download(e->dev, host, e->data[t], tensor_bytes(a));
    dtype_convert(type, dst, a->dtype, host, shape_count(a->shape));
    free(host);
}

void exec_run(Exec *e) {
    if (e->dev->be->run) {
        e->dev->be->run(e);
        return;
    }
    for (int i = 0; i < e->g->nop; i++) e->dev->be->op[e->g->op[i].kind](e, i);
}

/* ---- checked runs -------------------------------------------------------------------------------------------------- */
/* A quiet NaN with a payload that arithmetic does not produce: what is still there was never written. */
static void poison_pattern(DType t, void *p, size_t n) {
    static const uint64_t f64 = 0x7ff8dead0000beefu;
    static const uint32_t f32 = 0x7fc0dea1u;
    static const uint16_t f16 = 0x7ea1u, bf16 = 0x7fe3u;
    const void *one = t == DG_F64 ? (const void *)&f64 : t == DG_F32 ? (const void *)&f32 : t == DG_F16 ? (const void *)&f16 : &bf16;
    size_t size = dtype_bytes(t);
    for (size_t i = 0; i < n; i++) memcpy((char *)p + i * size, one, size);
}
static void poison_tensor(Exec *e, Tid t) {
    const Tensor *a = &e->g->t[t];
    void *host = dg_alloc(tensor_bytes(a));
    poison_pattern(a->dtype, host, shape_count(a->shape));
    e->dev->be->upload(e->dev, e->data[t], host, tensor_bytes(a));
    free(host);
}
enum { GUARD_BYTE = 0xA5 };
static void set_guards(Exec *e, Tid t, unsigned char *host) {
    size_t guard = e->g->guard_bytes;
    char *p = e->data[t];
    memset(host, GUARD_BYTE, guard);
    e->dev->be->upload(e->dev, p - guard, host, guard);
    e->dev->be->upload(e->dev, p + tensor_bytes(&e->g->t[t]), host, guard);
}
static bool guards_intact(Exec *e, Tid t, unsigned char *host) {
    size_t guard = e->g->guard_bytes;
    char *side[2] = {(char *)e->data[t] - guard, (char *)e->data[t] + tensor_bytes(&e->g->t[t])};
    for (int s = 0; s < 2; s++) {
        e->dev->be->download(e->dev, host, side[s], guard);
        for (size_t i = 0; i < guard; i++)
            if (host[i] != GUARD_BYTE) return false;
    }
    return true;
}
static bool fully_written(Exec *e, Tid t, size_t *where) {
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
bool exec_run_checked(Exec *e, Error *err) {
    const Graph *g = e->g;
    unsigned char *host = dg_alloc(g->guard_bytes);
    bool ok = true;
    for (int i = 0; i < g->nop && ok; i++) {
        Tid out = g->op[i].out;
        poison_tensor(e, out);
        set_guards(e, out, host);
        e->dev->be->op[g->op[i].kind](e, i);
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

static double now_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
void exec_profile(Exec *e, int repeats, double *seconds) {
    Device *d = e->dev;
    if (d->be->profile) {
        d->be->profile(e, repeats, seconds);
        return;
    }
    for (int i = 0; i < e->g->nop; i++) seconds[i] = 0;
    for (int r = 0; r < repeats; r++)
        for (int i = 0; i < e->g->nop; i++) { /* in order, so that caches are as in a run */
            d->be->sync(d);
            double start = now_seconds();
            d->be->op[e->g->op[i].kind](e, i);
            d->be->sync(d);
            seconds[i] += (now_seconds() - start) / repeats;
        }
}
