/* classes.c -- --class: words, numbers and names. */
#include "program/classes.h"
#include "base/rng.h"
#include "base/words.h"
#include "models/imagenet.h"
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

enum { NEAR = 3 }; /* names offered for one that there is not */
typedef struct {
    const char *text;
    size_t len;
} Word;

/* ---- the names that a configuration lists --------------------------------------------------------------------------------------- */
static const Json *listed_names(const Networks *n) {
    const Json *names = json_get(weights_config(n->source[ROLE_NETWORK].weights), "classes");
    return names && names->child ? names : NULL;
}
/* *found: -1 where none is called so. */
static bool find_listed(const Networks *n, Word w, int *found, Error *e) {
    const Json *names = listed_names(n), *name = names ? names->child : NULL;
    *found = -1;
    for (int i = 0; name && i < n->classes; i++, name = name->next) {
        if (name->kind != JSON_STRING || strlen(name->string) != w.len || memcmp(name->string, w.text, w.len) != 0) continue;
        if (*found >= 0)
            return dg_error(e, "--class \"%.*s\": classes %d and %d are both called so: give the number", (int)w.len, w.text, *found, i);
        *found = i;
    }
    return true;
}

/* ---- ImageNet's names ----------------------------------------------------------------------------------------------------------- */
/* The sentence about a name of `count` classes. */
static bool shared_name(Word w, const int *class, int count, Error *e) {
    Text t = {0};
    for (int i = 0; i < count; i++) {
        ImagenetClass c = imagenet_class(class[i]);
        text_printf(&t, "%s%d (%.*s)", i ? " and " : "", class[i], (int)c.len, c.names);
    }
    dg_error(e, "--class \"%.*s\": classes %s are called so: give the number", (int)w.len, w.text, t.text);
    text_free(&t);
    return false;
}
static bool find_imagenet(Word w, int *found, Error *e) {
    enum { MOST = 8 };
    int class[MOST], count = 0;
    *found = imagenet_number(w.text, w.len);
    if (*found >= 0) return true;
    for (ImagenetName n = imagenet_names(); imagenet_next(&n) && count < MOST;)
        if (words_same(n.name, n.len, w.text, w.len) && !(count && class[count - 1] == n.class)) class[count++] = n.class;
    if (count > 1) return shared_name(w, class, count, e);
    if (count) *found = class[0];
    return true;
}
/* The names that are nearest to w, in their order where they are equally near; those that hold w, or are held, are next to it. */
static bool unknown_name(Word w, Error *e) {
    struct {
        ImagenetName n;
        int far;
    } near[NEAR];
    int count = 0, limit = w.len < WORD_MAX ? (int)(w.len + 2) / 4 : 1;
    for (ImagenetName n = imagenet_names(); imagenet_next(&n);) {
        bool holds = w.len >= 3 && (words_within(w.text, w.len, n.name, n.len) || words_within(n.name, n.len, w.text, w.len));
        int far = holds ? 1 : words_distance(w.text, w.len, n.name, n.len), at = count;
        while (at > 0 && near[at - 1].far > far) at--;
        if (far > limit || at == NEAR) continue;
        if (count < NEAR) count++;
        memmove(near + at + 1, near + at, (size_t)(count - 1 - at) * sizeof *near);
        near[at].n = n, near[at].far = far;
    }
    Text t = {0};
    for (int i = 0; i < count; i++)
        text_printf(&t, "%s%.*s (%d)",
                    i == 0           ? ": did you mean "
                    : i == count - 1 ? " or "
                                     : ", ",
                    (int)near[i].n.len, near[i].n.name, near[i].n.class);
    dg_error(e, "--class: \"%.*s\" is no name of ImageNet's classes%s%s", (int)w.len, w.text, count ? t.text : "",
             count ? "?" : ": give another, a number from 0 to 999, seeded or balanced");
    text_free(&t);
    return false;
}

/* ---- the option ----------------------------------------------------------------------------------------------------------------- */
static bool find_number(const Networks *n, Word w, int *out, bool *number, Error *e) {
    char text[32], *end = text;
    long k = -1;
    *number = w.len > 0 && w.len < sizeof text;
    if (*number) snprintf(text, sizeof text, "%.*s", (int)w.len, w.text), k = strtol(text, &end, 10), *number = end != text && !*end;
    if (*number && (k < 0 || k >= n->classes))
        return dg_error(e, "--class: %s is outside this network's classes, 0 to %d", text, n->classes - 1);
    return *out = (int)k, true;
}
static bool find_class(ClassRule *r, const Networks *n, Word w, int *out, Error *e) {
    bool number;
    if (!find_listed(n, w, out, e)) return false;
    if (*out >= 0) return true;
    if (!find_number(n, w, out, &number, e)) return false;
    if (number) return true;
    if (listed_names(n))
        return dg_error(e, "--class: \"%.*s\" is none of this network's classes: give seeded, balanced, or 0 to %d", (int)w.len, w.text,
                        n->classes - 1);
    if (n->classes != IMAGENET_CLASSES)
        return dg_error(
            e, "--class: \"%.*s\": this network's %d classes have no names, as ImageNet's 1000 have: give seeded, balanced, or 0 to %d",
            (int)w.len, w.text, n->classes, n->classes - 1);
    if (!find_imagenet(w, out, e)) return false;
    return *out >= 0 ? r->imagenet = true : unknown_name(w, e);
}
static Word trimmed(const char *text, size_t len) {
    while (len && isspace((unsigned char)*text)) text++, len--;
    while (len && isspace((unsigned char)text[len - 1])) len--;
    return (Word){text, len};
}
static bool parse_list(ClassRule *r, const Networks *n, const char *text, Error *e) {
    int whole;
    if (!find_listed(n, (Word){text, strlen(text)}, &whole, e)) return false; /* a name may have commas in it */
    r->list = dg_alloc((strlen(text) + 1) * sizeof *r->list);
    if (whole >= 0) return r->list[r->count++] = whole, true;
    for (const char *at = text;; at++) {
        size_t len = strcspn(at, ",");
        Word w = trimmed(at, len);
        if (!w.len) return dg_error(e, "--class %s: a class is missing, before or behind a comma", text);
        if (!find_class(r, n, w, &r->list[r->count++], e)) return false;
        at += len;
        if (!*at) return true;
    }
}
bool class_rule_parse(ClassRule *r, const Networks *n, const char *text, Error *e) {
    *r = (ClassRule){.kind = !strcmp(text, "seeded") ? CLASS_SEEDED : !strcmp(text, "balanced") ? CLASS_BALANCED : CLASS_LISTED};
    if (r->kind != CLASS_LISTED) return true;
    if (!n->classes) return dg_error(e, "--class %s: this network is unconditional, it knows no classes", text);
    if (parse_list(r, n, text, e)) return true;
    class_rule_free(r);
    return false;
}
void class_rule_print(const ClassRule *r, Text *out) {
    for (int i = 0; i < r->count; i++) text_printf(out, i ? ",%d" : "%d", r->list[i]);
}
void class_rule_free(ClassRule *r) {
    free(r->list);
    *r = (ClassRule){0};
}
int class_of_seed(const ClassRule *r, int classes, uint64_t seed) {
    if (!classes) return -1;
    if (r->kind == CLASS_SEEDED) return philox_label(seed, classes);
    return r->kind == CLASS_BALANCED ? (int)(seed % (uint64_t)classes) : r->list[seed % (uint64_t)r->count];
}
