/* verify_inception.c -- golden cases of kind inception: the features of images of bytes, and the means of the network's blocks. */
#include "measure/features.h"
#include "models/inception.h"
#include "program/verify_kind.h"
#include <stdlib.h>
#include <string.h>

#define MEAN "block_mean."
static const char *const outputs[] = {"pool",          "logits",        "logits_without_bias", MEAN "Mixed_5b", MEAN "Mixed_5c",
                                      MEAN "Mixed_5d", MEAN "Mixed_6a", MEAN "Mixed_6b",       MEAN "Mixed_6c", MEAN "Mixed_6d",
                                      MEAN "Mixed_6e", MEAN "Mixed_7a", MEAN "Mixed_7b",       MEAN "Mixed_7c", NULL};
static int kind_of(const char *tensor) {
    if (!strcmp(tensor, "pool")) return FEATURE_POOL;
    if (!strcmp(tensor, "logits")) return FEATURE_LOGITS;
    if (!strcmp(tensor, "logits_without_bias")) return FEATURE_LOGITS_BARE;
    int block = 0;
    while (strcmp(tensor + strlen(MEAN), inception_mixed[block])) block++;
    return FEATURE_MEANS + INCEPTION_MIXED + block;
}
/* What the case expects, as features_open wants it. */
static unsigned wanted(const Case *c) {
    unsigned mask = 0;
    for (const char *const *name = outputs; *name; name++)
        if (json_get(json_get(c->json, "expect"), *name)) mask |= 1u << kind_of(*name);
    return mask;
}
/* [n,3,h,w] of bytes, as [n][h][w][3]. */
static uint8_t *read_images(const Case *c, Shape *s, Error *e) {
    *s = (Shape){.n = case_batch(c, "images", e), .c = 3};
    if (!s->n) return NULL;
    const StTensor *t = st_find(c->file, "images");
    const int64_t most = 4096;
    if (t->dtype != DG_U8 || t->shape[1] != 3 || t->shape[2] > most || t->shape[3] > most) {
        dg_error(e, "tensor images does not hold bytes of 3 channels, of at most %lldx%lld pixels", (long long)most, (long long)most);
        return NULL;
    }
    s->h = (int)t->shape[2], s->w = (int)t->shape[3];
    const uint8_t *nchw = t->data;
    size_t pixels = (size_t)s->h * (size_t)s->w;
    uint8_t *out = dg_alloc(t->count);
    for (size_t i = 0; i < (size_t)s->n; i++)
        for (size_t k = 0; k < 3; k++)
            for (size_t p = 0; p < pixels; p++) out[(i * pixels + p) * 3 + k] = nchw[(i * 3 + k) * pixels + p];
    return out;
}
/* The network has no arguments in the case: those of the published file. */
static Json *config_of_case(void) {
    static const char text[] = "{\"kind\": \"inception\", \"num_classes\": 1008}";
    Json *config = json_parse(text, sizeof text - 1, NULL);
    DG_CHECK(config, "%s does not parse", text);
    return config;
}
static Weights *weights_of_case(const Case *c, Error *e) {
    double gain;
    if (!json_get_double(json_get(c->json, "weights"), "conv_gain", 1, &gain, e)) return NULL;
    Json *config = config_of_case();
    Weights *w = case_weights_of(c, config, "network", "synthetic_seed", e);
    if (w) weights_synthetic_gain(w, ".conv.weight", (float)gain);
    json_free(config);
    return w;
}
static Features *open_features(const Case *c, Weights *w, Shape s, Error *e) {
    const char *resize;
    FeatureOptions o = {.height = s.h, .width = s.w, .batch = s.n, .no_fuse = !c->fuse, .wanted = wanted(c)};
    if (!json_get_string(c->json, "resize", "", &resize, e)) return NULL;
    if (strcmp(resize, "pytorch-fid")) return dg_error(e, "\"resize\" is \"%s\", not pytorch-fid", resize), NULL;
    o.resize = RESIZE_HALF, o.scale = SCALE_255;
    return features_open(c->dev, w, &o, e);
}
static bool compare(const Case *c, const Features *f, float *const found[], int n, Error *e) {
    bool ok = true;
    for (const char *const *name = outputs; *name && ok; name++) {
        FeatureKind kind = (FeatureKind)kind_of(*name);
        size_t dims = (size_t)features_dims(f, kind), count = (size_t)n * dims;
        double *values = dg_alloc(count * sizeof *values);
        for (size_t i = 0; i < count; i++) values[i] = (double)found[kind][i];
        ok = case_compare_rows(c, *name, values, n, (int)dims, e);
        free(values);
    }
    return ok;
}
static bool run(Case *c, Error *e) {
    Shape s;
    uint8_t *images = read_images(c, &s, e);
    Weights *w = images ? weights_of_case(c, e) : NULL;
    Features *f = w ? open_features(c, w, s, e) : NULL;
    float *found[FEATURE_KINDS] = {NULL};
    for (int kind = 0; f && kind < FEATURE_KINDS; kind++)
        found[kind] = dg_alloc((size_t)s.n * (size_t)features_dims(f, (FeatureKind)kind) * sizeof *found[kind]);
    if (f) features_run(f, images, (size_t)s.n, found);
    bool ok = f && compare(c, f, found, s.n, e);
    for (int kind = 0; kind < FEATURE_KINDS; kind++) free(found[kind]);
    features_close(f);
    weights_free(w);
    free(images);
    return ok;
}
static bool cost(Case *c, CaseCost *cost, Error *e) {
    int images = case_batch(c, "images", e);
    Json *config = config_of_case();
    bool ok = images && case_model_cost(&model_inception, config, images, cost, e);
    json_free(config);
    return ok;
}
const CaseKind case_inception = {.kind = "inception", .outputs = outputs, .fp32 = true, .run = run, .cost = cost};
