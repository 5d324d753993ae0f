/* adm_unet.c -- guided-diffusion's UNetModel (unet.py): ADM's score networks, and its upsamplers, whose six input channels are the
 * noisy image and the small one, enlarged. The output is eps, and then, of six channels, the code of the variance.          */
#include "models/adm_blocks.h"
#include <string.h>

/* The last of a level's output blocks doubles the resolution: as a residual block, as a convolution behind it, or as neither. */
static Tid double_size(const Adm *n, Tid x) {
    int c = shape_of(n->g, x).c;
    if (n->c->resblock_updown) return adm_res_block(n, x, c, ADM_UP);
    x = adm_resample(n, x, ADM_UP);
    return n->c->conv_resample ? adm_conv(n, x, "conv", c, 3) : x;
}
static void build(Graph *g, const void *config, int batch, Ports *p) {
    const AdmConfig *c = config;
    AdmSkips skips = {.n = 0};
    Adm n;
    int index = 0;
    if (!adm_begin(&n, g, c, batch, p)) return;
    Tid x = adm_torso(&n, p->x, &skips);
    for (int level = c->levels - 1; level >= 0; level--)
        for (int i = 0; i <= c->num_res_blocks; i++, index++) {
            int part = 0;
            block_enter(g, "output_blocks.%d.%d.", index, part++);
            x = adm_res_block(&n, g_concat(g, x, skips.t[--skips.n]), adm_channels(c, level), ADM_SAME);
            if (adm_level_attends(c, level)) {
                block_enter(g, "output_blocks.%d.%d.", index, part++);
                x = adm_attention_block(&n, x);
            }
            if (!level || i < c->num_res_blocks) continue;
            block_enter(g, "output_blocks.%d.%d.", index, part);
            x = double_size(&n, x);
        }
    block_enter(g, "out.");
    p->out = g_output(g, adm_conv(&n, adm_norm_silu(&n, x, "0"), "2", c->out_channels, 3));
}
/* Of the original timestep, 0 to 999. */
static void time_features(const void *config, const float *frequencies, double timestep, float *out) {
    (void)frequencies;
    adm_time_features(config, (float)timestep, out);
}
static bool read_config(void *into, const Json *config, Error *e) {
    AdmConfig *c = into;
    if (!adm_config(c, config, 6, e) || !argument_int(config, "num_classes", 0, 0, MAX_LABELS, &c->num_class, e) ||
        !argument_int(config, "num_heads", 1, 1, MAX_CHANNELS, &c->num_heads, e) ||
        !argument_int(config, "num_head_channels", -1, -1, MAX_CHANNELS, &c->num_head_channels, e) ||
        !json_get_bool(config, "conv_resample", true, &c->conv_resample, e) ||
        !json_get_bool(config, "use_new_attention_order", false, &c->use_new_attention_order, e))
        return false;
    const char *schedule;
    if (!json_get_string(config, "noise_schedule", "linear", &schedule, e)) return false;
    c->cosine_schedule = !strcmp(schedule, "cosine");
    if (!c->cosine_schedule && strcmp(schedule, "linear"))
        return dg_error(e, "\"noise_schedule\" is \"%s\", neither linear nor cosine", schedule);
    c->condition = c->num_class > 0;
    return c->num_head_channels != 0 ||
           dg_error(e, "\"num_head_channels\" is 0: it is a number of channels, or -1 for heads that \"num_heads\" counts");
}
static bool score(const void *config, ScoreFacts *f, Error *e) {
    const AdmConfig *c = config;
    if (c->out_channels != c->in_channels && c->out_channels != 2 * c->in_channels)
        return dg_error(e, "it takes %d channels and gives %d: an upsampler, which makes no images by itself", c->in_channels,
                        c->out_channels);
    if (c->out_channels == c->in_channels && c->in_channels == 6)
        return dg_error(e, "it takes 6 channels, 3 of them of a small image: an upsampler, which makes no images by itself");
    *f = (ScoreFacts){.prediction = PREDICTS_EPS,
                      .cosine = c->cosine_schedule,
                      .diffusion_steps = 1000,
                      .learned_range = c->out_channels > c->in_channels,
                      .adm_bytes = true,
                      .classes = c->num_class,
                      .null_class = NO_NULL_CLASS};
    return true;
}
static const char *const unused[] = {NULL};
const Model model_adm_unet = {.kind = "adm_unet",
                              .noun = "an ADM U-Net",
                              .config_bytes = sizeof(AdmConfig),
                              .config = read_config,
                              .build = build,
                              .time_features = time_features,
                              .score = score,
                              .unused = unused};
