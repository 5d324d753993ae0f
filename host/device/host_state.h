/* host_state.h -- what every backend that computes in host memory shares: memory, copies and the sampler's state. */
#ifndef DG_HOST_MEMORY_H
#define DG_HOST_MEMORY_H
#include "device/device.h"

bool host_open(Device *d, DType act, const char *accepted, const char *precision, Error *e);
void host_close(Device *d);
void *host_alloc(Device *d, size_t bytes);
void host_release(Device *d, void *p);
void host_copy(Device *d, void *dst, const void *src, size_t bytes); /* upload, download and copy */
void host_sync(Device *d);
void host_combine(Device *d, void *out, DType out_type, int n, size_t per_sample, const Term *term, int terms);
void host_randn(Device *d, double *out, int n, size_t per_sample, const uint64_t *seed, const uint32_t *step);
void host_to_u8(Device *d, uint8_t *out, const double *x, int n, size_t per_sample, int *bad);
#endif
