/* sweep.h -- the parts of the command `sweep`: values of generate's options, each measured over disjoint ranges of seeds. */
#ifndef DG_SWEEP_H
#define DG_SWEEP_H
#include "base/json.h"
#include "program/generate_options.h"

typedef struct {
    TextList vary;
    const char *seeds, *metrics, *outdir, *plot, *plot_metric, *plot_title;
    int ranges, images, first_seed, screen, keep, output, plot_log;
} SweepOptions;
enum { SWEEP_TEXT, SWEEP_JSON, SWEEP_CSV, SWEEP_MD };             /* output */
enum { SWEEP_LOG_OFF, SWEEP_LOG_X, SWEEP_LOG_Y, SWEEP_LOG_BOTH }; /* plot_log */
/* The command, run by `run_function`. */
/* clang-format off */
#define SWEEP_COMMAND(run_function)                                                                                        \
    {.name = "sweep", .operands = "[-- OPTIONS-OF-GENERATE]", .operands_max = SWEEP_MAX_WORDS,                             \
     .summary = "measures values of an option over ranges of seeds: tables and a plot", .details = sweep_details,          \
     .options_bytes = sizeof(SweepOptions), .defaults = sweep_defaults, .option = sweep_option,                            \
     .options = SWEEP_OPTIONS, .foreign = sweep_foreign, .foreigns = SWEEP_FOREIGNS, .run = run_function}
/* clang-format on */
enum { SWEEP_OPTIONS = 14, SWEEP_FOREIGNS = 2, SWEEP_MAX_WORDS = 1000 };
extern const Option sweep_option[SWEEP_OPTIONS];
extern const ForeignOption sweep_foreign[SWEEP_FOREIGNS];
extern const char sweep_details[];
void sweep_defaults(void *options);

/* What measures: a command whose options are varied, and how a run of it is measured. */
typedef struct {
    const Command *command;
    bool (*check)(const Args *a, Error *e);                 /* what can be wrong before any file is opened; may complete the options */
    int (*measure)(const Args *a, Measured *out, Error *e); /* an exit code */
} SweepCells;

typedef struct {
    const Option *option;
    char **value;
    int values;
} Vary;
typedef struct {
    uint64_t first;
    size_t count;
} SweepRange;
typedef struct {
    char name[32];
    double value;
} SweepValue;
/* One setting measured with the seeds of one range. */
typedef struct {
    bool done; /* measured, and in the record */
    SweepValue value[MAX_VALUES];
    int values;
    double seconds;
    char *failure; /* in this run: the sentence; else NULL */
} SweepCell;
typedef enum { SETTING_MEASURED, SETTING_LEFT_OUT, SETTING_FAILED } SettingState;
enum { MAX_VARIED = 4, MAX_SETTINGS = 1000, MAX_RANGES = 100 };
typedef struct {
    const Args *args;
    const SweepOptions *o;
    const SweepCells *cells;
    Args base; /* the words after -- alone */
    Vary vary[MAX_VARIED];
    int varied;
    SweepRange range[MAX_RANGES];
    int screen, keep;     /* images, settings that go on; 0: no screening */
    int ranges, settings; /* settings: of the product of all values, the last option's values next to each other */
    char by[32];          /* the value that --screen ranks by and a plot shows first: the first of --metrics */
    bool higher;          /* is better */
    char **name;          /* [settings] "steps=18, rho=7" */
    SweepCell *full;      /* [settings][ranges] */
    SweepCell *screened;  /* [settings]: the first --screen seeds of the first range */
    bool *kept;           /* [settings] */
    int *rank;            /* [settings]: the settings, the best first; where there was a screening */
    char *record;         /* the path of DIR/sweep.json */
    Text command;         /* of that record, as JSON */
    Text contents;        /* digests of the files that its options name */
    int finished;         /* cells of this run and those before */
    Interrupt *interrupt; /* while cells are measured */
} Sweep;

/* sweep_plan.c: what is to be measured. Everything that can be wrong with a command line is found before anything is measured. */
bool sweep_plan(Sweep *s, const Args *a, const SweepCells *cells, Error *e);
void sweep_free(Sweep *s);
const char *sweep_value(const Sweep *s, int setting, int vary); /* of that option */
void sweep_seeds(Text *out, const SweepRange *r, size_t count); /* the first so many of a range: "0-499" */
bool sweep_direction(const char *name, bool *higher);           /* false: nobody knows which values of it are better */
/* The command line of a cell, parsed; words: what the Args' texts are in. Both to be freed by sweep_cell_free. */
bool sweep_cell_args(const Sweep *s, int setting, int range, size_t count, Args *out, char ***words, Error *e);
void sweep_cell_free(Args *a, char **words);

/* sweep_record.c: DIR/sweep.json, which has the command and a line for each finished cell. */
bool sweep_record_open(Sweep *s, Error *e); /* takes the cells that are finished; refuses those of another command */
bool sweep_record_write(const Sweep *s, Error *e);
void sweep_put_options(const Sweep *s, Text *t);    /* those behind -- that results depend on, as members of a JSON object */
bool sweep_reads(const Sweep *s, const char *file); /* it is one of the files that the options name, or the record */
bool sweep_keeps(const Sweep *s, const char *file); /* it has a name as the statistics of cells have in the folder */

/* sweep.c: measuring. */
int sweep_run(const Args *a, const SweepCells *cells, Error *e); /* an exit code */

/* sweep_rows.c: what a table shows of a setting. */
typedef struct {
    int n;                           /* ranges */
    bool failed;                     /* a cell was not measured, or its value is not finite: the numbers are not numbers */
    double mean, std, error, lo, hi; /* std (n - 1) and error = std / sqrt(n): not numbers where n is 1 */
} Summary;
SettingState sweep_state(const Sweep *s, int setting);
size_t sweep_images(const Sweep *s, int setting); /* of a range of its row */
Summary sweep_summary(const Sweep *s, int setting, const char *name);
const char *sweep_failure(const Sweep *s, int setting);        /* NULL: none */
int sweep_names(const Sweep *s, const char *name[MAX_VALUES]); /* of the values, in the order of `eval` */

void sweep_report(const Sweep *s);         /* sweep_report.c: on standard output */
bool sweep_plot(const Sweep *s, Error *e); /* sweep_plot.c: to --plot */
#endif
