/* torch_writer.h -- writes what torch.save and pickle.dump write: zip files, the format before PyTorch 1.6, and plain pickles
 * whose tensors hold whole legacy files as bytes (EDM). Values go onto the pickle's stack, one call each:
 *     TorchWriter w = torch_begin(TORCH_ZIP, 2);
 *     torch_open_dict(&w), torch_text(&w, "step"), torch_int(&w, 7), torch_text(&w, "w"), torch_tensor(&w, DG_F32, 2, shape, data);
 *     torch_close_dict(&w);
 *     Made file = torch_finish(&w);                                                                                          */
#ifndef DG_TORCH_WRITER_H
#define DG_TORCH_WRITER_H
#include "base/dtype.h"
#include "zip_maker.h"
#include <stdio.h>

typedef enum { TORCH_ZIP, TORCH_LEGACY, TORCH_PLAIN } TorchForm;
typedef struct {
    void *data;
    size_t bytes, elements;
} TorchData;
typedef struct {
    TorchForm form;
    int protocol; /* 2 to 4 */
    bool deflate; /* the storages of a zip file, where there is zlib */
    Made pickle;
    TorchData *storage;
    int storages;
} TorchWriter;

static inline void torch_begin_pickle(Made *m, int protocol) { made_put(m, 0x80, 1), made_put(m, (uint64_t)protocol, 1); }
static inline TorchWriter torch_begin(TorchForm form, int protocol) {
    TorchWriter w = {.form = form, .protocol = protocol};
    torch_begin_pickle(&w.pickle, protocol);
    return w;
}
static inline void torch_op(TorchWriter *w, char op) { made_bytes(&w->pickle, &op, 1); }
static inline void torch_long_text(TorchWriter *w, const void *s, size_t n) {
    torch_op(w, 'X'), made_put(&w->pickle, n, 4), made_bytes(&w->pickle, s, n);
}
static inline void torch_text(TorchWriter *w, const char *s) { torch_long_text(w, s, strlen(s)); }
static inline void torch_none(TorchWriter *w) { torch_op(w, 'N'); }
static inline void torch_bool(TorchWriter *w, bool v) { torch_op(w, (char)(v ? 0x88 : 0x89)); }
static inline void torch_int(TorchWriter *w, int64_t v) {
    if (v >= INT32_MIN && v <= INT32_MAX) torch_op(w, 'J'), made_put(&w->pickle, (uint64_t)v, 4);
    else torch_op(w, (char)0x8a), made_put(&w->pickle, 8, 1), made_put(&w->pickle, (uint64_t)v, 8);
}
static inline void torch_float(TorchWriter *w, double v) {
    uint64_t u;
    memcpy(&u, &v, sizeof u);
    torch_op(w, 'G');
    for (int i = 56; i >= 0; i -= 8) made_put(&w->pickle, u >> i, 1);
}
static inline void torch_open_dict(TorchWriter *w) { torch_op(w, '}'), torch_op(w, '('); }
static inline void torch_close_dict(TorchWriter *w) { torch_op(w, 'u'); }
static inline void torch_open_list(TorchWriter *w) { torch_op(w, ']'), torch_op(w, '('); }
static inline void torch_close_list(TorchWriter *w) { torch_op(w, 'e'); }
static inline void torch_open_tuple(TorchWriter *w) { torch_op(w, '('); }
static inline void torch_close_tuple(TorchWriter *w) { torch_op(w, 't'); }
static inline void torch_global(TorchWriter *w, const char *module, const char *name) {
    if (w->protocol < 4) {
        torch_op(w, 'c'), made_bytes(&w->pickle, module, strlen(module)), torch_op(w, '\n');
        made_bytes(&w->pickle, name, strlen(name)), torch_op(w, '\n');
    } else {
        torch_text(w, module), torch_text(w, name), torch_op(w, (char)0x93);
    }
}
/* A call of the function below the tuple that is on top; and setting an object's __dict__ to the dict on top. */
static inline void torch_reduce(TorchWriter *w) { torch_op(w, 'R'); }
static inline void torch_build(TorchWriter *w) { torch_op(w, 'b'); }
static inline void torch_open_ordered_dict(TorchWriter *w) {
    torch_global(w, "collections", "OrderedDict"), torch_op(w, ')'), torch_reduce(w), torch_op(w, '(');
}
static inline void torch_bytes(TorchWriter *w, const uint8_t *data, size_t bytes) {
    if (w->protocol >= 3) {
        torch_op(w, 'B'), made_put(&w->pickle, bytes, 4), made_bytes(&w->pickle, data, bytes);
        return;
    }
    Made text = {0}; /* each byte as a character, in UTF-8 */
    for (size_t i = 0; i < bytes; i++)
        if (data[i] < 0x80) made_put(&text, data[i], 1);
        else made_put(&text, 0xc0u | data[i] >> 6, 1), made_put(&text, 0x80 | (data[i] & 0x3f), 1);
    torch_global(w, "_codecs", "encode"), torch_open_tuple(w);
    torch_long_text(w, text.data, text.bytes), torch_text(w, "latin1");
    torch_close_tuple(w), torch_reduce(w);
    made_free(&text);
}

/* ---- storages -------------------------------------------------------------------------------------------------------------- */
static inline const char *torch_storage_class(DType t) {
    switch (t) {
    case DG_F64: return "DoubleStorage";
    case DG_F16: return "HalfStorage";
    case DG_BF16: return "BFloat16Storage";
    case DG_U8: return "ByteStorage";
    case DG_I64: return "LongStorage";
    default: return "FloatStorage";
    }
}
static inline void torch_persistent(TorchWriter *w, DType t, int key, size_t elements) {
    char name[16];
    snprintf(name, sizeof name, "%d", key);
    torch_open_tuple(w), torch_text(w, "storage"), torch_global(w, "torch", torch_storage_class(t)), torch_text(w, name);
    torch_text(w, "cpu"), torch_int(w, (int64_t)elements);
    if (w->form == TORCH_LEGACY) torch_none(w); /* no view */
    torch_close_tuple(w), torch_op(w, 'Q');
}
/* A legacy file around a pickle that ends with STOP: its storages have the keys 0, 1, 2... */
static inline Made torch_legacy_file(const Made *pickle, const TorchData *storage, int storages, int protocol) {
    static const uint8_t magic[] = "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.";
    Made m = {0};
    TorchWriter w = {.protocol = protocol};
    made_bytes(&m, magic, sizeof magic - 1);
    torch_begin_pickle(&w.pickle, protocol);
    torch_open_dict(&w), torch_text(&w, "protocol_version"), torch_int(&w, 1001);
    torch_text(&w, "little_endian"), torch_bool(&w, true), torch_close_dict(&w), torch_op(&w, '.');
    made_bytes(&m, w.pickle.data, w.pickle.bytes);
    made_bytes(&m, pickle->data, pickle->bytes);
    w.pickle.bytes = 0;
    torch_begin_pickle(&w.pickle, protocol), torch_open_list(&w);
    for (int i = 0; i < storages; i++) {
        char name[16];
        snprintf(name, sizeof name, "%d", i);
        torch_text(&w, name);
    }
    torch_close_list(&w), torch_op(&w, '.');
    made_bytes(&m, w.pickle.data, w.pickle.bytes);
    for (int i = 0; i < storages; i++) made_put(&m, storage[i].elements, 8), made_bytes(&m, storage[i].data, storage[i].bytes);
    made_free(&w.pickle);
    return m;
}
/* A contiguous tensor with a storage of its own; the data are copied. */
static inline void torch_tensor(TorchWriter *w, DType t, int dims, const int64_t *shape, const void *data) {
    size_t elements = 1, step = 1;
    for (int i = 0; i < dims; i++) elements *= (size_t)shape[i];
    TorchData s = {.bytes = elements * dtype_bytes(t), .elements = elements};
    s.data = dg_alloc(s.bytes + 1);
    if (s.bytes) memcpy(s.data, data, s.bytes);
    torch_global(w, "torch._utils", "_rebuild_tensor_v2"), torch_open_tuple(w);
    if (w->form == TORCH_PLAIN) {
        TorchWriter inner = {.form = TORCH_LEGACY, .protocol = 2};
        torch_begin_pickle(&inner.pickle, 2);
        torch_persistent(&inner, t, 0, elements), torch_op(&inner, '.');
        Made file = torch_legacy_file(&inner.pickle, &s, 1, 2);
        torch_global(w, "torch.storage", "_load_from_bytes"), torch_open_tuple(w), torch_bytes(w, file.data, file.bytes);
        torch_close_tuple(w), torch_reduce(w);
        made_free(&file);
        made_free(&inner.pickle);
        free(s.data);
    } else {
        torch_persistent(w, t, w->storages, elements);
        w->storage = dg_realloc(w->storage, (size_t)(w->storages + 1) * sizeof *w->storage);
        w->storage[w->storages++] = s;
    }
    torch_int(w, 0), torch_open_tuple(w);
    for (int i = 0; i < dims; i++) torch_int(w, shape[i]);
    torch_close_tuple(w), torch_open_tuple(w);
    for (int i = 0; i < dims; i++, step = 1) {
        for (int k = i + 1; k < dims; k++) step *= (size_t)shape[k];
        torch_int(w, (int64_t)step);
    }
    torch_close_tuple(w), torch_bool(w, false), torch_open_ordered_dict(w), torch_close_dict(w), torch_close_tuple(w), torch_reduce(w);
}

/* ---- modules ----------------------------------------------------------------------------------------------------------------- */
typedef struct {
    const char *name; /* "model.enc.8x8_conv.weight" */
    DType dtype;
    int dims;
    int64_t shape[8];
    const void *data;
} TorchNamed;
static inline bool torch_is_buffer(const char *leaf) {
    return !strcmp(leaf, "resample_filter") || !strcmp(leaf, "freqs") || !strcmp(leaf, "u");
}
/* The members of a module's __dict__ that hold its tensors and parts; t: those of one module, sorted by name, whose names
 * begin to differ at `skip`. `part` writes an object around the members of a part.                                       */
typedef void (*TorchPart)(TorchWriter *w, const TorchNamed *t, int count, size_t skip);
static inline void torch_members(TorchWriter *w, const TorchNamed *t, int count, size_t skip, TorchPart part) {
    for (int buffers = 0; buffers < 2; buffers++) {
        torch_text(w, buffers ? "_buffers" : "_parameters"), torch_open_ordered_dict(w);
        for (int i = 0; i < count; i++) {
            const char *leaf = t[i].name + skip;
            if (strchr(leaf, '.') || torch_is_buffer(leaf) != buffers) continue;
            torch_text(w, leaf);
            if (!buffers) torch_global(w, "torch._utils", "_rebuild_parameter"), torch_open_tuple(w);
            torch_tensor(w, t[i].dtype, t[i].dims, t[i].shape, t[i].data);
            if (!buffers) torch_bool(w, true), torch_open_ordered_dict(w), torch_close_dict(w), torch_close_tuple(w), torch_reduce(w);
        }
        torch_close_dict(w);
    }
    torch_text(w, "_modules"), torch_open_ordered_dict(w);
    for (int i = 0, next; i < count; i = next) {
        size_t n = strcspn(t[i].name + skip, ".");
        next = i + 1;
        if (!t[i].name[skip + n]) continue;
        while (next < count && !strncmp(t[next].name + skip, t[i].name + skip, n + 1)) next++;
        torch_long_text(w, t[i].name + skip, n);
        part(w, t + i, next - i, skip + n + 1);
    }
    torch_close_dict(w);
}
/* A torch.nn.Module, as pickle writes it. */
static inline void torch_module_of(TorchWriter *w, const char *module, const char *name, const TorchNamed *t, int count, size_t skip,
                                   TorchPart part) {
    torch_global(w, module, name), torch_op(w, ')'), torch_op(w, (char)0x81); /* NEWOBJ */
    torch_open_dict(w), torch_text(w, "training"), torch_bool(w, false), torch_members(w, t, count, skip, part);
    torch_close_dict(w), torch_build(w);
}
static inline void torch_module(TorchWriter *w, const TorchNamed *t, int count, size_t skip) {
    torch_module_of(w, "training.networks", skip ? "Part" : "EDMPrecond", t, count, skip, torch_module);
}
/* An object of EDM's persistence: open, then arguments (name, value, name, value...), then tensors. */
static inline void torch_open_persistent(TorchWriter *w, const char *class_name) {
    torch_global(w, "torch_utils.persistence", "_reconstruct_persistent_obj"), torch_open_tuple(w), torch_open_dict(w);
    torch_text(w, "type"), torch_text(w, "class"), torch_text(w, "version"), torch_int(w, 6), torch_text(w, "module_src"),
        torch_text(w, "");
    torch_text(w, "class_name"), torch_text(w, class_name), torch_text(w, "state"), torch_open_dict(w);
    torch_text(w, "_init_args"), torch_op(w, ')'), torch_text(w, "_init_kwargs"), torch_open_dict(w);
}
static inline void torch_persistent_part(TorchWriter *w, const TorchNamed *t, int count, size_t skip);
static inline void torch_close_persistent(TorchWriter *w, const TorchNamed *t, int count, size_t skip) {
    torch_close_dict(w), torch_text(w, "training"), torch_bool(w, false), torch_members(w, t, count, skip, torch_persistent_part);
    torch_close_dict(w), torch_close_dict(w), torch_close_tuple(w), torch_reduce(w);
}
static inline void torch_persistent_part(TorchWriter *w, const TorchNamed *t, int count, size_t skip) {
    torch_open_persistent(w, "Module"), torch_close_persistent(w, t, count, skip);
}

static inline void torch_storage_entry(Made *m, const char *name, const TorchData *s, bool deflate) {
#ifdef DG_HAVE_ZLIB
    if (deflate) {
        MadeEntry x = {.name = name, .bytes = s->bytes, .crc = crc32_of(0, s->data, s->bytes), .deflated = true};
        uint8_t *packed = made_deflate(s->data, s->bytes, &x.packed_bytes);
        x.data = packed;
        made_local(m, x);
        free(packed);
        return;
    }
#endif
    (void)deflate;
    made_stored(m, name, s->data, s->bytes);
}

/* ---- the file ------------------------------------------------------------------------------------------------------------------ */
static inline Made torch_finish(TorchWriter *w) {
    Made m = {0};
    torch_op(w, '.');
    if (w->form == TORCH_PLAIN) made_bytes(&m, w->pickle.data, w->pickle.bytes);
    else if (w->form == TORCH_LEGACY) m = torch_legacy_file(&w->pickle, w->storage, w->storages, w->protocol);
    else {
        char *name = dg_alloc((size_t)w->storages * 32 + 1);
        made_stored(&m, "archive/data.pkl", w->pickle.data, w->pickle.bytes);
        made_stored(&m, "archive/byteorder", "little", 6);
        for (int i = 0; i < w->storages; i++) {
            snprintf(name + 32 * i, 32, "archive/data/%d", i);
            torch_storage_entry(&m, name + 32 * i, &w->storage[i], w->deflate);
        }
        made_stored(&m, "archive/version", "3\n", 2);
        made_finish(&m, false);
        free(name);
    }
    for (int i = 0; i < w->storages; i++) free(w->storage[i].data);
    free(w->storage);
    made_free(&w->pickle);
    *w = (TorchWriter){.form = TORCH_ZIP};
    return m;
}
#endif
