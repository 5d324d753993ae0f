/* crc32.c -- CRC-32 by table. */
#include "crc32.h"

uint32_t crc32_portable(uint32_t crc, const void *data, size_t bytes) {
    static const uint32_t nibble[16] = { /* the remainder of each 4-bit value, polynomial 0x04c11db7 bit-reversed */
        0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4, 0x4db26158, 0x5005713c,
        0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c, 0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c,
    };
    const uint8_t *p = data;
    crc = ~crc;
    for (size_t i = 0; i < bytes; i++) {
        crc ^= p[i];
        crc = crc >> 4 ^ nibble[crc & 15];
        crc = crc >> 4 ^ nibble[crc & 15];
    }
    return ~crc;
}
uint32_t crc32_of(uint32_t crc, const void *data, size_t bytes) { return crc32_portable(crc, data, bytes); }
