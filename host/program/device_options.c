/* device_options.c -- from --device, --dtype and --threads to an open device. */
#include "program/device_options.h"
#include <string.h>
#ifdef _OPENMP
#include <omp.h>
#endif

Device *device_from_options(const DeviceOptions *o, Error *e) {
    static const char *const dtypes[] = {NULL, "fp16", "bf16", "tf32", "fp32", "fp64"}; /* DTYPE_CHOICE */
    static const char *const preferred[] = {"cuda", "cpu", "ref"};
#ifdef _OPENMP
    if (o->threads) omp_set_num_threads(o->threads);
#endif
    const char *dtype = dtypes[o->dtype];
    Device *d = o->device ? device_open(o->device, dtype, e) : NULL;
    for (size_t i = 0; !o->device && i < sizeof preferred / sizeof *preferred && !d; i++) d = device_open(preferred[i], dtype, e);
    if (d) e->text[0] = 0, d->autotune = o->autotune;
    return d;
}
