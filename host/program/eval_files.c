/* eval_files.c -- files of statistics: ADM's form of a reference, and the merge of parts. */
#include "files/image_array.h"
#include "program/eval.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- ADM's form: images for precision and recall, and the statistics of all -------------------------------------------------------- */
static bool write_adm(const EvalJob *j, const EvalSet *set, Error *e) {
    ImageSource *s = image_source_open(set->path, set->paths, &j->p.rules, e);
    NpzWriter *w = s ? npz_writer_open(j->o->out, e) : NULL;
    size_t n = s ? image_source_count(s) : 0;
    if (n > (size_t)j->o->adm_images) n = (size_t)j->o->adm_images;
    bool ok = w && image_array_write(w, s, n, j->interrupt, NULL, NULL, e) == OUTCOME_DONE && gaussian_put(w, false, &set->pool, e) &&
              gaussian_put(w, true, &set->spatial, e) && gaussian_put_count(w, set->n, e) && statistics_put_meta(w, set->meta, e);
    if (ok) ok = npz_writer_finish(w, e);
    else if (w) npz_writer_abandon(w);
    image_source_close(s);
    return ok;
}
Outcome eval_adm_reference(EvalJob *j, Error *e) {
    EvalSet set;
    EvalWish w = {.reference = true, .metrics = 1u << METRIC_FID | 1u << METRIC_SFID, .images = true};
    Outcome outcome = eval_set_open(&set, j, j->o->images.item, j->o->images.count, w, e);
    if (outcome == OUTCOME_DONE && set.stored)
        outcome = OUTCOME_FAILED, dg_error(e, "%s holds statistics already: --images are images", set.path[0]);
    if (outcome == OUTCOME_DONE && !write_adm(j, &set, e)) outcome = OUTCOME_FAILED;
    eval_set_free(&set);
    return outcome;
}

/* ---- merging ----------------------------------------------------------------------------------------------------------------------- */
/* What the parts share, and of which images the whole is. */
static char *merged_meta(const char *meta, uint64_t n, const char *const *path, int paths) {
    Json *j = json_parse(meta, strlen(meta), NULL);
    Text t = {0};
    DG_CHECK(j, "the meta of a file that was read does not parse");
    text_printf(&t, "{");
    for (const Json *m = j->child; m; m = m->next) {
        if (!strcmp(m->key, "N") || !strcmp(m->key, "source")) continue;
        text_json_string(&t, m->key);
        text_printf(&t, ": ");
        json_write(&t, m);
        text_printf(&t, ", ");
    }
    text_printf(&t, "\"N\": %" PRIu64 ", \"source\": {\"merged\": [", n);
    for (int i = 0; i < paths; i++) {
        if (i) text_printf(&t, ", ");
        text_json_string(&t, path[i]);
    }
    text_printf(&t, "]}}");
    json_free(j);
    return t.text;
}
typedef struct {
    float *rows;
    size_t count;
    bool kept; /* by all parts so far */
} Kept;
/* Parts whose images have no seeds are told apart by their sums. */
typedef uint8_t Digest[SHA256_BYTES];
static bool is_new(Digest *seen, int part, const char *const *path, Statistics *s, Error *e) {
    Sha256 h;
    exact_settle(s->pool);
    sha256_init(&h);
    sha256_update(&h, &s->pool->count, sizeof s->pool->count);
    sha256_update(&h, s->pool->sum, (size_t)s->pool->dims * sizeof *s->pool->sum);
    sha256_update(&h, s->pool->product, exact_products(s->pool->dims) * sizeof *s->pool->product);
    sha256_final(&h, seen[part]);
    for (int i = 0; i < part && !s->seeds.count; i++)
        if (!memcmp(seen[i], seen[part], sizeof *seen))
            return dg_error(e, "%s and %s do not merge: they hold the same images", path[i], path[part]);
    return true;
}
static bool keep(Kept *k, const char *path, const ExactSums *part, Error *e) {
    if (!k->kept) return true;
    Npz *z = npz_open(path, e);
    if (!z) return false;
    size_t rows = 0;
    int d = 0;
    k->kept = npz_has(z, "feats");
    float *x = k->kept ? statistics_take_features(z, path, &rows, &d, e) : NULL;
    bool ok = !k->kept || (x && statistics_fit_features(path, rows, d, (FeaturesOf){.images = part->count, .dims = part->dims}, e));
    npz_close(z);
    if (x && ok) {
        k->rows = dg_realloc(k->rows, (k->count + rows) * (size_t)d * sizeof *x);
        memcpy(k->rows + k->count * (size_t)d, x, rows * (size_t)d * sizeof *x);
        k->count += rows;
    }
    free(x);
    return ok;
}
static void tell(const char *out, const Statistics *s, int parts) {
    Text t = {0};
    SeedList holes = statistics_holes(s);
    text_printf(&t, "%s: %" PRIu64 " images of %d files", out, s->pool->count, parts);
    if (s->seeds.count) text_printf(&t, ", seeds "), seeds_print(&t, &s->seeds, 8);
    text_printf(&t, "\n");
    if (holes.count) {
        text_printf(&t, "note: %zu seeds between these are missing: ", holes.count);
        seeds_print(&t, &holes, 8);
        text_printf(&t, "\n");
    }
    print_lines(stdout, t.text);
    seeds_free(&holes);
    text_free(&t);
}
Outcome eval_merge(const Args *a, Error *e) {
    const EvalOptions *o = a->options;
    const char *const *path = a->operand + 1;
    int parts = a->operands - 1;
    Statistics whole = {0}, part;
    Kept kept = {.kept = true};
    Digest *seen = dg_alloc((size_t)parts * sizeof *seen);
    bool ok = statistics_read(path[0], &whole, e) && is_new(seen, 0, path, &whole, e) && keep(&kept, path[0], whole.pool, e);
    for (int i = 1; ok && i < parts; i++) {
        if (!(ok = statistics_read(path[i], &part, e))) break;
        ok = is_new(seen, i, path, &part, e) && statistics_merge(&whole, path[0], &part, path[i], e) && keep(&kept, path[i], part.pool, e);
        statistics_free(&part);
    }
    free(seen);
    if (ok) {
        char *meta = merged_meta(whole.meta, whole.pool->count, path, parts);
        free(whole.meta);
        whole.meta = meta;
        ok = statistics_write(o->out, &whole, kept.kept ? kept.rows : NULL, e);
    }
    if (ok) tell(o->out, &whole, parts);
    if (ok && kept.count && !kept.kept)
        print_lines(stdout, "note: the features of single images are left out, as not all of the files keep them\n");
    free(kept.rows);
    statistics_free(&whole);
    return ok ? OUTCOME_DONE : OUTCOME_FAILED;
}
