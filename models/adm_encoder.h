/* adm_encoder.h -- guided-diffusion's EncoderUNetModel: the discriminator's feature extractor, and its head. */
#ifndef DG_ADM_ENCODER_H
#define DG_ADM_ENCODER_H
#include "models/adm_blocks.h"

typedef AdmConfig EncoderConfig; /* heads are num_head_channels wide, of the legacy order; resblock_updown */
#endif
