/* workspace.c -- memory of the CPU backend's ops: the workspace that they share, and the forms that they make of weights. */
#include "device/cpu/cpu.h"
#include "device/host_state.h"

bool cpu_reserve(Exec *e, size_t floats, Error *err) {
    Cpu *c = cpu_of(e);
    size_t bytes = floats * sizeof *c->work;
    if (bytes > e->workspace_bytes) e->workspace_bytes = bytes;
    if (bytes <= c->work_bytes) return true;
    host_release(e->dev, c->work);
    c->work = host_alloc(e->dev, bytes);
    c->work_bytes = c->work ? bytes : 0;
    return c->work || dg_out_of_memory(err, "not enough memory on device cpu for a workspace of %.1f MiB", (double)bytes / 1048576);
}
float *cpu_packed(Exec *e, size_t floats, Error *err) {
    float *packed = host_alloc(e->dev, floats * sizeof *packed);
    if (packed) e->weight_bytes += floats * sizeof *packed;
    else dg_out_of_memory(err, "not enough memory on device cpu for a packed weight of %zu bytes", floats * sizeof *packed);
    return packed;
}
