/* test_encoder.c -- encoders whose time embedding is added instead of scaling: against one that scales by nothing; and what is
 * refused. The official cases all scale.                                                                                    */
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
    refused();
    return check_done("test_encoder");
}
