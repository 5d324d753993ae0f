/* provider_cublaslt.c -- cuBLASLt: a 1x1 convolution is one matrix product. Algorithms that split the sum are excluded, because their
 * order of additions depends on the size.                                                                                    */
#include "device/cuda/library.h"

#ifndef DG_HAVE_CUBLASLT
const Library library_cublaslt = {.built_without = "cuBLASLt's headers (cublasLt.h)"};
#else
#include "device/cuda/shared_library.h"
#include <cublasLt.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

/* clang-format off */
#define LT_FUNCTIONS(X)                                                                                                \
    X(cublasLtCreate) X(cublasLtDestroy) X(cublasLtGetVersion) X(cublasLtMatmulDescCreate) X(cublasLtMatmulDescDestroy) \
    X(cublasLtMatmulDescSetAttribute) X(cublasLtMatrixLayoutCreate) X(cublasLtMatrixLayoutDestroy)                     \
    X(cublasLtMatmulPreferenceCreate) X(cublasLtMatmulPreferenceDestroy) X(cublasLtMatmulPreferenceSetAttribute)       \
    X(cublasLtMatmulAlgoGetHeuristic) X(cublasLtMatmulAlgoConfigGetAttribute) X(cublasLtMatmulAlgoCheck) X(cublasLtMatmul)
/* clang-format on */
typedef struct {
    void *library;
    cublasLtHandle_t handle;
    cudaStream_t stream;
#define LT_FIELD(f) __typeof__(&f) f;
    LT_FUNCTIONS(LT_FIELD)
} Lt;
typedef struct {
    cublasLtMatmulDesc_t product;
    cublasLtMatrixLayout_t w, x, y; /* column-major: the transposes of what lies in memory */
} Product;
enum { MOST_ALGORITHMS = 16 };
typedef struct {
    const Lt *lt;
    ConvArgs a;
    cublasLtMatmulHeuristicResult_t result[MOST_ALGORITHMS];
    int results, at;
} Search;
typedef struct {
    const Lt *lt;
    ConvArgs a;
    Product product;
    cublasLtMatmulAlgo_t algorithm;
    size_t workspace;
} Plan;

/* ---- the product -------------------------------------------------------------------------------------------------------------- */
static void product_free(const Lt *f, Product *p) {
    if (p->w) f->cublasLtMatrixLayoutDestroy(p->w);
    if (p->x) f->cublasLtMatrixLayoutDestroy(p->x);
    if (p->y) f->cublasLtMatrixLayoutDestroy(p->y);
    if (p->product) f->cublasLtMatmulDescDestroy(p->product);
    *p = (Product){0};
}
/* y {rows,k} = x {rows,c} w^T, w {k,c}. In column-major terms, y^T = w x^T with w stored transposed. */
static bool product_new(const Lt *f, Product *p, const ConvArgs *a) {
    cudaDataType_t type = a->x_type == DG_F16 ? CUDA_R_16F : a->x_type == DG_BF16 ? CUDA_R_16BF : CUDA_R_32F;
    cublasComputeType_t compute = a->tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
    uint64_t rows = (uint64_t)a->n * (uint64_t)(a->height * a->width), c = (uint64_t)a->c, k = (uint64_t)a->k;
    cublasOperation_t transposed = CUBLAS_OP_T;
    *p = (Product){0};
    bool ok = f->cublasLtMatmulDescCreate(&p->product, compute, CUDA_R_32F) == CUBLAS_STATUS_SUCCESS &&
              f->cublasLtMatmulDescSetAttribute(p->product, CUBLASLT_MATMUL_DESC_TRANSA, &transposed, sizeof transposed) ==
                  CUBLAS_STATUS_SUCCESS &&
              f->cublasLtMatrixLayoutCreate(&p->w, type, c, k, (int64_t)c) == CUBLAS_STATUS_SUCCESS &&
              f->cublasLtMatrixLayoutCreate(&p->x, type, c, rows, (int64_t)c) == CUBLAS_STATUS_SUCCESS &&
              f->cublasLtMatrixLayoutCreate(&p->y, type, k, rows, (int64_t)k) == CUBLAS_STATUS_SUCCESS;
    if (!ok) product_free(f, p);
    return ok;
}

/* ---- proposals and plans ---------------------------------------------------------------------------------------------------------- */
static void *lt_search(void *library, const ConvArgs *a) {
    enum { FINISHED = CONV_SCALE | CONV_ACT | CONV_GATE | CONV_POSITIONS }; /* by cuda_conv_finish */
    static const size_t most = (size_t)32 << 20;
    const Lt *f = library;
    const uint32_t schemes = CUBLASLT_REDUCTION_SCHEME_NONE;
    cublasLtMatmulPreference_t wanted = NULL;
    Product p;
    if (!conv_fits(a->needs, FINISHED) || !product_new(f, &p, a)) return NULL;
    Search *s = dg_alloc(sizeof *s);
    s->lt = f, s->a = *a;
    bool ok = f->cublasLtMatmulPreferenceCreate(&wanted) == CUBLAS_STATUS_SUCCESS &&
              f->cublasLtMatmulPreferenceSetAttribute(wanted, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &most, sizeof most) ==
                  CUBLAS_STATUS_SUCCESS &&
              f->cublasLtMatmulPreferenceSetAttribute(wanted, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &schemes, sizeof schemes) ==
                  CUBLAS_STATUS_SUCCESS &&
              f->cublasLtMatmulAlgoGetHeuristic(f->handle, p.product, p.w, p.x, p.y, p.y, wanted, MOST_ALGORITHMS, s->result,
                                                &s->results) == CUBLAS_STATUS_SUCCESS;
    if (wanted) f->cublasLtMatmulPreferenceDestroy(wanted);
    product_free(f, &p);
    if (ok) return s;
    free(s);
    return NULL;
}
/* One of an algorithm's settings, which are of 16 or of 32 bits. */
static int setting(const Lt *f, const cublasLtMatmulAlgo_t *algorithm, cublasLtMatmulAlgoConfigAttributes_t which) {
    uint32_t wide = 0;
    uint16_t narrow = 0;
    size_t written = 0;
    if (f->cublasLtMatmulAlgoConfigGetAttribute(algorithm, which, &wide, sizeof wide, &written) == CUBLAS_STATUS_SUCCESS) return (int)wide;
    if (f->cublasLtMatmulAlgoConfigGetAttribute(algorithm, which, &narrow, sizeof narrow, &written) == CUBLAS_STATUS_SUCCESS) return narrow;
    return -1;
}
static bool lt_next(void *search, Proposal *q) {
    Search *s = search;
    while (s->at < s->results && s->result[s->at].state != CUBLAS_STATUS_SUCCESS) s->at++;
    if (s->at >= s->results) return false;
    const cublasLtMatmulAlgo_t *x = &s->result[s->at++].algo;
    q->notes = 0; /* by the type of the sums and the mask of schemes */
    snprintf(q->name, sizeof q->name, "algorithm %d tile %d stages %d shape %d,%d option %d,%d", setting(s->lt, x, CUBLASLT_ALGO_CONFIG_ID),
             setting(s->lt, x, CUBLASLT_ALGO_CONFIG_TILE_ID), setting(s->lt, x, CUBLASLT_ALGO_CONFIG_STAGES_ID),
             setting(s->lt, x, CUBLASLT_ALGO_CONFIG_INNER_SHAPE_ID), setting(s->lt, x, CUBLASLT_ALGO_CONFIG_CLUSTER_SHAPE_ID),
             setting(s->lt, x, CUBLASLT_ALGO_CONFIG_CTA_SWIZZLING), setting(s->lt, x, CUBLASLT_ALGO_CONFIG_CUSTOM_OPTION));
    return true;
}
static void lt_drop(void *plan) {
    Plan *p = plan;
    product_free(p->lt, &p->product);
    free(p);
}
static Plan *plan_of(const Lt *f, const ConvArgs *a, const cublasLtMatmulAlgo_t *algorithm) {
    cublasLtMatmulHeuristicResult_t result;
    Plan *p = dg_alloc(sizeof *p);
    p->lt = f, p->a = *a, p->algorithm = *algorithm;
    if (product_new(f, &p->product, a) &&
        f->cublasLtMatmulAlgoCheck(f->handle, p->product.product, p->product.w, p->product.x, p->product.y, p->product.y, algorithm,
                                   &result) == CUBLAS_STATUS_SUCCESS) {
        p->workspace = result.workspaceSize;
        return p;
    }
    lt_drop(p);
    return NULL;
}
static void *lt_build(void *search) {
    Search *s = search;
    return plan_of(s->lt, &s->a, &s->result[s->at - 1].algo);
}
static void lt_end(void *search) { free(search); }
static void *lt_again(const void *plan, int images) {
    const Plan *p = plan;
    ConvArgs a = p->a;
    a.n = images;
    return plan_of(p->lt, &a, &p->algorithm);
}
static size_t lt_workspace(const void *plan) { return ((const Plan *)plan)->workspace; }
static bool lt_run(const void *plan, const void *x, const void *w, void *y, void *workspace) {
    const Plan *p = plan;
    const Lt *f = p->lt;
    const Product *q = &p->product;
    const float one = 1, zero = 0;
    return f->cublasLtMatmul(f->handle, q->product, &one, w, q->w, x, q->x, &zero, y, q->y, y, q->y, &p->algorithm, workspace, p->workspace,
                             f->stream) == CUBLAS_STATUS_SUCCESS;
}

/* ---- the library ------------------------------------------------------------------------------------------------------------------- */
static void lt_close(void *library) {
    Lt *f = library;
    if (f->handle) f->cublasLtDestroy(f->handle);
    dlclose(f->library);
    free(f);
}
static void *lt_open(void *stream, Text *looked) {
    static const SharedLibrary files = {
        .variable = "DG_CUBLASLT_FILE",
        .name = {"libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so"},
#ifdef DG_CUBLASLT_FILE
        .built = DG_CUBLASLT_FILE,
#endif
        .wheel = {"nvidia/cu13/lib/libcublasLt.so.13", "nvidia/cublas/lib/libcublasLt.so.12"},
    };
    void *library = shared_library_load(&files, looked);
    if (!library) return NULL;
    Lt *f = dg_alloc(sizeof *f);
    f->library = library, f->stream = stream;
    const char *missing = NULL;
#define LT_LOAD(name)                                                                                                                      \
    if (!shared_library_symbol(library, #name, &f->name)) missing = #name;
    LT_FUNCTIONS(LT_LOAD)
    if (!missing && f->cublasLtCreate(&f->handle) == CUBLAS_STATUS_SUCCESS) return f;
    if (missing) text_printf(looked, "the library that was found has no %s: it is older than this program wants", missing);
    else text_printf(looked, "it was found and does not start on this device");
    f->handle = NULL;
    lt_close(f);
    return NULL;
}
static size_t lt_version(const void *library) { return ((const Lt *)library)->cublasLtGetVersion(); }
const Library library_cublaslt = {.open = lt_open,
                                  .close = lt_close,
                                  .version = lt_version,
                                  .search = lt_search,
                                  .next = lt_next,
                                  .build = lt_build,
                                  .end = lt_end,
                                  .again = lt_again,
                                  .workspace = lt_workspace,
                                  .run = lt_run,
                                  .drop = lt_drop};
#endif
