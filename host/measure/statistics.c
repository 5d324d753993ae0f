/* statistics.c -- statistics files: written, read, merged. */
#include "measure/statistics.h"
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

bool statistics_new(Statistics *s, int dims, int spatial_dims, Grid g, const char *meta, Error *e) {
    *s = (Statistics){.meta = dg_strdup(meta)};
    s->pool = exact_new(dims, g, NULL, e);
    if (s->pool && spatial_dims) s->spatial = exact_new(spatial_dims, g, NULL, e);
    if (s->pool && (s->spatial || !spatial_dims)) return true;
    statistics_free(s);
    return false;
}
void statistics_free(Statistics *s) {
    exact_free(s->pool);
    exact_free(s->spatial);
    seeds_free(&s->seeds);
    free(s->meta);
    *s = (Statistics){0};
}
static Json *parse_meta(const char *meta, const char *path, Error *e) {
    Json *j = json_parse(meta, strlen(meta), e);
    if (j && j->kind == JSON_OBJECT) return j;
    if (j) dg_error(e, "not a JSON object");
    json_free(j);
    dg_error_context(e, "%s: array meta", path);
    return NULL;
}
/* The divisor of the covariance is count less this. */
static bool divisor_of(const char *meta, const char *path, Divisor *out, Json **parsed, Error *e) {
    int ddof = 1;
    *out = (Divisor){.ddof = 1};
    Json *j = parse_meta(meta, path, e);
    if (!j) return false;
    bool ok = json_get_int(j, "cov_ddof", 1, &ddof, e);
    if (ok && ddof != 0 && ddof != 1) ok = dg_error(e, "\"cov_ddof\" is %d, not 0 or 1", ddof);
    out->ddof = ddof;
    if (ok && parsed) *parsed = j;
    else json_free(j);
    return ok || dg_error_context(e, "%s: array meta", path);
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */
static bool put(NpzWriter *w, const char *name, char type, int bytes, int64_t rows, int64_t columns, const void *data, Error *e) {
    int64_t shape[2] = {rows, columns};
    return npz_writer_array(w, name, type, bytes, columns ? 2 : 1, shape, e) &&
           npz_writer_data(w, data, (size_t)rows * (size_t)(columns ? columns : 1) * (size_t)bytes, e);
}
/* 128-bit integers lie in memory as pairs of 64-bit ones, on the little-endian machines that this is for. */
static bool put_sums(NpzWriter *w, ExactSums *s, bool spatial, Divisor divisor, Error *e) {
    Gaussian g = {0};
    bool ok = exact_gaussian(s, divisor, &g, e) && gaussian_put(w, spatial, &g, e) &&
              put(w, spatial ? "dg_sum_s" : "dg_sum", 'i', 8, s->dims, 2, s->sum, e) &&
              put(w, spatial ? "dg_products_s" : "dg_products", 'i', 8, (int64_t)exact_products(s->dims), 2, s->product, e);
    gaussian_free(&g);
    return ok;
}
static bool put_seeds(NpzWriter *w, const SeedList *seeds, Error *e) {
    uint64_t *run = dg_alloc((seeds->ranges ? seeds->ranges : 1) * 2 * sizeof *run);
    for (size_t i = 0; i < seeds->ranges; i++) run[2 * i] = seeds->range[i].first, run[2 * i + 1] = seeds->range[i].count;
    bool ok = put(w, "dg_seeds", 'u', 8, (int64_t)seeds->ranges, 2, run, e);
    free(run);
    return ok;
}
bool statistics_put_meta(NpzWriter *w, const char *meta, Error *e) { return put(w, "meta", 'u', 1, (int64_t)strlen(meta), 0, meta, e); }
static bool settle_seeds(const char *path, Statistics *s, Error *e) {
    size_t listed = s->seeds.count;
    seeds_sort(&s->seeds);
    if (s->seeds.count != listed) return dg_error(e, "%s: %zu seeds are listed twice", path, listed - s->seeds.count);
    if (listed && listed != s->pool->count)
        return dg_error(e, "%s: there are %zu seeds for %" PRIu64 " images", path, listed, s->pool->count);
    return true;
}
bool statistics_write(const char *path, Statistics *s, const float *features, Error *e) {
    Divisor divisor;
    if (!divisor_of(s->meta, path, &divisor, NULL, e) || !settle_seeds(path, s, e)) return false;
    if (s->pool->count < 2) return dg_error(e, "%s: a covariance needs at least 2 images, there are %" PRIu64, path, s->pool->count);
    DG_CHECK(!s->spatial || s->spatial->count == s->pool->count, "pooled and spatial features of different images");
    NpzWriter *w = npz_writer_open(path, e);
    if (!w) return false;
    const int64_t grid[2] = {s->pool->grid.exponent, s->pool->grid.pieces};
    bool ok = put_sums(w, s->pool, false, divisor, e) && (!s->spatial || put_sums(w, s->spatial, true, divisor, e)) &&
              gaussian_put_count(w, s->pool->count, e) && statistics_put_meta(w, s->meta, e) && put(w, "dg_grid", 'i', 8, 2, 0, grid, e) &&
              put_seeds(w, &s->seeds, e) && (!features || put(w, "feats", 'f', 4, (int64_t)s->pool->count, s->pool->dims, features, e));
    if (ok) return npz_writer_finish(w, e);
    npz_writer_abandon(w);
    return false;
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */
/* An array of 8-byte integers, of `columns` columns (0: a vector) and, unless rows is -1, of that many rows. */
static bool take(Npz *z, const char *path, const char *name, char type, int64_t rows, int64_t columns, NpyArray *a, Error *e) {
    if (!npz_read(z, name, a, e)) return false;
    bool fits = a->dtype == type && a->bytes == 8 && a->dims == (columns ? 2 : 1) && (rows < 0 || a->shape[0] == rows) &&
                (!columns || a->shape[1] == columns);
    if (fits) return true;
    npy_free(a);
    return dg_error(e, "%s: array %s does not have the type or the shape that dg_cuda writes", path, name);
}
static bool take_grid(Npz *z, const char *path, Grid *g, Error *e) {
    NpyArray a = {0};
    if (!take(z, path, "dg_grid", 'i', 2, 0, &a, e)) return false;
    double exponent = npy_value(&a, 0), pieces = npy_value(&a, 1);
    bool ok = fabs(exponent) < 1e6 && fabs(pieces) < 1e6;
    if (ok) *g = (Grid){(int)exponent, (int)pieces};
    npy_free(&a);
    return (ok && grid_valid(*g)) || dg_error(e, "%s: array dg_grid holds no grid of sums that this version knows", path);
}
static bool take_meta(Npz *z, const char *path, char **meta, Error *e) {
    NpyArray a = {0};
    if (!npz_read(z, "meta", &a, e)) return false;
    bool ok = (a.dtype == 'u' && a.bytes == 1 && a.dims == 1) || dg_error(e, "%s: array meta is not a vector of bytes", path);
    if (ok) {
        *meta = dg_alloc(a.count + 1);
        memcpy(*meta, a.data, a.count);
    }
    npy_free(&a);
    return ok;
}
Json *statistics_meta(Npz *z, const char *path, Error *e) {
    char *text = NULL;
    Json *j = take_meta(z, path, &text, e) ? parse_meta(text, path, e) : NULL;
    free(text);
    return j;
}
static bool take_seeds(Npz *z, const char *path, Statistics *s, Error *e) {
    NpyArray a = {0};
    if (!take(z, path, "dg_seeds", 'u', -1, 2, &a, e)) return false;
    const uint64_t *run = a.data;
    bool ok = true;
    uint64_t total = 0;
    for (int64_t i = 0; ok && i < a.shape[0]; i++, run += 2) {
        bool after = i == 0 || run[0] > run[-2] + (run[-1] - 1);
        total += run[1];
        ok = after && run[1] >= 1 && run[1] <= s->pool->count && total <= s->pool->count && run[0] + (run[1] - 1) >= run[0];
        if (ok) seeds_add(&s->seeds, run[0], run[1]);
    }
    ok = ok && (total == 0 || total == s->pool->count);
    npy_free(&a);
    return ok || dg_error(e, "%s: array dg_seeds is not an ascending list of runs of the %" PRIu64 " images' seeds", path, s->pool->count);
}
static bool same_values(const Gaussian *a, const Gaussian *b) {
    size_t d = (size_t)a->dims;
    return !memcmp(a->mean, b->mean, d * sizeof *a->mean) && !memcmp(a->covariance, b->covariance, d * d * sizeof *a->covariance);
}
/* Sums, and that they are those that the mean and the covariance come from. */
static bool take_sums(Npz *z, const char *path, bool spatial, Grid grid, Divisor divisor, ExactSums **out, Error *e) {
    Gaussian found = {0}, made = {0};
    NpyArray sum = {0}, product = {0};
    bool ok = gaussian_take(z, path, spatial, &found, e);
    if (ok && found.count == 0) ok = dg_error(e, "%s: no array num_images", path);
    ok = ok && take(z, path, spatial ? "dg_sum_s" : "dg_sum", 'i', found.dims, 2, &sum, e) &&
         take(z, path, spatial ? "dg_products_s" : "dg_products", 'i', (int64_t)exact_products(found.dims), 2, &product, e) &&
         (*out = exact_new(found.dims, grid, NULL, e)) != NULL;
    if (ok) {
        ExactSums *s = *out;
        s->count = found.count;
        memcpy(s->sum, sum.data, sum.count * 8);
        memcpy(s->product, product.data, product.count * 8);
        ok = exact_possible(s) && exact_gaussian(s, divisor, &made, e) && same_values(&found, &made);
        if (!ok)
            dg_error(e, "%s: %s and %s are not those of the sums beside them: the file was changed", path, spatial ? "mu_s" : "mu",
                     spatial ? "sigma_s" : "sigma");
    }
    npy_free(&sum);
    npy_free(&product);
    gaussian_free(&found);
    gaussian_free(&made);
    return ok;
}
static bool take_all(Npz *z, const char *path, Statistics *s, Error *e) {
    Grid grid = grid_f32;
    Divisor divisor;
    if (!npz_has(z, "dg_products"))
        return dg_error(e, "%s holds no exact sums (array dg_products): only statistics that dg_cuda wrote can be merged", path);
    if (!take_grid(z, path, &grid, e) || !take_meta(z, path, &s->meta, e) || !divisor_of(s->meta, path, &divisor, NULL, e)) return false;
    if (!take_sums(z, path, false, grid, divisor, &s->pool, e)) return false;
    if (npz_has(z, "dg_products_s") && !take_sums(z, path, true, grid, divisor, &s->spatial, e)) return false;
    return take_seeds(z, path, s, e);
}
bool statistics_take(Npz *z, const char *path, Statistics *s, Error *e) {
    *s = (Statistics){0};
    bool ok = take_all(z, path, s, e);
    if (!ok) statistics_free(s);
    return ok;
}
bool statistics_read(const char *path, Statistics *s, Error *e) {
    *s = (Statistics){0};
    Npz *z = npz_open(path, e);
    bool ok = z && statistics_take(z, path, s, e);
    npz_close(z);
    return ok;
}

float *statistics_take_features(Npz *z, const char *path, size_t *images, int *dims, Error *e) {
    NpyArray a = {0};
    float *x = NULL;
    bool ok =
        npz_has(z, "feats") ||
        dg_error(e, "%s keeps no features (array feats): precision, recall and KID need the images, or a file that was made to keep them",
                 path);
    ok = ok && npz_read(z, "feats", &a, e);
    if (ok && (a.dtype != 'f' || a.bytes > 4 || a.dims != 2 || a.shape[0] < 1 || a.shape[1] < 1 || a.shape[1] > INT32_MAX))
        ok = dg_error(e, "%s: array feats is not a matrix of numbers in float or half precision", path);
    if (ok) {
        *images = (size_t)a.shape[0], *dims = (int)a.shape[1];
        x = dg_alloc(a.count * sizeof *x);
        dtype_convert(DG_F32, x, a.bytes == 2 ? DG_F16 : DG_F32, a.data, a.count);
    }
    npy_free(&a);
    return x;
}
float *statistics_features(const char *path, size_t *images, int *dims, Error *e) {
    Npz *z = npz_open(path, e);
    float *x = z ? statistics_take_features(z, path, images, dims, e) : NULL;
    npz_close(z);
    return x;
}
bool statistics_fit_features(const char *path, size_t images, int dims, FeaturesOf wanted, Error *e) {
    bool fits = dims == wanted.dims && (!wanted.images || images == wanted.images || (wanted.some && images < wanted.images));
    return fits ||
           dg_error(e, "%s: it keeps features of %zu images (%d each) and statistics of %" PRIu64 " (%d each): the file was changed", path,
                    images, dims, wanted.images, wanted.dims);
}

/* ---- merging ----------------------------------------------------------------------------------------------------- */
static void member_text(Text *t, const Json *j) {
    if (j) json_write(t, j);
    else text_printf(t, "not there");
}
/* Every member of a, but what tells the parts of one set apart, is the same in b. */
static bool same_members(const Json *a, const char *a_path, const Json *b, const char *b_path, Error *e) {
    bool ok = true;
    for (const Json *x = a->child; ok && x; x = x->next) {
        if (!strcmp(x->key, "source") || !strcmp(x->key, "N")) continue;
        Text one = {0}, other = {0};
        member_text(&one, x);
        member_text(&other, json_get(b, x->key));
        if (strcmp(one.text, other.text))
            ok = dg_error(e, "%s and %s do not merge: \"%s\" is %s in one and %s in the other", a_path, b_path, x->key, one.text,
                          other.text);
        text_free(&one);
        text_free(&other);
    }
    return ok;
}
static bool same_protocol(const Statistics *a, const char *a_path, const Statistics *b, const char *b_path, Error *e) {
    Divisor ignored;
    Json *x = NULL, *y = NULL;
    bool ok = divisor_of(a->meta, a_path, &ignored, &x, e) && divisor_of(b->meta, b_path, &ignored, &y, e) &&
              same_members(x, a_path, y, b_path, e) && same_members(y, b_path, x, a_path, e);
    json_free(x);
    json_free(y);
    return ok;
}
static bool different_images(const Statistics *a, const char *a_path, const Statistics *b, const char *b_path, Error *e) {
    if (!a->seeds.count != !b->seeds.count) {
        const char *without = a->seeds.count ? b_path : a_path;
        return dg_error(e, "%s and %s do not merge: %s does not say of which seeds its images are", a_path, b_path, without);
    }
    uint64_t first = 0;
    size_t shared = seeds_shared(&a->seeds, &b->seeds, &first);
    if (shared)
        return dg_error(e, "%s and %s do not merge: both have the images of %zu seeds, the first of them %" PRIu64, a_path, b_path, shared,
                        first);
    bool same = !a->seeds.count && a->pool->count == b->pool->count &&
                !memcmp(a->pool->product, b->pool->product, exact_products(a->pool->dims) * sizeof *a->pool->product);
    return !same || dg_error(e, "%s and %s do not merge: they hold the same images", a_path, b_path);
}
bool statistics_merge(Statistics *into, const char *into_path, Statistics *from, const char *from_path, Error *e) {
    if (!same_protocol(into, into_path, from, from_path, e)) return false;
    if (!into->spatial != !from->spatial) {
        const char *without = into->spatial ? from_path : into_path;
        return dg_error(e, "%s and %s do not merge: %s has no spatial features", into_path, from_path, without);
    }
    exact_settle(into->pool), exact_settle(from->pool);
    bool fits = exact_fits(into->pool, from->pool, e) && (!into->spatial || exact_fits(into->spatial, from->spatial, e));
    if (!fits) return dg_error_context(e, "%s and %s do not merge", into_path, from_path);
    if (!different_images(into, into_path, from, from_path, e)) return false;
    exact_merge(into->pool, from->pool);
    if (into->spatial) {
        exact_settle(into->spatial), exact_settle(from->spatial);
        exact_merge(into->spatial, from->spatial);
    }
    for (size_t i = 0; i < from->seeds.ranges; i++) seeds_add(&into->seeds, from->seeds.range[i].first, from->seeds.range[i].count);
    seeds_sort(&into->seeds);
    return true;
}
SeedList statistics_holes(const Statistics *s) {
    SeedList set = seeds_copy(&s->seeds), holes = {0};
    seeds_sort(&set);
    for (size_t i = 1; i < set.ranges; i++) {
        uint64_t next = set.range[i - 1].first + set.range[i - 1].count;
        if (next < set.range[i].first) seeds_add(&holes, next, (size_t)(set.range[i].first - next));
    }
    seeds_free(&set);
    return holes;
}
