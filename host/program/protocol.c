/* protocol.c -- the table of protocols, and the names of measures. */
#include "program/protocol.h"
#include <string.h>

#define BIT(metric) (1u << METRIC_##metric)
#define IN_FILE_ORDER                                                                                                                      \
    { .split_size = 5000 }
#define NEIGHBOURS_FLOAT                                                                                                                   \
    { .k = 3, .arithmetic = DISTANCE_FLOAT }
#define SUBSETS                                                                                                                            \
    { .subsets = 100, .seed = 2020 }
const Protocol protocols[PROTOCOLS] = {
    [PROTOCOL_EDM] = {.name = "edm",
                      .resize = RESIZE_TF1,
                      .scale = SCALE_128,
                      .metrics = BIT(FID),
                      .ddof = 1,
                      .rules = {.refuse_alpha = true},
                      .count = 50000,
                      .least = 50000,
                      .random_subset = true,
                      .score = IN_FILE_ORDER,
                      .neighbours = NEIGHBOURS_FLOAT,
                      .kernel = SUBSETS,
                      .format = "%g"},
    [PROTOCOL_DG] = {.name = "dg",
                     .resize = RESIZE_TF1,
                     .scale = SCALE_128,
                     .metrics = BIT(FID),
                     .ddof = 1,
                     .rules = {.flat = true, .refuse_alpha = true, .arrays = true},
                     .count = 50000,
                     .least = 50000,
                     .score = IN_FILE_ORDER,
                     .neighbours = NEIGHBOURS_FLOAT,
                     .kernel = SUBSETS,
                     .format = "%g"},
    [PROTOCOL_ADM] = {.name = "adm",
                      .resize = RESIZE_TF1,
                      .scale = SCALE_128,
                      .metrics = BIT(IS) | BIT(FID) | BIT(SFID) | BIT(PR),
                      .ddof = 1,
                      .rules = {.refuse_alpha = true},
                      .score = IN_FILE_ORDER,
                      .neighbours = {.k = 3, .arithmetic = DISTANCE_ADM_HALF},
                      .kernel = SUBSETS,
                      .format = "%.17g"},
    [PROTOCOL_PYTORCH] = {.name = "pytorch-fid",
                          .resize = RESIZE_HALF,
                          .scale = SCALE_255,
                          .metrics = BIT(FID),
                          .ddof = 1,
                          .rules = {.flat = true, .lower_case = true},
                          .few = 2048,
                          .score = IN_FILE_ORDER,
                          .neighbours = NEIGHBOURS_FLOAT,
                          .kernel = SUBSETS,
                          .format = "%.17g"},
    [PROTOCOL_STYLEGAN3] = {.name = "stylegan3",
                            .resize = RESIZE_TF1,
                            .scale = SCALE_128,
                            .metrics = BIT(FID) | BIT(KID) | BIT(IS),
                            .ddof = 0,
                            .rules = {.refuse_alpha = true},
                            .count = 50000,
                            .least = 50000,
                            .score = {.splits = 10},
                            .neighbours = NEIGHBOURS_FLOAT,
                            .kernel = SUBSETS,
                            .format = "%.17g"},
    [PROTOCOL_TORCH_FIDELITY] = {.name = "torch-fidelity",
                                 .resize = RESIZE_TF1,
                                 .scale = SCALE_128,
                                 .metrics = BIT(IS) | BIT(FID) | BIT(KID),
                                 .ddof = 1,
                                 .rules = {.flat = true},
                                 .score = {.splits = 10, .shuffled = true, .seed = 2020},
                                 .neighbours = NEIGHBOURS_FLOAT,
                                 .kernel = {.subsets = 100, .size = 1000, .seed = 2020},
                                 .format = "%.7g"},
    [PROTOCOL_CLEAN] = {.name = "clean",
                        .resize = RESIZE_PIL_BICUBIC,
                        .scale = SCALE_128,
                        .metrics = BIT(FID) | BIT(KID),
                        .ddof = 1,
                        .score = IN_FILE_ORDER,
                        .neighbours = NEIGHBOURS_FLOAT,
                        .kernel = SUBSETS,
                        .format = "%.17g"},
    [PROTOCOL_SHAPES32] = {.name = "shapes32",
                           .extractor = true,
                           .scale = SCALE_EXTRACTOR,
                           .metrics = BIT(FID) | BIT(PR) | BIT(KID),
                           .ddof = 1,
                           .least = 500,
                           .score = IN_FILE_ORDER,
                           .neighbours = NEIGHBOURS_FLOAT,
                           .kernel = SUBSETS,
                           .format = "%.6g"},
};
const char *scale_name(const Protocol *p) {
    static const char *const names[FEATURE_SCALES] = {"(p-128)/128", "2p/255-1", "p/127.5-1"};
    return names[p->scale];
}

static bool add_metric(const Protocol *p, const char *name, size_t length, unsigned *mask, Error *e) {
    static const char *const of_inception[METRICS] = {"fid", "sfid", "is", "pr", "dc", "kid", NULL};
    static const char *const of_extractor[METRICS] = {"fd", NULL, NULL, "pr", "dc", "kid", "class"};
    const char *const *names = p->extractor ? of_extractor : of_inception;
    for (int i = 0; i < METRICS; i++)
        if (names[i] && strlen(names[i]) == length && !strncmp(names[i], name, length)) return *mask |= 1u << i, true;
    return dg_error(e, "--metrics: \"%.*s\" is no measure of protocol %s: it has %s", (int)length, name, p->name,
                    p->extractor ? "fd, pr, dc, kid, class" : "fid, sfid, is, pr, dc, kid");
}
bool protocol_metrics(const Protocol *p, const char *list, unsigned *mask, Error *e) {
    *mask = 0;
    for (const char *s = list;; s++) {
        size_t n = strcspn(s, ",");
        if (!add_metric(p, s, n, mask, e)) return false;
        s += n;
        if (!*s) return true;
    }
}
