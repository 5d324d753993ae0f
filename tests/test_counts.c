/* test_counts.c -- parameters and operations of networks, as the official modules have them: of the golden cases, exactly, and of
 * the public networks, to the printed digits of a billion multiply-adds. A class is looked up, not multiplied.               */
#include "base/text.h"
#include "files/safetensors.h"
#include "models/models.h"
#include "check.h"
#include <stdlib.h>

typedef struct {
    double parameters, positions; /* positions: of the parameters, those that need not be in a file */
    double flops, attention;
} Counts;
static double parameters(const Graph *g, bool positions) {
    double sum = 0;
    for (Tid t = 1; t < g->nt; t++)
        if (g->t[t].kind == T_WEIGHT && (!positions || g->t[t].view.kind == VIEW_POSITIONS)) sum += (double)shape_count(shape_of(g, t));
    return sum;
}
/* Of an attention pool, the official modules compute the last layer for each token, and it is computed for the first alone here. */
static double other_tokens(const Graph *g, const Ports *p) {
    const Op *last = &g->op[g->t[p->out].producer], *first = g->t[last->in[0]].producer >= 0 ? &g->op[g->t[last->in[0]].producer] : NULL;
    if (last->kind != OP_CONV || !first || first->kind != OP_FIRST_TOKEN) return 0;
    return (shape_of(g, first->in[0]).w - 1) * op_flops(g, g->t[p->out].producer);
}
static bool count(const Model *m, const Json *json, const char *what, Counts *out) {
    Error e = {""};
    Graph *g = graph_new((Precision){DG_F32, false});
    Ports p = {0};
    void *config = json ? model_config(m, json, &e) : NULL;
    bool ok = CHECK(config && model_build(m, g, config, "", 1, &p, &e), "%s: %s", what, e.text);
    if (ok) {
        *out = (Counts){parameters(g, false), parameters(g, true), graph_flops(g) + other_tokens(g, &p), 0};
        for (int i = 0; i < g->nop; i++)
            if (g->op[i].kind == OP_ATTN) out->attention += op_flops(g, i);
    }
    free(config);
    graph_free(g);
    return ok;
}

/* ---- golden cases: what their makers counted --------------------------------------------------------------------------------- */
typedef struct {
    const char *path;
    const Model *model;
    const char *config;         /* its arguments in the case */
    const char *flops, *within; /* the name of the number, in this object or in the case itself */
} Counted;
#define GUIDE(name, part, model)                                                                                                           \
    { "guidance/" name, model, part, part, "flops_per_image" }
#define NETWORK(name, model)                                                                                                               \
    { "imagenet/" name, model, "network", "flops_per_image", NULL }
static const Counted counted[] = {
    GUIDE("disc_tiny", "extractor", &model_extractor),
    GUIDE("disc_tiny", "head", &model_head),
    GUIDE("disc_tiny_cond", "extractor", &model_extractor),
    GUIDE("disc_tiny_cond", "head", &model_head),
    GUIDE("disc_cifar10_cond", "extractor", &model_extractor),
    GUIDE("disc_cifar10_cond", "head", &model_head),
    NETWORK("adm_tiny_eps", &model_adm_unet),
    NETWORK("adm_tiny_neworder", &model_adm_unet),
    NETWORK("adm_tiny_plain", &model_adm_unet),
    NETWORK("adm_tiny_updown", &model_adm_unet),
    NETWORK("adm_imagenet64", &model_adm_unet),
    NETWORK("adm_imagenet256", &model_adm_unet),
    NETWORK("dit_tiny", &model_dit),
    NETWORK("dit_tiny_p2", &model_dit),
    NETWORK("dit_xl_2", &model_dit),
};
static const Json *member(const Json *j, const char *within, const char *key) { return json_get(within ? json_get(j, within) : j, key); }
static Json *case_of(const char *name) {
    char path[128];
    Error e;
    snprintf(path, sizeof path, "tests/golden/%s.safetensors", name);
    SafeTensors *s = st_open(path, &e);
    DG_CHECK(s, "%s", e.text);
    const char *text = st_metadata(s, "case");
    Json *j = json_parse(text, strlen(text), &e);
    DG_CHECK(j, "%s: %s", path, e.text);
    st_close(s);
    return j;
}
static void test_counted(const Counted *k) {
    Counts found;
    Json *j = case_of(k->path);
    const Json *flops = member(j, k->within, k->flops), *size = json_get(j, "parameters");
    if (CHECK(flops, "%s: nobody counted the operations of its %s", k->path, k->config) &&
        count(k->model, json_get(j, k->config), k->path, &found)) {
        CHECK(found.flops == flops->number, "%s: the %s has %.0f operations an image, officially %.0f", k->path, k->config, found.flops,
              flops->number);
        if (!k->within)
            CHECK(size && found.parameters - found.positions == size->number, "%s: %.0f parameters, officially %.0f", k->path,
                  found.parameters - found.positions, size ? size->number : 0);
    }
    json_free(j);
}
/* A folded batch norm is one value a channel here, and officially a scale and a shift. */
static void test_inception(void) {
    Error e = {""};
    Counts found;
    Json *j = case_of("imagenet/inception_fid"), *config = json_parse("{\"num_classes\": 1008}", 21, &e);
    const Json *flops = json_get(j, "flops_per_image"), *size = json_get(j, "parameters");
    const double channels = 17216;
    if (CHECK(flops && size && config, "inception_fid: nobody counted its operations %s", e.text) &&
        count(&model_inception, config, "inception_fid", &found)) {
        CHECK(found.flops == flops->number, "inception_fid: %.0f operations an image, officially %.0f", found.flops, flops->number);
        CHECK(found.parameters + channels == size->number, "inception_fid: %.0f parameters, officially %.0f", found.parameters + channels,
              size->number);
    }
    json_free(j), json_free(config);
}
/* The cases count decoders without their first layer of 1x1. */
static void test_decoder(const char *name) {
    Counts found;
    Json *j = case_of(name);
    const Json *config = json_get(j, "config"), *flops = json_get(j, "decoder_flops_per_image");
    if (CHECK(config && flops, "%s: nobody counted its operations", name) && count(&model_vae, config, name, &found)) {
        double latent = json_get(config, "latent_channels")->number, side = json_get(config, "sample_size")->number;
        for (int i = 1; i < json_get(config, "block_out_channels")->count; i++) side /= 2;
        double first = 2 * latent * latent * side * side;
        CHECK(found.flops - first == flops->number, "%s: %.0f operations an image, officially %.0f", name, found.flops - first,
              flops->number);
    }
    json_free(j);
}

/* ---- the public networks ------------------------------------------------------------------------------------------------------- */
typedef struct {
    const char *name;
    const Model *model;
    const char *config;
    double parameters;
    const char *gmac, *attention; /* billions of multiply-adds, of which in attention; NULL: not known */
} Public;
#define DIT(name, patch, size, width, layers, heads, parameters, gmac, attention)                                                          \
    {                                                                                                                                      \
        "DiT-" name "/" #patch, &model_dit,                                                                                                \
            "{\"input_size\": " #size ", \"patch_size\": " #patch ", \"hidden_size\": " #width ", \"depth\": " #layers                     \
            ", \"num_heads\": " #heads "}",                                                                                                \
            parameters, gmac, attention                                                                                                    \
    }
#define UNET(size, width, mult, blocks, factors, more)                                                                                     \
    "{\"image_size\": " #size ", \"model_channels\": " #width ", \"channel_mult\": [" mult "], \"num_res_blocks\": " #blocks               \
    ", \"attention_resolutions\": [" factors "], " more "}"
#define CLASSES    "\"num_classes\": 1000, "
#define HEADS_64   "\"num_head_channels\": 64"
#define FOUR_HEADS "\"num_heads\": 4"
#define CLASSIFIER "\"out_channels\": 1000"
#define VAE(size)  "{\"block_out_channels\": [128, 256, 512, 512], \"sample_size\": " #size "}"
static const Public networks[] = {
    DIT("XL", 2, 32, 1152, 28, 16, 675129632, "118.621", "4.228"),
    DIT("XL", 2, 64, 1152, 28, 16, 676014368, "524.538", "67.646"),
    DIT("XL", 4, 32, 1152, 28, 16, 675074432, "29.044", "0.264"),
    DIT("XL", 8, 32, 1152, 28, 16, 675683072, "7.392", "0.017"),
    DIT("L", 2, 32, 1024, 24, 16, 458102816, "80.698", "3.221"),
    DIT("L", 4, 32, 1024, 24, 16, 458053760, "19.696", "0.201"),
    DIT("L", 8, 32, 1024, 24, 16, 458594816, "5.011", "0.013"),
    DIT("B", 2, 32, 768, 12, 12, 130512416, "23.005", "1.208"),
    DIT("B", 4, 32, 768, 12, 12, 130475648, "5.565", "0.075"),
    DIT("B", 8, 32, 768, 12, 12, 130881536, "1.418", "0.005"),
    DIT("S", 2, 32, 384, 12, 6, 32963360, "6.056", "0.604"),
    DIT("S", 4, 32, 384, 12, 6, 32945024, "1.413", "0.038"),
    DIT("S", 8, 32, 384, 12, 6, 33148160, "0.358", "0.002"),
    {"DiT whose ratio is a quotient, 61 / 28", &model_dit,
     "{\"input_size\": 2, \"hidden_size\": 28, \"depth\": 1, \"num_heads\": 1, \"num_classes\": 1, \"mlp_ratio\": 2.1785714285714284}",
     22745, NULL, NULL},
    {"latent extractor", &model_extractor,
     "{\"image_size\": 32, \"in_channels\": 4, \"channel_mult\": [1, 2, 3], \"attention_resolutions\": [1, 2, 4]}", 19978240, "2.952",
     "0.613"},
    {"latent classifier", &model_classifier,
     "{\"image_size\": 32, \"in_channels\": 4, \"channel_mult\": [1, 2, 3], \"attention_resolutions\": [1, 2, 4], " CLASSIFIER "}",
     20832488, NULL, NULL},
    {"head of 384 channels", &model_head,
     "{\"image_size\": 8, \"in_channels\": 384, \"channel_mult\": [1], \"attention_resolutions\": [1], \"condition\": true}", 3248385,
     "0.1247", "0.004"},
    {"head of 512 channels", &model_head,
     "{\"image_size\": 8, \"in_channels\": 512, \"channel_mult\": [1], \"attention_resolutions\": [1], \"condition\": true}", 3395841,
     "0.1341", "0.004"},
    {"VAE decoder, 256", &model_vae, VAE(256), 49490199, "311.094", "1.074"},
    {"VAE decoder, 512", &model_vae, VAE(512), 49490199, "1257.259", "17.180"},
    {"VAE encoder, 256", &model_vae_encoder, VAE(256), 34163664, "136.361", "1.074"},
    {"ADM 256, classes", &model_adm_unet, UNET(256, 256, "1, 1, 2, 2, 4, 4", 2, "8, 16, 32", CLASSES HEADS_64), 553838086, "1119.833",
     "6.090"},
    {"ADM 256", &model_adm_unet, UNET(256, 256, "1, 1, 2, 2, 4, 4", 2, "8, 16, 32", HEADS_64), 552814086, "1119.833", "6.090"},
    {"ADM 512, classes", &model_adm_unet, UNET(512, 256, "0.5, 1, 1, 2, 2, 4, 4", 2, "16, 32, 64", CLASSES HEADS_64), 558997638, "1982.335",
     "6.090"},
    {"ADM 128, classes", &model_adm_unet, UNET(128, 256, "1, 1, 2, 3, 4", 2, "4, 8, 16", CLASSES FOUR_HEADS), 421529606, "306.928",
     "5.922"},
    {"ADM 64, classes", &model_adm_unet, UNET(64, 192, "1, 2, 3, 4", 3, "2, 4, 8", CLASSES HEADS_64), 295904454, "109.678", "6.216"},
    {"upsampler 64 to 256", &model_adm_unet, UNET(256, 192, "1, 1, 2, 2, 4, 4", 2, "8, 16, 32", CLASSES FOUR_HEADS ", \"in_channels\": 6"),
     311795910, "631.642", "4.568"},
    {"upsampler 128 to 512", &model_adm_unet, UNET(512, 192, "1, 1, 2, 2, 4, 4", 2, "16, 32", CLASSES HEADS_64 ", \"in_channels\": 6"),
     308835270, "2504.785", "8.657"},
    {"classifier 64", &model_classifier, UNET(64, 128, "1, 2, 3, 4", 4, "2, 4, 8", CLASSIFIER), 65438568, "19.079", "2.374"},
    {"classifier 128", &model_classifier, UNET(128, 128, "1, 1, 2, 3, 4", 2, "4, 8, 16", CLASSIFIER), 42568040, "21.040", "1.191"},
    {"classifier 256", &model_classifier, UNET(256, 128, "1, 1, 2, 2, 4, 4", 2, "8, 16, 32", CLASSIFIER), 54096360, "73.349", "1.225"},
    {"classifier 512", &model_classifier, UNET(512, 128, "0.5, 1, 1, 2, 2, 4, 4", 2, "16, 32, 64", CLASSIFIER), 54448360, "112.767",
     "1.225"},
};
static void check_digits(const Public *n, const char *what, const char *wanted, double flops) {
    const char *dot = wanted ? strchr(wanted, '.') : NULL;
    char found[64];
    if (!wanted) return;
    snprintf(found, sizeof found, "%.*f", dot ? (int)strlen(dot + 1) : 0, flops / 2 * 1e-9);
    CHECK(!strcmp(found, wanted), "%s: %s billion multiply-adds%s, officially %s", n->name, found, what, wanted);
}
static void test_public(const Public *n) {
    Counts found;
    Error e;
    Json *j = json_parse(n->config, strlen(n->config), &e);
    DG_CHECK(j, "%s: %s", n->name, e.text);
    if (count(n->model, j, n->name, &found)) {
        CHECK(found.parameters == n->parameters, "%s: %.0f parameters, officially %.0f", n->name, found.parameters, n->parameters);
        check_digits(n, "", n->gmac, found.flops);
        check_digits(n, " of attention", n->attention, found.attention);
    }
    json_free(j);
}
int main(void) {
    for (size_t i = 0; i < sizeof counted / sizeof *counted; i++) test_counted(&counted[i]);
    test_decoder("imagenet/vae_tiny"), test_decoder("imagenet/vae_sd");
    test_inception();
    for (size_t i = 0; i < sizeof networks / sizeof *networks; i++) test_public(&networks[i]);
    return check_done("test_counts");
}
