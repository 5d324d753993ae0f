/* spans.h -- who did what when: nested spans of time with names, for each thread and for a device, in bounded memory; and the seconds that
 * each name took by itself. Every function takes a recorder of NULL, and then does nothing.                               */
#ifndef DG_SPANS_H
#define DG_SPANS_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif

/* X(name in the code, name on time lines, whether what is enqueued in it is a span of the device too). docs/profiling.md has what each
 * is around.                                                                                                              */
#define SPAN_TABLE(X)                                                                                                                      \
    X(SPAN_PREPARE, "prepare", false)                                                                                                      \
    X(SPAN_RUN, "run", false)                                                                                                              \
    X(SPAN_BATCH, "batch", false)                                                                                                          \
    X(SPAN_REPEAT, "repeat", false)                                                                                                        \
    X(SPAN_LATENTS, "latents", false)                                                                                                      \
    X(SPAN_STEP, "step", false)                                                                                                            \
    X(SPAN_WORK, "work", true)                                                                                                             \
    X(SPAN_CAPTURE, "capture", false)                                                                                                      \
    X(SPAN_STATE, "state", false)                                                                                                          \
    X(SPAN_NETWORK, "network", true)                                                                                                       \
    X(SPAN_CFG, "cfg", true)                                                                                                               \
    X(SPAN_AUTOGUIDANCE, "autoguidance", true)                                                                                             \
    X(SPAN_DISCRIMINATOR, "discriminator", true)                                                                                           \
    X(SPAN_CLASSIFIER, "classifier", true)                                                                                                 \
    X(SPAN_DECODE, "decode", true)                                                                                                         \
    X(SPAN_AUTOENCODER, "autoencoder", true)                                                                                               \
    X(SPAN_ENCODE, "encode", true)                                                                                                         \
    X(SPAN_FEATURES, "features", true)                                                                                                     \
    X(SPAN_DOWNLOAD_IMAGES, "download_images", false)                                                                                      \
    X(SPAN_DOWNLOAD_FEATURES, "download_features", false)                                                                                  \
    X(SPAN_STATISTICS, "statistics", false)                                                                                                \
    X(SPAN_DISTANCE, "distance", false)                                                                                                    \
    X(SPAN_DELIVER, "deliver", false)                                                                                                      \
    X(SPAN_WAIT, "wait", false)                                                                                                            \
    X(SPAN_WRITE, "write", false)                                                                                                          \
    X(SPAN_HASH, "hash", false)                                                                                                            \
    X(SPAN_FINISH, "finish", false)
#define SPAN_ID(id, name, device) id,
typedef enum { SPAN_TABLE(SPAN_ID) SPAN_NAMES } SpanName;
#undef SPAN_ID
const char *span_name(SpanName n);
bool span_of_device(SpanName n);

typedef struct {
    int64_t begin, end; /* nanoseconds since the recorder was made */
    int number;         /* of a step, a batch; below 0: none */
    SpanName name;
} SpanRecord;
typedef struct {
    double seconds; /* those of the spans inside left out */
    size_t count;
} SpanTotal;
typedef struct SpanTrack SpanTrack; /* what one thread, or the device, does: one thing inside another, never side by side */
typedef struct Spans Spans;
enum { SPANS_MOST = 1 << 18, SPAN_DEPTH = 16 };

/* Keeps the first `most` spans of all tracks together; of those that come later, only what spans_totals gives. 0: of all. The thread
 * that makes it is "main".                                                                                               */
Spans *spans_new(size_t most);
void spans_free(Spans *s); /* every span has ended */
/* The calling thread's own track; a thread that does not say its name before its first span is called "thread". */
void spans_thread(Spans *s, const char *name);
void spans_begin(Spans *s, SpanName n, int number);
void spans_end(Spans *s, SpanName n); /* n: of the span that began last */
/* Of the calling thread's spans that have ended. Between the begin and the end of a span around all others, the sum of all names is that
 * span's time: what no name has is in the one around it.                                                                  */
void spans_totals(Spans *s, SpanTotal total[SPAN_NAMES]);

/* A device that says itself, later, when things happened: in the order of time. */
int64_t spans_now(const Spans *s);
SpanTrack *spans_device(Spans *s); /* made by the first call */
void track_begin(SpanTrack *t, SpanName n, int number, int64_t now);
void track_end(SpanTrack *t, SpanName n, int64_t now);

/* For whoever writes it all down, when the other threads have ended. Tracks are in the order in which they were made. */
int spans_tracks(const Spans *s);
const SpanTrack *spans_track(const Spans *s, int i);
const char *track_name(const SpanTrack *t);
bool track_is_device(const SpanTrack *t);
size_t track_spans(const SpanTrack *t, const SpanRecord **span); /* in the order of their begins */
void track_totals(const SpanTrack *t, SpanTotal total[SPAN_NAMES]);
size_t spans_kept(const Spans *s);
size_t spans_left_out(const Spans *s); /* not kept, as there were too many; where none are to be kept, none were left out */

#ifdef __cplusplus
}
#endif
#endif
