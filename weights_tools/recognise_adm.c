/* recognise_adm.c -- guided-diffusion's U-Nets, and its encoder as classifier, feature extractor and discriminator head. */
#include "weights_tools/recognise.h"
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { LEVELS = 8, MAX_BLOCKS = 128, HEAD_CHANNELS = 64 };
typedef struct {             /* one of input_blocks, after the first convolution */
    bool res, attention, op; /* op: a downsampling convolution */
    int in, out;
} Block;
typedef struct {
    const Clues *c;
    Block block[MAX_BLOCKS];
    int count, width; /* blocks; model_channels */
    int in_channels, out_channels, classes, image_size;
    bool unet, scale_shift, updown, resample;
    int levels, res_blocks, channels[LEVELS], attended, factor[LEVELS];
    const char *guess; /* what the levels could be besides, or NULL */
} Adm;

static void read_blocks(Adm *a) {
    const Clues *c = a->c;
    for (int i = 1; i < MAX_BLOCKS; i++) {
        Block b = {.in = clue_dim(c, 1, "input_blocks.%d.0.in_layers.2.weight", i),
                   .out = clue_dim(c, 0, "input_blocks.%d.0.in_layers.2.weight", i)};
        b.res = b.in && b.out, b.attention = clue(c, "input_blocks.%d.1.qkv.weight", i), b.op = clue(c, "input_blocks.%d.0.op.weight", i);
        bool later = clue(c, "input_blocks.%d.0.in_layers.2.weight", i + 1); /* a pooling has no tensors */
        if (!b.res && !b.op && !later) break;
        a->block[a->count++] = b;
    }
}
/* Whether levels of n blocks each, with one that halves the resolution between them, explain the input blocks. */
static bool explains(const Adm *a, int n) {
    int period = n + 1, levels = (a->count + 1) / period;
    if ((a->count + 1) % period || levels > LEVELS) return false;
    for (int i = 0; i < a->count; i++) {
        const Block *b = &a->block[i];
        int at = (i + 1) % period; /* 0: halves; 1: the first of a level */
        if (at == 0 && (b->attention || (b->res && b->in != b->out))) return false;
        if (at != 0 && !b->res) return false;
        if (at > 1 && (b->in != b->out || b->out != b[-1].out || b->attention != b[-1].attention)) return false;
    }
    return true;
}
/* Where the first output block that doubles the resolution is; 0: none does, or it has no tensors. */
static int first_up(const Adm *a) {
    for (int i = 0; clue(a->c, "output_blocks.%d.0.in_layers.2.weight", i); i++)
        for (int k = 1; k <= 2; k++)
            if (clue(a->c, "output_blocks.%d.%d.in_layers.2.weight", i, k) || clue(a->c, "output_blocks.%d.%d.conv.weight", i, k))
                return i + 1;
    return 0;
}
static bool read_levels(Adm *a) {
    int up = a->unet ? first_up(a) : 0, found = 0, other = 0;
    if (up > 1 && explains(a, up - 1)) found = up - 1;
    for (int n = 1; n <= a->count && !(up > 1); n++) {
        if (!explains(a, n)) continue;
        if (!found) found = n;
        else other = n;
    }
    if (!found) return false;
    a->res_blocks = found, a->levels = (a->count + 1) / (found + 1), a->guess = other ? "another number of levels is possible" : NULL;
    bool op = false, res = false;
    for (int l = 0; l < a->levels; l++) {
        const Block *b = &a->block[l * (found + 1)], *down = l ? b - 1 : NULL;
        a->channels[l] = b->out;
        if (b->attention) a->factor[a->attended++] = 1 << l;
        if (down) op |= down->op, res |= down->res;
    }
    a->updown = res && !op, a->resample = res || op;
    return true;
}

/* ---- what the tensors do not tell -------------------------------------------------------------------------------------- */
typedef struct { /* the published U-Nets (README of openai/guided-diffusion) */
    const char *name;
    int size, width, blocks, in_channels, levels;
    double mult[LEVELS];
    int heads; /* 0: heads of 64 channels */
    bool new_order, cosine;
} Published;
static const Published published[] = {
    {"64x64_diffusion", 64, 192, 3, 3, 4, {1, 2, 3, 4}, 0, true, true},
    {"128x128_diffusion", 128, 256, 2, 3, 5, {1, 1, 2, 3, 4}, 4, false, false},
    {"256x256_diffusion", 256, 256, 2, 3, 6, {1, 1, 2, 2, 4, 4}, 0, false, false},
    {"512x512_diffusion", 512, 256, 2, 3, 7, {.5, 1, 1, 2, 2, 4, 4}, 0, false, false},
    {"64_256_upsampler", 256, 192, 2, 6, 6, {1, 1, 2, 2, 4, 4}, 4, false, false},
    {"128_512_upsampler", 512, 192, 2, 6, 6, {1, 1, 2, 2, 4, 4}, 0, false, false},
};
static const Published *lookup(const Adm *a) {
    for (size_t i = 0; i < sizeof published / sizeof *published; i++) {
        const Published *p = &published[i];
        bool same = p->width == a->width && p->blocks == a->res_blocks && p->in_channels == a->in_channels && p->levels == a->levels;
        for (int l = 0; same && l < p->levels; l++) same = p->mult[l] * a->width == a->channels[l];
        /* The two upsamplers differ in where they attend: 32, 16, 8 of 256 and 32, 16 of 512. */
        if (same && p->in_channels == 6) same = a->attended == (p->size == 256 ? 3 : 2);
        if (same) return p;
    }
    return NULL;
}
/* Attention is at the levels of `factor`, and in the middle, which has the last level's channels. */
static bool attends(const Adm *a, int level) {
    for (int i = 0; i < a->attended; i++)
        if (a->factor[i] == 1 << level) return true;
    return level == a->levels - 1;
}
/* Heads of 64 channels, or of what divides the channels of the levels with attention where 64 does not. */
static int head_channels(const Adm *a, int given, Recognition *r) {
    if (given) return given;
    int n = HEAD_CHANNELS;
    for (int l = 0; l < a->levels; l++)
        while (attends(a, l) && a->channels[l] % n) n /= 2;
    text_printf(&r->notes, "attention heads of %d channels%s, which the file does not say (--num_head_channels)\n", n,
                n == HEAD_CHANNELS ? ", as in the official models" : "");
    return n;
}
static void write_mult(const Adm *a, Text *t) {
    text_printf(t, ", \"channel_mult\": [");
    for (int l = 0; l < a->levels; l++) text_printf(t, l ? ", %g" : "%g", (double)a->channels[l] / a->width);
    text_printf(t, "]");
}
static void write_common(const Adm *a, Text *t) {
    config_int(t, "image_size", a->image_size);
    config_int(t, "in_channels", a->in_channels);
    config_int(t, "model_channels", a->width);
    config_int(t, "out_channels", a->out_channels);
    config_int(t, "num_res_blocks", a->res_blocks);
    config_ints(t, "attention_resolutions", a->factor, a->attended);
    write_mult(a, t);
}
static void write_unet(Adm *a, Recognition *r) {
    const ConvertOptions *o = a->c->options;
    const Published *p = lookup(a);
    Text *t = &r->config;
    if (p)
        text_printf(&r->notes, "taken as OpenAI's %s.pt: image size %d, %s, %s order of q, k, v\n", p->name, p->size,
                    p->heads ? "4 attention heads" : "attention heads of 64 channels", p->new_order ? "new" : "legacy");
    a->image_size = o->image_size ? o->image_size : p ? p->size : a->attended ? 32 * a->factor[0] : 64;
    if (!p && !o->image_size)
        text_printf(&r->notes, "image size %d, so that attention begins at 32x32, which the file does not say (--image_size)\n",
                    a->image_size);
    int heads = o->num_heads ? o->num_heads : p && !o->num_head_channels ? p->heads : 0;
    bool new_order = o->attention_order ? !strcmp(o->attention_order, "new") : p && p->new_order;
    if (!p && !o->attention_order) text_printf(&r->notes, "legacy order of q, k, v, which the file does not say (--attention_order new)\n");
    text_printf(&r->architecture, "ADM U-Net");
    config_begin(t, "adm_unet");
    write_common(a, t);
    if (a->classes) config_int(t, "num_classes", a->classes);
    else text_printf(t, ", \"num_classes\": null");
    config_int(t, "num_heads", heads ? heads : 1);
    config_int(t, "num_head_channels", heads ? -1 : p && !o->num_head_channels ? HEAD_CHANNELS : head_channels(a, o->num_head_channels, r));
    config_bool(t, "use_scale_shift_norm", a->scale_shift);
    config_bool(t, "resblock_updown", a->updown);
    config_bool(t, "use_new_attention_order", new_order);
    config_bool(t, "conv_resample", a->resample);
    if (p) config_text(t, "noise_schedule", p->cosine ? "cosine" : "linear");
    config_end(t);
}
/* tokens: of the attention pool, 0: another pool. */
static bool encoder_size(Adm *a, int tokens, Recognition *r, Error *e) {
    int side = (int)lround(sqrt(tokens - 1)), image = side << (a->levels - 1), given = a->c->options->image_size;
    if (!tokens) {
        a->image_size = given ? given : a->attended ? 32 * a->factor[0] : 32;
        if (!given)
            text_printf(&r->notes, "image size %d, so that attention begins at 32x32, which the file does not say (--image_size)\n",
                        a->image_size);
        return true;
    }
    if (side * side != tokens - 1 || side < 1)
        return dg_error(e, "an attention pool of %d tokens, which is no square and one more", tokens);
    if (given && given != image) return dg_error(e, "--image_size %d: the tensors are those of an encoder for %dx%d", given, image, image);
    return a->image_size = image, true;
}
static bool write_encoder(Adm *a, int tokens, Recognition *r, Error *e) {
    bool head = tokens && a->levels == 1 && a->in_channels > 16;
    if (!encoder_size(a, tokens, r, e)) return false;
    int image = a->image_size;
    text_printf(&r->architecture, head ? "ADM encoder (discriminator head)" : "ADM encoder (extractor)");
    Text *t = &r->config;
    config_begin(t, head ? "head" : "extractor");
    if (!head) {
        bool openai =
            image == 64 && a->in_channels == 3 && a->width == 128 && a->res_blocks == 4 && a->levels == 4 && a->out_channels == 1000;
        const char *time = a->c->options->time ? a->c->options->time : openai ? "cosine" : "linear";
        if (!a->c->options->time)
            text_printf(&r->notes, "time input by the %s schedule%s, which the file does not say (--time linear|cosine)\n", time,
                        openai ? ", as OpenAI's 64x64 classifier was trained" : "");
        config_text(t, "time", time);
    }
    write_common(a, t);
    const ConvertOptions *o = a->c->options;
    int own = head ? o->discriminator_num_head_channels : o->extractor_num_head_channels;
    config_int(t, "num_head_channels", head_channels(a, own ? own : o->num_head_channels, r));
    config_bool(t, "use_scale_shift_norm", a->scale_shift);
    config_bool(t, "resblock_updown", a->updown || a->levels == 1);
    if (tokens) config_text(t, "pool", "attention");
    else text_printf(&r->notes, "its pool is no attention pool: it can be an extractor, whose pool is not used, but no head\n");
    if (head) config_bool(t, "condition", a->classes > 0);
    if (a->classes) config_int(t, "num_class", a->classes);
    config_end(t);
    return true;
}
bool recognise_adm(const Clues *c, Recognition *r, Error *e) {
    Adm a = {.c = c, .width = clue_dim(c, 1, "time_embed.0.weight"), .in_channels = clue_dim(c, 1, "input_blocks.0.0.weight")};
    int tokens = clue_dim(c, 1, "out.2.positional_embedding"), first = clue_dim(c, 0, "input_blocks.1.0.emb_layers.1.weight");
    a.unet = clue(c, "output_blocks.0.0.in_layers.2.weight") != NULL;
    a.classes = clue_dim(c, 0, "label_emb.weight");
    /* The pools: attention; adaptive, norm and a convolution; spatial and spatial_v2, two linear layers. */
    static const char *const outs[] = {"out.2.c_proj.weight", "out.3.weight", "out.2.weight"};
    static const char *const own[] = {"time_embed.", "label_emb.", "input_blocks.", "middle_block.", "output_blocks.", "out.", NULL};
    for (int i = a.unet ? 2 : 0; i < 3 && !a.out_channels; i++) a.out_channels = clue_dim(c, 0, "%s", outs[i]);
    if (!a.width || !a.in_channels || !a.out_channels || !clue(c, "middle_block.0.in_layers.2.weight")) return false;
    read_blocks(&a);
    a.scale_shift = a.count && first == 2 * a.block[0].out;
    if (!read_levels(&a)) return false;
    r->own = own;
    if (a.guess) text_printf(&r->notes, "%d levels of %d blocks; %s\n", a.levels, a.res_blocks, a.guess);
    if (a.unet) write_unet(&a, r);
    return a.unet || write_encoder(&a, tokens, r, e);
}
