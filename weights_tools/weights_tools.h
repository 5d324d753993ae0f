/* weights_tools.h -- the official checkpoints (PyTorch .pt/.pth, EDM .pkl) read without Python and without executing
 * anything: described, converted to safetensors, or opened directly.                                              */
#ifndef DG_WEIGHTS_TOOLS_H
#define DG_WEIGHTS_TOOLS_H
#include "base/text.h"
#include "graph/weights.h"

typedef enum { KEEP_DTYPE, TO_F16, TO_F32 } ConvertDType;
typedef struct {
    const char *key;    /* --key: the part of the checkpoint to take ("ema", "state_dict", "ema.0"); NULL: chosen */
    const char *prefix; /* --prefix: what the names of its tensors begin with ("net."); NULL: found */
    bool ignore_extra;  /* --ignore-extra: tensors that the network has no use for are no error */
    ConvertDType dtype; /* --dtype fp16|fp32 */
    /* What names and shapes cannot tell; 0 or NULL: the official models' value, and the notice says so. */
    int num_head_channels;       /* --num_head_channels: attention head width of ADM networks (official 64; shapes32: 32) */
    int num_heads;               /* --num_heads: DiT, and ADM networks with a fixed number of heads */
    int image_size;              /* --image_size: ADM and DiT networks whose tensors do not depend on it */
    const char *time;            /* --time linear|cosine: the schedule of an extractor's time input (cosine: 64x64 OpenAI) */
    const char *attention_order; /* --attention_order legacy|new: of q, k, v in ADM U-Nets */
    const char *precond;         /* --precond EDMPrecond|...: of a bare state dict; and whatever the file's class is */
    int extractor_num_head_channels, discriminator_num_head_channels; /* of the one and the other where they differ */
    const struct Interrupt *interrupt; /* or NULL: when it says so, a conversion ends, with an error and without a result */
    const char *cache; /* --cache: where weights_open_any keeps conversions; "off": nowhere; NULL: the user's cache folder */
} ConvertOptions;

/* Converts (and, for several inputs with disjoint tensor names, merges) into one safetensors file with the network's
 * config, and the SHA-256 of the source, in its metadata. Streams; out appears complete or not at all. Notes for the
 * user (the choices that were made), one a line, are appended to `notes`, which may be NULL.                        */
bool convert(const char *const *in, int n_in, const char *out, const ConvertOptions *o, Text *notes, Error *e);

/* Facts about any weight file: .safetensors, .pt, .pth, .pkl. */
typedef struct {
    char *name;
    DType dtype;
    int dims;
    int64_t shape[ST_MAX_DIMS];
} InspectTensor;
typedef struct {
    const char *format;  /* "safetensors", "PyTorch zip", "PyTorch legacy", "pickle", "list of shards" */
    char *architecture;  /* "EDMPrecond SongUNet", "ADM encoder (extractor)", "unknown" */
    char *config;        /* JSON, as models/ reads it; NULL when unknown */
    char *notes;         /* the choices that were made, one a line; may be empty */
    uint64_t parameters; /* values in floating-point tensors */
    int count;
    InspectTensor *tensor; /* sorted by name */
} Inspection;
Inspection *inspect(const char *path, const ConvertOptions *o, Error *e);
void inspection_free(Inspection *i); /* i may be NULL */

/* Whether `path` is one of the files `in` under any name, or one that a list of shards among them names. Those that are NULL are none. */
bool is_input(const char *path, const char *const *in, int n_in);

/* Opens any of the formats as weights. What is no safetensors file with a configuration is converted once, into the cache,
 * under a name made of its content's SHA-256 and the options; where the cache is off or cannot be written, in memory. What is no
 * network that is known is an error, and leaves nothing. `notice` then holds one line saying so, else "". o may be NULL.     */
Weights *weights_open_any(const char *path, const ConvertOptions *o, char *notice, size_t notice_bytes, Error *e);

/* ---- the cache of conversions ---- */
typedef struct {
    char *name, *source; /* of the file; what it was converted from */
    uint64_t bytes;
} CachedConversion;
char *conversions_folder(const char *cache);                      /* as ConvertOptions.cache; NULL: there is none. To be freed */
int conversions_list(const char *folder, CachedConversion **out); /* 0 where the folder is not there */
void conversions_free(CachedConversion *c, int n);
/* Removes the conversions, and what conversions that never ended have left; nothing else that may be in the folder. */
bool conversions_clear(const char *folder, int *files, uint64_t *bytes, Error *e);
#endif
