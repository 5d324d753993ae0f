/* recognise_latent.c -- DiT, the Stable Diffusion VAE, and the Inception network of pytorch-fid. */
#include "weights_tools/recognise.h"
#include <math.h>
#include <string.h>

bool recognise_dit(const Clues *c, Recognition *r) {
    static const int official[][2] = {{384, 6}, {768, 12}, {1024, 16}, {1152, 16}}; /* width, heads: S, B, L, XL */
    int width = clue_dim(c, 0, "x_embedder.proj.weight"), in = clue_dim(c, 1, "x_embedder.proj.weight"),
        patch = clue_dim(c, 2, "x_embedder.proj.weight");
    int tokens = clue_dim(c, 1, "pos_embed"), classes = clue_dim(c, 0, "y_embedder.embedding_table.weight");
    int out = clue_dim(c, 0, "final_layer.linear.weight"), mlp = clue_dim(c, 0, "blocks.0.mlp.fc1.weight"), depth = 0;
    while (clue(c, "blocks.%d.attn.qkv.weight", depth)) depth++;
    if (!width || !in || !patch || classes < 2 || !out || !mlp || !depth) return false;
    int side = (int)lround(sqrt(tokens)), heads = c->options->num_heads;
    if (!tokens || side * side != tokens) { /* DiT's positions may be left out: they are a constant */
        side = (c->options->image_size ? c->options->image_size / 8 : 32) / patch;
        text_printf(&r->notes, "for images of %d pixels, which the file does not say (--image_size)\n", side * patch * 8);
    }
    const char *source = ", as in the official models";
    for (size_t i = 0; i < sizeof official / sizeof *official && !heads; i++)
        if (official[i][0] == width) heads = official[i][1];
    if (!heads) heads = width % 64 ? 1 : width / 64, source = "";
    if (!c->options->num_heads) text_printf(&r->notes, "%d attention heads%s, which the file does not say (--num_heads)\n", heads, source);
    static const char *const own[] = {"pos_embed", "x_embedder.", "t_embedder.", "y_embedder.", "blocks.", "final_layer.", NULL};
    r->own = own;
    text_printf(&r->architecture, "DiT");
    Text *t = &r->config;
    config_begin(t, "dit");
    config_int(t, "input_size", side * patch);
    config_int(t, "patch_size", patch);
    config_int(t, "in_channels", in);
    config_int(t, "hidden_size", width);
    config_int(t, "depth", depth);
    config_int(t, "num_heads", heads);
    config_number(t, "mlp_ratio", (double)mlp / width);
    config_int(t, "num_classes", classes - 1); /* and the null class */
    config_bool(t, "learn_sigma", out == 2 * in * patch * patch);
    config_end(t);
    return true;
}

bool recognise_vae(const Clues *c, Recognition *r) {
    enum { LEVELS = 8 };
    int channels[LEVELS], levels = 0, layers = 0;
    bool encoder = clue(c, "encoder.conv_in.weight"), decoder = clue(c, "decoder.conv_in.weight");
    if (!encoder && !decoder) return false;
    while (levels < LEVELS) {
        int n = encoder ? clue_dim(c, 0, "encoder.down_blocks.%d.resnets.0.conv2.weight", levels)
                        : clue_dim(c, 0, "decoder.up_blocks.%d.resnets.0.conv2.weight", levels);
        if (!n) break;
        channels[levels++] = n;
    }
    if (!levels) return false;
    for (int i = 0, k = levels - 1; !encoder && i < k; i++, k--) { /* the decoder begins with the lowest level */
        int n = channels[i];
        channels[i] = channels[k], channels[k] = n;
    }
    while (clue(c, encoder ? "encoder.down_blocks.0.resnets.%d.conv1.weight" : "decoder.up_blocks.0.resnets.%d.conv1.weight", layers))
        layers++;
    int latent = decoder ? clue_dim(c, 1, "decoder.conv_in.weight") : clue_dim(c, 0, "encoder.conv_out.weight") / 2;
    static const char *const own[] = {"encoder.", "decoder.", "quant_conv.", "post_quant_conv.", NULL};
    r->own = own;
    text_printf(&r->architecture, "KL autoencoder (%s)", encoder && decoder ? "encoder and decoder" : encoder ? "encoder" : "decoder");
    text_printf(&r->notes, "scaling factor 0.18215, as in Stable Diffusion, which the file does not say\n");
    Text *t = &r->config;
    config_begin(t, "vae");
    config_ints(t, "block_out_channels", channels, levels);
    config_int(t, "layers_per_block", encoder ? layers : layers - 1);
    config_int(t, "latent_channels", latent);
    config_int(t, "norm_num_groups", 32);
    text_printf(t, ", \"norm_eps\": 1e-06, \"scaling_factor\": 0.18215");
    config_end(t);
    return true;
}

bool recognise_inception(const Clues *c, Recognition *r) {
    int logits = clue_dim(c, 0, "fc.weight");
    bool fid = clue_dim(c, 0, "Conv2d_1a_3x3.conv.weight") == 32 && clue_dim(c, 1, "Mixed_7c.branch1x1.conv.weight") == 2048 &&
               clue_dim(c, 0, "Mixed_5b.branch5x5_2.conv.weight") == 64;
    if (!fid) return false;
    r->canonical = true;
    text_printf(&r->architecture, "Inception v3 (FID)");
    config_begin(&r->config, "inception");
    if (logits) config_int(&r->config, "num_classes", logits);
    config_end(&r->config);
    return true;
}
