/* test_autotune.c -- the choice between implementations: with made-up times, no GPU needed. The file it leaves is read back,
 * shared between runs and devices, and refused when it is not one.                                                       */
#include "device/cuda/autotune.h"
#include "base/file.h"
#include "base/json.h"
#include "check.h"
#include <math.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const names[] = {"own", "cudnn", "cublaslt"};
typedef struct {
    double seconds[3];
    int measured;
} Times;
static double fake(void *context, int i) {
    Times *t = context;
    t->measured++;
    return t->seconds[i];
}
static int choose(Autotune *a, const char *layer, Times t, int candidates, int *measured) {
    int i = autotune_choose(a, layer, names, candidates, fake, &t);
    if (measured) *measured = t.measured;
    return i;
}
static void test_choice(void) {
    static const struct {
        const char *why;
        double seconds[3];
        int want;
    } row[] = {
        {"the fastest", {3e-3, 2e-3, 1e-3}, 2},
        {"our own when fastest", {1e-3, 2e-3, 3e-3}, 0},
        {"our own when another is hardly faster", {1e-3, .98e-3, 2e-3}, 0},
        {"another when clearly faster", {1e-3, .9e-3, 2e-3}, 1},
        {"the faster of two others", {1e-3, .8e-3, .79e-3}, 2},
        {"one that cannot run is passed over", {1e-3, NAN, INFINITY}, 0},
        {"a time of nothing is no time", {1e-3, 0, -1}, 0},
        {"our own cannot be measured", {NAN, 2e-3, 1e-3}, 2},
        {"nothing can: our own", {NAN, NAN, NAN}, 0},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        Autotune *a = autotune_open(NULL, "GPU", NULL);
        Times t = {.seconds = {row[i].seconds[0], row[i].seconds[1], row[i].seconds[2]}};
        int found = choose(a, "layer", t, 3, NULL);
        CHECK(found == row[i].want, "%s: %s was chosen", row[i].why, names[found]);
        CHECK(autotune_close(a, NULL), "%s: without a file there is nothing to fail", row[i].why);
    }
}
/* How "conv 3x3" was chosen: times 3, 1, 2 s, of which the last one's cannot be lost. */
static void check_measured(const Autotune *a, bool remembered) {
    Text t = {0};
    Error e = {""};
    autotune_measured(a, &t);
    Json *j = json_parse(t.text, t.len, &e);
    const Json *layer = json_get(json_get(j, "layers"), "conv 3x3"), *times = json_get(layer, "microseconds"),
               *runs = json_get(layer, "runs");
    const Json *said = json_get(layer, "remembered"), *device = json_get(j, "device");
    CHECK(runs && !strcmp(runs->string, "cudnn") && said && said->boolean == remembered && device &&
              !strcmp(device->string, "GPU A, driver 1"),
          "%s%s", t.text, e.text);
    CHECK(times && times->count == 3 && json_get(times, "own")->number == 3e6 && json_get(times, "cudnn")->number == 1e6 &&
              json_get(times, "cublaslt")->number == 2e6,
          "%s", t.text);
    json_free(j);
    text_free(&t);
}
static void test_memory(const char *path) {
    Times slow_own = {.seconds = {3, 1, 2}}, fast_own = {.seconds = {1, 2, 3}};
    int measured = 0;
    Error e = {""};
    Autotune *a = autotune_open(path, "GPU A, driver 1", &e);
    CHECK(!e.text[0], "a missing file is no reason to complain: %s", e.text);
    CHECK(choose(a, "conv 3x3", slow_own, 3, &measured) == 1 && measured == 3, "first time: measured (%d)", measured);
    CHECK(choose(a, "conv 3x3", fast_own, 3, &measured) == 1 && measured == 0, "second time: remembered (%d)", measured);
    Text t = {0};
    autotune_chosen(a, &t);
    CHECK(t.text && !strcmp(t.text, "{\"conv 3x3\": \"cudnn\"}"), "manifest: %s", t.text);
    check_measured(a, false);
    text_free(&t);
    CHECK(autotune_close(a, &e), "%s", e.text);

    a = autotune_open(path, "GPU A, driver 1", &e);
    autotune_chosen(a, &t);
    CHECK(!strcmp(t.text, "{}"), "what is remembered but not asked for: %s", t.text);
    text_free(&t);
    CHECK(choose(a, "conv 3x3", fast_own, 3, &measured) == 1 && measured == 0, "another run remembers");
    check_measured(a, true);
    CHECK(choose(a, "conv 3x3", fast_own, 1, &measured) == 0 && measured == 1, "what is not compiled in is not chosen");
    CHECK(autotune_close(a, &e), "%s", e.text);

    /* two runs at once: neither loses the other's choices; another driver measures anew */
    Autotune *one = autotune_open(path, "GPU A, driver 1", &e), *two = autotune_open(path, "GPU A, driver 2", &e);
    CHECK(choose(two, "conv 3x3", slow_own, 3, &measured) == 1 && measured == 3, "another driver measures");
    choose(one, "conv 1x1", fast_own, 3, NULL);
    CHECK(autotune_close(one, &e) && autotune_close(two, &e), "%s", e.text);
    a = autotune_open(path, "GPU A, driver 1", &e);
    CHECK(choose(a, "conv 1x1", slow_own, 3, &measured) == 0 && measured == 0, "the first run's choice is there");
    CHECK(autotune_close(a, &e), "%s", e.text);
    a = autotune_open(path, "GPU A, driver 2", &e);
    CHECK(choose(a, "conv 3x3", fast_own, 3, &measured) == 1 && measured == 0, "the second run's too");
    CHECK(autotune_close(a, &e), "%s", e.text);
}
static void write_file(const char *path, const char *text, size_t bytes) {
    FILE *f = fopen(path, "wb");
    if (!CHECK(f && fwrite(text, 1, bytes, f) == bytes, "cannot write %s", path)) return;
    fclose(f);
}
static void test_refused(const char *path) {
#define HEAD "dg_cuda autotune, format 2\n"
#define GOOD "GPU\tconv\tcudnn\t{\"own\": 9, \"cudnn\": 5.0}\n"
    static const struct {
        const char *why, *text;
        size_t bytes; /* 0: up to the end of text */
    } row[] = {
        {"another file", "[core]\n\teditor = vi\n", 0},
        {"another format", "dg_cuda autotune, format 1\n" GOOD, 0},
        {"no format", GOOD, 0},
        {"a field short", HEAD "GPU\tconv\tcudnn\n", 0},
        {"a field more", HEAD "GPU\tconv\tcudnn\t{\"cudnn\": 5}\tx\n", 0},
        {"no times", HEAD "GPU\tconv\tcudnn\t\n", 0},
        {"a number for the times", HEAD "GPU\tconv\tcudnn\t5.0\n", 0},
        {"a word for a time", HEAD "GPU\tconv\tcudnn\t{\"cudnn\": \"fast\"}\n", 0},
        {"a negative time", HEAD "GPU\tconv\tcudnn\t{\"cudnn\": -1}\n", 0},
        {"not a number", HEAD "GPU\tconv\tcudnn\t{\"cudnn\": nan}\n", 0},
        {"an infinite time", HEAD "GPU\tconv\tcudnn\t{\"cudnn\": 1e999}\n", 0},
        {"times of others", HEAD "GPU\tconv\tcudnn\t{\"own\": 5}\n", 0},
        {"half of the times", HEAD "GPU\tconv\tcudnn\t{\"cudnn\": 5, \n", 0},
        {"a time of nothing beside it", HEAD "GPU\tconv\tcudnn\t{\"cudnn\": 5, \"own\": 0}\n", 0},
        {"an empty line", HEAD "\n" GOOD, 0},
        {"an empty field", HEAD "GPU\t\tcudnn\t{\"cudnn\": 5}\n", 0},
        {"an escape", HEAD "GPU\t\033[31m\tcudnn\t{\"cudnn\": 5}\n", 0},
        {"not ASCII", HEAD "GPU\t\303\244\tcudnn\t{\"cudnn\": 5}\n", 0},
        {"cut in the middle of a line", HEAD GOOD "GPU\tco", 0},
        {"no end of the line", HEAD "GPU\tconv\tcudnn\t{\"cudnn\": 5}", 0},
        {"a NUL", HEAD "GPU\tco\0nv\tcudnn\t{\"cudnn\": 5}\n", sizeof HEAD - 1 + 29},
        {"DOS ends of lines", "dg_cuda autotune, format 2\r\n", 0},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        size_t bytes = row[i].bytes ? row[i].bytes : strlen(row[i].text);
        Error e = {""};
        int measured = 0;
        write_file(path, row[i].text, bytes);
        Autotune *a = autotune_open(path, "GPU", &e);
        CHECK(e.text[0], "%s: accepted", row[i].why);
        CHECK(choose(a, "conv", (Times){.seconds = {1, 2, 3}}, 3, &measured) == 0 && measured == 3, "%s: measured anew", row[i].why);
        CHECK(autotune_close(a, &e), "%s: %s", row[i].why, e.text);
        FileMap m;
        bool same = file_map(path, &m, &e) && m.bytes == bytes && !memcmp(m.data, row[i].text, bytes);
        CHECK(same, "%s: a file that is not ours was overwritten", row[i].why);
        file_unmap(&m);
    }
    write_file(path, HEAD GOOD, strlen(HEAD GOOD));
    Error e = {""};
    int measured = 0;
    Autotune *a = autotune_open(path, "GPU", &e);
    CHECK(!e.text[0] && choose(a, "conv", (Times){.seconds = {1, 2, 3}}, 3, &measured) == 1 && measured == 0, "the good line alone: %s",
          e.text);
    CHECK(autotune_close(a, &e), "%s", e.text);
}
static double slower(void *context, int i) {
    int *measured = context;
    ++*measured;
    return 1 - i * .05;
}
/* As many candidates as a layer can have, of names as long as cuDNN's get: what is written is what is read. */
static void test_long(const char *path) {
    enum { CANDIDATES = 13, LENGTH = 400 };
    char text[CANDIDATES][LENGTH + 1] = {{0}};
    const char *name[CANDIDATES];
    for (int i = 0; i < CANDIDATES; i++) {
        memset(text[i], 'a' + i, LENGTH);
        name[i] = text[i];
    }
    unlink(path);
    for (int again = 0; again < 2; again++) {
        Error e = {""};
        int measured = 0;
        Autotune *a = autotune_open(path, "GPU", &e);
        CHECK(!e.text[0], "long names: %s", e.text);
        int best = autotune_choose(a, "conv", name, CANDIDATES, slower, &measured);
        CHECK(best == CANDIDATES - 1 && measured == (again ? 0 : CANDIDATES), "long names: %d chosen, %d measured", best, measured);
        CHECK(autotune_close(a, &e), "%s", e.text);
    }
}
static void test_unwritable(const char *folder) {
    char path[512];
    Error e = {""};
    snprintf(path, sizeof path, "%s/file/autotune.txt", folder);
    char file[512];
    snprintf(file, sizeof file, "%s/file", folder);
    write_file(file, "x", 1); /* a file where a folder is wanted */
    Autotune *a = autotune_open(path, "GPU", NULL);
    choose(a, "conv", (Times){.seconds = {1, 2, 3}}, 3, NULL);
    autotune_close(a, &e);
    struct stat s;
    CHECK(!stat(file, &s) && s.st_size == 1, "the file in the way was touched");
    unlink(file);
}
static bool path_is(const char *wanted) {
    char *path = autotune_path();
    bool same = path && wanted ? !strcmp(path, wanted) : path == wanted;
    free(path);
    return same;
}
static void test_path(void) {
    setenv("XDG_CACHE_HOME", "/var/cache/x", 1);
    CHECK(path_is("/var/cache/x/dg_cuda/autotune.txt"), "in XDG_CACHE_HOME");
    setenv("XDG_CACHE_HOME", "relative", 1), setenv("HOME", "/home/u", 1);
    CHECK(path_is("/home/u/.cache/dg_cuda/autotune.txt"), "below HOME");
    unsetenv("HOME");
    CHECK(path_is(NULL), "without a home there is no path");
}
int main(void) {
    char folder[] = "/tmp/dg_autotune_XXXXXX", path[512], deep[512];
    if (!CHECK(mkdtemp(folder), "no temporary folder")) return check_done("test_autotune");
    snprintf(path, sizeof path, "%s/autotune.txt", folder);
    snprintf(deep, sizeof deep, "%s/a/b/autotune.txt", folder);
    test_choice();
    test_memory(deep); /* its folders are made */
    test_refused(path);
    test_long(path);
    test_unwritable(folder);
    test_path();
    snprintf(path, sizeof path, "%s/autotune.txt", folder), unlink(path);
    unlink(deep), *strrchr(deep, '/') = 0, rmdir(deep), *strrchr(deep, '/') = 0, rmdir(deep), rmdir(folder);
    return check_done("test_autotune");
}
