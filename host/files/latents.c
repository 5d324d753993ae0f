/* latents.c -- reading stored latents. */
#include "files/latents.h"
#include <limits.h>
#include <stdlib.h>
#include <string.h>

static bool read_samples(Latents *l, const char *path, Error *e) {
    NpyArray a = {0};
    if (!npz_has(l->npz, "samples"))
        return dg_error(e, "%s: no array samples: it is not a file of latents (generate --format npz --save-latents)", path);
    if (npz_view(l->npz, "samples", &a, &l->data, NULL)) {
        if (!npz_verify(l->npz, "samples", e)) return false;
    } else {
        if (!npz_read(l->npz, "samples", &l->array, e)) return false;
        a = l->array, l->data = l->array.data;
    }
    const int64_t *shape = a.shape + (a.dims == 4);
    bool known = a.dtype == 'f' && a.bytes == (int)sizeof(float) && (a.dims == 4 || a.dims == 3) && a.count > 0;
    for (int i = 0; i < 3 && known; i++) known = shape[i] > 0 && shape[i] <= INT_MAX;
    if (!known)
        return dg_error(e, "%s: array samples is not of latents, f32 of N x C x H x W%s", path,
                        a.dtype == 'u' && a.bytes == 1 ? ": it holds pictures, bytes" : "");
    l->count = a.dims == 4 ? (size_t)a.shape[0] : 1;
    l->channels = (int)shape[0], l->height = (int)shape[1], l->width = (int)shape[2];
    return true;
}
/* One-hot rows, or numbers. */
static bool read_labels(Latents *l, const char *path, Error *e) {
    NpyArray a = {0};
    l->label = dg_alloc(l->count * sizeof *l->label);
    for (size_t i = 0; i < l->count; i++) l->label[i] = -1;
    if (!npz_has(l->npz, "label")) return true;
    if (!npz_read(l->npz, "label", &a, e)) return false;
    size_t per = a.count / l->count;
    bool rows = a.dims == 2 && (size_t)a.shape[0] == l->count, numbers = a.dims < 2 && a.count == l->count && a.dtype != 'f', ok = true;
    if (!rows && !numbers) ok = dg_error(e, "%s: array label has neither a row nor a number for each of the %zu images", path, l->count);
    for (size_t i = 0; i < l->count && ok; i++) {
        double value = numbers ? npy_value(&a, i) : npy_one_hot(&a, i, per);
        if (rows && value < 0) ok = dg_error(e, "%s: array label: row %zu is not one-hot, a 1 among zeros", path, i);
        else ok = (value >= -1 && value <= INT_MAX) || dg_error(e, "%s: label %zu is %g, not a class", path, i, value);
        if (ok) l->label[i] = (int)value;
    }
    npy_free(&a);
    return ok;
}
static bool read_seeds(Latents *l, const char *path, Error *e) {
    NpyArray a = {0};
    if (!npz_has(l->npz, "seeds")) return seeds_add(&l->seeds, 0, l->count), true;
    if (!npz_read(l->npz, "seeds", &a, e)) return false;
    bool ok = (a.dtype == 'u' && a.bytes == 8 && a.dims == 1 && a.count == l->count) ||
              dg_error(e, "%s: array seeds does not hold a 64-bit number for each of the %zu images", path, l->count);
    for (size_t i = 0; i < l->count && ok; i++) seeds_add(&l->seeds, ((const uint64_t *)a.data)[i], 1);
    npy_free(&a);
    SeedList set = seeds_copy(&l->seeds);
    seeds_sort(&set);
    if (ok && set.count != l->count) ok = dg_error(e, "%s: array seeds has the same seed twice", path);
    seeds_free(&set);
    return ok;
}
bool latents_open(Latents *l, const char *path, Error *e) {
    *l = (Latents){.npz = npz_open(path, e)};
    if (l->npz && read_samples(l, path, e) && read_labels(l, path, e) && read_seeds(l, path, e)) return true;
    latents_close(l);
    return false;
}
void latents_close(Latents *l) {
    npy_free(&l->array);
    npz_close(l->npz);
    seeds_free(&l->seeds);
    free(l->label);
    *l = (Latents){0};
}
void latents_get(const Latents *l, size_t image, double *out) {
    size_t channels = (size_t)l->channels, pixels = (size_t)l->height * (size_t)l->width;
    const uint8_t *at = l->data + image * channels * pixels * sizeof(float);
    for (size_t c = 0; c < channels; c++)
        for (size_t i = 0; i < pixels; i++) {
            float v;
            memcpy(&v, at + (c * pixels + i) * sizeof v, sizeof v);
            out[i * channels + c] = (double)v;
        }
}
