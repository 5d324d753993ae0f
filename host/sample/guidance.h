/* guidance.h -- what a gradient term of the guidance is made of: networks forward, a seed, backward to the input, as one graph.
 *
 *   discriminator  (Kim et al. 2023, arXiv 2211.17091; sampler of alsdudrla10/DG) extractor and head, masked seed at the logit:
 *                  L = clamp(logit), which is ln p - ln(1 - p)
 *   classifier     (Dhariwal and Nichol 2021, arXiv 2105.05233; classifier_sample.py of guided-diffusion) one network with the pool of
 *                  its own file, seed onehot - softmax at the logits: L = ln p(y)
 *
 * For the VE state x at noise level s: tau(s) = (-b0 + sqrt(b0^2 + 2 (b1-b0) ln(1+s^2)))/(b1-b0), b0 0.1, b1 20;
 * m = 1/sqrt(1+s^2) in its official form; z = m x in fp32; G = -s^2 m dL/dz. A state alpha x has the same z.             */
#ifndef DG_GUIDANCE_H
#define DG_GUIDANCE_H
#include "models/adm_encoder.h"
#include "run/net.h"
#include "sample/score.h"

/* What the backward pass starts with in fp16, which has only 5 exponent bits; guidance.c says why. */
#define GUIDE_SEED_SCALE_F16 256.0
typedef struct {
    Net *net;                              /* of the extractor and, on its features, the head; or of the classifier */
    const EncoderConfig *extractor, *head; /* head NULL: the extractor is a classifier */
    bool cosine;                           /* the networks' time is the cosine schedule's */
    int batch;
    size_t per_sample;
    Tid features, logit; /* logit: {n,1,1,1}, or the classifier's of all classes */
    Tid log_ratio, seed; /* the discriminator's */
    Tid onehot;          /* of the class, times seed_scale: the classifier's */
    double seed_scale;   /* what the backward pass is started with: > 1 keeps fp16 gradients in range; divided out in G */
    double *mean, *time; /* scratch */
} Guide;
typedef struct {
    double tau, mean_vp, time; /* time: what the nets get, before the factor 999 (= tau, or its cosine form) */
} GuideTime;

/* Which time the extractor was trained on: what its configuration says, or this. */
typedef enum { CLOCK_OF_FILE, CLOCK_LINEAR, CLOCK_COSINE } GuideClock;
typedef struct {
    bool fuse;
    bool keep; /* the features and the logit outlive a run */
    GuideClock clock;
} GuideOptions;

/* Builds, fuses, differentiates, plans and binds. head NULL: `extractor` is a classifier. */
Guide *guide_new(Device *d, Weights *extractor, Weights *head, int batch, GuideOptions o, Error *e);
/* The same from the configurations alone, up to the plan of its memory: it cannot run. */
Guide *guide_plan(const Json *extractor, const Json *head, Precision precision, int batch, GuideOptions o, Error *e);
void guide_free(Guide *g);
int guide_classes(const Guide *g); /* labels have to be below this; 0: no network takes one */
/* label[rows]: a classifier needs one for each image; of a discriminator, below 0: none. */
void guide_set_labels(Guide *g, int rows, const int *label);
double guide_tau(double sigma);
GuideTime guide_time(const Guide *g, double sigma);
/* net_fill for these levels, for net_enqueue, of the first `rows` images; scale[i] x is alpha x0 + sigma eps (NULL: 1). Afterwards
 * gradient[i] times the term that net_output(g->net) describes is dL over d(scale x). time[rows]: what the nets get before the
 * factor 999; NULL: as it follows from the level.                                                                        */
void guide_fill(Guide *g, int rows, void *table, const Level *level, const double *scale, const double *time, double *gradient);
void guide_log_ratio(Guide *g, int rows, double *out); /* the discriminator's of the last run, which it downloads */
/* Runs the graph on x [batch][per_sample] f64 (device) at sigma[batch] of alpha 1. Afterwards G = coef[i] times the same term;
 * coef[batch] (caller's) is filled with -s^2 m / seed_scale.                                                            */
void guide_run(Guide *g, const double *x, const double *sigma, double *coef);
/* x, [batch][per_sample] f64 on the device, becomes G(x; sigma) at sigma[batch] (host); false: there is no memory for the
 * coefficients on the device.                                                                                             */
bool guide_apply(Guide *g, double *x, const double *sigma, Error *e);
#endif
