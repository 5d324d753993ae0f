/* image_array.c -- from a set of images to one array. */
#include "files/image_array.h"
#include <stdlib.h>

enum { PIECE = 16 << 20 }; /* bytes of pixels at a time */
Outcome image_array_write(NpzWriter *w, ImageSource *s, size_t n, const Interrupt *stop, void (*done)(void *context, size_t images),
                          void *context, Error *e) {
    int height = image_source_height(s), width = image_source_width(s);
    size_t bytes = (size_t)height * (size_t)width * 3, batch = PIECE / bytes ? PIECE / bytes : 1;
    const int64_t shape[4] = {(int64_t)n, height, width, 3};
    uint8_t *pixels = dg_alloc(batch * bytes);
    size_t *index = dg_alloc(batch * sizeof *index);
    bool ok = npz_writer_array(w, "arr_0", 'u', 1, 4, shape, e), stopped = false;
    for (size_t first = 0, rows; ok && first < n && !(stopped = interrupted(stop)); first += rows) {
        rows = n - first < batch ? n - first : batch;
        for (size_t i = 0; i < rows; i++) index[i] = first + i;
        ok = image_source_read(s, index, rows, pixels, e) && npz_writer_data(w, pixels, rows * bytes, e);
        if (ok && done) done(context, first + rows);
    }
    free(pixels), free(index);
    return stopped ? OUTCOME_INTERRUPTED : ok ? OUTCOME_DONE : OUTCOME_FAILED;
}
