/* test_evaluation.c -- from bytes to every number of an evaluation, against values that code in double made of the same images and
 * the same network (published_inception.h): two sets of 10 and 12 images.
 *   test_evaluation [all]     all: sFID and PyTorch's resize too, and not only TensorFlow's                                     */
#include "measure/exact_sums.h"
#include "measure/features.h"
#include "measure/frechet.h"
#include "measure/inception_score.h"
#include "measure/kernel_distance.h"
#include "measure/neighbours.h"
#include "check.h"
#include "published_inception.h"
#include <math.h>
#include <stdlib.h>

enum { SIDE = 32, REFERENCES = 10, SAMPLES = 12, IMAGES = REFERENCES + SAMPLES, POOL = 2048, SPATIAL = 2023, CLASSES = 1008 };
static uint8_t *images(void) {
    uint8_t *pixels = dg_alloc((size_t)IMAGES * SIDE * SIDE * 3), *at = pixels;
    for (int n = 0; n < IMAGES; n++)
        for (int y = 0; y < SIDE; y++)
            for (int x = 0; x < SIDE; x++)
                for (int c = 0; c < 3; c++)
                    *at++ = (uint8_t)(((7 * n + 3) % 11) * y + ((5 * n + 1) % 13) * x + (29 + 4 * n) * c +
                                      (int)(published_bits((uint64_t)(90 + n), (uint64_t)((y * SIDE + x) * 3 + c)) >> 58));
    return pixels;
}
static void check_near(const char *what, double found, double wanted, double tolerance) {
    CHECK(fabs(found - wanted) <= tolerance, "%s: %.10g, not %.10g", what, found, wanted);
}
/* The features of the references, then of the samples. */
static bool distance(const char *what, const float *features, int dims, Frechet *out) {
    Error e = {""};
    Gaussian g[2] = {{0}, {0}};
    bool ok = true;
    for (int set = 0; set < 2 && ok; set++) {
        ExactSums *s = exact_new(dims, grid_f32, NULL, &e);
        size_t first = set ? REFERENCES : 0, n = set ? SAMPLES : REFERENCES;
        ok = s && exact_add(s, DG_F32, features + first * (size_t)dims, n, first, &e) && exact_gaussian(s, (Divisor){1, 0}, &g[set], &e);
        exact_free(s);
    }
    ok = ok && frechet_distance(&g[0], &g[1], false, out, &e);
    gaussian_free(&g[0]), gaussian_free(&g[1]);
    return CHECK(ok, "%s: %s", what, e.text);
}
typedef struct {
    ResizeRule rule;
    FeatureScale scale;
    double fid, mean_term, reference, samples, root, sfid;
} Distances;
static const Distances published[] = {
    {RESIZE_TF1, SCALE_128, 151.039535, 51.187121, 151.336875, 16.161078, 33.822769, 1085.808389},
    {RESIZE_HALF, SCALE_255, 155.968510, 54.187793, 154.866278, 16.538485, 34.812022, 1081.528047},
};
static void test_distances(const Distances *p, float *const *out, bool all) {
#ifdef DG_HAVE_LAPACK
    Frechet f;
    if (distance("FID", out[FEATURE_POOL], POOL, &f)) {
        check_near("FID", f.distance, p->fid, 2e-3);
        check_near("its mean term", f.mean_term, p->mean_term, 1e-3);
        check_near("the references' trace", f.trace_a, p->reference, 1e-3);
        check_near("the samples' trace", f.trace_b, p->samples, 1e-3);
        check_near("the root's trace", f.trace_root, p->root, 1e-3);
        CHECK(f.rank_deficient, "fewer images than dimensions are not told");
    }
    if (all && distance("sFID", out[FEATURE_SPATIAL], SPATIAL, &f)) check_near("sFID", f.distance, p->sfid, 2e-2);
#else
    (void)p, (void)out, (void)all;
    not_run("Frechet distances: this build has no LAPACK");
#endif
}
/* By TensorFlow's resize. */
static void test_others(float *const *out) {
    Error e = {""};
    const float *pool = out[FEATURE_POOL], *samples = pool + (size_t)REFERENCES * POOL;
    static const double parts[] = {1.0036421153, 1.0018053789, 1.0121198014};
    static const double radii[2][3] = {{737.3076, 28.64669, 28.64669}, {24.37627, 25.67584, 22.02106}};
    InceptionScore is = {0};
    if (CHECK(inception_score(out[FEATURE_LOGITS_BARE] + (size_t)REFERENCES * CLASSES, SAMPLES, CLASSES, (ScoreSplits){.split_size = 5},
                              &is, &e),
              "%s", e.text)) {
        check_near("IS", is.mean, 1.0058557652, 1e-5);
        CHECK(is.splits == 3, "IS of %d parts", is.splits);
        for (int i = 0; i < 3 && i < is.splits; i++) check_near("IS of a part", is.split[i], parts[i], 1e-5);
    }
    inception_score_free(&is);
    NeighbourOptions o = {.k = 3, .arithmetic = DISTANCE_FLOAT};
    Neighbours n;
    if (CHECK(neighbours_measure(pool, REFERENCES, samples, SAMPLES, POOL, o, &n, &e), "%s", e.text))
        CHECK(n.precise == 12 && n.recalled == 3, "%d of 12 are precise, %d of 10 recalled, not 12 and 3", (int)n.precise, (int)n.recalled);
    for (int set = 0; set < 2; set++) {
        float radius[SAMPLES];
        if (!CHECK(neighbours_radii(set ? samples : pool, set ? SAMPLES : REFERENCES, POOL, o, radius, &e), "%s", e.text)) continue;
        for (int i = 0; i < 3; i++) check_near("a squared radius", (double)radius[i], radii[set][i], 1e-2);
    }
    KernelDistance kid;
    if (CHECK(kernel_distance(samples, REFERENCES, pool, REFERENCES, POOL, (KernelSubsets){.subsets = 1, .size = REFERENCES}, &kid, &e),
              "%s", e.text))
        check_near("KID", kid.mean, 11.986394, 1e-3);
}
int main(int argc, char **argv) {
    Error e = {""};
    bool all = argc > 1 && !strcmp(argv[1], "all");
    Device *d = device_open("cpu", NULL, &e);
    DG_CHECK(d, "%s", e.text);
    Published p = published_weights();
    uint8_t *pixels = images();
    long first = 0, last = 0;
    for (int i = 0; i < SIDE * SIDE * 3; i++) first += pixels[i], last += pixels[11 * SIDE * SIDE * 3 + i];
    CHECK(pixels[0] == 59 && pixels[1] == 91 && first == 377751 && last == 413191, "images of sums %ld and %ld", first, last);
    for (size_t i = 0; i < (all ? sizeof published / sizeof *published : 1); i++) {
        FeatureOptions o = {.height = SIDE,
                            .width = SIDE,
                            .batch = 8,
                            .resize = published[i].rule,
                            .scale = published[i].scale,
                            .wanted = 1u << FEATURE_POOL | 1u << FEATURE_SPATIAL | 1u << FEATURE_LOGITS_BARE};
        Features *f = features_open(d, p.w, &o, &e);
        if (!CHECK(f, "%s", e.text)) break;
        float *out[FEATURE_KINDS];
        for (int k = 0; k < FEATURE_KINDS; k++) out[k] = dg_alloc((size_t)(IMAGES * features_dims(f, (FeatureKind)k)) * sizeof *out[k]);
        features_run(f, pixels, IMAGES, out);
        test_distances(&published[i], out, all);
        if (published[i].rule == RESIZE_TF1) test_others(out);
        for (int k = 0; k < FEATURE_KINDS; k++) free(out[k]);
        features_close(f);
    }
    free(pixels);
    published_free(&p);
    device_close(d);
    return check_done("test_evaluation");
}
