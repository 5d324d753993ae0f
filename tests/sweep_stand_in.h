/* sweep_stand_in.h -- for test_sweep.c: a stand-in for generate, whose measurements are formulas and which writes down what it measured, and
 * runs of sweep with it.                                                                                                   */
#ifndef DG_TEST_SWEEP_STAND_IN_H
#define DG_TEST_SWEEP_STAND_IN_H
#include "program.h"
#include "program/sweep.h"
#include <fcntl.h>
#include <math.h>

/* ---- the stand-in: a command with some of generate's options ------------------------------------------------------------------------- */
typedef struct {
    const char *network, *interval, *seeds, *metrics, *stats, *outdir, *trace, *output;
    double weight;
    int steps, sampler, batch, profile;
    bool no_images, allow_fewer;
} FakeOptions;
static void fake_defaults(void *options) { *(FakeOptions *)options = (FakeOptions){.steps = 18, .batch = 64, .weight = 2}; }
#define AT(member) offsetof(FakeOptions, member)
static const Option fake_option[] = {
    {NULL, "network", NULL, OPTION_TEXT, AT(network), "FILE", 0, 0, false, ""},
    {NULL, "dg_weight_1st_order", "dg_scale", OPTION_DOUBLE, AT(weight), "W", -100, 100, true, ""},
    {NULL, "dg_interval", NULL, OPTION_TEXT, AT(interval), "LO,HI", 0, 0, true, ""},
    {NULL, "steps", "num_steps", OPTION_INT, AT(steps), "N", 1, 100, true, ""},
    {NULL, "sampler", NULL, OPTION_CHOICE, AT(sampler), "edm|ddim|ddpm", 0, 0, true, ""},
    {NULL, "batch", NULL, OPTION_INT, AT(batch), "N", 1, 100, false, ""},
    {NULL, "seeds", NULL, OPTION_TEXT, AT(seeds), "LIST", 0, 0, false, ""},
    {NULL, "metrics", NULL, OPTION_TEXT, AT(metrics), "LIST", 0, 0, false, ""},
    {NULL, "stats", NULL, OPTION_TEXT, AT(stats), "FILE.npz", 0, 0, false, ""},
    {NULL, "no-images", NULL, OPTION_FLAG, AT(no_images), NULL, 0, 0, false, ""},
    {NULL, "allow-fewer", NULL, OPTION_FLAG, AT(allow_fewer), NULL, 0, 0, false, ""},
    {NULL, "outdir", NULL, OPTION_TEXT, AT(outdir), "DIR", 0, 0, false, ""},
    {NULL, "trace", NULL, OPTION_TEXT, AT(trace), "FILE", 0, 0, false, ""},
    {NULL, "profile", NULL, OPTION_INT, AT(profile), "N", 0, 100, false, ""},
    {NULL, "output", NULL, OPTION_TEXT, AT(output), "FORMAT", 0, 0, false, ""},
};
static const Command fake = {.name = "generate",
                             .operands = "",
                             .options_bytes = sizeof(FakeOptions),
                             .defaults = fake_defaults,
                             .option = fake_option,
                             .options = sizeof fake_option / sizeof *fake_option};
/* What goes wrong in the next run: at the cell of this number, from 1 on; 0: nowhere. */
static struct {
    int kill_before, kill_after, interrupt, usage, fail, not_a_number, too_few, late_signal;
    int least;         /* of images, unless fewer are allowed */
    double bad_weight; /* cells of this weight fail, where `fail` is below 0; or are not numbers, where not_a_number is */
    bool ties;         /* distances are the weight's whole part */
} wrong;
/* The formulas; first: of the seeds, n: how many. */
static double fake_distance(double weight, int steps, int sampler, double first, double n) {
    return wrong.ties ? floor(weight) : 10 + (weight - 2) * (weight - 2) + 18. / steps + sampler + fmod(first, 7) / 2 + 10 / n;
}
static double fake_precision(double weight, double first) { return .5 + weight / 16 + fmod(first, 3) / 64; }
static void put(Measured *m, const char *name, double value) {
    m->result.value[m->result.values].name = name;
    m->result.value[m->result.values++].value = value;
}
static int fake_measure(const Args *a, Measured *out, Error *e) {
    static int call; /* of this process, which makes one sweep */
    const FakeOptions *o = a->options;
    int first = 0, last = 0, parts = 0;
    call++;
    if (call == wrong.kill_before) raise(SIGKILL);
    if (!o->no_images || !o->stats || !o->metrics || (parts = sscanf(o->seeds, "%d-%d", &first, &last)) < 1)
        return dg_error(e, "a cell's options"), EXIT_USAGE;
    if (parts == 1) last = first;
    printf("making images\n");
    char line[512];
    int fd = open("cells.log", O_WRONLY | O_CREAT | O_APPEND, 0666),
        n = snprintf(line, sizeof line, "%g %d %d %s %s %s\n", o->weight, o->steps, o->sampler, o->interval ? o->interval : "-", o->seeds,
                     o->stats);
    if (write(fd, line, (size_t)n) != n || close(fd)) return dg_error(e, "cells.log"), EXIT_FAILED;
    if (call == wrong.interrupt) return EXIT_INTERRUPTED;
    if (last - first + 1 < wrong.least && !o->allow_fewer) return dg_error(e, "fewer than the protocol wants"), EXIT_USAGE;
    if (call == wrong.usage) return dg_error(e, "--dg_interval: nonsense"), EXIT_USAGE;
    if (call == wrong.fail || (wrong.fail < 0 && fabs(o->weight) == wrong.bad_weight))
        return dg_error(e, "the disk | is full"), EXIT_FAILED;
    bool bad = call == wrong.not_a_number || (wrong.not_a_number < 0 && fabs(o->weight) == wrong.bad_weight);
    double count = last - first + 1;
    put(out, "fd", bad ? (double)NAN : fake_distance(o->weight, o->steps, o->sampler, first, count));
    put(out, "precision", fake_precision(o->weight, first));
    put(out, "recall", .5);
    out->images = (uint64_t)count - (call == wrong.too_few), out->seconds = .25;
    if (call == wrong.kill_after) raise(SIGKILL);
    if (call == wrong.late_signal) { /* where there is nothing left to stop, as in generate: the run is whole */
        Interrupt *own = interrupt_begin();
        kill(getpid(), SIGINT);
        for (int k = 0; k < 5000 && !interrupted(own); k++) nanosleep(&(struct timespec){0, 1000000}, NULL);
        if (!interrupted(own)) return dg_error(e, "the run's own interrupt heard nothing"), EXIT_FAILED;
        interrupt_end(own);
    }
    return EXIT_DONE;
}
static bool fake_check(const Args *a, Error *e) {
    const FakeOptions *o = a->options;
    return !o->interval || strchr(o->interval, ',') || dg_error(e, "--dg_interval: %s is not LO,HI", o->interval);
}
static int run_fake(const Args *a, Error *e) {
    const SweepCells cells = {&fake, fake_check, fake_measure};
    return sweep_run(a, &cells, e);
}
static const Command sweep_fake = SWEEP_COMMAND(run_fake);

/* ---- running it ------------------------------------------------------------------------------------------------------------------------ */
static char work[64];
static Setup setup;
/* In a process of its own; args is split at blanks. */
static Result *sweep(const char *args) {
    static Result r;
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        const Command *const commands[] = {&sweep_fake};
        char *copy = strdup(args), *argv[MAX_ARGS] = {copy, NULL}, *rest = NULL, name[] = "sweep";
        int argc = 1;
        argv[argc++] = name;
        for (char *w = strtok_r(copy, " ", &rest); w && argc < MAX_ARGS; w = strtok_r(NULL, " ", &rest)) argv[argc++] = w;
        Error e = {0};
        if (chdir(work) != 0 || !freopen("stdout.txt", "w", stdout) || !freopen("stderr.txt", "w", stderr)) _exit(99);
        int code = cli_run(commands, 1, argc, argv, &e);
        if (e.text[0]) fprintf(stderr, "dg_cuda: %s\n", e.text);
        free(copy);
        exit(code);
    }
    finish(&setup, pid, &r);
    return &r;
}
static void clear(void) {
    remove_folder(at(&setup, "out"));
    unlink(at(&setup, "cells.log"));
    memset(&wrong, 0, sizeof wrong);
}
static int measured(void) { /* cells, since they were last counted */
    char text[OUTPUT];
    read_text(at(&setup, "cells.log"), text);
    unlink(at(&setup, "cells.log"));
    return lines(text);
}
#endif
