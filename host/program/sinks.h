/* sinks.h -- where finished images go: a folder, a grid. */
#ifndef DG_SINKS_H
#define DG_SINKS_H
#include "base/seeds.h"
#include "files/image.h"
#include "files/writer.h"
#include "measure/features.h"

typedef struct { /* images of one batch, all of them finite */
    int count;
    const uint64_t *seed;        /* [count], as the rest */
    const int *label;            /* below 0: none */
    const uint8_t *bytes;        /* of pictures, NHWC */
    const float *state;          /* the sampler's result itself, NCHW; NULL: nobody wanted it */
    size_t picture_bytes;        /* of one */
    const float *pool, *spatial; /* features, a row an image; NULL: nobody wanted them */
} Delivered;
typedef struct {
    bool (*put)(void *context, const Delivered *d, Error *e);
    void *context;
} Sink;

Sink sink_writer(Writer *w); /* the state where there is one, else the bytes */
typedef struct {
    ImageGrid *grid;
    const SeedList *wanted; /* where the tiles stand */
} GridPlaces;
Sink sink_grid(GridPlaces *g);
#endif
