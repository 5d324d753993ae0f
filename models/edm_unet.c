/* edm_unet.c -- what the U-Nets of EDM (training/networks.py of NVlabs/edm) share: the block, resampling, inputs, output. */
#include "models/edm_unet.h"

static const Qkv NO_QKV = {QKV_NONE, 0};

Tid edm_norm(const UNet *u, Tid x, const char *name, Tid scale_shift) {
    int c = shape_of(u->g, x).c, groups = c / 4 < 32 ? c / 4 : 32;
    return block_norm(u->g, x, name, scale_shift, groups, u->eps);
}
Tid edm_conv(const UNet *u, Tid x, const char *name, int k, int r) { return block_conv(u->g, x, name, k, r, 0, NO_QKV); }

Tid edm_resample_padded(const UNet *u, Tid x, Direction direction, int pad) {
    float tap[RESAMPLE_TAPS], sum = 0;
    int n = u->c->resample_taps;
    for (int i = 0; i < n; i++) sum += u->c->resample_filter[i];
    for (int i = 0; i < n; i++) tap[i] = u->c->resample_filter[i] / sum;
    return direction == UP ? g_up(u->g, x, tap, n, pad, 4) : g_down(u->g, x, tap, n, pad, 1);
}
Tid edm_resample(const UNet *u, Tid x, Direction direction) {
    return direction == SAME ? x : edm_resample_padded(u, x, direction, (u->c->resample_taps - 1) / 2);
}

Tid edm_block(const UNet *u, Tid x, int c, Direction direction, bool attention) {
    Graph *g = u->g;
    int c_in = shape_of(g, x).c;
    Tid h = edm_conv(u, edm_resample(u, g_silu(g, edm_norm(u, x, "norm0", 0)), direction), "conv0", c, 3);
    Tid p = edm_conv(u, u->emb, "affine", u->adaptive_scale ? 2 * c : c, 1);
    if (u->adaptive_scale) h = g_silu(g, edm_norm(u, h, "norm1", p));
    else h = g_silu(g, edm_norm(u, g_add(g, h, p, 1, 1), "norm1", 0));
    h = edm_conv(u, h, "conv1", c, 3);
    Tid skip = edm_resample(u, x, direction);
    if (c_in != c || (direction != SAME && u->resample_proj)) skip = edm_conv(u, skip, "skip", c, 1);
    x = g_add(g, h, skip, u->skip_scale, u->skip_scale);
    if (!attention) return x;
    int heads = u->channels_per_head ? block_heads(g, c, u->channels_per_head) : 1;
    h = block_conv(g, edm_norm(u, x, "norm2", 0), "qkv", 3 * c, 1, 0, (Qkv){QKV_HEAD_D_3, heads});
    return g_add(g, edm_conv(u, g_attn(g, h, heads), "proj", c, 1), x, u->skip_scale, u->skip_scale);
}
bool edm_attends(const NetworkConfig *c, int res) {
    for (int i = 0; i < c->attn_count; i++)
        if (c->attn_resolutions[i] == res) return true;
    return false;
}

int edm_out_channels(const NetworkConfig *c) { return c->img_channels * (c->precond == PRECOND_IDDPM ? 2 : 1); }
void edm_inputs(const NetworkConfig *c, Graph *g, int batch, Ports *p) {
    if (!p->x) p->x = g_input(g, "x", (Shape){batch, c->img_resolution, c->img_resolution, c->img_channels});
    p->time = g_input(g, "noise", (Shape){batch, 1, 1, c->model_channels * c->channel_mult_noise});
    if (c->label_dim) p->label = g_input(g, "label", (Shape){batch, 1, 1, c->label_dim});
}
Tid edm_output(const NetworkConfig *c, Graph *g, Tid f) {
    if (edm_out_channels(c) > c->img_channels) f = g_slice(g, f, 0, c->img_channels); /* iDDPM: the rest is the variance */
    return g_output(g, f);
}
bool edm_score(const void *config, ScoreFacts *f, Error *e) {
    const NetworkConfig *c = config;
    *f = (ScoreFacts){.prediction = PREDICTS_PRECONDITIONED, .edm = c, .classes = c->label_dim, .null_class = NO_LABEL};
    (void)e;
    return true;
}
