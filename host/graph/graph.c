/* graph.c -- builders: shape checks and shape inference live here and nowhere else. */
#include "graph/graph.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME(K, name) #name,
static const char *const op_names[] = {DG_OPS(NAME)};
#undef NAME

const char *op_name(OpKind k) { return op_names[k]; }
const char *precision_name(Precision p) { return p.tf32 ? "tf32" : dtype_name(p.act); }
size_t shape_count(Shape s) { return (size_t)s.n * (size_t)s.h * (size_t)s.w * (size_t)s.c; }
size_t tensor_bytes(const Tensor *t) { return shape_count(t->shape) * dtype_bytes(t->dtype); }
bool shape_eq(Shape a, Shape b) { return a.n == b.n && a.h == b.h && a.w == b.w && a.c == b.c; }

static void *grow(void *p, int n, size_t size) { /* doubles at powers of two */
    if (n & (n - 1)) return p;
    return dg_realloc(p, (n ? 2 * (size_t)n : 1) * size);
}
static DType vector_type(const Graph *g) { return g->precision.act == DG_F64 ? DG_F64 : DG_F32; }

static Tid new_tensor(Graph *g, TensorKind kind, DType dtype, const char *name, Shape s, int producer) {
    g->t = grow(g->t, g->nt, sizeof *g->t);
    Tensor *t = &g->t[g->nt];
    memset(t, 0, sizeof *t);
    snprintf(t->name, sizeof t->name, "%s", name);
    t->kind = kind, t->dtype = dtype, t->shape = s, t->producer = producer;
    return g->nt++;
}
Graph *graph_new(Precision p) {
    Graph *g = dg_alloc(sizeof *g);
    DG_CHECK(!p.tf32 || p.act == DG_F32, "tf32 is a way to multiply f32");
    g->precision = p;
    new_tensor(g, T_INPUT, p.act, "none", (Shape){0}, -1); /* Tid 0 */
    return g;
}
void graph_free(Graph *g) {
    if (!g) return;
    for (Tid t = 1; t < g->nt; t++) free(g->t[t].values);
    free(g->t);
    free(g->op);
    free(g);
}
Tid g_input(Graph *g, const char *name, Shape s) {
    GRAPH_CHECK(s.n > 0 && s.h > 0 && s.w > 0 && s.c > 0, "input %s: shape %d %d %d %d", name, s.n, s.h, s.w, s.c);
    GRAPH_CHECK(s.n <= MAX_BATCH, "input %s: a batch of %d, of at most %d", name, s.n, MAX_BATCH);
    GRAPH_CHECK(!g->batch || s.n == g->batch, "input %s: a batch of %d, where the inputs before it have %d", name, s.n, g->batch);
    g->batch = s.n;
    return new_tensor(g, T_INPUT, is_vector(s) ? vector_type(g) : g->precision.act, name, s, -1);
}
static bool view_eq(WeightView a, WeightView b) {
    return a.kind == b.kind && a.qkv == b.qkv && a.heads == b.heads && a.flip == b.flip && a.eps == b.eps;
}
static Tid weight_named(Graph *g, const char *name, Shape s, WeightView v) {
    for (Tid t = 1; t < g->nt; t++)
        if (g->t[t].kind == T_WEIGHT && view_eq(g->t[t].view, v) && !strcmp(g->t[t].name, name)) {
            GRAPH_CHECK(shape_eq(g->t[t].shape, s), "weight %s is asked for in two shapes", name);
            return t;
        }
    Tid t = new_tensor(g, T_WEIGHT, vector_type(g), name, s, -1);
    g->t[t].view = v;
    return t;
}
Tid g_weight(Graph *g, const char *name, Shape s, WeightView v) {
    char full[sizeof g->t->name];
    int n = snprintf(full, sizeof full, "%s%s", g->prefix, name);
    GRAPH_CHECK(n < (int)sizeof full, "weight name %s%s is too long", g->prefix, name);
    return weight_named(g, full, s, v);
}
Tid g_constant(Graph *g, const char *name, Shape s, DType type, const void *values) {
    GRAPH_CHECK(s.n > 0 && s.h > 0 && s.w > 0 && s.c > 0, "constant %s: shape %d %d %d %d", name, s.n, s.h, s.w, s.c);
    GRAPH_CHECK(type == DG_F32 || type == DG_F64, "constant %s: values of type %s, not f32 or f64", name, dtype_name(type));
    Tid t = new_tensor(g, T_CONST, vector_type(g), name, s, -1);
    g->t[t].values = dg_alloc(tensor_bytes(&g->t[t]));
    dtype_convert(g->t[t].dtype, g->t[t].values, type, values, shape_count(s));
    return t;
}
Tid g_table(Graph *g, const char *name, Shape s, const double *values) {
    GRAPH_CHECK(s.n > 0 && s.h > 0 && s.w > 0 && s.c > 0, "table %s: shape %d %d %d %d", name, s.n, s.h, s.w, s.c);
    Tid t = new_tensor(g, T_CONST, DG_F64, name, s, -1);
    g->t[t].values = dg_alloc(tensor_bytes(&g->t[t]));
    memcpy(g->t[t].values, values, tensor_bytes(&g->t[t]));
    return t;
}
Tid g_flip(Graph *g, Tid w) {
    Tensor t = g->t[w];
    GRAPH_CHECK(t.kind == T_WEIGHT, "flip: %s is not a weight", t.name);
    t.view.flip = !t.view.flip;
    return weight_named(g, t.name, (Shape){t.shape.c, t.shape.h, t.shape.w, t.shape.n}, t.view);
}
Tid g_emit(Graph *g, Op op, Shape out) {
    GRAPH_CHECK((unsigned)op.kind < OP_COUNT, "op %d is in no list of ops", (int)op.kind);
    GRAPH_CHECK(in_arena(&g->t[op.in[0]]), "op %s computes with %s alone: what does not depend on an input belongs to a constant",
                op_names[op.kind], g->t[op.in[0]].name);
    DType dtype = g->t[op.in[0]].dtype;
    if (op.kind == OP_FIRST_TOKEN) dtype = vector_type(g);
    if (op.kind == OP_FIRST_TOKEN_BWD) dtype = g->precision.act;
    if (op.kind == OP_POOL || op.kind == OP_PIXEL_NORM) dtype = is_vector(out) ? vector_type(g) : g->precision.act;
    if (op.kind == OP_GATE && op.in[2]) dtype = g->t[op.in[2]].dtype;
    g->op = grow(g->op, g->nop, sizeof *g->op);
    op.out = new_tensor(g, T_ACT, dtype, op_names[op.kind], out, g->nop);
    g->op[g->nop++] = op;
    return op.out;
}

/* Of one image, what is full and what is positions look the same; which it is may not depend on the batch. */
Operand operand_of(const Graph *g, Tid operand, Tid out) {
    if (!operand) return OPERAND_NONE;
    if (!in_arena(&g->t[operand])) return OPERAND_POSITIONS;
    return shape_eq(shape_of(g, operand), shape_of(g, out)) ? OPERAND_FULL : OPERAND_VECTOR;
}
/* A conv's weight is stored in the type of the conv's input: f32 for vectors, else the activations' type. */
static void set_weight_type(Graph *g, Tid w, DType dtype) {
    if (g->t[w].dtype == dtype) return;
    for (int i = 0; i < g->nop; i++)
        GRAPH_CHECK(g->op[i].kind != OP_CONV || g->op[i].in[1] != w, "conv %s: used with inputs of two types", g->t[w].name);
    g->t[w].dtype = dtype;
}
unsigned conv_needs(const Graph *g, const Op *conv) {
    const ConvOptions *o = &conv->conv;
    _Static_assert(sizeof *o == 5 * sizeof(int) + sizeof(float) + sizeof(Act),
                   "a new option of convolutions: give it a need, so that the fast ways that ignore it do not take it");
    Shape weight = shape_of(g, conv->in[1]);
    unsigned needs = 0;
    if (weight.h != 1 || weight.w != 1) needs |= CONV_TAPS;
    if (o->top || o->left || o->bottom || o->right) needs |= CONV_PADS;
    if (o->top != o->bottom || o->left != o->right) needs |= CONV_UNEVEN;
    if (o->stride != 1) needs |= CONV_STRIDE;
    if (o->scale != 1) needs |= CONV_SCALE;
    if (o->act != ACT_NONE) needs |= CONV_ACT;
    if (conv->in[4]) needs |= CONV_GATE;
    if (operand_of(g, conv->in[3], conv->out) == OPERAND_POSITIONS) needs |= CONV_POSITIONS;
    if (conv->in[5]) needs |= CONV_SKIP;
    return needs;
}
Tid g_conv_with(Graph *g, Tid x, Tid w, Tid bias, ConvOptions o) {
    Shape a = shape_of(g, x), k = shape_of(g, w);
    const char *name = g->t[w].name;
    GRAPH_CHECK(g->t[w].kind == T_WEIGHT, "conv %s: its kernel is not a weight of the model", name);
    GRAPH_CHECK(a.c == k.c, "conv %s: the input has %d channels, the weight wants %d", name, a.c, k.c);
    GRAPH_CHECK(!bias || shape_eq(shape_of(g, bias), (Shape){1, 1, 1, k.n}), "conv %s: the bias has %d values, want %d", name,
                shape_of(g, bias).c, k.n);
    GRAPH_CHECK(o.stride > 0 && o.top >= 0 && o.left >= 0 && o.bottom >= 0 && o.right >= 0,
                "conv %s: stride %d, pads %d %d %d %d (top, left, bottom, right)", name, o.stride, o.top, o.left, o.bottom, o.right);
    int h = a.h + o.top + o.bottom - k.h, v = a.w + o.left + o.right - k.w;
    GRAPH_CHECK(h >= 0 && v >= 0, "conv %s: a %dx%d kernel on %dx%d, with pads %d %d %d %d (top, left, bottom, right)", name, k.h, k.w, a.h,
                a.w, o.top, o.left, o.bottom, o.right);
    set_weight_type(g, w, g->t[x].dtype);
    return g_emit(g, (Op){.kind = OP_CONV, .in = {x, w, bias}, .conv = o}, (Shape){a.n, h / o.stride + 1, v / o.stride + 1, k.n});
}
Op conv_with_skip(const Graph *g, Op conv, Tid x, Tid more, Tid w, Tid bias) {
    Shape y = shape_of(g, conv.out), a = shape_of(g, x), b = shape_of(g, more);
    const char *name = g->t[w].name;
    DType type = g->t[conv.in[0]].dtype;
    GRAPH_CHECK(!conv.in[3] && !conv.in[4] && !conv.in[5], "conv %s: a skip beside something else that is added, or a gate",
                g->t[conv.in[1]].name);
    GRAPH_CHECK(shape_eq(shape_of(g, w), (Shape){y.c, 1, 1, a.c + (more ? b.c : 0)}), "skip %s: wants %dx1x1x%d values", name, y.c,
                a.c + (more ? b.c : 0));
    GRAPH_CHECK(a.n == y.n && a.h == y.h && a.w == y.w && (!more || (b.n == y.n && b.h == y.h && b.w == y.w)),
                "skip %s: of other images than the output, %dx%dx%d", name, y.n, y.h, y.w);
    GRAPH_CHECK(!bias || shape_eq(shape_of(g, bias), (Shape){1, 1, 1, y.c}), "skip %s: the bias has %d values, want %d", name,
                shape_of(g, bias).c, y.c);
    GRAPH_CHECK(g->t[x].dtype == type && g->t[w].dtype == type && (!more || g->t[more].dtype == type),
                "skip %s: it and its inputs are not all of type %s, as is what conv %s reads", name, dtype_name(type),
                g->t[conv.in[1]].name);
    conv.in[5] = x, conv.in[6] = more, conv.in[7] = w, conv.in[8] = bias;
    return conv;
}
Tid g_conv(Graph *g, Tid x, Tid w, Tid bias, int pad) {
    Shape k = shape_of(g, w);
    GRAPH_CHECK(k.h == k.w || !pad, "conv %s: one pad, %d, for a %dx%d kernel: g_conv_with takes one for each side", g->t[w].name, pad, k.h,
                k.w);
    return g_conv_with(g, x, w, bias, (ConvOptions){1, pad, pad, pad, pad, 1});
}
/* What kernels read as the vectors of a batch: computed or given for each image, in the type of vectors. A 1x1 image is no vector. */
static void check_vector(const Graph *g, Tid t, const char *what) {
    const Tensor *a = &g->t[t];
    GRAPH_CHECK(!t || (in_arena(a) && a->dtype == vector_type(g)), "%s, %s: vectors of the batch are wanted, in %s", what, a->name,
                dtype_name(vector_type(g)));
}
Tid g_norm(Graph *g, Tid x, Tid gamma, Tid beta, Tid scale_shift, int groups, float eps) {
    return g_norm_of_two(g, x, 0, gamma, beta, scale_shift, groups, eps);
}
Tid g_norm_of_two(Graph *g, Tid x, Tid more, Tid gamma, Tid beta, Tid scale_shift, int groups, float eps) {
    Shape s = shape_of(g, x), b = shape_of(g, more);
    const char *name = g->t[gamma].name;
    GRAPH_CHECK(!more || (b.n == s.n && b.h == s.h && b.w == s.w && g->t[more].dtype == g->t[x].dtype),
                "norm %s: of %dx%dx%d in %s and %dx%dx%d in %s", name, s.n, s.h, s.w, dtype_name(g->t[x].dtype), b.n, b.h, b.w,
                dtype_name(g->t[more].dtype));
    if (more) s.c += b.c;
    Shape v = {1, 1, 1, s.c};
    GRAPH_CHECK(groups > 0 && s.c % groups == 0, "norm %s: %d channels in %d groups", name, s.c, groups);
    GRAPH_CHECK(shape_eq(shape_of(g, gamma), v) && shape_eq(shape_of(g, beta), v), "norm %s: wants %d values", name, s.c);
    GRAPH_CHECK(!scale_shift || shape_eq(shape_of(g, scale_shift), (Shape){s.n, 1, 1, 2 * s.c}),
                "norm %s: scale and shift have %d values, want %d", name, shape_of(g, scale_shift).c, 2 * s.c);
    check_vector(g, scale_shift, "scale and shift of a norm");
    return g_emit(g, (Op){.kind = OP_NORM, .in = {x, gamma, beta, scale_shift, 0, 0, more}, .norm = {groups, eps, false}}, s);
}
Tid g_attn(Graph *g, Tid qkv, int heads) {
    Shape s = shape_of(g, qkv);
    GRAPH_CHECK(heads > 0 && s.c % (3 * heads) == 0, "attention: %d channels for q, k and v of %d heads", s.c, heads);
    s.c /= 3;
    return g_emit(g, (Op){.kind = OP_ATTN, .in = {qkv}, .attn = {heads}}, s);
}
Tid g_unary(Graph *g, Tid x, UnaryKind f, float lo, float hi) {
    GRAPH_CHECK((unsigned)f < UNARY_COUNT, "unary: function %d is in no list of functions", (int)f);
    GRAPH_CHECK(f != F_CLAMP || lo < hi, "clamp to [%g,%g]", (double)lo, (double)hi);
    return g_emit(g, (Op){.kind = OP_UNARY, .in = {x}, .unary = {f, lo, hi}}, shape_of(g, x));
}
Tid g_silu(Graph *g, Tid x) { return g_unary(g, x, F_SILU, 0, 0); }
Tid g_clamp(Graph *g, Tid x, float lo, float hi) { return g_unary(g, x, F_CLAMP, lo, hi); }
Tid g_add(Graph *g, Tid x, Tid y, float a, float b) {
    Shape s = shape_of(g, x), v = shape_of(g, y);
    bool positions = y && !in_arena(&g->t[y]);
    GRAPH_CHECK(!y || (positions ? shape_eq(v, (Shape){1, s.h, s.w, s.c}) : shape_eq(s, v) || shape_eq(v, (Shape){s.n, 1, 1, s.c})),
                "add: %d %d %d %d and %d %d %d %d", s.n, s.h, s.w, s.c, v.n, v.h, v.w, v.c);
    return g_emit(g, (Op){.kind = OP_ADD, .in = {x, y}, .add = {a, b}}, s);
}
Tid g_concat_all(Graph *g, const Tid *x, int count) {
    GRAPH_CHECK(count >= 2 && count <= CONCAT_INPUTS, "concat: %d tensors, not 2 to %d", count, CONCAT_INPUTS);
    Shape s = shape_of(g, x[0]);
    Op op = {.kind = OP_CONCAT};
    s.c = 0;
    for (int i = 0; i < count; i++) {
        Shape v = shape_of(g, x[i]);
        GRAPH_CHECK(s.n == v.n && s.h == v.h && s.w == v.w, "concat: %dx%dx%d and %dx%dx%d", s.n, s.h, s.w, v.n, v.h, v.w);
        op.in[i] = x[i], s.c += v.c;
    }
    return g_emit(g, op, s);
}
Tid g_concat(Graph *g, Tid x, Tid y) { return g_concat_all(g, (Tid[]){x, y}, 2); }
Tid g_slice(Graph *g, Tid x, int first, int c) {
    Shape s = shape_of(g, x);
    GRAPH_CHECK(first >= 0 && c > 0 && first + c <= s.c, "slice: channels [%d,%d) of %d", first, first + c, s.c);
    s.c = c;
    return g_emit(g, (Op){.kind = OP_SLICE, .in = {x}, .slice = {first}}, s);
}
static Tid resample(Graph *g, Tid x, bool up, const float *tap, int taps, int pad, float scale) {
    Shape s = shape_of(g, x);
    GRAPH_CHECK(taps > 0 && taps <= RESAMPLE_TAPS && pad >= 0 && pad < taps, "resample: %d taps, pad %d", taps, pad);
    Op op = {.kind = OP_RESAMPLE, .in = {x}, .resample = {.up = up, .taps = taps, .pad = pad, .scale = scale}};
    for (int i = 0; i < taps; i++) {
        GRAPH_CHECK(tap[i] == tap[taps - 1 - i], "resample: the filter is not symmetric");
        op.resample.tap[i] = tap[i];
    }
    if (up) {
        s.h = 2 * (s.h - 1) - 2 * pad + taps, s.w = 2 * (s.w - 1) - 2 * pad + taps;
    } else {
        GRAPH_CHECK((s.h + 2 * pad - taps) % 2 == 0 && (s.w + 2 * pad - taps) % 2 == 0 && s.h + 2 * pad >= taps && s.w + 2 * pad >= taps,
                    "resample: %dx%d by 2 with %d taps, pad %d", s.h, s.w, taps, pad);
        s.h = (s.h + 2 * pad - taps) / 2 + 1, s.w = (s.w + 2 * pad - taps) / 2 + 1;
    }
    return g_emit(g, op, s);
}
Tid g_up(Graph *g, Tid x, const float *tap, int taps, int pad, float scale) { return resample(g, x, true, tap, taps, pad, scale); }
Tid g_down(Graph *g, Tid x, const float *tap, int taps, int pad, float scale) { return resample(g, x, false, tap, taps, pad, scale); }
float box_factor(const Op *op) {
    const float *tap = op->resample.tap;
    bool box = op->kind == OP_RESAMPLE && op->resample.taps == 2 && !op->resample.pad && tap[0] == tap[1];
    return box ? op->resample.scale * tap[0] * tap[0] : 0;
}
bool is_nearest_up(const Op *op) { return box_factor(op) == 1 && op->resample.up; }
Tid g_pool_tokens(Graph *g, Tid x, Tid embedding) {
    Shape s = shape_of(g, x), out = {s.n, 1, s.h * s.w + 1, s.c};
    GRAPH_CHECK(shape_eq(shape_of(g, embedding), (Shape){1, 1, out.w, s.c}), "pool %s: wants %d tokens of %d channels",
                g->t[embedding].name, out.w, s.c);
    return g_emit(g, (Op){.kind = OP_POOL_TOKENS, .in = {x, embedding}}, out);
}
Tid g_first_token(Graph *g, Tid x) {
    Shape s = shape_of(g, x);
    GRAPH_CHECK(s.h == 1, "first_token: {n,1,t,c} wanted, height is %d", s.h);
    s.w = 1;
    return g_emit(g, (Op){.kind = OP_FIRST_TOKEN, .in = {x}}, s);
}
Tid g_pool(Graph *g, Tid x, PoolOptions o) {
    Shape s = shape_of(g, x);
    bool window = o.height > 0 && o.width > 0 && o.stride > 0 && o.pad >= 0 && o.pad < o.height && o.pad < o.width;
    GRAPH_CHECK(window && s.h + 2 * o.pad >= o.height && s.w + 2 * o.pad >= o.width, "pool: windows of %dx%d, stride %d, pad %d on %dx%d",
                o.height, o.width, o.stride, o.pad, s.h, s.w);
    s.h = (s.h + 2 * o.pad - o.height) / o.stride + 1, s.w = (s.w + 2 * o.pad - o.width) / o.stride + 1;
    return g_emit(g, (Op){.kind = OP_POOL, .in = {x}, .pool = o}, s);
}
Tid g_global_mean(Graph *g, Tid x) {
    Shape s = shape_of(g, x);
    return g_pool(g, x, (PoolOptions){.height = s.h, .width = s.w, .stride = 1});
}
/* Every position that has a weight must be a pixel. */
static void check_table(const Graph *g, Tid table, int size, const char *what) {
    const Tensor *t = &g->t[table];
    GRAPH_CHECK(t->kind == T_CONST && t->dtype == DG_F64 && t->shape.n == 1 && t->shape.h == 1 && t->shape.c >= 2,
                "resize: the table of %s, %s, is not one of g_table, {1,1,outputs,1+taps}", what, t->name);
    const double *row = t->values;
    for (int i = 0; i < t->shape.w; i++, row += t->shape.c) {
        double first = row[0];
        int taps = t->shape.c - 1;
        while (taps > 0 && row[taps] == 0) taps--; /* NaN is a weight */
        bool whole = first >= 0 && first < size && first == (double)(int)first;
        GRAPH_CHECK(whole && (int)first + taps <= size, "resize: output %d of the %s reads [%g,%g), of %d", i, what, first,
                    first + (double)taps, size);
    }
}
Tid g_resize(Graph *g, Tid x, Tid columns, Tid rows, ResizeOptions o) {
    Shape s = shape_of(g, x);
    check_table(g, columns, s.w, "columns");
    check_table(g, rows, s.h, "rows");
    GRAPH_CHECK(o.lo < o.hi, "resize: clamp to [%g,%g]", (double)o.lo, (double)o.hi);
    s.h = shape_of(g, rows).w, s.w = shape_of(g, columns).w;
    return g_emit(g, (Op){.kind = OP_RESIZE, .in = {x, columns, rows}, .resize = o}, s);
}
Tid g_pixel_norm(Graph *g, Tid x, Tid gamma, Tid beta, Tid shift_scale, float eps, bool rms) {
    Shape s = shape_of(g, x), v = {1, 1, 1, s.c};
    GRAPH_CHECK(!gamma || shape_eq(shape_of(g, gamma), v), "pixel norm %s: wants %d values", g->t[gamma].name, s.c);
    GRAPH_CHECK(!beta || shape_eq(shape_of(g, beta), v), "pixel norm %s: wants %d values", g->t[beta].name, s.c);
    GRAPH_CHECK(!shift_scale || shape_eq(shape_of(g, shift_scale), (Shape){s.n, 1, 1, 2 * s.c}),
                "pixel norm: shift and scale have %d values, want %d", shape_of(g, shift_scale).c, 2 * s.c);
    check_vector(g, shift_scale, "shift and scale of a pixel norm");
    return g_emit(g, (Op){.kind = OP_PIXEL_NORM, .in = {x, gamma, beta, shift_scale}, .pixel_norm = {eps, rms}}, s);
}
Tid g_gate(Graph *g, Tid x, Tid gate, Tid residual) {
    Shape s = shape_of(g, x), v = shape_of(g, gate);
    GRAPH_CHECK(shape_eq(v, (Shape){s.n, 1, 1, s.c}), "gate: %d %d %d %d for %d %d %d %d", v.n, v.h, v.w, v.c, s.n, s.h, s.w, s.c);
    GRAPH_CHECK(!residual || (in_arena(&g->t[residual]) && shape_eq(shape_of(g, residual), s)),
                "gate: the residual, %s, has another shape than what is gated, or is no image of the batch", g->t[residual].name);
    check_vector(g, gate, "gate");
    return g_emit(g, (Op){.kind = OP_GATE, .in = {x, gate, residual}}, s);
}
Tid g_depth_to_space(Graph *g, Tid x, int p) {
    Shape s = shape_of(g, x);
    GRAPH_CHECK(p > 0 && s.c % (p * p) == 0, "depth to space: %d channels for %dx%d pixels", s.c, p, p);
    s.h *= p, s.w *= p, s.c /= p * p;
    return g_emit(g, (Op){.kind = OP_DEPTH_TO_SPACE, .in = {x}, .depth_to_space = {p}}, s);
}
Tid g_softmax(Graph *g, Tid x, bool log) {
    GRAPH_CHECK(is_vector(shape_of(g, x)), "softmax: %dx%d pixels: it is of vectors", shape_of(g, x).h, shape_of(g, x).w);
    check_vector(g, x, "softmax");
    return g_emit(g, (Op){.kind = OP_SOFTMAX, .in = {x}, .softmax = {log}}, shape_of(g, x));
}
static bool is_moved(const Op *op) { return op->kind == OP_SLICE || op->kind == OP_DEPTH_TO_SPACE; } /* values that in0 holds */
/* Whether a tensor may become f32 where activations have 16 bits: what writes it computes in f32 and rounds last. What only moves
 * values holds those that it moves, so these have to become f32 too: they may, unless something else has read them as they were. */
static bool can_widen(const Graph *g, Tid t) {
    if (g->t[t].kind != T_ACT) return false;
    const Op *p = &g->op[g->t[t].producer];
    switch (p->kind) {
    case OP_CONV:
    case OP_ADD:
    case OP_GATE:
    case OP_POOL:
    case OP_RESIZE:
    case OP_PIXEL_NORM: return true;
    default: break;
    }
    if (!is_moved(p) || !can_widen(g, p->in[0])) return false;
    for (int i = 0; i < g->nop; i++)
        for (int j = 0; j < OP_INPUTS; j++)
            if (g->op[i].in[j] == p->in[0] && !is_moved(&g->op[i])) return false;
    return true;
}
Tid g_f32(Graph *g, Tid t) {
    for (Tid source = can_widen(g, t) ? t : 0; source;) {
        const Op *p = &g->op[g->t[source].producer];
        for (int i = 0; i < g->nop && g->t[source].dtype != vector_type(g); i++)
            GRAPH_CHECK(g->op[i].kind != OP_CONV || g->op[i].in[0] != source,
                        "%s of op %d becomes f32 after conv %s has read it, whose weight is not", op_name(p->kind), g->t[source].producer,
                        g->t[g->op[i].in[1]].name);
        g->t[source].dtype = vector_type(g);
        source = is_moved(p) ? p->in[0] : 0;
    }
    return t;
}
Tid g_output(Graph *g, Tid t) {
    GRAPH_CHECK(g->t[t].kind == T_ACT, "output: %s is not computed", g->t[t].name);
    g->t[t].keep = true;
    return g_f32(g, t);
}

double op_flops(const Graph *g, int i) {
    const Op *op = &g->op[i];
    Shape a = shape_of(g, op->in[0]), o = shape_of(g, op->out);
    if (op->kind == OP_CONV) {
        Shape k = shape_of(g, op->in[1]);
        if (g->t[op->in[1]].view.kind == VIEW_EMBEDDING) return 0; /* one row of a table, in the official counts */
        return 2.0 * (double)shape_count(o) * ((double)k.h * k.w * k.c + (op->in[7] ? shape_of(g, op->in[7]).c : 0));
    }
    /* Forward: two products of T x T x d per head. Backward: those of the forward again for P, then dV, dP, dQ, dK: five. */
    double tokens = (double)a.h * a.w;
    if (op->kind == OP_ATTN) return 4.0 * a.n * tokens * tokens * o.c;
    if (op->kind == OP_ATTN_BWD) return 10.0 * a.n * tokens * tokens * (o.c / 3.0);
    return 0;
}
double op_bytes(const Graph *g, int i) {
    const Op *op = &g->op[i];
    double bytes = (double)tensor_bytes(&g->t[op->out]);
    for (int j = 0; j < OP_INPUTS; j++)
        if (op->in[j]) bytes += (double)tensor_bytes(&g->t[op->in[j]]);
    return bytes;
}
double graph_flops(const Graph *g) {
    double sum = 0;
    for (int i = 0; i < g->nop; i++) sum += op_flops(g, i);
    return sum;
}
