/* cpu.c -- the workspace that the ops of the CPU backend share. */
#include "device/cpu/cpu.h"
#include "device/host_state.h"

bool cpu_reserve(Exec *e, size_t floats, Error *err) {
    Cpu *c = cpu_of(e);
    size_t bytes = floats * sizeof *c->work;
    if (bytes <= c->work_bytes) return true;
    host_release(e->dev, c->work);
    c->work = host_alloc(e->dev, bytes);
    if (!c->work) {
        c->work_bytes = 0;
        return dg_out_of_memory(err, "not enough memory on device cpu for a workspace of %.1f MiB", (double)bytes / 1048576);
    }
    e->weight_bytes += bytes - c->work_bytes;
    c->work_bytes = bytes;
    return true;
}
