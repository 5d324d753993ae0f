/* kernels.h -- the launchers of kernels/ as plain C functions; nothing else. host/device/cuda is their only caller.
 *
 * Each checks nothing (shapes were checked in graph.c), allocates nothing and only enqueues work on `stream` (a
 * cudaStream_t); it returns 0 or the cudaError_t of the launch. All tensors are NHWC and lie in device memory, aligned to
 * DG_ALIGN at their first element; `n` is the number of images. Vectors ({n,1,1,c}), biases, gammas, betas and positional
 * embeddings are f32; every other tensor has the type given beside it: DG_F32, DG_F16 or DG_BF16, in any mixture.
 * The result for an image depends on that image alone, bit for bit: never on n or on its place.                          */
#ifndef DG_KERNELS_H
#define DG_KERNELS_H
#include "base/posterior.h"
#include "graph/graph.h"
#ifdef __cplusplus
extern "C" {
#endif

/* Statistics of a tensor {n,height,width,c}: for each image, each segment of NORM_SEGMENT of its pixels in order (the last
 * may be shorter) and each channel, the mean of the stored values and the sum of their squares about it, in f32: [image][segment][c][2]. */
enum { NORM_SEGMENT = 64 };
/* A pixel norm y = (x - mean) / sqrt(var + eps) * (1 + scale) + shift that is not run: who makes x in f32 leaves copy and partial, who
 * would read y reads copy, with moments and rows. All NULL: nothing of it. */
enum { FOLD_COLUMNS = 64 }; /* that a partial moment is of */
#define FOLD_SCALE 0x1p-6f
typedef struct {
    void *copy;               /* maker: x * (1 + scale) * FOLD_SCALE, of the type of the products */
    const float *shift_scale; /* maker: {n,2k}, of the norm */
    float *partial;           /* maker: [k / FOLD_COLUMNS][rows of y][2]: mean and sum of squares about it */
    const float *moments;     /* reader: [rows][2]: of cuda_fold_moments */
    const float *rows;        /* reader: {n,2,k}: the weight times the rows of cuda_fold_rows, in f32 */
} ConvFold;
typedef struct {
    const float *partial;
    float *moments; /* [rows][2]: 1 / (deviation * FOLD_SCALE), -mean / deviation */
    int rows, c;    /* c: channels of a row, whole FOLD_COLUMNS */
    float eps;
} FoldMomentsArgs;
int cuda_fold_moments(const FoldMomentsArgs *a, void *stream);
typedef struct {
    const float *shift_scale; /* {n,2c}, c in whole runs of 8 */
    void *rows;               /* {n,2,c}: 1 + scale, then shift, of `type` */
    DType type;
    int n, c;
} FoldRowsArgs;
int cuda_fold_rows(const FoldRowsArgs *a, void *stream);

/* An input of a convolution that is the nearest-neighbour upsampling by 2 of a smaller one may be given as that: x, the skip's only one, or
 * `add`, one of them. x is then {n,height,width,c} of half the output's lines and columns, and so are the others. */
enum { UP_X = 1, UP_SKIP = 2, UP_ADD = 4 };
/* The weight is then, with UP_X, {k,UP_PHASES,UP_TAPS,UP_TAPS,c}: of outputs in even and odd lines, of them in even and odd columns, a filter
 * of the small image's pixels that begins at the one before that of an even output, and at that of an odd one. */
enum { UP_PHASES = 4, UP_TAPS = 2 };
typedef struct {       /* OP_CONV on images: y = act(scale * ((conv(x, w) + bias) * gate + add)), padded with zeros; with a skip, below */
    const void *x, *w; /* {n,h,w,c}, and the packed weight (conv_packed_bytes, conv_pack), both of x_type */
    const float *bias; /* [k] or NULL */
    const void *add;   /* by add_kind: NULL, as y, {n,1,1,k}, or one image of y (positions) */
    const float *gate; /* {n,k} or NULL */
    void *y;           /* {n,out_height,out_width,k} */
    float *stats;      /* optional, only where an image of y is whole segments: receives the statistics of y */
    DType x_type, add_type, y_type;
    bool tf32; /* x_type is f32: multiply on tensor cores, operands rounded to tf32; else every product in f32 */
    Operand add_kind;
    int n, height, width, c, k, r, s, out_height, out_width;
    ConvOptions options;
    /* Instead of gate and add: conv1x1 of one or two further inputs {n,out_height,out_width,skip_c}, each with a packed weight
       {k,1,1,skip_c}, both of x_type; bias is then that of both convolutions. NULL: none */
    const void *skip[2], *skip_w[2];
    int skip_c[2];
    unsigned needs;                  /* conv_needs */
    unsigned up;                     /* what is given at half the size (cuda_conv_goes_up); 0: nothing */
    int capability, multiprocessors; /* of the device: 90 for 9.0 */
    ConvFold fold;
} ConvArgs;
int cuda_conv(const ConvArgs *a, void *stream);
/* How many times its blocks of work fill the device's multiprocessors. The last, part of a wave takes as long as a whole one. 0: not
   known. */
double cuda_conv_waves(const ConvArgs *a);
bool cuda_conv_goes_up(const ConvArgs *a); /* whether it can read what a->up says: by shapes, types and `needs` alone */
bool cuda_conv_leaves(const ConvArgs *a);  /* whether it can leave what a norm that is not run needs: by shapes, types and `needs` alone */
bool cuda_conv_folds(const ConvArgs *a);   /* whether it can read such a norm, by the same */
/* What is left to do where y holds conv(x, w) alone, rounded to y_type: y = act(scale * ((y + bias) * gate + add)) in place. */
int cuda_conv_finish(const ConvArgs *a, void *stream);
/* The kernel's own layout of a weight {K,R,S,C}: channels padded with zeros to whole 16-byte pieces. Host memory. */
size_t conv_packed_bytes(Shape weight, DType type);
void conv_pack(void *packed, const void *weight, Shape shape, DType type);

typedef struct { /* OP_CONV on vectors: y = act(scale * ((x w^T + bias) * gate + add)); all f32, to f32's accuracy */
    const float *x, *w, *bias, *gate, *add; /* {n,c}, {k,c}, [k] or NULL, {n,k} or NULL, by add_kind as in ConvArgs */
    float *y;                               /* {n,k} */
    Operand add_kind;
    int n, c, k;
    float scale;
    Act act;
    bool tensor_cores;   /* may make the products of large layers, each of three */
    int multiprocessors; /* of the device */
} LinearArgs;
/* Of layers that read the same x, and nothing that another of them writes: large ones by one launch. The same bits as each alone. */
enum { LINEAR_LAYERS = 48 };
int cuda_linear(const LinearArgs *a, int layers, void *stream);

typedef struct {                             /* OP_NORM, and OP_NORM_BWD with dy */
    const void *x, *dy, *add;                /* {n,height,width,c}; dy: backward only, as add, which may be NULL: added to dx */
    const void *more;                        /* forward only: x has x_c channels, and this the rest, in the same type; or NULL */
    void *y;                                 /* the output: y, or dx */
    const float *gamma, *beta, *scale_shift; /* [c], [c], {n,2c} or NULL */
    DType x_type, dy_type, add_type, y_type;
    int n, height, width, c, x_c, groups;
    float eps;
    bool silu;
    int multiprocessors;   /* of the device */
    void *workspace;       /* cuda_norm_workspace(a) bytes: of this op alone */
    const float *stats[2]; /* optional: statistics of x's channels [0, stats_c[0]) as ConvArgs.stats, then of the rest */
    int stats_c[2];
    const float *moments; /* optional, backward only: the workspace of a forward norm of the same x, groups and eps that
                              ran before: it starts with mean and 1/deviation of each {image, group} */
    float down;           /* forward only: 0, or y is {n,height/2,width/2,c}, this times the sum of each four pixels */
    float up;             /* backward only: 0, or dy and add are {n,height/2,width/2,c}, and each of four pixels gets this times theirs */
} NormArgs;
/* Whether down or up may be set: 16 bits, one type, channels in whole runs. */
bool cuda_norm_resamples(const NormArgs *a);
size_t cuda_norm_workspace(const NormArgs *a);
int cuda_norm(const NormArgs *a, void *stream);
int cuda_norm_bwd(const NormArgs *a, void *stream);

typedef struct {          /* OP_ATTN, and OP_ATTN_BWD with dy */
    const void *qkv, *dy; /* {n,tokens,3*heads*d} channels [3][head][d]; dy {n,tokens,heads*d}: backward only */
    void *y;              /* {n,tokens,heads*d}; backward: d qkv */
    DType qkv_type, dy_type, y_type;
    bool tf32;
    int n, tokens, heads, d;
    int capability, multiprocessors; /* of the device, as in ConvArgs */
    void *workspace;                 /* cuda_attn_workspace(a) bytes, as for NormArgs */
    void *kept; /* cuda_attn_kept bytes of the backward, where that is more than none. Forward: receives what a backward of the same
                        qkv and heads wants, or NULL; backward: what that forward left */
} AttnArgs;
size_t cuda_attn_workspace(const AttnArgs *a);
size_t cuda_attn_kept(const AttnArgs *backward);
int cuda_attn(const AttnArgs *a, void *stream);
int cuda_attn_bwd(const AttnArgs *a, void *stream);

typedef struct { /* OP_UNARY; OP_UNARY_BWD with dy */
    const void *x, *dy;
    void *y;
    DType x_type, dy_type, y_type;
    size_t count;
    UnaryKind f;
    float lo, hi;
} UnaryArgs;
int cuda_unary(const UnaryArgs *a, void *stream);
int cuda_unary_bwd(const UnaryArgs *a, void *stream);

typedef struct {       /* OP_ADD: y = a*x + b*z */
    const void *x, *z; /* {n,pixels,c}; z by z_kind: NULL, the same, {n,1,c}, or {1,pixels,c} */
    void *y;
    DType x_type, z_type, y_type;
    Operand z_kind;
    int n, pixels, c;
    float a, b;
} AddArgs;
int cuda_add(const AddArgs *a, void *stream);

typedef struct {   /* one run of channels into another tensor: OP_SLICE is one of these, OP_CONCAT one for each input */
    const void *x; /* [pixels][x_c], channels [x_first, x_first + c) are read */
    void *y;       /* [pixels][y_c], channels [y_first, y_first + c) are written */
    DType x_type, y_type;
    size_t pixels; /* of all images */
    int x_c, x_first, y_c, y_first, c;
} CopyChannelsArgs;
int cuda_copy_channels(const CopyChannelsArgs *a, void *stream);

typedef struct {   /* OP_RESAMPLE */
    const void *x; /* {n,height,width,c} */
    void *y;       /* {n,out_height,out_width,c} */
    DType x_type, y_type;
    int n, height, width, out_height, out_width, c, taps, pad;
    bool up;
    float tap[RESAMPLE_TAPS], scale;
} ResampleArgs;
int cuda_resample(const ResampleArgs *a, void *stream);

typedef struct {            /* OP_POOL_TOKENS; backward: x = d out {n,1+pixels,c}, y = d in {n,pixels,c}, embedding NULL */
    const void *x;          /* {n,pixels,c} */
    const float *embedding; /* [1+pixels][c] */
    void *y;                /* {n,1+pixels,c} */
    DType x_type, y_type;
    int n, pixels, c;
} PoolTokensArgs;
int cuda_pool_tokens(const PoolTokensArgs *a, void *stream);
int cuda_pool_tokens_bwd(const PoolTokensArgs *a, void *stream);

typedef struct { /* OP_FIRST_TOKEN: {n,tokens,c} -> {n,c}; backward {n,c} -> {n,tokens,c}, zero but for token 0 */
    const void *x;
    void *y;
    DType x_type, y_type;
    int n, tokens, c;
} FirstTokenArgs;
int cuda_first_token(const FirstTokenArgs *a, void *stream);
int cuda_first_token_bwd(const FirstTokenArgs *a, void *stream);

typedef struct {   /* OP_POOL */
    const void *x; /* {n,height,width,c} */
    void *y;       /* {n,out_height,out_width,c} */
    DType x_type, y_type;
    int n, height, width, out_height, out_width, c;
    PoolOptions options;
} PoolArgs;
int cuda_pool(const PoolArgs *a, void *stream);

typedef struct {                  /* OP_RESIZE */
    const void *x;                /* {n,height,width,c} */
    const double *columns, *rows; /* [out_width][1 + column_taps], [out_height][1 + row_taps] */
    void *y;                      /* {n,out_height,out_width,c} */
    void *workspace;              /* cuda_resize_workspace(a) bytes, as for NormArgs */
    DType x_type, y_type;
    int n, height, width, out_height, out_width, c, column_taps, row_taps;
    ResizeOptions options;
} ResizeArgs;
size_t cuda_resize_workspace(const ResizeArgs *a);
int cuda_resize(const ResizeArgs *a, void *stream);

typedef struct {                             /* OP_PIXEL_NORM */
    const void *x;                           /* {n,pixels,c} */
    const float *gamma, *beta, *shift_scale; /* [c] or NULL, [c] or NULL, {n,2c} or NULL */
    void *y;
    DType x_type, y_type;
    int n, pixels, c;
    float eps;
    bool rms;
} PixelNormArgs;
int cuda_pixel_norm(const PixelNormArgs *a, void *stream);

typedef struct { /* OP_GATE */
    const void *x;
    const float *gate;    /* {n,c} */
    const void *residual; /* or NULL */
    void *y;
    DType x_type, residual_type, y_type;
    int n, pixels, c;
} GateArgs;
int cuda_gate(const GateArgs *a, void *stream);

typedef struct { /* OP_DEPTH_TO_SPACE: {n,height,width,p*p*c} -> {n,height*p,width*p,c} */
    const void *x;
    void *y;
    DType x_type, y_type;
    int n, height, width, c, p;
} DepthToSpaceArgs;
int cuda_depth_to_space(const DepthToSpaceArgs *a, void *stream);

typedef struct { /* OP_SOFTMAX: {n,c} */
    const float *x;
    float *y;
    int n, c;
    bool log;
} SoftmaxArgs;
int cuda_softmax(const SoftmaxArgs *a, void *stream);

/* ---- sampler state: the contracts are Backend's combine, randn, posterior and to_u8 (device/device.h). All memory is the device's,
 * but for the array of terms and the Posterior, which have been read when the call returns.                               */
int cuda_combine(void *out, DType out_type, int n, size_t per_sample, const Term *term, int terms, void *stream);
int cuda_randn(double *out, int n, size_t per_sample, const uint64_t *seed, const uint32_t *step, void *stream);
int cuda_posterior(double *x, int n, size_t per_sample, const Posterior *p, void *stream);
int cuda_to_u8(uint8_t *out, const void *x, DType type, int n, size_t per_sample, double scale, double offset, int *bad, void *stream);

#ifdef __cplusplus
}
#endif
#endif
