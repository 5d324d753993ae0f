/* eval_set.c -- a set of images and what is measured of it: from its files, image by image, or from a file of statistics.
 *
 * With --out the statistics of the images so far are kept in a file, which is replaced as a whole now and then; the same command goes on
 * from there, and as the sums are exact the result has the same bits.                                                       */
#include "base/folder.h"
#include "base/progress.h"
#include "measure/numpy_random.h"
#include "models/shapes32/shapes32.h"
#include "files/jpeg.h"
#include "program/eval.h"
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct { /* what is open while a set is measured */
    EvalSet *s;
    EvalJob *j;
    EvalWish w;
    ImageSource *images;
    size_t *index;  /* [s->n] */
    uint64_t *seed; /* [available]; NULL: the images have none */
    int *label;     /* [available] */
    char *source;   /* a JSON object: which images */
    Features *features;
    Statistics sums;
    bool spatial, keep;
    float *rows[FEATURE_KINDS]; /* of a batch */
    uint8_t *pixels;
    double saved;
} Measuring;

/* ---- which images ---------------------------------------------------------------------------------------------------------------- */
bool eval_enough(const EvalJob *j, const char *path, uint64_t n, Error *e) {
    const Protocol *p = &j->p;
    if (j->o->allow_fewer || n >= (p->count ? p->count : p->least)) return true;
    return dg_error(e,
                    "%s holds %" PRIu64
                    " images, and protocol %s wants %s%zu: make more, or --allow-fewer to measure those (the number then "
                    "compares with none of that many)",
                    path, n, p->name, p->count ? "" : "at least ", p->count ? p->count : p->least);
}
static bool choose(Measuring *m, Error *e) {
    EvalSet *s = m->s;
    const Protocol *p = &m->j->p;
    size_t all = s->available = image_source_count(m->images), wanted = m->w.reference ? all : p->count ? p->count : all;
    const char *first = s->path[0];
    if (!m->w.reference && !eval_enough(m->j, first, all, e)) return false;
    s->n = all < wanted ? all : wanted;
    if (!m->w.reference) eval_note_number(m->j, first, s->n);
    m->index = dg_alloc((size_t)s->n * sizeof *m->index + 1);
    if (all > wanted && p->random_subset) return numpy_subset(p->seed, all, (size_t)s->n, m->index), true;
    for (size_t i = 0; i < s->n; i++) m->index[i] = i;
    return true;
}
/* Everything that tells this set from others but the pixels: paths, and a hash of the images' names and, where a run is to go on from a
 * file, of their marks. */
static bool describe(Measuring *m, Error *e) {
    Text t = {0};
    Sha256 h;
    uint8_t digest[SHA256_BYTES];
    char hex[SHA256_HEX];
    sha256_init(&h);
    for (size_t i = 0; i < m->s->n; i++) {
        ImageMark mark = {0};
        if (m->w.out && !image_source_mark(m->images, m->index[i], &mark, e)) return false;
        sha256_update(&h, &mark, sizeof mark);
        char *name = image_source_name(m->images, m->index[i]);
        sha256_update(&h, name, strlen(name) + 1);
        free(name);
    }
    sha256_final(&h, digest);
    sha256_hex(digest, hex);
    text_printf(&t, "{\"paths\": [");
    for (int i = 0; i < m->s->paths; i++) {
        if (i) text_printf(&t, ", ");
        text_json_string(&t, m->s->path[i]);
    }
    text_printf(&t, "], \"images\": %" PRIu64 ", \"of\": %zu, \"size\": [%d, %d], \"files_sha256\": \"%s\"}", m->s->n, m->s->available,
                image_source_height(m->images), image_source_width(m->images), hex);
    m->source = t.text;
    return true;
}
static bool read_labels(Measuring *m, Error *e) {
    EvalSet *s = m->s;
    int before = -1, changes = 0;
    if (!(m->w.metrics & (1u << METRIC_IS | 1u << METRIC_CLASS))) return true; /* what nobody asks for may be as it likes */
    m->label = dg_alloc(s->available * sizeof *m->label);
    if (!image_source_labels(m->images, m->label, e)) return false;
    s->sorted = true;
    for (size_t i = 0; i < s->n; i++) {
        int label = m->label[m->index[i]];
        s->sorted &= label >= before;
        changes += i && label != before;
        before = label;
    }
    s->sorted &= changes > 0;
    return true;
}

/* ---- statistics on the way --------------------------------------------------------------------------------------------------------- */
static bool save(Measuring *m, Error *e) {
    m->saved = seconds_now();
    if (m->sums.pool->count < 2) return true; /* no covariance yet */
    free(m->sums.meta);
    m->sums.meta = eval_meta(m->j, m->sums.pool->count, m->source, NULL);
    return statistics_write(m->w.out, &m->sums, m->keep ? m->s->features : NULL, e);
}
/* The seeds of a file are those of the images that come first. */
static bool same_seeds(const Measuring *m, const Statistics *before) {
    SeedList first = {0};
    for (size_t i = 0; m->seed && i < before->pool->count; i++) seeds_add(&first, m->seed[m->index[i]], 1);
    seeds_sort(&first);
    bool same = first.ranges == before->seeds.ranges;
    for (size_t i = 0; same && i < first.ranges; i++)
        same = first.range[i].first == before->seeds.range[i].first && first.range[i].count == before->seeds.range[i].count;
    seeds_free(&first);
    return same;
}
/* The sums of a file are of the features that come. */
static bool same_features(const Measuring *m, const Statistics *before, Error *e) {
    bool fits = exact_fits(before->pool, m->sums.pool, e) && (!m->spatial || exact_fits(before->spatial, m->sums.spatial, e));
    return fits || dg_error_context(e, "give --out another name, %s is of another run", m->w.out);
}
/* What an earlier run of the same command has left. */
static bool resume(Measuring *m, Error *e) {
    struct stat st;
    if (!m->w.out || stat(m->w.out, &st) != 0) return true;
    Statistics before;
    if (!statistics_read(m->w.out, &before, e)) return false;
    char *meta = eval_meta(m->j, before.pool->count, m->source, NULL);
    bool same = !strcmp(meta, before.meta) && before.pool->count <= m->s->n && !before.spatial == !m->spatial && same_seeds(m, &before);
    bool ok =
        same ||
        dg_error(
            e, "%s holds statistics of other images (or of files that have changed since), or of another protocol: give --out another name",
            m->w.out);
    size_t rows = 0;
    int dims = 0;
    ok = ok && same_features(m, &before, e);
    float *kept = ok && m->keep ? statistics_features(m->w.out, &rows, &dims, e) : NULL;
    if (ok && m->keep && !(kept && rows == before.pool->count && dims == m->s->dims))
        ok = dg_error(e, "%s was made without keeping features: give --out another name", m->w.out);
    if (ok && kept) memcpy(m->s->features, kept, rows * (size_t)dims * sizeof *kept);
    if (ok) {
        statistics_free(&m->sums);
        m->sums = before;
        if (!m->j->quiet) printf("%s: %" PRIu64 " images are measured already\n", m->w.out, m->sums.pool->count);
    } else statistics_free(&before);
    free(kept), free(meta);
    return ok;
}

/* ---- measuring --------------------------------------------------------------------------------------------------------------------- */
static int best_of(const float *logit, int classes) {
    int best = 0;
    for (int c = 1; c < classes; c++)
        if (logit[c] > logit[best]) best = c;
    return best;
}
static void count_classes(Measuring *m, size_t first, size_t n) {
    int classes = features_dims(m->features, FEATURE_LOGITS);
    for (size_t i = 0; i < n; i++) {
        int label = m->label[m->index[first + i]];
        if (label < 0) continue;
        m->s->classes++;
        m->s->classified += best_of(m->rows[FEATURE_LOGITS] + i * (size_t)classes, classes) == label;
    }
}
/* Puts the name of the first image whose features the sums do not take before the sentence. */
static bool name_culprit(const Measuring *m, size_t first, size_t n, Error *e) {
    double limit = grid_limit(grid_f32);
    for (size_t i = 0; i < n; i++) {
        bool fits = true;
        for (int kind = FEATURE_POOL; kind <= FEATURE_SPATIAL; kind++) {
            size_t d = (size_t)features_dims(m->features, (FeatureKind)kind);
            for (size_t k = 0; k < d; k++) fits &= fabs((double)m->rows[kind][i * d + k]) < limit;
        }
        if (fits) continue;
        char *name = image_source_name(m->images, m->index[first + i]);
        dg_error_context(e, "%s", name);
        free(name);
        return false;
    }
    return dg_error_context(e, "%s", m->s->path[0]);
}
static bool measure_batch(Measuring *m, size_t first, size_t n, Error *e) {
    EvalSet *s = m->s;
    if (!image_source_read(m->images, m->index + first, n, m->pixels, e)) return false;
    features_run(m->features, m->pixels, n, m->rows);
    if (m->label && m->rows[FEATURE_LOGITS]) count_classes(m, first, n);
    const float *pool = m->rows[FEATURE_POOL];
    device_range_push(m->j->device, SPAN_STATISTICS);
    bool ok = exact_add(m->sums.pool, DG_F32, pool, n, first, e) &&
              (!m->spatial || exact_add(m->sums.spatial, DG_F32, m->rows[FEATURE_SPATIAL], n, first, e));
    device_range_pop(m->j->device, SPAN_STATISTICS);
    if (!ok) return name_culprit(m, first, n, e);
    if (m->keep) memcpy(s->features + first * (size_t)s->dims, pool, n * (size_t)s->dims * sizeof *pool);
    for (size_t i = 0; m->seed && i < n; i++) seeds_add(&m->sums.seeds, m->seed[m->index[first + i]], 1);
    return true;
}
static Outcome measure_all(Measuring *m, Error *e) {
    size_t n = (size_t)m->s->n, batch = (size_t)features_batch(m->features), done = (size_t)m->sums.pool->count, before = done;
    Progress progress;
    if (!m->j->quiet) progress_begin(&progress, n - before);
    m->saved = seconds_now();
    bool stop = false;
    while (done < n && !(stop = interrupted(m->j->interrupt))) {
        size_t rows = n - done < batch ? n - done : batch;
        if (!measure_batch(m, done, rows, e)) return OUTCOME_FAILED;
        done += rows;
        if (!m->j->quiet) progress_show(&progress, (double)(done - before));
        if (m->w.out && done < n && seconds_now() - m->saved >= m->j->o->save_every && !save(m, e)) return OUTCOME_FAILED;
    }
    if (!m->j->quiet) progress_end(&progress, done - before);
    if (m->w.out && done > before && !save(m, e)) return OUTCOME_FAILED;
    return stop ? OUTCOME_INTERRUPTED : OUTCOME_DONE;
}
static bool prepare(Measuring *m, Error *e) {
    EvalSet *s = m->s;
    unsigned wanted = 1u << FEATURE_POOL;
    if (m->spatial) wanted |= 1u << FEATURE_SPATIAL;
    if (!m->w.reference && m->w.metrics >> METRIC_CLASS & 1) wanted |= 1u << FEATURE_LOGITS;
    ImageKind images = {image_source_height(m->images), image_source_width(m->images), s->n};
    bool scored = !m->w.reference && m->w.metrics >> METRIC_IS & 1;
    if (!(m->features = eval_features(m->j, s->path[0], images, wanted, scored, e))) return false;
    s->dims = features_dims(m->features, FEATURE_POOL);
    size_t batch = (size_t)features_batch(m->features);
    m->pixels = dg_alloc(batch * (size_t)(image_source_height(m->images) * image_source_width(m->images)) * 3);
    for (int kind = 0; kind < FEATURE_KINDS; kind++)
        if (wanted >> kind & 1) m->rows[kind] = dg_alloc(batch * (size_t)features_dims(m->features, (FeatureKind)kind) * sizeof(float));
    if (m->keep && !(s->features = malloc((size_t)s->n * (size_t)s->dims * sizeof *s->features + 1)))
        return dg_error(e, "there is no memory for the %d features of %" PRIu64 " images", s->dims, s->n);
    s->rows = m->keep ? (size_t)s->n : 0;
    return statistics_new(&m->sums, s->dims, features_dims(m->features, FEATURE_SPATIAL), grid_f32, "{}", e);
}
static void measuring_close(Measuring *m) {
    for (int kind = 0; kind < FEATURE_KINDS; kind++) free(m->rows[kind]);
    features_close(m->features);
    statistics_free(&m->sums);
    image_source_close(m->images);
    free(m->index), free(m->seed), free(m->label), free(m->source), free(m->pixels);
}
/* features: whether the rows are needed. */
static Outcome measure_images(EvalSet *s, EvalJob *j, EvalWish w, bool features, Error *e) {
    Measuring m = {.s = s, .j = j, .w = w, .keep = features || (w.out && eval_keeps_features(w.out))};
    Outcome outcome = OUTCOME_FAILED;
    m.spatial = w.metrics >> METRIC_SFID & 1 && !s->spatial.mean;
    bool ok = (m.images = image_source_open(s->path, s->paths, &j->p.rules, e)) && choose(&m, e) && read_labels(&m, e) && describe(&m, e);
    if (ok) {
        m.seed = dg_alloc(s->available * sizeof *m.seed);
        if (!image_source_seeds(m.images, m.seed)) free(m.seed), m.seed = NULL;
        if (jpeg_other_decoder() && image_source_has_jpeg(m.images))
            eval_notice(j, "%s: JPEG files, decoded by %s, whose pixels differ from libjpeg-turbo's and so from other tools'", s->path[0],
                        jpeg_other_decoder());
        ok = prepare(&m, e) && resume(&m, e);
    }
    if (ok) outcome = measure_all(&m, e), free(s->meta), s->meta = eval_meta(j, s->n, m.source, NULL);
    if (outcome == OUTCOME_DONE && !eval_divide(s, j, w, &m.sums, e)) outcome = OUTCOME_FAILED;
    measuring_close(&m);
    return outcome;
}

/* ---- sets that are files of statistics ------------------------------------------------------------------------------------------------ */
/* z: NULL, or the file when it holds statistics. */
static Outcome open_set(EvalSet *s, EvalJob *j, EvalWish w, Npz *z, Error *e) {
    const char *path = s->path ? s->path[0] : "the reference of shapes32";
    bool rows = eval_needs_rows(j, w), images = z && (npz_has(z, "arr_0") || npz_has(z, "samples")), stored = z && npz_has(z, "mu");
    if (stored && images && (w.images || (!w.reference && strcmp(j->p.name, "adm")))) stored = false;
    if (!stored) return measure_images(s, j, w, rows, e);
    if (!w.reference) eval_notice(j, "%s: its statistics are taken, not computed of images", path);
    if (!eval_take_stored(s, j, w, z, images, e)) return OUTCOME_FAILED;
    bool kept = npz_has(z, "feats"), spatial = w.metrics >> METRIC_SFID & 1 && !s->spatial.mean;
    if (spatial || (rows && !kept && images)) {
        uint64_t n = s->n; /* the statistics' own: they may be of other images than the file has, as ADM's are */
        Outcome outcome = measure_images(s, j, w, rows, e);
        s->n = n;
        return outcome;
    }
    if (!rows) return OUTCOME_DONE;
    FeaturesOf of = {.images = s->n, .dims = s->dims, .some = w.reference};
    s->features = statistics_take_features(z, path, &s->rows, &s->dims, e);
    return s->features && statistics_fit_features(path, s->rows, s->dims, of, e) ? OUTCOME_DONE : OUTCOME_FAILED;
}

/* ---- sets -------------------------------------------------------------------------------------------------------------------------- */
static char *folder_of(const char *path) {
    struct stat st;
    const char *slash = strrchr(path, '/');
    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode)) return dg_strdup(path);
    char *dir = dg_strdup(slash ? path : ".");
    if (slash) dir[slash == path ? 1 : slash - path] = 0;
    return dir;
}
/* How the images were rounded to bytes, as the manifest beside them has it. */
static void read_rounding(EvalSet *s) {
    snprintf(s->rounding, sizeof s->rounding, "as in the files");
    for (int i = 0; i < s->paths; i++) {
        char *dir = folder_of(s->path[i]), *path = path_join(dir, "manifest.json");
        Json *j = access(path, F_OK) == 0 ? json_parse_file(path, NULL) : NULL;
        const Json *rule = json_get(json_get(j, "images"), "quantize");
        bool known = rule && rule->kind == JSON_STRING;
        if (known && i == 0) snprintf(s->rounding, sizeof s->rounding, "%s", rule->string);
        else if (known && strcmp(s->rounding, rule->string)) snprintf(s->rounding, sizeof s->rounding, "not one rule");
        json_free(j);
        free(path), free(dir);
    }
}
static bool hash_set(EvalSet *s, Error *e) {
    struct stat st;
    if (s->path) return s->paths != 1 || stat(s->path[0], &st) != 0 || !S_ISREG(st.st_mode) || sha256_file(s->path[0], s->sha256, e);
    Sha256 h;
    uint8_t digest[SHA256_BYTES];
    sha256_init(&h);
    sha256_update(&h, shapes32_reference, (size_t)(shapes32_reference_end - shapes32_reference));
    sha256_final(&h, digest);
    sha256_hex(digest, s->sha256);
    return true;
}
bool eval_set_check(const EvalJob *j, const char *const *path, int paths, Error *e) {
    Npz *z = paths == 1 ? eval_open_file(path[0]) : NULL;
    bool stored = z && npz_has(z, "mu");
    npz_close(z);
    if (stored) return true;
    ImageSource *s = image_source_open(path, paths, &j->p.rules, e);
    bool ok = s && eval_enough(j, path[0], image_source_count(s), e);
    image_source_close(s);
    return ok;
}
Outcome eval_set_open(EvalSet *s, EvalJob *j, const char *const *path, int paths, EvalWish w, Error *e) {
    *s = (EvalSet){.path = path, .paths = paths};
    size_t bytes = (size_t)(shapes32_reference_end - shapes32_reference);
    Npz *z = !path ? npz_memory(shapes32_reference, bytes, "the reference of shapes32", e) : paths == 1 ? eval_open_file(path[0]) : NULL;
    Outcome outcome = path || z ? open_set(s, j, w, z, e) : OUTCOME_FAILED;
    npz_close(z);
    if (outcome == OUTCOME_DONE && w.reference && !hash_set(s, e)) outcome = OUTCOME_FAILED;
    if (outcome == OUTCOME_DONE) read_rounding(s);
    return outcome;
}
bool eval_possible(const char *path, unsigned *mask, const char **why, Error *e) {
    const unsigned rows = 1u << METRIC_PR | 1u << METRIC_DC | 1u << METRIC_KID, spatial = 1u << METRIC_SFID;
    if (access(path, R_OK) != 0) return dg_error(e, "%s: cannot open: %s", path, strerror(errno));
    Npz *z = eval_open_file(path);
    bool statistics = z && npz_has(z, "mu") && !npz_has(z, "arr_0") && !npz_has(z, "samples");
    *mask = ~0u;
    if (statistics && !npz_has(z, "feats")) *mask &= ~rows, *why = "no features of single images (feats, or arr_0 for images)";
    if (statistics && !npz_has(z, "mu_s") && *mask & spatial) {
        *why = *mask & rows ? "no statistics of spatial features (mu_s)" : "neither features of single images nor of spatial ones";
        *mask &= ~spatial;
    }
    npz_close(z);
    return true;
}
void eval_set_free(EvalSet *s) {
    gaussian_free(&s->pool), gaussian_free(&s->spatial);
    free(s->features), free(s->meta);
    *s = (EvalSet){0};
}
char *eval_set_name(const EvalSet *s) {
    Text t = {0};
    if (!s->path) text_printf(&t, "shapes32");
    for (int i = 0; i < s->paths; i++) text_printf(&t, i ? ", %s" : "%s", s->path[i]);
    return t.text;
}
