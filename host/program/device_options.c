/* device_options.c -- from --device, --dtype, --provider and --threads to an open device. */
#include "program/device_options.h"
#include "base/processors.h"
#include <stdlib.h>
#include <string.h>
#ifdef _OPENMP
#include <omp.h>
#endif

int threads_from_options(const DeviceOptions *o) {
#ifdef _OPENMP
    enum { OTHERS = 3 }; /* that work beside them: the hashes, then the writer; the sums of features; the one that waits for signals */
    int threads = o->threads                  ? o->threads
                  : getenv("OMP_NUM_THREADS") ? omp_get_max_threads()
                                              : processors_share("", processors_scheduled());
    if (threads > omp_get_thread_limit()) threads = omp_get_thread_limit();
    return threads > 1 ? processors_startable(threads, OTHERS) : threads;
#else
    (void)o;
    return 1;
#endif
}
void threads_apply(const DeviceOptions *o) {
#ifdef _OPENMP
    omp_set_num_threads(threads_from_options(o));
#else
    (void)o;
#endif
}
/* A GPU where there is one, else the CPU. */
static Device *open_preferred(const char *dtype, Error *e) {
    Error no_gpu = {0};
    Device *d = device_open("cuda", dtype, &no_gpu);
    if (!d && !(d = device_open("cpu", dtype, e)) && dtype) {
        if (!strcmp(dtype, "fp64")) dg_error(e, "--dtype fp64: that is what --device ref64 computes in");
        else dg_error(e, "--dtype %s needs device cuda, device cpu computes in fp32: %s", dtype, no_gpu.text);
    }
    return d;
}
const char *provider_word(const DeviceOptions *o) {
    static const char *const word[] = {"own", "auto", "cudnn", "cublaslt"}; /* PROVIDER_CHOICE */
    return word[o->provider];
}
Device *device_from_options(const DeviceOptions *o, Error *e) {
    static const char *const dtypes[] = {NULL, "fp16", "bf16", "tf32", "fp32", "fp64"}; /* DTYPE_CHOICE */
    const char *dtype = dtypes[o->dtype];
    threads_apply(o);
    Device *d = o->device ? device_open(o->device, dtype, e) : open_preferred(dtype, e);
    if (!d || device_provide(d, (DeviceProvider)o->provider, e)) return d;
    dg_error_context(e, "--provider %s", provider_word(o));
    device_close(d);
    return NULL;
}
void device_for_latents(Device *d, const DeviceOptions *o) {
    Precision p;
    if (!o->dtype && d->precision.act == DG_F16 && device_precision(d, "bf16", &p, NULL)) d->precision = p;
}
