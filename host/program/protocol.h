/* protocol.h -- how the official tools measure sets of images, as data: which resize, how many images, how each measure is taken. */
#ifndef DG_PROTOCOL_H
#define DG_PROTOCOL_H
#include "files/image_source.h"
#include "measure/features.h"
#include "measure/inception_score.h"
#include "measure/kernel_distance.h"
#include "measure/neighbours.h"

typedef enum {
    METRIC_FID, /* of shapes32: "fd", as its features are not Inception's */
    METRIC_SFID,
    METRIC_IS,
    METRIC_PR, /* precision, recall */
    METRIC_DC, /* density, coverage */
    METRIC_KID,
    METRIC_CLASS, /* of shapes32: the share of images of the class asked for */
    METRICS
} Metric;
typedef struct {
    const char *name;
    bool extractor; /* features of the example model's extractor, not of Inception */
    ResizeRule resize;
    FeatureScale scale;
    unsigned metrics; /* 1u << Metric, of each, where none are asked for */
    int ddof;         /* the covariance is divided by N - ddof */
    SourceRules rules;
    size_t count;       /* images; 0: all of them */
    size_t least;       /* fewer are an error, ... */
    size_t few;         /* ... fewer than this are worth a word */
    bool random_subset; /* of more images than count: EDM's random ones, not the first */
    uint32_t seed;      /* of that */
    ScoreSplits score;
    NeighbourOptions neighbours;
    KernelSubsets kernel;
    const char *format; /* of numbers, for printf */
} Protocol;
#define PROTOCOL_CHOICE "edm|dg|adm|pytorch-fid|stylegan3|torch-fidelity|clean|shapes32"
enum {
    PROTOCOL_EDM,
    PROTOCOL_DG,
    PROTOCOL_ADM,
    PROTOCOL_PYTORCH,
    PROTOCOL_STYLEGAN3,
    PROTOCOL_TORCH_FIDELITY,
    PROTOCOL_CLEAN,
    PROTOCOL_SHAPES32,
    PROTOCOLS
};
extern const Protocol protocols[PROTOCOLS];

const char *scale_name(const Protocol *p); /* "(p-128)/128" */
/* "fid,pr" as a mask; the example model's distance is "fd", and never called FID. */
bool protocol_metrics(const Protocol *p, const char *list, unsigned *mask, Error *e);
#endif
