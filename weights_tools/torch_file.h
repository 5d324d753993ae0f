/* torch_file.h -- files that torch.save or pickle wrote: the container, its storages, and the tensors that view them.
 * Zip files (PyTorch 1.6 and later), the format before that, and plain pickles whose tensors hold whole files of the
 * older format as bytes (EDM). Everything is mapped and nothing is copied.                                          */
#ifndef DG_TORCH_FILE_H
#define DG_TORCH_FILE_H
#include "files/safetensors.h"
#include "files/zip.h"
#include "weights_tools/torch_storage.h"

typedef struct {
    ElementType type;
    int dims;
    int64_t shape[ST_MAX_DIMS], stride[ST_MAX_DIMS]; /* in elements; checked against the storage */
    uint64_t count;                                  /* elements */
    uint64_t first;                                  /* element of the storage */
    const uint8_t *data;                             /* the storage, in the map; NULL: deflated, in `entry` */
    const ZipEntry *entry;                           /* of zip files */
    uint64_t bytes;                                  /* of the storage */
} TorchTensor;

typedef struct TorchFile TorchFile;
TorchFile *torch_open(FileMap m, const char *name, Error *e);                    /* not copied: must outlive it */
void torch_close(TorchFile *f);                                                  /* f may be NULL */
const char *torch_format(const TorchFile *f);                                    /* "PyTorch zip", "PyTorch legacy", "pickle" */
const PickleValue *torch_root(const TorchFile *f);                               /* what was saved */
const char *torch_warning(const TorchFile *f);                                   /* as pickle_warning */
const Zip *torch_zip(const TorchFile *f);                                        /* NULL unless it is a zip file */
bool torch_is_tensor(const PickleValue *v);                                      /* a tensor or a parameter */
int torch_dims(const PickleValue *v);                                            /* -1: no tensor */
bool torch_same_shape(const PickleValue *a, const PickleValue *b);               /* both are tensors */
bool torch_tensor(TorchFile *f, const PickleValue *v, TorchTensor *t, Error *e); /* v is one */
bool torch_contiguous(const TorchTensor *t);                                     /* in C order, without gaps */
#endif
