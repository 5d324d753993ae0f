/* package.c -- opening checkpoints, merging them, naming their tensors and recognising the network; and the facts about one file. */
#include "weights_tools/package.h"
#include "weights_tools/naming.h"
#include <stdlib.h>
#include <string.h>

static int by_name(const void *a, const void *b) { return strcmp(((const PackageTensor *)a)->name, ((const PackageTensor *)b)->name); }
static bool add_tensors(Package *p, Checkpoint *c, Error *e) {
    const char **name = dg_alloc((size_t)c->count * sizeof *name + 1);
    for (int i = 0; i < c->count; i++) name[i] = c->tensor[i].name;
    Naming n = naming_of(name, c->count);
    free(name);
    int renamed = 0, dropped = 0;
    const char *example[2] = {"", ""};
    p->tensor = dg_realloc(p->tensor, (size_t)(p->count + c->count) * sizeof *p->tensor + 1);
    for (int i = 0; i < c->count; i++) {
        char text[CANONICAL_NAME];
        const char *official = naming_apply(&n, c->tensor[i].name, text);
        if (!official || !*official) {
            dropped++;
            continue;
        }
        PackageTensor *t = &p->tensor[p->count++];
        *t = (PackageTensor){.name = dg_strdup(official), .from = c, .tensor = &c->tensor[i]};
        if (strcmp(official, c->tensor[i].name) && !renamed++) example[0] = c->tensor[i].name, example[1] = t->name;
    }
    if (renamed) text_printf(&p->notes, "renamed %d tensors (%s is now %s)\n", renamed, example[0], example[1]);
    if (dropped) text_printf(&p->notes, "left out %d tensors that the network does not need\n", dropped);
    return p->count > 0 || dg_error(e, "%s: it holds no tensors of a network", c->path);
}
static bool check_names(const Package *p, Error *e) {
    for (int i = 1; i < p->count; i++) {
        const PackageTensor *a = &p->tensor[i - 1], *b = &p->tensor[i];
        if (strcmp(a->name, b->name)) continue;
        if (a->from == b->from)
            return dg_error(e, "%s: its tensors %s and %s have one name", a->from->path, a->tensor->name, b->tensor->name);
        return dg_error(e, "%s and %s both have a tensor %s: only files of one network, with different tensors, can be merged",
                        a->from->path, b->from->path, a->name);
    }
    return true;
}
static bool find_config(Package *p, const ConvertOptions *o, Error *e) {
    for (int i = 0; i < p->inputs; i++) {
        const char *own = p->input[i]->config;
        if (!own) continue;
        Json *j = json_parse(own, strlen(own), e); /* weights.c would refuse the result */
        if (!j) return dg_error_context(e, "%s: metadata \"config\"", p->input[i]->path);
        const Json *kind = json_get(j, "kind"), *type = json_get(j, "model_type"), *precond = json_get(j, "precond");
        text_printf(&p->found.architecture, "%s",
                    precond && precond->string ? precond->string
                    : kind && kind->string     ? kind->string
                                               : "configured");
        if (type && type->string) text_printf(&p->found.architecture, " %s", type->string);
        text_printf(&p->found.config, "%s", own);
        json_free(j);
        return true;
    }
    NamedShape *shape = dg_alloc((size_t)p->count * sizeof *shape);
    Clues c = {.shape = shape, .count = p->count, .options = o};
    for (int i = 0; i < p->count; i++) shape[i] = (NamedShape){p->tensor[i].name, p->tensor[i].tensor->dims, p->tensor[i].tensor->shape};
    for (int i = 0; i < p->inputs && !c.class_name; i++) c.class_name = p->input[i]->class_name, c.arguments = p->input[i]->arguments;
    bool ok = recognise(&c, &p->found, e);
    free(shape);
    return ok || dg_error_context(e, "%s", p->input[0]->path);
}
Package *package_open(const char *const *path, int count, const ConvertOptions *o, Error *e) {
    Package *p = dg_alloc(sizeof *p);
    p->input = dg_alloc((size_t)count * sizeof *p->input);
    bool ok = true;
    for (; ok && p->inputs < count; p->inputs += ok) {
        Checkpoint *c = p->input[p->inputs] = checkpoint_open(path[p->inputs], o ? o->key : NULL, e);
        ok = c != NULL;
        if (ok && c->notes.len) text_printf(&p->notes, "%s", c->notes.text);
        if (ok && !(ok = add_tensors(p, c, e))) checkpoint_close(c);
    }
    if (ok) qsort(p->tensor, (size_t)p->count, sizeof *p->tensor, by_name);
    ok = ok && check_names(p, e) && find_config(p, o, e);
    if (ok && p->found.notes.len) text_printf(&p->notes, "%s", p->found.notes.text);
    if (ok) return p;
    package_close(p);
    return NULL;
}
void package_close(Package *p) {
    if (!p) return;
    for (int i = 0; i < p->count; i++) free(p->tensor[i].name);
    for (int i = 0; i < p->inputs; i++) checkpoint_close(p->input[i]);
    recognition_free(&p->found);
    text_free(&p->notes);
    free(p->tensor);
    free(p->input);
    free(p);
}

/* ---- facts about a file ------------------------------------------------------------------------------------------------- */
Inspection *inspect(const char *path, const ConvertOptions *o, Error *e) {
    Package *p = package_open(&path, 1, o, e);
    if (!p) return NULL;
    Inspection *i = dg_alloc(sizeof *i);
    i->format = p->input[0]->format;
    i->architecture = dg_strdup(p->found.architecture.len ? p->found.architecture.text : "unknown");
    i->config = p->found.config.len ? dg_strdup(p->found.config.text) : NULL;
    i->notes = dg_strdup(p->notes.len ? p->notes.text : "");
    i->count = p->count;
    i->tensor = dg_alloc((size_t)p->count * sizeof *i->tensor);
    for (int k = 0; k < p->count; k++) {
        const CheckpointTensor *t = p->tensor[k].tensor;
        i->tensor[k] = (InspectTensor){.name = dg_strdup(p->tensor[k].name), .dtype = t->dtype, .dims = t->dims};
        memcpy(i->tensor[k].shape, t->shape, sizeof t->shape);
        if (t->dtype != DG_U8 && t->dtype != DG_I64) i->parameters += t->count;
    }
    package_close(p);
    return i;
}
void inspection_free(Inspection *i) {
    if (!i) return;
    for (int k = 0; k < i->count; k++) free(i->tensor[k].name);
    free(i->tensor);
    free(i->architecture);
    free(i->config);
    free(i->notes);
    free(i);
}
