/* weights.c -- weights by name: from a file, a buffer, or synthetic; official layouts become ours here. */
#include "graph/weights.h"
#include "base/dtype.h"
#include "base/text.h"
#include "graph/positions.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    const char *name;
    const StTensor *tensor;
    bool used;
} Override;
struct Weights {
    char *name;
    SafeTensors *file; /* NULL: synthetic */
    uint64_t seed;
    const char *gained; /* weights_synthetic_gain; or NULL */
    float gain;
    Json *config;
    bool *used; /* [file->count] */
    Override *override;
    int overrides;
    char source[65]; /* SHA-256 of what it was converted from, or "" */
    void *memory;    /* freed with it, or NULL */
    bool ignore_extra;
};

Weights *weights_of_file(SafeTensors *s, Error *e) {
    Weights *w = dg_alloc(sizeof *w);
    w->name = dg_strdup(s->path), w->file = s;
    w->used = dg_alloc((size_t)s->count * sizeof *w->used);
    const char *config = st_metadata(s, "config");
    if (config && !(w->config = json_parse(config, strlen(config), e))) {
        dg_error_context(e, "%s: metadata \"config\"", s->path);
        weights_free(w);
        return NULL;
    }
    return w;
}
Weights *weights_open(const char *path, Error *e) {
    SafeTensors *s = st_open(path, e);
    return s ? weights_of_file(s, e) : NULL;
}
Weights *weights_converted(SafeTensors *s, void *memory, const char *name, const char *source, Error *e) {
    Weights *w = weights_of_file(s, e);
    if (!w) {
        free(memory);
        return NULL;
    }
    free(w->name);
    w->name = dg_strdup(name), w->memory = memory;
    snprintf(w->source, sizeof w->source, "%s", source);
    return w;
}
void weights_ignore_extra(Weights *w) { w->ignore_extra = true; }
Weights *weights_memory(const void *data, size_t bytes, const char *name, Error *e) {
    SafeTensors *s = st_memory(data, bytes, name, e);
    return s ? weights_of_file(s, e) : NULL;
}
Weights *weights_synthetic(uint64_t seed, const Json *config) {
    Weights *w = dg_alloc(sizeof *w);
    char name[64];
    snprintf(name, sizeof name, "synthetic weights (seed %llu)", (unsigned long long)seed);
    w->name = dg_strdup(name), w->seed = seed;
    if (config) {
        Text t = {0};
        Error e;
        json_write(&t, config);
        w->config = json_parse(t.text, t.len, &e);
        DG_CHECK(w->config, "a parsed config does not parse again: %s", e.text);
        text_free(&t);
    }
    return w;
}
void weights_synthetic_gain(Weights *w, const char *ending, float gain) { w->gained = ending, w->gain = gain; }
void weights_override(Weights *w, const char *name, const StTensor *t) {
    w->override = dg_realloc(w->override, (size_t)(w->overrides + 1) * sizeof *w->override);
    w->override[w->overrides++] = (Override){name, t, false};
}
void weights_free(Weights *w) {
    if (!w) return;
    st_close(w->file);
    json_free(w->config);
    free(w->name);
    free(w->used);
    free(w->override);
    free(w->memory);
    free(w);
}
const char *weights_name(const Weights *w) { return w->name; }
const Json *weights_config(const Weights *w) { return w->config; }
const char *weights_source(const Weights *w) { return w->source; }

/* ---- synthetic values (tests/golden/README.md) -------------------------------------------------------------------------- */
static uint64_t fnv(const char *s) {
    uint64_t h = 0xcbf29ce484222325u;
    for (; *s; s++) h = (h ^ (uint8_t)*s) * 0x100000001b3u;
    return h;
}
static float unit(uint64_t key, uint64_t i) { /* uniform in [-1,1), exact in f32 */
    uint64_t z = key + (i + 1) * 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return (float)((z ^ (z >> 31)) >> 40) * 0x1p-23f - 1;
}
static bool ends_with(const char *s, const char *end) {
    size_t n = strlen(s), k = strlen(end);
    return n >= k && !strcmp(s + n - k, end);
}
typedef struct {
    uint64_t key;
    float offset, factor, gain; /* value = (offset + factor * u) * gain */
} Synthetic;
static Synthetic synthetic_rule(const Weights *w, const char *name, int dims, const int64_t *shape) {
    Synthetic r = {fnv(name) ^ (w->seed * 0x9E3779B97F4A7C15u), 0, 1, w->gained && ends_with(name, w->gained) ? w->gain : 1};
    const char *dot = strrchr(name, '.'), *leaf = dot ? dot + 1 : name;
    if (!strcmp(leaf, "freqs")) r.factor = 16;
    else if (!strcmp(leaf, "positional_embedding")) r.factor = (float)(1 / sqrt((double)shape[0]));
    else if (!strcmp(leaf, "bias") || ends_with(leaf, "_bias") || !strcmp(leaf, "running_mean")) r.factor = .1f;
    else if (!strcmp(leaf, "running_var")) r.offset = 1, r.factor = .5f;
    else if (dims == 1) r.offset = 1, r.factor = .1f;
    else if (!strstr(name, "label_emb") && !strstr(name, "embedding_table")) {
        double fan_in = 1;
        for (int i = 1; i < dims; i++) fan_in *= (double)shape[i];
        r.factor = (float)sqrt(3 / fan_in);
    }
    return r;
}

/* ---- from the official layout to ours ----------------------------------------------------------------------------------- */
int view_official_shape(Shape s, WeightView v, int64_t shape[4]) {
    if (v.flip) s = (Shape){s.c, s.h, s.w, s.n};
    switch (v.kind) {
    case VIEW_VECTOR:
    case VIEW_FOLD_BN_BIAS: shape[0] = s.c; return 1;
    case VIEW_EMBEDDING: shape[0] = s.c, shape[1] = s.n; return 2;
    case VIEW_TOKENS: shape[0] = s.c, shape[1] = s.w; return 2;
    case VIEW_POSITIONS: shape[0] = 1, shape[1] = s.h * s.w, shape[2] = s.c; return 3;
    case VIEW_CONV:
    case VIEW_FOLD_BN: break;
    }
    shape[0] = s.n, shape[1] = s.c, shape[2] = s.h, shape[3] = s.w;
    return s.h == 1 && s.w == 1 ? 2 : 4;
}
/* [K,C] may also be written [K,C,1] or [K,C,1,1]. */
static bool same_shape(const StTensor *t, int dims, const int64_t *shape) {
    if (t->dims < dims) return false;
    for (int i = 0; i < t->dims; i++)
        if (t->shape[i] != (i < dims ? shape[i] : 1)) return false;
    return t->dims == dims || dims == 2;
}
static void print_shape(char *out, size_t size, int dims, const int64_t *shape) {
    size_t n = (size_t)snprintf(out, size, "[");
    for (int i = 0; i < dims && n < size; i++) n += (size_t)snprintf(out + n, size - n, i ? ",%lld" : "%lld", (long long)shape[i]);
    if (n < size) snprintf(out + n, size - n, "]");
}
/* Official row of our row r = part*C + head*d + c of a qkv projection of 3C rows. */
static int qkv_row(WeightView v, int rows, int r) {
    int C = rows / 3, d = C / v.heads, part = r / C, head = r % C / d, c = r % d;
    if (v.qkv == QKV_HEAD_D_3) return (head * d + c) * 3 + part;
    if (v.qkv == QKV_HEAD_3_D) return head * 3 * d + part * d + c;
    return r;
}
/* Where the element at our index (n,0,0,c) of shape s lies in the official tensor. Over (h,w) a conv's elements follow it
 * in order there, backwards when flipped; those of positions follow c elements apart.                                 */
static size_t official_index(Shape s, WeightView v, int n, int c) {
    switch (v.kind) {
    case VIEW_VECTOR:
    case VIEW_FOLD_BN_BIAS: return (size_t)(v.qkv ? qkv_row(v, s.c, c) : c);
    case VIEW_EMBEDDING: return (size_t)c * (size_t)s.n + (size_t)n;
    case VIEW_TOKENS: return (size_t)c * (size_t)s.w;
    case VIEW_POSITIONS: return (size_t)c;
    case VIEW_CONV:
    case VIEW_FOLD_BN: break;
    }
    size_t taps = (size_t)(s.h * s.w);
    if (!v.flip) return ((size_t)(v.qkv ? qkv_row(v, s.n, n) : n) * (size_t)s.c + (size_t)c) * taps;
    return ((size_t)(v.qkv ? qkv_row(v, s.c, c) : c) * (size_t)s.n + (size_t)n) * taps + taps - 1;
}
/* Our element i of the official element j: from the tensor, or by the rule of synthetic weights. */
static void read_element(const StTensor *t, const Synthetic *rule, DType type, void *out, size_t i, size_t j) {
    if (t && t->dtype != DG_F32) {
        size_t size = dtype_bytes(t->dtype);
        dtype_convert(type, (char *)out + i * dtype_bytes(type), t->dtype, (const char *)t->data + j * size, 1);
        return;
    }
    float value;
    if (t) memcpy(&value, (const char *)t->data + j * sizeof value, sizeof value);
    else value = (rule->offset + rule->factor * unit(rule->key, j)) * rule->gain;
    if (type == DG_F32) ((float *)out)[i] = value;
    else ((double *)out)[i] = value;
}
static const StTensor *find(Weights *w, const char *name) {
    for (int i = 0; i < w->overrides; i++)
        if (!strcmp(w->override[i].name, name)) return w->override[i].used = true, w->override[i].tensor;
    const StTensor *t = w->file ? st_find(w->file, name) : NULL;
    if (t) w->used[t - w->file->tensor] = true;
    return t;
}
static size_t not_finite(size_t n, DType type, const void *values) {
    const float *f32 = values;
    const double *f64 = values;
    size_t bad = 0;
#pragma omp parallel for reduction(+ : bad) if (n > 100000)
    for (size_t i = 0; i < n; i++) bad += type == DG_F64 ? !isfinite(f64[i]) : !isfinite(f32[i]);
    return bad;
}
/* The tensor `name` itself, in our order. */
static bool read_tensor(Weights *w, const char *name, Shape s, WeightView v, DType type, void *out, Error *e) {
    int64_t shape[4];
    int dims = view_official_shape(s, v, shape);
    const StTensor *t = find(w, name);
    if (!t && w->file)
        return dg_error(e, "%s: no tensor %s, which its configuration needs: another model's file, or an incomplete one?", w->name, name);
    if (t && !same_shape(t, dims, shape)) {
        char found[96], wanted[96];
        print_shape(found, sizeof found, t->dims, t->shape);
        print_shape(wanted, sizeof wanted, dims, shape);
        return dg_error(e, "%s: tensor %s has shape %s, its configuration wants %s", w->name, name, found, wanted);
    }
    if (t && (t->dtype == DG_U8 || t->dtype == DG_I64)) return dg_error(e, "%s: tensor %s holds integers", w->name, name);
    Synthetic rule = synthetic_rule(w, name, dims, shape);
    size_t taps = (size_t)(s.h * s.w), step = v.kind == VIEW_POSITIONS ? (size_t)s.c : 1;
#pragma omp parallel for if (shape_count(s) > 100000)
    for (int n = 0; n < s.n; n++)
        for (int c = 0; c < s.c; c++) {
            size_t first = official_index(s, v, n, c), i = (size_t)n * taps * (size_t)s.c + (size_t)c;
            for (size_t k = 0; k < taps; k++, i += (size_t)s.c) read_element(t, &rule, type, out, i, v.flip ? first - k : first + k * step);
        }
    if (t && w->file && st_find(w->file, name) == t) st_let_go(w->file, t); /* a large model's file would be held a second time */
    /* One NaN spreads over the whole image: it is named here rather than seen in the images. */
    size_t bad = t ? not_finite(shape_count(s), type, out) : 0;
    return !bad || dg_error(e, "%s: tensor %s: %zu of its %zu values are NaN or infinite: a damaged file, or a training that went wrong",
                            w->name, name, bad, shape_count(s));
}

/* ---- views of more than one tensor ---------------------------------------------------------------------------------------- */
/* X.bn, of k channels, as y = scale * x + shift. X. is the beginning of name, of this length. */
static bool read_batch_norm(Weights *w, const char *name, int length, int k, double eps, double *scale, double *shift, Error *e) {
    enum { VARIANCE, MEAN, BETA, GAMMA, LEAVES };
    static const char *const leaf[LEAVES] = {"running_var", "running_mean", "bias", "weight"};
    double *value[LEAVES];
    char full[sizeof((Tensor *)0)->name + sizeof "bn.num_batches_tracked"];
    bool ok = true;
    for (int i = 0; i < LEAVES; i++) {
        value[i] = dg_alloc((size_t)k * sizeof *value[i]);
        snprintf(full, sizeof full, "%.*sbn.%s", length, name, leaf[i]);
        bool absent = i == GAMMA && w->file && !find(w, full);
        for (int c = 0; absent && c < k; c++) value[i][c] = 1;
        ok = ok && (absent || read_tensor(w, full, (Shape){1, 1, 1, k}, (WeightView){.kind = VIEW_VECTOR}, DG_F64, value[i], e));
        int negative = 0;
        for (int c = 0; ok && i == VARIANCE && c < k; c++) negative += value[i][c] < 0;
        if (negative)
            ok = dg_error(e, "%s: tensor %s: %d of its %d values are below 0, and variances never are: a damaged file?", w->name, full,
                          negative, k);
    }
    snprintf(full, sizeof full, "%.*sbn.num_batches_tracked", length, name);
    find(w, full); /* of use in training alone: not unexpected */
    for (int c = 0; ok && c < k; c++) {
        scale[c] = value[GAMMA][c] / sqrt(value[VARIANCE][c] + eps);
        shift[c] = value[BETA][c] - value[MEAN][c] * scale[c];
    }
    for (int i = 0; i < LEAVES; i++) free(value[i]);
    return ok;
}
static bool read_folded(Weights *w, const char *name, Shape s, WeightView v, DType type, void *out, Error *e) {
    bool bias = v.kind == VIEW_FOLD_BN_BIAS;
    const char *own = bias ? "bn.bias" : "conv.weight";
    GRAPH_CHECK(ends_with(name, own), "weight %s: a view that folds a batch norm is of X.%s", name, own);
    GRAPH_CHECK(v.eps > 0 && v.qkv == QKV_NONE, "weight %s: a folded batch norm with eps %g%s", name, v.eps,
                v.qkv ? ", of q, k and v" : "");
    int k = bias || v.flip ? s.c : s.n;
    size_t n = shape_count(s), per = n / (size_t)k;
    double *scale = dg_alloc(2 * (size_t)k * sizeof *scale), *shift = scale + k, *value = bias ? NULL : dg_alloc(n * sizeof *value);
    bool ok = (bias || read_tensor(w, name, s, v, DG_F64, value, e)) &&
              read_batch_norm(w, name, (int)(strlen(name) - strlen(own)), k, v.eps, scale, shift, e);
    if (ok) {
        for (size_t i = 0; !bias && i < n; i++) value[i] *= scale[v.flip ? i % (size_t)k : i / per];
        dtype_convert(type, out, DG_F64, bias ? shift : value, n);
        size_t bad = not_finite(n, type, out);
        if (bad)
            ok = dg_error(e, "%s: tensor %s: %zu of its %zu values leave %s with the batch norm that is folded into it: a damaged file?",
                          w->name, name, bad, n, dtype_name(type));
    }
    free(scale);
    free(value);
    return ok;
}
static void compute_positions(Shape s, DType type, void *out) {
    float *value = dg_alloc(shape_count(s) * sizeof *value);
    positions_2d(s.h, s.w, s.c, value);
    dtype_convert(type, out, DG_F32, value, shape_count(s));
    free(value);
}
bool weights_read(Weights *w, const char *name, Shape s, WeightView v, DType type, void *out, Error *e) {
    DG_CHECK(type == DG_F32 || type == DG_F64, "weights are read as fp32 or fp64");
    GRAPH_CHECK(v.kind != VIEW_POSITIONS || s.n == 1, "positions %s: those of %d images: they are the same in all", name, s.n);
    if (v.kind == VIEW_FOLD_BN || v.kind == VIEW_FOLD_BN_BIAS) return read_folded(w, name, s, v, type, out, e);
    if (v.kind != VIEW_POSITIONS || find(w, name)) return read_tensor(w, name, s, v, type, out, e);
    if (s.c % 4)
        return dg_error(e, "%s: no tensor %s, and positions of %d channels, no multiple of 4, cannot be computed", w->name, name, s.c);
    compute_positions(s, type, out);
    return true;
}

WeightSet weights_alone(Weights *w) { return (WeightSet){.part = {{"", w}}, .parts = 1}; }
bool weight_set_read(const WeightSet *set, const char *name, Shape s, WeightView v, DType type, void *out, Error *e) {
    const WeightPart *best = NULL;
    size_t longest = 0;
    for (int i = 0; i < set->parts; i++) {
        size_t n = strlen(set->part[i].prefix);
        if (!strncmp(name, set->part[i].prefix, n) && (!best || n > longest)) best = &set->part[i], longest = n;
    }
    DG_CHECK(best, "no part of the weights has names like %s", name);
    return weights_read(best->weights, name + longest, s, v, type, out, e);
}

/* ---- unused tensors -------------------------------------------------------------------------------------------------------- */
static bool matches(const char *name, const char *pattern) {
    size_t n = strlen(pattern);
    if (pattern[0] == '*') return ends_with(name, pattern + 1);
    if (n && pattern[n - 1] == '*') return !strncmp(name, pattern, n - 1);
    return !strcmp(name, pattern);
}
static bool is_allowed(const char *name, const char *const *allowed) {
    for (int k = 0; allowed && allowed[k]; k++)
        if (matches(name, allowed[k])) return true;
    return false;
}
bool weights_check_unused(const Weights *w, const char *const *allowed, Error *e) {
    char names[256] = "";
    int unexpected = 0;
    for (int i = 0; w->file && !w->ignore_extra && i < w->file->count; i++) {
        const char *name = w->file->tensor[i].name;
        if (w->used[i] || is_allowed(name, allowed)) continue;
        if (unexpected++ < 3) {
            size_t n = strlen(names);
            snprintf(names + n, sizeof names - n, "%s%s", n ? ", " : "", name);
        }
    }
    for (int i = 0; i < w->overrides; i++)
        if (!w->override[i].used && !is_allowed(w->override[i].name, allowed))
            return dg_error(e, "%s: there is no parameter %s to override", w->name, w->override[i].name);
    if (!unexpected) return true;
    return dg_error(e, "%s: %d tensors that its configuration does not use (%s%s): another model's configuration? (--ignore-extra)",
                    w->name, unexpected, names, unexpected > 3 ? ", ..." : "");
}
