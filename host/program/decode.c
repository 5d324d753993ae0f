/* decode.c -- the command `decode`: stored latents to pictures in a folder. */
#include "program/checkpoint_options.h"
#include "program/commands.h"
#include "program/device_options.h"
#include "program/output.h"
#include "base/progress.h"
#include "files/image.h"
#include "files/latents.h"
#include "files/writer.h"
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct {
    const char *vae, *outdir, *sha256;
    int vae_batch, format;
    bool subdirs, overwrite;
    CheckpointOptions checkpoint;
    DeviceOptions device;
} DecodeOptions;
static void defaults(void *options) { *(DecodeOptions *)options = (DecodeOptions){.outdir = "out", .vae_batch = DECODER_ROWS}; }
#define AT(member) offsetof(DecodeOptions, member)
static const Option option[] = {
    {"The autoencoder", "vae", NULL, OPTION_TEXT, AT(vae), "FILE", 0, 0, false, "Stable Diffusion's (KL-f8), or one like it"},
    {NULL, "vae-batch", "batch batch_size", OPTION_INT, AT(vae_batch), "N", 1, MAX_BATCH, false, "images at a time; does not change them"},
    {NULL, "sha256", NULL, OPTION_TEXT, AT(sha256), "HEX", 0, 0, true,
     "what LATENTS' SHA-256 has to be; default: whatever it is. Part of the manifest: other latents do not continue a folder"},

    {"Where to", "outdir", NULL, OPTION_TEXT, AT(outdir), "DIR", 0, 0, false, "folder for the pictures and manifest.json"},
    {NULL, "format", "save_type", OPTION_CHOICE, AT(format), "png|npz", 0, 0, true,
     "a PNG file for each seed, or one samples.npz: arr_0 (pixels), arr_1 (classes), seeds"},
    {NULL, "subdirs", NULL, OPTION_FLAG, AT(subdirs), NULL, 0, 0, true, "a folder for every thousand PNG files"},
    {NULL, "overwrite", NULL, OPTION_FLAG, AT(overwrite), NULL, 0, 0, false,
     "first remove the images that DIR's manifest.json lists; without it a second run adds what is missing"},

    DEVICE_OPTIONS(DecodeOptions, device),
    CHECKPOINT_OPTIONS(DecodeOptions, checkpoint),
    CACHE_OPTION(DecodeOptions, checkpoint),
};
static const char details[] =
    "LATENTS is an npz file that generate --format npz --save-latents wrote, or one like it: samples (f32, N x C x H x W), label, seeds.\n"
    "The pictures are those that generate --vae makes of the same seeds, but for the rounding of latents to f32.\n\n"
    "Example:\n"
    "  dg_cuda decode latents/samples.npz --vae sd-vae-ft-mse.safetensors --outdir pictures\n";

typedef struct {
    const Args *args;
    DecodeOptions *o;
    Interrupt *interrupt;
    Latents latents;
    Networks networks; /* the autoencoder */
    Hashes *hashes;
    Device *device;
    Decoder *decoder;
    Picture picture;
    Text seeds; /* of the latents */
    Output *output;
    Writer *writer;
    Progress progress;
    SeedList bad;
    char started[32], sha256[SHA256_HEX];
    size_t made; /* images on the disk */
} Run;

/* ---- preparing ------------------------------------------------------------------------------------------------------------------ */
static bool check(const DecodeOptions *o, const char *latents, Error *e) {
    if (!o->vae) return dg_error(e, "decode needs --vae, the file of an autoencoder");
    if (!strcmp(o->vae, latents)) return dg_error(e, "%s is the latents and the autoencoder in one: give two files", latents);
    return !o->subdirs || o->format == FORMAT_PNG || dg_error(e, "--subdirs: only PNG files have them, not --format npz");
}
static bool open_latents(Run *r, Error *e) {
    const char *path = r->args->operand[0];
    if (!latents_open(&r->latents, path, e) || !sha256_file(path, r->sha256, e)) return false;
    if (r->o->sha256 && strcmp(r->o->sha256, r->sha256)) return dg_error(e, "%s: its SHA-256 is %s, not that of --sha256", path, r->sha256);
    r->o->sha256 = r->sha256;
    seeds_print(&r->seeds, &r->latents.seeds, SIZE_MAX);
    return true;
}
static bool open_decoder(Run *r, Error *e) {
    const Latents *l = &r->latents;
    const DecodeOptions *o = r->o;
    int rows = l->count < (size_t)o->vae_batch ? (int)l->count : o->vae_batch;
    if (!(r->device = device_from_options(&o->device, e))) return false;
    device_for_latents(r->device, &o->device);
    Shape state = {1, l->height, l->width, l->channels};
    r->decoder = decoder_new(r->device, r->networks.source[ROLE_VAE].weights, state, rows, !o->device.no_fuse, e);
    if (!r->decoder) return e->out_of_memory && rows > 1 ? dg_error_context(e, "--vae-batch %d is too much", rows) : false;
    r->picture = picture_of(r->decoder->picture, QUANTIZE_OF_NETWORK, NULL);
    print_text(stdout, r->args->operand[0]);
    printf(": %zu latents of %dx%dx%d, decoded to %dx%d; device %s, %s\n", l->count, l->height, l->width, l->channels, r->picture.height,
           r->picture.width, r->device->be->name, precision_name(r->decoder->net->graph->precision));
    fflush(stdout);
    return o->format != FORMAT_PNG ||
           (image_png_available(e) && image_fits_png(r->picture.height, r->picture.width, r->picture.channels, e));
}
static RunFacts facts(const Run *r, bool complete) {
    size_t todo = output_todo(r->output)->count;
    return (RunFacts){.args = r->args,
                      .device = r->device,
                      .networks = &r->networks,
                      .started = r->started,
                      .wanted = r->latents.count,
                      .present = r->latents.count - todo,
                      .made = r->made,
                      .batch = r->decoder->rows,
                      .seconds = r->progress.start > 0 ? seconds_now() - r->progress.start : 0,
                      .complete = complete};
}
static Outcome open_output(Run *r, Error *e) {
    const DecodeOptions *o = r->o;
    const char *input[] = {r->args->operand[0], o->vae};
    OutputOptions q = {.store = {.dir = o->outdir,
                                 .format = (ImageFormat)o->format,
                                 .subdirs = o->subdirs,
                                 .height = r->picture.height,
                                 .width = r->picture.width,
                                 .channels = r->picture.channels,
                                 .interrupt = r->interrupt},
                       .args = r->args,
                       .device = r->device,
                       .networks = &r->networks,
                       .wanted = &r->latents.seeds,
                       .seeds = r->seeds.text,
                       .input = input,
                       .inputs = 2,
                       .overwrite = o->overwrite};
    Outcome outcome = output_open(&r->output, &q, e);
    char hex[ROLES][SHA256_HEX];
    Hashes *h = r->hashes;
    r->hashes = NULL;
    if (!hashes_finish(h, hex, e) || outcome != OUTCOME_DONE) return outcome != OUTCOME_DONE ? outcome : OUTCOME_FAILED;
    RunFacts f = facts(r, false);
    if (f.present) printf("%zu of %zu pictures are there already\n", f.present, f.wanted), fflush(stdout);
    return output_settle(r->output, hex, &f, e);
}
static Outcome prepare(Run *r, Error *e) {
    time_t now = time(NULL);
    struct tm utc;
    strftime(r->started, sizeof r->started, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
    ConvertOptions c = checkpoint_options(&r->o->checkpoint);
    c.interrupt = r->interrupt;
    if (!open_latents(r, e)) return OUTCOME_FAILED;
    if (!networks_open_vae(&r->networks, r->o->vae, &c, e)) return interrupted(r->interrupt) ? OUTCOME_INTERRUPTED : OUTCOME_FAILED;
    r->hashes = hashes_start(&r->networks, NULL);
    return open_decoder(r, e) ? open_output(r, e) : OUTCOME_FAILED;
}

/* ---- decoding ------------------------------------------------------------------------------------------------------------------- */
typedef struct {        /* of the pictures at a time */
    double *x, *host_x; /* device, host */
    uint8_t *bytes, *host_bytes;
    int *bad, *host_bad, *label;
    uint64_t *seed;
} Buffers;
static bool buffers_new(Buffers *b, const Run *r, Error *e) {
    const Backend *be = r->device->be;
    size_t rows = (size_t)r->decoder->rows, values = r->decoder->net->per_sample, size = picture_bytes(&r->picture);
    *b = (Buffers){.x = be->alloc(r->device, rows * values * sizeof(double)),
                   .bytes = be->alloc(r->device, rows * size),
                   .bad = be->alloc(r->device, rows * sizeof(int)),
                   .host_x = dg_alloc(rows * values * sizeof(double)),
                   .host_bytes = dg_alloc(rows * size),
                   .host_bad = dg_alloc(rows * sizeof(int)),
                   .label = dg_alloc(rows * sizeof(int)),
                   .seed = dg_alloc(rows * sizeof(uint64_t))};
    return (b->x && b->bytes && b->bad) || dg_out_of_memory(e, "not enough memory on device %s for the pictures", be->name);
}
static void buffers_free(Buffers *b, Device *d) {
    void *device[] = {b->x, b->bytes, b->bad};
    for (int i = 0; i < 3; i++)
        if (device[i]) d->be->release(d, device[i]);
    free(b->host_x), free(b->host_bytes), free(b->host_bad), free(b->label), free(b->seed);
}
/* The pictures of todo from `at` on, as many as are decoded at a time; those that are not finite are left out. */
static bool decode_some(Run *r, Buffers *b, const SeedList *todo, size_t at, Error *e) {
    Device *d = r->device;
    size_t rows = (size_t)r->decoder->rows, values = r->decoder->net->per_sample, size = picture_bytes(&r->picture), good = 0;
    size_t n = todo->count - at < rows ? todo->count - at : rows;
    for (size_t i = 0; i < n; i++) {
        size_t image = seeds_position(&r->latents.seeds, seeds_at(todo, at + i));
        b->seed[i] = seeds_at(todo, at + i), b->label[i] = r->latents.label[image];
        latents_get(&r->latents, image, b->host_x + i * values);
    }
    d->be->upload(d, b->x, b->host_x, n * values * sizeof *b->x);
    decoder_enqueue(r->decoder, (int)n, b->x, &r->picture, b->bytes, b->bad);
    d->be->download(d, b->host_bytes, b->bytes, n * size);
    d->be->download(d, b->host_bad, b->bad, n * sizeof *b->bad);
    for (size_t i = 0; i < n; i++) {
        if (b->host_bad[i]) {
            seeds_add(&r->bad, b->seed[i], 1);
            continue;
        }
        if (good != i) memmove(b->host_bytes + good * size, b->host_bytes + i * size, size);
        b->seed[good] = b->seed[i], b->label[good++] = b->label[i];
    }
    return writer_put(r->writer, (int)good, b->seed, b->label, b->host_bytes, e);
}
static Outcome decode_all(Run *r, Error *e) {
    const SeedList *todo = output_todo(r->output);
    Buffers b;
    Outcome outcome = buffers_new(&b, r, e) ? OUTCOME_DONE : OUTCOME_FAILED;
    progress_begin(&r->progress, todo->count);
    r->writer = writer_start(output_store(r->output), NULL);
    for (size_t at = 0; at < todo->count && outcome == OUTCOME_DONE; at += (size_t)r->decoder->rows) {
        if (interrupted(r->interrupt)) outcome = OUTCOME_INTERRUPTED;
        else if (!decode_some(r, &b, todo, at, e)) outcome = OUTCOME_FAILED;
        progress_show(&r->progress, (double)at);
        r->made = writer_written(r->writer);
        RunFacts f = facts(r, false);
        output_update(r->output, &f);
    }
    Error writing = {0};
    if (!writer_finish(r->writer, &r->made, &writing)) *e = writing, outcome = OUTCOME_FAILED;
    progress_end(&r->progress, r->made);
    buffers_free(&b, r->device);
    return outcome;
}
/* The record and the merged npz file; the exit code. */
static int finish(Run *r, Outcome outcome, Error *e) {
    bool done = outcome == OUTCOME_DONE;
    RunFacts f = facts(r, done && !r->bad.count);
    Error recording = {0};
    Outcome recorded = output_finish(r->output, &f, done, &recording);
    if (done || (outcome == OUTCOME_INTERRUPTED && recorded == OUTCOME_FAILED)) outcome = recorded, *e = recording;
    if (outcome == OUTCOME_INTERRUPTED) {
        dg_error(e, "interrupted: %zu of %zu pictures are in %s, the same command makes the rest", f.present + r->made, f.wanted,
                 r->o->outdir);
        return EXIT_INTERRUPTED;
    }
    if (outcome == OUTCOME_FAILED) return EXIT_FAILED;
    if (!r->bad.count) return EXIT_DONE;
    Text t = {0};
    seeds_print(&t, &r->bad, 8);
    dg_error(e, "%zu pictures have values that are not finite and were not written (seed%s %s)", r->bad.count, r->bad.count > 1 ? "s" : "",
             t.text);
    text_free(&t);
    return EXIT_FAILED;
}
static void cleanup(Run *r) {
    char hex[ROLES][SHA256_HEX];
    if (r->hashes) hashes_finish(r->hashes, hex, NULL);
    output_close(r->output);
    decoder_free(r->decoder);
    device_close(r->device);
    networks_close(&r->networks);
    latents_close(&r->latents);
    text_free(&r->seeds);
    seeds_free(&r->bad);
}
static int decode(const Args *a, Error *e) {
    Run r = {.args = a, .o = a->options};
    if (!check(r.o, a->operand[0], e)) return EXIT_USAGE;
    r.interrupt = interrupt_begin();
    Outcome outcome = prepare(&r, e);
    int code = EXIT_FAILED;
    if (outcome == OUTCOME_DONE) code = finish(&r, decode_all(&r, e), e);
    else if (outcome == OUTCOME_INTERRUPTED) dg_error(e, "interrupted before the first picture was made"), code = EXIT_INTERRUPTED;
    interrupt_end(r.interrupt);
    cleanup(&r);
    return code;
}
const Command command_decode = {.name = "decode",
                                .operands = "LATENTS",
                                .operands_min = 1,
                                .operands_max = 1,
                                .summary = "makes pictures of stored latents",
                                .details = details,
                                .options_bytes = sizeof(DecodeOptions),
                                .defaults = defaults,
                                .option = option,
                                .options = sizeof option / sizeof *option,
                                .run = decode};
