/* test_pillow.c -- resizing, the centre crop and the way through a JPEG file, against the bytes of Pillow: their CRCs, which
 * tests/data/pillow_squares.py prints.                                                                                    */
#include "base/crc32.h"
#include "check.h"
#include "files/jpeg.h"
#include "files/pillow.h"
#include <stdlib.h>

enum { RGB = 3 };
typedef enum { NOISE, BLACK_AND_WHITE, SLOPES } Kind;
static uint8_t *picture(Kind kind, int height, int width) {
    uint8_t *p = dg_alloc((size_t)height * (size_t)width * RGB), *at = p;
    for (uint64_t y = 0; y < (uint64_t)height; y++)
        for (uint64_t x = 0; x < (uint64_t)width; x++)
            for (uint64_t c = 0; c < RGB; c++) {
                uint8_t noise = (uint8_t)((x * 73856093 + y * 19349663 + c * 83492791) * 2654435761u >> 20);
                *at++ = kind == NOISE ? noise : kind == BLACK_AND_WHITE ? (noise > 127 ? 255 : 0) : (uint8_t)(3 * x + 5 * y + 60 * c);
            }
    return p;
}
static const struct {
    Kind kind;
    int height, width;
    PillowFilter filter;
    int to_height, to_width;
    uint32_t crc;
} resized[] = {
    {NOISE, 33, 47, PILLOW_BOX, 16, 23, 0x81d436f9},       {BLACK_AND_WHITE, 512, 301, PILLOW_BOX, 256, 150, 0x8545cc48},
    {NOISE, 40, 30, PILLOW_BICUBIC, 17, 64, 0x5c838b7d},   {BLACK_AND_WHITE, 40, 30, PILLOW_BICUBIC, 97, 11, 0x7a068f68},
    {SLOPES, 64, 64, PILLOW_BICUBIC, 64, 64, 0x3e6aec6e},  {NOISE, 3, 2, PILLOW_BICUBIC, 50, 70, 0xbf58af59},
    {BLACK_AND_WHITE, 7, 5, PILLOW_BOX, 9, 9, 0x0007e948}, {NOISE, 3, 6, PILLOW_BOX, 2, 4, 0x773c77ef},
};
/* The whole, and a part of it that is the same. */
static void resizing(void) {
    Error e = {0};
    for (size_t i = 0; i < sizeof resized / sizeof *resized; i++) {
        int height = resized[i].to_height, width = resized[i].to_width;
        RgbImage image = {picture(resized[i].kind, resized[i].height, resized[i].width), resized[i].height, resized[i].width};
        size_t row = (size_t)width * RGB, bytes = (size_t)height * row;
        Window part = {height / 3, width / 4, height - height / 3 - 1, width - width / 4 - 2};
        uint8_t *whole = dg_alloc(bytes), *some = dg_alloc(bytes);
        bool ok = pillow_resize(&image, resized[i].filter, height, width, (Window){0, 0, height, width}, whole, &e) &&
                  pillow_resize(&image, resized[i].filter, height, width, part, some, &e);
        uint32_t crc = crc32_of(0, whole, bytes);
        CHECK(ok && crc == resized[i].crc, "%dx%d to %dx%d: CRC 0x%08x, of Pillow's bytes 0x%08x %s", image.width, image.height, width,
              height, crc, resized[i].crc, e.text);
        int differ = 0;
        for (int y = 0; y < part.height; y++)
            differ += memcmp(some + (size_t)(y * part.width * RGB), whole + (size_t)(part.top + y) * row + (size_t)(part.left * RGB),
                             (size_t)part.width * RGB) != 0;
        CHECK(differ == 0, "%dx%d to %dx%d: %d rows of a part are not those of the whole", image.width, image.height, width, height,
              differ);
        free(whole), free(some), free((void *)(uintptr_t)image.rgb);
    }
}
/* A few bytes by hand: 0 0 255 255 to 3 pixels and to 2, in every channel. */
static void by_hand(void) {
    static const uint8_t line[4 * RGB] = {0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 255, 255};
    static const uint8_t box[2] = {0, 255};
    uint8_t out[3 * RGB] = {0};
    Error e = {0};
    RgbImage image = {line, 1, 4};
    CHECK(pillow_resize(&image, PILLOW_BOX, 1, 2, (Window){0, 0, 1, 2}, out, &e) && out[0] == box[0] && out[RGB] == box[1],
          "BOX of 0 0 255 255 is %d %d", out[0], out[RGB]);
    CHECK(pillow_resize(&image, PILLOW_BICUBIC, 1, 3, (Window){0, 0, 1, 3}, out, &e) && out[0] == 0 && out[RGB] == 128 &&
              out[2 * RGB] == 255,
          "BICUBIC of 0 0 255 255 is %d %d %d: not 0, half of 255, and 255, cut off where the filter overshoots", out[0], out[RGB],
          out[2 * RGB]);
}
static const struct {
    Kind kind;
    int height, width, size;
    uint32_t crc;
} squares[] = {
    {NOISE, 256, 256, 256, 0xd74322c3},
    {NOISE, 375, 500, 256, 0x8046d9e4},
    {BLACK_AND_WHITE, 500, 375, 256, 0xf9d40e52},
    {SLOPES, 333, 500, 256, 0xfa50823e},
    {NOISE, 600, 511, 256, 0xb2d903d1},
    {BLACK_AND_WHITE, 512, 1023, 256, 0xbf062c85},
    {NOISE, 1143, 1397, 256, 0x6ebce20c},
    {SLOPES, 2049, 1030, 256, 0x2d83a6c8},
    {NOISE, 200, 90, 256, 0x18332d1f},
    {BLACK_AND_WHITE, 31, 64, 16, 0x2f1b2810},
    {NOISE, 20, 143, 16, 0x48d2d666},
    {BLACK_AND_WHITE, 1, 9, 8, 0xe568d25b},
    {NOISE, 65, 23, 8, 0x2011c167},
    {SLOPES, 90, 91, 37, 0xba7bdd63},
    {NOISE, 16, 19, 24, 0x0e25d1f6},
    {NOISE, 19, 16, 24, 0xf70763ba},
};
static void crops(void) {
    Error e = {0};
    for (size_t i = 0; i < sizeof squares / sizeof *squares; i++) {
        RgbImage image = {picture(squares[i].kind, squares[i].height, squares[i].width), squares[i].height, squares[i].width};
        size_t size = (size_t)squares[i].size, bytes = size * size * RGB;
        uint8_t *out = dg_alloc(bytes);
        bool ok = center_crop(&image, squares[i].size, out, &e);
        uint32_t crc = crc32_of(0, out, bytes);
        CHECK(ok && crc == squares[i].crc, "%dx%d cropped to %zu: CRC 0x%08x, of Pillow's bytes 0x%08x %s", image.width, image.height, size,
              crc, squares[i].crc, e.text);
        free(out), free((void *)(uintptr_t)image.rgb);
    }
}
static const struct {
    Kind kind;
    int height, width;
    uint32_t crc;
} jpegs[] = {
    {SLOPES, 64, 48, 0x389cc576}, {NOISE, 33, 31, 0x1c1ffafc},    {BLACK_AND_WHITE, 16, 16, 0xdc0878d8},
    {SLOPES, 1, 1, 0x3c6238cf},   {SLOPES, 256, 256, 0x42320099},
};
static void round_trips(void) {
    Error e = {0};
    if (!jpeg_available(&e) || jpeg_other_decoder()) {
        not_run("pixels through JPEG files: %s", e.text[0] ? e.text : "not libjpeg-turbo");
        return;
    }
    for (size_t i = 0; i < sizeof jpegs / sizeof *jpegs; i++) {
        uint8_t *p = picture(jpegs[i].kind, jpegs[i].height, jpegs[i].width);
        bool ok = jpeg_round_trip(p, jpegs[i].height, jpegs[i].width, &e);
        uint32_t crc = crc32_of(0, p, (size_t)jpegs[i].height * (size_t)jpegs[i].width * RGB);
        CHECK(ok && crc == jpegs[i].crc, "%dx%d: CRC 0x%08x, of Pillow's bytes 0x%08x %s", jpegs[i].width, jpegs[i].height, crc,
              jpegs[i].crc, e.text);
        free(p);
    }
}
int main(void) {
    by_hand();
    resizing();
    crops();
    round_trips();
    return check_done("test_pillow");
}
