/* module.c -- walking a pickled module: _parameters, _buffers and _modules of each object's state. */
#include "weights_tools/module.h"
#include "weights_tools/checkpoint.h"
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_DEPTH = 32,     /* of modules within modules */
    MAX_WORK = 4 << 20, /* dict entries looked at: shared branches are walked as often as they are referred to */
    MAX_VALUES = 4096,  /* of arguments */
    MAX_MEMBERS = 256
};
/* The __dict__ of an object: EDM's carry it in the description they are reconstructed from, others as their state. */
const PickleValue *module_state(const PickleValue *v) {
    if (!v || v->kind != PICKLE_CALL) return NULL;
    if (pickle_is_call(v, "torch_utils.persistence._reconstruct_persistent_obj")) return pickle_get(pickle_argument(v, 0), "state");
    const PickleValue *state = v->call->state;
    return state && state->kind == PICKLE_TUPLE ? pickle_item(state, 0) : state; /* (__dict__, slots) */
}
bool module_recognise(const PickleValue *v) {
    const PickleValue *state = module_state(v);
    return pickle_get(state, "_parameters") && pickle_get(state, "_modules");
}

typedef struct {
    ModuleAdd add;
    void *user;
    size_t work;
    char name[CHECKPOINT_MAX_NAME + 1];
} Walk;
static bool spend(Walk *w, size_t entries, Error *e) {
    if ((w->work += entries) <= MAX_WORK) return true;
    return dg_error(e, "its modules are shared so often that the whole has more than %d entries: no network does", MAX_WORK);
}
/* Appends a part of a name; false when it is no name. */
static bool extend(Walk *w, size_t length, const PickleValue *key, Error *e) {
    if (key->kind != PICKLE_TEXT) return dg_error(e, "the name of a part of %.*s is %s", (int)length, w->name, pickle_kind_name(key));
    if (!key->count || memchr(key->text, 0, key->count) || length + key->count + 2 > sizeof w->name)
        return dg_error(e, "the name of a part of %.*s is empty, or too long", (int)length, w->name);
    memcpy(w->name + length, key->text, key->count);
    w->name[length + key->count] = 0;
    return true;
}
static bool in_set(const PickleValue *set, const PickleValue *key) {
    for (size_t i = 0; set && i < set->count; i++)
        if (set->item[i]->kind == PICKLE_TEXT && set->item[i]->count == key->count && !memcmp(set->item[i]->text, key->text, key->count))
            return true;
    return false;
}
static bool walk_tensors(Walk *w, size_t length, const PickleValue *dict, const PickleValue *leave_out, Error *e) {
    const PickleValue *const *item;
    size_t count;
    if (!dict) return true;
    if (leave_out && leave_out->kind == PICKLE_CALL) leave_out = pickle_argument(leave_out, 0); /* set([...]) of older protocols */
    if (leave_out && leave_out->kind != PICKLE_SET && leave_out->kind != PICKLE_LIST) leave_out = NULL;
    if (!pickle_pairs(dict, &item, &count))
        return dg_error(e, "the parameters of %.*s are %s", (int)length, w->name, pickle_kind_name(dict));
    bool *superseded = pickle_superseded(item, count), ok = true;
    for (size_t i = 0; ok && i < count; i += 2) {
        const PickleValue *v = item[i + 1];
        if (!(ok = spend(w, 1 + (leave_out ? leave_out->count : 0), e) && extend(w, length, item[i], e))) break;
        if (superseded[i / 2] || v->kind == PICKLE_NONE || in_set(leave_out, item[i])) continue; /* a bias that is off, say */
        ok = torch_is_tensor(v) ? w->add(w->user, w->name, v, e)
                                : dg_error(e, "parameter %s is %s, not a tensor", w->name, pickle_kind_name(v));
    }
    free(superseded);
    return ok;
}
static bool walk(Walk *w, size_t length, const PickleValue *module, int depth, Error *e) {
    const PickleValue *state = module_state(module);
    const PickleValue *const *item, *modules = pickle_get(state, "_modules");
    size_t count;
    w->name[length] = 0;
    if (depth > MAX_DEPTH) return dg_error(e, "its modules are nested more than %d deep (%s)", MAX_DEPTH, w->name);
    if (!spend(w, state ? state->count : 0, e)) return false;
    if (!module_recognise(module)) return dg_error(e, "module %s is %s", w->name, pickle_kind_name(module));
    if (!walk_tensors(w, length, pickle_get(state, "_parameters"), NULL, e)) return false;
    if (!walk_tensors(w, length, pickle_get(state, "_buffers"), pickle_get(state, "_non_persistent_buffers_set"), e)) return false;
    if (!pickle_pairs(modules, &item, &count))
        return dg_error(e, "the parts of %.*s are %s", (int)length, w->name, pickle_kind_name(modules));
    bool *superseded = pickle_superseded(item, count), ok = true;
    for (size_t i = 0; ok && i < count; i += 2) {
        if (!(ok = spend(w, 1, e) && extend(w, length, item[i], e))) break;
        if (superseded[i / 2] || item[i + 1]->kind == PICKLE_NONE) continue;
        size_t n = length + item[i]->count;
        w->name[n++] = '.';
        ok = walk(w, n, item[i + 1], depth + 1, e);
    }
    free(superseded);
    return ok;
}
bool module_walk(const PickleValue *module, ModuleAdd add, void *user, Error *e) {
    Walk w = {.add = add, .user = user};
    return walk(&w, 0, module, 0, e);
}

/* ---- constructor arguments ---------------------------------------------------------------------------------------------------- */
/* Numbers, texts and lists of them as JSON; false, with nothing written, for anything else (infinities have no JSON). */
static bool write_value(Text *t, const PickleValue *v, int *left) {
    size_t begin = t->len;
    if (--*left < 0) return false;
    switch (v->kind) {
    case PICKLE_NONE: text_printf(t, "null"); return true;
    case PICKLE_BOOL: text_printf(t, v->boolean ? "true" : "false"); return true;
    case PICKLE_INT: text_printf(t, "%" PRId64, v->integer); return true;
    case PICKLE_FLOAT:
        if (!isfinite(v->number)) return false;
        text_printf(t, "%.17g", v->number);
        return true;
    case PICKLE_TEXT: {
        char text[256];
        if (v->count >= sizeof text || memchr(v->text, 0, v->count)) return false;
        memcpy(text, v->text, v->count), text[v->count] = 0;
        text_json_string(t, text);
        return true;
    }
    case PICKLE_LIST:
    case PICKLE_TUPLE:
        text_printf(t, "[");
        for (size_t i = 0; i < v->count; i++) {
            const PickleValue *x = v->item[i];
            text_printf(t, i ? ", " : "");
            if (x->kind != PICKLE_LIST && x->kind != PICKLE_TUPLE && write_value(t, x, left)) continue;
            t->len = begin; /* text_printf writes at len */
            t->text[begin] = 0;
            return false;
        }
        text_printf(t, "]");
        return true;
    default: return false;
    }
}
/* The members of dict, but for private ones; of those that cannot be written, the names where `all`. */
static bool write_members(const PickleValue *dict, bool all, Json **object, Error *e) {
    const PickleValue *const *item;
    size_t count = 0;
    char key[64];
    int left = MAX_VALUES;
    Text t = {0};
    text_printf(&t, "{");
    if (!pickle_pairs(dict, &item, &count) || count > 2 * MAX_MEMBERS) count = 0;
    bool *superseded = pickle_superseded(item, count);
    for (size_t i = 0; i < count; i += 2) {
        const PickleValue *k = item[i];
        if (superseded[i / 2] || k->kind != PICKLE_TEXT || !k->count || k->count >= sizeof key || k->text[0] == '_' ||
            memchr(k->text, 0, k->count))
            continue;
        memcpy(key, k->text, k->count), key[k->count] = 0;
        size_t begin = t.len;
        text_printf(&t, t.len > 1 ? ", " : "");
        text_json_string(&t, key);
        text_printf(&t, ": ");
        if (write_value(&t, item[i + 1], &left)) continue;
        if (all) {
            text_printf(&t, "null");
            continue;
        }
        t.len = begin;
        t.text[begin] = 0;
    }
    free(superseded);
    text_printf(&t, "}");
    *object = json_parse(t.text, t.len, e);
    text_free(&t);
    return *object != NULL || dg_error_context(e, "the constructor's arguments");
}
/* The name of an object's class, without its module; "" where it has none. */
static void class_of(const PickleValue *object, char *text, size_t size) {
    const PickleValue *name = NULL;
    text[0] = 0;
    if (pickle_is_call(object, "torch_utils.persistence._reconstruct_persistent_obj")) {
        name = pickle_get(pickle_argument(object, 0), "class_name");
        if (name && name->kind == PICKLE_TEXT && name->count < size) memcpy(text, name->text, name->count), text[name->count] = 0;
    } else if (object->call->callee->kind == PICKLE_CLASS) {
        snprintf(text, size, "%s", strrchr(object->call->callee->text, '.') + 1);
    }
}
/* What wrappers of PyTorch wrap. */
static const PickleValue *wrapped(const PickleValue *module) {
    static const char *const wrappers[] = {"DataParallel", "DistributedDataParallel", "FullyShardedDataParallel", "OptimizedModule",
                                           "AveragedModel"};
    char name[64];
    class_of(module, name, sizeof name);
    for (size_t i = 0; i < sizeof wrappers / sizeof *wrappers; i++) {
        if (strcmp(name, wrappers[i])) continue;
        const PickleValue *parts = pickle_get(module_state(module), "_modules"), *part = pickle_get(parts, "module");
        if (!part) part = pickle_get(parts, "_orig_mod");
        return module_recognise(part) ? part : NULL;
    }
    return NULL;
}
bool module_describe(const PickleValue *module, char **class_name, Json **arguments, Json **attributes, Error *e) {
    char text[64];
    for (int i = 0; i < MAX_DEPTH && wrapped(module); i++) module = wrapped(module);
    const PickleValue *state = module_state(module);
    class_of(module, text, sizeof text);
    *class_name = dg_strdup(text);
    return write_members(pickle_get(state, "_init_kwargs"), true, arguments, e) && write_members(state, false, attributes, e);
}
