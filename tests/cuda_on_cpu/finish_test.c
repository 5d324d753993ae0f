/* finish_test.c -- the pass that ends a library's convolution (kernels/conv_finish.cu) on the emulated device: what it stores is the same
 * with statistics and without, and in f32 what our own kernels store; the statistics are those of the stored values, in double; an image
 * alone has the bits that it has among others; and nothing beside them is written.                                          */
#include "kernels/kernels.h"
#include <cuda_runtime_api.h>
#include "base/dtype.h"
#include "base/error.h"
#include "../check.h"
#include <math.h>
#include <stdlib.h>

enum { IMAGES = 3, CHANNELS = 16, GUARD = 64 };
typedef struct {
    const char *name, *why;
    int height, width, k;
    bool bias, gate;
    Operand add;
    float offset; /* added to every value of `add` */
    float scale;
    Act act;
} Case;
static const Case cases[] = {
    {"nothing", "nothing is left to do but the statistics", 8, 8, 64, false, false, OPERAND_NONE, 0, 1, ACT_NONE},
    {"bias", "two segments an image, channels in no whole blocks", 16, 8, 72, true, false, OPERAND_NONE, 0, 1, ACT_NONE},
    {"residual", "a factor behind the sum; three blocks side by side", 8, 16, 136, true, false, OPERAND_FULL, 0, .70710678f, ACT_NONE},
    {"vector", "one for all pixels of an image", 8, 8, 32, true, false, OPERAND_VECTOR, 0, 1, ACT_NONE},
    {"more", "gate, positions and an activation", 8, 24, 40, true, true, OPERAND_POSITIONS, 0, .5f, ACT_GELU_TANH},
    {"relu", "what is cut off counts as it is stored", 16, 16, 16, false, true, OPERAND_FULL, 0, 1, ACT_RELU},
    {"odd", "channels in no whole runs", 8, 8, 27, true, false, OPERAND_FULL, 0, 1, ACT_NONE},
    {"odd_more", "and all that there is", 8, 16, 20, true, true, OPERAND_FULL, 0, 2, ACT_RELU},
    {"offset", "far from zero squares must be about the mean", 16, 8, 24, true, false, OPERAND_FULL, 60, 1, ACT_NONE},
};
enum { CASES = sizeof cases / sizeof *cases };
static float value(size_t i, float offset) { return (float)((uint32_t)(i + 7) * 2654435761u >> 8) * 0x1p-23f - 1 + offset; }

typedef struct {
    ConvArgs a;
    char *y, *unfinished; /* of all images, with a guard behind it; y as a library leaves it */
    float *stats;
    size_t y_bytes, stats_count; /* of one image */
    void *owned[8];
    int count;
} Layer;
static void *filled(Layer *l, DType type, size_t count, float offset) {
    float *v = dg_alloc(count * sizeof *v);
    void *stored = l->owned[l->count++] = aligned_alloc(DG_ALIGN, (count * dtype_bytes(type) / DG_ALIGN + 1) * DG_ALIGN);
    for (size_t i = 0; i < count; i++) v[i] = value(i + (size_t)l->count * 1000, offset);
    dtype_convert(type, stored, DG_F32, v, count);
    free(v);
    return stored;
}
static Layer layer_new(const Case *c, DType type, int images) {
    Layer l = {0};
    size_t pixels = (size_t)(c->height * c->width), k = (size_t)c->k, values = pixels * k;
    l.y_bytes = values * dtype_bytes(type), l.stats_count = pixels / NORM_SEGMENT * k * 2;
    size_t stats_bytes = (IMAGES * l.stats_count + GUARD) * sizeof(float);
    l.a = (ConvArgs){.x_type = type,
                     .add_type = c->add == OPERAND_FULL ? type : DG_F32,
                     .y_type = type,
                     .add_kind = c->add,
                     .n = images,
                     .height = c->height,
                     .width = c->width,
                     .c = CHANNELS,
                     .k = c->k,
                     .r = 1,
                     .s = 1,
                     .out_height = c->height,
                     .out_width = c->width,
                     .options = {.stride = 1, .scale = c->scale, .act = c->act}};
    l.a.x = filled(&l, type, IMAGES * pixels * CHANNELS, 0);
    l.a.w = filled(&l, type, k * CHANNELS, 0);
    l.unfinished = filled(&l, type, IMAGES * values, 0);
    l.y = filled(&l, DG_F32, IMAGES * values + GUARD, 0);
    l.stats = l.owned[l.count++] = aligned_alloc(DG_ALIGN, (stats_bytes / DG_ALIGN + 1) * DG_ALIGN);
    l.a.y = l.y;
    if (c->bias) l.a.bias = filled(&l, DG_F32, k, 0);
    if (c->gate) l.a.gate = filled(&l, DG_F32, IMAGES * k, 0);
    if (c->add)
        l.a.add = filled(&l, l.a.add_type,
                         c->add == OPERAND_VECTOR ? IMAGES * k
                         : c->add == OPERAND_FULL ? IMAGES * values
                                                  : values,
                         c->offset);
    return l;
}
static void layer_free(Layer *l) {
    for (int i = 0; i < l->count; i++) free(l->owned[i]);
}
/* From `before`, what a library has left, to what is stored; first: the image that the layer's images begin with. */
static bool finish(Layer *l, const void *before, bool stats, int first) {
    ConvArgs a = l->a;
    size_t k = (size_t)a.k, n = (size_t)a.n, at = (size_t)first;
    memset(l->y, 0x5A, (size_t)IMAGES * l->y_bytes + GUARD);
    memcpy(l->y, (const char *)before + at * l->y_bytes, n * l->y_bytes);
    for (size_t i = 0; i < IMAGES * l->stats_count + GUARD; i++) l->stats[i] = NAN;
    if (a.gate) a.gate += at * k;
    if (a.add_kind == OPERAND_VECTOR) a.add = (const float *)a.add + at * k;
    if (a.add_kind == OPERAND_FULL) a.add = (const char *)a.add + at * l->y_bytes;
    if (stats) a.stats = l->stats;
    return cuda_conv_finish(&a, NULL) == 0 && cudaDeviceSynchronize() == cudaSuccess;
}
static bool untouched(const Layer *l, int images) {
    bool ok = true;
    for (size_t i = (size_t)images * l->stats_count; i < (size_t)IMAGES * l->stats_count + GUARD; i++) ok &= isnan(l->stats[i]);
    for (size_t i = (size_t)images * l->y_bytes; i < (size_t)IMAGES * l->y_bytes + GUARD; i++) ok &= l->y[i] == 0x5A;
    return ok;
}
/* Against the stored values, in double: to the roundings of their sums. */
static void check_stats(const Case *c, const char *type, const Layer *l) {
    size_t k = (size_t)c->k, segments = (size_t)IMAGES * l->stats_count / 2 / k, worst_at = 0;
    float *y = dg_alloc(segments * NORM_SEGMENT * k * sizeof *y);
    dtype_convert(DG_F32, y, l->a.y_type, l->y, segments * NORM_SEGMENT * k);
    double worst = 0;
    bool finite = true;
    for (size_t i = 0; i < segments * k; i++) {
        const float *of = y + i / k * NORM_SEGMENT * k + i % k;
        double mean = 0, squares = 0, size = 0;
        for (size_t r = 0; r < NORM_SEGMENT; r++) mean += of[r * k] / (double)NORM_SEGMENT, size += fabs(of[r * k]) / NORM_SEGMENT;
        for (size_t r = 0; r < NORM_SEGMENT; r++) squares += pow(of[r * k] - mean, 2);
        double apart = fabs(l->stats[2 * i] - mean) / (16 * 0x1p-24 * size + 1e-30);
        double more = fabs(l->stats[2 * i + 1] - squares) / (NORM_SEGMENT * 0x1p-24 * squares + 1e-30);
        finite &= isfinite(apart) && isfinite(more);
        if (fmax(apart, more) > worst) worst = fmax(apart, more), worst_at = i;
    }
    CHECK(finite && worst <= 1, "%s %s: statistics %zu of %zu: %g and %g, %g times the tolerance", c->name, type, worst_at, segments * k,
          (double)l->stats[2 * worst_at], (double)l->stats[2 * worst_at + 1], worst);
    free(y);
}
static void check_case(const Case *c, DType t) {
    const char *type = dtype_name(t);
    Layer l = layer_new(c, t, IMAGES);
    size_t all = (size_t)IMAGES * l.y_bytes;
    char *plain = dg_alloc(all);
    float *stats = dg_alloc(IMAGES * l.stats_count * sizeof *stats);
    if (CHECK(finish(&l, l.unfinished, false, 0), "%s %s: it does not run", c->name, type)) {
        memcpy(plain, l.y, all);
        CHECK(finish(&l, l.unfinished, true, 0) && !memcmp(plain, l.y, all), "%s %s: with statistics other values are stored", c->name,
              type);
        CHECK(untouched(&l, IMAGES), "%s %s: something else is written too", c->name, type);
        check_stats(c, type, &l);
        memcpy(stats, l.stats, IMAGES * l.stats_count * sizeof *stats);
        l.a.n = 1;
        for (int i = 0; i < IMAGES; i++)
            CHECK(finish(&l, l.unfinished, true, i) && !memcmp(l.y, plain + (size_t)i * l.y_bytes, l.y_bytes) &&
                      !memcmp(l.stats, stats + (size_t)i * l.stats_count, l.stats_count * sizeof *stats) && untouched(&l, 1),
                  "%s %s: image %d alone is another", c->name, type, i);
    }
    free(plain), free(stats);
    layer_free(&l);
}
/* In f32 nothing is rounded between the two: ours in one pass, and ours bare with this pass behind it. */
static void check_own(const Case *c) {
    Layer l = layer_new(c, DG_F32, IMAGES);
    ConvArgs bare = l.a, own = l.a;
    bare.y = l.unfinished, bare.bias = bare.gate = NULL, bare.add = NULL, bare.add_kind = OPERAND_NONE;
    bare.options.scale = 1, bare.options.act = ACT_NONE;
    void *once = dg_alloc((size_t)IMAGES * l.y_bytes + DG_ALIGN);
    own.y = (char *)once + (DG_ALIGN - (uintptr_t)once % DG_ALIGN) % DG_ALIGN, own.stats = l.stats;
    bool ok = cuda_conv(&bare, NULL) == 0 && cuda_conv(&own, NULL) == 0 && cudaDeviceSynchronize() == cudaSuccess;
    CHECK(ok && finish(&l, l.unfinished, true, 0) && !memcmp(l.y, own.y, (size_t)IMAGES * l.y_bytes), "%s: not what our own kernel stores",
          c->name);
    free(once);
    layer_free(&l);
}
int main(void) {
    for (int i = 0; i < CASES; i++) {
        check_case(&cases[i], DG_F32), check_case(&cases[i], DG_F16), check_case(&cases[i], DG_BF16);
        check_own(&cases[i]);
    }
    return check_done("finish_test");
}
