/* pooled_ops.c -- the resamples of pooled.c on a device: which are left out, and the arguments of the norms that do their work. */
#include "device/cuda/ops.h"
#include "device/cuda/pooled.h"

void cuda_pooled_args(const Exec *e, int i, NormArgs *a) {
    Pooled p;
    if (!cuda_pooled_candidate(e->g, i, &p) || !cuda_norm_resamples(a)) return;
    if (p.down >= 0) a->down = p.factor, a->y = e->data[op_at(e, p.down)->out];
    else a->up = p.factor, a->dy = e->data[op_at(e, p.of_dy)->in[0]];
    if (p.of_add >= 0) a->add = e->data[op_at(e, p.of_add)->in[0]];
}
bool cuda_pooled_left_out(const Exec *e, int i) {
    int norm = cuda_pooled_by(e->g, i);
    if (norm < 0) return false;
    NormArgs a = cuda_norm_args(e, norm);
    return a.down || a.up;
}
