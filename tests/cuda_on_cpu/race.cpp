// race.cpp -- the race detector, and what it needs to know of device memory: which accesses are unordered, out of bounds or too early.
#include "layer.h"
#include <string>
#include <dlfcn.h>
#include <unistd.h>

namespace emu {
// ================================================================ race detector (vector clocks over shared and device
// memory)
static inline bool hb(uint32_t e, const Fiber *f) { return !e || (e & 0x1fffff) <= f->vc[e >> 21]; }

struct Site {
    void *pc;
    Loc loc;
};
static std::vector<Site> g_sites(1);
static std::unordered_map<uint64_t, uint32_t> g_site_ix;
uint32_t site(void *pc, Loc loc) {
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
static void report(const char *kind, Fiber *f, const char *space, uint64_t off, const char *verb, uint32_t s1, const char *verb2,
                   uint32_t t2, uint32_t s2) {
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
        const Worker *w = W();
        const unsigned t = t2 % w->nthreads;
        if (t2 == w->cl->agent()) fprintf(stderr, "by the copy engine");
        else fprintf(stderr, "by thread %u [warp %u]", t, t / 32);
        if (t2 < w->cl->agent() && w->cl->size > 1) fprintf(stderr, " of CTA %u", t2 / w->nthreads);
        fprintf(stderr, " at %s", b.c_str());
    }
    fprintf(stderr, "\n");
    (void)f;
}
// an ordinary write that the async proxy reads needs a fence.proxy.async by its writer, before the synchronisation
void proxy_check(Worker *w, Fiber *f, uint32_t we, uint32_t wsite, uint32_t off, uint32_t s) {
    const uint32_t writer = we >> 21;
    const std::vector<uint32_t> &fv = w->cl->cta[writer / w->nthreads]->fib[writer % w->nthreads]->fences;
    auto it = std::lower_bound(fv.begin(), fv.end(), we & 0x1fffff);
    if (it == fv.end() || (*it > f->vc[writer] && writer != f->ct))
        report("MISSING fence.proxy.async", f, "shared", off, "reads through the async proxy", s, "ordinary write", writer, wsite);
}
void smem_access(Worker *w, Fiber *f, uint32_t off, size_t n, Access a, uint32_t s, uint32_t as_epoch) {
    if (!w->in_smem(off, n)) {
        report("OUT-OF-BOUNDS shared access", f, "shared", off, a == RD ? "reads" : "writes", s, nullptr, 0, 0);
        return;
    }
    bool wr = a == WR || a == AT, rd = a != WR;
    uint32_t e = as_epoch ? as_epoch : now(f);
    for (uint32_t g = off / GR, end = (uint32_t)((off + n - 1) / GR); g <= end; ++g) {
        Cell &c = w->shadow[g];
        if (c.inflight) {
            report("RACE (copy in flight)", f, "shared", g * GR, wr ? "writes" : "reads", s, "asynchronous copy not yet waited for, issued",
                   c.inflight - 1u, c.wsite);
            continue;
        }
        if (rd && !c.w && !c.a) {
            report("UNINITIALISED shared read", f, "shared", g * GR, "reads", s, nullptr, 0, 0);
            continue;
        }
        const char *kind = wr ? "RACE (write after write)" : "RACE (read after write)";
        const char *verb = wr ? "writes" : "reads";
        if (!hb(c.w, f)) report(kind, f, "shared", g * GR, verb, s, "unordered write", c.w >> 21, c.wsite);
        else if (a != AT && !hb(c.a, f)) report(kind, f, "shared", g * GR, verb, s, "unordered atomic", c.a >> 21, c.wsite);
        else if (a == ASYNC_RD && c.generic) proxy_check(w, f, c.w, c.wsite, g * GR, s);
        if (wr)
            for (uint32_t r : c.r)
                if (r && !hb(r, f)) {
                    report("RACE (write after read)", f, "shared", g * GR, "writes", s, "unordered read", r >> 21, c.rsite);
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
void smem_inflight(Worker *w, Fiber *f, uint32_t off, size_t n, uint32_t s) {
    for (uint32_t g = off / GR, end = (uint32_t)((off + n - 1) / GR); g <= end; ++g) {
        Cell &c = w->shadow[g];
        if (c.inflight)
            report("RACE (two copies in flight)", f, "shared", g * GR, "starts a copy into it", s, "other copy issued", c.inflight - 1u,
                   c.wsite);
        else if (!hb(c.w, f) || !hb(c.a, f))
            report("RACE (copy over unordered write)", f, "shared", g * GR, "starts a copy into it", s, "unordered write", c.w >> 21,
                   c.wsite);
        else
            for (uint32_t r : c.r)
                if (r && !hb(r, f)) {
                    report("RACE (copy over unordered read)", f, "shared", g * GR, "starts a copy into it", s, "unordered read", r >> 21,
                           c.rsite);
                    break;
                }
        c.inflight = (uint16_t)(f->ct + 1);
        c.wsite = s;
    }
}
void smem_landed(Worker *w, uint32_t off, size_t n, uint32_t e, bool generic) {
    for (uint32_t g = off / GR, end = (uint32_t)((off + n - 1) / GR); g <= end; ++g) {
        Cell &c = w->shadow[g];
        c.inflight = 0;
        c.w = e;
        c.a = 0;
        c.generic = generic;
        c.r[0] = c.r[1] = c.r[2] = c.r[3] = 0;
    }
}

// That other CTAs have arrived at a CTA's barriers for the last time, and that its loads have landed, is known to one of its threads when it
// exits.
void check_remote(Worker *w) {
    Fiber *f = static_cast<Fiber *>(cur);
    for (uint32_t t = 0; t < w->remote.size(); ++t) {
        const auto [e, s] = w->remote[t];
        if (e && (e & 0x1fffff) > w->left[t])
            report("EXIT (before another CTA's access)", f, "shared", 0, "exits", site(nullptr, f->loc), "unordered access", t, s);
    }
    if (w->landed > w->left[w->cl->agent()])
        report("EXIT (before a load has been waited for)", f, "shared", 0, "exits", site(nullptr, f->loc), "load", w->cl->agent(),
               site(nullptr, w->landed_at));
}

// ================================================================ device memory
uint8_t *g_heap, *g_heap_top;
std::vector<Alloc *> &g_allocs = *new std::vector<Alloc *>;
Alloc *find_alloc(const void *q) {
    static thread_local Alloc *last = nullptr;
    const uint8_t *p = (const uint8_t *)q;
    if (last && last->live && p >= last->p && p < last->p + last->n) return last;
    auto it = std::upper_bound(g_allocs.begin(), g_allocs.end(), p, [](const uint8_t *a, const Alloc *b) { return a < b->p; });
    if (it == g_allocs.begin()) return nullptr;
    Alloc *a = *--it;
    if (p < a->p + a->n && a->live) return last = a;
    return nullptr;
}
static void gmem_access(Worker *w, Fiber *f, const void *q, size_t n, Access a, uint32_t s) {
    Alloc *al = find_alloc(q);
    if (!al || (const uint8_t *)q + n > al->p + al->n) {
        report("OUT-OF-BOUNDS device access", f, "device", (uint64_t)((const uint8_t *)q - g_heap), a == RD ? "reads" : "writes", s,
               nullptr, 0, 0);
        return;
    }
    if (al->sh.empty()) al->sh.resize(al->n / GR + 1);
    size_t o = (size_t)((const uint8_t *)q - al->p);
    bool wr = a != RD, rd = a != WR, early = w->d->dependent && !f->waited;
    const uint32_t number = w->cl->number, blk = w->block_linear / w->cl->size; // the threads of a cluster have clocks in common
    for (size_t g = o / GR; g <= (o + n - 1) / GR; ++g) {
        GCell &c = al->sh[g];
        uint64_t at = (uint64_t)((const uint8_t *)q - g_heap);
        const char *verb = wr ? "writes" : "reads";
        if (early && (wr || c.written == number - 1))
            report("ACCESS BEFORE grid_wait (device memory)", f, "device", at, verb, s, nullptr, 0, 0);
        if (c.launch > number && (wr || c.w || c.a)) {
            const uint32_t other = c.w ? c.w : c.a ? c.a : c.r;
            report("RACE with the next kernel (device memory)", f, "device", at, verb, s, "an access before its grid_wait", other >> 21,
                   c.wsite);
        }
        if (c.launch != number) {
            const uint32_t written = c.written;
            c = GCell();
            c.launch = number, c.written = written;
        }
        if (wr) c.written = number;
        auto bad = [&](uint32_t e, uint32_t eb) { return e && (eb != blk || !hb(e, f)); };
        if (bad(c.w, c.wblock))
            report(c.wblock != blk ? "RACE between blocks (device memory)" : "RACE (device memory)", f, "device", at, verb, s,
                   c.wblock != blk ? "another block's write" : "unordered write", c.w >> 21, c.wsite);
        else if (a != AT && bad(c.a, c.ablock))
            report("RACE with an atomic (device memory)", f, "device", at, verb, s, "unordered atomic", c.a >> 21, 0);
        if (wr && bad(c.r, c.rblock))
            report("RACE (device memory, write after read)", f, "device", at, "writes", s, "unordered read", c.r >> 21, 0);
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
void access(const void *p, size_t n, Access a, uint32_t s) {
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
void check_gmem(const void *p, size_t n, Loc l, const char *what) {
    if (in_heap(p)) {
        Alloc *a = find_alloc(p);
        if (!a || (const uint8_t *)p + n > a->p + a->n)
            fail(l, "%s reads %zu bytes at %p outside every live device allocation", what, n, p);
        if (cfg().race && cur) gmem_access(W(), W()->me(), p, n, RD, site(nullptr, l));
    }
}
} // namespace emu

// ================================================================ entry points that "g++ -fsanitize=thread" calls;
// libtsan is not linked
#if defined(EMU_RACE)
#define PC __builtin_return_address(0)
using namespace emu;
extern "C" {
void __tsan_init() {}
void __tsan_func_entry(void *) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void **, void *) {}
void __tsan_vptr_read(void **) {}
#define RW(n)                                                                                                                              \
    void __tsan_read##n(void *p) { access_pc(p, n, false, PC); }                                                                           \
    void __tsan_write##n(void *p) { access_pc(p, n, true, PC); }                                                                           \
    void __tsan_unaligned_read##n(void *p) { access_pc(p, n, false, PC); }                                                                 \
    void __tsan_unaligned_write##n(void *p) { access_pc(p, n, true, PC); }                                                                 \
    void __tsan_volatile_read##n(void *p) { access_pc(p, n, false, PC); }                                                                  \
    void __tsan_volatile_write##n(void *p) { access_pc(p, n, true, PC); }                                                                  \
    void __tsan_read_write##n(void *p) {                                                                                                   \
        access_pc(p, n, false, PC);                                                                                                        \
        access_pc(p, n, true, PC);                                                                                                         \
    }
RW(1) RW(2) RW(4) RW(8) RW(16) void __tsan_read_range(void *p, size_t n) { access_pc(p, n, false, PC); }
void __tsan_write_range(void *p, size_t n) { access_pc(p, n, true, PC); }
#define ATOM(bits, T)                                                                                                                      \
    T __tsan_atomic##bits##_load(const volatile T *p, int) { return __atomic_load_n(p, __ATOMIC_SEQ_CST); }                                \
    void __tsan_atomic##bits##_store(volatile T *p, T v, int) { __atomic_store_n(p, v, __ATOMIC_SEQ_CST); }
ATOM(32, uint32_t) ATOM(64, uint64_t) ATOM(8, uint8_t) void __tsan_atomic_thread_fence(int) {}
uint32_t __tsan_atomic32_fetch_add(volatile uint32_t *p, uint32_t v, int) { // shared_ptr's
    return __atomic_fetch_add(p, v, __ATOMIC_SEQ_CST);
}
}
#endif
