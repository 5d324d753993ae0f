/* models.h -- what a network is to the rest of the program: a row of functions, and the table of all rows.
 * A builder is a pure description: it names weights and shapes, and knows no backend, type or memory. Names and order of
 * weights follow the official code, so that checkpoints load without a map.
 * To add a model: a file with its row, and its name in MODELS.                                                       */
#ifndef DG_MODELS_H
#define DG_MODELS_H
#include "base/json.h"
#include "graph/graph.h"

enum { PORT_TAPS = 16 };
typedef struct { /* what a caller connects: the inputs it fills, the outputs it reads. 0: the network has none */
    Tid x;       /* in: an image. Set before the network is built: it reads this tensor; else it makes an input, "x" */
    Tid time;    /* in: the features of its time, {n,1,1,width}, as time_features writes them */
    Tid label;   /* in: the class, one-hot times label_scale, {n,1,1,classes} */
    Tid out;
    Tid features;            /* an inner tensor that another network may read */
    Tid tap[PORT_TAPS];      /* more of them, as the model's own header numbers them */
    float label_scale;       /* 1 unless the builder sets another */
    const char *frequencies; /* the name of width/2 values of the file that time_features reads; NULL: none */
} Ports;
/* Of a score network, what its output F means (sample/score.h has the formulas), at a state x = alpha x0 + sigma eps: */
typedef enum {
    PREDICTS_PRECONDITIONED, /* EDM's, with the preconditioning of `edm` */
    PREDICTS_EPS,            /* at the timesteps of a discrete diffusion process */
    PREDICTS_V,              /* alpha eps - sigma x0, at the same */
    PREDICTS_FLOW            /* eps - x0, at times from 0 to 1 */
} Prediction;
enum { NO_LABEL = -1, NO_NULL_CLASS = -2 };
typedef struct NetworkConfig NetworkConfig; /* models/edm.h */
typedef struct {
    Prediction prediction;
    const NetworkConfig *edm; /* PREDICTS_PRECONDITIONED */
    bool cosine;              /* the process's noise schedule is the cosine one, not the linear one */
    int diffusion_steps;      /* of the process; 0 where there is none */
    bool learned_range;       /* the output has a variance code behind the state's channels */
    bool latent;              /* the state is an autoencoder's, not an image */
    bool adm_bytes;           /* its authors make bytes of pixels by trunc(127.5 x + 127.5), not by EDM's trunc(127.5 x + 128) */
    int classes;              /* that an image may have; 0: unconditional */
    int null_class;           /* what stands for none: a column of the label, NO_LABEL: a row of zeros, or NO_NULL_CLASS */
    int guided_channels;      /* that its classifier-free guidance acts on officially; 0: all */
} ScoreFacts;
typedef struct {
    const char *kind; /* the "kind" of a file's configuration */
    const char *type; /* its "model_type", where a kind has several models; or NULL */
    const char *noun; /* in sentences: "a score network" */
    bool gradient;    /* a call computes the gradient with respect to x too: plans are printed with it */
    size_t config_bytes;
    bool (*config)(void *config, const Json *json, Error *e); /* the official arguments; unknown values are errors */
    void (*build)(Graph *g, const void *config, int batch, Ports *p);
    void (*time_features)(const void *config, const float *frequencies, double time, float *out); /* NULL: it takes no time */
    bool (*score)(const void *config, ScoreFacts *f, Error *e);                                   /* NULL: it is no score network */
    const char *const *unused; /* patterns of checkpoint tensors that it never reads (weights_check_unused); NULL-terminated */
} Model;

/* Every kind of network whose files dg_cuda runs. */
#define MODELS(X)           X(song_unet) X(dhariwal_unet) X(extractor) X(head) X(adm_unet) X(dit) X(vae) X(inception)
#define DECLARE_MODEL(name) extern const Model model_##name;
MODELS(DECLARE_MODEL)
#undef DECLARE_MODEL
extern const Model model_classifier;  /* an extractor with the pool of its own file; no kind of its own */
extern const Model model_vae_encoder; /* model_vae is the decoder of the same file */

/* The model of a file's configuration, which is to be of this kind. A configuration that does not say is of that kind. */
const Model *model_find(const Json *config, const char *kind, Error *e);
const Model *model_find_score(const Json *config, Error *e); /* of any kind that is a score network */
bool model_kind_known(const char *kind);
/* Reads the configuration and walks the builder once with it: what is impossible is one sentence here. The caller's to free. */
void *model_config(const Model *m, const Json *config, Error *e);
/* Adds the network to the graph. root is put before the names of its weights, so that two networks can share a graph. */
bool model_build(const Model *m, Graph *g, const void *config, const char *root, int batch, Ports *p, Error *e);
#endif
