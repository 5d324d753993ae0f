/* presets.c -- published settings of sampling and guidance. */
#include "program/sample_options.h"
#include <stdio.h>
#include <string.h>

#define UNGUIDED       "dg_weight_1st_order=0 dg_weight_2nd_order=0"
#define EDM            "NVlabs/edm, README.md"
#define DG             "alsdudrla10/DG, README.md"
#define RESAMPLING     "UCSB-NLP-Chang/diffusion_resampling, benchmarks/generate.py; arXiv 2312.06038"
#define RESAMPLING_EDM "S_min=0.05 S_max=50 S_noise=1.003 dg_weight_2nd_order=0 time_min=0.01 time_max=1 boosting=double"
const Preset sample_presets[] = {
    {"edm-cifar10", "steps=18 " UNGUIDED, "EDM, CIFAR-10; no guidance", EDM},
    {"edm-ffhq64", "steps=40 " UNGUIDED, "EDM, FFHQ and AFHQv2 at 64x64; no guidance", EDM},
    {"edm-imagenet64", "steps=256 S_churn=40 S_min=0.05 S_max=50 S_noise=1.003 " UNGUIDED, "EDM, ImageNet at 64x64; no guidance", EDM},
    {"edm-cifar10-uncond-dg", "steps=18 dg_weight_1st_order=2 dg_weight_2nd_order=0 time_min=0.01 time_max=1 boosting=0",
     "EDM-G++, CIFAR-10, unconditional; guided, weight 2", DG},
    {"edm-cifar10-cond-dg", "steps=18 dg_weight_1st_order=1 dg_weight_2nd_order=0 time_min=0.01 time_max=1 boosting=1",
     "EDM-G++, CIFAR-10, class-conditional; guided, weight 1, with boosting", DG},
    {"edm-ffhq64-dg", "steps=32 S_churn=2.5 dg_weight_1st_order=1 " RESAMPLING_EDM,
     "EDM and a discriminator, FFHQ at 64x64; 32 steps, the fewest of those published (to 200)", RESAMPLING},
    {"edm-imagenet64-dg", "steps=64 S_churn=10 dg_weight_1st_order=1.1 " RESAMPLING_EDM,
     "EDM and a discriminator, ImageNet at 64x64; 64 steps, the fewest of those published (to 384)", RESAMPLING},
    {"dit-xl-2-256", "sampler=ddpm steps=250 cfg_scale=1.5 " UNGUIDED, "DiT-XL/2, ImageNet at 256x256, as its FID is computed; VAE ema",
     "facebookresearch/DiT, sample_ddp.py"},
    {"dit-xl-2-256-sample", "sampler=ddpm steps=250 cfg_scale=4 " UNGUIDED, "the same, as its sample pictures are made; VAE mse",
     "facebookresearch/DiT, sample.py"},
    {"dit-xl-2-256-dg",
     "sampler=ddpm steps=250 LT_cfg=1.25 ST_cfg=3 branch_time=200 dg_weight_1st_order=1 dg_weight_2nd_order=0 time_min=100 time_max=1000 "
     "boosting=0",
     "DiT-XL/2-G++, ImageNet at 256x256; guided, weight 1; VAE mse", "alsdudrla10/DG_imagenet, sample.py"},
    {NULL, NULL, NULL, NULL},
};
void preset_print(const char *name) {
    const Preset *p = name ? preset_find(sample_presets, name) : NULL;
    if (p) printf("preset %s: %s (%s)\n", p->name, p->settings, p->source);
}
const char *preset_networks(const char *name) {
    const Preset *p = name ? preset_find(sample_presets, name) : NULL;
    if (!p || strncmp(p->name, "dit-xl-2-256", 12)) return NULL;
    return "{\"network\": {\"kind\": \"dit\", \"input_size\": 32, \"patch_size\": 2, \"in_channels\": 4, \"hidden_size\": 1152, "
           "\"depth\": 28, \"num_heads\": 16, \"mlp_ratio\": 4, \"num_classes\": 1000, \"learn_sigma\": true}, "
           "\"extractor\": {\"kind\": \"extractor\", \"image_size\": 32, \"in_channels\": 4, \"model_channels\": 128, "
           "\"out_channels\": 1000, \"num_res_blocks\": 2, \"attention_resolutions\": [1, 2, 4], \"channel_mult\": [1, 2, 3], "
           "\"num_head_channels\": 64, \"use_scale_shift_norm\": true, \"resblock_updown\": true, \"pool\": \"attention\"}, "
           "\"head\": {\"kind\": \"head\", \"image_size\": 8, \"in_channels\": 384, \"model_channels\": 128, \"out_channels\": 1, "
           "\"num_res_blocks\": 2, \"attention_resolutions\": [1], \"channel_mult\": [1], \"num_head_channels\": 64, "
           "\"use_scale_shift_norm\": true, \"resblock_updown\": true, \"pool\": \"attention\", \"condition\": true, "
           "\"num_class\": 1000}, "
           "\"vae\": {\"kind\": \"vae\", \"block_out_channels\": [128, 256, 512, 512], \"layers_per_block\": 2, "
           "\"latent_channels\": 4, \"norm_num_groups\": 32, \"norm_eps\": 1e-06, \"scaling_factor\": 0.18215}}";
}
