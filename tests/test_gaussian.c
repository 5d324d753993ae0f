/* test_gaussian.c -- files of a mean and a covariance: what is written is read again, and what is refused. */
#include "measure/gaussian.h"
#include "hostile.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char path[64]; /* of this process alone */

static void through_a_file(void) {
    enum { DIMS = 5 };
    double mean[DIMS], covariance[DIMS * DIMS];
    Gaussian g = {.dims = DIMS, .count = 300, .mean = mean, .covariance = covariance}, back = {0};
    Error e = {""};
    for (int i = 0; i < DIMS; i++) {
        mean[i] = 1. / (i + 3);
        for (int j = 0; j < DIMS; j++) covariance[i * DIMS + j] = (i == j) + 1. / (7 + i * j);
    }
    CHECK(gaussian_write(path, &g, &e) && gaussian_read(path, &back, &e), "%s", e.text);
    CHECK(back.dims == DIMS && back.count == 300, "%d features of %d images", back.dims, (int)back.count);
    CHECK(back.mean && !memcmp(back.mean, mean, sizeof mean), "another mean");
    CHECK(back.covariance && !memcmp(back.covariance, covariance, sizeof covariance), "another covariance");
    gaussian_free(&back);
    unlink(path);
}

/* ---- what is refused --------------------------------------------------------------------------------------------- */
static void refused_file(const char *what, int dims_mu, const int64_t *mu, int dims_sigma, const int64_t *sigma, double value,
                         const char *fragment) {
    enum { VALUES = 64 };
    double data[VALUES];
    for (int i = 0; i < VALUES; i++) data[i] = value;
    size_t n = 1, m = 1;
    for (int i = 0; i < dims_mu; i++) n *= (size_t)mu[i];
    for (int i = 0; i < dims_sigma; i++) m *= (size_t)sigma[i];
    Error e = {""};
    NpzWriter *w = npz_writer_open(path, &e);
    CHECK(w && npz_writer_array(w, "mu", 'f', 8, dims_mu, mu, &e) && npz_writer_data(w, data, n * 8, &e), "%s", e.text);
    if (sigma) CHECK(npz_writer_array(w, "sigma", 'f', 8, dims_sigma, sigma, &e) && npz_writer_data(w, data, m * 8, &e), "%s", e.text);
    double images = 1;
    CHECK(npz_writer_array(w, "num_images", 'f', 8, 0, NULL, &e) && npz_writer_data(w, &images, 8, &e), "%s", e.text);
    CHECK(npz_writer_finish(w, &e), "%s", e.text);
    Gaussian g;
    Hostile h = hostile_begin(what);
    bool accepted = gaussian_read(path, &g, &h.e);
    hostile_end(&h, accepted, path, fragment);
    CHECK(accepted || (!g.mean && !g.covariance), "%s: something is left", what);
    if (accepted) gaussian_free(&g);
    unlink(path);
}
static void refused_files(void) {
#define SHAPE(...) (const int64_t[]){__VA_ARGS__}
    refused_file("no sigma", 1, SHAPE(3), 0, NULL, 1, "no array sigma");
    refused_file("a mean that is a matrix", 2, SHAPE(3, 1), 2, SHAPE(3, 3), 1, "mu is not a vector");
    refused_file("a mean of no values", 1, SHAPE(0), 2, SHAPE(0, 0), 1, "mu is not a vector");
    refused_file("a covariance that is a vector", 1, SHAPE(3), 1, SHAPE(9), 1, "sigma does not have the shape (3, 3)");
    refused_file("a covariance of another size", 1, SHAPE(3), 2, SHAPE(4, 4), 1, "sigma does not have the shape (3, 3)");
    refused_file("a covariance that is not square", 1, SHAPE(3), 2, SHAPE(3, 4), 1, "sigma does not have the shape (3, 3)");
    refused_file("negative variances", 1, SHAPE(3), 2, SHAPE(3, 3), -1, "the variance of feature 0 is -1");
    refused_file("NaN", 1, SHAPE(3), 2, SHAPE(3, 3), NAN, "mu: value 0 is not a finite number");
    refused_file("one image", 1, SHAPE(3), 2, SHAPE(3, 3), 1, "num_images");
}

int main(void) {
    snprintf(path, sizeof path, "/tmp/dg_test_gaussian_%d.npz", (int)getpid());
    through_a_file();
    refused_files();
    return check_done("test_gaussian");
}
