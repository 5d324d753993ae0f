/* test_diffusion.c -- the discrete diffusion processes: which timesteps are taken, against closed forms, the official numbers, a
 * literal second version and the golden cases; the tables of each step and the coefficients of DDPM and DDIM, against printed values
 * and the equations as they are written; and texts that are refused.                                                               */
#include "base/rng.h"
#include "files/safetensors.h"
#include "sample/diffusion.h"
#include "check.h"
#include <float.h>
#include <glob.h>
#include <math.h>
#include <stdlib.h>

static bool close_to(double found, double wanted, double tolerance) { return fabs(found - wanted) <= tolerance * fabs(wanted); }
/* Not NULL, or the test ends here. */
static Diffusion *made(NoiseSchedule schedule, int n, const char *respacing) {
    Error e = {""};
    Diffusion *d = diffusion_new(schedule, n, respacing, &e);
    if (!CHECK(d, "\"%s\" of %d is refused: %s", respacing, n, e.text)) exit(check_done("test_diffusion"));
    int count = diffusion_count(schedule, n, respacing, &e);
    CHECK(count == d->steps && d->diffusion_steps == n && d->schedule == schedule, "\"%s\" of %d: counted %d, has %d", respacing, n, count,
          d->steps);
    return d;
}

/* ---- printed values: every digit of them */
static bool digits_equal(const char *printed, double value) {
    size_t mantissa = strcspn(printed, "e"), point = strcspn(printed, ".");
    double exponent = printed[mantissa] ? atof(printed + mantissa + 1) : 0,
           decimals = mantissa > point ? (double)(mantissa - point - 1) : 0;
    return fabs(value - atof(printed)) <= .500001 * pow(10, exponent - decimals);
}
static void test_table(void) {
    static const struct {
        int i, t;
        const char *beta, *alpha_bar, *low, *high, *c1, *c2, *r1, *r2;
    } row[] = {
        {0, 0, "1.000000000e-04", "9.999000000e-01", "-9.364628160", "-9.210340372", "1.0000000000", "0.0000000000", "1.000050004",
         "1.000050004e-02"},
        {1, 4, "5.990655645e-04", "9.993009943e-01", "-9.364628160", "-7.420139509", "8.569824917e-01", "1.430175008e-01", "1.000349686",
         "2.644796039e-02"},
        {2, 8, "9.176029928e-04", "9.983840328e-01", "-7.831775861", "-6.993745731", "5.676366504e-01", "4.323632693e-01", "1.000808964",
         "4.023161466e-02"},
        {25, 100, "8.222970655e-03", "8.951415909e-01", "-4.874232200", "-4.800823742", "7.450138071e-02", "9.253928389e-01", "1.056949243",
         "3.422596990e-01"},
        {26, 104, "8.539683801e-03", "8.874973648e-01", "-4.833396988", "-4.763031297", "7.181662026e-02", "9.280646633e-01", "1.061491361",
         "3.560391960e-01"},
        {49, 197, "1.588190430e-02", "6.644148017e-01", "-4.175048048", "-4.142574912", "3.888622802e-02", "9.603304621e-01", "1.226818596",
         "7.106925274e-01"},
        {50, 201, "1.619678125e-02", "6.536534205e-01", "-4.154506825", "-4.122942745", "3.811864578e-02", "9.610500679e-01", "1.236876194",
         "7.279166987e-01"},
        {124, 497, "3.928879314e-02", "8.018775501e-02", "-3.240387540", "-3.236815963", "1.234033929e-02", "9.766642977e-01",
         "3.531392356", "3.386846907"},
        {125, 502, "4.929790363e-02", "7.623466679e-02", "-3.014162225", "-3.009873721", "1.511196082e-02", "9.708670288e-01",
         "3.621794016", "3.481004437"},
        {249, 999, "7.751934499e-02", "4.035829765e-05", "-2.557231153", "-2.557227761", "5.127614984e-04", "9.604553075e-01",
         "157.4104573", "157.4072808"},
    };
    Diffusion *d = made(NOISE_LINEAR, 1000, "250");
    for (size_t k = 0; k < sizeof row / sizeof *row; k++) {
        int i = row[k].i;
        const struct {
            const char *name, *printed;
            double value;
        } cell[] = {{"beta", row[k].beta, d->beta[i]}, {"alpha_bar", row[k].alpha_bar, d->alpha_bar[i]},
                    {"lo", row[k].low, d->log_low[i]}, {"hi", row[k].high, d->log_high[i]},
                    {"c1", row[k].c1, d->coef1[i]},    {"c2", row[k].c2, d->coef2[i]},
                    {"r1", row[k].r1, d->recip[i]},    {"r2", row[k].r2, d->recip_m1[i]}};
        CHECK(d->timestep[i] == row[k].t, "step %d is timestep %d, wanted %d", i, d->timestep[i], row[k].t);
        for (size_t c = 0; c < sizeof cell / sizeof *cell; c++)
            CHECK(digits_equal(cell[c].printed, cell[c].value), "step %d: %s is %.12g, wanted %s", i, cell[c].name, cell[c].value,
                  cell[c].printed);
    }
    diffusion_free(d);
    d = made(NOISE_LINEAR, 1000, "");
    CHECK(digits_equal("0.9999000000", d->base_alpha_bar[0]) && digits_equal("0.07858724288", d->base_alpha_bar[499]) &&
              digits_equal("4.035829765e-05", d->base_alpha_bar[999]),
          "linear: alpha_bar %.12g, %.12g, %.12g", d->base_alpha_bar[0], d->base_alpha_bar[499], d->base_alpha_bar[999]);
    diffusion_free(d);
    d = made(NOISE_COSINE, 1000, "");
    CHECK(digits_equal("4.128422482e-05", d->beta[0]) && digits_equal("3.155691442e-03", d->beta[500]) &&
              close_to(d->beta[999], .999, 1e-13),
          "cosine: beta %.12g, %.12g, %.12g", d->beta[0], d->beta[500], d->beta[999]);
    CHECK(digits_equal("0.492285172", d->base_alpha_bar[500]) && digits_equal("2.42876691e-09", d->base_alpha_bar[999]),
          "cosine: alpha_bar %.12g, %.12g", d->base_alpha_bar[500], d->base_alpha_bar[999]);
    diffusion_free(d);
}

/* ---- timesteps */
/* The rule of 2.1, written a second time: a set of taken steps, and rounding by hand. 0: not a legal text. */
static int naive_space(int n, const char *text, int *map) {
    bool taken[MAX_DIFFUSION_STEPS + 1] = {false};
    int sections = 0, count[64] = {0}, total = 0, kept = 0;
    if (!*text) {
        for (int j = 0; j < n; j++) map[j] = j;
        return n;
    }
    if (!strncmp(text, "ddim", 4)) {
        const char *digits = text + 4;
        if (!*digits || digits[strspn(digits, "0123456789")] || strlen(digits) > 6) return 0;
        for (int k = 1; k < n; k++) {
            kept = 0;
            for (int j = 0; j < n; j += k) map[kept++] = j;
            if (kept == atoi(digits)) return kept;
        }
        return 0;
    }
    for (const char *c = text;; c++) {
        size_t length = strspn(c, "0123456789");
        if (!length || length > 6 || sections == 64) return 0;
        count[sections++] = atoi(c), c += length;
        if (!*c) break;
        if (*c != ',') return 0;
    }
    if (sections > n) return 0;
    for (int s = 0, start = 0; s < sections; s++) {
        int size = n / sections + (s < n % sections ? 1 : 0);
        if (count[s] > size) return 0;
        double at = 0, stride = count[s] <= 1 ? 1 : (size - 1) / (double)(count[s] - 1);
        for (int k = 0; k < count[s]; k++) {
            double whole = floor(at), part = at - whole;
            int step = (int)whole + (part > .5 || (part == .5 && (int)whole % 2 != 0));
            taken[start + step] = true, total++;
            at += stride;
        }
        start += size;
    }
    for (int j = 0; j < n; j++)
        if (taken[j]) map[kept++] = j;
    return kept >= 2 && kept == total ? kept : 0;
}
static void check_steps(int n, const char *text, const int *wanted, int count) {
    Diffusion *d = made(NOISE_COSINE, n, text);
    bool same = CHECK(d->steps == count, "\"%s\" of %d takes %d steps, wanted %d", text, n, d->steps, count);
    for (int i = 0; i < count && same; i++)
        same = CHECK(d->timestep[i] == wanted[i], "\"%s\" of %d: step %d is %d, wanted %d", text, n, i, d->timestep[i], wanted[i]);
    diffusion_free(d);
}
static void test_known_steps(void) {
    int map[1000], sum = 0;
    for (int i = 0; i < 250; i++) sum += map[i] = (1998 * i + 249) / 498;
    CHECK(sum == 124875, "the closed form of 250 adds up to %d", sum);
    check_steps(1000, "250", map, 250);
    static const int first[] = {0, 4, 8, 12, 16, 20}, last[] = {983, 987, 991, 995, 999};
    CHECK(!memcmp(map, first, sizeof first) && !memcmp(map + 245, last, sizeof last), "the closed form of 250 ends otherwise");
    for (int j = 0; j < 1000; j++) map[j] = j;
    check_steps(1000, "", map, 1000);
    check_steps(1000, "1000", map, 1000);
    check_steps(1000, "ddim1000", map, 1000);
    /* where adding up and multiplying part: 21, 23, 31, 35 take 499, 499, 500, 499 */
    static const struct {
        int count, at, added, multiplied;
    } odd[] = {{21, 10, 499, 500}, {23, 11, 499, 500}, {31, 15, 500, 499}, {35, 17, 499, 500}};
    for (size_t k = 0; k < sizeof odd / sizeof *odd; k++) {
        int c = odd[k].count, differ = 0;
        char text[16];
        snprintf(text, sizeof text, "%d", c);
        Diffusion *d = made(NOISE_LINEAR, 1000, text);
        for (int i = 0; i < c && d->steps == c; i++) {
            int multiplied = (int)nearbyint(i * (999. / (c - 1)));
            if (d->timestep[i] == multiplied) continue;
            differ++;
            CHECK(i == odd[k].at && d->timestep[i] == odd[k].added && multiplied == odd[k].multiplied,
                  "\"%s\": step %d is %d, by multiplication %d; wanted %d and %d at step %d", text, i, d->timestep[i], multiplied,
                  odd[k].added, odd[k].multiplied, odd[k].at);
        }
        CHECK(differ == 1, "\"%s\" differs from multiplication in %d steps, wanted 1", text, differ);
        CHECK(naive_space(1000, text, map) == c, "\"%s\": the literal version refuses it", text);
        check_steps(1000, text, map, c);
        diffusion_free(d);
    }
    /* from Python's own round */
    static const int thirds[] = {0,   11,  22,  33,  44,  55,  66,  77,  88,  99,  100, 107, 114, 121, 128,
                                 135, 142, 149, 157, 164, 171, 178, 185, 192, 199, 200, 205, 210, 216, 221,
                                 226, 231, 236, 242, 247, 252, 257, 263, 268, 273, 278, 283, 289, 294, 299};
    check_steps(300, "10,15,20", thirds, 45);
    check_steps(1000, "8,0,0,0", (const int[]){0, 36, 71, 107, 142, 178, 213, 249}, 8);
    check_steps(1000, "3,4", (const int[]){0, 250, 499, 500, 666, 833, 999}, 7);
    check_steps(1000, "7", (const int[]){0, 166, 333, 500, 666, 832, 999}, 7); /* 166.5 and 832.5: to even */
    check_steps(1000, "7,1,5", (const int[]){0, 56, 111, 166, 222, 278, 333, 334, 667, 750, 833, 916, 999}, 13);
    check_steps(1000, "02", (const int[]){0, 999}, 2);
}
/* Every count of every text of one section, and lists at random, against the literal version. */
static void test_all_steps(void) {
    static const char letters[] = "0123456789012345678901234567890123456789,,,,,,ddim -+.e\n\xff";
    int map[MAX_DIFFUSION_STEPS], legal = 0, refused = 0;
    for (int c = 0; c <= 1001; c++) {
        char text[16];
        snprintf(text, sizeof text, "%d", c);
        int wanted = naive_space(1000, text, map);
        Error e = {""};
        CHECK(diffusion_count(NOISE_LINEAR, 1000, text, &e) == wanted && !wanted == !!*e.text, "\"%s\": wanted %d steps: %s", text, wanted,
              e.text);
        if (wanted) check_steps(1000, text, map, wanted);
    }
    for (uint32_t k = 0; k < 20000; k++) {
        char text[16];
        int n = 2 + philox_label(k, k % 2 ? 60 : MAX_DIFFUSION_STEPS - 1), length = philox_label(k + 100000, (int)sizeof text),
            ddim = k % 5 == 0;
        for (int j = 0; j < length; j++) text[j] = letters[philox_label(k + (uint64_t)(j + 2) * 100000, (int)sizeof letters - 1)];
        if (ddim && length >= 4) memcpy(text, "ddim", 4);
        text[length] = 0;
        int wanted = naive_space(n, text, map);
        Error e = {""};
        CHECK(diffusion_count(NOISE_COSINE, n, text, &e) == wanted && !wanted == !!*e.text, "\"%s\" of %d: wanted %d steps: %s", text, n,
              wanted, e.text);
        if (wanted) check_steps(n, text, map, wanted), legal++;
        else refused++;
    }
    CHECK(legal >= 1000 && refused >= 1000, "of the random texts %d are legal and %d are not", legal, refused);
}
static void test_ddim_counts(void) {
    static const int apart[] = {42, 44, 46, 48, 50, 53, 56, 59, 63, 67, 72, 77, 84, 91, 100, 112, 125, 143, 167, 200, 250, 334, 500, 1000};
    for (int n = 0; n <= 1001; n++) {
        bool legal = (n >= 2 && n <= 36) || (n >= 38 && n <= 40);
        for (size_t k = 0; k < sizeof apart / sizeof *apart; k++) legal |= n == apart[k];
        char text[16];
        snprintf(text, sizeof text, "ddim%d", n);
        Error e = {""};
        int count = diffusion_count(NOISE_LINEAR, 1000, text, &e);
        CHECK(count == (legal ? n : 0), "\"%s\" takes %d steps, wanted %d: %s", text, count, legal ? n : 0, e.text);
    }
    static const struct {
        const char *text;
        int last;
    } end[] = {{"ddim25", 960}, {"ddim250", 996}, {"ddim2", 500}, {"ddim1000", 999}, {"ddim36", 980}};
    for (size_t k = 0; k < sizeof end / sizeof *end; k++) {
        Diffusion *d = made(NOISE_LINEAR, 1000, end[k].text);
        int stride = d->timestep[1];
        for (int i = 0; i < d->steps; i++) CHECK(d->timestep[i] == i * stride, "\"%s\": step %d is %d", end[k].text, i, d->timestep[i]);
        CHECK(d->timestep[d->steps - 1] == end[k].last, "\"%s\" ends at %d, wanted %d", end[k].text, d->timestep[d->steps - 1],
              end[k].last);
        diffusion_free(d);
    }
}
/* The steps that an interval of timesteps opens, as DG's sampler counts them: guidance above 100, the other weight above 200. */
static void test_gates(void) {
    static const struct { int above, first, count; } gate[] = {{100, 26, 224}, {200, 50, 200}};
    Diffusion *d = made(NOISE_LINEAR, 1000, "250");
    for (size_t k = 0; k < sizeof gate / sizeof *gate; k++) {
        int first = -1, count = 0;
        for (int i = 0; i < d->steps; i++)
            if (d->timestep[i] > gate[k].above) first = first < 0 ? i : first, count++;
        CHECK(first == gate[k].first && count == gate[k].count, "above %d: %d steps from step %d, wanted %d from %d", gate[k].above, count,
              first, gate[k].count, gate[k].first);
    }
    diffusion_free(d);
}
static void test_golden_steps(void) {
    glob_t found;
    int cases = 0;
    if (glob("tests/golden/imagenet/*_sample_*.safetensors", 0, NULL, &found)) found.gl_pathc = 0;
    for (size_t k = 0; k < found.gl_pathc; k++) {
        Error e = {""};
        SafeTensors *s = st_open(found.gl_pathv[k], &e);
        const char *text = s ? st_metadata(s, "case") : NULL, *respacing = NULL, *schedule = NULL;
        Json *json = text ? json_parse(text, strlen(text), &e) : NULL;
        const Json *options = json ? json_get(json, "options") : NULL;
        const StTensor *map = s ? st_find(s, "timestep_map") : NULL;
        bool read = options && map && map->dtype == DG_I64 && json_get_string(options, "respacing", NULL, &respacing, &e) &&
                    json_get_string(options, "num_sampling_steps", respacing, &respacing, &e) &&
                    json_get_string(options, "noise_schedule", "linear", &schedule, &e) && respacing;
        if (CHECK(read, "%s: no case, options or timestep_map: %s", found.gl_pathv[k], e.text)) {
            int64_t step[64];
            int wanted[64], count = map->count <= 64 ? (int)map->count : 0;
            memcpy(step, map->data, (size_t)count * sizeof *step);
            for (int i = 0; i < count; i++) wanted[i] = (int)step[i];
            check_steps(1000, respacing, wanted, count);
            Diffusion *d = made(strcmp(schedule, "cosine") ? NOISE_LINEAR : NOISE_COSINE, 1000, respacing);
            CHECK(d->steps == count && !memcmp(d->timestep, wanted, (size_t)count * sizeof *wanted), "%s: %s, %s: other timesteps",
                  found.gl_pathv[k], schedule, respacing);
            diffusion_free(d);
            cases++;
        }
        json_free(json);
        st_close(s);
    }
    if (found.gl_pathc) globfree(&found);
    CHECK(cases == 9, "compared the timesteps of %d golden cases, wanted 9", cases);
}

/* ---- coefficients */
static double normal(uint64_t k) {
    double pair[2];
    philox_normal_pair(20261128, k / 2, 0, pair);
    return pair[k % 2];
}
static double clamped(double x, bool clip) { return clip ? fmin(fmax(x, -1), 1) : x; }
/* What the tables must be, from the steps alone: products of long doubles and no respacing formula. */
typedef struct {
    double bar, prev, beta, posterior;
} Naive;
static Naive naive_level(const Diffusion *d, int i) {
    long double product = 1, bar = 0, prev = 1, n = d->diffusion_steps;
    for (int j = 0; j <= d->timestep[i]; j++) {
        long double beta = 1000 / n * (1e-4L + (.02L - 1e-4L) * j / (n - 1));
        if (d->schedule == NOISE_COSINE) {
            long double pi = 3.14159265358979323846264338328L, above = cosl(((j + 1) / n + .008L) / 1.008L * pi / 2),
                        below = cosl((j / n + .008L) / 1.008L * pi / 2), ratio = above * above / (below * below);
            beta = 1 - ratio < .999L ? 1 - ratio : .999L;
        }
        product *= 1 - beta;
        if (i && j == d->timestep[i - 1]) prev = product;
    }
    bar = product;
    long double beta = 1 - bar / prev;
    return (Naive){(double)bar, (double)prev, (double)beta, (double)(beta * (1 - prev) / (1 - bar))};
}
static const struct {
    NoiseSchedule schedule;
    int n;
    const char *respacing;
} processes[] = {{NOISE_LINEAR, 1000, "250"},     {NOISE_LINEAR, 1000, "ddim25"}, {NOISE_COSINE, 1000, "6"},
                 {NOISE_LINEAR, 300, "10,15,20"}, {NOISE_COSINE, 4000, "ddim50"}, {NOISE_COSINE, 2, ""},
                 {NOISE_LINEAR, 21, ""},          {NOISE_COSINE, 4000, "2"},      {NOISE_LINEAR, 1000, "8,0,0,0"},
                 {NOISE_COSINE, 1000, "3,4"},     {NOISE_LINEAR, 4000, "100"}};
enum { PROCESSES = sizeof processes / sizeof *processes };

static void test_variances(void) {
    for (int p = 0; p < PROCESSES; p++) {
        Diffusion *d = made(processes[p].schedule, processes[p].n, processes[p].respacing);
        for (int i = 0; i < d->steps; i++) {
            /* alpha_bar comes from 1 - beta, whose rounding the alpha_bar before is the size of */
            Naive l = naive_level(d, i), one = naive_level(d, 1);
            VarianceStep learned = diffusion_variance(d, VARIANCE_LEARNED, i), large = diffusion_variance(d, VARIANCE_FIXED_LARGE, i),
                         small = diffusion_variance(d, VARIANCE_FIXED_SMALL, i);
            CHECK(fabs(d->alpha_bar[i] - l.bar) <= 1e-10 * l.bar + 4 * DBL_EPSILON * l.prev &&
                      close_to(d->alpha_bar_prev[i], l.prev, 1e-10) && close_to(d->beta[i], l.beta, 1e-10) &&
                      close_to(d->posterior_variance[i], l.posterior, 1e-10),
                  "process %d, step %d: levels %.12g %.12g %.12g %.12g, wanted %.12g %.12g %.12g %.12g", p, i, d->alpha_bar[i],
                  d->alpha_bar_prev[i], d->beta[i], d->posterior_variance[i], l.bar, l.prev, l.beta, l.posterior);
            CHECK(close_to(d->coef1[i], l.beta * sqrt(l.prev) / (1 - l.bar), 1e-9) &&
                      close_to(d->coef2[i], (1 - l.prev) * sqrt(1 - l.beta) / (1 - l.bar), 1e-9),
                  "process %d, step %d: the mean is %.12g x0 + %.12g x", p, i, d->coef1[i], d->coef2[i]);
            double low = log(i ? l.posterior : one.posterior), high = log(l.beta), large_wanted = i ? l.beta : one.posterior;
            CHECK(fabs(learned.log_low - low) <= 1e-9 && fabs(learned.log_high - high) <= 1e-9,
                  "process %d, step %d: a learned variance from %.12g to %.12g, wanted %.12g and %.12g", p, i, learned.log_low,
                  learned.log_high, low, high);
            CHECK(learned.variance == 0 && learned.deviation == 0 && learned.learned_variance == 1 &&
                      learned.learned_deviation == (i ? 1 : 0),
                  "process %d, step %d: a learned variance has factors %g %g %g %g", p, i, learned.variance, learned.deviation,
                  learned.learned_variance, learned.learned_deviation);
            CHECK(close_to(large.variance, large_wanted, 1e-9) && close_to(large.deviation, i ? sqrt(large_wanted) : 0, 1e-9) &&
                      fabs(large.log_low - log(large_wanted)) <= 1e-9 && large.log_high == large.log_low,
                  "process %d, step %d: the large variance is %.12g, its logarithm %.12g, wanted %.12g", p, i, large.variance,
                  large.log_low, large_wanted);
            CHECK(close_to(small.variance, i ? l.posterior : 0, 1e-9) && close_to(small.deviation, i ? sqrt(l.posterior) : 0, 1e-9) &&
                      fabs(small.log_low - low) <= 1e-9 && small.log_high == small.log_low,
                  "process %d, step %d: the small variance is %.12g, its logarithm %.12g, wanted %.12g", p, i, small.variance,
                  small.log_low, i ? l.posterior : 0);
            CHECK(large.learned_variance == 0 && large.learned_deviation == 0 && small.learned_variance == 0 &&
                      small.learned_deviation == 0,
                  "process %d, step %d: a fixed variance takes the network's", p, i);
        }
        CHECK(d->log_low[0] == log(d->posterior_variance[1]), "process %d: log_low[0] %.17g is not that of step 1", p, d->log_low[0]);
        diffusion_free(d);
    }
}
/* A DDIM step as spec 5.5 writes it, x0 clamped where it says so, guidance in the units of eps. */
static double literal_ddim(const Diffusion *d, int i, double eta, bool clip, bool guided, const double v[4]) {
    double x = v[0], eps = v[1], g = v[2], noise = v[3], bar = d->alpha_bar[i], prev = i ? d->alpha_bar[i - 1] : 1;
    double r1 = sqrt(1 / bar), r2 = sqrt(1 / bar - 1);
    double x0 = clamped(r1 * x - r2 * eps, clip), e = (r1 * x - x0) / r2;
    if (guided) {
        e = e - sqrt(1 - bar) * g;
        x0 = r1 * x - r2 * e;
        e = (r1 * x - x0) / r2;
    }
    double sg = eta * sqrt((1 - prev) / (1 - bar)) * sqrt(1 - bar / prev);
    return sqrt(prev) * x0 + sqrt(1 - prev - sg * sg) * e + (i ? sg * noise : 0);
}
static void test_ddim_steps(void) {
    int clamps = 0;
    for (int p = 0; p < PROCESSES; p++) {
        Diffusion *d = made(processes[p].schedule, processes[p].n, processes[p].respacing);
        for (int i = 0; i < d->steps; i++)
            for (int k = 0; k < 24; k++) {
                double eta = (double[]){0, .7, 1}[k % 3], v[4];
                bool clip = k / 3 % 2, guided = k / 6 % 2;
                for (int j = 0; j < 4; j++) v[j] = normal((uint64_t)(((p * 1000 + i) * 24 + k) * 4 + j));
                DdimStep s = diffusion_ddim(d, i, eta);
                double x0 = d->recip[i] * v[0] - d->recip_m1[i] * v[1], kept = clamped(x0, clip);
                double found = s.x0_factor * kept + s.x_factor * v[0] + s.gradient * (guided ? v[2] : 0) + s.sigma * v[3];
                double wanted = literal_ddim(d, i, eta, clip, guided, v);
                /* what the rounding of the terms allows, and of the difference whose root is the noise that stays */
                double size = fabs(x0) + fabs(kept) + fabs(v[0]) * (1 + s.x_factor) + fabs(s.gradient * v[2]) + fabs(v[3]);
                double rounding = 8 * DBL_EPSILON * (1 - d->alpha_bar_prev[i]), left = 1 - d->alpha_bar_prev[i] - s.sigma * s.sigma;
                double root = fmin(sqrt(rounding), rounding / sqrt(fmax(left, 0))),
                       e = (d->recip[i] * fabs(v[0]) + fabs(kept)) / d->recip_m1[i];
                CHECK(fabs(found - wanted) <= 1e-11 * size + root * (e + fabs(v[2])),
                      "process %d, step %d, eta %g%s%s: x' is %.15g, wanted %.15g", p, i, eta, clip ? ", clamped" : "",
                      guided ? ", guided" : "", found, wanted);
                CHECK(i ? (eta > 0) == (s.sigma > 0) : s.sigma == 0, "process %d, step %d, eta %g: sigma is %g", p, i, eta, s.sigma);
                clamps += clip && kept != x0;
            }
        diffusion_free(d);
    }
    CHECK(clamps > 1000, "only %d of the steps were clamped", clamps);
}
/* eta 1: mean and variance of an ancestral step; eta 0: x0 and eps are kept, at the next level. */
static void test_ddim_limits(void) {
    for (int p = 0; p < PROCESSES; p++) {
        Diffusion *d = made(processes[p].schedule, processes[p].n, processes[p].respacing);
        for (int i = 0; i < d->steps; i++) {
            DdimStep full = diffusion_ddim(d, i, 1), none = diffusion_ddim(d, i, 0);
            VarianceStep small = diffusion_variance(d, VARIANCE_FIXED_SMALL, i);
            CHECK(fabs(full.sigma * full.sigma - small.variance) <= 1e-10 * small.variance,
                  "process %d, step %d: eta 1 has variance %.12g, DDPM %.12g", p, i, full.sigma * full.sigma, small.variance);
            /* the root of what is kept: of the smallest difference half the digits are left */
            CHECK(fabs(full.x0_factor - d->coef1[i]) <= 1e-7 && fabs(full.x_factor - d->coef2[i]) <= 1e-7,
                  "process %d, step %d: eta 1 has the mean %.12g x0 + %.12g x, DDPM %.12g and %.12g", p, i, full.x0_factor, full.x_factor,
                  d->coef1[i], d->coef2[i]);
            double x0 = normal((uint64_t)i), eps = normal((uint64_t)i + 7777), bar = d->alpha_bar[i], prev = d->alpha_bar_prev[i];
            double x = sqrt(bar) * x0 + sqrt(1 - bar) * eps, after = none.x0_factor * x0 + none.x_factor * x;
            CHECK(fabs(after - (sqrt(prev) * x0 + sqrt(1 - prev) * eps)) <= 1e-11,
                  "process %d, step %d: eta 0 leads to %.15g, wanted %.15g", p, i, after, sqrt(prev) * x0 + sqrt(1 - prev) * eps);
        }
        diffusion_free(d);
    }
}

/* ---- refused */
static void check_refused(NoiseSchedule schedule, int n, const char *text, const char *part) {
    Error e = {""}, again = {""};
    Diffusion *d = diffusion_new(schedule, n, text, &e);
    int count = diffusion_count(schedule, n, text, &again);
    CHECK(!d && !count && strstr(e.text, part) && !strcmp(e.text, again.text), "\"%.40s\" of %d: %s, wanted a sentence with \"%s\"", text,
          n, d ? "accepted" : e.text, part);
    CHECK(!diffusion_new(schedule, n, text, NULL), "\"%.40s\" of %d: accepted without an Error", text, n);
    diffusion_free(d);
}
static void test_refused(void) {
    static const struct {
        const char *text, *part;
    } bad[] = {
        {"ddim37", "the nearest are ddim36 and ddim38"},
        {"ddim999", "the nearest are ddim500 and ddim1000"},
        {"ddim1", "the nearest is ddim2"},
        {"ddim0", "the nearest is ddim2"},
        {"ddim1001", "the nearest is ddim1000"},
        {"ddim99999999999999999999", "the nearest is ddim1000"},
        {"ddim4294967321", "the nearest is ddim1000"}, /* 2^32 + 25 */
        {"ddim", "must follow ddim"},
        {"ddim-25", "must follow ddim"},
        {"ddim25,3", "must follow ddim"},
        {"DDIM25", "\"DDIM25\" is not a count"},
        {"1001", "cannot be taken out of 1000"},
        {"18446744073709551616", "cannot be taken out of 1000"},
        {"4294967546", "cannot be taken out of 1000"}, /* 2^32 + 250 */
        {"10,501", "501 steps cannot be taken from section 2 of 2, which has 500 of the 1000"},
        {"335,1,1", "335 steps cannot be taken from section 1 of 3, which has 334"},
        {"1,1,334", "334 steps cannot be taken from section 3 of 3, which has 333"},
        {"-3", "\"-3\" is not a count"},
        {"+8", "\"+8\" is not a count"},
        {"8.0", "\"8.0\" is not a count"},
        {"0x10", "\"0x10\" is not a count"},
        {" 8", "\" 8\" is not a count"},
        {"8\n", "is not a count"},
        {"8,a,2", "\"a\" is not a count"},
        {"8,,2", "section 2 is missing"},
        {"8,2,", "section 3 is missing"},
        {",", "section 1 is missing"},
        {"0", "takes 0 steps in all: wanted at least 2"},
        {"1", "takes 1 step in all"},
        {"0,1", "takes 1 step in all"},
        {"0,0,0", "takes 0 steps in all"},
    };
    for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) check_refused(NOISE_LINEAR, 1000, bad[k].text, bad[k].part);
    static const int sizes[] = {-2147483647 - 1, -1, 0, 1, MAX_DIFFUSION_STEPS + 1, 2147483647};
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) check_refused(NOISE_COSINE, sizes[k], "2", "wanted 2 to 4000");
    check_refused(NOISE_COSINE, 2, "1,1,0", "counts for 3 sections, more than there are steps");
    check_refused(NOISE_LINEAR, 20, "", "wanted at least 21");
    check_refused(NOISE_LINEAR, 2, "2", "wanted at least 21");
    enum { LONG = 100000 };
    char *text = dg_alloc(LONG + 1);
    for (int j = 0; j < LONG; j++) text[j] = j % 2 ? ',' : '1';
    text[LONG - 1] = '1';
    check_refused(NOISE_LINEAR, 1000, text, "more than there are steps");
    memset(text, ',', LONG);
    check_refused(NOISE_LINEAR, 1000, text, "more than there are steps");
    memset(text, '9', LONG);
    check_refused(NOISE_LINEAR, 1000, text, "cannot be taken out of 1000");
    memset(text, '0', LONG);
    check_refused(NOISE_LINEAR, 1000, text, "takes 0 steps in all");
    memcpy(text, "ddim", 4);
    check_refused(NOISE_LINEAR, 1000, text, "the nearest is ddim2");
    memset(text, '\x1b', LONG);
    check_refused(NOISE_LINEAR, 1000, text, "is not a count");
    free(text);
    diffusion_free(NULL);
}

int main(void) {
    test_table();
    test_known_steps();
    test_all_steps();
    test_ddim_counts();
    test_gates();
    test_golden_steps();
    test_variances();
    test_ddim_steps();
    test_ddim_limits();
    test_refused();
    return check_done("test_diffusion");
}
