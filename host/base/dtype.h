/* dtype.h -- storage types, and conversions between them: round to nearest even, of arrays at any alignment. */
#ifndef DG_DTYPE_H
#define DG_DTYPE_H
#include "base/error.h"
#ifdef __cplusplus
extern "C" {
#endif

typedef enum { DG_F32, DG_F16, DG_BF16, DG_F64, DG_U8, DG_I64 } DType; /* the last two: in files; u8 in a Term, too */
size_t dtype_bytes(DType t);
const char *dtype_name(DType t);

float f16_to_f32(uint16_t h);
uint16_t f32_to_f16(float f); /* overflow gives infinity */
float bf16_to_f32(uint16_t h);
uint16_t f32_to_bf16(float f);
/* n values. dst and src may be the same address where dst's type is not the wider one; no alignment is assumed.
 * Every value is rounded once. DG_U8 and DG_I64 are sources only.                                             */
void dtype_convert(DType dst_type, void *dst, DType src_type, const void *src, size_t n);
/* n made-up values from -1 to 1, the same ones at every call: what measurements work on. */
void dtype_made_up(DType type, void *out, size_t n);

#ifdef __cplusplus
}
#endif
#endif
