/* test_sampler.c -- the samplers on small networks: steps that are replayed make the same bits as steps whose work is enqueued
 * anew each time, in one piece of work and one copy, whatever guides them; guidance acts within its time window alone.
 *   test_sampler [DEVICE[=PRECISION] [CASE...]]     default: all on cpu, ref, and cuda where this build has it           */
#include "sample/sampler.h"
#include "device/host_state.h"
#include "check.h"
#include "device_spec.h"
#include "synthetic.h"
#include <math.h>
#include <stdlib.h>

static const char network_config_text[] = SMALL_NETWORK("EDMPrecond");
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
enum { STEPS = 6, BATCH = 2, RUNS = 2, PER_SAMPLE = 4 * 4 * 3, CLASSES = 3 };
enum { WITH_DISCRIMINATOR = 1, WITH_GNET = 2, WITH_CLASSIFIER = 4, WITHOUT_CLASS = 8 /* classifier-free guidance */ };
typedef struct {
    const char *name, *why;
    int with;
    SampleOptions change; /* fields that are not 0 replace the default */
} Case;
static const Case cases[] = {
    {"plain", "two shapes: Heun, and the last step", 0, {0}},
    {"euler", "no second evaluations", WITH_DISCRIMINATOR, {.solver = SOLVER_EULER, .time_min = .2, .time_max = .7}},
    {"churn", "churn in some steps, and not in those before and after", 0, {.S_churn = 3, .S_min = .05, .S_max = 20, .S_noise = 1.01}},
    {"window", "guidance begins and ends in mid-run", WITH_DISCRIMINATOR, {.time_min = .2, .time_max = .85}},
    {"second",
     "both orders are guided, in other steps; churn",
     WITH_DISCRIMINATOR,
     {.dg_weight_2nd_order = .5, .time_min = .2, .time_max = .7, .S_churn = 2}},
    {"boosting",
     "the host reads the log ratio in mid-step; noise levels differ",
     WITH_DISCRIMINATOR,
     {.boosting = BOOSTING_ON, .time_max = .4, .S_churn = 2}},
    {"double", "the same, without noise", WITH_DISCRIMINATOR, {.boosting = BOOSTING_DOUBLE, .time_max = .4}},
    {"vp", "s(t) is not 1", 0, {.sampler = SAMPLER_ABLATION, .schedule = SCHEDULE_VP, .scaling = SCALING_VP, .discretization = DISC_VP}},
    {"cfg", "twice the rows within an interval", WITHOUT_CLASS, {.cfg_scale = 2, .cfg_interval = "0.1,20", .cfg_channels = 2}},
    {"lerps",
     "classifier-free guidance and a guiding network, in other steps",
     WITHOUT_CLASS | WITH_GNET,
     {.cfg_scale = 1.5, .cfg_interval = "0.5,90", .guidance = 2, .guidance_interval = "0.1,5"}},
    {"all",
     "every term at once, on scaled states but for the discriminator",
     WITHOUT_CLASS | WITH_GNET | WITH_CLASSIFIER,
     {.sampler = SAMPLER_ABLATION,
      .schedule = SCHEDULE_VP,
      .scaling = SCALING_VP,
      .cfg_scale = 1.5,
      .guidance = 2,
      .classifier_scale = .5,
      .classifier_interval = "0.1,5"}},
    {"ddpm",
     "noise in all steps but the last, gradients by the step's variance",
     WITH_DISCRIMINATOR | WITH_CLASSIFIER,
     {.sampler = SAMPLER_DDPM, .time_min = 100, .time_max = 700, .classifier_scale = 2, .classifier_interval = "300,999"}},
    {"ddim", "no noise", WITH_DISCRIMINATOR | WITHOUT_CLASS, {.sampler = SAMPLER_DDIM, .cfg_scale = 3, .cfg_interval = "0,600"}},
    {"eta",
     "DDIM with noise, another process",
     0,
     {.sampler = SAMPLER_DDIM, .eta = .7, .noise_schedule = LINEAR_NOISE, .clip_denoised = CLIP_OFF}},
    {"flow",
     "Heun on straight paths",
     WITH_DISCRIMINATOR | WITH_CLASSIFIER,
     {.sampler = SAMPLER_FLOW, .classifier_scale = .5, .time_max = .8}},
    {"dpm++", "predictions of two steps", WITH_DISCRIMINATOR | WITHOUT_CLASS, {.sampler = SAMPLER_DPM, .cfg_scale = 2, .time_min = .2}},
};
enum { CASES = sizeof cases / sizeof *cases };
static SampleOptions options_of(const Case *c) {
    SampleOptions o = sample_defaults();
    const SampleOptions *n = &c->change;
    o.num_steps = STEPS;
    double *to[] = {&o.S_churn,  &o.S_min,    &o.S_max,     &o.S_noise,  &o.dg_weight_1st_order, &o.dg_weight_2nd_order,
                    &o.time_min, &o.time_max, &o.cfg_scale, &o.guidance, &o.classifier_scale,    &o.eta};
    const double from[] = {n->S_churn,  n->S_min,    n->S_max,     n->S_noise,  n->dg_weight_1st_order, n->dg_weight_2nd_order,
                           n->time_min, n->time_max, n->cfg_scale, n->guidance, n->classifier_scale,    n->eta};
    for (size_t i = 0; i < sizeof from / sizeof *from; i++)
        if (from[i] != 0) *to[i] = from[i];
    o.solver = n->solver, o.boosting = n->boosting, o.dg_gate = n->dg_gate, o.sampler = n->sampler;
    o.schedule = n->schedule, o.scaling = n->scaling, o.discretization = n->discretization;
    o.cfg_interval = n->cfg_interval, o.guidance_interval = n->guidance_interval, o.classifier_interval = n->classifier_interval;
    o.cfg_channels = n->cfg_channels, o.noise_schedule = n->noise_schedule, o.clip_denoised = n->clip_denoised;
    return o;
}

/* ---- networks and runs -------------------------------------------------------------------------------------------------------- */
typedef struct {
    Weights *network, *gnet, *extractor, *head, *classifier;
} Files;
static Files files_new(void) {
    return (Files){synthetic(network_config_text, 1), synthetic(network_config_text, 5), synthetic(extractor_config_text, 2),
                   synthetic(head_config_text, 17), synthetic(extractor_config_text, 9)};
}
static void files_free(Files *f) {
    Weights *w[] = {f->network, f->gnet, f->extractor, f->head, f->classifier};
    for (size_t i = 0; i < sizeof w / sizeof *w; i++) weights_free(w[i]);
}

typedef struct {
    SampleNetworks n;
    Sampler *s;
    Device *dev;
    size_t per_sample;
    int rows;   /* images of a run */
    bool noisy; /* steps add noise */
} Rig;
static void rig_free(Rig *r) {
    sampler_free(r->s);
    guide_free(r->n.discriminator), guide_free(r->n.classifier);
    predictor_free(r->n.network), predictor_free(r->n.guiding);
}
static bool rig_new(Rig *r, Device *d, const Files *f, const SampleOptions *o, int with, int batch, Error *e) {
    GuideOptions guide = {.fuse = true};
    *r = (Rig){.rows = batch, .dev = d, .noisy = o->S_churn > 0 || o->boosting == BOOSTING_ON || o->sampler == SAMPLER_DDPM || o->eta > 0};
    bool ok = (r->n.network = predictor_new(d, f->network, batch, with & WITHOUT_CLASS ? 2 : 1, true, e)) != NULL;
    if (ok && with & WITH_GNET) ok = (r->n.guiding = predictor_new(d, f->gnet, batch, 1, true, e)) != NULL;
    if (ok && with & WITH_DISCRIMINATOR) ok = (r->n.discriminator = guide_new(d, f->extractor, f->head, batch, guide, e)) != NULL;
    if (ok && with & WITH_CLASSIFIER) ok = (r->n.classifier = guide_new(d, f->classifier, NULL, batch, guide, e)) != NULL;
    if (ok) ok = (r->s = sampler_new(o, &r->n, e)) != NULL;
    if (ok) r->per_sample = r->n.network->per_sample;
    if (!ok) rig_free(r);
    return ok;
}
/* Other seeds and labels for another `run`, recorded noise for -1. */
static uint64_t seed_of(int run, int image) { return 1000 * (uint64_t)(run + 1) + (uint64_t)image; }
typedef void (*AfterStep)(void *ctx, int step, int steps); /* or NULL */
static void run_once(Rig *r, int run, AfterStep after, void *ctx) {
    int n = r->rows, label[BATCH];
    bool recorded = run < 0;
    uint64_t seed[BATCH];
    double *noise[STEPS + 1]; /* the latents last */
    for (int i = 0; i < n; i++) seed[i] = seed_of(run, i), label[i] = (run + 1 + i) % CLASSES;
    for (int k = 0; k <= STEPS && recorded; k++) {
        noise[k] = dg_alloc((size_t)n * r->per_sample * sizeof(double));
        for (size_t i = 0; i < (size_t)n * r->per_sample; i++) noise[k][i] = sin((double)((i + 1) * (size_t)(k + 3)));
    }
    SampleNoise from = {.seed = seed};
    if (recorded) from = (SampleNoise){.latents = noise[STEPS], .noise = r->noisy ? (const double *const *)noise : NULL};
    sampler_begin(r->s, n, &from, label);
    for (int step = 0; sampler_step(r->s); step++)
        if (after) after(ctx, step, sampler_steps(r->s));
    for (int k = 0; k <= STEPS && recorded; k++) free(noise[k]);
}
static double *state_of(Rig *r) {
    double *x = dg_alloc((size_t)r->rows * r->per_sample * sizeof *x);
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
static void stop_in_mid_run(Rig *r) { /* and leave the rest of the run */
    uint64_t seed[BATCH] = {3, 4};
    int label[BATCH] = {0};
    sampler_begin(r->s, r->rows, &(SampleNoise){.seed = seed}, label);
    for (int i = 0; i < STEPS / 2; i++) sampler_step(r->s);
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
static void count_step(void *ctx, int step, int steps) {
    Count *c = ctx;
    Calls now = {0};
    if (emuGetCalls) emuGetCalls(&now);
    size_t kernels = now.kernels - c->before.kernels, graphs = now.graphs - c->before.graphs, copies = now.copies - c->before.copies;
    bool one = kernels == 0 && graphs == 1 && copies == 1, two = kernels == 0 && graphs == 2 && copies == 3;
    if (step && emuGetCalls)
        CHECK(one || (c->boosting && two), "%s: step %d of %d takes %zu kernels, %zu graphs, %zu copies", c->name, step, steps, kernels,
              graphs, copies);
    c->before = now;
}
/* Runs with one sampler: with the seeds of run[k], or the recorded noise of -1, wanted[run + 1] afterwards. */
static void check_runs(const Case *c, Rig *r, const int *run, int runs, double *const *wanted) {
    size_t count = (size_t)r->rows * r->per_sample;
    Count calls = {.name = c->name, .boosting = c->change.boosting};
    for (int k = 0; k < runs; k++) {
        bool counted = k == 3 && r->dev->be->replay != host_replay;
        run_once(r, run[k], counted ? count_step : NULL, &calls);
        double *x = state_of(r);
        CHECK(!memcmp(x, wanted[run[k] + 1], count * sizeof *x),
              "%s, %d images of %d on %s: run %d, %s, differs from the same steps enqueued anew", c->name, r->rows, r->n.network->batch,
              r->dev->be->name, k, run[k] < 0 ? "recorded noise" : "seeds");
        free(x);
        if (k == 1) stop_in_mid_run(r);
    }
}
/* Every term that the case has acts in some step. Where nothing depends on the images, the counts are those of the plan; with passes of
 * their own they are what the steps and the terms make.                                                                       */
static void check_counts(const Case *c, Rig *r, const SampleOptions *o) {
    static const int with[TERM_KINDS] = {WITHOUT_CLASS, WITH_GNET, WITH_DISCRIMINATOR, WITH_CLASSIFIER};
    SampleCounts found = sampler_counts(r->s), planned;
    SampleOptions planned_options = *o;
    Error e;
    if (!r->n.discriminator) planned_options.dg_weight_1st_order = planned_options.dg_weight_2nd_order = 0;
    for (int k = 0; k < TERM_KINDS; k++)
        CHECK(!(c->with & with[k]) == !found.term[k], "%s: %s acts in %d evaluations", c->name, term_name((TermKind)k), found.term[k]);
    CHECK(found.network == found.term[TERM_CFG] + (o->solver == SOLVER_HEUN && o->sampler != SAMPLER_DDPM && o->sampler != SAMPLER_DDIM &&
                                                           o->sampler != SAMPLER_DPM
                                                       ? 2 * STEPS - 1
                                                       : STEPS),
          "%s: %d passes of the network", c->name, found.network);
    bool ok = sample_count(&planned_options, r->n.network->score, &planned, &e);
    if (!o->boosting) CHECK(ok && !memcmp(&planned, &found, sizeof found), "%s: other counts than planned", c->name);
}
static void check_case(Device *d, const Files *f, const Case *c, int batch, double **first_image) {
    static const int many[] = {0, 1, -1, 0}, few[] = {0, 0};
    SampleOptions o = options_of(c);
    Error e = {""};
    Eager eager;
    Rig plain, rig;
    double *wanted[RUNS + 1] = {NULL}; /* recorded noise first */
    eager_of(&eager, d);
    if (!CHECK(rig_new(&plain, &eager.device, f, &o, c->with, batch, &e), "%s: %s", c->name, e.text)) return;
    size_t image_bytes = plain.per_sample * sizeof(double);
    for (int run = -1; run < (batch > 1 ? RUNS : 1); run++) {
        run_once(&plain, run, NULL, NULL);
        wanted[run + 1] = state_of(&plain);
        CHECK(finite_state(wanted[run + 1], (size_t)batch * plain.per_sample), "%s on %s: a value is not finite", c->name, d->be->name);
        if (run >= 0)
            CHECK(memcmp(wanted[run], wanted[run + 1], image_bytes), "%s on %s: other noise, the same image", c->name, d->be->name);
    }
    check_counts(c, &plain, &o);
    *first_image = dg_alloc(image_bytes);
    memcpy(*first_image, wanted[1], image_bytes);
    rig_free(&plain);
    if (CHECK(rig_new(&rig, d, f, &o, c->with, batch, &e), "%s: %s", c->name, e.text)) {
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
        if (!boosting) o.boosting = BOOSTING_OFF;
        if (!CHECK(rig_new(&r, d, f, &o, WITH_DISCRIMINATOR, BATCH, &e), "%s", e.text)) return;
        run_once(&r, 0, NULL, NULL);
        x[boosting] = state_of(&r);
        rig_free(&r);
    }
    int changed = 0;
    for (size_t i = 0; i < BATCH; i++) changed += memcmp(x[0] + i * PER_SAMPLE, x[1] + i * PER_SAMPLE, PER_SAMPLE * sizeof(double)) != 0;
    bool some = changed > 0 && (changed < BATCH || c->change.boosting == BOOSTING_DOUBLE);
    CHECK(some, "%s: %d of %d images are boosted: the test wants some", c->name, changed, BATCH);
    free(x[0]), free(x[1]);
}

/* After the first step, whose number is even, an image that the discriminator finds unreal is guided with twice the weight, and the
 * others with their own: by both rules, as neither has added noise yet.                                                       */
static void check_first_step(Device *d, const Files *f, Boosting rule) {
    double *x[3];
    for (int k = 0; k < 3; k++) { /* boosted; not; with twice the weight */
        Error e = {""};
        Rig r;
        SampleOptions o = sample_defaults();
        uint64_t seed[BATCH] = {seed_of(0, 0), seed_of(0, 1)};
        int label[BATCH] = {1, 2};
        o.num_steps = STEPS, o.solver = SOLVER_EULER, o.boosting = k ? BOOSTING_OFF : rule;
        if (k == 2) o.dg_weight_1st_order *= 2;
        o.classifier_scale = .5; /* which is not boosted */
        if (!CHECK(rig_new(&r, d, f, &o, WITH_DISCRIMINATOR | WITH_CLASSIFIER, BATCH, &e), "%s", e.text)) return;
        sampler_begin(r.s, BATCH, &(SampleNoise){.seed = seed}, label);
        sampler_step(r.s);
        x[k] = state_of(&r);
        rig_free(&r);
    }
    int twice = 0, once = 0;
    for (size_t i = 0; i < BATCH; i++) {
        size_t bytes = PER_SAMPLE * sizeof(double), at = i * PER_SAMPLE;
        twice += !memcmp(x[0] + at, x[2] + at, bytes), once += !memcmp(x[0] + at, x[1] + at, bytes);
    }
    CHECK(twice + once == BATCH && twice > 0, "rule %d: of %d images %d are guided twice, %d once", rule, BATCH, twice, once);
    for (int k = 0; k < 3; k++) free(x[k]);
}

/* ---- the guidance's time window -------------------------------------------------------------------------------------------------- */
typedef struct {
    Rig *r;
    double *state[STEPS];
} Trace;
static void keep_state(void *ctx, int step, int steps) {
    Trace *t = ctx;
    (void)steps;
    t->state[step] = state_of(t->r);
}
/* Trajectories with and without guidance part in the first step within the window, and from the last one on keep the difference.
 * tau falls from .93 at sigma 80 to about 0: the window's upper end holds back guidance at first, its lower end at last.     */
static void check_window(Device *d, const Files *f, double time_min, double time_max) {
    Error e = {""};
    SampleOptions o = sample_defaults();
    o.num_steps = STEPS, o.time_min = time_min, o.time_max = time_max;
    Rig guided, plain;
    if (!CHECK(rig_new(&plain, d, f, &o, 0, 1, &e) && rig_new(&guided, d, f, &o, WITH_DISCRIMINATOR, 1, &e), "%s", e.text)) return;
    Trace a = {.r = &guided}, b = {.r = &plain};
    run_once(&guided, 0, keep_state, &a);
    run_once(&plain, 0, keep_state, &b);
    int inside = 0, first = STEPS;
    for (int i = 0; i < STEPS; i++) { /* the levels by the formula, not by the program */
        double sigma = pow(pow(80, 1. / 7) + (double)i / (STEPS - 1) * (pow(.002, 1. / 7) - pow(80, 1. / 7)), 7);
        double tau = (-.1 + sqrt(.01 + 2 * 19.9 * log(1 + sigma * sigma))) / 19.9;
        bool within = tau >= time_min && tau <= time_max;
        if (within && first == STEPS) first = i;
        inside += within;
    }
    int calls = sampler_counts(guided.s).term[TERM_DISCRIMINATOR];
    CHECK(calls == inside, "window [%g, %g]: %d steps are guided, not %d", time_min, time_max, calls, inside);
    for (int i = 0; i < STEPS; i++) {
        bool same = !memcmp(a.state[i], b.state[i], plain.per_sample * sizeof(double));
        CHECK(same == (i < first), "window [%g, %g]: step %d is %s by guidance, which begins in step %d", time_min, time_max, i,
              same ? "not changed" : "changed", first);
        free(a.state[i]), free(b.state[i]);
    }
    rig_free(&guided), rig_free(&plain);
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
            if (cases[i].change.boosting) check_boosting(d, f, &cases[i]), check_first_step(d, f, cases[i].change.boosting);
        check_window(d, f, .01, 1); /* the default: open from the start */
        check_window(d, f, .01, .6);
        check_window(d, f, .3, .85);
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
