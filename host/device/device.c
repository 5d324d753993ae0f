/* device.c -- the backends that are compiled in, and opening one by name. */
#include "device/device.h"
#include <stdlib.h>
#include <string.h>

static const Backend *const backends[] = {
    &backend_cpu,  &backend_ref, &backend_ref64, &backend_rounded,
#if defined(DG_HAVE_CUDA) || defined(DG_EMU)
    &backend_cuda,
#endif
};
enum { BACKENDS = sizeof backends / sizeof *backends };

const char *device_list(void) {
#if defined(DG_EMU)
    return "cpu, ref, ref64, rounded, emu";
#elif defined(DG_HAVE_CUDA)
    return "cpu, ref, ref64, rounded, cuda, cuda:N";
#else
    return "cpu, ref, ref64, rounded";
#endif
}
Device *device_open(const char *spec, const char *precision, Error *e) {
    size_t n = strcspn(spec, ":");
    const Backend *be = NULL;
    for (int i = 0; i < BACKENDS; i++)
        if (strlen(backends[i]->name) == n && !strncmp(spec, backends[i]->name, n)) be = backends[i];
    if (!be) {
        dg_error(e, "device %s is not in this build (it has %s)%s", spec, device_list(),
                 !strncmp(spec, "cuda", 4) ? ": build with the CUDA toolkit's nvcc on the PATH" : "");
        return NULL;
    }
    long index = 0;
    if (spec[n] == ':') {
        char *end;
        index = strtol(spec + n + 1, &end, 10);
        if (end == spec + n + 1 || *end || index < 0 || index > 1023) {
            dg_error(e, "device %s: the part after the colon is not a device number", spec);
            return NULL;
        }
    }
    Device *d = dg_alloc(sizeof *d);
    d->be = be, d->index = (int)index;
    if (!be->open(d, precision, e)) {
        free(d);
        return NULL;
    }
    return d;
}
void device_close(Device *d) {
    if (!d) return;
    d->be->close(d);
    free(d);
}
void device_range_push(const Device *d, const char *name) {
    if (d->be->range_push) d->be->range_push(name);
}
void device_range_pop(const Device *d) {
    if (d->be->range_pop) d->be->range_pop();
}
