/* test_cpu.c -- what the op cases are too small to show of the CPU backend: the layers of the real networks take other
 * ways (Winograd's large tile, several blocks of rows and of sums), and whole networks must give every image the same
 * bits in a batch of 1, 7 and 64, on one thread and on several. Also: the memory of a bound network, and GELU-tanh.
 * Tolerance, as in test_ops: 3 x the error of the naive implementation in float, + 4 eps.                              */
#include "sample/predictor.h"
#include "sample/guidance.h"
#include "device/cpu/vector.h"
#include "check.h"
#include "exec_compare.h"
#include <float.h>
#include <math.h>
#include <stdlib.h>
#ifdef _OPENMP
#include <omp.h>
#endif

extern const Backend backend_naive;

static void set_threads(int n) {
#ifdef _OPENMP
    omp_set_num_threads(n);
#else
    (void)n;
#endif
}
static Device *open_device(const char *name, int threads) {
    Error e;
    set_threads(threads);
    Device *d = device_open(name, NULL, &e);
    DG_CHECK(d, "%s: %s", name, e.text);
    return d;
}
static float value(size_t i, uint64_t key) { /* in [-1, 1) */
    uint64_t z = (i + 1 + key * 1000003) * 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return (float)((z ^ (z >> 31)) >> 40) * 0x1p-23f - 1;
}

/* ---- functions ------------------------------------------------------------------------------------------------------------- */
static void test_gelu(void) {
#if defined(__FMA__)
    const double rounded = 0;
#else
    const double rounded = 2; /* nothing corrects the exponent's roundings: two of its last places */
#endif
    double worst = 0, at = -10;
    size_t checked = 0;
    for (int i = -10 * 65536; i <= 12 * 65536; i += 3, checked++) {
        double x = (double)i / 65536, power = -2 * 0.79788456080286535588 * (x + 0.044715 * x * x * x), exact = x / (1 + exp(power));
        double unit = exact == 0 ? 0x1p-149 : ldexp(1, ilogb(exact) - 23);
        double error = fabs((double)vec_gelu_tanh(vec_all((float)x))[0] - exact) / unit - rounded * fabs(power);
        if (!(error <= worst)) worst = error, at = x;
    }
    CHECK(checked && worst <= 4, "GELU-tanh: %.3g units in the last place off at %g", worst, at);
    const float same[] = {NAN, INFINITY, 3e38f, -0.f}, tail[] = {-10, -11, -3e38f, -INFINITY};
    for (int i = 0; i < 4; i++) {
        float y = vec_gelu_tanh(vec_all(same[i]))[0], z = vec_gelu_tanh(vec_all(tail[i]))[0];
        CHECK(isnan(same[i]) ? isnan(y) : y == same[i], "GELU-tanh of %g is %g", (double)same[i], (double)y);
        CHECK(z <= 0 && z > -1.3e-37f, "GELU-tanh of %g is %g", (double)tail[i], (double)z);
    }
}

/* ---- layers ---------------------------------------------------------------------------------------------------------------- */
typedef enum { NOTHING, RESIDUAL, VECTOR, POSITIONS } Extra;
typedef struct {
    const char *name, *why;
    OpKind kind; /* OP_CONV, OP_NORM or OP_ATTN */
    int h, w, c, k, pad;
    Extra extra; /* of a conv */
    int heads;
    Act act; /* of a conv, and then there is a gate */
} Layer;
static const Layer layers[] = {
    {"conv_32", "the large tile, whole tiles, a residual", OP_CONV, 32, 32, 64, 64, 1, RESIDUAL, 0},
    {"conv_border", "the large tile, tiles that leave the image", OP_CONV, 17, 22, 64, 96, 1, VECTOR, 0},
    {"conv_pad0", "the large tile, no padding; its gradient has padding 2", OP_CONV, 20, 19, 64, 64, 0, NOTHING, 0},
    {"conv_long", "the large tile, sums in several blocks", OP_CONV, 16, 16, 320, 64, 1, RESIDUAL, 0},
    {"conv_8", "the small tile, sums in several blocks", OP_CONV, 8, 8, 576, 32, 1, VECTOR, 0},
    {"conv_many", "more tiles than a chunk holds in one image", OP_CONV, 40, 42, 64, 64, 1, NOTHING, 0},
    {"conv_gelu", "the large tile, positions, gate and activation; tiles that leave the image", OP_CONV, 18, 17, 64, 96, 1, POSITIONS, 0,
     ACT_GELU_TANH},
    {"conv_relu", "the small tile, more tiles than a chunk holds, a vector", OP_CONV, 14, 15, 64, 64, 1, VECTOR, 0, ACT_RELU},
    {"conv_36", "direct, sums in several blocks, channels that end inside a panel", OP_CONV, 13, 11, 36, 70, 1, POSITIONS, 0, ACT_RELU},
    {"norm_32", "many chunks of an image", OP_NORM, 32, 32, 256, 0, 0, NOTHING, 0},
    {"attn_1024", "two heads, several blocks of rows", OP_ATTN, 32, 32, 3 * 128, 0, 0, NOTHING, 2},
    {"attn_d256", "one wide head", OP_ATTN, 16, 16, 3 * 256, 0, 0, NOTHING, 1},
};
enum { LAYERS = sizeof layers / sizeof *layers };

/* Fills an input so that image `first + j` has the same values in every batch. */
static void fill(Exec *e, Tid t, int first) {
    Shape s = shape_of(e->g, t);
    size_t count = shape_count(s), skip = (size_t)first * (count / (size_t)s.n);
    float *v = dg_alloc(count * sizeof *v);
    for (size_t i = 0; i < count; i++) v[i] = value(skip + i, (uint64_t)t);
    exec_set(e, t, DG_F32, v);
    free(v);
}
static Tid positions(Graph *g, Shape s) {
    float *v = dg_alloc(shape_count(s) * sizeof *v);
    for (size_t i = 0; i < shape_count(s); i++) v[i] = value(i, 77);
    Tid t = g_constant(g, "positions", s, DG_F32, v);
    free(v);
    return t;
}
/* The layer's output (gradient false) or the gradient of its input, of images [first, first + n). */
static double *run_layer(const Layer *l, Device *d, int first, int n, bool gradient, size_t *count) {
    Graph *g = graph_new(d->precision);
    Tid x = g_input(g, "x", (Shape){n, l->h, l->w, l->c}), y, extra = 0, gate = 0;
    if (l->kind == OP_CONV) {
        Tid w = g_weight(g, "w.weight", (Shape){l->k, 3, 3, l->c}, (WeightView){.kind = VIEW_CONV});
        y = g_conv(g, x, w, g_weight(g, "w.bias", (Shape){1, 1, 1, l->k}, (WeightView){.kind = VIEW_VECTOR}), l->pad);
        Shape o = shape_of(g, y);
        if (l->extra == RESIDUAL) extra = g_input(g, "residual", o);
        if (l->extra == VECTOR) extra = g_input(g, "vector", (Shape){n, 1, 1, o.c});
        if (l->extra == POSITIONS) g->op[0].in[3] = positions(g, (Shape){1, o.h, o.w, o.c});
        else g->op[0].in[3] = extra;
        g->op[0].conv.scale = .7f, g->op[0].conv.act = l->act;
        if (l->act != ACT_NONE) g->op[0].in[4] = gate = g_input(g, "gate", (Shape){n, 1, 1, o.c});
    } else if (l->kind == OP_NORM) {
        WeightView v = {.kind = VIEW_VECTOR};
        y = g_norm(g, x, g_weight(g, "n.weight", (Shape){1, 1, 1, l->c}, v), g_weight(g, "n.bias", (Shape){1, 1, 1, l->c}, v), 0, 32,
                   1e-5f);
        g->op[0].norm.silu = true;
    } else {
        y = g_attn(g, x, l->heads);
    }
    Tid dy = 0;
    if (gradient) {
        dy = g_input(g, "dy", shape_of(g, y));
        y = graph_backward(g, y, dy, x);
    }
    g->t[y].keep = true;
    graph_plan(g);
    Error err;
    Weights *w = weights_synthetic(3, NULL);
    Exec *e = exec_new(g, d, weights_alone(w), &err);
    DG_CHECK(e, "%s: %s", l->name, err.text);
    fill(e, x, first);
    if (extra) fill(e, extra, first);
    if (gate) fill(e, gate, first);
    if (dy) fill(e, dy, first);
    exec_run(e, e->g->batch);
    double *out = exec_values(e, y, count);
    exec_free(e);
    graph_free(g);
    weights_free(w);
    return out;
}
static void test_layer(const Layer *l, bool gradient) {
    const char *what = gradient ? "gradient" : "forward";
    Device *cpu = open_device("cpu", 2), *ref = open_device("ref64", 2),
           naive = {.be = &backend_naive, .precision = backend_naive.takes[0]};
    Error err;
    CHECK(backend_naive.open(&naive, &err), "naive: %s", err.text);
    size_t n, batch;
    double *a = run_layer(l, cpu, 1, 1, gradient, &n), *b = run_layer(l, ref, 1, 1, gradient, &n),
           *c = run_layer(l, &naive, 1, 1, gradient, &n);
    double found = rel_l2(a, b, n), base = rel_l2(c, b, n), tol = 3 * base + 4 * FLT_EPSILON;
    CHECK(found <= tol, "%s %s: relative error %.3g, tolerance %.3g (naive %.3g): %s", l->name, what, found, tol, base, l->why);
    double *three = run_layer(l, cpu, 0, 3, gradient, &batch);
    CHECK(!memcmp(a, three + n, n * sizeof *a), "%s %s: image 1 depends on its batch", l->name, what);
    device_close(cpu);
    for (int threads = 1; threads <= 3; threads += 2) {
        cpu = open_device("cpu", threads);
        double *again = run_layer(l, cpu, 0, 3, gradient, &batch);
        CHECK(!memcmp(again, three, batch * sizeof *again), "%s %s: %d threads give other bits than 2", l->name, what, threads);
        free(again);
        device_close(cpu);
    }
    free(a), free(b), free(c), free(three);
    device_close(ref);
    backend_naive.close(&naive);
}

/* ---- networks -------------------------------------------------------------------------------------------------------------- */
static const char network_config_text[] = /* the size of the example model */
    "{\"precond\": \"EDMPrecond\", \"img_resolution\": 32, \"img_channels\": 3, \"label_dim\": 10, \"model_type\": \"SongUNet\","
    " \"model_channels\": 32, \"channel_mult\": [1, 2, 2], \"num_blocks\": 1, \"attn_resolutions\": [16]}";
static const char extractor_config_text[] =
    "{\"image_size\": 32, \"in_channels\": 3, \"model_channels\": 64, \"out_channels\": 10, \"num_res_blocks\": 1,"
    " \"attention_resolutions\": [2, 4], \"channel_mult\": [1, 1, 2], \"num_head_channels\": 32, \"use_scale_shift_norm\": true,"
    " \"resblock_updown\": true, \"pool\": \"attention\"}";
static const char head_config_text[] =
    "{\"image_size\": 8, \"in_channels\": 128, \"model_channels\": 64, \"out_channels\": 1, \"num_res_blocks\": 1, "
    "\"attention_resolutions\": [1],"
    " \"channel_mult\": [1], \"num_head_channels\": 32, \"use_scale_shift_norm\": true, \"resblock_updown\": true, \"pool\": \"attention\","
    " \"condition\": false}";

static Json *parse(const char *text) {
    Error e;
    Json *j = json_parse(text, strlen(text), &e);
    DG_CHECK(j, "%s", e.text);
    return j;
}
/* Images [first, first + n) through one network; all must have the same values in every batch. */
static double *run_images(const Net *n, int first, size_t *per_image) {
    Exec *e = n->exec;
    const Graph *g = n->graph;
    Tid out = n->out;
    for (Tid t = 1; t < g->nt; t++)
        if (g->t[t].kind == T_INPUT) fill(e, t, first);
    exec_run(e, e->g->batch);
    size_t count;
    double *v = exec_values(e, out, &count);
    *per_image = count / (size_t)shape_of(g, out).n;
    return v;
}
typedef struct {
    Predictor *network;
    Guide *guide;
    Json *json[2];
    Weights *w[2];
} Rig;
static Rig rig_new(Device *d, bool guide, int batch) {
    Error e;
    Rig n = {.json = {parse(guide ? extractor_config_text : network_config_text), parse(head_config_text)}};
    for (int i = 0; i < 2; i++) n.w[i] = weights_synthetic((uint64_t)i + 5, n.json[i]);
    if (guide) n.guide = guide_new(d, n.w[0], n.w[1], batch, (GuideOptions){.fuse = true}, &e);
    else n.network = predictor_new(d, n.w[0], batch, 1, true, &e);
    DG_CHECK(n.guide || n.network, "%s", e.text);
    return n;
}
static void rig_free(Rig *n) {
    predictor_free(n->network);
    guide_free(n->guide);
    for (int i = 0; i < 2; i++) weights_free(n->w[i]), json_free(n->json[i]);
}
static double *rig_run(Device *d, bool guide, int first, int batch, size_t *per_image) {
    Rig n = rig_new(d, guide, batch);
    double *v = run_images(guide ? n.guide->net : n.network->net, first, per_image);
    rig_free(&n);
    return v;
}
static void test_network(bool guide) {
    const char *what = guide ? "guide" : "network";
    size_t per;
    Device *d = open_device("cpu", 2);
    double *all = rig_run(d, guide, 0, 64, &per);
    size_t zeros = 0;
    for (size_t i = 0; i < 64 * per; i++) zeros += !(all[i] * all[i] > 0);
    CHECK(zeros < per, "%s: %zu of %zu values are zero or not finite", what, zeros, 64 * per);
    for (int first = 0; first < 64; first += 21) {
        int batch = first % 2 ? 1 : 7;
        if (first + batch > 64) batch = 1;
        double *some = rig_run(d, guide, first, batch, &per);
        CHECK(!memcmp(some, all + (size_t)first * per, (size_t)batch * per * sizeof *some), "%s: images %d to %d depend on the batch of %d",
              what, first, first + batch - 1, batch);
        free(some);
    }
    device_close(d);
    d = open_device("cpu", 1);
    double *some = rig_run(d, guide, 9, 7, &per);
    CHECK(!memcmp(some, all + 9 * per, 7 * per * sizeof *some), "%s: one thread gives other bits than two", what);
    device_close(d);
    free(some), free(all);
}

#if defined(__SANITIZE_ADDRESS__)
static void test_memory(void) { not_run("memory: the sanitizer's own is in the way"); }
#else
/* Resident anonymous memory of this process in bytes; 0: not known here. */
static double anonymous_bytes(void) {
    double kib = 0;
    char line[256];
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "RssAnon: %lf kB", &kib) == 1) break;
    if (f) fclose(f);
    return kib * 1024;
}
static void test_memory(void) {
    double before = anonymous_bytes();
    if (!(before > 0)) {
        not_run("memory: /proc/self/status does not say");
        return;
    }
    Device *d = open_device("cpu", 2);
    Rig n = rig_new(d, false, 16);
    size_t per;
    free(run_images(n.network->net, 0, &per));
    Exec *e = n.network->net->exec;
    double planned = (double)e->g->arena_bytes + (double)e->weight_bytes + (double)e->workspace_bytes, used = anonymous_bytes() - before;
    CHECK(used <= 1.2 * planned, "memory: %.1f MiB in use, %.1f MiB are planned", used / 1048576, planned / 1048576);
    rig_free(&n);
    device_close(d);
    double left = anonymous_bytes() - before;
    CHECK(left <= .2 * planned, "memory: %.1f MiB of %.1f MiB are still in use after the network is closed", left / 1048576,
          planned / 1048576);
}
#endif

int main(void) {
    test_memory();
    test_gelu();
    for (int i = 0; i < LAYERS; i++)
        for (int gradient = 0; gradient <= (layers[i].act == ACT_NONE); gradient++) test_layer(&layers[i], gradient);
    test_network(false);
    test_network(true);
    return check_done("test_cpu");
}
