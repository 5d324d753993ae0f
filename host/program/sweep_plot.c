/* sweep_plot.c -- the picture of a sweep: the first option's values across, a line for each combination of the others', a panel for
 * each measure that has a scale of its own.                                                                                  */
#include "base/file.h"
#include "program/plot.h"
#include "program/sweep.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Those that are shares of the images stand in one panel. */
static bool is_share(const char *name) {
    static const char *const share[] = {"precision", "recall", "density", "coverage", "class"};
    for (size_t i = 0; i < sizeof share / sizeof *share; i++)
        if (!strcmp(name, share[i])) return true;
    return false;
}
static bool is_spread(const char *name) { /* of a measure within one cell */
    size_t n = strlen(name);
    return (n > 4 && !strcmp(name + n - 4, "_std")) || (n > 3 && !strcmp(name + n - 3, "_se"));
}
static bool wanted(const char *list, const char *name) {
    size_t length = strlen(name);
    for (const char *s = list; s; s = strchr(s, ',') ? strchr(s, ',') + 1 : NULL)
        if (strcspn(s, ",") == length && !strncmp(s, name, length)) return true;
    return false;
}
/* The measures to be plotted, shares last. */
static int choose_names(const Sweep *s, const char *chosen[MAX_VALUES], Error *e) {
    const char *name[MAX_VALUES], *list = s->o->plot_metric;
    int names = sweep_names(s, name), n = 0;
    Text all = {0};
    for (int share = 0; share < 2; share++)
        for (int i = 0; i < names; i++)
            if (is_share(name[i]) == share && (list ? wanted(list, name[i]) : !is_spread(name[i]))) chosen[n++] = name[i];
    for (int i = 0; i < names; i++) text_printf(&all, "%s%s", i ? ", " : "", name[i]);
    int asked = list ? 1 : n;
    for (const char *c = list; c && *c; c++) asked += *c == ',';
    if (n != asked || !n) n = -1, dg_error(e, "--plot-metric %s: there are %s", list ? list : "", all.text);
    text_free(&all);
    return n;
}

typedef struct {
    const Sweep *s;
    int *order; /* [values of the first option]: ascending, where they are numbers */
    double *x;
    int lines;    /* combinations of the other options' values */
    void **owned; /* what the picture is made of */
    int owns;
} Across;
static void *own(Across *a, void *p) {
    a->owned = dg_realloc(a->owned, (size_t)(a->owns + 1) * sizeof *a->owned);
    return a->owned[a->owns++] = p;
}
static bool read_numbers(Across *a) {
    const Vary *v = &a->s->vary[0];
    bool numbers = true;
    for (int i = 0; i < v->values; i++) {
        char *end;
        a->x[i] = strtod(v->value[i], &end);
        numbers = numbers && !*end && fabs(a->x[i]) <= 1e100; /* what a scale has room for */
        int at = i;
        for (; at > 0 && a->x[i] < a->x[a->order[at - 1]]; at--) a->order[at] = a->order[at - 1];
        a->order[at] = i;
    }
    for (int i = 0; i < v->values && !numbers; i++) a->order[i] = i;
    return numbers;
}
static PlotPoint *points_of(Across *a, int across_line, const char *name) {
    const Sweep *s = a->s;
    PlotPoint *p = own(a, dg_alloc((size_t)s->vary[0].values * sizeof *p));
    for (int i = 0; i < s->vary[0].values; i++) {
        int k = a->order[i] * a->lines + across_line;
        Summary m = sweep_summary(s, k, name);
        p[i] = (PlotPoint){a->x[a->order[i]], s->kept[k] ? m.mean : (double)NAN, m.error};
    }
    return p;
}
/* "recall, steps=18": what of it tells a line from others. */
static char *line_name(Across *a, int across_line, const char *name, bool several) {
    Text t = {0};
    const Sweep *s = a->s;
    if (several || s->varied == 1) text_printf(&t, "%s", name);
    for (int i = 1; i < s->varied; i++)
        text_printf(&t, "%s%s=%s", t.len ? ", " : "", s->vary[i].option->name, sweep_value(s, across_line, i));
    return own(a, t.text);
}
static char *panel_label(Across *a, const char *const *name, int names, bool log) {
    Text t = {0};
    bool higher;
    for (int i = 0; i < names; i++) text_printf(&t, "%s%s", i ? ", " : "", name[i]);
    if (names == 1 && sweep_direction(name[0], &higher)) text_printf(&t, " (%s is better)", higher ? "higher" : "lower");
    if (log) text_printf(&t, ", log scale");
    return own(a, t.text);
}
static void fill_panel(Across *a, PlotPanel *panel, const char *const *name, int names, bool log) {
    PlotSeries *series = own(a, dg_alloc((size_t)(names * a->lines) * sizeof *series));
    for (int i = 0; i < names; i++)
        for (int k = 0; k < a->lines; k++)
            series[i * a->lines + k] = (PlotSeries){line_name(a, k, name[i], names > 1), points_of(a, k, name[i]), a->s->vary[0].values};
    *panel = (PlotPanel){panel_label(a, name, names, log), series, names * a->lines};
}
static void say_note(const Sweep *s, Text *t) {
    if (s->ranges > 1) text_printf(t, "mean and standard error over %d ranges of %zu images", s->ranges, s->range->count);
    else text_printf(t, "%zu images", s->range->count);
    if (s->screen) text_printf(t, "; the best %d of %d by %s of %d images", s->keep, s->settings, s->by, s->screen);
    int failed = 0;
    for (int k = 0; k < s->settings; k++) failed += sweep_state(s, k) == SETTING_FAILED;
    if (failed) text_printf(t, "; %d of %d values failed", failed, s->settings);
}
bool sweep_plot(const Sweep *s, Error *e) {
    const char *name[MAX_VALUES];
    int names = choose_names(s, name, e), values = s->vary[0].values;
    if (names < 0) return false;
    Across a = {.s = s, .lines = s->settings / values};
    a.order = own(&a, dg_alloc((size_t)values * sizeof *a.order)), a.x = own(&a, dg_alloc((size_t)values * sizeof *a.x));
    bool numbers = read_numbers(&a), log_y = s->o->plot_log == SWEEP_LOG_Y || s->o->plot_log == SWEEP_LOG_BOTH;
    PlotPanel panel[MAX_VALUES];
    const char **word = own(&a, dg_alloc((size_t)values * sizeof *word));
    for (int i = 0; i < values; i++) word[i] = s->vary[0].value[i];
    int panels = 0;
    for (int i = 0, n; i < names; i += n) {
        for (n = 1; i + n < names && is_share(name[i]);) n++;
        fill_panel(&a, &panel[panels++], name + i, n, log_y);
    }
    Text note = {0}, svg = {0};
    say_note(s, &note);
    Plot p = {.title = s->o->plot_title ? s->o->plot_title : "",
              .x_label = s->vary[0].option->name,
              .note = note.text,
              .word = numbers ? NULL : word,
              .words = values,
              .log_x = s->o->plot_log == SWEEP_LOG_X || s->o->plot_log == SWEEP_LOG_BOTH,
              .log_y = log_y,
              .panel = panel,
              .panels = panels};
    bool ok = (plot_svg(&p, &svg, e) && out_whole(s->o->plot, svg.text, svg.len, e)) || dg_error_context(e, "--plot");
    while (a.owns) free(a.owned[--a.owns]);
    free(a.owned);
    text_free(&note), text_free(&svg);
    return ok;
}
