/* provider_cudnn.c -- cuDNN by its backend interface: a graph of one operation, a convolution forward, for which cuDNN's heuristics
 * propose engines with their settings ("knobs"); notes say what an engine's sums are like.
 * Read beside NVIDIA's page on the backend interface: which attribute wants which type and how many of them. Descriptors may be
 * destroyed as soon as another that was made of them is finalised.                                                           */
#include "device/cuda/provider_cudnn.h"

#ifdef DG_HAVE_CUDNN
#include <cudnn.h>
#endif
#if !defined(DG_HAVE_CUDNN) || CUDNN_VERSION < 90800
const Library library_cudnn = {.built_without = "cuDNN's headers (cudnn.h of version 9.8 or later)"};
#else
#include "device/cuda/shared_library.h"
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* clang-format off */
#define CUDNN_FUNCTIONS(X)                                                                                             \
    X(cudnnCreate) X(cudnnDestroy) X(cudnnSetStream) X(cudnnGetVersion) X(cudnnBackendCreateDescriptor)                \
    X(cudnnBackendDestroyDescriptor) X(cudnnBackendSetAttribute) X(cudnnBackendGetAttribute) X(cudnnBackendFinalize)   \
    X(cudnnBackendExecute)
/* clang-format on */
typedef cudnnBackendDescriptor_t Descriptor;
typedef struct {
    void *library;
    cudnnHandle_t handle;
    Descriptor device; /* stands for a GPU that is not there, handle NULL; else NULL */
#define FIELD(f)  __typeof__(&f) f;
    CUDNN_FUNCTIONS(FIELD)
} Cudnn;
enum { SPATIAL = 2, DIMENSIONS = 4, MOST_KNOBS = CUDNN_KNOB_TYPE_COUNTS, MOST_CONFIGS = 100 };
enum { ID_X = 'x', ID_W = 'w', ID_Y = 'y' };
typedef struct {
    Descriptor x, w, y, conv, operation, graph;
} ConvGraph; /* of one operation */
typedef struct {
    cudnnBackendKnobType_t type;
    int64_t value;
} Knob;
typedef struct { /* an engine and its settings */
    int64_t engine;
    Knob knob[MOST_KNOBS];
    int knobs;
} Config;
typedef struct {
    const Cudnn *cudnn;
    ConvArgs a;
    ConvGraph graph;
    Descriptor config[MOST_CONFIGS]; /* what the heuristics of one mode have found; those that became plans are NULL */
    int64_t configs;
    int mode, at; /* of modes; of config: the next */
    Config latest;
} Search;
typedef struct {
    const Cudnn *cudnn;
    ConvArgs a;
    Config what;
    Descriptor config, plan;
    int64_t workspace;
} Plan;

/* ---- descriptors --------------------------------------------------------------------------------------------------------------- */
static bool new_descriptor(const Cudnn *f, cudnnBackendDescriptorType_t type, Descriptor *d) {
    *d = NULL;
    return f->cudnnBackendCreateDescriptor(type, d) == CUDNN_STATUS_SUCCESS;
}
static void destroy(const Cudnn *f, Descriptor *d) {
    if (*d) f->cudnnBackendDestroyDescriptor(*d);
    *d = NULL;
}
static bool set(const Cudnn *f, Descriptor d, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t count,
                const void *values) {
    return f->cudnnBackendSetAttribute(d, name, type, count, values) == CUDNN_STATUS_SUCCESS;
}
static bool set_descriptor(const Cudnn *f, Descriptor d, cudnnBackendAttributeName_t name, Descriptor value) {
    return set(f, d, name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &value);
}
static bool finalize(const Cudnn *f, Descriptor d) { return f->cudnnBackendFinalize(d) == CUDNN_STATUS_SUCCESS; }
/* Up to `most` values; their number, 0 where there are none. */
static int64_t get(const Cudnn *f, Descriptor d, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t most,
                   void *values) {
    int64_t count = 0;
    bool ok = f->cudnnBackendGetAttribute(d, name, type, most, &count, values) == CUDNN_STATUS_SUCCESS;
    return !ok || count < 0 ? 0 : count < most ? count : most;
}

/* ---- the graph ------------------------------------------------------------------------------------------------------------------ */
/* dims: images, channels, height, width, as cuDNN names them in any layout; the strides are those of channels last. */
static bool tensor(const Cudnn *f, Descriptor *d, DType type, int64_t id, const int64_t dims[DIMENSIONS]) {
    enum { ALIGNMENT = 16 };
    cudnnDataType_t t = type == DG_F16 ? CUDNN_DATA_HALF : type == DG_BF16 ? CUDNN_DATA_BFLOAT16 : CUDNN_DATA_FLOAT;
    int64_t c = dims[1], h = dims[2], w = dims[3], alignment = ALIGNMENT, strides[DIMENSIONS] = {h * w * c, 1, w * c, c};
    return new_descriptor(f, CUDNN_BACKEND_TENSOR_DESCRIPTOR, d) && set(f, *d, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &t) &&
           set(f, *d, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, DIMENSIONS, dims) &&
           set(f, *d, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, DIMENSIONS, strides) &&
           set(f, *d, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, &id) &&
           set(f, *d, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, 1, &alignment) && finalize(f, *d);
}
static bool convolution(const Cudnn *f, Descriptor *d, const ConvOptions *o) {
    cudnnDataType_t sums = CUDNN_DATA_FLOAT; /* of every type; that f32 may be multiplied as tf32 is a matter of the engine */
    cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION;
    int64_t spatial = SPATIAL, one[SPATIAL] = {1, 1}, strides[SPATIAL] = {o->stride, o->stride};
    int64_t before[SPATIAL] = {o->top, o->left}, after[SPATIAL] = {o->bottom, o->right};
    return new_descriptor(f, CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR, d) &&
           set(f, *d, CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &sums) &&
           set(f, *d, CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1, &mode) &&
           set(f, *d, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, CUDNN_TYPE_INT64, 1, &spatial) &&
           set(f, *d, CUDNN_ATTR_CONVOLUTION_DILATIONS, CUDNN_TYPE_INT64, SPATIAL, one) &&
           set(f, *d, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, CUDNN_TYPE_INT64, SPATIAL, strides) &&
           set(f, *d, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_TYPE_INT64, SPATIAL, before) &&
           set(f, *d, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, CUDNN_TYPE_INT64, SPATIAL, after) && finalize(f, *d);
}
static void conv_graph_free(const Cudnn *f, ConvGraph *g) {
    Descriptor *all[] = {&g->graph, &g->operation, &g->conv, &g->x, &g->w, &g->y};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) destroy(f, all[i]);
}
static bool conv_graph_new(const Cudnn *f, ConvGraph *g, const ConvArgs *a) {
    const int64_t x[DIMENSIONS] = {a->n, a->c, a->height, a->width}, w[DIMENSIONS] = {a->k, a->c, a->r, a->s};
    const int64_t y[DIMENSIONS] = {a->n, a->k, a->out_height, a->out_width};
    const float one = 1, zero = 0;
    *g = (ConvGraph){0};
    bool ok = tensor(f, &g->x, a->x_type, ID_X, x) && tensor(f, &g->w, a->x_type, ID_W, w) && tensor(f, &g->y, a->y_type, ID_Y, y) &&
              convolution(f, &g->conv, &a->options) &&
              new_descriptor(f, CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR, &g->operation) &&
              set_descriptor(f, g->operation, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC, g->conv) &&
              set_descriptor(f, g->operation, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, g->x) &&
              set_descriptor(f, g->operation, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, g->w) &&
              set_descriptor(f, g->operation, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y, g->y) &&
              set(f, g->operation, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, CUDNN_TYPE_FLOAT, 1, &one) &&
              set(f, g->operation, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA, CUDNN_TYPE_FLOAT, 1, &zero) &&
              finalize(f, g->operation) && new_descriptor(f, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR, &g->graph) &&
              set_descriptor(f, g->graph, CUDNN_ATTR_OPERATIONGRAPH_OPS, g->operation) &&
              (!f->handle || set(f, g->graph, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, &f->handle)) && finalize(f, g->graph);
    if (!ok) conv_graph_free(f, g);
    return ok;
}

/* ---- engines and their settings --------------------------------------------------------------------------------------------------- */
/* The heuristics, then engines that run nearly everything. */
static const cudnnBackendHeurMode_t modes[] = {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_B, CUDNN_HEUR_MODE_FALLBACK};
enum { MODES = sizeof modes / sizeof *modes };

static void search_forget(Search *s) {
    for (int i = 0; i < MOST_CONFIGS; i++) destroy(s->cudnn, &s->config[i]);
    s->configs = 0, s->at = 0;
}
/* What the heuristics of one mode propose. */
static void search_mode(Search *s, cudnnBackendHeurMode_t mode) {
    const Cudnn *f = s->cudnn;
    Descriptor heuristics = NULL;
    search_forget(s);
    bool ok = new_descriptor(f, CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR, &heuristics) &&
              set_descriptor(f, heuristics, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, s->graph.graph) &&
              set(f, heuristics, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode) &&
              (!f->device || set_descriptor(f, heuristics, CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, f->device)) && finalize(f, heuristics);
    for (int i = 0; ok && i < MOST_CONFIGS; i++) ok = new_descriptor(f, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, &s->config[i]);
    if (ok) s->configs = get(f, heuristics, CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, MOST_CONFIGS, s->config);
    destroy(f, &heuristics);
}
static unsigned notes_of(const Cudnn *f, Descriptor engine) {
    cudnnBackendNumericalNote_t numerical[CUDNN_NUMERICAL_NOTE_TYPE_COUNT];
    cudnnBackendBehaviorNote_t behavior[CUDNN_BEHAVIOR_NOTE_TYPE_COUNT];
    unsigned notes = 0;
    int64_t n = get(f, engine, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE, CUDNN_NUMERICAL_NOTE_TYPE_COUNT, numerical);
    for (int64_t i = 0; i < n; i++) switch (numerical[i]) {
        case CUDNN_NUMERICAL_NOTE_TENSOR_CORE: notes |= NOTE_TENSOR_CORES; break;
        case CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS: notes |= NOTE_NARROW_INPUTS; break;
        case CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION: notes |= NOTE_NARROW_SUMS; break;
        case CUDNN_NUMERICAL_NOTE_FFT: notes |= NOTE_FOURIER; break;
        case CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC: notes |= NOTE_UNSTEADY; break;
        case CUDNN_NUMERICAL_NOTE_WINOGRAD:
        case CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_4x4:
        case CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_6x6:
        case CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_13x13: notes |= NOTE_WINOGRAD; break;
        default: break; /* how NaNs go through */
        }
    n = get(f, engine, CUDNN_ATTR_ENGINE_BEHAVIOR_NOTE, CUDNN_TYPE_BEHAVIOR_NOTE, CUDNN_BEHAVIOR_NOTE_TYPE_COUNT, behavior);
    for (int64_t i = 0; i < n; i++)
        if (behavior[i] == CUDNN_BEHAVIOR_NOTE_REQUIRES_FILTER_INT8x32_REORDER ||
            behavior[i] == CUDNN_BEHAVIOR_NOTE_REQUIRES_BIAS_INT8x32_REORDER)
            notes |= NOTE_OTHER_WEIGHTS;
    return notes;
}
/* Which engine a configuration is of, its notes and settings. */
static bool read_config(const Cudnn *f, Descriptor config, Config *c, unsigned *notes) {
    Descriptor engine = NULL, choice[MOST_KNOBS] = {NULL};
    bool ok = new_descriptor(f, CUDNN_BACKEND_ENGINE_DESCRIPTOR, &engine) &&
              get(f, config, CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &engine) == 1 &&
              get(f, engine, CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64, 1, &c->engine) == 1;
    if (ok) *notes = notes_of(f, engine);
    for (int i = 0; ok && i < MOST_KNOBS; i++) ok = new_descriptor(f, CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR, &choice[i]);
    c->knobs = ok ? (int)get(f, config, CUDNN_ATTR_ENGINECFG_KNOB_CHOICES, CUDNN_TYPE_BACKEND_DESCRIPTOR, MOST_KNOBS, choice) : 0;
    for (int i = 0; ok && i < c->knobs; i++)
        ok = get(f, choice[i], CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, CUDNN_TYPE_KNOB_TYPE, 1, &c->knob[i].type) == 1 &&
             get(f, choice[i], CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE, CUDNN_TYPE_INT64, 1, &c->knob[i].value) == 1;
    for (int i = 0; i < MOST_KNOBS; i++) destroy(f, &choice[i]);
    destroy(f, &engine);
    return ok;
}
/* A configuration made anew for a graph. */
static bool write_config(const Cudnn *f, Descriptor graph, const Config *c, Descriptor *config) {
    Descriptor engine = NULL, choice[MOST_KNOBS] = {NULL};
    *config = NULL;
    bool ok = new_descriptor(f, CUDNN_BACKEND_ENGINE_DESCRIPTOR, &engine) &&
              set_descriptor(f, engine, CUDNN_ATTR_ENGINE_OPERATION_GRAPH, graph) &&
              set(f, engine, CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64, 1, &c->engine) &&
              (!f->device || set_descriptor(f, engine, CUDNN_ATTR_ENGINE_DEVICEPROP, f->device)) && finalize(f, engine);
    for (int i = 0; ok && i < c->knobs; i++)
        ok = new_descriptor(f, CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR, &choice[i]) &&
             set(f, choice[i], CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, CUDNN_TYPE_KNOB_TYPE, 1, &c->knob[i].type) &&
             set(f, choice[i], CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE, CUDNN_TYPE_INT64, 1, &c->knob[i].value) && finalize(f, choice[i]);
    ok = ok && new_descriptor(f, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, config) &&
         set_descriptor(f, *config, CUDNN_ATTR_ENGINECFG_ENGINE, engine) &&
         (!c->knobs || set(f, *config, CUDNN_ATTR_ENGINECFG_KNOB_CHOICES, CUDNN_TYPE_BACKEND_DESCRIPTOR, c->knobs, choice)) &&
         finalize(f, *config);
    for (int i = 0; i < c->knobs; i++) destroy(f, &choice[i]);
    destroy(f, &engine);
    if (!ok) destroy(f, config);
    return ok;
}
static void name_config(const Config *c, char name[PLAN_NAME]) {
    int n = snprintf(name, PLAN_NAME, "engine %lld", (long long)c->engine);
    for (int i = 0; i < c->knobs && n < PLAN_NAME; i++)
        n += snprintf(name + n, (size_t)(PLAN_NAME - n), "%s%d=%lld", i ? "," : " knobs ", (int)c->knob[i].type,
                      (long long)c->knob[i].value);
}

/* ---- plans ------------------------------------------------------------------------------------------------------------------------ */
static void cudnn_drop(void *plan) {
    Plan *p = plan;
    destroy(p->cudnn, &p->plan), destroy(p->cudnn, &p->config);
    free(p);
}
/* Takes the configuration. NULL: the engine does not run this after all. */
static Plan *plan_of(const Cudnn *f, const ConvArgs *a, const Config *what, Descriptor config) {
    Plan *p = dg_alloc(sizeof *p);
    *p = (Plan){.cudnn = f, .a = *a, .what = *what, .config = config};
    bool ok = new_descriptor(f, CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR, &p->plan) &&
              set_descriptor(f, p->plan, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, config) &&
              (f->device ? set_descriptor(f, p->plan, CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP, f->device)
                         : set(f, p->plan, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, &f->handle)) &&
              finalize(f, p->plan) && get(f, p->plan, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64, 1, &p->workspace) == 1 &&
              p->workspace >= 0;
    if (ok) return p;
    cudnn_drop(p);
    return NULL;
}
static void *cudnn_search(void *library, const ConvArgs *a) {
    enum { FINISHED = CONV_SCALE | CONV_ACT | CONV_GATE | CONV_POSITIONS }; /* by cuda_conv_finish */
    if (!conv_fits(a->needs, CONV_TAPS | CONV_PADS | CONV_STRIDE | FINISHED)) return NULL;
    Search *s = dg_alloc(sizeof *s);
    s->cudnn = library, s->a = *a, s->mode = -1;
    if (conv_graph_new(s->cudnn, &s->graph, a)) return s;
    free(s);
    return NULL;
}
static bool cudnn_next(void *search, Proposal *q) {
    Search *s = search;
    for (;; s->at++) {
        while (s->at >= s->configs) {
            if (s->mode + 1 >= MODES) return false;
            search_mode(s, modes[++s->mode]);
        }
        if (read_config(s->cudnn, s->config[s->at], &s->latest, &q->notes)) break;
    }
    name_config(&s->latest, q->name);
    s->at++;
    return true;
}
static void *cudnn_build(void *search) {
    Search *s = search;
    Descriptor config = s->config[s->at - 1];
    s->config[s->at - 1] = NULL;
    return plan_of(s->cudnn, &s->a, &s->latest, config);
}
static void cudnn_end(void *search) {
    Search *s = search;
    search_forget(s);
    conv_graph_free(s->cudnn, &s->graph);
    free(s);
}
static void *cudnn_again(const void *plan, int images) {
    const Plan *p = plan;
    ConvGraph graph;
    Descriptor config;
    ConvArgs a = p->a;
    a.n = images;
    if (!conv_graph_new(p->cudnn, &graph, &a)) return NULL;
    Plan *other = write_config(p->cudnn, graph.graph, &p->what, &config) ? plan_of(p->cudnn, &a, &p->what, config) : NULL;
    conv_graph_free(p->cudnn, &graph);
    return other;
}
static size_t cudnn_workspace(const void *plan) { return (size_t)((const Plan *)plan)->workspace; }
static bool cudnn_run(const void *plan, const void *x, const void *w, void *y, void *workspace) {
    const Plan *p = plan;
    const Cudnn *f = p->cudnn;
    const int64_t id[] = {ID_X, ID_W, ID_Y};
    const void *data[] = {x, w, y};
    Descriptor pack = NULL;
    bool ok = f->handle && new_descriptor(f, CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR, &pack) &&
              set(f, pack, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, 3, id) &&
              set(f, pack, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, 3, data) &&
              set(f, pack, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &workspace) && finalize(f, pack) &&
              f->cudnnBackendExecute(f->handle, p->plan, pack) == CUDNN_STATUS_SUCCESS;
    destroy(f, &pack);
    return ok;
}

/* ---- the library ------------------------------------------------------------------------------------------------------------------- */
#define TEXT(x)   #x
#define NUMBER(x) TEXT(x)
static void cudnn_close(void *library) {
    Cudnn *f = library;
    destroy(f, &f->device);
    if (f->handle) f->cudnnDestroy(f->handle);
    dlclose(f->library);
    free(f);
}
/* The library's functions, without a handle. */
static Cudnn *cudnn_load(Text *looked) {
    static const SharedLibrary files = {
        .variable = "DG_CUDNN_FILE",
        .name = {"libcudnn.so." NUMBER(CUDNN_MAJOR)},
#ifdef DG_CUDNN_FILE
        .built = DG_CUDNN_FILE,
#endif
        .wheel = {"nvidia/cudnn/lib/libcudnn.so." NUMBER(CUDNN_MAJOR)},
    };
    void *library = shared_library_load(&files, looked);
    if (!library) return NULL;
    Cudnn *f = dg_alloc(sizeof *f);
    f->library = library;
    const char *missing = NULL;
#define LOAD(name)                                                                                                                         \
    if (!shared_library_symbol(library, #name, &f->name)) missing = #name;
    CUDNN_FUNCTIONS(LOAD)
    if (!missing) return f;
    text_printf(looked, "the library that was found has no %s: it is older than this program wants", missing);
    dlclose(library);
    free(f);
    return NULL;
}
static void *cudnn_open(void *stream, Text *looked) {
    Cudnn *f = cudnn_load(looked);
    if (f && f->cudnnCreate(&f->handle) != CUDNN_STATUS_SUCCESS) f->handle = NULL;
    if (!f || (f->handle && f->cudnnSetStream(f->handle, (cudaStream_t)stream) == CUDNN_STATUS_SUCCESS)) return f;
    text_printf(looked, "it was found and does not start on this device");
    cudnn_close(f);
    return NULL;
}
void *cudnn_open_described(const char *json, Text *looked) {
    Cudnn *f = cudnn_load(looked);
    if (!f) return NULL;
    if (new_descriptor(f, CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR, &f->device) &&
        set(f, f->device, CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, CUDNN_TYPE_CHAR, (int64_t)strlen(json), json) &&
        finalize(f, f->device))
        return f;
    text_printf(looked, "it was found and does not take the description of a device");
    cudnn_close(f);
    return NULL;
}
static size_t cudnn_version(const void *library) { return ((const Cudnn *)library)->cudnnGetVersion(); }
const Library library_cudnn = {.open = cudnn_open,
                               .close = cudnn_close,
                               .version = cudnn_version,
                               .search = cudnn_search,
                               .next = cudnn_next,
                               .build = cudnn_build,
                               .end = cudnn_end,
                               .again = cudnn_again,
                               .workspace = cudnn_workspace,
                               .run = cudnn_run,
                               .drop = cudnn_drop};
#endif
