/* kernel_distance.c -- KID: sums of (x.y / D + 1)^3 over pairs of random subsets, in double. */
#include "measure/kernel_distance.h"
#include "measure/moments.h"
#include "measure/numpy_random.h"
#include "measure/products.h"
#include <stdlib.h>

enum { PANEL = 256, DEFAULT_SUBSETS = 100, DEFAULT_SIZE = 1000 };

typedef struct {
    size_t size, dims;
    double *x, *y, *panel; /* [size][dims]; [PANEL][size] */
    size_t *chosen;
} Subset;

static bool subset_new(Subset *s, Error *e) {
    s->x = malloc(s->size * s->dims * sizeof *s->x);
    s->y = malloc(s->size * s->dims * sizeof *s->y);
    s->panel = malloc(PANEL * s->size * sizeof *s->panel);
    s->chosen = malloc(s->size * sizeof *s->chosen);
    return (s->x && s->y && s->panel && s->chosen) ||
           dg_out_of_memory(e, "not enough memory for a kernel distance of subsets of %zu images", s->size);
}
static void subset_free(Subset *s) {
    free(s->x);
    free(s->y);
    free(s->panel);
    free(s->chosen);
}
static void draw(Subset *s, NumpyRandom *r, const float *from, size_t n, double *to) {
    numpy_choice(r, n, s->size, s->chosen);
    for (size_t i = 0; i < s->size; i++)
        for (size_t k = 0; k < s->dims; k++) to[i * s->dims + k] = (double)from[s->chosen[i] * s->dims + k];
}
/* The kernel's sum over pairs of rows; of a set with itself, over those of two different rows: twice the part above the diagonal. */
static double sum_of_kernel(const Subset *s, const double *a, const double *b) {
    bool same = a == b;
    double total = 0;
    int n = (int)s->size, d = (int)s->dims;
    for (int first = 0; first < n; first += PANEL) {
        int rows = first + PANEL < n ? PANEL : n - first, begin = same ? first : 0, columns = n - begin;
        products_best()->f64((ProductShape){ROWS, false, rows, columns, d, d, d, columns}, a + (size_t)first * s->dims,
                             b + (size_t)begin * s->dims, s->panel);
        for (int i = 0; i < rows; i++) {
            const double *line = s->panel + (size_t)i * (size_t)columns;
            double sum = 0;
            for (int j = same ? i + 1 : 0; j < columns; j++) {
                double k = line[j] / d + 1;
                sum += k * k * k;
            }
            total += same ? 2 * sum : sum;
        }
    }
    return total;
}
bool kernel_distance(const float *images, size_t n_images, const float *reference, size_t n_reference, int dims, KernelSubsets how,
                     KernelDistance *out, Error *e) {
    size_t smaller = n_images < n_reference ? n_images : n_reference;
    *out = (KernelDistance){.subsets = how.subsets ? how.subsets : DEFAULT_SUBSETS, .size = how.size};
    if (!how.size) out->size = smaller < DEFAULT_SIZE ? smaller : DEFAULT_SIZE;
    DG_CHECK(out->subsets > 0 && dims > 0, "a kernel distance of %d subsets of %d features", out->subsets, dims);
    if (out->size < 2) return dg_error(e, "the kernel distance needs subsets of at least 2 images, these have %zu", out->size);
    if (out->size > smaller || out->size > INT32_MAX)
        return dg_error(e, "the kernel distance of subsets of %zu images needs as many in both sets, one has %zu", out->size, smaller);
    if (!check_features(images, n_images, dims, "generated", e) || !check_features(reference, n_reference, dims, "reference", e))
        return false;
    Subset s = {.size = out->size, .dims = (size_t)dims};
    double *value = dg_alloc((size_t)out->subsets * sizeof *value), m = (double)out->size;
    NumpyRandom r;
    numpy_seed(&r, how.seed);
    bool ok = subset_new(&s, e);
    for (int i = 0; ok && i < out->subsets; i++) {
        draw(&s, &r, images, n_images, s.x);
        draw(&s, &r, reference, n_reference, s.y);
        double within = sum_of_kernel(&s, s.x, s.x) + sum_of_kernel(&s, s.y, s.y);
        value[i] = within / (m * (m - 1)) - 2 * sum_of_kernel(&s, s.x, s.y) / (m * m);
        if (!isfinite(value[i])) ok = dg_error(e, "the kernel distance is not a finite number: the features are out of range");
    }
    if (ok) mean_and_std(value, (size_t)out->subsets, &out->mean, &out->std);
    subset_free(&s);
    free(value);
    return ok;
}
