/* case_weights.h -- the networks of a golden case, or of the example model ("shapes32"), for tests that run them on inputs of
 * their own. Parameters that a case overrides keep their synthetic values here.                                          */
#ifndef DG_CASE_WEIGHTS_H
#define DG_CASE_WEIGHTS_H
#include "program/networks.h"
#include "check.h"
#include <math.h>
#include <stdlib.h>

typedef struct {
    const char *name;                    /* the file's, without folder */
    Weights *network, *extractor, *head; /* NULL: not of this case */
    double denoised, guidance;           /* how far D and G may be off in fp32, relative L2 an image */
    SafeTensors *file;
    Json *json;
    Networks example;
} CaseWeights;

/* The example model has no case of one call: fp32 may be off by as much as in its images (tests/golden/README.md). */
static const double EXAMPLE_TOLERANCE = 1e-4;

__attribute__((unused)) static Weights *case_part(const CaseWeights *c, const char *network, const char *seed_key) {
    Error e = {""};
    int seed = 0;
    const Json *config = json_get(c->json, network);
    if (!config) return NULL;
    DG_CHECK(json_get_int(json_get(c->json, "weights"), seed_key, 0, &seed, &e), "%s: %s", c->name, e.text);
    return weights_synthetic((uint64_t)seed, config);
}
/* An error is a failed check. */
__attribute__((unused)) static bool case_weights_open(CaseWeights *c, const char *path) {
    Error e = {""};
    const char *const embedded[ROLES] = {NULL}, *slash = strrchr(path, '/');
    *c = (CaseWeights){.name = slash ? slash + 1 : path, .denoised = EXAMPLE_TOLERANCE, .guidance = EXAMPLE_TOLERANCE};
    if (!strcmp(path, "shapes32")) {
        if (!CHECK(networks_open(&c->example, embedded, NULL, true, &e), "%s", e.text)) return false;
        c->network = c->example.source[ROLE_NETWORK].weights, c->extractor = c->example.source[ROLE_EXTRACTOR].weights;
        c->head = c->example.source[ROLE_DISCRIMINATOR].weights;
        return true;
    }
    c->file = st_open(path, &e);
    const char *text = c->file ? st_metadata(c->file, "case") : NULL;
    c->json = text ? json_parse(text, strlen(text), &e) : NULL;
    if (!CHECK(c->json, "%s: %s", path, e.text)) return st_close(c->file), false;
    const Json *expect = json_get(c->json, "expect");
    bool known = json_get_double(json_get(expect, "denoised"), "tol", NAN, &c->denoised, &e) &&
                 json_get_double(json_get(expect, "guidance"), "tol", NAN, &c->guidance, &e);
    DG_CHECK(known, "%s: %s", path, e.text);
    c->network = case_part(c, "network", "synthetic_seed");
    c->extractor = case_part(c, "extractor", "extractor_seed"), c->head = case_part(c, "head", "head_seed");
    return true;
}
__attribute__((unused)) static void case_weights_close(CaseWeights *c) {
    if (!c->file) {
        networks_close(&c->example);
        return;
    }
    weights_free(c->network), weights_free(c->extractor), weights_free(c->head);
    json_free(c->json);
    st_close(c->file);
}

/* ---- a predictor and a guide once, from and to host memory [n][per_sample] ------------------------------------------------ */
__attribute__((unused)) static double *case_to_device(Device *d, const double *host, size_t count) {
    double *p = d->be->alloc(d, count * sizeof *p);
    DG_CHECK(p, "no memory for %zu values on %s", count, d->be->name);
    d->be->upload(d, p, host, count * sizeof *p);
    return p;
}
/* D(x; sigma); a label below 0 is none. */
__attribute__((unused)) static bool case_denoise(const CaseWeights *c, Device *d, int n, const double *x, const double *sigma,
                                                 const int *label, double *out) {
    Error e = {""};
    Predictor *u = predictor_new(d, c->network, n, 1, true, &e);
    bool made = u != NULL;
    if (made) {
        size_t count = (size_t)n * u->per_sample;
        double *device = case_to_device(d, x, count);
        predictor_set_labels(u, n, label);
        made = predictor_apply(u, device, sigma, &e);
        d->be->download(d, out, device, count * sizeof *out);
        d->be->release(d, device);
    }
    predictor_free(u);
    return CHECK(made, "%s on %s: %s", c->name, d->be->name, e.text);
}
/* G(x; sigma). */
__attribute__((unused)) static bool case_guidance(const CaseWeights *c, Device *d, int n, const double *x, const double *sigma,
                                                  const int *label, double *out) {
    Error e = {""};
    Guide *u = guide_new(d, c->extractor, c->head, n, (GuideOptions){.fuse = true}, &e);
    bool made = u != NULL;
    if (made) {
        size_t count = (size_t)n * u->per_sample;
        double *device = case_to_device(d, x, count);
        guide_set_labels(u, n, label);
        made = guide_apply(u, device, sigma, &e);
        d->be->download(d, out, device, count * sizeof *out);
        d->be->release(d, device);
    }
    guide_free(u);
    return CHECK(made, "%s on %s: %s", c->name, d->be->name, e.text);
}
/* Where the clip of the log ratio holds, guidance is zero everywhere, and must be exactly so; NaN stays NaN. */
__attribute__((unused)) static double case_error(const double *found, const double *wanted, size_t n) {
    double num = 0, den = 0;
    for (size_t i = 0; i < n; i++) num += pow(found[i] - wanted[i], 2), den += wanted[i] * wanted[i];
    return den > 0 ? sqrt(num / den) : num == 0 ? 0 : num > 0 ? INFINITY : (double)NAN;
}
#endif
