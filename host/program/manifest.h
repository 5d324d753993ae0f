/* manifest.h -- manifest.json of an output folder: what its images depend on, and the runs that made them.
 *
 *   {"program": "dg_cuda", "images": {everything that the pixels depend on, hashes of the weights included}, "runs": [records.h]}
 *
 * Several runs may share a folder: it is read, compared and written under the folder's lock (files/claims.h).         */
#ifndef DG_MANIFEST_H
#define DG_MANIFEST_H
#include "program/records.h"
#include "files/store.h"

/* The JSON object "images". hex NULL: without what is not known before the engine is there, the hashes and, with --provider,
 * the "implementations" that were chosen.                                                                                    */
void manifest_images(Text *out, const Args *a, const Device *d, const Networks *n, char (*hex)[SHA256_HEX]);

typedef struct {
    char *path;
    Json *before; /* as it was read last; NULL: there is none */
} Manifest;
bool manifest_read(Manifest *m, const char *dir, Error *e);
void manifest_forget(Manifest *m); /* what was read */
void manifest_close(Manifest *m);
/* Whether the images that are there were made with these options; else an error that says which differ. An option that an older
 * manifest does not know had its default.                                                                              */
bool manifest_check(const Manifest *m, const Text *images, const Args *a, Error *e);
/* Writes the file: the records that were read, those of dead runs with what they made, and this run's (own may be NULL). */
bool manifest_write(const Manifest *m, const Text *images, const RunFacts *own, const Counted *dead, int deads, Error *e);
/* Which images it lists. */
SeedList manifest_seeds(const Manifest *m, ImageFormat *format);
#endif
