/* grid_file.c -- the file of --grid. */
#include "program/grid_file.h"
#include "base/folder.h"
#include "files/store_names.h"
#include "weights_tools/weights_tools.h"
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static bool same_file(const char *a, const char *b) {
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}
/* Whether the file of this name in `folder` would be one of dg_cuda's, or would look like one. */
static bool is_record(const char *folder, const char *name, const char *outdir) {
    uint64_t seed;
    NameKind kind = store_name(name, &seed);
    if (kind == NAME_OTHER && strcmp(name, "manifest.json") && strncmp(name, ".dg_cuda.", 9)) return false;
    bool ours = outdir && same_file(folder, outdir);
    const char *last = strrchr(folder, '/');
    char *manifest = path_join(folder, "manifest.json"), *above = path_join(folder, "..");
    struct stat s;
    ours |= lstat(manifest, &s) == 0;
    if (!ours && last && store_name(last + 1, &seed) == NAME_THOUSAND) ours = is_record(above, name, outdir);
    free(manifest), free(above);
    return ours;
}
bool output_file_check(const char *option, const char *noun, const char *path, const char *outdir, const char *const *input, int inputs,
                       Error *e) {
    if (is_input(path, input, inputs)) return dg_error(e, "--%s %s is a file that is read: give the %s another name", option, path, noun);
    if (outdir && !make_folders(outdir, e)) return false;
    char *copy = out_target(path), *slash = strrchr(copy, '/');
    const char *name = slash ? slash + 1 : copy;
    if (slash) *slash = 0;
    char *folder = realpath(!slash ? "." : slash == copy ? "/" : copy, NULL);
    bool record = folder && is_record(folder, name, outdir);
    free(copy), free(folder);
    return !record ||
           dg_error(e, "--%s %s would be an image or a record of a folder of images: give the %s another name", option, path, noun);
}

/* The folder and the name that a path leads to, whether or not there is a file; the folder may be new. */
static char *place_of(const char *path) {
    Text t = {0};
    char *target = out_target(path), *slash = strrchr(target, '/');
    if (slash) *slash = 0;
    const char *folder = !slash ? "." : slash == target ? "/" : target;
    char *real = realpath(folder, NULL);
    text_printf(&t, "%s/%s", real ? real : folder, slash ? slash + 1 : target);
    free(real), free(target);
    return t.text;
}
bool same_target(const char *a, const char *b) {
    char *x = place_of(a), *y = place_of(b);
    bool same = !strcmp(x, y) || is_input(a, &b, 1);
    free(x), free(y);
    return same;
}

struct GridFile {
    ImageGrid grid;
    OutFile *file;
    char *path;
};
GridFile *grid_file_open(const char *path, const ImageGrid *layout, Error *e) {
    if (!make_parent(path, e)) return NULL;
    file_remove_strays(path);
    OutFile *file = out_open(path, e);
    if (!file) return NULL;
    GridFile *f = dg_alloc(sizeof *f);
    *f = (GridFile){*layout, file, dg_strdup(path)};
    if (grid_begin(&f->grid, e)) return f;
    grid_file_abandon(f);
    return NULL;
}
ImageGrid *grid_file_grid(GridFile *f) { return &f->grid; }
static void release(GridFile *f) {
    grid_free(&f->grid);
    free(f->path);
    free(f);
}
bool grid_file_finish(GridFile *f, Error *e) {
    const ImageGrid *g = &f->grid;
    bool ok = image_put_png(f->file, f->path, g->pixels, g->height, g->width, g->channels, e);
    if (ok) ok = out_finish(f->file, e);
    else out_abandon(f->file);
    release(f);
    return ok;
}
void grid_file_abandon(GridFile *f) {
    if (!f) return;
    out_abandon(f->file);
    release(f);
}
