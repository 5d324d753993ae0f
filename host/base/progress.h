/* progress.h -- how far a run is: a bar with speed and time left on a terminal, a plain line now and then elsewhere. */
#ifndef DG_PROGRESS_H
#define DG_PROGRESS_H
#include <stdbool.h>
#include <stddef.h>

typedef struct {
    bool terminal;
    size_t total;          /* images to make */
    double start, printed; /* seconds on the monotonic clock */
    bool drawn;            /* a bar is on the line */
    bool quiet;            /* set after begin: nothing is printed */
} Progress;
double seconds_now(void); /* monotonic */
void progress_begin(Progress *p, size_t total);
/* done: images finished, and fractions of those in work. Prints when it is time to. */
void progress_show(Progress *p, double done);
void progress_clear(Progress *p); /* before another line is printed */
void progress_end(Progress *p, size_t made);
/* "1:23" or "2:03:04" */
void format_seconds(double seconds, char *out, size_t size);
#endif
