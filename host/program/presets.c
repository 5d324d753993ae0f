/* presets.c -- published settings of sampling and guidance. */
#include "program/sample_options.h"

const Preset sample_presets[] = {
    {"edm-cifar10", "steps=18 dg_weight_1st_order=0 dg_weight_2nd_order=0", "EDM, CIFAR-10; no guidance"},
    {"edm-ffhq64", "steps=40 dg_weight_1st_order=0 dg_weight_2nd_order=0", "EDM, FFHQ and AFHQv2 at 64x64; no guidance"},
    {"edm-imagenet64", "steps=256 S_churn=40 S_min=0.05 S_max=50 S_noise=1.003 dg_weight_1st_order=0 dg_weight_2nd_order=0",
     "EDM, ImageNet at 64x64; no guidance"},
    {"edm-cifar10-uncond-dg", "steps=18 dg_weight_1st_order=2 dg_weight_2nd_order=0 time_min=0.01 time_max=1 boosting=0",
     "EDM-G++, CIFAR-10, unconditional; guided, weight 2"},
    {"edm-cifar10-cond-dg", "steps=18 dg_weight_1st_order=1 dg_weight_2nd_order=0 time_min=0.01 time_max=1 boosting=1",
     "EDM-G++, CIFAR-10, class-conditional; guided, weight 1, with boosting"},
    {NULL, NULL, NULL},
};
