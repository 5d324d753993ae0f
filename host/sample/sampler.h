/* sampler.h -- the samplers of EDM (Algorithm 2, and the ablation sampler of its Table 1) and of Discriminator Guidance.
 * The host computes per-sample coefficient tables in f64; the state lives on the device.                              */
#ifndef DG_SAMPLER_H
#define DG_SAMPLER_H
#include "sample/denoiser.h"
#include "sample/guidance.h"
#include "sample/schedule.h"

SampleOptions sample_defaults(void);
bool sample_check(const SampleOptions *o, Error *e); /* the values by themselves; sampler_new does it too */

typedef struct Sampler Sampler; /* device buffers for a batch, of which a run takes as many images as it has */
/* guide may be NULL. Checks that options, networks and batch fit together. */
Sampler *sampler_new(const SampleOptions *o, Denoiser *d, Guide *g, Error *e);
void sampler_free(Sampler *s);
/* Where a batch's noise comes from: */
typedef struct {
    const uint64_t *seed;       /* [rows], counter-based noise (rng.h); or, when NULL: */
    const double *latents;      /* recorded: [rows][per_sample] NHWC, unit variance */
    const double *const *noise; /* recorded: [num_steps] of the same; NULL when no step adds noise */
} SampleNoise;
/* Called after every step. On a GPU, where work is only enqueued, it is called when the step before has been done, so that the
 * device never waits for the host. Returning false stops early; sampler_run then returns false.                            */
typedef bool (*StepFn)(void *ctx, int step, int steps);
/* rows: the images of this run, from 1 to the batch; each is computed as it is in a full batch, and no others are. What is
 * asked of the sampler afterwards is about them. label[rows]: below 0, none.                                               */
bool sampler_run(Sampler *s, int rows, const SampleNoise *noise, const int *label, StepFn step, void *ctx);
void sampler_state(Sampler *s, double *x);               /* [rows][per_sample] NHWC, after a run */
void sampler_images(Sampler *s, uint8_t *out, int *bad); /* NHWC bytes; bad[rows]: non-finite elements */
/* How many steps of a run have their first evaluation in the guidance's time window, when no sample is boosted. -1: e says why
 * there is no such number.                                                                                                 */
int sample_guided_steps(const SampleOptions *o, const NetworkConfig *c, Error *e);
/* sampler_images in two halves: the images of one batch are downloaded while the next is computed. Call begin after a run, and
 * end when the images are needed. They belong to the sampler, and are valid until the next begin with that slot.           */
enum { SAMPLER_SLOTS = 2 };
void sampler_images_begin(Sampler *s, int slot);
void sampler_images_end(Sampler *s, int slot, uint8_t **images, const int **bad);
int sampler_calls(const Sampler *s, int *guided); /* network (and guide) evaluations per batch of the last run */
#endif
