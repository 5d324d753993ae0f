/* test_trace.c -- the file of --trace, from outside and by a second reader (tests/trace_reader.py, where there is a python3): every
 * batch and step, nesting, sums; images are the same with and without; interrupted runs have theirs too; what it may not be called;
 * a bound on what it holds. And what --profile says where there is nothing to profile.
 *   test_trace [DEVICE [PROGRAM]]     default: cpu; the program of the same build folder                                       */
#include "program/tracing.h"
#include "program.h"
#include "tiny_model.h"

#define GUIDED "--network tiny.safetensors --extractor extractor.safetensors --discriminator head.safetensors "
static bool has_python(void) { return system("python3 -c pass 2>/dev/null") == 0; }
/* Whether the second reader finds all that is expected. */
static void read_again(const Setup *s, const char *file, const char *expected) {
    char command[1024];
    Error e = {""};
    Json *j = json_parse_file(at(s, file), &e);
    if (!CHECK(j && json_get(j, "traceEvents") && json_get(j, "traceEvents")->count > 10, "%s: %s", file, e.text)) return;
    json_free(j);
    if (!has_python()) return not_run("the second reader of %s: no python3", file);
    snprintf(command, sizeof command, "python3 tests/trace_reader.py %s %s%s", at(s, file), expected,
             strcmp(s->device, "cpu") ? " own" : "");
    fflush(stdout);
    CHECK(system(command) == 0, "%s: the second reader does not find %s", file, expected);
}

/* ---- what is in it ------------------------------------------------------------------------------------------------------------------- */
typedef struct {
    const char *args, *file, *expected;
} Traced;
static void whole_runs(const Setup *s) {
    static const Traced runs[] = {
        {"generate " GUIDED "--seeds 0-4 --batch 2 --steps 3 --outdir guided", "guided.json",
         "batches=3 steps=3 prepare run latents state network discriminator download_images deliver wait write hash finish -cfg -decode"},
        {"generate --network dit.safetensors --vae vae.safetensors --cfg_scale 1.5 --dg_weight_1st_order 0 --seeds 0-3 --batch 2 "
         "--vae-batch 1 "
         "--steps 4 --outdir pictures --format npz",
         "pictures.json", "batches=2 steps=4 cfg decode autoencoder write -discriminator -network"},
        {"generate --network tiny.safetensors --gnet tiny.safetensors --guidance 2 --classifier classifier.safetensors --classifier_scale "
         "1 "
         "--seeds 0-1 --batch 2 --steps 2 --grid grid.png",
         "terms.json", "batches=1 steps=2 autoguidance classifier network -write -discriminator"},
        {"bench " GUIDED "--batch 1 --steps 3 --repeats 2 --runs 1", "bench.json",
         "batches=0 steps=3 prepare run repeat latents step state network discriminator wait download_images -hash -batch"}};
    char args[1024];
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
        snprintf(args, sizeof args, "%s --device %s --trace %s", runs[i].args, s->device, runs[i].file);
        if (succeeds(run(s, args), args)) read_again(s, runs[i].file, runs[i].expected);
    }
    CHECK(count_files(s, ".", "partial") == 0, "an unfinished file is left");
}
static void same_images(const Setup *s) {
    char args[1024];
    for (int traced = 0; traced < 2; traced++) {
        snprintf(args, sizeof args, "generate " GUIDED "--seeds 0-4 --batch 2 --steps 3 --S_churn 2 --device %s --grid grid%d.png%s",
                 s->device, traced, traced ? " --trace folder/that/is/made/run.json" : "");
        succeeds(run(s, args), args);
    }
    CHECK(same_file(s, "grid0.png", "grid1.png"), "a traced run makes other images");
    CHECK(exists(s, "folder/that/is/made/run.json"), "no trace in a folder that was not there");
    snprintf(args, sizeof args, "generate --network tiny.safetensors --seeds 0-1 --device %s --dry-run --trace none.json", s->device);
    if (succeeds(run(s, args), args)) CHECK(!exists(s, "none.json"), "a run that makes nothing wrote a trace");
}
/* Nothing left to do: a trace without batches, and an older one is replaced. */
static void nothing_to_do(const Setup *s) {
    char args[512];
    Error e = {""};
    snprintf(args, sizeof args, "generate --network tiny.safetensors --seeds 0-1 --steps 2 --device %s --outdir twice --trace twice.json",
             s->device);
    if (!succeeds(run(s, args), args) || !succeeds(run(s, args), args)) return;
    Json *j = json_parse_file(at(s, "twice.json"), &e);
    int batches = 0;
    for (const Json *x = j ? json_get(j, "traceEvents")->child : NULL; x; x = x->next) {
        const char *name = "";
        batches += json_get_string(x, "name", "", &name, &e) && !strcmp(name, "batch");
    }
    CHECK(j && batches == 0, "%s, %d batches of none", e.text, batches);
    json_free(j);
}

/* ---- runs that end early --------------------------------------------------------------------------------------------------------------- */
static void nap(int milliseconds) { nanosleep(&(struct timespec){milliseconds / 1000, milliseconds % 1000 * 1000000L}, NULL); }
/* Whether its main thread blocks SIGINT, which another one then waits for. */
static bool listens(pid_t pid) {
    char path[64], text[OUTPUT];
    unsigned long long blocked = 0;
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    read_text(path, text);
    const char *line = strstr(text, "SigBlk:");
    return line && sscanf(line, "SigBlk: %llx", &blocked) == 1 && blocked >> (SIGINT - 1) & 1;
}
static void interrupted_runs(const Setup *s) {
    Result r;
    char args[512];
    snprintf(args, sizeof args,
             "generate --network tiny.safetensors --seeds 0-99999 --batch 2 --steps 3 --device %s --outdir many --trace many.json",
             s->device);
    pid_t pid = start(s, args, 0, "stdout.txt");
    for (int i = 0; i < 30000 && alive(pid) && count_files(s, "many", ".png") < 4; i++) nap(2);
    CHECK(!exists(s, "many.json"), "the trace is there before the run has ended");
    kill(pid, SIGINT);
    finish(s, pid, &r);
    fails(&r, args, 130, "interrupted: [0-9]+ of 100000 images are in many");
    read_again(s, "many.json", "batches=50000 steps=3 partial network write finish");

    snprintf(args, sizeof args,
             "bench --network tiny.safetensors --batch 1 --repeats 100000 --device %s --trace long.json --json long-figures.json",
             s->device);
    pid = start(s, args, 0, "stdout.txt");
    for (int i = 0; i < 30000 && alive(pid) && !listens(pid); i++) nap(2);
    nap(200);
    kill(pid, SIGINT);
    finish(s, pid, &r);
    fails(&r, args, 130, "interrupted before all was measured");
    Error e = {""};
    Json *j = json_parse_file(at(s, "long.json"), &e);
    CHECK(j && json_get(j, "traceEvents"), "%s", e.text);
    CHECK(!exists(s, "long-figures.json") && count_files(s, ".", "partial") == 0, "figures of an interrupted bench");
    json_free(j);
}
/* A disk without room for the trace, and all else well. */
static void no_room(const Setup *s) {
    char args[512];
    snprintf(args, sizeof args,
             "generate --network tiny.safetensors --seeds 0-9 --batch 1 --steps 8 --device %s --outdir full --trace full.json", s->device);
    fails(run_limited(s, args, 30000), args, 1, "--trace: .*full.json");
    CHECK(count_files(s, "full", ".png") == 10 && !exists(s, "full.json") && count_files(s, ".", "partial") == 0, "%d images, a trace: %d",
          count_files(s, "full", ".png"), exists(s, "full.json"));
}

/* ---- usage ------------------------------------------------------------------------------------------------------------------------------ */
static void usage(const Setup *s) {
    static const struct {
        const char *args;
        int code;
        const char *pattern;
    } bad[] = {
        {"generate --network tiny.safetensors --seeds 0 --outdir u --trace tiny.safetensors", 2,
         "--trace tiny.safetensors is a file that is read"},
        {"generate --network tiny.safetensors --seeds 0 --outdir u --trace u/manifest.json", 2,
         "--trace u/manifest.json would be an image or a record"},
        {"generate --network tiny.safetensors --seeds 0 --outdir u --trace u/000000.png", 2, "would be an image or a record"},
        {"generate --network tiny.safetensors --seeds 0 --grid same.png --trace same.png", 2,
         "--trace same.png is another output of this run"},
        {"generate --network tiny.safetensors --seeds 0 --outdir u --trace u", 1, "--trace: u"},
        {"generate --network tiny.safetensors --seeds 0 --outdir u --trace tiny.safetensors/x", 1, "tiny.safetensors"},
        {"generate --network none.safetensors --seeds 0 --outdir u --trace never.json", 1, "none.safetensors"},
        {"bench --network tiny.safetensors --trace tiny.safetensors", 2, "--trace tiny.safetensors is a file that is read"},
        {"bench --network tiny.safetensors --trace f.json --json f.json", 2, "--trace f.json is another output of this run"},
        {"bench --network tiny.safetensors --trace .", 1, "--trace: \\."},
        {"bench --network tiny.safetensors --repeats 2 --profile 3", 2,
         "--profile 3: of steps there are 2 that are timed: give --repeats 3 or more"},
        {"bench --network tiny.safetensors --runs 2 --repeats 9 --profile 3", 2,
         "of runs there are 2 that are timed: give --runs 3 or more"},
    };
    FileMap before, after;
    if (!CHECK(file_map(at(s, "tiny.safetensors"), &before, NULL), "no network")) return;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char args[512];
        snprintf(args, sizeof args, "%s --device %s", bad[i].args, s->device);
        fails(run(s, args), args, bad[i].code, bad[i].pattern);
    }
    if (CHECK(file_map(at(s, "tiny.safetensors"), &after, NULL), "the network is gone")) {
        CHECK(after.bytes == before.bytes && !memcmp(after.data, before.data, before.bytes), "the network was written over");
        file_unmap(&after);
    }
    file_unmap(&before);
    CHECK(!exists(s, "same.png") && !exists(s, "f.json") && !exists(s, "never.json") && count_files(s, "u", ".png") == 0,
          "something was made");
    if (!strcmp(s->device, "emu")) return;
    fails(run(s, "generate --network tiny.safetensors --seeds 0 --outdir p --device cpu --profile 1 --trace p.json"), "generate --profile",
          2, "--profile: device cpu has no profiler to tell; it is for cuda");
    fails(run(s, "bench --network tiny.safetensors --device ref --profile 1"), "bench --profile", 2, "device ref has no profiler");
    CHECK(!exists(s, "p") && !exists(s, "p.json"), "a run of wrong usage made something");
}

/* ---- a bound --------------------------------------------------------------------------------------------------------------------------- */
static void bounded(const Setup *s) {
    enum { MOST = 50, STEPS = 40 };
    char *path = dg_strdup(at(s, "few.json"));
    TraceOptions o = {.path = path};
    Trace t = trace_begin(&o, "test");
    Error e = {""};
    spans_free(t.spans);
    t.spans = spans_new(MOST);
    if (!CHECK(trace_open(&t, &e), "%s", e.text)) return;
    Device *d = device_open("cpu", NULL, &e);
    trace_attach(&t, d);
    device_range_push_number(d, SPAN_BATCH, 0);
    for (int i = 0; i < STEPS; i++) {
        device_range_push_number(d, SPAN_STEP, i), device_range_push_number(d, SPAN_WORK, i);
        device_range_pop(d, SPAN_WORK), device_range_pop(d, SPAN_STEP);
    }
    device_range_pop(d, SPAN_BATCH);
    device_close(d);
    fflush(stdout);
    int console = dup(1);
    bool caught = freopen(at(s, "said.txt"), "w", stdout) != NULL;
    int code = trace_finish(&t, EXIT_DONE, &e);
    fflush(stdout);
    dup2(console, 1), close(console);
    char said[OUTPUT];
    read_text(at(s, "said.txt"), said);
    CHECK(caught && code == EXIT_DONE && strstr(said, "few.json has the first 50 spans; 31 later ones were left out\n"), "code %d, \"%s\"",
          code, said);
    Json *j = json_parse_file(path, &e);
    int steps = 0, all = 0;
    for (const Json *x = j ? json_get(j, "traceEvents")->child : NULL; x; x = x->next) {
        const char *name = "", *phase = "";
        int process = 0;
        if (json_get_string(x, "name", "", &name, &e) && json_get_string(x, "ph", "", &phase, &e) &&
            json_get_int(x, "pid", 0, &process, &e))
            all += *phase == 'X' && process == 1, steps += !strcmp(name, "step");
    }
    const Json *other = j ? json_get(j, "otherData") : NULL, *main_track = json_get(json_get(other, "seconds"), "1 main");
    int left_out = 0, count = 0;
    CHECK(all == MOST && steps == 25 && json_get_int(other, "left_out", 0, &left_out, &e) && left_out == 2 * STEPS + 1 - MOST,
          "%d spans, %d left out", all, left_out);
    CHECK(json_get_int(json_get(main_track, "step"), "count", 0, &count, &e) && count == STEPS, "%d steps in the sums", count);
    json_free(j);
    free(path);
}
int main(int argc, char **argv) {
    const char *device = argc > 1 ? argv[1] : "cpu";
    bool emu = !strcmp(device, "emu");
    Setup s = {.device = device, .dir = "/tmp/dg_test_trace_XXXXXX"};
    Error e = {""};
    char *real = argc > 2 ? realpath(argv[2], NULL) : program_of_build(argv[0], emu, emu ? "dg_cuda-emu" : "dg_cuda");
    s.program = real;
    if (CHECK(real, "no program beside the tests") && CHECK(mkdtemp(s.dir), "no temporary folder") &&
        CHECK(tiny_write(at(&s, "tiny.safetensors"), tiny_network_config, 1, &e) &&
                  tiny_write(at(&s, "extractor.safetensors"), tiny_extractor_config, 1, &e) &&
                  tiny_write(at(&s, "head.safetensors"), tiny_head_config, 1, &e) &&
                  tiny_write(at(&s, "dit.safetensors"), tiny_dit_config, 1, &e) &&
                  tiny_write_model(&model_classifier, at(&s, "classifier.safetensors"), tiny_extractor_config, 1, &e) &&
                  tiny_write(at(&s, "vae.safetensors"), tiny_vae_config, 1, &e),
              "%s", e.text)) {
        whole_runs(&s);
        same_images(&s);
        interrupted_runs(&s);
        if (!emu) nothing_to_do(&s), no_room(&s), usage(&s), bounded(&s);
        remove_folder(s.dir);
    }
    free(real);
    return check_done("test_trace");
}
