/* pipeline.c -- batches through the sampler. */
#include "program/pipeline.h"
#include <stdlib.h>
#include <string.h>

enum { HOPELESS = 8 /* images, none of them finite: the others would not be either */ };

/* A batch: the images of one run of the sampler. While the next one runs, the last one comes home and is delivered. */
typedef struct {
    int n, slot;    /* images, fewer than the pipeline's batch in the last one; the sampler's slot they are in */
    uint64_t *seed; /* [batch] */
    int *label;
    double *state; /* [batch][per image], for latents; or NULL */
} Batch;
/* From NHWC in double to NCHW in float. */
static void to_nchw(Shape s, const double *state, float *out) {
    size_t channels = (size_t)s.c, pixels = (size_t)s.h * (size_t)s.w;
    for (size_t c = 0; c < channels; c++)
        for (size_t i = 0; i < pixels; i++) out[c * pixels + i] = (float)state[i * channels + c];
}
/* Hands over the finished images of a batch, but for those that are not finite. */
static bool deliver(Pipeline *p, const Batch *b, Error *e) {
    static const FeatureKind feature[2] = {FEATURE_POOL, FEATURE_SPATIAL};
    uint8_t *bytes;
    const int *bad;
    sampler_images_end(p->sampler, b->slot, &bytes, &bad);
    Picture picture = sampler_picture(p->sampler);
    Shape shape = sampler_shape(p->sampler);
    size_t size = picture_bytes(&picture), values = shape_count(shape), n = (size_t)b->n, good = 0;
    uint64_t *seed = dg_alloc(n * sizeof *seed);
    int *label = dg_alloc(n * sizeof *label);
    float *row[2] = {NULL, NULL};
    size_t dims[2] = {0, 0};
    for (int k = 0; k < 2 && p->features; k++)
        if ((dims[k] = (size_t)features_dims(p->features, feature[k])) > 0) row[k] = features_rows(p->features, b->slot, feature[k]);
    float *state = p->latents ? dg_alloc(n * values * sizeof *state) : NULL;
    for (size_t i = 0; i < n; i++) {
        if (bad[i]) {
            seeds_add(&p->bad, b->seed[i], 1);
            continue;
        }
        if (state) to_nchw(shape, b->state + i * values, state + good * values);
        if (good != i) memmove(bytes + good * size, bytes + i * size, size);
        for (int k = 0; k < 2 && good != i; k++)
            if (row[k]) memmove(row[k] + good * dims[k], row[k] + i * dims[k], dims[k] * sizeof *row[k]);
        seed[good] = b->seed[i], label[good++] = b->label[i];
    }
    Delivered d = {.count = (int)good,
                   .seed = seed,
                   .label = label,
                   .bytes = bytes,
                   .state = state,
                   .picture_bytes = size,
                   .pool = row[0],
                   .spatial = row[1]};
    bool ok = true;
    device_range_push(sampler_device(p->sampler), SPAN_DELIVER);
    for (int i = 0; i < p->sinks && ok; i++) ok = p->sink[i].put(p->sink[i].context, &d, e);
    device_range_pop(sampler_device(p->sampler), SPAN_DELIVER);
    p->shown += good;
    p->delivered += n;
    p->hopeless = !p->before && p->delivered >= HOPELESS && p->bad.count == p->delivered;
    free(seed), free(label), free(state);
    return ok && !p->hopeless;
}
static void fill(const Pipeline *p, Batch *b, size_t at) {
    size_t batch = (size_t)p->batch, left = p->todo->count - at;
    b->n = (int)(left < batch ? left : batch);
    for (size_t i = 0; i < (size_t)b->n; i++) {
        b->seed[i] = seeds_at(p->todo, at + i);
        b->label[i] = class_of_seed(&p->class_rule, p->classes, b->seed[i]);
    }
}
/* A run of the sampler over `now`. `before`, finished and not delivered yet (or NULL), is delivered once the device is busy. */
static Outcome sample(Pipeline *p, const Batch *now, const Batch *before, Error *e) {
    Sampler *s = p->sampler;
    sampler_begin(s, now->n, &(SampleNoise){.seed = now->seed}, now->label);
    for (int step = 1, steps = sampler_steps(s); sampler_step(s); step++) {
        if (step == 1 && before && !deliver(p, before, e)) return OUTCOME_FAILED;
        progress_show(&p->progress, (double)p->sampled + (double)now->n * step / steps);
        if (p->tick) p->tick(p->context);
        if (interrupted(p->interrupt)) return OUTCOME_INTERRUPTED;
    }
    sampler_images_begin(s, now->slot);
    if (p->features) features_begin(p->features, now->slot, sampler_images_device(s, now->slot), now->n);
    if (now->state) sampler_state(s, now->state);
    p->counts = sampler_counts(s);
    p->sampled += (size_t)now->n;
    progress_show(&p->progress, (double)p->sampled);
    return OUTCOME_DONE;
}
Outcome pipeline_run(Pipeline *p, Error *e) {
    size_t batch = (size_t)p->batch, values = shape_count(sampler_shape(p->sampler));
    Batch slot[SAMPLER_SLOTS];
    const Batch *before = NULL;
    Outcome outcome = OUTCOME_DONE;
    for (int i = 0; i < SAMPLER_SLOTS; i++)
        slot[i] = (Batch){.slot = i,
                          .seed = dg_alloc(batch * sizeof(uint64_t)),
                          .label = dg_alloc(batch * sizeof(int)),
                          .state = p->latents ? dg_alloc(batch * values * sizeof(double)) : NULL};
    for (size_t at = 0, k = 0; at < p->todo->count && outcome == OUTCOME_DONE; at += batch, k++) {
        Batch *now = &slot[k % SAMPLER_SLOTS];
        fill(p, now, at);
        profiler_next(&p->profiler);
        device_range_push_number(sampler_device(p->sampler), SPAN_BATCH, (int)k);
        outcome = sample(p, now, before, e);
        device_range_pop(sampler_device(p->sampler), SPAN_BATCH);
        before = outcome == OUTCOME_DONE ? now : NULL;
    }
    profiler_end(&p->profiler, "batches");
    if (before && !deliver(p, before, e)) outcome = OUTCOME_FAILED;
    for (int i = 0; i < SAMPLER_SLOTS; i++) free(slot[i].seed), free(slot[i].label), free(slot[i].state);
    return outcome;
}
