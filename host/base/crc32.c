/* crc32.c -- CRC-32: by table, and by folding 64 bytes at a time where the processor multiplies without carries. */
#include "base/crc32.h"
#include <string.h>
#ifdef __x86_64__
#include <immintrin.h>
#endif

/* The bare remainder, without the inversions at the start and the end. */
static uint32_t remainder_of(uint32_t crc, const uint8_t *p, size_t bytes) {
    static const uint32_t nibble[16] = {
        /* of each 4-bit value, for the bit-reversed polynomial 0xedb88320 */
        0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4, 0x4db26158, 0x5005713c,
        0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c, 0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c,
    };
    for (size_t i = 0; i < bytes; i++) {
        crc ^= p[i];
        crc = crc >> 4 ^ nibble[crc & 15];
        crc = crc >> 4 ^ nibble[crc & 15];
    }
    return crc;
}
uint32_t crc32_portable(uint32_t crc, const void *data, size_t bytes) { return ~remainder_of(~crc, data, bytes); }

#ifdef __x86_64__
enum { LANES = 4, LANE_BYTES = 16, FOLD_BYTES = LANES * LANE_BYTES };
static __m128i load(const uint8_t *p) { return _mm_loadu_si128((const __m128i *)(const void *)p); }

/* Moves lane's remainder a distance further on and adds what lies there: each half times x^distance mod P. */
__attribute__((target("pclmul"))) static inline __m128i fold(__m128i lane, __m128i distance, __m128i next) {
    __m128i low = _mm_clmulepi64_si128(lane, distance, 0x00), high = _mm_clmulepi64_si128(lane, distance, 0x11);
    return _mm_xor_si128(_mm_xor_si128(low, high), next);
}
/* Congruence, not reduction: the lanes end as 16 bytes with the same remainder as all that was folded into them.
 * The constants are x^(d + 32) and x^(d - 32) mod P, bit-reversed, d = 512 and 128 bits
 * (V. Gopal et al., Fast CRC Computation for Generic Polynomials Using PCLMULQDQ, Intel 2009).                    */
__attribute__((target("pclmul"))) static uint32_t crc32_folded(uint32_t crc, const uint8_t *p, size_t bytes) {
    const __m128i far = _mm_set_epi64x(0x1c6e41596, 0x154442bd4), near = _mm_set_epi64x(0x0ccaa009e, 0x1751997d0);
    __m128i lane[LANES];
    for (int i = 0; i < LANES; i++) lane[i] = load(p + i * LANE_BYTES);
    lane[0] = _mm_xor_si128(lane[0], _mm_cvtsi32_si128((int)~crc));
    p += FOLD_BYTES, bytes -= FOLD_BYTES;
    for (; bytes >= FOLD_BYTES; p += FOLD_BYTES, bytes -= FOLD_BYTES)
        for (int i = 0; i < LANES; i++) lane[i] = fold(lane[i], far, load(p + i * LANE_BYTES));
    for (int i = 1; i < LANES; i++) lane[i] = fold(lane[i - 1], near, lane[i]);
    uint8_t last[LANE_BYTES];
    memcpy(last, &lane[LANES - 1], sizeof last);
    return ~remainder_of(remainder_of(0, last, sizeof last), p, bytes);
}
uint32_t crc32_of(uint32_t crc, const void *data, size_t bytes) {
    bool fast = bytes >= FOLD_BYTES && __builtin_cpu_supports("pclmul");
    return fast ? crc32_folded(crc, data, bytes) : crc32_portable(crc, data, bytes);
}
#else
uint32_t crc32_of(uint32_t crc, const void *data, size_t bytes) { return crc32_portable(crc, data, bytes); }
#endif
