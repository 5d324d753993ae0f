/* dtype.c -- conversions between storage types. */
#include "base/dtype.h"
#include <math.h>
#include <string.h>

size_t dtype_bytes(DType t) {
    static const size_t bytes[] = {[DG_F32] = 4, [DG_F16] = 2, [DG_BF16] = 2, [DG_F64] = 8, [DG_U8] = 1, [DG_I64] = 8};
    return bytes[t];
}
const char *dtype_name(DType t) {
    static const char *const name[] = {
        [DG_F32] = "fp32", [DG_F16] = "fp16", [DG_BF16] = "bf16", [DG_F64] = "fp64", [DG_U8] = "uint8", [DG_I64] = "int64"};
    return name[t];
}

static float float_of(uint32_t bits) {
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}
static uint32_t bits_of(float f) {
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return bits;
}
float f16_to_f32(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = (h >> 10) & 31, mantissa = h & 0x3ff;
    if (exponent == 31) return float_of(sign | 0x7f800000 | mantissa << 13);
    if (exponent) return float_of(sign | (exponent + 112) << 23 | mantissa << 13);
    float subnormal = (float)mantissa * 0x1p-24f;
    return sign ? -subnormal : subnormal;
}
uint16_t f32_to_f16(float f) {
    uint32_t bits = bits_of(f), sign = (bits >> 16) & 0x8000, magnitude = bits & 0x7fffffff;
    if (magnitude > 0x7f800000) return (uint16_t)(sign | 0x7e00 | (magnitude >> 13 & 0x3ff)); /* NaN keeps its payload */
    if (magnitude >= 0x477ff000) return (uint16_t)(sign | 0x7c00);                            /* rounds to 65536 or more */
    if (magnitude < 0x38800000) {                                                             /* subnormal: adding 2^-1 rounds at 2^-24 */
        float shifted = float_of(magnitude) + 0x1p-1f;
        return (uint16_t)(sign | (bits_of(shifted) - bits_of(0x1p-1f)));
    }
    uint32_t rounded = magnitude + 0xfff + (magnitude >> 13 & 1);
    return (uint16_t)(sign | ((rounded - 0x38000000) >> 13));
}
float bf16_to_f32(uint16_t h) { return float_of((uint32_t)h << 16); }
uint16_t f32_to_bf16(float f) {
    uint32_t bits = bits_of(f);
    if ((bits & 0x7fffffff) > 0x7f800000) return (uint16_t)(bits >> 16 | 0x40); /* stays NaN */
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

static double load(DType t, const unsigned char *p) {
    union {
        float f;
        double d;
        uint16_t h;
        int64_t i;
    } v;
    memcpy(&v, p, dtype_bytes(t));
    switch (t) {
    case DG_F32: return (double)v.f;
    case DG_F64: return v.d;
    case DG_F16: return (double)f16_to_f32(v.h);
    case DG_BF16: return (double)bf16_to_f32(v.h);
    case DG_U8: return (double)*p;
    case DG_I64: return (double)v.i;
    }
    return 0;
}
/* Rounded towards zero, with the last bit set when anything was lost: a narrower type then rounds f32 as it would value. */
static float round_to_odd(double value) {
    float f = (float)value;
    if ((double)f == value || isnan(value)) return f;
    uint32_t bits = bits_of(f);
    if (fabs((double)f) > fabs(value)) bits--;
    return float_of(bits | 1);
}
static void store(DType t, unsigned char *p, double value) {
    float f = (float)value;
    uint16_t h;
    switch (t) {
    case DG_F32: memcpy(p, &f, sizeof f); break;
    case DG_F64: memcpy(p, &value, sizeof value); break;
    case DG_F16: h = f32_to_f16(round_to_odd(value)), memcpy(p, &h, sizeof h); break;
    case DG_BF16: h = f32_to_bf16(round_to_odd(value)), memcpy(p, &h, sizeof h); break;
    default: DG_CHECK(false, "conversion to %s", dtype_name(t));
    }
}
void dtype_convert(DType dst_type, void *dst, DType src_type, const void *src, size_t n) {
    if (dst_type == src_type) {
        memmove(dst, src, n * dtype_bytes(dst_type));
        return;
    }
    unsigned char *d = dst;
    const unsigned char *s = src;
    size_t step_d = dtype_bytes(dst_type), step_s = dtype_bytes(src_type);
    for (size_t i = 0; i < n; i++) store(dst_type, d + i * step_d, load(src_type, s + i * step_s));
}
void dtype_made_up(DType type, void *out, size_t n) {
    unsigned char *p = out;
    uint32_t z = 1;
    for (size_t i = 0; i < n; i++) {
        z = z * 1664525u + 1013904223u; /* numbers of D. Knuth and H. Lewis */
        store(type, p + i * dtype_bytes(type), (double)((float)(z >> 8) * 0x1p-23f - 1));
    }
}
