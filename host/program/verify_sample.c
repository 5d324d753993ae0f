/* verify_sample.c -- golden cases of kind sample: a whole trajectory with recorded noise, unguided or guided. */
#include "program/verify_kind.h"
#include "sample/sampler.h"
#include <stdlib.h>
#include <string.h>

static const char *const outputs[] = {"images", NULL};

static bool pick(const Json *options, const char *key, const char *const *name, int count, int *out, Error *e) {
    const char *value;
    if (!json_get_string(options, key, NULL, &value, e)) return false;
    for (int i = 0; value && i < count; i++)
        if (!strcmp(value, name[i])) return *out = i, true;
    return !value || dg_error(e, "option %s: unknown value %s", key, value);
}
static bool check_names(const Json *options, Error *e) {
    static const char *const names[] = {"num_steps",
                                        "sigma_min",
                                        "sigma_max",
                                        "rho",
                                        "S_churn",
                                        "S_min",
                                        "S_max",
                                        "S_noise",
                                        "solver",
                                        "discretization",
                                        "schedule",
                                        "scaling",
                                        "dg_weight_1st_order",
                                        "dg_weight_2nd_order",
                                        "time_min",
                                        "time_max",
                                        "boosting",
                                        "dg_gate"};
    for (const Json *j = options ? options->child : NULL; j; j = j->next) {
        bool known = false;
        for (size_t i = 0; i < sizeof names / sizeof *names && j->key; i++) known |= !strcmp(names[i], j->key);
        if (!known) return dg_error(e, "option %s is not known", j->key ? j->key : "without a name");
    }
    return true;
}
/* The options under their official names. *guided: the sampler is DG's. */
static bool read_options(const Case *c, SampleOptions *o, bool *guided, Error *e) {
    static const char *const solvers[] = {"heun", "euler"}, *const discs[] = {"edm", "vp", "ve", "iddpm"};
    static const char *const schedules[] = {"linear", "vp", "ve"}, *const scalings[] = {"none", "vp"}, *const gates[] = {"sample", "batch"};
    const Json *j = json_get(c->json, "options");
    const char *sampler;
    int solver = 0, disc = 0, schedule = 0, scaling = 0, dg_gate = 0;
    *o = sample_defaults();
    if (!check_names(j, e) || !json_get_string(c->json, "sampler", "edm", &sampler, e) ||
        !json_get_int(j, "num_steps", 18, &o->num_steps, e) || !json_get_double(j, "sigma_min", o->sigma_min, &o->sigma_min, e) ||
        !json_get_double(j, "sigma_max", o->sigma_max, &o->sigma_max, e) || !json_get_double(j, "rho", o->rho, &o->rho, e) ||
        !json_get_double(j, "S_churn", 0, &o->S_churn, e) || !json_get_double(j, "S_min", 0, &o->S_min, e) ||
        !json_get_double(j, "S_max", o->S_max, &o->S_max, e) || !json_get_double(j, "S_noise", 1, &o->S_noise, e) ||
        !json_get_double(j, "dg_weight_1st_order", 2, &o->dg_weight_1st_order, e) ||
        !json_get_double(j, "dg_weight_2nd_order", 0, &o->dg_weight_2nd_order, e) ||
        !json_get_double(j, "time_min", .01, &o->time_min, e) || !json_get_double(j, "time_max", 1, &o->time_max, e) ||
        !json_get_bool(j, "boosting", false, &o->boosting, e) || !pick(j, "solver", solvers, 2, &solver, e) ||
        !pick(j, "discretization", discs, 4, &disc, e) || !pick(j, "schedule", schedules, 3, &schedule, e) ||
        !pick(j, "scaling", scalings, 2, &scaling, e) || !pick(j, "dg_gate", gates, 2, &dg_gate, e))
        return false;
    o->solver = (Solver)solver, o->discretization = (Discretization)disc, o->schedule = (Schedule)schedule, o->scaling = (Scaling)scaling;
    o->dg_gate = (Gate)dg_gate, o->ablation = !strcmp(sampler, "ablation"), *guided = !strcmp(sampler, "dg");
    if (!o->ablation && !*guided && strcmp(sampler, "edm")) return dg_error(e, "sampler \"%s\" is none of edm, dg and ablation", sampler);
    if (!*guided) o->dg_weight_1st_order = o->dg_weight_2nd_order = 0;
    return sample_check(o, e);
}
/* A label has to be one of the network's classes and one of the discriminator's. */
static int label_limit(const Denoiser *d, const Guide *g) {
    int network = d->config->label_dim, guide = g ? guide_classes(g) : 0;
    return !guide || (network && network < guide) ? network : guide;
}
static bool replay(const Case *c, Sampler *s, const SampleOptions *o, const Denoiser *d, const Guide *g, Error *e) {
    int n = d->batch, *label = dg_alloc((size_t)n * sizeof *label);
    Shape image = {n, d->config->img_resolution, d->config->img_resolution, d->config->img_channels};
    bool draws = o->S_churn > 0 || o->boosting || st_find(c->file, "noise");
    double *x = case_images(c, "latents", image, e);
    double **noise = x && draws ? case_draws(c, "noise", o->num_steps, image, e) : NULL;
    bool ok = x && (noise || !draws) && case_labels(c, n, label_limit(d, g), label, e);
    if (ok) {
        sampler_run(s, n, &(SampleNoise){.latents = x, .noise = (const double *const *)noise}, label, NULL, NULL);
        sampler_state(s, x);
        ok = case_compare_images(c, "images", x, image, e);
    }
    case_draws_free(noise, o->num_steps);
    free(x), free(label);
    return ok;
}
static bool run(Case *c, Error *e) {
    SampleOptions o;
    bool guided, ok = false;
    int n = case_batch(c, "latents", e);
    if (!n || !read_options(c, &o, &guided, e)) return false;
    Weights *w = case_weights(c, "network", "synthetic_seed", e);
    Denoiser *d = w ? denoiser_new(c->dev, w, n, c->fuse, e) : NULL;
    CaseGuide g = {0};
    if (d && (!guided || case_guide_open(&g, c, n, e))) {
        Sampler *s = sampler_new(&o, d, g.guide, e);
        ok = s && replay(c, s, &o, d, g.guide, e);
        sampler_free(s);
    }
    case_guide_close(&g);
    denoiser_free(d);
    weights_free(w);
    return ok;
}
static bool cost(Case *c, CaseCost *cost, Error *e) {
    SampleOptions o;
    bool guided;
    double network = 0, guide = 0;
    int n = case_batch(c, "latents", e);
    if (!n || !read_options(c, &o, &guided, e) || !case_network_flops(c, &network, e)) return false;
    if (guided && !case_guide_flops(c, &guide, e)) return false;
    int guide_calls = (o.dg_weight_1st_order != 0) + (o.dg_weight_2nd_order != 0);
    cost->flops = n * (sample_network_calls(&o) * network + o.num_steps * guide_calls * guide); /* at most: the window may close */
    cost->size = network < QUICK_FLOPS && guide < QUICK_FLOPS ? CASE_SAMPLE : CASE_FULL;
    return true;
}
const CaseKind case_sample = {.kind = "sample", .outputs = outputs, .run = run, .cost = cost};
