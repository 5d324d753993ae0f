/* test_words.c -- what the program says: names from files that cannot act on a terminal, sentences that name the cause, the
 * options of other programs. Usage: test_words [PROGRAM].                                                                */
#include "base/text.h"
#include "files/image.h"
#include "program.h"
#include "tiny_checkpoint.h"
#include <fcntl.h>
#include <sys/file.h>

/* ---- names -------------------------------------------------------------------------------------------------------------------- */
static bool harmless(const char *text) {
    for (const unsigned char *c = (const unsigned char *)text; *c; c++)
        if ((*c < 0x20 && *c != '\n') || *c == 0x7f || (*c == 0xc2 && c[1] < 0xa0)) return false;
    return utf8_sequence((const unsigned char *)text, 4) || !*text;
}
static void names(const Setup *s) {
    static const char evil[] = "\x1b]0;title\x07\x1b[2J\nfile: forged\x7f\xc2\x9b"
                               "1m\xe2\x80\xae";
    Error e = {0};
    int64_t shape = 1;
    StWriter *w = st_writer_open(at(s, "evil.safetensors"), &e);
    if (!CHECK(w, "%s", e.text)) return;
    st_writer_metadata(w, evil, evil);
    st_writer_tensor(w, evil, DG_F32, 1, &shape);
    CHECK(st_writer_begin(w, &e) && st_writer_data(w, &(float){0}, sizeof(float), &e) && st_writer_finish(w, &e), "%s", e.text);
    CHECK(rename(at(s, "evil.safetensors"), at(s, "e\x1b[2J\nvil.safetensors")) == 0, "rename");
    Result *r = run(s, "info --tensors e\x1b[2J\nvil.safetensors");
    succeeds(r, "info");
    CHECK(harmless(r->out), "info prints what acts on a terminal");
    CHECK(!strstr(r->out, "\nfile: forged") && strstr(r->out, "\\x1b[2J\\x0afile: forged\\x7f\\xc2\\x9b1m\\xe2\\x80\\xae"), "%s", r->out);
    CHECK(lines(r->out) == lines(run(s, "info --tensors one.safetensors")->out), "a name forges a line: %s", r->out);
    r = run(s, "convert e\x1b[2J\nvil.safetensors -o n\x1b\nnew.safetensors");
    CHECK(r->code == 0 && harmless(r->out) && strstr(r->out, "n\\x1b\\x0anew.safetensors: written\n"), "convert: %s", r->out);
    CHECK(rename(at(s, "case.safetensors"), at(s, "c\x1b\nase.safetensors")) == 0, "rename");
    r = run(s, "verify --device cpu c\x1b\nase.safetensors");
    CHECK(r->code == 1 && harmless(r->out) && strstr(r->out, "c\\x1b\\x0aase"), "verify: %s", r->out);
    CHECK(symlink("tiny.safetensors", at(s, "t\x1b[2J\niny.safetensors")) == 0, "symlink");
    r = run(s, "generate --device cpu --network t\x1b[2J\niny.safetensors --seeds 0 --steps 1 --outdir o\x1b\nut");
    succeeds(r, "generate");
    CHECK(harmless(r->out) && strstr(r->out, "network t\\x1b[2J\\x0ainy.safetensors: 8x8"), "%s", r->out);
    r = run(s, "generate --device cpu --network t\x1b[2J\niny.safetensors --seeds 0 --steps 1 --outdir o\x1b\nut");
    CHECK(harmless(r->out) && strstr(r->out, "are in o\\x1b\\x0aut\n"), "%s", r->out);
    r = run(s, "generate --device cpu --network t\x1b[2J\niny.safetensors --dry-run");
    CHECK(harmless(r->out) && strstr(r->out, "--network = \"t\\u001b[2J\\u000ainy.safetensors\"\n"), "%s", r->out);
}

/* Those of a folder, in what is said of what was found in it. */
static void names_of_folders(const Setup *s) {
    static const char args[] = "generate --device cpu --network tiny.safetensors --steps 1 --outdir f\x1b\n --format %s --seeds %s";
    char all[256];
    const char *const formats[] = {"png", "npz"}, *const found[] = {"f\x1b\n/000001.png", "f\x1b\n/part-000001-000001.npz"},
                      *const said[] = {"f\\x1b\\x0a: 1 damaged image", "it is kept as f\\x1b\\x0a/part-000001-000001.npz.damaged\n"};
    for (int i = 0; i < 2; i++) {
        snprintf(all, sizeof all, args, formats[i], "0");
        succeeds(run(s, all), all);
        write_file(s, found[i], "");
        snprintf(all, sizeof all, args, formats[i], "0-1");
        Result *r = run(s, all);
        succeeds(r, all);
        CHECK(harmless(r->out) && strstr(r->out, said[i]), "%s", r->out);
        if (i == 1) break;
        remove_folder(at(s, "f\x1b\n"));
    }
    int fd = open(at(s, "f\x1b\n/.dg_cuda.lock"), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    CHECK(fd >= 0 && flock(fd, LOCK_EX) == 0, "a lock");
    Result r;
    pid_t pid = start(s, all, 0, "stdout.txt");
    r.out[0] = 0;
    for (int i = 0; i < 2000 && alive(pid) && !strstr(r.out, ": waiting for another run"); i++) {
        nanosleep(&(struct timespec){0, 10000000}, NULL);
        read_text(at(s, "stdout.txt"), r.out);
    }
    close(fd);
    finish(s, pid, &r);
    succeeds(&r, "after waiting");
    CHECK(harmless(r.out) && strstr(r.out, "f\\x1b\\x0a: waiting for another run"), "%s", r.out);
}

/* The names of a checkpoint's parts and tensors, in what is said about the choice among them; and those of the cache. */
static void names_of_checkpoints(const Setup *s) {
    static const char evil[] = "e\x1b[2J\nfile: forged.";
    Net n = {.folder = ""};
    snprintf(n.folder, sizeof n.folder, "%s", s->dir);
    if (!make_net(&n)) return;
    TorchWriter w = torch_begin(TORCH_ZIP, 2);
    torch_open_dict(&w), torch_text(&w, evil), torch_open_dict(&w), put(&w, &n, RAW, evil, 0);
    torch_text(&w, evil), torch_int(&w, 1), torch_text(&w, "e\x1b"), torch_tensor(&w, DG_I64, 0, NULL, &(int64_t){7});
    torch_close_dict(&w), torch_close_dict(&w);
    Made m = torch_finish(&w);
    write_bytes(at(s, "e\x1b\n.pt"), m.data, m.bytes);
    made_free(&m), free_net(&n);
    Result *r = run(s, "info e\x1b\n.pt");
    succeeds(r, "info of a checkpoint");
    CHECK(harmless(r->out) && !strstr(r->out, "\nfile: forged"), "%s", r->out);
    CHECK(strstr(r->out, "took \"e\\x1b[2J\\x0afile: forged.\" of its parts e\\x1b[2J\\x0afile: forged. (--key)\n") &&
              strstr(r->out, "renamed ") && strstr(r->out, "entries that are not tensors (e\\x1b[2J\\x0afile: forged.)\n"),
          "%s", r->out);
    r = run(s, "convert e\x1b\n.pt e.safetensors");
    succeeds(r, "convert of a checkpoint");
    CHECK(harmless(r->out) && strstr(r->out, "took \"e\\x1b[2J"), "%s", r->out);
    r = run(s,
            "generate --device cpu --network e\x1b\n.pt --dg_weight_1st_order 0 --seeds 0 --steps 1 --outdir checkpoint --cache c\x1b\n");
    succeeds(r, "generate from a checkpoint");
    CHECK(harmless(r->out) && strstr(r->out, "e\\x1b\\x0a.pt: converted once, to c\\x1b\\x0a/e__.pt-"), "%s", r->out);
    for (int clear = 0; clear < 2; clear++) {
        r = run(s, clear ? "cache --cache c\x1b\n --clear" : "cache --cache c\x1b\n");
        succeeds(r, "cache");
        CHECK(harmless(r->out) && strstr(r->out, clear ? "c\\x1b\\x0a: 1 conversions removed, " : "c\\x1b\\x0a: 1 conversions, "), "%s",
              r->out);
    }
}

/* ---- sentences ------------------------------------------------------------------------------------------------------------------ */
static void sentences(const Setup *s) {
    static const struct {
        const char *args;
        int code;
        const char *pattern;
    } wrong[] = {
        {"generate --network https://nvlabs-fi-cdn.nvidia.com/edm/edm-cifar10.pkl", 1, "https://.*downloads nothing: fetch the file"},
        {"info gs://bucket/x.pt", 1, "gs://bucket/x.pt: .*downloads nothing"},
        {"generate --cond 1", 2, "no option --cond: .*--class"},
        {"generate --num_samples 16", 2, "no option --num_samples: .*--seeds 0-"},
        {"generate --num-samples=16", 2, "no option --num-samples: .*--seeds 0-"},
        {"generate --seed 3", 2, "no option --seed: .*--seeds"},
        {"generate --do_seed 1", 2, "no option --do_seed: .*--seeds"},
        {"cache --cache off", 2, "--cache off keeps nothing"},
        {"generate --sigma_min 0", 2, "sigma_min: 0 is not positive"},
        {"generate --sigma_max 0", 2, "sigma_max: 0 is not positive"},
        {"generate --sigma_min 5 --sigma_max 2", 2, "sigma_min 5 is not below sigma_max 2"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        Result *r = run(s, wrong[i].args);
        fails(r, wrong[i].args, wrong[i].code, wrong[i].pattern);
        CHECK(!strstr(r->err, "nan"), "%s: %s", wrong[i].args, r->err);
    }
    Error e = {0};
    Result *r = run(s, "generate --dtype fp16 --seeds 0 --steps 1 --outdir half");
    if (r->code == 0) not_run("--dtype fp16 without a GPU: there is one");
    else fails(r, "--dtype fp16", 1, "--dtype fp16 needs device cuda, device cpu computes in fp32: .+");
    /* a path near the longest: what is wrong stands at the end, and is said */
    char path[PATH_MAX - 10], args[2 * PATH_MAX];
    memset(path, 'a', sizeof path - 1), path[sizeof path - 1] = 0;
    for (size_t i = 100; i < sizeof path - 1; i += 100) path[i] = '/';
    snprintf(args, sizeof args, "info %s.pt", path);
    fails(run(s, args), "info of a long path", 1, "^dg_cuda: aaaa.* \\[\\.\\.\\.\\] .*a\\.pt: cannot open: No such file or directory");
    /* the same sentence as long as there is room for, cut in the middle, never in a character */
    for (int n = 900; n < 1200; n++) {
        char name[1300];
        for (int i = 0; i < n; i++) name[i] = "\xc3\xa9"[i % 2];
        name[n / 2 * 2] = 0;
        dg_error(&e, "%s: the reason", name);
        size_t length = strlen(e.text);
        CHECK(length < sizeof e.text && !strcmp(e.text + length - 12, ": the reason") && harmless(e.text) && !strstr(e.text, "\\x"),
              "%d: %s", n, e.text);
        CHECK((strstr(e.text, " [...] ") != NULL) == (strlen(name) + 12 >= sizeof e.text), "%d bytes: %s", n, e.text);
    }
}

/* ---- values that are not finite ----------------------------------------------------------------------------------------------------- */
/* Puts a value into a tensor of a file that is there. */
static void spoil(const Setup *s, const char *file, const char *name, float value) {
    Error e = {0};
    SafeTensors *st = st_open(at(s, file), &e);
    const StTensor *t = st ? st_find(st, name) : NULL;
    if (!CHECK(t, "%s has no %s %s", file, name, e.text)) return;
    long offset = (long)((const uint8_t *)t->data - st->map.data) + (long)(t->bytes / 2 / sizeof value * sizeof value);
    st_close(st);
    FILE *f = fopen(at(s, file), "r+");
    CHECK(f && fseek(f, offset, SEEK_SET) == 0 && fwrite(&value, sizeof value, 1, f) == 1 && fclose(f) == 0, "%s", file);
}
static void not_finite(const Setup *s) {
    static const char both[] =
        "generate --device cpu --network %s --extractor %s --discriminator head.safetensors --seeds 0-79 --steps 4 --outdir nan";
    char args[512];
    spoil(s, "nan.safetensors", "model.enc.8x8_block0.conv0.weight", NAN);
    spoil(s, "inf.safetensors", "input_blocks.0.0.weight", INFINITY);
    snprintf(args, sizeof args, both, "nan.safetensors", "extractor.safetensors");
    fails(run(s, args), "a NaN in the network", 1,
          "nan.safetensors: tensor model.enc.8x8_block0.conv0.weight: 1 of its 576 values are NaN or infinite");
    snprintf(args, sizeof args, both, "tiny.safetensors", "inf.safetensors");
    fails(run(s, args), "an infinity in the extractor", 1, "inf.safetensors: tensor .*: 1 of its [0-9]+ values are NaN or infinite");
    CHECK(count_files(s, "nan", ".png") == 0, "images were made");
    /* finite weights whose products are not: the first batch says it */
    Result *r = run(s, "generate --device cpu --network huge.safetensors --seeds 0-99999 --steps 2 --batch 16 --outdir huge");
    fails(r, "an overflow", 1, "16 images have values that are not finite.*seeds 0-15.*: try other sampler options");
    CHECK(!strstr(r->err, "--dtype fp32"), "%s", r->err);
}

/* A golden case of a kind that is not known. */
static bool write_case(const char *path, Error *e) {
    StWriter *w = st_writer_open(path, e);
    int64_t shape = 1;
    if (!w) return false;
    st_writer_metadata(w, "case", "{\"kind\": \"holo\\u001bgram\"}");
    st_writer_tensor(w, "x", DG_F32, 1, &shape);
    return st_writer_begin(w, e) && st_writer_data(w, &(float){0}, sizeof(float), e) && st_writer_finish(w, e);
}
static bool write_one(const char *path, Error *e) {
    StWriter *w = st_writer_open(path, e);
    int64_t shape = 1;
    if (!w) return false;
    st_writer_metadata(w, "key", "value");
    st_writer_tensor(w, "x", DG_F32, 1, &shape);
    return st_writer_begin(w, e) && st_writer_data(w, &(float){0}, sizeof(float), e) && st_writer_finish(w, e);
}
int main(int argc, char **argv) {
    Setup s = {.device = "cpu", .dir = "/tmp/dg_test_words_XXXXXX"};
    char *real = argc > 1 ? realpath(argv[1], NULL) : program_of_build(argv[0], false, "dg_cuda");
    s.program = real;
    Error e = {0};
    if (!CHECK(real, "no program dg_cuda beside the tests") || !CHECK(mkdtemp(s.dir), "no temporary folder") ||
        !CHECK(tiny_write(at(&s, "tiny.safetensors"), tiny_network_config, 1, &e) &&
                   tiny_write(at(&s, "nan.safetensors"), tiny_network_config, 1, &e) &&
                   tiny_write(at(&s, "huge.safetensors"), tiny_network_config, 1e38f, &e) &&
                   tiny_write(at(&s, "extractor.safetensors"), tiny_extractor_config, 1, &e) &&
                   tiny_write(at(&s, "inf.safetensors"), tiny_extractor_config, 1, &e) &&
                   tiny_write(at(&s, "head.safetensors"), tiny_head_config, 1, &e) && write_case(at(&s, "case.safetensors"), &e) &&
                   write_one(at(&s, "one.safetensors"), &e),
               "%s", e.text))
        return check_done("test_words");
    setenv("XDG_CACHE_HOME", s.dir, 1);
    sentences(&s);
    if (image_png_available(NULL)) {
        names(&s);
        names_of_folders(&s);
        names_of_checkpoints(&s);
        not_finite(&s);
    } else not_run("images: this build writes no PNG files");
    remove_folder(s.dir);
    free(real);
    return check_done("test_words");
}
