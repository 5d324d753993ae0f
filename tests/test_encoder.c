/* test_encoder.c -- encoders whose time embedding is added instead of scaling: against one that scales by nothing; the two orders of q, k
 * and v; and what is refused. The official cases all scale.                                                                 */
#include "run/net.h"
#include "base/text.h"
#include "check.h"
#include <math.h>
#include <stdlib.h>

enum { BATCH = 2, MAX_WEIGHTS = 256 };
static const char common[] = "\"image_size\": 8, \"in_channels\": 3, \"model_channels\": 32, \"out_channels\": 3, \"num_res_blocks\": 1, "
                             "\"attention_resolutions\": [2], \"channel_mult\": [1, 2], \"num_head_channels\": 32";
typedef struct {
    Weights *w;
    StTensor t[MAX_WEIGHTS];
    float *data[MAX_WEIGHTS];
    char name[MAX_WEIGHTS][96];
    int count;
} Changed;
static bool ends_with(const char *s, const char *end) { return strlen(s) >= strlen(end) && !strcmp(s + strlen(s) - strlen(end), end); }
/* A block's embedding without its weights is its bias p alone. Added before the norm, that is p more in the convolution's bias. */
static float *change(Changed *c, const char *name, int count, int columns) {
    int i = c->count++;
    c->data[i] = dg_alloc((size_t)(count * columns) * sizeof(float));
    snprintf(c->name[i], sizeof c->name[i], "%s", name);
    c->t[i] = (StTensor){.name = c->name[i], .dtype = DG_F32, .dims = columns > 1 ? 2 : 1, .shape = {count, columns}, .data = c->data[i]};
    c->t[i].count = (size_t)(count * columns), c->t[i].bytes = c->t[i].count * sizeof(float);
    weights_override(c->w, c->name[i], &c->t[i]);
    return c->data[i];
}
static float value(const char *name, int i, int seed) {
    uint32_t h = 2166136261u ^ (uint32_t)seed;
    for (; *name; name++) h = (h ^ (uint8_t)*name) * 16777619u;
    return sinf((float)(h % 1000) + (float)i * 1.7f);
}
/* embedded: the biases stand in the embedding; else in the convolution. */
static void change_all(Changed *c, const Graph *g, bool embedded, float p) {
    for (Tid i = 1; i < g->nt; i++) {
        const Tensor *t = &g->t[i];
        if (t->kind != T_WEIGHT) continue;
        if (ends_with(t->name, "emb_layers.1.weight")) change(c, t->name, t->shape.n, t->shape.c);
        if (ends_with(t->name, "emb_layers.1.bias")) {
            float *b = change(c, t->name, t->shape.c, 1);
            for (int k = 0; embedded && k < t->shape.c; k++) b[k] = p * value("p", k, t->shape.c);
        }
        if (ends_with(t->name, "in_layers.2.bias")) {
            float *b = change(c, t->name, t->shape.c, 1);
            for (int k = 0; k < t->shape.c; k++) b[k] = .1f * value(t->name, k, 1) + (embedded ? 0 : p * value("p", k, t->shape.c));
        }
    }
}
static bool run_encoder(Device *d, bool scaled, float p, float *out, int *count) {
    Text text = {0};
    Error e = {""};
    text_printf(&text, "{\"kind\": \"extractor\", %s, \"use_scale_shift_norm\": %s}", common, scaled ? "true" : "false");
    Json *config = json_parse(text.text, text.len, &e);
    Changed *c = dg_alloc(sizeof *c);
    c->w = weights_synthetic(3, config);
    Net *probe = net_open(d, &model_extractor, c->w, BATCH, true, &e);
    if (probe) change_all(c, probe->graph, !scaled, p);
    net_free(probe);
    Net *n = probe ? net_open(d, &model_extractor, c->w, BATCH, true, &e) : NULL;
    bool ok = CHECK(n, "%s", e.text);
    if (ok) {
        double x[BATCH * 8 * 8 * 3], time[BATCH] = {.2, .7}, scale[BATCH] = {1, .5};
        for (int i = 0; i < BATCH * 8 * 8 * 3; i++) x[i] = value("x", i, 0);
        net_run(n, n->batch, x, scale, time);
        *count = (int)shape_count(shape_of(n->graph, n->out));
        exec_get(n->exec, n->out, DG_F32, out);
    }
    net_free(n);
    weights_free(c->w);
    for (int i = 0; i < c->count; i++) free(c->data[i]);
    free(c);
    json_free(config);
    text_free(&text);
    return ok;
}
static double distance(const float *a, const float *b, int n) {
    double d = 0, s = 0;
    for (int i = 0; i < n; i++) d += pow((double)a[i] - (double)b[i], 2), s += pow((double)a[i], 2);
    return sqrt(d / s);
}
static double farthest(const double *a, const double *b, int n) {
    double worst = 0;
    for (int i = 0; i < n; i++)
        if (!(fabs(a[i] - b[i]) <= worst)) worst = fabs(a[i] - b[i]);
    return worst;
}
static void added_embedding(void) {
    enum { ROOM = 1 << 16 };
    Error e = {""};
    static const char *const devices[] = {"ref", "cpu"};
    float *a = dg_alloc(ROOM * sizeof *a), *b = dg_alloc(ROOM * sizeof *b), *c = dg_alloc(ROOM * sizeof *c);
    for (int i = 0; i < 2; i++) {
        Device *d = device_open(devices[i], NULL, &e);
        int n = 0, m = 0, k = 0;
        if (CHECK(d, "%s", e.text) && run_encoder(d, false, .8f, a, &n) && run_encoder(d, true, .8f, b, &m) &&
            run_encoder(d, false, 0, c, &k)) {
            CHECK(n == m && n == k && n > 0 && n <= ROOM, "%d, %d, %d values", n, m, k);
            CHECK(distance(a, b, n) <= 1e-5, "%s: an embedding that is added differs by %g", devices[i], distance(a, b, n));
            CHECK(distance(a, c, n) >= .05, "%s: the embedding has no effect: %g", devices[i], distance(a, c, n));
        }
        device_close(d);
    }
    free(a), free(b), free(c);
}

/* ---- q, k and v ------------------------------------------------------------------------------------------------------------------ */
enum { WIDTH = 64, HEAD = 32 }; /* of what attends: two heads */
static bool run_whole(Device *d, const Model *m, Weights *w, double *out, int *count) {
    Error e = {""};
    Net *n = net_open(d, m, w, BATCH, true, &e);
    if (!CHECK(n, "%s", e.text)) return false;
    double x[BATCH * 8 * 8 * 3], time[BATCH] = {.2, .7};
    for (int i = 0; i < BATCH * 8 * 8 * 3; i++) x[i] = value("x", i, 0);
    net_run(n, n->batch, x, NULL, time);
    *count = (int)shape_count(shape_of(n->graph, n->out));
    exec_get(n->exec, n->out, DG_F64, out);
    net_free(n);
    return true;
}
/* A parameter whose rows, or columns, are elsewhere, a head's share together. */
static void moved(Changed *c, const char *name, int rows, int columns, bool by_column, const int *place) {
    Error e = {""};
    double *from = dg_alloc((size_t)(rows * columns) * sizeof *from);
    WeightView v = {.kind = columns > 1 ? VIEW_CONV : VIEW_VECTOR};
    Shape s = columns > 1 ? (Shape){rows, 1, 1, columns} : (Shape){1, 1, 1, rows};
    DG_CHECK(weights_read(c->w, name, s, v, DG_F64, from, &e), "%s", e.text);
    float *to = change(c, name, rows, columns);
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < columns; j++) {
            int row = by_column ? i : place[i / HEAD] * HEAD + i % HEAD, column = by_column ? place[j / HEAD] * HEAD + j % HEAD : j;
            to[row * columns + column] = (float)from[i * columns + j];
        }
    free(from);
}
/* The two heads of one attention exchanged, in its q, k, v, which are where the order says, and in what comes after it. */
static void exchange_heads(Changed *c, const char *qkv, const char *proj, int outputs, bool legacy) {
    static const int old[] = {3, 4, 5, 0, 1, 2} /* q k v of a head, q k v of the other */, new[] = {1, 0, 3, 2, 5, 4};
    char name[96];
    snprintf(name, sizeof name, "%s.weight", qkv), moved(c, name, 3 * WIDTH, WIDTH, false, legacy ? old : new);
    snprintf(name, sizeof name, "%s.bias", qkv), moved(c, name, 3 * WIDTH, 1, false, legacy ? old : new);
    snprintf(name, sizeof name, "%s.weight", proj), moved(c, name, outputs, WIDTH, true, new);
}
static const struct {
    const char *name, *qkv, *proj;
    const Model *model;
    int outputs;
    bool new_order, legacy; /* new_order: of the configuration; legacy: the order that this attention has */
} attentions[] = {
    {"a U-Net", "middle_block.1.qkv", "middle_block.1.proj_out", &model_adm_unet, WIDTH, false, true},
    {"a U-Net of the new order", "middle_block.1.qkv", "middle_block.1.proj_out", &model_adm_unet, WIDTH, true, false},
    {"a classifier's blocks", "middle_block.1.qkv", "middle_block.1.proj_out", &model_classifier, WIDTH, false, true},
    {"a classifier's pool", "out.2.qkv_proj", "out.2.c_proj", &model_classifier, 3, false, false},
};
/* Heads are alike: to exchange them changes nothing, where they are what was exchanged. */
static void orders(void) {
    enum { ATTENTIONS = sizeof attentions / sizeof *attentions, ROOM = BATCH * 8 * 8 * 3 };
    Error e = {""};
    Device *d = device_open("ref64", NULL, &e);
    double out[ATTENTIONS][3][ROOM];
    for (int i = 0; i < ATTENTIONS; i++) {
        Text text = {0};
        int n = 0;
        text_printf(&text, "{%s, \"use_new_attention_order\": %s}", common, attentions[i].new_order ? "true" : "false");
        Json *config = json_parse(text.text, text.len, &e);
        for (int k = 0; k < 3; k++) { /* as it is, exchanged in its order, and in the other one */
            Changed *c = dg_alloc(sizeof *c);
            c->w = weights_synthetic(4, config);
            if (k) exchange_heads(c, attentions[i].qkv, attentions[i].proj, attentions[i].outputs, attentions[i].legacy == (k == 1));
            run_whole(d, attentions[i].model, c->w, out[i][k], &n);
            weights_free(c->w);
            for (int j = 0; j < c->count; j++) free(c->data[j]);
            free(c);
        }
        double same = farthest(out[i][1], out[i][0], n), other = farthest(out[i][2], out[i][0], n);
        CHECK(n > 0 && n <= ROOM && same <= 1e-12 && other >= 1e-3, "%s: its heads exchanged change it by %g, what is not heads by %g",
              attentions[i].name, same, other);
        if (i == 1) CHECK(farthest(out[1][0], out[0][0], n) >= 1e-3, "the two orders give the same result");
        json_free(config);
        text_free(&text);
    }
    device_close(d);
}
static void refused(void) {
    static const struct {
        const char *more, *said;
    } table[] = {{"\"use_scale_shift_norm\": false", NULL},
                 {"\"resblock_updown\": false", "strided convolutions"},
                 {"\"pool\": \"adaptive\"", "\"pool\" is \"adaptive\""}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        Text t = {0};
        Error e = {""};
        text_printf(&t, "{\"kind\": \"extractor\", %s, %s}", common, table[i].more);
        Json *j = json_parse(t.text, t.len, &e);
        void *config = model_config(&model_extractor, j, &e);
        CHECK(table[i].said ? !config && strstr(e.text, table[i].said) : config != NULL, "%s: %s", table[i].more,
              config ? "accepted" : e.text);
        free(config);
        json_free(j);
        text_free(&t);
    }
}
int main(void) {
    added_embedding();
    orders();
    refused();
    return check_done("test_encoder");
}
