/* tiny_model.h -- weight files of a network, an extractor and a head that take milliseconds to run, for tests of programs. */
#ifndef DG_TINY_MODEL_H
#define DG_TINY_MODEL_H
#include "graph/weights.h"
#include "models/models.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char tiny_network_config[] = "{\"kind\": \"denoiser\", \"precond\": \"EDMPrecond\", \"img_resolution\": 8, \"img_channels\": "
                                          "3, \"label_dim\": 3, \"model_type\": \"SongUNet\","
                                          " \"model_channels\": 8, \"channel_mult\": [1, 2], \"num_blocks\": 1, \"attn_resolutions\": [4], "
                                          "\"classes\": [\"red\", \"green\", \"blue\"]}";
static const char tiny_uncond_config[] = "{\"kind\": \"denoiser\", \"precond\": \"EDMPrecond\", \"img_resolution\": 8, \"img_channels\": "
                                         "1, \"label_dim\": 0, \"model_type\": \"SongUNet\","
                                         " \"model_channels\": 8, \"channel_mult\": [1], \"num_blocks\": 1, \"attn_resolutions\": []}";
static const char tiny_extractor_config[] =
    "{\"kind\": \"extractor\", \"image_size\": 8, \"in_channels\": 3, \"model_channels\": 32, \"out_channels\": 3, \"num_res_blocks\": 1,"
    " \"attention_resolutions\": [2], \"channel_mult\": [1, 1], \"num_head_channels\": 32, \"use_scale_shift_norm\": true, "
    "\"resblock_updown\": true,"
    " \"pool\": \"attention\"}";
static const char tiny_head_config[] =
    "{\"kind\": \"head\", \"image_size\": 4, \"in_channels\": 32, \"model_channels\": 32, \"out_channels\": 1, \"num_res_blocks\": 1,"
    " \"attention_resolutions\": [1], \"channel_mult\": [1], \"num_head_channels\": 32, \"use_scale_shift_norm\": true, "
    "\"resblock_updown\": true,"
    " \"pool\": \"attention\", \"condition\": true, \"num_class\": 3}";

/* A DiT on latents of 8x8x4, and the autoencoder that makes pictures of 16x16 of them. */
__attribute__((unused)) static const char tiny_dit_config[] =
    "{\"kind\": \"dit\", \"input_size\": 8, \"patch_size\": 2, \"hidden_size\": 16, \"depth\": 1, \"num_heads\": 2, \"num_classes\": 3}";
/* One of 64 tokens with heads of 64, of whose five pixel norms Hopper leaves out three: the first reads patches and positions, and what
 * reads the last makes too few channels.                                                                                             */
__attribute__((unused)) static const char small_dit_config[] =
    "{\"kind\": \"dit\", \"input_size\": 16, \"patch_size\": 2, \"hidden_size\": 128, \"depth\": 2, \"num_heads\": 2, \"num_classes\": 3}";
__attribute__((unused)) static const char tiny_vae_config[] =
    "{\"kind\": \"vae\", \"block_out_channels\": [8, 16], \"layers_per_block\": 1, \"latent_channels\": 4, "
    "\"norm_num_groups\": 4, \"sample_size\": 32}";
/* An extractor of such latents, for the head above. */
__attribute__((unused)) static const char tiny_latent_extractor_config[] =
    "{\"kind\": \"extractor\", \"image_size\": 8, \"in_channels\": 4, \"model_channels\": 32, \"out_channels\": 3, \"num_res_blocks\": 1,"
    " \"attention_resolutions\": [2], \"channel_mult\": [1, 1], \"num_head_channels\": 32, \"use_scale_shift_norm\": true, "
    "\"resblock_updown\": true, \"pool\": \"attention\"}";

/* The tensors that weight t is made of, one at a time: of a folded batch norm (without a scale) three are the bias's. False: no
 * further part.                                                                                                             */
__attribute__((unused)) static bool tiny_tensor(const Tensor *t, int part, char name[sizeof t->name + 16]) {
    static const char *const leaf[] = {"bias", "running_mean", "running_var"};
    bool folded = t->view.kind == VIEW_FOLD_BN_BIAS;
    if (t->kind != T_WEIGHT || part >= (folded ? 3 : 1)) return false;
    snprintf(name, sizeof t->name + 16, "%s", t->name);
    if (folded) strcpy(strrchr(name, '.') + 1, leaf[part]);
    return true;
}
/* Random weights of the scale that keeps activations near 1; `gain` multiplies the last convolution's. m NULL: the model that the
 * configuration names.                                                                                                    */
__attribute__((unused)) static bool tiny_write_model(const Model *m, const char *path, const char *config, float gain, Error *e) {
    Json *j = json_parse(config, strlen(config), e);
    Graph *g = graph_new((Precision){DG_F32, false});
    if (!m) m = j ? model_find(j, json_get(j, "kind")->string, e) : NULL;
    void *c = j && m ? model_config(m, j, e) : NULL;
    Ports ports = {0};
    bool ok = c && model_build(m, g, c, "", 1, &ports, e);
    if (ok && m == &model_vae) ok = model_build(&model_vae_encoder, g, c, "", 1, &(Ports){0}, e); /* the file holds both halves */
    char name[sizeof g->t->name + 16];
    free(c);
    StWriter *w = ok ? st_writer_open(path, e) : NULL;
    if ((ok = w != NULL)) {
        st_writer_metadata(w, "config", config);
        int64_t shape[4];
        for (Tid t = 1; t < g->nt; t++)
            for (int part = 0; tiny_tensor(&g->t[t], part, name); part++)
                st_writer_tensor(w, name, DG_F32, view_official_shape(g->t[t].shape, g->t[t].view, shape), shape);
        ok = st_writer_begin(w, e);
        uint64_t state = 88172645463325252u;
        for (Tid t = 1; t < g->nt && ok; t++)
            for (int part = 0; ok && tiny_tensor(&g->t[t], part, name); part++) {
                size_t count = shape_count(g->t[t].shape);
                int dims = view_official_shape(g->t[t].shape, g->t[t].view, shape);
                float *v = malloc(count * sizeof *v), scale = dims == 1 ? .1f : sqrtf(3 * (float)shape[0] / (float)count);
                bool norm = dims == 1 && (strstr(name, "weight") || strstr(name, "running_var"));
                bool last = strstr(name, "aux_conv.weight") || strstr(name, "Mixed_7c.branch1x1.conv.weight");
                for (size_t i = 0; i < count; i++) {
                    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
                    v[i] = ((float)(state >> 40) * 0x1p-23f - 1) * scale * (last ? gain : 1) + (norm ? 1 : 0);
                }
                ok = st_writer_data(w, v, count * sizeof *v, e);
                free(v);
            }
        if (ok) ok = st_writer_finish(w, e);
        else st_writer_abandon(w);
    }
    graph_free(g);
    json_free(j);
    return ok;
}
__attribute__((unused)) static bool tiny_write(const char *path, const char *config, float gain, Error *e) {
    return tiny_write_model(NULL, path, config, gain, e);
}
#endif
