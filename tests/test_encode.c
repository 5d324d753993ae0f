/* test_encode.c -- `encode`: latents are those that plain loops make of the same squares, mirrored and sampled by the pictures' numbers,
 * whatever the batches and the parts; classes; what does not fit. Usage: test_encode [PROGRAM]                           */
#include "base/rng.h"
#include "arrays.h"
#include "files/image.h"
#include "files/jpeg.h"
#include "files/pillow.h"
#include "program.h"
#include "sample/vae_encoder.h"
#include "synthetic.h"
#include "tiny_model.h"
#include <math.h>

enum { RGB = 3, SIZE = 32, SMALL = 16, CHANNELS = 4, PICTURES = 5, MOST = 60 };
enum { LATENTS = CHANNELS * (SIZE / 2) * (SIZE / 2) };
static const char colours_config[] = "{\"kind\": \"vae\", \"block_out_channels\": [8, 16], \"layers_per_block\": 1, \"in_channels\": 4, "
                                     "\"norm_num_groups\": 4, \"sample_size\": 32}";
static const char large_config[] = "{\"kind\": \"vae\", \"block_out_channels\": [8, 16], \"layers_per_block\": 1, \"norm_num_groups\": 4, "
                                   "\"sample_size\": 32, \"scaling_factor\": 1e300}";
/* In the order of their names; the classes are ImageNet's 0, 1 and 999. */
static const struct {
    const char *folder, *name;
    int height, width, class;
} picture[PICTURES] = {{"n01440764", "a.png", 20, 33, 0},
                       {"n01440764", "b.png", 64, 70, 0},
                       {"n01443537", "c.png", 32, 32, 1},
                       {"n15075141", "a.png", 150, 47, 999},
                       {"n15075141", "d.png", 9, 8, 999}};

/* ---- pictures and what comes of them -------------------------------------------------------------------------------------------- */
static void draw(int number, int height, int width, uint8_t *rgb) {
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++)
            for (int c = 0; c < RGB; c++) *rgb++ = (uint8_t)(40 * number + 3 * x + (x * y) % 7 * 20 + 60 * c);
}
static bool write_pictures(const Setup *s, Error *e) {
    char name[128];
    mkdir(at(s, "train"), 0777);
    for (int i = 0; i < PICTURES; i++) {
        uint8_t rgb[150 * 70 * RGB];
        snprintf(name, sizeof name, "train/%s", picture[i].folder);
        mkdir(at(s, name), 0777);
        snprintf(name, sizeof name, "train/%s/%s", picture[i].folder, picture[i].name);
        draw(i, picture[i].height, picture[i].width, rgb);
        OutFile *f = image_begin_png(at(s, name), rgb, picture[i].height, picture[i].width, RGB, e);
        if (!f || !out_finish(f, e)) return false;
    }
    return true;
}
/* n pictures as an array with classes 0, 1, 2, ... */
static bool write_array(const Setup *s, const char *name, int n, int height, int width, Error *e) {
    uint8_t rgb[150 * 70 * RGB];
    size_t bytes = (size_t)(height * width * RGB);
    const int64_t shape[4] = {n, height, width, RGB};
    NpzWriter *w = npz_writer_open(at(s, name), e);
    bool ok = w && npz_writer_array(w, "arr_0", 'u', 1, 4, shape, e);
    for (int i = 0; i < n && ok; i++) draw(i, height, width, rgb), ok = npz_writer_data(w, rgb, bytes, e);
    ok = ok && npz_writer_array(w, "arr_1", 'i', 8, 1, shape, e);
    for (int64_t i = 0; i < n && ok; i++) ok = npz_writer_data(w, &i, sizeof i, e);
    return ok ? npz_writer_finish(w, e) : (npz_writer_abandon(w), false);
}
/* The moments of a square by plain loops in double. */
static bool moments_of(const Setup *s, const uint8_t *square, int size, bool flip, double *moments) {
    Error e = {0};
    Device *d = device_open("ref64", NULL, &e);
    Weights *w = weights_open(at(s, "vae.safetensors"), &e);
    Net *n = w ? net_new(SPAN_ENCODE, d->precision, 1, false) : NULL;
    Tid in = n ? g_input(n->graph, "x", (Shape){1, size, size, RGB}) : 0;
    const Ports *p = n ? net_add(n, &model_vae_encoder, weights_config(w), "", in, &e) : NULL;
    if (p) net_plan(n, p->out);
    bool ok = CHECK(p && net_bind(n, d, &w, &e), "%s", e.text);
    if (ok) {
        double x[SIZE * SIZE * RGB];
        for (int i = 0; i < size; i++)
            for (int j = 0; j < size; j++)
                for (int c = 0; c < RGB; c++)
                    x[(i * size + j) * RGB + c] = (square[(i * size + (flip ? size - 1 - j : j)) * RGB + c] - 127.5) / 127.5;
        exec_set(n->exec, n->x, DG_F64, x);
        exec_run(n->exec, 1);
        exec_get(n->exec, n->out, DG_F64, moments);
    }
    net_free(n), weights_free(w), device_close(d);
    return ok;
}
typedef struct {
    int size;
    bool mean, keep, jpeg; /* keep: --flip off */
} How;
/* Picture `seed`'s latents, NCHW, by the definition of the encoder and its scaling factor. */
static bool wanted_latents(const Setup *s, int seed, How how, double *out) {
    enum { MOST_MOMENTS = 2 * LATENTS };
    Error e = {0};
    uint8_t rgb[150 * 70 * RGB], square[SIZE * SIZE * RGB];
    double moments[MOST_MOMENTS];
    int height = picture[seed].height, width = picture[seed].width, pixels = how.size / 2 * how.size / 2;
    draw(seed, height, width, rgb);
    if (how.jpeg && !CHECK(jpeg_round_trip(rgb, height, width, &e), "%s", e.text)) return false;
    if (!CHECK(center_crop(&(RgbImage){rgb, height, width}, how.size, square, &e), "%s", e.text)) return false;
    bool flip = !how.keep && philox((uint64_t)seed, 0, 0, RNG_STREAM_FLIP).v[0] >= 0x80000000u;
    if (!moments_of(s, square, how.size, flip, moments)) return false;
    for (int i = 0; i < pixels; i++)
        for (int c = 0; c < CHANNELS; c++) {
            int j = i * CHANNELS + c;
            double noise[2], mean = moments[i * 2 * CHANNELS + c], log_variance = moments[i * 2 * CHANNELS + CHANNELS + c];
            philox_normal_pair((uint64_t)seed, (uint64_t)j / 2, RNG_STEP_POSTERIOR, noise);
            double sample = mean + exp(log_variance / 2) * noise[j % 2];
            out[c * pixels + i] = 0.18215 * (how.mean ? mean : sample);
        }
    return true;
}
#define ENCODE "encode --images train --vae vae.safetensors --device cpu --out "
static void check_latents(const Setup *s, const char *args, const char *file, How how) {
    NpyArray a;
    double wanted[LATENTS], worst = 0, size = 0;
    size_t values = (size_t)(CHANNELS * how.size / 2 * how.size / 2);
    if (!succeeds(run(s, args), args) || !read_array(s, file, "samples", PICTURES * values, &a)) return;
    CHECK(a.dtype == 'f' && a.bytes == 4 && a.dims == 4 && a.shape[1] == CHANNELS && a.shape[2] == how.size / 2 &&
              a.shape[3] == how.size / 2,
          "%s: samples of %c%d, %dx%dx%d", file, a.dtype, a.bytes, (int)a.shape[1], (int)a.shape[2], (int)a.shape[3]);
    for (int i = 0; i < PICTURES; i++) {
        if (!wanted_latents(s, i, how, wanted)) break;
        for (size_t j = 0; j < values; j++) {
            double off = fabs((double)((const float *)a.data)[(size_t)i * values + j] - wanted[j]);
            if (!(off <= worst)) worst = off;
            size = fmax(size, fabs(wanted[j]));
        }
    }
    CHECK(worst <= 1e-5 * size && size > 0, "%s: latents of up to %g are off by %g", args, size, worst);
    npy_free(&a);
}
static void check_numbers(const Setup *s, const char *file, const char *array, const int *wanted, size_t n) {
    NpyArray a;
    if (!read_array(s, file, array, n, &a)) return;
    for (size_t i = 0; i < n; i++)
        CHECK(npy_value(&a, i) == wanted[i], "%s: %s %zu is %g, not %d", file, array, i, npy_value(&a, i), wanted[i]);
    CHECK(a.bytes == 8 && a.dims == 1, "%s: %s is not of 64-bit numbers", file, array);
    npy_free(&a);
}
static void latents(const Setup *s) {
    check_latents(s, ENCODE "all.npz", "all.npz", (How){.size = SIZE});
    check_latents(s, ENCODE "mean.npz --mean", "mean.npz", (How){.size = SIZE, .mean = true});
    check_latents(s, ENCODE "small.npz --size 16 --flip off --no-fuse", "small.npz", (How){.size = SMALL, .keep = true});
    if (jpeg_available(NULL)) check_latents(s, ENCODE "jpeg.npz --jpeg", "jpeg.npz", (How){.size = SIZE, .jpeg = true});
    else not_run("--jpeg: this build has no libjpeg");
    int flipped = 0;
    for (uint64_t i = 0; i < 1000; i++) flipped += philox_flip(i);
    CHECK(flipped > 450 && flipped < 550, "%d of 1000 pictures are mirrored", flipped);
    int mirrored = 0;
    for (uint64_t i = 0; i < PICTURES; i++) mirrored += philox_flip(i);
    CHECK(mirrored > 0 && mirrored < PICTURES, "%d of the %d pictures here are mirrored: some are to be, and some not", mirrored, PICTURES);
    check_numbers(s, "all.npz", "seeds", (int[]){0, 1, 2, 3, 4}, PICTURES);
    check_numbers(s, "all.npz", "label", (int[]){0, 0, 1, 999, 999}, PICTURES);
}
/* A picture's latents depend neither on how many are made at a time nor on which others are. */
static void parts(const Setup *s) {
    static const char *const batch[] = {"--vae-batch 1", "--vae-batch 2", "--vae-batch 7", "--threads 1"};
    for (size_t i = 0; i < sizeof batch / sizeof *batch; i++) {
        char args[512];
        snprintf(args, sizeof args, ENCODE "again.npz --overwrite %s", batch[i]);
        if (succeeds(run(s, args), args)) CHECK(same_file(s, "all.npz", "again.npz"), "%s changes latents", batch[i]);
    }
    NpyArray all, some;
    if (!succeeds(run(s, ENCODE "some.npz --seeds 3,0-1"), "some pictures")) return;
    check_numbers(s, "some.npz", "seeds", (int[]){3, 0, 1}, 3);
    check_numbers(s, "some.npz", "label", (int[]){999, 0, 0}, 3);
    if (read_array(s, "all.npz", "samples", PICTURES * LATENTS, &all) && read_array(s, "some.npz", "samples", 3 * LATENTS, &some)) {
        const float *a = all.data, *b = some.data;
        CHECK(!memcmp(a + 3 * LATENTS, b, LATENTS * sizeof *a) && !memcmp(a, b + LATENTS, 2 * LATENTS * sizeof *a),
              "of some pictures other latents than of all");
        npy_free(&all), npy_free(&some);
    }
}
/* What `decode` makes of it: as many pictures, of their size, with their classes and seeds. */
static void decoded(const Setup *s) {
    NpyArray a;
    if (!succeeds(run(s, "decode some.npz --vae vae.safetensors --device cpu --format npz --outdir decoded"), "decode")) return;
    check_numbers(s, "decoded/samples.npz", "seeds", (int[]){0, 1, 3}, 3);
    check_numbers(s, "decoded/samples.npz", "arr_1", (int[]){0, 0, 999}, 3);
    if (!read_array(s, "decoded/samples.npz", "arr_0", 3 * SIZE * SIZE * RGB, &a)) return;
    CHECK(a.shape[1] == SIZE && a.shape[2] == SIZE && a.shape[3] == RGB, "pictures of %dx%d", (int)a.shape[2], (int)a.shape[1]);
    npy_free(&a);
}

/* ---- classes, and other sources ------------------------------------------------------------------------------------------------- */
static void classes(const Setup *s) {
    succeeds(run(s, ENCODE "folders.npz --labels folders"), "classes by folders");
    check_numbers(s, "folders.npz", "label", (int[]){0, 0, 1, 2, 2}, PICTURES);
    succeeds(run(s, "encode --images train train --vae vae.safetensors --device cpu --out twice.npz --labels folders"), "the same twice");
    check_numbers(s, "twice.npz", "label", (int[]){0, 0, 1, 2, 2, 0, 0, 1, 2, 2}, 2 * PICTURES);
    Error e = {0};
    succeeds(run(s, ENCODE "none.npz --labels none"), "no classes");
    Npz *z = npz_open(at(s, "none.npz"), &e);
    CHECK(z && !npz_has(z, "label") && npz_has(z, "seeds"), "--labels none left some, or no seeds: %s", e.text);
    npz_close(z);
    rename(at(s, "train/n15075141"), at(s, "train/n15075142"));
    fails(run(s, ENCODE "x.npz"), "an id that is none of the 1000", 1,
          "train/n15075142/a.png: its folder is none of ImageNet's 1000 classes");
    succeeds(run(s, ENCODE "x.npz --labels folders"), "the same by folders");
    rename(at(s, "train/n15075142"), at(s, "train/n15075141"));
    rename(at(s, "train/n01440764"), at(s, "train/cats"));
    succeeds(run(s, ENCODE "y.npz"), "the first folder is no id");
    z = npz_open(at(s, "y.npz"), &e);
    CHECK(z && !npz_has(z, "label"), "classes of folders with other names: %s", e.text);
    npz_close(z);
    rename(at(s, "train/cats"), at(s, "train/n01440764"));
    fails(run(s, "encode --images train/n01443537 --vae vae.safetensors --out z.npz --labels folders"), "no folders", 1,
          "c.png: it lies in no folder of its class");
}
static void arrays(const Setup *s) {
    Error e = {0};
    NpyArray a, b;
    if (!CHECK(write_array(s, "array.npz", MOST, 30, 40, &e) && write_array(s, "other.npz", 2, 33, 9, &e), "%s", e.text)) return;
#define ARRAY "encode --images array.npz --vae vae.safetensors --device cpu --out "
    succeeds(run(s, ARRAY "array-latents.npz --vae-batch 16"), "an array");
    succeeds(run(s, ARRAY "array-some.npz --seeds 58,3 --vae-batch 1"), "some of an array");
    succeeds(run(s, "encode --images other.npz array.npz --vae vae.safetensors --device cpu --out two.npz --seeds 0-3"),
             "arrays of two sizes");
    check_numbers(s, "two.npz", "label", (int[]){0, 1, 0, 1}, 4);
    check_numbers(s, "array-some.npz", "label", (int[]){58, 3}, 2);
    if (!read_array(s, "array-latents.npz", "samples", MOST * LATENTS, &a) || !read_array(s, "array-some.npz", "samples", 2 * LATENTS, &b))
        return;
    const float *x = a.data, *y = b.data;
    CHECK(!memcmp(x + 58 * LATENTS, y, LATENTS * sizeof *x) && !memcmp(x + 3 * LATENTS, y + LATENTS, LATENTS * sizeof *x),
          "of an array, some pictures have other latents than all");
    npy_free(&a), npy_free(&b);
}
/* An interruption leaves nothing under the name. */
static void interruption(const Setup *s) {
    Error e = {0};
    static Result r;
    if (!CHECK(write_array(s, "many.npz", 4000, 30, 40, &e), "%s", e.text)) return;
    pid_t pid = start(s, "encode --images many.npz --vae vae.safetensors --device cpu --out late.npz --vae-batch 1", 0, "stdout.txt");
    for (int i = 0; i < 3000 && alive(pid) && count_files(s, ".", "late.npz.partial") == 0; i++)
        nanosleep(&(struct timespec){0, 10000000}, NULL);
    kill(pid, SIGINT);
    finish(s, pid, &r);
    fails(&r, "SIGINT", 130, "interrupted: late.npz was not written; --seeds takes a part");
    CHECK(count_files(s, ".", "late.npz") == 0, "an interruption left %d files", count_files(s, ".", "late.npz"));
}

/* ---- what does not fit ---------------------------------------------------------------------------------------------------------- */
static const struct {
    const char *args;
    int code;
    const char *pattern;
} wrong[] = {
    {"encode --vae vae.safetensors --out w.npz", 2, "--images is missing"},
    {"encode --images train --out w.npz", 2, "encode needs --vae"},
    {"encode --images train --vae vae.safetensors", 2, "--out is missing"},
    {"encode --images train --vae vae.safetensors --out vae.safetensors", 2, "--out vae.safetensors is a file that is read"},
    {"encode --images all.npz --vae vae.safetensors --out all.npz", 2, "--out all.npz is a file that is read"},
    {ENCODE "all.npz", 1, "all.npz exists: give --out another name, or --overwrite to replace it"},
    {ENCODE "train", 2, "--out train is a file that is read"},
    {ENCODE "missing/w.npz", 1, "missing/w.npz"},
    {ENCODE "w.npz --seeds 3-5", 1, "--seeds 3-5: there are 5 pictures, 0 to 4"},
    {ENCODE "w.npz --seeds 18446744073709551615", 1, "there are 5 pictures, 0 to 4"},
    {ENCODE "w.npz --seeds x", 2, "x"},
    {ENCODE "w.npz --size 31", 1, "vae.safetensors: pictures of 31x31: their sides have to be multiples of 2"},
    {ENCODE "w.npz --size 1025", 2, "--size: 1025 is outside what is possible, 0 to 1024"},
    {ENCODE "w.npz --labels ids", 2, "--labels: \"ids\" is not one of auto.folders.none"},
    {"encode --images missing --vae vae.safetensors --out w.npz", 1, "missing: cannot open"},
    {"encode --images all.npz --vae vae.safetensors --out w.npz", 1, "all.npz: array samples is of type f4"},
    {"encode --images train --vae missing.safetensors --out w.npz", 1, "missing.safetensors"},
    {"encode --images train --vae head.safetensors --out w.npz", 1, "this file holds a head, not an autoencoder"},
    {"encode --images train --vae colours.safetensors --out w.npz", 1,
     "colours.safetensors: the autoencoder takes 4 channels here and is given 3"},
    {"encode --images train --vae large.safetensors --device cpu --out w.npz", 1, "n01440764/a.png: its latents are not finite"},
    {"encode --images broken --vae vae.safetensors --device cpu --out w.npz", 1, "broken/b.png: not a whole PNG file"},
};
static void refusals(const Setup *s) {
    mkdir(at(s, "broken"), 0777);
    for (int i = 0; i < 2; i++) { /* the second is cut off */
        FileMap m;
        if (!CHECK(file_map(at(s, "train/n01440764/b.png"), &m, NULL), "no picture")) return;
        FILE *f = fopen(at(s, i ? "broken/b.png" : "broken/a.png"), "wb");
        if (CHECK(f, "no file")) fwrite(m.data, 1, m.bytes - (i ? 40 : 0), f), fclose(f);
        file_unmap(&m);
    }
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        fails(run(s, wrong[i].args), wrong[i].args, wrong[i].code, wrong[i].pattern);
        CHECK(count_files(s, ".", "w.npz") == 0, "%s: it left a file", wrong[i].args);
    }
    if (succeeds(run(s, ENCODE "none.npz --overwrite"), "--overwrite"))
        CHECK(same_file(s, "all.npz", "none.npz"), "--overwrite did not replace the file");
}

/* ---- the encoder's padding ------------------------------------------------------------------------------------------------------ */
/* One bright pixel at the right border: what halves the size sees zeros right of and below the picture and none on the other sides. The
 * convolution's own input and output are looked at, in double.                                                            */
static void padding(void) {
    enum { SIDE = 8 };
    Error e = {0};
    Device *d = device_open("ref64", NULL, &e);
    Weights *w = synthetic(tiny_vae_config, 5);
    Net *n = net_new(SPAN_ENCODE, d->precision, 1, false);
    Tid x = g_input(n->graph, "x", (Shape){1, SIDE, SIDE, RGB});
    const Ports *p = net_add(n, &model_vae_encoder, weights_config(w), "", x, &e);
    const Op *down = NULL;
    for (int i = 0; p && i < n->graph->nop; i++)
        if (n->graph->op[i].kind == OP_CONV && n->graph->op[i].conv.stride == 2) down = &n->graph->op[i];
    if (!CHECK(down, "the encoder has no convolution of stride 2: %s", e.text)) return;
    Tid in = down->in[0], weight = down->in[1], bias = down->in[2], out = down->out;
    n->graph->t[in].keep = n->graph->t[out].keep = true;
    net_plan(n, p->out);
    if (CHECK(net_bind(n, d, &w, &e), "%s", e.text)) {
        Shape s = shape_of(n->graph, in), o = shape_of(n->graph, out), k = shape_of(n->graph, weight);
        double picture_values[SIDE * SIDE * RGB] = {0}, *a = dg_alloc(shape_count(s) * sizeof *a),
                                            *b = dg_alloc(shape_count(o) * sizeof *b), *kernel = dg_alloc(shape_count(k) * sizeof *kernel),
                                            *shift = dg_alloc((size_t)k.n * sizeof *shift), worst = 0, edges = 0;
        for (int c = 0; c < RGB; c++) picture_values[(3 * SIDE + SIDE - 1) * RGB + c] = 1;
        exec_set(n->exec, n->x, DG_F64, picture_values);
        exec_run(n->exec, 1);
        exec_get(n->exec, in, DG_F64, a), exec_get(n->exec, out, DG_F64, b);
        exec_get(n->exec, weight, DG_F64, kernel), exec_get(n->exec, bias, DG_F64, shift);
        CHECK(o.h == SIDE / 2 && o.w == SIDE / 2 && k.h == 3 && k.w == 3, "%dx%d become %dx%d", s.w, s.h, o.w, o.h);
        for (int y = 0; y < o.h; y++)
            for (int column = 0; column < o.w; column++)
                for (int c = 0; c < o.c; c++) {
                    double sum = shift[c];
                    for (int i = 0; i < k.h; i++)
                        for (int j = 0; j < k.w; j++)
                            for (int from = 0; from < s.c; from++) {
                                int row = 2 * y + i, at_column = 2 * column + j;
                                if (row < s.h && at_column < s.w)
                                    sum += kernel[((c * k.h + i) * k.w + j) * s.c + from] * a[(row * s.w + at_column) * s.c + from];
                            }
                    double off = fabs(sum - b[(y * o.w + column) * o.c + c]);
                    if (!(off <= worst)) worst = off;
                }
        for (int c = 0; c < s.c; c++) edges += fabs(a[(3 * s.w + s.w - 1) * s.c + c] - a[c]);
        CHECK(worst < 1e-12, "the encoder's halving is off by %g from one with zeros to the right and below", worst);
        CHECK(edges > .01, "the bright pixel is not seen at the border");
        free(a), free(b), free(kernel), free(shift);
    }
    net_free(n), weights_free(w), device_close(d);
}

static bool write_models(const Setup *s, Error *e) {
    return tiny_write(at(s, "vae.safetensors"), tiny_vae_config, 1, e) && tiny_write(at(s, "colours.safetensors"), colours_config, 1, e) &&
           tiny_write(at(s, "large.safetensors"), large_config, 1, e) && tiny_write(at(s, "head.safetensors"), tiny_head_config, 1, e);
}
int main(int argc, char **argv) {
    Setup s = {.dir = "/tmp/dg_test_encode_XXXXXX"};
    char *real = argc > 1 ? realpath(argv[1], NULL) : program_of_build(argv[0], false, "dg_cuda");
    s.program = real;
    Error e = {0};
    padding();
    if (!CHECK(real, "no program beside the tests") || !CHECK(mkdtemp(s.dir), "no temporary folder") ||
        !CHECK(write_models(&s, &e), "%s", e.text))
        return check_done("test_encode");
    arrays(&s);
    interruption(&s);
    if (!image_png_available(NULL)) not_run("pictures in folders: this build writes no PNG files");
    else if (CHECK(write_pictures(&s, &e), "%s", e.text)) {
        latents(&s);
        parts(&s);
        decoded(&s);
        classes(&s);
        refusals(&s);
    }
    remove_folder(s.dir);
    free(real);
    return check_done("test_encode");
}
