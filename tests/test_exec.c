/* test_exec.c -- what an Exec is bound to beside weights: constants of the graph, and a precision of the graph's own; and runs of
 * fewer images than the graph is planned for.
 *   test_exec [DEVICE...]     default: every device of this build
 * Constants give the bits of inputs that hold the same values. Graphs of different precision that run in turn on one device give
 * the bits that each of them gives alone, in a process of its own: this program again, as
 *   test_exec alone DEVICE PRECISION                                                                                      */
#include "base/sha256.h"
#include "device/device.h"
#include "graph/weights.h"
#include "check.h"
#include "exec_check.h"
#include "exec_values.h"
#include <math.h>
#include <stdlib.h>

static float value(uint64_t key, size_t i) { /* a multiple of 1/8 from -1 to 1, which every type holds exactly */
    uint64_t z = (key + 1) * 0xD1342543DE82EF95u + (i + 1) * 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    return (float)((int)(z >> 33) % 17 - 8) / 8;
}
static float *values(uint64_t key, size_t count) {
    float *v = dg_alloc(count * sizeof *v);
    for (size_t i = 0; i < count; i++) v[i] = value(key, i);
    return v;
}
typedef struct {
    Graph *g;
    Tid x, dy, y, dx;
    Exec *e;
} Net;
static void fill(Net *n, Tid t, uint64_t key) {
    float *v = values(key, shape_count(shape_of(n->g, t)));
    exec_set(n->e, t, DG_F32, v);
    free(v);
}
static void net_bind(Net *n, Device *d) {
    Error e = {""};
    Weights *w = weights_synthetic(5, NULL);
    graph_plan(n->g);
    n->e = exec_new(n->g, d, weights_alone(w), &e);
    DG_CHECK(n->e, "%s", e.text);
    weights_free(w);
    fill(n, n->x, 1);
    if (n->dy) fill(n, n->dy, 2);
}
static void net_free(Net *n) {
    exec_free(n->e);
    graph_free(n->g);
}
/* One run, and what came of it, as text. */
static void run_hash(Net *n, char hex[SHA256_HEX]) {
    Tid result[2] = {n->y, n->dx};
    uint8_t digest[SHA256_BYTES];
    Sha256 h;
    sha256_init(&h);
    exec_run(n->e, n->g->batch);
    for (int i = 0; i < 2 && result[i]; i++) {
        size_t count = shape_count(shape_of(n->g, result[i]));
        double *v = dg_alloc(count * sizeof *v);
        exec_get(n->e, result[i], DG_F64, v);
        for (size_t k = 0; k < count; k++) DG_CHECK(v[k] - v[k] == 0, "value %zu is not finite", k);
        sha256_update(&h, v, count * sizeof *v);
        free(v);
    }
    sha256_final(&h, digest);
    sha256_hex(digest, hex);
}
static Tid vector_weight(Graph *g, const char *name, int c) {
    return g_weight(g, name, (Shape){1, 1, 1, c}, (WeightView){.kind = VIEW_VECTOR});
}
static Tid conv_weight(Graph *g, const char *name, int k, int r, int c) {
    return g_weight(g, name, (Shape){k, r, r, c}, (WeightView){.kind = VIEW_CONV});
}

/* ---- constants --------------------------------------------------------------------------------------------------------------- */
enum { TABLES = 5, CHANNELS = 24, IMAGES = 1, ROWS = 6, COLUMNS = 5 };
static const Shape table_shape[TABLES] = {
    {1, 1, 1, CHANNELS}, {1, 1, 1, CHANNELS}, {1, 1, 1, CHANNELS}, {1, ROWS, COLUMNS, CHANNELS}, {1, ROWS, COLUMNS, CHANNELS}};
/* A bias, a gamma, a beta, a residual and a table of positions: constants, or inputs that are filled with the same values. Each is
 * read by two ops.                                                                                                        */
static Net tables_new(Device *d, bool constant, bool fuse) {
    Net n = {.g = graph_new(d->precision)};
    Graph *g = n.g;
    Tid t[TABLES];
    for (int i = 0; i < TABLES; i++) {
        Shape s = table_shape[i];
        float *v = values((uint64_t)(10 + i), shape_count(s));
        if (!constant && !is_vector(s)) s.n = IMAGES; /* the table once for each */
        t[i] = constant ? g_constant(g, "table", s, DG_F32, v) : g_input(g, "table", s);
        free(v);
    }
    g->guard_bytes = DG_ALIGN;
    n.x = g_input(g, "x", (Shape){IMAGES, ROWS, COLUMNS, 16});
    Tid h = n.x;
    static const char *const kernel[] = {"w", "again"};
    for (int i = 0; i < 2; i++) {
        h = g_add(g, g_conv(g, h, conv_weight(g, kernel[i], CHANNELS, 3, shape_of(g, h).c), t[0], 1), t[3], 1, 1);
        h = g_add(g, g_norm(g, h, t[1], t[2], 0, 4, 1e-5f), t[4], 1, .5f);
    }
    n.y = g_output(g, h);
    if (fuse) DG_CHECK(graph_fuse(g) == 2, "the adds are not fused");
    net_bind(&n, d);
    for (int i = 0; i < TABLES && !constant; i++) {
        size_t count = shape_count(table_shape[i]), times = shape_count(shape_of(g, t[i])) / count;
        float *v = values((uint64_t)(10 + i), count), *all = dg_alloc(times * count * sizeof *all);
        for (size_t k = 0; k < times; k++) memcpy(all + k * count, v, count * sizeof *v);
        exec_set(n.e, t[i], DG_F32, all);
        free(v), free(all);
    }
    return n;
}
static void test_constants(Device *d) {
    for (int fuse = 0; fuse < 2; fuse++) {
        Net given = tables_new(d, false, fuse), held = tables_new(d, true, fuse);
        char wanted[SHA256_HEX], found[SHA256_HEX];
        Error e = {""};
        run_hash(&given, wanted);
        for (int run = 0; run < 4; run++) { /* op by op, captured, replayed; and after ops that were run between guards */
            if (run == 3)
                CHECK(exec_run_checked(held.e, held.g->batch, &e), "%s, %s: %s", d->be->name, precision_name(d->precision), e.text);
            run_hash(&held, found);
            CHECK(!strcmp(found, wanted), "%s, %s%s, run %d: constants are not what inputs of the same values are", d->be->name,
                  precision_name(d->precision), fuse ? ", fused" : "", run);
        }
        size_t bytes = 0;
        for (int i = 0; i < TABLES; i++) bytes += shape_count(table_shape[i]) * (d->precision.act == DG_F64 ? 8 : 4);
        CHECK(held.e->weight_bytes == given.e->weight_bytes + bytes, "%s: %zu bytes of weights with constants of %zu, %zu without",
              d->be->name, held.e->weight_bytes, bytes, given.e->weight_bytes);
        net_free(&given), net_free(&held);
    }
}
/* What is added to images stays as precise as the graph's vectors are, whatever images are stored in. */
static void test_constant_type(Device *d) {
    enum { VALUES = ROWS * COLUMNS * CHANNELS };
    double held[VALUES], found[VALUES], third = 1. / 3, wanted = d->precision.act == DG_F64 ? third : (double)(float)third;
    for (int i = 0; i < VALUES; i++) held[i] = third;
    Shape s = {1, ROWS, COLUMNS, CHANNELS};
    Net n = {.g = graph_new(d->precision)};
    Tid t = g_constant(n.g, "thirds", s, DG_F64, held);
    n.x = g_input(n.g, "x", s);
    n.y = g_output(n.g, g_add(n.g, n.x, t, 0, 1));
    net_bind(&n, d);
    exec_run(n.e, n.g->batch);
    exec_get(n.e, t, DG_F64, held), exec_get(n.e, n.y, DG_F64, found);
    double rounding = d->precision.tf32 ? wanted * 0x1p-11 : 0; /* of images that tensor cores read */
    for (int i = 0; i < VALUES; i += VALUES - 1)
        CHECK(held[i] == wanted && fabs(found[i] - wanted) <= rounding, "%s, %s: a third is held as %.17g and read as %.17g", d->be->name,
              precision_name(d->precision), held[i], found[i]);
    net_free(&n);
}

/* ---- precision --------------------------------------------------------------------------------------------------------------- */
/* Every kernel that looks at the precision: a convolution, attention, a layer on vectors, and their gradients. */
static Net mixed_new(Device *d, Precision p, int batch) {
    Net n = {.g = graph_new(p)};
    Graph *g = n.g;
    n.x = g_input(g, "x", (Shape){batch, 8, 8, 16});
    Tid h = g_conv(g, n.x, conv_weight(g, "a", 64, 3, 16), vector_weight(g, "a.bias", 64), 1);
    h = g_silu(g, g_norm(g, h, vector_weight(g, "n.weight", 64), vector_weight(g, "n.bias", 64), 0, 8, 1e-5f));
    h = g_add(g, g_attn(g, g_conv(g, h, conv_weight(g, "qkv", 192, 1, 64), 0, 0), 2), h, .7f, .7f);
    n.y = g_output(g, g_add(g, g_conv(g, h, conv_weight(g, "b", 64, 3, 64), 0, 1), h, .5f, .5f));
    n.dy = g_input(g, "dy", shape_of(g, n.y));
    n.dx = g_output(g, graph_backward(g, n.y, n.dy, n.x));
    graph_fuse(g);
    net_bind(&n, d);
    return n;
}
static int run_alone(const char *spec, const char *precision) {
    Error e = {""};
    Device *d = device_open(spec, precision, &e);
    DG_CHECK(d, "%s", e.text);
    Net n = mixed_new(d, d->precision, 2);
    char hex[SHA256_HEX];
    run_hash(&n, hex);
    printf("%s\n", hex);
    net_free(&n);
    device_close(d);
    return 0;
}
static void hash_alone(const char *program, const char *spec, const char *precision, char hex[SHA256_HEX]) {
    char command[1024];
    snprintf(command, sizeof command, "'%s' alone %s %s", program, spec, precision);
    FILE *f = popen(command, "r");
    hex[0] = 0;
    if (f && fscanf(f, "%64s", hex) != 1) hex[0] = 0;
    if (f) pclose(f);
}
/* A device opened in each of its precisions, with graphs of two of them that run in turn. */
static void test_precisions(const char *program, const char *spec) {
    Error e = {""};
    Device *d = device_open(spec, NULL, &e);
    const Backend *be = d->be;
    char alone[PRECISIONS][SHA256_HEX];
    int different = 0;
    device_close(d);
    for (int i = 0; i < be->precisions; i++) {
        hash_alone(program, spec, precision_name(be->takes[i]), alone[i]);
        CHECK(alone[i][0], "%s: the process of its own in %s has printed nothing", spec, precision_name(be->takes[i]));
        for (int k = 0; k < i; k++) different += strcmp(alone[i], alone[k]) != 0;
    }
    CHECK(different == be->precisions * (be->precisions - 1) / 2, "%s: two precisions give the same bits: nothing could go wrong", spec);
    for (int i = 0; i < be->precisions; i++) {
        int with[2] = {i, (i + 1) % be->precisions};
        d = device_open(spec, precision_name(be->takes[i]), &e);
        Net n[2] = {mixed_new(d, be->takes[with[0]], 2), mixed_new(d, be->takes[with[1]], 2)};
        for (int run = 0; run < 3; run++)
            for (int k = 0; k < 2; k++) {
                char hex[SHA256_HEX];
                run_hash(&n[k], hex);
                CHECK(!strcmp(hex, alone[with[k]]), "%s, opened in %s: run %d in %s, beside %s, differs from that of a process of its own",
                      spec, precision_name(be->takes[i]), run, precision_name(be->takes[with[k]]), precision_name(be->takes[with[1 - k]]));
            }
        net_free(&n[0]), net_free(&n[1]);
        device_close(d);
    }
}
/* ---- fewer images than there are places -------------------------------------------------------------------------------------- */
/* Whether an earlier tensor may lie where t does. */
static bool shares_memory(const Graph *g, Tid t) {
    const Tensor *a = &g->t[t];
    bool any = false;
    for (Tid u = 1; u < g->nt; u++) {
        const Tensor *b = &g->t[u];
        if (u == t || !in_arena(b) || b->first > b->last) continue;
        any |= a->offset < b->offset + tensor_bytes(b) && b->offset < a->offset + tensor_bytes(a);
    }
    return any;
}
/* A run of so many of the images: they have the bits of `all`, and the others are still 3 everywhere, where nothing else lay
 * there before. rows 0: of all, by exec_profile.                                                                          */
static void check_rows(Net *n, int rows, const Tid result[2], double *const all[2], const char *when) {
    const char *name = n->e->dev->be->name;
    size_t count;
    for (int i = 0; i < 2; i++) {
        double *three = exec_values(n->e, result[i], &count);
        for (size_t k = 0; k < count; k++) three[k] = 3;
        exec_set(n->e, result[i], DG_F64, three);
        free(three);
    }
    if (rows) {
        exec_run(n->e, rows);
    } else {
        double *seconds = dg_alloc((size_t)n->g->nop * sizeof *seconds);
        exec_profile(n->e, 1, seconds);
        free(seconds), rows = n->g->batch;
    }
    for (int i = 0; i < 2; i++) {
        double *v = exec_values(n->e, result[i], &count);
        size_t used = count / (size_t)n->g->batch * (size_t)rows, written = 0;
        for (size_t k = used; k < count; k++) written += v[k] != 3;
        CHECK(!memcmp(v, all[i], used * sizeof *v), "%s %s: %s of %d images by %s has other bits than that of %d", name,
              precision_name(n->g->precision), i ? "the gradient" : "the result", rows, when, n->g->batch);
        CHECK(written == 0 || shares_memory(n->g, result[i]), "%s %s: %zu values of images beyond %d were written by %s", name,
              precision_name(n->g->precision), written, rows, when);
        free(v);
    }
}
/* In any order, and each often enough to be replayed where the device can. */
static void test_rows(Device *d) {
    static const char *const when[] = {"the first run", "the second", "the third", "the fourth"};
    Net n = mixed_new(d, d->precision, 4);
    const Tid result[2] = {n.y, n.dx};
    size_t count;
    exec_run(n.e, 4);
    double *all[2] = {exec_values(n.e, n.y, &count), exec_values(n.e, n.dx, &count)};
    for (int run = 0; run < 4; run++) {
        check_rows(&n, 1 + run % 2, result, all, when[run]);
        for (int rows = 4; rows > 0; rows--) check_rows(&n, rows, result, all, when[run]);
    }
    check_rows(&n, 0, result, all, "profiling");
    CHECK(!shares_memory(n.g, n.y), "the result has no memory of its own: what is written beyond the rows could not show");
    CHECK(memcmp(all[0], all[0] + count / 4, 100 * sizeof **all), "%s: two images are the same: a wrong place could not show", d->be->name);
    free(all[0]), free(all[1]);
    net_free(&n);
}

static void test_device(const char *program, const char *spec) {
    Error e = {""};
    Precision p;
    Device *d = device_open(spec, NULL, &e);
    if (!d) {
        not_run("%s: %s", spec, e.text);
        return;
    }
    CHECK(!device_precision(d, "fp8", &p, &e) && strstr(e.text, "computes in "), "%s computes in fp8: %s", spec, e.text);
    const Backend *be = d->be;
    device_close(d);
    for (int i = 0; i < be->precisions; i++) {
        d = device_open(spec, precision_name(be->takes[i]), &e);
        test_constants(d);
        test_constant_type(d);
        test_rows(d);
        device_close(d);
    }
    test_precisions(program, spec);
}
int main(int argc, char **argv) {
    static const char *const all[] = {"cpu", "ref", "ref64", "rounded", "emu", "cuda"};
    if (argc == 4 && !strcmp(argv[1], "alone")) return run_alone(argv[2], argv[3]);
    for (int i = 1; i < argc; i++) test_device(argv[0], argv[i]);
    for (size_t i = 0; i < sizeof all / sizeof *all && argc == 1; i++)
        if (strstr(device_list(), all[i])) test_device(argv[0], all[i]);
    return check_done("test_exec");
}
