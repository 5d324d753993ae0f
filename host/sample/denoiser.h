/* denoiser.h -- a score network bound to a device: preconditioning, time and label inputs, one Exec.
 * The state x stays on the device (f64, NHWC); only per-sample scalars and embeddings cross.           */
#ifndef DG_DENOISER_H
#define DG_DENOISER_H
#include "device/device.h"
#include "models/models.h"

typedef struct {
    NetworkConfig config;
    Graph *graph;
    Exec *exec;
    NetworkGraph net;
    Device *dev;
    int batch;
    size_t per_sample; /* R*R*C */
    float *freqs;      /* Fourier embedding buffer, or NULL */
    float *embedding;  /* scratch [batch][noise_channels] */
    Tid table;         /* an input that no op reads: the device's table of denoiser_run, planned with the rest */
    void *host_table;
} Denoiser;

/* Builds, fuses (when `fuse`), plans and binds; checks that the file holds nothing unexpected. */
Denoiser *denoiser_new(Device *d, Weights *w, int batch, bool fuse, Error *e);
void denoiser_free(Denoiser *d);
/* label[batch]: class indices; -1: all-zero one-hot. Ignored by unconditional networks. */
void denoiser_set_labels(Denoiser *d, const int *label);
void denoiser_set_onehot(Denoiser *d, const float *onehot); /* [batch][label_dim], unscaled */
/* x, [batch][per_sample] f64 on the device, becomes D(x; sigma) at sigma[batch] (host); false: there is no memory for the
 * coefficients on the device.                                                                                             */
bool denoiser_apply(Denoiser *d, double *x, const double *sigma, Error *e);
/* The network alone, which sees c_in*x: afterwards D = c_skip*x + c_out*F, with F at denoiser_output(d) (type of its tensor) and
 * the preconditioning in coef[batch].                                                                                     */
void denoiser_run(Denoiser *d, const double *x, const double *sigma, PrecondCoef *coef);
Term denoiser_output(const Denoiser *d, const double *coef); /* coef: device, [batch] */
/* denoiser_run in two halves, for work that is replayed (device/device.h): fill puts what a run takes from the host into `table` (host,
 * denoiser_table_bytes), enqueue runs F with a copy of it in device memory. Both tables are aligned for a double. The network
 * sees c_in * scale[i] * x (NULL: 1).                                                                                     */
size_t denoiser_table_bytes(const Denoiser *d);
void denoiser_fill(Denoiser *d, void *table, const double *scale, const double *sigma, PrecondCoef *coef);
void denoiser_enqueue(Denoiser *d, const double *x, const void *table);
#endif
