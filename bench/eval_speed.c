/* eval_speed.c -- what evaluation costs beside the products of matrices that it is made of. eval_speed [IMAGES [DIMS]]
 *
 * Rates are of processor time, of all threads (OMP_NUM_THREADS, OPENBLAS_NUM_THREADS); each way to multiply has its rows.
 * Accumulating N images of D features exactly takes 4 N D^2 operations, a share of what plain products of the same run do. */
#include "base/dtype.h"
#include "measure/exact_sums.h"
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
/* GFLOP/s of products of the shape that a network of layers has: square, as deep as wide. */
static double rate_f64(const Products *p, int d) {
    size_t n = (size_t)d * (size_t)d;
    double *a = dg_alloc(n * sizeof *a), *b = dg_alloc(n * sizeof *b), *c = dg_alloc(n * sizeof *c), best = 0;
    dtype_made_up(DG_F64, a, n);
    dtype_made_up(DG_F64, b, n);
    for (int i = 0; i < 3; i++) {
        double start = seconds();
        p->f64((ProductShape){COLUMNS, false, d, d, d, d, d, d}, a, b, c);
        double rate = 2.0 * d * d * d / (seconds() - start) * 1e-9;
        if (rate > best) best = rate;
    }
    free(a), free(b), free(c);
    return best;
}
static void accumulation(const Products *p, size_t images, int dims) {
    enum { BATCH = 64 };
    Error e = {""};
    float *x = dg_alloc(BATCH * (size_t)dims * sizeof *x);
    dtype_made_up(DG_F32, x, BATCH * (size_t)dims);
    double rate = rate_f64(p, dims);
    ExactSums *s = exact_new(dims, grid_f32, p, &e);
    double start = seconds();
    for (size_t n = 0; s && n < images; n += BATCH)
        if (!exact_add(s, DG_F32, x, BATCH, n, &e)) break;
    if (s) exact_settle(s);
    double took = seconds() - start, flop = 4.0 * (double)images * dims * dims;
    if (e.text[0]) printf("%s\n", e.text);
    else
        printf("%-6s  products %6.1f GFLOP/s  %zu x %d summed in %.2f s: %.1f GFLOP/s, %.0f%% of the products' rate\n", p->name, rate, images, dims,
               took, flop / took * 1e-9, 100 * flop / took * 1e-9 / rate);
    exact_free(s);
    free(x);
}
int main(int argc, char **argv) {
    size_t images = argc > 1 ? strtoul(argv[1], NULL, 10) : 4096;
    int dims = argc > 2 ? atoi(argv[2]) : 2048;
    const Products *ways[] = {&products_own, products_cblas()};
    for (int i = 0; i < 2; i++)
        if (ways[i]) accumulation(ways[i], images, dims);
    return 0;
}
