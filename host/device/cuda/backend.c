/* backend.c -- the CUDA backend: the memory of a graph, its preparation, its runs. The same file is backend "emu" where DG_EMU is
 * defined: the kernels then run on the CPU (tests/cuda_on_cpu).
 *
 * A run is replayed as a CUDA graph (replay.h); inside a larger replay its launches become part of that one. Memory is computed
 * first: a graph that does not fit is refused before anything is allocated, with the bytes needed and free.               */
#include "device/cuda/ops.h"
#include "device/cuda/replay.h"
#include "device/cuda/norm_fold.h"
#include "device/cuda/norm_stats.h"
#include <stdlib.h>
#include <string.h>

typedef struct {   /* Exec.state */
    void *scratch; /* one workspace for all ops whose workspace no later op reads */
    void *replays; /* of whole runs, by their rows */
} ExecState;

static void cuda_run_op(const Exec *e, int i) {
    const char *name = op_name(op_at(e, i)->kind);
    cuda_name_push(name);
    cuda_check(cuda_launch(e, i, cuda_stream(e->dev)), name);
    cuda_name_pop();
}

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
            weights += taken_by(j == 1 && cuda_is_image_conv(e, op_at(e, i)) ? conv_packed_bytes(g->t[t].shape, g->t[t].dtype)
                                                                             : tensor_bytes(&g->t[t]));
        }
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
    cuda_release(e->dev, e->data[t]); /* first: raw and packed together may exceed what bind allowed */
    e->data[t] = NULL;
    bool ok = allocate(e, &e->data[t], packed, e->g->t[t].name, err);
    if (ok) {
        cuda_upload(e->dev, e->data[t], host + raw, packed);
        e->weight_bytes += packed - raw;
    }
    free(host);
    return ok;
}
static bool cuda_bind(Exec *e, Error *err) {
    if (!admit(e, err)) return false;
    ExecState *s = e->state = dg_alloc(sizeof *s);
    size_t bytes = e->workspace_bytes = scratch_bytes(e);
    return !bytes || allocate(e, &s->scratch, bytes, "workspaces", err);
}
static bool cuda_prepare(Exec *e, int i, Error *err) {
    OpPrep *p = e->prep[i] = dg_alloc(sizeof *p);
    if (cuda_is_image_conv(e, op_at(e, i)) && !pack_weight(e, i, err)) return false;
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
    if (e->dev->provider == DEVICE_OWN || !cuda_is_image_conv(e, op_at(e, i))) return true;
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
        if (p->kept) cuda_release(e->dev, p->kept);
        free(p);
    }
    if (s->scratch) cuda_release(e->dev, s->scratch);
    free(s);
}
static const char *cuda_implementation(const Exec *e, int i) { return conv_choice_name(op_choice(e, i)); }
static void run_ops(void *exec, WorkShape unused) { /* of e->rows images */
    const Exec *e = exec;
    (void)unused;
    for (int i = 0; i < e->g->nop; i++) cuda_run_op(e, i);
}
static void cuda_run(Exec *e) {
    ExecState *s = e->state;
    if (e->g->nop) cuda_replay(e->dev, &s->replays, (WorkShape){.rows = e->rows}, run_ops, e);
}
/* Ops are timed by events inside one captured graph, so that gaps between launches do not count. */
typedef struct {
    const Exec *e;
    cudaEvent_t *event; /* [nop + 1] */
} Timed;
static void run_timed(void *timed, WorkShape unused) {
    const Timed *t = timed;
    cudaStream_t stream = cuda_stream(t->e->dev);
    (void)unused;
    for (int i = 0; i <= t->e->g->nop; i++) {
        cuda_check(cudaEventRecordWithFlags(t->event[i], stream, cudaEventRecordExternal), "cudaEventRecord");
        if (i < t->e->g->nop) cuda_run_op(t->e, i);
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
        for (int i = 0; i < n; i++) {
            float ms;
            cuda_check(cudaEventElapsedTime(&ms, event[i], event[i + 1]), "cudaEventElapsedTime");
            seconds[i] += (double)ms * 1e-3 / repeats;
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
    .choices = cuda_choices,
    .run_op = cuda_run_op,
    .combine = state_combine,
    .randn = state_randn,
    .posterior = state_posterior,
    .to_u8 = state_to_u8,
};
