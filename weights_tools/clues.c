/* clues.c -- looking names and shapes up, and writing the configuration that they tell. */
#include "weights_tools/recognise.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_DIM = 1 << 24 };
static int by_name(const void *a, const void *b) { return strcmp(((const NamedShape *)a)->name, ((const NamedShape *)b)->name); }
static const NamedShape *find(const Clues *c, const char *name) {
    NamedShape wanted = {.name = name};
    return c->count ? bsearch(&wanted, c->shape, (size_t)c->count, sizeof wanted, by_name) : NULL;
}
enum { NAME = 192 };
const NamedShape *clue(const Clues *c, const char *fmt, ...) {
    char name[NAME];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(name, sizeof name, fmt, ap);
    va_end(ap);
    return find(c, name);
}
int clue_dim(const Clues *c, int i, const char *fmt, ...) {
    char name[NAME];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(name, sizeof name, fmt, ap);
    va_end(ap);
    const NamedShape *s = find(c, name);
    return s && i < s->dims && s->shape[i] > 0 && s->shape[i] <= MAX_DIM ? (int)s->shape[i] : 0;
}
const NamedShape *clue_ending(const Clues *c, const char *suffix) {
    size_t n = strlen(suffix);
    for (int i = 0; i < c->count; i++) {
        size_t k = strlen(c->shape[i].name);
        if (k >= n && !strcmp(c->shape[i].name + k - n, suffix)) return &c->shape[i];
    }
    return NULL;
}

/* ---- writing a configuration ------------------------------------------------------------------------------------------- */
void config_begin(Text *t, const char *kind) { text_printf(t, "{\"kind\": \"%s\"", kind); }
void config_text(Text *t, const char *key, const char *value) { text_printf(t, ", \"%s\": \"%s\"", key, value); }
void config_int(Text *t, const char *key, int value) { text_printf(t, ", \"%s\": %d", key, value); }
void config_bool(Text *t, const char *key, bool value) { text_printf(t, ", \"%s\": %s", key, value ? "true" : "false"); }
void config_number(Text *t, const char *key, double value) { text_printf(t, ", \"%s\": %.17g", key, value); }
void config_ints(Text *t, const char *key, const int *value, int count) {
    text_printf(t, ", \"%s\": [", key);
    for (int i = 0; i < count; i++) text_printf(t, i ? ", %d" : "%d", value[i]);
    text_printf(t, "]");
}
void config_end(Text *t) { text_printf(t, "}"); }
void recognition_free(Recognition *r) {
    text_free(&r->architecture);
    text_free(&r->config);
    text_free(&r->notes);
}
