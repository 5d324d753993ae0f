/* graph.h -- all that a model sees: tensors, ops, the builders that make a graph of them, and its transforms. Read this first.
 *
 *   build  models/X.c calls the g_* builders      graph.c      shapes are checked here and nowhere else
 *   fuse   merge neighbouring ops                 fuse.c
 *   grad   append the ops of d(y.dy)/dx           grad.c
 *   plan   give every activation an arena offset  plan.c
 *   exec   bind to weights and a device, run      device/device.h
 *
 * A Graph is two arrays, tensors and ops, in execution order. A tensor is named by its index (Tid); 0 means "none".
 * The graph never changes after graph_plan, so memory is known before it is allocated, a run is a loop over ops, and
 * on CUDA one captured graph. Layout is NHWC everywhere. Sizes are in bytes where the name says so, else in elements. */
#ifndef DG_GRAPH_H
#define DG_GRAPH_H
#include "base/dtype.h"
#ifdef __cplusplus
extern "C" {
#endif

/* ---- tensors ------------------------------------------------------------------------------------------------------ */
typedef int Tid;
typedef struct {
    int n, h, w, c; /* image {n,h,w,c}; per-image vector {n,1,1,c}; conv weight {K,R,S,C}; bias {1,1,1,K} */
} Shape;
typedef enum { T_INPUT, T_WEIGHT, T_CONST, T_ACT } TensorKind; /* T_CONST: values that the graph itself holds */

/* How a tensor of the weight file becomes the weight in memory. */
typedef enum {
    VIEW_CONV,      /* [K,C,R,S], [K,C,1] or [K,C] -> {K,R,S,C} */
    VIEW_VECTOR,    /* [C] -> {1,1,1,C} */
    VIEW_EMBEDDING, /* [classes,K], a lookup table -> {K,1,1,classes}: a linear layer on the one-hot label */
    VIEW_TOKENS,    /* [C,T], a positional embedding -> {1,1,T,C} */
    /* [1,h*w,C], positions of h rows of w tokens -> {1,h,w,C}; of weights that have none, the values of graph/positions.h */
    VIEW_POSITIONS,
    /* A convolution X.conv and the batch norm X.bn behind it are one convolution: its weight is VIEW_CONV of X.conv.weight, times
       gamma / sqrt(variance + eps), its bias {1,1,1,K} X.bn.bias - mean * gamma / sqrt(variance + eps), with X.bn.running_mean,
       X.bn.running_var, and X.bn.weight for gamma, or 1 of a file without one. The view's name is X.conv.weight or X.bn.bias. */
    VIEW_FOLD_BN,
    VIEW_FOLD_BN_BIAS
} ViewKind;
/* Upstream order of the 3C rows (or 3C biases) of a qkv projection; ours is always [3][head][d]. */
typedef enum {
    QKV_NONE,
    QKV_HEAD_D_3, /* EDM: row = (head*d + c)*3 + {q,k,v} */
    QKV_HEAD_3_D, /* ADM "legacy": row = head*3d + {q,k,v}*d + c */
    QKV_3_HEAD_D  /* ADM "new", attention pool */
} QkvOrder;
typedef struct {
    ViewKind kind;
    QkvOrder qkv;
    int heads;
    bool flip;  /* of a conv's weight: {C,R,S,K}, spatially flipped: the weight of the conv's input gradient */
    double eps; /* VIEW_FOLD_BN and VIEW_FOLD_BN_BIAS */
} WeightView;

typedef struct {
    char name[112]; /* weights: exactly the upstream state-dict name */
    TensorKind kind;
    DType dtype;
    Shape shape;     /* in memory; a flipped weight has K and C exchanged */
    int producer;    /* index of the op that writes it; -1 for inputs and weights */
    WeightView view; /* weights only */
    void *values;    /* constants only: of type dtype, the graph's own */
    bool keep;       /* an output: valid after the run */
    int first, last; /* plan: must stay intact from op first to op last */
    size_t offset;   /* plan: bytes from the start of the arena, a multiple of DG_ALIGN */
} Tensor;
enum { DG_ALIGN = 256 };
/* What a graph computes in, and what its device asks of its plan. Graphs of different precision may run side by side on one device that
 * takes them.                                                                                                                 */
typedef struct {
    DType act;         /* storage of images and feature maps; vectors are f32 (f64 where act is) */
    bool tf32;         /* act is f32: products on tensor cores, of operands rounded to tf32 */
    bool leaves_norms; /* the device may leave out a pixel norm (graph_norm_fold): the plan makes room for that */
} Precision;

/* ---- ops: a kind, inputs, an output, and the kind's own named parameters ------------------------------------------ */
/* Every op, once: its kind and its name. CONTRIBUTING.md, "Adding an op", says what else belongs to one. */
/* clang-format off */
#define DG_OPS(X)                                                                                                                 \
    /* act(scale * ((conv(in0, w in1) + bias in2?) * in4? + in3?)), padded with zeros; linear = 1x1 on {n,1,1,c}.                  \
       in3 has the output's shape (residual) or {n,1,1,K} (broadcast over pixels), or is a weight or constant of {1,h,w,K}         \
       (positions, broadcast over images); in4 is {n,1,1,K} (gate).                                                               \
       Or, of fusing alone, with a skip: act(scale * (conv(in0, w in1) + bias in2? + conv(channels of in5, then of in6?, w in7)    \
       + bias in8?)), where w in7 is 1x1, and in5 and in6 have the output's pixels */                                             \
    X(CONV, conv)                                                                                                                 \
    /* act((groupnorm(x)*gamma in1 + beta in2) * (1+s) + t); [s,t] = in3? {n,1,1,2c}; biased variance. x: channels of in0, then of   \
       in6? */                                                                                                                    \
    X(NORM, norm)                                                                                                                 \
    X(NORM_BWD, norm_bwd)               /* in0..in3 as NORM of one, in4 = d out -> d in0 + in5? (of its shape) */                        \
    X(ATTN, attn)                       /* softmax(q k^T / sqrt d) v per head; in0 = {n,h,w,3c} channels [3][head][d] -> {n,h,w,c} */ \
    X(ATTN_BWD, attn_bwd)               /* in0 = qkv, in1 = d out -> d qkv */                                                     \
    X(UNARY, unary)                     /* unary.f of in0 */                                                                      \
    X(UNARY_BWD, unary_bwd)             /* in0 = x, in1 = d out -> f'(x) * d out */                                               \
    X(ADD, add)                         /* a*in0 + b*in1; in1 may be none, {n,1,1,c}, or a weight or constant of {1,h,w,c} */     \
    X(CONCAT, concat)                   /* channels of in0, then of in1, then of in2? .. in4? */                                  \
    X(SLICE, slice)                     /* channels [first, first + out.c) of in0 */                                              \
    /* 2x down: scale * depthwise conv with tap x tap, stride 2, zero padding pad;                                                \
       2x up: scale * its transpose, stride 2, padding pad. Taps are symmetric, so each is the other's adjoint */                 \
    X(RESAMPLE, resample)                                                                                                         \
    /* {n,h,w,c} -> {n,1,h*w+1,c}: the mean over pixels, then the pixels; plus in1 {1,1,h*w+1,c} */                               \
    X(POOL_TOKENS, pool_tokens)                                                                                                   \
    X(POOL_TOKENS_BWD, pool_tokens_bwd) /* in0 = d out -> d in0 of the above */                                                   \
    X(FIRST_TOKEN, first_token)         /* {n,1,t,c} -> {n,1,1,c}: token 0 (f32: what follows is the logit) */                    \
    X(FIRST_TOKEN_BWD, first_token_bwd) /* in0 = d out {n,1,1,c} -> {n,1,t,c}, zero but for token 0 */                             \
    X(POOL, pool)                       /* the largest or the mean of each window's pixels inside the image; NaN wins */          \
    /* Separable: out = a * clamp(rows(columns(in0))) + b. Output x (or y) of a table {1,1,outputs,1+taps}, in1 of columns and     \
       in2 of rows, is the sum over k of table[x][1+k] * in[table[x][0] + k]; positions beyond the last pixel have weight 0.       \
       Sums are in f64; the columns' is rounded to f32, and with u8 both are to bytes: floor(v + 1/2), to [0,255] */              \
    X(RESIZE, resize)                                                                                                             \
    /* u = (in0 - mean) / sqrt(var + eps) over the channels of a pixel, or in0 / (sqrt(mean of squares) + eps) with rms;            \
       v = u * gamma in1? + beta in2?; out = v + v * scale + shift; [shift, scale] = in3? {n,1,1,2c}; biased variance */          \
    X(PIXEL_NORM, pixel_norm)                                                                                                     \
    X(GATE, gate)                       /* in0 * in1 {n,1,1,c} + in2? */                                                          \
    X(DEPTH_TO_SPACE, depth_to_space)   /* {n,h,w,p*p*c} -> {n,h*p,w*p,c}: channel (i*p + j)*c + k is pixel (i,j), channel k */    \
    X(SOFTMAX, softmax)                 /* of vectors {n,1,1,c}, or its logarithm */
/* The functions of UNARY. */
#define DG_UNARY(X)                                                                                                               \
    X(SILU, silu)                       /* x / (1 + e^-x) */                                                                      \
    X(CLAMP, clamp)                     /* to [lo,hi]; NaN stays NaN; its slope is 0 outside */                                    \
    X(RELU, relu)                       /* max(x, 0); NaN stays NaN; its slope at 0 is 0 */                                       \
    X(GELU_TANH, gelu_tanh)             /* x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) */
/* clang-format on */
#define DG_ONE(K, name)  +1
#define DG_KIND(K, name) OP_##K,
typedef enum { DG_OPS(DG_KIND) } OpKind;
#undef DG_KIND
#define DG_KIND(K, name) F_##K,
typedef enum { DG_UNARY(DG_KIND) } UnaryKind;
#undef DG_KIND
/* Not among the kinds, so that a switch over them that leaves one out does not compile. */
enum { OP_COUNT = 0 DG_OPS(DG_ONE), UNARY_COUNT = 0 DG_UNARY(DG_ONE) };
#undef DG_ONE
enum { OP_INPUTS = 9, CONCAT_INPUTS = 5, RESAMPLE_TAPS = 4 };
typedef enum { ACT_NONE, ACT_RELU, ACT_GELU_TANH } Act; /* the same functions as F_RELU and F_GELU_TANH */
typedef struct {
    int stride;                   /* from an output's window to its neighbour's */
    int top, left, bottom, right; /* rows and columns of zeros around the input */
    float scale;
    Act act;
} ConvOptions;
typedef struct {
    bool max;                       /* else the mean */
    int height, width, stride, pad; /* of a window; pad: what surrounds the image, and counts in no window */
} PoolOptions;
typedef struct {
    bool u8;
    float lo, hi, a, b; /* -INFINITY, INFINITY: no clamp */
} ResizeOptions;
typedef struct {
    OpKind kind;
    Tid in[OP_INPUTS], out;
    /* clang-format off */
    union {
        ConvOptions conv;
        struct { int groups; float eps; bool silu; } norm; /* also OP_NORM_BWD */
        struct { int heads; } attn;                        /* also OP_ATTN_BWD */
        struct { UnaryKind f; float lo, hi; } unary;       /* also OP_UNARY_BWD */
        struct { float a, b; } add;
        struct { int first; } slice;
        struct { bool up; int taps, pad; float tap[RESAMPLE_TAPS], scale; } resample;
        PoolOptions pool;
        ResizeOptions resize;
        struct { float eps; bool rms; } pixel_norm;
        struct { int p; } depth_to_space;
        struct { bool log; } softmax;
    };
    /* clang-format on */
} Op;
enum { MAX_BATCH = 65535 }; /* images in a call: they are the third dimension of a CUDA grid */
typedef struct {
    Tensor *t;
    int nt;
    Op *op;
    int nop;
    Precision precision;
    int batch;          /* n of every input: the images that a run computes at most; 0 before the first input */
    char prefix[96];    /* put before the names given to g_weight */
    char root[16];      /* models/blocks.h: what the prefix begins with, where several networks share the graph */
    char refused[256];  /* models/blocks.h: why a configuration cannot be built; empty: nothing is wrong */
    size_t guard_bytes; /* tests: this many unused bytes after every tensor of the arena */
    size_t arena_bytes; /* filled by graph_plan */
} Graph;

/* ---- build (graph.c): each checks shapes, appends one op, returns its output ---------------------------------------- */
Graph *graph_new(Precision p);
void graph_free(Graph *g);
Tid g_input(Graph *g, const char *name, Shape s); /* {n,1,1,c}: f32, else act; n is the same for all inputs of a graph */
/* Its full name is g->prefix + name; the same name and view give the same Tid. */
Tid g_weight(Graph *g, const char *name, Shape s, WeightView v);
/* Copies values of `type`, f32 or f64; stored as vectors are. */
Tid g_constant(Graph *g, const char *name, Shape s, DType type, const void *values);
Tid g_table(Graph *g, const char *name, Shape s, const double *values); /* a constant that stays f64 */
Tid g_conv(Graph *g, Tid x, Tid w, Tid bias, int pad);                  /* stride 1, a square kernel (or pad 0) */
Tid g_conv_with(Graph *g, Tid x, Tid w, Tid bias, ConvOptions o);
Tid g_norm(Graph *g, Tid x, Tid gamma, Tid beta, Tid scale_shift, int groups, float eps);
Tid g_norm_of_two(Graph *g, Tid x, Tid more, Tid gamma, Tid beta, Tid scale_shift, int groups, float eps); /* of [x, more?] */
Tid g_attn(Graph *g, Tid qkv, int heads);
Tid g_unary(Graph *g, Tid x, UnaryKind f, float lo, float hi); /* lo and hi: of F_CLAMP alone */
Tid g_silu(Graph *g, Tid x);
Tid g_clamp(Graph *g, Tid x, float lo, float hi);
Tid g_add(Graph *g, Tid x, Tid y, float a, float b);
Tid g_concat(Graph *g, Tid x, Tid y);
Tid g_concat_all(Graph *g, const Tid *x, int count); /* 2 to CONCAT_INPUTS of them */
Tid g_slice(Graph *g, Tid x, int first, int c);
Tid g_up(Graph *g, Tid x, const float *tap, int taps, int pad, float scale);
Tid g_down(Graph *g, Tid x, const float *tap, int taps, int pad, float scale);
Tid g_pool_tokens(Graph *g, Tid x, Tid positional_embedding);
Tid g_first_token(Graph *g, Tid x);
/* Outputs a dimension: (h + 2 pad - height) / stride + 1, rounded down. One that is {n,1,1,c} is a vector. */
Tid g_pool(Graph *g, Tid x, PoolOptions o);
Tid g_global_mean(Graph *g, Tid x); /* -> {n,1,1,c} */
/* columns {1,1,W,1+taps} and rows {1,1,H,1+taps}, as OP_RESIZE says: g_table's. */
Tid g_resize(Graph *g, Tid x, Tid columns, Tid rows, ResizeOptions o);
Tid g_pixel_norm(Graph *g, Tid x, Tid gamma, Tid beta, Tid shift_scale, float eps, bool rms); /* of f32 too, into act */
Tid g_gate(Graph *g, Tid x, Tid gate, Tid residual); /* residual: 0 for none; its type is the output's */
Tid g_depth_to_space(Graph *g, Tid x, int p);
Tid g_softmax(Graph *g, Tid x, bool log);
/* Where activations have 16 bits, t becomes f32 if what writes it computes in f32 and rounds last (convolutions and most others
 * do); of a slice, what it is cut from. Call it before a convolution reads t, whose weight has its input's type. Returns t. */
Tid g_f32(Graph *g, Tid t);
Tid g_output(Graph *g, Tid t); /* marks t as kept, and g_f32 */

Tid g_emit(Graph *g, Op op, Shape out); /* what every builder and gradient rule ends with */
Tid g_flip(Graph *g, Tid w);            /* the weight of the input gradient of a conv with weight w */
/* What a convolution asks of whoever computes it. A fast way says what it can do, and takes only what needs no more. */
enum {
    CONV_TAPS = 1, /* more than a 1x1 kernel */
    CONV_PADS = 2,
    CONV_UNEVEN = 4, /* opposite pads that differ */
    CONV_STRIDE = 8,
    CONV_SCALE = 16,
    CONV_ACT = 32,
    CONV_GATE = 64,
    CONV_POSITIONS = 128,
    CONV_SKIP = 256
};
unsigned conv_needs(const Graph *g, const Op *conv);
/* The convolution with a skip, conv1x1([x, more?], w) + bias?; x, more, w and its input have one type. */
Op conv_with_skip(const Graph *g, Op conv, Tid x, Tid more, Tid w, Tid bias);
static inline bool conv_fits(unsigned needs, unsigned can) { return !(needs & ~can); }

/* For the mistakes of a model's author: stops with the sentence. */
#define GRAPH_CHECK(cond, ...)                                                                                                             \
    do {                                                                                                                                   \
        if (!(cond)) dg_abort(__FILE__, __LINE__, "the model's graph is wrong", __VA_ARGS__);                                              \
    } while (0)

const char *precision_name(Precision p); /* "fp32", "tf32", "fp16", "bf16", "fp64" */
size_t shape_count(Shape s);
bool shape_eq(Shape a, Shape b);
const char *op_name(OpKind k);
static inline Shape shape_of(const Graph *g, Tid id) { return g->t[id].shape; }
static inline bool is_vector(Shape s) { return s.h == 1 && s.w == 1; }
/* What is added by a conv's in3 or an add's in1: for each image and pixel, for each image, or for each pixel of all images. */
typedef enum { OPERAND_NONE, OPERAND_FULL, OPERAND_VECTOR, OPERAND_POSITIONS } Operand;
Operand operand_of(const Graph *g, Tid operand, Tid out);
size_t tensor_bytes(const Tensor *t);
static inline bool in_arena(const Tensor *t) { return t->kind == T_INPUT || t->kind == T_ACT; } /* else it has memory of its own */
float box_factor(const Op *op);   /* of a resample by a box filter: what it multiplies each pixel, or a sum of four, by; 0: another op */
bool is_nearest_up(const Op *op); /* a resample that gives each pixel four times, exactly */
static inline size_t align_up(size_t bytes) { return (bytes + DG_ALIGN - 1) & ~(size_t)(DG_ALIGN - 1); }
double op_flops(const Graph *g, int i); /* of op i; 2 per multiply-add of convs and attention, 0 for lookups and the rest */
double op_bytes(const Graph *g, int i); /* bytes of all inputs and the output, each once */
double graph_flops(const Graph *g);

/* ---- transform ------------------------------------------------------------------------------------------------------ */
int graph_fuse(Graph *g);                           /* returns the number of ops removed; before graph_backward, after it, or both */
Tid graph_backward(Graph *g, Tid y, Tid dy, Tid x); /* appends; returns d(y.dy)/dx; no weight gradients */
bool grad_has_rule(OpKind k);                       /* false: a forward-only op, which graph_backward refuses */
void graph_gather(Graph *g);                        /* linear layers of one vector come together; the last before graph_plan */
size_t graph_plan(Graph *g);                        /* returns arena_bytes; nothing is allocated yet */
/* A pixel norm that a device may leave out, because the convolutions around it can do its work. */
typedef struct {
    int maker, norm; /* ops: the convolution that writes what the norm reads; the norm */
} NormFold;
/* Whether op i is one, in a graph whose precision leaves_norms; its output then lives from the maker on. *f: the two. */
bool graph_norm_fold(const Graph *g, int i, NormFold *f);

#ifdef __cplusplus
}
#endif
#endif
