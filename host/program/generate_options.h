/* generate_options.h -- the options of `generate`. */
#ifndef DG_GENERATE_OPTIONS_H
#define DG_GENERATE_OPTIONS_H
#include "program/checkpoint_options.h"
#include "program/device_options.h"
#include "sample/sampler.h"

typedef struct {
    const char *network, *extractor, *discriminator, *preset, *seeds, *class_name, *outdir, *grid;
    int format, npz_keys, batch, grid_columns, grid_scale;
    bool save_latents, subdirs, overwrite, dry_run;
    SampleOptions sample;
    CheckpointOptions checkpoint;
    DeviceOptions device;
} GenerateOptions;

int generate_run(const Args *a, Error *e); /* generate.c */
#endif
