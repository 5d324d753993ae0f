/* state_work.c -- a device that times what it does to the sampler's state. */
#include "program/state_work.h"
#include "base/progress.h"
#include "device/host_state.h"

static StateWork *timer_of(Device *d) { return (StateWork *)d; } /* device is its first member */

static void timed_combine(Device *d, void *out, DType out_type, int n, size_t per_sample, const Term *term, int terms) {
    StateWork *w = timer_of(d);
    double start = seconds_now();
    w->inner->be->combine(w->inner, out, out_type, n, per_sample, term, terms);
    w->seconds += seconds_now() - start;
}
static void timed_randn(Device *d, double *out, int n, size_t per_sample, const uint64_t *seed, const uint32_t *step) {
    StateWork *w = timer_of(d);
    double start = seconds_now();
    w->inner->be->randn(w->inner, out, n, per_sample, seed, step);
    w->seconds += seconds_now() - start;
}
static void timed_posterior(Device *d, double *x, int n, size_t per_sample, const Posterior *p) {
    StateWork *w = timer_of(d);
    double start = seconds_now();
    w->inner->be->posterior(w->inner, x, n, per_sample, p);
    w->seconds += seconds_now() - start;
}
static void timed_to_u8(Device *d, uint8_t *out, const void *x, DType type, int n, size_t per_sample, double scale, double offset,
                        int *bad) {
    StateWork *w = timer_of(d);
    double start = seconds_now();
    w->inner->be->to_u8(w->inner, out, x, type, n, per_sample, scale, offset, bad);
    w->seconds += seconds_now() - start;
}
bool state_work_of(StateWork *w, Device *inner) {
    if (inner->be->mark != host_mark) return false;
    *w = (StateWork){.device = *inner, .be = *inner->be, .inner = inner};
    w->be.combine = timed_combine, w->be.randn = timed_randn, w->be.posterior = timed_posterior, w->be.to_u8 = timed_to_u8;
    w->device.be = &w->be;
    return true;
}
