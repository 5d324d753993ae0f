/* eval_stored.c -- files of statistics as sets of `eval`: what they say of themselves beside the protocol, this run's network and the other
 * files, and their numbers, divided as the protocol has it.                                                                      */
#include "program/eval.h"
#include <stdlib.h>
#include <string.h>

/* ---- which network ------------------------------------------------------------------------------------------------------------------- */
static const char *const said_key[EVAL_SAID] = {"weights_sha256", "precision"};
/* Of this run; NULL: it has computed nothing by which that is known. */
static const char *of_run(const EvalJob *j, int key) {
    if (key == 0) return j->weights_sha256[0] ? j->weights_sha256 : NULL;
    return j->measured ? j->precision : NULL;
}
bool eval_hash_network(EvalJob *j, const Features *open, Error *e) {
    enum { SIDE = 32 }; /* of any images: the resize has no weights; an extractor has these alone */
    if (j->weights_sha256[0]) return true;
    if (open) return features_hash(open, j->weights, j->weights_sha256, e);
    FeatureOptions o = {.height = SIDE,
                        .width = SIDE,
                        .batch = 1,
                        .resize = j->p.resize,
                        .scale = j->p.scale,
                        .no_fuse = j->o->device.no_fuse,
                        .wanted = 1u << FEATURE_POOL};
    Features *f = eval_weights(j, e) ? features_open(j->device, j->weights, &o, e) : NULL;
    bool ok = f && features_hash(f, j->weights, j->weights_sha256, e);
    features_close(f);
    return ok;
}
bool eval_check_network(const EvalJob *j, const char *path, Error *e) {
    for (int key = 0; !j->o->force && key < EVAL_SAID; key++) {
        const char *value = j->said[key].value, *run = of_run(j, key);
        if (value && run && strcmp(value, run))
            return dg_error(e,
                            "\"%s\" of the statistics in %s is %s and that of %s is %s: features of different kinds (--force compares them "
                            "all the same)",
                            said_key[key], j->said[key].path, value, path, run);
    }
    return true;
}
static bool another(const char *path, const char *key, const char *value, const char *wanted, const char *where, Error *e) {
    return dg_error(e, "%s: its statistics are of another kind: \"%s\" is %s there and %s in %s (--force compares them all the same)", path,
                    key, value, wanted, where);
}
/* wanted NULL: nothing is known of that. */
static bool same_text(const char *path, const Json *meta, const char *key, const char *wanted, const char *where, Error *e) {
    const Json *x = json_get(meta, key);
    if (!x || !wanted || (x->kind == JSON_STRING && !strcmp(x->string, wanted))) return true;
    Text t = {0};
    if (x->kind == JSON_STRING) text_printf(&t, "%s", x->string);
    else json_write(&t, x);
    another(path, key, t.text, wanted, where, e);
    text_free(&t);
    return false;
}
static bool same_network(EvalJob *j, const char *path, const Json *meta, Error *e) {
    for (int key = 0; key < EVAL_SAID; key++) {
        const Json *x = json_get(meta, said_key[key]);
        if (!same_text(path, meta, said_key[key], of_run(j, key), "this run", e) ||
            !same_text(path, meta, said_key[key], j->said[key].value, j->said[key].path, e))
            return false;
        if (x && x->kind == JSON_STRING && !j->said[key].value)
            j->said[key].path = dg_strdup(path), j->said[key].value = dg_strdup(x->string);
    }
    return true;
}
/* What a file says of its statistics fits. *ddof: what its covariance was divided by, N less that; stays as it is where the file says
 * nothing. */
static bool check_meta(EvalJob *j, Npz *z, const char *path, int *ddof, Error *e) {
    char protocol[64];
    if (!npz_has(z, "meta")) {
        if (!j->p.extractor && !j->o->force)
            eval_notice(j, "%s does not say how its features were made: that it fits protocol %s is yours to know", path, j->p.name);
        return true;
    }
    Json *meta = statistics_meta(z, path, e);
    if (!meta) return j->o->force && (e->text[0] = 0, true);
    snprintf(protocol, sizeof protocol, "protocol %s", j->p.name);
    const char *resize = j->p.extractor ? "none" : resize_rule_name[j->p.resize];
    bool ok = j->o->force ||
              (same_text(path, meta, "resize", resize, protocol, e) && same_text(path, meta, "scale", scale_name(&j->p), protocol, e) &&
               (!j->p.extractor || eval_hash_network(j, NULL, e)) && same_network(j, path, meta, e));
    ok = ok && (json_get_int(meta, "cov_ddof", *ddof, ddof, e) || dg_error_context(e, "%s: array meta", path));
    json_free(meta);
    return ok;
}

/* ---- numbers ------------------------------------------------------------------------------------------------------------------------- */
Divisor eval_divisor(const EvalJob *j, bool reference, uint64_t n) {
    bool short_count = !reference && j->o->dg_short_count && j->p.count > n;
    return (Divisor){.ddof = j->p.ddof, .images = short_count ? j->p.count : 0};
}
/* The same statistics by another divisor, from their exact sums. */
static bool divide_again(EvalSet *s, Npz *z, const char *path, Divisor d, Error *e) {
    Statistics sums;
    if (!statistics_take(z, path, &sums, e)) return false;
    gaussian_free(&s->pool);
    bool ok = exact_gaussian(sums.pool, d, &s->pool, e);
    if (ok && s->spatial.mean) {
        gaussian_free(&s->spatial);
        ok = sums.spatial ? exact_gaussian(sums.spatial, d, &s->spatial, e) : dg_error(e, "it holds no exact sums of spatial features");
    }
    statistics_free(&sums);
    return ok || dg_error_context(e, "%s", path);
}
/* ddof: the file's, or -1 where that is not known. */
static bool fit_divisor(EvalSet *s, const EvalJob *j, EvalWish w, Npz *z, const char *path, int ddof, Error *e) {
    Divisor d = eval_divisor(j, w.reference, s->n);
    if ((ddof < 0 || ddof == d.ddof) && !(d.images && s->n)) return true;
    if (npz_has(z, "dg_products")) return divide_again(s, z, path, d, e);
    if (j->o->force) return true;
    if (d.images) return dg_error(e, "%s holds no exact sums, which --dg-short-count needs: give images, or a file that eval made", path);
    return dg_error(e,
                    "%s: its covariance is divided by N%s and that of protocol %s by N%s, and it holds no exact sums to divide again: "
                    "give images, or a file that eval ref made, or --cov-ddof %d",
                    path, ddof ? " - 1" : "", j->p.name, d.ddof ? " - 1" : "", ddof);
}
bool eval_take_stored(EvalSet *s, EvalJob *j, EvalWish w, Npz *z, bool images, Error *e) {
    const char *path = s->path ? s->path[0] : "the reference of shapes32";
    bool spatial = w.metrics >> METRIC_SFID & 1, adm = npz_has(z, "mu_s");
    int ddof = s->path ? -1 : 1;
    if (!check_meta(j, z, path, &ddof, e) || !gaussian_take(z, path, false, &s->pool, e)) return false;
    s->n = s->pool.count, s->dims = s->pool.dims, s->stored = true;
    if (!w.reference && s->n && !eval_enough(j, path, s->n, e)) return false;
    if (spatial && !adm && !images)
        return dg_error(e, "%s holds no statistics of spatial features (mu_s, sigma_s) and no images: sFID needs them", path);
    if (spatial && adm && !gaussian_take(z, path, true, &s->spatial, e)) return false;
    return !(w.metrics & (1u << METRIC_FID | 1u << METRIC_SFID)) || fit_divisor(s, j, w, z, path, ddof, e);
}
