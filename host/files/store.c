/* store.c -- the image files of one folder. */
#include "files/store.h"
#include "base/folder.h"
#include "files/image.h"
#include "files/store_npz.h"
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct Store {
    StoreOptions o;
    char *dir;
    size_t image_bytes;
    NpzStore *npz;        /* or NULL: PNG files */
    uint64_t made_folder; /* subdirs: the thousand whose folder was made last, plus one */
};
enum { PER_FOLDER = 1000, SEED_DIGITS = 6, TOGETHER = 128 /* files that are synced at once */ };

/* ---- what belongs to the store in a folder -------------------------------------------------------------------------- */
static size_t digits(const char *s) { return strspn(s, "0123456789"); }
/* An image file, or the unfinished form of one that a crash left behind. */
static bool is_image(const char *name) {
    size_t n = digits(name);
    const char *end = name + n;
    if (n < SEED_DIGITS && strncmp(name, "part-", 5) && strncmp(name, "samples.npz", 11)) return false;
    if (n < SEED_DIGITS) {
        const char *dot = strstr(name, ".npz");
        return dot && (!dot[4] || !strncmp(dot + 4, ".partial-", 9));
    }
    return !strncmp(end, ".png", 4) && (!end[4] || !strncmp(end + 4, ".partial-", 9));
}
/* Calls for every image file of dir; with `remove`, deletes it. Returns how many there were, -1 on an error. */
static long each_image(const char *dir, bool folders, bool remove, Error *e) {
    DIR *d = opendir(dir);
    if (!d) return dg_error(e, "%s: cannot read the folder: %s", dir, strerror(errno)), -1;
    long count = 0;
    for (struct dirent *entry; count >= 0 && (entry = readdir(d));) {
        char *path = path_join(dir, entry->d_name);
        if (is_image(entry->d_name)) {
            count++;
            if (remove && unlink(path) != 0) dg_error(e, "%s: cannot remove: %s", path, strerror(errno)), count = -1;
        } else if (folders && digits(entry->d_name) >= SEED_DIGITS && !entry->d_name[digits(entry->d_name)]) {
            long inside = each_image(path, false, remove, e);
            count = inside < 0 ? -1 : count + inside;
            if (remove && inside > 0) rmdir(path); /* stays when something else is in it */
        }
        free(path);
    }
    closedir(d);
    return count;
}

Store *store_open(const StoreOptions *o, bool clear, Error *e) {
    if ((o->format == FORMAT_PNG && !image_png_available(e)) || !make_folders(o->dir, e)) return NULL;
    if (clear && each_image(o->dir, true, true, e) < 0) return NULL;
    Store *s = dg_alloc(sizeof *s);
    s->o = *o, s->dir = dg_strdup(o->dir), s->o.dir = s->dir;
    s->image_bytes = (size_t)o->height * (size_t)o->width * (size_t)o->channels;
    if (o->format != FORMAT_NPZ || (s->npz = npz_store_open(s->dir, o->height, o->width, o->channels, e))) return s;
    store_close(s);
    return NULL;
}
void store_close(Store *s) {
    if (!s) return;
    npz_store_close(s->npz);
    free(s->dir);
    free(s);
}
bool store_empty(const Store *s) { return each_image(s->dir, true, false, NULL) == 0; }
size_t store_image_bytes(const Store *s) { return s->image_bytes; }

static char *png_path(const Store *s, uint64_t seed) {
    char name[64];
    if (s->o.subdirs)
        snprintf(name, sizeof name, "%06llu/%06llu.png", (unsigned long long)(seed - seed % PER_FOLDER), (unsigned long long)seed);
    else snprintf(name, sizeof name, "%06llu.png", (unsigned long long)seed);
    return path_join(s->dir, name);
}
bool store_has(const Store *s, uint64_t seed) {
    if (s->npz) return npz_store_has(s->npz, seed);
    char *path = png_path(s, seed);
    bool there = access(path, F_OK) == 0;
    free(path);
    return there;
}
static OutFile *begin_png(Store *s, uint64_t seed, const uint8_t *image, Error *e) {
    char *path = png_path(s, seed);
    bool ok = true;
    if (s->o.subdirs && s->made_folder != seed / PER_FOLDER + 1) {
        ok = make_parent(path, e);
        s->made_folder = seed / PER_FOLDER + 1;
    }
    OutFile *f = ok ? image_begin_png(path, image, s->o.height, s->o.width, s->o.channels, e) : NULL;
    free(path);
    if (!f || out_settle(f, e)) return f;
    out_abandon(f);
    return NULL;
}
/* Those that could be written appear even when a later one fails. */
static bool put_pngs(Store *s, int n, const uint64_t *seed, const uint8_t *images, Error *e) {
    OutFile **f = dg_alloc((size_t)n * sizeof *f);
    int begun = 0;
    while (begun < n && (f[begun] = begin_png(s, seed[begun], images + (size_t)begun * s->image_bytes, e))) begun++;
    Error late = {0};
    bool ok = out_finish_all(f, begun, &late);
    if (!ok && begun == n) *e = late;
    free(f);
    return ok && begun == n;
}
bool store_put(Store *s, int n, const uint64_t *seed, const int *label, const uint8_t *images, Error *e) {
    if (s->npz) return n == 0 || npz_store_put(s->npz, n, seed, label, images, e);
    for (int i = 0; i < n; i += TOGETHER)
        if (!put_pngs(s, n - i < TOGETHER ? n - i : TOGETHER, seed + i, images + (size_t)i * s->image_bytes, e)) return false;
    return true;
}
bool store_get(Store *s, uint64_t seed, uint8_t *image, Error *e) {
    if (s->npz) return npz_store_get(s->npz, seed, image, e);
    char *path = png_path(s, seed);
    bool ok = image_read_png(path, image, s->o.height, s->o.width, s->o.channels, e);
    free(path);
    return ok;
}
bool store_finish(Store *s, Error *e) { return !s->npz || npz_store_merge(s->npz, e); }
