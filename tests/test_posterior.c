/* test_posterior.c -- the step of a discrete process (posterior) of a device: against the formula, element by element; against the host,
 * bit for bit; against published samplers, written as they are published; and replayed.
 *   test_posterior [DEVICE...]     default: every device of this build; a device that cannot be opened is NOT RUN
 * Without a learned variance every bit is the formula's. With one there are the exponential's error and the roundings of its
 * argument.                                                                                                              */
#include "state_check.h"

/* ---- the exponential ------------------------------------------------------------------------------------------------------------ */
/* Half a unit for the last sum, a quarter each for what it adds to 1 and for the distance to the power of 2, a tenth for the rest. */
static const double EXP_UNITS = 1.1;
static void test_exp(void) {
    double worst = 0, at = 0;
    for (int i = 0; i < 2000000; i++) {
        double x = i < 1000000 ? value(1, (size_t)i) * 354 : value(2, (size_t)i) * 4;
        long double exact = expl((long double)x);
        int exponent;
        frexpl(exact, &exponent);
        double off = fabs((double)(((long double)posterior_exp(x) - exact) * ldexpl(1, 53 - exponent))); /* units in the last place */
        if (!(off <= worst)) worst = off, at = x;
        if (isnan(worst)) break;
    }
    CHECK(worst <= EXP_UNITS, "exp(%.17g): %g units in the last place off", at, worst);
    CHECK(posterior_exp(0) == 1 && posterior_exp(-0.0) == 1, "exp(0) = %.17g", posterior_exp(0));
    CHECK(isnan(posterior_exp((double)NAN)), "exp(NaN) = %g", posterior_exp((double)NAN));
    CHECK(posterior_exp((double)INFINITY) == HUGE_VAL && posterior_exp(709) == HUGE_VAL, "exp(709) = %g", posterior_exp(709));
    CHECK(posterior_exp(-(double)INFINITY) == 0 && posterior_exp(-709) == 0, "exp(-709) = %g", posterior_exp(-709));
    CHECK(posterior_exp(708) < HUGE_VAL && posterior_exp(-708) > 0, "exp of 708 and -708: %g, %g", posterior_exp(708), posterior_exp(-708));
}

/* ---- the formula ---------------------------------------------------------------------------------------------------------------- */
enum { IMAGES = 5, MOST = POSTERIOR_TERMS + POSTERIOR_GRADIENTS };
typedef struct {
    const char *name;
    int channels, pixels;
    Layout x0[POSTERIOR_TERMS];
    int terms;
    Layout gradient[POSTERIOR_GRADIENTS];
    int gradients;
    Layout variance;
    bool learned, noise, clip;
} Case;
static const Case cases[] = {
    {"eps alone", 3, 100, {{DG_F32}}, 1},
    {"eps alone, clamped", 3, 100, {{DG_F32}}, 1, .clip = true},
    {"one element", 1, 1, {{DG_F64}}, 1, .noise = true, .clip = true},
    {"fixed variance", 3, 321, {{DG_F64}}, 1, .noise = true, .clip = true},
    {"fixed variance, gradient", 3, 100, {{DG_F32}}, 1, {{DG_F32}}, 1, .noise = true, .clip = true},
    {"gradient, no noise", 3, 100, {{DG_F32}}, 1, {{DG_F64}}, 1, .clip = true},
    {"eps and v of one network",
     3,
     400,
     {{DG_F32, 0, 0, 6}},
     1,
     .variance = {DG_F32, 0, 3, 6},
     .learned = true,
     .noise = true,
     .clip = true},
    {"ADM guided", 3, 170, {{DG_F32, 0, 0, 6}}, 1, {{DG_F32}}, 1, {DG_F32, 0, 3, 6}, true, true, true},
    {"v for the gradient alone", 3, 170, {{DG_F32, 0, 0, 6}}, 1, {{DG_F32}, {DG_F64}}, 2, {DG_F32, 0, 3, 6}, true, false, false},
    {"v for nothing", 3, 50, {{DG_F32, 0, 0, 6}}, 1, .variance = {DG_F32, 0, 3, 6}, .learned = true, .clip = true},
    {"DiT with guided eps of 3 channels",
     4,
     256,
     {{DG_F32, 0, 0, 8, 0, 3}, {DG_F32, 5 * 256 * 8, 0, 8, 0, 3}},
     2,
     {{DG_F32}, {DG_F32}},
     2,
     {DG_F32, 0, 4, 8},
     true,
     true,
     false},
    {"f64 network", 4, 67, {{DG_F64, 0, 0, 8}}, 1, {{DG_F64}}, 1, {DG_F64, 0, 4, 8}, true, true, true},
    {"16 bits", 3, 87, {{DG_F16, 0, 0, 6}, {DG_BF16, 1, 1, 5, 2}}, 2, {{DG_BF16}, {DG_F16, 3}}, 2, {DG_F16, 0, 3, 6}, true, true, true},
    {"bf16 variance, apart", 5, 61, {{DG_F32, 2, 1, 7, 3}}, 1, {{DG_F32, 0, 2, 9}}, 1, {DG_BF16, 4, 6, 11, 5}, true, true, true},
    {"bytes", 3, 40, {{DG_U8}, {DG_U8, 1, 2, 7}}, 2, {{DG_U8}}, 1, .noise = true},
    {"one of 13 channels", 1, 301, {{DG_F32, 0, 12, 13}}, 1, {{DG_F32, 0, 0, 2}}, 1, {DG_F32, 0, 1, 3}, true, true, true},
    {"as many as there can be",
     7,
     123,
     {{DG_F32, 0, 0, 8, 0, 3}, {DG_F64}, {DG_F32, 7, 0, 0, 5}, {DG_F64, 0, 1, 9, 0, 1}, {DG_F32, 0, 2, 14}, {DG_F64, 0, 0, 0, 0, 7}},
     POSTERIOR_TERMS,
     {{DG_F32, 0, 1, 9, 0, 4}, {DG_F64, 3}},
     2,
     {DG_F64, 1, 6, 14},
     true,
     true,
     true},
};
/* The coefficients of a sample: each of another, and what is 0 in each. Sample 0 has all. */
static PosteriorCoef coef_of(int s) {
    PosteriorCoef c = {.skip = 1.25, .from_x0 = 0.4, .from_x = 0.7, .gradient = 0.3, .gradient_variance = -1.5, .noise = 0.05};
    double *of_step[] = {&c.skip, &c.from_x0, &c.from_x, &c.gradient, &c.gradient_variance, &c.noise};
    for (int k = 0; k < 6; k++) *of_step[k] += 0.11 * s * (k + 1);
    c.noise_deviation = 1 - 0.1 * s, c.log_low = -4 - s, c.log_half = 1.5 + s / 7.0;
    if (s == 1) c.skip = c.gradient = c.noise = 0;                        /* what varies alone; x in x' only */
    if (s == 2) c.gradient_variance = c.noise_deviation = c.from_x = 0;   /* v is not read, and x in x0 only: its NaN, through the clamp */
    if (s == 3) c.gradient = c.gradient_variance = c.skip = c.from_x = 0; /* nor the gradient, nor x */
    if (s == 4) c.noise = c.noise_deviation = c.from_x0 = 0;              /* nor the noise, nor eps */
    return c;
}
static bool reads_v(const Case *c, int s) { return c->learned && s != 2 && ((c->gradients && s != 3) || (c->noise && s != 4)); }
typedef struct {
    Samples samples;
    size_t per_sample, count;
    double coef[MOST][2][IMAGES], reads[IMAGES];
    Placed x0[POSTERIOR_TERMS], gradient[POSTERIOR_GRADIENTS], variance;
    PosteriorCoef step[IMAGES];
    double *x, *noise;
    void *device_step, *device_noise;
    Posterior device, host;
} Setup;
static void setup_new(Setup *u, Device *d, const Case *c) {
    *u = (Setup){.samples = {IMAGES, c->pixels, c->channels}, .per_sample = (size_t)c->pixels * (size_t)c->channels};
    u->count = IMAGES * u->per_sample;
    for (int s = 0; s < IMAGES; s++) u->step[s] = coef_of(s), u->reads[s] = reads_v(c, s);
    u->device.terms = c->terms, u->device.gradients = c->gradients, u->device.clip = c->clip;
    u->host = u->device;
    for (int k = 0; k < c->terms + c->gradients; k++) {
        bool of_x0 = k < c->terms;
        int g = k - c->terms;
        for (int s = 0; s < IMAGES; s++)
            for (int second = 0; second < 2; second++) /* those of a sample's dropped summand are 0: NaN stands there */
                u->coef[k][second][s] =
                    (s + k + second) % 4 == 3 || s == (of_x0 ? 4 : 3) ? 0 : value(60 + (uint64_t)k + (uint64_t)second * 9, (size_t)s);
        Placed p = placed_new(d, of_x0 ? &c->x0[k] : &c->gradient[g], &u->samples, (uint64_t)k + 7, u->coef[k][0], u->coef[k][1]);
        if (of_x0) u->x0[k] = p, u->device.x0[k] = p.term, u->host.x0[k] = p.host;
        else u->gradient[g] = p, u->device.gradient[g] = p.term, u->host.gradient[g] = p.host;
    }
    if (c->learned) {
        u->variance = placed_new(d, &c->variance, &u->samples, 99, u->reads, NULL);
        u->device.variance = u->variance.term, u->host.variance = u->variance.host;
        u->device.variance.coef = u->host.variance.coef = NULL;
    }
    u->x = dg_alloc(u->count * sizeof *u->x), u->noise = dg_alloc(u->count * sizeof *u->noise);
    for (size_t i = 0; i < u->count; i++) {
        u->x[i] = i % 50 == 17 ? (double)NAN : i % 50 == 18 ? -0.0 : value(3, i);
        u->noise[i] = i / u->per_sample == 4 ? (double)NAN : value(4, i);
    }
    u->host.coef = u->step, u->host.noise = c->noise ? u->noise : NULL;
    u->device.coef = u->device_step = to_device(d, u->step, sizeof u->step);
    u->device_noise = to_device(d, u->noise, u->count * sizeof *u->noise);
    u->device.noise = c->noise ? u->device_noise : NULL;
}
static void setup_free(Setup *u, Device *d) {
    for (int k = 0; k < u->host.terms; k++) placed_free(d, &u->x0[k]);
    for (int k = 0; k < u->host.gradients; k++) placed_free(d, &u->gradient[k]);
    if (u->variance.stored) placed_free(d, &u->variance);
    d->be->release(d, u->device_step), d->be->release(d, u->device_noise);
    free(u->x), free(u->noise);
}
/* x' of one element, and how far off it may be. */
static double step_of(const Setup *u, const Case *c, int s, int pixel, int channel, double *bound) {
    const PosteriorCoef *k = &u->step[s];
    size_t i = (size_t)s * u->per_sample + (size_t)(pixel * c->channels + channel);
    double x = u->x[i], sum = 0, unit = 0x1p-53;
    *bound = 0;
    if (k->from_x0 != 0) {
        double x0 = placed_sum(0 + (k->skip == 0 ? 0 : k->skip * x), u->x0, c->terms, &u->samples, s, pixel, channel);
        if (c->clip && x0 > 1) x0 = 1;
        if (c->clip && x0 < -1) x0 = -1;
        sum += k->from_x0 * x0;
    }
    if (k->from_x != 0) sum += k->from_x * x;
    double g = s == 3 || !c->gradients ? 0 : placed_sum(0, u->gradient, c->gradients, &u->samples, s, pixel, channel);
    double noise = s == 4 || !c->noise ? 0 : u->noise[i];
    double g_coef = k->gradient, noise_coef = k->noise;
    if (reads_v(c, s)) {
        long double v = placed_value(&u->variance, &u->samples, s, pixel, channel), half = k->log_half;
        long double m = expl(k->log_low + half * (v + 1));
        /* the argument of the root has v + 1 rounded, and itself; the exponential its error; m is a square, and rounded */
        double argument = (double)(fabsl(half * (v + 1)) / 2 + fabsl(k->log_low + half * (v + 1)) / 2) * unit,
               root = argument + 2 * EXP_UNITS * unit;
        double varied_g = (double)(k->gradient_variance * m), varied_noise = (double)(k->noise_deviation * sqrtl(m));
        g_coef += varied_g, noise_coef += varied_noise;
        double off = fabs(varied_g * g) * (2 * root + 2 * unit) + fabs(varied_noise * noise) * (root + unit);
        double size = fabs(sum) + fabs(g_coef * g) + fabs(noise_coef * noise);
        *bound = 1.01 * (off + 8 * unit * size); /* the roundings of the sums here and there, of the coefficients, and of the products */
    }
    if (s != 3 && c->gradients) sum += g_coef * g;
    if (s != 4 && c->noise) sum += noise_coef * noise;
    return sum;
}
static void check_case(Device *d, const Case *c) {
    Setup u;
    setup_new(&u, d, c);
    double *dx = to_device(d, u.x, u.count * sizeof *u.x), worst = 0;
    d->be->posterior(d, dx, IMAGES, u.per_sample, &u.device);
    double *found = from_device(d, dx, u.count * sizeof *found), *host = dg_alloc(u.count * sizeof *host);
    memcpy(host, u.x, u.count * sizeof *host);
    host_posterior(NULL, host, IMAGES, u.per_sample, &u.host);
    size_t wrong = 0, differ = 0, numbers = 0;
    for (size_t i = 0; i < u.count; i++) {
        double bound;
        int s = (int)(i / u.per_sample), e = (int)(i % u.per_sample);
        double want = step_of(&u, c, s, e / c->channels, e % c->channels, &bound), off = fabs(found[i] - want);
        wrong += bound > 0 && !isnan(want) ? !(off <= bound) : !same_value(found[i], want);
        differ += !same_value(found[i], host[i]);
        numbers += !isnan(want);
        if (bound > 0 && off / bound > worst) worst = off / bound;
    }
    CHECK(wrong == 0 && numbers * 10 >= u.count * 9, "posterior on %s, %s: %zu of %zu values wrong, %zu are numbers", d->be->name, c->name,
          wrong, u.count, numbers);
    CHECK(differ == 0, "posterior on %s, %s: %zu of %zu values are not the host's", d->be->name, c->name, differ, u.count);
    CHECK(worst <= 1, "posterior on %s, %s: %g of the bound", d->be->name, c->name, worst);
    free(found), free(host);
    setup_free(&u, d);
}

/* ---- published samplers --------------------------------------------------------------------------------------------------------- */
typedef struct { /* of one element and one step, by the names of guided-diffusion */
    double a, ap, beta, x, eps, v, g, noise;
    int i;
} Element;
typedef struct {
    const char *name;
    double (*published)(const Element *e, bool clip);
    void (*coefs)(const Element *e, PosteriorCoef *c, double *of_eps);
    bool learned, guided;
} Process;
static double clamped(double x, bool clip) { return !clip ? x : x < -1 ? -1 : x > 1 ? 1 : x; }
static double r1(const Element *e) { return sqrt(1 / e->a); }
static double r2(const Element *e) { return sqrt(1 / e->a - 1); }
static double posterior_variance(const Element *e) { return e->beta * (1 - e->ap) / (1 - e->a); }
/* its logarithm: at step 0, where it is 0, that of step 1 */
static double log_variance(const Element *e) { return log(e->i ? posterior_variance(e) : 5.5e-5); }
static double mean_of(const Element *e, double x0) {
    return e->beta * sqrt(e->ap) / (1 - e->a) * x0 + (1 - e->ap) * sqrt(1 - e->beta) / (1 - e->a) * e->x;
}
static double learned_range(const Element *e, bool clip) {
    double x0 = clamped(r1(e) * e->x - r2(e) * e->eps, clip), fraction = (e->v + 1) / 2;
    double lv = fraction * log(e->beta) + (1 - fraction) * log_variance(e);
    return mean_of(e, x0) + exp(lv) * e->g + (e->i != 0 ? 1 : 0) * exp(0.5 * lv) * e->noise;
}
static void mean_coefs(const Element *e, PosteriorCoef *c, double *of_eps) {
    *c = (PosteriorCoef){.skip = r1(e), .from_x0 = e->beta * sqrt(e->ap) / (1 - e->a)};
    c->from_x = (1 - e->ap) * sqrt(1 - e->beta) / (1 - e->a), *of_eps = -r2(e);
}
static void learned_coefs(const Element *e, PosteriorCoef *c, double *of_eps) {
    mean_coefs(e, c, of_eps);
    c->gradient_variance = 1, c->noise_deviation = e->i != 0, c->log_low = log_variance(e);
    c->log_half = (log(e->beta) - log_variance(e)) / 2;
}
static double fixed_variance(const Element *e, bool clip) {
    double x0 = clamped(r1(e) * e->x - r2(e) * e->eps, clip), variance = posterior_variance(e);
    return mean_of(e, x0) + variance * e->g + sqrt(variance) * e->noise;
}
static void fixed_coefs(const Element *e, PosteriorCoef *c, double *of_eps) {
    mean_coefs(e, c, of_eps);
    c->gradient = posterior_variance(e), c->noise = sqrt(posterior_variance(e));
}
static const double ETA = 0.6;
static double eta_of(const Element *e) { return ETA * sqrt((1 - e->ap) / (1 - e->a)) * sqrt(1 - e->a / e->ap); }
static double ddim(const Element *e, bool clip) {
    double x0 = clamped(r1(e) * e->x - r2(e) * e->eps, clip), eps = (r1(e) * e->x - x0) / r2(e), sg = eta_of(e);
    return sqrt(e->ap) * x0 + sqrt(1 - e->ap - sg * sg) * eps + (e->i != 0 ? sg : 0) * e->noise;
}
static double ddim_guided(const Element *e, bool clip) { /* guided-diffusion: condition_score, then ddim_sample */
    double x0 = clamped(r1(e) * e->x - r2(e) * e->eps, clip), eps = (r1(e) * e->x - x0) / r2(e), sg = eta_of(e);
    eps -= sqrt(1 - e->a) * e->g;
    x0 = r1(e) * e->x - r2(e) * eps; /* not clamped again */
    eps = (r1(e) * e->x - x0) / r2(e);
    return sqrt(e->ap) * x0 + sqrt(1 - e->ap - sg * sg) * eps + (e->i != 0 ? sg : 0) * e->noise;
}
static void ddim_coefs(const Element *e, PosteriorCoef *c, double *of_eps) {
    double sg = eta_of(e), k = sqrt(1 - e->ap - sg * sg) / r2(e);
    *c = (PosteriorCoef){.skip = r1(e), .from_x0 = sqrt(e->ap) - k, .from_x = k * r1(e), .noise = e->i != 0 ? sg : 0};
    c->gradient = c->from_x0 * r2(e) * sqrt(1 - e->a), *of_eps = -r2(e);
}
static const Process processes[] = {
    {"DDPM, learned range", learned_range, learned_coefs, true, false},
    {"DDPM, learned range, guided", learned_range, learned_coefs, true, true},
    {"DDPM, fixed variance", fixed_variance, fixed_coefs, false, true},
    {"DDIM", ddim, ddim_coefs, false, false},
    {"DDIM, guided", ddim_guided, ddim_coefs, false, true},
};
/* A sample a step of the linear schedule of 1000: the first, the last, and some between. */
static void check_process(Device *d, const Process *p, bool clip) {
    enum { STEPS = 6, SIZE = 200 };
    static const int steps[STEPS] = {0, 1, 20, 400, 750, 999};
    double x[STEPS][SIZE], eps[STEPS][SIZE], v[STEPS][SIZE], g[STEPS][SIZE], noise[STEPS][SIZE], of_eps[STEPS], ones[STEPS], a = 1,
                                                                                                                             worst = 0;
    PosteriorCoef coef[STEPS];
    Element element[STEPS];
    for (int i = 0, k = 0; k < STEPS; i++) {
        double beta = 1e-4 + (0.02 - 1e-4) * i / 999, ap = a;
        a *= 1 - beta;
        if (i != steps[k]) continue;
        element[k] = (Element){.a = a, .ap = ap, .beta = beta, .i = i}, ones[k] = 1;
        p->coefs(&element[k], &coef[k], &of_eps[k]);
        for (int j = 0; j < SIZE; j++) {
            size_t at = (size_t)(k * SIZE + j);
            x[k][j] = value(21, at), eps[k][j] = value(22, at), v[k][j] = value(23, at), g[k][j] = value(24, at),
            noise[k][j] = value(25, at);
        }
        k++;
    }
    void *dx = to_device(d, x, sizeof x), *deps = to_device(d, eps, sizeof eps), *dv = to_device(d, v, sizeof v),
         *dg = to_device(d, g, sizeof g);
    void *dnoise = to_device(d, noise, sizeof noise), *dof_eps = to_device(d, of_eps, sizeof of_eps),
         *dones = to_device(d, ones, sizeof ones);
    void *dcoef = to_device(d, coef, sizeof coef);
    Posterior step = {.x0 = {{.data = deps, .type = DG_F64, .coef = dof_eps}}, .terms = 1, .noise = dnoise, .coef = dcoef, .clip = clip};
    if (p->learned) step.variance = (Term){.data = dv, .type = DG_F64};
    if (p->guided) step.gradient[step.gradients++] = (Term){.data = dg, .type = DG_F64, .coef = dones};
    d->be->posterior(d, dx, STEPS, SIZE, &step);
    double(*found)[SIZE] = from_device(d, dx, sizeof x);
    for (int k = 0; k < STEPS; k++)
        for (int j = 0; j < SIZE; j++) {
            Element e = element[k];
            e.x = x[k][j], e.eps = eps[k][j], e.v = v[k][j], e.g = p->guided ? g[k][j] : 0, e.noise = noise[k][j];
            /* ten roundings of what the step is summed from, a hundred of an exponent, on either side */
            double deviation = exp(coef[k].log_low / 2 + coef[k].log_half * (e.v + 1) / 2),
                   clean = fabs(r1(&e) * e.x) + fabs(r2(&e) * e.eps);
            double size = (fabs(sqrt(e.ap)) + fabs(coef[k].from_x0)) * clean + fabs(coef[k].from_x * e.x) + fabs(coef[k].noise * e.noise);
            size += 10 * fabs((coef[k].gradient_variance * deviation * deviation + 2 * r2(&e)) * e.g) + 10 * fabs(deviation * e.noise);
            double off = fabs(found[k][j] - p->published(&e, clip)) / (20 * 0x1p-53 * size);
            if (!(off <= worst)) worst = off;
        }
    CHECK(worst <= 1, "%s on %s, %s: %g of the bound off the published step", p->name, d->be->name, clip ? "clamped" : "not clamped",
          worst);
    void *all[] = {deps, dv, dg, dnoise, dof_eps, dones, dcoef};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) d->be->release(d, all[i]);
    free(found);
}

/* ---- replayed with other coefficients ------------------------------------------------------------------------------------------- */
typedef struct {
    Device *d;
    const Setup *u;
    double *x;
    uint8_t *bytes;
    int *bad;
} Replayed;
static void replayed_work(void *context, WorkShape shape) {
    Replayed *r = context;
    r->d->be->posterior(r->d, r->x, shape.rows, r->u->per_sample, &r->u->device);
    r->d->be->to_u8(r->d, r->bytes, r->x, DG_F64, shape.rows, r->u->per_sample, 127.5, 128, r->bad);
}
static void test_replay(Device *d) {
    Setup u;
    const Case *c = &cases[7];
    setup_new(&u, d, c);
    double *host = dg_alloc(u.count * sizeof *host), *found = dg_alloc(u.count * sizeof *found);
    uint8_t *bytes = dg_alloc(u.count), *want = dg_alloc(u.count);
    int bad[IMAGES];
    Replayed r = {d, &u, d->be->alloc(d, u.count * sizeof(double)), d->be->alloc(d, u.count), d->be->alloc(d, sizeof bad)};
    void *kept = NULL;
    for (int round = 0; round < 3; round++) {
        for (int s = 0; s < IMAGES; s++) u.step[s].from_x += 0.125 * round, u.step[s].log_low -= 0.25 * round;
        d->be->upload(d, u.device_step, u.step, sizeof u.step), d->be->upload(d, r.x, u.x, u.count * sizeof *u.x);
        d->be->replay(d, &kept, (WorkShape){IMAGES, 1}, replayed_work, &r);
        d->be->download(d, found, r.x, u.count * sizeof *found), d->be->download(d, bytes, r.bytes, u.count);
        memcpy(host, u.x, u.count * sizeof *host);
        host_posterior(NULL, host, IMAGES, u.per_sample, &u.host);
        host_to_u8(NULL, want, host, DG_F64, IMAGES, u.per_sample, 127.5, 128, bad);
        size_t differ = 0;
        for (size_t i = 0; i < u.count; i++) differ += !same_value(found[i], host[i]);
        CHECK(differ == 0 && !memcmp(bytes, want, u.count), "posterior replayed on %s, round %d: %zu of %zu values are not the host's",
              d->be->name, round, differ, u.count);
    }
    d->be->replay_free(d, kept);
    d->be->release(d, r.x), d->be->release(d, r.bytes), d->be->release(d, r.bad);
    free(host), free(found), free(bytes), free(want);
    setup_free(&u, d);
}

static void test_device(Device *d) {
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) check_case(d, &cases[i]);
    for (size_t i = 0; i < sizeof processes / sizeof *processes; i++)
        for (int clip = 0; clip < 2; clip++) check_process(d, &processes[i], clip);
    test_replay(d);
}
int main(int argc, char **argv) {
    test_exp();
    test_devices(argc, argv, test_device);
    return check_done("test_posterior");
}
