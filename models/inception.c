/* inception.c -- Inception v3 of the Frechet distances: TensorFlow's graph of 2015-12-05, under the names of pytorch-fid. Each
 * convolution is one with its batch norm and ends in a ReLU. It differs from torchvision's in its pools: means count the pixels
 * inside the image alone, and the last block takes the largest.                                                              */
#include "models/inception.h"
#include "models/arguments.h"
#include "models/blocks.h"
#include <stdio.h>

typedef struct {
    int num_classes, image_size;
    double depth_multiplier; /* of all widths, as in TensorFlow's builder; 1 officially */
} InceptionConfig;
enum { SPATIAL_CHANNELS = 7, LEAST_SIZE = 107, MIN_DEPTH = 16 }; /* of smaller images the last blocks have a single pixel */
static const double BN_EPS = .001;
_Static_assert((int)INCEPTION_TAPS <= (int)PORT_TAPS, "the ports have room for every tap");

const char *const inception_mixed[INCEPTION_MIXED_BLOCKS] = {"Mixed_5b", "Mixed_5c", "Mixed_5d", "Mixed_6a", "Mixed_6b", "Mixed_6c",
                                                             "Mixed_6d", "Mixed_6e", "Mixed_7a", "Mixed_7b", "Mixed_7c"};

static bool config(void *into, const Json *j, Error *e) {
    InceptionConfig *c = into;
    if (!argument_int(j, "num_classes", 0, 0, MAX_LABELS, &c->num_classes, e) ||
        !argument_int(j, "image_size", INCEPTION_SIZE, LEAST_SIZE, MAX_RESOLUTION, &c->image_size, e) ||
        !json_get_double(j, "depth_multiplier", 1, &c->depth_multiplier, e))
        return false;
    return (c->depth_multiplier > 0 && c->depth_multiplier <= 1) ||
           dg_error(e, "\"depth_multiplier\" is %g, not above 0 and at most 1", c->depth_multiplier);
}

typedef enum { SAME, VALID } Padding; /* TensorFlow's words: as many zeros as keep the size, or none */
typedef struct {
    const char *name;
    int k, height, width, stride;
    Padding padding;
} Unit;
typedef struct {
    Graph *g;
    const InceptionConfig *c;
} Builder;
static int depth(const Builder *b, int k) {
    int scaled = (int)(k * b->c->depth_multiplier);
    return scaled > MIN_DEPTH ? scaled : MIN_DEPTH;
}
static Tid unit(const Builder *b, Tid x, Unit u) {
    Graph *g = b->g;
    char name[64];
    int k = depth(b, u.k), top = u.padding == SAME ? u.height / 2 : 0, left = u.padding == SAME ? u.width / 2 : 0;
    snprintf(name, sizeof name, "%s.conv.weight", u.name);
    Tid w = g_weight(g, name, (Shape){k, u.height, u.width, shape_of(g, x).c}, (WeightView){.kind = VIEW_FOLD_BN, .eps = BN_EPS});
    snprintf(name, sizeof name, "%s.bn.bias", u.name);
    Tid bias = g_weight(g, name, (Shape){1, 1, 1, k}, (WeightView){.kind = VIEW_FOLD_BN_BIAS, .eps = BN_EPS});
    return g_conv_with(g, x, w, bias, (ConvOptions){u.stride, top, left, top, left, 1, ACT_RELU});
}
static Tid chain(const Builder *b, Tid x, const Unit *u, int count) {
    for (int i = 0; i < count; i++) x = unit(b, x, u[i]);
    return x;
}
#define CHAIN(b, x, ...) chain(b, x, (const Unit[]){__VA_ARGS__}, (int)(sizeof((const Unit[]){__VA_ARGS__}) / sizeof(Unit)))
static Tid reduce(const Builder *b, Tid x) { return g_pool(b->g, x, (PoolOptions){true, 3, 3, 2, 0}); }
static Tid pool_branch(const Builder *b, Tid x, bool max, int k) {
    return CHAIN(b, g_pool(b->g, x, (PoolOptions){max, 3, 3, 1, 1}), {"branch_pool", k, 1, 1, 1, SAME});
}
#define CONCAT(b, ...) g_concat_all((b)->g, (const Tid[]){__VA_ARGS__}, (int)(sizeof((const Tid[]){__VA_ARGS__}) / sizeof(Tid)))

/* ---- the five kinds of blocks ---------------------------------------------------------------------------------------------- */
static Tid mixed_5(const Builder *b, Tid x, int pool_width) {
    Tid one = CHAIN(b, x, {"branch1x1", 64, 1, 1, 1, SAME});
    Tid five = CHAIN(b, x, {"branch5x5_1", 48, 1, 1, 1, SAME}, {"branch5x5_2", 64, 5, 5, 1, SAME});
    Tid three =
        CHAIN(b, x, {"branch3x3dbl_1", 64, 1, 1, 1, SAME}, {"branch3x3dbl_2", 96, 3, 3, 1, SAME}, {"branch3x3dbl_3", 96, 3, 3, 1, SAME});
    return CONCAT(b, one, five, three, pool_branch(b, x, false, pool_width));
}
static Tid mixed_6a(const Builder *b, Tid x) {
    Tid three = CHAIN(b, x, {"branch3x3", 384, 3, 3, 2, VALID});
    Tid twice =
        CHAIN(b, x, {"branch3x3dbl_1", 64, 1, 1, 1, SAME}, {"branch3x3dbl_2", 96, 3, 3, 1, SAME}, {"branch3x3dbl_3", 96, 3, 3, 2, VALID});
    return CONCAT(b, three, twice, reduce(b, x));
}
/* *one: the output of its first branch. */
static Tid mixed_6(const Builder *b, Tid x, int k, Tid *one) {
    *one = CHAIN(b, x, {"branch1x1", 192, 1, 1, 1, SAME});
    Tid seven = CHAIN(b, x, {"branch7x7_1", k, 1, 1, 1, SAME}, {"branch7x7_2", k, 1, 7, 1, SAME}, {"branch7x7_3", 192, 7, 1, 1, SAME});
    Tid twice = CHAIN(b, x, {"branch7x7dbl_1", k, 1, 1, 1, SAME}, {"branch7x7dbl_2", k, 7, 1, 1, SAME},
                      {"branch7x7dbl_3", k, 1, 7, 1, SAME}, {"branch7x7dbl_4", k, 7, 1, 1, SAME}, {"branch7x7dbl_5", 192, 1, 7, 1, SAME});
    return CONCAT(b, *one, seven, twice, pool_branch(b, x, false, 192));
}
static Tid mixed_7a(const Builder *b, Tid x) {
    Tid three = CHAIN(b, x, {"branch3x3_1", 192, 1, 1, 1, SAME}, {"branch3x3_2", 320, 3, 3, 2, VALID});
    Tid seven = CHAIN(b, x, {"branch7x7x3_1", 192, 1, 1, 1, SAME}, {"branch7x7x3_2", 192, 1, 7, 1, SAME},
                      {"branch7x7x3_3", 192, 7, 1, 1, SAME}, {"branch7x7x3_4", 192, 3, 3, 2, VALID});
    return CONCAT(b, three, seven, reduce(b, x));
}
static Tid mixed_7(const Builder *b, Tid x, bool max) {
    Tid one = CHAIN(b, x, {"branch1x1", 320, 1, 1, 1, SAME});
    Tid three = CHAIN(b, x, {"branch3x3_1", 384, 1, 1, 1, SAME});
    Tid wide = CHAIN(b, three, {"branch3x3_2a", 384, 1, 3, 1, SAME}), tall = CHAIN(b, three, {"branch3x3_2b", 384, 3, 1, 1, SAME});
    three = CONCAT(b, wide, tall);
    Tid twice = CHAIN(b, x, {"branch3x3dbl_1", 448, 1, 1, 1, SAME}, {"branch3x3dbl_2", 384, 3, 3, 1, SAME});
    wide = CHAIN(b, twice, {"branch3x3dbl_3a", 384, 1, 3, 1, SAME}), tall = CHAIN(b, twice, {"branch3x3dbl_3b", 384, 3, 1, 1, SAME});
    return CONCAT(b, one, three, CONCAT(b, wide, tall), pool_branch(b, x, max, 192));
}

/* ---- the network ------------------------------------------------------------------------------------------------------------- */
static Tid stem(const Builder *b, Tid x, Tid tap[]) {
    x = CHAIN(b, x, {"Conv2d_1a_3x3", 32, 3, 3, 2, VALID}, {"Conv2d_2a_3x3", 32, 3, 3, 1, VALID}, {"Conv2d_2b_3x3", 64, 3, 3, 1, SAME});
    x = tap[INCEPTION_MAXPOOL_1] = reduce(b, x);
    x = CHAIN(b, x, {"Conv2d_3b_1x1", 80, 1, 1, 1, VALID}, {"Conv2d_4a_3x3", 192, 3, 3, 1, VALID});
    return tap[INCEPTION_MAXPOOL_2] = reduce(b, x);
}
static Tid mixed(const Builder *b, Tid x, Tid tap[]) {
    static const int inner[] = {128, 160, 160, 192}; /* of Mixed_6b to Mixed_6e */
    for (int i = 0; i < INCEPTION_MIXED_BLOCKS; i++) {
        block_enter(b->g, "%s.", inception_mixed[i]);
        Tid one = 0;
        if (i < 3) x = mixed_5(b, x, i ? 64 : 32);
        else if (i == 3) x = mixed_6a(b, x);
        else if (i < 8) x = mixed_6(b, x, inner[i - 4], &one);
        else if (i == 8) x = mixed_7a(b, x);
        else x = mixed_7(b, x, i == INCEPTION_MIXED_BLOCKS - 1);
        if (i == 6) tap[INCEPTION_SPATIAL] = g_slice(b->g, one, 0, SPATIAL_CHANNELS);
        tap[INCEPTION_MIXED + i] = x;
    }
    block_enter(b->g, "%s", "");
    return x;
}
static void build(Graph *g, const void *config, int batch, Ports *p) {
    const InceptionConfig *c = config;
    Builder b = {g, c};
    if (!block_image(g, &p->x, (Shape){batch, c->image_size, c->image_size, 3})) return;
    Tid pool = g_global_mean(g, mixed(&b, stem(&b, p->x, p->tap), p->tap));
    p->out = g_output(g, pool);
    if (!c->num_classes) return;
    Tid w = g_weight(g, "fc.weight", (Shape){c->num_classes, 1, 1, shape_of(g, pool).c}, (WeightView){.kind = VIEW_CONV});
    Tid bias = g_weight(g, "fc.bias", (Shape){1, 1, 1, c->num_classes}, (WeightView){.kind = VIEW_VECTOR});
    p->tap[INCEPTION_LOGITS_BARE] = g_conv(g, pool, w, 0, 0);
    p->tap[INCEPTION_LOGITS] = g_add(g, p->tap[INCEPTION_LOGITS_BARE], bias, 1, 1);
}
static const char *const unused[] = {"*.num_batches_tracked", "fc.*", NULL};
const Model model_inception = {.kind = "inception",
                               .noun = "an Inception network",
                               .config_bytes = sizeof(InceptionConfig),
                               .config = config,
                               .build = build,
                               .unused = unused};
