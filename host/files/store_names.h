/* store_names.h -- which names of an output folder are the store's (store.h), and reading a folder once. */
#ifndef DG_STORE_NAMES_H
#define DG_STORE_NAMES_H
#include "base/interrupt.h"
#include "base/error.h"

typedef enum {
    NAME_OTHER,
    NAME_PNG,      /* 000000.png: an image of a seed */
    NAME_THOUSAND, /* 001000: the folder of a thousand seeds, by its first */
    NAME_MERGED,   /* samples.npz */
    NAME_PART,     /* part-FIRST-LAST.npz */
    NAME_STRAY     /* an unfinished file of one of these, or of the manifest */
} NameKind;
NameKind store_name(const char *name, uint64_t *seed); /* seed: of NAME_PNG and NAME_THOUSAND */

typedef struct {
    const char *folder, *name; /* folder: the store's, or that of a thousand */
    int fd;                    /* of that folder */
    NameKind kind;
    uint64_t seed;
} FolderEntry;
typedef bool (*EntryFn)(void *ctx, const FolderEntry *x, Error *e);
/* Calls for every entry of dir and of its folders of thousands that is the store's, but for NAME_THOUSAND: that one comes after what is in
 * it. follow: also into those that are links.                                                                          */
Outcome store_walk(const char *dir, bool follow, const Interrupt *i, EntryFn each, void *ctx, Error *e);
#endif
