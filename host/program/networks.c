/* networks.c -- opening, hashing and binding the networks of a run. */
#include "program/networks.h"
#include "models/adm_encoder.h"
#include "models/shapes32/shapes32.h"
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

const char *role_name(Role r) {
    static const char *const names[ROLES] = {"network", "extractor", "discriminator", "gnet", "classifier", "vae"};
    return names[r];
}
/* The example model's part. */
static NetworkSource embedded(Role r) {
    switch (r) {
    case ROLE_EXTRACTOR: return (NetworkSource){.data = shapes32_extractor, .bytes = (size_t)(shapes32_extractor_end - shapes32_extractor)};
    case ROLE_DISCRIMINATOR:
        return (NetworkSource){.data = shapes32_discriminator, .bytes = (size_t)(shapes32_discriminator_end - shapes32_discriminator)};
    default: return (NetworkSource){.data = shapes32_network, .bytes = (size_t)(shapes32_network_end - shapes32_network)};
    }
}
static bool open_source(NetworkSource *s, Role r, const ConvertOptions *o, Error *e) {
    char name[64] = "shapes32", notice[1024] = "";
    ConvertOptions own = o ? *o : (ConvertOptions){.key = NULL};
    if (r != ROLE_NETWORK) {
        snprintf(name, sizeof name, "shapes32 %s", role_name(r));
        own.key = own.prefix = NULL; /* they are the network's */
    }
    s->weights = s->path ? weights_open_any(s->path, &own, notice, sizeof notice, e) : weights_memory(s->data, s->bytes, name, e);
    if (!s->weights) return false;
    if (notice[0]) print_text(stdout, notice), putchar('\n');
    static const char *const kind[ROLES] = {NULL, "extractor", "head", NULL, "extractor", "vae"}; /* NULL: any score network */
    return !kind[r] || model_find(weights_config(s->weights), kind[r], e) ||
           dg_error_context(e, "--%s %s", role_name(r), weights_name(s->weights));
}
static bool describe_network(Networks *n, const Weights *w, Error *e) {
    const Model *m = model_find_score(weights_config(w), e);
    n->plan = net_new(SPAN_NETWORK, (Precision){DG_F32, false}, 1, false);
    const Ports *p = m ? net_add(n->plan, m, weights_config(w), "", 0, e) : NULL;
    n->score = p ? score_new(m, n->plan->part[0].config, e) : NULL;
    if (!n->score) return dg_error_context(e, "%s", weights_name(w));
    n->state = n->picture = shape_of(n->plan->graph, p->x);
    return true;
}
static bool describe_vae(Networks *n, const Weights *vae, Error *e) {
    Decoder *plan = decoder_plan(weights_config(vae), n->state, (Precision){DG_F32, false}, 1, false, e);
    if (!plan) return dg_error_context(e, "--vae %s", weights_name(vae));
    n->picture = plan->picture;
    decoder_free(plan);
    return true;
}
/* Of an autoencoder alone: latents of the size of its own arguments. */
static bool describe_latents(Networks *n, const Weights *vae, Error *e) {
    Net *net = net_new(SPAN_AUTOENCODER, (Precision){DG_F32, false}, 1, false);
    const Ports *p = net_add(net, &model_vae, weights_config(vae), "", 0, e);
    if (p) n->state = shape_of(net->graph, p->x);
    net_free(net);
    return p || dg_error_context(e, "%s", weights_name(vae));
}
bool networks_describe(Networks *n, Error *e) {
    const Weights *w = n->source[ROLE_NETWORK].weights, *classifier = n->source[ROLE_CLASSIFIER].weights,
                  *vae = n->source[ROLE_VAE].weights;
    if (w && !describe_network(n, w, e)) return false;
    if (w && vae && !describe_vae(n, vae, e)) return false;
    if (!w && vae && !(describe_latents(n, vae, e) && describe_vae(n, vae, e))) return false;
    n->classes = w ? n->score->facts.classes : 0;
    if (n->classes || !classifier) return true;
    EncoderConfig *c = model_config(&model_classifier, weights_config(classifier), e);
    if (!c) return dg_error_context(e, "%s", weights_name(classifier));
    n->classes = c->out_channels;
    free(c);
    return true;
}
bool networks_check(const char *const path[ROLES], const SampleOptions *o, Error *e) {
    if (!path[ROLE_EXTRACTOR] != !path[ROLE_DISCRIMINATOR])
        return dg_error(e, "--%s is missing: extractor and discriminator go together",
                        path[ROLE_EXTRACTOR] ? "discriminator" : "extractor");
    if (!path[ROLE_GNET] && !isnan(o->guidance) && o->guidance != 1) return dg_error(e, "--guidance needs --gnet, the network that guides");
    if (path[ROLE_GNET] && isnan(o->guidance)) return dg_error(e, "--gnet needs --guidance, its weight");
    if (!path[ROLE_CLASSIFIER] && !isnan(o->classifier_scale) && o->classifier_scale != 0)
        return dg_error(e, "--classifier_scale needs --classifier, the file of one");
    return !path[ROLE_CLASSIFIER] || !isnan(o->classifier_scale) || dg_error(e, "--classifier needs --classifier_scale, its weight");
}
bool networks_open(Networks *n, const char *const path[ROLES], const ConvertOptions *o, bool guided, Error *e) {
    *n = (Networks){0};
    bool ok = true;
    for (Role r = 0; r < ROLES && ok; r++) {
        bool discriminates = r == ROLE_EXTRACTOR || r == ROLE_DISCRIMINATOR;
        if (discriminates ? !guided : r != ROLE_NETWORK && !path[r]) continue;
        n->source[r] = path[r] ? (NetworkSource){.path = path[r]} : embedded(r);
        ok = open_source(&n->source[r], r, o, e);
    }
    if (ok && networks_describe(n, e)) return true;
    networks_close(n);
    return false;
}
bool networks_open_vae(Networks *n, const char *path, const ConvertOptions *o, Error *e) {
    *n = (Networks){.source[ROLE_VAE] = {.path = path}};
    return open_source(&n->source[ROLE_VAE], ROLE_VAE, o, e);
}
void networks_close(Networks *n) {
    for (Role r = 0; r < ROLES; r++) weights_free(n->source[r].weights);
    score_free(n->score);
    net_free(n->plan);
    *n = (Networks){0};
}

/* ---- hashes ---------------------------------------------------------------------------------------------------------- */
struct Hashes {
    NetworkSource source[ROLES];
    Spans *spans;
    bool threaded;
    pthread_t thread;
    char hex[ROLES][SHA256_HEX];
    bool ok;
    Error error;
};
static void hash_all(Hashes *h) {
    h->ok = true;
    spans_begin(h->spans, SPAN_HASH, -1);
    for (Role r = 0; r < ROLES && h->ok; r++) {
        const NetworkSource *s = &h->source[r];
        if (!s->weights) continue;
        if (s->path && weights_source(s->weights)[0]) { /* known since it was converted */
            snprintf(h->hex[r], sizeof h->hex[r], "%s", weights_source(s->weights));
            continue;
        }
        if (s->path) {
            h->ok = sha256_file(s->path, h->hex[r], &h->error);
            continue;
        }
        Sha256 sha;
        uint8_t digest[SHA256_BYTES];
        sha256_init(&sha);
        sha256_update(&sha, s->data, s->bytes);
        sha256_final(&sha, digest);
        sha256_hex(digest, h->hex[r]);
    }
    spans_end(h->spans, SPAN_HASH);
}
static void *hash_on_thread(void *hashes) {
    Hashes *h = hashes;
    spans_thread(h->spans, "hash");
    hash_all(h);
    return NULL;
}
Hashes *hashes_start(const Networks *n, Spans *spans) {
    Hashes *h = dg_alloc(sizeof *h);
    memcpy(h->source, n->source, sizeof h->source);
    h->spans = spans;
    h->threaded = pthread_create(&h->thread, NULL, hash_on_thread, h) == 0; /* else hashes_finish does it */
    return h;
}
bool hashes_finish(Hashes *h, char hex[ROLES][SHA256_HEX], Error *e) {
    spans_begin(h->spans, SPAN_WAIT, -1);
    if (h->threaded) pthread_join(h->thread, NULL);
    else hash_all(h);
    spans_end(h->spans, SPAN_WAIT);
    memcpy(hex, h->hex, sizeof h->hex);
    bool ok = h->ok || dg_error(e, "%s", h->error.text);
    free(h);
    return ok;
}

/* ---- engine ---------------------------------------------------------------------------------------------------------- */
/* A network for each term; the score network makes two passes where one of them is without a class. */
static bool open_networks(SampleNetworks *to, Device *d, const Networks *n, const SampleOptions *o, int batch, bool fuse, Error *e) {
    Weights *w[ROLES];
    int rows = n->vae_batch ? n->vae_batch : DECODER_ROWS;
    for (Role r = 0; r < ROLES; r++) w[r] = n->source[r].weights;
    GuideOptions guide = {.fuse = fuse};
    Guidance g;
    if (!guidance_list(&g, o, n->score, e)) return false;
    if (!(to->network = predictor_new(d, w[ROLE_NETWORK], batch, guidance_has(&g, TERM_CFG) ? 2 : 1, fuse, e))) return false;
    if (guidance_has(&g, TERM_AUTO) && w[ROLE_GNET] && !(to->guiding = predictor_new(d, w[ROLE_GNET], batch, 1, fuse, e))) return false;
    if (w[ROLE_EXTRACTOR] && !(to->discriminator = guide_new(d, w[ROLE_EXTRACTOR], w[ROLE_DISCRIMINATOR], batch, guide, e))) return false;
    if (guidance_has(&g, TERM_CLASSIFIER) && w[ROLE_CLASSIFIER] &&
        !(to->classifier = guide_new(d, w[ROLE_CLASSIFIER], NULL, batch, guide, e)))
        return false;
    return !w[ROLE_VAE] || (to->decoder = decoder_new(d, w[ROLE_VAE], n->state, rows < batch ? rows : batch, fuse, e));
}
bool engine_new(Engine *g, Device *d, const Networks *n, const SampleOptions *o, int batch, bool fuse, Error *e) {
    SampleOptions resolved = *o;
    *g = (Engine){.batch = batch};
    sample_resolve(&resolved, score_sampler(n->score));
    bool ok = open_networks(&g->n, d, n, &resolved, batch, fuse, e) && (g->sampler = sampler_new(&resolved, &g->n, e));
    if (!ok) engine_free(g);
    return ok;
}
void engine_free(Engine *g) {
    sampler_free(g->sampler);
    guide_free(g->n.discriminator), guide_free(g->n.classifier);
    predictor_free(g->n.network), predictor_free(g->n.guiding);
    decoder_free(g->n.decoder);
    *g = (Engine){.batch = g->batch};
}
