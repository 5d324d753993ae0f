/* official_names.h -- the names and shapes of the official networks' tensors, made from their configurations the way the
 * official constructors do (guided_diffusion/unet.py, models.py of DiT, AutoencoderKL of diffusers).                   */
#ifndef DG_OFFICIAL_NAMES_H
#define DG_OFFICIAL_NAMES_H
#include "base/json.h"
#include "weights_tools/recognise.h"
#include <stdlib.h>
#include <string.h>

typedef struct {
    NamedShape *t;
    int count;
} NameList;
__attribute__((format(printf, 4, 5))) static void name_add(NameList *l, int dims, const int *shape, const char *fmt, ...) {
    char name[256];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(name, sizeof name, fmt, ap);
    va_end(ap);
    l->t = dg_realloc(l->t, (size_t)(l->count + 1) * sizeof *l->t);
    int64_t *copy = dg_alloc(ST_MAX_DIMS * sizeof *copy);
    for (int i = 0; i < dims; i++) copy[i] = shape[i];
    l->t[l->count++] = (NamedShape){dg_strdup(name), dims, copy};
}
#define NAME_ADD(l, name, ...) name_add(l, (int)(sizeof((int[]){__VA_ARGS__}) / sizeof(int)), (int[]){__VA_ARGS__}, "%s", name)
static int name_order(const void *a, const void *b) { return strcmp(((const NamedShape *)a)->name, ((const NamedShape *)b)->name); }
static inline void names_sort(NameList *l) { qsort(l->t, (size_t)l->count, sizeof *l->t, name_order); }
static void names_free(NameList *l) {
    for (int i = 0; i < l->count; i++) free((void *)(uintptr_t)l->t[i].name), free((void *)(uintptr_t)l->t[i].shape);
    free(l->t);
    *l = (NameList){0};
}
static inline double names_parameters(const NameList *l) {
    double sum = 0;
    for (int i = 0; i < l->count; i++) {
        double n = 1;
        for (int d = 0; d < l->t[i].dims; d++) n *= (double)l->t[i].shape[d];
        sum += n;
    }
    return sum;
}
/* A layer's weight (out, in, k, k; k 0: a linear one; -1: [out,in,1]) and bias. */
__attribute__((format(printf, 5, 6))) static void layer(NameList *l, int out, int in, int k, const char *fmt, ...) {
    char name[200], leaf[256];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(name, sizeof name, fmt, ap);
    va_end(ap);
    snprintf(leaf, sizeof leaf, "%s.weight", name);
    if (k > 0) NAME_ADD(l, leaf, out, in, k, k);
    else if (k < 0) NAME_ADD(l, leaf, out, in, 1);
    else if (in) NAME_ADD(l, leaf, out, in);
    else NAME_ADD(l, leaf, out);
    snprintf(leaf, sizeof leaf, "%s.bias", name);
    NAME_ADD(l, leaf, out);
}
#define norm(l, c, ...) layer(l, c, 0, 0, __VA_ARGS__)

/* ---- guided-diffusion ------------------------------------------------------------------------------------------------ */
typedef struct {
    NameList *l;
    int emb;
    bool scale_shift;
} AdmNames;
static void adm_res(const AdmNames *a, const char *p, int in, int out) {
    norm(a->l, in, "%s.in_layers.0", p);
    layer(a->l, out, in, 3, "%s.in_layers.2", p);
    layer(a->l, a->scale_shift ? 2 * out : out, a->emb, 0, "%s.emb_layers.1", p);
    norm(a->l, out, "%s.out_layers.0", p);
    layer(a->l, out, out, 3, "%s.out_layers.3", p);
    if (in != out) layer(a->l, out, in, 1, "%s.skip_connection", p);
}
static void adm_attention(const AdmNames *a, const char *p, int c) {
    norm(a->l, c, "%s.norm", p);
    layer(a->l, 3 * c, c, -1, "%s.qkv", p);
    layer(a->l, c, c, -1, "%s.proj_out", p);
}
static int adm_int(const Json *c, const char *key) {
    const Json *j = json_get(c, key);
    return j && (j->kind == JSON_NUMBER || j->kind == JSON_BOOL) ? (j->kind == JSON_BOOL ? j->boolean : (int)j->number) : 0;
}
static bool adm_attends(const Json *c, int factor) {
    const Json *list = json_get(c, "attention_resolutions");
    for (const Json *j = list ? list->child : NULL; j; j = j->next)
        if ((int)j->number == factor) return true;
    return false;
}
static inline void adm_names(NameList *l, const Json *c, bool unet) {
    int mc = adm_int(c, "model_channels"), blocks = adm_int(c, "num_res_blocks"), levels = 0, index = 1, skips[256], n = 0;
    bool updown = adm_int(c, "resblock_updown");
    int width[8], classes = adm_int(c, unet ? "num_classes" : "num_class");
    char p[64];
    AdmNames a = {l, 4 * mc, adm_int(c, "use_scale_shift_norm")};
    const Json *mult = json_get(c, "channel_mult");
    for (const Json *j = mult ? mult->child : NULL; j && levels < 8; j = j->next) width[levels++] = (int)(j->number * mc);
    layer(l, 4 * mc, mc, 0, "time_embed.0");
    layer(l, 4 * mc, 4 * mc, 0, "time_embed.2");
    if (classes) NAME_ADD(l, "label_emb.weight", classes, 4 * mc);
    int ch = width[0];
    layer(l, ch, adm_int(c, "in_channels"), 3, "input_blocks.0.0");
    skips[n++] = ch;
    for (int level = 0; level < levels; level++) {
        for (int i = 0; i < blocks; i++, index++) {
            snprintf(p, sizeof p, "input_blocks.%d.0", index);
            adm_res(&a, p, ch, width[level]);
            skips[n++] = ch = width[level];
            snprintf(p, sizeof p, "input_blocks.%d.1", index);
            if (adm_attends(c, 1 << level)) adm_attention(&a, p, ch);
        }
        if (level == levels - 1) break;
        snprintf(p, sizeof p, "input_blocks.%d.0", index++);
        if (updown) adm_res(&a, p, ch, ch);
        else layer(l, ch, ch, 3, "%s.op", p);
        skips[n++] = ch;
    }
    adm_res(&a, "middle_block.0", ch, ch);
    adm_attention(&a, "middle_block.1", ch);
    adm_res(&a, "middle_block.2", ch, ch);
    norm(l, unet ? width[0] : ch, "out.0");
    if (!unet) {
        int side = adm_int(c, "image_size") >> (levels - 1);
        NAME_ADD(l, "out.2.positional_embedding", ch, side * side + 1);
        layer(l, 3 * ch, ch, -1, "out.2.qkv_proj");
        layer(l, adm_int(c, "out_channels"), ch, -1, "out.2.c_proj");
        return;
    }
    layer(l, adm_int(c, "out_channels"), width[0], 3, "out.2");
    for (int level = levels - 1, block = 0; level >= 0; level--)
        for (int i = 0; i <= blocks; i++, block++) {
            int part = 1;
            snprintf(p, sizeof p, "output_blocks.%d.0", block);
            adm_res(&a, p, ch + skips[--n], width[level]);
            ch = width[level];
            snprintf(p, sizeof p, "output_blocks.%d.%d", block, part);
            if (adm_attends(c, 1 << level)) adm_attention(&a, p, ch), part++;
            if (!level || i < blocks) continue;
            snprintf(p, sizeof p, "output_blocks.%d.%d", block, part);
            if (updown) adm_res(&a, p, ch, ch);
            else layer(l, ch, ch, 3, "%s.conv", p);
        }
}

/* ---- DiT --------------------------------------------------------------------------------------------------------------- */
static inline void dit_names(NameList *l, const Json *c) {
    int d = adm_int(c, "hidden_size"), p = adm_int(c, "patch_size"), in = adm_int(c, "in_channels"), side = adm_int(c, "input_size") / p;
    int mlp = d * adm_int(c, "mlp_ratio");
    NAME_ADD(l, "pos_embed", 1, side * side, d);
    layer(l, d, in, p, "x_embedder.proj");
    layer(l, d, 256, 0, "t_embedder.mlp.0");
    layer(l, d, d, 0, "t_embedder.mlp.2");
    NAME_ADD(l, "y_embedder.embedding_table.weight", adm_int(c, "num_classes") + 1, d);
    for (int i = 0; i < adm_int(c, "depth"); i++) {
        layer(l, 3 * d, d, 0, "blocks.%d.attn.qkv", i);
        layer(l, d, d, 0, "blocks.%d.attn.proj", i);
        layer(l, mlp, d, 0, "blocks.%d.mlp.fc1", i);
        layer(l, d, mlp, 0, "blocks.%d.mlp.fc2", i);
        layer(l, 6 * d, d, 0, "blocks.%d.adaLN_modulation.1", i);
    }
    layer(l, p * p * in * (adm_int(c, "learn_sigma") ? 2 : 1), d, 0, "final_layer.linear");
    layer(l, 2 * d, d, 0, "final_layer.adaLN_modulation.1");
}

/* ---- the autoencoder: diffusers' names, or CompVis's ----------------------------------------------------------------------- */
typedef struct {
    NameList *l;
    bool compvis;
} VaeNames;
static void vae_res(const VaeNames *v, const char *p, int in, int out) {
    norm(v->l, in, "%s.norm1", p);
    layer(v->l, out, in, 3, "%s.conv1", p);
    norm(v->l, out, "%s.norm2", p);
    layer(v->l, out, out, 3, "%s.conv2", p);
    if (in != out) layer(v->l, out, in, 1, v->compvis ? "%s.nin_shortcut" : "%s.conv_shortcut", p);
}
static void vae_middle(const VaeNames *v, const char *half, int c) {
    static const char *const diffusers[] = {"group_norm", "to_q", "to_k", "to_v", "to_out.0"}, *const compvis[] = {"norm", "q", "k", "v",
                                                                                                                   "proj_out"};
    char p[64];
    snprintf(p, sizeof p, v->compvis ? "%s.mid.block_1" : "%s.mid_block.resnets.0", half);
    vae_res(v, p, c, c);
    snprintf(p, sizeof p, v->compvis ? "%s.mid.block_2" : "%s.mid_block.resnets.1", half);
    vae_res(v, p, c, c);
    snprintf(p, sizeof p, v->compvis ? "%s.mid.attn_1" : "%s.mid_block.attentions.0", half);
    for (int i = 0; i < 5; i++) layer(v->l, c, i ? c : 0, i && v->compvis ? 1 : 0, "%s.%s", p, (v->compvis ? compvis : diffusers)[i]);
}
static void vae_names(NameList *l, const Json *c, bool compvis) {
    VaeNames v = {l, compvis};
    int levels = 0, channels[8] = {0}, layers = adm_int(c, "layers_per_block"), z = adm_int(c, "latent_channels");
    const Json *list = json_get(c, "block_out_channels");
    for (const Json *j = list ? list->child : NULL; j && levels < 8; j = j->next) channels[levels++] = (int)j->number;
    int low = channels[levels - 1], ch = channels[0];
    char p[64];
    layer(l, ch, 3, 3, "encoder.conv_in");
    for (int i = 0; i < levels; i++) {
        for (int k = 0; k < layers; k++, ch = channels[i]) {
            snprintf(p, sizeof p, compvis ? "encoder.down.%d.block.%d" : "encoder.down_blocks.%d.resnets.%d", i, k);
            vae_res(&v, p, ch, channels[i]);
        }
        if (i < levels - 1)
            layer(l, ch, ch, 3, compvis ? "encoder.down.%d.downsample.conv" : "encoder.down_blocks.%d.downsamplers.0.conv", i);
    }
    vae_middle(&v, "encoder", low);
    norm(l, low, compvis ? "encoder.norm_out" : "encoder.conv_norm_out");
    layer(l, 2 * z, low, 3, "encoder.conv_out");
    layer(l, 2 * z, 2 * z, 1, "quant_conv");
    layer(l, z, z, 1, "post_quant_conv");
    layer(l, low, z, 3, "decoder.conv_in");
    vae_middle(&v, "decoder", low);
    ch = low;
    for (int i = 0; i < levels; i++) {
        int out = channels[levels - 1 - i], number = compvis ? levels - 1 - i : i;
        for (int k = 0; k <= layers; k++, ch = out) {
            snprintf(p, sizeof p, compvis ? "decoder.up.%d.block.%d" : "decoder.up_blocks.%d.resnets.%d", number, k);
            vae_res(&v, p, ch, out);
        }
        if (i < levels - 1) layer(l, ch, ch, 3, compvis ? "decoder.up.%d.upsample.conv" : "decoder.up_blocks.%d.upsamplers.0.conv", number);
    }
    norm(l, ch, compvis ? "decoder.norm_out" : "decoder.conv_norm_out");
    layer(l, 3, ch, 3, "decoder.conv_out");
}
#undef norm
#endif
