/* generate.c -- the command `generate`: from options to images in a folder, a grid, or both. */
#include "program/generate_options.h"
#include "program/grid_file.h"
#include "program/output.h"
#include "program/pipeline.h"
#include "program/plan_print.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char DEFAULT_OUTDIR[] = "out";

typedef struct {
    const Args *args;
    GenerateOptions *o; /* of args, completed by check_usage */
    Interrupt *interrupt;
    SeedList wanted;
    Networks networks;
    Hashes *hashes;
    Device *device;
    Engine engine;
    Output *output;    /* NULL: a grid alone */
    GridFile *picture; /* or NULL */
    char started[32];
    size_t made; /* images on the disk, or in the grid alone */
    Pipeline pipeline;
} Run;

/* ---- what can be wrong with the options before any file is opened --------------------------------------------------------------- */
static bool ablation_given(const Args *a) {
    return args_given(a, "solver") || args_given(a, "disc") || args_given(a, "schedule") || args_given(a, "scaling");
}
static bool check_guidance(GenerateOptions *o, const Args *a, Error *e) {
    bool own = !o->network || o->extractor, weights = sample_guided(&o->sample);
    o->sample.ablation = ablation_given(a);
    if (!o->extractor != !o->discriminator)
        return dg_error(e, "--%s is missing: extractor and discriminator go together", o->extractor ? "discriminator" : "extractor");
    if (!own && weights && (args_given(a, "dg_weight_1st_order") || args_given(a, "dg_weight_2nd_order") || o->sample.boosting))
        return dg_error(e, "guidance of --network %s needs --extractor and --discriminator too (or --dg_weight_1st_order 0)", o->network);
    if (own && weights && o->sample.ablation)
        return dg_error(e, "--solver, --disc, --schedule and --scaling work without guidance only: add --dg_weight_1st_order 0");
    if (!own || !weights) o->sample.dg_weight_1st_order = o->sample.dg_weight_2nd_order = 0;
    return true;
}
static bool check_files(GenerateOptions *o, const Args *a, Error *e) {
    if (o->subdirs && o->format == FORMAT_NPZ) return dg_error(e, "--subdirs: only PNG files have them, not --format npz");
    if (o->format != FORMAT_NPZ && (o->save_latents || args_given(a, "npz-keys")))
        return dg_error(e, "--%s: only npz files have them: add --format npz", o->save_latents ? "save-latents" : "npz-keys");
    if (o->save_latents && args_given(a, "npz-keys") && o->npz_keys != STORE_KEYS_DG)
        return dg_error(e, "--save-latents: floats are stored as samples and label, which are --npz-keys dg");
    if (o->save_latents && o->grid) return dg_error(e, "--grid shows pixels, --save-latents stores something else: leave one of them out");
    if (o->save_latents) o->npz_keys = STORE_KEYS_DG;
    if (!o->outdir && !o->grid) o->outdir = DEFAULT_OUTDIR;
    if (!o->outdir && (o->subdirs || o->overwrite || args_given(a, "format")))
        return dg_error(e, "--%s needs --outdir", o->subdirs ? "subdirs" : o->overwrite ? "overwrite" : "format");
    return true;
}
static bool check_usage(Run *r, Error *e) {
    GenerateOptions *o = r->o;
    if (!check_guidance(o, r->args, e) || !check_files(o, r->args, e)) return false;
    if (!sample_check(&o->sample, e) || !seeds_parse(o->seeds, &r->wanted, e)) return false;
    if (o->grid && r->wanted.count > GRID_MAX_TILES)
        return dg_error(e, "--grid: %zu images, a grid shows at most %d", r->wanted.count, GRID_MAX_TILES);
    return true;
}
static bool choose_class(Run *r, Error *e) {
    const char *name = r->o->class_name;
    int *rule = &r->pipeline.class_rule;
    *rule = CLASS_SEEDED;
    if (!strcmp(name, "seeded")) return true;
    if (strcmp(name, "balanced")) return networks_class(&r->networks, name, rule, e);
    *rule = CLASS_BALANCED;
    return true;
}
/* Whether the files that are asked for can hold the network's images. */
static bool check_images(const Run *r, Error *e) {
    const NetworkConfig *c = &r->networks.config;
    const GenerateOptions *o = r->o;
    bool png = o->grid || (o->outdir && o->format == FORMAT_PNG);
    if (png && !image_png_available(e)) return false;
    if (png && !image_fits_png(c->img_resolution, c->img_resolution, c->img_channels, e)) return dg_error_context(e, "the images");
    if (c->img_channels == 4 && !o->save_latents)
        printf("the images have 4 channels: where they are latents, --format npz --save-latents stores them as they are, not as 8 bits\n");
    return true;
}

/* ---- preparing ------------------------------------------------------------------------------------------------------------------ */
static void describe(const Run *r) {
    const NetworkConfig *c = &r->networks.config;
    const SampleOptions *s = &r->o->sample;
    fputs("network ", stdout);
    print_text(stdout, weights_name(r->networks.source[ROLE_NETWORK].weights));
    printf(": %dx%d, ", c->img_resolution, c->img_resolution);
    if (c->label_dim) printf("%d classes; ", c->label_dim);
    else printf("unconditional; ");
    if (!sample_guided(s)) printf("not guided; ");
    else printf("guided, weights %g and %g; ", s->dg_weight_1st_order, s->dg_weight_2nd_order);
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
    return plan_print_run(&r->networks, &r->o->sample, r->device->precision, r->o->batch, !r->o->device.no_fuse, e);
}
static bool open_grid(Run *r, int *code, Error *e) {
    const GenerateOptions *o = r->o;
    const NetworkConfig *c = &r->networks.config;
    const char *const input[ROLES] = {o->network, o->extractor, o->discriminator};
    int n = (int)r->wanted.count, columns = o->grid_columns ? o->grid_columns : (int)ceil(sqrt(n));
    Grid g;
    if (!o->grid) return true;
    if (!grid_layout(&g, n, columns < n ? columns : n, c->img_resolution, c->img_resolution, c->img_channels, o->grid_scale, e))
        return *code = EXIT_USAGE, dg_error_context(e, "--grid: fewer seeds, or a smaller --grid-scale");
    if (!grid_file_check(o->grid, o->outdir, input, ROLES, e)) return *code = EXIT_USAGE, false;
    return (r->picture = grid_file_open(o->grid, &g, e)) != NULL;
}
static Outcome open_output(Run *r, Error *e) {
    const NetworkConfig *c = &r->networks.config;
    const GenerateOptions *o = r->o;
    OutputOptions q = {.store = {.dir = o->outdir,
                                 .format = (ImageFormat)o->format,
                                 .keys = (StoreKeys)o->npz_keys,
                                 .latents = o->save_latents,
                                 .subdirs = o->subdirs,
                                 .height = c->img_resolution,
                                 .width = c->img_resolution,
                                 .channels = c->img_channels,
                                 .classes = c->label_dim,
                                 .interrupt = r->interrupt},
                       .args = r->args,
                       .device = r->device,
                       .networks = &r->networks,
                       .wanted = &r->wanted,
                       .seeds = o->seeds,
                       .overwrite = o->overwrite,
                       .read_back = o->grid != NULL};
    if (!o->outdir) return OUTCOME_DONE;
    Outcome outcome = output_open(&r->output, &q, e);
    if (outcome != OUTCOME_DONE) return outcome;
    size_t todo = output_todo(r->output)->count;
    if (todo < r->wanted.count) printf("%zu of %zu images are there already\n", r->wanted.count - todo, r->wanted.count), fflush(stdout);
    return OUTCOME_DONE;
}
static const SeedList *todo(const Run *r) { return r->output ? output_todo(r->output) : &r->wanted; }
/* The engine at the batch asked for; where a device has not the memory, at half of it, and so on. */
static bool open_engine(Run *r, Error *e) {
    size_t left = todo(r)->count;
    int wanted = left < (size_t)r->o->batch ? (int)left : r->o->batch, batch = wanted;
    Error first = {""};
    while (!engine_new(&r->engine, r->device, &r->networks, &r->o->sample, batch, !r->o->device.no_fuse, e)) {
        if (!e->out_of_memory) return false;
        if (batch == 1) return dg_error_context(e, "one image at a time is too much");
        if (!first.text[0]) first = *e;
        batch /= 2;
        *e = (Error){""};
    }
    if (batch < wanted) printf("%s: going on with --batch %d instead of %d (the images are the same)\n", first.text, batch, wanted);
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
                      .network_calls = p->network_calls,
                      .guided_calls = p->guided_calls,
                      .seconds = p->progress.start > 0 ? seconds_now() - p->progress.start : 0,
                      .complete = complete};
}
/* Waits for the hashes; says whether these weights made what is in the folder. */
static Outcome settle_output(Run *r, Error *e) {
    char hex[ROLES][SHA256_HEX];
    Hashes *h = r->hashes;
    r->hashes = NULL;
    if (!hashes_finish(h, hex, e)) return OUTCOME_FAILED;
    if (!r->output) return OUTCOME_DONE;
    RunFacts f = facts(r, false);
    return output_settle(r->output, hex, &f, e);
}
/* Everything up to the first step; *code is the exit code of a failure. */
static Outcome prepare(Run *r, int *code, Error *e) {
    const GenerateOptions *o = r->o;
    time_t now = time(NULL);
    struct tm utc;
    strftime(r->started, sizeof r->started, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
    const char *const path[ROLES] = {o->network, o->extractor, o->discriminator};
    ConvertOptions c = checkpoint_options(&o->checkpoint);
    c.interrupt = r->interrupt;
    if (!networks_open(&r->networks, path, &c, sample_guided(&o->sample), e))
        return interrupted(r->interrupt) ? OUTCOME_INTERRUPTED : OUTCOME_FAILED;
    r->hashes = hashes_start(&r->networks);
    if (!choose_class(r, e)) return *code = EXIT_USAGE, OUTCOME_FAILED;
    if (!(r->device = device_from_options(&o->device, e))) return OUTCOME_FAILED;
    describe(r);
    if (o->dry_run) return dry_run(r, e) ? OUTCOME_DONE : OUTCOME_FAILED;
    if (!check_images(r, e) || !open_grid(r, code, e)) return OUTCOME_FAILED;
    Outcome outcome = open_output(r, e);
    if (outcome != OUTCOME_DONE) return outcome;
    if (todo(r)->count && !open_engine(r, e)) return OUTCOME_FAILED;
    return settle_output(r, e);
}

/* ---- sampling, and the end ------------------------------------------------------------------------------------------------------ */
static void tick(void *run) {
    Run *r = run;
    if (!r->output || !r->pipeline.writer) return;
    r->made = writer_written(r->pipeline.writer);
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
    p->engine = &r->engine, p->config = &r->networks.config, p->todo = todo(r), p->wanted = &r->wanted;
    p->latents = r->o->save_latents, p->interrupt = r->interrupt;
    p->grid = r->picture ? grid_file_grid(r->picture) : NULL;
    p->tick = tick, p->context = r;
    if (r->output && p->todo->count) p->writer = writer_start(output_store(r->output));
    progress_begin(&p->progress, p->todo->count);
    Outcome outcome = p->todo->count ? pipeline_run(p, e) : OUTCOME_DONE;
    if (p->hopeless) bad_images(r, e);
    r->made = p->shown;
    if (p->writer) {
        Error writing = {0};
        if (!writer_finish(p->writer, &r->made, &writing)) *e = writing, outcome = OUTCOME_FAILED;
        p->writer = NULL;
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
static int stop(const Run *r, Error *e) {
    const char *where = r->o->outdir ? r->o->outdir : r->o->grid;
    size_t there = r->wanted.count - todo(r)->count + r->made;
    if (!r->output) dg_error(e, "interrupted: %s was not written", where);
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
    if (outcome == OUTCOME_INTERRUPTED) return stop(r, e);
    if (outcome == OUTCOME_DONE && !finish_grid(r, e)) return EXIT_FAILED;
    if (outcome == OUTCOME_FAILED && r->made) {
        Error cause = *e;
        dg_error(e, "%s (%zu images were written before; the same command makes the rest)", cause.text, r->made);
    }
    if (outcome == OUTCOME_FAILED) return EXIT_FAILED;
    if (r->output && !todo(r)->count) {
        printf("all %zu images are in ", r->wanted.count);
        print_text(stdout, r->o->outdir);
        putchar('\n');
    }
    return bad_images(r, e);
}
static void cleanup(Run *r) {
    char hex[ROLES][SHA256_HEX];
    if (r->hashes) hashes_finish(r->hashes, hex, NULL);
    grid_file_abandon(r->picture);
    output_close(r->output);
    engine_free(&r->engine);
    device_close(r->device);
    networks_close(&r->networks);
    seeds_free(&r->wanted);
    seeds_free(&r->pipeline.bad);
}
int generate_run(const Args *a, Error *e) {
    Run r = {.args = a, .o = a->options};
    int code = EXIT_USAGE;
    if (check_usage(&r, e)) {
        r.interrupt = interrupt_begin();
        code = EXIT_FAILED;
        Outcome outcome = prepare(&r, &code, e);
        if (outcome == OUTCOME_DONE) code = r.o->dry_run ? EXIT_DONE : finish(&r, sample(&r, e), e);
        else if (outcome == OUTCOME_INTERRUPTED) {
            dg_error(e, "interrupted before the first image was made");
            code = EXIT_INTERRUPTED;
        }
        interrupt_end(r.interrupt);
    }
    cleanup(&r);
    return code;
}
