/* claims.c -- the lock of an output folder, and the files that say who makes what in it. */
#include "files/claims.h"
#include "base/file.h"
#include "base/folder.h"
#include "base/json.h"
#include "base/unfinished.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* ---- the lock ----------------------------------------------------------------------------------------------------------------- */
struct FolderLock {
    char *dir, *path;
    int fd;
    bool works;
};
enum { WAIT_MS = 10, SAY_AFTER_MS = 2000 };

FolderLock *folder_lock_new(const char *dir) {
    FolderLock *l = dg_alloc(sizeof *l);
    *l = (FolderLock){.dir = dg_strdup(dir), .path = path_join(dir, ".dg_cuda.lock"), .fd = -1};
    return l;
}
void folder_lock_free(FolderLock *l) {
    if (!l) return;
    folder_unlock(l);
    free(l->path), free(l->dir);
    free(l);
}
typedef enum { LOCK_TAKEN, LOCK_BUSY, LOCK_READ_ONLY, LOCK_FAILED } LockState;
/* Whether the file is still there under its name: whoever leaves a folder to nobody takes the lock's file along. */
static bool is_current(const FolderLock *l) {
    struct stat mine, there;
    return fstat(l->fd, &mine) == 0 && stat(l->path, &there) == 0 && mine.st_ino == there.st_ino && mine.st_dev == there.st_dev;
}
static LockState try_lock(FolderLock *l) {
    for (;;) {
        if (l->fd < 0) l->fd = open(l->path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
        if (l->fd < 0) return errno == EACCES || errno == EROFS ? LOCK_READ_ONLY : LOCK_FAILED;
        int failed = flock(l->fd, LOCK_EX | LOCK_NB);
        if (failed && errno == EINTR) continue;
        if (failed && errno == EWOULDBLOCK) return LOCK_BUSY;
        l->works = !failed;
        if (failed || is_current(l)) return LOCK_TAKEN;
        folder_unlock(l);
    }
}
Outcome folder_lock(FolderLock *l, const Interrupt *i, Error *e) {
    for (int waited = 0;; waited += WAIT_MS) {
        LockState state = try_lock(l);
        if (state == LOCK_FAILED) return dg_error(e, "%s: cannot lock the folder: %s", l->path, strerror(errno)), OUTCOME_FAILED;
        if (state != LOCK_BUSY) return OUTCOME_DONE;
        if (interrupted(i)) return OUTCOME_INTERRUPTED;
        if (waited == SAY_AFTER_MS) {
            print_text(stdout, l->dir);
            printf(": waiting for another run that is working on the folder\n");
            fflush(stdout);
        }
        nanosleep(&(struct timespec){0, WAIT_MS * 1000000}, NULL);
    }
}
bool folder_lock_now(FolderLock *l) { return try_lock(l) == LOCK_TAKEN; }
void folder_unlock(FolderLock *l) {
    if (l->fd >= 0) close(l->fd);
    l->fd = -1;
}
void folder_lock_remove(FolderLock *l) {
    if (l->works && folder_lock_now(l)) {
        Claims c;
        bool alone = claims_read(&c, l->dir, NULL) && c.count == 0;
        if (alone) unlink(l->path);
        claims_free(&c);
    }
    folder_unlock(l);
}
bool folder_lock_works(const FolderLock *l) { return l->works; }

/* ---- claims ------------------------------------------------------------------------------------------------------------------- */
static const char CLAIM[] = ".dg_cuda.run-";
struct ClaimFile {
    char *path, *run, *seeds;
    size_t present;
    int fd;
};
static void claim_free(Claim *c) {
    free(c->path), free(c->run);
    seeds_free(&c->seeds);
    *c = (Claim){0};
}
/* False: the file says nothing that can be used, its writer died over it. */
static bool read_claim(const char *path, Claim *c) {
    const char *run = NULL, *seeds = NULL;
    uint64_t present = 0;
    Json *j = json_parse_file(path, NULL);
    *c = (Claim){0};
    bool ok = j && json_get_string(j, "run", NULL, &run, NULL) && json_get_string(j, "seeds", NULL, &seeds, NULL) && run && seeds &&
              json_u64(json_get(j, "already there"), &present) && json_get_bool(j, "alone", false, &c->alone, NULL) &&
              seeds_parse(seeds, &c->seeds, NULL);
    if (ok) {
        seeds_sort(&c->seeds);
        c->path = dg_strdup(path), c->run = dg_strdup(run), c->present = (size_t)present;
    }
    json_free(j);
    return ok;
}
bool claims_read(Claims *out, const char *dir, Error *e) {
    *out = (Claims){0};
    DIR *d = opendir(dir);
    if (!d) return dg_error(e, "%s: cannot read the folder: %s", dir, strerror(errno));
    for (struct dirent *entry; (entry = readdir(d));) {
        if (strncmp(entry->d_name, CLAIM, sizeof CLAIM - 1)) continue;
        char *path = path_join(dir, entry->d_name);
        bool dead = file_abandoned(path);
        Claim c;
        if (read_claim(path, &c)) {
            c.live = !dead;
            out->claim = dg_realloc(out->claim, (size_t)(out->count + 1) * sizeof *out->claim);
            out->claim[out->count++] = c;
        } else if (dead) unlink(path);
        free(path);
    }
    closedir(d);
    return true;
}
void claims_free(Claims *c) {
    for (int i = 0; i < c->count; i++) claim_free(&c->claim[i]);
    free(c->claim);
    *c = (Claims){0};
}
static bool write_claim(const ClaimFile *c, bool alone, Error *e) {
    Text t = {0};
    text_printf(&t, "{\"run\": ");
    text_json_string(&t, c->run);
    text_printf(&t, ", \"seeds\": ");
    text_json_string(&t, c->seeds);
    text_printf(&t, ", \"already there\": %zu, \"alone\": %s}\n", c->present, alone ? "true" : "false");
    bool ok = ftruncate(c->fd, 0) == 0 && pwrite(c->fd, t.text, t.len, 0) == (ssize_t)t.len;
    if (!ok) dg_error(e, "%s: writing failed: %s", c->path, strerror(errno));
    text_free(&t);
    return ok;
}
ClaimFile *claim_make(const char *dir, const char *run, const char *seeds, size_t present, bool alone, Error *e) {
    ClaimFile *c = dg_alloc(sizeof *c);
    *c = (ClaimFile){.run = dg_strdup(run), .seeds = dg_strdup(seeds), .present = present, .fd = -1};
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    for (int i = 0; i < 1000 && c->fd < 0; i++) {
        char name[96]; /* that no claim had before: who found a dead one removes it later, by its name */
        snprintf(name, sizeof name, "%s%ld-%lld%09ld-%d", CLAIM, (long)getpid(), (long long)now.tv_sec, now.tv_nsec, i);
        free(c->path);
        c->path = path_join(dir, name);
        c->fd = open(c->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (c->fd < 0 && errno != EEXIST) break;
    }
    if (c->fd < 0) dg_error(e, "%s: cannot write: %s", c->path, strerror(errno));
    else if (flock(c->fd, LOCK_EX | LOCK_NB) != 0) dg_error(e, "%s: cannot lock: %s", c->path, strerror(errno));
    else if (write_claim(c, alone, e)) return c;
    claim_release(c, true);
    return NULL;
}
bool claim_settle(ClaimFile *c, Error *e) {
    c->present = 0;
    return write_claim(c, false, e);
}
void claim_release(ClaimFile *c, bool counted) {
    if (!c) return;
    if (c->fd >= 0 && counted) unlink(c->path);
    if (c->fd >= 0) close(c->fd);
    free(c->path), free(c->run), free(c->seeds);
    free(c);
}
