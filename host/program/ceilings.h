/* ceilings.h -- what a device does at best, measured by its own ops: what an op's time is a share of.
 *
 * The product is a 1x1 convolution, which is one in every backend, in the device's storage type and by whatever runs
 * convolutions there; the copy is an add of nothing. Both grow until they take long enough to mean something, or memory ends. */
#ifndef DG_CEILINGS_H
#define DG_CEILINGS_H
#include "device/device.h"
#include "base/text.h"

typedef struct {
    double flops, bytes;        /* per second; 0: not even the smallest fitted */
    int rows, channels;         /* of the product: {rows, channels} by {channels, channels} */
    size_t copied;              /* bytes of the copy; read and written, they count twice */
    const char *implementation; /* of the product */
} Ceilings;
Ceilings ceilings_measure(Device *d);
/* One line; appends ", \"ceilings\": {...}" to json. */
void ceilings_print(const Ceilings *c, const Device *d, Text *json);
/* Seconds that work of so much takes at best; 0 where nothing is known. */
double ceilings_floor(const Ceilings *c, double flops, double bytes);
#endif
