/* families.h -- the families of networks (recognise_*.c): each returns whether the tensors are of its kind, with r filled. */
#ifndef DG_FAMILIES_H
#define DG_FAMILIES_H
#include "weights_tools/clues.h"

bool recognise_edm(const Clues *c, Recognition *r, Error *e);
bool recognise_adm(const Clues *c, Recognition *r, Error *e);
bool recognise_dit(const Clues *c, Recognition *r);
bool recognise_vae(const Clues *c, Recognition *r);
bool recognise_inception(const Clues *c, Recognition *r);
#endif
