/* store_npz.h -- the npz form of a store (store.h): an index over samples.npz and the parts beside it. */
#ifndef DG_STORE_NPZ_H
#define DG_STORE_NPZ_H
#include "files/store.h"

typedef struct NpzStore NpzStore;
NpzStore *npz_store_new(const StoreOptions *o); /* o outlives it */
void npz_store_free(NpzStore *s);
void npz_store_forget(NpzStore *s);                                /* the files that were noted */
void npz_store_note(NpzStore *s, const char *name);                /* a file of the folder; then all are indexed: */
Outcome npz_store_index(NpzStore *s, SeedList *present, Error *e); /* appends what is there, as a set */
bool npz_store_put(const NpzStore *s, int n, const uint64_t *seed, const int *label, const void *images, Error *e);
bool npz_store_get(NpzStore *s, uint64_t seed, void *image, Error *e);
Outcome npz_store_merge(NpzStore *s, Error *e); /* all files that are indexed into samples.npz */
#endif
