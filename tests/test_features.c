/* test_features.c -- from bytes to features: the three resizes and the whole network of the FID against the published vectors of
 * its specification, which code in double made; a cut-down one on any device; an extractor's; and that an image's features do not
 * depend on the others'.
 *   test_features [DEVICE[=PRECISION] [vectors]]     default: cpu vectors. vectors: the network of full size too            */
#include "measure/features.h"
#include "models/inception.h"
#include "check.h"
#include "device_spec.h"
#include "published_inception.h"
#include <math.h>
#include <stdlib.h>

/* ---- images ------------------------------------------------------------------------------------------------------------------- */
static uint8_t *picture(int height, int width, int images) {
    uint8_t *p = dg_alloc((size_t)(images * height * width) * 3), *at = p;
    for (int n = 0; n < images; n++)
        for (int y = 0; y < height; y++)
            for (int x = 0; x < width; x++)
                for (int c = 0; c < 3; c++) *at++ = (uint8_t)(37 * y + 59 * x + 101 * c + 13 * x * y + 71 * n);
    return p;
}

/* ---- resizes -------------------------------------------------------------------------------------------------------------------- */
enum { SIZE = INCEPTION_SIZE, PIXELS = 8 };
static const int at[PIXELS][3] = {{0, 1, 0},    {1, 0, 1},   {10, 20, 2},   {149, 149, 0},
                                  {150, 37, 1}, {298, 0, 2}, {298, 298, 2}, {123, 277, 1}};
static const struct {
    int height, width;
    ResizeRule rule;
    double sum, value[PIXELS];
} resized[] = {
    {32, 32, RESIZE_TF1, 34120757.0065, {6.314381, 104.9599, 139.1411, 13.00315, 215.5943, 69, 55, 173.3586}},
    {32, 32, RESIZE_HALF, 34084582.937, {0, 101, 82.75938, 67.25, 187.1582, 69, 55, 83.93878}},
    {32, 32, RESIZE_PIL_BICUBIC, 34083238.2390, {0, 90.11255, 68.4828, 58.25, 205.693, 83.03883, 40.4658, 60.55767}},
    {64, 48, RESIZE_TF1, 34039039.5731, {9.471572, 108.9197, 47.97002, 60.52643, 53.45112, 229, 23, 159.5205}},
    {64, 48, RESIZE_HALF, 34026243.485, {0, 101, 87.36968, 143.2501, 98.86108, 229, 23, 99.47038}},
    {64, 48, RESIZE_PIL_BICUBIC, 34024198.8900, {0, 91.58538, 71.97336, 152.25, 91.83461, 250.2599, 0, 93.68147}},
    {512, 512, RESIZE_TF1, 34195966.2291, {101.0301, 164.3579, 113.2543, 178.0411, 102.0836, 138.6422, 75.73113, 221.0149}},
    {512, 512, RESIZE_HALF, 34195564.141, {144.8024, 116.9462, 113.4169, 147.2504, 138.0715, 166.5562, 95.71594, 237.0358}},
    {512, 512, RESIZE_PIL_BICUBIC, 34195929.7047, {157.773, 121.0921, 113.9162, 145.5707, 141.1513, 169.579, 85.194, 189.1262}},
};
static Precision fp32_of(const Device *d) { /* as features_open takes it */
    Precision p;
    return device_precision(d, "fp32", &p, NULL) ? p : d->precision;
}
/* In grey levels. */
static float *resize(Device *d, int height, int width, ResizeRule rule) {
    Error e = {""};
    Graph *g = graph_new(fp32_of(d));
    uint8_t *bytes = picture(height, width, 1);
    size_t count = (size_t)(height * width) * 3;
    float *in = dg_alloc(count * sizeof *in), *out = dg_alloc((size_t)(SIZE * SIZE) * 3 * sizeof *out);
    for (size_t i = 0; i < count; i++) in[i] = bytes[i];
    bool clamp = rule == RESIZE_PIL_BICUBIC;
    Tid x = g_input(g, "x", (Shape){1, height, width, 3});
    Tid y = g_output(g, resize_by(g, x, rule, SIZE, SIZE, (ResizeOptions){false, clamp ? 0 : -INFINITY, clamp ? 255 : INFINITY, 1, 0}));
    graph_plan(g);
    Exec *exec = exec_new(g, d, (WeightSet){.parts = 0}, &e);
    DG_CHECK(exec, "%s", e.text);
    exec_set(exec, x, DG_F32, in);
    exec_run(exec, 1);
    exec_get(exec, y, DG_F32, out);
    exec_free(exec);
    graph_free(g);
    free(bytes), free(in);
    return out;
}
static void test_resizes(Device *d) {
    for (size_t i = 0; i < sizeof resized / sizeof *resized; i++) {
        float *out = resize(d, resized[i].height, resized[i].width, resized[i].rule);
        const char *name = resize_rule_name[resized[i].rule];
        double sum = 0;
        for (int k = 0; k < SIZE * SIZE * 3; k++) sum += (double)out[k];
        CHECK(fabs(sum - resized[i].sum) <= 1, "%s of %dx%d: sum %.4f, not %.4f", name, resized[i].width, resized[i].height, sum,
              resized[i].sum);
        for (int k = 0; k < PIXELS; k++) {
            double v = (double)out[(at[k][0] * SIZE + at[k][1]) * 3 + at[k][2]];
            CHECK(fabs(v - resized[i].value[k]) <= 2e-3, "%s of %dx%d: pixel %d is %g, not %g", name, resized[i].width, resized[i].height,
                  k, v, resized[i].value[k]);
        }
        free(out);
    }
    for (ResizeRule rule = 0; rule < RESIZE_RULES; rule++) { /* of its own size an image stays what it is, one pixel fills all */
        float *same = resize(d, SIZE, SIZE, rule), *one = resize(d, 1, 1, rule);
        uint8_t *bytes = picture(SIZE, SIZE, 1);
        int changed = 0, uneven = 0;
        for (int k = 0; k < SIZE * SIZE * 3; k++) changed += !(same[k] == bytes[k]), uneven += !(one[k] == (float)(101 * (k % 3)));
        CHECK(!changed && !uneven, "%s: %d values of %dx%d changed, %d of one pixel", resize_rule_name[rule], changed, SIZE, SIZE, uneven);
        free(bytes), free(same), free(one);
    }
}

/* ---- the whole network ----------------------------------------------------------------------------------------------------------- */
static float **room(const Features *f, size_t images) {
    float **out = dg_alloc(FEATURE_KINDS * sizeof *out);
    for (int k = 0; k < FEATURE_KINDS; k++) out[k] = dg_alloc(images * (size_t)features_dims(f, (FeatureKind)k) * sizeof **out);
    return out;
}
static void room_free(float **out) {
    for (int k = 0; k < FEATURE_KINDS; k++) free(out[k]);
    free(out);
}
typedef struct {
    FeatureKind kind;
    int index;          /* SUM, SQUARES, or of a value */
    double value[3][2]; /* of each rule, both images */
} Vector;
enum { SUM = -1, SQUARES = -2 };
static const Vector vectors[] = {
    {FEATURE_POOL, 0, {{.03179361, .02338327}, {.02634773, .02822414}, {.03096980, .02869747}}},
    {FEATURE_POOL, 1, {{5.88906736, 5.88194553}, {5.93898130, 5.84060025}, {6.42192382, 6.30967925}}},
    {FEATURE_POOL, 2, {{.18836730, .17427103}, {.22346849, .19649894}, {.23445735, .21182455}}},
    {FEATURE_POOL, 3, {{.56152790, .63374530}, {.55815739, .60036168}, {.59338887, .64405618}}},
    {FEATURE_POOL, 1000, {{4.29603772, 4.36751114}, {4.34790122, 4.39284660}, {4.74778499, 4.75858845}}},
    {FEATURE_POOL, SUM, {{3917.09953, 3918.15910}, {3929.04608, 3923.62782}, {4286.97577, 4289.07111}}},
    {FEATURE_POOL, SQUARES, {{20424.0184, 20425.9946}, {20552.7412, 20492.0238}, {24491.9250, 24517.3559}}},
    {FEATURE_SPATIAL, 0, {{1.60629527, 1.67268152}, {1.49913506, 1.44050336}, {1.60021833, 1.54833205}}},
    {FEATURE_SPATIAL, 1, {{3.39862232, 3.89936582}, {3.38976913, 3.64542638}, {3.82100319, 4.22213128}}},
    {FEATURE_SPATIAL, 2, {{0, 0}, {0, 0}, {0, 0}}},
    {FEATURE_SPATIAL, 6, {{6.39847115, 6.36105824}, {6.40403397, 6.48321159}, {7.46067813, 7.47997508}}},
    {FEATURE_SPATIAL, 7, {{1.60043936, 1.52078191}, {1.66437409, 1.30806534}, {1.61452797, 1.28366103}}},
    {FEATURE_SPATIAL, 119, {{.68961323, .44047533}, {.60189022, .46332651}, {.60069821, .37271898}}},
    {FEATURE_SPATIAL, 2022, {{1.57991228, 1.81317552}, {1.90842334, 1.70892786}, {2.07787825, 2.07868594}}},
    {FEATURE_SPATIAL, SUM, {{6546.24144, 6494.69086}, {6550.98202, 6503.38789}, {7291.75137, 7250.62811}}},
    {FEATURE_SPATIAL, SQUARES, {{31026.5712, 30592.6945}, {31089.4908, 30718.4908}, {38540.9072, 38242.6196}}},
    {FEATURE_LOGITS_BARE, 0, {{-3.5931100, -3.5810667}, {-3.5749829, -3.6063072}, {-3.8174108, -3.9063130}}},
    {FEATURE_LOGITS_BARE, 1, {{2.6979763, 2.6631416}, {2.7790259, 2.7159478}, {3.0817908, 3.0100832}}},
    {FEATURE_LOGITS_BARE, 516, {{21.9919815, 22.0623672}, {22.0494262, 21.9881317}, {23.9851016, 24.0032872}}},
    {FEATURE_LOGITS_BARE, 1007, {{-5.7885242, -5.7076628}, {-5.8095414, -5.7320386}, {-6.2327376, -6.2221573}}},
};
static double found(const float *row, int dims, int index) {
    double sum = 0;
    if (index >= 0) return index < dims ? (double)row[index] : NAN;
    for (int i = 0; i < dims; i++) sum += index == SUM ? (double)row[i] : (double)row[i] * (double)row[i];
    return sum;
}
/* Of the first column: means of inner tensors over channels and pixels, and of single channels. */
static const struct {
    int tap, index; /* index SUM: of all channels */
    double value;
} means[] = {
    {INCEPTION_MAXPOOL_1, SUM, .584438369},  {INCEPTION_MAXPOOL_1, 0, .485546249},   {INCEPTION_MAXPOOL_1, 1, .188769622},
    {INCEPTION_MAXPOOL_2, SUM, .799368632},  {INCEPTION_MAXPOOL_2, 0, 7.05324e-05},  {INCEPTION_MAXPOOL_2, 1, .297076628},
    {INCEPTION_MIXED + 0, SUM, .842387713},  {INCEPTION_MIXED + 1, SUM, .851903291}, {INCEPTION_MIXED + 2, SUM, .948682726},
    {INCEPTION_MIXED + 3, SUM, 1.16491975},  {INCEPTION_MIXED + 4, SUM, 1.26828279}, {INCEPTION_MIXED + 5, SUM, 1.24881045},
    {INCEPTION_MIXED + 6, SUM, 1.385683},    {INCEPTION_MIXED + 7, SUM, 1.4299358},  {INCEPTION_MIXED + 7, 0, .489548242},
    {INCEPTION_MIXED + 7, 1, .285339145},    {INCEPTION_MIXED + 8, SUM, 1.91463593}, {INCEPTION_MIXED + 9, SUM, 1.74856434},
    {INCEPTION_MIXED + 10, SUM, 1.91264625},
};
static void test_means(const Features *f, float *const *out) {
    for (size_t i = 0; i < sizeof means / sizeof *means; i++) {
        FeatureKind kind = (FeatureKind)(FEATURE_MEANS + means[i].tap);
        int dims = features_dims(f, kind);
        double v = found(out[kind], dims, means[i].index) / (means[i].index == SUM ? dims : 1);
        CHECK(fabs(v - means[i].value) <= 1e-5 * fmax(means[i].value, .1), "mean %d of tap %d: %.9g, not %.9g", means[i].index,
              means[i].tap, v, means[i].value);
    }
}
static void test_vectors(Device *d) {
    Error e = {""};
    Published p = published_weights();
    uint8_t *images = picture(32, 32, 2);
    for (ResizeRule rule = 0; rule < RESIZE_RULES; rule++) {
        unsigned wanted = 1u << FEATURE_POOL | 1u << FEATURE_SPATIAL | 1u << FEATURE_LOGITS_BARE | 1u << FEATURE_LOGITS;
        for (int tap = INCEPTION_MAXPOOL_1; tap < INCEPTION_TAPS && rule == RESIZE_TF1; tap++) wanted |= 1u << (FEATURE_MEANS + tap);
        FeatureOptions o = {
            .height = 32, .width = 32, .batch = 2, .resize = rule, .scale = rule == RESIZE_HALF ? SCALE_255 : SCALE_128, .wanted = wanted};
        Features *f = features_open(d, p.w, &o, &e);
        if (!CHECK(f, "%s", e.text)) break;
        float **out = room(f, 2);
        features_run(f, images, 2, out);
        for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++)
            for (int n = 0; n < 2; n++) {
                const Vector *v = &vectors[i];
                int dims = features_dims(f, v->kind);
                double value = found(out[v->kind] + n * dims, dims, v->index), want = v->value[rule][n];
                CHECK(fabs(value - want) <= (v->index < 0 ? 1e-6 * want : 1e-4), "%s, image %d, feature %d [%d]: %.9g, not %.9g",
                      resize_rule_name[rule], n, (int)v->kind, v->index, value, want);
            }
        const float *bare = out[FEATURE_LOGITS_BARE], *logits = out[FEATURE_LOGITS], *bias = p.t[p.count - 1].data;
        int wrong = 0;
        for (int i = 0; i < 2 * 1008; i++) wrong += !(fabs((double)logits[i] - (double)bare[i] - (double)bias[i % 1008]) <= 1e-5);
        CHECK(!wrong, "%d logits are not those without bias and the bias", wrong);
        if (rule == RESIZE_TF1) test_means(f, out);
        room_free(out);
        features_close(f);
    }
    free(images);
    published_free(&p);
}

/* ---- a cut-down network, and an extractor ------------------------------------------------------------------------------------------ */
static const char small_config[] = "{\"kind\": \"inception\", \"num_classes\": 20, \"image_size\": 107, \"depth_multiplier\": 0.125}";
enum { IMAGES = 5, HEIGHT = 41, WIDTH = 29, MANY = 1u << FEATURE_POOL | 1u << FEATURE_SPATIAL | 1u << FEATURE_LOGITS };
static Weights *small_weights(void) {
    Json *j = parsed(small_config);
    Weights *w = weights_synthetic(5, j);
    weights_synthetic_gain(w, ".conv.weight", 1.5f);
    json_free(j);
    return w;
}
static FeatureOptions small_options(ResizeRule rule, int batch) {
    return (FeatureOptions){.height = HEIGHT, .width = WIDTH, .batch = batch, .resize = rule, .scale = SCALE_128, .wanted = MANY};
}
static float **features_of(Device *d, const FeatureOptions *o, const uint8_t *images, int n, int dims[FEATURE_KINDS]) {
    Error e = {""};
    Weights *w = small_weights();
    Features *f = features_open(d, w, o, &e);
    DG_CHECK(f, "%s", e.text);
    float **out = room(f, (size_t)n);
    for (int k = 0; k < FEATURE_KINDS; k++) dims[k] = features_dims(f, (FeatureKind)k);
    features_run(f, images, (size_t)n, out);
    features_close(f);
    weights_free(w);
    return out;
}
static double difference(const float *a, const float *b, size_t n) {
    double num = 0, den = 0;
    for (size_t i = 0; i < n; i++) num += pow((double)a[i] - (double)b[i], 2), den += pow((double)b[i], 2);
    return sqrt(num / den);
}
/* At most 20 times as far from the features in double as those of plain loops in float; of the fp32 of ref64 there is the last bit. */
static void test_small(Device *d, Device *ref, Device *ref64) {
    const double LEAST = 2e-7;
    uint8_t *images = picture(HEIGHT, WIDTH, IMAGES);
    for (ResizeRule rule = 0; rule < RESIZE_RULES; rule++) {
        FeatureOptions o = small_options(rule, IMAGES), plain = o;
        int dims[FEATURE_KINDS];
        plain.no_fuse = true;
        float **a = features_of(d, &o, images, IMAGES, dims), **b = features_of(ref, &plain, images, IMAGES, dims),
              **c = features_of(ref64, &plain, images, IMAGES, dims);
        CHECK(dims[FEATURE_SPATIAL] == 5 * 5 * 7 && dims[FEATURE_LOGITS] == 20, "%d spatial features, %d logits", dims[FEATURE_SPATIAL],
              dims[FEATURE_LOGITS]);
        for (int k = 0; k < FEATURE_KINDS; k++) {
            size_t count = (size_t)(IMAGES * dims[k]);
            if (!count) continue;
            double error = difference(a[k], c[k], count), base = difference(b[k], c[k], count);
            CHECK(error <= 20 * fmax(base, LEAST), "%s, features %d on %s: off by %g, plain loops by %g", resize_rule_name[rule], k,
                  d->be->name, error, base);
        }
        room_free(a), room_free(b), room_free(c);
    }
    free(images);
}
/* To the last bit: however many are taken at a time, and from memory of the device. */
static void test_chunks(Device *d) {
    Error e = {""};
    uint8_t *images = picture(HEIGHT, WIDTH, IMAGES);
    int dims[FEATURE_KINDS], batches[] = {1, 2, 3};
    FeatureOptions whole = small_options(RESIZE_TF1, IMAGES);
    float **all = features_of(d, &whole, images, IMAGES, dims);
    CHECK(memcmp(all[FEATURE_POOL], all[FEATURE_POOL] + dims[FEATURE_POOL], (size_t)dims[FEATURE_POOL] * sizeof(float)),
          "two images have the same features");
    for (size_t i = 0; i < sizeof batches / sizeof *batches; i++) {
        FeatureOptions o = small_options(RESIZE_TF1, batches[i]);
        float **parts = features_of(d, &o, images, IMAGES, dims);
        for (int k = 0; k < FEATURE_KINDS; k++)
            if (dims[k])
                CHECK(!memcmp(parts[k], all[k], (size_t)(IMAGES * dims[k]) * sizeof(float)), "%d at a time: features %d have other bits",
                      batches[i], k);
        room_free(parts);
    }
    const Backend *be = d->be;
    size_t bytes = (size_t)(IMAGES * HEIGHT * WIDTH) * 3;
    FeatureOptions o = small_options(RESIZE_TF1, 2);
    Weights *w = small_weights();
    Features *f = features_open(d, w, &o, &e);
    uint8_t *pixels = be->alloc(d, bytes);
    float *out[FEATURE_KINDS] = {NULL};
    DG_CHECK(f && pixels, "%s", e.text);
    for (int k = 0; k < FEATURE_KINDS; k++)
        if (dims[k]) out[k] = be->alloc(d, (size_t)(IMAGES * dims[k]) * sizeof(float));
    be->upload(d, pixels, images, bytes);
    features_enqueue(f, pixels, IMAGES, out);
    for (int k = 0; k < FEATURE_KINDS; k++) {
        if (!dims[k]) continue;
        float *host = dg_alloc((size_t)(IMAGES * dims[k]) * sizeof *host);
        be->download(d, host, out[k], (size_t)(IMAGES * dims[k]) * sizeof *host);
        CHECK(!memcmp(host, all[k], (size_t)(IMAGES * dims[k]) * sizeof *host), "on the device: features %d have other bits", k);
        free(host);
        be->release(d, out[k]);
    }
    be->release(d, pixels);
    features_close(f);
    weights_free(w);
    room_free(all);
    free(images);
}
/* The example's extractor against its network as it is called elsewhere: the image at time 0, and the mean over its positions. */
static void test_extractor(Device *d) {
    enum { SIDE = 32, N = 3 };
    Error e = {""};
    Weights *w = weights_open("models/shapes32/extractor.safetensors", &e);
    DG_CHECK(w, "%s", e.text);
    FeatureOptions o = {.height = SIDE, .width = SIDE, .batch = 2, .wanted = 1u << FEATURE_POOL};
    Features *f = features_open(d, w, &o, &e);
    Net *n = net_new(SPAN_FEATURES, fp32_of(d), N, true);
    const Ports *ports = net_add(n, &model_extractor, weights_config(w), "", 0, &e);
    if (ports) net_plan(n, ports->out);
    if (CHECK(f && ports && net_bind(n, d, &w, &e), "%s", e.text)) {
        uint8_t *images = picture(SIDE, SIDE, N);
        float **out = room(f, N);
        Shape s = shape_of(n->graph, n->out);
        size_t count = (size_t)(N * SIDE * SIDE) * 3, positions = (size_t)(s.h * s.w), dims = (size_t)s.c;
        double *x = dg_alloc(count * sizeof *x), zero[N] = {0}, *state = d->be->alloc(d, count * sizeof *x);
        float *whole = dg_alloc(shape_count(s) * sizeof *whole), *mean = dg_alloc(N * dims * sizeof *mean);
        for (size_t i = 0; i < count; i++) x[i] = images[i] / 127.5 - 1;
        d->be->upload(d, state, x, count * sizeof *x);
        net_run(n, N, state, NULL, zero);
        exec_get(n->exec, n->out, DG_F32, whole);
        for (size_t i = 0; i < N; i++)
            for (size_t p = 0; p < positions; p++)
                for (size_t c = 0; c < dims; c++) mean[i * dims + c] += whole[(i * positions + p) * dims + c] / (float)positions;
        features_run(f, images, N, out);
        double off = difference(out[FEATURE_POOL], mean, N * dims);
        CHECK(features_dims(f, FEATURE_POOL) == 128 && off <= 1e-5, "%d features of an extractor, off by %g",
              features_dims(f, FEATURE_POOL), off);
        d->be->release(d, state);
        free(x), free(whole), free(mean), free(images);
        room_free(out);
    }
    net_free(n);
    features_close(f);
    o.width = 33;
    CHECK(!features_open(d, w, &o, &e) && strstr(e.text, "an extractor of images of 32x32, and these are 33x32"), "%s", e.text);
    o.width = 32, o.wanted |= 1u << FEATURE_SPATIAL;
    CHECK(!features_open(d, w, &o, &e) && strstr(e.text, "an extractor gives no spatial features"), "%s", e.text);
    weights_free(w);
}

/* ---- the weights' identity ------------------------------------------------------------------------------------------------------- */
static void hash_of(Device *d, const char *config, float last, char hex[SHA256_HEX]) {
    enum { WIDTHS = 24 };
    Error e = {""};
    Json *j = parsed(config);
    Weights *w = weights_synthetic(5, j);
    FeatureOptions o = small_options(RESIZE_TF1, 1);
    float values[WIDTHS] = {[WIDTHS - 1] = last};
    StTensor bias = {.name = "Mixed_7c.branch_pool.bn.bias", .dtype = DG_F32, .dims = 1, .shape = {WIDTHS}, .count = WIDTHS};
    bias.bytes = sizeof values, bias.data = values;
    weights_override(w, bias.name, &bias);
    o.wanted = 1u << FEATURE_POOL;
    Features *f = features_open(d, w, &o, &e);
    DG_CHECK(f && features_hash(f, w, hex, &e), "%s", e.text);
    features_close(f);
    weights_free(w);
    json_free(j);
}
static void test_hash(Device *d, Device *other) {
    char a[SHA256_HEX], b[SHA256_HEX], c[SHA256_HEX];
    hash_of(d, small_config, 1, a), hash_of(other, small_config, 1, b), hash_of(d, small_config, 1 + 0x1p-20f, c); /* one value */
    CHECK(!strcmp(a, b) && strcmp(a, c), "hashes %s, %s on another device, %s of other weights", a, b, c);
}
static void test_sentences(Device *d) {
    Error e = {""};
    Json *j = parsed("{\"kind\": \"vae\", \"block_out_channels\": [32]}");
    Weights *w = weights_synthetic(5, j);
    FeatureOptions o = small_options(RESIZE_TF1, 1);
    CHECK(!features_open(d, w, &o, &e) && strstr(e.text, "holds a vae, not an Inception network"), "%s", e.text);
    weights_free(w), json_free(j);
    w = weights_synthetic(5, j = parsed("{\"kind\": \"inception\", \"image_size\": 107, \"depth_multiplier\": 0.125}"));
    CHECK(!features_open(d, w, &o, &e) && strstr(e.text, "a file without its last layer?"), "%s", e.text);
    weights_free(w), json_free(j);
    features_need_inception(&e);
    CHECK(strstr(e.text, "pt_inception-2015-12-05-6726825d.pth") && strstr(e.text, "SHA-256 begins with 6726825d"), "%s", e.text);
}
int main(int argc, char **argv) {
    Error e = {""};
    DeviceSpec s = device_spec(argc > 1 ? argv[1] : "cpu");
    Device *d = device_open(s.device, s.precision, &e), *ref = device_open("ref", NULL, &e), *ref64 = device_open("ref64", NULL, &e);
    if (!CHECK(d && ref && ref64, "%s", e.text)) return check_done("test_features");
    test_resizes(d);
    test_small(d, ref, ref64);
    test_chunks(d);
    test_extractor(d);
    test_hash(d, ref);
    test_sentences(d);
    if (argc < 2 || (argc > 2 && !strcmp(argv[2], "vectors"))) test_vectors(d);
    device_close(d), device_close(ref), device_close(ref64);
    return check_done("test_features");
}
