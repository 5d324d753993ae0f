// clusters.cpp -- what the CTAs of a cluster do together: their barrier, and what reaches another's shared memory.
#include "layer.h"

namespace emu {
uint32_t cluster_ctarank(Loc l) { return needs_90("a cluster", l), W()->rank; }
uint32_t cluster_nctarank(Loc l) { return needs_90("a cluster", l), W()->cl->size; }

// ================================================================ the barrier
void Cluster::settle() {
    if (!live || arrived < live) return;
    ++phase;
    arrived = 0;
    done = acc;
    acc.clear();
    for (Fiber *f : waiters) f->w->wake(f);
    waiters.clear();
}
void Cluster::leave(Fiber *f) { // the barrier waits for no thread that has exited
    --live;
    if (f->cluster_arrived && f->cluster_phase == phase) --arrived;
    settle();
}
// As .aligned asks for: by all lanes of a warp at once. A relaxed arrival makes known what fence_barrier_init has announced, no more.
void cluster_arrive(bool relaxed, Loc l) {
    needs_90("a cluster", l);
    collect(80 + relaxed, "barrier.cluster.arrive", ~0u, false, nullptr, l, [](Worker *w, Warp &p, Rv &r) {
        Cluster *c = w->cl;
        for (int i = 0; i < 32; ++i) {
            if (!(r.arrived >> i & 1)) continue;
            Fiber *f = p.lane[i];
            if (f->cluster_arrived)
                fail(r.loc, "a thread arrives at the cluster's barrier that has not waited there since it last arrived");
            f->cluster_arrived = true;
            f->cluster_phase = c->phase;
            ++c->arrived;
            if (!cfg().race) continue;
            join(c->acc, r.op == 80 ? f->vc : f->announced);
            tick(f);
        }
        c->settle();
    });
}
void cluster_wait(Loc l) {
    needs_90("a cluster", l);
    collect(82, "barrier.cluster.wait", ~0u, false, nullptr, l, [](Worker *, Warp &, Rv &) {});
    Worker *w = W();
    Fiber *f = w->me();
    if (!f->cluster_arrived) fail(l, "a thread waits at the cluster's barrier that has not arrived there");
    if (w->cl->phase == f->cluster_phase) {
        w->cl->waiters.push_back(f);
        w->park("barrier.cluster.wait", l);
    }
    f->cluster_arrived = false;
    w->joined = true;
    if (cfg().race) join(f->vc, w->cl->done);
}
void fence_barrier_init(Loc l) {
    fence_proxy_async(l);
    if (cfg().race) W()->me()->announced = W()->me()->vc;
}

// ================================================================ another CTA's shared memory
uint32_t mapa(uint32_t a, uint32_t rank, Loc l) {
    needs_90("a cluster", l);
    Worker *w = W();
    a = own(w, a, "mapa", l);
    if (rank >= w->cl->size) fail(l, "mapa: the cluster has %u CTAs, of which none is %u", w->cl->size, rank);
    return a | rank << RANK_SHIFT;
}
// the CTA of that rank, which must have started and must not have gone
Worker *remote(Worker *w, unsigned rank, const char *what, Loc l) {
    Worker *to = w->cl->cta[rank];
    if (to == w) return w;
    if (!w->joined) fail(l, "%s reaches CTA %u, which may not have started: this one has not waited at the cluster's barrier", what, rank);
    if (!to->live) fail(l, "%s reaches CTA %u, which has exited", what, rank);
    return to;
}
void mbar_arrive_remote(uint32_t a, Loc l) {
    needs_90("a cluster", l);
    Worker *w = W();
    const unsigned rank = a >> RANK_SHIFT;
    if (rank >= w->cl->size) fail(l, "mbarrier.arrive: 0x%x is no shared address of the cluster", a);
    a &= (1u << RANK_SHIFT) - 1;
    Worker *to = remote(w, rank, "an arrival", l);
    if (cfg().race && to != w) {
        to->remote.resize(w->cl->threads);
        to->remote[w->me()->ct] = {now(w->me()), site(nullptr, l)};
    }
    mb_arrive(to, mb(to, a, l), a, 1, 0, l);
}
} // namespace emu
