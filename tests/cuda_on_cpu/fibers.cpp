// fibers.cpp -- runs a block, or the blocks of a cluster: their threads as fibers, and the scheduler that switches between them.
#include "layer.h"
#include <cstdarg>
#include <string>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

namespace emu {
__thread FiberPub *cur = nullptr;
std::atomic<int> g_errors{0};
std::mutex g_mu;
int errors() { return g_errors; }

// ================================================================ context switch
#if defined(EMU_UCONTEXT)
static void ctx_swap(Ctx *from, Ctx *to) { swapcontext(&from->u, &to->u); }
static void ctx_make(Ctx *c, void *lo, size_t n, void (*fn)()) {
    getcontext(&c->u);
    c->u.uc_stack.ss_sp = lo;
    c->u.uc_stack.ss_size = n;
    c->u.uc_link = nullptr;
    makecontext(&c->u, fn, 0);
}
#elif defined(__x86_64__)
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

// ================================================================ errors that end the program
void describe(char *o, size_t n) {
    if (!cur) {
        snprintf(o, n, "host");
        return;
    }
    BlockPub *b = cur->blk;
    snprintf(o, n, "block (%u,%u,%u) thread (%u,%u,%u) [warp %u lane %u]", b->bid.x, b->bid.y, b->bid.z, cur->tid.x, cur->tid.y, cur->tid.z,
             cur->warp, cur->lane);
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
    smem = (uint8_t *)mmap(nullptr, ARENA + (64 << 10), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    smem = (uint8_t *)(((uintptr_t)smem + 65535) & ~(uintptr_t)65535);
    memset(smem, 0xff, ARENA);
    ASAN_POISON_MEMORY_REGION(smem, ARENA);
    warp.resize(32);
    for (Bar &b : bars) b = Bar();
}
Cluster::Cluster() { // of the OS thread that calls this
    pthread_attr_t at;
    void *lo;
    pthread_getattr_np(pthread_self(), &at);
    pthread_attr_getstack(&at, &lo, &main_n);
    main_lo = lo;
    pthread_attr_destroy(&at);
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
    uint8_t *p = (uint8_t *)mmap(nullptr, n + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
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
    Ctx *a = from ? &from->ctx : &cl->sched;
    Ctx *b = to ? &to->ctx : &cl->sched;
#if defined(EMU_ASAN)
    void **save = from ? (from->done ? nullptr : &from->fake_stack) : &cl->main_fake;
    __sanitizer_start_switch_fiber(save, to ? (const void *)to->stack_lo : cl->main_lo, to ? cfg().stack : cl->main_n);
    ctx_swap(a, b);
    __sanitizer_finish_switch_fiber(from ? from->fake_stack : cl->main_fake, nullptr, nullptr);
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
    swap_to(f, cl->next(f));
    f->what = nullptr;
}
void yield() {
    Worker *w = W();
    Fiber *f = w->me();
    w->unready(f);
    Fiber *to = w->cl->next(f);
    w->wake(f);
    if (to) w->swap_to(f, to);
    else if (w->cl->async_step()) {}
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
    if (!--w->live) w->exited();
    w->cl->leave(f);
    w->swap_to(f, w->cl->next(f));
    abort();
}
void Worker::begin(const LaunchDesc &launch, uint64_t b) {
    d = &launch;
    joined = waited = false;
    left.clear();
    remote.clear();
    landed = 0;
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
        f->ct = rank * nthreads + i;
        f->cluster_arrived = false;
        f->warp = i / 32;
        f->lane = i % 32;
        f->done = false;
        f->what = nullptr;
        f->tid = {i % bdim.x, i / bdim.x % bdim.y, i / bdim.x / bdim.y};
        f->cp_open.clear();
        f->cp_groups.clear();
        f->bulk_open.clear();
        f->bulk_groups.clear();
        f->waited = false;
        f->bulk_read = 0;
        if (cfg().race) {
            f->vc.assign(cl->threads + 1, 0);
            f->vc[f->ct] = 1;
            f->announced.clear();
            f->fences.clear();
        }
        ASAN_UNPOISON_MEMORY_REGION(f->stack_lo, cfg().stack);
        ctx_make(&f->ctx, f->stack_lo, cfg().stack, fiber_main);
        warp[f->warp].lane[f->lane] = f;
        warp[f->warp].live |= 1u << f->lane;
        wake(f);
    }
}
void Worker::finish() {
    if (d->dependent && !waited) {
        ++g_errors;
        fprintf(stderr, "EMU: block (%u,%u,%u) of a launch that may begin before the kernel before it has ended exits without grid_wait\n",
                bid.x, bid.y, bid.z);
    }
    // what lies around the block's shared memory must still be the fill pattern
    ASAN_UNPOISON_MEMORY_REGION(smem, ARENA);
    auto canary = [&](uint32_t lo, uint32_t hi) {
        for (uint32_t i = lo; i < hi; ++i)
            if (smem[i] != 0xff) {
                ++g_errors;
                fprintf(stderr, "EMU CANARY: block (%u,%u,%u) wrote outside its shared memory, at dynamic offset %d (size %u)\n", bid.x,
                        bid.y, bid.z, (int)i - (int)dyn_off, dyn_size);
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
// What to run next: where a CTA can go on, its own threads first, but for the random order.
Fiber *Cluster::start() {
    if (size > 1 && cfg().sched == SCHED_RAND) {
        unsigned ready = 0;
        for (unsigned i = 0; i < size; ++i) ready += cta[i]->warp_ready != 0;
        if (!ready) return nullptr;
        unsigned k = cta[0]->rnd() % ready, i = 0;
        while (!cta[i]->warp_ready || k--) ++i;
        return cta[i]->pick(0, 0);
    }
    for (unsigned i = 0; i < size; ++i) {
        Worker *w = cta[cfg().sched == SCHED_REV ? size - 1 - i : i];
        if (!w->warp_ready) continue;
        if (cfg().sched == SCHED_RAND) return w->pick(0, 0);
        if (cfg().sched == SCHED_FWD) return w->first([](unsigned m) { return __builtin_ctz(m); });
        return w->first([](unsigned m) { return 31 - __builtin_clz(m); });
    }
    return nullptr;
}
Fiber *Cluster::next(Fiber *f) {
    if (f->w->warp_ready && (size == 1 || cfg().sched != SCHED_RAND)) return f->w->pick(f->warp, f->lane);
    return size == 1 ? nullptr : start();
}
void Cluster::begin(const LaunchDesc &d, uint32_t launch, uint64_t first) {
    number = launch;
    resolved = true;
    for_grid.clear();
    size = d.cluster;
    threads = size * d.block.x * d.block.y * d.block.z;
    live = threads;
    arrived = 0;
    phase = agent_clk = 0;
    waiters.clear();
    acc.clear();
    done.clear();
    while (cta.size() < size) cta.push_back(new Worker());
    for (unsigned i = 0; i < size; ++i) {
        cta[i]->cl = this;
        cta[i]->rank = i;
        cta[i]->begin(d, first + i);
    }
}
bool Cluster::run_threads() {
    bool stuck = false;
    while (live && !stuck) {
        if (Fiber *f = start()) f->w->swap_to(nullptr, f);
        else stuck = !async_step();
    }
    if (stuck && for_grid.empty()) deadlock();
    cur = nullptr;
    return !stuck;
}
void Cluster::finish() {
    for (unsigned i = 0; i < size; ++i) cta[i]->finish();
}
static void report_deadlock(Worker *w) {
    const uint3 bid = w->bid;
    const unsigned nthreads = w->nthreads;
    fprintf(stderr, "EMU DEADLOCK in block (%u,%u,%u): %u of %u threads live, none can run\n", bid.x, bid.y, bid.z, w->live, nthreads);
    std::map<std::string, std::pair<unsigned, unsigned>> g;
    for (unsigned i = 0; i < nthreads; ++i) {
        Fiber *f = w->fib[i];
        char k[300];
        if (f->done) snprintf(k, sizeof k, "have exited");
        else {
            snprintf(k, sizeof k, "wait in %s at %s:%d", f->what ? f->what : "?", f->loc.file, f->loc.line);
            if (f->what && !strcmp(f->what, "mbarrier wait") && w->mbar.count(f->warg)) {
                MBar &m = w->mbar[f->warg];
                snprintf(k + strlen(k), sizeof k - strlen(k), " (barrier 0x%x: phase %u, %d arrivals and %d bytes outstanding)", f->warg,
                         m.phase, m.pending, m.tx);
            }
        }
        auto &r = g.emplace(k, std::make_pair(i, 0u)).first->second;
        ++r.second;
    }
    for (auto &k : g)
        fprintf(stderr, "  %u threads (first: %u, warp %u) %s\n", k.second.second, k.second.first, k.second.first / 32, k.first.c_str());
}
void Cluster::deadlock() {
    fflush(stdout);
    for (unsigned i = 0; i < size; ++i)
        if (cta[i]->live) report_deadlock(cta[i]);
    _exit(86);
}
void Worker::on_exit(Fiber *f) {
    for (auto &g : f->cp_groups)
        for (CpOp &o : g) f->cp_open.push_back(o);
    if (!f->cp_open.empty()) {
        ++g_errors;
        fprintf(stderr, "EMU: thread %u exits with %zu cp.async not waited for (first at %s:%d)\n", f->linear, f->cp_open.size(),
                f->cp_open[0].loc.file, f->cp_open[0].loc.line);
    }
    stores_at_exit(this, f);
    Warp &p = warp[f->warp];
    if (p.live == 1u << f->lane && (!p.wg_open.empty() || !p.wg_groups.empty()))
        fail(f->loc, "warp %u exits with wgmma in flight", f->warp);
    p.live &= ~(1u << f->lane);
    for (Rv &r : p.rv)
        if (r.arrived && (r.mask >> f->lane & 1))
            fail(r.loc, "lane %u of warp %u exited while lanes %08x wait for it in %s", f->lane, f->warp, r.arrived, r.name);
    if (cfg().race) join(left, f->vc);
}
// The CTA's last thread has gone, and its shared memory with it.
void Worker::exited() {
    if (!tma.empty())
        fail(tma[0].loc, "a CTA exits with %zu TMA loads in flight into its shared memory, of which this one was issued first", tma.size());
    if (cfg().race) check_remote(this);
}
} // namespace emu
