/* fake_providers.c -- library.h without a library, so that all but the calls of one runs without a GPU: choosing among proposals, plans for
 * many numbers of images, finishing. The one that calls itself cudnn remembers its last result, and is fast when it is asked for
 * the same again, as a trial does; the other is not there.
 *   FAKE_PROVIDER=exact (the kernels' own bits) | batch (bits that depend on the number of images) | place (on the
 *                 place in the batch) | wrong | refuses | absent | once (no plan for another number of images) | slow | crowd (proposals
 *                 of which all but the last are not to run, or are slow) */
#include "device/cuda/library.h"
#include <cuda_runtime_api.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    cudaStream_t stream;
} Fake;
typedef struct {
    const char *name;
    unsigned notes;
    bool large, none, slow; /* its workspace is; it cannot be built; it remembers nothing */
} Offer;
static const Offer single[] = {{.name = "fake"}}, slow[] = {{.name = "fake", .slow = true}};
static const Offer crowd[] = {{.name = "unsteady", .notes = NOTE_UNSTEADY},
                              {.name = "winograd", .notes = NOTE_WINOGRAD | NOTE_TENSOR_CORES},
                              {.name = "fourier", .notes = NOTE_FOURIER},
                              {.name = "narrow inputs", .notes = NOTE_NARROW_INPUTS | NOTE_TENSOR_CORES},
                              {.name = "narrow sums", .notes = NOTE_NARROW_SUMS},
                              {.name = "other weights", .notes = NOTE_OTHER_WEIGHTS},
                              {.name = "large", .large = true},
                              {.name = "none", .none = true},
                              {.name = "slow", .slow = true},
                              {.name = "slow", .slow = true},
                              {.name = "tensor cores", .notes = NOTE_TENSOR_CORES, .slow = true},
                              {.name = "fake"}};
typedef struct {
    Fake *fake;
    ConvArgs a;
    const Offer *offer;
    int offers, at;
} Search;
typedef struct {
    Fake *fake;
    ConvArgs a;
    const Offer *offer;
    size_t x_bytes, y_bytes;
    char *x, *y; /* the last call's; NULL before it */
} Plan;
static bool mode(const char *wanted) {
    const char *s = getenv("FAKE_PROVIDER");
    return !strcmp(s ? s : "exact", wanted);
}
static void *fake_open(void *stream, Text *looked) {
    text_printf(looked, "not found: looked for fakes everywhere");
    if (mode("absent")) return NULL;
    Fake *f = dg_alloc(sizeof *f);
    f->stream = stream;
    return f;
}
static void fake_close(void *library) { free(library); }
static size_t fake_version(const void *library) {
    (void)library;
    return 1;
}
static void *fake_search(void *library, const ConvArgs *a) {
    Search *s = dg_alloc(sizeof *s);
    bool all = mode("crowd");
    *s = (Search){.fake = library, .a = *a, .offer = all ? crowd : mode("slow") ? slow : single};
    s->offers = all ? sizeof crowd / sizeof *crowd : 1;
    return s;
}
static bool fake_next(void *search, Proposal *q) {
    Search *s = search;
    if (s->at == s->offers) return false;
    const Offer *o = &s->offer[s->at++];
    q->notes = o->notes;
    snprintf(q->name, sizeof q->name, "%s", o->name);
    return true;
}
static Plan *plan_new(Fake *f, const ConvArgs *a, const Offer *o) {
    Plan *p = dg_alloc(sizeof *p);
    *p = (Plan){.fake = f, .a = *a, .offer = o};
    p->x_bytes = (size_t)a->n * (size_t)(a->height * a->width * a->c) * dtype_bytes(a->x_type);
    p->y_bytes = (size_t)a->n * (size_t)(a->out_height * a->out_width * a->k) * dtype_bytes(a->y_type);
    return p;
}
static void *fake_build(void *search) {
    Search *s = search;
    const Offer *o = &s->offer[s->at - 1];
    return o->none ? NULL : plan_new(s->fake, &s->a, o);
}
static void fake_end(void *search) { free(search); }
static void *fake_again(const void *plan, int images) {
    const Plan *p = plan;
    ConvArgs a = p->a;
    a.n = images;
    return mode("once") ? NULL : plan_new(p->fake, &a, p->offer);
}
static size_t fake_workspace(const void *plan) {
    const Plan *p = plan;
    return p->offer->large ? (size_t)1 << 30 : 1000 + (size_t)p->a.n;
}
static void fake_drop(void *plan) {
    Plan *p = plan;
    free(p->x), free(p->y);
    free(p);
}
static bool fake_run(const void *plan, const void *x, const void *w, void *y, void *workspace) {
    Plan *p = (Plan *)(uintptr_t)plan; /* remembers */
    cudaStream_t stream = p->fake->stream;
    ConvArgs a = p->a;
    if (!workspace || mode("refuses")) return false;
    bool now = cudaStreamSynchronize(stream) == cudaSuccess; /* not while work is captured */
    if (!now) cudaGetLastError();
    if (now && p->x && !memcmp(p->x, x, p->x_bytes))
        return cudaMemcpyAsync(y, p->y, p->y_bytes, cudaMemcpyHostToDevice, stream) == cudaSuccess;
    a.x = x, a.w = w, a.y = y, a.bias = a.gate = NULL, a.add = NULL, a.add_kind = OPERAND_NONE, a.stats = NULL, a.options.act = ACT_NONE;
    a.options.scale = mode("wrong") ? 2 : mode("batch") ? 1 + (float)a.n * 0x1p-16f : 1;
    if (cuda_conv(&a, stream) != 0) return false;
    if (mode("place")) { /* the last image is computed in another way */
        size_t before = (size_t)(a.n - 1);
        ConvArgs last = a;
        last.x = (const char *)x + before * (p->x_bytes / (size_t)a.n), last.y = (char *)y + before * (p->y_bytes / (size_t)a.n);
        last.n = 1, last.options.scale = 1 + 0x1p-16f;
        if (cuda_conv(&last, stream) != 0) return false;
    }
    if (!now || p->offer->slow) return true;
    if (!p->x) p->x = dg_alloc(p->x_bytes), p->y = dg_alloc(p->y_bytes);
    if (cudaStreamSynchronize(stream) != cudaSuccess) return false;
    memcpy(p->x, x, p->x_bytes), memcpy(p->y, y, p->y_bytes); /* this device's memory is the host's */
    return true;
}
const Library library_cudnn = {.open = fake_open,
                               .close = fake_close,
                               .version = fake_version,
                               .search = fake_search,
                               .next = fake_next,
                               .build = fake_build,
                               .end = fake_end,
                               .again = fake_again,
                               .workspace = fake_workspace,
                               .run = fake_run,
                               .drop = fake_drop};
const Library library_cublaslt = {.built_without = "a fake of it"};
