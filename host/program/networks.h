/* networks.h -- the networks of a run: opened from their files or from the program itself, hashed, bound to a device. */
#ifndef DG_NETWORKS_H
#define DG_NETWORKS_H
#include "weights_tools/weights_tools.h"
#include "sample/sampler.h"
#include "base/sha256.h"

typedef enum { ROLE_NETWORK, ROLE_EXTRACTOR, ROLE_DISCRIMINATOR, ROLE_GNET, ROLE_CLASSIFIER, ROLE_VAE, ROLES } Role;
const char *role_name(Role r); /* "network", as the option is called */
typedef struct {
    const char *path; /* of the file given; NULL: the example model, whose bytes are: */
    const unsigned char *data;
    size_t bytes;
    Weights *weights; /* NULL: not part of this run */
} NetworkSource;
typedef struct {
    NetworkSource source[ROLES];
    /* Of the network: */
    Net *plan; /* its graph, not bound to anything, and its configuration */
    Score *score;
    Shape state;   /* of one image of the sampler's */
    Shape picture; /* of one image that comes out: the autoencoder's, or the state */
    int classes;   /* that an image may have: the network's, or of an unconditional one its classifier's; 0: none */
    int vae_batch; /* images that the autoencoder takes at a time; 0: DECODER_ROWS */
} Networks;
/* Opens files of any format (weights_tools.h), by role. Without a network it opens the example model, with its own extractor and
 * discriminator unless others are given. Extractor and discriminator are opened only when `guided`, the guiding network, the
 * classifier and the autoencoder where there is a path. Notices go to standard output.                                    */
bool networks_open(Networks *n, const char *const path[ROLES], const ConvertOptions *o, bool guided, Error *e);
/* The autoencoder alone: what decodes latents that were stored. */
bool networks_open_vae(Networks *n, const char *path, const ConvertOptions *o, Error *e);
/* Whether every term of the guidance has its network, and the networks given are a part of it; before any file is opened. */
bool networks_check(const char *const path[ROLES], const SampleOptions *o, Error *e);
/* What follows from the weights that are there; networks_open does it. */
bool networks_describe(Networks *n, Error *e);
void networks_close(Networks *n);

/* SHA-256 of every source, computed on a thread of its own while the caller builds. spans: records it; or NULL. */
typedef struct Hashes Hashes;
Hashes *hashes_start(const Networks *n, Spans *spans);
/* Waits, frees; hex[r] is "" for a role that has no part in the run. */
bool hashes_finish(Hashes *h, char hex[ROLES][SHA256_HEX], Error *e);

/* Everything that is sized by the batch. */
typedef struct {
    SampleNetworks n;
    Sampler *sampler;
    int batch;
} Engine;
bool engine_new(Engine *g, Device *d, const Networks *n, const SampleOptions *o, int batch, bool fuse, Error *e);
void engine_free(Engine *g);
#endif
