/* store.h -- the images of one output folder: what is there, adding, reading back.
 *
 *   png   000000.png by seed; with subdirs 000000/000000.png, a folder for every thousand seeds (both as EDM's generate.py)
 *   npz   samples.npz with arr_0 (uint8 [N,H,W,C]), arr_1 (labels, int64) and seeds (uint64), ordered by seed; while a run
 *         goes on, one part-FIRST-LAST.npz of the same kind for every batch, which store_finish merges
 *
 * Every file appears whole under its name or not at all, so what is there counts as done. */
#ifndef DG_STORE_H
#define DG_STORE_H
#include "base/error.h"

typedef enum { FORMAT_PNG, FORMAT_NPZ } ImageFormat;
typedef struct {
    const char *dir;
    ImageFormat format;
    bool subdirs;
    int height, width, channels;
} StoreOptions;
typedef struct Store Store;

/* Makes the folder when it is missing. clear: removes the images (and the parts of images) that are in it. */
Store *store_open(const StoreOptions *o, bool clear, Error *e);
void store_close(Store *s);
size_t store_image_bytes(const Store *s);
bool store_empty(const Store *s); /* no image of either format */
bool store_has(const Store *s, uint64_t seed);
/* May run on another thread than store_has and store_get, not at the same time as they. */
bool store_put(Store *s, int n, const uint64_t *seed, const int *label, const uint8_t *images, Error *e);
bool store_get(Store *s, uint64_t seed, uint8_t *image, Error *e);
bool store_finish(Store *s, Error *e); /* after the last image of a run */
#endif
