/* generate_check.c -- what can be wrong with the options of `generate`: before any file is opened, and once the network is known. */
#include "program/generate_options.h"
#include "program/grid_file.h"
#include "base/file.h"
#include "files/image.h"
#include "files/store.h"
#include <stdlib.h>
#include <string.h>

static const char DEFAULT_OUTDIR[] = "out";

void generate_paths(const GenerateOptions *o, const char *path[ROLES]) {
    path[ROLE_NETWORK] = o->network, path[ROLE_EXTRACTOR] = o->extractor, path[ROLE_DISCRIMINATOR] = o->discriminator;
    path[ROLE_GNET] = o->gnet, path[ROLE_CLASSIFIER] = o->classifier, path[ROLE_VAE] = o->vae;
}
/* The files that a run reads: of terms without weight none. */
void generate_read_paths(const GenerateOptions *o, const char *path[ROLES]) {
    generate_paths(o, path);
    if (o->sample.guidance == 1) path[ROLE_GNET] = NULL;
    if (o->sample.classifier_scale == 0) path[ROLE_CLASSIFIER] = NULL;
}
static bool check_discriminator(GenerateOptions *o, const Args *a, Error *e) {
    SampleOptions *s = &o->sample;
    bool own = !o->network || o->extractor, weights = sample_discriminates(s);
    if (!own && weights && (args_given(a, "dg_weight_1st_order") || args_given(a, "dg_weight_2nd_order") || s->boosting))
        return dg_error(e, "guidance of --network %s needs --extractor and --discriminator too (or --dg_weight_1st_order 0)", o->network);
    if (own && weights && sample_kind(s, SAMPLER_AUTO) == SAMPLER_ABLATION)
        return dg_error(e, "%s without guidance by a discriminator only: add --dg_weight_1st_order 0",
                        s->sampler ? "--sampler ablation works" : "--solver, --disc, --schedule and --scaling work");
    if (!own || !weights) s->dg_weight_1st_order = s->dg_weight_2nd_order = 0;
    return true;
}
static bool check_files(GenerateOptions *o, const Args *a, Error *e) {
    if (o->subdirs && o->format == FORMAT_NPZ) return dg_error(e, "--subdirs: only PNG files have them, not --format npz");
    if (o->format != FORMAT_NPZ && (o->save_latents || args_given(a, "npz-keys")))
        return dg_error(e, "--%s: only npz files have them: add --format npz", o->save_latents ? "save-latents" : "npz-keys");
    if (o->save_latents && args_given(a, "npz-keys") && o->npz_keys != STORE_KEYS_DG)
        return dg_error(e, "--save-latents: floats are stored as samples and label, which are --npz-keys dg");
    if (o->save_latents && o->grid) return dg_error(e, "--grid shows pixels, --save-latents stores something else: leave one of them out");
    if (o->save_latents && o->vae)
        return dg_error(e, "--vae makes pictures of latents, --save-latents stores them as they are: leave one of them out");
    if (!o->vae && args_given(a, "vae-batch")) return dg_error(e, "--vae-batch needs --vae, the file of an autoencoder");
    if (o->save_latents) o->npz_keys = STORE_KEYS_DG;
    if (!o->outdir && !o->grid && !o->measure.no_images) o->outdir = DEFAULT_OUTDIR;
    if (!o->outdir && (o->subdirs || o->overwrite || args_given(a, "format")))
        return dg_error(e, "--%s needs --outdir", o->subdirs ? "subdirs" : o->overwrite ? "overwrite" : "format");
    return true;
}
/* Where the statistics go that have no name: beside the images, under the seeds they are of. */
static char *name_statistics(const GenerateOptions *o) {
    Text t = {0};
    text_printf(&t, "%s/statistics_", o->outdir);
    for (const char *c = o->seeds; *c && t.len < 200 + strlen(o->outdir); c++)
        text_printf(&t, "%c", *c == ',' ? '+' : *c == ' ' ? '_' : *c);
    text_printf(&t, ".npz");
    return t.text;
}
static bool check_measures(GenerateOptions *o, const Args *a, Error *e) {
    static const char *const only[] = {"ref", "protocol", "inception", "stats", "stats-every", "no-images", "allow-fewer", "output"};
    MeasureOptions *m = &o->measure;
    const char *input[ROLES + 2];
    for (size_t i = 0; i < sizeof only / sizeof *only && !m->metrics; i++)
        if (args_given(a, only[i])) return dg_error(e, "--%s is of a run with --metrics, what to measure", only[i]);
    if (!m->metrics) return true;
    if (o->save_latents) return dg_error(e, "--metrics measures pictures, --save-latents stores something else: leave one of them out");
    if (m->no_images && (o->outdir || o->grid))
        return dg_error(e, "--no-images keeps no picture: leave out --%s, or keep the images", o->outdir ? "outdir" : "grid");
    if (!m->stats && !o->outdir) return dg_error(e, "--metrics needs --stats, the file that keeps the statistics, or --outdir");
    if (!m->stats) m->stats = o->stats = name_statistics(o);
    generate_paths(o, input);
    input[ROLES] = m->ref, input[ROLES + 1] = m->inception;
    if (m->ref && image_source_reads(&m->ref, 1, NULL, m->stats))
        return dg_error(e, "--stats %s is a file that is read: give it another name", m->stats);
    if (!output_file_check("stats", "statistics", m->stats, o->outdir, input, ROLES + 2, e)) return false;
    if (o->grid && same_target(o->grid, m->stats))
        return dg_error(e, "--grid and --stats are both %s: give each a name of its own", m->stats);
    if (o->tracing.path && same_target(o->tracing.path, m->stats))
        return dg_error(e, "--trace and --stats are both %s: give each a name of its own", m->stats);
    return !(m->no_images && o->device.provider != DEVICE_OWN) ||
           dg_error(e, "--no-images and --provider %s: which layers a library computes would not be known of the statistics",
                    provider_word(&o->device));
}
bool generate_check(GenerateOptions *o, const Args *a, SeedList *wanted, Error *e) {
    const char *path[ROLES];
    generate_paths(o, path);
    sample_options_given(&o->sample, a);
    if (!networks_check(path, &o->sample, e) || !check_discriminator(o, a, e) || !check_files(o, a, e) || !check_measures(o, a, e))
        return false;
    if (!sample_check(&o->sample, e) || !seeds_parse(o->seeds, wanted, e)) return false;
    if (o->grid && wanted->count > GRID_MAX_TILES)
        return dg_error(e, "--grid: %zu images, a grid shows at most %d", wanted->count, GRID_MAX_TILES);
    return true;
}
/* Whether the files that are asked for can hold the network's images. */
bool generate_check_images(const GenerateOptions *o, const Networks *n, Error *e) {
    Shape s = n->picture;
    bool png = o->grid || (o->outdir && o->format == FORMAT_PNG);
    if (n->score->facts.latent && !o->vae && !o->save_latents)
        return dg_error(e, "this network makes latents, not pictures: add --vae FILE, the autoencoder that decodes them, or --format npz "
                           "--save-latents");
    if (png && !image_png_available(e)) return false;
    if (png && !image_fits_png(s.h, s.w, s.c, e)) return dg_error_context(e, "the images");
    if (s.c == 4 && !o->save_latents)
        printf("the images have 4 channels: where they are latents, --format npz --save-latents stores them as they are, not as 8 bits\n");
    return true;
}
