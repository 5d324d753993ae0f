/* providers.c -- cuDNN and cuBLASLt, loaded at run time.
 *
 * cuDNN: the classic convolution interface with one algorithm, implicit GEMM with precomputed indices: its sums are those of
 * a convolution (Winograd and Fourier forms are less exact). cuBLASLt: a 1x1 convolution is one matrix product; algorithms
 * that split the sum are excluded, because their order of additions depends on the size.                                  */
#include "device/cuda/providers.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const provider_name[PROVIDERS] = {"own", "cudnn", "cublaslt"};

#if defined(DG_HAVE_CUDNN) || defined(DG_HAVE_CUBLASLT)
#include <cuda_runtime_api.h>
#include <dlfcn.h>

/* The file that the environment names, and only that; or the first of these that loads. */
static void *load(const char *named_by, const char *const *file, int files) {
    const char *named = getenv(named_by);
    if (named && named[0]) return dlopen(named, RTLD_NOW | RTLD_LOCAL);
    void *library = NULL;
    for (int i = 0; i < files && !library; i++) library = dlopen(file[i], RTLD_NOW | RTLD_LOCAL);
    return library;
}
/* A function pointer from dlsym, without a cast that C does not have. */
static bool symbol(void *library, const char *name, void *function) {
    void *p = dlsym(library, name);
    memcpy(function, &p, sizeof p);
    return p != NULL;
}
#endif

#ifdef DG_HAVE_CUDNN
#include <cudnn.h>
#pragma GCC diagnostic ignored "-Wdeprecated-declarations" /* the classic interface is what every version has */
/* clang-format off */
#define CUDNN_FUNCTIONS(X)                                                                                             \
    X(cudnnCreate) X(cudnnDestroy) X(cudnnSetStream) X(cudnnGetVersion) X(cudnnCreateTensorDescriptor)                 \
    X(cudnnDestroyTensorDescriptor) X(cudnnSetTensor4dDescriptor) X(cudnnCreateFilterDescriptor)                       \
    X(cudnnDestroyFilterDescriptor) X(cudnnSetFilter4dDescriptor) X(cudnnCreateConvolutionDescriptor)                  \
    X(cudnnDestroyConvolutionDescriptor) X(cudnnSetConvolution2dDescriptor) X(cudnnSetConvolutionMathType)             \
    X(cudnnGetConvolutionForwardWorkspaceSize) X(cudnnConvolutionForward)
/* clang-format on */
typedef struct {
    void *library;
    cudnnHandle_t handle;
#define FIELD(f) __typeof__(&f) f;
    CUDNN_FUNCTIONS(FIELD)
} Cudnn;
typedef struct {
    cudnnTensorDescriptor_t x, y;
    cudnnFilterDescriptor_t w;
    cudnnConvolutionDescriptor_t conv;
} CudnnConv;
static const cudnnConvolutionFwdAlgo_t ALGORITHM = CUDNN_CONVOLUTION_FWD_ALGO_IMPLICIT_PRECOMP_GEMM;
#endif
#ifdef DG_HAVE_CUBLASLT
#include <cublasLt.h>
/* clang-format off */
#define LT_FUNCTIONS(X)                                                                                                \
    X(cublasLtCreate) X(cublasLtDestroy) X(cublasLtGetVersion) X(cublasLtMatmulDescCreate) X(cublasLtMatmulDescDestroy) \
    X(cublasLtMatmulDescSetAttribute) X(cublasLtMatrixLayoutCreate) X(cublasLtMatrixLayoutDestroy)                     \
    X(cublasLtMatmulPreferenceCreate) X(cublasLtMatmulPreferenceDestroy) X(cublasLtMatmulPreferenceSetAttribute)       \
    X(cublasLtMatmulAlgoGetHeuristic) X(cublasLtMatmulAlgoConfigGetAttribute) X(cublasLtMatmul)
/* clang-format on */
typedef struct {
    void *library;
    cublasLtHandle_t handle;
#define LT_FIELD(f) __typeof__(&f) f;
    LT_FUNCTIONS(LT_FIELD)
} Lt;
typedef struct {
    cublasLtMatmulDesc_t product;
    cublasLtMatrixLayout_t w, x, y; /* column-major: the transposes of what lies in memory */
    cublasLtMatmulAlgo_t algorithm;
} LtConv;
static const size_t LT_WORKSPACE = (size_t)32 << 20;
#endif

struct ProviderSet {
    void *stream;
#ifdef DG_HAVE_CUDNN
    Cudnn cudnn;
#endif
#ifdef DG_HAVE_CUBLASLT
    Lt lt;
#endif
};
struct ProviderConv {
    ProviderSet *set;
    Provider provider;
    size_t workspace;
#ifdef DG_HAVE_CUDNN
    CudnnConv cudnn;
#endif
#ifdef DG_HAVE_CUBLASLT
    LtConv lt;
#endif
};

#if defined(DG_HAVE_CUDNN) || defined(DG_HAVE_CUBLASLT)
enum { FINISHED = CONV_SCALE | CONV_ACT | CONV_GATE | CONV_POSITIONS }; /* by cuda_conv_finish */
#endif

/* ---- cuDNN -------------------------------------------------------------------------------------------------------------- */
#ifdef DG_HAVE_CUDNN
static void cudnn_open(ProviderSet *s) {
    static const char *const files[] = {
        "libcudnn.so.9",
        "libcudnn.so.8",
#ifdef DG_CUDNN_FILE
        DG_CUDNN_FILE,
#endif
    };
    Cudnn *c = &s->cudnn;
    c->library = load("DG_CUDNN_FILE", files, sizeof files / sizeof *files);
    bool ok = c->library != NULL;
#define LOAD(f) ok = ok && symbol(c->library, #f, &c->f);
    CUDNN_FUNCTIONS(LOAD)
    ok = ok && c->cudnnCreate(&c->handle) == CUDNN_STATUS_SUCCESS;
    if (ok && c->cudnnSetStream(c->handle, (cudaStream_t)s->stream) == CUDNN_STATUS_SUCCESS) return;
    if (ok) c->cudnnDestroy(c->handle);
    c->handle = NULL;
}
static cudnnDataType_t cudnn_type(DType t) { return t == DG_F16 ? CUDNN_DATA_HALF : t == DG_BF16 ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_FLOAT; }
static bool cudnn_plan(ProviderConv *c, const ConvArgs *a) {
    const Cudnn *f = &c->set->cudnn;
    CudnnConv *p = &c->cudnn;
    cudnnDataType_t type = cudnn_type(a->x_type);
    const ConvOptions *o = &a->options;
    /* 16-bit products need tensor cores; f32 on them means tf32 */
    cudnnMathType_t math = a->x_type == DG_F32 && !a->tf32 ? CUDNN_FMA_MATH : CUDNN_TENSOR_OP_MATH;
    return f->handle && conv_fits(a->needs, CONV_TAPS | CONV_PADS | CONV_STRIDE | FINISHED) &&
           f->cudnnCreateTensorDescriptor(&p->x) == CUDNN_STATUS_SUCCESS && f->cudnnCreateTensorDescriptor(&p->y) == CUDNN_STATUS_SUCCESS &&
           f->cudnnCreateFilterDescriptor(&p->w) == CUDNN_STATUS_SUCCESS &&
           f->cudnnCreateConvolutionDescriptor(&p->conv) == CUDNN_STATUS_SUCCESS &&
           f->cudnnSetTensor4dDescriptor(p->x, CUDNN_TENSOR_NHWC, type, a->n, a->c, a->height, a->width) == CUDNN_STATUS_SUCCESS &&
           f->cudnnSetTensor4dDescriptor(p->y, CUDNN_TENSOR_NHWC, type, a->n, a->k, a->out_height, a->out_width) == CUDNN_STATUS_SUCCESS &&
           f->cudnnSetFilter4dDescriptor(p->w, type, CUDNN_TENSOR_NHWC, a->k, a->c, a->r, a->s) == CUDNN_STATUS_SUCCESS &&
           f->cudnnSetConvolution2dDescriptor(p->conv, o->top, o->left, o->stride, o->stride, 1, 1, CUDNN_CROSS_CORRELATION,
                                              CUDNN_DATA_FLOAT) == CUDNN_STATUS_SUCCESS &&
           f->cudnnSetConvolutionMathType(p->conv, math) == CUDNN_STATUS_SUCCESS &&
           f->cudnnGetConvolutionForwardWorkspaceSize(f->handle, p->x, p->w, p->conv, p->y, ALGORITHM, &c->workspace) ==
               CUDNN_STATUS_SUCCESS;
}
static void cudnn_unplan(ProviderConv *c) {
    const Cudnn *f = &c->set->cudnn;
    if (c->cudnn.x) f->cudnnDestroyTensorDescriptor(c->cudnn.x);
    if (c->cudnn.y) f->cudnnDestroyTensorDescriptor(c->cudnn.y);
    if (c->cudnn.w) f->cudnnDestroyFilterDescriptor(c->cudnn.w);
    if (c->cudnn.conv) f->cudnnDestroyConvolutionDescriptor(c->cudnn.conv);
}
static bool cudnn_run(const ProviderConv *c, const void *x, const void *w, void *y, void *workspace) {
    const Cudnn *f = &c->set->cudnn;
    const CudnnConv *p = &c->cudnn;
    const float one = 1, zero = 0;
    return f->cudnnConvolutionForward(f->handle, &one, p->x, x, p->w, w, p->conv, ALGORITHM, workspace, c->workspace, &zero, p->y, y) ==
           CUDNN_STATUS_SUCCESS;
}
#endif

/* ---- cuBLASLt ------------------------------------------------------------------------------------------------------------- */
#ifdef DG_HAVE_CUBLASLT
static void lt_open(ProviderSet *s) {
    static const char *const files[] = {
        "libcublasLt.so.13",
        "libcublasLt.so.12",
        "libcublasLt.so",
#ifdef DG_CUBLASLT_FILE
        DG_CUBLASLT_FILE,
#endif
    };
    Lt *c = &s->lt;
    c->library = load("DG_CUBLASLT_FILE", files, sizeof files / sizeof *files);
    bool ok = c->library != NULL;
#define LT_LOAD(f) ok = ok && symbol(c->library, #f, &c->f);
    LT_FUNCTIONS(LT_LOAD)
    if (!ok || c->cublasLtCreate(&c->handle) != CUBLAS_STATUS_SUCCESS) c->handle = NULL;
}
/* y {rows,k} = x {rows,c} w^T, w {k,c}. In column-major terms, y^T = w x^T with w stored transposed. */
static bool lt_plan(ProviderConv *c, const ConvArgs *a) {
    const Lt *f = &c->set->lt;
    LtConv *p = &c->lt;
    if (!f->handle || !conv_fits(a->needs, FINISHED)) return false;
    cudaDataType_t type = a->x_type == DG_F16 ? CUDA_R_16F : a->x_type == DG_BF16 ? CUDA_R_16BF : CUDA_R_32F;
    cublasComputeType_t compute = a->tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
    uint64_t rows = (uint64_t)a->n * (uint64_t)(a->height * a->width), channels = (uint64_t)a->c, k = (uint64_t)a->k;
    cublasOperation_t transposed = CUBLAS_OP_T;
    uint32_t schemes = CUBLASLT_REDUCTION_SCHEME_NONE;
    cublasLtMatmulPreference_t preference = NULL;
    cublasLtMatmulHeuristicResult_t result;
    int found = 0;
    bool ok = f->cublasLtMatmulDescCreate(&p->product, compute, CUDA_R_32F) == CUBLAS_STATUS_SUCCESS &&
              f->cublasLtMatmulDescSetAttribute(p->product, CUBLASLT_MATMUL_DESC_TRANSA, &transposed, sizeof transposed) ==
                  CUBLAS_STATUS_SUCCESS &&
              f->cublasLtMatrixLayoutCreate(&p->w, type, channels, k, (int64_t)channels) == CUBLAS_STATUS_SUCCESS &&
              f->cublasLtMatrixLayoutCreate(&p->x, type, channels, rows, (int64_t)channels) == CUBLAS_STATUS_SUCCESS &&
              f->cublasLtMatrixLayoutCreate(&p->y, type, k, rows, (int64_t)k) == CUBLAS_STATUS_SUCCESS &&
              f->cublasLtMatmulPreferenceCreate(&preference) == CUBLAS_STATUS_SUCCESS &&
              f->cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &LT_WORKSPACE,
                                                      sizeof LT_WORKSPACE) == CUBLAS_STATUS_SUCCESS &&
              f->cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &schemes, sizeof schemes) ==
                  CUBLAS_STATUS_SUCCESS &&
              f->cublasLtMatmulAlgoGetHeuristic(f->handle, p->product, p->w, p->x, p->y, p->y, preference, 1, &result, &found) ==
                  CUBLAS_STATUS_SUCCESS &&
              found == 1 && result.state == CUBLAS_STATUS_SUCCESS;
    if (preference) f->cublasLtMatmulPreferenceDestroy(preference);
    if (ok) p->algorithm = result.algo, c->workspace = result.workspaceSize;
    return ok;
}
static void lt_unplan(ProviderConv *c) {
    const Lt *f = &c->set->lt;
    if (c->lt.w) f->cublasLtMatrixLayoutDestroy(c->lt.w);
    if (c->lt.x) f->cublasLtMatrixLayoutDestroy(c->lt.x);
    if (c->lt.y) f->cublasLtMatrixLayoutDestroy(c->lt.y);
    if (c->lt.product) f->cublasLtMatmulDescDestroy(c->lt.product);
}
static int lt_attribute(const ProviderConv *c, cublasLtMatmulAlgoConfigAttributes_t attribute) {
    int value = -1;
    size_t written;
    c->set->lt.cublasLtMatmulAlgoConfigGetAttribute(&c->lt.algorithm, attribute, &value, sizeof value, &written);
    return value;
}
static bool lt_run(const ProviderConv *c, const void *x, const void *w, void *y, void *workspace) {
    const Lt *f = &c->set->lt;
    const LtConv *p = &c->lt;
    const float one = 1, zero = 0;
    return f->cublasLtMatmul(f->handle, p->product, &one, w, p->w, x, p->x, &zero, y, p->y, y, p->y, &p->algorithm, workspace, c->workspace,
                             (cudaStream_t)c->set->stream) == CUBLAS_STATUS_SUCCESS;
}
#endif

/* ---- both ------------------------------------------------------------------------------------------------------------------ */
ProviderSet *providers_open(void *stream) {
    ProviderSet *s = dg_alloc(sizeof *s);
    s->stream = stream;
#ifdef DG_HAVE_CUBLASLT
    lt_open(s); /* first: cuDNN looks for it */
#endif
#ifdef DG_HAVE_CUDNN
    cudnn_open(s);
#endif
    return s;
}
void providers_close(ProviderSet *s) {
    if (!s) return;
#ifdef DG_HAVE_CUDNN
    if (s->cudnn.handle) s->cudnn.cudnnDestroy(s->cudnn.handle);
    if (s->cudnn.library) dlclose(s->cudnn.library);
#endif
#ifdef DG_HAVE_CUBLASLT
    if (s->lt.handle) s->lt.cublasLtDestroy(s->lt.handle);
    if (s->lt.library) dlclose(s->lt.library);
#endif
    free(s);
}
void providers_describe(const ProviderSet *s, char *text, size_t size) {
    size_t cudnn = 0, lt = 0;
#ifdef DG_HAVE_CUDNN
    if (s->cudnn.handle) cudnn = s->cudnn.cudnnGetVersion();
#endif
#ifdef DG_HAVE_CUBLASLT
    if (s->lt.handle) lt = s->lt.cublasLtGetVersion();
#endif
    (void)s;
    snprintf(text, size, "cudnn %zu, cublaslt %zu", cudnn, lt);
}
static bool plan(ProviderConv *c, const ConvArgs *a) {
    switch (c->provider) {
#ifdef DG_HAVE_CUDNN
    case PROVIDER_CUDNN: return cudnn_plan(c, a);
#endif
#ifdef DG_HAVE_CUBLASLT
    case PROVIDER_CUBLASLT: return lt_plan(c, a);
#endif
    default: (void)a; return false;
    }
}
ProviderConv *provider_conv_new(ProviderSet *s, Provider p, const ConvArgs *a) {
    enum { PIECE_BYTES = 16 };
    bool padded = (size_t)a->c * dtype_bytes(a->x_type) % PIECE_BYTES || (size_t)a->k * dtype_bytes(a->y_type) % PIECE_BYTES;
    if (padded || a->x_type != a->y_type) return NULL;
    ProviderConv *c = dg_alloc(sizeof *c);
    c->set = s, c->provider = p;
    if (plan(c, a)) return c;
    provider_conv_free(c);
    return NULL;
}
void provider_conv_free(ProviderConv *c) {
    if (!c) return;
#ifdef DG_HAVE_CUDNN
    if (c->provider == PROVIDER_CUDNN) cudnn_unplan(c);
#endif
#ifdef DG_HAVE_CUBLASLT
    if (c->provider == PROVIDER_CUBLASLT) lt_unplan(c);
#endif
    free(c);
}
size_t provider_conv_workspace(const ProviderConv *c) { return c->workspace; }
void provider_conv_describe(const ProviderConv *c, char *text, size_t size) {
    snprintf(text, size, "%s", provider_name[c->provider]);
#ifdef DG_HAVE_CUDNN
    if (c->provider == PROVIDER_CUDNN) snprintf(text, size, "cudnn implicit_precomp_gemm"); /* ALGORITHM */
#endif
#ifdef DG_HAVE_CUBLASLT
    if (c->provider == PROVIDER_CUBLASLT)
        snprintf(text, size, "cublaslt algorithm %d tile %d stages %d", lt_attribute(c, CUBLASLT_ALGO_CONFIG_ID),
                 lt_attribute(c, CUBLASLT_ALGO_CONFIG_TILE_ID), lt_attribute(c, CUBLASLT_ALGO_CONFIG_STAGES_ID));
#endif
}
bool provider_conv_run(const ProviderConv *c, const void *x, const void *w, void *y, void *workspace) {
    switch (c->provider) {
#ifdef DG_HAVE_CUDNN
    case PROVIDER_CUDNN: return cudnn_run(c, x, w, y, workspace);
#endif
#ifdef DG_HAVE_CUBLASLT
    case PROVIDER_CUBLASLT: return lt_run(c, x, w, y, workspace);
#endif
    default: (void)x, (void)w, (void)y, (void)workspace; return false;
    }
}
