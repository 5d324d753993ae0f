/* verify_sample.c -- golden cases of whole trajectories with recorded noise: sample (EDM's samplers, guided or not), adm_sample
 * (guided-diffusion's), dit_sample (DG_imagenet's), and dit_chain, the same up to the bytes of decoded pictures. Options have the official names, read by the command line's own table. */
#include "program/sample_options.h"
#include "program/verify_kind.h"
#include "sample/sampler.h"
#include <stdlib.h>
#include <string.h>

static const char *const images[] = {"images", NULL}, *const samples[] = {"samples", NULL},
                         *const chain[] = {"samples", "decoded", "bytes", NULL};
static const Option option[] = {SAMPLE_OPTIONS(SampleOptions, ), GUIDANCE_OPTIONS(SampleOptions, )};

/* Of the kinds that sample with a DiT. */
static bool is_dit(const Case *c) { return c->kind == &case_dit_sample || c->kind == &case_dit_chain; }
typedef struct {
    SampleOptions o; /* resolved */
    bool discriminates, classifies;
    int passes;     /* of the network */
    int noise_rows; /* images of a draw, for one of the case: those behind the case's own belong to rows that were dropped */
} Setup;

/* What the kinds say beside the options. */
static bool read_sample(const Case *c, Setup *s, Error *e) {
    const Json *j = json_get(c->json, "options");
    const char *sampler;
    if (!json_get_string(c->json, "sampler", "edm", &sampler, e)) return false;
    bool ablation = !strcmp(sampler, "ablation");
    s->discriminates = !strcmp(sampler, "dg");
    if (!ablation && !s->discriminates && strcmp(sampler, "edm"))
        return dg_error(e, "sampler \"%s\" is none of edm, dg and ablation", sampler);
    s->o.sampler = ablation ? SAMPLER_ABLATION : SAMPLER_EDM;
    return options_from_json(option, sizeof option / sizeof *option, &s->o, j, "", e);
}
static bool read_adm(const Case *c, Setup *s, Error *e) {
    const Json *j = json_get(c->json, "options");
    bool ddim;
    if (!json_get_bool(j, "use_ddim", false, &ddim, e)) return false;
    s->o.sampler = ddim ? SAMPLER_DDIM : SAMPLER_DDPM;
    if (!options_from_json(option, sizeof option / sizeof *option, &s->o, j, "use_ddim learn_sigma", e)) return false;
    s->classifies = s->o.classifier_scale > 0;
    return true;
}
static bool read_dit(const Case *c, Setup *s, Error *e) {
    s->o.sampler = SAMPLER_DDPM;
    s->discriminates = true, s->noise_rows = 2;
    return options_from_json(option, sizeof option / sizeof *option, &s->o, json_get(c->json, "options"), "", e);
}
static bool read_options(const Case *c, Score *score, Setup *s, Error *e) {
    Guidance g;
    *s = (Setup){.o = sample_defaults(), .noise_rows = 1};
    bool read = c->kind == &case_adm_sample ? read_adm(c, s, e) : is_dit(c) ? read_dit(c, s, e) : read_sample(c, s, e);
    if (!read) return false;
    if (!s->discriminates) s->o.dg_weight_1st_order = s->o.dg_weight_2nd_order = 0;
    if (!sample_check(&s->o, e)) return false;
    sample_resolve(&s->o, s->o.sampler);
    if (!guidance_list(&g, &s->o, score, e)) return false;
    s->passes = guidance_has(&g, TERM_CFG) ? 2 : 1;
    return score_apply(score, &s->o, e);
}
/* Of a configuration, without its weights. NULL: e says what is wrong with it. */
typedef struct {
    void *config;
    Score *score;
} CaseScore;
static bool case_score(const Case *c, CaseScore *s, Error *e) {
    const Json *j = case_config(c, "network", e);
    const char *kind = c->kind == &case_adm_sample ? "adm_unet" : is_dit(c) ? "dit" : "denoiser";
    const Model *m = j ? model_find(j, kind, e) : NULL;
    s->config = m ? model_config(m, j, e) : NULL;
    s->score = s->config ? score_new(m, s->config, e) : NULL;
    return s->score;
}
static void case_score_free(CaseScore *s) {
    score_free(s->score);
    free(s->config);
}

/* A label has to be one of every network's classes. */
static int label_limit(const SampleNetworks *n) {
    int least = n->network->score->facts.classes;
    const Guide *guide[] = {n->discriminator, n->classifier};
    for (int i = 0; i < 2; i++) {
        int classes = guide[i] ? guide_classes(guide[i]) : 0;
        if (classes && (!least || classes < least)) least = classes;
    }
    return least;
}
/* EDM's networks take none, a row of zeros; others, and classifiers, need a class. */
static bool needs_labels(const SampleNetworks *n) {
    const ScoreFacts *f = &n->network->score->facts;
    return n->classifier || (f->classes && f->null_class != NO_LABEL);
}
/* What the sampler's state is as pictures: numbers, then bytes. */
static bool compare_pictures(const Case *c, Sampler *s, const Decoder *d, int n, Error *e) {
    Shape pictures = d->picture;
    pictures.n = n;
    double *decoded = dg_alloc(shape_count(pictures) * sizeof *decoded);
    uint8_t *bytes;
    const int *bad;
    sampler_images_begin(s, 0);
    sampler_images_end(s, 0, &bytes, &bad);
    exec_get_rows(d->net->exec, d->net->out, n, DG_F64, decoded);
    bool ok = case_compare_images(c, "decoded", decoded, pictures, e) && case_compare_bytes(c, bytes, decoded, pictures, e);
    free(decoded);
    return ok;
}
static bool replay(const Case *c, Sampler *s, const Setup *setup, const SampleNetworks *networks, Error *e) {
    int n = networks->network->batch, *label = dg_alloc((size_t)n * sizeof *label), steps = sampler_steps(s);
    Shape image = sampler_shape(s), drawn;
    image.n = n, drawn = image, drawn.n = n * setup->noise_rows;
    bool draws = setup->o.S_churn > 0 || setup->o.boosting == BOOSTING_ON || setup->o.sampler == SAMPLER_DDPM || setup->o.eta > 0 ||
                 st_find(c->file, "noise");
    double *x = case_images(c, "latents", image, e);
    double **noise = x && draws ? case_draws(c, "noise", steps, drawn, e) : NULL;
    bool ok = x && (noise || !draws) && case_labels(c, n, label_limit(networks), label, e) &&
              (!needs_labels(networks) || case_every_label(n, label, e));
    if (ok) {
        sampler_begin(s, n, &(SampleNoise){.latents = x, .noise = (const double *const *)noise}, label);
        while (sampler_step(s)) {}
        sampler_state(s, x);
        ok = case_compare_images(c, c->kind->outputs[0], x, image, e);
        if (ok && networks->decoder) ok = compare_pictures(c, s, networks->decoder, n, e);
    }
    case_draws_free(noise, steps);
    free(x), free(label);
    return ok;
}
static bool run_with(Case *c, const Setup *s, const Model *m, int n, Error *e) {
    Weights *w = case_weights(c, "network", "synthetic_seed", e);
    Weights *classifier = w && s->classifies ? case_weights(c, "classifier", "classifier_seed", e) : NULL;
    SampleNetworks networks = {.network = w ? predictor_open(c->dev, m, w, n, s->passes, c->fuse, e) : NULL};
    CaseGuide g = {0};
    bool ok = networks.network && (!s->discriminates || case_guide_open(&g, c, n, e)) && (!s->classifies || classifier);
    networks.discriminator = g.guide;
    if (ok && classifier) ok = (networks.classifier = guide_new(c->dev, classifier, NULL, n, (GuideOptions){.fuse = c->fuse}, e));
    Weights *vae = ok && c->kind == &case_dit_chain ? case_weights(c, "vae", "vae_seed", e) : NULL;
    if (vae) networks.decoder = decoder_new(c->dev, vae, networks.network->state, n, c->fuse, e);
    if (c->kind == &case_dit_chain) ok = networks.decoder;
    Sampler *sampler = ok ? sampler_new(&s->o, &networks, e) : NULL;
    ok = sampler && replay(c, sampler, s, &networks, e);
    sampler_free(sampler);
    guide_free(networks.classifier);
    case_guide_close(&g);
    predictor_free(networks.network);
    decoder_free(networks.decoder);
    weights_free(w), weights_free(classifier), weights_free(vae);
    return ok;
}
static bool run(Case *c, Error *e) {
    Setup s;
    CaseScore score = {0};
    int n = case_batch(c, "latents", e);
    bool ok = n && case_score(c, &score, e) && read_options(c, score.score, &s, e) && run_with(c, &s, score.score->model, n, e);
    case_score_free(&score);
    return ok;
}
/* Of decoding one image, added to a case's. */
static bool add_decoder_flops(const Case *c, const CaseScore *score, double *flops, Error *e) {
    const Json *vae = case_config(c, "vae", e);
    Net *n = net_new(SPAN_NETWORK, (Precision){DG_F32, false}, 1, false);
    const Ports *p = vae ? net_add(n, score->score->model, case_config(c, "network", e), "", 0, e) : NULL;
    Decoder *d = p ? decoder_plan(vae, shape_of(n->graph, p->x), (Precision){DG_F32, false}, 1, false, e) : NULL;
    if (d) *flops += graph_flops(d->net->graph);
    bool ok = d != NULL;
    decoder_free(d);
    net_free(n);
    return ok;
}
static bool cost_with(Case *c, const Setup *s, const CaseScore *score, int n, CaseCost *cost, Error *e) {
    SampleCounts counts;
    double guide = 0, classifier = 0;
    const Json *config = s->classifies ? case_config(c, "classifier", e) : NULL;
    if (!sample_count(&s->o, score->score, &counts, e)) return false;
    if (!case_model_cost(score->score->model, case_config(c, "network", e), 1, cost, e)) return false;
    if (s->discriminates && !case_guide_flops(c, &guide, e)) return false;
    if (s->classifies && (!config || !case_gradient_flops(config, NULL, &classifier, e))) return false;
    if (cost->size == CASE_QUICK) cost->size = guide < QUICK_FLOPS && classifier < QUICK_FLOPS ? CASE_SAMPLE : CASE_FULL;
    double decoder = 0;
    if (c->kind == &case_dit_chain && !add_decoder_flops(c, score, &decoder, e)) return false;
    cost->flops =
        n * (decoder + counts.network * cost->flops + counts.term[TERM_DISCRIMINATOR] * guide + counts.term[TERM_CLASSIFIER] * classifier);
    return true;
}
static bool cost(Case *c, CaseCost *cost, Error *e) {
    Setup s;
    CaseScore score = {0};
    int n = case_batch(c, "latents", e);
    bool ok = n && case_score(c, &score, e) && read_options(c, score.score, &s, e) && cost_with(c, &s, &score, n, cost, e);
    case_score_free(&score);
    return ok;
}
const CaseKind case_sample = {.kind = "sample", .outputs = images, .run = run, .cost = cost};
const CaseKind case_adm_sample = {.kind = "adm_sample", .outputs = images, .run = run, .cost = cost};
const CaseKind case_dit_sample = {.kind = "dit_sample", .outputs = samples, .run = run, .cost = cost};
const CaseKind case_dit_chain = {.kind = "dit_chain", .outputs = chain, .run = run, .cost = cost};
