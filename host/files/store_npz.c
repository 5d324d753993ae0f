/* store_npz.c -- parts written batch by batch, and merged at the end. */
#include "files/store_npz.h"
#include "base/folder.h"
#include "files/npz.h"
#include "base/seeds.h"
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct {
    uint64_t seed; /* first, for seeds_compare */
    int64_t label;
    int file, row;
} Entry;
struct NpzStore {
    char *dir;
    int height, width, channels;
    size_t image_bytes;
    char **file; /* paths; samples.npz first when it is there */
    int files;
    Entry *entry; /* sorted by seed up to `sorted`, then those that were put */
    size_t entries, sorted;
    int open; /* the file whose pixels are in `pixels`, or -1 */
    NpyArray pixels;
};
static const char MERGED[] = "samples.npz", PART[] = "part-";

static bool read_array(Npz *z, const char *path, const char *name, char dtype, int bytes, NpyArray *a, Error *e) {
    if (!npz_has(z, name)) return dg_error(e, "%s: no array %s: not a file of this program", path, name);
    if (!npz_read(z, name, a, e)) return false;
    if (a->dtype == dtype && a->bytes == bytes && a->dims >= 1) return true;
    npy_free(a);
    return dg_error(e, "%s: array %s is not of the type that this program writes", path, name);
}
/* Puts the images of a file into the index. */
static bool add_file(NpzStore *s, char *path, Error *e) {
    Npz *z = npz_open(path, e);
    NpyArray seeds = {0}, labels = {0};
    bool ok = z && read_array(z, path, "seeds", 'u', 8, &seeds, e);
    if (ok && npz_has(z, "arr_1")) ok = read_array(z, path, "arr_1", 'i', 8, &labels, e);
    if (ok && labels.data && labels.count != seeds.count) ok = dg_error(e, "%s: %zu seeds, %zu labels", path, seeds.count, labels.count);
    if (ok) {
        s->entry = dg_realloc(s->entry, (s->entries + seeds.count) * sizeof *s->entry);
        for (size_t i = 0; i < seeds.count; i++)
            s->entry[s->entries++] =
                (Entry){((const uint64_t *)seeds.data)[i], labels.data ? ((const int64_t *)labels.data)[i] : -1, s->files, (int)i};
        s->file = dg_realloc(s->file, (size_t)(s->files + 1) * sizeof *s->file);
        s->file[s->files++] = path;
    } else free(path);
    npy_free(&seeds), npy_free(&labels);
    if (z) npz_close(z);
    return ok;
}
/* By seed; of two the one in the earlier file goes first. */
static int by_seed(const void *a, const void *b) {
    const Entry *x = a, *y = b;
    return x->seed != y->seed ? (x->seed > y->seed) - (x->seed < y->seed) : x->file - y->file;
}
static void sort_index(NpzStore *s) {
    size_t n = 0;
    if (s->entries) qsort(s->entry, s->entries, sizeof *s->entry, by_seed);
    for (size_t i = 0; i < s->entries; i++) /* a crash after a merge leaves parts that are in samples.npz too */
        if (!n || s->entry[n - 1].seed != s->entry[i].seed) s->entry[n++] = s->entry[i];
    s->entries = s->sorted = n;
}
static bool scan(NpzStore *s, Error *e) {
    char *merged = path_join(s->dir, MERGED);
    bool ok = true;
    if (access(merged, F_OK) == 0) ok = add_file(s, merged, e);
    else free(merged);
    DIR *d = opendir(s->dir);
    if (!d) return dg_error(e, "%s: cannot read the folder: %s", s->dir, strerror(errno));
    for (struct dirent *entry; ok && (entry = readdir(d));) {
        size_t n = strlen(entry->d_name);
        if (!strncmp(entry->d_name, PART, sizeof PART - 1) && n > 4 && !strcmp(entry->d_name + n - 4, ".npz"))
            ok = add_file(s, path_join(s->dir, entry->d_name), e);
    }
    closedir(d);
    sort_index(s);
    return ok;
}
NpzStore *npz_store_open(const char *dir, int height, int width, int channels, Error *e) {
    NpzStore *s = dg_alloc(sizeof *s);
    *s = (NpzStore){.dir = dg_strdup(dir), .height = height, .width = width, .channels = channels, .open = -1};
    s->image_bytes = (size_t)height * (size_t)width * (size_t)channels;
    if (scan(s, e)) return s;
    npz_store_close(s);
    return NULL;
}
void npz_store_close(NpzStore *s) {
    if (!s) return;
    for (int i = 0; i < s->files; i++) free(s->file[i]);
    npy_free(&s->pixels);
    free(s->file), free(s->entry), free(s->dir);
    free(s);
}
bool npz_store_has(const NpzStore *s, uint64_t seed) {
    return s->sorted && bsearch(&seed, s->entry, s->sorted, sizeof *s->entry, seeds_compare);
}

/* ---- writing --------------------------------------------------------------------------------------------------------- */
static bool write_scalars(NpzWriter *w, const Entry *entry, size_t n, Error *e) {
    int64_t shape = (int64_t)n;
    bool labels = false, ok = true;
    for (size_t i = 0; i < n; i++) labels |= entry[i].label >= 0;
    if (labels) ok = npz_writer_array(w, "arr_1", 'i', 8, 1, &shape, e);
    for (size_t i = 0; i < n && labels && ok; i++) ok = npz_writer_data(w, &entry[i].label, sizeof entry[i].label, e);
    ok = ok && npz_writer_array(w, "seeds", 'u', 8, 1, &shape, e);
    for (size_t i = 0; i < n && ok; i++) ok = npz_writer_data(w, &entry[i].seed, sizeof entry[i].seed, e);
    return ok;
}
static NpzWriter *begin_file(const NpzStore *s, const char *path, size_t n, Error *e) {
    int64_t shape[4] = {(int64_t)n, s->height, s->width, s->channels};
    NpzWriter *w = npz_writer_open(path, e);
    if (!w || npz_writer_array(w, "arr_0", 'u', 1, 4, shape, e)) return w;
    npz_writer_abandon(w);
    return NULL;
}
static bool end_file(NpzWriter *w, bool ok, Error *e) {
    if (ok) return npz_writer_finish(w, e);
    npz_writer_abandon(w);
    return false;
}
bool npz_store_put(NpzStore *s, int n, const uint64_t *seed, const int *label, const uint8_t *images, Error *e) {
    char name[64];
    snprintf(name, sizeof name, "%s%06llu-%06llu.npz", PART, (unsigned long long)seed[0], (unsigned long long)seed[n - 1]);
    char *path = path_join(s->dir, name);
    s->entry = dg_realloc(s->entry, (s->entries + (size_t)n) * sizeof *s->entry);
    Entry *added = s->entry + s->entries;
    for (int i = 0; i < n; i++) added[i] = (Entry){seed[i], label[i], s->files, i};
    NpzWriter *w = begin_file(s, path, (size_t)n, e);
    bool ok = w && end_file(w, npz_writer_data(w, images, (size_t)n * s->image_bytes, e) && write_scalars(w, added, (size_t)n, e), e);
    if (!ok) return free(path), false;
    s->file = dg_realloc(s->file, (size_t)(s->files + 1) * sizeof *s->file);
    s->file[s->files++] = path;
    s->entries += (size_t)n;
    return true;
}

/* ---- reading --------------------------------------------------------------------------------------------------------- */
static const uint8_t *image_of(NpzStore *s, const Entry *x, Error *e) {
    if (s->open != x->file) {
        const char *path = s->file[x->file];
        npy_free(&s->pixels);
        s->open = -1;
        Npz *z = npz_open(path, e);
        bool ok = z && read_array(z, path, "arr_0", 'u', 1, &s->pixels, e);
        if (z) npz_close(z);
        if (!ok) return NULL;
        const int64_t *shape = s->pixels.shape;
        if (s->pixels.dims != 4 || shape[1] != s->height || shape[2] != s->width || shape[3] != s->channels) {
            dg_error(e, "%s: its images are not %dx%dx%d", path, s->width, s->height, s->channels);
            return NULL;
        }
        s->open = x->file;
    }
    if (x->row < s->pixels.shape[0]) return (const uint8_t *)s->pixels.data + (size_t)x->row * s->image_bytes;
    dg_error(e, "%s: fewer images than seeds", s->file[x->file]);
    return NULL;
}
bool npz_store_get(NpzStore *s, uint64_t seed, uint8_t *image, Error *e) {
    if (s->sorted < s->entries) sort_index(s);
    const Entry *x = s->entries ? bsearch(&seed, s->entry, s->entries, sizeof *s->entry, seeds_compare) : NULL;
    if (!x) return dg_error(e, "%s: no image of seed %llu", s->dir, (unsigned long long)seed);
    const uint8_t *pixels = image_of(s, x, e);
    if (pixels) memcpy(image, pixels, s->image_bytes);
    return pixels != NULL;
}
bool npz_store_merge(NpzStore *s, Error *e) {
    char *merged = path_join(s->dir, MERGED);
    if (s->files == 0 || (s->files == 1 && !strcmp(s->file[0], merged))) return free(merged), true;
    sort_index(s);
    NpzWriter *w = begin_file(s, merged, s->entries, e);
    bool ok = w != NULL;
    for (size_t i = 0; i < s->entries && ok; i++) {
        const uint8_t *pixels = image_of(s, &s->entry[i], e);
        ok = pixels && npz_writer_data(w, pixels, s->image_bytes, e);
    }
    if (w) ok = end_file(w, ok && write_scalars(w, s->entry, s->entries, e), e);
    if (!ok) return free(merged), false;
    for (int i = 0; i < s->files; i++) {
        if (strcmp(s->file[i], merged)) unlink(s->file[i]);
        free(s->file[i]);
    }
    npy_free(&s->pixels);
    s->open = -1;
    s->file[0] = merged, s->files = 1;
    for (size_t i = 0; i < s->entries; i++) s->entry[i].file = 0, s->entry[i].row = (int)i;
    return true;
}
