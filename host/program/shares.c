/* shares.c -- summing up the operations of convolutions: by who runs them, and by the waves of blocks that they come in. */
#include "program/shares.h"
#include <math.h>
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

/* A network and how often it is called for an image. */
typedef struct {
    const Exec *x;
    double calls;
} Called;
enum { CALLED = 4 };
/* Those that have the batch of the run. Without steps, each counts once. */
static int called(const SampleNetworks *n, const SampleCounts *c, Called out[CALLED]) {
    bool once = !c->steps;
    int count = 0;
    if (n->network) out[count++] = (Called){n->network->net->exec, once ? 1 : c->network};
    if (n->guiding) out[count++] = (Called){n->guiding->net->exec, once ? 1 : c->guiding};
    if (n->discriminator) out[count++] = (Called){n->discriminator->net->exec, once ? 1 : c->term[TERM_DISCRIMINATOR]};
    if (n->classifier) out[count++] = (Called){n->classifier->net->exec, once ? 1 : c->term[TERM_CLASSIFIER]};
    return count;
}
static double flops_of(const Called *n, int i) { return op_flops(n->x->g, i) / n->x->g->batch * n->calls; }
static void add(Shares *s, const Called *n) {
    for (int i = 0; i < n->x->g->nop; i++) {
        if (n->x->g->op[i].kind != OP_CONV) continue;
        const char *name = n->x->dev->be->implementation(n->x, i);
        int k = 0;
        while (k < s->count && strcmp(s->by[k].name, name)) k++;
        if (k == s->count) {
            DG_CHECK(k < MOST, "%s is one implementation too many", name);
            s->by[s->count++].name = name;
        }
        s->by[k].flops += flops_of(n, i), s->all += flops_of(n, i);
    }
}
void shares_print(const Device *d, const SampleNetworks *n, const SampleCounts *counts, Text *json) {
    Called network[CALLED];
    int networks = called(n, counts, network);
    Shares s = {0};
    for (int i = 0; i < networks; i++) add(&s, &network[i]);
    if (n->decoder) add(&s, &(Called){n->decoder->net->exec, 1});
    if (!(s.all > 0)) return;
    bool line = d->provider != DEVICE_OWN;
    for (int i = 0; i < s.count; i++) {
        if (line) printf("%s %.1f%% by %s", i ? "," : "convolutions, of their FLOPs:", 100 * s.by[i].flops / s.all, s.by[i].name);
        if (json) text_printf(json, "%s\"%s\": %.6g", i ? ", " : ", \"convolutions\": {", s.by[i].name, s.by[i].flops / s.all);
    }
    if (line) printf("\n");
    if (json) text_printf(json, "}");
}

/* Of the time of the networks' convolutions at a batch, what whole waves take. An op's time is that of its waves, the last counted whole. */
static double whole_share(const Called *network, int networks, int batch, int of) {
    double work = 0, time = 0;
    for (int k = 0; k < networks; k++)
        for (int i = 0; i < network[k].x->g->nop; i++) {
            const Exec *x = network[k].x;
            double waves = x->g->op[i].kind == OP_CONV ? x->dev->be->waves(x, i, x->g->batch / of * batch) : 0;
            if (!(waves > 0)) continue;
            work += flops_of(&network[k], i), time += flops_of(&network[k], i) * ceil(waves) / waves;
        }
    return time > 0 ? work / time : 0;
}
void waves_print(const SampleNetworks *n, const SampleCounts *counts, int batch, Text *json) {
    Called network[CALLED];
    int networks = called(n, counts, network), best = batch, few = batch - batch / 4, many = batch + batch / 4;
    double share = whole_share(network, networks, batch, batch), most = share;
    for (int b = few; share > 0 && b <= many && b <= MAX_BATCH; b++) {
        double s = whole_share(network, networks, b, batch);
        if (s > most) best = b, most = s;
    }
    if (!(share > 0)) return;
    printf("%-14s %9.1f %% of the convolutions' time has work for all multiprocessors", "waves", 100 * share);
    if (few == many) printf("\n");
    else if (best == batch) printf("; no batch from %d to %d has more\n", few, many);
    else printf("; --batch %d has %.1f %%\n", best, 100 * most);
    text_printf(json, ", \"waves\": {\"share\": %.6g, \"batch\": %d, \"batch_share\": %.6g}", share, best, most);
}
