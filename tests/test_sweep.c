/* test_sweep.c -- the command `sweep` on a stand-in for generate, whose measurements are formulas and which writes down what it measured:
 * command lines, resuming after kills, screening, failures, refusals, and every output read back.                           */
#include "sweep_stand_in.h"
#include <sys/file.h>

static Json *json_of(Result *r, const char *what) {
    Error e = {0};
    Json *j = json_parse(r->out, strlen(r->out), &e);
    CHECK(j, "%s: %s: %s", what, e.text, r->out);
    return j;
}
static const Json *child(const Json *j, int i) {
    for (j = j ? j->child : NULL; j && i--;) j = j->next;
    return j;
}
static double number(const Json *j, const char *key) {
    const Json *v = json_get(j, key);
    return v && v->kind == JSON_NUMBER ? v->number : (double)NAN;
}
static const char *text_of(const Json *j, const char *key) {
    const Json *v = json_get(j, key);
    return v && v->kind == JSON_STRING ? v->string : "";
}
#define FOUR  "--vary dg_weight_1st_order=0,1,2,4 --ranges 3 --images 50 --metrics fd,pr --outdir out"
#define CELLS 12

/* ---- what is wrong with a command line ---------------------------------------------------------------------------------------------------- */
static void test_usage(void) {
    static const struct {
        const char *args, *pattern;
    } refused[] = {
        {"--ranges 2 --images 5 --metrics fd --outdir out", "--vary is missing"},
        {"--vary steps=1,2 --ranges 2 --images 5 --outdir out", "--metrics is missing"},
        {"--vary steps=1,2 --ranges 2 --images 5 --metrics fd", "--outdir is missing"},
        {"--vary steps=1,2 --metrics fd --outdir out", "which seeds"},
        {"--vary steps --ranges 2 --images 5 --metrics fd --outdir out", "write OPTION=VALUES"},
        {"--vary step=1,2 --ranges 2 --images 5 --metrics fd --outdir out", "--vary step=1,2: .*no option --step: did you mean --steps"},
        {"--vary steps=1,,2 --ranges 2 --images 5 --metrics fd --outdir out", "--vary steps: a value is empty"},
        {"--vary steps= --ranges 2 --images 5 --metrics fd --outdir out", "--vary steps: a value is empty"},
        {"--vary steps=1,x --ranges 2 --images 5 --metrics fd --outdir out", "--steps: \"x\" is not a whole number"},
        {"--vary steps=1,101 --ranges 2 --images 5 --metrics fd --outdir out", "--steps: 101 is outside"},
        {"--vary steps=1,2 num_steps=3 --ranges 2 --images 5 --metrics fd --outdir out", "varied twice"},
        {"--vary steps=5,05 --ranges 2 --images 5 --metrics fd --outdir out", "steps=5 and steps=05 are the same"},
        {"--vary dg_interval=0,1 --ranges 2 --images 5 --metrics fd --outdir out", "a value is LO,HI: separate values by ';'"},
        {"--vary dg_interval=0,1;2 --ranges 2 --images 5 --metrics fd --outdir out", "dg_interval=2: --dg_interval: 2 is not LO,HI"},
        {"--vary seeds=1,2 --ranges 2 --images 5 --metrics fd --outdir out", "--seeds of generate is set by sweep"},
        {"--vary steps=1,2 --ranges 2 --images 5 --metrics fd --outdir out -- --stats x", "--stats of generate is set by sweep"},
        {"--vary steps=1,2 --ranges 2 --images 5 --metrics fd --outdir out -- --trace t.json", "--trace is of one run of generate"},
        {"--vary steps=1,2 --ranges 2 --images 5 --metrics fd --outdir out -- --profile 2", "--profile is of one run of generate"},
        {"--vary steps=1,2 --ranges 2 --images 5 --metrics fd --outdir out -- --output json", "--output is of one run of generate"},
        {"--vary steps=1,2,3 --ranges 2 --images 5 --metrics class,fd --outdir out --screen 2 --keep 2", "\"class\" is none of fd"},
        {"--vary steps=1,2 --ranges 2 --images 5 --metrics fd --outdir out -- --outdir x", "--outdir: sweep .* keeps no images"},
        {"--vary steps=1,2 --ranges 2 --images 5 --metrics fd --outdir out -- --steps 3", "--steps is varied, and stands behind --"},
        {"--vary steps=1,2 --ranges 2 --images 5 --metrics fd --outdir out -- --stepz 3", "generate has no option --stepz: did you mean"},
        {"--vary steps=1,2 --ranges 2 --images 5 --metrics fd --outdir out word", "generate takes options alone, not \"word\""},
        {"--vary steps=1,2 --ranges 2 --images 5 --metrics fd --outdir out --network x", "no option --network: .*behind --"},
        {"--vary steps=1,2 --seeds 0-4,5-9 --images 5 --metrics fd --outdir out", "leave --ranges, --images"},
        {"--vary steps=1,2 --seeds 0-4,4-8 --metrics fd --outdir out", "seed 4 is listed twice"},
        {"--vary steps=1,2 --seeds 0-4,5-8 --metrics fd --outdir out", "5-8 has 4 seeds, the first range 5"},
        {"--vary steps=1,2 --seeds 0-4,x --metrics fd --outdir out", "a number is missing"},
        {"--vary steps=1,2,3 --ranges 2 --images 5 --metrics fd --outdir out --screen 2", "go together"},
        {"--vary steps=1,2,3 --ranges 2 --images 5 --metrics fd --outdir out --keep 2", "go together"},
        {"--vary steps=1,2,3 --ranges 2 --images 5 --metrics fd --outdir out --screen 5 --keep 2", "a range has 5 images"},
        {"--vary steps=1,2,3 --ranges 2 --images 5 --metrics fd --outdir out --screen 2 --keep 3", "leaves none out"},
        {"--vary steps=1,2,3 --ranges 2 --images 5 --metrics best,fd --outdir out --screen 2 --keep 2", "\"best\" is none of fd"},
        {"--vary steps=1,2 --ranges 2 --images 5 --metrics fd --outdir out --plot-log x", "need --plot"},
        {"--vary sampler=edm,ddim --ranges 2 --images 5 --metrics fd --outdir out --plot p.svg --plot-log x", "not all values of sampler"},
    };
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) fails(sweep(refused[i].args), refused[i].args, 2, refused[i].pattern);
    CHECK(measured() == 0 && !exists(&setup, "out"), "something was made");
    fails(sweep(FOUR " --plot ."), "--plot .", 1, "\\.");
    CHECK(measured() == 0 && !exists(&setup, "out"), "a plot's file is looked at too late");
}

/* ---- numbers ------------------------------------------------------------------------------------------------------------------------- */
static const double weights[] = {0, 1, 2, 4}, firsts[] = {0, 50, 100};
typedef struct {
    double mean, std, error, lo, hi;
} Row;
static Row expected(double (*value)(int w, int r), int w) { /* over three ranges, by the textbook */
    double v[3] = {value(w, 0), value(w, 1), value(w, 2)}, mean = (v[0] + v[1] + v[2]) / 3, squares = 0;
    for (int i = 0; i < 3; i++) squares += (v[i] - mean) * (v[i] - mean);
    return (Row){mean, sqrt(squares / 2), sqrt(squares / 2 / 3), fmin(v[0], fmin(v[1], v[2])), fmax(v[0], fmax(v[1], v[2]))};
}
static double distance_of(int w, int r) { return fake_distance(weights[w], 18, 0, firsts[r], 50); }
static double precision_of(int w, int r) { return fake_precision(weights[w], firsts[r]); }
static bool near(double a, double b) { return fabs(a - b) <= 1e-12 * fabs(b) + 1e-14; }
static void check_row(const Json *row, int w) {
    const struct {
        const char *name;
        Row r;
    } want[] = {{"fd", expected(distance_of, w)}, {"precision", expected(precision_of, w)}};
    for (int i = 0; i < 2; i++) {
        const Json *m = json_get(json_get(row, "measures"), want[i].name);
        const Row *r = &want[i].r;
        CHECK(near(number(m, "mean"), r->mean) && near(number(m, "std"), r->std) && near(number(m, "error"), r->error) &&
                  near(number(m, "min"), r->lo) && near(number(m, "max"), r->hi) && number(m, "ranges") == 3,
              "weight %g: %s: %g %g %g %g %g", weights[w], want[i].name, number(m, "mean"), number(m, "std"), number(m, "error"),
              number(m, "min"), number(m, "max"));
    }
}
static void check_json(Result *r, const char *what) {
    Json *j = json_of(r, what);
    const Json *rows = json_get(j, "rows");
    CHECK(rows && rows->count == 4, "%s: rows", what);
    for (int w = 0; w < 4 && rows; w++) {
        const Json *row = child(rows, w);
        CHECK(strtod(text_of(json_get(row, "setting"), "dg_weight_1st_order"), NULL) == weights[w], "%s: row %d", what, w);
        CHECK(!strcmp(text_of(row, "state"), "measured") && json_get(row, "cells")->count == 3, "%s: state of row %d", what, w);
        check_row(row, w);
    }
    json_free(j);
}
/* Four rows of distances by a separator: a value, ..., mean and error at these columns. */
static void check_lines(const char *out, const char *measure, const char *separator, int mean_column, int error_column) {
    char *copy = strdup(out), *rest = NULL;
    int rows = 0;
    for (char *line = strtok_r(copy, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        char *within = NULL, *field[16] = {NULL};
        int n = 0;
        if (!strstr(line, measure) || strstr(line, "mean")) continue;
        for (char *f = strtok_r(line, separator, &within); f && n < 16; f = strtok_r(NULL, separator, &within)) field[n++] = f;
        Row want = expected(distance_of, rows < 4 ? rows : 0);
        CHECK(n > error_column && fabs(strtod(field[mean_column], NULL) - want.mean) <= 1e-4 &&
                  fabs(strtod(field[error_column], NULL) - want.error) <= 1e-4,
              "row %d: %s is not %g with error %g", rows, n > mean_column ? field[mean_column] : "", want.mean, want.error);
        rows++;
    }
    CHECK(rows == 4, "%d rows of %s in %s", rows, measure, out);
    free(copy);
}
static void test_outputs(void) {
    clear();
    Result *r = sweep(FOUR);
    succeeds(r, "a sweep");
    CHECK(measured() == CELLS, "cells of a sweep");
    check_lines(strstr(r->out, "\n\n") ? strstr(r->out, "\n\n") : "", " fd ", " ", 5, 6); /* value, "3 x 50", measure, mean, error */
    CHECK(strstr(r->out, "making images") && strstr(r->out, "[12/12] dg_weight_1st_order=4, seeds 100-149"), "what is said: %s", r->out);
    check_json(sweep(FOUR " --output json"), "json");
    CHECK(count_files(&setup, "out", ".json") == 1 && count_files(&setup, "out", "partial") == 0, "files of a sweep");
    r = sweep(FOUR " --output csv");
    CHECK(r->code == 0, "csv: %s", r->err);
    check_lines(r->out, ",fd,", ",", 5, 6);
    CHECK(!strncmp(r->out, "dg_weight_1st_order,state,ranges,images,measure,mean,error,std,min,max\n\"0\",measured,3,50,fd,", 90),
          "csv: %s", r->out);
    r = sweep(FOUR " --output md");
    CHECK(r->code == 0, "md: %s", r->err);
    Row want = expected(distance_of, 0);
    char line[128]; /* two digits of the error: it is between .1 and 1 */
    snprintf(line, sizeof line, "| 0 | 3 x 50 | %.2f ± %.2f | ", want.mean, want.error);
    CHECK(want.error > .1 && want.error < 1 && strstr(r->out, line) &&
              strstr(r->out, "| dg_weight_1st_order | images | fd | precision | recall |\n|---|--:|--:|--:|--:|\n"),
          "md: %s wanted in %s", line, r->out);
    CHECK(strstr(r->out, "| 0.5 ± 0 |"), "an error of 0: %s", r->out);
    CHECK(measured() == 0, "finished cells were measured for another output");
    /* on the way nothing but results is on standard output */
    clear();
    static Result json;
    json = *sweep(FOUR " --output json --seeds 0-49,50-99,100-149");
    CHECK(json.code == 2, "--seeds and --ranges: %s", json.err);
    json = *sweep("--vary dg_weight_1st_order=0,1,2,4 --seeds 0-49,50-99,100-149 --metrics fd,pr --outdir out --output json");
    check_json(&json, "the output alone");
    CHECK(json.code == 0 && strstr(json.err, "making images") && measured() == CELLS, "what is said on the way: %s", json.err);
    r = sweep("--vary dg_weight_1st_order=0,4 --seeds 7 --metrics fd --outdir out/one --output json"); /* no error of one range */
    Json *j = json_of(r, "one range");
    const Json *fd = json_get(json_get(child(json_get(j, "rows"), 0), "measures"), "fd"), *error = json_get(fd, "error");
    CHECK(number(fd, "mean") == fake_distance(0, 18, 0, 7, 1) && error && error->kind == JSON_NULL, "one range: %s", r->out);
    json_free(j);
}
static void test_intervals(void) {
    clear();
    char log[OUTPUT];
    succeeds(sweep("--vary dg_interval=0.1,1;0.2,1 --vary sampler=edm,ddim --first-seed 3 --ranges 2 --images 5 --metrics fd --outdir out "
                   "-- --steps=9"),
             "two options");
    read_text(at(&setup, "cells.log"), log);
    CHECK(measured() == 8, "a product of 2 and 2: %s", log);
    CHECK(matches(log, "2 9 1 0.2,1 8-12 out/003-dg_interval=0.2_1__sampler=ddim-seeds-8-12-[0-9a-f]{8}.npz"), "cells: %s", log);
    CHECK(matches(log, "^2 9 0 0.1,1 3-7 ") && matches(log, "2 9 1 0.1,1 3-7 ") && matches(log, "2 9 0 0.2,1 8-12 "), "cells: %s", log);
    clear();
    succeeds(sweep("--vary dg_interval=0.1,1; --ranges 2 --images 5 --metrics fd --outdir out"), "one interval");
    CHECK(measured() == 2, "one value, which has a comma");
}

/* ---- resuming -------------------------------------------------------------------------------------------------------------------------- */
static void test_kills(void) {
    static Result whole;
    clear();
    sweep(FOUR);
    whole = *sweep(FOUR " --output json");
    for (int k = 1; k <= CELLS; k++) {
        clear();
        wrong.kill_before = k;
        CHECK(sweep(FOUR)->code == 1000 + SIGKILL && measured() == k - 1, "killed before cell %d", k);
        wrong.kill_before = 0;
        Result *r = sweep(FOUR " --output json");
        CHECK(r->code == 0 && measured() == CELLS - k + 1, "after %d cells the others are measured", k - 1);
        CHECK(!strcmp(r->out, whole.out), "results after a kill before cell %d differ", k);
        clear();
        wrong.kill_after = k; /* measured, but nobody knows */
        CHECK(sweep(FOUR)->code == 1000 + SIGKILL && measured() == k, "killed after cell %d", k);
        wrong.kill_after = 0;
        r = sweep(FOUR " --output json");
        CHECK(r->code == 0 && measured() == CELLS - k + 1 && !strcmp(r->out, whole.out), "results after a kill behind cell %d", k);
    }
    clear();
    for (int k = 0; k < CELLS; k++) { /* one cell a run */
        wrong.interrupt = 2;
        fails(sweep(FOUR), "interrupted", k + 1 < CELLS ? 130 : 0, "interrupted: [0-9]+ cells are finished, the same command goes on");
        if (k + 2 == CELLS) break;
    }
    wrong.interrupt = 0;
    measured();
    check_json(sweep(FOUR " --output json"), "interrupted eleven times");
    CHECK(measured() == 1, "the last cell");
    clear();
    wrong.late_signal = 2;
    fails(sweep(FOUR), "a signal that a cell did not need", 130, "interrupted: 2 cells are finished, the same command goes on");
    CHECK(measured() == 2, "cells before it");
    wrong.late_signal = CELLS - 2;
    check_json(sweep(FOUR " --output json"), "a signal in the last cell");
    CHECK(measured() == CELLS - 2, "cells behind it");
}

/* ---- screening ------------------------------------------------------------------------------------------------------------------------- */
static void check_kept(Result *r, const char *states, const char *what) { /* a letter for each row: m, l, f */
    Json *j = json_of(r, what);
    const Json *rows = json_get(j, "rows");
    for (int k = 0; states[k]; k++) {
        const char *state = text_of(child(rows, k), "state");
        CHECK(state[0] == states[k], "%s: row %d is %s, %c wanted", what, k, state, states[k]);
    }
    json_free(j);
}
#define SCREENED FOUR " --screen 10 --keep 2"
static void test_screening(void) {
    static Result json;
    char log[OUTPUT];
    clear();
    Result *r = sweep(SCREENED); /* the distances are 14, 11, 10, 14: 2 and 1 go on */
    succeeds(r, "a screening");
    read_text(at(&setup, "cells.log"), log);
    CHECK(measured() == 4 + 2 * 3, "cells of a screening: %s", log);
    const char *few = strstr(log, "1 18 0 - 0-9 "), *name = few ? few + strlen("1 18 0 - 0-9 ") : "";
    char all[512];
    snprintf(all, sizeof all, "1 18 0 - 0-49 %.*s\n", (int)strcspn(name, "\n"), name);
    CHECK(matches(name, "^out/001-dg_weight_1st_order=1-seeds-0-49-[0-9a-f]{8}\\.npz\n") && strstr(log, all),
          "a full cell goes on from the screened one's statistics: %s", log);
    CHECK(matches(r->out, "by fd \\(lower is better\\); the best 2 go on:\n  on   1[0-9.]* +dg_weight_1st_order=2\n  on   1[0-9.]* "
                          "+dg_weight_1st_order=1\n  out "),
          "the reason: %s", r->out);
    CHECK(strstr(r->out, "out  16") && matches(r->out, "dg_weight_1st_order=4 \\(as good as") == false, "the others: %s", r->out);
    json = *sweep(SCREENED " --output json");
    check_kept(&json, "lmml", "lower distances");
    Json *j = json_of(&json, "screening");
    const Json *row = child(json_get(j, "rows"), 0);
    CHECK(number(row, "images") == 10 && near(number(json_get(json_get(row, "measures"), "fd"), "mean"), fake_distance(0, 18, 0, 0, 10)),
          "the row of a value that was left out: %s", json.out);
    check_row(child(json_get(j, "rows"), 1), 1);
    json_free(j);
    CHECK(measured() == 0 && strstr(sweep(SCREENED " --output md")->out, "| 0 | 1 x 10 |"), "md of a value that was left out");
    for (int k = 1; k <= 10; k += 3) { /* a resumed screening chooses the same */
        clear();
        wrong.kill_before = k;
        CHECK(sweep(SCREENED)->code == 1000 + SIGKILL && measured() == k - 1, "killed in a screening");
        wrong.kill_before = 0;
        CHECK(!strcmp(sweep(SCREENED " --output json")->out, json.out) && measured() == 11 - k, "a screening after a kill before %d", k);
    }
    clear();
    wrong.least = 50;
    r = sweep(SCREENED);
    CHECK(r->code == 0 && measured() == 4 + 2 * 3 && strstr(r->out, "may be fewer than the protocol's number"),
          "a screening of fewer images than the protocol wants: %s%s", r->err, r->out);
    clear();
    wrong.least = 51;
    r = sweep(SCREENED);
    CHECK(r->code == 1 && measured() == 4 + 2 * 3 && strstr(r->err, "6 of 10 cells failed"), "ranges below the protocol's number: %s",
          r->err);
    clear();
    json =
        *sweep("--vary dg_weight_1st_order=0,1,2,4 --ranges 3 --images 50 --metrics pr,fd --outdir out --screen 10 --keep 1 --output json");
    check_kept(&json, "lllm", "higher precision");
    CHECK(strstr(json.err, "by precision (higher is better)"), "the reason: %s", json.err);
}
static void test_ties_and_failures(void) {
    static Result json;
    clear();
    wrong.ties = true; /* 2, 1, 1, 1: the first ones of the list */
    json = *sweep(
        "--vary dg_weight_1st_order=2,1.2,1.7,1.5 --ranges 2 --images 5 --metrics fd --outdir out --screen 2 --keep 2 --output json");
    check_kept(&json, "lmml", "a tie");
    CHECK(matches(json.err, "out +1 +dg_weight_1st_order=1.5 \\(as good as one that goes on"), "a tie is said: %s", json.err);
    clear();
    wrong.not_a_number = -1, wrong.bad_weight = 2;
    json = *sweep(SCREENED " --output json"); /* 1 and 0, which stands before the 4 that is as far away */
    check_kept(&json, "mmfl", "not a number");
    CHECK(json.code == 1 && strstr(json.err, "dg_weight_1st_order=2 has values that are not finite"), "not a number: %s", json.err);
    clear();
    wrong.fail = -1, wrong.bad_weight = 2;
    json = *sweep(SCREENED " --output json");
    check_kept(&json, "mmfl", "a failure");
    CHECK(json.code == 1 && strstr(json.err, "1 of 10 cells failed, the first was dg_weight_1st_order=2, seeds 0-9: the disk | is full"),
          "a failure: %s", json.err);
    CHECK(measured() == 4 + 6, "cells of a screening with a failure");
    clear();
    wrong.not_a_number = -1, wrong.bad_weight = 2;
    json = *sweep("--vary dg_weight_1st_order=2,-2,1 --ranges 2 --images 5 --metrics fd --outdir out --screen 2 --keep 2 --output json");
    check_kept(&json, "ffm", "fewer than are to be kept");
    CHECK(measured() == 3 + 2, "what has no number goes on");
}

/* ---- failures -------------------------------------------------------------------------------------------------------------------------- */
static void test_failures(void) {
    static Result r;
    clear();
    wrong.fail = 6; /* the second range of weight 1 */
    r = *sweep(FOUR " --output md");
    CHECK(r.code == 1 && measured() == CELLS && strstr(r.err, "1 of 12 cells failed"), "a failing cell: %s", r.err);
    CHECK(strstr(r.out, "| 1 | 3 x 50 | failed | failed | failed |") && strstr(r.out, "Failed: dg_weight_1st_order=1: the disk | is full"),
          "a failing cell in the table: %s", r.out);
    wrong.fail = 1;
    r = *sweep(FOUR " --output csv");
    CHECK(r.code == 1 && measured() == 1 && strstr(r.out, "\"1\",failed,3,50,fd,,,,,\n") && strstr(r.out, "\"2\",measured,3,50,fd,1"),
          "the failing cell alone is tried once more: %s", r.out);
    wrong.fail = 0;
    check_json(sweep(FOUR " --output json"), "after failures");
    CHECK(measured() == 1, "the failed cell");
    clear();
    wrong.not_a_number = 7;
    r = *sweep(FOUR);
    CHECK(r.code == 1 && matches(r.out, "\n2 +3 x 50 +fd +- +- +- +- +- +failed\n2 +3 x 50 +precision +0\\.6"), "not a number: %s", r.out);
    CHECK(measured() == CELLS, "cells");
    wrong.not_a_number = 0;
    r = *sweep(FOUR " --output json");
    CHECK(r.code == 1 && measured() == 0, "what is not a number is a result, and stays one");
    Json *j = json_of(&r, "not a number");
    const Json *row = child(json_get(j, "rows"), 2), *fd = json_get(json_get(row, "measures"), "fd");
    CHECK(!strcmp(text_of(row, "state"), "failed") && json_get(fd, "mean") && json_get(fd, "mean")->kind == JSON_NULL &&
              json_get(fd, "failed")->boolean && !json_get(json_get(json_get(row, "measures"), "precision"), "failed")->boolean,
          "not a number: %s", r.out);
    check_row(child(json_get(j, "rows"), 1), 1);
    json_free(j);
    clear();
    wrong.too_few = 2;
    r = *sweep(FOUR);
    CHECK(r.code == 1 && strstr(r.err, "49 of 50 images were measured"), "too few images: %s", r.err);
    clear();
    wrong.usage = 2;
    r = *sweep(FOUR);
    CHECK(r.code == 1 && strstr(r.err, "1 of 12 cells failed, the first was dg_weight_1st_order=1, seeds 0-49: --dg_interval: nonsense"),
          "a cell's usage: %d, %s", r.code, r.err);
    CHECK(measured() == CELLS && strstr(r.out, "  failed: --dg_interval: nonsense\n"), "a value that does not suit ends the sweep: %s",
          r.out);
    clear();
    char first[OUTPUT], then[OUTPUT], same[OUTPUT];
    wrong.kill_after = 1; /* statistics are there, and nobody knows */
    sweep(FOUR), read_text(at(&setup, "cells.log"), first), measured();
    sweep(FOUR " -- --batch 9"), read_text(at(&setup, "cells.log"), same), measured();
    wrong.kill_after = 0;
    succeeds(sweep(FOUR " -- --steps 9"), "another command where nothing was measured");
    read_text(at(&setup, "cells.log"), then);
    const char *one = strstr(first, "out/"), *again = strstr(same, "out/"), *other = strstr(then, "out/");
    CHECK(one && again && !strcmp(one, again), "the same command goes on from other statistics: %s, %s", first, same);
    CHECK(one && other && strncmp(one, other, strcspn(one, "\n")), "another command goes on from the statistics of the first: %s", one);
    clear();
    wrong.fail = -1, wrong.bad_weight = 3;
    r = *sweep("--vary dg_weight_1st_order=3, --ranges 1 --images 5 --metrics fd --outdir out");
    CHECK(r.code == 2, "a value is empty: %s", r.err);
    r = *sweep("--vary dg_weight_1st_order=3 --ranges 1 --images 5 --metrics fd --outdir out");
    CHECK(r.code == 1 && matches(r.out, "\n3 +1 x 5 +fd +- .*failed\nfailed: dg_weight_1st_order=3: the disk"), "all fail: %s", r.out);
}

/* ---- refusals -------------------------------------------------------------------------------------------------------------------------- */
static void test_refusals(void) {
    static const struct {
        const char *args, *pattern;
    } other[] = {
        {FOUR " -- --steps 20", "options: steps was not set, is now 20"},
        {"--vary dg_weight_1st_order=0,1,2 --ranges 3 --images 50 --metrics fd,pr --outdir out",
         "vary: dg_weight_1st_order was .*\"4\"\\], is now .*\"2\"\\]"},
        {"--vary steps=1,2 --ranges 3 --images 50 --metrics fd,pr --outdir out",
         "vary: steps was not set.*dg_weight_1st_order was .*is now not set"},
        {"--vary dg_weight_1st_order=0,1,2,4 --ranges 2 --images 50 --metrics fd,pr --outdir out",
         "seeds was \"0-49,50-99,100-149\", is now"},
        {"--vary dg_weight_1st_order=0,1,2,4 --ranges 3 --images 50 --metrics fd --outdir out", "metrics was \"fd,pr\", is now \"fd\""},
        {SCREENED, "screen was 0, is now 10; keep was 0, is now 2"},
    };
    clear();
    succeeds(sweep(FOUR), "a sweep");
    measured();
    for (size_t i = 0; i < sizeof other / sizeof *other; i++) {
        fails(sweep(other[i].args), other[i].args, 1, other[i].pattern);
        fails(sweep(other[i].args), other[i].args, 1, "out/sweep.json is of another sweep: choose another --outdir");
    }
    CHECK(measured() == 0, "a refused sweep measures");
    check_json(sweep("--vary dg_scale=0,1,2,4 --ranges 3 --images 50 --metrics fd,pr --outdir out --output json -- --batch 7"),
               "another name, batch and output");
    CHECK(measured() == 0, "the same sweep in other words");
    int fd = open(at(&setup, "out"), O_RDONLY | O_DIRECTORY);
    CHECK(fd >= 0 && flock(fd, LOCK_EX) == 0, "a lock");
    fails(sweep(FOUR), "two at once", 1, "out: another sweep is at work there");
    close(fd);
    write_file(&setup, "out/sweep.json", "{\"program\": \"dg_cuda\"}");
    fails(sweep(FOUR), "a manifest", 1, "not the record of a sweep");
    write_file(&setup, "out/sweep.json", "{\"program\": ");
    fails(sweep(FOUR), "half a record", 1, "sweep.json");
    clear();
    write_file(&setup, "a.file", "1");
    fails(sweep("--vary steps=1,2 --ranges 2 --images 5 --metrics fd --outdir a.file/x"), "no folder", 1, "--outdir: a.file.*cannot make");
}
static void test_changed_files(void) {
#define WITH_FILE "--vary steps=1,2 --ranges 2 --images 5 --metrics fd --outdir out -- --network net.bin"
    clear();
    write_file(&setup, "net.bin", "weights");
    succeeds(sweep(WITH_FILE), "a network");
    CHECK(measured() == 4, "cells");
    struct timespec old[2] = {{1000, 0}, {1000, 0}};
    utimensat(AT_FDCWD, at(&setup, "net.bin"), old, 0);
    succeeds(sweep(WITH_FILE), "a network with another time");
    write_file(&setup, "net.bin", "another");
    fails(sweep(WITH_FILE), "another network", 1, "net.bin is another file than when this sweep began");
    write_file(&setup, "net.bin", "weights");
    succeeds(sweep(WITH_FILE), "the same network once more");
    unlink(at(&setup, "net.bin"));
    succeeds(sweep(WITH_FILE), "finished, and the network is gone");
    write_file(&setup, "net.bin", "another");
    fails(sweep(WITH_FILE), "another network", 1, "net.bin is another file");
    CHECK(measured() == 0, "finished cells");
    clear();
    char one[OUTPUT], same[OUTPUT], other[OUTPUT];
    wrong.kill_after = 1; /* before any line is in the record */
    write_file(&setup, "net.bin", "weights");
    sweep(WITH_FILE), read_text(at(&setup, "cells.log"), one), measured();
    utimensat(AT_FDCWD, at(&setup, "net.bin"), old, 0);
    sweep(WITH_FILE), read_text(at(&setup, "cells.log"), same), measured();
    write_file(&setup, "net.bin", "another");
    sweep(WITH_FILE), read_text(at(&setup, "cells.log"), other), measured();
    CHECK(strstr(one, "out/") && !strcmp(one, same) && strstr(other, "out/") && strcmp(one, other),
          "statistics of one network are gone on from with another: %s%s%s", one, same, other);
#define WITH_FOLDER "--vary steps=1,2 --ranges 2 --images 5 --metrics fd --outdir out -- --network images"
    clear();
    mkdir(at(&setup, "images"), 0777), mkdir(at(&setup, "images/below"), 0777);
    write_file(&setup, "images/1.png", "one"), write_file(&setup, "images/below/2.png", "two");
    utimensat(AT_FDCWD, at(&setup, "images/below/2.png"), old, 0);
    succeeds(sweep(WITH_FOLDER), "a folder");
    succeeds(sweep(WITH_FOLDER), "the same folder");
    write_file(&setup, "images/3.png", "three");
    fails(sweep(WITH_FOLDER), "a file more", 1,
          "images does not hold the files \\(names, sizes, times\\) that it held when this sweep began");
    unlink(at(&setup, "images/3.png"));
    succeeds(sweep(WITH_FOLDER), "the same folder once more");
    write_file(&setup, "images/below/2.png", "2");
    utimensat(AT_FDCWD, at(&setup, "images/below/2.png"), old, 0);
    fails(sweep(WITH_FOLDER), "another size", 1, "images does not hold");
    write_file(&setup, "images/below/2.png", "owt");
    fails(sweep(WITH_FOLDER), "another time", 1, "images does not hold");
    remove_folder(at(&setup, "images"));
    clear();
    write_file(&setup, "net.bin", "weights");
    fails(sweep("--vary steps=1,2 --ranges 1 --images 5 --metrics fd --outdir out --plot net.bin -- --network net.bin"),
          "a picture for a network", 1, "--plot net.bin is a file that the sweep reads");
    fails(sweep("--vary network=a.bin,./net.bin --ranges 1 --images 5 --metrics fd --outdir out --plot net.bin"),
          "a picture for a varied one", 1, "--plot net.bin is a file that the sweep reads");
    fails(sweep("--vary steps=1,2 --ranges 1 --images 5 --metrics fd --outdir out --plot ./out/../out/sweep.json"),
          "a picture for the record", 1, "is a file that the sweep reads");
    fails(sweep("--vary steps=1,2 --ranges 1 --images 5 --metrics fd --outdir out --plot ./out/../out/000-steps=1-seeds-0-4.npz"),
          "a picture for statistics", 1, "is a name for statistics");
    CHECK(symlink("out/000.npz", at(&setup, "link.svg")) == 0, "no link");
    fails(sweep("--vary steps=1,2 --ranges 1 --images 5 --metrics fd --outdir out --plot link.svg"), "a link to statistics", 1,
          "is a name for statistics");
    char kept[OUTPUT];
    read_text(at(&setup, "net.bin"), kept);
    CHECK(!strcmp(kept, "weights") && measured() == 0, "a picture has replaced a network: %s", kept);
    clear();
    write_file(&setup, "a.bin", "1"), write_file(&setup, "b.bin", "2");
    succeeds(sweep("--vary network=a.bin,b.bin --ranges 2 --images 5 --metrics fd --outdir out"), "checkpoints");
    write_file(&setup, "b.bin", "3");
    fails(sweep("--vary network=a.bin,b.bin --ranges 2 --images 5 --metrics fd --outdir out"), "checkpoints", 1, "b.bin is another file");
    Json *j = json_parse_file(at(&setup, "out/sweep.json"), NULL);
    Json *cell = (Json *)(uintptr_t)child(json_get(j, "cells"), 0);
    CHECK(cell && !strcmp(text_of(cell, "setting"), "network=a.bin") && !strcmp(text_of(cell, "seeds"), "0-4"), "the record");
    json_free(j);
}

/* ---- pictures -------------------------------------------------------------------------------------------------------------------------- */
static int count(const char *text, const char *what) {
    int n = 0;
    for (const char *s = text; (s = strstr(s, what)); s++) n++;
    return n;
}
static void check_plot(const char *args, int points, int bars, int lines_, int frames, const char *pattern) {
    char svg[OUTPUT];
    Result *r = sweep(args);
    CHECK(r->code == 0, "%s: %s", args, r->err);
    read_text(at(&setup, "p.svg"), svg);
    CHECK(count(svg, "<circle") == points && count(svg, "class=\"bar\"") == bars && count(svg, "<polyline") == lines_ &&
              count(svg, "fill=\"none\" stroke=\"#555\"") == frames,
          "%s: %d points, %d bars, %d lines, %d frames", args, count(svg, "<circle"), count(svg, "class=\"bar\""), count(svg, "<polyline"),
          count(svg, "fill=\"none\" stroke=\"#555\""));
    CHECK(matches(svg, pattern), "%s: no \"%s\" in %s", args, pattern, svg);
    if (system("command -v python3 >/dev/null") != 0) {
        not_run("the picture read by another program: no python3");
        return;
    }
    char command[256];
    snprintf(command, sizeof command, "python3 -c 'import sys, xml.dom.minidom as m; m.parse(sys.argv[1])' %s", at(&setup, "p.svg"));
    CHECK(system(command) == 0, "%s: not XML", args);
}
static void test_plots(void) {
    clear();
    check_plot(FOUR " --plot p.svg", 12, 8, 3, 2, "mean and standard error over 3 ranges of 50 images");
    check_plot(FOUR " --plot p.svg --plot-metric recall", 4, 0, 1, 1, "recall \\(higher is better\\)");
    check_plot(FOUR " --plot p.svg --plot-metric fd --plot-log y --plot-title a<b", 4, 4, 1, 1,
               "a&lt;b.*fd \\(lower is better\\), log scale");
    check_plot(SCREENED " --outdir screened --plot p.svg --plot-metric fd", 2, 2, 1, 1, "the best 2 of 4 by fd of 10 images");
    check_plot("--vary sampler=edm,ddim,ddpm --ranges 2 --images 5 --metrics fd --outdir words --plot p.svg --plot-metric fd", 3, 3, 0, 1,
               ">ddim</text>");
    check_plot(
        "--vary steps=36,9 --vary sampler=edm,ddim --ranges 2 --images 5 --metrics fd --outdir two --plot p.svg --plot-metric fd,recall", 8,
        4, 4, 2, ">sampler=ddim</text>.*recall .higher is better.*>sampler=edm</text>");
    char svg[OUTPUT];
    double x[2] = {0};
    read_text(at(&setup, "p.svg"), svg);
    const char *points = strstr(svg, " points=");
    int read = points ? sscanf(points, " points=\"%lf,%*f %lf", &x[0], &x[1]) : 0;
    CHECK(read == 2 && x[0] < x[1], "a line goes from %g to %g", x[0], x[1]);
    fails(sweep(FOUR " --plot p.svg --plot-metric fid"), "no such measure", 1, "--plot-metric fid: there are fd, precision, recall");
    fails(sweep("--vary steps=36,9 --vary dg_scale=0,1,2,3,4,5,6,7,8 --ranges 1 --images 2 --metrics fd --outdir many --plot p.svg"),
          "many lines", 1, "more than 8");
    remove_folder(at(&setup, "many"));
}
int main(void) {
    snprintf(work, sizeof work, "/tmp/test_sweep.XXXXXX");
    if (!CHECK(mkdtemp(work) != NULL, "no folder to work in")) return check_done("test_sweep");
    snprintf(setup.dir, sizeof setup.dir, "%s", work);
    test_usage();
    test_outputs();
    test_intervals();
    test_kills();
    test_screening();
    test_ties_and_failures();
    test_failures();
    test_refusals();
    test_changed_files();
    test_plots();
    remove_folder(work);
    return check_done("test_sweep");
}
