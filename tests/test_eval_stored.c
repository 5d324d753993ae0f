/* test_eval_stored.c -- files of statistics as `eval` takes them: what does not belong together or was changed is refused, what was
 * made by another rule is converted, and what is made already is neither lost nor taken for something else.
 * Usage: test_eval_stored [PROGRAM].                                                                                            */
#include "files/zip.h"
#include "measure/statistics.h"
#include "eval_sets.h"
#include "tiny_model.h"
#include <fcntl.h>

#if defined DG_HAVE_LAPACK && defined DG_HAVE_STB && defined DG_HAVE_ZLIB
static const char small_config[] =
    "{\"kind\": \"inception\", \"num_classes\":       20, \"image_size\":      107, \"depth_multiplier\": 0.125}";

/* A file with one array replaced, or without it where bytes is 0. */
static void edit(const Setup *s, const char *from, const char *to, const char *array, NpyArray by) {
    Error e = {""};
    Npz *z = npz_open(at(s, from), &e);
    NpzWriter *w = npz_writer_open(at(s, to), &e);
    bool ok = CHECK(z && w, "%s", e.text), there = false;
    for (int i = 0; ok && i <= npz_count(z); i++) {
        NpyArray a = {0}, *put = &a;
        const char *name = i < npz_count(z) ? npz_name(z, i) : array;
        bool edited = !strcmp(name, array);
        there |= edited;
        if ((i == npz_count(z) && npz_has(z, array)) || (edited && !by.bytes)) continue;
        if (edited) put = &by;
        ok = (edited || npz_read(z, name, &a, &e)) && npz_writer_array(w, name, put->dtype, put->bytes, put->dims, put->shape, &e) &&
             npz_writer_data(w, put->data, put->count * (size_t)put->bytes, &e);
        npy_free(&a);
    }
    npz_close(z);
    CHECK(ok && there && npz_writer_finish(w, &e), "%s", e.text);
}
/* The same, by rows x columns floats of 1. */
static void edit_rows(const Setup *s, const char *from, const char *to, const char *array, int64_t rows, int64_t columns) {
    NpyArray by = {.dtype = 'f', .bytes = 4, .dims = 2, .shape = {rows, columns}, .count = (size_t)(rows * columns)};
    float *x = by.data = dg_alloc(by.count * sizeof *x);
    for (size_t i = 0; i < by.count; i++) x[i] = 1;
    edit(s, from, to, array, by);
    free(x);
}
static void edit_meta(const Setup *s, const char *from, const char *to, const char *text) {
    char *copy = dg_strdup(text);
    edit(s, from, to, "meta",
         (NpyArray){.dtype = 'u', .bytes = 1, .dims = 1, .shape = {(int64_t)strlen(text)}, .count = strlen(text), .data = copy});
    free(copy);
}

/* ---- what a file says of itself ------------------------------------------------------------------------------------------------------- */
static void metas(const Setup *s) {
    static const char *const wrong[][2] = {{"edm", "array meta"}, {"[1]", "not a JSON object"}, {"{\"resize\": ", "array meta"}};
    for (int i = 0; i < 3; i++) {
        edit_meta(s, "a.stats.npz", "meta.npz", wrong[i][0]);
        fails(shapes(s, "--images b.npz --allow-fewer --metrics fd --ref meta.npz"), wrong[i][0], 1, wrong[i][1]);
    }
    edit_rows(s, "a.stats.npz", "meta.npz", "meta", 2, 2);
    fails(shapes(s, "--images b.npz --allow-fewer --metrics fd --ref meta.npz"), "meta of numbers", 1,
          "meta.npz: array meta is not a vector");
    fails(shapes(s, "--images meta.npz --allow-fewer --metrics fd"), "meta of numbers", 1, "meta.npz: array meta is not a vector");
    succeeds(shapes(s, "--images b.npz --allow-fewer --metrics fd --force --ref meta.npz"), "--force");
}

/* ---- features ------------------------------------------------------------------------------------------------------------------------ */
static void features(const Setup *s) {
    edit_rows(s, "a.stats.npz", "few_rows.npz", "feats", 5, 128);
    edit_rows(s, "a.stats.npz", "more_rows.npz", "feats", 50, 128);
    edit_rows(s, "a.stats.npz", "narrow.npz", "feats", 24, 64);
    static const char *const changed[] = {"few_rows.npz", "more_rows.npz", "narrow.npz"};
    char args[512];
    for (int i = 0; i < 3; i++) {
        snprintf(args, sizeof args, "eval merge b.stats.npz %s --out merged.npz", changed[i]);
        fails(run(s, args), args, 1, "features of [0-9]+ images \\([0-9]+ each\\).*statistics of 24 \\(128 each\\)");
        CHECK(!exists(s, "merged.npz"), "%s: a file is left", args);
        snprintf(args, sizeof args, "--images %s --allow-fewer --metrics kid", changed[i]);
        fails(shapes(s, args), args, 1, "statistics of 24 \\(128 each\\)");
        snprintf(args, sizeof args, "--images b.npz --ref %s --allow-fewer --metrics kid", changed[i]);
        if (i) fails(shapes(s, args), args, 1, "statistics of 24 \\(128 each\\)");
        else succeeds(shapes(s, args), "a reference that keeps features of some of its images");
    }
}

/* ---- DG's wrong divisor -------------------------------------------------------------------------------------------------------------- */
/* The note about rank is of the images that there are, beside a reference of which nothing is known. */
static void short_count(const Setup *s) {
    Error e = {""};
    Gaussian g = {0};
    succeeds(eval(s, "ref --protocol dg --inception inception.safetensors --images b.npz --out b.dg.npz"), "a reference");
    CHECK(gaussian_read(at(s, "b.dg.npz"), &g, &e) && g.dims < 300, "%s", e.text);
    g.count = 0;
    CHECK(gaussian_write(at(s, "b.plain.npz"), &g, &e), "%s", e.text);
    gaussian_free(&g);
    Result *r = eval(s, "--protocol dg --num 300 --dg-short-count --allow-fewer --inception inception.safetensors --images a.npz "
                        "--ref b.plain.npz");
    succeeds(r, "--dg-short-count");
    CHECK(strstr(r->out, "a set of no more images than features"), "24 images of 300: %s", r->out);
}

/* ---- going on from a file ------------------------------------------------------------------------------------------------------------- */
/* A file of a run that has come to its second image, of features that are 0. */
static void write_begun(const Setup *s, const char *name, const char *whole, int dims, int spatial, Grid g, uint64_t seed) {
    Statistics of = {0}, begun = {0};
    Error e = {""};
    float zeros[4096] = {0};
    bool ok = statistics_read(at(s, whole), &of, &e);
    char *n = ok ? strstr(of.meta, "\"N\": 30") : NULL;
    if (n) n[5] = '2', memmove(n + 6, n + 7, strlen(n + 7) + 1);
    ok = CHECK(n != NULL, "%s", e.text) &&
         statistics_new(&begun, dims ? dims : of.pool->dims, spatial ? spatial : of.spatial->dims, g, of.meta, &e) &&
         exact_add(begun.pool, DG_F32, zeros, 2, 0, &e) && exact_add(begun.spatial, DG_F32, zeros, 2, 0, &e);
    if (ok) seeds_add(&begun.seeds, seed, 2);
    CHECK(ok && statistics_write(at(s, name), &begun, NULL, &e), "%s", e.text);
    statistics_free(&of), statistics_free(&begun);
}
static void resumes(const Setup *s) {
    static const char command[] =
        "--protocol adm --metrics fid,sfid --allow-fewer --inception inception.safetensors --images b.npz --ref a.npz --out ";
    static const struct {
        const char *what;
        int dims, spatial;
        Grid grid;
        uint64_t seed;
        const char *sentence;
    } begun[] = {{"a grid", 0, 0, {-48, 3}, 24, "begun.npz.*different grids"},
                 {"pooled features", 5, 0, {-36, 2}, 24, "begun.npz.*have 5 and [0-9]+ dimensions"},
                 {"spatial features", 0, 6, {-36, 2}, 24, "begun.npz.*have 6 and 175 dimensions"},
                 {"seeds", 0, 0, {-36, 2}, 25, "begun.npz holds statistics of other images"}};
    char args[512];
    snprintf(args, sizeof args, "%swhole.npz", command);
    succeeds(eval(s, args), "in one go");
    snprintf(args, sizeof args, "%sbegun.npz", command);
    for (size_t i = 0; i < sizeof begun / sizeof *begun; i++) {
        write_begun(s, "begun.npz", "whole.npz", begun[i].dims, begun[i].spatial, begun[i].grid, begun[i].seed);
        fails(eval(s, args), begun[i].what, 1, begun[i].sentence);
    }
    write_begun(s, "begun.npz", "whole.npz", 0, 0, (Grid){-36, 2}, 24);
    Result *r = eval(s, args);
    succeeds(r, "what fits");
    CHECK(strstr(r->out, "begun.npz: 2 images are measured already"), "%s", r->out);
}

/* ---- what a network's file says ------------------------------------------------------------------------------------------------------- */
/* inception.safetensors with another number in its configuration, in as many bytes. */
static void edit_network(const Setup *s, const char *name, const char *key, const char *value) {
    FileMap whole;
    Error e = {""};
    if (!CHECK(file_map(at(s, "inception.safetensors"), &whole, &e), "%s", e.text)) return;
    char *copy = dg_alloc(whole.bytes);
    memcpy(copy, whole.data, whole.bytes);
    char *found = memmem(copy, whole.bytes, key, strlen(key));
    char padded[16];
    snprintf(padded, sizeof padded, "%9s", value);
    if (CHECK(found != NULL, "no %s", key)) memcpy(strchr(found, ':') + 1, padded, 9);
    FILE *f = fopen(at(s, name), "wb");
    CHECK(f && fwrite(copy, 1, whole.bytes, f) == whole.bytes && fclose(f) == 0, "%s", name);
    file_unmap(&whole);
    free(copy);
}
static void networks(const Setup *s) {
    static const char *const wrong[][3] = {{"num_classes", "-5", "\"num_classes\" is -5"},
                                           {"num_classes", "0", "no last layer"},
                                           {"num_classes", "2e99", "not an integer"},
                                           {"num_classes", "1999999", "from 0 to [0-9]+ is possible"},
                                           {"num_classes", "21", "fc.weight"}};
    static const char *const sizes[] = {"-7", "0", "1e9", "9"};
    succeeds(eval(s, "ref --protocol adm --features --inception inception.safetensors --images b.npz --out b.adm.npz"), "features");
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        edit_network(s, "other.safetensors", wrong[i][0], wrong[i][1]);
        fails(eval(s, "--protocol adm --metrics is --inception other.safetensors --images b.adm.npz --ref b.adm.npz"), wrong[i][1], 1,
              wrong[i][2]);
    }
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        edit_network(s, "other.safetensors", "image_size", sizes[i]);
        fails(eval(s, "--protocol adm --metrics fid --inception other.safetensors --images b.npz --ref b.adm.npz"), sizes[i], 1,
              "\"image_size\" is -?[0-9]+, from");
    }
}

/* ---- a row each ------------------------------------------------------------------------------------------------------------------------- */
static void rows_done(const Setup *s) {
    static const char args[] = "--protocol shapes32 --metrics fd --allow-fewer --each --images a.npz b.npz cut.npz a.npz --output";
    static const struct {
        const char *format, *pattern;
    } formats[] = {{"text", "images a.npz: N 24.*\n  fd +[0-9.]+\nimages b.npz: N 30.*\n  fd +[0-9.]+\n"},
                   {"csv", "^images,N,[^\n]*,fd\n\"a.npz\",24,[^\n]*,[0-9.]+\n\"b.npz\",30,[^\n]*,[0-9.]+\n$"},
                   {"md", "^\\| images [^\n]*\n\\|---[^\n]*\n\\| a.npz \\| 24 [^\n]*\n\\| b.npz \\| 30 [^\n]*\n\n"}};
    char line[512];
    write_file(s, "cut.npz", "no archive");
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        snprintf(line, sizeof line, "%s %s", args, formats[i].format);
        Result *r = eval(s, line);
        CHECK(r->code == 1 && matches(r->err, "\ndg_cuda: [^\n]*cut.npz[^\n]*\n$|^dg_cuda: [^\n]*cut.npz[^\n]*\n$"), "%s: %s", line,
              r->err); /* csv: after the notes */
        CHECK(matches(r->out, formats[i].pattern), "%s: %s", line, r->out);
        CHECK(!strstr(r->out, "cut.npz"), "%s: a row of what failed: %s", line, r->out);
    }
    snprintf(line, sizeof line, "%s json", args);
    Result *r = eval(s, line);
    fails(r, line, 1, "cut.npz");
    CHECK(value_of(r, 0, "N") == 24 && value_of(r, 1, "N") == 30 && value_of(r, 1, "fd") > 0 && isnan(value_of(r, 2, "N")), "%s", r->out);
    r = eval(s, "--protocol shapes32 --metrics fd --allow-fewer --each --images cut.npz a.npz --output csv");
    fails(r, "the first fails", 1, "cut.npz");
    CHECK(!r->out[0], "a table of no rows: %s", r->out);
}

/* ---- by which network, divided by what --------------------------------------------------------------------------------------------------- */
/* As a GPU would have made them. */
static void make_tf32(const Setup *s, const char *from, const char *to) {
    Statistics of;
    Error e = {""};
    if (!CHECK(statistics_read(at(s, from), &of, &e), "%s", e.text)) return;
    char *word = strstr(of.meta, "\"fp32\"");
    if (CHECK(word != NULL, "%s", of.meta)) memcpy(word, "\"tf32\"", 6);
    edit_meta(s, from, to, of.meta);
    statistics_free(&of);
}
static void other_networks(const Setup *s) {
    static const char edm[] = "--protocol edm --allow-fewer --inception inception.safetensors",
                      other[] = "--protocol edm --allow-fewer --inception second.safetensors";
    static const char kinds[] = "features of different kinds|its statistics are of another kind: \"weights_sha256\"";
    Error e = {""};
    char args[512];
    CHECK(tiny_write_model(NULL, at(s, "second.safetensors"), small_config, 2, &e), "%s", e.text);
    snprintf(args, sizeof args, "ref --images a.npz --features --out a.one.npz %s", edm), succeeds(eval(s, args), args);
    snprintf(args, sizeof args, "ref --images b.npz --features --out b.one.npz %s", edm), succeeds(eval(s, args), args);
    snprintf(args, sizeof args, "ref --images b.npz --features --out b.two.npz %s", other), succeeds(eval(s, args), args);
    make_tf32(s, "b.one.npz", "b.tf32.npz");
    succeeds(eval(s, "--protocol edm --allow-fewer --images a.one.npz --ref b.one.npz"), "two files of one network");
    succeeds(eval(s, "--protocol adm --metrics fid --images a.one.npz --ref b.one.npz"),
             "two files of another protocol with the same rules");
    Result *r = eval(s, "--protocol edm --allow-fewer --images a.one.npz --ref b.two.npz");
    fails(r, "two files of two networks", 1, "\"weights_sha256\" is [0-9a-f]{64} there and [0-9a-f]{64} in b.two.npz");
    CHECK(strstr(r->err, "a.one.npz") != NULL, "%s", r->err);
    succeeds(eval(s, "--protocol edm --allow-fewer --force --images a.one.npz --ref b.two.npz"), "--force");
    fails(eval(s, "--protocol edm --allow-fewer --each --images a.one.npz b.two.npz --ref b.one.npz"), "one of several", 1,
          "b.two.npz: .* in b.one.npz");
    snprintf(args, sizeof args, "%s --images a.npz --ref b.two.npz", edm),
        fails(eval(s, args), "images beside another network", 1, "b.two.npz is .* that of a.npz is");
    snprintf(args, sizeof args, "%s --images a.one.npz --ref b.npz", other);
    r = eval(s, args);
    fails(r, "another network, then images", 1, kinds);
    CHECK(strstr(r->err, "a.one.npz") && strstr(r->err, "in this run"), "%s", r->err);
    fails(eval(s, "--protocol edm --allow-fewer --images a.one.npz --ref b.tf32.npz"), "two precisions", 1,
          "\"precision\" is fp32 there and tf32 in b.tf32.npz");
    snprintf(args, sizeof args, "%s --images a.npz --ref b.tf32.npz", edm),
        fails(eval(s, args), "another precision", 1, "\"precision\" of the statistics in b.tf32.npz is tf32 and that of a.npz is fp32");
    snprintf(args, sizeof args, "%s --metrics is --images a.one.npz --ref b.one.npz", other),
        fails(eval(s, args), "scores by another network", 1, kinds);
    snprintf(args, sizeof args, "%s --metrics is --images a.one.npz --ref b.one.npz", edm), succeeds(eval(s, args), "scores");
    write_array(s, "wide.npz", 0, 20, 40, false, false);
    snprintf(args, sizeof args, "ref --images wide.npz --features --out wide.one.npz --batch 3 %s", edm), succeeds(eval(s, args), args);
    snprintf(args, sizeof args, "%s --metrics is --images wide.one.npz --ref b.one.npz", edm),
        succeeds(eval(s, args), "scores of images of another size");
    snprintf(args, sizeof args, "ref --images b.npz --adm --out b.adm2.npz %s", other), succeeds(eval(s, args), args);
    fails(eval(s, "--protocol edm --allow-fewer --images a.one.npz --ref b.adm2.npz"), "another network of ADM's form", 1,
          "a.one.npz: .* in b.adm2.npz");
    fails(eval(s, "--protocol pytorch-fid --inception second.safetensors --images a.npz --ref b.adm2.npz"), "another resize of ADM's form",
          1, "\"resize\" is tf1 there");
    edit_meta(s, "b.one.npz", "number.npz", "{\"resize\": 7}");
    fails(eval(s, "--protocol edm --allow-fewer --images a.one.npz --ref number.npz"), "no text", 1,
          "\"resize\" is 7 there and tf1 in protocol edm");
    edit_meta(s, "a.stats.npz", "number.npz", "{\"resize\": \"none\", \"weights_sha256\": \"ab\"}");
    fails(shapes(s, "--allow-fewer --metrics fd --images number.npz"), "another extractor", 1, "\"weights_sha256\" is ab there");
}
/* Statistics of another divisor are as those that were made by the protocol's. */
static void divisors(const Setup *s) {
    static const char with[] = "--allow-fewer --num 0 --metrics fid,sfid --inception inception.safetensors --output json";
    char args[512];
    const char *const protocol[] = {"edm", "stylegan3"};
    double found[2][2], sfid[2][2], direct[2];
    for (int i = 0; i < 2; i++) {
        snprintf(args, sizeof args, "ref --protocol %s %s --images b.npz --out b.%s.npz", protocol[i], with, protocol[i]),
            succeeds(eval(s, args), args);
        snprintf(args, sizeof args, "ref --protocol %s %s --images a.npz --out a.%s.npz", protocol[i], with, protocol[i]),
            succeeds(eval(s, args), args);
    }
    for (int i = 0; i < 2; i++) {
        snprintf(args, sizeof args, "--protocol %s %s --images a.npz --ref b.npz", protocol[i], with);
        direct[i] = value_of(eval(s, args), 0, "fid");
        for (int k = 0; k < 2; k++) {
            snprintf(args, sizeof args, "--protocol %s %s --images a.%s.npz --ref b.%s.npz", protocol[i], with, protocol[k], protocol[!k]);
            Result *r = eval(s, args);
            succeeds(r, args);
            found[i][k] = value_of(r, 0, "fid"), sfid[i][k] = value_of(r, 0, "sfid");
        }
        CHECK(found[i][0] == direct[i] && found[i][1] == direct[i] && sfid[i][0] == sfid[i][1], "%s: %.17g and %.17g, of images %.17g",
              protocol[i], found[i][0], found[i][1], direct[i]);
    }
    CHECK(direct[0] != direct[1] && sfid[0][0] != sfid[1][0], "both divisors give %g", direct[0]);
    edit(s, "b.edm.npz", "bare.npz", "dg_products", (NpyArray){0});
    fails(eval(s, "--protocol stylegan3 --metrics fid --allow-fewer --images a.stylegan3.npz --ref bare.npz"), "no sums to divide again", 1,
          "bare.npz: its covariance is divided by N - 1 and that of protocol stylegan3 by N, and it holds no exact sums");
    succeeds(eval(s, "--protocol stylegan3 --metrics fid --allow-fewer --force --images a.stylegan3.npz --ref bare.npz"), "--force");
    succeeds(eval(s, "--protocol edm --metrics fid --allow-fewer --images a.stylegan3.npz --ref bare.npz"), "sums of one are enough");
    fails(shapes(s, "--allow-fewer --metrics fd --images a.npz --cov-ddof 0"), "the program's own reference", 1,
          "the reference of shapes32: its covariance is divided by N - 1");
    /* DG's wrong divisor, of images and of their statistics */
    static const char dg[] =
        "--protocol dg --num 300 --dg-short-count --allow-fewer --metrics fid --inception inception.safetensors --output json";
    snprintf(args, sizeof args, "%s --images a.npz --ref b.edm.npz", dg);
    double short_of = value_of(eval(s, args), 0, "fid");
    snprintf(args, sizeof args, "%s --images a.edm.npz --ref b.edm.npz", dg);
    double stored = value_of(eval(s, args), 0, "fid");
    CHECK(short_of == stored && short_of != direct[0], "short count: of images %.17g, of a file %.17g", short_of, stored);
    edit(s, "a.edm.npz", "bare.npz", "dg_products", (NpyArray){0});
    snprintf(args, sizeof args, "%s --images bare.npz --ref b.edm.npz", dg);
    fails(eval(s, args), "no sums for a short count", 1, "bare.npz holds no exact sums, which --dg-short-count needs");
}

/* ---- what a run says and keeps --------------------------------------------------------------------------------------------------------- */
/* Rules that are not the protocol's stand beside the number, in every format. */
static void says_what_changed(const Setup *s) {
    static const char args[] = "--protocol shapes32 --metrics fd,kid --allow-fewer --images a.npz --kid-size 20 --pr-k 5 --output";
    char line[256];
    static const char *const formats[][2] = {
        {"text", "otherwise than the protocol: --pr-k 5 --kid-size 20 --allow-fewer\n"},
        {"md", "- otherwise than the protocol: --pr-k 5 --kid-size 20 --allow-fewer\n"},
        {"csv", "^images,N,protocol,changed,[^\n]*\n\"a.npz\",24,shapes32,--pr-k 5 --kid-size 20 --allow-fewer,none,"},
        {"json", "\"changed\": \"--pr-k 5 --kid-size 20 --allow-fewer\".*\"kid_size\": 20"}};
    for (int i = 0; i < 4; i++) {
        snprintf(line, sizeof line, "%s %s", args, formats[i][0]);
        Result *r = eval(s, line);
        CHECK(r->code == 0 && matches(r->out, formats[i][1]), "%s: %s", line, r->out); /* csv: the notes are on standard error */
    }
    Result *r = eval(s, "--protocol shapes32 --metrics fd --images a.stats.npz --allow-fewer --ref b.stats.npz --force");
    CHECK(strstr(r->out, "--force"), "%s", r->out);
    fails(shapes(s, "--images a.npz --metrics kid --bootstrap 5"), "a spread of nothing", 2, "--bootstrap is of the Frechet distance");
    fails(shapes(s, "--images a.npz --metrics fd --seed 5"), "a seed of nothing", 2, "--seed chooses EDM's random subset");
}
/* What a reference lacks is said before any image is measured: nothing is left in --out. */
static void reference_first(const Setup *s) {
    Error e = {""};
    Gaussian g = {0};
    CHECK(gaussian_read(at(s, "a.stats.npz"), &g, &e), "%s", e.text);
    double mean[3] = {1, 2, 3}, covariance[9] = {1, 0, 0, 0, 1, 0, 0, 0, 1};
    Gaussian small = {.dims = 3, .count = 9, .mean = mean, .covariance = covariance};
    CHECK(gaussian_write(at(s, "small.npz"), &small, &e), "%s", e.text);
    gaussian_free(&g);
    fails(shapes(s, "--allow-fewer --metrics fd --images a.npz --ref small.npz --out early.npz"), "another width", 1,
          "small.npz has features of 3 dimensions and this network makes 128");
    CHECK(!exists(s, "early.npz"), "images were measured first");
    edit_network(s, "headless.safetensors", "num_classes", "0");
    fails(eval(s, "--protocol adm --metrics is --allow-fewer --inception headless.safetensors --images a.npz --ref b.npz --out early.npz"),
          "no last layer", 1, "no last layer");
    CHECK(!exists(s, "early.npz"), "images were measured before the last layer was missed");
}
/* N is of the statistics, not of the images beside them; ADM's own files do not say it. */
static void official_adm(const Setup *s) {
    succeeds(eval(s, "ref --protocol adm --adm --inception inception.safetensors --images b.npz --out official.npz"), "a reference");
    edit(s, "official.npz", "unsaid.npz", "num_images", (NpyArray){0});
    Result *r = eval(s, "--protocol adm --allow-fewer --metrics fid,pr --inception inception.safetensors --images a.npz --ref unsaid.npz");
    succeeds(r, "ADM's file");
    CHECK(strstr(r->out, "unsaid.npz: N unknown (30 for measures of single images)"), "%s", r->out);
    succeeds(eval(s, "ref --protocol adm --inception inception.safetensors --images official.npz --out again.npz"),
             "a reference of the images of one");
    CHECK(exists(s, "again.npz"), "no file");
}
static void merges_once(const Setup *s) {
    write_array(s, "p.npz", 0, 20, SIDE, false, false), write_array(s, "q.npz", 20, 20, SIDE, false, false);
    succeeds(eval(s, "ref --protocol shapes32 --images p.npz --out p.part.npz"), "p");
    succeeds(eval(s, "ref --protocol shapes32 --images q.npz --features --out q.part.npz"), "q");
    fails(run(s, "eval merge p.part.npz q.part.npz p.part.npz --out pq.npz"), "a part twice", 1,
          "p.part.npz and p.part.npz do not merge: they hold the same images");
    Result *r = run(s, "eval merge q.part.npz p.part.npz --out pq.npz");
    succeeds(r, "two parts");
    CHECK(strstr(r->out, "note: the features of single images are left out"), "%s", r->out);
}

/* ---- images that change while a run waits ------------------------------------------------------------------------------------------------ */
static void write_zip(const Setup *s, const char *name, const char *folder, int images) {
    Error e = {""};
    ZipWriter *w = zip_writer_open(at(s, name), &e);
    bool ok = w != NULL;
    for (int i = 0; ok && i < images; i++) {
        char file[64];
        FileMap png;
        snprintf(file, sizeof file, "%s/%06d.png", folder, i);
        ok = file_map(at(s, file), &png, &e) && zip_writer_entry(w, strchr(file, '/') + 1, png.bytes, &e) &&
             zip_writer_data(w, png.data, png.bytes, &e);
        file_unmap(&png);
    }
    CHECK(ok && zip_writer_finish(w, &e), "%s", e.text);
}
static void write_npy(const Setup *s, const char *name, int first, int images) {
    char head[128];
    int n = snprintf(head, sizeof head, "%cNUMPY%c%c%c%c{'descr': '|u1', 'fortran_order': False, 'shape': (%d, 32, 32, 3), }", 0x93, 1, 0,
                     118, 0, images);
    memset(head + n, ' ', sizeof head - (size_t)n), head[127] = '\n';
    FILE *f = fopen(at(s, name), "wb");
    bool ok = f && fwrite(head, 1, sizeof head, f) == sizeof head;
    for (int i = 0; ok && i < images; i++) {
        uint8_t *p = picture((uint64_t)(first + i), SIDE);
        ok = fwrite(p, 1, BYTES, f) == BYTES;
        free(p);
    }
    CHECK(ok && fclose(f) == 0, "%s", name);
}
/* Of the last change. */
static void set_time(const Setup *s, const char *name, long seconds) {
    const struct timespec both[2] = {{seconds, 0}, {seconds, 0}};
    CHECK(utimensat(AT_FDCWD, at(s, name), both, 0) == 0, "%s", name);
}
static void write_picture(const Setup *s, const char *name, int image) {
    uint8_t *p = picture((uint64_t)image, SIDE);
    write_png(s, name, p, SIDE, SIDE, 3);
    free(p);
}
static void goes_on(const Setup *s, const char *images, bool same, const char *what) {
    char args[512];
    snprintf(args, sizeof args, "--protocol shapes32 --metrics fd --allow-fewer --images %s --out %s.out.npz", images, images);
    if (!same) fails(eval(s, args), what, 1, "out.npz holds statistics of other images \\(or of files that have changed since\\)");
    else CHECK(strstr(eval(s, args)->out, "images are measured already"), "%s: not gone on from", what);
}
static void begin(const Setup *s, const char *images) {
    char args[512], out[64];
    snprintf(out, sizeof out, "%s.out.npz", images), unlink(at(s, out));
    snprintf(args, sizeof args, "--protocol shapes32 --metrics fd --allow-fewer --images %s --out %s", images, out);
    succeeds(eval(s, args), images);
    goes_on(s, images, true, images);
}
static void changed_images(const Setup *s) {
    enum { PNGS = 12, THEN = 1600000000 };
    write_folder(s, "png", PNGS);
    for (int i = 0; i < PNGS; i++) {
        char name[64];
        snprintf(name, sizeof name, "png/%06d.png", i), set_time(s, name, THEN);
    }
    begin(s, "png");
    write_zip(s, "same.zip", "png", PNGS);
    begin(s, "same.zip");
    write_zip(s, "same.zip", "png", PNGS), set_time(s, "same.zip", THEN + 9);
    goes_on(s, "same.zip", true, "a zip file written anew");
    write_picture(s, "png/000003.png", 77), set_time(s, "png/000003.png", THEN);
    goes_on(s, "png", false, "an image of another size in bytes");
    write_zip(s, "same.zip", "png", PNGS);
    goes_on(s, "same.zip", false, "an image in a zip file");
    write_picture(s, "png/000003.png", 3), set_time(s, "png/000003.png", THEN);
    goes_on(s, "png", true, "the image as it was");
    set_time(s, "png/000003.png", THEN + 1);
    goes_on(s, "png", false, "an image of another time");
    write_array(s, "array.npz", 0, PNGS, SIDE, false, false);
    begin(s, "array.npz");
    write_array(s, "array.npz", 0, PNGS, SIDE, false, false), set_time(s, "array.npz", THEN);
    goes_on(s, "array.npz", true, "an array written anew");
    write_array(s, "array.npz", 1, PNGS, SIDE, false, false);
    goes_on(s, "array.npz", false, "another array");
    write_npy(s, "array.npy", 0, PNGS), set_time(s, "array.npy", THEN);
    begin(s, "array.npy");
    write_npy(s, "array.npy", 1, PNGS);
    goes_on(s, "array.npy", false, "another array in a .npy");
}

int main(int argc, char **argv) {
    char *real = argc > 1 ? realpath(argv[1], NULL) : program_of_build(argv[0], false, "dg_cuda");
    Setup s = {.program = real, .dir = "/tmp/dg_test_eval_stored_XXXXXX"};
    Error e = {""};
    if (!CHECK(real, "no program dg_cuda beside the tests") || !CHECK(mkdtemp(s.dir), "no temporary folder"))
        return check_done("test_eval_stored");
    CHECK(tiny_write_model(NULL, at(&s, "inception.safetensors"), small_config, 1, &e), "%s", e.text);
    write_array(&s, "a.npz", 0, 24, SIDE, true, true);
    write_array(&s, "b.npz", 24, 30, SIDE, true, true);
    succeeds(eval(&s, "ref --protocol shapes32 --images a.npz --features --out a.stats.npz"), "part a");
    succeeds(eval(&s, "ref --protocol shapes32 --images b.npz --features --out b.stats.npz"), "part b");
    features(&s);
    metas(&s);
    resumes(&s);
    networks(&s);
    rows_done(&s);
    other_networks(&s);
    says_what_changed(&s), reference_first(&s), official_adm(&s), merges_once(&s);
    divisors(&s);
    changed_images(&s);
    short_count(&s);
    remove_folder(s.dir);
    free(real);
    return check_done("test_eval_stored");
}
#else
int main(void) {
    not_run("files of statistics in eval: built without LAPACK, stb_image_write or zlib");
    return check_done("test_eval_stored");
}
#endif
