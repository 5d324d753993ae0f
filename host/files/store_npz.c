/* store_npz.c -- parts written batch by batch, and merged in one pass. */
#include "files/store_npz.h"
#include "base/file.h"
#include "base/folder.h"
#include "files/npz.h"
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct {
    uint64_t seed;
    int label, file, row;
} Entry;
typedef struct { /* a file whose images are in memory's reach: mapped, not read */
    int file;    /* -1: none */
    uint64_t used;
    Npz *npz;
    const uint8_t *rows;
} Open;
enum { OPEN_FILES = 64, LOOK_EVERY = 256 };
struct NpzStore {
    const StoreOptions *o;
    size_t image_bytes;
    char **file; /* paths; samples.npz first when it is there */
    int files;
    bool merged;  /* it is */
    Entry *entry; /* by seed, each once */
    size_t entries;
    Open open[OPEN_FILES];
    uint64_t uses;
};
static const char MERGED[] = "samples.npz";
typedef struct {
    const char *images, *labels;
} Keys;
static Keys keys_of(const StoreOptions *o) { return o->keys == STORE_KEYS_DG ? (Keys){"samples", "label"} : (Keys){"arr_0", "arr_1"}; }

NpzStore *npz_store_new(const StoreOptions *o) {
    NpzStore *s = dg_alloc(sizeof *s);
    s->o = o;
    s->image_bytes = (size_t)o->height * (size_t)o->width * (size_t)o->channels * (o->latents ? sizeof(float) : 1);
    for (int i = 0; i < OPEN_FILES; i++) s->open[i].file = -1;
    return s;
}
void npz_store_forget(NpzStore *s) {
    for (int i = 0; i < OPEN_FILES; i++) npz_close(s->open[i].npz), s->open[i] = (Open){.file = -1};
    for (int i = 0; i < s->files; i++) free(s->file[i]);
    free(s->file), free(s->entry);
    s->file = NULL, s->entry = NULL, s->files = 0, s->entries = 0, s->merged = false;
}
void npz_store_free(NpzStore *s) {
    if (!s) return;
    npz_store_forget(s);
    free(s);
}

/* ---- the index ------------------------------------------------------------------------------------------------------------------ */
typedef enum { FILE_GOOD, FILE_DAMAGED, FILE_FOREIGN, FILE_UNREADABLE } FileState;

static void shape_of(const StoreOptions *o, size_t n, int64_t shape[4]) {
    shape[0] = (int64_t)n;
    if (o->latents) shape[1] = o->channels, shape[2] = o->height, shape[3] = o->width;
    else shape[1] = o->height, shape[2] = o->width, shape[3] = o->channels;
}
static FileState foreign(const char *path, const char *name, Error *e) {
    dg_error(e, "%s: array %s is not of the type or shape of this run's images: choose another --outdir", path, name);
    return FILE_FOREIGN;
}
static FileState images_state(const NpzStore *s, Npz *z, const char *path, size_t n, bool check, Error *e) {
    const char *name = keys_of(s->o).images;
    NpyArray a = {0};
    const uint8_t *rows;
    int64_t shape[4];
    if (!npz_view(z, name, &a, &rows, e)) return npz_verify(z, name, NULL) ? FILE_FOREIGN : FILE_DAMAGED;
    shape_of(s->o, n, shape);
    if (a.dtype != (s->o->latents ? 'f' : 'u') || a.bytes != (s->o->latents ? (int)sizeof(float) : 1) || a.dims != 4 ||
        memcmp(a.shape + 1, shape + 1, 3 * sizeof *shape) != 0)
        return foreign(path, name, e);
    if (a.shape[0] != shape[0]) return dg_error(e, "%s: %lld images, %zu seeds", path, (long long)a.shape[0], n), FILE_DAMAGED;
    return check && !npz_verify(z, name, e) ? FILE_DAMAGED : FILE_GOOD;
}
/* A class for each of n images: numbers, or one-hot rows; -1 where there is none. */
static FileState read_labels(const NpzStore *s, Npz *z, const char *path, size_t n, int **out, Error *e) {
    const char *name = keys_of(s->o).labels;
    bool one_hot = s->o->keys == STORE_KEYS_DG;
    NpyArray a = {0};
    *out = dg_alloc(n * sizeof **out);
    for (size_t i = 0; i < n; i++) (*out)[i] = -1;
    if (!npz_has(z, name)) return FILE_GOOD;
    if (!npz_read(z, name, &a, e)) return FILE_DAMAGED;
    bool known = one_hot ? a.dtype == 'f' && a.bytes == 4 && a.dims == 2 && a.shape[1] == s->o->classes
                         : a.dtype == 'i' && a.bytes == 8 && a.dims == 1;
    FileState state = !known ? foreign(path, name, e) : (size_t)a.shape[0] == n ? FILE_GOOD : FILE_DAMAGED;
    if (state == FILE_DAMAGED) dg_error(e, "%s: %lld labels, %zu seeds", path, (long long)a.shape[0], n);
    for (size_t i = 0; i < n && state == FILE_GOOD; i++) {
        int64_t class = one_hot ? npy_one_hot(&a, i, (size_t)s->o->classes) : ((const int64_t *)a.data)[i];
        if (class < -1 || class > INT_MAX) {
            dg_error(e, "%s: array %s: row %zu is no class: choose another --outdir", path, name, i);
            state = FILE_FOREIGN;
        } else (*out)[i] = (int)class;
    }
    npy_free(&a);
    return state;
}
/* Appends the images of file number `file` to the index. check: every CRC, as after a crash. */
static FileState add_file(NpzStore *s, int file, bool check, Error *e) {
    const char *path = s->file[file];
    FileMap bytes;
    if (!file_map(path, &bytes, e)) return FILE_UNREADABLE; /* no permission, no descriptors: that is not damage */
    file_unmap(&bytes);
    Npz *z = npz_open(path, e);
    NpyArray seeds = {0};
    int *label = NULL;
    FileState state = z ? FILE_GOOD : FILE_DAMAGED;
    if (z && (!npz_has(z, "seeds") || !npz_has(z, keys_of(s->o).images))) {
        dg_error(e, "%s: no arrays seeds and %s: it is not a file of this run: choose another --outdir", path, keys_of(s->o).images);
        state = FILE_FOREIGN;
    }
    if (state == FILE_GOOD && !npz_read(z, "seeds", &seeds, e)) state = FILE_DAMAGED;
    if (state == FILE_GOOD && (seeds.dtype != 'u' || seeds.bytes != 8 || seeds.dims != 1)) state = foreign(path, "seeds", e);
    if (state == FILE_GOOD) state = read_labels(s, z, path, seeds.count, &label, e);
    if (state == FILE_GOOD) state = images_state(s, z, path, seeds.count, check, e);
    if (state == FILE_GOOD) {
        s->entry = dg_realloc(s->entry, (s->entries + seeds.count) * sizeof *s->entry);
        for (size_t i = 0; i < seeds.count; i++)
            s->entry[s->entries++] = (Entry){((const uint64_t *)seeds.data)[i], label[i], file, (int)i};
    }
    free(label);
    npy_free(&seeds);
    npz_close(z);
    return state;
}
/* Out of the way, where its owner finds it, beside those of other times; the sentence in e says what is wrong with it. */
static bool put_aside(const char *path, Error *e) {
    Text name = {0};
    text_printf(&name, "%s.damaged", path);
    for (int i = 2; access(name.text, F_OK) == 0; i++) text_free(&name), text_printf(&name, "%s.damaged-%d", path, i);
    bool ok = rename(path, name.text) == 0;
    if (ok) {
        printf("%s: its images are made again; it is kept as ", e->text);
        print_text(stdout, name.text);
        putchar('\n');
    } else dg_error_context(e, "%s: it is damaged and cannot be renamed", path);
    text_free(&name);
    return ok;
}
void npz_store_note(NpzStore *s, const char *name) {
    s->file = dg_realloc(s->file, (size_t)(s->files + 1) * sizeof *s->file);
    s->file[s->files++] = path_join(s->o->dir, name);
    if (strcmp(name, MERGED)) return;
    char *merged = s->file[s->files - 1];
    s->file[s->files - 1] = s->file[0], s->file[0] = merged;
    s->merged = true;
}
/* By seed; of two the one in the earlier file goes first. */
static int by_seed(const void *a, const void *b) {
    const Entry *x = a, *y = b;
    return x->seed != y->seed ? (x->seed > y->seed) - (x->seed < y->seed) : x->file - y->file;
}
Outcome npz_store_index(NpzStore *s, SeedList *present, Error *e) {
    int kept = 0;
    for (int i = 0; i < s->files; i++) {
        Error why = {0};
        bool merged = i == 0 && s->merged;
        if (interrupted(s->o->interrupt)) return OUTCOME_INTERRUPTED;
        s->file[kept] = s->file[i];
        if (kept != i) s->file[i] = NULL;
        FileState state = add_file(s, kept, !merged, &why);
        if (state == FILE_GOOD) {
            kept++;
            continue;
        }
        if (state != FILE_DAMAGED || !put_aside(s->file[kept], &why)) return *e = why, OUTCOME_FAILED;
        free(s->file[kept]);
        s->file[kept] = NULL;
        if (merged) s->merged = false;
    }
    s->files = kept;
    size_t n = 0;
    if (s->entries) qsort(s->entry, s->entries, sizeof *s->entry, by_seed);
    for (size_t i = 0; i < s->entries; i++) { /* a crash after a merge leaves parts that are in samples.npz too */
        if (n && s->entry[n - 1].seed == s->entry[i].seed) continue;
        s->entry[n++] = s->entry[i];
        seeds_add(present, s->entry[i].seed, 1);
    }
    s->entries = n;
    return OUTCOME_DONE;
}

/* ---- writing -------------------------------------------------------------------------------------------------------------------- */
static bool write_labels(const NpzStore *s, NpzWriter *w, const Entry *entry, size_t n, Error *e) {
    int64_t shape[2] = {(int64_t)n, s->o->classes};
    bool one_hot = s->o->keys == STORE_KEYS_DG, labels = false;
    for (size_t i = 0; i < n; i++) labels |= entry[i].label >= 0;
    if (!labels) return true;
    bool ok = one_hot ? npz_writer_array(w, keys_of(s->o).labels, 'f', sizeof(float), 2, shape, e)
                      : npz_writer_array(w, keys_of(s->o).labels, 'i', sizeof(int64_t), 1, shape, e);
    float *row = dg_alloc((size_t)s->o->classes * sizeof *row);
    for (size_t i = 0; i < n && ok; i++) {
        int64_t number = entry[i].label;
        if (one_hot && number >= 0) row[number] = 1;
        ok = one_hot ? npz_writer_data(w, row, (size_t)s->o->classes * sizeof *row, e) : npz_writer_data(w, &number, sizeof number, e);
        if (one_hot && number >= 0) row[number] = 0;
    }
    free(row);
    return ok;
}
static bool write_scalars(const NpzStore *s, NpzWriter *w, const Entry *entry, size_t n, Error *e) {
    int64_t shape = (int64_t)n;
    bool ok = write_labels(s, w, entry, n, e) && npz_writer_array(w, "seeds", 'u', 8, 1, &shape, e);
    for (size_t i = 0; i < n && ok; i++) ok = npz_writer_data(w, &entry[i].seed, sizeof entry[i].seed, e);
    return ok;
}
static NpzWriter *begin_file(const NpzStore *s, const char *path, size_t n, Error *e) {
    int64_t shape[4];
    shape_of(s->o, n, shape);
    NpzWriter *w = npz_writer_open(path, e);
    if (!w || npz_writer_array(w, keys_of(s->o).images, s->o->latents ? 'f' : 'u', s->o->latents ? (int)sizeof(float) : 1, 4, shape, e))
        return w;
    npz_writer_abandon(w);
    return NULL;
}
bool npz_store_put(const NpzStore *s, int n, const uint64_t *seed, const int *label, const void *images, Error *e) {
    char name[64];
    snprintf(name, sizeof name, "part-%06llu-%06llu.npz", (unsigned long long)seed[0], (unsigned long long)seed[n - 1]);
    char *path = path_join(s->o->dir, name);
    Entry *entry = dg_alloc((size_t)n * sizeof *entry);
    for (int i = 0; i < n; i++) entry[i] = (Entry){.seed = seed[i], .label = label[i]};
    NpzWriter *w = begin_file(s, path, (size_t)n, e);
    bool ok = w && npz_writer_data(w, images, (size_t)n * s->image_bytes, e) && write_scalars(s, w, entry, (size_t)n, e);
    if (ok) ok = npz_writer_finish(w, e);
    else npz_writer_abandon(w);
    free(entry), free(path);
    return ok;
}

/* ---- reading, and merging ------------------------------------------------------------------------------------------------------- */
/* The images of a file; of more than OPEN_FILES that are in use at once, the one that was not needed for longest is closed. */
static const uint8_t *rows_of(NpzStore *s, int file, Error *e) {
    Open *oldest = &s->open[0];
    for (int i = 0; i < OPEN_FILES; i++) {
        Open *x = &s->open[i];
        if (x->file == file) return x->used = ++s->uses, x->rows;
        if (x->used < oldest->used) oldest = x;
    }
    npz_close(oldest->npz);
    *oldest = (Open){.file = -1};
    NpyArray a;
    Npz *z = npz_open(s->file[file], e);
    if (!z || !npz_view(z, keys_of(s->o).images, &a, &oldest->rows, e)) {
        npz_close(z);
        return NULL;
    }
    oldest->npz = z, oldest->file = file, oldest->used = ++s->uses;
    return oldest->rows;
}
static const uint8_t *image_of(NpzStore *s, const Entry *x, Error *e) {
    const uint8_t *rows = rows_of(s, x->file, e);
    return rows ? rows + (size_t)x->row * s->image_bytes : NULL;
}
static int seed_of(const void *seed, const void *entry) {
    uint64_t x = *(const uint64_t *)seed, y = ((const Entry *)entry)->seed;
    return (x > y) - (x < y);
}
bool npz_store_get(NpzStore *s, uint64_t seed, void *image, Error *e) {
    const Entry *x = s->entries ? bsearch(&seed, s->entry, s->entries, sizeof *s->entry, seed_of) : NULL;
    if (!x) return dg_error(e, "%s: no image of seed %llu", s->o->dir, (unsigned long long)seed);
    const uint8_t *pixels = image_of(s, x, e);
    if (pixels) memcpy(image, pixels, s->image_bytes);
    return pixels != NULL;
}
/* The parts were checked when they were indexed; samples.npz is now that it is to be replaced. */
static Outcome check_merged(NpzStore *s, Error *e) {
    Npz *z = npz_open(s->file[0], e);
    bool ok = z && npz_verify(z, keys_of(s->o).images, e);
    npz_close(z);
    Error cause = *e;
    if (!ok && put_aside(s->file[0], e)) dg_error(e, "%s: the same command makes its images again", cause.text);
    return ok ? OUTCOME_DONE : OUTCOME_FAILED;
}
static Outcome copy_images(NpzStore *s, NpzWriter *w, Error *e) {
    enum { LET_GO = 64 << 20 }; /* bytes of images, after which the memory that their files take is another's */
    size_t since = 0;
    for (size_t i = 0; i < s->entries; i++) {
        if (i % LOOK_EVERY == 0 && interrupted(s->o->interrupt)) return OUTCOME_INTERRUPTED;
        const uint8_t *pixels = image_of(s, &s->entry[i], e);
        if (!pixels || !npz_writer_data(w, pixels, s->image_bytes, e)) return OUTCOME_FAILED;
        if ((since += s->image_bytes) < LET_GO) continue;
        since = 0;
        for (int k = 0; k < OPEN_FILES; k++)
            if (s->open[k].npz) npz_let_go(s->open[k].npz);
    }
    return OUTCOME_DONE;
}
Outcome npz_store_merge(NpzStore *s, Error *e) {
    if (s->files == (s->merged ? 1 : 0)) return OUTCOME_DONE;
    Outcome outcome = s->merged ? check_merged(s, e) : OUTCOME_DONE;
    if (outcome != OUTCOME_DONE) return outcome;
    char *merged = path_join(s->o->dir, MERGED);
    NpzWriter *w = begin_file(s, merged, s->entries, e);
    outcome = w ? copy_images(s, w, e) : OUTCOME_FAILED;
    bool ok = outcome == OUTCOME_DONE && write_scalars(s, w, s->entry, s->entries, e);
    if (ok) ok = npz_writer_finish(w, e);
    else npz_writer_abandon(w);
    if (outcome == OUTCOME_DONE && !ok) outcome = OUTCOME_FAILED;
    if (!ok) return free(merged), outcome;
    for (int i = 0; i < OPEN_FILES; i++) npz_close(s->open[i].npz), s->open[i] = (Open){.file = -1};
    for (int i = 0; i < s->files; i++) {
        if (strcmp(s->file[i], merged)) unlink(s->file[i]);
        free(s->file[i]);
    }
    s->file[0] = merged, s->files = 1, s->merged = true;
    for (size_t i = 0; i < s->entries; i++) s->entry[i].file = 0, s->entry[i].row = (int)i;
    return OUTCOME_DONE;
}
