/* checkpoint.c -- finding the named tensors in what a file holds: flat and nested state dicts, pickled modules. */
#include "weights_tools/checkpoint.h"
#include "weights_tools/module.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_PART_DEPTH = 8,
    MAX_WORK = 4 << 20, /* entries of dicts looked at to find the part that holds the tensors */
    MAX_NAMES_BYTES = 8 << 20,
    MAX_GROWTH = 8,       /* tensors that share storages may hold this many times more than these... */
    GROWTH_FREE = 1 << 20 /* ...and this: anything more is an attack */
};
typedef struct {
    Checkpoint *c;
    uint64_t bytes, room; /* of all tensors as stored; of all storages */
    size_t name_bytes;
    int skipped; /* entries that are not tensors */
    char skipped_name[64];
} Collector;

static bool add(void *user, const char *name, const PickleValue *v, Error *e) {
    Collector *k = user;
    Checkpoint *c = k->c;
    if (c->count == CHECKPOINT_MAX_TENSORS) return dg_error(e, "more than %d tensors", CHECKPOINT_MAX_TENSORS);
    if ((c->count & (c->count - 1)) == 0) c->tensor = dg_realloc(c->tensor, (size_t)(c->count ? 2 * c->count : 1) * sizeof *c->tensor);
    CheckpointTensor *t = &c->tensor[c->count];
    *t = (CheckpointTensor){.dims = 0};
    if (!torch_tensor(c->torch, v, &t->torch, e)) return dg_error_context(e, "tensor %s", name);
    t->dtype = element_dtype(t->torch.type), t->dims = t->torch.dims, t->count = t->torch.count;
    memcpy(t->shape, t->torch.shape, sizeof t->shape);
    if (__builtin_add_overflow(k->bytes, t->count * dtype_bytes(t->dtype), &k->bytes) || k->bytes / MAX_GROWTH > k->room)
        return dg_error(e, "tensor %s: %" PRIu64 " bytes of storages are said to hold %" PRIu64 " bytes of tensors", name, k->room,
                        k->bytes);
    if ((k->name_bytes += strlen(name)) > MAX_NAMES_BYTES)
        return dg_error(e, "the names of its tensors have more than %d bytes", MAX_NAMES_BYTES);
    t->name = dg_strdup(name);
    c->count++;
    return true;
}
static void printable(const PickleValue *key, char *out, size_t size) {
    if (key->kind == PICKLE_TEXT) snprintf(out, size, "%.*s", (int)(key->count < size ? key->count : size), key->text);
    else snprintf(out, size, "(%s)", pickle_kind_name(key));
}
static bool collect_dict(Collector *k, const PickleValue *dict, Error *e) {
    const PickleValue *const *item;
    size_t count;
    char name[CHECKPOINT_MAX_NAME + 1];
    pickle_pairs(dict, &item, &count);
    for (size_t i = 0; i < count; i += 2) {
        const PickleValue *key = item[i], *v = item[i + 1];
        if (key->kind != PICKLE_TEXT || !torch_is_tensor(v)) {
            if (k->skipped++ == 0) printable(key, k->skipped_name, sizeof k->skipped_name);
            continue;
        }
        if (key->count == 0 || key->count > CHECKPOINT_MAX_NAME || memchr(key->text, 0, key->count))
            return dg_error(e, "the name of a tensor has %zu bytes, or a zero byte", key->count);
        memcpy(name, key->text, key->count), name[key->count] = 0;
        if (!add(k, name, v, e)) return false;
    }
    return true;
}

/* ---- which part ------------------------------------------------------------------------------------------------------------ */
/* Parts may be shared: *work counts the entries looked at, and past MAX_WORK nothing more is found. */
static bool has_tensors(const PickleValue *v, size_t *work) {
    const PickleValue *const *item;
    size_t count;
    if (!pickle_pairs(v, &item, &count)) return false;
    for (size_t i = 0; i < count && ++*work < MAX_WORK; i += 2)
        if (item[i]->kind == PICKLE_TEXT && torch_is_tensor(item[i + 1])) return true;
    return false;
}
static bool is_part(const PickleValue *v, int depth, size_t *work);
/* The entry that an official program would take, or the only one that can be. */
static const PickleValue *choose(const PickleValue *dict, char *name, size_t size, int depth, size_t *work) {
    static const char *const preferred[] = {"ema", "ema_state_dict", "state_dict", "model_state_dict", "model", "net", "network", "module"};
    const PickleValue *const *item, *only = NULL;
    size_t count;
    if (!pickle_pairs(dict, &item, &count)) return NULL;
    for (size_t i = 0; i < sizeof preferred / sizeof *preferred && *work < MAX_WORK; i++) {
        const PickleValue *v = pickle_get(dict, preferred[i]);
        *work += count;
        if (v && is_part(v, depth, work)) return snprintf(name, size, "%s", preferred[i]), v;
    }
    for (size_t i = 0; i < count && *work < MAX_WORK; i += 2) {
        if (!is_part(item[i + 1], depth, work)) continue;
        if (only) return NULL;
        only = item[i + 1];
        printable(item[i], name, size);
    }
    return only;
}
static bool is_part(const PickleValue *v, int depth, size_t *work) {
    char name[64];
    ++*work;
    return module_recognise(v) || has_tensors(v, work) || (depth > 0 && choose(v, name, sizeof name, depth - 1, work));
}
static void list_entries(const PickleValue *dict, Text *t) {
    enum { SHOWN = 8 };
    const PickleValue *const *item;
    size_t count = 0;
    char name[64];
    pickle_pairs(dict, &item, &count);
    for (size_t i = 0; i < count && i < 2 * SHOWN; i += 2) {
        printable(item[i], name, sizeof name);
        if (i) text_printf(t, ", ");
        text_printable(t, name);
    }
    if (count > 2 * SHOWN) text_printf(t, ", ...");
}
static const PickleValue *named_part(const PickleValue *v, const char *key, Error *e) {
    char name[64];
    for (const char *at = key; *at;) {
        size_t n = strcspn(at, ".");
        snprintf(name, sizeof name, "%.*s", (int)n, at);
        const PickleValue *next = n < sizeof name ? pickle_get(v, name) : NULL;
        if (!next) {
            Text has = {0};
            list_entries(v, &has);
            dg_error(e, "it has no part \"%s\" (--key); its parts are: %s", key, has.len ? has.text : "none");
            text_free(&has);
            return NULL;
        }
        v = next;
        at += n + (at[n] == '.');
    }
    return v;
}
static bool collect(Checkpoint *c, const char *key, Error *e) {
    Collector k = {.c = c, .room = c->map.bytes + GROWTH_FREE / MAX_GROWTH};
    const Zip *zip = torch_zip(c->torch);
    for (int i = 0; zip && i < zip->count; i++) k.room += zip->entry[i].deflated ? zip->entry[i].bytes : 0;
    const PickleValue *v = torch_root(c->torch);
    if (key && !(v = named_part(v, key, e))) return false;
    size_t work = 0;
    for (int depth = 0; !module_recognise(v) && !has_tensors(v, &work); depth++) {
        char name[64];
        Text has = {0};
        const PickleValue *part = depth < MAX_PART_DEPTH ? choose(v, name, sizeof name, 2, &work) : NULL;
        list_entries(v, &has);
        bool object = v->kind == PICKLE_CALL && v->call->callee->kind == PICKLE_CLASS;
        if (part) {
            text_printf(&c->notes, "took \"");
            text_printable(&c->notes, name);
            text_printf(&c->notes, "\" of its parts %s (--key)\n", has.text);
        } else if (has.len) dg_error(e, "none, or more than one, of its parts holds tensors (%s): name one with --key", has.text);
        else
            dg_error(e, "it holds %s%s%s, no tensors", pickle_kind_name(v), object ? " made by " : "", object ? v->call->callee->text : "");
        text_free(&has);
        if (!part) return false;
        v = part;
    }
    if (!module_recognise(v)) {
        if (!collect_dict(&k, v, e)) return false;
        if (k.skipped) {
            text_printf(&c->notes, "left out %d entries that are not tensors (", k.skipped);
            text_printable(&c->notes, k.skipped_name);
            text_printf(&c->notes, "%s)\n", k.skipped > 1 ? ", ..." : "");
        }
        return true;
    }
    return module_walk(v, add, &k, e) && module_describe(v, &c->class_name, &c->arguments, e);
}

/* ---- opening ----------------------------------------------------------------------------------------------------------------- */
static int by_name(const void *a, const void *b) {
    return strcmp(((const CheckpointTensor *)a)->name, ((const CheckpointTensor *)b)->name);
}
static bool open_native(Checkpoint *c, const char *key, Error *e) {
    c->format = "safetensors";
    if (key) return dg_error(e, "a safetensors file has no parts (--key)");
    if (!(c->native = st_memory(c->map.data, c->map.bytes, c->path, e))) return false;
    c->config = st_metadata(c->native, "config");
    c->count = c->native->count;
    c->tensor = dg_alloc((size_t)c->count * sizeof *c->tensor);
    for (int i = 0; i < c->count; i++) {
        const StTensor *s = &c->native->tensor[i];
        CheckpointTensor *t = &c->tensor[i];
        *t = (CheckpointTensor){.name = dg_strdup(s->name), .dtype = s->dtype, .dims = s->dims, .count = s->count, .native = s};
        memcpy(t->shape, s->shape, sizeof t->shape);
    }
    return true;
}
static bool open_torch(Checkpoint *c, const char *key, Error *e) {
    if (!(c->torch = torch_open(c->map, c->path, e))) return false;
    c->format = torch_format(c->torch);
    if (!collect(c, key, e)) return dg_error_context(e, "%s", c->path);
    if (!c->count) return dg_error(e, "%s: it holds no tensors", c->path);
    qsort(c->tensor, (size_t)c->count, sizeof *c->tensor, by_name);
    for (int i = 1; i < c->count; i++)
        if (!strcmp(c->tensor[i].name, c->tensor[i - 1].name))
            return dg_error(e, "%s: two tensors are named %s", c->path, c->tensor[i].name);
    return true;
}
bool checkpoint_is_native(const FileMap *m) { return m->bytes > 8 && m->data[8] == '{' && m->data[6] == 0 && m->data[7] == 0; }
static Checkpoint *open_map(FileMap m, bool mapped, const char *path, const char *key, Error *e) {
    Checkpoint *c = dg_alloc(sizeof *c);
    c->path = dg_strdup(path), c->map = m, c->mapped = mapped;
    if (checkpoint_is_native(&m) ? open_native(c, key, e) : open_torch(c, key, e)) return c;
    checkpoint_close(c);
    return NULL;
}
Checkpoint *checkpoint_open(const char *path, const char *key, Error *e) {
    FileMap m;
    return file_map(path, &m, e) ? open_map(m, true, path, key, e) : NULL;
}
Checkpoint *checkpoint_memory(const void *data, size_t bytes, const char *name, const char *key, Error *e) {
    return open_map((FileMap){data, bytes}, false, name, key, e);
}
void checkpoint_close(Checkpoint *c) {
    if (!c) return;
    for (int i = 0; i < c->count; i++) free(c->tensor[i].name);
    free(c->tensor);
    free(c->class_name);
    json_free(c->arguments);
    text_free(&c->notes);
    free(c->unpacked);
    st_close(c->native);
    torch_close(c->torch);
    if (c->mapped) file_unmap(&c->map);
    free(c->path);
    free(c);
}
