/* records.h -- the runs that a manifest lists: a record for each, those of the same command as one.
 *
 *   {"started": UTC, "last started": UTC, "runs": 3, "complete": true, "images wanted": 64, "already there": 0, "made": 64, device, timings,
 *    options, "run": its name, as long as it goes on or nobody has counted what it made}
 *
 * Beyond MOST_RECORDS the oldest are summed up in one that has the "seeds" of all of them, and no options.             */
#ifndef DG_RECORDS_H
#define DG_RECORDS_H
#include "base/seeds.h"
#include "program/cli.h"
#include "program/networks.h"

enum { MOST_RECORDS = 500 };
typedef struct { /* of one run */
    const Args *args;
    const Device *device;
    const Networks *networks;
    const char *run, *started; /* its name; UTC, ISO 8601 */
    size_t wanted, present, made;
    int batch, network_calls, guided_calls; /* calls per image */
    double seconds;
    bool complete, over;
} RunFacts;
typedef struct { /* a run that was killed */
    const char *run;
    size_t made; /* as was found in the folder */
} Counted;

/* The JSON array of the records in `before` (NULL: none), with the counts of dead runs, and with this run's record as it is now;
 * a run that is over and has made nothing has none.                                                                    */
void records_print(Text *out, const Json *before, const RunFacts *own, const Counted *dead, int deads);
SeedList records_seeds(const Json *records); /* the set of all seeds that they list */
/* What was measured and chosen on this device (--provider), appended as a member; nothing where nothing can be. */
void print_choices(Text *out, const char *key, const Device *d, bool how);
const char *dtype_of(const Device *d);
#endif
