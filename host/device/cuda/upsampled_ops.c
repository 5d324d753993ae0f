/* upsampled_ops.c -- the resamples of upsampled.c on a device: which are left out, and the arguments of what reads them. */
#include "device/cuda/ops.h"
#include "device/cuda/upsampled.h"

/* A convolution that reads the resample's output as `up` says, as it reads its input instead. */
static ConvArgs with_up(const Exec *e, int resample, unsigned up, ConvArgs a) {
    Tid t = op_at(e, resample)->in[0];
    Shape small = exec_shape(e, t);
    a.up = up;
    if (up == UP_X) a.x = e->data[t], a.height = small.h, a.width = small.w;
    if (up == UP_SKIP) a.skip[0] = e->data[t];
    if (up == UP_ADD) a.add = e->data[t];
    return a;
}
bool cuda_up_left_out(const Exec *e, int i) {
    if (e->dev->provider != DEVICE_OWN || !cuda_up_candidate(e->g, i)) return false;
    for (int j = i + 1, from; j < e->g->nop; j++) {
        const Op *op = op_at(e, j);
        bool reads = false;
        for (int k = 0; k < OP_INPUTS; k++) reads |= op->in[k] == op_at(e, i)->out;
        if (!reads) continue;
        unsigned up = cuda_up_of(e->g, j, &from);
        if (!up || !cuda_is_image_conv(e, op)) return false;
        ConvArgs a = with_up(e, i, up, cuda_conv_args(e, j));
        if (!cuda_conv_goes_up(&a)) return false;
    }
    return true;
}
unsigned cuda_up_args(const Exec *e, int i, ConvArgs *a) {
    int resample;
    unsigned up = cuda_up_of(e->g, i, &resample);
    if (!up || !cuda_up_left_out(e, resample)) return 0;
    *a = with_up(e, resample, up, *a);
    return up;
}
