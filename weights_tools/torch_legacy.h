/* torch_legacy.h -- what torch.save wrote before PyTorch 1.6, and still writes for a storage inside another pickle: five
 * pickles (magic number, protocol, system, the value, the storages' keys), then the storages.                        */
#ifndef DG_TORCH_LEGACY_H
#define DG_TORCH_LEGACY_H
#include "weights_tools/torch_storage.h"

typedef struct TorchLegacy TorchLegacy;
bool torch_legacy_recognise(const uint8_t *data, size_t bytes);
TorchLegacy *torch_legacy_open(const uint8_t *data, size_t bytes, Error *e); /* not copied */
void torch_legacy_close(TorchLegacy *l);                                     /* l may be NULL */
const PickleValue *torch_legacy_root(const TorchLegacy *l);
const char *torch_legacy_warning(const TorchLegacy *l); /* as pickle_warning */
bool torch_legacy_storage(const TorchLegacy *l, const PickleValue *persistent, ElementType *type, const uint8_t **data, uint64_t *bytes,
                          Error *e);
#endif
