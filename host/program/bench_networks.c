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
/* Those of the roles from `first` on that the case names. Whether there is any. */
static bool add_configs(Networks *n, const Json *j, Role first, bool discriminates) {
    static const char *const key[ROLES] = {"network", "extractor", "head", "gnet", "classifier", "vae"};
    bool any = false;
    for (Role r = first; r < ROLES; r++) {
        const Json *config = json_get(j, key[r]);
        if (!config && r == ROLE_NETWORK && json_get(j, "model_type")) config = j;
        if (!config || n->source[r].weights || ((r == ROLE_EXTRACTOR || r == ROLE_DISCRIMINATOR) && !discriminates)) continue;
        n->source[r].weights = weights_synthetic((uint64_t)r + 1, config);
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
    return networks_describe(n, e) || dg_error_context(e, "%s", o->synthetic);
}
