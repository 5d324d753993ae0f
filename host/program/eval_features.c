/* eval_features.c -- between images and numbers, for `eval` and for `generate --metrics`: the network, what a file says of its features,
 * and the sums as a mean and a covariance.                                                                              */
#include "program/eval.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static Features *open_network(EvalJob *j, ImageKind images, unsigned wanted, Error *e) {
    FeatureOptions o = {.height = images.height,
                        .width = images.width,
                        .batch = j->o->batch,
                        .resize = j->p.resize,
                        .scale = j->p.scale,
                        .no_fuse = j->o->device.no_fuse,
                        .wanted = wanted};
    if (images.n && images.n < (uint64_t)o.batch) o.batch = (int)images.n;
    if (!strcmp(j->precision, "tf32")) o.precision = "tf32";
    return features_open(j->device, j->weights, &o, e);
}
/* It makes what the reference has, and has what the measures need: to be said before all images are measured. */
static bool check_network(EvalJob *j, const char *path, const Features *f, unsigned wanted, bool scored, Error *e) {
    int dims = features_dims(f, FEATURE_POOL), classes;
    if (!eval_hash_network(j, wanted >> FEATURE_LOGITS & 1 ? NULL : f, e)) return false;
    j->measured = true;
    if (!eval_check_network(j, path, e)) return false;
    if (j->dims && j->dims != dims)
        return dg_error(e, "%s has features of %d dimensions and this network makes %d: they are of different networks",
                        j->o->ref ? j->o->ref : "the reference", j->dims, dims);
    float *layer = scored ? eval_last_layer(j, dims, &classes, e) : NULL;
    free(layer);
    return !scored || layer;
}
Features *eval_features(EvalJob *j, const char *path, ImageKind images, unsigned wanted, bool scored, Error *e) {
    Features *f = eval_weights(j, e) ? open_network(j, images, wanted, e) : NULL;
    if (f && check_network(j, path, f, wanted, scored, e)) return f;
    features_close(f);
    return NULL;
}
Npz *eval_open_file(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode) ? npz_open(path, NULL) : NULL;
}
bool eval_keeps_features(const char *path) {
    Npz *z = eval_open_file(path);
    bool keeps = z && npz_has(z, "feats");
    npz_close(z);
    return keeps;
}
void eval_note_number(EvalJob *j, const char *path, uint64_t n) {
    const Protocol *p = &j->p;
    if (p->count && n < p->count)
        eval_notice(j, "%s: %" PRIu64 " images where protocol %s takes %zu: not comparable", path, n, p->name, p->count);
    else if (n < p->few) eval_notice(j, "%s: %" PRIu64 " images, fewer than features (%zu): the covariance is deficient", path, n, p->few);
}
char *eval_meta(const EvalJob *j, uint64_t n, const char *source, const char *made) {
    const Protocol *p = &j->p;
    Text t = {0};
    text_printf(&t,
                "{\"preset\": \"%s\", \"resize\": \"%s\", \"scale\": \"%s\", \"precision\": \"%s\", \"weights_sha256\": \"%s\", "
                "\"cov_ddof\": %d, \"N\": %" PRIu64 ", \"source\": %s",
                p->name, p->extractor ? "none" : resize_rule_name[p->resize], scale_name(p), j->precision, j->weights_sha256, p->ddof, n,
                source);
    if (made) text_printf(&t, ", \"made\": %s", made);
    text_printf(&t, "}");
    return t.text;
}
bool eval_needs_rows(const EvalJob *j, EvalWish w) {
    unsigned rows = 1u << METRIC_PR | 1u << METRIC_DC | 1u << METRIC_KID | (w.reference ? 0 : 1u << METRIC_IS);
    bool drawn = j->o->bootstrap && !w.reference && w.metrics >> METRIC_FID & 1;
    return (w.metrics & rows) || drawn || w.features;
}
bool eval_divide(EvalSet *s, const EvalJob *j, EvalWish w, Statistics *sums, Error *e) {
    Divisor d = eval_divisor(j, w.reference, s->n);
    unsigned of_statistics = 1u << METRIC_FID | 1u << METRIC_SFID;
    bool ok = !(w.metrics & of_statistics) || s->pool.mean || exact_gaussian(sums->pool, d, &s->pool, e);
    if (ok && sums->spatial && !s->spatial.mean) ok = exact_gaussian(sums->spatial, d, &s->spatial, e);
    return ok || dg_error_context(e, "%s", s->path[0]);
}
