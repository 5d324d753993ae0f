/* gauss_model.c -- the score network of Gaussian data, exact: independent channels of mean GAUSS_MEAN(c), plus GAUSS_SHIFT in the channel
 * of the image's class, and of deviation GAUSS_DEVIATION. The best prediction of x0 is linear in x, so F is too: its two coefficients
 * come as the features of the time. For tests of samplers, which know what has to come out.                               */
#include "gauss_model.h"
#include "models/arguments.h"
#include <math.h>

static bool config(void *into, const Json *j, Error *e) {
    static const char *const kinds[] = {"preconditioned", "eps", "v", "flow", NULL};
    GaussConfig *c = into;
    int prediction;
    if (!argument_choice(j, "prediction", "preconditioned", kinds, &prediction, e) ||
        !json_get_bool(j, "learned_range", false, &c->learned_range, e) || !json_get_bool(j, "cosine", false, &c->cosine, e))
        return false;
    c->prediction = (Prediction)prediction;
    c->edm = (NetworkConfig){.precond = PRECOND_EDM, .sigma_data = .5, .sigma_max = (double)INFINITY};
    return true;
}
static void build(Graph *g, const void *config, int batch, Ports *p) {
    const GaussConfig *c = config;
    enum { C = GAUSS_CHANNELS };
    p->x = g_input(g, "x", (Shape){batch, GAUSS_SIZE, GAUSS_SIZE, C});
    p->time = g_input(g, "time", (Shape){batch, 1, 1, 4 * C});
    p->label = g_input(g, "label", (Shape){batch, 1, 1, C});
    Tid class = g_gate(g, p->label, g_slice(g, p->time, 2 * C, C), g_slice(g, p->time, C, C));
    Tid f = g_add(g, g_gate(g, p->x, g_slice(g, p->time, 0, C), 0), class, 1, 1);
    if (c->learned_range) f = g_concat(g, f, g_add(g, p->x, g_slice(g, p->time, 3 * C, C), 0, 1));
    p->out = g_output(g, f);
}
GaussLinear gauss_prediction(double alpha, double sigma) {
    double d2 = GAUSS_DEVIATION * GAUSS_DEVIATION, a = alpha * d2 / (alpha * alpha * d2 + sigma * sigma);
    return (GaussLinear){a, 1 - a * alpha};
}
double gauss_code(double time) { return .4 * cos(time); }
double gauss_alpha_bar(int timestep, bool cosine) {
    double product = 1;
    for (int j = 0; j <= timestep; j++) {
        double u[2] = {cos((j / 1000. + .008) / 1.008 * M_PI / 2), cos(((j + 1) / 1000. + .008) / 1.008 * M_PI / 2)};
        product *= 1 - (cosine ? fmin(1 - u[1] * u[1] / (u[0] * u[0]), .999) : 1e-4 + (2e-2 - 1e-4) * j / 999);
    }
    return product;
}
GaussLinear gauss_output(const GaussConfig *c, double time) {
    double alpha = 1, sigma = 0;
    switch (c->prediction) {
    case PREDICTS_PRECONDITIONED: {
        sigma = exp(4 * time);
        GaussLinear d = gauss_prediction(1, sigma);
        double all = sigma * sigma + .25, skip = .25 / all, out = sigma * .5 / sqrt(all), in = 1 / sqrt(all);
        return (GaussLinear){(d.x - skip) / (out * in), d.mean / out};
    }
    case PREDICTS_EPS:
    case PREDICTS_V: {
        double bar = gauss_alpha_bar((int)time, c->cosine);
        alpha = sqrt(bar), sigma = sqrt(1 - bar);
        break;
    }
    case PREDICTS_FLOW: alpha = 1 - time, sigma = time; break;
    }
    GaussLinear d = gauss_prediction(alpha, sigma);
    double x = (1 - alpha * d.x) / sigma, mean = -alpha * d.mean / sigma; /* of eps */
    if (c->prediction == PREDICTS_V) return (GaussLinear){alpha * x - sigma * d.x, alpha * mean - sigma * d.mean};
    if (c->prediction == PREDICTS_FLOW) return (GaussLinear){x - d.x, mean - d.mean};
    return (GaussLinear){x, mean};
}
static void time_features(const void *config, const float *frequencies, double time, float *out) {
    enum { C = GAUSS_CHANNELS };
    GaussLinear f = gauss_output(config, time);
    (void)frequencies;
    for (int c = 0; c < C; c++) {
        out[c] = (float)f.x, out[C + c] = (float)(f.mean * GAUSS_MEAN(c));
        out[2 * C + c] = (float)(f.mean * GAUSS_SHIFT), out[3 * C + c] = (float)gauss_code(time);
    }
}
static bool score(const void *config, ScoreFacts *f, Error *e) {
    const GaussConfig *c = config;
    *f = (ScoreFacts){.prediction = c->prediction,
                      .cosine = c->cosine,
                      .classes = GAUSS_CHANNELS,
                      .null_class = NO_LABEL,
                      .learned_range = c->learned_range};
    if (c->prediction == PREDICTS_PRECONDITIONED) f->edm = &c->edm;
    if (c->prediction == PREDICTS_EPS || c->prediction == PREDICTS_V) f->diffusion_steps = 1000;
    (void)e;
    return true;
}
static const char *const unused[] = {NULL};
const Model model_gauss = {.kind = "gauss",
                           .noun = "a score network of Gaussian data",
                           .config_bytes = sizeof(GaussConfig),
                           .config = config,
                           .build = build,
                           .time_features = time_features,
                           .score = score,
                           .unused = unused};
