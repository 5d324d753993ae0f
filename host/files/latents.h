/* latents.h -- an npz file of latents, as `generate --save-latents` writes it: samples (f32, N x C x H x W, or one image's C x H x W as
 * DG's data tool has it), label (one-hot rows or numbers; may be missing), seeds (may be missing: 0, 1, 2, ...).               */
#ifndef DG_LATENTS_H
#define DG_LATENTS_H
#include "base/seeds.h"
#include "files/npz.h"

typedef struct {
    Npz *npz;
    NpyArray array;      /* of samples, where they had to be read; else they lie in the file: */
    const uint8_t *data; /* f32, at any alignment */
    size_t count;        /* images */
    int channels, height, width;
    int *label; /* [count], -1: none */
    SeedList seeds;
} Latents;
bool latents_open(Latents *l, const char *path, Error *e); /* on failure there is nothing to close */
void latents_close(Latents *l);
void latents_get(const Latents *l, size_t image, double *out); /* as NHWC */
#endif
