/* test_weights.c -- the values that views make of a file's tensors, and what is said of files that do not have what a view needs:
 * folded batch norms and positions, from files, synthetic weights, several parts, and with overrides.                        */
#include "graph/positions.h"
#include "graph/weights.h"
#include "check.h"
#include "hostile.h"
#include <float.h>
#include <math.h>
#include <stdlib.h>

static const char file_name[] = "some.safetensors";
static const double EPS = .001;
enum { K = 5, C = 3, R = 3, S = 2, WEIGHTS = K * C * R * S, MOST = 16, ROOM = 144 };

/* ---- files in memory ------------------------------------------------------------------------------------------------------------ */
typedef struct {
    char name[64];
    DType dtype;
    int dims;
    int64_t shape[4];
    size_t count;
    double value[ROOM];
} Entry;
typedef struct {
    Entry t[MOST];
    int count;
    uint8_t *bytes;
    size_t size;
} File;
static double value(const char *name, size_t i) { /* a multiple of 1/64 from -1 to 1, which every type holds exactly */
    uint64_t z = 14695981039346656037u;
    for (; *name; name++) z = (z ^ (uint8_t)*name) * 1099511628211u;
    z = (z + i + 1) * 0x9E3779B97F4A7C15u;
    return (double)((int)((z ^ (z >> 29)) % 129) - 64) / 64;
}
static Entry *entry(File *f, const char *name) {
    for (int i = 0; i < f->count; i++)
        if (!strcmp(f->t[i].name, name)) return &f->t[i];
    DG_CHECK(f->count < MOST, "%s: one tensor too many", name);
    Entry *t = &f->t[f->count++];
    snprintf(t->name, sizeof t->name, "%s", name);
    return t;
}
static Entry *put(File *f, DType dtype, int dims, const int64_t *shape, const char *prefix, const char *leaf) {
    char name[64];
    snprintf(name, sizeof name, "%s%s", prefix, leaf);
    Entry *t = entry(f, name);
    t->dtype = dtype, t->dims = dims, t->count = 1;
    for (int i = 0; i < dims; i++) t->shape[i] = shape[i], t->count *= (size_t)shape[i];
    DG_CHECK(t->count <= ROOM, "%s: one value too many", name);
    for (size_t i = 0; i < t->count; i++) t->value[i] = strstr(leaf, "running_var") ? 1 + value(name, i) / 2 : value(name, i);
    return t;
}
/* A convolution and its batch norm, under the names of this prefix. */
static void put_module(File *f, DType dtype, const char *prefix, bool gamma) {
    put(f, dtype, 4, (int64_t[]){K, C, R, S}, prefix, "conv.weight");
    static const char *const leaf[] = {"bn.bias", "bn.running_mean", "bn.running_var", "bn.weight"};
    for (int i = 0; i < 3 + gamma; i++) put(f, dtype, 1, (int64_t[]){K}, prefix, leaf[i]);
    put(f, DG_I64, 0, NULL, prefix, "bn.num_batches_tracked");
}
static void drop(File *f, const char *name) {
    *entry(f, name) = f->t[f->count - 1];
    f->count--;
}
static Weights *file_open(File *f) {
    Error e = {""};
    StWriter *w = st_writer_memory();
    for (int i = 0; i < f->count; i++) st_writer_tensor(w, f->t[i].name, f->t[i].dtype, f->t[i].dims, f->t[i].shape);
    DG_CHECK(st_writer_begin(w, &e), "%s", e.text);
    for (int i = 0; i < f->count; i++) {
        const Entry *t = &f->t[i];
        char stored[ROOM * sizeof(double)] = {0};
        if (t->dtype != DG_I64) dtype_convert(t->dtype, stored, DG_F64, t->value, t->count);
        DG_CHECK(st_writer_data(w, stored, t->count * dtype_bytes(t->dtype), &e), "%s", e.text);
    }
    f->bytes = st_writer_take(w, &f->size);
    Weights *opened = weights_memory(f->bytes, f->size, file_name, &e);
    DG_CHECK(opened, "%s", e.text);
    return opened;
}
static void file_close(File *f, Weights *w) {
    weights_free(w);
    free(f->bytes);
}

/* ---- folded batch norms ------------------------------------------------------------------------------------------------------- */
typedef struct {
    double weight[WEIGHTS], bias[K];
} Folded;
static bool read_as(const WeightSet *set, const char *name, Shape s, WeightView v, DType type, double *out, Error *e) {
    char raw[WEIGHTS * sizeof(double)];
    if (!weight_set_read(set, name, s, v, type, raw, e)) return false;
    dtype_convert(DG_F64, out, type, raw, shape_count(s));
    return true;
}
static const Shape conv_shape = {K, R, S, C}, flipped_shape = {C, R, S, K}, bias_shape = {1, 1, 1, K};
static WeightView fold(ViewKind kind, bool flip) { return (WeightView){.kind = kind, .flip = flip, .eps = EPS}; }
static bool read_folded(const WeightSet *set, const char *prefix, bool flip, DType type, Folded *out, Error *e) {
    char weight[64], bias[64];
    snprintf(weight, sizeof weight, "%sconv.weight", prefix), snprintf(bias, sizeof bias, "%sbn.bias", prefix);
    return read_as(set, weight, flip ? flipped_shape : conv_shape, fold(VIEW_FOLD_BN, flip), type, out->weight, e) &&
           read_as(set, bias, bias_shape, fold(VIEW_FOLD_BN_BIAS, false), type, out->bias, e);
}
static bool near(double found, long double wanted, long double size, DType type) {
    /* five operations in f64, and one rounding to the type */
    long double tolerance = 5 * size * DBL_EPSILON / 2 + (type == DG_F32 ? fabsl(wanted) * FLT_EPSILON / 2 : 0);
    return fabsl((long double)found - wanted) <= tolerance;
}
/* Against the same formula in long double; `stored` names the tensors that the module at prefix has. */
static void check_folded(const char *what, File *stored, const char *prefix, bool flip, DType type, const Folded *found) {
    char name[5][64];
    static const char *const leaf[5] = {"conv.weight", "bn.bias", "bn.running_mean", "bn.running_var", "bn.weight"};
    for (int i = 0; i < 5; i++) snprintf(name[i], sizeof name[i], "%s%s", prefix, leaf[i]);
    const Entry *w = entry(stored, name[0]), *beta = entry(stored, name[1]), *mean = entry(stored, name[2]), *var = entry(stored, name[3]);
    const Entry *gamma = NULL;
    for (int i = 0; i < stored->count; i++)
        if (!strcmp(stored->t[i].name, name[4])) gamma = &stored->t[i];
    int wrong = 0;
    for (int k = 0; k < K; k++) {
        long double scale = powl((long double)var->value[k] + (long double)EPS, -.5L) * (gamma ? gamma->value[k] : 1);
        long double shift = scale * (long double)mean->value[k];
        wrong += !near(found->bias[k], beta->value[k] - shift, fabsl(shift) + fabsl((long double)beta->value[k]), type);
        for (int c = 0; c < C; c++)
            for (int r = 0; r < R; r++)
                for (int s = 0; s < S; s++) {
                    long double wanted = w->value[((k * C + c) * R + r) * S + s] * scale;
                    int at = flip ? ((c * R + R - 1 - r) * S + S - 1 - s) * K + k : ((k * R + r) * S + s) * C + c;
                    wrong += !near(found->weight[at], wanted, fabsl(wanted), type);
                }
    }
    CHECK(wrong == 0, "%s: %d of %d values are not those of the formula", what, wrong, WEIGHTS + K);
}
static void folded_files(void) {
    static const DType stored[] = {DG_F32, DG_F16, DG_BF16, DG_F64};
    for (int i = 0; i < 32; i++) {
        bool gamma = i & 1, flip = i & 2;
        DType type = i & 4 ? DG_F64 : DG_F32;
        char what[128];
        Error e = {""};
        Folded found;
        File f = {.count = 0};
        put_module(&f, stored[i / 8], "block.a.", gamma);
        for (int k = 0; k < f.count && stored[i / 8] == DG_F64; k++)
            for (size_t j = 0; j < f.t[k].count; j++) f.t[k].value[j] /= 3; /* which f32 does not hold */
        Weights *w = file_open(&f);
        WeightSet set = weights_alone(w);
        snprintf(what, sizeof what, "%s as %s, %s, %s", dtype_name(stored[i / 8]), dtype_name(type), gamma ? "gamma" : "no gamma",
                 flip ? "flipped" : "plain");
        if (CHECK(read_folded(&set, "block.a.", flip, type, &found, &e), "%s: %s", what, e.text))
            check_folded(what, &f, "block.a.", flip, type, &found);
        CHECK(weights_check_unused(w, NULL, &e), "%s: %s", what, e.text);
        file_close(&f, w);
    }
}
/* A weight of 1x1 is [K,C] in some files and [K,C,1,1] in others; one channel is a convolution too. */
static void folded_shapes(void) {
    static const struct {
        Shape s;
        int dims;
        int64_t shape[4];
    } row[] = {{{K, 1, 1, C}, 4, {K, C, 1, 1}}, {{K, 1, 1, C}, 2, {K, C}}, {{1, 1, 7, 2}, 4, {1, 2, 1, 7}}};
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        Error e = {""};
        File f = {.count = 0};
        int64_t k = row[i].s.n;
        put_module(&f, DG_F32, "", false);
        put(&f, DG_F32, row[i].dims, row[i].shape, "", "conv.weight");
        static const char *const leaf[] = {"bn.bias", "bn.running_mean", "bn.running_var"};
        for (int j = 0; j < 3; j++) put(&f, DG_F32, 1, &k, "", leaf[j]);
        Weights *w = file_open(&f);
        WeightSet set = weights_alone(w);
        double found[WEIGHTS];
        bool read = read_as(&set, "conv.weight", row[i].s, fold(VIEW_FOLD_BN, false), DG_F64, found, &e);
        int wrong = 0, taps = row[i].s.w, channels = row[i].s.c;
        for (int o = 0; o < k && read; o++)
            for (int s = 0; s < taps; s++)
                for (int c = 0; c < channels; c++) {
                    long double wanted = entry(&f, "conv.weight")->value[(o * channels + c) * taps + s] /
                                         sqrtl((long double)entry(&f, "bn.running_var")->value[o] + (long double)EPS);
                    wrong += !near(found[(o * taps + s) * channels + c], wanted, fabsl(wanted), DG_F64);
                }
        CHECK(read && !wrong, "row %zu: %d values differ %s", i, wrong, e.text);
        file_close(&f, w);
    }
}
static void folded_parts(void) {
    Error e = {""};
    Folded found;
    File a = {.count = 0}, b = {.count = 0};
    put_module(&a, DG_F32, "a.", true), put_module(&b, DG_F32, "a.", false);
    for (int i = 0; i < b.count; i++)
        for (size_t k = 0; k < b.t[i].count; k++) b.t[i].value[k] = 1.5 + value("other", k + 100 * (size_t)i);
    Weights *first = file_open(&a), *second = file_open(&b);
    WeightSet set = {.part = {{"", first}, {"eval.", second}}, .parts = 2};
    if (CHECK(read_folded(&set, "eval.a.", false, DG_F32, &found, &e), "a part: %s", e.text))
        check_folded("the part with a prefix", &b, "a.", false, DG_F32, &found);
    CHECK(!weights_check_unused(first, NULL, &e) && strstr(e.text, "6 tensors"), "reading one part marks the other: %s", e.text);
    CHECK(weights_check_unused(second, NULL, &e), "%s", e.text);
    if (CHECK(read_folded(&set, "a.", false, DG_F32, &found, &e), "a part: %s", e.text))
        check_folded("the part without", &a, "a.", false, DG_F32, &found);
    file_close(&a, first), file_close(&b, second);
}
static StTensor as_tensor(const Entry *t, const float *data) {
    StTensor st = {.name = t->name, .dtype = DG_F32, .dims = t->dims, .count = t->count, .bytes = t->count * sizeof *data, .data = data};
    for (int i = 0; i < t->dims; i++) st.shape[i] = t->shape[i];
    return st;
}
/* Overrides replace tensors of a file, also those that it lacks, and of synthetic weights; they meet the same checks. */
static void folded_overrides(void) {
    File f = {.count = 0}, all = {.count = 0};
    put_module(&f, DG_F32, "a.", false), put_module(&all, DG_F32, "a.", true);
    static const char *const replaced[] = {"a.conv.weight", "a.bn.weight", "a.bn.bias", "a.bn.running_mean", "a.bn.running_var"};
    float data[5][WEIGHTS];
    StTensor t[5];
    for (int i = 0; i < 5; i++) {
        Entry *x = entry(&all, replaced[i]);
        for (size_t k = 0; k < x->count; k++) data[i][k] = (float)(x->value[k] = 1.25 + value("new", k + 100 * (size_t)i));
        t[i] = as_tensor(x, data[i]);
    }
    for (int synthetic = 0; synthetic < 2; synthetic++) {
        Error e = {""};
        Folded found;
        Weights *w = synthetic ? weights_synthetic(7, NULL) : file_open(&f);
        WeightSet set = weights_alone(w);
        const char *what = synthetic ? "synthetic, overridden" : "a file, overridden";
        for (int i = 0; i < 5; i++) weights_override(w, replaced[i], &t[i]);
        CHECK(!weights_check_unused(w, NULL, &e), "%s: nothing has been read", what);
        if (CHECK(read_folded(&set, "a.", false, DG_F64, &found, &e), "%s: %s", what, e.text))
            check_folded(what, &all, "a.", false, DG_F64, &found);
        data[4][2] = -1;
        CHECK(!read_folded(&set, "a.", false, DG_F64, &found, &e) && strstr(e.text, "1 of its 5 values are below 0"), "%s: %s", what,
              e.text);
        data[4][2] = (float)entry(&all, replaced[4])->value[2];
        if (synthetic) weights_free(w);
        else file_close(&f, w);
    }
}

/* The rule of tests/golden/README.md, once more. */
static float made_up(uint64_t seed, const char *name, uint64_t i) {
    uint64_t key = 0xcbf29ce484222325u;
    for (const char *s = name; *s; s++) key ^= (uint8_t)*s, key *= 0x100000001b3u;
    uint64_t z = (key ^ seed * 0x9E3779B97F4A7C15u) + (i + 1) * 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return (float)((double)((z ^ z >> 31) >> 40) / 8388608 - 1);
}
static void folded_synthetic(void) {
    enum { SEED = 401 };
    Error e = {""};
    Folded found;
    File f = {.count = 0};
    static const char prefix[] = "Mixed_5b.branch1x1.";
    put_module(&f, DG_F32, prefix, true);
    CHECK(fabs((double)made_up(7, "model.map_layer0.weight", 1) - .79014826) <= 5e-9, "the rule is another one");
    for (int i = 0; i < f.count; i++)
        for (size_t k = 0; k < f.t[i].count; k++) {
            Entry *t = &f.t[i];
            float u = made_up(SEED, t->name, k);
            if (strstr(t->name, "conv.weight")) t->value[k] = u * (float)sqrt(3. / (C * R * S));
            else if (strstr(t->name, "bias") || strstr(t->name, "mean")) t->value[k] = .1f * u;
            else if (strstr(t->name, "var")) t->value[k] = 1 + .5f * u;
            else t->value[k] = 1 + .1f * u;
        }
    Weights *w = weights_synthetic(SEED, NULL);
    WeightSet set = weights_alone(w);
    if (CHECK(read_folded(&set, prefix, false, DG_F64, &found, &e), "synthetic: %s", e.text))
        check_folded("synthetic", &f, prefix, false, DG_F64, &found);
    weights_free(w);
}

/* ---- positions ---------------------------------------------------------------------------------------------------------------- */
/* Printed by the official code, of DiT-XL/2 at 256 pixels. */
static void official_positions(void) {
    enum { SIDE = 16, WIDTH = 1152, COLUMNS = 9, TOKENS = 3 };
    static const int column[COLUMNS] = {0, 1, 287, 288, 289, 576, 577, 864, 865}, token[TOKENS] = {1, 16, 255};
    static const double wanted[TOKENS][COLUMNS] = {
        {0.8414710, 0.8240513, 0.0001032, 0.5403023, 0.5665151, 0, 0, 1, 1},
        {0, 0, 0, 1, 1, 0.8414710, 0.8240513, 0.5403023, 0.5665151},
        {0.6502878, 0.9246361, 0.0015487, -0.7596879, -0.3808517, 0.6502878, 0.9246361, -0.7596879, -0.3808517}};
    float *out = dg_alloc((size_t)SIDE * SIDE * WIDTH * sizeof *out);
    const double tolerance = .5e-7 + FLT_EPSILON / 4; /* seven digits, of what is rounded to f32 */
    positions_2d(SIDE, SIDE, WIDTH, out);
    for (int i = 0; i < TOKENS; i++)
        for (int k = 0; k < COLUMNS; k++) {
            double found = (double)out[token[i] * WIDTH + column[k]];
            CHECK(fabs(found - wanted[i][k]) <= tolerance, "token %d, column %d: %.8f, wanted %.7f", token[i], column[k], found,
                  wanted[i][k]);
        }
    free(out);
}
enum { H = 2, W = 3, WIDTH = 12, TABLE = H * W * WIDTH };
static const Shape table_shape = {1, H, W, WIDTH};
static const WeightView positions_view = {.kind = VIEW_POSITIONS};
static long double position(int row, int column, int d) {
    int q = WIDTH / 4, of = d < WIDTH / 2 ? column : row;
    long double angle = of * expl(-logl(10000) * (d % q) / q);
    return d / q % 2 ? cosl(angle) : sinl(angle);
}
/* Not in the file: of every kind of weights, and for every type, the same values. */
static void computed_positions(void) {
    File none = {.count = 0};
    put_module(&none, DG_F32, "a.", false);
    Weights *w[2] = {file_open(&none), weights_synthetic(3, NULL)};
    for (int i = 0; i < 4; i++) {
        Error e = {""};
        double found[TABLE];
        WeightSet set = weights_alone(w[i / 2]);
        int wrong = 0;
        if (!CHECK(read_as(&set, "pos_embed", table_shape, positions_view, i % 2 ? DG_F64 : DG_F32, found, &e), "%s", e.text)) continue;
        for (int row = 0; row < H; row++)
            for (int column = 0; column < W; column++)
                for (int d = 0; d < WIDTH; d++) {
                    double x = found[(row * W + column) * WIDTH + d];
                    long double wanted = position(row, column, d);
                    bool rounded = x == (double)(float)x; /* as files hold it */
                    wrong += !(rounded && fabsl((long double)x - wanted) <= fabsl(wanted) * FLT_EPSILON / 2 + 1e-15L);
                }
        CHECK(wrong == 0, "%s: %d of %d computed positions are wrong", weights_name(w[i / 2]), wrong, TABLE);
    }
    Error e = {""};
    double six[2 * 2 * 6];
    WeightSet set = weights_alone(w[0]);
    CHECK(!read_as(&set, "pos_embed", (Shape){1, 2, 2, 6}, positions_view, DG_F64, six, &e) &&
              strstr(e.text, "no tensor pos_embed, and positions of 6 channels, no multiple of 4, cannot be computed"),
          "positions of six channels: %s", e.text);
    file_close(&none, w[0]), weights_free(w[1]);
}
static void read_positions(void) {
    static const DType stored[] = {DG_F32, DG_F16, DG_F64};
    for (size_t i = 0; i < 3; i++) {
        Error e = {""};
        double found[TABLE];
        File f = {.count = 0};
        const Entry *t = put(&f, stored[i], 3, (int64_t[]){1, H * W, WIDTH}, "", "pos_embed");
        Weights *w = file_open(&f);
        WeightSet set = weights_alone(w);
        bool read = read_as(&set, "pos_embed", table_shape, positions_view, i ? DG_F64 : DG_F32, found, &e);
        CHECK(read && !memcmp(found, t->value, sizeof found), "%s: not the file's values in the file's order %s", dtype_name(stored[i]),
              e.text);
        CHECK(weights_check_unused(w, NULL, &e), "%s", e.text);
        file_close(&f, w);
    }
}

/* ---- what files get wrong ----------------------------------------------------------------------------------------------------- */
typedef enum { MISSING, SHAPED, INTEGERS, VALUE, STRAY } Harm;
static const struct {
    const char *tensor;
    Harm harm;
    int dims;
    int64_t shape[4];
    double value; /* of the third element */
    const char *said;
} harmed[] = {
    {"a.conv.weight", MISSING, .said = "no tensor a.conv.weight, which its configuration needs"},
    {"a.bn.bias", MISSING, .said = "no tensor a.bn.bias, which its configuration needs"},
    {"a.bn.running_mean", MISSING, .said = "no tensor a.bn.running_mean, which its configuration needs"},
    {"a.bn.running_var", MISSING, .said = "no tensor a.bn.running_var, which its configuration needs"},
    {"a.conv.weight", SHAPED, 4, {K, C, S, R}, .said = "tensor a.conv.weight has shape [5,3,2,3], its configuration wants [5,3,3,2]"},
    {"a.conv.weight", SHAPED, 2, {K, C}, .said = "tensor a.conv.weight has shape [5,3], its configuration wants [5,3,3,2]"},
    {"a.bn.bias", SHAPED, 1, {0}, .said = "tensor a.bn.bias has shape [0], its configuration wants [5]"},
    {"a.bn.weight", SHAPED, 1, {K + 1}, .said = "tensor a.bn.weight has shape [6], its configuration wants [5]"},
    {"a.bn.running_mean", SHAPED, 2, {K, 1}, .said = "tensor a.bn.running_mean has shape [5,1], its configuration wants [5]"},
    {"a.bn.running_var", SHAPED, 0, {0}, .said = "tensor a.bn.running_var has shape [], its configuration wants [5]"},
    {"a.conv.weight", SHAPED, 4, {0, C, R, S}, .said = "tensor a.conv.weight has shape [0,3,3,2], its configuration wants [5,3,3,2]"},
    {"a.bn.running_var", INTEGERS, .said = "tensor a.bn.running_var holds integers"},
    {"a.conv.weight", VALUE, .value = NAN, .said = "tensor a.conv.weight: 1 of its 90 values are NaN or infinite"},
    {"a.bn.running_mean", VALUE, .value = NAN, .said = "tensor a.bn.running_mean: 1 of its 5 values are NaN or infinite"},
    {"a.bn.running_var", VALUE, .value = INFINITY, .said = "tensor a.bn.running_var: 1 of its 5 values are NaN or infinite"},
    {"a.bn.weight", VALUE, .value = -INFINITY, .said = "tensor a.bn.weight: 1 of its 5 values are NaN or infinite"},
    {"a.bn.bias", VALUE, .value = NAN, .said = "tensor a.bn.bias: 1 of its 5 values are NaN or infinite"},
    {"a.bn.running_var", VALUE, .value = -1e-3, .said = "tensor a.bn.running_var: 1 of its 5 values are below 0, and variances never are"},
    {"a.bn.weight", VALUE, .value = 3e38, .said = "leave fp32 with the batch norm that is folded into it"},
    {"a.bn.extra", STRAY, .said = "1 tensors that its configuration does not use (a.bn.extra)"},
    {"pos_embed", SHAPED, 3, {1, H *W - 1, WIDTH}, .said = "tensor pos_embed has shape [1,5,12], its configuration wants [1,6,12]"},
    {"pos_embed", SHAPED, 3, {2, H *W, WIDTH}, .said = "tensor pos_embed has shape [2,6,12], its configuration wants [1,6,12]"},
    {"pos_embed", SHAPED, 2, {H * W, WIDTH}, .said = "tensor pos_embed has shape [6,12], its configuration wants [1,6,12]"},
    {"pos_embed", SHAPED, 3, {1, 0, WIDTH}, .said = "tensor pos_embed has shape [1,0,12], its configuration wants [1,6,12]"},
    {"pos_embed", INTEGERS, .said = "tensor pos_embed holds integers"},
    {"pos_embed", VALUE, .value = NAN, .said = "tensor pos_embed: 1 of its 72 values are NaN or infinite"},
};
static bool read_all(Weights *w, Error *e) {
    Folded folded;
    double table[TABLE];
    WeightSet set = weights_alone(w);
    return read_folded(&set, "a.", false, DG_F32, &folded, e) &&
           read_as(&set, "pos_embed", table_shape, positions_view, DG_F32, table, e) && weights_check_unused(w, NULL, e);
}
/* Each tensor of the file in turn: what is said names it, and nothing beyond the file is read (AddressSanitizer). */
static void harmed_files(void) {
    for (size_t i = 0; i < sizeof harmed / sizeof *harmed; i++) {
        File f = {.count = 0};
        put_module(&f, DG_F32, "a.", true);
        entry(&f, "a.conv.weight")->value[2 * C * R * S] = 4; /* which the third gamma multiplies */
        put(&f, DG_F32, 3, (int64_t[]){1, H * W, WIDTH}, "", "pos_embed");
        const char *name = harmed[i].tensor;
        if (harmed[i].harm == MISSING) drop(&f, name);
        if (harmed[i].harm == SHAPED) put(&f, DG_F32, harmed[i].dims, harmed[i].shape, "", name);
        if (harmed[i].harm == INTEGERS) entry(&f, name)->dtype = DG_I64;
        if (harmed[i].harm == VALUE) entry(&f, name)->value[2] = harmed[i].value;
        if (harmed[i].harm == STRAY) put(&f, DG_F32, 1, (int64_t[]){K}, "", name);
        Weights *w = file_open(&f);
        Hostile h = hostile_begin(harmed[i].said);
        bool read = read_all(w, &h.e);
        hostile_end(&h, read, file_name, harmed[i].said);
        file_close(&f, w);
    }
    Error e = {""};
    File sound = {.count = 0};
    put_module(&sound, DG_F32, "a.", true);
    Entry *variance = entry(&sound, "a.bn.running_var");
    variance->value[2] = 0;
    Weights *w = file_open(&sound);
    CHECK(read_all(w, &e), "a variance of 0 is one: %s", e.text);
    file_close(&sound, w);
}
/* Bytes changed anywhere: the file is refused, in a sentence, or read. */
static bool read_bytes(const uint8_t *file, size_t bytes, Error *e) {
    Weights *w = weights_memory(file, bytes, file_name, e);
    bool ok = w && read_all(w, e);
    weights_free(w);
    return ok;
}
static void scrambled_files(void) {
    enum { FILES = 3000 };
    File f = {.count = 0};
    put_module(&f, DG_F32, "a.", true);
    put(&f, DG_F32, 3, (int64_t[]){1, H * W, WIDTH}, "", "pos_embed");
    Weights *w = file_open(&f);
    int refused = 0, silent = 0;
    for (uint64_t i = 0, z = 88172645463325252u; i < FILES; i++) {
        Error e = {""};
        uint8_t *copy = dg_alloc(f.size);
        memcpy(copy, f.bytes, f.size);
        for (uint64_t k = 0; k <= i % 3; k++) {
            z ^= z << 13, z ^= z >> 7, z ^= z << 17;
            copy[z % f.size] = (uint8_t)(z >> 50);
        }
        bool read = read_exactly(read_bytes, copy, f.size, &e);
        refused += !read, silent += !read && !is_sentence(e.text, file_name);
        free(copy);
    }
    CHECK(silent == 0 && refused > FILES / 10 && refused < FILES, "of %d files %d are refused, %d of these without a sentence", FILES,
          refused, silent);
    file_close(&f, w);
}
/* ---- what a file takes --------------------------------------------------------------------------------------------------------- */
/* KiB of files' pages that count as this process's memory, those of files in memory (tmpfs) too; -1 where the system does not say. */
static long file_memory(void) {
    FILE *f = fopen("/proc/self/status", "r");
    char line[256];
    long of_disk = -1, of_memory = -1;
    while (f && fgets(line, sizeof line, f)) {
        sscanf(line, "RssFile: %ld kB", &of_disk);
        sscanf(line, "RssShmem: %ld kB", &of_memory);
    }
    if (f) fclose(f);
    return of_disk < 0 || of_memory < 0 ? -1 : of_disk + of_memory;
}
/* A model's values are kept in the device's own layout: its file must not take as much again. */
static void files_are_let_go(void) {
    enum { VALUES = 8 << 20, KIB = VALUES / 1024 * 4 };
    char folder[] = "/tmp/weights-XXXXXX", path[64];
    Error e = {""};
    float *v = dg_alloc(VALUES * sizeof *v);
    for (int i = 0; i < VALUES; i++) v[i] = (float)i;
    DG_CHECK(mkdtemp(folder), "no folder in /tmp");
    snprintf(path, sizeof path, "%s/large", folder);
    StWriter *writer = st_writer_open(path, &e);
    DG_CHECK(writer, "%s", e.text);
    st_writer_tensor(writer, "large", DG_F32, 1, (int64_t[]){VALUES});
    bool written = st_writer_begin(writer, &e) && st_writer_data(writer, v, VALUES * sizeof *v, &e);
    DG_CHECK(written && st_writer_finish(writer, &e), "%s", e.text);
    memset(v, 0, VALUES * sizeof *v);
    Weights *w = weights_open(path, &e);
    long before = file_memory();
    if (before < 0) not_run("memory of files: no RssFile and RssShmem in /proc/self/status");
    else if (CHECK(w, "%s", e.text)) {
        const Shape s = {1, 1, 1, VALUES};
        for (int again = 0; again < 2; again++) { /* what was let go is read from the file again */
            bool ok = weights_read(w, "large", s, (WeightView){.kind = VIEW_VECTOR}, DG_F32, v, &e);
            CHECK(ok && v[1] == 1 && v[VALUES - 1] == VALUES - 1, "large: %s, its last value is %g", e.text, (double)v[VALUES - 1]);
            long more = file_memory() - before;
            CHECK(more < KIB / 4, "a tensor of %d KiB was read and the file takes %ld KiB more", KIB, more);
        }
    }
    weights_free(w);
    remove(path), remove(folder);
    free(v);
}

int main(void) {
    folded_files();
    folded_shapes();
    folded_parts();
    folded_overrides();
    folded_synthetic();
    official_positions();
    computed_positions();
    read_positions();
    harmed_files();
    scrambled_files();
    files_are_let_go();
    return check_done("test_weights");
}
