/* images.h -- what an output folder holds, for tests: its images of either format, beside those of a run that nothing disturbed. */
#ifndef DG_TEST_IMAGES_H
#define DG_TEST_IMAGES_H
#include "files/image.h"
#include "files/npz.h"
#include "program.h"
#include "tiny_model.h"

enum { IMAGE_SIDE = 8, IMAGE_BYTES = IMAGE_SIDE * IMAGE_SIDE * 3 }; /* of the tiny network */
typedef struct {
    int seeds;       /* from 0 on */
    int *count;      /* how often the image of a seed is there */
    uint8_t *pixels; /* [seeds][IMAGE_BYTES] */
    int files;       /* damaged or unknown ones that were met */
} Images;
static inline Images images_new(int seeds) {
    return (Images){seeds, dg_alloc((size_t)seeds * sizeof(int)), dg_alloc((size_t)seeds * IMAGE_BYTES), 0};
}
static inline void images_free(Images *x) { free(x->count), free(x->pixels); }
static inline int images_there(const Images *x) {
    int n = 0;
    for (int i = 0; i < x->seeds; i++) n += x->count[i] > 0;
    return n;
}
static inline void images_add(Images *x, uint64_t seed, const uint8_t *pixels) {
    if (seed >= (uint64_t)x->seeds) {
        x->files++;
        return;
    }
    if (x->count[seed]++ && memcmp(x->pixels + seed * IMAGE_BYTES, pixels, IMAGE_BYTES)) x->files++;
    memcpy(x->pixels + seed * IMAGE_BYTES, pixels, IMAGE_BYTES);
}
static inline void images_npz(Images *x, const char *path, bool merged) {
    Error e = {0};
    NpyArray pixels = {0}, seeds = {0};
    Npz *z = npz_open(path, &e);
    const char *name = z && npz_has(z, "samples") ? "samples" : "arr_0";
    bool ok = z && npz_read(z, name, &pixels, &e) && npz_read(z, "seeds", &seeds, &e) && pixels.bytes == 1 && pixels.dims == 4 &&
              pixels.count == seeds.count * IMAGE_BYTES;
    for (size_t i = 0; ok && i < seeds.count; i++) {
        uint64_t seed = ((const uint64_t *)seeds.data)[i];
        if (merged && i && seed <= ((const uint64_t *)seeds.data)[i - 1]) x->files++; /* ordered, each once */
        images_add(x, seed, (const uint8_t *)pixels.data + i * IMAGE_BYTES);
    }
    if (!ok) x->files++, printf("%s: %s\n", path, e.text);
    npy_free(&pixels), npy_free(&seeds);
    npz_close(z);
}
static inline void images_read(Images *x, const char *folder) {
    DIR *d = opendir(folder);
    for (struct dirent *entry; d && (entry = readdir(d));) {
        char path[600], *dot = strrchr(entry->d_name, '.');
        uint8_t pixels[IMAGE_BYTES];
        Error e = {0};
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        if (strstr(entry->d_name, ".partial-")) continue;
        if (!dot && strspn(entry->d_name, "0123456789") == strlen(entry->d_name)) images_read(x, path);
        else if (dot && !strcmp(dot, ".npz")) images_npz(x, path, !strcmp(entry->d_name, "samples.npz"));
        else if (dot && !strcmp(dot, ".png") && strspn(entry->d_name, "0123456789") == (size_t)(dot - entry->d_name)) {
            if (image_read_png(path, pixels, IMAGE_SIDE, IMAGE_SIDE, 3, &e)) images_add(x, strtoull(entry->d_name, NULL, 10), pixels);
            else x->files++, printf("%s\n", e.text);
        }
    }
    if (d) closedir(d);
}
/* How many of the images that are there differ from those of the reference. */
static inline int images_differ(const Images *x, const Images *reference) {
    int n = 0;
    for (size_t i = 0; i < (size_t)x->seeds; i++)
        n += x->count[i] && memcmp(x->pixels + i * IMAGE_BYTES, reference->pixels + i * IMAGE_BYTES, IMAGE_BYTES);
    return n;
}
/* The sum of what a manifest's records say was made. */
static inline long made_of(const Json *j) {
    long made = 0;
    const Json *runs = json_get(j, "runs");
    for (const Json *r = runs ? runs->child : NULL; r; r = r->next) {
        uint64_t n = 0;
        json_u64(json_get(r, "made"), &n);
        made += (long)n;
    }
    return made;
}
#endif
