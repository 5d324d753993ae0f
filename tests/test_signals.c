/* test_signals.c -- signals, closed descriptors and files that shrink while the program works: whole files alone, one sentence,
 * and what the parent ignored stays ignored. Usage: test_signals [PROGRAM].                                              */
#include "files/image.h"
#include "program.h"
#include "tiny_model.h"
#include <fcntl.h>

static void nap(int milliseconds) { nanosleep(&(struct timespec){milliseconds / 1000, milliseconds % 1000 * 1000000L}, NULL); }
/* Waits until the folder holds `n` whole files of this kind. */
static bool wait_for_files(const Setup *s, pid_t pid, const char *dir, const char *part, int n) {
    for (int i = 0; i < 30000 && alive(pid); i++, nap(2))
        if (count_files(s, dir, part) - count_files(s, dir, "partial") >= n) return true;
    return false;
}
/* Waits until the unfinished form of the file has grown. */
static bool wait_for_growth(const Setup *s, pid_t pid, const char *name) {
    char unfinished[128];
    struct stat st;
    snprintf(unfinished, sizeof unfinished, "%s.partial-%d-0", name, (int)pid);
    for (int i = 0; i < 60000 && alive(pid); i++, nap(1))
        if (stat(at(s, unfinished), &st) == 0 && st.st_size > 1 << 20) return true;
    return false;
}
static pid_t start_run(const Setup *s, const char *dir, const char *more, void (*prepare)(void *), void *context) {
    char args[512];
    snprintf(args, sizeof args, "generate --device cpu --network tiny.safetensors --steps 3 --batch 2 --seeds 0-99999 --outdir %s %s", dir,
             more);
    return start_prepared(s, args, 0, "stdout.txt", prepare, context);
}
static void whole_files(const Setup *s, const char *dir, const char *what) {
    DIR *d = opendir(at(s, dir));
    int images = 0;
    uint8_t image[8 * 8 * 3];
    for (struct dirent *entry; d && (entry = readdir(d));) {
        char name[400];
        Error e = {0};
        if (!strstr(entry->d_name, ".png") || strstr(entry->d_name, "partial")) continue;
        snprintf(name, sizeof name, "%s/%.255s", dir, entry->d_name);
        if (image_read_png(at(s, name), image, 8, 8, 3, &e)) images++;
        else CHECK(false, "%s: %s", what, e.text);
    }
    if (d) closedir(d);
    CHECK(images > 0 && count_files(s, dir, "partial") == 0, "%s: %d images, %d unfinished files", what, images,
          count_files(s, dir, "partial"));
}

/* ---- what ends a run -------------------------------------------------------------------------------------------------------- */
static void ending(const Setup *s) {
    static const struct {
        int number;
        const char *name;
    } signals[] = {{SIGINT, "int"}, {SIGTERM, "term"}, {SIGHUP, "hup"}, {SIGXCPU, "xcpu"}};
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
        Result r;
        pid_t pid = start_run(s, signals[i].name, "", NULL, NULL);
        CHECK(wait_for_files(s, pid, signals[i].name, ".png", 2), "%s: no image", signals[i].name);
        kill(pid, signals[i].number);
        if (signals[i].number == SIGXCPU || signals[i].number == SIGHUP) kill(pid, signals[i].number); /* as they come: twice */
        finish(s, pid, &r);
        fails(&r, signals[i].name, 130, "interrupted: [0-9]+ of 100000 images are in ");
        whole_files(s, signals[i].name, signals[i].name);
    }
}
static void second_one(const Setup *s) {
    for (int i = 0; i < 8; i++) {
        char dir[32];
        Result r;
        snprintf(dir, sizeof dir, "twice%d", i);
        pid_t pid = start_run(s, dir, "", NULL, NULL);
        CHECK(wait_for_files(s, pid, dir, ".png", 2), "no image");
        kill(pid, SIGINT);
        nap(i); /* a moment later: it is still writing, or has ended by itself */
        kill(pid, SIGINT);
        finish(s, pid, &r);
        CHECK(r.code == 1000 + SIGINT || r.code == 130, "two signals: exit code %d, %s", r.code, r.err);
        whole_files(s, dir, "a second Ctrl-C");
    }
}
/* A signal that means nothing to the program, from outside, must not change what the next one does. */
static void unrelated(const Setup *s) {
    static const int numbers[] = {SIGUSR2, SIGWINCH, SIGCONT, SIGCHLD, SIGURG};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        char dir[32];
        Result r;
        snprintf(dir, sizeof dir, "other%zu", i);
        pid_t pid = start_run(s, dir, "", NULL, NULL);
        CHECK(wait_for_files(s, pid, dir, ".png", 2), "no image");
        for (int k = 0; k < 3; k++) kill(pid, numbers[i]), nap(5);
        kill(pid, SIGTERM);
        finish(s, pid, &r);
        CHECK(r.code == 130 && strstr(r.err, "interrupted"), "signal %d, then SIGTERM: exit code %d, %s", numbers[i], r.code, r.err);
    }
}
static void ignore_three(void *context) {
    (void)context;
    signal(SIGINT, SIG_IGN), signal(SIGHUP, SIG_IGN), signal(SIGTERM, SIG_IGN);
}
static void ignored_by_parent(const Setup *s) {
    Result r;
    pid_t pid = start_prepared(s, "generate --device cpu --network tiny.safetensors --steps 3 --batch 2 --seeds 0-199 --outdir ignored", 0,
                               "stdout.txt", ignore_three, NULL);
    CHECK(wait_for_files(s, pid, "ignored", ".png", 2), "no image");
    kill(pid, SIGINT), kill(pid, SIGHUP), kill(pid, SIGTERM);
    finish(s, pid, &r);
    CHECK(r.code == 0 && count_files(s, "ignored", ".png") == 200, "ignored signals: exit code %d, %d images, %s", r.code,
          count_files(s, "ignored", ".png"), r.err);
}

/* ---- descriptors -------------------------------------------------------------------------------------------------------------- */
static void close_standard(void *context) {
    (void)context;
    close(0), close(1), close(2);
}
static void closed_descriptors(const Setup *s) {
    Result r;
    pid_t pid = start_run(s, "closed", "--format npz", close_standard, NULL);
    CHECK(wait_for_files(s, pid, "closed", ".npz", 2), "no image");
    for (int fd = 0; fd <= 2; fd++) {
        char link[64], target[256];
        snprintf(link, sizeof link, "/proc/%d/fd/%d", (int)pid, fd);
        ssize_t n = readlink(link, target, sizeof target - 1);
        target[n > 0 ? n : 0] = 0;
        CHECK(!strcmp(target, "/dev/null"), "descriptor %d, closed before, is \"%s\"", fd, target);
    }
    kill(pid, SIGTERM);
    finish(s, pid, &r);
    CHECK(r.code == 130, "exit code %d", r.code);
}
static void broken_pipe(void *context) {
    dup2(*(int *)context, 1);
    close(*(int *)context);
}
static void reader_gone(const Setup *s) { /* as in: dg_cuda generate ... | head -0 */
    int ends[2];
    Result r;
    if (!CHECK(pipe(ends) == 0, "pipe")) return;
    close(ends[0]);
    pid_t pid = start_prepared(s, "generate --device cpu --network tiny.safetensors --steps 1 --seeds 0-20 --outdir piped", 0, "stdout.txt",
                               broken_pipe, &ends[1]);
    close(ends[1]);
    finish(s, pid, &r);
    CHECK(r.code == 1 && strstr(r.err, "standard output"), "a reader that went away: exit code %d, %s", r.code, r.err);
    CHECK(count_files(s, "piped", ".png") == 21 && count_files(s, "piped", "partial") == 0, "%d images of 21",
          count_files(s, "piped", ".png"));
}

/* ---- convert, and what it reads ------------------------------------------------------------------------------------------------ */
enum { LARGE = 400 << 20 };
/* A file of one large tensor, most of it a hole. */
static bool write_large(const Setup *s, const char *name) {
    char header[256] = "";
    int n = snprintf(header + 8, sizeof header - 8, "{\"x\": {\"dtype\": \"F32\", \"shape\": [%d], \"data_offsets\": [0, %d]}}", LARGE / 4,
                     LARGE);
    header[0] = (char)n;
    FILE *f = fopen(at(s, name), "w");
    bool ok = f && fwrite(header, 1, (size_t)n + 8, f) == (size_t)n + 8 && ftruncate(fileno(f), 8 + n + (off_t)LARGE) == 0;
    return f && fclose(f) == 0 && ok;
}
static void interrupted_convert(const Setup *s) {
    Result r;
    if (!CHECK(write_large(s, "large.safetensors"), "a large file")) return;
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        pid_t pid = start(s, "convert large.safetensors stopped.safetensors --dtype fp16", 0, "stdout.txt");
        bool begun = wait_for_growth(s, pid, "stopped.safetensors");
        kill(pid, numbers[i]);
        finish(s, pid, &r);
        CHECK(begun, "the conversion ended before the signal");
        fails(&r, "convert", 130, "interrupted: nothing was converted");
        CHECK(count_files(s, ".", "stopped") == 0, "an interrupted conversion left files");
    }
}
static void shrinking(const Setup *s) {
    Result r;
    if (!CHECK(write_large(s, "large.safetensors"), "a large file")) return;
    static const char *const options[] = {"--dtype fp16", "--dtype keep"};
    for (int i = 0; i < 2; i++) {
        char args[128];
        if (!CHECK(write_large(s, "large.safetensors"), "a large file")) return;
        snprintf(args, sizeof args, "convert large.safetensors shrunk.safetensors %s", options[i]);
        pid_t pid = start(s, args, 0, "stdout.txt");
        bool begun = wait_for_growth(s, pid, "shrunk.safetensors");
        CHECK(truncate(at(s, "large.safetensors"), 4096) == 0, "truncate");
        finish(s, pid, &r);
        CHECK(begun, "the conversion ended before the file shrank");
        fails(&r, args, 1, "large.safetensors: it became shorter|became shorter meanwhile");
        CHECK(count_files(s, ".", "shrunk") == 0, "%s: files are left", args);
    }
    unlink(at(s, "large.safetensors"));
}

int main(int argc, char **argv) {
    Setup s = {.device = "cpu", .dir = "/tmp/dg_test_signals_XXXXXX"};
    char *real = argc > 1 ? realpath(argv[1], NULL) : program_of_build(argv[0], false, "dg_cuda");
    s.program = real;
    Error e = {0};
    if (!CHECK(real, "no program dg_cuda beside the tests") || !CHECK(mkdtemp(s.dir), "no temporary folder") ||
        !CHECK(tiny_write(at(&s, "tiny.safetensors"), tiny_network_config, 1, &e), "%s", e.text))
        return check_done("test_signals");
    if (image_png_available(NULL)) {
        ending(&s);
        second_one(&s);
        unrelated(&s);
        ignored_by_parent(&s);
        reader_gone(&s);
    } else not_run("images: this build writes no PNG files");
    closed_descriptors(&s);
    interrupted_convert(&s);
    shrinking(&s);
    remove_folder(s.dir);
    free(real);
    return check_done("test_signals");
}
