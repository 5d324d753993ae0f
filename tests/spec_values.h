/* spec_values.h -- made-up numbers that any program can make again, and sets of features of them. */
#ifndef DG_SPEC_VALUES_H
#define DG_SPEC_VALUES_H
#include <stddef.h>
#include <stdint.h>

/* SplitMix64: output n of seed s; and as a number in [0, 1) that is exact in float. */
static inline uint64_t mix(uint64_t s, uint64_t n) {
    uint64_t z = s + (n + 1) * 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}
static inline double uniform(uint64_t s, uint64_t n) { return (double)(mix(s, n) >> 40) / (1 << 24); }
#endif
