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
/* Where an operand of each kind holds what belongs to element (n,h,w,c) of an output of shape s. */
static size_t operand_at(Operand kind, Shape s, int n, int h, int w, int c) {
    if (kind == OPERAND_VECTOR) return (size_t)n * (size_t)s.c + (size_t)c;
    return at(s, kind == OPERAND_POSITIONS ? 0 : n, h, w, c);
}
static double sigmoid(double x) { return 1 / (1 + exp(-x)); }
static double silu_slope(double x) {
    double s = sigmoid(x);
    return s * (1 + x * (1 - s));
}

static double gelu_tanh(double x, double *slope) {
    const double root = 0.79788456080286535588, cubic = 0.044715; /* sqrt(2/pi) */
    double t = tanh(root * (x + cubic * x * x * x));
    *slope = 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * root * (1 + 3 * cubic * x * x);
    return 0.5 * x * (1 + t);
}
static double act(Act a, double x) {
    double slope;
    switch (a) {
    case ACT_NONE: return x;
    case ACT_RELU: return x < 0 ? 0 : x;
    case ACT_GELU_TANH: return gelu_tanh(x, &slope);
    }
    return NAN;
}

static void ref_conv(const Exec *e, int i) {
    const Op *op = &e->g->op[i];
    Shape a = shape(e, op->in[0]), k = shape(e, op->in[1]), o = shape(e, op->out);
    const real *x = ptr(e, op->in[0]), *w = ptr(e, op->in[1]), *bias = ptr(e, op->in[2]), *add = ptr(e, op->in[3]);
    const real *gate = ptr(e, op->in[4]), *skip_w = ptr(e, op->in[7]), *skip_bias = ptr(e, op->in[8]);
    Operand kind = operand_of(e->g, op->in[3], op->out);
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
                    if (gate) sum *= (sum_t)gate[(size_t)n * (size_t)o.c + (size_t)f];
                    if (add) sum += (sum_t)add[operand_at(kind, o, n, p, q, f)];
                    if (skip_w) {
                        sum_t skip = skip_bias ? (sum_t)skip_bias[f] : 0;
                        const real *wp = skip_w + at(shape(e, op->in[7]), f, 0, 0, 0);
                        for (int j = 5; j <= 6 && op->in[j]; j++) {
                            Shape s = shape(e, op->in[j]);
                            const real *xp = ptr(e, op->in[j]) + at(s, n, p, q, 0);
                            for (int ch = 0; ch < s.c; ch++) skip += (sum_t)xp[ch] * (sum_t)*wp++;
                        }
                        sum += skip;
                    }
                    y[at(o, n, p, q, f)] = (real)act(c->act, (double)((sum_t)c->scale * sum));
                }
}

/* Channel c of a norm's input, which may be two. */
static sum_t norm_input(const Exec *e, const Op *op, int n, int pixel, int c) {
    int j = op->in[6] && c >= shape(e, op->in[0]).c ? 6 : 0;
    return (sum_t)ptr(e, op->in[j])[at(shape(e, op->in[j]), n, 0, pixel, j ? c - shape(e, op->in[0]).c : c)];
}
/* One (image, group) of a norm, forward (dy NULL) or backward, there plus `add`, which may be NULL. */
static void norm_group(const Exec *e, const Op *op, const real *dy, const real *add, int n, int group) {
    Shape s = shape(e, op->out);
    int per_group = s.c / op->norm.groups, pixels = s.h * s.w, c0 = group * per_group;
    const real *gamma = ptr(e, op->in[1]), *beta = ptr(e, op->in[2]), *ss = ptr(e, op->in[3]);
    real *y = ptr(e, op->out);
    sum_t count = (sum_t)per_group * (sum_t)pixels, mean = 0, var = 0, sum_d = 0, sum_dx = 0;
    for (int p = 0; p < pixels; p++)
        for (int c = c0; c < c0 + per_group; c++) mean += norm_input(e, op, n, p, c) / count;
    for (int p = 0; p < pixels; p++)
        for (int c = c0; c < c0 + per_group; c++) {
            sum_t centred = norm_input(e, op, n, p, c) - mean;
            var += centred * centred / count;
        }
    sum_t rstd = (sum_t)(1 / sqrt((double)var + (double)op->norm.eps));
    for (int pass = dy ? 0 : 1; pass < 2; pass++)
        for (int p = 0; p < pixels; p++)
            for (int c = c0; c < c0 + per_group; c++) {
                size_t i = at(s, n, 0, p, c), v = (size_t)n * 2 * (size_t)s.c + (size_t)c;
                sum_t scale = ss ? 1 + (sum_t)ss[v] : 1, shift = ss ? (sum_t)ss[v + (size_t)s.c] : 0;
                sum_t xhat = (norm_input(e, op, n, p, c) - mean) * rstd, u = (xhat * (sum_t)gamma[c] + (sum_t)beta[c]) * scale + shift;
                if (!dy) {
                    y[i] = (real)(op->norm.silu ? u * (sum_t)sigmoid((double)u) : u);
                    continue;
                }
                sum_t d = (sum_t)dy[i] * (op->norm.silu ? (sum_t)silu_slope((double)u) : 1) * scale * (sum_t)gamma[c];
                if (pass == 0) sum_d += d, sum_dx += d * xhat;
                else y[i] = (real)(rstd * (d - sum_d / count - xhat * sum_dx / count) + (add ? (sum_t)add[i] : 0));
            }
}
static void norm(const Exec *e, const Op *op, const real *dy, const real *add) {
    int images = shape(e, op->in[0]).n;
#pragma omp parallel for collapse(2)
    for (int n = 0; n < images; n++)
        for (int group = 0; group < op->norm.groups; group++) norm_group(e, op, dy, add, n, group);
}
static void ref_norm(const Exec *e, int i) { norm(e, &e->g->op[i], NULL, NULL); }
static void ref_norm_bwd(const Exec *e, int i) { norm(e, &e->g->op[i], ptr(e, e->g->op[i].in[4]), ptr(e, e->g->op[i].in[5])); }

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
    case F_RELU: return act(ACT_RELU, x);
    case F_GELU_TANH: return act(ACT_GELU_TANH, x);
    }
    return NAN;
}
static double unary_bwd(const Op *op, double x, double dy) {
    double slope;
    switch (op->unary.f) {
    case F_SILU: return dy * silu_slope(x);
    case F_CLAMP: return x < (double)op->unary.lo || x > (double)op->unary.hi ? 0 : dy;
    case F_RELU: return x > 0 ? dy : 0;
    case F_GELU_TANH: gelu_tanh(x, &slope); return dy * slope;
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
    Operand kind = operand_of(e->g, op->in[1], op->out);
    for (int n = 0; n < s.n; n++)
        for (int h = 0; h < s.h; h++)
            for (int w = 0; w < s.w; w++)
                for (int c = 0; c < s.c; c++) {
                    double sum = (double)op->add.a * (double)x[at(s, n, h, w, c)];
                    if (z) sum += (double)op->add.b * (double)z[operand_at(kind, s, n, h, w, c)];
                    y[at(s, n, h, w, c)] = (real)sum;
                }
}
/* Copies c channels per pixel between tensors of xc and yc channels. */
static void copy_channels(const real *x, int xc, int x0, real *y, int yc, int y0, int c, size_t pixels) {
    for (size_t i = 0; i < pixels; i++) memcpy(y + i * (size_t)yc + y0, x + i * (size_t)xc + x0, (size_t)c * sizeof *y);
}
static void ref_concat(const Exec *e, int i) {
    const Op *op = &e->g->op[i];
    Shape o = shape(e, op->out);
    size_t pixels = (size_t)o.n * (size_t)o.h * (size_t)o.w;
    for (int j = 0, first = 0; j < OP_INPUTS && op->in[j]; j++) {
        int c = shape(e, op->in[j]).c;
        copy_channels(ptr(e, op->in[j]), c, 0, ptr(e, op->out), o.c, first, c, pixels);
        first += c;
    }
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

static void ref_pool(const Exec *e, int i) {
    const Op *op = &e->g->op[i];
    Shape a = shape(e, op->in[0]), o = shape(e, op->out);
    const real *x = ptr(e, op->in[0]);
    const PoolOptions *p = &op->pool;
    for (int n = 0; n < o.n; n++)
        for (int oh = 0; oh < o.h; oh++)
            for (int ow = 0; ow < o.w; ow++)
                for (int c = 0; c < o.c; c++) {
                    sum_t sum = 0, largest = -(sum_t)INFINITY, count = 0;
                    for (int r = 0; r < p->height; r++)
                        for (int s = 0; s < p->width; s++) {
                            int h = oh * p->stride - p->pad + r, w = ow * p->stride - p->pad + s;
                            if (h < 0 || h >= a.h || w < 0 || w >= a.w) continue;
                            sum_t v = (sum_t)x[at(a, n, h, w, c)];
                            sum += v, count++;
                            if (!(v <= largest)) largest = isnan((double)largest) ? largest : v;
                        }
                    ptr(e, op->out)[at(o, n, oh, ow, c)] = (real)(p->max ? largest : sum / count);
                }
}
/* One output of a table: its row, and the pixels that it reads, `step` elements apart; the sums are exact in what follows. */
static double weighted(const double *row, int taps, const real *x, size_t step, int size) {
    double sum = 0;
    for (int k = 0, first = (int)row[0]; k < taps && first + k < size; k++) sum += row[1 + k] * (double)x[(size_t)(first + k) * step];
    return sum;
}
static double to_byte(double v) {
    v = floor(v + 0.5);
    return v < 0 ? 0 : v > 255 ? 255 : v;
}
static void ref_resize(const Exec *e, int i) {
    const Op *op = &e->g->op[i];
    Shape a = shape(e, op->in[0]), o = shape(e, op->out), tc = shape(e, op->in[1]), tr = shape(e, op->in[2]);
    const double *columns = e->data[op->in[1]], *rows = e->data[op->in[2]];
    const ResizeOptions *p = &op->resize;
    real *half = dg_alloc((size_t)a.h * sizeof *half); /* one column of the columns' result */
    for (int n = 0; n < o.n; n++)
        for (int w = 0; w < o.w; w++)
            for (int c = 0; c < o.c; c++) {
                for (int h = 0; h < a.h; h++) {
                    double v =
                        weighted(columns + (size_t)w * (size_t)tc.c, tc.c - 1, ptr(e, op->in[0]) + at(a, n, h, 0, c), (size_t)a.c, a.w);
                    half[h] = (real)(p->u8 ? to_byte(v) : v);
                }
                for (int h = 0; h < o.h; h++) {
                    double v = weighted(rows + (size_t)h * (size_t)tr.c, tr.c - 1, half, 1, a.h);
                    if (p->u8) v = to_byte(v);
                    v = v < (double)p->lo ? (double)p->lo : v > (double)p->hi ? (double)p->hi : v;
                    ptr(e, op->out)[at(o, n, h, w, c)] = (real)((double)p->a * v + (double)p->b);
                }
            }
    free(half);
}
static void ref_pixel_norm(const Exec *e, int i) {
    const Op *op = &e->g->op[i];
    Shape s = shape(e, op->out);
    const real *gamma = ptr(e, op->in[1]), *beta = ptr(e, op->in[2]), *mod = ptr(e, op->in[3]);
    size_t C = (size_t)s.c, pixels = (size_t)s.h * (size_t)s.w;
    for (size_t p = 0; p < (size_t)s.n * pixels; p++) {
        const real *x = ptr(e, op->in[0]) + p * C, *shift = mod ? mod + p / pixels * 2 * C : NULL, *scale = shift ? shift + C : NULL;
        sum_t mean = 0, squares = 0;
        if (!op->pixel_norm.rms)
            for (size_t c = 0; c < C; c++) mean += (sum_t)x[c] / (sum_t)C;
        for (size_t c = 0; c < C; c++) squares += ((sum_t)x[c] - mean) * ((sum_t)x[c] - mean) / (sum_t)C;
        double eps = (double)op->pixel_norm.eps, deviation = op->pixel_norm.rms ? sqrt((double)squares) + eps : sqrt((double)squares + eps);
        for (size_t c = 0; c < C; c++) {
            sum_t v = ((sum_t)x[c] - mean) / (sum_t)deviation;
            if (gamma) v *= (sum_t)gamma[c];
            if (beta) v += (sum_t)beta[c];
            v = (sum_t)(real)v; /* fused or not: the same bits */
            if (scale) v = (sum_t)(real)(v + v * (sum_t)scale[c]) + (sum_t)shift[c];
            ptr(e, op->out)[p * C + c] = (real)v;
        }
    }
}
static void ref_gate(const Exec *e, int i) {
    const Op *op = &e->g->op[i];
    Shape s = shape(e, op->out);
    const real *x = ptr(e, op->in[0]), *gate = ptr(e, op->in[1]), *residual = ptr(e, op->in[2]);
    size_t image = (size_t)s.h * (size_t)s.w * (size_t)s.c, C = (size_t)s.c;
    for (size_t j = 0, n = shape_count(s); j < n; j++) {
        sum_t v = (sum_t)x[j] * (sum_t)gate[j / image * C + j % C];
        ptr(e, op->out)[j] = (real)(residual ? v + (sum_t)residual[j] : v);
    }
}
static void ref_depth_to_space(const Exec *e, int i) {
    const Op *op = &e->g->op[i];
    Shape a = shape(e, op->in[0]), o = shape(e, op->out);
    int p = op->depth_to_space.p;
    for (int n = 0; n < o.n; n++)
        for (int h = 0; h < o.h; h++)
            for (int w = 0; w < o.w; w++)
                for (int c = 0; c < o.c; c++)
                    ptr(e, op->out)[at(o, n, h, w, c)] = ptr(e, op->in[0])[at(a, n, h / p, w / p, (h % p * p + w % p) * o.c + c)];
}
static void ref_softmax(const Exec *e, int i) {
    const Op *op = &e->g->op[i];
    Shape s = shape(e, op->out);
    for (int n = 0; n < s.n; n++) {
        const real *x = ptr(e, op->in[0]) + (size_t)n * (size_t)s.c;
        real *y = ptr(e, op->out) + (size_t)n * (size_t)s.c;
        double max = -INFINITY;
        sum_t sum = 0;
        for (int c = 0; c < s.c; c++)
            if (!((double)x[c] <= max)) max = (double)x[c];
        for (int c = 0; c < s.c; c++) sum += (sum_t)exp((double)x[c] - max);
        for (int c = 0; c < s.c; c++) {
            double v = (double)x[c] - max;
            y[c] = (real)(op->softmax.log ? v - log((double)sum) : exp(v) / (double)sum);
        }
    }
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
