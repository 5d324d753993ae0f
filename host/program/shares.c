/* shares.c -- summing up the operations of convolutions by who runs them. */
#include "program/shares.h"
#include <stdio.h>
#include <string.h>

enum { MOST = 8 };
typedef struct {
    struct {
        const char *name;
        double flops;
    } by[MOST];
    int count;
    double all;
} Shares;

/* The convolutions of a network that is called so many times for an image. */
static void add(Shares *s, const Exec *x, double calls) {
    for (int i = 0; i < x->g->nop; i++) {
        if (x->g->op[i].kind != OP_CONV) continue;
        const char *name = x->dev->be->implementation(x, i);
        double flops = op_flops(x->g, i) / x->g->batch * calls;
        int k = 0;
        while (k < s->count && strcmp(s->by[k].name, name)) k++;
        if (k == s->count) {
            DG_CHECK(k < MOST, "%s is one implementation too many", name);
            s->by[s->count++].name = name;
        }
        s->by[k].flops += flops, s->all += flops;
    }
}
void shares_print(const Device *d, const SampleNetworks *n, const SampleCounts *counts, Text *json) {
    const SampleCounts *c = counts;
    bool once = !c->steps;
    Shares s = {0};
    if (n->network) add(&s, n->network->net->exec, once ? 1 : c->network);
    if (n->guiding) add(&s, n->guiding->net->exec, once ? 1 : c->guiding);
    if (n->discriminator) add(&s, n->discriminator->net->exec, once ? 1 : c->term[TERM_DISCRIMINATOR]);
    if (n->classifier) add(&s, n->classifier->net->exec, once ? 1 : c->term[TERM_CLASSIFIER]);
    if (n->decoder) add(&s, n->decoder->net->exec, 1);
    if (!(s.all > 0)) return;
    bool line = d->provider != DEVICE_OWN;
    for (int i = 0; i < s.count; i++) {
        if (line) printf("%s %.1f%% by %s", i ? "," : "convolutions, of their FLOPs:", 100 * s.by[i].flops / s.all, s.by[i].name);
        if (json) text_printf(json, "%s\"%s\": %.6g", i ? ", " : ", \"convolutions\": {", s.by[i].name, s.by[i].flops / s.all);
    }
    if (line) printf("\n");
    if (json) text_printf(json, "}");
}
