/* autotune.h -- which of several implementations runs a layer: measured once per device and layer, then remembered in a file.
 *
 * The choice is made at one reference batch size, never per batch, so that images do not depend on it. The file is a cache:
 * one that cannot be read is measured anew, never an error. It holds, after a line that names the format, a line per choice:
 *   DEVICE <tab> LAYER <tab> IMPLEMENTATION <tab> {"IMPLEMENTATION": MICROSECONDS, ...}                                      */
#ifndef DG_AUTOTUNE_H
#define DG_AUTOTUNE_H
#include "base/error.h"
#include "base/text.h"

typedef struct Autotune Autotune;
/* device: everything that a measurement depends on beside the layer, as one line: GPU, driver, libraries' versions.
 * path may be NULL: nothing is remembered. A file that is not ours is left alone, and *refused then says why (may be NULL). */
Autotune *autotune_open(const char *path, const char *device, Error *refused);
/* Writes the file if there is anything new (choices that other runs added meanwhile are kept), and frees a. A folder that
 * cannot be written is no failure of a run: returns false with a sentence.                                                */
bool autotune_close(Autotune *a, Error *e);

/* Seconds of one call of candidate i at the reference batch; anything not finite and positive: it cannot run the layer. */
typedef double (*AutotuneTime)(void *context, int candidate);
/* The index of the candidate to use: the remembered one if it is among them, else the fastest. The first candidate is our own:
 * it stays unless another is clearly faster, so that noise does not decide between equals.                                   */
int autotune_choose(Autotune *a, const char *layer, const char *const *candidate, int candidates, AutotuneTime time, void *context);
/* The choices of this run, for the manifest, as JSON objects: what images depend on, {layer: implementation}; and how it came to
 * be, {"device": ..., "layers": {layer: {"runs": implementation, "remembered": bool, "microseconds": {...}}}}.            */
void autotune_chosen(const Autotune *a, Text *t);
void autotune_measured(const Autotune *a, Text *t);
char *autotune_path(void); /* autotune.txt in cache_folder(), to be freed; NULL where there is none */
#endif
