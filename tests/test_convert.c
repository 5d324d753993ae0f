/* test_convert.c -- official checkpoints to safetensors: the example model's bit for bit, and what PyTorch itself writes. */
#include "base/dtype.h"
#include "base/sha256.h"
#include "weights_tools/weights_tools.h"
#include "check.h"
#include "official_files.h"
#include <math.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[64];
static const char *in_folder(const char *name) { /* the last four results stay valid */
    static char path[4][160];
    static int turn;
    turn = (turn + 1) % 4;
    snprintf(path[turn], sizeof path[turn], "%s/%s", folder, name);
    return path[turn];
}
static SafeTensors *converted(const char *in, const char *name, const ConvertOptions *o, Text *notes) {
    Error e = {""};
    SafeTensors *s = convert(&in, 1, in_folder(name), o, notes, &e) ? st_open(in_folder(name), &e) : NULL;
    CHECK(s, "%s: %s", in, e.text);
    return s;
}
static bool refused(const char *const *in, int count, const ConvertOptions *o, const char *wanted) {
    Error e = {""};
    struct stat s;
    const char *out = in_folder("refused.safetensors");
    bool done = convert(in, count, out, o, NULL, &e);
    return CHECK(!done && strstr(e.text, wanted), "%s: wanted \"%s\", %s", in[0], wanted, done ? "was converted" : e.text) &&
           CHECK(stat(out, &s) != 0, "%s: a failure left %s", in[0], out);
}
static bool ends_with(const char *s, const char *end) {
    size_t n = strlen(s), k = strlen(end);
    return n >= k && !strcmp(s + n - k, end);
}

/* ---- the example model: its official files against the safetensors made from the same networks ------------------------- */
static char example_path[OFFICIAL_FILES][160];
static void same_config(const char *in, const char *found, const char *wanted) {
    Error e = {""};
    Json *f = found ? json_parse(found, strlen(found), &e) : NULL, *w = json_parse(wanted, strlen(wanted), &e);
    CHECK(f && w, "%s: no config; %s", in, e.text);
    for (const Json *j = w ? w->child : NULL; f && j; j = j->next) {
        const Json *k = json_get(f, j->key);
        /* Class names were never in the official files; a head has no schedule of its own. */
        if (!strcmp(j->key, "classes") || (!k && !strcmp(j->key, "time"))) continue;
        Text a = {0}, b = {0};
        json_write(&b, j);
        if (k) json_write(&a, k);
        CHECK(k && !strcmp(a.text, b.text), "%s: config %s is %s, not %s", in, j->key, k ? a.text : "absent", b.text);
        text_free(&a);
        text_free(&b);
    }
    json_free(f);
    json_free(w);
}
static void example(const char *in, const char *given) {
    Error e = {""};
    Text notes = {0};
    ConvertOptions o = {.extractor_num_head_channels = 32}; /* the file does not tell, and official ones are of 64 */
    SafeTensors *s = converted(in, "example.safetensors", &o, &notes), *g = st_open(given, &e);
    if (!CHECK(s && g, "%s", e.text)) return;
    int extra = 0;
    for (int i = 0; i < s->count; i++) extra += !st_find(g, s->tensor[i].name) && !ends_with(s->tensor[i].name, ".resample_filter");
    CHECK(extra == 0, "%s: %d tensors that %s has not", in, extra, given);
    for (int i = 0; i < g->count; i++) {
        const StTensor *a = &g->tensor[i], *b = st_find(s, a->name);
        bool shape = b && b->dims == a->dims && !memcmp(a->shape, b->shape, (size_t)a->dims * sizeof *a->shape);
        CHECK(shape && a->dtype == b->dtype && a->bytes == b->bytes && !memcmp(a->data, b->data, a->bytes), "%s: tensor %s differs", in,
              a->name);
    }
    same_config(in, st_metadata(s, "config"), st_metadata(g, "config"));
    char hex[SHA256_HEX];
    const char *hash = st_metadata(s, "source_sha256"), *slash = strrchr(in, '/');
    CHECK(sha256_file(in, hex, &e) && hash && !strcmp(hash, hex), "%s: source_sha256 is %s", in, hash ? hash : "absent");
    CHECK(st_metadata(s, "source") && !strcmp(st_metadata(s, "source"), slash + 1), "%s: source is wrong", in);
    CHECK(notes.len, "%s: no note of what was chosen", in);
    st_close(s);
    st_close(g);
    text_free(&notes);
    Inspection *x = inspect(in, &o, &e), *y = inspect(in_folder("example.safetensors"), NULL, &e);
    if (CHECK(x && y, "inspect %s: %s", in, e.text)) {
        CHECK(x->count == y->count && x->parameters == y->parameters && x->parameters > 100000, "%s: %d tensors, %llu parameters", in,
              x->count, (unsigned long long)x->parameters);
        CHECK(x->config && y->config && !strcmp(x->config, y->config), "%s: inspect finds another config", in);
        CHECK(strcmp(x->architecture, "unknown") && strcmp(x->format, y->format) && !strcmp(y->format, "safetensors"), "%s: %s, %s", in,
              x->architecture, x->format);
        for (int i = 0; i < x->count && i < y->count; i++)
            CHECK(!strcmp(x->tensor[i].name, y->tensor[i].name), "%s: %s", in, x->tensor[i].name);
    }
    inspection_free(x);
    inspection_free(y);
}
static void half_precision(void) {
    ConvertOptions o = {.dtype = TO_F16};
    Error e = {""};
    SafeTensors *s = converted(example_path[OFFICIAL_HEAD], "half.safetensors", &o, NULL),
                *g = st_open(official[OFFICIAL_HEAD].weights, &e);
    for (int i = 0; s && g && i < g->count; i++) {
        const StTensor *a = &g->tensor[i], *b = st_find(s, a->name);
        bool same = b && b->dtype == DG_F16 && b->count == a->count;
        for (size_t k = 0; same && k < a->count; k++) {
            float f;
            uint16_t h;
            memcpy(&f, (const char *)a->data + 4 * k, sizeof f);
            memcpy(&h, (const char *)b->data + 2 * k, sizeof h);
            same = h == f32_to_f16(f);
        }
        CHECK(same, "--dtype fp16: %s", a->name);
    }
    st_close(s);
    /* and back: exactly the halves */
    ConvertOptions back = {.dtype = TO_F32};
    s = converted(in_folder("half.safetensors"), "back.safetensors", &back, NULL);
    const StTensor *t = s ? st_find(s, "time_embed.0.weight") : NULL, *u = g ? st_find(g, "time_embed.0.weight") : NULL;
    if (CHECK(t && u && t->dtype == DG_F32, "fp16 to fp32")) {
        float x, y;
        memcpy(&x, t->data, sizeof x);
        memcpy(&y, u->data, sizeof y);
        CHECK(x == f16_to_f32(f32_to_f16(y)), "fp16 to fp32: %g, %g", (double)x, (double)y);
        CHECK(st_metadata(s, "config"), "a conversion loses the config");
    }
    st_close(s);
    st_close(g);
}
static void merging(void) {
    const char *both[2] = {example_path[OFFICIAL_SCORE], example_path[OFFICIAL_HEAD]},
               *clash[2] = {example_path[OFFICIAL_EXTRACTOR], example_path[OFFICIAL_HEAD]};
    Error e = {""};
    CHECK(convert(both, 2, in_folder("both.safetensors"), NULL, NULL, &e), "two files: %s", e.text);
    SafeTensors *s = st_open(in_folder("both.safetensors"), &e);
    if (CHECK(s, "%s", e.text)) {
        const char *hash = st_metadata(s, "source_sha256");
        char hex[2][SHA256_HEX], wanted[2 * SHA256_HEX + 2];
        bool hashed = sha256_file(both[0], hex[0], &e) && sha256_file(both[1], hex[1], &e);
        snprintf(wanted, sizeof wanted, "%s %s", hex[0], hex[1]);
        CHECK(hashed && !strcmp(hash, wanted), "two files: source_sha256 %s", hash);
        CHECK(st_find(s, "model.map_layer0.weight") && st_find(s, "time_embed.0.weight"), "two files: a tensor is missing");
    }
    st_close(s);
    refused(clash, 2, NULL, "both have a tensor");
    refused((const char *[]){"/tmp/there/is/no/such/file.pt"}, 1, NULL, "cannot open");
    refused(clash, 1, &(ConvertOptions){.key = "ema"}, "it has no part \"ema\"");
    refused(clash, 1, &(ConvertOptions){.time = "square"}, "--time \"square\"");
    refused((const char *[]){"tests/data/protocol2.pkl"}, 1, NULL, "holds tensors");
}
/* What other programs wrote into a safetensors file survives; of several files, the first one's value. */
static void metadata(void) {
    static const char *const names[] = {"first.safetensors", "second.safetensors"};
    Error e = {""};
    for (int i = 0; i < 2; i++) {
        StWriter *w = st_writer_open(in_folder(names[i]), &e);
        float v = (float)i;
        if (!CHECK(w, "%s", e.text)) return;
        st_writer_metadata(w, "format", i ? "np" : "pt");
        st_writer_metadata(w, i ? "only \"second\"" : "modelspec.title", i ? "a\nb" : "caf\u00e9");
        st_writer_metadata(w, "source_sha256", "of long ago");
        st_writer_tensor(w, i ? "b" : "a", DG_F32, 1, (int64_t[]){1});
        CHECK(st_writer_begin(w, &e) && st_writer_data(w, &v, sizeof v, &e), "%s", e.text);
        CHECK(st_writer_finish(w, &e), "%s", e.text);
    }
    const char *in[] = {in_folder(names[0]), in_folder(names[1])};
    char out[160], hex[2][SHA256_HEX], both[2 * SHA256_HEX];
    snprintf(out, sizeof out, "%s", in_folder("merged.safetensors"));
    SafeTensors *s = convert(in, 2, out, NULL, NULL, &e) ? st_open(out, &e) : NULL;
    static const char *const wanted[][2] = {{"format", "pt"}, {"modelspec.title", "caf\u00e9"}, {"only \"second\"", "a\nb"}};
    for (int i = 0; CHECK(s, "%s", e.text) && i < 3; i++) {
        const char *found = st_metadata(s, wanted[i][0]);
        CHECK(found && !strcmp(found, wanted[i][1]), "metadata %s is %s", wanted[i][0], found ? found : "lost");
    }
    bool hashed = sha256_file(in[0], hex[0], &e) && sha256_file(in[1], hex[1], &e);
    snprintf(both, sizeof both, "%s %s", hex[0], hex[1]);
    CHECK(hashed && s && !strcmp(st_metadata(s, "source_sha256"), both), "source_sha256 is not that of the inputs");
    st_close(s);
    /* null stands for none, as the safetensors library reads it */
    static const char null[] = "{\"__metadata__\":null,\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}";
    char file[8 + sizeof null] = {(char)(sizeof null - 1)};
    memcpy(file + 8, null, sizeof null - 1);
    file[8 + sizeof null - 1] = 7;
    s = st_memory(file, sizeof file, "null", &e);
    CHECK(s && s->count == 1 && !s->metadata && !st_metadata(s, "format"), "metadata null: %s", e.text);
    st_close(s);
}

/* ---- files of an installed PyTorch (tests/torch_files.py) -------------------------------------------------------------------- */
static double rule(const char *name, uint64_t i) {
    uint64_t m = i % 97;
    if (!strcmp(name, "types.bool")) return i % 3 == 0;
    if (!strcmp(name, "types.uint8")) return (double)m;
    if (strstr(name, "types.int")) return (double)m - 20;
    return (double)m * .25 - 3;
}
static void check_values(const char *file, const SafeTensors *s, const char *name, DType dtype, int dims, const int64_t *shape) {
    const StTensor *t = st_find(s, name);
    if (!CHECK(t, "%s: no tensor %s", file, name)) return;
    bool same = t->dtype == dtype && t->dims == dims;
    for (int i = 0; same && i < dims; i++) same = t->shape[i] == shape[i];
    CHECK(same, "%s: %s has another type or shape", file, name);
    double *v = dg_alloc((t->count + 1) * sizeof *v);
    st_to_f64(t, v);
    size_t wrong = 0;
    for (size_t i = 0; i < t->count; i++) wrong += !(v[i] == rule(name, i));
    CHECK(wrong == 0, "%s: %s: %zu of %zu values differ", file, name, wrong, t->count);
    free(v);
}
static void state_dict(const char *file) {
    static const struct {
        const char *name;
        DType dtype;
        int dims;
        int64_t shape[4];
    } wanted[] = {
        {"types.float64", DG_F64, 2, {3, 5}},   {"types.float32", DG_F32, 2, {3, 5}}, {"types.float16", DG_F16, 2, {3, 5}},
        {"types.bfloat16", DG_BF16, 2, {3, 5}}, {"types.int64", DG_I64, 2, {3, 5}},   {"types.int32", DG_I64, 2, {3, 5}},
        {"types.int16", DG_I64, 2, {3, 5}},     {"types.int8", DG_I64, 2, {3, 5}},    {"types.uint8", DG_U8, 2, {3, 5}},
        {"types.bool", DG_U8, 2, {3, 5}},       {"scalar", DG_F32, 0, {0}},           {"empty", DG_F32, 2, {0, 4}},
        {"parameter", DG_F32, 2, {4, 4}},       {"transposed", DG_F32, 2, {6, 7}},    {"channels_last", DG_F32, 4, {2, 3, 4, 5}},
        {"sliced", DG_F32, 2, {3, 3}},          {"shared.first", DG_F32, 2, {5, 8}},  {"shared.second", DG_F32, 3, {2, 3, 4}},
        {"shared.same", DG_F32, 2, {5, 8}},     {"expanded", DG_F32, 2, {1, 1}},
    };
    enum { TENSORS = sizeof wanted / sizeof *wanted };
    Text notes = {0};
    SafeTensors *s = converted(in_folder(file), "state.safetensors", NULL, &notes);
    if (!s) return;
    CHECK(s->count == TENSORS, "%s: %d tensors", file, s->count);
    for (int i = 0; i < TENSORS; i++) check_values(file, s, wanted[i].name, wanted[i].dtype, wanted[i].dims, wanted[i].shape);
    CHECK(notes.text && strstr(notes.text, "1 entries that are not tensors (not a tensor)"), "%s: notes %s", file, notes.text);
    text_free(&notes);
    st_close(s);
    s = converted(in_folder(file), "state.safetensors", &(ConvertOptions){.dtype = TO_F16}, NULL);
    for (int i = 0; s && i < TENSORS; i++) {
        DType d = wanted[i].dtype;
        check_values(file, s, wanted[i].name, d == DG_U8 || d == DG_I64 ? d : DG_F16, wanted[i].dims, wanted[i].shape);
    }
    st_close(s);
}
static void parts(void) {
    Text notes = {0};
    SafeTensors *s = converted(in_folder("nested.pt"), "nested.safetensors", NULL, &notes);
    if (s) check_values("nested.pt", s, "w", DG_F32, 2, (int64_t[]){3, 3}); /* ema before model */
    CHECK(notes.text && strstr(notes.text, "took \"ema\" of its parts model, ema, opt, epoch"), "nested.pt: notes %s", notes.text);
    text_free(&notes);
    st_close(s);
    s = converted(in_folder("nested.pt"), "nested.safetensors", &(ConvertOptions){.key = "model"}, NULL);
    if (s) check_values("nested.pt", s, "w", DG_F32, 2, (int64_t[]){2, 2});
    st_close(s);
    s = converted(in_folder("wrapped.pt"), "wrapped.safetensors", NULL, NULL);
    if (s) check_values("wrapped.pt", s, "w", DG_F32, 2, (int64_t[]){3, 3}); /* without module. */
    st_close(s);
    static const char *const modules[] = {"module.pt", "module_legacy.pt"};
    for (int i = 0; i < 2; i++) {
        s = converted(in_folder(modules[i]), "module.safetensors", NULL, NULL);
        if (!s) continue;
        CHECK(s->count == 3, "%s: %d tensors, the dropped buffer among them?", modules[i], s->count);
        check_values(modules[i], s, "inner.weight", DG_F32, 2, (int64_t[]){2, 3});
        check_values(modules[i], s, "inner.bias", DG_F32, 1, (int64_t[]){2});
        check_values(modules[i], s, "kept", DG_F32, 1, (int64_t[]){4});
        st_close(s);
    }
    static const char *const pickles[] = {"edm3.pkl", "edm4.pkl", "edm5.pkl"};
    for (int i = 0; i < 3; i++) {
        s = converted(in_folder(pickles[i]), "edm.safetensors", NULL, NULL);
        if (!s) continue;
        CHECK(s->count == 4, "%s: %d tensors", pickles[i], s->count);
        check_values(pickles[i], s, "scalar", DG_F32, 0, NULL);
        check_values(pickles[i], s, "model.weight", DG_F16, 2, (int64_t[]){2, 2});
        check_values(pickles[i], s, "model.bias", DG_F32, 1, (int64_t[]){3});
        check_values(pickles[i], s, "model.resample_filter", DG_F32, 4, (int64_t[]){1, 1, 2, 2});
        st_close(s);
    }
    const char *in = in_folder("big.pt");
    refused(&in, 1, &(ConvertOptions){.dtype = TO_F16}, "70000 does not fit fp16");
    in = in_folder("list.pt");
    refused(&in, 1, NULL, "it holds a list");
    s = converted(in_folder("inf.pt"), "inf.safetensors", &(ConvertOptions){.dtype = TO_F16}, NULL);
    const StTensor *t = s ? st_find(s, "inf") : NULL;
    float v[3] = {0};
    if (t && t->count == 3) st_to_f32(t, v);
    CHECK(v[0] == 1 && isinf(v[1]) && isnan(v[2]), "infinities in fp16: %g %g %g", (double)v[0], (double)v[1], (double)v[2]);
    st_close(s);
}
static bool have_torch(void) {
    char command[256];
    snprintf(command, sizeof command, "/usr/bin/python3 tests/torch_files.py %s >/dev/null 2>&1", folder);
    return system(command) == 0;
}
int main(void) {
    snprintf(folder, sizeof folder, "/tmp/dg_test_convert_XXXXXX");
    if (!CHECK(mkdtemp(folder), "no folder")) return check_done("test_convert");
    for (int i = 0; i < OFFICIAL_FILES; i++)
        if (official_write(i, folder, example_path[i], sizeof example_path[i])) example(example_path[i], official[i].weights);
    half_precision();
    merging();
    metadata();
    static const char *const states[] = {"zip.pt", "zip4.pt", "legacy.pt", "legacy4.pt", "deflated.pt"};
    if (have_torch()) {
        for (size_t i = 0; i < sizeof states / sizeof *states; i++) {
#ifndef DG_HAVE_ZLIB
            if (!strcmp(states[i], "deflated.pt")) {
                not_run("deflated.pt: built without zlib");
                continue;
            }
#endif
            state_dict(states[i]);
        }
        parts();
    } else {
        not_run("files written by PyTorch: /usr/bin/python3 has no torch");
    }
    char clean[96];
    snprintf(clean, sizeof clean, "rm -rf %s", folder);
    CHECK(system(clean) == 0, "%s was not removed", folder);
    return check_done("test_convert");
}
