/* convert.c -- the command `convert`: official checkpoints to safetensors. */
#include "program/checkpoint_options.h"
#include "program/commands.h"
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

ConvertOptions checkpoint_options(const CheckpointOptions *o) {
    static const char *const times[] = {NULL, "linear", "cosine"}, *const orders[] = {NULL, "legacy", "new"};
    static const char *const preconds[] = {NULL, "EDMPrecond", "VPPrecond", "VEPrecond", "iDDPMPrecond"};
    return (ConvertOptions){.key = o->key,
                            .prefix = o->prefix,
                            .cache = o->cache,
                            .ignore_extra = o->ignore_extra,
                            .extractor_num_head_channels = o->extractor_num_head_channels,
                            .discriminator_num_head_channels = o->discriminator_num_head_channels,
                            .num_head_channels = o->num_head_channels,
                            .num_heads = o->num_heads,
                            .image_size = o->image_size,
                            .time = times[o->time],
                            .attention_order = orders[o->attention_order],
                            .precond = preconds[o->precond]};
}

typedef struct {
    int dtype;
    CheckpointOptions checkpoint;
} ConvertCommandOptions;
static const Option option[] = {
    {"Conversion", "dtype", NULL, OPTION_CHOICE, offsetof(ConvertCommandOptions, dtype), "keep|fp16|fp32", 0, 0, false,
     "how floating-point tensors are stored"},
    CHECKPOINT_OPTIONS(ConvertCommandOptions, checkpoint),
};
static const char details[] =
    "Reads PyTorch files (zip and legacy), EDM's network pickles and safetensors, without Python and without executing anything in\n"
    "them. The network's configuration and the SHA-256 of the source go into the result's metadata; choices are printed. Several\n"
    "inputs with different tensors (a network in pieces) become one file.\n\n"
    "Examples:\n"
    "  dg_cuda convert edm-cifar10-32x32-uncond-vp.pkl edm-cifar10.safetensors\n"
    "  dg_cuda convert 32x32_classifier.pt extractor.safetensors --dtype fp16\n";

static bool same_path(const char *a, const char *b) {
    struct stat x, y;
    return !strcmp(a, b) || (stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino);
}
static bool check_usage(const Args *a, Error *e) {
    const char *out = a->operand[a->operands - 1], *dot = strrchr(out, '.');
    if (!dot || strcmp(dot, ".safetensors")) return dg_error(e, "the result comes last and ends in .safetensors, \"%s\" does not", out);
    for (int i = 0; i + 1 < a->operands; i++)
        if (same_path(a->operand[i], out)) return dg_error(e, "%s would be replaced by its own conversion: give another name", out);
    return true;
}
static int run(const Args *a, Error *e) {
    const ConvertCommandOptions *o = a->options;
    if (!check_usage(a, e)) return EXIT_USAGE;
    ConvertOptions c = checkpoint_options(&o->checkpoint);
    c.dtype = (ConvertDType)o->dtype;
    const char *out = a->operand[a->operands - 1];
    Text notes = {0};
    bool ok = convert(a->operand, a->operands - 1, out, &c, &notes, e);
    if (ok) printf("%s%s: written\n", notes.len ? notes.text : "", out);
    text_free(&notes);
    return ok ? EXIT_DONE : EXIT_FAILED;
}
const Command command_convert = {.name = "convert",
                                 .operands = "IN... OUT.safetensors",
                                 .operands_min = 2,
                                 .operands_max = 1000,
                                 .summary = "turns official checkpoints into safetensors",
                                 .details = details,
                                 .options_bytes = sizeof(ConvertCommandOptions),
                                 .option = option,
                                 .options = sizeof option / sizeof *option,
                                 .run = run};
