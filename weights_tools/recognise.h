/* recognise.h -- from the names and shapes of a checkpoint's tensors to the network and its whole configuration. */
#ifndef DG_RECOGNISE_H
#define DG_RECOGNISE_H
#include "weights_tools/clues.h"

/* Fails only for options that make no sense. What is not recognised has an empty architecture. */
bool recognise(const Clues *c, Recognition *r, Error *e);
#endif
