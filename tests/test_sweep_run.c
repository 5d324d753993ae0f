/* test_sweep_run.c -- sweep with the real generate: what it measures is what eval measures of images that generate made, cell by cell, after a
 * kill and after an interruption; and a screening of fewer images than the protocol wants. Usage: test_sweep_run [DEVICE]. */
#include "eval_sets.h"
#include "tiny_model.h"

#if defined DG_HAVE_LAPACK && defined DG_HAVE_STB && defined DG_HAVE_ZLIB
static const char small_config[] = "{\"kind\": \"inception\", \"num_classes\": 20, \"image_size\": 107, \"depth_multiplier\": 0.125}";
static const char *const steps[] = {"1", "3"}, *const seeds[] = {"0-11", "12-23"};
static const char *const measure[] = {"fid", "precision", "recall", "kid"};
enum { STEPS = 2, RANGES = 2, MEASURES = 4 };
#define WHAT      "--metrics fid,pr,kid"
#define REFERENCE "--protocol adm --inception inception.safetensors --ref real.stats.npz"

static const char *sweep_of(const Setup *s, const char *outdir) {
    static char all[1024];
    snprintf(all, sizeof all,
             "sweep --vary steps=1,3 --seeds 0-11,12-23 " WHAT " --outdir %s --plot %s.svg --output json -- --device %s --network "
             "tiny.safetensors --batch 3 --stats-every 1 " REFERENCE,
             outdir, outdir, s->device);
    return all;
}
static double number(const Json *j, const char *key) {
    const Json *v = json_get(j, key);
    return v && v->kind == JSON_NUMBER ? v->number : (double)NAN;
}
static const Json *child(const Json *j, int i) {
    for (j = j ? j->child : NULL; j && i--;) j = j->next;
    return j;
}
/* What eval gives of the images of a cell, which are made for it. */
static void reference_values(const Setup *s, double want[STEPS][RANGES][MEASURES]) {
    char args[1024];
    for (int k = 0; k < STEPS; k++)
        for (int r = 0; r < RANGES; r++) {
            snprintf(args, sizeof args, "generate --device %s --network tiny.safetensors --steps %s --seeds %s --outdir images-%d-%d",
                     s->device, steps[k], seeds[r], k, r);
            succeeds(run(s, args), args);
            snprintf(args, sizeof args, "eval --device %s " WHAT " " REFERENCE " --output json --images images-%d-%d", s->device, k, r);
            const Result *of = run(s, args);
            for (int m = 0; m < MEASURES; m++) {
                want[k][r][m] = value_of(of, 0, measure[m]);
                CHECK(isfinite(want[k][r][m]), "%s: %s: %s%s", args, measure[m], of->out, of->err);
            }
        }
    CHECK(want[0][0][0] != want[0][1][0] && want[0][0][0] != want[1][0][0], "cells that are alike prove nothing");
}
static void check_values(const Result *r, double want[STEPS][RANGES][MEASURES], const char *what) {
    Error e = {""};
    Json *j = json_parse(r->out, strlen(r->out), &e);
    CHECK(j && r->code == 0, "%s: exit code %d, %s%s", what, r->code, e.text, r->err);
    for (int k = 0; k < STEPS; k++)
        for (int m = 0; m < MEASURES; m++) {
            const Json *row = child(json_get(j, "rows"), k);
            double mean = number(json_get(json_get(row, "measures"), measure[m]), "mean"), half = (want[k][0][m] + want[k][1][m]) / 2;
            CHECK(fabs(mean - half) <= 1e-14 * fabs(half), "%s: steps %s: the mean of %s is %g, not %g", what, steps[k], measure[m], mean,
                  half);
            for (int c = 0; c < RANGES; c++) {
                double found = number(child(json_get(row, "cells"), c), measure[m]);
                CHECK(found == want[k][c][m], "%s: steps %s, seeds %s: %s is %.17g, eval gives %.17g", what, steps[k], seeds[c], measure[m],
                      found, want[k][c][m]);
            }
        }
    json_free(j);
}
/* Cells that the record has. */
static int finished(const Setup *s, const char *outdir) {
    char path[128];
    snprintf(path, sizeof path, "%s/sweep.json", outdir);
    Json *j = exists(s, path) ? json_parse_file(at(s, path), NULL) : NULL;
    const Json *cells = json_get(j, "cells");
    int n = cells ? (int)cells->count : -1;
    json_free(j);
    return n;
}
/* A signal after the first cell, within the second one or behind it. */
static void stopped(const Setup *s, const char *outdir, int number_of_signal, int code, double want[STEPS][RANGES][MEASURES]) {
    Result r;
    pid_t pid = start(s, sweep_of(s, outdir), 0, "stdout.txt");
    for (int i = 0; i < 30000 && finished(s, outdir) < 1 && alive(pid); i++) nanosleep(&(struct timespec){0, 2000000}, NULL);
    nanosleep(&(struct timespec){0, 20000000}, NULL);
    kill(pid, number_of_signal);
    finish(s, pid, &r);
    int before = finished(s, outdir);
    CHECK(r.code == code && before >= 1 && before < STEPS * RANGES, "signal %d: exit code %d, %d cells, %s", number_of_signal, r.code,
          before, r.err);
    if (code == 130) CHECK(matches(r.err, "interrupted: [123] cells are finished, the same command goes on"), "what is said: %s", r.err);
    check_values(run(s, sweep_of(s, outdir)), want, outdir);
    CHECK(finished(s, outdir) == STEPS * RANGES, "%s: cells", outdir);
}
/* Protocol edm wants 50000 images: a screening takes fewer, a range does not. */
static void screened(const Setup *s) {
    char args[1024];
    snprintf(args, sizeof args,
             "sweep --vary steps=1,3 --ranges 1 --images 12 --metrics fid --screen 6 --keep 1 --outdir screened -- --device %s --network "
             "tiny.safetensors --protocol edm --inception inception.safetensors --ref real.npz",
             s->device);
    const Result *r = run(s, args);
    CHECK(r->code == 1 && matches(r->out, "the best 1 go on:\n  on   [0-9.e-]+ +steps=[13]\n  out  [0-9.e-]+ +steps=[13]\n"),
          "a screening: %d, %s%s", r->code, r->out, r->err);
    CHECK(finished(s, "screened") == 2 && strstr(r->err, "1 of 3 cells failed") && strstr(r->err, "wants 50000"), "the range: %s", r->err);
}
int main(int argc, char **argv) {
    const char *device = argc > 1 ? argv[1] : "cpu";
    bool emu = !strcmp(device, "emu");
    char *real = program_of_build(argv[0], emu, emu ? "dg_cuda-emu" : "dg_cuda");
    Setup s = {.program = real, .device = device, .dir = "/tmp/dg_test_sweep_run_XXXXXX"};
    Error e = {""};
    double want[STEPS][RANGES][MEASURES];
    if (!CHECK(real, "no program dg_cuda beside the tests") || !CHECK(mkdtemp(s.dir), "no temporary folder"))
        return check_done("test_sweep_run");
    CHECK(tiny_write_model(NULL, at(&s, "inception.safetensors"), small_config, 1, &e), "%s", e.text);
    CHECK(tiny_write(at(&s, "tiny.safetensors"), tiny_network_config, 1, &e), "%s", e.text);
    write_array(&s, "real.npz", 0, 30, SIDE, false, false);
    succeeds(
        eval(&s, "ref --protocol adm --features --inception inception.safetensors --images real.npz --metrics fid --out real.stats.npz"),
        "a reference");
    reference_values(&s, want);
    check_values(run(&s, sweep_of(&s, "whole")), want, "whole");
    char other[1024]; /* these options change no result */
    snprintf(other, sizeof other, "%s --stats-every 5 --batch 7 --threads 1", sweep_of(&s, "whole"));
    check_values(run(&s, other), want, "finished before");
    CHECK(exists(&s, "whole.svg"), "no picture");
    stopped(&s, "killed", SIGKILL, 1000 + SIGKILL, want);
    stopped(&s, "interrupted", SIGINT, 130, want);
    screened(&s);
    remove_folder(s.dir);
    free(real);
    return check_done("test_sweep_run");
}
#else
int main(void) {
    not_run("sweep with generate: built without LAPACK, stb_image_write or zlib");
    return check_done("test_sweep_run");
}
#endif
