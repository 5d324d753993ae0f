/* sweep_plan.c -- what `sweep` is to measure: values, ranges of seeds, and the command line of every cell. */
#include "base/folder.h"
#include "base/sha256.h"
#include "program/sweep.h"
#include <ctype.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Of the words of --metrics, which of the values they give comes first, and whether more of it is better. */
static const struct {
    const char *name;
    bool higher;
    const char *metric; /* NULL: of the same name */
} direction[] = {{"fd", false, NULL},       {"fid", false, NULL},   {"sfid", false, NULL},   {"kid", false, NULL},    {"is", true, NULL},
                 {"precision", true, "pr"}, {"recall", true, NULL}, {"density", true, "dc"}, {"coverage", true, NULL}};
enum { DIRECTIONS = sizeof direction / sizeof *direction };
bool sweep_direction(const char *name, bool *higher) {
    for (int i = 0; i < DIRECTIONS; i++)
        if (!strcmp(direction[i].name, name)) return *higher = direction[i].higher, true;
    return false;
}
static bool choose_by(Sweep *s, Error *e) {
    const char *list = s->o->metrics;
    size_t n = strcspn(list, ",");
    snprintf(s->by, sizeof s->by, "%.*s", (int)n, list);
    for (int i = 0; i < DIRECTIONS; i++)
        if (direction[i].metric && !strcmp(direction[i].metric, s->by)) snprintf(s->by, sizeof s->by, "%s", direction[i].name);
    if (sweep_direction(s->by, &s->higher) || !s->screen) return true;
    return dg_error(e, "--screen ranks by the first of --metrics, and \"%s\" is none of fd, fid, sfid, is, pr, dc, kid", s->by);
}

/* ---- ranges of seeds ------------------------------------------------------------------------------------------------------------------ */
void sweep_seeds(Text *out, const SweepRange *r, size_t count) {
    text_printf(out, "%" PRIu64, r->first);
    if (count > 1) text_printf(out, "-%" PRIu64, r->first + (count - 1));
}
static bool read_ranges(Sweep *s, Error *e) {
    SeedList all, one;
    if (!seeds_parse(s->o->seeds, &all, e)) return false; /* no seed twice, that is */
    seeds_free(&all);
    char *copy = dg_strdup(s->o->seeds), *rest = NULL;
    bool ok = true;
    for (char *word = strtok_r(copy, ",", &rest); ok && word; word = strtok_r(NULL, ",", &rest)) {
        ok = s->ranges < MAX_RANGES || dg_error(e, "--seeds: more than %d ranges", MAX_RANGES);
        ok = ok && seeds_parse(word, &one, e);
        if (!ok) break;
        s->range[s->ranges++] = (SweepRange){one.range->first, one.count};
        if (one.count != s->range->count)
            ok = dg_error(
                e, "--seeds: %s has %zu seeds, the first range %zu: a distance depends on the number of images, so all have the same", word,
                one.count, s->range->count);
        seeds_free(&one);
    }
    free(copy);
    return ok;
}
static bool choose_ranges(Sweep *s, Error *e) {
    const SweepOptions *o = s->o;
    bool counted = args_given(s->args, "ranges") || args_given(s->args, "first-seed") || o->images != UNSET;
    if (o->seeds && counted) return dg_error(e, "--seeds says which ranges: leave --ranges, --images and --first-seed out");
    if (o->seeds) return read_ranges(s, e);
    if (o->images == UNSET) return dg_error(e, "which seeds: --seeds 0-499,500-999,1000-1499, or --ranges 3 --images 500");
    for (s->ranges = 0; s->ranges < o->ranges; s->ranges++)
        s->range[s->ranges] = (SweepRange){(uint64_t)o->first_seed + (uint64_t)s->ranges * (uint64_t)o->images, (size_t)o->images};
    return true;
}

/* ---- values --------------------------------------------------------------------------------------------------------------------------- */
static bool add_value(Vary *v, const char *text, size_t n, Error *e) {
    if (!n) return dg_error(e, "--vary %s: a value is empty", v->option->name);
    if (v->values == MAX_SETTINGS) return dg_error(e, "--vary %s: more than %d values", v->option->name, MAX_SETTINGS);
    v->value = dg_realloc(v->value, (size_t)(v->values + 1) * sizeof *v->value);
    char *value = v->value[v->values++] = dg_alloc(n + 1);
    memcpy(value, text, n);
    return true;
}
/* "OPTION=A,B", "OPTION=A,B;C,D"; "OPTION=A,B;" is one value. */
static bool read_vary(Sweep *s, const char *text, Error *e) {
    const char *equals = strchr(text, '=');
    if (!equals || equals == text) return dg_error(e, "--vary %s: write OPTION=VALUES, for example steps=18,36", text);
    const char *begin = text + strspn(text, "-"); /* --vary --steps=18,36 */
    char *name = dg_strdup(begin);
    name[equals - begin] = 0;
    Vary *v = &s->vary[s->varied];
    v->option = command_option(s->cells->command, name);
    bool ok = v->option != NULL;
    if (!ok) { /* the parser knows what was meant */
        char *word = dg_alloc(strlen(name) + 5);
        Args none;
        sprintf(word, "--%s=0", name);
        args_parse(s->cells->command, 1, &word, &none, e);
        args_free(&none);
        free(word);
        dg_error_context(e, "--vary %s", text);
    }
    free(name);
    if (!ok) return false;
    s->varied++;
    for (int i = 0; i + 1 < s->varied; i++)
        if (s->vary[i].option == v->option) return dg_error(e, "--vary %s: that option is varied twice", text);
    const char *list = equals + 1, *separator = strchr(list, ';') ? ";" : ",";
    if (*separator == ',' && v->option->kind == OPTION_TEXT && strchr(v->option->value, ',') && strchr(list, ','))
        return dg_error(e, "--vary %s: a value is %s: separate values by ';', and where there is one put it at the end", text,
                        v->option->value);
    for (const char *at = list;;) {
        size_t n = strcspn(at, separator);
        if (!add_value(v, at, n, e)) return false;
        at += n;
        if (!*at++ || (*separator == ';' && !*at)) return true;
    }
}
const char *sweep_value(const Sweep *s, int setting, int vary) {
    for (int i = s->varied - 1; i > vary; i--) setting /= s->vary[i].values;
    return s->vary[vary].value[setting % s->vary[vary].values];
}
static bool choose_values(Sweep *s, Error *e) {
    const TextList *list = &s->o->vary;
    if (!list->count) return dg_error(e, "--vary is missing: the option to vary and its values, as in --vary steps=18,36");
    if (list->count > MAX_VARIED) return dg_error(e, "--vary: %d options, at most %d", list->count, MAX_VARIED);
    for (int i = 0; i < list->count; i++)
        if (!read_vary(s, list->item[i], e)) return false;
    s->settings = 1;
    for (int i = 0; i < s->varied; i++) {
        s->settings *= s->vary[i].values;
        if (s->settings > MAX_SETTINGS) return dg_error(e, "--vary: more than %d combinations of values", MAX_SETTINGS);
    }
    s->name = dg_alloc((size_t)s->settings * sizeof *s->name);
    for (int k = 0; k < s->settings; k++) {
        Text t = {0};
        for (int i = 0; i < s->varied; i++) text_printf(&t, "%s%s=%s", i ? ", " : "", s->vary[i].option->name, sweep_value(s, k, i));
        s->name[k] = t.text;
    }
    return true;
}

/* ---- cells ---------------------------------------------------------------------------------------------------------------------------- */
/* Options that a sweep sets itself, and those that have no part in it. */
static const char *const own_option[] = {"seeds", "metrics", "stats", "no-images"};
static const char *const other_option[] = {"outdir", "format",       "npz-keys",   "save-latents", "subdirs",
                                           "grid",   "grid-columns", "grid-scale", "overwrite",    "dry-run"};
static const char *const output_option[] = {"output", "trace", "profile"}; /* of one run */
static bool check_option(const Option *o, Error *e) {
    for (size_t i = 0; i < sizeof own_option / sizeof *own_option; i++)
        if (!strcmp(o->name, own_option[i])) return dg_error(e, "--%s of generate is set by sweep itself: leave it out", o->name);
    for (size_t i = 0; i < sizeof other_option / sizeof *other_option; i++)
        if (!strcmp(o->name, other_option[i])) return dg_error(e, "--%s: sweep measures and keeps no images: leave it out", o->name);
    for (size_t i = 0; i < sizeof output_option / sizeof *output_option; i++)
        if (!strcmp(o->name, output_option[i]))
            return dg_error(e, "--%s is of one run of generate, and a sweep makes many: leave it out (--output of sweep stands before --)",
                            o->name);
    return true;
}
/* The name of a file for what may hold anything; longer texts are cut, `setting` keeps them apart. The digest is of all that the images
 * and their measures depend on: another command, begun in the same folder, has other files.                                */
static char *statistics_path(const Sweep *s, int setting, int range) {
    Text t = {0};
    text_printf(&t, "%s/%03d-", s->o->outdir, setting);
    for (const char *c = s->name[setting]; *c && c < s->name[setting] + 100; c++)
        text_printf(&t, "%c", isalnum((unsigned char)*c) || strchr("=.+-_", *c) ? *c : '_');
    text_printf(&t, "-seeds-");
    sweep_seeds(&t, &s->range[range], s->range[range].count);
    Text all = {0};
    text_printf(&all, "%s\n%s\n", s->name[setting], s->o->metrics);
    sweep_put_options(s, &all);
    text_printf(&all, "\n%s", s->contents.len ? s->contents.text : "");
    Sha256 h;
    uint8_t digest[SHA256_BYTES];
    char hex[SHA256_HEX];
    sha256_init(&h), sha256_update(&h, all.text, all.len), sha256_final(&h, digest), sha256_hex(digest, hex);
    text_free(&all);
    text_printf(&t, "-%.8s.npz", hex);
    return t.text;
}
static char *word_of(const char *name, const char *value) {
    Text t = {0};
    text_printf(&t, "--%s=%s", name, value);
    return t.text;
}
enum { OWN_WORDS = 5 };
bool sweep_cell_args(const Sweep *s, int setting, int range, size_t count, Args *out, char ***words, Error *e) {
    int own = s->varied + OWN_WORDS, n = 0;
    char **word = dg_alloc((size_t)(own + 1 + s->args->operands) * sizeof *word), *path = statistics_path(s, setting, range);
    Text seeds = {0};
    sweep_seeds(&seeds, &s->range[range], count);
    for (int i = 0; i < s->varied; i++) word[n++] = word_of(s->vary[i].option->name, sweep_value(s, setting, i));
    word[n++] = word_of("seeds", seeds.text);
    word[n++] = word_of("metrics", s->o->metrics);
    word[n++] = word_of("stats", path);
    word[n++] = dg_strdup("--no-images=1");
    word[n++] = word_of("allow-fewer", count < s->range[range].count ? "1" : "0"); /* of a screening */
    word[n++] = NULL;                                                              /* where sweep_cell_free ends */
    text_free(&seeds);
    free(path);
    char **all = dg_alloc((size_t)(own + s->args->operands) * sizeof *all);
    memcpy(all, word, (size_t)own * sizeof *all);
    for (int i = 0; i < s->args->operands; i++) memcpy(&all[own + i], &s->args->operand[i], sizeof *all); /* the parser changes none */
    *words = word;
    bool ok = args_parse(s->cells->command, own + s->args->operands, all, out, e);
    free(all);
    return ok;
}
void sweep_cell_free(Args *a, char **words) {
    args_free(a);
    for (char **w = words; *w; w++) free(*w);
    free(words);
}
/* Every value fits its option, and no two settings are the same. */
static bool check_cells(const Sweep *s, Error *e) {
    char **seen = dg_alloc((size_t)s->settings * sizeof *seen);
    bool ok = true;
    for (int k = 0; k < s->settings && ok; k++) {
        Args cell;
        char **words;
        Text t = {0};
        ok = sweep_cell_args(s, k, 0, s->range->count, &cell, &words, e);
        for (int i = 0; i < s->varied && ok; i++) text_printf(&t, " "), option_json(s->vary[i].option, cell.options, &t);
        if (ok && !s->cells->check(&cell, e)) ok = dg_error_context(e, "%s", s->name[k]);
        sweep_cell_free(&cell, words);
        seen[k] = t.text;
        for (int j = 0; j < k && ok; j++)
            if (!strcmp(seen[j], seen[k])) ok = dg_error(e, "--vary: %s and %s are the same", s->name[j], s->name[k]);
    }
    for (int k = 0; k < s->settings; k++) free(seen[k]);
    free(seen);
    return ok;
}
static bool check_base(Sweep *s, Error *e) {
    const Command *c = s->cells->command;
    char **word = dg_alloc((size_t)s->args->operands * sizeof *word + 1);
    for (int i = 0; i < s->args->operands; i++) memcpy(&word[i], &s->args->operand[i], sizeof *word);
    bool ok = args_parse(c, s->args->operands, word, &s->base, e);
    free(word);
    if (!ok) return false;
    for (int i = 0; i < c->options; i++)
        if (s->base.typed[i] && !check_option(&c->option[i], e)) return false;
    for (int i = 0; i < s->varied; i++) {
        if (!check_option(s->vary[i].option, e)) return dg_error_context(e, "--vary");
        if (s->base.typed[s->vary[i].option - c->option])
            return dg_error(e, "--%s is varied, and stands behind -- too: leave it out there", s->vary[i].option->name);
    }
    return true;
}
static bool numbers(const Vary *v, bool positive) {
    for (int i = 0; i < v->values; i++) {
        char *end;
        double x = strtod(v->value[i], &end);
        if (*end || !isfinite(x) || (positive && !(x > 0))) return false;
    }
    return true;
}
static bool check_usage(const Sweep *s, Error *e) {
    const SweepOptions *o = s->o;
    size_t images = s->range->count;
    if (!s->screen != !s->keep)
        return dg_error(e, "--screen N and --keep K go together: how many images, and how many of the values go on");
    if (s->screen && (size_t)s->screen >= images)
        return dg_error(e, "--screen %d: a range has %zu images, and screening takes fewer", s->screen, images);
    if (s->screen && s->keep >= s->settings)
        return dg_error(e, "--keep %d of %d values leaves none out: without --screen all are measured", s->keep, s->settings);
    bool picture = o->plot_metric || o->plot_title || o->plot_log;
    if (picture && !o->plot) return dg_error(e, "--plot-metric, --plot-title and --plot-log need --plot, the file of the picture");
    if ((o->plot_log == SWEEP_LOG_X || o->plot_log == SWEEP_LOG_BOTH) && !numbers(&s->vary[0], true))
        return dg_error(e, "--plot-log: not all values of %s are positive numbers", s->vary[0].option->name);
    return true;
}
bool sweep_plan(Sweep *s, const Args *a, const SweepCells *cells, Error *e) {
    *s = (Sweep){.args = a, .o = a->options, .cells = cells};
    s->screen = s->o->screen == UNSET ? 0 : s->o->screen, s->keep = s->o->keep == UNSET ? 0 : s->o->keep;
    if (!s->o->metrics) return dg_error(e, "--metrics is missing: what to measure, for example fid,pr");
    if (!s->o->outdir) return dg_error(e, "--outdir is missing: the folder for what is measured");
    if (!choose_values(s, e) || !choose_ranges(s, e) || !choose_by(s, e) || !check_base(s, e)) return false;
    if (!check_usage(s, e) || !check_cells(s, e)) return false;
    s->full = dg_alloc((size_t)s->settings * (size_t)s->ranges * sizeof *s->full);
    s->screened = dg_alloc((size_t)s->settings * sizeof *s->screened);
    s->kept = dg_alloc((size_t)s->settings * sizeof *s->kept);
    s->rank = dg_alloc((size_t)s->settings * sizeof *s->rank);
    for (int k = 0; k < s->settings; k++) s->kept[k] = !s->screen;
    s->record = path_join(s->o->outdir, "sweep.json");
    return true;
}
void sweep_free(Sweep *s) {
    for (int i = 0; i < s->varied; i++) {
        for (int k = 0; k < s->vary[i].values; k++) free(s->vary[i].value[k]);
        free(s->vary[i].value);
    }
    for (int k = 0; k < s->settings && s->name; k++) free(s->name[k]);
    for (int k = 0; k < s->settings * s->ranges && s->full; k++) free(s->full[k].failure);
    for (int k = 0; k < s->settings && s->screened; k++) free(s->screened[k].failure);
    free(s->name), free(s->full), free(s->screened), free(s->kept), free(s->rank), free(s->record);
    text_free(&s->command), text_free(&s->contents);
    if (s->base.command) args_free(&s->base);
}
