/* spans.c -- a track for every thread that begins a span, found by the thread's id: no lock but to make one. */
#include "base/spans.h"
#include "base/error.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct { /* a span that has not ended */
    SpanName name;
    int64_t begin, inside; /* inside: of the spans in it that have ended */
    size_t place;          /* among the spans that are kept; NOWHERE */
} Open;
static const size_t NOWHERE = SIZE_MAX;
struct SpanTrack {
    Spans *spans;
    SpanTrack *before; /* made before this one */
    const char *name;
    bool device;
    pthread_t thread;
    SpanRecord *span;
    size_t count, room;
    Open open[SPAN_DEPTH];
    int depth;
    int64_t alone[SPAN_NAMES]; /* nanoseconds, without the spans inside */
    size_t ended[SPAN_NAMES];
};
struct Spans {
    struct timespec start;
    size_t most;
    atomic_size_t begun; /* spans, of all tracks */
    pthread_mutex_t lock;
    SpanTrack *_Atomic last;
    SpanTrack *device;
};

#define SPAN_NAME(id, name, device)   name,
#define SPAN_DEVICE(id, name, device) device,
const char *span_name(SpanName n) {
    static const char *const names[SPAN_NAMES] = {SPAN_TABLE(SPAN_NAME)};
    return names[n];
}
bool span_of_device(SpanName n) {
    static const bool device[SPAN_NAMES] = {SPAN_TABLE(SPAN_DEVICE)};
    return device[n];
}

/* ---- tracks ---------------------------------------------------------------------------------------------------------------- */
static SpanTrack *track_new(Spans *s, const char *name, bool device) {
    SpanTrack *t = dg_alloc(sizeof *t);
    t->spans = s, t->name = name, t->device = device, t->thread = pthread_self();
    pthread_mutex_lock(&s->lock);
    t->before = atomic_load(&s->last);
    atomic_store(&s->last, t);
    pthread_mutex_unlock(&s->lock);
    return t;
}
/* Of the calling thread, the latest where a thread that has ended had the same id; or NULL. */
static SpanTrack *own_track(Spans *s) {
    for (SpanTrack *t = atomic_load(&s->last); t; t = t->before)
        if (!t->device && pthread_equal(t->thread, pthread_self())) return t;
    return NULL;
}
Spans *spans_new(size_t most) {
    Spans *s = dg_alloc(sizeof *s);
    s->most = most;
    atomic_init(&s->begun, 0), atomic_init(&s->last, NULL);
    pthread_mutex_init(&s->lock, NULL);
    clock_gettime(CLOCK_MONOTONIC, &s->start);
    track_new(s, "main", false);
    return s;
}
void spans_free(Spans *s) {
    if (!s) return;
    for (SpanTrack *t = atomic_load(&s->last), *before; t; t = before) {
        DG_CHECK(t->depth == 0, "%s: the span %s did not end", t->name, span_name(t->open[t->depth - 1].name));
        before = t->before;
        free(t->span);
        free(t);
    }
    pthread_mutex_destroy(&s->lock);
    free(s);
}
void spans_thread(Spans *s, const char *name) {
    if (s) track_new(s, name, false);
}
SpanTrack *spans_device(Spans *s) {
    if (!s->device) s->device = track_new(s, "device", true);
    return s->device;
}

/* ---- spans ----------------------------------------------------------------------------------------------------------------- */
int64_t spans_now(const Spans *s) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)(t.tv_sec - s->start.tv_sec) * 1000000000 + (t.tv_nsec - s->start.tv_nsec);
}
/* A place for a span, taken when it begins: one that is kept has what is around it. */
static size_t place(SpanTrack *t, SpanRecord x) {
    if (atomic_fetch_add(&t->spans->begun, 1) >= t->spans->most) return NOWHERE;
    if (t->count == t->room) {
        t->room = t->room ? 2 * t->room : 256;
        t->span = dg_realloc(t->span, t->room * sizeof *t->span);
    }
    t->span[t->count] = x;
    return t->count++;
}
void track_begin(SpanTrack *t, SpanName n, int number, int64_t now) {
    DG_CHECK(t->depth < SPAN_DEPTH, "%s: %s is the span number %d one inside another", t->name, span_name(n), SPAN_DEPTH + 1);
    t->open[t->depth++] = (Open){.name = n, .begin = now, .place = place(t, (SpanRecord){now, now, number, n})};
}
void track_end(SpanTrack *t, SpanName n, int64_t now) {
    DG_CHECK(t->depth > 0 && t->open[t->depth - 1].name == n, "%s: %s ends, and what began last is %s", t->name, span_name(n),
             t->depth ? span_name(t->open[t->depth - 1].name) : "nothing");
    const Open *o = &t->open[--t->depth];
    int64_t took = now - o->begin;
    if (o->place != NOWHERE) t->span[o->place].end = now;
    if (t->depth) t->open[t->depth - 1].inside += took;
    t->alone[n] += took - o->inside;
    t->ended[n]++;
}
void spans_begin(Spans *s, SpanName n, int number) {
    if (!s) return;
    SpanTrack *t = own_track(s);
    if (!t) t = track_new(s, "thread", false);
    track_begin(t, n, number, spans_now(s));
}
void spans_end(Spans *s, SpanName n) {
    if (!s) return;
    SpanTrack *t = own_track(s);
    DG_CHECK(t, "%s ends in a thread that has begun nothing", span_name(n));
    track_end(t, n, spans_now(s));
}

/* ---- what was recorded -------------------------------------------------------------------------------------------------------- */
int spans_tracks(const Spans *s) {
    int n = 0;
    for (const SpanTrack *t = atomic_load(&s->last); t; t = t->before) n++;
    return n;
}
const SpanTrack *spans_track(const Spans *s, int i) {
    const SpanTrack *t = atomic_load(&s->last);
    for (int n = spans_tracks(s) - 1; n > i; n--) t = t->before;
    return t;
}
const char *track_name(const SpanTrack *t) { return t->name; }
bool track_is_device(const SpanTrack *t) { return t->device; }
size_t track_spans(const SpanTrack *t, const SpanRecord **span) {
    *span = t->span;
    return t->count;
}
void track_totals(const SpanTrack *t, SpanTotal total[SPAN_NAMES]) {
    for (int n = 0; n < SPAN_NAMES; n++) total[n] = (SpanTotal){(double)t->alone[n] * 1e-9, t->ended[n]};
}
void spans_totals(Spans *s, SpanTotal total[SPAN_NAMES]) {
    const SpanTrack *t = s ? own_track(s) : NULL;
    if (t) track_totals(t, total);
    else memset(total, 0, SPAN_NAMES * sizeof *total);
}
size_t spans_kept(const Spans *s) {
    size_t begun = atomic_load(&s->begun);
    return begun < s->most ? begun : s->most;
}
size_t spans_left_out(const Spans *s) { return s->most ? atomic_load(&s->begun) - spans_kept(s) : 0; }
