/* plan_print.h -- what networks would take, from their configurations alone: no weights, no device. */
#ifndef DG_PLAN_PRINT_H
#define DG_PLAN_PRINT_H
#include "program/networks.h"

/* Prints the shapes of a network and, for batch > 0, planned memory and FLOPs. A configuration of a kind that is not a
 * model here prints nothing, and is an error only when a batch was given.                                           */
bool plan_print(const Json *config, int batch, Error *e);
/* The same of all networks of a run, and what they add up to for an image. */
bool plan_print_run(const Networks *n, const SampleOptions *o, Precision precision, int batch, bool fuse, Error *e);
/* One line, without its end: the sampler, where it is not EDM's, and each term of the guidance. o: resolved. */
void plan_print_sampling(const SampleOptions *o, const Score *score);
#endif
