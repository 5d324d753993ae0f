/* store_names.c -- the names of an output folder. */
#include "files/store_names.h"
#include "base/file.h"
#include "base/folder.h"
#include "base/unfinished.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SEED_DIGITS = 6, PER_FOLDER = 1000, LOOK_EVERY = 1024 };

/* The number that a name begins with, written as the store writes it: six digits or more, and no more zeros than that. */
static size_t read_number(const char *s, uint64_t *out) {
    size_t n = strspn(s, "0123456789");
    if (n < SEED_DIGITS || (n > SEED_DIGITS && s[0] == '0')) return 0;
    errno = 0;
    *out = strtoull(s, NULL, 10);
    return errno ? 0 : n;
}
static bool is_part(const char *name, size_t length) {
    uint64_t number;
    if (strncmp(name, "part-", 5)) return false;
    size_t n = 5, first = read_number(name + n, &number);
    n += first;
    if (!first || name[n++] != '-') return false;
    size_t last = read_number(name + n, &number);
    return last && n + last + 4 == length && !strncmp(name + n + last, ".npz", 4);
}
static NameKind whole_name(const char *name, size_t length, uint64_t *seed) {
    size_t n = read_number(name, seed);
    if (n && n == length) return *seed % PER_FOLDER ? NAME_OTHER : NAME_THOUSAND;
    if (n && n + 4 == length && !strncmp(name + n, ".png", 4)) return NAME_PNG;
    if (length == 11 && !strncmp(name, "samples.npz", 11)) return NAME_MERGED;
    return is_part(name, length) ? NAME_PART : NAME_OTHER;
}
NameKind store_name(const char *name, uint64_t *seed) {
    size_t finished = file_unfinished(name);
    if (!finished) return whole_name(name, strlen(name), seed);
    if (finished == 13 && !strncmp(name, "manifest.json", 13)) return NAME_STRAY;
    NameKind kind = whole_name(name, finished, seed);
    return kind == NAME_OTHER || kind == NAME_THOUSAND ? NAME_OTHER : NAME_STRAY;
}

static Outcome walk(const char *dir, bool top, bool follow, const Interrupt *i, EntryFn each, void *ctx, Error *e) {
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC | (follow || top ? 0 : O_NOFOLLOW));
    DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
    if (!d) {
        bool not_a_folder = !top && (errno == ENOTDIR || errno == ELOOP);
        if (!not_a_folder) dg_error(e, "%s: cannot read the folder: %s", dir, strerror(errno));
        if (fd >= 0) close(fd);
        return not_a_folder ? OUTCOME_DONE : OUTCOME_FAILED;
    }
    Outcome outcome = OUTCOME_DONE;
    struct dirent *entry;
    for (size_t k = 0; outcome == OUTCOME_DONE && (entry = readdir(d)); k++) {
        FolderEntry x = {.folder = dir, .name = entry->d_name, .fd = fd};
        x.kind = store_name(x.name, &x.seed);
        if (k % LOOK_EVERY == 0 && interrupted(i)) outcome = OUTCOME_INTERRUPTED;
        if (x.kind == NAME_OTHER || (!top && x.kind == NAME_THOUSAND) || outcome != OUTCOME_DONE) continue;
        if (x.kind == NAME_THOUSAND) {
            char *below = path_join(dir, x.name);
            outcome = walk(below, false, follow, i, each, ctx, e);
            free(below);
        }
        if (outcome == OUTCOME_DONE && !each(ctx, &x, e)) outcome = OUTCOME_FAILED;
    }
    closedir(d);
    return outcome;
}
Outcome store_walk(const char *dir, bool follow, const Interrupt *i, EntryFn each, void *ctx, Error *e) {
    return walk(dir, true, follow, i, each, ctx, e);
}
