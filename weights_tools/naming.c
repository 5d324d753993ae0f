/* naming.c -- tensor names of other programs, brought to the ones that models/ knows: wrappers' prefixes, CompVis's
 * autoencoder, and diffusers' names before 2023.                                                                     */
#include "weights_tools/naming.h"
#include "weights_tools/parts.h"
#include <stdio.h>
#include <string.h>

static bool begins(const char *s, const char *prefix) { return !strncmp(s, prefix, strlen(prefix)); }

/* ---- wrappers -------------------------------------------------------------------------------------------------------------- */
/* The component at s that a wrapper of PyTorch adds, with its dot; 0: there is none. */
static size_t wrapper(const char *s) {
    static const char *const words[] = {"module.", "_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module."};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (begins(s, words[i])) return strlen(words[i]);
    return 0;
}
/* The name without them; false: it has no room. */
static bool unwrap(const char *name, char out[CANONICAL_NAME]) {
    size_t n = 0;
    for (const char *at = name; *at;) {
        size_t w = wrapper(at), k = strcspn(at, ".");
        if (w) {
            at += w;
            continue;
        }
        k += at[k] == '.';
        if (n + k >= CANONICAL_NAME) return false;
        memcpy(out + n, at, k);
        n += k, at += k;
    }
    out[n] = 0;
    return true;
}

/* ---- where the network lies ---------------------------------------------------------------------------------------------- */
/* A name that each family has once, and one more that lies beside it. */
static const struct {
    const char *anchor, *beside;
} families[] = {
    {"map_layer0.weight", "enc."},
    {"time_embed.0.weight", "input_blocks.0."},
    {"x_embedder.proj.weight", "blocks.0."},
    {"encoder.conv_in.weight", "encoder."},
    {"decoder.conv_in.weight", "decoder."},
    {"Conv2d_1a_3x3.conv.weight", "Mixed_5b."},
    {"layers.conv.weight", "layers.mixed_10."},
};
enum { FAMILIES = sizeof families / sizeof *families, EDM = 0 };
/* The length of what stands before the anchor; -1: the name does not end in it. */
static int before(const char *name, const char *anchor) {
    size_t n = strlen(name), k = strlen(anchor);
    return n >= k && !strcmp(name + n - k, anchor) && (n == k || name[n - k - 1] == '.') ? (int)(n - k) : -1;
}
static bool has(const char *const *name, int count, const char *prefix, size_t n, const char *rest, bool inside) {
    char text[CANONICAL_NAME];
    for (int i = 0; i < count; i++) {
        const char *s = !inside ? name[i] : unwrap(name[i], text) ? text : "";
        if (!strncmp(s, prefix, n) && begins(s + n, rest)) return true;
    }
    return false;
}
enum { BESIDE, OUTERMOST, AVERAGED, AUTOENCODER };
static int rank_of(const char *prefix) {
    if (!strcmp(prefix, "first_stage_model.")) return AUTOENCODER; /* of a whole latent diffusion model */
    return part_is_average(prefix) ? AVERAGED : *prefix ? BESIDE : OUTERMOST;
}
static void consider(Naming *n, const char *prefix, bool *found) {
    if (*found && !strcmp(prefix, n->prefix)) return;
    for (int i = 0; i < n->others; i++)
        if (!strcmp(n->other[i], prefix)) return;
    int rank = rank_of(prefix), best = *found ? rank_of(n->prefix) : -1;
    const char *lost = rank > best ? n->prefix : prefix;
    if (*found && rank == best) n->ambiguous = true;
    if (*found && n->others < NAMING_OTHERS) snprintf(n->other[n->others++], CANONICAL_NAME, "%s", lost);
    if (rank > best) snprintf(n->prefix, CANONICAL_NAME, "%s", prefix), n->ambiguous = false;
    *found = true;
}
static bool find_network(Naming *n, const char *const *name, int count) {
    char text[CANONICAL_NAME];
    bool found = false;
    int looked = 0;
    for (int i = 0; i < count; i++) {
        if (!unwrap(name[i], text)) continue;
        for (int f = 0; f < FAMILIES && looked < 64; f++) { /* each look goes through all names */
            int length = before(text, families[f].anchor);
            if (length < 0 || (++looked, !has(name, count, text, (size_t)length, families[f].beside, true))) continue;
            text[length] = 0;
            /* EDM's U-Net lies in "model." of its preconditioner. */
            if (f == EDM && length >= 6 && !strcmp(text + length - 6, "model.") && (length == 6 || text[length - 7] == '.'))
                text[length - 6] = 0;
            consider(n, text, &found);
            break;
        }
    }
    return found;
}
/* Of what is no network that is known: the wrappers' prefix that all names have. */
static void common_wrappers(Naming *n, const char *const *name, int count) {
    for (size_t length = 0, more; count; length += more) {
        more = wrapper(name[0] + length);
        int with = 0;
        while (with < count && !strncmp(name[with], name[0], length + more) && name[with][length + more]) with++;
        if (!more || with < count || length + more >= CANONICAL_NAME) return;
        memcpy(n->prefix, name[0], length + more);
        n->prefix[length + more] = 0;
    }
}
Naming naming_of(const char *const *name, int count) {
    Naming n = {.added = ""};
    n.inside = find_network(&n, name, count);
    if (!n.inside) common_wrappers(&n, name, count);
    size_t length = strlen(n.prefix);
    n.vae = has(name, count, n.prefix, length, "decoder.mid", n.inside) || has(name, count, n.prefix, length, "encoder.mid", n.inside);
    for (int i = 0; n.vae && i < count; i++) {
        int level;
        char text[CANONICAL_NAME];
        const char *s = n.inside && unwrap(name[i], text) ? text : name[i];
        s = begins(s, n.prefix) ? s + length : "";
        if ((sscanf(s, "decoder.up.%d.", &level) == 1 || sscanf(s, "encoder.down.%d.", &level) == 1) && level >= n.vae_levels && level < 16)
            n.vae_levels = level + 1;
    }
    n.inception = has(name, count, n.prefix, length, "layers.mixed_10.", n.inside);
    /* EDM's U-Net without its preconditioner. */
    if (has(name, count, n.prefix, length, "map_layer0.", n.inside) && has(name, count, n.prefix, length, "enc.", n.inside))
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
    char text[CANONICAL_NAME];
    const char *full = n->inside && unwrap(name, text) ? text : name;
    if (!begins(full, n->prefix)) return NULL;
    for (int i = 0; i < n->others; i++)
        if (begins(n->other[i], n->prefix) && begins(full, n->other[i])) return NULL;
    const char *rest = full + strlen(n->prefix);
    if (n->vae && (begins(rest, "loss.") || begins(rest, "model_ema."))) return NULL; /* left over from training */
    if ((size_t)snprintf(out, CANONICAL_NAME, "%s%s", n->added, rest) >= CANONICAL_NAME) return NULL;
    if (n->vae) rename_vae(out, n->vae_levels);
    if (n->inception && !naming_inception(out)) return NULL;
    return strcmp(out, name) ? out : name;
}
