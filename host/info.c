/* info.c -- the command `info`: what a weight file holds, and what running it would take. */
#include "commands.h"
#include "dg.h"
#include "guidance.h"
#include <stdlib.h>
#include <string.h>

typedef struct {
    bool tensors;
    int batch;
} InfoOptions;
enum { MAX_BATCH = 65536 };

static const Option option[] = {
    {"What to print", "tensors", NULL, OPTION_FLAG, offsetof(InfoOptions, tensors), NULL, 0, 0, false, "every tensor: name, type, shape"},
    {NULL, "batch", NULL, OPTION_INT, offsetof(InfoOptions, batch), "N", 0, MAX_BATCH, false, "with N > 0: planned memory and FLOPs at this batch size"},
};
static const char details[] =
    "Examples:\n"
    "  dg_cuda info network.safetensors\n"
    "  dg_cuda info network.safetensors --batch 64 --tensors\n";

static const char *const precond_names[] = {"EDMPrecond", "VPPrecond", "VEPrecond", "iDDPMPrecond"};
static const char *const model_names[] = {"SongUNet", "DhariwalUNet"};

static void print_tensors(const SafeTensors *f) {
    for (int i = 0; i < f->count; i++) {
        const StTensor *t = &f->tensor[i];
        printf("%-60s %-4s [", t->name, dtype_name(t->dtype));
        for (int k = 0; k < t->dims; k++) printf(k ? ",%lld" : "%lld", (long long)t->shape[k]);
        printf("]\n");
    }
}
/* A network without a device: what a run of `batch` images would need. */
static bool print_plan(const char *kind, const NetworkConfig *n, const EncoderConfig *c, int batch, Error *e) {
    Graph *g = graph_new(DG_F32);
    NetworkGraph net;
    EncoderGraph encoder;
    bool ok;
    if (n) ok = network_build(g, n, batch, &net, e);
    else {
        Tid x = g_input(g, "x", (Shape){batch, c->image_size, c->image_size, c->in_channels});
        ok = encoder_build(g, c, "", x, !strcmp(kind, "head"), &encoder, e);
    }
    if (ok) {
        double weights = 0;
        graph_fuse(g);
        graph_plan(g);
        for (Tid t = 1; t < g->nt; t++)
            if (g->t[t].kind == T_WEIGHT) weights += (double)shape_count(g->t[t].shape);
        printf("batch %d: %.1f MiB of activations in fp32 (half in 16 bits), %.1f MiB of weights, %.3f GFLOP an image%s\n", batch,
               (double)g->arena_bytes / 1048576, weights * 4 / 1048576, graph_flops(g) / batch * 1e-9, n ? " and call" : ", forward");
    }
    graph_free(g);
    return ok;
}
static bool print_network(const Weights *w, int batch, Error *e) {
    NetworkConfig c;
    if (!network_config(&c, weights_config(w), e)) return false;
    printf("architecture: %s %s, %dx%dx%d, ", precond_names[c.precond], model_names[c.model_type], c.img_resolution, c.img_resolution, c.img_channels);
    if (c.label_dim) printf("%d classes\n", c.label_dim);
    else printf("unconditional\n");
    return !batch || print_plan("denoiser", &c, NULL, batch, e);
}
static bool print_encoder(const char *kind, const Weights *w, int batch, Error *e) {
    EncoderConfig c;
    if (!encoder_config(&c, weights_config(w), e)) return false;
    printf("architecture: ADM encoder (%s), %dx%dx%d, %d output%s", kind, c.image_size, c.image_size, c.in_channels, c.out_channels, c.out_channels > 1 ? "s" : "");
    if (c.condition) printf(", conditional on %d classes", c.num_class);
    printf("\n");
    return !batch || print_plan(kind, NULL, &c, batch, e);
}
static int info(const Args *a, Error *e) {
    const InfoOptions *o = a->options;
    Weights *w = weights_open(a->operand[0], e);
    if (!w) return EXIT_FAILED;
    const SafeTensors *f = weights_file(w);
    double parameters = 0, bytes = 0;
    for (int i = 0; i < f->count; i++) {
        const StTensor *t = &f->tensor[i];
        bytes += (double)t->bytes;
        if (t->dtype != DG_U8 && t->dtype != DG_I64) parameters += (double)t->count;
    }
    printf("file: %s, %d tensors, %.0f parameters (%.2f M), %.1f MiB\n", a->operand[0], f->count, parameters, parameters * 1e-6, bytes / 1048576);
    const char *kind = NULL;
    bool ok = json_get_string(weights_config(w), "kind", "denoiser", &kind, e);
    if (ok && !weights_config(w)) printf("architecture: unknown, the file carries no configuration\n");
    else if (ok && !strcmp(kind, "denoiser")) ok = print_network(w, o->batch, e);
    else if (ok) ok = print_encoder(kind, w, o->batch, e);
    if (!ok) dg_error_context(e, "%s", a->operand[0]);
    for (const Json *j = f->metadata ? f->metadata->child : NULL; ok && j; j = j->next)
        if (j->kind == JSON_STRING) printf("%s: %s\n", j->key, j->string);
    if (ok && o->tensors) print_tensors(f);
    weights_free(w);
    return ok ? EXIT_DONE : EXIT_FAILED;
}
const Command command_info = {.name = "info", .operands = "FILE", .operands_min = 1, .operands_max = 1, .summary = "says what a weight file holds",
                              .details = details, .options_bytes = sizeof(InfoOptions), .option = option, .options = sizeof option / sizeof *option, .run = info};
