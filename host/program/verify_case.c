/* verify_case.c -- replays golden cases of kinds denoise, guidance and sample, and compares per sample. */
#include "program/verify_case.h"
#include "sample/sampler.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BASE_TENSORS = 16 };
typedef struct { /* the errors of the naive implementation in the device's precision */
    int count;
    char tensor[BASE_TENSORS][32];
    double error[BASE_TENSORS];
} Base;
typedef struct {
    const char *name; /* file name without its folder and ending */
    SafeTensors *file;
    Json *json;
    Device *dev;
    bool fuse;
    double factor;
    FILE *out;
    VerifyResult *r;
    Base *record;     /* fill this instead of comparing; or NULL */
    const Base *base; /* reduced precision: tolerances come from it; NULL in fp32 */
} Case;

/* ---- inputs ---------------------------------------------------------------------------------------------------------------- */
static const StTensor *need(const Case *c, const char *name, int dims, Error *e) {
    const StTensor *t = st_find(c->file, name);
    if (t && t->dims == dims && t->count) return t;
    dg_error(e, "%s: no tensor %s of %d dimensions", c->file->path, name, dims);
    return NULL;
}
/* [N,C,H,W] to NHWC, in f64; NULL when it is not an image batch of the size that is wanted. */
static double *read_nhwc(const StTensor *t, size_t first, int n, int channels, int res, Error *e) {
    size_t C = (size_t)channels, pixels = (size_t)res * (size_t)res, count = (size_t)n * C * pixels;
    if (t->count < first + count) {
        dg_error(e, "tensor %s: %zu values, %zu are wanted", t->name, t->count, first + count);
        return NULL;
    }
    double *all = dg_alloc(t->count * sizeof *all), *out = dg_alloc(count * sizeof *out);
    st_to_f64(t, all);
    for (size_t i = 0; i < (size_t)n; i++)
        for (size_t k = 0; k < C; k++)
            for (size_t p = 0; p < pixels; p++) out[(i * pixels + p) * C + k] = all[first + (i * C + k) * pixels + p];
    free(all);
    return out;
}
static double *read_f64(const StTensor *t) {
    double *v = dg_alloc(t->count * sizeof *v);
    st_to_f64(t, v);
    return v;
}
/* Class indices: class_index, or the argmax of class_labels; -1 where the case has neither. Within [0, limit). */
static bool read_labels(const Case *c, int n, int limit, int *label, Error *e) {
    const StTensor *index = st_find(c->file, "class_index"), *onehot = st_find(c->file, "class_labels");
    const StTensor *t = index ? index : onehot;
    for (int i = 0; i < n; i++) label[i] = -1;
    if (!t) return true;
    if (t->dims < 1 || t->shape[0] != n) return dg_error(e, "%s: tensor %s is not for %d images", c->file->path, t->name, n);
    size_t per = t->count / (size_t)n;
    double *v = read_f64(t);
    for (int i = 0; i < n; i++) {
        const double *row = v + (size_t)i * per;
        int best = 0;
        for (size_t k = 1; k < per; k++)
            if (row[k] > row[best]) best = (int)k;
        label[i] = index ? (int)row[0] : row[best] > 0 ? best : -1;
    }
    free(v);
    for (int i = 0; i < n; i++)
        if (label[i] >= limit && limit > 0) return dg_error(e, "%s: class %d of %d", c->file->path, label[i], limit);
    return true;
}
/* Synthetic weights of one network of the case, with its overrides. */
static Weights *case_weights(const Case *c, const char *network, const char *seed_key, Error *e) {
    const Json *config = json_get(c->json, network);
    int seed;
    if (!json_get_int(json_get(c->json, "weights"), seed_key, -1, &seed, e)) return NULL;
    if (!config || seed < 0) {
        dg_error(e, "%s: the case has no %s or no %s", c->file->path, network, seed_key);
        return NULL;
    }
    Weights *w = weights_synthetic((uint64_t)seed, config);
    char prefix[64];
    int n = snprintf(prefix, sizeof prefix, "override.%s.", network);
    for (int i = 0; i < c->file->count; i++) {
        const StTensor *t = &c->file->tensor[i];
        if (!strncmp(t->name, prefix, (size_t)n)) weights_override(w, t->name + n, t);
    }
    return w;
}

static const double BASE_FACTOR = 3; /* the rule of the op tests: at most 3 x the error of the naive implementation */

/* ---- comparing --------------------------------------------------------------------------------------------------------------- */
/* Worst relative L2 error over n samples; an expected sample that is all zero must be exactly zero; NaN stays NaN. */
static double worst_error(const double *found, const double *wanted, int n, size_t per) {
    double worst = 0;
    for (size_t i = 0; i < (size_t)n; i++) {
        double num = 0, den = 0;
        for (size_t j = i * per; j < (i + 1) * per; j++) num += pow(found[j] - wanted[j], 2), den += wanted[j] * wanted[j];
        double err = den > 0 ? sqrt(num / den) : num == 0 ? 0 : num > 0 ? INFINITY : NAN;
        if (!(err <= worst)) worst = err;
        if (isnan(worst)) break;
    }
    return worst;
}
/* One number an image, in reduced precision: its rounding error is that of the sums it is made of, whatever is left of them. So
 * the largest deviation is taken by the numbers' common size, not each by its own, which may be near zero.                 */
static double worst_scalar(const double *found, const double *wanted, int n) {
    double worst = 0, squares = 0;
    for (int i = 0; i < n; i++) {
        double off = fabs(found[i] - wanted[i]);
        if (isnan(off)) return NAN;
        worst = fmax(worst, off);
        squares += wanted[i] * wanted[i];
    }
    return worst == 0 ? 0 : squares > 0 ? worst / sqrt(squares / n) : worst > 0 ? INFINITY : NAN;
}
static double *base_entry(Base *b, const char *tensor) {
    for (int i = 0; i < b->count; i++)
        if (!strcmp(b->tensor[i], tensor)) return &b->error[i];
    DG_CHECK(b->count < BASE_TENSORS, "a case with more than %d tensors", BASE_TENSORS);
    snprintf(b->tensor[b->count], sizeof b->tensor[0], "%s", tensor);
    return &b->error[b->count++];
}
static bool is_logit(const char *tensor) { return !strcmp(tensor, "logit") || !strcmp(tensor, "log_ratio"); }
/* One number per image may agree by luck: the logit's base is the worst of all that it is made of, as in the golden cases. */
static double base_error(const Base *b, const char *tensor) {
    double worst = 0;
    for (int i = 0; i < b->count; i++) {
        const char *t = b->tensor[i];
        bool source = is_logit(tensor) && (!strcmp(t, "features") || is_logit(t));
        if ((source || !strcmp(t, tensor)) && !(b->error[i] <= worst)) worst = b->error[i];
    }
    return worst;
}
static bool compare(const Case *c, const char *tensor, const double *found, const double *wanted, int n, size_t per, Error *e) {
    double tol,
        err = is_logit(tensor) && per == 1 && (c->record || c->base) ? worst_scalar(found, wanted, n) : worst_error(found, wanted, n, per);
    const Json *expect = json_get(json_get(c->json, "expect"), tensor);
    if (!json_get_double(expect, "tol", -1, &tol, e)) return false;
    if (!expect || tol < 0) return true; /* the case does not pin this tensor */
    if (c->record) {
        double *entry = base_entry(c->record, tensor);
        if (!isfinite(err))
            return dg_error(e, "%s: %s cannot be computed in this precision: its naive error is %g", c->file->path, tensor, err);
        *entry = fmax(*entry, err);
        return true;
    }
    if (c->base) tol += BASE_FACTOR * base_error(c->base, tensor);
    tol *= c->factor;
    bool ok = err <= tol;
    c->r->compared++;
    c->r->error = err;
    c->r->failed += !ok;
    if (c->out) fprintf(c->out, "%-28s %-10s error %9.3g  tolerance %9.3g  %s\n", c->name, tensor, err, tol, ok ? "ok" : "FAIL");
    return true;
}
static bool compare_images(const Case *c, const char *tensor, const double *found, int n, int channels, int res, Error *e) {
    const StTensor *t = need(c, tensor, 4, e);
    double *wanted = t ? read_nhwc(t, 0, n, channels, res, e) : NULL;
    bool ok = wanted && compare(c, tensor, found, wanted, n, (size_t)channels * (size_t)res * (size_t)res, e);
    free(wanted);
    return ok;
}
static bool compare_scalars(const Case *c, const char *tensor, const double *found, int n, Error *e) {
    const StTensor *t = st_find(c->file, tensor);
    if (!t || t->count != (size_t)n) return dg_error(e, "%s: no tensor %s with one value an image", c->file->path, tensor);
    double *wanted = read_f64(t);
    bool ok = compare(c, tensor, found, wanted, n, 1, e);
    free(wanted);
    return ok;
}

/* ---- the three kinds ------------------------------------------------------------------------------------------------------------ */
static double *to_device(Device *d, const double *host, size_t count, Error *e) {
    double *p = d->be->alloc(d, count * sizeof *p);
    if (!p) dg_error(e, "not enough memory on device %s for %zu values", d->be->name, count);
    else d->be->upload(d, p, host, count * sizeof *p);
    return p;
}
static bool run_denoise(const Case *c, Error *e) {
    const StTensor *x = need(c, "x", 4, e), *sigma = x ? need(c, "sigma", 1, e) : NULL;
    Weights *w = sigma ? case_weights(c, "network", "synthetic_seed", e) : NULL;
    Denoiser *d = w ? denoiser_new(c->dev, w, (int)x->shape[0], c->fuse, e) : NULL;
    double *image = NULL, *s = NULL, *device = NULL;
    bool ok = d && sigma->count == (size_t)d->batch;
    if (ok) {
        int n = d->batch, *label = dg_alloc((size_t)n * sizeof *label);
        size_t count = (size_t)n * d->per_sample;
        s = read_f64(sigma);
        ok = read_labels(c, n, d->config.label_dim, label, e) &&
             (image = read_nhwc(x, 0, n, d->config.img_channels, d->config.img_resolution, e)) &&
             (device = to_device(c->dev, image, count, e));
        if (ok) denoiser_set_labels(d, label);
        ok = ok && denoiser_apply(d, device, s, e);
        if (ok) {
            c->dev->be->download(c->dev, image, device, count * sizeof *image);
            c->r->flops = graph_flops(d->graph) / n;
            ok = compare_images(c, "denoised", image, n, d->config.img_channels, d->config.img_resolution, e);
        }
        free(label);
    }
    if (device) c->dev->be->release(c->dev, device);
    free(image), free(s);
    denoiser_free(d);
    weights_free(w);
    return ok;
}
static bool compare_guide(const Case *c, Guide *g, const double *sigma, double *image, double *device, Error *e) {
    int n = g->batch, res = g->extractor.image_size;
    double *value[3];
    for (int k = 0; k < 3; k++) value[k] = dg_alloc((size_t)n * sizeof(double));
    for (int i = 0; i < n; i++) {
        GuideTime t = guide_time(g, sigma[i]);
        value[0][i] = t.tau, value[1][i] = t.mean_vp, value[2][i] = t.time;
    }
    bool ok = compare_scalars(c, "tau", value[0], n, e) && compare_scalars(c, "mean_vp", value[1], n, e) &&
              compare_scalars(c, "time", value[2], n, e);
    ok = ok && guide_apply(g, device, sigma, e);
    Shape f = shape_of(g->graph, g->extractor_net.features);
    double *features = dg_alloc(shape_count(f) * sizeof *features);
    if (ok) {
        exec_get(g->exec, g->extractor_net.features, DG_F64, features);
        exec_get(g->exec, g->head_net.logit, DG_F64, value[0]);
        guide_log_ratio(g, value[1]);
        c->dev->be->download(c->dev, image, device, (size_t)n * g->per_sample * sizeof *image);
    }
    ok = ok && compare_images(c, "features", features, n, f.c, f.h, e) && compare_scalars(c, "logit", value[0], n, e) &&
         compare_scalars(c, "log_ratio", value[1], n, e) && compare_images(c, "guidance", image, n, g->extractor.in_channels, res, e);
    for (int k = 0; k < 3; k++) free(value[k]);
    free(features);
    return ok;
}
static Guide *case_guide(const Case *c, int batch, Weights **extractor, Weights **head, Error *e) {
    *extractor = case_weights(c, "extractor", "extractor_seed", e);
    *head = *extractor ? case_weights(c, "head", "head_seed", e) : NULL;
    Guide *g = *head ? guide_new(c->dev, *extractor, *head, batch, true, c->fuse, e) : NULL;
    const char *time;
    if (g && json_get_string(c->json, "time", "linear", &time, e)) g->extractor.cosine_time = !strcmp(time, "cosine");
    return g;
}
static bool run_guidance(const Case *c, Error *e) {
    const StTensor *x = need(c, "x", 4, e), *sigma = x ? need(c, "sigma", 1, e) : NULL;
    Weights *extractor = NULL, *head = NULL;
    Guide *g = sigma ? case_guide(c, (int)x->shape[0], &extractor, &head, e) : NULL;
    bool ok = g && sigma->count == (size_t)g->batch;
    if (ok) {
        int n = g->batch, *label = dg_alloc((size_t)n * sizeof *label);
        double *s = read_f64(sigma), *image = read_nhwc(x, 0, n, g->extractor.in_channels, g->extractor.image_size, e), *device = NULL;
        ok = image && read_labels(c, n, g->head.condition ? g->head.num_class : 0, label, e) &&
             (device = to_device(c->dev, image, (size_t)n * g->per_sample, e));
        if (ok) {
            guide_set_labels(g, label);
            c->r->flops = graph_flops(g->graph) / n;
            ok = compare_guide(c, g, s, image, device, e);
        }
        if (device) c->dev->be->release(c->dev, device);
        free(s), free(image), free(label);
    }
    guide_free(g);
    weights_free(extractor);
    weights_free(head);
    return ok;
}

static bool pick(const Json *options, const char *key, const char *const *name, int count, int *out, Error *e) {
    const char *value;
    if (!json_get_string(options, key, NULL, &value, e)) return false;
    for (int i = 0; value && i < count; i++)
        if (!strcmp(value, name[i])) return *out = i, true;
    return !value || dg_error(e, "option %s: unknown value %s", key, value);
}
static bool read_options(const Case *c, SampleOptions *o, bool *dg, Error *e) {
    static const char *const solvers[] = {"heun", "euler"}, *const discs[] = {"edm", "vp", "ve", "iddpm"};
    static const char *const schedules[] = {"linear", "vp", "ve"}, *const scalings[] = {"none", "vp"}, *const gates[] = {"sample", "batch"};
    const Json *j = json_get(c->json, "options");
    const char *sampler;
    int solver = 0, disc = 0, schedule = 0, scaling = 0, dg_gate = 0;
    *o = sample_defaults();
    if (!json_get_string(c->json, "sampler", "edm", &sampler, e) || !json_get_int(j, "num_steps", 18, &o->num_steps, e) ||
        !json_get_double(j, "sigma_min", o->sigma_min, &o->sigma_min, e) ||
        !json_get_double(j, "sigma_max", o->sigma_max, &o->sigma_max, e) || !json_get_double(j, "rho", o->rho, &o->rho, e) ||
        !json_get_double(j, "S_churn", 0, &o->S_churn, e) || !json_get_double(j, "S_min", 0, &o->S_min, e) ||
        !json_get_double(j, "S_max", o->S_max, &o->S_max, e) || !json_get_double(j, "S_noise", 1, &o->S_noise, e) ||
        !json_get_double(j, "dg_weight_1st_order", 2, &o->dg_weight_1st_order, e) ||
        !json_get_double(j, "dg_weight_2nd_order", 0, &o->dg_weight_2nd_order, e) ||
        !json_get_double(j, "time_min", .01, &o->time_min, e) || !json_get_double(j, "time_max", 1, &o->time_max, e) ||
        !json_get_bool(j, "boosting", false, &o->boosting, e) || !pick(j, "solver", solvers, 2, &solver, e) ||
        !pick(j, "discretization", discs, 4, &disc, e) || !pick(j, "schedule", schedules, 3, &schedule, e) ||
        !pick(j, "scaling", scalings, 2, &scaling, e) || !pick(j, "dg_gate", gates, 2, &dg_gate, e))
        return false;
    o->solver = (Solver)solver, o->discretization = (Discretization)disc, o->schedule = (Schedule)schedule, o->scaling = (Scaling)scaling;
    o->dg_gate = (Gate)dg_gate, o->ablation = !strcmp(sampler, "ablation"), *dg = !strcmp(sampler, "dg");
    return o->ablation || *dg || !strcmp(sampler, "edm") || dg_error(e, "%s: unknown sampler %s", c->file->path, sampler);
}
static bool replay(const Case *c, Sampler *s, const NetworkConfig *net, int n, int steps, Error *e) {
    int C = net->img_channels, res = net->img_resolution, *label = dg_alloc((size_t)n * sizeof *label);
    size_t per = (size_t)C * (size_t)res * (size_t)res * (size_t)n;
    const StTensor *latents = need(c, "latents", 4, e), *noise = st_find(c->file, "noise");
    double **draw = dg_alloc((size_t)steps * sizeof *draw), *x = latents ? read_nhwc(latents, 0, n, C, res, e) : NULL;
    bool ok = x && read_labels(c, n, net->label_dim, label, e);
    for (int i = 0; i < steps && ok && noise; i++) ok = (draw[i] = read_nhwc(noise, (size_t)i * per, n, C, res, e)) != NULL;
    if (ok) {
        sampler_run(s, &(SampleNoise){.latents = x, .noise = (const double *const *)draw}, label, NULL, NULL);
        sampler_state(s, x);
        ok = compare_images(c, "images", x, n, C, res, e);
    }
    for (int i = 0; i < steps; i++) free(draw[i]);
    free(draw), free(x), free(label);
    return ok;
}
static bool run_sample(const Case *c, Error *e) {
    SampleOptions o;
    bool dg, ok = false;
    const StTensor *latents = need(c, "latents", 4, e);
    if (!latents || !read_options(c, &o, &dg, e)) return false;
    int n = (int)latents->shape[0];
    Weights *w = case_weights(c, "network", "synthetic_seed", e), *extractor = NULL, *head = NULL;
    Denoiser *d = w ? denoiser_new(c->dev, w, n, c->fuse, e) : NULL;
    Guide *g = d && dg ? case_guide(c, n, &extractor, &head, e) : NULL;
    if (d && (g || !dg)) {
        Sampler *s = sampler_new(&o, d, g, e);
        ok = s && replay(c, s, &d->config, n, o.num_steps, e);
        sampler_free(s);
    }
    guide_free(g);
    denoiser_free(d);
    weights_free(w);
    weights_free(extractor);
    weights_free(head);
    return ok;
}

static bool run_case(const Case *c, const char *kind, Error *e) {
    if (!strcmp(kind, "denoise")) return run_denoise(c, e);
    return !strcmp(kind, "guidance") ? run_guidance(c, e) : run_sample(c, e);
}
/* The same case on the naive implementation in d's precision. Guidance comes with a logit, whose few numbers may agree by luck:
 * there the worst of two roundings counts, with the ops fused and not.                                                    */
static bool measure_base(const Case *c, const char *kind, Base *base, Error *e) {
    Case naive = *c;
    VerifyResult unused = {0};
    const Device *d = c->dev;
    naive.dev = device_open("rounded", precision_name(d->precision), e);
    naive.record = base, naive.r = &unused;
    bool ok = naive.dev && run_case(&naive, kind, e);
    naive.fuse = !naive.fuse;
    if (!strcmp(kind, "guidance")) ok = ok && run_case(&naive, kind, e);
    device_close(naive.dev);
    return ok;
}
bool verify_case(const char *path, Device *d, bool fuse, double tolerance_factor, FILE *out, VerifyResult *r, Error *e) {
    *r = (VerifyResult){0};
    const char *slash = strrchr(path, '/'), *kind = "";
    char name[64];
    snprintf(name, sizeof name, "%s", slash ? slash + 1 : path);
    char *dot = strrchr(name, '.');
    if (dot) *dot = 0;
    Base base = {0};
    Case c = {.name = name, .dev = d, .fuse = fuse, .factor = tolerance_factor, .out = out, .r = r};
    if (!(c.file = st_open(path, e))) return false;
    const char *text = st_metadata(c.file, "case");
    bool ok =
        text ? (c.json = json_parse(text, strlen(text), e)) != NULL : dg_error(e, "%s: no metadata \"case\": not a golden case", path);
    ok = ok && json_get_string(c.json, "kind", "", &kind, e);
    snprintf(r->kind, sizeof r->kind, "%s", kind);
    bool known = !strcmp(kind, "denoise") || !strcmp(kind, "guidance") || !strcmp(kind, "sample");
    bool reduced = d->precision.tf32 || d->precision.act == DG_F16 || d->precision.act == DG_BF16;
    if (ok && !known) {
        r->skipped = true;
        if (out) fprintf(out, "%-28s kind %s is not known: skipped\n", name, kind);
    }
    if (ok && known && reduced) ok = measure_base(&c, kind, &base, e), c.base = &base;
    if (ok && known) ok = run_case(&c, kind, e);
    if (ok && known && r->compared == 0) ok = dg_error(e, "%s: the case expects nothing", path);
    json_free(c.json);
    st_close(c.file);
    return ok;
}
