/* ops.c -- each op unpacked into the launcher structs of kernels/kernels.h, and the memory that it works in. */
#include "device/cuda/ops.h"
#include "device/cuda/norm_fold.h"
#include "device/cuda/norm_stats.h"
#include "device/cuda/pooled.h"
#include "device/cuda/upsampled.h"
#include <cuda_runtime_api.h>
#include <string.h>

static void *data(const Exec *e, Tid t) { return t ? e->data[t] : NULL; }
static DType type(const Exec *e, Tid t) { return t ? e->g->t[t].dtype : DG_F32; }
static Shape shape(const Exec *e, Tid t) { return exec_shape(e, t); }
static int pixels(Shape s) { return s.h * s.w; }

/* Vectors are f32 and multiplied in f32. A 1x1 image in 16 bits is an image. */
static bool is_linear(const Exec *e, const Op *op) {
    bool f32 = type(e, op->in[0]) == DG_F32 && type(e, op->in[3]) == DG_F32 && type(e, op->out) == DG_F32;
    return f32 && is_vector(shape(e, op->in[0])) && conv_fits(conv_needs(e->g, op), CONV_SCALE | CONV_ACT | CONV_GATE | CONV_POSITIONS);
}
static void *first_of(void *a, void *b) { return a ? a : b; }
size_t cuda_skip_bytes(const Exec *e, const Op *op, int j) {
    Tid x = op->in[5 + j];
    return x ? conv_packed_bytes((Shape){shape(e, op->in[7]).n, 1, 1, shape(e, x).c}, type(e, x)) : 0;
}
ConvArgs cuda_conv_args(const Exec *e, int i) {
    const Op *op = op_at(e, i);
    Shape x = shape(e, op->in[0]), w = shape(e, op->in[1]), y = shape(e, op->out);
    const Cuda *c = e->dev->impl;
    char *skip_w = data(e, op->in[7]);
    return (ConvArgs){.x = data(e, op->in[0]),
                      .w = data(e, op->in[1]),
                      .bias = first_of(op_bias(e, i), first_of(data(e, op->in[2]), data(e, op->in[8]))),
                      .add = data(e, op->in[3]),
                      .y = data(e, op->out),
                      .stats = op_workspace(e, i),
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
                      .skip = {data(e, op->in[5]), data(e, op->in[6])},
                      .skip_w = {skip_w, op->in[6] ? skip_w + cuda_skip_bytes(e, op, 0) : NULL},
                      .skip_c = {shape(e, op->in[5]).c, shape(e, op->in[6]).c},
                      .needs = conv_needs(e->g, op),
                      .capability = c->capability,
                      .multiprocessors = c->multiprocessors};
}
static LinearArgs linear_args(const Exec *e, int i) {
    const Op *op = op_at(e, i);
    Shape x = shape(e, op->in[0]), w = shape(e, op->in[1]);
    return (LinearArgs){.x = data(e, op->in[0]),
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
                        .act = op->conv.act,
                        .tensor_cores = e->g->precision.act != DG_F32 || e->g->precision.tf32,
                        .multiprocessors = ((const Cuda *)e->dev->impl)->multiprocessors};
}
/* A linear layer of x and weights alone, whose output somebody reads later: until then nothing else has its memory. */
static bool may_share_launch(const Exec *e, int i) {
    const Op *op = op_at(e, i);
    return op->kind == OP_CONV && is_linear(e, op) && !op->in[3] && !op->in[4] && e->g->t[op->out].last > i;
}
int cuda_group(const Exec *e, int i) {
    int n = 1;
    if (!may_share_launch(e, i)) return n;
    while (i + n < e->g->nop && n < LINEAR_LAYERS && may_share_launch(e, i + n) && op_at(e, i + n)->in[0] == op_at(e, i)->in[0]) n++;
    return n;
}
static int run_conv(const Exec *e, int i, int ops, void *stream) {
    if (is_linear(e, op_at(e, i))) {
        LinearArgs a[LINEAR_LAYERS];
        for (int k = 0; k < ops; k++) a[k] = linear_args(e, i + k);
        return cuda_linear(a, ops, stream);
    }
    ConvArgs a = cuda_conv_args(e, i);
    NormFold f;
    if (cuda_fold_maker(e, i, &f)) return cuda_run_fold_maker(e, &f, a, stream);
    if (cuda_fold_reader(e, i, &f)) return cuda_run_fold_reader(e, i, &f, a, stream);
    cuda_up_args(e, i, &a);
    return op_choice(e, i) ? conv_choice_run(op_choice(e, i), &a, stream) : cuda_conv(&a, stream);
}
NormArgs cuda_norm_args(const Exec *e, int i) {
    const Op *op = op_at(e, i);
    Shape x = shape(e, op->out);
    NormArgs a = {.x = data(e, op->in[0]),
                  .more = data(e, op->in[6]),
                  .dy = data(e, op->in[4]),
                  .add = data(e, op->in[5]),
                  .y = data(e, op->out),
                  .gamma = data(e, op->in[1]),
                  .beta = data(e, op->in[2]),
                  .scale_shift = data(e, op->in[3]),
                  .x_type = type(e, op->in[0]),
                  .dy_type = type(e, op->in[4]),
                  .add_type = type(e, op->in[5]),
                  .y_type = type(e, op->out),
                  .n = x.n,
                  .height = x.h,
                  .width = x.w,
                  .c = x.c,
                  .x_c = shape(e, op->in[0]).c,
                  .groups = op->norm.groups,
                  .eps = op->norm.eps,
                  .silu = op->norm.silu,
                  .multiprocessors = ((const Cuda *)e->dev->impl)->multiprocessors,
                  .workspace = op_workspace(e, i),
                  .moments = op_forward(e, i)};
    int from[2];
    if (cuda_stats_sources(e->g, i, from))
        for (int k = 0; k < 2; k++)
            if (from[k] >= 0) a.stats[k] = op_workspace(e, from[k]), a.stats_c[k] = shape(e, op_at(e, from[k])->out).c;
    cuda_pooled_args(e, i, &a);
    return a;
}
static int run_norm(const Exec *e, int i, void *stream) {
    NormArgs a = cuda_norm_args(e, i);
    return a.dy ? cuda_norm_bwd(&a, stream) : cuda_norm(&a, stream);
}
static bool same_norm(const Op *a, const Op *b) { return a->norm.groups == b->norm.groups && a->norm.eps == b->norm.eps; }
int cuda_forward_of(const Exec *e, int i) {
    const Op *b = op_at(e, i);
    for (int j = 0; (b->kind == OP_NORM_BWD || b->kind == OP_ATTN_BWD) && j < i; j++) {
        const Op *f = op_at(e, j);
        if (f->in[0] != b->in[0] || f->in[6] != b->in[6]) continue;
        if (b->kind == OP_NORM_BWD && f->kind == OP_NORM && same_norm(f, b)) return j;
        if (b->kind == OP_ATTN_BWD && f->kind == OP_ATTN && f->attn.heads == b->attn.heads) return j;
    }
    return -1;
}
static AttnArgs attn_args(const Exec *e, int i) {
    const Op *op = op_at(e, i);
    Shape s = shape(e, op->in[0]);
    const Cuda *c = e->dev->impl;
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
                      .workspace = op_workspace(e, i),
                      .kept = op->kind == OP_ATTN ? op_workspace(e, i) : op_forward(e, i),
                      .capability = c->capability,
                      .multiprocessors = c->multiprocessors};
}
/* Bytes that attention op i leaves for gradients of it. */
static size_t attn_kept(const Exec *e, int i) {
    size_t most = 0;
    for (int j = i + 1; j < e->g->nop; j++) {
        if (cuda_forward_of(e, j) != i) continue;
        AttnArgs backward = attn_args(e, j);
        size_t bytes = cuda_attn_kept(&backward);
        if (bytes > most) most = bytes;
    }
    return most;
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
    if (cuda_up_left_out(e, i) || cuda_pooled_left_out(e, i)) return 0;
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
                        .workspace = op_workspace(e, i),
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
    NormFold f;
    if (cuda_norm_folded(e, i, &f)) return 0;
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

int cuda_launch(const Exec *e, int i, int ops, void *stream) {
    switch (op_at(e, i)->kind) {
    case OP_CONV: return run_conv(e, i, ops, stream);
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

bool cuda_is_image_conv(const Exec *e, const Op *op) { return op->kind == OP_CONV && !is_linear(e, op); }
size_t cuda_workspace_bytes(const Exec *e, int i) {
    static const float there; /* stands for memory that is not allocated yet: only whether there will be some matters */
    const Op *op = op_at(e, i);
    if (op->kind == OP_NORM || op->kind == OP_NORM_BWD) {
        NormArgs a = cuda_norm_args(e, i);
        int from[2];
        a.dy = op->in[4] ? &there : NULL, a.add = op->in[5] ? &there : NULL;
        a.stats[0] = cuda_stats_sources(e->g, i, from) ? &there : NULL;
        return cuda_norm_workspace(&a);
    }
    if (op->kind == OP_ATTN) return attn_kept(e, i);
    if (op->kind == OP_ATTN_BWD) {
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

static bool is_left_out(const Exec *e, int i) { return i >= 0 && (cuda_up_left_out(e, i) || cuda_pooled_left_out(e, i)); }
/* By how much one tensor has fewer bytes than another that would be there instead. */
static double saved(const Exec *e, Tid large, Tid small) {
    return (double)tensor_bytes(&e->g->t[large]) - (double)tensor_bytes(&e->g->t[small]);
}
double cuda_op_bytes(const Exec *e, int i) {
    const Op *op = op_at(e, i);
    Pooled p;
    if (op->kind == OP_RESAMPLE && is_left_out(e, i)) return 0;
    double bytes = cuda_fold_bytes(e, i);
    for (int j = 0; j < OP_INPUTS; j++) { /* read as it would be upsampled */
        int from = op->in[j] ? e->g->t[op->in[j]].producer : -1;
        if (from >= 0 && op_at(e, from)->kind == OP_RESAMPLE && op_at(e, from)->resample.up && is_left_out(e, from))
            bytes -= saved(e, op->in[j], op_at(e, from)->in[0]);
    }
    bool pools = op->kind == OP_NORM && cuda_pooled_candidate(e->g, i, &p) && is_left_out(e, p.down);
    return pools ? bytes - saved(e, op->out, op_at(e, p.down)->out) : bytes;
}
