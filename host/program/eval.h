/* eval.h -- the parts of the command `eval`: its options, sets of images with what was measured of them, and the results. */
#ifndef DG_EVAL_H
#define DG_EVAL_H
#include "base/interrupt.h"
#include "measure/frechet.h"
#include "measure/statistics.h"
#include "program/checkpoint_options.h"
#include "program/device_options.h"
#include "program/protocol.h"

typedef enum { EVAL_TEXT, EVAL_JSON, EVAL_CSV, EVAL_MD } EvalOutput;
typedef struct {
    TextList images;
    const char *ref, *inception, *metrics, *out;
    int protocol, output;
    bool each, allow_fewer, force, adm, features, fd_trunc, dg_short_count;
    int adm_images, bootstrap, batch, save_every;
    int num, seed, resize, scale, cov_ddof, is_split_size, is_splits, is_shuffle_seed; /* UNSET: the protocol's */
    int pr_k, pr_arith, pr_cmp, kid_subsets, kid_size, kid_seed;
    DeviceOptions device;
    CheckpointOptions checkpoint;
} EvalOptions;
enum { UNSET = -1 };

enum { EVAL_SAID = 2 };
/* What all sets of one command share. */
typedef struct {
    const EvalOptions *o;
    Protocol p; /* with what the options change */
    unsigned metrics;
    const Interrupt *interrupt;
    bool quiet;     /* standard output is for the results alone */
    Text notices;   /* a line each */
    Device *device; /* opened when the first image is to be looked at, as the rest; or: */
    bool borrowed;  /* somebody else's, and set from the beginning */
    Weights *weights;
    const char *precision;
    char weights_sha256[SHA256_HEX]; /* "": not opened yet */
    bool measured;                   /* features were computed, in this precision */
    int dims;                        /* of the reference's features; 0: not known yet */
    struct {
        char *path, *value;
    } said[EVAL_SAID]; /* the first file of statistics that says by which network, and in which precision, its features were made */
} EvalJob;
void eval_notice(EvalJob *j, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The last layer of the open Inception, [*classes][dims], freed by the caller. NULL: it has none, or it does not fit. */
float *eval_last_layer(const EvalJob *j, int dims, int *classes, Error *e);
bool eval_weights(EvalJob *j, Error *e); /* opens them and the device, where they are not yet */
/* weights_sha256, where it is not known yet. open: the network, where it is open without more than an extractor's pool; or NULL. */
void eval_defaults(void *options);      /* of an EvalOptions */
bool eval_settle(EvalJob *j, Error *e); /* the protocol and the measures, of the options; false: e says what does not go together */
/* What the reference cannot serve is left out where the protocol asked for it, and an error where the user did. */
bool eval_fit_reference(EvalJob *j, Error *e);
bool eval_hash_network(EvalJob *j, const Features *open, Error *e);
void eval_job_close(EvalJob *j);

typedef struct {
    const char *const *path; /* NULL: the reference within the program */
    int paths;
    size_t available; /* images, of which n are taken */
    uint64_t n;       /* 0: a file of statistics that does not say */
    bool stored;      /* the statistics are those of the file */
    char *meta;       /* of features that were computed: what they are of, for a file; else NULL */
    Gaussian pool, spatial;
    float *features; /* [rows][dims], where a measure needs them; else NULL */
    size_t rows;
    int dims;
    bool sorted;                  /* there are classes, one after the other */
    uint64_t classified, classes; /* images of which the extractor finds the class asked for; images with a class */
    char sha256[SHA256_HEX];      /* of the file; "": of a folder, or of several */
    char rounding[32];            /* how the sampler rounded to bytes, where a manifest says so */
} EvalSet;
typedef struct {
    bool reference;
    unsigned metrics; /* that it is for */
    bool features;    /* to be kept */
    bool images;      /* where a file has images beside statistics, those are meant */
    const char *out;  /* statistics as they grow, replaced as a whole; NULL: none */
} EvalWish;
/* ---- eval_features.c ---- */
typedef struct {
    int height, width;
    uint64_t n; /* how many; 0: not known */
} ImageKind;
/* The network of the protocol, checked against the files so far: features of `wanted` (1u << kind, of each) of images of one kind.
 * scored: the Inception Score needs its last layer. path: the images, for sentences. The job's weights and device are opened first.   */
Features *eval_features(EvalJob *j, const char *path, ImageKind images, unsigned wanted, bool scored, Error *e);
/* meta of a file with statistics of n images; source: a JSON value that says which; made: what they were made by, in which files that are
 * merged must agree, or NULL. To be freed.                                                                                */
char *eval_meta(const EvalJob *j, uint64_t n, const char *source, const char *made);
Npz *eval_open_file(const char *path); /* the archive that a path is, or NULL: of statistics or images */
/* A file that keeps features of single images does not lose them to a run that has no use for them. */
bool eval_keeps_features(const char *path);
void eval_note_number(EvalJob *j, const char *path, uint64_t n); /* notices of fewer images than the protocol's */
bool eval_needs_rows(const EvalJob *j, EvalWish w);              /* features of single images */
/* The sums as the Gaussians that the measures need. */
bool eval_divide(EvalSet *s, const EvalJob *j, EvalWish w, Statistics *sums, Error *e);

bool eval_enough(const EvalJob *j, const char *path, uint64_t n, Error *e); /* n images, for the protocol */
/* What the sums of a set of n images are divided by. */
Divisor eval_divisor(const EvalJob *j, bool reference, uint64_t n);
/* The network of this run, that of the images of `path`, is the one of the files of statistics so far. */
bool eval_check_network(const EvalJob *j, const char *path, Error *e);
/* What the open file z of the set holds, where it fits the protocol, this run's network and the files so far. images: it holds such too. */
bool eval_take_stored(EvalSet *s, EvalJob *j, EvalWish w, Npz *z, bool images, Error *e);
/* Which measures a reference can serve, before hours are spent; *why: what it lacks for the others. */
bool eval_possible(const char *path, unsigned *mask, const char **why, Error *e);
/* What is wrong with images at first sight: before hours are spent on those of the reference. */
bool eval_set_check(const EvalJob *j, const char *const *path, int paths, Error *e);
/* Measures images, or takes what a file of statistics holds. */
Outcome eval_set_open(EvalSet *s, EvalJob *j, const char *const *path, int paths, EvalWish w, Error *e);
void eval_set_free(EvalSet *s);
char *eval_set_name(const EvalSet *s); /* its paths; to be freed */

enum { MAX_VALUES = 16 };
typedef struct {
    struct {
        const char *name;
        double value;
    } value[MAX_VALUES];
    int values;
    Frechet fid, sfid;
    size_t kid_size; /* of each subset */
} EvalResult;
bool eval_measure(EvalResult *r, EvalJob *j, const EvalSet *images, const EvalSet *reference, Error *e);
void eval_report(const EvalJob *j, const EvalSet *set, const EvalResult *result, int sets, const EvalSet *reference);

Outcome eval_adm_reference(EvalJob *j, Error *e); /* eval ref --adm */
Outcome eval_merge(const Args *a, Error *e);
#endif
