/* sweep_options.c -- the command `sweep` as tables: its options and help text. */
#include "program/sweep.h"
#include <stddef.h>

enum { MOST_IMAGES = MAX_SEEDS };
void sweep_defaults(void *options) {
    SweepOptions *o = options;
    *o = (SweepOptions){.ranges = 3, .images = UNSET, .screen = UNSET, .keep = UNSET};
}
#define AT(member) offsetof(SweepOptions, member)
const Option sweep_option[SWEEP_OPTIONS] = {
    {"What is measured", "vary", NULL, OPTION_TEXTS, AT(vary), "OPTION=LIST...", 0, 0, true,
     "an option of generate and its values, separated by commas, or, where the list has a ';', by that alone (--vary "
     "'cfg_interval=0.2,1;0.3,2'); several make all combinations"},
    {NULL, "metrics", NULL, OPTION_TEXT, AT(metrics), "LIST", 0, 0, true,
     "as of eval: fid, sfid, is, pr, dc, kid; of protocol shapes32 fd, pr, dc, kid; --screen goes by the first"},
    {NULL, "seeds", NULL, OPTION_TEXT, AT(seeds), "RANGES", 0, 0, true,
     "ranges of seeds, each measured alone: 0-499,1000-1499,2000-2499; of one length"},
    {NULL, "ranges", NULL, OPTION_INT, AT(ranges), "N", 1, MAX_RANGES, true, "instead of --seeds: so many ranges, one behind the other"},
    {NULL, "images", NULL, OPTION_INT, AT(images), "N", 1, MOST_IMAGES, true, "of a range; with --ranges"},
    {NULL, "first-seed", NULL, OPTION_INT, AT(first_seed), "N", 0, 2147483647, true, "of the first range; with --ranges"},

    {"Few images for all, many for the best", "screen", NULL, OPTION_INT, AT(screen), "N", 1, MOST_IMAGES, true,
     "first measure every value with the first N seeds of the first range, however many the protocol wants"},
    {NULL, "keep", NULL, OPTION_INT, AT(keep), "K", 1, MAX_SETTINGS, true, "and go on with the K best alone"},

    {"Output", "outdir", NULL, OPTION_TEXT, AT(outdir), "DIR", 0, 0, false,
     "statistics of every cell, and sweep.json, the results: the same command goes on from them"},
    {NULL, "output", NULL, OPTION_CHOICE, AT(output), "text|json|csv|md", 0, 0, false,
     "how results are printed; with all but text what is said on the way goes to standard error"},
    {NULL, "plot", NULL, OPTION_TEXT, AT(plot), "FILE.svg", 0, 0, false,
     "a picture: the first option's values across, lines for the others', standard errors as bars"},
    {NULL, "plot-metric", NULL, OPTION_TEXT, AT(plot_metric), "LIST", 0, 0, false,
     "what is plotted, by the names in the table (fd,precision,recall); default: all"},
    {NULL, "plot-title", NULL, OPTION_TEXT, AT(plot_title), "TEXT", 0, 0, false, "above the picture"},
    {NULL, "plot-log", NULL, OPTION_CHOICE, AT(plot_log), "off|x|y|both", 0, 0, false, "logarithmic axes"},
};
const ForeignOption sweep_foreign[SWEEP_FOREIGNS] = {
    {"network extractor discriminator steps batch device dtype ref protocol inception preset threads",
     "options of generate stand behind --: dg_cuda sweep --vary ... -- --protocol shapes32"},
    {"values range", "--vary OPTION=A,B,C has the values, --seeds or --ranges the ranges of seeds"},
};
const char sweep_details[] =
    "Everything behind -- is an option of generate and holds for all. An error is the standard error of the mean over the ranges; a cell\n"
    "that fails, or whose value is not finite, is shown as failed, its value's mean is not formed, and the exit code is 1.\n"
    "A cell is one value with one range. Those that are finished are in DIR/sweep.json; after an interruption the same command goes on "
    "with\n"
    "the others, and, within a cell, from the statistics that were saved.\n\n"
    "Examples:\n"
    "  dg_cuda sweep --vary dg_weight_1st_order=0,1,2,4 --ranges 3 --images 500 --metrics fd,pr --outdir w1 --plot w1.svg \\\n"
    "      -- --protocol shapes32\n"
    "  dg_cuda sweep --vary steps=18,36 --vary 'dg_interval=0.01,1;0.1,1' --seeds 0-49999,50000-99999 --metrics fid \\\n"
    "      --screen 5000 --keep 2 --outdir windows -- --preset edm-cifar10-uncond-dg --network edm.pkl --extractor 32x32_classifier.pt \\\n"
    "      --discriminator discriminator_60.pt --protocol edm --ref cifar10-32x32.npz --inception inception.pth\n";
