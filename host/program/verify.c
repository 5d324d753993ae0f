/* verify.c -- the command `verify`: replays golden cases and says whether this machine reproduces them. */
#include "program/commands.h"
#include "program/device_options.h"
#include "program/verify_case.h"

typedef struct {
    DeviceOptions device;
    double tolerance_factor;
} VerifyOptions;

static void defaults(void *options) { *(VerifyOptions *)options = (VerifyOptions){.tolerance_factor = 1}; }
static const Option option[] = {
    DEVICE_OPTIONS(VerifyOptions, device),
    {"Comparing", "tolerance-factor", NULL, OPTION_DOUBLE, offsetof(VerifyOptions, tolerance_factor), "X", 1e-3, 1e6, false,
     "multiplies the tolerances that the cases carry, which are those of fp32"},
};
static const char details[] =
    "A case is a safetensors file with inputs and outputs of the official programs, and networks whose weights are defined by\n"
    "their names. Each line shows one output: the worst relative L2 error over the samples, and the tolerance; of bytes, how many\n"
    "differ, and how many of these where that is more than rounding. The exit code is 0 when all are within their tolerances and at\n"
    "least one was compared. In fp16, bf16 or tf32 the tolerance is three times the error that the same case has on device rounded,\n"
    "which is run first, plus the case's own; bytes are then compared with those of the numbers that were computed.\n\n"
    "Example:\n"
    "  dg_cuda verify tests/golden/*/*.safetensors\n";

static int verify(const Args *a, Error *e) {
    const VerifyOptions *o = a->options;
    Device *d = device_from_options(&o->device, e);
    if (!d) return EXIT_FAILED;
    int compared = 0, failed = 0, skipped = 0;
    bool ok = true;
    for (int i = 0; i < a->operands && ok; i++) {
        VerifyResult r;
        ok = verify_case(a->operand[i], d, !o->device.no_fuse, o->tolerance_factor, stdout, &r, e);
        compared += r.compared, failed += r.failed, skipped += r.skipped;
        fflush(stdout);
    }
    device_close(d);
    if (!ok) return EXIT_FAILED;
    printf("%d compared, %d failed, %d case%s skipped\n", compared, failed, skipped, skipped == 1 ? "" : "s");
    if (failed) dg_error(e, "%d of %d outputs are outside their tolerances", failed, compared);
    else if (!compared) dg_error(e, "nothing was compared: no case of a kind that this version knows");
    return failed || !compared ? EXIT_FAILED : EXIT_DONE;
}
const Command command_verify = {.name = "verify",
                                .operands = "CASE...",
                                .operands_min = 1,
                                .operands_max = 100000,
                                .summary = "replays golden cases of the official programs",
                                .details = details,
                                .options_bytes = sizeof(VerifyOptions),
                                .defaults = defaults,
                                .option = option,
                                .options = sizeof option / sizeof *option,
                                .run = verify};
