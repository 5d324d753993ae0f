/* parts.c -- finding the state dict or module in what was pickled: containers of many trainers, lists, averaged copies. */
#include "weights_tools/parts.h"
#include "weights_tools/module.h"
#include "weights_tools/torch_file.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_DEPTH = 8,
    LOOK_AHEAD = 3,     /* levels that are looked through for tensors */
    MAX_WORK = 4 << 20, /* entries looked at: parts may be shared, and past this nothing more is found */
    NAME = 64
};
/* ---- what a value consists of ------------------------------------------------------------------------------------------ */
typedef struct {
    const PickleValue *const *item;
    size_t count;
    bool pairs; /* key, value, key, value */
} Entries;
/* Of dicts, lists, and of the attributes of objects that are no modules and no tensors. */
static bool entries_of(const PickleValue *v, Entries *x) {
    *x = (Entries){0};
    if (!v || torch_is_tensor(v)) return false;
    if (v->kind == PICKLE_LIST || v->kind == PICKLE_TUPLE) {
        *x = (Entries){(const PickleValue *const *)v->item, v->count, false};
        return true;
    }
    if (v->kind == PICKLE_CALL && v->count && !v->call->pairs) {
        *x = (Entries){(const PickleValue *const *)v->call->item, v->count, false};
        return true;
    }
    const PickleValue *attributes = v->kind == PICKLE_CALL && !v->count ? module_state(v) : NULL;
    x->pairs = true;
    if (attributes && pickle_pairs(attributes, &x->item, &x->count) && x->count) return true;
    return pickle_pairs(v, &x->item, &x->count);
}
/* An object that is no module stands for its attributes. */
static const PickleValue *as_dict(const PickleValue *v) {
    bool object = v && v->kind == PICKLE_CALL && !v->count && !module_recognise(v);
    return object && module_state(v) ? module_state(v) : v;
}
static size_t entry_count(const Entries *x) { return x->pairs ? x->count / 2 : x->count; }
static const PickleValue *entry(const Entries *x, size_t i) { return x->item[x->pairs ? 2 * i + 1 : i]; }
static const char *entry_name(const Entries *x, size_t i, char name[NAME]) {
    const PickleValue *key = x->pairs ? x->item[2 * i] : NULL;
    if (!key) snprintf(name, NAME, "%zu", i);
    else if (key->kind == PICKLE_TEXT) snprintf(name, NAME, "%.*s", (int)(key->count < NAME ? key->count : NAME), key->text);
    else if (key->kind == PICKLE_INT) snprintf(name, NAME, "%" PRId64, key->integer);
    else snprintf(name, NAME, "(%s)", pickle_kind_name(key));
    return name;
}
static void list_entries(const PickleValue *v, Text *t) {
    enum { SHOWN = 8 };
    Entries x;
    char name[NAME];
    entries_of(v, &x);
    for (size_t i = 0; i < entry_count(&x) && i < SHOWN; i++) {
        if (i) text_printf(t, ", ");
        text_printable(t, entry_name(&x, i, name));
    }
    if (entry_count(&x) > SHOWN) text_printf(t, ", ...");
}
/* Values (not scalars) under names: a state dict. A dict of a step count and of parts is none. */
static bool is_state_dict(const PickleValue *v, size_t *work) {
    Entries x;
    bool scalar = false, other = false;
    if (!entries_of(v, &x) || !x.pairs) return false;
    for (size_t i = 0; i < x.count && ++*work < MAX_WORK; i += 2) {
        Entries inner;
        if (x.item[i]->kind == PICKLE_TEXT && torch_dims(x.item[i + 1]) > 0) return true;
        if (x.item[i]->kind == PICKLE_TEXT && torch_is_tensor(x.item[i + 1])) scalar = true;
        else other |= entries_of(x.item[i + 1], &inner) && inner.count > 0;
    }
    return scalar && !other;
}
static bool is_network(const PickleValue *v, size_t *work) { return module_recognise(v) || is_state_dict(v, work); }
static bool holds_network(const PickleValue *v, int depth, size_t *work) {
    Entries x;
    if (++*work >= MAX_WORK) return false;
    if (is_network(v, work)) return true;
    if (depth == 0 || !entries_of(v, &x)) return false;
    for (size_t i = 0; i < entry_count(&x) && *work < MAX_WORK; i++)
        if (holds_network(entry(&x, i), depth - 1, work)) return true;
    return false;
}

/* ---- names of parts ------------------------------------------------------------------------------------------------------ */
/* Whether the word stands in name, with no letter at either side: "model_ema", "ema_0.999", "EMA". */
static bool has_word(const char *name, const char *word) {
    size_t n = strlen(word);
    for (const char *at = name; *at; at++) {
        bool begins = at == name || !((at[-1] | 32) >= 'a' && (at[-1] | 32) <= 'z');
        if (begins && !strncasecmp(at, word, n) && !((at[n] | 32) >= 'a' && (at[n] | 32) <= 'z')) return true;
    }
    return false;
}
bool part_is_average(const char *name) { return has_word(name, "ema") || has_word(name, "shadow") || has_word(name, "averaged"); }
/* What trainers keep beside their networks. */
static bool is_state_of_training(const char *name) {
    static const char *const words[] = {"optimizer", "optimizers", "optim", "opt",  "scheduler", "schedulers", "scaler",
                                        "callbacks", "loops",      "rng",   "loss", "args",      "augment"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (has_word(name, words[i])) return true;
    return false;
}
/* In which order the parts are preferred; the largest number: nobody's name. */
enum { RANK_AVERAGE = 100, RANK_OTHER = 1000, RANK_TRAINING = 2000 };
static int rank_of(const char *name) {
    static const char *const averages[] = {"ema", "ema_state_dict", "model_ema", "ema_model", "state_dict_ema"};
    static const char *const raw[] = {"state_dict", "model_state_dict", "model", "net", "network", "module", "params", "weights"};
    for (int i = 0; i < (int)(sizeof averages / sizeof *averages); i++)
        if (!strcmp(name, averages[i])) return i;
    if (part_is_average(name)) return RANK_AVERAGE;
    for (int i = 0; i < (int)(sizeof raw / sizeof *raw); i++)
        if (!strcmp(name, raw[i])) return RANK_AVERAGE + 1 + i;
    return is_state_of_training(name) ? RANK_TRAINING : RANK_OTHER;
}

/* ---- lists of averaged tensors --------------------------------------------------------------------------------------------- */
bool part_is_buffer(const PickleValue *name) {
    static const char *const buffers[] = {"resample_filter", "freqs", "running_mean", "running_var", "num_batches_tracked", "n_averaged",
                                          "sigmas",          "u",     "step"};
    size_t leaf = name->count;
    while (leaf && name->text[leaf - 1] != '.') leaf--;
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++)
        if (strlen(buffers[i]) == name->count - leaf && !memcmp(buffers[i], name->text + leaf, name->count - leaf)) return true;
    return false;
}
/* The tensors without names in what an average keeps: the value itself, or its "shadow_params". NULL: there are none. */
static const PickleValue *tensor_list(const PickleValue *v) {
    const PickleValue *list = v;
    if (v && v->kind == PICKLE_CALL && !v->count) v = module_state(v);
    if (pickle_get(v, "shadow_params")) list = pickle_get(v, "shadow_params");
    return torch_is_tensor(pickle_item(list, 0)) ? list : NULL;
}
/* Whether the list has one tensor for each of the state dict's, of its shape and in its order; with or without buffers. */
static bool matches(const PickleValue *list, const Entries *x, bool buffers, size_t *work) {
    size_t k = 0;
    for (size_t i = 0; i < x->count; i += 2) {
        if (++*work >= MAX_WORK) return false;
        if (x->item[i]->kind != PICKLE_TEXT || !torch_is_tensor(x->item[i + 1]) || (!buffers && part_is_buffer(x->item[i]))) continue;
        if (!torch_same_shape(pickle_item(list, k++), x->item[i + 1])) return false;
    }
    return k > 0 && k == list->count;
}
static bool list_fits(const PickleValue *list, const PickleValue *names, size_t *work) {
    Entries x;
    return entries_of(names, &x) && x.pairs && (matches(list, &x, false, work) || matches(list, &x, true, work));
}
bool part_list_has_buffers(const Part *part) {
    Entries x;
    size_t work = 0;
    return entries_of(part->names, &x) && !matches(part->value, &x, false, &work);
}

/* ---- choosing ------------------------------------------------------------------------------------------------------------------ */
/* DDIM's trainer saves [network, optimizer, epoch, step, averages], and its sampler takes the last. */
static bool last_is_average(const Entries *x, size_t first) {
    Entries a, b;
    size_t last = entry_count(x) - 1;
    if (x->pairs || last == first || !entries_of(entry(x, first), &a) || !entries_of(entry(x, last), &b) || !b.pairs || b.count > a.count)
        return false;
    for (size_t i = 0, k = 0; i < b.count; i += 2) { /* in the same order */
        while (k < a.count && (a.item[k]->count != b.item[i]->count || a.item[k]->kind != PICKLE_TEXT || b.item[i]->kind != PICKLE_TEXT ||
                               memcmp(a.item[k]->text, b.item[i]->text, b.item[i]->count)))
            k += 2;
        if (k == a.count || !torch_same_shape(b.item[i + 1], a.item[k + 1])) return false;
    }
    return b.count > 0;
}
typedef struct {
    Entries x;
    size_t best; /* the entry to take */
    int found;   /* entries of its rank */
    Text passed; /* averages that cannot be used: a sentence's end */
} Choice;
static void choose_of_list(Choice *c, size_t *work) {
    size_t first = 0, networks = 0, parts = 0, n = entry_count(&c->x);
    for (size_t i = 0; i < n && *work < MAX_WORK; i++) {
        if (is_network(entry(&c->x, i), work) && !networks++) first = i;
        if (holds_network(entry(&c->x, i), LOOK_AHEAD, work) && !parts++ && !networks) c->best = i;
    }
    c->found = (int)(networks ? networks : parts);
    if (networks) c->best = first;
    if (networks > 1 && networks < n && is_network(entry(&c->x, n - 1), work) && last_is_average(&c->x, first))
        c->best = n - 1, c->found = 1;
}
static void choose_of_names(Choice *c, size_t *work) {
    int best = RANK_TRAINING;
    char name[NAME];
    for (size_t i = 0; i < entry_count(&c->x) && *work < MAX_WORK; i++) {
        int rank = rank_of(entry_name(&c->x, i, name));
        if (rank > best || rank == RANK_TRAINING || !holds_network(entry(&c->x, i), LOOK_AHEAD, work)) continue;
        c->found = rank == best ? c->found + 1 : 1;
        c->best = i, best = rank;
    }
    if (c->found == 0) /* the optimizer's own tensors, say */
        return;
    /* An average without names: usable where it fits the network that would be taken otherwise. */
    for (size_t i = 0; i < entry_count(&c->x); i++) {
        const PickleValue *list = tensor_list(entry(&c->x, i));
        if (!list || best < RANK_AVERAGE || !part_is_average(entry_name(&c->x, i, name)) || c->found > 1) continue;
        if (list_fits(list, entry(&c->x, c->best), work)) {
            c->best = i;
            return;
        }
        text_printf(&c->passed, "; passed over \"");
        text_printable(&c->passed, name);
        text_printf(&c->passed, "\": %zu averaged tensors without names, which do not fit it", list->count);
        return;
    }
}
static bool nothing_found(const PickleValue *v, const Choice *c, Error *e) {
    Text has = {0};
    list_entries(v, &has);
    bool object = v->kind == PICKLE_CALL && v->call->callee->kind == PICKLE_CLASS;
    if (has.len && (c->x.pairs || c->found))
        dg_error(e, "%s of its parts holds tensors (%s): name one with --key%s", c->found ? "more than one" : "none", has.text,
                 c->x.pairs ? "" : ", as 0 or 0.model");
    else dg_error(e, "it holds %s%s%s, no tensors", pickle_kind_name(v), object ? " made by " : "", object ? v->call->callee->text : "");
    text_free(&has);
    return false;
}
static bool descend(const PickleValue *v, Part *part, Text *notes, Error *e) {
    size_t work = 0;
    for (int depth = 0; !is_network(v, &work); depth++) {
        Choice c = {.found = 0};
        char name[NAME];
        if (depth < MAX_DEPTH && entries_of(v, &c.x)) (c.x.pairs ? choose_of_names : choose_of_list)(&c, &work);
        if (c.found != 1) {
            text_free(&c.passed);
            return nothing_found(v, &c, e);
        }
        const PickleValue *next = entry(&c.x, c.best), *list = tensor_list(next);
        Text has = {0};
        list_entries(v, &has);
        text_printf(notes, "took \"");
        text_printable(notes, entry_name(&c.x, c.best, name));
        text_printf(notes, "\" of its parts %s (--key)%s\n", has.text, c.passed.len ? c.passed.text : "");
        text_free(&has);
        text_free(&c.passed);
        if (list && !is_network(next, &work)) { /* it was chosen because it fits the one that is best without it */
            int best = RANK_TRAINING;
            for (size_t i = 0; i < entry_count(&c.x); i++) {
                int rank = rank_of(entry_name(&c.x, i, name));
                if (i != c.best && rank < best && list_fits(list, entry(&c.x, i), &work))
                    best = rank, part->names = as_dict(entry(&c.x, i));
            }
            part->value = list;
            return part->names != NULL || dg_error(e, "its averaged tensors have no names");
        }
        v = next;
    }
    part->value = as_dict(v);
    return true;
}

/* ---- paths ------------------------------------------------------------------------------------------------------------------- */
static const PickleValue *child(const PickleValue *v, const char *name) {
    Entries x;
    char own[NAME];
    const PickleValue *found = NULL;
    if (module_recognise(v)) {
        if (pickle_get(pickle_get(module_state(v), "_modules"), name)) return pickle_get(pickle_get(module_state(v), "_modules"), name);
        return pickle_get(module_state(v), name);
    }
    if (!entries_of(v, &x)) return NULL;
    for (size_t i = 0; i < entry_count(&x); i++)
        if (!strcmp(entry_name(&x, i, own), name)) found = entry(&x, i);
    return found;
}
/* The longest beginning of the path that is a name: names may have dots themselves. */
static const PickleValue *step(const PickleValue *v, const char **at) {
    for (size_t n = strlen(*at); n > 0; n--) {
        char name[NAME];
        if (((*at)[n] && (*at)[n] != '.') || n >= sizeof name) continue;
        memcpy(name, *at, n), name[n] = 0;
        const PickleValue *next = child(v, name);
        if (!next) continue;
        *at += n + ((*at)[n] == '.');
        return next;
    }
    return NULL;
}
bool part_find(const PickleValue *root, const char *key, Part *part, Text *notes, Error *e) {
    const PickleValue *v = root, *above = NULL;
    *part = (Part){0};
    for (const char *at = key ? key : ""; *at;) {
        const PickleValue *next = step(v, &at);
        if (!next) {
            Text has = {0};
            list_entries(v, &has);
            dg_error(e, "it has no part \"%s\" (--key); its parts are: %s", key, has.len ? has.text : "none");
            text_free(&has);
            return false;
        }
        above = v, v = next;
    }
    const PickleValue *list = tensor_list(v);
    Entries x;
    size_t work = 0;
    if (list && above && entries_of(above, &x)) {
        for (size_t i = 0; i < entry_count(&x) && !part->names; i++)
            if (entry(&x, i) != v && list_fits(list, entry(&x, i), &work)) part->names = as_dict(entry(&x, i));
        part->value = list;
        if (part->names) return true;
        return dg_error(e, "\"%s\" is a list of %zu tensors without names, and no part beside it has as many of the same shapes", key,
                        list->count);
    }
    return descend(v, part, notes, e);
}
