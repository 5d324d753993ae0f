/* test_image_file.c -- PNG and JPEG files as RGB bytes: those that Pillow made give Pillow's pixels; PNG files of every kind that the
 * format has give what they were made of; and cut, changed or lying files are refused in a sentence.                          */
#include "base/file.h"
#include "base/rng.h"
#include "files/image.h"
#include "files/jpeg.h"
#include "files/image_file.h"
#include "hostile.h"
#include "png_maker.h"
#include <unistd.h>

#ifdef DG_HAVE_ZLIB
static const bool have_png = true;
#else
static const bool have_png = false;
#endif
#ifdef DG_HAVE_JPEG
static const bool have_jpeg = true;
#else
static const bool have_jpeg = false;
#endif
static const char file_name[] = "some.file";
static bool read_any(const uint8_t *data, size_t bytes, Error *e) {
    ImageFile p;
    if (!image_file_head(data, bytes, file_name, &p, e)) return false;
    uint8_t *rgb = malloc((size_t)p.height * (size_t)p.width * 3);
    bool ok = rgb ? image_file_read(data, bytes, file_name, &p, rgb, e) : dg_error(e, "%s: no memory for it", file_name);
    free(rgb);
    return ok;
}

/* ---- files of Pillow's (tests/data/image_files.py prints this table) -------------------------------------------------------------- */
static const struct {
    const char *name;
    uint32_t crc;
} pillow[] = {
    {"rgb.png", 0x93a937e3},     {"rgba.png", 0xa278e0cb},         {"gray.png", 0x52d312b9},     {"gray_alpha.png", 0xb1144780},
    {"bits1.png", 0xcaa1ac0e},   {"palette.png", 0xddb803ae},      {"palette4.png", 0x44bb23f9}, {"transparent.png", 0xddb803ae},
    {"rgb_key.png", 0x93a937e3}, {"gray_key.png", 0x52d312b9},     {"whole.jpg", 0x8727e481},    {"half.jpg", 0xd4201b87},
    {"quarter.jpg", 0xe3fb8a01}, {"progressive.JPEG", 0xe3fb8a01}, {"gray.jpg", 0x7a467c58},     {"cmyk.jpg", 0x1994c23b},
};
static bool is_jpeg(const char *name) { return strstr(name, ".j") || strstr(name, ".J"); }
static FileMap open_file(const char *name) {
    char path[128];
    Error e;
    FileMap m;
    snprintf(path, sizeof path, "tests/data/images/%s", name);
    DG_CHECK(file_map(path, &m, &e), "%s", e.text);
    return m;
}
static void test_pillow(void) {
    for (size_t i = 0; i < sizeof pillow / sizeof *pillow; i++) {
        const char *name = pillow[i].name;
        if (is_jpeg(name) ? !have_jpeg : !have_png) {
            not_run("%s: this build has no decoder of it", name);
            continue;
        }
        if (is_jpeg(name) && jpeg_other_decoder()) {
            not_run("%s: the decoder is %s, not Pillow's", name, jpeg_other_decoder());
            continue;
        }
        Error e = {""};
        FileMap m = open_file(name);
        ImageFile p;
        if (CHECK(image_file_head(m.data, m.bytes, name, &p, &e), "%s", e.text)) {
            uint8_t *rgb = dg_alloc((size_t)p.height * (size_t)p.width * 3);
            bool ok = image_file_read(m.data, m.bytes, name, &p, rgb, &e),
                 alpha = !strcmp(name, "rgba.png") || !strcmp(name, "gray_alpha.png");
            uint32_t crc = crc32_of(0, rgb, (size_t)p.height * (size_t)p.width * 3);
            CHECK(ok && p.height == 21 && p.width == 35 && crc == pillow[i].crc, "%s: %dx%d, pixels %08x, not %08x: %s", name, p.width,
                  p.height, crc, pillow[i].crc, e.text);
            CHECK(p.alpha == alpha && p.jpeg == is_jpeg(name), "%s: alpha %d, jpeg %d", name, p.alpha, p.jpeg);
            free(rgb);
        }
        file_unmap(&m);
    }
}

/* ---- PNG of every kind ------------------------------------------------------------------------------------------------------------- */
static uint8_t *random_samples(const PngMaker *p, uint64_t seed) {
    size_t n = (size_t)(p->height * p->width * png_samples(p->color));
    uint8_t *v = dg_alloc(n);
    int most = p->color == PNG_PALETTE ? p->palette : p->depth >= 8 ? 256 : 1 << p->depth;
    for (size_t i = 0; i < n; i++) v[i] = (uint8_t)(philox(seed, (uint32_t)i, 0, 0).v[0] % (uint32_t)most);
    return v;
}
static void rgb_of(const PngMaker *p, const uint8_t *samples, uint8_t *rgb) {
    int per = png_samples(p->color), most = p->depth < 8 ? (1 << p->depth) - 1 : 255;
    for (int i = 0; i < p->height * p->width; i++, samples += per, rgb += 3)
        for (int c = 0; c < 3; c++) {
            if (p->color == PNG_PALETTE) rgb[c] = p->colors[3 * samples[0] + c];
            else rgb[c] = (uint8_t)(samples[per > 2 ? c : 0] * 255 / most);
        }
}
static void test_kind(PngMaker p) {
    Error e = {""};
    uint8_t colors[768];
    for (int i = 0; i < 768; i++) colors[i] = (uint8_t)(i * 37 + i / 3);
    if (p.color == PNG_PALETTE) p.colors = colors, p.palette = p.depth == 8 ? 201 : 1 << p.depth;
    uint8_t *samples = random_samples(&p, (uint64_t)(p.height * 1000 + p.depth * 10 + p.color));
    size_t bytes = (size_t)(p.height * p.width) * 3;
    uint8_t *wanted = dg_alloc(bytes), *found = dg_alloc(bytes);
    rgb_of(&p, samples, wanted);
    Made m = png_make(&p, samples);
    ImageFile picture;
    bool ok = image_file_head(m.data, m.bytes, file_name, &picture, &e) && picture.height == p.height && picture.width == p.width &&
              image_file_read(m.data, m.bytes, file_name, &picture, found, &e);
    CHECK(ok && !memcmp(found, wanted, bytes), "colour type %d of %d bits, %dx%d%s, filter %d: %s", p.color, p.depth, p.width, p.height,
          p.interlaced ? ", interlaced" : "", p.filter, ok ? "other pixels" : e.text);
    made_bytes(&m, "behind", 6);
    CHECK(read_any(m.data, m.bytes, &e), "with something behind its end: %s", e.text);
    made_free(&m);
    free(samples), free(wanted), free(found);
}
static void test_kinds(void) {
    static const int kinds[][2] = {{PNG_GRAY, 1},    {PNG_GRAY, 2},       {PNG_GRAY, 4},    {PNG_GRAY, 8},
                                   {PNG_RGB, 8},     {PNG_PALETTE, 1},    {PNG_PALETTE, 2}, {PNG_PALETTE, 4},
                                   {PNG_PALETTE, 8}, {PNG_GRAY_ALPHA, 8}, {PNG_RGBA, 8}};
    static const int sizes[][2] = {{1, 1}, {13, 9}, {3, 17}, {8, 8}, {2, 1}};
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
            for (int interlaced = 0; interlaced < 2; interlaced++)
                for (int filter = -1; filter < 5; filter++)
                    test_kind((PngMaker){.height = sizes[i][0],
                                         .width = sizes[i][1],
                                         .depth = kinds[k][1],
                                         .color = kinds[k][0],
                                         .interlaced = interlaced,
                                         .filter = filter,
                                         .pieces = filter + 2});
}

/* ---- files that are wrong ----------------------------------------------------------------------------------------------------------- */
static void refuse(const char *what, const void *data, size_t bytes, const char *fragment) {
    hostile_refuse(read_any, what, data, bytes, file_name, fragment);
}
static void test_wrong_png(void) {
    PngMaker p = {.height = 6, .width = 5, .depth = 8, .color = PNG_RGB, .filter = -1};
    uint8_t *samples = random_samples(&p, 3), colors[6] = {1, 2, 3, 4, 5, 6};
    Made m = png_make(&p, samples);
    for (size_t n = 0; n < m.bytes; n++) refuse("a cut PNG", m.data, n, n ? "" : "it is empty");
    for (size_t at = 0; at < m.bytes; at++) { /* each byte, and its lengths, is looked at */
        m.data[at] ^= 0x41;
        refuse("a changed PNG", m.data, m.bytes, "");
        m.data[at] ^= 0x41;
    }
    made_free(&m);
    static const struct {
        PngMaker p;
        const char *fragment;
    } lies[] = {
        {{.height = 6, .width = 5, .depth = 16, .color = PNG_RGB}, "16 bits a channel"},
        {{.height = 6, .width = 5, .depth = 3, .color = PNG_GRAY}, "what no PNG file has"},
        {{.height = 6, .width = 5, .depth = 4, .color = PNG_RGB}, "what no PNG file has"},
        {{.height = 6, .width = 5, .depth = 8, .color = PNG_PALETTE}, "it has no palette"},
        {{.height = 6, .width = 5, .depth = 8, .color = PNG_RGB, .filter = 5}, "a filter that is none"},
    };
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        PngMaker wrong = lies[i].p;
        wrong.palette = 256;
        m = png_make(&wrong, samples);
        refuse("a lying PNG", m.data, m.bytes, lies[i].fragment);
        made_free(&m);
    }
    PngMaker beyond = {.height = 6, .width = 5, .depth = 8, .color = PNG_PALETTE, .colors = colors, .palette = 2};
    m = png_make(&beyond, samples);
    refuse("a colour beyond the palette", m.data, m.bytes, "not in its palette");
    made_free(&m);
    for (int taller = 0; taller < 2; taller++) { /* what follows the pixels is left alone, and is no substitute for them */
        Error e = {""};
        PngMaker padded = p;
        padded.extra = 100;
        m = png_make(&padded, samples);
        m.data[23] = (uint8_t)(m.data[23] + taller);
        uint32_t crc = crc32_of(0, m.data + 12, 17);
        for (int k = 0; k < 4; k++) m.data[29 + k] = (uint8_t)(crc >> (24 - 8 * k));
        if (taller) refuse("a PNG of fewer rows than it says, and more", m.data, m.bytes, "its pixels are cut off");
        else CHECK(read_any(m.data, m.bytes, &e), "something behind the pixels: %s", e.text);
        made_free(&m);
    }
    /* the header of a larger image: its CRC right, its pixels missing, its size absurd */
    static const struct {
        uint32_t height, width;
        const char *fragment;
    } sizes[] = {{7, 5, "its pixels are cut off"},         {8000, 8000, "its pixels"},     {16385, 1, "more than is read"},
                 {16384, 16384, "its pixels are cut off"}, {0, 5, "what no PNG file has"}, {0x80000000, 5, "what no PNG file has"}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        m = png_make(&p, samples);
        for (int k = 0; k < 4; k++)
            m.data[16 + k] = (uint8_t)(sizes[i].width >> (24 - 8 * k)), m.data[20 + k] = (uint8_t)(sizes[i].height >> (24 - 8 * k));
        uint32_t crc = crc32_of(0, m.data + 12, 17);
        for (int k = 0; k < 4; k++) m.data[29 + k] = (uint8_t)(crc >> (24 - 8 * k));
        refuse("a PNG of another size", m.data, m.bytes, sizes[i].fragment);
        made_free(&m);
    }
    for (int bits = 1; bits <= 8; bits *= 8) { /* a header is believed as far as the file's bytes can unpack */
        Error e = {""};
        ImageFile image;
        PngMaker padded = {.height = 2, .width = 2, .depth = bits, .color = PNG_GRAY, .extra = 40000};
        m = png_make(&padded, samples);
        for (int k = 0; k < 4; k++) m.data[16 + k] = m.data[20 + k] = (uint8_t)(16384 >> (24 - 8 * k));
        uint32_t crc = crc32_of(0, m.data + 12, 17);
        for (int k = 0; k < 4; k++) m.data[29 + k] = (uint8_t)(crc >> (24 - 8 * k));
        bool ok = image_file_head(m.data, m.bytes, file_name, &image, &e);
        CHECK(!ok && strstr(e.text, bits == 1 ? "more than is read" : "its pixels are cut off"), "16384x16384 of %d bits: %s", bits,
              e.text);
        made_free(&m);
    }
    free(samples);
}
static void test_wrong_jpeg(void) {
    static const char *const names[] = {"quarter.jpg", "progressive.JPEG", "cmyk.jpg"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        FileMap m = open_file(names[i]);
        uint8_t *copy = dg_alloc(m.bytes);
        memcpy(copy, m.data, m.bytes);
        for (size_t n = 3; n + 2 < m.bytes; n += 7) refuse("a cut JPEG", copy, n, "");
        int refused = 0;
        for (size_t at = 0; at < m.bytes; at++) { /* other pixels, or a sentence: there is no CRC */
            Error e = {""};
            copy[at] ^= 0x55;
            bool ok = read_exactly(read_any, copy, m.bytes, &e);
            refused += !ok;
            CHECK(ok || is_sentence(e.text, file_name), "byte %zu of %s changed: \"%s\"", at, names[i], e.text);
            copy[at] ^= 0x55;
        }
        CHECK(refused > 20, "%s: only %d changes of a byte are refused", names[i], refused);
        free(copy);
        file_unmap(&m);
    }
    refuse("text", "some text", 9, "it begins as no PNG or JPEG file does");
}
static void test_names(void) {
    CHECK(image_file_named("a.png") && image_file_named("b/c.JPEG") && image_file_named("x.y.Jpg") && !image_file_named("png") &&
              !image_file_named("a.npz"),
          "which names are images");
    CHECK(image_file_of_others("x.WEBP") && !image_file_of_others("x.txt") && !image_file_of_others("x.png"),
          "which names are other images");
}
int main(void) {
    test_names();
    test_pillow();
    if (have_png) test_kinds(), test_wrong_png();
    else not_run("PNG of every kind, and wrong ones: this build has no zlib");
    if (have_jpeg) test_wrong_jpeg();
    else not_run("wrong JPEG files: this build has no libjpeg");
    return check_done("test_image_file");
}
