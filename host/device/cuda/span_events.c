/* span_events.c -- the device's own track. Events wait in a ring until it is full; the oldest are then read, which the device has passed
 * many steps before, so that nothing waits. Times are in milliseconds as floats: they count from an anchor that is never far behind. */
#include "device/cuda/span_events.h"
#include <math.h>
#include <stdlib.h>

enum { MARKS = 1024 };
static const float ANCHOR_FAR = 100; /* ms: a float then still tells 10 nanoseconds apart */
typedef struct {
    cudaEvent_t event;
    SpanName name;
    int number;
    bool ends;
} Mark;
typedef struct SpanEvents {
    Mark mark[MARKS];
    size_t first, count; /* in the ring: those that have not been read */
    cudaEvent_t anchor;
    int64_t anchored, latest; /* nanoseconds of the recorder: when the anchor was passed; of the mark read last */
} SpanEvents;

static void new_event(cudaEvent_t *event) { cuda_check(cudaEventCreateWithFlags(event, cudaEventDefault), "cudaEventCreate"); }
/* The two clocks are set against each other once, with the device idle. */
static SpanEvents *events_of(const Device *d) {
    Cuda *c = d->impl;
    cudaStream_t stream = cuda_stream(d);
    if (c->events) return c->events;
    SpanEvents *s = c->events = dg_alloc(sizeof *s);
    for (int i = 0; i < MARKS; i++) new_event(&s->mark[i].event);
    new_event(&s->anchor);
    cuda_check(cudaStreamSynchronize(stream), "running the kernels");
    cuda_check(cudaEventRecord(s->anchor, stream), "cudaEventRecord");
    cuda_check(cudaEventSynchronize(s->anchor), "cudaEventSynchronize");
    s->anchored = s->latest = spans_now(d->spans);
    return s;
}
static void read_oldest(const Device *d, SpanEvents *s) {
    Mark *m = &s->mark[s->first];
    SpanTrack *track = spans_device(d->spans);
    float ms;
    cuda_check(cudaEventSynchronize(m->event), "running the kernels");
    cuda_check(cudaEventElapsedTime(&ms, s->anchor, m->event), "cudaEventElapsedTime");
    int64_t now = s->anchored + llrint((double)ms * 1e6);
    if (now < s->latest) now = s->latest; /* rounded */
    s->latest = now;
    if (m->ends) track_end(track, m->name, now);
    else track_begin(track, m->name, m->number, now);
    if (ms > ANCHOR_FAR) {
        cudaEvent_t old = s->anchor;
        s->anchor = m->event, m->event = old, s->anchored = now;
    }
    s->first = (s->first + 1) % MARKS, s->count--;
}
static void put(const Device *d, Mark mark) {
    if (((const Cuda *)d->impl)->capturing) return;
    SpanEvents *s = events_of(d);
    if (s->count == MARKS) read_oldest(d, s);
    Mark *m = &s->mark[(s->first + s->count) % MARKS];
    mark.event = m->event;
    *m = mark;
    cuda_check(cudaEventRecord(m->event, cuda_stream(d)), "cudaEventRecord");
    s->count++;
}
void span_events_begin(const Device *d, SpanName n, int number) { put(d, (Mark){.name = n, .number = number}); }
void span_events_end(const Device *d, SpanName n) { put(d, (Mark){.name = n, .ends = true}); }
void span_events_free(Device *d) {
    SpanEvents *s = ((Cuda *)d->impl)->events;
    if (!s) return;
    while (s->count) read_oldest(d, s);
    for (int i = 0; i < MARKS; i++) cuda_check(cudaEventDestroy(s->mark[i].event), "cudaEventDestroy");
    cuda_check(cudaEventDestroy(s->anchor), "cudaEventDestroy");
    free(s);
}
