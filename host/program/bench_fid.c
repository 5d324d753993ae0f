/* bench_fid.c -- `bench fid`: whole runs from seeds to a Frechet distance, and what their time goes to. */
#include "program/bench.h"
#include "device/host_state.h"
#include "measure/blas.h"
#include "measure/exact_sums.h"
#include "measure/frechet.h"
#include "models/shapes32/shapes32.h"
#include "program/pipeline.h"
#include "program/rows_thread.h"
#include "program/shares.h"
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

/* What a run's time goes to: ranges of the time line, together. */
typedef struct {
    const char *name;
    unsigned spans; /* 1u << SpanName, of each */
} Part;
#define SPAN(name) (1u << SPAN_##name)
static const Part parts[] = {{"network", SPAN(NETWORK)},
                             {"classifier-free guidance", SPAN(CFG)},
                             {"autoguidance", SPAN(AUTOGUIDANCE)},
                             {"discriminator", SPAN(DISCRIMINATOR)},
                             {"classifier", SPAN(CLASSIFIER)},
                             {"state", SPAN(STATE) | SPAN(LATENTS)},
                             {"sampler on the host", SPAN(STEP) | SPAN(WORK) | SPAN(CAPTURE)},
                             {"decoding", SPAN(DECODE) | SPAN(AUTOENCODER)},
                             {"features", SPAN(FEATURES)},
                             {"downloads", SPAN(DOWNLOAD_IMAGES) | SPAN(DOWNLOAD_FEATURES) | SPAN(DELIVER)},
                             {"statistics", SPAN(STATISTICS)},
                             {"distance", SPAN(DISTANCE)},
                             {"waiting", SPAN(WAIT)}};
enum { PARTS = sizeof parts / sizeof *parts };
typedef struct {
    double wall, part[PARTS]; /* seconds, of this thread */
} Run;
typedef struct {
    const FidBench *b;
    Weights *weights;
    Features *features;
    Gaussian reference; /* made up, of full rank */
    ExactSums *sums;    /* of the run under way */
    size_t images;
    SampleCounts counts;
} Fid;

/* ---- the features' network ---------------------------------------------------------------------------------------------------------- */
static Weights *open_weights(const BenchOptions *o, bool own, Error *e) {
    static const char config[] = "{\"kind\": \"inception\", \"num_classes\": 1008}";
    char notice[1024] = "";
    ConvertOptions c = checkpoint_options(&o->checkpoint);
    if (o->inception) return weights_open_any(o->inception, &c, notice, sizeof notice, e);
    if (own) return weights_memory(shapes32_extractor, (size_t)(shapes32_extractor_end - shapes32_extractor), "shapes32 extractor", e);
    Json *j = json_parse(config, sizeof config - 1, e);
    Weights *w = weights_synthetic(1, j);
    json_free(j);
    return w;
}
static bool open_features(Fid *f, Error *e) {
    const FidBench *b = f->b;
    Shape s = b->networks->picture;
    bool own = !b->networks->source[ROLE_NETWORK].path && !b->o->synthetic && !preset_networks(b->o->preset) && !b->o->inception;
    int batch = b->o->batch < 32 ? b->o->batch : 32;
    FeatureOptions o = {
        .height = s.h, .width = s.w, .batch = batch, .resize = RESIZE_TF1, .scale = SCALE_128, .wanted = 1u << FEATURE_POOL};
    if (s.c != 3) return dg_error(e, "bench fid: the images have %d channels, and features are of colours, which are 3", s.c);
    o.no_fuse = b->o->device.no_fuse;
    return (f->weights = open_weights(b->o, own, e)) && (f->features = features_open(b->device, f->weights, &o, e)) &&
           features_reserve(f->features, b->o->batch, e);
}
/* Its covariance has no zeros, as that of a data set. */
static void make_reference(Fid *f) {
    size_t d = (size_t)features_dims(f->features, FEATURE_POOL);
    f->reference =
        (Gaussian){.dims = (int)d, .count = 50000, .mean = dg_alloc(d * sizeof(double)), .covariance = dg_alloc(d * d * sizeof(double))};
    for (size_t i = 0; i < d; i++) {
        f->reference.mean[i] = 0.01 * (double)(i % 7);
        for (size_t j = 0; j < d; j++) f->reference.covariance[i * d + j] = i == j ? 1 : 0.1 / (1 + fabs((double)i - (double)j));
    }
}

/* ---- a run ------------------------------------------------------------------------------------------------------------------------------ */
static bool sum(void *fid, const FeatureRows *r, Error *e) {
    Fid *f = fid;
    return exact_add(f->sums, DG_F32, r->pool, (size_t)r->n, r->seed[0], e);
}
static bool put(void *rows, const Delivered *d, Error *e) { return rows_thread_put(rows, d, e); }
static bool sample(Fid *f, uint64_t first, Error *e) {
    const FidBench *b = f->b;
    SeedList seeds = {0};
    RowsWork w = {.work = sum,
                  .context = f,
                  .dims = features_dims(f->features, FEATURE_POOL),
                  .threaded = b->device->be->mark != host_mark,
                  .spans = b->spans};
    seeds_add(&seeds, first, f->images);
    RowsThread *rows = rows_thread_start(&w);
    Pipeline p = {.sampler = b->engine->sampler,
                  .batch = b->engine->batch,
                  .todo = &seeds,
                  .classes = b->networks->classes,
                  .features = f->features,
                  .interrupt = b->interrupt,
                  .sink = {{put, rows}},
                  .sinks = 1};
    progress_begin(&p.progress, f->images);
    p.progress.quiet = true;
    bool ok = pipeline_run(&p, e) == OUTCOME_DONE;
    if (ok && p.bad.count) ok = dg_error(e, "%zu of %zu images have values that are not finite: try --dtype fp32", p.bad.count, f->images);
    Error own = {""};
    device_range_push(b->device, SPAN_WAIT);
    bool summed = rows_thread_finish(rows, &own);
    device_range_pop(b->device, SPAN_WAIT);
    if (ok && !summed) ok = false, *e = own;
    f->counts = p.counts;
    seeds_free(&seeds), seeds_free(&p.bad);
    return ok;
}
static bool distance(Fid *f, double *value, Error *e) {
    Gaussian g = {0};
    Frechet d = {0};
    *value = NAN;
    if (!frechet_possible()) return true; /* a program for machines without LAPACK: print_throughput says so */
    device_range_push(f->b->device, SPAN_DISTANCE);
    bool ok = exact_gaussian(f->sums, (Divisor){.ddof = 1}, &g, e) && frechet_distance(&g, &f->reference, false, &d, e);
    device_range_pop(f->b->device, SPAN_DISTANCE);
    *value = d.distance;
    gaussian_free(&g);
    return ok;
}
/* One from seeds to a distance. */
static bool time_run(Fid *f, int number, Run *out, Error *e) {
    const FidBench *b = f->b;
    SpanTotal before[SPAN_NAMES], after[SPAN_NAMES];
    double value;
    if (!(f->sums = exact_new(features_dims(f->features, FEATURE_POOL), grid_f32, NULL, e))) return false;
    spans_totals(b->spans, before);
    double start = seconds_now();
    device_range_push_number(b->device, SPAN_REPEAT, number);
    bool ok = sample(f, (uint64_t)(number + 1000) * f->images, e) && distance(f, &value, e);
    device_range_pop(b->device, SPAN_REPEAT);
    *out = (Run){.wall = seconds_now() - start};
    spans_totals(b->spans, after);
    for (int k = 0; k < PARTS; k++)
        for (int n = 0; n < SPAN_NAMES; n++)
            if (parts[k].spans >> n & 1) out->part[k] += after[n].seconds - before[n].seconds;
    exact_free(f->sums);
    return ok;
}

/* ---- figures ---------------------------------------------------------------------------------------------------------------------------- */
/* FLOPs of an image: of sampling and decoding, and of its features. */
static double sampling_flops(const Fid *f) {
    const SampleNetworks *n = &f->b->engine->n;
    const SampleCounts *c = &f->counts;
    int batch = f->b->engine->batch;
    double flops = graph_flops(n->network->net->graph) / n->network->passes * c->network;
    if (n->guiding) flops += graph_flops(n->guiding->net->graph) * c->guiding;
    if (n->discriminator) flops += graph_flops(n->discriminator->net->graph) * c->term[TERM_DISCRIMINATOR];
    if (n->classifier) flops += graph_flops(n->classifier->net->graph) * c->term[TERM_CLASSIFIER];
    if (n->decoder) flops += graph_flops(n->decoder->net->graph) * batch / n->decoder->rows;
    return flops / batch;
}
static void print_predicted(const Fid *f, Text *json) {
    static const double TENSOR = 798e12, VECTOR = 67e12; /* FLOP/s of an H100: a large product in fp16; fp32 outside of tensor cores */
    double made = sampling_flops(f), features = features_flops(f->features), bound = 1 / (made / TENSOR + features / VECTOR);
    printf("counted        %10.4g TFLOP an image, and %.4g for its features\n", made * 1e-12, features * 1e-12);
    printf("predicted      %10.4g /s   an H100 can make no more by these operations (798 TFLOP/s, features 67): not measured\n", bound);
    text_printf(
        json,
        ", \"tflop_per_image\": %.6g, \"tflop_features\": %.6g, \"predicted_bound\": {\"gpu\": \"H100\", \"images_per_second\": %.6g, "
        "\"measured\": false}",
        made * 1e-12, features * 1e-12, bound);
}
static void print_memory(Text *json) {
    struct rusage use;
    getrusage(RUSAGE_SELF, &use);
    printf("memory         %10.1f MiB at most, resident\n", (double)use.ru_maxrss / 1024);
    text_printf(json, ", \"peak_resident_bytes\": %.0f, \"clocks\": null", (double)use.ru_maxrss * 1024);
}
static void print_shares(const Run *run, int runs, Text *json) {
    double wall = 0, named = 0;
    for (int i = 0; i < runs; i++) wall += run[i].wall;
    printf("%-26s %12s %8s\n", "a run of", "seconds", "share");
    text_printf(json, ", \"parts\": {");
    for (int k = 0, put_any = 0; k < PARTS; k++) {
        double seconds = 0;
        for (int i = 0; i < runs; i++) seconds += run[i].part[k];
        named += seconds;
        if (seconds <= 0) continue;
        printf("  %-24s %12.4g %7.2f%%\n", parts[k].name, seconds / runs, 100 * seconds / wall);
        text_printf(json, "%s\"%s\": {\"seconds\": %.6g, \"share\": %.6g}", put_any++ ? ", " : "", parts[k].name, seconds / runs,
                    seconds / wall);
    }
    printf("  %-24s %12.4g %7.2f%%\n", "all of these", named / runs, 100 * named / wall);
    text_printf(json, "}, \"named_share\": %.6g", named / wall);
}
static void print_throughput(const Fid *f, const Run *run, int runs, Text *json) {
    enum { OFFICIAL = 50000 };
    double *rate = dg_alloc((size_t)runs * sizeof *rate), distances = 0, sampling = 0;
    for (int i = 0; i < runs; i++) {
        rate[i] = (double)f->images / run[i].wall;
        for (int k = 0; k < PARTS; k++)
            if (parts[k].spans & SPAN(DISTANCE)) distances += run[i].part[k] / runs;
        sampling += run[i].wall / runs;
    }
    qsort(rate, (size_t)runs, sizeof *rate, bench_by_value);
    double median = (rate[(runs - 1) / 2] + rate[runs / 2]) / 2, slow = rate[runs / 10]; /* nine of ten runs are no slower */
    double whole = (sampling - distances) / (double)f->images * OFFICIAL + distances;
    printf("images         %10.4g /s   (P90 %.4g; %d runs of %zu images)\n", median, slow, runs, f->images);
    if (!frechet_possible()) printf("distance       not measured: no LAPACK here\n");
    printf("FID of 50,000  %10.4g h    by these times\n", whole / 3600);
    text_printf(json,
                ", \"runs\": %d, \"images\": %zu, \"images_per_second\": %.6g, \"images_per_second_p90\": %.6g, \"hours_of_50000\": %.6g",
                runs, f->images, median, slow, whole / 3600);
    free(rate);
}
static bool measure(Fid *f, Text *json, Error *e) {
    const BenchOptions *o = f->b->o;
    int runs = o->runs ? o->runs : 3;
    Run *run = dg_alloc((size_t)runs * sizeof *run), unused;
    bool ok = true;
    for (int i = -o->warmup; i < runs && ok; i++) {
        if (i >= 0) profiler_next(f->b->profiler);
        ok = time_run(f, i, i < 0 ? &unused : &run[i], e);
    }
    if (ok) {
        profiler_end(f->b->profiler, "runs");
        text_printf(json, ", \"command\": \"fid\", \"warmup\": %d, \"feature_dims\": %d", o->warmup, f->reference.dims);
        print_throughput(f, run, runs, json);
        print_shares(run, runs, json);
        shares_print(f->b->device, &f->b->engine->n, &f->counts, json);
        print_predicted(f, json);
        print_memory(json);
    }
    free(run);
    return ok;
}
bool bench_fid(const FidBench *b, Text *json, Error *e) {
    Fid f = {.b = b, .images = b->o->images ? (size_t)b->o->images : 2 * (size_t)b->o->batch};
    if (!b->engine->sampler) return dg_error(e, "bench fid makes images: it needs a score network, not a guide or an autoencoder alone");
    if (f.images < 2) return dg_error(e, "--images 1: one image has no covariance");
    bool ok = open_features(&f, e);
    if (ok) make_reference(&f), ok = measure(&f, json, e);
    gaussian_free(&f.reference);
    features_close(f.features);
    weights_free(f.weights);
    return ok;
}
