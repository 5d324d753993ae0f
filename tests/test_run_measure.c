/* test_run_measure.c -- generate --metrics: what it measures is what eval measures of the images, to the last bit, in batches of any size, of
 * either format, after kills, and without images; and what does not belong to its statistics is refused.
 * Usage: test_run_measure [DEVICE].                                                                                         */
#include "eval_sets.h"
#include "measure/statistics.h"
#include "tiny_model.h"
#include <inttypes.h>

#if defined DG_HAVE_LAPACK && defined DG_HAVE_STB && defined DG_HAVE_ZLIB
static const char small_config[] = "{\"kind\": \"inception\", \"num_classes\": 20, \"image_size\": 107, \"depth_multiplier\": 0.125}";
static const char measures[] =
    "--protocol adm --metrics fid,sfid,is,pr,dc,kid --inception inception.safetensors --ref real.stats.npz --output json";

/* One line of JSON: the results alone, but for the images' name. */
static char *results(const Result *r) {
    const char *from = strstr(r->out, "\"results\": ["), *n = from ? strstr(from, "\"N\"") : NULL, *end = n ? strstr(n, "]") : NULL;
    return end ? strndup(n, (size_t)(end - n)) : dg_strdup("no results");
}
static Result *make(const Setup *s, const char *args) {
    char all[2048];
    snprintf(all, sizeof all, "generate --device %s --network tiny.safetensors --steps 1 %s %s", s->device, measures, args);
    return run(s, all);
}
/* eval of the same images, on the same device. */
static Result *measure(const Setup *s, const char *images) {
    char all[2048];
    snprintf(all, sizeof all, "eval --device %s %s --images %s", s->device, measures, images);
    return run(s, all);
}
static void check_equal(const char *what, const char *found, const char *wanted) {
    CHECK(strstr(wanted, "\"fid\"") && strstr(wanted, "\"kid\"") && !strcmp(found, wanted), "%s: %s, eval gives %s", what, found, wanted);
}

/* ---- equal to eval -------------------------------------------------------------------------------------------------------------------- */
/* Batches and formats; *wanted becomes what eval gives of images 0 to 23. */
static void equals_eval(const Setup *s, char **wanted) {
    static const struct {
        const char *args, *images;
    } runs[] = {{"--outdir a --batch 7", "a"},
                {"--outdir b --batch 64", "b"},
                {"--outdir c --batch 7 --format npz", "c/samples.npz"},
                {"--outdir d --batch 64 --format npz", "d/samples.npz"}};
    char args[256];
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
        snprintf(args, sizeof args, "--seeds 0-23 %s", runs[i].args);
        Result *r = make(s, args);
        succeeds(r, args);
        char *found = results(r), *eval = results(measure(s, runs[i].images));
        check_equal(args, found, eval);
        if (*wanted) CHECK(!strcmp(eval, *wanted), "%s: other images: %s", args, eval);
        else *wanted = dg_strdup(eval);
        free(found), free(eval);
    }
    CHECK(exists(s, "a/statistics_0-23.npz"), "no file of statistics");
    /* the file is one that eval takes, with what its measures need */
    snprintf(args, sizeof args, "a/statistics_0-23.npz");
    char *stored = results(measure(s, args));
    check_equal("of the file", stored, *wanted);
    free(stored);
    Result *r = make(s, "--seeds 0-23 --outdir a --batch 7");
    succeeds(r, "nothing to do");
    char *again = results(r);
    check_equal("measured already", again, *wanted);
    free(again);
    /* an image that is gone is made again, and not measured twice */
    unlink(at(s, "a/000005.png"));
    r = make(s, "--seeds 0-23 --outdir a --batch 7");
    succeeds(r, "an image is gone");
    again = results(r);
    check_equal("an image that is gone", again, *wanted);
    free(again);
    CHECK(exists(s, "a/000005.png"), "it was not made again");
}
/* From latents to measures: DiT with guidance and discriminator, the autoencoder, Inception; and pictures that decode makes later. */
static void pictures_of_latents(const Setup *s) {
    static const char chain[] = "--network dit.safetensors --steps 4 --cfg_scale 1.5 --extractor extractor.safetensors --discriminator "
                                "head.safetensors --seeds 0-23 --class balanced";
    char args[2048];
    snprintf(args, sizeof args, "generate --device %s %s --vae vae.safetensors --batch 5 --vae-batch 2 --outdir pictures %s", s->device,
             chain, measures);
    Result *r = run(s, args);
    succeeds(r, "pictures of latents, measured");
    char *found = results(r), *eval = results(measure(s, "pictures"));
    check_equal("pictures of latents", found, eval);
    r = measure(s, "pictures");
    double fid = value_of(r, 0, "fid"), recall = value_of(r, 0, "recall");
    CHECK(value_of(r, 0, "N") == 24 && fid > 0 && isfinite(fid) && recall >= 0 && recall <= 1, "%s", r->out);
    snprintf(args, sizeof args, "generate --device %s %s --save-latents --format npz --outdir latents", s->device, chain);
    succeeds(run(s, args), "latents");
    snprintf(args, sizeof args, "decode latents/samples.npz --device %s --vae vae.safetensors --outdir decoded", s->device);
    succeeds(run(s, args), "pictures of stored latents");
    char *decoded = results(measure(s, "decoded"));
    const char *values = strstr(decoded, "\"fid\""), *wanted = strstr(eval, "\"fid\""); /* before them: where the rounding was learned */
    check_equal("pictures of stored latents", values ? values : decoded, wanted ? wanted : eval);
    free(found), free(eval), free(decoded);
}
/* Images that were made without measures, those of both kinds, and seeds in any order. */
static void stored_images(const Setup *s, const char *wanted) {
    static const char *const first[] = {"--seeds 0-23 --outdir late", "--seeds 4-9,20-23 --outdir mixed --format npz"};
    static const char *const then[] = {"--seeds 0-23 --outdir late --batch 16",
                                       "--seeds 14-23,0-13 --outdir mixed --format npz --batch 16 --stats mixed.npz"};
    char args[512];
    for (int i = 0; i < 2; i++) {
        snprintf(args, sizeof args, "generate --device %s --network tiny.safetensors --steps 1 %s", s->device, first[i]);
        succeeds(run(s, args), args);
        Result *r = make(s, then[i]);
        succeeds(r, then[i]);
        char *found = results(r);
        check_equal(then[i], found, wanted);
        free(found);
    }
}
static void without_images(const Setup *s, const char *wanted) {
    succeeds(make(s, "--seeds 0-9 --no-images --stats grow.npz --allow-fewer --batch 8"), "few");
    Result *r = make(s, "--seeds 0-23 --no-images --stats grow.npz --batch 64");
    succeeds(r, "more");
    char *found = results(r);
    check_equal("statistics that grow", found, wanted);
    free(found);
    CHECK(!exists(s, "out"), "a folder of no images");
    fails(make(s, "--seeds 0-13 --no-images --stats grow.npz"), "fewer than there are", 1,
          "grow.npz holds statistics of 10 seeds that --seeds does not list \\(14 is one\\)");
    fails(make(s, "--seeds 0-23 --no-images --stats grow.npz --class 1"), "other images", 1, "that other options or weights made");
    fails(make(s, "--seeds 0-23 --no-images --stats grow.npz --resize half"), "no such option", 2, "resize");
    /* features that a file keeps survive a run that has no use for them; sums of spatial features have to be wanted */
    fails(make(s, "--metrics fid --seeds 0-23 --no-images --stats grow.npz"), "without spatial features", 1,
          "has sums of spatial features");
    succeeds(make(s, "--metrics fid,sfid --seeds 0-30 --no-images --stats grow.npz"), "without single images");
    Npz *z = npz_open(at(s, "grow.npz"), NULL);
    CHECK(z && npz_has(z, "feats"), "the features are gone");
    npz_close(z);
}

/* ---- killed ----------------------------------------------------------------------------------------------------------------------------- */
/* Until the file is written anew, or the run has ended. */
static void wait_for_change(const char *path, pid_t pid) {
    struct stat before = {0}, now = {0};
    bool there = stat(path, &before) == 0, changed = false;
    for (int i = 0; i < 20000 && !changed && alive(pid); i++) {
        nanosleep(&(struct timespec){0, 500000}, NULL);
        changed = stat(path, &now) == 0 && (!there || now.st_ino != before.st_ino);
    }
}
/* Kills at all times, by a signal that leaves no choice and by one that does. */
static void killed(const Setup *s, const char *wanted, const char *where, int kills) {
    char args[2048];
    Result r;
    char file[64];
    int between = 0, ended = 0;
    snprintf(args, sizeof args, "generate --device %s --network tiny.safetensors --steps 1 %s --seeds 0-23 --batch 3 --stats-every 1 %s",
             s->device, measures, where);
    char *of = strstr(where, "--stats ") ? dg_strdup(at(s, strstr(where, "--stats ") + 8)) : NULL;
    if (!of) {
        snprintf(file, sizeof file, "%.1s/statistics_0-23.npz", strstr(where, "--outdir ") + 9);
        of = dg_strdup(at(s, file));
    }
    for (int i = 0; i < kills; i++) {
        Statistics begun;
        if (statistics_read(of, &begun, NULL)) {
            between += begun.pool->count > 0 && begun.pool->count < 24;
            statistics_free(&begun);
        }
        pid_t pid = start(s, args, 0, "stdout.txt");
        if (i % 2) wait_for_change(of, pid);
        else nanosleep(&(struct timespec){0, 1000000L * (10 + 37 * i % 90) * (strcmp(s->device, "emu") ? 1 : 4)}, NULL);
        kill(pid, i % 3 ? SIGKILL : SIGTERM);
        finish(s, pid, &r);
        ended += r.code == 0;
        CHECK(r.code == 0 || r.code == 1000 + SIGKILL || r.code == 1000 + SIGTERM || r.code == 130, "%s: exit code %d, %s", where, r.code,
              r.err);
    }
    Result *last = run(s, args);
    succeeds(last, args);
    char *found = results(last);
    check_equal(args, found, wanted);
    CHECK(value_of(last, 0, "N") == 24, "%s: %g images", where, value_of(last, 0, "N"));
    printf("%s: %d kills, %d runs began within, %d had ended before\n", where, kills, between, ended);
    CHECK(between > 0, "%s: no run went on from statistics of some of the images", where);
    free(found), free(of);
}
/* A run that is asked to end keeps what it has measured, and the next one goes on from there. */
static void stopped(const Setup *s) {
    char args[2048];
    Result r;
    Statistics of;
    Error e = {""};
    snprintf(args, sizeof args,
             "generate --device %s --network tiny.safetensors --steps 40 %s --seeds 0-399 --batch 4 --stats-every 1 --no-images --stats "
             "stopped.npz",
             s->device, measures);
    pid_t pid = start(s, args, 0, "stdout.txt");
    for (int i = 0; i < 6000 && !exists(s, "stopped.npz") && alive(pid); i++) nanosleep(&(struct timespec){0, 5000000}, NULL);
    kill(pid, SIGTERM);
    finish(s, pid, &r);
    CHECK(r.code == 130 && strstr(r.err, "interrupted: the statistics so far are in stopped.npz"), "exit code %d: %s", r.code, r.err);
    if (!CHECK(statistics_read(at(s, "stopped.npz"), &of, &e), "%s", e.text)) return;
    CHECK(of.pool->count >= 4 && of.pool->count < 400 && of.seeds.count == of.pool->count && of.seeds.ranges == 1, "%d images of %zu seeds",
          (int)of.pool->count, of.seeds.count);
    statistics_free(&of);
}

/* ---- images that are not finite ---------------------------------------------------------------------------------------------------------- */
static void not_finite(const Setup *s) {
    char args[1024];
    snprintf(args, sizeof args, "generate --device %s --dtype fp32 --network broken.safetensors --steps 2 %s --seeds 0-2 --outdir nan",
             s->device, measures);
    Result *r = run(s, args);
    fails(r, "no image is finite", 1, "not finite");
    CHECK(!strstr(r->out, "\"fid\""), "a number of no images: %s", r->out);
    /* Some are, and the same command, which makes those once more that are not, measures the others again. */
    char *first = NULL;
    for (int i = 0; i < 3; i++) {
        snprintf(args, sizeof args, "generate --device %s --dtype fp32 --network half.safetensors --steps 1 %s --seeds 0-39 %s", s->device,
                 measures, i < 2 ? "--outdir half" : "--no-images --stats half/statistics_0-39.npz");
        r = run(s, args);
        fails(r, args, 1, "^dg_cuda: [12][0-9] images have values that are not finite and were not written \\(seeds [0-9,.-]+\\): try");
        char *found = results(r);
        if (!first) first = dg_strdup(found);
        check_equal(args, found, first);
        free(found);
    }
    free(first);
}

/* ---- files ----------------------------------------------------------------------------------------------------------------------------- */
/* File names from seed 1,000,000 on are not in the order of their numbers, and eval goes by names. */
static void large_seeds(const Setup *s) {
    static const char *const runs[][2] = {
        {"--outdir large", "large"}, {"--outdir folders --subdirs", "folders"}, {"--outdir npz --format npz", "npz/samples.npz"}};
    char args[256];
    for (int i = 0; i < 3; i++) {
        snprintf(args, sizeof args, "--seeds 999990-1000009 --batch 8 %s", runs[i][0]);
        Result *r = make(s, args);
        succeeds(r, args);
        char *found = results(r), *wanted = results(measure(s, runs[i][1]));
        check_equal(args, found, wanted);
        free(found), free(wanted);
    }
}
/* Nothing else that the run writes or reads has the name of its statistics, and what is another program's is not replaced. */
static void names(const Setup *s) {
    static const char *const wrong[][2] = {{"--outdir n1 --format npz --stats n1/samples.npz", "would be an image or a record"},
                                           {"--outdir n1 --stats n1/manifest.json", "would be an image or a record"},
                                           {"--outdir n1 --grid g.png --stats g.png", "--grid and --stats are both g.png"},
                                           {"--no-images --stats t.npz --trace ./t.npz", "--trace and --stats are both t.npz"},
                                           {"--no-images --stats real.stats.npz", "is a file that is read"}};
    char args[256];
    for (int i = 0; i < 5; i++) {
        snprintf(args, sizeof args, "--seeds 0-4 %s", wrong[i][0]);
        fails(make(s, args), args, 2, wrong[i][1]);
    }
    write_file(s, "mine.npz", "not a file of statistics");
    fails(make(s, "--seeds 0-4 --outdir n2 --overwrite --stats mine.npz"), "--overwrite of another file", 1, "mine.npz");
    CHECK(exists(s, "mine.npz"), "another file was removed");
    succeeds(make(s, "--seeds 0-4 --outdir n3 --class 1"), "class 1");
    fails(make(s, "--seeds 0-4 --outdir n4 --class 2 --stats n3/statistics_0-4.npz"), "statistics of others", 1,
          "other options or weights");
    succeeds(make(s, "--seeds 0-4 --outdir n3 --class 2 --overwrite"), "--overwrite");
    succeeds(make(s, "--seeds 0-4 --no-images --stats new/folder/x.npz"), "a new folder");
    succeeds(make(s, "--seeds 5-9 --class 1 --no-images --stats p1.npz"), "a part");
    succeeds(make(s, "--seeds 10-14 --class 2 --no-images --stats p2.npz"), "a part of other images");
    fails(run(s, "eval merge p1.npz p2.npz --out p.npz"), "parts made with other options", 1, "made");
}

/* ---- what does not go together ------------------------------------------------------------------------------------------------------------ */
static void refusals(const Setup *s) {
    static const struct {
        const char *args;
        int code;
        const char *sentence;
    } all[] = {
        {"--seeds 0-3 --stats x.npz", 2, "--stats is of a run with --metrics"},
        {"--seeds 0-3 --no-images", 2, "--no-images is of a run with --metrics"},
        {"--seeds 0-3 --metrics fid --ref real.npz", 2, "--metrics needs --protocol"},
        {"--seeds 0-3 --metrics fid --protocol adm", 2, "--metrics needs --ref"},
        {"--seeds 0-3 --metrics fd --protocol adm --ref real.npz", 2, "fd"},
        {"--seeds 0-3 --metrics class,fd --protocol shapes32", 2, "it is measured by eval"},
        {"--seeds 7 --metrics fid --protocol adm --ref real.npz", 2, "one image has no covariance"},
        {"--seeds 0-3 --metrics fid --protocol edm --ref real.npz", 2, "holds 4 images, and protocol edm wants 50000"},
        {"--seeds 0-50000 --metrics fid --protocol edm --ref real.npz", 2, "protocol edm measures 50000 images, and --seeds lists 50001"},
        {"--seeds 0-3 --metrics fid --protocol adm --ref real.npz --no-images", 2, "needs --stats"},
        {"--seeds 0-3 --metrics fid --protocol adm --ref real.npz --no-images --stats x.npz --autotune on", 2,
         "--no-images and --provider auto: "},
        {"--seeds 0-3 --metrics fid --protocol adm --ref real.npz --no-images --stats x.npz --outdir y", 2, "leave out --outdir"},
        {"--seeds 0-3 --metrics fid --protocol adm --ref real.npz --stats real.npz", 2, "real.npz is a file that is read"},
        {"--seeds 0-3 --metrics fid --protocol adm --ref nowhere.npz --stats x.npz", 2, "nowhere.npz: cannot open"},
        {"--seeds 0-3 --metrics fid --protocol adm --ref real.npz --stats x.npz", 1, "pt_inception-2015-12-05"},
        {"--seeds 0-3 --metrics fid --protocol adm --ref real.npz --inception inception.safetensors --stats tiny.safetensors", 2,
         "tiny.safetensors is a file that is read"},
        {"--seeds 0-3 --metrics fid --protocol adm --ref real.npz --save-latents --format npz", 2, "--save-latents stores something else"}};
    char args[1024];
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        snprintf(args, sizeof args, "generate --device %s --network tiny.safetensors --steps 1 %s", s->device, all[i].args);
        fails(run(s, args), all[i].args, all[i].code, all[i].sentence);
        CHECK(!exists(s, "x.npz"), "%s: a file is left", all[i].args);
    }
    write_file(s, "cut.npz", "no archive");
    fails(make(s, "--seeds 0-3 --no-images --stats cut.npz"), "a file that is none", 1, "cut.npz");
}

int main(int argc, char **argv) {
    const char *device = argc > 1 ? argv[1] : "cpu";
    bool emu = !strcmp(device, "emu");
    char *real = program_of_build(argv[0], emu, emu ? "dg_cuda-emu" : "dg_cuda");
    Setup s = {.program = real, .device = device, .dir = "/tmp/dg_test_measure_XXXXXX"};
    Error e = {""};
    char *wanted = NULL;
    if (!CHECK(real, "no program dg_cuda beside the tests") || !CHECK(mkdtemp(s.dir), "no temporary folder"))
        return check_done("test_run_measure");
    CHECK(tiny_write_model(NULL, at(&s, "inception.safetensors"), small_config, 1, &e), "%s", e.text);
    CHECK(tiny_write(at(&s, "tiny.safetensors"), tiny_network_config, 1, &e), "%s", e.text);
    CHECK(tiny_write_model(NULL, at(&s, "dit.safetensors"), tiny_dit_config, 1, &e), "%s", e.text);
    CHECK(tiny_write_model(NULL, at(&s, "vae.safetensors"), tiny_vae_config, 1, &e), "%s", e.text);
    CHECK(tiny_write_model(NULL, at(&s, "extractor.safetensors"), tiny_latent_extractor_config, 1, &e), "%s", e.text);
    CHECK(tiny_write_model(NULL, at(&s, "head.safetensors"), tiny_head_config, 1, &e), "%s", e.text);
    CHECK(tiny_write(at(&s, "broken.safetensors"), tiny_network_config, 1e38f, &e), "%s", e.text);
    CHECK(tiny_write(at(&s, "half.safetensors"), tiny_network_config, 1.7e38f, &e), "%s",
          e.text); /* half of one step's images are finite */
    write_array(&s, "real.npz", 0, 30, SIDE, false, false);
    succeeds(
        eval(&s,
             "ref --protocol adm --features --inception inception.safetensors --images real.npz --metrics fid,sfid --out real.stats.npz"),
        "a reference");
    equals_eval(&s, &wanted);
    stored_images(&s, wanted);
    without_images(&s, wanted);
    killed(&s, wanted, "--outdir k", emu ? 7 : 20);
    killed(&s, wanted, "--outdir l --format npz", emu ? 7 : 20);
    killed(&s, wanted, "--no-images --stats n.npz", emu ? 6 : 20);
    stopped(&s);
    large_seeds(&s);
    if (!emu) names(&s);
    if (!emu) pictures_of_latents(&s);
    not_finite(&s);
    refusals(&s);
    remove_folder(s.dir);
    free(real), free(wanted);
    return check_done("test_run_measure");
}
#else
int main(void) {
    not_run("generate --metrics: built without LAPACK, stb_image_write or zlib");
    return check_done("test_run_measure");
}
#endif
