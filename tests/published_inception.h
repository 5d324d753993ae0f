/* published_inception.h -- the Inception network of the FID with the weights that its specification defines by a formula: features and
 * distances of it are known to many digits.                                                                                       */
#ifndef DG_PUBLISHED_INCEPTION_H
#define DG_PUBLISHED_INCEPTION_H
#include "graph/weights.h"
#include "models/inception.h"
#include "check.h"
#include <math.h>
#include <stdlib.h>

static inline uint64_t published_bits(uint64_t s, uint64_t n) {
    uint64_t z = s + (n + 1) * 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}
static inline double uniform(uint64_t s, uint64_t n) { /* in [0,1), exact in fp32 */
    return (double)(published_bits(s, n) >> 40) * 0x1p-24;
}
static inline Json *parsed(const char *text) {
    Error e;
    Json *j = json_parse(text, strlen(text), &e);
    DG_CHECK(j, "%s: %s", text, e.text);
    return j;
}
typedef struct {
    Weights *w;
    StTensor *t;
    char (*name)[112];
    int count;
} Published;
static inline float *publish(Published *p, int dims, const int64_t *shape, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
static inline float *publish(Published *p, int dims, const int64_t *shape, const char *fmt, ...) {
    enum { MOST = 480 };
    if (!p->t) p->t = dg_alloc(MOST * sizeof *p->t), p->name = dg_alloc(MOST * sizeof *p->name);
    DG_CHECK(p->count < MOST, "more than %d tensors", MOST);
    StTensor *t = &p->t[p->count];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(p->name[p->count], sizeof p->name[0], fmt, ap);
    va_end(ap);
    *t = (StTensor){.name = p->name[p->count++], .dtype = DG_F32, .dims = dims, .count = 1};
    for (int i = 0; i < dims; i++) t->shape[i] = shape[i], t->count *= (size_t)shape[i];
    float *data = dg_alloc(t->count * sizeof *data);
    t->bytes = t->count * sizeof *data, t->data = data;
    weights_override(p->w, t->name, t);
    return data;
}
static inline void publish_unit(Published *p, int unit, const char *name, Shape s) {
    int prefix = (int)(strlen(name) - strlen("conv.weight"));
    double fan = (double)s.c * s.h * s.w;
    static const struct {
        const char *leaf;
        int seed;
        double least, range;
    } rows[] = {{"weight", 2000, .75, .5}, {"bias", 3000, 0, .2}, {"running_mean", 4000, -.1, .2}, {"running_var", 5000, .75, .5}};
    float *v = publish(p, 4, (const int64_t[]){s.n, s.c, s.h, s.w}, "%s", name);
    for (size_t i = 0; i < shape_count(s); i++) v[i] = (float)((2 * uniform((uint64_t)(1000 + unit), i) - 1) * sqrt(6 / fan));
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
        v = publish(p, 1, (const int64_t[]){s.n}, "%.*sbn.%s", prefix, name, rows[k].leaf);
        for (int c = 0; c < s.n; c++) v[c] = (float)(rows[k].least + rows[k].range * uniform((uint64_t)(rows[k].seed + unit), (uint64_t)c));
    }
}
/* The specification's weights: units in the order of its table, which is that of the builder. */
static inline Published published_weights(void) {
    Error e = {""};
    Json *j = parsed("{\"kind\": \"inception\", \"num_classes\": 1008}");
    Published p = {.w = weights_synthetic(0, j)};
    Graph *g = graph_new((Precision){DG_F32, false});
    Ports ports = {0};
    void *config = model_config(&model_inception, j, &e);
    int units = 0;
    DG_CHECK(config && model_build(&model_inception, g, config, "", 1, &ports, &e), "%s", e.text);
    for (Tid t = 1; t < g->nt; t++)
        if (g->t[t].view.kind == VIEW_FOLD_BN) publish_unit(&p, units++, g->t[t].name, g->t[t].shape);
    CHECK(units == 94 && !strcmp(p.name[5 * 45], "Mixed_6c.branch7x7dbl_2.conv.weight"), "%d units, the 45th %s", units, p.name[5 * 45]);
    const float *last = (const float *)p.t[5 * 93].data + p.t[5 * 93].count - 1, *first = p.t[0].data;
    CHECK(*last == (float)-0.02760896646485355 && first[1] == (float)0.2963917553424835, "weights %.9g and %.9g", (double)*last,
          (double)first[1]);
    float *w = publish(&p, 2, (const int64_t[]){1008, 2048}, "fc.weight"), *bias = publish(&p, 1, (const int64_t[]){1008}, "fc.bias");
    for (uint64_t i = 0; i < 1008 * 2048; i++) w[i] = (float)(.08 * (2 * uniform(6000, i) - 1));
    for (uint64_t i = 0; i < 1008; i++) bias[i] = (float)(.5 * (2 * uniform(6001, i) - 1));
    free(config);
    graph_free(g);
    json_free(j);
    return p;
}
static inline void published_free(Published *p) {
    weights_free(p->w);
    for (int i = 0; i < p->count; i++) free((void *)(uintptr_t)p->t[i].data);
    free(p->t), free(p->name);
}
#endif
