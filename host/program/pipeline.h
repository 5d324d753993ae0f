/* pipeline.h -- from seeds to images: batches through the sampler; while one is computed, the one before is handed over. */
#ifndef DG_PIPELINE_H
#define DG_PIPELINE_H
#include "base/interrupt.h"
#include "base/progress.h"
#include "program/classes.h"
#include "program/sinks.h"
#include "program/tracing.h"

enum { MAX_SINKS = 4 };
typedef struct {
    Sampler *sampler;
    int batch;            /* images at a time */
    const SeedList *todo; /* the seeds of this run */
    size_t before;        /* images that earlier runs made, which are finite */
    int classes;          /* 0: images have none */
    ClassRule class_rule;
    bool latents;       /* hand over the sampler's floats too */
    Features *features; /* hand over the pictures' features too, room for a batch reserved; or NULL */
    const Interrupt *interrupt;
    Sink sink[MAX_SINKS];
    int sinks;
    Profiler profiler;
    void (*tick)(void *context); /* now and then; or NULL */
    void *context;
    /* What comes of it. */
    Progress progress;
    size_t sampled, shown; /* images: computed; handed over */
    size_t delivered;      /* brought home, those that are not finite included */
    bool hopeless;         /* none of the first images is finite: it stopped */
    SampleCounts counts;   /* of a run */
    SeedList bad;          /* not finite: not handed over */
} Pipeline;
Outcome pipeline_run(Pipeline *p, Error *e);
#endif
