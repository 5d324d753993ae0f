/* test_limits.c -- limits of the system: of memory, threads, descriptors and processors. A run succeeds with less, or ends with
 * one sentence and exit code 1. Usage: test_limits [PROGRAM].                                                             */
#include "files/image.h"
#include "program.h"
#include "tiny_model.h"
#include <errno.h>
#include <sched.h>
#include <signal.h>

typedef struct {
    int resource;
    rlim_t most;
    uid_t user; /* 0: as it is */
} Limit;
static void limit(void *context) {
    const Limit *l = context;
    if (l->user && (setgid(l->user) != 0 || setuid(l->user) != 0)) _exit(97);
    if (setrlimit(l->resource, &(struct rlimit){l->most, l->most}) != 0) _exit(96);
}
/* Whether the loader or the run-time libraries ended the program before it began. */
static bool not_begun(const Result *r) {
    return (r->code == 127 || r->code == 1) && (strstr(r->err, "error while loading shared libraries") || strstr(r->err, "libgomp: "));
}
/* Done, or one sentence that does not blame the program. */
static bool ends_well(Result *r, const char *what, unsigned long long most) {
    bool sentence = lines(r->err) == 1 && !strstr(r->err, "mistake in dg_cuda") && !strncmp(r->err, "dg_cuda: ", 9);
    bool loader = not_begun(r);
    return CHECK((r->code == 0 && !r->err[0]) || (r->code == 1 && sentence) || loader, "%s under %llu: exit code %d, %s", what, most,
                 r->code, r->err);
}
#if !defined(__SANITIZE_ADDRESS__)
/* Whether the program can say its version under this limit. Where its own segments do not fit (with CUDA's kernels in it they
 * are some 30 MB), the system kills it without a word.                                                                      */
static bool begins(const Setup *s, Limit *l) {
    const int killed = 1000 + SIGSEGV;
    Result *r = run_prepared(s, "--version", limit, l);
    CHECK(r->code == 0 || not_begun(r) || (r->code == killed && !r->err[0]), "--version under %llu: exit code %d, %s",
          (unsigned long long)l->most, r->code, r->err);
    return r->code == 0;
}
static void memory(const Setup *s) {
    static const char *const args[] = {
        "generate --device cpu --steps 1 --seeds 0-7 --outdir memory%d",
        "generate --device cpu --steps 1 --seeds 0-7 --grid memory%d.png --grid-scale 32",
        "generate --device cpu --network tiny.safetensors --steps 1 --seeds 0-1023 --batch 1024 --outdir memory%d",
        "generate --device cpu --network tiny.safetensors --seeds 0-99999999 --dry-run --outdir memory%d",
        "generate --device cpu --network tiny.safetensors --seeds 0-99 --steps 1 --format npz --outdir memory%d",
        "info tiny.safetensors --tensors --batch %d",
        "convert tiny.safetensors -o memory%d.safetensors",
        "bench --device cpu --network tiny.safetensors --repeats 1 --batch 64 --steps %d",
    };
    static const int megabytes[] = {20, 30, 50, 70, 80, 90, 100, 150, 300, 700};
    int refused = 0, done = 0, n = 0;
    for (size_t k = 0; k < sizeof megabytes / sizeof *megabytes; k++) {
        Limit l = {RLIMIT_AS, (rlim_t)megabytes[k] << 20, 0};
        bool begun = begins(s, &l);
        for (size_t i = 0; begun && i < sizeof args / sizeof *args; i++) {
            char line[256];
            snprintf(line, sizeof line, args[i], ++n);
            Result *r = run_prepared(s, line, limit, &l);
            ends_well(r, line, (unsigned long long)megabytes[k] << 20);
            done += r->code == 0, refused += r->code != 0;
        }
    }
    CHECK(done > 0 && refused > 0, "%d done, %d refused: the limits do not bite", done, refused);
    CHECK(count_files(s, ".", "partial") == 0, "unfinished files are left");
}
static void threads(const Setup *s) {
    const uid_t nobody = 65534;
    if (geteuid() != 0) {
        not_run("a limit on threads: that of this user counts what else it runs");
        return;
    }
    chmod(s->dir, 0777);
    for (int most = 1; most <= 4; most++) {
        char args[256];
        Limit l = {RLIMIT_NPROC, (rlim_t)most, nobody};
        snprintf(args, sizeof args, "generate --device cpu --network tiny.safetensors --threads 4 --steps 1 --seeds 0-4 --outdir few%d",
                 most);
        Result *r = run_prepared(s, args, limit, &l);
        if (r->code == 97 || r->code == 96) {
            not_run("a limit on threads: this user may not become another");
            return;
        }
        succeeds(r, args);
        snprintf(args, sizeof args, "few%d", most);
        CHECK(count_files(s, args, ".png") == 5, "%d threads at most: %d images of 5", most, count_files(s, args, ".png"));
        snprintf(args, sizeof args, "convert tiny.safetensors few%d.safetensors", most);
        succeeds(run_prepared(s, args, limit, &l), args);
    }
    CHECK(same_file(s, "few1/000003.png", "few4/000003.png"), "an image depends on the threads");
}
#endif
static void descriptors(const Setup *s) {
    for (int most = 3; most <= 12; most++) {
        char args[256];
        Limit l = {RLIMIT_NOFILE, (rlim_t)most, 0};
        snprintf(args, sizeof args, "generate --device cpu --network tiny.safetensors --steps 1 --seeds 0-4 --outdir files%d", most);
        ends_well(run_prepared(s, args, limit, &l), args, (unsigned long long)most);
    }
}

/* ---- how many threads, and how they wait --------------------------------------------------------------------------------------- */
static void one_processor(void *context) {
    (void)context;
    cpu_set_t all, one;
    CPU_ZERO(&one);
    sched_getaffinity(0, sizeof all, &all);
    for (int i = 0; i < CPU_SETSIZE && CPU_COUNT(&one) == 0; i++)
        if (CPU_ISSET(i, &all)) CPU_SET(i, &one);
    sched_setaffinity(0, sizeof one, &one);
    unsetenv("OMP_NUM_THREADS");
}
static void two_by_environment(void *context) {
    (void)context;
    setenv("OMP_NUM_THREADS", "2", 1);
}
static int threads_of(const Setup *s, const char *more, void (*prepare)(void *)) {
    char args[256];
    int n = -1;
    snprintf(args, sizeof args, "generate --device cpu --network tiny.safetensors --dry-run %s", more);
    Result *r = run_prepared(s, args, prepare, NULL);
    const char *line = strstr(r->out, "processor threads: ");
    if (line) sscanf(line, "processor threads: %d", &n);
    return n;
}
static void counts(const Setup *s) {
#ifdef _OPENMP
    CHECK(threads_of(s, "", one_processor) == 1, "on one processor: %d threads", threads_of(s, "", one_processor));
    CHECK(threads_of(s, "", two_by_environment) == 2, "OMP_NUM_THREADS=2: %d threads", threads_of(s, "", two_by_environment));
    CHECK(threads_of(s, "--threads 3", one_processor) == 3, "--threads 3: %d threads", threads_of(s, "--threads 3", one_processor));
    CHECK(threads_of(s, "--threads 3", two_by_environment) == 3, "--threads beside OMP_NUM_THREADS");
#else
    not_run("threads: this build has no OpenMP");
#endif
}
/* NAME=VALUE of a running process, as it was started; "" where it is not set. */
static void variable_of(pid_t pid, const char *name, char *value, size_t size) {
    char path[64], text[1 << 16];
    snprintf(path, sizeof path, "/proc/%d/environ", (int)pid);
    FILE *f = fopen(path, "r");
    size_t n = f ? fread(text, 1, sizeof text - 1, f) : 0;
    if (f) fclose(f);
    text[n] = 0;
    value[0] = 0;
    for (size_t at = 0; at < n; at += strlen(text + at) + 1)
        if (!strncmp(text + at, name, strlen(name)) && text[at + strlen(name)] == '=')
            snprintf(value, size, "%s", text + at + strlen(name) + 1);
}
static void no_policy(void *context) {
    (void)context;
    unsetenv("OMP_WAIT_POLICY");
}
static void active(void *context) {
    (void)context;
    setenv("OMP_WAIT_POLICY", "active", 1);
}
static void waiting(const Setup *s) {
#ifdef _OPENMP
    static const struct {
        void (*prepare)(void *);
        const char *wanted;
    } runs[] = {{no_policy, "passive"}, {active, "active"}};
    for (int i = 0; i < 2; i++) {
        char dir[32], args[256], value[64];
        Result r;
        snprintf(dir, sizeof dir, "wait%d", i);
        snprintf(args, sizeof args, "generate --device cpu --network tiny.safetensors --steps 1 --seeds 0-99999 --format npz --outdir %s",
                 dir);
        pid_t pid = start_prepared(s, args, 0, "stdout.txt", runs[i].prepare, NULL);
        for (int k = 0; k < 10000 && count_files(s, dir, ".npz") == 0; k++) nanosleep(&(struct timespec){0, 2000000}, NULL);
        variable_of(pid, "OMP_WAIT_POLICY", value, sizeof value);
        kill(pid, SIGINT);
        finish(s, pid, &r);
        CHECK(!strcmp(value, runs[i].wanted), "OMP_WAIT_POLICY is \"%s\", %s was wanted", value, runs[i].wanted);
        CHECK(r.code == 130, "exit code %d, %s", r.code, r.err);
    }
#else
    (void)s;
#endif
}

int main(int argc, char **argv) {
    Setup s = {.device = "cpu", .dir = "/tmp/dg_test_limits_XXXXXX"};
    char *real = argc > 1 ? realpath(argv[1], NULL) : program_of_build(argv[0], false, "dg_cuda");
    s.program = real;
    Error e = {0};
    if (!CHECK(real, "no program dg_cuda beside the tests") || !CHECK(mkdtemp(s.dir), "no temporary folder") ||
        !CHECK(tiny_write(at(&s, "tiny.safetensors"), tiny_network_config, 1, &e), "%s", e.text))
        return check_done("test_limits");
    setenv("XDG_CACHE_HOME", s.dir, 1);
#if defined(__SANITIZE_ADDRESS__)
    not_run("limits of memory and threads: the sanitizers map terabytes, and look for leaks in a thread of their own");
#else
    memory(&s);
    if (image_png_available(NULL)) threads(&s);
#endif
    if (image_png_available(NULL)) descriptors(&s);
    else not_run("images: this build writes no PNG files");
    counts(&s);
    waiting(&s);
    remove_folder(s.dir);
    free(real);
    return check_done("test_limits");
}
