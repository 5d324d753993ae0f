/* schedule.h -- the noise levels and times that follow from EDM's options: EDM's Table 1, in f64. Nothing runs on a device here. */
#ifndef DG_SCHEDULE_H
#define DG_SCHEDULE_H
#include "sample/options.h"
#include "sample/score.h"

typedef struct { /* sigma(t) and s(t), with the VP constants refitted to the range in use */
    Schedule schedule;
    Scaling scaling;
    double beta_d, beta_min;
} TimeMap;
double time_sigma(const TimeMap *m, double t);
double time_sigma_slope(const TimeMap *m, double t); /* d sigma / dt */
double time_of_sigma(const TimeMap *m, double sigma);
double time_scale(const TimeMap *m, double t); /* s(t) */
double time_scale_slope(const TimeMap *m, double t);

/* The range of noise levels of an EDM sampler: the options', within the network's. */
bool schedule_range(const SampleOptions *o, const Score *score, double *lo, double *hi, Error *e);
/* t[0..num_steps], decreasing, t[num_steps] = 0. One step runs from the highest noise level to 0.
 * But for the ablation sampler, the options' schedule, scaling and discretization are EDM's own: linear, none, edm. */
bool schedule_steps(const SampleOptions *o, const Score *score, TimeMap *m, double *t, Error *e);
#endif
