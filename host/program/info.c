/* info.c -- the command `info`: what a weight file holds, and what running it would take. */
#include "program/checkpoint_options.h"
#include "program/commands.h"
#include "device/device.h"
#include "program/plan_print.h"
#include <stdlib.h>
#include <string.h>

typedef struct {
    bool tensors;
    int batch;
    CheckpointOptions checkpoint;
} InfoOptions;
enum { NAME_COLUMN = 60 };

static const Option option[] = {
    {"What to print", "tensors", NULL, OPTION_FLAG, offsetof(InfoOptions, tensors), NULL, 0, 0, false, "every tensor: name, type, shape"},
    {NULL, "batch", NULL, OPTION_INT, offsetof(InfoOptions, batch), "N", 0, MAX_BATCH, false,
     "with N > 0: planned memory and FLOPs at this batch size"},
    CHECKPOINT_OPTIONS(InfoOptions, checkpoint),
};
static const char details[] = "FILE may be safetensors, a PyTorch file or an EDM pickle; nothing in it is executed.\n\n"
                              "Examples:\n"
                              "  dg_cuda info edm-cifar10-32x32-uncond-vp.pkl --batch 64\n"
                              "  dg_cuda info network.safetensors --tensors\n";

static void print_tensors(const Inspection *f) {
    for (int i = 0; i < f->count; i++) {
        const InspectTensor *t = &f->tensor[i];
        int width = (int)print_text(stdout, t->name);
        printf("%*s %-4s [", width < NAME_COLUMN ? NAME_COLUMN - width : 0, "", dtype_name(t->dtype));
        for (int k = 0; k < t->dims; k++) printf(k ? ",%lld" : "%lld", (long long)t->shape[k]);
        printf("]\n");
    }
}
static void print_line(const char *what, const char *text) {
    print_text(stdout, what);
    fputs(": ", stdout);
    print_text(stdout, text);
    putchar('\n');
}
/* The metadata of a safetensors file, but for the configuration. */
static void print_metadata(const char *path) {
    SafeTensors *s = st_open(path, NULL);
    for (const Json *j = s && s->metadata ? s->metadata->child : NULL; j; j = j->next)
        if (j->kind == JSON_STRING && strcmp(j->key, "config")) print_line(j->key, j->string);
    st_close(s);
}
static bool print_facts(const Inspection *f, const char *path, int batch, Error *e) {
    double bytes = 0;
    for (int i = 0; i < f->count; i++) {
        double size = (double)dtype_bytes(f->tensor[i].dtype);
        for (int k = 0; k < f->tensor[i].dims; k++) size *= (double)f->tensor[i].shape[k];
        bytes += size;
    }
    fputs("file: ", stdout);
    print_text(stdout, path);
    printf(", %s, %d tensors, %llu parameters (%.2f M), %.1f MiB\n", f->format, f->count, (unsigned long long)f->parameters,
           (double)f->parameters * 1e-6, bytes / 1048576);
    print_line("architecture", f->architecture);
    print_lines(stdout, f->notes);
    if (!strcmp(f->format, "safetensors")) print_metadata(path);
    if (!f->config) return !batch || dg_error(e, "--batch: the network in this file is not known, so neither is what it takes");
    print_line("config", f->config);
    Json *config = json_parse(f->config, strlen(f->config), e);
    bool ok = config && plan_print(config, batch, e);
    json_free(config);
    return ok;
}
static int info(const Args *a, Error *e) {
    const InfoOptions *o = a->options;
    const char *path = a->operand[0];
    ConvertOptions c = checkpoint_options(&o->checkpoint);
    Inspection *f = inspect(path, &c, e);
    if (!f) return EXIT_FAILED;
    bool ok = print_facts(f, path, o->batch, e) || dg_error_context(e, "%s", path);
    if (ok && o->tensors) print_tensors(f);
    inspection_free(f);
    return ok ? EXIT_DONE : EXIT_FAILED;
}
const Command command_info = {.name = "info",
                              .operands = "FILE",
                              .operands_min = 1,
                              .operands_max = 1,
                              .summary = "says what a weight file holds",
                              .details = details,
                              .options_bytes = sizeof(InfoOptions),
                              .option = option,
                              .options = sizeof option / sizeof *option,
                              .run = info};
