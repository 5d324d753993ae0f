/* checkpoint.c -- the named tensors of what a file holds: of the part that parts.c found, a state dict or a pickled module. */
#include "weights_tools/checkpoint.h"
#include "weights_tools/module.h"
#include "weights_tools/parts.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
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
static bool tensor_name(const PickleValue *key, char name[CHECKPOINT_MAX_NAME + 1], Error *e) {
    if (key->count == 0 || key->count > CHECKPOINT_MAX_NAME || memchr(key->text, 0, key->count))
        return dg_error(e, "the name of a tensor has %zu bytes, or a zero byte", key->count);
    memcpy(name, key->text, key->count), name[key->count] = 0;
    return true;
}
static bool collect_dict(Collector *k, const PickleValue *dict, Error *e) {
    const PickleValue *const *item;
    size_t count;
    char name[CHECKPOINT_MAX_NAME + 1];
    pickle_pairs(dict, &item, &count);
    bool *superseded = pickle_superseded(item, count), ok = true;
    for (size_t i = 0; ok && i < count; i += 2) {
        const PickleValue *key = item[i], *v = item[i + 1];
        if (superseded[i / 2]) continue;
        if (key->kind != PICKLE_TEXT || !torch_is_tensor(v)) {
            if (k->skipped++ == 0) printable(key, k->skipped_name, sizeof k->skipped_name);
            continue;
        }
        ok = tensor_name(key, name, e) && add(k, name, v, e);
    }
    free(superseded);
    return ok;
}
/* Averaged tensors in order, under the names of the state dict; its buffers, which no average has, are taken as they are. */
static bool collect_list(Collector *k, const Part *part, Error *e) {
    const PickleValue *const *item;
    size_t count, next = 0;
    char name[CHECKPOINT_MAX_NAME + 1];
    bool buffers = part_list_has_buffers(part);
    pickle_pairs(part->names, &item, &count);
    for (size_t i = 0; i < count; i += 2) {
        if (item[i]->kind != PICKLE_TEXT || !torch_is_tensor(item[i + 1])) continue;
        const PickleValue *v = !buffers && part_is_buffer(item[i]) ? item[i + 1] : pickle_item(part->value, next++);
        if (!tensor_name(item[i], name, e) || !add(k, name, v, e)) return false;
    }
    return true;
}
void note_left_out(Text *notes, int count, const char *what, const char *first) {
    if (!count) return;
    text_printf(notes, "left out %d %s (", count, what);
    text_printable(notes, first);
    text_printf(notes, count > 1 ? ", ...)\n" : ")\n");
}
static bool collect(Checkpoint *c, const char *key, Error *e) {
    Collector k = {.c = c, .room = c->map.bytes + GROWTH_FREE / MAX_GROWTH};
    const Zip *zip = torch_zip(c->torch);
    Part part;
    for (int i = 0; zip && i < zip->count; i++) k.room += zip->entry[i].deflated ? zip->entry[i].bytes : 0;
    const char *warning = torch_warning(c->torch);
    if (warning) {
        text_printf(&c->notes, "warning: loading this file in Python would use ");
        text_printable(&c->notes, warning);
        text_printf(&c->notes, "; nothing of it is executed here\n");
    }
    Error why = {""};
    if (!part_find(torch_root(c->torch), key, &part, &c->notes, &why))
        return warning ? dg_error(e, "%s (and loading this file in Python would use %s)", why.text, warning) : dg_error(e, "%s", why.text);
    if (part.names) return collect_list(&k, &part, e);
    if (module_recognise(part.value))
        return module_walk(part.value, add, &k, e) && module_describe(part.value, &c->class_name, &c->arguments, &c->attributes, e);
    if (!collect_dict(&k, part.value, e)) return false;
    note_left_out(&c->notes, k.skipped, "entries that are not tensors", k.skipped_name);
    return true;
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
    json_free(c->attributes);
    text_free(&c->notes);
    free(c->unpacked);
    st_close(c->native);
    torch_close(c->torch);
    if (c->mapped) file_unmap(&c->map);
    free(c->path);
    free(c);
}
