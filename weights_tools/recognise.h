/* recognise.h -- from the names and shapes of a checkpoint's tensors to the network and its whole configuration: the entry,
 * what the families of networks (recognise_*.c) look things up with, and how they write what they found.                  */
#ifndef DG_RECOGNISE_H
#define DG_RECOGNISE_H
#include "base/json.h"
#include "base/text.h"
#include "weights_tools/weights_tools.h"

typedef struct {
    const char *name;
    int dims;
    const int64_t *shape;
} NamedShape;
typedef struct {
    const NamedShape *shape; /* sorted by name */
    int count;
    const char *class_name; /* of a pickled module, or NULL */
    const Json *arguments;  /* its constructor's, or NULL; null where the value is no number, text or list of them */
    const Json *attributes; /* its plain attributes, or NULL */
    const ConvertOptions *options;
} Clues;
typedef struct {
    Text architecture;      /* "EDMPrecond SongUNet"; empty: unknown */
    Text config;            /* JSON as models/ reads it */
    Text notes;             /* what names and shapes do not tell and was chosen, one a line */
    const char *const *own; /* what the names of the network's tensors begin with, NULL at the end; or NULL */
    /* Published in several containers: what is made of it is the same file whatever it came in. Scales of ones are left out. */
    bool canonical;
} Recognition;
void recognition_free(Recognition *r);

const NamedShape *clue(const Clues *c, const char *fmt, ...) __attribute__((format(printf, 2, 3))); /* NULL when absent */
/* Dimension i of the tensor of that name; 0 when there is none, or the dimension is no size of a network. */
int clue_dim(const Clues *c, int i, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
const NamedShape *clue_ending(const Clues *c, const char *suffix);
void config_begin(Text *t, const char *kind);
void config_text(Text *t, const char *key, const char *value);
void config_int(Text *t, const char *key, int value);
void config_bool(Text *t, const char *key, bool value);
void config_number(Text *t, const char *key, double value);
void config_ints(Text *t, const char *key, const int *value, int count);
void config_end(Text *t);

/* Fails only for options that make no sense. What is not recognised has an empty architecture. */
bool recognise(const Clues *c, Recognition *r, Error *e);
/* The families: each returns whether the tensors are of its kind, with r filled. */
bool recognise_edm(const Clues *c, Recognition *r, Error *e);
bool recognise_adm(const Clues *c, Recognition *r, Error *e);
bool recognise_dit(const Clues *c, Recognition *r);
bool recognise_vae(const Clues *c, Recognition *r);
bool recognise_inception(const Clues *c, Recognition *r);
#endif
