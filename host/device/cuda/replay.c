/* replay.c -- captured graphs: what a function enqueues, kept as one CUDA graph and replayed. */
#include "device/cuda/replay.h"
#include <stdlib.h>

typedef struct {
    WorkShape shape;
    cudaGraphExec_t graph; /* NULL: the work was done once, or there is no memory for a graph of it */
} Captured;
typedef struct {
    Captured *item;
    int count;
} Replays;

static Captured *captured(Replays *r, WorkShape shape) {
    for (int i = 0; i < r->count; i++)
        if (r->item[i].shape.rows == shape.rows && r->item[i].shape.parts == shape.parts) return &r->item[i];
    return NULL;
}
/* The work of a replay may not wait for the device, nor copy from or to host memory, which may be gone at the next replay. */
static void enqueue(Device *d, WorkFn work, void *context, WorkShape shape) {
    Cuda *c = d->impl;
    c->in_replay = true;
    work(context, shape);
    c->in_replay = false;
}
/* False: there was not enough memory, and *exec is NULL. Anything else aborts. */
static bool capture(Device *d, WorkFn work, void *context, WorkShape shape, cudaGraphExec_t *exec) {
    cudaStream_t stream = cuda_stream(d);
    cudaGraph_t graph;
    *exec = NULL;
    device_range_push(d, SPAN_CAPTURE);
    ((Cuda *)d->impl)->capturing = true;
    cuda_check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "cudaStreamBeginCapture");
    enqueue(d, work, context, shape);
    cuda_check(cudaStreamEndCapture(stream, &graph), "cudaStreamEndCapture");
    ((Cuda *)d->impl)->capturing = false;
    cudaError_t error = cudaGraphInstantiateWithFlags(exec, graph, 0);
    cuda_check(cudaGraphDestroy(graph), "cudaGraphDestroy");
    device_range_pop(d, SPAN_CAPTURE);
    if (error == cudaErrorMemoryAllocation) {
        cudaGetLastError(); /* it is dealt with */
        *exec = NULL;
        return false;
    }
    cuda_check(error, "cudaGraphInstantiate");
    return true;
}
cudaGraphExec_t cuda_capture(Device *d, WorkFn work, void *context, WorkShape shape) {
    cudaGraphExec_t exec;
    if (!capture(d, work, context, shape, &exec)) cuda_check(cudaErrorMemoryAllocation, "cudaGraphInstantiate");
    return exec;
}
void cuda_replay(Device *d, void **kept, WorkShape shape, WorkFn work, void *context) {
    if (((Cuda *)d->impl)->in_replay) { /* part of the work around it */
        work(context, shape);
        return;
    }
    if (!*kept) *kept = dg_alloc(sizeof(Replays));
    Replays *r = *kept;
    Captured *c = captured(r, shape);
    if (!c) {
        r->item = dg_realloc(r->item, (size_t)(r->count + 1) * sizeof *r->item);
        r->item[r->count++] = (Captured){.shape = shape};
        enqueue(d, work, context, shape);
        return;
    }
    if (!c->graph && !capture(d, work, context, shape, &c->graph)) {
        enqueue(d, work, context, shape);
        return;
    }
    cuda_check(cudaGraphLaunch(c->graph, cuda_stream(d)), "cudaGraphLaunch");
}
void cuda_replay_free(Device *d, void *kept) {
    Replays *r = kept;
    if (!r) return;
    cuda_sync(d); /* one may be under way */
    for (int i = 0; i < r->count; i++)
        if (r->item[i].graph) cuda_check(cudaGraphExecDestroy(r->item[i].graph), "cudaGraphExecDestroy");
    free(r->item);
    free(r);
}
