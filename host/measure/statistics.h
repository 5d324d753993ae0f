/* statistics.h -- the statistics of a set of images and the file that keeps them: mean and covariance for EDM's, pytorch-fid's and
 * ADM's tools, and beside them exact sums, so that parts of a set that were measured anywhere merge to what the whole gives.
 *
 * Arrays of the file: mu, sigma (double), mu_s, sigma_s where there are spatial features, num_images, meta (JSON as bytes), and
 *   dg_grid      exponent and pieces (exact_sums.h)
 *   dg_sum       [dims][2]: 128-bit integers, low half first; dg_sum_s for spatial features
 *   dg_products  [dims (dims + 1) / 2][2]: the same; dg_products_s
 *   dg_seeds     [runs][2]: first seed and number of seeds of each run, ascending; no runs where images have no seeds
 *   feats        [images][dims], float: the features themselves, where they were kept                                   */
#ifndef DG_STATISTICS_H
#define DG_STATISTICS_H
#include "base/json.h"
#include "base/seeds.h"
#include "measure/exact_sums.h"

typedef struct {
    ExactSums *pool, *spatial; /* spatial: NULL where it was not asked for */
    SeedList seeds;            /* of the images; empty where they have none */
    char *meta;                /* a JSON object: what the features are of (preset, resize, scale, weights_sha256, ...) */
} Statistics;
/* spatial_dims: 0 for none. */
bool statistics_new(Statistics *s, int dims, int spatial_dims, Grid g, const char *meta, Error *e);
void statistics_free(Statistics *s);
/* features: NULL, or DG_F32 rows of all images, to be kept. The file appears whole, or not at all. */
bool statistics_write(const char *path, Statistics *s, const float *features, Error *e);
/* What an open file's meta says, an object; NULL and a sentence where it says nothing that can be read. */
Json *statistics_meta(Npz *z, const char *path, Error *e);
bool statistics_put_meta(NpzWriter *w, const char *meta, Error *e);
/* A file without exact sums is refused: gaussian_read takes it. */
bool statistics_read(const char *path, Statistics *s, Error *e);
bool statistics_take(Npz *z, const char *path, Statistics *s, Error *e); /* the same of a file that is open */
/* The features that a file keeps, in float or half: images x dims values in float, freed by the caller. */
float *statistics_features(const char *path, size_t *images, int *dims, Error *e);
float *statistics_take_features(Npz *z, const char *path, size_t *images, int *dims, Error *e); /* of a file that is open */
/* Whether these are the features that the file's statistics are of: of as many dimensions and, where the file says how many images it
 * has (not 0), of as many; a reference may keep those of some of its images alone. */
typedef struct {
    uint64_t images;
    int dims;
    bool some;
} FeaturesOf;
bool statistics_fit_features(const char *path, size_t images, int dims, FeaturesOf wanted, Error *e);
/* Adds what from has. Refused: seeds that both have, other features, another grid; everything of meta must be equal but "source"
 * and "N". The paths are for sentences. */
bool statistics_merge(Statistics *into, const char *into_path, Statistics *from, const char *from_path, Error *e);
/* Seeds between the first and the last that are not there. Freed with seeds_free. */
SeedList statistics_holes(const Statistics *s);
#endif
