/* bench.c -- the command `bench`: how long a network call, a guide call and a guided step take, op by op if asked. */
#include "base/divert.h"
#include "program/bench.h"
#include "program/commands.h"
#include "base/file.h"
#include "device/host_state.h"
#include "program/op_table.h"
#include "program/shares.h"
#include "base/progress.h"
#include "base/version.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MAX_REPEATS = 100000 };

static void defaults(void *options) {
    *(BenchOptions *)options =
        (BenchOptions){.batch = 8, .vae_batch = DECODER_ROWS, .repeats = 5, .warmup = 1, .sample = sample_defaults()};
}
#define AT(member) offsetof(BenchOptions, member)
static const Option option[] = {
    {"Networks", "network", NULL, OPTION_TEXT, AT(network), "FILE", 0, 0, false,
     "score network; default: the example model shapes32 with its discriminator"},
    {NULL, "extractor", "pretrained_classifier_ckpt", OPTION_TEXT, AT(extractor), "FILE", 0, 0, false,
     "feature extractor of the discriminator"},
    {NULL, "discriminator", "discriminator_ckpt", OPTION_TEXT, AT(discriminator), "FILE", 0, 0, false, "discriminator head"},
    {NULL, "gnet", NULL, OPTION_TEXT, AT(gnet), "FILE", 0, 0, false, "score network that guides, by --guidance"},
    {NULL, "classifier", "classifier_path", OPTION_TEXT, AT(classifier), "FILE", 0, 0, false, "classifier, for --classifier_scale"},
    {NULL, "vae", NULL, OPTION_TEXT, AT(vae), "FILE", 0, 0, false, "autoencoder that makes pictures of latents"},
    {NULL, "synthetic", NULL, OPTION_TEXT, AT(synthetic), "FILE", 0, 0, false,
     "networks of this configuration with made-up weights: a network's arguments as JSON, or a golden case (.json, .safetensors)"},
    {NULL, "synthetic-guide", NULL, OPTION_TEXT, AT(synthetic_guide), "FILE", 0, 0, false,
     "the same for extractor and head: a golden case of the kind guidance"},

    {"What to measure", "batch", "batch_size max_batch_size", OPTION_INT, AT(batch), "N", 1, MAX_BATCH, false, "images in a call"},
    {NULL, "vae-batch", NULL, OPTION_INT, AT(vae_batch), "N", 1, MAX_BATCH, false, "images in a call of the autoencoder's"},
    {NULL, "repeats", NULL, OPTION_INT, AT(repeats), "N", 1, MAX_REPEATS, false, "timed calls; the median is printed"},
    {NULL, "warmup", NULL, OPTION_INT, AT(warmup), "N", 0, MAX_REPEATS, false, "calls before those"},
    {NULL, "runs", NULL, OPTION_INT, AT(runs), "N", 0, MAX_REPEATS, false,
     "whole runs of --steps steps to time too, the images brought home; of fid: runs (0: 3)"},
    {NULL, "images", NULL, OPTION_INT, AT(images), "N", 0, MAX_REPEATS, false, "fid: images of a run; 0: two batches"},
    {NULL, "inception", NULL, OPTION_TEXT, AT(inception), "FILE", 0, 0, false,
     "fid: the features' network; default: Inception with made-up weights, of the example model its own extractor"},
    {NULL, "preset", NULL, OPTION_TEXT, AT(preset), "NAME", 0, 0, false,
     "published settings, listed below; options given beside it win. Those of DiT also say which networks, with made-up weights where no "
     "files are given"},
    {NULL, "ops", NULL, OPTION_FLAG, AT(ops), NULL, 0, 0, false, "a table of the ops too, by kind and shape"},
    {NULL, "json", NULL, OPTION_TEXT, AT(json), "FILE", 0, 0, false, "write the figures to FILE as well, for scripts"},
    {NULL, "output", NULL, OPTION_CHOICE, AT(output), "text|md|csv|jsonl", 0, 0, false,
     "how they are printed: text, a table, or one line of JSON"},

    SAMPLE_OPTIONS(BenchOptions, sample.),
    GUIDANCE_OPTIONS(BenchOptions, sample.),

    DEVICE_OPTIONS(BenchOptions, device),
    TRACE_OPTIONS(BenchOptions, tracing, "the first N timed steps, or with --runs whole runs"),
    CHECKPOINT_OPTIONS(BenchOptions, checkpoint),
    CACHE_OPTION(BenchOptions, checkpoint),
};
static const char details[] =
    "`bench fid` times whole runs, from seeds to the Frechet distance: what a second of one goes to, and the images a second.\n"
    "FLOPs count 2 per multiply-add of convolutions, linear layers and attention. Each op of the table runs alone and is waited\n"
    "for, so their sum is a little more than a call; on a GPU, events inside one replayed graph time them. The last column says how\n"
    "near an op comes to this machine's limits: the least time it could take, by its operations at the speed of a large matrix\n"
    "product or its bytes at the speed of a large copy, as a share of the time it took. Convolutions that need fewer operations\n"
    "than are counted (Winograd, on the CPU) and tensors that stay in caches can exceed 100%.\n\n"
    "Examples:\n"
    "  dg_cuda bench --batch 64 --ops\n"
    "  dg_cuda bench --synthetic tests/golden/nets/edm_cifar10_uncond.safetensors --batch 8 --threads 1\n"
    "  dg_cuda bench --preset dit-xl-2-256-dg --batch 1 --repeats 1\n"
    "  dg_cuda bench fid --synthetic tests/golden/nets/edm_cifar10_uncond.safetensors --synthetic-guide \\\n"
    "      tests/golden/guidance/disc_cifar10_uncond.safetensors --batch 64 --runs 3\n";

static bool check_usage(const BenchOptions *o, Error *e) {
    const char *path[BENCH_INPUTS];
    bool synthetic = o->synthetic || o->synthetic_guide;
    bench_inputs(o, path);
    for (Role r = 0; r < ROLES && synthetic; r++)
        if (path[r]) return dg_error(e, "--synthetic stands for files, --%s is one: give one or the other", role_name(r));
    if (!synthetic && !networks_check(path, &o->sample, e)) return false;
    if (o->json && is_input(o->json, path, BENCH_INPUTS))
        return dg_error(e, "--json %s is a file that is read: give the figures another name", o->json);
    int timed = o->runs ? o->runs : o->repeats;
    if (o->tracing.profile > timed)
        return dg_error(e, "--profile %d: of %s there are %d that are timed: give --%s %d or more", o->tracing.profile,
                        o->runs ? "runs" : "steps", timed, o->runs ? "runs" : "repeats", o->tracing.profile);
    return sample_check(&o->sample, e);
}
/* ---- timing -------------------------------------------------------------------------------------------------------------- */
typedef struct {
    double median, least, most; /* seconds */
    double processor;           /* seconds of all threads together, the smallest: also means something on a busy machine */
} Timing;
int bench_by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}
static Timing summary(double *seconds, int n) {
    qsort(seconds, (size_t)n, sizeof *seconds, bench_by_value);
    return (Timing){(seconds[(n - 1) / 2] + seconds[n / 2]) / 2, seconds[0], seconds[n - 1], 0};
}
typedef struct {
    const BenchOptions *o;
    Device *device;
    Networks networks;
    SampleOptions sample; /* resolved */
    Engine engine;        /* without a network: the guide or the autoencoder alone */
    double *x;            /* device, f64 noise */
    Spans *spans;         /* that the device records, for the trace or where it `times`; or NULL */
    bool fid;             /* whole runs, as bench fid times them */
    bool times;           /* work is done when a call returns: ranges are its time */
    Trace trace;
    Profiler profiler;
    Interrupt *interrupt; /* with a trace: what there is of it is written */
    Timing step, state;   /* state: what of a step is not networks */
    double state_share;   /* of a step */
    Predictor *predictor; /* what is timed now, and its passes */
    int passes;
    Guide *guide;
} Bench;
typedef struct { /* calls of one kind, of which a run has so many */
    const char *name;
    double seconds; /* a call */
    int calls;
} Phase;
enum { MAX_PHASES = 8 };
typedef struct {
    Phase phase[MAX_PHASES];
    int count;
} Phases;

static bool stopped(const Bench *b) { return interrupted(b->interrupt); }
/* The seconds of state work so far: 0 where the device does not time. */
static double state_seconds(const Bench *b) {
    SpanTotal total[SPAN_NAMES];
    spans_totals(b->times ? b->spans : NULL, total);
    return total[SPAN_STATE].seconds;
}
static void call_predictor(Bench *b, const double *sigma) { predictor_run(b->predictor, b->passes, b->x, sigma); }
static void call_guide(Bench *b, const double *sigma) {
    double *coef = dg_alloc((size_t)b->o->batch * sizeof *coef);
    guide_run(b->guide, b->x, sigma, coef);
    free(coef);
}
static void call_decoder(Bench *b, const double *sigma) {
    const Decoder *d = b->engine.n.decoder;
    (void)sigma;
    net_enqueue(d->net, d->rows, 1, b->x, d->net->exec->data[d->net->table]);
}
static void finish_work(Bench *b) {
    device_range_push(b->device, SPAN_WAIT);
    b->device->be->sync(b->device);
    device_range_pop(b->device, SPAN_WAIT);
}
static Timing time_calls(Bench *b, void (*call)(Bench *, const double *)) {
    size_t n = (size_t)b->o->batch;
    double *sigma = dg_alloc(n * sizeof *sigma), *seconds = dg_alloc((size_t)b->o->repeats * sizeof *seconds);
    double processor = INFINITY;
    for (size_t i = 0; i < n; i++) sigma[i] = 1;
    for (int i = -b->o->warmup; i < b->o->repeats && !stopped(b); i++) {
        if (i >= 0 && !b->engine.sampler) profiler_next(&b->profiler);
        double start = seconds_now();
        clock_t work = clock();
        device_range_push_number(b->device, SPAN_REPEAT, i);
        call(b, sigma);
        finish_work(b);
        device_range_pop(b->device, SPAN_REPEAT);
        if (i < 0) continue;
        seconds[i] = seconds_now() - start;
        processor = fmin(processor, (double)(clock() - work) / CLOCKS_PER_SEC);
    }
    Timing t = summary(seconds, b->o->repeats);
    t.processor = processor;
    free(sigma), free(seconds);
    return t;
}
/* The pictures of the run under way, which are made once a run; the seconds of state work that this took. */
static double finish_images(Bench *b) {
    const int *bad;
    uint8_t *images;
    double before = state_seconds(b);
    sampler_images_begin(b->engine.sampler, 0);
    sampler_images_end(b->engine.sampler, 0, &images, &bad);
    return state_seconds(b) - before;
}
/* Steps with both evaluations, guided where there is a guide, in as many runs as it takes: the late steps are not guided. */
static void time_steps(Bench *b) {
    size_t n = (size_t)b->o->batch, repeats = (size_t)b->o->repeats;
    int done = 0, all = b->o->warmup + b->o->repeats; /* warm-up included */
    uint64_t *seed = dg_alloc(n * sizeof *seed);
    int *label = dg_alloc(n * sizeof *label);
    double *seconds = dg_alloc(repeats * sizeof *seconds), *state = dg_alloc(repeats * sizeof *state),
           *share = dg_alloc(repeats * sizeof *share);
    Sampler *s = b->engine.sampler;
    for (size_t i = 0; i < n; i++) seed[i] = i;
    while (done < all && !stopped(b)) {
        int early = (sampler_steps(s) + 1) / 2;
        sampler_begin(s, b->o->batch, &(SampleNoise){.seed = seed}, label);
        for (int step = 0; step <= early && done < all && !stopped(b); step++, done++) {
            int repeat = done - b->o->warmup;
            finish_work(b);
            if (repeat >= 0 && !b->o->runs) profiler_next(&b->profiler);
            double start = seconds_now(), before = state_seconds(b);
            device_range_push_number(b->device, SPAN_REPEAT, repeat);
            bool made = sampler_step(s);
            finish_work(b);
            device_range_pop(b->device, SPAN_REPEAT);
            if (!made) break;
            if (repeat < 0) continue;
            seconds[repeat] = seconds_now() - start;
            state[repeat] = state_seconds(b) - before;
        }
    }
    double bytes = finish_images(b) / sampler_steps(s);
    for (size_t i = 0; i < repeats; i++) state[i] += bytes, share[i] = state[i] / (seconds[i] + bytes);
    b->step = summary(seconds, b->o->repeats), b->state = summary(state, b->o->repeats);
    b->state_share = summary(share, b->o->repeats).median;
    free(seed), free(label), free(seconds), free(state), free(share);
}
/* Whole runs, the first of which is not counted. */
static Timing time_runs(Bench *b) {
    size_t n = (size_t)b->o->batch;
    int runs = b->o->runs;
    uint64_t *seed = dg_alloc(n * sizeof *seed);
    int *label = dg_alloc(n * sizeof *label);
    double *seconds = dg_alloc((size_t)runs * sizeof *seconds);
    for (size_t i = 0; i < n; i++) seed[i] = i;
    for (int i = -1; i < runs && !stopped(b); i++) {
        if (i >= 0) profiler_next(&b->profiler);
        double start = seconds_now();
        device_range_push_number(b->device, SPAN_REPEAT, i);
        sampler_begin(b->engine.sampler, b->o->batch, &(SampleNoise){.seed = seed}, label);
        while (!stopped(b) && sampler_step(b->engine.sampler)) {}
        finish_images(b);
        device_range_pop(b->device, SPAN_REPEAT);
        if (i >= 0) seconds[i] = seconds_now() - start;
    }
    Timing t = summary(seconds, runs);
    free(seed), free(label), free(seconds);
    return t;
}

/* ---- output --------------------------------------------------------------------------------------------------------------- */
static double anonymous_bytes(void) { /* of this process; 0 where /proc does not say */
    FILE *f = fopen("/proc/self/status", "r");
    double kib = 0;
    char line[256];
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "RssAnon: %lf", &kib) == 1) break;
    if (f) fclose(f);
    return kib * 1024;
}
static void print_timing(Text *json, const char *what, Timing t, double flops) {
    printf("%-14s %10.3f ms  (%.3f to %.3f)", what, t.median * 1e3, t.least * 1e3, t.most * 1e3);
    if (flops > 0) printf("  %9.2f GFLOP/s", flops / t.median * 1e-9);
    printf("\n");
    text_printf(json, ", \"%s\": {\"ms\": %.6f, \"least\": %.6f, \"most\": %.6f, \"processor\": %.6f, \"gflops\": %.3f}", what,
                t.median * 1e3, t.least * 1e3, t.most * 1e3, t.processor * 1e3, flops / t.median * 1e-9);
}
static void print_memory(Text *json, const char *what, const Exec *x) {
    printf("%-14s %10.1f MiB planned activations, %.1f MiB prepared weights\n", what, (double)x->g->arena_bytes / 1048576,
           (double)x->weight_bytes / 1048576);
    text_printf(json, ", \"%s\": {\"arena_bytes\": %zu, \"weight_bytes\": %zu}", what, x->g->arena_bytes, x->weight_bytes);
}
static void print_state_work(const Bench *b, Text *json) {
    const Timing *t = &b->state;
    if (!b->times) {
        printf("%-14s not measured: on device %s a call returns before its work is done\n", "state work", b->device->be->name);
        return;
    }
    printf("%-14s %10.3f ms  (%.3f to %.3f)  %.3g%% of a step: all but the networks\n", "state work", t->median * 1e3, t->least * 1e3,
           t->most * 1e3, b->state_share * 100);
    text_printf(json, ", \"state work\": {\"ms\": %.6f, \"least\": %.6f, \"most\": %.6f, \"share\": %.6f}", t->median * 1e3, t->least * 1e3,
                t->most * 1e3, b->state_share);
}
/* Times a network's call, which is FLOPs of all its images; a run has `calls` of it. */
static void measure_phase(Bench *b, Phases *p, const char *name, void (*call)(Bench *, const double *), double flops, int calls,
                          Text *json) {
    if (stopped(b)) return;
    Timing t = time_calls(b, call);
    if (stopped(b)) return;
    print_timing(json, name, t, flops);
    p->phase[p->count++] = (Phase){name, t.median, calls};
}
static void measure_predictor(Bench *b, Phases *p, const char *name, Predictor *of, int passes, int calls, Text *json) {
    b->predictor = of, b->passes = passes;
    measure_phase(b, p, name, call_predictor, graph_flops(of->net->graph) / of->passes * passes, calls, json);
}
static void measure_guide(Bench *b, Phases *p, const char *name, Guide *of, int calls, Text *json) {
    b->guide = of;
    measure_phase(b, p, name, call_guide, graph_flops(of->net->graph), calls, json);
}
/* What a run of a batch is of its phases, and the images a second that follow. */
static void print_phases(const Bench *b, const Phases *p, const SampleCounts *c, Text *json) {
    double run = 0;
    for (int i = 0; i < p->count; i++) run += p->phase[i].calls * p->phase[i].seconds;
    printf("%-16s %8s %14s %10s\n", "a run of", "calls", "seconds", "share");
    text_printf(json, ", \"phases\": {");
    for (int i = 0; i < p->count; i++) {
        const Phase *x = &p->phase[i];
        double seconds = x->calls * x->seconds;
        printf("  %-14s %8d %14.4g %9.2f%%\n", x->name, x->calls, seconds, 100 * seconds / run);
        text_printf(json, "%s\"%s\": {\"calls\": %d, \"seconds\": %.6g}", i ? ", " : "", x->name, x->calls, seconds);
    }
    int guided = b->engine.n.discriminator ? c->term[TERM_DISCRIMINATOR] : 0;
    printf("%-14s %10.4g /s   (%d steps: %d network calls, %d guide calls)\n", "images", b->o->batch / run, c->steps, c->network, guided);
    text_printf(json, "}, \"images_per_second\": %.6g, \"steps\": %d, \"guided_steps\": %d", b->o->batch / run, c->steps, guided);
}
static void print_memories(const SampleNetworks *n, Text *json) {
    if (n->network) print_memory(json, "network memory", n->network->net->exec);
    if (n->guiding) print_memory(json, "gnet memory", n->guiding->net->exec);
    if (n->discriminator) print_memory(json, "guide memory", n->discriminator->net->exec);
    if (n->classifier) print_memory(json, "classifier mem", n->classifier->net->exec);
    if (n->decoder) print_memory(json, "vae memory", n->decoder->net->exec);
}
/* Each network's call, and what a run is of them. */
static bool measure_calls(Bench *b, Text *json, Error *e) {
    const SampleNetworks *n = &b->engine.n;
    Phases p = {0};
    SampleCounts c = {0};
    int batch = b->o->batch;
    print_memories(n, json);
    if (b->engine.sampler && !sample_count(&b->sample, b->networks.score, &c, e)) return false;
    shares_print(b->device, n, &c, json);
    waves_print(n, &c, batch, json);
    int twice = c.term[TERM_CFG], evaluations = c.network - twice;
    if (n->network) measure_predictor(b, &p, "network call", n->network, 1, evaluations - twice, json);
    if (n->network && n->network->passes > 1) measure_predictor(b, &p, "two passes", n->network, 2, twice, json);
    if (n->guiding) measure_predictor(b, &p, "gnet call", n->guiding, 1, c.guiding, json);
    if (n->discriminator) measure_guide(b, &p, "guide call", n->discriminator, c.term[TERM_DISCRIMINATOR], json);
    if (n->classifier) measure_guide(b, &p, "classifier", n->classifier, c.term[TERM_CLASSIFIER], json);
    if (n->decoder) {
        int rows = n->decoder->rows;
        measure_phase(b, &p, "vae call", call_decoder, graph_flops(n->decoder->net->graph), (batch + rows - 1) / rows, json);
    }
    if (!b->engine.sampler || stopped(b)) return !stopped(b);
    bool plain = !n->guiding && !n->classifier && n->network->passes == 1; /* the same in every step, but for the window of the guide */
    double flops = (evaluations > c.steps ? 2 : 1) * graph_flops(n->network->net->graph) +
                   (n->discriminator ? graph_flops(n->discriminator->net->graph) : 0);
    time_steps(b);
    if (stopped(b)) return false;
    print_timing(json, n->discriminator ? "guided step" : "step", b->step, plain ? flops : 0);
    print_state_work(b, json);
    if (b->times) p.phase[p.count++] = (Phase){"state work", b->state.median, c.steps};
    print_phases(b, &p, &c, json);
    return true;
}
static bool measure(Bench *b, Text *json, Error *e) {
    const Engine *g = &b->engine;
    int batch = b->o->batch;
    preset_print(b->o->preset);
    printf("device %s, %s, batch %d", b->device->be->name, precision_name(b->device->precision), batch);
    if (b->fid) printf("\n");
    else printf(", %d repeats\n", b->o->repeats);
    text_printf(json, "{\"version\": \"%s\", \"device\": \"%s\", \"dtype\": \"%s\", \"batch\": %d", DG_VERSION, b->device->be->name,
                precision_name(b->device->precision), batch);
    if (b->fid) {
        FidBench f = {b->o, b->device, &b->networks, &b->engine, b->spans, &b->profiler, b->interrupt};
        if (!bench_fid(&f, json, e)) return false;
        text_printf(json, "}\n");
        return true;
    }
    if (!measure_calls(b, json, e)) return false;
    if (b->o->runs && g->sampler) {
        Timing run = time_runs(b);
        if (stopped(b)) return false;
        print_timing(json, "whole run", run, 0);
        printf("%-14s %10.4g /s   (measured, a run of %d steps)\n", "images", batch / run.median, sampler_steps(g->sampler));
        text_printf(json, ", \"run_images_per_second\": %.6g", batch / run.median);
    }
    profiler_end(&b->profiler, "repeats");
    double anonymous = anonymous_bytes();
    if (anonymous > 0) printf("%-14s %10.1f MiB of anonymous memory in use by the program\n", "process", anonymous / 1048576);
    text_printf(json, ", \"anonymous_bytes\": %.0f", anonymous);
    if (b->o->ops) {
        Ceilings c = ceilings_measure(b->device);
        ceilings_print(&c, b->device, json);
        if (g->n.network) op_table("network", g->n.network->net->exec, b->o->repeats, &c, json);
        if (g->n.decoder) op_table("vae", g->n.decoder->net->exec, b->o->repeats, &c, json);
        if (g->n.discriminator) op_table("guide", g->n.discriminator->net->exec, b->o->repeats, &c, json);
    }
    text_printf(json, "}\n");
    return true;
}
static bool save(const char *path, const Text *t, Error *e) {
    OutFile *f = out_open(path, e);
    if (!f) return false;
    if (out_write(f, t->text, t->len, e)) return out_finish(f, e);
    out_abandon(f);
    return false;
}
/* Without a discriminator its weights are 0, whatever the options say. */
static bool open_engine(Bench *b, Error *e) {
    const Networks *n = &b->networks;
    bool fuse = !b->o->device.no_fuse;
    size_t per_sample;
    if (n->score && n->score->facts.latent) device_for_latents(b->device, &b->o->device);
    Device *d = b->device;
    b->sample = b->o->sample, b->networks.vae_batch = b->o->vae_batch;
    if (!n->source[ROLE_EXTRACTOR].weights) b->sample.dg_weight_1st_order = b->sample.dg_weight_2nd_order = 0;
    if (n->source[ROLE_NETWORK].weights) {
        sample_resolve(&b->sample, score_sampler(n->score));
        if (!score_apply(n->score, &b->sample, e)) return false;
        if (!engine_new(&b->engine, d, n, &b->sample, b->o->batch, fuse, e)) return false;
        per_sample = b->engine.n.network->per_sample;
    } else if (!n->source[ROLE_EXTRACTOR].weights) {
        int rows = b->o->vae_batch < b->o->batch ? b->o->vae_batch : b->o->batch;
        b->engine = (Engine){.batch = b->o->batch};
        b->engine.n.decoder = decoder_new(d, n->source[ROLE_VAE].weights, n->state, rows, fuse, e);
        if (!b->engine.n.decoder) return false;
        per_sample = b->engine.n.decoder->net->per_sample;
    } else {
        b->engine = (Engine){.batch = b->o->batch};
        b->engine.n.discriminator = guide_new(d, n->source[ROLE_EXTRACTOR].weights, n->source[ROLE_DISCRIMINATOR].weights, b->o->batch,
                                              (GuideOptions){.fuse = fuse}, e);
        if (!b->engine.n.discriminator) return false;
        per_sample = b->engine.n.discriminator->per_sample;
    }
    b->x = b->device->be->alloc(b->device, (size_t)b->o->batch * per_sample * sizeof *b->x);
    if (!b->x) return dg_out_of_memory(e, "not enough memory on device %s for the input", b->device->be->name);
    uint64_t *seed = dg_alloc((size_t)b->o->batch * sizeof *seed);
    double *noise = dg_alloc((size_t)b->o->batch * per_sample * sizeof *noise);
    host_randn(NULL, noise, b->o->batch, per_sample, seed, &(uint32_t){0});
    b->device->be->upload(b->device, b->x, noise, (size_t)b->o->batch * per_sample * sizeof *noise);
    free(seed), free(noise);
    return true;
}
static bool check_trace(const Bench *b, Error *e) {
    const char *path[BENCH_INPUTS];
    bench_inputs(b->o, path);
    return trace_check(&b->trace, NULL, b->o->json, path, BENCH_INPUTS, e);
}
/* The device, and what records: the trace, or where ranges are the time of the work in them, what of a step is not networks. */
static bool open_device(Bench *b, int *code, Error *e) {
    if (!(b->device = device_from_options(&b->o->device, e))) return false;
    if (!profiler_check(&b->o->tracing, b->device, e)) return *code = EXIT_USAGE, false;
    trace_attach(&b->trace, b->device);
    b->times = b->device->be->mark == host_mark;
    b->spans = b->device->spans = b->trace.spans || !(b->times || b->fid) ? b->trace.spans : spans_new(0);
    b->profiler = (Profiler){.device = b->device, .batches = b->o->tracing.profile};
    return true;
}
static int run_bench(Bench *b, Error *e) {
    Text json = {0};
    int code = EXIT_FAILED;
    if ((b->o->json && !out_check(b->o->json, e)) || !trace_open(&b->trace, e)) return code;
    spans_begin(b->trace.spans, SPAN_PREPARE, -1);
    bool ready = bench_open_networks(&b->networks, b->o, e) && open_device(b, &code, e) && open_engine(b, e);
    spans_end(b->trace.spans, SPAN_PREPARE);
    if (!ready && e->out_of_memory && b->o->batch > 1) dg_error_context(e, "--batch %d is too much", b->o->batch);
    int results = b->o->output ? divert_output() : -1; /* only text may have more in it */
    if (ready) device_range_push(b->device, SPAN_RUN);
    bool ok = ready && measure(b, &json, e);
    restore_output(results);
    if (ok && b->o->output) bench_print(&json, b->o->output);
    if (ready) device_range_pop(b->device, SPAN_RUN);
    if (!ok && stopped(b)) {
        dg_error(e, "interrupted before all was measured");
        code = EXIT_INTERRUPTED;
    } else if (ok && (!b->o->json || save(b->o->json, &json, e))) code = EXIT_DONE;
    text_free(&json);
    return code;
}
static int bench(const Args *a, Error *e) {
    BenchOptions *o = a->options;
    Bench b = {.o = o};
    sample_options_given(&o->sample, a);
    b.fid = a->operands > 0;
    if (b.fid && strcmp(a->operand[0], "fid")) return dg_error(e, "bench: \"%s\" is not fid", a->operand[0]), EXIT_USAGE;
    if (!b.fid && (o->images || o->inception)) return dg_error(e, "--%s is of bench fid", o->images ? "images" : "inception"), EXIT_USAGE;
    if (!check_usage(o, e)) return EXIT_USAGE;
    if (o->tracing.path) b.interrupt = interrupt_begin(); /* before there are other threads */
    b.trace = trace_begin(&o->tracing, "bench");
    int code = check_trace(&b, e) ? run_bench(&b, e) : EXIT_USAGE;
    if (b.x) b.device->be->release(b.device, b.x);
    engine_free(&b.engine);
    device_close(b.device);
    networks_close(&b.networks);
    if (b.spans != b.trace.spans) spans_free(b.spans);
    code = trace_finish(&b.trace, code, e);
    if (b.interrupt) interrupt_end(b.interrupt);
    return code;
}
const Command command_bench = {.name = "bench",
                               .operands = "[fid]",
                               .operands_max = 1,
                               .summary = "measures this machine",
                               .details = details,
                               .options_bytes = sizeof(BenchOptions),
                               .defaults = defaults,
                               .option = option,
                               .options = sizeof option / sizeof *option,
                               .preset = sample_presets,
                               .run = bench};
