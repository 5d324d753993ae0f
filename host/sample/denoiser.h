/* denoiser.h -- a score network under its preconditioner: D(x; sigma). The state x stays on the device (f64, NHWC). */
#ifndef DG_DENOISER_H
#define DG_DENOISER_H
#include "models/edm.h"
#include "run/net.h"

typedef struct {
    Net *net;
    const NetworkConfig *config;
    int batch;
    size_t per_sample;      /* R*R*C */
    double *c_in, *c_noise; /* scratch */
} Denoiser;

Denoiser *denoiser_new(Device *d, Weights *w, int batch, bool fuse, Error *e);
void denoiser_free(Denoiser *d);
/* x, [batch][per_sample] f64 on the device, becomes D(x; sigma) at sigma[batch] (host); false: there is no memory for the
 * coefficients on the device.                                                                                             */
bool denoiser_apply(Denoiser *d, double *x, const double *sigma, Error *e);
/* The network alone, which sees c_in*x: afterwards D = c_skip*x + c_out*F, with F at net_output(d->net) and the
 * preconditioning in coef[batch].                                                                         */
void denoiser_run(Denoiser *d, const double *x, const double *sigma, PrecondCoef *coef);
/* net_fill at these noise levels, for net_enqueue: the network sees c_in * scale[i] * x (NULL: 1); of the first `rows` images. */
void denoiser_fill(Denoiser *d, int rows, void *table, const double *scale, const double *sigma, PrecondCoef *coef);
#endif
