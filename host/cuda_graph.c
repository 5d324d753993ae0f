/* cuda_graph.c -- captured graphs: what a function enqueues, kept as one CUDA graph and replayed. */
#include "cuda_graph.h"
#include <stdlib.h>

typedef struct {
    int shape;
    cudaGraphExec_t graph; /* NULL: the work was done once */
} Captured;
typedef struct {
    Captured *item;
    int count;
} Replays;

static Captured *captured(Replays *r, int shape) {
    for (int i = 0; i < r->count; i++)
        if (r->item[i].shape == shape) return &r->item[i];
    return NULL;
}
/* The work of a replay, which may not wait for the device, nor copy from or to memory that is gone when it is replayed. */
static void enqueue(Device *d, WorkFn work, void *context, int shape) {
    Cuda *c = d->impl;
    c->in_replay = true;
    work(context, shape);
    c->in_replay = false;
}
cudaGraphExec_t cuda_capture(Device *d, WorkFn work, void *context, int shape) {
    cudaStream_t stream = cuda_stream(d);
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    cuda_range_push("capture");
    cuda_check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "cudaStreamBeginCapture");
    enqueue(d, work, context, shape);
    cuda_check(cudaStreamEndCapture(stream, &graph), "cudaStreamEndCapture");
    cuda_check(cudaGraphInstantiateWithFlags(&exec, graph, 0), "cudaGraphInstantiate");
    cuda_check(cudaGraphDestroy(graph), "cudaGraphDestroy");
    cuda_range_pop();
    return exec;
}
void cuda_replay(Device *d, void **kept, int shape, WorkFn work, void *context) {
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
    if (!c->graph) c->graph = cuda_capture(d, work, context, shape);
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
