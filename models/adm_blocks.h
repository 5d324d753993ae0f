/* adm_blocks.h -- what the networks of guided-diffusion (unet.py) share: arguments, the embedding, the blocks, and the half of
 * the U-Net that its encoder is too.                                                                                        */
#ifndef DG_ADM_BLOCKS_H
#define DG_ADM_BLOCKS_H
#include "models/arguments.h"
#include "models/blocks.h"
#include "models/models.h"

typedef struct { /* field names are the official argument names (unet.py, script_util.py) */
    int image_size, in_channels, model_channels, out_channels, num_res_blocks;
    double channel_mult[MAX_LEVELS]; /* a half is possible: adm_channels */
    int levels;
    int attention_resolutions[MAX_LEVELS], attn_count; /* downsampling factors */
    int num_heads, num_head_channels;                  /* heads of num_head_channels; where that is -1, num_heads of them */
    bool use_scale_shift_norm, resblock_updown, conv_resample, use_new_attention_order;
    bool condition; /* adds label_emb[class] to the time embedding */
    int num_class;
    bool cosine_schedule; /* U-Net, "noise_schedule": "cosine" */
    bool cosine_time;     /* extractor, "time": "cosine": tau is re-parameterised (64x64 OpenAI classifier) */
} AdmConfig;
typedef struct {
    const AdmConfig *c;
    Graph *g;
    Tid emb; /* silu of the time (and class) embedding */
} Adm;
typedef enum { ADM_SAME, ADM_DOWN, ADM_UP } AdmResample;
/* The outputs of the input blocks, which the U-Net's other half takes from the last to the first. */
typedef struct {
    Tid t[MAX_LEVELS * (MAX_BLOCKS + 1)];
    int n;
} AdmSkips;

/* The arguments that both networks have under the same names, but for the heads. */
bool adm_config(AdmConfig *c, const Json *config, int out_channels, Error *e);
int adm_channels(const AdmConfig *c, int level);
bool adm_level_attends(const AdmConfig *c, int level);
/* Makes the inputs, x unless it is there. False: what it is given has another shape, which is refused. */
bool adm_begin(Adm *n, Graph *g, const AdmConfig *c, int batch, Ports *p);
/* Of a timestep between 0 and 999. */
void adm_time_features(const AdmConfig *c, float timestep, float *out);

Tid adm_conv(const Adm *n, Tid x, const char *name, int k, int r);
Tid adm_norm_silu(const Adm *n, Tid x, const char *name);
int adm_heads(const Adm *n, int channels);
Tid adm_res_block(const Adm *n, Tid x, int c, AdmResample resample);
Tid adm_attention_block(const Adm *n, Tid x);
Tid adm_resample(const Adm *n, Tid x, AdmResample resample); /* no parameters: means of 2x2, or each pixel four times */
/* input_blocks and middle_block. skips: filled; NULL: nobody wants them. */
Tid adm_torso(const Adm *n, Tid x, AdmSkips *skips);
#endif
