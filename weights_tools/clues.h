/* clues.h -- what the families of networks are recognised by, and how they write what they found. */
#ifndef DG_CLUES_H
#define DG_CLUES_H
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
    const Json *arguments;  /* its constructor's, or NULL */
    const ConvertOptions *options;
} Clues;
typedef struct {
    Text architecture; /* "EDMPrecond SongUNet"; empty: unknown */
    Text config;       /* JSON as models/ reads it */
    Text notes;        /* what names and shapes do not tell and was chosen, one a line */
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
#endif
