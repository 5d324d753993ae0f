/* encode.c -- the command `encode`: pictures to stored latents, as the data tool of DG's ImageNet code (and DiT's training) makes them. */
#include "program/checkpoint_options.h"
#include "program/commands.h"
#include "program/device_options.h"
#include "program/networks.h"
#include "base/folder.h"
#include "base/interrupt.h"
#include "base/progress.h"
#include "base/rng.h"
#include "base/seeds.h"
#include "files/image_source.h"
#include "files/jpeg.h"
#include "files/npz.h"
#include "files/pillow.h"
#include "models/arguments.h"
#include "models/imagenet.h"
#include "sample/decoder.h"
#include "sample/vae_encoder.h"
#include <stdlib.h>
#include <string.h>

typedef enum { LABELS_AUTO, LABELS_FOLDERS, LABELS_NONE } LabelRule;
typedef struct {
    TextList images;
    const char *vae, *out, *seeds;
    int vae_batch, size, labels, flip;
    bool mean, jpeg, overwrite;
    CheckpointOptions checkpoint;
    DeviceOptions device;
} EncodeOptions;
static void defaults(void *options) { *(EncodeOptions *)options = (EncodeOptions){.vae_batch = DECODER_ROWS, .flip = 1}; }
#define AT(member) offsetof(EncodeOptions, member)
static const Option option[] = {
    {"Pictures", "images", NULL, OPTION_TEXTS, AT(images), "SOURCE...", 0, 0, false,
     "folders of PNG and JPEG files of any size, zip files of them, .npz files of images; one after the other, files of one by name"},
    {NULL, "seeds", NULL, OPTION_TEXT, AT(seeds), "LIST", 0, 0, false,
     "which pictures, by their number in SOURCE, for example 0-99999; default: all. The number is the seed of a picture's noise too"},
    {NULL, "size", "image_size", OPTION_INT, AT(size), "N", 0, MAX_RESOLUTION, false,
     "pixels of a side, to which pictures are resized and cropped; 0: those of the autoencoder, 256 of Stable Diffusion's"},
    {NULL, "flip", NULL, OPTION_SWITCH, AT(flip), "off|on", 0, 0, false,
     "mirror half of the pictures, which their seeds draw; on, as officially"},
    {NULL, "jpeg", NULL, OPTION_FLAG, AT(jpeg), NULL, 0, 0, false,
     "take what a JPEG file of the picture would keep (Pillow's defaults), as officially of pictures that a network made"},
    {NULL, "labels", NULL, OPTION_CHOICE, AT(labels), "auto|folders|none", 0, 0, false,
     "classes; auto: those that SOURCE has (dataset.json, arr_1), or ImageNet's of folders named by WordNet ids; folders: the place of a "
     "picture's folder among all, sorted"},

    {"The autoencoder", "vae", NULL, OPTION_TEXT, AT(vae), "FILE", 0, 0, false, "Stable Diffusion's (KL-f8), or one like it"},
    {NULL, "vae-batch", "batch batch_size", OPTION_INT, AT(vae_batch), "N", 1, MAX_BATCH, false,
     "pictures at a time; does not change their latents"},
    {NULL, "mean", NULL, OPTION_FLAG, AT(mean), NULL, 0, 0, false, "store the mean of a picture's latents, not a sample"},

    {"Where to", "out", "o", OPTION_TEXT, AT(out), "FILE.npz", 0, 0, false, "the file to write"},
    {NULL, "overwrite", NULL, OPTION_FLAG, AT(overwrite), NULL, 0, 0, false, "replace FILE where it is there already"},

    DEVICE_OPTIONS(EncodeOptions, device),
    CHECKPOINT_OPTIONS(EncodeOptions, checkpoint),
    CACHE_OPTION(EncodeOptions, checkpoint),
};
static const char details[] =
    "Writes samples (f32, N x C x H x W: latents times the autoencoder's scaling factor), label (numbers, where there are classes) and "
    "seeds,\n"
    "which is what `decode` reads. Pictures are resized and cropped to the middle as guided-diffusion, DiT and DG do it, with Pillow's "
    "bytes.\n"
    "FILE is written whole or not at all: to lose less to an interruption, or to share the work, take parts of the pictures by --seeds.\n\n"
    "Example:\n"
    "  dg_cuda encode --images imagenet/train --vae sd-vae-ft-ema.safetensors --seeds 0-99999 --out latents-0.npz\n";

typedef struct {
    const EncodeOptions *o;
    Interrupt *interrupt;
    ImageSource *images;
    SeedList seeds; /* the pictures to encode, by number */
    int *label;     /* [image_source_count], or NULL: none has a class */
    Networks networks;
    Device *device;
    VaeEncoder *encoder;
    NpzWriter *writer;
    Progress progress;
} Run;

/* ---- pictures and their classes ------------------------------------------------------------------------------------------------- */
static bool check(Run *r, Error *e) {
    const EncodeOptions *o = r->o;
    if (!o->images.count) return dg_error(e, "--images is missing: what to encode");
    if (!o->vae) return dg_error(e, "encode needs --vae, the file of an autoencoder");
    if (!o->out) return dg_error(e, "--out is missing: the file to write");
    if (image_source_reads(o->images.item, o->images.count, NULL, o->out) || is_input(o->out, &o->vae, 1))
        return dg_error(e, "--out %s is a file that is read: give the latents another name", o->out);
    return !o->seeds || seeds_parse(o->seeds, &r->seeds, e);
}
static bool choose_images(Run *r, Error *e) {
    const char *text = r->o->seeds;
    size_t there = image_source_count(r->images);
    if (!text) return seeds_add(&r->seeds, 0, there), true;
    for (size_t i = 0; i < r->seeds.ranges; i++) {
        const SeedRange *range = &r->seeds.range[i];
        if (range->first >= there || range->count > there - range->first)
            return dg_error(e, "--seeds %s: there are %zu pictures, 0 to %zu", text, there, there - 1);
    }
    return true;
}
typedef struct {
    const char *name; /* in the middle of another */
    size_t len;
} Folder;
static int by_name(const void *a, const void *b) {
    const Folder *x = a, *y = b;
    int order = memcmp(x->name, y->name, x->len < y->len ? x->len : y->len);
    return order ? order : (x->len > y->len) - (x->len < y->len);
}
static bool folder_of(const Run *r, size_t image, Folder *out, Error *e) {
    out->name = image_source_folder(r->images, image, &out->len);
    if (out->name) return true;
    char *name = image_source_name(r->images, image);
    dg_error(e, "%s: it lies in no folder of its class, which --labels folders are about", name);
    free(name);
    return false;
}
/* The place of each picture's folder among all of them, as PyTorch's ImageFolder numbers classes. */
static bool labels_by_folder(const Run *r, int *label, Error *e) {
    size_t n = image_source_count(r->images), folders = 0;
    Folder *all = dg_alloc(n * sizeof *all), own;
    bool ok = true;
    for (size_t i = 0; i < n && ok; i++) /* pictures come sorted by folder: most are those of the one before */
        if ((ok = folder_of(r, i, &own, e)) && !(folders && by_name(&all[folders - 1], &own) == 0)) all[folders++] = own;
    if (ok) qsort(all, folders, sizeof *all, by_name);
    size_t kept = 0;
    for (size_t i = 0; i < folders && ok; i++)
        if (!kept || by_name(&all[kept - 1], &all[i]) != 0) all[kept++] = all[i];
    for (size_t i = 0; i < n && ok; i++) {
        ok = folder_of(r, i, &own, e);
        const Folder *found = ok ? bsearch(&own, all, kept, sizeof *all, by_name) : NULL;
        if (found) label[i] = (int)(found - all);
    }
    free(all);
    return ok;
}
/* *any: whether the folders are WordNet ids; the first picture's tells. */
static bool labels_of_imagenet(const Run *r, int *label, bool *any, Error *e) {
    size_t n = image_source_count(r->images);
    for (size_t i = 0; i < n; i++) {
        size_t len;
        const char *id = image_source_folder(r->images, i, &len);
        bool is_id = id && imagenet_is_id(id, len);
        if (i == 0 && !(*any = is_id)) return true;
        label[i] = is_id ? imagenet_number(id, len) : -1;
        if (label[i] >= 0) continue;
        char *name = image_source_name(r->images, i);
        dg_error(e, "%s: its folder is none of ImageNet's 1000 classes, as the first picture's is: give --labels folders, or none", name);
        free(name);
        return false;
    }
    return true;
}
static bool find_labels(Run *r, Error *e) {
    size_t n = image_source_count(r->images);
    bool any = r->o->labels == LABELS_FOLDERS, ok = true;
    if (r->o->labels == LABELS_NONE) return true;
    int *label = r->label = dg_alloc(n * sizeof *label);
    if (any) return labels_by_folder(r, label, e);
    ok = image_source_labels(r->images, label, e);
    for (size_t i = 0; i < n && ok; i++) any |= label[i] >= 0;
    if (ok && !any) ok = labels_of_imagenet(r, label, &any, e);
    if (!any) free(label), r->label = NULL;
    return ok;
}

/* ---- preparing ------------------------------------------------------------------------------------------------------------------ */
static bool open_encoder(Run *r, Error *e) {
    const EncodeOptions *o = r->o;
    int rows = r->seeds.count < (size_t)o->vae_batch ? (int)r->seeds.count : o->vae_batch;
    if (!(r->device = device_from_options(&o->device, e))) return false;
    device_for_latents(r->device, &o->device);
    r->encoder = vae_encoder_new(r->device, r->networks.source[ROLE_VAE].weights, o->size, rows, !o->device.no_fuse, e);
    if (!r->encoder) return e->out_of_memory && rows > 1 ? dg_error_context(e, "--vae-batch %d is too much", rows) : false;
    const VaeEncoder *v = r->encoder;
    printf("%zu pictures of %zu, %dx%d, encoded to latents of %dx%dx%d%s; device %s, %s\n", r->seeds.count, image_source_count(r->images),
           v->size, v->size, v->latents.h, v->latents.w, v->latents.c, r->label ? ", with classes" : "", r->device->be->name,
           precision_name(v->net->graph->precision));
    const char *other = image_source_has_jpeg(r->images) || o->jpeg ? jpeg_other_decoder() : NULL;
    if (other) printf("JPEG by %s, not libjpeg-turbo as Pillow's: pixels may differ from its in their last bits\n", other);
    fflush(stdout);
    return true;
}
static Outcome prepare(Run *r, Error *e) {
    const EncodeOptions *o = r->o;
    ConvertOptions c = checkpoint_options(&o->checkpoint);
    c.interrupt = r->interrupt;
    if ((o->jpeg && !jpeg_available(e)) || !out_ready(o->out, o->overwrite, e)) return OUTCOME_FAILED;
    r->images = image_source_open(o->images.item, o->images.count, &(SourceRules){.any_size = true}, e);
    if (!r->images || !choose_images(r, e) || !find_labels(r, e)) return OUTCOME_FAILED;
    if (!networks_open_vae(&r->networks, o->vae, &c, e)) return interrupted(r->interrupt) ? OUTCOME_INTERRUPTED : OUTCOME_FAILED;
    return open_encoder(r, e) ? OUTCOME_DONE : OUTCOME_FAILED;
}

/* ---- encoding ------------------------------------------------------------------------------------------------------------------- */
typedef struct {        /* of the pictures at a time */
    double *x, *host_x; /* device, host */
    double *moments;
    float *latents;
    uint64_t *seed;
    size_t *index;
} Buffers;
static bool buffers_new(Buffers *b, const Run *r, Error *e) {
    const VaeEncoder *v = r->encoder;
    const Backend *be = r->device->be;
    size_t rows = (size_t)v->rows, values = v->net->per_sample, latents = shape_count(v->latents);
    *b = (Buffers){.x = be->alloc(r->device, rows * values * sizeof(double)),
                   .host_x = dg_alloc(rows * values * sizeof(double)),
                   .moments = dg_alloc(rows * 2 * latents * sizeof(double)),
                   .latents = dg_alloc(rows * latents * sizeof(float)),
                   .seed = dg_alloc(rows * sizeof(uint64_t)),
                   .index = dg_alloc(rows * sizeof(size_t))};
    return b->x || dg_out_of_memory(e, "not enough memory on device %s for the pictures", be->name);
}
static void buffers_free(Buffers *b, Device *d) {
    if (b->x) d->be->release(d, b->x);
    free(b->host_x), free(b->moments), free(b->latents), free(b->seed), free(b->index);
}
typedef struct {
    const Run *r;
    const uint64_t *seed;
    double *x;
} Loading;
static bool see_picture(void *context, size_t i, uint8_t *rgb, int height, int width, Error *e) {
    enum { RGB = 3 };
    const Loading *l = context;
    const EncodeOptions *o = l->r->o;
    size_t size = (size_t)l->r->encoder->size, values = size * size * RGB;
    bool flip = o->flip && philox_flip(l->seed[i]);
    uint8_t *square = dg_alloc(values);
    bool ok = !o->jpeg || jpeg_round_trip(rgb, height, width, e);
    ok = ok && center_crop(&(RgbImage){rgb, height, width}, (int)size, square, e);
    double *x = l->x + i * values;
    for (size_t y = 0; y < size && ok; y++)
        for (size_t column = 0; column < size; column++, x += RGB) {
            const uint8_t *pixel = square + (y * size + (flip ? size - 1 - column : column)) * RGB;
            for (int c = 0; c < RGB; c++) x[c] = pixel[c] / 127.5 - 1;
        }
    free(square);
    return ok;
}
/* The pictures from `at` on, as many as are encoded at a time; returns how many, 0 after a failure. */
static size_t load(const Run *r, Buffers *b, size_t at, uint64_t *seed, Error *e) {
    size_t rows = (size_t)r->encoder->rows, left = r->seeds.count - at, n = left < rows ? left : rows;
    for (size_t i = 0; i < n; i++) b->index[i] = (size_t)(seed[i] = seeds_at(&r->seeds, at + i));
    Loading l = {r, seed, b->host_x};
    return image_source_visit(r->images, b->index, n, see_picture, &l, e) ? n : 0;
}
/* What the device made of n pictures. */
static bool put(Run *r, Buffers *b, size_t n, const uint64_t *seed, Error *e) {
    const VaeEncoder *v = r->encoder;
    size_t latents = shape_count(v->latents);
    vae_encoder_moments(r->encoder, (int)n, b->moments);
    for (size_t i = 0; i < n; i++) {
        if (vae_encoder_latents(v, b->moments + i * 2 * latents, r->o->mean ? NULL : &seed[i], b->latents + i * latents)) continue;
        char *name = image_source_name(r->images, (size_t)seed[i]);
        dg_error(e, "%s: its latents are not finite", name);
        free(name);
        return false;
    }
    return npz_writer_data(r->writer, b->latents, n * latents * sizeof(float), e);
}
/* While the device computes, the next pictures are read. */
static Outcome encode_pictures(Run *r, Buffers *b, Error *e) {
    Device *d = r->device;
    size_t rows = (size_t)r->encoder->rows, values = r->encoder->net->per_sample;
    uint64_t *next = dg_alloc(rows * sizeof *next);
    size_t n = load(r, b, 0, b->seed, e), following;
    Outcome outcome = n ? OUTCOME_DONE : OUTCOME_FAILED;
    for (size_t at = 0; outcome == OUTCOME_DONE && n; at += n, n = following) {
        d->be->upload(d, b->x, b->host_x, n * values * sizeof *b->x);
        vae_encoder_enqueue(r->encoder, (int)n, b->x);
        bool last = at + n == r->seeds.count;
        following = last ? 0 : load(r, b, at + n, next, e);
        if (!(last || following) || !put(r, b, n, b->seed, e)) outcome = OUTCOME_FAILED;
        else if (!last && interrupted(r->interrupt)) outcome = OUTCOME_INTERRUPTED;
        memcpy(b->seed, next, following * sizeof *next);
        progress_show(&r->progress, (double)(at + n));
    }
    free(next);
    return outcome;
}
static bool put_numbers(Run *r, Error *e) {
    int64_t n = (int64_t)r->seeds.count;
    bool ok = !r->label || npz_writer_array(r->writer, "label", 'i', sizeof(int64_t), 1, &n, e);
    for (size_t i = 0; r->label && i < r->seeds.count && ok; i++) {
        int64_t class = r->label[seeds_at(&r->seeds, i)];
        ok = npz_writer_data(r->writer, &class, sizeof class, e);
    }
    ok = ok && npz_writer_array(r->writer, "seeds", 'u', sizeof(uint64_t), 1, &n, e);
    for (size_t i = 0; i < r->seeds.count && ok; i++) {
        uint64_t seed = seeds_at(&r->seeds, i);
        ok = npz_writer_data(r->writer, &seed, sizeof seed, e);
    }
    return ok;
}
static Outcome encode_all(Run *r, Error *e) {
    const Shape s = r->encoder->latents;
    int64_t shape[4] = {(int64_t)r->seeds.count, s.c, s.h, s.w};
    Buffers b;
    bool ok = buffers_new(&b, r, e) && (r->writer = npz_writer_open(r->o->out, e)) &&
              npz_writer_array(r->writer, "samples", 'f', sizeof(float), 4, shape, e);
    progress_begin(&r->progress, r->seeds.count);
    Outcome outcome = ok ? encode_pictures(r, &b, e) : OUTCOME_FAILED;
    progress_clear(&r->progress);
    if (outcome == OUTCOME_DONE && !put_numbers(r, e)) outcome = OUTCOME_FAILED;
    NpzWriter *w = r->writer;
    r->writer = NULL;
    if (outcome == OUTCOME_DONE) outcome = npz_writer_finish(w, e) ? OUTCOME_DONE : OUTCOME_FAILED;
    else if (w) npz_writer_abandon(w);
    if (outcome == OUTCOME_DONE) {
        print_text(stdout, r->o->out);
        printf(": latents of %zu pictures\n", r->seeds.count);
    }
    buffers_free(&b, r->device);
    return outcome;
}
static void cleanup(Run *r) {
    vae_encoder_free(r->encoder);
    device_close(r->device);
    networks_close(&r->networks);
    image_source_close(r->images);
    seeds_free(&r->seeds);
    free(r->label);
}
static int encode(const Args *a, Error *e) {
    Run r = {.o = a->options};
    if (!check(&r, e)) return seeds_free(&r.seeds), EXIT_USAGE;
    r.interrupt = interrupt_begin();
    Outcome outcome = prepare(&r, e);
    if (outcome == OUTCOME_DONE) outcome = encode_all(&r, e);
    if (outcome == OUTCOME_INTERRUPTED) dg_error(e, "interrupted: %s was not written; --seeds takes a part of the pictures", r.o->out);
    interrupt_end(r.interrupt);
    cleanup(&r);
    return outcome == OUTCOME_DONE ? EXIT_DONE : outcome == OUTCOME_INTERRUPTED ? EXIT_INTERRUPTED : EXIT_FAILED;
}
const Command command_encode = {.name = "encode",
                                .operands = "",
                                .summary = "makes latents of pictures",
                                .details = details,
                                .options_bytes = sizeof(EncodeOptions),
                                .defaults = defaults,
                                .option = option,
                                .options = sizeof option / sizeof *option,
                                .run = encode};
