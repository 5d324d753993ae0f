/* posterior.c -- what a backend asks of a step of a discrete process. */
#include "base/posterior.h"

void posterior_check(const Posterior *p, size_t per_sample) {
    DG_CHECK(p->terms > 0 && p->terms <= POSTERIOR_TERMS, "posterior: %d terms", p->terms);
    DG_CHECK(p->gradients >= 0 && p->gradients <= POSTERIOR_GRADIENTS, "posterior: %d gradients", p->gradients);
    for (int k = 0; k < p->terms; k++) term_check("posterior", &p->x0[k], per_sample);
    for (int k = 0; k < p->gradients; k++) term_check("posterior", &p->gradient[k], per_sample);
    if (p->variance.data) term_check("posterior", &p->variance, per_sample);
}
