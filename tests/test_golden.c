/* test_golden.c -- the golden cases (golden/README.md) on a device, within the tolerance that each case carries, or, in
 * reduced precision, the one that verify derives.
 *   test_golden [DEVICE[=PRECISION] WHICH...]     WHICH: quick, sample, full, or part of a file name. Default: all on cpu, quick on ref
 * Quick cases take less than a GFLOP an image: every backend can run them, the emulated kernels included; they run fused
 * and not fused.                                                                                                       */
#include "files/safetensors.h"
#include "program/verify_case.h"
#include "check.h"
#include "device_spec.h"
#include <glob.h>
#include <stdlib.h>
#include <time.h>

static const char *const PATTERN = "tests/golden/*/*.safetensors";

typedef enum { QUICK, SAMPLE, FULL, SORTS } Sort; /* small networks, trajectories of small networks, full size */
static const char *const sort_name[SORTS] = {"quick", "sample", "full"};

static double sum_numbers(const Json *j) {
    if (!j) return 0;
    double sum = j->kind == JSON_NUMBER ? j->number : 0;
    for (const Json *k = j->child; k; k = k->next) sum += sum_numbers(k);
    return sum;
}
static Sort sort_of(const char *path) {
    Error e;
    const char *kind = "";
    SafeTensors *file = st_open(path, &e);
    const char *text = file ? st_metadata(file, "case") : NULL;
    Json *json = text ? json_parse(text, strlen(text), &e) : NULL;
    bool known = json && json_get_string(json, "kind", "", &kind, &e);
    CHECK(known, "%s: %s", path, file && !text ? "no case" : e.text);
    Sort sort = !strcmp(kind, "sample") ? SAMPLE : sum_numbers(json_get(json, "flops_per_image")) < 1e9 ? QUICK : FULL;
    json_free(json);
    st_close(file);
    return sort;
}
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
    for (size_t i = 0; i < cases->gl_pathc; i++) {
        const char *path = cases->gl_pathv[i];
        Sort sort = sort_of(path);
        bool named = false, chosen = false;
        for (int k = 0; k < count; k++) named |= strstr(path, wanted[k]) != NULL, chosen |= !strcmp(wanted[k], sort_name[sort]);
        if (!named && !chosen) continue;
        replay(path, d, true);
        if (sort == QUICK) replay(path, d, false);
        if (sort == QUICK) replay_exactly(path, d);
    }
    device_close(d);
}
int main(int argc, char **argv) {
    setvbuf(stdout, NULL, _IOLBF, 0); /* a long run shows how far it is */
    glob_t cases;
    bool found = !glob(PATTERN, 0, NULL, &cases);
    CHECK(found && cases.gl_pathc >= 36, "%zu cases match %s: run this from the repository's root", found ? cases.gl_pathc : 0, PATTERN);
    if (!found) return check_done("test_golden");
    if (argc > 1) test_device(&cases, argv[1], (const char *const *)argv + 2, argc - 2);
    else test_device(&cases, "cpu", sort_name, SORTS), test_device(&cases, "ref", sort_name, 1);
    globfree(&cases);
    return check_done("test_golden");
}
