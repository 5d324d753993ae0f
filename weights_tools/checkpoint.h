/* checkpoint.h -- any weight file as a list of named tensors, with what it says about the network that they belong to. */
#ifndef DG_CHECKPOINT_H
#define DG_CHECKPOINT_H
#include "base/text.h"
#include "weights_tools/torch_file.h"

enum { CHECKPOINT_MAX_TENSORS = 32768, CHECKPOINT_MAX_NAME = 255 };
typedef struct {
    char *name;
    DType dtype; /* as it would be stored without conversion */
    int dims;
    int64_t shape[ST_MAX_DIMS];
    uint64_t count;
    const StTensor *native; /* of safetensors files, else NULL */
    TorchTensor torch;      /* of the others */
} CheckpointTensor;
typedef struct {
    char *path;
    const char *format; /* "safetensors", "PyTorch zip", "PyTorch legacy", "pickle" */
    CheckpointTensor *tensor;
    int count;          /* sorted by name; names are unique */
    char *class_name;   /* of a pickled module: "EDMPrecond"; NULL for state dicts */
    Json *arguments;    /* its constructor's arguments, or NULL */
    Json *attributes;   /* its plain attributes, or NULL */
    const char *config; /* a safetensors file's own, or NULL */
    Text notes;         /* choices made, one a line */
    FileMap map;        /* the whole file */
    /* private */
    bool mapped;
    SafeTensors *native;
    TorchFile *torch;
    uint8_t *unpacked; /* the compressed storage that was read last */
    const ZipEntry *unpacked_of, *verified;
} Checkpoint;
/* key: the part to take ("ema", "state_dict", "a.0"), or NULL: chosen, and noted. */
Checkpoint *checkpoint_open(const char *path, const char *key, Error *e);
Checkpoint *checkpoint_memory(const void *data, size_t bytes, const char *name, const char *key, Error *e); /* not copied */
bool checkpoint_is_native(const FileMap *m); /* begins as a safetensors file does */
void checkpoint_close(Checkpoint *c);        /* c may be NULL */
/* The line that `count` entries were left out, the first of which has this name; of none, nothing. */
void note_left_out(Text *notes, int count, const char *what, const char *first);

/* Delivers the tensor's values as dtype, in C order, in pieces. Values that dtype cannot hold are an error. */
typedef bool (*CheckpointSink)(void *user, const void *data, size_t bytes, Error *e);
bool checkpoint_read(Checkpoint *c, const CheckpointTensor *t, DType dtype, CheckpointSink sink, void *user, Error *e);
uint64_t checkpoint_position(const Checkpoint *c, const CheckpointTensor *t); /* in the file: reading in this order is fastest */
#endif
