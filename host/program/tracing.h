/* tracing.h -- where a run's time goes: the options --trace and --profile, the file of the first, the switch of the second. */
#ifndef DG_TRACING_H
#define DG_TRACING_H
#include "base/spans.h"
#include "device/device.h"
#include "program/cli.h"

typedef struct {
    const char *path; /* NULL: no trace */
    int profile;      /* batches; 0: none */
} TraceOptions;
enum { MAX_PROFILED = 1000000 };
/* Rows for the option table of a command whose options, of type T, have a TraceOptions as member m. */
/* clang-format off */
#define TRACE_OPTIONS(T, m, what)                                                                                      \
    {"Where its time goes", "trace", NULL, OPTION_TEXT, offsetof(T, m.path), "FILE", 0, 0, false,                      \
     "write a time line of the program's threads and of the device to FILE, in Chrome's trace format (chrome://tracing, Perfetto)"}, \
        {NULL, "profile", NULL, OPTION_INT, offsetof(T, m.profile), "N", 0, MAX_PROFILED, false,                       \
         "on cuda: tell the profiler that the program was started under (nsys, ncu) to record " what}
/* clang-format on */

typedef struct {
    const char *path;
    const char *command; /* "generate" */
    Spans *spans;        /* NULL: no trace */
    char device[64];
    bool ready; /* the file may be written */
} Trace;
Trace trace_begin(const TraceOptions *o, const char *command); /* records the calling thread from here on */
/* Whether the file is none that the run reads or writes otherwise; other: such a one, or NULL. Wrong usage where it is. */
bool trace_check(const Trace *t, const char *outdir, const char *other, const char *const *input, int inputs, Error *e);
bool trace_open(Trace *t, Error *e);    /* after that: whether it can be written, long before it is */
void trace_attach(Trace *t, Device *d); /* which records from here on */
/* When the device is closed and the other threads have ended: writes the file, if it was opened, and frees the recorder. code: how the
 * run ends; returned, or EXIT_FAILED where the file alone could not be written.                                            */
int trace_finish(Trace *t, int code, Error *e);

/* Tells a profiler to record `batches` of the pieces of work that a run does one after the other, after `skip` of them. */
bool profiler_check(const TraceOptions *o, const Device *d, Error *e); /* whether the device has one; wrong usage where not */
typedef struct {
    Device *device;
    int batches; /* 0: nothing is told */
    int skip, begun;
    bool on;
} Profiler;
void profiler_next(Profiler *p); /* another piece begins */
/* There are no more. Says so where nothing was recorded, or fewer than were asked for; what: "batches". */
void profiler_end(Profiler *p, const char *what);
#endif
