/* test_latents.c -- from latents to pictures, from outside: what `generate --vae` and `decode` make is what the autoencoder makes of
 * the stored latents, whatever the batches; files and options that do not fit are one sentence; the presets are what was published.
 * Usage: test_latents [DEVICE [PROGRAM]]     default: cpu; the program of the same build folder. On emu, the pictures alone      */
#include "arrays.h"
#include "files/image.h"
#include "program.h"
#include "program/networks.h"
#include "program/sample_options.h"
#include "tiny_model.h"
#include <math.h>

enum { SIDE = 8, CHANNELS = 4, PICTURE = 16, VALUES = SIDE * SIDE * CHANNELS, BYTES = PICTURE * PICTURE * 3 };
static const char dit_config[] = "{\"kind\": \"dit\", \"input_size\": 8, \"patch_size\": 2, \"hidden_size\": 16, \"depth\": 1, "
                                 "\"num_heads\": 2, \"num_classes\": 3, \"classes\": [\"crane\", \"tench\", \"crane\"]}";
static const char other_vae_config[] = "{\"kind\": \"vae\", \"block_out_channels\": [8, 16], \"layers_per_block\": 1, \"latent_channels\": "
                                       "4, \"norm_num_groups\": 4, \"sample_size\": 32, \"scaling_factor\": 0.5}";
#define GUIDED  "--extractor extractor.safetensors --discriminator head.safetensors "
#define DIT     "generate --network dit.safetensors --steps 4 --cfg_scale 1.5 "
#define LATENTS "latents/samples.npz"
static Result *program(const Setup *s, const char *args) {
    char all[1024];
    snprintf(all, sizeof all, "%s --device %s%s", args, s->device, !strcmp(s->device, "emu") ? " --dtype fp32" : "");
    return run(s, all);
}

/* ---- pictures ------------------------------------------------------------------------------------------------------------------- */
/* What the autoencoder makes of n latents (NCHW), by plain loops in double: 127.5 y + 128, NHWC. */
static double *decoded(const Setup *s, const float *latents, int n, double factor) {
    Error e = {0};
    Device *d = device_open("ref64", NULL, &e);
    Weights *w = weights_open(at(s, "vae.safetensors"), &e);
    Net *net = w ? net_new(SPAN_AUTOENCODER, d->precision, n, false) : NULL;
    Tid x = net ? g_input(net->graph, "x", (Shape){n, SIDE, SIDE, CHANNELS}) : 0;
    const Ports *p = net ? net_add(net, &model_vae, weights_config(w), "", x, &e) : NULL;
    if (p) net_plan(net, p->out);
    double *out = dg_alloc((size_t)n * BYTES * sizeof *out), *in = dg_alloc((size_t)n * VALUES * sizeof *in);
    if (CHECK(p && net_bind(net, d, &w, &e), "%s", e.text)) {
        for (int i = 0; i < n; i++)
            for (int c = 0; c < CHANNELS; c++)
                for (int k = 0; k < SIDE * SIDE; k++)
                    in[i * VALUES + k * CHANNELS + c] = (double)latents[i * VALUES + c * SIDE * SIDE + k] / factor;
        exec_set(net->exec, net->x, DG_F64, in);
        exec_run(net->exec, n);
        exec_get(net->exec, net->out, DG_F64, out);
        for (int i = 0; i < n * BYTES; i++) out[i] = 127.5 * out[i] + 128;
    }
    free(in);
    net_free(net), weights_free(w), device_close(d);
    return out;
}
static void check_bytes(const char *what, const uint8_t *found, const double *exact, int count) {
    enum { NEAR_PERCENT = 1 };
    int wrong = 0, inside = 0;
    for (int i = 0; i < count; i++) {
        double wanted = floor(fmin(fmax(exact[i], 0), 255)), near = fabs(exact[i] - rint(exact[i]));
        wrong += found[i] != wanted && !(near < NEAR_PERCENT / 100. && fabs(found[i] - wanted) <= 1);
        inside += wanted > 0 && wanted < 255;
    }
    CHECK(wrong == 0, "%s: %d of %d bytes are not those of the latents", what, wrong, count);
    CHECK(inside > count / 2, "%s: only %d of %d bytes are neither black nor white", what, inside, count);
}
/* Any number of images, a few at a time: no more than these are made, each is what it is alone, and what is not finite is told of the image that it is in. */
static void chunks(const Setup *s) {
    enum { N = 5, ROWS = 2, BAD = 3 };
    Error e = {0};
    Device *d = device_open(s->device, "fp32", &e);
    Weights *w = weights_open(at(s, "vae.safetensors"), &e);
    static const uint8_t GUARD = 0x5a;
    uint8_t bytes[2][(N + 1) * BYTES];
    int bad[N + 1];
    double x[(N + 1) * VALUES];
    for (int i = 0; i < (N + 1) * VALUES; i++) x[i] = .2 * sin(i * .7);
    for (int pass = 0; pass < 2; pass++) {
        Decoder *c = w ? decoder_new(d, w, (Shape){1, SIDE, SIDE, CHANNELS}, pass ? ROWS : N, true, &e) : NULL;
        if (!CHECK(c && c->picture.h == PICTURE && c->picture.c == 3, "%s", e.text)) break;
        Picture p = picture_of(c->picture, QUANTIZE_OF_NETWORK, NULL);
        if (pass) x[BAD * VALUES + 5] = NAN;
        double *device_x = d->be->alloc(d, sizeof x);
        uint8_t *device_bytes = d->be->alloc(d, sizeof bytes[0]);
        int *device_bad = d->be->alloc(d, sizeof bad);
        memset(bytes[pass], GUARD, sizeof bytes[0]);
        d->be->upload(d, device_x, x, sizeof x), d->be->upload(d, device_bytes, bytes[pass], sizeof bytes[0]);
        decoder_enqueue(c, N, device_x, &p, device_bytes, device_bad);
        d->be->download(d, bytes[pass], device_bytes, sizeof bytes[0]);
        d->be->download(d, bad, device_bad, sizeof bad);
        for (int i = 0; i < N; i++) {
            bool same = !memcmp(bytes[0] + i * BYTES, bytes[pass] + i * BYTES, BYTES), wrong = pass && i == BAD;
            CHECK(wrong ? bad[i] > 0 : bad[i] == 0 && same, "image %d of %d, %d at a time: %d values are not finite, %s bytes", i, N,
                  c->rows, bad[i], same ? "the same" : "other");
        }
        int changed = 0;
        for (int i = N * BYTES; i < (N + 1) * BYTES; i++) changed += bytes[pass][i] != GUARD;
        CHECK(changed == 0, "%d at a time: %d bytes of one image too many were made", c->rows, changed);
        d->be->release(d, device_x), d->be->release(d, device_bytes), d->be->release(d, device_bad);
        decoder_free(c);
    }
    weights_free(w);
    device_close(d);
    CHECK(decoder_precision((Precision){DG_F16, false}).act == DG_BF16 && decoder_precision((Precision){DG_F32, true}).tf32,
          "an autoencoder's precision is not bf16 for fp16, and the device's own otherwise");
}
/* `generate` with and without the autoencoder, and `decode`: the same pictures, and the right ones. */
static void pictures(const Setup *s) {
    enum { N = 5 };
    NpyArray latents, made, decode, again;
    if (!succeeds(program(s, DIT "--seeds 0-4 --class balanced --format npz --save-latents --outdir latents"), "latents") ||
        !succeeds(program(s, DIT "--seeds 0-4 --class balanced --format npz --outdir made --vae vae.safetensors"), "pictures") ||
        !succeeds(program(s, "decode " LATENTS " --vae vae.safetensors --format npz --outdir decoded"), "decode") ||
        !succeeds(program(s, "decode " LATENTS " --vae other.safetensors --format npz --outdir half"), "another factor"))
        return;
    if (!read_array(s, LATENTS, "samples", N * VALUES, &latents) || !read_array(s, "made/samples.npz", "arr_0", N * BYTES, &made) ||
        !read_array(s, "decoded/samples.npz", "arr_0", N * BYTES, &decode) ||
        !read_array(s, "half/samples.npz", "arr_0", N * BYTES, &again))
        return;
    CHECK(made.dims == 4 && made.shape[1] == PICTURE && made.shape[2] == PICTURE && made.shape[3] == 3, "pictures of %dx%dx%d",
          (int)made.shape[1], (int)made.shape[2], (int)made.shape[3]);
    double *exact = decoded(s, latents.data, N, 0.18215), *half = decoded(s, latents.data, N, .5);
    check_bytes("generate", made.data, exact, N * BYTES);
    check_bytes("decode", decode.data, exact, N * BYTES);
    check_bytes("a factor of 0.5", again.data, half, N * BYTES);
    free(exact), free(half);
    npy_free(&latents), npy_free(&made), npy_free(&decode), npy_free(&again);
    if (read_array(s, "decoded/samples.npz", "arr_1", N, &again)) {
        for (int i = 0; i < N; i++)
            CHECK(((const int64_t *)again.data)[i] == i % 3, "decode: image %d is of class %d", i, (int)((const int64_t *)again.data)[i]);
        npy_free(&again);
    }
}
static void batches(const Setup *s) {
    static const char *const of[] = {"--batch 1", "--batch 5 --vae-batch 1", "--batch 5 --vae-batch 2", "--batch 3 --vae-batch 7"};
    for (size_t i = 0; i < sizeof of / sizeof *of; i++) {
        char args[512], folder[64];
        snprintf(folder, sizeof folder, "batch-%zu/samples.npz", i);
        snprintf(args, sizeof args, DIT "--seeds 0-4 --class balanced --format npz --vae vae.safetensors --outdir batch-%zu %s", i, of[i]);
        if (succeeds(program(s, args), of[i])) CHECK(same_file(s, "made/samples.npz", folder), "%s changes pictures", of[i]);
        snprintf(args, sizeof args, "decode " LATENTS " --vae vae.safetensors --format npz --outdir decode-%zu --vae-batch %zu", i, i + 1);
        snprintf(folder, sizeof folder, "decode-%zu/samples.npz", i);
        if (succeeds(program(s, args), args))
            CHECK(same_file(s, "decoded/samples.npz", folder), "decode --vae-batch %zu changes pictures", i + 1);
    }
}
/* As PNG files, a grid, guided; continued; the manifest. */
static void folders(const Setup *s) {
    if (!image_png_available(NULL)) {
        not_run("folders of pictures: this build writes no PNG files");
        return;
    }
    succeeds(program(s, DIT GUIDED "--seeds 0-3 --vae vae.safetensors --outdir png --grid grid.png"), "PNG files and a grid");
    Error e = {0};
    uint8_t pixels[BYTES];
    CHECK(image_read_png(at(s, "png/000003.png"), pixels, PICTURE, PICTURE, 3, &e), "%s", e.text);
    Json *m = manifest(s, "png");
    const Json *hash = json_get(json_get(m, "images"), "vae sha256");
    CHECK(hash && hash->kind == JSON_STRING && strlen(hash->string) == 64, "the manifest has no hash of the autoencoder");
    json_free(m);
    fails(program(s, DIT GUIDED "--seeds 0-4 --vae other.safetensors --outdir png"), "another autoencoder", 1, "vae sha256 was .*, is now");
    succeeds(program(s, "decode " LATENTS " --vae vae.safetensors --outdir d --vae-batch 2"), "decode to PNG files");
    CHECK(count_files(s, "d", ".png") == 5, "%d of 5 pictures", count_files(s, "d", ".png"));
    unlink(at(s, "d/000002.png"));
    Result *r = program(s, "decode " LATENTS " --vae vae.safetensors --outdir d");
    if (succeeds(r, "decode again"))
        CHECK(strstr(r->out, "4 of 5 pictures are there already") && count_files(s, "d", ".png") == 5, "not continued: %s", r->out);
}
/* What was decoded is not mixed with something else. */
static void owners(const Setup *s) {
#define DECODED " --format npz --outdir decoded"
    succeeds(program(s, DIT "--seeds 0-4 --class 1 --format npz --save-latents --outdir l2"), "other latents");
    fails(program(s, "decode l2/samples.npz --vae vae.safetensors" DECODED), "other latents", 1, "sha256 was .*, is now");
    fails(program(s, "decode " LATENTS " --vae other.safetensors" DECODED), "another autoencoder", 1, "vae sha256 was .*, is now");
    fails(program(s, DIT "--seeds 0-4 --vae vae.safetensors" DECODED), "generate into decode's", 1, "were made with other options");
    Result *r = program(s, "decode " LATENTS " --vae vae.safetensors" DECODED);
    if (succeeds(r, "decode again")) CHECK(strstr(r->out, "5 of 5 pictures are there already"), "made anew: %s", r->out);
}

/* --overwrite removes no file that the run reads, whatever it is called, and writes over none. */
static void inputs_stay(const Setup *s) {
    static const struct {
        const char *args, *read, *pattern;
    } of[] = {
        {"decode own/samples.npz --vae vae.safetensors --outdir own", "own/samples.npz", "own/samples.npz is a file that is read"},
        {"decode by_link.npz --vae vae.safetensors --outdir own", "own/samples.npz", "own/samples.npz is a file that is read"},
        {"decode l2/samples.npz --vae vae.safetensors --format npz --outdir linked", "l2/samples.npz",
         "linked/samples.npz is a file that is read"},
        {"decode l2/samples.npz --vae own/part-000000-000001.npz --outdir own", "own/part-000000-000001.npz",
         "part-000000-000001.npz is a file that is read"},
        {"generate --network own/part-000000-000001.npz --seeds 0 --steps 2 --format npz --save-latents --outdir own",
         "own/part-000000-000001.npz", "part-000000-000001.npz is a file that is read"},
        {"generate --network dit.safetensors --vae own/part-000000-000001.npz --seeds 0 --steps 2 --format npz --outdir own",
         "own/part-000000-000001.npz", "part-000000-000001.npz is a file that is read"},
    };
    succeeds(program(s, DIT "--seeds 0-1 --class 1 --format npz --save-latents --outdir own"), "latents");
    succeeds(program(s, DIT "--seeds 0-1 --class 1 --format npz --save-latents --outdir linked"), "latents");
    unlink(at(s, "linked/samples.npz"));
    CHECK(symlink("../l2/samples.npz", at(s, "linked/samples.npz")) == 0 && symlink("own/samples.npz", at(s, "by_link.npz")) == 0,
          "no link");
    for (size_t i = 0; i < sizeof of / sizeof *of; i++) {
        char args[512];
        const char *model = strstr(of[i].args, "--network own") ? "dit.safetensors" : "vae.safetensors";
        unlink(at(s, "own/part-000000-000001.npz")), unlink(at(s, "kept.npz"));
        CHECK(!strstr(of[i].read, "part") || link(at(s, model), at(s, of[i].read)) == 0, "no link");
        CHECK(link(at(s, of[i].read), at(s, "kept.npz")) == 0, "no link");
        snprintf(args, sizeof args, "%s --overwrite", of[i].args);
        fails(program(s, args), args, 1, of[i].pattern);
        struct stat before, after;
        CHECK(stat(at(s, of[i].read), &after) == 0 && stat(at(s, "kept.npz"), &before) == 0 && before.st_ino == after.st_ino,
              "%s: %s was removed or replaced", args, of[i].read);
    }
    unlink(at(s, "own/part-000000-000001.npz"));
    succeeds(program(s, "decode l2/samples.npz --vae vae.safetensors --outdir own --overwrite"), "other latents");
    CHECK(!exists(s, "own/samples.npz") && count_files(s, "own", ".png") == 5, "--overwrite removes nothing any more");
}

/* ---- what does not fit ---------------------------------------------------------------------------------------------------------- */
typedef struct {
    const char *name, *array;
    char dtype;
    int bytes, dims;
    int64_t shape[4];
    const char *second; /* labels or seeds, one a sample */
    int second_count;
    bool nan; /* the second image's last value */
} File;
static const File files[] = {
    {"plain.npz", "samples", 'f', 4, 4, {2, 4, 8, 8}},
    {"one.npz", "samples", 'f', 4, 3, {4, 8, 8}},
    {"nan.npz", "samples", 'f', 4, 4, {3, 4, 8, 8}, .nan = true},
    {"channels.npz", "samples", 'f', 4, 4, {2, 3, 8, 8}},
    {"bytes.npz", "samples", 'u', 1, 4, {2, 8, 8, 3}},
    {"double.npz", "samples", 'f', 8, 4, {2, 4, 8, 8}},
    {"flat.npz", "samples", 'f', 4, 2, {2, 256}},
    {"none.npz", "samples", 'f', 4, 4, {0, 4, 8, 8}},
    {"pictures.npz", "arr_0", 'u', 1, 4, {2, 8, 8, 3}},
    {"label.npz", "samples", 'f', 4, 4, {2, 4, 8, 8}, "label", 3},
    {"seeds.npz", "samples", 'f', 4, 4, {2, 4, 8, 8}, "seeds", 3},
    {"twice.npz", "samples", 'f', 4, 4, {2, 4, 8, 8}, "seeds", 2},
};
static bool write_latents(const Setup *s, const File *f, Error *e) {
    NpzWriter *w = npz_writer_open(at(s, f->name), e);
    size_t count = 1;
    for (int i = 0; i < f->dims; i++) count *= (size_t)f->shape[i];
    char *data = dg_alloc(count * (size_t)f->bytes + 1);
    for (size_t i = 0; i < count && f->bytes == 4; i++) {
        float v = f->nan && i == 2 * VALUES - 1 ? NAN : .2f * sinf((float)i);
        memcpy(data + i * sizeof v, &v, sizeof v);
    }
    bool ok = w && npz_writer_array(w, f->array, f->dtype, f->bytes, f->dims, f->shape, e) &&
              npz_writer_data(w, data, count * (size_t)f->bytes, e);
    if (ok && f->second) {
        int64_t n = f->second_count, zero = 0;
        ok = npz_writer_array(w, f->second, 'u', 8, 1, &n, e);
        for (int i = 0; i < n && ok; i++) ok = npz_writer_data(w, &zero, sizeof zero, e);
    }
    free(data);
    if (ok) return npz_writer_finish(w, e);
    npz_writer_abandon(w);
    return false;
}
/* Two images' rows of labels. */
static const struct {
    const char *name;
    float row[2][3];
} rows[] = {{"right.npz", {{0, 0, 1}, {0, 1, 0}}}, {"zeros.npz", {{0, 1, 0}, {0, 0, 0}}},  {"two.npz", {{0, 1, 0}, {1, 0, 1}}},
            {"half.npz", {{.5, 0, 0}, {1, 0, 0}}}, {"minus.npz", {{-1, 0, 0}, {1, 0, 0}}}, {"no.npz", {{NAN, 0, 0}, {1, 0, 0}}}};
static bool write_rows(const Setup *s, const char *name, const float row[2][3], Error *e) {
    const int64_t samples[] = {2, CHANNELS, SIDE, SIDE}, labels[] = {2, 3};
    const float latents[2 * VALUES] = {0};
    NpzWriter *w = npz_writer_open(at(s, name), e);
    bool ok = w && npz_writer_array(w, "samples", 'f', 4, 4, samples, e) && npz_writer_data(w, latents, sizeof latents, e) &&
              npz_writer_array(w, "label", 'f', 4, 2, labels, e) && npz_writer_data(w, row, 6 * sizeof **row, e);
    if (ok) return npz_writer_finish(w, e);
    npz_writer_abandon(w);
    return false;
}
static const struct {
    const char *args;
    int code;
    const char *pattern;
} wrong[] = {
    {DIT "--seeds 0", 1, "makes latents, not pictures: add --vae FILE.*--save-latents"},
    {DIT "--seeds 0 --grid g.png", 1, "makes latents, not pictures: add --vae FILE"},
    {DIT "--seeds 0 --vae vae.safetensors --format npz --save-latents", 2, "--vae makes pictures of latents, --save-latents stores them"},
    {DIT "--seeds 0 --vae-batch 2 --format npz --save-latents", 2, "--vae-batch needs --vae"},
    {DIT "--seeds 0 --vae vae.safetensors --vae-batch 0", 2, "--vae-batch: 0 is outside what is possible, 1 to"},
    {DIT "--seeds 0 --vae missing.safetensors", 1, "missing.safetensors"},
    {DIT "--seeds 0 --vae head.safetensors", 1, "--vae head.safetensors: this file holds a head, not an autoencoder"},
    {"generate --seeds 0 --vae vae.safetensors", 1, "--vae vae.safetensors: the autoencoder takes 4 channels here and is given 3"},
    {DIT "--seeds 0 --format npz --vae bad.safetensors", 1, "bad.safetensors.*\"scaling_factor\" is 0, not a positive number"},
    {DIT "--seeds 0 --format npz --vae vae.safetensors --extractor pixels.safetensors --discriminator head.safetensors", 1,
     "the extractor takes 8x8x3 images, the network makes 8x8x4"},
    {"generate --seeds 0 --extractor extractor.safetensors --discriminator head.safetensors", 1,
     "the extractor takes 8x8x4 images, the network makes 32x32x3"},
    {DIT "--class crane --vae vae.safetensors", 2, "--class \"crane\": classes 0 and 2 are both called so: give the number"},
    {DIT "--class tank --vae vae.safetensors", 2, "--class: \"tank\" is none of this network's classes"},
    {"decode " LATENTS, 2, "decode needs --vae"},
    {"decode --vae vae.safetensors", 2, "LATENTS is missing"},
    {"decode vae.safetensors --vae vae.safetensors", 2, "the latents and the autoencoder in one"},
    {"decode missing.npz --vae vae.safetensors", 1, "missing.npz"},
    {"decode dit.safetensors --vae vae.safetensors", 1, "dit.safetensors"},
    {"decode " LATENTS " --vae dit.safetensors", 1, "--vae dit.safetensors: this file holds a dit, not an autoencoder"},
    {"decode " LATENTS " --vae vae.safetensors --subdirs --format npz", 2, "--subdirs: only PNG files"},
    {"decode " LATENTS " --vae vae.safetensors --sha256 00", 1, "its SHA-256 is [0-9a-f]{64}, not that of --sha256"},
    {"decode channels.npz --vae vae.safetensors", 1, "takes 4 channels here and is given 3"},
    {"decode bytes.npz --vae vae.safetensors", 1, "samples is not of latents.*it holds pictures, bytes"},
    {"decode double.npz --vae vae.safetensors", 1, "samples is not of latents, f32"},
    {"decode flat.npz --vae vae.safetensors", 1, "samples is not of latents, f32"},
    {"decode none.npz --vae vae.safetensors", 1, "samples is not of latents, f32"},
    {"decode pictures.npz --vae vae.safetensors", 1, "no array samples: it is not a file of latents"},
    {"decode label.npz --vae vae.safetensors", 1, "label has neither a row nor a number for each of the 2 images"},
    {"decode zeros.npz --vae vae.safetensors", 1, "array label: row 1 is not one-hot"},
    {"decode two.npz --vae vae.safetensors", 1, "array label: row 1 is not one-hot"},
    {"decode half.npz --vae vae.safetensors", 1, "array label: row 0 is not one-hot"},
    {"decode minus.npz --vae vae.safetensors", 1, "array label: row 0 is not one-hot"},
    {"decode no.npz --vae vae.safetensors", 1, "array label: row 0 is not one-hot"},
    {"decode seeds.npz --vae vae.safetensors", 1, "seeds does not hold a 64-bit number for each of the 2 images"},
    {"decode twice.npz --vae vae.safetensors", 1, "the same seed twice"},
};
static void refusals(const Setup *s) {
    Error e = {0};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) CHECK(write_latents(s, &files[i], &e), "%s", e.text);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) CHECK(write_rows(s, rows[i].name, rows[i].row, &e), "%s", e.text);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char args[512];
        snprintf(args, sizeof args, "%s --outdir refused", wrong[i].args);
        fails(program(s, args), wrong[i].args, wrong[i].code, wrong[i].pattern);
        CHECK(count_files(s, "refused", "0") == 0, "%s: it left an image", wrong[i].args);
    }
    succeeds(program(s, "decode plain.npz --vae vae.safetensors --format npz --outdir plain"), "latents without labels and seeds");
    succeeds(program(s, "decode one.npz --vae vae.safetensors --format npz --outdir one"), "one image's latents");
    succeeds(program(s, "decode right.npz --vae vae.safetensors --format npz --outdir right"), "one-hot labels");
    NpyArray a, b;
    if (read_array(s, "right/samples.npz", "arr_1", 2, &a)) {
        CHECK(npy_value(&a, 0) == 2 && npy_value(&a, 1) == 1, "classes %g and %g", npy_value(&a, 0), npy_value(&a, 1));
        npy_free(&a);
    }
    fails(program(s, "decode nan.npz --vae vae.safetensors --format npz --outdir nan"), "nan.npz", 1, "1 pictures? ha.*not finite.*seed 1");
    if (read_array(s, "nan/samples.npz", "seeds", 2, &a) && read_array(s, "nan/samples.npz", "arr_0", 2 * BYTES, &b)) {
        CHECK(((const uint64_t *)a.data)[0] == 0 && ((const uint64_t *)a.data)[1] == 2, "seeds %d and %d beside one that is not finite",
              (int)((const uint64_t *)a.data)[0], (int)((const uint64_t *)a.data)[1]);
        npy_free(&a), npy_free(&b);
    }
}

/* ---- presets, plans and bench ----------------------------------------------------------------------------------------------------- */
static const struct {
    const char *preset, *networks;
    const char *set; /* name=value, as --dry-run prints them */
    int network, guide;
    const char *source;
} presets[] = {
    {"dit-xl-2-256", "", "sampler=\"ddpm\" steps=250 cfg_scale=1.5 dg_weight_1st_order=0", 500, 0, "facebookresearch/DiT, sample_ddp.py"},
    {"dit-xl-2-256-sample", "", "sampler=\"ddpm\" steps=250 cfg_scale=4 dg_weight_1st_order=0", 500, 0, "facebookresearch/DiT, sample.py"},
    {"dit-xl-2-256-dg", GUIDED, "sampler=\"ddpm\" steps=250 LT_cfg=1.25 ST_cfg=3 branch_time=200 time_min=100 dg_weight_1st_order=1", 500,
     224, "alsdudrla10/DG_imagenet, sample.py"},
    {"edm-ffhq64-dg", NULL,
     "steps=32 S_churn=2.5 S_min=0.05 S_max=50 S_noise=1.003 dg_weight_1st_order=1 dg_weight_2nd_order=0 boosting=\"double\"", 63, 27,
     "arXiv 2312.06038"},
    {"edm-imagenet64-dg", NULL, "steps=64 S_churn=10 S_min=0.05 S_max=50 S_noise=1.003 dg_weight_1st_order=1.1 boosting=\"double\"", 127,
     54, "arXiv 2312.06038"},
};
static void check_presets(const Setup *s) {
    for (size_t i = 0; i < sizeof presets / sizeof *presets; i++) {
        char args[512], line[256];
        const char *name = presets[i].preset;
        snprintf(args, sizeof args, "generate --dry-run --preset %s %s %s", name,
                 presets[i].networks ? "--network dit.safetensors --vae vae.safetensors" : "",
                 presets[i].networks ? presets[i].networks : "");
        Result *r = program(s, args);
        if (!succeeds(r, args)) continue;
        snprintf(line, sizeof line, "preset %s: ", name);
        CHECK(strstr(r->out, line) && strstr(r->out, presets[i].source), "%s does not say where it is published: %.300s", name, r->out);
        for (const char *set = presets[i].set; *set; set += strcspn(set, " "), set += *set == ' ') {
            int n = (int)strcspn(set, "=");
            snprintf(line, sizeof line, "\n  --%.*s = %.*s\n", n, set, (int)strcspn(set + n + 1, " "), set + n + 1);
            CHECK(strstr(r->out, line), "%s: no \"%s\"", name, line + 1);
        }
        snprintf(line, sizeof line, " %d network calls, %d guide calls,", presets[i].network, presets[i].guide);
        CHECK(strstr(r->out, line), "%s: not%s but %s", name, line, strstr(r->out, "an image  "));
        if (presets[i].networks)
            CHECK(strstr(r->out, "\n  vae ") && strstr(r->out, "decodes 4 images at a time") && strstr(r->out, "decoded to 16x16"),
                  "%s: nothing of the autoencoder: %s", name, r->out);
    }
}
/* What the command line says of classifier-free guidance in other words than the preset goes before it. */
static void other_words(const Setup *s) {
    static const struct {
        const char *args, *line;
    } of[] = {{"--preset dit-xl-2-256-dg --cfg_scale 2", " 2; discriminator 1;"},
              {"--preset dit-xl-2-256-dg --cfg_scale 2", "\n  --LT_cfg = null\n"},
              {"--LT_cfg 1.5 --ST_cfg 3 --preset dit-xl-2-256", "\n  --cfg_scale = null\n"},
              {"--preset dit-xl-2-256 --timestep_respacing ddim25", "ddpm, 25 steps"},
              {"--preset dit-xl-2-256-dg --ST_cfg 4", "\n  --LT_cfg = 1.25\n"}};
    for (size_t i = 0; i < sizeof of / sizeof *of; i++) {
        char args[256];
        snprintf(args, sizeof args, "generate --dry-run --network dit.safetensors " GUIDED "%s", of[i].args);
        Result *r = program(s, args);
        if (succeeds(r, args)) CHECK(strstr(r->out, of[i].line), "%s: no \"%s\": %s", args, of[i].line, r->out);
    }
}
/* The weights change between timesteps 201 and 197, the discriminator acts from 104 on: strictly above 200 and 100.
 * And a network on latents computes in bf16 where nobody asks for fp16. */
static void gates(const Setup *s) {
    static const char *const one[] = {"--ST_cfg 1", "--LT_cfg 1"}, *const acts[] = {"in 200 of 250 evaluations",
                                                                                    "in 50 of 250 evaluations"};
    static const struct {
        const char *args, *line;
    } types[] = {{"", "device rounded, bf16\n"}, {" --dtype fp16", "device rounded, fp16\n"}};
    for (int i = 0; i < 2; i++) {
        char args[256];
        snprintf(args, sizeof args, "generate --dry-run --network dit.safetensors --device rounded%s", types[i].args);
        Result *of = run(s, args);
        if (succeeds(of, args)) CHECK(strstr(of->out, types[i].line), "%s: not %s%s", args, types[i].line, of->out);
        snprintf(args, sizeof args, "generate --dry-run --preset dit-xl-2-256-dg --network dit.safetensors " GUIDED "%s", one[i]);
        Result *r = program(s, args);
        if (succeeds(r, args))
            CHECK(strstr(r->out, acts[i]) && strstr(r->out, "in 224 of 250 evaluations"), "%s: not %s: %s", args, acts[i], r->out);
    }
}
/* The networks of DiT's presets are the official ones: parameters, and billions of multiply-adds, as published. */
static void preset_models(void) {
    static const struct {
        Role role;
        const char *key;
        double gmac, parameters;
    } of[] = {{ROLE_NETWORK, "network", 118.621, 675129632}, {ROLE_VAE, "vae", 311.094, 49490199}};
    Error e = {0};
    const char *text = preset_networks("dit-xl-2-256-dg");
    Json *j = text ? json_parse(text, strlen(text), &e) : NULL;
    if (!CHECK(j, "%s", e.text)) return;
    for (size_t i = 0; i < sizeof of / sizeof *of; i++) {
        const Json *config = json_get(j, of[i].key);
        const Model *m = config ? model_find(config, json_get(config, "kind")->string, &e) : NULL;
        void *c = m ? model_config(m, config, &e) : NULL;
        Graph *g = graph_new((Precision){DG_F32, false});
        Ports p = {0};
        double parameters = 0;
        if (CHECK(c && model_build(m, g, c, "", 1, &p, &e), "%s: %s", of[i].key, e.text)) {
            for (Tid t = 1; t < g->nt; t++)
                if (g->t[t].kind == T_WEIGHT) parameters += (double)shape_count(shape_of(g, t));
            CHECK(parameters == of[i].parameters, "%s: %.0f parameters, %.0f wanted", of[i].key, parameters, of[i].parameters);
            CHECK(fabs(graph_flops(g) / 2e9 - of[i].gmac) < .01, "%s: %.3f GMAC, %.3f wanted", of[i].key, graph_flops(g) / 2e9, of[i].gmac);
        }
        free(c);
        graph_free(g);
    }
    Guide *g = guide_plan(json_get(j, "extractor"), json_get(j, "head"), (Precision){DG_F32, false}, 1, (GuideOptions){0}, &e);
    const double fifth = 1.235 / 4; /* product of attention's gradient, which computes q k^T anew: the published count is of four */
    if (CHECK(g, "%s", e.text))
        CHECK(fabs(graph_flops(g->net->graph) / 2e9 - 6.767 - fifth) < .01, "guide: %.3f GMAC", graph_flops(g->net->graph) / 2e9);
    guide_free(g);
    json_free(j);
    CHECK(!preset_networks("edm-cifar10") && !preset_networks(NULL), "a preset without networks has some");
}
/* The phases are those of the run, and images a second what they add up to. */
static void phases(const Setup *s) {
    static const struct {
        const char *name;
        int calls;
    } wanted[] = {{"network call", 0}, {"two passes", 6}, {"guide call", 4}, {"vae call", 3}, {"state work", 6}};
    Error e = {0};
    Result *r = program(s, "bench --network dit.safetensors " GUIDED "--vae vae.safetensors --vae-batch 2 --batch 5 --repeats 1 --steps 6 "
                           "--cfg_scale 2 --time_min 300 --json bench.json");
    if (!succeeds(r, "bench")) return;
    Json *j = json_parse_file(at(s, "bench.json"), &e);
    const Json *p = json_get(j, "phases"), *rate = json_get(j, "images_per_second");
    double run = 0;
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted && p; i++) {
        const Json *x = json_get(p, wanted[i].name), *calls = json_get(x, "calls"), *seconds = json_get(x, "seconds");
        CHECK(calls && calls->number == wanted[i].calls, "bench: %g calls of %s, %d wanted", calls ? calls->number : NAN, wanted[i].name,
              wanted[i].calls);
        run += seconds ? seconds->number : NAN;
    }
    CHECK(p && rate && fabs(5 / run / rate->number - 1) < 1e-3, "bench: phases of %g s, %g images/s", run, rate ? rate->number : NAN);
    CHECK(strstr(r->out, "a run of") && strstr(r->out, "vae memory"), "bench prints no phases: %s", r->out);
    json_free(j);
}

static bool write_models(const Setup *s, Error *e) {
    char bad[512];
    snprintf(bad, sizeof bad, "%.*s, \"scaling_factor\": 0}", (int)sizeof tiny_vae_config - 2, tiny_vae_config);
    return tiny_write(at(s, "dit.safetensors"), dit_config, 1, e) && tiny_write(at(s, "vae.safetensors"), tiny_vae_config, 1, e) &&
           tiny_write(at(s, "other.safetensors"), other_vae_config, 1, e) && tiny_write(at(s, "bad.safetensors"), bad, 1, e) &&
           tiny_write(at(s, "extractor.safetensors"), tiny_latent_extractor_config, 1, e) &&
           tiny_write(at(s, "head.safetensors"), tiny_head_config, 1, e) &&
           tiny_write(at(s, "pixels.safetensors"), tiny_extractor_config, 1, e);
}
int main(int argc, char **argv) {
    Setup s = {.device = argc > 1 ? argv[1] : "cpu", .dir = "/tmp/dg_test_latents_XXXXXX"};
    bool emu = !strcmp(s.device, "emu");
    char *real = argc > 2 ? realpath(argv[2], NULL) : program_of_build(argv[0], emu, emu ? "dg_cuda-emu" : "dg_cuda");
    s.program = real;
    Error e = {0};
    if (!CHECK(real, "no program beside the tests") || !CHECK(mkdtemp(s.dir), "no temporary folder") ||
        !CHECK(write_models(&s, &e), "%s", e.text))
        return check_done("test_latents");
    pictures(&s);
    batches(&s);
    chunks(&s);
    if (!emu) {
        folders(&s);
        owners(&s);
        inputs_stay(&s);
        refusals(&s);
        check_presets(&s);
        gates(&s);
        other_words(&s);
        preset_models();
        phases(&s);
    }
    remove_folder(s.dir);
    free(real);
    return check_done("test_latents");
}
