/* cudnn_plans_test.c -- cuDNN itself, without a GPU: since 9.8 it plans for a device that is only described. All of provider_cudnn.c runs
 * but the execution of a plan: graphs, heuristics, notes, plans, the same plan for other numbers of images. NOT RUN where there is no
 * cuDNN.                                                                                                                    */
#include "device/cuda/provider_cudnn.h"
#include "base/error.h"
#include "../check.h"
#include <stdlib.h>

#ifdef DG_HAVE_CUDNN
/* What differs between devices; the rest is the same of all since 8.0. Numbers are NVIDIA's tables of compute capabilities. */
typedef struct {
    const char *name;
    int capability, processors, shared; /* shared: bytes of shared memory that a block may have */
} Gpu;
static const Gpu gpus[] = {{"NVIDIA H100 80GB HBM3", 900, 132, 232448}, {"NVIDIA A100-SXM4-80GB", 800, 108, 166912}};
static void *open_described(const Gpu *g, Text *looked) {
    Text json = {0};
    text_printf(
        &json,
        "{\"maxGridSize\": [2147483647, 65535, 65535], \"maxBlockSize\": [1024, 1024, 64], \"regsPerBlock\": 65536, "
        "\"multiProcessorCount\": %d, \"warpSize\": 32, \"maxSharedMemoryPerBlock\": 49152, \"maxSharedMemoryPerBlockOptin\": %d, "
        "\"reservedSharedMemoryPerBlock\": 1024, \"maxRegistersPerSM\": 65536, \"maxCtasPerSM\": 32, \"maxThreadsPerBlock\": 1024, "
        "\"maxThreadsPerSM\": 2048, \"pciDeviceId\": 0, \"isTccDriver\": 0, \"supportCoopLaunch\": 1, \"totalGlobalMem\": 80000000000, "
        "\"smClockRateKHz\": 1755000, \"memClockRateKHz\": 2619000, \"l2CacheSize\": 52428800, \"cudaDeviceId\": 0, "
        "\"deviceVer\": %d, \"driverVer\": 13000, \"deviceName\": \"%s\"}",
        g->processors, g->shared, g->capability, g->name);
    void *library = cudnn_open_described(json.text, looked);
    text_free(&json);
    return library;
}
typedef struct {
    const char *name;
    int side, c, k, filter;
    ConvOptions o;
    unsigned needs;
} Layer;
static const Layer layers[] = {
    {"3x3", 32, 256, 256, 3, {1, 1, 1, 1, 1, 1, ACT_NONE}, CONV_TAPS | CONV_PADS},
    {"1x1", 16, 256, 768, 1, {1, 0, 0, 0, 0, 1, ACT_NONE}, 0},
    {"stride 2, padded below and to the right", 32, 128, 128, 3, {2, 0, 0, 1, 1, 1, ACT_NONE}, CONV_TAPS | CONV_PADS | CONV_STRIDE},
    {"7x7", 17, 192, 192, 7, {1, 3, 3, 3, 3, 1, ACT_NONE}, CONV_TAPS | CONV_PADS},
};
static const struct {
    const char *name;
    DType type;
    bool tf32;
} types[] = {{"fp16", DG_F16, false}, {"bf16", DG_BF16, false}, {"tf32", DG_F32, true}, {"fp32", DG_F32, false}};
static ConvArgs args_of(const Layer *l, DType type, bool tf32, int images) {
    int out = (l->side + l->o.top + l->o.bottom - l->filter) / l->o.stride + 1;
    return (ConvArgs){.x_type = type,
                      .add_type = type,
                      .y_type = type,
                      .tf32 = tf32,
                      .n = images,
                      .height = l->side,
                      .width = l->side,
                      .c = l->c,
                      .k = l->k,
                      .r = l->filter,
                      .s = l->filter,
                      .out_height = out,
                      .out_width = out,
                      .options = l->o,
                      .needs = l->needs};
}
enum { IMAGES = 32, OTHERS = 3 };
/* Proposals of which some may run: those of tensor cores alone, in strict f32 those without. */
static void check_layer(const Gpu *g, void *library, const Layer *l, size_t t) {
    static const int others[OTHERS] = {1, 7, 264};
    bool strict = types[t].type == DG_F32 && !types[t].tf32;
    ConvArgs a = args_of(l, types[t].type, types[t].tf32, IMAGES);
    void *search = library_cudnn.search(library, &a);
    if (!CHECK(search, "%s, %s, %s: cuDNN refuses the graph", g->name, l->name, types[t].name)) return;
    Proposal q;
    int proposals = 0, plans = 0, again = 0;
    char first[PLAN_NAME] = "";
    while (plans < 4 && proposals < 400 && library_cudnn.next(search, &q)) {
        proposals++;
        CHECK(strlen(q.name) > strlen("engine ") && strlen(q.name) < PLAN_NAME - 1, "%s, %s: named %s", l->name, types[t].name, q.name);
        if (q.notes & ~(unsigned)NOTE_TENSOR_CORES || (strict && q.notes)) continue;
        void *plan = library_cudnn.build(search);
        if (!plan) continue;
        if (!plans++) memcpy(first, q.name, sizeof first);
        for (int i = 0; i < OTHERS; i++) {
            void *other = library_cudnn.again(plan, others[i]);
            again += other != NULL;
            if (other) library_cudnn.drop(other);
        }
        CHECK(!library_cudnn.run(plan, &a, &a, &a, NULL), "%s: a plan runs without a GPU", q.name);
        library_cudnn.drop(plan);
    }
    library_cudnn.end(search);
    printf("%s, %s, %s: %d plans of %d proposals, %d for other numbers of images; the first by %s\n", g->name, l->name, types[t].name,
           plans, proposals, again, first);
    CHECK(plans >= (strict ? 1 : 4), "%s, %s, %s: %d plans of %d proposals", g->name, l->name, types[t].name, plans, proposals);
    CHECK(again >= plans, "%s, %s, %s: of %d plans %d for other numbers of images", g->name, l->name, types[t].name, plans, again);
}
/* cuDNN computes the size of y from strides and paddings itself: a graph that says another is none. */
static void check_refused(void *library) {
    for (size_t i = 0; i < sizeof layers / sizeof *layers; i++)
        for (int k = 0; k < 4; k++) {
            ConvArgs a = args_of(&layers[i], DG_F16, false, IMAGES);
            if (k == 0) a.out_height++;
            if (k == 1) a.out_width--;
            if (k == 2) a.options.bottom += a.options.stride;
            if (k == 3) a.options.left += a.options.stride;
            void *search = library_cudnn.search(library, &a);
            CHECK(!search, "%s: a y of a wrong size is taken, %d", layers[i].name, k);
            if (search) library_cudnn.end(search);
        }
    ConvArgs more = args_of(&layers[0], DG_F16, false, IMAGES);
    more.needs |= 1u << 30;
    CHECK(!library_cudnn.search(library, &more), "a layer that needs what nobody knows is taken");
}
int main(void) {
    for (size_t i = 0; i < sizeof gpus / sizeof *gpus; i++) {
        Text looked = {0};
        void *library = open_described(&gpus[i], &looked);
        bool old = looked.text && strstr(looked.text, "is older than"),
             absent = old || (looked.text && !strncmp(looked.text, "not found", 9));
        if (absent) not_run("cuDNN's plans for %s: %s", gpus[i].name, looked.text);
        else CHECK(library, "cuDNN's plans for %s: %s", gpus[i].name, looked.text);
        for (size_t l = 0; library && l < sizeof layers / sizeof *layers; l++)
            for (size_t t = 0; t < sizeof types / sizeof *types; t++) check_layer(&gpus[i], library, &layers[l], t);
        if (library) {
            CHECK(library_cudnn.version(library) >= 90800, "version %zu", library_cudnn.version(library));
            check_refused(library);
            library_cudnn.close(library);
        }
        text_free(&looked);
    }
    return check_done("cudnn_plans_test");
}
#else
int main(void) {
    not_run("cuDNN's plans: this build has no %s", library_cudnn.built_without);
    return check_done("cudnn_plans_test");
}
#endif
