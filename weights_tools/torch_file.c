/* torch_file.c -- containers of torch.save, and the tensors inside. */
#include "weights_tools/torch_file.h"
#include "weights_tools/torch_legacy.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the container -------------------------------------------------------------------------------------------------------- */
typedef struct { /* a storage that a plain pickle holds as bytes: parsed once, however many tensors view it */
    const char *bytes;
    uint8_t *decoded; /* of protocol 2, where a text stands for the bytes; else NULL */
    ElementType type;
    const uint8_t *data;
    uint64_t data_bytes;
} Nested;
struct TorchFile {
    char *name;
    const char *format;
    FileMap map;
    Zip *zip;
    char *folder;           /* of a zip's records: "archive/" */
    unsigned char *pickled; /* a deflated data.pkl, unpacked */
    Pickle *pickle;
    TorchLegacy *legacy;
    Nested *nested; /* a hash table by `bytes`, half empty at least */
    size_t nested_count, nested_room;
};
const char *torch_format(const TorchFile *f) { return f->format; }
const PickleValue *torch_root(const TorchFile *f) { return f->legacy ? torch_legacy_root(f->legacy) : pickle_value(f->pickle); }
const Zip *torch_zip(const TorchFile *f) { return f->zip; }
const char *torch_warning(const TorchFile *f) { return f->legacy ? torch_legacy_warning(f->legacy) : pickle_warning(f->pickle); }

enum { MAX_PICKLE_BYTES = 32 << 20 }; /* of a deflated data.pkl */
/* data.pkl lies in the archive's one folder; where there are several, PyTorch takes the folder of the first entry. */
static const ZipEntry *find_pickle(const Zip *z, Error *e) {
    const ZipEntry *found = NULL;
    const char *first = z->count ? z->entry[0].name : "";
    size_t folder = strcspn(first, "/");
    int count = 0;
    for (const ZipEntry *x = zip_find_suffix(z, "data.pkl", NULL); x; x = zip_find_suffix(z, "data.pkl", x)) {
        const char *slash = strchr(x->name, '/');
        if (strcmp(slash ? slash + 1 : x->name, "data.pkl")) continue;
        if (!count++ || (first[folder] && !strncmp(x->name, first, folder + 1))) found = x;
    }
    if (!found) dg_error(e, "a ZIP archive without data.pkl: no file of torch.save");
    if (count < 2 || (first[folder] && !strncmp(found->name, first, folder + 1))) return found;
    dg_error(e, "a ZIP archive with %d data.pkl, none of them in the folder of its first entry: no file of torch.save", count);
    return NULL;
}
static bool open_zip(TorchFile *f, Error *e) {
    f->format = "PyTorch zip";
    if (!(f->zip = zip_memory(f->map.data, f->map.bytes, f->name, e))) return false;
    const ZipEntry *main = NULL;
    if (!(main = find_pickle(f->zip, e))) return false;
    f->folder = dg_strdup(main->name);
    f->folder[strlen(main->name) - strlen("data.pkl")] = 0;
    char name[ZIP_MAX_NAME + 32];
    snprintf(name, sizeof name, "%sconstants.pkl", f->folder);
    if (zip_find(f->zip, name)) return dg_error(e, "a TorchScript archive (torch.jit.save); dg_cuda reads state dicts (torch.save)");
    snprintf(name, sizeof name, "%sbyteorder", f->folder);
    const ZipEntry *order = zip_find(f->zip, name);
    char text[8] = "little";
    if (order) {
        if (order->bytes >= sizeof text) return dg_error(e, "its byteorder record has %" PRIu64 " bytes", order->bytes);
        memset(text, 0, sizeof text);
        if (!zip_read(f->zip, order, text, e)) return false;
    }
    if (strcmp(text, "little")) return dg_error(e, "its numbers are stored in \"%s\"-endian order, dg_cuda reads \"little\"", text);
    const unsigned char *data = main->packed;
    if (main->deflated) {
        if (main->bytes > MAX_PICKLE_BYTES) return dg_error(e, "its data.pkl has %" PRIu64 " bytes: no checkpoint's does", main->bytes);
        data = f->pickled = dg_alloc((size_t)main->bytes + 1);
    }
    if (main->deflated ? !zip_read(f->zip, main, f->pickled, e) : !zip_verify(f->zip, main, e)) return false;
    f->pickle = pickle_parse(data, (size_t)main->bytes, e);
    if (f->pickle && pickle_bytes(f->pickle) != main->bytes)
        return dg_error(e, "%" PRIu64 " bytes follow the pickle's end in data.pkl: torch.save writes none",
                        main->bytes - pickle_bytes(f->pickle));
    return f->pickle != NULL;
}
/* What people have instead of a checkpoint, told apart by its first bytes. */
static bool refuse(const FileMap *m, Error *e) {
    const char *s = (const char *)m->data;
    size_t n = m->bytes;
    static const char lfs[] = "version https://git-lfs", gzip[] = "\x1f\x8b", hdf5[] = "\x89HDF\r\n", ggml[] = "GGUF", npy[] = "\x93NUMPY";
#define BEGINS(text) (n >= sizeof(text) - 1 && !memcmp(s, text, sizeof(text) - 1))
    if (n == 0) return dg_error(e, "an empty file");
    if (BEGINS(lfs)) return dg_error(e, "a Git LFS pointer, not the file itself: fetch it with \"git lfs pull\"");
    if (BEGINS("<!DOCTYPE") || BEGINS("<!doctype") || BEGINS("<html") || BEGINS("<?xml"))
        return dg_error(e, "a web page, not a checkpoint: the download was refused or needs a login");
    if (BEGINS(gzip)) return dg_error(e, "a gzip file: unpack it first");
    if (BEGINS(hdf5) || BEGINS(ggml) || BEGINS(npy)) return dg_error(e, "an HDF5, GGUF or NumPy file, not a checkpoint of PyTorch");
    if (n >= 512 && !memcmp(s + 257, "ustar", 5))
        return dg_error(e, "a tar file, as PyTorch wrote before version 0.2: open it in PyTorch and save it again with torch.save");
#undef BEGINS
    return true;
}
static bool open_any(TorchFile *f, Error *e) {
    if (zip_recognise(f->map.data, f->map.bytes)) return open_zip(f, e);
    if (!refuse(&f->map, e)) return false;
    if (torch_legacy_recognise(f->map.data, f->map.bytes)) {
        f->format = "PyTorch legacy";
        return (f->legacy = torch_legacy_open(f->map.data, f->map.bytes, e)) != NULL;
    }
    f->format = "pickle";
    f->pickle = pickle_parse(f->map.data, f->map.bytes, e);
    if (f->pickle && pickle_bytes(f->pickle) != f->map.bytes)
        return dg_error(e, "%zu bytes follow the pickle's end: not a file of torch.save or pickle.dump",
                        f->map.bytes - pickle_bytes(f->pickle));
    if (!f->pickle && f->map.data[0] != 0x80) dg_error_context(e, "neither safetensors nor PyTorch");
    return f->pickle != NULL;
}
TorchFile *torch_open(FileMap m, const char *name, Error *e) {
    TorchFile *f = dg_alloc(sizeof *f);
    Error why = {""};
    f->name = dg_strdup(name), f->map = m;
    if (open_any(f, &why)) return f;
    if (strncmp(why.text, name, strlen(name))) dg_error_context(&why, "%s", name); /* the ZIP reader's begin with it */
    torch_close(f);
    dg_error(e, "%s", why.text);
    return NULL;
}
void torch_close(TorchFile *f) {
    if (!f) return;
    pickle_free(f->pickle);
    torch_legacy_close(f->legacy);
    zip_close(f->zip);
    for (size_t i = 0; i < f->nested_room; i++) free(f->nested[i].decoded);
    free(f->nested);
    free(f->pickled);
    free(f->folder);
    free(f->name);
    free(f);
}

/* ---- storages ---------------------------------------------------------------------------------------------------------------- */
static Nested *nested_slot(const TorchFile *f, const char *bytes) {
    size_t i = (uintptr_t)bytes * 0x9E3779B97F4A7C15u >> 20;
    for (;; i++) {
        Nested *n = &f->nested[i & (f->nested_room - 1)];
        if (!n->bytes || n->bytes == bytes) return n;
    }
}
/* b, or in protocol 2 the call that makes it of a text, as the legacy file that it is. */
static bool open_nested(Nested *n, const PickleValue *b, Error *e) {
    const uint8_t *data = (const uint8_t *)b->text;
    size_t bytes = b->count;
    if (b->kind == PICKLE_CALL) {
        if (!pickle_latin1(b, &bytes)) return dg_error(e, "its text is no Latin-1");
        data = n->decoded = malloc(bytes + 1); /* at most as many bytes as the text has in the file */
        if (!data) return dg_error(e, "not enough memory for its %zu bytes", bytes);
        pickle_latin1_bytes(b, n->decoded);
    }
    TorchLegacy *l = torch_legacy_open(data, bytes, e);
    const PickleValue *root = l ? torch_legacy_root(l) : NULL;
    bool ok = l && (root->kind == PICKLE_PERSISTENT || dg_error(e, "the bytes of a storage hold %s", pickle_kind_name(root))) &&
              torch_legacy_storage(l, root, &n->type, &n->data, &n->data_bytes, e);
    torch_legacy_close(l);
    return ok;
}
/* torch.storage._load_from_bytes(b): b is a whole legacy file that holds one storage. */
static bool nested_storage(TorchFile *f, const PickleValue *call, TorchTensor *t, Error *e) {
    const PickleValue *b = pickle_argument(call, 0), *text = b;
    if (pickle_is_call(b, "_codecs.encode")) text = pickle_argument(b, 0);
    if (!text || text->kind != (text == b ? PICKLE_BYTES : PICKLE_TEXT))
        return dg_error(e, "a storage is made of %s instead of bytes", pickle_kind_name(b));
    if (2 * f->nested_count >= f->nested_room) {
        Nested *old = f->nested;
        size_t n = f->nested_room;
        f->nested_room = n ? 2 * n : 256;
        f->nested = dg_alloc(f->nested_room * sizeof *f->nested);
        for (size_t i = 0; i < n; i++)
            if (old[i].bytes) *nested_slot(f, old[i].bytes) = old[i];
        free(old);
    }
    Nested *n = nested_slot(f, text->text);
    if (!n->bytes) {
        if (!open_nested(n, b, e)) {
            free(n->decoded);
            n->decoded = NULL;
            return dg_error_context(e, "a storage within the pickle");
        }
        n->bytes = text->text;
        f->nested_count++;
    }
    t->type = n->type, t->data = n->data, t->bytes = n->data_bytes;
    return true;
}
static bool zip_storage(const TorchFile *f, const PickleValue *persistent, TorchTensor *t, Error *e) {
    TorchStorageId id;
    char name[ZIP_MAX_NAME + 1];
    if (!torch_storage_id(persistent, &id, e)) return false;
    int n = snprintf(name, sizeof name, "%sdata/%.*s", f->folder, (int)id.key_bytes, id.key);
    const ZipEntry *entry = n < (int)sizeof name ? zip_find(f->zip, name) : NULL;
    if (!entry) return dg_error(e, "storage %.*s is missing from the file", (int)id.key_bytes, id.key);
    if (entry->bytes != id.bytes)
        return dg_error(e, "storage %s has %" PRIu64 " bytes, the pickle says %" PRIu64, entry->name, entry->bytes, id.bytes);
    t->type = id.type, t->data = entry->deflated ? NULL : entry->packed, t->entry = entry, t->bytes = id.bytes;
    return true;
}
static bool storage(TorchFile *f, const PickleValue *v, TorchTensor *t, Error *e) {
    if (pickle_is_call(v, "torch.storage._load_from_bytes")) return nested_storage(f, v, t, e);
    if (!v || v->kind != PICKLE_PERSISTENT) return dg_error(e, "its storage is %s", pickle_kind_name(v));
    if (f->legacy) return torch_legacy_storage(f->legacy, v, &t->type, &t->data, &t->bytes, e);
    return f->zip ? zip_storage(f, v, t, e) : dg_error(e, "its storage lies in another file");
}

/* ---- tensors ------------------------------------------------------------------------------------------------------------------- */
static const char *const builders[] = {"torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_tensor",
                                       "torch._utils._rebuild_tensor_v3"};
static bool is_view(const PickleValue *v) {
    return pickle_is_call(v, builders[0]) || pickle_is_call(v, builders[1]) || pickle_is_call(v, builders[2]);
}
static bool is_parameter(const PickleValue *v) {
    return pickle_is_call(v, "torch._utils._rebuild_parameter") || pickle_is_call(v, "torch._utils._rebuild_parameter_with_state") ||
           pickle_is_call(v, "torch.nn.parameter.Parameter") || pickle_is_call(v, "torch.nn.parameter.Buffer");
}
bool torch_is_tensor(const PickleValue *v) { return is_view(v) || is_parameter(v); }

/* The size as it was pickled, of a tensor or parameter; NULL where there is none. */
static const PickleValue *size_of(const PickleValue *v) {
    for (int i = 0; i < 4 && is_parameter(v); i++) v = pickle_argument(v, 0);
    const PickleValue *size = is_view(v) ? pickle_argument(v, 2) : NULL;
    if (pickle_is_call(size, "torch.Size")) size = pickle_argument(size, 0);
    return size && (size->kind == PICKLE_TUPLE || size->kind == PICKLE_LIST) ? size : NULL;
}
int torch_dims(const PickleValue *v) {
    const PickleValue *size = size_of(v);
    return size ? (int)size->count : -1;
}
bool torch_same_shape(const PickleValue *a, const PickleValue *b) {
    const PickleValue *x = size_of(a), *y = size_of(b);
    if (!x || !y || x->count != y->count || x->count > ST_MAX_DIMS) return false;
    for (size_t i = 0; i < x->count; i++)
        if (x->item[i]->kind != PICKLE_INT || y->item[i]->kind != PICKLE_INT || x->item[i]->integer != y->item[i]->integer) return false;
    return true;
}
static bool sizes(const PickleValue *v, const char *what, int64_t *out, int *count, Error *e) {
    if (pickle_is_call(v, "torch.Size")) v = pickle_argument(v, 0);
    if (!v || (v->kind != PICKLE_TUPLE && v->kind != PICKLE_LIST)) return dg_error(e, "its %s is %s", what, pickle_kind_name(v));
    if (v->count > ST_MAX_DIMS) return dg_error(e, "its %s has %zu dimensions, at most %d are possible", what, v->count, ST_MAX_DIMS);
    *count = (int)v->count;
    for (int i = 0; i < *count; i++) {
        if (v->item[i]->kind != PICKLE_INT || v->item[i]->integer < 0) return dg_error(e, "its %s is not of non-negative integers", what);
        out[i] = v->item[i]->integer;
    }
    return true;
}
/* No element may lie outside the storage, and no shape may overflow. */
static bool check_view(TorchTensor *t, Error *e) {
    uint64_t room = t->bytes / element_bytes(t->type), last = t->first, step;
    t->count = 1;
    for (int i = 0; i < t->dims; i++)
        if (__builtin_mul_overflow(t->count, (uint64_t)t->shape[i], &t->count) || t->count > INT64_MAX / 8)
            return dg_error(e, "its shape overflows");
    bool fits = t->first <= room;
    for (int i = 0; i < t->dims && t->count && fits; i++)
        fits = !__builtin_mul_overflow((uint64_t)(t->shape[i] - 1), (uint64_t)t->stride[i], &step) &&
               !__builtin_add_overflow(last, step, &last);
    if (!fits || (t->count && last >= room))
        return dg_error(e, "its elements lie outside its storage of %" PRIu64 " (offset %" PRIu64 ")", room, t->first);
    return true;
}
bool torch_tensor(TorchFile *f, const PickleValue *v, TorchTensor *t, Error *e) {
    *t = (TorchTensor){.dims = 0};
    for (int i = 0; i < 4 && is_parameter(v); i++) v = pickle_argument(v, 0);
    if (!is_view(v)) return dg_error(e, "a parameter is made of %s instead of a tensor", pickle_kind_name(v));
    const PickleValue *offset = pickle_argument(v, 1);
    int strides;
    if (!storage(f, pickle_argument(v, 0), t, e)) return false;
    const PickleValue *dtype = pickle_argument(v, 6);
    if (pickle_is_call(v, builders[2]) && !element_of_dtype(dtype, &t->type))
        return dg_error(e, "its dtype is %s, which dg_cuda does not read",
                        dtype && dtype->kind == PICKLE_CLASS ? dtype->text : pickle_kind_name(dtype));
    if (!offset || offset->kind != PICKLE_INT || offset->integer < 0) return dg_error(e, "its offset is not a non-negative integer");
    t->first = (uint64_t)offset->integer;
    if (!sizes(pickle_argument(v, 2), "shape", t->shape, &t->dims, e) || !sizes(pickle_argument(v, 3), "stride", t->stride, &strides, e))
        return false;
    if (strides != t->dims) return dg_error(e, "it has %d dimensions and %d strides", t->dims, strides);
    return check_view(t, e);
}
bool torch_contiguous(const TorchTensor *t) {
    int64_t step = 1;
    for (int i = t->dims - 1; i >= 0; i--) {
        if (t->shape[i] != 1 && t->stride[i] != step) return false;
        step *= t->shape[i];
    }
    return true;
}
