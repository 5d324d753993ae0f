/* naming.c -- tensor names of other programs, brought to the ones that models/ knows: wrappers' prefixes, CompVis's
 * autoencoder, and diffusers' names before 2023.                                                                     */
#include "weights_tools/naming.h"
#include <stdio.h>
#include <string.h>

static bool begins(const char *s, const char *prefix) { return !strncmp(s, prefix, strlen(prefix)); }
static bool has(const char *const *name, int count, const char *prefix, const char *rest) {
    for (int i = 0; i < count; i++)
        if (begins(name[i], prefix) && begins(name[i] + strlen(prefix), rest)) return true;
    return false;
}
Naming naming_of(const char *const *name, int count) {
    static const char *const wrappers[] = {"module.", "_orig_mod.", "module._orig_mod."};
    Naming n = {.prefix = "", .added = ""};
    for (size_t w = 0; w < sizeof wrappers / sizeof *wrappers; w++) {
        int with = 0;
        while (with < count && begins(name[with], wrappers[w])) with++;
        if (count && with == count) n.prefix = wrappers[w];
    }
    if (has(name, count, "first_stage_model.", "decoder.")) n.prefix = "first_stage_model.";
    n.vae = has(name, count, n.prefix, "decoder.mid") || has(name, count, n.prefix, "encoder.mid");
    for (int i = 0; n.vae && i < count; i++) {
        int level;
        const char *s = begins(name[i], n.prefix) ? name[i] + strlen(n.prefix) : "";
        if ((sscanf(s, "decoder.up.%d.", &level) == 1 || sscanf(s, "encoder.down.%d.", &level) == 1) && level >= n.vae_levels && level < 16)
            n.vae_levels = level + 1;
    }
    /* EDM's U-Net without its preconditioner. */
    if (has(name, count, n.prefix, "map_layer0.") && has(name, count, n.prefix, "enc.") && has(name, count, n.prefix, "dec."))
        n.added = "model.";
    return n;
}

/* ---- autoencoders ------------------------------------------------------------------------------------------------------- */
static bool replace(char *s, const char *from, const char *to) { /* the first occurrence; the room is CANONICAL_NAME */
    char *at = strstr(s, from);
    if (!at) return false;
    size_t a = strlen(from), b = strlen(to), rest = strlen(at + a) + 1;
    if (strlen(s) + b >= CANONICAL_NAME + a) return false;
    memmove(at + b, at + a, rest);
    memcpy(at, to, b);
    return true;
}
/* "decoder.up.3.block.1" -> "decoder.up_blocks.0.resnets.1": CompVis numbers the decoder's levels in reverse. */
static void rename_level(char *s, int levels) {
    char rest[256]; /* CHECKPOINT_MAX_NAME and its end */
    int level, block;
    bool down = begins(s, "encoder.down.");
    if (!down && !begins(s, "decoder.up.")) return;
    const char *half = down ? "encoder.down_blocks" : "decoder.up_blocks", *number = s + strlen(down ? "encoder.down." : "decoder.up.");
    if (sscanf(number, "%d.block.%d.%255s", &level, &block, rest) == 3)
        snprintf(s, CANONICAL_NAME, "%s.%d.resnets.%d.%s", half, down ? level : levels - 1 - level, block, rest);
    else if (sscanf(number, down ? "%d.downsample.conv.%255s" : "%d.upsample.conv.%255s", &level, rest) == 2)
        snprintf(s, CANONICAL_NAME, "%s.%d.%s.0.conv.%s", half, down ? level : levels - 1 - level, down ? "downsamplers" : "upsamplers",
                 rest);
}
static void rename_vae(char *s, int levels) {
    static const char *const compvis[][2] = {
        {".mid.block_1.", ".mid_block.resnets.0."},   {".mid.block_2.", ".mid_block.resnets.1."},
        {".mid.attn_1.", ".mid_block.attentions.0."}, {".nin_shortcut.", ".conv_shortcut."},
        {"coder.norm_out.", "coder.conv_norm_out."},
    };
    static const char *const attention[][2] = {
        {".0.norm.", ".0.group_norm."}, {".q.", ".to_q."},     {".k.", ".to_k."},   {".v.", ".to_v."},
        {".proj_out.", ".to_out.0."},   {".query.", ".to_q."}, {".key.", ".to_k."}, {".value.", ".to_v."},
        {".proj_attn.", ".to_out.0."},
    };
    for (size_t i = 0; i < sizeof compvis / sizeof *compvis; i++) replace(s, compvis[i][0], compvis[i][1]);
    rename_level(s, levels);
    for (size_t i = 0; strstr(s, ".attentions.") && i < sizeof attention / sizeof *attention; i++)
        replace(s, attention[i][0], attention[i][1]);
}
const char *naming_apply(const Naming *n, const char *name, char out[CANONICAL_NAME]) {
    if (!begins(name, n->prefix)) return NULL;
    const char *rest = name + strlen(n->prefix);
    if (n->vae && (begins(rest, "loss.") || begins(rest, "model_ema."))) return NULL; /* left over from training */
    if (!n->vae && !*n->added) return rest;
    if ((size_t)snprintf(out, CANONICAL_NAME, "%s%s", n->added, rest) >= CANONICAL_NAME) return rest;
    if (n->vae) rename_vae(out, n->vae_levels);
    return out;
}
