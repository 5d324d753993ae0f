/* test_dtype.c -- conversions between storage types: every 16-bit value, and the rounding between each two neighbours. */
#include "base/dtype.h"
#include "check.h"
#include <math.h>
#include <stdlib.h>

typedef struct {
    const char *name;
    DType type;
    int exponent_bits, mantissa_bits;
    float (*to)(uint16_t);
    uint16_t (*from)(float);
} Half;
static const Half halves[] = {
    {"fp16", DG_F16, 5, 10, f16_to_f32, f32_to_f16},
    {"bf16", DG_BF16, 8, 7, bf16_to_f32, f32_to_bf16},
};

/* The value by the definition of the format. */
static double decode(const Half *f, uint16_t h) {
    int m = h & ((1 << f->mantissa_bits) - 1), e = h >> f->mantissa_bits & ((1 << f->exponent_bits) - 1);
    int bias = (1 << (f->exponent_bits - 1)) - 1, last = (1 << f->exponent_bits) - 1;
    double v = e == last ? (m ? NAN : INFINITY) : ldexp(e ? (1 << f->mantissa_bits) + m : m, (e ? e : 1) - bias - f->mantissa_bits);
    return h & 0x8000 ? -v : v;
}
static void test_values(const Half *f) {
    int wrong = 0, changed = 0;
    for (uint32_t h = 0; h <= 0xffff; h++) {
        double wanted = decode(f, (uint16_t)h), found = (double)f->to((uint16_t)h);
        uint16_t back = f->from((float)found);
        if (isnan(wanted)) wrong += !isnan(found), changed += !isnan(decode(f, back)) || (back ^ h) & 0x8000;
        else wrong += !(found == wanted) || signbit(found) != signbit(wanted), changed += back != h;
    }
    CHECK(wrong == 0, "%s: %d of 65536 values are wrong", f->name, wrong);
    CHECK(changed == 0, "%s: %d of 65536 values do not survive the way there and back", f->name, changed);
}
/* Halfway goes to the even one, and to either side of it to the nearer; past the largest, to infinity. */
static void test_rounding(const Half *f) {
    int wrong = 0, infinite = (((1 << f->exponent_bits) - 1) << f->mantissa_bits);
    for (int sign = 0; sign <= 0x8000; sign += 0x8000)
        for (int h = 0; h < infinite; h++) {
            double low = decode(f, (uint16_t)h),
                   high = h + 1 < infinite ? decode(f, (uint16_t)(h + 1)) : 2 * low - decode(f, (uint16_t)(h - 1));
            float middle = (float)((low + high) / 2), below = nextafterf(middle, 0), above = nextafterf(middle, INFINITY);
            float at = sign ? -1.f : 1.f;
            wrong += f->from(at * middle) != (sign | (h & 1 ? h + 1 : h));
            wrong += f->from(at * below) != (sign | h);
            wrong += f->from(at * above) != (sign | (h + 1));
        }
    CHECK(wrong == 0, "%s: %d values between two neighbours are rounded wrongly", f->name, wrong);
    CHECK(f->from(INFINITY) == infinite && f->from(-INFINITY) == (0x8000 | infinite), "%s: infinity", f->name);
    CHECK(isnan(f->to(f->from(NAN))), "%s: NaN becomes %g", f->name, (double)f->to(f->from(NAN)));
}
/* The same from f64, where f32 on the way would make a tie of what is none: the middle between two neighbours, and just beside it. */
static uint16_t from_f64(const Half *f, double v) {
    uint16_t h;
    dtype_convert(f->type, &h, DG_F64, &v, 1);
    return h;
}
static void test_rounding_f64(const Half *f) {
    int wrong = 0, infinite = (((1 << f->exponent_bits) - 1) << f->mantissa_bits);
    for (int sign = 0; sign <= 0x8000; sign += 0x8000)
        for (int h = 0; h < infinite; h++) {
            double low = decode(f, (uint16_t)h),
                   high = h + 1 < infinite ? decode(f, (uint16_t)(h + 1)) : 2 * low - decode(f, (uint16_t)(h - 1));
            double middle = (low + high) / 2, at = sign ? -1 : 1;
            wrong += from_f64(f, at * low) != (sign | h);
            wrong += from_f64(f, at * middle) != (sign | (h & 1 ? h + 1 : h));
            wrong += from_f64(f, at * nextafter(middle, 0)) != (sign | h);
            wrong += from_f64(f, at * nextafter(middle, INFINITY)) != (sign | (h + 1));
        }
    CHECK(wrong == 0, "%s: %d f64 values between two neighbours are rounded wrongly", f->name, wrong);
    static const double beyond[] = {0x1p128, 3.5e38, 1e300, INFINITY}, below[] = {0x1p-140, 1e-300, 0x1p-1074};
    for (size_t i = 0; i < sizeof beyond / sizeof *beyond; i++)
        CHECK(from_f64(f, beyond[i]) == infinite && from_f64(f, -beyond[i]) == (0x8000 | infinite), "%s: %g does not overflow", f->name,
              beyond[i]);
    for (size_t i = 0; i < sizeof below / sizeof *below; i++)
        CHECK(from_f64(f, below[i]) == 0 && from_f64(f, -below[i]) == 0x8000, "%s: %g does not vanish", f->name, below[i]);
    CHECK(isnan(f->to(from_f64(f, NAN))), "%s: NaN of f64 becomes %g", f->name, (double)f->to(from_f64(f, NAN)));
}
/* Arrays, at odd addresses, between all types that hold these values, and in place. */
static void test_arrays(void) {
    static const DType sources[] = {DG_F32, DG_F16, DG_BF16, DG_F64, DG_U8, DG_I64}, targets[] = {DG_F32, DG_F16, DG_BF16, DG_F64};
    enum { N = 100 };
    unsigned char from[N * 8 + 1], to[N * 8 + 1];
    for (size_t s = 0; s < sizeof sources / sizeof *sources; s++)
        for (size_t t = 0; t < sizeof targets / sizeof *targets; t++) {
            int wrong = 0;
            double back[N];
            for (int i = 0; i < N; i++) {
                double v = i;
                int64_t integer = i;
                uint8_t byte = (uint8_t)i;
                if (sources[s] == DG_I64) memcpy(from + 1 + i * 8, &integer, 8);
                else if (sources[s] == DG_U8) from[1 + i] = byte;
                else dtype_convert(sources[s], from + 1 + (size_t)i * dtype_bytes(sources[s]), DG_F64, &v, 1);
            }
            dtype_convert(targets[t], to + 1, sources[s], from + 1, N);
            dtype_convert(DG_F64, back, targets[t], to + 1, N);
            for (int i = 0; i < N; i++) wrong += !(back[i] == i);
            CHECK(wrong == 0, "%s to %s: %d of %d values differ", dtype_name(sources[s]), dtype_name(targets[t]), wrong, N);
            if (dtype_bytes(targets[t]) > dtype_bytes(sources[s])) continue;
            dtype_convert(targets[t], from + 1, sources[s], from + 1, N);
            CHECK(!memcmp(from + 1, to + 1, N * dtype_bytes(targets[t])), "%s to %s in place differs", dtype_name(sources[s]),
                  dtype_name(targets[t]));
        }
}
int main(void) {
    for (size_t i = 0; i < sizeof halves / sizeof *halves; i++) {
        test_values(&halves[i]);
        test_rounding(&halves[i]);
        test_rounding_f64(&halves[i]);
    }
    test_arrays();
    return check_done("test_dtype");
}
