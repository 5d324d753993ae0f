/* crc32.h -- the CRC-32 of ZIP, gzip and PNG (ISO 3309), with carry-less multiplication where the processor has it. */
#ifndef DG_CRC32_H
#define DG_CRC32_H
#include "base/error.h"

/* Continues `crc` (0 at the start) over more bytes. */
uint32_t crc32_of(uint32_t crc, const void *data, size_t bytes);

uint32_t crc32_portable(uint32_t crc, const void *data, size_t bytes);
#endif
