/* test_views.c -- convolutions whose weights are views of more than a tensor, on devices: with a folded batch norm, of patches, and with
 * positions added.
 *   test_views [DEVICE...]     default: every device of this build, in each of its precisions                              */
#include "device/device.h"
#include "graph/positions.h"
#include "graph/weights.h"
#include "check.h"
#include <float.h>
#include <math.h>
#include <stdlib.h>

enum { IMAGES = 2, MOST = 4 };
static float small(const char *name, size_t i) { /* -1, 0 or 1: sums of products are exact in every precision */
    uint64_t z = 0xcbf29ce484222325u;
    for (; *name; name++) z = (z ^ (uint8_t)*name) * 0x100000001b3u;
    z = (z + i + 1) * 0x9E3779B97F4A7C15u;
    return (float)((int)((z ^ z >> 31) % 3) - 1);
}
typedef struct {
    Graph *g;
    Weights *w;
    Exec *e;
    Tid x, y;
    StTensor t[MOST];
    float *data[MOST];
    int tensors;
    float *in;
    double *out;
} Run;
static float *add_tensor(Run *r, const char *name, int dims, const int64_t *shape) {
    StTensor *t = &r->t[r->tensors];
    *t = (StTensor){.name = name, .dtype = DG_F32, .dims = dims, .count = 1};
    for (int i = 0; i < dims; i++) t->shape[i] = shape[i], t->count *= (size_t)shape[i];
    float *data = r->data[r->tensors++] = dg_alloc(t->count * sizeof *data);
    for (size_t i = 0; i < t->count; i++) data[i] = small(name, i);
    t->bytes = t->count * sizeof *data, t->data = data;
    weights_override(r->w, name, t);
    return data;
}
static Run run_new(const Device *d, Shape x) {
    Run r = {.g = graph_new(d->precision), .w = weights_synthetic(11, NULL)};
    r.x = g_input(r.g, "x", x);
    return r;
}
static void run_bind(Run *r, Device *d, Tid y) {
    Error e = {""};
    r->y = g_output(r->g, y);
    graph_plan(r->g);
    r->e = exec_new(r->g, d, weights_alone(r->w), &e);
    DG_CHECK(r->e, "%s", e.text);
    r->in = dg_alloc(shape_count(shape_of(r->g, r->x)) * sizeof *r->in);
    r->out = dg_alloc(shape_count(shape_of(r->g, y)) * sizeof *r->out);
}
static void run_run(Run *r) {
    exec_set(r->e, r->x, DG_F32, r->in);
    exec_run(r->e, r->g->batch);
    exec_get(r->e, r->y, DG_F64, r->out);
}
static void run_free(Run *r) {
    exec_free(r->e);
    graph_free(r->g);
    weights_free(r->w);
    for (int i = 0; i < r->tensors; i++) free(r->data[i]);
    free(r->in), free(r->out);
}
static bool read_one(Weights *w, const char *name, Shape s, ViewKind kind, double *out) {
    Error e = {""};
    return CHECK(weights_read(w, name, s, (WeightView){.kind = kind}, DG_F64, out, &e), "%s", e.text);
}

/* ---- folded batch norms ---------------------------------------------------------------------------------------------------------- */
/* What storing in the device's precision may change of a value of 1. */
static double unit_of(Precision p) {
    if (p.act == DG_F64) return DBL_EPSILON / 2;
    if (p.act == DG_F16 || p.tf32) return 0x1p-11;
    return p.act == DG_BF16 ? 0x1p-8 : (double)FLT_EPSILON / 2;
}
enum { C = 13, K = 7, HEIGHT = 9, COLUMNS = 8, TAPS_H = 3, TAPS_W = 2, STRIDE = 2, TERMS = C * TAPS_H * TAPS_W };
static const WeightView folded_weight = {.kind = VIEW_FOLD_BN, .eps = .001}, folded_bias = {.kind = VIEW_FOLD_BN_BIAS, .eps = .001};
static const Shape kernel = {K, TAPS_H, TAPS_W, C}, channels = {1, 1, 1, K};
static Tid folded_conv(Graph *g, Tid x, int stride) {
    Tid w = g_weight(g, "unit.conv.weight", kernel, folded_weight), b = g_weight(g, "unit.bn.bias", channels, folded_bias);
    return g_conv_with(g, x, w, b, (ConvOptions){.stride = stride, .top = 1, .bottom = 1, .right = 1, .scale = 1});
}
/* Against a convolution and its batch norm, one after the other, in f64. */
static void folded(Device *d) {
    Run r = run_new(d, (Shape){IMAGES, HEIGHT, COLUMNS, C});
    run_bind(&r, d, folded_conv(r.g, r.x, STRIDE));
    for (size_t i = 0; i < shape_count(shape_of(r.g, r.x)); i++) r.in[i] = small("x", i) / 4 + small("y", i);
    run_run(&r);
    double w[K * TERMS], gamma[K], beta[K], mean[K], variance[K], unit = unit_of(d->precision);
    read_one(r.w, "unit.conv.weight", kernel, VIEW_CONV, w);
    read_one(r.w, "unit.bn.weight", channels, VIEW_VECTOR, gamma), read_one(r.w, "unit.bn.bias", channels, VIEW_VECTOR, beta);
    read_one(r.w, "unit.bn.running_mean", channels, VIEW_VECTOR, mean);
    read_one(r.w, "unit.bn.running_var", channels, VIEW_VECTOR, variance);
    Shape y = shape_of(r.g, r.y);
    double worst = 0;
    for (int at = 0; at < (int)shape_count(y); at++) {
        int k = at % K, column = at / K % y.w, row = at / K / y.w % y.h, image = at / K / y.w / y.h;
        double sum = 0, size = 0, deviation = sqrt(variance[k] + .001);
        for (int i = 0; i < TERMS; i++) {
            int c = i % C, h = row * STRIDE - 1 + i / C / TAPS_W, v = column * STRIDE + i / C % TAPS_W;
            if (h < 0 || h >= HEIGHT || v >= COLUMNS) continue;
            double term = w[k * TERMS + i] * (double)r.in[((image * HEIGHT + h) * COLUMNS + v) * C + c];
            sum += term, size += fabs(term);
        }
        double wanted = (sum - mean[k]) / deviation * gamma[k] + beta[k];
        double sums = d->precision.act == DG_F64 ? DBL_EPSILON : (double)FLT_EPSILON;
        double bound =
            (unit + TERMS * sums) * size / deviation * gamma[k] + 4 * sums * (fabs(mean[k] / deviation * gamma[k]) + fabs(beta[k]));
        double off = fabs(r.out[at] - wanted) / bound;
        if (!(off <= worst)) worst = off;
    }
    CHECK(worst <= 1, "%s, %s: a folded batch norm is off by %g of what rounding explains", d->be->name, precision_name(d->precision),
          worst);
    run_free(&r);
}
/* The gradient's weight is the folded one, flipped: dx of dy is dx of the convolution alone, of dy times the norm's scale. */
static void folded_gradient(Device *d) {
    Run r = run_new(d, (Shape){IMAGES, HEIGHT, COLUMNS, C});
    Graph *g = r.g;
    double gamma[K], variance[K];
    read_one(r.w, "unit.bn.weight", channels, VIEW_VECTOR, gamma), read_one(r.w, "unit.bn.running_var", channels, VIEW_VECTOR, variance);
    Tid y = folded_conv(g, r.x, 1), w = g_weight(g, "unit.conv.weight", kernel, (WeightView){.kind = VIEW_CONV});
    Tid plain = g_conv_with(g, r.x, w, 0, (ConvOptions){.stride = 1, .top = 1, .bottom = 1, .right = 1, .scale = 1});
    Shape s = shape_of(g, y);
    size_t n = shape_count(s), count = shape_count(shape_of(g, r.x));
    Tid dy = g_input(g, "dy", s), scaled = g_input(g, "dy", s);
    Tid dx = g_output(g, graph_backward(g, plain, scaled, r.x));
    run_bind(&r, d, graph_backward(g, y, dy, r.x));
    double *v = dg_alloc(n * sizeof *v), *wanted = dg_alloc(count * sizeof *wanted);
    for (size_t i = 0; i < n; i++) v[i] = (double)small("dy", i) + 1. / 4;
    exec_set(r.e, dy, DG_F64, v);
    for (size_t i = 0; i < n; i++) v[i] *= gamma[i % K] / sqrt(variance[i % K] + .001);
    exec_set(r.e, scaled, DG_F64, v);
    run_run(&r);
    exec_get(r.e, dx, DG_F64, wanted);
    double worst = 0, size = 0;
    for (size_t i = 0; i < count; i++) {
        worst = fabs(r.out[i] - wanted[i]) <= worst ? worst : fabs(r.out[i] - wanted[i]);
        size = fmax(size, fabs(wanted[i]));
    }
    CHECK(size > .1 && worst <= TERMS * DBL_EPSILON * size, "the gradient through a folded batch norm is off by %g, of %g", worst, size);
    free(v), free(wanted);
    run_free(&r);
}

/* ---- patches and positions --------------------------------------------------------------------------------------------------------- */
enum { LATENT = 4, WIDTH = 24 };
static Tid patches(Run *r, int p) {
    Tid w = g_weight(r->g, "x_embedder.proj.weight", (Shape){WIDTH, p, p, LATENT}, (WeightView){.kind = VIEW_CONV});
    Tid b = g_weight(r->g, "x_embedder.proj.bias", (Shape){1, 1, 1, WIDTH}, (WeightView){.kind = VIEW_VECTOR});
    add_tensor(r, "x_embedder.proj.weight", 4, (int64_t[]){WIDTH, LATENT, p, p});
    add_tensor(r, "x_embedder.proj.bias", 1, (int64_t[]){WIDTH});
    return g_conv_with(r->g, r->x, w, b, (ConvOptions){.stride = p, .scale = 1});
}
static void fill_latent(Run *r) {
    for (size_t i = 0; i < shape_count(shape_of(r->g, r->x)); i++) r->in[i] = small("latent", i);
}
/* A patch, flattened as (channel, row, column), times the weight as [WIDTH, LATENT*p*p]: element k of token row*(W/p) + column. */
static double patch_product(const Run *r, int p, int at) {
    Shape x = shape_of(r->g, r->x);
    int k = at % WIDTH, token = at / WIDTH, columns = x.w / p, rows = x.h / p, image = token / (rows * columns);
    int row = token / columns % rows, column = token % columns, size = LATENT * p * p;
    float sum = r->data[1][k];
    for (int i = 0; i < size; i++) {
        int c = i / (p * p), h = row * p + i / p % p, v = column * p + i % p;
        sum += r->data[0][k * size + i] * r->in[((image * x.h + h) * x.w + v) * LATENT + c];
    }
    return (double)sum;
}
static void patched(Device *d, int p) {
    Run r = run_new(d, (Shape){IMAGES, 3 * p, 2 * p, LATENT});
    run_bind(&r, d, patches(&r, p));
    fill_latent(&r);
    run_run(&r);
    Shape y = shape_of(r.g, r.y);
    int wrong = 0;
    for (int i = 0; i < (int)shape_count(y); i++) wrong += r.out[i] != patch_product(&r, p, i);
    CHECK(shape_eq(y, (Shape){IMAGES, 3, 2, WIDTH}) && wrong == 0, "%s, %s: %d elements of patches of %dx%d are wrong", d->be->name,
          precision_name(d->precision), wrong, p, p);
    run_free(&r);
}
/* There and back: element k of a token is the patch's value (channel, row, column) = k, as patches are flattened for the weight, and
 * element (row, column, channel) of the last layer is that value: of a pixel, again.                    */
static void round_trip(Device *d, int p) {
    int size = LATENT * p * p;
    Run r = run_new(d, (Shape){IMAGES, 3 * p, 2 * p, LATENT});
    Tid in = g_weight(r.g, "x_embedder.proj.weight", (Shape){size, p, p, LATENT}, (WeightView){.kind = VIEW_CONV});
    Tid out = g_weight(r.g, "final_layer.linear.weight", (Shape){size, 1, 1, size}, (WeightView){.kind = VIEW_CONV});
    float *one = add_tensor(&r, "x_embedder.proj.weight", 4, (int64_t[]){size, LATENT, p, p});
    float *other = add_tensor(&r, "final_layer.linear.weight", 2, (int64_t[]){size, size});
    for (int k = 0; k < size * size; k++) one[k] = k / size == k % size, other[k] = 0;
    for (int c = 0; c < LATENT; c++)
        for (int i = 0; i < p * p; i++) other[(i * LATENT + c) * size + c * p * p + i] = 1;
    Tid tokens = g_conv_with(r.g, r.x, in, 0, (ConvOptions){.stride = p, .scale = 1});
    run_bind(&r, d, g_depth_to_space(r.g, g_conv(r.g, tokens, out, 0, 0), p));
    Shape x = shape_of(r.g, r.x);
    int wrong = 0, count = (int)shape_count(x);
    for (int i = 0; i < count; i++) r.in[i] = (float)(i % 251); /* exact in 8 bits: no neighbours are alike */
    run_run(&r);
    for (int i = 0; i < count; i++) wrong += r.out[i] != (double)r.in[i];
    CHECK(shape_eq(shape_of(r.g, r.y), x) && wrong == 0, "%s, %s: %d of %d values do not come back from patches of %dx%d", d->be->name,
          precision_name(d->precision), wrong, count, p, p);
    run_free(&r);
}
typedef enum { COMPUTED, READ, CONSTANT, SOURCES } Source;
static Run positioned(Device *d, Source source, bool fuse) {
    enum { P = 2, ROWS = 3, TOKENS = 5 };
    Run r = run_new(d, (Shape){IMAGES, ROWS * P, TOKENS * P, LATENT});
    Shape s = {1, ROWS, TOKENS, WIDTH};
    float table[ROWS * TOKENS * WIDTH];
    positions_2d(ROWS, TOKENS, WIDTH, table);
    Tid tokens = patches(&r, P), positions;
    if (source == CONSTANT) positions = g_constant(r.g, "pos_embed", s, DG_F32, table);
    else positions = g_weight(r.g, "pos_embed", s, (WeightView){.kind = VIEW_POSITIONS});
    if (source == READ) memcpy(add_tensor(&r, "pos_embed", 3, (int64_t[]){1, ROWS * TOKENS, WIDTH}), table, sizeof table);
    Tid y = g_add(r.g, tokens, positions, 1, 1);
    if (fuse) graph_fuse(r.g);
    run_bind(&r, d, y);
    fill_latent(&r);
    run_run(&r);
    if (source != CONSTANT) return r;
    int wrong = 0;
    double unit = d->precision.tf32 ? unit_of(d->precision) : (double)FLT_EPSILON / 2; /* outputs are f32 where images have 16 bits */
    for (int i = 0; i < (int)shape_count(shape_of(r.g, y)); i++) {
        double wanted = patch_product(&r, P, i) + (double)table[i % (ROWS * TOKENS * WIDTH)];
        wrong += !(fabs(r.out[i] - wanted) <= fabs(wanted) * unit);
    }
    CHECK(wrong == 0, "%s, %s%s: %d elements with positions are wrong", d->be->name, precision_name(d->precision), fuse ? ", fused" : "",
          wrong);
    return r;
}
static void positions(Device *d) {
    static const char *const how[SOURCES] = {"computed", "read", "constant"};
    for (int fuse = 0; fuse < 2; fuse++) {
        Run r[SOURCES];
        for (int i = 0; i < SOURCES; i++) r[i] = positioned(d, (Source)i, fuse);
        size_t bytes = shape_count(shape_of(r[0].g, r[0].y)) * sizeof(double);
        for (int i = 1; i < SOURCES; i++) {
            CHECK(!memcmp(r[i].out, r[0].out, bytes), "%s, %s%s: positions %s are not those computed", d->be->name,
                  precision_name(d->precision), fuse ? ", fused" : "", how[i]);
            CHECK(r[i].e->weight_bytes == r[0].e->weight_bytes, "%s: %zu bytes with positions %s, %zu computed", d->be->name,
                  r[i].e->weight_bytes, how[i], r[0].e->weight_bytes);
        }
        for (int i = 0; i < SOURCES; i++) run_free(&r[i]);
    }
}
static void test_device(const char *spec) {
    Error e = {""};
    Device *d = device_open(spec, NULL, &e);
    if (!d) {
        not_run("%s: %s", spec, e.text);
        return;
    }
    const Backend *be = d->be;
    device_close(d);
    for (int i = 0; i < be->precisions; i++) {
        d = device_open(spec, precision_name(be->takes[i]), &e);
        DG_CHECK(d, "%s", e.text);
        folded(d);
        if (d->precision.act == DG_F64) folded_gradient(d);
        for (int p = 2; p <= 8; p *= 2) patched(d, p), round_trip(d, p);
        positions(d);
        device_close(d);
    }
}
int main(int argc, char **argv) {
    static const char *const all[] = {"cpu", "ref", "ref64", "rounded", "emu", "cuda"};
    for (int i = 1; i < argc; i++) test_device(argv[i]);
    for (size_t i = 0; i < sizeof all / sizeof *all && argc == 1; i++)
        if (strstr(device_list(), all[i])) test_device(all[i]);
    return check_done("test_views");
}
