/* vae_encoder.h -- an autoencoder's encoder on a device: from pictures to the mean and the variance of their latents, a few pictures at a
 * time, and latents drawn from these. What comes of a picture depends on it and its seed alone.                           */
#ifndef DG_VAE_ENCODER_H
#define DG_VAE_ENCODER_H
#include "run/net.h"

typedef struct {
    Net *net;      /* of `rows` pictures, f64: bytes / 127.5 - 1 */
    int rows;      /* pictures at a time */
    int size;      /* pixels of a side */
    Shape latents; /* of one picture */
    double scale;  /* latents are the autoencoder's own times this */
} VaeEncoder;

/* Squares of `size` pixels; 0: the autoencoder's own. */
VaeEncoder *vae_encoder_new(Device *d, Weights *w, int size, int rows, bool fuse, Error *e);
void vae_encoder_free(VaeEncoder *v); /* v may be NULL */
/* x: [rows][size][size][3], f64 on the device. */
void vae_encoder_enqueue(VaeEncoder *v, int rows, const double *x);
/* Waits; moments: [rows][height][width][2 c], the means and then the logarithms of the variances. */
void vae_encoder_moments(VaeEncoder *v, int rows, double *moments);
/* One picture's latents, [c][height][width], of its moments: the mean, or with a seed a sample. False: they are not finite. */
bool vae_encoder_latents(const VaeEncoder *v, const double *moments, const uint64_t *seed, float *out);
#endif
