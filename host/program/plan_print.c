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
    Net *n = net_new(SPAN_NETWORK, (Precision){DG_F32, false}, batch ? batch : 1, true);
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
    printf("  %-12s %9.1f MiB activations, %9.1f MiB weights, %9.3f GFLOP an image and call\n", what, (double)g->arena_bytes / 1048576,
           weight_bytes(g) / 1048576, graph_flops(g) / batch * 1e-9);
}
/* What one role's graph is, and what `calls` of it are for an image. */
static double print_role(const char *what, const Graph *g, int rows, int calls) {
    print_graph(what, g, rows);
    return calls * graph_flops(g) / rows;
}
typedef struct {
    const Networks *n;
    Precision precision;
    int batch;
    bool fuse;
    SampleCounts counts;
    double flops; /* of an image */
} Plan;
static const Json *config_of(const Plan *p, Role r) { return weights_config(p->n->source[r].weights); }
static bool print_predictor(Plan *p, Role r, int passes, int calls, Error *e) {
    const Model *m = r == ROLE_NETWORK ? p->n->score->model : model_find_score(config_of(p, r), e);
    Net *net = net_new(SPAN_NETWORK, p->precision, p->batch * passes, p->fuse);
    const Ports *ports = m ? net_add(net, m, config_of(p, r), "", 0, e) : NULL;
    bool ok = ports && sample_same_images(role_name(r), shape_of(net->graph, net->x), p->n->state, e);
    if (ok) net_plan(net, ports->out), p->flops += print_role(role_name(r), net->graph, p->batch * passes, calls);
    net_free(net);
    return ok;
}
static bool print_guide(Plan *p, const char *what, Role r, const Json *head, int calls, Error *e) {
    Guide *g = guide_plan(config_of(p, r), head, p->precision, p->batch, (GuideOptions){.fuse = p->fuse}, e);
    bool ok = g && sample_same_images(role_name(r), shape_of(g->net->graph, g->net->x), p->n->state, e);
    if (ok) p->flops += print_role(what, g->net->graph, p->batch, calls);
    guide_free(g);
    return ok;
}
/* Decoding comes once for an image. */
static bool print_decoder(Plan *p, Error *e) {
    int rows = p->n->vae_batch ? p->n->vae_batch : DECODER_ROWS;
    if (rows > p->batch) rows = p->batch;
    Decoder *d = decoder_plan(config_of(p, ROLE_VAE), p->n->state, decoder_precision(p->precision), rows, p->fuse, e);
    if (!d) return false;
    p->flops += print_role("vae", d->net->graph, rows, 1);
    printf("  %-12s decodes %d image%s at a time\n", "", rows, rows > 1 ? "s" : "");
    decoder_free(d);
    return true;
}
bool plan_print_run(const Networks *n, const SampleOptions *o, Precision precision, int batch, bool fuse, Error *e) {
    Plan p = {.n = n, .precision = precision, .batch = batch, .fuse = fuse};
    const SampleCounts *c = &p.counts;
    if (!sample_count(o, n->score, &p.counts, e)) return false;
    printf("at batch %d:\n", batch);
    if (!print_predictor(&p, ROLE_NETWORK, c->term[TERM_CFG] ? 2 : 1, c->network, e)) return false;
    if (n->source[ROLE_GNET].weights && !print_predictor(&p, ROLE_GNET, 1, c->guiding, e)) return false;
    if (n->source[ROLE_EXTRACTOR].weights &&
        !print_guide(&p, "guide", ROLE_EXTRACTOR, config_of(&p, ROLE_DISCRIMINATOR), c->term[TERM_DISCRIMINATOR], e))
        return false;
    if (n->source[ROLE_CLASSIFIER].weights && !print_guide(&p, "classifier", ROLE_CLASSIFIER, NULL, c->term[TERM_CLASSIFIER], e))
        return false;
    if (n->source[ROLE_VAE].weights && !print_decoder(&p, e)) return false;
    for (int k = 0; k < TERM_KINDS; k++)
        if (c->term[k])
            printf("  %s: in %d of %d evaluations (%d steps)\n", term_name((TermKind)k), c->term[k], c->network - c->term[TERM_CFG],
                   c->steps);
    printf("  an image       %d network calls, %d guide calls, %.1f GFLOP\n", c->network, c->term[TERM_DISCRIMINATOR], p.flops * 1e-9);
    return true;
}
void plan_print_sampling(const SampleOptions *o, const Score *score) {
    Guidance g;
    SampleCounts c;
    bool counted = sample_count(o, score, &c, NULL);
    if (o->sampler != SAMPLER_EDM && counted) printf("sampler %s, %d steps; ", sampler_name(o->sampler), c.steps);
    if (!guidance_list(&g, o, score, NULL) || !g.count) printf("not guided; ");
    for (int i = 0; i < g.count; i++) {
        const GuidanceTerm *t = &g.term[i];
        if (t->kind == TERM_DISCRIMINATOR && o->sampler == SAMPLER_EDM) printf("guided, weights %g and %g; ", t->weight, t->weight_again);
        else printf("%s %g; ", term_name(t->kind), t->weight);
    }
}
