/* pipeline.h -- from seeds to images: batches through the sampler; while one is computed, the one before is handed over. */
#ifndef DG_PIPELINE_H
#define DG_PIPELINE_H
#include "base/interrupt.h"
#include "base/progress.h"
#include "base/seeds.h"
#include "files/image.h"
#include "files/writer.h"
#include "program/networks.h"

typedef enum { CLASS_SEEDED = -1, CLASS_BALANCED = -2 } ClassRule;
typedef struct {
    Engine *engine;
    const NetworkConfig *config;
    const SeedList *todo;   /* the seeds of this run */
    const SeedList *wanted; /* where the grid's tiles stand */
    int class_rule;         /* a class, or a ClassRule */
    bool latents;           /* hand over the sampler's floats, NCHW, instead of bytes */
    const Interrupt *interrupt;
    /* Where images go: a writer, or a grid alone. */
    Writer *writer;              /* or NULL */
    Grid *grid;                  /* or NULL */
    void (*tick)(void *context); /* now and then; or NULL */
    void *context;
    /* What comes of it. */
    Progress progress;
    size_t sampled, shown; /* images: computed; handed over without a writer */
    size_t delivered;      /* brought home, those that are not finite included */
    bool hopeless;         /* none of the first images is finite: it stopped */
    int network_calls, guided_calls;
    SeedList bad; /* not finite: not handed over */
} Pipeline;
Outcome pipeline_run(Pipeline *p, Error *e);
#endif
