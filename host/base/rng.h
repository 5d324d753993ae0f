/* rng.h -- counter-based noise: Philox4x32-10 keyed by the image's seed (Salmon et al., SC 2011).
 *
 * Normal j of (seed, step): counter = {j/2 low, j/2 high, step, stream}, key = {seed low, seed high}; the four 32-bit
 * outputs make one pair of f64 normals by Box-Muller, from two 53-bit uniforms in (0,1); j even takes the cosine.
 * step 0xffffffff is the initial latent, 0xfffffffe the noise of `encode`; 0, 1, 2... the sampler's steps. So a value
 * depends on seed, step and element alone: not on the batch, the position in it, or the number of processes.         */
#ifndef DG_RNG_H
#define DG_RNG_H
#include <math.h>
#include <stdint.h>
#ifdef __CUDACC__
#define DG_RNG_FN __host__ __device__ static inline
#else
#define DG_RNG_FN static inline
#endif

enum { RNG_STREAM_NOISE = 0, RNG_STREAM_LABEL = 1, RNG_STREAM_FLIP = 2 };
#define RNG_STEP_LATENT    0xffffffffu
#define RNG_STEP_POSTERIOR 0xfffffffeu /* of an autoencoder's latents, by `encode` */

typedef struct {
    uint32_t v[4];
} Philox;

DG_RNG_FN Philox philox(uint64_t key, uint64_t counter_low, uint32_t step, uint32_t stream) {
    uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
    Philox c;
    c.v[0] = (uint32_t)counter_low, c.v[1] = (uint32_t)(counter_low >> 32), c.v[2] = step, c.v[3] = stream;
    for (int round = 0; round < 10; round++) {
        uint64_t a = (uint64_t)0xD2511F53u * c.v[0], b = (uint64_t)0xCD9E8D57u * c.v[2];
        Philox d;
        d.v[0] = (uint32_t)(b >> 32) ^ c.v[1] ^ k0, d.v[1] = (uint32_t)b;
        d.v[2] = (uint32_t)(a >> 32) ^ c.v[3] ^ k1, d.v[3] = (uint32_t)a;
        c = d;
        k0 += 0x9E3779B9u, k1 += 0xBB67AE85u;
    }
    return c;
}
/* Uniform in (0,1) from two outputs: (53-bit integer + 1/2) * 2^-53. */
DG_RNG_FN double philox_uniform(uint32_t low, uint32_t high) { return ((double)((((uint64_t)high << 32) | low) >> 11) + 0.5) * 0x1p-53; }
/* Normals 2*pair and 2*pair + 1 of (seed, step). */
DG_RNG_FN void philox_normal_pair(uint64_t seed, uint64_t pair, uint32_t step, double out[2]) {
    Philox r = philox(seed, pair, step, RNG_STREAM_NOISE);
    double radius = sqrt(-2 * log(philox_uniform(r.v[0], r.v[1])));
    double angle = 6.283185307179586476925 * philox_uniform(r.v[2], r.v[3]);
    out[0] = radius * cos(angle), out[1] = radius * sin(angle);
}
/* Whether `encode` mirrors the picture of a seed: half of them. */
DG_RNG_FN int philox_flip(uint64_t seed) { return (int)(philox(seed, 0, 0, RNG_STREAM_FLIP).v[0] >> 31); }
/* The label drawn for a seed: uniform over [0, classes). */
DG_RNG_FN int philox_label(uint64_t seed, int classes) {
    Philox r = philox(seed, 0, 0, RNG_STREAM_LABEL);
    return (int)(((uint64_t)r.v[0] * (uint64_t)classes) >> 32);
}
#endif
