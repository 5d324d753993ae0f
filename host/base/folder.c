/* folder.c -- paths, folders that are made when they are missing, and the folder for what can be made again. */
#include "base/folder.h"
#include "base/file.h"
#include "base/unfinished.h"
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

char *path_join(const char *dir, const char *name) {
    size_t n = strlen(dir) + strlen(name) + 2;
    char *path = dg_alloc(n);
    snprintf(path, n, "%s/%s", dir, name);
    return path;
}
bool make_folders(const char *path, Error *e) {
    char *copy = dg_strdup(path);
    bool ok = true;
    for (char *s = copy + 1; ok && *copy; s++) {
        if (*s != '/' && *s) continue;
        char c = *s;
        *s = 0;
        if (mkdir(copy, 0777) != 0 && errno != EEXIST) ok = dg_error(e, "%s: cannot make the folder: %s", copy, strerror(errno));
        *s = c;
        if (!c) break;
    }
    struct stat st;
    if (ok && (stat(path, &st) != 0 || !S_ISDIR(st.st_mode))) ok = dg_error(e, "%s: it exists and is not a folder", path);
    free(copy);
    return ok;
}
bool make_parent(const char *file, Error *e) {
    char *copy = dg_strdup(file), *slash = strrchr(copy, '/');
    if (slash) *slash = 0;
    bool ok = !slash || slash == copy || make_folders(copy, e);
    free(copy);
    return ok;
}
void folder_remove_strays(const char *dir, const char *name) {
    DIR *d = opendir(dir);
    for (struct dirent *entry; d && (entry = readdir(d));) {
        size_t n = file_unfinished(entry->d_name);
        bool cut = name && n < strlen(name) && strlen(entry->d_name) == NAME_MAX;
        if (!n || (name && ((n != strlen(name) && !cut) || memcmp(name, entry->d_name, n)))) continue;
        char *path = path_join(dir, entry->d_name);
        file_remove_stray(path);
        free(path);
    }
    if (d) closedir(d);
}
void file_remove_strays(const char *file) {
    const char *slash = strrchr(file, '/');
    char *dir = slash ? dg_strdup(file) : dg_strdup(".");
    if (slash) dir[slash == file ? 1 : slash - file] = 0;
    folder_remove_strays(dir, slash ? slash + 1 : file);
    free(dir);
}
char *cache_folder(void) {
    const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    if (cache && *cache == '/') return path_join(cache, "dg_cuda");
    return home && *home == '/' ? path_join(home, ".cache/dg_cuda") : NULL;
}
bool out_ready(const char *file, bool overwrite, Error *e) {
    if (!overwrite && access(file, F_OK) == 0) return dg_error(e, "%s exists: give --out another name, or --overwrite to replace it", file);
    if (!out_check(file, e)) return false;
    file_remove_strays(file);
    return true;
}
