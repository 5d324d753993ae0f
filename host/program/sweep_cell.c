/* sweep_cell.c -- the command `sweep` measures with `generate`. */
#include "program/commands.h"
#include "program/sweep.h"

static bool check(const Args *a, Error *e) {
    SeedList seeds = {0};
    bool ok = generate_check(a->options, a, &seeds, e);
    seeds_free(&seeds);
    return ok;
}
static int run(const Args *a, Error *e) {
    const SweepCells cells = {&command_generate, check, generate_measure};
    return sweep_run(a, &cells, e);
}
const Command command_sweep = SWEEP_COMMAND(run);
