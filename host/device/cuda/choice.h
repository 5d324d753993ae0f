/* choice.h -- which implementation runs a convolution on this GPU: the kernels' own, or a library's (--provider). */
#ifndef DG_CUDA_CHOICE_H
#define DG_CUDA_CHOICE_H
#include "device/cuda/device.h"
#include "device/cuda/providers.h"
#include "base/text.h"

/* Loads the libraries that d->provider names. False: one that must be there is not, and e says where it was looked for. */
bool cuda_choices_open(Device *d, Error *e); /* Backend.open_provider */
typedef struct ConvChoice ConvChoice;
/* Measures a layer whose weight is in place, or remembers what was measured; *out is NULL for our own kernels. a->stats is not NULL where
 * the layer leaves statistics. False, with a sentence: there is not enough memory. Memory never decides, because the bits of the
 * results depend on the choice.                                                                                             */
bool conv_choose(Device *d, const ConvArgs *a, ConvChoice **out, Error *err);
void conv_choice_free(Device *d, ConvChoice *c);
const char *conv_choice_name(const ConvChoice *c); /* the provider's; of NULL, "own" */
int conv_choice_run(const ConvChoice *c, const ConvArgs *a, void *stream);
bool cuda_choices(const Device *d, Text *chosen, Text *measured); /* Backend.choices */
void cuda_choices_close(Device *d);                               /* writes what was learnt */
#endif
