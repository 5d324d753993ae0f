/* store.c -- the image files of one folder: PNG files here, npz files in store_npz.c. */
#include "files/store.h"
#include "base/file.h"
#include "base/folder.h"
#include "base/unfinished.h"
#include "files/image.h"
#include "files/store_names.h"
#include "files/store_npz.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct Store {
    StoreOptions o;
    char *dir;
    size_t image_bytes;
    NpzStore *npz; /* or NULL: PNG files */
    SeedList present;
    uint64_t made_folder; /* subdirs: the thousand whose folder was made last, plus one */
};
enum { PER_FOLDER = 1000, TOGETHER = 32 /* files that are open at once */, LOOK_EVERY = 256 };

Store *store_new(const StoreOptions *o) {
    Store *s = dg_alloc(sizeof *s);
    s->o = *o, s->dir = dg_strdup(o->dir), s->o.dir = s->dir;
    s->image_bytes = (size_t)o->height * (size_t)o->width * (size_t)o->channels * (o->latents ? sizeof(float) : 1);
    if (o->format == FORMAT_NPZ) s->npz = npz_store_new(&s->o);
    return s;
}
void store_free(Store *s) {
    if (!s) return;
    npz_store_free(s->npz);
    seeds_free(&s->present);
    free(s->dir);
    free(s);
}
size_t store_image_bytes(const Store *s) { return s->image_bytes; }
const SeedList *store_present(const Store *s) { return &s->present; }

/* ---- what is there ------------------------------------------------------------------------------------------------------------ */
static bool note(void *store, const FolderEntry *x, Error *e) {
    (void)e;
    Store *s = store;
    if (x->kind == NAME_STRAY) {
        char *path = path_join(x->folder, x->name);
        file_remove_stray(path);
        free(path);
        return true;
    }
    bool top = x->folder == s->dir;
    if (x->kind == NAME_PNG && top != s->o.subdirs && !s->npz) seeds_add(&s->present, x->seed, 1);
    if (s->npz && top && (x->kind == NAME_MERGED || x->kind == NAME_PART)) npz_store_note(s->npz, x->name);
    return true;
}
static bool is_image(void *found, const FolderEntry *x, Error *e) {
    (void)e;
    *(bool *)found = x->kind != NAME_STRAY && x->kind != NAME_THOUSAND;
    return !*(bool *)found; /* the first one is enough */
}
bool store_occupied(const char *dir) {
    bool found = false;
    store_walk(dir, true, NULL, is_image, &found, NULL);
    return found;
}
static char *png_path(const Store *s, uint64_t seed) {
    char name[64];
    if (s->o.subdirs)
        snprintf(name, sizeof name, "%06llu/%06llu.png", (unsigned long long)(seed - seed % PER_FOLDER), (unsigned long long)seed);
    else snprintf(name, sizeof name, "%06llu.png", (unsigned long long)seed);
    return path_join(s->dir, name);
}
/* Takes the damaged ones among those that are wanted out of what is there. */
static Outcome check_pngs(Store *s, const SeedList *wanted, bool all, Error *e) {
    SeedList absent = seeds_without(wanted, &s->present), there = seeds_without(wanted, &absent), damaged = {0};
    Outcome outcome = OUTCOME_DONE;
    Error first = {0};
    for (size_t i = 0; i < there.count && outcome == OUTCOME_DONE; i++) {
        Error why = {0};
        uint64_t seed = seeds_at(&there, i);
        char *path = png_path(s, seed);
        PngState state = image_check_png(path, s->o.height, s->o.width, s->o.channels, all, &why);
        free(path);
        if (state == PNG_DAMAGED && !damaged.count) first = why;
        if (state == PNG_DAMAGED) seeds_add(&damaged, seed, 1);
        if (state == PNG_FOREIGN) *e = why, outcome = OUTCOME_FAILED;
        if (i % LOOK_EVERY == 0 && interrupted(s->o.interrupt)) outcome = OUTCOME_INTERRUPTED;
    }
    if (damaged.count && outcome == OUTCOME_DONE) {
        print_text(stdout, s->dir);
        printf(": %zu damaged image%s made again (%s)\n", damaged.count, damaged.count > 1 ? "s are" : " is", first.text);
        SeedList good = seeds_without(&s->present, &damaged);
        seeds_free(&s->present);
        s->present = good;
    }
    seeds_free(&absent), seeds_free(&there), seeds_free(&damaged);
    return outcome;
}
Outcome store_scan(Store *s, const SeedList *wanted, bool all, Error *e) {
    seeds_free(&s->present);
    if (s->npz) npz_store_forget(s->npz);
    Outcome outcome = store_walk(s->dir, true, s->o.interrupt, note, s, e);
    if (outcome != OUTCOME_DONE) return outcome;
    if (s->npz) return npz_store_index(s->npz, &s->present, e);
    seeds_sort(&s->present);
    return check_pngs(s, wanted, all, e);
}

/* ---- removing ------------------------------------------------------------------------------------------------------------------- */
typedef struct {
    const char *dir;
    ImageFormat format;
    const SeedList *seeds;
} Clearing;
static bool clear_entry(void *clearing, const FolderEntry *x, Error *e) {
    const Clearing *c = clearing;
    struct stat st;
    bool top = x->folder == c->dir;
    if (x->kind == NAME_THOUSAND) {
        unlinkat(x->fd, x->name, AT_REMOVEDIR); /* stays when something else is in it, or is a link */
        return true;
    }
    bool ours = c->format == FORMAT_PNG ? x->kind == NAME_PNG && seeds_has(c->seeds, x->seed)
                                        : top && (x->kind == NAME_MERGED || x->kind == NAME_PART);
    if (!ours || fstatat(x->fd, x->name, &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(st.st_mode)) return true;
    return unlinkat(x->fd, x->name, 0) == 0 || dg_error(e, "%s/%s: cannot remove: %s", x->folder, x->name, strerror(errno));
}
Outcome store_clear(const char *dir, ImageFormat format, const SeedList *seeds, const Interrupt *i, Error *e) {
    Clearing c = {dir, format, seeds};
    return store_walk(dir, false, i, clear_entry, &c, e);
}

/* ---- adding and reading --------------------------------------------------------------------------------------------------------- */
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
static bool put_pngs(Store *s, int n, const uint64_t *seed, const uint8_t *images, int *written, Error *e) {
    OutFile *f[TOGETHER];
    int begun = 0;
    while (begun < n && (f[begun] = begin_png(s, seed[begun], images + (size_t)begun * s->image_bytes, e))) begun++;
    Error late = {0};
    int finished = out_finish_all(f, begun, &late);
    *written += finished;
    if (finished < begun && begun == n) *e = late;
    return finished == n;
}
bool store_put(Store *s, int n, const uint64_t *seed, const int *label, const void *images, int *written, Error *e) {
    *written = 0;
    if (s->npz) {
        bool ok = n == 0 || npz_store_put(s->npz, n, seed, label, images, e);
        *written = ok ? n : 0;
        return ok;
    }
    for (int i = 0; i < n; i += TOGETHER)
        if (!put_pngs(s, n - i < TOGETHER ? n - i : TOGETHER, seed + i, (const uint8_t *)images + (size_t)i * s->image_bytes, written, e))
            return false;
    return true;
}
Outcome store_merge(Store *s, Error *e) {
    if (!s->npz) return OUTCOME_DONE;
    SeedList none = {0};
    Outcome outcome = store_scan(s, &none, false, e);
    return outcome == OUTCOME_DONE ? npz_store_merge(s->npz, e) : outcome;
}
bool store_get(Store *s, uint64_t seed, void *image, Error *e) {
    if (s->npz) return npz_store_get(s->npz, seed, image, e);
    char *path = png_path(s, seed);
    bool ok = image_read_png(path, image, s->o.height, s->o.width, s->o.channels, e);
    free(path);
    return ok;
}
