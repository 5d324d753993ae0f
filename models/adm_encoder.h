/* adm_encoder.h -- guided-diffusion's EncoderUNetModel: the discriminator's feature extractor, and its head. */
#ifndef DG_ADM_ENCODER_H
#define DG_ADM_ENCODER_H
#include "models/arguments.h"
#include "models/models.h"

typedef struct { /* field names are the official argument names (guided_diffusion/unet.py, script_util.py) */
    int image_size, in_channels, model_channels, out_channels, num_res_blocks;
    int channel_mult[MAX_LEVELS], levels;
    int attention_resolutions[MAX_LEVELS], attn_count; /* downsampling factors */
    int num_head_channels;
    bool use_scale_shift_norm, resblock_updown;
    bool condition; /* head: adds label_emb[class] to the time embedding */
    int num_class;
    bool cosine_time; /* extractor, "time": "cosine": tau is re-parameterised (64x64 OpenAI classifier) */
} EncoderConfig;
#endif
