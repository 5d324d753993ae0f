/* generate_options.h -- the options of `generate`. */
#ifndef DG_GENERATE_OPTIONS_H
#define DG_GENERATE_OPTIONS_H
#include "program/checkpoint_options.h"
#include "program/device_options.h"
#include "base/seeds.h"
#include "program/networks.h"
#include "program/run_measure.h"
#include "program/sample_options.h"
#include "program/tracing.h"

typedef struct {
    const char *network, *extractor, *discriminator, *gnet, *classifier, *vae, *preset, *seeds, *class_name, *outdir, *grid;
    int format, npz_keys, batch, vae_batch, grid_columns, grid_scale;
    bool save_latents, subdirs, overwrite, dry_run;
    char *stats; /* the name that the statistics were given; freed by the run */
    SampleOptions sample;
    MeasureOptions measure;
    CheckpointOptions checkpoint;
    DeviceOptions device;
    TraceOptions tracing;
} GenerateOptions;

/* generate_check.c: what can be wrong before any file is opened; completes the options. */
bool generate_check(GenerateOptions *o, const Args *a, SeedList *wanted, Error *e);
/* Whether the files that are asked for can hold the network's images. */
bool generate_check_images(const GenerateOptions *o, const Networks *n, Error *e);
void generate_paths(const GenerateOptions *o, const char *path[ROLES]);      /* by role; NULL: not given */
void generate_read_paths(const GenerateOptions *o, const char *path[ROLES]); /* those that the run needs */
int generate_run(const Args *a, Error *e);                                   /* generate.c */
typedef struct {                                                             /* of a run with --metrics */
    EvalResult result;
    uint64_t images;
    double seconds; /* of sampling, in this run */
} Measured;
/* The same of `generate --metrics ...` for other commands: shows its progress, and leaves the printing of the result to them. */
int generate_measure(const Args *a, Measured *out, Error *e);
#endif
