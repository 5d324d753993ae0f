// mma.cpp -- the tensor cores: ldmatrix, mma.sync and wgmma.
#include "layer.h"

namespace emu {
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
                uint32_t ad = own(w, A[8 * i + row]->addr, "ldmatrix", r.loc);
                if (ad & 15) fail(r.loc, "ldmatrix: row address 0x%x (lane %d) is not 16-byte aligned", ad, 8 * i + row);
                if (!w->in_smem(ad, 16))
                    fail(r.loc, "ldmatrix: row address 0x%x (lane %d, dynamic offset %d of %u) is out of bounds", ad, 8 * i + row,
                         (int)ad - (int)w->dyn_off, w->dyn_size);
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
struct StsmArg {
    uint32_t addr;
    const uint32_t *r;
};
void stmatrix(uint32_t addr, const uint32_t *in, Loc l) {
    StsmArg a{addr, in};
    collect(50, "stmatrix", ~0u, true, &a, l, [](Worker *w, Warp &p, Rv &r) {
        StsmArg **A = (StsmArg **)r.arg;
        for (int lane = 0; lane < 32; ++lane) { // of row lane % 8 of matrix lane / 8
            uint32_t ad = own(w, A[lane]->addr, "stmatrix", r.loc);
            if (ad & 15) fail(r.loc, "stmatrix: row address 0x%x (lane %d) is not 16-byte aligned", ad, lane);
            if (!w->in_smem(ad, 16))
                fail(r.loc, "stmatrix: row address 0x%x (lane %d, dynamic offset %d of %u) is out of bounds", ad, lane,
                     (int)ad - (int)w->dyn_off, w->dyn_size);
            if (cfg().race) {
                FiberPub *c = cur;
                cur = p.lane[lane];
                smem_access(w, p.lane[lane], ad, 16, WR, site(nullptr, r.loc));
                cur = c;
            }
            for (int pair = 0; pair < 4; ++pair) memcpy(w->smem + ad + 4 * pair, &A[lane % 8 * 4 + pair]->r[lane / 8], 4);
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
                for (int i = 0; i < 2; ++i) B[((ln & 3) + i * 4) * n + t * 8 + (ln >> 2)] = tf32_bits(X[ln]->b[t * 2 + i]);
        for (int m = 0; m < MT; ++m) {
            for (int ln = 0; ln < 32; ++ln)
                for (int i = 0; i < 4; ++i) A[((ln >> 2) + (i & 1) * 8) * 16 + (ln & 3) + (i >> 1) * 4] = tf32_bits(X[ln]->a[m * 4 + i]);
            for (int ln = 0; ln < 32; ++ln)
                for (int t = 0; t < NT; ++t)
                    for (int i = 0; i < 4; ++i)
                        C[((ln >> 2) + (i >> 1) * 8) * n + t * 8 + (ln & 3) * 2 + (i & 1)] = X[ln]->d[(m * NT + t) * 4 + i];
            gemm16(A, B, C, n, false);
            for (int ln = 0; ln < 32; ++ln)
                for (int t = 0; t < NT; ++t)
                    for (int i = 0; i < 4; ++i)
                        X[ln]->d[(m * NT + t) * 4 + i] = C[((ln >> 2) + (i >> 1) * 8) * n + t * 8 + (ln & 3) * 2 + (i & 1)];
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

// ================================================================ wgmma (each warp computes its 16 rows of the 64)
// canonical layouts of the matrix descriptor, in 16-byte units (PTX ISA, "Shared Memory Matrix Layout")
static uint32_t desc_addr(uint64_t d, bool mn_major, uint32_t mn,
                          uint32_t k) { // 16-bit elements: byte address of (mn, k)
    uint32_t start = (uint32_t)(d & 0x3fff) << 4, lbo = (uint32_t)(d >> 16 & 0x3fff) << 4, sbo = (uint32_t)(d >> 32 & 0x3fff) << 4;
    int sw = (int)(d >> 62);
    static const int mode[4] = {0, 3, 2, 1}; // 0 none, 1 128B, 2 64B, 3 32B -> log2 of the 16-byte units per row
    int s = mode[sw];
    uint32_t off;
    if (!mn_major) {
        uint32_t chunk = k / 8;
        off = s == 0 ? (mn % 8) * 16 + (mn / 8) * sbo + chunk * lbo : (mn % 8) * (16u << s) + (mn / 8) * sbo + chunk * 16;
        off += k % 8 * 2;
    } else {
        uint32_t u = mn / 8, per = 1u << s; // 8-element units along mn
        off = s == 0 ? u * sbo + (k % 8) * 16 + (k / 8) * lbo : (u % per) * 16 + (u / per) * lbo + (k % 8) * (16u * per) + (k / 8) * sbo;
        off += mn % 8 * 2;
    }
    return swz(start + off, s);
}
static void wg_fetch(Worker *w, Fiber *f, uint64_t d, bool mn_major, uint32_t mn0, uint32_t mns, uint16_t *out, bool transpose_out, Loc l) {
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
                    acc.d[ln][j * 4 + i] = acc.c[(size_t)(((ln >> 2) + (i >> 1) * 8) * n + j * 8 + (ln & 3) * 2 + (i & 1))];
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
        for (uint64_t d : {x.a ? 0 : x.da, x.db}) { // a start address inside the swizzle's repeat would need the descriptor's base offset
            static const uint32_t in_repeat[4] = {0, 0x380, 0x180, 0x80};
            if (((uint32_t)(d & 0x3fff) << 4 & in_repeat[d >> 62]) || (d >> 49 & 7))
                fail(r.loc, "wgmma: descriptor %016llx starts inside a swizzle repeat (base offset): not emulated", (unsigned long long)d);
        }
        if ((wi | 3) >= w->nwarps) fail(r.loc, "wgmma: warp %u is not in a complete warpgroup", wi);
        if (!p.fenced) fail(r.loc, "wgmma: no wgmma.fence since the accumulators were last touched");
        auto &log = w->wg_log[wi / 4];
        uint64_t h = x.db * 31 + (x.a ? 1 : x.da) * 17 + (uint64_t)x.n * 4 + x.acc;
        if (p.wg_seq == log.size()) log.push_back(h);
        else if (log[p.wg_seq] != h) fail(r.loc, "wgmma: the four warps of the warpgroup issue different wgmma (step %zu)", p.wg_seq);
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
                        if (x.acc) ac.c[(size_t)(((ln >> 2) + (i >> 1) * 8) * x.n + j * 8 + (ln & 3) * 2 + (i & 1))] = q;
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
    needs_90("wgmma", l, true);
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
            const uint32_t zero = p.lane[0]->ct;
            for (int i = 1; i < 32; ++i) p.lane[i]->vc[zero] = std::max(p.lane[i]->vc[zero], p.lane[0]->vc[zero]);
            tick(p.lane[0]);
        }
    });
}
void setmaxnreg(int n, bool, Loc l) {
    needs_90("setmaxnreg", l, true);
    if (n < 24 || n > 256 || n % 8) fail(l, "setmaxnreg %d", n);
}
} // namespace emu
