/* test_terms.c -- guidance terms on small networks, in double: classifier-free guidance and autoguidance are what a loop over two
 * separate networks makes of them, gradients shift each sampler's step by what the formulas say, and a term that is closed, or of
 * weight 1, is not there.
 *   test_terms [DEVICE]     default: ref64                                                                                */
#include "sample/sampler.h"
#include "check.h"
#include "synthetic.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char network_text[] = SMALL_NETWORK("EDMPrecond"), vp_text[] = SMALL_NETWORK("VPPrecond");
static const char classifier_text[] =
    "{\"kind\": \"extractor\", \"image_size\": 4, \"in_channels\": 3, \"model_channels\": 32, \"out_channels\": 5, \"num_res_blocks\": 1,"
    " \"attention_resolutions\": [1], \"channel_mult\": [1], \"num_head_channels\": 32, \"use_scale_shift_norm\": true, "
    "\"resblock_updown\": true, \"pool\": \"attention\"}";
enum { BATCH = 2, STEPS = 5, PER_SAMPLE = 48, COUNT = BATCH * PER_SAMPLE };
static const int label[BATCH] = {2, 0};

typedef struct {
    Device *d;
    Weights *network, *other, *vp, *classifier; /* vp: of another preconditioner */
} Files;
static SampleOptions euler(void) {
    SampleOptions o = sample_defaults();
    o.num_steps = STEPS, o.dg_weight_1st_order = 0, o.sampler = SAMPLER_ABLATION, o.solver = SOLVER_EULER;
    return o;
}
static double latent(int i) { return 1.2 * sin(i * 12.9898 + 1); }

/* ---- runs ------------------------------------------------------------------------------------------------------------------------ */
typedef struct {
    SampleNetworks n;
    Sampler *s;
} Rig;
static bool rig_new(Rig *r, const Files *f, const SampleOptions *o, int passes, Weights *guiding, Error *e) {
    *r = (Rig){0};
    r->n.network = predictor_new(f->d, f->network, BATCH, passes, true, e);
    if (guiding) r->n.guiding = predictor_new(f->d, guiding, BATCH, 1, true, e);
    if (o->classifier_scale > 0) r->n.classifier = guide_new(f->d, f->classifier, NULL, BATCH, (GuideOptions){.fuse = true}, e);
    r->s = sampler_new(o, &r->n, e);
    return r->s;
}
static void rig_free(Rig *r) {
    sampler_free(r->s);
    predictor_free(r->n.network), predictor_free(r->n.guiding);
    guide_free(r->n.classifier);
}
/* The state after so many steps. */
static SampleCounts run(const Files *f, const SampleOptions *o, int passes, Weights *guiding, int steps, double *x) {
    Error e = {""};
    Rig r;
    double first[COUNT], still[COUNT] = {0};
    const double *noise[STEPS];
    for (int i = 0; i < COUNT; i++) first[i] = latent(i);
    for (int k = 0; k < STEPS; k++) noise[k] = still;
    if (!CHECK(rig_new(&r, f, o, passes, guiding, &e), "%s", e.text)) return rig_free(&r), (SampleCounts){0};
    sampler_begin(r.s, BATCH, &(SampleNoise){.latents = first, .noise = noise}, label);
    for (int k = 0; k < steps; k++) sampler_step(r.s);
    sampler_state(r.s, x);
    SampleCounts c = sampler_counts(r.s);
    rig_free(&r);
    return c;
}
static double worst_difference(const double *a, const double *b) {
    double worst = 0;
    for (int i = 0; i < COUNT; i++) {
        double off = fabs(a[i] - b[i]) / (1 + fabs(b[i]));
        if (!(off <= worst)) worst = off;
    }
    return worst;
}

/* ---- lerp terms against a loop over two networks ---------------------------------------------------------------------------------- */
typedef struct {
    const char *name;
    bool guiding;          /* another network, else the same without its class */
    double weight, lo, hi; /* (lo, hi] of sigma */
    int channels;          /* the others follow the network with its class */
    const char *interval;
    bool vp;  /* the guiding network has another preconditioner */
    int both; /* without a class too, of the same weight, on so many channels */
} Lerp;
static const Lerp lerps[] = {
    {"cfg", false, 2.5, 0, INFINITY, 3, NULL},
    {"cfg of two channels", false, 2.5, 0, INFINITY, 2, NULL},
    {"cfg within an interval", false, 1.5, .05, 5, 3, "0.05,5"},
    {"cfg of weight 0", false, 0, 0, INFINITY, 3, NULL},
    {"autoguidance", true, 1.8, 0, INFINITY, 3, NULL},
    {"autoguidance by another preconditioner", true, 1.8, 0, INFINITY, 3, NULL, true},
    {"both, of one weight", true, 1.8, 0, INFINITY, 3, NULL, false, 3},
    {"both, without a class on two channels", true, 1.8, 0, INFINITY, 3, NULL, true, 2},
    {"autoguidance within an interval", true, 3, .05, 5, 3, "0.05,5"},
};
static double level(int i) {
    double hi = pow(80, 1 / 7.), lo = pow(.002, 1 / 7.);
    return i == STEPS ? 0 : pow(hi + (double)i / (STEPS - 1) * (lo - hi), 7);
}
static void denoise(const Files *f, Weights *w, const int *of, double sigma, const double *x, double *out) {
    Error e;
    Predictor *p = predictor_new(f->d, w, BATCH, 1, true, &e);
    double *device = f->d->be->alloc(f->d, COUNT * sizeof *device), levels[BATCH] = {sigma, sigma};
    f->d->be->upload(f->d, device, x, COUNT * sizeof *device);
    predictor_set_labels(p, BATCH, of);
    CHECK(predictor_apply(p, device, levels, &e), "%s", e.text);
    f->d->be->download(f->d, out, device, COUNT * sizeof *device);
    f->d->be->release(f->d, device);
    predictor_free(p);
}
static void check_lerp(const Files *f, const Lerp *l) {
    static const int none[BATCH] = {-1, -1};
    SampleOptions o = euler();
    double x[COUNT], found[COUNT], with[COUNT], other[COUNT], unlabelled[COUNT];
    int open = 0;
    if (l->guiding) o.guidance = l->weight, o.guidance_interval = l->interval;
    else o.cfg_scale = l->weight, o.cfg_interval = l->interval, o.cfg_channels = l->channels;
    Weights *guiding = l->vp ? f->vp : f->other;
    if (l->both) o.cfg_scale = l->weight, o.cfg_channels = l->both;
    SampleCounts c = run(f, &o, l->guiding && !l->both ? 1 : 2, l->guiding ? guiding : NULL, STEPS, found);
    for (int i = 0; i < COUNT; i++) x[i] = latent(i) * level(0);
    for (int k = 0; k < STEPS; k++) {
        double t = level(k);
        bool inside = t > l->lo && t <= l->hi;
        open += inside;
        denoise(f, f->network, label, t, x, with);
        denoise(f, l->guiding ? guiding : f->network, l->guiding ? label : none, t, x, other);
        denoise(f, f->network, none, t, x, unlabelled);
        for (int i = 0; i < COUNT; i++) {
            double d = inside && i % 3 < l->channels ? other[i] + l->weight * (with[i] - other[i]) : with[i];
            if (i % 3 < l->both) d += (l->weight - 1) * (with[i] - unlabelled[i]);
            x[i] += (level(k + 1) - t) * (x[i] - d) / t;
        }
    }
    double off = worst_difference(found, x);
    CHECK(off <= 1e-9, "%s: %g off a loop over two networks", l->name, off);
    CHECK(c.term[l->guiding ? TERM_AUTO : TERM_CFG] == open && c.network == STEPS + (l->guiding && !l->both ? 0 : open) &&
              c.guiding == (l->guiding ? open : 0),
          "%s: acts in %d steps, %d passes and %d of the guiding network, of %d steps in its interval", l->name,
          c.term[l->guiding ? TERM_AUTO : TERM_CFG], c.network, c.guiding, open);
}
/* Weight 1 is no guidance, to the bit; a network that guides itself changes nothing but the last bits. */
static void check_nothing(const Files *f) {
    static const SamplerKind kinds[] = {SAMPLER_EDM, SAMPLER_ABLATION, SAMPLER_DDPM, SAMPLER_DDIM, SAMPLER_FLOW, SAMPLER_DPM};
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        SampleOptions o = sample_defaults();
        double plain[COUNT], found[COUNT];
        o.num_steps = STEPS, o.dg_weight_1st_order = 0, o.sampler = kinds[k];
        run(f, &o, 1, NULL, STEPS, plain);
        o.cfg_scale = 1;
        SampleCounts c = run(f, &o, 2, NULL, STEPS, found);
        CHECK(!memcmp(plain, found, sizeof found) && c.term[TERM_CFG] == 0, "%s: --cfg_scale 1 is not nothing", sampler_name(kinds[k]));
        o.cfg_scale = NAN, o.guidance = 4;
        c = run(f, &o, 1, f->network, STEPS, found);
        CHECK(worst_difference(found, plain) <= 1e-10 && c.term[TERM_AUTO] > 0, "%s: a network that guides itself changes the images by %g",
              sampler_name(kinds[k]), worst_difference(found, plain));
        o.guidance = NAN, o.cfg_scale = 3;
        run(f, &o, 2, NULL, STEPS, found);
        CHECK(worst_difference(found, plain) > 1e-4, "%s: guidance does nothing", sampler_name(kinds[k]));
    }
}

/* ---- the classifier's gradient ----------------------------------------------------------------------------------------------------- */
enum { CLASSES = 5 };
/* sum over the images of ln p(label) at z, and its gradient times the direction by differences. */
static double log_probability(Guide *g, const double *x, double sigma, const double *time) {
    double logit[BATCH * CLASSES], sum = 0, unused[BATCH];
    Level at[BATCH] = {{1, sigma}, {1, sigma}};
    Device *d = g->net->dev;
    double *device = d->be->alloc(d, COUNT * sizeof *device);
    d->be->upload(d, device, x, COUNT * sizeof *device);
    guide_fill(g, BATCH, g->net->host_table, at, NULL, time, unused);
    net_run_filled(g->net, BATCH, device);
    exec_get(g->net->exec, g->logit, DG_F64, logit);
    d->be->release(d, device);
    for (int i = 0; i < BATCH; i++) {
        double all = 0;
        for (int c = 0; c < CLASSES; c++) all += exp(logit[i * CLASSES + c]);
        sum += logit[i * CLASSES + label[i]] - log(all);
    }
    return sum;
}
/* For every value of x, of alpha 1: d ln p / dx. */
static void gradient(const Files *f, const double *x, double sigma, const double *time, double *out) {
    Error e;
    Guide *g = guide_new(f->d, f->classifier, NULL, BATCH, (GuideOptions){.fuse = true, .keep = true}, &e);
    double at[COUNT], h = 1e-5 * (1 + sigma);
    guide_set_labels(g, BATCH, label);
    for (int i = 0; i < COUNT; i++) {
        memcpy(at, x, sizeof at);
        at[i] = x[i] + h;
        double up = log_probability(g, at, sigma, time);
        at[i] = x[i] - h;
        out[i] = (up - log_probability(g, at, sigma, time)) / (2 * h);
    }
    guide_free(g);
}
typedef struct {
    SamplerKind sampler;
    double first;        /* of unit noise in the first x */
    double alpha, sigma; /* of it */
    double shift;        /* of x after the first step, for a shift of 1 of x0 in it; ddpm: for dL/dx itself */
    bool cosine;         /* the process is not the one that the classifier was trained on */
} Shift;
static double linear_bar(int t) {
    double product = 1;
    for (int j = 0; j <= t; j++) product *= 1 - (1e-4 + (2e-2 - 1e-4) * j / 999);
    return product;
}
static double cosine_bar(int t) {
    double product = 1;
    for (int j = 0; j <= t; j++) {
        double u[2] = {cos((j / 1000. + .008) / 1.008 * M_PI / 2), cos(((j + 1) / 1000. + .008) / 1.008 * M_PI / 2)};
        product *= 1 - fmin(1 - u[1] * u[1] / (u[0] * u[0]), .999);
    }
    return product;
}
static void check_gradient(const Files *f, const Shift *c, double scale) {
    SampleOptions o = sample_defaults();
    double plain[COUNT], found[COUNT], x[COUNT], slope[COUNT], wanted[COUNT];
    o.num_steps = STEPS, o.dg_weight_1st_order = 0, o.sampler = c->sampler, o.solver = SOLVER_EULER;
    if (c->sampler == SAMPLER_DDPM) o.variance = FIXED_SMALL_VARIANCE;
    if (c->sampler == SAMPLER_DDPM || c->sampler == SAMPLER_DDIM) o.clip_denoised = CLIP_OFF;
    if (c->cosine) o.noise_schedule = COSINE_NOISE;
    run(f, &o, 1, NULL, 1, plain);
    o.classifier_scale = scale;
    SampleCounts counts = run(f, &o, 1, NULL, 1, found);
    /* ln p is a function of x0 + sigma/alpha eps; its gradient there is alpha times that at x */
    for (int i = 0; i < COUNT; i++) x[i] = latent(i) * c->first / c->alpha;
    /* the classifier knows the timesteps of its own process: 999 is the first */
    static const double last_time[BATCH] = {1, 1};
    bool diffuses = c->sampler == SAMPLER_DDPM || c->sampler == SAMPLER_DDIM;
    gradient(f, x, c->sigma / c->alpha, diffuses && !c->cosine ? last_time : NULL, slope);
    for (int i = 0; i < COUNT; i++) {
        double at_x = slope[i] / c->alpha, g = c->sampler == SAMPLER_DDPM ? at_x : c->sigma * c->sigma / c->alpha * at_x;
        wanted[i] = plain[i] + c->shift * scale * g;
    }
    double moved = worst_difference(found, plain), off = worst_difference(found, wanted);
    CHECK(off <= 1e-4 * moved && moved > 1e-6 && counts.term[TERM_CLASSIFIER] == 1, "%s: the classifier moves x by %g, %g off",
          sampler_name(c->sampler), moved, off);
}
static void check_gradients(const Files *f) {
    double next = level(1), bar = linear_bar(999), last = linear_bar(749), beta = 1 - bar / last, top = 80 / 81.;
    double away = sqrt(1 - last) / sqrt(1 - bar); /* DDIM: x' = sqrt(last) x0 + away (x - sqrt(bar) x0) */
    double top_bar = cosine_bar(999), next_bar = cosine_bar(749), cosine_away = sqrt(1 - next_bar) / sqrt(1 - top_bar);
    const Shift shifts[] = {
        {SAMPLER_EDM, 80, 1, 80, 1 - next / 80},
        {SAMPLER_ABLATION, 80, 1, 80, 1 - next / 80},
        {SAMPLER_DPM, 80, 1, 80, 1 - next / 80},
        {SAMPLER_FLOW, top, 1 - top, top, 1. / STEPS},
        {SAMPLER_DDIM, 1, sqrt(bar), sqrt(1 - bar), sqrt(last) - away * sqrt(bar)},
        {SAMPLER_DDIM, 1, sqrt(top_bar), sqrt(1 - top_bar), sqrt(next_bar) - cosine_away * sqrt(top_bar), true},
        {SAMPLER_DDPM, 1, sqrt(bar), sqrt(1 - bar), beta * (1 - last) / (1 - bar)},
    };
    for (size_t i = 0; i < sizeof shifts / sizeof *shifts; i++) check_gradient(f, &shifts[i], 30);
}

int main(int argc, char **argv) {
    Error e;
    Files f = {.d = device_open(argc > 1 ? argv[1] : "ref64", NULL, &e)};
    if (!f.d) {
        not_run("%s", e.text);
        return check_done("test_terms");
    }
    f.network = synthetic(network_text, 1), f.other = synthetic(network_text, 5), f.vp = synthetic(vp_text, 6),
    f.classifier = synthetic(classifier_text, 9);
    for (size_t i = 0; i < sizeof lerps / sizeof *lerps; i++) check_lerp(&f, &lerps[i]);
    check_nothing(&f);
    check_gradients(&f);
    weights_free(f.network), weights_free(f.other), weights_free(f.vp), weights_free(f.classifier);
    device_close(f.d);
    return check_done("test_terms");
}
