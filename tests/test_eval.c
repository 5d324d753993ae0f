/* test_eval.c -- the commands eval, eval ref, eval merge and pack: the numbers beside what the library and plain loops give, the same for any
 * source, batch, merge and after a kill; every protocol's defaults and refusals; degenerate sets. Usage: test_eval [PROGRAM].      */
#include "base/text.h"
#include "models/shapes32/shapes32.h"
#include "eval_sets.h"
#include "tiny_model.h"

#if defined DG_HAVE_LAPACK && defined DG_HAVE_STB && defined DG_HAVE_ZLIB
enum { IMAGES = 520 };

/* ---- protocol shapes32 ------------------------------------------------------------------------------------------------------------- */
/* Mean and covariance of features that eval kept, by plain loops in long double, and the distance of these. */
static double distance_of_features(const char *path, int *images) {
    Error e = {""};
    NpyArray a = {0};
    Gaussian g = {0}, reference = {0};
    Frechet f = {.distance = NAN};
    Npz *z = npz_open(path, &e);
    CHECK(z && npz_read(z, "feats", &a, &e) && a.dims == 2 && a.shape[1] == 128, "%s", e.text);
    npz_close(z);
    size_t n = a.data ? (size_t)a.shape[0] : 0, d = 128;
    *images = (int)n;
    g = (Gaussian){.dims = 128, .count = n, .mean = dg_alloc(d * 8), .covariance = dg_alloc(d * d * 8)};
    const float *x = a.data;
    for (size_t i = 0; i < d && n; i++) {
        long double sum = 0;
        for (size_t k = 0; k < n; k++) sum += (long double)x[k * d + i];
        g.mean[i] = (double)(sum / (long double)n);
    }
    for (size_t i = 0; i < d * d && n; i++) {
        long double sum = 0;
        for (size_t k = 0; k < n; k++)
            sum +=
                ((long double)x[k * d + i / d] - (long double)g.mean[i / d]) * ((long double)x[k * d + i % d] - (long double)g.mean[i % d]);
        g.covariance[i] = (double)(sum / (long double)(n - 1));
    }
    Npz *r = npz_memory(shapes32_reference, (size_t)(shapes32_reference_end - shapes32_reference), "reference", &e);
    CHECK(r && gaussian_take(r, "reference", false, &reference, &e) && reference.count == 20000, "%s", e.text);
    npz_close(r);
    CHECK(frechet_distance(&g, &reference, false, &f, &e), "%s", e.text);
    npy_free(&a);
    gaussian_free(&g), gaussian_free(&reference);
    return f.distance;
}
static void one_number(const Setup *s) {
    int images = 0;
    write_array(s, "all.npz", 0, IMAGES, SIDE, true, true);
    write_array(s, "a.npz", 0, 200, SIDE, true, true);
    write_array(s, "b.npz", 200, IMAGES - 200, SIDE, true, true);
    write_folder(s, "png", IMAGES);
    Result *r = shapes(s, "--images all.npz --out whole.npz --features --bootstrap 5 --metrics fd,pr,dc,kid");
    succeeds(r, "eval");
    double fd = value_of(r, 0, "fd"), precision = value_of(r, 0, "precision"), kid = value_of(r, 0, "kid"), se = value_of(r, 0, "fd_se");
    CHECK(value_of(r, 0, "N") == IMAGES && fd > 0 && precision >= 0 && precision <= 1 && kid > 0, "%s", r->out);
    CHECK(se > 0 && se < fd, "the standard error is %g of %g", se, fd);
    CHECK(strstr(r->out, "\"resize\": \"none\"") && strstr(r->out, "p/127.5-1") && strstr(r->out, "\"sha256\""), "%s", r->out);
    double direct = distance_of_features(at(s, "whole.npz"), &images);
    CHECK(images == IMAGES && near(fd, direct, 1e-9), "%d images, %.17g, by plain loops %.17g", images, fd, direct);
    r = shapes(s, "--images png --metrics fd,kid --batch 7");
    succeeds(r, "a folder");
    CHECK(value_of(r, 0, "fd") == fd && value_of(r, 0, "kid") == kid, "a folder: %.17g, not %.17g", value_of(r, 0, "fd"), fd);
    r = shapes(s, "--images a.npz b.npz --metrics fd,class");
    succeeds(r, "two sources as one set");
    double class = value_of(r, 0, "class");
    CHECK(value_of(r, 0, "fd") == fd && class > 0 && class < 0.6, "two sources: %.17g, class %g", value_of(r, 0, "fd"), class);
    r = shapes(s, "--images a.npz b.npz --each --allow-fewer --metrics fd");
    succeeds(r, "each");
    CHECK(value_of(r, 0, "N") == 200 && value_of(r, 1, "N") == IMAGES - 200 && value_of(r, 0, "fd") != value_of(r, 1, "fd"), "%s", r->out);
    r = shapes(s, "--images all.npz --num 200 --metrics fd");
    double first = value_of(r, 0, "fd");
    r = shapes(s, "--images a.npz --num 200 --metrics fd");
    CHECK(first == value_of(r, 0, "fd") && value_of(r, 0, "N") == 200, "the first 200 of all: %.17g, not %.17g", first,
          value_of(r, 0, "fd"));
    r = shapes(s, "--images all.npz --ref whole.npz");
    succeeds(r, "a set beside itself");
    CHECK(fabs(value_of(r, 0, "fd")) < 1e-6 && value_of(r, 0, "precision") == 1 && value_of(r, 0, "recall") == 1, "%s", r->out);
    r = shapes(s, "--images all.npz --ref all.npz");
    CHECK(fabs(value_of(r, 0, "fd")) < 1e-6 && value_of(r, 0, "recall") == 1, "images as the reference: %s", r->out);
}
static void formats(const Setup *s) {
    Result *r = eval(s, "--protocol shapes32 --images a.npz b.npz --metrics fd --output csv");
    succeeds(r, "csv");
    CHECK(lines(r->out) == 2 && matches(r->out, "^images,N,protocol,changed,resize") &&
              matches(r->out, "a.npz, b.npz\",520,shapes32,,none"),
          "%s", r->out);
    r = eval(s, "--protocol shapes32 --images a.npz b.npz --metrics fd --output md");
    succeeds(r, "md");
    CHECK(matches(r->out, "^\\| images \\| N \\| rounding \\| fd \\|\n") && strstr(r->out, "| a.npz, b.npz | 520 |"), "%s", r->out);
    r = eval(s, "--protocol shapes32 --images a.npz b.npz --metrics fd");
    succeeds(r, "text");
    CHECK(strstr(r->out, "protocol shapes32") && strstr(r->out, "N 520, rounding") && matches(r->out, "  fd +[0-9.]+\n") &&
              matches(r->out, "SHA-256 [0-9a-f]{64}"),
          "%s", r->out);
    CHECK(!strstr(r->out, "FID") && !strstr(r->out, "fid"), "it is called FID: %s", r->out);
}

/* A field of CSV (RFC 4180) without its quotes; *at moves behind the comma or the end of the line. */
static char *csv_field(const char **at) {
    Text t = {0};
    const char *s = *at;
    bool quoted = *s == '"';
    for (s += quoted; *s && (quoted || (*s != ',' && *s != '\n')); s++) {
        if (quoted && *s == '"' && *++s != '"') break;
        text_printf(&t, "%c", *s);
    }
    *at = s + (*s == ',' || *s == '\n');
    return t.len ? t.text : dg_strdup("");
}
/* Names of files and texts of manifests that hold what separates fields, cells and lines. */
static void odd_names(const Setup *s) {
    static const char name[] = "q/a,\"b\"|c\n\\|d.npz", rounding[] = "x,\"y|z\n";
    mkdir(at(s, "q"), 0777);
    CHECK(link(at(s, "a.npz"), at(s, name)) == 0, "no link");
    write_file(s, "q/manifest.json", "{\"images\": {\"quantize\": \"x,\\\"y|z\\n\"}}");
    char args[512];
    snprintf(args, sizeof args, "--protocol shapes32 --images %s --ref %s --allow-fewer --metrics fd --output csv", name, name);
    Result *r = eval(s, args);
    succeeds(r, args);
    const char *head = strchr(r->out, '\n') ? r->out : "\n", *row = strchr(head, '\n') + 1;
    for (const char *end = row - 1; head <= end && *row;) {
        char *key = csv_field(&head), *value = csv_field(&row);
        const char *wanted = !strcmp(key, "images") || !strcmp(key, "reference") ? name : !strcmp(key, "rounding") ? rounding : value;
        CHECK(!strcmp(value, wanted), "csv: %s is %s, not %s", key, value, wanted);
        CHECK(strcmp(key, "N") || !strcmp(value, "200"), "csv: N is %s", value);
        free(key), free(value);
    }
    CHECK(*row == 0 && row > r->out + 20, "csv: a row of more or fewer fields than the head: %s", r->out);
    snprintf(args, sizeof args, "--protocol shapes32 --images %s --ref %s --allow-fewer --metrics fd --output md", name, name);
    r = eval(s, args);
    succeeds(r, args);
    CHECK(strstr(r->out, "\n| q/a,\"b\"\\|c\\\\x0a\\\\\\|d.npz | 200 | x,\"y\\|z\\\\x0a | "), "md: %s", r->out);
    CHECK(strstr(r->out, "\n- reference q/a,\"b\"\\|c\\\\x0a\\\\\\|d.npz: N 200"), "md: %s", r->out);
    snprintf(args, sizeof args, "--protocol shapes32 --images %s --allow-fewer --metrics fd", name);
    r = eval(s, args);
    succeeds(r, args);
    CHECK(strstr(r->out, "images q/a,\"b\"|c\\x0a\\|d.npz: N 200, rounding x,\"y|z\\x0a\n"), "text: %s", r->out);
}

/* ---- statistics: merged, killed, resumed --------------------------------------------------------------------------------------------- */
/* All arrays but meta, which names the sources. */
static bool same_statistics(const Setup *s, const char *one, const char *other) {
    static const char *const arrays[] = {"mu", "sigma", "dg_sum", "dg_products", "dg_seeds", "num_images", "feats"};
    Npz *x = npz_open(at(s, one), NULL), *y = npz_open(at(s, other), NULL);
    bool same = x && y;
    for (size_t i = 0; same && i < sizeof arrays / sizeof *arrays; i++) {
        NpyArray a = {0}, b = {0};
        if (!npz_has(x, arrays[i]) && !npz_has(y, arrays[i])) continue;
        same = npz_read(x, arrays[i], &a, NULL) && npz_read(y, arrays[i], &b, NULL) && a.count == b.count && a.bytes == b.bytes &&
               !memcmp(a.data, b.data, a.count * (size_t)a.bytes);
        npy_free(&a), npy_free(&b);
    }
    npz_close(x), npz_close(y);
    return same;
}
static void merges(const Setup *s) {
    succeeds(eval(s, "ref --protocol shapes32 --images a.npz --features --out a.stats.npz"), "part a");
    succeeds(eval(s, "ref --protocol shapes32 --images b.npz --features --out b.stats.npz"), "part b");
    succeeds(run(s, "eval merge a.stats.npz b.stats.npz --out merged.npz"), "merge");
    CHECK(same_statistics(s, "merged.npz", "whole.npz"), "parts merged are not the whole");
    succeeds(run(s, "eval merge b.stats.npz a.stats.npz --out other.npz"), "merge the other way round");
    Result *r = shapes(s, "--images png --ref other.npz --metrics fd");
    CHECK(fabs(value_of(r, 0, "fd")) < 1e-6, "%s%s", r->out, r->err);
    fails(run(s, "eval merge a.stats.npz a.stats.npz --out twice.npz"), "merge twice", 1,
          "both have the images of 200 seeds, the first of them 0");
    write_array(s, "c.npz", 600, 40, SIDE, false, true);
    succeeds(eval(s, "ref --protocol shapes32 --images c.npz --out c.stats.npz"), "part c");
    r = run(s, "eval merge whole.npz c.stats.npz --out holes.npz");
    succeeds(r, "merge with a hole");
    CHECK(strstr(r->out, "560 images") && strstr(r->out, "80 seeds between these are missing: 520-599"), "%s", r->out);
    fails(shapes(s, "--images a.stats.npz --metrics fd"), "statistics of few images", 1,
          "holds 200 images, and protocol shapes32 wants at least 500");
    r = shapes(s, "--images a.stats.npz --metrics fd --allow-fewer");
    succeeds(r, "statistics as the images");
    CHECK(value_of(r, 0, "N") == 200 && strstr(r->out, "its statistics are taken"), "%s", r->out);
    static const char *const kept[] = {"--out new.npz", "--features --out new.npz"};
    for (int i = 0; i < 2; i++) {
        char args[256];
        snprintf(args, sizeof args, "--images a.stats.npz --metrics fd --allow-fewer %s", kept[i]);
        fails(shapes(s, args), args, 1, "a.stats.npz holds statistics already.*leave out --out");
        CHECK(!exists(s, "new.npz"), "%s: a file", args);
    }
}
static bool wait_for(const Setup *s, pid_t pid, const char *name) {
    for (int i = 0; i < 6000 && !exists(s, name) && alive(pid); i++) nanosleep(&(struct timespec){0, 5000000}, NULL);
    return exists(s, name);
}
static void resumes(const Setup *s) {
    static const char command[] =
        "eval --device cpu --protocol shapes32 --output json --images png --features --save-every 0 --batch 4 --metrics fd --out ";
    char args[512];
    Result r;
    snprintf(args, sizeof args, "%skilled.npz", command);
    pid_t pid = start(s, args, 0, "stdout.txt");
    bool there = wait_for(s, pid, "killed.npz");
    kill(pid, SIGKILL);
    finish(s, pid, &r);
    Error e = {""};
    Gaussian g = {0};
    CHECK(there && gaussian_read(at(s, "killed.npz"), &g, &e) && g.count < IMAGES, "after a kill: %d images, %s", (int)g.count, e.text);
    gaussian_free(&g);
    succeeds(run(s, args), "after a kill");
    snprintf(args, sizeof args, "%sstopped.npz", command);
    pid = start(s, args, 0, "stdout.txt");
    wait_for(s, pid, "stopped.npz");
    kill(pid, SIGTERM);
    finish(s, pid, &r);
    CHECK(r.code == 130 && !r.err[0], "exit code %d, %s", r.code, r.err);
    memset(strstr(args, "--features"), ' ', strlen("--features")); /* what the file keeps is not lost to a run that has no use for it */
    succeeds(run(s, args), "after an interruption");
    snprintf(args, sizeof args, "%snever.npz", command);
    succeeds(run(s, args), "in one go");
    CHECK(same_file(s, "killed.npz", "never.npz"), "after a kill there are other bits");
    CHECK(same_file(s, "stopped.npz", "never.npz"), "after an interruption there are other bits");
    succeeds(run(s, args), "once more");
    write_array(s, "plain.npz", 3, IMAGES, SIDE, false, false); /* as many, without seeds too */
    fails(shapes(s, "--images plain.npz --metrics fd --features --out never.npz"), "another set's file", 1, "statistics of other images");
    fails(shapes(s, "--images all.npz --metrics fd --features --out never.npz"), "a file without seeds", 1, "statistics of other images");
    CHECK(same_file(s, "killed.npz", "never.npz"), "a refused run changed the file");
    fails(shapes(s, "--images png --metrics fd --out png/000000.png"), "an image as the output", 2, "is a file that is read");
}

/* ---- Inception's protocols, by a cut-down network --------------------------------------------------------------------------------------- */
static const char small_config[] = "{\"kind\": \"inception\", \"num_classes\": 20, \"image_size\": 107, \"depth_multiplier\": 0.125}";
static void protocols_run(const Setup *s) {
    static const struct {
        const char *protocol, *resize, *metrics;
    } all[] = {{"edm", "tf1", "fid"},
               {"dg", "tf1", "fid"},
               {"adm", "tf1", "is fid sfid precision recall"},
               {"pytorch-fid", "half", "fid"},
               {"stylegan3", "tf1", "fid kid is"},
               {"torch-fidelity", "tf1", "is fid"},
               {"clean", "pil-bicubic", "fid kid"}};
    Error e = {""};
    CHECK(tiny_write_model(NULL, at(s, "inception.safetensors"), small_config, 1, &e), "%s", e.text);
    write_array(s, "few.npz", 1000, 24, SIDE, false, false);
    write_array(s, "real.npz", 0, 24, SIDE, false, false);
    double fid[7], divided = NAN;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        char args[512], names[64];
        snprintf(args, sizeof args,
                 "--images few.npz --ref real.npz --protocol %s --inception inception.safetensors --allow-fewer --output json%s",
                 all[i].protocol, !strcmp(all[i].protocol, "torch-fidelity") ? " --metrics is,fid" : "");
        Result *r = eval(s, args);
        succeeds(r, args);
        snprintf(names, sizeof names, "%s", all[i].metrics);
        for (char *rest = NULL, *name = strtok_r(names, " ", &rest); name; name = strtok_r(NULL, " ", &rest))
            CHECK(isfinite(value_of(r, 0, name)), "%s: no %s: %s", all[i].protocol, name, r->out);
        snprintf(names, sizeof names, "\"resize\": \"%s\"", all[i].resize);
        CHECK(strstr(r->out, names), "%s: %s", all[i].protocol, r->out);
        fid[i] = value_of(r, 0, "fid");
    }
    CHECK(fid[0] == fid[1] && fid[0] == fid[2] && fid[0] == fid[5], "edm %g, dg %g, adm %g, torch-fidelity %g", fid[0], fid[1], fid[2],
          fid[5]);
    CHECK(fid[3] != fid[0] && fid[6] != fid[0] && fid[6] != fid[3], "three resizes, %g %g %g", fid[0], fid[3], fid[6]);
    Result *r =
        eval(s, "--images few.npz --ref real.npz --protocol edm --cov-ddof 0 --inception inception.safetensors --num 24 --output json");
    divided = value_of(r, 0, "fid");
    CHECK(divided == fid[4] && divided != fid[0], "divided by N: %g, stylegan3 %g, edm %g", divided, fid[4], fid[0]);
    /* a random subset of EDM's, and the first ones */
    r = eval(s, "--images few.npz --ref real.npz --protocol edm --num 12 --inception inception.safetensors --output json");
    double drawn = value_of(r, 0, "fid");
    r = eval(s, "--images few.npz --ref real.npz --protocol dg --num 12 --inception inception.safetensors --output json");
    CHECK(value_of(r, 0, "N") == 12 && drawn != value_of(r, 0, "fid"), "12 of 24: %g and %g", drawn, value_of(r, 0, "fid"));
    /* DG's wrong divisor */
    r = eval(s, "--images few.npz --ref real.npz --protocol dg --num 30 --allow-fewer --dg-short-count --inception inception.safetensors "
                "--output json");
    succeeds(r, "--dg-short-count");
    CHECK(isfinite(value_of(r, 0, "fid")) && value_of(r, 0, "fid") != fid[1], "short count: %g", value_of(r, 0, "fid"));
}
static void references(const Setup *s) {
    static const char with[] = "--inception inception.safetensors";
    char args[512];
    snprintf(args, sizeof args, "ref --images real.npz --protocol adm %s --adm --adm-images 10 --out adm.npz", with);
    succeeds(eval(s, args), "eval ref --adm");
    Npz *z = npz_open(at(s, "adm.npz"), NULL);
    NpyArray a = {0};
    CHECK(z && npz_has(z, "mu") && npz_has(z, "sigma") && npz_has(z, "mu_s") && npz_has(z, "sigma_s"), "ADM's keys");
    CHECK(z && npz_read(z, "arr_0", &a, NULL) && a.dims == 4 && a.shape[0] == 10 && a.shape[1] == SIDE, "ADM's images");
    uint8_t *p = picture(9, SIDE);
    CHECK(a.data && a.count == 10 * BYTES && !memcmp((uint8_t *)a.data + 9 * BYTES, p, BYTES), "ADM's last image");
    free(p);
    npy_free(&a);
    npz_close(z);
    snprintf(args, sizeof args, "--images real.npz --ref adm.npz --protocol adm %s --output json", with);
    Result *r = eval(s, args);
    succeeds(r, "a reference of ADM's form");
    CHECK(fabs(value_of(r, 0, "fid")) < 1e-5 && fabs(value_of(r, 0, "sfid")) < 1e-4 && value_of(r, 0, "recall") == 1, "%s", r->out);
    CHECK(strstr(r->out, "\"N\": 24, \"rows\": 10"), "statistics of 24 and 10 images: %s", r->out);
    snprintf(args, sizeof args, "--images adm.npz --ref real.npz --protocol adm --allow-fewer --metrics fid %s --out new.npz", with);
    fails(eval(s, args), "statistics of ADM's form, and --out", 1, "adm.npz holds statistics already.*leave out --out");
    snprintf(args, sizeof args, "--images adm.npz --ref real.npz --protocol pytorch-fid --allow-fewer %s --out ten.npz", with);
    succeeds(eval(s, args), "the images of ADM's form, and --out");
    CHECK(exists(s, "ten.npz"), "nothing was kept of the images of ADM's form");
    snprintf(args, sizeof args, "ref --images real.npz --protocol edm %s --out edm.npz", with);
    succeeds(eval(s, args), "eval ref");
    snprintf(args, sizeof args, "--images few.npz --ref edm.npz --protocol pytorch-fid %s", with);
    fails(eval(s, args), "a reference of another resize", 1, "\"resize\" is tf1 there and half in protocol pytorch-fid");
    snprintf(args, sizeof args, "--images few.npz --ref edm.npz --protocol pytorch-fid --force %s", with);
    succeeds(eval(s, args), "--force");
    snprintf(args, sizeof args, "--images few.npz --ref edm.npz --protocol adm %s --output json", with);
    r = eval(s, args);
    succeeds(r, "ADM's measures beside statistics alone");
    CHECK(isfinite(value_of(r, 0, "fid")) && isfinite(value_of(r, 0, "is")) && isnan(value_of(r, 0, "recall")) &&
              strstr(r->out, "left out"),
          "%s", r->out);
    snprintf(args, sizeof args, "--images few.npz --ref edm.npz --protocol adm %s --metrics pr", with);
    fails(eval(s, args), "precision beside statistics alone", 1, "edm.npz has neither|edm.npz has no features");
}

/* ---- refusals ----------------------------------------------------------------------------------------------------------------------- */
static void refused_usage(const Setup *s) {
    static const char *const wrong[][2] = {
        {"--protocol edm --ref real.npz", "--images is missing"},
        {"--images few.npz --ref real.npz", "--protocol is missing"},
        {"--images few.npz --protocol edm", "--ref is missing"},
        {"--images few.npz --ref real.npz --protocol edn", "not one of"},
        {"--images few.npz --ref real.npz --protocol edm --metrics fid,fd", "\"fd\" is no measure of protocol edm"},
        {"--images few.npz --protocol shapes32 --metrics fid", "\"fid\" is no measure of protocol shapes32"},
        {"--images few.npz --protocol shapes32 --inception x.pth", "the extractor within the program"},
        {"--images few.npz --protocol shapes32 --resize half", "of Inception's protocols"},
        {"--images few.npz --ref real.npz --protocol adm --dg-short-count", "of protocol dg alone"},
        {"--images few.npz --ref real.npz --protocol adm --adm", "of eval ref alone"},
        {"--images few.npz --ref real.npz --protocol adm --features", "--features needs --out"},
        {"--images few.npz real.npz --each --out x.npz --ref real.npz --protocol adm", "--each and --out"},
        {"--images few.npz --ref real.npz --protocol adm --bootstrap 1", "at least 2 sets"},
        {"--images few.npz --ref real.npz --protocol adm --is-splits 2 --is-split-size 12", "number of parts or the size of one, not both"},
        {"--images few.npz --ref real.npz --protocol adm --dtype fp16", "fp32 or tf32"},
        {"--images few.npz --ref real.npz --protocol adm --provider cudnn",
         "--provider: features are made by the program's own kernels alone"},
        {"--images few.npz --ref real.npz --protocol adm --autotune on",
         "--autotune: features are made by the program's own kernels alone"},
        {"--images few.npz --ref real.npz --protocol adm --out few.npz", "a file that is read"},
        {"ref --images few.npz --protocol adm", "eval ref needs --out"},
        {"ref --images few.npz --protocol adm --ref real.npz --out x.npz", "--ref has no part"},
        {"folder --images few.npz --protocol adm", "neither ref nor merge"},
        {"--images few.npz --ref real.npz --protocol adm --precision tf32", "--dtype tf32"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) fails(eval(s, wrong[i][0]), wrong[i][0], 2, wrong[i][1]);
    fails(run(s, "eval merge whole.npz --out x.npz"), "merge one", 2, "at least two");
    fails(run(s, "eval merge whole.npz a.stats.npz"), "merge to nothing", 2, "needs --out");
    fails(run(s, "eval merge whole.npz a.stats.npz --out x.npz --num 3"), "merge with more", 2, "no use for --num");
    fails(run(s, "pack --images few.npz"), "pack to nothing", 2, "--out is missing");
    fails(run(s, "pack --out few.npz"), "pack nothing", 2, "--images is missing");
}
static void refused_sets(const Setup *s) {
    static const char *const short_of[] = {"edm", "dg", "stylegan3"};
    char args[512];
    for (int i = 0; i < 3; i++) {
        snprintf(args, sizeof args, "--images few.npz --ref real.npz --inception inception.safetensors --protocol %s", short_of[i]);
        fails(eval(s, args), args, 1, "holds 24 images, and protocol [a-z0-9]+ wants 50000");
    }
    fails(shapes(s, "--images few.npz"), "fewer than shapes32 takes", 1, "holds 24 images, and protocol shapes32 wants at least 500");
    fails(eval(s, "--images few.npz --ref real.npz --protocol adm"), "no Inception", 1, "pt_inception-2015-12-05-6726825d.pth");
    write_array(s, "large.npz", 0, 20, 40, false, false);
    fails(shapes(s, "--images large.npz --num 20"), "another size", 1, "32x32, and these are 40x40");
    fails(shapes(s, "--images nowhere.npz"), "no such file", 1, "nowhere.npz: cannot open");
    fails(shapes(s, "--images few.npz --ref nowhere.npz --num 24"), "no such reference", 1, "nowhere.npz: cannot open");
    fails(eval(s, "--images few.npz --ref real.npz --protocol adm --inception whole.npz"), "no network", 1, "whole.npz");
    mkdir(at(s, "alpha"), 0777);
    uint8_t rgba[SIDE * SIDE * 4] = {0};
    write_png(s, "alpha/0.png", rgba, SIDE, SIDE, 4);
    write_png(s, "alpha/1.png", rgba, SIDE, SIDE, 4);
    static const char *const opaque[] = {"edm", "dg", "adm", "stylegan3"}, *const drops[] = {"pytorch-fid", "torch-fidelity", "clean"};
    for (int i = 0; i < 4; i++) {
        snprintf(args, sizeof args,
                 "--images alpha --ref real.npz --inception inception.safetensors --allow-fewer --metrics fid --protocol %s", opaque[i]);
        fails(eval(s, args), args, 1, "alpha channel");
    }
    for (int i = 0; i < 3; i++) {
        snprintf(args, sizeof args, "--images alpha --ref real.npz --inception inception.safetensors --metrics fid --protocol %s",
                 drops[i]);
        succeeds(eval(s, args), args);
    }
}
/* One sentence each, never a number. */
static void degenerate(const Setup *s) {
    static const char with[] = "--inception inception.safetensors --ref real.npz --allow-fewer --images";
    static const struct {
        const char *args, *sentence;
    } sets[] = {{"one.npz --protocol edm", "covariance needs at least 2 images, there are 1"},
                {"three.npz --protocol adm --metrics pr", "need at least 4 images in each set"},
                {"few.npz --protocol adm --metrics kid --kid-size 1", "subsets of at least 2 images"},
                {"few.npz --protocol adm --metrics kid --kid-size 25", "as many in both sets, one has 24"},
                {"three.npz --protocol stylegan3 --metrics is", "at least as many images, there are 3"},
                {"few.npz --protocol torch-fidelity --metrics kid", "subsets of 1000 images"}};
    char args[512];
    write_array(s, "one.npz", 0, 1, SIDE, false, false);
    write_array(s, "three.npz", 0, 3, SIDE, false, false);
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
        snprintf(args, sizeof args, "%s %s", with, sets[i].args);
        Result *r = eval(s, args);
        fails(r, args, 1, sets[i].sentence);
        CHECK(!strstr(r->out, "fid ") && !strstr(r->out, "kid "), "%s: a number: %s", args, r->out);
    }
    Error e = {""};
    CHECK(tiny_write_model(NULL, at(s, "overflow.safetensors"), small_config, 1e38f, &e), "%s", e.text);
    fails(eval(s, "--images few.npz --ref real.npz --protocol pytorch-fid --inception overflow.safetensors"), "features that overflow", 1,
          "real.npz: image 0 of arr_0: feature [0-9]+ of image 0 is");
    fails(eval(s, "ref --protocol adm --inception inception.safetensors --images one.npz --out x.npz"), "statistics of one image", 1,
          "at least 2 images");
    CHECK(!exists(s, "x.npz"), "a file of one image's statistics");
}

/* ---- files that are not replaced ---------------------------------------------------------------------------------------------------- */
static void kept_files(const Setup *s) {
    static const struct {
        const char *args, *kept; /* a file that would be replaced */
        int code;
        const char *pattern;
    } all[] = {{"eval merge a.stats.npz b.stats.npz --out a.stats.npz", "a.stats.npz", 2, "a.stats.npz is a file that is read"},
               {"eval merge a.stats.npz b.stats.npz --out second.npz", "b.stats.npz", 2, "second.npz is a file that is read"},
               {"eval merge a.stats.npz b.stats.npz --out whole.npz", "whole.npz", 1, "whole.npz exists: give --out another name"},
               {"eval ref --device cpu --images few.npz --protocol adm --adm --inception inception.safetensors --out inception.safetensors",
                "inception.safetensors", 2, "is a file that is read"},
               {"eval ref --device cpu --images few.npz --protocol adm --adm --inception inception.safetensors --out real.npz", "real.npz",
                1, "real.npz exists: give --out another name"},
               {"eval --device cpu --images few.npz --ref dg --protocol adm --inception inception.safetensors --out real.npz", "real.npz",
                2, "is a file that is read"},
               {"pack --images dg --out dg/samples_1.npz --overwrite", "dg/samples_1.npz", 2, "is one of the images' files"},
               {"pack --images dg --out real.npz --overwrite", "real.npz", 2, "is one of the images' files"},
               {"pack --images png --out png/dataset.json --overwrite", "png/dataset.json", 2, "is one of the images' files"},
               {"pack --images png --out number.png --overwrite", "png/000003.png", 2, "is one of the images' files"}};
    mkdir(at(s, "dg"), 0777);
    write_array(s, "dg/samples_1.npz", 0, 4, SIDE, false, false);
    CHECK(symlink("../real.npz", at(s, "dg/samples_0.npz")) == 0 && symlink("b.stats.npz", at(s, "second.npz")) == 0 &&
              symlink("png/000003.png", at(s, "number.png")) == 0,
          "no links");
    write_file(s, "png/dataset.json", "{\"labels\": null}");
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        unlink(at(s, "copy"));
        CHECK(link(at(s, all[i].kept), at(s, "copy")) == 0, "%s is not there", all[i].kept);
        fails(run(s, all[i].args), all[i].args, all[i].code, all[i].pattern);
        struct stat before, after;
        CHECK(stat(at(s, "copy"), &before) == 0 && stat(at(s, all[i].kept), &after) == 0 && before.st_ino == after.st_ino,
              "%s: %s was replaced", all[i].args, all[i].kept);
    }
    unlink(at(s, "png/dataset.json"));
}

/* ---- pack --------------------------------------------------------------------------------------------------------------------------- */
/* Images whose arr_1 is something else. */
static void write_odd_labels(const Setup *s) {
    Error e = {""};
    const int64_t shape[4] = {2, SIDE, SIDE, 3};
    const double value[2] = {-0.5, 1};
    uint8_t *p = picture(0, SIDE);
    NpzWriter *w = npz_writer_open(at(s, "odd.npz"), &e);
    bool ok = w && npz_writer_array(w, "arr_0", 'u', 1, 4, shape, &e) && npz_writer_data(w, p, BYTES, &e) &&
              npz_writer_data(w, p, BYTES, &e) && npz_writer_array(w, "arr_1", 'f', 8, 1, shape, &e) &&
              npz_writer_data(w, value, sizeof value, &e);
    CHECK(ok && npz_writer_finish(w, &e), "%s", e.text);
    free(p);
}
static void packs(const Setup *s) {
    NpyArray x = {0}, classes = {0}, seeds = {0};
    succeeds(run(s, "pack --images png --out packed.npz"), "pack a folder");
    Npz *z = npz_open(at(s, "packed.npz"), NULL);
    CHECK(z && npz_read(z, "arr_0", &x, NULL) && x.dims == 4 && x.shape[0] == IMAGES && x.count == IMAGES * BYTES, "arr_0");
    CHECK(z && !npz_has(z, "arr_1") && !npz_has(z, "seeds"), "classes and seeds of a folder that has none");
    int wrong = 0;
    for (int i = 0; x.data && i < IMAGES; i++) {
        uint8_t *p = picture((uint64_t)i, SIDE);
        wrong += memcmp(p, (uint8_t *)x.data + (size_t)i * BYTES, BYTES) != 0;
        free(p);
    }
    CHECK(x.data && wrong == 0, "%d images differ", wrong);
    npy_free(&x);
    npz_close(z);
    succeeds(run(s, "pack --images a.npz b.npz --out both.npz"), "pack arrays");
    z = npz_open(at(s, "both.npz"), NULL);
    CHECK(z && npz_read(z, "arr_1", &classes, NULL) && classes.count == IMAGES && npy_value(&classes, 201) == 1, "arr_1");
    CHECK(z && npz_read(z, "seeds", &seeds, NULL) && seeds.count == IMAGES && npy_value(&seeds, IMAGES - 1) == IMAGES - 1, "seeds");
    npy_free(&classes), npy_free(&seeds);
    npz_close(z);
    write_array(s, "long.npz", 0, 640, 96, false, false); /* more than are written at a time */
    succeeds(run(s, "pack --images long.npz --out long2.npz"), "pack many");
    CHECK(same_file(s, "long.npz", "long2.npz"), "many images are packed as others");
    write_odd_labels(s);
    Result *r = run(s, "pack --images odd.npz --out odd2.npz");
    CHECK(strstr(r->out, "left out"), "nothing is said of the classes: %s", r->out);
    succeeds(r, "pack images whose arr_1 is no classes");
    z = npz_open(at(s, "odd2.npz"), NULL);
    CHECK(z && npz_has(z, "arr_0") && !npz_has(z, "arr_1"), "classes that are none");
    npz_close(z);
    fails(run(s, "pack --images a.npz --out both.npz"), "over a file", 1, "both.npz exists");
    succeeds(run(s, "pack --images a.npz --out both.npz --overwrite"), "--overwrite");
    fails(run(s, "pack --images a.npz large.npz --out mixed.npz"), "two sizes", 1, "40x40 pixels, and the first of the set has 32x32");
    CHECK(!exists(s, "mixed.npz"), "a file of two sizes");
}

int main(int argc, char **argv) {
    char *real = argc > 1 ? realpath(argv[1], NULL) : program_of_build(argv[0], false, "dg_cuda");
    Setup s = {.program = real, .dir = "/tmp/dg_test_eval_XXXXXX"};
    if (!CHECK(real, "no program dg_cuda beside the tests") || !CHECK(mkdtemp(s.dir), "no temporary folder"))
        return check_done("test_eval");
    one_number(&s);
    formats(&s);
    odd_names(&s);
    merges(&s);
    resumes(&s);
    protocols_run(&s);
    references(&s);
    refused_usage(&s);
    refused_sets(&s);
    degenerate(&s);
    kept_files(&s);
    packs(&s);
    remove_folder(s.dir);
    free(real);
    return check_done("test_eval");
}
#else
int main(void) {
    not_run("eval: built without LAPACK, stb_image_write or zlib");
    return check_done("test_eval");
}
#endif
