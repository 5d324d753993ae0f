/* test_inception_files.c -- the containers in which the FID's Inception network is published: torch's zip and its older form under
 * pytorch-fid's names, and OpenAI's and NVIDIA's names, without scales. Each is converted to the same file, byte for byte. Shapes
 * are the official ones where the network is told by them, and small elsewhere.                                                */
#include "base/sha256.h"
#include "weights_tools/naming.h"
#include "weights_tools/weights_tools.h"
#include "check.h"
#include "inception_scopes.h"
#include "torch_writer.h"
#include <stdlib.h>
#include <unistd.h>

static char folder[64];
static char *in_folder(const char *name, char path[160]) { return snprintf(path, 160, "%s/%s", folder, name), path; }
static float value(const char *name, size_t i) {
    uint64_t z = 0xcbf29ce484222325u + i;
    for (; *name; name++) z = (z ^ (uint8_t)*name) * 0x100000001b3u;
    return (float)((int)(z >> 40 & 0xffff) - 0x8000) * 0x1p-12f;
}
/* "mixed_9/tower/mixed/conv" -> "layers.mixed_9.tower_mixed_conv", "mixed_6/tower/conv_1" -> "layers.mixed_6.tower.conv_1" */
static void openai_name(const char *scope, const char *leaf, char out[128]) {
    bool joined = !strncmp(scope, "mixed_9/", 8) || !strncmp(scope, "mixed_10/", 9);
    int n = snprintf(out, 128, "layers.%s.%s", scope, leaf), slashes = 0;
    for (int i = 0; i < n; i++)
        if (out[i] == '/') out[i] = joined && slashes++ ? '_' : '.';
}
typedef struct {
    bool openai, counters;
    float scale; /* of one batch norm; 0: there are none */
} Published;
/* The tensor of pytorch-fid's name, under the name that this file gives it; its values are those of its official name. */
static void put(TorchWriter *w, const char *official, const char *name, int dims, const int64_t *shape, float constant) {
    size_t count = 1;
    for (int i = 0; i < dims; i++) count *= (size_t)shape[i];
    float *v = malloc(count * sizeof *v);
    for (size_t i = 0; i < count; i++) v[i] = constant != 0 ? constant : value(official, i);
    torch_text(w, name), torch_tensor(w, DG_F32, dims, shape, v);
    free(v);
}
static void put_unit(TorchWriter *w, int unit, const Published *p) {
    static const char *const leaves[][2] = {{"bn.bias", "beta"}, {"bn.running_mean", "mean"}, {"bn.running_var", "var"}};
    const char *name = inception_unit[unit].name, *scope = inception_unit[unit].scope;
    char official[128], own[128];
    int64_t shape[4] = {3, 2, 1, 1};
    if (!strcmp(name, "Conv2d_1a_3x3")) shape[0] = 32;
    if (!strcmp(name, "Mixed_7c.branch1x1")) shape[1] = 2048;
    if (!strcmp(name, "Mixed_5b.branch5x5_2")) shape[0] = 64;
    snprintf(official, sizeof official, "%s.conv.weight", name);
    openai_name(scope, "weight", own);
    put(w, official, p->openai ? own : official, 4, shape, 0);
    for (int k = 0; k < 3; k++) {
        snprintf(official, sizeof official, "%s.%s", name, leaves[k][0]);
        openai_name(scope, leaves[k][1], own);
        put(w, official, p->openai ? own : official, 1, shape, 0);
    }
    if (p->scale != 0) {
        snprintf(official, sizeof official, "%s.bn.weight", name);
        put(w, official, official, 1, shape, unit == 40 ? p->scale : 1);
    }
    if (p->counters) {
        const int64_t steps = 7;
        snprintf(official, sizeof official, "%s.bn.num_batches_tracked", name);
        torch_text(w, official), torch_tensor(w, DG_I64, 0, NULL, &steps);
    }
}
static void write_file(const char *path, TorchForm form, const Published *p, bool backwards) {
    TorchWriter w = torch_begin(form, 2);
    torch_open_ordered_dict(&w);
    for (int i = 0; i < INCEPTION_UNITS; i++) put_unit(&w, backwards ? INCEPTION_UNITS - 1 - i : i, p);
    put(&w, "fc.weight", p->openai ? "output.weight" : "fc.weight", 2, (const int64_t[]){1008, 2}, 0);
    put(&w, "fc.bias", p->openai ? "output.bias" : "fc.bias", 1, (const int64_t[]){1008}, 0);
    torch_close_dict(&w);
    Made m = torch_finish(&w);
    FILE *f = fopen(path, "wb");
    CHECK(f && fwrite(m.data, 1, m.bytes, f) == m.bytes && fclose(f) == 0, "%s was not written", path);
    made_free(&m);
}
static void hash_of(const char *name, char hex[SHA256_HEX], Text *notes) {
    Error e = {""};
    char in[160], out[160];
    const char *path = in_folder(name, in);
    hex[0] = 0;
    bool ok = convert(&path, 1, in_folder("out.safetensors", out), NULL, notes, &e) && sha256_file(out, hex, &e);
    CHECK(ok, "%s: %s", name, e.text);
}
static void test_containers(void) {
    static const struct {
        const char *name;
        TorchForm form;
        Published p;
        bool backwards;
    } files[] = {
        {"pt_inception-2015-12-05-6726825d.pth", TORCH_ZIP, {.scale = 1}, false},
        {"older.pth", TORCH_LEGACY, {.scale = 1}, false},
        {"inception-2015-12-05.pt", TORCH_ZIP, {.openai = true}, true},
        {"trained.pth", TORCH_ZIP, {.scale = 1, .counters = true}, true},
    };
    enum { FILES = sizeof files / sizeof *files };
    char path[160], hex[FILES][SHA256_HEX], other[SHA256_HEX];
    Text notes = {0};
    for (int i = 0; i < FILES; i++) {
        write_file(in_folder(files[i].name, path), files[i].form, &files[i].p, files[i].backwards);
        hash_of(files[i].name, hex[i], &notes);
        CHECK(!strcmp(hex[i], hex[0]), "%s becomes another file than %s", files[i].name, files[0].name);
        CHECK(!notes.text || !strstr(notes.text, "other than 1"), "%s: notes \"%s\"", files[i].name, notes.text);
    }
    write_file(in_folder("scaled.pth", path), TORCH_ZIP, &(Published){.scale = 1.5f}, false);
    hash_of("scaled.pth", other, &notes);
    CHECK(strcmp(other, hex[0]) && strstr(notes.text, "1 of its batch norms have a scale (bn.weight) other than 1"), "scales: \"%s\"",
          notes.text);
    text_free(&notes);
    Error e = {""};
    SafeTensors *s = st_open(in_folder("out.safetensors", path), &e);
    const StTensor *scale = s ? st_find(s, "Mixed_6c.branch1x1.bn.weight") : NULL;
    CHECK(s && scale && s->count == 94 * 4 + 2 + 1 && !st_find(s, "Mixed_6b.branch1x1.bn.weight"), "%d tensors of a scaled network: %s",
          s ? s->count : 0, e.text);
    CHECK(s && st_metadata(s, "config") && !strcmp(st_metadata(s, "config"), "{\"kind\": \"inception\", \"num_classes\": 1008}"),
          "config %s", s ? st_metadata(s, "config") : "");
    st_close(s);
}
/* Every name of the table, alone; and names that are none. */
static void test_names(void) {
    static const char *const none[] = {"layers.conv_5.weight",  "layers.mixed.conv.gamma",     "layers.mixed_3.tower_1.conv.weight",
                                       "layers.weight",         "layers.mixed_11.conv.weight", "output.gamma",
                                       "layers.mixed_10.weight"};
    for (int i = 0; i < INCEPTION_UNITS; i++) {
        char name[CANONICAL_NAME], wanted[128];
        openai_name(inception_unit[i].scope, "var", name);
        snprintf(wanted, sizeof wanted, "%s.bn.running_var", inception_unit[i].name);
        CHECK(naming_inception(name) && !strcmp(name, wanted), "%s becomes %s, not %s", inception_unit[i].scope, name, wanted);
    }
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        char name[CANONICAL_NAME];
        snprintf(name, sizeof name, "%s", none[i]);
        CHECK(!naming_inception(name), "%s becomes %s", none[i], name);
    }
}
int main(void) {
    snprintf(folder, sizeof folder, "/tmp/dg_inception_XXXXXX");
    if (!CHECK(mkdtemp(folder), "no folder for files")) return check_done("test_inception_files");
    test_names();
    test_containers();
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    CHECK(system(command) == 0, "%s failed", command);
    return check_done("test_inception_files");
}
