/* generate_options.c -- the command `generate` as tables: its options, presets and help text. */
#include "program/generate_options.h"
#include "program/commands.h"
#include "files/image.h"
#include <math.h>
#include <stddef.h>

enum { MAX_GRID_SCALE = 32 };

static void defaults(void *options) {
    GenerateOptions *o = options;
    *o = (GenerateOptions){.seeds = "0-63",
                           .class_name = "seeded",
                           .batch = 64,
                           .vae_batch = DECODER_ROWS,
                           .grid_scale = 1,
                           .measure = {.protocol = UNSET, .every = MEASURE_EVERY},
                           .sample = sample_defaults()};
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
    {NULL, "gnet", NULL, OPTION_TEXT, AT(gnet), "FILE", 0, 0, false, "score network that guides, by --guidance (autoguidance, EDM2)"},
    {NULL, "classifier", "classifier_path", OPTION_TEXT, AT(classifier), "FILE", 0, 0, false,
     "classifier of noisy images, for --classifier_scale"},
    {NULL, "vae", NULL, OPTION_TEXT, AT(vae), "FILE", 0, 0, false,
     "autoencoder (Stable Diffusion's, KL-f8) that makes pictures of latents: for networks like DiT"},

    {"What to make", "seeds", NULL, OPTION_TEXT, AT(seeds), "LIST", 0, 0, false,
     "one image for each seed, for example 0-63,70; an image depends on its seed and the options alone"},
    {NULL, "class", NULL, OPTION_TEXT, AT(class_name), "CLASS", 0, 0, true,
     "of conditional networks: a class (its number, or its name: ImageNet's where there are 1000 classes, or those in the network's file), "
     "several with commas between (seed modulo their number says which), seeded (drawn from the seed) or balanced (seed modulo the "
     "number of classes)"},
    {NULL, "batch", "max_batch_size batch_size", OPTION_INT, AT(batch), "N", 1, MAX_BATCH, false, "images at a time; does not change them"},
    {NULL, "vae-batch", NULL, OPTION_INT, AT(vae_batch), "N", 1, MAX_BATCH, false,
     "images that --vae decodes at a time: its feature maps are large; does not change them"},

    {"Where to", "outdir", NULL, OPTION_TEXT, AT(outdir), "DIR", 0, 0, false,
     "folder for the images and manifest.json; default: out, or nothing when --grid is given"},
    {NULL, "format", "save_type", OPTION_CHOICE, AT(format), "png|npz", 0, 0, true, "a PNG file for each seed, or one samples.npz"},
    {NULL, "npz-keys", NULL, OPTION_CHOICE, AT(npz_keys), "edm|dg", 0, 0, true,
     "names in samples.npz; edm: arr_0 (pixels), arr_1 (classes), seeds; dg, as DG's own tools read them: samples, label (one-hot), seeds"},
    {NULL, "save-latents", NULL, OPTION_FLAG, AT(save_latents), NULL, 0, 0, true,
     "with --format npz: the sampler's result itself, not pixels: samples (f32, N x C x H x W), label (one-hot), seeds"},
    {NULL, "subdirs", NULL, OPTION_FLAG, AT(subdirs), NULL, 0, 0, true, "a folder for every thousand PNG files"},
    {NULL, "grid", NULL, OPTION_TEXT, AT(grid), "FILE", 0, 0, false,
     "all images of this run as one PNG; keep it out of a folder whose images are to be measured"},
    {NULL, "grid-columns", NULL, OPTION_INT, AT(grid_columns), "N", 0, GRID_MAX_TILES, false, "of the grid; 0: as square as possible"},
    {NULL, "grid-scale", NULL, OPTION_INT, AT(grid_scale), "N", 1, MAX_GRID_SCALE, false, "enlarges the grid's pixels"},
    {NULL, "overwrite", NULL, OPTION_FLAG, AT(overwrite), NULL, 0, 0, false,
     "first remove the images that DIR's manifest.json lists; without it a second run adds what is missing"},
    {NULL, "dry-run", "print-config", OPTION_FLAG, AT(dry_run), NULL, 0, 0, false,
     "print every option's value and what the run would take, and make nothing"},

    {NULL, "preset", NULL, OPTION_TEXT, AT(preset), "NAME", 0, 0, false, "published settings, listed below; options given beside it win"},
    MEASURE_OPTIONS(GenerateOptions, measure),
    SAMPLE_OPTIONS(GenerateOptions, sample.),
    GUIDANCE_OPTIONS(GenerateOptions, sample.),

    DEVICE_OPTIONS(GenerateOptions, device),
    TRACE_OPTIONS(GenerateOptions, tracing, "the N batches after the first one"),
    CHECKPOINT_OPTIONS(GenerateOptions, checkpoint),
    CACHE_OPTION(GenerateOptions, checkpoint),
};
static const char details[] =
    "The first Ctrl-C (or SIGTERM, SIGHUP) ends a run with whole files only, and the same command continues it later; a second one\n"
    "ends it at once.\n"
    "Both --option=value and --option value work, and '-' may be written for '_'.\n\n"
    "Examples:\n"
    "  dg_cuda generate --seeds 0-15 --outdir out --grid grid.png\n"
    "  dg_cuda generate --seeds 0-15 --class heart --grid hearts.png\n"
    "  dg_cuda generate --seeds 0-4999 --outdir out --metrics fd,pr\n"
    "  dg_cuda generate --network edm-cifar10-32x32-uncond-vp.safetensors --extractor 32x32_classifier.safetensors \\\n"
    "      --discriminator discriminator_60.safetensors --preset edm-cifar10-uncond-dg --seeds 0-49999 --outdir cifar10 --format npz\n";
static const ForeignOption foreign[] = {
    {"cond", "the network's file says whether it is conditional; --class chooses the class"},
    {"num_samples", "an image is made for each seed: of N images, --seeds 0-(N-1)"},
    {"seed", "every image has a seed of its own, which makes it repeatable: --seeds 0-63, or --seeds 5 for one image"},
    {"do_seed", "images depend on their seeds always: --seeds 0-63"},
    {"network_pkl", "the network's file is given by --network"},
};
const Command command_generate = {.name = "generate",
                                  .operands = "",
                                  .summary = "makes images",
                                  .details = details,
                                  .options_bytes = sizeof(GenerateOptions),
                                  .defaults = defaults,
                                  .option = option,
                                  .options = sizeof option / sizeof *option,
                                  .preset = sample_presets,
                                  .foreign = foreign,
                                  .foreigns = sizeof foreign / sizeof *foreign,
                                  .run = generate_run};
