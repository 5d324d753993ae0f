/* sampler.c -- the machine that the samplers run on: buffers, the table, guidance, submitting steps, and pictures. */
#include "base/rng.h"
#include "sample/machine.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { STEP_SLOT = SAMPLER_SLOTS }; /* of the device: the images' slots, then two for the steps */
_Static_assert(STEP_SLOT + 2 <= DEVICE_SLOTS, "slots for images and steps");
_Static_assert(OPEN_SHIFT + EVALUATIONS * OPEN_BITS < 31, "the parts of a piece of work in an int");

static const Program *program_of(SamplerKind k) {
    switch (k) {
    case SAMPLER_DDPM:
    case SAMPLER_DDIM: return &program_diffusion;
    case SAMPLER_FLOW: return &program_flow;
    case SAMPLER_DPM: return &program_dpm;
    default: return &program_edm;
    }
}

/* ---- what fits together ------------------------------------------------------------------------------------------------------ */
bool sample_same_images(const char *what, Shape s, Shape network, Error *e) {
    return (s.h == network.h && s.w == network.w && s.c == network.c) ||
           dg_error(e, "the %s takes %dx%dx%d images, the network makes %dx%dx%d", what, s.h, s.w, s.c, network.h, network.w, network.c);
}
/* classes: of the labels. */
static bool check_guide(const Guide *g, TermKind k, const Predictor *p, int classes, Error *e) {
    const char *what = k == TERM_CLASSIFIER ? "classifier" : "discriminator";
    if (!sample_same_images(k == TERM_CLASSIFIER ? what : "extractor", shape_of(g->net->graph, g->net->x), p->state, e)) return false;
    if (guide_classes(g) && classes > guide_classes(g))
        return dg_error(e, "the %s has %d classes, the %s %d", p->score->facts.classes ? "network" : "classifier", classes, what,
                        guide_classes(g));
    DG_CHECK(g->batch == p->batch, "%s and network of two batch sizes", what);
    return true;
}
static bool check_guiding(const Predictor *p, const Predictor *q, Error *e) {
    int classes = q->score->facts.classes;
    if (memcmp(&p->state, &q->state, sizeof p->state) != 0)
        return dg_error(e, "--gnet makes %dx%dx%d images, the network %dx%dx%d", q->state.h, q->state.w, q->state.c, p->state.h, p->state.w,
                        p->state.c);
    if (classes && classes != p->score->facts.classes)
        return dg_error(e, "--gnet has %d classes, the network %d", classes, p->score->facts.classes);
    DG_CHECK(q->batch == p->batch, "network and guiding network of two batch sizes");
    return true;
}
/* Every term has its network, and what is there is used or harmless. */
static bool check_fit(const SampleOptions *o, const Guidance *g, const SampleNetworks *n, Error *e) {
    int own = n->network->score->facts.classes, classes = own ? own : n->classifier ? guide_classes(n->classifier) : 0;
    if (n->discriminator && guidance_has(g, TERM_DISCRIMINATOR) && o->sampler == SAMPLER_ABLATION)
        return dg_error(e, "discriminator guidance works with EDM's sampler, not with solver, disc, schedule or scaling");
    if (n->discriminator && !check_guide(n->discriminator, TERM_DISCRIMINATOR, n->network, classes, e)) return false;
    if (n->classifier && !check_guide(n->classifier, TERM_CLASSIFIER, n->network, classes, e)) return false;
    if (n->guiding && !check_guiding(n->network, n->guiding, e)) return false;
    if (guidance_has(g, TERM_AUTO) && !n->guiding) return dg_error(e, "--guidance needs --gnet, the network that guides");
    if (guidance_has(g, TERM_CLASSIFIER) && !n->classifier) return dg_error(e, "--classifier_scale needs --classifier");
    if (o->cfg_channels > n->network->state.c)
        return dg_error(e, "--cfg_channels: %d of %d channels", o->cfg_channels, n->network->state.c);
    DG_CHECK(!guidance_has(g, TERM_CFG) || n->network->passes > 1, "guidance without a class, of a network of one pass");
    return true;
}

/* Of gradient k; or NULL. */
static Guide *guide_of(const Sampler *s, int k) { return k ? s->n.classifier : s->n.discriminator; }

/* ---- memory ------------------------------------------------------------------------------------------------------------------- */
static bool image_buffers(Sampler *s, int slot) {
    size_t n = (size_t)s->batch, bytes = n * picture_bytes(&s->picture);
    s->image[slot].bytes = s->dev->be->alloc(s->dev, bytes);
    s->image[slot].bad = s->dev->be->alloc(s->dev, n * sizeof(int));
    s->image[slot].host_bytes = s->dev->be->alloc_host(s->dev, bytes);
    s->image[slot].host_bad = s->dev->be->alloc_host(s->dev, n * sizeof(int));
    return s->image[slot].bytes && s->image[slot].bad && s->image[slot].host_bytes && s->image[slot].host_bad;
}
/* The table's next `bytes`; NULL while there is no table, and only its size is asked for. */
static void *place(Table *t, size_t bytes) {
    size_t at = t->bytes;
    t->bytes += (bytes + sizeof(double) - 1) / sizeof(double) * sizeof(double);
    return t->host ? t->host + at : NULL;
}
static void lay_out_evaluation(Sampler *s, Evaluation *v) {
    Table *t = &s->table;
    double **column[] = {&v->own, &v->output, &v->output_tail, &v->null, &v->null_tail, &v->other, &v->gradient[0], &v->gradient[1]};
    for (size_t i = 0; i < sizeof column / sizeof *column; i++) *column[i] = place(t, (size_t)s->batch * sizeof(double));
    v->network = place(t, net_table_bytes(s->n.network->net));
    v->guiding = s->n.guiding ? place(t, net_table_bytes(s->n.guiding->net)) : NULL;
    for (int k = 0; k < GRADIENTS; k++) v->guide[k] = guide_of(s, k) ? place(t, net_table_bytes(guide_of(s, k)->net)) : NULL;
}
static void lay_out(Sampler *s) {
    Table *t = &s->table;
    size_t n = (size_t)s->batch;
    t->bytes = 0;
    t->seed = place(t, n * sizeof *t->seed), t->draw = place(t, sizeof *t->draw);
    t->latent = place(t, n * sizeof(double)), t->ones = place(t, n * sizeof(double));
    for (int i = 0; i < s->program->columns; i++) t->column[i] = place(t, n * sizeof(double));
    t->posterior = place(t, n * sizeof *t->posterior);
    for (int k = 0; k < EVALUATIONS; k++) lay_out_evaluation(s, &t->evaluation[k]);
}
static bool table_new(Sampler *s) {
    lay_out(s);
    s->table.host = dg_alloc(s->table.bytes);
    lay_out(s);
    s->table.device = s->dev->be->alloc(s->dev, s->table.bytes);
    return s->table.device != NULL;
}
static void host_arrays(Sampler *s) {
    size_t n = (size_t)s->batch;
    s->level = dg_alloc(n * sizeof *s->level);
    double **array[] = {&s->scale, &s->without_class, &s->away, &s->time, &s->weight[0], &s->weight[1], &s->gradient[0], &s->gradient[1]};
    for (size_t i = 0; i < sizeof array / sizeof *array; i++) *array[i] = dg_alloc(n * sizeof(double));
    for (int i = 0; i < s->program->arrays; i++) s->array[i] = dg_alloc(n * sizeof(double));
}
static bool device_memory(Sampler *s, Error *e) {
    const Backend *be = s->dev->be;
    size_t n = (size_t)s->batch, state = n * s->per_sample * sizeof(double);
    s->x = be->alloc(s->dev, state), s->noise = be->alloc(s->dev, state);
    bool all = table_new(s) && s->x && s->noise;
    for (int i = 0; i < s->program->states && all; i++) all = (s->state[i] = be->alloc(s->dev, state)) != NULL;
    for (int i = 0; i < SAMPLER_SLOTS && all; i++) all = image_buffers(s, i);
    if (all) return true;
    size_t images = SAMPLER_SLOTS * n * (picture_bytes(&s->picture) + sizeof(int));
    return dg_out_of_memory(e, "not enough memory on device %s for the sampler's state (%zu bytes)", be->name,
                            (size_t)(2 + s->program->states) * state + s->table.bytes + images);
}
/* Whether a second network knows the levels that the first one's are made of. */
static bool check_levels(const Steps *p, const Score *score, Error *e) {
    double lo = (double)INFINITY, hi = 0;
    for (int i = 0; i < p->count; i++)
        lo = fmin(lo, p->level[i].sigma / p->level[i].alpha), hi = fmax(hi, p->level[i].sigma / p->level[i].alpha);
    return score_covers(score, lo, hi, e) || dg_error_context(e, "--gnet");
}
Sampler *sampler_new(const SampleOptions *o, const SampleNetworks *n, Error *e) {
    if (!sample_check(o, e)) return NULL;
    const Predictor *p = n->network;
    Sampler *s = dg_alloc(sizeof *s);
    s->o = *o, s->n = *n, s->dev = p->net->dev, s->batch = s->rows = p->batch, s->per_sample = p->per_sample;
    sample_resolve(&s->o, score_sampler(p->score));
    s->program = program_of(s->o.sampler);
    s->picture = picture_of(n->decoder ? n->decoder->picture : p->state, s->o.quantize, &p->score->facts);
    bool ok = sample_check(&s->o, e) && score_apply(p->score, &s->o, e) && (!n->guiding || score_apply(n->guiding->score, &s->o, e)) &&
              guidance_list(&s->guidance, &s->o, p->score, e) && check_fit(&s->o, &s->guidance, n, e) &&
              (s->own = s->program->plan(&s->o, p->score, &s->steps, e));
    for (int i = 0; i < s->guidance.count; i++)
        if (s->guidance.term[i].kind == TERM_CFG && s->guidance.term[i].channels < p->state.c) s->head = s->guidance.term[i].channels;
    ok = ok && (!n->guiding || check_levels(&s->steps, n->guiding->score, e));
    if (n->guiding) n->guiding->net->span = SPAN_AUTOGUIDANCE;
    if (ok) host_arrays(s), ok = device_memory(s, e);
    if (ok) return s;
    sampler_free(s);
    return NULL;
}
static void steps_free(Steps *p) {
    diffusion_free(p->process);
    free(p->level), free(p->again), free(p->timestep);
}
void sampler_free(Sampler *s) {
    if (!s) return;
    const Backend *be = s->dev->be;
    be->sync(s->dev); /* a download may be under way */
    if (s->replays) be->replay_free(s->dev, s->replays);
    void *device[] = {
        s->x, s->noise, s->state[0], s->state[1], s->table.device, s->image[0].bytes, s->image[1].bytes, s->image[0].bad, s->image[1].bad};
    for (size_t i = 0; i < sizeof device / sizeof *device; i++)
        if (device[i]) be->release(s->dev, device[i]);
    for (int i = 0; i < SAMPLER_SLOTS; i++) {
        if (s->image[i].host_bytes) be->release_host(s->dev, s->image[i].host_bytes);
        if (s->image[i].host_bad) be->release_host(s->dev, s->image[i].host_bad);
    }
    void *host[] = {s->table.host, s->level,     s->scale,     s->without_class, s->away,
                    s->time,       s->weight[0], s->weight[1], s->gradient[0],   s->gradient[1]};
    for (size_t i = 0; i < sizeof host / sizeof *host; i++) free(host[i]);
    for (int i = 0; i < MAX_ARRAYS; i++) free(s->array[i]);
    if (s->own) s->program->release(s->own);
    steps_free(&s->steps);
    free(s);
}

/* ---- on the device ------------------------------------------------------------------------------------------------------------ */
const void *machine_device(const Sampler *s, const void *entry) { return s->table.device + ((const char *)entry - s->table.host); }
Term machine_term(const Sampler *s, const double *data, const double *column) {
    return (Term){.data = data, .type = DG_F64, .coef = machine_device(s, column)};
}
void machine_combine(Sampler *s, double *out, const Term *term, int terms) {
    device_range_push(s->dev, SPAN_STATE);
    s->dev->be->combine(s->dev, out, DG_F64, s->rows, s->per_sample, term, terms);
    device_range_pop(s->dev, SPAN_STATE);
}
static bool gradient_open(unsigned open, int k) { return is_open(open, k ? TERM_CLASSIFIER : TERM_DISCRIMINATOR); }
void machine_evaluate(Sampler *s, int k, unsigned open, const double *x) {
    const Evaluation *v = &s->table.evaluation[k];
    predictor_enqueue(s->n.network, s->rows, is_open(open, TERM_CFG) ? 2 : 1, x, machine_device(s, v->network));
    if (is_open(open, TERM_AUTO)) predictor_enqueue(s->n.guiding, s->rows, 1, x, machine_device(s, v->guiding));
    for (int g = 0; g < GRADIENTS; g++)
        if (gradient_open(open, g)) net_enqueue(guide_of(s, g)->net, s->rows, 1, x, machine_device(s, v->guide[g]));
}
int machine_outputs(const Sampler *s, int k, unsigned open, Term *term) {
    const Evaluation *v = &s->table.evaluation[k];
    const Predictor *p = s->n.network;
    int n = 0, head = is_open(open, TERM_CFG) ? s->head : 0;
    term[n++] = predictor_output(p, s->rows, 0, machine_device(s, v->output), head, machine_device(s, v->output_tail));
    if (is_open(open, TERM_CFG))
        term[n++] = predictor_output(p, s->rows, 1, machine_device(s, v->null), head, machine_device(s, v->null_tail));
    if (is_open(open, TERM_AUTO)) term[n++] = predictor_output(s->n.guiding, s->rows, 0, machine_device(s, v->other), 0, NULL);
    return n;
}
int machine_gradient_terms(const Sampler *s, int k, unsigned open, Term *term) {
    int n = 0;
    for (int g = 0; g < GRADIENTS; g++)
        if (gradient_open(open, g)) term[n++] = net_output(guide_of(s, g)->net, machine_device(s, s->table.evaluation[k].gradient[g]));
    return n;
}
int machine_terms(const Sampler *s, int k, unsigned open, const double *x, Term *term) {
    term[0] = machine_term(s, x, s->table.evaluation[k].own);
    int n = 1 + machine_outputs(s, k, open, term + 1);
    return n + machine_gradient_terms(s, k, open, term + n);
}
static void work(void *sampler, WorkShape shape) { /* its rows are the sampler's */
    Sampler *s = sampler;
    const Table *t = &s->table;
    if (shape.parts & PART_DRAW) {
        device_range_push(s->dev, SPAN_STATE);
        s->dev->be->randn(s->dev, s->noise, s->rows, s->per_sample, machine_device(s, t->seed), machine_device(s, t->draw));
        device_range_pop(s->dev, SPAN_STATE);
    }
    if (shape.parts & PART_LATENTS) machine_combine(s, s->x, (Term[]){machine_term(s, s->noise, t->latent)}, 1);
    else s->program->work(s, shape.parts);
}
void machine_submit(Sampler *s, int parts) {
    const Backend *be = s->dev->be;
    be->upload(s->dev, s->table.device, s->table.host, s->table.bytes);
    device_range_push_number(s->dev, SPAN_WORK, s->next - 1);
    be->replay(s->dev, &s->replays, (WorkShape){s->rows, parts}, work, s);
    device_range_pop(s->dev, SPAN_WORK);
}

/* ---- on the host: the table of a step ------------------------------------------------------------------------------------------- */
int machine_noise(Sampler *s, int step) {
    const SampleNoise *n = &s->from;
    *s->table.draw = step < 0 ? RNG_STEP_LATENT : (uint32_t)step;
    if (n->seed) return PART_DRAW;
    DG_CHECK(step < 0 || n->noise, "step %d adds noise, and none was recorded", step);
    s->dev->be->upload(s->dev, s->noise, step < 0 ? n->latents : n->noise[step], (size_t)s->rows * s->per_sample * sizeof *s->noise);
    return 0;
}
/* A term acts on an image where the image's level lies in its interval. By the official gate, which looks at the batch, its least
 * position counts for all. Returns whether it acts on any.                                                                  */
static bool add_term(Sampler *s, const GuidanceTerm *t, double timestep, bool again) {
    double w = again ? t->weight_again : t->weight, least = (double)INFINITY;
    bool any = false, batch = t->gate == GATE_BATCH;
    double *sum = t->kind == TERM_CFG ? s->without_class : t->kind == TERM_AUTO ? s->away : s->weight[t->kind == TERM_CLASSIFIER];
    for (int i = 0; i < s->rows && batch; i++) least = fmin(least, term_position(t->unit, s->level[i], timestep));
    for (int i = 0; i < s->rows; i++) {
        double position = batch ? least : term_position(t->unit, s->level[i], timestep);
        if (!term_acts(t, s->level[i], position, again)) continue;
        sum[i] += term_is_gradient(t->kind) ? w : w - 1;
        any = true;
    }
    return any;
}
/* What a guide's networks get as the time: where the diffusion process is the one that the guide was trained on, the timestep's share
 * of the last one, as officially; else (NULL) it follows from the noise level.                                              */
static const double *guide_times(Sampler *s, const Guide *g, double timestep) {
    const Diffusion *d = s->steps.process;
    if (!d || g->cosine != (d->schedule == NOISE_COSINE)) return NULL;
    for (int i = 0; i < s->rows; i++) s->time[i] = timestep / (d->diffusion_steps - 1);
    return s->time;
}
unsigned machine_plan(Sampler *s, int k, double timestep, bool again) {
    const Evaluation *v = &s->table.evaluation[k];
    size_t bytes = (size_t)s->rows * sizeof(double);
    unsigned open = 0;
    memset(s->without_class, 0, bytes), memset(s->away, 0, bytes);
    for (int g = 0; g < GRADIENTS; g++) memset(s->weight[g], 0, bytes);
    for (int i = 0; i < s->guidance.count; i++) {
        const GuidanceTerm *t = &s->guidance.term[i];
        if ((t->kind != TERM_DISCRIMINATOR || s->n.discriminator) && add_term(s, t, timestep, again)) open |= 1u << t->kind;
    }
    int passes = is_open(open, TERM_CFG) ? 2 : 1;
    predictor_fill(s->n.network, s->rows, passes, v->network, s->scale, s->level);
    if (is_open(open, TERM_AUTO)) predictor_fill(s->n.guiding, s->rows, 1, v->guiding, s->scale, s->level);
    for (int g = 0; g < GRADIENTS; g++) {
        if (!gradient_open(open, g)) continue;
        Guide *guide = guide_of(s, g);
        guide_fill(guide, s->rows, v->guide[g], s->level, s->scale, guide_times(s, guide, timestep), s->gradient[g]);
    }
    s->counts.network += passes, s->counts.guiding += is_open(open, TERM_AUTO);
    for (int t = 0; t < TERM_KINDS; t++) s->counts.term[t] += is_open(open, (TermKind)t);
    return open;
}
double machine_prediction(Sampler *s, int k, int i, double c) {
    const Evaluation *v = &s->table.evaluation[k];
    Affine a = s->n.network->affine[i];
    double cfg = s->without_class[i], away = s->away[i];
    v->output[i] = c * a.out * (1 + cfg + away), v->output_tail[i] = c * a.out * (1 + away);
    v->null[i] = -c * a.out * cfg, v->null_tail[i] = 0;
    v->other[i] = 0;
    if (away == 0) return a.skip;
    Affine other = s->n.guiding->affine[i];
    v->other[i] = -c * other.out * away;
    return a.skip + away * (a.skip - other.skip);
}
void machine_gradients(Sampler *s, int k, int i, double c) {
    Level l = s->level[i];
    for (int g = 0; g < GRADIENTS; g++) {
        double w = s->weight[g][i];
        s->table.evaluation[k].gradient[g][i] = w == 0 ? 0 : c * w * (l.sigma / l.alpha * l.sigma) * s->gradient[g][i];
    }
}

/* ---- a run ---------------------------------------------------------------------------------------------------------------------- */
void sampler_begin(Sampler *s, int rows, const SampleNoise *n, const int *label) {
    DG_CHECK(rows > 0 && rows <= s->batch, "a run of %d images, of a sampler for %d", rows, s->batch);
    s->rows = rows, s->from = *n, s->next = 0;
    s->counts = (SampleCounts){.steps = s->steps.count};
    device_range_push(s->dev, SPAN_LATENTS);
    predictor_set_labels(s->n.network, rows, label);
    if (s->n.guiding) predictor_set_labels(s->n.guiding, rows, label);
    if (s->n.discriminator) guide_set_labels(s->n.discriminator, rows, label);
    if (s->n.classifier) guide_set_labels(s->n.classifier, rows, label);
    for (int i = 0; i < rows; i++) {
        s->table.seed[i] = n->seed ? n->seed[i] : 0;
        s->table.ones[i] = s->scale[i] = 1, s->table.latent[i] = s->program->latent(s);
    }
    machine_submit(s, PART_LATENTS | machine_noise(s, -1));
    if (s->program->begin) s->program->begin(s);
    device_range_pop(s->dev, SPAN_LATENTS);
}
static void wait_for(Sampler *s, int slot) {
    device_range_push(s->dev, SPAN_WAIT);
    s->dev->be->wait(s->dev, slot);
    device_range_pop(s->dev, SPAN_WAIT);
}
bool sampler_step(Sampler *s) {
    int step = s->next;
    if (step == s->steps.count) return false;
    s->next++;
    device_range_push_number(s->dev, SPAN_STEP, step);
    s->program->step(s, step);
    s->dev->be->mark(s->dev, STEP_SLOT + step % 2); /* one step ahead of the device: far enough to keep it busy */
    device_range_pop(s->dev, SPAN_STEP);
    if (step) wait_for(s, STEP_SLOT + (step - 1) % 2);
    return true;
}
int sampler_steps(const Sampler *s) { return s->steps.count; }
Device *sampler_device(const Sampler *s) { return s->dev; }
Shape sampler_shape(const Sampler *s) { return s->n.network->state; }
void sampler_state(Sampler *s, double *x) {
    device_range_push(s->dev, SPAN_DOWNLOAD_IMAGES);
    s->dev->be->download(s->dev, x, s->x, (size_t)s->rows * s->per_sample * sizeof *x);
    device_range_pop(s->dev, SPAN_DOWNLOAD_IMAGES);
}
SampleCounts sampler_counts(const Sampler *s) { return s->counts; }

Picture sampler_picture(const Sampler *s) { return s->picture; }
void sampler_images_begin(Sampler *s, int slot) {
    const Backend *be = s->dev->be;
    size_t bytes = (size_t)s->rows * picture_bytes(&s->picture), bad_bytes = (size_t)s->rows * sizeof(int);
    if (s->n.decoder) decoder_enqueue(s->n.decoder, s->rows, s->x, &s->picture, s->image[slot].bytes, s->image[slot].bad);
    else {
        device_range_push(s->dev, SPAN_STATE);
        be->to_u8(s->dev, s->image[slot].bytes, s->x, DG_F64, s->rows, s->per_sample, s->picture.scale, s->picture.offset,
                  s->image[slot].bad);
        device_range_pop(s->dev, SPAN_STATE);
    }
    device_range_push(s->dev, SPAN_DOWNLOAD_IMAGES);
    be->download_async(s->dev, slot, s->image[slot].host_bytes, s->image[slot].bytes, bytes);
    be->download_async(s->dev, slot, s->image[slot].host_bad, s->image[slot].bad, bad_bytes);
    device_range_pop(s->dev, SPAN_DOWNLOAD_IMAGES);
}
const uint8_t *sampler_images_device(const Sampler *s, int slot) { return s->image[slot].bytes; }
void sampler_images_end(Sampler *s, int slot, uint8_t **images, const int **bad) {
    wait_for(s, slot);
    *images = s->image[slot].host_bytes, *bad = s->image[slot].host_bad;
}

/* ---- counting without a device ---------------------------------------------------------------------------------------------------- */
static void count_evaluation(const Guidance *g, Level l, double timestep, bool again, SampleCounts *c) {
    bool open[TERM_KINDS] = {false};
    for (int i = 0; i < g->count; i++) {
        const GuidanceTerm *t = &g->term[i];
        open[t->kind] |= term_acts(t, l, term_position(t->unit, l, timestep), again);
    }
    c->network += open[TERM_CFG] ? 2 : 1, c->guiding += open[TERM_AUTO];
    for (int k = 0; k < TERM_KINDS; k++) c->term[k] += open[k];
}
bool sample_count(const SampleOptions *o, const Score *score, SampleCounts *c, Error *e) {
    SampleOptions resolved = *o;
    Steps p = {0};
    Guidance g;
    *c = (SampleCounts){0};
    if (!sample_check(o, e)) return false;
    sample_resolve(&resolved, score_sampler(score));
    const Program *program = program_of(resolved.sampler);
    void *own = guidance_list(&g, &resolved, score, e) ? program->plan(&resolved, score, &p, e) : NULL;
    c->steps = p.count;
    for (int i = 0; own && i < p.count; i++) {
        if (i && p.twice) count_evaluation(&g, p.again ? p.again[i] : p.level[i], p.timestep ? p.timestep[i] : (double)NAN, true, c);
        count_evaluation(&g, p.level[i], p.timestep ? p.timestep[i] : (double)NAN, false, c);
    }
    if (own) program->release(own);
    steps_free(&p);
    return own != NULL;
}
