/* test_latent_guidance.c -- guidance of latents as DiT-G++ has it (DG_imagenet, sample.py), on small networks in double: which
 * channels classifier-free guidance acts on, the discriminator's gradient against central differences, the steps in which either acts,
 * whole runs against a loop written out over twice the rows, and discriminators that do not fit each other.                       */
#include "sample/diffusion.h"
#include "sample/sampler.h"
#include "check.h"
#include "synthetic.h"
#include "tiny_model.h"
#include <math.h>
#include <stdlib.h>

enum { N = 2, SIDE = 8, CHANNELS = 4, PIXELS = SIDE * SIDE, VALUES = PIXELS * CHANNELS, COUNT = N * VALUES, NO_CLASS = 3 };
enum { BOTH = 2 * CHANNELS /* of the output: eps, then the code of the variance */ };
static const int label[N] = {2, 0}, none[N] = {NO_CLASS, NO_CLASS};
typedef struct {
    Device *d;
    Weights *network, *extractor, *head;
    float bias; /* of the logit, in place of the head's own */
    StTensor bias_tensor;
} Files;
static double value(uint64_t seed, int i) { return sin((double)(seed * 1000 + (uint64_t)i + 1) * 12.9898) * 1.3; }
static double *fill(double *x, uint64_t seed, int count) {
    for (int i = 0; i < count; i++) x[i] = value(seed, i);
    return x;
}
static Diffusion *process(const char *respacing) {
    Error e = {""};
    Diffusion *d = diffusion_new(NOISE_LINEAR, 1000, respacing, &e);
    DG_CHECK(d, "%s", e.text);
    return d;
}
static Net *loaded(Net *n, const double *x, int count, double time, const int *labels) {
    double times[2 * N], *device = n->dev->be->alloc(n->dev, (size_t)count * sizeof *device);
    for (int i = 0; i < n->batch; i++) times[i] = time;
    n->dev->be->upload(n->dev, device, x, (size_t)count * sizeof *x);
    net_set_labels(n, n->batch, labels);
    net_run(n, n->batch, device, NULL, times);
    n->dev->be->release(n->dev, device);
    return n;
}
/* The network's output for x, `rows` images, at timestep t. */
static void model(const Files *f, int rows, const double *x, double t, const int *labels, double *out) {
    Error e = {""};
    Net *n = net_open(f->d, &model_dit, f->network, rows, false, &e);
    DG_CHECK(n, "%s", e.text);
    exec_get(loaded(n, x, rows * VALUES, t, labels)->exec, n->out, DG_F64, out);
    net_free(n);
}
static SampleOptions ddpm(const char *respacing) {
    SampleOptions o = sample_defaults();
    o.sampler = SAMPLER_DDPM, o.timestep_respacing = respacing, o.dg_weight_1st_order = 0;
    return o;
}
typedef struct {
    SampleNetworks n;
    Sampler *s;
} Rig;
static Rig rig_new(const Files *f, const SampleOptions *o) {
    Error e = {""};
    Rig r = {.n.network = predictor_new(f->d, f->network, N, 2, true, &e)};
    DG_CHECK(r.n.network, "%s", e.text);
    if (sample_discriminates(o)) r.n.discriminator = guide_new(f->d, f->extractor, f->head, N, (GuideOptions){.fuse = true}, &e);
    r.s = sampler_new(o, &r.n, &e);
    DG_CHECK(r.s, "%s", e.text);
    return r;
}
static void rig_free(Rig *r) {
    sampler_free(r->s);
    predictor_free(r->n.network), guide_free(r->n.discriminator);
}

/* ---- classifier-free guidance: eps of three channels ------------------------------------------------------------------------------- */
enum { FEW = 5 };
/* What a step's x' says that the sampler took for eps and the variance's code, of every value: out of the mean, and out of what noise of
 * 1 adds to it.                                                                                                           */
static void taken(const Files *f, const SampleOptions *o, const Diffusion *d, const double *x, double *out) {
    double after[2][COUNT], still[COUNT] = {0}, ones[COUNT];
    int i = d->steps - 1;
    for (int k = 0; k < COUNT; k++) ones[k] = 1;
    Rig r = rig_new(f, o);
    for (int k = 0; k < 2; k++) {
        const double *noise[FEW] = {k ? ones : still};
        sampler_begin(r.s, N, &(SampleNoise){.latents = x, .noise = noise}, label);
        sampler_step(r.s);
        sampler_state(r.s, after[k]);
    }
    rig_free(&r);
    for (int k = 0; k < COUNT; k++) {
        double x0 = (after[0][k] - d->coef2[i] * x[k]) / d->coef1[i], log_variance = 2 * log(after[1][k] - after[0][k]);
        double *at = out + k / CHANNELS * BOTH + k % CHANNELS;
        at[0] = (d->recip[i] * x[k] - x0) / d->recip_m1[i];
        at[CHANNELS] = 2 * (log_variance - d->log_low[i]) / (d->log_high[i] - d->log_low[i]) - 1;
    }
}
/* Of weight 0 the guided channels are those without a class, of weight 1 nothing differs from the conditional output. */
static void three_channels(const Files *f) {
    static const struct {
        const char *name;
        double weight;
        int channels, guided; /* channels: the option, 0 where it is not given */
    } of[] = {{"--cfg_scale 1", 1, 0, 0},
              {"a weight of 1 and one unit", 1 + 0x1p-52, 0, 0},
              {"--cfg_scale 0", 0, 0, 3},
              {"--cfg_scale 0 --cfg_channels 4", 0, 4, 4}};
    double x[COUNT], with[N * PIXELS * BOTH], without[N * PIXELS * BOTH], out[N * PIXELS * BOTH];
    Diffusion *d = process("5");
    int i = d->steps - 1;
    DG_CHECK(d->steps == FEW, "%d steps", d->steps);
    fill(x, 1, COUNT);
    model(f, N, x, d->timestep[i], label, with);
    model(f, N, x, d->timestep[i], none, without);
    /* A few roundings of x' and x0; v is what these are in the small part of the variance's logarithm that it spans. */
    const double rounding = 16 * 0x1p-52, of_code = 16 * rounding / (d->log_high[i] - d->log_low[i]);
    for (size_t k = 0; k < sizeof of / sizeof *of; k++) {
        SampleOptions o = ddpm("5");
        o.cfg_scale = of[k].weight, o.cfg_channels = of[k].channels;
        taken(f, &o, d, x, out);
        for (int c = 0; c < BOTH; c++) {
            double off = 0, apart = 0, tolerance = c < CHANNELS ? rounding : of_code;
            for (int j = c; j < N * PIXELS * BOTH; j += BOTH) {
                double error = fabs(out[j] - (c < of[k].guided ? without : with)[j]);
                if (!(error <= off)) off = error;
                apart = fmax(apart, fabs(with[j] - without[j]));
            }
            CHECK(off <= tolerance && apart > 1e6 * tolerance, "%s: channel %d is %g off that %s a class (%g apart, tolerance %g)",
                  of[k].name, c, off, c < of[k].guided ? "without" : "with", apart, tolerance);
        }
    }
    diffusion_free(d);
}

/* ---- the discriminator's gradient ---------------------------------------------------------------------------------------------------- */
/* ln d/(1-d) by itself, of the two networks one after the other. */
static Net *ratio_new(const Files *f, Error *e) {
    Net *n = net_new(SPAN_DISCRIMINATOR, f->d->precision, N, false);
    const Ports *a = net_add(n, &model_extractor, weights_config(f->extractor), "", 0, e);
    const Ports *b = a ? net_add(n, &model_head, weights_config(f->head), "head.", a->features, e) : NULL;
    DG_CHECK(b, "%s", e->text);
    net_plan(n, b->out);
    DG_CHECK(net_bind(n, f->d, (Weights *const[]){f->extractor, f->head}, e), "%s", e->text);
    return n;
}
static void ratio(Net *n, const double *x, double t, double out[N]) {
    exec_get(loaded(n, x, COUNT, t / 999, label)->exec, n->out, DG_F64, out);
}
/* dL/dx at step i's x, as the guide of a run makes it. */
static void guided_gradient(Guide *g, const Diffusion *d, int i, const double *x, double *out) {
    double time[N], factor[N], *device = g->net->dev->be->alloc(g->net->dev, COUNT * sizeof *device);
    Level at[N];
    for (int k = 0; k < N; k++) at[k] = (Level){sqrt(d->alpha_bar[i]), sqrt(1 - d->alpha_bar[i])}, time[k] = d->timestep[i] / 999.;
    g->net->dev->be->upload(g->net->dev, device, x, COUNT * sizeof *x);
    guide_set_labels(g, N, label);
    guide_fill(g, N, g->net->host_table, at, NULL, time, factor);
    net_run_filled(g->net, N, device);
    exec_get(g->net->exec, g->net->out, DG_F64, out);
    for (int k = 0; k < COUNT; k++) out[k] *= factor[k / VALUES];
    g->net->dev->be->release(g->net->dev, device);
}
/* Along the gradient itself, then along made-up directions: the slope of image k's logit, and how far off differences of step h may be:
 * what a step twice as large changes, and the rounding of the two values.                                                     */
static void check_slopes(Net *n, const double *x, double t, const double *gradient, int k, double ell) {
    enum { DIRECTIONS = 4 };
    const double h = 1e-4, rounding = 256 * 0x1p-52 * (1 + fabs(ell)) / h;
    for (int j = 0; j < DIRECTIONS; j++) {
        double along[VALUES], size = 0, slope = 0, f[2][2], z[COUNT];
        for (int i = 0; i < VALUES; i++)
            along[i] = j ? value((uint64_t)(10 + j), i) : gradient[k * VALUES + i], size += along[i] * along[i];
        for (int i = 0; i < VALUES; i++) along[i] /= sqrt(size), slope += along[i] * gradient[k * VALUES + i];
        for (int m = 0; m < 4; m++) {
            double both[N], step = (m / 2 + 1) * (m % 2 ? h : -h);
            memcpy(z, x, sizeof z);
            for (int i = 0; i < VALUES; i++) z[k * VALUES + i] += step * along[i];
            ratio(n, z, t, both);
            f[m / 2][m % 2] = both[k];
        }
        double near = (f[0][1] - f[0][0]) / (2 * h), far = (f[1][1] - f[1][0]) / (4 * h), bound = fabs(far - near) + rounding;
        CHECK(fabs(slope - near) <= bound && (j || slope > 1e3 * bound),
              "logit %g, direction %d: a slope of %.12g, by differences %.12g +- %g", ell, j, slope, near, bound);
    }
}
/* Exactly nothing where the ratio is clipped: from ln(1e5 - 1) = 11.5129 on. The logit's bias puts it on either side. */
static void gradient(Files *f) {
    static const double logit[] = {.5, 11.5, -11.5, 11.5201, -11.5201, 700};
    Error e = {""};
    Diffusion *d = process("250");
    int i = 124, zero[2] = {0};
    double x[COUNT], found[COUNT], ell[N];
    fill(x, 2, COUNT);
    f->bias = 0;
    Net *n = ratio_new(f, &e);
    ratio(n, x, d->timestep[i], ell);
    double plain = ell[0];
    net_free(n);
    for (size_t k = 0; k < sizeof logit / sizeof *logit; k++) {
        f->bias = (float)(logit[k] - plain);
        n = ratio_new(f, &e);
        Guide *g = guide_new(f->d, f->extractor, f->head, N, (GuideOptions){.fuse = true}, &e);
        DG_CHECK(g, "%s", e.text);
        ratio(n, x, d->timestep[i], ell);
        guided_gradient(g, d, i, x, found);
        CHECK(fabs(ell[0] - logit[k]) <= 1e-4, "a logit of %g, %g wanted", ell[0], logit[k]);
        for (int image = 0; image < N; image++) {
            int nonzero = 0;
            bool clipped = fabs(ell[image]) >= 11.52;
            for (int j = 0; j < VALUES; j++) nonzero += found[image * VALUES + j] != 0;
            CHECK(clipped ? nonzero == 0 : nonzero > VALUES / 2, "a logit of %g: %d of %d values of the gradient are not 0", ell[image],
                  nonzero, VALUES);
            zero[clipped]++;
            if (!clipped && nonzero) check_slopes(n, x, d->timestep[i], found, image, ell[image]);
        }
        guide_free(g), net_free(n);
    }
    CHECK(zero[0] >= 3 && zero[1] >= 3, "%d gradients of clipped ratios, %d of others", zero[1], zero[0]);
    f->bias = 0;
    diffusion_free(d);
}

/* ---- the steps in which a term acts ---------------------------------------------------------------------------------------------------- */
/* DiT-G++'s own options: guided from step 26 on (timestep 104), of the one weight from step 50 on (201), of the other up to 49 (197). */
static void gates(const Files *f) {
    for (int side = 0; side < 2; side++) {
        SampleOptions o = ddpm("250");
        double x[COUNT], still[COUNT] = {0};
        const double *noise[250];
        for (int k = 0; k < 250; k++) noise[k] = still;
        o.dg_weight_1st_order = 1, o.time_min = 100, o.branch_time = 200, o.LT_cfg = side ? 1 : 1.25, o.ST_cfg = side ? 3 : 1;
        Rig r = rig_new(f, &o);
        SampleCounts before = {0};
        sampler_begin(r.s, N, &(SampleNoise){.latents = fill(x, 3, COUNT), .noise = noise}, label);
        for (int i = 249; i >= 0 && sampler_step(r.s); i--) {
            SampleCounts c = sampler_counts(r.s);
            int guided = c.term[TERM_DISCRIMINATOR] - before.term[TERM_DISCRIMINATOR], both = c.term[TERM_CFG] - before.term[TERM_CFG];
            CHECK(guided == (i >= 26), "step %d: the discriminator acts %d times", i, guided);
            CHECK(both == (side ? i <= 49 : i >= 50), "step %d: guidance of the weight %s timestep 200 acts %d times", i,
                  side ? "up to" : "above", both);
            before = c;
        }
        CHECK(before.term[TERM_DISCRIMINATOR] == 224 && before.term[TERM_CFG] == (side ? 50 : 200),
              "the discriminator in %d steps, guidance in %d", before.term[TERM_DISCRIMINATOR], before.term[TERM_CFG]);
        rig_free(&r);
    }
}

/* ---- a run, and the official loop over 2n rows --------------------------------------------------------------------------------------------- */
enum { STEPS = 8 };
typedef struct {
    double large, small, branch_time, time_min, scale;
} Guided;
/* Every step as it is written down: the network on the first half twice, its second half without a class; the second half of the state
 * has noise of its own, `tape` has both; the gradient is that of the first half and goes to both.                               */
static void literal(const Files *f, const Guided *o, const Diffusion *d, const double *first, const double (*tape)[2 * COUNT], double *x) {
    Error e = {""};
    Guide *g = guide_new(f->d, f->extractor, f->head, N, (GuideOptions){0}, &e);
    const int classes[2 * N] = {label[0], label[1], NO_CLASS, NO_CLASS};
    double twice[2 * COUNT], out[2 * N * PIXELS * BOTH], slope[COUNT];
    memcpy(x, first, COUNT * sizeof *x), memcpy(x + COUNT, first, COUNT * sizeof *x);
    for (int i = STEPS - 1; i >= 0; i--) {
        int t = d->timestep[i];
        memcpy(twice, x, COUNT * sizeof *x), memcpy(twice + COUNT, x, COUNT * sizeof *x);
        model(f, 2 * N, twice, t, classes, out);
        memset(slope, 0, sizeof slope);
        if (t > o->time_min) guided_gradient(g, d, i, x, slope);
        double w = t > o->branch_time ? o->large : o->small;
        for (int k = 0; k < 2 * COUNT; k++) {
            int c = k % CHANNELS, at = k / CHANNELS * BOTH + c, first_half = k % COUNT / CHANNELS * BOTH + c;
            double with = out[first_half], without = out[first_half + N * PIXELS * BOTH];
            double eps = c < 3 ? without + w * (with - without) : out[at];
            double share = (out[at + CHANNELS] + 1) / 2, variance = exp(share * d->log_high[i] + (1 - share) * d->log_low[i]);
            double x0 = d->recip[i] * x[k] - d->recip_m1[i] * eps;
            x[k] = d->coef1[i] * x0 + d->coef2[i] * x[k] + variance * o->scale * slope[k % COUNT];
            if (i) x[k] += sqrt(variance) * tape[STEPS - 1 - i][k];
        }
    }
    guide_free(g);
}
static void two_halves(const Files *f) {
    const Guided of = {.large = 1.25, .small = 3, .branch_time = 428, .time_min = 143, .scale = 20};
    static double tape[2][STEPS][2 * COUNT], noise[STEPS][COUNT], x[2][2 * COUNT];
    Diffusion *d = process("8");
    DG_CHECK(d->steps == STEPS && d->timestep[1] == 143 && d->timestep[3] == 428, "other timesteps");
    double first[COUNT], found[2][COUNT], size = 0, off = 0, moved = 0;
    const double *given[STEPS];
    fill(first, 4, COUNT);
    for (int other = 0; other < 2; other++) {
        for (int k = 0; k < STEPS; k++) {
            fill(tape[other][k], (uint64_t)(20 + k), COUNT), fill(tape[other][k] + COUNT, (uint64_t)(40 + k + 20 * other), COUNT);
            memcpy(noise[k], tape[other][k], sizeof noise[k]), given[k] = noise[k];
        }
        literal(f, &of, d, first, tape[other], x[other]);
        SampleOptions o = ddpm("8");
        o.LT_cfg = of.large, o.ST_cfg = of.small, o.branch_time = of.branch_time, o.time_min = of.time_min;
        o.dg_weight_1st_order = other ? 0 : of.scale; /* the second time: what the gradient does */
        Rig r = rig_new(f, &o);
        sampler_begin(r.s, N, &(SampleNoise){.latents = first, .noise = given}, label);
        while (sampler_step(r.s)) continue;
        sampler_state(r.s, found[other]);
        rig_free(&r);
    }
    for (int k = 0; k < COUNT; k++) {
        double error = fabs(found[0][k] - x[0][k]);
        if (!(error <= off)) off = error;
        size = fmax(size, fabs(x[0][k])), moved = fmax(moved, fabs(found[1][k] - found[0][k]));
    }
    CHECK(off <= 1e-10 * size && moved > .01 * size, "%g off a loop over twice the rows, of %g; the gradient moves by %g", off, size,
          moved);
    CHECK(!memcmp(x[0], x[1], COUNT * sizeof **x) && memcmp(x[0] + COUNT, x[1] + COUNT, COUNT * sizeof **x),
          "noise of the second half reaches the first, or not even the second");
    diffusion_free(d);
}

/* ---- two files of one name ------------------------------------------------------------------------------------------------------------------ */
/* 32x32_classifier.pt of DG (CIFAR-10) and that of DG_imagenet, and the heads that belong to them: no other pair is one. */
static void confusion(void) {
#define COMMON "\"attention_resolutions\": [1, 2, 4], \"num_head_channels\": 64, "
    static const char *const extractor[] =
        {"{\"image_size\": 32, \"in_channels\": 3, \"num_res_blocks\": 4, \"channel_mult\": [1, 2, 4], " COMMON "\"out_channels\": 10}",
         "{\"image_size\": 32, \"in_channels\": 4, \"num_res_blocks\": 2, \"channel_mult\": [1, 2, 3], " COMMON "\"out_channels\": 1000}"},
                             *const head[] = {
                                 "{\"image_size\": 8, \"in_channels\": 512, \"num_res_blocks\": 2, \"channel_mult\": [1], " COMMON
                                 "\"condition\": true, \"num_class\": 10}",
                                 "{\"image_size\": 8, \"in_channels\": 384, \"num_res_blocks\": 2, \"channel_mult\": [1], " COMMON
                                 "\"condition\": true}"};
    static const int channels[] = {3, 4}, features[] = {512, 384};
    for (int a = 0; a < 2; a++)
        for (int b = 0; b < 2; b++) {
            Error e = {""};
            char said[128];
            Json *x = json_parse(extractor[a], strlen(extractor[a]), &e), *y = json_parse(head[b], strlen(head[b]), &e);
            DG_CHECK(x && y, "%s", e.text);
            Guide *g = guide_plan(x, y, (Precision){DG_F32, false}, 1, (GuideOptions){0}, &e);
            snprintf(said, sizeof said, "takes 8x8 with %d channels and is given 8x8 with %d", features[b], features[a]);
            if (a == b) CHECK(g, "features of %d: %s", features[a], e.text);
            else CHECK(!g && strstr(e.text, said), "a head for %d features on %d: %s", features[b], features[a], g ? "accepted" : e.text);
            Shape takes = g ? shape_of(g->net->graph, g->net->x) : (Shape){0}, latents = {1, 32, 32, 4}, pixels = {1, 32, 32, 3};
            if (g)
                CHECK(takes.c == channels[a] && sample_same_images("extractor", takes, a ? latents : pixels, &e) &&
                          !sample_same_images("extractor", takes, a ? pixels : latents, &e) && strstr(e.text, "the extractor takes 32x32x"),
                      "an extractor of %d channels, for networks of either kind: %s", takes.c, e.text);
            guide_free(g), json_free(x), json_free(y);
        }
}

int main(void) {
    Error e = {""};
    Files f = {.d = device_open("ref64", NULL, &e)};
    DG_CHECK(f.d, "%s", e.text);
    f.network = synthetic(tiny_dit_config, 1), f.extractor = synthetic(tiny_latent_extractor_config, 2),
    f.head = synthetic(tiny_head_config, 3);
    f.bias_tensor = (StTensor){
        .name = "out.2.c_proj.bias", .dtype = DG_F32, .dims = 1, .shape = {1}, .count = 1, .bytes = sizeof f.bias, .data = &f.bias};
    weights_override(f.head, f.bias_tensor.name, &f.bias_tensor);
    three_channels(&f);
    gradient(&f);
    two_halves(&f);
    Device *exact = f.d;
    f.d = device_open("cpu", "fp32", &e);
    if (!f.d) f.d = device_open("ref", NULL, &e);
    DG_CHECK(f.d, "%s", e.text);
    gates(&f);
    device_close(f.d);
    confusion();
    weights_free(f.network), weights_free(f.extractor), weights_free(f.head);
    device_close(exact);
    return check_done("test_latent_guidance");
}
