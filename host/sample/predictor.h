/* predictor.h -- a score network on a device, as its predictions of x0. The state x stays on the device (f64, NHWC).
 * A call has `passes` passes over the rows of x: one, or two for classifier-free guidance, the second of which has the null class. */
#ifndef DG_PREDICTOR_H
#define DG_PREDICTOR_H
#include "run/net.h"
#include "sample/score.h"

typedef struct {
    Net *net; /* of batch * passes rows */
    Score *score;
    int batch, passes;
    Shape state;       /* of one image: n is 1 */
    size_t per_sample; /* h w c of it */
    double *in, *time; /* scratch, [batch * passes] */
    Affine *affine;    /* [batch] of the last fill */
} Predictor;

/* Finds the model by the file's configuration; open has it given. */
Predictor *predictor_new(Device *d, Weights *w, int batch, int passes, bool fuse, Error *e);
Predictor *predictor_open(Device *d, const Model *m, Weights *w, int batch, int passes, bool fuse, Error *e);
void predictor_free(Predictor *p);
/* label[rows]: classes; below 0: none. The second pass gets the null class. */
void predictor_set_labels(Predictor *p, int rows, const int *label);
/* net_fill at these levels: the network sees in * scale[i] * x (NULL: 1). p->affine has what its prediction then is. */
void predictor_fill(Predictor *p, int rows, int passes, void *table, const double *scale, const Level *level);
void predictor_enqueue(Predictor *p, int rows, int passes, const double *x, const void *table);
/* F of a pass of `rows` rows, for the state's channels; with `head` > 0, tail is the coefficient of the channels from there on. */
Term predictor_output(const Predictor *p, int rows, int pass, const double *coef, int head, const double *tail);
Term predictor_variance(const Predictor *p); /* the code of the learned variance, of the first pass */
/* Runs the passes on x, [batch][per_sample] f64 on the device, at sigma[batch] (host, alpha 1), outside of a replay. */
void predictor_run(Predictor *p, int passes, const double *x, const double *sigma);
/* x, [batch][per_sample] f64 on the device, becomes D(x; sigma) at sigma[batch] (host, alpha 1); false: there is no memory for the
 * coefficients on the device.                                                                                             */
bool predictor_apply(Predictor *p, double *x, const double *sigma, Error *e);
#endif
