/* program.h -- running the program from outside, and looking at what it said and left. The tests that use it work in a folder
 * of their own, which is removed at the end. */
#ifndef DG_TEST_PROGRAM_H
#define DG_TEST_PROGRAM_H
#include "base/file.h"
#include "base/json.h"
#include "check.h"
#include <dirent.h>
#include <limits.h>
#include <regex.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MAX_ARGS = 64, OUTPUT = 1 << 16 };
typedef struct {
    const char *program, *device; /* the latter goes with every run */
    char dir[64];                 /* where the tests work; they run in it */
} Setup;
typedef struct {
    int code; /* exit code; 1000 + signal when it was killed */
    char out[OUTPUT], err[OUTPUT];
} Result;

/* ---- running ------------------------------------------------------------------------------------------------------------ */
static inline void read_text(const char *path, char *out) {
    FILE *f = fopen(path, "r");
    size_t n = f ? fread(out, 1, OUTPUT - 1, f) : 0;
    out[n] = 0;
    if (f) fclose(f);
}
static inline int lines(const char *s) {
    int n = 0;
    for (; *s; s++) n += *s == '\n';
    return n;
}
/* Starts the program in the work folder. args is split at blanks; file_limit > 0: no file may grow beyond it. prepare, if any,
 * is called in the new process just before.                                                                             */
static inline pid_t start_prepared(const Setup *s, const char *args, long file_limit, const char *out, void (*prepare)(void *),
                                   void *context) {
    char *copy = strdup(args), *argv[MAX_ARGS], *rest = NULL, name[] = "dg_cuda";
    int n = 0;
    argv[n++] = name;
    for (char *w = strtok_r(copy, " ", &rest); w && n < MAX_ARGS - 1; w = strtok_r(NULL, " ", &rest)) {
        if (!strcmp(w, "''")) w[0] = 0;
        argv[n++] = w;
    }
    argv[n] = NULL;
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        if (file_limit) setrlimit(RLIMIT_FSIZE, &(struct rlimit){(rlim_t)file_limit, (rlim_t)file_limit});
        if (chdir(s->dir) != 0 || !freopen(out, "w", stdout) || !freopen("stderr.txt", "w", stderr)) _exit(99);
        if (prepare) prepare(context);
        execv(s->program, argv);
        _exit(98);
    }
    free(copy);
    return pid;
}
static inline pid_t start(const Setup *s, const char *args, long file_limit, const char *out) {
    return start_prepared(s, args, file_limit, out, NULL, NULL);
}
static inline bool alive(pid_t pid) { /* it has not ended yet; what it left is for finish */
    siginfo_t info = {0};
    return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == 0;
}
enum { PATIENCE = 60 }; /* seconds that a run may take: one that waits for ever is a failure, not the end of the tests */
static inline void finish(const Setup *s, pid_t pid, Result *r) {
    int status = 0;
    char path[128];
    for (int i = 0; i < 100 * PATIENCE && waitpid(pid, &status, WNOHANG) == 0; i++) {
        nanosleep(&(struct timespec){0, i < 100 ? 1000000 : 10000000}, NULL);
        if (i + 1 == 100 * PATIENCE) kill(pid, SIGKILL), waitpid(pid, &status, 0);
    }
    r->code = WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
    snprintf(path, sizeof path, "%s/stdout.txt", s->dir), read_text(path, r->out);
    snprintf(path, sizeof path, "%s/stderr.txt", s->dir), read_text(path, r->err);
}
static inline Result *run_limited(const Setup *s, const char *args, long file_limit) {
    static Result r; /* of the latest run */
    finish(s, start(s, args, file_limit, "stdout.txt"), &r);
    return &r;
}
static inline Result *run_prepared(const Setup *s, const char *args, void (*prepare)(void *), void *context) {
    static Result r; /* of the latest run */
    finish(s, start_prepared(s, args, 0, "stdout.txt", prepare, context), &r);
    return &r;
}
static inline Result *run(const Setup *s, const char *args) { return run_limited(s, args, 0); }
static inline bool succeeds(Result *r, const char *what) {
    return CHECK(r->code == 0 && !r->err[0], "%s: exit code %d, %s", what, r->code, r->err);
}
static inline bool matches(const char *text, const char *pattern) {
    regex_t re;
    if (regcomp(&re, pattern, REG_EXTENDED | REG_NOSUB) != 0) return false;
    bool found = regexec(&re, text, 0, NULL, 0) == 0;
    regfree(&re);
    return found;
}
/* One sentence on standard error, this exit code. */
static inline void fails(Result *r, const char *args, int code, const char *pattern) {
    CHECK(r->code == code, "%s: exit code %d, %d wanted (%s)", args, r->code, code, r->err);
    CHECK(lines(r->err) == 1 && !strncmp(r->err, "dg_cuda: ", 9), "%s: not one line: %s", args, r->err);
    CHECK(matches(r->err, pattern), "%s: the sentence does not match \"%s\": %s", args, pattern, r->err);
}

/* ---- files -------------------------------------------------------------------------------------------------------------- */
static inline char *at(const Setup *s, const char *name) {
    static char path[4][512]; /* the latest four */
    static int next;
    next = (next + 1) % 4;
    snprintf(path[next], sizeof path[next], "%s/%s", s->dir, name);
    return path[next];
}
static inline bool exists(const Setup *s, const char *name) { return access(at(s, name), F_OK) == 0; }
static inline bool same_file(const Setup *s, const char *a, const char *b) {
    FileMap x, y;
    if (!file_map(at(s, a), &x, NULL)) return false;
    bool same = file_map(at(s, b), &y, NULL);
    if (same) {
        same = x.bytes == y.bytes && x.bytes > 0 && !memcmp(x.data, y.data, x.bytes);
        file_unmap(&y);
    }
    file_unmap(&x);
    return same;
}
/* Files of a folder whose names contain `part`. */
static inline int count_files(const Setup *s, const char *dir, const char *part) {
    int n = 0;
    DIR *d = opendir(at(s, dir));
    for (struct dirent *e; d && (e = readdir(d));) n += strstr(e->d_name, part) != NULL;
    if (d) closedir(d);
    return n;
}
static inline Json *manifest(const Setup *s, const char *dir) {
    char name[256];
    Error e = {0};
    snprintf(name, sizeof name, "%s/manifest.json", dir);
    Json *j = json_parse_file(at(s, name), &e);
    CHECK(j, "%s", e.text);
    return j;
}
static inline void write_file(const Setup *s, const char *name, const char *text) {
    FILE *f = fopen(at(s, name), "w");
    if (f) fputs(text, f), fclose(f);
}
static inline void remove_folder(const char *path) {
    DIR *d = opendir(path);
    for (struct dirent *e; d && (e = readdir(d));) {
        char inside[1024];
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..")) continue;
        if (snprintf(inside, sizeof inside, "%s/%s", path, e->d_name) >= (int)sizeof inside) continue;
        if (unlink(inside) != 0) remove_folder(inside);
    }
    if (d) closedir(d);
    rmdir(path);
}
/* The program NAME of the build folder that this test, argv[0], lies in: in BUILD/tests/X, or in BUILD/emu/tests/X where emu.
 * NULL: it is not there. To be freed.                                                                                    */
static inline char *program_of_build(const char *test, bool emu, const char *name) {
    char folder[PATH_MAX], program[2 * PATH_MAX];
    snprintf(folder, sizeof folder, "%s", test);
    for (int i = 0; i < 2 + emu; i++)
        if (strrchr(folder, '/')) *strrchr(folder, '/') = 0;
    snprintf(program, sizeof program, "%s/%s", folder, name);
    return realpath(program, NULL);
}
#endif
