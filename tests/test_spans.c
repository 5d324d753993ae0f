/* test_spans.c -- the recorder of spans: what is inside what, by the clock alone; each name's own seconds, whose sum is the time of what is
 * around them all; a bound on what is kept, and none on what is summed; threads that do not see each other; a device that says when
 * things happened.  */
#include "base/spans.h"
#include "check.h"
#include <math.h>
#include <pthread.h>
#include <time.h>

static double sum(const SpanTotal total[SPAN_NAMES]) {
    double seconds = 0;
    for (int n = 0; n < SPAN_NAMES; n++) seconds += total[n].seconds;
    return seconds;
}
static double length(const SpanRecord *x) { return (double)(x->end - x->begin) * 1e-9; }
static void work(int milliseconds) { nanosleep(&(struct timespec){0, milliseconds * 1000000L}, NULL); }

/* ---- by the thread's clock ----------------------------------------------------------------------------------------------------- */
static void three_steps(Spans *s) {
    spans_begin(s, SPAN_RUN, -1);
    for (int i = 0; i < 3; i++) {
        spans_begin(s, SPAN_STEP, i);
        work(2);
        spans_begin(s, SPAN_NETWORK, -1);
        work(3);
        spans_end(s, SPAN_NETWORK);
        spans_begin(s, SPAN_STATE, -1);
        spans_end(s, SPAN_STATE);
        spans_end(s, SPAN_STEP);
    }
    work(1);
    spans_end(s, SPAN_RUN);
}
static void nesting(void) {
    Spans *s = spans_new(100);
    SpanTotal total[SPAN_NAMES];
    const SpanRecord *x;
    three_steps(s);
    size_t n = track_spans(spans_track(s, 0), &x);
    if (!CHECK(n == 10 && spans_tracks(s) == 1 && !strcmp(track_name(spans_track(s, 0)), "main"), "%zu spans, %d tracks", n,
               spans_tracks(s)))
        return spans_free(s);
    CHECK(x[0].name == SPAN_RUN && x[0].number < 0, "the first is %s, number %d", span_name(x[0].name), x[0].number);
    for (int i = 0; i < 3; i++) {
        const SpanRecord *step = &x[1 + 3 * i], *network = step + 1, *state = step + 2;
        CHECK(step->name == SPAN_STEP && step->number == i && network->name == SPAN_NETWORK && state->name == SPAN_STATE,
              "step %d: %s %d, %s, %s", i, span_name(step->name), step->number, span_name(network->name), span_name(state->name));
        CHECK(step->begin >= x[0].begin && step->end <= x[0].end && network->begin >= step->begin && network->end <= state->begin &&
                  state->end <= step->end && length(network) >= 3e-3 && length(step) >= 5e-3,
              "step %d: %g s with a network of %g s in it", i, length(step), length(network));
    }
    spans_totals(s, total);
    CHECK(total[SPAN_STEP].count == 3 && total[SPAN_NETWORK].count == 3 && total[SPAN_STATE].count == 3 && total[SPAN_RUN].count == 1 &&
              total[SPAN_WAIT].count == 0,
          "%zu steps, %zu networks", total[SPAN_STEP].count, total[SPAN_NETWORK].count);
    CHECK(fabs(sum(total) - length(&x[0])) < 1e-9, "the names' own seconds are %.9f together, the run took %.9f", sum(total),
          length(&x[0]));
    double inside = 0, steps = 0;
    for (int i = 0; i < 3; i++) steps += length(&x[1 + 3 * i]), inside += length(&x[2 + 3 * i]) + length(&x[3 + 3 * i]);
    CHECK(fabs(total[SPAN_STEP].seconds - (steps - inside)) < 1e-9 && fabs(total[SPAN_RUN].seconds - (length(&x[0]) - steps)) < 1e-9,
          "steps have %.9f s of their own, the run %.9f", total[SPAN_STEP].seconds, total[SPAN_RUN].seconds);
    CHECK(spans_kept(s) == 10 && spans_left_out(s) == 0, "%zu kept", spans_kept(s));
    spans_free(s);
}
/* What is left out is in the sums; what is kept has what is around it. */
static void bounded(void) {
    for (size_t most = 0; most <= 12; most++) {
        Spans *s = spans_new(most);
        SpanTotal total[SPAN_NAMES];
        const SpanRecord *x;
        three_steps(s);
        size_t n = track_spans(spans_track(s, 0), &x), kept = most < 10 ? most : 10;
        CHECK(n == kept && spans_kept(s) == kept && spans_left_out(s) == (most ? 10 - kept : 0), "of at most %zu: %zu kept, %zu left out",
              most, n, spans_left_out(s));
        for (size_t i = 0; i < n; i++)
            CHECK(x[i].end >= x[i].begin && (!i || (x[i].begin >= x[0].begin && x[i].end <= x[0].end)), "span %zu of %zu", i, n);
        spans_totals(s, total);
        CHECK(total[SPAN_NETWORK].count == 3 && total[SPAN_NETWORK].seconds >= 9e-3 && sum(total) >= 16e-3, "of at most %zu: %g s", most,
              sum(total));
        spans_free(s);
    }
}

/* ---- threads ------------------------------------------------------------------------------------------------------------------- */
static void *named(void *spans) {
    Spans *s = spans;
    spans_thread(s, "helper");
    for (int i = 0; i < 100; i++) spans_begin(s, SPAN_WRITE, i), spans_end(s, SPAN_WRITE);
    return NULL;
}
static void *unnamed(void *spans) {
    spans_begin(spans, SPAN_HASH, -1), spans_end(spans, SPAN_HASH);
    return NULL;
}
static void threads(void) {
    Spans *s = spans_new(1000);
    SpanTotal total[SPAN_NAMES];
    pthread_t thread[4];
    int started = 0, helpers = 0, others = 0;
    spans_begin(s, SPAN_RUN, -1);
    for (int i = 0; i < 4; i++) started += pthread_create(&thread[i], NULL, i < 3 ? named : unnamed, s) == 0;
    if (!CHECK(started == 4, "%d threads", started)) return;
    for (int i = 0; i < 100; i++) spans_begin(s, SPAN_STEP, i), spans_end(s, SPAN_STEP);
    for (int i = 0; i < 4; i++) pthread_join(thread[i], NULL);
    pthread_create(&thread[0], NULL, named, s); /* it may get the id of one that has ended */
    pthread_join(thread[0], NULL);
    spans_end(s, SPAN_RUN);
    for (int i = 1; i < spans_tracks(s); i++) {
        const SpanRecord *x;
        const SpanTrack *t = spans_track(s, i);
        bool helper = !strcmp(track_name(t), "helper");
        size_t n = track_spans(t, &x), right = 0;
        for (size_t k = 0; k < n; k++) right += x[k].name == (helper ? SPAN_WRITE : SPAN_HASH) && x[k].number == (helper ? (int)k : -1);
        CHECK(right == n && n == (helper ? 100 : 1) && !track_is_device(t), "track %d, %s: %zu spans, %zu right", i, track_name(t), n,
              right);
        helpers += helper, others += !strcmp(track_name(t), "thread");
    }
    spans_totals(s, total);
    CHECK(helpers == 4 && others == 1 && total[SPAN_WRITE].count == 0 && total[SPAN_STEP].count == 100, "%d and %d tracks, %zu steps",
          helpers, others, total[SPAN_STEP].count);
    spans_free(s);
}

/* ---- a device ------------------------------------------------------------------------------------------------------------------- */
static void device(void) {
    Spans *s = spans_new(100);
    const SpanRecord *x;
    SpanTotal total[SPAN_NAMES];
    SpanTrack *t = spans_device(s);
    track_begin(t, SPAN_WORK, 5, 100);
    track_begin(t, SPAN_NETWORK, -1, 250);
    track_end(t, SPAN_NETWORK, 300);
    track_end(t, SPAN_WORK, 1100);
    spans_begin(s, SPAN_WAIT, -1), spans_end(s, SPAN_WAIT);
    CHECK(spans_device(s) == t && spans_tracks(s) == 2 && track_is_device(t) && !track_is_device(spans_track(s, 0)), "a track of its own");
    size_t n = track_spans(t, &x);
    CHECK(n == 2 && x[0].begin == 100 && x[0].end == 1100 && x[0].number == 5 && x[1].begin == 250 && x[1].end == 300, "%zu spans", n);
    track_totals(t, total);
    CHECK(fabs(total[SPAN_WORK].seconds - 950e-9) < 1e-15 && fabs(total[SPAN_NETWORK].seconds - 50e-9) < 1e-15 && !total[SPAN_WAIT].count,
          "%g and %g s", total[SPAN_WORK].seconds, total[SPAN_NETWORK].seconds);
    spans_free(s);
}
/* Nobody asked: nothing is done, wherever it is said. */
static void off(void) {
    SpanTotal total[SPAN_NAMES];
    memset(total, 0xff, sizeof total);
    spans_thread(NULL, "x");
    spans_begin(NULL, SPAN_STEP, 1), spans_end(NULL, SPAN_STATE);
    spans_totals(NULL, total);
    spans_free(NULL);
    CHECK(sum(total) == 0 && total[SPAN_STEP].count == 0, "%g s of nothing", sum(total));
}
static void names(void) {
    for (int a = 0; a < SPAN_NAMES; a++) {
        const char *name = span_name((SpanName)a);
        int same = 0;
        for (int b = 0; b < SPAN_NAMES; b++) same += !strcmp(name, span_name((SpanName)b));
        CHECK(same == 1 && name[0] && !strpbrk(name, " /\"\\"), "the name \"%s\" is there %d times", name, same);
    }
}
/* docs/profiling.md has a row for each. */
static void documented(void) {
    static char text[1 << 16];
    FILE *f = fopen("docs/profiling.md", "r");
    size_t n = f ? fread(text, 1, sizeof text - 1, f) : 0;
    if (f) fclose(f);
    if (!CHECK(n > 0, "no docs/profiling.md here")) return;
    for (int k = 0; k < SPAN_NAMES; k++) {
        char name[64];
        const char *row = text;
        bool found = false, device = false;
        snprintf(name, sizeof name, "`%s`", span_name((SpanName)k));
        while (!found && (row = strstr(row, "\n| `"))) {
            row += 3;
            const char *end = strchr(row, '|'), *at = strstr(row, name);
            found = end && at && at < end, device = found && !strncmp(end, "| yes |", 7);
        }
        CHECK(found && device == span_of_device((SpanName)k), "%s in the table of docs/profiling.md: %d, of the device: %d", name, found,
              device);
    }
}
int main(void) {
    names();
    documented();
    nesting();
    bounded();
    threads();
    device();
    off();
    return check_done("test_spans");
}
