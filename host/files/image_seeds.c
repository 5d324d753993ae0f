/* image_seeds.c -- the seeds of a set of images that dg_cuda made: of the names of its PNG files, where its manifest lies above them, and of
 * the array beside an array of images. */
#include "base/folder.h"
#include "base/seeds.h"
#include "files/image_parts.h"
#include "files/store_names.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool seeds_of_files(const ImagePart *p, uint64_t *seed) {
    if (!p->file) return false;
    char *manifest = path_join(p->path, "manifest.json");
    bool ours = access(manifest, F_OK) == 0;
    free(manifest);
    for (size_t k = 0; ours && k < p->count; k++) {
        const char *slash = strrchr(p->file[k], '/');
        ours = store_name(slash ? slash + 1 : p->file[k], &seed[k]) == NAME_PNG;
    }
    return ours;
}
static bool seeds_of_array(const ImagePart *p, uint64_t *seed) {
    NpyArray a = {0};
    bool ok = npz_has(p->npz, "seeds") && npz_read(p->npz, "seeds", &a, NULL) && a.dtype == 'u' && a.bytes == 8 && a.count == p->count;
    if (ok) memcpy(seed, a.data, p->count * sizeof *seed);
    npy_free(&a);
    return ok;
}
bool image_source_seeds(const ImageSource *s, uint64_t *seed) {
    bool ok = true;
    SeedList all = {0};
    for (int i = 0; i < s->parts && ok; i++) {
        const ImagePart *p = &s->part[i];
        ok = p->npz ? seeds_of_array(p, seed + p->first) : seeds_of_files(p, seed + p->first);
    }
    for (size_t i = 0; ok && i < s->count; i++) seeds_add(&all, seed[i], 1);
    seeds_sort(&all);
    ok = ok && all.count == s->count;
    seeds_free(&all);
    return ok;
}
