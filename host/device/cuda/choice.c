/* choice.c -- which implementation runs a convolution, chosen by measurement. Images must not depend on the batch. So the choice
 * is made at REFERENCE images, where a library must agree with our own kernels. Then it is planned for the batch, for half of it,
 * and so on to one image, wherever that gives the same bits: a call of any number of images is a few of these plans one after
 * the other. Where fewer images are left than the least plan takes, it runs on a padded copy. Each is timed with all that it leaves:
 * a library's convolution with the pass that ends it, both with the statistics for the norm that follows.                    */
#include "device/cuda/choice.h"
#include "device/cuda/autotune.h"
#include "base/dtype.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { REFERENCE = 32, PATTERN_IMAGES = 8, COMPARED_IMAGES = 2, ROUNDS = 3, TIMED = 5, WARM_UP = 2 };
enum { PLANS_TIMED = 6, MOST_CONVS = PLANS_TIMED * (PROVIDERS - 1), MOST_CANDIDATES = 1 + MOST_CONVS }; /* of each library; of all */
enum { PLANS = 17 }; /* MAX_BATCH can be halved 15 times; and REFERENCE */
_Static_assert(MAX_BATCH < 1 << (PLANS - 1), "a plan for every half of the batch");

typedef struct {
    int images;
    ProviderConv *conv;
} Plan;
struct ConvChoice {
    Plan plan[PLANS]; /* all give an image the same bits; those of more images first */
    int plans;
    void *workspace;     /* enough for each of them */
    char *pad_x, *pad_y; /* of as many images as the last plan takes, where that is more than one; or NULL */
};
typedef struct { /* Cuda.choices */
    ProviderSet *set;
    Provider only; /* runs all that it can; PROVIDER_OWN: whoever is fastest does */
    Autotune *autotune;
    Error refused; /* why the file that remembers is not used; or empty */
} Choices;

bool cuda_choices_open(Device *d, Error *e) {
    Cuda *c = d->impl;
    if (d->provider == DEVICE_OWN) return true;
    Provider only = d->provider == DEVICE_CUDNN ? PROVIDER_CUDNN : d->provider == DEVICE_CUBLASLT ? PROVIDER_CUBLASLT : PROVIDER_OWN;
    const Choices *chosen = c->choices; /* whose plans are in use */
    if (chosen) return chosen->only == only || dg_error(e, "this device has a provider already, and is asked for another");
    ProviderSet *set = providers_open(c->stream, only, e);
    if (!set) return false;
    Choices *h = c->choices = dg_alloc(sizeof *h);
    char device[512], libraries[128], name[256], *path = autotune_path();
    h->set = set, h->only = only;
    providers_describe(h->set, libraries, sizeof libraries);
    cuda_describe(d, name, sizeof name);
    snprintf(device, sizeof device, "%s, %s%s%s", name, libraries, only ? ", only " : "", only ? provider_name[only] : "");
    h->autotune = autotune_open(path, device, &h->refused);
    free(path);
    return true;
}
bool cuda_choices(const Device *d, Text *chosen, Text *measured) {
    const Choices *h = ((const Cuda *)d->impl)->choices;
    if (!h) { /* no layer has asked */
        text_printf(chosen, "{}"), text_printf(measured, "{}");
        return true;
    }
    autotune_chosen(h->autotune, chosen);
    autotune_measured(h->autotune, measured);
    if (!h->refused.text[0]) return true;
    measured->len--; /* the object's end */
    text_printf(measured, ", \"not remembered\": ");
    text_json_string(measured, h->refused.text);
    text_printf(measured, "}");
    return true;
}
void cuda_choices_close(Device *d) {
    Cuda *c = d->impl;
    Choices *h = c->choices;
    if (!h) return;
    autotune_close(h->autotune, NULL); /* a cache that cannot be written is measured again next time */
    providers_close(h->set);
    free(h);
    c->choices = NULL;
}

/* ---- sizes -------------------------------------------------------------------------------------------------------------------- */
/* of one image */
static size_t x_bytes(const ConvArgs *a) { return (size_t)(a->height * a->width) * (size_t)a->c * dtype_bytes(a->x_type); }
static size_t y_values(const ConvArgs *a) { return (size_t)(a->out_height * a->out_width) * (size_t)a->k; }
static size_t y_bytes(const ConvArgs *a) { return y_values(a) * dtype_bytes(a->y_type); }
/* The key of a layer's measurement: all that its time depends on, precision included. */
static void layer_name(const ConvArgs *a, char *text, size_t size) {
    const ConvOptions *o = &a->options;
    const char *add = "", *act = "";
    char pads[64], stride[32] = "";
    if (o->top == o->left && o->top == o->bottom && o->top == o->right) snprintf(pads, sizeof pads, "%d", o->top);
    else snprintf(pads, sizeof pads, "%d,%d,%d,%d", o->top, o->left, o->bottom, o->right);
    if (o->stride != 1) snprintf(stride, sizeof stride, " stride %d", o->stride);
    switch (a->add_kind) {
    case OPERAND_NONE: break;
    case OPERAND_FULL: add = a->add_type == a->y_type ? " residual" : " residual fp32"; break; /* f32 beside 16 bits is all that there is */
    case OPERAND_VECTOR: add = " vector"; break;
    case OPERAND_POSITIONS: add = " positions"; break;
    }
    switch (o->act) {
    case ACT_NONE: break;
    case ACT_RELU: act = " relu"; break;
    case ACT_GELU_TANH: act = " gelu-tanh"; break;
    }
    snprintf(text, size, "conv %s%s %dx%d pad %s%s, %dx%dx%d to %d%s%s%s%s%s", dtype_name(a->x_type), a->tf32 ? " tf32" : "", a->r, a->s,
             pads, stride, a->height, a->width, a->c, a->k, a->bias ? " bias" : "", a->gate ? " gate" : "", add, act,
             a->stats ? " statistics" : "");
}

/* ---- a trial ------------------------------------------------------------------------------------------------------------------- */
typedef struct {
    Device *d;
    ConvArgs a;                     /* REFERENCE images of made-up values, the layer's own weight */
    int images;                     /* that x and y have room for */
    void *x, *y[2];                 /* y[0]: the kernels' own */
    void *gate, *add, *stats;       /* NULL: the layer has none */
    ProviderConv *conv[MOST_CONVS]; /* what the libraries have for this layer, the best of each first by its own guess */
    int convs;
    void *workspace; /* enough for each of them */
} Trial;

/* Made-up values, those of PATTERN_IMAGES images again and again. */
static void fill(Device *d, void *memory, DType type, size_t values, int images) {
    size_t bytes = values * dtype_bytes(type);
    void *stored = dg_alloc(PATTERN_IMAGES * bytes);
    dtype_made_up(type, stored, PATTERN_IMAGES * values);
    for (int i = 0; i < images; i += PATTERN_IMAGES) {
        int n = images - i < PATTERN_IMAGES ? images - i : PATTERN_IMAGES;
        cuda_upload(d, (char *)memory + (size_t)i * bytes, stored, (size_t)n * bytes);
    }
    free(stored);
}
/* What a layer reads beside x and w; NULL where it has none. */
static void *made_up(Device *d, const void *wanted, DType type, size_t values, int images, bool *ok) {
    void *memory = wanted ? cuda_alloc(d, (size_t)images * values * dtype_bytes(type)) : NULL;
    if (memory) fill(d, memory, type, values, images);
    *ok &= memory || !wanted;
    return memory;
}
/* Memory of so many bytes, in *p; none for none. */
static bool reserve(Device *d, size_t bytes, void **p) { return !bytes || (*p = cuda_alloc(d, bytes)) != NULL; }
static bool trial_begin(Trial *t, Device *d, const Choices *h, const ConvArgs *a) {
    *t = (Trial){.d = d, .a = *a, .images = a->n > REFERENCE ? a->n : REFERENCE};
    t->a.n = REFERENCE;
    size_t workspace = 0, stats = a->stats ? REFERENCE * (y_values(a) / NORM_SEGMENT) * 2 * sizeof(float) : 0;
    bool ok = true;
    for (Provider p = PROVIDER_OWN + 1; p < PROVIDERS; p++)
        if (!h->only || p == h->only) t->convs += provider_conv_find(h->set, p, &t->a, t->conv + t->convs, PLANS_TIMED);
    if (!t->convs) return true;
    for (int i = 0; i < t->convs; i++) {
        size_t own = provider_conv_workspace(t->conv[i]);
        if (own > workspace) workspace = own;
    }
    t->a.x = t->x = cuda_alloc(d, (size_t)t->images * x_bytes(a));
    for (int i = 0; i < 2; i++) t->y[i] = cuda_alloc(d, (size_t)t->images * y_bytes(a));
    ok &= reserve(d, workspace, &t->workspace) && reserve(d, stats, &t->stats);
    t->gate = made_up(d, a->gate, DG_F32, (size_t)a->k, REFERENCE, &ok);
    t->add = made_up(d, a->add, a->add_type, a->add_kind == OPERAND_VECTOR ? (size_t)a->k : y_values(a),
                     a->add_kind == OPERAND_POSITIONS ? 1 : REFERENCE, &ok);
    if (!ok || !t->x || !t->y[0] || !t->y[1]) return false;
    fill(d, t->x, a->x_type, x_bytes(a) / dtype_bytes(a->x_type), t->images);
    return true;
}
static void trial_end(Trial *t) {
    cuda_sync(t->d);
    void *all[] = {t->x, t->y[0], t->y[1], t->gate, t->add, t->stats, t->workspace};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i]) cuda_release(t->d, all[i]);
    for (int i = 0; i < t->convs; i++) provider_conv_free(t->conv[i]);
}
/* Relative L2 distance of the first images of the two results. */
static double distance(const Trial *t) {
    size_t bytes = COMPARED_IMAGES * y_bytes(&t->a), count = COMPARED_IMAGES * y_values(&t->a);
    void *stored = dg_alloc(bytes);
    float *v[2];
    for (int i = 0; i < 2; i++) {
        v[i] = dg_alloc(count * sizeof *v[i]);
        cuda_download(t->d, stored, t->y[i], bytes);
        dtype_convert(DG_F32, v[i], t->a.y_type, stored, count);
    }
    double num = 0, den = 0;
    for (size_t i = 0; i < count; i++) num += pow((double)v[1][i] - (double)v[0][i], 2), den += pow((double)v[0][i], 2);
    free(stored), free(v[0]), free(v[1]);
    return den > 0 ? sqrt(num / den) : NAN;
}
/* Whether n images of y are the first ones of `first` again and again, bit for bit, as the inputs are: no result depends on its
 * place in the batch.                                                                                                      */
static bool repeats(const Trial *t, const void *y, int n, const void *first) {
    size_t image = y_bytes(&t->a), bytes = PATTERN_IMAGES * image;
    char *wanted = dg_alloc(2 * bytes), *found = wanted + bytes;
    bool ok = true;
    cuda_download(t->d, wanted, first, bytes);
    for (int i = 0; i < n && ok; i += PATTERN_IMAGES) {
        size_t part = (size_t)(n - i < PATTERN_IMAGES ? n - i : PATTERN_IMAGES) * image;
        cuda_download(t->d, found, (const char *)y + (size_t)i * image, part);
        ok = !memcmp(wanted, found, part);
    }
    free(wanted);
    return ok;
}
static double tolerance(const ConvArgs *a) { /* a few roundings of the results, or of the operands */
    return 4 * (a->x_type == DG_BF16 ? 0x1p-8 : a->x_type == DG_F16 || a->tf32 ? 0x1p-11 : 0x1p-20);
}
static ConvArgs bare(const Trial *t, void *y) { /* the convolution alone */
    ConvArgs a = t->a;
    a.y = y, a.bias = a.gate = a.stats = NULL, a.add = NULL, a.add_kind = OPERAND_NONE;
    a.options.scale = 1, a.options.act = ACT_NONE;
    return a;
}
static bool agrees(const Trial *t, const ProviderConv *c) {
    ConvArgs own = bare(t, t->y[0]);
    return cuda_conv(&own, cuda_stream(t->d)) == 0 && provider_conv_run(c, t->x, t->a.w, t->y[1], t->workspace) &&
           distance(t) <= tolerance(&t->a) && repeats(t, t->y[1], REFERENCE, t->y[1]);
}
/* One call with the layer's own epilogue and the statistics that it leaves. NULL: by our own kernels. */
static bool call(const Trial *t, const ProviderConv *c) {
    ConvArgs a = t->a;
    a.y = t->y[c != NULL], a.stats = t->stats;
    a.gate = t->gate, a.add = t->add;
    if (!c) return cuda_conv(&a, cuda_stream(t->d)) == 0;
    return provider_conv_run(c, t->x, a.w, a.y, t->workspace) && cuda_conv_finish(&a, cuda_stream(t->d)) == 0;
}
typedef struct {
    Trial *t;
    bool own; /* our own kernels are among those that are measured */
} Timing;
/* Candidate 0 is our own kernels, candidate i the trial's conv[i - 1]. */
static double seconds_of(void *context, int candidate) {
    const Timing *timing = context;
    Trial *t = timing->t;
    const ProviderConv *c = candidate ? t->conv[candidate - 1] : NULL;
    if (c ? !agrees(t, c) : !timing->own) return NAN;
    cudaEvent_t event[2];
    for (int i = 0; i < 2; i++) cuda_check(cudaEventCreateWithFlags(&event[i], cudaEventDefault), "cudaEventCreate");
    bool ok = true;
    double least = INFINITY; /* of the rounds: something else may have been busy in one */
    for (int i = 0; i < WARM_UP && ok; i++) ok = call(t, c);
    for (int round = 0; round < ROUNDS && ok; round++) {
        cuda_check(cudaEventRecord(event[0], cuda_stream(t->d)), "cudaEventRecord");
        for (int i = 0; i < TIMED && ok; i++) ok = call(t, c);
        cuda_check(cudaEventRecord(event[1], cuda_stream(t->d)), "cudaEventRecord");
        cuda_sync(t->d);
        float ms;
        cuda_check(cudaEventElapsedTime(&ms, event[0], event[1]), "cudaEventElapsedTime");
        least = fmin(least, (double)ms * 1e-3 / TIMED);
    }
    for (int i = 0; i < 2; i++) cuda_check(cudaEventDestroy(event[i]), "cudaEventDestroy");
    return ok ? least : NAN;
}
/* Whether a plan gives every image the bits that the one for REFERENCE images gives it. workspace: enough for both. */
static bool same_bits(const Trial *t, const ProviderConv *reference, const Plan *plan, void *workspace) {
    return provider_conv_run(reference, t->x, t->a.w, t->y[0], workspace) &&
           provider_conv_run(plan->conv, t->x, t->a.w, t->y[1], workspace) && repeats(t, t->y[1], plan->images, t->y[0]);
}

/* ---- the choice ------------------------------------------------------------------------------------------------------------------ */
void conv_choice_free(Device *d, ConvChoice *c) {
    if (!c) return;
    void *all[] = {c->workspace, c->pad_x, c->pad_y};
    for (int i = 0; i < 3; i++)
        if (all[i]) cuda_release(d, all[i]);
    for (int i = 0; i < c->plans; i++) provider_conv_free(c->plan[i].conv);
    free(c);
}
/* Takes a plan for so many images; NULL: there is none. */
static void add_plan(ConvChoice *c, ProviderConv *conv, int images) {
    if (!conv) return;
    int at = c->plans++;
    for (; at > 0 && c->plan[at - 1].images < images; at--) c->plan[at] = c->plan[at - 1];
    c->plan[at] = (Plan){images, conv};
}
/* Whoever gives other bits than the plan for REFERENCE images goes. */
static void drop_plans(const Trial *t, ConvChoice *c, const ProviderConv *reference) {
    int kept = 0;
    for (int i = 0; i < c->plans; i++) {
        if (c->plan[i].conv == reference || same_bits(t, reference, &c->plan[i], c->workspace)) c->plan[kept++] = c->plan[i];
        else provider_conv_free(c->plan[i].conv);
    }
    c->plans = kept;
}
/* Everything for up to a->n images by the trial's conv[i], which becomes the choice's. NULL: not enough memory. */
static ConvChoice *make(Trial *t, int i, const ConvArgs *a) {
    ConvChoice *c = dg_alloc(sizeof *c);
    ProviderConv *reference = t->conv[i];
    size_t bytes = 0;
    t->conv[i] = NULL;
    add_plan(c, reference, REFERENCE);
    for (int images = a->n; images > 0; images /= 2)
        if (images != REFERENCE) add_plan(c, provider_conv_again(reference, images), images);
    for (int k = 0; k < c->plans; k++) {
        size_t own = provider_conv_workspace(c->plan[k].conv);
        if (own > bytes) bytes = own;
    }
    bool ok = reserve(t->d, bytes, &c->workspace);
    if (ok) drop_plans(t, c, reference);
    size_t least = ok ? (size_t)c->plan[c->plans - 1].images : 1;
    if (least > 1) {
        c->pad_x = cuda_alloc(t->d, least * x_bytes(a)), c->pad_y = cuda_alloc(t->d, least * y_bytes(a));
        ok = c->pad_x && c->pad_y;
    }
    if (ok) return c;
    conv_choice_free(t->d, c);
    return NULL;
}
bool conv_choose(Device *d, const ConvArgs *a, ConvChoice **out, Error *err) {
    *out = NULL;
    if (!cuda_choices_open(d, err)) return false;
    Choices *h = ((Cuda *)d->impl)->choices;
    Trial t;
    char layer[256];
    const char *names[MOST_CANDIDATES] = {provider_name[PROVIDER_OWN]};
    bool ok = trial_begin(&t, d, h, a);
    layer_name(a, layer, sizeof layer);
    for (int i = 0; i < t.convs; i++) names[i + 1] = provider_conv_name(t.conv[i]);
    if (ok && t.convs) {
        int chosen = autotune_choose(h->autotune, layer, names, t.convs + 1, seconds_of, &(Timing){&t, !h->only});
        ok = !chosen || (*out = make(&t, chosen - 1, a)) != NULL;
    }
    trial_end(&t);
    return ok ||
           dg_out_of_memory(err, "not enough memory on device %s to choose who runs %s (%zu bytes are free): --provider own needs less",
                            d->be->name, layer, cuda_free_bytes(d));
}
const char *conv_choice_name(const ConvChoice *c) { return provider_name[c ? provider_conv_provider(c->plan[0].conv) : PROVIDER_OWN]; }
int conv_choice_run(const ConvChoice *c, const ConvArgs *a, void *stream) {
    size_t in = x_bytes(a), out = y_bytes(a);
    int error = 0, taken;
    for (int i = 0; i < a->n && !error; i += taken) {
        const Plan *p = c->plan, *last = p + c->plans - 1;
        while (p < last && p->images > a->n - i) p++;
        taken = p->images < a->n - i ? p->images : a->n - i;
        const char *x = (const char *)a->x + (size_t)i * in;
        char *y = (char *)a->y + (size_t)i * out;
        if (taken == p->images) {
            if (!provider_conv_run(p->conv, x, a->w, y, c->workspace)) return cudaErrorLaunchFailure;
            continue;
        }
        error = (int)cudaMemcpyAsync(c->pad_x, x, (size_t)taken * in, cudaMemcpyDeviceToDevice, stream);
        if (!error && !provider_conv_run(p->conv, c->pad_x, a->w, c->pad_y, c->workspace)) error = cudaErrorLaunchFailure;
        if (!error) error = (int)cudaMemcpyAsync(y, c->pad_y, (size_t)taken * out, cudaMemcpyDeviceToDevice, stream);
    }
    return error ? error : cuda_conv_finish(a, stream);
}
