/* models_plan.h -- what a network would take, from its configuration alone. */
#ifndef DG_MODELS_PLAN_H
#define DG_MODELS_PLAN_H
#include "base/json.h"

/* Prints the size of the images and classes and, for batch > 0, planned memory and FLOPs. A configuration of a kind that
 * cannot be planned here prints nothing, and is an error only when a batch was given.                                 */
bool model_plan_print(const Json *config, int batch, Error *e);
#endif
