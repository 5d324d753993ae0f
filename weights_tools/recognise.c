/* recognise.c -- asking each family of networks whether a list of names and shapes is one of theirs. */
#include "weights_tools/recognise.h"
#include <string.h>

static bool is_one_of(const char *value, const char *const *list, Error *e, const char *option) {
    for (; *list; list++)
        if (!strcmp(value, *list)) return true;
    return dg_error(e, "%s \"%s\" is not known", option, value);
}
bool recognise(const Clues *c, Recognition *r, Error *e) {
    static const ConvertOptions none;
    static const char *const preconds[] = {"EDMPrecond", "VPPrecond", "VEPrecond", "iDDPMPrecond", NULL};
    static const char *const times[] = {"linear", "cosine", NULL};
    static const char *const orders[] = {"legacy", "new", NULL};
    Clues with = *c;
    *r = (Recognition){.notes = {0}};
    if (!c->options) with.options = &none;
    const ConvertOptions *o = with.options;
    if (o->precond && !is_one_of(o->precond, preconds, e, "--precond")) return false;
    if (o->time && !is_one_of(o->time, times, e, "--time")) return false;
    if (o->attention_order && !is_one_of(o->attention_order, orders, e, "--attention_order")) return false;
    if (o->num_head_channels < 0 || o->num_heads < 0 || o->image_size < 0)
        return dg_error(e, "--num_head_channels, --num_heads and --image_size are not negative");
    Error problem = {""};
    bool known = recognise_edm(&with, r, &problem) || (!problem.text[0] && recognise_adm(&with, r, &problem)) ||
                 (!problem.text[0] && (recognise_dit(&with, r) || recognise_vae(&with, r) || recognise_inception(&with, r)));
    if (!problem.text[0]) {
        if (!known) text_printf(&r->notes, "the network is not one that dg_cuda knows: no configuration was written\n");
        return true;
    }
    recognition_free(r);
    return dg_error(e, "%s", problem.text);
}
