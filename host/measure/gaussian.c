/* gaussian.c -- the mean and covariance of features, and the files that official tools keep them in. */
#include "measure/gaussian.h"
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

void gaussian_free(Gaussian *g) {
    free(g->mean);
    free(g->covariance);
    *g = (Gaussian){0};
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */
/* The values of an array with the given shape, as doubles. */
static double *finite_values(const NpyArray *a, const char *path, const char *name, Error *e) {
    double *x = dg_alloc(a->count * sizeof *x);
    for (size_t i = 0; i < a->count; i++) {
        x[i] = npy_value(a, i);
        if (isfinite(x[i])) continue;
        dg_error(e, "%s: array %s: value %zu is not a finite number", path, name, i);
        free(x);
        return NULL;
    }
    return x;
}
static const char *mean_name(bool spatial) { return spatial ? "mu_s" : "mu"; }
static const char *covariance_name(bool spatial) { return spatial ? "sigma_s" : "sigma"; }
/* Symmetric but for rounding (EDM sums on a GPU, others keep floats), and no variance below 0. */
static bool check_covariance(const Gaussian *g, const char *path, const char *name, Error *e) {
    size_t d = (size_t)g->dims;
    for (size_t i = 0; i < d; i++) {
        double variance = g->covariance[i * d + i];
        if (variance < 0) return dg_error(e, "%s: array %s: the variance of feature %zu is %g", path, name, i, variance);
    }
    for (size_t i = 0; i < d; i++)
        for (size_t j = 0; j < i; j++) {
            double one = g->covariance[i * d + j], other = g->covariance[j * d + i];
            if (fabs(one - other) > 1e-3 * sqrt(g->covariance[i * d + i]) * sqrt(g->covariance[j * d + j]))
                return dg_error(e, "%s: array %s is not symmetric: %g for features %zu and %zu, %g for the same the other way round", path,
                                name, one, i, j, other);
        }
    return true;
}
static bool take_arrays(const char *path, bool spatial, const NpyArray *mu, const NpyArray *sigma, Gaussian *g, Error *e) {
    enum { MAX_DIMS = 1 << 15 };
    const char *mean = mean_name(spatial), *covariance = covariance_name(spatial);
    if (mu->dims != 1 || mu->shape[0] < 1 || mu->shape[0] > MAX_DIMS)
        return dg_error(e, "%s: array %s is not a vector of 1 to %d values", path, mean, MAX_DIMS);
    if (sigma->dims != 2 || sigma->shape[0] != mu->shape[0] || sigma->shape[1] != mu->shape[0])
        return dg_error(e, "%s: array %s does not have the shape (%" PRId64 ", %" PRId64 ") that %s wants", path, covariance, mu->shape[0],
                        mu->shape[0], mean);
    g->dims = (int)mu->shape[0];
    g->mean = finite_values(mu, path, mean, e);
    g->covariance = g->mean ? finite_values(sigma, path, covariance, e) : NULL;
    return g->covariance && check_covariance(g, path, covariance, e);
}
bool gaussian_take(Npz *z, const char *path, bool spatial, Gaussian *g, Error *e) {
    *g = (Gaussian){0};
    NpyArray mu = {0}, sigma = {0}, images = {0};
    bool ok = npz_read(z, mean_name(spatial), &mu, e) && npz_read(z, covariance_name(spatial), &sigma, e) &&
              take_arrays(path, spatial, &mu, &sigma, g, e);
    if (ok && npz_has(z, "num_images")) {
        ok = npz_read(z, "num_images", &images, e);
        double n = ok && images.count == 1 ? npy_value(&images, 0) : -1;
        if (ok && !(n >= 2 && n < 1e15)) ok = dg_error(e, "%s: array num_images is not a number of images from 2 on", path);
        if (ok) g->count = (uint64_t)n;
    }
    npy_free(&mu);
    npy_free(&sigma);
    npy_free(&images);
    if (!ok) gaussian_free(g);
    return ok;
}
bool gaussian_read(const char *path, Gaussian *g, Error *e) {
    *g = (Gaussian){0};
    Npz *z = npz_open(path, e);
    if (!z) return false;
    bool ok = gaussian_take(z, path, false, g, e);
    npz_close(z);
    return ok;
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */
bool gaussian_put(NpzWriter *w, bool spatial, const Gaussian *g, Error *e) {
    int64_t shape[2] = {g->dims, g->dims};
    size_t d = (size_t)g->dims;
    return npz_writer_array(w, mean_name(spatial), 'f', 8, 1, shape, e) && npz_writer_data(w, g->mean, d * sizeof *g->mean, e) &&
           npz_writer_array(w, covariance_name(spatial), 'f', 8, 2, shape, e) &&
           npz_writer_data(w, g->covariance, d * d * sizeof *g->covariance, e);
}
bool gaussian_put_count(NpzWriter *w, uint64_t images, Error *e) {
    int64_t count = (int64_t)images;
    return npz_writer_array(w, "num_images", 'i', 8, 0, NULL, e) && npz_writer_data(w, &count, sizeof count, e);
}
bool gaussian_write(const char *path, const Gaussian *g, Error *e) {
    NpzWriter *w = npz_writer_open(path, e);
    if (!w) return false;
    if (gaussian_put(w, false, g, e) && (!g->count || gaussian_put_count(w, g->count, e))) return npz_writer_finish(w, e);
    npz_writer_abandon(w);
    return false;
}
