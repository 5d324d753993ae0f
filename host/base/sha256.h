/* sha256.h -- SHA-256 (FIPS 180-4), with the x86 SHA instructions where the processor has them. */
#ifndef DG_SHA256_H
#define DG_SHA256_H
#include "base/error.h"

enum { SHA256_BYTES = 32, SHA256_HEX = 65 /* with the terminating NUL */ };
typedef void (*Sha256Compress)(uint32_t state[8], const uint8_t *data, size_t blocks); /* blocks of 64 bytes */
typedef struct {
    Sha256Compress compress; /* chosen by sha256_init; tests may replace it before the first update */
    uint32_t state[8];
    uint64_t bytes;
    uint8_t block[64]; /* the first bytes % 64 bytes of the block in progress */
} Sha256;
void sha256_init(Sha256 *h);
void sha256_update(Sha256 *h, const void *data, size_t bytes);
void sha256_final(Sha256 *h, uint8_t digest[SHA256_BYTES]);
void sha256_hex(const uint8_t digest[SHA256_BYTES], char hex[SHA256_HEX]); /* lower case */
bool sha256_file(const char *path, char hex[SHA256_HEX], Error *e);

void sha256_compress_portable(uint32_t state[8], const uint8_t *data, size_t blocks);
Sha256Compress sha256_compress_native(void); /* NULL where the processor has no SHA instructions */
#endif
