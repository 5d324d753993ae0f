/* test_outputs.c -- where the program writes: through links, never over devices, pipes or inputs, under any name that a path
 * can have, and found out before there is something to write. Usage: test_outputs [PROGRAM].                            */
#include "files/image.h"
#include "official_files.h"
#include "program.h"
#include "tiny_model.h"
#include <fcntl.h>

static Result *generate(const Setup *s, const char *args) {
    char all[4096];
    snprintf(all, sizeof all, "generate --device cpu --network tiny.safetensors --steps 1 --seeds 0-3 %s", args);
    return run(s, all);
}
static bool is_link(const Setup *s, const char *name) {
    struct stat st;
    return lstat(at(s, name), &st) == 0 && S_ISLNK(st.st_mode);
}
static bool is_png(const Setup *s, const char *name) {
    FileMap m;
    if (!file_map(at(s, name), &m, NULL)) return false;
    bool png = m.bytes > 8 && !memcmp(m.data, "\x89PNG", 4);
    file_unmap(&m);
    return png;
}
static void link_to(const Setup *s, const char *target, const char *name) { CHECK(symlink(target, at(s, name)) == 0, "symlink %s", name); }

/* ---- links, devices, pipes ------------------------------------------------------------------------------------------------- */
static void links(const Setup *s) {
    mkdir(at(s, "disk"), 0777), mkdir(at(s, "links"), 0777);
    write_file(s, "disk/old.png", "old");
    chmod(at(s, "disk/old.png"), 0640);
    link_to(s, "../disk/old.png", "links/old.png");
    link_to(s, "../disk/new.png", "links/new.png");
    link_to(s, "new.png", "links/twice.png");
    succeeds(generate(s, "--grid links/old.png"), "a grid through a link");
    struct stat st;
    CHECK(is_link(s, "links/old.png") && is_png(s, "disk/old.png"), "the link was replaced, or its target not written");
    CHECK(stat(at(s, "disk/old.png"), &st) == 0 && (st.st_mode & 0777) == 0640, "the file's mode became %o", st.st_mode & 0777);
    succeeds(generate(s, "--grid links/twice.png"), "a grid through two links, to nothing yet");
    CHECK(is_link(s, "links/twice.png") && is_link(s, "links/new.png") && is_png(s, "disk/new.png"), "two links");
    link_to(s, "../disk/new.safetensors", "links/new.safetensors");
    succeeds(run(s, "convert tiny.safetensors -o links/new.safetensors --overwrite"), "convert through a link");
    CHECK(is_link(s, "links/new.safetensors") && exists(s, "disk/new.safetensors"), "convert replaced the link");
    link_to(s, "../disk/bench.json", "links/bench.json");
    succeeds(run(s, "bench --device cpu --network tiny.safetensors --batch 1 --repeats 1 --steps 2 --json links/bench.json"),
             "bench through a link");
    CHECK(is_link(s, "links/bench.json") && exists(s, "disk/bench.json"), "bench replaced the link");
    link_to(s, "loop.png", "links/loop.png");
    fails(generate(s, "--grid links/loop.png"), "a link to itself", 1, "links/loop.png: cannot write: .*symbolic links");
}
static void not_files(const Setup *s) {
    mkdir(at(s, "d"), 0777);
    link_to(s, "/proc/self/fd/1", "d/out");
    Result *r = generate(s, "--outdir never --grid d/out"); /* standard output is a file here: lines go there */
    fails(r, "a grid into standard output", 1, "d/out: cannot write: the program.s messages go there");
    CHECK(is_link(s, "d/out") && !exists(s, "never/000000.png"), "the link was replaced, or images made");
    link_to(s, "/dev/null", "d/null");
    fails(generate(s, "--grid d/null"), "a grid into a device", 1, "d/null: cannot write: it is a device");
    CHECK(mkfifo(at(s, "pipe"), 0666) == 0, "mkfifo");
    fails(generate(s, "--grid pipe"), "a grid into a pipe", 1, "pipe: cannot write: it is a pipe");
    fails(run(s, "convert tiny.safetensors -o d/null"), "convert", 2, "ends in .safetensors");
    link_to(s, "/dev/null", "d/null.safetensors");
    fails(run(s, "convert tiny.safetensors -o d/null.safetensors --overwrite"), "convert into a device", 1, "it is a device");
    fails(run(s, "bench --device cpu --network tiny.safetensors --batch 1 --repeats 1 --json pipe"), "bench into a pipe", 1,
          "pipe: cannot write");
    struct stat st;
    CHECK(stat(at(s, "pipe"), &st) == 0 && S_ISFIFO(st.st_mode) && is_link(s, "d/null"), "a pipe or a link was replaced");
    fails(run(s, "info pipe"), "info of a pipe that nobody writes to", 1, "pipe: cannot read: it is not a regular file");
    fails(run(s, "bench --synthetic pipe"), "a configuration from a pipe", 1, "pipe: cannot read: it is not a regular file");
    fails(run(s, "verify --device cpu pipe"), "a case from a pipe", 1, "pipe: cannot read: it is not a regular file");
}
/* Nothing is computed for an output that cannot be written. */
static void found_early(const Setup *s) {
    mkdir(at(s, "results"), 0777);
    fails(generate(s, "--outdir early --grid results"), "a grid that is a folder", 1, "results: cannot write: it is a folder");
    fails(generate(s, "--outdir early --grid tiny.safetensors/g.png"), "a grid below a file", 1, "tiny.safetensors.*not a folder");
    write_file(s, "kept.png", "kept");
    if (geteuid() == 0) not_run("a grid that is write-protected: the super-user may write everything");
    else {
        chmod(at(s, "kept.png"), 0444);
        fails(generate(s, "--outdir early --grid kept.png"), "a write-protected grid", 1, "kept.png: cannot write: Permission denied");
    }
    fails(run(s, "bench --device cpu --network tiny.safetensors --batch 1 --repeats 100000 --json results"), "bench into a folder", 1,
          "results: cannot write: it is a folder");
    CHECK(count_files(s, "early", ".png") == 0, "%d images were made before", count_files(s, "early", ".png"));
}

/* ---- convert: which operand is the result ----------------------------------------------------------------------------------- */
static void converting(const Setup *s) {
    static const char piece[] = "cp/piece-1.safetensors cp/piece-2.safetensors cp/piece-3.safetensors";
    char args[512];
    mkdir(at(s, "cp"), 0777);
    for (int i = 1; i <= 3; i++) {
        snprintf(args, sizeof args, "convert %s.safetensors cp/piece-%d.safetensors", i == 2 ? "other" : "tiny", i);
        succeeds(run(s, args), args);
    }
    succeeds(run(s, "convert other.safetensors cp/kept.safetensors"), "convert");
    snprintf(args, sizeof args, "convert %s", piece);
    fails(run(s, args), "convert of a pattern", 2, "piece-3.safetensors exists: .*-o.*--overwrite");
    snprintf(args, sizeof args, "convert --overwrite %s", piece);
    fails(run(s, args), "convert --overwrite of a pattern", 2, "piece-3.safetensors exists and may be one of the inputs: .*-o");
    fails(run(s, "convert --overwrite tiny.safetensors cp/piece-2.safetensors"), "a pattern of two", 2,
          "piece-2.safetensors exists and may be");
    fails(run(s, "convert tiny.safetensors -o tiny.safetensors --overwrite"), "in place", 2, "its own conversion");
    CHECK(symlink("piece-1.safetensors", at(s, "cp/same.safetensors")) == 0, "symlink");
    fails(run(s, "convert cp/piece-1.safetensors -o cp/same.safetensors --overwrite"), "in place, through a link", 2, "its own conversion");
    fails(run(s, "convert -o new.safetensors"), "no input", 2, "IN... OUT.safetensors is missing");
    fails(run(s, "convert tiny.safetensors -o"), "no name", 2, "--out: its value is missing");
    fails(run(s, "convert tiny.safetensors -x new.safetensors"), "-x", 2, "no option -x");
    CHECK(same_file(s, "cp/piece-2.safetensors", "cp/kept.safetensors"), "a piece was replaced");
    succeeds(run(s, "convert tiny.safetensors -o cp/kept.safetensors --overwrite"), "convert -o --overwrite");
    CHECK(!same_file(s, "cp/piece-2.safetensors", "cp/kept.safetensors"), "--overwrite replaced nothing");
    succeeds(run(s, "convert --out=cp/long.safetensors tiny.safetensors"), "--out");
    CHECK(count_files(s, "cp", "partial") == 0, "unfinished files are left");
}

/* What is read is never written: not a piece of a list of shards either, nor weights by a benchmark's figures. */
static void inputs(const Setup *s) {
    mkdir(at(s, "list"), 0777);
    succeeds(run(s, "convert tiny.safetensors list/piece.safetensors"), "convert");
    write_file(s, "list/net.safetensors.index.json", "{\"weight_map\": {\"x\": \"piece.safetensors\"}}");
    write_file(s, "config.json", tiny_network_config);
    static const struct {
        const char *args, *pattern;
    } wrong[] = {{"convert list/net.safetensors.index.json -o list/piece.safetensors --overwrite", "its own conversion"},
                 {"generate --device cpu --network list/net.safetensors.index.json --steps 1 --seeds 0 --grid list/piece.safetensors",
                  "--grid list/piece.safetensors is a file that is read"},
                 {"bench --device cpu --network tiny.safetensors --batch 1 --repeats 1 --steps 2 --json tiny.safetensors",
                  "--json tiny.safetensors is a file that is read"},
                 {"bench --device cpu --synthetic config.json --batch 1 --repeats 1 --json config.json", "--json config.json is a file"}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) fails(run(s, wrong[i].args), wrong[i].args, 2, wrong[i].pattern);
    CHECK(same_file(s, "tiny.safetensors", "kept.safetensors"), "the weights were replaced");
    succeeds(run(s, "generate --device cpu --network list/net.safetensors.index.json --steps 1 --seeds 0 --grid list.png --cache off"),
             "a list that nothing was written over");
}

/* ---- names -------------------------------------------------------------------------------------------------------------------- */
static void any_bytes(const Setup *s) {
    CHECK(rename(at(s, "copy.safetensors"), at(s, "mod\xe9le\x80.safetensors")) == 0, "rename");
    static const char args[] =
        "generate --device cpu --network mod\xe9le\x80.safetensors --steps 1 --outdir o\xff --grid g\xfe.png --seeds ";
    char all[256];
    snprintf(all, sizeof all, "%s0", args);
    succeeds(run(s, all), "bytes that are not UTF-8");
    snprintf(all, sizeof all, "%s0-1", args);
    Result *r = run(s, all);
    succeeds(r, "the same folder again");
    CHECK(strstr(r->out, "1 of 2 images are there") && exists(s, "o\xff/000001.png") && is_png(s, "g\xfe.png"), "%s", r->out);
    Json *j = manifest(s, "o\xff");
    const Json *runs = json_get(j, "runs"), *options = runs ? json_get(runs->child, "options") : NULL,
               *network = json_get(options, "network");
    CHECK(network && !strcmp(network->string, "mod\xe9le\x80.safetensors"), "the manifest's path is another");
    json_free(j);
    r = run(s, "info mod\xe9le\x80.safetensors");
    succeeds(r, "info");
    CHECK(strstr(r->out, "file: mod\\xe9le\\x80.safetensors,"), "%s", r->out);
    char pt[128];
    if (!official_write(OFFICIAL_HEAD, s->dir, pt, sizeof pt)) return;
    CHECK(rename(pt, at(s, "n\xff.pt")) == 0, "rename");
    succeeds(run(s, "convert n\xff.pt z.safetensors"), "convert");
    r = run(s, "info z.safetensors");
    succeeds(r, "info of the conversion");
    CHECK(strstr(r->out, "source: n\\xff.pt"), "%s", r->out);
}
static void long_names(const Setup *s) {
    char name[300], args[1024];
    memset(name, 'n', sizeof name);
    strcpy(name + 251, ".png"); /* 255 bytes */
    snprintf(args, sizeof args, "--grid %s", name);
    succeeds(generate(s, args), "a name of 255 bytes");
    CHECK(is_png(s, name), "no grid of a name of 255 bytes");
    strcpy(name + 240, ".safetensors");
    snprintf(args, sizeof args, "convert tiny.safetensors %s", name);
    succeeds(run(s, args), "convert to a name of 252 bytes");
    snprintf(args, sizeof args, "generate --device cpu --network %s --steps 1 --seeds 0 --outdir long", name);
    succeeds(run(s, args), "a network of such a name");
}

int main(int argc, char **argv) {
    Setup s = {.device = "cpu", .dir = "/tmp/dg_test_outputs_XXXXXX"};
    char *real = argc > 1 ? realpath(argv[1], NULL) : program_of_build(argv[0], false, "dg_cuda");
    s.program = real;
    Error e = {0};
    if (!CHECK(real, "no program dg_cuda beside the tests") || !CHECK(mkdtemp(s.dir), "no temporary folder") ||
        !CHECK(tiny_write(at(&s, "tiny.safetensors"), tiny_network_config, 1, &e) &&
                   tiny_write(at(&s, "copy.safetensors"), tiny_network_config, 1, &e) &&
                   tiny_write(at(&s, "kept.safetensors"), tiny_network_config, 1, &e) &&
                   tiny_write(at(&s, "other.safetensors"), tiny_uncond_config, 2, &e),
               "%s", e.text))
        return check_done("test_outputs");
    if (image_png_available(NULL)) {
        links(&s);
        not_files(&s);
        found_early(&s);
        any_bytes(&s);
        long_names(&s);
    } else not_run("images: this build writes no PNG files");
    converting(&s);
    inputs(&s);
    remove_folder(s.dir);
    free(real);
    return check_done("test_outputs");
}
