/* span_events.h -- ranges by the device's own clock: an event in the stream at each begin and end, read when it is long past. */
#ifndef DG_CUDA_SPAN_EVENTS_H
#define DG_CUDA_SPAN_EVENTS_H
#include "device/cuda/device.h"

/* On the track of d->spans. What is being captured has no time yet: its begins and ends are left out, and the replays are inside what
 * is around them.                                                                                                         */
void span_events_begin(const Device *d, SpanName n, int number);
void span_events_end(const Device *d, SpanName n);
void span_events_free(Device *d); /* puts what has not been read on the track first; the stream's work is done */
#endif
