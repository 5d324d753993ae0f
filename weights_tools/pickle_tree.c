/* pickle_tree.c -- looking things up in the tree that the pickle reader built. */
#include "weights_tools/pickle.h"
#include <string.h>

bool pickle_is_text(const PickleValue *v, const char *text) {
    return v && v->kind == PICKLE_TEXT && v->count == strlen(text) && !memcmp(v->text, text, v->count);
}
bool pickle_is_class(const PickleValue *v, const char *name) { return v && v->kind == PICKLE_CLASS && !strcmp(v->text, name); }
bool pickle_is_call(const PickleValue *v, const char *name) {
    return v && v->kind == PICKLE_CALL && pickle_is_class(v->call->callee, name);
}
bool pickle_pairs(const PickleValue *v, const PickleValue *const **item, size_t *count) {
    if (!v || (v->kind != PICKLE_DICT && !(v->kind == PICKLE_CALL && (v->call->pairs || !v->count)))) return false;
    *item = (const PickleValue *const *)(v->kind == PICKLE_DICT ? v->item : v->call->item), *count = v->count;
    return true;
}
const PickleValue *pickle_get(const PickleValue *dict, const char *key) {
    const PickleValue *const *item, *found = NULL;
    size_t count;
    if (!pickle_pairs(dict, &item, &count)) return NULL;
    for (size_t i = 0; i < count; i += 2)
        if (pickle_is_text(item[i], key)) found = item[i + 1];
    return found;
}
const PickleValue *pickle_item(const PickleValue *sequence, size_t i) {
    if (!sequence || (sequence->kind != PICKLE_LIST && sequence->kind != PICKLE_TUPLE) || i >= sequence->count) return NULL;
    return sequence->item[i];
}
const PickleValue *pickle_argument(const PickleValue *call, size_t i) {
    return call && call->kind == PICKLE_CALL ? pickle_item(call->call->args, i) : NULL;
}
const char *pickle_kind_name(const PickleValue *v) {
    static const char *const names[] = {"None",   "a boolean", "an integer", "a long integer", "a number", "a text",    "bytes",
                                        "a list", "a tuple",   "a set",      "a dict",         "a class",  "an object", "a persistent id"};
    return v ? names[v->kind] : "nothing";
}
