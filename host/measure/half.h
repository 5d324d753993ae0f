/* half.h -- rounding to half precision and back in one step, in a form that compilers turn into vectors. */
#ifndef DG_HALF_H
#define DG_HALF_H
#include <math.h>
#include <stdint.h>
#include <string.h>

/* x rounded to the nearest half, ties to even: f16_to_f32(f32_to_f16(x)). */
static inline float half_round(float x) {
    uint32_t bits;
    float size = fabsf(x), tiny = (size + 0.5f) - 0.5f, rounded; /* 0.5 has the step of the smallest halves */
    memcpy(&bits, &size, sizeof bits);
    bits = (bits + 0xfffu + (bits >> 13 & 1)) & ~0x1fffu; /* 10 bits of 23 stay */
    memcpy(&rounded, &bits, sizeof rounded);
    rounded = rounded > 65504 ? INFINITY : rounded;
    rounded = size < 0x1p-14f ? tiny : rounded;
    return size <= INFINITY ? copysignf(rounded, x) : x; /* a NaN stays one */
}
#endif
