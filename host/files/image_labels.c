/* image_labels.c -- the classes of a set of images: EDM's dataset.json, and the arrays beside arrays of images. */
#include "base/json.h"
#include "base/folder.h"
#include "files/image_parts.h"
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST_LIST = 1 << 28 };
static const char list_name[] = "dataset.json"; /* {"labels": [["00000/img00000000.png", 6], ...]}, or null */

static const char *file_name(const ImagePart *p, size_t k) { return p->file ? p->file[k] : p->entry[k]->name; }
/* The place of a file in the part; its count where there is none. */
static size_t find_file(const ImagePart *p, const char *name) {
    size_t low = 0, high = p->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        int order = strcmp(file_name(p, middle), name);
        if (!order) return middle;
        if (order < 0) low = middle + 1;
        else high = middle;
    }
    return p->count;
}
static bool is_class(double v) { return v >= 0 && v <= INT_MAX && v == (double)(int)v; }
static bool read_list(const ImagePart *p, const Json *all, int *label, Error *e) {
    const Json *list = json_get(all, "labels");
    if (!list || list->kind == JSON_NULL) return true;
    if (list->kind != JSON_ARRAY) return dg_error(e, "%s: %s: \"labels\" is no list", p->path, list_name);
    for (const Json *pair = list->child; pair; pair = pair->next) {
        const Json *name = pair->kind == JSON_ARRAY && pair->count == 2 ? pair->child : NULL, *class = name ? name->next : NULL;
        if (!name || name->kind != JSON_STRING || class->kind != JSON_NUMBER || !is_class(class->number))
            return dg_error(e, "%s: %s: \"labels\" is no list of pairs of a file's name and its class", p->path, list_name);
        size_t k = find_file(p, name->string);
        if (k < p->count) label[k] = (int)class->number;
    }
    return true;
}
static bool labels_of_files(const ImagePart *p, int *label, Error *e) {
    Json *all = NULL;
    bool ok = true;
    if (p->zip) {
        const ZipEntry *entry = zip_find(p->zip, list_name);
        if (!entry) return true;
        if (entry->bytes > MOST_LIST) return dg_error(e, "%s: %s has %llu bytes", p->path, list_name, (unsigned long long)entry->bytes);
        char *text = dg_alloc((size_t)entry->bytes + 1);
        ok = zip_read(p->zip, entry, text, e);
        if (ok && !(all = json_parse(text, (size_t)entry->bytes, e))) ok = dg_error_context(e, "%s: %s", p->path, list_name);
        free(text);
    } else {
        char *path = path_join(p->path, list_name);
        if (access(path, F_OK) == 0) ok = (all = json_parse_file(path, e)) != NULL;
        free(path);
    }
    ok = ok && (!all || read_list(p, all, label, e));
    json_free(all);
    return ok;
}
/* [n] classes (DG's ImageNet code writes n times "none" behind them), or [n][classes] rows; a row of zeros is none. */
static bool labels_of_array(const ImagePart *p, int *label, Error *e) {
    const char *name = npz_has(p->npz, "arr_1") ? "arr_1" : "label";
    NpyArray a;
    if (!npz_has(p->npz, name)) return true;
    if (!npz_read(p->npz, name, &a, e)) return false;
    bool rows = a.dims == 2, ok = (a.dims == 1 || rows) && a.shape[0] >= (int64_t)p->count && (!rows || a.shape[0] == (int64_t)p->count);
    size_t classes = rows ? (size_t)a.shape[1] : 1;
    if (!ok) dg_error(e, "%s: array %s has no class for each of the %zu images", p->path, name, p->count);
    for (size_t i = 0; ok && i < p->count; i++) {
        double v = rows ? npy_one_hot(&a, i, classes) : npy_value(&a, i);
        if (rows && v == NPY_NOT_ONE_HOT)
            ok = dg_error(e, "%s: array %s: row %zu is not one-hot: neither a 1 among zeros nor zeros alone", p->path, name, i);
        else if (!rows && !is_class(v)) ok = dg_error(e, "%s: array %s: value %zu is %g, and no class", p->path, name, i, v);
        else label[i] = (int)v;
    }
    npy_free(&a);
    return ok;
}
bool image_source_labels(ImageSource *s, int *label, Error *e) {
    bool ok = true;
    for (size_t i = 0; i < s->count; i++) label[i] = -1;
    for (int i = 0; i < s->parts && ok; i++) {
        const ImagePart *p = &s->part[i];
        ok = p->npz ? labels_of_array(p, label + p->first, e) : labels_of_files(p, label + p->first, e);
    }
    return ok;
}
