/* recognise_edm.c -- EDM's SongUNet and DhariwalUNet under their preconditioners. */
#include "weights_tools/recognise.h"
#include <string.h>

enum { LEVELS = 8 };
typedef struct {
    int res, levels, channels, blocks;
    int mult[LEVELS], attention[LEVELS], attended;
    bool song;
} Unet;
static int resolution(const Clues *c) { /* the largest R of model.enc.RxR_conv.weight: there is one */
    for (int r = 1024; r > 0; r--)
        if (clue(c, "model.enc.%dx%d_conv.weight", r, r)) return r;
    return 0;
}
static bool read_levels(const Clues *c, Unet *u) {
    for (int res = u->res; u->levels < LEVELS; res /= 2) {
        if (u->levels && !clue(c, "model.enc.%dx%d_down.norm0.weight", res, res)) break;
        int out = clue_dim(c, 0, "model.enc.%dx%d_block0.conv0.weight", res, res);
        if (!out || out % u->channels) return false;
        u->mult[u->levels++] = out / u->channels;
        if (clue(c, "model.enc.%dx%d_block0.qkv.weight", res, res)) u->attention[u->attended++] = res;
    }
    while (clue(c, "model.enc.%dx%d_block%d.conv0.weight", u->res, u->res, u->blocks)) u->blocks++;
    return u->levels > 0;
}
/* What the pickled module's constructor was told, or keeps, where names and shapes are silent. */
static const Json *told(const Clues *c, const char *key) {
    const Json *j = json_get(c->arguments, key);
    return j ? j : json_get(c->attributes, key);
}
static const char *text_argument(const Clues *c, const char *key) {
    const Json *j = told(c, key);
    return j && j->kind == JSON_STRING ? j->string : NULL;
}
static bool is_one_of(const char *name, const char *const *list) {
    for (; *list; list++)
        if (!strcmp(name, *list)) return true;
    return false;
}
static const char *const preconds[] = {"EDMPrecond", "VPPrecond", "VEPrecond", "iDDPMPrecond", NULL};
static const char *const unets[] = {"SongUNet", "DhariwalUNet", NULL};
/* Other classes, and arguments that these have not, may compute something else with the same tensors. */
static bool check_class(const Clues *c, Error *e) {
    static const char *const known[] = {"img_resolution",
                                        "img_channels",
                                        "label_dim",
                                        "use_fp16",
                                        "sigma_min",
                                        "sigma_max",
                                        "sigma_data",
                                        "model_type",
                                        "beta_d",
                                        "beta_min",
                                        "M",
                                        "epsilon_t",
                                        "C_1",
                                        "C_2",
                                        "in_channels",
                                        "out_channels",
                                        "augment_dim",
                                        "model_channels",
                                        "channel_mult",
                                        "channel_mult_emb",
                                        "num_blocks",
                                        "attn_resolutions",
                                        "dropout",
                                        "label_dropout",
                                        "embedding_type",
                                        "channel_mult_noise",
                                        "encoder_type",
                                        "decoder_type",
                                        "resample_filter",
                                        NULL};
    if (c->options->precond || !c->class_name || !*c->class_name) return true;
    if (!is_one_of(c->class_name, preconds) && !is_one_of(c->class_name, unets))
        return dg_error(e,
                        "its class is %s, whose preconditioning dg_cuda does not know (--precond EDMPrecond|VPPrecond|VEPrecond|"
                        "iDDPMPrecond takes it as one that it knows)",
                        c->class_name);
    const char *type = text_argument(c, "model_type");
    if (type && !is_one_of(type, unets))
        return dg_error(e, "its network is a %s, which dg_cuda does not know (--precond %s takes it by its tensors' names)", type,
                        c->class_name);
    Text unknown = {0};
    for (const Json *j = c->arguments ? c->arguments->child : NULL; j; j = j->next) {
        if (is_one_of(j->key, known) || (j->kind == JSON_BOOL && !j->boolean)) continue;
        text_printf(&unknown, "%s%s=", unknown.len ? ", " : "", j->key);
        json_write(&unknown, j);
    }
    if (!unknown.len) return true;
    dg_error(e,
             "its %s was made with arguments that dg_cuda does not know (%s): it may compute something else (--precond %s leaves them "
             "out of account)",
             c->class_name, unknown.text, c->class_name);
    text_free(&unknown);
    return false;
}
static const char *precond(const Clues *c, int image_channels, int out_channels, Recognition *r) {
    if (c->options->precond) return c->options->precond;
    if (c->class_name && is_one_of(c->class_name, preconds)) return c->class_name;
    if (out_channels == 2 * image_channels) return "iDDPMPrecond"; /* it alone predicts a variance */
    text_printf(&r->notes, "taken as EDMPrecond, which the file does not say (--precond EDMPrecond|VPPrecond|VEPrecond|iDDPMPrecond)\n");
    return "EDMPrecond";
}
static void resample_filter(const Clues *c, bool fourier, Recognition *r) {
    static const int box[] = {1, 1}, wide[] = {1, 3, 3, 1};
    const Json *given = told(c, "resample_filter");
    const NamedShape *stored = clue_ending(c, ".resample_filter");
    bool long_filter = stored && stored->dims == 4 ? stored->shape[3] == 4 : fourier;
    if (given && given->kind == JSON_ARRAY) {
        text_printf(&r->config, ", \"resample_filter\": ");
        json_write(&r->config, given);
        return;
    }
    if (!stored)
        text_printf(&r->notes, "resample_filter taken as %s, as in the official %s networks\n", long_filter ? "1,3,3,1" : "1,1",
                    fourier ? "NCSN++" : "DDPM++");
    config_ints(&r->config, "resample_filter", long_filter ? wide : box, long_filter ? 4 : 2);
}
static void song(const Clues *c, const Unet *u, Recognition *r) {
    bool fourier = clue(c, "model.map_noise.freqs") != NULL;
    int half = u->res / 2, low = u->res >> (u->levels - 1), noise = clue_dim(c, 1, "model.map_layer0.weight");
    bool residual = clue(c, "model.enc.%dx%d_aux_residual.weight", half, half),
         skip = clue(c, "model.enc.%dx%d_aux_skip.weight", half, half);
    bool skip_decoder = u->levels > 1 && clue(c, "model.dec.%dx%d_aux_conv.weight", low, low);
    const char *embedding = text_argument(c, "embedding_type");
    if (embedding && (!strcmp(embedding, "fourier") || !strcmp(embedding, "positional"))) fourier = !strcmp(embedding, "fourier");
    config_text(&r->config, "embedding_type", fourier ? "fourier" : "positional");
    config_text(&r->config, "encoder_type", residual ? "residual" : skip ? "skip" : "standard");
    config_text(&r->config, "decoder_type", skip_decoder ? "skip" : "standard");
    config_int(&r->config, "channel_mult_noise", noise / u->channels);
    resample_filter(c, fourier, r);
}
static void constants(const Clues *c, Recognition *r) {
    static const char *const keys[] = {"sigma_data", "sigma_min", "sigma_max", "beta_d", "beta_min", "epsilon_t", "C_1", "C_2", "M"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const Json *j = told(c, keys[i]);
        if (j && j->kind == JSON_NUMBER) text_printf(&r->config, ", \"%s\": %s", keys[i], j->string);
    }
}
bool recognise_edm(const Clues *c, Recognition *r, Error *e) {
    Unet u = {.res = resolution(c)};
    if (!u.res) return false;
    u.song = clue(c, "model.dec.%dx%d_aux_conv.weight", u.res, u.res) != NULL;
    int image = clue_dim(c, 1, "model.enc.%dx%d_conv.weight", u.res, u.res), emb = clue_dim(c, 0, "model.map_layer0.weight");
    int out = u.song ? clue_dim(c, 0, "model.dec.%dx%d_aux_conv.weight", u.res, u.res) : clue_dim(c, 0, "model.out_conv.weight");
    u.channels = u.song ? clue_dim(c, 0, "model.enc.%dx%d_conv.weight", u.res, u.res) : clue_dim(c, 1, "model.map_layer0.weight");
    if (!image || !emb || !out || !u.channels || !read_levels(c, &u)) return false;
    if (!check_class(c, e)) return false;
    const char *p = precond(c, image, out, r);
    if (!strcmp(p, "iDDPMPrecond") != (out == 2 * image))
        return dg_error(e, "--precond %s does not fit a network that predicts %d channels of %d", p, out, image);
    static const char *const own[] = {"model.enc.", "model.dec.", "model.map_", "model.out_", "u", NULL};
    r->own = own;
    text_printf(&r->architecture, "%s %s", p, u.song ? "SongUNet" : "DhariwalUNet");
    Text *t = &r->config;
    config_begin(t, "denoiser");
    config_text(t, "precond", p);
    config_int(t, "img_resolution", u.res);
    config_int(t, "img_channels", image);
    config_int(t, "label_dim", clue_dim(c, 1, "model.map_label.weight"));
    int augment = clue_dim(c, 1, "model.map_augment.weight");
    if (augment) config_int(t, "augment_dim", augment);
    config_text(t, "model_type", u.song ? "SongUNet" : "DhariwalUNet");
    if (u.song) song(c, &u, r);
    config_int(t, "model_channels", u.channels);
    config_ints(t, "channel_mult", u.mult, u.levels);
    config_int(t, "channel_mult_emb", emb / u.channels);
    config_int(t, "num_blocks", u.blocks);
    config_ints(t, "attn_resolutions", u.attention, u.attended);
    constants(c, r);
    config_end(t);
    return true;
}
