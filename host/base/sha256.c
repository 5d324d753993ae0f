/* sha256.c -- SHA-256 (FIPS 180-4): plain C, and the x86 SHA instructions chosen at run time. */
#include "base/sha256.h"
#include "base/file.h"
#include <stdio.h>
#include <string.h>
#ifdef __x86_64__
#include <cpuid.h>
#include <immintrin.h>
#endif

static const uint32_t K[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be,
    0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa,
    0x5cb0a9dc, 0x76f988da, 0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967, 0x27b70a85,
    0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3,
    0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070, 0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f,
    0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static uint32_t rotate(uint32_t x, int n) { return x >> n | x << (32 - n); }
static uint32_t big_endian(const uint8_t *p) { return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3]; }
static void put_big_endian(uint8_t *p, uint64_t v, int bytes) {
    for (int i = bytes - 1; i >= 0; i--, v >>= 8) p[i] = (uint8_t)v;
}
void sha256_compress_portable(uint32_t state[8], const uint8_t *data, size_t blocks) {
    uint32_t w[64], s[8]; /* s: a..h */
    for (; blocks > 0; blocks--, data += 64) {
        for (int i = 0; i < 16; i++) w[i] = big_endian(data + 4 * i);
        for (int i = 16; i < 64; i++) {
            uint32_t x = w[i - 15], y = w[i - 2];
            w[i] = w[i - 16] + w[i - 7] + (rotate(x, 7) ^ rotate(x, 18) ^ x >> 3) + (rotate(y, 17) ^ rotate(y, 19) ^ y >> 10);
        }
        memcpy(s, state, sizeof s);
        for (int i = 0; i < 64; i++) {
            uint32_t a = s[0], e = s[4];
            uint32_t t = s[7] + (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) + ((e & s[5]) ^ (~e & s[6])) + K[i] + w[i];
            uint32_t u = (rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) + ((a & s[1]) ^ (a & s[2]) ^ (s[1] & s[2]));
            memmove(s + 1, s, 7 * sizeof *s);
            s[4] += t, s[0] = t + u;
        }
        for (int i = 0; i < 8; i++) state[i] += s[i];
    }
}

#ifdef __x86_64__
__attribute__((target("sha,sse4.1,ssse3"))) static void compress_sha_ni(uint32_t state[8], const uint8_t *data, size_t blocks) {
    /* The instructions keep the state as the words (f,e,b,a) and (h,g,d,c), lowest first. */
    const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
    __m128i dcba = _mm_loadu_si128((const __m128i *)(const void *)state),
            hgfe = _mm_loadu_si128((const __m128i *)(const void *)(state + 4));
    __m128i cdab = _mm_shuffle_epi32(dcba, 0xb1), efgh = _mm_shuffle_epi32(hgfe, 0x1b);
    __m128i abef = _mm_alignr_epi8(cdab, efgh, 8), cdgh = _mm_blend_epi16(efgh, cdab, 0xf0);
    for (; blocks > 0; blocks--, data += 64) {
        __m128i m[4], abef_before = abef, cdgh_before = cdgh;
#pragma GCC unroll 16                  /* m in registers: through memory, the schedule would be slower than the rounds */
        for (int i = 0; i < 16; i++) { /* four rounds each; m[i % 4] = w[4i .. 4i+3] */
            __m128i *w = &m[i & 3], last = m[(i + 3) & 3];
            if (i < 4) *w = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(const void *)(data + 16 * i)), swap);
            else {
                __m128i sum = _mm_add_epi32(_mm_sha256msg1_epu32(*w, m[(i + 1) & 3]), _mm_alignr_epi8(last, m[(i + 2) & 3], 4));
                *w = _mm_sha256msg2_epu32(sum, last);
            }
            __m128i wk = _mm_add_epi32(*w, _mm_loadu_si128((const __m128i *)(const void *)(K + 4 * i)));
            cdgh = _mm_sha256rnds2_epu32(cdgh, abef, wk);
            abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(wk, 0x0e));
        }
        abef = _mm_add_epi32(abef, abef_before), cdgh = _mm_add_epi32(cdgh, cdgh_before);
    }
    __m128i feba = _mm_shuffle_epi32(abef, 0x1b), dchg = _mm_shuffle_epi32(cdgh, 0xb1);
    _mm_storeu_si128((__m128i *)(void *)state, _mm_blend_epi16(feba, dchg, 0xf0));
    _mm_storeu_si128((__m128i *)(void *)(state + 4), _mm_alignr_epi8(dchg, feba, 8));
}
Sha256Compress sha256_compress_native(void) {
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_SSSE3) || !(c & bit_SSE4_1)) return NULL;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(b & bit_SHA)) return NULL;
    return compress_sha_ni;
}
#else
Sha256Compress sha256_compress_native(void) { return NULL; }
#endif

void sha256_init(Sha256 *h) {
    static const uint32_t initial[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    *h = (Sha256){.compress = sha256_compress_native()};
    if (!h->compress) h->compress = sha256_compress_portable;
    memcpy(h->state, initial, sizeof initial);
}
void sha256_update(Sha256 *h, const void *data, size_t bytes) {
    const uint8_t *p = data;
    size_t held = h->bytes % 64;
    h->bytes += bytes;
    if (held > 0 && held + bytes >= 64) {
        memcpy(h->block + held, p, 64 - held);
        h->compress(h->state, h->block, 1);
        p += 64 - held, bytes -= 64 - held, held = 0;
    }
    if (held == 0 && bytes >= 64) {
        h->compress(h->state, p, bytes / 64);
        p += bytes / 64 * 64, bytes %= 64;
    }
    if (bytes > 0) memcpy(h->block + held, p, bytes);
}
void sha256_final(Sha256 *h, uint8_t digest[SHA256_BYTES]) {
    static const uint8_t padding[64] = {0x80};
    uint8_t bits[8];
    put_big_endian(bits, h->bytes * 8, 8);
    sha256_update(h, padding, 1 + (119 - h->bytes % 64) % 64); /* to 8 bytes before the end of a block */
    sha256_update(h, bits, sizeof bits);
    for (int i = 0; i < 8; i++) put_big_endian(digest + 4 * i, h->state[i], 4);
}
void sha256_hex(const uint8_t digest[SHA256_BYTES], char hex[SHA256_HEX]) {
    for (int i = 0; i < SHA256_BYTES; i++) snprintf(hex + 2 * i, 3, "%02x", digest[i]);
}
bool sha256_file(const char *path, char hex[SHA256_HEX], Error *e) {
    FileMap m;
    if (!file_map(path, &m, e)) return false;
    Sha256 h;
    uint8_t digest[SHA256_BYTES];
    sha256_init(&h);
    sha256_update(&h, m.data, m.bytes);
    sha256_final(&h, digest);
    sha256_hex(digest, hex);
    file_unmap(&m);
    return true;
}
