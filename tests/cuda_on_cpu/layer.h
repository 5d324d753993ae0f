// layer.h -- what the files of the layer share: the configuration, the state of a block and of its threads, and what one does for another.
// README.md describes the model.
#pragma once
#include "cuda_on_cpu.h"
#undef threadIdx
#undef blockIdx
#undef blockDim
#undef gridDim
#include <algorithm>
#include <atomic>
#include <deque>
#include <map>
#include <mutex>
#include <unordered_map>
#include <vector>
#if defined(EMU_UCONTEXT)
#include <ucontext.h>
#endif
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define __SANITIZE_ADDRESS__ 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define EMU_ASAN 1
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#else
#define ASAN_POISON_MEMORY_REGION(p, n)   ((void)0)
#define ASAN_UNPOISON_MEMORY_REGION(p, n) ((void)0)
#endif

namespace emu {
// ================================================================ configuration
enum { SCHED_FWD, SCHED_REV, SCHED_RAND };
enum { ASYNC_LATE, ASYNC_EARLY, ASYNC_RAND };
struct Config {
    int sched = SCHED_FWD, async = ASYNC_LATE;
    uint64_t seed = 1;
    bool race = false;
    size_t stack = 128 << 10;
    int max_reports = 12, tc = 0;
    unsigned preempt = 0;
    Config() {
        if (const char *s = getenv("EMU_SCHED")) sched = *s == 'r' && s[1] == 'e' ? SCHED_REV : *s == 'r' ? SCHED_RAND : SCHED_FWD;
        if (const char *s = getenv("EMU_ASYNC")) async = *s == 'e' ? ASYNC_EARLY : *s == 'r' ? ASYNC_RAND : ASYNC_LATE;
        if (const char *s = getenv("EMU_SEED")) seed = strtoull(s, nullptr, 0);
        if (const char *s = getenv("EMU_TC")) tc = atoi(s);
        if (const char *s = getenv("EMU_PREEMPT")) preempt = (unsigned)atoi(s);
        if (const char *s = getenv("EMU_STACK_KB")) stack = (size_t)atoi(s) << 10;
#if defined(EMU_RACE)
        race = true;
        if (const char *s = getenv("EMU_RACE")) race = *s != '0';
#endif
#if defined(EMU_ASAN)
        stack *= 2;
#endif
    }
};
inline Config &cfg() {
    static Config c;
    return c;
}
extern std::atomic<int> g_errors;
extern std::mutex g_mu;

// ================================================================ fibers.cpp
#if defined(EMU_UCONTEXT)
struct Ctx {
    ucontext_t u;
};
#else
struct Ctx {
    void *sp;
};
#endif
extern int g_cc; // the compute capability that the latest launch found
// what only newer devices have; wgmma and setmaxnreg (exactly) are 9.0's alone
inline void needs_90(const char *what, Loc l, bool exactly = false) {
    if (g_cc < 90 || (exactly && g_cc != 90))
        fail(l, "%s on a device of capability %d.%d, which lacks it (EMU_CC)", what, g_cc / 10, g_cc % 10);
}
extern std::map<const void *, int> g_max_dyn; // cudaFuncAttributeMaxDynamicSharedMemorySize per kernel
void describe(char *o, size_t n);

// ================================================================ block state
static const uint32_t ARENA = 512 << 10, DYN_BASE = 1024, STATIC_BASE = 0x3B000, REDZONE = 64;
static const unsigned MAX_CLOCKS = 2047; // threads that the race detector can tell apart, beside the copy engine
static const uint32_t RANK_SHIFT = 24;   // of a shared address: the rank of its CTA in the cluster lies above
typedef std::vector<uint32_t> VC;

struct CpOp {
    uint32_t dst;
    const void *src;
    int bytes, src_bytes;
    Loc loc;
};
struct TensorMap {
    uint8_t *base;
    uint64_t dim[5];
    uint64_t stride[4];
    uint16_t box[5];
    uint8_t estride[5], rank, esize, swizzle;
    uint32_t magic;
};
static_assert(sizeof(TensorMap) <= 128, "must fit a CUtensorMap");
struct TmaLoad {
    TensorMap tm;
    uint32_t smem, bar;
    int c[5];
    Loc loc;
};
enum { STORE_ISSUED, STORE_READ, STORE_DONE };
struct TmaStore {
    TensorMap tm;
    uint32_t smem;
    int c[5];
    int state;
    std::vector<uint8_t> box; // what was read, once it was
    Loc loc;
};
struct Worker;
struct Fiber : FiberPub {
    Ctx ctx;
    Worker *w;
    uint8_t *stack_lo;
    bool done;
    uint32_t ct;            // its number among the cluster's threads: what the race detector knows it by
    bool cluster_arrived;   // at the cluster's barrier, and has not yet waited
    uint32_t cluster_phase; // in which it arrived
    const char *what;
    Loc loc;
    uint32_t warg; // why it waits
    std::vector<CpOp> cp_open;
    std::deque<std::vector<CpOp>> cp_groups;
    std::vector<TmaStore> bulk_open;
    std::deque<std::vector<TmaStore>> bulk_groups;
    size_t bulk_read; // of these groups, how many were read
    VC vc, announced; // announced: as of the latest fence_barrier_init
    std::vector<uint32_t> fences;
    int red[3];  // __syncthreads_or/and/count results
    bool waited; // for the kernel before
    void *fake_stack;
};
struct Rv {
    uint32_t mask, arrived;
    int op;
    const char *name;
    Loc loc;
    void *arg[32];
};
struct WgAcc {
    float *d[32];
    std::vector<float> c;
    int pending;
};
struct WgOp {
    int acc, n;
    bool use_c, bf16, ta, tb, a_reg;
    uint64_t da, db;
    std::vector<uint32_t> a;
    Loc loc;
};
struct Warp {
    Fiber *lane[32];
    uint32_t live, ready;
    Rv rv[8];
    std::vector<WgAcc> accs;
    std::vector<WgOp> wg_open;
    std::deque<std::vector<WgOp>> wg_groups;
    bool fenced;
    size_t wg_seq;
};
struct Bar {
    unsigned expected, arrived;
    int kind;
    Loc loc;
    std::vector<Fiber *> waiters;
    VC vc;
    int acc_or, acc_and, acc_cnt;
};
struct MBar {
    uint32_t init_ep, init_site, count;
    int32_t pending, tx;
    uint32_t phase;
    VC acc, done;
    std::vector<Fiber *> waiters;
    Loc loc;
};
struct Static {
    const void *tag;
    uint32_t off, size;
};
#if !defined(EMU_GRANULE)
#define EMU_GRANULE 1 // bytes of shared memory per race-shadow cell; 2 is faster where no kernel stores single bytes
#endif
static const uint32_t GR = EMU_GRANULE;
struct Cell { // race shadow of GR bytes of shared memory
    uint32_t w, a, r[4], wsite, rsite;
    uint16_t inflight;
    bool generic; // last ordinary write, last atomic, last readers
};
enum Access { RD, WR, AT, ASYNC_RD };

struct Worker;
// The CTAs of a cluster, by rank, on one OS thread; a launch without clusters is one of clusters of one.
struct Cluster {
    std::vector<Worker *> cta;
    Ctx sched;
    const void *main_lo;
    size_t main_n;
    void *main_fake;
    unsigned size, threads; // CTAs, and threads of all of them
    unsigned live, arrived; // threads, and which of them are at the barrier
    uint32_t phase;
    std::vector<Fiber *> waiters;
    VC acc, done;
    uint32_t agent() const { return threads; } // the copy engine, as a "thread" of the race detector
    uint32_t agent_clk;
    uint32_t number;               // of the launch
    bool resolved;                 // the kernel before has ended
    std::vector<Fiber *> for_grid; // wait for it

    Cluster();
    void begin(const LaunchDesc &d, uint32_t launch, uint64_t first);
    bool run_threads(); // to their end; false: no further than grid_wait
    void finish();
    Fiber *start();
    Fiber *next(Fiber *);
    bool async_step();
    [[noreturn]] void deadlock();
    void settle();
    void leave(Fiber *);
};
struct Worker : BlockPub { // a CTA
    std::vector<Fiber *> fib;
    std::vector<Warp> warp;
    Cluster *cl;
    unsigned rank;
    bool waited;                                       // one of its threads has waited for the kernel before
    bool joined;                                       // one of its threads has waited at the cluster's barrier: the others have started
    VC left;                                           // the clocks of the threads that have exited
    std::vector<std::pair<uint32_t, uint32_t>> remote; // by thread: the epoch of its latest arrival from another CTA, and where
    uint32_t landed;                                   // the copy engine's clock at the latest load, and where that was issued
    Loc landed_at;
    uint32_t warp_ready;
    unsigned nthreads, nwarps, live;
    uint32_t dyn_off, dyn_size;
    bool dyn_set;
    std::vector<Static> statics;
    uint32_t static_top;
    Bar bars[16];
    std::unordered_map<uint32_t, MBar> mbar;
    std::vector<TmaLoad> tma; // in flight
    std::map<unsigned, std::vector<uint64_t>> wg_log;
    const LaunchDesc *d;
    uint64_t rng;
    Stats st{};
    uint32_t since_switch = 0;
    std::vector<Cell> shadow;
    uint32_t static_high = STATIC_BASE;
    uint32_t block_linear;

    Worker();
    uint32_t rnd() {
        rng ^= rng << 13;
        rng ^= rng >> 7;
        rng ^= rng << 17;
        return (uint32_t)(rng >> 16);
    }
    Fiber *me() { return static_cast<Fiber *>(cur); }
    Fiber *pick(unsigned w0, unsigned l0);
    template <class F> Fiber *first(F bit) {
        Warp &p = warp[(size_t)bit(warp_ready)];
        return p.lane[bit(p.ready)];
    }
    void swap_to(Fiber *from, Fiber *to);
    void park(const char *what, Loc loc, uint32_t arg = 0);
    void wake(Fiber *f) {
        Warp &p = warp[f->warp];
        p.ready |= 1u << f->lane;
        warp_ready |= 1u << f->warp;
    }
    void unready(Fiber *f) {
        Warp &p = warp[f->warp];
        p.ready &= ~(1u << f->lane);
        if (!p.ready) warp_ready &= ~(1u << f->warp);
    }
    void begin(const LaunchDesc &d, uint64_t b);
    void finish();
    void on_exit(Fiber *);
    void exited();
    void tma_run(const TmaLoad &);
    bool in_smem(uint32_t off, size_t n) const {
        if (off >= dyn_off && off + n <= dyn_off + (uint64_t)dyn_size) return true;
        for (const Static &s : statics)
            if (off >= s.off && off + n <= s.off + (uint64_t)s.size) return true;
        return false;
    }
};
inline Worker *W() { return static_cast<Fiber *>(cur)->w; }
// a shared address as an offset into the CTA's own memory
inline uint32_t own(const Worker *w, uint32_t a, const char *what, Loc l) {
    if (w->cl->size == 1) return a;
    if (a >> RANK_SHIFT != w->rank) fail(l, "%s of shared address 0x%x, which is not this CTA's (rank %u) but another's", what, a, w->rank);
    return a & ((1u << RANK_SHIFT) - 1);
}

// ================================================================ race.cpp: vector clocks
inline uint32_t ep(uint32_t tid, uint32_t clk) { return tid << 21 | clk; }
inline uint32_t now(const Fiber *f) { return ep(f->ct, f->vc[f->ct]); }
inline void join(VC &a, const VC &b) {
    if (b.empty()) return;
    if (a.size() < b.size()) a.resize(b.size());
    for (size_t i = 0; i < b.size(); ++i) a[i] = std::max(a[i], b[i]);
}
inline void tick(Fiber *f) {
    if (++f->vc[f->ct] > 0x1ffff0) fail(f->loc, "race detector: clock overflow");
}

uint32_t site(void *pc, Loc loc = {nullptr, 0});
void proxy_check(Worker *w, Fiber *f, uint32_t we, uint32_t wsite, uint32_t off, uint32_t s);
void smem_access(Worker *w, Fiber *f, uint32_t off, size_t n, Access a, uint32_t s, uint32_t as_epoch = 0);
void smem_inflight(Worker *w, Fiber *f, uint32_t off, size_t n, uint32_t s);
void smem_landed(Worker *w, uint32_t off, size_t n, uint32_t e, bool generic);
void access(const void *p, size_t n, Access a, uint32_t s);
void check_gmem(const void *p, size_t n, Loc l, const char *what);
void check_remote(Worker *w);

// ================================================================ race.cpp: device memory
struct GCell {
    uint32_t launch, wblock, w, ablock, a, rblock, r, wsite; // of that launch
    uint32_t written;                                        // by which launch, latest
};
struct Alloc {
    uint8_t *p;
    size_t n;
    bool live;
    std::vector<GCell> sh;
    uint8_t *lo;
    size_t pages;
};
extern uint8_t *g_heap, *g_heap_top;
extern std::vector<Alloc *> &g_allocs; // sorted by address: the heap only grows
Alloc *find_alloc(const void *q);
inline bool in_heap(const void *p) { return g_heap && (const uint8_t *)p >= g_heap && (const uint8_t *)p < g_heap_top + (256 << 10); }

// ================================================================ copies.cpp
void stores_at_exit(Worker *w, Fiber *f);
MBar &mb(Worker *w, uint32_t a, Loc l);
void mb_arrive(Worker *w, MBar &m, uint32_t a, uint32_t count, uint32_t tx, Loc l);
// ================================================================ clusters.cpp
Worker *remote(Worker *w, unsigned rank, const char *what, Loc l);
// ================================================================ runtime.cpp
extern cudaError_t g_last;
struct Capability {
    int number, smem_sm, smem_block; // 80 for 8.0; KB of shared memory of a multiprocessor, and of a block at most
};
const Capability &capability();

// ================================================================ warp collectives
// Lanes leave a pointer to their operands and park; the last one to arrive runs the operation for all.
template <class E> void collect(int op, const char *name, uint32_t mask, bool full, void *arg, Loc l, E exec) {
    Worker *w = W();
    Fiber *f = w->me();
    Warp &p = w->warp[f->warp];
    ++w->st.collectives;
    if (full && p.live != 0xffffffffu) fail(l, "%s needs all 32 lanes of the warp; live lanes are %08x", name, p.live);
    if (!(mask >> f->lane & 1)) fail(l, "%s: the calling lane is not in its own mask %08x", name, mask);
    uint32_t want = mask & p.live;
    Rv *r = nullptr;
    Rv *freeslot = nullptr;
    for (Rv &x : p.rv) {
        if (!x.arrived) {
            if (!freeslot) freeslot = &x;
            continue;
        }
        if (!(x.mask & mask)) continue;
        if (x.op != op || x.mask != mask)
            fail(l, "warp divergence: this lane is in %s (mask %08x) while lanes %08x are in %s (mask %08x) at %s:%d", name, mask,
                 x.arrived, x.name, x.mask, x.loc.file, x.loc.line);
        r = &x;
        break;
    }
    if (!r) {
        r = freeslot;
        r->mask = mask;
        r->op = op;
        r->name = name;
        r->loc = l;
    }
    r->arg[f->lane] = arg;
    r->arrived |= 1u << f->lane;
    if (r->arrived != want) {
        w->park(name, l);
        return;
    }
    exec(w, p, *r);
    uint32_t m = r->arrived & ~(1u << f->lane);
    r->arrived = 0;
    p.ready |= m;
    if (m) w->warp_ready |= 1u << f->warp;
}

// ================================================================ TMA and wgmma: swizzled shared addresses
inline uint32_t swz(uint32_t a, int mode) {
    return mode == 3 ? a ^ (a >> 3 & 0x70) : mode == 2 ? a ^ (a >> 3 & 0x30) : mode == 1 ? a ^ (a >> 3 & 0x10) : a;
}
} // namespace emu
