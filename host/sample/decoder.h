/* decoder.h -- an autoencoder's decoder on a device: from the sampler's state, latents, to pictures, a few images at a time, as its
 * feature maps are far larger than the sampler's networks'. What comes of an image depends on that image alone.           */
#ifndef DG_DECODER_H
#define DG_DECODER_H
#include "run/net.h"
#include "sample/picture.h"

enum { DECODER_ROWS = 4 /* images at a time, where nobody says how many */ };
typedef struct {
    Net *net;      /* of `rows` images */
    int rows;      /* images at a time */
    Shape picture; /* of one image */
} Decoder;

/* What an autoencoder computes in, on a device of this precision: bf16 for fp16, as its feature maps can exceed the range of fp16. */
Precision decoder_precision(Precision device);
/* The autoencoder's scaling_factor: a sampler's latents are its own times this. */
bool latent_scale(const Json *config, double *factor, Error *e);
/* state: of one image. Checks that the autoencoder takes such latents. */
Decoder *decoder_new(Device *d, Weights *w, Shape state, int rows, bool fuse, Error *e);
/* The same from the configuration alone, up to the plan of its memory: it cannot run. */
Decoder *decoder_plan(const Json *config, Shape state, Precision precision, int rows, bool fuse, Error *e);
void decoder_free(Decoder *d);
/* Pictures of x, [rows][per_sample] f64 on the device, any number of them, as Backend.to_u8 makes them. */
void decoder_enqueue(Decoder *d, int rows, const double *x, const Picture *p, uint8_t *bytes, int *bad);
#endif
