/* frechet.h -- the Frechet distance between two sets of features: FID and sFID, and its kin of other features. */
#ifndef DG_FRECHET_H
#define DG_FRECHET_H
#include "measure/gaussian.h"

typedef struct {
    double distance; /* mean_term + trace_a + trace_b - 2 trace_root; of a set with itself: noise around 0, of either sign */
    double mean_term, trace_a, trace_b, trace_root;
    int negative;        /* eigenvalues below 0, which only rounding makes; taken as 0 */
    double lowest;       /* the lowest of them relative to the highest; 0 when there is none */
    bool rank_deficient; /* a set of no more images than dimensions: the distance depends on their number */
} Frechet;
/* truncate: of the eigenvalues whose roots are summed, those take no part that are below 1e-16 dims times the largest: what should be
 * 0 is, and what is tiny may be lost. Needs LAPACK (liblapacke); without it, e says so.                              */
bool frechet_possible(void); /* whether it is there */
bool frechet_distance(const Gaussian *a, const Gaussian *b, bool truncate, Frechet *out, Error *e);
#endif
