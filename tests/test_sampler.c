/* test_sampler.c -- the sampler on small networks: steps that are replayed make the same bits as steps whose work is enqueued
 * anew each time, guidance acts within its time window alone, and a last batch computes only the images that it has.
 *   test_sampler [DEVICE[=PRECISION] [CASE...]]     default: all on cpu, ref, and cuda where this build has it           */
#include "program/pipeline.h"
#include "device/host_state.h"
#include "check.h"
#include "device_spec.h"
#include <math.h>
#include <stdlib.h>

/* As small as these networks can be: the emulated kernels run them, too. */
static const char network_config_text[] = "{\"kind\": \"denoiser\", \"precond\": \"EDMPrecond\", \"img_resolution\": 4, \"img_channels\": "
                                          "3, \"label_dim\": 3, \"model_type\": \"SongUNet\","
                                          " \"model_channels\": 8, \"channel_mult\": [1], \"num_blocks\": 1, \"attn_resolutions\": []}";
static const char extractor_config_text[] =
    "{\"kind\": \"extractor\", \"image_size\": 4, \"in_channels\": 3, \"model_channels\": 32, \"out_channels\": 3, \"num_res_blocks\": 1,"
    " \"attention_resolutions\": [], \"channel_mult\": [1], \"num_head_channels\": 32, \"use_scale_shift_norm\": true, "
    "\"resblock_updown\": true,"
    " \"pool\": \"attention\"}";
static const char head_config_text[] =
    "{\"kind\": \"head\", \"image_size\": 4, \"in_channels\": 32, \"model_channels\": 32, \"out_channels\": 1, \"num_res_blocks\": 1,"
    " \"attention_resolutions\": [], \"channel_mult\": [1], \"num_head_channels\": 32, \"use_scale_shift_norm\": true, "
    "\"resblock_updown\": true,"
    " \"pool\": \"attention\", \"condition\": true, \"num_class\": 3}";
enum { STEPS = 6, BATCH = 2, RUNS = 2, PER_SAMPLE = 4 * 4 * 3 };
typedef struct {
    const char *name, *why;
    bool guided;
    SampleOptions change; /* fields that are not 0 replace the default */
} Case;
static const Case cases[] = {
    {"plain", "two shapes: Heun, and the last step", false, {0}},
    {"euler", "no second evaluations", true, {.solver = SOLVER_EULER, .time_min = .2, .time_max = .7}},
    {"churn", "churn in some steps, and not in those before and after", false, {.S_churn = 3, .S_min = .05, .S_max = 20, .S_noise = 1.01}},
    {"window", "guidance begins and ends in mid-run", true, {.time_min = .2, .time_max = .85}},
    {"second",
     "both orders are guided, in other steps; churn",
     true,
     {.dg_weight_2nd_order = .5, .time_min = .2, .time_max = .7, .S_churn = 2}},
    {"boosting", "the host reads the log ratio in mid-step; noise levels differ", true, {.boosting = true, .time_max = .4, .S_churn = 2}},
    {"vp", "s(t) is not 1", false, {.ablation = true, .schedule = SCHEDULE_VP, .scaling = SCALING_VP, .discretization = DISC_VP}},
};
enum { CASES = sizeof cases / sizeof *cases };
static SampleOptions options_of(const Case *c) {
    SampleOptions o = sample_defaults();
    const SampleOptions *n = &c->change;
    o.num_steps = STEPS;
    double *to[] = {&o.S_churn, &o.S_min, &o.S_max, &o.S_noise, &o.dg_weight_1st_order, &o.dg_weight_2nd_order, &o.time_min, &o.time_max};
    const double from[] = {n->S_churn,  n->S_min,   n->S_max, n->S_noise, n->dg_weight_1st_order, n->dg_weight_2nd_order,
                           n->time_min, n->time_max};
    for (size_t i = 0; i < sizeof from / sizeof *from; i++)
        if (from[i] != 0) *to[i] = from[i];
    o.solver = n->solver, o.boosting = n->boosting, o.dg_gate = n->dg_gate, o.ablation = n->ablation;
    o.schedule = n->schedule, o.scaling = n->scaling, o.discretization = n->discretization;
    return o;
}

/* ---- networks and runs -------------------------------------------------------------------------------------------------------- */
typedef struct {
    Weights *network, *extractor, *head;
} Files;
static Weights *synthetic(const char *config, uint64_t seed) {
    Error e;
    Json *j = json_parse(config, strlen(config), &e);
    Weights *w = weights_synthetic(seed, j);
    json_free(j);
    return w;
}
static Files files_new(void) {
    return (Files){synthetic(network_config_text, 1), synthetic(extractor_config_text, 2), synthetic(head_config_text, 17)};
}
static void files_free(Files *f) { weights_free(f->network), weights_free(f->extractor), weights_free(f->head); }

typedef struct {
    Denoiser *d;
    Guide *g;
    Sampler *s;
    int rows; /* images of a run */
} Rig;
static void rig_free(Rig *r) {
    sampler_free(r->s);
    guide_free(r->g);
    denoiser_free(r->d);
}
static bool rig_new(Rig *r, Device *d, const Files *f, const SampleOptions *o, bool guided, int batch, Error *e) {
    *r = (Rig){.rows = batch};
    bool ok = (r->d = denoiser_new(d, f->network, batch, true, e)) != NULL;
    if (ok && guided) ok = (r->g = guide_new(d, f->extractor, f->head, batch, (GuideOptions){.fuse = true}, e)) != NULL;
    if (ok) ok = (r->s = sampler_new(o, r->d, r->g, e)) != NULL;
    if (!ok) rig_free(r);
    return ok;
}
/* Other seeds and labels for another `run`, recorded noise for -1. */
static uint64_t seed_of(int run, int image) { return 1000 * (uint64_t)(run + 1) + (uint64_t)image; }
static bool run_once(Rig *r, int run, StepFn callback, void *ctx) {
    int n = r->rows, label[BATCH];
    bool recorded = run < 0;
    size_t per_sample = r->d->per_sample;
    uint64_t seed[BATCH];
    double *noise[STEPS + 1]; /* the latents last */
    for (int i = 0; i < n; i++) seed[i] = seed_of(run, i), label[i] = (run + 1 + i) % 3;
    for (int k = 0; k <= STEPS && recorded; k++) {
        noise[k] = dg_alloc((size_t)n * per_sample * sizeof(double));
        for (size_t i = 0; i < (size_t)n * per_sample; i++) noise[k][i] = sin((double)((i + 1) * (size_t)(k + 3)));
    }
    SampleNoise from = {.seed = seed};
    if (recorded) from = (SampleNoise){.latents = noise[STEPS], .noise = (const double *const *)noise};
    bool whole = sampler_run(r->s, n, &from, label, callback, ctx);
    for (int k = 0; k <= STEPS && recorded; k++) free(noise[k]);
    return whole;
}
static double *state_of(Rig *r) {
    double *x = dg_alloc((size_t)r->rows * r->d->per_sample * sizeof *x);
    sampler_state(r->s, x);
    return x;
}
static bool finite_state(const double *x, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (!isfinite(x[i])) return false;
    return true;
}

/* ---- replayed steps against the same steps enqueued anew ---------------------------------------------------------------------- */
typedef struct { /* a device whose work is never replayed */
    Device device;
    Backend be;
} Eager;
static void eager_of(Eager *x, const Device *d) {
    x->device = *d, x->be = *d->be, x->device.be = &x->be;
    x->be.replay = host_replay, x->be.replay_free = host_replay_free, x->be.run = host_run;
}
static bool stop_in_mid_run(void *ctx, int step, int steps) {
    (void)ctx;
    return step < steps / 2;
}
/* What a step asks of the device, once every shape has come twice: an upload and a replay; where boosting needs an answer in the
 * middle, the same twice and a download.                                                                                   */
typedef struct {
    size_t kernels, graphs, copies;
} Calls;
extern void emuGetCalls(Calls *c) __attribute__((weak)); /* of tests/cuda_on_cpu; not there with other devices */
typedef struct {
    Calls before;
    const char *name;
    bool boosting;
} Count;
static bool count_step(void *ctx, int step, int steps) {
    Count *c = ctx;
    Calls now = {0};
    if (emuGetCalls) emuGetCalls(&now);
    size_t kernels = now.kernels - c->before.kernels, graphs = now.graphs - c->before.graphs, copies = now.copies - c->before.copies;
    bool one = kernels == 0 && graphs == 1 && copies == 1, two = kernels == 0 && graphs == 2 && copies == 3;
    if (step && emuGetCalls)
        CHECK(one || (c->boosting && two), "%s: step %d of %d takes %zu kernels, %zu graphs, %zu copies", c->name, step, steps, kernels,
              graphs, copies);
    c->before = now;
    return true;
}
/* Runs with one sampler: with the seeds of run[k], or the recorded noise of -1, wanted[run + 1] afterwards. */
static void check_runs(const Case *c, Rig *r, const int *run, int runs, double *const *wanted) {
    size_t count = (size_t)r->rows * r->d->per_sample;
    Count calls = {.name = c->name, .boosting = c->change.boosting};
    for (int k = 0; k < runs; k++) {
        bool counted = k == 3 && r->d->net->dev->be->replay != host_replay;
        CHECK(run_once(r, run[k], counted ? count_step : NULL, &calls), "%s: run %d was stopped", c->name, k);
        double *x = state_of(r);
        CHECK(!memcmp(x, wanted[run[k] + 1], count * sizeof *x),
              "%s, %d images of %d on %s: run %d, %s, differs from the same steps enqueued anew", c->name, r->rows, r->d->batch,
              r->d->net->dev->be->name, k, run[k] < 0 ? "recorded noise" : "seeds");
        free(x);
        if (k == 1) CHECK(!run_once(r, 1, stop_in_mid_run, NULL), "%s: the run was not stopped", c->name);
    }
}
static void check_case(Device *d, const Files *f, const Case *c, int batch, double **first_image) {
    static const int many[] = {0, 1, -1, 0}, few[] = {0, 0};
    SampleOptions o = options_of(c);
    Error e = {""};
    Eager eager;
    Rig plain, rig;
    double *wanted[RUNS + 1] = {NULL}; /* recorded noise first */
    int guided;
    eager_of(&eager, d);
    if (!CHECK(rig_new(&plain, &eager.device, f, &o, c->guided, batch, &e), "%s: %s", c->name, e.text)) return;
    size_t image_bytes = plain.d->per_sample * sizeof(double);
    for (int run = -1; run < (batch > 1 ? RUNS : 1); run++) {
        run_once(&plain, run, NULL, NULL);
        wanted[run + 1] = state_of(&plain);
        CHECK(finite_state(wanted[run + 1], (size_t)batch * plain.d->per_sample), "%s on %s: a value is not finite", c->name, d->be->name);
        if (run >= 0)
            CHECK(memcmp(wanted[run], wanted[run + 1], image_bytes), "%s on %s: other noise, the same image", c->name, d->be->name);
    }
    sampler_calls(plain.s, &guided);
    CHECK(c->guided == (guided > 0), "%s: %d calls of the guide", c->name, guided);
    *first_image = dg_alloc(image_bytes);
    memcpy(*first_image, wanted[1], image_bytes);
    rig_free(&plain);
    if (CHECK(rig_new(&rig, d, f, &o, c->guided, batch, &e), "%s: %s", c->name, e.text)) {
        if (batch > 1) {
            rig.rows = 1; /* the first of the images alone, before and after both */
            check_runs(c, &rig, few, 1, wanted);
            rig.rows = batch;
            check_runs(c, &rig, many, sizeof many / sizeof *many, wanted);
            rig.rows = 1;
            check_runs(c, &rig, few, 1, wanted);
        } else {
            if (emuGetCalls) setenv("EMU_MALLOC_FAIL", "0", 1); /* no memory for the first graph: its work is enqueued anew */
            check_runs(c, &rig, few, sizeof few / sizeof *few, wanted);
            CHECK(!getenv("EMU_MALLOC_FAIL"), "%s: no graph was made", c->name);
        }
        rig_free(&rig);
    }
    for (int run = 0; run <= RUNS; run++) free(wanted[run]);
}
static void check_batches(Device *d, const Files *f, const Case *c) {
    double *one = NULL, *more = NULL;
    check_case(d, f, c, 1, &one);
    check_case(d, f, c, BATCH, &more);
    size_t bytes = (size_t)PER_SAMPLE * sizeof(double);
    if (one && more && c->change.dg_gate == GATE_SAMPLE)
        CHECK(!memcmp(one, more, bytes), "%s on %s: an image depends on its batch", c->name, d->be->name);
    free(one), free(more);
}
/* Boosting does something: else its cases are those without it. */
static void check_boosting(Device *d, const Files *f, const Case *c) {
    double *x[2];
    for (int boosting = 0; boosting < 2; boosting++) {
        Error e = {""};
        Rig r;
        SampleOptions o = options_of(c);
        o.boosting = boosting;
        if (!CHECK(rig_new(&r, d, f, &o, true, BATCH, &e), "%s", e.text)) return;
        run_once(&r, 0, NULL, NULL);
        x[boosting] = state_of(&r);
        rig_free(&r);
    }
    int changed = 0;
    for (size_t i = 0; i < BATCH; i++) changed += memcmp(x[0] + i * PER_SAMPLE, x[1] + i * PER_SAMPLE, PER_SAMPLE * sizeof(double)) != 0;
    CHECK(changed > 0 && changed < BATCH, "%d of %d images are boosted: the test wants some", changed, BATCH);
    free(x[0]), free(x[1]);
}

/* ---- the guidance's time window -------------------------------------------------------------------------------------------------- */
typedef struct {
    Rig *r;
    double *state[STEPS];
} Trace;
static bool keep_state(void *ctx, int step, int steps) {
    Trace *t = ctx;
    (void)steps;
    t->state[step] = state_of(t->r);
    return true;
}
/* Trajectories with and without guidance part in the first step within the window, and from the last one on keep the difference.
 * tau falls from .93 at sigma 80 to about 0: the window's upper end holds back guidance at first, its lower end at last.     */
static void check_window(Device *d, const Files *f, double time_min, double time_max) {
    Error e = {""};
    SampleOptions o = sample_defaults();
    o.num_steps = STEPS, o.time_min = time_min, o.time_max = time_max;
    Rig guided, plain;
    if (!CHECK(rig_new(&plain, d, f, &o, false, 1, &e) && rig_new(&guided, d, f, &o, true, 1, &e), "%s", e.text)) return;
    Trace a = {.r = &guided}, b = {.r = &plain};
    run_once(&guided, 0, keep_state, &a);
    run_once(&plain, 0, keep_state, &b);
    int inside = 0, first = STEPS, calls;
    for (int i = 0; i < STEPS; i++) { /* the levels by the formula, not by the program */
        double sigma = pow(pow(80, 1. / 7) + (double)i / (STEPS - 1) * (pow(.002, 1. / 7) - pow(80, 1. / 7)), 7);
        double tau = (-.1 + sqrt(.01 + 2 * 19.9 * log(1 + sigma * sigma))) / 19.9;
        bool within = tau >= time_min && tau <= time_max;
        if (within && first == STEPS) first = i;
        inside += within;
    }
    sampler_calls(guided.s, &calls);
    CHECK(calls == inside, "window [%g, %g]: %d steps are guided, not %d", time_min, time_max, calls, inside);
    for (int i = 0; i < STEPS; i++) {
        bool same = !memcmp(a.state[i], b.state[i], plain.d->per_sample * sizeof(double));
        CHECK(same == (i < first), "window [%g, %g]: step %d is %s by guidance, which begins in step %d", time_min, time_max, i,
              same ? "not changed" : "changed", first);
        free(a.state[i]), free(b.state[i]);
    }
    rig_free(&guided), rig_free(&plain);
}

/* ---- a last batch that is not full ---------------------------------------------------------------------------------------------- */
typedef struct { /* a device that counts what it is asked for */
    Device device;
    Backend be;
    const Device *inner;
    size_t computed, drawn, combined, finished; /* images: of networks, of noise, of combinations, of bytes */
} Counter;
static Counter *counter_of(Device *d) { return (Counter *)d; }
static void count_run(Exec *e) {
    Counter *c = counter_of(e->dev);
    c->computed += (size_t)e->rows;
    c->inner->be->run(e);
}
static void count_randn(Device *d, double *out, int n, size_t per_sample, const uint64_t *seed, const uint32_t *step) {
    counter_of(d)->drawn += (size_t)n;
    counter_of(d)->inner->be->randn(d, out, n, per_sample, seed, step);
}
static void count_combine(Device *d, void *out, DType out_type, int n, size_t per_sample, const Term *term, int terms) {
    counter_of(d)->combined += (size_t)n;
    counter_of(d)->inner->be->combine(d, out, out_type, n, per_sample, term, terms);
}
static void count_to_u8(Device *d, uint8_t *out, const void *x, DType type, int n, size_t per_sample, double scale, double offset,
                        int *bad) {
    counter_of(d)->finished += (size_t)n;
    counter_of(d)->inner->be->to_u8(d, out, x, type, n, per_sample, scale, offset, bad);
}
static Counter counter_new(const Device *d) {
    Counter c = {.device = *d, .be = *d->be, .inner = d};
    c.be.run = count_run, c.be.randn = count_randn, c.be.combine = count_combine, c.be.to_u8 = count_to_u8;
    return c;
}
/* So many images as generate makes them; their bytes come as one picture. The counts are of one image: the sums over `images`. */
static bool make_images(const Device *d, const Files *f, int images, int batch, Grid *grid, Counter *c, Error *e) {
    Networks n = {.source = {{.weights = f->network}, {.weights = f->extractor}, {.weights = f->head}}};
    SampleOptions o = sample_defaults();
    SeedList seeds = {0};
    Engine engine = {0};
    o.num_steps = 3, o.S_churn = 1;
    seeds_add(&seeds, 500, (size_t)images);
    *c = counter_new(d), c->device.be = &c->be;
    bool ok = (n.model = network_config(&n.config, weights_config(f->network), e)) && grid_layout(grid, images, 10, 4, 4, 3, 1, e) &&
              grid_begin(grid, e) && engine_new(&engine, &c->device, &n, &o, batch, true, e);
    Pipeline p = {.engine = &engine, .config = &n.config, .todo = &seeds, .wanted = &seeds, .class_rule = CLASS_BALANCED, .grid = grid};
    progress_begin(&p.progress, seeds.count);
    if (ok) ok = pipeline_run(&p, e) == OUTCOME_DONE && p.shown == (size_t)images && p.sampled == (size_t)images;
    engine_free(&engine);
    seeds_free(&seeds), seeds_free(&p.bad);
    return ok;
}
/* 37 images in batches of 32 take what 37 images take in batches of one: not what 64 do. And they are the same. */
static void check_last_batch(const Device *d, const Files *f) {
    enum { IMAGES = 37, FULL = 32 };
    Error e = {""};
    Grid one = {0}, many = {0};
    Counter a, b;
    if (!CHECK(make_images(d, f, IMAGES, 1, &one, &a, &e) && make_images(d, f, IMAGES, FULL, &many, &b, &e), "%s", e.text)) return;
    CHECK(a.finished == IMAGES && a.computed % IMAGES == 0 && a.computed / IMAGES >= 5, "%zu calls of networks for %d images", a.computed,
          IMAGES);
    CHECK(b.computed == a.computed, "%s: %d images at batch %d take %zu calls of networks for an image each, %zu one by one", d->be->name,
          IMAGES, FULL, b.computed, a.computed);
    CHECK(b.drawn == a.drawn && b.combined == a.combined && b.finished == a.finished,
          "%s: %d images at batch %d: noise for %zu, not %zu; %zu sums, not %zu; bytes of %zu, not %zu", d->be->name, IMAGES, FULL, b.drawn,
          a.drawn, b.combined, a.combined, b.finished, a.finished);
    CHECK(!memcmp(one.pixels, many.pixels, (size_t)one.height * (size_t)one.width * 3), "%s: an image depends on its batch", d->be->name);
    grid_free(&one), grid_free(&many);
}

static void test_device(const char *spec, const char *const *named, int count, const Files *f) {
    Error e;
    DeviceSpec s = device_spec(spec);
    Device *d = device_open(s.device, s.precision, &e);
    if (!d) {
        not_run("%s: %s", spec, e.text);
        return;
    }
    for (int i = 0; i < CASES; i++) {
        bool wanted = count == 0;
        for (int k = 0; k < count; k++) wanted |= !strcmp(named[k], cases[i].name);
        if (wanted) check_batches(d, f, &cases[i]);
    }
    if (d->be->replay == host_replay) { /* host code alone */
        for (int i = 0; i < CASES; i++)
            if (cases[i].change.boosting) check_boosting(d, f, &cases[i]);
        check_window(d, f, .01, 1); /* the default: open from the start */
        check_window(d, f, .01, .6);
        check_window(d, f, .3, .85);
        check_last_batch(d, f);
    }
    device_close(d);
}
int main(int argc, char **argv) {
    static const char *const all[] = {"cpu", "ref", "cuda"};
    Files f = files_new();
    if (argc > 1) test_device(argv[1], (const char *const *)argv + 2, argc - 2, &f);
    for (int i = 0; argc < 2 && i < 3; i++)
        if (strstr(device_list(), all[i])) test_device(all[i], NULL, 0, &f);
    files_free(&f);
    return check_done("test_sampler");
}
