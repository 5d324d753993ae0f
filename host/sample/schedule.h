/* schedule.h -- the sampling options, and the noise levels and times that follow from them: EDM's Table 1, in f64. Nothing runs on a
 * device here. */
#ifndef DG_SCHEDULE_H
#define DG_SCHEDULE_H
#include "models/edm.h"

enum { MAX_STEPS = 100000 };
typedef enum { SOLVER_HEUN, SOLVER_EULER } Solver;
typedef enum { DISC_EDM, DISC_VP, DISC_VE, DISC_IDDPM } Discretization;
typedef enum { SCHEDULE_LINEAR, SCHEDULE_VP, SCHEDULE_VE } Schedule;
typedef enum { SCALING_NONE, SCALING_VP } Scaling;
typedef enum { GATE_SAMPLE, GATE_BATCH } Gate;
typedef struct { /* names are the official option names */
    int num_steps;
    double sigma_min, sigma_max; /* NAN: the sampler's default for the discretization */
    double rho, S_churn, S_min, S_max, S_noise;
    bool ablation; /* set when any of the next four was given */
    Solver solver;
    Discretization discretization;
    Schedule schedule;
    Scaling scaling;
    double dg_weight_1st_order, dg_weight_2nd_order, time_min, time_max;
    bool boosting;
    Gate dg_gate; /* sample (default): an image depends on its seed alone; batch: the official rule */
} SampleOptions;

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

bool sample_guided(const SampleOptions *o);       /* either weight is not 0 */
int sample_network_calls(const SampleOptions *o); /* evaluations of the network for one image */

/* t[0..num_steps], decreasing, t[num_steps] = 0. One step runs from the highest noise level to 0.
 * Without `ablation` the options' schedule and scaling are EDM's own: linear, none.              */
bool schedule_steps(const SampleOptions *o, const NetworkConfig *c, TimeMap *m, double *t, Error *e);
#endif
