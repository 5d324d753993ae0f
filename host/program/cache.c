/* cache.c -- the command `cache`: where conversions of checkpoints are kept, how many, and clearing them. */
#include "program/commands.h"
#include "weights_tools/weights_tools.h"
#include <stdlib.h>

typedef struct {
    const char *cache;
    bool clear;
} CacheOptions;
static const Option option[] = {
    {"The cache", "cache", NULL, OPTION_TEXT, offsetof(CacheOptions, cache), "DIR", 0, 0, false,
     "another folder than $XDG_CACHE_HOME/dg_cuda or ~/.cache/dg_cuda"},
    {NULL, "clear", NULL, OPTION_FLAG, offsetof(CacheOptions, clear), NULL, 0, 0, false,
     "remove the conversions; they are made again when they are needed"},
};
static const char details[] =
    "Checkpoints that are no safetensors files are converted once, when a network is opened, and the conversion is\n"
    "kept under a name made of the file's content and of the options. \"--cache off\" keeps none.\n";

static double mebibytes(uint64_t bytes) { return (double)bytes / 1048576; }
static int run(const Args *a, Error *e) {
    const CacheOptions *o = a->options;
    char *folder = conversions_folder(o->cache);
    if (!folder && o->cache) return dg_error(e, "--cache off keeps nothing, so there is nothing to list or to remove"), EXIT_USAGE;
    if (!folder)
        return dg_error(e, "neither XDG_CACHE_HOME nor HOME names a folder, so nothing is kept: --cache DIR names one"), EXIT_FAILED;
    CachedConversion *c;
    int n = conversions_list(folder, &c), files = 0;
    uint64_t bytes = 0;
    bool ok = true;
    if (o->clear) {
        ok = conversions_clear(folder, &files, &bytes, e);
        if (ok) print_text(stdout, folder), printf(": %d conversions removed, %.1f MiB\n", files, mebibytes(bytes));
    } else {
        for (int i = 0; i < n; i++) {
            printf("%9.1f MiB  ", mebibytes(c[i].bytes));
            print_text(stdout, c[i].name);
            fputs("  of ", stdout);
            print_text(stdout, c[i].source);
            putchar('\n');
            bytes += c[i].bytes;
        }
        print_text(stdout, folder);
        printf(": %d conversions, %.1f MiB\n", n, mebibytes(bytes));
    }
    conversions_free(c, n);
    free(folder);
    return ok ? EXIT_DONE : EXIT_FAILED;
}
const Command command_cache = {.name = "cache",
                               .operands = "",
                               .operands_max = 0,
                               .summary = "lists the conversions of checkpoints that are kept, or removes them",
                               .details = details,
                               .options_bytes = sizeof(CacheOptions),
                               .option = option,
                               .options = sizeof option / sizeof *option,
                               .run = run};
