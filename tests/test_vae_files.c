/* test_vae_files.c -- the names under which autoencoders are published: diffusers' of today, those before 2023, and CompVis's, alone and
 * inside a latent diffusion model. Each becomes the same weights, and these run.                      */
#include "models/models.h"
#include "run/net.h"
#include "weights_tools/naming.h"
#include "weights_tools/weights_tools.h"
#include "check.h"
#include "official_names.h"
#include "torch_writer.h"
#include <unistd.h>

static const char config[] = "{\"block_out_channels\": [32, 64, 96], \"layers_per_block\": 1, \"latent_channels\": 4}";
typedef enum { TODAY, OLD, COMPVIS, WHOLE, FORMS } Form;
static const char *const form_name[] = {"today's names", "diffusers' old names", "CompVis's names", "a latent diffusion model"};
static float value(const char *name, size_t i) { /* of the official name: no two parameters are alike */
    uint64_t z = 0xcbf29ce484222325u + i;
    for (; *name; name++) z = (z ^ (uint8_t)*name) * 0x100000001b3u;
    return (float)((int)(z >> 40 & 0xffff) - 0x8000) * 0x1p-19f;
}
static void old_name(const char *name, char out[CANONICAL_NAME]) {
    static const char *const pair[][2] = {{".to_q.", ".query."}, {".to_k.", ".key."}, {".to_v.", ".value."}, {".to_out.0.", ".proj_attn."}};
    snprintf(out, CANONICAL_NAME, "%s", name);
    for (size_t i = 0; i < sizeof pair / sizeof *pair; i++) {
        const char *at = strstr(name, pair[i][0]);
        if (at) snprintf(out, CANONICAL_NAME, "%.*s%s%s", (int)(at - name), name, pair[i][1], at + strlen(pair[i][0]));
    }
}
static void put(TorchWriter *w, const char *official, const char *name, int dims, const int64_t *shape) {
    size_t count = 1;
    for (int i = 0; i < dims; i++) count *= (size_t)shape[i];
    float *v = dg_alloc(count * sizeof *v);
    for (size_t i = 0; i < count; i++) v[i] = value(official, i);
    torch_text(w, name), torch_tensor(w, DG_F32, dims, shape, v);
    free(v);
}
/* official: the parameters by today's names; the other list has the same ones in the same order. */
static bool write_form(const char *path, Form form, const NameList *official, const NameList *compvis) {
    TorchWriter w = {.form = TORCH_ZIP, .protocol = 2};
    char name[CANONICAL_NAME];
    bool own = form == TODAY || form == OLD;
    torch_begin_pickle(&w.pickle, 2), torch_open_dict(&w);
    if (!own) torch_text(&w, "state_dict"), torch_open_dict(&w);
    for (int i = 0; i < official->count; i++) {
        const NamedShape *t = own ? &official->t[i] : &compvis->t[i];
        if (form == OLD) old_name(t->name, name);
        else snprintf(name, sizeof name, "%s%s", form == WHOLE ? "first_stage_model." : "", t->name);
        put(&w, official->t[i].name, name, t->dims, t->shape);
    }
    const int64_t one[] = {3};
    if (form == COMPVIS) put(&w, "loss", "loss.logvar", 1, one), put(&w, "average", "model_ema.decoderconv_inbias", 1, one);
    if (form == WHOLE)
        put(&w, "loss", "first_stage_model.loss.logvar", 1, one), put(&w, "unet", "model.diffusion_model.out.0.weight", 1, one);
    if (!own) torch_close_dict(&w);
    torch_close_dict(&w);
    Made m = torch_finish(&w);
    FILE *f = fopen(path, "wb");
    bool ok = CHECK(f && fwrite(m.data, 1, m.bytes, f) == m.bytes && fclose(f) == 0, "%s was not written", path);
    made_free(&m);
    return ok;
}
/* Both halves, from a made-up input. */
static void run_halves(const char *what, const char *path, double out[2][16 * 16 * 8]) {
    static const Shape in[2] = {{1, 2, 2, 4}, {1, 8, 8, 3}};
    const Model *half[2] = {&model_vae, &model_vae_encoder};
    Error e = {""};
    Device *d = device_open("ref64", NULL, &e);
    Weights *w = weights_open(path, &e);
    for (int k = 0; k < 2 && CHECK(w, "%s: %s", what, e.text); k++) {
        double x[8 * 8 * 3];
        Net *n = net_new(SPAN_AUTOENCODER, d->precision, 1, false);
        const Ports *p = net_add(n, half[k], weights_config(w), "", g_input(n->graph, "x", in[k]), &e);
        if (p) net_plan(n, p->out);
        for (size_t i = 0; i < sizeof x / sizeof *x; i++) x[i] = (double)value("x", i) * 16;
        if (CHECK(p && net_bind(n, d, &w, &e), "%s: %s", what, e.text)) {
            exec_set(n->exec, n->x, DG_F64, x);
            exec_run(n->exec, 1);
            exec_get(n->exec, n->out, DG_F64, out[k]);
        }
        net_free(n);
    }
    weights_free(w), device_close(d);
}
static void check_form(const char *what, const char *path, const NameList *official, double out[2][16 * 16 * 8]) {
    Error e = {""};
    SafeTensors *s = st_open(path, &e);
    int wrong = 0;
    const char *example = "";
    if (!CHECK(s && s->count == official->count, "%s: %d tensors, %d wanted: %s", what, s ? s->count : 0, official->count, e.text))
        return st_close(s);
    for (int i = 0; i < official->count; i++) {
        const StTensor *t = st_find(s, official->t[i].name);
        size_t count = 1, different = !t || t->dtype != DG_F32;
        for (int k = 0; k < official->t[i].dims; k++) count *= (size_t)official->t[i].shape[k];
        for (size_t k = 0; !different && k < count; k++)
            different = t->count != count || ((const float *)t->data)[k] != value(official->t[i].name, k);
        if (different) wrong++, example = official->t[i].name;
    }
    CHECK(wrong == 0, "%s: %d tensors (%s) have other values", what, wrong, example);
    st_close(s);
    run_halves(what, path, out);
}
int main(void) {
    char folder[64] = "/tmp/dg_vae_XXXXXX", in[128], made[128];
    if (!CHECK(mkdtemp(folder), "no folder for files")) return check_done("test_vae_files");
    static double out[FORMS][2][16 * 16 * 8];
    NameList official = {0}, compvis = {0};
    Error e = {""};
    Json *j = json_parse(config, sizeof config - 1, &e);
    vae_names(&official, j, false), vae_names(&compvis, j, true);
    CHECK(official.count == compvis.count && official.count > 80, "%d and %d names", official.count, compvis.count);
    for (int form = 0; form < FORMS; form++) {
        const char *path = in;
        snprintf(in, sizeof in, "%s/%d.pt", folder, form), snprintf(made, sizeof made, "%s/%d.safetensors", folder, form);
        if (!write_form(in, (Form)form, &official, &compvis)) break;
        if (CHECK(convert(&path, 1, made, NULL, NULL, &e), "%s: %s", form_name[form], e.text))
            check_form(form_name[form], made, &official, out[form]), unlink(made);
        CHECK(!memcmp(out[form], out[0], sizeof out[0]) && out[form][0][0] != 0 && out[form][1][0] != 0, "%s: another network",
              form_name[form]);
        unlink(in);
    }
    json_free(j), names_free(&official), names_free(&compvis);
    CHECK(rmdir(folder) == 0, "%s is not empty", folder);
    return check_done("test_vae_files");
}
