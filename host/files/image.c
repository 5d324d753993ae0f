/* image.c -- PNG files, written through stb_image_write, what is whole of them, and grids. */
#include "files/image.h"
#include "files/png.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CHECKED_BYTES = 64 << 10 }; /* up to here a file is read whole to check it */

static bool read_at(int fd, uint8_t *out, size_t bytes, off_t offset) {
    for (ssize_t n; bytes > 0; out += n, bytes -= (size_t)n, offset += n) {
        n = pread(fd, out, bytes, offset);
        if (n < 0 && errno == EINTR) n = 0;
        else if (n <= 0) return false;
    }
    return true;
}
/* Of a large file the two ends alone. */
static const char *file_fault(int fd, size_t bytes, bool all, PngHead *head) {
    uint8_t begin[PNG_HEAD], end[PNG_CHUNK];
    if (all || bytes <= CHECKED_BYTES) {
        uint8_t *data = malloc(bytes + 1);
        const char *fault = data && read_at(fd, data, bytes, 0) ? png_fault(data, bytes, false) : "it cannot be read";
        if (!fault) fault = png_head_fault(data, bytes, head);
        free(data);
        return fault;
    }
    if (!read_at(fd, begin, PNG_HEAD, 0) || !read_at(fd, end, sizeof end, (off_t)bytes - PNG_CHUNK)) return "it cannot be read";
    return png_ends(end) ? png_head_fault(begin, bytes, head) : "it is cut off";
}
PngState image_check_png(const char *path, int height, int width, int channels, bool all, Error *e) {
    static const int color[] = {0, PNG_GRAY, PNG_GRAY_ALPHA, PNG_RGB, PNG_RGBA}; /* by channels */
    struct stat s;
    PngHead head;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) {
        bool nothing = errno == ENOENT; /* removed since its name was read, or a link to nothing */
        dg_error(e, "%s: cannot open: %s", path, strerror(errno));
        return nothing ? PNG_DAMAGED : PNG_FOREIGN;
    }
    const char *fault = NULL;
    PngState state = PNG_WHOLE;
    if (fstat(fd, &s) != 0 || !S_ISREG(s.st_mode)) {
        dg_error(e, "%s: an image belongs there, and it is not a regular file: remove it, or choose another folder", path);
        state = PNG_FOREIGN;
    } else if ((fault = file_fault(fd, (size_t)s.st_size, all, &head))) {
        dg_error(e, "%s: not a whole PNG file: %s", path, fault);
        state = PNG_DAMAGED;
    } else if (head.width != width || head.height != height || head.depth != 8 || head.color != color[channels]) {
        dg_error(
            e, "%s: the image is %dx%d, %d bits, colour type %d; %dx%d, 8 bits, type %d belongs there: remove it, or choose another folder",
            path, head.width, head.height, head.depth, head.color, width, height, color[channels]);
        state = PNG_FOREIGN;
    }
    close(fd);
    return state;
}

/* ---- reading and writing -------------------------------------------------------------------------------------------------------- */
#ifdef DG_HAVE_STB
#define STB_IMAGE_WRITE_IMPLEMENTATION
#define STBI_WRITE_NO_STDIO
#define STBIW_MALLOC(n)     dg_alloc(n) /* stb_image_write goes on with NULL, or aborts, where these fail */
#define STBIW_REALLOC(p, n) dg_realloc(p, n)
#define STBIW_FREE(p)       free(p)
#include <stb/stb_image_write.h>

bool image_png_available(Error *e) {
    (void)e;
    return true;
}
bool image_put_png(OutFile *f, const char *path, const uint8_t *pixels, int height, int width, int channels, Error *e) {
    if (!image_fits_png(height, width, channels, e)) return dg_error_context(e, "%s", path);
    int bytes;
    uint8_t *png = stbi_write_png_to_mem(pixels, width * channels, width, height, channels, &bytes);
    if (!png) return dg_error(e, "%s: there is no memory for a PNG of %dx%d", path, width, height);
    bool ok = out_write(f, png, (size_t)bytes, e);
    free(png);
    return ok;
}
#else
bool image_png_available(Error *e) {
    return dg_error(e, "this build writes no PNG files: install stb_image_write (Debian: libstb-dev) and build again, or use --format npz");
}
bool image_put_png(OutFile *f, const char *path, const uint8_t *pixels, int height, int width, int channels, Error *e) {
    (void)f, (void)path, (void)pixels, (void)height, (void)width, (void)channels;
    return image_png_available(e);
}
#endif
bool image_read_png(const char *path, uint8_t *pixels, int height, int width, int channels, Error *e) {
    FileMap map;
    PngHead h;
    if (!file_map(path, &map, e)) return false;
    const char *fault = png_fault(map.data, map.bytes, false);
    if (!fault) fault = png_head_fault(map.data, map.bytes, &h);
    bool ok = fault ? dg_error(e, "%s: not a whole PNG file: %s", path, fault)
                    : (h.height == height && h.width == width && h.channels == channels) ||
                          dg_error(e, "%s: the image is %dx%dx%d, %dx%dx%d is wanted", path, h.width, h.height, h.channels, width, height,
                                   channels);
    if (ok && (fault = png_decode(map.data, &h, pixels))) ok = dg_error(e, "%s: not a whole PNG file: %s", path, fault);
    file_unmap(&map);
    return ok;
}
bool image_fits_png(int height, int width, int channels, Error *e) {
    /* the writer counts the filtered bytes in an int, and so what they become, which grows by doubling and may be 9/8 as much */
    const int64_t most = INT_MAX / 3 * 2;
    int64_t bytes = ((int64_t)width * channels + 1) * height;
    if (channels < 1 || channels > 4) return dg_error(e, "a PNG has 1 to 4 channels, not %d: use --format npz", channels);
    if (bytes <= most) return true;
    return dg_error(e, "a picture of %dx%d pixels has %lld bytes, a PNG can be written of at most %lld", width, height, (long long)bytes,
                    (long long)most);
}
OutFile *image_begin_png(const char *path, const uint8_t *pixels, int height, int width, int channels, Error *e) {
    OutFile *f = out_open(path, e);
    if (!f || image_put_png(f, path, pixels, height, width, channels, e)) return f;
    out_abandon(f);
    return NULL;
}

/* ---- grids ------------------------------------------------------------------------------------------------------------------------ */
bool grid_layout(ImageGrid *g, int tiles, int columns, int tile_height, int tile_width, int channels, int scale, Error *e) {
    *g = (ImageGrid){.tile_height = tile_height, .tile_width = tile_width, .channels = channels, .columns = columns, .scale = scale};
    g->rows = (tiles + columns - 1) / columns;
    int64_t height = (int64_t)g->rows * ((int64_t)tile_height * scale + GRID_GAP) + GRID_GAP;
    int64_t width = (int64_t)columns * ((int64_t)tile_width * scale + GRID_GAP) + GRID_GAP;
    if (height > INT_MAX || width > INT_MAX)
        return dg_error(e, "a picture of %lldx%lld pixels is too large", (long long)width, (long long)height);
    g->height = (int)height, g->width = (int)width;
    return image_fits_png(g->height, g->width, channels, e);
}
bool grid_begin(ImageGrid *g, Error *e) {
    size_t bytes = (size_t)g->height * (size_t)g->width * (size_t)g->channels;
    g->pixels = malloc(bytes);
    if (!g->pixels) return dg_error(e, "there is no memory for a picture of %dx%d pixels (%zu bytes)", g->width, g->height, bytes);
    memset(g->pixels, 255, bytes);
    return true;
}
void grid_set(ImageGrid *g, int i, const uint8_t *tile) {
    size_t c = (size_t)g->channels;
    int top = i / g->columns * (g->tile_height * g->scale + GRID_GAP) + GRID_GAP;
    int left = i % g->columns * (g->tile_width * g->scale + GRID_GAP) + GRID_GAP;
    for (int y = 0; y < g->tile_height * g->scale; y++)
        for (int x = 0; x < g->tile_width * g->scale; x++) {
            const uint8_t *from = tile + ((size_t)(y / g->scale) * (size_t)g->tile_width + (size_t)(x / g->scale)) * c;
            memcpy(g->pixels + ((size_t)(top + y) * (size_t)g->width + (size_t)(left + x)) * c, from, c);
        }
}
void grid_free(ImageGrid *g) {
    free(g->pixels);
    g->pixels = NULL;
}
