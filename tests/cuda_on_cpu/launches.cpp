// launches.cpp -- a launch: its blocks on OS threads; and launches that begin before the kernel before them has ended.
#include "layer.h"
#include <unistd.h>

namespace emu {
std::map<const void *, int> g_max_dyn;
int g_cc;
static Stats g_stats;
static uint64_t clusters(const LaunchDesc &d) { return (uint64_t)d.grid.x * d.grid.y * d.grid.z / d.cluster; }
static cudaError_t check(const LaunchDesc &d) {
    uint64_t nt = (uint64_t)d.block.x * d.block.y * d.block.z, nb = (uint64_t)d.grid.x * d.grid.y * d.grid.z;
    int lim = g_max_dyn.count(d.kernel) ? g_max_dyn[d.kernel] : 48 << 10;
    if (!nt || nt > 1024 || !nb || d.grid.y > 65535 || d.grid.z > 65535 || d.smem > (size_t)lim ||
        d.smem > (size_t)capability().smem_block << 10)
        return cudaErrorInvalidConfiguration;
    if (d.cluster != 1 && (!d.cluster || d.cluster > 8 || d.grid.x % d.cluster || capability().number < 90))
        return cudaErrorInvalidClusterSize;
    if (cfg().race && d.cluster * nt > MAX_CLOCKS) {
        fprintf(stderr, "EMU: the race detector follows %u threads of a cluster at most, not %u\n", MAX_CLOCKS, (unsigned)(d.cluster * nt));
        _exit(87);
    }
    return cudaSuccess;
}
static void flush(Cluster *c) {
    if (!c) return;
    std::lock_guard<std::mutex> g(g_mu);
    for (Worker *w : c->cta) {
        Stats &s = w->st;
        g_stats.ldsm_phases += s.ldsm_phases;
        g_stats.ldsm_cycles += s.ldsm_cycles;
        g_stats.switches += s.switches;
        g_stats.blocks += s.blocks;
        g_stats.mma += s.mma;
        g_stats.collectives += s.collectives;
        g_stats.begun += s.begun;
        s = Stats();
    }
}
Stats stats(bool reset) {
    Stats s = g_stats;
    if (reset) g_stats = Stats();
    return s;
}

// ================================================================ dependent launches
// Launches are numbered in their order, though a dependent one begins before the launch before it is run.
static uint32_t g_numbers, g_before; // the highest that was given; one that is kept for the launch before, or 0
static std::vector<Cluster *> g_spare;
struct Begun {
    uint32_t number;
    int defects; // that showed before the wait
    std::vector<Cluster *> cluster;
    std::vector<uint64_t> which;
};
Begun *begin(const LaunchDesc &d) {
    enum { CLUSTERS = 2 };
    const char *when = getenv("EMU_PDL"); // late: nothing begins before. Read at every launch, so that a test can change it
    if ((when && *when == 'l') || check(d) != cudaSuccess) return nullptr;
    g_cc = capability().number;
    g_before = ++g_numbers;
    Begun *begun = new Begun{++g_numbers, -g_errors, {}, {}};
    uint64_t b = (cfg().seed * 0x9E3779B97F4A7C15ull + begun->number * 0xD1B54A32D192ED03ull) >> 20;
    for (uint64_t i = 0; i < CLUSTERS && i < clusters(d); i++, b += clusters(d) / 2) {
        if (g_spare.empty()) g_spare.push_back(new Cluster());
        Cluster *c = g_spare.back();
        g_spare.pop_back();
        begun->cluster.push_back(c), begun->which.push_back(b % clusters(d));
        c->begin(d, begun->number, begun->which.back() * d.cluster);
        c->resolved = false;
        c->run_threads();
        c->cta[0]->st.begun++;
    }
    begun->defects += g_errors;
    return begun;
}
static void go_on(Cluster *c) {
    c->resolved = true;
    for (Fiber *f : c->for_grid) f->w->wake(f);
    c->for_grid.clear();
    c->run_threads();
    c->finish();
    flush(c);
    g_spare.push_back(c);
}
void grid_wait(Loc l) {
    Worker *w = W();
    Fiber *f = w->me();
    if (!w->cl->resolved) w->cl->for_grid.push_back(f), w->park("grid_wait", l);
    f->waited = w->waited = true;
}
// Before the wait it would let the kernel after the next one begin beside the kernel before this one.
void grid_release(Loc l) {
    if (!W()->me()->waited) fail(l, "grid_release before grid_wait");
}

// ================================================================ a launch
static thread_local Cluster *tl_cluster = nullptr;
int launch(const LaunchDesc &d, Begun *begun) {
    if (const cudaError_t e = check(d)) return g_last = e, (int)e;
    const uint32_t number = begun ? begun->number : g_before ? g_before : ++g_numbers;
    g_before = 0, g_stats.launches++, g_stats.early += begun != nullptr;
    g_cc = capability().number;
    const int errors_before = g_errors - (begun ? begun->defects : 0);
    auto work = [&](uint64_t b) {
        if (begun && std::count(begun->which.begin(), begun->which.end(), b)) return;
        if (!tl_cluster) tl_cluster = new Cluster();
        tl_cluster->begin(d, number, b * d.cluster);
        tl_cluster->run_threads();
        tl_cluster->finish();
    };
    const uint64_t nb = clusters(d);
    for (size_t i = 0; begun && i < begun->cluster.size(); i++) go_on(begun->cluster[i]);
    if (cfg().race || nb == 1) {
        for (uint64_t b = 0; b < nb; ++b) work(b);
        flush(tl_cluster);
    } else {
#pragma omp parallel
        {
#pragma omp for schedule(dynamic, 1)
            for (int64_t b = 0; b < (int64_t)nb; ++b) work((uint64_t)b);
            flush(tl_cluster);
        }
    }
    delete begun;
    if (g_errors != errors_before) return g_last = cudaErrorLaunchFailure; // a defect that let the kernel go on
    return 0;
}
} // namespace emu
