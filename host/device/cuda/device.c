/* device.c -- a GPU's streams, memory and copies.
 *
 * One stream does the work and a second one brings images home while the next batch is computed. Everything is enqueued;
 * only downloads, waits and sync block. Small uploads (labels, what a step takes from the host) are copied to page-locked
 * memory first, so that the host runs ahead of the device instead of waiting for it at every step.                      */
#include "device/cuda/device.h"
#include "device/cuda/span_events.h"
#include <cuda_profiler_api.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#ifdef DG_HAVE_NVTX
#include <nvtx3/nvToolsExt.h>
#endif

static const size_t HALF_BYTES = (size_t)8 << 20; /* of the staging memory: a step of guided CIFAR-10 takes 3 KiB an image */

void cuda_check(int error, const char *what) {
    DG_CHECK(error == cudaSuccess, "%s: %s: %s", CUDA_BACKEND_NAME, what, cudaGetErrorString((cudaError_t)error));
}
static Cuda *cuda_of(const Device *d) {
    cuda_check(cudaSetDevice(d->index), "cudaSetDevice");
    return d->impl;
}
cudaStream_t cuda_stream(const Device *d) { return cuda_of(d)->stream; }

/* ---- opening -------------------------------------------------------------------------------------------------------------- */
static void new_event(cudaEvent_t *event) { cuda_check(cudaEventCreateWithFlags(event, cudaEventDisableTiming), "cudaEventCreate"); }
bool cuda_open(Device *d, Error *e) {
    int count = 0, major = 0, minor = 0, multiprocessors = 0;
    cudaError_t found = cudaGetDeviceCount(&count);
    if (found != cudaSuccess || count == 0)
        return dg_error(e, "--device cuda: no CUDA device found (%s): use --device cpu, or check the driver with nvidia-smi",
                        found == cudaSuccess ? "the driver lists none" : cudaGetErrorString(found));
    if (d->index >= count) return dg_error(e, "--device %s:%d: there are %d devices, 0 to %d", d->be->name, d->index, count, count - 1);
    cuda_check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, d->index), "compute capability");
    cuda_check(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, d->index), "compute capability");
    cuda_check(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, d->index), "number of multiprocessors");
    if (major < 8)
        return dg_error(e, "--device %s:%d: its compute capability is %d.%d, and 8.0 or later is needed", d->be->name, d->index, major,
                        minor);
    Cuda *c = dg_alloc(sizeof *c);
    c->capability = 10 * major + minor, c->multiprocessors = multiprocessors;
    cudaError_t error = cudaSetDevice(d->index);
    if (error == cudaSuccess) error = cudaStreamCreateWithFlags(&c->stream, cudaStreamNonBlocking);
    if (error == cudaSuccess) error = cudaStreamCreateWithFlags(&c->copies, cudaStreamNonBlocking);
    if (error == cudaSuccess) error = cudaHostAlloc((void **)&c->staging, STAGING_HALVES * HALF_BYTES, 0);
    if (error != cudaSuccess) {
        if (c->copies) cudaStreamDestroy(c->copies);
        if (c->stream) cudaStreamDestroy(c->stream);
        free(c);
        return dg_error(e, "--device %s:%d cannot be used: %s", d->be->name, d->index, cudaGetErrorString(error));
    }
    for (int i = 0; i < DEVICE_SLOTS; i++) new_event(&c->slot[i]);
    for (int i = 0; i < STAGING_HALVES; i++) new_event(&c->left[i]);
    new_event(&c->ready);
    d->impl = c;
    d->leaves_norms = c->capability == 90; /* Hopper's convolutions */
    return true;
}
void cuda_close(Device *d) {
    Cuda *c = cuda_of(d);
    cuda_sync(d);
    span_events_free(d);
    for (int i = 0; i < DEVICE_SLOTS; i++) cuda_check(cudaEventDestroy(c->slot[i]), "cudaEventDestroy");
    for (int i = 0; i < STAGING_HALVES; i++) cuda_check(cudaEventDestroy(c->left[i]), "cudaEventDestroy");
    cuda_check(cudaEventDestroy(c->ready), "cudaEventDestroy");
    cuda_check(cudaFreeHost(c->staging), "cudaFreeHost");
    cuda_check(cudaStreamDestroy(c->copies), "cudaStreamDestroy");
    cuda_check(cudaStreamDestroy(c->stream), "cudaStreamDestroy");
    free(c);
}

void cuda_describe(const Device *d, char *text, size_t size) {
#ifdef DG_EMU
    snprintf(text, size, "%s", d->be->name);
#else
    struct cudaDeviceProp p;
    int driver = 0, runtime = 0;
    cuda_check(cudaGetDeviceProperties(&p, d->index), "cudaGetDeviceProperties");
    cuda_check(cudaDriverGetVersion(&driver), "cudaDriverGetVersion");
    cuda_check(cudaRuntimeGetVersion(&runtime), "cudaRuntimeGetVersion");
    snprintf(text, size, "%.128s, driver %d, runtime %d", p.name, driver, runtime);
#endif
}

/* ---- memory --------------------------------------------------------------------------------------------------------------- */
static void *allocated(cudaError_t error, void *p, const char *what) {
    if (error == cudaErrorMemoryAllocation) {
        cudaGetLastError(); /* forget it: the caller says what was too large */
        return NULL;
    }
    cuda_check(error, what);
    return p;
}
void *cuda_alloc(Device *d, size_t bytes) {
    void *p = NULL;
    cuda_of(d);
    cudaError_t error = cudaMalloc(&p, bytes ? bytes : 1);
    return allocated(error, p, "cudaMalloc");
}
void cuda_release(Device *d, void *p) {
    cuda_of(d);
    cuda_check(cudaFree(p), "cudaFree");
}
void *cuda_alloc_host(Device *d, size_t bytes) {
    void *p = NULL;
    cuda_of(d);
    cudaError_t error = cudaHostAlloc(&p, bytes ? bytes : 1, 0);
    return allocated(error, p, "cudaHostAlloc");
}
void cuda_release_host(Device *d, void *p) {
    cuda_of(d);
    cuda_check(cudaFreeHost(p), "cudaFreeHost");
}
size_t cuda_free_bytes(Device *d) {
    size_t free_bytes, total;
    cuda_of(d);
    cuda_check(cudaMemGetInfo(&free_bytes, &total), "cudaMemGetInfo");
    return free_bytes;
}

/* ---- copies and order ------------------------------------------------------------------------------------------------------- */
static Cuda *outside_replays(Device *d) {
    Cuda *c = cuda_of(d);
    DG_CHECK(!c->in_replay, "%s: replayed work may not wait, nor copy from or to the host", CUDA_BACKEND_NAME);
    return c;
}
void cuda_sync(Device *d) { cuda_check(cudaStreamSynchronize(outside_replays(d)->stream), "running the kernels"); }
/* A place for `bytes` in page-locked memory that no earlier copy still reads: a half is entered again only after the copies
 * from its last use have been made.                                                                                        */
static char *stage(Cuda *c, size_t bytes) {
    if (c->staged + bytes > HALF_BYTES) {
        cuda_check(cudaEventRecord(c->left[c->half], c->stream), "cudaEventRecord");
        c->left_once[c->half] = true;
        c->half = (c->half + 1) % STAGING_HALVES, c->staged = 0;
        if (c->left_once[c->half]) cuda_check(cudaEventSynchronize(c->left[c->half]), "copying to the device");
    }
    char *p = c->staging + (size_t)c->half * HALF_BYTES + c->staged;
    c->staged += (bytes + DG_ALIGN - 1) & ~(size_t)(DG_ALIGN - 1);
    return p;
}
void cuda_upload(Device *d, void *dst, const void *src, size_t bytes) {
    Cuda *c = outside_replays(d);
    bool staged = bytes <= HALF_BYTES;
    const void *from = src;
    if (staged) from = memcpy(stage(c, bytes), src, bytes);
    cuda_check(cudaMemcpyAsync(dst, from, bytes, cudaMemcpyHostToDevice, c->stream), "copying to the device");
    if (!staged) cuda_sync(d); /* src is the caller's again */
}
void cuda_download(Device *d, void *dst, const void *src, size_t bytes) {
    cuda_check(cudaMemcpyAsync(dst, src, bytes, cudaMemcpyDeviceToHost, outside_replays(d)->stream), "copying from the device");
    cuda_sync(d);
}
void cuda_copy(Device *d, void *dst, const void *src, size_t bytes) {
    cuda_check(cudaMemcpyAsync(dst, src, bytes, cudaMemcpyDeviceToDevice, cuda_stream(d)), "copying within the device");
}
void cuda_download_async(Device *d, int slot, void *dst, const void *src, size_t bytes) {
    Cuda *c = outside_replays(d);
    cuda_check(cudaEventRecord(c->ready, c->stream), "cudaEventRecord");
    cuda_check(cudaStreamWaitEvent(c->copies, c->ready, 0), "cudaStreamWaitEvent");
    cuda_check(cudaMemcpyAsync(dst, src, bytes, cudaMemcpyDeviceToHost, c->copies), "copying from the device");
    cuda_check(cudaEventRecord(c->slot[slot], c->copies), "cudaEventRecord");
}
void cuda_mark(Device *d, int slot) {
    Cuda *c = cuda_of(d);
    cuda_check(cudaEventRecord(c->slot[slot], c->stream), "cudaEventRecord");
}
void cuda_wait(Device *d, int slot) {
    Cuda *c = cuda_of(d);
    cuda_check(cudaEventSynchronize(c->slot[slot]), "running the kernels");
}

/* ---- ranges for nsys and ncu ------------------------------------------------------------------------------------------------ */
void cuda_name_push(const char *name) {
#ifdef DG_HAVE_NVTX
    nvtxRangePushA(name);
#else
    (void)name;
#endif
}
void cuda_name_pop(void) {
#ifdef DG_HAVE_NVTX
    nvtxRangePop();
#endif
}
void cuda_range_push(const Device *d, SpanName n, int number) {
    cuda_name_push(span_name(n));
    if (d->spans && span_of_device(n)) span_events_begin(d, n, number);
}
void cuda_range_pop(const Device *d, SpanName n) {
    if (d->spans && span_of_device(n)) span_events_end(d, n);
    cuda_name_pop();
}
void cuda_profiler(Device *d, bool on) {
    cuda_sync(d);
    if (on) cuda_check(cudaProfilerStart(), "cudaProfilerStart");
    else cuda_check(cudaProfilerStop(), "cudaProfilerStop");
}
