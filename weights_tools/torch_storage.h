/* torch_storage.h -- PyTorch's element types, and the persistent ids that name its storages. */
#ifndef DG_TORCH_STORAGE_H
#define DG_TORCH_STORAGE_H
#include "base/dtype.h"
#include "weights_tools/pickle.h"

typedef enum { EL_F64, EL_F32, EL_F16, EL_BF16, EL_U8, EL_BOOL, EL_I8, EL_I16, EL_I32, EL_I64, EL_COUNT } ElementType;
size_t element_bytes(ElementType t);
DType element_dtype(ElementType t); /* what it is stored as: integers of 8 to 32 bits with a sign become 64-bit ones */
bool element_of_dtype(const PickleValue *dtype, ElementType *type); /* the class torch.float32 and so on */

typedef struct { /* ("storage", class, key, location, elements[, view]) */
    ElementType type;
    const char *key; /* not terminated */
    size_t key_bytes;
    uint64_t bytes;
    uint64_t view_first, view_bytes; /* part of it, in bytes: the whole unless the legacy format says otherwise */
} TorchStorageId;
bool torch_storage_id(const PickleValue *persistent, TorchStorageId *id, Error *e);
#endif
