/* schedule.h -- noise levels and time: the choices of EDM's Table 1, in f64. No device, no network runs here. */
#ifndef DG_SCHEDULE_H
#define DG_SCHEDULE_H
#include "sample/sampler.h"

typedef struct { /* sigma(t) and s(t), with the VP constants refitted to the range in use */
    Schedule schedule;
    Scaling scaling;
    double beta_d, beta_min;
} TimeMap;
double time_sigma(const TimeMap *m, double t);
double time_sigma_slope(const TimeMap *m, double t); /* d sigma / dt */
double time_of_sigma(const TimeMap *m, double sigma);
double time_scale(const TimeMap *m, double t);       /* s(t) */
double time_scale_slope(const TimeMap *m, double t);

/* t[0..num_steps], decreasing, t[num_steps] = 0. One step runs from the highest noise level to 0.
 * Without `ablation` the options' schedule and scaling are EDM's own: linear, none.              */
bool schedule_steps(const SampleOptions *o, const NetworkConfig *c, TimeMap *m, double *t, Error *e);
#endif
