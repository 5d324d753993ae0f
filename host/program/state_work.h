/* state_work.h -- how long the sampler's own arithmetic takes, the networks left out: a device that times it. */
#ifndef DG_STATE_WORK_H
#define DG_STATE_WORK_H
#include "device/device.h"

typedef struct {
    Device device; /* computes as `inner` does; what is made on it goes before it does */
    Backend be;
    Device *inner;
    double seconds; /* in combine, randn, posterior and to_u8 so far; a network's input, made by combine, is part of it */
} StateWork;
/* Fills w, which has to stay where it is. False: `inner` has a queue, and its work is not done when a call returns. */
bool state_work_of(StateWork *w, Device *inner);
#endif
