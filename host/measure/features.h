/* features.h -- from images of bytes to the features that distances are measured in: resize, scale, and a network, in one graph
 * and a precision of its own. What an image's features are depends on that image alone, to the last bit.                     */
#ifndef DG_FEATURES_H
#define DG_FEATURES_H
#include "base/sha256.h"
#include "graph/resize.h"
#include "run/net.h"

typedef enum {
    FEATURE_POOL,        /* of Inception the pool (2048), of an extractor the mean over its positions */
    FEATURE_SPATIAL,     /* the rest: Inception's alone (models/inception.h) */
    FEATURE_LOGITS_BARE, /* without their bias */
    FEATURE_LOGITS,      /* of an extractor: of its own classes */
    FEATURE_MEANS,       /* + an image among INCEPTION_MAXPOOL_1 ..: its mean over all pixels */
    FEATURE_KINDS = FEATURE_MEANS + PORT_TAPS
} FeatureKind;
/* Of a pixel p after the resize. EXTRACTOR: p/127.5 - 1. */
typedef enum { SCALE_128, SCALE_255, SCALE_EXTRACTOR, FEATURE_SCALES } FeatureScale; /* (p - 128)/128, 2p/255 - 1 */
typedef struct {
    int height, width;     /* of the images, which have 3 channels, RGB */
    int batch;             /* that the network takes at a time */
    ResizeRule resize;     /* of Inception; an extractor takes images of its own size alone */
    FeatureScale scale;    /* of Inception; an extractor has its own */
    const char *precision; /* NULL: fp32, where the device takes that; "tf32" */
    bool no_fuse;
    unsigned wanted; /* 1u << kind, of each */
} FeatureOptions;
typedef struct Features Features;

/* The weights' configuration says which network it is: of kind "inception" or "extractor". */
Features *features_open(Device *d, Weights *w, const FeatureOptions *o, Error *e);
void features_close(Features *f);                       /* f may be NULL */
int features_dims(const Features *f, FeatureKind kind); /* 0: not wanted */
int features_batch(const Features *f);
double features_flops(const Features *f); /* of an image */
/* Of n images on the device, [n][height][width][3], any number. out[kind]: device memory, [n][dims], f32, of all that is wanted. Only
 * enqueues: replays may hold it.                                                                                             */
void features_enqueue(Features *f, const uint8_t *pixels, int n, float *const out[FEATURE_KINDS]);
/* The same in two halves, of at most `images` at a time, while something else is computed: begin enqueues, and downloads behind the
 * device's download slot; the rows are there once that was waited for, until the next begin with the slot.                    */
enum { FEATURE_SLOTS = 2 };
bool features_reserve(Features *f, int images, Error *e);
void features_begin(Features *f, int slot, const uint8_t *pixels, int n);
float *features_rows(const Features *f, int slot, FeatureKind kind); /* [n][dims] */
/* The same from and to host memory. */
void features_run(Features *f, const uint8_t *pixels, size_t n, float *const out[FEATURE_KINDS]);
/* SHA-256 of the weights as the network computes with them: the same whatever file they came in. */
bool features_hash(const Features *f, Weights *w, char hex[SHA256_HEX], Error *e);

/* What to say where an Inception network is needed and none is given. */
bool features_need_inception(Error *e);
#endif
