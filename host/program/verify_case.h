/* verify_case.h -- replays golden cases: inputs and outputs of the official code (tests/golden/README.md). */
#ifndef DG_VERIFY_H
#define DG_VERIFY_H
#include "device/device.h"
#include <stdio.h>

typedef struct {
    int compared, failed; /* expected tensors */
    double error;         /* worst relative L2 error of the one compared last: denoised, guidance or images */
    bool skipped;         /* a kind of case that this version does not know */
    char kind[32];
    double flops; /* of one network call (denoise, guidance) per image; 0 for samples */
} VerifyResult;
/* Prints one line per expected tensor to out (may be NULL): case, tensor, worst relative L2 error over the samples, its
 * tolerance, ok or FAIL. Returns false, with a sentence, when the case cannot be run at all. tolerance_factor scales the
 * case's tolerances (1 in fp32). On a device of reduced precision the case is first run on "rounded" in that precision, and
 * the tolerance is 3 x the error seen there + the case's own: derived, not typed. Logits, few numbers whose error varies by
 * luck, are then compared in units of their root mean square, with the worst of two roundings (ops fused, and not).       */
bool verify_case(const char *path, Device *d, bool fuse, double tolerance_factor, FILE *out, VerifyResult *r, Error *e);
#endif
