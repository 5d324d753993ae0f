/* synthetic.h -- networks with made-up weights, for tests that need no file. */
#ifndef DG_SYNTHETIC_H
#define DG_SYNTHETIC_H
#include "base/error.h"
#include "graph/weights.h"
#include <string.h>

/* As small as a score network can be: the emulated kernels run it, too. */
#define SMALL_NETWORK(precond)                                                                                                             \
    "{\"kind\": \"denoiser\", \"precond\": \"" precond "\", \"img_resolution\": 4, \"img_channels\": 3, \"label_dim\": 3, "                \
    "\"model_type\": \"SongUNet\", \"model_channels\": 8, \"channel_mult\": [1], \"num_blocks\": 1, \"attn_resolutions\": []}"

static inline Weights *synthetic(const char *config, uint64_t seed) {
    Error e = {""};
    Json *j = json_parse(config, strlen(config), &e);
    DG_CHECK(j, "%s", e.text);
    Weights *w = weights_synthetic(seed, j);
    json_free(j);
    return w;
}
#endif
