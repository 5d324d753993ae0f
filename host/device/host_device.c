/* host_device.c -- memory, copies and runs for the backends that compute in host memory. */
#include "device/host_state.h"
#include "base/progress.h"
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

bool host_open(Device *d, Error *e) { return d->index == 0 || dg_error(e, "device %s:%d: there is only one", d->be->name, d->index); }
void host_close(Device *d) { (void)d; }

/* Whole pages straight from the system for what is large, so that an impossible size is refused at once, freed memory
 * goes back, and huge pages can be used. The size is kept in front of the block.                                      */
enum { HEADER = DG_ALIGN };
void *host_alloc(Device *d, size_t bytes) {
    (void)d;
    size_t total = bytes + HEADER;
    if (total < bytes) return NULL;
    char *p = mmap(NULL, total, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) return NULL;
    madvise(p, total, MADV_HUGEPAGE);
    memcpy(p, &total, sizeof total);
    return p + HEADER;
}
void host_release(Device *d, void *p) {
    (void)d;
    if (!p) return;
    char *start = (char *)p - HEADER;
    size_t total;
    memcpy(&total, start, sizeof total);
    munmap(start, total);
}
void host_copy(Device *d, void *dst, const void *src, size_t bytes) {
    (void)d;
    memcpy(dst, src, bytes);
}
void host_sync(Device *d) { (void)d; }

/* ---- what is done at once, or not at all ----------------------------------------------------------------------------------- */
void host_download_async(Device *d, int slot, void *dst, const void *src, size_t bytes) {
    (void)slot;
    host_copy(d, dst, src, bytes);
}
void host_mark(Device *d, int slot) { (void)d, (void)slot; }
void host_replay(Device *d, void **kept, WorkShape shape, WorkFn work, void *context) {
    (void)d, (void)kept;
    work(context, shape);
}
void host_replay_free(Device *d, void *kept) { (void)d, (void)kept; }
void host_range_push(const Device *d, SpanName n, int number) { (void)d, (void)n, (void)number; }
void host_range_pop(const Device *d, SpanName n) { (void)d, (void)n; }
void host_profiler(Device *d, bool on) { (void)d, (void)on; }
bool host_bind(Exec *e, Error *err) {
    (void)e, (void)err;
    return true;
}
bool host_prepare(Exec *e, int i, Error *err) {
    (void)e, (void)i, (void)err;
    return true;
}
void host_unbind(Exec *e) { (void)e; }
bool host_open_provider(Device *d, Error *e) {
    return d->provider == DEVICE_OWN || d->provider == DEVICE_AUTO ||
           dg_error(e, "NVIDIA's libraries run on device cuda, not on %s: leave it out, or say auto", d->be->name);
}
const char *host_implementation(const Exec *e, int i) {
    (void)e, (void)i;
    return "own";
}
double host_waves(const Exec *e, int i, int rows) {
    (void)e, (void)i, (void)rows;
    return 0;
}
double host_bytes(const Exec *e, int i) { return op_bytes(e->g, i); }
bool host_choices(const Device *d, struct Text *chosen, struct Text *measured) {
    (void)d, (void)chosen, (void)measured;
    return false;
}

/* ---- runs ------------------------------------------------------------------------------------------------------------------ */
void host_run(Exec *e) {
    for (int i = 0; i < e->g->nop; i++) e->dev->be->run_op(e, i);
}
void host_profile(Exec *e, int repeats, double *seconds) {
    for (int i = 0; i < e->g->nop; i++) seconds[i] = 0;
    for (int r = 0; r < repeats; r++)
        for (int i = 0; i < e->g->nop; i++) { /* in order, so that caches are as in a run */
            double start = seconds_now();
            e->dev->be->run_op(e, i);
            seconds[i] += (seconds_now() - start) / repeats;
        }
}
