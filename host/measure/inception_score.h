/* inception_score.h -- the Inception Score of images from their logits, which are those without the bias. */
#ifndef DG_INCEPTION_SCORE_H
#define DG_INCEPTION_SCORE_H
#include "base/error.h"

/* Images are cut into parts, each with a score: of split_size images in their order, the last perhaps shorter (ADM: 5000); or, where
 * split_size is 0, into `splits` parts as equal as can be. shuffled: in the order that NumPy's RandomState(seed) gives. */
typedef struct {
    size_t split_size;
    int splits;
    bool shuffled;
    uint32_t seed;
} ScoreSplits;
typedef struct {
    double mean, std; /* of the parts; std: population */
    int splits;
    double *split; /* [splits], freed by inception_score_free */
} InceptionScore;
/* logits: [images][classes] */
bool inception_score(const float *logits, size_t images, int classes, ScoreSplits how, InceptionScore *out, Error *e);
void inception_score_free(InceptionScore *s);
#endif
