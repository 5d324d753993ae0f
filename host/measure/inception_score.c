/* inception_score.c -- the Inception Score: exp of the mean divergence of images' classes from the classes of all. */
#include "measure/inception_score.h"
#include "measure/moments.h"
#include "measure/numpy_random.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Adds the probabilities of one image to sum, and gives sum over classes of q ln q. */
static double add_image(const float *logit, int classes, double *sum) {
    double largest = logit[0], total = 0, entropy = 0;
    for (int c = 1; c < classes; c++)
        if (logit[c] > largest) largest = logit[c];
    for (int c = 0; c < classes; c++) total += exp(logit[c] - largest);
    for (int c = 0; c < classes; c++) {
        double log_q = logit[c] - largest - log(total), q = exp(log_q);
        sum[c] += q;
        entropy += q * log_q; /* a q of 0 adds 0: log_q is finite */
    }
    return entropy;
}
/* The mean of q (ln q - ln p) over images is the mean of q ln q less p ln p, as p is the mean of q. */
static double score_of(const float *logits, const size_t *order, size_t first, size_t last, int classes, double *sum) {
    double inside = 0, outside = 0, n = (double)(last - first);
    memset(sum, 0, (size_t)classes * sizeof *sum);
    for (size_t i = first; i < last; i++) inside += add_image(logits + order[i] * (size_t)classes, classes, sum);
    for (int c = 0; c < classes; c++)
        if (sum[c] > 0) outside += sum[c] / n * log(sum[c] / n);
    return exp(inside / n - outside);
}
static bool check_logits(const float *logits, size_t images, int classes, Error *e) {
    for (size_t i = 0; i < images * (size_t)classes; i++)
        if (!isfinite(logits[i]))
            return dg_error(e, "logit %zu of image %zu is not a finite number", i % (size_t)classes, i / (size_t)classes);
    return true;
}
bool inception_score(const float *logits, size_t images, int classes, ScoreSplits how, InceptionScore *out, Error *e) {
    *out = (InceptionScore){0};
    DG_CHECK(classes > 0 && (how.split_size > 0 || how.splits > 0), "an Inception Score of %d classes in %d splits", classes, how.splits);
    if (images == 0) return dg_error(e, "the Inception Score needs images, there are none");
    if (!how.split_size && images < (size_t)how.splits)
        return dg_error(e, "the Inception Score in %d splits needs at least as many images, there are %zu", how.splits, images);
    if (!check_logits(logits, images, classes, e)) return false;
    size_t parts = how.split_size ? (images + how.split_size - 1) / how.split_size : (size_t)how.splits;
    size_t *order = dg_alloc(images * sizeof *order);
    double *sum = dg_alloc((size_t)classes * sizeof *sum);
    NumpyRandom r;
    numpy_seed(&r, how.seed);
    if (how.shuffled) numpy_permutation(&r, images, order);
    else
        for (size_t i = 0; i < images; i++) order[i] = i;
    *out = (InceptionScore){.splits = (int)parts, .split = dg_alloc(parts * sizeof *out->split)};
    for (size_t p = 0; p < parts; p++) {
        size_t first = how.split_size ? p * how.split_size : p * images / parts;
        size_t last = how.split_size ? first + how.split_size : (p + 1) * images / parts;
        out->split[p] = score_of(logits, order, first, last < images ? last : images, classes, sum);
    }
    mean_and_std(out->split, parts, &out->mean, &out->std);
    free(order);
    free(sum);
    return true;
}
void inception_score_free(InceptionScore *s) {
    free(s->split);
    *s = (InceptionScore){0};
}
