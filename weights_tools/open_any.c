/* open_any.c -- weight files of any format as weights: what is not ready is converted once, into the cache. */
#include "base/folder.h"
#include "weights_tools/package.h"
#include "base/version.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static uint64_t fnv(uint64_t h, const void *data, size_t bytes) {
    for (size_t i = 0; i < bytes; i++) h = (h ^ ((const uint8_t *)data)[i]) * 0x100000001b3u;
    return h;
}
static uint64_t fnv_text(uint64_t h, const char *s) { return s ? fnv(h, s, strlen(s) + 1) : fnv(h, "\1", 1); }
/* The file's name says what was converted, and how: another file, another time or other options give another name. */
static char *cache_path(const char *path, const ConvertOptions *o, Error *e) {
    struct stat s;
    char *real = realpath(path, NULL), *folder = NULL;
    Text t = {0};
    if (!real || stat(real, &s) != 0) {
        dg_error(e, "%s: cannot open: %s", path, strerror(errno));
    } else if (!(folder = cache_folder())) {
        dg_error(e, "neither XDG_CACHE_HOME nor HOME names a folder to keep converted weights in: use \"dg_cuda convert\"");
    } else if (make_folders(folder, e)) {
        ConvertOptions c = o ? *o : (ConvertOptions){.key = NULL};
        int64_t facts[] = {s.st_size, s.st_mtim.tv_sec, s.st_mtim.tv_nsec, c.dtype, c.num_head_channels, c.num_heads, c.image_size};
        uint64_t h = fnv_text(fnv(fnv_text(0xcbf29ce484222325u, DG_VERSION), facts, sizeof facts), real);
        h = fnv_text(fnv_text(fnv_text(fnv_text(h, c.key), c.time), c.precond), c.attention_order);
        const char *slash = strrchr(real, '/');
        text_printf(&t, "%s/%s-%016llx.safetensors", folder, slash + 1, (unsigned long long)h);
    }
    free(real);
    free(folder);
    return t.text;
}
/* A safetensors file with its configuration is used as it is: *ready. True with *ready NULL: a file to convert. */
static bool open_ready(const char *path, SafeTensors **ready, Error *e) {
    FileMap m;
    *ready = NULL;
    if (!file_map(path, &m, e)) return false;
    if (!checkpoint_is_native(&m)) {
        file_unmap(&m);
        return true;
    }
    if (!(*ready = st_of_map(&m, path, e))) return false;
    if (st_metadata(*ready, "config")) return true;
    st_close(*ready);
    *ready = NULL;
    return true;
}
Weights *weights_open_any(const char *path, const ConvertOptions *o, char *notice, size_t notice_bytes, Error *e) {
    SafeTensors *ready;
    if (notice_bytes) notice[0] = 0;
    if (!open_ready(path, &ready, e)) return NULL;
    if (ready) return weights_of_file(ready, e);
    char *cached = cache_path(path, o, e);
    if (!cached) return NULL;
    Error unreadable; /* absent, or cut short: made again */
    ConvertOptions kept = o ? *o : (ConvertOptions){.key = NULL};
    kept.sync = true;
    Weights *w = weights_open(cached, &unreadable);
    Text notes = {0};
    if (w) {
        snprintf(notice, notice_bytes, "%s: using its conversion of before, %s", path, cached);
    } else if (convert(&path, 1, cached, &kept, &notes, e)) {
        for (char *at = notes.text; at && *at; at++)
            if (*at == '\n') *at = at[1] ? ';' : 0;
        snprintf(notice, notice_bytes, "%s: converted once, to %s%s%s", path, cached, notes.len ? ": " : "", notes.len ? notes.text : "");
        w = weights_open(cached, e);
    }
    text_free(&notes);
    free(cached);
    return w;
}
