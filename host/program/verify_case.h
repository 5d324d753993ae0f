/* verify_case.h -- replays golden cases: inputs and outputs of the official code (tests/golden/README.md). */
#ifndef DG_VERIFY_CASE_H
#define DG_VERIFY_CASE_H
#include "device/device.h"
#include <stdio.h>

typedef struct {
    int compared, failed; /* expected tensors */
    double error;         /* worst relative L2 error of the one compared last: denoised, guidance or images */
    bool skipped;         /* a kind of case that this version does not know */
} VerifyResult;
/* Prints one line per expected tensor to out (may be NULL): case, tensor, worst relative L2 error over the samples, its
 * tolerance, ok or FAIL. Returns false, with a sentence, when the case cannot be run at all. tolerance_factor scales the
 * case's tolerances (1 in fp32). On a device of reduced precision the case is first run on "rounded" in that precision, and
 * the tolerance is 3 x the error seen there + the case's own: derived, not typed. Logits, few numbers whose error varies by
 * luck, are then compared in units of their root mean square, with the worst of two roundings (ops fused, and not).       */
bool verify_case(const char *path, Device *d, bool fuse, double tolerance_factor, FILE *out, VerifyResult *r, Error *e);

/* What a replay costs, from the configurations in the case: nothing is run. */
typedef enum {
    CASE_QUICK,  /* less than a GFLOP an image: any backend can run it, the plain loops and the emulated kernels included */
    CASE_SAMPLE, /* a trajectory of networks as small */
    CASE_FULL,   /* networks of full size */
    CASE_LARGE,  /* networks whose weights are gigabytes */
    CASE_SIZES
} CaseSize;
extern const char *const case_size_name[CASE_SIZES]; /* "quick", "sample", "full", "large": as the lists of tests name them */
typedef struct {
    bool known;   /* false: a kind of case that this version does not know; size and flops are not filled */
    double flops; /* of one replay, all images and steps together */
    CaseSize size;
} CaseCost;
bool verify_case_cost(const char *path, CaseCost *cost, Error *e);
#endif
