/* backend.c -- the CUDA backend: the memory of a graph, its preparation, its runs. The same file is backend "emu" where DG_EMU is
 * defined: the kernels then run on the CPU (tests/cuda_on_cpu).
 *
 * A run is replayed as a CUDA graph (replay.h); inside a larger replay its launches become part of that one. Memory is computed
 * first: a graph that does not fit is refused before anything is allocated, with the bytes needed and free.               */
#include "device/cuda/ops.h"
#include "device/cuda/replay.h"
#include "device/cuda/norm_fold.h"
#include "device/cuda/norm_stats.h"
#include "device/cuda/upsampled.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct {   /* Exec.state */
    void *scratch; /* one workspace for all ops whose workspace no later op reads */
    void *replays; /* of whole runs, by their rows */
} ExecState;

static void run_together(const Exec *e, int i, int ops) {
    const char *name = op_name(op_at(e, i)->kind);
    cuda_name_push(name);
    cuda_check(cuda_launch(e, i, ops, cuda_stream(e->dev)), name);
    cuda_name_pop();
}
static void cuda_run_op(const Exec *e, int i) { run_together(e, i, 1); }

/* ---- memory ------------------------------------------------------------------------------------------------------------ */
static bool is_read_later(const Exec *e, int i) { /* op i's workspace */
    OpKind kind = op_at(e, i)->kind;
    if (kind == OP_CONV) return cuda_stats_bytes(e->g, i) > 0;
    if (kind != OP_NORM && kind != OP_ATTN) return false;
    for (int j = i + 1; j < e->g->nop; j++)
        if (cuda_forward_of(e, j) == i) return true;
    return false;
}
static size_t scratch_bytes(const Exec *e) {
    size_t most = 0;
    for (int i = 0; i < e->g->nop; i++) {
        size_t bytes = is_read_later(e, i) ? 0 : cuda_workspace_bytes(e, i);
        size_t fold = cuda_fold_scratch_bytes(e, i);
        if (bytes > most) most = bytes;
        if (fold > most) most = fold;
    }
    return most;
}
static size_t taken_by(size_t bytes) { return align_up(bytes); } /* an allocation */
static bool has_two_biases(const Op *op) { return op->kind == OP_CONV && op->in[2] && op->in[8]; }
/* Whether convolution i multiplies what is not upsampled. */
static bool multiplies_small(const Exec *e, int i) {
    if (!cuda_is_image_conv(e, op_at(e, i))) return false;
    ConvArgs a = cuda_conv_args(e, i);
    return cuda_up_args(e, i, &a) == UP_X;
}
/* What input j of op i takes, a weight. */
static size_t weight_bytes(const Exec *e, int i, int j) {
    const Op *op = op_at(e, i);
    const Tensor *w = &e->g->t[op->in[j]];
    if (!cuda_is_image_conv(e, op) || (j != 1 && j != 7)) return tensor_bytes(w);
    if (j == 1 && multiplies_small(e, i)) return cuda_up_bytes(w->shape, w->dtype);
    return j == 1 ? conv_packed_bytes(w->shape, w->dtype) : cuda_skip_bytes(e, op, 0) + cuda_skip_bytes(e, op, 1);
}
/* Whether there is memory for all of it. */
static bool admit(const Exec *e, Error *err) {
    const Graph *g = e->g;
    bool *seen = dg_alloc((size_t)g->nt * sizeof *seen);
    size_t activations = g->arena_bytes ? g->arena_bytes : DG_ALIGN, weights = 0, workspaces = taken_by(scratch_bytes(e));
    for (int i = 0; i < g->nop; i++) {
        if (is_read_later(e, i)) workspaces += taken_by(cuda_workspace_bytes(e, i));
        workspaces += taken_by(cuda_fold_kept_bytes(e, i));
        for (int j = 0; j < OP_INPUTS; j++) {
            Tid t = g->op[i].in[j];
            if (!t || in_arena(&g->t[t]) || seen[t]) continue;
            seen[t] = true;
            weights += taken_by(weight_bytes(e, i, j));
        }
        if (has_two_biases(op_at(e, i))) weights += taken_by(tensor_bytes(&g->t[g->op[i].in[2]]));
    }
    free(seen);
    size_t needed = activations + weights + workspaces, free_bytes = cuda_free_bytes(e->dev);
    if (needed <= free_bytes) return true;
    const double mib = 1048576;
    return dg_out_of_memory(err,
                            "device %s:%d has %.1f MiB (%zu bytes) free, and a network needs %.1f MiB (%zu bytes: activations %zu, weights "
                            "%zu, workspaces %zu)",
                            e->dev->be->name, e->dev->index, (double)free_bytes / mib, free_bytes, (double)needed / mib, needed,
                            activations, weights, workspaces);
}

/* ---- preparation and runs ------------------------------------------------------------------------------------------------ */
static bool allocate(Exec *e, void **p, size_t bytes, const char *what, Error *err) {
    *p = cuda_alloc(e->dev, bytes);
    return *p || dg_out_of_memory(err, "not enough memory on device %s for %s (%zu bytes in one piece; %zu are free)", e->dev->be->name,
                                  what, bytes, cuda_free_bytes(e->dev));
}
/* Gives weight t another form. The old one goes first: both together may exceed what bind allowed. */
static bool replace_weight(Exec *e, Tid t, const void *values, size_t bytes, Error *err) {
    cuda_release(e->dev, e->data[t]);
    e->data[t] = NULL;
    if (!allocate(e, &e->data[t], bytes, e->g->t[t].name, err)) return false;
    cuda_upload(e->dev, e->data[t], values, bytes);
    e->weight_bytes += bytes - tensor_bytes(&e->g->t[t]);
    return true;
}
/* A conv weight whose channels do not fill whole pieces is replaced by its padded form, once, by its first reader; all of its
 * readers must then want that form. */
static bool pack_weight(Exec *e, int i, Error *err) {
    Tid t = op_at(e, i)->in[1];
    const Tensor *w = &e->g->t[t];
    size_t raw = tensor_bytes(w), packed = conv_packed_bytes(w->shape, w->dtype);
    if (packed == raw) return true;
    int first = i;
    for (int j = 0; j < e->g->nop; j++)
        for (int k = 0; k < OP_INPUTS; k++) {
            if (op_at(e, j)->in[k] != t) continue;
            GRAPH_CHECK(k == 1 && cuda_is_image_conv(e, op_at(e, j)),
                        "weight %s belongs to an image convolution and is read by an op %s too", e->g->t[t].name,
                        op_name(op_at(e, j)->kind));
            if (j < first) first = j;
        }
    if (first < i) return true;
    char *host = dg_alloc(raw + packed);
    cuda_download(e->dev, host, e->data[t], raw);
    conv_pack(host + raw, host, w->shape, w->dtype);
    bool ok = replace_weight(e, t, host + raw, packed, err);
    free(host);
    return ok;
}
/* The weight of a skip becomes those of its inputs, one behind the other. */
static bool pack_skip(Exec *e, int i, Error *err) {
    const Op *op = op_at(e, i);
    Tid t = op->in[7];
    const Tensor *w = &e->g->t[t];
    size_t raw = tensor_bytes(w), of_value = dtype_bytes(w->dtype), packed = weight_bytes(e, i, 7), row = (size_t)w->shape.c * of_value;
    if (!op->in[6] && packed == raw) return true;
    for (int j = 0, readers = 0; j < e->g->nop; j++)
        for (int k = 0; k < OP_INPUTS; k++)
            GRAPH_CHECK(op_at(e, j)->in[k] != t || ++readers == 1, "weight %s belongs to a skip and is read by another op too", w->name);
    char *host = dg_alloc(2 * raw + packed), *part = host + raw, *to = part + raw;
    cuda_download(e->dev, host, e->data[t], raw);
    for (int j = 0, first = 0; j < 2 && op->in[5 + j]; to += cuda_skip_bytes(e, op, j++)) {
        Shape s = {w->shape.n, 1, 1, shape_of(e->g, op->in[5 + j]).c};
        size_t bytes = (size_t)s.c * of_value;
        for (int k = 0; k < s.n; k++) memcpy(part + (size_t)k * bytes, host + (size_t)k * row + (size_t)first * of_value, bytes);
        conv_pack(to, part, s, w->dtype);
        first += s.c;
    }
    bool ok = replace_weight(e, t, host + 2 * raw, packed, err);
    free(host);
    return ok;
}
/* The weight of a convolution that multiplies what is not upsampled becomes sums of its taps, rounded once. */
static bool pack_up(Exec *e, int i, Error *err) {
    Tid t = op_at(e, i)->in[1];
    const Tensor *w = &e->g->t[t];
    size_t n = shape_count(w->shape), bytes = cuda_up_bytes(w->shape, w->dtype), packed = bytes / dtype_bytes(w->dtype);
    void *stored = dg_alloc(bytes);
    float *values = dg_alloc((n + packed) * sizeof *values), *sums = values + n;
    cuda_download(e->dev, stored, e->data[t], tensor_bytes(w));
    dtype_convert(DG_F32, values, w->dtype, stored, n);
    cuda_up_pack(sums, values, w->shape);
    dtype_convert(w->dtype, stored, DG_F32, sums, packed);
    bool ok = true;
    for (size_t k = 0; w->dtype == DG_F16 && k < packed && ok; k++)
        if (fabsf(sums[k]) >= 65520)
            ok = dg_error(err, "sums of weight %s go beyond 65504, the largest of fp16: --dtype bf16 or fp32", w->name);
    ok = ok && replace_weight(e, t, stored, bytes, err);
    free(stored), free(values);
    return ok;
}
static bool add_biases(Exec *e, int i, float **sum, Error *err) {
    const Op *op = op_at(e, i);
    size_t bytes = tensor_bytes(&e->g->t[op->in[2]]), count = bytes / sizeof **sum;
    void *p = NULL;
    if (!allocate(e, &p, bytes, "a bias", err)) return false;
    *sum = p, e->weight_bytes += bytes;
    float *bias = dg_alloc(2 * bytes);
    cuda_download(e->dev, bias, e->data[op->in[2]], bytes);
    cuda_download(e->dev, bias + count, e->data[op->in[8]], bytes);
    for (size_t k = 0; k < count; k++) bias[k] += bias[count + k];
    cuda_upload(e->dev, p, bias, bytes);
    free(bias);
    return true;
}
static bool cuda_bind(Exec *e, Error *err) {
    if (!admit(e, err)) return false;
    ExecState *s = e->state = dg_alloc(sizeof *s);
    size_t bytes = e->workspace_bytes = scratch_bytes(e);
    return !bytes || allocate(e, &s->scratch, bytes, "workspaces", err);
}
static bool cuda_prepare(Exec *e, int i, Error *err) {
    OpPrep *p = e->prep[i] = dg_alloc(sizeof *p);
    const Op *op = op_at(e, i);
    if (cuda_is_image_conv(e, op) && !(multiplies_small(e, i) ? pack_up(e, i, err) : pack_weight(e, i, err))) return false;
    if (op->in[7] && !pack_skip(e, i, err)) return false;
    if (has_two_biases(op) && !add_biases(e, i, &p->bias, err)) return false;
    int forward = cuda_forward_of(e, i);
    if (forward >= 0) p->forward = op_workspace(e, forward);
    size_t bytes = cuda_workspace_bytes(e, i);
    p->own = is_read_later(e, i);
    if (!p->own) p->workspace = bytes ? ((const ExecState *)e->state)->scratch : NULL;
    if (p->own && bytes) {
        if (!allocate(e, &p->workspace, bytes, op_name(op_at(e, i)->kind), err)) return false;
        e->workspace_bytes += bytes;
    }
    size_t kept = cuda_fold_kept_bytes(e, i);
    if (kept && !allocate(e, &p->kept, kept, op_name(op_at(e, i)->kind), err)) return false;
    e->workspace_bytes += kept;
    if (cuda_fold_scratch_bytes(e, i)) p->scratch = ((const ExecState *)e->state)->scratch;
    if (e->dev->provider == DEVICE_OWN || !cuda_is_image_conv(e, op) || op->in[7]) return true; /* no library has a skip */
    ConvArgs a = cuda_conv_args(e, i);
    return conv_choose(e->dev, &a, &p->choice, err);
}
static void cuda_unbind(Exec *e) {
    ExecState *s = e->state;
    if (!s) return;
    cuda_sync(e->dev);
    cuda_replay_free(e->dev, s->replays); /* it refers to all that follows */
    for (int i = 0; i < e->g->nop; i++) {
        OpPrep *p = e->prep[i];
        if (!p) continue;
        conv_choice_free(e->dev, p->choice);
        if (p->own && p->workspace) cuda_release(e->dev, p->workspace);
        if (p->bias) cuda_release(e->dev, p->bias);
        if (p->kept) cuda_release(e->dev, p->kept);
        free(p);
    }
    if (s->scratch) cuda_release(e->dev, s->scratch);
    free(s);
}
static const char *cuda_implementation(const Exec *e, int i) { return conv_choice_name(op_choice(e, i)); }
static double cuda_waves(const Exec *e, int i, int rows) {
    if (!cuda_is_image_conv(e, op_at(e, i)) || op_choice(e, i)) return 0;
    ConvArgs a = cuda_conv_args(e, i);
    cuda_up_args(e, i, &a);
    a.n = rows;
    return cuda_conv_waves(&a);
}
static void run_ops(void *exec, WorkShape unused) { /* of e->rows images */
    const Exec *e = exec;
    (void)unused;
    for (int i = 0, ops; i < e->g->nop; i += ops) {
        ops = cuda_group(e, i);
        run_together(e, i, ops);
    }
}
static void cuda_run(Exec *e) {
    ExecState *s = e->state;
    if (e->g->nop) cuda_replay(e->dev, &s->replays, (WorkShape){.rows = e->rows}, run_ops, e);
}
/* Ops are timed by events inside one captured graph, so that gaps between launches do not count. Those that run together share
 * their time alike. */
typedef struct {
    const Exec *e;
    cudaEvent_t *event; /* [nop + 1] */
} Timed;
static void run_timed(void *timed, WorkShape unused) {
    const Timed *t = timed;
    cudaStream_t stream = cuda_stream(t->e->dev);
    (void)unused;
    for (int i = 0, ops; i <= t->e->g->nop; i += ops) {
        cuda_check(cudaEventRecordWithFlags(t->event[i], stream, cudaEventRecordExternal), "cudaEventRecord");
        ops = i < t->e->g->nop ? cuda_group(t->e, i) : 1;
        if (i < t->e->g->nop) run_together(t->e, i, ops);
    }
}
static void cuda_profile(Exec *e, int repeats, double *seconds) {
    int n = e->g->nop;
    cudaEvent_t *event = dg_alloc(((size_t)n + 1) * sizeof *event);
    for (int i = 0; i <= n; i++) cuda_check(cudaEventCreateWithFlags(&event[i], cudaEventDefault), "cudaEventCreate");
    for (int i = 0; i < n; i++) seconds[i] = 0;
    run_ops(e, (WorkShape){0}); /* kernels are loaded, as they must be before a capture */
    cudaGraphExec_t graph = cuda_capture(e->dev, run_timed, &(Timed){e, event}, (WorkShape){0});
    for (int r = 0; r < repeats; r++) {
        cuda_check(cudaGraphLaunch(graph, cuda_stream(e->dev)), "cudaGraphLaunch");
        cuda_sync(e->dev);
        for (int i = 0, ops; i < n; i += ops) {
            float ms;
            ops = cuda_group(e, i);
            cuda_check(cudaEventElapsedTime(&ms, event[i], event[i + ops]), "cudaEventElapsedTime");
            for (int k = 0; k < ops; k++) seconds[i + k] += (double)ms * 1e-3 / repeats / ops;
        }
    }
    cuda_check(cudaGraphExecDestroy(graph), "cudaGraphExecDestroy");
    for (int i = 0; i <= n; i++) cuda_check(cudaEventDestroy(event[i]), "cudaEventDestroy");
    free(event);
}

/* ---- sampler state ----------------------------------------------------------------------------------------------------- */
static void state_combine(Device *d, void *out, DType out_type, int n, size_t per_sample, const Term *term, int terms) {
    terms_check(term, terms, per_sample, out_type);
    cuda_check(cuda_combine(out, out_type, n, per_sample, term, terms, cuda_stream(d)), "combine");
}
static void state_randn(Device *d, double *out, int n, size_t per_sample, const uint64_t *seed, const uint32_t *step) {
    cuda_check(cuda_randn(out, n, per_sample, seed, step, cuda_stream(d)), "randn");
}
static void state_posterior(Device *d, double *x, int n, size_t per_sample, const Posterior *p) {
    posterior_check(p, per_sample);
    cuda_check(cuda_posterior(x, n, per_sample, p, cuda_stream(d)), "posterior");
}
static void state_to_u8(Device *d, uint8_t *out, const void *x, DType type, int n, size_t per_sample, double scale, double offset,
                        int *bad) {
    cuda_check(cuda_to_u8(out, x, type, n, per_sample, scale, offset, bad, cuda_stream(d)), "to_u8");
}

static void close_device(Device *d) {
    cuda_sync(d);
    cuda_choices_close(d);
    cuda_close(d);
}
const Backend backend_cuda = {
    .name = CUDA_BACKEND_NAME,
    .takes = {{DG_F16, false}, {DG_BF16, false}, {DG_F32, true}, {DG_F32, false}},
    .precisions = 4,
    .open = cuda_open,
    .close = close_device,
    .alloc = cuda_alloc,
    .release = cuda_release,
    .upload = cuda_upload,
    .download = cuda_download,
    .copy = cuda_copy,
    .sync = cuda_sync,
    .alloc_host = cuda_alloc_host,
    .release_host = cuda_release_host,
    .download_async = cuda_download_async,
    .mark = cuda_mark,
    .wait = cuda_wait,
    .replay = cuda_replay,
    .replay_free = cuda_replay_free,
    .range_push = cuda_range_push,
    .range_pop = cuda_range_pop,
    .has_profiler = true,
    .profiler = cuda_profiler,
    .bind = cuda_bind,
    .prepare = cuda_prepare,
    .unbind = cuda_unbind,
    .run = cuda_run,
    .profile = cuda_profile,
    .open_provider = cuda_choices_open,
    .implementation = cuda_implementation,
    .waves = cuda_waves,
    .bytes = cuda_op_bytes,
    .choices = cuda_choices,
    .run_op = cuda_run_op,
    .combine = state_combine,
    .randn = state_randn,
    .posterior = state_posterior,
    .to_u8 = state_to_u8,
};
