/* dhariwal_unet.c -- EDM's DhariwalUNet: ADM (training/networks.py of NVlabs/edm). */
#include "models/edm_unet.h"
#include <math.h>

static void build(Graph *g, const void *config, int batch, Ports *p) {
    const NetworkConfig *c = config;
    UNet u = {.c = c, .g = g, .eps = 1e-5f, .skip_scale = 1, .adaptive_scale = true, .channels_per_head = 64};
    int width = c->model_channels * c->channel_mult_emb;
    edm_inputs(c, g, batch, p);
    block_enter(g, "model.");
    Tid emb = g_silu(g, block_linear(g, p->time, "map_layer0", width, true));
    emb = block_linear(g, emb, "map_layer1", width, true);
    if (c->label_dim) emb = g_add(g, block_linear(g, p->label, "map_label", width, false), emb, 1, 1);
    u.emb = g_silu(g, emb);
    SkipStack skips = {.n = 0};
    Tid x = p->x;
    for (int level = 0; level < c->levels; level++) {
        int res = c->img_resolution >> level, out = c->model_channels * c->channel_mult[level];
        if (level == 0) {
            block_enter(g, "model.enc.%dx%d_", res, res);
            x = edm_conv(&u, x, "conv", out, 3);
        } else {
            block_enter(g, "model.enc.%dx%d_down.", res, res);
            x = edm_block(&u, x, shape_of(g, x).c, DOWN, false);
        }
        skips.t[skips.n++] = x;
        for (int i = 0; i < c->num_blocks; i++) {
            block_enter(g, "model.enc.%dx%d_block%d.", res, res, i);
            skips.t[skips.n++] = x = edm_block(&u, x, out, SAME, edm_attends(c, res));
        }
    }
    for (int level = c->levels - 1; level >= 0; level--) {
        int res = c->img_resolution >> level, out = c->model_channels * c->channel_mult[level];
        if (level == c->levels - 1) {
            block_enter(g, "model.dec.%dx%d_in0.", res, res);
            x = edm_block(&u, x, out, SAME, true);
            block_enter(g, "model.dec.%dx%d_in1.", res, res);
            x = edm_block(&u, x, out, SAME, false);
        } else {
            block_enter(g, "model.dec.%dx%d_up.", res, res);
            x = edm_block(&u, x, shape_of(g, x).c, UP, false);
        }
        for (int i = 0; i <= c->num_blocks; i++) {
            block_enter(g, "model.dec.%dx%d_block%d.", res, res, i);
            x = edm_block(&u, g_concat(g, x, skips.t[--skips.n]), out, SAME, edm_attends(c, res));
        }
    }
    block_enter(g, "model.");
    x = edm_conv(&u, g_silu(g, edm_norm(&u, x, "out_norm", 0)), "out_conv", edm_out_channels(c), 3);
    p->out = edm_output(c, g, x);
}
/* One c_noise in fp32, as the official code computes it. */
static void time_features(const void *config, const float *frequencies, double c_noise, float *out) {
    const NetworkConfig *c = config;
    int half = c->model_channels / 2;
    (void)frequencies;
    for (int i = 0; i < half; i++) {
        float arg = (float)c_noise * powf(1.f / 10000.f, (float)i / (float)half);
        out[i] = cosf(arg), out[half + i] = sinf(arg);
    }
}
static bool read_config(void *config, const Json *j, Error *e) {
    static const char *const embeddings[] = {"positional", NULL}, *const coders[] = {"standard", NULL};
    NetworkConfig *c = config;
    int one; /* SongUNet's arguments: what files write for both networks */
    c->channel_mult_noise = 1;
    return edm_config(c, j, 192, 3, e) && argument_int(j, "channel_mult_noise", 1, 1, 1, &one, e) &&
           argument_choice(j, "embedding_type", "positional", embeddings, &one, e) &&
           argument_choice(j, "encoder_type", "standard", coders, &one, e) &&
           argument_choice(j, "decoder_type", "standard", coders, &one, e);
}
static const char *const unused[] = {"model.map_augment.weight", "*resample_filter", "u", NULL};
const Model model_dhariwal_unet = {.kind = "denoiser",
                                   .type = "DhariwalUNet",
                                   .noun = "a score network",
                                   .config_bytes = sizeof(NetworkConfig),
                                   .config = read_config,
                                   .build = build,
                                   .time_features = time_features,
                                   .score = edm_score,
                                   .unused = unused};
