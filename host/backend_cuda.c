/* backend_cuda.c -- the table of CUDA ops: each unpacks an Op into the launcher structs of kernels/kernels.h. The same file
 * is backend "emu" where DG_EMU is defined: the kernels then run on the CPU (tests/cuda_on_cpu).
 *
 * One stream per device; everything is enqueued and only downloads and sync wait. The first run of an Exec goes op by op
 * (kernels load), the second is captured into a CUDA graph, and every later one replays it. A failed launch or copy is our
 * own mistake or broken hardware, and aborts; too little memory is not.                                                  */
#include "../kernels/kernels.h"
#include "cuda_stats.h"
#include <cuda_runtime_api.h>
#include <stdlib.h>
#include <string.h>
#ifdef DG_HAVE_NVTX
#include <nvtx3/nvToolsExt.h>
#endif

#ifdef DG_EMU
static const char backend_name[] = "emu";
#else
static const char backend_name[] = "cuda";
#endif

typedef struct {
    cudaStream_t stream;
} Cuda;
typedef struct {
    bool ran;              /* kernels are loaded: the next run may be captured */
    cudaGraphExec_t graph; /* NULL before that */
} Captured;

static void check(int error, const char *what) {
    DG_CHECK(error == cudaSuccess, "%s: %s: %s", backend_name, what, cudaGetErrorString((cudaError_t)error));
}
static cudaStream_t stream_of(const Device *d) { /* makes the device current, too */
    check(cudaSetDevice(d->index), "cudaSetDevice");
    return ((const Cuda *)d->impl)->stream;
}
/* Ranges for nsys and ncu: the network's run, and each op where ops run one by one. */
static void range_push(const char *name) {
#ifdef DG_HAVE_NVTX
    nvtxRangePushA(name);
#else
    (void)name;
#endif
}
static void range_pop(void) {
#ifdef DG_HAVE_NVTX
    nvtxRangePop();
#endif
}

/* ---- device and memory ----------------------------------------------------------------------------------------------- */
static bool set_precision(Device *d, const char *precision, Error *e) {
    if (!precision || !strcmp(precision, "fp16")) d->act = DG_F16;
    else if (!strcmp(precision, "bf16")) d->act = DG_BF16;
    else if (!strcmp(precision, "tf32")) d->act = DG_F32, d->tf32 = true;
    else if (!strcmp(precision, "fp32")) d->act = DG_F32;
    else return dg_error(e, "device %s computes in fp16, bf16, tf32 or fp32, not in %s", d->be->name, precision);
    return true;
}
static bool cuda_open(Device *d, const char *precision, Error *e) {
    int count = 0, major = 0, minor = 0;
    cudaError_t found = cudaGetDeviceCount(&count);
    if (found != cudaSuccess || count == 0)
        return dg_error(e, "--device cuda: no CUDA device found (%s): use --device cpu, or check the driver with nvidia-smi",
                        found == cudaSuccess ? "the driver lists none" : cudaGetErrorString(found));
    if (d->index >= count) return dg_error(e, "--device %s:%d: there are %d devices, 0 to %d", d->be->name, d->index, count, count - 1);
    if (!set_precision(d, precision, e)) return false;
    check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, d->index), "compute capability");
    check(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, d->index), "compute capability");
    if (major < 8)
        return dg_error(e, "--device %s:%d: its compute capability is %d.%d, and 8.0 or later is needed", d->be->name, d->index, major, minor);
    cudaStream_t stream;
    cudaError_t error = cudaSetDevice(d->index);
    if (error == cudaSuccess) error = cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
    if (error != cudaSuccess) return dg_error(e, "--device %s:%d cannot be used: %s", d->be->name, d->index, cudaGetErrorString(error));
    Cuda *c = dg_alloc(sizeof *c);
    c->stream = stream;
    d->impl = c;
    return true;
}
static void cuda_close(Device *d) {
    check(cudaStreamDestroy(stream_of(d)), "cudaStreamDestroy");
    free(d->impl);
}
static void *cuda_alloc(Device *d, size_t bytes) {
    void *p = NULL;
    stream_of(d);
    cudaError_t error = cudaMalloc(&p, bytes ? bytes : 1);
    if (error == cudaErrorMemoryAllocation) {
        cudaGetLastError(); /* forget it: the caller says what was too large */
        return NULL;
    }
    check(error, "cudaMalloc");
    return p;
}
static void cuda_release(Device *d, void *p) {
    stream_of(d);
    check(cudaFree(p), "cudaFree");
}
static void cuda_sync(Device *d) { check(cudaStreamSynchronize(stream_of(d)), "running the kernels"); }
static void cuda_upload(Device *d, void *dst, const void *src, size_t bytes) {
    check(cudaMemcpyAsync(dst, src, bytes, cudaMemcpyHostToDevice, stream_of(d)), "copying to the device");
    cuda_sync(d); /* src is the caller's again */
}
static void cuda_download(Device *d, void *dst, const void *src, size_t bytes) {
    check(cudaMemcpyAsync(dst, src, bytes, cudaMemcpyDeviceToHost, stream_of(d)), "copying from the device");
    cuda_sync(d);
}

/* ---- ops --------------------------------------------------------------------------------------------------------------- */
static const Op *op_at(const Exec *e, int i) { return &e->g->op[i]; }
static void *data(const Exec *e, Tid t) { return t ? e->data[t] : NULL; }
static DType type(const Exec *e, Tid t) { return t ? e->g->t[t].dtype : DG_F32; }
static Shape shape(const Exec *e, Tid t) { return shape_of(e->g, t); }
static int pixels(Shape s) { return s.h * s.w; }

/* A 1x1 image may be stored in 16 bits and is then an image; a vector is f32, and is multiplied in f32. */
static bool is_linear(const Exec *e, const Op *op) {
    Shape w = shape(e, op->in[1]);
    bool f32 = type(e, op->in[0]) == DG_F32 && type(e, op->in[3]) == DG_F32 && type(e, op->out) == DG_F32;
    return f32 && is_vector(shape(e, op->in[0])) && w.h == 1 && w.w == 1 && op->conv.pad == 0;
}
static int run_conv(const Exec *e, int i, void *stream) {
    const Op *op = op_at(e, i);
    Shape x = shape(e, op->in[0]), w = shape(e, op->in[1]), y = shape(e, op->out);
    if (is_linear(e, op)) {
        LinearArgs a = {.x = data(e, op->in[0]), .w = data(e, op->in[1]), .bias = data(e, op->in[2]), .add = data(e, op->in[3]),
                        .y = data(e, op->out), .n = x.n, .c = x.c, .k = w.n, .scale = op->conv.scale};
        return cuda_linear(&a, stream);
    }
    ConvArgs a = {.x = data(e, op->in[0]), .w = data(e, op->in[1]), .bias = data(e, op->in[2]), .add = data(e, op->in[3]),
                  .y = data(e, op->out), .stats = e->prep[i], .x_type = type(e, op->in[0]), .add_type = type(e, op->in[3]),
                  .y_type = type(e, op->out),
                  .tf32 = e->dev->tf32, .add_vector = op->in[3] && !shape_eq(shape(e, op->in[3]), y), .n = x.n, .height = x.h,
                  .width = x.w, .c = x.c, .k = w.n, .r = w.h, .s = w.w, .pad = op->conv.pad, .scale = op->conv.scale};
    return cuda_conv(&a, stream);
}
static NormArgs norm_args(const Exec *e, int i) {
    const Op *op = op_at(e, i);
    Shape x = shape(e, op->in[0]);
    NormArgs a = {.x = data(e, op->in[0]), .dy = data(e, op->in[4]), .y = data(e, op->out), .gamma = data(e, op->in[1]),
                      .beta = data(e, op->in[2]), .scale_shift = data(e, op->in[3]), .x_type = type(e, op->in[0]),
                      .dy_type = type(e, op->in[4]), .y_type = type(e, op->out), .n = x.n, .height = x.h, .width = x.w, .c = x.c,
                      .groups = op->norm.groups, .eps = op->norm.eps, .silu = op->norm.silu, .workspace = e->prep[i]};
    int from[2];
    if (cuda_stats_sources(e->g, i, from))
        for (int k = 0; k < 2; k++)
            if (from[k] >= 0) a.stats[k] = e->prep[from[k]], a.stats_c[k] = shape(e, op_at(e, from[k])->out).c;
    return a;
}
static int run_norm(const Exec *e, int i, void *stream) {
    NormArgs a = norm_args(e, i);
    return a.dy ? cuda_norm_bwd(&a, stream) : cuda_norm(&a, stream);
}
static AttnArgs attn_args(const Exec *e, int i) {
    const Op *op = op_at(e, i);
    Shape s = shape(e, op->in[0]);
    return (AttnArgs){.qkv = data(e, op->in[0]), .dy = data(e, op->in[1]), .y = data(e, op->out), .qkv_type = type(e, op->in[0]),
                      .dy_type = type(e, op->in[1]), .y_type = type(e, op->out), .tf32 = e->dev->tf32, .n = s.n, .tokens = pixels(s),
                      .heads = op->attn.heads, .d = s.c / 3 / op->attn.heads, .workspace = e->prep[i]};
}
static int run_attn(const Exec *e, int i, void *stream) {
    AttnArgs a = attn_args(e, i);
    return a.dy ? cuda_attn_bwd(&a, stream) : cuda_attn(&a, stream);
}
static int run_unary(const Exec *e, int i, void *stream) {
    const Op *op = op_at(e, i);
    UnaryArgs a = {.x = data(e, op->in[0]), .dy = data(e, op->in[1]), .y = data(e, op->out), .x_type = type(e, op->in[0]),
                   .dy_type = type(e, op->in[1]), .y_type = type(e, op->out), .count = shape_count(shape(e, op->out)), .f = op->unary.f,
                   .lo = op->unary.lo, .hi = op->unary.hi};
    return a.dy ? cuda_unary_bwd(&a, stream) : cuda_unary(&a, stream);
}
static int run_add(const Exec *e, int i, void *stream) {
    const Op *op = op_at(e, i);
    Shape y = shape(e, op->out);
    AddArgs a = {.x = data(e, op->in[0]), .z = data(e, op->in[1]), .y = data(e, op->out), .x_type = type(e, op->in[0]),
                 .z_type = type(e, op->in[1]), .y_type = type(e, op->out), .z_vector = op->in[1] && !shape_eq(shape(e, op->in[1]), y),
                 .n = y.n, .pixels = pixels(y), .c = y.c, .a = op->add.a, .b = op->add.b};
    return cuda_add(&a, stream);
}
/* c channels of tensor `from` on into tensor `to`. */
static int copy_channels(const Exec *e, Tid from, int x_first, Tid to, int y_first, int c, void *stream) {
    Shape x = shape(e, from), y = shape(e, to);
    CopyChannelsArgs a = {.x = data(e, from), .y = data(e, to), .x_type = type(e, from), .y_type = type(e, to),
                          .pixels = (size_t)x.n * (size_t)pixels(x), .x_c = x.c, .x_first = x_first, .y_c = y.c, .y_first = y_first, .c = c};
    return cuda_copy_channels(&a, stream);
}
static int run_concat(const Exec *e, int i, void *stream) {
    const Op *op = op_at(e, i);
    int c0 = shape(e, op->in[0]).c, c1 = shape(e, op->in[1]).c;
    int error = copy_channels(e, op->in[0], 0, op->out, 0, c0, stream);
    return error ? error : copy_channels(e, op->in[1], 0, op->out, c0, c1, stream);
}
static int run_slice(const Exec *e, int i, void *stream) {
    const Op *op = op_at(e, i);
    return copy_channels(e, op->in[0], op->slice.first, op->out, 0, shape(e, op->out).c, stream);
}
static int run_resample(const Exec *e, int i, void *stream) {
    const Op *op = op_at(e, i);
    Shape x = shape(e, op->in[0]), y = shape(e, op->out);
    ResampleArgs a = {.x = data(e, op->in[0]), .y = data(e, op->out), .x_type = type(e, op->in[0]), .y_type = type(e, op->out),
                      .n = x.n, .height = x.h, .width = x.w, .out_height = y.h, .out_width = y.w, .c = x.c,
                      .taps = op->resample.taps, .pad = op->resample.pad, .up = op->resample.up, .scale = op->resample.scale};
    memcpy(a.tap, op->resample.tap, sizeof a.tap);
    return cuda_resample(&a, stream);
}
static int run_pool_tokens(const Exec *e, int i, void *stream) {
    const Op *op = op_at(e, i);
    bool backward = op->kind == OP_POOL_TOKENS_BWD;
    Shape image = shape(e, backward ? op->out : op->in[0]);
    PoolTokensArgs a = {.x = data(e, op->in[0]), .embedding = data(e, op->in[1]), .y = data(e, op->out), .x_type = type(e, op->in[0]),
                        .y_type = type(e, op->out), .n = image.n, .pixels = pixels(image), .c = image.c};
    return backward ? cuda_pool_tokens_bwd(&a, stream) : cuda_pool_tokens(&a, stream);
}
static int run_first_token(const Exec *e, int i, void *stream) {
    const Op *op = op_at(e, i);
    bool backward = op->kind == OP_FIRST_TOKEN_BWD;
    Shape tokens = shape(e, backward ? op->out : op->in[0]);
    FirstTokenArgs a = {.x = data(e, op->in[0]), .y = data(e, op->out), .x_type = type(e, op->in[0]), .y_type = type(e, op->out),
                        .n = tokens.n, .tokens = pixels(tokens), .c = tokens.c};
    return backward ? cuda_first_token_bwd(&a, stream) : cuda_first_token(&a, stream);
}

typedef int (*RunFn)(const Exec *e, int i, void *stream);
static const RunFn run_table[OP_COUNT] = {
    [OP_CONV] = run_conv,
    [OP_NORM] = run_norm,
    [OP_NORM_BWD] = run_norm,
    [OP_ATTN] = run_attn,
    [OP_ATTN_BWD] = run_attn,
    [OP_UNARY] = run_unary,
    [OP_UNARY_BWD] = run_unary,
    [OP_ADD] = run_add,
    [OP_CONCAT] = run_concat,
    [OP_SLICE] = run_slice,
    [OP_RESAMPLE] = run_resample,
    [OP_POOL_TOKENS] = run_pool_tokens,
    [OP_POOL_TOKENS_BWD] = run_pool_tokens,
    [OP_FIRST_TOKEN] = run_first_token,
    [OP_FIRST_TOKEN_BWD] = run_first_token,
};
_Static_assert(OP_COUNT == 15, "a new op: add its launcher");

static void cuda_op(const Exec *e, int i) {
    OpKind kind = op_at(e, i)->kind;
    range_push(op_name(kind));
    check(run_table[kind](e, i, stream_of(e->dev)), op_name(kind));
    range_pop();
}

/* ---- preparation and runs ------------------------------------------------------------------------------------------------ */
static bool allocate(Exec *e, void **p, size_t bytes, const char *what, Error *err) {
    *p = cuda_alloc(e->dev, bytes);
    return *p || dg_out_of_memory(err, "not enough memory on device %s for %s (%zu bytes)", e->dev->be->name, what, bytes);
}
/* Replaces a conv weight whose channels fill no whole pieces by its padded form, once. */
static bool pack_weight(Exec *e, int i, Error *err) {
    Tid t = op_at(e, i)->in[1];
    Shape s = shape(e, t);
    size_t raw = shape_count(s) * dtype_bytes(type(e, t)), packed = conv_packed_bytes(s, type(e, t));
    if (packed == raw) return true;
    for (int j = 0; j < i; j++)
        if (op_at(e, j)->kind == OP_CONV && op_at(e, j)->in[1] == t) return true; /* by its first reader */
    void *device;
    if (!allocate(e, &device, packed, e->g->t[t].name, err)) return false;
    char *host = dg_alloc(raw + packed);
    cuda_download(e->dev, host, e->data[t], raw);
    conv_pack(host + raw, host, s, type(e, t));
    cuda_upload(e->dev, device, host + raw, packed);
    free(host);
    cuda_release(e->dev, e->data[t]);
    e->data[t] = device;
    e->weight_bytes += packed - raw;
    return true;
}
/* prep[i] is the op's workspace, the statistics that a convolution leaves, or NULL. */
static bool cuda_prepare(Exec *e, int i, Error *err) {
    const Op *op = op_at(e, i);
    size_t workspace = cuda_stats_bytes(e->g, i);
    if (op->kind == OP_CONV && !is_linear(e, op) && !pack_weight(e, i, err)) return false;
    if (op->kind == OP_NORM || op->kind == OP_NORM_BWD) {
        NormArgs a = norm_args(e, i);
        workspace = cuda_norm_workspace(&a);
    }
    if (op->kind == OP_ATTN || op->kind == OP_ATTN_BWD) {
        AttnArgs a = attn_args(e, i);
        workspace = cuda_attn_workspace(&a);
    }
    return !workspace || allocate(e, &e->prep[i], workspace, op_name(op->kind), err);
}
static void cuda_unprepare(Exec *e, int i) {
    Captured *c = e->captured;
    if (c) {
        cuda_sync(e->dev);
        if (c->graph) check(cudaGraphExecDestroy(c->graph), "cudaGraphExecDestroy");
        free(c);
        e->captured = NULL;
    }
    if (e->prep[i]) cuda_release(e->dev, e->prep[i]);
    e->prep[i] = NULL;
}
static void run_ops(const Exec *e) {
    for (int i = 0; i < e->g->nop; i++) cuda_op(e, i);
}
static cudaGraphExec_t capture(const Exec *e) {
    cudaStream_t stream = stream_of(e->dev);
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "cudaStreamBeginCapture");
    run_ops(e);
    check(cudaStreamEndCapture(stream, &graph), "cudaStreamEndCapture");
    check(cudaGraphInstantiateWithFlags(&exec, graph, 0), "cudaGraphInstantiate");
    check(cudaGraphDestroy(graph), "cudaGraphDestroy");
    return exec;
}
static void cuda_run(Exec *e) {
    if (!e->g->nop) return;
    if (!e->captured) e->captured = dg_alloc(sizeof(Captured));
    Captured *c = e->captured;
    range_push("network");
    if (!c->ran) run_ops(e);
    else {
        if (!c->graph) c->graph = capture(e);
        check(cudaGraphLaunch(c->graph, stream_of(e->dev)), "cudaGraphLaunch");
    }
    c->ran = true;
    range_pop();
}

/* ---- sampler state ----------------------------------------------------------------------------------------------------- */
static void state_combine(Device *d, void *out, DType out_type, int n, size_t per_sample, const Term *term, int terms) {
    DG_CHECK(terms > 0 && terms <= COMBINE_TERMS, "combine: %d terms", terms);
    check(cuda_combine(out, out_type, n, per_sample, term, terms, stream_of(d)), "combine");
}
static void state_randn(Device *d, double *out, int n, size_t per_sample, const uint64_t *seed, uint32_t step) {
    check(cuda_randn(out, n, per_sample, seed, step, stream_of(d)), "randn");
}
static void state_to_u8(Device *d, uint8_t *out, const double *x, int n, size_t per_sample, int *bad) {
    check(cuda_to_u8(out, x, n, per_sample, bad, stream_of(d)), "to_u8");
}

static const OpFn op_table[OP_COUNT] = {
    cuda_op, cuda_op, cuda_op, cuda_op, cuda_op, cuda_op, cuda_op, cuda_op,
    cuda_op, cuda_op, cuda_op, cuda_op, cuda_op, cuda_op, cuda_op,
};
const Backend backend_cuda = {
    .name = backend_name,
    .open = cuda_open,
    .close = cuda_close,
    .alloc = cuda_alloc,
    .release = cuda_release,
    .upload = cuda_upload,
    .download = cuda_download,
    .sync = cuda_sync,
    .prepare = cuda_prepare,
    .unprepare = cuda_unprepare,
    .run = cuda_run,
    .op = op_table,
    .combine = state_combine,
    .randn = state_randn,
    .to_u8 = state_to_u8,
};
