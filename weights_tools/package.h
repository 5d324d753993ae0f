/* package.h -- one or more checkpoints as the tensors of one network: official names, and its configuration. */
#ifndef DG_PACKAGE_H
#define DG_PACKAGE_H
#include "weights_tools/checkpoint.h"
#include "weights_tools/recognise.h"
#include "base/sha256.h"

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
void package_hash(const Package *p, char (*hex)[SHA256_HEX],
                  const struct Interrupt *interrupt); /* of each input; cut short when it says so */
void package_join(const Package *p, const char (*hex)[SHA256_HEX], Text *t);
/* Writes it as a safetensors file, but for the writer's end. Where the inputs' hashes are not known yet, they are computed
 * along the way; where they are, the result holds sums of its own content, as a cache wants to be able to check it: the CRC-32
 * of the header (with zeros in place of this value) and of the data.                                                      */
#define CONTENT_CHECK       "content_crc32"
#define CONTENT_CHECK_BLANK "0000000000000000"
bool package_write(const Package *p, StWriter *w, ConvertDType dtype, const char (*known)[SHA256_HEX], const struct Interrupt *interrupt,
                   Error *e);
#endif
