/* exec_compare.h -- how far results of one graph on two devices are apart. */
#ifndef DG_EXEC_COMPARE_H
#define DG_EXEC_COMPARE_H
#include "graph/weights.h"
#include "exec_values.h"
#include <math.h>
#include <stdlib.h>

/* Relative L2 error of a; NaN when it holds one, or where all of ref is zero. */
static inline double rel_l2(const double *a, const double *ref, size_t n) {
    double num = 0, den = 0;
    for (size_t i = 0; i < n; i++) num += (a[i] - ref[i]) * (a[i] - ref[i]), den += ref[i] * ref[i];
    return sqrt(num / den);
}
/* Of a's tensor t beside ref's tensor of. */
static inline double exec_rel_l2(Exec *a, Tid t, Exec *ref, Tid of) {
    size_t n;
    double *v = exec_values(a, t, &n), *r = exec_values(ref, of, &n), error = rel_l2(v, r, n);
    free(v), free(r);
    return error;
}
/* The graph bound to weights that are made up. */
static inline Exec *exec_synthetic(const Graph *g, Device *d, const char *name) {
    Weights *w = weights_synthetic(1, NULL);
    Error err;
    Exec *e = exec_new(g, d, weights_alone(w), &err);
    DG_CHECK(e, "%s: %s", name, err.text);
    weights_free(w);
    return e;
}
#endif
