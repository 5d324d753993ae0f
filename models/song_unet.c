/* song_unet.c -- EDM's SongUNet: DDPM++ and NCSN++ (training/networks.py of NVlabs/edm). */
#include "models/edm_unet.h"
#include <math.h>

/* NCSN++'s auxiliary input branch at one lower level: the image (or what it has become), brought down a level, joins x. */
static Tid encoder_aux(const UNet *u, Tid x, Tid *aux, int res, SkipStack *skips) {
    const NetworkConfig *c = u->c;
    Graph *g = u->g;
    const float half = sqrtf(.5f);
    block_enter(g, "model.enc.%dx%d_", res, res);
    if (c->encoder_type == CODER_SKIP) {
        *aux = edm_resample(u, *aux, DOWN);
        x = g_add(g, x, edm_conv(u, *aux, "aux_skip", shape_of(g, x).c, 1), 1, 1);
    } else { /* fused resample: the conv is padded for the filter too, and the filter runs without padding */
        int filter_pad = (c->resample_taps - 1) / 2;
        Tid wide = block_conv(g, *aux, "aux_residual", shape_of(g, x).c, 3, filter_pad, (Qkv){QKV_NONE, 0});
        x = *aux = g_add(g, x, edm_resample_padded(u, wide, DOWN, 0), half, half);
    }
    return skips->t[skips->n - 1] = x;
}
static Tid encoder(const UNet *u, Tid x, SkipStack *skips) {
    const NetworkConfig *c = u->c;
    Graph *g = u->g;
    Tid aux = x;
    for (int level = 0; level < c->levels; level++) {
        int res = c->img_resolution >> level, out = c->model_channels * c->channel_mult[level];
        if (level == 0) {
            block_enter(g, "model.enc.%dx%d_", res, res);
            x = edm_conv(u, x, "conv", c->model_channels, 3);
        } else {
            block_enter(g, "model.enc.%dx%d_down.", res, res);
            x = edm_block(u, x, shape_of(g, x).c, DOWN, false);
        }
        skips->t[skips->n++] = x;
        if (level && c->encoder_type != CODER_STANDARD) x = encoder_aux(u, x, &aux, res, skips);
        for (int i = 0; i < c->num_blocks; i++) {
            block_enter(g, "model.enc.%dx%d_block%d.", res, res, i);
            skips->t[skips->n++] = x = edm_block(u, x, out, SAME, edm_attends(c, res));
        }
    }
    return x;
}
static Tid decoder(const UNet *u, Tid x, SkipStack *skips) {
    const NetworkConfig *c = u->c;
    Graph *g = u->g;
    Tid out = 0;
    for (int level = c->levels - 1; level >= 0; level--) {
        int res = c->img_resolution >> level, k = c->model_channels * c->channel_mult[level];
        if (level == c->levels - 1) {
            block_enter(g, "model.dec.%dx%d_in0.", res, res);
            x = edm_block(u, x, k, SAME, true);
            block_enter(g, "model.dec.%dx%d_in1.", res, res);
            x = edm_block(u, x, k, SAME, false);
        } else {
            block_enter(g, "model.dec.%dx%d_up.", res, res);
            x = edm_block(u, x, shape_of(g, x).c, UP, false);
        }
        for (int i = 0; i <= c->num_blocks; i++) {
            block_enter(g, "model.dec.%dx%d_block%d.", res, res, i);
            x = edm_block(u, g_concat(g, x, skips->t[--skips->n]), k, SAME, i == c->num_blocks && edm_attends(c, res));
        }
        if (level && c->decoder_type != CODER_SKIP) continue;
        if (out) out = edm_resample(u, out, UP);
        block_enter(g, "model.dec.%dx%d_", res, res);
        Tid image = edm_conv(u, g_silu(g, edm_norm(u, x, "aux_norm", 0)), "aux_conv", edm_out_channels(c), 3);
        out = out ? g_add(g, out, image, 1, 1) : image;
    }
    return out;
}
static void build(Graph *g, const void *config, int batch, Ports *p) {
    const NetworkConfig *c = config;
    UNet u = {.c = c, .g = g, .eps = 1e-6f, .skip_scale = sqrtf(.5f), .resample_proj = true};
    int width = c->model_channels * c->channel_mult_emb;
    edm_inputs(c, g, batch, p);
    p->label_scale = sqrtf((float)c->label_dim);
    if (c->embedding_type == EMBEDDING_FOURIER) p->frequencies = "model.map_noise.freqs";
    block_enter(g, "model.");
    Tid emb = p->time;
    if (c->label_dim) emb = g_add(g, block_linear(g, p->label, "map_label", shape_of(g, emb).c, true), emb, 1, 1);
    emb = g_silu(g, block_linear(g, emb, "map_layer0", width, true));
    u.emb = g_silu(g, block_linear(g, emb, "map_layer1", width, true));
    SkipStack skips = {.n = 0};
    p->out = edm_output(c, g, decoder(&u, encoder(&u, p->x, &skips), &skips));
}
/* One c_noise in fp32, as the official code computes it; SongUNet puts the sines first. */
static void time_features(const void *config, const float *frequencies, double c_noise, float *out) {
    const NetworkConfig *c = config;
    int half = c->model_channels * c->channel_mult_noise / 2;
    for (int i = 0; i < half; i++) {
        float t = (float)c_noise;
        float arg = frequencies ? t * ((float)(2 * M_PI) * frequencies[i]) : t * powf(1.f / 10000.f, (float)i / (float)(half - 1));
        out[i] = sinf(arg), out[half + i] = cosf(arg);
    }
}
static bool read_config(void *config, const Json *j, Error *e) {
    static const char *const embeddings[] = {"positional", "fourier", NULL}, *const encoders[] = {"standard", "skip", "residual", NULL};
    static const char *const decoders[] = {"standard", "skip", NULL};
    NetworkConfig *c = config;
    int embedding, encoder_type, decoder_type;
    if (!edm_config(c, j, 128, 4, e) || !argument_int(j, "channel_mult_noise", 1, 1, 16, &c->channel_mult_noise, e) ||
        !argument_choice(j, "embedding_type", "positional", embeddings, &embedding, e) ||
        !argument_choice(j, "encoder_type", "standard", encoders, &encoder_type, e) ||
        !argument_choice(j, "decoder_type", "standard", decoders, &decoder_type, e))
        return false;
    c->embedding_type = (EmbeddingType)embedding;
    c->encoder_type = (CoderType)encoder_type, c->decoder_type = (CoderType)decoder_type;
    return true;
}
static const char *const unused[] = {"model.map_augment.weight", "*resample_filter", "model.map_noise.freqs", "u", NULL};
const Model model_song_unet = {.kind = "denoiser",
                               .type = "SongUNet",
                               .noun = "a score network",
                               .config_bytes = sizeof(NetworkConfig),
                               .config = read_config,
                               .build = build,
                               .time_features = time_features,
                               .score = edm_score,
                               .unused = unused};
