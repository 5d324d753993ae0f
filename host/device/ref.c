/* ref.c -- the oracle: one plain function per op, written to be obviously right; sums are in double.
 * Compiled with DG_REF_REAL float (backend "ref") and double ("ref64", for gradient checks), and by the tests with
 * DG_REF_SUM float as well: the naive implementation in the same precision, whose error sets their tolerances.     */
#include "device/host_state.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#ifndef DG_REF_SUM
#define DG_REF_SUM double
#endif
typedef DG_REF_REAL real;
typedef DG_REF_SUM sum_t; /* what long sums are kept in */
enum { REF_IS_F64 = sizeof(real) == sizeof(double) };

static real *ptr(const Exec *e, Tid id) { return id ? (real *)e->data[id] : NULL; }
static Shape shape(const Exec *e, Tid id) { return exec_shape(e, id); }
static size_t at(Shape s, int n, int h, int w, int c) { /* NHWC, or KRSC */
    return (((size_t)n * (size_t)s.h + (size_t)h) * (size_t)s.w + (size_t)w) * (size_t)s.c + (size_t)c;
}
static double sigmoid(double x) { return 1 / (1 + exp(-x)); }
static double silu_slope(double x) {
    double s = sigmoid(x);
    return s * (1 + x * (1 - s));
}

static void ref_conv(const Exec *e, int i) {
    const Op *op = &e->g->op[i];
    Shape a = shape(e, op->in[0]), k = shape(e, op->in[1]), o = shape(e, op->out), r3 = shape(e, op->in[3]);
    const real *x = ptr(e, op->in[0]), *w = ptr(e, op->in[1]), *bias = ptr(e, op->in[2]), *res = ptr(e, op->in[3]);
    real *y = ptr(e, op->out);
    const ConvOptions *c = &op->conv;
#pragma omp parallel for collapse(2)
    for (int n = 0; n < o.n; n++)
        for (int p = 0; p < o.h; p++)
            for (int q = 0; q < o.w; q++)
                for (int f = 0; f < o.c; f++) {
                    sum_t sum = bias ? (sum_t)bias[f] : 0;
                    for (int r = 0; r < k.h; r++)
                        for (int s = 0; s < k.w; s++) {
                            int h = p * c->stride + r - c->top, v = q * c->stride + s - c->left;
                            if (h < 0 || h >= a.h || v < 0 || v >= a.w) continue;
                            const real *xp = x + at(a, n, h, v, 0), *wp = w + at(k, f, r, s, 0);
                            for (int ch = 0; ch < a.c; ch++) sum += (sum_t)xp[ch] * (sum_t)wp[ch];
                        }
                    if (res) sum += (sum_t)(shape_eq(r3, o) ? res[at(o, n, p, q, f)] : res[(size_t)n * (size_t)o.c + (size_t)f]);
                    y[at(o, n, p, q, f)] = (real)((sum_t)c->scale * sum);
                }
}

/* One (image, group) of a norm, forward (dy NULL) or backward. */
static void norm_group(const Exec *e, const Op *op, const real *dy, int n, int group) {
    Shape s = shape(e, op->in[0]);
    int per_group = s.c / op->norm.groups, pixels = s.h * s.w, c0 = group * per_group;
    const real *x = ptr(e, op->in[0]), *gamma = ptr(e, op->in[1]), *beta = ptr(e, op->in[2]), *ss = ptr(e, op->in[3]);
    real *y = ptr(e, op->out);
    sum_t count = (sum_t)per_group * (sum_t)pixels, mean = 0, var = 0, sum_d = 0, sum_dx = 0;
    for (int p = 0; p < pixels; p++)
        for (int c = c0; c < c0 + per_group; c++) mean += (sum_t)x[at(s, n, 0, p, c)] / count;
    for (int p = 0; p < pixels; p++)
        for (int c = c0; c < c0 + per_group; c++) {
            sum_t centred = (sum_t)x[at(s, n, 0, p, c)] - mean;
            var += centred * centred / count;
        }
    sum_t rstd = (sum_t)(1 / sqrt((double)var + (double)op->norm.eps));
    for (int pass = dy ? 0 : 1; pass < 2; pass++)
        for (int p = 0; p < pixels; p++)
            for (int c = c0; c < c0 + per_group; c++) {
                size_t i = at(s, n, 0, p, c), v = (size_t)n * 2 * (size_t)s.c + (size_t)c;
                sum_t scale = ss ? 1 + (sum_t)ss[v] : 1, shift = ss ? (sum_t)ss[v + (size_t)s.c] : 0;
                sum_t xhat = ((sum_t)x[i] - mean) * rstd, u = (xhat * (sum_t)gamma[c] + (sum_t)beta[c]) * scale + shift;
                if (!dy) {
                    y[i] = (real)(op->norm.silu ? u * (sum_t)sigmoid((double)u) : u);
                    continue;
                }
                sum_t d = (sum_t)dy[i] * (op->norm.silu ? (sum_t)silu_slope((double)u) : 1) * scale * (sum_t)gamma[c];
                if (pass == 0) sum_d += d, sum_dx += d * xhat;
                else y[i] = (real)(rstd * (d - sum_d / count - xhat * sum_dx / count));
            }
}
static void norm(const Exec *e, const Op *op, const real *dy) {
    int images = shape(e, op->in[0]).n;
#pragma omp parallel for collapse(2)
    for (int n = 0; n < images; n++)
        for (int group = 0; group < op->norm.groups; group++) norm_group(e, op, dy, n, group);
}
static void ref_norm(const Exec *e, int i) { norm(e, &e->g->op[i], NULL); }
static void ref_norm_bwd(const Exec *e, int i) { norm(e, &e->g->op[i], ptr(e, e->g->op[i].in[4])); }

/* One (image, head) of attention, forward (dy NULL) or backward (y: d qkv, zero at the start). */
static void attention_head(Shape s, int heads, const real *qkv, const real *dy, real *y, int n, int head) {
    int C = s.c / 3, d = C / heads, T = s.h * s.w;
    sum_t scale = (sum_t)(1 / sqrt(d)), *p = dg_alloc((size_t)T * sizeof *p), *dp = dg_alloc((size_t)T * sizeof *dp);
    for (int i = 0; i < T; i++) {
        const real *q = qkv + at(s, n, 0, i, head * d);
        sum_t max = -(sum_t)INFINITY, sum = 0, dot = 0;
        for (int j = 0; j < T; j++) {
            const real *k = qkv + at(s, n, 0, j, C + head * d);
            p[j] = 0;
            for (int c = 0; c < d; c++) p[j] += (sum_t)q[c] * (sum_t)k[c];
            p[j] *= scale;
            if (p[j] > max) max = p[j];
        }
        for (int j = 0; j < T; j++) sum += p[j] = (sum_t)exp((double)(p[j] - max));
        for (int j = 0; j < T; j++) p[j] /= sum;
        size_t row = ((size_t)n * (size_t)T + (size_t)i) * (size_t)C + (size_t)(head * d);
        if (!dy) {
            for (int c = 0; c < d; c++) {
                sum_t out = 0;
                for (int j = 0; j < T; j++) out += p[j] * (sum_t)qkv[at(s, n, 0, j, 2 * C + head * d + c)];
                y[row + (size_t)c] = (real)out;
            }
            continue;
        }
        for (int j = 0; j < T; j++) {
            dp[j] = 0;
            for (int c = 0; c < d; c++) dp[j] += (sum_t)dy[row + (size_t)c] * (sum_t)qkv[at(s, n, 0, j, 2 * C + head * d + c)];
            dot += p[j] * dp[j];
        }
        for (int j = 0; j < T; j++) {
            sum_t ds = p[j] * (dp[j] - dot) * scale;
            for (int c = 0; c < d; c++) {
                size_t qi = at(s, n, 0, i, head * d + c), kj = at(s, n, 0, j, C + head * d + c);
                y[qi] += (real)(ds * (sum_t)qkv[kj]);
                y[kj] += (real)(ds * (sum_t)qkv[qi]);
                y[at(s, n, 0, j, 2 * C + head * d + c)] += (real)(p[j] * (sum_t)dy[row + (size_t)c]);
            }
        }
    }
    free(p);
    free(dp);
}
static void attention(const Exec *e, const Op *op, const real *dy) {
    Shape s = shape(e, op->in[0]);
    real *y = ptr(e, op->out);
    if (dy) memset(y, 0, shape_count(shape(e, op->out)) * sizeof *y);
#pragma omp parallel for collapse(2)
    for (int n = 0; n < s.n; n++)
        for (int head = 0; head < op->attn.heads; head++) attention_head(s, op->attn.heads, ptr(e, op->in[0]), dy, y, n, head);
}
static void ref_attn(const Exec *e, int i) { attention(e, &e->g->op[i], NULL); }
static void ref_attn_bwd(const Exec *e, int i) { attention(e, &e->g->op[i], ptr(e, e->g->op[i].in[1])); }

static double unary(const Op *op, double x) {
    switch (op->unary.f) {
    case F_SILU: return x * sigmoid(x);
    case F_CLAMP: return x < (double)op->unary.lo ? (double)op->unary.lo : x > (double)op->unary.hi ? (double)op->unary.hi : x;
    }
    return NAN;
}
static double unary_bwd(const Op *op, double x, double dy) {
    switch (op->unary.f) {
    case F_SILU: return dy * silu_slope(x);
    case F_CLAMP: return x < (double)op->unary.lo || x > (double)op->unary.hi ? 0 : dy;
    }
    return NAN;
}
static void ref_unary(const Exec *e, int i) {
    const Op *op = &e->g->op[i];
    const real *x = ptr(e, op->in[0]);
    real *y = ptr(e, op->out);
    for (size_t j = 0, n = shape_count(shape(e, op->out)); j < n; j++) y[j] = (real)unary(op, (double)x[j]);
}
static void ref_unary_bwd(const Exec *e, int i) {
    const Op *op = &e->g->op[i];
    const real *x = ptr(e, op->in[0]), *dy = ptr(e, op->in[1]);
    real *dx = ptr(e, op->out);
    for (size_t j = 0, n = shape_count(shape(e, op->out)); j < n; j++) dx[j] = (real)unary_bwd(op, (double)x[j], (double)dy[j]);
}
static void ref_add(const Exec *e, int i) {
    const Op *op = &e->g->op[i];
    Shape s = shape(e, op->out);
    const real *x = ptr(e, op->in[0]), *z = ptr(e, op->in[1]);
    real *y = ptr(e, op->out);
    bool broadcast = z && !shape_eq(s, shape(e, op->in[1]));
    size_t image = (size_t)s.h * (size_t)s.w * (size_t)s.c, C = (size_t)s.c;
    for (size_t j = 0, n = shape_count(s); j < n; j++) {
        double sum = (double)op->add.a * (double)x[j];
        if (z) sum += (double)op->add.b * (double)z[broadcast ? j / image * C + j % C : j];
        y[j] = (real)sum;
    }
}
/* Copies c channels per pixel between tensors of xc and yc channels. */
static void copy_channels(const real *x, int xc, int x0, real *y, int yc, int y0, int c, size_t pixels) {
    for (size_t i = 0; i < pixels; i++) memcpy(y + i * (size_t)yc + y0, x + i * (size_t)xc + x0, (size_t)c * sizeof *y);
}
static void ref_concat(const Exec *e, int i) {
    const Op *op = &e->g->op[i];
    Shape o = shape(e, op->out);
    int a = shape(e, op->in[0]).c, b = shape(e, op->in[1]).c;
    size_t pixels = (size_t)o.n * (size_t)o.h * (size_t)o.w;
    copy_channels(ptr(e, op->in[0]), a, 0, ptr(e, op->out), o.c, 0, a, pixels);
    copy_channels(ptr(e, op->in[1]), b, 0, ptr(e, op->out), o.c, a, b, pixels);
}
static void ref_slice(const Exec *e, int i) {
    const Op *op = &e->g->op[i];
    Shape o = shape(e, op->out);
    size_t pixels = (size_t)o.n * (size_t)o.h * (size_t)o.w;
    copy_channels(ptr(e, op->in[0]), shape(e, op->in[0]).c, op->slice.first, ptr(e, op->out), o.c, 0, o.c, pixels);
}
/* Output pixel p of one dimension reads input h with tap t: down h = 2p + t - pad; up: 2h + t - pad = p. */
static bool resample_source(const Op *op, int p, int t, int size, int *h) {
    int v = op->resample.up ? p + op->resample.pad - t : 2 * p + t - op->resample.pad;
    if (op->resample.up && v % 2) return false;
    *h = op->resample.up ? v / 2 : v;
    return v >= 0 && *h < size;
}
static void ref_resample(const Exec *e, int i) {
    const Op *op = &e->g->op[i];
    Shape a = shape(e, op->in[0]), o = shape(e, op->out);
    const real *x = ptr(e, op->in[0]);
    real *y = ptr(e, op->out);
    for (int n = 0; n < o.n; n++)
        for (int p = 0; p < o.h; p++)
            for (int q = 0; q < o.w; q++)
                for (int c = 0; c < o.c; c++) {
                    sum_t sum = 0;
                    int h, w;
                    for (int r = 0; r < op->resample.taps; r++)
                        for (int s = 0; s < op->resample.taps; s++)
                            if (resample_source(op, p, r, a.h, &h) && resample_source(op, q, s, a.w, &w))
                                sum += (sum_t)op->resample.tap[r] * (sum_t)op->resample.tap[s] * (sum_t)x[at(a, n, h, w, c)];
                    y[at(o, n, p, q, c)] = (real)((sum_t)op->resample.scale * sum);
                }
}
static void ref_pool_tokens(const Exec *e, int i) {
    const Op *op = &e->g->op[i];
    Shape a = shape(e, op->in[0]), o = shape(e, op->out);
    const real *x = ptr(e, op->in[0]), *embedding = ptr(e, op->in[1]);
    real *y = ptr(e, op->out);
    int pixels = a.h * a.w;
    for (int n = 0; n < o.n; n++)
        for (int c = 0; c < o.c; c++) {
            sum_t mean = 0;
            for (int p = 0; p < pixels; p++) {
                sum_t v = (sum_t)x[at(a, n, 0, p, c)];
                mean += v / (sum_t)pixels;
                y[at(o, n, 0, p + 1, c)] = (real)(v + (sum_t)embedding[at(o, 0, 0, p + 1, c)]);
            }
            y[at(o, n, 0, 0, c)] = (real)(mean + (sum_t)embedding[c]);
        }
}
static void ref_pool_tokens_bwd(const Exec *e, int i) {
    const Op *op = &e->g->op[i];
    Shape d = shape(e, op->in[0]), o = shape(e, op->out);
    const real *dy = ptr(e, op->in[0]);
    real *dx = ptr(e, op->out);
    for (int n = 0; n < o.n; n++)
        for (int p = 0; p < o.h * o.w; p++)
            for (int c = 0; c < o.c; c++)
                dx[at(o, n, 0, p, c)] = (real)((double)dy[at(d, n, 0, p + 1, c)] + (double)dy[at(d, n, 0, 0, c)] / (o.h * o.w));
}
static void ref_first_token(const Exec *e, int i) {
    const Op *op = &e->g->op[i];
    Shape a = shape(e, op->in[0]);
    for (int n = 0; n < a.n; n++)
        memcpy(ptr(e, op->out) + (size_t)n * (size_t)a.c, ptr(e, op->in[0]) + at(a, n, 0, 0, 0), (size_t)a.c * sizeof(real));
}
static void ref_first_token_bwd(const Exec *e, int i) {
    const Op *op = &e->g->op[i];
    Shape o = shape(e, op->out);
    real *dx = ptr(e, op->out);
    memset(dx, 0, shape_count(o) * sizeof *dx);
    for (int n = 0; n < o.n; n++) memcpy(dx + at(o, n, 0, 0, 0), ptr(e, op->in[0]) + (size_t)n * (size_t)o.c, (size_t)o.c * sizeof(real));
}

#define CASE(K, name)                                                                                                                      \
    case OP_##K: ref_##name(e, i); break;
static void ref_run_op(const Exec *e, int i) {
    switch (e->g->op[i].kind) { DG_OPS(CASE) }
}
#undef CASE

const Backend DG_REF_BACKEND = {
    .name = DG_REF_NAME,
    .takes = {{REF_IS_F64 ? DG_F64 : DG_F32, false}},
    .precisions = 1,
    .open = host_open,
    .close = host_close,
    HOST_BACKEND,
    .bind = host_bind,
    .prepare = host_prepare,
    .unbind = host_unbind,
    .run = host_run,
    .run_op = ref_run_op,
};
