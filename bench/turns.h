/* turns.h -- two subjects that take turns, in processor time of all threads, so that other jobs disturb them little: a rate is one of a
 * processor. What programs that hold a piece of the CPU backend against a yardstick share.                                    */
#ifndef DG_BENCH_TURNS_H
#define DG_BENCH_TURNS_H
#include "device/device.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct {
    void (*call)(void *context);
    void *context;
    double work;    /* of a call: operations, or bytes */
    int calls;      /* of one turn */
    double seconds; /* of a call, in the last turn */
} Subject;
enum { ROUNDS = 11, MOST_ROUNDS = 1001 };
typedef struct
{ /* work a second of the one and of the other: medians of the rounds; of the rounds' ratios the median, least and greatest */
    double rate, other, ratio, least, greatest;
} Rates;

typedef struct { /* what such a program is asked for: how many rounds, of which rows */
    int rounds;  /* 0: it was asked wrongly, and has said how to */
    const char *word;
    Device *d;
} Asked;
static inline Asked asked(int argc, char **argv, const char *program) {
    Asked a = {argc > 1 ? atoi(argv[1]) : ROUNDS, argc > 2 ? argv[2] : "", NULL};
    if (argc > 3 || a.rounds < 1 || a.rounds > MOST_ROUNDS) {
        fprintf(stderr, "usage: %s [ROUNDS, 1 to %d [WORD]]\n", program, MOST_ROUNDS);
        a.rounds = 0;
        return a;
    }
    Error e;
    a.d = device_open("cpu", NULL, &e);
    DG_CHECK(a.d, "%s", e.text);
    return a;
}
static inline int asked_end(const Asked *a, int shown, const char *program) { /* the program's status */
    device_close(a->d);
    if (!shown) fprintf(stderr, "%s: no row's name contains '%s'\n", program, a->word);
    return !shown;
}

static inline double processor_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}
static inline double turn(Subject *s) {
    double start = processor_seconds();
    for (int i = 0; i < s->calls; i++) s->call(s->context);
    return s->seconds = (processor_seconds() - start) / s->calls;
}
static inline void settle(Subject *s) { /* as many calls as take long enough for the clock and the caches */
    for (s->calls = 1; turn(s) * s->calls < 0.03; s->calls *= 2) {}
}
static inline int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}
static inline double median(double *v, int n) {
    qsort(v, (size_t)n, sizeof *v, by_value);
    return n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}
static inline Rates take_turns(Subject *a, Subject *b, int rounds) {
    double rate[MOST_ROUNDS], other[MOST_ROUNDS], ratio[MOST_ROUNDS];
    DG_CHECK(rounds > 0 && rounds <= MOST_ROUNDS, "%d rounds", rounds);
    settle(a), settle(b);
    for (int i = 0; i < rounds; i++) {
        if (i % 2) turn(a), turn(b);
        else turn(b), turn(a);
        rate[i] = a->work / a->seconds, other[i] = b->work / b->seconds, ratio[i] = rate[i] / other[i];
    }
    double middle = median(ratio, rounds);
    return (Rates){median(rate, rounds), median(other, rounds), middle, ratio[0], ratio[rounds - 1]};
}

/* ---- a copy of so many bytes, half of them read, half written ------------------------------------------------------------------ */
typedef struct {
    char *from, *to;
    size_t bytes;
} Copy;
static inline Copy copy_new(double bytes) {
    Copy c = {.bytes = (size_t)(bytes / 2)};
    c.from = dg_alloc(c.bytes), c.to = dg_alloc(c.bytes);
    memset(c.from, 1, c.bytes);
    return c;
}
static inline void copy_call(void *copy) {
    const Copy *c = copy;
    const size_t piece = 1 << 16;
#pragma omp parallel for
    for (size_t at = 0; at < c->bytes; at += piece) memcpy(c->to + at, c->from + at, c->bytes - at < piece ? c->bytes - at : piece);
}
static inline Subject copy_subject(Copy *c) { return (Subject){.call = copy_call, .context = c, .work = 2 * (double)c->bytes}; }
static inline void copy_free(Copy *c) { free(c->from), free(c->to); }
#endif
