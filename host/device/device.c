/* device.c -- the backends that are compiled in, and opening one by name. */
#include "device/device.h"
#include <stdio.h>
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
bool device_precision(const Device *d, const char *precision, Precision *p, Error *e) {
    const Backend *be = d->be;
    char all[64] = "";
    for (int i = 0; i < be->precisions; i++) {
        const char *name = precision_name(be->takes[i]), *before = i == 0 ? "" : i + 1 < be->precisions ? ", " : " or ";
        if (!precision || !strcmp(precision, name)) {
            *p = be->takes[i];
            p->leaves_norms = d->leaves_norms && d->provider == DEVICE_OWN;
            return true;
        }
        snprintf(all + strlen(all), sizeof all - strlen(all), "%s%s", before, name);
    }
    return dg_error(e, "device %s computes in %s%s, not in %s", be->name, all, be->precisions == 1 ? " only" : "", precision);
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
    if (!device_precision(d, precision, &d->precision, e) || !be->open(d, e) || !device_precision(d, precision, &d->precision, e)) {
        free(d);
        return NULL;
    }
    return d;
}
bool device_provide(Device *d, DeviceProvider p, Error *e) {
    DeviceProvider before = d->provider;
    d->provider = p;
    if (d->be->open_provider(d, e)) return device_precision(d, precision_name(d->precision), &d->precision, e);
    d->provider = before;
    return false;
}
void device_close(Device *d) {
    if (!d) return;
    d->be->close(d);
    free(d);
}
void device_range_push_number(const Device *d, SpanName n, int number) {
    spans_begin(d->spans, n, number);
    d->be->range_push(d, n, number);
}
void device_range_push(const Device *d, SpanName n) { device_range_push_number(d, n, -1); }
void device_range_pop(const Device *d, SpanName n) {
    d->be->range_pop(d, n);
    spans_end(d->spans, n);
}
