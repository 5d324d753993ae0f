/* unfinished.c -- unfinished files: made and locked, told from those of dead writers, and dropped at the last moment. */
#include "base/unfinished.h"
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static const char UNFINISHED[] = ".partial-";
size_t file_unfinished(const char *name) {
    const char *found = NULL;
    for (const char *s = name; (s = strstr(s, UNFINISHED)); s++) found = s;
    if (!found || found == name) return 0;
    const char *s = found + sizeof UNFINISHED - 1;
    for (int numbers = 0; numbers < 2; numbers++) {
        if (!isdigit((unsigned char)*s)) return 0;
        while (isdigit((unsigned char)*s)) s++;
        if (numbers == 0 && *s++ != '-') return 0;
    }
    return *s ? 0 : (size_t)(found - name);
}
bool file_abandoned(const char *path) {
    struct stat s;
    int fd = open(path, O_WRONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC); /* NFS wants write access for this lock */
    if (fd < 0) return false;
    bool dead = fstat(fd, &s) == 0 && S_ISREG(s.st_mode) && flock(fd, LOCK_EX | LOCK_NB) == 0;
    close(fd);
    return dead;
}
bool file_remove_stray(const char *path) {
    const char *slash = strrchr(path, '/');
    return file_unfinished(slash ? slash + 1 : path) && file_abandoned(path) && unlink(path) == 0;
}
/* Whoever removes strays may take the new file before it is locked: then another name. */
int unfinished_create(char *path, size_t size, const char *final) {
    const char *slash = strrchr(final, '/'), *name = slash ? slash + 1 : final;
    int length = (int)strlen(name);
    for (int i = 0; i < 1000; i++) { /* a crashed run may have left one with our process number */
        char suffix[64];
        int n = snprintf(suffix, sizeof suffix, "%s%ld-%d", UNFINISHED, (long)getpid(), i);
        int kept = length > NAME_MAX - n ? NAME_MAX - n : length;
        snprintf(path, size, "%.*s%.*s%s", (int)(name - final), final, kept, name, suffix);
        int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd < 0 && errno != EEXIST) return -1;
        if (fd < 0) continue;
        struct stat s;
        bool taken = flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK; /* a file system without locks takes nothing away */
        if (!taken && fstat(fd, &s) == 0 && s.st_nlink > 0) return fd;
        close(fd);
    }
    return -1;
}
static bool is_ours(const char *path) {
    size_t n = file_unfinished(path);
    return n > 0 && strtol(path + n + sizeof UNFINISHED - 1, NULL, 10) == (long)getpid();
}
static void drop_once(void) {
    enum { MOST_DESCRIPTORS = 1024 };
    for (int fd = 0; fd < MOST_DESCRIPTORS; fd++) {
        char link[32] = "/proc/self/fd/", digits[16], name[PATH_MAX];
        size_t n = strlen(link), k = 0;
        int rest = fd;
        do digits[k++] = (char)('0' + rest % 10);
        while ((rest /= 10) > 0);
        while (k > 0) link[n++] = digits[--k];
        ssize_t length = readlink(link, name, sizeof name - 1);
        if (length <= 0) continue;
        name[length] = 0;
        if (is_ours(name)) unlink(name);
    }
}
bool out_dropping(void) {
    struct rlimit now;
    return getrlimit(RLIMIT_NOFILE, &now) == 0 && now.rlim_cur == 0;
}
bool out_drop_unfinished(void) {
    struct rlimit before;
    /* From here on other threads can open nothing. One of several that come here at once finds the limit as it was. */
    if (prlimit(0, RLIMIT_NOFILE, &(struct rlimit){0, 0}, &before) != 0) return true;
    drop_once();
    drop_once(); /* what was being opened meanwhile */
    return before.rlim_cur > 0;
}
