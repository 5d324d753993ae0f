/* op_list.c -- the ops of networks, as JSON on standard output: what bench/sass_model.py works out times from.
 *   build/bench/op_list fp16 CASE.safetensors...      of golden cases
 *   build/bench/op_list bf16 --preset NAME            of a preset that says its networks: all of them
 * Neither weights nor a device are touched. Shapes are those of one image. A graph is named after what it stands for: "network",
 * "guide" for extractor and head with the gradient, or "decoder". Of a preset: `calls` of a run, in which each image takes `rows` rows;
 * `most`: images that a call takes at a time, 0 where that is the batch. Of an op: its kind, the tensors it reads (0: none) and writes, the numbers that decide how it is launched; `stats` of a
 * convolution: it leaves statistics for a norm; `stats` of a norm: the channels whose statistics others have left; `maker` of a pixel norm: the op that may leave its products, so
 * that it need not run, or -1; `candidate` of a resample: convolutions may read its input instead; `pooled` of a norm or its gradient: the resamples that it may do. */
#include "base/json.h"
#include "device/cuda/norm_fold.h"
#include "device/cuda/norm_stats.h"
#include "device/cuda/pooled.h"
#include "device/cuda/upsampled.h"
#include "files/safetensors.h"
#include "program/bench.h"
#include "program/commands.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void print_tensors(const Graph *g) {
    printf("\"tensors\": [");
    for (Tid t = 0; t < g->nt; t++) {
        Shape s = g->t[t].shape;
        printf("%s\n[%d, %d, %d, %d, \"%s\"]", t ? "," : "", s.n, s.h, s.w, s.c, dtype_name(g->t[t].dtype));
    }
    printf("]");
}
static void print_numbers(const Graph *g, int i) {
    const Op *op = &g->op[i];
    int from[2];
    static const char *const truth[] = {"false", "true"};
    if (op->kind == OP_CONV) {
        static const char *const act[] = {[ACT_NONE] = "none", [ACT_RELU] = "relu", [ACT_GELU_TANH] = "gelu_tanh"};
        printf(", \"stride\": %d, \"top\": %d, \"left\": %d, \"act\": \"%s\", \"positions\": %s, \"stats\": %s", op->conv.stride,
               op->conv.top, op->conv.left, act[op->conv.act], truth[!!(conv_needs(g, op) & CONV_POSITIONS)],
               truth[cuda_stats_bytes(g, i) > 0]);
    }
    if (op->kind == OP_NORM || op->kind == OP_NORM_BWD) {
        printf(", \"groups\": %d, \"eps\": %.9g, \"silu\": %s, \"stats\": [", op->norm.groups, (double)op->norm.eps, truth[op->norm.silu]);
        bool left = cuda_stats_sources(g, i, from);
        for (int k = 0; k < 2 && left && from[k] >= 0; k++) printf("%s%d", k ? ", " : "", shape_of(g, g->op[from[k]].out).c);
        Pooled p;
        bool candidate = cuda_pooled_candidate(g, i, &p);
        printf("], \"pooled\": [");
        const int by[] = {p.down, p.of_dy, p.of_add};
        for (int k = 0, n = 0; k < 3 && candidate; k++)
            if (by[k] >= 0) printf("%s%d", n++ ? ", " : "", by[k]);
        printf("]");
    }
    if (op->kind == OP_ATTN || op->kind == OP_ATTN_BWD) printf(", \"heads\": %d", op->attn.heads);
    if (op->kind == OP_UNARY || op->kind == OP_UNARY_BWD) printf(", \"f\": %d", op->unary.f);
    if (op->kind == OP_ADD) printf(", \"positions\": %s", truth[operand_of(g, op->in[1], op->out) == OPERAND_POSITIONS]);
    if (op->kind == OP_SLICE) printf(", \"first\": %d", op->slice.first);
    if (op->kind == OP_RESAMPLE)
        printf(", \"up\": %s, \"taps\": %d, \"pad\": %d, \"candidate\": %s", truth[op->resample.up], op->resample.taps, op->resample.pad,
               truth[cuda_up_candidate(g, i)]);
    if (op->kind == OP_POOL)
        printf(", \"max\": %s, \"height\": %d, \"width\": %d, \"stride\": %d, \"pad\": %d", truth[op->pool.max], op->pool.height,
               op->pool.width, op->pool.stride, op->pool.pad);
    if (op->kind == OP_RESIZE) printf(", \"u8\": %s", truth[op->resize.u8]);
    if (op->kind == OP_PIXEL_NORM) {
        NormFold f;
        printf(", \"rms\": %s, \"maker\": %d", truth[op->pixel_norm.rms], graph_norm_fold(g, i, &f) ? f.maker : -1);
    }
    if (op->kind == OP_DEPTH_TO_SPACE) printf(", \"p\": %d", op->depth_to_space.p);
    if (op->kind == OP_SOFTMAX) printf(", \"log\": %s", truth[op->softmax.log]);
}
typedef struct {
    const char *graph, *of; /* of: the file of the case, or the preset */
    int rows, calls, most;
} Title;
static void print_graph(const Title *t, const Graph *g) {
    printf("{\"graph\": \"%s\", \"of\": \"%s\", \"rows\": %d, \"calls\": %d, \"most\": %d, ", t->graph, t->of, t->rows, t->calls, t->most);
    print_tensors(g);
    printf(", \"ops\": [");
    for (int i = 0; i < g->nop; i++) {
        const Op *op = &g->op[i];
        printf("%s\n{\"kind\": \"%s\", \"in\": [", i ? "," : "", op_name(op->kind));
        for (int j = 0; j < OP_INPUTS; j++) printf("%s%d", j ? ", " : "", op->in[j]);
        printf("], \"out\": %d, \"flops\": %.0f, \"bytes\": %.0f", op->out, op_flops(g, i), op_bytes(g, i));
        print_numbers(g, i);
        printf("}");
    }
    printf("]}");
}
static bool score_network(const Title *t, const Model *m, const Json *config, Precision precision, Error *e) {
    Net *n = net_new(SPAN_NETWORK, precision, 1, true);
    const Ports *ports = m ? net_add(n, m, config, "", 0, e) : NULL;
    if (ports) {
        net_plan(n, ports->out);
        print_graph(t, n->graph);
    }
    net_free(n);
    return ports != NULL;
}
static bool guide(const Title *t, const Json *extractor, const Json *head, Precision precision, Error *e) {
    Guide *u = guide_plan(extractor, head, precision, 1, (GuideOptions){.fuse = true}, e);
    if (u) print_graph(t, u->net->graph);
    guide_free(u);
    return u != NULL;
}
static bool decoder(const Title *t, const Json *config, Shape state, Precision precision, Error *e) {
    Decoder *d = decoder_plan(config, state, decoder_precision(precision), 1, true, e);
    if (d) print_graph(t, d->net->graph);
    decoder_free(d);
    return d != NULL;
}

/* ---- golden cases ------------------------------------------------------------------------------------------------------------ */
static bool list_case(const char *path, Precision precision, Error *e) {
    SafeTensors *f = st_open(path, e);
    if (!f) return false;
    const char *text = st_metadata(f, "case");
    Json *j = text ? json_parse(text, strlen(text), e) : NULL;
    if (!text) dg_error(e, "no metadata \"case\": not a golden case");
    const Json *net = json_get(j, "network"), *extractor = json_get(j, "extractor"), *head = json_get(j, "head");
    bool ok = j != NULL;
    if (ok && extractor && head) ok = guide(&(Title){"guide", path, 1, 0, 0}, extractor, head, precision, e);
    else if (ok && net) ok = score_network(&(Title){"network", path, 1, 0, 0}, model_find(net, "denoiser", e), net, precision, e);
    else if (ok) ok = dg_error(e, "neither a network nor an extractor with a head");
    json_free(j);
    st_close(f);
    return ok || dg_error_context(e, "%s", path);
}

/* ---- presets ------------------------------------------------------------------------------------------------------------------ */
/* Each network of a run, as `bench` has them; counts: of one image. */
static bool list_networks(const char *preset, const Networks *n, const SampleCounts *c, Precision precision, Error *e) {
    const Json *config[ROLES];
    int twice = c->term[TERM_CFG], evaluations = c->network - twice;
    for (Role r = 0; r < ROLES; r++) config[r] = n->source[r].weights ? weights_config(n->source[r].weights) : NULL;
    if (twice && twice != evaluations)
        return dg_error(e, "classifier-free guidance in %d of %d evaluations: calls differ", twice, evaluations);
    Title network = {"network", preset, twice ? 2 : 1, evaluations, 0};
    if (!score_network(&network, n->score->model, config[ROLE_NETWORK], precision, e)) return false;
    if (config[ROLE_EXTRACTOR]) {
        printf(",\n");
        Title t = {"guide", preset, 1, c->term[TERM_DISCRIMINATOR], 0};
        if (!guide(&t, config[ROLE_EXTRACTOR], config[ROLE_DISCRIMINATOR], precision, e)) return false;
    }
    if (!config[ROLE_VAE]) return true;
    printf(",\n");
    return decoder(&(Title){"decoder", preset, 1, 1, DECODER_ROWS}, config[ROLE_VAE], n->state, precision, e);
}
static bool list_preset(const char *name, Precision precision, Error *e) {
    char option[] = "--preset", *value = dg_strdup(name), *words[] = {option, value};
    Args a = {0};
    Networks n = {0};
    SampleCounts c;
    bool ok = args_parse(&command_bench, 2, words, &a, e);
    BenchOptions *o = a.options;
    if (ok && !preset_networks(name)) ok = dg_error(e, "a preset that does not say its networks");
    if (ok) {
        sample_options_given(&o->sample, &a);
        ok = sample_check(&o->sample, e) && bench_open_networks(&n, o, e);
    }
    if (ok) {
        sample_resolve(&o->sample, score_sampler(n.score));
        ok = score_apply(n.score, &o->sample, e) && sample_count(&o->sample, n.score, &c, e) && list_networks(name, &n, &c, precision, e);
    }
    networks_close(&n);
    args_free(&a);
    free(value);
    return ok || dg_error_context(e, "%s", name);
}
int main(int argc, char **argv) {
    Error e = {""};
    DType act = DG_F32;
    while (argc > 2 && act <= DG_BF16 && strcmp(dtype_name(act), argv[1])) act++;
    if (argc < 3 || act > DG_BF16) {
        fprintf(stderr, "usage: op_list fp32|fp16|bf16 [CASE.safetensors | --preset NAME]...\n");
        return 2;
    }
    printf("[");
    for (int i = 2; i < argc; i++) {
        if (i > 2) printf(",\n");
        bool preset = !strcmp(argv[i], "--preset") && i + 1 < argc;
        const Precision p = {.act = act, .leaves_norms = true};
        if (!(preset ? list_preset(argv[++i], p, &e) : list_case(argv[i], p, &e))) {
            fprintf(stderr, "op_list: %s\n", e.text);
            return 1;
        }
    }
    printf("]\n");
    return 0;
}
