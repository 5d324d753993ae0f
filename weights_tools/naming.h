/* naming.h -- from the names of a checkpoint to those that models/ knows: what wrappers put in front or in between, CompVis's
 * and older diffusers' autoencoders, OpenAI's Inception.                                                                  */
#ifndef DG_NAMING_H
#define DG_NAMING_H
#include <stdbool.h>

enum { CANONICAL_NAME = 384, NAMING_OTHERS = 4 };
typedef struct {
    char prefix[CANONICAL_NAME]; /* that every wanted name has, and loses */
    const char *added;           /* put in front instead */
    bool inside;                 /* the components that wrappers add are left out wherever they stand */
    bool vae;                    /* CompVis's names or older diffusers' names become diffusers' */
    int vae_levels;
    bool inception;                            /* OpenAI's names become pytorch-fid's */
    char other[NAMING_OTHERS][CANONICAL_NAME]; /* prefixes of networks that were passed over for this one */
    int others;
    bool ambiguous; /* one of these is as good */
} Naming;
Naming naming_of(const char *const *name, int count);
/* The name that models/ knows a tensor by: within `name`, or written to `out`. NULL: the network has no use for the tensor. */
const char *naming_apply(const Naming *n, const char *name, char out[CANONICAL_NAME]);
bool naming_inception(char name[CANONICAL_NAME]); /* in place; false: the network has no use for it */
#endif
