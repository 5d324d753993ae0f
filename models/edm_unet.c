/* edm_unet.c -- EDM's U-Nets (training/networks.py of NVlabs/edm): SongUNet (DDPM++, NCSN++) and DhariwalUNet (ADM),
 * which share one block. Names and order follow the official constructors, so a checkpoint loads without a name map. */
#include "models/blocks.h"
#include <math.h>

typedef struct { /* what the two networks set differently in the shared block */
    const NetworkConfig *c;
    Graph *g;
    Tid emb;
    int emb_channels;
    float eps, skip_scale;
    bool resample_proj, adaptive_scale;
    int channels_per_head; /* 0: one head */
} UNet;
static const Qkv NO_QKV = {QKV_NONE, 0};
enum { DOWN = -1, SAME = 0, UP = 1, FUSED_PAD = 2 };

static Tid norm(const UNet *u, Tid x, const char *name, Tid scale_shift) {
    int c = shape_of(u->g, x).c, groups = c / 4 < 32 ? c / 4 : 32;
    return block_norm(u->g, x, name, scale_shift, groups, u->eps);
}
static Tid conv(const UNet *u, Tid x, const char *name, int k, int r) { return block_conv(u->g, x, name, k, r, 0, NO_QKV); }

/* Resampling by the network's filter, normalised to sum 1; upsampling multiplies by 4. */
static Tid resample_padded(const UNet *u, Tid x, int direction, int pad) {
    float tap[RESAMPLE_TAPS], sum = 0;
    int n = u->c->resample_taps;
    for (int i = 0; i < n; i++) sum += u->c->resample_filter[i];
    for (int i = 0; i < n; i++) tap[i] = u->c->resample_filter[i] / sum;
    return direction == UP ? g_up(u->g, x, tap, n, pad, 4) : g_down(u->g, x, tap, n, pad, 1);
}
static Tid resample(const UNet *u, Tid x, int direction) {
    return direction == SAME ? x : resample_padded(u, x, direction, (u->c->resample_taps - 1) / 2);
}

static Tid block(const UNet *u, Tid x, int c, int direction, bool attention) {
    Graph *g = u->g;
    int c_in = shape_of(g, x).c;
    Tid h = conv(u, resample(u, g_silu(g, norm(u, x, "norm0", 0)), direction), "conv0", c, 3);
    Tid p = conv(u, u->emb, "affine", u->adaptive_scale ? 2 * c : c, 1);
    if (u->adaptive_scale) h = g_silu(g, norm(u, h, "norm1", p));
    else h = g_silu(g, norm(u, g_add(g, h, p, 1, 1), "norm1", 0));
    h = conv(u, h, "conv1", c, 3);
    Tid skip = resample(u, x, direction);
    if (c_in != c || (direction != SAME && u->resample_proj)) skip = conv(u, skip, "skip", c, 1);
    x = g_add(g, h, skip, u->skip_scale, u->skip_scale);
    if (!attention) return x;
    int heads = u->channels_per_head ? c / u->channels_per_head : 1;
    h = block_conv(g, norm(u, x, "norm2", 0), "qkv", 3 * c, 1, 0, (Qkv){QKV_HEAD_D_3, heads});
    return g_add(g, conv(u, g_attn(g, h, heads), "proj", c, 1), x, u->skip_scale, u->skip_scale);
}
static bool attends(const NetworkConfig *c, int res) {
    for (int i = 0; i < c->attn_count; i++)
        if (c->attn_resolutions[i] == res) return true;
    return false;
}

enum { MAX_SKIPS = 256 };
typedef struct {
    Tid t[MAX_SKIPS];
    int n;
} SkipStack;

/* NCSN++'s auxiliary input branch at one lower level: the image (or what it has become), brought down a level, joins x. */
static Tid encoder_aux(const UNet *u, Tid x, Tid *aux, int res, SkipStack *skips) {
    const NetworkConfig *c = u->c;
    Graph *g = u->g;
    const float half = sqrtf(.5f);
    block_enter(g, "model.enc.%dx%d_", res, res);
    if (c->encoder_type == CODER_SKIP) {
        *aux = resample(u, *aux, DOWN);
        x = g_add(g, x, conv(u, *aux, "aux_skip", shape_of(g, x).c, 1), 1, 1);
    } else { /* fused resample: the conv is padded for the filter too, and the filter runs without padding */
        int filter_pad = (c->resample_taps - 1) / 2;
        Tid wide = block_conv(g, *aux, "aux_residual", shape_of(g, x).c, 3, filter_pad, NO_QKV);
        x = *aux = g_add(g, x, resample_padded(u, wide, DOWN, 0), half, half);
    }
    return skips->t[skips->n - 1] = x;
}
static Tid song_encoder(const UNet *u, Tid x, SkipStack *skips) {
    const NetworkConfig *c = u->c;
    Graph *g = u->g;
    Tid aux = x;
    for (int level = 0; level < c->levels; level++) {
        int res = c->img_resolution >> level, out = c->model_channels * c->channel_mult[level];
        if (level == 0) {
            block_enter(g, "model.enc.%dx%d_", res, res);
            x = conv(u, x, "conv", c->model_channels, 3);
        } else {
            block_enter(g, "model.enc.%dx%d_down.", res, res);
            x = block(u, x, shape_of(g, x).c, DOWN, false);
        }
        skips->t[skips->n++] = x;
        if (level && c->encoder_type != CODER_STANDARD) x = encoder_aux(u, x, &aux, res, skips);
        for (int i = 0; i < c->num_blocks; i++) {
            block_enter(g, "model.enc.%dx%d_block%d.", res, res, i);
            skips->t[skips->n++] = x = block(u, x, out, SAME, attends(c, res));
        }
    }
    return x;
}
static Tid song_decoder(const UNet *u, Tid x, SkipStack *skips) {
    const NetworkConfig *c = u->c;
    Graph *g = u->g;
    Tid out = 0;
    for (int level = c->levels - 1; level >= 0; level--) {
        int res = c->img_resolution >> level, k = c->model_channels * c->channel_mult[level];
        if (level == c->levels - 1) {
            block_enter(g, "model.dec.%dx%d_in0.", res, res);
            x = block(u, x, k, SAME, true);
            block_enter(g, "model.dec.%dx%d_in1.", res, res);
            x = block(u, x, k, SAME, false);
        } else {
            block_enter(g, "model.dec.%dx%d_up.", res, res);
            x = block(u, x, shape_of(g, x).c, UP, false);
        }
        for (int i = 0; i <= c->num_blocks; i++) {
            block_enter(g, "model.dec.%dx%d_block%d.", res, res, i);
            x = block(u, g_concat(g, x, skips->t[--skips->n]), k, SAME, i == c->num_blocks && attends(c, res));
        }
        if (level && c->decoder_type != CODER_SKIP) continue;
        if (out) out = resample(u, out, UP);
        block_enter(g, "model.dec.%dx%d_", res, res);
        Tid image = conv(u, g_silu(g, norm(u, x, "aux_norm", 0)), "aux_conv", network_out_channels(c), 3);
        out = out ? g_add(g, out, image, 1, 1) : image;
    }
    return out;
}
static Tid song_unet(const NetworkConfig *c, Graph *g, const NetworkGraph *in) {
    UNet u = {.c = c,
              .g = g,
              .emb_channels = c->model_channels * c->channel_mult_emb,
              .eps = 1e-6f,
              .skip_scale = sqrtf(.5f),
              .resample_proj = true};
    block_enter(g, "model.");
    Tid emb = in->noise;
    if (c->label_dim) emb = g_add(g, block_linear(g, in->label, "map_label", shape_of(g, emb).c, true), emb, 1, 1);
    emb = g_silu(g, block_linear(g, emb, "map_layer0", u.emb_channels, true));
    u.emb = g_silu(g, block_linear(g, emb, "map_layer1", u.emb_channels, true));
    SkipStack skips = {.n = 0};
    return song_decoder(&u, song_encoder(&u, in->x, &skips), &skips);
}

static Tid dhariwal_unet(const NetworkConfig *c, Graph *g, const NetworkGraph *in) {
    UNet u = {.c = c,
              .g = g,
              .emb_channels = c->model_channels * c->channel_mult_emb,
              .eps = 1e-5f,
              .skip_scale = 1,
              .adaptive_scale = true,
              .channels_per_head = 64};
    block_enter(g, "model.");
    Tid emb = g_silu(g, block_linear(g, in->noise, "map_layer0", u.emb_channels, true));
    emb = block_linear(g, emb, "map_layer1", u.emb_channels, true);
    if (c->label_dim) emb = g_add(g, block_linear(g, in->label, "map_label", u.emb_channels, false), emb, 1, 1);
    u.emb = g_silu(g, emb);
    SkipStack skips = {.n = 0};
    Tid x = in->x;
    for (int level = 0; level < c->levels; level++) {
        int res = c->img_resolution >> level, out = c->model_channels * c->channel_mult[level];
        if (level == 0) {
            block_enter(g, "model.enc.%dx%d_", res, res);
            x = conv(&u, x, "conv", out, 3);
        } else {
            block_enter(g, "model.enc.%dx%d_down.", res, res);
            x = block(&u, x, shape_of(g, x).c, DOWN, false);
        }
        skips.t[skips.n++] = x;
        for (int i = 0; i < c->num_blocks; i++) {
            block_enter(g, "model.enc.%dx%d_block%d.", res, res, i);
            skips.t[skips.n++] = x = block(&u, x, out, SAME, attends(c, res));
        }
    }
    for (int level = c->levels - 1; level >= 0; level--) {
        int res = c->img_resolution >> level, out = c->model_channels * c->channel_mult[level];
        if (level == c->levels - 1) {
            block_enter(g, "model.dec.%dx%d_in0.", res, res);
            x = block(&u, x, out, SAME, true);
            block_enter(g, "model.dec.%dx%d_in1.", res, res);
            x = block(&u, x, out, SAME, false);
        } else {
            block_enter(g, "model.dec.%dx%d_up.", res, res);
            x = block(&u, x, shape_of(g, x).c, UP, false);
        }
        for (int i = 0; i <= c->num_blocks; i++) {
            block_enter(g, "model.dec.%dx%d_block%d.", res, res, i);
            x = block(&u, g_concat(g, x, skips.t[--skips.n]), out, SAME, attends(c, res));
        }
    }
    block_enter(g, "model.");
    return conv(&u, g_silu(g, norm(&u, x, "out_norm", 0)), "out_conv", network_out_channels(c), 3);
}

bool network_build(Graph *g, const NetworkConfig *c, int batch, NetworkGraph *out, Error *e) {
    if (batch < 1) return dg_error(e, "a batch of %d images", batch);
    *out = (NetworkGraph){0};
    out->x = g_input(g, "x", (Shape){batch, c->img_resolution, c->img_resolution, c->img_channels});
    out->noise = g_input(g, "noise", (Shape){batch, 1, 1, network_noise_channels(c)});
    if (c->label_dim) out->label = g_input(g, "label", (Shape){batch, 1, 1, c->label_dim});
    Tid f = c->model_type == MODEL_SONG_UNET ? song_unet(c, g, out) : dhariwal_unet(c, g, out);
    g->prefix[0] = 0;
    if (network_out_channels(c) > c->img_channels) f = g_slice(g, f, 0, c->img_channels); /* iDDPM: the rest is the variance */
    out->out = g_output(g, f);
    return true;
}
