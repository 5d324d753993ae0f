/* pillow.c -- Pillow's resizing (its Resample.c): weights in double, rounded to 22 bits behind the point; first the columns, then the
 * rows, each rounded to bytes.                                                                                             */
#include "files/pillow.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { FIXED_BITS = 32 - 8 - 2, RGB = 3 };

/* ---- weights -------------------------------------------------------------------------------------------------------------------- */
static double box(double t) { return t > -.5 && t <= .5; }
static double cubic(double t) {
    const double a = -.5;
    t = fabs(t);
    return t < 1 ? ((a + 2) * t - (a + 3)) * t * t + 1 : t < 2 ? (((t - 5) * t + 8) * t - 4) * a : 0;
}
static const struct {
    double (*at)(double t);
    double reach; /* to either side, in pixels of an image that does not shrink */
} filters[] = {{box, .5}, {cubic, 2}};
static double widened(int in, int out) { return in > out ? (double)in / out : 1; }

int pillow_most_taps(PillowFilter f, int in, int out) { return 2 * (int)ceil(filters[f].reach * widened(in, out)) + 1; }
int pillow_weights(PillowFilter f, int j, int in, int out, int *first, double *weight) {
    double wide = widened(in, out), reach = filters[f].reach * wide, center = (j + .5) * ((double)in / out), sum = 0;
    int low = (int)(center - reach + .5), high = (int)(center + reach + .5);
    if (low < 0) low = 0;
    if (high > in) high = in;
    int taps = high - low;
    for (int k = 0; k < taps; k++) sum += weight[k] = filters[f].at((k + low - center + .5) * (1 / wide));
    for (int k = 0; k < taps; k++) weight[k] /= sum;
    *first = low;
    return taps;
}

/* ---- bytes ---------------------------------------------------------------------------------------------------------------------- */
typedef struct { /* of outputs `from` to `from + size` */
    int most;    /* taps of an output at most */
    int *first, *taps;
    int32_t *weight; /* [size][most] */
} Lines;
static void lines_free(Lines *l) { free(l->first), free(l->taps), free(l->weight); }
static Lines lines_of(PillowFilter f, int in, int out, int from, int size) {
    Lines l = {.most = pillow_most_taps(f, in, out)};
    size_t n = (size_t)size, most = (size_t)l.most;
    l.first = dg_alloc(n * sizeof *l.first), l.taps = dg_alloc(n * sizeof *l.taps), l.weight = dg_alloc(n * most * sizeof *l.weight);
    double *weight = dg_alloc(most * sizeof *weight);
    for (int j = 0; j < size; j++) {
        l.taps[j] = pillow_weights(f, from + j, in, out, &l.first[j], weight);
        for (int k = 0; k < l.taps[j]; k++)
            l.weight[(size_t)j * most + (size_t)k] = (int32_t)(weight[k] * (1 << FIXED_BITS) + (weight[k] < 0 ? -.5 : .5));
    }
    free(weight);
    return l;
}
static uint8_t byte_of(int32_t fixed) {
    int32_t v = fixed >> FIXED_BITS;
    return (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
}
/* Sums of `taps` pixels, each `step` bytes behind the one before. */
static void weighted(const uint8_t *in, size_t step, const int32_t *weight, int taps, uint8_t *out) {
    int32_t sum[RGB] = {1 << (FIXED_BITS - 1), 1 << (FIXED_BITS - 1), 1 << (FIXED_BITS - 1)};
    for (int k = 0; k < taps; k++, in += step)
        for (int c = 0; c < RGB; c++) sum[c] += in[c] * weight[k];
    for (int c = 0; c < RGB; c++) out[c] = byte_of(sum[c]);
}
bool pillow_resize(const RgbImage *image, PillowFilter f, int height, int width, Window part, uint8_t *out, Error *e) {
    Lines columns = lines_of(f, image->width, width, part.left, part.width),
          rows = lines_of(f, image->height, height, part.top, part.height);
    int last = part.height - 1, begin = rows.first[0], end = rows.first[last] + rows.taps[last]; /* the rows that the part reads */
    size_t row = (size_t)part.width * RGB, from = (size_t)image->width * RGB;
    uint8_t *middle = malloc((size_t)(end - begin) * row);
    bool ok = middle || dg_error(e, "there is no memory to resize it");
    for (int y = begin; ok && y < end; y++)
        for (size_t j = 0; j < (size_t)part.width; j++)
            weighted(image->rgb + (size_t)y * from + (size_t)columns.first[j] * RGB, RGB, columns.weight + j * (size_t)columns.most,
                     columns.taps[j], middle + (size_t)(y - begin) * row + j * RGB);
    for (size_t i = 0; ok && i < (size_t)part.height; i++)
        for (size_t j = 0; j < (size_t)part.width; j++)
            weighted(middle + (size_t)(rows.first[i] - begin) * row + j * RGB, row, rows.weight + i * (size_t)rows.most, rows.taps[i],
                     out + i * row + j * RGB);
    lines_free(&columns), lines_free(&rows);
    free(middle);
    return ok;
}

/* ---- the centre crop ------------------------------------------------------------------------------------------------------------ */
/* *owned, the image's pixels or NULL, becomes those of the half. */
static bool halve(RgbImage *image, uint8_t **owned, Error *e) {
    int height = image->height / 2, width = image->width / 2;
    uint8_t *half = malloc((size_t)height * (size_t)width * RGB);
    bool ok = half ? pillow_resize(image, PILLOW_BOX, height, width, (Window){0, 0, height, width}, half, e)
                   : dg_error(e, "there is no memory to halve it");
    free(*owned);
    *owned = half, *image = (RgbImage){half, height, width};
    return ok;
}
bool center_crop(const RgbImage *image, int size, uint8_t *out, Error *e) {
    RgbImage now = *image;
    uint8_t *owned = NULL;
    bool ok = true;
    while (ok && now.height >= 2 * size && now.width >= 2 * size) ok = halve(&now, &owned, e);
    double scale = (double)size / (now.height < now.width ? now.height : now.width);
    int height = (int)rint(now.height * scale), width = (int)rint(now.width * scale); /* a half to the even number, as Python's round */
    Window middle = {(height - size) / 2, (width - size) / 2, size, size};
    ok = ok && pillow_resize(&now, PILLOW_BICUBIC, height, width, middle, out, e);
    free(owned);
    return ok;
}
