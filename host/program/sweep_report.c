/* sweep_report.c -- the results of `sweep` as text, Markdown, CSV and JSON. */
#include "program/sweep.h"
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const state_name[] = {[SETTING_MEASURED] = "measured", [SETTING_LEFT_OUT] = "left out", [SETTING_FAILED] = "failed"};

/* ---- a table of texts ----------------------------------------------------------------------------------------------------------------- */
typedef struct {
    char **item; /* [rows][columns] */
    int columns, items;
} Table;
static void add(Table *t, Text *item) { /* takes the text, and empties it */
    t->item = dg_realloc(t->item, (size_t)(t->items + 1) * sizeof *t->item);
    t->item[t->items++] = item->text ? item->text : dg_strdup("");
    *item = (Text){0};
}
static void add_word(Table *t, const char *word) {
    Text x = {0};
    text_printable(&x, word);
    add(t, &x);
}
static void add_number(Table *t, double value) {
    Text x = {0};
    if (isfinite(value)) text_printf(&x, "%.6g", value);
    else text_printf(&x, "-");
    add(t, &x);
}
static void table_free(Table *t) {
    for (int i = 0; i < t->items; i++) free(t->item[i]);
    free(t->item);
}
static void add_setting(Table *t, const Sweep *s, int k) {
    Text images = {0};
    for (int i = 0; i < s->varied; i++) add_word(t, sweep_value(s, k, i));
    text_printf(&images, "%d x %zu", s->kept[k] ? s->ranges : 1, sweep_images(s, k));
    add(t, &images);
}
static size_t characters(const char *s) {
    size_t n = 0;
    for (; *s; s++) n += ((unsigned char)*s & 0xc0) != 0x80;
    return n;
}
static void print_aligned(const Table *t) {
    Text line = {0};
    for (int i = 0; i < t->items; i++) {
        size_t width = 0, own = characters(t->item[i]);
        for (int j = i % t->columns; j < t->items; j += t->columns) width = characters(t->item[j]) > width ? characters(t->item[j]) : width;
        bool last = i % t->columns == t->columns - 1;
        text_printf(&line, "%s%*s", t->item[i], last ? 0 : (int)(width - own) + 2, "");
        if (!last) continue;
        while (line.text[line.len - 1] == ' ') line.text[--line.len] = 0;
        text_printf(&line, "\n");
    }
    print_lines(stdout, line.text);
    text_free(&line);
}
static void print_failures(const Sweep *s, const char *begin) {
    for (int k = 0; k < s->settings; k++) {
        const char *why = sweep_failure(s, k);
        if (!why) continue;
        printf("%s", begin);
        print_text(stdout, s->name[k]), printf(": "), print_text(stdout, why), printf("\n");
    }
}

/* ---- text: a row for each setting and measure ------------------------------------------------------------------------------------------ */
static void report_text(const Sweep *s, const char *const *name, int names) {
    static const char *const heading[] = {"images", "measure", "mean", "error", "std", "min", "max", ""};
    Table t = {.columns = s->varied + 8};
    for (int i = 0; i < s->varied; i++) add_word(&t, s->vary[i].option->name);
    for (int i = 0; i < 8; i++) add_word(&t, heading[i]);
    for (int k = 0; k < s->settings; k++)
        for (int i = 0; i < names; i++) {
            Summary m = sweep_summary(s, k, name[i]);
            add_setting(&t, s, k);
            add_word(&t, name[i]);
            add_number(&t, m.mean), add_number(&t, m.error), add_number(&t, m.std), add_number(&t, m.lo), add_number(&t, m.hi);
            add_word(&t, m.failed ? state_name[SETTING_FAILED] : s->kept[k] ? "" : state_name[SETTING_LEFT_OUT]);
        }
    printf("\n");
    print_aligned(&t);
    print_failures(s, "failed: ");
    table_free(&t);
}

/* ---- Markdown: a row for each setting -------------------------------------------------------------------------------------------------- */
/* As many decimals as two digits of the error have. */
static void add_with_error(Table *t, const Summary *m) {
    Text x = {0};
    int decimals = m->error > 0 ? 1 - (int)floor(log10(m->error)) : 0;
    if (m->failed) text_printf(&x, "failed");
    else if (m->error > 0 && decimals <= 9) {
        if (decimals < 0) decimals = 0;
        text_printf(&x, "%.*f ± %.*f", decimals, m->mean, decimals, m->error);
    } else if (isfinite(m->error)) text_printf(&x, "%.6g ± %.2g", m->mean, m->error);
    else text_printf(&x, "%.6g", m->mean);
    add(t, &x);
}
static void print_md(const Table *t) {
    Text x = {0};
    for (int i = 0; i < t->items; i++) {
        bool last = i % t->columns == t->columns - 1;
        text_printf(&x, i % t->columns ? " " : "| ");
        text_markdown(&x, t->item[i]);
        text_printf(&x, last ? " |\n" : " |");
        if (i + 1 != t->columns) continue;
        for (int j = 0; j < t->columns; j++) text_printf(&x, j ? "--:|" : "|---|");
        text_printf(&x, "\n");
    }
    print_lines(stdout, x.text);
    text_free(&x);
}
static void report_md(const Sweep *s, const char *const *name, int names) {
    Table t = {.columns = s->varied + 1 + names};
    bool left_out = false;
    for (int i = 0; i < s->varied; i++) add_word(&t, s->vary[i].option->name);
    add_word(&t, "images");
    for (int i = 0; i < names; i++) add_word(&t, name[i]);
    for (int k = 0; k < s->settings; k++) {
        left_out = left_out || !s->kept[k];
        add_setting(&t, s, k);
        for (int i = 0; i < names; i++) {
            Summary m = sweep_summary(s, k, name[i]);
            add_with_error(&t, &m);
        }
    }
    print_md(&t);
    if (s->ranges > 1) printf("\nMean and its standard error over disjoint ranges of seeds.\n");
    if (left_out) printf("\nOf the first %d seeds %d went on: the best by %s.\n", s->screen, s->keep, s->by);
    print_failures(s, "\nFailed: ");
    table_free(&t);
}

/* ---- CSV, JSON: for programs ----------------------------------------------------------------------------------------------------------- */
static void csv_number(Text *t, double value) {
    text_printf(t, ",");
    if (isfinite(value)) text_json_double(t, value);
}
static void report_csv(const Sweep *s, const char *const *name, int names) {
    Text t = {0};
    for (int i = 0; i < s->varied; i++) text_printf(&t, "%s,", s->vary[i].option->name);
    text_printf(&t, "state,ranges,images,measure,mean,error,std,min,max\n");
    for (int k = 0; k < s->settings; k++)
        for (int i = 0; i < names; i++) {
            Summary m = sweep_summary(s, k, name[i]);
            for (int v = 0; v < s->varied; v++) text_csv_string(&t, sweep_value(s, k, v)), text_printf(&t, ",");
            text_printf(&t, "%s,%d,%zu,%s", m.failed ? "failed" : s->kept[k] ? "measured" : "left out", m.n, sweep_images(s, k), name[i]);
            csv_number(&t, m.mean), csv_number(&t, m.error), csv_number(&t, m.std), csv_number(&t, m.lo), csv_number(&t, m.hi);
            text_printf(&t, "\n");
        }
    fputs(t.text, stdout);
    text_free(&t);
}
static void json_number(Text *t, const char *key, double value) {
    text_printf(t, ", \"%s\": ", key);
    text_json_double(t, value);
}
static void json_cell(Text *t, const SweepCell *c, const SweepRange *r, size_t count) {
    text_printf(t, "{\"seeds\": \"");
    sweep_seeds(t, r, count);
    text_printf(t, "\", \"seconds\": %.3f, \"failure\": ", c->seconds);
    if (c->failure) text_json_string(t, c->failure);
    else text_printf(t, "null");
    for (int i = 0; i < c->values; i++) json_number(t, c->value[i].name, c->value[i].value);
    text_printf(t, "}");
}
static void json_row(Text *t, const Sweep *s, int k, const char *const *name, int names) {
    text_printf(t, "{\"setting\": {");
    for (int i = 0; i < s->varied; i++) {
        text_printf(t, "%s\"%s\": ", i ? ", " : "", s->vary[i].option->name);
        text_json_string(t, sweep_value(s, k, i));
    }
    text_printf(t, "}, \"state\": \"%s\", \"images\": %zu, \"measures\": {", state_name[sweep_state(s, k)], sweep_images(s, k));
    for (int i = 0; i < names; i++) {
        Summary m = sweep_summary(s, k, name[i]);
        text_printf(t, "%s\"%s\": {\"ranges\": %d, \"failed\": %s", i ? ", " : "", name[i], m.n, m.failed ? "true" : "false");
        json_number(t, "mean", m.mean), json_number(t, "error", m.error), json_number(t, "std", m.std);
        json_number(t, "min", m.lo), json_number(t, "max", m.hi);
        text_printf(t, "}");
    }
    text_printf(t, "},\n   \"cells\": [");
    for (int r = 0; r < s->ranges && s->kept[k]; r++) {
        if (r) text_printf(t, ",\n     ");
        json_cell(t, &s->full[k * s->ranges + r], &s->range[r], s->range[r].count);
    }
    text_printf(t, "], \"screened\": ");
    if (s->screen) json_cell(t, &s->screened[k], s->range, (size_t)s->screen);
    else text_printf(t, "null");
    text_printf(t, "}");
}
static void report_json(const Sweep *s, const char *const *name, int names) {
    Text t = {0};
    text_printf(&t, "{\"vary\": [");
    for (int i = 0; i < s->varied; i++) text_printf(&t, "%s\"%s\"", i ? ", " : "", s->vary[i].option->name);
    text_printf(&t, "], \"images\": %zu, \"ranges\": %d, \"metrics\": ", s->range->count, s->ranges);
    text_json_string(&t, s->o->metrics);
    text_printf(&t, ",\n \"screen\": ");
    if (s->screen)
        text_printf(&t, "{\"images\": %d, \"keep\": %d, \"by\": \"%s\", \"better\": \"%s\"}", s->screen, s->keep, s->by,
                    s->higher ? "higher" : "lower");
    else text_printf(&t, "null");
    text_printf(&t, ",\n \"rows\": [\n  ");
    for (int k = 0; k < s->settings; k++) {
        if (k) text_printf(&t, ",\n  ");
        json_row(&t, s, k, name, names);
    }
    text_printf(&t, "]}\n");
    fputs(t.text, stdout);
    text_free(&t);
}
void sweep_report(const Sweep *s) {
    static void (*const report[])(const Sweep *, const char *const *, int) = {
        [SWEEP_TEXT] = report_text, [SWEEP_JSON] = report_json, [SWEEP_CSV] = report_csv, [SWEEP_MD] = report_md};
    const char *name[MAX_VALUES];
    int names = sweep_names(s, name);
    report[s->o->output](s, name, names);
    fflush(stdout);
}
