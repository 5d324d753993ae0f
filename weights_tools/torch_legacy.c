/* torch_legacy.c -- the format of torch.save before PyTorch 1.6. */
#include "weights_tools/torch_legacy.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { LEGACY_PROTOCOL = 1001 };
static const uint8_t magic[10] = {0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19}; /* little-endian */

typedef struct {
    TorchStorageId id;
    const uint8_t *data; /* NULL until the file's list of keys names it */
} Storage;
struct TorchLegacy {
    Pickle *value, *keys;
    Storage *storage; /* sorted by key */
    size_t count;
};

static int by_key(const void *a, const void *b) {
    const TorchStorageId *x = &((const Storage *)a)->id, *y = &((const Storage *)b)->id;
    if (x->key_bytes != y->key_bytes) return x->key_bytes < y->key_bytes ? -1 : 1;
    return memcmp(x->key, y->key, x->key_bytes);
}
static Storage *find(const TorchLegacy *l, const char *key, size_t key_bytes) {
    Storage wanted = {.id = {.key = key, .key_bytes = key_bytes}};
    return l->count ? bsearch(&wanted, l->storage, l->count, sizeof wanted, by_key) : NULL;
}
/* Every storage that the value refers to, once; two ids of one key must agree. */
static bool collect(TorchLegacy *l, Error *e) {
    size_t n, kept = 0;
    const PickleValue *const *persistent = pickle_persistent(l->value, &n);
    l->storage = dg_alloc(n * sizeof *l->storage + 1);
    for (size_t i = 0; i < n; i++) {
        if (!pickle_is_text(pickle_item(persistent[i]->id, 0), "storage")) continue; /* ("module", ...): a class */
        if (!torch_storage_id(persistent[i], &l->storage[l->count].id, e)) return false;
        l->count++;
    }
    if (l->count) qsort(l->storage, l->count, sizeof *l->storage, by_key);
    for (size_t i = 0; i < l->count; i++) {
        const TorchStorageId *a = &l->storage[i].id, *b = kept ? &l->storage[kept - 1].id : NULL;
        if (!b || by_key(a, b)) l->storage[kept++] = l->storage[i];
        else if (a->type != b->type || a->bytes != b->bytes)
            return dg_error(e, "storage %.*s is said to have two sizes or types", (int)a->key_bytes, a->key);
    }
    l->count = kept;
    return true;
}
/* Behind the pickles: for each key, the number of elements in 8 bytes, then the elements. */
static bool locate(TorchLegacy *l, const uint8_t *data, size_t bytes, size_t at, Error *e) {
    const PickleValue *keys = pickle_value(l->keys);
    if (keys->kind != PICKLE_LIST) return dg_error(e, "the list of storages is %s", pickle_kind_name(keys));
    for (size_t i = 0; i < keys->count; i++) {
        const PickleValue *key = keys->item[i];
        Storage *s = key->kind == PICKLE_TEXT ? find(l, key->text, key->count) : NULL;
        if (!s) return dg_error(e, "the list of storages names one that nothing refers to");
        if (s->data) return dg_error(e, "the list of storages names %.*s twice", (int)key->count, key->text);
        if (bytes - at < 8) return dg_error(e, "storage %.*s is missing: truncated?", (int)key->count, key->text);
        uint64_t elements = 0;
        for (int k = 7; k >= 0; k--) elements = elements << 8 | data[at + (size_t)k];
        at += 8;
        if (elements != s->id.bytes / element_bytes(s->id.type))
            return dg_error(e, "storage %.*s has %" PRIu64 " elements, the pickle says %" PRIu64, (int)key->count, key->text, elements,
                            s->id.bytes / element_bytes(s->id.type));
        if (s->id.bytes > bytes - at)
            return dg_error(e, "storage %.*s wants %" PRIu64 " bytes and the file has %zu more: truncated?", (int)key->count, key->text,
                            s->id.bytes, bytes - at);
        s->data = data + at;
        at += s->id.bytes;
    }
    for (size_t i = 0; i < l->count; i++)
        if (!l->storage[i].data)
            return dg_error(e, "storage %.*s is missing from the file", (int)l->storage[i].id.key_bytes, l->storage[i].id.key);
    return at == bytes || dg_error(e, "%zu bytes follow the last storage", bytes - at);
}
bool torch_legacy_recognise(const uint8_t *data, size_t bytes) {
    enum { ENOUGH = 64 };
    if (!bytes || data[0] != 0x80) return false;
    Error ignored;
    Pickle *p = pickle_parse(data, bytes < ENOUGH ? bytes : ENOUGH, &ignored);
    const PickleValue *v = p ? pickle_value(p) : NULL;
    bool yes = v && v->kind == PICKLE_LONG && v->count == sizeof magic && !memcmp(v->text, magic, sizeof magic);
    pickle_free(p);
    return yes;
}
static Pickle *next(const uint8_t *data, size_t bytes, size_t *at, const char *what, Error *e) {
    Pickle *p = pickle_parse(data + *at, bytes - *at, e);
    if (p) *at += pickle_bytes(p);
    else dg_error_context(e, "%s, at byte %zu", what, *at);
    return p;
}
/* The three pickles in front say that this is the format and that it was written on a little-endian machine. */
static bool read_head(const uint8_t *data, size_t bytes, size_t *at, Error *e) {
    if (!torch_legacy_recognise(data, bytes)) return dg_error(e, "the magic number of torch.save is missing");
    Pickle *number = next(data, bytes, at, "the magic number", e);
    pickle_free(number);
    if (!number) return false;
    Pickle *protocol = next(data, bytes, at, "the protocol", e), *system = protocol ? next(data, bytes, at, "the system's facts", e) : NULL;
    bool ok = system != NULL;
    if (ok && (pickle_value(protocol)->kind != PICKLE_INT || pickle_value(protocol)->integer != LEGACY_PROTOCOL))
        ok = dg_error(e, "its version is not %d", LEGACY_PROTOCOL);
    const PickleValue *little = ok ? pickle_get(pickle_value(system), "little_endian") : NULL;
    if (ok && (!little || little->kind != PICKLE_BOOL || !little->boolean))
        ok = dg_error(e, "its numbers are not stored in little-endian order");
    pickle_free(protocol);
    pickle_free(system);
    return ok;
}
TorchLegacy *torch_legacy_open(const uint8_t *data, size_t bytes, Error *e) {
    size_t at = 0;
    if (!read_head(data, bytes, &at, e)) return NULL;
    TorchLegacy *l = dg_alloc(sizeof *l);
    l->value = next(data, bytes, &at, "the saved value", e);
    l->keys = l->value ? next(data, bytes, &at, "the list of storages", e) : NULL;
    if (l->keys && collect(l, e) && locate(l, data, bytes, at, e)) return l;
    torch_legacy_close(l);
    return NULL;
}
void torch_legacy_close(TorchLegacy *l) {
    if (!l) return;
    pickle_free(l->value);
    pickle_free(l->keys);
    free(l->storage);
    free(l);
}
const char *torch_legacy_warning(const TorchLegacy *l) { return pickle_warning(l->value); }
const PickleValue *torch_legacy_root(const TorchLegacy *l) { return pickle_value(l->value); }
bool torch_legacy_storage(const TorchLegacy *l, const PickleValue *persistent, ElementType *type, const uint8_t **data, uint64_t *bytes,
                          Error *e) {
    TorchStorageId id;
    if (!torch_storage_id(persistent, &id, e)) return false;
    const Storage *s = find(l, id.key, id.key_bytes);
    DG_CHECK(s && s->data, "torch: a storage was not collected");
    *type = id.type, *data = s->data + id.view_first, *bytes = id.view_bytes;
    return true;
}
