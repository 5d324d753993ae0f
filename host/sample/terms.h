/* terms.h -- guidance as a list of terms. Lerp terms act on the prediction, D = D_network + sum of (w-1)(D_network - D_other): a
 * network without its class (CFG), or another network (autoguidance, EDM2). Gradient terms add w times the gradient of a
 * discriminator's or a classifier's log ratio to the score: D += sigma^2/alpha w dL/dx.
 * A term acts where the noise lies in its interval, and costs nothing elsewhere.                                       */
#ifndef DG_TERMS_H
#define DG_TERMS_H
#include "sample/options.h"
#include "sample/score.h"

typedef enum { TERM_CFG, TERM_AUTO, TERM_DISCRIMINATOR, TERM_CLASSIFIER, TERM_KINDS } TermKind;
/* Of an interval: sigma/alpha; DG's VP time; of the diffusion process; sigma/(alpha+sigma). */
typedef enum { UNIT_SIGMA, UNIT_TAU, UNIT_TIMESTEP, UNIT_TIME } Unit;
typedef struct {
    TermKind kind;
    double weight, weight_again; /* again: at the second evaluation of a step */
    double lo, hi;               /* (lo, hi]; closed: [lo, hi] */
    Unit unit;
    bool closed;
    int channels; /* CFG: the first so many of the state; 0: all */
    Gate gate;
} GuidanceTerm;
enum { MAX_TERMS = 8 };
typedef struct {
    GuidanceTerm term[MAX_TERMS];
    int count;
} Guidance;

/* Of options that are checked and resolved. score NULL: as far as it can be known without a network. */
bool guidance_list(Guidance *g, const SampleOptions *o, const Score *score, Error *e);
bool guidance_has(const Guidance *g, TermKind k);
/* Where a level lies. timestep: of the diffusion process, where the sampler has one. */
double term_position(Unit u, Level l, double timestep);
bool term_open(const GuidanceTerm *t, double position);
bool term_is_gradient(TermKind k);
/* Whether it changes an evaluation of an image at this level: a gradient of no weight does not, nor where there is no image yet. */
bool term_acts(const GuidanceTerm *t, Level l, double position, bool again);
Unit sampler_unit(SamplerKind k, TermKind term); /* of a term's interval with that sampler */
/* "LO,HI" of an option; and whether the bounds can be of that unit. */
bool interval_parse(const char *option, const char *text, double *lo, double *hi, Error *e);
bool interval_check(const char *option, double lo, double hi, Unit u, Error *e);
const char *term_name(TermKind k); /* "discriminator" */
const char *unit_name(Unit u);     /* "timesteps" */
#endif
