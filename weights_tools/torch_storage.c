/* torch_storage.c -- PyTorch's element types, and the persistent ids that name its storages. */
#include "weights_tools/torch_storage.h"
#include <string.h>

/* ---- element types ------------------------------------------------------------------------------------------------------- */
static const struct {
    const char *storage, *dtype; /* torch.FloatStorage, torch.float32 */
    size_t bytes;
    DType stored;
} elements[EL_COUNT] = {
    [EL_F64] = {"DoubleStorage", "float64", 8, DG_F64}, [EL_F32] = {"FloatStorage", "float32", 4, DG_F32},
    [EL_F16] = {"HalfStorage", "float16", 2, DG_F16},   [EL_BF16] = {"BFloat16Storage", "bfloat16", 2, DG_BF16},
    [EL_U8] = {"ByteStorage", "uint8", 1, DG_U8},       [EL_BOOL] = {"BoolStorage", "bool", 1, DG_U8},
    [EL_I8] = {"CharStorage", "int8", 1, DG_I64},       [EL_I16] = {"ShortStorage", "int16", 2, DG_I64},
    [EL_I32] = {"IntStorage", "int32", 4, DG_I64},      [EL_I64] = {"LongStorage", "int64", 8, DG_I64},
};
size_t element_bytes(ElementType t) { return elements[t].bytes; }
DType element_dtype(ElementType t) { return elements[t].stored; }
bool element_of_dtype(const PickleValue *dtype, ElementType *type) {
    if (!dtype || dtype->kind != PICKLE_CLASS || strncmp(dtype->text, "torch.", 6)) return false;
    for (int i = 0; i < EL_COUNT; i++)
        if (!strcmp(dtype->text + 6, elements[i].dtype)) return *type = (ElementType)i, true;
    return false;
}

/* ---- storages ------------------------------------------------------------------------------------------------------------- */
static bool storage_type(const PickleValue *storage_class, ElementType *type, Error *e) {
    if (!storage_class || storage_class->kind != PICKLE_CLASS)
        return dg_error(e, "the type of a storage is %s, not a class", pickle_kind_name(storage_class));
    const char *name = strrchr(storage_class->text, '.') + 1;
    *type = EL_U8;
    if (!strcmp(name, "UntypedStorage")) return true;        /* its tensors say what it holds */
    bool torch = !strncmp(storage_class->text, "torch.", 6); /* or torch.cuda */
    for (int i = 0; i < EL_COUNT; i++)
        if (torch && !strcmp(name, elements[i].storage)) return *type = (ElementType)i, true;
    return dg_error(e, "a storage is a %s, a type that dg_cuda does not read", storage_class->text);
}
enum { MAX_KEY = 255 };
bool torch_storage_id(const PickleValue *persistent, TorchStorageId *id, Error *e) {
    const PickleValue *tuple = persistent->id, *key = pickle_item(tuple, 2), *count = pickle_item(tuple, 4), *view = pickle_item(tuple, 5);
    if (!pickle_is_text(pickle_item(tuple, 0), "storage"))
        return dg_error(e, "a persistent id is %s, not a storage", pickle_kind_name(tuple));
    if (!storage_type(pickle_item(tuple, 1), &id->type, e)) return false;
    if (!key || key->kind != PICKLE_TEXT || !key->count || key->count > MAX_KEY || memchr(key->text, 0, key->count))
        return dg_error(e, "the key of a storage is %s", key && key->kind == PICKLE_TEXT ? "empty or too long" : pickle_kind_name(key));
    if (!count || count->kind != PICKLE_INT || count->integer < 0)
        return dg_error(e, "the size of a storage is not a non-negative integer");
    id->key = key->text, id->key_bytes = key->count;
    if (__builtin_mul_overflow((uint64_t)count->integer, (uint64_t)element_bytes(id->type), &id->bytes))
        return dg_error(e, "the size of a storage overflows");
    id->view_first = 0, id->view_bytes = id->bytes;
    if (!view || view->kind == PICKLE_NONE) return true;
    const PickleValue *offset = pickle_item(view, 1), *size = pickle_item(view, 2); /* (key, offset, size) */
    if (!offset || offset->kind != PICKLE_INT || !size || size->kind != PICKLE_INT || offset->integer < 0 || size->integer < 0 ||
        offset->integer > count->integer || size->integer > count->integer - offset->integer)
        return dg_error(e, "a view of a storage lies outside of it");
    id->view_first = (uint64_t)offset->integer * element_bytes(id->type);
    id->view_bytes = (uint64_t)size->integer * element_bytes(id->type);
    return true;
}
