/* store_npz.h -- the npz form of a store (store.h): an index over samples.npz and the parts beside it. */
#ifndef DG_STORE_NPZ_H
#define DG_STORE_NPZ_H
#include "base/error.h"

typedef struct NpzStore NpzStore;
NpzStore *npz_store_open(const char *dir, int height, int width, int channels, Error *e);
void npz_store_close(NpzStore *s);
bool npz_store_has(const NpzStore *s, uint64_t seed);
bool npz_store_put(NpzStore *s, int n, const uint64_t *seed, const int *label, const uint8_t *images, Error *e);
bool npz_store_get(NpzStore *s, uint64_t seed, uint8_t *image, Error *e);
bool npz_store_merge(NpzStore *s, Error *e); /* all parts into samples.npz */
#endif
