// copies.cpp -- asynchronous copies and what waits for them: cp.async, mbarrier and TMA.
#include "layer.h"

namespace emu {
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
    dst = own(w, dst, "cp.async", l);
    if (bytes != 4 && bytes != 8 && bytes != 16) fail(l, "cp.async of %d bytes", bytes);
    if (sb < 0 || sb > bytes) fail(l, "cp.async: source size %d of %d", sb, bytes);
    if (dst % (uint32_t)bytes || (sb && (uintptr_t)src % (uintptr_t)bytes))
        fail(l, "cp.async: shared 0x%x or global %p not aligned to %d", dst, src, bytes);
    if (!w->in_smem(dst, (size_t)bytes))
        fail(l, "cp.async: shared address 0x%x (dynamic offset %d of %u) is out of bounds", dst, (int)dst - (int)w->dyn_off, w->dyn_size);
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
MBar &mb(Worker *w, uint32_t a, Loc l) {
    auto it = w->mbar.find(a);
    if (it == w->mbar.end() && cur && w != W()) fail(l, "no mbarrier was initialised at shared address 0x%x of CTA %u", a, w->rank);
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
    needs_90("mbarrier with transactions", l);
    Worker *w = W();
    a = own(w, a, "mbarrier.init", l);
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
    a = own(w, a, "mbarrier.inval", l);
    mb(w, a, l);
    w->mbar.erase(a);
    memset(w->smem + a, 0xff, 8);
}
void mb_arrive(Worker *w, MBar &m, uint32_t a, uint32_t count, uint32_t tx, Loc l) {
    Fiber *f = static_cast<Fiber *>(cur);
    if (cfg().race) {
        join(m.acc, f->vc);
        tick(f);
    }
    m.tx += (int32_t)tx;
    m.pending -= (int32_t)count;
    if (m.pending < 0) fail(l, "mbarrier 0x%x: more arrivals than its count %u in one phase", a, m.count);
    mb_settle(w, m);
}
void mbar_arrive(uint32_t a, uint32_t count, uint32_t tx, Loc l) {
    Worker *w = W();
    a = own(w, a, "mbarrier.arrive", l);
    mb_arrive(w, mb(w, a, l), a, count, tx, l);
}
bool mbar_test(uint32_t a, uint32_t parity, Loc l) {
    Worker *w = W();
    a = own(w, a, "mbarrier.test_wait", l);
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
    a = own(w, a, "mbarrier.try_wait", l);
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
        f->fences.push_back(f->vc[f->ct]);
        tick(f);
    }
}

// ================================================================ TMA
int tensor_map_encode(TensorMap *t, int esize, int rank, const void *base, const uint64_t *dims, const uint64_t *strides,
                      const uint32_t *box, const uint32_t *es, int swizzle) {
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
// every 16 bytes of a box, the swizzle's granularity: where they lie in shared memory and in the box, and which elements of them exist
template <class F> static void tma_box(const TensorMap &t, const int *c, uint32_t smem, F move) {
    uint32_t inner = t.box[0] * (uint32_t)t.esize, lin = 0;
    for (unsigned i4 = 0; i4 < t.box[4]; ++i4)
        for (unsigned i3 = 0; i3 < t.box[3]; ++i3)
            for (unsigned i2 = 0; i2 < t.box[2]; ++i2)
                for (unsigned i1 = 0; i1 < t.box[1]; ++i1, lin += inner) {
                    unsigned ix[5] = {0, i1, i2, i3, i4};
                    bool in = true;
                    uint8_t *g = t.base;
                    for (int k = 1; k < t.rank; ++k) {
                        int64_t at = (int64_t)c[k] + ix[k];
                        if (at < 0 || at >= (int64_t)t.dim[k]) in = false;
                        else g += (uint64_t)at * t.stride[k - 1];
                    }
                    for (uint32_t e = 0; e < inner; e += 16) {
                        uint8_t *elements[16];
                        for (uint32_t b = 0; b < 16; b += t.esize) {
                            int64_t c0 = (int64_t)c[0] + (int64_t)((e + b) / t.esize);
                            elements[b] = in && c0 >= 0 && c0 < (int64_t)t.dim[0] ? g + c0 * t.esize : nullptr;
                        }
                        move(swz(smem + lin + e, t.swizzle), lin + e, elements);
                    }
                }
}
void Worker::tma_run(const TmaLoad &o) {
    const uint32_t bytes = box_bytes(o.tm);
    tma_box(o.tm, o.c, o.smem, [&](uint32_t at, uint32_t, uint8_t **elements) {
        memset(smem + at, 0, 16);
        for (uint32_t b = 0; b < 16; b += o.tm.esize)
            if (elements[b]) memcpy(smem + at + b, elements[b], o.tm.esize);
    });
    auto it = mbar.find(o.bar);
    if (it == mbar.end()) fail(o.loc, "TMA completes on an mbarrier that no longer exists");
    MBar &m = it->second;
    m.tx -= (int32_t)bytes;
    if (cfg().race) {
        const uint32_t agent = cl->agent();
        landed = ++cl->agent_clk;
        landed_at = o.loc;
        smem_landed(this, o.smem, bytes, ep(agent, landed), false);
        m.acc.resize(agent + 1);
        m.acc[agent] = landed;
    }
    mb_settle(this, m);
}
bool Cluster::async_step() { // complete one outstanding load, in any order
    size_t n = 0;
    for (unsigned i = 0; i < size; ++i) n += cta[i]->tma.size();
    if (!n) return false;
    size_t i = cta[0]->rnd() % n;
    unsigned r = 0;
    for (; i >= cta[r]->tma.size(); ++r) i -= cta[r]->tma.size();
    std::vector<TmaLoad> &tma = cta[r]->tma;
    const TmaLoad o = tma[i];
    tma.erase(tma.begin() + (ptrdiff_t)i);
    cta[r]->tma_run(o);
    return true;
}
// A store reads its source at the last moment, when the thread waits for that, and writes when it waits for more, or exits.
static void store_read(Worker *w, TmaStore &o) {
    if (o.state != STORE_ISSUED) return;
    o.box.resize(box_bytes(o.tm));
    tma_box(o.tm, o.c, o.smem, [&](uint32_t at, uint32_t i, uint8_t **) { memcpy(&o.box[i], w->smem + at, 16); });
    o.state = STORE_READ;
}
static void store_write(Worker *w, TmaStore &o) {
    store_read(w, o);
    if (o.state == STORE_DONE) return;
    tma_box(o.tm, o.c, o.smem, [&](uint32_t, uint32_t i, uint8_t **elements) {
        for (uint32_t b = 0; b < 16; b += o.tm.esize)
            if (elements[b]) memcpy(elements[b], &o.box[i + b], o.tm.esize);
    });
    o.box.clear();
    o.state = STORE_DONE;
}
void stores_at_exit(Worker *w, Fiber *f) {
    f->bulk_groups.push_back(std::move(f->bulk_open));
    for (size_t i = 0; i < f->bulk_groups.size(); ++i)
        for (TmaStore &o : f->bulk_groups[i]) {
            if (i >= f->bulk_read)
                fail(o.loc, "a thread exits before this TMA store has been waited for: its source may be gone when it is read");
            store_write(w, o);
        }
    f->bulk_groups.clear();
}
static void tma_check(Worker *w, const TensorMap *t, uint32_t smem, int rank, Loc l) {
    needs_90("TMA", l);
    if (t->magic != 0x7E4502) fail(l, "TMA: not a tensor map");
    if (t->rank != rank) fail(l, "TMA: %d coordinates for a tensor map of rank %d", rank, t->rank);
    if ((uintptr_t)t % 64) fail(l, "TMA: tensor map not 64-byte aligned");
    if (smem % 128) fail(l, "TMA: shared address 0x%x not 128-byte aligned", smem);
    if (t->swizzle && smem % (128u << t->swizzle))
        fail(l, "TMA: shared address 0x%x not aligned to the swizzle pattern's repeat (%u bytes)", smem, 128u << t->swizzle);
    if (!w->in_smem(smem, box_bytes(*t)))
        fail(l, "TMA: box of %u bytes at shared 0x%x (dynamic offset %d of %u) is out of bounds", box_bytes(*t), smem,
             (int)smem - (int)w->dyn_off, w->dyn_size);
}
void tma_prefetch(const TensorMap *t, Loc l) {
    needs_90("TMA", l);
    if (t->magic != 0x7E4502 || (uintptr_t)t % 64) fail(l, "TMA: not a tensor map, or not 64-byte aligned");
}
static void tma_load_into(Worker *to, uint32_t dst, const TensorMap *t, uint32_t bar, const int *c, int rank, Loc l) {
    Fiber *f = static_cast<Fiber *>(cur);
    tma_check(to, t, dst, rank, l);
    auto it = to->mbar.find(bar);
    if (it == to->mbar.end()) fail(l, "TMA: no mbarrier at shared address 0x%x of CTA %u", bar, to->rank);
    if (cfg().race) {
        proxy_check(to, f, it->second.init_ep, it->second.init_site, bar, site(nullptr, l));
        smem_inflight(to, f, dst, box_bytes(*t), site(nullptr, l));
    }
    TmaLoad o{*t, dst, bar, {0, 0, 0, 0, 0}, l};
    for (int i = 0; i < rank; ++i) o.c[i] = c[i];
    if (early(f->w)) {
        to->tma_run(o);
        return;
    }
    memset(to->smem + dst, 0xff, box_bytes(*t));
    to->tma.push_back(o);
}
// With a mask, the box goes to the same place in every CTA of it, each of which counts its bytes on its own barrier when they have landed there.
void tma_load(uint32_t dst, const TensorMap *t, uint32_t bar, const int *c, int rank, uint32_t mask, Loc l) {
    Worker *w = W();
    dst = own(w, dst, "TMA load", l);
    bar = own(w, bar, "TMA load", l);
    if (!mask) return tma_load_into(w, dst, t, bar, c, rank, l);
    if (mask >> w->cl->size) fail(l, "TMA: the mask %x names CTAs that the cluster of %u has not", mask, w->cl->size);
    for (unsigned r = 0; r < w->cl->size; ++r)
        if (mask >> r & 1) tma_load_into(remote(w, r, "a TMA load", l), dst, t, bar, c, rank, l);
}
void tma_store(const TensorMap *t, uint32_t src, const int *c, int rank, Loc l) {
    Worker *w = W();
    Fiber *f = w->me();
    src = own(w, src, "TMA store", l);
    tma_check(w, t, src, rank, l);
    if (cfg().race) smem_access(w, f, src, box_bytes(*t), ASYNC_RD, site(nullptr, l));
    TmaStore o{*t, src, {0, 0, 0, 0, 0}, STORE_ISSUED, {}, l};
    for (int i = 0; i < rank; ++i) o.c[i] = c[i];
    if (early(w)) store_write(w, o);
    f->bulk_open.push_back(std::move(o));
}
void bulk_commit(Loc) {
    Fiber *f = W()->me();
    f->bulk_groups.push_back(std::move(f->bulk_open));
    f->bulk_open.clear();
}
void bulk_wait(int n, bool read_only, Loc) {
    Worker *w = W();
    Fiber *f = w->me();
    for (; f->bulk_groups.size() > f->bulk_read + (size_t)n; ++f->bulk_read)
        for (TmaStore &o : f->bulk_groups[f->bulk_read]) store_read(w, o);
    if (read_only) return;
    for (; f->bulk_groups.size() > (size_t)n; f->bulk_groups.pop_front(), --f->bulk_read)
        for (TmaStore &o : f->bulk_groups.front()) store_write(w, o);
}
} // namespace emu
