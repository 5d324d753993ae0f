/* test_programs.c -- the samplers' arithmetic on Gaussian data, whose best score network is known: what a program makes of its noise is
 * what its published formulas make of it, written again here; and its error falls with the steps as it has to.
 *   test_programs [DEVICE[=PRECISION]]     default: ref64, and cpu                                                                     */
#include "sample/sampler.h"
#include "check.h"
#include "device_spec.h"
#include "gauss_model.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_STEPS = 1000 };

/* ---- the formulas: one number through a run ------------------------------------------------------------------------------------- */
typedef struct {
    const SampleOptions *o;
    const GaussConfig *c;
    double mean;         /* of the data */
    double first;        /* latent, of unit variance */
    const double *noise; /* [steps] */
} Way;
static bool discrete(const Way *w) { return w->c->prediction == PREDICTS_EPS || w->c->prediction == PREDICTS_V; }
static double bar_sigma(int t, bool cosine) {
    double bar = gauss_alpha_bar(t, cosine);
    return sqrt((1 - bar) / bar);
}
static int nearest(const Way *w, double sigma) {
    static double level[2][1000];
    double *l = level[w->c->cosine];
    int best = 0;
    for (int t = 0; t < 1000 && !l[999]; t++) l[t] = bar_sigma(t, w->c->cosine);
    for (int t = 1; t < 1000; t++)
        if (fabs(l[t] - sigma) < fabs(l[best] - sigma)) best = t;
    return best;
}
static double rounded(const Way *w, double sigma) { return discrete(w) ? bar_sigma(nearest(w, sigma), w->c->cosine) : sigma; }
/* D(x) at x = alpha x0 + sigma eps. A network of timesteps sees the nearest one, and x in its own scale. */
static double denoised(const Way *w, double x, double alpha, double sigma) {
    if (!discrete(w)) {
        GaussLinear d = gauss_prediction(alpha, sigma);
        return d.x * x + d.mean * w->mean;
    }
    double ratio = sigma / alpha, size = sqrt(alpha * alpha + sigma * sigma);
    GaussLinear f = gauss_output(w->c, nearest(w, ratio));
    double z = x / size, F = f.x * z + f.mean * w->mean;
    if (w->c->prediction == PREDICTS_EPS) return (z - sigma / size * F) / (alpha / size);
    return alpha / size * z - sigma / size * F;
}
static double edm_level(const Way *w, int i) {
    int n = w->o->num_steps;
    double hi = 80, lo = .002;
    if (discrete(w)) lo = bar_sigma(0, w->c->cosine);
    return i == n ? 0 : rounded(w, pow(pow(hi, 1 / 7.) + (double)i / (n - 1) * (pow(lo, 1 / 7.) - pow(hi, 1 / 7.)), 7));
}
static double edm_way(const Way *w, int steps) {
    const SampleOptions *o = w->o;
    double x = w->first * edm_level(w, 0);
    for (int i = 0; i < steps; i++) {
        double t = edm_level(w, i), next = edm_level(w, i + 1), hat = t;
        if (o->S_churn > 0 && t >= o->S_min && t <= o->S_max) {
            hat = rounded(w, t + fmin(o->S_churn / o->num_steps, sqrt(2) - 1) * t);
            x += sqrt(hat * hat - t * t) * o->S_noise * w->noise[i];
        }
        double d = (x - denoised(w, x, 1, hat)) / hat, euler = x + (next - hat) * d;
        if (o->solver == SOLVER_HEUN && i < o->num_steps - 1) d = (d + (euler - denoised(w, euler, 1, next)) / next) / 2;
        x += (next - hat) * d;
    }
    return x;
}
static double dpm_way(const Way *w, int steps) {
    double x = w->first * edm_level(w, 0), before = 0;
    for (int i = 0; i < steps; i++) {
        double s = edm_level(w, i), next = edm_level(w, i + 1), now = denoised(w, x, 1, s), d = now;
        if (i && next > 0) {
            double h = log(s / next), r = log(edm_level(w, i - 1) / s) / h;
            d = (1 + 1 / (2 * r)) * now - 1 / (2 * r) * before;
        }
        x = next > 0 ? next / s * x - expm1(-log(s / next)) * d : d;
        before = now;
    }
    return x;
}
static double flow_way(const Way *w, int steps) {
    int n = w->o->num_steps;
    double top = w->c->prediction == PREDICTS_FLOW ? 1 : 80 / 81., x = top * w->first;
    for (int i = 0; i < steps; i++) {
        double t = top * (1 - (double)i / n), next = top * (1 - (i + 1.) / n), v = (x - denoised(w, x, 1 - t, t)) / t;
        double euler = x + (next - t) * v;
        if (w->o->solver == SOLVER_HEUN && i + 1 < n) v = (v + (euler - denoised(w, euler, 1 - next, next)) / next) / 2;
        x += (next - t) * v;
    }
    return x;
}
static int spread(int i, int steps) { return (int)rint((double)i * 999 / (steps - 1)); } /* where no step is a tie */
/* Ho et al. 2020, equations 6 and 7; Nichol and Dhariwal 2021, equation 15; Song et al. 2021, equations 12 and 16. */
static double diffusion_way(const Way *w, int steps) {
    const SampleOptions *o = w->o;
    int n = o->num_steps;
    double x = w->first;
    for (int k = 0; k < steps; k++) {
        int i = n - 1 - k, t = spread(i, n);
        double bar = gauss_alpha_bar(t, w->c->cosine), last = i ? gauss_alpha_bar(spread(i - 1, n), w->c->cosine) : 1;
        double beta = 1 - bar / last, x0 = denoised(w, x, sqrt(bar), sqrt(1 - bar)), posterior = beta * (1 - last) / (1 - bar);
        if (o->sampler == SAMPLER_DDIM) {
            double eps = (x - sqrt(bar) * x0) / sqrt(1 - bar), sigma = o->eta * sqrt(posterior);
            x = sqrt(last) * x0 + sqrt(1 - last - sigma * sigma) * eps + (i ? sigma * w->noise[k] : 0);
            continue;
        }
        double mean = sqrt(last) * beta / (1 - bar) * x0 + sqrt(1 - beta) * (1 - last) / (1 - bar) * x, share = (gauss_code(t) + 1) / 2;
        double second = gauss_alpha_bar(spread(1, n), w->c->cosine) / gauss_alpha_bar(0, w->c->cosine); /* of the first step, pv is 0 */
        double least =
            i ? posterior : (1 - second) * (1 - gauss_alpha_bar(0, w->c->cosine)) / (1 - gauss_alpha_bar(spread(1, n), w->c->cosine));
        double variance = o->variance == FIXED_SMALL_VARIANCE   ? posterior
                          : o->variance == FIXED_LARGE_VARIANCE ? beta
                                                                : exp(share * log(beta) + (1 - share) * log(least));
        x = mean + (i ? sqrt(variance) * w->noise[k] : 0);
    }
    return x;
}
static double way(const Way *w, int steps) {
    switch (w->o->sampler) {
    case SAMPLER_DDPM:
    case SAMPLER_DDIM: return diffusion_way(w, steps);
    case SAMPLER_FLOW: return flow_way(w, steps);
    case SAMPLER_DPM: return dpm_way(w, steps);
    default: return edm_way(w, steps);
    }
}

/* ---- the samplers --------------------------------------------------------------------------------------------------------------- */
typedef struct {
    const char *name;
    SampleOptions change;
    bool noisy;
    const char
        *networks; /* the predictions it is run with: p(reconditioned), e(ps), v, f(low), l: eps with a learned variance, c: eps, cosine */
    int order;     /* 0: it has none */
} Program;
static const Program programs[] = {
    {"edm", {.sampler = SAMPLER_EDM}, false, "pevf", 2},
    {"edm with churn", {.sampler = SAMPLER_EDM, .S_churn = 5, .S_min = .05, .S_max = 50, .S_noise = 1.003}, true, "pef", 0},
    {"euler", {.sampler = SAMPLER_ABLATION, .solver = SOLVER_EULER}, false, "pf", 1},
    {"ddpm, large", {.sampler = SAMPLER_DDPM, .variance = FIXED_LARGE_VARIANCE}, true, "pevfc", 0},
    {"ddpm, small", {.sampler = SAMPLER_DDPM, .variance = FIXED_SMALL_VARIANCE}, true, "peflc", 0},
    {"ddpm, learned", {.sampler = SAMPLER_DDPM, .variance = LEARNED_VARIANCE}, true, "l", 0},
    {"ddim", {.sampler = SAMPLER_DDIM}, false, "pevfl", 1},
    {"ddim with noise", {.sampler = SAMPLER_DDIM, .eta = .7}, true, "pevc", 0},
    {"flow, euler", {.sampler = SAMPLER_FLOW, .solver = SOLVER_EULER}, false, "fp", 1},
    {"flow, heun", {.sampler = SAMPLER_FLOW}, false, "fpev", 2},
    {"dpm++", {.sampler = SAMPLER_DPM}, false, "pevf", 2},
};
enum { PROGRAMS = sizeof programs / sizeof *programs };
static SampleOptions options_of(const Program *p, int steps) {
    SampleOptions o = sample_defaults();
    const SampleOptions *c = &p->change;
    o.sampler = c->sampler, o.solver = c->solver, o.variance = c->variance, o.eta = c->eta, o.num_steps = steps;
    if (c->S_churn > 0) o.S_churn = c->S_churn, o.S_min = c->S_min, o.S_max = c->S_max, o.S_noise = c->S_noise;
    if (o.sampler == SAMPLER_DDPM || o.sampler == SAMPLER_DDIM) o.clip_denoised = CLIP_OFF;
    o.dg_weight_1st_order = 0;
    return o;
}
typedef struct {
    Json *config;
    Weights *weights;
    Predictor *p;
    Sampler *s;
    SampleOptions o;
    GaussConfig c;
} Rig;
static bool rig_new(Rig *r, Device *d, const Program *p, char network, int steps, int batch) {
    Error e = {""};
    char text[128];
    const char *prediction = network == 'p' ? "preconditioned" : network == 'v' ? "v" : network == 'f' ? "flow" : "eps";
    snprintf(text, sizeof text, "{\"kind\": \"gauss\", \"prediction\": \"%s\", \"learned_range\": %s, \"cosine\": %s}", prediction,
             network == 'l' ? "true" : "false", network == 'c' ? "true" : "false");
    *r = (Rig){.config = json_parse(text, strlen(text), &e), .o = options_of(p, steps)};
    if (network == 'c') r->o.noise_schedule = COSINE_NOISE;
    r->weights = weights_synthetic(1, r->config);
    model_gauss.config(&r->c, r->config, &e);
    r->p = predictor_open(d, &model_gauss, r->weights, batch, 1, true, &e);
    SampleNetworks n = {.network = r->p};
    r->s = r->p ? sampler_new(&r->o, &n, &e) : NULL;
    return CHECK(r->s, "%s: %s", p->name, e.text);
}
static void rig_free(Rig *r) {
    sampler_free(r->s);
    predictor_free(r->p);
    weights_free(r->weights), json_free(r->config);
}
static double mean_of(size_t value, int label) {
    int c = (int)(value % GAUSS_CHANNELS);
    return GAUSS_MEAN(c) + (c == label ? GAUSS_SHIFT : 0);
}

/* With recorded noise: every value of every image is what the formulas make of its own. */
static void check_values(Device *d, const Program *p, char network, double tolerance) {
    enum { BATCH = 2, STEPS = 9, COUNT = BATCH * GAUSS_VALUES };
    double draw[STEPS + 1][COUNT], x[COUNT], worst = 0;
    const double *noise[STEPS];
    int label[BATCH] = {1, -1};
    Rig r;
    if (!rig_new(&r, d, p, network, STEPS, BATCH)) return;
    for (int k = 0; k <= STEPS; k++)
        for (int i = 0; i < COUNT; i++) draw[k][i] = 1.5 * sin((i + 1) * (k + 2.3));
    for (int k = 0; k < STEPS; k++) noise[k] = draw[k + 1];
    sampler_begin(r.s, BATCH, &(SampleNoise){.latents = draw[0], .noise = noise}, label);
    while (sampler_step(r.s)) {}
    sampler_state(r.s, x);
    for (int i = 0; i < COUNT; i++) {
        double own[STEPS];
        for (int k = 0; k < STEPS; k++) own[k] = draw[k + 1][i];
        double wanted = way(&(Way){&r.o, &r.c, mean_of((size_t)i, label[i / GAUSS_VALUES]), draw[0][i], own}, STEPS);
        double off = fabs(x[i] - wanted);
        if (!(off <= worst)) worst = off;
    }
    CHECK(worst <= tolerance, "%s on %s, network %c: a value is %g off what the formulas say, at most %g", p->name, d->be->name, network,
          worst, tolerance);
    rig_free(&r);
}
/* Mean and variance of the images of many seeds, against those of the affine recursion. */
static void check_moments(Device *d, const Program *p, char network) {
    enum { BATCH = 1000, SEEDS = 20000, STEPS = 18 };
    Rig r;
    if (!rig_new(&r, d, p, network, STEPS, BATCH)) return;
    double *x = dg_alloc((size_t)BATCH * GAUSS_VALUES * sizeof *x), sum[GAUSS_CHANNELS] = {0}, squares[GAUSS_CHANNELS] = {0};
    uint64_t *seed = dg_alloc(BATCH * sizeof *seed);
    int *label = dg_alloc(BATCH * sizeof *label);
    for (int i = 0; i < BATCH; i++) label[i] = 1;
    for (int first = 0; first < SEEDS; first += BATCH) {
        for (int i = 0; i < BATCH; i++) seed[i] = (uint64_t)(first + i);
        sampler_begin(r.s, BATCH, &(SampleNoise){.seed = seed}, label);
        while (sampler_step(r.s)) {}
        sampler_state(r.s, x);
        for (size_t i = 0; i < (size_t)BATCH * GAUSS_VALUES; i++) {
            double off = x[i] - mean_of(i, 1);
            sum[i % GAUSS_CHANNELS] += off, squares[i % GAUSS_CHANNELS] += off * off;
        }
    }
    for (int c = 0; c < GAUSS_CHANNELS; c++) {
        double unit[STEPS] = {0}, count = (double)SEEDS * GAUSS_VALUES / GAUSS_CHANNELS, mean = sum[c] / count;
        double center = way(&(Way){&r.o, &r.c, mean_of((size_t)c, 1), 0, unit}, STEPS);
        double variance = pow(way(&(Way){&r.o, &r.c, mean_of((size_t)c, 1), 1, unit}, STEPS) - center, 2);
        for (int k = 0; k < STEPS; k++) {
            unit[k] = 1;
            variance += pow(way(&(Way){&r.o, &r.c, mean_of((size_t)c, 1), 0, unit}, STEPS) - center, 2);
            unit[k] = 0;
        }
        double found = squares[c] / count - mean * mean, wanted = center - mean_of((size_t)c, 1);
        CHECK(fabs(mean - wanted) <= 4 * sqrt(variance / count), "%s, network %c: mean %g, not %g", p->name, network, mean, wanted);
        CHECK(fabs(found - variance) <= 4 * variance * sqrt(2 / count), "%s, network %c: variance %g, not %g", p->name, network, found,
              variance);
    }
    free(x), free(seed), free(label);
    rig_free(&r);
}
/* The exact way from one level to another: alpha x0 + sigma eps, whose spread is that of the data and of the noise together. */
static double exact(double mean, double x, Level from, Level to) {
    const double d = GAUSS_DEVIATION;
    return to.alpha * mean + (x - from.alpha * mean) * hypot(to.alpha * d, to.sigma) / hypot(from.alpha * d, from.sigma);
}
/* The largest error of a run of so many steps, before its last one where that only removes the noise that is left. */
static double run_error(Device *d, const Program *p, char network, int steps) {
    Rig r;
    double first[GAUSS_VALUES], x[GAUSS_VALUES], worst = 0;
    int label = 0;
    if (!rig_new(&r, d, p, network, steps, 1)) return NAN;
    bool flows = r.o.sampler == SAMPLER_FLOW, diffuses = r.o.sampler == SAMPLER_DDIM;
    double top = network == 'f' ? 1 : 80 / 81., bar[2] = {gauss_alpha_bar(999, false), gauss_alpha_bar(0, false)};
    Level from = {1, 80}, to = {1, .002};
    if (flows) from = (Level){1 - top, top}, to = (Level){1, 0};
    if (diffuses) from = (Level){sqrt(bar[0]), sqrt(1 - bar[0])}, to = (Level){sqrt(bar[1]), sqrt(1 - bar[1])};
    double size = flows ? top : diffuses ? 1 : 80;
    for (int i = 0; i < GAUSS_VALUES; i++) first[i] = sin(i + 1.);
    sampler_begin(r.s, 1, &(SampleNoise){.latents = first}, &label);
    for (int k = 0; k < steps - !flows; k++) sampler_step(r.s);
    sampler_state(r.s, x);
    for (int i = 0; i < GAUSS_VALUES; i++) worst = fmax(worst, fabs(x[i] - exact(mean_of((size_t)i, 0), size * first[i], from, to)));
    rig_free(&r);
    return worst;
}
static void check_order(Device *d, const Program *p, char network) {
    double coarse = run_error(d, p, network, 64), fine = run_error(d, p, network, 128), order = log2(coarse / fine);
    CHECK(fabs(order - p->order) <= .25, "%s, network %c: order %.2f, not %d (errors %g, %g)", p->name, network, order, p->order, coarse,
          fine);
}

int main(int argc, char **argv) {
    static const char *const all[] = {"ref64", "cpu"};
    Error e;
    for (int k = 0; k < (argc > 1 ? 1 : 2); k++) {
        DeviceSpec spec = device_spec(argc > 1 ? argv[1] : all[k]);
        Device *d = device_open(spec.device, spec.precision, &e);
        if (!d) {
            not_run("%s: %s", argc > 1 ? argv[1] : all[k], e.text);
            continue;
        }
        bool exact64 = !strcmp(d->be->name, "ref64");
        for (int i = 0; i < PROGRAMS; i++)
            for (const char *network = programs[i].networks; *network; network++)
                check_values(d, &programs[i], *network, exact64 ? 1e-6 : 1e-4);
        for (int i = 0; i < PROGRAMS && exact64; i++) {
            if (programs[i].order) check_order(d, &programs[i], programs[i].networks[0]);
            if (programs[i].noisy) check_moments(d, &programs[i], programs[i].networks[0]);
        }
        device_close(d);
    }
    return check_done("test_programs");
}
