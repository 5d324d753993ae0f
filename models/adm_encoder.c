/* adm_encoder.c -- guided-diffusion's EncoderUNetModel (unet.py): the noisy-image classifier whose middle block gives the
 * features, and, on those, the discriminator's head (8x8, one level, attention pool, one logit).                        */
#include "models/adm_encoder.h"
#include <string.h>

static Tid attention_pool(const Adm *n, Tid x) {
    Graph *g = n->g;
    Shape s = shape_of(g, x);
    int heads = adm_heads(n, s.c), tokens = s.h * s.w + 1;
    block_enter(g, "out.");
    Tid h = adm_norm_silu(n, x, "0");
    block_enter(g, "out.2.");
    h = g_pool_tokens(g, h, g_weight(g, "positional_embedding", (Shape){1, 1, tokens, s.c}, (WeightView){.kind = VIEW_TOKENS}));
    h = block_conv(g, h, "qkv_proj", 3 * s.c, 1, 0, (Qkv){QKV_3_HEAD_D, heads});
    return adm_conv(n, g_first_token(g, g_attn(g, h, heads)), "c_proj", n->c->out_channels, 1);
}
/* With the pool, out is out_channels values an image; without it, out is the features. */
static void encoder(Graph *g, const EncoderConfig *c, int batch, bool with_pool, Ports *p) {
    Adm n;
    if (!adm_begin(&n, g, c, batch, p)) return;
    p->out = p->features = adm_torso(&n, p->x, NULL);
    if (with_pool) p->out = attention_pool(&n, p->features);
}
static void build_extractor(Graph *g, const void *config, int batch, Ports *p) { encoder(g, config, batch, false, p); }
static void build_whole(Graph *g, const void *config, int batch, Ports *p) { encoder(g, config, batch, true, p); }

/* Of a time between 0 and 1: 999 times it, in f64, then in fp32. */
static void time_features(const void *config, const float *frequencies, double time, float *out) {
    (void)frequencies;
    adm_time_features(config, (float)(999 * time), out);
}
static bool read_config(void *into, const Json *config, Error *e) {
    EncoderConfig *c = into;
    const char *pool, *time;
    if (!json_get_string(config, "pool", "attention", &pool, e) || !json_get_string(config, "time", "linear", &time, e)) return false;
    if (strcmp(pool, "attention")) return dg_error(e, "\"pool\" is \"%s\"; only \"attention\" is known", pool);
    if (strcmp(time, "linear") && strcmp(time, "cosine")) return dg_error(e, "\"time\" is \"%s\", neither linear nor cosine", time);
    c->cosine_time = !strcmp(time, "cosine");
    if (!adm_config(c, config, 1, e) || !argument_int(config, "num_head_channels", 64, 1, MAX_CHANNELS, &c->num_head_channels, e) ||
        !argument_int(config, "num_class", 1000, 1, MAX_LABELS, &c->num_class, e) ||
        !json_get_bool(config, "condition", false, &c->condition, e))
        return false;
    if (!c->resblock_updown && c->levels > 1)
        return dg_error(e, "its levels are joined by strided convolutions (\"resblock_updown\" is false), which have no gradient here, as "
                           "guidance needs it: only classifiers trained with resblock_updown can guide");
    return true;
}
#define ENCODER .gradient = true, .config_bytes = sizeof(EncoderConfig), .config = read_config, .time_features = time_features
static const char *const own_pool[] = {"out.*", NULL}, *const none[] = {NULL};
const Model model_extractor = {.kind = "extractor", .noun = "an extractor", .build = build_extractor, .unused = own_pool, ENCODER};
const Model model_head = {.kind = "head", .noun = "a discriminator head", .build = build_whole, .unused = none, ENCODER};
const Model model_classifier = {.kind = "extractor", .noun = "a classifier", .build = build_whole, .unused = none, ENCODER};
