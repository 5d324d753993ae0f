// cuda_on_cpu.cpp -- runs CUDA kernels on the CPU: fibers, barriers, warp collectives, tensor cores, asynchronous
// copies, device memory and a race detector. One mechanism, hence one file. README.md describes the model.
#include "cuda_on_cpu.h"
#undef threadIdx
#undef blockIdx
#undef blockDim
#undef gridDim
#include <algorithm>
#include <atomic>
#include <cstdarg>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
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
__thread FiberPub *cur = nullptr;

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
        if (const char *s = getenv("EMU_SCHED"))
            sched = *s == 'r' && s[1] == 'e' ? SCHED_REV : *s == 'r' ? SCHED_RAND : SCHED_FWD;
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
static Config &cfg() {
    static Config c;
    return c;
}
static std::atomic<int> g_errors{0};
static Stats g_stats;
static std::mutex g_mu;
int errors() { return g_errors; }

// ================================================================ context switch
#if defined(EMU_UCONTEXT)
struct Ctx {
    ucontext_t u;
};
static void ctx_swap(Ctx *from, Ctx *to) { swapcontext(&from->u, &to->u); }
static void ctx_make(Ctx *c, void *lo, size_t n, void (*fn)()) {
    getcontext(&c->u);
    c->u.uc_stack.ss_sp = lo;
    c->u.uc_stack.ss_size = n;
    c->u.uc_link = nullptr;
    makecontext(&c->u, fn, 0);
}
#elif defined(__x86_64__)
struct Ctx {
    void *sp;
};
extern "C" void emu_ctx_swap(void **save, void *load);
asm(R"(.text
.type emu_ctx_swap,@function
emu_ctx_swap:
  pushq %rbp; pushq %rbx; pushq %r12; pushq %r13; pushq %r14; pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15; popq %r14; popq %r13; popq %r12; popq %rbx; popq %rbp
  ret
.size emu_ctx_swap,.-emu_ctx_swap
)");
static void ctx_swap(Ctx *from, Ctx *to) { emu_ctx_swap(&from->sp, to->sp); }
static void ctx_make(Ctx *c, void *lo, size_t n, void (*fn)()) {
    void **top = (void **)(((uintptr_t)lo + n) & ~(uintptr_t)15);
    *--top = nullptr; // return address of fn: never used; keeps rsp % 16 == 8 at entry
    *--top = (void *)fn;
    for (int i = 0; i < 6; ++i) *--top = nullptr;
    c->sp = top;
}
#elif defined(__aarch64__)
struct Ctx {
    void *sp;
};
extern "C" void emu_ctx_swap(void **save, void *load);
asm(R"(.text
emu_ctx_swap:
  sub sp, sp, #160
  stp x19,x20,[sp]; stp x21,x22,[sp,#16]; stp x23,x24,[sp,#32]; stp x25,x26,[sp,#48]; stp x27,x28,[sp,#64]; stp x29,x30,[sp,#80]
  stp d8,d9,[sp,#96]; stp d10,d11,[sp,#112]; stp d12,d13,[sp,#128]; stp d14,d15,[sp,#144]
  mov x9, sp; str x9, [x0]; mov sp, x1
  ldp x19,x20,[sp]; ldp x21,x22,[sp,#16]; ldp x23,x24,[sp,#32]; ldp x25,x26,[sp,#48]; ldp x27,x28,[sp,#64]; ldp x29,x30,[sp,#80]
  ldp d8,d9,[sp,#96]; ldp d10,d11,[sp,#112]; ldp d12,d13,[sp,#128]; ldp d14,d15,[sp,#144]
  add sp, sp, #160
  ret
)");
static void ctx_swap(Ctx *from, Ctx *to) { emu_ctx_swap(&from->sp, to->sp); }
static void ctx_make(Ctx *c, void *lo, size_t n, void (*fn)()) {
    char *top = (char *)(((uintptr_t)lo + n) & ~(uintptr_t)15) - 160;
    memset(top, 0, 160);
    *(void **)(top + 88) = (void *)fn;
    c->sp = top;
}
#else
#error "add a context switch, or build with -DEMU_UCONTEXT"
#endif

// ================================================================ block state
static const uint32_t ARENA = 512 << 10, DYN_BASE = 1024, STATIC_BASE = 0x3B000, MAX_SMEM = 227 << 10, REDZONE = 64;
static const int MAX_THREADS = 1024, AGENT = MAX_THREADS; // AGENT: the copy engine, as a "thread" of the race detector
typedef std::vector<uint32_t> VC;

struct CpOp {
    uint32_t dst;
    const void *src;
    int bytes, src_bytes;
    Loc loc;
};
struct Worker;
struct Fiber : FiberPub {
    Ctx ctx;
    Worker *w;
    uint8_t *stack_lo;
    bool done;
    bool resumed_ok;
    const char *what;
    Loc loc;
    uint32_t warg; // why it waits
    std::vector<CpOp> cp_open;
    std::deque<std::vector<CpOp>> cp_groups;
    std::vector<int> bulk_open;
    std::deque<std::vector<int>> bulk_groups;
    VC vc;
    std::vector<uint32_t> fences;
    int red[3]; // __syncthreads_or/and/count results
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
struct TensorMap {
    uint8_t *base;
    uint64_t dim[5];
    uint64_t stride[4];
    uint16_t box[5];
    uint8_t estride[5], rank, esize, swizzle;
    uint32_t magic;
};
static_assert(sizeof(TensorMap) <= 128, "must fit a CUtensorMap");
struct TmaOp {
    TensorMap tm;
    uint32_t smem, bar;
    int c[5];
    bool store;
    bool done;
    Fiber *by;
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

struct Worker : BlockPub {
    std::vector<Fiber *> fib;
    std::vector<Warp> warp;
    Ctx sched;
    uint32_t warp_ready;
    unsigned nthreads, nwarps, live;
    uint32_t dyn_off, dyn_size;
    bool dyn_set;
    std::vector<Static> statics;
    uint32_t static_top;
    Bar bars[16];
    std::unordered_map<uint32_t, MBar> mbar;
    std::vector<TmaOp> tma;
    std::map<unsigned, std::vector<uint64_t>> wg_log;
    const LaunchDesc *d;
    uint64_t rng;
    Stats st{};
    uint32_t since_switch = 0;
    std::vector<Cell> shadow;
    uint32_t static_high = STATIC_BASE;
    uint32_t agent_clk;
    uint32_t block_linear;
    const void *main_lo;
    size_t main_n;
    void *main_fake;

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
    void run_block(uint64_t b);
    void on_exit(Fiber *);
    bool async_step();
    void deadlock();
    void tma_run(TmaOp &);
    bool in_smem(uint32_t off, size_t n) const {
        if (off >= dyn_off && off + n <= dyn_off + (uint64_t)dyn_size) return true;
        for (const Static &s : statics)
            if (off >= s.off && off + n <= s.off + (uint64_t)s.size) return true;
        return false;
    }
};
static thread_local Worker *tl_worker = nullptr;
static Worker *W() { return static_cast<Fiber *>(cur)->w; }

static void describe(char *o, size_t n) {
    if (!cur) {
        snprintf(o, n, "host");
        return;
    }
    BlockPub *b = cur->blk;
    snprintf(o, n, "block (%u,%u,%u) thread (%u,%u,%u) [warp %u lane %u]", b->bid.x, b->bid.y, b->bid.z, cur->tid.x,
             cur->tid.y, cur->tid.z, cur->warp, cur->lane);
}
void fail(Loc l, const char *fmt, ...) {
    char who[160];
    describe(who, sizeof who);
    std::lock_guard<std::mutex> g(g_mu);
    fflush(stdout);
    fprintf(stderr, "EMU ERROR %s:%d: ", l.file, l.line);
    va_list ap;
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fprintf(stderr, " -- %s\n", who);
    fflush(stderr);
    _exit(86);
}

// ================================================================ race detector (vector clocks over shared and device
// memory)
static inline uint32_t ep(uint32_t tid, uint32_t clk) { return tid << 21 | clk; }
static inline bool hb(uint32_t e, const Fiber *f) { return !e || (e & 0x1fffff) <= f->vc[e >> 21]; }
static inline uint32_t now(const Fiber *f) { return ep(f->linear, f->vc[f->linear]); }
static void join(VC &a, const VC &b) {
    if (b.empty()) return;
    if (a.size() < b.size()) a.resize(b.size());
    for (size_t i = 0; i < b.size(); ++i) a[i] = std::max(a[i], b[i]);
}
static void tick(Fiber *f) {
    if (++f->vc[f->linear] > 0x1ffff0) fail(f->loc, "race detector: clock overflow");
}

struct Site {
    void *pc;
    Loc loc;
};
static std::vector<Site> g_sites(1);
static std::unordered_map<uint64_t, uint32_t> g_site_ix;
static uint32_t site(void *pc, Loc loc = {nullptr, 0}) {
    static thread_local struct {
        uint64_t k;
        uint32_t v;
    } cache[4096];
    uint64_t k = pc ? (uint64_t)pc : (uint64_t)(uintptr_t)loc.file * 1000003u + (uint64_t)loc.line;
    auto &c = cache[(k ^ k >> 12) & 4095];
    if (c.k == k && c.v) return c.v;
    std::lock_guard<std::mutex> g(g_mu);
    uint32_t &v = g_site_ix[k];
    if (!v) {
        v = (uint32_t)g_sites.size();
        g_sites.push_back({pc, loc});
    }
    c.k = k;
    c.v = v;
    return v;
}
static std::string site_str(uint32_t s) {
    if (!s) return "?";
    Site &x = g_sites[s];
    char b[512];
    if (!x.pc) {
        const char *f = strrchr(x.loc.file, '/');
        snprintf(b, sizeof b, "%s:%d", f ? f + 1 : x.loc.file, x.loc.line);
        return b;
    }
    Dl_info di;
    uintptr_t off = (uintptr_t)x.pc - 1;
    std::string exe = "/proc/self/exe";
    if (dladdr(x.pc, &di) && di.dli_fname) {
        off -= (uintptr_t)di.dli_fbase;
        char rp[4096];
        ssize_t n = readlink("/proc/self/exe", rp, sizeof rp - 1);
        if (n > 0) {
            rp[n] = 0;
            exe = rp;
        }
    }
    snprintf(b, sizeof b, "addr2line -i -s -e %s 0x%zx 2>/dev/null", exe.c_str(), (size_t)off);
    std::string best = "?";
    if (FILE *p = popen(b, "r")) {
        while (fgets(b, sizeof b, p)) { // innermost frame outside the wrappers
            if (char *e = strpbrk(b, " \n")) *e = 0;
            if (best == "?" || strstr(best.c_str(), "cuda_on_cpu") || strstr(best.c_str(), "gpu_prims")) best = b;
        }
        pclose(p);
    }
    return best;
}
static void report(const char *kind, Fiber *f, const char *space, uint64_t off, const char *verb, uint32_t s1,
                   const char *verb2, uint32_t t2, uint32_t s2) {
    static std::map<std::tuple<const char *, uint32_t, uint32_t>, int> seen;
    std::lock_guard<std::mutex> g(g_mu);
    ++g_errors;
    if (seen[std::make_tuple(kind, s1, s2)]++ || (int)seen.size() > cfg().max_reports) return;
    std::string a = site_str(s1), b = site_str(s2);
    char who[160];
    describe(who, sizeof who);
    fflush(stdout);
    fprintf(stderr, "EMU %s: %s+0x%llx: %s %s at %s", kind, space, (unsigned long long)off, who, verb, a.c_str());
    if (verb2) {
        fprintf(stderr, "; %s ", verb2);
        if (t2 == (uint32_t)AGENT) fprintf(stderr, "by the copy engine");
        else fprintf(stderr, "by thread %u [warp %u]", t2, t2 / 32);
        fprintf(stderr, " at %s", b.c_str());
    }
    fprintf(stderr, "\n");
    (void)f;
}
// an ordinary write that the async proxy reads needs a fence.proxy.async by its writer, before the synchronisation
static void proxy_check(Worker *w, Fiber *f, uint32_t we, uint32_t wsite, uint32_t off, uint32_t s) {
    const std::vector<uint32_t> &fv = w->fib[we >> 21]->fences;
    auto it = std::lower_bound(fv.begin(), fv.end(), we & 0x1fffff);
    if (it == fv.end() || (*it > f->vc[we >> 21] && (we >> 21) != f->linear))
        report("MISSING fence.proxy.async", f, "shared", off, "reads through the async proxy", s, "ordinary write",
               we >> 21, wsite);
}
static void smem_access(Worker *w, Fiber *f, uint32_t off, size_t n, Access a, uint32_t s, uint32_t as_epoch = 0) {
    if (!w->in_smem(off, n)) {
        report("OUT-OF-BOUNDS shared access", f, "shared", off, a == RD ? "reads" : "writes", s, nullptr, 0, 0);
        return;
    }
    bool wr = a == WR || a == AT, rd = a != WR;
    uint32_t e = as_epoch ? as_epoch : now(f);
    for (uint32_t g = off / GR, end = (uint32_t)((off + n - 1) / GR); g <= end; ++g) {
        Cell &c = w->shadow[g];
        if (c.inflight) {
            report("RACE (copy in flight)", f, "shared", g * GR, wr ? "writes" : "reads", s,
                   "asynchronous copy not yet waited for, issued", c.inflight - 1u, c.wsite);
            continue;
        }
        if (rd && !c.w && !c.a) {
            report("UNINITIALISED shared read", f, "shared", g * GR, "reads", s, nullptr, 0, 0);
            continue;
        }
        const char *kind = wr ? "RACE (write after write)" : "RACE (read after write)";
        const char *verb = wr ? "writes" : "reads";
        if (!hb(c.w, f)) report(kind, f, "shared", g * GR, verb, s, "unordered write", c.w >> 21, c.wsite);
        else if (a != AT && !hb(c.a, f))
            report(kind, f, "shared", g * GR, verb, s, "unordered atomic", c.a >> 21, c.wsite);
        else if (a == ASYNC_RD && c.generic) proxy_check(w, f, c.w, c.wsite, g * GR, s);
        if (wr)
            for (uint32_t r : c.r)
                if (r && !hb(r, f)) {
                    report("RACE (write after read)", f, "shared", g * GR, "writes", s, "unordered read", r >> 21,
                           c.rsite);
                    break;
                }
        if (a == AT) {
            c.a = e;
            continue;
        }
        if (wr) {
            c.w = e;
            c.a = 0;
            c.wsite = s;
            c.generic = true;
            c.r[0] = c.r[1] = c.r[2] = c.r[3] = 0;
        }
        if (rd) {
            int slot = -1;
            for (int i = 0; i < 4; ++i)
                if (c.r[i] >> 21 == e >> 21 && c.r[i]) {
                    slot = i;
                    break;
                }
            for (int i = 0; i < 4 && slot < 0; ++i)
                if (!c.r[i]) slot = i;
            for (int i = 0; i < 4 && slot < 0; ++i)
                if (hb(c.r[i], f)) slot = i;
            if (slot < 0) slot = (int)(w->rnd() & 3);
            c.r[slot] = e;
            c.rsite = s;
        }
    }
}
// an asynchronous copy was issued: it must be ordered after every earlier access, and nothing may touch it until done
static void smem_inflight(Worker *w, Fiber *f, uint32_t off, size_t n, uint32_t s) {
    for (uint32_t g = off / GR, end = (uint32_t)((off + n - 1) / GR); g <= end; ++g) {
        Cell &c = w->shadow[g];
        if (c.inflight)
            report("RACE (two copies in flight)", f, "shared", g * GR, "starts a copy into it", s, "other copy issued",
                   c.inflight - 1u, c.wsite);
        else if (!hb(c.w, f) || !hb(c.a, f))
            report("RACE (copy over unordered write)", f, "shared", g * GR, "starts a copy into it", s,
                   "unordered write", c.w >> 21, c.wsite);
        else
            for (uint32_t r : c.r)
                if (r && !hb(r, f)) {
                    report("RACE (copy over unordered read)", f, "shared", g * GR, "starts a copy into it", s,
                           "unordered read", r >> 21, c.rsite);
                    break;
                }
        c.inflight = (uint16_t)(f->linear + 1);
        c.wsite = s;
    }
}
static void smem_landed(Worker *w, uint32_t off, size_t n, uint32_t e, bool generic) {
    for (uint32_t g = off / GR, end = (uint32_t)((off + n - 1) / GR); g <= end; ++g) {
        Cell &c = w->shadow[g];
        c.inflight = 0;
        c.w = e;
        c.a = 0;
        c.generic = generic;
        c.r[0] = c.r[1] = c.r[2] = c.r[3] = 0;
    }
}

// ================================================================ device memory
struct GCell {
    uint32_t launch, wblock, w, ablock, a, rblock, r, wsite;
};
struct Alloc {
    uint8_t *p;
    size_t n;
    bool live;
    std::vector<GCell> sh;
    uint8_t *lo;
    size_t pages;
};
static uint8_t *g_heap, *g_heap_top;
static const size_t HEAP = (size_t)256 << 30;
static std::vector<Alloc *> &g_allocs = *new std::vector<Alloc *>; // sorted by address: the heap only grows
static uint32_t g_launch = 0;
static cudaError_t g_last = cudaSuccess;
static Alloc *find_alloc(const void *q) {
    static thread_local Alloc *last = nullptr;
    const uint8_t *p = (const uint8_t *)q;
    if (last && last->live && p >= last->p && p < last->p + last->n) return last;
    auto it = std::upper_bound(g_allocs.begin(), g_allocs.end(), p,
                               [](const uint8_t *a, const Alloc *b) { return a < b->p; });
    if (it == g_allocs.begin()) return nullptr;
    Alloc *a = *--it;
    if (p < a->p + a->n && a->live) return last = a;
    return nullptr;
}
static inline bool in_heap(const void *p) {
    return g_heap && (const uint8_t *)p >= g_heap && (const uint8_t *)p < g_heap_top + (256 << 10);
}
static void gmem_access(Worker *w, Fiber *f, const void *q, size_t n, Access a, uint32_t s) {
    Alloc *al = find_alloc(q);
    if (!al || (const uint8_t *)q + n > al->p + al->n) {
        report("OUT-OF-BOUNDS device access", f, "device", (uint64_t)((const uint8_t *)q - g_heap),
               a == RD ? "reads" : "writes", s, nullptr, 0, 0);
        return;
    }
    if (al->sh.empty()) al->sh.resize(al->n / GR + 1);
    size_t o = (size_t)((const uint8_t *)q - al->p);
    bool wr = a != RD, rd = a != WR;
    uint32_t blk = w->block_linear;
    for (size_t g = o / GR; g <= (o + n - 1) / GR; ++g) {
        GCell &c = al->sh[g];
        if (c.launch != g_launch) {
            c = GCell();
            c.launch = g_launch;
        }
        auto bad = [&](uint32_t e, uint32_t eb) { return e && (eb != blk || !hb(e, f)); };
        uint64_t at = (uint64_t)((const uint8_t *)q - g_heap);
        const char *verb = wr ? "writes" : "reads";
        if (bad(c.w, c.wblock))
            report(c.wblock != blk ? "RACE between blocks (device memory)" : "RACE (device memory)", f, "device", at,
                   verb, s, c.wblock != blk ? "another block's write" : "unordered write", c.w >> 21, c.wsite);
        else if (a != AT && bad(c.a, c.ablock))
            report("RACE with an atomic (device memory)", f, "device", at, verb, s, "unordered atomic", c.a >> 21, 0);
        if (wr && bad(c.r, c.rblock))
            report("RACE (device memory, write after read)", f, "device", at, "writes", s, "unordered read", c.r >> 21,
                   0);
        if (a == AT) {
            c.a = now(f);
            c.ablock = blk;
        } else if (wr) {
            c.w = now(f);
            c.wblock = blk;
            c.wsite = s;
            c.r = 0;
        }
        if (rd && a != AT) {
            c.r = now(f);
            c.rblock = blk;
        }
    }
}
static inline void access(const void *p, size_t n, Access a, uint32_t s) {
    Fiber *f = static_cast<Fiber *>(cur);
    Worker *w = f->w;
    size_t off = (size_t)((const uint8_t *)p - w->smem);
    if (off < ARENA) smem_access(w, f, (uint32_t)off, n, a, s);
    else if (in_heap(p)) gmem_access(w, f, p, n, a, s);
}
void access_pc(const void *p, size_t n, bool wr, void *pc) {
    if (!cur || !cfg().race) return;
    size_t off = (size_t)((const uint8_t *)p - cur->blk->smem);
    if (off >= ARENA && !in_heap(p)) return;
    access(p, n, wr ? WR : RD, site(pc));
    Worker *w = W();
    if (++w->since_switch > 200000 || (cfg().preempt && w->rnd() % cfg().preempt == 0))
        yield(); // spin loops; EMU_PREEMPT=n: about every n accesses
}
// a check of global addresses that the runtime itself dereferences (cp.async, TMA)
static void check_gmem(const void *p, size_t n, Loc l, const char *what) {
    if (in_heap(p)) {
        Alloc *a = find_alloc(p);
        if (!a || (const uint8_t *)p + n > a->p + a->n)
            fail(l, "%s reads %zu bytes at %p outside every live device allocation", what, n, p);
        if (cfg().race && cur) gmem_access(W(), W()->me(), p, n, RD, site(nullptr, l));
    }
}

// ================================================================ scheduler
static void fiber_main();
[[maybe_unused]] static bool stack_fault(const void *p) {
    if (!cur) return false;
    const uint8_t *lo = static_cast<Fiber *>(cur)->stack_lo;
    return (const uint8_t *)p < lo + 64 && (const uint8_t *)p > lo - (1 << 20);
}
[[maybe_unused]] static void on_segv(int, siginfo_t *si, void *) {
    char who[160];
    describe(who, sizeof who);
    char b[400];
    int n = snprintf(b, sizeof b, "EMU SIGSEGV at %p%s -- %s\n", si->si_addr,
                     in_heap(si->si_addr)       ? " (device heap, outside every live allocation)"
                     : stack_fault(si->si_addr) ? " (stack overflow: EMU_STACK_KB)"
                                                : "",
                     who);
    if (write(2, b, (size_t)n)) {}
    _exit(86);
}
Worker::Worker() {
    smem = (uint8_t *)mmap(nullptr, ARENA + (64 << 10), PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    smem = (uint8_t *)(((uintptr_t)smem + 65535) & ~(uintptr_t)65535);
    memset(smem, 0xff, ARENA);
    ASAN_POISON_MEMORY_REGION(smem, ARENA);
    pthread_attr_t at;
    void *lo;
    pthread_getattr_np(pthread_self(), &at);
    pthread_attr_getstack(&at, &lo, &main_n);
    main_lo = lo;
    pthread_attr_destroy(&at);
    warp.resize(32);
    for (Bar &b : bars) b = Bar();
#if !defined(EMU_ASAN)
    stack_t ss{};
    ss.ss_sp = malloc(65536);
    ss.ss_size = 65536;
    sigaltstack(&ss, nullptr);
    struct sigaction sa {};
    sa.sa_sigaction = on_segv;
    sa.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigaction(SIGSEGV, &sa, nullptr);
    sigaction(SIGBUS, &sa, nullptr);
#endif
}
static Fiber *new_fiber(Worker *w) {
    Fiber *f = new Fiber();
    size_t n = cfg().stack;
    uint8_t *p =
        (uint8_t *)mmap(nullptr, n + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) {
        perror("mmap");
        _exit(87);
    }
    mprotect(p, 4096, PROT_NONE); // guard page: stack overflow faults
    f->stack_lo = p + 4096;
    f->w = w;
    f->blk = w;
    return f;
}
Fiber *Worker::pick(unsigned w0, unsigned l0) {
    if (!warp_ready) return nullptr;
    unsigned wi, li;
    uint32_t m;
    if (cfg().sched == SCHED_RAND) {
        uint32_t x = warp_ready;
        for (int k = (int)(rnd() % (unsigned)__builtin_popcount(x)); k--;) x &= x - 1;
        wi = (unsigned)__builtin_ctz(x);
        m = warp[wi].ready;
        for (int k = (int)(rnd() % (unsigned)__builtin_popcount(m)); k--;) m &= m - 1;
        li = (unsigned)__builtin_ctz(m);
    } else if (cfg().sched == SCHED_REV) {
        m = warp[w0].ready;
        wi = w0;
        if (!m) {
            uint32_t lo = warp_ready & ((1u << w0) - 1);
            wi = 31u - (unsigned)__builtin_clz(lo ? lo : warp_ready);
            m = warp[wi].ready;
            l0 = 0;
        }
        uint32_t lo = m & ((1u << l0) - 1);
        li = 31u - (unsigned)__builtin_clz(lo ? lo : m);
    } else {
        m = warp[w0].ready;
        wi = w0;
        if (!m) {
            uint32_t hi = warp_ready & ~((2u << w0) - 1);
            wi = (unsigned)__builtin_ctz(hi ? hi : warp_ready);
            m = warp[wi].ready;
            l0 = 31;
        }
        uint32_t hi = m & ~((2u << l0) - 1);
        li = (unsigned)__builtin_ctz(hi ? hi : m);
    }
    return warp[wi].lane[li];
}
void Worker::swap_to(Fiber *from, Fiber *to) { // null: the scheduler
    ++st.switches;
    since_switch = 0;
    cur = to;
    Ctx *a = from ? &from->ctx : &sched;
    Ctx *b = to ? &to->ctx : &sched;
#if defined(EMU_ASAN)
    void **save = from ? (from->done ? nullptr : &from->fake_stack) : &main_fake;
    __sanitizer_start_switch_fiber(save, to ? (const void *)to->stack_lo : main_lo, to ? cfg().stack : main_n);
    ctx_swap(a, b);
    __sanitizer_finish_switch_fiber(from ? from->fake_stack : main_fake, nullptr, nullptr);
#else
    ctx_swap(a, b);
#endif
}
void Worker::park(const char *what, Loc loc, uint32_t arg) {
    Fiber *f = me();
    f->what = what;
    f->loc = loc;
    f->warg = arg;
    unready(f);
    Fiber *to = pick(f->warp, f->lane);
    swap_to(f, to);
    f->what = nullptr;
}
void yield() {
    Worker *w = W();
    Fiber *f = w->me();
    w->unready(f);
    Fiber *to = w->pick(f->warp, f->lane);
    w->wake(f);
    if (to) w->swap_to(f, to);
    else if (w->async_step()) {}
}
static void fiber_main() {
#if defined(EMU_ASAN)
    __sanitizer_finish_switch_fiber(nullptr, nullptr, nullptr);
#endif
    Fiber *f = static_cast<Fiber *>(cur);
    Worker *w = f->w;
    w->d->invoke(w->d->ctx);
    w->on_exit(f);
    f->done = true;
    w->unready(f);
    --w->live;
    w->swap_to(f, w->pick(f->warp, f->lane));
    abort();
}
void Worker::run_block(uint64_t b) {
    block_linear = (uint32_t)b;
    gdim = d->grid;
    bdim = d->block;
    bid = {(unsigned)(b % gdim.x), (unsigned)(b / gdim.x % gdim.y), (unsigned)(b / gdim.x / gdim.y)};
    nthreads = bdim.x * bdim.y * bdim.z;
    nwarps = (nthreads + 31) / 32;
    live = nthreads;
    warp_ready = 0;
    rng = cfg().seed * 0x9E3779B97F4A7C15ull + b * 0xD1B54A32D192ED03ull + 1;
    dyn_size = (uint32_t)d->smem;
    dyn_set = false;
    dyn_off = DYN_BASE + 16;
    statics.clear();
    static_top = STATIC_BASE;
    mbar.clear();
    tma.clear();
    wg_log.clear();
    agent_clk = 0;
    for (Bar &x : bars) {
        x.expected = x.arrived = 0;
        x.waiters.clear();
        x.vc.clear();
    }
    if (cfg().race) {
        if (shadow.empty()) shadow.resize(ARENA / GR);
        std::fill(shadow.begin(), shadow.begin() + (DYN_BASE + 1024 + dyn_size) / GR, Cell());
        std::fill(shadow.begin() + STATIC_BASE / GR, shadow.begin() + static_high / GR, Cell());
    }
    while (fib.size() < nthreads) fib.push_back(new_fiber(this));
    for (unsigned i = 0; i < nwarps; ++i) {
        Warp &p = warp[i];
        p.live = p.ready = 0;
        p.accs.clear();
        p.wg_open.clear();
        p.wg_groups.clear();
        p.fenced = false;
        p.wg_seq = 0;
        for (Rv &r : p.rv) r.arrived = 0;
    }
    for (unsigned i = 0; i < nthreads; ++i) {
        Fiber *f = fib[i];
        f->linear = i;
        f->warp = i / 32;
        f->lane = i % 32;
        f->done = false;
        f->what = nullptr;
        f->tid = {i % bdim.x, i / bdim.x % bdim.y, i / bdim.x / bdim.y};
        f->cp_open.clear();
        f->cp_groups.clear();
        f->bulk_open.clear();
        f->bulk_groups.clear();
        if (cfg().race) {
            f->vc.assign(MAX_THREADS + 1, 0);
            f->vc[i] = 1;
            f->fences.clear();
        }
        ASAN_UNPOISON_MEMORY_REGION(f->stack_lo, cfg().stack);
        ctx_make(&f->ctx, f->stack_lo, cfg().stack, fiber_main);
        warp[f->warp].lane[f->lane] = f;
        warp[f->warp].live |= 1u << f->lane;
        wake(f);
    }
    while (live) {
        Fiber *f = !warp_ready || cfg().sched == SCHED_RAND ? pick(0, 0)
                   : cfg().sched == SCHED_FWD               ? first([](unsigned m) { return __builtin_ctz(m); })
                                                            : first([](unsigned m) { return 31 - __builtin_clz(m); });
        if (f) {
            swap_to(nullptr, f);
            continue;
        }
        if (!async_step()) deadlock();
    }
    cur = nullptr;
    while (async_step()) {}
    // what lies around the block's shared memory must still be the fill pattern
    ASAN_UNPOISON_MEMORY_REGION(smem, ARENA);
    auto canary = [&](uint32_t lo, uint32_t hi) {
        for (uint32_t i = lo; i < hi; ++i)
            if (smem[i] != 0xff) {
                ++g_errors;
                fprintf(
                    stderr,
                    "EMU CANARY: block (%u,%u,%u) wrote outside its shared memory, at dynamic offset %d (size %u)\n",
                    bid.x, bid.y, bid.z, (int)i - (int)dyn_off, dyn_size);
                return;
            }
    };
    canary(0, dyn_off);
    canary(dyn_off + dyn_size, std::min(dyn_off + dyn_size + 8192, STATIC_BASE));
    uint32_t e = STATIC_BASE;
    for (Static &s : statics) {
        canary(e, s.off);
        e = s.off + s.size;
    }
    canary(e, e + REDZONE);
    memset(smem, 0xff, dyn_off + dyn_size + 8192);
    memset(smem + STATIC_BASE, 0xff, static_top - STATIC_BASE + REDZONE);
    ASAN_POISON_MEMORY_REGION(smem, ARENA);
    ++st.blocks;
}
void Worker::deadlock() {
    fflush(stdout);
    fprintf(stderr, "EMU DEADLOCK in block (%u,%u,%u): %u of %u threads live, none can run\n", bid.x, bid.y, bid.z,
            live, nthreads);
    std::map<std::string, std::pair<unsigned, unsigned>> g;
    for (unsigned i = 0; i < nthreads; ++i) {
        Fiber *f = fib[i];
        char k[300];
        if (f->done) snprintf(k, sizeof k, "have exited");
        else {
            snprintf(k, sizeof k, "wait in %s at %s:%d", f->what ? f->what : "?", f->loc.file, f->loc.line);
            if (f->what && !strcmp(f->what, "mbarrier wait") && mbar.count(f->warg)) {
                MBar &m = mbar[f->warg];
                snprintf(k + strlen(k), sizeof k - strlen(k),
                         " (barrier 0x%x: phase %u, %d arrivals and %d bytes outstanding)", f->warg, m.phase, m.pending,
                         m.tx);
            }
        }
        auto &r = g.emplace(k, std::make_pair(i, 0u)).first->second;
        ++r.second;
    }
    for (auto &k : g)
        fprintf(stderr, "  %u threads (first: %u, warp %u) %s\n", k.second.second, k.second.first, k.second.first / 32,
                k.first.c_str());
    _exit(86);
}
void Worker::on_exit(Fiber *f) {
    for (auto &g : f->cp_groups)
        for (CpOp &o : g) f->cp_open.push_back(o);
    if (!f->cp_open.empty()) {
        ++g_errors;
        fprintf(stderr, "EMU: thread %u exits with %zu cp.async not waited for (first at %s:%d)\n", f->linear,
                f->cp_open.size(), f->cp_open[0].loc.file, f->cp_open[0].loc.line);
    }
    Warp &p = warp[f->warp];
    if (p.live == 1u << f->lane && (!p.wg_open.empty() || !p.wg_groups.empty()))
        fail(f->loc, "warp %u exits with wgmma in flight", f->warp);
    p.live &= ~(1u << f->lane);
    for (Rv &r : p.rv)
        if (r.arrived && (r.mask >> f->lane & 1))
            fail(r.loc, "lane %u of warp %u exited while lanes %08x wait for it in %s", f->lane, f->warp, r.arrived,
                 r.name);
}

static std::map<const void *, int> g_max_dyn; // cudaFuncAttributeMaxDynamicSharedMemorySize per kernel
int launch(const LaunchDesc &d) {
    uint64_t nt = (uint64_t)d.block.x * d.block.y * d.block.z, nb = (uint64_t)d.grid.x * d.grid.y * d.grid.z;
    int lim = g_max_dyn.count(d.kernel) ? g_max_dyn[d.kernel] : 48 << 10;
    if (!nt || nt > 1024 || !nb || d.grid.y > 65535 || d.grid.z > 65535 || d.smem > (size_t)lim || d.smem > MAX_SMEM)
        return g_last = cudaErrorInvalidConfiguration, (int)g_last;
    ++g_launch;
    const int errors_before = g_errors;
    auto work = [&](uint64_t b) {
        if (!tl_worker) tl_worker = new Worker();
        tl_worker->d = &d;
        tl_worker->run_block(b);
    };
    auto flush = [&] {
        if (!tl_worker) return;
        std::lock_guard<std::mutex> g(g_mu);
        Stats &s = tl_worker->st;
        g_stats.ldsm_phases += s.ldsm_phases;
        g_stats.ldsm_cycles += s.ldsm_cycles;
        g_stats.switches += s.switches;
        g_stats.blocks += s.blocks;
        g_stats.mma += s.mma;
        g_stats.collectives += s.collectives;
        s = Stats();
    };
    if (cfg().race || nb == 1) {
        for (uint64_t b = 0; b < nb; ++b) work(b);
        flush();
    } else {
#pragma omp parallel
        {
#pragma omp for schedule(dynamic, 1)
            for (int64_t b = 0; b < (int64_t)nb; ++b) work((uint64_t)b);
            flush();
        }
    }
    if (g_errors != errors_before) return g_last = cudaErrorLaunchFailure; // a defect that let the kernel go on
    return 0;
}
Stats stats(bool reset) {
    Stats s = g_stats;
    if (reset) g_stats = Stats();
    return s;
}

// ================================================================ shared memory
void *static_shared(const void *tag, size_t bytes, size_t align) {
    Worker *w = W();
    for (Static &s : w->statics)
        if (s.tag == tag) return w->smem + s.off;
    uint32_t off = (uint32_t)((w->static_top + REDZONE + align - 1) / align * align);
    if (off + bytes > ARENA - REDZONE) fail(Loc{"", 0}, "static shared memory exhausted");
    w->statics.push_back({tag, off, (uint32_t)bytes});
    w->static_top = off + (uint32_t)bytes;
    w->static_high = std::max(w->static_high, w->static_top);
    ASAN_UNPOISON_MEMORY_REGION(w->smem + off, bytes);
    return w->smem + off;
}
// the dynamic buffer is placed at exactly the promised alignment, never at a better one
uint8_t *dyn_shared(size_t align) {
    Worker *w = W();
    if (!w->dyn_set) {
        w->dyn_set = true;
        w->dyn_off = DYN_BASE + (uint32_t)(align % 1024);
        ASAN_UNPOISON_MEMORY_REGION(w->smem + w->dyn_off, w->dyn_size);
    }
    return w->smem + w->dyn_off;
}
uint32_t smem_u32(const void *p, Loc l) {
    size_t o = (size_t)((const uint8_t *)p - cur->blk->smem);
    if (o >= ARENA) fail(l, "pointer %p is not into shared memory", p);
    return (uint32_t)o;
}
void *smem_ptr(uint32_t a, size_t n, bool wr, Loc l) {
    Worker *w = W();
    if (!w->in_smem(a, n))
        fail(l, "%s of %zu bytes at shared address 0x%x (dynamic offset %d of %u) is out of bounds",
             wr ? "write" : "read", n, a, (int)a - (int)w->dyn_off, w->dyn_size);
    if (n <= 16 && a % n) fail(l, "shared address 0x%x is not aligned to %zu", a, n);
    if (cfg().race) smem_access(w, w->me(), a, n, wr ? WR : RD, site(nullptr, l));
    return w->smem + a;
}

// ================================================================ barriers
static void bar_release(Worker *w, Bar &b) {
    Fiber *self = w->me();
    for (Fiber *f : b.waiters) {
        if (cfg().race) join(f->vc, b.vc);
        f->red[0] = b.acc_or;
        f->red[1] = b.acc_and;
        f->red[2] = b.acc_cnt;
        if (f != self) w->wake(f);
    }
    b.waiters.clear();
    b.arrived = 0;
    b.vc.clear();
    b.expected = 0;
}
static Bar &bar_arrive(Worker *w, int id, unsigned n, int kind, Loc l, bool wait) {
    Bar &b = w->bars[id];
    Fiber *f = w->me();
    if (!b.arrived) {
        b.expected = n;
        b.kind = kind;
        b.loc = l;
        b.acc_or = 0;
        b.acc_and = 1;
        b.acc_cnt = 0;
    }
    if (b.expected != n)
        fail(l, "barrier %d: expects %u threads here, %u at %s:%d", id, n, b.expected, b.loc.file, b.loc.line);
    if (kind == 0 && (b.loc.line != l.line || b.loc.file != l.file))
        fail(l, "__syncthreads() reached from two places at once: here and %s:%d", b.loc.file, b.loc.line);
    if (cfg().race) {
        join(b.vc, f->vc);
        tick(f);
    }
    ++b.arrived;
    if (wait) b.waiters.push_back(f);
    return b;
}
void sync_threads(Loc l) {
    Worker *w = W();
    Bar &b = bar_arrive(w, 0, w->nthreads, 0, l, true);
    if (b.arrived == b.expected) bar_release(w, b);
    else w->park("__syncthreads", l);
}
int sync_threads_reduce(int op, int p, Loc l) {
    Worker *w = W();
    Bar &b = bar_arrive(w, 0, w->nthreads, 0, l, true);
    b.acc_or |= p != 0;
    b.acc_and &= p != 0;
    b.acc_cnt += p != 0;
    if (b.arrived == b.expected) bar_release(w, b);
    else w->park("__syncthreads_*", l);
    return w->me()->red[op];
}
void bar_sync(int id, int n, bool arrive_only, Loc l) {
    Worker *w = W();
    if (id < 0 || id > 15 || n % 32 || n <= 0) fail(l, "bar.sync: bad id %d or count %d", id, n);
    Bar &b = bar_arrive(w, id, (unsigned)n, 1, l, !arrive_only);
    if (b.arrived == b.expected) bar_release(w, b);
    else if (!arrive_only) w->park("bar.sync", l, (uint32_t)id);
}

// ================================================================ warp collectives
// Lanes leave a pointer to their operands and park; the last one to arrive runs the operation for all.
template <class E> static void collect(int op, const char *name, uint32_t mask, bool full, void *arg, Loc l, E exec) {
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
            fail(l, "warp divergence: this lane is in %s (mask %08x) while lanes %08x are in %s (mask %08x) at %s:%d",
                 name, mask, x.arrived, x.name, x.mask, x.loc.file, x.loc.line);
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
void sync_warp(unsigned mask, Loc l) {
    collect(1, "__syncwarp", mask, false, nullptr, l, [](Worker *, Warp &p, Rv &r) {
        if (!cfg().race) return;
        VC v;
        for (int i = 0; i < 32; ++i)
            if (r.arrived >> i & 1) {
                join(v, p.lane[i]->vc);
                tick(p.lane[i]);
            }
        for (int i = 0; i < 32; ++i)
            if (r.arrived >> i & 1) join(p.lane[i]->vc, v);
    });
}
struct ShflArg {
    uint64_t in, out;
    int param, width, mode;
};
uint64_t shfl(int mode, unsigned mask, uint64_t v, int param, int width, Loc l) {
    ShflArg a{v, 0, param, width, mode};
    collect(10 + mode, "__shfl_sync", mask, false, &a, l, [](Worker *, Warp &, Rv &r) {
        for (int i = 0; i < 32; ++i)
            if (r.arrived >> i & 1) {
                ShflArg *a = (ShflArg *)r.arg[i];
                int base = i & ~(a->width - 1), rel = i & (a->width - 1), s;
                switch (a->mode) {
                case SHFL_IDX:
                    s = base + (a->param & (a->width - 1));
                    break;
                case SHFL_UP:
                    s = rel - a->param < 0 ? i : i - a->param;
                    break;
                case SHFL_DOWN:
                    s = rel + a->param >= a->width ? i : i + a->param;
                    break;
                default:
                    s = i ^ a->param;
                    if (s >= base + a->width) s = i;
                    break;
                }
                if (!(r.arrived >> s & 1))
                    fail(r.loc, "__shfl_sync: lane %d reads lane %d, which is not taking part (mask %08x)", i, s,
                         r.mask);
                a->out = ((ShflArg *)r.arg[s])->in;
            }
    });
    return a.out;
}
uint32_t vote(int mode, unsigned mask, uint32_t v, Loc l) {
    struct A {
        uint32_t v, out;
        int mode;
    } a{v, 0, mode};
    collect(20 + mode, "vote/match/reduce", mask, false, &a, l, [](Worker *, Warp &, Rv &r) {
        int mode = ((A *)r.arg[__builtin_ctz(r.arrived)])->mode;
        bool first = true;
        uint32_t acc = 0;
        for (int i = 0; i < 32; ++i)
            if (r.arrived >> i & 1) {
                uint32_t x = ((A *)r.arg[i])->v;
                switch (mode) {
                case VOTE_BALLOT:
                case VOTE_ANY:
                case VOTE_ALL:
                    acc |= (uint32_t)(x != 0) << i;
                    break;
                case RED_ADD:
                case RED_IADD:
                    acc += x;
                    break;
                case RED_MIN:
                    acc = first ? x : std::min(acc, x);
                    break;
                case RED_MAX:
                    acc = first ? x : std::max(acc, x);
                    break;
                case RED_IMIN:
                    acc = first ? x : (uint32_t)std::min((int)acc, (int)x);
                    break;
                case RED_IMAX:
                    acc = first ? x : (uint32_t)std::max((int)acc, (int)x);
                    break;
                case RED_AND:
                    acc = first ? x : acc & x;
                    break;
                case RED_OR:
                    acc |= x;
                    break;
                case RED_XOR:
                    acc ^= x;
                    break;
                }
                first = false;
            }
        if (mode == VOTE_ANY) acc = acc != 0;
        if (mode == VOTE_ALL) acc = acc == r.arrived;
        for (int i = 0; i < 32; ++i)
            if (r.arrived >> i & 1) {
                A *a = (A *)r.arg[i];
                a->out = acc;
                if (mode == VOTE_MATCH_ANY) {
                    a->out = 0;
                    for (int j = 0; j < 32; ++j)
                        if ((r.arrived >> j & 1) && ((A *)r.arg[j])->v == a->v) a->out |= 1u << j;
                }
            }
    });
    return a.out;
}

// ================================================================ ldmatrix, mma.sync
struct LdsmArg {
    uint32_t addr;
    uint32_t *r;
    int num;
    bool trans;
};
void ldmatrix(uint32_t addr, uint32_t *out, int num, bool trans, Loc l) {
    LdsmArg a{addr, out, num, trans};
    collect(40 + num * 2 + trans, "ldmatrix", ~0u, true, &a, l, [](Worker *w, Warp &p, Rv &r) {
        LdsmArg **A = (LdsmArg **)r.arg;
        int num = A[0]->num;
        bool trans = A[0]->trans;
        for (int i = 0; i < num; ++i) {
            uint16_t t[8][8];
            uint32_t grp[8][8];
            int cnt[8] = {0}, worst = 1;
            for (int row = 0; row < 8; ++row) {
                uint32_t ad = A[8 * i + row]->addr;
                if (ad & 15)
                    fail(r.loc, "ldmatrix: row address 0x%x (lane %d) is not 16-byte aligned", ad, 8 * i + row);
                if (!w->in_smem(ad, 16))
                    fail(r.loc, "ldmatrix: row address 0x%x (lane %d, dynamic offset %d of %u) is out of bounds", ad,
                         8 * i + row, (int)ad - (int)w->dyn_off, w->dyn_size);
                if (cfg().race) {
                    FiberPub *c = cur;
                    cur = p.lane[8 * i + row];
                    smem_access(w, p.lane[8 * i + row], ad, 16, RD, site(nullptr, r.loc));
                    cur = c;
                }
                memcpy(t[row], w->smem + ad, 16);
                int g = (int)(ad >> 4 & 7);
                bool dup = false;
                for (int k = 0; k < cnt[g]; ++k) dup |= grp[g][k] == ad;
                if (!dup) {
                    grp[g][cnt[g]++] = ad;
                    worst = std::max(worst, cnt[g]);
                }
            }
            w->st.ldsm_phases++;
            w->st.ldsm_cycles += (uint64_t)worst;
            for (int ln = 0; ln < 32; ++ln) {
                int g = ln >> 2, c = (ln & 3) * 2;
                A[ln]->r[i] = trans ? t[c][g] | (uint32_t)t[c + 1][g] << 16 : t[g][c] | (uint32_t)t[g][c + 1] << 16;
            }
        }
    });
}
static void cvt_f32(const uint16_t *h, float *f, int n, bool bf16) {
    int i = 0;
    if (bf16) {
        for (; i < n; ++i) f[i] = b2f(h[i]);
        return;
    }
#if defined(__F16C__)
    for (; i + 8 <= n; i += 8) _mm256_storeu_ps(f + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(h + i))));
#endif
    for (; i < n; ++i) f[i] = h2f(h[i]);
}
// C[16][n] += A[16][16] * B[16][n]; products exact in f32, sums in f32 in order of k
template <int NB> static void gemm_panel(const float *A, const float *B, float *C, int ld) {
    for (int m = 0; m < 16; ++m) {
        float acc[NB];
        for (int j = 0; j < NB; ++j) acc[j] = C[m * ld + j];
        for (int k = 0; k < 16; ++k) {
            float a = A[m * 16 + k];
            for (int j = 0; j < NB; ++j) acc[j] += a * B[k * ld + j];
        }
        for (int j = 0; j < NB; ++j) C[m * ld + j] = acc[j];
    }
}
// EMU_TC=80|90: the tensor core's own rounding, after the model of microsoft/MMA-Sim: over groups of 8 (sm_80) or 16
// (sm_90) products plus the accumulator, every term is truncated to 24 or 25 fraction bits below the largest exponent,
// the sum is exact, the result is truncated to f32.
static int expo(float x, int lo) {
    if (x == 0.f) return -126;
    int e;
    frexpf(x, &e);
    return std::max(e - 1, lo);
}
static void gemm16_tc(const float *A, const float *B, float *C, int n, bool bf16, int model) {
    const int F = model == 80 ? 24 : 25, G = model == 80 ? 8 : 16, lo = bf16 ? -126 : -14;
    int ea[256];
    std::vector<int> eb((size_t)(16 * n));
    for (int i = 0; i < 256; ++i) ea[i] = expo(A[i], lo);
    for (int i = 0; i < 16 * n; ++i) eb[(size_t)i] = expo(B[i], lo);
    for (int m = 0; m < 16; ++m)
        for (int j = 0; j < n; ++j)
            for (int g = 0; g < 16; g += G) {
                float &c = C[m * n + j];
                int em = expo(c, -126);
                double plain = c;
                for (int k = g; k < g + G; ++k) {
                    em = std::max(em, ea[m * 16 + k] + eb[(size_t)(k * n + j)]);
                    plain += (double)A[m * 16 + k] * B[k * n + j];
                }
                if (!std::isfinite(plain)) {
                    c = (float)plain;
                    continue;
                }
                const double up = ldexp(1.0, F - em);
                int64_t sum = (int64_t)((double)c * up);
                for (int k = g; k < g + G; ++k) sum += (int64_t)((double)A[m * 16 + k] * (double)B[k * n + j] * up);
                double r = (double)sum / up;
                float f = (float)r;
                if (fabs((double)f) > fabs(r)) f = nextafterf(f, 0.f);
                c = f;
            }
}
static void gemm16(const float *A, const float *B, float *C, int n, bool bf16) {
    if (cfg().tc) return gemm16_tc(A, B, C, n, bf16, cfg().tc);
    int j = 0;
    for (; j + 32 <= n; j += 32) gemm_panel<32>(A, B + j, C + j, n);
    for (; j + 8 <= n; j += 8) gemm_panel<8>(A, B + j, C + j, n);
}
// fragment layouts, PTX ISA "Matrix Fragments for mma.m16n8k16" (A of wgmma.m64nNk16 is the same per warp)
static void a_from_regs(const uint32_t *const *a, float *A, bool bf16) {
    uint16_t h[16][16];
    for (int ln = 0; ln < 32; ++ln)
        for (int i = 0; i < 4; ++i) {
            int row = (ln >> 2) + (i & 1) * 8, col = (ln & 3) * 2 + (i >> 1) * 8;
            h[row][col] = (uint16_t)a[ln][i];
            h[row][col + 1] = (uint16_t)(a[ln][i] >> 16);
        }
    cvt_f32(&h[0][0], A, 256, bf16);
}
// Fragments of m16n8k8: A row = lane/4 + 8*(i&1), column = lane%4 + 4*(i>>1); B row k = lane%4 + 4*i, column = lane/4.
// Operands are used as the tensor core does: the low 13 bits of each float are ignored.
static float tf32_bits(uint32_t u) {
    u &= ~0x1fffu;
    float f;
    memcpy(&f, &u, 4);
    return f;
}
struct MmaTf32Arg {
    float *d;
    const uint32_t *a, *b;
    int mt, nt;
};
void mma_m16n8k8_tf32(float *d, const uint32_t *a, const uint32_t *b, int mt, int nt, Loc l) {
    MmaTf32Arg x{d, a, b, mt, nt};
    collect(61, "mma.sync tf32", ~0u, true, &x, l, [](Worker *w, Warp &, Rv &r) {
        MmaTf32Arg **X = (MmaTf32Arg **)r.arg;
        const int MT = X[0]->mt, NT = X[0]->nt, n = NT * 8;
        if (NT > 32) fail(r.loc, "mma tile too wide");
        w->st.mma += (uint64_t)(MT * NT);
        alignas(64) float B[16 * 256] = {0}, A[256] = {0}, C[16 * 256];
        for (int ln = 0; ln < 32; ++ln)
            for (int t = 0; t < NT; ++t)
                for (int i = 0; i < 2; ++i)
                    B[((ln & 3) + i * 4) * n + t * 8 + (ln >> 2)] = tf32_bits(X[ln]->b[t * 2 + i]);
        for (int m = 0; m < MT; ++m) {
            for (int ln = 0; ln < 32; ++ln)
                for (int i = 0; i < 4; ++i)
                    A[((ln >> 2) + (i & 1) * 8) * 16 + (ln & 3) + (i >> 1) * 4] = tf32_bits(X[ln]->a[m * 4 + i]);
            for (int ln = 0; ln < 32; ++ln)
                for (int t = 0; t < NT; ++t)
                    for (int i = 0; i < 4; ++i)
                        C[((ln >> 2) + (i >> 1) * 8) * n + t * 8 + (ln & 3) * 2 + (i & 1)] =
                            X[ln]->d[(m * NT + t) * 4 + i];
            gemm16(A, B, C, n, false);
            for (int ln = 0; ln < 32; ++ln)
                for (int t = 0; t < NT; ++t)
                    for (int i = 0; i < 4; ++i)
                        X[ln]->d[(m * NT + t) * 4 + i] =
                            C[((ln >> 2) + (i >> 1) * 8) * n + t * 8 + (ln & 3) * 2 + (i & 1)];
        }
    });
}
struct MmaArg {
    float *d;
    const uint32_t *a, *b;
    int mt, nt;
    bool bf16;
};
void mma_m16n8k16(float *d, const uint32_t *a, const uint32_t *b, int mt, int nt, bool bf16, Loc l) {
    MmaArg x{d, a, b, mt, nt, bf16};
    collect(60, "mma.sync", ~0u, true, &x, l, [](Worker *w, Warp &, Rv &r) {
        MmaArg **X = (MmaArg **)r.arg;
        int MT = X[0]->mt, NT = X[0]->nt, n = NT * 8;
        bool bf = X[0]->bf16;
        if (NT > 32) fail(r.loc, "mma tile too wide");
        w->st.mma += (uint64_t)(MT * NT);
        uint16_t bh[16 * 256];
        alignas(64) float B[16 * 256], A[256], C[16 * 256];
        for (int ln = 0; ln < 32; ++ln) {
            const uint32_t *b = X[ln]->b;
            for (int t = 0; t < NT; ++t)
                for (int i = 0; i < 2; ++i) {
                    int k = (ln & 3) * 2 + i * 8, c = t * 8 + (ln >> 2);
                    bh[k * n + c] = (uint16_t)b[t * 2 + i];
                    bh[(k + 1) * n + c] = (uint16_t)(b[t * 2 + i] >> 16);
                }
        }
        cvt_f32(bh, B, 16 * n, bf);
        for (int m = 0; m < MT; ++m) {
            const uint32_t *ap[32];
            for (int ln = 0; ln < 32; ++ln) ap[ln] = X[ln]->a + m * 4;
            a_from_regs(ap, A, bf);
            for (int ln = 0; ln < 32; ++ln) {
                const float *q = X[ln]->d + m * NT * 4;
                float *c0 = C + (ln >> 2) * n + (ln & 3) * 2;
                for (int t = 0; t < NT; ++t) {
                    c0[t * 8] = q[t * 4];
                    c0[t * 8 + 1] = q[t * 4 + 1];
                    c0[t * 8 + 8 * n] = q[t * 4 + 2];
                    c0[t * 8 + 8 * n + 1] = q[t * 4 + 3];
                }
            }
            gemm16(A, B, C, n, bf);
            for (int ln = 0; ln < 32; ++ln) {
                float *q = X[ln]->d + m * NT * 4;
                const float *c0 = C + (ln >> 2) * n + (ln & 3) * 2;
                for (int t = 0; t < NT; ++t) {
                    q[t * 4] = c0[t * 8];
                    q[t * 4 + 1] = c0[t * 8 + 1];
                    q[t * 4 + 2] = c0[t * 8 + 8 * n];
                    q[t * 4 + 3] = c0[t * 8 + 8 * n + 1];
                }
            }
        }
    });
}

// ================================================================ cp.async
static bool early(Worker *w) { return cfg().async == ASYNC_EARLY || (cfg().async == ASYNC_RAND && (w->rnd() & 1)); }
static void cp_copy(Worker *w, const CpOp &o) {
    memcpy(w->smem + o.dst, o.src, (size_t)o.src_bytes);
    memset(w->smem + o.dst + o.src_bytes, 0, (size_t)(o.bytes - o.src_bytes));
}
static void cp_land(Worker *w, Fiber *f, std::vector<CpOp> &g) {
    for (CpOp &o : g) {
        if (o.src || !o.src_bytes) cp_copy(w, o);
        if (cfg().race) smem_landed(w, o.dst, (size_t)o.bytes, now(f), true);
    }
    g.clear();
}
void cp_async(uint32_t dst, const void *src, int bytes, int sb, Loc l) {
    Worker *w = W();
    Fiber *f = w->me();
    if (bytes != 4 && bytes != 8 && bytes != 16) fail(l, "cp.async of %d bytes", bytes);
    if (sb < 0 || sb > bytes) fail(l, "cp.async: source size %d of %d", sb, bytes);
    if (dst % (uint32_t)bytes || (sb && (uintptr_t)src % (uintptr_t)bytes))
        fail(l, "cp.async: shared 0x%x or global %p not aligned to %d", dst, src, bytes);
    if (!w->in_smem(dst, (size_t)bytes))
        fail(l, "cp.async: shared address 0x%x (dynamic offset %d of %u) is out of bounds", dst,
             (int)dst - (int)w->dyn_off, w->dyn_size);
    if (sb) check_gmem(src, (size_t)sb, l, "cp.async");
    CpOp o{dst, src, bytes, sb, l};
    if (cfg().race) smem_inflight(w, f, dst, (size_t)bytes, site(nullptr, l));
    if (early(w)) {
        cp_copy(w, o);
        o.src = nullptr;
        o.src_bytes = bytes;
    } // delivered; only the race shadow remains to be settled
    else
        memset(w->smem + dst, 0xff, (size_t)bytes); // poison: NaN until waited for
    f->cp_open.push_back(o);
}
void cp_async_commit(Loc) {
    Fiber *f = W()->me();
    f->cp_groups.push_back(std::move(f->cp_open));
    f->cp_open.clear();
}
void cp_async_wait(int n, Loc) {
    Worker *w = W();
    Fiber *f = w->me();
    while ((int)f->cp_groups.size() > n) {
        cp_land(w, f, f->cp_groups.front());
        f->cp_groups.pop_front();
    }
    if (n == 0) cp_land(w, f, f->cp_open);
    if (cfg().race) tick(f);
}

// ================================================================ mbarrier
static const uint64_t MB_MAGIC = 0xB0A7B0A7B0A7B0A7ull;
static MBar &mb(Worker *w, uint32_t a, Loc l) {
    auto it = w->mbar.find(a);
    if (it == w->mbar.end()) fail(l, "no mbarrier was initialised at shared address 0x%x", a);
    uint64_t v;
    memcpy(&v, w->smem + a, 8);
    if (v != MB_MAGIC) fail(l, "the mbarrier at shared address 0x%x was overwritten", a);
    if (cfg().race && cur) smem_access(w, w->me(), a, 8, AT, site(nullptr, l)); // ordered after the init?
    return it->second;
}
static void mb_settle(Worker *w, MBar &m) {
    if (m.pending || m.tx) return;
    m.phase ^= 1;
    m.pending = (int32_t)m.count;
    m.done = m.acc;
    m.acc.clear();
    for (Fiber *f : m.waiters) w->wake(f);
    m.waiters.clear();
}
void mbar_init(uint32_t a, uint32_t count, Loc l) {
    Worker *w = W();
    if (a % 8 || !w->in_smem(a, 8) || !count) fail(l, "mbarrier.init: bad address 0x%x or count %u", a, count);
    if (cfg().race) smem_access(w, w->me(), a, 8, WR, site(nullptr, l));
    memcpy(w->smem + a, &MB_MAGIC, 8);
    MBar m{};
    if (cfg().race) {
        m.init_ep = now(w->me());
        m.init_site = site(nullptr, l);
    }
    m.count = count;
    m.pending = (int32_t)count;
    m.loc = l;
    w->mbar[a] = m;
}
void mbar_inval(uint32_t a, Loc l) {
    Worker *w = W();
    mb(w, a, l);
    w->mbar.erase(a);
    memset(w->smem + a, 0xff, 8);
}
void mbar_arrive(uint32_t a, uint32_t count, uint32_t tx, Loc l) {
    Worker *w = W();
    MBar &m = mb(w, a, l);
    Fiber *f = w->me();
    if (cfg().race) {
        join(m.acc, f->vc);
        tick(f);
    }
    m.tx += (int32_t)tx;
    m.pending -= (int32_t)count;
    if (m.pending < 0) fail(l, "mbarrier 0x%x: more arrivals than its count %u in one phase", a, m.count);
    mb_settle(w, m);
}
bool mbar_test(uint32_t a, uint32_t parity, Loc l) {
    Worker *w = W();
    MBar &m = mb(w, a, l);
    if (m.phase == (parity & 1)) {
        yield();
        return false;
    }
    if (cfg().race) join(w->me()->vc, m.done);
    return true;
}
void mbar_wait(uint32_t a, uint32_t parity, Loc l) {
    Worker *w = W();
    for (;;) {
        MBar &m = mb(w, a, l);
        if (m.phase != (parity & 1)) {
            if (cfg().race) join(w->me()->vc, m.done);
            return;
        }
        m.waiters.push_back(w->me());
        w->park("mbarrier wait", l, a);
    }
}
void fence_proxy_async(Loc) {
    if (cfg().race) {
        Fiber *f = W()->me();
        f->fences.push_back(f->vc[f->linear]);
        tick(f);
    }
}

// ================================================================ TMA
static uint32_t swz(uint32_t a, int mode) {
    return mode == 3 ? a ^ (a >> 3 & 0x70) : mode == 2 ? a ^ (a >> 3 & 0x30) : mode == 1 ? a ^ (a >> 3 & 0x10) : a;
}
int tensor_map_encode(TensorMap *t, int esize, int rank, const void *base, const uint64_t *dims,
                      const uint64_t *strides, const uint32_t *box, const uint32_t *es, int swizzle) {
    auto bad = [](const char *why) {
        fprintf(stderr, "EMU: cuTensorMapEncodeTiled would fail: %s\n", why);
        return 1;
    };
    if (rank < 1 || rank > 5) return bad("rank");
    if ((uintptr_t)base % 16) return bad("global address not 16-byte aligned");
    memset(t, 0, sizeof *t);
    t->base = (uint8_t *)base;
    t->rank = (uint8_t)rank;
    t->esize = (uint8_t)esize;
    t->swizzle = (uint8_t)swizzle;
    t->magic = 0x7E4502;
    uint64_t span = (uint64_t)esize * dims[0];
    for (int i = 0; i < 5; ++i) {
        t->dim[i] = i < rank ? dims[i] : 1;
        t->box[i] = i < rank ? (uint16_t)box[i] : 1;
        t->estride[i] = 1;
        if (i < rank && (!dims[i] || dims[i] > (1ull << 32))) return bad("global dimension");
        if (i < rank && (!box[i] || box[i] > 256)) return bad("box dimension not in 1..256");
        if (i < rank && es && es[i] != 1) return bad("element strides other than 1 are not emulated");
        if (i && i < rank) {
            if (strides[i - 1] % 16 || strides[i - 1] >= (1ull << 40)) return bad("global stride not a multiple of 16");
            t->stride[i - 1] = strides[i - 1];
            span += strides[i - 1] * (dims[i] - 1);
        }
    }
    uint32_t inner = box[0] * (uint32_t)esize;
    if (inner % 16) return bad("inner box extent not a multiple of 16 bytes");
    if (swizzle && inner > (16u << swizzle)) return bad("inner box extent exceeds the swizzle span");
    if (swizzle && inner != (16u << swizzle)) return bad("inner box extent below the swizzle span is not emulated");
    if (in_heap(base)) {
        Alloc *a = find_alloc(base);
        if (!a || (uint8_t *)base + span > a->p + a->n) return bad("tensor reaches outside its device allocation");
    }
    return 0;
}
static uint32_t box_bytes(const TensorMap &t) {
    uint32_t n = t.esize;
    for (int i = 0; i < 5; ++i) n *= t.box[i];
    return n;
}
void Worker::tma_run(TmaOp &o) {
    const TensorMap &t = o.tm;
    uint32_t inner = t.box[0] * (uint32_t)t.esize, lin = 0;
    for (unsigned i4 = 0; i4 < t.box[4]; ++i4)
        for (unsigned i3 = 0; i3 < t.box[3]; ++i3)
            for (unsigned i2 = 0; i2 < t.box[2]; ++i2)
                for (unsigned i1 = 0; i1 < t.box[1]; ++i1, lin += inner) {
                    unsigned ix[5] = {0, i1, i2, i3, i4};
                    bool in = true;
                    uint8_t *g = t.base;
                    for (int k = 1; k < t.rank; ++k) {
                        int64_t c = (int64_t)o.c[k] + ix[k];
                        if (c < 0 || c >= (int64_t)t.dim[k]) in = false;
                        else g += (uint64_t)c * t.stride[k - 1];
                    }
                    for (uint32_t e = 0; e < inner; e += 16) { // 16-byte units, the swizzle's granularity
                        uint8_t buf[16];
                        uint32_t sa = swz(o.smem + lin + e, t.swizzle);
                        if (o.store) memcpy(buf, smem + sa, 16);
                        else memset(buf, 0, 16);
                        for (uint32_t b = 0; b < 16; b += t.esize) {
                            int64_t c0 = (int64_t)o.c[0] + (int64_t)((e + b) / t.esize);
                            if (!in || c0 < 0 || c0 >= (int64_t)t.dim[0]) continue;
                            if (o.store) memcpy(g + c0 * t.esize, buf + b, t.esize);
                            else memcpy(buf + b, g + c0 * t.esize, t.esize);
                        }
                        if (!o.store) memcpy(smem + sa, buf, 16);
                    }
                }
    o.done = true;
    if (!o.store) {
        auto it = mbar.find(o.bar);
        if (it == mbar.end()) fail(o.loc, "TMA completes on an mbarrier that no longer exists");
        MBar &m = it->second;
        m.tx -= (int32_t)lin;
        if (cfg().race) {
            ++agent_clk;
            smem_landed(this, o.smem, lin, ep((uint32_t)AGENT, agent_clk), false);
            if (m.acc.size() < (size_t)AGENT + 1) m.acc.resize((size_t)AGENT + 1);
            m.acc[(size_t)AGENT] = std::max(m.acc[(size_t)AGENT], agent_clk);
        }
        mb_settle(this, m);
    }
}
bool Worker::async_step() { // complete one outstanding bulk copy, in any order
    std::vector<size_t> c;
    for (size_t i = 0; i < tma.size(); ++i)
        if (!tma[i].done && !tma[i].store) c.push_back(i);
    if (c.empty()) {
        bool any = false;
        for (TmaOp &o : tma) any |= !o.done;
        if (!any) tma.clear();
        return false;
    }
    tma_run(tma[c[rnd() % c.size()]]);
    if (tma.size() > 4096) {
        bool any = false;
        for (TmaOp &o : tma) any |= o.store;
        if (!any) tma.erase(std::remove_if(tma.begin(), tma.end(), [](TmaOp &o) { return o.done; }), tma.end());
    }
    return true;
}
static void tma_check(Worker *w, const TensorMap *t, uint32_t smem, int rank, Loc l) {
    if (t->magic != 0x7E4502) fail(l, "TMA: not a tensor map");
    if (t->rank != rank) fail(l, "TMA: %d coordinates for a tensor map of rank %d", rank, t->rank);
    if ((uintptr_t)t % 64) fail(l, "TMA: tensor map not 64-byte aligned");
    if (smem % 128) fail(l, "TMA: shared address 0x%x not 128-byte aligned", smem);
    if (t->swizzle && smem % (128u << (t->swizzle - 1)))
        fail(l, "TMA: shared address 0x%x not aligned to the swizzle pattern's repeat (%u bytes)", smem,
             128u << t->swizzle);
    if (!w->in_smem(smem, box_bytes(*t)))
        fail(l, "TMA: box of %u bytes at shared 0x%x (dynamic offset %d of %u) is out of bounds", box_bytes(*t), smem,
             (int)smem - (int)w->dyn_off, w->dyn_size);
}
void tma_load(uint32_t dst, const TensorMap *t, uint32_t bar, const int *c, int rank, Loc l) {
    Worker *w = W();
    Fiber *f = w->me();
    tma_check(w, t, dst, rank, l);
    auto it = w->mbar.find(bar);
    if (it == w->mbar.end()) fail(l, "TMA: no mbarrier at shared address 0x%x", bar);
    if (cfg().race) {
        proxy_check(w, f, it->second.init_ep, it->second.init_site, bar, site(nullptr, l));
        smem_inflight(w, f, dst, box_bytes(*t), site(nullptr, l));
    }
    TmaOp o{*t, dst, bar, {0, 0, 0, 0, 0}, false, false, f, l};
    for (int i = 0; i < rank; ++i) o.c[i] = c[i];
    if (early(w)) {
        w->tma_run(o);
        return;
    }
    memset(w->smem + dst, 0xff, box_bytes(*t));
    w->tma.push_back(o);
}
void tma_store(const TensorMap *t, uint32_t src, const int *c, int rank, Loc l) {
    Worker *w = W();
    Fiber *f = w->me();
    tma_check(w, t, src, rank, l);
    if (cfg().race) smem_access(w, f, src, box_bytes(*t), ASYNC_RD, site(nullptr, l));
    TmaOp o{*t, src, 0, {0, 0, 0, 0, 0}, true, false, f, l};
    for (int i = 0; i < rank; ++i) o.c[i] = c[i];
    if (early(w)) {
        w->tma_run(o);
        return;
    }
    w->tma.push_back(o);
    f->bulk_open.push_back((int)w->tma.size() - 1);
}
void bulk_commit(Loc) {
    Fiber *f = W()->me();
    f->bulk_groups.push_back(std::move(f->bulk_open));
    f->bulk_open.clear();
}
void bulk_wait(int n, bool, Loc) {
    Worker *w = W();
    Fiber *f = w->me();
    while ((int)f->bulk_groups.size() > n) {
        for (int i : f->bulk_groups.front())
            if (!w->tma[(size_t)i].done) w->tma_run(w->tma[(size_t)i]);
        f->bulk_groups.pop_front();
    }
}

// ================================================================ wgmma (each warp computes its 16 rows of the 64)
// canonical layouts of the matrix descriptor, in 16-byte units (PTX ISA, "Shared Memory Matrix Layout")
static uint32_t desc_addr(uint64_t d, bool mn_major, uint32_t mn,
                          uint32_t k) { // 16-bit elements: byte address of (mn, k)
    uint32_t start = (uint32_t)(d & 0x3fff) << 4, lbo = (uint32_t)(d >> 16 & 0x3fff) << 4,
             sbo = (uint32_t)(d >> 32 & 0x3fff) << 4;
    int sw = (int)(d >> 62);
    static const int mode[4] = {0, 3, 2, 1}; // 0 none, 1 128B, 2 64B, 3 32B -> log2 of the 16-byte units per row
    int s = mode[sw];
    uint32_t off;
    if (!mn_major) {
        uint32_t chunk = k / 8;
        off =
            s == 0 ? (mn % 8) * 16 + (mn / 8) * sbo + chunk * lbo : (mn % 8) * (16u << s) + (mn / 8) * sbo + chunk * 16;
        off += k % 8 * 2;
    } else {
        uint32_t u = mn / 8, per = 1u << s; // 8-element units along mn
        off = s == 0 ? u * sbo + (k % 8) * 16 + (k / 8) * lbo
                     : (u % per) * 16 + (u / per) * lbo + (k % 8) * (16u * per) + (k / 8) * sbo;
        off += mn % 8 * 2;
    }
    return swz(start + off, s);
}
static void wg_fetch(Worker *w, Fiber *f, uint64_t d, bool mn_major, uint32_t mn0, uint32_t mns, uint16_t *out,
                     bool transpose_out, Loc l) {
    // out[k][mn] when transpose_out, else out[mn][k]; in 16-byte units along the contiguous direction
    if (mn_major) {
        for (uint32_t k = 0; k < 16; ++k)
            for (uint32_t u = 0; u < mns; u += 8) {
                uint32_t a = desc_addr(d, true, mn0 + u, k);
                if (!w->in_smem(a, 16))
                    fail(l, "wgmma: descriptor reaches shared address 0x%x (dynamic offset %d of %u), out of bounds", a,
                         (int)a - (int)w->dyn_off, w->dyn_size);
                if (cfg().race) smem_access(w, f, a, 16, ASYNC_RD, site(nullptr, l));
                const uint16_t *h = (const uint16_t *)(w->smem + a);
                for (uint32_t i = 0; i < 8; ++i)
                    if (transpose_out) out[k * mns + u + i] = h[i];
                    else out[(u + i) * 16 + k] = h[i];
            }
    } else {
        for (uint32_t m = 0; m < mns; ++m)
            for (uint32_t k = 0; k < 16; k += 8) {
                uint32_t a = desc_addr(d, false, mn0 + m, k);
                if (!w->in_smem(a, 16))
                    fail(l, "wgmma: descriptor reaches shared address 0x%x (dynamic offset %d of %u), out of bounds", a,
                         (int)a - (int)w->dyn_off, w->dyn_size);
                if (cfg().race) smem_access(w, f, a, 16, ASYNC_RD, site(nullptr, l));
                const uint16_t *h = (const uint16_t *)(w->smem + a);
                for (uint32_t i = 0; i < 8; ++i)
                    if (transpose_out) out[(k + i) * mns + m] = h[i];
                    else out[m * 16 + k + i] = h[i];
            }
    }
}
static void wg_exec(Worker *w, Warp &p, WgOp &o) {
    WgAcc &acc = p.accs[(size_t)o.acc];
    int n = o.n;
    Fiber *f = p.lane[0];
    std::vector<uint16_t> bh((size_t)n * 16);
    uint16_t ah[256];
    alignas(64) float A[256];
    std::vector<float> B((size_t)n * 16);
    FiberPub *save = cur;
    cur = f;
    wg_fetch(w, f, o.db, o.tb, 0, (uint32_t)n, bh.data(), true, o.loc);
    if (o.a_reg) {
        const uint32_t *ap[32];
        for (int i = 0; i < 32; ++i) ap[i] = o.a.data() + i * 4;
        a_from_regs(ap, A, o.bf16);
    } else {
        wg_fetch(w, f, o.da, o.ta, (f->warp & 3) * 16, 16, ah, false, o.loc);
        cvt_f32(ah, A, 256, o.bf16);
    }
    cur = save;
    cvt_f32(bh.data(), B.data(), n * 16, o.bf16);
    if (!o.use_c) std::fill(acc.c.begin(), acc.c.end(), 0.f);
    gemm16(A, B.data(), acc.c.data(), n, o.bf16);
    if (--acc.pending == 0) {
        for (int ln = 0; ln < 32; ++ln)
            for (int j = 0; j < n / 8; ++j)
                for (int i = 0; i < 4; ++i)
                    acc.d[ln][j * 4 + i] =
                        acc.c[(size_t)(((ln >> 2) + (i >> 1) * 8) * n + j * 8 + (ln & 3) * 2 + (i & 1))];
        acc.d[0] = nullptr;
        p.fenced = false;
    }
    w->st.mma += (uint64_t)n / 8;
}
struct WgArg {
    float *d;
    const uint32_t *a;
    uint64_t da, db;
    int n;
    bool acc, bf16, ta, tb;
};
void wgmma(float *d, int n, const uint32_t *a, uint64_t da, uint64_t db, bool acc, bool bf16, bool ta, bool tb, Loc l) {
    WgArg x{d, a, da, db, n, acc, bf16, ta, tb};
    collect(70, "wgmma", ~0u, true, &x, l, [](Worker *w, Warp &p, Rv &r) {
        WgArg **X = (WgArg **)r.arg;
        WgArg &x = *X[0];
        unsigned wi = p.lane[0]->warp;
        for (int i = 1; i < 32; ++i)
            if (X[i]->db != x.db || (!x.a && X[i]->da != x.da) || X[i]->acc != x.acc)
                fail(r.loc, "wgmma: descriptors differ between lanes 0 and %d", i);
        for (uint64_t d :
             {x.a ? 0 : x.da,
              x.db}) { // a start address inside the swizzle's repeat would need the descriptor's base offset
            static const uint32_t in_repeat[4] = {0, 0x380, 0x180, 0x80};
            if (((uint32_t)(d & 0x3fff) << 4 & in_repeat[d >> 62]) || (d >> 49 & 7))
                fail(r.loc, "wgmma: descriptor %016llx starts inside a swizzle repeat (base offset): not emulated",
                     (unsigned long long)d);
        }
        if ((wi | 3) >= w->nwarps) fail(r.loc, "wgmma: warp %u is not in a complete warpgroup", wi);
        if (!p.fenced) fail(r.loc, "wgmma: no wgmma.fence since the accumulators were last touched");
        auto &log = w->wg_log[wi / 4];
        uint64_t h = x.db * 31 + (x.a ? 1 : x.da) * 17 + (uint64_t)x.n * 4 + x.acc;
        if (p.wg_seq == log.size()) log.push_back(h);
        else if (log[p.wg_seq] != h)
            fail(r.loc, "wgmma: the four warps of the warpgroup issue different wgmma (step %zu)", p.wg_seq);
        ++p.wg_seq;
        int ai = -1;
        for (size_t i = 0; i < p.accs.size(); ++i)
            if (p.accs[i].d[0] == x.d) ai = (int)i;
        if (ai < 0) {
            for (size_t i = 0; i < p.accs.size() && ai < 0; ++i)
                if (!p.accs[i].d[0]) ai = (int)i;
            if (ai < 0) {
                ai = (int)p.accs.size();
                p.accs.push_back({});
            }
            WgAcc &ac = p.accs[(size_t)ai];
            ac.pending = 0;
            ac.c.resize((size_t)(16 * x.n));
            for (int ln = 0; ln < 32; ++ln) {
                ac.d[ln] = X[ln]->d;
                for (int j = 0; j < x.n / 8; ++j)
                    for (int i = 0; i < 4; ++i) {
                        float &q = ac.d[ln][j * 4 + i];
                        if (x.acc)
                            ac.c[(size_t)(((ln >> 2) + (i >> 1) * 8) * x.n + j * 8 + (ln & 3) * 2 + (i & 1))] = q;
                        uint32_t nan = 0x7fc0dead;
                        memcpy(&q, &nan, 4);
                    }
            }
        }
        ++p.accs[(size_t)ai].pending;
        WgOp o{ai, x.n, x.acc, x.bf16, x.ta, x.tb, x.a != nullptr, x.da, x.db, {}, r.loc};
        if (x.a)
            for (int ln = 0; ln < 32; ++ln) o.a.insert(o.a.end(), X[ln]->a, X[ln]->a + 4);
        p.wg_open.push_back(std::move(o));
    });
}
void wgmma_fence(Loc l) {
    collect(71, "wgmma.fence", ~0u, true, nullptr, l, [](Worker *, Warp &p, Rv &) { p.fenced = true; });
}
void wgmma_commit(Loc l) {
    collect(72, "wgmma.commit_group", ~0u, true, nullptr, l, [](Worker *, Warp &p, Rv &) {
        p.wg_groups.push_back(std::move(p.wg_open));
        p.wg_open.clear();
    });
}
void wgmma_wait(int n, Loc l) {
    collect(73 + n, "wgmma.wait_group", ~0u, true, &n, l, [](Worker *w, Warp &p, Rv &r) {
        int n = *(int *)r.arg[0];
        while ((int)p.wg_groups.size() > n) {
            for (WgOp &o : p.wg_groups.front()) wg_exec(w, p, o);
            p.wg_groups.pop_front();
        }
        if (cfg().race) { // lane 0 did the reads on behalf of the warp: the wait orders them for every lane
            for (int i = 1; i < 32; ++i)
                p.lane[i]->vc[p.lane[0]->linear] =
                    std::max(p.lane[i]->vc[p.lane[0]->linear], p.lane[0]->vc[p.lane[0]->linear]);
            tick(p.lane[0]);
        }
    });
}
void setmaxnreg(int n, bool, Loc l) {
    if (n < 24 || n > 256 || n % 8) fail(l, "setmaxnreg %d", n);
}

// ================================================================ atomics, runtime API
template <class T> static T rmw(T *p, int op, T v, T c) {
    if (cfg().race && cur) access(p, sizeof(T), AT, site(__builtin_return_address(0)));
    switch (op) {
    case 0:
        return __atomic_fetch_add(p, v, __ATOMIC_RELAXED);
    case 3:
        return __atomic_exchange_n(p, v, __ATOMIC_RELAXED);
    case 4: {
        T e = c;
        __atomic_compare_exchange_n(p, &e, v, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
        return e;
    }
    case 5:
        return __atomic_fetch_or(p, v, __ATOMIC_RELAXED);
    case 6:
        return __atomic_fetch_and(p, v, __ATOMIC_RELAXED);
    default: {
        T o = __atomic_load_n(p, __ATOMIC_RELAXED), n;
        do n = op == 1 ? std::min(o, v) : std::max(o, v);
        while (!__atomic_compare_exchange_n(p, &o, n, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
        return o;
    }
    }
}
uint32_t atomic_u32(void *p, int op, uint32_t v, uint32_t c) { return rmw((uint32_t *)p, op, v, c); }
uint64_t atomic_u64(void *p, int op, uint64_t v, uint64_t c) { return rmw((uint64_t *)p, op, v, c); }
float atomic_add_f32(float *p, float v) {
    if (cfg().race && cur) access(p, 4, AT, site(__builtin_return_address(0)));
    uint32_t *u = (uint32_t *)p;
    uint32_t o = __atomic_load_n(u, __ATOMIC_RELAXED), n;
    do {
        float f;
        memcpy(&f, &o, 4);
        f += v;
        memcpy(&n, &f, 4);
    } while (!__atomic_compare_exchange_n(u, &o, n, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    float f;
    memcpy(&f, &o, 4);
    return f;
}
} // namespace emu

using namespace emu;
// How much the device has, and what is taken of it: EMU_MEMORY=bytes, else the host's. EMU_MALLOC_FAIL=N: N more allocations
// (of a graph too) succeed, the one after them fails, as in a heap in pieces. Both are read at every call, so that a test can change them.
static size_t g_taken;
static size_t memory_bytes() {
    const char *s = getenv("EMU_MEMORY");
    return s ? strtoull(s, nullptr, 0) : (size_t)sysconf(_SC_PHYS_PAGES) * (size_t)sysconf(_SC_PAGESIZE);
}
static bool malloc_fails() {
    const char *s = getenv("EMU_MALLOC_FAIL");
    if (!s) return false;
    long left = atol(s);
    if (left <= 0) unsetenv("EMU_MALLOC_FAIL");
    else setenv("EMU_MALLOC_FAIL", std::to_string(left - 1).c_str(), 1);
    return left <= 0;
}
cudaError_t cudaMalloc(void **out, size_t n) {
    std::lock_guard<std::mutex> g(g_mu);
    if (!g_heap) {
        g_heap = (uint8_t *)mmap(nullptr, HEAP, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (g_heap == MAP_FAILED) {
            perror("mmap");
            _exit(87);
        }
        g_heap_top = g_heap;
    }
    size_t body = (n + 255) / 256 * 256, pages = (body + 4095) / 4096 * 4096;
    const size_t GUARD = 256 << 10; // inaccessible before and after: address space is free
    if (body > memory_bytes() || g_taken > memory_bytes() - body || malloc_fails()) return g_last = cudaErrorMemoryAllocation;
    if (g_heap_top + pages + 2 * GUARD > g_heap + HEAP) return g_last = cudaErrorMemoryAllocation;
    uint8_t *lo = g_heap_top + GUARD;
    g_heap_top = lo + pages;
    if (mprotect(lo, pages, PROT_READ | PROT_WRITE)) return g_last = cudaErrorMemoryAllocation;
    uint8_t *p = lo + pages - body; // ends at the guard page, 256-byte aligned
    memset(lo, 0xff, pages);
    ASAN_POISON_MEMORY_REGION(lo, pages);
    ASAN_UNPOISON_MEMORY_REGION(p, n);
    g_allocs.push_back(new Alloc{p, n, true, {}, lo, pages});
    *out = p;
    g_taken += body;
    return cudaSuccess;
}
static cudaError_t run_all();
cudaError_t cudaFree(void *p) {
    if (!p) return cudaSuccess;
    const cudaError_t earlier = run_all(); // what went wrong in a launch is this call's error too
    Alloc *a = find_alloc(p);
    if (!a || a->p != p) return g_last = cudaErrorInvalidValue;
    a->live = false;
    g_taken -= (size_t)(a->lo + a->pages - a->p);
    std::vector<GCell>().swap(a->sh);
    ASAN_UNPOISON_MEMORY_REGION(a->lo, a->pages);
    mmap(a->lo, a->pages, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1,
         0); // later use faults
    return earlier;
}
static bool dev_ok(const void *p, size_t n) {
    if (!in_heap(p)) return true;
    Alloc *a = find_alloc(p);
    return a && (const uint8_t *)p + n <= a->p + a->n;
}
cudaError_t cudaMemcpy(void *d, const void *s, size_t n, enum cudaMemcpyKind k) {
    if (n && (!dev_ok(d, n) || !dev_ok(s, n))) return g_last = cudaErrorInvalidValue;
    if ((k == cudaMemcpyHostToDevice && (!in_heap(d) || in_heap(s))) ||
        (k == cudaMemcpyDeviceToHost && (in_heap(d) || !in_heap(s))))
        return g_last = cudaErrorInvalidValue;
    memmove(d, s, n);
    return cudaSuccess;
}
cudaError_t cudaMemset(void *d, int v, size_t n) {
    if (!dev_ok(d, n)) return g_last = cudaErrorInvalidValue;
    memset(d, v, n);
    return cudaSuccess;
}
// A stream is lazy: what is enqueued runs at the last moment that CUDA allows, when somebody waits for it. So a host buffer
// that is changed too early, or read without a wait, shows. The null stream, which kernels' own tests use, is not.
// While a stream is being captured its work goes into the graph instead.
struct emuStream {
    emuGraph *capture;
    std::deque<std::function<int()>> work; // enqueued, not yet run
    size_t done;                           // how many were run before those
    size_t end() const { return done + work.size(); }
};
struct emuGraph {
    std::vector<std::function<int()>> work;
};
struct emuEvent {
    emuStream *stream; // NULL: never recorded
    size_t position;   // of the stream's work: what comes before belongs to the event
    double seconds;    // when it was reached
};
static std::vector<emuStream *> g_streams;
static cudaError_t run_until(emuStream *s, size_t position) {
    if (s->capture) return g_last = cudaErrorStreamCaptureUnsupported;
    cudaError_t first = cudaSuccess;
    while (s->done < position && !s->work.empty()) {
        std::function<int()> work = std::move(s->work.front());
        s->work.pop_front(), s->done++;
        cudaError_t error = (cudaError_t)work();
        if (first == cudaSuccess) first = error;
    }
    return first == cudaSuccess ? first : g_last = first;
}
static cudaError_t run_all() {
    cudaError_t first = cudaSuccess;
    for (emuStream *s : g_streams) {
        cudaError_t error = s->capture ? cudaSuccess : run_until(s, s->end());
        if (first == cudaSuccess) first = error;
    }
    return first;
}
static bool enqueue(cudaStream_t s, std::function<int()> work) {
    if (!s) return false;
    if (s->capture) s->capture->work.push_back(std::move(work));
    else s->work.push_back(std::move(work));
    return true;
}
static emuCalls g_calls;
void emuGetCalls(emuCalls *c) { *c = g_calls; }
bool emu::record(cudaStream_t s, std::function<int()> work) {
    if (!s || !s->capture) g_calls.kernels++;
    return enqueue(s, std::move(work));
}
cudaError_t cudaMemcpyAsync(void *d, const void *s, size_t n, enum cudaMemcpyKind k, cudaStream_t stream) {
    auto copy = [=] { return (int)cudaMemcpy(d, s, n, k); };
    bool captured = stream && stream->capture;
    if (!captured) g_calls.copies++;
    if (k == cudaMemcpyDeviceToHost && stream && !captured) memset(d, 0xff, n); // not there before the wait
    return enqueue(stream, copy) ? cudaSuccess : (cudaError_t)copy();
}
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *s, unsigned) {
    *s = new emuStream{nullptr, {}, 0};
    g_streams.push_back(*s);
    return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t s) {
    cudaError_t error = run_until(s, s->end());
    g_streams.erase(std::find(g_streams.begin(), g_streams.end(), s));
    delete s;
    return error;
}
cudaError_t cudaStreamSynchronize(cudaStream_t s) {
    if (!s) return cudaSuccess;
    return run_until(s, s->end());
}
cudaError_t cudaDeviceSynchronize() { return run_all(); }
cudaError_t cudaStreamBeginCapture(cudaStream_t s, enum cudaStreamCaptureMode) {
    if (!s || s->capture) return g_last = cudaErrorInvalidValue;
    s->capture = new emuGraph;
    return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t s, cudaGraph_t *g) {
    if (!s || !s->capture) return g_last = cudaErrorInvalidValue;
    *g = s->capture;
    s->capture = nullptr;
    return cudaSuccess;
}
cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t *e, cudaGraph_t g, unsigned long long) {
    if (malloc_fails()) return g_last = cudaErrorMemoryAllocation; // a graph takes memory too
    *e = new emuGraph(*g);
    return cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t e, cudaStream_t s) {
    auto replay = [e] {
        for (auto &work : e->work)
            if (int r = work()) return r;
        return 0;
    };
    if (s && s->capture) return g_last = cudaErrorStreamCaptureUnsupported;
    g_calls.graphs++;
    return enqueue(s, replay) ? cudaSuccess : g_last = (cudaError_t)replay();
}
cudaError_t cudaGraphDestroy(cudaGraph_t g) {
    delete g;
    return cudaSuccess;
}
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t e) {
    cudaError_t error = run_all(); // a launch of it may be waiting
    delete e;
    return error;
}
// The device's clock is the processor time of the thread that runs its streams: what else the machine does does not count.
static double seconds_now() {
    timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *e, unsigned) {
    *e = new emuEvent{nullptr, 0, 0};
    return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t e) {
    cudaError_t error = run_all();
    delete e;
    return error;
}
cudaError_t cudaEventRecordWithFlags(cudaEvent_t e, cudaStream_t s, unsigned flags) {
    if (!s || (s->capture && !(flags & cudaEventRecordExternal))) return g_last = cudaErrorInvalidValue;
    bool captured = s->capture != nullptr;
    enqueue(s, [e] { return e->seconds = seconds_now(), 0; });
    if (!captured) e->stream = s, e->position = s->end();
    return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t s) { return cudaEventRecordWithFlags(e, s, 0); }
cudaError_t cudaEventSynchronize(cudaEvent_t e) { return e->stream ? run_until(e->stream, e->position) : cudaSuccess; }
cudaError_t cudaStreamWaitEvent(cudaStream_t s, cudaEvent_t e, unsigned) {
    emuStream *other = e->stream;
    size_t position = e->position;
    if (other) enqueue(s, [=] { return (int)run_until(other, position); });
    return cudaSuccess;
}
cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t start, cudaEvent_t stop) {
    *ms = (float)((stop->seconds - start->seconds) * 1e3);
    return cudaSuccess;
}
// Page-locked memory: ordinary, but filled with NaN as device memory is.
cudaError_t cudaHostAlloc(void **p, size_t n, unsigned) {
    if (!(*p = malloc(n))) return g_last = cudaErrorMemoryAllocation;
    memset(*p, 0xff, n);
    return cudaSuccess;
}
cudaError_t cudaFreeHost(void *p) {
    cudaError_t error = run_all();
    free(p);
    return error;
}
cudaError_t cudaGetDeviceCount(int *n) {
    *n = 1;
    return cudaSuccess;
}
cudaError_t cudaSetDevice(int i) { return i ? g_last = cudaErrorInvalidDevice : cudaSuccess; }
cudaError_t cudaDeviceGetAttribute(int *v, enum cudaDeviceAttr a, int) {
    *v = a == cudaDevAttrComputeCapabilityMajor ? 8 : 0;
    return cudaSuccess;
}
cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total) {
    *total = memory_bytes();
    *free_bytes = *total < g_taken ? 0 : *total - g_taken;
    if (!getenv("EMU_MEMORY")) *free_bytes = (size_t)sysconf(_SC_AVPHYS_PAGES) * (size_t)sysconf(_SC_PAGESIZE);
    return cudaSuccess;
}
const char *cudaGetErrorString(cudaError_t e) {
    switch (e) {
    case cudaSuccess:
        return "no error";
    case cudaErrorMemoryAllocation:
        return "out of memory";
    case cudaErrorInvalidConfiguration:
        return "invalid configuration argument";
    case cudaErrorInvalidValue:
        return "invalid argument";
    default:
        return "emulated CUDA error";
    }
}
cudaError_t cudaGetLastError() {
    cudaError_t e = g_last;
    g_last = cudaSuccess;
    return e;
}
cudaError_t cudaFuncSetAttribute_(const void *f, cudaFuncAttribute, int v) {
    if (v > (int)MAX_SMEM) return g_last = cudaErrorInvalidValue;
    g_max_dyn[f] = v;
    return cudaSuccess;
}

// ================================================================ entry points that "g++ -fsanitize=thread" calls;
// libtsan is not linked
#if defined(EMU_RACE)
#define PC __builtin_return_address(0)
namespace emu {
void access_pc(const void *, size_t, bool, void *);
}
extern "C" {
void __tsan_init() {}
void __tsan_func_entry(void *) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void **, void *) {}
void __tsan_vptr_read(void **) {}
#define RW(n)                                                                                                          \
    void __tsan_read##n(void *p) { access_pc(p, n, false, PC); }                                                       \
    void __tsan_write##n(void *p) { access_pc(p, n, true, PC); }                                                       \
    void __tsan_unaligned_read##n(void *p) { access_pc(p, n, false, PC); }                                             \
    void __tsan_unaligned_write##n(void *p) { access_pc(p, n, true, PC); }                                             \
    void __tsan_volatile_read##n(void *p) { access_pc(p, n, false, PC); }                                              \
    void __tsan_volatile_write##n(void *p) { access_pc(p, n, true, PC); }                                              \
    void __tsan_read_write##n(void *p) {                                                                               \
        access_pc(p, n, false, PC);                                                                                    \
        access_pc(p, n, true, PC);                                                                                     \
    }
RW(1) RW(2) RW(4) RW(8) RW(16) void __tsan_read_range(void *p, size_t n) { access_pc(p, n, false, PC); }
void __tsan_write_range(void *p, size_t n) { access_pc(p, n, true, PC); }
#define ATOM(bits, T)                                                                                                  \
    T __tsan_atomic##bits##_load(const volatile T *p, int) { return __atomic_load_n(p, __ATOMIC_SEQ_CST); }            \
    void __tsan_atomic##bits##_store(volatile T *p, T v, int) { __atomic_store_n(p, v, __ATOMIC_SEQ_CST); }
ATOM(32, uint32_t) ATOM(64, uint64_t) ATOM(8, uint8_t) void __tsan_atomic_thread_fence(int) {}
}
#endif
