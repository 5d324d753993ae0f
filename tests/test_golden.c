/* test_golden.c -- the golden cases (golden/README.md) on a device, within the tolerance that each case carries, or, in
 * reduced precision, the one that verify derives.
 *   test_golden [DEVICE[=PRECISION] WHICH...]     WHICH: quick, sample, full, large (CaseSize), or part of a file
 *                                                 name. Default: all but the large ones on cpu, quick on ref
 * Every backend can run the quick cases, the emulated kernels included; they run fused and not fused.                    */
#include "program/verify_case.h"
#include "check.h"
#include "device_spec.h"
#include <glob.h>
#include <time.h>

static const char *const PATTERN = "tests/golden/*/*.safetensors";

/* Every expected tensor of a case is a check of its own. */
static void replay(const char *path, Device *d, bool fuse) {
    VerifyResult r;
    Error e = {""};
    clock_t begin = clock();
    bool ran = verify_case(path, d, fuse, 1, stdout, &r, &e);
    printf("%s%s: %.1f s of processor time\n", d->be->name, fuse ? "" : ", not fused", (double)(clock() - begin) / CLOCKS_PER_SEC);
    CHECK(ran && !r.skipped, "%s on %s: %s", path, d->be->name, ran ? "skipped" : e.text);
    for (int i = 0; i < r.compared; i++) CHECK(i >= r.failed, "%s on %s: a tensor is out of tolerance", path, d->be->name);
}
/* A comparison that cannot fail proves nothing: nothing is equal to the last bit. */
static void replay_exactly(const char *path, Device *d) {
    VerifyResult r;
    Error e = {""};
    bool ran = verify_case(path, d, true, 0, NULL, &r, &e);
    CHECK(ran && r.failed > 0, "%s on %s: nothing fails at a tolerance of 0", path, d->be->name);
}
static void test_device(const glob_t *cases, const char *spec, const char *const *wanted, int count) {
    Error e;
    DeviceSpec s = device_spec(spec);
    if (!s.precision && (!strcmp(s.device, "cuda") || !strcmp(s.device, "emu"))) s.precision = "fp32";
    Device *d = device_open(s.device, s.precision, &e);
    if (!d) {
        not_run("golden cases on %s: %s", spec, e.text);
        return;
    }
    int unknown = 0, quick = 0, replayed = 0;
    for (size_t i = 0; i < cases->gl_pathc; i++) {
        const char *path = cases->gl_pathv[i];
        CaseCost cost;
        if (!CHECK(verify_case_cost(path, &cost, &e), "%s", e.text)) continue;
        CHECK(!cost.known || cost.flops > 0, "%s costs %g operations: where it runs is not known", path, cost.flops);
        CaseSize size = cost.known ? cost.size : CASE_QUICK; /* one of an unknown kind is counted with the quick ones */
        bool taken = false;
        for (int k = 0; k < count; k++) taken |= strstr(path, wanted[k]) || !strcmp(wanted[k], case_size_name[size]);
        if (!taken) continue;
        if (!cost.known) {
            unknown++;
            continue;
        }
        replayed++;
        replay(path, d, true);
        if (size != CASE_QUICK) continue;
        replay(path, d, false);
        if (quick++ == 0) replay_exactly(path, d);
    }
    CHECK(replayed > 0, "no case was taken on %s: %s, ...", spec, count ? wanted[0] : "nothing was named");
    if (unknown) not_run("%d golden cases of kinds that this version does not know", unknown);
    device_close(d);
}
int main(int argc, char **argv) {
    setvbuf(stdout, NULL, _IOLBF, 0); /* a long run shows how far it is */
    glob_t cases;
    bool found = !glob(PATTERN, 0, NULL, &cases);
    CHECK(found && cases.gl_pathc >= 36, "%zu cases match %s: run this from the repository's root", found ? cases.gl_pathc : 0, PATTERN);
    if (!found) return check_done("test_golden");
    if (argc > 1) test_device(&cases, argv[1], (const char *const *)argv + 2, argc - 2);
    else test_device(&cases, "cpu", case_size_name, CASE_LARGE), test_device(&cases, "ref", case_size_name, 1);
    globfree(&cases);
    return check_done("test_golden");
}
