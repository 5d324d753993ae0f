/* image_file.c -- the file of one image, PNG or JPEG, as RGB bytes. */
#include "files/image_file.h"
#include "files/jpeg.h"
#include "files/png.h"
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char *ending(const char *name, const char *const *list) {
    const char *dot = strrchr(name, '.');
    for (; dot && *list; list++)
        if (!strcasecmp(dot, *list)) return *list;
    return NULL;
}
bool image_file_named(const char *name) {
    static const char *const read[] = {".png", ".jpg", ".jpeg", NULL};
    return ending(name, read) != NULL;
}
const char *image_file_of_others(const char *name) {
    static const char *const others[] = {".bmp", ".gif", ".pgm", ".ppm", ".tif", ".tiff", ".webp", NULL};
    return ending(name, others);
}
static bool check_size(const ImageFile *p, const char *name, Error *e) {
    bool fits = p->height <= IMAGE_FILE_SIDE && p->width <= IMAGE_FILE_SIDE && (int64_t)p->height * p->width <= IMAGE_FILE_PIXELS;
    return fits || dg_error(e, "%s: an image of %dx%d pixels, which is more than is read (%d million)", name, p->width, p->height,
                            IMAGE_FILE_PIXELS / 1000000);
}
bool image_file_head(const uint8_t *data, size_t bytes, const char *name, ImageFile *p, Error *e) {
    *p = (ImageFile){0};
    if (png_recognise(data, bytes)) {
        PngHead h;
        const char *fault = png_head_fault(data, bytes, &h);
        if (fault) return dg_error(e, "%s: not a PNG file: %s", name, fault);
        *p = (ImageFile){h.height, h.width, h.color == PNG_GRAY_ALPHA || h.color == PNG_RGBA, false};
    } else if (jpeg_recognise(data, bytes)) {
        p->jpeg = true;
        if (!jpeg_head(data, bytes, &p->height, &p->width, e)) return dg_error_context(e, "%s: not a JPEG file", name);
    } else {
        return dg_error(e, "%s: %s", name, bytes ? "it begins as no PNG or JPEG file does" : "it is empty, and no image");
    }
    return check_size(p, name, e);
}
static const char *read_png(const uint8_t *data, size_t bytes, const ImageFile *p, uint8_t *rgb) {
    PngHead h;
    const char *fault = png_fault(data, bytes, true);
    if (!fault) fault = png_head_fault(data, bytes, &h);
    if (fault) return fault;
    if (h.height != p->height || h.width != p->width) return "its size is not what it was";
    size_t pixels = (size_t)h.height * (size_t)h.width, channels = (size_t)h.channels;
    if (channels == 3) return png_decode(data, &h, rgb);
    uint8_t *own = malloc(pixels * channels);
    fault = own ? png_decode(data, &h, own) : "there is no memory for its pixels";
    for (size_t i = 0; !fault && i < pixels; i++, rgb += 3)
        for (size_t c = 0; c < 3; c++) rgb[c] = own[i * channels + (channels > 2 ? c : 0)];
    free(own);
    return fault;
}
bool image_file_read(const uint8_t *data, size_t bytes, const char *name, const ImageFile *p, uint8_t *rgb, Error *e) {
    if (p->jpeg) return jpeg_decode(data, bytes, p->height, p->width, rgb, e) || dg_error_context(e, "%s: not a whole JPEG file", name);
    const char *fault = read_png(data, bytes, p, rgb);
    return !fault || dg_error(e, "%s: not a whole PNG file: %s", name, fault);
}
