/* image_source.c -- sets of images: what a path holds, and reading them. */
#include "base/folder.h"
#include "base/text.h"
#include "files/image_parts.h"
#include "files/image_file.h"
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { MOST_DEPTH = 64, MOST_FILE = 1 << 28, FORGET_BYTES = 64 << 20 };

/* ---- folders --------------------------------------------------------------------------------------------------------------------- */
typedef struct {
    char **name; /* below the folder that was given */
    size_t count;
} Names;
typedef struct {
    const char *root;
    const SourceRules *rules;
    Names images, arrays;
} Scan;
static void names_add(Names *n, char *name) {
    if ((n->count & (n->count - 1)) == 0) n->name = dg_realloc(n->name, (n->count ? 2 * n->count : 1) * sizeof *n->name);
    n->name[n->count++] = name;
}
static void names_free(Names *n) {
    for (size_t i = 0; i < n->count; i++) free(n->name[i]);
    free(n->name);
    *n = (Names){0};
}
static int by_text(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }
static void names_sort(Names *n) {
    if (n->count) qsort(n->name, n->count, sizeof *n->name, by_text);
}
/* DG's "samples_7.npz", and "sample_7.npz" of its ImageNet code. */
static bool is_samples(const char *name) {
    size_t n = strlen(name);
    return n > 4 && !strncmp(name, "sample", 6) && !strcmp(name + n - 4, ".npz");
}
static bool is_image(const Scan *s, const char *name) {
    if (!image_file_named(name)) return false;
    for (const char *c = strrchr(name, '.'); s->rules->lower_case && *c; c++)
        if (*c >= 'A' && *c <= 'Z') return false;
    return true;
}
static bool scan_folder(Scan *s, const char *below, int depth, Error *e);
/* name: below the root; it is kept or freed. */
static bool scan_entry(Scan *s, char *name, const char *last, int depth, Error *e) {
    struct stat st, own;
    char *path = path_join(s->root, name);
    bool there = lstat(path, &own) == 0 && stat(path, &st) == 0, folder = there && S_ISDIR(st.st_mode), ok = true;
    const char *other = image_file_of_others(last);
    free(path);
    if (folder && !s->rules->flat && !S_ISLNK(own.st_mode)) ok = scan_folder(s, name, depth + 1, e); /* links may lead in circles */
    else if (there && S_ISREG(st.st_mode) && is_image(s, last)) return names_add(&s->images, name), true;
    else if (there && S_ISREG(st.st_mode) && is_samples(last)) return names_add(&s->arrays, name), true;
    else if (there && S_ISREG(st.st_mode) && other)
        ok = dg_error(e, "%s/%s: a %s file, which dg_cuda does not read: only PNG and JPEG images are", s->root, name, other);
    free(name);
    return ok;
}
static bool scan_folder(Scan *s, const char *below, int depth, Error *e) {
    char *path = *below ? path_join(s->root, below) : dg_strdup(s->root);
    DIR *d = depth < MOST_DEPTH ? opendir(path) : NULL;
    bool ok = d || dg_error(e, "%s: cannot read the folder: %s", path,
                            depth < MOST_DEPTH ? strerror(errno) : "folders within folders without end");
    for (struct dirent *entry; ok && (entry = readdir(d));) {
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
        char *name = *below ? path_join(below, entry->d_name) : dg_strdup(entry->d_name);
        ok = scan_entry(s, name, entry->d_name, depth, e);
    }
    if (d) closedir(d);
    free(path);
    return ok;
}

/* ---- parts ----------------------------------------------------------------------------------------------------------------------- */
static ImagePart *add_part(ImageSource *s, const char *path, size_t count) {
    s->part = dg_realloc(s->part, (size_t)(s->parts + 1) * sizeof *s->part);
    ImagePart *p = &s->part[s->parts++];
    *p = (ImagePart){.path = dg_strdup(path), .first = s->count, .count = count};
    s->count += count;
    return p;
}
static const char *array_of_images(const Npz *z, const char *path, Error *e) {
    static const char *const names[] = {"arr_0", "samples"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (npz_has(z, names[i])) return names[i];
    if (npz_has(z, "mu")) dg_error(e, "%s: it holds statistics (mu, sigma) and no images", path);
    else dg_error(e, "%s: it has no array of images, arr_0 or samples, but for example %s", path, npz_count(z) ? npz_name(z, 0) : "none");
    return NULL;
}
/* Takes z. */
static bool add_array(ImageSource *s, const char *path, Npz *z, Error *e) {
    NpyArray head = {0};
    const char *array = array_of_images(z, path, e);
    NpzStream *stream = array ? npz_stream_open(z, array, &head, e) : NULL;
    const int64_t *shape = head.shape;
    bool images = head.dims == 4 && (shape[3] == 3 || shape[3] == 1) && shape[1] > 0 && shape[1] <= IMAGE_FILE_SIDE && shape[2] > 0 &&
                  shape[2] <= IMAGE_FILE_SIDE && shape[1] * shape[2] <= IMAGE_FILE_PIXELS;
    if (stream && !(images && head.dtype == 'u' && head.bytes == 1)) {
        Text t = {0};
        for (int i = 0; i < head.dims; i++) text_printf(&t, i ? ",%lld" : "%lld", (long long)shape[i]);
        dg_error(e, "%s: array %s is of type %c%d and shape [%s]: images are bytes (u1), [number,height,width,3]", path, array, head.dtype,
                 head.bytes, t.len ? t.text : "");
        text_free(&t);
        npz_stream_close(stream);
        stream = NULL;
    }
    if (!stream) return npz_close(z), false;
    ImagePart *p = add_part(s, path, (size_t)shape[0]);
    p->npz = z, p->array = array, p->head = head, p->stream = stream;
    return true;
}
static bool add_array_file(ImageSource *s, const char *path, Error *e) {
    Npz *z = npz_open(path, e);
    return z && add_array(s, path, z, e);
}
static bool add_folder(ImageSource *s, const char *path, Error *e) {
    Scan scan = {.root = path, .rules = &s->rules};
    bool ok = scan_folder(&scan, "", 0, e);
    names_sort(&scan.images), names_sort(&scan.arrays);
    if (s->rules.arrays && scan.arrays.count) names_free(&scan.images);
    if (ok && scan.images.count && scan.arrays.count) {
        ok = dg_error(
            e, "%s: the folder holds both images (%s) and arrays of images (%s): give the arrays by name, or have one of the two elsewhere",
            path, scan.images.name[0], scan.arrays.name[0]);
    } else if (ok && scan.images.count) {
        ImagePart *p = add_part(s, path, scan.images.count);
        p->file = scan.images.name;
        scan.images = (Names){0};
    } else if (ok && !scan.arrays.count) {
        ok = dg_error(e, "%s: the folder holds no PNG or JPEG files%s, and no samples*.npz", path,
                      s->rules.flat ? " itself (those in folders within it are not taken)" : "");
    } else {
        for (size_t i = 0; ok && i < scan.arrays.count; i++) {
            char *file = path_join(path, scan.arrays.name[i]);
            ok = add_array_file(s, file, e);
            free(file);
        }
    }
    names_free(&scan.images), names_free(&scan.arrays);
    return ok;
}
static int by_entry_name(const void *a, const void *b) {
    return strcmp((*(const ZipEntry *const *)a)->name, (*(const ZipEntry *const *)b)->name);
}
static bool add_zip(ImageSource *s, const char *path, Error *e) {
    Zip *z = zip_open(path, e);
    if (!z) return false;
    const ZipEntry **entry = dg_alloc((size_t)z->count * sizeof *entry + 1);
    size_t count = 0;
    bool ok = true;
    for (int i = 0; i < z->count && ok; i++) {
        const char *name = z->entry[i].name, *slash = strrchr(name, '/'), *last = slash ? slash + 1 : name;
        const char *other = image_file_of_others(last);
        if (other)
            ok = dg_error(e, "%s: it holds %s, a %s file, which dg_cuda does not read: only PNG and JPEG images are", path, name, other);
        else if (image_file_named(last) && (!slash || !s->rules.flat)) entry[count++] = &z->entry[i];
    }
    if (ok && !count) ok = dg_error(e, "%s: the archive holds no PNG or JPEG files, and no arrays", path);
    if (!ok) {
        free(entry);
        zip_close(z);
        return false;
    }
    qsort(entry, count, sizeof *entry, by_entry_name);
    ImagePart *p = add_part(s, path, count);
    p->zip = z, p->entry = entry;
    return true;
}
static bool add_path(ImageSource *s, const char *path, Error *e) {
    struct stat st;
    if (stat(path, &st) != 0) return dg_error(e, "%s: cannot open: %s", path, strerror(errno));
    if (S_ISDIR(st.st_mode)) return add_folder(s, path, e);
    Npz *z = npz_open(path, e);
    if (!z) return dg_error_context(e, "images are a folder, a .zip or an .npz file");
    if (npz_count(z)) return add_array(s, path, z, e);
    npz_close(z);
    return add_zip(s, path, e);
}

static bool is_file(const struct stat *file, const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && st.st_dev == file->st_dev && st.st_ino == file->st_ino;
}
static bool is_below(const struct stat *file, const char *folder, const char *name) {
    char *path = path_join(folder, name);
    bool same = is_file(file, path);
    free(path);
    return same;
}
static bool is_among(const struct stat *file, const char *folder, const Names *n) {
    bool found = false;
    for (size_t k = 0; k < n->count && !found; k++) found = is_below(file, folder, n->name[k]);
    return found;
}
static bool folder_reads(const char *path, bool flat, const struct stat *file) {
    const SourceRules any = {.flat = flat}; /* what another rule would take is not to be lost either */
    Scan scan = {.root = path, .rules = &any};
    scan_folder(&scan, "", 0, NULL);
    bool found = is_among(file, path, &scan.images) || is_among(file, path, &scan.arrays) || is_below(file, path, "dataset.json") ||
                 is_below(file, path, "manifest.json");
    names_free(&scan.images), names_free(&scan.arrays);
    return found;
}
bool image_source_reads(const char *const *path, int paths, const SourceRules *rules, const char *file) {
    struct stat st, source;
    bool found = false, there = stat(file, &st) == 0;
    for (int i = 0; i < paths && there && !found; i++)
        found = is_file(&st, path[i]) ||
                (stat(path[i], &source) == 0 && S_ISDIR(source.st_mode) && folder_reads(path[i], rules && rules->flat, &st));
    return found;
}

/* ---- files ----------------------------------------------------------------------------------------------------------------------- */
typedef struct { /* an image file in memory */
    const uint8_t *data;
    size_t bytes;
    FileMap map;
    uint8_t *unpacked;
} Loaded;
static char *name_of(const ImagePart *p, size_t k) {
    Text t = {0};
    if (p->file) text_printf(&t, "%s/%s", p->path, p->file[k]);
    else if (p->zip) text_printf(&t, "%s: %s", p->path, p->entry[k]->name);
    else text_printf(&t, "%s: image %zu of %s", p->path, k, p->array);
    return t.text;
}
static bool load(const ImagePart *p, size_t k, const char *name, Loaded *out, Error *e) {
    *out = (Loaded){0};
    if (p->file) {
        if (!file_map(name, &out->map, e)) return false;
        out->data = out->map.data, out->bytes = out->map.bytes;
        return true;
    }
    const ZipEntry *x = p->entry[k];
    if (x->bytes > MOST_FILE) return dg_error(e, "%s: an image file of %llu bytes", name, (unsigned long long)x->bytes);
    out->unpacked = malloc((size_t)x->bytes + 1), out->data = out->unpacked, out->bytes = (size_t)x->bytes;
    if (!out->unpacked) return dg_error(e, "%s: there is no memory for its %zu bytes", name, out->bytes);
    return zip_read(p->zip, x, out->unpacked, e);
}
static void unload(Loaded *l) {
    file_unmap(&l->map);
    free(l->unpacked);
}
static bool check_size(const ImageSource *s, const char *name, int height, int width, Error *e) {
    return (height == s->height && width == s->width) ||
           dg_error(e, "%s: an image of %dx%d pixels, and the first of the set has %dx%d: all are to be of one size", name, width, height,
                    s->width, s->height);
}
/* A header alone would make callers reserve memory for pixels that nothing holds. */
static bool check_pixels(const Loaded *file, const char *name, const ImageFile *image, Error *e) {
    uint8_t *rgb = malloc((size_t)image->height * (size_t)image->width * 3);
    bool ok = rgb ? image_file_read(file->data, file->bytes, name, image, rgb, e)
                  : dg_error(e, "%s: there is no memory for its %dx%d pixels", name, image->width, image->height);
    free(rgb);
    return ok;
}
/* An image file and what its header says; the name and the file are the caller's to free, after a failure too. */
static bool open_file(const ImageSource *s, const ImagePart *p, size_t k, char **name, Loaded *file, ImageFile *image, Error *e) {
    *name = name_of(p, k);
    if (!load(p, k, *name, file, e) || !image_file_head(file->data, file->bytes, *name, image, e)) return false;
    return !s->rules.refuse_alpha || !image->alpha || dg_error(e, "%s: it has an alpha channel, which EDM's tools refuse", *name);
}
static bool find_file_size(const ImageSource *s, const ImagePart *p, size_t k, int *height, int *width, Error *e) {
    Loaded file;
    ImageFile image = {0};
    char *name;
    bool ok = open_file(s, p, k, &name, &file, &image, e) && check_pixels(&file, name, &image, e);
    *height = image.height, *width = image.width;
    unload(&file);
    free(name);
    return ok;
}
static bool read_file(const ImageSource *s, const ImagePart *p, size_t k, uint8_t *pixels, Error *e) {
    Loaded file;
    ImageFile image;
    char *name;
    bool ok = open_file(s, p, k, &name, &file, &image, e) && check_size(s, name, image.height, image.width, e) &&
              image_file_read(file.data, file.bytes, name, &image, pixels, e);
    unload(&file);
    free(name);
    return ok;
}
/* From now on image k comes next. */
static bool seek_array(ImagePart *p, size_t k, Error *e) {
    size_t bytes = p->head.count / p->count, piece = 1 << 20;
    NpyArray head;
    if (k < p->next || !p->stream) {
        npz_stream_close(p->stream);
        p->next = 0;
        if (!(p->stream = npz_stream_open(p->npz, p->array, &head, e))) return false;
    }
    if (k == p->next) return true;
    uint8_t *skipped = dg_alloc(piece);
    bool ok = true;
    for (size_t left = (k - p->next) * bytes, n; ok && left; left -= n)
        n = left < piece ? left : piece, ok = npz_stream_read(p->stream, skipped, n, e);
    free(skipped);
    p->next = k;
    return ok;
}
static bool read_array(ImagePart *p, size_t k, uint8_t *pixels, Error *e) {
    size_t bytes = p->head.count / p->count;
    bool gray = p->head.shape[3] == 1, ok = seek_array(p, k, e) && npz_stream_read(p->stream, pixels, bytes, e);
    for (size_t i = bytes; ok && gray && i-- > 0;) pixels[3 * i] = pixels[3 * i + 1] = pixels[3 * i + 2] = pixels[i];
    p->next = k + 1;
    if (ok) return true;
    npz_stream_close(p->stream); /* it is of no further use */
    p->stream = NULL;
    return false;
}

/* ---- the set --------------------------------------------------------------------------------------------------------------------- */
static ImagePart *part_of(const ImageSource *s, size_t index) {
    int low = 0, high = s->parts - 1;
    while (low < high) {
        int middle = (low + high + 1) / 2;
        if (s->part[middle].first <= index) low = middle;
        else high = middle - 1;
    }
    return &s->part[low];
}
static bool find_size(ImageSource *s, Error *e) {
    if (!s->count) return dg_error(e, "%s: it holds no images", s->part[0].path);
    if (s->rules.any_size) return true;
    ImagePart *first = part_of(s, 0);
    if (!first->npz && !find_file_size(s, first, 0, &s->height, &s->width, e)) return false;
    if (first->npz) s->height = (int)first->head.shape[1], s->width = (int)first->head.shape[2];
    for (int i = 0; i < s->parts; i++) {
        const ImagePart *p = &s->part[i];
        if (p->npz && p->count && !check_size(s, p->path, (int)p->head.shape[1], (int)p->head.shape[2], e)) return false;
    }
    return true;
}
ImageSource *image_source_open(const char *const *path, int paths, const SourceRules *rules, Error *e) {
    DG_CHECK(paths > 0, "images of no path");
    ImageSource *s = dg_alloc(sizeof *s);
    if (rules) s->rules = *rules;
    bool ok = true;
    for (int i = 0; i < paths && ok; i++) ok = add_path(s, path[i], e);
    if (ok && find_size(s, e)) return s;
    image_source_close(s);
    return NULL;
}
void image_source_close(ImageSource *s) {
    if (!s) return;
    for (int i = 0; i < s->parts; i++) {
        ImagePart *p = &s->part[i];
        for (size_t k = 0; p->file && k < p->count; k++) free(p->file[k]);
        npz_stream_close(p->stream);
        npz_close(p->npz);
        zip_close(p->zip);
        free(p->file), free(p->entry), free(p->path);
    }
    free(s->part);
    free(s);
}
size_t image_source_count(const ImageSource *s) { return s->count; }
int image_source_height(const ImageSource *s) { return s->height; }
int image_source_width(const ImageSource *s) { return s->width; }
char *image_source_name(const ImageSource *s, size_t index) {
    const ImagePart *p = part_of(s, index);
    return name_of(p, index - p->first);
}
static bool mark_file(const char *path, ImageMark *out, Error *e) {
    struct stat st;
    if (stat(path, &st) != 0) return dg_error(e, "%s: cannot open: %s", path, strerror(errno));
    *out = (ImageMark){.bytes = (uint64_t)st.st_size, .seconds = st.st_mtim.tv_sec, .nanoseconds = st.st_mtim.tv_nsec};
    return true;
}
bool image_source_mark(const ImageSource *s, size_t index, ImageMark *out, Error *e) {
    const ImagePart *p = part_of(s, index);
    size_t k = index - p->first;
    uint32_t crc;
    if (p->file) {
        char *path = name_of(p, k);
        bool ok = mark_file(path, out, e);
        free(path);
        return ok;
    }
    if (p->zip) return *out = (ImageMark){.bytes = p->entry[k]->bytes, .crc = p->entry[k]->crc}, true;
    if (!npz_crc(p->npz, p->array, &crc)) return mark_file(p->path, out, e);
    *out = (ImageMark){.bytes = p->head.count, .crc = crc};
    return true;
}
bool image_source_has_jpeg(const ImageSource *s) {
    for (int i = 0; i < s->parts; i++)
        for (size_t k = 0; !s->part[i].npz && k < s->part[i].count; k++) {
            const char *name = s->part[i].file ? s->part[i].file[k] : s->part[i].entry[k]->name, *dot = strrchr(name, '.');
            if (dot && (dot[1] == 'j' || dot[1] == 'J')) return true;
        }
    return false;
}
const char *image_source_folder(const ImageSource *s, size_t index, size_t *len) {
    const ImagePart *p = part_of(s, index);
    size_t k = index - p->first;
    const char *name = p->npz ? "" : p->file ? p->file[k] : p->entry[k]->name, *slash = strchr(name, '/');
    *len = slash ? (size_t)(slash - name) : 0;
    return slash ? name : NULL;
}
/* What is done with image k of a part, the i-th of those that are wanted; *bytes: of its pixels. */
typedef struct {
    bool (*of_array)(const ImageSource *s, ImagePart *p, size_t k, size_t i, const void *context, Error *e);
    bool (*of_file)(const ImageSource *s, const ImagePart *p, size_t k, size_t i, const void *context, size_t *bytes, Error *e);
    const void *context;
} Work;
/* Arrays one after the other, as they stream; files on all processors. */
static bool work_on(ImageSource *s, const size_t *index, size_t n, const Work *w, Error *e) {
    size_t wrong = n, files = 0, total = 0;
    for (size_t i = 0; i < n; i++) {
        DG_CHECK(index[i] < s->count, "image %zu of %zu", index[i], s->count);
        ImagePart *p = part_of(s, index[i]);
        files += !p->npz;
        if (p->npz && !w->of_array(s, p, index[i] - p->first, i, w->context, e)) return false;
    }
    if (!files) return true;
#pragma omp parallel for schedule(dynamic) reduction(+ : total) if (n > 1)
    for (size_t i = 0; i < n; i++) {
        Error own = {""};
        size_t bytes = 0;
        const ImagePart *p = part_of(s, index[i]);
        bool ok = p->npz || w->of_file(s, p, index[i] - p->first, i, w->context, &bytes, &own);
        total += bytes;
        if (ok) continue;
#pragma omp critical(image_source_error)
        if (i < wrong) { /* the sentence is that of the first, whoever is done first */
            wrong = i;
            if (e) *e = own;
        }
    }
    if ((s->since += total) >= FORGET_BYTES) {
        s->since = 0;
        for (int i = 0; i < s->parts; i++)
            if (s->part[i].zip) zip_let_go(s->part[i].zip);
    }
    return wrong == n;
}

static size_t bytes_of(const ImageSource *s) { return (size_t)s->height * (size_t)s->width * 3; }
static bool copy_array(const ImageSource *s, ImagePart *p, size_t k, size_t i, const void *pixels, Error *e) {
    return read_array(p, k, *(uint8_t *const *)pixels + i * bytes_of(s), e);
}
static bool copy_file(const ImageSource *s, const ImagePart *p, size_t k, size_t i, const void *pixels, size_t *bytes, Error *e) {
    *bytes = bytes_of(s);
    return read_file(s, p, k, *(uint8_t *const *)pixels + i * *bytes, e);
}
bool image_source_read(ImageSource *s, const size_t *index, size_t n, uint8_t *pixels, Error *e) {
    return work_on(s, index, n, &(Work){copy_array, copy_file, &pixels}, e);
}

typedef struct {
    ImageSee see;
    void *context;
} Visit;
static bool visit_file(const ImageSource *s, const ImagePart *p, size_t k, size_t i, const void *visit, size_t *bytes, Error *e) {
    const Visit *v = visit;
    Loaded file;
    ImageFile image;
    char *name;
    uint8_t *pixels = NULL;
    bool ok = open_file(s, p, k, &name, &file, &image, e);
    if (ok) {
        *bytes = (size_t)image.height * (size_t)image.width * 3;
        ok = (pixels = malloc(*bytes)) || dg_error(e, "%s: there is no memory for its pixels", name);
    }
    ok = ok && image_file_read(file.data, file.bytes, name, &image, pixels, e);
    if (ok && !v->see(v->context, i, pixels, image.height, image.width, e)) ok = dg_error_context(e, "%s", name);
    free(pixels);
    unload(&file);
    free(name);
    return ok;
}
static bool visit_array(const ImageSource *s, ImagePart *p, size_t k, size_t i, const void *visit, Error *e) {
    const Visit *v = visit;
    int height = (int)p->head.shape[1], width = (int)p->head.shape[2];
    uint8_t *pixels = dg_alloc((size_t)height * (size_t)width * 3);
    bool ok = read_array(p, k, pixels, e);
    if (ok && !v->see(v->context, i, pixels, height, width, e)) {
        char *name = image_source_name(s, p->first + k);
        ok = dg_error_context(e, "%s", name);
        free(name);
    }
    free(pixels);
    return ok;
}
bool image_source_visit(ImageSource *s, const size_t *index, size_t n, ImageSee see, void *context, Error *e) {
    return work_on(s, index, n, &(Work){visit_array, visit_file, &(Visit){see, context}}, e);
}
