/* test_models.c -- every configuration that a file can hold is built, or refused in one sentence: those of reported faults,
 * and random ones from the whole range of the arguments. Small ones run, with the same result on cpu as in plain loops.
 *   test_models [DEVICE[=PRECISION]]     default: cpu; in fp32                                                             */
#include "base/rng.h"
#include "base/text.h"
#include "models/edm.h"
#include "run/net.h"
#include "check.h"
#include "device_spec.h"
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

/* The configuration in work: a check of our own that stops the program (DG_CHECK) is a failure, and this says whose. */
static Text current;
static void report_abort(int signal) {
    static const char words[] = "FAIL tests/test_models.c: the program stopped at this configuration: ";
    (void)signal;
    if (write(STDOUT_FILENO, words, sizeof words - 1) > 0 && write(STDOUT_FILENO, current.text, current.len) > 0) _exit(1);
    _exit(1);
}
static Json *parsed(const char *text) {
    Error e;
    text_free(&current);
    text_printf(&current, "%s\n", text);
    Json *j = json_parse(text, strlen(text), &e);
    DG_CHECK(j, "%s: %s", text, e.text);
    return j;
}

/* ---- configurations of reported faults ------------------------------------------------------------------------------------- */
#define UNET    "\"precond\": \"EDMPrecond\", \"img_resolution\": 32, \"img_channels\": 3, \"label_dim\": 10, \"num_blocks\": 1, "
#define SONG    UNET "\"model_type\": \"SongUNet\", "
#define ADM     UNET "\"model_type\": \"DhariwalUNet\", "
#define ENCODER "\"image_size\": 32, \"num_res_blocks\": 1, "
#define DIT     "\"input_size\": 8, \"depth\": 1, "
typedef struct {
    const char *kind, *config;
    const char *sentence; /* NULL: it is built */
} Known;
static const Known known[] = {
    {"denoiser", SONG "\"model_channels\": 48, \"channel_mult\": [1, 2], \"attn_resolutions\": [16]",
     "144 channels do not split into 32 groups"},
    {"denoiser", SONG "\"model_channels\": 48, \"channel_mult\": [1, 3, 4], \"attn_resolutions\": [16]", "do not split into 32 groups"},
    {"denoiser", SONG "\"model_channels\": 16, \"channel_mult\": [8], \"attn_resolutions\": [16]",
     "144 channels do not split into 32 groups"},
    {"denoiser", SONG "\"model_channels\": 144, \"channel_mult\": [2], \"attn_resolutions\": [16]",
     "144 channels do not split into 32 groups"},
    {"denoiser", SONG "\"model_channels\": 144, \"channel_mult\": [1, 2, 2], \"attn_resolutions\": [16]", "do not split into 32 groups"},
    {"denoiser", SONG "\"model_channels\": 32, \"channel_mult\": [1, 5, 2], \"attn_resolutions\": [16]", NULL},
    {"denoiser", SONG "\"model_channels\": 12, \"channel_mult\": [1]", "not a multiple of 8"},
    {"denoiser", SONG "\"model_channels\": 32, \"channel_mult\": [1], \"decoder_type\": \"residual\"", "\"decoder_type\" is \"residual\""},
    {"denoiser", SONG "\"model_channels\": 32, \"channel_mult\": [1, 1, 1, 1, 1, 1, 1]", "cannot be halved 6 times"},
    {"denoiser", ADM "\"model_channels\": 32, \"channel_mult\": [1, 2]", NULL},
    {"denoiser", ADM "\"model_channels\": 32, \"channel_mult\": [2, 1]", "32 channels do not split into heads of 64"},
    {"denoiser", ADM "\"model_channels\": 32, \"channel_mult\": [1, 2], \"attn_resolutions\": [32]", "do not split into heads of 64"},
    {"denoiser", ADM "\"model_channels\": 64, \"channel_mult\": [1], \"embedding_type\": \"fourier\"", "\"embedding_type\" is \"fourier\""},
    {"denoiser", UNET "\"model_channels\": 64, \"channel_mult\": [1]", "no \"model_type\""},
    {"denoiser", UNET "\"model_type\": \"U-ViT\", \"model_channels\": 64, \"channel_mult\": [1]", "\"model_type\" is \"U-ViT\""},
    {"extractor", ENCODER "\"model_channels\": 32, \"channel_mult\": [1, 2], \"num_head_channels\": 64", NULL}, /* attention at 64 alone */
    {"extractor", ENCODER "\"model_channels\": 32, \"channel_mult\": [1, 2], \"num_head_channels\": 64, \"attention_resolutions\": [1]",
     "32 channels do not split into heads of 64"},
    {"head", ENCODER "\"model_channels\": 96, \"channel_mult\": [1], \"num_head_channels\": 64",
     "96 channels do not split into heads of 64"},
    {"head", "\"kind\": \"dit\"", "holds a dit, not a discriminator head"},
    {"extractor", ENCODER "\"model_channels\": 40, \"channel_mult\": [1]", "not a multiple of 32"},
    {"extractor", ENCODER "\"model_channels\": 64, \"channel_mult\": [0.5, 1]", NULL},
    {"extractor", ENCODER "\"model_channels\": 32, \"channel_mult\": [0.5, 1]", "16 channels do not split into 32 groups"},
    {"extractor", ENCODER "\"model_channels\": 32, \"channel_mult\": [1, 0.3]", "makes no number of channels between 1 and 8192 of 32"},
    {"extractor", ENCODER "\"model_channels\": 32, \"channel_mult\": [1, 1e300]", "makes no number of channels"},
    {"extractor", ENCODER "\"model_channels\": 32, \"channel_mult\": [1, \"2\"]", "makes no number of channels"},
    {"extractor", ENCODER "\"model_channels\": 32, \"channel_mult\": []", "not a list of 1 to 8 numbers"},
    {"extractor", ENCODER "\"model_channels\": 32, \"channel_mult\": 2", "not a list of 1 to 8 numbers"},
    {"extractor", ENCODER "\"model_channels\": 32", "no \"channel_mult\""},
    {"adm_unet", ENCODER "\"model_channels\": 32, \"channel_mult\": [1, 2], \"num_classes\": null", NULL},
    {"adm_unet", ENCODER "\"model_channels\": 32, \"channel_mult\": [1, 2], \"num_heads\": 3", "64 channels do not split into 3 heads"},
    {"adm_unet", ENCODER "\"model_channels\": 32, \"channel_mult\": [1, 3], \"num_heads\": 3", NULL}, /* attention in the middle alone */
    {"adm_unet", ENCODER "\"model_channels\": 32, \"channel_mult\": [1, 2], \"num_heads\": 0", "\"num_heads\" is 0"},
    {"adm_unet", ENCODER "\"model_channels\": 32, \"channel_mult\": [1, 2], \"num_head_channels\": 0", "\"num_head_channels\" is 0"},
    {"adm_unet", ENCODER "\"model_channels\": 32, \"channel_mult\": [1, 1], \"num_head_channels\": 24", "do not split into heads of 24"},
    {"adm_unet", ENCODER "\"model_channels\": 32, \"channel_mult\": [1, 1, 1, 1, 1, 1, 1]", "cannot be halved 6 times"},
    {"adm_unet", ENCODER "\"model_channels\": 32, \"channel_mult\": [1], \"conv_resample\": \"no\"", "conv_resample"},
    {"adm_unet", ENCODER "\"model_channels\": 32, \"channel_mult\": [1], \"num_classes\": -1", "\"num_classes\" is -1"},
    {"dit", DIT "\"hidden_size\": 48, \"num_heads\": 4", NULL},
    {"dit", DIT "\"hidden_size\": 48, \"num_heads\": 5", "\"hidden_size\" 48 does not split into \"num_heads\" 5"},
    {"dit", DIT "\"hidden_size\": 50, \"num_heads\": 5", "\"hidden_size\" is 50, not a multiple of 4"},
    {"dit", DIT "\"hidden_size\": 48, \"num_heads\": 4, \"patch_size\": 3", "\"input_size\" 8 is not a multiple of \"patch_size\" 3"},
    {"dit", DIT "\"hidden_size\": 48, \"num_heads\": 4, \"patch_size\": 16", "\"input_size\" 8 is not a multiple of \"patch_size\" 16"},
    {"dit", DIT "\"hidden_size\": 48, \"num_heads\": 4, \"mlp_ratio\": 0.01", "\"mlp_ratio\" is 0.01"},
    {"dit", DIT "\"hidden_size\": 48, \"num_heads\": 4, \"mlp_ratio\": 1e300", "\"mlp_ratio\" is 1e+300"},
    {"dit", DIT "\"hidden_size\": 48, \"num_heads\": 4, \"num_classes\": 0", "\"num_classes\" is 0"},
    {"vae", "\"block_out_channels\": [32, 64], \"sample_size\": 16", NULL},
    {"vae", "\"sample_size\": 16", "no \"block_out_channels\""},
    {"vae", "\"block_out_channels\": [32, 48]", "\"block_out_channels\" has 48"},
    {"vae", "\"block_out_channels\": [32, -32]", "\"block_out_channels\" has -32"},
    {"vae", "\"block_out_channels\": [6, 12], \"norm_num_groups\": 3", NULL},
    {"vae", "\"block_out_channels\": [32, 32, 32], \"sample_size\": 18", "\"sample_size\" 18 cannot be halved 2 times"},
    {"vae", "\"block_out_channels\": [32], \"norm_eps\": 0", "\"norm_eps\" is 0"},
    {"inception", "\"num_classes\": 1008", NULL},
    {"inception", "\"image_size\": 107", NULL},
    {"inception", "\"image_size\": 106", "\"image_size\" is 106"},
    {"inception", "\"depth_multiplier\": 0", "\"depth_multiplier\" is 0"},
    {"inception", "\"depth_multiplier\": 1.5", "\"depth_multiplier\" is 1.5"},
    {"inception", "\"num_classes\": -1", "\"num_classes\" is -1"},
};
static void test_known(const Known *k) {
    Error e = {""};
    Text t = {0};
    text_printf(&t, "{%s}", k->config);
    Json *j = parsed(t.text);
    const Model *m = model_find(j, k->kind, &e);
    void *c = m ? model_config(m, j, &e) : NULL;
    if (k->sentence) CHECK(!c && strstr(e.text, k->sentence) && !strchr(e.text, '\n'), "%s: \"%s\"", t.text, c ? "built" : e.text);
    else CHECK(c, "%s: \"%s\"", t.text, e.text);
    free(c);
    json_free(j);
    text_free(&t);
}

/* ---- random ones ----------------------------------------------------------------------------------------------------------- */
typedef struct {
    uint64_t seed;
    uint32_t at;
} Dice;
static int roll(Dice *d, int n) { /* below n */
    return (int)(philox(d->seed, d->at++, 0, 0).v[0] % (uint32_t)n);
}
static int one_of(Dice *d, const int *value, int n) { return value[roll(d, n)]; }
#define ONE_OF(d, ...) one_of(d, (const int[]){__VA_ARGS__}, (int)(sizeof((const int[]){__VA_ARGS__}) / sizeof(int)))
static const char *word(Dice *d, const char *a, const char *b, const char *c) {
    int k = roll(d, 3);
    return k == 0 ? a : k == 1 ? b : c;
}
static void random_list(Dice *d, Text *t, const char *key, int most, const int *value, int values) {
    int n = roll(d, most) + 1;
    text_printf(t, "\"%s\": [", key);
    for (int i = 0; i < n; i++) text_printf(t, i ? ", %d" : "%d", one_of(d, value, values));
    text_printf(t, "]");
}
#define RANDOM_LIST(d, t, key, most, ...)                                                                                                  \
    random_list(d, t, key, most, (const int[]){__VA_ARGS__}, (int)(sizeof((const int[]){__VA_ARGS__}) / sizeof(int)))
static void random_network(Dice *d, Text *t, bool small) {
    bool adm = roll(d, 3) == 0;
    text_printf(t, "{\"kind\": \"denoiser\", \"precond\": \"%s\", \"model_type\": \"%s\", ",
                word(d, "EDMPrecond", "VPPrecond", "iDDPMPrecond"), adm ? "DhariwalUNet" : "SongUNet");
    text_printf(t, "\"img_resolution\": %d, \"img_channels\": %d, \"label_dim\": %d, ",
                small ? ONE_OF(d, 2, 4, 6, 8) : ONE_OF(d, 2, 3, 8, 20, 32, 96, 1024), ONE_OF(d, 1, 3, 4), ONE_OF(d, 0, 1, 7));
    text_printf(t, "\"model_channels\": %d, \"num_blocks\": %d, \"channel_mult_emb\": %d, ",
                small ? ONE_OF(d, 8, 16, 32, 64) : ONE_OF(d, 8, 16, 24, 40, 48, 64, 136, 144, 192, 256), small ? 1 : roll(d, 4) + 1,
                roll(d, 4) + 1);
    if (!adm)
        text_printf(t, "\"channel_mult_noise\": %d, \"embedding_type\": \"%s\", \"encoder_type\": \"%s\", \"decoder_type\": \"%s\", ",
                    roll(d, 2) + 1, word(d, "positional", "fourier", "fourier"), word(d, "standard", "skip", "residual"),
                    word(d, "standard", "skip", "skip"));
    text_printf(t, "\"resample_filter\": %s, ", word(d, "[1, 1]", "[1, 3, 3, 1]", "[1, 3, 3, 1]"));
    if (small) RANDOM_LIST(d, t, "channel_mult", 3, 1, 1, 2);
    else RANDOM_LIST(d, t, "channel_mult", 6, 1, 2, 3, 4, 5);
    text_printf(t, ", ");
    RANDOM_LIST(d, t, "attn_resolutions", 3, 1, 2, 4, 8, 16);
    text_printf(t, "}");
}
static void random_encoder(Dice *d, Text *t, bool small) {
    text_printf(t, "{\"kind\": \"%s\", \"image_size\": %d, \"in_channels\": %d, ", roll(d, 2) ? "extractor" : "head",
                small ? ONE_OF(d, 4, 6, 8) : ONE_OF(d, 1, 7, 8, 32, 64, 256), ONE_OF(d, 1, 3, 4, 64));
    text_printf(t, "\"model_channels\": %d, \"out_channels\": %d, \"num_res_blocks\": 1, \"num_head_channels\": %d, ",
                small ? 32 : ONE_OF(d, 32, 64, 96, 128, 160), ONE_OF(d, 1, 10), ONE_OF(d, 16, 32, 64, 33));
    text_printf(t, "\"condition\": %s, \"num_class\": %d, ", roll(d, 2) ? "true" : "false", ONE_OF(d, 1, 10));
    if (small) RANDOM_LIST(d, t, "channel_mult", 2, 1, 2);
    else RANDOM_LIST(d, t, "channel_mult", 5, 1, 2, 3, 4);
    text_printf(t, ", ");
    RANDOM_LIST(d, t, "attention_resolutions", 3, 1, 2, 4, 8);
    text_printf(t, "}");
}
static const char *flip(Dice *d) { return roll(d, 2) ? "true" : "false"; }
static void random_adm_unet(Dice *d, Text *t, bool small) {
    text_printf(t, "{\"kind\": \"adm_unet\", \"image_size\": %d, \"in_channels\": %d, \"out_channels\": %d, ",
                small ? ONE_OF(d, 4, 8) : ONE_OF(d, 1, 7, 8, 32, 64, 256), ONE_OF(d, 1, 3, 6), ONE_OF(d, 3, 6));
    text_printf(t, "\"model_channels\": %d, \"num_res_blocks\": %d, \"num_classes\": %s, ", small ? 32 : ONE_OF(d, 32, 64, 96, 128, 160),
                roll(d, small ? 2 : 4) + 1, word(d, "null", "1", "10"));
    text_printf(t, "\"num_heads\": %d, \"num_head_channels\": %d, \"use_new_attention_order\": %s, ", ONE_OF(d, 1, 2, 4),
                ONE_OF(d, -1, -1, 16, 32, 33), flip(d));
    text_printf(t, "\"use_scale_shift_norm\": %s, \"resblock_updown\": %s, \"conv_resample\": %s, ", flip(d), flip(d), flip(d));
    if (small) RANDOM_LIST(d, t, "channel_mult", 2, 1, 2);
    else RANDOM_LIST(d, t, "channel_mult", 5, 1, 2, 3, 4);
    text_printf(t, ", ");
    RANDOM_LIST(d, t, "attention_resolutions", 3, 1, 2, 4, 8);
    text_printf(t, "}");
}
static void random_dit(Dice *d, Text *t, bool small) {
    text_printf(t, "{\"kind\": \"dit\", \"input_size\": %d, \"patch_size\": %d, \"in_channels\": %d, ",
                small ? ONE_OF(d, 2, 4, 8) : ONE_OF(d, 1, 2, 8, 30, 64), ONE_OF(d, 1, 2, 2, 4, 8), ONE_OF(d, 1, 3, 4));
    text_printf(t, "\"hidden_size\": %d, \"depth\": %d, \"num_heads\": %d, ",
                small ? ONE_OF(d, 4, 24, 48) : ONE_OF(d, 4, 42, 96, 384, 1152), roll(d, small ? 2 : 20) + 1, ONE_OF(d, 1, 2, 3, 4));
    text_printf(t, "\"mlp_ratio\": %s, \"num_classes\": %d, \"learn_sigma\": %s}", word(d, "4.0", "0.3", "1.25"), ONE_OF(d, 1, 10),
                flip(d));
}
static void random_vae(Dice *d, Text *t, bool small) {
    text_printf(t, "{\"kind\": \"vae\", \"sample_size\": %d, \"in_channels\": %d, \"out_channels\": %d, \"latent_channels\": %d, ",
                small ? ONE_OF(d, 4, 6, 8) : ONE_OF(d, 1, 8, 36, 64, 256), ONE_OF(d, 1, 3), ONE_OF(d, 1, 3), ONE_OF(d, 1, 4));
    text_printf(t, "\"layers_per_block\": %d, \"norm_num_groups\": %d, ", roll(d, small ? 1 : 3) + 1, ONE_OF(d, 8, 8, 32));
    if (small) RANDOM_LIST(d, t, "block_out_channels", 2, 8, 32, 64);
    else RANDOM_LIST(d, t, "block_out_channels", 5, 32, 64, 96, 128, 144);
    text_printf(t, "}");
}
static void random_inception(Dice *d, Text *t, bool small) {
    text_printf(t, "{\"kind\": \"inception\", \"num_classes\": %d, \"image_size\": %d, \"depth_multiplier\": %s}", ONE_OF(d, 0, 1, 20),
                small ? ONE_OF(d, 107, 108, 113, 119) : ONE_OF(d, 75, 107, 299, 300, 1024, 1025),
                small ? word(d, "0.01", "0.07", "0.1") : word(d, "0.3", "1", "2"));
}
enum { FAMILIES = 6 };
typedef struct {
    int built[FAMILIES], refused[FAMILIES];
} Tally;
/* A configuration, and the network that is built of it; NULL: the one that it names. */
static const Model *random_model(uint64_t seed, Text *t, bool small) {
    Dice d = {.seed = seed};
    switch (seed % FAMILIES) {
    case 0: random_encoder(&d, t, small); break;
    case 1: random_adm_unet(&d, t, small); return &model_adm_unet;
    case 2: random_dit(&d, t, small); return &model_dit;
    case 3: random_vae(&d, t, small); return roll(&d, 2) ? &model_vae : &model_vae_encoder;
    case 4: random_inception(&d, t, small); return &model_inception;
    default: random_network(&d, t, small);
    }
    return NULL;
}
/* The network, or the encoder's gradient, as it is used; NULL: refused, with a sentence. */
static Net *build(const Model *m, const Json *j, Precision precision, bool fuse, Error *e) {
    Net *n = net_new(SPAN_NETWORK, precision, 2, fuse);
    const Ports *p = m ? net_add(n, m, j, "", 0, e) : NULL;
    Tid out = p ? p->out : 0;
    if (p && m->gradient) {
        n->graph->t[out].keep = true;
        out = graph_backward(n->graph, out, g_input(n->graph, "seed", shape_of(n->graph, out)), p->x);
    }
    if (p) net_plan(n, out);
    if (p) return n;
    net_free(n);
    return NULL;
}
static double *run(const Model *m, const Json *j, Device *d, bool fuse) {
    Error e = {""};
    Net *n = build(m, j, d->precision, fuse, &e);
    Weights *w = weights_synthetic(3, j);
    double *out = NULL;
    if (CHECK(n && net_bind(n, d, &w, &e), "%s", e.text)) {
        for (Tid t = 1; t < n->graph->nt; t++) {
            if (n->graph->t[t].kind != T_INPUT) continue;
            size_t count = shape_count(shape_of(n->graph, t));
            double *v = dg_alloc(count * sizeof *v);
            for (size_t i = 0; i < count; i++) v[i] = sin((double)(i + 1) * 12.9898);
            exec_set(n->exec, t, DG_F64, v);
            free(v);
        }
        exec_run(n->exec, n->exec->g->batch);
        out = dg_alloc(shape_count(shape_of(n->graph, n->out)) * sizeof *out);
        exec_get(n->exec, n->out, DG_F64, out);
    }
    net_free(n);
    weights_free(w);
    return out;
}
static double difference(const double *a, const double *b, size_t n) {
    double num = 0, den = 0;
    for (size_t i = 0; i < n; i++) num += pow(a[i] - b[i], 2), den += b[i] * b[i];
    return sqrt(num / den);
}
/* A device may be this many times as far from the result in double as plain loops in float are: the golden cases' factor. Plain
 * loops add in double, so one pixel in groups of two channels, whose gradient is what cancellation leaves, is not compared. */
static const double FACTOR = 20, LEAST = 1e-6;
static void test_random(uint64_t seed, bool small, Device *d, Device *ref, Device *ref64, Tally *tally) {
    Error e = {""};
    Text t = {0};
    const Model *m = random_model(seed, &t, small);
    Json *j = parsed(t.text);
    if (!m) m = model_find(j, json_get(j, "kind")->string, &e);
    Net *n = m ? build(m, j, (Precision){DG_F32, false}, true, &e) : NULL;
    if (!n) CHECK(e.text[0] && !strchr(e.text, '\n'), "%s: refused without a sentence", t.text), tally->refused[seed % FAMILIES]++;
    else {
        size_t count = shape_count(shape_of(n->graph, n->out));
        tally->built[seed % FAMILIES]++;
        Net *rounded = build(m, j, (Precision){DG_BF16, false}, true, &e);
        CHECK(rounded, "%s: built in fp32, but not in bf16: %s", t.text, e.text);
        net_free(rounded);
        if (small) {
            double *a = run(m, j, d, true), *b = run(m, j, ref, false), *c = run(m, j, ref64, false);
            double error = a && c ? difference(a, c, count) : NAN, base = b && c ? difference(b, c, count) : NAN;
            CHECK(error <= fmax(FACTOR * base, LEAST), "%s on %s: off by %g, plain loops by %g", t.text, d->be->name, error, base);
            free(a), free(b), free(c);
        }
    }
    net_free(n);
    json_free(j);
    text_free(&t);
}
/* An image that the caller gives is of the shape that the network takes; an autoencoder takes any size. */
static void test_given(const Model *m, const char *config, Shape given, const char *sentence) {
    Error e = {""};
    Json *j = parsed(config);
    Net *n = net_new(SPAN_NETWORK, (Precision){DG_F32, false}, given.n, false);
    const Ports *p = net_add(n, m, j, "", g_input(n->graph, "given", given), &e);
    if (sentence) CHECK(!p && strstr(e.text, sentence), "%s: \"%s\"", config, p ? "built" : e.text);
    else CHECK(p, "%s: %s", config, e.text);
    net_free(n);
    json_free(j);
}
static void test_all_given(void) {
    static const char adm[] = "{\"image_size\": 8, \"model_channels\": 32, \"channel_mult\": [1]}";
    static const char dit[] = "{\"input_size\": 8, \"hidden_size\": 48, \"depth\": 1, \"num_heads\": 4}";
    static const char vae[] = "{\"block_out_channels\": [32, 32], \"sample_size\": 16}";
    test_given(&model_adm_unet, adm, (Shape){2, 8, 8, 3}, NULL);
    test_given(&model_adm_unet, adm, (Shape){2, 8, 8, 4}, "takes 8x8 with 3 channels and is given 8x8 with 4");
    test_given(&model_dit, dit, (Shape){2, 8, 8, 4}, NULL);
    test_given(&model_dit, dit, (Shape){2, 16, 8, 4}, "takes 8x8 with 4 channels and is given 16x8 with 4");
    test_given(&model_vae, vae, (Shape){2, 6, 10, 4}, NULL);
    test_given(&model_vae, vae, (Shape){2, 8, 8, 3}, "takes 4 channels here and is given 3");
    test_given(&model_vae_encoder, vae, (Shape){2, 12, 20, 3}, NULL);
    test_given(&model_vae_encoder, vae, (Shape){2, 16, 16, 4}, "takes 3 channels here and is given 4");
}
/* What DiT's blocks add to is f32 where activations have 16 bits; what they compute is not. */
static void test_stream(void) {
    Error e = {""};
    Json *j = parsed("{\"kind\": \"dit\", \"input_size\": 8, \"hidden_size\": 48, \"depth\": 3, \"num_heads\": 4}");
    for (int fuse = 0; fuse < 2; fuse++) {
        Net *n = build(&model_dit, j, (Precision){DG_BF16, false}, fuse, &e);
        int sums = 0, attentions = 0;
        for (int i = 0; n && i < n->graph->nop; i++) {
            const Op *op = &n->graph->op[i];
            Tid sum = op->kind == OP_GATE ? op->in[2] : op->kind == OP_CONV && op->in[4] ? op->in[3] : 0;
            sums += sum && n->graph->t[sum].dtype == DG_F32 && n->graph->t[op->out].dtype == DG_F32;
            attentions += op->kind == OP_ATTN && n->graph->t[op->in[0]].dtype == DG_BF16;
        }
        CHECK(sums == 6 && attentions == 3, "%s: %d of 6 sums are in f32, %d of 3 attentions in bf16", fuse ? "fused" : "not fused", sums,
              attentions);
        net_free(n);
    }
    json_free(j);
}
/* The embedding of a timestep that DiT takes, beside the published module's values (cosines first). */
static void dit_times(void) {
    enum { WIDTH = 256 };
    static const char config[] = "{\"kind\": \"dit\"}";
    static const int at[] = {0, 1, 64, 127, 128, 129, 192, 255};
    static const struct {
        double timestep, value[8];
    } want[] = {{201, {0.9980829, 0.1199306, -0.4252186, 0.9997670, -0.0618903, -0.9927823, 0.9050907, 0.0215979}},
                {999, {0.9996499, 0.9637853, -0.8444703, 0.9942431, -0.0264608, -0.2666794, -0.5356023, 0.1071472}}};
    Error e = {""};
    Json *j = json_parse(config, sizeof config - 1, &e);
    void *c = model_config(&model_dit, j, &e);
    CHECK(c != NULL, "%s", e.text);
    for (size_t i = 0; c && i < 2; i++) {
        float out[WIDTH];
        model_dit.time_features(c, NULL, want[i].timestep, out);
        for (int k = 0; k < 8; k++)
            CHECK(fabs((double)out[at[k]] - want[i].value[k]) <= 2e-6, "timestep %g, element %d: %.7f, not %.7f", want[i].timestep, at[k],
                  (double)out[at[k]], want[i].value[k]);
    }
    free(c), json_free(j);
}
int main(int argc, char **argv) {
    enum { LARGE = 900, SMALL = 100 };
    Error e;
    Tally large = {{0}}, little = {{0}};
    signal(SIGABRT, report_abort);
    DeviceSpec s = device_spec(argc > 1 ? argv[1] : "cpu");
    Device *d = device_open(s.device, s.precision, &e), *ref = device_open("ref", NULL, &e), *ref64 = device_open("ref64", NULL, &e);
    if (!CHECK(d && ref && ref64, "%s", e.text)) return check_done("test_models");
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) test_known(&known[i]);
    for (uint64_t seed = 0; seed < LARGE; seed++) test_random(seed, false, d, ref, ref64, &large);
    for (uint64_t seed = 0; seed < SMALL; seed++) test_random(seed, true, d, ref, ref64, &little);
    for (int i = 0; i < FAMILIES; i++) {
        printf("family %d: of %d configurations %d were built; of %d small ones %d ran\n", i, large.built[i] + large.refused[i],
               large.built[i], little.built[i] + little.refused[i], little.built[i]);
        CHECK(large.built[i] > LARGE / FAMILIES / 10 && large.refused[i] > LARGE / FAMILIES / 10 && little.built[i] > SMALL / FAMILIES / 4,
              "too few of either kind");
    }
    test_all_given();
    test_stream();
    text_free(&current);
    device_close(d), device_close(ref), device_close(ref64);
    dit_times();
    return check_done("test_models");
}
