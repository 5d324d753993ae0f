/* gauss_model.h -- the score network of Gaussian data (gauss_model.c). */
#ifndef DG_GAUSS_MODEL_H
#define DG_GAUSS_MODEL_H
#include "models/edm.h"

enum { GAUSS_SIZE = 2, GAUSS_CHANNELS = 3, GAUSS_VALUES = GAUSS_SIZE * GAUSS_SIZE * GAUSS_CHANNELS };
#define GAUSS_MEAN(c)   (.3 - .25 * (c))
#define GAUSS_SHIFT     .4
#define GAUSS_DEVIATION .6
typedef struct {
    Prediction prediction;
    bool learned_range, cosine;
    NetworkConfig edm;
} GaussConfig;
typedef struct { /* x times the state and mean times the data's mean */
    double x, mean;
} GaussLinear;
GaussLinear gauss_prediction(double alpha, double sigma);    /* the best one of x0 */
GaussLinear gauss_output(const GaussConfig *c, double time); /* F of its input */
double gauss_code(double time);                              /* the variance code */
double gauss_alpha_bar(int timestep, bool cosine);           /* of 1000 timesteps */
extern const Model model_gauss;
#endif
