/* bench.h -- the parts of the command `bench`: its options, the networks with real or made-up weights, and what `bench fid` measures. */
#ifndef DG_BENCH_H
#define DG_BENCH_H
#include "base/interrupt.h"
#include "program/checkpoint_options.h"
#include "program/device_options.h"
#include "program/networks.h"
#include "program/sample_options.h"
#include "program/tracing.h"

typedef struct {
    const char *network, *extractor, *discriminator, *gnet, *classifier, *vae, *synthetic, *synthetic_guide, *preset, *inception, *json;
    int batch, vae_batch, repeats, warmup, runs, images, output;
    bool ops;
    SampleOptions sample;
    CheckpointOptions checkpoint;
    DeviceOptions device;
    TraceOptions tracing;
} BenchOptions;
enum { BENCH_INPUTS = ROLES + 3 };
/* The files that are read, those of the roles first; NULL: not given. */
void bench_inputs(const BenchOptions *o, const char *path[BENCH_INPUTS]);
bool bench_open_networks(Networks *n, const BenchOptions *o, Error *e);

typedef struct {
    const BenchOptions *o;
    Device *device;
    const Networks *networks;
    const Engine *engine;
    Spans *spans; /* that the device records, of this thread */
    Profiler *profiler;
    const Interrupt *interrupt;
} FidBench;
int bench_by_value(const void *a, const void *b); /* doubles, for qsort */
void bench_print(const Text *json, int output);   /* md, csv or jsonl, by the option's number */
/* bench fid: whole runs from seeds to a Frechet distance. json: an object that is begun, whose members follow; stdout has the text.
 * False: e says why, or it was interrupted.                                                                               */
bool bench_fid(const FidBench *b, Text *json, Error *e);
#endif
