/* verify_kind.h -- what a kind of golden case gives to verify_case.c, and what it finds there.
 * To add a kind: a file with a CaseKind, and its row in the table of verify_case.c.           */
#ifndef DG_VERIFY_KIND_H
#define DG_VERIFY_KIND_H
#include "graph/weights.h"
#include "models/models.h"
#include "program/verify_case.h"
#include "sample/guidance.h"

typedef struct Case Case;
typedef struct {
    const char *kind;
    const char *const *outputs; /* the tensors that `expect` may name; NULL-terminated */
    bool logits;                /* a logit is among them: in reduced precision the worst of two roundings counts */
    bool fp32;                  /* computed in it on devices of any precision that take it */
    bool (*run)(Case *c, Error *e);
    bool (*cost)(Case *c, CaseCost *cost, Error *e); /* fills flops and size */
} CaseKind;
static const double QUICK_FLOPS = 1e9; /* a call for one image; below it a case is CASE_QUICK */
static const double LARGE_BYTES = 2e9; /* of weights in fp32; above it a case is CASE_LARGE */
extern const CaseKind case_denoise, case_guidance, case_sample, case_adm_unet, case_dit, case_vae, case_adm_sample, case_dit_sample,
    case_dit_chain, case_inception;

typedef struct CaseErrors CaseErrors;
struct Case {
    const char *name; /* file name without its folder and ending */
    SafeTensors *file;
    Json *json;
    const CaseKind *kind;
    Device *dev;
    bool fuse;
    double factor;
    FILE *out;
    VerifyResult *r;
    CaseErrors *record;     /* fill this instead of comparing; or NULL */
    const CaseErrors *base; /* reduced precision: tolerances come from it; NULL in fp32 */
};

/* Inputs. Each is there, of a shape and type that fit, and finite, or the result is NULL (false, 0) with a sentence. */
int case_batch(const Case *c, const char *tensor, Error *e);                          /* images in it */
double *case_images(const Case *c, const char *tensor, Shape s, Error *e);            /* [n,C,H,W] as NHWC; the caller's */
double *case_values(const Case *c, const char *tensor, int n, Error *e);              /* [n] */
double *case_sigmas(const Case *c, int n, Error *e);                                  /* [n] positive noise levels in "sigma" */
double *case_timesteps(const Case *c, int n, Error *e);                               /* [n] from 0 to 999 in "timesteps" */
double **case_draws(const Case *c, const char *tensor, int count, Shape s, Error *e); /* [count,n,C,H,W]: an array a draw */
void case_draws_free(double **draw, int count);
/* class_index, or the one in class_labels; -1 where the case has neither. Below `classes`, unless that is 0. */
bool case_labels(const Case *c, int n, int classes, int *label, Error *e);
bool case_every_label(int n, const int *label, Error *e);              /* for networks that take no -1 */
const Json *case_config(const Case *c, const char *network, Error *e); /* the arguments of "network", "extractor", "head" */
/* Synthetic weights of one of these, with its overrides. seed_key: the seed's name in the case. */
Weights *case_weights_of(const Case *c, const Json *config, const char *network, const char *seed_key, Error *e);
Weights *case_weights(const Case *c, const char *network, const char *seed_key, Error *e);
double *case_upload(const Case *c, const double *host, size_t count, Error *e);

/* Outputs: nothing is done where the case does not expect the tensor. False: it cannot be compared. */
bool case_compare_images(const Case *c, const char *tensor, const double *found, Shape s, Error *e); /* NHWC */
bool case_compare_values(const Case *c, const char *tensor, const double *found, int n, Error *e);
bool case_compare_rows(const Case *c, const char *tensor, const double *found, int n, int per, Error *e); /* [n,per] */

/* Pictures as bytes, beside the case's "bytes": equal, or off by one where 127.5 y + 128 lies within "near" of an integer, y being the
 * case's "decoded". In reduced precision bytes are compared with those of own, the y that they were made of here. All NHWC but the case's. */
bool case_compare_bytes(const Case *c, const uint8_t *found, const double *own, Shape s, Error *e);

/* What kinds share. flops: of one call for one image. */
typedef struct {
    Weights *extractor, *head;
    Guide *guide;
} CaseGuide;
bool case_guide_open(CaseGuide *g, const Case *c, int batch, Error *e);
void case_guide_close(CaseGuide *g);                                                            /* also after a failure */
bool case_model_cost(const Model *m, const Json *config, int images, CaseCost *cost, Error *e); /* of one call */
bool case_guide_flops(const Case *c, double *flops, Error *e);
/* The same of a discriminator, or with head NULL of a classifier, by their configurations. */
bool case_gradient_flops(const Json *extractor, const Json *head, double *flops, Error *e);
#endif
