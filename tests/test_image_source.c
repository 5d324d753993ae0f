/* test_image_source.c -- sets of images: what folders, archives and arrays hold, in which order, with which classes; that no more than a
 * few images are in memory; and what is no set of images is refused in a sentence.                                              */
#include "base/file.h"
#include "base/folder.h"
#include "base/text.h"
#include "files/image_file.h"
#include "files/image_source.h"
#include "files/npz.h"
#include "hostile.h"
#include "png_maker.h"
#include <math.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HEIGHT = 4, WIDTH = 5, BYTES = HEIGHT * WIDTH * 3 };
#ifdef DG_HAVE_ZLIB
static const bool have_zlib = true;
#else
static const bool have_zlib = false;
#endif
static char folder[64];
static const char *at(const char *name) { /* the last eight results stay valid */
    static char path[8][256];
    static int turn;
    turn = (turn + 1) % 8;
    snprintf(path[turn], sizeof path[turn], "%s/%s", folder, name);
    return path[turn];
}
static void write_bytes(const char *name, const void *data, size_t bytes) {
    Error e;
    DG_CHECK(make_parent(at(name), &e), "%s", e.text);
    FILE *f = fopen(at(name), "wb");
    DG_CHECK(f && fwrite(data, 1, bytes, f) == bytes && fclose(f) == 0, "%s was not written", name);
}
static void fill(uint8_t *pixels, int height, int width, int which) {
    for (int i = 0; i < height * width * 3; i++) pixels[i] = (uint8_t)(i * 5 + which * 31 + i / 7);
}
static Made image_file(int height, int width, int color, int which) {
    uint8_t *pixels = dg_alloc((size_t)(height * width) * 4);
    fill(pixels, height, width, which);
    Made m = png_make(&(PngMaker){.height = height, .width = width, .depth = 8, .color = color, .filter = -1}, pixels);
    free(pixels);
    return m;
}
static void write_image(const char *name, int which) {
    Made m = image_file(HEIGHT, WIDTH, PNG_RGB, which);
    write_bytes(name, m.data, m.bytes);
    made_free(&m);
}
static ImageSource *open_set(const SourceRules *rules, const char *const *path, int paths) {
    Error e = {""};
    ImageSource *s = image_source_open(path, paths, rules, &e);
    CHECK(s, "%s", e.text);
    return s;
}
static void refuse(const SourceRules *rules, const char *path, const char *fragment) {
    Error e = {""};
    ImageSource *s = image_source_open(&path, 1, rules, &e);
    CHECK(!s && strstr(e.text, fragment) && is_sentence(e.text, path), "%s: \"%s\", not \"%s\"", path, s ? "opened" : e.text, fragment);
    image_source_close(s);
}
/* Image i of the set is `which[i]`, read together, one by one backwards, and some. */
static void check_set(const char *what, ImageSource *s, const int *which, size_t count) {
    if (!s || !CHECK(image_source_count(s) == count && image_source_height(s) == HEIGHT && image_source_width(s) == WIDTH,
                     "%s: %zu images of %dx%d, not %zu", what, image_source_count(s), image_source_width(s), image_source_height(s), count))
        return;
    Error e = {""};
    uint8_t *pixels = dg_alloc(count * BYTES), wanted[BYTES];
    size_t *index = dg_alloc(count * sizeof *index), wrong = 0;
    for (size_t i = 0; i < count; i++) index[i] = i;
    CHECK(image_source_read(s, index, count, pixels, &e), "%s: %s", what, e.text);
    for (size_t i = 0; i < count; i++) {
        fill(wanted, HEIGHT, WIDTH, which[i]);
        wrong += memcmp(pixels + i * BYTES, wanted, BYTES) != 0;
    }
    for (size_t i = count; i-- > 0;) {
        fill(wanted, HEIGHT, WIDTH, which[i]);
        wrong += !image_source_read(s, &i, 1, pixels, &e) || memcmp(pixels, wanted, BYTES);
    }
    CHECK(!wrong, "%s: %zu images are wrong: %s", what, wrong, e.text);
    free(pixels), free(index);
}

/* ---- folders and archives ----------------------------------------------------------------------------------------------------------- */
static void test_folders(void) {
    static const char *const names[] = {"f/00001/b.png", "f/a.PNG", "f/00000/z.png", "f/00000/é.png", "f/00000.png", "f/linked/d.png"};
    static const int sorted[] = {4, 2, 3, 0, 1, 5}, top[] = {4, 1};
    for (int i = 0; i < 6; i++) write_image(names[i], i);
    write_bytes("f/manifest.json", "{}", 2), write_bytes("f/notes.txt", "?", 1);
    DG_CHECK(mkdir(at("f/empty"), 0777) == 0 && symlink("..", at("f/00000/up")) == 0, "no folders");
    const char *path = at("f");
    ImageSource *s = open_set(NULL, &path, 1);
    check_set("a folder", s, sorted, 6);
    char *name = s ? image_source_name(s, 2) : NULL;
    CHECK(name && !strcmp(name, at("f/00000/é.png")), "the third is %s", name ? name : "none");
    CHECK(s && !image_source_has_jpeg(s), "a JPEG among PNG files");
    free(name);
    image_source_close(s);
    s = open_set(&(SourceRules){.flat = true}, &path, 1);
    check_set("a folder itself", s, top, 2);
    image_source_close(s);
    const char *both[] = {at("f/00001"), at("f/00000")};
    s = open_set(NULL, both, 2);
    check_set("two folders", s, (const int[]){0, 2, 3}, 3);
    image_source_close(s);
    refuse(NULL, at("f/empty"), "holds no PNG or JPEG files, and no samples*.npz");
    write_image("deep/er/a.png", 0);
    refuse(&(SourceRules){.flat = true}, at("deep"), "holds no PNG or JPEG files itself");
    refuse(NULL, at("nowhere"), "cannot open");
    refuse(NULL, at("f/notes.txt"), "neither a .npz nor a .npy file");
    path = at("f");
    s = open_set(&(SourceRules){.lower_case = true}, &path, 1);
    check_set("endings in lower case", s, (const int[]){4, 2, 3, 0, 5}, 5);
    image_source_close(s);
    write_image("w/a.png", 0), write_bytes("w/b.webp", "RIFF", 4);
    refuse(NULL, at("w"), "a .webp file, which dg_cuda does not read");
}
static void make_zip(const char *name, const int *which, int images, const char *list) {
    Made z = {0}, *files = dg_alloc((size_t)images * sizeof *files);
    char(*names)[32] = dg_alloc((size_t)images * sizeof *names);
    for (int i = 0; i < images; i++) {
        files[i] = image_file(HEIGHT, WIDTH, PNG_RGB, which[i]);
        snprintf(names[i], sizeof names[i], "%05d/img%08d.png", which[i] / 2, which[i]);
        made_stored(&z, names[i], files[i].data, files[i].bytes);
    }
    if (list) made_stored(&z, "dataset.json", list, strlen(list));
    made_finish(&z, false);
    write_bytes(name, z.data, z.bytes);
    made_free(&z);
    for (int i = 0; i < images; i++) made_free(&files[i]);
    free(files), free(names);
}
static void check_labels(const char *what, ImageSource *s, const int *wanted, int count) {
    Error e = {""};
    int label[8] = {0};
    if (!s) return;
    bool ok =
        image_source_labels(s, label, &e) && (int)image_source_count(s) == count && !memcmp(label, wanted, (size_t)count * sizeof *label);
    CHECK(ok, "%s: classes %d %d %d: %s", what, label[0], label[1], label[2], e.text);
}
static void test_archives(void) {
    static const int order[] = {3, 0, 2, 1}, sorted[] = {0, 1, 2, 3};
    make_zip("edm.zip", order, 4,
             "{\"labels\": [[\"00001/img00000003.png\", 7], [\"00000/img00000000.png\", 9], [\"other.png\", 1], "
             "[\"00001/img00000002.png\", 0]]}");
    const char *path = at("edm.zip");
    ImageSource *s = open_set(NULL, &path, 1);
    check_set("an archive", s, sorted, 4);
    check_labels("an archive", s, (const int[]){9, -1, 0, 7}, 4);
    char *name = s ? image_source_name(s, 1) : NULL;
    Text wanted = {0};
    text_printf(&wanted, "%s: 00000/img00000001.png", path);
    CHECK(name && !strcmp(name, wanted.text), "the second is %s", name ? name : "none");
    free(name), text_free(&wanted);
    image_source_close(s);
    static const char *const lists[] = {"{\"labels\": null}", "{}", NULL};
    for (int i = 0; i < 3; i++) {
        make_zip("plain.zip", order, 2, lists[i]);
        path = at("plain.zip");
        s = open_set(NULL, &path, 1);
        check_labels("an archive without classes", s, (const int[]){-1, -1}, 2);
        image_source_close(s);
    }
    static const char *const wrong[] = {"{\"labels\": 3}", "{\"labels\": [[1, 2]]}", "{\"labels\": [[\"a\", 0.5]]}",
                                        "{\"labels\": [[\"a\"]]}", "{"};
    for (int i = 0; i < 5; i++) {
        Error e = {""};
        int label[2];
        make_zip("wrong.zip", order, 2, wrong[i]);
        path = at("wrong.zip");
        s = open_set(NULL, &path, 1);
        CHECK(s && !image_source_labels(s, label, &e) && strstr(e.text, "dataset.json"), "%s: \"%s\"", wrong[i], e.text);
        image_source_close(s);
    }
    Made z = {0};
    made_stored(&z, "readme.txt", "?", 1);
    made_finish(&z, false);
    write_bytes("none.zip", z.data, z.bytes);
    made_free(&z);
    refuse(NULL, at("none.zip"), "holds no PNG or JPEG files, and no arrays");
    write_image("g/00000/img00000000.png", 5), write_bytes("g/dataset.json", "{\"labels\": [[\"00000/img00000000.png\", 4]]}", 42);
    path = at("g");
    s = open_set(NULL, &path, 1);
    check_labels("a folder", s, (const int[]){4}, 1);
    image_source_close(s);
}
/* One image that does not fit, or is damaged, is named. */
static void test_members(void) {
    Error e = {""};
    uint8_t pixels[2 * BYTES];
    const size_t both[] = {0, 1};
    Made other = image_file(HEIGHT + 1, WIDTH, PNG_RGB, 0), alpha = image_file(HEIGHT, WIDTH, PNG_RGBA, 0);
    write_image("m/a.png", 0), write_bytes("m/b.png", other.data, other.bytes);
    const char *path = at("m");
    ImageSource *s = open_set(NULL, &path, 1);
    CHECK(s && !image_source_read(s, both, 2, pixels, &e) &&
              strstr(e.text, "b.png: an image of 5x5 pixels, and the first of the set has 5x4"),
          "%s", e.text);
    image_source_close(s);
    write_bytes("m/b.png", other.data, other.bytes - 9);
    s = open_set(NULL, &path, 1);
    CHECK(s && !image_source_read(s, both, 2, pixels, &e) && strstr(e.text, "b.png"), "%s", e.text);
    image_source_close(s);
    write_bytes("m/b.png", alpha.data, alpha.bytes);
    s = open_set(NULL, &path, 1);
    CHECK(s && image_source_read(s, both, 2, pixels, &e), "alpha is left out: %s", e.text);
    image_source_close(s);
    s = open_set(&(SourceRules){.refuse_alpha = true}, &path, 1);
    CHECK(s && !image_source_read(s, both, 2, pixels, &e) && strstr(e.text, "b.png: it has an alpha channel"), "%s", e.text);
    image_source_close(s);
    write_bytes("m/a.png", "", 0);
    refuse(NULL, at("m"), "a.png: it is empty");
    made_free(&other), made_free(&alpha);
}

/* ---- arrays: of NumPy (tests/data/image_files.py) ------------------------------------------------------------------------------------ */
#define DATA "tests/data/images/"
/* Transparent colours are no channel: EDM's tools (by pyspng) and Pillow's convert("RGB") take the pixels as they are. */
static void test_transparent_colours(void) {
    static const char *const files[] = {DATA "transparent.png", DATA "rgb_key.png", DATA "gray_key.png"};
    const size_t first = 0;
    for (int i = 0; i < 3; i++) {
        Error e = {""};
        FileMap file = {0};
        DG_CHECK(file_map(files[i], &file, &e), "%s", e.text);
        write_bytes("keyed/0.png", file.data, file.bytes);
        file_unmap(&file);
        const char *path = at("keyed");
        ImageSource *s = open_set(&(SourceRules){.refuse_alpha = true}, &path, 1);
        uint8_t *found = s ? dg_alloc((size_t)image_source_height(s) * (size_t)image_source_width(s) * 3) : NULL;
        CHECK(s && image_source_read(s, &first, 1, found, &e), "%s: %s", files[i], e.text);
        free(found);
        image_source_close(s);
    }
}
/* The size that a header gives is that of the set where the pixels follow. */
static void test_lying_header(void) {
    Error e = {""};
    FileMap file = {0};
    ImageFile image;
    DG_CHECK(file_map(DATA "quarter.jpg", &file, &e), "%s", e.text);
    uint8_t *copy = memcpy(dg_alloc(file.bytes), file.data, file.bytes);
    for (size_t i = 0; i + 9 < file.bytes; i++)
        if (copy[i] == 0xff && copy[i + 1] == 0xc0) copy[i + 5] = copy[i + 7] = 31, i = file.bytes; /* the frame: 7957x7971 */
    write_bytes("lying/0.jpg", copy, file.bytes);
    if (image_file_head(copy, file.bytes, "0.jpg", &image, &e)) {
        CHECK(image.height > 7000 && image.width > 7000, "%dx%d", image.width, image.height);
        refuse(NULL, at("lying"), "0.jpg: not a whole JPEG file");
    } else not_run("a JPEG file with a lying header: %s", e.text);
    free(copy);
    file_unmap(&file);
}
/* The images of EDM's archive there. */
static bool read_all(const char *const *path, int paths, size_t count, uint8_t *pixels, int *label) {
    Error e = {""};
    size_t index[8] = {0, 1, 2, 3, 4, 5, 6, 7};
    ImageSource *s = image_source_open(path, paths, NULL, &e);
    bool ok = s && image_source_count(s) == count && image_source_height(s) == HEIGHT && image_source_width(s) == WIDTH &&
              image_source_read(s, index, count, pixels, &e) && image_source_labels(s, label, &e);
    CHECK(ok, "%s: %zu images: %s", path[0], s ? image_source_count(s) : 0, e.text);
    image_source_close(s);
    return ok;
}
static void test_arrays(void) {
    enum { N = 3 };
    static const struct {
        const char *path[2];
        int paths;
        bool labels, packed;
    } same[] = {
        {{DATA "adm.npz"}, 1, true, false},
        {{DATA "samples_0.npz", DATA "samples_1.npz"}, 2, true, true},
        {{DATA "sample_imagenet.npz"}, 1, true, true},
        {{DATA "plain.npy"}, 1, false, false},
    };
    static const int labels[N] = {6, 5, 4};
    uint8_t wanted[N * BYTES], found[N * BYTES];
    int label[N];
    const char *edm = DATA "edm.zip";
    if (!read_all(&edm, 1, N, wanted, label)) return;
    CHECK(!memcmp(label, labels, sizeof labels), "EDM's classes are %d %d %d", label[0], label[1], label[2]);
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        if (!read_all(same[i].path, same[i].paths, N, found, label)) continue;
        CHECK(!memcmp(found, wanted, sizeof wanted), "%s: other images than %s", same[i].path[0], edm);
        for (int k = 0; k < N; k++)
            CHECK(label[k] == (same[i].labels ? labels[k] : -1), "%s: image %d is of class %d", same[i].path[0], k, label[k]);
    }
    const char *gray = DATA "gray.npz";
    if (read_all(&gray, 1, N, found, label)) {
        int wrong = 0;
        for (int i = 0; i < N * BYTES; i++) wrong += found[i] != wanted[i / 3 * 3];
        CHECK(!wrong, "%d values of grey images are wrong", wrong);
    }
    refuse(NULL, DATA "fortran.npz", "not in C order");
    refuse(NULL, DATA "floats.npz", "is of type f4 and shape [3,4,5,3]: images are bytes");
    refuse(NULL, DATA "statistics.npz", "holds statistics (mu, sigma) and no images");
    /* a folder of DG's; back and forth in a compressed array */
    DG_CHECK(mkdir(at("dg"), 0777) == 0, "no folder");
    char here[200];
    DG_CHECK(getcwd(here, sizeof here), "no folder here");
    for (int i = 0; i < 2; i++) {
        char target[300], name[32];
        snprintf(target, sizeof target, "%s/" DATA "samples_%d.npz", here, i), snprintf(name, sizeof name, "dg/samples_%d.npz", i);
        DG_CHECK(symlink(target, at(name)) == 0, "no link");
    }
    const char *path = at("dg");
    if (read_all(&path, 1, N, found, label)) CHECK(!memcmp(found, wanted, sizeof wanted), "a folder of samples*.npz: other images");
    Error e = {""};
    ImageSource *s = open_set(NULL, &path, 1);
    static const size_t mixed[] = {1, 2, 0, 1, 0};
    for (int i = 0; s && i < 5; i++) {
        bool ok = image_source_read(s, &mixed[i], 1, found, &e);
        CHECK(ok && !memcmp(found, wanted + mixed[i] * BYTES, BYTES), "image %zu: %s", mixed[i], e.text);
    }
    image_source_close(s);
    /* DG's tool leaves grids beside them; who does not go by its rule has to say which is meant */
    write_image("dg/sample_0.png", 0);
    refuse(NULL, path, "holds both images (sample_0.png) and arrays of images (samples_0.npz)");
    s = open_set(&(SourceRules){.arrays = true}, &path, 1);
    CHECK(s && image_source_count(s) == N, "%zu images beside a grid", s ? image_source_count(s) : 0);
    image_source_close(s);
}
/* A row of zeros is no class; a list that is too short is an error, and so is a row that is not one-hot. */
static void test_rows(void) {
    Error e = {""};
    int label[2] = {7, 7};
    int64_t shape[] = {2, HEIGHT, WIDTH, 3}, rows[] = {2, 3}, few[] = {1};
    uint8_t pixels[2 * BYTES] = {0};
    const float onehot[][6] = {{0, 0, 0, 0, 1, 0}, {0}, {1, 0, 0, 0, 1, 1}, {1, 0, 0, 0, .5, 0}, {1, 0, 0, 0, NAN, 0}, {1, 0, 0, 0, 0, -1}};
    const int64_t one = 4;
    for (int which = 0; which < 6; which++) {
        NpzWriter *w = npz_writer_open(at("rows.npz"), &e);
        bool ok = w && npz_writer_array(w, "samples", 'u', 1, 4, shape, &e) && npz_writer_data(w, pixels, sizeof pixels, &e);
        if (which == 1) ok = ok && npz_writer_array(w, "label", 'i', 8, 1, few, &e) && npz_writer_data(w, &one, sizeof one, &e);
        else ok = ok && npz_writer_array(w, "label", 'f', 4, 2, rows, &e) && npz_writer_data(w, onehot[which], sizeof onehot[which], &e);
        DG_CHECK(ok && npz_writer_finish(w, &e), "%s", e.text);
        const char *path = at("rows.npz");
        ImageSource *s = open_set(NULL, &path, 1);
        ok = s && image_source_labels(s, label, &e);
        if (which == 1) CHECK(!ok && strstr(e.text, "array label has no class for each of the 2 images"), "%s", e.text);
        else if (which) CHECK(!ok && strstr(e.text, "array label: row 1 is not one-hot"), "row %d: class %d, %s", which, label[1], e.text);
        else CHECK(ok && label[0] == -1 && label[1] == 1, "classes %d %d: %s", label[0], label[1], e.text);
        image_source_close(s);
    }
}
/* An array whose last byte is damaged is told by its CRC when that is reached, and the set can be read again before it. */
static void test_damaged_array(void) {
    Error e = {""};
    int64_t shape[] = {2, HEIGHT, WIDTH, 3};
    uint8_t pixels[2 * BYTES];
    for (int i = 0; i < 2; i++) fill(pixels + i * BYTES, HEIGHT, WIDTH, i);
    NpzWriter *w = npz_writer_open(at("damaged.npz"), &e);
    bool ok = w && npz_writer_array(w, "arr_0", 'u', 1, 4, shape, &e) && npz_writer_data(w, pixels, sizeof pixels, &e) &&
              npz_writer_finish(w, &e);
    DG_CHECK(ok, "%s", e.text);
    FILE *f = fopen(at("damaged.npz"), "r+b");
    char *bytes = dg_alloc(4096);
    size_t n = fread(bytes, 1, 4096, f), at_last = 0;
    for (size_t i = 0; i + 4 <= n; i++)
        if (!memcmp(bytes + i, pixels + 2 * BYTES - 4, 4)) at_last = i;
    DG_CHECK(at_last && fseek(f, (long)at_last, SEEK_SET) == 0 && fputc(pixels[2 * BYTES - 4] ^ 1, f) != EOF && fclose(f) == 0,
             "not damaged");
    free(bytes);
    const char *path = at("damaged.npz");
    ImageSource *s = open_set(NULL, &path, 1);
    size_t first = 0, last = 1;
    CHECK(s && image_source_read(s, &first, 1, pixels, &e), "%s", e.text);
    CHECK(s && !image_source_read(s, &last, 1, pixels, &e) && strstr(e.text, "CRC-32"), "%s", e.text);
    CHECK(s && image_source_read(s, &first, 1, pixels, &e), "after a failure: %s", e.text);
    image_source_close(s);
}
/* 192 MiB of images in an array: little of them is ever in memory. */
static void test_memory(void) {
#ifdef __SANITIZE_ADDRESS__
    not_run("memory of large arrays: AddressSanitizer has more of its own");
#else
    enum { SIDE = 256, COUNT = 1024, ONE = SIDE * SIDE * 3, LIMIT_KIB = 100 << 10 };
    Error e = {""};
    int64_t shape[] = {COUNT, SIDE, SIDE, 3};
    uint8_t *image = dg_alloc(ONE), *found = dg_alloc(ONE);
    NpzWriter *w = npz_writer_open(at("large.npz"), &e);
    bool ok = w && npz_writer_array(w, "arr_0", 'u', 1, 4, shape, &e);
    fill(image, SIDE, SIDE, 0);
    for (int i = 0; i < COUNT && ok; i++) memcpy(image, &i, sizeof i), ok = npz_writer_data(w, image, ONE, &e);
    ok = ok && npz_writer_finish(w, &e);
    const char *path = at("large.npz");
    ImageSource *s = ok ? open_set(NULL, &path, 1) : NULL;
    int wrong = 0;
    for (size_t i = 0; s && i < COUNT; i++) {
        memcpy(image, &i, sizeof(int));
        wrong += !image_source_read(s, &i, 1, found, &e) || memcmp(image, found, ONE);
    }
    struct rusage r;
    CHECK(s && !wrong && getrusage(RUSAGE_SELF, &r) == 0 && r.ru_maxrss < LIMIT_KIB, "%d wrong images, %ld KiB of memory: %s", wrong,
          r.ru_maxrss, e.text);
    image_source_close(s);
    free(image), free(found);
    unlink(path);
#endif
}
int main(void) {
    snprintf(folder, sizeof folder, "/tmp/dg_images_XXXXXX");
    if (!CHECK(mkdtemp(folder), "no folder for images")) return check_done("test_image_source");
    test_memory();
    test_damaged_array();
    test_rows();
    if (have_zlib) test_folders(), test_archives(), test_members(), test_arrays(), test_transparent_colours(), test_lying_header();
    else not_run("folders, archives and compressed arrays: this build has no zlib");
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    CHECK(system(command) == 0, "%s failed", command);
    return check_done("test_image_source");
}
