/* sweep.c -- the command `sweep`: cells are measured one after the other, the few-image ones first where there is a screening. */
#include "program/sweep.h"
#include "base/divert.h"
#include "base/file.h"
#include "base/folder.h"
#include "base/progress.h"
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

typedef struct {
    int todo, tried; /* cells that this run is to measure, as far as is known, and those it has begun */
    int failed;
    Error first;                         /* failure */
    double images_todo, images, seconds; /* the first of all cells to be measured, the others of those that were */
} Tally;

/* What the cells so far took says how long the others take. */
static void say_time(const Tally *t, double seconds) {
    char took[32], left[32];
    format_seconds(seconds, took, sizeof took);
    format_seconds(t->seconds / t->images * (t->images_todo - t->images), left, sizeof left);
    printf(" (%s, about %s left)\n", took, left);
}

/* ---- one cell ------------------------------------------------------------------------------------------------------------------------- */
static void say_values(const SweepCell *c) {
    for (int i = 0; i < c->values; i++) printf("%s%s %.6g", i ? ", " : "", c->value[i].name, c->value[i].value);
}
static void keep_result(SweepCell *c, const Measured *m) {
    c->values = m->result.values, c->seconds = m->seconds;
    for (int i = 0; i < c->values; i++) {
        snprintf(c->value[i].name, sizeof c->value[i].name, "%s", m->result.value[i].name);
        c->value[i].value = m->result.value[i].value;
    }
}
static void fail_cell(SweepCell *c, Tally *tally, const char *name, const char *sentence) {
    c->failure = dg_strdup(sentence);
    if (!tally->failed++) dg_error(&tally->first, "%s: %s", name, sentence);
    printf("  failed: ");
    print_text(stdout, sentence);
    printf("\n");
}
/* EXIT_DONE: measured, or failed in a way that is of this cell alone. EXIT_INTERRUPTED: before or within it. */
static int measure_cell(Sweep *s, SweepCell *c, int setting, int range, size_t count, Tally *tally, Error *e) {
    if (interrupted(s->interrupt)) return EXIT_INTERRUPTED;
    Args cell;
    Measured m = {.images = 0};
    char **words;
    Text name = {0};
    text_printf(&name, "%s, seeds ", s->name[setting]);
    sweep_seeds(&name, &s->range[range], count);
    printf("[%d/%d] ", ++tally->tried, tally->todo);
    print_text(stdout, name.text);
    printf("\n"), fflush(stdout);
    bool parsed = sweep_cell_args(s, setting, range, count, &cell, &words, e);
    DG_CHECK(parsed, "a command line that fitted does so no more: %s", e->text);
    double start = seconds_now();
    int code = s->cells->measure(&cell, &m, e);
    sweep_cell_free(&cell, words);
    if (code == EXIT_DONE && (m.images != count || !m.result.values))
        code = EXIT_FAILED, dg_error(e, "%llu of %zu images were measured", (unsigned long long)m.images, count);
    if (code == EXIT_DONE) {
        keep_result(c, &m);
        tally->images += (double)count, tally->seconds += seconds_now() - start;
        printf("  "), say_values(c), say_time(tally, seconds_now() - start);
        c->done = true, s->finished++;
        code = sweep_record_write(s, e) ? EXIT_DONE : EXIT_FAILED;
    } else if (code == EXIT_FAILED || code == EXIT_USAGE) { /* the latter: a value that does not suit the network */
        fail_cell(c, tally, name.text, e->text);
        *e = (Error){""};
        code = EXIT_DONE;
    }
    fflush(stdout);
    text_free(&name);
    return code;
}

/* ---- screening ------------------------------------------------------------------------------------------------------------------------ */
static double screened_value(const Sweep *s, int setting) {
    const SweepCell *c = &s->screened[setting];
    for (int i = 0; i < c->values && c->done; i++)
        if (!strcmp(c->value[i].name, s->by)) return c->value[i].value;
    return (double)NAN;
}
/* Whether a comes before b, which stands before it in the list: only where it is better. */
static bool goes_before(const Sweep *s, int a, int b) {
    double x = screened_value(s, a), y = screened_value(s, b);
    if (!isfinite(x) || !isfinite(y)) return isfinite(x) && !isfinite(y);
    return s->higher ? x > y : x < y;
}
static void rank(Sweep *s) {
    for (int k = 0; k < s->settings; k++) {
        int at = k;
        for (; at > 0 && goes_before(s, k, s->rank[at - 1]); at--) s->rank[at] = s->rank[at - 1];
        s->rank[at] = k;
    }
}
static void choose_kept(Sweep *s) {
    rank(s);
    printf("the first %d seeds of every value, by %s (%s is better); the best %d go on:\n", s->screen, s->by,
           s->higher ? "higher" : "lower", s->keep);
    for (int i = 0; i < s->settings; i++) {
        int k = s->rank[i];
        double value = screened_value(s, k);
        bool tie = i >= s->keep && isfinite(value) && value == screened_value(s, s->rank[s->keep - 1]);
        s->kept[k] = i < s->keep && isfinite(value);
        printf("  %-4s %-10.6g ", s->kept[k] ? "on" : "out", value);
        print_text(stdout, s->name[k]);
        printf("%s\n", !isfinite(value) ? " (failed)" : tie ? " (as good as one that goes on, which stands before it in the list)" : "");
    }
    fflush(stdout);
}

/* ---- all of them ---------------------------------------------------------------------------------------------------------------------- */
/* Of cells that are not finished; before the screening is, of as many values as will go on. */
static size_t images_left(const Sweep *s) {
    size_t done = 0, values = (size_t)(s->screen ? s->keep : s->settings);
    for (int k = 0; k < s->settings; k++) {
        for (int r = 0; r < s->ranges; r++) done += s->full[k * s->ranges + r].done ? s->range->count : 0;
        done += s->screened[k].done ? (size_t)s->screen : 0;
    }
    return values * (size_t)s->ranges * s->range->count + (size_t)s->settings * (size_t)s->screen - done;
}
static int measure_all(Sweep *s, Tally *tally, Error *e) {
    int code = EXIT_DONE, most = s->screen ? s->keep * s->ranges + s->settings : s->settings * s->ranges;
    tally->todo = most - s->finished;
    tally->images_todo = (double)images_left(s);
    printf("%d values, %d ranges of %zu seeds", s->settings, s->ranges, s->range->count);
    if (s->finished) printf("; %d of %d cells are finished", s->finished, most);
    printf("\n");
    if (s->screen) printf("first %d seeds of each, which may be fewer than the protocol's number (--allow-fewer)\n", s->screen);
    for (int k = 0; k < s->settings && s->screen && code == EXIT_DONE; k++)
        if (!s->screened[k].done) code = measure_cell(s, &s->screened[k], k, 0, (size_t)s->screen, tally, e);
    if (s->screen && code == EXIT_DONE) choose_kept(s);
    for (int r = 0; r < s->ranges; r++)
        for (int k = 0; k < s->settings && code == EXIT_DONE; k++) {
            SweepCell *c = &s->full[k * s->ranges + r];
            if (s->kept[k] && !c->done) code = measure_cell(s, c, k, r, s->range[r].count, tally, e);
        }
    return code;
}
/* What a table shows as failed: cells of this run, and values of finished ones that are not finite. */
static bool all_measured(const Sweep *s, const Tally *tally, Error *e) {
    if (tally->failed)
        return dg_error(e, "%d of %d cells failed, the first was %s (the same command tries them once more)", tally->failed, tally->tried,
                        tally->first.text);
    for (int k = 0; k < s->settings; k++)
        if (sweep_state(s, k) == SETTING_FAILED) return dg_error(e, "%s has values that are not finite: failed in the table", s->name[k]);
    return true;
}
static int measure_and_report(Sweep *s, Error *e) {
    Tally tally = {.todo = 0};
    int results = s->o->output == SWEEP_TEXT ? -1 : divert_output();
    s->interrupt = interrupt_hold();
    int code = measure_all(s, &tally, e);
    interrupt_end(s->interrupt);
    restore_output(results);
    if (code == EXIT_INTERRUPTED) dg_error(e, "interrupted: %d cells are finished, the same command goes on", s->finished);
    if (code != EXIT_DONE) return code;
    sweep_report(s);
    if (s->o->plot && s->finished && !sweep_plot(s, e)) return EXIT_FAILED;
    return all_measured(s, &tally, e) ? EXIT_DONE : EXIT_FAILED;
}
/* One sweep at a time in a folder. *lock: -1 where a file system has no locks. */
static bool open_folder(const Sweep *s, int *lock, Error *e) {
    if (!make_folders(s->o->outdir, e)) return dg_error_context(e, "--outdir");
    *lock = open(s->o->outdir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (*lock >= 0 && flock(*lock, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
        return dg_error(e, "%s: another sweep is at work there", s->o->outdir);
    return true;
}
int sweep_run(const Args *a, const SweepCells *cells, Error *e) {
    Sweep s;
    int lock = -1, code = EXIT_USAGE;
    if (sweep_plan(&s, a, cells, e)) {
        bool ready = (!s.o->plot || out_check(s.o->plot, e)) && open_folder(&s, &lock, e) && sweep_record_open(&s, e);
        if (ready && s.o->plot && sweep_reads(&s, s.o->plot))
            ready = dg_error(e, "--plot %s is a file that the sweep reads: give the picture another name", s.o->plot);
        if (ready && s.o->plot && sweep_keeps(&s, s.o->plot))
            ready = dg_error(e, "--plot %s is a name for statistics of the sweep's cells: give the picture another one", s.o->plot);
        code = ready ? measure_and_report(&s, e) : EXIT_FAILED;
    }
    if (lock >= 0) close(lock);
    sweep_free(&s);
    return code;
}
