/* manifest.h -- manifest.json of an output folder: what its images depend on, and the runs that made them.
 *
 *   {"program": "dg_cuda", "images": {everything that the pixels depend on, hashes of the weights included},
 *    "runs": [{"seeds": "0-63", "made": 64, "complete": true, options, device, timings}, ...]}              */
#ifndef DG_MANIFEST_H
#define DG_MANIFEST_H
#include "program/cli.h"
#include "program/networks.h"

/* The JSON object "images". hex NULL: without what is not known before the engine is there, the hashes and, with --autotune on,
 * the "implementations" that were chosen.                                                                                    */
void manifest_images(Text *out, const Args *a, const Device *d, const Networks *n, char (*hex)[SHA256_HEX]);

typedef struct { /* of one run */
    const Args *args;
    const Device *device;
    const Networks *networks;
    const char *started; /* UTC, ISO 8601 */
    size_t wanted, present, made;
    int batch, network_calls, guided_calls; /* calls per image */
    double seconds;
    bool complete;
} RunFacts;

typedef struct {
    char *path;
    Json *before; /* as it was found; NULL: there was none */
} Manifest;
bool manifest_open(Manifest *m, const char *dir, bool anew, Error *e); /* anew: without looking at the old one */
void manifest_close(Manifest *m);
/* Whether the images that are there were made with these options; else an error that says which differ. */
bool manifest_check(const Manifest *m, const Text *images, Error *e);
/* Writes the file: what it was, plus this run. */
bool manifest_write(const Manifest *m, const Text *images, const RunFacts *run, Error *e);
#endif
