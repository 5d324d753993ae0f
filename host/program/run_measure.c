/* run_measure.c -- measures of the images of a run. Batches come with their features; one is summed by a thread while the next one is
 * computed. Where the device is the processor itself there is no thread: it would take the time that it saves.           */
#include "program/run_measure.h"
#include "program/rows_thread.h"
#include "base/file.h"
#include "base/folder.h"
#include "device/host_state.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct RunMeasure {
    MeasureRun run;
    EvalOptions eval;
    EvalJob job;
    EvalSet set, reference;
    Features *features;
    char *made;
    const char *path[1];  /* what the images are called */
    SeedList place, held; /* sets: all that are wanted; those of the file when it was opened */
    Statistics sums;
    int batches;      /* since the file was written */
    struct stat seen; /* the file as it was read or written last; st_ino 0: there was none */
    bool keep;        /* the rows: set.features has one for each seed of `place` */
    EvalResult result;
    RowsThread *thread; /* from begin to finish */
};

/* ---- what does not go together ---------------------------------------------------------------------------------------------------- */
static bool check(RunMeasure *m, Error *e) {
    const MeasureRun *r = &m->run;
    const Protocol *p = &m->job.p;
    size_t n = r->wanted->count;
    if (m->job.metrics >> METRIC_CLASS & 1)
        return dg_error(e, "--metrics class: it is measured by eval, of images that are stored with their classes");
    if (n < 2) return dg_error(e, "--metrics: one image has no covariance: give --seeds more of them");
    if (p->count && n > p->count)
        return dg_error(e, "--metrics: protocol %s measures %zu images, and --seeds lists %zu: give fewer, or measure them by eval",
                        p->name, p->count, n);
    return eval_enough(&m->job, "--seeds", n, e);
}
RunMeasure *run_measure_new(const MeasureRun *r, Error *e) {
    RunMeasure *m = dg_alloc(sizeof *m);
    EvalOptions *o = &m->eval;
    m->run = *r;
    eval_defaults(o);
    o->ref = r->o.ref, o->inception = r->o.inception, o->metrics = r->o.metrics, o->output = r->o.output;
    o->allow_fewer = r->o.allow_fewer, o->device = *r->device, o->device.dtype = 0, o->checkpoint = *r->checkpoint;
    o->protocol = r->o.protocol == UNSET && r->own ? PROTOCOL_SHAPES32 : r->o.protocol;
    m->job = (EvalJob){.o = o, .interrupt = r->interrupt, .quiet = r->quiet || o->output != EVAL_TEXT, .borrowed = true};
    m->place = seeds_copy(r->wanted);
    seeds_sort(&m->place);
    bool ok = o->protocol != UNSET || dg_error(e, "--metrics needs --protocol: one of %s", PROTOCOL_CHOICE);
    if (ok && !o->ref && o->protocol != PROTOCOL_SHAPES32)
        ok = dg_error(e, "--metrics needs --ref, the reference of protocol %s: statistics or images", protocols[o->protocol].name);
    if (ok && o->protocol == PROTOCOL_SHAPES32 && o->inception)
        ok = dg_error(e, "--inception: protocol shapes32 takes the extractor within the program");
    if (ok && eval_settle(&m->job, e) && check(m, e) && eval_fit_reference(&m->job, e)) return m;
    run_measure_close(m);
    return NULL;
}

/* ---- the file ----------------------------------------------------------------------------------------------------------------------- */
/* The kept rows of the images so far, in the order of their seeds; the whole array where none is missing before the last. */
static float *rows_so_far(const RunMeasure *m, float **own) {
    size_t d = (size_t)m->set.dims, n = 0;
    const SeedList *s = &m->sums.seeds; /* a set */
    *own = NULL;
    if (!m->keep) return NULL;
    if (!s->ranges || (s->ranges == 1 && s->range[0].first == seeds_at(&m->place, 0) && m->place.range[0].count >= s->count))
        return m->set.features;
    float *rows = *own = dg_alloc(s->count * d * sizeof *rows);
    for (size_t i = 0; i < s->ranges; i++)
        for (size_t k = 0; k < s->range[i].count; k++, n++)
            memcpy(rows + n * d, m->set.features + seeds_position(&m->place, s->range[i].first + k) * d, d * sizeof *rows);
    return rows;
}
/* Another program's work is not to be lost under this one's. */
static bool unchanged(const RunMeasure *m, Error *e) {
    struct stat now = {0};
    const char *path = m->run.o.stats;
    if (stat(path, &now) != 0) return true;
    return (now.st_ino == m->seen.st_ino && now.st_size == m->seen.st_size && now.st_mtim.tv_sec == m->seen.st_mtim.tv_sec &&
            now.st_mtim.tv_nsec == m->seen.st_mtim.tv_nsec) ||
           dg_error(e, "%s was written by another program meanwhile, and is not replaced: give --stats another name", path);
}
static bool save(RunMeasure *m, Error *e) {
    float *own;
    m->batches = 0;
    if (m->sums.pool->count < 2) return true; /* no covariance yet */
    seeds_sort(&m->sums.seeds);
    free(m->sums.meta);
    m->sums.meta = eval_meta(&m->job, m->sums.pool->count, "\"generate\"", m->made);
    float *rows = rows_so_far(m, &own);
    bool ok = unchanged(m, e) && statistics_write(m->run.o.stats, &m->sums, rows, e);
    if (ok && stat(m->run.o.stats, &m->seen) != 0) m->seen = (struct stat){0};
    free(own);
    return ok;
}
static bool take_rows(RunMeasure *m, const Statistics *before, Error *e) {
    size_t rows = 0, d = (size_t)m->set.dims;
    int dims = 0;
    const char *path = m->run.o.stats;
    float *kept = statistics_features(path, &rows, &dims, NULL);
    bool ok = (kept && rows == before->pool->count && dims == m->set.dims) ||
              dg_error(e, "%s keeps no features of single images, which a measure of --metrics %s needs: give --stats another name", path,
                       m->run.o.metrics);
    for (size_t i = 0; ok && i < rows; i++)
        memcpy(m->set.features + seeds_position(&m->place, seeds_at(&before->seeds, i)) * d, kept + i * d, d * sizeof *kept);
    free(kept);
    return ok;
}
/* What an earlier run has left: of the same options and weights, and of seeds that this run has too. */
static bool resume(RunMeasure *m, Error *e) {
    const char *path = m->run.o.stats;
    if (stat(path, &m->seen) != 0) return m->seen = (struct stat){0}, true;
    Statistics before;
    if (!statistics_read(path, &before, e)) return false;
    if (m->run.anew) { /* what --overwrite removes is a file of statistics, and no other */
        statistics_free(&before);
        m->seen = (struct stat){0};
        return unlink(path) == 0 || dg_error(e, "%s: cannot be removed: %s", path, strerror(errno));
    }
    if (!before.spatial != !m->sums.spatial) {
        dg_error(e, "%s has %s of spatial features, and --metrics %s wants %s: give --stats another name", path,
                 before.spatial ? "sums" : "none", m->run.o.metrics, before.spatial ? "none" : "them");
        return statistics_free(&before), false;
    }
    char *meta = eval_meta(&m->job, before.pool->count, "\"generate\"", m->made);
    SeedList others = seeds_without(&before.seeds, &m->place);
    bool same = !strcmp(meta, before.meta) && before.seeds.count == before.pool->count && exact_fits(before.pool, m->sums.pool, NULL);
    bool ok = same || dg_error(e,
                               "%s holds statistics of images that other options or weights made, or of another protocol: give --stats "
                               "another name",
                               path);
    if (ok && others.count)
        ok = dg_error(e, "%s holds statistics of %zu seeds that --seeds does not list (%" PRIu64 " is one): give --stats another name",
                      path, others.count, seeds_at(&others, 0));
    if (ok && m->keep) ok = take_rows(m, &before, e);
    seeds_free(&others);
    free(meta);
    if (!ok) return statistics_free(&before), false;
    statistics_free(&m->sums);
    m->sums = before, m->held = seeds_copy(&before.seeds);
    if (!m->job.quiet) {
        print_text(stdout, path);
        printf(": %" PRIu64 " images are measured already\n", before.pool->count);
    }
    return true;
}

/* ---- summing ------------------------------------------------------------------------------------------------------------------------- */
static bool sum(void *measure, const FeatureRows *r, Error *e) {
    RunMeasure *m = measure;
    size_t n = (size_t)r->n, d = (size_t)m->set.dims;
    bool ok = exact_add(m->sums.pool, DG_F32, r->pool, n, r->seed[0], e) &&
              (!m->sums.spatial || exact_add(m->sums.spatial, DG_F32, r->spatial, n, r->seed[0], e));
    if (!ok) return dg_error_context(e, "features of seeds from %" PRIu64 " on", r->seed[0]);
    for (size_t i = 0; i < n; i++) {
        seeds_add(&m->sums.seeds, r->seed[i], 1);
        if (m->keep) memcpy(m->set.features + seeds_position(&m->place, r->seed[i]) * d, r->pool + i * d, d * sizeof *r->pool);
    }
    return ++m->batches < m->run.o.every || save(m, e);
}
static void start(RunMeasure *m, bool threaded) {
    RowsWork w = {.work = sum,
                  .context = m,
                  .dims = m->set.dims,
                  .spatial = features_dims(m->features, FEATURE_SPATIAL),
                  .skip = m->held,
                  .threaded = threaded,
                  .spans = m->job.device->spans};
    m->thread = rows_thread_start(&w);
}
static bool put(void *measure, const Delivered *d, Error *e) { return rows_thread_put(((RunMeasure *)measure)->thread, d, e); }
Sink sink_measure(RunMeasure *m) { return (Sink){put, m}; }
bool run_measure_pixels(RunMeasure *m, int n, const uint64_t *seed, const uint8_t *pixels, Error *e) {
    float *rows[FEATURE_KINDS] = {NULL};
    for (int kind = FEATURE_POOL; kind <= FEATURE_SPATIAL; kind++) {
        size_t dims = (size_t)features_dims(m->features, (FeatureKind)kind);
        if (dims) rows[kind] = dg_alloc((size_t)n * dims * sizeof(float));
    }
    features_run(m->features, pixels, (size_t)n, rows);
    if (!m->thread) start(m, false);
    Delivered d = {.count = n, .seed = seed, .bytes = pixels, .pool = rows[FEATURE_POOL], .spatial = rows[FEATURE_SPATIAL]};
    bool ok = put(m, &d, e);
    free(rows[FEATURE_POOL]), free(rows[FEATURE_SPATIAL]);
    return ok;
}

/* ---- begin, finish ------------------------------------------------------------------------------------------------------------------ */
static bool open_features(RunMeasure *m, Shape picture, int batch, Error *e) {
    bool spatial = m->job.metrics >> METRIC_SFID & 1, scored = m->job.metrics >> METRIC_IS & 1;
    unsigned wanted = 1u << FEATURE_POOL | (spatial ? 1u << FEATURE_SPATIAL : 0);
    ImageKind kind = {picture.h, picture.w, m->run.wanted->count};
    if (picture.c != 3) return dg_error(e, "--metrics: the images have %d channels, and features are of colours, which are 3", picture.c);
    m->eval.batch = batch < m->eval.batch ? batch : m->eval.batch;
    DeviceProvider provider = m->job.device->provider;
    m->job.device->provider = DEVICE_OWN; /* as in eval: features depend on nothing that was measured on this machine */
    m->features = eval_features(&m->job, "this run", kind, wanted, scored, e);
    m->job.device->provider = provider;
    if (!m->features || !features_reserve(m->features, batch, e)) return false;
    m->set.dims = features_dims(m->features, FEATURE_POOL);
    m->keep = eval_needs_rows(&m->job, (EvalWish){.metrics = m->job.metrics}) || (!m->run.anew && eval_keeps_features(m->run.o.stats));
    if (m->keep && !(m->set.features = malloc(m->place.count * (size_t)m->set.dims * sizeof *m->set.features)))
        return dg_error(e, "there is no memory for the %d features of %zu images", m->set.dims, m->place.count);
    return statistics_new(&m->sums, m->set.dims, features_dims(m->features, FEATURE_SPATIAL), grid_f32, "{}", e);
}
Outcome run_measure_begin(RunMeasure *m, Device *d, Shape picture, const char *made, const char *images, int batch, Error *e) {
    EvalWish w = {.reference = true, .metrics = m->job.metrics & ~(1u << METRIC_IS)};
    const char *stats = m->run.o.stats;
    if (!make_parent(stats, e) || !out_check(stats, e)) return OUTCOME_FAILED; /* not only when there is something to write */
    file_remove_strays(stats);
    m->job.device = d, m->made = dg_strdup(made), m->path[0] = images;
    Json *j = json_parse(made, strlen(made), NULL);
    const Json *rule = json_get(j, "quantize");
    snprintf(m->set.rounding, sizeof m->set.rounding, "%s", rule && rule->kind == JSON_STRING ? rule->string : "as in the files");
    json_free(j);
    m->set.path = m->path, m->set.paths = 1;
    Outcome outcome = eval_set_open(&m->reference, &m->job, m->eval.ref ? &m->eval.ref : NULL, m->eval.ref ? 1 : 0, w, e);
    if (outcome != OUTCOME_DONE) return outcome;
    m->job.dims = m->reference.dims;
    if (!open_features(m, picture, batch, e) || !resume(m, e)) return OUTCOME_FAILED;
    start(m, d->be->mark != host_mark);
    return OUTCOME_DONE;
}
Features *run_measure_features(const RunMeasure *m) { return m->features; }
const SeedList *run_measure_held(const RunMeasure *m) { return &m->held; }
SeedList run_measure_missing(const RunMeasure *m) { return seeds_without(&m->place, &m->sums.seeds); }
typedef struct {
    char name[64];
    size_t row;
} NamedRow;
static int by_name(const void *a, const void *b) { return strcmp(((const NamedRow *)a)->name, ((const NamedRow *)b)->name); }
/* Files are measured by eval in the order of their names, which from seed 1,000,000 on is not that of their numbers. */
static void sort_as_files(RunMeasure *m) {
    size_t n = m->set.rows, d = (size_t)m->set.dims;
    NamedRow *order = dg_alloc(n * sizeof *order);
    float *rows = dg_alloc(n * d * sizeof *rows);
    for (size_t i = 0; i < n; i++) {
        uint64_t seed = seeds_at(&m->sums.seeds, i), folder = m->run.subdirs ? seed - seed % 1000 : 0;
        order[i].row = i;
        snprintf(order[i].name, sizeof order[i].name, "%06" PRIu64 "/%06" PRIu64 ".png", folder, seed);
    }
    qsort(order, n, sizeof *order, by_name);
    for (size_t i = 0; i < n; i++) memcpy(rows + i * d, m->set.features + order[i].row * d, d * sizeof *rows);
    free(order), free(m->set.features);
    m->set.features = rows;
}
/* The rows of the images that there are, in the order in which eval would read them. */
static void close_gaps(RunMeasure *m) {
    float *own;
    m->set.rows = m->keep ? m->sums.seeds.count : 0;
    rows_so_far(m, &own);
    if (own) free(m->set.features), m->set.features = own;
    if (m->set.rows && m->run.files && seeds_at(&m->sums.seeds, m->set.rows - 1) > 999999) sort_as_files(m);
}
bool run_measure_finish(RunMeasure *m, bool complete, Error *e) {
    RowsThread *t = m->thread;
    m->thread = NULL;
    if (t && !rows_thread_finish(t, e)) return false;
    if (!m->sums.pool) return true; /* it never began */
    if (m->batches && !save(m, e)) return false;
    if (!complete) return true;
    seeds_sort(&m->sums.seeds);
    m->set.n = m->sums.pool->count;
    if (!eval_enough(&m->job, m->path[0], m->set.n, e)) return false;
    eval_note_number(&m->job, m->path[0], m->set.n);
    if (m->set.n < 2) return dg_error(e, "--metrics: %" PRIu64 " images have no covariance", m->set.n);
    close_gaps(m);
    return eval_divide(&m->set, &m->job, (EvalWish){.metrics = m->job.metrics}, &m->sums, e) &&
           eval_measure(&m->result, &m->job, &m->set, &m->reference, e);
}
const EvalResult *run_measure_result(const RunMeasure *m, uint64_t *images) {
    *images = m->set.n;
    return &m->result;
}
void run_measure_print(RunMeasure *m) { eval_report(&m->job, &m->set, &m->result, 1, &m->reference); }
void run_measure_close(RunMeasure *m) {
    if (!m) return;
    if (m->thread) rows_thread_finish(m->thread, NULL);
    features_close(m->features);
    eval_set_free(&m->set), eval_set_free(&m->reference);
    statistics_free(&m->sums);
    eval_job_close(&m->job);
    seeds_free(&m->place), seeds_free(&m->held);
    free(m->made);
    free(m);
}
