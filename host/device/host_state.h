/* host_state.h -- what every backend that computes in host memory shares: memory, copies, the sampler's state, and what a device
 * without a queue, choices or a profiler has in those places.                                                         */
#ifndef DG_HOST_STATE_H
#define DG_HOST_STATE_H
#include "device/device.h"

bool host_open(Device *d, Error *e);
void host_close(Device *d);
void *host_alloc(Device *d, size_t bytes);
void host_release(Device *d, void *p);
void host_copy(Device *d, void *dst, const void *src, size_t bytes); /* upload, download and copy */
void host_sync(Device *d);
void host_download_async(Device *d, int slot, void *dst, const void *src, size_t bytes);
void host_mark(Device *d, int slot); /* work is done when a call returns: nothing to mark or to wait for */
void host_replay(Device *d, void **kept, WorkShape shape, WorkFn work, void *context); /* does the work */
void host_replay_free(Device *d, void *kept);
void host_range_push(const Device *d, SpanName n, int number);
void host_range_pop(const Device *d, SpanName n);
void host_profiler(Device *d, bool on);
bool host_bind(Exec *e, Error *err);
bool host_prepare(Exec *e, int i, Error *err);
void host_unbind(Exec *e);
void host_run(Exec *e); /* op by op, by run_op of the device */
void host_profile(Exec *e, int repeats, double *seconds);
bool host_open_provider(Device *d, Error *e);
const char *host_implementation(const Exec *e, int i);
double host_waves(const Exec *e, int i, int rows); /* not known */
double host_bytes(const Exec *e, int i);
bool host_choices(const Device *d, struct Text *chosen, struct Text *measured);
void host_combine(Device *d, void *out, DType out_type, int n, size_t per_sample, const Term *term, int terms);
void host_randn(Device *d, double *out, int n, size_t per_sample, const uint64_t *seed, const uint32_t *step);
void host_posterior(Device *d, double *x, int n, size_t per_sample, const Posterior *p);
void host_to_u8(Device *d, uint8_t *out, const void *x, DType type, int n, size_t per_sample, double scale, double offset, int *bad);

/* The rows of a Backend that all of them have in common. */
#define HOST_BACKEND                                                                                                                       \
    .alloc = host_alloc, .release = host_release, .upload = host_copy, .download = host_copy, .copy = host_copy, .sync = host_sync,        \
    .alloc_host = host_alloc, .release_host = host_release, .download_async = host_download_async, .mark = host_mark, .wait = host_mark,   \
    .replay = host_replay, .replay_free = host_replay_free, .range_push = host_range_push, .range_pop = host_range_pop,                    \
    .profiler = host_profiler, .profile = host_profile, .open_provider = host_open_provider, .implementation = host_implementation,        \
    .waves = host_waves, .bytes = host_bytes, .choices = host_choices, .combine = host_combine, .randn = host_randn,                       \
    .posterior = host_posterior, .to_u8 = host_to_u8
#endif
