/* bench_networks.c -- the networks that `bench` measures: of files, of the example model, or of configurations with made-up weights. */
#include "program/bench.h"
#include <stdlib.h>
#include <string.h>

/* A golden case, or a configuration alone, from a JSON file or a safetensors file's metadata. */
static Json *read_case(const char *path, Error *e) {
    const char *dot = strrchr(path, '.');
    if (!dot || strcmp(dot, ".safetensors")) return json_parse_file(path, e);
    SafeTensors *f = st_open(path, e);
    if (!f) return NULL;
    const char *text = st_metadata(f, "case");
    Json *j = NULL;
    if (!text) dg_error(e, "%s: no metadata \"case\": not a golden case", path);
    else j = json_parse(text, strlen(text), e);
    st_close(f);
    return j;
}
/* The configuration of one role's network: a golden case names it; a file may also be one itself, of a score network or an autoencoder. */
static const Json *config_of(const Json *j, const char *kind, Role r) {
    static const char *const key[ROLES] = {"network", "extractor", "head", "gnet", "classifier", "vae"};
    const Json *config = json_get(j, key[r]);
    bool of_vae = !strcmp(kind, "vae");
    if (config || (r == ROLE_VAE && of_vae && (config = json_get(j, "config")))) return config;
    if (r == ROLE_VAE && of_vae) return j;
    return r == ROLE_NETWORK && !of_vae && (json_get(j, "model_type") || model_find_score(j, NULL)) ? j : NULL;
}
/* A golden case says in its own kind of what kind its score network is; one that does not has EDM's. */
static Weights *synthetic_weights(uint64_t seed, const Json *config, const char *of_case, Role r) {
    const char *kind = !strncmp(of_case, "dit", 3) ? model_dit.kind : !strncmp(of_case, "adm_", 4) ? model_adm_unet.kind : NULL;
    if (r != ROLE_NETWORK || !kind || json_get(config, "kind")) return weights_synthetic(seed, config);
    Text own = {0}, whole = {0};
    json_write(&own, config);
    text_printf(&whole, "{\"kind\": \"%s\"%s%s", kind, config->count ? ", " : "", own.text + 1);
    Json *said = json_parse(whole.text, whole.len, NULL);
    DG_CHECK(said, "a configuration with its kind does not parse: %s", whole.text);
    Weights *w = weights_synthetic(seed, said);
    json_free(said);
    text_free(&own), text_free(&whole);
    return w;
}
/* Those of the roles from `first` on that the case names. Whether there is any. */
static bool add_configs(Networks *n, const Json *j, Role first, bool discriminates) {
    const Json *named = json_get(j, "kind");
    const char *kind = named && named->kind == JSON_STRING ? named->string : "";
    bool any = false;
    for (Role r = first; r < ROLES; r++) {
        const Json *config = config_of(j, kind, r);
        if (!config || n->source[r].weights || ((r == ROLE_EXTRACTOR || r == ROLE_DISCRIMINATOR) && !discriminates)) continue;
        n->source[r].weights = synthetic_weights((uint64_t)r + 1, config, kind, r);
        any = true;
    }
    return any;
}
static bool add_synthetic(Networks *n, const char *path, bool guide, Error *e) {
    Json *j = read_case(path, e);
    if (!j) return false;
    bool any = add_configs(n, j, guide ? ROLE_EXTRACTOR : ROLE_NETWORK, true);
    json_free(j);
    return any || dg_error(e, "%s: neither the configuration of a network nor a case with one", path);
}
void bench_inputs(const BenchOptions *o, const char *path[BENCH_INPUTS]) {
    path[ROLE_NETWORK] = o->network, path[ROLE_EXTRACTOR] = o->extractor, path[ROLE_DISCRIMINATOR] = o->discriminator;
    path[ROLE_GNET] = o->gnet, path[ROLE_CLASSIFIER] = o->classifier, path[ROLE_VAE] = o->vae;
    path[ROLES] = o->synthetic, path[ROLES + 1] = o->synthetic_guide, path[ROLES + 2] = o->inception;
}
bool bench_open_networks(Networks *n, const BenchOptions *o, Error *e) {
    const char *path[BENCH_INPUTS], *of_preset = preset_networks(o->preset);
    bool any = false;
    *n = (Networks){0};
    bench_inputs(o, path);
    for (int i = 0; i < ROLES + 2; i++) any |= path[i] != NULL;
    if (of_preset && !any) {
        Json *j = json_parse(of_preset, strlen(of_preset), e);
        add_configs(n, j, ROLE_NETWORK, sample_discriminates(&o->sample));
        json_free(j);
        return networks_describe(n, e);
    }
    if (!o->synthetic && !o->synthetic_guide) {
        ConvertOptions c = checkpoint_options(&o->checkpoint);
        return networks_open(n, path, &c, !o->network || o->extractor, e);
    }
    if ((o->synthetic && !add_synthetic(n, o->synthetic, false, e)) ||
        (o->synthetic_guide && !add_synthetic(n, o->synthetic_guide, true, e)))
        return false;
    if (!n->source[ROLE_EXTRACTOR].weights != !n->source[ROLE_DISCRIMINATOR].weights)
        return dg_error(e, "a case for guidance has an extractor and a head");
    if (!n->source[ROLE_NETWORK].weights && !n->source[ROLE_EXTRACTOR].weights && !n->source[ROLE_VAE].weights)
        return dg_error(e, "%s: neither a score network, nor extractor and head, nor an autoencoder",
                        o->synthetic ? o->synthetic : o->synthetic_guide);
    return networks_describe(n, e) || dg_error_context(e, "%s", o->synthetic ? o->synthetic : o->synthetic_guide);
}
