/* test_bench.c -- `bench --ops`: the ops are timed to the end by the device's own clock without changing what it computes, and the
 * table's shares of the measured ceilings are the quotients that it says they are; state work is a share of its step; golden cases
 * of every kind of network can be measured. Figures themselves are not tested.
 * Usage: test_bench [DEVICE [PROGRAM]]     default: cpu; the program of the same build folder                             */
#include "device/cuda/pooled.h"
#include "models/edm.h"
#include "program/ceilings.h"
#include "program/networks.h"
#include "program/shares.h"
#include "base/progress.h"
#include "program.h"
#include "tiny_model.h"
#include <math.h>

static bool near(double a, double b) { return fabs(a - b) <= 1e-3 * fmax(fabs(a), fabs(b)); } /* printed with 5 digits or more */
static double number(const Json *j, const char *key) {
    const Json *v = json_get(j, key);
    return v && v->kind == JSON_NUMBER ? v->number : NAN;
}

/* ---- ceilings -------------------------------------------------------------------------------------------------------------- */
static void arithmetic(void) {
    Ceilings c = {.flops = 2e9, .bytes = 5e8}, none = {.flops = 2e9};
    CHECK(ceilings_floor(&c, 4e9, 5e8) == 2 && ceilings_floor(&c, 1e9, 2e9) == 4, "the longer of the two: %g, %g",
          ceilings_floor(&c, 4e9, 5e8), ceilings_floor(&c, 1e9, 2e9));
    CHECK(ceilings_floor(&c, 0, 5e8) == 1 && ceilings_floor(&c, 0, 0) == 0, "a copy: %g", ceilings_floor(&c, 0, 5e8));
    CHECK(ceilings_floor(&none, 4e9, 5e8) == 0, "without a ceiling there is no floor: %g", ceilings_floor(&none, 4e9, 5e8));
}
static void measured(Device *d) {
    Ceilings c = ceilings_measure(d);
    CHECK(c.flops > 0 && isfinite(c.flops) && c.bytes > 0 && isfinite(c.bytes), "%g operations, %g bytes per second", c.flops, c.bytes);
    CHECK(c.rows >= c.channels && c.channels > 0 && c.copied > 0 && !strcmp(c.implementation, "own"),
          "a product of %d x %d by %s, a copy of %zu", c.rows, c.channels, c.implementation, c.copied);
}

/* ---- profile ---------------------------------------------------------------------------------------------------------------- */
/* Ops are timed before the first run, and once there is a captured graph: both times results stay what they were. */
static void profile(Device *d) {
    enum { N = 2, SIDE = 8, REPEATS = 2 };
    Error e = {""};
    Json *config = json_parse(tiny_network_config, strlen(tiny_network_config), &e);
    NetworkConfig c;
    Ports net = {0};
    Graph *g = graph_new(d->precision);
    const Model *m = config ? network_config(&c, config, &e) : NULL;
    if (!CHECK(m && model_build(m, g, &c, "", N, &net, &e), "%s", e.text)) return;
    graph_fuse(g);
    graph_plan(g);
    Weights *w = weights_synthetic(1, config);
    double *seconds = dg_alloc((size_t)g->nop * sizeof *seconds), *first = NULL;
    size_t count = shape_count(shape_of(g, net.out));
    for (int late = 0; late < 2; late++) {
        Exec *x = exec_new(g, d, weights_alone(w), &e);
        if (!CHECK(x, "%s", e.text)) break;
        size_t n_in[] = {shape_count(shape_of(g, net.x)), shape_count(shape_of(g, net.time)), shape_count(shape_of(g, net.label))};
        Tid in[] = {net.x, net.time, net.label};
        for (int k = 0; k < 3; k++) {
            float *v = dg_alloc(n_in[k] * sizeof *v);
            for (size_t i = 0; i < n_in[k]; i++) v[i] = sinf((float)(i + 100 * (size_t)k));
            exec_set(x, in[k], DG_F32, v);
            free(v);
        }
        for (int i = 0; i < 3 * late; i++) exec_run(x, x->g->batch);
        for (int i = 0; i < g->nop; i++) seconds[i] = NAN;
        double began = seconds_now();
        exec_profile(x, REPEATS, seconds);
        double took = seconds_now() - began;
        int timed = 0;
        double sum = 0;
        for (int i = 0; i < g->nop; i++) timed += seconds[i] > 0, sum += seconds[i];
        CHECK(timed == g->nop && sum * REPEATS <= took, "%d of %d ops were timed, %g s together, %d times in %g s", timed, g->nop, sum,
              REPEATS, took);
        double *y = dg_alloc(count * sizeof *y), *again = dg_alloc(count * sizeof *again);
        exec_get(x, net.out, DG_F64, y);
        for (int i = 0; i < 2; i++) exec_run(x, x->g->batch);
        exec_get(x, net.out, DG_F64, again);
        CHECK(isfinite(y[0]) && y[0] != 0 && !memcmp(y, again, count * sizeof *y), "a run after the profile gives other results");
        if (first) CHECK(!memcmp(first, y, count * sizeof *y), "profiles before and after the first runs differ in what they compute");
        free(again), free(first);
        first = y;
        exec_free(x);
    }
    free(first), free(seconds);
    weights_free(w);
    graph_free(g);
    json_free(config);
}

/* ---- the sampler's own arithmetic --------------------------------------------------------------------------------------------- */
static void state_work(const Json *j, const char *out, bool queue) {
    const Json *w = json_get(j, "state work"), *step = json_get(j, "guided step");
    if (queue) {
        CHECK(!w && strstr(out, "state work     not measured: on device"), "%s", out);
        return;
    }
    double share = number(w, "share");
    CHECK(number(w, "ms") > 0 && share > 0 && share < 1 && number(w, "most") < number(step, "most") + number(w, "ms"),
          "%g ms of state work in a step of %g, a share of %g", number(w, "ms"), number(step, "ms"), share);
    CHECK(strstr(out, "state work ") && strstr(out, "% of a step"), "%s", out);
}
/* ---- the table ---------------------------------------------------------------------------------------------------------------- */
static void check_ops(const Json *j, const char *name, const char *out, const Json *ceilings) {
    char key[64];
    snprintf(key, sizeof key, "%s ops", name);
    const Json *ops = json_get(j, key);
    double shares = 0, floor = 0, last = INFINITY;
    CHECK(ops && ops->count > 3, "no %s", key);
    for (const Json *op = ops ? ops->child : NULL; op; op = op->next) {
        const char *what = "";
        char pattern[256];
        Error e;
        json_get_string(op, "op", "", &what, &e);
        bool left_out = strstr(what, " left out") != NULL; /* moves and computes nothing, and has no ceiling */
        CHECK(left_out == !json_get(op, "of_ceiling"), "%s: %s ceiling", what, left_out ? "a" : "no");
        double ms = number(op, "ms"), of = left_out ? 0 : number(op, "of_ceiling");
        double flops = number(op, "gflops") * 1e9 / number(ceilings, "flops"),
               bytes = number(op, "gbytes") * 1e9 / number(ceilings, "bytes");
        CHECK(near(of, fmax(flops, bytes)), "%s: %g of the ceiling, its operations are %g of theirs and its bytes %g", what, of, flops,
              bytes);
        CHECK(ms > 0 && ms <= last, "%s: %g ms after %g", what, ms, last);
        /* its line: name, count, ms, share, GFLOP/s where it has operations, GB/s, of ceiling */
        char start[64], rest[256] = "";
        snprintf(start, sizeof start, "\n%-48s ", what);
        const char *line = strstr(out, start);
        if (line) snprintf(rest, sizeof rest, "%.*s\n", (int)strcspn(line + 1, "\n"), line + 1);
        snprintf(pattern, sizeof pattern, "^.{48} +%.0f +[0-9]+\\.[0-9]{4} +[0-9.]+%% +%s[0-9]+\\.[0-9]{2}%s%s\n", number(op, "count"),
                 flops > 0 ? "[0-9]+\\.[0-9]{2} +" : "", left_out ? "" : " +[0-9]+\\.[0-9]% ",
                 left_out        ? ""
                 : flops > bytes ? "flops"
                                 : "bytes");
        CHECK(line && matches(rest, pattern), "%s: its line is \"%s\"", what, rest);
        shares += number(op, "share"), floor += of * ms, last = ms;
    }
    snprintf(key, sizeof key, "%s floor ms", name);
    CHECK(near(shares, 1) && near(floor, number(j, key)), "%s: shares of %g together, ceilings of %g ms, not %g", name, shares, floor,
          number(j, key));
}
/* Rows are sums: together they are the operations and bytes of the graph. */
static void check_sums(const Json *j, Precision precision, int batch) {
    Error e = {""};
    Json *config = json_parse(tiny_network_config, strlen(tiny_network_config), &e);
    NetworkConfig c;
    Ports net = {0};
    Graph *g = graph_new(precision);
    const Model *m = config ? network_config(&c, config, &e) : NULL;
    if (!CHECK(m && model_build(m, g, &c, "", batch, &net, &e), "%s", e.text)) return;
    graph_fuse(g);
    graph_plan(g);
    double flops = 0, bytes = 0, all_bytes = 0, count = 0;
    const Json *ops = json_get(j, "network ops");
    bool left_out = false; /* a device that does so leaves out every resample that norms may do */
    for (const Json *op = ops ? ops->child : NULL; op; op = op->next) {
        const char *what = "";
        json_get_string(op, "op", "", &what, &e);
        left_out |= strstr(what, " left out") != NULL;
    }
    for (int i = 0; i < g->nop; i++) {
        double saved = fabs((double)tensor_bytes(&g->t[g->op[i].out]) - (double)tensor_bytes(&g->t[g->op[i].in[0]]));
        all_bytes += left_out && cuda_pooled_by(g, i) >= 0 ? -saved : op_bytes(g, i);
    }
    for (const Json *op = ops ? ops->child : NULL; op; op = op->next) {
        flops += number(op, "gflops") * number(op, "ms") * 1e6, bytes += number(op, "gbytes") * number(op, "ms") * 1e6;
        count += number(op, "count");
    }
    double within = 1e-2; /* a row of a microsecond is printed with 3 digits */
    CHECK(count == g->nop, "rows of %g ops, the graph has %d", count, g->nop);
    CHECK(fabs(flops - graph_flops(g)) <= within * graph_flops(g), "the rows have %g operations, the graph %g", flops, graph_flops(g));
    CHECK(fabs(bytes - all_bytes) <= within * all_bytes, "the rows have %g bytes, the graph %g", bytes, all_bytes);
    graph_free(g);
    json_free(config);
}
static void table(const Setup *s, Precision precision) {
    char args[512];
    Error e = {""};
    snprintf(args, sizeof args,
             "bench --device %s --batch 2 --repeats 2 --steps 2 --ops --json ops.json --network tiny.safetensors --extractor "
             "extractor.safetensors --discriminator head.safetensors",
             s->device);
    Result *r = run(s, args);
    if (!succeeds(r, args)) return;
    Json *j = json_parse_file(at(s, "ops.json"), &e);
    if (!CHECK(j, "%s", e.text)) return;
    const Json *ceilings = json_get(j, "ceilings");
    CHECK(matches(r->out, "\nceilings +[0-9.]+ GFLOP/s, a product of [0-9]+ x [0-9]+ by [0-9]+ x [0-9]+ in fp(16|32) .own.; [0-9.]+ GB/s, "
                          "a copy of [0-9.]+ MiB\n"),
          "%s", r->out);
    CHECK(number(ceilings, "flops") > 0 && number(ceilings, "bytes") > 0, "ceilings in the file");
    const char *guide = strstr(r->out, "\nguide, op by op");
    char *network = guide ? strndup(r->out, (size_t)(guide - r->out)) : NULL;
    if (CHECK(network, "no table of the guide's ops: %s", r->out))
        check_ops(j, "network", network, ceilings), check_ops(j, "guide", guide, ceilings);
    check_sums(j, precision, 2);
    const Json *w = json_get(j, "waves");
    bool known = !strcmp(s->device, "emu"),
         line = matches(r->out, "\nwaves +[0-9.]+ % of the convolutions' time has work for all multiprocessors\n");
    if (CHECK(known == (w != NULL) && known == line, "waves: %s", r->out) && w)
        CHECK(number(w, "share") > 0 && number(w, "share") < 1 && number(w, "batch") == 2 && number(w, "batch_share") == number(w, "share"),
              "waves: a share of %g, %g at batch %g", number(w, "share"), number(w, "batch_share"), number(w, "batch"));
    state_work(j, r->out, !strcmp(s->device, "emu"));
    free(network);
    json_free(j);
}
/* Too little memory for the ceilings leaves the table without shares. */
/* bench fid: every second of a run has a name, in every output. */
static void fid(const Setup *s) {
    static const char networks[] = "--network tiny.safetensors --extractor extractor.safetensors --discriminator head.safetensors";
    char args[1024];
    Error e = {""};
    CHECK(tiny_write(at(s, "inception.safetensors"),
                     "{\"kind\": \"inception\", \"num_classes\": 20, \"image_size\": 107, \"depth_multiplier\": 0.125}", 1, &e),
          "%s", e.text);
    snprintf(args, sizeof args,
             "bench fid --device %s %s --steps 2 --batch 2 --images 5 --runs 2 --warmup 1 --inception inception.safetensors --output jsonl "
             "--json fid.json",
             s->device, networks);
    Result *r = run(s, args);
    CHECK(r->code == 0 && lines(r->out) == 1, "%s: exit code %d, %s%s", args, r->code, r->out, r->err);
    Json *j = json_parse(r->out, strlen(r->out), &e), *file = json_parse_file(at(s, "fid.json"), &e);
    const Json *parts = json_get(j, "parts");
    static const char *const keys[] = {"images_per_second", "images_per_second_p90", "hours_of_50000",     "named_share",
                                       "tflop_per_image",   "tflop_features",        "peak_resident_bytes"};
    static const char *const names[] = {"network", "discriminator", "state", "features", "statistics", "distance"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const Json *x = json_get(j, keys[i]), *same = json_get(file, keys[i]);
        CHECK(x && x->kind == JSON_NUMBER && x->number > 0 && same && same->number == x->number, "no %s in %s", keys[i], r->out);
    }
    double named = 0;
    bool distance = json_get(j, "distance_measured") && json_get(j, "distance_measured")->number != 0;
    bool threaded = !strcmp(s->device, "emu"); /* whose sums are another thread's time */
    for (const Json *x = parts ? parts->child : NULL; x; x = x->next) named += json_get(x, "share")->number;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        CHECK((threaded && !strcmp(names[i], "statistics")) || (!distance && !strcmp(names[i], "distance")) || json_get(parts, names[i]),
              "no part %s in %s", names[i], r->out);
    CHECK(named > 0.95 && named <= 1.0001 && fabs(named - json_get(j, "named_share")->number) < 1e-4, "parts are %g of a run: %s", named,
          r->out);
    CHECK(json_get(j, "images") && json_get(j, "images")->number == 5 && json_get(j, "runs")->number == 2, "%s", r->out);
    json_free(j), json_free(file);
    snprintf(args, sizeof args,
             "bench fid --device %s %s --steps 1 --batch 2 --runs 1 --warmup 0 --inception inception.safetensors --output csv", s->device,
             networks);
    r = run(s, args);
    CHECK(r->code == 0 && matches(r->out, "^figure,value\n(\"[^\"\n]*\",[^\n]*\n)+$") && strstr(r->out, "\"parts.features.share\","),
          "%s: %s", args, r->out);
    snprintf(args, sizeof args, "bench --device %s %s --steps 1 --batch 2 --repeats 1 --output md", s->device, networks);
    r = run(s, args);
    CHECK(r->code == 0 && matches(r->out, "^\\| figure \\| value \\|\n\\|---\\|---\\|\n(\\| [^\n]* \\|\n)+$") &&
              strstr(r->out, "| network call.ms | "),
          "%s: %s", args, r->out);
    fails(run(s, "bench fed"), "another word", 2, "\"fed\" is not fid");
    fails(run(s, "bench --images 4"), "images of bench", 2, "--images is of bench fid");
    snprintf(args, sizeof args, "bench fid --device %s --synthetic-guide tests.json", s->device);
    fails(run(s, args), "no such file", 1, "tests.json");
    snprintf(args, sizeof args, "bench fid --device %s %s --images 1", s->device, networks);
    fails(run(s, args), "one image", 1, "one image has no covariance");
    snprintf(args, sizeof args, "bench fid --device %s %s --inception tiny.safetensors", s->device, networks);
    fails(run(s, args), "a network of another kind", 1, "tiny.safetensors");
}
static void no_ceilings(const Setup *s) {
    Error e = {""};
    setenv("EMU_MEMORY", "700000", 1);
    Result *r = run(s, "bench --device emu --batch 1 --repeats 1 --steps 2 --ops --json none.json --network tiny.safetensors");
    unsetenv("EMU_MEMORY");
    if (!succeeds(r, "bench with little memory")) return;
    Json *j = json_parse_file(at(s, "none.json"), &e);
    CHECK(strstr(r->out, "ceilings       not measured") && j && !json_get(j, "ceilings") && json_get(j, "network ops"), "%s%s", r->out,
          e.text);
    CHECK(j && !json_get(json_get(j, "network ops")->child, "of_ceiling") && !strstr(r->out, "at their ceilings"), "%s", r->out);
    json_free(j);
}
/* ---- golden cases as configurations ----------------------------------------------------------------------------------------------- */
/* The kind of a case says what its network is; the call's operations are the published ones. */
static void golden_configurations(const Setup *s, const char *golden) {
    static const struct {
        const char *name, *call, *flops; /* flops: the case's member of that name */
        const char *options;
        int images; /* of a call, the null class's included */
        bool emu;   /* small enough for it */
    } cases[] = {{"imagenet/dit_tiny", "network call", "flops_per_image", "", 2, true},
                 {"imagenet/dit_sample_cfg", "two passes", NULL, "--cfg_scale 1.5", 4, true},
                 {"imagenet/adm_tiny_plain", "network call", "flops_per_image", "", 2, true},
                 {"imagenet/vae_tiny", "vae call", "decoder_flops_per_image", "", 2, true},
                 {"imagenet/vae_sd", "vae call", "decoder_flops_per_image", "", 2, false},
                 {"imagenet/dit_chain", "vae call", NULL, "", 2, true}};
    char args[PATH_MAX + 256], path[PATH_MAX + 64];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Error e = {""};
        if (!strcmp(s->device, "emu") && !cases[i].emu) continue;
        snprintf(path, sizeof path, "%s/%s.safetensors", golden, cases[i].name);
        snprintf(args, sizeof args, "bench --device %s --synthetic %s --batch 2 --repeats 1 --warmup 0 --steps 2 --json case.json %s",
                 s->device, path, cases[i].options);
        Result *r = run(s, args);
        if (!succeeds(r, args)) continue;
        SafeTensors *f = st_open(path, &e);
        const char *text = f ? st_metadata(f, "case") : "";
        Json *golden_case = json_parse(text, strlen(text), &e), *j = json_parse_file(at(s, "case.json"), &e);
        const Json *call = json_get(j, cases[i].call);
        double ms = number(call, "ms"), made = number(call, "gflops") * ms * 1e6;
        double wanted = cases[i].flops ? number(golden_case, cases[i].flops) * cases[i].images : made;
        double digits = 1e-3 * wanted + 6e-4 * ms * 1e6; /* GFLOP/s are printed with three behind the point */
        CHECK(made > 0 && fabs(made - wanted) <= digits, "%s: a %s of %g operations, the case says %g", cases[i].name, cases[i].call, made,
              wanted);
        json_free(golden_case), json_free(j);
        st_close(f);
    }
    snprintf(args, sizeof args, "bench --synthetic %s/imagenet/inception_fid.safetensors", golden);
    fails(run(s, args), "a case without a configuration", 1, "neither the configuration of a network nor a case with one");
    snprintf(args, sizeof args, "bench fid --synthetic %s/imagenet/vae_tiny.safetensors", golden);
    fails(run(s, args), "an autoencoder makes no images", 1, "it needs a score network");
}
/* ---- waves ------------------------------------------------------------------------------------------------------------------------- */
/* A layer: 3x3, 64 to 64 channels of 16x16 pixels, on 4 multiprocessors of the device that is emulated. */
typedef struct {
    Device *d;
    Graph *g;
    Tid y;
    Exec *exec;
} Layer;
static Layer layer_new(const char *capability, int images) {
    Error e = {""};
    Layer l = {0};
    setenv("EMU_CC", capability, 1), setenv("EMU_SMS", "4", 1);
    l.d = device_open("emu", "fp16", &e);
    l.g = graph_new((Precision){DG_F16, false});
    Tid x = g_input(l.g, "x", (Shape){images, 16, 16, 64});
    l.y = g_conv(l.g, x, g_weight(l.g, "w", (Shape){64, 3, 3, 64}, (WeightView){.kind = VIEW_CONV}), 0, 1);
    l.g->t[l.y].keep = true;
    graph_plan(l.g);
    Weights *w = weights_synthetic(1, NULL);
    if (CHECK(l.d, "%s", e.text)) l.exec = exec_new(l.g, l.d, weights_alone(w), &e);
    CHECK(l.exec, "%s", e.text);
    weights_free(w);
    unsetenv("EMU_CC"), unsetenv("EMU_SMS");
    return l;
}
static void layer_free(Layer *l) { exec_free(l->exec), graph_free(l->g), device_close(l->d); }
/* Its blocks, counted by hand. */
static void waves(void) {
    static const struct {
        const char *capability;
        double of_image;
    } row[] = {{"80", 2. / 16}, /* blocks of 128 pixels and 64 channels, four at once on a multiprocessor */
               {"90", 2. / 4}}; /* tiles of 128 pixels and 128 channels, one at once */
    for (size_t k = 0; k < sizeof row / sizeof *row; k++) {
        Layer l = layer_new(row[k].capability, 2);
        for (int rows = 1; l.exec && rows <= 9; rows += 4) {
            double n = l.d->be->waves(l.exec, l.g->t[l.y].producer, rows);
            CHECK(n == rows * row[k].of_image, "capability %s, %d images: %g waves", row[k].capability, rows, n);
        }
        layer_free(&l);
    }
}
/* What waves_print prints. */
static void printed_waves(const SampleNetworks *n, int batch, Text *json, char *out, size_t size) {
    SampleCounts counts = {0};
    FILE *f = tmpfile();
    fflush(stdout);
    int own = dup(STDOUT_FILENO);
    if (!CHECK(f && own >= 0 && dup2(fileno(f), STDOUT_FILENO) >= 0, "no file for what is printed")) return;
    waves_print(n, &counts, batch, json);
    fflush(stdout);
    dup2(own, STDOUT_FILENO), close(own);
    rewind(f);
    size_t got = fread(out, 1, size - 1, f);
    out[got] = 0;
    fclose(f);
}
/* An eighth of a wave for each image of a pass: from three quarters to five quarters of a batch, the first one of the fullest. */
static void better_batch(void) {
    static const struct {
        int batch, passes, best;
        double share, best_share;
        const char *line;
    } row[] = {{12, 1, 15, .75, .9375, " 75.0 % of the convolutions' time has work for all multiprocessors; --batch 15 has 93.8 %\n"},
               {20, 1, 16, 2.5 / 3, 1, " 83.3 % of the convolutions' time has work for all multiprocessors; --batch 16 has 100.0 %\n"},
               {16, 1, 16, 1, 1, " 100.0 % of the convolutions' time has work for all multiprocessors; no batch from 12 to 20 has more\n"},
               {10, 2, 8, 2.5 / 3, 1, " 83.3 % of the convolutions' time has work for all multiprocessors; --batch 8 has 100.0 %\n"},
               {3, 1, 3, .375, .375, " 37.5 % of the convolutions' time has work for all multiprocessors\n"}};
    for (size_t k = 0; k < sizeof row / sizeof *row; k++) {
        Layer l = layer_new("80", row[k].batch * row[k].passes);
        Net net = {.exec = l.exec};
        Predictor p = {.net = &net};
        Text text = {0};
        Error e = {""};
        char out[256] = "";
        if (l.exec) printed_waves(&(SampleNetworks){.network = &p}, row[k].batch, &text, out, sizeof out);
        text_printf(&text, "}");
        text.text[0] = '{'; /* for the comma after the member before */
        Json *j = json_parse(text.text, text.len, &e);
        const Json *w = json_get(j, "waves");
        CHECK(w && near(number(w, "share"), row[k].share) && number(w, "batch") == row[k].best &&
                  near(number(w, "batch_share"), row[k].best_share),
              "batch %d: %s%s", row[k].batch, text.text, e.text);
        const char *tail = strstr(out, row[k].line);
        CHECK(!strncmp(out, "waves ", 6) && tail && !strcmp(tail, row[k].line), "batch %d: \"%s\", want \"%s\"", row[k].batch, out,
              row[k].line);
        json_free(j);
        text_free(&text);
        layer_free(&l);
    }
}
/* Norms that are not run move nothing, and are rows of their own. */
static void left_out(const Setup *s) {
    static const char *const name[] = {"pixel_norm shift-scale 128 8x8 left out", "pixel_norm shift-scale 128 8x8"};
    static const double count[] = {3, 2};
    Error e = {""};
    CHECK(tiny_write(at(s, "dit.safetensors"), small_dit_config, 1, &e), "%s", e.text);
    setenv("EMU_CC", "90", 1);
    Result *r = run(
        s, "bench --device emu --dtype fp16 --batch 1 --warmup 0 --repeats 1 --steps 2 --ops --json dit.json --network dit.safetensors");
    unsetenv("EMU_CC");
    if (!succeeds(r, "bench of a DiT")) return;
    Json *j = json_parse_file(at(s, "dit.json"), &e);
    const Json *ops = json_get(j, "network ops");
    int found[2] = {0};
    for (const Json *op = ops ? ops->child : NULL; op; op = op->next) {
        const char *what = "";
        json_get_string(op, "op", "", &what, &e);
        for (int k = 0; k < 2; k++) {
            if (strcmp(what, name[k])) continue;
            found[k]++;
            CHECK(number(op, "count") == count[k] && (number(op, "gbytes") > 0) == k && !json_get(op, "of_ceiling") == !k,
                  "%s: %g of them, %g GB/s", what, number(op, "count"), number(op, "gbytes"));
        }
    }
    CHECK(found[0] == 1 && found[1] == 1, "rows of norms: %d left out, %d run%s", found[0], found[1], e.text);
    json_free(j);
}
int main(int argc, char **argv) {
    const char *device = argc > 1 ? argv[1] : "cpu";
    bool emu = !strcmp(device, "emu");
    Setup s = {.device = device, .dir = "/tmp/dg_test_bench_XXXXXX"};
    Error e = {""};
    arithmetic();
    Device *d = device_open(device, NULL, &e);
    if (!d) {
        not_run("%s: %s", device, e.text);
        return check_done("test_bench");
    }
    measured(d);
    profile(d);
    Precision precision = d->precision;
    device_close(d);
    char *real = argc > 2 ? realpath(argv[2], NULL) : program_of_build(argv[0], emu, emu ? "dg_cuda-emu" : "dg_cuda");
    s.program = real;
    if (CHECK(real, "no program beside the tests") && CHECK(mkdtemp(s.dir), "no temporary folder") &&
        CHECK(tiny_write(at(&s, "tiny.safetensors"), tiny_network_config, 1, &e) &&
                  tiny_write(at(&s, "extractor.safetensors"), tiny_extractor_config, 1, &e) &&
                  tiny_write(at(&s, "head.safetensors"), tiny_head_config, 1, &e),
              "%s", e.text)) {
        table(&s, precision);
        fid(&s);
        if (emu) no_ceilings(&s), waves(), better_batch(), left_out(&s);
        char *golden = realpath("tests/golden", NULL);
        if (golden) golden_configurations(&s, golden);
        else not_run("bench --synthetic: tests/golden is not here");
        free(golden);
        remove_folder(s.dir);
    }
    free(real);
    return check_done("test_bench");
}
