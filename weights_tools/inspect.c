/* inspect.c -- facts about a weight file. */
#include "weights_tools/package.h"
#include <stdlib.h>
#include <string.h>

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
