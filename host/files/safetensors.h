/* safetensors.h -- the native weight file: 8-byte little-endian header length, JSON header, raw data.
 * The reader maps the file and trusts nothing: every malformed header is an error with one sentence.
 * Format: https://github.com/huggingface/safetensors (README, "Format").                              */
#ifndef DG_SAFETENSORS_H
#define DG_SAFETENSORS_H
#include "base/dtype.h"
#include "base/file.h"
#include "base/json.h"

enum { ST_MAX_DIMS = 8, ST_MAX_HEADER = 100 * 1000 * 1000 };
typedef struct {
    const char *name;
    DType dtype;
    int dims;
    int64_t shape[ST_MAX_DIMS];
    size_t count, bytes;
    const void *data; /* not necessarily aligned to the element size: copy with memcpy or st_to_f32/f64 */
} StTensor;
typedef struct {
    char *path;
    int count;
    StTensor *tensor;     /* sorted by name */
    const Json *metadata; /* object of strings, or NULL (also where the file says null) */
    /* private */
    Json *header;
    FileMap map;
} SafeTensors;

SafeTensors *st_open(const char *path, Error *e);                                   /* mmap */
SafeTensors *st_of_map(FileMap *m, const char *path, Error *e);                     /* takes the map, also when it fails */
SafeTensors *st_memory(const void *data, size_t bytes, const char *name, Error *e); /* not copied: must outlive it */
void st_close(SafeTensors *s);
const StTensor *st_find(const SafeTensors *s, const char *name); /* NULL when absent */
const char *st_metadata(const SafeTensors *s, const char *key);  /* NULL when absent */
void st_let_go(const SafeTensors *s, const StTensor *t);         /* it has been read: file_let_go, where it lies in a map */
void st_to_f32(const StTensor *t, float *out);                   /* from any dtype */
void st_to_f64(const StTensor *t, double *out);

/* Streaming writer: declare every tensor, then append the data in the declared order. The file appears under its own
 * name, complete and fsynced (unless st_writer_unsynced was called: see out_unsynced), at st_writer_finish; a failure or
 * st_writer_abandon leaves nothing. The names and sizes of metadata values are fixed by st_writer_begin;
 * st_writer_set_metadata may overwrite a value later with one of the same length (a hash known only at the end).       */
typedef struct StWriter StWriter;
StWriter *st_writer_open(const char *path, Error *e);
StWriter *st_writer_memory(void);     /* the same, into memory: ends with st_writer_take */
void st_writer_unsynced(StWriter *w); /* right after st_writer_open */
void st_writer_metadata(StWriter *w, const char *key, const char *value);
void st_writer_tensor(StWriter *w, const char *name, DType dtype, int dims, const int64_t *shape);
bool st_writer_begin(StWriter *w, Error *e);
bool st_writer_data(StWriter *w, const void *data, size_t bytes, Error *e);
bool st_writer_set_metadata(StWriter *w, const char *key, const char *value, Error *e);
const char *st_writer_header(const StWriter *w);  /* from st_writer_begin: as it is in the file */
bool st_writer_finish(StWriter *w, Error *e);     /* frees w either way */
void *st_writer_take(StWriter *w, size_t *bytes); /* the file's bytes, to be freed; frees w */
void st_writer_abandon(StWriter *w);
#endif
