/* backend.c -- the table of CUDA ops: each unpacks an Op into the launcher structs of kernels/kernels.h. The same file
 * is backend "emu" where DG_EMU is defined: the kernels then run on the CPU (tests/cuda_on_cpu).
 *
 * A run is replayed as a CUDA graph (replay.h); inside a larger replay its launches become part of that one. Memory is computed
 * first: a graph that does not fit is refused before anything is allocated, with the bytes needed and free.               */
#include "kernels/kernels.h"
#include "device/cuda/choice.h"
#include "device/cuda/replay.h"
#include "device/cuda/norm_stats.h"
#include <stdlib.h>
#include <string.h>

typedef struct {          /* Exec.prep[i] */
    void *workspace;      /* of a convolution: where it leaves statistics for norms */
    bool own;             /* the workspace is this op's alone; else it is the Exec's scratch */
    ConvChoice *choice;   /* OP_CONV: the library that runs it, without leaving statistics; NULL: our own kernels */
    const float *moments; /* OP_NORM_BWD: what the forward norm left in its workspace, or NULL */
} OpPrep;
typedef struct {   /* Exec.state */
    void *scratch; /* one workspace for all ops whose workspace no later op reads */
    void *replays; /* of whole runs, by their rows */
} ExecState;

/* ---- ops --------------------------------------------------------------------------------------------------------------- */
static const Op *op_at(const Exec *e, int i) { return &e->g->op[i]; }
static void *data(const Exec *e, Tid t) { return t ? e->data[t] : NULL; }
static DType type(const Exec *e, Tid t) { return t ? e->g->t[t].dtype : DG_F32; }
static Shape shape(const Exec *e, Tid t) { return exec_shape(e, t); }
static int pixels(Shape s) { return s.h * s.w; }
static void *workspace(const Exec *e, int i) { return e->prep[i] ? ((const OpPrep *)e->prep[i])->workspace : NULL; }
static ConvChoice *choice(const Exec *e, int i) { return e->prep[i] ? ((const OpPrep *)e->prep[i])->choice : NULL; }
static const float *moments(const Exec *e, int i) { return e->prep[i] ? ((const OpPrep *)e->prep[i])->moments : NULL; }

/* Vectors are f32 and multiplied in f32. A 1x1 image in 16 bits is an image. */
static bool is_linear(const Exec *e, const Op *op) {
    bool f32 = type(e, op->in[0]) == DG_F32 && type(e, op->in[3]) == DG_F32 && type(e, op->out) == DG_F32;
    return f32 && is_vector(shape(e, op->in[0])) && conv_fits(conv_needs(e->g, op), CONV_SCALE | CONV_ACT | CONV_GATE | CONV_POSITIONS);
}
static ConvArgs conv_args(const Exec *e, int i) {
    const Op *op = op_at(e, i);
    Shape x = shape(e, op->in[0]), w = shape(e, op->in[1]), y = shape(e, op->out);
    return (ConvArgs){.x = data(e, op->in[0]),
                      .w = data(e, op->in[1]),
                      .bias = data(e, op->in[2]),
                      .add = data(e, op->in[3]),
                      .y = data(e, op->out),
                      .stats = workspace(e, i),
                      .x_type = type(e, op->in[0]),
                      .add_type = type(e, op->in[3]),
                      .y_type = type(e, op->out),
                      .tf32 = e->g->precision.tf32,
                      .gate = data(e, op->in[4]),
                      .add_kind = operand_of(e->g, op->in[3], op->out),
                      .n = x.n,
                      .height = x.h,
                      .width = x.w,
                      .c = x.c,
                      .k = w.n,
                      .r = w.h,
                      .s = w.w,
                      .out_height = y.h,
                      .out_width = y.w,
                      .options = op->conv,
                      .needs = conv_needs(e->g, op)};
}
static int run_conv(const Exec *e, int i, void *stream) {
    const Op *op = op_at(e, i);
    Shape x = shape(e, op->in[0]), w = shape(e, op->in[1]);
    if (is_linear(e, op)) {
        LinearArgs a = {.x = data(e, op->in[0]),
                        .w = data(e, op->in[1]),
                        .bias = data(e, op->in[2]),
                        .gate = data(e, op->in[4]),
                        .add = data(e, op->in[3]),
                        .y = data(e, op->out),
                        .add_kind = operand_of(e->g, op->in[3], op->out),
                        .n = x.n,
                        .c = x.c,
                        .k = w.n,
                        .scale = op->conv.scale,
                        .act = op->conv.act};
        return cuda_linear(&a, stream);
    }
    ConvArgs a = conv_args(e, i);
    return choice(e, i) ? conv_choice_run(choice(e, i), &a, stream) : cuda_conv(&a, stream);
}
/* Whether the convolutions before a norm (`from`, of cuda_stats_sources) leave their statistics: libraries do not. */
static bool leave_stats(const Exec *e, const int from[2]) { return !choice(e, from[0]) && (from[1] < 0 || !choice(e, from[1])); }
static NormArgs norm_args(const Exec *e, int i) {
    const Op *op = op_at(e, i);
    Shape x = shape(e, op->in[0]);
    NormArgs a = {.x = data(e, op->in[0]),
                  .dy = data(e, op->in[4]),
                  .y = data(e, op->out),
                  .gamma = data(e, op->in[1]),
                  .beta = data(e, op->in[2]),
                  .scale_shift = data(e, op->in[3]),
                  .x_type = type(e, op->in[0]),
                  .dy_type = type(e, op->in[4]),
                  .y_type = type(e, op->out),
                  .n = x.n,
                  .height = x.h,
                  .width = x.w,
                  .c = x.c,
                  .groups = op->norm.groups,
                  .eps = op->norm.eps,
                  .silu = op->norm.silu,
                  .workspace = workspace(e, i),
                  .moments = moments(e, i)};
    int from[2];
    if (cuda_stats_sources(e->g, i, from) && leave_stats(e, from))
        for (int k = 0; k < 2; k++)
            if (from[k] >= 0) a.stats[k] = workspace(e, from[k]), a.stats_c[k] = shape(e, op_at(e, from[k])->out).c;
    return a;
}
static int run_norm(const Exec *e, int i, void *stream) {
    NormArgs a = norm_args(e, i);
    return a.dy ? cuda_norm_bwd(&a, stream) : cuda_norm(&a, stream);
}
static AttnArgs attn_args(const Exec *e, int i) {
    const Op *op = op_at(e, i);
    Shape s = shape(e, op->in[0]);
    return (AttnArgs){.qkv = data(e, op->in[0]),
                      .dy = data(e, op->in[1]),
                      .y = data(e, op->out),
                      .qkv_type = type(e, op->in[0]),
                      .dy_type = type(e, op->in[1]),
                      .y_type = type(e, op->out),
                      .tf32 = e->g->precision.tf32,
                      .n = s.n,
                      .tokens = pixels(s),
                      .heads = op->attn.heads,
                      .d = s.c / 3 / op->attn.heads,
                      .workspace = workspace(e, i)};
}
static int run_attn(const Exec *e, int i, void *stream) {
    AttnArgs a = attn_args(e, i);
    return a.dy ? cuda_attn_bwd(&a, stream) : cuda_attn(&a, stream);
}
static int run_unary(const Exec *e, int i, void *stream) {
    const Op *op = op_at(e, i);
    UnaryArgs a = {.x = data(e, op->in[0]),
                   .dy = data(e, op->in[1]),
                   .y = data(e, op->out),
                   .x_type = type(e, op->in[0]),
                   .dy_type = type(e, op->in[1]),
                   .y_type = type(e, op->out),
                   .count = shape_count(shape(e, op->out)),
                   .f = op->unary.f,
                   .lo = op->unary.lo,
                   .hi = op->unary.hi};
    return a.dy ? cuda_unary_bwd(&a, stream) : cuda_unary(&a, stream);
}
static int run_add(const Exec *e, int i, void *stream) {
    const Op *op = op_at(e, i);
    Shape y = shape(e, op->out);
    AddArgs a = {.x = data(e, op->in[0]),
                 .z = data(e, op->in[1]),
                 .y = data(e, op->out),
                 .x_type = type(e, op->in[0]),
                 .z_type = type(e, op->in[1]),
                 .y_type = type(e, op->out),
                 .z_kind = operand_of(e->g, op->in[1], op->out),
                 .n = y.n,
                 .pixels = pixels(y),
                 .c = y.c,
                 .a = op->add.a,
                 .b = op->add.b};
    return cuda_add(&a, stream);
}
/* c channels of tensor `from` on into tensor `to`. */
static int copy_channels(const Exec *e, Tid from, int x_first, Tid to, int y_first, int c, void *stream) {
    Shape x = shape(e, from), y = shape(e, to);
    CopyChannelsArgs a = {.x = data(e, from),
                          .y = data(e, to),
                          .x_type = type(e, from),
                          .y_type = type(e, to),
                          .pixels = (size_t)x.n * (size_t)pixels(x),
                          .x_c = x.c,
                          .x_first = x_first,
                          .y_c = y.c,
                          .y_first = y_first,
                          .c = c};
    return cuda_copy_channels(&a, stream);
}
static int run_concat(const Exec *e, int i, void *stream) {
    const Op *op = op_at(e, i);
    int error = 0;
    for (int j = 0, first = 0; j < OP_INPUTS && op->in[j] && !error; j++) {
        int c = shape(e, op->in[j]).c;
        error = copy_channels(e, op->in[j], 0, op->out, first, c, stream);
        first += c;
    }
    return error;
}
static int run_slice(const Exec *e, int i, void *stream) {
    const Op *op = op_at(e, i);
    return copy_channels(e, op->in[0], op->slice.first, op->out, 0, shape(e, op->out).c, stream);
}
static int run_resample(const Exec *e, int i, void *stream) {
    const Op *op = op_at(e, i);
    Shape x = shape(e, op->in[0]), y = shape(e, op->out);
    ResampleArgs a = {.x = data(e, op->in[0]),
                      .y = data(e, op->out),
                      .x_type = type(e, op->in[0]),
                      .y_type = type(e, op->out),
                      .n = x.n,
                      .height = x.h,
                      .width = x.w,
                      .out_height = y.h,
                      .out_width = y.w,
                      .c = x.c,
                      .taps = op->resample.taps,
                      .pad = op->resample.pad,
                      .up = op->resample.up,
                      .scale = op->resample.scale};
    memcpy(a.tap, op->resample.tap, sizeof a.tap);
    return cuda_resample(&a, stream);
}
static int run_pool_tokens(const Exec *e, int i, void *stream) {
    const Op *op = op_at(e, i);
    bool backward = op->kind == OP_POOL_TOKENS_BWD;
    Shape image = shape(e, backward ? op->out : op->in[0]);
    PoolTokensArgs a = {.x = data(e, op->in[0]),
                        .embedding = data(e, op->in[1]),
                        .y = data(e, op->out),
                        .x_type = type(e, op->in[0]),
                        .y_type = type(e, op->out),
                        .n = image.n,
                        .pixels = pixels(image),
                        .c = image.c};
    return backward ? cuda_pool_tokens_bwd(&a, stream) : cuda_pool_tokens(&a, stream);
}
static int run_first_token(const Exec *e, int i, void *stream) {
    const Op *op = op_at(e, i);
    bool backward = op->kind == OP_FIRST_TOKEN_BWD;
    Shape tokens = shape(e, backward ? op->out : op->in[0]);
    FirstTokenArgs a = {.x = data(e, op->in[0]),
                        .y = data(e, op->out),
                        .x_type = type(e, op->in[0]),
                        .y_type = type(e, op->out),
                        .n = tokens.n,
                        .tokens = pixels(tokens),
                        .c = tokens.c};
    return backward ? cuda_first_token_bwd(&a, stream) : cuda_first_token(&a, stream);
}

static int run_pool(const Exec *e, int i, void *stream) {
    const Op *op = op_at(e, i);
    Shape x = shape(e, op->in[0]), y = shape(e, op->out);
    PoolArgs a = {.x = data(e, op->in[0]),
                  .y = data(e, op->out),
                  .x_type = type(e, op->in[0]),
                  .y_type = type(e, op->out),
                  .n = x.n,
                  .height = x.h,
                  .width = x.w,
                  .out_height = y.h,
                  .out_width = y.w,
                  .c = x.c,
                  .options = op->pool};
    return cuda_pool(&a, stream);
}
static ResizeArgs resize_args(const Exec *e, int i) {
    const Op *op = op_at(e, i);
    Shape x = shape(e, op->in[0]), y = shape(e, op->out);
    return (ResizeArgs){.x = data(e, op->in[0]),
                        .columns = data(e, op->in[1]),
                        .rows = data(e, op->in[2]),
                        .y = data(e, op->out),
                        .workspace = workspace(e, i),
                        .x_type = type(e, op->in[0]),
                        .y_type = type(e, op->out),
                        .n = x.n,
                        .height = x.h,
                        .width = x.w,
                        .out_height = y.h,
                        .out_width = y.w,
                        .c = x.c,
                        .column_taps = shape(e, op->in[1]).c - 1,
                        .row_taps = shape(e, op->in[2]).c - 1,
                        .options = op->resize};
}
static int run_resize(const Exec *e, int i, void *stream) {
    ResizeArgs a = resize_args(e, i);
    return cuda_resize(&a, stream);
}
static int run_pixel_norm(const Exec *e, int i, void *stream) {
    const Op *op = op_at(e, i);
    Shape x = shape(e, op->in[0]);
    PixelNormArgs a = {.x = data(e, op->in[0]),
                       .gamma = data(e, op->in[1]),
                       .beta = data(e, op->in[2]),
                       .shift_scale = data(e, op->in[3]),
                       .y = data(e, op->out),
                       .x_type = type(e, op->in[0]),
                       .y_type = type(e, op->out),
                       .n = x.n,
                       .pixels = pixels(x),
                       .c = x.c,
                       .eps = op->pixel_norm.eps,
                       .rms = op->pixel_norm.rms};
    return cuda_pixel_norm(&a, stream);
}
static int run_gate(const Exec *e, int i, void *stream) {
    const Op *op = op_at(e, i);
    Shape x = shape(e, op->in[0]);
    GateArgs a = {.x = data(e, op->in[0]),
                  .gate = data(e, op->in[1]),
                  .residual = data(e, op->in[2]),
                  .y = data(e, op->out),
                  .x_type = type(e, op->in[0]),
                  .residual_type = type(e, op->in[2]),
                  .y_type = type(e, op->out),
                  .n = x.n,
                  .pixels = pixels(x),
                  .c = x.c};
    return cuda_gate(&a, stream);
}
static int run_depth_to_space(const Exec *e, int i, void *stream) {
    const Op *op = op_at(e, i);
    Shape x = shape(e, op->in[0]);
    DepthToSpaceArgs a = {.x = data(e, op->in[0]),
                          .y = data(e, op->out),
                          .x_type = type(e, op->in[0]),
                          .y_type = type(e, op->out),
                          .n = x.n,
                          .height = x.h,
                          .width = x.w,
                          .c = shape(e, op->out).c,
                          .p = op->depth_to_space.p};
    return cuda_depth_to_space(&a, stream);
}
static int run_softmax(const Exec *e, int i, void *stream) {
    const Op *op = op_at(e, i);
    Shape x = shape(e, op->in[0]);
    SoftmaxArgs a = {.x = data(e, op->in[0]), .y = data(e, op->out), .n = x.n, .c = x.c, .log = op->softmax.log};
    return cuda_softmax(&a, stream);
}

static int launch(const Exec *e, int i, void *stream) {
    switch (op_at(e, i)->kind) {
    case OP_CONV: return run_conv(e, i, stream);
    case OP_NORM:
    case OP_NORM_BWD: return run_norm(e, i, stream);
    case OP_ATTN:
    case OP_ATTN_BWD: return run_attn(e, i, stream);
    case OP_UNARY:
    case OP_UNARY_BWD: return run_unary(e, i, stream);
    case OP_ADD: return run_add(e, i, stream);
    case OP_CONCAT: return run_concat(e, i, stream);
    case OP_SLICE: return run_slice(e, i, stream);
    case OP_RESAMPLE: return run_resample(e, i, stream);
    case OP_POOL_TOKENS:
    case OP_POOL_TOKENS_BWD: return run_pool_tokens(e, i, stream);
    case OP_FIRST_TOKEN:
    case OP_FIRST_TOKEN_BWD: return run_first_token(e, i, stream);
    case OP_POOL: return run_pool(e, i, stream);
    case OP_RESIZE: return run_resize(e, i, stream);
    case OP_PIXEL_NORM: return run_pixel_norm(e, i, stream);
    case OP_GATE: return run_gate(e, i, stream);
    case OP_DEPTH_TO_SPACE: return run_depth_to_space(e, i, stream);
    case OP_SOFTMAX: return run_softmax(e, i, stream);
    }
    return cudaErrorInvalidValue;
}
static void cuda_run_op(const Exec *e, int i) {
    const char *name = op_name(op_at(e, i)->kind);
    cuda_range_push(name);
    cuda_check(launch(e, i, cuda_stream(e->dev)), name);
    cuda_range_pop();
}

/* ---- memory ------------------------------------------------------------------------------------------------------------ */
static bool is_image_conv(const Exec *e, const Op *op) { return op->kind == OP_CONV && !is_linear(e, op); }
/* Op i is a norm's gradient: the forward norm before it that has computed the same moments. Else -1. */
static int forward_norm(const Exec *e, int i) {
    const Op *b = op_at(e, i);
    for (int j = 0; b->kind == OP_NORM_BWD && j < i; j++) {
        const Op *f = op_at(e, j);
        if (f->kind == OP_NORM && f->in[0] == b->in[0] && f->norm.groups == b->norm.groups && f->norm.eps == b->norm.eps) return j;
    }
    return -1;
}
static bool is_read_later(const Exec *e, int i) { /* op i's workspace */
    if (op_at(e, i)->kind == OP_CONV) return cuda_stats_bytes(e->g, i) > 0;
    for (int j = i + 1; op_at(e, i)->kind == OP_NORM && j < e->g->nop; j++)
        if (forward_norm(e, j) == i) return true;
    return false;
}
static size_t workspace_bytes(const Exec *e, int i) {
    static const float there; /* stands for memory that is not allocated yet: only whether there will be some matters */
    const Op *op = op_at(e, i);
    if (op->kind == OP_NORM || op->kind == OP_NORM_BWD) {
        NormArgs a = norm_args(e, i);
        int from[2];
        a.dy = op->in[4] ? &there : NULL;
        a.stats[0] = cuda_stats_sources(e->g, i, from) && !e->dev->autotune ? &there : NULL;
        return cuda_norm_workspace(&a);
    }
    if (op->kind == OP_ATTN || op->kind == OP_ATTN_BWD) {
        AttnArgs a = attn_args(e, i);
        a.dy = op->in[1] ? &there : NULL;
        return cuda_attn_workspace(&a);
    }
    if (op->kind == OP_RESIZE) {
        ResizeArgs a = resize_args(e, i);
        return cuda_resize_workspace(&a);
    }
    return cuda_stats_bytes(e->g, i);
}
static size_t scratch_bytes(const Exec *e) {
    size_t most = 0;
    for (int i = 0; i < e->g->nop; i++) {
        size_t bytes = is_read_later(e, i) ? 0 : workspace_bytes(e, i);
        if (bytes > most) most = bytes;
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
        if (is_read_later(e, i)) workspaces += taken_by(workspace_bytes(e, i));
        for (int j = 0; j < OP_INPUTS; j++) {
            Tid t = g->op[i].in[j];
            if (!t || in_arena(&g->t[t]) || seen[t]) continue;
            seen[t] = true;
            weights +=
                taken_by(j == 1 && is_image_conv(e, op_at(e, i)) ? conv_packed_bytes(shape(e, t), type(e, t)) : tensor_bytes(&e->g->t[t]));
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
    Shape s = shape(e, t);
    size_t raw = tensor_bytes(&e->g->t[t]), packed = conv_packed_bytes(s, type(e, t));
    if (packed == raw) return true;
    int first = i;
    for (int j = 0; j < e->g->nop; j++)
        for (int k = 0; k < OP_INPUTS; k++) {
            if (op_at(e, j)->in[k] != t) continue;
            GRAPH_CHECK(k == 1 && is_image_conv(e, op_at(e, j)), "weight %s belongs to an image convolution and is read by an op %s too",
                        e->g->t[t].name, op_name(op_at(e, j)->kind));
            if (j < first) first = j;
        }
    if (first < i) return true;
    char *host = dg_alloc(raw + packed);
    cuda_download(e->dev, host, e->data[t], raw);
    conv_pack(host + raw, host, s, type(e, t));
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
    if (is_image_conv(e, op_at(e, i))) {
        if (!pack_weight(e, i, err)) return false;
        ConvArgs a = conv_args(e, i);
        if (e->dev->autotune && !conv_choose(e->dev, &a, &p->choice, err)) return false;
    }
    int forward = forward_norm(e, i);
    if (forward >= 0) p->moments = workspace(e, forward);
    size_t bytes = workspace_bytes(e, i);
    p->own = is_read_later(e, i);
    if (!p->own) p->workspace = bytes ? ((const ExecState *)e->state)->scratch : NULL;
    if (!p->own || !bytes) return true;
    e->workspace_bytes += bytes;
    return allocate(e, &p->workspace, bytes, op_name(op_at(e, i)->kind), err);
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
        free(p);
    }
    if (s->scratch) cuda_release(e->dev, s->scratch);
    free(s);
}
static const char *cuda_implementation(const Exec *e, int i) { return conv_choice_name(choice(e, i)); }
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
static void state_to_u8(Device *d, uint8_t *out, const double *x, int n, size_t per_sample, int *bad) {
    cuda_check(cuda_to_u8(out, x, n, per_sample, bad, cuda_stream(d)), "to_u8");
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
    .bind = cuda_bind,
    .prepare = cuda_prepare,
    .unbind = cuda_unbind,
    .run = cuda_run,
    .profile = cuda_profile,
    .implementation = cuda_implementation,
    .choices = cuda_choices,
    .run_op = cuda_run_op,
    .combine = state_combine,
    .randn = state_randn,
    .to_u8 = state_to_u8,
};
