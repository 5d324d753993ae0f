/* models_plan.c -- building a graph without weights or device, to print its size. */
#include "program/models_plan.h"
#include "models/models.h"
#include <string.h>

static void print_graph(Graph *g, int batch, const char *what) {
    double weights = 0;
    graph_fuse(g);
    graph_plan(g);
    for (Tid t = 1; t < g->nt; t++)
        if (g->t[t].kind == T_WEIGHT) weights += (double)shape_count(g->t[t].shape);
    printf(
        "at batch %d: %.1f MiB of activations in fp32 (about half in 16 bits), %.1f MiB of weights in fp32, %.3f GFLOP an image and %s\n",
        batch, (double)g->arena_bytes / 1048576, weights * 4 / 1048576, graph_flops(g) / batch * 1e-9, what);
}
static bool network(const Json *config, int batch, Error *e) {
    NetworkConfig c;
    NetworkGraph net;
    if (!network_config(&c, config, e)) return false;
    printf("images: %dx%dx%d, ", c.img_resolution, c.img_resolution, c.img_channels);
    if (c.label_dim) printf("%d classes\n", c.label_dim);
    else printf("unconditional\n");
    if (!batch) return true;
    Graph *g = graph_new((Precision){DG_F32, false});
    bool ok = network_build(g, &c, batch, &net, e);
    if (ok) print_graph(g, batch, "network call");
    graph_free(g);
    return ok;
}
static bool encoder(const Json *config, bool head, int batch, Error *e) {
    EncoderConfig c;
    EncoderGraph net;
    if (!encoder_config(&c, config, e)) return false;
    printf("input: %dx%dx%d, %d output%s", c.image_size, c.image_size, c.in_channels, c.out_channels, c.out_channels > 1 ? "s" : "");
    if (c.condition) printf(", conditional on %d classes", c.num_class);
    printf("\n");
    if (!batch) return true;
    Graph *g = graph_new((Precision){DG_F32, false});
    Tid x = g_input(g, "x", (Shape){batch, c.image_size, c.image_size, c.in_channels});
    bool ok = encoder_build(g, &c, "", x, head, &net, e);
    if (ok) {
        Tid y = head ? net.logit : net.features, seed = g_input(g, "seed", shape_of(g, y));
        g->t[y].keep = true;
        g_output(g, graph_backward(g, y, seed, x));
        print_graph(g, batch, "gradient (forward and backward)");
    }
    graph_free(g);
    return ok;
}
bool model_plan_print(const Json *config, int batch, Error *e) {
    const char *kind;
    if (!json_get_string(config, "kind", "denoiser", &kind, e)) return false;
    if (!strcmp(kind, "denoiser")) return network(config, batch, e);
    if (!strcmp(kind, "extractor") || !strcmp(kind, "head")) return encoder(config, !strcmp(kind, "head"), batch, e);
    return !batch || dg_error(e, "--batch: what a network of kind %s takes is not worked out", kind);
}
