/* npz.h -- NumPy .npy and .npz files, reading (int, float, fp16, ZIP64, deflate, Fortran order) and streaming writing. */
#ifndef DG_NPZ_H
#define DG_NPZ_H
#include "base/dtype.h"

typedef struct {
    char dtype; /* NumPy kind: 'f', 'i', 'u', 'b' */
    int bytes;  /* per element */
    int dims;
    int64_t shape[8];
    size_t count;
    void *data; /* owned, C order, native endian */
} NpyArray;
void npy_free(NpyArray *a);
double npy_value(const NpyArray *a, size_t i);
/* Of a row of `columns` values that is one-hot, the place of its 1; of one of zeros -1; NPY_NOT_ONE_HOT of any other. */
enum { NPY_NOT_ONE_HOT = -2 };
int npy_one_hot(const NpyArray *a, size_t row, size_t columns);
typedef struct Npz Npz;
Npz *npz_open(const char *path, Error *e);                                   /* a .npy opens as one array named "arr_0" */
Npz *npz_memory(const void *data, size_t bytes, const char *name, Error *e); /* not copied: must outlive it */
int npz_count(const Npz *z);
const char *npz_name(const Npz *z, int i); /* without ".npy" */
bool npz_has(const Npz *z, const char *name);
bool npz_crc(const Npz *z, const char *name, uint32_t *crc);      /* as the archive declares it; false: it is a .npy, without one */
bool npz_read(Npz *z, const char *name, NpyArray *out, Error *e); /* on failure *out holds nothing to free */
/* The same without reading: *out has all but the data, which *data points to in the file's map, at any alignment. Only arrays
 * that are stored plainly, in C order; their CRC is not looked at, npz_verify does that.                              */
bool npz_view(Npz *z, const char *name, NpyArray *out, const uint8_t **data, Error *e);
bool npz_verify(Npz *z, const char *name, Error *e);
/* The same in pieces of any size, together out->count * out->bytes bytes, compressed or not: only a piece is in memory. Arrays in C
 * order and this machine's byte order. The CRC is checked with the last byte. z must outlive it.                               */
typedef struct NpzStream NpzStream;
NpzStream *npz_stream_open(Npz *z, const char *name, NpyArray *out, Error *e);
bool npz_stream_read(NpzStream *s, void *out, size_t bytes, Error *e);
void npz_stream_close(NpzStream *s); /* s may be NULL */
void npz_let_go(const Npz *z);       /* file_let_go of all of its file, which stays readable */
void npz_close(Npz *z);              /* z may be NULL */

/* Streaming writer (stored, ZIP64 where needed). The file appears complete under its name at npz_writer_finish. */
typedef struct NpzWriter NpzWriter;
NpzWriter *npz_writer_open(const char *path, Error *e);
/* Begins array `name`; data follows in C order through npz_writer_data, in pieces of any size. dtype as in NpyArray. */
bool npz_writer_array(NpzWriter *w, const char *name, char dtype, int bytes, int dims, const int64_t *shape, Error *e);
bool npz_writer_data(NpzWriter *w, const void *data, size_t bytes, Error *e);
bool npz_writer_finish(NpzWriter *w, Error *e); /* frees w either way */
void npz_writer_abandon(NpzWriter *w);
#endif
