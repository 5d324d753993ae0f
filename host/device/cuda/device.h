/* device.h -- one GPU behind a Device: streams, memory, copies, points in the order of work, ranges for profilers.
 * Shared by the files of the CUDA backend; compiled for "cuda" (DG_HAVE_CUDA) and, over tests/cuda_on_cpu, for "emu". */
#ifndef DG_CUDA_DEVICE_H
#define DG_CUDA_DEVICE_H
#include "device/device.h"
#include <cuda_runtime_api.h>

#ifdef DG_EMU
#define CUDA_BACKEND_NAME "emu"
#else
#define CUDA_BACKEND_NAME "cuda"
#endif

enum { STAGING_HALVES = 2 };
typedef struct {
    int capability, multiprocessors; /* 90: compute capability 9.0 */
    cudaStream_t stream, copies;     /* the work; downloads that overlap it */
    cudaEvent_t slot[DEVICE_SLOTS], ready, left[STAGING_HALVES];
    char *staging; /* page-locked: where small uploads wait for their turn */
    size_t staged; /* bytes used of the current half */
    int half;
    bool left_once[STAGING_HALVES];
    bool in_replay;            /* within the work of a replay (replay.h) */
    bool capturing;            /* which is recorded into a graph, and runs later */
    void *choices;             /* of choice.c; NULL before the first */
    struct SpanEvents *events; /* of span_events.h; NULL: nothing is recorded */
} Cuda;

/* Failed launches and copies are our own mistakes or broken hardware: aborts. */
void cuda_check(int error, const char *what);
cudaStream_t cuda_stream(const Device *d); /* makes the device current, too */

/* The memory and order part of the Backend table. */
bool cuda_open(Device *d, Error *e);
void cuda_close(Device *d);
void *cuda_alloc(Device *d, size_t bytes);
void cuda_release(Device *d, void *p);
void cuda_upload(Device *d, void *dst, const void *src, size_t bytes);
void cuda_download(Device *d, void *dst, const void *src, size_t bytes);
void cuda_copy(Device *d, void *dst, const void *src, size_t bytes);
void cuda_sync(Device *d);
void *cuda_alloc_host(Device *d, size_t bytes);
void cuda_release_host(Device *d, void *p);
void cuda_download_async(Device *d, int slot, void *dst, const void *src, size_t bytes);
void cuda_mark(Device *d, int slot);
void cuda_wait(Device *d, int slot);
void cuda_range_push(const Device *d, SpanName n, int number);
void cuda_range_pop(const Device *d, SpanName n);
void cuda_name_push(const char *name); /* for a profiler alone */
void cuda_name_pop(void);
void cuda_profiler(Device *d, bool on);
size_t cuda_free_bytes(Device *d);
void cuda_describe(const Device *d, char *text, size_t size); /* the GPU, driver and runtime */
#endif
