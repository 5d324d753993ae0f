/* naming.h -- from the names of a checkpoint to those that models/ knows. */
#ifndef DG_NAMING_H
#define DG_NAMING_H
#include <stdbool.h>

/* The name that models/ knows a tensor by, where a format has its own (older diffusers and CompVis VAEs, wrappers'
 * prefixes): NULL: the tensor is not needed at all. The result is `name` itself or written to `out`.               */
enum { CANONICAL_NAME = 384 };
typedef struct {
    const char *prefix; /* that every wanted name has, and loses */
    const char *added;  /* put in front instead */
    bool vae;           /* CompVis's names or older diffusers' names become diffusers' */
    int vae_levels;
} Naming;
Naming naming_of(const char *const *name, int count);
const char *naming_apply(const Naming *n, const char *name, char out[CANONICAL_NAME]);
#endif
