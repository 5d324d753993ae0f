/* models.c -- the table of models: finding the row of a configuration, reading it, building it. */
#include "models/models.h"
#include "models/blocks.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROW(name) &model_##name,
static const Model *const models[] = {MODELS(ROW)};
#undef ROW
enum { MODEL_COUNT = sizeof models / sizeof *models };

bool model_kind_known(const char *kind) {
    for (int i = 0; i < MODEL_COUNT; i++)
        if (!strcmp(models[i]->kind, kind)) return true;
    return false;
}
static const Model *row_of(const char *kind, const char *type) {
    for (int i = 0; i < MODEL_COUNT; i++)
        if (!strcmp(models[i]->kind, kind) && (!models[i]->type || !strcmp(models[i]->type, type))) return models[i];
    return NULL;
}
static const char *noun_of(const char *kind) {
    for (int i = 0; i < MODEL_COUNT; i++)
        if (!strcmp(models[i]->kind, kind)) return models[i]->noun;
    return kind;
}
const Model *model_find(const Json *config, const char *kind, Error *e) {
    const char *found, *type, *noun = noun_of(kind);
    if (!config || config->kind != JSON_OBJECT) {
        dg_error(e, "no configuration of %s: is this the file of one?", noun);
        return NULL;
    }
    if (!json_get_string(config, "kind", kind, &found, e) || !json_get_string(config, "model_type", "", &type, e)) return NULL;
    if (strcmp(found, kind)) {
        dg_error(e, "this file holds a %s, not %s", found, noun);
        return NULL;
    }
    const Model *m = row_of(kind, type);
    if (!m && *type) dg_error(e, "\"model_type\" is \"%s\", which dg_cuda does not know", type);
    else if (!m) dg_error(e, "the configuration has no \"model_type\"");
    return m;
}
const Model *model_find_score(const Json *config, Error *e) {
    static const char first[] = "denoiser"; /* of a configuration that does not say */
    const char *kind = first;
    if (config && config->kind == JSON_OBJECT && !json_get_string(config, "kind", first, &kind, e)) return NULL;
    for (int i = 0; i < MODEL_COUNT; i++)
        if (models[i]->score && !strcmp(models[i]->kind, kind)) return model_find(config, kind, e);
    return model_find(config, first, e);
}
bool model_build(const Model *m, Graph *g, const void *config, const char *root, int batch, Ports *p, Error *e) {
    if (batch < 1) return dg_error(e, "a batch of %d images", batch);
    DG_CHECK(strlen(root) < sizeof g->root, "the names' root %s is too long", root);
    snprintf(g->root, sizeof g->root, "%s", root);
    block_enter(g, "%s", "");
    p->label_scale = 1;
    m->build(g, config, batch, p);
    g->root[0] = g->prefix[0] = 0;
    return !g->refused[0] || dg_error(e, "%s", g->refused);
}
void *model_config(const Model *m, const Json *config, Error *e) {
    void *c = dg_alloc(m->config_bytes);
    Graph *g = graph_new((Precision){DG_F32, false});
    Ports p = {0};
    bool ok = m->config(c, config, e) && model_build(m, g, c, "", 1, &p, e);
    graph_free(g);
    if (ok) return c;
    free(c);
    return NULL;
}
