/* test_ranges.c -- what a device is asked for happens inside the range that says so: every call of every network, every guidance term,
 * state work, decoding, features, downloads, waits, statistics; ranges are nested and each ends; a profiler is told exactly the batches
 * that were asked for. On the emulated device NVTX's ranges are those of the recorder, and the profiler is CUDA's.
 *   test_ranges [DEVICE]     default: cpu                                                                                     */
#include "files/image.h"
#include "measure/features.h"
#include "program/commands.h"
#include "program/pipeline.h"
#include "check.h"
#include "synthetic.h"
#include "tiny_model.h"
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* ---- a device that looks where it is called ------------------------------------------------------------------------------------- */
enum { STATE, RUN, WAIT, DOWNLOAD, KINDS };
typedef struct {
    Device device;
    Backend be;
    const Device *inner;
    Engine *engine;
    bool features;                                       /* what is asked for is features' */
    size_t called[KINDS], outside[KINDS];                /* so often; not in its range */
    size_t network[SPAN_NAMES];                          /* runs in each range */
    int rows, batch, on, first_on, batches_on, switches; /* images of the run, the batch under way; profiler: those in which it was on */
} Watcher;
static Watcher *watcher_of(Device *d) { return (Watcher *)d; }
/* The span that began last, but for captures, which the device does by itself. */
static SpanName latest(const Watcher *w) {
    const SpanRecord *x;
    size_t n = track_spans(spans_track(w->device.spans, 0), &x);
    while (n && x[n - 1].name == SPAN_CAPTURE) n--;
    return n ? x[n - 1].name : SPAN_NAMES;
}
static void called(Watcher *w, int kind, bool inside) { w->called[kind]++, w->outside[kind] += !inside; }
static void called_state(Watcher *w) { called(w, STATE, latest(w) == (w->features ? SPAN_FEATURES : SPAN_STATE)); }
static void watch_combine(Device *d, void *out, DType out_type, int n, size_t per_sample, const Term *term, int terms) {
    called_state(watcher_of(d));
    watcher_of(d)->inner->be->combine(d, out, out_type, n, per_sample, term, terms);
}
static void watch_randn(Device *d, double *out, int n, size_t per_sample, const uint64_t *seed, const uint32_t *step) {
    called_state(watcher_of(d));
    watcher_of(d)->rows = n;
    watcher_of(d)->inner->be->randn(d, out, n, per_sample, seed, step);
}
static void watch_posterior(Device *d, double *x, int n, size_t per_sample, const Posterior *p) {
    called_state(watcher_of(d));
    watcher_of(d)->inner->be->posterior(d, x, n, per_sample, p);
}
static void watch_to_u8(Device *d, uint8_t *out, const void *x, DType type, int n, size_t per_sample, double scale, double offset,
                        int *bad) {
    called_state(watcher_of(d));
    watcher_of(d)->inner->be->to_u8(d, out, x, type, n, per_sample, scale, offset, bad);
}
static void watch_run(Exec *e) {
    Watcher *w = watcher_of(e->dev);
    const SampleNetworks *n = w->engine ? &w->engine->n : &(SampleNetworks){NULL};
    SpanName here = latest(w);
    if (n->network && e == n->network->net->exec) called(w, RUN, here == (e->rows > w->rows ? SPAN_CFG : SPAN_NETWORK));
    else if (n->guiding && e == n->guiding->net->exec) called(w, RUN, here == SPAN_AUTOGUIDANCE);
    else if (n->discriminator && e == n->discriminator->net->exec) called(w, RUN, here == SPAN_DISCRIMINATOR);
    else if (n->classifier && e == n->classifier->net->exec) called(w, RUN, here == SPAN_CLASSIFIER);
    else if (n->decoder && e == n->decoder->net->exec) called(w, RUN, here == SPAN_AUTOENCODER);
    else called(w, RUN, w->features && here == SPAN_FEATURES);
    w->network[here]++;
    w->inner->be->run(e);
}
static void watch_wait(Device *d, int slot) {
    called(watcher_of(d), WAIT, latest(watcher_of(d)) == SPAN_WAIT);
    watcher_of(d)->inner->be->wait(d, slot);
}
static void watch_download_async(Device *d, int slot, void *dst, const void *src, size_t bytes) {
    called(watcher_of(d), DOWNLOAD, latest(watcher_of(d)) == SPAN_DOWNLOAD_IMAGES);
    watcher_of(d)->inner->be->download_async(d, slot, dst, src, bytes);
}
static void watch_download(Device *d, void *dst, const void *src, size_t bytes) {
    Watcher *w = watcher_of(d);
    if (w->features) called(w, DOWNLOAD, latest(w) == SPAN_DOWNLOAD_FEATURES);
    w->inner->be->download(d, dst, src, bytes);
}
static void watch_push(const Device *d, SpanName n, int number) {
    Watcher *w = watcher_of((Device *)(uintptr_t)d);
    if (n == SPAN_BATCH) {
        w->batch = number;
        if (w->on && w->batches_on++ == 0) w->first_on = number;
    }
    w->inner->be->range_push(d, n, number);
}
static void watch_profiler(Device *d, bool on) {
    Watcher *w = watcher_of(d);
    w->switches += w->on != on ? 1 : 1000;
    w->on = on;
}
static void watcher_new(Watcher *w, Device *d) {
    *w = (Watcher){.device = *d, .be = *d->be, .inner = d, .batch = -1};
    w->be.combine = watch_combine, w->be.randn = watch_randn, w->be.posterior = watch_posterior, w->be.to_u8 = watch_to_u8;
    w->be.run = watch_run, w->be.wait = watch_wait, w->be.download_async = watch_download_async, w->be.download = watch_download;
    w->be.range_push = watch_push, w->be.has_profiler = true, w->be.profiler = watch_profiler;
    w->device.be = &w->be;
}

/* ---- runs ------------------------------------------------------------------------------------------------------------------------ */
typedef struct {
    const char *name;
    const char *network, *gnet, *classifier, *vae; /* configurations; or NULL */
    bool discriminator;
    SampleOptions change; /* fields that are not 0 replace the default */
    SpanName there[5], not_there[4];
} Case;
static const Case cases[] = {
    {"discriminator and churn",
     tiny_network_config,
     NULL,
     NULL,
     NULL,
     true,
     {.S_churn = 2},
     {SPAN_NETWORK, SPAN_DISCRIMINATOR},
     {SPAN_CFG, SPAN_AUTOGUIDANCE, SPAN_CLASSIFIER, SPAN_DECODE}},
    {"boosting", tiny_network_config, NULL, NULL, NULL, true, {.boosting = BOOSTING_ON}, {SPAN_NETWORK, SPAN_DISCRIMINATOR}, {SPAN_CFG}},
    {"autoguidance and a classifier",
     tiny_network_config,
     tiny_network_config,
     tiny_extractor_config,
     NULL,
     false,
     {.guidance = 2, .classifier_scale = 1},
     {SPAN_NETWORK, SPAN_AUTOGUIDANCE, SPAN_CLASSIFIER},
     {SPAN_CFG, SPAN_DISCRIMINATOR}},
    {"two passes, DDPM, and an autoencoder",
     tiny_dit_config,
     NULL,
     NULL,
     tiny_vae_config,
     false,
     {.sampler = SAMPLER_DDPM, .cfg_scale = 1.5, .cfg_interval = "300,999"},
     {SPAN_NETWORK, SPAN_CFG, SPAN_DECODE, SPAN_AUTOENCODER},
     {SPAN_DISCRIMINATOR}},
    {"DPM-Solver++", tiny_network_config, NULL, NULL, NULL, false, {.sampler = SAMPLER_DPM}, {SPAN_NETWORK}, {SPAN_DISCRIMINATOR}},
    {"flow", tiny_network_config, NULL, NULL, NULL, false, {.sampler = SAMPLER_FLOW}, {SPAN_NETWORK}, {SPAN_DISCRIMINATOR}},
};
enum { IMAGES = 7, BATCH = 2, BATCHES = 4, STEPS = 3, PROFILED = 2 };
static SampleOptions options_of(const Case *c) {
    SampleOptions o = sample_defaults();
    o.num_steps = STEPS, o.sampler = c->change.sampler, o.boosting = c->change.boosting, o.S_churn = c->change.S_churn;
    if (!c->discriminator) o.dg_weight_1st_order = o.dg_weight_2nd_order = 0;
    if (c->change.guidance != 0) o.guidance = c->change.guidance;
    if (c->change.classifier_scale != 0) o.classifier_scale = c->change.classifier_scale;
    if (c->change.cfg_scale != 0) o.cfg_scale = c->change.cfg_scale, o.cfg_interval = c->change.cfg_interval;
    return o;
}
static bool see(void *sum, const Delivered *d, Error *e) {
    (void)e;
    for (size_t i = 0; i < (size_t)d->count * d->picture_bytes; i++) *(uint64_t *)sum = *(uint64_t *)sum * 31 + d->bytes[i];
    return true;
}
/* The pictures' sum; w NULL: on the device itself, and nothing is recorded. */
static uint64_t make_images(Device *d, Watcher *w, const Case *c, int profiled) {
    Error e = {""};
    Networks n = {.vae_batch = 1};
    SeedList seeds = {0};
    Engine engine = {0};
    uint64_t sum = 0;
    const char *config[ROLES] = {
        c->network, c->discriminator ? tiny_extractor_config : NULL, c->discriminator ? tiny_head_config : NULL, c->gnet, c->classifier,
        c->vae};
    for (Role r = 0; r < ROLES; r++)
        if (config[r]) n.source[r].weights = synthetic(config[r], (uint64_t)r + 1);
    SampleOptions o = options_of(c);
    seeds_add(&seeds, 40, IMAGES);
    if (w) w->engine = &engine;
    bool ok = networks_describe(&n, &e);
    if (ok) sample_resolve(&o, score_sampler(n.score));
    if (CHECK(ok && engine_new(&engine, w ? &w->device : d, &n, &o, BATCH, true, &e), "%s: %s", c->name, e.text)) {
        Pipeline p = {.sampler = engine.sampler,
                      .batch = BATCH,
                      .todo = &seeds,
                      .classes = n.classes,
                      .class_rule = {.kind = CLASS_BALANCED},
                      .profiler = {.device = w ? &w->device : d, .batches = profiled, .skip = 1}};
        p.sink[p.sinks++] = (Sink){see, &sum};
        progress_begin(&p.progress, seeds.count);
        CHECK(pipeline_run(&p, &e) == OUTCOME_DONE && p.shown == IMAGES, "%s: %s, %zu images", c->name, e.text, p.shown);
        seeds_free(&p.bad);
    }
    engine_free(&engine);
    seeds_free(&seeds);
    networks_close(&n);
    return sum;
}
static void check_spans(const Case *c, Spans *s) {
    const SpanRecord *x;
    SpanTotal total[SPAN_NAMES];
    size_t n = track_spans(spans_track(s, 0), &x), left = 0;
    int batch = -1, step = -1, steps = 0;
    const SpanRecord *in = NULL;
    for (size_t i = 0; i < n; i++) {
        if (x[i].name == SPAN_BATCH) batch++, step = -1, in = &x[i];
        if (x[i].name == SPAN_STEP) step++, steps++;
        if (x[i].name == SPAN_BATCH) CHECK(x[i].number == batch, "%s: batch %d in place of %d", c->name, x[i].number, batch);
        if (x[i].name == SPAN_STEP) CHECK(x[i].number == step && in, "%s: step %d in place of %d", c->name, x[i].number, step);
        if (x[i].name == SPAN_WORK) CHECK(x[i].number == step, "%s: work %d in step %d", c->name, x[i].number, step);
        if (x[i].name == SPAN_STEP && in) left += x[i].end > in->end;
    }
    CHECK(batch == BATCHES - 1 && steps == BATCHES * STEPS && left == 0, "%s: %d batches, %d steps", c->name, batch + 1, steps);
    track_totals(spans_track(s, 0), total);
    for (int i = 0; i < 5 && c->there[i]; i++)
        CHECK(total[c->there[i]].count > 0 && total[c->there[i]].seconds > 0, "%s: no %s", c->name, span_name(c->there[i]));
    for (int i = 0; i < 4 && c->not_there[i]; i++)
        CHECK(total[c->not_there[i]].count == 0, "%s: there is %s", c->name, span_name(c->not_there[i]));
    CHECK(total[SPAN_LATENTS].count == BATCHES && total[SPAN_DELIVER].count == BATCHES && total[SPAN_DOWNLOAD_IMAGES].count == BATCHES,
          "%s: %zu latents, %zu downloads, %zu deliveries", c->name, total[SPAN_LATENTS].count, total[SPAN_DOWNLOAD_IMAGES].count,
          total[SPAN_DELIVER].count);
}
/* ---- NVTX, where it is emulated ------------------------------------------------------------------------------------------------- */
typedef struct {
    size_t starts, stops, idle;
} ProfilerCalls; /* as tests/cuda_on_cpu's emuProfiler */
extern void emuOnRange(void (*hear)(void *context, const char *name), void *context) __attribute__((weak));
extern void emuGetProfiler(ProfilerCalls *p) __attribute__((weak));
typedef struct {
    const char *stack[64]; /* of ranges that are open */
    int depth, deepest, wrong;
    int pushed[SPAN_NAMES];
    SpanName order[100000];
    int count;
    int batches, recorded, first; /* of `unit`: all; those that begin while the profiler records; the first of them */
    SpanName unit;
} Heard;
static SpanName name_of(const char *name) {
    int n = 0;
    while (n < SPAN_NAMES && strcmp(span_name((SpanName)n), name) != 0) n++;
    return (SpanName)n;
}
static void hear(void *heard, const char *name) {
    Heard *h = heard;
    if (!name) {
        if (h->depth > 0) h->depth--;
        else h->wrong++;
        return;
    }
    if (h->depth < 64) h->stack[h->depth++] = name;
    if (h->depth > h->deepest) h->deepest = h->depth;
    SpanName n = name_of(name);
    if (n == SPAN_NAMES) return; /* an op */
    h->pushed[n]++;
    if (h->count < 100000) h->order[h->count++] = n;
    if (n != h->unit) return;
    ProfilerCalls p;
    emuGetProfiler(&p);
    if (p.starts > p.stops && h->recorded++ == 0) h->first = h->batches;
    h->batches++;
}
/* The recorder's spans of the thread, in their order, are the ranges that a profiler sees. */
static void check_heard(const Case *c, const Heard *h, const Spans *s) {
    const SpanRecord *x;
    size_t n = track_spans(spans_track(s, 0), &x);
    int same = 0;
    for (size_t i = 0; i < n && (int)i < h->count; i++) same += x[i].name == h->order[i];
    CHECK(h->depth == 0 && h->wrong == 0 && h->deepest >= 4, "%s: %d ranges did not end, %d ended too much", c->name, h->depth, h->wrong);
    CHECK((int)n == h->count && same == h->count && n > 0, "%s: %d of %d ranges as recorded, of %zu", c->name, same, h->count, n);
}
/* The device's own track: each piece of work once, networks where they were not replayed. */
static void check_device_track(const Case *c, const Spans *s, bool own, double seconds) {
    const SpanTrack *track = NULL;
    SpanTotal host[SPAN_NAMES], device[SPAN_NAMES];
    for (int i = 0; i < spans_tracks(s); i++)
        if (track_is_device(spans_track(s, i))) track = spans_track(s, i);
    CHECK(own == (track != NULL), "%s: %s track of the device's", c->name, track ? "a" : "no");
    if (!track) return;
    const SpanRecord *x;
    size_t n = track_spans(track, &x);
    double took = n ? (double)(x[n - 1].end - x[0].begin) * 1e-9 : 0; /* the emulated device's clock is this thread's */
    CHECK(took <= seconds && took >= seconds / 3, "%s: the device worked for %g s, by another clock %g", c->name, took, seconds);
    track_totals(spans_track(s, 0), host), track_totals(track, device);
    CHECK(device[SPAN_WORK].count == host[SPAN_WORK].count && device[SPAN_DECODE].count == host[SPAN_DECODE].count,
          "%s: %zu pieces of work, %zu were asked for", c->name, device[SPAN_WORK].count, host[SPAN_WORK].count);
    CHECK(device[SPAN_NETWORK].count > 0 && device[SPAN_NETWORK].count < host[SPAN_NETWORK].count && device[SPAN_NETWORK].seconds > 0,
          "%s: %zu networks of %zu, %g s", c->name, device[SPAN_NETWORK].count, host[SPAN_NETWORK].count, device[SPAN_NETWORK].seconds);
    CHECK(!device[SPAN_STATE].count && !device[SPAN_STEP].count && !device[SPAN_CAPTURE].count && host[SPAN_CAPTURE].count > 0,
          "%s: %zu captures, on the device %zu", c->name, host[SPAN_CAPTURE].count, device[SPAN_CAPTURE].count);
}
static double processor_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
static void check_case(const char *device, const Case *c) {
    static const char *const kinds[KINDS] = {"state work", "network calls", "waits", "downloads"};
    Error e = {""};
    Device *d = device_open(device, NULL, &e);
    if (!CHECK(d, "%s", e.text)) return;
    Spans *s = spans_new(100000);
    Watcher w;
    Heard *h = dg_alloc(sizeof *h);
    uint64_t plain = make_images(d, NULL, c, 0);
    d->spans = s;
    watcher_new(&w, d);
    if (emuOnRange) emuOnRange(hear, h);
    double began = processor_seconds();
    uint64_t recorded = make_images(d, &w, c, PROFILED);
    if (emuOnRange) emuOnRange(NULL, NULL);
    CHECK(plain == recorded && plain, "%s: other pictures when they are recorded", c->name);
    for (int k = 0; k < KINDS; k++)
        CHECK(w.called[k] > 0 && w.outside[k] == 0, "%s: %zu of %zu %s outside of their range", c->name, w.outside[k], w.called[k],
              kinds[k]);
    check_spans(c, s);
    CHECK(w.switches == 2 && !w.on && w.first_on == 1 && w.batches_on == PROFILED, "%s: told %d times, recorded %d batches from %d on",
          c->name, w.switches, w.batches_on, w.first_on);
    if (emuOnRange) check_heard(c, h, s);
    bool own = d->be->has_profiler;
    device_close(d);
    check_device_track(c, s, own, processor_seconds() - began);
    spans_free(s);
    free(h);
}
/* A track of the device that outgrows what waits to be read is read on the way. */
static void check_long(const char *device) {
    enum { PUSHES = 3000 };
    Error e = {""};
    Device *d = device_open(device, NULL, &e);
    if (!CHECK(d, "%s", e.text)) return;
    Spans *s = d->spans = spans_new(100000);
    for (int i = 0; i < PUSHES; i++) {
        device_range_push_number(d, SPAN_WORK, i);
        device_range_push(d, SPAN_NETWORK);
        device_range_pop(d, SPAN_NETWORK);
        device_range_pop(d, SPAN_WORK);
    }
    bool own = d->be->has_profiler;
    device_close(d);
    const SpanRecord *x;
    size_t n = track_spans(spans_track(s, own ? 1 : 0), &x), right = 0;
    for (size_t i = 0; i < n; i++)
        right += x[i].name == (i % 2 ? SPAN_NETWORK : SPAN_WORK) && x[i].number == (i % 2 ? -1 : (int)i / 2) && x[i].end >= x[i].begin &&
                 (!i || x[i].begin >= x[i - 1].begin) && (i % 2 == 0 || x[i].end <= x[i - 1].end);
    CHECK(n == 2 * PUSHES && right == n, "%zu spans of %d, %zu right", n, 2 * PUSHES, right);
    spans_free(s);
}
/* More than there are; and all. */
static void check_profiled(const char *device) {
    static const struct {
        int asked, batches, switches;
    } to[] = {{0, 0, 0}, {1, 1, 2}, {BATCHES - 1, BATCHES - 1, 2}, {BATCHES, BATCHES - 1, 2}, {1000, BATCHES - 1, 2}};
    Error e = {""};
    for (size_t i = 0; i < sizeof to / sizeof *to; i++) {
        Watcher w;
        Device *d = device_open(device, NULL, &e);
        if (!CHECK(d, "%s", e.text)) return;
        Spans *s = d->spans = spans_new(100000);
        watcher_new(&w, d);
        make_images(d, &w, &cases[0], to[i].asked);
        CHECK(w.batches_on == to[i].batches && w.switches == to[i].switches && !w.on,
              "of %d batches asked for %d were recorded, %d switches", to[i].asked, w.batches_on, w.switches);
        device_close(d);
        spans_free(s);
    }
}

/* ---- features ---------------------------------------------------------------------------------------------------------------------- */
static void check_features(const char *device) {
    enum { N = 5, AT_A_TIME = 2, BYTES = 8 * 8 * 3 };
    Error e = {""};
    Device *d = device_open(device, NULL, &e);
    Weights *weights = synthetic(tiny_extractor_config, 3);
    if (!CHECK(d && weights, "%s", e.text)) return;
    Spans *s = d->spans = spans_new(1000);
    Watcher w;
    SpanTotal total[SPAN_NAMES];
    uint8_t pixels[N * BYTES];
    float pool[N * 512];
    watcher_new(&w, d);
    for (int i = 0; i < N * BYTES; i++) pixels[i] = (uint8_t)(7 * i);
    FeatureOptions o = {.height = 8, .width = 8, .batch = AT_A_TIME, .wanted = 1u << FEATURE_POOL};
    Features *f = features_open(&w.device, weights, &o, &e);
    if (CHECK(f && features_dims(f, FEATURE_POOL) <= 512, "%s", e.text)) {
        float *out[FEATURE_KINDS] = {pool};
        w.features = true;
        features_run(f, pixels, N, out);
        CHECK(w.called[STATE] > 0 && w.called[RUN] == 3 && w.called[DOWNLOAD] == 3 && !w.outside[STATE] && !w.outside[RUN] &&
                  !w.outside[DOWNLOAD],
              "features: %zu of %zu runs, %zu of %zu downloads outside of their range", w.outside[RUN], w.called[RUN], w.outside[DOWNLOAD],
              w.called[DOWNLOAD]);
        spans_totals(s, total);
        CHECK(total[SPAN_FEATURES].count == 3 && total[SPAN_DOWNLOAD_FEATURES].count == 3, "%zu chunks, %zu downloads",
              total[SPAN_FEATURES].count, total[SPAN_DOWNLOAD_FEATURES].count);
    }
    features_close(f);
    device_close(d);
    spans_free(s);
    weights_free(weights);
}

/* ---- CUDA's profiler, around batches and repeats of the commands ----------------------------------------------------------------- */
/* The command line in this process; what is heard of it. */
static void hear_command(const char *args, Heard *h, Error *e) {
    static const Command *const commands[] = {&command_generate, &command_bench, &command_eval};
    char *copy = dg_strdup(args), *argv[64], *rest = NULL, name[] = "dg_cuda";
    int argc = 0;
    argv[argc++] = name;
    for (char *w = strtok_r(copy, " ", &rest); w && argc < 64; w = strtok_r(NULL, " ", &rest)) argv[argc++] = w;
    emuOnRange(hear, h);
    int code = cli_run(commands, 3, argc, argv, e);
    emuOnRange(NULL, NULL);
    free(copy);
    CHECK(code == EXIT_DONE && h->depth == 0 && h->wrong == 0, "%s: %s, %d ranges did not end", args, e->text, h->depth);
}
static void command(const char *args, SpanName unit, int units, int first, int recorded) {
    Error e = {""};
    Heard *h = dg_alloc(sizeof *h);
    ProfilerCalls before, after;
    bool any = recorded > 0;
    h->unit = unit;
    emuGetProfiler(&before);
    hear_command(args, h, &e);
    emuGetProfiler(&after);
    CHECK(after.starts - before.starts == any && after.stops - before.stops == any && after.idle == 0,
          "%s: the profiler began %zu times and ended %zu times", args, after.starts - before.starts, after.stops - before.stops);
    CHECK(h->batches == units && h->recorded == recorded && (!any || h->first == first), "%s: %d of %d were recorded, from number %d on",
          args, h->recorded, h->batches, h->first);
    free(h);
}
/* The features and statistics of five images of the example model's size, two at a time. */
static void check_measuring(const char *dir) {
    enum { SIDE = 32, N = 5, CHUNKS = 3 };
    uint8_t pixels[SIDE * SIDE * 3];
    char path[N][160], images[128], out[160], args[512];
    Error e = {""};
    if (!image_png_available(&e)) return not_run("the ranges of eval: %s", e.text);
    snprintf(images, sizeof images, "%s/images", dir), snprintf(out, sizeof out, "%s/five.npz", dir);
    CHECK(mkdir(images, 0777) == 0, "no folder for the images");
    for (int i = 0; i < N; i++) {
        for (int k = 0; k < SIDE * SIDE * 3; k++) pixels[k] = (uint8_t)(k * (i + 3));
        snprintf(path[i], sizeof path[i], "%s/%d.png", images, i);
        OutFile *f = image_begin_png(path[i], pixels, SIDE, SIDE, 3, &e);
        CHECK(f && out_finish(f, &e), "%s", e.text);
    }
    Heard *h = dg_alloc(sizeof *h);
    snprintf(args, sizeof args, "eval ref --protocol shapes32 --allow-fewer --images %s --out %s --batch 2 --device emu", images, out);
    hear_command(args, h, &e);
    CHECK(h->pushed[SPAN_FEATURES] == CHUNKS && h->pushed[SPAN_DOWNLOAD_FEATURES] == CHUNKS && h->pushed[SPAN_STATISTICS] == CHUNKS,
          "eval ref: %d chunks of features, %d downloads, %d times statistics", h->pushed[SPAN_FEATURES], h->pushed[SPAN_DOWNLOAD_FEATURES],
          h->pushed[SPAN_STATISTICS]);
    for (int i = 0; i < N; i++) unlink(path[i]);
    unlink(out), rmdir(images);
    free(h);
}
static void check_commands(void) {
    char dir[] = "/tmp/dg_test_ranges_XXXXXX", args[1024], path[3][128];
    Error e = {""};
    if (!emuOnRange) {
        not_run("NVTX and CUDA's profiler: they are emulated with the device emu alone");
        return;
    }
    if (!CHECK(mkdtemp(dir), "no temporary folder")) return;
    const char *config[] = {tiny_network_config, tiny_extractor_config, tiny_head_config};
    for (int i = 0; i < 3; i++) {
        snprintf(path[i], sizeof path[i], "%s/%d.safetensors", dir, i);
        CHECK(tiny_write(path[i], config[i], 1, &e), "%s", e.text);
    }
    /* batches of 2: 0 to 3. Of bench, each of the three phases has a warm-up and so many repeats; a run has one more before it. */
    static const struct {
        const char *args;
        SpanName unit;
        int units, first, recorded;
    } runs[] = {{"generate --seeds 0-6 --batch 2 --steps 2 --grid %s/grid.png", SPAN_BATCH, 4, 0, 0},
                {"generate --seeds 0-6 --batch 2 --steps 2 --grid %s/grid.png --profile 2", SPAN_BATCH, 4, 1, 2},
                {"generate --seeds 0-6 --batch 2 --steps 2 --grid %s/grid.png --profile 9", SPAN_BATCH, 4, 1, 3},
                {"generate --seeds 0-1 --batch 2 --steps 2 --grid %s/grid.png --profile 1", SPAN_BATCH, 1, 0, 0},
                {"bench --batch 2 --steps 3 --repeats 4 --profile 2", SPAN_REPEAT, 15, 11, 2},
                {"bench --batch 2 --steps 3 --repeats 2 --runs 3 --profile 3", SPAN_REPEAT, 13, 10, 3}};
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
        char base[512];
        snprintf(base, sizeof base, runs[i].args, dir);
        snprintf(args, sizeof args, "%s --device emu --network %s --extractor %s --discriminator %s", base, path[0], path[1], path[2]);
        command(args, runs[i].unit, runs[i].units, runs[i].first, runs[i].recorded);
    }
    check_measuring(dir);
    for (int i = 0; i < 3; i++) unlink(path[i]);
    snprintf(args, sizeof args, "%s/grid.png", dir);
    unlink(args);
    CHECK(rmdir(dir) == 0, "%s is not empty", dir);
}
int main(int argc, char **argv) {
    const char *device = argc > 1 ? argv[1] : "cpu";
    Error e = {""};
    Device *d = device_open(device, NULL, &e);
    if (!d) {
        not_run("%s: %s", device, e.text);
        return check_done("test_ranges");
    }
    device_close(d);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) check_case(device, &cases[i]);
    if (!emuOnRange) check_profiled(device); /* there the commands are looked at */
    check_long(device);
    check_features(device);
    check_commands();
    return check_done("test_ranges");
}
