/* exec_values.h -- a whole tensor after a run, in double. */
#ifndef DG_EXEC_VALUES_H
#define DG_EXEC_VALUES_H
#include "device/device.h"

/* count: of its values. The caller frees them. */
static inline double *exec_values(Exec *e, Tid t, size_t *count) {
    *count = shape_count(shape_of(e->g, t));
    double *v = dg_alloc(*count * sizeof *v);
    exec_get(e, t, DG_F64, v);
    return v;
}
#endif
