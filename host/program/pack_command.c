/* pack_command.c -- the command `pack`: any set of images as one array, the form that ADM's evaluator reads, a few images at a time. */
#include "base/file.h"
#include "base/folder.h"
#include "base/progress.h"
#include "files/image_array.h"
#include "program/commands.h"
#include <stdlib.h>

typedef struct {
    TextList images;
    const char *out;
    bool flat, overwrite;
} PackOptions;
static const Option option[] = {
    {"Images", "images", NULL, OPTION_TEXTS, offsetof(PackOptions, images), "SOURCE...", 0, 0, false,
     "folders of PNG and JPEG files, zip files of them, .npz files of images; one after the other, files of one by name"},
    {NULL, "out", "o", OPTION_TEXT, offsetof(PackOptions, out), "FILE.npz", 0, 0, false, "the file to write"},
    {NULL, "flat", NULL, OPTION_FLAG, offsetof(PackOptions, flat), NULL, 0, 0, false, "of a folder, not what lies in folders within it"},
    {NULL, "overwrite", NULL, OPTION_FLAG, offsetof(PackOptions, overwrite), NULL, 0, 0, false, "replace FILE where it is there already"},
};
static const char details[] =
    "Writes arr_0 (bytes, number x height x width x 3), and where all images have them arr_1 (classes) and seeds.\n\n"
    "Example:\n"
    "  dg_cuda pack --images out --out samples_50000x256x256x3.npz\n";

static void show(void *progress, size_t images) { progress_show(progress, (double)images); }
static bool put_images(NpzWriter *w, ImageSource *s, const Interrupt *stop, Error *e) {
    size_t n = image_source_count(s);
    Progress progress;
    progress_begin(&progress, n);
    Outcome outcome = image_array_write(w, s, n, stop, show, &progress, e);
    progress_clear(&progress);
    return outcome == OUTCOME_DONE;
}
/* The classes, where every image has one; else NULL, which *why tells, if they are there but are no classes. */
static int64_t *read_labels(ImageSource *s, Error *why) {
    size_t n = image_source_count(s);
    int *label = dg_alloc(n * sizeof *label);
    int64_t *wide = dg_alloc(n * sizeof *wide);
    bool all = image_source_labels(s, label, why);
    for (size_t i = 0; i < n && all; i++) wide[i] = label[i], all = label[i] >= 0;
    free(label);
    if (!all) free(wide);
    return all ? wide : NULL;
}
static bool put_labels(NpzWriter *w, const ImageSource *s, const int64_t *label, Error *e) {
    size_t n = image_source_count(s);
    int64_t shape = (int64_t)n;
    return !label || (npz_writer_array(w, "arr_1", 'i', 8, 1, &shape, e) && npz_writer_data(w, label, n * sizeof *label, e));
}
static bool put_seeds(NpzWriter *w, const ImageSource *s, Error *e) {
    size_t n = image_source_count(s);
    uint64_t *seed = dg_alloc(n * sizeof *seed);
    int64_t shape = (int64_t)n;
    bool ok = !image_source_seeds(s, seed) ||
              (npz_writer_array(w, "seeds", 'u', 8, 1, &shape, e) && npz_writer_data(w, seed, n * sizeof *seed, e));
    free(seed);
    return ok;
}
static bool pack(const PackOptions *o, const Interrupt *stop, Error *e) {
    ImageSource *s = image_source_open(o->images.item, o->images.count, &(SourceRules){.flat = o->flat}, e);
    Error why = {""};
    int64_t *label = s ? read_labels(s, &why) : NULL; /* before the images: hours may lie between */
    NpzWriter *w = s ? npz_writer_open(o->out, e) : NULL;
    bool ok = w && put_images(w, s, stop, e) && put_labels(w, s, label, e) && put_seeds(w, s, e);
    free(label);
    if (ok) ok = npz_writer_finish(w, e);
    else if (w) npz_writer_abandon(w);
    if (ok) {
        print_text(stdout, o->out);
        printf(": %zu images of %dx%d\n", image_source_count(s), image_source_width(s), image_source_height(s));
        if (why.text[0]) print_text(stdout, why.text), printf(": left out\n");
    }
    image_source_close(s);
    return ok;
}
static int run(const Args *a, Error *e) {
    const PackOptions *o = a->options;
    if (!o->images.count) return dg_error(e, "--images is missing: what to pack"), EXIT_USAGE;
    if (!o->out) return dg_error(e, "--out is missing: the file to write"), EXIT_USAGE;
    if (image_source_reads(o->images.item, o->images.count, &(SourceRules){.flat = o->flat}, o->out))
        return dg_error(e, "--out %s is one of the images' files", o->out), EXIT_USAGE;
    if (!out_ready(o->out, o->overwrite, e)) return EXIT_FAILED;
    Interrupt *interrupt = interrupt_begin();
    bool ok = pack(o, interrupt, e), stopped = !ok && interrupted(interrupt);
    interrupt_end(interrupt);
    return ok ? EXIT_DONE : stopped ? EXIT_INTERRUPTED : EXIT_FAILED;
}
const Command command_pack = {.name = "pack",
                              .operands = "",
                              .summary = "puts any images into one .npz, as ADM's evaluator reads it",
                              .details = details,
                              .options_bytes = sizeof(PackOptions),
                              .option = option,
                              .options = sizeof option / sizeof *option,
                              .run = run};
