/* test_cache.c -- conversions that are kept: by content, checked byte by byte, off, elsewhere, cleared; and doing without them. By
 * the library, and by the program: test_cache [PROGRAM].                                                                       */
#include "weights_tools/weights_tools.h"
#include "base/sha256.h"
#include "program.h"
#include "tiny_checkpoint.h"
#include <fcntl.h>
#include <sys/file.h>
#include <time.h>

static char *cached_path(const char *notice) { /* what the notice names; to be freed */
    const char *at = strstr(notice, "/cached/"), *begin = at;
    while (begin && begin > notice && begin[-1] != ' ') begin--;
    size_t n = at ? strcspn(begin, ":") : 0;
    char *path = dg_alloc(n + 1);
    if (n) memcpy(path, begin, n);
    return path;
}
static void write_checkpoint(const Net *n, const char *path, int copy, const char *prefix) {
    TorchWriter w = torch_begin(TORCH_ZIP, 2);
    state(&w, n, copy, prefix);
    Made m = torch_finish(&w);
    write_bytes(path, m.data, m.bytes);
    made_free(&m);
}
/* As `rsync -t`, `cp -p` and reproducible archives leave it. */
static void same_time(const char *path) {
    struct timespec t[2] = {{.tv_sec = 946684800}, {.tv_sec = 946684800}};
    CHECK(utimensat(AT_FDCWD, path, t, 0) == 0, "%s: its time was not set", path);
}
typedef struct {
    Weights *w;
    char notice[1024], path[256]; /* of the conversion, where there is one */
} Opened;
static Opened open_it(const char *path, const ConvertOptions *o, const Net *n, int copy, const char *said) {
    Opened x = {.w = NULL};
    Error e = {""};
    x.w = weights_open_any(path, o, x.notice, sizeof x.notice, &e);
    if (!CHECK(x.w && strstr(x.notice, said), "wanted \"%s\": \"%s\" %s", said, x.notice, e.text)) return x;
    CHECK(!strcmp(weights_name(x.w), path), "errors would name %s, which nobody gave", weights_name(x.w));
    const TorchNamed *t = &n->t[copy][0];
    float v[4096] = {0};
    Shape s =
        t->dims == 1 ? (Shape){1, 1, 1, (int)t->shape[0]} : (Shape){(int)t->shape[0], (int)t->shape[2], (int)t->shape[3], (int)t->shape[1]};
    WeightView view = {.kind = t->dims == 1 ? VIEW_VECTOR : VIEW_CONV};
    bool read = shape_count(s) <= 4096 && weights_read(x.w, t->name, s, view, DG_F32, v, &e);
    CHECK(read && !memcmp(v, t->data, sizeof v[0]), "%s: %s is not that of the file %s", x.notice, t->name, e.text);
    char hex[SHA256_HEX], *cached = cached_path(x.notice);
    CHECK(sha256_file(path, hex, &e) && !strcmp(weights_source(x.w), hex), "its source is %s", weights_source(x.w));
    snprintf(x.path, sizeof x.path, "%s", cached);
    free(cached);
    return x;
}
static void library(const Net *n) {
    char path[128], folder[128];
    in_folder(n, "latest.pt", path), in_folder(n, "cached/deep", folder);
    ConvertOptions o = {.cache = folder}, half = {.cache = folder, .dtype = TO_F16}, off = {.cache = "off"};
    write_checkpoint(n, path, RAW, ""), same_time(path);
    Opened a = open_it(path, &o, n, RAW, "converted once"), b = open_it(path, &o, n, RAW, "using its conversion of before");
    CHECK(a.path[0] && !strcmp(a.path, b.path), "two conversions: %s, %s", a.path, b.path);
    /* another time, the same content */
    CHECK(utimensat(AT_FDCWD, path, NULL, 0) == 0, "the time was not set");
    Opened c = open_it(path, &o, n, RAW, "of before"), d = open_it(path, &off, n, RAW, "converted in memory (the cache is off)");
    Error e = {""};
    char notice[512];
    Weights *h = weights_open_any(path, &half, notice, sizeof notice, &e);
    CHECK(h && strstr(notice, "converted once"), "other options, same conversion: %s%s", notice, e.text);
    weights_free(h);
    /* another checkpoint of the same name, size and time */
    write_checkpoint(n, path, EMA, ""), same_time(path);
    Opened f = open_it(path, &o, n, EMA, "converted once");
    CHECK(strcmp(f.path, a.path), "another file, the same conversion");
    write_checkpoint(n, path, RAW, ""), same_time(path);
    Opened g = open_it(path, &o, n, RAW, "of before");
    Opened *all[] = {&a, &b, &c, &d, &f, &g};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) weights_free(all[i]->w);
    CachedConversion *list;
    int count = conversions_list(folder, &list);
    CHECK(count == 3 && !strcmp(list[0].source, "latest.pt") && list[0].bytes > 1000, "%d conversions are listed", count);
    conversions_free(list, count);
}
/* Any changed byte, and any missing one, is noticed; the conversion is made again. */
static void damage(const Net *n) {
    char path[128], folder[128], notice[512];
    in_folder(n, "damaged.pt", path), in_folder(n, "cached/damage", folder);
    ConvertOptions o = {.cache = folder};
    write_checkpoint(n, path, RAW, "");
    Opened a = open_it(path, &o, n, RAW, "converted once");
    weights_free(a.w);
    struct stat st;
    Error e = {""};
    int tried = 0, noticed = 0;
    for (long at = 0; stat(a.path, &st) == 0 && at <= st.st_size; at += at < 2000 ? 61 : st.st_size / 23, tried++) {
        int fd = open(a.path, O_RDWR | O_CLOEXEC);
        uint8_t byte = 0;
        bool changed =
            at == st.st_size ? ftruncate(fd, at / 2) == 0 : pread(fd, &byte, 1, at) == 1 && (byte ^= 4, pwrite(fd, &byte, 1, at) == 1);
        CHECK(fd >= 0 && changed && close(fd) == 0, "byte %ld was not changed", at);
        Weights *w = weights_open_any(path, &o, notice, sizeof notice, &e);
        noticed += w && strstr(notice, "converted once");
        weights_free(w);
    }
    CHECK(tried > 40 && noticed == tried, "%d of %d damaged conversions were noticed", noticed, tried);
    Opened b = open_it(path, &o, n, RAW, "of before");
    weights_free(b.w);
}
/* What is removed: our conversions, and what killed ones left. */
static void clear(const Net *n) {
    char folder[128], path[256], checkpoint[128];
    static const char hash[] = "0123456789abcdef0123456789abcdef";
    Error e = {""};
    in_folder(n, "cached/clear", folder), in_folder(n, "cleared.pt", checkpoint);
    write_checkpoint(n, checkpoint, RAW, "");
    Opened a = open_it(checkpoint, &(ConvertOptions){.cache = folder}, n, RAW, "converted once");
    weights_free(a.w);
    struct {
        const char *name;
        bool locked, kept;
    } files[] = {{"autotune.txt", false, true},
                 {"mine.safetensors", false, true},
                 {"x-%s.safetensors", false, false}, /* damaged */
                 {"x-%s.safetensors.partial-999999999-0", false, false},
                 {"x-%s.safetensors.partial-999999999-1", true, true}, /* somebody is writing it, on another machine */
                 {"x-%s.safetensors.partial-1-0", false, false},
                 {"mine.safetensors.partial-999999999-0", false, true}};
    int lock = -1;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char name[128];
        snprintf(name, sizeof name, files[i].name, hash);
        snprintf(path, sizeof path, "%s/%s", folder, name);
        write_bytes(path, "text", 4);
        if (files[i].locked) lock = open(path, O_WRONLY | O_CLOEXEC), CHECK(flock(lock, LOCK_EX) == 0, "%s was not locked", path);
    }
    int removed = 0;
    uint64_t bytes = 0;
    CHECK(conversions_clear(folder, &removed, &bytes, &e) && removed == 2 && bytes > 1000, "%d removed, %s", removed, e.text);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char name[128];
        snprintf(name, sizeof name, files[i].name, hash);
        snprintf(path, sizeof path, "%s/%s", folder, name);
        CHECK((access(path, F_OK) == 0) == files[i].kept, "%s is %s", name, files[i].kept ? "gone" : "still there");
    }
    close(lock);
    CHECK(access(a.path, F_OK) != 0, "%s is still there", a.path);
    CHECK(conversions_clear(in_folder(n, "nowhere", path), &removed, &bytes, &e) && removed == 0, "a folder that is not there: %s", e.text);
}
/* What is no network that is known leaves nothing, and is told about by its own name. */
static void unknown(const Net *n) {
    char path[128], folder[128], notice[256];
    in_folder(n, "unknown.pt", path), in_folder(n, "cached/unknown", folder);
    TorchWriter w = torch_begin(TORCH_ZIP, 2);
    torch_open_dict(&w), torch_text(&w, "fc.weight"), torch_tensor(&w, DG_F32, 1, (int64_t[]){2}, (float[]){1, 2}), torch_close_dict(&w);
    Made m = torch_finish(&w);
    write_bytes(path, m.data, m.bytes);
    made_free(&m);
    Error e = {""};
    Weights *x = weights_open_any(path, &(ConvertOptions){.cache = folder}, notice, sizeof notice, &e);
    CHECK(!x && strstr(e.text, "unknown.pt: the network in it is not one that dg_cuda knows (it has 1 tensors, fc.weight"), "%s", e.text);
    CHECK(access(folder, F_OK) != 0, "%s was made", folder);
}
/* ---- the program ------------------------------------------------------------------------------------------------------------ */
static void program(const Net *n, const char *path_of_program) {
    Setup s = {.program = path_of_program, .device = "cpu"};
    snprintf(s.dir, sizeof s.dir, "%s", n->folder);
    char path[128];
    write_checkpoint(n, in_folder(n, "net.pt", path), RAW, "module.");
    setenv("HOME", "/nonexistent", 1), unsetenv("XDG_CACHE_HOME");
    bool root = geteuid() == 0;
    if (root) setenv("HOME", "/proc/nonexistent", 1); /* where even root makes no folder */
    Result *r = run(&s, "generate --network net.pt --seeds 0-1 --steps 2 --dg_weight_1st_order 0 --device cpu --outdir none");
    succeeds(r, "without a home");
    CHECK(strstr(r->out, "net.pt: converted in memory (") && strstr(r->out, "nonexistent"), "%s", r->out);
    succeeds(run(&s, "generate --network net.pt --seeds 0-1 --steps 2 --dg_weight_1st_order 0 --device cpu --outdir off --cache off"),
             "--cache off");
    r = run(&s, "generate --network net.pt --seeds 0-1 --steps 2 --dg_weight_1st_order 0 --device cpu --outdir on --cache kept");
    succeeds(r, "--cache kept");
    CHECK(strstr(r->out, "converted once, to kept/net.pt-"), "%s", r->out);
    CHECK(same_file(&s, "none/000001.png", "off/000001.png") && same_file(&s, "none/000001.png", "on/000001.png"), "the images differ");
    /* a disk that is full: no file may grow beyond 20 kB */
    r = run_limited(&s, "generate --network net.pt --seeds 0-1 --steps 2 --dg_weight_1st_order 0 --device cpu --outdir full --cache full",
                    20000);
    succeeds(r, "a full cache");
    CHECK(strstr(r->out, "converted in memory (") && count_files(&s, "full", "safetensors") == 0, "%s", r->out);
    r = run(&s, "cache --cache kept");
    CHECK(r->code == 0 && matches(r->out, "net.pt-[0-9a-f]{32}.safetensors  of net.pt\nkept: 1 conversions, 0.[0-9] MiB"), "%s", r->out);
    r = run(&s, "cache --cache kept --clear");
    CHECK(r->code == 0 && matches(r->out, "kept: 1 conversions removed, 0.[0-9] MiB") && count_files(&s, "kept", "safetensors") == 0, "%s",
          r->out);
    unsetenv("HOME");
    fails(run(&s, "cache"), "cache without a home", 1, "neither XDG_CACHE_HOME nor HOME names a folder");
}
int main(int argc, char **argv) {
    Net n = {.folder = "/tmp/dg_test_cache_XXXXXX"};
    if (!CHECK(mkdtemp(n.folder), "no temporary folder") || !make_net(&n)) return check_done("test_cache");
    char *beside = argc > 1 ? realpath(argv[1], NULL) : program_of_build(argv[0], false, "dg_cuda");
    library(&n);
    damage(&n);
    clear(&n);
    unknown(&n);
    if (beside) program(&n, beside);
    else not_run("the program: it is not there");
    free(beside);
    free_net(&n);
    remove_folder(n.folder);
    return check_done("test_cache");
}
