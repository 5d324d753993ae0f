/* convert.c -- the command `convert`: official checkpoints to safetensors. */
#include "program/checkpoint_options.h"
#include "program/commands.h"
#include "base/file.h"
#include "base/folder.h"
#include "base/interrupt.h"
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
    const char *out;
    int dtype;
    bool overwrite;
    CheckpointOptions checkpoint;
} ConvertCommandOptions;
static const Option option[] = {
    {"Conversion", "out", "o", OPTION_TEXT, offsetof(ConvertCommandOptions, out), "OUT.safetensors", 0, 0, false,
     "the file to write; default: the last operand"},
    {NULL, "overwrite", NULL, OPTION_FLAG, offsetof(ConvertCommandOptions, overwrite), NULL, 0, 0, false,
     "replace OUT where it is there already"},
    {NULL, "dtype", NULL, OPTION_CHOICE, offsetof(ConvertCommandOptions, dtype), "keep|fp16|fp32", 0, 0, false,
     "how floating-point tensors are stored"},
    CHECKPOINT_OPTIONS(ConvertCommandOptions, checkpoint),
};
static const char details[] =
    "Reads PyTorch files (zip and legacy), EDM's network pickles and safetensors, without Python and without executing anything in\n"
    "them. The network's configuration and the SHA-256 of the source go into the result's metadata; choices are printed. Several\n"
    "inputs with different tensors (a network in pieces) become one file.\n\n"
    "Examples:\n"
    "  dg_cuda convert edm-cifar10-32x32-uncond-vp.pkl edm-cifar10.safetensors\n"
    "  dg_cuda convert 32x32_classifier.pt extractor.safetensors --dtype fp16\n"
    "  dg_cuda convert model-0000*-of-00003.safetensors -o model.safetensors\n";

static bool ends_in_safetensors(const char *path) {
    const char *dot = strrchr(path, '.');
    return dot && !strcmp(dot, ".safetensors");
}
/* The operands that are inputs; *out is the result. An operand that a shell's pattern may have put last is never replaced. */
static int choose_inputs(const Args *a, const char **out, Error *e) {
    const ConvertCommandOptions *o = a->options;
    int inputs = o->out ? a->operands : a->operands - 1;
    *out = o->out ? o->out : a->operand[a->operands - 1];
    if (!ends_in_safetensors(*out))
        return dg_error(e, "the result comes last (or after -o) and ends in .safetensors, \"%s\" does not", *out), 0;
    if (inputs < 1) return dg_error(e, "%s: the result's name is missing: convert IN... OUT.safetensors, or -o OUT.safetensors", *out), 0;
    if (is_input(*out, a->operand, inputs)) return dg_error(e, "%s would be replaced by its own conversion: give another name", *out), 0;
    struct stat s;
    if (lstat(*out, &s) != 0) return inputs;
    bool named = o->out || (inputs == 1 && !ends_in_safetensors(a->operand[0]));
    if (!o->overwrite) dg_error(e, "%s exists: give the result another name (-o), or --overwrite to replace it", *out);
    else if (!named) dg_error(e, "%s exists and may be one of the inputs: to replace it, name it with -o", *out);
    return o->overwrite && named ? inputs : 0;
}
static int run(const Args *a, Error *e) {
    const ConvertCommandOptions *o = a->options;
    const char *out;
    int inputs = choose_inputs(a, &out, e);
    if (!inputs) return EXIT_USAGE;
    if (!out_check(out, e)) return EXIT_FAILED;
    file_remove_strays(out);
    Interrupt *interrupt = interrupt_begin();
    ConvertOptions c = checkpoint_options(&o->checkpoint);
    c.dtype = (ConvertDType)o->dtype, c.interrupt = interrupt;
    Text notes = {0};
    bool ok = convert(a->operand, inputs, out, &c, &notes, e), stopped = !ok && interrupted(interrupt);
    interrupt_end(interrupt);
    if (ok) {
        if (notes.len) print_lines(stdout, notes.text);
        print_text(stdout, out);
        printf(": written\n");
    }
    text_free(&notes);
    return ok ? EXIT_DONE : stopped ? EXIT_INTERRUPTED : EXIT_FAILED;
}
const Command command_convert = {.name = "convert",
                                 .operands = "IN... OUT.safetensors",
                                 .operands_min = 1,
                                 .operands_max = 1000,
                                 .summary = "turns official checkpoints into safetensors",
                                 .details = details,
                                 .options_bytes = sizeof(ConvertCommandOptions),
                                 .option = option,
                                 .options = sizeof option / sizeof *option,
                                 .run = run};
