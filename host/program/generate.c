/* generate.c -- the command `generate`: from options to images in a folder, a grid, or both. */
#include "program/generate_options.h"
#include "program/grid_file.h"
#include "program/output.h"
#include "program/pipeline.h"
#include "program/plan_print.h"
#include "program/shares.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

typedef struct {
    const Args *args;
    GenerateOptions *o;   /* of args, completed by generate_check */
    SampleOptions sample; /* of o, resolved */
    Interrupt *interrupt;
    SeedList wanted;
    Networks networks;
    Hashes *hashes;
    char hex[ROLES][SHA256_HEX]; /* once the hashes are done */
    RunMeasure *measure;         /* NULL: nothing is measured */
    SeedList left;               /* without images: those that are not measured yet */
    bool quiet;                  /* standard output is for results alone, or somebody else's */
    Measured *measured;          /* where the result goes; NULL: it is printed */
    Device *device;
    Engine engine;
    Output *output;    /* NULL: a grid alone */
    GridFile *picture; /* or NULL */
    Writer *writer;    /* while images are made for the output */
    char started[32];
    size_t made; /* images on the disk, or in the grid alone */
    Pipeline pipeline;
    Text classes; /* the numbers of those that were given by name */
    Trace trace;
} Run;

/* ---- preparing ------------------------------------------------------------------------------------------------------------------ */
static bool choose_class(Run *r, Error *e) {
    if (!class_rule_parse(&r->pipeline.class_rule, &r->networks, r->o->class_name, e)) return false;
    if (!r->pipeline.class_rule.imagenet) return true;
    class_rule_print(&r->pipeline.class_rule, &r->classes);
    r->o->class_name = r->classes.text; /* in the manifest a class is the same by name and by number */
    return true;
}
/* What was not said about sampling, now that the network is known. The manifest has the numbers in the options. */
static bool settle_sampling(Run *r, Error *e) {
    SampleOptions *o = &r->o->sample;
    SampleCounts unused;
    r->sample = *o;
    sample_resolve(&r->sample, score_sampler(r->networks.score));
    o->num_steps = r->sample.num_steps;
    o->time_min = r->sample.time_min, o->time_max = r->sample.time_max, o->dg_interval = NULL;
    return score_apply(r->networks.score, &r->sample, e) && sample_count(&r->sample, r->networks.score, &unused, e);
}
static void describe(const Run *r) {
    const Networks *n = &r->networks;
    preset_print(r->o->preset);
    fputs("network ", stdout);
    print_text(stdout, weights_name(n->source[ROLE_NETWORK].weights));
    printf(": %dx%d, ", n->state.h, n->state.w);
    if (n->source[ROLE_VAE].weights) printf("decoded to %dx%d, ", n->picture.h, n->picture.w);
    if (n->score->facts.classes) printf("%d classes; ", n->score->facts.classes);
    else printf("unconditional; ");
    plan_print_sampling(&r->sample, n->score);
    printf("device %s, %s\n", r->device->be->name, precision_name(r->device->precision));
    fflush(stdout);
}
static bool dry_run(const Run *r, Error *e) {
    Text t = {0};
    for (int i = 0; i < r->args->command->options; i++) {
        const Option *o = &r->args->command->option[i];
        text_printf(&t, "  --%s = ", o->name);
        option_json(o, r->o, &t);
        text_printf(&t, "\n");
    }
    printf("options:\n");
    print_lines(stdout, t.text);
    text_free(&t);
    printf("processor threads: %d\n", threads_from_options(&r->o->device));
    return plan_print_run(&r->networks, &r->sample, r->device->precision, r->o->batch, !r->o->device.no_fuse, e);
}
static bool open_grid(Run *r, int *code, Error *e) {
    const GenerateOptions *o = r->o;
    const char *input[ROLES];
    Shape s = r->networks.picture;
    int n = (int)r->wanted.count, columns = o->grid_columns ? o->grid_columns : (int)ceil(sqrt(n));
    ImageGrid g;
    if (!o->grid) return true;
    generate_paths(o, input);
    if (!grid_layout(&g, n, columns < n ? columns : n, s.h, s.w, s.c, o->grid_scale, e))
        return *code = EXIT_USAGE, dg_error_context(e, "--grid: fewer seeds, or a smaller --grid-scale");
    if (!output_file_check("grid", "picture", o->grid, o->outdir, input, ROLES, e)) return *code = EXIT_USAGE, false;
    return (r->picture = grid_file_open(o->grid, &g, e)) != NULL;
}
static bool open_trace(Run *r, int *code, Error *e) {
    const char *input[ROLES];
    generate_paths(r->o, input);
    if (!trace_check(&r->trace, r->o->outdir, r->o->grid, input, ROLES, e)) return *code = EXIT_USAGE, false;
    trace_attach(&r->trace, r->device);
    return trace_open(&r->trace, e);
}
static Outcome open_output(Run *r, Error *e) {
    const GenerateOptions *o = r->o;
    Shape s = o->save_latents ? r->networks.state : r->networks.picture;
    const char *input[ROLES];
    generate_paths(o, input);
    OutputOptions q = {.store = {.dir = o->outdir,
                                 .format = (ImageFormat)o->format,
                                 .keys = (StoreKeys)o->npz_keys,
                                 .latents = o->save_latents,
                                 .subdirs = o->subdirs,
                                 .height = s.h,
                                 .width = s.w,
                                 .channels = s.c,
                                 .classes = r->networks.classes,
                                 .interrupt = r->interrupt},
                       .args = r->args,
                       .device = r->device,
                       .networks = &r->networks,
                       .wanted = &r->wanted,
                       .seeds = o->seeds,
                       .input = input,
                       .inputs = ROLES,
                       .overwrite = o->overwrite,
                       .read_back = o->grid != NULL};
    if (!o->outdir) return OUTCOME_DONE;
    Outcome outcome = output_open(&r->output, &q, e);
    if (outcome != OUTCOME_DONE) return outcome;
    size_t todo = output_todo(r->output)->count;
    if (todo < r->wanted.count && !r->quiet)
        printf("%zu of %zu images are there already\n", r->wanted.count - todo, r->wanted.count), fflush(stdout);
    return OUTCOME_DONE;
}
static const SeedList *todo(const Run *r) { return r->output ? output_todo(r->output) : r->o->measure.no_images ? &r->left : &r->wanted; }
/* The engine at the batch asked for; where a device has not the memory, at half of it, and so on. */
static bool open_engine(Run *r, Error *e) {
    size_t left = todo(r)->count;
    int wanted = left < (size_t)r->o->batch ? (int)left : r->o->batch, batch = wanted;
    Error first = {""};
    while (!engine_new(&r->engine, r->device, &r->networks, &r->sample, batch, !r->o->device.no_fuse, e)) {
        if (!e->out_of_memory) return false;
        if (batch == 1) return dg_error_context(e, "one image at a time is too much");
        if (!first.text[0]) first = *e;
        batch /= 2;
        *e = (Error){""};
    }
    if (batch < wanted)
        fprintf(r->quiet ? stderr : stdout, "%s: going on with --batch %d instead of %d (the images are the same)\n", first.text, batch,
                wanted);
    return true;
}
/* Who runs the convolutions, where that was asked. */
static bool describe_shares(const Run *r, Error *e) {
    SampleCounts c;
    if (!sample_count(&r->sample, r->networks.score, &c, e)) return false;
    shares_print(r->device, &r->engine.n, &c, NULL);
    fflush(stdout);
    return true;
}
static RunFacts facts(const Run *r, bool complete) {
    const Pipeline *p = &r->pipeline;
    return (RunFacts){.args = r->args,
                      .device = r->device,
                      .networks = &r->networks,
                      .started = r->started,
                      .wanted = r->wanted.count,
                      .present = r->wanted.count - todo(r)->count,
                      .made = r->made,
                      .batch = r->engine.batch,
                      .network_calls = p->counts.network,
                      .guided_calls = p->counts.term[TERM_DISCRIMINATOR],
                      .seconds = p->progress.start > 0 ? seconds_now() - p->progress.start : 0,
                      .complete = complete};
}
/* Waits for the hashes, where they are not done yet. */
static bool settle_hashes(Run *r, Error *e) {
    Hashes *h = r->hashes;
    r->hashes = NULL;
    return !h || hashes_finish(h, r->hex, e);
}
/* Says whether these weights made what is in the folder. */
static Outcome settle_output(Run *r, Error *e) {
    if (!settle_hashes(r, e)) return OUTCOME_FAILED;
    if (!r->output) return OUTCOME_DONE;
    RunFacts f = facts(r, false);
    return output_settle(r->output, r->hex, &f, e);
}
/* The features' network, the reference, and what a file of statistics holds already. */
static Outcome open_measure(Run *r, Error *e) {
    const char *images = r->o->outdir ? r->o->outdir : r->o->measure.stats;
    int batch = r->wanted.count < (size_t)r->o->batch ? (int)r->wanted.count : r->o->batch;
    Text made = {0};
    if (!r->measure) return OUTCOME_DONE;
    if (!settle_hashes(r, e)) return OUTCOME_FAILED;
    manifest_images(&made, r->args, r->device, &r->networks, r->hex);
    Outcome outcome = run_measure_begin(r->measure, r->device, r->networks.picture, made.text, images, batch, e);
    text_free(&made);
    if (outcome == OUTCOME_DONE && r->o->measure.no_images) {
        seeds_free(&r->left);
        r->left = seeds_without(&r->wanted, run_measure_held(r->measure));
    }
    return outcome;
}
/* Everything up to the first step; *code is the exit code of a failure. */
static Outcome prepare(Run *r, int *code, Error *e) {
    const GenerateOptions *o = r->o;
    time_t now = time(NULL);
    struct tm utc;
    strftime(r->started, sizeof r->started, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
    const char *path[ROLES];
    generate_read_paths(o, path);
    ConvertOptions c = checkpoint_options(&o->checkpoint);
    c.interrupt = r->interrupt;
    if (!networks_open(&r->networks, path, &c, sample_discriminates(&o->sample), e))
        return interrupted(r->interrupt) ? OUTCOME_INTERRUPTED : OUTCOME_FAILED;
    r->networks.vae_batch = o->vae_batch;
    r->hashes = hashes_start(&r->networks, r->trace.spans);
    if (!settle_sampling(r, e) || !choose_class(r, e)) return *code = EXIT_USAGE, OUTCOME_FAILED;
    if (!(r->device = device_from_options(&o->device, e))) return OUTCOME_FAILED;
    if (!profiler_check(&o->tracing, r->device, e)) return *code = EXIT_USAGE, OUTCOME_FAILED;
    if (r->networks.score->facts.latent) device_for_latents(r->device, &o->device);
    if (!r->quiet) describe(r);
    if (o->dry_run) return dry_run(r, e) ? OUTCOME_DONE : OUTCOME_FAILED;
    if (!generate_check_images(o, &r->networks, e) || !open_trace(r, code, e) || !open_grid(r, code, e)) return OUTCOME_FAILED;
    Outcome outcome = open_output(r, e);
    r->left = seeds_copy(&r->wanted);
    if (outcome == OUTCOME_DONE) outcome = open_measure(r, e);
    if (outcome != OUTCOME_DONE) return outcome;
    if (todo(r)->count && !open_engine(r, e)) return OUTCOME_FAILED;
    if (todo(r)->count && !r->quiet && !describe_shares(r, e)) return OUTCOME_FAILED;
    return settle_output(r, e);
}

/* ---- sampling, and the end ------------------------------------------------------------------------------------------------------ */
static void tick(void *run) {
    Run *r = run;
    if (!r->writer) return;
    r->made = writer_written(r->writer);
    RunFacts f = facts(r, false);
    output_update(r->output, &f);
}
static int bad_images(const Run *r, Error *e) {
    const SeedList *bad = &r->pipeline.bad;
    if (!bad->count) return EXIT_DONE;
    Text t = {0};
    seeds_print(&t, bad, 8);
    bool full = r->device->precision.act != DG_F16 && r->device->precision.act != DG_BF16 && !r->device->precision.tf32;
    dg_error(e, "%zu images have values that are not finite and were not written (seed%s %s)%s: try %sother sampler options", bad->count,
             bad->count > 1 ? "s" : "", t.text, r->pipeline.hopeless ? "; as none was finite, no more were made" : "",
             full ? "" : "--dtype fp32, or ");
    text_free(&t);
    return EXIT_FAILED;
}
static Outcome sample(Run *r, Error *e) {
    Pipeline *p = &r->pipeline;
    GridPlaces places = {.wanted = &r->wanted};
    p->sampler = r->engine.sampler, p->batch = r->engine.batch, p->todo = todo(r), p->classes = r->networks.classes;
    p->latents = r->o->save_latents, p->interrupt = r->interrupt;
    p->before = r->wanted.count - p->todo->count;
    p->tick = tick, p->context = r;
    p->profiler = (Profiler){.device = r->device, .batches = r->o->tracing.profile, .skip = 1};
    if (r->picture) places.grid = grid_file_grid(r->picture), p->sink[p->sinks++] = sink_grid(&places);
    if (r->output && p->todo->count)
        r->writer = writer_start(output_store(r->output), r->trace.spans), p->sink[p->sinks++] = sink_writer(r->writer);
    if (r->measure) p->features = run_measure_features(r->measure), p->sink[p->sinks++] = sink_measure(r->measure);
    progress_begin(&p->progress, p->todo->count);
    p->progress.quiet = r->o->measure.output != EVAL_TEXT && !r->measured;
    Outcome outcome = p->todo->count ? pipeline_run(p, e) : OUTCOME_DONE;
    if (p->hopeless) bad_images(r, e);
    r->made = p->shown;
    if (r->writer) {
        Error writing = {0};
        if (!writer_finish(r->writer, &r->made, &writing)) *e = writing, outcome = OUTCOME_FAILED;
        r->writer = NULL;
    }
    progress_end(&p->progress, r->made);
    return outcome;
}
/* Those that were there already are read back; the others were set when they were made. */
static bool finish_grid(Run *r, Error *e) {
    if (!r->picture) return true;
    const SeedList *made = todo(r);
    uint8_t *image = dg_alloc(r->output ? store_image_bytes(output_store(r->output)) : 1);
    bool ok = true;
    for (size_t i = 0, next = 0; i < r->wanted.count && ok; i++) {
        uint64_t seed = seeds_at(&r->wanted, i);
        if (next < made->count && seeds_at(made, next) == seed) next++;
        else if ((ok = store_get(output_store(r->output), seed, image, e))) grid_set(grid_file_grid(r->picture), (int)i, image);
    }
    free(image);
    GridFile *f = r->picture;
    if (ok) r->picture = NULL, ok = grid_file_finish(f, e);
    return ok;
}
/* Images that were in the folder and not in the statistics. The folder is locked. */
static bool measure_stored(Run *r, Error *e) {
    size_t most = (size_t)features_batch(run_measure_features(r->measure));
    SeedList missing = run_measure_missing(r->measure), good = seeds_without(&missing, &r->pipeline.bad);
    size_t bytes = r->output ? store_image_bytes(output_store(r->output)) : 1;
    uint8_t *pixels = dg_alloc(most * bytes);
    uint64_t *seed = dg_alloc(most * sizeof *seed);
    bool ok = true;
    for (size_t first = 0; first < good.count && ok; first += most) {
        size_t n = good.count - first < most ? good.count - first : most;
        for (size_t i = 0; i < n && ok; i++)
            seed[i] = seeds_at(&good, first + i), ok = store_get(output_store(r->output), seed[i], pixels + i * bytes, e);
        ok = ok && run_measure_pixels(r->measure, (int)n, seed, pixels, e);
        if (ok && interrupted(r->interrupt)) break;
    }
    free(pixels), free(seed);
    seeds_free(&missing), seeds_free(&good);
    return ok;
}
/* What was measured; the result, where all images are. */
static Outcome finish_measure(Run *r, Outcome outcome, Error *e) {
    bool done = outcome == OUTCOME_DONE;
    Error own = {""};
    if (!r->measure) return outcome;
    bool ok = run_measure_finish(r->measure, false, &own);
    if (ok && done && r->output) ok = measure_stored(r, &own);
    if (ok && done && interrupted(r->interrupt)) done = false, outcome = OUTCOME_INTERRUPTED;
    bool enough = r->pipeline.bad.count + 2 <= r->wanted.count; /* else it is said of those that are not finite */
    ok = ok && run_measure_finish(r->measure, done && enough, &own);
    if (!ok && outcome != OUTCOME_FAILED) *e = own, outcome = OUTCOME_FAILED;
    if (outcome != OUTCOME_DONE || !enough) return outcome;
    if (!r->measured) {
        run_measure_print(r->measure);
        return outcome;
    }
    r->measured->result = *run_measure_result(r->measure, &r->measured->images);
    r->measured->seconds = r->pipeline.progress.start > 0 ? seconds_now() - r->pipeline.progress.start : 0;
    return outcome;
}
static int stop(const Run *r, Error *e) {
    const char *where = r->o->outdir ? r->o->outdir : r->o->grid;
    size_t there = r->wanted.count - todo(r)->count + r->made;
    if (r->o->measure.no_images && access(r->o->measure.stats, F_OK) != 0) dg_error(e, "interrupted: nothing was measured yet");
    else if (r->o->measure.no_images)
        dg_error(e, "interrupted: the statistics so far are in %s, the same command goes on from them", r->o->measure.stats);
    else if (!r->output) dg_error(e, "interrupted: %s was not written", where);
    else dg_error(e, "interrupted: %zu of %zu images are in %s, the same command makes the rest", there, r->wanted.count, where);
    return EXIT_INTERRUPTED;
}
/* After sampling, however it ended: the record, the merged npz file, the grid. Returns the exit code. */
static int finish(Run *r, Outcome outcome, Error *e) {
    if (r->output) {
        bool done = outcome == OUTCOME_DONE;
        RunFacts f = facts(r, done && !r->pipeline.bad.count);
        Error recording = {0};
        Outcome recorded = output_finish(r->output, &f, done, &recording);
        if (outcome == OUTCOME_DONE || (outcome == OUTCOME_INTERRUPTED && recorded == OUTCOME_FAILED)) outcome = recorded, *e = recording;
    }
    outcome = finish_measure(r, outcome, e);
    if (outcome == OUTCOME_INTERRUPTED) return stop(r, e);
    if (outcome == OUTCOME_DONE && !finish_grid(r, e)) return EXIT_FAILED;
    if (outcome == OUTCOME_FAILED && r->made && r->output) {
        Error cause = *e;
        dg_error(e, "%s (%zu images were written before; the same command makes the rest)", cause.text, r->made);
    }
    if (outcome == OUTCOME_FAILED) return EXIT_FAILED;
    if (r->output && !todo(r)->count && !r->quiet) {
        printf("all %zu images are in ", r->wanted.count);
        print_text(stdout, r->o->outdir);
        putchar('\n');
    }
    return bad_images(r, e);
}
static void cleanup(Run *r) {
    settle_hashes(r, NULL);
    run_measure_close(r->measure);
    grid_file_abandon(r->picture);
    output_close(r->output);
    engine_free(&r->engine);
    device_close(r->device);
    networks_close(&r->networks);
    seeds_free(&r->wanted), seeds_free(&r->left);
    free(r->o->stats);
    seeds_free(&r->pipeline.bad);
    class_rule_free(&r->pipeline.class_rule);
    text_free(&r->classes);
}
static bool new_measure(Run *r, Error *e) {
    const GenerateOptions *o = r->o;
    MeasureRun m = {.o = o->measure,
                    .own = !o->network,
                    .device = &o->device,
                    .checkpoint = &o->checkpoint,
                    .wanted = &r->wanted,
                    .interrupt = r->interrupt,
                    .anew = o->overwrite,
                    .files = o->outdir && o->format == FORMAT_PNG,
                    .subdirs = o->subdirs,
                    .quiet = r->measured != NULL};
    return !o->measure.metrics || (r->measure = run_measure_new(&m, e)) != NULL;
}
static int make_images(Run *r, Error *e) {
    device_range_push(r->device, SPAN_RUN);
    Outcome outcome = sample(r, e);
    device_range_pop(r->device, SPAN_RUN);
    spans_begin(r->trace.spans, SPAN_FINISH, -1);
    int code = finish(r, outcome, e);
    spans_end(r->trace.spans, SPAN_FINISH);
    return code;
}
static int run(const Args *a, Measured *measured, Error *e) {
    Run r = {.args = a, .o = a->options, .measured = measured};
    int code = EXIT_USAGE;
    if (generate_check(r.o, a, &r.wanted, e)) {
        r.interrupt = interrupt_begin();
        r.trace = trace_begin(&r.o->tracing, "generate");
        r.quiet = measured || r.o->measure.output != EVAL_TEXT;
        bool fits = new_measure(&r, e);
        if (fits) code = EXIT_FAILED;
        spans_begin(r.trace.spans, SPAN_PREPARE, -1);
        Outcome outcome = fits ? prepare(&r, &code, e) : OUTCOME_FAILED;
        spans_end(r.trace.spans, SPAN_PREPARE);
        if (outcome == OUTCOME_DONE) code = r.o->dry_run ? EXIT_DONE : make_images(&r, e);
        else if (outcome == OUTCOME_INTERRUPTED) {
            dg_error(e, "interrupted before the first image was made");
            code = EXIT_INTERRUPTED;
        }
    }
    cleanup(&r);
    code = trace_finish(&r.trace, code, e);
    if (r.interrupt) interrupt_end(r.interrupt);
    return code;
}
int generate_run(const Args *a, Error *e) { return run(a, NULL, e); }
int generate_measure(const Args *a, Measured *out, Error *e) { return run(a, out, e); }
