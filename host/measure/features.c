/* features.c -- from images of bytes to features: one graph of the resize, the scale and the network, run in chunks of its batch. */
#include "measure/features.h"
#include "base/dtype.h"
#include "models/arguments.h"
#include "models/inception.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct Features {
    Net *net;
    Device *dev;
    FeatureOptions o;
    Tid image, of[FEATURE_KINDS]; /* the input; what is wanted of each kind, or 0 */
    size_t per_image;
    double *ones, *time; /* device: [batch]; [batch] rows of the features of time 0, or NULL */
    uint8_t *pixels;     /* device, of features_run: [batch] images */
    float *rows;         /* device, of features_run: of all kinds, one after the other */
    struct {
        float *device, *host; /* of all kinds: [images][dims] of the first, then of the next */
    } slot[FEATURE_SLOTS];
    size_t reserved; /* images */
};
static bool is_wanted(const Features *f, int kind) { return f->o.wanted >> kind & 1; }

/* ---- building ------------------------------------------------------------------------------------------------------------------ */
static Tid front(Graph *g, Tid image, ResizeRule rule, int size, FeatureScale scale) {
    static const struct { float a, b; } scales[FEATURE_SCALES] = {{1 / 128.f, -1}, {2 / 255.f, -1}, {1 / 127.5f, -1}};
    bool overshoots = rule == RESIZE_PIL_BICUBIC;
    ResizeOptions o = {false, overshoots ? 0 : -INFINITY, overshoots ? 255 : INFINITY, scales[scale].a, scales[scale].b};
    return resize_by(g, image, rule, size, size, o);
}
static Tid inception_feature(Graph *g, const Ports *p, int kind) {
    switch (kind) {
    case FEATURE_POOL: return p->out;
    case FEATURE_SPATIAL: return p->tap[INCEPTION_SPATIAL];
    case FEATURE_LOGITS_BARE: return p->tap[INCEPTION_LOGITS_BARE];
    case FEATURE_LOGITS: return p->tap[INCEPTION_LOGITS];
    default: break;
    }
    int tap = kind - FEATURE_MEANS;
    return tap >= INCEPTION_MAXPOOL_1 && tap < INCEPTION_TAPS ? g_global_mean(g, p->tap[tap]) : 0;
}
static Tid extractor_feature(Graph *g, const Ports *p, int kind) {
    return kind == FEATURE_POOL ? g_global_mean(g, p->features) : kind == FEATURE_LOGITS ? p->out : 0;
}
static const char *name_of(int kind) {
    static const char *const names[] = {"pooled features", "spatial features", "logits without their bias", "logits"};
    return kind < FEATURE_MEANS ? names[kind] : "such means of inner layers";
}
static bool build(Features *f, const Json *config, Error *e) {
    const Model *m = model_find(config, "inception", NULL);
    bool inception = m != NULL;
    if (!m && !(m = model_find(config, "extractor", NULL))) return model_find(config, "inception", e) != NULL;
    if (!inception && is_wanted(f, FEATURE_LOGITS)) m = &model_classifier; /* with the pool and last layer of its own */
    Graph *g = f->net->graph;
    int size, height = f->o.height, width = f->o.width;
    if (!argument_int(config, "image_size", inception ? INCEPTION_SIZE : 0, 1, MAX_RESOLUTION, &size, e)) return false;
    if (!inception && (height != size || width != size))
        return dg_error(e, "an extractor of images of %dx%d, and these are %dx%d", size, size, width, height);
    f->image = g_input(g, "image", (Shape){f->o.batch, height, width, 3});
    f->per_image = (size_t)height * (size_t)width * 3;
    const Ports *p = net_add(f->net, m, config, "", front(g, f->image, f->o.resize, size, inception ? f->o.scale : SCALE_EXTRACTOR), e);
    if (!p) return false;
    for (int kind = 0; kind < FEATURE_KINDS; kind++) {
        if (!is_wanted(f, kind)) continue;
        Tid t = inception ? inception_feature(g, p, kind) : extractor_feature(g, p, kind);
        if (!t) return dg_error(e, "%s gives no %s: a file without its last layer?", m->noun, name_of(kind));
        f->of[kind] = g_output(g, t);
    }
    net_plan(f->net, inception || m == &model_classifier ? p->out : f->of[FEATURE_POOL]);
    return true;
}

/* ---- binding ------------------------------------------------------------------------------------------------------------------- */
static void *device_memory(Device *d, size_t bytes, Error *e) {
    void *p = d->be->alloc(d, bytes);
    if (!p) dg_out_of_memory(e, "not enough memory on device %s for %zu bytes of images and features", d->be->name, bytes);
    return p;
}
/* A clean image's time is 0. */
static bool upload_time(Features *f, Error *e) {
    const NetPart *p = &f->net->part[0];
    if (!p->ports.time) return true;
    const Tensor *t = &f->net->graph->t[p->ports.time];
    size_t width = (size_t)t->shape.c, count = shape_count(t->shape);
    float *row = dg_alloc(count * sizeof *row);
    void *stored = dg_alloc(tensor_bytes(t));
    for (size_t i = 0; i < count / width; i++) p->model->time_features(p->config, p->frequencies, 0, row + i * width);
    dtype_convert(t->dtype, stored, DG_F32, row, count);
    if ((f->time = device_memory(f->dev, tensor_bytes(t), e))) f->dev->be->upload(f->dev, f->time, stored, tensor_bytes(t));
    free(stored);
    free(row);
    return f->time != NULL;
}
static size_t all_dims(const Features *f) {
    size_t dims = 0;
    for (int kind = 0; kind < FEATURE_KINDS; kind++) dims += (size_t)features_dims(f, (FeatureKind)kind);
    return dims;
}
static bool bind(Features *f, Weights *w, Error *e) {
    size_t batch = (size_t)f->o.batch, dims = 0;
    double *ones = dg_alloc(batch * sizeof *ones);
    for (size_t i = 0; i < batch; i++) ones[i] = 1;
    dims = all_dims(f);
    bool ok = net_bind(f->net, f->dev, &w, e) && (f->ones = device_memory(f->dev, batch * sizeof *ones, e)) &&
              (f->pixels = device_memory(f->dev, batch * f->per_image, e)) &&
              (f->rows = device_memory(f->dev, batch * dims * sizeof *f->rows, e)) && upload_time(f, e);
    if (ok) f->dev->be->upload(f->dev, f->ones, ones, batch * sizeof *ones);
    free(ones);
    return ok;
}
/* Statistics are of fp32 whatever images are made in. A device without it takes its own: ref64, and what rounds. */
static bool precision_of(const Device *d, const char *name, Precision *p, Error *e) {
    if (name) return device_precision(d, name, p, e);
    if (!device_precision(d, "fp32", p, NULL)) *p = d->precision;
    return true;
}
Features *features_open(Device *d, Weights *w, const FeatureOptions *o, Error *e) {
    Precision p;
    DG_CHECK(o->batch > 0 && o->height > 0 && o->width > 0 && o->wanted, "features of nothing");
    if (!precision_of(d, o->precision, &p, e)) return NULL;
    Features *f = dg_alloc(sizeof *f);
    f->dev = d, f->o = *o, f->net = net_new(SPAN_FEATURES, p, o->batch, !o->no_fuse);
    if ((build(f, weights_config(w), e) || dg_error_context(e, "%s", weights_name(w))) && bind(f, w, e)) return f;
    features_close(f);
    return NULL;
}
void features_close(Features *f) {
    if (!f) return;
    void *memory[] = {f->ones, f->time, f->pixels, f->rows};
    for (size_t i = 0; i < sizeof memory / sizeof *memory; i++)
        if (memory[i]) f->dev->be->release(f->dev, memory[i]);
    for (int i = 0; i < FEATURE_SLOTS; i++) {
        if (f->slot[i].device) f->dev->be->release(f->dev, f->slot[i].device);
        if (f->slot[i].host) f->dev->be->release_host(f->dev, f->slot[i].host);
    }
    net_free(f->net);
    free(f);
}
int features_dims(const Features *f, FeatureKind kind) {
    if (!f->of[kind]) return 0;
    Shape s = shape_of(f->net->graph, f->of[kind]);
    return s.h * s.w * s.c;
}
int features_batch(const Features *f) { return f->o.batch; }
double features_flops(const Features *f) { return graph_flops(f->net->graph) / f->o.batch; }

/* ---- running ------------------------------------------------------------------------------------------------------------------- */
void features_enqueue(Features *f, const uint8_t *pixels, int n, float *const out[FEATURE_KINDS]) {
    const Backend *be = f->dev->be;
    const Graph *g = f->net->graph;
    Exec *x = f->net->exec;
    Tid time = f->net->part[0].ports.time;
    for (int first = 0, rows; first < n; first += rows) {
        rows = n - first < f->o.batch ? n - first : f->o.batch;
        device_range_push(f->dev, SPAN_FEATURES);
        Term bytes = {.data = pixels + (size_t)first * f->per_image, .type = DG_U8, .coef = f->ones};
        be->combine(f->dev, x->data[f->image], g->t[f->image].dtype, rows, f->per_image, &bytes, 1);
        if (time) be->copy(f->dev, x->data[time], f->time, tensor_bytes(&g->t[time]));
        exec_run(x, rows);
        for (int kind = 0; kind < FEATURE_KINDS; kind++) {
            size_t dims = (size_t)features_dims(f, kind);
            Term values = {.data = dims ? x->data[f->of[kind]] : NULL, .type = g->t[f->of[kind]].dtype, .coef = f->ones};
            if (dims) be->combine(f->dev, out[kind] + (size_t)first * dims, DG_F32, rows, dims, &values, 1);
        }
        device_range_pop(f->dev, SPAN_FEATURES);
    }
}
bool features_reserve(Features *f, int images, Error *e) {
    size_t bytes = (size_t)images * all_dims(f) * sizeof(float);
    f->reserved = (size_t)images;
    for (int i = 0; i < FEATURE_SLOTS; i++) {
        if (!(f->slot[i].device = device_memory(f->dev, bytes, e))) return false;
        if (!(f->slot[i].host = f->dev->be->alloc_host(f->dev, bytes)))
            return dg_out_of_memory(e, "not enough memory for %zu bytes of features", bytes);
    }
    return true;
}
/* Where a kind's rows begin. */
static size_t before(const Features *f, FeatureKind kind) {
    size_t dims = 0;
    for (int k = 0; k < (int)kind; k++) dims += (size_t)features_dims(f, (FeatureKind)k);
    return dims * f->reserved;
}
void features_begin(Features *f, int slot, const uint8_t *pixels, int n) {
    float *out[FEATURE_KINDS] = {NULL};
    DG_CHECK((size_t)n <= f->reserved, "features of %d images where there is room for %zu", n, f->reserved);
    for (int kind = 0; kind < FEATURE_KINDS; kind++) out[kind] = f->slot[slot].device + before(f, (FeatureKind)kind);
    features_enqueue(f, pixels, n, out);
    device_range_push(f->dev, SPAN_DOWNLOAD_FEATURES);
    for (int kind = 0; kind < FEATURE_KINDS; kind++) {
        size_t dims = (size_t)features_dims(f, (FeatureKind)kind);
        if (dims)
            f->dev->be->download_async(f->dev, slot, features_rows(f, slot, (FeatureKind)kind), out[kind],
                                       (size_t)n * dims * sizeof(float));
    }
    device_range_pop(f->dev, SPAN_DOWNLOAD_FEATURES);
}
float *features_rows(const Features *f, int slot, FeatureKind kind) { return f->slot[slot].host + before(f, kind); }
void features_run(Features *f, const uint8_t *pixels, size_t n, float *const out[FEATURE_KINDS]) {
    const Backend *be = f->dev->be;
    size_t batch = (size_t)f->o.batch;
    for (size_t first = 0, rows; first < n; first += rows) {
        rows = n - first < batch ? n - first : batch;
        float *on_device[FEATURE_KINDS] = {NULL}, *at = f->rows;
        for (int kind = 0; kind < FEATURE_KINDS; kind++) on_device[kind] = at, at += batch * (size_t)features_dims(f, kind);
        be->upload(f->dev, f->pixels, pixels + first * f->per_image, rows * f->per_image);
        features_enqueue(f, f->pixels, (int)rows, on_device);
        device_range_push(f->dev, SPAN_DOWNLOAD_FEATURES);
        for (int kind = 0; kind < FEATURE_KINDS; kind++) {
            size_t dims = (size_t)features_dims(f, kind);
            if (dims) be->download(f->dev, out[kind] + first * dims, on_device[kind], rows * dims * sizeof **out);
        }
        device_range_pop(f->dev, SPAN_DOWNLOAD_FEATURES);
    }
}

/* ---- which network ------------------------------------------------------------------------------------------------------------- */
bool features_hash(const Features *f, Weights *w, char hex[SHA256_HEX], Error *e) {
    const Graph *g = f->net->graph;
    Sha256 h;
    uint8_t digest[SHA256_BYTES];
    bool ok = true;
    sha256_init(&h);
    for (Tid t = 1; t < g->nt && ok; t++) {
        const Tensor *a = &g->t[t];
        if (a->kind != T_WEIGHT || !strncmp(a->name, "fc.", 3)) continue; /* of Inception's last layer no feature is made */
        size_t count = shape_count(a->shape);
        float *value = dg_alloc(count * sizeof *value);
        ok = weights_read(w, a->name, a->shape, a->view, DG_F32, value, e);
        sha256_update(&h, a->name, strlen(a->name) + 1);
        sha256_update(&h, value, count * sizeof *value);
        free(value);
    }
    sha256_final(&h, digest);
    sha256_hex(digest, hex);
    return ok;
}
bool features_need_inception(Error *e) {
    return dg_error(e,
                    "this measure needs the Inception network of the FID (--inception FILE): pt_inception-2015-12-05-6726825d.pth of "
                    "pytorch-fid, at https://github.com/mseitzer/pytorch-fid/releases (fid_weights), whose SHA-256 begins with 6726825d, "
                    "or the same network as torch-fidelity or OpenAI's consistency_models publish it");
}
