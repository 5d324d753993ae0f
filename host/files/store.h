/* store.h -- the images of one output folder: what is there, adding, reading back.
 *
 *   png   000000.png by seed; with subdirs 000000/000000.png, a folder for every thousand seeds (both as EDM's generate.py)
 *   npz   samples.npz, ordered by seed, under the names that STORE_KEYS_* say; while a run goes on, one part-FIRST-LAST.npz of the same
 *         kind for every batch, which store_merge puts together
 *
 * Every file appears whole under its name or not at all. What is there is looked at all the same, for what came between: a file that
 * is cut or damaged counts as nothing, so that its images are made again (of npz files it is kept as NAME.damaged).
 * Several programs may use a folder: what is to be done under the folder's lock (claims.h) says so.                       */
#ifndef DG_STORE_H
#define DG_STORE_H
#include "base/interrupt.h"
#include "base/seeds.h"

typedef enum { FORMAT_PNG, FORMAT_NPZ } ImageFormat;
typedef enum {
    STORE_KEYS_EDM, /* arr_0: bytes, NHWC; arr_1: int64 classes */
    STORE_KEYS_DG   /* samples: bytes, NHWC; label: f32, one-hot. As DG's own tools read them */
} StoreKeys;
typedef struct {
    const char *dir;
    ImageFormat format;
    StoreKeys keys;
    bool latents; /* images are f32, NCHW, not bytes, NHWC; with STORE_KEYS_DG alone */
    bool subdirs;
    int height, width, channels;
    int classes; /* of the network: 0 where images have no class */
    const Interrupt *interrupt;
} StoreOptions;
typedef struct Store Store;

Store *store_new(const StoreOptions *o); /* looks at nothing yet */
void store_free(Store *s);
size_t store_image_bytes(const Store *s);
/* Reads the folder, under its lock: which images are there. Those that are wanted (a set) are checked, with every CRC where `all`.
 * Removes what dead programs left unfinished; prints what is damaged.                                                   */
Outcome store_scan(Store *s, const SeedList *wanted, bool all, Error *e);
bool store_occupied(const char *dir);          /* whether there is an image of either format, or its name */
const SeedList *store_present(const Store *s); /* a set */
/* Removes the images of these seeds (a set) from dir, under its lock, and npz files of them; follows no link. */
Outcome store_clear(const char *dir, ImageFormat format, const SeedList *seeds, const Interrupt *i, Error *e);
/* May run on another thread. *written: how many are whole on the disk, also where it fails. */
bool store_put(Store *s, int n, const uint64_t *seed, const int *label, const void *images, int *written, Error *e);
/* Under the lock: all parts that are in the folder into samples.npz, in one pass. */
Outcome store_merge(Store *s, Error *e);
bool store_get(Store *s, uint64_t seed, void *image, Error *e); /* under the lock, after store_merge */
#endif
