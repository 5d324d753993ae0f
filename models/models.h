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
typedef struct {
    const char *kind; /* the "kind" of a file's configuration */
    const char *type; /* its "model_type", where a kind has several models; or NULL */
    const char *noun; /* in sentences: "a score network" */
    bool gradient;    /* a call computes the gradient with respect to x too: plans are printed with it */
    size_t config_bytes;
    bool (*config)(void *config, const Json *json, Error *e); /* the official arguments; unknown values are errors */
    void (*build)(Graph *g, const void *config, int batch, Ports *p);
    void (*time_features)(const void *config, const float *frequencies, double time, float *out); /* NULL: it takes no time */
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
bool model_kind_known(const char *kind);
/* Reads the configuration and walks the builder once with it: what is impossible is one sentence here. The caller's to free. */
void *model_config(const Model *m, const Json *config, Error *e);
/* Adds the network to the graph. root is put before the names of its weights, so that two networks can share a graph. */
bool model_build(const Model *m, Graph *g, const void *config, const char *root, int batch, Ports *p, Error *e);
#endif
