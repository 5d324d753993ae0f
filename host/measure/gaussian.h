/* gaussian.h -- the mean and covariance of features, and the files that official tools keep them in. */
#ifndef DG_GAUSSIAN_H
#define DG_GAUSSIAN_H
#include "files/npz.h"

typedef struct {
    int dims;
    uint64_t count;     /* images; 0: a file that does not say */
    double *mean;       /* [dims] */
    double *covariance; /* [dims][dims] */
} Gaussian;
void gaussian_free(Gaussian *g);
/* .npz with mu, sigma (and num_images), as EDM, pytorch-fid and ADM write them, float or double. */
bool gaussian_read(const char *path, Gaussian *g, Error *e);
bool gaussian_write(const char *path, const Gaussian *g, Error *e);
/* The same of a file that is open: spatial takes and makes mu_s and sigma_s, ADM's names of the spatial features' statistics. */
bool gaussian_take(Npz *z, const char *path, bool spatial, Gaussian *g, Error *e);
bool gaussian_put(NpzWriter *w, bool spatial, const Gaussian *g, Error *e); /* without num_images */
bool gaussian_put_count(NpzWriter *w, uint64_t images, Error *e);
#endif
