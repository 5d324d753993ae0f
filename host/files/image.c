/* image.c -- PNG files through stb_image, and grids. */
#include "files/image.h"
#include <stdlib.h>
#include <string.h>
#ifdef DG_HAVE_STB
#define STB_IMAGE_WRITE_IMPLEMENTATION
#define STBI_WRITE_NO_STDIO
#include <stb/stb_image_write.h>
#define STB_IMAGE_IMPLEMENTATION
#define STBI_ONLY_PNG
#define STBI_NO_STDIO
#include <stb/stb_image.h>

bool image_png_available(Error *e) {
    (void)e;
    return true;
}
OutFile *image_begin_png(const char *path, const uint8_t *pixels, int height, int width, int channels, Error *e) {
    if (channels < 1 || channels > 4) {
        dg_error(e, "%s: a PNG has 1 to 4 channels, not %d: use --format npz", path, channels);
        return NULL;
    }
    OutFile *f = out_open(path, e);
    if (!f) return NULL;
    int bytes;
    uint8_t *png = stbi_write_png_to_mem(pixels, width * channels, width, height, channels, &bytes);
    DG_CHECK(png, "no memory for a PNG of %dx%d", width, height);
    bool ok = out_write(f, png, (size_t)bytes, e);
    free(png);
    if (ok) return f;
    out_abandon(f);
    return NULL;
}
bool image_read_png(const char *path, uint8_t *pixels, int height, int width, int channels, Error *e) {
    FileMap map;
    if (!file_map(path, &map, e)) return false;
    int h = 0, w = 0, c = 0;
    uint8_t *read = map.bytes <= 1u << 30 ? stbi_load_from_memory(map.data, (int)map.bytes, &w, &h, &c, 0) : NULL;
    bool ok = read && h == height && w == width && c == channels;
    if (ok) memcpy(pixels, read, (size_t)h * (size_t)w * (size_t)c);
    else if (read) dg_error(e, "%s: the image is %dx%dx%d, %dx%dx%d is wanted", path, w, h, c, width, height, channels);
    else dg_error(e, "%s: not a PNG file that can be read (%s)", path, stbi_failure_reason());
    stbi_image_free(read);
    file_unmap(&map);
    return ok;
}
#else
bool image_png_available(Error *e) {
    return dg_error(e, "this build writes no PNG files: install stb_image_write (Debian: libstb-dev) and build again, or use --format npz");
}
OutFile *image_begin_png(const char *path, const uint8_t *pixels, int height, int width, int channels, Error *e) {
    (void)path, (void)pixels, (void)height, (void)width, (void)channels;
    image_png_available(e);
    return NULL;
}
bool image_read_png(const char *path, uint8_t *pixels, int height, int width, int channels, Error *e) {
    (void)path, (void)pixels, (void)height, (void)width, (void)channels;
    return image_png_available(e);
}
#endif
bool image_write_png(const char *path, const uint8_t *pixels, int height, int width, int channels, Error *e) {
    OutFile *f = image_begin_png(path, pixels, height, width, channels, e);
    return f && out_finish(f, e);
}

Grid *grid_new(int tiles, int columns, int tile_height, int tile_width, int channels, int scale) {
    Grid *g = dg_alloc(sizeof *g);
    *g = (Grid){.tile_height = tile_height, .tile_width = tile_width, .channels = channels, .columns = columns, .scale = scale};
    g->rows = (tiles + columns - 1) / columns;
    g->height = g->rows * (tile_height * scale + GRID_GAP) + GRID_GAP;
    g->width = columns * (tile_width * scale + GRID_GAP) + GRID_GAP;
    size_t bytes = (size_t)g->height * (size_t)g->width * (size_t)channels;
    g->pixels = dg_alloc(bytes);
    memset(g->pixels, 255, bytes);
    return g;
}
void grid_set(Grid *g, int i, const uint8_t *tile) {
    size_t c = (size_t)g->channels;
    int top = i / g->columns * (g->tile_height * g->scale + GRID_GAP) + GRID_GAP;
    int left = i % g->columns * (g->tile_width * g->scale + GRID_GAP) + GRID_GAP;
    for (int y = 0; y < g->tile_height * g->scale; y++)
        for (int x = 0; x < g->tile_width * g->scale; x++) {
            const uint8_t *from = tile + ((size_t)(y / g->scale) * (size_t)g->tile_width + (size_t)(x / g->scale)) * c;
            memcpy(g->pixels + ((size_t)(top + y) * (size_t)g->width + (size_t)(left + x)) * c, from, c);
        }
}
void grid_free(Grid *g) {
    if (!g) return;
    free(g->pixels);
    free(g);
}
