/* eval_sets.h -- what the tests of `eval` share: sets of images of which any image is known, and runs with their results as JSON. */
#ifndef DG_TEST_EVAL_SETS_H
#define DG_TEST_EVAL_SETS_H
#include "files/image.h"
#include "files/npz.h"
#include "measure/frechet.h"
#include "program.h"
#include <math.h>

enum { SIDE = 32, BYTES = SIDE * SIDE * 3 };

/* ---- sources ------------------------------------------------------------------------------------------------------------------------ */
static inline uint8_t pixel_of(uint64_t image, int y, int x, int c) {
    uint64_t z = (image * 0x9E3779B97F4A7C15u) ^ (uint64_t)(c * 77 + 1);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z ^= z >> 27;
    int from = (int)(z & 255), slope_y = (int)(z >> 8 & 7) - 3, slope_x = (int)(z >> 16 & 7) - 3, v = from + slope_y * y + slope_x * x;
    int cy = (int)(z >> 24 & 31), cx = (int)(z >> 32 & 31), r = 4 + (int)(z >> 40 & 7);
    if ((y - cy) * (y - cy) + (x - cx) * (x - cx) < r * r) v = 255 - from;
    return (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
}
static inline uint8_t *picture(uint64_t image, int side) {
    uint8_t *p = dg_alloc((size_t)(side * side) * 3), *to = p;
    for (int y = 0; y < side; y++)
        for (int x = 0; x < side; x++)
            for (int c = 0; c < 3; c++) *to++ = pixel_of(image, y, x, c);
    return p;
}
/* arr_0, and classes where `classes`, of images first .. first + n - 1; seeds likewise. */
static inline void write_array(const Setup *s, const char *name, int first, int n, int side, bool classes, bool seeds) {
    Error e = {""};
    const int64_t shape[4] = {n, side, side, 3};
    NpzWriter *w = npz_writer_open(at(s, name), &e);
    bool ok = w && npz_writer_array(w, "arr_0", 'u', 1, 4, shape, &e);
    for (int i = 0; ok && i < n; i++) {
        uint8_t *p = picture((uint64_t)(first + i), side);
        ok = npz_writer_data(w, p, (size_t)(side * side) * 3, &e);
        free(p);
    }
    ok = ok && (!classes || npz_writer_array(w, "arr_1", 'i', 8, 1, shape, &e));
    for (int64_t i = 0; ok && classes && i < n; i++) {
        int64_t class = i % 10;
        ok = npz_writer_data(w, &class, 8, &e);
    }
    ok = ok && (!seeds || npz_writer_array(w, "seeds", 'u', 8, 1, shape, &e));
    for (int i = 0; ok && seeds && i < n; i++) {
        uint64_t seed = (uint64_t)(first + i);
        ok = npz_writer_data(w, &seed, 8, &e);
    }
    CHECK(ok && npz_writer_finish(w, &e), "%s", e.text);
}
static inline void write_png(const Setup *s, const char *name, const uint8_t *pixels, int height, int width, int channels) {
    Error e = {""};
    OutFile *f = image_begin_png(at(s, name), pixels, height, width, channels, &e);
    CHECK(f && out_finish(f, &e), "%s", e.text);
}
static inline void write_folder(const Setup *s, const char *folder, int n) {
    mkdir(at(s, folder), 0777);
    for (int i = 0; i < n; i++) {
        char name[64];
        uint8_t *p = picture((uint64_t)i, SIDE);
        snprintf(name, sizeof name, "%s/%06d.png", folder, i);
        write_png(s, name, p, SIDE, SIDE, 3);
        free(p);
    }
}

/* ---- results ------------------------------------------------------------------------------------------------------------------------- */
static inline double value_of(const Result *r, int row, const char *name) {
    Error e = {""};
    double v = NAN;
    Json *j = json_parse(r->out, strlen(r->out), &e);
    const Json *results = json_get(j, "results"), *x = results ? results->child : NULL;
    while (x && row-- > 0) x = x->next;
    if (json_get(x, name)) v = json_get(x, name)->number;
    json_free(j);
    return v;
}
static inline bool near(double a, double b, double tolerance) { return fabs(a - b) <= tolerance * (1 + fabs(b)); }
static inline Result *eval(const Setup *s, const char *args) {
    char all[4200];
    snprintf(all, sizeof all, "eval --device cpu %s", args);
    return run(s, all);
}
static inline Result *shapes(const Setup *s, const char *args) {
    char all[4096];
    snprintf(all, sizeof all, "--protocol shapes32 --output json %s", args);
    return eval(s, all);
}
#endif
