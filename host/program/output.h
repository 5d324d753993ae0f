/* output.h -- the folder that a run writes into and may share with other runs: what is there, the run's claim on its seeds, its
 * record in the manifest. The folder is locked while one of these functions looks at it, not while images are made.      */
#ifndef DG_OUTPUT_H
#define DG_OUTPUT_H
#include "program/manifest.h"

typedef struct {
    StoreOptions store;
    const Args *args;
    const Device *device;
    const Networks *networks;
    const SeedList *wanted; /* in their order */
    const char *seeds;      /* the same as text */
    const char *const *input;
    int inputs;     /* files that the run reads, NULL: none. No old image that is one of them is removed */
    bool overwrite; /* start anew */
    bool read_back; /* images that are there will be read: check them wholly */
} OutputOptions;
typedef struct Output Output;

/* Looks at the folder, refuses what does not go together, claims the seeds that are not there. Nothing is removed or written but the
 * claim. *out is to be closed in any case.                                                                              */
Outcome output_open(Output **out, const OutputOptions *o, Error *e);
const SeedList *output_todo(const Output *o); /* in the wanted order */
Store *output_store(Output *o);
/* Once everything else is known to be good, the weights' hashes too: compares again, removes the old images where the run starts
 * anew, counts what dead runs have made, and records this one. f->run is the output's to fill.                          */
Outcome output_settle(Output *o, char (*hex)[SHA256_HEX], const RunFacts *f, Error *e);
/* Now and then, while images are made: the record as it is now. */
void output_update(Output *o, const RunFacts *f);
/* At the end: merges parts where `merge`, records what was made. The folder stays locked until output_close, so that what
 * store_get reads is what is there.                                                                                     */
Outcome output_finish(Output *o, const RunFacts *f, bool merge, Error *e);
void output_close(Output *o); /* o may be NULL */
#endif
