/* package.h -- one or more checkpoints as the tensors of one network: official names, and its configuration. */
#ifndef DG_PACKAGE_H
#define DG_PACKAGE_H
#include "weights_tools/checkpoint.h"
#include "weights_tools/recognise.h"

typedef struct {
    char *name; /* as models/ knows it */
    Checkpoint *from;
    const CheckpointTensor *tensor;
} PackageTensor;
typedef struct {
    Checkpoint **input;
    int inputs;
    PackageTensor *tensor; /* sorted by name */
    int count;
    Recognition found; /* config: the file's own where it has one */
    Text notes;        /* of all steps */
} Package;
/* The files themselves: of a list of shards (NAME.index.json) its pieces, which lie beside it. */
bool package_files(const char *const *path, int count, char ***files, int *n, Error *e);
void package_files_free(char **files, int n);
Package *package_open(const char *const *path, int count, const ConvertOptions *o, Error *e);
void package_close(Package *p); /* p may be NULL */
#endif
