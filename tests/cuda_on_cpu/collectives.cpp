// collectives.cpp -- what the threads of a block do together: shared memory, barriers, warp collectives and atomics.
#include "layer.h"

namespace emu {
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
    return (uint32_t)o | W()->rank << RANK_SHIFT;
}
void *smem_ptr(uint32_t a, size_t n, bool wr, Loc l) {
    Worker *w = W();
    a = own(w, a, wr ? "a write" : "a read", l);
    if (!w->in_smem(a, n))
        fail(l, "%s of %zu bytes at shared address 0x%x (dynamic offset %d of %u) is out of bounds", wr ? "write" : "read", n, a,
             (int)a - (int)w->dyn_off, w->dyn_size);
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
    if (b.expected != n) fail(l, "barrier %d: expects %u threads here, %u at %s:%d", id, n, b.expected, b.loc.file, b.loc.line);
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
                case SHFL_IDX: s = base + (a->param & (a->width - 1)); break;
                case SHFL_UP: s = rel - a->param < 0 ? i : i - a->param; break;
                case SHFL_DOWN: s = rel + a->param >= a->width ? i : i + a->param; break;
                default:
                    s = i ^ a->param;
                    if (s >= base + a->width) s = i;
                    break;
                }
                if (!(r.arrived >> s & 1))
                    fail(r.loc, "__shfl_sync: lane %d reads lane %d, which is not taking part (mask %08x)", i, s, r.mask);
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
                case VOTE_ALL: acc |= (uint32_t)(x != 0) << i; break;
                case RED_ADD:
                case RED_IADD: acc += x; break;
                case RED_MIN: acc = first ? x : std::min(acc, x); break;
                case RED_MAX: acc = first ? x : std::max(acc, x); break;
                case RED_IMIN: acc = first ? x : (uint32_t)std::min((int)acc, (int)x); break;
                case RED_IMAX: acc = first ? x : (uint32_t)std::max((int)acc, (int)x); break;
                case RED_AND: acc = first ? x : acc & x; break;
                case RED_OR: acc |= x; break;
                case RED_XOR: acc ^= x; break;
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

// ================================================================ atomics
template <class T> static T rmw(T *p, int op, T v, T c) {
    if (cfg().race && cur) access(p, sizeof(T), AT, site(__builtin_return_address(0)));
    switch (op) {
    case 0: return __atomic_fetch_add(p, v, __ATOMIC_RELAXED);
    case 3: return __atomic_exchange_n(p, v, __ATOMIC_RELAXED);
    case 4: {
        T e = c;
        __atomic_compare_exchange_n(p, &e, v, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
        return e;
    }
    case 5: return __atomic_fetch_or(p, v, __ATOMIC_RELAXED);
    case 6: return __atomic_fetch_and(p, v, __ATOMIC_RELAXED);
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
