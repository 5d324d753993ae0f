/* edm_unet.h -- what SongUNet and DhariwalUNet share: arguments, the block, resampling. */
#ifndef DG_EDM_UNET_H
#define DG_EDM_UNET_H
#include "models/blocks.h"
#include "models/edm.h"

typedef struct { /* what the two networks set differently in the shared block */
    const NetworkConfig *c;
    Graph *g;
    Tid emb;
    float eps, skip_scale;
    bool resample_proj, adaptive_scale;
    int channels_per_head; /* 0: one head */
} UNet;
typedef enum { DOWN = -1, SAME = 0, UP = 1 } Direction;

/* The arguments that both have, and those of the preconditioner. */
bool edm_config(NetworkConfig *c, const Json *config, int model_channels, int num_blocks, Error *e);
Tid edm_norm(const UNet *u, Tid x, const char *name, Tid scale_shift);
Tid edm_conv(const UNet *u, Tid x, const char *name, int k, int r);
/* By the network's filter, normalised to sum 1; upsampling multiplies by 4. */
Tid edm_resample(const UNet *u, Tid x, Direction direction);
Tid edm_resample_padded(const UNet *u, Tid x, Direction direction, int pad);
Tid edm_block(const UNet *u, Tid x, int c, Direction direction, bool attention);
bool edm_attends(const NetworkConfig *c, int resolution);
/* Makes the inputs. */
void edm_inputs(const NetworkConfig *c, Graph *g, int batch, Ports *p);
int edm_out_channels(const NetworkConfig *c); /* of the U-Net itself: iDDPM's has twice the image's */
Tid edm_output(const NetworkConfig *c, Graph *g, Tid f);
bool edm_score(const void *config, ScoreFacts *f, Error *e);

enum { MAX_SKIPS = MAX_LEVELS * (MAX_BLOCKS + 2) };
typedef struct { /* outputs of the encoder that the decoder takes, the last one first */
    Tid t[MAX_SKIPS];
    int n;
} SkipStack;
#endif
