/* test_cli.c -- the program from outside: wrong command lines, help texts, resuming, refusing, interrupting, full disks,
 * images that do not depend on the batch. Usage: test_cli [PROGRAM]; without it, dg_cuda of the same build folder.      */
#include "device/device.h"
#include "program/commands.h"
#include "files/image.h"
#include "files/npz.h"
#include "program.h"
#include "tiny_model.h"
#include "base/version.h"

/* generate with the tiny model, its discriminator, two steps. */
static Result *generate(const Setup *s, const char *args) {
    char all[2048];
    snprintf(
        all, sizeof all,
        "generate --device %s --network tiny.safetensors --extractor extractor.safetensors --discriminator head.safetensors --steps 2 %s",
        s->device, args);
    return run(s, all);
}

/* ---- wrong command lines -------------------------------------------------------------------------------------------------- */
static const struct {
    const char *args;
    int code;
    const char *pattern;
} wrong[] = {
    {"", 2, "no command"},
    {"generat", 2, "did you mean generate"},
    {"vrify", 2, "did you mean verify"},
    {"frobnicate", 2, "no command frobnicate.*--help"},
    {"--seeds 0-3", 2, "a command comes first"},
    {"help frobnicate", 2, "no command frobnicate"},
    {"generate --step 4x", 2, "--step: did you mean --steps"},
    {"generate --sigma-mim 1", 2, "did you mean --sigma_min"},
    {"generate --dg_weigth_1st_order 1", 2, "did you mean --dg_weight_1st_order"},
    {"generate --xyzzy", 2, "no option --xyzzy.*--help"},
    {"generate -n 4", 2, "-n: options begin with two dashes"},
    {"generate seeds", 2, "takes options alone"},
    {"generate --seeds", 2, "--seeds: its value is missing"},
    {"generate --seeds --steps 4", 2, "--seeds: its value is missing"},
    {"generate --seeds=", 2, "--seeds: the value is empty"},
    {"generate --seeds a-b", 2, "--seeds"},
    {"generate --seeds 5-3", 2, "runs backwards"},
    {"generate --seeds 0-3,2", 2, "seed 2 is listed twice"},
    {"generate --seeds 0,", 2, "a number is missing"},
    {"generate --seeds 0;5", 2, "not a list of seeds"},
    {"generate --seeds -4", 2, "a number is missing"},
    {"generate --seeds 99999999999999999999", 2, "larger than 2"},
    {"generate --seeds 0-99999999999", 2, "more than .* at once"},
    {"generate --steps 0", 2, "--steps: 0 is outside .*1 to"},
    {"generate --steps 4.5", 2, "not a whole number"},
    {"generate --steps ''", 2, "not a whole number"},
    {"generate --steps 99999999999999", 2, "--steps: .* outside"},
    {"generate --batch -1", 2, "--batch: -1 is outside"},
    {"generate --rho zero", 2, "--rho: \"zero\" is not a number"},
    {"generate --rho nan", 2, "not a number"},
    {"generate --rho 0", 2, "--rho"},
    {"generate --sigma_min -1", 2, "--sigma_min: -1 is too small"},
    {"generate --sigma_min 0", 2, "sigma_min: 0 is not positive"},
    {"generate --sigma_max 0", 2, "sigma_max: 0 is not positive"},
    {"generate --sigma_min 5 --sigma_max 2", 2, "sigma_min 5 is not below sigma_max 2"},
    {"generate --S_churn -1", 2, "--S_churn"},
    {"generate --S_min 5 --S_max 1", 2, "S_max"},
    {"generate --time_min 0.9 --time_max 0.1", 2, "time_min 0.9 and time_max 0.1"},
    {"generate --dg_weight_1st_order inf", 2, "--dg_weight_1st_order"},
    {"generate --solver rk4", 2, "--solver: \"rk4\" is not one of heun.euler"},
    {"generate --disc foo", 2, "--disc: .*edm.vp.ve.iddpm"},
    {"generate --solver euler", 2, "without guidance by a discriminator"},
    {"generate --format jpg", 2, "--format: .*png.npz"},
    {"generate --subdirs --format npz", 2, "--subdirs"},
    {"generate --subdirs=maybe", 2, "neither 1 nor 0"},
    {"generate --overwrite --grid g.png", 2, "--overwrite needs --outdir"},
    {"generate --preset edm-cifar", 2, "--preset.*edm-cifar10"},
    {"generate --preset zzz", 2, "--preset.*--help"},
    {"generate --preset edm-cifar10 --preset edm-ffhq64", 2, "one preset at a time"},
    {"generate --save-latents", 2, "--save-latents: .*--format npz"},
    {"generate --npz-keys dg", 2, "--npz-keys: .*--format npz"},
    {"generate --seeds 0-699 --grid g.png --grid-scale 32", 2, "--grid: .*at most"},
    {"generate --class purple", 2, "--class: \"purple\""},
    {"generate --class 10", 2, "outside this network's classes, 0 to 9"},
    {"generate --network uncond.safetensors --class 0 --outdir x", 2, "unconditional"},
    {"generate --extractor a.pt", 2, "--discriminator is missing"},
    {"generate --discriminator a.pt", 2, "--extractor is missing"},
    {"generate --network tiny.safetensors --dg_weight_1st_order 1", 2, "needs --extractor"},
    {"generate --dg-gate often", 2, "--dg-gate"},
    {"generate --dtype fp8", 2, "--dtype: .*fp16"},
    {"generate --provider nvidia", 2, "--provider: .*own.auto.cudnn.cublaslt"},
    {"generate --autotune perhaps", 2, "--autotune: .*off.on"},
    {"generate --provider auto --autotune on", 2, "--provider and --autotune say the same in two words"},
    {"generate --device ref --provider cudnn", 1, "--provider cudnn: .*run on device cuda, not on ref"},
    {"bench --device cpu --provider cublaslt", 1, "--provider cublaslt: .*run on device cuda, not on cpu"},
    {"generate --threads -2", 2, "--threads"},
    {"generate --seeds 0-20000 --grid g.png", 2, "a grid shows at most"},
    {"generate --network missing.safetensors", 1, "missing.safetensors: cannot open"},
    {"generate --network notes.txt", 1, "notes.txt"},
    {"generate --network head.safetensors", 1, "head.safetensors: .*head"},
    {"generate --network tiny.safetensors --extractor head.safetensors --discriminator head.safetensors --outdir x", 1, "extractor"},
    {"generate --network tiny.safetensors --extractor extractor.safetensors --discriminator missing.pt", 1, "missing.pt"},
    {"generate --device toaster", 1, "device toaster"},
    {"generate --device ref --dtype fp16", 1, "fp32 only"},
    {"generate --device ref:x", 1, "not a device number"},
    {"generate --outdir notes.txt", 1, "notes.txt: .*not a folder"},
    {"generate --outdir notes.txt/below", 1, "notes.txt"},
    {"verify", 2, "CASE... is missing"},
    {"verify --device ref missing.safetensors", 1, "missing.safetensors"},
    {"verify --device ref tiny.safetensors", 1, "not a golden case"},
    {"verify --tolerance-factor 0 x", 2, "--tolerance-factor"},
    {"verify --seeds 3 x", 2, "no option --seeds"},
    {"info", 2, "FILE is missing"},
    {"info a b", 2, "takes 1 operand"},
    {"info missing.safetensors", 1, "missing.safetensors"},
    {"info notes.txt", 1, "notes.txt"},
    {"info tiny.safetensors --batch -3", 2, "--batch"},
    {"info tiny.safetensors --batch 65536", 2, "--batch: 65536 is outside"}, /* a CUDA grid has room for 65535 */
    {"generate --batch 65536", 2, "--batch: 65536 is outside"},
    {"bench --batch 65536", 2, "--batch: 65536 is outside"},
    {"convert tiny.safetensors", 2, "the result.s name is missing"},
    {"convert tiny.safetensors other.pt", 2, "ends in .safetensors"},
    {"convert tiny.safetensors tiny.safetensors", 2, "its own conversion"},
    {"convert notes.txt new.safetensors", 1, "notes.txt"},
    {"convert missing.pt new.safetensors", 1, "missing.pt"},
    {"convert tiny.safetensors new.safetensors --dtype bf16", 2, "--dtype: .*keep.fp16.fp32"},
    {"convert tiny.safetensors new.safetensors --num_head_channels x", 2, "--num_head_channels"},
    {"bench --synthetic missing.json", 1, "missing.json"},
    {"bench --synthetic empty.json", 1, "neither the configuration"},
    {"bench --synthetic empty.json --network tiny.safetensors", 2, "one or the other"},
    {"bench --extractor extractor.safetensors", 2, "go together"},
    {"bench --repeats 0", 2, "--repeats"},
    {"bench --synthetic empty.json --gnet tiny.safetensors", 2, "--gnet is one: give one or the other"},
    {"bench --network tiny.safetensors --gnet tiny.safetensors", 2, "--gnet needs --guidance"},
    {"bench --network tiny.safetensors --classifier head.safetensors --classifier_scale 1 --json head.safetensors", 2,
     "a file that is read"},
};
static void wrong_command_lines(const Setup *s) {
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        Result *r = run(s, wrong[i].args);
        fails(r, wrong[i].args, wrong[i].code, wrong[i].pattern);
        CHECK(!strstr(r->err, "mistake in dg_cuda") && strlen(r->err) < 1100, "%s: %s", wrong[i].args, r->err);
    }
    CHECK(!exists(s, "out") && !exists(s, "x/000000.png"), "a wrong command line left files");
}

/* ---- help ------------------------------------------------------------------------------------------------------------------ */
static void help_texts(const Setup *s) {
    static const Command *const commands[] = {&command_generate, &command_decode, &command_encode,  &command_pack,
                                              &command_verify,   &command_info,   &command_convert, &command_bench};
    Result *all = run(s, "--help");
    succeeds(all, "--help");
    for (size_t k = 0; k < sizeof commands / sizeof *commands; k++) {
        const Command *c = commands[k];
        CHECK(strstr(all->out, c->name), "--help does not name %s", c->name);
    }
    for (size_t k = 0; k < sizeof commands / sizeof *commands; k++) {
        const Command *c = commands[k];
        char args[64], wanted[128];
        snprintf(args, sizeof args, "%s --help", c->name);
        Result *r = run(s, args);
        succeeds(r, args);
        for (int i = 0; i < c->options; i++) {
            snprintf(wanted, sizeof wanted, "  --%s", c->option[i].name);
            CHECK(strstr(r->out, wanted), "%s does not list --%s", args, c->option[i].name);
            CHECK(c->option[i].help && strlen(c->option[i].help) > 5, "--%s has no help", c->option[i].name);
        }
        for (const Preset *p = c->preset; p && p->name; p++) CHECK(strstr(r->out, p->name), "%s does not list preset %s", args, p->name);
    }
    CHECK(strstr(run(s, "--version")->out, DG_VERSION), "--version");
    CHECK(run(s, "help generate")->code == 0, "help generate");
    Result r;
    finish(s, start(s, "generate --help", 0, "/dev/full"), &r);
    CHECK(r.code == 1 && matches(r.err, "standard output"), "a full standard output: exit code %d, %s", r.code, r.err);
}

/* ---- folders --------------------------------------------------------------------------------------------------------------- */
static void resuming(const Setup *s) {
    if (!succeeds(generate(s, "--seeds 0-9 --batch 4 --outdir a"), "a first run")) return;
    CHECK(count_files(s, "a", ".png") == 10 && exists(s, "a/000009.png"), "%d images of 10", count_files(s, "a", ".png"));
    Json *j = manifest(s, "a");
    const Json *runs = json_get(j, "runs"), *one = runs ? runs->child : NULL;
    CHECK(one && runs->count == 1 && json_get(one, "complete")->boolean && json_get(one, "made")->number == 10, "the manifest's run");
    CHECK(one && json_get(one, "network calls")->number == 3 && json_get(one, "guided calls")->number == 1,
          "2 steps are 3 network calls, %g", one ? json_get(one, "network calls")->number : 0);
    CHECK(json_get(json_get(j, "images"), "network sha256"), "the manifest has no hash");
    json_free(j);
    Result *again = generate(s, "--seeds 0-9 --outdir a");
    succeeds(again, "the same run again");
    CHECK(strstr(again->out, "10 of 10 images are there already"), "%s", again->out);
    unlink(at(s, "a/000003.png")), unlink(at(s, "a/000007.png"));
    succeeds(generate(s, "--seeds 0-11 --batch 64 --outdir a"), "a run that goes on");
    succeeds(generate(s, "--seeds 3,11,7 --outdir b"), "other seeds");
    CHECK(same_file(s, "a/000003.png", "b/000003.png") && same_file(s, "a/000007.png", "b/000007.png") &&
              same_file(s, "a/000011.png", "b/000011.png"),
          "an image depends on the seeds beside it");
    CHECK(!same_file(s, "a/000003.png", "a/000007.png"), "two seeds make one image");
    CHECK(count_files(s, "a", "partial") == 0, "unfinished files are left");
}
static void refusing(const Setup *s) {
    fails(generate(s, "--seeds 0-9 --outdir a --dg_weight_1st_order 1"), "another weight", 1, "dg_weight_1st_order was 2, is now 1");
    fails(generate(s, "--seeds 0-9 --outdir a --rho 5 --class balanced"), "another rho", 1,
          "class was \"seeded\", is now \"balanced\"; rho was 7, is now 5");
    fails(generate(s, "--seeds 0-9 --outdir a --format npz"), "another format", 1, "format was");
    char args[512];
    snprintf(args, sizeof args,
             "generate --device %s --network other.safetensors --extractor extractor.safetensors --discriminator head.safetensors --steps "
             "2 --seeds 0-9 --outdir a",
             s->device);
    fails(run(s, args), "another network", 1, "network sha256 was");
    CHECK(count_files(s, "a", ".png") == 12, "refusing changed the folder");
    succeeds(generate(s, "--seeds 0-2 --outdir c"), "a run");
    CHECK(rename(at(s, "a/000000.png"), at(s, "kept.png")) == 0, "rename");
    succeeds(generate(s, "--seeds 0-2 --outdir a --dg_weight_1st_order 1 --overwrite"), "--overwrite");
    CHECK(count_files(s, "a", ".png") == 3, "--overwrite left %d images", count_files(s, "a", ".png"));
    CHECK(exists(s, "a/000000.png") && !same_file(s, "a/000000.png", "kept.png"), "the guidance weight changes nothing");
    mkdir(at(s, "foreign"), 0777);
    write_file(s, "foreign/000000.png", "somebody's");
    fails(generate(s, "--seeds 0-2 --outdir foreign"), "a folder with images", 1, "no manifest.json");
    write_file(s, "foreign/manifest.json", "{\"images\": ");
    fails(generate(s, "--seeds 0-2 --outdir foreign"), "a damaged manifest", 1, "foreign/manifest.json.*another --outdir");
    fails(generate(s, "--seeds 0-2 --outdir foreign --overwrite"), "--overwrite of a foreign folder", 1,
          "foreign/manifest.json.*another --outdir");
}
/* The same images whatever the batch is, with everything on that could mix samples. */
static void batches(const Setup *s) {
    static const char hard[] = "--S_churn 10 --S_noise 1.01 --boosting --dg_weight_2nd_order 1 --steps 6";
    static const struct {
        const char *dir, *args;
    } runs[] = {{"n1", "--batch 1 --seeds 0-8"},
                {"n7", "--batch 7 --seeds 0-8"},
                {"n64", "--batch 64 --seeds 0-8"},
                {"mixed", "--batch 4 --seeds 100-104,8,3,0-1,70"}};
    char args[512], a[64], b[64];
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
        snprintf(args, sizeof args, "%s --outdir %s %s", runs[i].args, runs[i].dir, hard);
        if (!succeeds(generate(s, args), args)) return;
    }
    for (int seed = 0; seed <= 8; seed++)
        for (size_t i = 1; i < sizeof runs / sizeof *runs; i++) {
            snprintf(a, sizeof a, "n1/%06d.png", seed), snprintf(b, sizeof b, "%s/%06d.png", runs[i].dir, seed);
            if (i < 3 || exists(s, b)) CHECK(same_file(s, a, b), "%s and %s differ", a, b);
        }
    CHECK(!same_file(s, "n1/000000.png", "n1/000001.png"), "all images are one");
    CHECK(count_files(s, "mixed", ".png") == 10, "images of the mixed run");
}
static void npz_folders(const Setup *s) {
    succeeds(generate(s, "--seeds 20-29,3 --batch 4 --format npz --outdir z"), "npz");
    CHECK(count_files(s, "z", ".npz") == 1 && exists(s, "z/samples.npz"), "%d npz files", count_files(s, "z", ".npz"));
    succeeds(generate(s, "--seeds 0-3,25 --format npz --outdir z"), "npz, more seeds");
    succeeds(generate(s, "--seeds 0-3,20-29 --outdir zpng"), "png of the same");
    Error e = {0};
    Npz *z = npz_open(at(s, "z/samples.npz"), &e);
    NpyArray images = {0}, labels = {0}, seeds = {0};
    if (CHECK(z && npz_read(z, "arr_0", &images, &e) && npz_read(z, "arr_1", &labels, &e) && npz_read(z, "seeds", &seeds, &e), "%s",
              e.text)) {
        CHECK(images.dims == 4 && images.shape[0] == 14 && images.shape[1] == 8 && images.shape[3] == 3 && images.bytes == 1,
              "arr_0's shape");
        CHECK(labels.count == 14 && seeds.count == 14, "%zu labels, %zu seeds", labels.count, seeds.count);
        for (size_t i = 0; i < seeds.count; i++) {
            uint64_t seed = (uint64_t)npy_value(&seeds, i);
            uint8_t png[8 * 8 * 3];
            char name[64];
            snprintf(name, sizeof name, "zpng/%06d.png", (int)seed);
            CHECK(seed == (i < 4 ? i : 16 + i), "seed %d at %zu", (int)seed, i);
            CHECK(npy_value(&labels, i) >= 0 && npy_value(&labels, i) < 3, "label %g", npy_value(&labels, i));
            CHECK(image_read_png(at(s, name), png, 8, 8, 3, &e) && !memcmp(png, (uint8_t *)images.data + i * sizeof png, sizeof png),
                  "%s %s", name, e.text);
        }
    }
    npy_free(&images), npy_free(&labels), npy_free(&seeds);
    if (z) npz_close(z);
}
static void grids(const Setup *s) {
    uint8_t pixels[32 * 32 * 3], again[32 * 32 * 3], tile[8 * 8 * 3];
    Error e = {0};
    succeeds(generate(s, "--seeds 0-7 --outdir g --grid g.png"), "a grid"); /* 3 columns of 8 + 2, and 2 */
    CHECK(image_read_png(at(s, "g.png"), pixels, 32, 32, 3, &e), "%s", e.text);
    CHECK(image_read_png(at(s, "g/000004.png"), tile, 8, 8, 3, &e), "%s", e.text);
    for (int y = 0; y < 8; y++) CHECK(!memcmp(pixels + ((12 + y) * 32 + 12) * 3, tile + y * 24, 24), "row %d of the middle tile", y);
    CHECK(pixels[0] == 255 && pixels[(31 * 32 + 31) * 3] == 255, "the gap is not white");
    succeeds(generate(s, "--seeds 0-7 --outdir g --grid again.png"), "the grid of what is there");
    CHECK(image_read_png(at(s, "again.png"), again, 32, 32, 3, &e) && !memcmp(pixels, again, sizeof pixels), "another grid %s", e.text);
    succeeds(generate(s, "--seeds 0-7 --grid alone.png"), "a grid alone");
    CHECK(same_file(s, "alone.png", "g.png") && !exists(s, "out"), "a grid alone");
    succeeds(generate(s, "--seeds 0-7 --grid big.png --grid-columns 8 --grid-scale 3"), "a wide grid");
    uint8_t *big = malloc((2 + 26) * (2 + 8 * 26) * 3);
    CHECK(image_read_png(at(s, "big.png"), big, 2 + 26, 2 + 8 * 26, 3, &e), "%s", e.text);
    free(big);
}
static void names_and_classes(const Setup *s) {
    succeeds(generate(s, "--seeds 0,999,1000,1234567 --subdirs --outdir d"), "--subdirs");
    CHECK(exists(s, "d/000000/000000.png") && exists(s, "d/000000/000999.png") && exists(s, "d/001000/001000.png") &&
              exists(s, "d/1234000/1234567.png"),
          "names in --subdirs");
    CHECK(strstr(generate(s, "--seeds 0,999,1000,1234567 --subdirs --outdir d")->out, "4 of 4"), "--subdirs, again");
    Result *dry = generate(s, "--dry-run --seeds 0-5 --S_churn 3 --outdir dry");
    succeeds(dry, "--dry-run");
    CHECK(strstr(dry->out, "--S_churn = 3\n") && strstr(dry->out, "3 network calls, 1 guide calls") && !exists(s, "dry/manifest.json"),
          "%s", dry->out);
    succeeds(generate(s, "--seeds 0-5 --class green --outdir green"), "--class by name");
    succeeds(generate(s, "--seeds 0-5 --class=1 --outdir one"), "--class by number");
    succeeds(generate(s, "--seeds 0-5 --class balanced --outdir balanced"), "--class balanced");
    CHECK(same_file(s, "green/000000.png", "one/000000.png"), "green is class 1");
    CHECK(same_file(s, "green/000004.png", "balanced/000004.png") && !same_file(s, "green/000003.png", "balanced/000003.png"),
          "balanced is seed modulo 3");
    succeeds(generate(s, "--Seeds=0-1 --num_steps 2 --S-churn 0 --boosting 0 --outdir alias"), "other spellings");
    succeeds(generate(s, "--preset edm-cifar10-cond-dg --steps 2 --seeds 0 --outdir preset"), "a preset");
    Json *j = manifest(s, "preset");
    const Json *images = json_get(j, "images");
    CHECK(json_get(images, "boosting")->boolean && json_get(images, "dg_weight_1st_order")->number == 1 &&
              json_get(images, "steps")->number == 2,
          "the preset");
    json_free(j);
    char args[256];
    snprintf(args, sizeof args,
             "generate --device %s --network uncond.safetensors --seeds 0-2 --steps 3 --solver euler --disc vp --schedule vp --scaling vp "
             "--outdir uncond",
             s->device);
    succeeds(run(s, args), "an unconditional network, ablation sampler");
    snprintf(args, sizeof args, "generate --device %s --seeds 5 --steps 1 --class heart --grid heart.png", s->device);
    succeeds(run(s, args), "the example model");
}

/* ---- what goes wrong while it runs --------------------------------------------------------------------------------------------- */
static void interrupting(const Setup *s) {
    static const char *const kind[] = {"png", "npz"};
    for (int k = 0; k < 2; k++) {
        char args[512], dir[32];
        snprintf(dir, sizeof dir, "stop-%s", kind[k]);
        snprintf(args, sizeof args,
                 "generate --device %s --network tiny.safetensors --steps 3 --batch 2 --seeds 0-99999 --format %s --outdir %s", s->device,
                 kind[k], dir);
        pid_t pid = start(s, args, 0, "stdout.txt");
        int status = 0;
        for (int i = 0; i < 3000 && count_files(s, dir, kind[k]) < 2 && waitpid(pid, &status, WNOHANG) == 0; i++)
            nanosleep(&(struct timespec){0, 10000000}, NULL);
        kill(pid, k ? SIGTERM : SIGINT);
        Result r;
        finish(s, pid, &r);
        fails(&r, args, 130, "interrupted: [0-9]+ of 100000 images are in stop-.*the same command");
        int files = count_files(s, dir, kind[k]);
        CHECK(files >= 2 && count_files(s, dir, "partial") == 0, "%d files, %d of them unfinished", files, count_files(s, dir, "partial"));
        Json *j = manifest(s, dir);
        const Json *runs = json_get(j, "runs");
        CHECK(runs && runs->count == 1 && !json_get(runs->child, "complete")->boolean && json_get(runs->child, "made")->number > 0,
              "the manifest of a stopped run");
        json_free(j);
        snprintf(args, sizeof args, "generate --device %s --network tiny.safetensors --steps 3 --seeds 0-5 --format %s --outdir %s",
                 s->device, kind[k], dir);
        succeeds(run(s, args), "going on after an interruption");
    }
    uint8_t image[8 * 8 * 3];
    for (int i = 0; i < 6; i++) {
        char name[64];
        Error e = {0};
        snprintf(name, sizeof name, "stop-png/%06d.png", i);
        CHECK(image_read_png(at(s, name), image, 8, 8, 3, &e), "%s", e.text);
    }
    CHECK(count_files(s, "stop-npz", ".npz") == 1, "the parts were not merged");
}
static void full_disk(const Setup *s) {
    char args[512];
    snprintf(args, sizeof args, "generate --device %s --network tiny.safetensors --steps 1 --seeds 0-7 --outdir full", s->device);
    fails(run_limited(s, args, 100), args, 1, "full/.*: writing failed"); /* no image fits */
    CHECK(count_files(s, "full", ".png") == 0 && count_files(s, "full", "partial") == 0, "a full disk leaves files");
    succeeds(run(s, args), "the same once there is room");
    snprintf(args, sizeof args, "generate --device %s --network tiny.safetensors --steps 1 --seeds 0-15 --grid new/full.png", s->device);
    fails(run_limited(s, args, 1000), args, 1, "full.png: writing failed"); /* the grid does not fit */
    CHECK(count_files(s, "new", "full") == 0 && count_files(s, "full", ".png") == 8, "a grid that does not fit leaves files");
    mkdir(at(s, "sealed"), 0555);
    if (geteuid() == 0) not_run("a folder without write permission: the super-user may write everywhere");
    else fails(generate(s, "--seeds 0 --outdir sealed"), "a sealed folder", 1, "sealed");
}
static void not_finite(const Setup *s) {
    char args[512];
    snprintf(args, sizeof args, "generate --device %s --network broken.safetensors --steps 2 --seeds 4-6 --outdir broken --grid broken.png",
             s->device);
    fails(run(s, args), args, 1, "3 images .*not finite.*seeds 4-6");
    CHECK(count_files(s, "broken", ".png") == 0, "an image that is not finite was written");
}
static void facts(const Setup *s) {
    Result *r = run(s, "info tiny.safetensors --tensors --batch 4");
    succeeds(r, "info");
    CHECK(strstr(r->out, "8x8x3, 3 classes") && strstr(r->out, "model.enc.8x8_conv.weight") && strstr(r->out, "MiB"), "%s", r->out);
    succeeds(run(s, "info extractor.safetensors --batch 2"), "info of an extractor");
    CHECK(strstr(run(s, "info head.safetensors --batch 2")->out, "output: 1 value, 3 classes"), "info of a head");
    char args[512];
    snprintf(args, sizeof args,
             "bench --device %s --batch 2 --repeats 2 --steps 4 --ops --json bench.json --network tiny.safetensors --extractor "
             "extractor.safetensors --discriminator head.safetensors",
             s->device);
    r = run(s, args);
    succeeds(r, "bench");
    CHECK(strstr(r->out, "guided step") && strstr(r->out, "norm_bwd") && strstr(r->out, "state work"), "%s", r->out);
    Error e = {0};
    Json *j = json_parse_file(at(s, "bench.json"), &e);
    CHECK(j && json_get(json_get(j, "network call"), "ms")->number > 0 && json_get(j, "guide ops")->count > 3, "bench.json: %s", e.text);
    json_free(j);
    snprintf(args, sizeof args, "bench --device %s --batch 1 --repeats 1 --synthetic config.json", s->device);
    succeeds(run(s, args), "bench of a configuration");
}

/* A file that says this of itself, without tensors that matter. */
static bool write_said(const char *path, const char *key, const char *json, Error *e) {
    StWriter *w = st_writer_open(path, e);
    if (!w) return false;
    const float zero = 0;
    int64_t shape = 1;
    st_writer_metadata(w, key, json);
    st_writer_tensor(w, "x", DG_F32, 1, &shape);
    if (st_writer_begin(w, e) && st_writer_data(w, &zero, sizeof zero, e)) return st_writer_finish(w, e);
    st_writer_abandon(w);
    return false;
}
/* What networks take follows from their configurations. */
static void facts_of_configurations(const Setup *s) {
    static const struct {
        const char *config, *said[4];
    } table[] = {
        {"{\"kind\": \"dit\"}", {"input: 32x32x4, output: 32x32x8, 1001 classes\n", "237.243 GFLOP an image and network call"}},
        {"{\"kind\": \"adm_unet\", \"image_size\": 64, \"model_channels\": 192, \"channel_mult\": [1, 2, 3, 4], \"num_res_blocks\": 3, "
         "\"attention_resolutions\": [2, 4, 8], \"num_classes\": null, \"num_head_channels\": 64}",
         {"input: 64x64x3, output: 64x64x6, unconditional\n", "219.356 GFLOP"}},
        {"{\"kind\": \"vae\", \"block_out_channels\": [128, 256, 512, 512]}",
         {"decoder: input: 32x32x4, output: 256x256x3", "622.1", "encoder: input: 256x256x3, output: 32x32x8", "272.7"}},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        Error e = {0};
        CHECK(write_said(at(s, "said.safetensors"), "config", table[i].config, &e), "%s", e.text);
        Result *r = run(s, "info said.safetensors --batch 2");
        succeeds(r, table[i].config);
        for (int k = 0; k < 4 && table[i].said[k]; k++) CHECK(strstr(r->out, table[i].said[k]), "no %s: %s", table[i].said[k], r->out);
    }
}
static void verifying(const Setup *s) {
    char args[2 * PATH_MAX], *golden = realpath("tests/golden/nets/edm_tiny_ddpmpp.safetensors", NULL);
    Error e = {0};
    CHECK(write_said(at(s, "future.safetensors"), "case", "{\"kind\": \"hologram\"}", &e), "%s", e.text);
    Result *r = run(s, "verify --device ref future.safetensors");
    fails(r, "an unknown kind alone", 1, "nothing was compared");
    CHECK(matches(r->out, "future .*hologram.*skipped"), "%s", r->out);
    CHECK(write_said(at(s, "damaged.safetensors"), "case", "{\"kind\": \"denoise\"", &e), "%s", e.text);
    fails(run(s, "verify --device ref damaged.safetensors"), "a damaged case", 1, "JSON");
    if (!golden) {
        not_run("verify: tests/golden is not here");
        return;
    }
    snprintf(args, sizeof args, "verify --device %s %s future.safetensors", s->device, golden);
    r = run(s, args);
    succeeds(r, "a golden case");
    CHECK(matches(r->out, "denoised +error .* ok") && strstr(r->out, "1 compared, 0 failed, 1 case skipped"), "%s", r->out);
    snprintf(args, sizeof args, "verify --device %s --no-fuse --tolerance-factor 0.001 %s", s->device, golden);
    r = run(s, args);
    fails(r, "a tolerance that nothing can meet", 1, "1 of 1 outputs");
    CHECK(strstr(r->out, "FAIL"), "%s", r->out);
    free(golden);
}
static bool write_models(const Setup *s, Error *e) {
    write_file(s, "notes.txt", "these are notes, not weights\n");
    write_file(s, "empty.json", "{}");
    write_file(s, "config.json", tiny_network_config);
    return tiny_write(at(s, "tiny.safetensors"), tiny_network_config, 1, e) &&
           tiny_write(at(s, "other.safetensors"), tiny_network_config, 2, e) &&
           tiny_write(at(s, "broken.safetensors"), tiny_network_config, 1e38f, e) &&
           tiny_write(at(s, "uncond.safetensors"), tiny_uncond_config, 1, e) &&
           tiny_write(at(s, "extractor.safetensors"), tiny_extractor_config, 1, e) &&
           tiny_write(at(s, "head.safetensors"), tiny_head_config, 1, e);
}
int main(int argc, char **argv) {
    Setup s = {.device = argc > 2 ? argv[2] : "cpu", .dir = "/tmp/dg_test_cli_XXXXXX"};
    char *real = argc > 1 ? realpath(argv[1], NULL) : program_of_build(argv[0], false, "dg_cuda");
    s.program = real;
    Error e = {0};
    Device *d = device_open(s.device, NULL, NULL);
    if (d) device_close(d);
    else s.device = "ref";
    if (!CHECK(real, "no program %s", argc > 1 ? argv[1] : "dg_cuda beside the tests") || !CHECK(mkdtemp(s.dir), "no temporary folder") ||
        !CHECK(write_models(&s, &e), "%s", e.text))
        return check_done("test_cli");
    wrong_command_lines(&s);
    facts_of_configurations(&s);
    help_texts(&s);
    if (image_png_available(NULL)) {
        resuming(&s);
        refusing(&s);
        batches(&s);
        npz_folders(&s);
        grids(&s);
        names_and_classes(&s);
        interrupting(&s);
        full_disk(&s);
        not_finite(&s);
    } else not_run("images: this build writes no PNG files");
    facts(&s);
    verifying(&s);
    remove_folder(s.dir);
    free(real);
    return check_done("test_cli");
}
