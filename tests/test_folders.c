/* test_folders.c -- output folders: what is damaged, foreign, unfinished or shared in them, what --overwrite and --grid may touch, what
 * millions of seeds cost, and what samples.npz holds. Usage: test_folders [PROGRAM]                                    */
#include "images.h"
#include "base/text.h"
#include "trace.h"
#include <sys/stat.h>
#include <sys/file.h>
#include <fcntl.h>
#include <time.h>

static Result *generate(const Setup *s, const char *args) {
    char all[1 << 16];
    snprintf(all, sizeof all, "generate --device cpu --network tiny.safetensors --steps 1 %s", args);
    return run(s, all);
}
/* Changes a byte of a file, from its end where at is negative; or cuts it there. */
static void damage(const Setup *s, const char *name, long at_byte, bool cut) {
    int fd = open(at(s, name), O_RDWR);
    struct stat st;
    unsigned char byte = 0;
    if (!CHECK(fd >= 0 && fstat(fd, &st) == 0, "%s is not there", name)) return;
    off_t offset = at_byte < 0 ? st.st_size + at_byte : at_byte;
    bool ok = cut ? ftruncate(fd, offset) == 0 : pread(fd, &byte, 1, offset) == 1 && (byte ^= 0x10, pwrite(fd, &byte, 1, offset) == 1);
    CHECK(ok, "%s cannot be changed", name);
    close(fd);
}
static int entries(const Setup *s, const char *dir) {
    int n = 0;
    DIR *d = opendir(at(s, dir));
    for (struct dirent *e; d && (e = readdir(d));) n += strcmp(e->d_name, ".") && strcmp(e->d_name, "..");
    if (d) closedir(d);
    return n;
}
static void same_images(const Setup *s, const char *dir, int seeds, const Images *reference) {
    Images x = images_new(reference->seeds);
    images_read(&x, at(s, dir));
    CHECK(images_there(&x) == seeds && x.files == 0, "%s: %d images of %d, %d wrong files", dir, images_there(&x), seeds, x.files);
    CHECK(images_differ(&x, reference) == 0, "%s: %d images differ", dir, images_differ(&x, reference));
    images_free(&x);
}

/* ---- damage ----------------------------------------------------------------------------------------------------------------- */
static void damaged_pngs(const Setup *s, const Images *reference) {
    succeeds(generate(s, "--seeds 0-7 --outdir a --grid a.png"), "a run");
    damage(s, "a/000001.png", -20, true), damage(s, "a/000002.png", 0, true), damage(s, "a/000003.png", 60, false);
    damage(s, "a/000004.png", 20, false), damage(s, "a/000005.png", -3, false), damage(s, "a/000006.png", 0, false);
    Result *r = generate(s, "--seeds 0-7 --outdir a --grid again.png");
    succeeds(r, "a folder with damaged images");
    CHECK(matches(r->out, "6 damaged images are made again \\(.*000001.png") && strstr(r->out, "2 of 8 images are there"), "%s", r->out);
    same_images(s, "a", 8, reference);
    CHECK(rename(at(s, "a/000007.png"), at(s, "a/seven")) == 0 && symlink("nothing", at(s, "a/000007.png")) == 0, "a link to nothing");
    r = generate(s, "--seeds 0-7 --outdir a");
    succeeds(r, "a link to nothing");
    CHECK(matches(r->out, "1 damaged image is made again \\(a/000007.png: .*No such file") && same_file(s, "a/seven", "a/nothing"), "%s",
          r->out);
    CHECK(unlink(at(s, "a/nothing")) == 0 && rename(at(s, "a/seven"), at(s, "a/000007.png")) == 0, "rename");
    CHECK(same_file(s, "a.png", "again.png"), "the grid shows damaged images");
    unlink(at(s, "a/000003.png")), mkdir(at(s, "a/000003.png"), 0777);
    fails(generate(s, "--seeds 0-7 --outdir a"), "a folder where an image belongs", 1, "000003.png.*not a regular file");
    rmdir(at(s, "a/000003.png"));
    CHECK(rename(at(s, "a.png"), at(s, "a/000003.png")) == 0, "rename"); /* another picture */
    fails(generate(s, "--seeds 0-7 --outdir a"), "an image of another size", 1, "000003.png.*32x32.*8x8");
    CHECK(rename(at(s, "a/000003.png"), at(s, "a.png")) == 0, "rename");
}
static void damaged_npz(const Setup *s, const Images *reference) {
    succeeds(generate(s, "--seeds 0-7 --format npz --outdir n"), "npz");
    write_file(s, "n/part-000008-000009.npz", "junk");
    Result *r = generate(s, "--seeds 0-9 --format npz --outdir n");
    succeeds(r, "a damaged part");
    CHECK(strstr(r->out, "8 of 10 images are there") && exists(s, "n/part-000008-000009.npz.damaged"), "%s", r->out);
    same_images(s, "n", 10, reference);
    damage(s, "n/samples.npz", -30, true);
    r = generate(s, "--seeds 0-9 --format npz --outdir n");
    succeeds(r, "a samples.npz that is cut");
    CHECK(exists(s, "n/samples.npz.damaged") && !strstr(r->out, "are there"), "%s", r->out);
    same_images(s, "n", 10, reference);
    damage(s, "n/samples.npz", 1000, false); /* a pixel: found when it is to be merged */
    fails(generate(s, "--seeds 0-11 --format npz --outdir n"), "a wrong pixel", 1, "CRC.*the same command makes its images again");
    succeeds(generate(s, "--seeds 0-11 --format npz --outdir n"), "after a wrong pixel");
    CHECK(exists(s, "n/samples.npz.damaged") && exists(s, "n/samples.npz.damaged-2"), "one damaged file took the place of another");
    same_images(s, "n", 12, reference);
    CHECK(mkfifo(at(s, "n/part-000012-000013.npz"), 0666) == 0, "mkfifo"); /* what cannot be read need not be damaged */
    fails(generate(s, "--seeds 0-12 --format npz --outdir n"), "a part that cannot be read", 1, "part-000012.*cannot read");
    CHECK(unlink(at(s, "n/part-000012-000013.npz")) == 0, "a part that cannot be read was renamed");
    mkdir(at(s, "theirs"), 0777);
    write_file(s, "theirs/part-000000-000001.npz", "junk");
    fails(generate(s, "--seeds 0-1 --format npz --outdir theirs"), "a damaged file in a folder without a manifest", 1, "no manifest.json");
    CHECK(exists(s, "theirs/part-000000-000001.npz"), "a file of a folder that is refused was renamed");
}
/* Files that dead writers left go; those of living ones, and of others, stay. */
static void strays(const Setup *s) {
    static const char *const dead[] = {"a/000009.png.partial-999999-0", "a/manifest.json.partial-1-0", "grid.png.partial-77-0"};
    for (int i = 0; i < 3; i++) write_file(s, dead[i], "half");
    write_file(s, "a/holiday.png.partial-1-2", "mine"), write_file(s, "a/000009.png.partial-x", "mine");
    write_file(s, "a/000008.png.partial-999999-0", "half");
    int fd = open(at(s, "a/000008.png.partial-999999-0"), O_WRONLY);
    CHECK(fd >= 0 && flock(fd, LOCK_EX) == 0, "a lock");
    succeeds(generate(s, "--seeds 0-7 --outdir a --grid grid.png"), "a folder with strays");
    for (int i = 0; i < 3; i++) CHECK(!exists(s, dead[i]), "%s is left", dead[i]);
    CHECK(exists(s, "a/holiday.png.partial-1-2") && exists(s, "a/000009.png.partial-x"), "a foreign file was removed");
    CHECK(exists(s, "a/000008.png.partial-999999-0"), "an unfinished file of a living writer was removed");
    close(fd);
    write_file(s, "n/samples.npz.partial-999999-0", "half"), write_file(s, "n/part-000000-000003.npz.partial-999999-0", "half");
    succeeds(generate(s, "--seeds 0-3 --format npz --outdir n"), "npz with strays");
    CHECK(count_files(s, "n", "partial") == 0 && count_files(s, "a", "999999") == 1, "strays are left");
    succeeds(generate(s, "--seeds 0-3 --outdir a"), "after the living writer");
    CHECK(count_files(s, "a", "999999") == 0, "strays are left");
}

/* ---- --overwrite ------------------------------------------------------------------------------------------------------------ */
static void overwriting(const Setup *s, const Images *reference) {
    mkdir(at(s, "photos"), 0777), mkdir(at(s, "photos/20230000"), 0777), mkdir(at(s, "elsewhere"), 0777);
    static const char *const mine[] = {"photos/20230101.png",   "photos/20230000/123456.png", "elsewhere/000001.png",
                                       "photos/part-of-me.npz", "photos/samples.npz",         "photos/samples.npz.partial-keep"};
    for (int i = 0; i < 6; i++) write_file(s, mine[i], "mine");
    CHECK(symlink("../elsewhere", at(s, "photos/000000")) == 0, "symlink");
    int before = entries(s, "photos");
    fails(generate(s, "--seeds 0 --outdir photos --overwrite"), "--overwrite of a foreign folder", 1, "photos: .*no manifest.json");
    for (int i = 0; i < 6; i++) CHECK(exists(s, mine[i]), "%s was removed", mine[i]);
    CHECK(entries(s, "photos") == before, "a refused run left something");
    /* of a folder of its own: what its manifest lists, and no more */
    succeeds(generate(s, "--seeds 0-7 --outdir own"), "a run");
    write_file(s, "own/20230101.png", "mine"), write_file(s, "own/notes.txt", "mine");
    static const char *const refused[] = {"--grid notes/g.png",
                                          "--grid-scale 32 --grid-columns 4 --grid g.png --seeds 0-9999",
                                          "--sigma_min 100",
                                          "--grid own/000001.png",
                                          "--grid own",
                                          "--extractor none --discriminator none",
                                          "--device cpu --dtype fp16"};
    write_file(s, "notes", "mine");
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        char args[256];
        snprintf(args, sizeof args, "--seeds 0-7 --outdir own --overwrite %s", refused[i]);
        Result *r = generate(s, args);
        CHECK(r->code == 1 || r->code == 2, "%s: exit code %d", args, r->code);
        CHECK(count_files(s, "own", ".png") == 9, "%s: %d images are left", args, count_files(s, "own", ".png") - 1);
    }
    succeeds(generate(s, "--seeds 2-3 --outdir own --overwrite"), "--overwrite");
    CHECK(count_files(s, "own", ".png") == 3 && exists(s, "own/20230101.png") && exists(s, "own/notes.txt"),
          "--overwrite took too much or too little");
    unlink(at(s, "own/20230101.png"));
    same_images(s, "own", 2, reference);
    succeeds(generate(s, "--seeds 0-3 --subdirs --outdir thousands"), "--subdirs");
    mkdir(at(s, "away"), 0777);
    CHECK(rename(at(s, "thousands/000000"), at(s, "away/000000")) == 0 && symlink("../away/000000", at(s, "thousands/000000")) == 0,
          "a link");
    succeeds(generate(s, "--seeds 4 --subdirs --outdir thousands --overwrite"), "--overwrite of a folder with a link");
    CHECK(exists(s, "away/000000/000000.png") && exists(s, "away/000000/000003.png"), "--overwrite followed a link");
}

/* ---- --grid ------------------------------------------------------------------------------------------------------------------- */
static void grid_files(const Setup *s) {
    succeeds(generate(s, "--seeds 0-3 --outdir g"), "a run");
    succeeds(generate(s, "--seeds 0-1 --outdir gn --format npz"), "a run");
    CHECK(link(at(s, "tiny.safetensors"), at(s, "hard.safetensors")) == 0 && symlink("tiny.safetensors", at(s, "soft.safetensors")) == 0,
          "links");
    CHECK(symlink("g/000098.png", at(s, "later.png")) == 0, "a link to nothing yet");
    static const char *const wrong[] = {"--grid tiny.safetensors",
                                        "--outdir g --grid later.png",
                                        "--grid ./tiny.safetensors",
                                        "--grid hard.safetensors",
                                        "--grid soft.safetensors",
                                        "--outdir g --grid g/000001.png",
                                        "--outdir g --grid g/000099.png",
                                        "--outdir g --grid g/manifest.json",
                                        "--outdir fresh --grid fresh/000000.png",
                                        "--outdir gn --format npz --grid gn/samples.npz",
                                        "--grid gn/part-000000-000001.npz",
                                        "--grid g/000000.png",
                                        "--grid g/manifest.json"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char args[256];
        snprintf(args, sizeof args, "--seeds 0-3 %s", wrong[i]);
        fails(generate(s, args), args, 2, "another name");
    }
    CHECK(matches(run(s, "info tiny.safetensors")->out, "8x8x3"), "the weights were replaced");
    mkdir(at(s, "results"), 0777);
    static const char *const late[] = {"--grid results", "--grid /dev/full", "--grid notes/x.png", "--grid /proc/x.png"};
    for (size_t i = 0; i < sizeof late / sizeof *late; i++) { /* found before anything is made */
        char args[256], dir[32];
        snprintf(dir, sizeof dir, "late%zu", i);
        snprintf(args, sizeof args, "--seeds 0-3 --outdir %s %s", dir, late[i]);
        Result *r = generate(s, args);
        CHECK(r->code == 1 && lines(r->err) == 1, "%s: exit code %d: %s", args, r->code, r->err);
        CHECK(count_files(s, dir, ".png") == 0, "%s: images were made first", args);
    }
    fails(run(s, "generate --device cpu --dg_weight_1st_order 0 --steps 1 --seeds 0-699 --grid huge.png --grid-scale 32"),
          "a grid that no PNG holds", 2, "--grid.*at most");
    CHECK(count_files(s, ".", "huge") == 0, "a refused grid left a file");
}

/* ---- records -------------------------------------------------------------------------------------------------------------------- */
static void records(const Setup *s) {
    succeeds(generate(s, "--seeds 0-4 --outdir r"), "a run");
    for (int i = 0; i < 3; i++) succeeds(generate(s, "--seeds 0-4 --outdir r"), "the same again");
    Json *j = manifest(s, "r");
    if (!j) return;
    CHECK(json_get(j, "runs")->count == 1 && made_of(j) == 5, "%d records of %ld images", json_get(j, "runs")->count, made_of(j));
    json_free(j);
    unlink(at(s, "r/000002.png"));
    succeeds(generate(s, "--seeds 0-4 --outdir r"), "an image again");
    j = manifest(s, "r");
    const Json *one = json_get(j, "runs")->child;
    CHECK(json_get(j, "runs")->count == 1 && json_get(one, "made")->number == 6 && json_get(one, "runs") &&
              json_get(one, "runs")->number == 2,
          "two runs of one command");
    json_free(j);
    /* 9,000 records, all different, as an older version could leave them */
    FileMap m;
    Text t = {0};
    if (!CHECK(file_map(at(s, "r/manifest.json"), &m, NULL), "no manifest")) return;
    text_printf(&t, "%.*s", (int)m.bytes, (const char *)m.data);
    file_unmap(&m);
    char *record = strstr(strstr(t.text, "\"runs\": ["), "{"), *seeds = strstr(record, "\"seeds\": \"0-4\""), *end = strstr(record, "\n ]");
    *seeds = 0, *end = 0;
    FILE *f = fopen(at(s, "r/manifest.json"), "w");
    fprintf(f, "%.*s", (int)(record - t.text), t.text);
    for (int i = 0; i < 9000; i++)
        fprintf(f, "%s%s\"seeds\": \"%d-%d\"%s", i ? ",\n" : "", record, 5 * i, 5 * i + 4, seeds + strlen("\"seeds\": \"0-4\""));
    fprintf(f, "\n ]}\n");
    fclose(f);
    text_free(&t);
    succeeds(generate(s, "--seeds 0-5 --outdir r"), "9,000 records");
    j = manifest(s, "r");
    int count = j ? json_get(j, "runs")->count : 0;
    CHECK(j && count > 1 && count <= 500 && made_of(j) == 9000 * 6 + 1, "%d records of %ld images", count, j ? made_of(j) : 0);
    json_free(j);
}

/* ---- many seeds ------------------------------------------------------------------------------------------------------------------ */
static void many_seeds(const Setup *s) {
    Calls few, many;
    static const char command[] = "generate --device cpu --threads 1 --network tiny.safetensors --steps 1 --outdir";
    char args[256];
    snprintf(args, sizeof args, "%s few --seeds 0-9", command);
    if (!count_calls(s, args, true, 1000000, &few)) not_run("counting system calls: this machine does not allow ptrace");
    else {
        snprintf(args, sizeof args, "%s many --seeds 0-99999", command);
        count_calls(s, args, true, 1000000, &many);
        CHECK(few.calls > 10 && many.calls < few.calls + 1000, "%ld calls before the first file of 10 seeds, %ld of 100,000", few.calls,
              many.calls);
        snprintf(args, sizeof args, "%s synced --seeds 0-9", command);
        count_calls(s, args, false, 1000000, &few);
        CHECK(few.ended && few.code == 0 && few.syncfs == 0, "%ld calls of syncfs, exit code %d", few.syncfs, few.code);
    }
    Result r;
    char out[OUTPUT] = "";
    snprintf(args, sizeof args, "%s endless --seeds 0-49999999", command);
    pid_t pid = start(s, args, 0, "stdout.txt");
    for (int i = 0; i < 1000 && !lines(out); i++) nanosleep(&(struct timespec){0, 10000000}, NULL), read_text(at(s, "stdout.txt"), out);
    CHECK(lines(out), "no line after ten seconds");
    kill(pid, SIGINT);
    for (int i = 0; i < 2000 && alive(pid); i++) nanosleep(&(struct timespec){0, 10000000}, NULL);
    CHECK(!alive(pid), "it goes on twenty seconds after the first SIGINT");
    finish(s, pid, &r);
    fails(&r, args, 130, "interrupted");
}
/* System calls of a run that only merges n images of parts that alternate seed by seed; -1: they cannot be counted. */
static long merge_calls(const Setup *s, const char *dir, int n) {
    char args[256], name[128];
    snprintf(args, sizeof args, "--seeds 0 --format npz --outdir %s", dir);
    succeeds(generate(s, args), "npz");
    Error e = {0};
    uint8_t *pixels = dg_alloc(64 * IMAGE_BYTES);
    for (int part = 0; part * 64 < n; part++) {
        int64_t shape[4] = {64, IMAGE_SIDE, IMAGE_SIDE, 3};
        snprintf(name, sizeof name, "%s/part-%06d-%06d.npz", dir, part * 128 + 1, part * 128 + 127);
        if (part % 2) snprintf(name, sizeof name, "%s/part-%06d-%06d.npz", dir, (part - 1) * 128 + 2, (part - 1) * 128 + 128);
        NpzWriter *w = npz_writer_open(at(s, name), &e);
        bool ok = w && npz_writer_array(w, "arr_0", 'u', 1, 4, shape, &e) && npz_writer_data(w, pixels, 64 * IMAGE_BYTES, &e) &&
                  npz_writer_array(w, "arr_1", 'i', 8, 1, shape, &e);
        for (int64_t i = 0, label = 0; i < 64 && ok; i++) ok = npz_writer_data(w, &label, sizeof label, &e);
        ok = ok && npz_writer_array(w, "seeds", 'u', 8, 1, shape, &e);
        for (int i = 0; i < 64 && ok; i++) {
            uint64_t seed = (uint64_t)(part / 2 * 128 + 2 * i + 1 + part % 2);
            ok = npz_writer_data(w, &seed, sizeof seed, &e);
        }
        CHECK(ok && npz_writer_finish(w, &e), "%s: %s", name, e.text);
    }
    free(pixels);
    Calls calls;
    snprintf(args, sizeof args,
             "generate --device cpu --threads 1 --network tiny.safetensors --steps 1 --seeds 0-%d --format npz --outdir %s", n, dir);
    if (!count_calls(s, args, false, 1000000, &calls)) return -1;
    CHECK(calls.ended && calls.code == 0 && count_files(s, dir, "part-") == 0, "%s: not merged: exit code %d", dir, calls.code);
    Images x = images_new(n + 1);
    images_read(&x, at(s, dir));
    CHECK(images_there(&x) == n + 1 && x.files == 0, "%s: %d images of %d, %d wrong files", dir, images_there(&x), n + 1, x.files);
    images_free(&x);
    return calls.calls;
}
static void merging(const Setup *s) {
    enum { FEW = 128, MANY = 2048 };
    long few = merge_calls(s, "m1", FEW), many = merge_calls(s, "m2", MANY);
    if (few < 0 || many < 0) not_run("counting what merging asks of the system: this machine does not allow ptrace");
    else CHECK(many - few < MANY - FEW, "merging %d more images took %ld more system calls", MANY - FEW, many - few);
}

/* ---- several runs, presets, forms of npz ---------------------------------------------------------------------------------------- */
static void together(const Setup *s, const char *format) {
    char args[512], dir[32];
    snprintf(dir, sizeof dir, "both-%s", format);
    snprintf(args, sizeof args,
             "generate --device cpu --threads 1 --network tiny.safetensors --steps 1 --batch 2 --seeds 1000-99999 --format %s --outdir %s",
             format, dir);
    pid_t first = start(s, args, 0, "first.txt");
    for (int i = 0; i < 3000 && count_files(s, dir, format) < 2; i++) nanosleep(&(struct timespec){0, 10000000}, NULL);
    static const struct {
        const char *args;
        int code;
        const char *pattern;
    } second[] = {{"--seeds 0-9", 0, ""},
                  {"--seeds 5,99990-99999", 1, "another run is making seed 99990 there"},
                  {"--seeds 10-19 --rho 6", 1, "rho was 7, is now 6"},
                  {"--seeds 10-19 --overwrite", 1, "another run is making images there"}};
    for (size_t i = 0; i < 4; i++) {
        snprintf(args, sizeof args, "%s --format %s --outdir %s", second[i].args, format, dir);
        Result *r = generate(s, args);
        if (second[i].code) fails(r, args, second[i].code, second[i].pattern);
        else succeeds(r, args);
    }
    snprintf(args, sizeof args, "generate --device cpu --network other.safetensors --steps 1 --seeds 10-19 --format %s --outdir %s", format,
             dir);
    fails(run(s, args), args, 1, "network sha256");
    Result r;
    kill(first, SIGINT);
    finish(s, first, &r);
    CHECK(r.code == 130, "the first run: exit code %d", r.code);
    Json *j = manifest(s, dir);
    CHECK(json_get(j, "runs")->count == 2, "%d records of two runs", json_get(j, "runs")->count);
    long made = made_of(j);
    json_free(j);
    Images x = images_new(100000);
    images_read(&x, at(s, dir));
    CHECK(x.files == 0 && images_there(&x) == made && made > 10, "%s: %d images, %d wrong files, %ld in the records", dir, images_there(&x),
          x.files, made);
    images_free(&x);
    CHECK(count_files(s, dir, ".dg_cuda") == 0, "a lock or a claim is left");
}
static void presets(const Setup *s) {
    Result *r = run(s, "generate --preset edm-cifar10 --dry-run --device cpu");
    succeeds(r, "a preset");
    CHECK(strstr(r->out, "not guided") && strstr(r->out, "--dg_weight_1st_order = 0\n"), "EDM's preset is guided: %s", r->out);
    r = run(s, "generate --dg_weight_1st_order 0 --dg_weight_2nd_order 1 --dry-run --device cpu");
    CHECK(strstr(r->out, "guided, weights 0 and 1"), "%s", r->out);
    fails(run(s, "generate --preset edm-cifar10 --preset edm-ffhq64"), "two presets", 2, "one preset");
    r = run(s, "generate --help");
    CHECK(strstr(r->out, "no guidance") && strstr(r->out, "guided, weight 2") && !strstr(r->out, "out/grid.png"),
          "the help of presets and grids");
    CHECK(strstr(run(s, "--help")->out, "--grid grid.png"), "the overview puts the grid among the images");
}
static void npz_forms(const Setup *s) {
    static const char *const form[] = {"--npz-keys dg", "--save-latents"};
    Error e = {0};
    for (int latents = 0; latents < 2; latents++) {
        char args[256], dir[16], file[64];
        snprintf(dir, sizeof dir, "form%d", latents), snprintf(file, sizeof file, "%s/samples.npz", dir);
        snprintf(args, sizeof args, "--class balanced --format npz %s --outdir %s --seeds 0-5", form[latents], dir);
        succeeds(generate(s, args), args);
        strcat(args, ",6,7");
        succeeds(generate(s, args), args);
        NpyArray x = {0}, label = {0}, seeds = {0};
        Npz *z = npz_open(at(s, file), &e);
        if (!CHECK(z && npz_read(z, "samples", &x, &e) && npz_read(z, "label", &label, &e) && npz_read(z, "seeds", &seeds, &e), "%s",
                   e.text))
            return;
        CHECK(npz_count(z) == 3 && seeds.count == 8 && label.dims == 2 && label.shape[0] == 8 && label.shape[1] == 3 && label.dtype == 'f',
              "%s: labels", file);
        for (int i = 0; i < 8; i++)
            for (int c = 0; c < 3; c++)
                CHECK(npy_value(&label, (size_t)(3 * i + c)) == (i % 3 == c), "%s: label %d of image %d", file, c, i);
        succeeds(generate(s, "--class balanced --seeds 0-7 --outdir balanced"), "png of the same");
        CHECK(x.dims == 4 && x.shape[0] == 8 && x.shape[1] == (latents ? 3 : 8) && x.dtype == (latents ? 'f' : 'u') &&
                  x.bytes == (latents ? 4 : 1),
              "%s: shape", file);
        for (size_t i = 0; i < 8; i++) {
            uint8_t png[IMAGE_BYTES];
            char name[64];
            int off = 0;
            snprintf(name, sizeof name, "balanced/%06zu.png", i);
            CHECK(image_read_png(at(s, name), png, 8, 8, 3, &e), "%s", e.text);
            for (size_t k = 0; k < IMAGE_BYTES; k++) {
                double v = npy_value(&x, i * IMAGE_BYTES + (latents ? k % 3 * 64 + k / 3 : k)),
                       byte = latents ? fmin(fmax(127.5 * v + 128, 0), 255) : v;
                off += !(fabs(floor(byte) - png[k]) <= (latents ? 1 : 0));
            }
            CHECK(off == 0, "%s: %d values of image %zu differ from %s", file, off, i, name);
        }
        npy_free(&x), npy_free(&label), npy_free(&seeds);
        npz_close(z);
    }
    fails(generate(s, "--seeds 0-9 --format npz --outdir form0"), "other names in one folder", 1, "npz-keys was \"dg\", is now \"edm\"");
    fails(generate(s, "--seeds 0 --save-latents --outdir x"), "latents as PNG", 2, "--save-latents: .*--format npz");
    fails(generate(s, "--seeds 0 --save-latents --format npz --outdir x --grid x.png"), "a grid of latents", 2, "--grid");
}
/* The same file but for its labels. */
static void with_labels(const Setup *s, const char *file, const char *images, const char *labels, const void *values) {
    Error e = {0};
    NpyArray x = {0}, y = {0}, seeds = {0};
    Npz *z = npz_open(at(s, file), &e);
    bool ok = z && npz_read(z, images, &x, &e) && npz_read(z, labels, &y, &e) && npz_read(z, "seeds", &seeds, &e);
    npz_close(z);
    NpzWriter *w = ok ? npz_writer_open(at(s, file), &e) : NULL;
    ok = w && npz_writer_array(w, images, x.dtype, x.bytes, x.dims, x.shape, &e) &&
         npz_writer_data(w, x.data, x.count * (size_t)x.bytes, &e) && npz_writer_array(w, labels, y.dtype, y.bytes, y.dims, y.shape, &e) &&
         npz_writer_data(w, values, y.count * (size_t)y.bytes, &e) &&
         npz_writer_array(w, "seeds", seeds.dtype, seeds.bytes, seeds.dims, seeds.shape, &e) &&
         npz_writer_data(w, seeds.data, seeds.count * (size_t)seeds.bytes, &e);
    CHECK(ok && npz_writer_finish(w, &e), "%s", e.text);
    npy_free(&x), npy_free(&y), npy_free(&seeds);
}
/* Labels that no run has written are not taken for others, nor written on. */
static void wrong_labels(const Setup *s) {
    static const char dg[] = "--class balanced --format npz --npz-keys dg --outdir labels-dg --seeds ";
    static const char edm[] = "--class balanced --format npz --outdir labels-edm --seeds ";
    static const float rows[][6] = {{1, 0, 0, 1, 0, 1}, {1, 0, 0, 0, 2, 0}, {1, 0, 0, 0, NAN, 0}};
    static const int64_t numbers[][2] = {{0, (int64_t)1 << 32}, {0, -2}};
    char args[256];
    snprintf(args, sizeof args, "%s0-1", dg), succeeds(generate(s, args), args);
    snprintf(args, sizeof args, "%s0-1", edm), succeeds(generate(s, args), args);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        with_labels(s, "labels-dg/samples.npz", "samples", "label", rows[i]);
        snprintf(args, sizeof args, "%s0-2", dg);
        fails(generate(s, args), args, 1, "array label: row 1 is no class");
    }
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        with_labels(s, "labels-edm/samples.npz", "arr_0", "arr_1", numbers[i]);
        snprintf(args, sizeof args, "%s0-2", edm);
        fails(generate(s, args), args, 1, "array arr_1: row 1 is no class");
    }
    with_labels(s, "labels-dg/samples.npz", "samples", "label", (const float[]){0, 0, 0, 0, 1, 0}); /* an image without a class */
    snprintf(args, sizeof args, "%s0-2", dg), succeeds(generate(s, args), args);
}
int main(int argc, char **argv) {
    Setup s = {.device = "cpu", .dir = "/tmp/dg_test_folders_XXXXXX"};
    char *real = argc > 1 ? realpath(argv[1], NULL) : program_of_build(argv[0], false, "dg_cuda");
    Error e = {0};
    s.program = real;
    if (!image_png_available(NULL)) {
        not_run("folders: this build writes no PNG files");
        return check_done("test_folders");
    }
    if (!CHECK(real, "no program") || !CHECK(mkdtemp(s.dir), "no temporary folder") ||
        !CHECK(tiny_write(at(&s, "tiny.safetensors"), tiny_network_config, 1, &e) &&
                   tiny_write(at(&s, "other.safetensors"), tiny_network_config, 2, &e),
               "%s", e.text))
        return check_done("test_folders");
    Images reference = images_new(16);
    succeeds(generate(&s, "--seeds 0-15 --outdir reference"), "the reference");
    images_read(&reference, at(&s, "reference"));
    CHECK(images_there(&reference) == 16, "%d images of 16", images_there(&reference));
    damaged_pngs(&s, &reference);
    damaged_npz(&s, &reference);
    strays(&s);
    overwriting(&s, &reference);
    grid_files(&s);
    CHECK(tiny_write(at(&s, "tiny.safetensors"), tiny_network_config, 1, &e), "%s", e.text); /* should a grid have taken its place */
    records(&s);
    many_seeds(&s);
    merging(&s);
    together(&s, "png");
    together(&s, "npz");
    presets(&s);
    npz_forms(&s);
    wrong_labels(&s);
    images_free(&reference);
    remove_folder(s.dir);
    free(real);
    return check_done("test_folders");
}
