/* terms.c -- the list of guidance terms that options ask for. */
#include "sample/terms.h"
#include "sample/guidance.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *term_name(TermKind k) {
    static const char *const name[TERM_KINDS] = {"classifier-free guidance", "autoguidance", "discriminator", "classifier"};
    return name[k];
}
const char *unit_name(Unit u) {
    static const char *const name[] = {"sigma", "tau, the discriminator's time from 0 to 1", "timesteps", "time from 0 to 1"};
    return name[u];
}
Unit sampler_unit(SamplerKind k, TermKind term) {
    switch (k) {
    case SAMPLER_DDPM:
    case SAMPLER_DDIM: return UNIT_TIMESTEP;
    case SAMPLER_FLOW: return UNIT_TIME;
    default: return term == TERM_DISCRIMINATOR ? UNIT_TAU : UNIT_SIGMA;
    }
}
bool interval_check(const char *option, double lo, double hi, Unit u, Error *e) {
    if (!(lo >= 0 && hi >= lo)) return dg_error(e, "--%s: %g to %g is no interval", option, lo, hi);
    double value[] = {lo, hi};
    for (int i = 0; i < 2; i++) {
        double v = value[i];
        if (u == UNIT_TIMESTEP && v > 0 && v < 1)
            return dg_error(e, "--%s: %g is no timestep: this sampler counts in timesteps (0 to 999), not in sigma or tau", option, v);
        if ((u == UNIT_TAU || u == UNIT_TIME) && v > 1)
            return dg_error(e, "--%s: %g is above 1: with this sampler it is a %s", option, v, unit_name(u));
    }
    return true;
}
bool interval_parse(const char *option, const char *text, double *lo, double *hi, Error *e) {
    char *end = NULL, *last = NULL;
    *lo = strtod(text, &end);
    if (end != text && *end == ',') *hi = strtod(end + 1, &last);
    if (last && last != end + 1 && !*last && *lo >= 0 && *hi >= *lo) return true;
    return dg_error(e, "--%s: \"%s\" is no interval: two numbers LO,HI are wanted, for example 0.2,0.9", option, text);
}

static void add(Guidance *g, GuidanceTerm t) {
    DG_CHECK(g->count < MAX_TERMS, "more than %d guidance terms", MAX_TERMS);
    g->term[g->count++] = t;
}
/* (-inf, inf) unless the option says otherwise. */
static bool interval_of(GuidanceTerm *t, SamplerKind k, const char *option, const char *text, Error *e) {
    t->unit = sampler_unit(k, t->kind);
    t->lo = -(double)INFINITY, t->hi = (double)INFINITY;
    return !text || (interval_parse(option, text, &t->lo, &t->hi, e) && interval_check(option, t->lo, t->hi, t->unit, e));
}
static bool add_cfg(Guidance *g, const SampleOptions *o, const ScoreFacts *f, Error *e) {
    GuidanceTerm t = {.kind = TERM_CFG, .channels = o->cfg_channels ? o->cfg_channels : f ? f->guided_channels : 0};
    bool branch = !isnan(o->LT_cfg);
    double weight = isnan(o->cfg_scale) ? 1 : o->cfg_scale;
    if (weight == 1 && !branch) return true;
    if (f && !f->classes) return dg_error(e, "classifier-free guidance: this network is unconditional, it has no class to leave out");
    if (f && f->null_class == NO_NULL_CLASS)
        return dg_error(e, "classifier-free guidance: this network was trained with classes alone, it has none that stands for no class");
    if (!interval_of(&t, o->sampler, "cfg_interval", o->cfg_interval, e)) return false;
    if (!branch) {
        t.weight = t.weight_again = weight;
        add(g, t);
        return true;
    }
    double side[] = {o->LT_cfg, o->ST_cfg}, infinite = (double)INFINITY; /* above the branch time, and up to it */
    for (int i = 0; i < 2; i++) {
        t.lo = i ? -infinite : o->branch_time, t.hi = i ? o->branch_time : infinite;
        t.weight = t.weight_again = side[i];
        if (side[i] != 1) add(g, t);
    }
    return true;
}
bool guidance_list(Guidance *g, const SampleOptions *o, const Score *score, Error *e) {
    *g = (Guidance){.count = 0};
    if (!add_cfg(g, o, score ? &score->facts : NULL, e)) return false;
    GuidanceTerm t = {.kind = TERM_AUTO, .weight = o->guidance, .weight_again = o->guidance};
    if (!isnan(o->guidance) && o->guidance != 1) {
        if (!interval_of(&t, o->sampler, "guidance_interval", o->guidance_interval, e)) return false;
        add(g, t);
    }
    t = (GuidanceTerm){.kind = TERM_DISCRIMINATOR, .weight = o->dg_weight_1st_order, .gate = o->dg_gate};
    t.weight_again = o->sampler == SAMPLER_EDM ? o->dg_weight_2nd_order : t.weight;
    if (t.weight != 0 || t.weight_again != 0) {
        t.unit = sampler_unit(o->sampler, t.kind), t.lo = o->time_min, t.hi = o->time_max, t.closed = t.unit == UNIT_TAU;
        if (!interval_check("time_min, --time_max or --dg_interval", t.lo, t.hi, t.unit, e)) return false;
        add(g, t);
    }
    t = (GuidanceTerm){.kind = TERM_CLASSIFIER, .weight = o->classifier_scale, .weight_again = o->classifier_scale};
    if (isnan(o->classifier_scale) || o->classifier_scale == 0) return true;
    if (!interval_of(&t, o->sampler, "classifier_interval", o->classifier_interval, e)) return false;
    add(g, t);
    return true;
}
bool guidance_has(const Guidance *g, TermKind k) {
    for (int i = 0; i < g->count; i++)
        if (g->term[i].kind == k) return true;
    return false;
}
double term_position(Unit u, Level l, double timestep) {
    switch (u) {
    case UNIT_SIGMA: return l.sigma / l.alpha;
    case UNIT_TAU: return guide_tau(l.sigma / l.alpha);
    case UNIT_TIMESTEP: return timestep;
    case UNIT_TIME: break;
    }
    return l.sigma / (l.alpha + l.sigma);
}
bool term_open(const GuidanceTerm *t, double position) { return (t->closed ? position >= t->lo : position > t->lo) && position <= t->hi; }
