/* choice.h -- which implementation runs a convolution on this GPU: the kernels' own, or a library's (--autotune on). */
#ifndef DG_CUDA_CHOICE_H
#define DG_CUDA_CHOICE_H
#include "device/cuda/device.h"
#include "device/cuda/providers.h"
#include "base/text.h"

typedef struct ConvChoice ConvChoice;
/* Measures a layer whose weight is in place, or remembers what was measured; *out is NULL for our own kernels. False, with a
 * sentence: there is not enough memory. Memory never decides, because the bits of the results depend on the choice.       */
bool conv_choose(Device *d, const ConvArgs *a, ConvChoice **out, Error *err);
void conv_choice_free(Device *d, ConvChoice *c);
const char *conv_choice_name(const ConvChoice *c); /* the provider's; of NULL, "own" */
int conv_choice_run(const ConvChoice *c, const ConvArgs *a, void *stream);
bool cuda_choices(const Device *d, Text *chosen, Text *measured); /* Backend.choices */
void cuda_choices_close(Device *d);                               /* writes what was learnt */
#endif
