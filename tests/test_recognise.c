/* test_recognise.c -- from the names and shapes of a network's tensors back to its configuration: every golden case's
 * networks, and the published ones.                                                                                    */
#include "files/safetensors.h"
#include "models/adm_encoder.h"
#include "models/edm.h"
#include "weights_tools/naming.h"
#include "check.h"
#include "official_names.h"
#include <dirent.h>

/* ---- comparing ------------------------------------------------------------------------------------------------------------ */
static bool in_list(const Json *list, double v) {
    for (const Json *j = list->child; j; j = j->next)
        if (j->number == v) return true;
    return false;
}
/* Lists of resolutions are sets; every other value must be the same. */
static bool same_value(const char *key, const Json *a, const Json *b) {
    if (strstr(key, "attn_res") || strstr(key, "attention_res")) {
        bool same = a->kind == JSON_ARRAY && b->kind == JSON_ARRAY && a->count == b->count;
        for (const Json *j = a->child; same && j; j = j->next) same = in_list(b, j->number);
        return same;
    }
    if (a->kind == JSON_NUMBER && b->kind == JSON_NUMBER) return a->number == b->number;
    Text s = {0}, t = {0};
    json_write(&s, a);
    json_write(&t, b);
    bool same = !strcmp(s.text, t.text);
    text_free(&s);
    text_free(&t);
    return same;
}
static void check_config(const char *what, NameList *l, const Json *wanted, const char *kind, const ConvertOptions *o, const char *note) {
    Error e = {""};
    Recognition r;
    names_sort(l);
    bool ok = recognise(&(Clues){.shape = l->t, .count = l->count, .options = o}, &r, &e);
    Json *found = ok && r.config.len ? json_parse(r.config.text, r.config.len, &e) : NULL;
    if (CHECK(found && r.architecture.len, "%s: not recognised: %s", what, e.text)) {
        const Json *k = json_get(found, "kind");
        CHECK(k && !strcmp(k->string, kind), "%s: kind is %s, not %s", what, k ? k->string : "absent", kind);
        for (const Json *j = wanted->child; j; j = j->next) {
            const Json *f = json_get(found, j->key);
            CHECK(f && same_value(j->key, f, j), "%s: \"%s\" differs: %s", what, j->key, r.config.text);
        }
        const char *notes = r.notes.text ? r.notes.text : "", *said = note ? note : "";
        CHECK(strstr(notes, said) && (note || !r.notes.len), "%s: notes \"%s\", wanted \"%s\"", what, notes, said);
    }
    json_free(found);
    recognition_free(&r);
}
static void try_truncations(const char *what, const NameList *l) { /* no list of names may do worse than not being recognised */
    for (int leave = 0; leave < l->count; leave += 1 + l->count / 40) {
        NamedShape *some = dg_alloc((size_t)l->count * sizeof *some);
        int n = 0;
        for (int i = 0; i < l->count; i++)
            if (i != leave) some[n++] = l->t[i];
        Error e = {""};
        Recognition r;
        bool ok = recognise(&(Clues){.shape = some, .count = n}, &r, &e);
        CHECK(ok || e.text[0], "%s without %s: no sentence", what, l->t[leave].name);
        if (ok) recognition_free(&r);
        free(some);
    }
}

/* ---- networks that models/ builds: the golden cases' --------------------------------------------------------------------------- */
static void names_of_graph(const Graph *g, const char *prefix, NameList *l) {
    for (Tid i = 1; i < g->nt; i++) {
        const Tensor *t = &g->t[i];
        if (t->kind != T_WEIGHT || strncmp(t->name, prefix, strlen(prefix))) continue;
        int64_t official[4];
        int shape[4], dims = view_official_shape(t->shape, t->view, official);
        for (int k = 0; k < dims; k++) shape[k] = (int)official[k];
        name_add(l, dims, shape, "%s", t->name + strlen(prefix));
    }
}
static void network(const char *what, const Json *config) {
    Error e = {""};
    NetworkConfig c;
    Ports n = {0};
    Graph *g = graph_new((Precision){DG_F32, false});
    NameList l = {0};
    const Model *m = network_config(&c, config, &e);
    if (CHECK(m && model_build(m, g, &c, "", 1, &n, &e), "%s: %s", what, e.text)) {
        names_of_graph(g, "", &l);
        int augment = adm_int(config, "augment_dim"), noise = shape_of(g, n.time).c, half = c.img_resolution / 2, k = c.resample_taps;
        if (augment) NAME_ADD(&l, "model.map_augment.weight", noise, augment);
        if (c.embedding_type == EMBEDDING_FOURIER) NAME_ADD(&l, "model.map_noise.freqs", noise / 2);
        if (m == &model_song_unet) name_add(&l, 4, (int[]){1, 1, k, k}, "model.enc.%dx%d_down.conv0.resample_filter", half, half);
        bool told = c.precond == PRECOND_IDDPM; /* twice the channels */
        static const char *const preconds[] = {"EDMPrecond", "VPPrecond", "VEPrecond", "iDDPMPrecond"};
        ConvertOptions o = {.precond = c.precond == PRECOND_EDM || told ? NULL : preconds[c.precond]};
        check_config(what, &l, config, "denoiser", &o, c.precond == PRECOND_EDM ? "taken as EDMPrecond" : NULL);
        try_truncations(what, &l);
    }
    names_free(&l);
    graph_free(g);
}
static void encoder(const char *what, const Json *config, const char *kind, const char *time) {
    Error e = {""};
    Ports n = {0};
    Graph *g = graph_new((Precision){DG_F32, false});
    NameList l = {0};
    EncoderConfig *c = model_config(&model_classifier, config, &e); /* an extractor with its own pool, or a head */
    if (CHECK(c, "%s: %s", what, e.text)) {
        if (CHECK(model_build(&model_classifier, g, c, "", 1, &n, &e), "%s: %s", what, e.text)) {
            bool official = c->num_head_channels == 64, head = !strcmp(kind, "head");
            ConvertOptions o = {.num_head_channels = official ? 0 : c->num_head_channels};
            names_of_graph(g, "", &l);
            Text t = {0};
            json_write(&t, config);
            if (!head) t.len--, text_printf(&t, ", \"time\": \"%s\"}", time);
            Json *wanted = json_parse(t.text, t.len, &e);
            check_config(what, &l, wanted, kind, &o, official ? "attention heads of 64" : head ? NULL : "time input");
            o.num_head_channels = 0; /* 32, where 64 is impossible, is found without being told */
            if (adm_channels(c, c->levels - 1) % 64) check_config(what, &l, wanted, kind, &o, "attention heads of 32");
            try_truncations(what, &l);
            json_free(wanted);
            text_free(&t);
        }
    }
    free(c);
    names_free(&l);
    graph_free(g);
}
static void golden(const char *folder) {
    DIR *d = opendir(folder);
    int cases = 0;
    for (struct dirent *f; d && (f = readdir(d));) {
        char path[512];
        Error e = {""};
        snprintf(path, sizeof path, "%s/%s", folder, f->d_name);
        size_t n = strlen(path);
        if (n < 12 || strcmp(path + n - 12, ".safetensors")) continue;
        SafeTensors *s = st_open(path, &e);
        const char *text = s ? st_metadata(s, "case") : NULL;
        Json *j = text ? json_parse(text, strlen(text), &e) : NULL;
        if (CHECK(j, "%s: no case: %s", path, e.text)) {
            const Json *time = json_get(j, "time");
            if (json_get(j, "network")) network(path, json_get(j, "network"));
            if (json_get(j, "extractor")) encoder(path, json_get(j, "extractor"), "extractor", time ? time->string : "linear");
            if (json_get(j, "head")) encoder(path, json_get(j, "head"), "head", NULL);
            cases++;
        }
        json_free(j);
        st_close(s);
    }
    if (d) closedir(d);
    CHECK(cases > 10, "%s: %d cases", folder, cases);
}

/* ---- the rest: tests/data/configs.json -------------------------------------------------------------------------------------------- */
static const struct {
    const char *name;
    double parameters; /* of the official network; 0: not known */
} known[] = {
    {"adm_imagenet256", 553838086},
    {"adm_imagenet64", 295904454},
    {"adm_tiny_plain", 703366},
    {"dit_xl_2", 675129632},
    {"128x128_diffusion", 421529606},
    {"512x512_diffusion", 558997638},
    {"64_256_upsampler", 311795910},
    {"128_512_upsampler", 308835270},
    {"256x256_diffusion_uncond", 552814086},
    {"64x64_classifier", 65438568},
    {"128x128_classifier", 42568040},
    {"256x256_classifier", 54096360},
    {"512x512_classifier", 54448360},
    {"vae_sd", 83653863},
};
static void parameters(const char *name, const NameList *l) {
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(known[i].name, name))
            CHECK(names_parameters(l) == known[i].parameters, "%s: the test's table has %.0f parameters", name, names_parameters(l));
}
static void unet(const char *name, const Json *config, NameList *l) {
    bool tiny = adm_int(config, "model_channels") == 32; /* not one of the published ones */
    int heads = adm_int(config, "num_heads"), width = adm_int(config, "num_head_channels");
    ConvertOptions o = {.image_size = adm_int(config, "image_size"),
                        .num_head_channels = width > 0 ? width : 0,
                        .num_heads = width > 0 ? 0 : heads,
                        .attention_order = adm_int(config, "use_new_attention_order") ? "new" : "legacy"};
    adm_names(l, config, true);
    check_config(name, l, config, "adm_unet", tiny ? &o : NULL, tiny ? NULL : "taken as OpenAI's");
}
static void vae(const char *name, const Json *config, NameList *l) {
    vae_names(l, config, false);
    check_config(name, l, config, "vae", NULL, "scaling factor");
    /* CompVis's names, inside a whole latent diffusion model, become the same list. */
    NameList other = {0};
    char prefixed[320];
    vae_names(&other, config, true);
    const char **names = dg_alloc((size_t)(other.count + 2) * sizeof *names);
    for (int i = 0; i < other.count; i++) {
        snprintf(prefixed, sizeof prefixed, "first_stage_model.%s", other.t[i].name);
        names[i] = dg_strdup(prefixed);
    }
    names[other.count] = dg_strdup("first_stage_model.loss.logvar"),
    names[other.count + 1] = dg_strdup("model.diffusion_model.out.0.weight");
    Naming n = naming_of(names, other.count + 2);
    char text[CANONICAL_NAME];
    for (int i = 0; i < other.count; i++) {
        const char *official = naming_apply(&n, names[i], text);
        NamedShape key = {.name = official}, *found = official ? bsearch(&key, l->t, (size_t)l->count, sizeof key, name_order) : NULL;
        CHECK(found && found->shape[0] == other.t[i].shape[0] && (found->dims < 2 || found->shape[1] == other.t[i].shape[1]),
              "%s: %s became %s", name, names[i], official ? official : "nothing");
    }
    CHECK(other.count == l->count, "%s: %d and %d names", name, other.count, l->count);
    CHECK(!naming_apply(&n, names[other.count], text) && !naming_apply(&n, names[other.count + 1], text),
          "%s: what is not the autoencoder's is kept", name);
    for (int i = 0; i < other.count + 2; i++) free((void *)(uintptr_t)names[i]);
    free(names);
    names_free(&other);
    /* diffusers' names before 2023 */
    const char *old = "decoder.mid_block.attentions.0.proj_attn.weight";
    n = naming_of(&old, 1);
    const char *official = naming_apply(&n, old, text);
    CHECK(official && !strcmp(official, "decoder.mid_block.attentions.0.to_out.0.weight"), "%s became %s", old,
          official ? official : "nothing");
}
static void inception(const char *name, const Json *entry, NameList *l) {
    const Json *dict = json_get(entry, "state_dict");
    for (const Json *j = dict ? dict->child : NULL; j; j = j->next) {
        int shape[4] = {0}, dims = 0;
        for (const Json *d = j->child; d && dims < 4; d = d->next) shape[dims++] = (int)d->number;
        name_add(l, dims, shape, "%s", j->key);
    }
    check_config(name, l, json_get(entry, "network"), "inception", NULL, NULL);
}
static void published(void) {
    Error e = {""};
    Json *all = json_parse_file("tests/data/configs.json", &e);
    if (!CHECK(all, "%s", e.text)) return;
    for (const Json *j = all->child; j; j = j->next) {
        const char *kind = json_get(j, "kind")->string;
        const Json *config = json_get(j, "network");
        NameList l = {0};
        if (!strcmp(kind, "adm_unet")) unet(j->key, config, &l);
        else if (!strcmp(kind, "dit")) {
            bool xl = adm_int(config, "hidden_size") == 1152;
            dit_names(&l, config);
            check_config(j->key, &l, config, "dit", xl ? NULL : &(ConvertOptions){.num_heads = adm_int(config, "num_heads")},
                         xl ? "16 attention heads, as in" : NULL);
        } else if (!strcmp(kind, "vae")) vae(j->key, config, &l);
        else if (!strcmp(kind, "encoder")) {
            adm_names(&l, config, false);
            bool tiny = adm_int(config, "num_head_channels") == 32;
            check_config(j->key, &l, config, "extractor", &(ConvertOptions){.num_head_channels = tiny ? 32 : 0}, "time input");
        } else inception(j->key, j, &l);
        parameters(j->key, &l);
        try_truncations(j->key, &l);
        names_free(&l);
    }
    json_free(all);
}
/* ---- encoders of create_classifier: heads, pools, norms ---------------------------------------------------------------------------- */
static Json *encoder_of(const char *changes) {
    Text t = {0};
    Error e;
    text_printf(&t,
                "{\"image_size\": 32, \"in_channels\": 3, \"model_channels\": 32, \"out_channels\": 10, \"num_res_blocks\": 1, "
                "\"resblock_updown\": true, %s}",
                changes);
    Json *j = json_parse(t.text, t.len, &e);
    CHECK(j, "%s: %s", t.text, e.text);
    text_free(&t);
    return j;
}
static void drop_names(NameList *l, const char *beginning) {
    int kept = 0;
    for (int i = 0; i < l->count; i++) {
        if (strncmp(l->t[i].name, beginning, strlen(beginning))) l->t[kept++] = l->t[i];
        else free((void *)(uintptr_t)l->t[i].name), free((void *)(uintptr_t)l->t[i].shape);
    }
    l->count = kept;
}
static void classifiers(void) {
    static const struct {
        const char *what, *changes;
        ConvertOptions o;
        const char *wanted, *note;
    } table[] = {
        /* of three levels 32, 64 and 128 wide, attention at the last two: heads of 64, as create_classifier always has */
        {"heads of 64",
         "\"channel_mult\": [1, 2, 4], \"attention_resolutions\": [2, 4], \"use_scale_shift_norm\": true",
         {0},
         "{\"num_head_channels\": 64, \"image_size\": 32, \"pool\": \"attention\", \"use_scale_shift_norm\": true}",
         "attention heads of 64"},
        {"given heads",
         "\"channel_mult\": [1, 2, 4], \"attention_resolutions\": [2, 4], \"use_scale_shift_norm\": true",
         {.num_head_channels = 16},
         "{\"num_head_channels\": 16}",
         NULL},
        {"heads given for the extractor",
         "\"channel_mult\": [1, 2, 4], \"attention_resolutions\": [2, 4], \"use_scale_shift_norm\": true",
         {.num_head_channels = 16, .extractor_num_head_channels = 32},
         "{\"num_head_channels\": 32}",
         NULL},
        {"heads given for the head alone",
         "\"channel_mult\": [1, 2, 4], \"attention_resolutions\": [2, 4], \"use_scale_shift_norm\": true",
         {.num_head_channels = 16, .discriminator_num_head_channels = 32},
         "{\"num_head_channels\": 16}",
         NULL},
        {"attention 96 wide",
         "\"channel_mult\": [1, 2, 3], \"attention_resolutions\": [4], \"use_scale_shift_norm\": true",
         {0},
         "{\"num_head_channels\": 32}",
         "attention heads of 32"},
        {"no scale-shift",
         "\"channel_mult\": [1, 2, 4], \"attention_resolutions\": [2, 4], \"use_scale_shift_norm\": false",
         {0},
         "{\"use_scale_shift_norm\": false, \"num_head_channels\": 64}",
         "attention heads of 64"},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        NameList l = {0};
        Error e = {""};
        Json *config = encoder_of(table[i].changes), *wanted = json_parse(table[i].wanted, strlen(table[i].wanted), &e);
        ConvertOptions o = table[i].o;
        o.time = "linear";
        adm_names(&l, config, false);
        check_config(table[i].what, &l, wanted, "extractor", &o, table[i].note);
        names_free(&l);
        json_free(config);
        json_free(wanted);
    }
    /* other pools than attention: an extractor's is not used; the image's size is what the attention's resolutions say */
    for (int pool = 0; pool < 3; pool++) {
        NameList l = {0};
        Error e = {""};
        static const char wanted_text[] = "{\"image_size\": 64, \"out_channels\": 10, \"num_head_channels\": 64}";
        Json *config = encoder_of("\"channel_mult\": [1, 2, 4], \"attention_resolutions\": [2, 4], \"use_scale_shift_norm\": true"),
             *wanted = json_parse(wanted_text, strlen(wanted_text), &e);
        adm_names(&l, config, false);
        drop_names(&l, pool == 0 ? "out.2" : "out.");
        if (pool == 0) layer(&l, 10, 128, 1, "out.3"); /* adaptive: norm, SiLU, mean, convolution */
        else {
            layer(&l, 2048, 128 * 3, 0, "out.0"); /* spatial: two linear layers; v2 has a norm between them */
            layer(&l, 10, 2048, 0, pool == 1 ? "out.2" : "out.3");
            if (pool == 2) layer(&l, 2048, 0, 0, "out.1");
        }
        check_config("another pool", &l, wanted, "extractor", &(ConvertOptions){.time = "linear"}, "its pool is no attention pool");
        names_sort(&l);
        Recognition r;
        bool ok = recognise(&(Clues){.shape = l.t, .count = l.count, .options = &(ConvertOptions){.image_size = 32}}, &r, &e);
        CHECK(ok && strstr(r.config.text, "\"image_size\": 32") && !strstr(r.config.text, "pool"), "--image_size: %s%s", r.config.text,
              e.text);
        recognition_free(&r);
        names_free(&l);
        json_free(config);
        json_free(wanted);
    }
}
int main(void) {
    classifiers();
    golden("tests/golden/nets");
    golden("tests/golden/guidance");
    published();
    NameList l = {0};
    Error e = {""};
    Recognition r;
    NAME_ADD(&l, "fc.weight", 10, 20);
    CHECK(recognise(&(Clues){.shape = l.t, .count = 1}, &r, &e) && !r.architecture.len && !r.config.len && r.notes.len,
          "an unknown network: %s", e.text);
    recognition_free(&r);
    CHECK(!recognise(&(Clues){.shape = l.t, .count = 1, .options = &(ConvertOptions){.precond = "X"}}, &r, &e) &&
              strstr(e.text, "--precond"),
          "%s", e.text);
    names_free(&l);
    return check_done("test_recognise");
}
