/* verify_case.c -- replays golden cases: opens a case, finds its kind, reads its tensors, compares per sample. */
#include "base/dtype.h"
#include "base/text.h"
#include "program/verify_kind.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const CaseKind *const kinds[] = {&case_denoise,   &case_guidance, &case_sample, &case_adm_sample, &case_dit_sample,
                                        &case_dit_chain, &case_adm_unet, &case_dit,    &case_vae,        &case_inception};
const char *const case_size_name[CASE_SIZES] = {"quick", "sample", "full", "large"};

enum { ERROR_TENSORS = 16 };
struct CaseErrors { /* of the naive implementation in the device's precision */
    int count;
    char tensor[ERROR_TENSORS][32];
    double error[ERROR_TENSORS];
};

/* ---- inputs ---------------------------------------------------------------------------------------------------------------- */
static void print_shape(Text *t, int dims, const int64_t *shape) {
    text_printf(t, "[");
    for (int i = 0; i < dims; i++) text_printf(t, i ? ",%lld" : "%lld", (long long)shape[i]);
    text_printf(t, "]");
}
/* The tensor `name` of exactly this shape. */
static const StTensor *find(const Case *c, const char *name, int dims, const int64_t *shape, Error *e) {
    const StTensor *t = st_find(c->file, name);
    if (!t) {
        dg_error(e, "there is no tensor %s, which a case of kind %s has", name, c->kind->kind);
        return NULL;
    }
    bool same = t->dims == dims;
    for (int i = 0; i < dims && same; i++) same = t->shape[i] == shape[i];
    if (same) return t;
    Text found = {0}, wanted = {0};
    print_shape(&found, t->dims, t->shape), print_shape(&wanted, dims, shape);
    dg_error(e, "tensor %s has shape %s, %s is wanted", name, found.text, wanted.text);
    text_free(&found), text_free(&wanted);
    return NULL;
}
/* The values of a tensor of this shape, in its own order. */
static double *read_values(const Case *c, const char *name, int dims, const int64_t *shape, Error *e) {
    const StTensor *t = find(c, name, dims, shape, e);
    if (!t) return NULL;
    if (t->dtype == DG_U8 || t->dtype == DG_I64) {
        dg_error(e, "tensor %s holds integers, floating-point numbers are wanted", name);
        return NULL;
    }
    double *v = dg_alloc(t->count * sizeof *v);
    st_to_f64(t, v);
    for (size_t i = 0; i < t->count; i++)
        if (!isfinite(v[i])) {
            dg_error(e, "tensor %s: value %zu is %g", name, i, v[i]);
            free(v);
            return NULL;
        }
    return v;
}
static void to_nhwc(const double *nchw, Shape s, double *out) {
    size_t C = (size_t)s.c, pixels = (size_t)s.h * (size_t)s.w;
    for (size_t i = 0; i < (size_t)s.n; i++)
        for (size_t k = 0; k < C; k++)
            for (size_t p = 0; p < pixels; p++) out[(i * pixels + p) * C + k] = nchw[(i * C + k) * pixels + p];
}
int case_batch(const Case *c, const char *tensor, Error *e) {
    const StTensor *t = st_find(c->file, tensor);
    if (!t) return dg_error(e, "there is no tensor %s, which a case of kind %s has", tensor, c->kind->kind), 0;
    if (t->dims != 4 || !t->count || t->shape[0] > MAX_BATCH) {
        Text found = {0};
        print_shape(&found, t->dims, t->shape);
        dg_error(e, "tensor %s has shape %s, [n,channels,height,width] of 1 to %d images is wanted", tensor, found.text, MAX_BATCH);
        text_free(&found);
        return 0;
    }
    return (int)t->shape[0];
}
double *case_images(const Case *c, const char *tensor, Shape s, Error *e) {
    double *v = read_values(c, tensor, 4, (const int64_t[]){s.n, s.c, s.h, s.w}, e);
    if (!v) return NULL;
    double *out = dg_alloc(shape_count(s) * sizeof *out);
    to_nhwc(v, s, out);
    free(v);
    return out;
}
double *case_values(const Case *c, const char *tensor, int n, Error *e) { return read_values(c, tensor, 1, (const int64_t[]){n}, e); }
double *case_sigmas(const Case *c, int n, Error *e) {
    double *sigma = case_values(c, "sigma", n, e);
    for (int i = 0; sigma && i < n; i++)
        if (!(sigma[i] > 0)) {
            dg_error(e, "tensor sigma: noise level %d is %g, not positive", i, sigma[i]);
            free(sigma);
            return NULL;
        }
    return sigma;
}
/* Written as floating-point numbers or as integers. */
double *case_timesteps(const Case *c, int n, Error *e) {
    enum { STEPS = 1000 };
    const StTensor *t = find(c, "timesteps", 1, (const int64_t[]){n}, e);
    double *time = t ? dg_alloc((size_t)n * sizeof *time) : NULL;
    if (t) st_to_f64(t, time);
    for (int i = 0; time && i < n; i++)
        if (!(time[i] >= 0 && time[i] < STEPS)) {
            dg_error(e, "tensor timesteps: value %d is %g, not from 0 to %d", i, time[i], STEPS - 1);
            free(time);
            return NULL;
        }
    return time;
}
double **case_draws(const Case *c, const char *tensor, int count, Shape s, Error *e) {
    double *v = read_values(c, tensor, 5, (const int64_t[]){count, s.n, s.c, s.h, s.w}, e);
    if (!v) return NULL;
    double **draw = dg_alloc((size_t)count * sizeof *draw);
    for (int i = 0; i < count; i++) {
        draw[i] = dg_alloc(shape_count(s) * sizeof **draw);
        to_nhwc(v + (size_t)i * shape_count(s), s, draw[i]);
    }
    free(v);
    return draw;
}
void case_draws_free(double **draw, int count) {
    for (int i = 0; draw && i < count; i++) free(draw[i]);
    free(draw);
}
static bool one_hot(const double *row, size_t classes, int *label) {
    *label = -1;
    for (size_t k = 0; k < classes; k++) {
        if (row[k] == 0) continue;
        if (row[k] != 1 || *label >= 0) return false;
        *label = (int)k;
    }
    return true;
}
bool case_labels(const Case *c, int n, int classes, int *label, Error *e) {
    const StTensor *index = st_find(c->file, "class_index"), *rows = st_find(c->file, "class_labels");
    const StTensor *t = index ? index : rows;
    for (int i = 0; i < n; i++) label[i] = -1;
    if (!t) return true;
    int64_t shape[] = {n, t->dims > 1 ? t->shape[1] : 0};
    if (!find(c, t->name, index ? 1 : 2, shape, e)) return false;
    size_t per = t->count / (size_t)n;
    double *v = dg_alloc(t->count * sizeof *v);
    st_to_f64(t, v);
    bool ok = true;
    for (int i = 0; i < n && ok; i++) {
        const double *row = v + (size_t)i * per;
        if (!index) ok = one_hot(row, per, &label[i]) || dg_error(e, "tensor class_labels: row %d is not one-hot", i);
        else if ((ok = row[0] >= -1 && row[0] <= 1e9 && row[0] == floor(row[0]))) label[i] = (int)row[0];
        else dg_error(e, "tensor class_index: value %d is %g, not a class", i, row[0]);
        if (ok && classes && label[i] >= classes) ok = dg_error(e, "image %d is of class %d, there are %d classes", i, label[i], classes);
    }
    free(v);
    return ok;
}
bool case_every_label(int n, const int *label, Error *e) {
    for (int i = 0; i < n; i++)
        if (label[i] < 0) return dg_error(e, "image %d has no class, which the network takes", i);
    return true;
}
const Json *case_config(const Case *c, const char *network, Error *e) {
    const Json *config = json_get(c->json, network);
    if (!config) dg_error(e, "the case has no \"%s\", the arguments of a network", network);
    return config;
}
Weights *case_weights_of(const Case *c, const Json *config, const char *network, const char *seed_key, Error *e) {
    int seed;
    if (!json_get_int(json_get(c->json, "weights"), seed_key, -1, &seed, e)) return NULL;
    if (seed < 0) {
        dg_error(e, "the case has no %s, the seed of its %s's weights", seed_key, network);
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
Weights *case_weights(const Case *c, const char *network, const char *seed_key, Error *e) {
    const Json *config = case_config(c, network, e);
    return config ? case_weights_of(c, config, network, seed_key, e) : NULL;
}
double *case_upload(const Case *c, const double *host, size_t count, Error *e) {
    double *p = c->dev->be->alloc(c->dev, count * sizeof *p);
    if (!p) dg_out_of_memory(e, "not enough memory on device %s for %zu values", c->dev->be->name, count);
    else c->dev->be->upload(c->dev, p, host, count * sizeof *p);
    return p;
}

/* ---- comparing --------------------------------------------------------------------------------------------------------------- */
static const double BASE_FACTOR = 3; /* the rule of the op tests: at most 3 x the error of the naive implementation */

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
/* One number an image, in reduced precision: its rounding error is that of the sums it is made of, however small the number
 * itself is. So the largest deviation is divided by the numbers' common size, not each by its own, which may be near zero. */
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
static double *error_entry(CaseErrors *b, const char *tensor) {
    for (int i = 0; i < b->count; i++)
        if (!strcmp(b->tensor[i], tensor)) return &b->error[i];
    DG_CHECK(b->count < ERROR_TENSORS, "a case with more than %d tensors", ERROR_TENSORS);
    snprintf(b->tensor[b->count], sizeof b->tensor[0], "%s", tensor);
    return &b->error[b->count++];
}
static bool is_logit(const char *tensor) { return !strcmp(tensor, "logit") || !strcmp(tensor, "log_ratio"); }
/* A logit is one number an image and may agree by luck: its base is the worst of all that it is made of. */
static double base_error(const CaseErrors *b, const char *tensor) {
    double worst = 0;
    for (int i = 0; i < b->count; i++) {
        const char *t = b->tensor[i];
        bool source = is_logit(tensor) && (!strcmp(t, "features") || is_logit(t));
        if ((source || !strcmp(t, tensor)) && !(b->error[i] <= worst)) worst = b->error[i];
    }
    return worst;
}
static const Json *expected(const Case *c, const char *tensor) { return json_get(json_get(c->json, "expect"), tensor); }
static bool compare(const Case *c, const char *tensor, const double *found, const double *wanted, int n, size_t per, Error *e) {
    double tol = 0;
    bool scalar = is_logit(tensor) && per == 1 && (c->record || c->base);
    double err = scalar ? worst_scalar(found, wanted, n) : worst_error(found, wanted, n, per);
    if (!json_get_double(expected(c, tensor), "tol", 0, &tol, e)) return false;
    if (c->record) {
        if (!isfinite(err)) return dg_error(e, "%s cannot be computed in this precision: its naive error is %g", tensor, err);
        double *entry = error_entry(c->record, tensor);
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
bool case_compare_images(const Case *c, const char *tensor, const double *found, Shape s, Error *e) {
    if (!expected(c, tensor)) return true;
    double *wanted = case_images(c, tensor, s, e);
    bool ok = wanted && compare(c, tensor, found, wanted, s.n, shape_count(s) / (size_t)s.n, e);
    free(wanted);
    return ok;
}
bool case_compare_values(const Case *c, const char *tensor, const double *found, int n, Error *e) {
    if (!expected(c, tensor)) return true;
    double *wanted = case_values(c, tensor, n, e);
    bool ok = wanted && compare(c, tensor, found, wanted, n, 1, e);
    free(wanted);
    return ok;
}
bool case_compare_rows(const Case *c, const char *tensor, const double *found, int n, int per, Error *e) {
    if (!expected(c, tensor)) return true;
    double *wanted = read_values(c, tensor, 2, (const int64_t[]){n, per}, e);
    bool ok = wanted && compare(c, tensor, found, wanted, n, (size_t)per, e);
    free(wanted);
    return ok;
}
static double *byte_images(const Case *c, Shape s, Error *e) {
    const StTensor *t = find(c, "bytes", 4, (const int64_t[]){s.n, s.c, s.h, s.w}, e);
    if (!t) return NULL;
    if (t->dtype != DG_U8) return dg_error(e, "tensor bytes does not hold bytes"), NULL;
    double *v = dg_alloc(t->count * sizeof *v), *out = dg_alloc(t->count * sizeof *out);
    st_to_f64(t, v);
    to_nhwc(v, s, out);
    free(v);
    return out;
}
bool case_compare_bytes(const Case *c, const uint8_t *found, const double *own, Shape s, Error *e) {
    double near;
    size_t count = shape_count(s), differ = 0, wrong = 0;
    if (!expected(c, "bytes") || c->record) return true;
    if (!json_get_double(expected(c, "bytes"), "near", 0, &near, e)) return false;
    double *official = c->base ? NULL : case_images(c, "decoded", s, e), *bytes = official ? byte_images(c, s, e) : NULL;
    bool read = c->base || bytes;
    const double *y = official ? official : own;
    for (size_t i = 0; i < count && read; i++) {
        double exact = 127.5 * y[i] + 128, wanted = bytes ? bytes[i] : floor(fmin(fmax(exact, 0), 255));
        bool close = fabs(exact - rint(exact)) <= near && fabs(found[i] - wanted) <= 1;
        differ += found[i] != wanted, wrong += found[i] != wanted && !close;
    }
    if (read) c->r->compared++, c->r->failed += wrong > 0;
    if (read && c->out)
        fprintf(c->out, "%-28s %-10s %zu of %zu differ, %zu of them by more than rounding  %s\n", c->name, "bytes", differ, count, wrong,
                wrong ? "FAIL" : "ok");
    free(official), free(bytes);
    return read;
}
/* Every tensor that is expected is one that this kind computes, and has a tolerance. */
static bool check_expect(const Case *c, Error *e) {
    const Json *expect = json_get(c->json, "expect");
    for (const Json *j = expect ? expect->child : NULL; j; j = j->next) {
        bool known = false;
        double tol;
        if (!j->key) break;
        for (const char *const *name = c->kind->outputs; *name; name++) known |= !strcmp(*name, j->key);
        if (!known) return dg_error(e, "\"expect\" names %s, which a case of kind %s does not compute", j->key, c->kind->kind);
        const char *what = strcmp(j->key, "bytes") ? "tol" : "near";
        if (!json_get_double(j, what, NAN, &tol, e)) return dg_error_context(e, "\"expect\", %s", j->key);
        if (!(tol >= 0)) return dg_error(e, "\"expect\", %s: there is no \"%s\", its tolerance", j->key, what);
    }
    return (expect && expect->count) || dg_error(e, "the case expects nothing");
}

/* ---- a case ------------------------------------------------------------------------------------------------------------------ */
/* True with c->kind NULL: a kind that is not known, whose name is in `kind`. */
static bool open_case(Case *c, const char *path, char *kind, size_t kind_bytes, Error *e) {
    const char *name;
    if (!(c->file = st_open(path, e))) return false;
    const char *text = st_metadata(c->file, "case");
    if (!text) return dg_error(e, "%s: no metadata \"case\": not a golden case", path);
    if (!(c->json = json_parse(text, strlen(text), e)) || !json_get_string(c->json, "kind", "", &name, e))
        return dg_error_context(e, "%s: metadata \"case\"", path);
    printable_copy(kind, kind_bytes, name);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (!strcmp(kinds[i]->kind, name)) c->kind = kinds[i];
    return !c->kind || check_expect(c, e) || dg_error_context(e, "%s", path);
}
static void close_case(Case *c) {
    json_free(c->json);
    st_close(c->file);
}
/* The same case on the naive implementation in the device's precision. */
static bool measure_base(const Case *c, CaseErrors *base, Error *e) {
    Case naive = *c;
    VerifyResult unused = {0};
    const Device *d = c->dev;
    naive.dev = device_open("rounded", precision_name(d->precision), e);
    naive.record = base, naive.r = &unused;
    bool ok = naive.dev && c->kind->run(&naive, e);
    naive.fuse = !naive.fuse;
    if (c->kind->logits) ok = ok && c->kind->run(&naive, e);
    device_close(naive.dev);
    return ok;
}
static bool run_case(Case *c, Error *e) {
    CaseErrors base = {0};
    bool reduced = c->dev->precision.tf32 || c->dev->precision.act == DG_F16 || c->dev->precision.act == DG_BF16;
    Precision fp32;
    if (c->kind->fp32 && device_precision(c->dev, "fp32", &fp32, NULL)) reduced = false;
    if (reduced && !measure_base(c, &base, e)) return false;
    if (reduced) c->base = &base;
    return c->kind->run(c, e);
}
bool verify_case(const char *path, Device *d, bool fuse, double tolerance_factor, FILE *out, VerifyResult *r, Error *e) {
    *r = (VerifyResult){0};
    const char *slash = strrchr(path, '/');
    char name[64], kind[32] = "";
    printable_copy(name, sizeof name, slash ? slash + 1 : path);
    char *dot = strrchr(name, '.');
    if (dot) *dot = 0;
    Case c = {.name = name, .dev = d, .fuse = fuse, .factor = tolerance_factor, .out = out, .r = r};
    bool ok = open_case(&c, path, kind, sizeof kind, e);
    if (ok && !c.kind) {
        r->skipped = true;
        if (out) fprintf(out, "%-28s kind %s is not known: skipped\n", name, kind);
    }
    if (ok && c.kind) ok = run_case(&c, e) || dg_error_context(e, "%s", path);
    close_case(&c);
    return ok;
}
bool verify_case_cost(const char *path, CaseCost *cost, Error *e) {
    char kind[32] = "";
    Case c = {.name = path};
    bool ok = open_case(&c, path, kind, sizeof kind, e);
    *cost = (CaseCost){.known = ok && c.kind};
    if (cost->known) ok = c.kind->cost(&c, cost, e) || dg_error_context(e, "%s", path);
    close_case(&c);
    return ok;
}
