/* file.c -- mapping a file for reading; writing one under a temporary name, fsync, rename. */
#include "base/file.h"
#include "base/folder.h"
#include "base/unfinished.h"
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static bool is_address(const char *path) { /* https://..., gs://... */
    size_t n = 0;
    while (isalnum((unsigned char)path[n])) n++;
    return n > 1 && !strncmp(path + n, "://", 3);
}
bool file_map(const char *path, FileMap *m, Error *e) {
    *m = (FileMap){NULL, 0};
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe that nobody writes to would wait for ever */
    if (fd < 0 && errno == ENOENT && is_address(path))
        return dg_error(e, "%s: cannot open: dg_cuda downloads nothing: fetch the file and give its path", path);
    if (fd < 0) return dg_error(e, "%s: cannot open: %s", path, strerror(errno));
    struct stat s;
    const char *why = NULL;
    if (fstat(fd, &s) != 0) why = strerror(errno);
    else if (!S_ISREG(s.st_mode)) why = "it is not a regular file";
    else if (s.st_size > 0) {
        void *p = mmap(NULL, (size_t)s.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (p == MAP_FAILED) why = strerror(errno);
        else *m = (FileMap){p, (size_t)s.st_size};
    }
    if (why) dg_error(e, "%s: cannot read: %s", path, why);
    close(fd);
    return why == NULL;
}
void file_unmap(FileMap *m) {
    if (m->data) munmap((void *)(uintptr_t)m->data, m->bytes);
    *m = (FileMap){NULL, 0};
}
void file_let_go(const void *mapped, size_t bytes) {
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), first = ((uintptr_t)mapped + page - 1) / page * page;
    uintptr_t end = ((uintptr_t)mapped + bytes) / page * page;
    if (end > first) madvise((void *)first, end - first, MADV_DONTNEED);
}

enum {
    BUFFER_BYTES = 1 << 16,
    FLUSH_BYTES = 32 << 20 /* writing to the disk begins this often, so that the final fsync has little left to do */
};
struct OutFile {
    char *path, *temporary; /* path: where links lead to */
    bool replaces, sync;    /* a file that is there already; waiting for the disk */
    int fd;
    uint64_t flushed, started; /* bytes given to the kernel; bytes it was told to write out */
    size_t buffered;
    uint8_t buffer[BUFFER_BYTES];
};

/* ---- where to ----------------------------------------------------------------------------------------------------------- */
/* What it leads to may not be there yet. */
char *out_target(const char *path) {
    enum { MOST_LINKS = 40 }; /* as the kernel follows */
    char *now = dg_strdup(path), to[PATH_MAX];
    for (int i = 0; i < MOST_LINKS; i++) {
        ssize_t n = readlink(now, to, sizeof to - 1);
        if (n <= 0) break; /* not a link, or nothing */
        to[n] = 0;
        char *slash = strrchr(now, '/'), *next;
        if (slash && to[0] != '/') {
            slash[slash == now] = 0; /* "/" stays */
            next = path_join(now, to);
        } else next = dg_strdup(to);
        free(now);
        now = next;
    }
    return now;
}
/* Why what is there cannot be replaced, or NULL. */
static const char *keeps_place(const char *path, const struct stat *s) {
    if (S_ISDIR(s->st_mode)) return "it is a folder";
    if (S_ISCHR(s->st_mode) || S_ISBLK(s->st_mode)) return "it is a device, a file is wanted";
    if (!S_ISREG(s->st_mode)) return "it is a pipe or a socket, a file is wanted";
    for (int fd = STDOUT_FILENO; fd <= STDERR_FILENO; fd++) {
        struct stat open_file;
        if (fstat(fd, &open_file) == 0 && open_file.st_dev == s->st_dev && open_file.st_ino == s->st_ino)
            return "the program's messages go there: give a file of its own";
    }
    return faccessat(AT_FDCWD, path, W_OK, AT_EACCESS) == 0 ? NULL : strerror(errno);
}
OutFile *out_open(const char *path, Error *e) {
    struct stat s;
    bool replaces = stat(path, &s) == 0;
    const char *why = replaces ? keeps_place(path, &s) : errno != ENOENT ? strerror(errno) : NULL;
    if (why) {
        dg_error(e, "%s: cannot write: %s", path, why);
        return NULL;
    }
    OutFile *f = dg_alloc(sizeof *f);
    struct stat target;
    f->path = out_target(path);
    f->replaces = replaces, f->sync = true;
    size_t n = strlen(f->path) + 64;
    f->temporary = dg_alloc(n);
    if (replaces && (stat(f->path, &target) != 0 || target.st_dev != s.st_dev || target.st_ino != s.st_ino))
        errno = ENOENT, f->fd = -1; /* /proc/self/fd/N of a file that has no name any more */
    else f->fd = unfinished_create(f->temporary, n, f->path);
    if (f->fd >= 0) {
        if (replaces && fchmod(f->fd, s.st_mode & 07777) != 0) {} /* another owner's file, or a file system without modes */
        return f;
    }
    dg_error(e, "%s: cannot write: %s", path, strerror(errno));
    free(f->temporary);
    free(f->path);
    free(f);
    return NULL;
}
bool out_check(const char *path, Error *e) {
    OutFile *f = out_open(path, e);
    out_abandon(f);
    return f != NULL;
}
/* ---- writing ------------------------------------------------------------------------------------------------------------ */
void out_unsynced(OutFile *f) { f->sync = f->replaces; }

static bool write_at(const OutFile *f, uint64_t offset, const uint8_t *p, size_t bytes, Error *e) {
    while (bytes > 0) {
        ssize_t n = pwrite(f->fd, p, bytes, (off_t)offset);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EFAULT)
            return dg_error(e, "%s: writing failed: the file that is read for it became shorter meanwhile", f->path);
        if (n <= 0)
            return dg_error(e, "%s: writing failed after %llu bytes: %s", f->path, (unsigned long long)offset,
                            n < 0 ? strerror(errno) : "no space");
        p += n, bytes -= (size_t)n, offset += (uint64_t)n;
    }
    return true;
}
static bool append(OutFile *f, const uint8_t *p, size_t bytes, Error *e) {
    if (!write_at(f, f->flushed, p, bytes, e)) return false;
    f->flushed += bytes;
    if (f->sync && f->flushed - f->started >= FLUSH_BYTES) {
        sync_file_range(f->fd, (off_t)f->started, (off_t)(f->flushed - f->started), SYNC_FILE_RANGE_WRITE);
        f->started = f->flushed;
    }
    return true;
}
static bool flush(OutFile *f, Error *e) {
    size_t n = f->buffered;
    f->buffered = 0;
    return append(f, f->buffer, n, e);
}
bool out_write(OutFile *f, const void *data, size_t bytes, Error *e) {
    if (f->buffered + bytes > BUFFER_BYTES && !flush(f, e)) return false;
    if (bytes >= BUFFER_BYTES) return append(f, data, bytes, e);
    if (bytes) memcpy(f->buffer + f->buffered, data, bytes);
    f->buffered += bytes;
    return true;
}
bool out_patch(OutFile *f, uint64_t offset, const void *data, size_t bytes, Error *e) {
    DG_CHECK(offset + bytes <= out_position(f), "patch at %llu is past the end", (unsigned long long)offset);
    return flush(f, e) && write_at(f, offset, data, bytes, e);
}
uint64_t out_position(const OutFile *f) { return f->flushed + f->buffered; }

static void out_free(OutFile *f) {
    free(f->temporary);
    free(f->path);
    free(f);
}
static int open_directory(const char *path) { /* of the file */
    const char *slash = strrchr(path, '/');
    char *dir = slash ? dg_strdup(path) : dg_strdup(".");
    if (slash) dir[slash == path ? 1 : slash - path] = 0;
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    free(dir);
    return fd;
}
/* The rename itself reaches the disk only with the directory. */
static void sync_directory(const char *path) {
    int fd = open_directory(path);
    if (fd < 0) return;
    fsync(fd);
    close(fd);
}
static bool same_directory(const char *a, const char *b) {
    const char *x = strrchr(a, '/'), *y = strrchr(b, '/');
    size_t n = x ? (size_t)(x - a) : 0, m = y ? (size_t)(y - b) : 0;
    return n == m && !memcmp(a, b, n);
}
bool out_finish(OutFile *f, Error *e) {
    bool ok = flush(f, e);
    if (ok && f->sync && fsync(f->fd) != 0) ok = dg_error(e, "%s: writing failed: %s", f->path, strerror(errno));
    int kept = ok ? dup(f->fd) : -1; /* its lock, while close says whether writing failed; without it a stray could be seen here */
    if (close(f->fd) != 0 && ok) ok = dg_error(e, "%s: writing failed: %s", f->path, strerror(errno));
    if (ok && rename(f->temporary, f->path) != 0) ok = dg_error(e, "%s: cannot write: %s", f->path, strerror(errno));
    if (!ok) unlink(f->temporary);
    else if (f->sync) sync_directory(f->path);
    if (kept >= 0) close(kept);
    out_free(f);
    return ok;
}
bool out_settle(OutFile *f, Error *e) {
    if (!flush(f, e)) return false;
    sync_file_range(f->fd, 0, 0, SYNC_FILE_RANGE_WRITE);
    return true;
}
int out_finish_all(OutFile **f, int n, Error *e) {
    int finished = 0;
    bool ok = true;
    for (int i = 0; i < n && ok; i++)
        if (fsync(f[i]->fd) != 0) ok = dg_error(e, "%s: writing failed: %s", f[i]->path, strerror(errno));
    for (int i = 0; i < n; i++) {
        if (ok && rename(f[i]->temporary, f[i]->path) != 0) ok = dg_error(e, "%s: cannot write: %s", f[i]->path, strerror(errno));
        if (ok) finished++;
        else unlink(f[i]->temporary);
        if (ok && (i + 1 == n || !same_directory(f[i]->path, f[i + 1]->path))) sync_directory(f[i]->path);
        close(f[i]->fd);
    }
    for (int i = 0; i < n; i++) out_free(f[i]);
    return finished;
}
void out_abandon(OutFile *f) {
    if (!f) return;
    if (f->fd >= 0) close(f->fd);
    unlink(f->temporary);
    out_free(f);
}
bool out_whole(const char *path, const void *data, size_t bytes, Error *e) {
    OutFile *f = out_open(path, e);
    if (f && out_write(f, data, bytes, e)) return out_finish(f, e);
    out_abandon(f);
    return false;
}
