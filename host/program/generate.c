/* generate.c -- the command `generate`: from options to images in a folder. */
#include "program/checkpoint_options.h"
#include "program/commands.h"
#include "program/device_options.h"
#include "base/folder.h"
#include "files/image.h"
#include "base/interrupt.h"
#include "program/manifest.h"
#include "program/plan_print.h"
#include "base/progress.h"
#include "base/rng.h"
#include "base/seeds.h"
#include "files/writer.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct {
    const char *network, *extractor, *discriminator, *preset, *seeds, *class_name, *outdir, *grid;
    int format, batch, grid_columns, grid_scale;
    bool subdirs, overwrite, dry_run;
    SampleOptions sample;
    CheckpointOptions checkpoint;
    DeviceOptions device;
} GenerateOptions;

static const char DEFAULT_OUTDIR[] = "out";
enum { MAX_BATCH = 65536, MAX_STEPS = 100000, MAX_GRID_SCALE = 32 };

static void defaults(void *options) {
    GenerateOptions *o = options;
    *o = (GenerateOptions){.seeds = "0-63", .class_name = "seeded", .batch = 64, .grid_scale = 1, .sample = sample_defaults()};
}
#define AT(member) offsetof(GenerateOptions, member)
static const Option option[] = {
    {"Networks", "network", NULL, OPTION_TEXT, AT(network), "FILE", 0, 0, false,
     "score network, safetensors or an official checkpoint (.pkl, .pt); default: shapes32, a small example model inside the program, with "
     "its extractor and discriminator"},
    {NULL, "extractor", "pretrained_classifier_ckpt", OPTION_TEXT, AT(extractor), "FILE", 0, 0, false,
     "feature extractor of the discriminator"},
    {NULL, "discriminator", "discriminator_ckpt", OPTION_TEXT, AT(discriminator), "FILE", 0, 0, false,
     "discriminator head on those features"},

    {"What to make", "seeds", NULL, OPTION_TEXT, AT(seeds), "LIST", 0, 0, false,
     "one image for each seed, for example 0-63,70; an image depends on its seed and the options alone"},
    {NULL, "class", NULL, OPTION_TEXT, AT(class_name), "CLASS", 0, 0, true,
     "of conditional networks: a class (its number, or its name where the network has names), seeded (drawn from the seed) or balanced "
     "(seed modulo the number of classes)"},
    {NULL, "batch", "max_batch_size batch_size", OPTION_INT, AT(batch), "N", 1, MAX_BATCH, false, "images at a time; does not change them"},

    {"Where to", "outdir", NULL, OPTION_TEXT, AT(outdir), "DIR", 0, 0, false,
     "folder for the images and manifest.json; default: out, or nothing when --grid is given"},
    {NULL, "format", "save_type", OPTION_CHOICE, AT(format), "png|npz", 0, 0, true,
     "a PNG file for each seed, or one samples.npz (arr_0: pixels, arr_1: classes, seeds)"},
    {NULL, "subdirs", NULL, OPTION_FLAG, AT(subdirs), NULL, 0, 0, true, "a folder for every thousand PNG files"},
    {NULL, "grid", NULL, OPTION_TEXT, AT(grid), "FILE", 0, 0, false, "all images of this run as one PNG"},
    {NULL, "grid-columns", NULL, OPTION_INT, AT(grid_columns), "N", 0, GRID_MAX_TILES, false, "of the grid; 0: as square as possible"},
    {NULL, "grid-scale", NULL, OPTION_INT, AT(grid_scale), "N", 1, MAX_GRID_SCALE, false, "enlarges the grid's pixels"},
    {NULL, "overwrite", NULL, OPTION_FLAG, AT(overwrite), NULL, 0, 0, false,
     "remove the images that are in DIR first; without it a second run adds what is missing"},
    {NULL, "dry-run", "print-config", OPTION_FLAG, AT(dry_run), NULL, 0, 0, false,
     "print every option's value and what the run would take, and make nothing"},

    {"Sampler (EDM)", "preset", NULL, OPTION_TEXT, AT(preset), "NAME", 0, 0, false,
     "published settings, listed below; options given beside it win"},
    {NULL, "steps", "num_steps", OPTION_INT, AT(sample.num_steps), "N", 1, MAX_STEPS, true, "sampling steps"},
    {NULL, "sigma_min", NULL, OPTION_DOUBLE, AT(sample.sigma_min), "X", 0, INFINITY, true,
     "lowest noise level; default: of the discretization and the network"},
    {NULL, "sigma_max", NULL, OPTION_DOUBLE, AT(sample.sigma_max), "X", 0, INFINITY, true, "highest noise level"},
    {NULL, "rho", NULL, OPTION_DOUBLE, AT(sample.rho), "X", 1e-3, 1e3, true, "exponent of the noise levels"},
    {NULL, "S_churn", NULL, OPTION_DOUBLE, AT(sample.S_churn), "X", 0, INFINITY, true, "stochasticity: strength"},
    {NULL, "S_min", NULL, OPTION_DOUBLE, AT(sample.S_min), "X", 0, INFINITY, true, "stochasticity: lowest noise level"},
    {NULL, "S_max", NULL, OPTION_DOUBLE, AT(sample.S_max), "X", 0, INFINITY, true, "stochasticity: highest noise level"},
    {NULL, "S_noise", NULL, OPTION_DOUBLE, AT(sample.S_noise), "X", 0, INFINITY, true, "stochasticity: inflation of the noise"},

    {"Discriminator guidance", "dg_weight_1st_order", NULL, OPTION_DOUBLE, AT(sample.dg_weight_1st_order), "W", -1e6, 1e6, true,
     "weight at the first evaluation of a step; 0 turns guidance off"},
    {NULL, "dg_weight_2nd_order", NULL, OPTION_DOUBLE, AT(sample.dg_weight_2nd_order), "W", -1e6, 1e6, true, "weight at the second one"},
    {NULL, "time_min", NULL, OPTION_DOUBLE, AT(sample.time_min), "T", 0, 1, true, "guide from this diffusion time on"},
    {NULL, "time_max", NULL, OPTION_DOUBLE, AT(sample.time_max), "T", 0, 1, true, "and up to this one"},
    {NULL, "boosting", NULL, OPTION_FLAG, AT(sample.boosting), NULL, 0, 0, true,
     "more guidance and noise for images that the discriminator finds unreal"},
    {NULL, "dg-gate", NULL, OPTION_CHOICE, AT(sample.dg_gate), "sample|batch", 0, 0, true,
     "the time window holds per image, or, as officially, for the batch's least time: then boosted images depend on --batch"},

    {"Ablation sampler (EDM, Table 1; without guidance)", "solver", NULL, OPTION_CHOICE, AT(sample.solver), "heun|euler", 0, 0, true,
     "ODE solver"},
    {NULL, "disc", "discretization", OPTION_CHOICE, AT(sample.discretization), "edm|vp|ve|iddpm", 0, 0, true, "noise levels of the steps"},
    {NULL, "schedule", NULL, OPTION_CHOICE, AT(sample.schedule), "linear|vp|ve", 0, 0, true, "noise level as a function of time"},
    {NULL, "scaling", NULL, OPTION_CHOICE, AT(sample.scaling), "none|vp", 0, 0, true, "scaling of the signal"},

    DEVICE_OPTIONS(GenerateOptions, device),
    CHECKPOINT_OPTIONS(GenerateOptions, checkpoint),
    CACHE_OPTION(GenerateOptions, checkpoint),
};
static const Preset preset[] = {
    {"edm-cifar10", "steps=18", "EDM, CIFAR-10"},
    {"edm-ffhq64", "steps=40", "EDM, FFHQ and AFHQv2 at 64x64"},
    {"edm-imagenet64", "steps=256 S_churn=40 S_min=0.05 S_max=50 S_noise=1.003", "EDM, ImageNet at 64x64"},
    {"edm-cifar10-uncond-dg", "steps=18 dg_weight_1st_order=2 dg_weight_2nd_order=0 time_min=0.01 time_max=1 boosting=0",
     "EDM-G++, CIFAR-10, unconditional"},
    {"edm-cifar10-cond-dg", "steps=18 dg_weight_1st_order=1 dg_weight_2nd_order=0 time_min=0.01 time_max=1 boosting=1",
     "EDM-G++, CIFAR-10, class-conditional"},
};
static const char details[] =
    "The first Ctrl-C ends a run with whole files only, and the same command continues it later; a second one ends it at once.\n"
    "Both --option=value and --option value work, and '-' may be written for '_'.\n\n"
    "Examples:\n"
    "  dg_cuda generate --seeds 0-15 --outdir out --grid out/grid.png\n"
    "  dg_cuda generate --seeds 0-15 --class heart --grid hearts.png\n"
    "  dg_cuda generate --network edm-cifar10-32x32-uncond-vp.safetensors --extractor 32x32_classifier.safetensors \\\n"
    "      --discriminator discriminator_60.safetensors --preset edm-cifar10-uncond-dg --seeds 0-49999 --outdir cifar10 --format npz\n";

/* ---- a run ------------------------------------------------------------------------------------------------------------- */
typedef enum { CLASS_SEEDED = -1, CLASS_BALANCED = -2 } ClassRule;
typedef struct {
    const Args *args;
    GenerateOptions *o; /* of args, completed by check_usage */
    Interrupt *interrupt;
    SeedList seeds;
    Networks networks;
    Hashes *hashes;
    Device *device;
    Store *store; /* NULL: a grid alone */
    Manifest manifest;
    Text images; /* of the manifest, with the hashes */
    char started[32];
    int class_rule;      /* a class, or a ClassRule */
    size_t *todo, todos; /* positions in seeds */
    Engine engine;
    Grid *grid;
    Writer *writer;
    Progress progress;
    size_t sampled, made; /* images: computed; on the disk (or in the grid) */
    int network_calls, guided_calls;
    SeedList bad; /* not finite */
} Run;

static bool ablation_given(const Args *a) {
    return args_given(a, "solver") || args_given(a, "disc") || args_given(a, "schedule") || args_given(a, "scaling");
}
/* What can be wrong with the options before any file is opened. */
static bool check_usage(Run *r, Error *e) {
    GenerateOptions *o = r->o;
    const Args *a = r->args;
    bool own = !o->network || o->extractor, weights = sample_guided(&o->sample);
    o->sample.ablation = ablation_given(a);
    if (!o->extractor != !o->discriminator)
        return dg_error(e, "--%s is missing: extractor and discriminator go together", o->extractor ? "discriminator" : "extractor");
    if (!own && weights && (args_given(a, "dg_weight_1st_order") || args_given(a, "dg_weight_2nd_order") || o->sample.boosting))
        return dg_error(e, "guidance of --network %s needs --extractor and --discriminator too (or --dg_weight_1st_order 0)", o->network);
    if (own && weights && o->sample.ablation)
        return dg_error(e, "--solver, --disc, --schedule and --scaling work without guidance only: add --dg_weight_1st_order 0");
    if (!own || !weights) o->sample.dg_weight_1st_order = o->sample.dg_weight_2nd_order = 0;
    if (o->subdirs && o->format == FORMAT_NPZ) return dg_error(e, "--subdirs: only PNG files have them, not --format npz");
    if (!o->outdir && !o->grid) o->outdir = DEFAULT_OUTDIR;
    if (!o->outdir && (o->subdirs || o->overwrite || args_given(a, "format")))
        return dg_error(e, "--%s needs --outdir", o->subdirs ? "subdirs" : o->overwrite ? "overwrite" : "format");
    if (!sample_check(&o->sample, e) || !seeds_parse(o->seeds, &r->seeds, e)) return false;
    if (o->grid && r->seeds.count > GRID_MAX_TILES)
        return dg_error(e, "--grid: %zu images, a grid shows at most %d", r->seeds.count, GRID_MAX_TILES);
    return true;
}
static bool choose_class(Run *r, Error *e) {
    const char *name = r->o->class_name;
    r->class_rule = CLASS_SEEDED;
    if (!strcmp(name, "seeded")) return true;
    if (strcmp(name, "balanced")) return networks_class(&r->networks, name, &r->class_rule, e);
    r->class_rule = CLASS_BALANCED;
    return true;
}
static int label_of(const Run *r, uint64_t seed) {
    int classes = r->networks.config.label_dim;
    if (!classes) return -1;
    if (r->class_rule == CLASS_SEEDED) return philox_label(seed, classes);
    return r->class_rule == CLASS_BALANCED ? (int)(seed % (uint64_t)classes) : r->class_rule;
}

static bool open_store(Run *r, Error *e) {
    const NetworkConfig *c = &r->networks.config;
    StoreOptions o = {.dir = r->o->outdir,
                      .format = (ImageFormat)r->o->format,
                      .subdirs = r->o->subdirs,
                      .height = c->img_resolution,
                      .width = c->img_resolution,
                      .channels = c->img_channels};
    if (!(r->store = store_open(&o, r->o->overwrite, e))) return false;
    if (!manifest_open(&r->manifest, o.dir, store_empty(r->store), e)) return false;
    if (!r->manifest.before && !store_empty(r->store))
        return dg_error(e,
                        "%s: there are images but no manifest.json that says how they were made: choose another --outdir, or --overwrite "
                        "to replace them",
                        o.dir);
    Text images = {0};
    manifest_images(&images, r->args, r->device, &r->networks, NULL);
    bool ok = manifest_check(&r->manifest, &images, e);
    text_free(&images);
    return ok;
}
static void list_todo(Run *r) {
    r->todo = dg_alloc(r->seeds.count * sizeof *r->todo);
    for (size_t i = 0; i < r->seeds.count; i++)
        if (!r->store || !store_has(r->store, r->seeds.seed[i])) r->todo[r->todos++] = i;
}
static bool open_grid(Run *r, Error *e) {
    const NetworkConfig *c = &r->networks.config;
    int n = (int)r->seeds.count, columns = r->o->grid_columns;
    if (!r->o->grid) return true;
    if (!image_png_available(e)) return false;
    if (c->img_channels > 4) return dg_error(e, "--grid: the images have %d channels, a PNG at most 4", c->img_channels);
    if (!make_parent(r->o->grid, e)) return false;
    if (!columns) columns = (int)ceil(sqrt(n));
    if ((double)n * c->img_resolution * c->img_resolution * r->o->grid_scale * r->o->grid_scale > 1e9)
        return dg_error(e, "--grid: the picture would have more than 10^9 pixels: fewer seeds, or a smaller --grid-scale");
    r->grid = grid_new(n, columns < n ? columns : n, c->img_resolution, c->img_resolution, c->img_channels, r->o->grid_scale);
    return true;
}
/* The engine at the batch asked for; where a device has not the memory, at half of it, and so on. */
static bool open_engine(Run *r, Error *e) {
    int wanted = r->todos < (size_t)r->o->batch ? (int)r->todos : r->o->batch, batch = wanted;
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
    return (RunFacts){.args = r->args,
                      .device = r->device,
                      .networks = &r->networks,
                      .started = r->started,
                      .wanted = r->seeds.count,
                      .present = r->seeds.count - r->todos,
                      .made = r->made,
                      .batch = r->engine.batch,
                      .network_calls = r->network_calls,
                      .guided_calls = r->guided_calls,
                      .seconds = r->progress.start > 0 ? seconds_now() - r->progress.start : 0,
                      .complete = complete};
}
/* Waits for the hashes; says whether these weights made what is in the folder. */
static bool settle_manifest(Run *r, Error *e) {
    char hex[ROLES][SHA256_HEX];
    Hashes *h = r->hashes;
    r->hashes = NULL;
    if (!hashes_finish(h, hex, e)) return false;
    manifest_images(&r->images, r->args, r->device, &r->networks, hex);
    if (!r->store) return true;
    RunFacts f = facts(r, false);
    return manifest_check(&r->manifest, &r->images, e) && manifest_write(&r->manifest, &r->images, &f, e);
}

/* A batch: the images of one run of the sampler. While the next one runs, the last one comes home and is delivered. */
typedef struct {
    Run *run;
    size_t at;   /* its first image among r->todo */
    int n, slot; /* images that count; the sampler's slot they are in */
    int *label;  /* [batch] */
} Batch;
/* Hands over the finished images of a batch, but for those that are not finite. */
static bool deliver(Run *r, const size_t *position, int n, const int *label, uint8_t *images, const int *bad, Error *e) {
    size_t bytes =
        (size_t)r->networks.config.img_resolution * (size_t)r->networks.config.img_resolution * (size_t)r->networks.config.img_channels;
    uint64_t *seed = dg_alloc((size_t)n * sizeof *seed);
    int *labels = dg_alloc((size_t)n * sizeof *labels), good = 0;
    for (int i = 0; i < n; i++) {
        uint64_t s = r->seeds.seed[position[i]];
        if (bad[i]) {
            r->bad.seed = dg_realloc(r->bad.seed, (r->bad.count + 1) * sizeof *r->bad.seed);
            r->bad.seed[r->bad.count++] = s;
            continue;
        }
        if (r->grid) grid_set(r->grid, (int)position[i], images + (size_t)i * bytes);
        if (good != i) memmove(images + (size_t)good * bytes, images + (size_t)i * bytes, bytes);
        seed[good] = s, labels[good++] = label[i];
    }
    bool ok = !r->writer || writer_put(r->writer, good, seed, labels, images, e);
    if (!r->writer) r->made += (size_t)good;
    free(seed), free(labels);
    return ok;
}
static bool deliver_batch(const Batch *b, Error *e) {
    uint8_t *images;
    const int *bad;
    sampler_images_end(b->run->engine.sampler, b->slot, &images, &bad);
    return deliver(b->run, b->run->todo + b->at, b->n, b->label, images, bad, e);
}
typedef struct {
    Batch *now, *before; /* before: finished, not delivered yet; or NULL */
    Error *error;
    bool ok; /* delivering has not failed */
} StepContext;
static bool after_step(void *ctx, int step, int steps) {
    StepContext *c = ctx;
    Run *r = c->now->run;
    if (c->before) { /* the device is busy with the next batch by now */
        c->ok = deliver_batch(c->before, c->error);
        c->before = NULL;
    }
    progress_show(&r->progress, (double)r->sampled + (double)c->now->n * (step + 1) / steps);
    return c->ok && !interrupted(r->interrupt);
}
/* All batches. False with an empty sentence: interrupted. */
static bool sample_all(Run *r, Error *e) {
    int batch = r->engine.batch;
    size_t n_max = (size_t)batch;
    uint64_t *seed = dg_alloc(n_max * sizeof *seed);
    Batch slot[SAMPLER_SLOTS];
    for (int i = 0; i < SAMPLER_SLOTS; i++) slot[i] = (Batch){.run = r, .slot = i, .label = dg_alloc(n_max * sizeof(int))};
    StepContext context = {.error = e, .ok = true};
    bool ok = true;
    for (size_t at = 0, k = 0; at < r->todos && ok; at += n_max, k++) {
        Batch *b = context.now = &slot[k % SAMPLER_SLOTS];
        b->at = at, b->n = r->todos - at < n_max ? (int)(r->todos - at) : batch;
        for (int i = 0; i < batch; i++) { /* a last batch that is not full repeats its last image */
            seed[i] = r->seeds.seed[r->todo[at + (size_t)(i < b->n ? i : b->n - 1)]];
            b->label[i] = label_of(r, seed[i]);
        }
        ok = sampler_run(r->engine.sampler, &(SampleNoise){.seed = seed}, b->label, after_step, &context);
        if (!ok) break;
        sampler_images_begin(r->engine.sampler, b->slot);
        context.before = b;
        r->network_calls = sampler_calls(r->engine.sampler, &r->guided_calls);
        r->sampled += (size_t)b->n;
        progress_show(&r->progress, (double)r->sampled);
    }
    if (context.before && context.ok) ok = deliver_batch(context.before, e) && ok;
    free(seed);
    for (int i = 0; i < SAMPLER_SLOTS; i++) free(slot[i].label);
    return ok;
}
static bool finish_grid(Run *r, Error *e) {
    if (!r->grid) return true;
    size_t next = 0;
    uint8_t *image = dg_alloc(r->store ? store_image_bytes(r->store) : 1);
    bool ok = true;
    for (size_t i = 0; i < r->seeds.count && ok; i++) {
        if (next < r->todos && r->todo[next] == i) next++; /* set when it was made */
        else if ((ok = store_get(r->store, r->seeds.seed[i], image, e))) grid_set(r->grid, (int)i, image);
    }
    free(image);
    return ok && image_write_png(r->o->grid, r->grid->pixels, r->grid->height, r->grid->width, r->grid->channels, e);
}
static void describe(const Run *r) {
    const NetworkConfig *c = &r->networks.config;
    printf("network %s: %dx%d, ", weights_name(r->networks.source[ROLE_NETWORK].weights), c->img_resolution, c->img_resolution);
    if (c->label_dim) printf("%d classes; ", c->label_dim);
    else printf("unconditional; ");
    if (sample_guided(&r->o->sample))
        printf("guided, weights %g and %g; ", r->o->sample.dg_weight_1st_order, r->o->sample.dg_weight_2nd_order);
    else printf("not guided; ");
    printf("device %s, %s\n", r->device->be->name, precision_name(r->device->precision));
    if (r->store && r->todos < r->seeds.count) printf("%zu of %zu images are there already\n", r->seeds.count - r->todos, r->seeds.count);
    fflush(stdout);
}
static int bad_images(const Run *r, Error *e) {
    if (!r->bad.count) return EXIT_DONE;
    Text t = {0};
    seeds_print(&t, r->bad.seed, r->bad.count, 8);
    dg_error(e, "%zu images have values that are not finite and were not written (seed%s %s): try --dtype fp32, or other sampler options",
             r->bad.count, r->bad.count > 1 ? "s" : "", t.text);
    text_free(&t);
    return EXIT_FAILED;
}
static int finish(Run *r, bool sampled, Error *e) {
    const char *where = r->o->outdir ? r->o->outdir : r->o->grid;
    bool stopped = !sampled && !e->text[0], ok = sampled;
    if (r->writer) {
        Error writing = {0};
        if (!writer_finish(r->writer, &r->made, &writing)) *e = writing, ok = stopped = false;
        r->writer = NULL;
    }
    progress_end(&r->progress, r->made);
    if (r->store && (ok || stopped)) {
        RunFacts f = facts(r, ok && !r->bad.count);
        ok = (!ok || store_finish(r->store, e)) && manifest_write(&r->manifest, &r->images, &f, e) && ok;
        stopped = stopped && !e->text[0];
    }
    if (stopped) {
        size_t there = r->seeds.count - r->todos + r->made;
        if (r->store)
            dg_error(e, "interrupted: %zu of %zu images are in %s, the same command makes the rest", there, r->seeds.count, where);
        else dg_error(e, "interrupted: %s was not written", where);
        return EXIT_INTERRUPTED;
    }
    if (ok) ok = finish_grid(r, e);
    else if (r->made) {
        Error cause = *e;
        dg_error(e, "%s (%zu images were written before; the same command makes the rest)", cause.text, r->made);
    }
    if (!ok) return EXIT_FAILED;
    if (r->todos == 0 && r->store) printf("all %zu images are in %s\n", r->seeds.count, where);
    return bad_images(r, e);
}
static bool dry_run(const Run *r, Error *e) {
    Text t = {0};
    for (int i = 0; i < r->args->command->options; i++) {
        const Option *o = &r->args->command->option[i];
        text_printf(&t, "  --%s = ", o->name);
        option_json(o, r->o, &t);
        text_printf(&t, "\n");
    }
    printf("options:\n%s", t.text);
    text_free(&t);
    return plan_print_run(&r->networks, &r->o->sample, r->device->precision, r->o->batch, !r->o->device.no_fuse, e);
}
/* Everything up to the first step; *code is the exit code of a failure. */
static bool prepare(Run *r, int *code, Error *e) {
    const GenerateOptions *o = r->o;
    time_t now = time(NULL);
    struct tm utc;
    strftime(r->started, sizeof r->started, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
    const char *const path[ROLES] = {o->network, o->extractor, o->discriminator};
    ConvertOptions c = checkpoint_options(&o->checkpoint);
    if (!networks_open(&r->networks, path, &c, sample_guided(&r->o->sample), e)) return false;
    r->hashes = hashes_start(&r->networks);
    if (!choose_class(r, e)) return *code = EXIT_USAGE, false;
    if (!(r->device = device_from_options(&o->device, e))) return false;
    if (o->dry_run) return describe(r), dry_run(r, e);
    if ((o->outdir && !open_store(r, e)) || !open_grid(r, e)) return false;
    list_todo(r);
    describe(r);
    return (!r->todos || open_engine(r, e)) && settle_manifest(r, e);
}
static void cleanup(Run *r) {
    char hex[ROLES][SHA256_HEX];
    if (r->hashes) hashes_finish(r->hashes, hex, NULL);
    engine_free(&r->engine);
    grid_free(r->grid);
    store_close(r->store);
    manifest_close(&r->manifest);
    text_free(&r->images);
    device_close(r->device);
    networks_close(&r->networks);
    seeds_free(&r->seeds);
    seeds_free(&r->bad);
    free(r->todo);
}
static int generate(const Args *a, Error *e) {
    Run r = {.args = a, .o = a->options};
    int code = EXIT_USAGE;
    if (check_usage(&r, e)) {
        r.interrupt = interrupt_begin();
        code = EXIT_FAILED;
        bool ready = prepare(&r, &code, e);
        if (ready && r.o->dry_run) code = EXIT_DONE;
        else if (ready) {
            if (r.store && r.todos) r.writer = writer_start(r.store);
            progress_begin(&r.progress, r.todos);
            code = finish(&r, r.todos == 0 || sample_all(&r, e), e);
        }
        interrupt_end(r.interrupt);
    }
    cleanup(&r);
    return code;
}
const Command command_generate = {.name = "generate",
                                  .operands = "",
                                  .summary = "makes images",
                                  .details = details,
                                  .options_bytes = sizeof(GenerateOptions),
                                  .defaults = defaults,
                                  .option = option,
                                  .options = sizeof option / sizeof *option,
                                  .preset = preset,
                                  .presets = sizeof preset / sizeof *preset,
                                  .run = generate};
