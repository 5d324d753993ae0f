/* cache.c -- the folder of conversions: what lies in it, whether a conversion is still what was written, and clearing it. */
#include "weights_tools/cache.h"
#include "base/crc32.h"
#include "base/file.h"
#include "base/folder.h"
#include "base/unfinished.h"
#include "weights_tools/package.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char SUFFIX[] = ".safetensors";

char *conversions_folder(const char *cache) {
    if (!cache) return cache_folder();
    return strcmp(cache, "off") ? dg_strdup(cache) : NULL;
}
/* NAME-DIGITS.safetensors, of n bytes; earlier versions of the program had 16 digits. */
static bool is_conversion(const char *name, size_t n) {
    enum { DIGITS = 32, EARLIER = 16 };
    size_t suffix = sizeof SUFFIX - 1, digits = 0;
    if (n < suffix || memcmp(name + n - suffix, SUFFIX, suffix)) return false;
    for (n -= suffix; n && strchr("0123456789abcdef", name[n - 1]); n--) digits++;
    return n && name[n - 1] == '-' && (digits == DIGITS || digits == EARLIER);
}
void conversions_remove_strays(const char *folder) {
    DIR *d = opendir(folder);
    for (struct dirent *x; d && (x = readdir(d));) {
        if (!is_conversion(x->d_name, file_unfinished(x->d_name))) continue;
        char *path = path_join(folder, x->d_name);
        file_remove_stray(path);
        free(path);
    }
    if (d) closedir(d);
}
/* What the file says that it was converted from; false: it is whole, and none of ours. */
static bool source_of(const char *path, char **source) {
    SafeTensors *s = st_open(path, NULL);
    const char *name = s ? st_metadata(s, "source") : "a damaged file";
    bool ours = name && (!s || st_metadata(s, "source_sha256"));
    *source = dg_strdup(ours ? name : "");
    st_close(s);
    return ours;
}
static int by_name(const void *a, const void *b) {
    return strcmp(((const CachedConversion *)a)->name, ((const CachedConversion *)b)->name);
}
int conversions_list(const char *folder, CachedConversion **out) {
    int n = 0;
    DIR *d = opendir(folder);
    *out = NULL;
    for (struct dirent *x; d && (x = readdir(d));) {
        struct stat s;
        if (!is_conversion(x->d_name, strlen(x->d_name)) || fstatat(dirfd(d), x->d_name, &s, AT_SYMLINK_NOFOLLOW) != 0 ||
            !S_ISREG(s.st_mode))
            continue;
        char *path = path_join(folder, x->d_name), *source;
        bool ours = source_of(path, &source);
        free(path);
        if (!ours) {
            free(source);
            continue;
        }
        if ((n & (n - 1)) == 0) *out = dg_realloc(*out, (size_t)(n ? 2 * n : 1) * sizeof **out);
        (*out)[n++] = (CachedConversion){.name = dg_strdup(x->d_name), .source = source, .bytes = (uint64_t)s.st_size};
    }
    if (d) closedir(d);
    if (n) qsort(*out, (size_t)n, sizeof **out, by_name);
    return n;
}
void conversions_free(CachedConversion *c, int n) {
    for (int i = 0; i < n; i++) free(c[i].name), free(c[i].source);
    free(c);
}
bool conversions_clear(const char *folder, int *files, uint64_t *bytes, Error *e) {
    CachedConversion *c;
    int n = conversions_list(folder, &c);
    bool ok = true;
    *files = 0, *bytes = 0;
    conversions_remove_strays(folder);
    for (int i = 0; i < n && ok; i++) {
        char *path = path_join(folder, c[i].name);
        if (unlink(path) == 0) ++*files, *bytes += c[i].bytes;
        else if (errno != ENOENT) ok = dg_error(e, "%s: cannot remove: %s", path, strerror(errno));
        free(path);
    }
    conversions_free(c, n);
    return ok;
}
SafeTensors *conversion_open(const char *path, const char *source_sha256) {
    SafeTensors *s = st_open(path, NULL);
    const char *check = s ? st_metadata(s, CONTENT_CHECK) : NULL, *source = s ? st_metadata(s, "source_sha256") : NULL;
    size_t header = 0;
    bool same = check && strlen(check) == sizeof CONTENT_CHECK_BLANK - 1 && source && !strcmp(source, source_sha256) && s->metadata &&
                st_metadata(s, "config");
    for (int i = 7; same && i >= 0; i--) header = header << 8 | s->map.data[i];
    if (same) {
        char *text = dg_alloc(header + 1), *at, sums[sizeof CONTENT_CHECK_BLANK];
        memcpy(text, s->map.data + 8, header);
        if ((at = strstr(text, check))) memcpy(at, CONTENT_CHECK_BLANK, sizeof CONTENT_CHECK_BLANK - 1);
        snprintf(sums, sizeof sums, "%08x%08x", crc32_of(0, text, header),
                 crc32_of(0, s->map.data + 8 + header, s->map.bytes - 8 - header));
        same = at && !strcmp(sums, check);
        free(text);
    }
    if (same) return s;
    st_close(s);
    return NULL;
}
