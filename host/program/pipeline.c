/* pipeline.c -- batches through the sampler. */
#include "program/pipeline.h"
#include "base/rng.h"
#include <stdlib.h>
#include <string.h>

enum { HOPELESS = 8 /* images, none of them finite: the others would not be either */ };

/* A batch: the images of one run of the sampler. While the next one runs, the last one comes home and is delivered. */
typedef struct {
    Pipeline *p;
    int n, slot;    /* images, fewer than the engine's batch in the last one; the sampler's slot they are in */
    uint64_t *seed; /* [batch] */
    int *label;
    double *state; /* [batch][per image], for latents; or NULL */
} Batch;
static size_t values_of(const Pipeline *p) {
    return (size_t)p->config->img_resolution * (size_t)p->config->img_resolution * (size_t)p->config->img_channels;
}
static int label_of(const Pipeline *p, uint64_t seed) {
    int classes = p->config->label_dim;
    if (!classes) return -1;
    if (p->class_rule == CLASS_SEEDED) return philox_label(seed, classes);
    return p->class_rule == CLASS_BALANCED ? (int)(seed % (uint64_t)classes) : p->class_rule;
}
/* From NHWC in double to NCHW in float. */
static void latent_of(const Pipeline *p, const double *state, float *out) {
    size_t channels = (size_t)p->config->img_channels, pixels = values_of(p) / channels;
    for (size_t c = 0; c < channels; c++)
        for (size_t i = 0; i < pixels; i++) out[c * pixels + i] = (float)state[i * channels + c];
}
/* Hands over the finished images of a batch, but for those that are not finite. */
static bool deliver(const Batch *b, Error *e) {
    Pipeline *p = b->p;
    uint8_t *bytes;
    const int *bad;
    sampler_images_end(p->engine->sampler, b->slot, &bytes, &bad);
    size_t values = values_of(p), size = p->latents ? values * sizeof(float) : values, n = (size_t)b->n, good = 0;
    uint64_t *seed = dg_alloc(n * sizeof *seed);
    int *label = dg_alloc(n * sizeof *label);
    uint8_t *image = p->latents ? dg_alloc(n * size) : bytes;
    for (size_t i = 0; i < n; i++) {
        if (bad[i]) {
            seeds_add(&p->bad, b->seed[i], 1);
            continue;
        }
        if (p->grid) grid_set(p->grid, (int)seeds_position(p->wanted, b->seed[i]), bytes + i * values);
        if (p->latents) latent_of(p, b->state + i * values, (float *)(void *)(image + good * size));
        else if (good != i) memmove(image + good * size, image + i * size, size);
        seed[good] = b->seed[i], label[good++] = b->label[i];
    }
    bool ok = !p->writer || writer_put(p->writer, (int)good, seed, label, image, e);
    if (!p->writer) p->shown += good;
    p->delivered += n;
    p->hopeless = p->delivered >= HOPELESS && p->bad.count == p->delivered;
    if (p->latents) free(image);
    free(seed), free(label);
    return ok && !p->hopeless;
}
typedef struct {
    Batch *now, *before; /* before: finished, not delivered yet; or NULL */
    Error *error;
    bool ok; /* delivering has not failed */
} StepContext;
static bool after_step(void *ctx, int step, int steps) {
    StepContext *c = ctx;
    Pipeline *p = c->now->p;
    if (c->before) { /* the device is busy with the next batch by now */
        c->ok = deliver(c->before, c->error);
        c->before = NULL;
    }
    progress_show(&p->progress, (double)p->sampled + (double)c->now->n * (step + 1) / steps);
    if (p->tick) p->tick(p->context);
    return c->ok && !interrupted(p->interrupt);
}
static void fill(Batch *b, size_t at) {
    const Pipeline *p = b->p;
    size_t batch = (size_t)p->engine->batch, left = p->todo->count - at;
    b->n = (int)(left < batch ? left : batch);
    for (size_t i = 0; i < (size_t)b->n; i++) {
        b->seed[i] = seeds_at(p->todo, at + i);
        b->label[i] = label_of(p, b->seed[i]);
    }
}
Outcome pipeline_run(Pipeline *p, Error *e) {
    Sampler *sampler = p->engine->sampler;
    size_t batch = (size_t)p->engine->batch;
    Batch slot[SAMPLER_SLOTS];
    for (int i = 0; i < SAMPLER_SLOTS; i++)
        slot[i] = (Batch){.p = p,
                          .slot = i,
                          .seed = dg_alloc(batch * sizeof(uint64_t)),
                          .label = dg_alloc(batch * sizeof(int)),
                          .state = p->latents ? dg_alloc(batch * values_of(p) * sizeof(double)) : NULL};
    StepContext context = {.error = e, .ok = true};
    bool ok = true;
    for (size_t at = 0, k = 0; at < p->todo->count && ok; at += batch, k++) {
        Batch *b = context.now = &slot[k % SAMPLER_SLOTS];
        fill(b, at);
        ok = sampler_run(sampler, b->n, &(SampleNoise){.seed = b->seed}, b->label, after_step, &context);
        if (!ok) break;
        sampler_images_begin(sampler, b->slot);
        if (p->latents) sampler_state(sampler, b->state);
        context.before = b;
        p->network_calls = sampler_calls(sampler, &p->guided_calls);
        p->sampled += (size_t)b->n;
        progress_show(&p->progress, (double)p->sampled);
    }
    if (context.before && context.ok) context.ok = deliver(context.before, e);
    for (int i = 0; i < SAMPLER_SLOTS; i++) free(slot[i].seed), free(slot[i].label), free(slot[i].state);
    return !context.ok ? OUTCOME_FAILED : ok ? OUTCOME_DONE : OUTCOME_INTERRUPTED;
}
