/* tracing.c -- the file of --trace, and the switch of --profile. */
#include "program/tracing.h"
#include "base/file.h"
#include "base/folder.h"
#include "base/printable.h"
#include "base/text.h"
#include "base/version.h"
#include "program/grid_file.h"
#include "weights_tools/weights_tools.h"
#include <stdlib.h>
#include <string.h>

/* ---- options ------------------------------------------------------------------------------------------------------------------ */
Trace trace_begin(const TraceOptions *o, const char *command) {
    return (Trace){.path = o->path, .command = command, .spans = o->path ? spans_new(SPANS_MOST) : NULL};
}
bool trace_check(const Trace *t, const char *outdir, const char *other, const char *const *input, int inputs, Error *e) {
    if (!t->path) return true;
    if (other && same_target(t->path, other))
        return dg_error(e, "--trace %s is another output of this run: give the trace another name", t->path);
    return output_file_check("trace", "trace", t->path, outdir, input, inputs, e);
}
bool trace_open(Trace *t, Error *e) {
    if (!t->path) return true;
    t->ready = make_parent(t->path, e) && out_check(t->path, e);
    if (!t->ready) return dg_error_context(e, "--trace");
    file_remove_strays(t->path);
    return true;
}
void trace_attach(Trace *t, Device *d) {
    d->spans = t->spans;
    snprintf(t->device, sizeof t->device, "device %s, %s", d->be->name, precision_name(d->precision));
}

/* ---- the file ----------------------------------------------------------------------------------------------------------------- */
enum { HOST = 1, DEVICE = 2 /* "processes" of the time line */, PIECE = 1 << 16 /* bytes written at a time */ };
typedef struct {
    OutFile *file;
    Text text; /* that has not been written */
    bool any;  /* events so far */
} TraceFile;
static bool flush(TraceFile *f, Error *e) {
    bool ok = out_write(f->file, f->text.text, f->text.len, e);
    f->text.len = 0;
    return ok;
}
static void next_event(TraceFile *f) {
    text_printf(&f->text, f->any ? ",\n" : "\n");
    f->any = true;
}
static void put_name(TraceFile *f, const char *what, int process, int thread, const char *name) {
    next_event(f);
    text_printf(&f->text, "{\"name\": \"%s\", \"ph\": \"M\", \"pid\": %d, \"tid\": %d, \"args\": {\"name\": ", what, process, thread);
    text_json_string(&f->text, name);
    text_printf(&f->text, "}}");
}
/* Nanoseconds as microseconds, exactly: what lies inside something else does so in the file. */
static void put_time(Text *t, const char *key, int64_t ns) {
    text_printf(t, ", \"%s\": %lld.%03d", key, (long long)(ns / 1000), (int)(ns % 1000));
}
static void put_span(TraceFile *f, const SpanRecord *x, int process, int thread) {
    next_event(f);
    text_printf(&f->text, "{\"name\": \"%s\", \"ph\": \"X\", \"pid\": %d, \"tid\": %d", span_name(x->name), process, thread);
    put_time(&f->text, "ts", x->begin), put_time(&f->text, "dur", x->end - x->begin);
    if (x->number >= 0) text_printf(&f->text, ", \"args\": {\"number\": %d}", x->number);
    text_printf(&f->text, "}");
}
static bool put_spans(TraceFile *f, const SpanTrack *t, int process, int thread, bool all, Error *e) {
    const SpanRecord *span;
    size_t n = track_spans(t, &span);
    bool ok = true;
    for (size_t i = 0; i < n && ok; i++) {
        if (all || span_of_device(span[i].name)) put_span(f, &span[i], process, thread);
        if (f->text.len >= PIECE) ok = flush(f, e);
    }
    return ok;
}
static bool has_device_spans(const SpanTrack *t) {
    const SpanRecord *span;
    size_t n = track_spans(t, &span);
    for (size_t i = 0; i < n; i++)
        if (span_of_device(span[i].name)) return true;
    return false;
}
/* A device that keeps no time of its own works while it is called: its track is what its callers did with it. */
static bool put_tracks(TraceFile *f, const Trace *t, Error *e) {
    int tracks = spans_tracks(t->spans);
    bool own = false, ok = true;
    char process[64];
    for (int i = 0; i < tracks; i++) own |= track_is_device(spans_track(t->spans, i));
    snprintf(process, sizeof process, "dg_cuda %s", t->command);
    put_name(f, "process_name", HOST, 0, process);
    if (t->device[0]) put_name(f, "process_name", DEVICE, 0, t->device);
    for (int i = 0; i < tracks && ok; i++) {
        const SpanTrack *k = spans_track(t->spans, i);
        bool device = track_is_device(k);
        put_name(f, "thread_name", device ? DEVICE : HOST, i + 1, device ? "stream" : track_name(k));
        ok = put_spans(f, k, device ? DEVICE : HOST, i + 1, true, e);
        if (own || !ok || !has_device_spans(k)) continue;
        char caller[64];
        snprintf(caller, sizeof caller, "called by %s", track_name(k));
        put_name(f, "thread_name", DEVICE, i + 1, caller);
        ok = put_spans(f, k, DEVICE, i + 1, false, e);
    }
    return ok;
}
/* The seconds of each name by itself, of every track: those of spans that were not kept too. */
static void put_totals(Text *t, const Spans *s) {
    text_printf(t, ", \"seconds\": {");
    for (int i = 0, n = spans_tracks(s); i < n; i++) {
        SpanTotal total[SPAN_NAMES];
        bool any = false;
        track_totals(spans_track(s, i), total);
        text_printf(t, "%s\"%d %s\": {", i ? ", " : "", i + 1, track_name(spans_track(s, i)));
        for (int k = 0; k < SPAN_NAMES; k++) {
            if (!total[k].count) continue;
            text_printf(t, "%s\"%s\": {\"count\": %zu, \"seconds\": %.9f}", any ? ", " : "", span_name((SpanName)k), total[k].count,
                        total[k].seconds);
            any = true;
        }
        text_printf(t, "}");
    }
    text_printf(t, "}");
}
static bool write_all(TraceFile *f, const Trace *t, Error *e) {
    text_printf(&f->text, "{\"displayTimeUnit\": \"ms\", \"traceEvents\": [");
    if (!put_tracks(f, t, e)) return false;
    text_printf(&f->text, "\n],\n\"otherData\": {\"version\": \"%s\", \"left_out\": %zu", DG_VERSION, spans_left_out(t->spans));
    put_totals(&f->text, t->spans);
    text_printf(&f->text, "}}\n");
    return flush(f, e);
}
static bool write_trace(const Trace *t, Error *e) {
    TraceFile f = {.file = out_open(t->path, e)};
    if (!f.file) return false;
    bool ok = write_all(&f, t, e);
    text_free(&f.text);
    if (!ok) out_abandon(f.file);
    return ok && out_finish(f.file, e);
}
int trace_finish(Trace *t, int code, Error *e) {
    if (!t->spans) return code;
    Error writing = {0};
    if (t->ready && !write_trace(t, &writing)) {
        dg_error_context(&writing, "--trace");
        if (code == EXIT_DONE) *e = writing, code = EXIT_FAILED;
    } else if (t->ready && spans_left_out(t->spans)) {
        printf("the time line in ");
        print_text(stdout, t->path);
        printf(" has the first %zu spans; %zu later ones were left out\n", spans_kept(t->spans), spans_left_out(t->spans));
    }
    spans_free(t->spans);
    t->spans = NULL;
    return code;
}

/* ---- a profiler's switch ---------------------------------------------------------------------------------------------------------- */
bool profiler_check(const TraceOptions *o, const Device *d, Error *e) {
    return !o->profile || d->be->has_profiler ||
           dg_error(e, "--profile: device %s has no profiler to tell; it is for cuda, under nsys or ncu (--trace works everywhere)",
                    d->be->name);
}
static void turn(Profiler *p, bool on) {
    if (p->on == on) return;
    p->on = on;
    p->device->be->profiler(p->device, on);
}
void profiler_next(Profiler *p) {
    if (!p->batches) return;
    int done = p->begun++ - p->skip;
    if (done == 0) turn(p, true);
    if (done == p->batches) turn(p, false);
}
void profiler_end(Profiler *p, const char *what) {
    if (!p->batches) return;
    int done = p->begun - p->skip;
    if (p->on) turn(p, false);
    if (done < p->batches) printf("--profile %d: %d %s were recorded, as there were no more\n", p->batches, done > 0 ? done : 0, what);
}
