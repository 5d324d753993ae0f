/* plan_print.c -- building graphs without weights or device, to print what they would take. */
#include "program/plan_print.h"
#include <string.h>

static double weight_bytes(const Graph *g) {
    double bytes = 0;
    for (Tid t = 1; t < g->nt; t++)
        if (!in_arena(&g->t[t])) bytes += (double)tensor_bytes(&g->t[t]);
    return bytes;
}
static void print_shape(const char *what, Shape s) {
    if (is_vector(s)) printf("%s: %d value%s", what, s.c, s.c > 1 ? "s" : "");
    else printf("%s: %dx%dx%d", what, s.h, s.w, s.c);
}
static void print_ports(const Graph *g, const Ports *p) {
    print_shape("input", shape_of(g, p->x));
    print_shape(", output", shape_of(g, p->out));
    if (p->label) printf(", %d classes\n", shape_of(g, p->label).c);
    else printf(", unconditional\n");
}
static bool print_model(const Model *m, const Json *config, int batch, Error *e) {
    Net *n = net_new("network", (Precision){DG_F32, false}, batch ? batch : 1, true);
    const Ports *p = net_add(n, m, config, "", 0, e);
    Graph *g = n->graph;
    if (p) print_ports(g, p);
    if (p && batch) {
        if (m->gradient) g->t[p->out].keep = true;
        net_plan(n, m->gradient ? graph_backward(g, p->out, g_input(g, "seed", shape_of(g, p->out)), p->x) : p->out);
        printf("at batch %d: %.1f MiB of activations in fp32 (about half in 16 bits), %.1f MiB of weights in fp32, %.3f GFLOP an image "
               "and %s\n",
               batch, (double)g->arena_bytes / 1048576, weight_bytes(g) / 1048576, graph_flops(g) / batch * 1e-9,
               m->gradient ? "gradient (forward and backward)" : "network call");
    }
    net_free(n);
    return p != NULL;
}
bool plan_print(const Json *config, int batch, Error *e) {
    const char *kind;
    if (!json_get_string(config, "kind", "denoiser", &kind, e)) return false;
    if (!model_kind_known(kind)) return !batch || dg_error(e, "--batch: what a network of kind %s takes is not worked out", kind);
    const Model *m = model_find(config, kind, e);
    if (!m || m != &model_vae) return m && print_model(m, config, batch, e);
    printf("decoder: "); /* a file may hold one of the two alone; both follow from the arguments */
    if (!print_model(m, config, batch, e)) return false;
    printf("encoder: ");
    return print_model(&model_vae_encoder, config, batch, e);
}

static void print_graph(const char *what, const Graph *g, int batch) {
    printf("%-14s %9.1f MiB activations, %9.1f MiB weights, %9.3f GFLOP an image and call\n", what, (double)g->arena_bytes / 1048576,
           weight_bytes(g) / 1048576, graph_flops(g) / batch * 1e-9);
}
static void print_run(const Graph *network, const Graph *guide, int batch, int calls, int guided) {
    double flops = calls * graph_flops(network) / batch + (guide ? guided * graph_flops(guide) / batch : 0);
    printf("at batch %d:\n", batch);
    print_graph("  network", network, batch);
    if (guide) print_graph("  guide", guide, batch);
    printf("  an image       %d network calls, %d guide calls, %.1f GFLOP\n", calls, guided, flops * 1e-9);
}
bool plan_print_run(const Networks *n, const SampleOptions *o, Precision precision, int batch, bool fuse, Error *e) {
    const Json *config[ROLES] = {NULL};
    for (Role r = 0; r < ROLES; r++)
        if (n->source[r].weights) config[r] = weights_config(n->source[r].weights);
    Net *network = net_new("network", precision, batch, fuse);
    const Ports *p = net_add(network, n->model, config[ROLE_NETWORK], "", 0, e);
    Guide *guide = NULL;
    int guided = 0;
    bool ok = p != NULL;
    if (ok) net_plan(network, p->out);
    if (ok && sample_guided(o)) {
        guide = guide_plan(config[ROLE_EXTRACTOR], config[ROLE_DISCRIMINATOR], precision, batch, (GuideOptions){.fuse = fuse}, e);
        ok = guide && (guided = sample_guided_steps(o, &n->config, e)) >= 0;
        guided *= (o->dg_weight_1st_order != 0) + (o->dg_weight_2nd_order != 0);
    }
    if (ok) print_run(network->graph, guide ? guide->net->graph : NULL, batch, sample_network_calls(o), guided);
    guide_free(guide);
    net_free(network);
    return ok;
}
