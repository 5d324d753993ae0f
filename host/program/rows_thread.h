/* rows_thread.h -- rows of features, worked on by a thread while the device computes the next: one batch in hand, one being handed over. */
#ifndef DG_ROWS_THREAD_H
#define DG_ROWS_THREAD_H
#include "base/seeds.h"
#include "base/spans.h"
#include "program/sinks.h"

typedef struct { /* images, with a row of features each */
    int n;
    uint64_t *seed;
    float *pool, *spatial; /* spatial NULL: not wanted */
} FeatureRows;
typedef struct {
    bool (*work)(void *context, const FeatureRows *r, Error *e); /* never two at a time, in the order of the batches */
    void *context;
    int dims, spatial; /* of a row; spatial 0: not wanted */
    SeedList skip;     /* a set: images that are passed over; the owner's */
    bool threaded;     /* else it is done at once: a device that is the processor itself has no time to spare */
    Spans *spans;      /* or NULL */
} RowsWork;
typedef struct RowsThread RowsThread;
RowsThread *rows_thread_start(const RowsWork *w);
/* Copies the rows and returns; waits first while the batch before is worked on. False: an earlier one failed, e says why. */
bool rows_thread_put(RowsThread *t, const Delivered *d, Error *e);
bool rows_thread_finish(RowsThread *t, Error *e); /* waits for the last batch, frees t */
#endif
