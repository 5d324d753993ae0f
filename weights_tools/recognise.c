/* recognise.c -- asking each family of networks whether a list of names and shapes is one of theirs. */
#include "recognise.h"
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

static bool is_one_of(const char *value, const char *const *list, Error *e, const char *option) {
    for (; *list; list++)
        if (!strcmp(value, *list)) return true;
    return dg_error(e, "%s \"%s\" is not known", option, value);
}
bool recognise(const Clues *c, Recognition *r, Error *e) {
    static const ConvertOptions none;
    static const char *const preconds[] = {"EDMPrecond", "VPPrecond", "VEPrecond", "iDDPMPrecond", NULL};
    static const char *const times[] = {"linear", "cosine", NULL};
    static const char *const orders[] = {"legacy", "new", NULL};
    Clues with = *c;
    *r = (Recognition){.notes = {0}};
    if (!c->options) with.options = &none;
    const ConvertOptions *o = with.options;
    if (o->precond && !is_one_of(o->precond, preconds, e, "--precond")) return false;
    if (o->time && !is_one_of(o->time, times, e, "--time")) return false;
    if (o->attention_order && !is_one_of(o->attention_order, orders, e, "--attention_order")) return false;
    if (o->num_head_channels < 0 || o->num_heads < 0 || o->image_size < 0) return dg_error(e, "--num_head_channels, --num_heads and --image_size are not negative");
    Error problem = {""};
    bool known = recognise_edm(&with, r, &problem) || (!problem.text[0] && recognise_adm(&with, r, &problem)) ||
                 (!problem.text[0] && (recognise_dit(&with, r) || recognise_vae(&with, r) || recognise_inception(&with, r)));
    if (!problem.text[0]) {
        if (!known) text_printf(&r->notes, "the network is not one that dg_cuda knows: no configuration was written\n");
        return true;
    }
    recognition_free(r);
    return dg_error(e, "%s", problem.text);
}
void recognition_free(Recognition *r) {
    text_free(&r->architecture);
    text_free(&r->config);
    text_free(&r->notes);
}
