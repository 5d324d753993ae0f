/* providers.c -- the libraries that are there, and which of their proposals may run a layer: those alone whose sums are a plain
 * convolution's, the same bits every time. Reductions in another order are fine; Winograd, Fourier, narrower operands or sums, and
 * atomics are not.                                                                                                          */
#include "device/cuda/providers.h"
#include "device/cuda/library.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *const provider_name[PROVIDERS] = {"own", "cudnn", "cublaslt"};
static const Library *const library_of[PROVIDERS] = {NULL, &library_cudnn, &library_cublaslt};
static const size_t MOST_WORKSPACE = (size_t)256 << 20;
enum { MOST_PROPOSALS = 200 }; /* that are looked at for a layer */

struct ProviderSet {
    void *library[PROVIDERS]; /* NULL: not there */
};
struct ProviderConv {
    Provider provider;
    void *plan;
    char name[PLAN_NAME + 16];
};

ProviderSet *providers_open(void *stream, Provider only, Error *e) {
    ProviderSet *s = dg_alloc(sizeof *s);
    static const Provider order[] = {PROVIDER_CUBLASLT, PROVIDER_CUDNN}; /* cuDNN looks for cuBLASLt, and finds what is loaded */
    for (int i = 0; i < PROVIDERS - 1; i++) {
        Provider p = order[i];
        const Library *l = library_of[p];
        Text looked = {0};
        if (l->open) s->library[p] = l->open(stream, &looked);
        if (p == only && !s->library[p]) {
            if (!l->open) dg_error(e, "%s: this program was built without %s", provider_name[p], l->built_without);
            else dg_error(e, "%s: %s", provider_name[p], looked.text);
            text_free(&looked);
            providers_close(s);
            return NULL;
        }
        text_free(&looked);
    }
    return s;
}
void providers_close(ProviderSet *s) {
    for (Provider p = PROVIDER_OWN + 1; s && p < PROVIDERS; p++)
        if (s->library[p]) library_of[p]->close(s->library[p]);
    free(s);
}
void providers_describe(const ProviderSet *s, char *text, size_t size) {
    size_t version[PROVIDERS] = {0};
    for (Provider p = PROVIDER_OWN + 1; p < PROVIDERS; p++)
        if (s->library[p]) version[p] = library_of[p]->version(s->library[p]);
    snprintf(text, size, "cudnn graphs %zu, cublaslt %zu", version[PROVIDER_CUDNN], version[PROVIDER_CUBLASLT]);
}

static bool may_run(const Proposal *q, const ConvArgs *a) {
    unsigned never = NOTE_UNSTEADY | NOTE_WINOGRAD | NOTE_FOURIER | NOTE_NARROW_INPUTS | NOTE_NARROW_SUMS | NOTE_OTHER_WEIGHTS;
    if (a->x_type == DG_F32 && !a->tf32) never |= NOTE_TENSOR_CORES;
    return !(q->notes & never);
}
/* Of a plan that fits; else the plan is dropped, and NULL. */
static ProviderConv *conv_of(Provider p, void *plan, const char *name) {
    if (plan && library_of[p]->workspace(plan) > MOST_WORKSPACE) library_of[p]->drop(plan), plan = NULL;
    if (!plan) return NULL;
    ProviderConv *c = dg_alloc(sizeof *c);
    *c = (ProviderConv){.provider = p, .plan = plan};
    snprintf(c->name, sizeof c->name, "%s", name);
    return c;
}
int provider_conv_find(ProviderSet *s, Provider p, const ConvArgs *a, ProviderConv *out[], int most) {
    enum { PIECE_BYTES = 16 };
    bool padded = (size_t)a->c * dtype_bytes(a->x_type) % PIECE_BYTES || (size_t)a->k * dtype_bytes(a->y_type) % PIECE_BYTES;
    if (!s->library[p] || padded || a->x_type != a->y_type) return 0;
    const Library *l = library_of[p];
    void *search = l->search(s->library[p], a);
    int found = 0;
    Proposal q;
    for (int i = 0; search && i < MOST_PROPOSALS && found < most && l->next(search, &q); i++) {
        char name[sizeof out[0]->name];
        snprintf(name, sizeof name, "%s %s", provider_name[p], q.name);
        bool wanted = may_run(&q, a);
        for (int k = 0; k < found; k++) wanted &= strcmp(out[k]->name, name) != 0; /* one list repeats another */
        if (wanted && (out[found] = conv_of(p, l->build(search), name))) found++;
    }
    if (search) l->end(search);
    return found;
}
ProviderConv *provider_conv_again(const ProviderConv *c, int images) {
    return conv_of(c->provider, library_of[c->provider]->again(c->plan, images), c->name);
}
void provider_conv_free(ProviderConv *c) {
    if (c) library_of[c->provider]->drop(c->plan);
    free(c);
}
Provider provider_conv_provider(const ProviderConv *c) { return c->provider; }
size_t provider_conv_workspace(const ProviderConv *c) { return library_of[c->provider]->workspace(c->plan); }
const char *provider_conv_name(const ProviderConv *c) { return c->name; }
bool provider_conv_run(const ProviderConv *c, const void *x, const void *w, void *y, void *workspace) {
    return library_of[c->provider]->run(c->plan, x, w, y, workspace);
}
