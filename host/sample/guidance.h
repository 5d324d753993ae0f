/* guidance.h -- Discriminator Guidance (Kim et al. 2023, arXiv 2211.17091; sampler of alsdudrla10/DG): extractor and head
 * forward, masked seed at the logit, backward to the input, as one graph.
 *
 * For the VE state x at noise level s: tau(s) = (-b0 + sqrt(b0^2 + 2 (b1-b0) ln(1+s^2)))/(b1-b0), b0 0.1, b1 20;
 * m = 1/sqrt(1+s^2) in its official form; z = m x in fp32; L = clamp(logit(z, tau)); G = -s^2 m dL/dz.             */
#ifndef DG_GUIDANCE_H
#define DG_GUIDANCE_H
#include "models/adm_encoder.h"
#include "run/net.h"

/* What the backward pass starts with in fp16, which has only 5 exponent bits; guidance.c says why. */
#define GUIDE_SEED_SCALE_F16 256.0
typedef struct {
    Net *net; /* of the extractor and, on its features, the head */
    const EncoderConfig *extractor, *head;
    bool cosine; /* the networks' time is the cosine schedule's */
    int batch;
    size_t per_sample;
    Tid features, logit, log_ratio, seed;
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

/* Builds, fuses, differentiates, plans and binds. */
Guide *guide_new(Device *d, Weights *extractor, Weights *head, int batch, GuideOptions o, Error *e);
/* The same from the configurations alone, up to the plan of its memory: it cannot run. */
Guide *guide_plan(const Json *extractor, const Json *head, Precision precision, int batch, GuideOptions o, Error *e);
void guide_free(Guide *g);
int guide_classes(const Guide *g); /* labels have to be below this; 0: neither network takes one */
double guide_tau(double sigma);
GuideTime guide_time(const Guide *g, double sigma);
/* x, [batch][per_sample] f64 on the device, becomes G(x; sigma) at sigma[batch] (host); false: there is no memory for the
 * coefficients on the device.                                                                                             */
bool guide_apply(Guide *g, double *x, const double *sigma, Error *e);
/* Runs the graph on x [batch][per_sample] f64 (device) at sigma[batch]. Afterwards G = coef[i] * gradient, the term
 * that net_output(g->net) describes; coef[batch] (caller's) is filled with -s^2 m / seed_scale.                    */
void guide_run(Guide *g, const double *x, const double *sigma, double *coef);
/* net_fill at these noise levels, for net_enqueue; and the log ratios of the last run, which it downloads: of the first `rows`
 * images.                                                                                                                 */
void guide_fill(Guide *g, int rows, void *table, const double *sigma, double *coef);
void guide_log_ratio(Guide *g, int rows, double *out);
#endif
