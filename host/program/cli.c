/* cli.c -- command lines against the tables of cli.h. */
#include "program/cli.h"
#include "base/words.h"
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- names ------------------------------------------------------------------------------------------------------------ */
typedef struct {
    const char *word; /* what was typed */
    size_t len;
    int best;
    char name[WORD_MAX + 1]; /* the nearest known name so far */
} Nearest;
static void consider(Nearest *n, const char *name, size_t len) {
    int d = words_distance(n->word, n->len, name, len);
    bool begins = n->len >= 3 && n->len < len && words_same(n->word, n->len, name, n->len);
    if (begins) d = 1;
    if (d > (int)(n->len + 2) / 4 + 1 || d >= n->best || len >= sizeof n->name) return;
    n->best = d;
    memcpy(n->name, name, len);
    n->name[len] = 0;
}
/* Calls for the option's name and each alias in turn; returns NULL at the end. */
static const char *next_name(const Option *o, int *state, size_t *len) {
    const char *s = o->name;
    if ((*state)++) {
        s = o->aliases ? o->aliases : "";
        for (int skip = *state - 2; skip > 0 && *s; skip--) {
            s += strcspn(s, " ");
            s += strspn(s, " ");
        }
    }
    *len = strcspn(s, " ");
    return *len ? s : NULL;
}
static const Option *find_row(const Option *option, int count, const char *name, size_t len) {
    for (int i = 0; i < count; i++) {
        size_t n;
        int state = 0;
        for (const char *s; (s = next_name(&option[i], &state, &n));)
            if (words_same(s, n, name, len)) return &option[i];
    }
    return NULL;
}
static const Option *find_option(const Command *c, const char *name, size_t len) { return find_row(c->option, c->options, name, len); }
static bool listed(const char *names, const char *name, size_t len) { /* separated by spaces */
    for (const char *s = names; *s; s += strspn(s, " ")) {
        size_t n = strcspn(s, " ");
        if (words_same(s, n, name, len)) return true;
        s += n;
    }
    return false;
}
static bool unknown_option(const Command *c, const char *name, size_t len, Error *e) {
    for (int i = 0; i < c->foreigns; i++)
        if (listed(c->foreign[i].names, name, len))
            return dg_error(e, "%s has no option --%.*s: %s", c->name, (int)len, name, c->foreign[i].answer);
    Nearest near = {name, len, INT_MAX, ""};
    for (int i = 0; i < c->options; i++) {
        size_t n;
        int state = 0;
        for (const char *s; (s = next_name(&c->option[i], &state, &n));) consider(&near, s, n);
    }
    if (near.best < INT_MAX) return dg_error(e, "%s has no option --%.*s: did you mean --%s?", c->name, (int)len, name, near.name);
    return dg_error(e, "%s has no option --%.*s: dg_cuda %s --help lists them", c->name, (int)len, name, c->name);
}
const Option *command_option(const Command *c, const char *name) { return find_option(c, name, strlen(name)); }
bool args_given(const Args *a, const char *name) {
    const Option *o = command_option(a->command, name);
    DG_CHECK(o, "%s has no option %s", a->command->name, name);
    return a->given[o - a->command->option];
}

bool args_typed(const Args *a, const char *name) {
    return args_given(a, name) && a->typed[find_option(a->command, name, strlen(name)) - a->command->option];
}

/* ---- values ------------------------------------------------------------------------------------------------------------- */
static bool choose(const Option *o, const char *text, int *out, Error *e) {
    const char *s = o->value;
    for (int i = 0; *s; i++) {
        size_t n = strcspn(s, "|");
        if (words_same(s, n, text, strlen(text))) return *out = i, true;
        s += n + (s[n] == '|');
    }
    return dg_error(e, "--%s: \"%s\" is not one of %s", o->name, text, o->value);
}
/* What a switch's text stands for: a word of its own, or NULL. */
static const char *switch_word(const char *text) {
    if (!text || !strcmp(text, "1") || !strcmp(text, "true")) return "on";
    return !strcmp(text, "0") || !strcmp(text, "false") ? "off" : NULL;
}
static bool out_of_range(const Option *o, const char *text, Error *e) {
    if (isinf(o->hi)) return dg_error(e, "--%s: %s is too small, at least %g is possible", o->name, text, o->lo);
    return dg_error(e, "--%s: %s is outside what is possible, %g to %g", o->name, text, o->lo, o->hi);
}
static bool set_value(const Option *o, void *options, const char *text, Error *e) {
    char *at = (char *)options + o->offset, *end;
    errno = 0;
    switch (o->kind) {
    case OPTION_FLAG: {
        bool on = !text || !strcmp(text, "1") || !strcmp(text, "true"), off = text && (!strcmp(text, "0") || !strcmp(text, "false"));
        if (!on && !off) return dg_error(e, "--%s: \"%s\" is neither 1 nor 0; --%s alone turns it on", o->name, text, o->name);
        memcpy(at, &on, sizeof on);
        return true;
    }
    case OPTION_INT: {
        long v = strtol(text, &end, 10);
        if (end == text || *end || isspace((unsigned char)*text)) return dg_error(e, "--%s: \"%s\" is not a whole number", o->name, text);
        if (errno || (double)v < o->lo || (double)v > o->hi || v > INT_MAX) return out_of_range(o, text, e);
        int value = (int)v;
        memcpy(at, &value, sizeof value);
        return true;
    }
    case OPTION_DOUBLE: {
        double v = strtod(text, &end);
        if (end == text || *end || isnan(v) || isspace((unsigned char)*text))
            return dg_error(e, "--%s: \"%s\" is not a number", o->name, text);
        if (!(v >= o->lo && v <= o->hi)) return out_of_range(o, text, e);
        memcpy(at, &v, sizeof v);
        return true;
    }
    case OPTION_TEXT:
        if (!*text) return dg_error(e, "--%s: the value is empty, %s is wanted", o->name, o->value);
        memcpy(at, &text, sizeof text);
        return true;
    case OPTION_TEXTS: {
        TextList *list = (TextList *)(void *)at;
        if (!*text) return dg_error(e, "--%s: a value is empty, %s is wanted", o->name, o->value);
        list->item = dg_realloc(list->item, (size_t)(list->count + 1) * sizeof *list->item);
        list->item[list->count++] = text;
        return true;
    }
    case OPTION_SWITCH:
        if (switch_word(text)) text = switch_word(text); /* and on as a choice */
        __attribute__((fallthrough));
    case OPTION_CHOICE: {
        int value = 0;
        if (!choose(o, text, &value, e)) return false;
        memcpy(at, &value, sizeof value);
        return true;
    }
    }
    return false;
}
void text_json_double(Text *out, double value) {
    char digits[40];
    if (isnan(value)) text_printf(out, "null");
    else if (isinf(value)) text_printf(out, value > 0 ? "\"inf\"" : "\"-inf\"");
    else {
        for (int precision = 15; precision <= 17; precision++) {
            snprintf(digits, sizeof digits, "%.*g", precision, value);
            if (strtod(digits, NULL) == value) break;
        }
        text_printf(out, "%s", digits);
    }
}
void option_json(const Option *o, const void *options, Text *out) {
    const char *at = (const char *)options + o->offset;
    bool flag;
    int i;
    double d;
    const char *text;
    switch (o->kind) {
    case OPTION_FLAG: memcpy(&flag, at, sizeof flag), text_printf(out, flag ? "true" : "false"); break;
    case OPTION_INT: memcpy(&i, at, sizeof i), text_printf(out, "%d", i); break;
    case OPTION_DOUBLE: memcpy(&d, at, sizeof d), text_json_double(out, d); break;
    case OPTION_TEXT:
        memcpy(&text, at, sizeof text);
        if (text) text_json_string(out, text);
        else text_printf(out, "null");
        break;
    case OPTION_TEXTS: {
        const TextList *list = (const TextList *)(const void *)at;
        text_printf(out, list->count ? "[" : "null");
        for (i = 0; i < list->count; i++) {
            if (i) text_printf(out, ",");
            text_json_string(out, list->item[i]);
        }
        if (list->count) text_printf(out, "]");
        break;
    }
    case OPTION_SWITCH:
    case OPTION_CHOICE:
        memcpy(&i, at, sizeof i);
        for (text = o->value; i > 0 && *text; i--) text += strcspn(text, "|"), text += *text == '|';
        if (!*text) { /* a word that only another row of this value has */
            text_printf(out, "null");
            break;
        }
        size_t n = strcspn(text, "|");
        bool on = words_same(text, n, "on", 2), off = words_same(text, n, "off", 3);
        if (o->kind == OPTION_SWITCH && (on || off)) text_printf(out, on ? "true" : "false");
        else text_printf(out, "\"%.*s\"", (int)n, text);
    }
}

static bool set_from_json(const Option *o, void *options, const Json *j, Error *e) {
    switch (j->kind) {
    case JSON_STRING:
    case JSON_NUMBER: return set_value(o, options, j->string, e);
    case JSON_BOOL: return set_value(o, options, j->boolean ? "1" : "0", e);
    default: return dg_error(e, "option %s is neither a number nor a text", o->name);
    }
}
bool options_from_json(const Option *option, int count, void *options, const Json *j, const char *skip, Error *e) {
    for (const Json *m = j ? j->child : NULL; m; m = m->next) {
        const char *key = m->key ? m->key : "";
        if (listed(skip, key, strlen(key))) continue;
        const Option *o = find_row(option, count, key, strlen(key));
        if (!o) return dg_error(e, "option %s is not known", *key ? key : "without a name");
        if (!set_from_json(o, options, m, e)) return false;
    }
    return true;
}

/* ---- parsing ------------------------------------------------------------------------------------------------------------ */
static bool set_option(Args *a, const Option *o, const char *value, Error *e) {
    a->given[o - a->command->option] = true;
    return set_value(o, a->options, value, e);
}
const Preset *preset_find(const Preset *table, const char *name) {
    for (const Preset *p = table; p && p->name; p++)
        if (words_same(p->name, strlen(p->name), name, strlen(name))) return p;
    return NULL;
}
static bool apply_preset(Args *a, const char *name, Error *e) {
    const Command *c = a->command;
    const Preset *p = preset_find(c->preset, name);
    if (p) {
        char *copy = dg_strdup(p->settings), *rest = NULL;
        for (char *word = strtok_r(copy, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
            char *equals = strchr(word, '=');
            *equals = 0;
            const Option *o = find_option(c, word, strlen(word));
            DG_CHECK(o && o->kind != OPTION_TEXT && set_option(a, o, equals + 1, e), "preset %s: %s", p->name, word);
        }
        free(copy);
        return true;
    }
    Nearest near = {name, strlen(name), INT_MAX, ""};
    for (p = c->preset; p && p->name; p++) consider(&near, p->name, strlen(p->name));
    if (near.best < INT_MAX) return dg_error(e, "--preset: there is no \"%s\": did you mean %s?", name, near.name);
    return dg_error(e, "--preset: there is no \"%s\": dg_cuda %s --help lists them", name, c->name);
}
/* Whether the word behind a flag or switch is its value: as the official programs write their switches, or one of its own words. */
static bool is_switch_value(const Option *o, const char *word) {
    int value;
    if (!strcmp(word, "0") || !strcmp(word, "1")) return true;
    return o->kind == OPTION_SWITCH && (!strcmp(word, "true") || !strcmp(word, "false") || choose(o, word, &value, NULL));
}
/* One option at argv[*i]; takes the next word too when the value is there. presets: this pass sets the preset alone. */
static bool parse_option(Args *a, int argc, char **argv, int *i, bool presets, Error *e) {
    const char *name = argv[*i] + (argv[*i][1] == '-' ? 2 : 1), *value = strchr(name, '=');
    size_t len = value ? (size_t)(value - name) : strlen(name);
    const Option *o = find_option(a->command, name, len);
    if (!o) return unknown_option(a->command, name, len, e);
    bool more = *i + 1 < argc;
    if (value) value++;
    else if (o->kind != OPTION_FLAG && o->kind != OPTION_SWITCH) {
        if (!more || !strncmp(argv[*i + 1], "--", 2)) return dg_error(e, "--%s: its value is missing (%s)", o->name, o->value);
        value = argv[++*i];
    } else if (more && !a->command->operands_max && is_switch_value(o, argv[*i + 1])) {
        value = argv[++*i];
    }
    bool is_preset = a->command->preset && words_same(o->name, strlen(o->name), "preset", 6);
    if (presets && is_preset && a->given[o - a->command->option])
        return dg_error(e, "--preset: one preset at a time, \"%s\" is the second", value);
    if (!presets) a->typed[o - a->command->option] = true;
    bool set = presets ? !is_preset || (a->given[o - a->command->option] = true, apply_preset(a, value, e)) : set_option(a, o, value, e);
    while (set && o->kind == OPTION_TEXTS && *i + 1 < argc && argv[*i + 1][0] != '-') {
        value = argv[++*i];
        set = presets || set_option(a, o, value, e);
    }
    return set;
}
/* "-o", where the command has it. */
static bool is_short(const Command *c, const char *word) { return word[1] != '-' && !word[2] && find_option(c, word + 1, 1); }
static bool parse(Args *a, int argc, char **argv, Error *e) {
    const Command *c = a->command;
    bool end = false;
    for (int i = 0; i < argc && strcmp(argv[i], "--"); i++) /* what the command line says itself goes before what its preset says */
        if (!strncmp(argv[i], "--", 2) && !parse_option(a, argc, argv, &i, true, e)) return false;
    for (int i = 0; i < argc; i++) {
        bool option = !end && argv[i][0] == '-' && argv[i][1];
        if (option && !strcmp(argv[i], "--")) end = true;
        else if (option && argv[i][1] != '-' && !is_short(c, argv[i]))
            return dg_error(e, "%s has no option %s: options begin with two dashes", c->name, argv[i]);
        else if (option && !parse_option(a, argc, argv, &i, false, e)) return false;
        else if (!option && a->operands < c->operands_max) a->operand[a->operands++] = argv[i];
        else if (!option && c->operands_max)
            return dg_error(e, "%s takes %d operand%s (%s), \"%s\" is one too many", c->name, c->operands_max,
                            c->operands_max > 1 ? "s" : "", c->operands, argv[i]);
        else if (!option) return dg_error(e, "%s takes options alone, not \"%s\"", c->name, argv[i]);
    }
    for (int i = 0; i < c->options; i++)
        for (int k = i + 1; k < c->options; k++)
            if (a->typed[i] && a->typed[k] && c->option[i].offset == c->option[k].offset)
                return dg_error(e, "--%s and --%s say the same in two words: leave one of them out", c->option[i].name, c->option[k].name);
    return a->operands >= c->operands_min || dg_error(e, "%s: %s is missing", c->name, c->operands);
}
bool args_parse(const Command *c, int words, char **word, Args *out, Error *e) {
    *out = (Args){.command = c, .options = dg_alloc(c->options_bytes)};
    out->given = dg_alloc((size_t)c->options * sizeof *out->given), out->typed = dg_alloc((size_t)c->options * sizeof *out->typed);
    out->operand = dg_alloc((size_t)words * sizeof *out->operand);
    if (c->defaults) c->defaults(out->options);
    return parse(out, words, word, e);
}
void args_free(Args *a) {
    const Command *c = a->command;
    for (int i = 0; i < c->options; i++)
        if (c->option[i].kind == OPTION_TEXTS) free(((TextList *)(void *)((char *)a->options + c->option[i].offset))->item);
    free(a->options);
    free(a->given), free(a->typed);
    free(a->operand);
}

/* ---- help --------------------------------------------------------------------------------------------------------------- */
enum { HELP_COLUMN = 30, HELP_WIDTH = 110 };
/* Prints words from column `at` on, wrapped, continued at HELP_COLUMN. */
static void wrap(const char *text, int at) {
    if (at >= HELP_COLUMN) putchar('\n'), at = 0;
    printf("%*s", HELP_COLUMN - at, "");
    at = HELP_COLUMN;
    for (bool first = true; *text; first = false) {
        size_t n = strcspn(text, " ");
        if (!first && at + 1 + (int)n > HELP_WIDTH) printf("\n%*s", HELP_COLUMN, ""), at = HELP_COLUMN;
        else if (!first) putchar(' '), at++;
        at += printf("%.*s", (int)n, text);
        text += n + (text[n] == ' ');
    }
    putchar('\n');
}
/* A number or a choice below what can be given stands for "not given". */
static bool has_default(const Option *o, const void *defaults) {
    int value = 0;
    if (o->kind == OPTION_INT || o->kind == OPTION_CHOICE) memcpy(&value, (const char *)defaults + o->offset, sizeof value);
    return o->kind != OPTION_FLAG && (value >= 0 || value >= o->lo);
}
static void print_option(const Option *o, const void *defaults) {
    if (o->group) printf("\n%s:\n", o->group);
    int at = printf("  --%s", o->name);
    if (o->kind != OPTION_FLAG) at += printf(o->kind == OPTION_SWITCH ? " [%s]" : " %s", o->value);
    Text t = {0};
    text_printf(&t, "%s", o->help);
    size_t before = t.len;
    text_printf(&t, " (default ");
    size_t start = t.len;
    option_json(o, defaults, &t);
    if (!has_default(o, defaults) || !strcmp(t.text + start, "null")) t.text[t.len = before] = 0;
    else if (t.text[start] == '"') memmove(t.text + start, t.text + start + 1, t.len - start), t.text[t.len - 2] = ')', t.len--;
    else text_printf(&t, ")");
    if (o->aliases) {
        text_printf(&t, " [also");
        size_t n;
        int state = 1;
        for (const char *s; (s = next_name(o, &state, &n));) text_printf(&t, n > 1 ? " --%.*s" : " -%.*s", (int)n, s);
        text_printf(&t, "]");
    }
    wrap(t.text, at);
    text_free(&t);
}
static void print_help(const Command *c) {
    void *defaults = dg_alloc(c->options_bytes);
    if (c->defaults) c->defaults(defaults);
    printf("dg_cuda %s%s%s%s\n\n%s\n", c->name, c->options ? " [OPTIONS]" : "", *c->operands ? " " : "", c->operands, c->summary);
    for (int i = 0; i < c->options; i++) print_option(&c->option[i], defaults);
    for (const Preset *p = c->preset; p && p->name; p++) {
        if (p == c->preset) printf("\nPresets:\n");
        int at = printf("  %s", p->name);
        Text t = {0};
        text_printf(&t, "%s: %s (%s)", p->help, p->settings, p->source);
        wrap(t.text, at);
        text_free(&t);
    }
    printf("\n%s", c->details);
    free(defaults);
}
static void print_overview(const Command *const *command, int commands) {
    printf("dg_cuda: fast inference of diffusion models with discriminator guidance\n\n");
    for (int i = 0; i < commands; i++) printf("  dg_cuda %-10s %s\n", command[i]->name, command[i]->summary);
    printf("\ndg_cuda COMMAND --help describes a command, dg_cuda --version says the version.\n"
           "Try: dg_cuda generate --seeds 0-15 --outdir out --grid grid.png\n"
           "Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted.\n");
}

static bool is_help(const char *s) { return !strcmp(s, "--help") || !strcmp(s, "-h"); }
static int run_command(const Command *c, int argc, char **argv, Error *e) {
    for (int i = 0; i < argc && strcmp(argv[i], "--"); i++)
        if (is_help(argv[i])) return print_help(c), EXIT_DONE;
    Args a;
    int code = args_parse(c, argc, argv, &a, e) ? c->run(&a, e) : EXIT_USAGE;
    args_free(&a);
    return code;
}
int cli_run(const Command *const *command, int commands, int argc, char **argv, Error *e) {
    const char *name = argc > 1 ? argv[1] : "";
    if (!*name) {
        dg_error(e, "no command: dg_cuda --help lists them");
        return EXIT_USAGE;
    }
    bool help = is_help(name) || !strcmp(name, "help");
    if (help && argc == 2) return print_overview(command, commands), EXIT_DONE;
    if (help) name = argv[2]; /* dg_cuda help generate */
    Nearest near = {name, strlen(name), INT_MAX, ""};
    for (int i = 0; i < commands; i++) {
        if (!strcmp(command[i]->name, name))
            return help ? print_help(command[i]), EXIT_DONE : run_command(command[i], argc - 2, argv + 2, e);
        consider(&near, command[i]->name, strlen(command[i]->name));
    }
    if (name[0] == '-') dg_error(e, "%s: a command comes first: dg_cuda --help lists them", name);
    else if (near.best < INT_MAX) dg_error(e, "there is no command %s: did you mean %s?", name, near.name);
    else dg_error(e, "there is no command %s: dg_cuda --help lists them", name);
    return EXIT_USAGE;
}
