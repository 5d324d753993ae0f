/* fuzz_image_file.c -- any bytes as a PNG or JPEG file: refused with a sentence, or all of its pixels are there, the same twice. */
#include "base/crc32.h"
#include "files/image_file.h"
#include "files/png.h"
#include "fuzz.h"
#include <stdlib.h>
#include <string.h>

static void try(const uint8_t *data, size_t bytes) {
    enum { LARGEST = 1 << 22 };
    Error e = {""}, again = {""};
    ImageFile p;
    if (!image_file_head(data, bytes, fuzz_name, &p, &e)) return fuzz_refused(&e);
    size_t size = (size_t)p.height * (size_t)p.width * 3;
    if (size > LARGEST) return;
    uint8_t *a = malloc(size), *b = malloc(size);
    memset(a, 1, size), memset(b, 2, size);
    bool ok = image_file_read(data, bytes, fuzz_name, &p, a, &e);
    DG_CHECK(image_file_read(data, bytes, fuzz_name, &p, b, &again) == ok, "read once and refused once");
    if (!ok) fuzz_refused(&e);
    else DG_CHECK(!memcmp(a, b, size), "other pixels the second time");
    free(a), free(b);
}
static uint32_t big_endian(const uint8_t *p) { return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3]; }
/* What CRCs keep out gets in: those of its chunks are made right. */
static void mend(uint8_t *p, size_t bytes) {
    for (size_t at = PNG_SIGNATURE; bytes - at >= PNG_CHUNK && big_endian(p + at) <= bytes - at - PNG_CHUNK;) {
        size_t length = big_endian(p + at);
        uint32_t crc = crc32_of(0, p + at + 4, length + 4);
        for (int i = 0; i < 4; i++) p[at + 8 + length + (size_t)i] = (uint8_t)(crc >> (24 - 8 * i));
        at += PNG_CHUNK + length;
    }
}
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes) {
    try(data, bytes);
    if (!png_recognise(data, bytes)) return 0;
    uint8_t *copy = malloc(bytes);
    memcpy(copy, data, bytes);
    mend(copy, bytes);
    try(copy, bytes);
    free(copy);
    return 0;
}
