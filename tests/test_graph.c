/* test_graph.c -- properties of the core: the planner keeps live tensors apart, fusion changes nothing but rounding,
 * gradients of whole blocks equal central differences, and a run with poisoned dead memory gives the same bits.       */
#include "device/device.h"
#include "graph/weights.h"
#include "models/adm_encoder.h"
#include "check.h"
#include "exec_check.h"
#include "exec_values.h"
#include <math.h>
#include <stdlib.h>

static uint64_t mix(uint64_t z) {
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}
static double unit(uint64_t key, uint64_t i) {
    return (double)(mix(key * 0x2545F4914F6CDD1Du + (i + 1) * 0x9E3779B97F4A7C15u) >> 11) * 0x1p-52 - 1;
}
static uint64_t rng = 1;
static int below(int n) {
    rng = rng * 6364136223846793005u + 1442695040888963407u;
    return (int)((rng >> 33) % (uint64_t)n);
}

/* ---- the planner, on random graphs, by an independent liveness check --------------------------------------------------- */
static Graph *random_graph(void) {
    Graph *g = graph_new((Precision){DG_F32, false});
    int n = 2 + below(40);
    g_input(g, "a", (Shape){1, 1, 1, 1 + below(300)});
    g_input(g, "b", (Shape){1, 1, 1, 1 + below(300)});
    for (int i = 0; i < n; i++) {
        Tid x = 1 + below(g->nt - 1), y = 1 + below(g->nt - 1);
        Tid t =
            below(2) && shape_of(g, x).c + shape_of(g, y).c < 100000 ? g_concat(g, x, y) : g_slice(g, x, 0, 1 + below(shape_of(g, x).c));
        g->t[t].keep = !below(6);
    }
    return g;
}
/* Must the value of t survive op i? It exists by then, and somebody reads it at i or later, or the user does. */
static bool live_at(const Graph *g, Tid t, int i) {
    if (g->t[t].producer > i) return false;
    if (g->t[t].keep || g->t[t].kind == T_INPUT || g->t[t].producer == i) return true;
    for (int j = i; j < g->nop; j++)
        for (int s = 0; s < OP_INPUTS; s++)
            if (g->op[j].in[s] == t) return true;
    return false;
}
static void test_plan(void) {
    size_t pairs = 0, overlaps = 0, outside = 0, misaligned = 0;
    for (int trial = 0; trial < 200; trial++) {
        Graph *g = random_graph();
        if (trial % 3 == 0) g->guard_bytes = 1 + (size_t)below(300);
        size_t end = graph_plan(g);
        for (int i = 0; i < g->nop; i++)
            for (Tid a = 1; a < g->nt; a++)
                for (Tid b = a + 1; b < g->nt; b++) {
                    if (!live_at(g, a, i) || !live_at(g, b, i)) continue;
                    size_t x = g->t[a].offset, y = g->t[b].offset, guard = g->guard_bytes;
                    size_t xe = x + shape_count(shape_of(g, a)) * sizeof(float), ye = y + shape_count(shape_of(g, b)) * sizeof(float);
                    pairs++;
                    overlaps += x < ye + guard && y < xe + guard;
                    outside += xe + guard > end || ye + guard > end || x < guard || y < guard;
                    misaligned += x % DG_ALIGN || y % DG_ALIGN;
                }
        graph_free(g);
    }
    CHECK(pairs > 10000, "only %zu live pairs", pairs);
    CHECK(overlaps == 0, "%zu of %zu live pairs overlap", overlaps, pairs);
    CHECK(outside == 0 && misaligned == 0, "%zu outside the arena, %zu misaligned", outside, misaligned);
}

/* ---- graphs under test: forward, optional fusion, backward, bound to ref64 ----------------------------------------------- */
typedef struct {
    Graph *g;
    Tid x, y, dy, dx, temb;
    Tid kept; /* an activation that is wanted as well, or 0 */
    Exec *e;
    Weights *w;
} Net;
/* One small graph with every non-default parameter: scales, a norm read twice, concat, slice, up, down, broadcast. */
static void build_params(Net *k) {
    Graph *g = k->g;
    Shape s = {2, 4, 4, 32};
    static const float box[2] = {.5f, .5f};
    const WeightView conv = {.kind = VIEW_CONV}, vector = {.kind = VIEW_VECTOR};
    k->x = g_input(g, "x", s);
    k->temb = g_input(g, "temb", (Shape){2, 1, 1, 32});
    Tid n = g_norm(g, k->x, g_weight(g, "g.weight", (Shape){1, 1, 1, 32}, vector), g_weight(g, "g.bias", (Shape){1, 1, 1, 32}, vector), 0,
                   8, 1e-5f);
    Tid h = g_silu(g, n); /* n is read twice: must not be fused */
    h = g_add(g, g_conv(g, h, g_weight(g, "w.weight", (Shape){32, 3, 3, 32}, conv), 0, 1), n, .7f, .7f);
    h = g_concat(g, g_up(g, g_down(g, h, box, 2, 0, .3f), box, 2, 0, 1.9f), g_add(g, h, k->x, .2f, -.4f));
    h = g_add(g, g_conv(g, h, g_weight(g, "v.weight", (Shape){32, 1, 1, 64}, conv), g_weight(g, "v.bias", (Shape){1, 1, 1, 32}, vector), 0),
              k->temb, 1, 1);
    Tid m = g_norm(g, h, g_weight(g, "m.weight", (Shape){1, 1, 1, 32}, vector), g_weight(g, "m.bias", (Shape){1, 1, 1, 32}, vector), 0, 8,
                   1e-5f);
    h = g_add(g, g_conv(g, g_silu(g, m), g_weight(g, "u.weight", (Shape){32, 3, 3, 32}, conv), 0, 1), h, .6f, .6f);
    k->kept = g_norm(g, h, g_weight(g, "k.weight", (Shape){1, 1, 1, 32}, vector), g_weight(g, "k.bias", (Shape){1, 1, 1, 32}, vector), 0, 8,
                     1e-5f);
    g->t[k->kept].keep = true; /* neither this norm nor this add, of two factors, may be fused */
    k->y = g_add(g, g_conv(g, g_silu(g, k->kept), g_weight(g, "q.weight", (Shape){32, 1, 1, 32}, conv), 0, 0), h, .3f, .8f);
}
/* The whole discriminator: extractor to the middle block, head with attention pool, clamp. */
static void build_discriminator(Net *k) {
    Graph *g = k->g;
    EncoderConfig extractor = {.image_size = 16,
                               .in_channels = 3,
                               .model_channels = 32,
                               .out_channels = 10,
                               .num_res_blocks = 1,
                               .channel_mult = {1, 2},
                               .levels = 2,
                               .attention_resolutions = {1, 2},
                               .attn_count = 2,
                               .num_head_channels = 32,
                               .use_scale_shift_norm = true,
                               .resblock_updown = true};
    EncoderConfig head = extractor;
    head.image_size = 8, head.in_channels = 64, head.out_channels = 1, head.levels = 1, head.attention_resolutions[0] = 1,
    head.attn_count = 1;
    k->x = g_input(g, "x", (Shape){2, 16, 16, 3});
    Ports a = {.x = k->x}, b;
    Error err = {""};
    bool ok = model_build(&model_extractor, g, &extractor, "", 2, &a, &err);
    b = (Ports){.x = a.features};
    ok = ok && model_build(&model_head, g, &head, "head.", 2, &b, &err);
    DG_CHECK(ok, "%s", err.text);
    k->y = g_clamp(g, b.out, -11.5129f, 11.5129f);
    k->temb = a.time;
}
static Net net_new(void (*build)(Net *), bool fuse, Device *d, int *removed) {
    Net k = {.g = graph_new(d->precision), .w = weights_synthetic(3, NULL)};
    build(&k);
    k.g->t[k.y].keep = true;
    *removed = fuse ? graph_fuse(k.g) : 0;
    k.dy = g_input(k.g, "dy", shape_of(k.g, k.y));
    k.dx = graph_backward(k.g, k.y, k.dy, k.x);
    k.g->t[k.dx].keep = true;
    if (fuse) *removed += graph_fuse(k.g);
    k.g->guard_bytes = DG_ALIGN;
    graph_plan(k.g);
    Error err;
    k.e = exec_new(k.g, d, weights_alone(k.w), &err);
    DG_CHECK(k.e, "%s", err.text);
    for (Tid t = 1; t < k.g->nt; t++) { /* every input, the embeddings included, is random */
        if (k.g->t[t].kind != T_INPUT || t == 0) continue;
        size_t n = shape_count(shape_of(k.g, t));
        double *v = dg_alloc(n * sizeof *v);
        uint64_t key = 0;
        for (const char *c = k.g->t[t].name; *c; c++) key = key * 31 + (uint8_t)*c;
        for (size_t i = 0; i < n; i++) v[i] = unit(key, i);
        exec_set(k.e, t, DG_F64, v);
        free(v);
    }
    return k;
}
static void net_free(Net *k) {
    exec_free(k->e);
    weights_free(k->w);
    graph_free(k->g);
}
static double distance(const double *a, const double *b, size_t n) {
    double num = 0, den = 0;
    for (size_t i = 0; i < n; i++) num += (a[i] - b[i]) * (a[i] - b[i]), den += b[i] * b[i];
    return den > 0 ? sqrt(num / den) : NAN;
}
/* Directional derivatives along several random directions against central differences, in double. */
static void check_slopes(Net *k, const char *name) {
    size_t nx, ny, n;
    exec_run(k->e, k->e->g->batch);
    double *x0 = exec_values(k->e, k->x, &nx), *dx = exec_values(k->e, k->dx, &n), *dy = exec_values(k->e, k->dy, &ny),
           *z = dg_alloc(nx * sizeof *z), worst = 0;
    for (uint64_t trial = 0; trial < 4; trial++) {
        double slope = 0, f[2], h = 1e-5;
        for (size_t i = 0; i < nx; i++) slope += dx[i] * unit(1000 + trial, i);
        for (int side = 0; side < 2; side++) {
            for (size_t i = 0; i < nx; i++) z[i] = x0[i] + (side ? h : -h) * unit(1000 + trial, i);
            exec_set(k->e, k->x, DG_F64, z);
            exec_run(k->e, k->e->g->batch);
            double *y = exec_values(k->e, k->y, &ny);
            f[side] = 0;
            for (size_t i = 0; i < ny; i++) f[side] += y[i] * dy[i];
            free(y);
        }
        double numeric = (f[1] - f[0]) / (2 * h), err = fabs(slope - numeric) / (fabs(slope) + fabs(numeric));
        if (!(err <= worst)) worst = err;
        if (isnan(worst)) break;
    }
    exec_set(k->e, k->x, DG_F64, x0);
    CHECK(worst <= 1e-7, "%s: gradient against central differences, worst relative error %.3g", name, worst);
    free(x0), free(dx), free(dy), free(z);
}
static void test_net(const char *name, void (*build)(Net *), int least_fused) {
    Error err = {""};
    Device *d = device_open("ref64", NULL, &err);
    int none, fused;
    Net plain = net_new(build, false, d, &none), fast = net_new(build, true, d, &fused);
    CHECK(none == 0 && fused >= least_fused, "%s: %d ops fused, at least %d wanted", name, fused, least_fused);
    CHECK(plain.g->nop >= fast.g->nop + fused, "%s: %d ops, %d after fusing %d", name, plain.g->nop, fast.g->nop, fused);
    check_slopes(&plain, name);
    check_slopes(&fast, name);
    size_t n, ny;
    exec_run(plain.e, plain.e->g->batch), exec_run(fast.e, fast.e->g->batch);
    double *a = exec_values(plain.e, plain.dx, &n), *b = exec_values(fast.e, fast.dx, &n), *ya = exec_values(plain.e, plain.y, &ny),
           *yb = exec_values(fast.e, fast.y, &ny);
    CHECK(distance(b, a, n) <= 1e-13 && distance(yb, ya, ny) <= 1e-13, "%s: fused differs by %.3g, gradient %.3g", name,
          distance(yb, ya, ny), distance(b, a, n));
    if (plain.kept) {
        size_t nk;
        double *ka = exec_values(plain.e, plain.kept, &nk), *kb = exec_values(fast.e, fast.kept, &nk);
        CHECK(distance(kb, ka, nk) <= 1e-13, "%s: a kept activation differs by %.3g when fused", name, distance(kb, ka, nk));
        free(ka), free(kb);
    }
    bool clean = exec_run_checked(fast.e, fast.e->g->batch, &err);
    CHECK(clean, "%s: %s", name, err.text);
    double *c = exec_values(fast.e, fast.dx, &n);
    CHECK(!memcmp(b, c, n * sizeof *b), "%s: poisoning dead memory changes the gradient", name);
    free(a), free(b), free(c), free(ya), free(yb);
    net_free(&plain), net_free(&fast);
    device_close(d);
}
/* The seed 0 must give a zero gradient, and the poisoned run must see a planted overlap: the check can fail. */
static void test_poison_sees_overlap(void) {
    Error err = {""};
    Device *d = device_open("ref64", NULL, &err);
    int fused;
    Net k = net_new(build_params, true, d, &fused);
    size_t n;
    CHECK(exec_run_checked(k.e, k.e->g->batch, &err), "an overlap where none is planted: %s", err.text);
    double *good = exec_values(k.e, k.dx, &n);
    Tid victim = k.g->op[0].out; /* lives long: read again by the backward pass */
    k.e->data[victim] = k.e->data[k.g->op[1].out];
    bool clean = exec_run_checked(k.e, k.e->g->batch, &err); /* where it stops at an op, dx may be the one of before */
    double *bad = exec_values(k.e, k.dx, &n);
    CHECK(!clean || memcmp(good, bad, n * sizeof *good), "an overlap of two live tensors went unnoticed");
    free(good), free(bad);
    net_free(&k);
    device_close(d);
}
/* An output is f32 where its values were ever more than 16 bits: behind a conv or an add, and in what is cut from them, unless
 * something else has read them as they were.                                                                              */
static void test_output(void) {
    for (int read = 0; read < 2; read++) {
        Graph *g = graph_new((Precision){DG_F16, false});
        Tid x = g_input(g, "x", (Shape){1, 4, 4, 8});
        Tid f = g_conv(g, x, g_weight(g, "w", (Shape){8, 3, 3, 8}, (WeightView){.kind = VIEW_CONV}), 0, 1), other = read ? g_silu(g, f) : 0;
        Tid y = g_output(g, g_slice(g, f, 0, 4));
        DType wanted = read ? DG_F16 : DG_F32;
        CHECK(g->t[y].dtype == wanted && g->t[f].dtype == wanted, "a slice %s: %s of %s", read ? "of what is read elsewhere" : "of a conv",
              dtype_name(g->t[y].dtype), dtype_name(g->t[f].dtype));
        Tid silu = g_output(g, g_silu(g, x));
        CHECK(g->t[silu].dtype == DG_F16 && (!other || g->t[other].dtype == DG_F16), "silu gives f32");
        graph_free(g);
    }
}
int main(void) {
    test_output();
    test_plan();
    test_net("every parameter", build_params, 4);
    test_net("discriminator", build_discriminator, 15);
    test_poison_sees_overlap();
    return check_done("test_graph");
}
