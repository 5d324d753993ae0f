/* sampler.h -- the samplers: programs (edm.c, ddpm.c, flow.c, dpm.c) on one machine (sampler.c). The host computes per-sample
 * coefficient tables in f64; the state lives on the device, and a step is one copy of the table and one replayable piece of work.
 *
 *     sampler_begin(s, rows, &noise, label);
 *     while (sampler_step(s)) { ... }                                                                                   */
#ifndef DG_SAMPLER_H
#define DG_SAMPLER_H
#include "sample/decoder.h"
#include "sample/guidance.h"
#include "sample/predictor.h"
#include "sample/terms.h"

typedef struct {          /* what a sampler computes with; all of one batch size, on one device */
    Predictor *network;   /* of two passes where there is classifier-free guidance */
    Predictor *guiding;   /* autoguidance's, or NULL */
    Guide *discriminator; /* or NULL */
    Guide *classifier;    /* or NULL */
    Decoder *decoder;     /* of latents, to pictures; NULL: the state is the picture */
} SampleNetworks;
typedef struct {                                   /* evaluations, for one image */
    int steps, network, guiding, term[TERM_KINDS]; /* network: passes, those of the null class included */
} SampleCounts;

typedef struct Sampler Sampler; /* device buffers for a batch, of which a run takes as many images as it has */
/* Options as resolved. Checks that they and the networks fit together. */
Sampler *sampler_new(const SampleOptions *o, const SampleNetworks *n, Error *e);
void sampler_free(Sampler *s);
/* Where a batch's noise comes from: */
typedef struct {
    const uint64_t *seed;       /* [rows], counter-based noise (rng.h); or, when NULL: */
    const double *latents;      /* recorded: [rows][per_sample] NHWC, unit variance */
    const double *const *noise; /* recorded: [steps] of the same, in the order of the steps; NULL when no step adds noise */
} SampleNoise;
/* rows: the images of this run, from 1 to the batch; each is computed as it is in a full batch, and no others are. What is
 * asked of the sampler afterwards is about them. label[rows]: below 0, none. What noise points to is read until the last step. */
void sampler_begin(Sampler *s, int rows, const SampleNoise *noise, const int *label);
/* Enqueues the next step; false: there was none left. On a GPU it returns when the step before has been done, so that the device
 * never waits for the host.                                                                                             */
bool sampler_step(Sampler *s);
int sampler_steps(const Sampler *s); /* of a run */
Device *sampler_device(const Sampler *s);
Shape sampler_shape(const Sampler *s);         /* of the state of one image */
void sampler_state(Sampler *s, double *x);     /* [rows][per_sample] NHWC, as it is now */
SampleCounts sampler_counts(const Sampler *s); /* of the run so far */
/* The pictures of a finished run, as bytes, in two halves: those of one batch are downloaded while the next is computed. begin comes
 * after a run, end when they are needed. They belong to the sampler, and are valid until the next begin with that slot.  */
enum { SAMPLER_SLOTS = 2 };
Picture sampler_picture(const Sampler *s);
void sampler_images_begin(Sampler *s, int slot);
const uint8_t *sampler_images_device(const Sampler *s, int slot);                 /* on the device, from begin on */
void sampler_images_end(Sampler *s, int slot, uint8_t **images, const int **bad); /* bad[rows]: non-finite elements */

/* Whether a network of a run sees the images that the score network makes. */
bool sample_same_images(const char *what, Shape s, Shape network, Error *e);
/* What a run will count when no sample is boosted, without a device. False: e says why there is no such number. */
bool sample_count(const SampleOptions *o, const Score *score, SampleCounts *c, Error *e);
#endif
