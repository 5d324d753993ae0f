/* eval_speed.c -- what evaluation costs beside the products and eigenproblems that it is made of.
 *   build/bench/eval_speed [IMAGES [DIMS [WAY]]]     4096 images of 2048 features; for each way to multiply (loops, CBLAS) a row of
 *   sums       adding the images to exact sums: 4 IMAGES DIMS^2 operations, as a share of the rate of plain products in double
 *   neighbours precision and recall in float and in ADM's half precision, of IMAGES / 5 references: by symmetry
 *              DIMS ((R + S)^2) operations, as a share of the rate of plain products in float
 * and, where there is LAPACK, the Frechet distance beside LAPACK's two calls alone. Times are processor time of all threads, so that
 * other jobs disturb them little: a rate is one of a processor.                                                        */
#include "base/dtype.h"
#include "measure/blas.h"
#include "measure/exact_sums.h"
#include "measure/frechet.h"
#include "measure/neighbours.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
static void *made_up(DType type, size_t n) {
    void *x = dg_alloc(n * dtype_bytes(type));
    dtype_made_up(type, x, n);
    return x;
}
/* GFLOP/s of a square product, the best of three. */
static double rate(const Products *p, DType type, ProductOf of, int d) {
    size_t n = (size_t)d * (size_t)d;
    void *a = made_up(type, n), *b = made_up(type, n), *c = made_up(type, n);
    double best = 0;
    for (int i = 0; i < 3; i++) {
        ProductShape s = {of, false, d, d, d, d, d, d};
        double start = seconds();
        if (type == DG_F64) p->f64(s, a, b, c);
        else p->f32(s, a, b, c);
        double now = 2.0 * d * d * d / (seconds() - start) * 1e-9;
        if (now > best) best = now;
    }
    free(a), free(b), free(c);
    return best;
}
static void report(const char *what, const Products *p, double flop, double took, double best) {
    printf("%-18s %-6s %8.2f s  %6.1f GFLOP/s  %3.0f%% of %.1f\n", what, p->name, took, flop / took * 1e-9, 100 * flop / took * 1e-9 / best,
           best);
}
static void sums(const Products *p, size_t images, int dims, Error *e) {
    enum { BATCH = 64 };
    float *x = made_up(DG_F32, BATCH * (size_t)dims);
    double best = rate(p, DG_F64, COLUMNS, dims), start = seconds();
    ExactSums *s = exact_new(dims, grid_f32, p, e);
    bool ok = s != NULL;
    for (size_t n = 0; ok && n < images; n += BATCH) ok = exact_add(s, DG_F32, x, images - n < BATCH ? images - n : BATCH, n, e);
    if (ok) exact_settle(s), report("sums", p, 4.0 * (double)images * dims * dims, seconds() - start, best);
    exact_free(s);
    free(x);
}
static void neighbours(const Products *p, size_t images, int dims, Error *e) {
    size_t references = images / 5 + 4;
    float *x = made_up(DG_F32, (images + references) * (size_t)dims);
    double best = rate(p, DG_F32, ROWS, dims), all = (double)(images + references);
    for (int half = 0; half < 2; half++) {
        NeighbourOptions o = {.k = 3, .arithmetic = half ? DISTANCE_ADM_HALF : DISTANCE_FLOAT, .products = p};
        Neighbours out;
        double start = seconds();
        if (neighbours_measure(x, references, x + references * (size_t)dims, images, dims, o, &out, e))
            report(half ? "neighbours, half" : "neighbours, float", p, dims * all * all, seconds() - start, best);
    }
    free(x);
}
#ifdef DG_HAVE_LAPACK
/* A covariance of full rank: of twice as many images as features. */
static Gaussian covariance(int dims, uint64_t shift, Error *e) {
    Gaussian g = {0};
    size_t d = (size_t)dims;
    float *x = made_up(DG_F32, 2 * d * d + shift);
    ExactSums *s = exact_new(dims, grid_f32, NULL, e);
    if (s && exact_add(s, DG_F32, x + shift, 2 * d, 0, e)) exact_gaussian(s, (Divisor){.ddof = 1}, &g, e);
    exact_free(s);
    free(x);
    return g;
}
static void distance(int dims, Error *e) {
    Gaussian a = covariance(dims, 0, e), b = covariance(dims, 1, e);
    if (!e->text[0]) {
        size_t d = (size_t)dims;
        double *m = dg_alloc(d * d * sizeof *m), *value = dg_alloc(d * sizeof *value), start = seconds();
        Frechet f;
        for (int vectors = 1; vectors >= 0; vectors--) {
            memcpy(m, a.covariance, d * d * sizeof *m);
            blas_lapack()->dsyevd(LAPACK_COL_MAJOR, vectors ? 'V' : 'N', 'U', dims, m, dims, value);
        }
        double calls = seconds() - start;
        start = seconds();
        if (frechet_distance(&a, &b, false, &f, e))
            printf("%-18s %-6s %8.2f s  %.2f of LAPACK's two calls\n", "Frechet distance", products_best()->name, seconds() - start,
                   (seconds() - start) / calls);
        free(m), free(value);
    }
    gaussian_free(&a);
    gaussian_free(&b);
}
#endif
int main(int argc, char **argv) {
    size_t images = argc > 1 ? strtoul(argv[1], NULL, 10) : 4096;
    int dims = argc > 2 ? atoi(argv[2]) : 2048;
    const Products *ways[] = {&products_own, products_cblas()};
    Error e = {""};
    if (images < 4 || dims < 1) dg_error(&e, "eval_speed [IMAGES [DIMS [WAY]]]: at least 4 images of 1 feature");
    for (int i = 0; i < 2 && !e.text[0]; i++) {
        if (!ways[i] || (argc > 3 && strcmp(argv[3], ways[i]->name))) continue;
        sums(ways[i], images, dims, &e);
        if (!e.text[0]) neighbours(ways[i], images, dims, &e);
    }
#ifdef DG_HAVE_LAPACK
    if (!e.text[0]) distance(dims, &e);
#endif
    if (e.text[0]) fprintf(stderr, "eval_speed: %s\n", e.text);
    return e.text[0] != 0;
}
