/* machine.h -- between the samplers' machine (sampler.c) and its programs: what a program is, and what the machine does for it.
 * A program fills the table of a step on the host, and says in a few parts what the device is to do with it. That work depends on the
 * parts and on what never changes; everything else it reads from the device's copy of the table, so it can be replayed.    */
#ifndef DG_MACHINE_H
#define DG_MACHINE_H
#include "sample/diffusion.h"
#include "sample/sampler.h"

enum { GRADIENTS = 2 /* the discriminator's, the classifier's */, EVALUATIONS = 2, MAX_COLUMNS = 4, MAX_STATES = 2, MAX_ARRAYS = 4 };
/* The parts of one piece of work: the program's own below 1 << 8, then the machine's. Same parts, options and rows: same replay. */
enum {
    PART_DRAW = 1 << 8,    /* noise from the generator (recorded noise is uploaded instead); comes first */
    PART_LATENTS = 1 << 9, /* the first x from noise */
    OPEN_BITS = TERM_KINDS /* of each evaluation: the terms that are open */
};
static inline int open_part(int k, unsigned open) { return (int)(open << (10 + k * OPEN_BITS)); }
static inline unsigned part_open(int k, int parts) { return (unsigned)parts >> (10 + k * OPEN_BITS) & ((1u << OPEN_BITS) - 1); }
static inline bool is_open(unsigned open, TermKind k) { return open >> k & 1; }

typedef struct {                                /* what an evaluation takes from the host; the columns have a value an image */
    void *network, *guiding, *guide[GRADIENTS]; /* predictor_fill's and guide_fill's */
    double *own;                                /* of the x that is evaluated */
    double *output, *output_tail;               /* of F; the tail: of the channels that guidance without a class leaves alone */
    double *null, *null_tail;                   /* of F without a class */
    double *other;                              /* of the guiding network's F */
    double *gradient[GRADIENTS];
} Evaluation;
typedef struct {         /* all but `device` point into `host`; [batch], of which a run fills `rows`, unless they say otherwise */
    char *host, *device; /* `device`: the copy made by the last submit */
    size_t bytes;
    uint64_t *seed;
    uint32_t *draw; /* [1]: the generator's step */
    double *latent; /* of the noise in the first x */
    double *ones;
    double *column[MAX_COLUMNS]; /* the program's */
    PosteriorCoef *posterior;
    Evaluation evaluation[EVALUATIONS];
} Table;

typedef struct { /* of a run, before anything is known of the images in it */
    int count;
    Level *level;       /* [count]: where each step begins */
    Diffusion *process; /* of which the levels are; or NULL */
    double *timestep;   /* [count]: of that process */
    bool twice;         /* each step but the last has a second evaluation, where the next one begins */
} Steps;
typedef struct {
    int columns, states, arrays; /* [batch] columns of the table; buffers of the state's size beside x and noise; [batch] on the host */
    /* The program's own data, and the steps. NULL: e says why there are none. */
    void *(*plan)(const SampleOptions *o, const Score *score, Steps *steps, Error *e);
    void (*release)(void *own);
    double (*latent)(const Sampler *s);  /* of unit noise in the first x */
    void (*begin)(Sampler *s);           /* a run; or NULL */
    void (*step)(Sampler *s, int step);  /* fills the table, and submits */
    void (*work)(Sampler *s, int parts); /* on the device */
} Program;
extern const Program program_edm, program_diffusion, program_flow, program_dpm;

struct Sampler {
    SampleOptions o;
    SampleNetworks n;
    const Program *program;
    void *own;
    Steps steps;
    Guidance guidance;
    Device *dev;
    int batch, rows; /* images at most, and those of the run */
    size_t per_sample;
    int head;                              /* channels that guidance without a class acts on; 0: all */
    double *x, *noise, *state[MAX_STATES]; /* device, [batch][per_sample] */
    struct {
        uint8_t *bytes, *host_bytes; /* device, and host */
        int *bad, *host_bad;         /* [batch] */
    } image[SAMPLER_SLOTS];
    Picture picture;
    Table table;
    void *replays; /* of the work, by shape */
    /* The run. */
    SampleNoise from;
    int next; /* step */
    SampleCounts counts;
    /* Host, [batch], of the evaluation planned last: */
    Level *level;
    double *scale;                                   /* of x before it: 1 unless the program says otherwise */
    double *without_class, *away;                    /* sum of w - 1 of the open terms: CFG's, autoguidance's */
    double *weight[GRADIENTS], *gradient[GRADIENTS]; /* sum of w of the open terms; dL/dx over the guide's output */
    double *time;                                    /* scratch */
    double *array[MAX_ARRAYS];                       /* the program's */
};

/* ---- on the host ------------------------------------------------------------------------------------------------------------ */
int machine_noise(Sampler *s, int step); /* PART_DRAW, or recorded noise is uploaded; step -1: the latents */
/* The inputs of evaluation k at s->level of a state that scale makes: alpha x0 + sigma eps = s->scale x. timestep: NAN where there is
 * none. again: with the weights of second evaluations. Returns the terms that are open, a bit each.                     */
unsigned machine_plan(Sampler *s, int k, double timestep, bool again);
/* After it, the columns of image i for c times the guided prediction of x0, but for gradients: the outputs' are set, what is left
 * to x itself is returned (c times this, of scale x).                                                                     */
double machine_prediction(Sampler *s, int k, int i, double c);
/* The gradients' columns for c times their part of that prediction: D += sigma^2/alpha w dL/dx. */
void machine_gradients(Sampler *s, int k, int i, double c);
void machine_submit(Sampler *s, int parts); /* enqueues them, with the table as it is now */

/* ---- on the device ----------------------------------------------------------------------------------------------------------- */
const void *machine_device(const Sampler *s, const void *entry); /* the device's copy of an entry of the table */
void machine_evaluate(Sampler *s, int k, unsigned open, const double *x);
/* The terms of evaluation k but x's own, and of x's own and all; return how many. */
int machine_outputs(const Sampler *s, int k, unsigned open, Term *term);
int machine_gradient_terms(const Sampler *s, int k, unsigned open, Term *term);
int machine_terms(const Sampler *s, int k, unsigned open, const double *x, Term *term);
Term machine_term(const Sampler *s, const double *data, const double *column);
void machine_combine(Sampler *s, double *out, const Term *term, int terms);
#endif
