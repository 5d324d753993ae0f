/* progress.c -- the progress bar, on standard output. */
#include "base/progress.h"
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const double BAR_EVERY = .1, LINE_EVERY = 10; /* seconds */
enum { BAR_WIDTH = 30 };

double seconds_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
void format_seconds(double seconds, char *out, size_t size) {
    long s = seconds < 1e9 ? (long)(seconds + .5) : 1000000000;
    if (s >= 3600) snprintf(out, size, "%ld:%02ld:%02ld", s / 3600, s / 60 % 60, s % 60);
    else snprintf(out, size, "%ld:%02ld", s / 60, s % 60);
}
void progress_begin(Progress *p, size_t total) {
    *p = (Progress){.terminal = isatty(STDOUT_FILENO), .total = total, .start = seconds_now()};
    p->printed = p->start;
}
void progress_show(Progress *p, double done) {
    if (p->quiet) return;
    double now = seconds_now(), speed = done / (now - p->start + 1e-9);
    if (now - p->printed < (p->terminal ? BAR_EVERY : LINE_EVERY) || done <= 0) return;
    p->printed = now;
    char left[32], bar[BAR_WIDTH + 1];
    format_seconds(((double)p->total - done) / speed, left, sizeof left);
    if (!p->terminal) {
        printf("%zu of %zu images, %.3g images/s, %s left\n", (size_t)done, p->total, speed, left);
    } else {
        int full = (int)(done / (double)p->total * BAR_WIDTH);
        for (int i = 0; i < BAR_WIDTH; i++) bar[i] = i < full ? '#' : '.';
        bar[BAR_WIDTH] = 0;
        printf("\r\033[K[%s] %zu/%zu  %.3g images/s  %s left", bar, (size_t)done, p->total, speed, left);
        p->drawn = true;
    }
    fflush(stdout);
}
void progress_clear(Progress *p) {
    if (p->drawn) printf("\r\033[K");
    p->drawn = false;
    fflush(stdout);
}
void progress_end(Progress *p, size_t made) {
    progress_clear(p);
    double seconds = seconds_now() - p->start;
    char took[32];
    format_seconds(seconds, took, sizeof took);
    if (made && !p->quiet) printf("%zu images in %s, %.3g images/s\n", made, took, (double)made / seconds);
}
