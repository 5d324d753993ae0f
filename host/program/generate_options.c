/* generate_options.c -- the command `generate` as tables: its options, presets and help text. */
#include "program/generate_options.h"
#include "program/commands.h"
#include "files/image.h"
#include <math.h>
#include <stddef.h>

enum { MAX_GRID_SCALE = 32 };

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
    {"edm-cifar10", "steps=18 dg_weight_1st_order=0 dg_weight_2nd_order=0", "EDM, CIFAR-10; no guidance"},
    {"edm-ffhq64", "steps=40 dg_weight_1st_order=0 dg_weight_2nd_order=0", "EDM, FFHQ and AFHQv2 at 64x64; no guidance"},
    {"edm-imagenet64", "steps=256 S_churn=40 S_min=0.05 S_max=50 S_noise=1.003 dg_weight_1st_order=0 dg_weight_2nd_order=0",
     "EDM, ImageNet at 64x64; no guidance"},
    {"edm-cifar10-uncond-dg", "steps=18 dg_weight_1st_order=2 dg_weight_2nd_order=0 time_min=0.01 time_max=1 boosting=0",
     "EDM-G++, CIFAR-10, unconditional; guided, weight 2"},
    {"edm-cifar10-cond-dg", "steps=18 dg_weight_1st_order=1 dg_weight_2nd_order=0 time_min=0.01 time_max=1 boosting=1",
     "EDM-G++, CIFAR-10, class-conditional; guided, weight 1, with boosting"},
};
static const char details[] =
    "The first Ctrl-C (or SIGTERM, SIGHUP) ends a run with whole files only, and the same command continues it later; a second one\n"
    "ends it at once.\n"
    "Both --option=value and --option value work, and '-' may be written for '_'.\n\n"
    "Examples:\n"
    "  dg_cuda generate --seeds 0-15 --outdir out --grid grid.png\n"
    "  dg_cuda generate --seeds 0-15 --class heart --grid hearts.png\n"
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
                                  .preset = preset,
                                  .presets = sizeof preset / sizeof *preset,
                                  .foreign = foreign,
                                  .foreigns = sizeof foreign / sizeof *foreign,
                                  .run = generate_run};
