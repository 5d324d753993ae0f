/* test_fuse.c -- what graph_fuse merges, what it must leave, and that both give the same: in ref64 bit for bit, on a device closely.
 *   test_fuse [DEVICE [PRECISION]]     default: cpu */
#include "base/dtype.h"
#include "device/device.h"
#include "graph/weights.h"
#include "check.h"
#include "exec_values.h"
#include <math.h>
#include <stdlib.h>

enum { N = 2, SIZE = 6, C = 16 };
static Tid conv_of(Graph *g, Tid x, const char *weight, const char *bias) {
    Tid w = g_weight(g, weight, (Shape){C, 3, 3, shape_of(g, x).c}, (WeightView){.kind = VIEW_CONV});
    return g_conv(g, x, w, g_weight(g, bias, (Shape){1, 1, 1, C}, (WeightView){.kind = VIEW_VECTOR}), 1);
}
static Tid pixel_conv(Graph *g, Tid x, const char *weight, int stride) { /* 1x1 */
    Tid w = g_weight(g, weight, (Shape){C, 1, 1, shape_of(g, x).c}, (WeightView){.kind = VIEW_CONV});
    return g_conv_with(g, x, w, g_weight(g, "skip.bias", (Shape){1, 1, 1, C}, (WeightView){.kind = VIEW_VECTOR}),
                       (ConvOptions){.stride = stride, .scale = 1});
}
static Tid image(Graph *g, const char *name) { return g_input(g, name, (Shape){N, SIZE, SIZE, C}); }
static Tid vector(Graph *g, const char *name, int c) { return g_input(g, name, (Shape){N, 1, 1, c}); }
static Tid conv(Graph *g) { return conv_of(g, image(g, "x"), "w.weight", "w.bias"); }
static Tid relu(Graph *g, Tid x) { return g_unary(g, x, F_RELU, 0, 0); }
static Tid gelu(Graph *g, Tid x) { return g_unary(g, x, F_GELU_TANH, 0, 0); }
static Tid positions(Graph *g) {
    double v[SIZE * SIZE * C];
    for (int i = 0; i < SIZE * SIZE * C; i++) v[i] = sin(i);
    return g_constant(g, "positions", (Shape){1, SIZE, SIZE, C}, DG_F64, v);
}
static Tid layer_norm(Graph *g) { return g_pixel_norm(g, image(g, "x"), 0, 0, 0, 1e-6f, false); }
static Tid modulate(Graph *g, Tid x, Tid shift, Tid scale) { return g_add(g, g_gate(g, x, scale, x), shift, 1, 1); }

static Tid conv_relu(Graph *g) { return relu(g, conv(g)); }
static Tid conv_gelu(Graph *g) { return gelu(g, conv(g)); }
static Tid conv_relu_relu(Graph *g) { return relu(g, relu(g, conv(g))); }
static Tid conv_clamp(Graph *g) { return g_clamp(g, conv(g), -.5f, .5f); }
static Tid conv_gate(Graph *g) { return g_gate(g, conv(g), vector(g, "gate", C), 0); }
static Tid conv_gate_residual(Graph *g) { return g_gate(g, conv(g), vector(g, "gate", C), image(g, "residual")); }
static Tid conv_gate_add(Graph *g) { return g_add(g, conv_gate(g), image(g, "residual"), .5f, .5f); }
static Tid conv_gate_gate(Graph *g) { return g_gate(g, conv_gate(g), vector(g, "again", C), 0); }
static Tid conv_gate_residual_relu(Graph *g) { return relu(g, conv_gate_residual(g)); }
static Tid conv_positions(Graph *g) { return g_add(g, conv(g), positions(g), 1, 1); }
static Tid conv_positions_gelu(Graph *g) { return gelu(g, conv_positions(g)); }
static Tid conv_add_relu(Graph *g) { return relu(g, g_add(g, conv(g), image(g, "residual"), 1, 1)); }
static Tid conv_relu_add(Graph *g) { return g_add(g, conv_relu(g), image(g, "residual"), 1, 1); }
static Tid conv_relu_gate(Graph *g) { return g_gate(g, conv_relu(g), vector(g, "gate", C), 0); }
static Tid conv_add_gate(Graph *g) { return g_gate(g, g_add(g, conv(g), image(g, "residual"), 1, 1), vector(g, "gate", C), 0); }
static Tid gate_of_image(Graph *g) { return g_gate(g, image(g, "other"), vector(g, "gate", C), conv(g)); }
static Tid conv_read_twice(Graph *g) {
    Tid y = conv(g);
    return g_concat(g, relu(g, y), y);
}
static Tid conv_kept(Graph *g) {
    Tid y = conv(g);
    g->t[y].keep = true;
    return g_gate(g, y, vector(g, "gate", C), 0);
}
static Tid modulated(Graph *g) {
    Tid m = vector(g, "shift_scale", 2 * C);
    return modulate(g, layer_norm(g), g_slice(g, m, 0, C), g_slice(g, m, C, C));
}
static Tid modulated_backwards(Graph *g) { /* [scale, shift] is not what the norm reads */
    Tid m = vector(g, "scale_shift", 2 * C);
    return modulate(g, layer_norm(g), g_slice(g, m, C, C), g_slice(g, m, 0, C));
}
static Tid modulated_by_two(Graph *g) {
    return modulate(g, layer_norm(g), g_slice(g, vector(g, "a", 2 * C), 0, C), g_slice(g, vector(g, "b", 2 * C), C, C));
}
static Tid modulated_twice(Graph *g) { /* the norm itself is read once more */
    Tid m = vector(g, "shift_scale", 2 * C), n = layer_norm(g);
    return g_concat(g, modulate(g, n, g_slice(g, m, 0, C), g_slice(g, m, C, C)), n);
}
static Tid transformer_block(Graph *g) { /* of DiT: modulation, two layers, a gate onto the residual stream */
    Tid x = image(g, "x"), m = vector(g, "shift_scale", 2 * C);
    Tid h = modulate(g, g_pixel_norm(g, x, 0, 0, 0, 1e-6f, false), g_slice(g, m, 0, C), g_slice(g, m, C, C));
    h = conv_of(g, gelu(g, conv_of(g, h, "fc1.weight", "fc1.bias")), "fc2.weight", "fc2.bias");
    return g_f32(g, g_gate(g, h, vector(g, "gate", C), x));
}

static Tid skip_of(Graph *g, const char *name) { return pixel_conv(g, image(g, name), "skip.weight", 1); }
static Tid conv_skip(Graph *g) { return g_add(g, conv(g), skip_of(g, "other"), .5f, .5f); }
static Tid skip_conv(Graph *g) { return g_add(g, skip_of(g, "other"), conv(g), 1, 1); }
static Tid conv_skip_relu(Graph *g) { return relu(g, conv_skip(g)); }
static Tid conv_skip_add(Graph *g) { return g_add(g, skip_conv(g), image(g, "residual"), 1, 1); }
static Tid conv_skip_gate(Graph *g) { return g_gate(g, conv_skip(g), vector(g, "gate", C), 0); }
static Tid conv_gate_skip(Graph *g) { return g_add(g, conv_gate(g), skip_of(g, "other"), 1, 1); }
static Tid skip_gate(Graph *g) { return g_add(g, conv(g), g_gate(g, skip_of(g, "other"), vector(g, "gate", C), 0), 1, 1); }
static Tid conv_skip_uneven(Graph *g) { return g_add(g, conv(g), skip_of(g, "other"), 1, .5f); }
static Tid skip_read_twice(Graph *g) {
    Tid s = skip_of(g, "other");
    return g_concat(g, g_add(g, conv(g), s, 1, 1), s);
}
static Tid skip_weight_read_twice(Graph *g) {
    Tid y = g_add(g, conv(g), skip_of(g, "other"), 1, 1);
    return g_concat(g, y, relu(g, skip_of(g, "another")));
}
static Tid skip_of_a_stride(Graph *g) {
    Tid wide = g_input(g, "wide", (Shape){N, 2 * SIZE, 2 * SIZE, C});
    return g_add(g, conv(g), pixel_conv(g, wide, "skip.weight", 2), 1, 1);
}
static Tid skip_of_vectors(Graph *g) { /* layers of an embedding */
    Tid a = pixel_conv(g, vector(g, "a", C), "a.weight", 1);
    return g_add(g, a, pixel_conv(g, vector(g, "b", C), "b.weight", 1), 1, 1);
}
static Tid skip_vector(Graph *g) { /* what is added is broadcast */
    return g_add(g, conv(g), pixel_conv(g, vector(g, "b", C), "b.weight", 1), 1, 1);
}

/* The gradient of what reads x several times: of `again` beside a norm of it. */
static Tid normed(Graph *g, Tid x) {
    return g_norm(g, x, g_weight(g, "n.weight", (Shape){1, 1, 1, C}, (WeightView){.kind = VIEW_VECTOR}),
                  g_weight(g, "n.bias", (Shape){1, 1, 1, C}, (WeightView){.kind = VIEW_VECTOR}), 0, 4, 1e-5f);
}
static Tid gradient(Graph *g, Tid y, Tid x) {
    g->t[y].keep = true;
    graph_fuse(g); /* as guides are made: the forward's ops first */
    return graph_backward(g, y, image(g, "dy"), x);
}
static Tid norm_beside_skip(Graph *g) {
    Tid x = image(g, "x");
    return gradient(g, g_add(g, normed(g, g_silu(g, x)), x, 1, 1), x);
}
static Tid norm_beside_scaled_skip(Graph *g) {
    Tid x = image(g, "x");
    return gradient(g, g_add(g, g_silu(g, normed(g, x)), x, .5f, .5f), x);
}
static Tid two_norms(Graph *g) { /* of three gradients two are added by one of them, the sum by the other */
    Tid x = image(g, "x");
    return gradient(g, g_add(g, g_add(g, normed(g, x), normed(g, x), 1, 1), x, 1, 1), x);
}
static Tid norm_beside_two(Graph *g) { /* it takes one, the sum of both goes on */
    Tid x = image(g, "x"), s = g_silu(g, x);
    return gradient(g, g_add(g, g_add(g, normed(g, x), x, 1, 1), s, 1, 1), x);
}
static Tid norm_beside_conv(Graph *g) { /* the conv takes the sum */
    Tid x = image(g, "x"), skip = conv_of(g, x, "skip.weight", "skip.bias");
    return gradient(g, g_add(g, normed(g, x), skip, 1, 1), x);
}
static Tid kept_gradient_of_norm(Graph *g) { /* somebody else wants to know it */
    Tid x = image(g, "x"), dx = gradient(g, g_add(g, normed(g, x), x, 1, 1), x);
    for (int i = 0; i < g->nop; i++)
        if (g->op[i].kind == OP_NORM_BWD) g->t[g->op[i].out].keep = true;
    return dx;
}
static Tid weighed_gradients(Graph *g) { /* an add that is more than a sum */
    Tid x = image(g, "x"), dy = image(g, "dy"), n = normed(g, x);
    g->t[n].keep = true;
    return g_add(g, graph_backward(g, n, dy, x), dy, .5f, .5f);
}
static Tid vector_to_gradient(Graph *g) {
    Tid x = image(g, "x"), n = normed(g, x);
    g->t[n].keep = true;
    return g_add(g, graph_backward(g, n, image(g, "dy"), x), vector(g, "v", C), 1, 1);
}

static Tid norm_of(Graph *g, Tid x, const char *gamma) {
    char beta[32];
    Shape v = {1, 1, 1, shape_of(g, x).c};
    snprintf(beta, sizeof beta, "%s.bias", gamma);
    Tid w = g_weight(g, gamma, v, (WeightView){.kind = VIEW_VECTOR}), b = g_weight(g, beta, v, (WeightView){.kind = VIEW_VECTOR});
    return g_silu(g, g_norm(g, x, w, b, 0, 4, 1e-5f));
}
static Tid joined(Graph *g) { return g_concat(g, image(g, "x"), image(g, "y")); }
static Tid norm_joined(Graph *g) { return norm_of(g, joined(g), "n.weight"); }
static Tid block_of(Graph *g, Tid x) { /* of a U-Net's second half */
    Tid h = norm_of(g, conv_of(g, norm_of(g, x, "n0.weight"), "w0.weight", "w0.bias"), "n1.weight");
    return g_add(g, conv_of(g, h, "w1.weight", "w1.bias"), pixel_conv(g, x, "skip.weight", 1), .5f, .5f);
}
static Tid block_joined(Graph *g) { return block_of(g, joined(g)); }
static Tid blocks_joined(Graph *g) { /* a small U-Net: two levels of blocks, their outputs read by the next block and by a later one */
    Tid x = block_of(g, g_concat(g, image(g, "x"), image(g, "y")));
    g->t[x].keep = true;
    Tid y = norm_of(g, g_concat(g, conv_of(g, x, "down.weight", "down.bias"), x), "n2.weight");
    return conv_of(g, y, "out.weight", "out.bias");
}
static Tid joined_read_by_conv(Graph *g) { /* a 3x3 convolution reads no two */
    Tid x = joined(g), n = norm_of(g, x, "n.weight");
    return g_concat(g, n, conv_of(g, x, "w.weight", "w.bias"));
}
static Tid joined_kept(Graph *g) {
    Tid x = joined(g);
    g->t[x].keep = true;
    return norm_of(g, x, "n.weight");
}
static Tid norm_of_three(Graph *g) {
    return norm_of(g, g_concat_all(g, (Tid[]){image(g, "x"), image(g, "y"), image(g, "z")}, 3), "n.weight");
}
static Tid norm_of_two_twice(Graph *g) { /* fused twice, as guides are: the norm of two reads no third */
    Tid x = norm_of(g, g_concat(g, g_concat(g, image(g, "x"), image(g, "y")), image(g, "z")), "n.weight");
    g->t[x].keep = true;
    graph_fuse(g);
    return x;
}
static Tid norm_of_few(Graph *g) { /* the seam stands within eight channels */
    Tid few = g_input(g, "few", (Shape){N, SIZE, SIZE, 4});
    return norm_of(g, g_concat(g, few, g_concat(g, few, image(g, "x"))), "n.weight");
}

static const struct {
    Tid (*build)(Graph *);
    const char *name, *left; /* the ops after fusing, in order */
} rows[] = {
    {conv_relu, "relu", "conv"},
    {conv_gelu, "gelu", "conv"},
    {conv_relu_relu, "relu twice", "conv unary"},
    {conv_clamp, "clamp", "conv unary"},
    {conv_gate, "gate", "conv"},
    {conv_gate_residual, "gate with residual", "conv"},
    {conv_gate_add, "gate, add", "conv"},
    {conv_gate_gate, "two gates", "conv gate"},
    {conv_gate_residual_relu, "gate with residual, relu", "conv"},
    {conv_positions, "positions", "conv"},
    {conv_positions_gelu, "positions, gelu", "conv"},
    {conv_add_relu, "add, relu", "conv"},
    {conv_relu_add, "relu, add", "conv add"},
    {conv_relu_gate, "relu, gate", "conv gate"},
    {conv_add_gate, "add, gate", "conv gate"},
    {gate_of_image, "a conv that is the residual", "conv gate"},
    {conv_read_twice, "a conv that is read twice", "conv unary concat"},
    {conv_kept, "a conv that is kept", "conv gate"},
    {modulated, "modulation", "pixel_norm"},
    {modulated_backwards, "modulation, scale first", "slice slice pixel_norm gate add"},
    {modulated_by_two, "modulation by two vectors", "slice slice pixel_norm gate add"},
    {modulated_twice, "a norm that is read again", "pixel_norm slice slice gate add concat"},
    {conv_skip, "skip", "conv"},
    {skip_conv, "skip first", "conv"},
    {conv_skip_relu, "skip, relu", "conv"},
    {conv_skip_add, "skip, add", "conv add"},
    {conv_skip_gate, "skip, gate", "conv gate"},
    {conv_gate_skip, "gate, skip", "conv conv"},
    {skip_gate, "skip with a gate", "conv conv"},
    {conv_skip_uneven, "skip in other parts", "conv conv add"},
    {skip_read_twice, "a skip that is read twice", "conv conv concat"},
    {skip_weight_read_twice, "a skip whose weight is read twice", "conv conv conv concat"},
    {skip_of_a_stride, "a skip with a stride", "conv conv"},
    {skip_of_vectors, "layers of vectors", "conv conv"},
    {skip_vector, "a layer of vectors for an image", "conv conv"},
    {norm_joined, "a norm of two", "norm"},
    {block_joined, "a block of two", "norm conv norm conv"},
    {blocks_joined, "blocks of two", "norm conv norm conv conv norm conv"},
    {joined_read_by_conv, "a concat that a convolution reads", "concat norm conv concat"},
    {joined_kept, "a concat that is kept", "concat norm"},
    {norm_of_three, "a norm of three", "concat norm"},
    {norm_of_few, "a norm of 4 and 4 and 16 channels", "concat concat norm"},
    {norm_of_two_twice, "a norm of two and one, fused twice", "concat norm"},
    {transformer_block, "a transformer's block", "pixel_norm conv conv"},
    {norm_beside_skip, "a gradient beside that of silu and a norm", "unary norm add norm_bwd unary_bwd add"},
    {norm_beside_scaled_skip, "a gradient beside a norm's", "norm add add add norm_bwd"},
    {two_norms, "gradients of two norms and a skip", "norm norm add add norm_bwd norm_bwd"},
    {norm_beside_two, "gradients of a norm, a skip and silu", "unary norm add add norm_bwd unary_bwd add"},
    {norm_beside_conv, "a norm's gradient and a conv's", "norm conv norm_bwd conv"},
    {kept_gradient_of_norm, "a norm's gradient that is kept", "norm add norm_bwd add"},
    {weighed_gradients, "a weighed sum with a norm's gradient", "norm norm_bwd add"},
    {vector_to_gradient, "a vector added to a norm's gradient", "norm norm_bwd add"},
};

static uint64_t rng;
static double unit(void) { /* in [-1,1) */
    rng = rng * 6364136223846793005u + 1442695040888963407u;
    return (double)(rng >> 11) * 0x1p-52 - 1;
}
static void fill(Exec *e) {
    rng = 1;
    for (Tid t = 1; t < e->g->nt; t++) {
        if (e->g->t[t].kind != T_INPUT || e->g->t[t].first > e->g->t[t].last) continue;
        size_t n = shape_count(shape_of(e->g, t));
        double *v = dg_alloc(n * sizeof *v);
        for (size_t i = 0; i < n; i++) v[i] = unit();
        exec_set(e, t, DG_F64, v);
        free(v);
    }
}
/* y of row i on a device, in double; the ops that were run, by name, in order. */
static double *run(int i, Device *d, bool fuse, size_t *n, char *ops, size_t size) {
    Error err = {""};
    Weights *w = weights_synthetic(5, NULL);
    Graph *g = graph_new(d->precision);
    Tid y = rows[i].build(g);
    g->t[y].keep = true;
    int before = g->nop, removed = fuse ? graph_fuse(g) : 0;
    CHECK(g->nop == before - removed, "%s: %d ops of %d are left, %d were removed", rows[i].name, g->nop, before, removed);
    graph_plan(g);
    Exec *e = exec_new(g, d, weights_alone(w), &err);
    DG_CHECK(e, "%s: %s", rows[i].name, err.text);
    size_t used = 0;
    ops[0] = 0;
    for (int k = 0; k < g->nop; k++) used += (size_t)snprintf(ops + used, size - used, "%s%s", k ? " " : "", op_name(g->op[k].kind));
    fill(e);
    exec_run(e, g->batch);
    double *v = exec_values(e, y, n);
    exec_free(e);
    graph_free(g);
    weights_free(w);
    return v;
}
static void test_row(int i, Device *ref64, Device *d, double tolerance) {
    char ops[256], plain_ops[256];
    size_t n;
    double *plain = run(i, ref64, false, &n, plain_ops, sizeof plain_ops), *fused = run(i, ref64, true, &n, ops, sizeof ops);
    CHECK(!strcmp(ops, rows[i].left), "%s: \"%s\" became \"%s\", not \"%s\"", rows[i].name, plain_ops, ops, rows[i].left);
    CHECK(!memcmp(plain, fused, n * sizeof *plain), "%s: fused gives other bits in ref64", rows[i].name);
    double *here[2] = {run(i, d, false, &n, plain_ops, sizeof plain_ops), run(i, d, true, &n, ops, sizeof ops)};
    for (int fuse = 0; fuse < 2; fuse++) {
        double num = 0, den = 0;
        for (size_t k = 0; k < n; k++) num += (here[fuse][k] - plain[k]) * (here[fuse][k] - plain[k]), den += plain[k] * plain[k];
        CHECK(den > 0 && sqrt(num / den) <= tolerance, "%s, %s on %s: relative error %.3g", rows[i].name, fuse ? "fused" : "not fused",
              d->be->name, sqrt(num / den));
        free(here[fuse]);
    }
    free(plain), free(fused);
}
int main(int argc, char **argv) {
    Error err = {""};
    Device *ref64 = device_open("ref64", NULL, &err), *d = device_open(argc > 1 ? argv[1] : "cpu", argc > 2 ? argv[2] : NULL, &err);
    if (!d) not_run("test_fuse: %s", err.text);
    const double eps = !d || (d->precision.act == DG_F32 && !d->precision.tf32) ? 0x1p-23 : d->precision.act == DG_BF16 ? 0x1p-8 : 0x1p-11;
    for (int i = 0; d && i < (int)(sizeof rows / sizeof *rows); i++) test_row(i, ref64, d, 8 * eps);
    if (d) device_close(d);
    device_close(ref64);
    return check_done("test_fuse");
}
