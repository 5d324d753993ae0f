/* test_ops.c -- every op case on a device against the reference in double: forward, input gradient, exact integers,
 * guard bands, determinism, NaN; and bit for bit, images of a batch of 3 against the same images in runs of fewer rows, at other
 * places, which leave the rest of every tensor alone, and in a batch of 1 (vectors: of 67 too).
 *   test_ops [DEVICE [PRECISION]] [WORD]     only the rows whose names contain WORD
 *   test_ops rows DEVICE [PRECISION]         only what needs no tolerance: the runs of fewer rows
 * default: cpu, then ref; then the rows of ref64 and rounded
 * Tolerance (one rule, no number per case): relative L2 error <= 3 x that of the naive implementation, which sums in
 * float and rounds every op's output to the device's type, + 4 eps of float; inputs are already in the device's type. */
#include "base/dtype.h"
#include "graph/weights.h"
#include "cases.h"
#include "check.h"
#include "exec_check.h"
#include "exec_values.h"
#include <float.h>
#include <math.h>
#include <stdlib.h>

extern const Backend backend_naive;

/* ---- values: a function of the case's name, the tensor's name and the index ------------------------------------------- */
static uint64_t mix(uint64_t z) {
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}
static uint64_t hash(const char *a, const char *b) {
    uint64_t h = 0xcbf29ce484222325u;
    for (; *a; a++) h = (h ^ (uint8_t)*a) * 0x100000001b3u;
    for (; *b; b++) h = (h ^ (uint8_t)*b) * 0x100000001b3u;
    return h;
}
static float value(uint64_t key, size_t i, bool integer) {
    uint64_t z = mix(key + (i + 1) * 0x9E3779B97F4A7C15u);
    if (integer) return (float)(int)(z % 9) - 4;
    return (float)(z >> 40) * 0x1p-23f - 1;
}
/* What the device will hold of v: inputs are the same numbers on every side. tf32 devices round products themselves. */
static float as_stored(float v, DType type) {
    uint16_t half;
    if (type != DG_F16 && type != DG_BF16) return v;
    dtype_convert(type, &half, DG_F32, &v, 1);
    dtype_convert(DG_F32, &v, type, &half, 1);
    return v;
}
static float as_tf32(float v) {
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    bits = (bits + 0xfffu + ((bits >> 13) & 1)) & ~0x1fffu;
    memcpy(&v, &bits, sizeof v);
    return v;
}

/* ---- one graph of a case, bound to one device -------------------------------------------------------------------------- */
enum { MAX_WEIGHTS = 8 };
typedef struct {
    Graph *g, *model; /* model: the same, not run, as the device under test has it: of the types there */
    CaseGraph k;
    Tid dy, dx; /* gradient mode, else 0 */
    Weights *w;
    StTensor tensor[MAX_WEIGHTS];
    float *weight_data[MAX_WEIGHTS];
    int weights;
    Exec *e;
} Run;
typedef struct {
    const OpCase *c;
    bool gradient, integer, tf32;
    DType act; /* of the device under test: decides the rounding of inputs on every side */
    int wrt;   /* gradient: which input of the case */
} Mode;

/* The type that t has on the device under test; of what is computed, that of the operands, which the tolerance follows. */
static DType stored_type(const Mode *m, const Run *r, Tid t) {
    const Tensor *a = &r->model->t[t];
    return a->kind == T_ACT && !is_vector(a->shape) ? m->act : a->dtype;
}
static void add_weight(Run *r, const Mode *m, Tid t) {
    const Tensor *a = &r->g->t[t];
    for (int i = 0; i < r->weights; i++)
        if (!strcmp(r->tensor[i].name, a->name)) return; /* the flipped twin */
    Shape s = a->shape;
    if (a->view.flip) s = (Shape){s.c, s.h, s.w, s.n};
    StTensor *st = &r->tensor[r->weights];
    DType type = r->model->t[t].dtype;
    size_t n = shape_count(s);
    float *data = r->weight_data[r->weights++] = dg_alloc(n * sizeof *data);
    double scale = m->integer ? 1 : a->view.kind == VIEW_CONV ? sqrt(3.0 / (s.h * s.w * s.c)) : 1;
    for (size_t i = 0; i < n; i++) {
        float v = value(hash(m->c->name, a->name), i, m->integer) * (float)scale;
        data[i] = as_stored(m->tf32 && type == DG_F32 && a->view.kind == VIEW_CONV && !is_vector(m->c->x) ? as_tf32(v) : v, type);
    }
    *st = (StTensor){.name = a->name, .dtype = DG_F32, .count = n, .bytes = n * sizeof *data, .data = data};
    st->dims = view_official_shape(a->shape, a->view, st->shape);
    weights_override(r->w, a->name, st);
}
static Graph *mode_graph(const Mode *m, Precision p, int n, Run *r) {
    Graph *g = graph_new(p);
    g->guard_bytes = DG_ALIGN;
    r->k = case_build(g, m->c, n);
    if (m->gradient) {
        r->dy = g_input(g, "dy", shape_of(g, r->k.y));
        g->t[r->dy].dtype = g->t[r->k.y].dtype;
        r->dx = graph_backward(g, r->k.y, r->dy, r->k.in[m->wrt]);
        if (r->dx != r->dy) g->t[r->dx].keep = true;
        if (m->c->kind == OP_NORM && m->c->norm.again) graph_fuse(g); /* the addition becomes the norm's own */
    }
    return g;
}
static Run run_new(const Mode *m, Device *d, int n) {
    Run r = {.w = weights_synthetic(1, NULL)};
    r.model = mode_graph(m, (Precision){m->act, false}, n, &r);
    r.g = mode_graph(m, d->precision, n, &r);
    for (Tid t = 1; t < r.g->nt; t++)
        if (r.g->t[t].kind == T_WEIGHT) add_weight(&r, m, t);
    graph_plan(r.g);
    Error err;
    r.e = exec_new(r.g, d, weights_alone(r.w), &err);
    DG_CHECK(r.e, "%s: %s", m->c->name, err.text);
    return r;
}
static void run_free(Run *r) {
    exec_free(r->e);
    graph_free(r->g);
    graph_free(r->model);
    weights_free(r->w);
    for (int i = 0; i < r->weights; i++) free(r->weight_data[i]);
}
/* Element i of qkv, as the case wants it. */
static float attn_value(const OpCase *c, uint64_t key, size_t i, bool integer) {
    size_t channels = (size_t)c->x.c, part = i % channels / (channels / 3);
    if (c->attn.input == ALIKE && part == 2) return value(key, i % channels, integer);
    float v = value(key, i, integer);
    return c->attn.input != OPPOSED || part == 2 ? v : part == 0 ? fabsf(v) : -fabsf(v);
}
/* Input t takes images [first, first + n) of the values that its name defines. */
static void fill_input(Run *r, const Mode *m, Tid t, int first) {
    if (!t) return;
    Shape s = shape_of(r->g, t);
    size_t n = shape_count(s), skip = (size_t)first * (n / (size_t)s.n);
    float *v = dg_alloc(n * sizeof *v), gain = t == r->k.in[0] ? m->c->x_gain : t == r->dy ? m->c->dy_gain : 1;
    uint64_t key = hash(m->c->name, r->g->t[t].name);
    for (size_t i = 0; i < n; i++) {
        float unit =
            m->c->kind == OP_ATTN && t == r->k.in[0] ? attn_value(m->c, key, skip + i, m->integer) : value(key, skip + i, m->integer);
        v[i] = as_stored(gain > 0 ? gain * unit : unit, stored_type(m, r, t));
        if (m->tf32 && !is_vector(s)) v[i] = as_tf32(v[i]);
    }
    exec_set(r->e, t, DG_F32, v);
    free(v);
}
static void fill_inputs(Run *r, const Mode *m, int first) {
    for (int i = 0; i < CASE_INPUTS; i++) fill_input(r, m, r->k.in[i], first);
    fill_input(r, m, r->dy, first);
}
static Tid result_of(const Run *r) { return r->dx ? r->dx : r->k.y; }
static double *result(Run *r, size_t *count) { return exec_values(r->e, result_of(r), count); }
/* The naive run: op by op, every op's output rounded to the type it has on the device under test. */
static void run_rounded(Run *r, const Mode *m) {
    for (int i = 0; i < r->g->nop; i++) {
        r->e->dev->be->run_op(r->e, i);
        Tid out = r->g->op[i].out;
        float *v = r->e->data[out];
        for (size_t j = 0, n = shape_count(shape_of(r->g, out)); j < n; j++) {
            v[j] = as_stored(v[j], stored_type(m, r, out));
            if (m->tf32) v[j] = as_tf32(v[j]); /* the next product rounds it */
        }
    }
}

static double rel_l2(const double *a, const double *ref, size_t n) { /* NaN when a holds one */
    double num = 0, den = 0;
    for (size_t i = 0; i < n; i++) num += (a[i] - ref[i]) * (a[i] - ref[i]), den += ref[i] * ref[i];
    return den > 0 ? sqrt(num / den) : sqrt(num) > 0 ? INFINITY : sqrt(num);
}
enum { BATCH = 3, VECTORS = 67 }; /* vectors: so many that linear layers work otherwise, and not a whole number of tiles */

/* Runs of fewer images, op by op with poison in the others, against `all`, the results of images 0 to batch - 1. They are the last
 * ones, so that they change their places; then image 0 in a run as it is made outside of tests.                            */
static void check_rows(Run *r, const Mode *m, const double *all, int batch) {
    static const int few[] = {1, 2, 0}, many[] = {15, 16, 64, 0};
    const char *what = m->gradient ? "gradient" : "forward", *name = r->e->dev->be->name;
    bool plain = false;
    for (const int *rows = batch == VECTORS ? many : few; !plain; rows++) {
        plain = *rows == 0;
        int images = plain ? 1 : *rows, first = plain ? 0 : batch - images;
        size_t n;
        Error err;
        fill_inputs(r, m, first);
        if (plain) exec_run(r->e, images);
        else CHECK(exec_run_checked(r->e, images, &err), "%s %s on %s: %s", m->c->name, what, name, err.text);
        double *v = result(r, &n);
        size_t per = n / (size_t)batch, bytes = per * (size_t)images * sizeof *v;
        CHECK(!memcmp(v, all + (size_t)first * per, bytes), "%s %s on %s: images %d to %d differ in a run of %d", m->c->name, what, name,
              first, first + images - 1, images);
        free(v);
    }
}
/* Image 1 in a graph that is planned for one. */
static void check_alone(const Mode *m, Device *dev, const double *all, size_t per) {
    Run one = run_new(m, dev, 1);
    size_t n;
    fill_inputs(&one, m, 1);
    exec_run(one.e, 1);
    double *v = result(&one, &n);
    CHECK(n == per && !memcmp(v, all + per, per * sizeof *v), "%s %s on %s: image 1 depends on its batch", m->c->name,
          m->gradient ? "gradient" : "forward", dev->be->name);
    free(v);
    run_free(&one);
}
static void test_values(const Mode *m, Device *dev, Device *ref64, Device *naive, int batch) {
    const char *what = m->gradient ? "gradient" : "forward";
    Run a = run_new(m, dev, batch), b = run_new(m, ref64, batch), c = run_new(m, naive, batch);
    fill_inputs(&a, m, 0), fill_inputs(&b, m, 0), fill_inputs(&c, m, 0);
    Error err;
    bool clean = exec_run_checked(a.e, batch, &err);
    CHECK(clean, "%s %s on %s: %s", m->c->name, what, dev->be->name, clean ? "" : err.text);
    exec_run(b.e, batch);
    run_rounded(&c, m);
    size_t n;
    double *va = result(&a, &n), *vb = result(&b, &n), *vc = result(&c, &n);
    if (m->integer) {
        size_t wrong = 0;
        for (size_t i = 0; i < n; i++) wrong += !(va[i] == vb[i]);
        CHECK(wrong == 0, "%s exact %s on %s: %zu of %zu integers differ", m->c->name, what, dev->be->name, wrong, n);
    } else {
        double found = rel_l2(va, vb, n), base = rel_l2(vc, vb, n), tol = 3 * base + 4 * FLT_EPSILON;
        CHECK(found <= tol, "%s %s on %s: relative error %.3g, tolerance %.3g (naive %.3g): %s", m->c->name, what, dev->be->name, found,
              tol, base, m->c->why);
    }
    /* again, on the run without checks: the same bits */
    exec_run(a.e, batch);
    double *again = result(&a, &n);
    CHECK(!memcmp(va, again, n * sizeof *va), "%s %s on %s: a second run gives other bits", m->c->name, what, dev->be->name);
    check_rows(&a, m, va, batch);
    check_alone(m, dev, va, n / (size_t)batch);
    free(va), free(vb), free(vc), free(again);
    run_free(&a), run_free(&b), run_free(&c);
}
/* Where a pixel of x is NaN: every result that comes from it is NaN too. Convolutions may spread it further, by whole tiles. */
static void test_nan(const Mode *m, int pixel, Device *dev, Device *ref64) {
    Run r[2] = {run_new(m, dev, 1), run_new(m, ref64, 1)};
    double *v[2];
    size_t n = 0, from = 0, lost = 0, more = 0;
    for (int i = 0; i < 2; i++) {
        Tid x = r[i].k.in[0];
        size_t values = shape_count(shape_of(r[i].g, x));
        double *in = dg_alloc(values * sizeof *in);
        fill_inputs(&r[i], m, 0);
        exec_get(r[i].e, x, DG_F64, in);
        for (int c = 0; c < m->c->x.c; c++) in[pixel * m->c->x.c + c] = NAN;
        exec_set(r[i].e, x, DG_F64, in);
        exec_run(r[i].e, 1);
        v[i] = result(&r[i], &n);
        free(in);
    }
    for (size_t i = 0; i < n; i++)
        from += isnan(v[1][i]), lost += isnan(v[1][i]) && !isnan(v[0][i]), more += isnan(v[0][i]) && !isnan(v[1][i]);
    CHECK(from > 0 || pixel > 0, "%s: no result comes from the first pixel: this check could not fail", m->c->name);
    CHECK(lost == 0, "%s on %s: %zu of %zu results that come from NaN are numbers", m->c->name, dev->be->name, lost, from);
    CHECK(more == 0 || m->c->kind == OP_CONV, "%s on %s: %zu results are NaN that do not come from one", m->c->name, dev->be->name, more);
    for (int i = 0; i < 2; i++) free(v[i]), run_free(&r[i]);
}
static void test_rows(const Mode *m, Device *dev) {
    Run r = run_new(m, dev, BATCH);
    size_t n;
    fill_inputs(&r, m, 0);
    exec_run(r.e, BATCH);
    double *all = result(&r, &n);
    check_rows(&r, m, all, BATCH);
    free(all);
    run_free(&r);
}

/* Reference only: <dx, v> against the central difference of <y, r> along v; r, v random. */
static void test_slope(const Mode *m, Device *ref64) {
    Run r = run_new(m, ref64, BATCH);
    fill_inputs(&r, m, 0);
    Tid x = r.k.in[m->wrt];
    size_t nx = shape_count(shape_of(r.g, x)), ny = shape_count(shape_of(r.g, r.k.y));
    double *x0 = dg_alloc(nx * sizeof *x0), *z = dg_alloc(nx * sizeof *z), *y[2] = {dg_alloc(ny * sizeof **y), dg_alloc(ny * sizeof **y)};
    double *dy = dg_alloc(ny * sizeof *dy), slope = 0, scale = 0, numeric = 0, h = 1e-5;
    exec_get(r.e, x, DG_F64, x0), exec_get(r.e, r.dy, DG_F64, dy);
    exec_run(r.e, r.e->g->batch);
    size_t n;
    double *dx = result(&r, &n);
    for (size_t i = 0; i < nx; i++) {
        double term = dx[i] * (double)value(7, i, false);
        slope += term, scale += fabs(term);
    }
    for (int side = 0; side < 2; side++) {
        for (size_t i = 0; i < nx; i++) z[i] = x0[i] + (side ? h : -h) * (double)value(7, i, false);
        exec_set(r.e, x, DG_F64, z);
        exec_run(r.e, r.e->g->batch);
        exec_get(r.e, r.k.y, DG_F64, y[side]);
    }
    for (size_t i = 0; i < ny; i++) numeric += (y[1][i] - y[0][i]) / (2 * h) * dy[i];
    CHECK(scale > 0 || nx == 1, "%s: the gradient is zero: this check could not fail", m->c->name);
    CHECK(fabs(slope - numeric) <= 1e-7 * (fabs(slope) + fabs(numeric)) + 1e-9 * scale, "%s: slope %.12g, numeric %.12g", m->c->name, slope,
          numeric);
    free(x0), free(z), free(y[0]), free(y[1]), free(dy), free(dx);
    run_free(&r);
}

static bool is_power_of_two(int n) { return (n & (n - 1)) == 0; }
/* A shape for which Winograd's large tile, whose points are fractions, pays. */
static bool is_fractional(const OpCase *c) { return c->conv.r == 3 && c->x.h >= 16 && c->x.w >= 16 && c->x.c >= 64 && c->conv.k >= 64; }
static bool is_exact(const OpCase *c) { /* sums of products of small integers, by powers of two */
    switch (c->kind) {
    case OP_CONV: return c->conv.act != ACT_GELU_TANH && !is_fractional(c);
    case OP_UNARY: return c->unary.f == F_RELU;
    case OP_ADD:
    case OP_CONCAT:
    case OP_SLICE:
    case OP_GATE:
    case OP_DEPTH_TO_SPACE:
    case OP_FIRST_TOKEN:
    case OP_RESAMPLE: return true;
    case OP_POOL: return c->pool.max || (c->pool.pad == 0 && is_power_of_two(c->pool.height * c->pool.width));
    case OP_POOL_TOKENS: return is_power_of_two(c->x.h * c->x.w);
    case OP_RESIZE: return c->resize.filter == NEAREST;
    default: return false;
    }
}
/* The exact variant of a case: its factors become powers of two. */
static OpCase exact_case(const OpCase *c) {
    OpCase k = *c;
    if (k.kind == OP_CONV) k.conv.scale = k.conv.scale == 1 ? 1 : .5f;
    if (k.kind == OP_ADD) k.add.a = k.add.a == 1 ? 1 : -2, k.add.b = k.add.b == 1 ? 1 : .5f;
    if (k.kind == OP_RESAMPLE) k.resample.scale = k.resample.scale == 1 ? 1 : 4;
    return k;
}
static bool has_gradient(const OpCase *c) {
    return grad_has_rule(c->kind) && !(c->kind == OP_CONV && (c->conv.stride > 1 || c->conv.gate || c->conv.act != ACT_NONE));
}
/* Inputs with a gradient: in[0] and those behind it. Vectors come from the time embedding: nothing is differentiated there. */
static int gradients(const OpCase *c) {
    if (c->kind == OP_CONV && c->conv.skip[0]) return c->conv.skip[1] ? 3 : 2;
    bool second = c->kind == OP_CONCAT || (c->kind == OP_NORM && c->norm.more) || (c->kind == OP_CONV && c->conv.add == ADD_FULL) ||
                  (c->kind == OP_ADD && c->add.add == ADD_FULL);
    return second ? 2 : 1;
}

static void test_device(const char *spec, const char *precision, const char *only) {
    Error err;
    Device *dev = device_open(spec, precision, &err), *ref64 = device_open("ref64", NULL, &err);
    if (!dev) {
        not_run("%s: %s", spec, err.text);
        device_close(ref64);
        return;
    }
    Device naive = {.be = &backend_naive, .precision = backend_naive.takes[0]};
    CHECK(backend_naive.open(&naive, &err), "naive: %s", err.text);
    bool reference = !strncmp(spec, "ref", 3), found = false;
    for (int i = 0; i < OP_CASES; i++) {
        const OpCase *c = &op_cases[i];
        if (only && !strstr(c->name, only)) continue;
        found = true;
        for (int gradient = 0; gradient <= has_gradient(c); gradient++) {
            Mode m = {c, gradient, false, dev->precision.tf32, dev->precision.act};
            test_values(&m, dev, ref64, &naive, BATCH);
            if (c->kind == OP_CONV && is_vector(c->x)) test_values(&m, dev, ref64, &naive, VECTORS);
            for (int k = 0; k < 2 && !gradient; k++) test_nan(&m, k * (c->x.h * c->x.w / 2), dev, ref64);
            for (; gradient && reference && m.wrt < gradients(c); m.wrt++) test_slope(&m, ref64);
            OpCase exact = exact_case(c);
            Mode e = {&exact, gradient, true, false, dev->precision.act};
            /* 16-bit results hold integers exactly up to 2^11 (f16) or 2^8 (bf16): those types round the large sums */
            if (is_exact(c) && (dev->precision.act == DG_F32 || dev->precision.act == DG_F64)) test_values(&e, dev, ref64, &naive, BATCH);
        }
    }
    CHECK(found, "no case's name contains %s", only);
    device_close(dev);
    device_close(ref64);
    backend_naive.close(&naive);
}
static void test_coverage(void) { /* every op kind is reached by some case */
    bool reached[OP_COUNT] = {false};
    for (int i = 0; i < OP_CASES; i++) {
        Graph *g = graph_new((Precision){DG_F32, false});
        CaseGraph k = case_build(g, &op_cases[i], 1);
        if (has_gradient(&op_cases[i])) graph_backward(g, k.y, g_input(g, "dy", shape_of(g, k.y)), k.in[0]);
        for (int j = 0; j < g->nop; j++) reached[g->op[j].kind] = true;
        graph_free(g);
    }
    for (int k = 0; k < OP_COUNT; k++) CHECK(reached[k], "no case reaches %s", op_name((OpKind)k));
}

static void test_device_rows(const char *spec, const char *precision) {
    Error err;
    Device *d = device_open(spec, precision, &err);
    if (!d) {
        not_run("rows on %s: %s", spec, err.text);
        return;
    }
    for (int i = 0; i < OP_CASES; i++)
        for (int gradient = 0; gradient <= has_gradient(&op_cases[i]); gradient++)
            test_rows(&(Mode){&op_cases[i], gradient, false, d->precision.tf32, d->precision.act}, d);
    device_close(d);
}
static const char *precision_of(int argc, char **argv, int i) { return argc > i && strcmp(argv[i], "-") ? argv[i] : NULL; }
int main(int argc, char **argv) {
    test_coverage();
    if (argc > 2 && !strcmp(argv[1], "rows")) {
        test_device_rows(argv[2], precision_of(argc, argv, 3));
    } else if (argc > 1) {
        test_device(argv[1], precision_of(argc, argv, 2), argc > 3 ? argv[3] : NULL);
    } else {
        test_device("ref", NULL, NULL), test_device("cpu", NULL, NULL);
        test_device_rows("ref64", NULL), test_device_rows("rounded", "fp16"), test_device_rows("rounded", "tf32");
    }
    return check_done("test_ops");
}
