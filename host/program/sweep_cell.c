/* sweep_cell.c -- the command `sweep` measures with `generate`. */
#include "program/commands.h"
#include "program/sweep.h"

static int run(const Args *a, Error *e) {
    const SweepCells cells = {&command_generate, generate_measure};
    return sweep_run(a, &cells, e);
}
const Command command_sweep = SWEEP_COMMAND(run);
