/* inception.h -- Inception v3 of the Frechet distances: where its inner tensors are among the ports. */
#ifndef DG_INCEPTION_H
#define DG_INCEPTION_H
#include "models/models.h"

/* Of Ports.tap; Ports.out is the pool, the mean over all pixels of Mixed_7c. All but the logits are images after their ReLU. */
enum {
    INCEPTION_LOGITS,      /* {n,1,1,num_classes}; 0 of a file without fc */
    INCEPTION_LOGITS_BARE, /* the same without their bias: what the Inception Score is of */
    INCEPTION_SPATIAL,     /* the first 7 channels of Mixed_6d.branch1x1: what sFID is of, in the order of its reference files */
    INCEPTION_MAXPOOL_1,
    INCEPTION_MAXPOOL_2,
    INCEPTION_MIXED, /* the first of INCEPTION_MIXED_BLOCKS: Mixed_5b, _5c, _5d, _6a .. _6e, _7a, _7b, _7c */
    INCEPTION_MIXED_BLOCKS = 11,
    INCEPTION_TAPS = INCEPTION_MIXED + INCEPTION_MIXED_BLOCKS
};
enum { INCEPTION_SIZE = 299 };                                    /* of its images, in the official graph */
extern const char *const inception_mixed[INCEPTION_MIXED_BLOCKS]; /* "Mixed_5b", ... */
#endif
