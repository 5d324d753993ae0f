/* test_schedule.c -- noise levels against the formulas of EDM's Table 1, the derivatives that the samplers use, preconditioning,
 * and sampler options that are refused. Whole trajectories are pinned by the golden cases (test_golden.c).               */
#include "sample/sampler.h"
#include "models/edm.h"
#include "sample/schedule.h"
#include "check.h"
#include <math.h>

static const NetworkConfig any_config = {.precond = PRECOND_EDM, .sigma_data = .5, .sigma_max = INFINITY};
static const Score any_network = {.facts = {.edm = &any_config}, .hi = INFINITY};
static bool close_to(double found, double wanted, double tolerance) { return fabs(found - wanted) <= tolerance * fabs(wanted); }

/* Six steps of each discretization, computed in double precision from the published formulas by another program. */
static void test_levels(void) {
    enum { STEPS = 6 };
    static const struct {
        const char *name;
        Discretization disc;
        double lo, hi, sigma[STEPS];
    } known[] = {
        {"edm",
         DISC_EDM,
         NAN,
         NAN,
         {80, 24.408341786580095, 5.8389476310118864, 0.96541692633189546, 0.085087202689390212, 0.0020000000000000031}},
        {"vp",
         DISC_VP,
         NAN,
         NAN,
         {152.16697028394634, 25.148852404503927, 6.1116625060472929, 2.0344293401724713, 0.72380676668131072, 0.010485992786706403}},
        {"vp, refitted",
         DISC_VP,
         .01,
         50,
         {49.999999999999993, 12.29451572795875, 4.0201895316176843, 1.6089816647413815, 0.62560024450206708, 0.0099999999999994486}},
        {"ve", DISC_VE, NAN, NAN, {100, 18.205642030260801, 3.3144540173399859, 0.60341763365451639, 0.10985605433061173, 0.02}},
        {"iddpm",
         DISC_IDDPM,
         NAN,
         NAN,
         {80.203701845474171, 3.0071030770509091, 1.3726164374678076, 0.7306738095290346, 0.33399024976884167, 0.0064254127711411832}},
    };
    for (size_t k = 0; k < sizeof known / sizeof *known; k++) {
        SampleOptions o = sample_defaults();
        o.num_steps = STEPS, o.sampler = SAMPLER_ABLATION, o.discretization = known[k].disc, o.sigma_min = known[k].lo, o.sigma_max = known[k].hi;
        TimeMap m;
        Error e = {""};
        double t[STEPS + 1], worst = 0;
        bool ok = schedule_steps(&o, &any_network, &m, t, &e);
        for (int i = 0; i < STEPS && ok; i++) worst = fmax(worst, fabs(t[i] / known[k].sigma[i] - 1));
        CHECK(ok && worst <= 1e-10, "%s: levels differ by %.3g: %s", known[k].name, worst, e.text);
        CHECK(ok && t[STEPS] == 0, "%s: the last time is %g", known[k].name, t[STEPS]);
    }
    /* the same levels on VP's clock */
    static const double clock[STEPS] = {
        1, 0.85401625596625008, 0.63725684183305198, 0.27432019862353624, 0.028954989373236026, 0.0010000000000000924};
    SampleOptions o = sample_defaults();
    o.num_steps = STEPS, o.sampler = SAMPLER_ABLATION, o.schedule = SCHEDULE_VP;
    TimeMap m;
    Error e = {""};
    double t[STEPS + 1], worst = 0;
    bool ok = schedule_steps(&o, &any_network, &m, t, &e);
    for (int i = 0; i < STEPS && ok; i++) worst = fmax(worst, fabs(t[i] / clock[i] - 1));
    CHECK(ok && worst <= 1e-9, "vp's times differ by %.3g: %s", worst, e.text);
}
/* sigma(t) and s(t): inverse and slopes, against central differences. */
static void test_time(void) {
    for (int schedule = SCHEDULE_LINEAR; schedule <= SCHEDULE_VE; schedule++)
        for (int scaling = SCALING_NONE; scaling <= SCALING_VP; scaling++) {
            TimeMap m = {.schedule = (Schedule)schedule, .scaling = (Scaling)scaling, .beta_d = 19.9, .beta_min = .1};
            for (double sigma = .01; sigma < 100; sigma *= 3) {
                double t = time_of_sigma(&m, sigma), h = t * 1e-6, slope = time_sigma_slope(&m, t), scale_slope = time_scale_slope(&m, t);
                double by_difference = (time_sigma(&m, t + h) - time_sigma(&m, t - h)) / (2 * h);
                double scale_difference = (time_scale(&m, t + h) - time_scale(&m, t - h)) / (2 * h);
                CHECK(close_to(time_sigma(&m, t), sigma, 1e-10), "schedule %d: sigma %g comes back as %g", schedule, sigma,
                      time_sigma(&m, t));
                CHECK(close_to(slope, by_difference, 1e-6), "schedule %d: slope %g at sigma %g, by difference %g", schedule, slope, sigma,
                      by_difference);
                CHECK(fabs(scale_slope - scale_difference) <= 1e-6 * fabs(scale_slope) + 1e-9 / t,
                      "schedule %d, scaling %d: slope %g at sigma %g, by difference %g", schedule, scaling, scale_slope, sigma,
                      scale_difference);
                CHECK(close_to(time_scale(&m, t), scaling == SCALING_VP ? 1 / sqrt(1 + sigma * sigma) : 1, 1e-9),
                      "scaling %d at sigma %g: %g", scaling, sigma, time_scale(&m, t));
            }
        }
}
static void test_ranges(void) {
    SampleOptions o = sample_defaults();
    TimeMap m;
    double t[41];
    Error e = {""};
    o.num_steps = 1;
    CHECK(schedule_steps(&o, &any_network, &m, t, &e) && t[0] == 80 && t[1] == 0, "one step goes from %g to %g", t[0], t[1]);
    Score narrow = any_network;
    narrow.lo = .5, narrow.hi = 10;
    o.num_steps = 40;
    CHECK(schedule_steps(&o, &narrow, &m, t, &e) && close_to(t[0], 10, 1e-12) && close_to(t[39], .5, 1e-12),
          "the network's own range is not kept: %g to %g", t[0], t[39]);
    o.sigma_min = 20, o.sigma_max = 30;
    CHECK(!schedule_steps(&o, &narrow, &m, t, &e) && strstr(e.text, "sigma_m"), "a range above the network's: %s", e.text);
    o = sample_defaults(), o.num_steps = 5, o.sampler = SAMPLER_ABLATION, o.discretization = DISC_IDDPM, o.sigma_min = 79.9, o.sigma_max = 80;
    CHECK(!schedule_steps(&o, &any_network, &m, t, &e) && strstr(e.text, "iDDPM"), "no level of iDDPM: %s", e.text);
    o.sigma_min = .002, o.sigma_max = 3e4; /* the highest level is where C_1 clips */
    bool ok = schedule_steps(&o, &any_network, &m, t, &e);
    CHECK(ok && close_to(t[0], 20291.169610021469, 1e-9), "iDDPM's highest level is %.12g", t[0]);
}
/* Table 1: c_skip^2 sigma^2 + ... make input and target of unit variance: c_in^2 (sigma^2 + sigma_data^2) = 1, and
 * c_out^2 = (1 - c_skip)^2 sigma_data^2 + c_skip^2 sigma^2.                                                              */
static void test_preconditioning(void) {
    for (double sigma = .002; sigma < 100; sigma *= 2.5) {
        PrecondCoef c = precond_coef(&any_config, sigma);
        double skip = (double)c.c_skip, out = (double)c.c_out, in = (double)c.c_in, s2 = sigma * sigma, d2 = .25;
        CHECK(close_to(in * in * (s2 + d2), 1, 1e-6), "c_in %g at sigma %g", in, sigma);
        CHECK(close_to(out * out, pow(1 - skip, 2) * d2 + skip * skip * s2, 1e-5), "c_out %g, c_skip %g at sigma %g", out, skip, sigma);
        CHECK(close_to((double)c.c_noise, log(sigma) / 4, 1e-5), "c_noise %g at sigma %g", (double)c.c_noise, sigma);
    }
}
static void test_options(void) {
    Error e = {""};
    SampleOptions good = sample_defaults();
    CHECK(sample_check(&good, &e), "the defaults are refused: %s", e.text);
    static const struct {
        const char *word;
        SampleOptions change; /* fields that are not 0 replace the default */
    } bad[] = {
        {"steps", {.num_steps = -1}},
        {"steps", {.num_steps = 200000}},
        {"rho", {.rho = -7}},
        {"rho", {.rho = INFINITY}},
        {"S_churn", {.S_churn = -1}},
        {"S_churn", {.S_churn = NAN}},
        {"S_noise", {.S_noise = -1}},
        {"S_min", {.S_min = -1}},
        {"S_max", {.S_min = 2, .S_max = 1}},
        {"S_max", {.S_max = NAN}},
        {"sigma_min", {.sigma_min = -1}},
        {"sigma_max", {.sigma_max = -80}},
        {"sigma_min", {.sigma_min = 3, .sigma_max = 2}},
        {"sigma_min", {.sigma_min = 2, .sigma_max = 2}},
        {"weight", {.dg_weight_1st_order = NAN}},
        {"weight", {.dg_weight_2nd_order = INFINITY}},
        {"time_min", {.time_min = -1}},
        {"time_max", {.time_min = .5, .time_max = .2}},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        SampleOptions o = good, c = bad[i].change;
        if (c.num_steps) o.num_steps = c.num_steps;
        double *to[] = {&o.rho,
                        &o.S_churn,
                        &o.S_noise,
                        &o.S_min,
                        &o.S_max,
                        &o.sigma_min,
                        &o.sigma_max,
                        &o.dg_weight_1st_order,
                        &o.dg_weight_2nd_order,
                        &o.time_min,
                        &o.time_max};
        double from[] = {
            c.rho,      c.S_churn, c.S_noise, c.S_min, c.S_max, c.sigma_min, c.sigma_max, c.dg_weight_1st_order, c.dg_weight_2nd_order,
            c.time_min, c.time_max};
        for (size_t k = 0; k < sizeof from / sizeof *from; k++)
            if (from[k] != 0) *to[k] = from[k];
        e.text[0] = 0;
        bool accepted = sample_check(&o, &e);
        CHECK(!accepted && strstr(e.text, bad[i].word), "case %zu (%s): %s", i, bad[i].word, accepted ? "accepted" : e.text);
    }
    SampleOptions zero = good;
    zero.sigma_min = 0;
    CHECK(!sample_check(&zero, &e), "sigma_min 0 was accepted");
}
int main(void) {
    test_levels();
    test_time();
    test_ranges();
    test_preconditioning();
    test_options();
    return check_done("test_schedule");
}
